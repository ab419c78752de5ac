//! Docker's body of `POST /containers/create` -> the words of `coracle create`, which read them as typed.
//!
//! Pure. Every value goes in one word with its option (`--env=A=B`), so that none is taken for another
//! option; what this version does not do is refused by the option's own sentence, or here.

use serde_json::{Map, Value};

use super::fields::{Object, flag, number, object, objects, pairs, strings, text, wrong};
use crate::base::{Error, Result};

/// The words after `create`: options, `--`, image, command.
///
/// # Errors
/// `Invalid` for a body of another form, `Unsupported` for what has no option.
pub fn words(body: &Value, name: Option<&str>, platform: Option<&str>) -> Result<Vec<String>> {
    let config = body
        .as_object()
        .ok_or_else(|| Error::invalid("the container's configuration is empty"))?;
    let mut words = Words(vec![
        "--pull=never".to_owned(),
        "--http-proxy=false".to_owned(),
    ]);
    words.some("name", name);
    words.some("platform", platform);
    words.process(config)?;
    let none = Map::new();
    let host = match config.get("HostConfig") {
        None | Some(Value::Null) => &none,
        Some(Value::Object(host)) => host,
        Some(_) => return Err(wrong("HostConfig")),
    };
    words.host(host)?;
    words.limits(host)?;
    words.security(host)?;
    words.mounts(config, host)?;
    words.network(config, host)?;
    words.health(config)?;
    let image = text(config, "Image")?.filter(|i| !i.is_empty());
    let image = image.ok_or_else(|| Error::invalid("no image was named"))?;
    let mut words = words.0;
    words.push("--".to_owned());
    words.push(image.to_owned());
    words.extend(strings(config, "Cmd")?);
    Ok(words)
}

/// The words of a command line, as they gather.
pub(super) struct Words(pub(super) Vec<String>);

impl Words {
    /// An option with its value.
    pub(super) fn push(&mut self, option: &str, value: impl std::fmt::Display) {
        self.0.push(format!("--{option}={value}"));
    }

    /// An option, if it has a value.
    pub(super) fn some(&mut self, option: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            self.push(option, value);
        }
    }

    /// An option for each text of a field.
    pub(super) fn each(&mut self, option: &str, of: &Object, field: &str) -> Result<()> {
        for value in strings(of, field)? {
            self.push(option, value);
        }
        Ok(())
    }

    /// A figure, unless it is the one that means "not set".
    fn figure(&mut self, option: &str, of: &Object, field: &str, unset: &[i64]) -> Result<()> {
        if let Some(value) = number(of, field)?.filter(|v| !unset.contains(v)) {
            self.push(option, value);
        }
        Ok(())
    }

    fn process(&mut self, config: &Object) -> Result<()> {
        self.some("hostname", text(config, "Hostname")?);
        self.some("domainname", text(config, "Domainname")?);
        self.some("user", text(config, "User")?);
        self.some("workdir", text(config, "WorkingDir")?);
        self.some("stop-signal", text(config, "StopSignal")?);
        self.figure("stop-timeout", config, "StopTimeout", &[])?;
        for (option, field) in [("tty", "Tty"), ("interactive", "OpenStdin")] {
            if flag(config, field)? {
                self.push(option, true);
            }
        }
        for variable in strings(config, "Env")? {
            match variable.split_once('=') {
                Some(("", _)) => return Err(Error::invalid("a variable without a name")),
                Some(_) => self.push("env", variable),
                // Docker's way to take a variable of the image away; never one of ours.
                None => self.push("unsetenv", variable),
            }
        }
        for (key, value) in pairs(config, "Labels")? {
            self.push("label", format!("{key}={value}"));
        }
        match config.get("Entrypoint") {
            None | Some(Value::Null) => {}
            Some(_) => {
                let list = strings(config, "Entrypoint")?;
                match list.as_slice() {
                    [] => {}
                    [one] if one.is_empty() => self.push("entrypoint", ""),
                    list => self.push("entrypoint", Value::from(list.to_vec())),
                }
            }
        }
        Ok(())
    }

    fn host(&mut self, host: &Object) -> Result<()> {
        for (option, field) in [
            ("rm", "AutoRemove"),
            ("init", "Init"),
            ("privileged", "Privileged"),
            ("publish-all", "PublishAllPorts"),
            ("read-only", "ReadonlyRootfs"),
            ("oom-kill-disable", "OomKillDisable"),
        ] {
            if flag(host, field)? {
                self.push(option, true);
            }
        }
        if let Some(policy) = object(host, "RestartPolicy")? {
            let name = text(policy, "Name")?.unwrap_or_default();
            match (name, number(policy, "MaximumRetryCount")?.unwrap_or(0)) {
                ("" | "no", _) => {}
                ("on-failure", most) if most > 0 => self.push("restart", format!("{name}:{most}")),
                _ => self.push("restart", name),
            }
        }
        if let Some(log) = object(host, "LogConfig")? {
            self.some("log-driver", text(log, "Type")?);
            for (key, value) in pairs(log, "Config")? {
                self.push("log-opt", format!("{key}={value}"));
            }
        }
        for (key, value) in pairs(host, "Annotations")? {
            self.push("annotation", format!("{key}={value}"));
        }
        for (option, field) in [
            ("group-add", "GroupAdd"),
            ("dns", "Dns"),
            ("dns-option", "DnsOptions"),
            ("dns-search", "DnsSearch"),
            ("add-host", "ExtraHosts"),
            ("volumes-from", "VolumesFrom"),
        ] {
            self.each(option, host, field)?;
        }
        for (option, field) in [
            ("pid", "PidMode"),
            ("ipc", "IpcMode"),
            ("uts", "UTSMode"),
            ("userns", "UsernsMode"),
            ("cgroupns", "CgroupnsMode"),
            ("cgroup-parent", "CgroupParent"),
        ] {
            self.some(option, text(host, field)?);
        }
        for field in ["Links", "DeviceCgroupRules"] {
            if !strings(host, field)?.is_empty() {
                return Err(Error::unsupported(format!(
                    "HostConfig.{field} is not supported"
                )));
            }
        }
        if !pairs(host, "StorageOpt")?.is_empty() {
            return Err(Error::unsupported("HostConfig.StorageOpt is not supported"));
        }
        Ok(())
    }

    /// What it may use of the machine.
    pub(super) fn limits(&mut self, host: &Object) -> Result<()> {
        for (option, field, unset) in LIMITS {
            self.figure(option, host, field, unset)?;
        }
        for (option, field) in [("cpuset-cpus", "CpusetCpus"), ("cpuset-mems", "CpusetMems")] {
            self.some(option, text(host, field)?);
        }
        if let Some(cpus) = nanos(host)? {
            self.push("cpus", cpus);
        }
        for (option, field, figure) in [
            ("blkio-weight-device", "BlkioWeightDevice", "Weight"),
            ("device-read-bps", "BlkioDeviceReadBps", "Rate"),
            ("device-write-bps", "BlkioDeviceWriteBps", "Rate"),
            ("device-read-iops", "BlkioDeviceReadIOps", "Rate"),
            ("device-write-iops", "BlkioDeviceWriteIOps", "Rate"),
        ] {
            for device in objects(host, field)? {
                let path = text(device, "Path")?.unwrap_or_default();
                let value = number(device, figure)?.unwrap_or(0);
                self.push(option, format!("{path}:{value}"));
            }
        }
        for limit in objects(host, "Ulimits")? {
            let name = text(limit, "Name")?.unwrap_or_default();
            let soft = number(limit, "Soft")?.unwrap_or(0);
            let hard = number(limit, "Hard")?.unwrap_or(soft);
            self.push("ulimit", format!("{name}={soft}:{hard}"));
        }
        for field in ["CpuRealtimePeriod", "CpuRealtimeRuntime"] {
            if number(host, field)?.is_some_and(|v| v != 0) {
                return Err(Error::unsupported(format!(
                    "HostConfig.{field} is not supported"
                )));
            }
        }
        Ok(())
    }

    fn security(&mut self, host: &Object) -> Result<()> {
        for (option, field) in [
            ("cap-add", "CapAdd"),
            ("cap-drop", "CapDrop"),
            ("security-opt", "SecurityOpt"),
        ] {
            self.each(option, host, field)?;
        }
        // Absent means the usual ones; an empty list means none.
        if host
            .get("MaskedPaths")
            .is_some_and(|m| *m == Value::Array(Vec::new()))
        {
            self.push("security-opt", "unmask=ALL");
        }
        for (key, value) in pairs(host, "Sysctls")? {
            self.push("sysctl", format!("{key}={value}"));
        }
        for device in objects(host, "Devices")? {
            let outside = text(device, "PathOnHost")?.unwrap_or_default();
            let inside = text(device, "PathInContainer")?.filter(|p| !p.is_empty());
            let rights = text(device, "CgroupPermissions")?.filter(|p| !p.is_empty());
            let inside = inside.unwrap_or(outside);
            self.push(
                "device",
                format!("{outside}:{inside}:{}", rights.unwrap_or("rwm")),
            );
        }
        for request in objects(host, "DeviceRequests")? {
            let ids = strings(request, "DeviceIDs")?;
            match text(request, "Driver")?.unwrap_or_default() {
                "cdi" => ids.iter().for_each(|id| self.push("device", id)),
                "" | "nvidia" => match (ids.as_slice(), number(request, "Count")?.unwrap_or(0)) {
                    ([], -1) => self.push("gpus", "all"),
                    ([], count) => self.push("gpus", count),
                    (ids, _) => self.push("gpus", format!("device={}", ids.join(","))),
                },
                other => {
                    return Err(Error::unsupported(format!(
                        "devices of the driver {other:?} are not supported"
                    )));
                }
            }
        }
        Ok(())
    }

    /// `Healthcheck`.
    pub(super) fn health(&mut self, config: &Object) -> Result<()> {
        let Some(health) = object(config, "Healthcheck")? else {
            return Ok(());
        };
        match strings(health, "Test")?.as_slice() {
            [] => {}
            [kind] if kind == "NONE" => {
                self.0.push("--no-healthcheck".to_owned());
                return Ok(());
            }
            [kind, command @ ..] if kind == "CMD" => {
                self.push("health-cmd", Value::from(command.to_vec()));
            }
            [kind, command] if kind == "CMD-SHELL" => self.push("health-cmd", command),
            _ => {
                return Err(Error::invalid(
                    "a health check begins with CMD, CMD-SHELL or NONE",
                ));
            }
        }
        for (option, field) in [
            ("health-interval", "Interval"),
            ("health-timeout", "Timeout"),
            ("health-start-period", "StartPeriod"),
            ("health-start-interval", "StartInterval"),
        ] {
            if let Some(nanos) = number(health, field)?.filter(|n| *n != 0) {
                self.push(option, format!("{nanos}ns"));
            }
        }
        self.figure("health-retries", health, "Retries", &[0])
    }
}

/// Options of plain figures, and the values that mean that they are not set.
const LIMITS: &[(&str, &str, &[i64])] = &[
    ("memory", "Memory", &[0]),
    ("memory-reservation", "MemoryReservation", &[0]),
    ("memory-swap", "MemorySwap", &[0]),
    ("memory-swappiness", "MemorySwappiness", &[-1]),
    ("cpu-shares", "CpuShares", &[0]),
    ("cpu-period", "CpuPeriod", &[0]),
    ("cpu-quota", "CpuQuota", &[0]),
    ("pids-limit", "PidsLimit", &[0]),
    ("blkio-weight", "BlkioWeight", &[0]),
    ("oom-score-adj", "OomScoreAdj", &[0]),
    ("shm-size", "ShmSize", &[0]),
];

/// `NanoCpus` as `--cpus` has it.
fn nanos(host: &Object) -> Result<Option<String>> {
    let nanos = number(host, "NanoCpus")?.filter(|n| *n > 0);
    Ok(nanos.map(|n| format!("{}.{:09}", n / 1_000_000_000, n % 1_000_000_000)))
}

/// The words of `update` for a body of `POST /containers/{id}/update`.
///
/// # Errors
/// As [`words`].
pub fn update_words(body: &Value) -> Result<Vec<String>> {
    let host = body
        .as_object()
        .ok_or_else(|| Error::invalid("nothing is to be changed"))?;
    let mut words = Words(Vec::new());
    words.limits(host)?;
    if let Some(policy) = object(host, "RestartPolicy")?
        && let Some(name) = text(policy, "Name")?.filter(|n| !n.is_empty())
    {
        match number(policy, "MaximumRetryCount")?.unwrap_or(0) {
            most if name == "on-failure" && most > 0 => {
                words.push("restart", format!("{name}:{most}"));
            }
            _ => words.push("restart", name),
        }
    }
    Ok(words.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(body: Value) -> String {
        words(&body, Some("web"), None).unwrap().join(" ")
    }

    #[test]
    fn a_body_becomes_the_words_of_create() {
        let line = line(json!({
            "Hostname": "h", "User": "1:2", "Tty": true, "OpenStdin": true, "AttachStdout": true,
            "Env": ["A=b c", "GONE"], "Cmd": ["sh", "-c", "--rm"], "Image": "alpine",
            "Entrypoint": ["/e", "x"], "Labels": {"k": "v"}, "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/data": {}, "/b": {}}, "StopTimeout": 3,
            "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 1_000_000_000, "Retries": 3},
            "HostConfig": {
                "Binds": ["/a:/b:ro"], "NetworkMode": "default", "AutoRemove": true,
                "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
                "PortBindings": {"80/tcp": [{"HostIp": "::1", "HostPort": "8080"}], "81/udp": [{}]},
                "Memory": 1024, "NanoCpus": 1_500_000_000, "PidsLimit": null,
                "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}],
                "Mounts": [{"Type": "volume", "Source": "a,b", "Target": "/m", "ReadOnly": true}],
                "Tmpfs": {"/t": "size=1m"}, "CapDrop": ["ALL"], "ConsoleSize": [0, 0],
            },
            "NetworkingConfig": {"EndpointsConfig": {"default": {}}},
        }));
        for word in [
            "--name=web",
            "--hostname=h",
            "--user=1:2",
            "--tty=true",
            "--interactive=true",
            "--env=A=b c",
            "--unsetenv=GONE",
            "--entrypoint=[\"/e\",\"x\"]",
            "--label=k=v",
            "--volume=/a:/b:ro",
            "--volume=/data",
            "--rm=true",
            "--restart=on-failure:2",
            "--publish=[::1]:8080:80/tcp",
            "--publish=81/udp",
            "--memory=1024",
            "--cpus=1.500000000",
            "--ulimit=nofile=1:2",
            "--tmpfs=/t:size=1m",
            "--cap-drop=ALL",
            "--mount=type=volume,\"source=a,b\",target=/m,readonly=true",
            "--stop-timeout=3",
            "--health-cmd=true",
            "--health-interval=1000000000ns",
            "--health-retries=3",
        ] {
            assert!(line.contains(&format!("{word} ")), "{word} in {line}");
        }
        assert!(line.ends_with(" -- alpine sh -c --rm"), "{line}");
        // Docker's usual network is a bridge.
        assert!(
            line.contains("--network=podman ") && !line.contains("--volume=/b "),
            "{line}"
        );
    }

    #[test]
    fn networks_come_with_their_wishes() {
        let line = line(json!({
            "Image": "x", "HostConfig": {"NetworkMode": "front"},
            "NetworkingConfig": {"EndpointsConfig": {
                "back": null,
                "front": {"IPAMConfig": {"IPv4Address": "10.0.0.5"}, "Aliases": ["a", "b"]},
            }},
        }));
        let at = |w: &str| line.find(w).unwrap_or_else(|| panic!("{w} in {line}"));
        assert!(at("--network=front:ip=10.0.0.5,alias=a,alias=b") < at("--network=back"));
    }

    #[test]
    fn other_types_and_what_is_not_done_are_refused() {
        for bad in [
            json!(null),
            json!({"Cmd": ["x"]}),
            json!({"Image": "x", "Env": [1]}),
            json!({"Image": "x", "Env": ["=b"]}),
            json!({"Image": "x", "HostConfig": []}),
            json!({"Image": "x", "HostConfig": {"Links": ["a:b"]}}),
            json!({"Image": "x", "HostConfig": {"Memory": "1g"}}),
            json!({"Image": "x", "Healthcheck": {"Test": ["WHAT"]}}),
        ] {
            assert!(words(&bad, None, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_update_has_its_words() {
        let got = update_words(&json!({"Memory": 5, "RestartPolicy": {"Name": "always"}, "X": 1}));
        assert_eq!(got.unwrap(), ["--memory=5", "--restart=always"]);
    }
}
