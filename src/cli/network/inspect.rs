//! `network inspect`.

use serde_json::{Map, Value, json};

use super::super::output::{Out, listing};
use crate::base::Result;
use crate::operations::network::{self, Member, NetworkRecord};
use crate::operations::session::Session;

/// Show everything about networks
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Print by a Go template, or `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// More of the same (as docker's)
    #[arg(short, long, hide = true)]
    verbose: bool,
    /// Names or ids
    #[arg(value_name = "NETWORK", required = true)]
    networks: Vec<String>,
}

/// Runs `network inspect`.
///
/// # Errors
/// One that is missing is reported, the others are shown; the exit code is then 125, called as docker 1.
pub fn run(args: InspectArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let mut code = 0;
    let mut values = Vec::new();
    let members = network::members(session)?;
    for name in &args.networks {
        match network::find(session, name) {
            Ok(record) => {
                let own = members
                    .get(record.name.as_str())
                    .map_or(&[][..], Vec::as_slice);
                values.push(match out.is_docker() {
                    true => dockers(&record, own),
                    false => podmans(&record, own),
                });
            }
            Err(e) => {
                out.error(&e);
                code = if out.is_docker() { 1 } else { 125 };
            }
        }
    }
    match args.format.as_deref() {
        Some(format) if !listing::is_json(format) => {
            for value in &values {
                listing::print_object(out, Some(format), value)?;
            }
        }
        _ => out.json(&Value::Array(values))?,
    }
    Ok(code)
}

fn subnets(record: &NetworkRecord) -> Value {
    let one = |s: &crate::state::network::Subnet| {
        let mut value = json!({"subnet": s.subnet, "gateway": s.gateway});
        if let Some((first, last)) = s.range {
            value["lease_range"] = json!({"start_ip": first, "end_ip": last});
        }
        value
    };
    record.subnets.iter().map(one).collect()
}

/// podman's object.
pub fn podmans(record: &NetworkRecord, members: &[Member]) -> Value {
    let mut containers = Map::new();
    for member in members {
        let Some(attached) = &member.attached else {
            continue;
        };
        let subnets: Vec<Value> = attached
            .addresses
            .iter()
            .map(|a| {
                json!({
                    "ipnet": format!("{}/{}", a.address, a.subnet.bits()),
                    "gateway": a.gateway.map(|g| g.to_string()).unwrap_or_default(),
                })
            })
            .collect();
        containers.insert(
            member.container.id().to_string(),
            json!({
                "name": member.container.name(),
                "interfaces": {
                    attached.interface.as_str(): {"subnets": subnets, "mac_address": attached.mac},
                },
            }),
        );
    }
    json!({
        "name": record.name,
        "id": record.id,
        "driver": "bridge",
        "network_interface": record.interface,
        "created": record.created.rfc3339(),
        "subnets": subnets(record),
        "ipv6_enabled": record.has_v6(),
        "internal": record.internal,
        "dns_enabled": record.dns,
        "network_dns_servers": record.dns_servers,
        "labels": record.labels,
        "options": record.options,
        "ipam_options": {"driver": "host-local"},
        "routes": record.routes,
        "containers": containers,
    })
}

/// docker's object.
pub(crate) fn dockers(record: &NetworkRecord, members: &[Member]) -> Value {
    let mut containers = Map::new();
    for member in members {
        let Some(attached) = &member.attached else {
            continue;
        };
        let address = |v6: bool| {
            let found = attached
                .addresses
                .iter()
                .find(|a| a.address.is_ipv6() == v6);
            found.map_or_else(String::new, |a| {
                format!("{}/{}", a.address, a.subnet.bits())
            })
        };
        containers.insert(
            member.container.id().to_string(),
            json!({
                "Name": member.container.name(),
                "EndpointID": crate::spec::digest::Digest::sha256_of(
                    format!("{}{}", member.container.id(), record.id).as_bytes()).hex(),
                "MacAddress": attached.mac,
                "IPv4Address": address(false),
                "IPv6Address": address(true),
            }),
        );
    }
    let config: Vec<Value> = record
        .subnets
        .iter()
        .map(|s| {
            let mut value = json!({"Subnet": s.subnet, "Gateway": s.gateway});
            let own = record
                .reserved
                .iter()
                .filter(|(_, a)| s.subnet.contains(**a));
            let own: Map<String, Value> = own.map(|(n, a)| (n.clone(), json!(a))).collect();
            if !own.is_empty() {
                value["AuxiliaryAddresses"] = own.into();
            }
            value
        })
        .collect();
    json!({
        "Name": name(record),
        "Id": record.id,
        "Created": record.created.rfc3339(),
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv4": record.subnets.iter().any(|s| !s.subnet.is_v6()),
        "EnableIPv6": record.has_v6(),
        "IPAM": {"Driver": "default", "Options": null, "Config": config},
        "Internal": record.internal,
        "Attachable": true,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": containers,
        "Options": record.options,
        "Labels": record.labels,
    })
}

/// docker's name for it.
pub(super) fn name(record: &NetworkRecord) -> &str {
    match record.is_default() {
        true => crate::state::network::DEFAULT_OF_DOCKER,
        false => record.name.as_str(),
    }
}
