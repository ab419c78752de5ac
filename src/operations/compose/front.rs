//! Services of a project that have an address or ports of their own in front of their containers:
//! those whose containers could not all have the same port of the host, and those that ask for it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Hands;
use super::up::UpOptions;
use crate::base::{Error, Result};
use crate::compose::convert::{self, networks_of};
use crate::compose::project::{Keys, Project};
use crate::compose::schema::text;
use crate::operations::service;
use crate::operations::session::Session;
use crate::state::options::{PortMapping, Protocol};
use crate::state::service::Desired;

/// What stands in front of the containers of a service, if anything does, and its name.
///
/// # Errors
/// `Invalid` for ports that are none.
pub(super) fn front(
    project: &Project,
    service: &str,
    keys: &Keys,
    scale: usize,
) -> Result<Option<(String, Desired)>> {
    let with_address = convert::with_address(keys);
    if !convert::stands_behind(keys, scale) {
        return Ok(None);
    }
    let mut publish = Vec::new();
    for port in keys
        .get("ports")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        publish.extend(mapping(port).ok_or_else(|| {
            Error::invalid(format!("services.{service}.ports: {port} is no port"))
        })?);
    }
    let networks = networks_of(keys).into_iter();
    let networks = networks.map(|(key, _)| project.real_name("networks", key));
    let desired = Desired {
        labels: BTreeMap::from([
            (convert::PROJECT.to_owned(), project.name.clone()),
            (convert::SERVICE.to_owned(), service.to_owned()),
        ]),
        networks: networks.collect(),
        names: match with_address {
            true => vec![service.to_owned()],
            false => Vec::new(),
        },
        direct: !with_address,
        publish,
        ..Desired::default()
    };
    Ok(Some((convert::front_name(project, service), desired)))
}

/// A port of the host that all containers share; `None` when it cannot be read, nothing inside for
/// one that each has of its own.
fn mapping(port: &Value) -> Option<Option<PortMapping>> {
    let of = |key: &str| port.get(key).and_then(text).filter(|t| !t.is_empty());
    let Some(published) = of("published").filter(|_| convert::is_shared(port)) else {
        return Some(None);
    };
    Some(Some(PortMapping {
        host_ip: match of("host_ip") {
            Some(ip) => Some(ip.parse().ok()?),
            None => None,
        },
        host_port: published.parse().ok()?,
        container_port: of("target")?.parse().ok()?,
        range: 1,
        protocol: match of("protocol").as_deref() {
            None | Some("tcp") => Protocol::Tcp,
            Some("udp") => Protocol::Udp,
            Some(_) => return None,
        },
    }))
}

/// Makes what stands in front of the services that are brought up.
///
/// # Errors
/// As `service create`.
pub(super) fn ensure(
    session: &Session,
    project: &Project,
    order: &[String],
    wanted: &UpOptions,
    hands: &mut dyn Hands,
) -> Result<()> {
    for name in order {
        let keys = project.service(name)?;
        match front(project, name, keys, wanted.count(name, keys))? {
            Some((front, desired)) => match service::offer(session, &front, desired) {
                Ok(true) => hands.tell("Service", &front, "Created"),
                Ok(false) => {}
                Err(e) => return Err(e),
            },
            None => withdraw(session, &project.name, Some(name), hands)?,
        }
    }
    Ok(())
}

/// Takes what stands in front of a project's services away, or of one of them.
///
/// # Errors
/// As `service rm`.
pub(super) fn withdraw(
    session: &Session,
    project: &str,
    only: Option<&str>,
    hands: &mut dyn Hands,
) -> Result<()> {
    for record in service::list(session, &crate::base::filter::Filters::default())?.0 {
        let label = |key: &str| record.desired.labels.get(key).map(String::as_str);
        if label(convert::PROJECT) == Some(project)
            && (only.is_none() || only == label(convert::SERVICE))
            && record.desired.options.is_none()
        {
            service::remove(session, &record)?;
            hands.tell("Service", record.name.as_str(), "Removed");
        }
    }
    Ok(())
}
