//! Networks, volumes and secrets of a project.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Hands;
use crate::base::{Context as _, Error, Kind, Result};
use crate::compose::convert::{self, kept_secret};
use crate::compose::project::{Keys, Project, sorted};
use crate::compose::schema::text;
use crate::operations::network::{CreateSpec, create as create_network};
use crate::operations::session::Session;
use crate::operations::{network, volume};
use crate::secrets::{SecretData, SecretSpec, Secrets, Taken};
use crate::spec::digest::Digest;
use crate::storage::volume::VolumeSpec;

type Labels = BTreeMap<String, String>;

fn map(keys: &Keys, key: &str) -> Labels {
    let all = keys
        .get(key)
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    all.map(|(k, v)| (k.clone(), text(v).unwrap_or_default()))
        .collect()
}

fn is_external(keys: &Keys) -> bool {
    keys.get("external") == Some(&Value::Bool(true))
}

/// The labels of an object: its own, the project's, and the hash of its settings.
fn labels(project: &Project, keys: &Keys, noun: &str, key: &str) -> Labels {
    let mut labels = map(keys, "labels");
    let mut settings = keys.clone();
    settings.remove("name");
    let hash = Digest::sha256_of(sorted(&Value::Object(settings)).to_string().as_bytes());
    for (name, value) in [
        (convert::PROJECT, project.name.clone()),
        (noun, key.to_owned()),
        (convert::HASH, hash.hex().to_owned()),
        (convert::VERSION, env!("CARGO_PKG_VERSION").to_owned()),
    ] {
        labels.insert(name.to_owned(), value);
    }
    labels
}

/// Makes what the services use and is not there yet.
///
/// # Errors
/// `NotFound` for something external that is not there; as the operations that make it.
pub fn ensure(
    session: &Session,
    project: &Project,
    services: &[String],
    hands: &mut dyn Hands,
) -> Result<()> {
    let uses = |noun: &str, key: &str| {
        services
            .iter()
            .filter_map(|s| project.service(s).ok())
            .any(|keys| match noun {
                "networks" => keys.get(noun).is_some_and(|n| n.get(key).is_some()),
                _ => {
                    let list = keys
                        .get(noun)
                        .and_then(Value::as_array)
                        .into_iter()
                        .flatten();
                    let mut sources = list.filter_map(|v| v.get("source").and_then(text));
                    sources.any(|s| s == key)
                }
            })
    };
    for (key, keys) in project
        .objects("networks")
        .filter(|(k, _)| uses("networks", k))
    {
        network_of(session, project, key, keys, hands)?;
    }
    for (key, keys) in project
        .objects("volumes")
        .filter(|(k, _)| uses("volumes", k))
    {
        volume_of(session, project, key, keys, hands)?;
    }
    for noun in ["secrets", "configs"] {
        for (key, keys) in project.objects(noun).filter(|(k, _)| uses(noun, k)) {
            secret_of(session, project, noun, key, keys)?;
        }
    }
    Ok(())
}

fn foreign(hands: &mut dyn Hands, noun: &str, name: &str) {
    hands.warn(&format!(
        "a {noun} named {name} exists but was not created by this project; declare it `external` to say so"
    ));
}

fn network_of(
    session: &Session,
    project: &Project,
    key: &str,
    keys: &Keys,
    hands: &mut dyn Hands,
) -> Result<()> {
    let name = project.real_name("networks", key);
    let wanted = labels(project, keys, convert::NETWORK, key);
    match network::find(session, &name) {
        Ok(record) => {
            if !is_external(keys) {
                match record.labels.get(convert::PROJECT) {
                    Some(own) if *own == project.name => {
                        let hash = record.labels.get(convert::HASH);
                        if hash.is_some() && hash != wanted.get(convert::HASH) {
                            hands.warn(&format!("network {name} was made with other settings: `compose down` and `up` make it anew"));
                        }
                    }
                    _ => foreign(hands, "network", &name),
                }
            }
            return Ok(());
        }
        Err(e) if e.kind() == Kind::NotFound && is_external(keys) => {
            return Err(Error::not_found(format!(
                "network {name} declared as external, but could not be found"
            ))
            .hint(format!("coracle network create {name}")));
        }
        Err(e) if e.kind() == Kind::NotFound => {}
        Err(e) => return Err(e),
    }
    let what = || format!("networks.{key}");
    let mut spec = CreateSpec {
        name: Some(name.clone()),
        driver: keys.get("driver").and_then(text).filter(|d| d != "default"),
        ipv6: keys.get("enable_ipv6") == Some(&Value::Bool(true)),
        without_v4: keys.get("enable_ipv4") == Some(&Value::Bool(false)),
        internal: keys.get("internal") == Some(&Value::Bool(true)),
        labels: wanted,
        options: map(keys, "driver_opts"),
        ..CreateSpec::default()
    };
    let configs = keys
        .get("ipam")
        .and_then(|i| i.get("config"))
        .and_then(Value::as_array);
    for config in configs.into_iter().flatten() {
        let of = |key: &str| config.get(key).and_then(text);
        if let Some(subnet) = of("subnet") {
            spec.subnets.push(subnet.parse().what(what)?);
        }
        if let Some(gateway) = of("gateway") {
            spec.gateways.push(gateway.parse().what(what)?);
        }
        if let Some(range) = of("ip_range") {
            let range: crate::spec::cidr::Cidr = range.parse().what(what)?;
            spec.ranges.push((range.address(), range.last()));
        }
        for (name, address) in config
            .get("aux_addresses")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let address = text(address).unwrap_or_default().parse().what(what)?;
            spec.reserved.insert(name.clone(), address);
        }
    }
    create_network(session, &spec).what(what)?;
    hands.tell("Network", &name, "Created");
    Ok(())
}

fn volume_of(
    session: &Session,
    project: &Project,
    key: &str,
    keys: &Keys,
    hands: &mut dyn Hands,
) -> Result<()> {
    let name = project.real_name("volumes", key);
    match volume::find(session, &name) {
        Ok(record) => {
            let own = record.labels.get(convert::PROJECT) == Some(&project.name);
            if !own && !is_external(keys) {
                foreign(hands, "volume", &name);
            }
            return Ok(());
        }
        Err(e) if e.kind() == Kind::NotFound && is_external(keys) => {
            return Err(
                Error::not_found(format!("external volume {name:?} not found"))
                    .hint(format!("coracle volume create {name}")),
            );
        }
        Err(e) if e.kind() == Kind::NotFound => {}
        Err(e) => return Err(e),
    }
    let spec = VolumeSpec {
        name: Some(name.clone()),
        driver: keys.get("driver").and_then(text),
        labels: labels(project, keys, convert::VOLUME, key),
        options: map(keys, "driver_opts"),
        anonymous: false,
    };
    volume::create(session, &spec, true).what(|| format!("volumes.{key}"))?;
    hands.tell("Volume", &name, "Created");
    Ok(())
}

/// What a secret or config of a project holds.
///
/// # Errors
/// `NotFound` for a variable that is not set; `Invalid` for one that says nothing; what reading a
/// file says.
pub fn content(project: &Project, noun: &str, key: &str) -> Result<Vec<u8>> {
    let keys = project.objects(noun).find(|(k, _)| *k == key);
    let of = |name: &str| keys.and_then(|(_, k)| k.get(name)).and_then(text);
    match (of("content"), of("environment"), of("file")) {
        (Some(content), ..) => Ok(content.into_bytes()),
        (_, Some(variable), _) => match project.env.get(&variable) {
            Some(value) => Ok(value.clone().into_bytes()),
            None => Err(Error::not_found(format!(
                "{noun}.{key}: environment variable {variable:?} is not set"
            ))),
        },
        (.., Some(file)) => {
            std::fs::read(&file).what(|| format!("{noun}.{key}: cannot read {file}"))
        }
        _ => Err(Error::invalid(format!(
            "{noun}.{key}: one of file, content, environment or external must be given"
        ))),
    }
}

/// Keeps what is no file, or is to have an owner, as a secret of ours.
fn secret_of(
    session: &Session,
    project: &Project,
    noun: &str,
    key: &str,
    keys: &Keys,
) -> Result<()> {
    let secrets = Secrets::new(&session.dirs);
    let of = |name: &str| keys.get(name).and_then(text);
    if is_external(keys) {
        let name = project.real_name(noun, key);
        return match secrets.find(&name) {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == Kind::NotFound => Err(Error::not_found(format!(
                "{noun}.{key}: external {name:?} not found"
            ))
            .hint(format!("coracle secret create {name} FILE"))),
            Err(e) => Err(e),
        };
    }
    let inline = of("content").or(of("environment"));
    if inline.is_none() && of("file").is_some() && !needs_copy(project, noun, key) {
        return Ok(());
    }
    let bytes = content(project, noun, key)?;
    let name = kept_secret(project, noun, key).parse()?;
    let data = SecretData::new(bytes)?;
    let spec = SecretSpec {
        labels: labels(project, keys, "com.docker.compose.secret", key),
        ..SecretSpec::default()
    };
    secrets.create(&name, &data, spec, Taken::Replace)?;
    Ok(())
}

/// Whether a service wants a file with an owner or rights.
fn needs_copy(project: &Project, noun: &str, key: &str) -> bool {
    project.services().any(|(_, keys)| {
        let list = keys
            .get(noun)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        list.filter(|g| g.get("source").and_then(text).as_deref() == Some(key))
            .any(|g| ["uid", "gid", "mode"].iter().any(|k| g.get(k).is_some()))
    })
}
