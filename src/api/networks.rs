//! `/networks/…`.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::Cx;
use super::conn::Conn;
use crate::base::filter::Filters;
use crate::base::{Error, Kind, Result};
use crate::cli::network::inspect::{dockers, podmans};
use crate::operations::network::{
    self, Connection, CreateSpec, Member, Members, connect, create, disconnect,
};
use crate::state::network::NetworkRecord;
use crate::state::options::NetworkWish;

/// Answers; false for a route that there is not.
///
/// # Errors
/// What the operation says.
pub fn route(cx: &Cx<'_>, conn: &mut Conn, path: &[&str]) -> Result<bool> {
    let session = cx.session;
    let find = |name: &str| network::find(session, usual(name)).map_err(|e| no_such(e, name));
    let shown = |record: &NetworkRecord, members: &Members| match cx.libpod {
        true => podmans(record, of(record, members)),
        false => object(record, members),
    };
    match (cx.method(), path) {
        ("GET", [] | ["json"]) => {
            let members = network::members(session)?;
            let filters = Filters::parse(&cx.filters()?, FILTERS)?;
            let list = network::list(session, &filters)?;
            let list: Vec<Value> = list.iter().map(|r| shown(r, &members)).collect();
            conn.json(200, &Value::Array(list))?;
        }
        ("GET", [name] | [name, "json"]) => {
            let record = find(name)?;
            conn.json(200, &shown(&record, &network::members(session)?))?;
        }
        ("GET", [name, "exists"]) => {
            find(name)?;
            conn.empty(204)?;
        }
        ("POST", ["create"]) => make(cx, conn)?,
        ("POST", ["prune"]) => {
            let filters = Filters::parse(&cx.filters()?, network::PRUNE_FILTERS)?;
            let names = network::prune(session, &filters)?;
            let list = names.iter().map(|n| json!({"Name": n, "Error": null}));
            let value = match cx.libpod {
                true => list.collect(),
                false => json!({"NetworksDeleted": names}),
            };
            conn.json(200, &value)?;
        }
        ("POST", [name, "connect"]) => {
            let record = find(name)?;
            let body = cx.body(conn)?;
            let connection = Connection {
                network: record.name.to_string(),
                container: member(&body),
                wish: match cx.libpod {
                    true => spec_wish(&body)?,
                    false => wish(&body["EndpointConfig"])?,
                },
            };
            connect(session, &connection)?;
            conn.empty(200)?;
        }
        ("POST", [name, "disconnect"]) => {
            let record = find(name)?;
            let body = cx.body(conn)?;
            let container = member(&body);
            let force = body["Force"].as_bool().unwrap_or(false);
            disconnect(session, record.name.as_str(), &container, force)?;
            conn.empty(200)?;
        }
        ("DELETE", [name]) => {
            let record = find(name)?;
            let force = cx.libpod && cx.head.flag("force");
            network::remove(
                session,
                record.name.as_str(),
                force,
                Some(Duration::from_secs(10)),
            )
            .map_err(|e| match e.kind() {
                // Docker says so of its own networks, and of one in use.
                Kind::Invalid | Kind::InUse => e.with_kind(Kind::Denied),
                _ => e,
            })?;
            match cx.libpod {
                true => conn.json(200, &json!([{"Name": record.name, "Err": null}]))?,
                false => conn.empty(204)?,
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Keys of `filters`.
const FILTERS: &[&str] = &[
    "dangling", "driver", "id", "label", "name", "scope", "type", "until",
];

/// Docker's name for the network that is always there.
fn usual(name: &str) -> &str {
    match name {
        "bridge" | "default" => "podman",
        name => name,
    }
}

fn no_such(e: Error, name: &str) -> Error {
    match e.kind() {
        Kind::NotFound => Error::not_found(format!("network {name} not found")),
        _ => e,
    }
}

/// The containers of a network.
fn of<'a>(record: &NetworkRecord, members: &'a Members) -> &'a [Member] {
    let own = members.get(record.name.as_str());
    own.map_or(&[][..], Vec::as_slice)
}

/// Which container a body names; podman's clients write it in small letters.
fn member(body: &Value) -> String {
    let named = text(body, "Container").or_else(|| text(body, "container"));
    named.unwrap_or_default()
}

/// The wish of podman's body.
fn spec_wish(body: &Value) -> Result<NetworkWish> {
    let ips = body["static_ips"].as_array().into_iter().flatten();
    let mut docker =
        json!({"MacAddress": body["static_mac"], "Aliases": body["aliases"], "IPAMConfig": {}});
    for ip in ips.filter_map(Value::as_str) {
        let field = if ip.contains(':') {
            "IPv6Address"
        } else {
            "IPv4Address"
        };
        docker["IPAMConfig"][field] = ip.into();
    }
    wish(&docker)
}

fn object(record: &NetworkRecord, members: &Members) -> Value {
    let mut value = dockers(record, of(record, members));
    if record.is_default() {
        value["Name"] = "bridge".into();
    }
    value
}

fn text(body: &Value, field: &str) -> Option<String> {
    body[field]
        .as_str()
        .filter(|t| !t.is_empty())
        .map(str::to_owned)
}

fn address<T: std::str::FromStr>(body: &Value, field: &str) -> Result<Option<T>> {
    text(body, field)
        .map(|t| {
            t.parse()
                .map_err(|_| Error::invalid(format!("invalid {field}: {t:?}")))
        })
        .transpose()
}

fn wish(endpoint: &Value) -> Result<NetworkWish> {
    let mac = text(endpoint, "MacAddress").map(|mac| {
        let bytes: Option<Vec<u8>> = mac
            .split(':')
            .map(|b| u8::from_str_radix(b, 16).ok())
            .collect();
        let bytes = bytes.and_then(|b| <[u8; 6]>::try_from(b).ok());
        bytes.ok_or_else(|| Error::invalid(format!("invalid MacAddress: {mac:?}")))
    });
    Ok(NetworkWish {
        ip: address(&endpoint["IPAMConfig"], "IPv4Address")?,
        ip6: address(&endpoint["IPAMConfig"], "IPv6Address")?,
        mac: mac.transpose()?,
        aliases: endpoint["Aliases"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|a| a.as_str().map(str::to_owned))
            .collect(),
        ..NetworkWish::default()
    })
}

/// Texts by name.
pub fn pairs(body: &Value, field: &str) -> std::collections::BTreeMap<String, String> {
    let map = body[field].as_object().into_iter().flatten();
    map.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// podman's body of a network's creation in Docker's words.
fn dockers_words(body: &Value) -> Result<Value> {
    const KNOWN: &[&str] = &[
        "name",
        "driver",
        "dns_enabled",
        "internal",
        "ipv6_enabled",
        "labels",
        "options",
        "subnets",
        "network_interface",
        "ipam_options",
        "id",
        "created",
    ];
    let fields = body.as_object().into_iter().flatten();
    if let Some((field, _)) = fields
        .filter(|(_, v)| !v.is_null())
        .find(|(k, _)| !KNOWN.contains(&k.as_str()))
    {
        return Err(Error::unsupported(format!(
            "the field {field} of a network is not supported"
        )));
    }
    let subnets = body["subnets"].as_array().into_iter().flatten();
    let config = subnets.map(|s| json!({"Subnet": s["subnet"], "Gateway": s["gateway"]}));
    let mut options = body["options"].clone();
    if let Some(name) = text(body, "network_interface") {
        options["com.docker.network.bridge.name"] = name.into();
    }
    Ok(json!({
        "Name": body["name"], "Driver": body["driver"], "Internal": body["internal"],
        "EnableIPv6": body["ipv6_enabled"], "dns_enabled": body["dns_enabled"], "Labels": body["labels"], "Options": options,
        "IPAM": {"Config": config.collect::<Value>()},
    }))
}

fn make(cx: &Cx<'_>, conn: &mut Conn) -> Result<()> {
    let mut body = cx.body(conn)?;
    if cx.libpod {
        body = dockers_words(&body)?;
    }
    // podman's clients say it; Docker's networks always have it.
    let dns_off = body["dns_enabled"] == false;
    let name = text(&body, "Name").ok_or_else(|| Error::invalid("the network has no name"))?;
    let on = |field: &str| body[field].as_bool().unwrap_or(false);
    let mut spec = CreateSpec {
        disable_dns: dns_off,
        name: Some(name.clone()),
        driver: text(&body, "Driver").filter(|d| d != "default"),
        ipv6: on("EnableIPv6"),
        internal: on("Internal"),
        labels: pairs(&body, "Labels"),
        ..CreateSpec::default()
    };
    if body["EnableIPv4"] == false {
        spec.without_v4 = true;
    }
    for (key, value) in pairs(&body, "Options") {
        match key.as_str() {
            "com.docker.network.driver.mtu" => {
                spec.options.insert("mtu".to_owned(), value);
            }
            "com.docker.network.bridge.name" => spec.interface = Some(value),
            // docker-compose and others say what is so anyway.
            key if key.starts_with("com.docker.network.") => {}
            _ => {
                spec.options.insert(key, value);
            }
        }
    }
    for config in body["IPAM"]["Config"].as_array().into_iter().flatten() {
        let Some(subnet) = address(config, "Subnet")? else {
            continue;
        };
        spec.subnets.push(subnet);
        if let Some(gateway) = address::<IpAddr>(config, "Gateway")? {
            spec.gateways.push(gateway);
        }
        if let Some(range) = text(config, "IPRange") {
            spec.ranges
                .push(crate::cli::network::create::range(&range)?);
        }
        for (key, value) in pairs(config, "AuxiliaryAddresses") {
            let address = value
                .parse()
                .map_err(|_| Error::invalid(format!("invalid address {value:?}")))?;
            spec.reserved.insert(key, address);
        }
    }
    let record = create(cx.session, &spec);
    if cx.libpod {
        return conn.json(200, &podmans(&record?, &[]));
    }
    let record = record.map_err(|e| match e.kind() {
        Kind::Exists => Error::new(
            Kind::Exists,
            format!("network with name {name} already exists"),
        ),
        _ => e,
    })?;
    conn.json(201, &json!({"Id": record.id, "Warning": ""}))
}
