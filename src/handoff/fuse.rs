//! Starting the FUSE server of a root file system as a process of its own.
//!
//! It executes this program anew: its memory is then its own, and it does not matter how many
//! threads the command has. The order goes in a sealed file in memory, the layers as descriptors.
//! It answers exactly once: ready, or why not.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use crate::base::{Context as _, Error, Hint as _, Kind, Result};
use crate::spec::digest::Digest;
use crate::spec::idmap::IdMaps;
use crate::sys::spawn::{Lifetime, inherit};
use crate::sys::{fd, memfd};

/// The name under which we are executed as server.
pub const NAME: &str = "coracle-fuse";

/// The server has so long to answer: it only opens folders until then.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the server shows, beside the layers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Owners of the lower layers go through these maps.
    pub maps: Option<IdMaps>,
    /// Owners of links in the lower layers, one table a layer: path in hexadecimal digits, owner.
    pub restore: Option<Vec<Vec<(String, String)>>>,
    /// Owners of new files are kept in attributes.
    pub squash: bool,
    /// Nothing is flushed.
    pub volatile: bool,
    /// Files only say where their content is.
    pub metadata_only: bool,
    /// Layers whose files are fetched when they are first opened.
    #[serde(default)]
    pub lazy: Option<Lazy>,
}

/// Which layers are not all here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lazy {
    /// The store.
    pub store: PathBuf,
    /// Chain ids, top first; none for layers that are here.
    pub layers: Vec<Option<Digest>>,
}

/// The descriptors that go with it.
#[derive(Debug)]
pub struct Descriptors {
    /// `/dev/fuse`, of a file system that is mounted.
    pub device: OwnedFd,
    /// The layers' trees, top first.
    pub lowers: Vec<OwnedFd>,
    /// The upper tree, and a folder for what is being made.
    pub upper: Option<(OwnedFd, OwnedFd)>,
}

/// The order as the server reads it: descriptors by number.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    version: u32,
    answer: i32,
    device: i32,
    lowers: Vec<i32>,
    upper: Option<(i32, i32)>,
    settings: Settings,
}

const VERSION: u32 = 1;

/// Starts a server, and waits until it answers requests. The descriptors are closed here: the
/// server has the only one of the device, so that requests fail when it is gone.
///
/// # Errors
/// What the server says; `Unavailable` when it ended without a word.
pub fn start(settings: Settings, given: Descriptors) -> Result<()> {
    let what = || "cannot start the FUSE server";
    let (line, theirs) = fd::packet_pair()?;
    let fetches = settings.lazy.is_some();
    let order = Order {
        version: VERSION,
        answer: fd::number(&theirs),
        device: fd::number(&given.device),
        lowers: given.lowers.iter().map(fd::number).collect(),
        upper: given
            .upper
            .as_ref()
            .map(|(upper, work)| (fd::number(upper), fd::number(work))),
        settings,
    };
    let text = serde_json::to_vec(&order).what(what)?;
    let order = memfd::sealed("coracle-fuse", &text).what(what)?;
    let mut command = Command::new("/proc/self/exe");
    if !fetches {
        // Whoever talks to registries needs the caller's proxies and files.
        command.env_clear();
    }
    command
        .arg0(NAME)
        .arg(fd::number(&order).to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut inherited = vec![theirs, order, given.device];
    inherited.extend(given.lowers);
    if let Some((upper, work)) = given.upper {
        inherited.extend([upper, work]);
    }
    inherit(&mut command, inherited, Lifetime::Independent);
    // Not waited for: it outlives this process, or is reaped with it.
    let _child = command.spawn().what(what)?;
    // Our copies of the descriptors go with it.
    drop(command);
    if !fd::wait_readable(&line, Some(PATIENCE)).what(what)? {
        return Err(Error::new(
            Kind::TimedOut,
            "the FUSE server does not answer",
        ));
    }
    let (answer, _) = fd::receive(&line, 64 << 10).what(what)?;
    match serde_json::from_slice::<Option<Failure>>(&answer) {
        Ok(None) => Ok(()),
        Ok(Some(failure)) => Err(failure.into_error()).what(what),
        Err(_) => Err(Error::new(
            Kind::Unavailable,
            "the FUSE server ended before it was ready",
        ))
        .hint(|| "see `coracle doctor`"),
    }
}

/// The server's side.
#[derive(Debug)]
pub struct Received {
    /// What to show.
    pub settings: Settings,
    /// The layers and the device.
    pub descriptors: Descriptors,
    line: OwnedFd,
}

/// Takes the order whose descriptor has the number `word`.
///
/// # Errors
/// `Invalid` when this process was not started by [`start`].
pub fn receive(word: &str) -> Result<Received> {
    let missing = || Error::invalid("the FUSE server is started by coracle only");
    let take = |number: i32| -> Result<OwnedFd> {
        let fd = fd::inherited(number).ok_or_else(missing)?;
        fd::set_cloexec(&fd, true)?;
        Ok(fd)
    };
    let order = take(word.parse().map_err(|_| missing())?)?;
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(order), &mut text)
        .what(|| "cannot read the order")?;
    let order: Order = serde_json::from_slice(&text).what(|| "cannot read the order")?;
    if order.version != VERSION {
        return Err(missing());
    }
    Ok(Received {
        settings: order.settings,
        line: take(order.answer)?,
        descriptors: Descriptors {
            device: take(order.device)?,
            lowers: order
                .lowers
                .into_iter()
                .map(take)
                .collect::<Result<Vec<_>>>()?,
            upper: match order.upper {
                Some((upper, work)) => Some((take(upper)?, take(work)?)),
                None => None,
            },
        },
    })
}

impl Received {
    /// Takes this apart: what to serve, and where to answer.
    pub fn split(self) -> (Settings, Descriptors, Answer) {
        (self.settings, self.descriptors, Answer(self.line))
    }
}

/// Where the one answer goes.
#[derive(Debug)]
pub struct Answer(OwnedFd);

impl Answer {
    /// Ready, or why not.
    pub fn send(self, failure: Option<&Error>) {
        let answer = serde_json::to_vec(&failure.map(Failure::from)).unwrap_or_default();
        // Whoever asked may be gone; the mount is then gone too.
        drop(fd::send(&self.0, &answer, &[]));
    }
}
