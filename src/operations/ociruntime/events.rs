//! `events`: what a container uses, from its cgroup's files, in runc's form, and when its memory
//! ran out.
//!
//! Names, units and nesting are those of runc's `types.Stats`; what cgroup v2 does not count is 0 as
//! there. Beyond runc: `network_interfaces` of a network namespace of the container's own.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Map, Value, json};

use super::Place;
use super::record::{Container, Record, Status};
use crate::base::{Context as _, Error, Result};
use crate::sys::namespace::{self, Kind as Ns};

/// One line of `events`.
///
/// # Errors
/// `NotFound`; `Invalid` when it does not run; `Unsupported` without a cgroup of version 2.
pub fn stats(place: &Place, id: &str) -> Result<Value> {
    let container = Container::open(place, id)?;
    if container.status() == Status::Stopped {
        return Err(Error::invalid("container not running"));
    }
    let Some(path) = container.record.cgroups.first() else {
        return Err(Error::unsupported(
            "the container has no cgroup of its own, so nothing is counted",
        ));
    };
    if !path.join("cgroup.controllers").exists() {
        return Err(Error::unsupported(
            "the counters of cgroup v1 cannot be read",
        ));
    }
    let mut data = data(path);
    if let Some(map) = data.as_object_mut() {
        let process = &container.record.process;
        map.insert("network_interfaces".into(), interfaces(process.pid));
        map.insert("intel_rdt".into(), intel_rdt(&container.record));
    }
    Ok(json!({"type": "stats", "id": id, "data": data}))
}

/// What ended a [`Watch::wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The interval passed.
    Interval,
    /// A process was killed for want of memory.
    OutOfMemory,
    /// The container has ended.
    Ended,
}

/// A container whose end and memory are watched.
#[derive(Debug)]
pub struct Watch {
    process: Option<std::os::fd::OwnedFd>,
    memory: Option<File>,
    kills: u64,
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn new(place: &Place, id: &str) -> Result<Self> {
        let container = Container::open(place, id)?;
        let group = container.record.cgroups.first();
        let memory = group.and_then(|path| File::open(path.join("memory.events")).ok());
        let mut watch = Self {
            process: container.record.process.open().ok(),
            memory,
            kills: 0,
        };
        watch.kills = watch.count();
        Ok(watch)
    }

    /// How many processes were killed. Reading is what makes the file wait for its next change.
    fn count(&mut self) -> u64 {
        let Some(file) = &mut self.memory else {
            return 0;
        };
        let mut text = String::new();
        let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
        if read.is_err() {
            // The group is gone.
            self.memory = None;
        }
        let value = text.lines().find_map(|l| l.strip_prefix("oom_kill "));
        value.and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    /// Waits for one of the three.
    ///
    /// # Errors
    /// What poll(2) says.
    pub fn wait(&mut self, interval: Duration) -> Result<Woken> {
        let deadline = Instant::now() + interval;
        loop {
            let Some(process) = &self.process else {
                return Ok(Woken::Ended);
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut fds = vec![PollFd::new(process, PollFlags::IN)];
            if let Some(memory) = &self.memory {
                fds.push(PollFd::from_borrowed_fd(memory.as_fd(), PollFlags::PRI));
            }
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Ok(Woken::Interval),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e).what(|| "cannot watch the container"),
            }
            let mut woken = fds.iter().map(|fd| !fd.revents().is_empty());
            let (ended, memory) = (woken.next() == Some(true), woken.next() == Some(true));
            drop(woken);
            if memory {
                let kills = self.count();
                if kills > std::mem::replace(&mut self.kills, kills) {
                    return Ok(Woken::OutOfMemory);
                }
            }
            if ended {
                return Ok(Woken::Ended);
            }
        }
    }
}

fn text(path: &Path, file: &str) -> String {
    fs::read_to_string(path.join(file)).unwrap_or_default()
}

fn number(path: &Path, file: &str) -> u64 {
    match text(path, file).trim() {
        "max" => u64::MAX,
        text => text.parse().unwrap_or(0),
    }
}

fn table(path: &Path, file: &str) -> Map<String, Value> {
    text(path, file)
        .lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), json!(value.trim().parse::<u64>().ok()?)))
        })
        .collect()
}

fn of(table: &Map<String, Value>, key: &str) -> u64 {
    table.get(key).and_then(Value::as_u64).unwrap_or(0)
}

/// An object, with how long tasks waited where the kernel counts that.
fn with_pressure(mut object: Value, path: &Path, file: &str) -> Value {
    let lines: Map<String, Value> = text(path, file)
        .lines()
        .filter_map(|line| {
            let (kind, rest) = line.split_once(' ')?;
            let numbers = rest.split(' ').filter_map(|word| {
                let (key, value) = word.split_once('=')?;
                let value = match key {
                    "total" => json!(value.parse::<u64>().ok()?),
                    _ => json!(value.parse::<f64>().ok()?),
                };
                Some((key.to_owned(), value))
            });
            Some((kind.to_owned(), Value::Object(numbers.collect())))
        })
        .collect();
    if let Some(map) = object.as_object_mut().filter(|_| !lines.is_empty()) {
        map.insert("psi".into(), Value::Object(lines));
    }
    object
}

fn data(path: &Path) -> Value {
    let cpu = table(path, "cpu.stat");
    let nanoseconds = |key: &str| of(&cpu, key).saturating_mul(1000);
    json!({
        "cpu": with_pressure(json!({
            "usage": {
                "total": nanoseconds("usage_usec"),
                "kernel": nanoseconds("system_usec"),
                "user": nanoseconds("user_usec"),
            },
            "throttling": {
                "periods": of(&cpu, "nr_periods"),
                "throttledPeriods": of(&cpu, "nr_throttled"),
                "throttledTime": nanoseconds("throttled_usec"),
            },
        }), path, "cpu.pressure"),
        "cpuset": {
            "cpus": list(&text(path, "cpuset.cpus.effective")),
            "cpu_exclusive": 0,
            "mems": list(&text(path, "cpuset.mems.effective")),
            "mem_hardwall": 0,
            "mem_exclusive": 0,
            "memory_migrate": 0,
            "memory_spread_page": 0,
            "memory_spread_slab": 0,
            "memory_pressure": 0,
            "sched_load_balance": 0,
            "sched_relax_domain_level": 0,
        },
        "memory": memory(path),
        "pids": {
            "current": number(path, "pids.current"),
            "limit": match number(path, "pids.max") {
                // Unlimited is 0 there.
                u64::MAX => 0,
                limit => limit,
            },
        },
        "blkio": with_pressure(json!({
            "ioServiceBytesRecursive": io(path, "rbytes", "wbytes"),
            "ioServicedRecursive": io(path, "rios", "wios"),
        }), path, "io.pressure"),
        "hugetlb": hugetlb(path),
    })
}

/// The numbers of `0-2,7`.
fn list(text: &str) -> Vec<u16> {
    text.trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
        })
        .flatten()
        .collect()
}

fn memory(path: &Path) -> Value {
    let stat = table(path, "memory.stat");
    let events = table(path, "memory.events");
    let (limit, usage) = (number(path, "memory.max"), number(path, "memory.current"));
    // As in cgroup v1: memory and swap together.
    let swap_limit = match number(path, "memory.swap.max") {
        u64::MAX => u64::MAX,
        swap => swap.saturating_add(limit),
    };
    let swap = usage.saturating_add(number(path, "memory.swap.current"));
    let kernel = json!({"limit": 0, "usage": of(&stat, "kernel"), "failcnt": 0});
    let tcp = json!({"limit": 0, "usage": of(&stat, "sock"), "failcnt": 0});
    let cache = of(&stat, "file");
    let object = json!({
        "cache": cache,
        "usage": {
            "limit": limit,
            "usage": usage,
            "max": number(path, "memory.peak"),
            "failcnt": of(&events, "max"),
        },
        "swap": {"limit": swap_limit, "usage": swap, "failcnt": 0},
        "kernel": kernel,
        "kernelTCP": tcp,
        "raw": stat,
        "event_count": events,
    });
    with_pressure(object, path, "memory.pressure")
}

/// Two counters by device.
fn io(path: &Path, read: &str, write: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for line in text(path, "io.stat").lines() {
        let mut words = line.split(' ');
        let Some((major, minor)) = words.next().and_then(|d| d.split_once(':')) else {
            continue;
        };
        for word in words {
            let (op, value) = match word.split_once('=') {
                Some((key, value)) if key == read => ("Read", value),
                Some((key, value)) if key == write => ("Write", value),
                _ => continue,
            };
            all.push(json!({
                "major": major.parse::<u64>().unwrap_or(0),
                "minor": minor.parse::<u64>().unwrap_or(0),
                "op": op,
                "value": value.parse::<u64>().unwrap_or(0),
            }));
        }
    }
    all
}

/// Huge pages, by the sizes that this kernel has.
fn hugetlb(path: &Path) -> Map<String, Value> {
    let entries = fs::read_dir("/sys/kernel/mm/hugepages");
    let names = entries.into_iter().flatten().flatten();
    names
        .filter_map(|entry| {
            let size = page_size(entry.file_name().to_str()?)?;
            let used = huge(path, &size);
            Some((size, used))
        })
        .collect()
}

/// `hugepages-2048kB` as cgroup files spell it: `2MB`.
fn page_size(name: &str) -> Option<String> {
    let kib = name.strip_prefix("hugepages-")?.strip_suffix("kB")?;
    let kib: u64 = kib.parse().ok()?;
    Some(match (kib >> 20, kib >> 10) {
        (0, 0) => format!("{kib}KB"),
        (0, mib) => format!("{mib}MB"),
        (gib, _) => format!("{gib}GB"),
    })
}

fn huge(path: &Path, size: &str) -> Value {
    let events = table(path, &format!("hugetlb.{size}.events"));
    json!({
        "usage": number(path, &format!("hugetlb.{size}.current")),
        "failcnt": of(&events, "max"),
    })
}

/// The devices of the container's network namespace, when it is not this process's.
fn interfaces(pid: i32) -> Value {
    let own = namespace::open_path(&format!("/proc/{pid}/ns/net"))
        .and_then(|net| namespace::is_own(&net, Ns::Net));
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    match own {
        Ok(false) => devices(&text),
        _ => Value::Null,
    }
}

/// The table of `/proc/net/dev`, without the loopback.
fn devices(text: &str) -> Value {
    let devices = text.lines().filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let n: Vec<u64> = rest
            .split_ascii_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        (name.trim() != "lo").then_some(())?;
        Some(json!({
            "Name": name.trim(),
            "RxBytes": n.first()?, "RxPackets": n.get(1)?,
            "RxErrors": n.get(2)?, "RxDropped": n.get(3)?,
            "TxBytes": n.get(8)?, "TxPackets": n.get(9)?,
            "TxErrors": n.get(10)?, "TxDropped": n.get(11)?,
        }))
    });
    devices.collect()
}

/// The limits of the container's class of service.
fn intel_rdt(record: &Record) -> Value {
    let schemata = record.rdt.first().map(|class| text(class, "schemata"));
    let line = |resource: &str| {
        let found = schemata.as_ref()?.lines().map(str::trim);
        let found = found.filter(|l| l.split(':').next().is_some_and(|r| r.starts_with(resource)));
        let lines: Vec<&str> = found.collect();
        (!lines.is_empty()).then(|| json!(lines.join("\n")))
    };
    let mut map = Map::new();
    for (key, resource) in [("l3_cache_schema", "L3"), ("mem_bw_schema", "MB")] {
        if let Some(value) = line(resource) {
            map.insert(key.to_owned(), value);
        }
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_the_groups_files() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("cpu.stat", "usage_usec 7\nsystem_usec 3\n");
        write("memory.max", "100\n");
        write("memory.current", "42\n");
        write("memory.swap.max", "10\n");
        write("memory.swap.current", "5\n");
        write("memory.stat", "file 9\nsock 1\n");
        write("memory.events", "max 3\noom_kill 1\n");
        write("cpuset.cpus.effective", "0-1,7\n");
        write("pids.max", "max\n");
        write("io.stat", "8:0 rbytes=5 wbytes=6 rios=1 wios=2 dbytes=0\n");
        write(
            "io.pressure",
            "some avg10=0.50 avg60=0.00 avg300=0.00 total=12\n",
        );
        write("hugetlb.2MB.current", "4096\n");
        write("hugetlb.2MB.events", "max 2\n");
        let data = data(dir.path());
        let is = |pointer: &str, expected: Value| {
            assert_eq!(data.pointer(pointer), Some(&expected), "{pointer}");
        };
        is("/cpu/usage/total", json!(7000));
        is("/cpuset/cpus", json!([0, 1, 7]));
        is("/memory/cache", json!(9));
        is(
            "/memory/usage",
            json!({"limit": 100, "usage": 42, "max": 0, "failcnt": 3}),
        );
        is(
            "/memory/swap",
            json!({"limit": 110, "usage": 47, "failcnt": 0}),
        );
        is("/memory/event_count/oom_kill", json!(1));
        is("/pids/limit", json!(0));
        is("/blkio/ioServiceBytesRecursive/1/value", json!(6));
        is("/blkio/ioServicedRecursive/1/value", json!(2));
        is("/blkio/psi/some/avg10", json!(0.5));
        is("/blkio/psi/some/total", json!(12));
        let huge = huge(dir.path(), "2MB");
        assert_eq!(huge, json!({"usage": 4096, "failcnt": 2}));
        for (name, size) in [
            ("hugepages-64kB", Some("64KB")),
            ("hugepages-2048kB", Some("2MB")),
            ("hugepages-1048576kB", Some("1GB")),
            ("other", None),
        ] {
            assert_eq!(page_size(name).as_deref(), size);
        }
        assert!(data["cpu"].get("psi").is_none(), "nothing is made up");
    }

    #[test]
    fn devices_are_those_of_the_kernels_table() {
        let table = "Inter-| Receive\n face |bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 10 2 3 4 0 0 0 0 20 5 6 7 0 0 0 0\n";
        let all = devices(table);
        assert_eq!(all.as_array().unwrap().len(), 1);
        assert_eq!(
            (&all[0]["Name"], &all[0]["TxDropped"]),
            (&json!("eth0"), &json!(7))
        );
    }
}
