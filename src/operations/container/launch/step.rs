//! A step of a build (`RUN`): a container like any other, without a record, a log and a monitor.
//! The process that starts it is its parent and waits for it; killed, the kernel ends the step.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::prepare::{Prepared, prepare};
use super::service::Service;
use super::{AttemptStdio, Kit, go, idmaps};
use crate::base::{Error, Result};
use crate::image::ImageRecord;
use crate::operations::container::create::keep_from_monitors;
use crate::operations::container::names::random_id;
use crate::operations::session::Session;
use crate::runtime::launch::PreparedMount;
use crate::runtime::userns::{Want, enter};
use crate::spec::runtime::Mount;
use crate::state::container::{Container, ContainerRecord, Containers};
use crate::state::options::{ContainerOptions, UsernsMode};
use crate::storage::Store;
use crate::storage::rootfs::View;
use crate::sys::pidfd::{self, Ended};
use crate::sys::resolve;

/// What runs.
pub(in crate::operations) struct Step<'a> {
    /// As for a container.
    pub options: ContainerOptions,
    /// Configuration and layers; at least one layer.
    pub image: ImageRecord,
    /// Where `upper` and `work` are made.
    pub dir: &'a Path,
    /// Where generated files are, in memory as a rule; made and removed here.
    pub runtime_dir: &'a Path,
    /// Mounts after all others, `source` and `options` as in a specification; binds with what they
    /// show.
    pub mounts: Vec<(Mount, Option<PreparedMount>)>,
    /// Descriptors 0, 1 and 2.
    pub stdio: [OwnedFd; 3],
}

/// A step whose root file system is mounted and which does not run yet.
pub(in crate::operations) struct Ready<'a> {
    kit: Kit<'a>,
    prepared: Prepared,
    stdio: [OwnedFd; 3],
}

/// Mounts the root file system and prepares everything. This process has one thread.
///
/// # Errors
/// As the start of a container.
pub(in crate::operations) fn ready<'a>(session: &'a Session, step: Step<'_>) -> Result<Ready<'a>> {
    let mut options = step.options;
    keep_from_monitors(&Containers::new(&session.dirs), &mut options)?;
    let record = ContainerRecord {
        version: 1,
        id: random_id()?,
        name: "build".parse()?,
        created: crate::base::time::Timestamp::now(),
        command: options.command.clone(),
        options,
        image: None,
        volumes: Vec::new(),
        driver: String::new(),
        stop_signal: 0,
        auto_maps: None,
        by_run: false,
        transient: None,
    };
    let container = Container::unrecorded(record, step.dir.to_owned(), step.runtime_dir.to_owned());
    let entered = enter(&session.dirs, Want::Default)?;
    container.make_runtime_dir()?;
    let caller = idmaps::Caller {
        uid: session.user.uid,
        gid: session.user.gid,
    };
    let userns = &container.record.options.userns;
    if !matches!(userns, UsernsMode::Host | UsernsMode::Nested) {
        return Err(
            Error::unsupported("a build step keeps the owners of its image")
                .hint("leave out --userns, or say host or nested"),
        );
    }
    let nested = idmaps::nested_maps(userns, &entered.maps, caller, None)?;
    let kit = Kit {
        session,
        store: Store::open(&session.dirs, session.options.storage_driver.as_deref())?,
        container,
        image: Some(step.image),
        entered,
        view: View::Same,
        nested,
        preserve: Vec::new(),
        passthrough: None,
        service: Service::default(),
    };
    let mut prepared = prepare(&kit, None)?;
    // One entry for each mount that the specification has so far.
    let named = prepared.generated.spec.mounts.len();
    prepared.sources.mounts.resize_with(named, || None);
    for (mount, source) in step.mounts {
        prepared.generated.spec.mounts.push(mount);
        prepared.sources.mounts.push(source);
    }
    Ok(Ready {
        kit,
        prepared,
        stdio: step.stdio,
    })
}

impl Ready<'_> {
    /// Sentences for the person.
    pub(in crate::operations) fn notices(&self) -> &[String] {
        &self.prepared.notices
    }

    /// Places of mounts that are not in the root file system yet, so that mounting makes them:
    /// `a/b` each.
    pub(in crate::operations) fn missing_mount_points(&self) -> Vec<Vec<u8>> {
        let root = &self.prepared.rootfs.tree;
        let mounts = self.prepared.generated.spec.mounts.iter();
        mounts
            .map(|m| m.destination.trim_matches('/'))
            .filter(|path| resolve::handle_nofollow(root, path).is_err())
            .map(|path| path.as_bytes().to_vec())
            .collect()
    }

    /// Runs it until it ends. `during` is called once it runs, and returns when there is no more
    /// output.
    ///
    /// # Errors
    /// 126 and 127 for a program that cannot be run; what `during` says, after the step was ended.
    pub(in crate::operations) fn run(self, during: impl FnOnce() -> Result<()>) -> Result<i32> {
        let runtime_dir = self.kit.container.runtime_dir().to_owned();
        let finish = go(&self.kit, self.prepared, AttemptStdio::Fds(self.stdio))?;
        let ran = finish().and_then(|mut running| {
            let watched = during();
            if watched.is_err() {
                drop(pidfd::send_signal(&running.pidfd, libc::SIGKILL));
            }
            let ended: Ended = pidfd::wait(&running.pidfd)?;
            let kills = running.memory.as_mut().and_then(|m| (m.kills)());
            let out_of_memory = ended.code() != 0 && kills.is_some_and(|n| n > 0);
            drop(running);
            watched?;
            if out_of_memory {
                return Err(Error::new(
                    crate::base::Kind::Unavailable,
                    "the step ran out of memory and was ended",
                )
                .hint("give it more with --memory")
                .exit_code(1));
            }
            Ok(ended.code())
        });
        drop(std::fs::remove_dir_all(&runtime_dir));
        ran
    }
}
