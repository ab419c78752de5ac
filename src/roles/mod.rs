//! The same binary as another process. Roles never touch clap.
//!
//! `coracle-init`: pid 1 of a container with `--init` ([`crate::runtime::init`]); started by
//! `runtime::launch` only. All other roles (monitor, holder) are forks without an exec.

/// Runs the role that `words` (argv) name; `None` when this is a person's command. The value is
/// the exit code of the process.
pub fn dispatch(words: &[String]) -> Option<u8> {
    match words.first().map(String::as_str) {
        Some("coracle-init") => Some(crate::runtime::init::run(words)),
        _ => None,
    }
}
