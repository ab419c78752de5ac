//! The same binary as another process. Roles never touch clap.
//!
//! `coracle-init`: pid 1 of a container with `--init` ([`crate::runtime::init`]); started by
//! `runtime::launch` only. All other roles (monitor, holder) are forks without an exec.

/// Runs the role that argv names; `None` when this is a person's command. The value is the exit
/// code of the process.
pub fn dispatch() -> Option<u8> {
    let name = std::env::args_os().next()?;
    (name == crate::runtime::init::NAME).then(|| {
        let words: Vec<String> = std::env::args_os()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        crate::runtime::init::run(&words)
    })
}
