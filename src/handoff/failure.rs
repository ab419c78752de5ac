//! An error that travels from one process to another: the whole chain, kinds, hints, exit codes
//! and errnos included.

use std::error::Error as StdError;

use serde::{Deserialize, Serialize};

use crate::base::{Error, Kind};
use crate::sys;

/// Chains longer than this are cut: no honest one is.
const LINKS: usize = 32;

/// A serialised error chain, outermost first. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure(Vec<Link>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Link {
    Ours {
        kind: String,
        what: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        hints: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<u8>,
    },
    Kernel {
        call: String,
        target: String,
        errno: i32,
    },
    Text {
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        errno: Option<i32>,
    },
}

const KINDS: [(Kind, &str); 11] = [
    (Kind::NotFound, "not-found"),
    (Kind::InUse, "in-use"),
    (Kind::Exists, "exists"),
    (Kind::Invalid, "invalid"),
    (Kind::Denied, "denied"),
    (Kind::Unsupported, "unsupported"),
    (Kind::Unavailable, "unavailable"),
    (Kind::Corrupt, "corrupt"),
    (Kind::TimedOut, "timed-out"),
    (Kind::Interrupted, "interrupted"),
    (Kind::Internal, "internal"),
];

fn kind_name(kind: Kind) -> &'static str {
    KINDS
        .iter()
        .find(|(k, _)| *k == kind)
        .map_or("internal", |(_, name)| name)
}

fn kind_of_name(name: &str) -> Kind {
    KINDS
        .iter()
        .find(|(_, n)| *n == name)
        .map_or(Kind::Internal, |(kind, _)| *kind)
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let mut links = Vec::new();
        let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
        // The accessors gather hints and codes of the causes too; the reader drops repeats.
        while let Some(e) = cause {
            if links.len() == LINKS {
                break;
            }
            links.push(if let Some(ours) = e.downcast_ref::<Error>() {
                Link::Ours {
                    kind: kind_name(ours.kind()).to_owned(),
                    what: ours.what().to_owned(),
                    hints: ours.hints().into_iter().map(str::to_owned).collect(),
                    exit_code: ours.asked_exit_code(),
                }
            } else if let Some(kernel) = e.downcast_ref::<sys::Error>() {
                Link::Kernel {
                    call: kernel.call.to_owned(),
                    target: kernel.target.clone(),
                    errno: kernel.errno,
                }
            } else {
                Link::Text {
                    text: e.to_string(),
                    errno: e
                        .downcast_ref::<std::io::Error>()
                        .and_then(std::io::Error::raw_os_error),
                }
            });
            cause = e.source();
        }
        Self(links)
    }
}

impl Failure {
    /// Makes the error again, for the report at the edge.
    pub fn into_error(self) -> Error {
        let mut below: Option<Box<dyn StdError + Send + Sync>> = None;
        let mut top = None;
        for link in self.0.into_iter().rev() {
            // `top` is the error built so far; it becomes the cause of the next one out.
            if let Some(error) = top.take() {
                let boxed: Box<dyn StdError + Send + Sync> = Box::<Error>::new(error);
                below = Some(boxed);
            }
            match link {
                Link::Ours {
                    kind,
                    what,
                    hints,
                    exit_code,
                } => {
                    let mut error = Error::new(kind_of_name(&kind), what);
                    for hint in hints {
                        error = error.hint(hint);
                    }
                    if let Some(code) = exit_code {
                        error = error.exit_code(code);
                    }
                    if let Some(cause) = below.take() {
                        error = error.because(cause);
                    }
                    top = Some(error);
                }
                Link::Kernel {
                    call,
                    target,
                    errno,
                } => {
                    // The name is 'static everywhere else; this process reports it and ends.
                    let call: &'static str = Box::leak(call.into_boxed_str());
                    below = Some(Box::new(sys::Error::new(call, target, errno)));
                }
                Link::Text { text, errno } => {
                    below = Some(match errno {
                        Some(errno) => Box::new(std::io::Error::from_raw_os_error(errno)),
                        None => text.into(),
                    });
                }
            }
        }
        top.unwrap_or_else(|| {
            let mut error = Error::internal("another process of coracle failed");
            if let Some(cause) = below {
                error = error.because(cause);
            }
            error
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Context as _, Hint as _};

    #[test]
    fn a_chain_arrives_whole() {
        let low: Result<(), _> = Err(sys::Error::new("execve", "/bin/nothing", libc::ENOENT));
        let error = low
            .what(|| "cannot execute \"/bin/nothing\"")
            .map_err(|e| e.exit_code(127))
            .hint(|| "look into the image")
            .what(|| "cannot start container \"web\"")
            .hint(|| "read the log")
            .unwrap_err();
        let bytes = serde_json::to_vec(&Failure::from(&error)).unwrap();
        let back = serde_json::from_slice::<Failure>(&bytes)
            .unwrap()
            .into_error();
        assert_eq!(back.kind(), error.kind());
        assert_eq!(back.one_line(), error.one_line());
        assert_eq!(back.hints(), error.hints());
        assert_eq!(back.asked_exit_code(), Some(127));
        assert_eq!(back.errno(), Some(libc::ENOENT));
    }

    #[test]
    fn foreign_errors_keep_text_and_errno() {
        let io = std::io::Error::from_raw_os_error(libc::ENOSPC);
        let error = Error::invalid("cannot write").because(io);
        let back = Failure::from(&error).into_error();
        assert_eq!(back.errno(), Some(libc::ENOSPC));
        assert_eq!(back.one_line(), error.one_line());
    }
}
