//! The same binary as another process. Roles never touch clap.
//!
//! `coracle-init`: pid 1 of a container with `--init` ([`crate::runtime::init`]); started by
//! `runtime::launch` only. `coracle-fuse`: the server of a root file system ([`fuse`]).
//! `coracle-system-generator`, `coracle-user-generator`: systemd's (`generator`). All other
//! roles (monitor, holder) are forks without an exec.

pub mod fuse;
mod generator;
pub mod hello;

/// Runs the role that argv names; `None` when this is a person's command. The value is the exit
/// code of the process.
pub fn dispatch() -> Option<u8> {
    let mut words = std::env::args_os();
    let (name, first, second) = (words.next()?, words.next(), words.next());
    let all = || -> Vec<String> {
        std::env::args_os()
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    };
    if name == crate::runtime::init::NAME {
        return Some(crate::runtime::init::run(&all()));
    }
    if name == crate::handoff::fuse::NAME {
        return Some(fuse::run(&all()));
    }
    if let Some(for_user) = generator::named(&name.to_string_lossy()) {
        return Some(generator::run(&all(), for_user));
    }
    match (first, second) {
        (Some(word), None) if word == "hello" => Some(hello::run()),
        _ => None,
    }
}
