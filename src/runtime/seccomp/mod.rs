//! System call filters: profiles as data -> kernel programs. Pure but for [`filter`], which reads
//! a profile's file.

mod bpf;
mod compile;
mod default;
mod profile;
mod table;

#[cfg(test)]
mod tests;

use std::io::Read as _;
use std::path::Path;

use crate::base::{Context as _, Error, Hint as _, Result};
use crate::runtime::capabilities;
use crate::spec::runtime::{Seccomp, Spec};
use crate::state::options::SecurityOptions;

pub use crate::sys::seccomp::Instruction;
pub use default::VERSION as DEFAULT_VERSION;

/// The annotation with an image's architecture.
///
/// Spec: image-spec, conversion, "Annotation Fields".
pub(super) const ARCHITECTURE: &str = "org.opencontainers.image.architecture";

/// A profile larger than this is not read.
const LIMIT: u64 = 4 << 20;

/// The built-in profile's program for the default capabilities, which nearly every start uses:
/// compiled ahead, because building it takes 0.15 ms. A test keeps it true to the profile.
#[cfg(target_arch = "x86_64")]
const PREPARED: &[u8] = include_bytes!("default-x86_64.bpf");
#[cfg(target_arch = "aarch64")]
const PREPARED: &[u8] = include_bytes!("default-aarch64.bpf");
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const PREPARED: &[u8] = &[];

/// A compiled filter and how to load it.
#[derive(Clone)]
pub struct Filter {
    /// The program.
    pub program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter")
            .field("instructions", &self.program.len())
            .field("flags", &self.flags)
            .finish()
    }
}

/// The built-in profile for a container that has `caps` (`CAP_...` names) in its bounding set.
pub fn default_profile<S: AsRef<str>>(caps: &[S]) -> Seccomp {
    default::profile(caps, false)
}

/// Whether 32-bit programs of a container may make sockets by `socketcall`, which no filter can
/// look into: only an image for 32-bit x86 has no other way.
pub fn needs_socketcall(spec: &Spec) -> bool {
    spec.annotations
        .get(ARCHITECTURE)
        .is_some_and(|architecture| architecture == "386")
}

/// Compiles a profile for this machine's system call interfaces.
///
/// # Errors
/// `Invalid` for unknown actions, operators or argument numbers; `Unsupported` for what needs an
/// agent, and for a program that the kernel would not take.
pub fn compile(profile: &Seccomp) -> Result<Vec<Instruction>> {
    if asks_agent(profile) {
        return Err(Error::unsupported(
            "seccomp profiles with SCMP_ACT_NOTIFY need an agent, which coracle does not run",
        ));
    }
    compile::compile(profile, compile::Machine::host())
}

/// Whether calls are put before an agent (`SCMP_ACT_NOTIFY`).
pub fn asks_agent(profile: &Seccomp) -> bool {
    let notify = |action: &str| action == "SCMP_ACT_NOTIFY";
    notify(&profile.default_action) || profile.syscalls.iter().any(|s| notify(&s.action))
}

/// The interfaces of this machine, as profiles name them.
pub fn architectures() -> Vec<&'static str> {
    let machine = compile::Machine::host();
    std::iter::once(machine.native())
        .chain(machine.others().iter().map(|(name, _)| *name))
        .collect()
}

/// The filter of a bundle's configuration, with an agent where it names one.
///
/// Spec: runtime-spec, config-linux, "Seccomp".
///
/// # Errors
/// As [`compile`]; `Invalid` for what the specification forbids.
pub fn of_bundle(profile: &Seccomp) -> Result<Filter> {
    if asks_agent(profile) && profile.listener_path.as_deref().is_none_or(str::is_empty) {
        return Err(Error::invalid(
            "the seccomp profile has SCMP_ACT_NOTIFY, but no listenerPath",
        ));
    }
    if profile.listener_metadata.is_some() && profile.listener_path.is_none() {
        return Err(Error::invalid(
            "the seccomp profile has listenerMetadata, but no listenerPath",
        ));
    }
    let rules = profile.syscalls.iter().map(|s| (&s.action, s.errno_ret));
    for (action, errno) in rules.chain([(&profile.default_action, profile.default_errno_ret)]) {
        let has_errno = matches!(action.as_str(), "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE");
        if errno.is_some() && !has_errno {
            return Err(Error::invalid(format!(
                "the seccomp profile gives an errno for {action}, which has none"
            )));
        }
    }
    if profile.syscalls.iter().any(|s| s.names.is_empty()) {
        return Err(Error::invalid(
            "the seccomp profile has a rule without names",
        ));
    }
    let silent = profile
        .syscalls
        .iter()
        .any(|s| s.action == "SCMP_ACT_NOTIFY" && s.names.iter().any(|n| n == "sendmsg"));
    if silent || profile.default_action == "SCMP_ACT_NOTIFY" {
        return Err(Error::invalid(
            "the seccomp profile asks its agent about sendmsg, by which the agent is reached",
        ));
    }
    Ok(Filter {
        program: compile::compile(profile, compile::Machine::host())?,
        flags: flags(profile)?,
    })
}

/// Reads a profile in the specification's, Docker's or podman's form and leaves the rules that
/// apply here to a container with `caps`.
///
/// # Errors
/// `Invalid` for anything that is not a profile.
pub fn parse_profile(text: &[u8], caps: &[String]) -> Result<Seccomp> {
    let release = rustix::system::uname();
    let kernel = profile::version(&release.release().to_string_lossy())?;
    profile::parse(
        text,
        &profile::Situation {
            caps,
            machine: compile::Machine::host(),
            kernel,
        },
    )
}

/// The filter for a container with `caps` in its bounding set: none when unconfined or privileged.
/// `socketcall`: what [`needs_socketcall`] says.
///
/// # Errors
/// As [`compile`] and [`parse_profile`]; what the kernel says about the profile's file.
pub fn filter(
    security: &SecurityOptions,
    privileged: bool,
    caps: &[String],
    socketcall: bool,
) -> Result<Option<Filter>> {
    let profile = match security.seccomp.as_deref() {
        Some("unconfined") => return Ok(None),
        None if privileged => return Ok(None),
        None if !socketcall
            && !PREPARED.is_empty()
            && default::is_same(caps, &capabilities::DEFAULT) =>
        {
            return Ok(Some(Filter {
                program: decode(PREPARED),
                flags: 0,
            }));
        }
        None => default::profile(caps, socketcall),
        Some("socketcall") => default::profile(caps, true),
        Some(path) => {
            let what = || format!("cannot use the seccomp profile {path}");
            let text = read(Path::new(path))
                .what(what)
                .hint(|| "name a file with a profile, or leave the option out for the usual one")?;
            parse_profile(&text, caps).what(what)?
        }
    };
    Ok(Some(Filter {
        program: compile(&profile)?,
        flags: flags(&profile)?,
    }))
}

/// A program as bytes: each instruction in the kernel's layout, little endian.
fn decode(bytes: &[u8]) -> Vec<Instruction> {
    let (instructions, _) = bytes.as_chunks::<8>();
    instructions
        .iter()
        .map(|&[c0, c1, jt, jf, k0, k1, k2, k3]| Instruction {
            code: u16::from_le_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_le_bytes([k0, k1, k2, k3]),
        })
        .collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let file = std::fs::File::open(path).what(|| format!("cannot open {}", path.display()))?;
    let mut text = Vec::new();
    file.take(LIMIT + 1)
        .read_to_end(&mut text)
        .what(|| format!("cannot read {}", path.display()))?;
    if text.len() as u64 > LIMIT {
        return Err(Error::invalid(format!("{} is too large", path.display())));
    }
    Ok(text)
}

/// The kernel's bits for a profile's flags.
///
/// # Errors
/// `Invalid` for unknown ones.
fn flags(profile: &Seccomp) -> Result<u32> {
    let mut bits = 0;
    for flag in &profile.flags {
        bits |= match flag.as_str() {
            // Every start has one thread: there is nothing to synchronise.
            "" | "SECCOMP_FILTER_FLAG_TSYNC" => 0,
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => crate::sys::seccomp::WAIT_KILLABLE,
            "SECCOMP_FILTER_FLAG_LOG" => libc::SECCOMP_FILTER_FLAG_LOG as u32,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32,
            other => {
                return Err(Error::invalid(format!(
                    "unknown flag {other:?} in the seccomp profile"
                )));
            }
        };
    }
    Ok(bits)
}
