//! A command of our own as a child: for what a command makes of standard input or output.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use super::conn::{Conn, gone};
use crate::base::{Context as _, Error, Kind, Result};
use crate::operations::session::Session;

/// No line of its output is kept longer, bytes.
const LINE: u64 = 1 << 20;

/// The command with the global options of the service.
///
/// # Errors
/// `NotFound` without a path to our own program.
pub fn command(session: &Session, words: &[&str]) -> Result<Command> {
    let program = std::env::current_exe().what(|| "cannot tell the path of this program")?;
    let mut command = Command::new(program);
    command.args(globals(&session.command_line)).args(words);
    // The service may have been started by systemd: its sockets are not the command's.
    for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] {
        command.env_remove(name);
    }
    Ok(command)
}

/// What stands before `system service`.
fn globals(line: &[String]) -> &[String] {
    let end = line
        .windows(2)
        .position(|w| w[0] == "system" && w[1] == "service");
    line.get(1..end.unwrap_or(1)).unwrap_or_default()
}

/// What it wrote to standard error, as one sentence of this kind.
pub fn failure(text: &str) -> Error {
    let text = text.trim();
    let first = text
        .lines()
        .find(|l| l.starts_with("Error: "))
        .unwrap_or(text);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let from = lines.iter().position(|l| *l == first.trim()).unwrap_or(0);
    let told: Vec<&str> = lines[from..]
        .iter()
        .filter(|l| !l.starts_with("hint:"))
        .map(|l| {
            l.trim_start_matches("Error: ")
                .trim_start_matches("cause: ")
        })
        .filter(|l| !l.is_empty())
        .collect();
    let kind = match told.join(" ").to_ascii_lowercase() {
        t if t.contains("no such ") || t.contains("not found") || t.contains("does not exist") => {
            Kind::NotFound
        }
        t if t.contains("in use") || t.contains("is running") || t.contains("is used") => {
            Kind::InUse
        }
        _ => Kind::Unavailable,
    };
    Error::new(kind, told.join(": "))
}

/// Runs it with the body of the request as standard input; answers standard output.
///
/// # Errors
/// Its own.
pub fn feed(mut command: Command, conn: &mut Conn) -> Result<String> {
    let mut child = spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let fed = match child.stdin.take() {
        Some(mut stdin) => std::io::copy(conn, &mut stdin).map(drop),
        None => Ok(()),
    };
    if let Err(e) = &fed
        && e.kind() != std::io::ErrorKind::BrokenPipe
    {
        // Half an input is none.
        drop(child.kill());
        drop(child.wait());
        return Err(
            Error::invalid("the body of the request did not come whole").because(
                fed.err()
                    .unwrap_or_else(|| std::io::ErrorKind::Other.into()),
            ),
        );
    }
    finish(child)
}

/// Runs it without input; answers standard output.
///
/// # Errors
/// Its own.
pub fn run(mut command: Command) -> Result<String> {
    finish(spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?)
}

fn finish(child: Child) -> Result<String> {
    let output = child
        .wait_with_output()
        .what(|| "cannot wait for a command of our own")?;
    if !output.status.success() {
        return Err(failure(&String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn spawn(command: &mut Command) -> Result<Child> {
    command
        .stderr(Stdio::piped())
        .spawn()
        .what(|| "cannot start a command of our own")
}

/// Runs it and sends its standard output as the answer; an error before the first byte is answered
/// instead.
///
/// # Errors
/// Its own; that the client went away.
pub fn stream(mut command: Command, conn: &mut Conn, fields: &[(&str, &str)]) -> Result<()> {
    let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let Some(mut out) = child.stdout.take() else {
        return Err(Error::internal("a command without standard output"));
    };
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = out
            .read(&mut buffer)
            .what(|| "cannot read from a command of our own")?;
        if n == 0 {
            break;
        }
        if !conn.has_begun() {
            conn.begin_stream(200, fields)?;
        }
        if let Err(e) = conn.write_all(&buffer[..n]) {
            drop(child.kill());
            drop(child.wait());
            return Err(gone(e));
        }
    }
    finish(child)?;
    if !conn.has_begun() {
        conn.begin_stream(200, fields)?;
    }
    conn.finish()
}

/// Runs it with standard output and error in one pipe, and gives each line as it comes. Answers
/// whether it went well.
///
/// # Errors
/// What `line` says, which ends the command.
pub fn lines(mut command: Command, line: &mut dyn FnMut(&str) -> Result<()>) -> Result<bool> {
    let (ours, theirs) = crate::sys::fd::pipe()?;
    let copy = theirs.try_clone().what(|| "cannot duplicate a pipe")?;
    let mut child = command
        .stdout(theirs)
        .stderr(copy)
        .spawn()
        .what(|| "cannot start a command of our own")?;
    // It keeps the pipe's other end.
    drop(command);
    let mut reader = BufReader::new(std::fs::File::from(ours));
    loop {
        let mut bytes = Vec::new();
        let n = (&mut reader)
            .take(LINE)
            .read_until(b'\n', &mut bytes)
            .what(|| "cannot read from a command of our own")?;
        if n == 0 {
            break;
        }
        if let Err(e) = line(&String::from_utf8_lossy(&bytes)) {
            drop(child.kill());
            drop(child.wait());
            return Err(e);
        }
    }
    let status = child
        .wait()
        .what(|| "cannot wait for a command of our own")?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_options_are_the_commands() {
        let line: Vec<String> = ["coracle", "--root", "/x", "system", "service", "-t", "0"]
            .iter()
            .map(|w| (*w).to_owned())
            .collect();
        assert_eq!(globals(&line), ["--root", "/x"]);
        assert!(globals(&line[..1]).is_empty());
    }

    #[test]
    fn a_commands_complaint_is_an_error() {
        let error = failure("warning: x\nError: cannot copy\n  cause: no such file: /a\nhint: y\n");
        assert_eq!(error.what(), "cannot copy: no such file: /a");
        assert_eq!(error.kind(), Kind::NotFound);
    }
}
