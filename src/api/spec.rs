//! podman's body of a creation (its SpecGenerator) -> the words of `coracle create`.
//!
//! Pure; as [`super::create`]. A field that is set and has no word is refused, never passed over.

use serde_json::{Map, Value, json};

use super::create::Words;
use super::fields::{Object, flag, number, object, objects, pairs, strings, text, wrong};
use crate::base::{Error, Result};

/// Fields of one text, number or yes, and their options.
const PLAIN: &[(&str, &str)] = &[
    ("name", "name"),
    ("hostname", "hostname"),
    ("user", "user"),
    ("work_dir", "workdir"),
    ("cgroup_parent", "cgroup-parent"),
    ("cgroups_mode", "cgroups"),
    ("timezone", "tz"),
    ("umask", "umask"),
    ("systemd", "systemd"),
    ("sdnotifyMode", "sdnotify"),
    ("image_volume_mode", "image-volume"),
    ("static_mac", "mac-address"),
    ("pod", "pod"),
    ("shm_size", "shm-size"),
    ("oom_score_adj", "oom-score-adj"),
    ("stop_signal", "stop-signal"),
    ("stop_timeout", "stop-timeout"),
    ("terminal", "tty"),
    ("stdin", "interactive"),
    ("remove", "rm"),
    ("privileged", "privileged"),
    ("read_only_filesystem", "read-only"),
    ("read_write_tmpfs", "read-only-tmpfs"),
    ("init", "init"),
    ("publish_image_ports", "publish-all"),
    ("no_healthcheck", "no-healthcheck"),
];

/// Fields of several texts.
const LISTS: &[(&str, &str)] = &[
    ("cap_add", "cap-add"),
    ("cap_drop", "cap-drop"),
    ("dns_server", "dns"),
    ("dns_search", "dns-search"),
    ("dns_option", "dns-option"),
    ("groups", "group-add"),
    ("hostadd", "add-host"),
    ("selinux_opts", "security-opt"),
    ("volumes_from", "volumes-from"),
    ("cni_networks", "network"),
];

/// Fields of texts by name.
const PAIRS: &[(&str, &str)] = &[
    ("labels", "label"),
    ("annotations", "annotation"),
    ("sysctl", "sysctl"),
    ("env", "env"),
];

/// Namespaces.
const SPACES: &[(&str, &str)] = &[
    ("pidns", "pid"),
    ("ipcns", "ipc"),
    ("utsns", "uts"),
    ("userns", "userns"),
    ("cgroupns", "cgroupns"),
    ("netns", "network"),
];

/// Fields that are read by name below, or that say nothing about the container.
const OTHERS: &[&str] = &[
    "image",
    "command",
    "entrypoint",
    "mounts",
    "volumes",
    "portmappings",
    "expose",
    "devices",
    "secrets",
    "secret_env",
    "r_limits",
    "resource_limits",
    "restart_policy",
    "restart_tries",
    "log_configuration",
    "healthconfig",
    "networks",
    "Networks",
    "no_new_privileges",
    "mask",
    "unmask",
    "httpproxy",
    "version",
    "containerCreateCommand",
    "raw_image_name",
    "seccomp_profile_path",
    "apparmor_profile",
];

/// Whether a field says nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.iter().all(is_empty),
        Value::Object(map) => map.values().all(is_empty),
    }
}

/// The words after `create`: options, `--`, image, command.
///
/// # Errors
/// `Invalid` for a body of another form, `Unsupported` for what has no option.
pub fn words(body: &Value) -> Result<Vec<String>> {
    let spec = body
        .as_object()
        .ok_or_else(|| Error::invalid("the container's configuration is empty"))?;
    let known = |name: &str| {
        let tables = [PLAIN, LISTS, PAIRS, SPACES].concat();
        OTHERS.contains(&name) || tables.iter().any(|(field, _)| *field == name)
    };
    if let Some((field, _)) = spec.iter().find(|(k, v)| !known(k) && !is_empty(v)) {
        return Err(Error::unsupported(format!(
            "the field {field} of a container is not supported"
        )));
    }
    let mut words = Words(vec!["--pull=never".to_owned()]);
    words.push("http-proxy", flag(spec, "httpproxy")?);
    for (field, option) in PLAIN {
        match spec.get(*field).filter(|v| !is_empty(v)) {
            None => {}
            Some(Value::String(text)) => words.push(option, text),
            Some(Value::Bool(on)) => words.push(option, on),
            Some(Value::Number(n)) => words.push(option, n),
            Some(_) => return Err(wrong(field)),
        }
    }
    for (field, option) in LISTS {
        if spec.get(*field).is_some_and(|v| !is_empty(v)) {
            words.each(option, spec, field)?;
        }
    }
    for (field, option) in PAIRS {
        for (key, value) in pairs(spec, field)? {
            words.push(option, format!("{key}={value}"));
        }
    }
    for (field, option) in SPACES {
        if let Some(space) = object(spec, field)? {
            let mode = text(space, "nsmode")?.unwrap_or_default();
            let value = text(space, "value")?.unwrap_or_default();
            match (mode, value) {
                ("" | "default" | "pod", _) => {}
                ("path", path) => words.push(option, format!("ns:{path}")),
                (mode, "") => words.push(option, mode),
                (mode, value) => words.push(option, format!("{mode}:{value}")),
            }
        }
    }
    words.security_of(spec)?;
    words.places_of(spec)?;
    words.limits_of(spec)?;
    if let Some(policy) = text(spec, "restart_policy")?.filter(|p| !p.is_empty()) {
        match number(spec, "restart_tries")?.unwrap_or(0) {
            tries if tries > 0 => words.push("restart", format!("{policy}:{tries}")),
            _ => words.push("restart", policy),
        }
    }
    if let Some(log) = object(spec, "log_configuration")? {
        words.some("log-driver", text(log, "driver")?);
        for (key, value) in pairs(log, "options")? {
            words.push("log-opt", format!("{key}={value}"));
        }
    }
    if let Some(health) = object(spec, "healthconfig")? {
        let mut config = Map::new();
        config.insert("Healthcheck".to_owned(), Value::Object(health.clone()));
        words.health(&config)?;
    }
    if spec.get("entrypoint").is_some_and(|e| !e.is_null()) {
        let list = strings(spec, "entrypoint")?;
        if !list.is_empty() {
            words.push("entrypoint", Value::from(list));
        }
    }
    let image = text(spec, "image")?.filter(|i| !i.is_empty());
    let image = image.ok_or_else(|| Error::invalid("no image was named"))?;
    let mut words = words.0;
    words.push("--".to_owned());
    words.push(image.to_owned());
    words.extend(strings(spec, "command")?);
    Ok(words)
}

impl Words {
    fn security_of(&mut self, spec: &Object) -> Result<()> {
        if flag(spec, "no_new_privileges")? {
            self.push("security-opt", "no-new-privileges");
        }
        for (field, word) in [("mask", "mask"), ("unmask", "unmask")] {
            let paths = strings(spec, field)?;
            if !paths.is_empty() {
                self.push("security-opt", format!("{word}={}", paths.join(":")));
            }
        }
        for (field, word) in [
            ("seccomp_profile_path", "seccomp"),
            ("apparmor_profile", "apparmor"),
        ] {
            if let Some(value) = text(spec, field)?.filter(|v| !v.is_empty()) {
                self.push("security-opt", format!("{word}={value}"));
            }
        }
        for device in objects(spec, "devices")? {
            self.some("device", text(device, "path")?);
        }
        for secret in objects(spec, "secrets")? {
            let get = |field: &'static str| -> Option<&Value> {
                let mut found = secret.iter();
                found
                    .find(|(k, v)| k.eq_ignore_ascii_case(field) && !is_empty(v))
                    .map(|(_, v)| v)
            };
            let source = get("source").and_then(Value::as_str);
            let mut word = source.ok_or_else(|| wrong("secrets"))?.to_owned();
            for field in ["target", "uid", "gid"] {
                match get(field) {
                    None => {}
                    Some(Value::String(text)) => word.push_str(&format!(",{field}={text}")),
                    Some(value) => word.push_str(&format!(",{field}={value}")),
                }
            }
            if let Some(mode) = get("mode").and_then(Value::as_u64) {
                word.push_str(&format!(",mode={mode:o}"));
            }
            self.push("secret", word);
        }
        for (variable, secret) in pairs(spec, "secret_env")? {
            self.push("secret", format!("{secret},type=env,target={variable}"));
        }
        Ok(())
    }

    fn places_of(&mut self, spec: &Object) -> Result<()> {
        for mount in objects(spec, "mounts")? {
            let kind = text(mount, "type")?.unwrap_or("bind");
            let target = text(mount, "destination")?.unwrap_or_default();
            let options = strings(mount, "options")?;
            let source = text(mount, "source")?.unwrap_or_default();
            match kind {
                "tmpfs" if options.is_empty() => self.push("tmpfs", target),
                "tmpfs" => self.push("tmpfs", format!("{target}:{}", options.join(","))),
                "bind" | "volume" => self.volume(source, target, &options),
                other => {
                    return Err(Error::unsupported(format!(
                        "mounts of the type {other:?} are not supported here"
                    )));
                }
            }
        }
        for volume in objects(spec, "volumes")? {
            let source = text(volume, "Name")?.unwrap_or_default();
            let target = text(volume, "Dest")?.unwrap_or_default();
            self.volume(source, target, &strings(volume, "Options")?);
        }
        for port in objects(spec, "portmappings")? {
            let inside = number(port, "container_port")?.unwrap_or(0);
            let outside = number(port, "host_port")?.filter(|p| *p != 0);
            let address = text(port, "host_ip")?.filter(|a| !a.is_empty());
            let protocol = text(port, "protocol")?
                .filter(|p| !p.is_empty())
                .unwrap_or("tcp");
            let range = number(port, "range")?.unwrap_or(1).max(1) - 1;
            let span = |from: i64| match range {
                0 => from.to_string(),
                more => format!("{from}-{}", from + more),
            };
            let outside = outside.map(span).unwrap_or_default();
            let inside = span(inside);
            let address = address.map(|a| match a.contains(':') {
                true => format!("[{a}]"),
                false => a.to_owned(),
            });
            self.push(
                "publish",
                match (address, outside.as_str()) {
                    (None, "") => format!("{inside}/{protocol}"),
                    (None, outside) => format!("{outside}:{inside}/{protocol}"),
                    (Some(address), outside) => format!("{address}:{outside}:{inside}/{protocol}"),
                },
            );
        }
        for (port, protocol) in pairs(spec, "expose")? {
            match protocol.as_str() {
                "" => self.push("expose", port),
                protocol => self.push("expose", format!("{port}/{protocol}")),
            }
        }
        for field in ["networks", "Networks"] {
            for (name, wish) in object(spec, field)?.into_iter().flatten() {
                let none = Map::new();
                let wish = wish.as_object().unwrap_or(&none);
                let mut parts = Vec::new();
                for (field, key) in [("static_ips", "ip"), ("aliases", "alias")] {
                    parts.extend(strings(wish, field)?.iter().map(|v| format!("{key}={v}")));
                }
                for (field, key) in [("static_mac", "mac"), ("interface_name", "interface_name")] {
                    if let Some(value) = text(wish, field)?.filter(|v| !v.is_empty()) {
                        parts.push(format!("{key}={value}"));
                    }
                }
                match parts.is_empty() {
                    true => self.push("network", name),
                    false => self.push("network", format!("{name}:{}", parts.join(","))),
                }
            }
        }
        Ok(())
    }

    fn volume(&mut self, source: &str, target: &str, options: &[String]) {
        let mut word = target.to_owned();
        if !source.is_empty() {
            word = format!("{source}:{word}");
        }
        // podman's clients send these two of every bind; they are usual.
        let options: Vec<&str> = options
            .iter()
            .map(String::as_str)
            .filter(|o| !o.is_empty())
            .collect();
        if !options.is_empty() && !source.is_empty() {
            word = format!("{word}:{}", options.join(","));
        }
        self.push("volume", word);
    }

    fn limits_of(&mut self, spec: &Object) -> Result<()> {
        for limit in objects(spec, "r_limits")? {
            let kind = text(limit, "type")?.unwrap_or_default().to_lowercase();
            let kind = kind.trim_start_matches("rlimit_");
            let figure = |field: &str| Ok::<_, Error>(number(limit, field)?.unwrap_or(0));
            self.push(
                "ulimit",
                format!("{kind}={}:{}", figure("soft")?, figure("hard")?),
            );
        }
        let Some(limits) = object(spec, "resource_limits")? else {
            return Ok(());
        };
        // Docker's names for the same figures, which have their options already.
        let mut host = Map::new();
        for (group, names) in [
            (
                "memory",
                [
                    ("limit", "Memory"),
                    ("reservation", "MemoryReservation"),
                    ("swap", "MemorySwap"),
                ]
                .as_slice(),
            ),
            (
                "cpu",
                &[
                    ("shares", "CpuShares"),
                    ("period", "CpuPeriod"),
                    ("quota", "CpuQuota"),
                    ("cpus", "CpusetCpus"),
                    ("mems", "CpusetMems"),
                ],
            ),
            ("pids", &[("limit", "PidsLimit")]),
        ] {
            for (name, value) in object(limits, group)?.into_iter().flatten() {
                match names.iter().find(|(n, _)| n == name) {
                    Some((_, docker)) => {
                        host.insert((*docker).to_owned(), value.clone());
                    }
                    None if is_empty(value) => {}
                    None => {
                        return Err(Error::unsupported(format!(
                            "the limit {group}.{name} is not supported"
                        )));
                    }
                }
            }
        }
        if let Some((name, _)) = limits
            .iter()
            .find(|(k, v)| !["memory", "cpu", "pids"].contains(&k.as_str()) && !is_empty(v))
        {
            return Err(Error::unsupported(format!(
                "limits of {name} are not supported"
            )));
        }
        self.limits(&host)
    }
}

/// What `GET /libpod/images/json` says of an image, from Docker's row.
pub fn image_row(mut row: Value) -> Value {
    let id = row["Id"].as_str().unwrap_or_default();
    row["Id"] = json!(id.trim_start_matches("sha256:"));
    row["Names"] = row["RepoTags"].clone();
    row["Dangling"] = json!(row["RepoTags"].as_array().is_none_or(Vec::is_empty));
    row["Containers"] = 0.into();
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podmans_body_becomes_the_words_of_create() {
        let line = words(&json!({
            "image": "x", "command": ["sh", "--rm"], "entrypoint": ["/e"], "name": "n", "terminal": true,
            "env": {"A": "b"}, "labels": {"k": "v"}, "netns": {"nsmode": "container", "value": "c"},
            "mounts": [{"type": "bind", "source": "/a", "destination": "/b", "options": ["ro"]}],
            "volumes": [{"Name": "v", "Dest": "/v"}], "unified": null, "cni_networks": [null],
            "portmappings": [{"container_port": 80, "host_port": 8080, "protocol": "tcp"}],
            "r_limits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}],
            "resource_limits": {"memory": {"limit": 1024, "kernel": null}, "pids": {"limit": 5}},
            "restart_policy": "on-failure", "restart_tries": 2, "stop_signal": 9,
        }))
        .unwrap()
        .join(" ");
        for word in [
            "--name=n",
            "--tty=true",
            "--env=A=b",
            "--label=k=v",
            "--network=container:c",
            "--volume=/a:/b:ro",
            "--volume=v:/v",
            "--publish=8080:80/tcp",
            "--ulimit=nofile=1:2",
            "--memory=1024",
            "--pids-limit=5",
            "--restart=on-failure:2",
            "--stop-signal=9",
            "--entrypoint=[\"/e\"]",
        ] {
            assert!(line.contains(&format!("{word} ")), "{word} in {line}");
        }
        assert!(line.ends_with(" -- x sh --rm"), "{line}");
    }

    #[test]
    fn a_field_that_is_not_known_is_refused() {
        for bad in [
            json!({"image": "x", "idmappings": {"AutoUserNs": true}}),
            json!({"image": "x", "what": "ever"}),
            json!({"image": "x", "resource_limits": {"memory": {"kernel": 5}}}),
            json!({"image": "x", "mounts": [{"type": "what", "destination": "/a"}]}),
            json!({"command": ["x"]}),
        ] {
            assert!(words(&bad).is_err(), "{bad}");
        }
    }
}
