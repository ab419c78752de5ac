//! `network connect`, `disconnect`, `reload`.

use super::{Networks, client, event};
use crate::base::{Error, Kind, Result};
use crate::handoff::control::{Control, NetworkChange, Request};
use crate::operations::container::reap;
use crate::operations::session::Session;
use crate::state::container::{Container, Containers};
use crate::state::network::NetworkRecord;
use crate::state::options::{NetworkMode, NetworkWish};

/// `network connect`.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The network, by name or id.
    pub network: String,
    /// The container, by name or id.
    pub container: String,
    /// Addresses and names; the network's own name is filled in.
    pub wish: NetworkWish,
}

/// Puts a container on a network; a running one has it at once.
///
/// # Errors
/// `NotFound`; `Exists` when it is on it; `Invalid` when it is on no network with a name.
pub fn connect(session: &Session, connection: &Connection) -> Result<()> {
    let record = Networks::new(&session.dirs).find(&connection.network)?;
    let wish = NetworkWish {
        name: record.name.to_string(),
        ..connection.wish.clone()
    };
    change(
        session,
        &connection.container,
        &record,
        "connect",
        |container| {
            let mode = &mut container.record.options.network.mode;
            let NetworkMode::Networks(wishes) = mode else {
                return Err(Error::invalid(format!(
                    "container {:?} is on no network with a name, so it can join none",
                    container.name()
                ))
                .hint("make it with --network podman, or another network"));
            };
            if wishes.iter().any(|w| w.name == wish.name) {
                return Err(Error::new(
                    Kind::Exists,
                    format!(
                        "container {:?} is on network {:?} already",
                        container.record.name.as_str(),
                        wish.name
                    ),
                ));
            }
            wishes.push(wish.clone());
            Ok(NetworkChange::Connect {
                network: Box::new(record.clone()),
                wish: wish.clone(),
            })
        },
    )
}

/// Takes a container off a network; a running one loses it at once. With `force` it is fine when it
/// was not on it.
///
/// # Errors
/// `NotFound`; `Invalid` when it is not on it.
pub fn disconnect(session: &Session, network: &str, container: &str, force: bool) -> Result<()> {
    let record = Networks::new(&session.dirs).find(network)?;
    let name = record.name.to_string();
    let done = change(session, container, &record, "disconnect", |container| {
        let mode = &mut container.record.options.network.mode;
        let not_on = || {
            Error::new(
                Kind::NotFound,
                format!("the container is not on network {name:?}"),
            )
        };
        let NetworkMode::Networks(wishes) = mode else {
            return Err(not_on());
        };
        let before = wishes.len();
        wishes.retain(|w| w.name != name);
        match wishes.len() {
            n if n == before => return Err(not_on()),
            // It keeps a network of its own with nothing on it.
            0 => *mode = NetworkMode::None,
            _ => {}
        }
        Ok(NetworkChange::Disconnect {
            network: name.clone(),
        })
    });
    match done {
        Err(e) if force && e.kind() == Kind::NotFound => Ok(()),
        other => other,
    }
}

/// Changes the record, and the running container before it.
fn change(
    session: &Session,
    container: &str,
    record: &NetworkRecord,
    action: &str,
    plan: impl FnOnce(&mut Container) -> Result<NetworkChange>,
) -> Result<()> {
    let mut container = Containers::new(&session.dirs).find(container)?;
    let _lock = reap::lock(session, &mut container)?
        .ok_or_else(|| Error::not_found(format!("no such container: {:?}", container.name())))?;
    let change = plan(&mut container)?;
    if container.state()?.is_active() {
        Control::connect(&container.control_socket())?.call(&Request::Network {
            change: Box::new(change),
        })?;
    }
    container.write_record()?;
    event(session, action, record);
    Ok(())
}

/// Has the rules of all networks made anew; answers the ids of the containers meant (none: all that
/// are on one).
///
/// # Errors
/// `NotFound`; what the role says.
pub fn reload(session: &Session, names: &[String]) -> Result<Vec<String>> {
    let containers = Containers::new(&session.dirs);
    let mut ids = Vec::new();
    for name in names {
        ids.push(containers.find(name)?.id().to_string());
    }
    if names.is_empty() {
        for container in containers.list()?.0 {
            let on_any = !container.record.options.network.mode.networks().is_empty();
            if on_any && container.state()?.is_active() {
                ids.push(container.id().to_string());
            }
        }
    }
    client::reload(&session.dirs.runtime)?;
    Ok(ids)
}
