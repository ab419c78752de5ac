//! Rules by name -> one program for all interfaces of this machine.
//!
//! Meaning of a profile, for each call: the first rule whose conditions all hold; else the first
//! rule without conditions; else the default. (libseccomp lets a rule without conditions win over
//! all others of its call; where the two differ, ours is what the author of a condition meant.)
//! Calls that the profile is too old to know, those above its highest one, answer ENOSYS when the
//! default is to deny, as runc does: programs fall back on that and not on EPERM. What comes
//! through an interface that the profile does not list: x32 answers ENOSYS, as a kernel without
//! it, anything else ends the process.

use super::Instruction;
use super::bpf::{self, Condition, Op};
use super::table::{self, Abi};
use crate::base::{Error, Kind, Result};
use crate::spec::runtime::{Seccomp, SeccompArg};
use crate::sys::seccomp::MAX_INSTRUCTIONS;

/// Numbers of x32 have this bit.
const X32_BIT: u32 = 0x4000_0000;

/// Arguments that the kernel takes as `int` although the register has 64 bits. Comparing all 64
/// would let `socket(1 << 32 | AF_ALG)` slip past a rule about `AF_ALG` (as CVE-2019-10063 did).
const INTS: [(&str, &[u32]); 7] = [
    ("fcntl", &[0, 1]),
    ("ioctl", &[0, 1]),
    ("personality", &[0]),
    ("prctl", &[0]),
    ("socket", &[0, 1, 2]),
    ("socketcall", &[0]),
    ("socketpair", &[0, 1, 2]),
];

/// A machine: which interface is native, how the kernel names each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    /// This one.
    pub(super) const fn host() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Aarch64
        } else {
            Self::X86_64
        }
    }

    /// The native name in profiles.
    pub(super) const fn native(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
        }
    }

    /// Go's name, which `includes.arches` uses.
    pub(super) const fn go(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The interfaces beside the native one.
    pub(super) const fn others(self) -> &'static [(&'static str, Abi)] {
        match self {
            Self::X86_64 => &[("SCMP_ARCH_X86", Abi::I386), ("SCMP_ARCH_X32", Abi::X32)],
            Self::Aarch64 => &[("SCMP_ARCH_ARM", Abi::Arm)],
        }
    }

    /// The interfaces that a profile lists and this machine can have; the native one always.
    pub(super) fn interfaces(self, profile: &Seccomp) -> Vec<Abi> {
        let native = match self {
            Self::X86_64 => Abi::X86_64,
            Self::Aarch64 => Abi::Aarch64,
        };
        let listed = self
            .others()
            .iter()
            .filter(|(name, _)| profile.architectures.iter().any(|a| a == name));
        std::iter::once(native)
            .chain(listed.map(|(_, abi)| *abi))
            .collect()
    }
}

/// `AUDIT_ARCH_*`. Kernel: `include/uapi/linux/audit.h`.
pub(super) const fn audit(abi: Abi) -> u32 {
    match abi {
        Abi::X86_64 | Abi::X32 => 0xC000_003E,
        Abi::I386 => 0x4000_0003,
        Abi::Aarch64 => 0xC000_00B7,
        Abi::Arm => 0x4000_0028,
    }
}

/// A rule, checked.
struct Rule {
    verdict: u32,
    conditions: Vec<Condition>,
}

/// What is done with a call.
#[derive(Clone, PartialEq, Eq)]
enum Leaf<'a> {
    Verdict(u32),
    Check(&'a [(u32, usize)]),
}

/// Compiles `profile` for `machine`.
///
/// # Errors
/// See [`super::compile`].
pub(super) fn compile(profile: &Seccomp, machine: Machine) -> Result<Vec<Instruction>> {
    let default = verdict(&profile.default_action, profile.default_errno_ret)?;
    let mut rules: Vec<Rule> = Vec::new();
    // For each rule of ours, which of the profile's entries it stems from.
    let mut entries: Vec<std::ops::Range<usize>> = Vec::new();
    for entry in &profile.syscalls {
        let start = rules.len();
        let verdict = verdict(&entry.action, entry.errno_ret)?;
        let conditions = entry
            .args
            .iter()
            .map(condition)
            .collect::<Result<Vec<_>>>()?;
        let repeated = conditions
            .iter()
            .enumerate()
            .any(|(i, c)| conditions[..i].iter().any(|d| d.index == c.index));
        if repeated {
            // runc and crun: several conditions on one argument are alternatives.
            rules.extend(conditions.into_iter().map(|c| Rule {
                verdict,
                conditions: vec![c],
            }));
        } else {
            rules.push(Rule {
                verdict,
                conditions,
            });
        }
        entries.push(start..rules.len());
    }

    let denies_by_default = !allows(default);
    let interfaces = machine.interfaces(profile);
    let mut calls: Vec<Vec<(u32, usize)>> = interfaces.iter().map(|_| Vec::new()).collect();
    for (entry, range) in profile.syscalls.iter().zip(&entries) {
        for name in &entry.names {
            let Some(row) = table::row(name) else {
                // A call of another architecture is nothing to us. One that shall be denied while
                // all others are allowed would go through unseen.
                if denies_by_default || allows(verdict(&entry.action, entry.errno_ret)?) {
                    continue;
                }
                return Err(Error::invalid(format!(
                    "the seccomp profile denies {name:?}, a system call that is not known here"
                )));
            };
            for (abi, list) in interfaces.iter().zip(&mut calls) {
                if let Some(number) = table::number(row, *abi) {
                    list.extend(range.clone().map(|rule| (number, rule)));
                }
            }
        }
    }

    let mut blocks: Vec<(Abi, Vec<Instruction>)> = Vec::new();
    for (abi, list) in interfaces.iter().zip(&mut calls) {
        list.sort_unstable();
        blocks.push((*abi, block(*abi, list, &rules, default)));
    }
    let program = join(blocks);
    if program.len() > MAX_INSTRUCTIONS {
        return Err(Error::new(
            Kind::Unsupported,
            format!(
                "the seccomp profile needs {} instructions, the kernel takes {MAX_INSTRUCTIONS}",
                program.len()
            ),
        ));
    }
    Ok(program)
}

/// One interface's code: the tree over its calls. `calls` is sorted by number, then rule.
fn block(abi: Abi, calls: &[(u32, usize)], rules: &[Rule], default: u32) -> Vec<Instruction> {
    let bit = if abi == Abi::X32 { X32_BIT } else { 0 };
    let mut out: Vec<(u32, Leaf<'_>)> = vec![(0, Leaf::Verdict(default))];
    let mut push = |at: u32, leaf| {
        if out.last().is_some_and(|(last, _)| *last == at) {
            out.pop();
        }
        if out.last().is_none_or(|(_, last)| *last != leaf) {
            out.push((at, leaf));
        }
    };
    for group in calls.chunk_by(|a, b| a.0 == b.0) {
        let number = group[0].0 | bit;
        let leaf = match group {
            [(_, only)] if rules[*only].conditions.is_empty() => {
                Leaf::Verdict(rules[*only].verdict)
            }
            _ if group.iter().all(|(_, r)| rules[*r].conditions.is_empty()) => {
                Leaf::Verdict(rules[group[0].1].verdict)
            }
            _ => Leaf::Check(group),
        };
        push(number, leaf);
        push(number + 1, Leaf::Verdict(default));
    }
    if let Some((highest, _)) = calls.last()
        && !allows(default)
    {
        push(
            (highest | bit) + 1,
            Leaf::Verdict(errno(libc::ENOSYS as u32)),
        );
    }
    let code: Vec<(u32, Vec<Instruction>)> = out
        .into_iter()
        .map(|(at, leaf)| (at, leaf_code(&leaf, abi, rules, default)))
        .collect();
    let ranges: Vec<(u32, &[Instruction])> = code.iter().map(|(at, c)| (*at, &c[..])).collect();
    bpf::tree(&ranges)
}

fn leaf_code(leaf: &Leaf<'_>, abi: Abi, rules: &[Rule], default: u32) -> Vec<Instruction> {
    let group = match leaf {
        Leaf::Verdict(verdict) => return vec![bpf::ret(*verdict)],
        Leaf::Check(group) => group,
    };
    let ints: &[u32] = INTS
        .iter()
        .find(|(name, _)| {
            group.first().map(|c| c.0) == table::row(name).and_then(|r| table::number(r, abi))
        })
        .map_or(&[], |(_, arguments)| arguments);
    let wide = |index: u32| !matches!(abi, Abi::I386 | Abi::Arm) && !ints.contains(&index);
    let mut code = Vec::new();
    let mut otherwise = default;
    let mut found = false;
    for (_, rule) in *group {
        let rule = &rules[*rule];
        if rule.conditions.is_empty() {
            if !found {
                otherwise = rule.verdict;
                found = true;
            }
            continue;
        }
        code.extend(bpf::rule(&rule.conditions, wide, rule.verdict));
    }
    code.push(bpf::ret(otherwise));
    code
}

/// The whole program: which interface, then its block.
fn join(blocks: Vec<(Abi, Vec<Instruction>)>) -> Vec<Instruction> {
    let mut native = Vec::new();
    let mut x32 = vec![bpf::ret(errno(libc::ENOSYS as u32))];
    let mut compat: Option<(Abi, Vec<Instruction>)> = None;
    let mut which = Abi::X86_64;
    for (abi, code) in blocks {
        match abi {
            Abi::X86_64 | Abi::Aarch64 => (which, native) = (abi, code),
            Abi::X32 => x32 = code,
            Abi::I386 | Abi::Arm => compat = Some((abi, code)),
        }
    }
    let mut own = vec![bpf::load(bpf::NR)];
    if which == Abi::X86_64 {
        bpf::branch(bpf::JGE, X32_BIT, &x32, &native, &mut own);
    } else {
        own.extend(native);
    }
    let mut other = vec![bpf::ret(libc::SECCOMP_RET_KILL_PROCESS)];
    if let Some((abi, code)) = compat {
        let kill = std::mem::take(&mut other);
        let mut known = vec![bpf::load(bpf::NR)];
        known.extend(code);
        bpf::branch(bpf::JEQ, audit(abi), &known, &kill, &mut other);
    }
    let mut program = vec![bpf::load(bpf::ARCH)];
    bpf::branch(bpf::JEQ, audit(which), &own, &other, &mut program);
    program
}

fn errno(number: u32) -> u32 {
    libc::SECCOMP_RET_ERRNO | (number & libc::SECCOMP_RET_DATA)
}

fn allows(verdict: u32) -> bool {
    matches!(
        verdict & libc::SECCOMP_RET_ACTION_FULL,
        libc::SECCOMP_RET_ALLOW | libc::SECCOMP_RET_LOG | libc::SECCOMP_RET_TRACE
    )
}

/// What the kernel shall return for an action.
///
/// # Errors
/// `Invalid` for unknown actions.
pub(super) fn verdict(action: &str, errno_ret: Option<u32>) -> Result<u32> {
    let data = errno_ret.unwrap_or(libc::EPERM as u32);
    if data > libc::SECCOMP_RET_DATA {
        return Err(Error::invalid(format!(
            "the seccomp profile's errno {data} is too large"
        )));
    }
    Ok(match action {
        "SCMP_ACT_ALLOW" => libc::SECCOMP_RET_ALLOW,
        "SCMP_ACT_ERRNO" => errno(data),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => libc::SECCOMP_RET_KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => libc::SECCOMP_RET_KILL_PROCESS,
        "SCMP_ACT_TRAP" => libc::SECCOMP_RET_TRAP,
        "SCMP_ACT_LOG" => libc::SECCOMP_RET_LOG,
        "SCMP_ACT_TRACE" => libc::SECCOMP_RET_TRACE | data,
        "SCMP_ACT_NOTIFY" => libc::SECCOMP_RET_USER_NOTIF,
        _ => {
            return Err(Error::invalid(format!(
                "unknown action {action:?} in the seccomp profile"
            )));
        }
    })
}

fn condition(arg: &SeccompArg) -> Result<Condition> {
    if arg.index > 5 {
        return Err(Error::invalid(format!(
            "the seccomp profile names argument {}: a system call has 0 to 5",
            arg.index
        )));
    }
    let op = match arg.op.as_str() {
        "SCMP_CMP_EQ" => Op::Eq,
        "SCMP_CMP_NE" => Op::Ne,
        "SCMP_CMP_LT" => Op::Lt,
        "SCMP_CMP_LE" => Op::Le,
        "SCMP_CMP_GT" => Op::Gt,
        "SCMP_CMP_GE" => Op::Ge,
        "SCMP_CMP_MASKED_EQ" => Op::MaskedEq,
        other => {
            return Err(Error::invalid(format!(
                "unknown operator {other:?} in the seccomp profile"
            )));
        }
    };
    Ok(Condition {
        index: arg.index,
        op,
        value: arg.value,
        value_two: arg.value_two,
    })
}
