//! The report of an error: the goal that failed, each cause one level down, what to do next.

use std::error::Error as StdError;
use std::fmt::Write as _;

use crate::base::Error;

/// The lines for the person, each ended. The first one begins with `Error: `, as podman's does,
/// and carries the last cause's text when there is only one short cause.
pub fn render(error: &Error) -> String {
    let mut text = format!("Error: {error}\n");
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let sentence = cause.to_string();
        // A kernel error that became an error of ours says the same thing twice.
        if !said.ends_with(&sentence) {
            for (n, line) in sentence.lines().enumerate() {
                let lead = if n == 0 { "  cause: " } else { "         " };
                text.push_str(lead);
                text.push_str(line);
                text.push('\n');
            }
        }
        said = sentence;
        source = cause.source();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Context as _, Result};
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
        assert_eq!(exit_code(&error.exit_code(127)), 127);
    }
}
