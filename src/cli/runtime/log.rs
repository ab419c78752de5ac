//! runc's log file: engines read from its last line why a command failed.

use std::fs::OpenOptions;
use std::io::Write as _;

use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Result};

/// Refuses unknown formats.
///
/// # Errors
/// `Invalid`.
pub(super) fn check_format(format: &str) -> Result<()> {
    match format {
        "text" | "json" => Ok(()),
        other => {
            Err(Error::invalid(format!("unknown log-format {other:?}")).hint("it is text or json"))
        }
    }
}

/// Appends an error. crun's `file:` in front of the path is understood.
///
/// # Errors
/// What the kernel says.
pub(super) fn append(file: &str, format: &str, error: &Error) -> Result<()> {
    let file = file.strip_prefix("file:").unwrap_or(file);
    let text = line(format, &error.one_line(), &Timestamp::now().rfc3339());
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .and_then(|mut f| f.write_all(text.as_bytes()))
        .what(|| format!("cannot write to the log {file}"))
}

fn line(format: &str, message: &str, time: &str) -> String {
    match format {
        "json" => {
            let value = serde_json::json!({"level": "error", "msg": message, "time": time});
            format!("{value}\n")
        }
        _ => format!("time=\"{time}\" level=error msg={message:?}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_logruss() {
        assert_eq!(
            line("json", "a \"b\"", "t"),
            "{\"level\":\"error\",\"msg\":\"a \\\"b\\\"\",\"time\":\"t\"}\n"
        );
        assert_eq!(line("text", "a", "t"), "time=\"t\" level=error msg=\"a\"\n");
        assert!(check_format("xml").is_err());
    }
}
