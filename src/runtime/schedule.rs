//! `process.scheduler`, `ioPriority`, `execCPUAffinity`, `linux.memoryPolicy`, `linux.personality`.
//!
//! Spec: runtime-spec 1.3, config, "Linux Process"; config-linux.

use crate::base::{Context as _, Error, Result};
use crate::spec::runtime::{IoPriority, MemoryPolicy, Personality, Process, Scheduler};
use crate::sys::attributes;
use crate::sys::schedule::{self, Policy};

/// Checks words before a process exists.
///
/// # Errors
/// `Invalid`.
pub(crate) fn check(process: &Process) -> Result<()> {
    if let Some(scheduler) = &process.scheduler {
        policy(scheduler)?;
    }
    if let Some(priority) = &process.io_priority {
        io_class(priority)?;
    }
    if let Some(affinity) = &process.exec_cpu_affinity {
        for list in [&affinity.initial, &affinity.last].into_iter().flatten() {
            numbers(list)?;
        }
    }
    Ok(())
}

/// Sets policy and I/O priority, which the program inherits.
///
/// # Errors
/// What the kernel says.
pub(crate) fn apply(process: &Process) -> Result<()> {
    if let Some(scheduler) = &process.scheduler {
        schedule::set_policy(policy(scheduler)?)
            .what(|| format!("cannot set the scheduler policy {}", scheduler.policy))
            .map_err(|e| e.hint("that may take CAP_SYS_NICE on the host"))?;
    }
    if let Some(priority) = &process.io_priority {
        let (class, level) = io_class(priority)?;
        schedule::set_io_priority(class, level)
            .what(|| format!("cannot set the I/O priority {}", priority.class))?;
    }
    Ok(())
}

/// Processors of a process that is on its way into a container: before it is in the cgroup.
///
/// # Errors
/// What the kernel says.
pub(crate) fn apply_initial_affinity(process: &Process) -> Result<()> {
    affinity(
        process
            .exec_cpu_affinity
            .as_ref()
            .and_then(|a| a.initial.as_deref()),
    )
}

/// As [`apply_initial_affinity`], from when it is in the cgroup.
///
/// # Errors
/// What the kernel says.
pub(crate) fn apply_final_affinity(process: &Process) -> Result<()> {
    affinity(
        process
            .exec_cpu_affinity
            .as_ref()
            .and_then(|a| a.last.as_deref()),
    )
}

fn affinity(list: Option<&str>) -> Result<()> {
    match list.filter(|l| !l.is_empty()) {
        Some(list) => schedule::set_processors(&numbers(list)?)
            .what(|| format!("cannot bind the process to the processors {list}")),
        None => Ok(()),
    }
}

fn policy(scheduler: &Scheduler) -> Result<Policy> {
    let unknown = |what: &str, word: &str| Error::invalid(format!("unknown {what} {word:?}"));
    let policy = match scheduler.policy.as_str() {
        "SCHED_OTHER" => 0,
        "SCHED_FIFO" => 1,
        "SCHED_RR" => 2,
        "SCHED_BATCH" => 3,
        "SCHED_ISO" => 4,
        "SCHED_IDLE" => 5,
        "SCHED_DEADLINE" => 6,
        other => return Err(unknown("scheduler policy", other)),
    };
    let mut flags = 0;
    for flag in &scheduler.flags {
        flags |= match flag.as_str() {
            "SCHED_FLAG_RESET_ON_FORK" => 0x01,
            "SCHED_FLAG_RECLAIM" => 0x02,
            "SCHED_FLAG_DL_OVERRUN" => 0x04,
            "SCHED_FLAG_KEEP_POLICY" => 0x08,
            "SCHED_FLAG_KEEP_PARAMS" => 0x10,
            "SCHED_FLAG_UTIL_CLAMP_MIN" => 0x20,
            "SCHED_FLAG_UTIL_CLAMP_MAX" => 0x40,
            other => return Err(unknown("scheduler flag", other)),
        };
    }
    let real_time = matches!(policy, 1 | 2);
    if scheduler.priority != 0 && !real_time {
        return Err(Error::invalid(format!(
            "scheduler.priority is for SCHED_FIFO and SCHED_RR only, not for {}",
            scheduler.policy
        )));
    }
    if scheduler.runtime + scheduler.deadline + scheduler.period > 0 && policy != 6 {
        return Err(Error::invalid(format!(
            "scheduler.runtime, deadline and period are for SCHED_DEADLINE only, not for {}",
            scheduler.policy
        )));
    }
    if scheduler.nice != 0 && !matches!(policy, 0 | 3) {
        return Err(Error::invalid(format!(
            "scheduler.nice is for SCHED_OTHER and SCHED_BATCH only, not for {}",
            scheduler.policy
        )));
    }
    Ok(Policy {
        policy,
        flags,
        nice: scheduler.nice,
        priority: u32::try_from(scheduler.priority)
            .map_err(|_| Error::invalid("scheduler.priority is negative"))?,
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
    })
}

fn io_class(priority: &IoPriority) -> Result<(u32, u32)> {
    let class = match priority.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => {
            return Err(Error::invalid(format!(
                "unknown I/O priority class {other:?}"
            )));
        }
    };
    match u32::try_from(priority.priority) {
        Ok(level) if level <= 7 => Ok((class, level)),
        _ => Err(Error::invalid(format!(
            "the I/O priority {} is not between 0 and 7",
            priority.priority
        ))),
    }
}

/// The number of an execution domain.
///
/// # Errors
/// `Invalid`.
pub(crate) fn personality(personality: &Personality) -> Result<u64> {
    if let Some(flag) = personality.flags.first() {
        return Err(Error::invalid(format!("unknown personality flag {flag:?}")));
    }
    match personality.domain.as_str() {
        "LINUX" => Ok(0),
        "LINUX32" => Ok(8),
        other => Err(Error::invalid(format!("unknown personality {other:?}"))),
    }
}

/// Sets the execution domain, which the program inherits.
///
/// # Errors
/// `Invalid`; what the kernel says.
pub(crate) fn apply_personality(given: &Personality) -> Result<()> {
    attributes::set_personality(personality(given)?)
        .what(|| format!("cannot set the personality {}", given.domain))
}

/// Sets the memory policy, which the program inherits.
///
/// # Errors
/// `Invalid`; what the kernel says.
pub(crate) fn apply_memory_policy(policy: &MemoryPolicy) -> Result<()> {
    let nodes = if policy.nodes.is_empty() {
        Vec::new()
    } else {
        numbers(&policy.nodes)?
    };
    schedule::set_memory_policy(memory_mode(policy)?, &nodes)
        .what(|| format!("cannot set the memory policy {}", policy.mode))
}

fn memory_mode(policy: &MemoryPolicy) -> Result<i32> {
    let mut mode = match policy.mode.as_str() {
        "MPOL_DEFAULT" => 0,
        "MPOL_PREFERRED" => 1,
        "MPOL_BIND" => 2,
        "MPOL_INTERLEAVE" => 3,
        "MPOL_LOCAL" => 4,
        "MPOL_PREFERRED_MANY" => 5,
        "MPOL_WEIGHTED_INTERLEAVE" => 6,
        other => return Err(Error::invalid(format!("unknown memory policy {other:?}"))),
    };
    for flag in &policy.flags {
        mode |= match flag.as_str() {
            "MPOL_F_STATIC_NODES" => 1 << 15,
            "MPOL_F_RELATIVE_NODES" => 1 << 14,
            "MPOL_F_NUMA_BALANCING" => 1 << 13,
            other => {
                return Err(Error::invalid(format!(
                    "unknown memory policy flag {other:?}"
                )));
            }
        };
    }
    Ok(mode)
}

/// The numbers of a list such as `0-3,7`.
fn numbers(list: &str) -> Result<Vec<usize>> {
    // No machine has more of either.
    const MOST: usize = 1 << 16;
    let bad = || Error::invalid(format!("{list:?} is not a list of numbers such as 0-3,7"));
    let number = |text: &str| match text.trim().parse::<usize>() {
        Ok(n) if n < MOST => Ok(n),
        _ => Err(bad()),
    };
    let mut all = Vec::new();
    for part in list.split(',') {
        match part.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(bad());
                }
                all.extend(first..=last);
            }
            None => all.push(number(part)?),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_numbers_and_contradictions_are_refused() {
        assert_eq!(numbers("0-2,7").unwrap(), [0, 1, 2, 7]);
        for bad in ["", "a", "3-1", "1-", "99999999"] {
            assert!(numbers(bad).is_err(), "{bad}");
        }
        let scheduler = |policy: &str, nice, priority| Scheduler {
            policy: policy.into(),
            nice,
            priority,
            ..Scheduler::default()
        };
        assert_eq!(policy(&scheduler("SCHED_FIFO", 0, 5)).unwrap().priority, 5);
        for (name, nice, priority) in [("SCHED_IDLE", 0, 1), ("SCHED_RR", 1, 1), ("X", 0, 0)] {
            assert!(policy(&scheduler(name, nice, priority)).is_err(), "{name}");
        }
        let memory = MemoryPolicy {
            mode: "MPOL_BIND".into(),
            flags: vec!["MPOL_F_STATIC_NODES".into()],
            ..MemoryPolicy::default()
        };
        assert_eq!(memory_mode(&memory).unwrap(), 2 | 1 << 15);
        let domain = |domain: &str| Personality {
            domain: domain.into(),
            ..Personality::default()
        };
        assert_eq!(personality(&domain("LINUX32")).unwrap(), 8);
        assert!(personality(&domain("BSD")).is_err());
    }
}
