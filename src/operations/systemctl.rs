//! systemd's own command, where something is asked of a running manager.

use std::process::{Command, Stdio};

use crate::base::{Context as _, Error, Kind, Result};

/// `systemctl` for the user's manager or the system's, with nothing to read.
pub fn command(user: bool) -> Command {
    let mut command = Command::new("systemctl");
    if user {
        command.arg("--user");
    }
    command.stdin(Stdio::null());
    command
}

/// A word of a command line in a unit.
pub fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace('%', "%%"))
}

/// Runs it with these words to the end; what it says goes into the error.
///
/// # Errors
/// `Unavailable` when there is no manager, or it refuses.
pub fn run(user: bool, words: &[&str]) -> Result<()> {
    let what = || format!("cannot do `systemctl {}`", words.join(" "));
    let output = command(user)
        .args(words)
        .output()
        .what_kind(Kind::Unavailable, what)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::new(Kind::Unavailable, what()).because(said))
}
