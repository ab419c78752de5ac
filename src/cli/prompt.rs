//! Questions to the person: yes or no, a line, a password.

use std::io::{BufRead as _, IsTerminal as _};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::output::Out;
use crate::base::{Context as _, Error, Result};
use crate::sys::signal::{self, Set};

/// A line longer than this is no answer, bytes.
const LIMIT: u64 = 64 << 10;

/// Asks whether to go on; anything but yes is no.
///
/// # Errors
/// When nobody can answer: standard input is at its end.
pub fn confirm(question: &str, out: &mut Out) -> Result<bool> {
    out.text(question)?;
    out.flush()?;
    let Some(answer) = read()? else {
        out.line("")?;
        return Err(
            Error::invalid("nobody answers: standard input is at its end")
                .hint("--force does not ask"),
        );
    };
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

/// Asks for a line.
///
/// # Errors
/// When standard input cannot be read.
pub fn line(question: &str, out: &mut Out) -> Result<String> {
    out.text(question)?;
    out.flush()?;
    Ok(read()?.unwrap_or_default().trim().to_owned())
}

/// Asks without showing what is typed. Ctrl-C and its like put the terminal back first.
///
/// # Errors
/// When standard input cannot be read.
pub fn hidden(question: &str, out: &mut Out) -> Result<String> {
    let stdin = std::io::stdin();
    let quiet = match stdin.is_terminal() {
        true => Quiet::begin()?,
        false => None,
    };
    out.text(question)?;
    out.flush()?;
    let ended = match &quiet {
        Some(quiet) => quiet.wait()?,
        None => None,
    };
    let answer = match ended {
        None => read(),
        Some(_) => Ok(None),
    };
    if quiet.is_some() {
        drop(quiet);
        // The person's own line end was not shown.
        out.line("")?;
        out.flush()?;
    }
    if let Some(signal) = ended {
        signal::end_by(signal);
    }
    Ok(answer?
        .unwrap_or_default()
        .trim_end_matches(['\n', '\r'])
        .to_owned())
}

/// A line of standard input; `None` at its end.
fn read() -> Result<Option<String>> {
    use std::io::Read as _;
    let mut text = String::new();
    let n = std::io::stdin()
        .lock()
        .take(LIMIT)
        .read_line(&mut text)
        .what(|| "cannot read the answer")?;
    Ok((n > 0).then_some(text))
}

/// A terminal that does not show what is typed, until dropped.
struct Quiet {
    before: Termios,
    mask: Set,
    signals: OwnedFd,
}

impl Quiet {
    /// `None` for a terminal that cannot be told: what is typed then shows, which the person sees.
    fn begin() -> Result<Option<Self>> {
        let stdin = std::io::stdin();
        let Ok(before) = tcgetattr(&stdin) else {
            return Ok(None);
        };
        let wanted = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
        let heard: Vec<i32> = wanted
            .into_iter()
            .filter(|s| !signal::is_ignored(*s))
            .collect();
        let set = Set::of(&heard);
        let signals = signal::descriptor(&set)?;
        let mask = signal::block(&set)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &quiet);
        Ok(Some(Self {
            before,
            mask,
            signals,
        }))
    }

    /// Waits for a line, or for the signal that comes first.
    fn wait(&self) -> Result<Option<i32>> {
        let stdin = std::io::stdin();
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e).what(|| "cannot wait for the answer"),
            }
            if let Some(signal) = signal::next(&self.signals)? {
                return Ok(Some(signal));
            }
            if !fds[0].revents().is_empty() {
                return Ok(None);
            }
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
        let _ = signal::set_mask(&self.mask);
    }
}
