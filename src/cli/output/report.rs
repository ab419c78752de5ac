//! The report of an error: the goal that failed, each cause one level down, what to do next.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::base::{Error, Result};

/// The lines for the person, each ended. The first one begins with `Error: `, as podman's does,
/// and carries the last cause's text when there is only one short cause.
pub fn render(error: &Error) -> String {
    report(error, str::to_owned)
}

/// The same for who called this program docker: `No such container: web` is looked for by scripts.
pub fn render_for_docker(error: &Error) -> String {
    report(error, super::docker_objects::sentence)
}

fn report(error: &Error, words: fn(&str) -> String) -> String {
    let mut text = String::new();
    for (n, sentence) in error.sentences().iter().enumerate() {
        let sentence = words(sentence);
        let (lead, indent) = if n == 0 {
            ("Error: ", "       ")
        } else {
            ("  cause: ", "         ")
        };
        for (n, line) in sentence.lines().enumerate() {
            text.push_str(if n == 0 { lead } else { indent });
            text.push_str(line);
            text.push('\n');
        }
    }
    for hint in error.hints() {
        let _fits = writeln!(text, "  hint: {hint}");
    }
    text
}

/// The exit code of an error: what it asks for, else 125.
pub fn exit_code(error: &Error) -> u8 {
    error.asked_exit_code().unwrap_or(125)
}

/// The exit code for who called this program docker: 1 for what a command could not do, 125 for
/// what `run` and `create` could not, and for a command line that makes no sense.
pub fn exit_code_for_docker(error: &Error, starts: bool) -> u8 {
    match error.asked_exit_code() {
        None | Some(2) if !starts => 1,
        _ => exit_code(error),
    }
}

/// Sends messages of the `log` crate at or above `level` (default `warn`) to standard error.
///
/// # Errors
/// `Invalid` for a level that does not exist.
pub fn start_logging(level: Option<&str>) -> Result<()> {
    let filter = match level.map(str::to_ascii_lowercase).as_deref() {
        None | Some("warn" | "warning") => log::LevelFilter::Warn,
        Some("trace") => log::LevelFilter::Trace,
        Some("debug") => log::LevelFilter::Debug,
        Some("info") => log::LevelFilter::Info,
        Some("error" | "fatal" | "panic") => log::LevelFilter::Error,
        Some(other) => {
            return Err(Error::invalid(format!("invalid log level {other:?}"))
                .hint("use one of trace, debug, info, warn, error"));
        }
    };
    // A second session of the same process (tests) keeps the first logger.
    drop(log::set_logger(&Logger));
    log::set_max_level(filter);
    Ok(())
}

/// Writes messages as podman does: `WARN[...]` is its logrus form; ours is `WARN: text`.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        // Libraries talk too much: theirs are shown only with trace.
        metadata.target().starts_with("coracle") || log::max_level() == log::LevelFilter::Trace
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = super::clean(&format!("{}: {}", record.level(), record.args()));
            // Nobody is left to tell when standard error fails.
            drop(std::io::stderr().write_all(format!("{line}\n").as_bytes()));
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Context as _;
    use crate::sys;

    #[test]
    fn an_error_is_reported_from_goal_to_errno_with_its_hints() {
        let low: Result<()> = Err(sys::Error::new("bind", "0.0.0.0:8080", libc::EADDRINUSE).into());
        let error = low
            .what(|| "port 8080/tcp is taken")
            .map_err(|e| e.hint("publish another port, e.g. `-p 8081:80`"))
            .what(|| "cannot start container \"web\"")
            .unwrap_err();
        let text = render(&error);
        assert!(text.starts_with(
            "Error: cannot start container \"web\"\n  cause: port 8080/tcp is taken\n  cause: bind"
        ));
        assert!(text.contains("EADDRINUSE"));
        assert!(text.ends_with("  hint: publish another port, e.g. `-p 8081:80`\n"));
        assert_eq!(exit_code(&error), 125);
        assert_eq!(exit_code_for_docker(&error, true), 125);
        assert_eq!(exit_code_for_docker(&error, false), 1);
        let error = error.exit_code(127);
        assert_eq!(
            (exit_code(&error), exit_code_for_docker(&error, false)),
            (127, 127)
        );
    }
}
