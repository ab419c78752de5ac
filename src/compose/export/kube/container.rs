//! A container of a pod.

use serde_json::{Map, Value, json};

use super::super::{below, image, list, number, pairs, put, time, word};
use super::{One, name};
use crate::base::Result;
use crate::compose::convert::texts;
use crate::compose::project::Keys;
use crate::compose::schema::text;

impl One<'_> {
    pub(super) fn container(&mut self) -> Result<Value> {
        let keys = self.keys;
        let mut c = Map::new();
        put(&mut c, "name", name(self.service));
        put(
            &mut c,
            "image",
            image(self.project, self.given, self.service, keys),
        );
        match word(keys, &["pull_policy"]).as_deref() {
            None => {}
            Some("always") => put(&mut c, "imagePullPolicy", "Always"),
            Some("never") => put(&mut c, "imagePullPolicy", "Never"),
            Some("missing" | "if_not_present") => put(&mut c, "imagePullPolicy", "IfNotPresent"),
            Some(other) => self.dropped(
                "pull_policy",
                format!("a cluster pulls always, never, or what is missing: not {other:?}"),
            ),
        }
        put(&mut c, "command", texts(keys.get("entrypoint")));
        // `$(X)` would be a variable there.
        let args: Vec<String> = texts(keys.get("command"))
            .iter()
            .map(|a| a.replace("$(", "$$("))
            .collect();
        put(&mut c, "args", args);
        put(
            &mut c,
            "workingDir",
            word(keys, &["working_dir"]).unwrap_or_default(),
        );
        for (key, field) in [("tty", "tty"), ("stdin_open", "stdin")] {
            if keys.get(key) == Some(&Value::Bool(true)) {
                put(&mut c, field, true);
            }
        }
        let env: Vec<Value> = pairs(keys.get("environment"))
            .map(|(name, value)| json!({"name": name, "value": value.replace("$(", "$$(")}))
            .collect();
        put(&mut c, "env", env);
        let ports: Vec<Value> = list(keys.get("ports"))
            .filter_map(|p| {
                let of = |key: &str| p.get(key).and_then(text).filter(|t| !t.is_empty());
                let mut port = json!({
                    "containerPort": of("target")?.parse::<u16>().ok()?,
                    "protocol": of("protocol").unwrap_or_else(|| "tcp".to_owned()).to_uppercase(),
                });
                if of("mode").as_deref() == Some("host") {
                    port["hostPort"] = of("published")?.parse::<u16>().ok()?.into();
                    if let Some(ip) = of("host_ip") {
                        port["hostIP"] = ip.into();
                    }
                }
                Some(port)
            })
            .collect();
        put(&mut c, "ports", ports);
        let security = self.security();
        put(&mut c, "securityContext", security);
        put(&mut c, "resources", resources(keys));
        self.health(&mut c);
        self.lifecycle(&mut c);
        let mounts = self.mounts()?;
        put(&mut c, "volumeMounts", mounts);
        Ok(c.into())
    }

    fn security(&mut self) -> Keys {
        let keys = self.keys;
        let mut s = Map::new();
        if let Some(user) = word(keys, &["user"]) {
            let (user, group) = user.split_once(':').unwrap_or((&user, ""));
            let numbers = (user.parse::<i64>(), group.parse::<i64>());
            if let Ok(id) = numbers.0 {
                s.insert("runAsUser".to_owned(), id.into());
            }
            if let Ok(id) = numbers.1 {
                s.insert("runAsGroup".to_owned(), id.into());
            }
            if numbers.0.is_err() || (!group.is_empty() && numbers.1.is_err()) {
                self.dropped(
                    "user",
                    "a cluster knows users by number; put USER into the image",
                );
            }
        }
        for (key, field) in [
            ("privileged", "privileged"),
            ("read_only", "readOnlyRootFilesystem"),
        ] {
            if keys.get(key) == Some(&Value::Bool(true)) {
                put(&mut s, field, true);
            }
        }
        let mut capabilities = Map::new();
        for (key, field) in [("cap_add", "add"), ("cap_drop", "drop")] {
            let all = texts(keys.get(key));
            let bare: Vec<String> = all
                .iter()
                .map(|c| c.trim_start_matches("CAP_").to_owned())
                .collect();
            put(&mut capabilities, field, bare);
        }
        put(&mut s, "capabilities", capabilities);
        let mut lost = Vec::new();
        for option in texts(keys.get("security_opt")) {
            let plain = option.replacen(':', "=", 1);
            match plain.as_str() {
                "no-new-privileges" | "no-new-privileges=true" => {
                    s.insert("allowPrivilegeEscalation".to_owned(), false.into());
                }
                "seccomp=unconfined" => {
                    put(&mut s, "seccompProfile", json!({"type": "Unconfined"}));
                }
                "apparmor=unconfined" => {
                    put(&mut s, "appArmorProfile", json!({"type": "Unconfined"}));
                }
                other => match other.strip_prefix("label=").and_then(|l| l.split_once(':')) {
                    Some((key, value)) => {
                        let labels = s.entry("seLinuxOptions").or_insert_with(|| json!({}));
                        labels[key] = value.into();
                    }
                    None => lost.push(option),
                },
            }
        }
        if !lost.is_empty() {
            self.changed("security_opt", format!("without {}", lost.join(", ")));
        }
        s
    }

    fn health(&mut self, c: &mut Keys) {
        let Some(Value::Object(check)) = self.keys.get("healthcheck") else {
            return;
        };
        let test = texts(check.get("test"));
        let command: Vec<String> = match test.split_first() {
            None => return,
            Some((kind, _)) if kind == "NONE" => return,
            Some((kind, rest)) if kind == "CMD-SHELL" => {
                vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.join(" ")]
            }
            Some((_, rest)) => rest.to_vec(),
        };
        if check.get("disable") == Some(&Value::Bool(true)) {
            return;
        }
        let seconds = |key: &str| time(check, &[key]).map(|s| s.ceil().max(1.0) as u64);
        let probe = |period: Option<u64>, failures: u64| {
            json!({
                "exec": {"command": command},
                "periodSeconds": period.unwrap_or(30),
                "timeoutSeconds": seconds("timeout").unwrap_or(30),
                "failureThreshold": failures,
            })
        };
        let retries = number(check, &["retries"])
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(3)
            .max(1);
        c.insert(
            "readinessProbe".to_owned(),
            probe(seconds("interval"), retries),
        );
        if let Some(start) = seconds("start_period") {
            let every = seconds("start_interval").unwrap_or(5);
            let times = start.div_ceil(every) + retries;
            c.insert("startupProbe".to_owned(), probe(Some(every), times));
        }
    }

    fn lifecycle(&mut self, c: &mut Keys) {
        let mut lifecycle = Map::new();
        for (key, field) in [("post_start", "postStart"), ("pre_stop", "preStop")] {
            let hooks: Vec<&Value> = list(self.keys.get(key)).collect();
            let Some(first) = hooks.first() else { continue };
            put(
                &mut lifecycle,
                field,
                json!({"exec": {"command": texts(first.get("command"))}}),
            );
            let plain = ["user", "privileged", "working_dir", "environment"]
                .iter()
                .all(|k| first.get(k).is_none());
            if hooks.len() > 1 || !plain {
                self.changed(key, "the first command, as the container's user");
            }
        }
        put(c, "lifecycle", lifecycle);
    }
}

/// Thousandths of a processor.
fn milli(text: &str) -> Option<String> {
    let milli = (text.parse::<f64>().ok()? * 1000.0).round();
    (milli > 0.0).then(|| format!("{milli}m"))
}

fn resources(keys: &Keys) -> Keys {
    let deploy = |part: &str, key: &str| word(keys, &["deploy", "resources", part, key]);
    let size = |text: String| crate::base::size::parse(&text).ok().map(|b| b.to_string());
    let mut limits = Map::new();
    let cpus = word(keys, &["cpus"]).or_else(|| deploy("limits", "cpus"));
    put(
        &mut limits,
        "cpu",
        cpus.and_then(|c| milli(&c)).unwrap_or_default(),
    );
    let memory = word(keys, &["mem_limit"]).or_else(|| deploy("limits", "memory"));
    put(
        &mut limits,
        "memory",
        memory.and_then(size).unwrap_or_default(),
    );
    let devices = list(keys.get("gpus")).chain(list(below(
        keys,
        &["deploy", "resources", "reservations", "devices"],
    )));
    let mut gpus = 0;
    for device in devices {
        let count = device
            .get("count")
            .and_then(text)
            .and_then(|c| c.parse::<i64>().ok());
        let ids = texts(device.get("device_ids")).len();
        gpus += match count {
            Some(n) if n > 0 => n,
            _ => i64::try_from(ids.max(1)).unwrap_or(1),
        };
    }
    if gpus > 0 {
        limits.insert("nvidia.com/gpu".to_owned(), gpus.to_string().into());
    }
    let mut requests = Map::new();
    let shares = number(keys, &["cpu_shares"]).map(|s| format!("{}m", s * 1000 / 1024));
    let cpus = deploy("reservations", "cpus")
        .and_then(|c| milli(&c))
        .or(shares);
    put(&mut requests, "cpu", cpus.unwrap_or_default());
    let memory = word(keys, &["mem_reservation"]).or_else(|| deploy("reservations", "memory"));
    put(
        &mut requests,
        "memory",
        memory.and_then(size).unwrap_or_default(),
    );
    let mut all = Map::new();
    put(&mut all, "limits", limits);
    put(&mut all, "requests", requests);
    all
}
