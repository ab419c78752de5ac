//! Objects of all kinds to a plan: volumes and secrets first, then pods, as often as they are asked for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::node::{Node, Notes};
use super::pod::{self, Meta, NETWORK, Place};
use super::service::{self, Selects};
use super::{Plan, Step, Timer, Volume, Wish, data_of, kinds};
use crate::base::{Context as _, Error, Result};

/// So many replicas of one object on one machine are a slip of the pen.
const REPLICAS: i64 = 100;

/// What is to be done for `objects`. `lookup` finds ConfigMaps and Secrets that are not among them.
///
/// # Errors
/// `Invalid` for objects that make no sense, `Unsupported` for kinds that only a cluster has.
pub fn plan(objects: &[Value], wish: &Wish, lookup: super::Lookup<'_>) -> Result<Plan> {
    let notes = Notes::default();
    let mut steps = Vec::new();
    let mut data: BTreeMap<(String, String), BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for object in objects.iter().chain(&wish.config_maps) {
        kinds::check(object)?;
        let kind = kind(object);
        if matches!(kind, "ConfigMap" | "Secret") {
            data.insert((kind.to_owned(), name(object)?), data_of(object)?);
        }
    }
    let find = |kind: &str, name: &str| {
        data.get(&(kind.to_owned(), name.to_owned()))
            .cloned()
            .or_else(|| lookup(kind, name))
    };
    let services = services(objects, wish)?;
    let mut fronts = Vec::new();
    for object in objects {
        match kind(object) {
            "PersistentVolumeClaim" => claim(object, &notes, &mut steps)?,
            "Secret" => steps.push(Step::Secret {
                name: name(object)?,
                content: object.to_string(),
            }),
            _ => {}
        }
    }
    let mut pods = Vec::new();
    let mut timers = Vec::new();
    for object in objects {
        let kind = kind(object);
        let wrapped = |path: &str| Node::new(object, path, &notes);
        let path = format!("{kind} {}", name(object).unwrap_or_default());
        match kind {
            "ConfigMap" | "Secret" | "PersistentVolumeClaim" => {}
            "Pod" | "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" => {
                let node = wrapped(&path)?;
                node.skip(&["apiVersion", "kind", "status"]);
                workload(kind, &node, &services, wish, &find, &mut pods)?;
            }
            "Service" => {
                let own = services
                    .iter()
                    .find(|s| name(object).is_ok_and(|n| n == s.name));
                if let Some(own) = own {
                    let front = service::service(&wrapped(&path)?, own, objects, wish)?;
                    fronts.extend(front.map(Step::Service));
                }
            }
            "CronJob" => {
                let node = wrapped(&path)?;
                timers.push(cron_job(&node, objects, wish, &find, &notes)?);
            }
            "Ingress" => {
                return Err(Error::unsupported(format!(
                    "{path}: nothing here forwards requests by host and path"
                ))
                .hint("publish the pod's port with hostPort and take the Ingress out"));
            }
            _ => notes
                .borrow_mut()
                .push(format!("{path}: objects of that kind have no effect here")),
        }
    }
    // A pod of the host's network, or of another one by the command line, needs none.
    let wants = format!("--network={NETWORK}");
    let needs = |s: &Step| matches!(s, Step::Pod { words, .. } if words.contains(&wants));
    if pods.iter().any(needs) {
        steps.insert(0, Step::Network(NETWORK.to_owned()));
    }
    let words = pods.iter_mut().filter_map(|s| match s {
        Step::Pod { words, .. } => Some(words),
        _ => None,
    });
    // The first address is the first pod's, and so on.
    for (i, words) in words.enumerate() {
        words.extend(wish.ips.get(i).map(|ip| format!("--ip={ip}")));
        words.extend(wish.macs.get(i).map(|mac| format!("--mac-address={mac}")));
    }
    if fronts
        .iter()
        .any(|s| matches!(s, Step::Service(f) if f.networks == [NETWORK]))
        && !steps.contains(&Step::Network(NETWORK.to_owned()))
    {
        steps.insert(0, Step::Network(NETWORK.to_owned()));
    }
    steps.extend(fronts);
    steps.extend(pods);
    steps.extend(timers.into_iter().map(Step::Timer));
    let mut notices = Vec::new();
    for notice in notes.into_inner() {
        // Of replicas each would tell the same.
        if !notices.contains(&notice) {
            notices.push(notice);
        }
    }
    Ok(Plan { steps, notices })
}

fn kind(object: &Value) -> &str {
    object
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn name(object: &Value) -> Result<String> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    name.map(str::to_owned)
        .ok_or_else(|| Error::invalid(format!("{}: metadata.name is missing", kind(object))))
}

fn services(objects: &[Value], wish: &Wish) -> Result<Vec<Selects>> {
    let all = objects.iter().filter(|o| kind(o) == "Service");
    all.map(|o| Ok(Selects::of(o, name(o)?, wish))).collect()
}

fn workload(
    kind: &str,
    node: &Node<'_>,
    services: &[Selects],
    wish: &Wish,
    lookup: super::Lookup<'_>,
    steps: &mut Vec<Step>,
) -> Result<()> {
    let meta = Meta::read(node)?;
    let owner = meta
        .name
        .clone()
        .ok_or_else(|| Error::invalid(format!("{kind}: metadata.name is missing")))?;
    let spec = node
        .node("spec")?
        .ok_or_else(|| Error::invalid(format!("{}: spec is missing", node.path())))?;
    let none = BTreeMap::new();
    let one = |restart| Place {
        name: &owner,
        aliases: &[],
        services: &[],
        restart,
        attempts: None,
        claims: &none,
        wish,
        lookup,
    };
    if kind == "Pod" {
        let (aliases, services) = names(&meta.labels, services, None);
        let place = Place {
            aliases: &aliases,
            services: &services,
            ..one("Always")
        };
        return pod::steps(&spec, &meta, &place, steps);
    }
    spec.skip(&["selector"]);
    let mut replicas = spec.number("replicas")?.unwrap_or(1);
    if kind == "Job" {
        let completions = spec.number("completions")?.unwrap_or(1);
        let parallel = spec.number("parallelism")?.unwrap_or(1);
        if completions != parallel {
            spec.note(": as many pods as completions run side by side");
        }
        replicas = completions;
    }
    let templates = match kind {
        "StatefulSet" => {
            spec.skip(&["serviceName"]);
            spec.nodes("volumeClaimTemplates")?
        }
        _ => Vec::new(),
    };
    let attempts = match kind {
        "Job" => spec.number("backoffLimit")?,
        _ => None,
    };
    if !(0..=REPLICAS).contains(&replicas) {
        return Err(Error::invalid(format!(
            "{}.replicas is 0 to {REPLICAS}",
            spec.path()
        )));
    }
    let template = spec
        .node("template")?
        .ok_or_else(|| Error::invalid(format!("{}.template is missing", spec.path())))?;
    let inner = Meta::read(&template)?;
    let (aliases, services) = names(&inner.labels, services, Some(&owner));
    let restart = if kind == "Job" { "OnFailure" } else { "Always" };
    for i in 0..replicas {
        let name = match kind {
            "StatefulSet" => format!("{owner}-{i}"),
            _ if replicas == 1 => format!("{owner}-pod"),
            _ => format!("{owner}-pod-{i}"),
        };
        let mut claims = BTreeMap::new();
        for template in &templates {
            let (volume, step) = claim_of(template, &name)?;
            if let Step::Volume(made) = &step {
                claims.insert(volume, made.name.clone());
            }
            steps.push(step);
        }
        let place = Place {
            name: &name,
            aliases: &aliases,
            services: &services,
            attempts,
            claims: &claims,
            ..one(restart)
        };
        let below = template
            .node("spec")?
            .ok_or_else(|| Error::invalid(format!("{}.spec is missing", template.path())))?;
        if i > 0 {
            // The first one has told it.
            let unread = Notes::default();
            let again = Node::new(
                template.get("spec").unwrap_or(&Value::Null),
                template.path(),
                &unread,
            )?;
            pod::steps(&again, &inner, &place, steps)?;
            below.skip_all();
        } else {
            pod::steps(&below, &inner, &place, steps)?;
        }
    }
    if replicas == 0 {
        template.skip_all();
    }
    if replicas > 1 {
        let published = |s: &Step| matches!(s, Step::Pod { words, .. } if words.iter().any(|w| w.starts_with("--publish=")));
        if steps.iter().any(published) {
            return Err(Error::invalid(format!(
                "{}: {replicas} replicas cannot all have the same port of the host",
                node.path()
            ))
            .hint("leave hostPort out, or run one replica"));
        }
    }
    Ok(())
}

/// The names by which others find a pod, its owner's and those of headless Services, and the
/// Services that lead to it by an address of their own. A name that such a Service has is its alone.
fn names(
    labels: &BTreeMap<String, String>,
    services: &[Selects],
    owner: Option<&str>,
) -> (Vec<String>, Vec<String>) {
    let own = || services.iter().filter(|s| s.selects(labels));
    let of = |headless: bool| {
        let found = own().filter(move |s| s.headless == headless);
        found.map(|s| s.name.clone())
    };
    let fronts: Vec<String> = of(false).collect();
    let mut all: Vec<String> = owner
        .map(str::to_owned)
        .into_iter()
        .chain(of(true))
        .collect();
    all.retain(|name| !services.iter().any(|s| s.name == *name && !s.headless));
    all.sort();
    all.dedup();
    (all, fronts)
}

/// Annotations of a claim that are options of the volume.
const CLAIM: &[(&str, &str)] = &[
    ("volume.podman.io/device", "device"),
    ("volume.podman.io/type", "type"),
    ("volume.podman.io/uid", "UID"),
    ("volume.podman.io/gid", "GID"),
    ("volume.podman.io/mount-options", "o"),
];

fn claim(object: &Value, notes: &Notes, steps: &mut Vec<Step>) -> Result<()> {
    let path = format!("PersistentVolumeClaim {}", name(object)?);
    let node = Node::new(object, &path, notes)?;
    steps.push(claim_step(&node, name(object)?)?);
    Ok(())
}

/// The volume of a claim that a StatefulSet makes for a replica, and the name that the pod knows.
fn claim_of(template: &Node<'_>, pod: &str) -> Result<(String, Step)> {
    let volume = Meta::read(template)?
        .name
        .ok_or_else(|| Error::invalid(format!("{}: metadata.name is missing", template.path())))?;
    let step = claim_step(template, format!("{volume}-{pod}"))?;
    Ok((volume, step))
}

fn claim_step(node: &Node<'_>, name: String) -> Result<Step> {
    node.skip(&["apiVersion", "kind", "status"]);
    let meta = Meta::read(node)?;
    if let Some(spec) = node.node("spec")? {
        // Every volume here can be mounted by all containers of this machine.
        spec.skip(&["accessModes"]);
        if let Some(resources) = spec.node("resources")? {
            resources.skip_all();
            resources.note(" has no effect: a volume is as large as the disk");
        }
    }
    let mut options = BTreeMap::new();
    for (key, value) in &meta.annotations {
        match CLAIM.iter().find(|(annotation, _)| annotation == key) {
            Some((_, option)) => {
                options.insert((*option).to_owned(), value.clone());
            }
            None if key == "volume.podman.io/driver" && value == "local" => {}
            None if key.starts_with("volume.podman.io/") => {
                node.note(&format!(".metadata.annotations.{key} has no effect here"));
            }
            None => {}
        }
    }
    Ok(Step::Volume(Volume {
        name,
        labels: meta.labels,
        options,
        keeps: true,
        files: Vec::new(),
    }))
}

/// A CronJob: the Job of its template, with all that the manifest has beside pods, played by a timer.
fn cron_job(
    node: &Node<'_>,
    objects: &[Value],
    wish: &Wish,
    lookup: super::Lookup<'_>,
    notes: &Notes,
) -> Result<Timer> {
    node.skip(&["apiVersion", "kind", "status"]);
    let meta = Meta::read(node)?;
    let missing = |what: &str| Error::invalid(format!("{}: {what} is missing", node.path()));
    let name = meta.name.ok_or_else(|| missing("metadata.name"))?;
    let spec = node.node("spec")?.ok_or_else(|| missing("spec"))?;
    let schedule = spec.needed("schedule")?;
    let calendars = super::cron::calendars(&schedule, spec.text("timeZone")?.as_deref())
        .what(|| format!("{}.schedule", spec.path()))?;
    if spec
        .text("concurrencyPolicy")?
        .is_some_and(|p| p != "Forbid")
    {
        spec.note(".concurrencyPolicy is Forbid here: a run that takes longer than the time to the next one is left to end");
    }
    let template = spec
        .node("jobTemplate")?
        .ok_or_else(|| missing("spec.jobTemplate"))?;
    template.skip_all();
    let mut job = template.value().clone();
    job.insert("apiVersion".to_owned(), "batch/v1".into());
    job.insert("kind".to_owned(), "Job".into());
    let mut own = job.get("metadata").cloned().unwrap_or_else(|| json!({}));
    own["name"] = name.as_str().into();
    job.insert("metadata".to_owned(), own);
    let job = Value::Object(job);
    // What is wrong with it is better told now, and by this command.
    let path = format!("{}.spec.jobTemplate", node.path());
    let mut steps = Vec::new();
    {
        let played = Node::new(&job, &path, notes)?;
        played.skip(&["apiVersion", "kind"]);
        workload("Job", &played, &[], wish, lookup, &mut steps)?;
    }
    let pods = steps.iter().filter_map(|s| match s {
        Step::Pod { name, .. } => Some(name.clone()),
        _ => None,
    });
    let pods = pods.collect();
    let beside = objects
        .iter()
        .chain(&wish.config_maps)
        .filter(|o| matches!(kind(o), "ConfigMap" | "PersistentVolumeClaim"));
    let mut items: Vec<Value> = beside.cloned().collect();
    items.push(job);
    Ok(Timer {
        name,
        calendars,
        suspended: spec.flag("suspend")?.unwrap_or(false),
        pods,
        manifest: json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string(),
    })
}
