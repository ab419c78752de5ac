//! Connecting a container's namespace: pasta or slirp4netns as a child of the monitor.
//!
//! The program runs in the foreground and dies with the monitor: the kernel kills it when the
//! thread that started it ends (`PR_SET_PDEATHSIG`), and slirp4netns also watches a pipe. Ready is
//! when the default route appears inside, which the namespace's own netlink socket tells; that
//! works with every version of both programs and needs no file. What a program says goes to a small
//! sealed memory file and into the error.

pub mod pasta;
pub mod slirp;
mod starting;

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

pub use starting::{Starting, Step};

use super::namespace::Namespace;
use super::plan::{NetworkPlan, Tool, UplinkPlan};
use crate::base::{Context as _, Result};
use crate::sys::mount;
use crate::sys::process::Identity;
use crate::sys::spawn::{self, Lifetime};

/// How long a program may take. Its own work is some milliseconds; a loaded machine is slower.
const PATIENCE: Duration = Duration::from_secs(20);

/// The same when it is started again beside a container that runs.
const PATIENCE_AGAIN: Duration = Duration::from_secs(3);

/// The most that is kept of what a program says.
const MESSAGES: u64 = 64 << 10;

/// A running uplink. Dropping it ends it.
#[derive(Debug)]
pub struct Uplink {
    /// `pasta` or `slirp4netns`.
    pub name: &'static str,
    /// The process.
    pub identity: Identity,
    /// Readable when the process ended.
    pub pidfd: OwnedFd,
    child: Child,
}

impl Uplink {
    /// Ends it and waits for that.
    pub fn stop(self) {}

    /// Who it is, how its end is seen, and what ends it when dropped.
    pub fn into_parts(self) -> (Identity, OwnedFd, Guard) {
        (self.identity, self.pidfd, Guard { _child: self.child })
    }
}

/// Keeps an uplink. Dropping it ends it.
#[derive(Debug)]
pub struct Guard {
    _child: Child,
}

/// A started program with its lifelines.
#[derive(Debug)]
struct Child {
    handle: duct::Handle,
    messages: Mutex<File>,
    /// The end of a pipe whose closing tells slirp4netns to go.
    _lifeline: Option<OwnedFd>,
    /// Whether it holds ports of the host, which must be free when it counts as ended.
    has_ports: bool,
}

impl Drop for Child {
    fn drop(&mut self) {
        // Killed by its pid while it is our unreaped child, so never somebody else.
        drop(self.handle.kill());
        // The kernel takes some 10 ms to give pasta's memory back, and the end of the container
        // waits for this. The monitor reaps it, or leaves that to init by ending.
        if self.has_ports {
            drop(self.handle.wait());
        }
    }
}

impl Child {
    fn messages(&self) -> String {
        let Ok(mut file) = self.messages.lock() else {
            return String::new();
        };
        let mut bytes = Vec::new();
        drop(file.seek(SeekFrom::Start(0)));
        drop((&mut *file).take(MESSAGES).read_to_end(&mut bytes));
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        clean(&String::from_utf8_lossy(&bytes[..end]))
    }
}

/// Drops the lines that say nothing, and control characters.
fn clean(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|l| l.chars().filter(|c| !c.is_control()).collect::<String>())
        .map(|l| l.trim().to_owned())
        .filter(|l| {
            !l.is_empty()
                && !l.contains("to syslog")
                && !l.starts_with("sent tapfd")
                && !l.starts_with("received tapfd")
                && !l.starts_with("Starting slirp")
                && !l.contains("Support for seccomp is experimental")
        })
        .collect();
    // The last lines say why it ended; but before a description of all options that is the first.
    let told = match lines.iter().position(|l| l.starts_with("Usage:")) {
        Some(usage) if usage > 0 => &lines[..usage],
        _ => &lines[..],
    };
    told[told.len().saturating_sub(6)..].join("; ")
}

/// Connects `namespace` as `plan` says, trying its uplinks in order.
///
/// Call it from the thread that lives as long as the monitor does, before the container is cloned.
/// `scratch` is a folder for the API socket of slirp4netns, the container's runtime folder. This
/// process has a mount namespace of its own.
///
/// # Errors
/// `Unavailable` with what the last program said; `TimedOut`.
pub fn start(plan: &NetworkPlan, namespace: &Namespace, scratch: &Path) -> Result<Uplink> {
    begin(plan, namespace, scratch)?.finish(namespace)
}

/// An uplink whose program runs, and may not have connected yet. Dropping it ends it.
#[derive(Debug)]
pub struct Beginning(Starting, Step);

/// As [`start`], without waiting: the program's own start, which takes longer than ours, goes on
/// beside it.
///
/// # Errors
/// As [`start`].
pub fn begin(plan: &NetworkPlan, namespace: &Namespace, scratch: &Path) -> Result<Beginning> {
    let mut starting = Starting::new(plan, scratch, PATIENCE);
    let step = starting.step(namespace)?;
    Ok(Beginning(starting, step))
}

impl Beginning {
    /// Waits until the network is up.
    ///
    /// # Errors
    /// As [`start`].
    pub fn finish(self, namespace: &Namespace) -> Result<Uplink> {
        let Self(mut starting, mut step) = self;
        loop {
            match step {
                Step::Ready(uplink) => return Ok(*uplink),
                Step::Waiting(until) => starting.wait(namespace, until)?,
            }
            step = starting.step(namespace)?;
        }
    }
}

/// Begins as [`start`], when the one before ended: the monitor has other things to do than to wait.
pub fn start_again(plan: &NetworkPlan, scratch: &Path) -> Starting {
    Starting::new(plan, scratch, PATIENCE_AGAIN)
}

/// The namespace under a path, until the program has opened it: a mount in this process's own mount
/// namespace. A descriptor's path will not do, for pasta closes what it inherits (since August
/// 2024) before it opens anything; nor does `/proc/<pid>/ns/net` of the monitor, which it may not
/// look into once it gave up the capabilities that the monitor has (ptrace(2), access mode).
#[derive(Debug)]
struct Named(CString);

impl Named {
    fn put(namespace: BorrowedFd<'_>, folder: &Path) -> Result<Self> {
        let path = folder.join("netns");
        let what = || format!("cannot mount the network namespace at {}", path.display());
        let file = File::create(&path).what(what)?;
        let name = CString::new(path.as_os_str().as_bytes()).what(what)?;
        let tree = mount::clone_fd(namespace, false).what(what)?;
        mount::attach(tree, file).what(what)?;
        Ok(Self(name))
    }

    /// How each program is told it.
    fn arguments(&self, tool: Tool) -> Vec<OsString> {
        let path = std::ffi::OsStr::from_bytes(self.0.as_bytes()).to_owned();
        match tool {
            Tool::Pasta => vec!["--netns".into(), path],
            Tool::Slirp4netns => vec!["--netns-type=path".into(), path, "eth0".into()],
        }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        // The mount goes with this process at the latest, the file with its folder.
        drop(mount::detach(&self.0));
        drop(std::fs::remove_file(std::ffi::OsStr::from_bytes(
            self.0.as_bytes(),
        )));
    }
}

/// Starts the program with nothing but what it needs.
fn spawn(
    plan: &UplinkPlan,
    arguments: Vec<OsString>,
    inherited: Vec<OwnedFd>,
    lifeline: Option<OwnedFd>,
) -> Result<Child> {
    let messages = message_file()?;
    // Duct may call the hook once only, for `start` is called once.
    let inherited = Mutex::new(Some(inherited));
    let handle = duct::cmd(&plan.program, arguments)
        .full_env([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C")])
        .dir("/")
        .stdin_null()
        .stdout_null()
        .stderr_file(messages.try_clone().what(|| "cannot copy a descriptor")?)
        .before_spawn(move |command| {
            let fds = inherited.lock().ok().and_then(|mut fds| fds.take());
            spawn::inherit(command, fds.unwrap_or_default(), Lifetime::WithThread);
            Ok(())
        })
        .unchecked()
        .start()
        .what(|| format!("cannot start {}", plan.program.display()))?;
    Ok(Child {
        handle,
        messages: Mutex::new(messages),
        _lifeline: lifeline,
        has_ports: false,
    })
}

/// A memory file that cannot grow: a chatty program must not eat memory for weeks.
fn message_file() -> Result<File> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let what = || "cannot make a memory file";
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("uplink", flags).what(what)?;
    rustix::fs::ftruncate(&fd, MESSAGES).what(what)?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::GROW | SealFlags::SHRINK).what(what)?;
    Ok(File::from(fd))
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    // The program holds the reading end and watches for the hang-up.
    let (read, write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).what(|| "cannot make a pipe")?;
    Ok((write, read))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
