//! A pod: its fields as the words of `pod create`, its containers, its volumes.

use std::collections::BTreeMap;

use super::container::{self, Context, Port, Security};
use super::node::Node;
use super::volume::{self, Source};
use super::{Lookup, Step, Wish};
use crate::base::{Error, Result};

/// The network of all manifests that ask for none; podman's name.
pub const NETWORK: &str = "podman-default-kube-network";

/// What the pod is part of.
pub struct Place<'a> {
    /// Its name.
    pub name: &'a str,
    /// Names under which others find it: Services, and the object that made it.
    pub aliases: &'a [String],
    /// Services that lead to it by an address of their own.
    pub services: &'a [String],
    /// `restartPolicy` of objects that say none.
    pub restart: &'static str,
    /// `backoffLimit` of a Job: so often a container that failed is started again.
    pub attempts: Option<i64>,
    /// Volumes of `volumeClaimTemplates`, with the names of their claims.
    pub claims: &'a BTreeMap<String, String>,
    /// The command line's.
    pub wish: &'a Wish,
    /// ConfigMaps and Secrets.
    pub lookup: Lookup<'a>,
}

/// Labels and annotations of an object's metadata.
#[derive(Clone, Debug, Default)]
pub struct Meta {
    /// Its name.
    pub name: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its namespace: told inside, and nothing else.
    pub namespace: Option<String>,
}

impl Meta {
    /// Reads `metadata`; what a server writes into it means nothing here.
    ///
    /// # Errors
    /// `Invalid` for fields of another kind.
    pub fn read(object: &Node<'_>) -> Result<Self> {
        let Some(node) = object.node("metadata")? else {
            return Ok(Self::default());
        };
        node.skip(&[
            "creationTimestamp",
            "generateName",
            "generation",
            "managedFields",
            "ownerReferences",
            "resourceVersion",
            "selfLink",
            "uid",
        ]);
        let namespace = node.text("namespace")?.filter(|n| !n.is_empty());
        if namespace.as_deref().is_some_and(|n| n != "default") {
            node.note(".namespace separates nothing here: names are one machine's");
        }
        Ok(Self {
            namespace,
            name: node.text("name")?,
            labels: node.pairs("labels")?,
            annotations: node.pairs("annotations")?,
        })
    }
}

/// The steps that make a pod and start it.
///
/// # Errors
/// `Invalid`, `NotFound`, `Unsupported`, as its fields have it.
pub fn steps(spec: &Node<'_>, meta: &Meta, place: &Place<'_>, steps: &mut Vec<Step>) -> Result<()> {
    let wish = place.wish;
    let with_limit;
    let restart = match spec
        .text("restartPolicy")?
        .as_deref()
        .unwrap_or(place.restart)
    {
        "Always" => "always",
        "OnFailure" => match place.attempts {
            Some(most) => {
                with_limit = format!("on-failure:{}", most.max(0));
                with_limit.as_str()
            }
            None => "on-failure",
        },
        "Never" => "no",
        other => {
            return Err(Error::invalid(format!(
                "{}.restartPolicy {other:?}: use Always, OnFailure or Never",
                spec.path()
            )));
        }
    };
    let containers = spec.nodes("containers")?;
    let inits = spec.nodes("initContainers")?;
    if containers.is_empty() {
        return Err(Error::invalid(format!("{} has no containers", spec.path())));
    }
    let mut ports: Vec<Port> = Vec::new();
    for node in containers.iter().chain(&inits) {
        ports.extend(container::ports(node, wish.publish_all)?);
    }
    let mut security = Security::default();
    let mut words = Vec::new();
    if let Some(node) = spec.node("securityContext")? {
        security = Security::read(&node, &security, wish.seccomp_root.as_deref())?;
        for group in node.texts("supplementalGroups")? {
            security.groups.push(group.parse().map_err(|_| {
                Error::invalid(format!("{}.supplementalGroups: {group:?}", node.path()))
            })?);
        }
        security.groups.extend(node.number("fsGroup")?);
        for sysctl in node.nodes("sysctls")? {
            words.push(format!(
                "--sysctl={}={}",
                sysctl.needed("name")?,
                sysctl.text("value")?.unwrap_or_default()
            ));
        }
    }
    let shares_pids = spec.flag("shareProcessNamespace")?.unwrap_or(false);
    let host_network = network(spec, place, &ports, &mut words)?;
    names(spec, place, host_network, &mut words)?;
    for (key, value) in &meta.labels {
        words.push(format!("--label={key}={value}"));
    }
    words.push("--exit-policy=stop".to_owned());
    let host_pid = spec.flag("hostPID")?.unwrap_or(false);
    if host_pid {
        words.push("--pid=host".to_owned());
    }
    if spec.flag("hostIPC")?.unwrap_or(false) {
        return Err(Error::unsupported(format!(
            "{}.hostIPC: message queues of the host are not shared with pods",
            spec.path()
        )));
    }
    let mut share = vec!["ipc", "net", "uts"];
    if shares_pids || host_pid {
        share.push("pid");
    }
    words.push(format!("--share={}", share.join(",")));
    let annotated = meta.annotations.get("io.podman.annotations.userns");
    match (&wish.userns, spec.flag("hostUsers")?, annotated) {
        (Some(mode), _, _) => words.push(format!("--userns={mode}")),
        (None, _, Some(mode)) => words.push(format!("--userns={mode}")),
        (None, Some(false), None) => words.push("--userns=auto".to_owned()),
        (None, _, None) => {}
    }
    let mut volumes = volume::volumes(spec, meta, place.name, place.lookup, steps)?;
    for (name, claim) in place.claims {
        let source = Source::Volume {
            name: claim.clone(),
            read_only: false,
        };
        volumes.insert(name.clone(), source);
    }
    steps.push(Step::Pod {
        name: place.name.to_owned(),
        words,
    });
    let cx = Context {
        pod: place.name,
        labels: &meta.labels,
        annotations: &meta.annotations,
        namespace: meta.namespace.as_deref(),
        volumes: &volumes,
        restart,
        security: &security,
        grace: spec.number("terminationGracePeriodSeconds")?,
        lookup: place.lookup,
        wish,
    };
    let once = meta
        .annotations
        .get("io.podman.annotations.init.container.type");
    let mut sharing: BTreeMap<String, u32> = BTreeMap::new();
    for node in &inits {
        // One that is started again is a sidecar: it stays beside the others.
        let sidecar = match node.text("restartPolicy")?.as_deref() {
            None => false,
            Some("Always") => true,
            Some(other) => {
                return Err(Error::invalid(format!(
                    "{}.restartPolicy {other:?}: use Always or none",
                    node.path()
                )));
            }
        };
        let init = (!sidecar).then(|| once.map_or("once", String::as_str));
        let cx = Context {
            restart: if sidecar { "always" } else { restart },
            ..cx
        };
        add(node, &cx, &ports, init, &mut sharing, steps)?;
    }
    for node in &containers {
        add(node, &cx, &ports, None, &mut sharing, steps)?;
    }
    for (name, source) in &volumes {
        let count = sharing.get(name).copied().unwrap_or(0);
        if matches!(source, Source::Memory(_)) && count > 1 {
            spec.note(&format!(
                ".volumes: {name:?} in memory is each container's own, not shared"
            ));
        }
    }
    steps.push(Step::Start(place.name.to_owned()));
    Ok(())
}

fn add(
    node: &Node<'_>,
    cx: &Context<'_>,
    ports: &[Port],
    init: Option<&str>,
    sharing: &mut BTreeMap<String, u32>,
    steps: &mut Vec<Step>,
) -> Result<()> {
    for mount in node.nodes("volumeMounts")? {
        let name = mount.needed("name")?;
        mount.skip_all();
        *sharing.entry(name).or_default() += 1;
    }
    let (image, words) = container::words(node, cx, ports, init)?;
    steps.push(Step::Container { image, words });
    Ok(())
}

/// The networks with a name that pods are on, unless they are on the host's.
pub fn named_networks(wish: &Wish) -> Vec<String> {
    if wish.networks.is_empty() {
        return vec![NETWORK.to_owned()];
    }
    let first = |n: &String| n.split(':').next().unwrap_or(n).to_owned();
    let mut names: Vec<String> = wish.networks.iter().map(first).collect();
    names.retain(|mode| {
        !matches!(
            mode.as_str(),
            "host"
                | "none"
                | "pasta"
                | "slirp4netns"
                | "private"
                | "container"
                | "ns"
                | "default"
                | ""
        )
    });
    names
}

/// Network and ports; whether it is the host's.
fn network(
    spec: &Node<'_>,
    place: &Place<'_>,
    ports: &[Port],
    words: &mut Vec<String>,
) -> Result<bool> {
    let wish = place.wish;
    if spec.flag("hostNetwork")?.unwrap_or(false) {
        words.push("--network=host".to_owned());
        return Ok(true);
    }
    let mut networks = wish.networks.clone();
    if networks.is_empty() {
        networks.push(NETWORK.to_owned());
    }
    let with_names = !named_networks(wish).is_empty();
    words.extend(networks.iter().map(|n| format!("--network={n}")));
    if with_names {
        words.extend(place.aliases.iter().map(|a| format!("--network-alias={a}")));
        words.extend(place.services.iter().map(|s| format!("--service={s}")));
    }
    words.extend(
        ports
            .iter()
            .filter_map(|p| Some(format!("--publish={}", p.host.as_ref()?))),
    );
    words.extend(wish.publish.iter().map(|p| format!("--publish={p}")));
    Ok(false)
}

/// Host name, hosts file, name servers.
fn names(
    spec: &Node<'_>,
    place: &Place<'_>,
    host_network: bool,
    words: &mut Vec<String>,
) -> Result<()> {
    match spec.text("hostname")? {
        Some(name) => words.push(format!("--hostname={name}")),
        None if host_network => {}
        None => words.push(format!("--hostname={}", place.name)),
    }
    if place.wish.no_hosts {
        words.push("--no-hosts".to_owned());
    }
    for alias in spec.nodes("hostAliases")? {
        let ip = alias.needed("ip")?;
        let names = alias.texts("hostnames")?;
        if !names.is_empty() && !place.wish.no_hosts {
            words.push(format!("--add-host={}:{ip}", names.join(";")));
        }
    }
    if let Some(dns) = spec.node("dnsConfig")? {
        for server in dns.texts("nameservers")? {
            words.push(format!("--dns={server}"));
        }
        for domain in dns.texts("searches")? {
            words.push(format!("--dns-search={domain}"));
        }
        for option in dns.nodes("options")? {
            let name = option.needed("name")?;
            words.push(match option.text("value")? {
                Some(value) => format!("--dns-option={name}:{value}"),
                None => format!("--dns-option={name}"),
            });
        }
    }
    Ok(())
}
