//! The same binary as another process. Roles never touch clap.
//!
//! `coracle-init`: pid 1 of a container with `--init` ([`crate::runtime::init`]); started by
//! `runtime::launch` only. All other roles (monitor, holder) are forks without an exec.

pub mod hello;

/// Runs the role that argv names; `None` when this is a person's command. The value is the exit
/// code of the process.
pub fn dispatch() -> Option<u8> {
    let mut words = std::env::args_os();
    let (name, first, second) = (words.next()?, words.next(), words.next());
    if name == crate::runtime::init::NAME {
        let words: Vec<String> = std::env::args_os()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        return Some(crate::runtime::init::run(&words));
    }
    match (first, second) {
        (Some(word), None) if word == "hello" => Some(hello::run()),
        _ => None,
    }
}
