//! How the kernel schedules this process: policy, processors, memory nodes, I/O priority.

use super::error::{Error, Result};

/// What sched_setattr(2) takes. Times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// -20 to 19, for `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// For `SCHED_DEADLINE`.
    pub runtime: u64,
    /// For `SCHED_DEADLINE`.
    pub deadline: u64,
    /// For `SCHED_DEADLINE`.
    pub period: u64,
}

/// `struct sched_attr`, the first version. Kernel: include/uapi/linux/sched/types.h.
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Sets the calling thread's policy.
///
/// # Errors
/// `EPERM`, `EINVAL`, `EBUSY` (a deadline that cannot be promised).
pub fn set_policy(policy: Policy) -> Result<()> {
    let attributes = Attributes {
        // 48: the size of the first version.
        size: 48,
        policy: policy.policy,
        flags: policy.flags,
        nice: policy.nice,
        priority: policy.priority,
        runtime: policy.runtime,
        deadline: policy.deadline,
        period: policy.period,
    };
    // SAFETY: a valid structure of the size that it names, only read by the kernel.
    let rc = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    check(rc, "sched_setattr")
}

/// Sets the calling thread's I/O priority: `class` 1 (real time), 2 (best effort) or 3 (idle), and
/// a `level` of 0 to 7.
///
/// # Errors
/// `EPERM`, `EINVAL`.
pub fn set_io_priority(class: u32, level: u32) -> Result<()> {
    // IOPRIO_WHO_PROCESS, this thread, IOPRIO_PRIO_VALUE.
    // SAFETY: numbers only.
    let rc = unsafe { libc::syscall(libc::SYS_ioprio_set, 1, 0, (class << 13) | level) };
    check(rc, "ioprio_set")
}

/// Binds the calling thread to processors.
///
/// # Errors
/// `EINVAL` when none of them is there or allowed.
pub fn set_processors(numbers: &[usize]) -> Result<()> {
    let bits = mask(numbers);
    let bytes = size_of_val(bits.as_slice());
    // SAFETY: pointer and length are of one allocation, only read by the kernel.
    let rc = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, bytes, bits.as_ptr()) };
    check(rc, "sched_setaffinity")
}

/// Sets the calling thread's memory policy: `mode` is `MPOL_*` with its flags.
///
/// # Errors
/// `EINVAL` for nodes that are not there and modes that take none, `ENOSYS` without NUMA.
pub fn set_memory_policy(mode: i32, nodes: &[usize]) -> Result<()> {
    let bits = mask(nodes);
    let (pointer, count) = if nodes.is_empty() {
        (std::ptr::null(), 0)
    } else {
        // The kernel takes one bit less than the number given.
        (bits.as_ptr(), bits.len() * 64 + 1)
    };
    // SAFETY: pointer and count are of one allocation, or null and 0; only read by the kernel.
    let rc = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, count) };
    check(rc, "set_mempolicy")
}

/// Words of 64 bits with these bits set.
fn mask(numbers: &[usize]) -> Vec<u64> {
    let highest = numbers.iter().copied().max().unwrap_or(0);
    let mut bits = vec![0_u64; highest / 64 + 1];
    for number in numbers {
        if let Some(word) = bits.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }
    bits
}

fn check(rc: libc::c_long, call: &'static str) -> Result<()> {
    if rc >= 0 {
        Ok(())
    } else {
        Err(Error::last(call, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{clone, pidfd};

    #[test]
    fn a_child_becomes_a_batch_process_on_its_first_processor() {
        assert_eq!(mask(&[0, 65]), [1, 2]);
        let child = clone::fork_with(|| {
            let batch = Policy {
                policy: 3,
                nice: 5,
                ..Policy::default()
            };
            let set = set_policy(batch)
                .and_then(|()| set_io_priority(3, 0))
                .and_then(|()| set_processors(&[0]));
            let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
            let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            let field = |n: usize| rest.split(' ').nth(n - 3).unwrap_or_default().to_owned();
            u8::from(!(set.is_ok() && field(41) == "3" && field(19) == "5"))
        })
        .unwrap();
        assert_eq!(pidfd::wait(&child.pidfd).unwrap().code(), 0);
    }
}
