//! The only writer to standard output and standard error.
//!
//! Standard output is data: pipe-safe, a closed pipe is success. Standard error is talk. Control
//! characters never reach a terminal from here; colour is decoration only.

use std::io::{IsTerminal as _, Write};

use serde_json::Value;

use crate::base::{Error, Kind, Result};

pub mod build;
pub mod docker;
pub mod docker_objects;
pub mod json;
pub mod listing;
pub mod progress;
pub mod report;
pub mod table;
pub mod template;

pub use crate::base::filter;
pub use listing::Listing;
pub use template::Template;

/// Where a command's words go.
pub struct Out {
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    stdout_terminal: bool,
    stderr_terminal: bool,
    closed: bool,
    docker: bool,
}

impl Out {
    /// The process's own standard output and error.
    pub fn standard() -> Self {
        Self {
            stdout_terminal: std::io::stdout().is_terminal(),
            stderr_terminal: std::io::stderr().is_terminal(),
            stdout: Box::new(std::io::BufWriter::new(std::io::stdout())),
            stderr: Box::new(std::io::stderr()),
            closed: false,
            docker: false,
        }
    }

    /// Writes to whatever a test hands in; neither counts as a terminal.
    pub fn to(stdout: Box<dyn Write + Send>, stderr: Box<dyn Write + Send>) -> Self {
        Self {
            stdout,
            stderr,
            stdout_terminal: false,
            stderr_terminal: false,
            closed: false,
            docker: false,
        }
    }

    /// Follow docker where it and podman disagree: we were called by the name `docker`.
    #[must_use]
    pub fn as_docker(mut self, docker: bool) -> Self {
        self.docker = docker;
        self
    }

    /// Whether docker's way holds where it and podman disagree.
    pub fn is_docker(&self) -> bool {
        self.docker
    }

    /// Whether standard output is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.stdout_terminal
    }

    /// Whether the reader of standard output went away; then the exit code is 0.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Writes bytes as they are, without a look at what they hold: archives, or data that the
    /// caller knows to be fit for a terminal.
    ///
    /// # Errors
    /// `Interrupted` when the reader went away, else what the kernel says.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let result = self.stdout.write_all(bytes);
        self.written(result)
    }

    /// Writes text; control characters are taken out before a terminal.
    ///
    /// # Errors
    /// As [`Out::bytes`].
    pub fn text(&mut self, text: &str) -> Result<()> {
        if self.stdout_terminal {
            self.bytes(clean(text).as_bytes())
        } else {
            self.bytes(text.as_bytes())
        }
    }

    /// Writes a line; as [`Out::text`].
    ///
    /// # Errors
    /// As [`Out::bytes`].
    pub fn line(&mut self, line: impl AsRef<str>) -> Result<()> {
        self.text(line.as_ref())?;
        self.bytes(b"\n")
    }

    /// Writes a value as podman does: indented by two, with a line end.
    ///
    /// # Errors
    /// As [`Out::bytes`].
    pub fn json(&mut self, value: &Value) -> Result<()> {
        self.line(json::indented(value))
    }

    /// Sends what is buffered on its way: before long waits, and at the end.
    ///
    /// # Errors
    /// As [`Out::bytes`].
    pub fn flush(&mut self) -> Result<()> {
        let result = self.stdout.flush();
        self.written(result)
    }

    /// A line of talk on standard error.
    pub fn note(&mut self, text: &str) {
        drop(self.stdout.flush());
        let text = if self.stderr_terminal {
            clean(text)
        } else {
            text.to_owned()
        };
        // Nobody is left to tell when standard error fails.
        drop(self.stderr.write_all(format!("{text}\n").as_bytes()));
    }

    /// Writes a container's bytes to standard error, as they are, in order with standard output.
    ///
    /// # Errors
    /// As [`Out::bytes`].
    pub fn error_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.flush()?;
        let result = self.stderr.write_all(bytes);
        self.written(result)
    }

    /// A warning on standard error: something a person should act on.
    pub fn warn(&mut self, text: &str) {
        self.note(&format!("WARN: {text}"));
    }

    /// Reports an error on standard error and goes on: for commands with several targets.
    pub fn error(&mut self, error: &Error) {
        let report = match self.docker {
            true => report::render_for_docker(error),
            false => report::render(error),
        };
        self.note(report.trim_end());
    }

    fn written(&mut self, result: std::io::Result<()>) -> Result<()> {
        result.map_err(|e| {
            if e.kind() == std::io::ErrorKind::BrokenPipe {
                self.closed = true;
                return Error::new(Kind::Interrupted, "standard output is closed").because(e);
            }
            Error::new(Kind::Unavailable, "cannot write to standard output").because(e)
        })
    }
}

/// Text without control characters, except tab and line end: what images and registries say must
/// not drive the terminal. The C1 range counts too, and so do the marks that turn text around.
pub fn clean(text: &str) -> String {
    text.chars()
        .filter(|c| {
            matches!(c, '\n' | '\t')
                || !(c.is_control()
                    || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What a function writes to standard output and to standard error.
    pub(crate) fn captured(write: impl FnOnce(&mut Out) -> Result<()>) -> (String, String) {
        let (stdout, stderr) = (Shared::default(), Shared::default());
        let mut out = Out::to(Box::new(stdout.clone()), Box::new(stderr.clone()));
        write(&mut out).unwrap();
        let text = |s: Shared| String::from_utf8(s.0.lock().unwrap().clone()).unwrap();
        (text(stdout), text(stderr))
    }

    #[test]
    fn control_characters_are_taken_out() {
        for (text, cleaned) in [
            ("a\x1b[31mb", "a[31mb"),
            ("tab\tline\n", "tab\tline\n"),
            ("bell\x07\u{9b}2J", "bell2J"),
            ("a\u{202e}b", "ab"),
            ("grüße", "grüße"),
        ] {
            assert_eq!(clean(text), cleaned);
        }
    }
}
