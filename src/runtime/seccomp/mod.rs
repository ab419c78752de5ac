//! System call filters: profiles as data -> kernel programs. Pure but for reading a profile file.

use crate::base::{Error, Result};
use crate::spec::runtime::Seccomp;
use crate::state::options::SecurityOptions;

pub use crate::sys::seccomp::Instruction;

/// The built-in profile for a container that has `caps` (`CAP_...` names) in its bounding set.
pub fn default_profile(caps: &[String]) -> Seccomp {
    let _ = caps;
    Seccomp::default()
}

/// Compiles a profile for this machine's system call interfaces.
///
/// # Errors
/// `Invalid` for unknown actions, operators, architectures or argument numbers; `Unsupported` for
/// what needs an agent.
pub fn compile(profile: &Seccomp) -> Result<Vec<Instruction>> {
    let _ = profile;
    Err(Error::unsupported("seccomp is being written"))
}

/// The program for a container, from its options: none when unconfined or privileged.
///
/// # Errors
/// As [`compile`]; what the kernel says about the profile's file.
pub fn program(
    security: &SecurityOptions,
    privileged: bool,
    caps: &[String],
) -> Result<Option<Vec<Instruction>>> {
    if privileged || security.seccomp.as_deref() == Some("unconfined") {
        return Ok(None);
    }
    compile(&default_profile(caps)).map(Some)
}
