//! `stats`: what containers use, from their control groups, else summed over their processes.

use std::fs;

use super::processes;
use crate::base::time::Timestamp;
use crate::base::{Error, Result};
use crate::cgroup::Group;
use crate::operations::session::Session;
use crate::runtime::userns::{Want, enter};
use crate::state::container::{Container, State, Status};
use crate::state::options::NamespaceMode;

/// Clock ticks a second, as `/proc` counts them.
const TICKS: u64 = 100;

/// One look at one container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// When, nanoseconds.
    pub at: i64,
    /// Processor time so far, microseconds.
    pub cpu_usec: u64,
    /// Memory in use, bytes.
    pub memory: u64,
    /// The most it may use, bytes: the host's memory without a limit.
    pub memory_limit: u64,
    /// Bytes received over the network.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes read from disks; absent without a control group.
    pub read: Option<u64>,
    /// Bytes written to disks.
    pub written: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// Since when it runs.
    pub started: Timestamp,
    /// Whether the figures come from a control group.
    pub exact: bool,
}

impl Sample {
    /// Percent of one processor since `before`, or since the start.
    pub fn cpu_percent(&self, before: Option<&Self>) -> f64 {
        let (from, used) = match before {
            Some(b) => (b.at, self.cpu_usec.saturating_sub(b.cpu_usec)),
            None => (self.started.0, self.cpu_usec),
        };
        let wall = (self.at - from) as f64 / 1000.0;
        if wall > 0.0 {
            used as f64 * 100.0 / wall
        } else {
            0.0
        }
    }

    /// Percent of the memory limit.
    pub fn memory_percent(&self) -> f64 {
        if self.memory_limit == 0 {
            return 0.0;
        }
        self.memory as f64 * 100.0 / self.memory_limit as f64
    }
}

/// Looks at a container; one that does not run has a sample of zeros.
///
/// # Errors
/// What the kernel says.
pub fn sample(session: &Session, container: &Container) -> Result<Sample> {
    let (state, status) = container.state_and_status()?;
    let running = matches!(state, State::Running | State::Paused);
    let Some(status) = status.filter(|_| running) else {
        return Ok(Sample::default());
    };
    enter(&session.dirs, Want::Of(status.monitor.clone()))?;
    let host = host_memory();
    let mut sample = match status.cgroup.as_deref().and_then(|p| Group::open(p).ok()) {
        Some(group) => {
            let stats = group.stats();
            let missing = stats.memory.is_none() || stats.cpu_usec.is_none();
            let summed = if missing {
                by_processes(container, &status)?
            } else {
                Sample::default()
            };
            Sample {
                cpu_usec: stats.cpu_usec.unwrap_or(summed.cpu_usec),
                memory: stats.memory.unwrap_or(summed.memory),
                memory_limit: stats.memory_limit.unwrap_or(host).min(host),
                read: stats.read,
                written: stats.written,
                pids: stats.pids.unwrap_or(summed.pids),
                exact: !missing,
                ..Sample::default()
            }
        }
        None => Sample {
            memory_limit: host,
            ..by_processes(container, &status)?
        },
    };
    sample.at = Timestamp::now().0;
    sample.started = status.started;
    if let Some(init) = &status.init {
        let table = fs::read_to_string(format!("/proc/{}/net/dev", init.pid)).unwrap_or_default();
        (sample.received, sample.sent) = traffic(&table);
    }
    Ok(sample)
}

fn by_processes(container: &Container, status: &Status) -> Result<Sample> {
    let init = status
        .init
        .as_ref()
        .ok_or_else(|| Error::internal("a running container without a process"))?;
    let own = container.record.options.pid != NamespaceMode::Host;
    let mut sample = Sample::default();
    for process in processes::list(init, own)? {
        let text = fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
        let words: Vec<u64> = text
            .rsplit_once(") ")
            .map(|(_, rest)| rest.split(' ').map(|w| w.parse().unwrap_or(0)).collect())
            .unwrap_or_default();
        let word = |n: usize| words.get(n - 3).copied().unwrap_or(0);
        // Own time, and that of children that were waited for.
        let ticks = word(14) + word(15) + word(16) + word(17);
        sample.cpu_usec += ticks * 1_000_000 / TICKS;
        sample.pids += word(20);
        sample.memory += memory(process.pid);
    }
    Ok(sample)
}

/// A process's share of the memory: shared pages are counted in parts where the kernel tells.
fn memory(pid: i32) -> u64 {
    let line = |file: &str, key: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let line = text.lines().find(|l| l.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    line("smaps_rollup", "Pss:")
        .or_else(|| line("status", "VmRSS:"))
        .unwrap_or(0)
        * 1024
}

fn host_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines()
        .find_map(|l| l.strip_prefix("MemTotal:"))
        .and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

/// Received and sent over everything but the loopback.
fn traffic(table: &str) -> (u64, u64) {
    let mut sums = (0, 0);
    for line in table.lines().skip(2) {
        let Some((name, numbers)) = line.split_once(':') else {
            continue;
        };
        if name.trim() == "lo" {
            continue;
        }
        let words: Vec<u64> = numbers
            .split_whitespace()
            .map(|w| w.parse().unwrap_or(0))
            .collect();
        sums.0 += words.first().copied().unwrap_or(0);
        sums.1 += words.get(8).copied().unwrap_or(0);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_leaves_the_loopback_out() {
        let table = "Inter-|   Receive                                                |  Transmit\n face |bytes\n    lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\n  tap0: 5000 9 0 0 0 0 0 0 700 8 0 0 0 0 0 0\n";
        assert_eq!(traffic(table), (5000, 700));
    }

    #[test]
    fn percentages_are_of_one_processor() {
        let before = Sample {
            at: 0,
            ..Sample::default()
        };
        let now = Sample {
            at: 1_000_000_000,
            cpu_usec: 500_000,
            memory: 25,
            memory_limit: 100,
            ..Sample::default()
        };
        assert!((now.cpu_percent(Some(&before)) - 50.0).abs() < 0.01);
        assert!((now.memory_percent() - 25.0).abs() < 0.01);
    }
}
