//! `NetworkSettings`.

use serde_json::{Map, Value, json};

use crate::operations::container::filter::network_name;
use crate::operations::container::summary::Summary;
use crate::spec::digest::Digest;
use crate::spec::image::ImageConfig;
use crate::state::container::Status;
use crate::state::network::AttachedNetwork;
use crate::state::options::{NetworkMode, PortMapping};

pub(super) fn settings(s: &Summary, image: Option<&ImageConfig>) -> Value {
    let o = &s.container.record.options.network;
    let status = s.status.as_ref().filter(|_| s.state.is_active());
    let ip = status
        .and_then(|st| st.ip_address.clone())
        .unwrap_or_default();
    let mut ports = ports_map(s.ports());
    // Exposed, not published: null.
    let exposed = image
        .into_iter()
        .flat_map(|i| i.config.exposed_ports.keys())
        .chain(&o.expose);
    for port in exposed {
        let key = if port.contains('/') {
            port.clone()
        } else {
            format!("{port}/tcp")
        };
        ports.entry(key).or_insert(Value::Null);
    }
    let (networks, first) = match s.networks() {
        names if names.is_empty() => (one_mode(s, status, &o.mode, &ip), Value::Null),
        names => with_names(s, status, &names),
    };
    let top = |key: &str, default: Value| match &first[key] {
        Value::Null => default,
        value => value.clone(),
    };
    let sandbox = match s.pid() {
        0 => String::new(),
        pid => format!("/proc/{pid}/ns/net"),
    };
    json!({
        "EndpointID": top("EndpointID", json!("")),
        "Gateway": top("Gateway", json!("")),
        "IPAddress": top("IPAddress", json!(ip)),
        "IPPrefixLen": top("IPPrefixLen", json!(0)),
        "IPv6Gateway": top("IPv6Gateway", json!("")),
        "GlobalIPv6Address": top("GlobalIPv6Address", json!("")),
        "GlobalIPv6PrefixLen": top("GlobalIPv6PrefixLen", json!(0)),
        "MacAddress": top("MacAddress", json!("")),
        "Bridge": "",
        "SandboxID": "",
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": ports,
        "SandboxKey": sandbox,
        "Networks": networks,
    })
}

/// The one network of a mode without a name.
fn one_mode(
    s: &Summary,
    status: Option<&Status>,
    mode: &NetworkMode,
    ip: &str,
) -> Map<String, Value> {
    let name = status
        .map(|st| st.network.clone())
        .filter(|n| !n.is_empty())
        .unwrap_or_else(|| network_name(mode));
    let mut networks = Map::new();
    if !matches!(mode, NetworkMode::Container(_) | NetworkMode::Path(_)) {
        let mut value = endpoint(s, None, &[]);
        value["IPAddress"] = json!(ip);
        value["NetworkID"] = json!(name);
        networks.insert(name, value);
    }
    networks
}

/// Networks with a name, and the first of them, whose addresses stand outside as well.
fn with_names(
    s: &Summary,
    status: Option<&Status>,
    names: &[String],
) -> (Map<String, Value>, Value) {
    let wishes = s.container.record.options.network.mode.networks();
    let mut networks = Map::new();
    let mut first = Value::Null;
    for name in names {
        let attached = status.and_then(|st| st.networks.iter().find(|n| n.name.as_str() == name));
        let wished = wishes.iter().find(|w| w.name == *name);
        let aliases = match (attached, wished) {
            (Some(attached), _) => attached.aliases.clone(),
            (None, Some(wish)) => wish.aliases.clone(),
            (None, None) => Vec::new(),
        };
        let value = endpoint(s, attached, &aliases);
        if first.is_null() {
            first = value.clone();
        }
        networks.insert(name.clone(), value);
    }
    (networks, first)
}

/// A container's place on a network.
fn endpoint(s: &Summary, attached: Option<&AttachedNetwork>, aliases: &[String]) -> Value {
    let address = |v6: bool| {
        let mut all = attached.into_iter().flat_map(|a| &a.addresses);
        all.find(|a| a.address.is_ipv6() == v6)
    };
    let text = |v6: bool| address(v6).map_or_else(String::new, |a| a.address.to_string());
    let gateway = |v6: bool| {
        let gateway = address(v6).and_then(|a| a.gateway);
        gateway.map_or_else(String::new, |g| g.to_string())
    };
    let bits = |v6: bool| address(v6).map_or(0, |a| a.subnet.bits());
    let mut names = aliases.to_vec();
    names.push(s.container.id().short().to_owned());
    let id = attached.map_or("", |a| a.id.as_str());
    let endpoint = match attached {
        Some(_) => {
            let text = format!("{}{id}", s.container.id());
            Digest::sha256_of(text.as_bytes()).hex().to_owned()
        }
        None => String::new(),
    };
    json!({
        "EndpointID": endpoint,
        "Gateway": gateway(false),
        "IPAddress": text(false),
        "IPPrefixLen": bits(false),
        "IPv6Gateway": gateway(true),
        "GlobalIPv6Address": text(true),
        "GlobalIPv6PrefixLen": bits(true),
        "MacAddress": attached.map_or("", |a| a.mac.as_str()),
        "NetworkID": id,
        "DriverOpts": null,
        "IPAMConfig": null,
        "Links": null,
        "Aliases": names,
    })
}

/// `{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`.
pub fn ports_map(ports: &[PortMapping]) -> Map<String, Value> {
    let mut map = Map::new();
    for p in ports {
        for n in 0..p.range.max(1) {
            let key = format!(
                "{}/{}",
                p.container_port.saturating_add(n),
                p.protocol.name()
            );
            let host = json!({
                "HostIp": p.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string()),
                "HostPort": if p.host_port == 0 { String::new() } else { p.host_port.saturating_add(n).to_string() },
            });
            match map.entry(key).or_insert_with(|| json!([])) {
                Value::Array(list) => list.push(host),
                other => *other = json!([host]),
            }
        }
    }
    map
}
