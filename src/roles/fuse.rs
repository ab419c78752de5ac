//! Role `fuse`: serves the root file system of one container where the kernel's overlay cannot.
//!
//! Contract. Started by: `storage::driver::fuse`, through `handoff::fuse`, by an exec of this
//! program. Runs: in the user and mount namespaces of the command that started it, in a session of
//! its own. Holds: `/dev/fuse`, the layers and the writable layer. Writes: the writable layer; for a
//! lazy image also its layers, which it fetches from their registry.
//! Ends: when the last mount of the file system is gone. Killed: the container's calls fail with
//! ENOTCONN; what it had written is in the writable layer; the next start mounts anew.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::Result;
use crate::handoff::fuse::{self, Answer, Descriptors, Settings};
use crate::operations::image::lazy::Filler;
use crate::overlay::{self, Owners, Plan};
use crate::spec::digest::unhex;
use crate::spec::ondisk::TrueOwner;
use crate::sys::{attributes, signal};

/// Runs it; the value is the exit code of the process. `words`: arguments, our own name first.
pub fn run(words: &[String]) -> u8 {
    let [_, word] = words else { return 125 };
    let Ok(received) = fuse::receive(word) else {
        return 125;
    };
    let (settings, descriptors, answer) = received.split();
    settle();
    let mut answer = Some(answer);
    let ended = serve(settings, descriptors, &mut answer);
    match (ended, answer) {
        (Ok(()), _) => 0,
        (Err(error), Some(answer)) => {
            answer.send(Some(&error));
            125
        }
        (Err(_), None) => 1,
    }
}

/// Makes itself independent of the terminal and the command.
fn settle() {
    // It may lead a session already.
    drop(attributes::new_session());
    signal::reset_actions();
    // What is meant for the command at a terminal is not meant for its container's files.
    for ignored in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGPIPE] {
        signal::ignore(ignored);
    }
    drop(signal::set_mask(&signal::Set::empty()));
    attributes::set_name(c"coracle-fuse");
}

fn serve(settings: Settings, given: Descriptors, answer: &mut Option<Answer>) -> Result<()> {
    let filler = match &settings.lazy {
        Some(lazy) => Some(Arc::new(Filler::open(&lazy.store, &lazy.layers)?)),
        None => None,
    };
    let plan = Plan {
        lowers: given.lowers,
        upper: given.upper,
        maps: settings.maps,
        restore: settings
            .restore
            .map(|tables| tables.into_iter().map(table).collect()),
        squash: settings.squash,
        volatile: settings.volatile,
        metadata_only: settings.metadata_only,
        content: filler
            .clone()
            .map(|filler| filler as Arc<dyn overlay::Content>),
    };
    overlay::serve(given.device, plan, || {
        if let Some(answer) = answer.take() {
            answer.send(None);
        }
        if let Some(filler) = filler {
            filler.fetch_behind();
        }
    })
}

fn table(lines: Vec<(String, String)>) -> Owners {
    lines
        .into_iter()
        .filter_map(|(path, owner)| Some((unhex(&path)?, TrueOwner::parse(owner.as_bytes())?)))
        .collect::<HashMap<_, _>>()
}
