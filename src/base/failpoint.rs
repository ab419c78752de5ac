//! Failpoints: named steps at which a fault test stops the process dead.
//!
//! `CORACLE_FAILPOINT=name` (or `name:3` for the third passage) makes the step abort as `kill -9`
//! would, `name=error` makes it fail with `EIO`, `name=stop` stops the process as SIGSTOP would; `CORACLE_FAILPOINT_HIT=path` makes that file when
//! it comes to that. Compiled in with debug assertions only: a release build has none of it.
//!
//! The names are listed in docs/failpoints.md; each is `<file>::<step>`.

use super::error::Result;

/// Passes the step `name`, unless the environment says to die or to fail here.
///
/// # Errors
/// `Internal` with errno EIO when the environment asks for it.
#[inline]
pub fn failpoint(name: &'static str) -> Result<()> {
    #[cfg(debug_assertions)]
    return armed::pass(name);
    #[cfg(not(debug_assertions))]
    {
        let _ = name;
        Ok(())
    }
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use crate::base::error::{Error, Kind, Result};

    /// What happens there.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum How {
        Die,
        Fail,
        Stop,
    }

    #[derive(Debug, PartialEq, Eq)]
    pub(super) struct Armed {
        pub(super) name: String,
        pub(super) passage: u32,
        pub(super) how: How,
    }

    pub(super) fn parse(text: &str) -> Armed {
        let (text, how) = match text.split_once('=') {
            Some((rest, "error")) => (rest, How::Fail),
            Some((rest, "stop")) => (rest, How::Stop),
            _ => (text, How::Die),
        };
        // Names hold `::`, so only digits after the last colon are a count.
        let (name, passage) = text
            .rsplit_once(':')
            .and_then(|(name, n)| Some((name, n.parse().ok()?)))
            .unwrap_or((text, 1));
        Armed {
            name: name.to_owned(),
            passage,
            how,
        }
    }

    pub(super) fn pass(name: &'static str) -> Result<()> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        static PASSED: AtomicU32 = AtomicU32::new(0);
        // Read here and not in config::env: base lies below config, and this is for tests only.
        let armed =
            ARMED.get_or_init(|| std::env::var("CORACLE_FAILPOINT").ok().map(|t| parse(&t)));
        let Some(armed) = armed else { return Ok(()) };
        if armed.name != name || PASSED.fetch_add(1, Ordering::Relaxed) + 1 != armed.passage {
            return Ok(());
        }
        if let Some(path) = std::env::var_os("CORACLE_FAILPOINT_HIT") {
            // A test that misses the file says so.
            drop(std::fs::write(path, name));
        }
        match armed.how {
            How::Fail => {
                return Err(Error::new(Kind::Internal, format!("failpoint {name}"))
                    .because(crate::sys::Error::new("failpoint", name, libc::EIO)));
            }
            How::Die => crate::sys::process::kill_self(),
            How::Stop => crate::sys::process::stop_self(),
        }
        Ok(())
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::armed::{Armed, How, parse};

    #[test]
    fn a_failpoint_has_a_name_a_passage_and_a_way_to_fail() {
        for (text, name, passage, how) in [
            ("layer::publish", "layer::publish", 1, How::Die),
            ("unpack::entry:30", "unpack::entry", 30, How::Die),
            ("blob::finish=error", "blob::finish", 1, How::Fail),
            ("blob::finish:2=error", "blob::finish", 2, How::Fail),
            ("pod::held=stop", "pod::held", 1, How::Stop),
        ] {
            let name = name.to_owned();
            assert_eq!(parse(text), Armed { name, passage, how });
        }
        assert!(super::failpoint("never::armed").is_ok());
    }
}
