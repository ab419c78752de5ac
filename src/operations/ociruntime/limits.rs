//! `linux.resources` -> files of a cgroup and what is written to them. Pure.
//!
//! Spec: config-linux, "Control groups". Kernel: Documentation/admin-guide/cgroup-v2.rst and
//! cgroup-v1/.

use crate::base::{Error, Result};
use crate::spec::resources::{BlockIo, Cpu, HugepageLimit, Memory, Resources, Throttle};

/// Files to write, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Controller, file, content.
    pub list: Vec<(String, String, String)>,
}

impl Files {
    fn set(&mut self, controller: &str, file: impl Into<String>, value: impl ToString) {
        self.list
            .push((controller.to_owned(), file.into(), value.to_string()));
    }

    /// The controllers that must be on, each once.
    pub fn controllers(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        for (controller, _, _) in &self.list {
            if !all.contains(&controller.as_str()) && controller != "cgroup" {
                all.push(controller);
            }
        }
        all
    }
}

fn or_max(value: i64) -> String {
    if value < 0 {
        "max".to_owned()
    } else {
        value.to_string()
    }
}

/// `pids.max`. 0 is a limit as any other one (spec 1.3): the first process alone, which could not
/// be born in the group otherwise.
fn pids(limit: i64) -> String {
    or_max(if limit == 0 { 1 } else { limit })
}

/// Whether a number asks for something: 0 means that nothing is set.
fn given(value: Option<i64>) -> Option<i64> {
    value.filter(|v| *v != 0)
}

fn cannot(what: &str) -> Error {
    Error::unsupported(format!(
        "{what} cannot be applied: cgroup v2 has no such setting"
    ))
}

/// The files of cgroup v2.
///
/// # Errors
/// `Unsupported` for what has no counterpart there, `Invalid` for contradictions.
pub fn v2(resources: &Resources) -> Result<Files> {
    let mut files = Files::default();
    if let Some(memory) = &resources.memory {
        memory_v2(memory, &mut files)?;
    }
    if let Some(cpu) = &resources.cpu {
        cpu_v2(cpu, &mut files)?;
    }
    if let Some(limit) = resources.pids.and_then(|p| p.limit) {
        files.set("pids", "pids.max", pids(limit));
    }
    if let Some(io) = &resources.block_io {
        io_v2(io, &mut files)?;
    }
    for huge in resources.hugepage_limits.iter().flatten() {
        // Both what is reserved, where the kernel counts that, and what is used.
        for file in ["rsvd.max", "max"] {
            let file = format!("hugetlb.{}.{file}", page_size(huge)?);
            files.set("hugetlb", file, huge.limit);
        }
    }
    rdma(resources, &mut files)?;
    if resources
        .network
        .as_ref()
        .and_then(|n| n.as_object())
        .is_some_and(|n| n.values().any(|v| !v.is_null() && *v != 0))
    {
        return Err(cannot("linux.resources.network"));
    }
    for (file, value) in resources.unified.iter().flatten() {
        if file.contains('/') || !file.contains('.') {
            return Err(Error::invalid(format!(
                "{file:?} is not the name of a cgroup file"
            )));
        }
        let controller = file.split('.').next().unwrap_or_default();
        for line in value.lines() {
            files.set(controller, file.clone(), line);
        }
    }
    Ok(files)
}

/// The same file in both versions.
fn rdma(resources: &Resources, files: &mut Files) -> Result<()> {
    for (device, rdma) in resources.rdma.iter().flatten() {
        if rdma.hca_handles.is_none() && rdma.hca_objects.is_none() {
            return Err(Error::invalid(format!(
                "linux.resources.rdma.{device} has neither hcaHandles nor hcaObjects"
            )));
        }
        let mut line = device.clone();
        for (key, value) in [
            ("hca_handle", rdma.hca_handles),
            ("hca_object", rdma.hca_objects),
        ] {
            if let Some(value) = value {
                line.push_str(&format!(" {key}={value}"));
            }
        }
        files.set("rdma", "rdma.max", line);
    }
    Ok(())
}

/// A size as the kernel's files have it: a number and `KB`, `MB` or `GB`.
fn page_size(huge: &HugepageLimit) -> Result<&str> {
    let size = huge.page_size.as_str();
    let number = ["KB", "MB", "GB"]
        .iter()
        .find_map(|unit| size.strip_suffix(unit))
        .unwrap_or_default();
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Error::invalid(format!(
            "the huge page size {size:?} is not a number and KB, MB or GB"
        )));
    }
    Ok(size)
}

fn memory_v2(memory: &Memory, files: &mut Files) -> Result<()> {
    for (is_given, name) in [
        (given(memory.kernel).is_some_and(|v| v > 0), "kernel"),
        (given(memory.kernel_tcp).is_some_and(|v| v > 0), "kernelTCP"),
        (memory.disable_oom_killer == Some(true), "disableOOMKiller"),
    ] {
        if is_given {
            return Err(cannot(&format!("linux.resources.memory.{name}")));
        }
    }
    let limit = given(memory.limit);
    if let Some(swap) = given(memory.swap) {
        let value = match (swap, limit) {
            (..0, _) => "max".to_owned(),
            (swap, Some(limit @ 0..)) if swap >= limit => (swap - limit).to_string(),
            (_, Some(0..)) => {
                return Err(Error::invalid(
                    "linux.resources.memory.swap is less than the limit: it counts both",
                ));
            }
            _ => {
                return Err(Error::invalid(
                    "linux.resources.memory.swap needs a memory limit",
                ));
            }
        };
        files.set("memory", "memory.swap.max", value);
    } else if limit.is_some_and(|l| l < 0) {
        files.set("memory", "memory.swap.max", "max");
    }
    if let Some(limit) = limit {
        files.set("memory", "memory.max", or_max(limit));
    }
    if let Some(low) = given(memory.reservation) {
        files.set("memory", "memory.low", or_max(low));
    }
    Ok(())
}

fn cpu_v2(cpu: &Cpu, files: &mut Files) -> Result<()> {
    if given(cpu.realtime_runtime).is_some() || cpu.realtime_period.is_some_and(|p| p != 0) {
        return Err(cannot("linux.resources.cpu.realtimeRuntime"));
    }
    if let Some(idle) = cpu.idle {
        files.set("cpu", "cpu.idle", idle);
    }
    if let Some(shares) = cpu.shares.filter(|s| *s != 0) {
        files.set("cpu", "cpu.weight", weight_of_shares(shares));
    }
    let period = cpu.period.filter(|p| *p != 0);
    let quota = given(cpu.quota);
    if quota.is_some() || period.is_some() {
        let quota = quota.map_or_else(|| "max".to_owned(), or_max);
        let value = match period {
            Some(period) => format!("{quota} {period}"),
            None => quota,
        };
        files.set("cpu", "cpu.max", value);
    }
    if let Some(burst) = cpu.burst {
        let most = quota.filter(|q| *q > 0).map(i64::unsigned_abs);
        if most.is_some_and(|quota| burst > quota) {
            return Err(Error::invalid(
                "linux.resources.cpu.burst is more than the quota",
            ));
        }
        files.set("cpu", "cpu.max.burst", burst);
    }
    for (list, file) in [(&cpu.cpus, "cpuset.cpus"), (&cpu.mems, "cpuset.mems")] {
        if let Some(list) = list.as_deref().filter(|l| !l.is_empty()) {
            files.set("cpuset", file, list);
        }
    }
    Ok(())
}

/// The line between 2..262144 shares and 1..10000, as runc and crun draw it.
fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// The line between 10..1000 and 1..10000.
fn io_weight(weight: u16) -> Result<u32> {
    if !(10..=1000).contains(&weight) {
        return Err(Error::invalid(format!(
            "the block I/O weight {weight} is not between 10 and 1000"
        )));
    }
    Ok(1 + (u32::from(weight) - 10) * 9999 / 990)
}

/// The four kinds of throttle: key in `io.max`, file in v1.
fn throttles(io: &BlockIo) -> [(&'static str, &'static str, &Option<Vec<Throttle>>); 4] {
    [
        (
            "rbps",
            "blkio.throttle.read_bps_device",
            &io.throttle_read_bps_device,
        ),
        (
            "wbps",
            "blkio.throttle.write_bps_device",
            &io.throttle_write_bps_device,
        ),
        (
            "riops",
            "blkio.throttle.read_iops_device",
            &io.throttle_read_iops_device,
        ),
        (
            "wiops",
            "blkio.throttle.write_iops_device",
            &io.throttle_write_iops_device,
        ),
    ]
}

fn io_v2(io: &BlockIo, files: &mut Files) -> Result<()> {
    if io.leaf_weight.is_some_and(|w| w != 0) {
        return Err(cannot("linux.resources.blockIO.leafWeight"));
    }
    if let Some(weight) = io.weight.filter(|w| *w != 0) {
        files.set("io", "io.weight", format!("default {}", io_weight(weight)?));
    }
    for device in io.weight_device.iter().flatten() {
        if device.weight.is_none() && device.leaf_weight.is_none() {
            return Err(Error::invalid(format!(
                "linux.resources.blockIO.weightDevice {}:{} has neither weight nor leafWeight",
                device.major, device.minor
            )));
        }
        if device.leaf_weight.is_some_and(|w| w != 0) {
            return Err(cannot("linux.resources.blockIO.weightDevice.leafWeight"));
        }
        if let Some(weight) = device.weight.filter(|w| *w != 0) {
            let weight = io_weight(weight)?;
            files.set(
                "io",
                "io.weight",
                format!("{}:{} {weight}", device.major, device.minor),
            );
        }
    }
    for (key, _, list) in throttles(io) {
        for limit in list.iter().flatten() {
            let rate = if limit.rate == 0 {
                "max".to_owned()
            } else {
                limit.rate.to_string()
            };
            files.set(
                "io",
                "io.max",
                format!("{}:{} {key}={rate}", limit.major, limit.minor),
            );
        }
    }
    Ok(())
}

/// The files of cgroup v1.
///
/// # Errors
/// `Unsupported` for `unified`, which is for v2.
pub fn v1(resources: &Resources) -> Result<Files> {
    let mut files = Files::default();
    if resources.unified.as_ref().is_some_and(|u| !u.is_empty()) {
        return Err(Error::unsupported(
            "linux.resources.unified cannot be applied: this host uses cgroup v1",
        ));
    }
    if let Some(memory) = &resources.memory {
        for (value, file) in [
            (memory.limit, "memory.limit_in_bytes"),
            (memory.reservation, "memory.soft_limit_in_bytes"),
            (memory.swap, "memory.memsw.limit_in_bytes"),
            (memory.kernel, "memory.kmem.limit_in_bytes"),
            (memory.kernel_tcp, "memory.kmem.tcp.limit_in_bytes"),
        ] {
            if let Some(value) = given(value) {
                files.set("memory", file, value);
            }
        }
        if let Some(swappiness) = memory.swappiness {
            files.set("memory", "memory.swappiness", swappiness);
        }
        if memory.disable_oom_killer == Some(true) {
            files.set("memory", "memory.oom_control", 1);
        }
    }
    if let Some(cpu) = &resources.cpu {
        if let Some(shares) = cpu.shares.filter(|s| *s != 0) {
            files.set("cpu", "cpu.shares", shares);
        }
        if let Some(period) = cpu.period.filter(|p| *p != 0) {
            files.set("cpu", "cpu.cfs_period_us", period);
        }
        if let Some(quota) = given(cpu.quota) {
            files.set("cpu", "cpu.cfs_quota_us", quota);
        }
        if let Some(burst) = cpu.burst {
            files.set("cpu", "cpu.cfs_burst_us", burst);
        }
        if let Some(period) = cpu.realtime_period.filter(|p| *p != 0) {
            files.set("cpu", "cpu.rt_period_us", period);
        }
        if let Some(runtime) = given(cpu.realtime_runtime) {
            files.set("cpu", "cpu.rt_runtime_us", runtime);
        }
        if let Some(idle) = cpu.idle {
            files.set("cpu", "cpu.idle", idle);
        }
        for (list, file) in [(&cpu.cpus, "cpuset.cpus"), (&cpu.mems, "cpuset.mems")] {
            if let Some(list) = list.as_deref().filter(|l| !l.is_empty()) {
                files.set("cpuset", file, list);
            }
        }
    }
    if let Some(limit) = resources.pids.and_then(|p| p.limit) {
        files.set("pids", "pids.max", pids(limit));
    }
    if let Some(io) = &resources.block_io {
        if let Some(weight) = io.weight.filter(|w| *w != 0) {
            files.set("blkio", "blkio.weight", weight);
        }
        if let Some(weight) = io.leaf_weight.filter(|w| *w != 0) {
            files.set("blkio", "blkio.leaf_weight", weight);
        }
        for device in io.weight_device.iter().flatten() {
            for (weight, file) in [
                (device.weight, "blkio.weight_device"),
                (device.leaf_weight, "blkio.leaf_weight_device"),
            ] {
                if let Some(weight) = weight.filter(|w| *w != 0) {
                    let line = format!("{}:{} {weight}", device.major, device.minor);
                    files.set("blkio", file, line);
                }
            }
        }
        for (_, file, list) in throttles(io) {
            for limit in list.iter().flatten() {
                files.set(
                    "blkio",
                    file,
                    format!("{}:{} {}", limit.major, limit.minor, limit.rate),
                );
            }
        }
    }
    for huge in resources.hugepage_limits.iter().flatten() {
        for file in ["rsvd.limit_in_bytes", "limit_in_bytes"] {
            let file = format!("hugetlb.{}.{file}", page_size(huge)?);
            files.set("hugetlb", file, huge.limit);
        }
    }
    rdma(resources, &mut files)?;
    if let Some(network) = &resources.network {
        if let Some(class) = network["classID"].as_u64().filter(|c| *c != 0) {
            files.set("net_cls", "net_cls.classid", class);
        }
        for one in network["priorities"].as_array().into_iter().flatten() {
            let (Some(name), Some(priority)) = (one["name"].as_str(), one["priority"].as_u64())
            else {
                return Err(Error::invalid(
                    "linux.resources.network.priorities needs names and priorities",
                ));
            };
            files.set(
                "net_prio",
                "net_prio.ifpriomap",
                format!("{name} {priority}"),
            );
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Resources {
        serde_json::from_str(json).unwrap()
    }

    fn lines(files: &Files) -> Vec<String> {
        files
            .list
            .iter()
            .map(|(_, file, value)| format!("{file}={value}"))
            .collect()
    }

    #[test]
    fn limits_become_files_of_v2() {
        let all = read(
            r#"{"memory":{"limit":100,"swap":150,"reservation":50,"swappiness":0},
                "cpu":{"shares":1024,"quota":50000,"period":100000,"burst":5,"cpus":"0-1"},
                "pids":{"limit":7},
                "blockIO":{"weight":1000,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":9}],
                           "throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":0}]},
                "hugepageLimits":[{"pageSize":"2MB","limit":4}],
                "rdma":{"mlx":{"hcaHandles":3}},
                "unified":{"memory.high":"64","io.max":"a\nb"}}"#,
        );
        let files = v2(&all).unwrap();
        assert_eq!(
            lines(&files),
            [
                "memory.swap.max=50",
                "memory.max=100",
                "memory.low=50",
                "cpu.weight=39",
                "cpu.max=50000 100000",
                "cpu.max.burst=5",
                "cpuset.cpus=0-1",
                "pids.max=7",
                "io.weight=default 10000",
                "io.max=8:0 rbps=9",
                "io.max=8:0 wiops=max",
                "hugetlb.2MB.rsvd.max=4",
                "hugetlb.2MB.max=4",
                "rdma.max=mlx hca_handle=3",
                "io.max=a",
                "io.max=b",
                "memory.high=64"
            ]
        );
        let controllers = ["memory", "cpu", "cpuset", "pids", "io", "hugetlb", "rdma"];
        assert_eq!(files.controllers(), controllers);
        let unlimited = read(r#"{"memory":{"limit":-1,"swap":-1},"pids":{"limit":-1}}"#);
        let unlimited = lines(&v2(&unlimited).unwrap());
        assert_eq!(
            unlimited,
            ["memory.swap.max=max", "memory.max=max", "pids.max=max"]
        );
        let nothing = read(r#"{"memory":{"limit":0},"cpu":{},"pids":{},"devices":null}"#);
        assert!(v2(&nothing).unwrap().list.is_empty());
        // 0 is a limit of its own: nothing beside the first process.
        let one = read(r#"{"pids":{"limit":0}}"#);
        assert_eq!(lines(&v2(&one).unwrap()), ["pids.max=1"]);
        assert_eq!(lines(&v1(&one).unwrap()), ["pids.max=1"]);
    }

    #[test]
    fn what_v2_has_not_is_refused_and_v1_has_its_own_files() {
        for bad in [
            r#"{"memory":{"kernel":5}}"#,
            r#"{"memory":{"disableOOMKiller":true}}"#,
            r#"{"memory":{"swap":5}}"#,
            r#"{"memory":{"limit":9,"swap":5}}"#,
            r#"{"cpu":{"realtimeRuntime":5}}"#,
            r#"{"blockIO":{"weight":5}}"#,
            r#"{"network":{"classID":5}}"#,
            r#"{"unified":{"../x.y":"1"}}"#,
            r#"{"cpu":{"quota":5,"burst":6}}"#,
            r#"{"rdma":{"mlx":{}}}"#,
            r#"{"hugepageLimits":[{"pageSize":"2","limit":4}]}"#,
            r#"{"hugepageLimits":[{"pageSize":"../2MB","limit":4}]}"#,
            r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0}]}}"#,
            r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"leafWeight":5}]}}"#,
        ] {
            assert!(v2(&read(bad)).is_err(), "{bad}");
        }
        let old = read(
            r#"{"memory":{"limit":100,"swap":150},"cpu":{"quota":5,"shares":2,"realtimeRuntime":7},
                "pids":{"limit":3},"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":9}]},
                "network":{"classID":4,"priorities":[{"name":"eth0","priority":5}]}}"#,
        );
        assert_eq!(
            lines(&v1(&old).unwrap()),
            [
                "memory.limit_in_bytes=100",
                "memory.memsw.limit_in_bytes=150",
                "cpu.shares=2",
                "cpu.cfs_quota_us=5",
                "cpu.rt_runtime_us=7",
                "pids.max=3",
                "blkio.weight_device=8:0 9",
                "net_cls.classid=4",
                "net_prio.ifpriomap=eth0 5"
            ]
        );
        assert!(v1(&read(r#"{"unified":{"memory.high":"1"}}"#)).is_err());
    }
}
