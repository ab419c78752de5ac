//! `linux.netDevices`: devices of the caller's network namespace that move into the container's.
//!
//! Spec: runtime-spec 1.3, config-linux, "Network Devices": lasting addresses of global scope go
//! with them, and they are up.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use crate::base::{Context as _, Error, Kind, Result};
use crate::runtime::nested::Nested;
use crate::spec::runtime::{NamespaceKind, NetDevice, Spec};
use crate::sys::fd;
use crate::sys::link::Links;
use crate::sys::namespace::{self, Kind as Ns};

/// At the end of a name it stands for the lowest number that makes the name a new one.
const TEMPLATE: &str = "%d";

/// A container does not have more devices of one name.
const MOST: u32 = 1 << 12;

/// Devices that wait for the container's network namespace.
#[derive(Debug)]
pub struct Moves {
    devices: BTreeMap<String, NetDevice>,
    /// The namespace; absent: the one that the new process has.
    namespace: Option<OwnedFd>,
}

/// Looks whether the devices of a configuration can be moved.
///
/// # Errors
/// `NotFound` for a device that is not there; `Invalid` without a network namespace of its own.
pub fn plan(spec: &Spec, nested: Option<&Nested>) -> Result<Moves> {
    let none = Moves {
        devices: BTreeMap::new(),
        namespace: None,
    };
    let Some(linux) = spec.linux.as_ref().filter(|l| !l.net_devices.is_empty()) else {
        return Ok(none);
    };
    let own = linux
        .namespaces
        .iter()
        .find(|n| n.kind == NamespaceKind::Network)
        .ok_or_else(|| {
            Error::invalid("linux.netDevices needs a network namespace of the container's own")
        })?;
    let links = Links::open()?;
    for (name, device) in &linux.net_devices {
        links
            .index(name)
            .what(|| format!("the network device {name} cannot be moved"))?;
        let inside = inner(name, device);
        let template = inside.strip_suffix(TEMPLATE);
        let taken = template.is_none()
            && linux
                .net_devices
                .iter()
                .any(|(other, d)| other != name && inner(other, d) == inside);
        let bad = template.unwrap_or(inside).contains(['%', '/', ':', ' ']);
        if taken || bad || inside.len() >= libc::IFNAMSIZ {
            return Err(Error::invalid(format!(
                "the network device {name} cannot be called {:?} inside",
                inner(name, device)
            )));
        }
    }
    let given = own.path.as_deref().filter(|p| !p.is_empty());
    let namespace = match (given, nested.and_then(|n| n.net.as_ref())) {
        (Some(path), _) => Some(namespace::open_path(path)?),
        (None, Some(net)) => Some(fd::dup_at_least(net, 3)?),
        (None, None) => None,
    };
    Ok(Moves {
        devices: linux.net_devices.clone(),
        namespace,
    })
}

fn inner<'a>(name: &'a str, device: &'a NetDevice) -> &'a str {
    if device.name.is_empty() {
        name
    } else {
        &device.name
    }
}

impl Moves {
    /// Moves them into the namespace of the new process with that pid.
    ///
    /// # Errors
    /// What the kernel says, with the device.
    pub fn apply(&self, pid: i32) -> Result<()> {
        if self.devices.is_empty() {
            return Ok(());
        }
        let opened;
        let target = match &self.namespace {
            Some(given) => given,
            None => {
                opened = namespace::open_path(&format!("/proc/{pid}/ns/net"))?;
                &opened
            }
        };
        let here = Links::open()?;
        let there = links_in(target)?;
        for (name, device) in &self.devices {
            one(&here, &there, target, name, inner(name, device))
                .what(|| format!("the network device {name} cannot be moved"))?;
        }
        Ok(())
    }
}

fn one(here: &Links, there: &Links, target: &OwnedFd, name: &str, inside: &str) -> Result<()> {
    let index = here.index(name)?;
    let numbered;
    let inside = match inside.strip_suffix(TEMPLATE) {
        Some(stem) => {
            numbered = (0..MOST)
                .map(|number| format!("{stem}{number}"))
                .find(|name| name.len() < libc::IFNAMSIZ && there.index(name).is_err())
                .ok_or_else(|| {
                    Error::new(Kind::Exists, format!("all names like {inside} are taken"))
                })?;
            &numbered
        }
        None => inside,
    };
    // The kernel would move it first and refuse the name then.
    if there.index(inside).is_ok() {
        return Err(Error::new(
            Kind::Exists,
            format!("the container has a device {inside} already"),
        ));
    }
    let addresses = here.addresses(index)?;
    here.give(index, target, inside)?;
    let index = there.index(inside)?;
    for address in &addresses {
        there.add(index, address)?;
    }
    there.up(index)?;
    Ok(())
}

/// A socket in another namespace; this process is back in its own afterwards.
fn links_in(target: &OwnedFd) -> Result<Links> {
    let own = namespace::own(Ns::Net)?;
    namespace::join(target, Ns::Net.flag()).what(|| "cannot enter the network namespace")?;
    let links = Links::open();
    namespace::join(&own, Ns::Net.flag()).what(|| "cannot leave the network namespace")?;
    Ok(links?)
}
