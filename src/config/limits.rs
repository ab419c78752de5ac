//! The caller's own resource limits.

use std::sync::OnceLock;

use rustix::process::{Resource, getrlimit};

use crate::spec::runtime::Rlimit;

/// Every limit, by the name that `--ulimit` uses, and by the specification's.
pub const KINDS: [(&str, &str, Resource); 16] = [
    ("as", "RLIMIT_AS", Resource::As),
    ("core", "RLIMIT_CORE", Resource::Core),
    ("cpu", "RLIMIT_CPU", Resource::Cpu),
    ("data", "RLIMIT_DATA", Resource::Data),
    ("fsize", "RLIMIT_FSIZE", Resource::Fsize),
    ("locks", "RLIMIT_LOCKS", Resource::Locks),
    ("memlock", "RLIMIT_MEMLOCK", Resource::Memlock),
    ("msgqueue", "RLIMIT_MSGQUEUE", Resource::Msgqueue),
    ("nice", "RLIMIT_NICE", Resource::Nice),
    ("nofile", "RLIMIT_NOFILE", Resource::Nofile),
    ("nproc", "RLIMIT_NPROC", Resource::Nproc),
    ("rss", "RLIMIT_RSS", Resource::Rss),
    ("rtprio", "RLIMIT_RTPRIO", Resource::Rtprio),
    ("rttime", "RLIMIT_RTTIME", Resource::Rttime),
    ("sigpending", "RLIMIT_SIGPENDING", Resource::Sigpending),
    ("stack", "RLIMIT_STACK", Resource::Stack),
];

/// The limits that this process was started with; `u64::MAX` means unlimited.
pub fn current() -> &'static [Rlimit] {
    static CURRENT: OnceLock<Vec<Rlimit>> = OnceLock::new();
    CURRENT.get_or_init(|| {
        KINDS
            .iter()
            .map(|(_, kind, resource)| {
                let limit = getrlimit(*resource);
                Rlimit {
                    kind: (*kind).to_owned(),
                    hard: limit.maximum.unwrap_or(u64::MAX),
                    soft: limit.current.unwrap_or(u64::MAX),
                }
            })
            .collect()
    })
}
