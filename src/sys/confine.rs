//! Filters of system calls for our own roles: a list of what is allowed, everything else is refused
//! with `EPERM`. (Containers' profiles are compiled by `runtime::seccomp`.)
//!
//! Kernel: seccomp(2), `linux/filter.h`. The program looks at the interface, at the call's number,
//! and at the lower half of one argument.

use super::error::Result;
use super::seccomp::{self, Instruction};

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const EQUALS: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const HAS_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

/// `AUDIT_ARCH_*` of this machine: another interface has other numbers.
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Any.
    Always,
    /// The argument of that number is one of these.
    OneOf(u32, &'static [u32]),
    /// The argument of that number has none of these bits.
    Without(u32, u32),
}

/// A call that is allowed: its number, and when.
pub type Allowed = (libc::c_long, Condition);

/// The program for a list. Pure.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn program(list: &[Allowed]) -> Vec<Instruction> {
    let plain = |code, k| jump(code, k, 0, 0);
    let mut all = vec![
        plain(LOAD, ARCHITECTURE),
        jump(EQUALS, NATIVE, 1, 0),
        plain(RETURN, REFUSE),
        plain(LOAD, NUMBER),
    ];
    for (number, condition) in list {
        let number = u32::try_from(*number).unwrap_or(u32::MAX);
        let rest = match condition {
            Condition::Always => vec![plain(RETURN, ALLOW)],
            Condition::OneOf(argument, values) => {
                let mut rest = vec![plain(LOAD, ARGUMENTS + argument * 8)];
                for value in *values {
                    rest.extend([jump(EQUALS, *value, 0, 1), plain(RETURN, ALLOW)]);
                }
                rest.push(plain(RETURN, REFUSE));
                rest
            }
            Condition::Without(argument, bits) => vec![
                plain(LOAD, ARGUMENTS + argument * 8),
                jump(HAS_BIT, *bits, 1, 0),
                plain(RETURN, ALLOW),
                plain(RETURN, REFUSE),
            ],
        };
        let over = u8::try_from(rest.len()).unwrap_or(u8::MAX);
        all.push(jump(EQUALS, number, 0, over));
        all.extend(rest);
    }
    all.push(plain(RETURN, REFUSE));
    all
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// From now on all threads of this process, and what they start, may make these calls only. Needs
/// `no_new_privs`. `false` on machines whose numbers we do not know.
///
/// # Errors
/// What the kernel says.
pub fn allow_only(list: &[Allowed]) -> Result<bool> {
    load(list, libc::SECCOMP_FILTER_FLAG_TSYNC as u32)
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn load(list: &[Allowed], flags: u32) -> Result<bool> {
    seccomp::load(&program(list), flags).map(|()| true)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn load(_list: &[Allowed], _flags: u32) -> Result<bool> {
    Ok(false)
}

/// The same for the calling thread alone, for tests: the others go on as they were.
///
/// # Errors
/// As [`allow_only`].
#[cfg(test)]
pub fn allow_only_here(list: &[Allowed]) -> Result<bool> {
    load(list, 0)
}
