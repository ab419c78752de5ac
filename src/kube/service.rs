//! Services: an address with ports in front of pods, or, headless, a name that leads to the pods.

use std::collections::BTreeMap;

use serde_json::Value;

use super::node::Node;
use super::pod::Meta;
use super::{Service, Wish, pod};
use crate::base::{Error, Result};
use crate::state::options::{PortMapping, Protocol};
use crate::state::service::ServicePort;

/// What a name of a cluster may be followed by.
const DOMAINS: [&str; 3] = ["default", "default.svc", "default.svc.cluster.local"];

/// Ports below are not for everybody.
const UNPRIVILEGED: u16 = 1024;

/// Whom a Service leads to, and how.
#[derive(Clone, Debug, Default)]
pub(super) struct Selects {
    /// Its name.
    pub name: String,
    /// The labels of its pods.
    pub labels: BTreeMap<String, String>,
    /// Its name leads to the pods themselves: it has no address.
    pub headless: bool,
}

impl Selects {
    /// Reads what is needed of a Service before pods are planned.
    pub(super) fn of(object: &Value, name: String, wish: &Wish) -> Self {
        let selector = object.pointer("/spec/selector").and_then(Value::as_object);
        let labels = selector.into_iter().flatten();
        let cluster_ip = object.pointer("/spec/clusterIP").and_then(Value::as_str);
        Self {
            name,
            labels: labels
                .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
                .collect(),
            headless: cluster_ip == Some("None") || pod::named_networks(wish).is_empty(),
        }
    }

    /// Whether a pod with these labels is its own.
    pub(super) fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.labels.is_empty() && self.labels.iter().all(|(k, v)| labels.get(k) == Some(v))
    }
}

/// The service that a Service comes to; none for a headless one. `objects` have the pods.
///
/// # Errors
/// `Invalid` for ports that are none.
pub(super) fn service(
    node: &Node<'_>,
    own: &Selects,
    objects: &[Value],
    wish: &Wish,
) -> Result<Option<Service>> {
    node.skip(&["apiVersion", "kind", "status"]);
    let meta = Meta::read(node)?;
    let Some(spec) = node.node("spec")? else {
        return Ok(None);
    };
    spec.skip(&["selector", "clusterIP"]);
    let kind = spec.text("type")?.unwrap_or_default();
    if own.labels.is_empty() || kind == "ExternalName" {
        spec.note(" has no effect: it selects no pods");
        spec.skip_all();
        return Ok(None);
    }
    let mut made = Service {
        name: own.name.clone(),
        names: DOMAINS
            .iter()
            .map(|d| format!("{}.{d}", own.name))
            .collect(),
        networks: pod::named_networks(wish),
        labels: meta.labels,
        ..Service::default()
    };
    for port in spec.nodes("ports")? {
        port.skip(&["name", "appProtocol"]);
        let protocol = match port.text("protocol")?.as_deref() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some(other) => {
                port.note(&format!(
                    ".protocol {other} has no effect: the port is left out"
                ));
                port.skip_all();
                continue;
            }
        };
        let number = |key: &str| -> Result<Option<u16>> {
            let bad = || Error::invalid(format!("{}.{key} is no port", port.path()));
            let number = port.number(key)?.filter(|n| *n != 0);
            number
                .map(|n| u16::try_from(n).map_err(|_| bad()))
                .transpose()
        };
        let outer = number("port")?
            .ok_or_else(|| Error::invalid(format!("{}.port is missing", port.path())))?;
        let target = match port.text("targetPort")? {
            None => outer,
            Some(text) => match text.parse().ok().or_else(|| named(objects, own, &text)) {
                Some(target) => target,
                None => {
                    return Err(Error::invalid(format!(
                        "{}.targetPort: no pod of the Service has a port {text:?}",
                        port.path()
                    )));
                }
            },
        };
        made.ports.push(ServicePort {
            port: outer,
            target,
            protocol,
        });
        let of_host = number("nodePort")?;
        let published = match (kind.as_str(), of_host) {
            ("NodePort" | "LoadBalancer", Some(number)) => Some(number),
            ("LoadBalancer", None) if outer >= UNPRIVILEGED => Some(outer),
            ("NodePort" | "LoadBalancer", None) => {
                port.note(" is not published: give it a nodePort");
                None
            }
            _ => None,
        };
        made.publish.extend(published.map(|number| PortMapping {
            host_ip: None,
            host_port: number,
            container_port: target,
            range: 1,
            protocol,
        }));
    }
    if own.headless {
        if !made.publish.is_empty() {
            spec.note(".ports are not published: a Service without an address has none");
        }
        return Ok(None);
    }
    Ok(Some(made))
}

/// The number of a named port of the pods that a Service selects.
fn named(objects: &[Value], own: &Selects, name: &str) -> Option<u16> {
    let pods = objects
        .iter()
        .flat_map(|o| [Some(o), o.pointer("/spec/template")].into_iter().flatten());
    for pod in pods {
        let labels = pod.pointer("/metadata/labels").and_then(Value::as_object);
        let labels: BTreeMap<String, String> = labels
            .into_iter()
            .flatten()
            .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
            .collect();
        if !own.selects(&labels) {
            continue;
        }
        let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
        let ports = containers
            .into_iter()
            .flatten()
            .filter_map(|c| c.get("ports")?.as_array())
            .flatten();
        for port in ports {
            if port.get("name").and_then(Value::as_str) == Some(name) {
                let number = port.get("containerPort").and_then(Value::as_u64)?;
                return u16::try_from(number).ok();
            }
        }
    }
    None
}
