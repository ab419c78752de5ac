//! `NetworkSettings`.

use serde_json::{Map, Value, json};

use crate::operations::container::filter::network_name;
use crate::operations::container::summary::Summary;
use crate::spec::image::ImageConfig;
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
    let name = status
        .map(|st| st.network.clone())
        .filter(|n| !n.is_empty())
        .unwrap_or_else(|| network_name(&o.mode));
    let mut networks = Map::new();
    if !matches!(o.mode, NetworkMode::Container(_) | NetworkMode::Path(_)) {
        networks.insert(
            name.clone(),
            json!({
                "EndpointID": "",
                "Gateway": "",
                "IPAddress": ip,
                "IPPrefixLen": 0,
                "IPv6Gateway": "",
                "GlobalIPv6Address": "",
                "GlobalIPv6PrefixLen": 0,
                "MacAddress": "",
                "NetworkID": name,
                "DriverOpts": null,
                "IPAMConfig": null,
                "Links": null,
                "Aliases": [s.container.id().short()],
            }),
        );
    }
    let sandbox = match s.pid() {
        0 => String::new(),
        pid => format!("/proc/{pid}/ns/net"),
    };
    json!({
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": ip,
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "MacAddress": "",
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
