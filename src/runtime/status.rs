//! The line between a new process and its parent: a terminal, "ready", or an error; end of file
//! means that execve succeeded. The error travels whole.

use std::os::fd::{AsFd as _, OwnedFd};

use crate::base::{Error, Kind, Result};
use crate::handoff::failure::Failure;
use crate::sys::fd;

/// The longest message; error chains are cut to fit.
const LIMIT: usize = 32 << 10;

/// What the child said.
#[derive(Debug)]
pub(crate) enum Said {
    /// Here is the terminal's master.
    Terminal(OwnedFd),
    /// The environment is there: hooks are due, and it waits.
    Hooks,
    /// All is set up; it waits at the gate.
    Ready,
    /// It failed, and ends.
    Failed(Error),
    /// Its end of the line is closed.
    Closed,
}

pub(crate) fn send_terminal(line: &OwnedFd, master: &OwnedFd) -> Result<()> {
    fd::send(line, b"T", &[master.as_fd()])?;
    Ok(())
}

/// Lets the parent run its hooks; answers the pid of this process as the parent counts.
pub(crate) fn ask_hooks(line: &OwnedFd) -> Result<i32> {
    fd::send(line, b"H", &[])?;
    let (answer, _) = fd::receive(line, 4)?;
    answer
        .try_into()
        .map(i32::from_ne_bytes)
        .map_err(|_| Error::new(Kind::Interrupted, "the parent ended"))
}

/// The parent's answer to [`Said::Hooks`].
pub(crate) fn hooks_done(line: &OwnedFd, pid: i32) -> Result<()> {
    fd::send(line, &pid.to_ne_bytes(), &[])?;
    Ok(())
}

pub(crate) fn send_ready(line: &OwnedFd) -> Result<()> {
    fd::send(line, b"R", &[])?;
    Ok(())
}

/// Best effort: a parent that is gone needs no answer.
pub(crate) fn send_failure(line: &OwnedFd, error: &Error) {
    let mut bytes = b"E".to_vec();
    match serde_json::to_vec(&Failure::from(error)) {
        Ok(json) if json.len() < LIMIT - 1 => bytes.extend(json),
        _ => {
            let short: String = error.what().chars().take(1000).collect();
            let short = Failure::from(&Error::new(error.kind(), short));
            bytes.extend(serde_json::to_vec(&short).unwrap_or_default());
        }
    }
    drop(fd::send(line, &bytes, &[]));
}

pub(crate) fn receive(line: &OwnedFd) -> Result<Said> {
    let (bytes, fds) = fd::receive(line, LIMIT)?;
    Ok(match bytes.split_first() {
        None => Said::Closed,
        Some((b'T', _)) => match fds.into_iter().next() {
            Some(master) => Said::Terminal(master),
            None => return Err(Error::internal("the new process sent no terminal")),
        },
        Some((b'H', _)) => Said::Hooks,
        Some((b'R', _)) => Said::Ready,
        Some((b'E', json)) => Said::Failed(serde_json::from_slice::<Failure>(json).map_or_else(
            |e| Error::new(Kind::Internal, "the new process failed").because(e),
            Failure::into_error,
        )),
        Some(_) => return Err(Error::internal("the new process sent an unknown message")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;

    #[test]
    fn errors_arrive_with_code_and_errno_and_huge_ones_are_cut() {
        let (a, b) = fd::packet_pair().unwrap();
        let e = Error::not_found("cannot run \"x\"")
            .because(sys::Error::new("execve", "/x", libc::ENOENT))
            .exit_code(127);
        send_failure(&a, &e);
        send_failure(&a, &Error::invalid("y".repeat(1 << 20)));
        match receive(&b).unwrap() {
            Said::Failed(got) => {
                assert_eq!(got.asked_exit_code(), Some(127));
                assert_eq!(got.errno(), Some(libc::ENOENT));
                assert_eq!(got.one_line(), e.one_line());
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(receive(&b).unwrap(), Said::Failed(e) if e.what().len() == 1000));
        drop(a);
        assert!(matches!(receive(&b).unwrap(), Said::Closed));
    }
}
