//! Signals as people write them: `KILL`, `SIGTERM`, `9`, `RTMIN+3`.

use super::{Error, Result};

const NAMES: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
    // Other words for the same numbers.
    ("IOT", libc::SIGABRT),
    ("CLD", libc::SIGCHLD),
    ("POLL", libc::SIGIO),
];

/// The first real-time signal that libraries leave to programs, as every libc says it.
const RTMIN: i32 = 34;
/// The last signal.
const MAX: i32 = 64;

/// Reads a signal: a number, a name with or without `SIG`, in any case, `RTMIN+n`, `RTMAX-n`.
///
/// # Errors
/// `Invalid` for anything else.
pub fn parse(text: &str) -> Result<i32> {
    let bad = || {
        Error::invalid(format!("invalid signal {text:?}"))
            .hint("write a name such as TERM or SIGKILL, or a number from 1 to 64")
    };
    if let Ok(number) = text.parse::<i32>() {
        return (1..=MAX)
            .contains(&number)
            .then_some(number)
            .ok_or_else(bad);
    }
    let upper = text.to_ascii_uppercase();
    let word = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(name, _)| *name == word) {
        return Ok(*number);
    }
    let number = if let Some(rest) = word.strip_prefix("RTMIN") {
        RTMIN + offset(rest, '+').ok_or_else(bad)?
    } else if let Some(rest) = word.strip_prefix("RTMAX") {
        MAX - offset(rest, '-').ok_or_else(bad)?
    } else {
        return Err(bad());
    };
    (RTMIN..=MAX)
        .contains(&number)
        .then_some(number)
        .ok_or_else(bad)
}

fn offset(rest: &str, sign: char) -> Option<i32> {
    if rest.is_empty() {
        return Some(0);
    }
    let number: i32 = rest.strip_prefix(sign)?.parse().ok()?;
    (0..=MAX).contains(&number).then_some(number)
}

/// `SIGTERM`, or the number in digits when it has no name.
pub fn name(number: i32) -> String {
    match NAMES.iter().find(|(_, n)| *n == number) {
        Some((name, _)) => format!("SIG{name}"),
        None if number == RTMIN => "SIGRTMIN".to_owned(),
        None if number > RTMIN && number <= MAX => format!("SIGRTMIN+{}", number - RTMIN),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_read_in_every_form() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for text in [
            "", "0", "65", "-1", "SIG", "KILLED", "RTMIN+99", "RTMIN-1", "RTMIN+-1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(name(15), "SIGTERM");
        assert_eq!(name(37), "SIGRTMIN+3");
    }
}
