//! `events`: what a container uses, from its cgroup's files, in runc's form.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::Place;
use super::record::{Container, Status};
use crate::base::{Error, Result};

/// One line of `events`.
///
/// # Errors
/// `NotFound`; `Invalid` when it does not run; `Unsupported` without a cgroup.
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
    Ok(json!({"type": "stats", "id": id, "data": data(path)}))
}

/// Whether the container still runs.
///
/// # Errors
/// `NotFound`.
pub fn runs(place: &Place, id: &str) -> Result<bool> {
    Ok(Container::open(place, id)?.status() != Status::Stopped)
}

fn number(path: &Path, file: &str) -> u64 {
    let text = fs::read_to_string(path.join(file)).unwrap_or_default();
    match text.trim() {
        "max" => u64::MAX,
        text => text.parse().unwrap_or(0),
    }
}

fn table(path: &Path, file: &str) -> Map<String, Value> {
    let text = fs::read_to_string(path.join(file)).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), json!(value.trim().parse::<u64>().ok()?)))
        })
        .collect()
}

fn data(path: &Path) -> Value {
    let cpu = table(path, "cpu.stat");
    let microseconds = |key: &str| cpu.get(key).and_then(Value::as_u64).unwrap_or(0);
    json!({
        "cpu": {
            "usage": {
                "total": microseconds("usage_usec").saturating_mul(1000),
                "kernel": microseconds("system_usec").saturating_mul(1000),
                "user": microseconds("user_usec").saturating_mul(1000),
            },
            "throttling": {
                "periods": microseconds("nr_periods"),
                "throttledPeriods": microseconds("nr_throttled"),
                "throttledTime": microseconds("throttled_usec").saturating_mul(1000),
            },
        },
        "memory": {
            "usage": {
                "limit": number(path, "memory.max"),
                "usage": number(path, "memory.current"),
                "max": number(path, "memory.peak"),
            },
            "swap": {
                "limit": number(path, "memory.swap.max"),
                "usage": number(path, "memory.swap.current"),
            },
            "raw": table(path, "memory.stat"),
        },
        "pids": {
            "current": number(path, "pids.current"),
            "limit": number(path, "pids.max"),
        },
        "blkio": {"ioServiceBytesRecursive": io(path)},
    })
}

/// Bytes by device, as runc lists them.
fn io(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path.join("io.stat")).unwrap_or_default();
    let mut list = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some((major, minor)) = words.next().and_then(|d| d.split_once(':')) else {
            continue;
        };
        for word in words {
            let (op, value) = match word.split_once('=') {
                Some(("rbytes", value)) => ("Read", value),
                Some(("wbytes", value)) => ("Write", value),
                _ => continue,
            };
            list.push(json!({
                "major": major.parse::<u64>().unwrap_or(0),
                "minor": minor.parse::<u64>().unwrap_or(0),
                "op": op,
                "value": value.parse::<u64>().unwrap_or(0),
            }));
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_the_groups_files() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("cpu.stat", "usage_usec 7\nsystem_usec 3\n");
        write("memory.max", "max\n");
        write("memory.current", "42\n");
        write("io.stat", "8:0 rbytes=5 wbytes=6 rios=1\n");
        let data = data(dir.path());
        assert_eq!(data["cpu"]["usage"]["total"], 7000);
        assert_eq!(data["memory"]["usage"]["usage"], 42);
        assert_eq!(data["memory"]["usage"]["limit"], u64::MAX);
        assert_eq!(data["blkio"]["ioServiceBytesRecursive"][1]["value"], 6);
    }
}
