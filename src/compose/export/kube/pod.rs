//! A pod: names, places, restarts.

use serde_json::{Map, Value, json};

use super::super::{below, list, number, pairs, put, time, word};
use super::{Kind, One, name};
use crate::base::Result;
use crate::compose::convert::texts;
use crate::compose::project::Keys;
use crate::compose::schema::text;

impl One<'_> {
    pub(super) fn pod(&mut self) -> Result<Value> {
        let container = self.container()?;
        let keys = self.keys;
        let mut pod = Map::new();
        put(
            &mut pod,
            "hostname",
            word(keys, &["hostname"]).map_or(String::new(), |h| name(&h)),
        );
        let mut security = Map::new();
        let sysctls: Vec<Value> = pairs(keys.get("sysctls"))
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        put(&mut security, "sysctls", sysctls);
        let mut groups = Vec::new();
        for group in texts(keys.get("group_add")) {
            match group.parse::<i64>() {
                Ok(id) => groups.push(id),
                Err(_) => self.dropped(
                    "group_add",
                    format!("a cluster knows groups by number: {group:?}"),
                ),
            }
        }
        put(&mut security, "supplementalGroups", groups);
        put(&mut pod, "securityContext", security);
        match word(keys, &["network_mode"]).as_deref() {
            Some("host") => {
                put(&mut pod, "hostNetwork", true);
                self.kept("network_mode");
            }
            Some(other) if other.starts_with("service:") => {
                self.dropped(
                    "network_mode",
                    "services of one pod would share it, and these are pods of their own",
                );
            }
            _ => {}
        }
        for (key, field) in [("pid", "hostPID"), ("ipc", "hostIPC")] {
            if word(keys, &[key]).as_deref() == Some("host") {
                put(&mut pod, field, true);
                self.kept(key);
            }
        }
        let aliases: Vec<Value> = texts(keys.get("extra_hosts"))
            .iter()
            .filter_map(|h| h.split_once('='))
            .filter(|(_, ip)| *ip != "host-gateway")
            .map(|(host, ip)| json!({"ip": ip, "hostnames": [host]}))
            .collect();
        put(&mut pod, "hostAliases", aliases);
        if texts(keys.get("extra_hosts"))
            .iter()
            .any(|h| h.ends_with("=host-gateway"))
        {
            self.changed("extra_hosts", "host-gateway has no counterpart");
        }
        let mut dns = Map::new();
        put(&mut dns, "nameservers", texts(keys.get("dns")));
        put(&mut dns, "searches", texts(keys.get("dns_search")));
        let options: Vec<Value> = texts(keys.get("dns_opt"))
            .iter()
            .map(|o| match o.split_once(':') {
                Some((name, value)) => json!({"name": name, "value": value}),
                None => json!({"name": o}),
            })
            .collect();
        put(&mut dns, "options", options);
        put(&mut pod, "dnsConfig", dns);
        if let Some(grace) = time(keys, &["stop_grace_period"]) {
            let seconds = grace.ceil() as u64;
            pod.insert("terminationGracePeriodSeconds".to_owned(), seconds.into());
        }
        self.placement(&mut pod);
        self.restart(&mut pod);
        pod.insert("containers".to_owned(), json!([container]));
        put(
            &mut pod,
            "volumes",
            std::mem::take(&mut self.volumes)
                .into_iter()
                .map(|(_, v)| v)
                .collect::<Vec<_>>(),
        );
        Ok(pod.into())
    }

    fn restart(&mut self, pod: &mut Keys) {
        let given = word(self.keys, &["restart"]);
        let condition = word(self.keys, &["deploy", "restart_policy", "condition"]);
        if self.kind == Kind::Job {
            let failing = given.is_some_and(|r| r.starts_with("on-failure"))
                || condition.as_deref() == Some("on-failure");
            put(
                pod,
                "restartPolicy",
                if failing { "OnFailure" } else { "Never" },
            );
            return;
        }
        if matches!(given.as_deref(), Some("always" | "unless-stopped")) {
            self.kept("restart");
        }
        if matches!(condition.as_deref(), Some("none" | "on-failure")) {
            self.changed(
                "deploy.restart_policy.condition",
                "pods of a Deployment are always restarted",
            );
        }
    }

    /// Where its pods may run.
    fn placement(&mut self, pod: &mut Keys) {
        let mut select = Map::new();
        if let Some(platform) = word(self.keys, &["platform"]) {
            let mut parts = platform.split('/');
            for key in ["kubernetes.io/os", "kubernetes.io/arch"] {
                put(&mut select, key, parts.next().unwrap_or_default());
            }
        }
        put(pod, "nodeSelector", select);
        let mut rules = Vec::new();
        let mut lost = Vec::new();
        for constraint in texts(below(self.keys, &["deploy", "placement", "constraints"])) {
            let (key, value, operator) = match constraint.split_once("==") {
                Some((key, value)) => (key.trim(), value.trim(), "In"),
                None => match constraint.split_once("!=") {
                    Some((key, value)) => (key.trim(), value.trim(), "NotIn"),
                    None => {
                        lost.push(constraint);
                        continue;
                    }
                },
            };
            let label = match key {
                "node.hostname" => "kubernetes.io/hostname",
                "node.platform.os" => "kubernetes.io/os",
                "node.platform.arch" => "kubernetes.io/arch",
                "node.role" => {
                    let is = (value == "manager") == (operator == "In");
                    let operator = if is { "Exists" } else { "DoesNotExist" };
                    rules.push(json!({"key": "node-role.kubernetes.io/control-plane", "operator": operator}));
                    continue;
                }
                other => match other.strip_prefix("node.labels.") {
                    Some(label) => label,
                    None => {
                        lost.push(constraint);
                        continue;
                    }
                },
            };
            rules.push(json!({"key": label, "operator": operator, "values": [value]}));
        }
        let mut affinity = Map::new();
        if !rules.is_empty() {
            affinity.insert(
                "nodeAffinity".to_owned(),
                json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": rules}]}}),
            );
        }
        match number(self.keys, &["deploy", "placement", "max_replicas_per_node"]) {
            Some(1) => {
                affinity.insert(
                    "podAntiAffinity".to_owned(),
                    json!({"requiredDuringSchedulingIgnoredDuringExecution": [{
                        "labelSelector": {"matchLabels": self.selector()},
                        "topologyKey": "kubernetes.io/hostname",
                    }]}),
                );
            }
            Some(n) if n > 1 => lost.push(format!("max_replicas_per_node {n}")),
            _ => {}
        }
        put(pod, "affinity", affinity);
        let spread: Vec<Value> = list(below(self.keys, &["deploy", "placement", "preferences"]))
            .filter_map(|p| p.get("spread").and_then(text))
            .map(|by| {
                let label = by.strip_prefix("node.labels.").unwrap_or(&by).to_owned();
                json!({
                    "maxSkew": 1,
                    "topologyKey": label,
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": self.selector()},
                })
            })
            .collect();
        put(pod, "topologySpreadConstraints", spread);
        if !lost.is_empty() {
            self.changed("deploy.placement", format!("without {}", lost.join(", ")));
        }
    }
}
