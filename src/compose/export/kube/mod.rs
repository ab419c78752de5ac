//! Manifests of Kubernetes.
//!
//! A service becomes a Deployment (a DaemonSet with `mode: global`, a Job when it is to run once) and
//! a Service of its name; volumes become claims, secrets Secrets, configs ConfigMaps.

mod container;
mod mounts;
mod pod;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    Export, Fate, Given, Ledger, below, is_external, list, number, pairs, put, rules, time, word,
};
use crate::base::{Context as _, Result};
use crate::compose::convert::{PROJECT, SERVICE, texts};
use crate::compose::project::{Keys, Project};
use crate::compose::schema::text;

/// What a claim asks for: compose has no word for it.
const CLAIM: &str = "1Gi";

/// A name that a cluster takes: lower case, digits and dashes, at most 63.
pub fn name(text: &str) -> String {
    let plain: String = text
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    plain.trim_matches('-').chars().take(63).collect()
}

/// How a service is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Deployment,
    DaemonSet,
    Job,
}

/// The manifests of a project.
///
/// # Errors
/// What reading a secret or config says; `Invalid` for values that have no meaning.
pub fn export(project: &Project, given: &Given<'_>) -> Result<Export> {
    let mut ledger = Ledger::default();
    let mut documents = Vec::new();
    for (noun, kind) in [("configs", "ConfigMap"), ("secrets", "Secret")] {
        for (key, keys) in project.objects(noun).filter(|(_, k)| !is_external(k)) {
            let content = (given.content)(noun, key).what(|| format!("{noun}.{key}"))?;
            documents.push(data(project, noun, kind, key, keys, &content));
        }
    }
    let once = jobs(project);
    for (key, keys) in project.objects("volumes").filter(|(_, k)| !is_external(k)) {
        documents.push(claim(project, key, keys, &mut ledger));
    }
    for service in project.order(&[], true)? {
        let keys = project.service(&service)?;
        let kind = match word(keys, &["deploy", "mode"]).as_deref() {
            Some("global") => Kind::DaemonSet,
            Some("replicated-job" | "global-job") => Kind::Job,
            _ if once.contains(&service) => Kind::Job,
            _ => Kind::Deployment,
        };
        let mut one = One {
            project,
            given,
            service: &service,
            keys,
            kind,
            at: format!("services.{service}"),
            ledger: &mut ledger,
            volumes: Map::new(),
        };
        documents.extend(one.services());
        documents.push(one.workload()?);
    }
    Ok(Export {
        documents,
        lines: ledger.lines(project, rules::KUBE),
    })
}

/// The services that others wait for to end: they run once.
fn jobs(project: &Project) -> BTreeSet<String> {
    let all = project.services();
    let needed = all.flat_map(|(_, keys)| Project::dependencies(keys));
    needed
        .filter(|d| d.condition == "service_completed_successfully")
        .map(|d| d.service)
        .collect()
}

/// The labels by which objects are known to be the project's.
fn labels(project: &Project, service: Option<&str>) -> Value {
    let mut labels = json!({ PROJECT: project.name });
    if let Some(service) = service {
        labels[SERVICE] = service.into();
        labels["app.kubernetes.io/name"] = name(service).into();
    }
    labels
}

fn meta(project: &Project, called: &str, service: Option<&str>, annotations: Keys) -> Value {
    let mut meta = Map::new();
    put(&mut meta, "name", called);
    put(&mut meta, "labels", labels(project, service));
    put(&mut meta, "annotations", annotations);
    meta.into()
}

fn annotations(value: Option<&Value>) -> Keys {
    pairs(value).map(|(k, v)| (k.clone(), v.into())).collect()
}

/// The name of a secret's, config's or volume's object.
fn object_name(project: &Project, noun: &str, key: &str) -> String {
    name(&project.real_name(noun, key))
}

fn data(
    project: &Project,
    noun: &str,
    kind: &str,
    key: &str,
    keys: &Keys,
    content: &[u8],
) -> Value {
    use base64::Engine as _;
    let own = annotations(keys.get("labels"));
    let mut object = json!({
        "apiVersion": "v1",
        "kind": kind,
        "metadata": meta(project, &object_name(project, noun, key), None, own),
    });
    let file = data_key(key);
    match std::str::from_utf8(content) {
        Ok(text) => {
            let field = if kind == "Secret" {
                "stringData"
            } else {
                "data"
            };
            object[field] = json!({ file: text });
        }
        Err(_) => {
            let packed = base64::engine::general_purpose::STANDARD.encode(content);
            let field = if kind == "Secret" {
                "data"
            } else {
                "binaryData"
            };
            object[field] = json!({ file: packed });
        }
    }
    object
}

/// A key of a ConfigMap or Secret: letters, digits, `-`, `_` and `.`.
fn data_key(text: &str) -> String {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '_'
        }
    };
    text.chars().map(allowed).collect()
}

fn claim(project: &Project, key: &str, keys: &Keys, ledger: &mut Ledger) -> Value {
    let mounts = |keys: &Keys| {
        list(keys.get("volumes")).any(|m| {
            m.get("type").and_then(text).as_deref() == Some("volume")
                && m.get("source").and_then(text).as_deref() == Some(key)
        })
    };
    let users: Vec<usize> = project
        .services()
        .filter(|(_, k)| mounts(k))
        .map(|(_, k)| Project::scale(k))
        .collect();
    let shared = users.len() > 1 || users.iter().any(|n| *n > 1);
    let mode = if shared {
        "ReadWriteMany"
    } else {
        "ReadWriteOnce"
    };
    ledger.changed(
        format!("volumes.{key}"),
        format!("a claim of {CLAIM}, {mode}"),
    );
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": meta(project, &object_name(project, "volumes", key), None, annotations(keys.get("labels"))),
        "spec": {"accessModes": [mode], "resources": {"requests": {"storage": CLAIM}}},
    })
}

/// One service on its way.
struct One<'a> {
    project: &'a Project,
    given: &'a Given<'a>,
    service: &'a str,
    keys: &'a Keys,
    kind: Kind,
    /// Its path.
    at: String,
    ledger: &'a mut Ledger,
    /// The pod's volumes, by name.
    volumes: Map<String, Value>,
}

impl One<'_> {
    fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.at)
    }

    fn dropped(&mut self, key: &str, why: impl Into<String>) {
        let path = self.path(key);
        self.ledger.dropped(path, why);
    }

    fn changed(&mut self, key: &str, why: impl Into<String>) {
        let path = self.path(key);
        self.ledger.changed(path, why);
    }

    fn kept(&mut self, key: &str) {
        let path = self.path(key);
        self.ledger.say(path, Fate::Kept, "");
    }

    /// The labels that select its pods.
    fn selector(&self) -> Value {
        json!({ PROJECT: self.project.name, SERVICE: self.service })
    }

    /// The Services: one for each name by which others find it, one for what is published.
    fn services(&mut self) -> Vec<Value> {
        let mut ports: BTreeMap<(String, i64), ()> = BTreeMap::new();
        let mut published = Vec::new();
        for port in list(self.keys.get("ports")) {
            let of = |key: &str| port.get(key).and_then(text).filter(|t| !t.is_empty());
            let protocol = of("protocol")
                .unwrap_or_else(|| "tcp".to_owned())
                .to_uppercase();
            let Some(target) = of("target").and_then(|t| t.parse::<i64>().ok()) else {
                continue;
            };
            ports.insert((protocol.clone(), target), ());
            let outer = of("published")
                .and_then(|p| p.split('-').next().and_then(|p| p.parse::<i64>().ok()));
            if of("mode").as_deref() != Some("host") {
                let outer = outer.unwrap_or(target);
                published.push(json!({
                    "name": format!("{}-{outer}", protocol.to_lowercase()),
                    "port": outer,
                    "targetPort": target,
                    "protocol": protocol,
                }));
            }
        }
        for port in texts(self.keys.get("expose")) {
            let (port, protocol) = port.split_once('/').unwrap_or((&port, "tcp"));
            let Ok((first, last)) = crate::compose::short::range(port, port, "expose") else {
                continue;
            };
            for port in first..=last {
                ports.insert((protocol.to_uppercase(), port.into()), ());
            }
        }
        let spec_ports: Vec<Value> = ports
            .keys()
            .map(|(protocol, port)| {
                let called = format!("{}-{port}", protocol.to_lowercase());
                json!({"name": called, "port": port, "targetPort": port, "protocol": protocol})
            })
            .collect();
        let headless = spec_ports.is_empty()
            || word(self.keys, &["deploy", "endpoint_mode"]).as_deref() == Some("dnsrr");
        let mut names = vec![name(self.service)];
        for (_, how) in pairs_of(self.keys.get("networks")) {
            names.extend(texts(how.get("aliases")).iter().map(|a| name(a)));
        }
        let links = crate::compose::convert::link_names(self.project, self.service);
        names.extend(links.iter().map(|l| name(l)));
        let mut seen = BTreeSet::new();
        let mut made = Vec::new();
        for called in names.into_iter().filter(|n| seen.insert(n.clone())) {
            let mut spec = Map::new();
            if headless {
                put(&mut spec, "clusterIP", "None");
            }
            put(&mut spec, "selector", self.selector());
            put(&mut spec, "ports", spec_ports.clone());
            made.push(json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": meta(self.project, &called, Some(self.service), Map::new()),
                "spec": spec,
            }));
        }
        if !published.is_empty() && self.kind != Kind::Job {
            let called = name(&format!("{}-published", self.service));
            made.push(json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": meta(self.project, &called, Some(self.service), Map::new()),
                "spec": {"type": "LoadBalancer", "selector": self.selector(), "ports": published},
            }));
        }
        made
    }

    /// The Deployment, DaemonSet or Job.
    fn workload(&mut self) -> Result<Value> {
        let pod = self.pod()?;
        let mut own = annotations(self.keys.get("labels"));
        own.extend(annotations(self.keys.get("annotations")));
        let template = json!({
            "metadata": {"labels": labels(self.project, Some(self.service)), "annotations": own},
            "spec": pod,
        });
        let replicas = Project::scale(self.keys);
        let mut spec = Map::new();
        let (version, kind) = match self.kind {
            Kind::Deployment => {
                spec.insert("replicas".to_owned(), replicas.into());
                put(
                    &mut spec,
                    "selector",
                    json!({"matchLabels": self.selector()}),
                );
                self.update(&mut spec, replicas);
                ("apps/v1", "Deployment")
            }
            Kind::DaemonSet => {
                put(
                    &mut spec,
                    "selector",
                    json!({"matchLabels": self.selector()}),
                );
                self.changed("deploy.mode", "a DaemonSet");
                ("apps/v1", "DaemonSet")
            }
            Kind::Job => {
                if replicas != 1 {
                    spec.insert("completions".to_owned(), replicas.into());
                    spec.insert("parallelism".to_owned(), replicas.into());
                }
                if let Some(most) = number(self.keys, &["deploy", "restart_policy", "max_attempts"])
                {
                    spec.insert("backoffLimit".to_owned(), most.into());
                    self.kept("deploy.restart_policy.max_attempts");
                }
                if self.keys.contains_key("restart") {
                    self.kept("restart");
                }
                ("batch/v1", "Job")
            }
        };
        put(&mut spec, "template", template);
        let own = annotations(below(self.keys, &["deploy", "labels"]));
        Ok(json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": meta(self.project, &name(self.service), Some(self.service), own),
            "spec": spec,
        }))
    }

    /// `deploy.update_config` as a Deployment's strategy.
    fn update(&mut self, spec: &mut Keys, replicas: usize) {
        let config = |key: &'static str| word(self.keys, &["deploy", "update_config", key]);
        let width = match config("parallelism").and_then(|p| p.parse::<usize>().ok()) {
            Some(0) => Some(replicas.max(1)),
            other => other,
        };
        let first = config("order").as_deref() == Some("start-first");
        let delay = time(self.keys, &["deploy", "update_config", "delay"]);
        let has_claim = list(self.keys.get("volumes")).any(|m| {
            m.get("type").and_then(text).as_deref() == Some("volume") && m.get("source").is_some()
        });
        if below(self.keys, &["deploy", "update_config"]).is_some() {
            let width = width.unwrap_or(1);
            let (surge, away) = if first { (width, 0) } else { (0, width) };
            spec.insert(
                "strategy".to_owned(),
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": away}}),
            );
        } else if has_claim && replicas <= 1 {
            // The volume of one pod cannot be had by the next one before that is gone.
            spec.insert("strategy".to_owned(), json!({"type": "Recreate"}));
        }
        if let Some(delay) = delay.filter(|d| *d > 0.0) {
            spec.insert("minReadySeconds".to_owned(), (delay.ceil() as u64).into());
        }
    }
}

fn pairs_of(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}
