//! Pid 1 of a container with `--init`: starts the command, forwards signals, reaps orphans.
//!
//! Contract. Started by: a first process's execve of our own binary from a read-only clone
//! (CVE-2019-5736), with the container's ids, capabilities and filter. Arguments:
//! `coracle-init LINE -- COMMAND…`, where LINE is the number of the descriptor for failures. Holds:
//! the standard descriptors only. Ends: with its child, with the child's exit code. Without a
//! command it holds the namespaces of a pod and ends at SIGTERM.

use std::os::fd::OwnedFd;

use rustix::fs::OFlags;

use super::{program, status};
use crate::base::{Error, Result};
use crate::sys::clone::{self, Fork};
use crate::sys::{self, attributes, fd, pty, signal};

/// The name under which we are executed as init.
pub const NAME: &str = "coracle-init";

/// Runs it; the value is the exit code of the process. `words`: arguments, our own name first.
pub fn run(words: &[String]) -> u8 {
    let line = words
        .get(1)
        .and_then(|n| n.parse().ok())
        .and_then(fd::inherited);
    let (Some(line), Some("--"), Some(command)) =
        (line, words.get(2).map(String::as_str), words.get(3..))
    else {
        return 125;
    };
    if fd::set_cloexec(&line, true).is_err() {
        return 125;
    }
    attributes::set_name(c"coracle-init");
    if command.is_empty() {
        return pause(line);
    }
    supervise(line, command)
}

/// Holds a pod's namespaces: reaps whoever is left to it, ends when it is told to.
fn pause(line: OwnedFd) -> u8 {
    let all = signal::Set::full();
    if let Err(e) = signal::block(&all) {
        status::send_failure(&line, &e.into());
        return 125;
    }
    drop(line);
    loop {
        match signal::wait(&all) {
            libc::SIGCHLD => while signal::reap_any(false).is_some() {},
            libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP => return 0,
            _ => {}
        }
    }
}

fn supervise(line: OwnedFd, command: &[String]) -> u8 {
    // Blocked before the fork: a signal that comes in between is kept for the loop.
    let all = signal::Set::full();
    let begun = signal::block(&all)
        .and_then(|_| match std::process::id() {
            1 => Ok(()),
            // With the host's pid namespace, orphans would go past us.
            _ => attributes::set_subreaper(true),
        })
        .and_then(|()| clone::fork());
    let child = match begun {
        Ok(Fork::Child) => start(&line, command),
        Ok(Fork::Parent(child)) => child,
        Err(e) => {
            status::send_failure(&line, &e.into());
            return 125;
        }
    };
    // The parent of all knows that the program runs when every copy of the line is closed.
    drop(line);
    loop {
        match signal::wait(&all) {
            libc::SIGCHLD => {
                let mut ended = None;
                while let Some((pid, how)) = signal::reap_any(false) {
                    if pid == child.pid {
                        ended = Some(how);
                    }
                }
                if let Some(how) = ended {
                    return u8::try_from(how.code()).unwrap_or(255);
                }
            }
            // Of the terminal and of job control: the child's group has them from the kernel.
            libc::SIGTTIN | libc::SIGTTOU | libc::SIGTSTP => {}
            // It may be gone already; its SIGCHLD is pending then.
            other => drop(signal::send(child.pid, other)),
        }
    }
}

/// The command's process: its own group, in the terminal's foreground.
fn start(line: &OwnedFd, command: &[String]) -> ! {
    let error = match become_command(command) {
        Err(error) => error,
        Ok(never) => match never {},
    };
    status::send_failure(line, &error);
    clone::exit_now(error.asked_exit_code().unwrap_or(125));
}

fn become_command(command: &[String]) -> Result<std::convert::Infallible> {
    attributes::new_process_group()?;
    // Without a terminal there is nothing to take. (SIGTTOU is blocked.)
    drop(pty::take_foreground(std::io::stdin()));
    signal::reset_actions();
    signal::set_mask(&signal::Set::empty())?;
    let env: Vec<String> = std::env::vars_os()
        .map(|(key, value)| format!("{}={}", key.to_string_lossy(), value.to_string_lossy()))
        .collect();
    let root = rustix::fs::open(
        c"/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(|e| Error::from(sys::Error::new("open", "/", e.raw_os_error())))?;
    // Our binary cannot be written through its read-only clone: links to it do no harm, but the
    // same checks give the same messages.
    Err(program::find(&root, command, &env, false)?.execute(&env))
}
