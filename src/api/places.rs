//! Where a container is put: the mounts, ports and networks of Docker's body of a creation.
//!
//! Pure; a part of [`super::create`].

use serde_json::{Map, Value};

use super::create::Words;
use super::fields::{Object, flag, number, object, objects, pairs, strings, text, wrong};
use crate::base::{Error, Result};
use crate::state::network::DEFAULT;

impl Words {
    /// `Binds`, `Volumes`, `Tmpfs` and `Mounts`.
    pub(super) fn mounts(&mut self, config: &Object, host: &Object) -> Result<()> {
        self.each("volume", host, "Binds")?;
        let bound: Vec<String> = strings(host, "Binds")?
            .iter()
            .filter_map(|b| b.split(':').nth(1).map(str::to_owned))
            .collect();
        if let Some(volumes) = object(config, "Volumes")? {
            // An anonymous one, unless something is mounted there already.
            let mounted = objects(host, "Mounts")?;
            for place in volumes.keys().filter(|p| !bound.contains(p)) {
                let taken = mounted
                    .iter()
                    .any(|m| m.get("Target").and_then(Value::as_str) == Some(place));
                if !taken {
                    self.push("volume", place);
                }
            }
        }
        for (place, options) in pairs(host, "Tmpfs")? {
            match options.as_str() {
                "" => self.push("tmpfs", place),
                options => self.push("tmpfs", format!("{place}:{options}")),
            }
        }
        for mount in objects(host, "Mounts")? {
            self.push("mount", mount_word(mount)?);
        }
        Ok(())
    }

    /// Ports and networks.
    pub(super) fn network(&mut self, config: &Object, host: &Object) -> Result<()> {
        if let Some(ports) = object(host, "PortBindings")? {
            for (port, bindings) in ports {
                let none = Vec::new();
                let list = match bindings {
                    Value::Null => &none,
                    Value::Array(list) => list,
                    _ => return Err(wrong("PortBindings")),
                };
                if list.is_empty() {
                    self.push("publish", port);
                }
                for binding in list {
                    let binding = binding.as_object().ok_or_else(|| wrong("PortBindings"))?;
                    self.push("publish", publish(binding, port)?);
                }
            }
        }
        if let Some(ports) = object(config, "ExposedPorts")? {
            for port in ports.keys() {
                self.push("expose", port);
            }
        }
        if flag(config, "NetworkDisabled")? {
            self.push("network", "none");
            return Ok(());
        }
        let mode = text(host, "NetworkMode")?.unwrap_or_default();
        let none = Map::new();
        let endpoints = match object(body_networks(config)?.unwrap_or(&none), "EndpointsConfig")? {
            Some(endpoints) => endpoints,
            None => &none,
        };
        // Docker's is a bridge, which a container may leave and join others beside.
        let usual = |name: &str| matches!(name, "" | "default" | "bridge");
        let mut named = Vec::new();
        if !usual(mode) && !endpoints.contains_key(mode) {
            named.push(mode.to_owned());
        }
        for (name, endpoint) in endpoints {
            let wish = match endpoint {
                Value::Null => String::new(),
                Value::Object(endpoint) => wish(endpoint)?,
                _ => return Err(wrong("EndpointsConfig")),
            };
            let own = if usual(name) { DEFAULT } else { name };
            let word = match wish.as_str() {
                "" => own.to_owned(),
                wish => format!("{own}:{wish}"),
            };
            match name == mode || (usual(name) && usual(mode)) {
                // The first one is the container's own.
                true => named.insert(0, word),
                false => named.push(word),
            }
        }
        if named.is_empty() {
            named.push(DEFAULT.to_owned());
        }
        for word in &named {
            self.push("network", word);
        }
        let mac = text(config, "MacAddress")?.filter(|_| !named.iter().any(|n| n.contains("mac=")));
        self.some("mac-address", mac);
        Ok(())
    }
}

fn body_networks(config: &Object) -> Result<Option<&Object>> {
    object(config, "NetworkingConfig")
}

/// `ip=…,alias=…` of an endpoint's settings.
fn wish(endpoint: &Object) -> Result<String> {
    let mut parts = Vec::new();
    if let Some(ipam) = object(endpoint, "IPAMConfig")? {
        for (key, field) in [("ip", "IPv4Address"), ("ip6", "IPv6Address")] {
            if let Some(address) = text(ipam, field)?.filter(|a| !a.is_empty()) {
                parts.push(format!("{key}={address}"));
            }
        }
    }
    if let Some(mac) = text(endpoint, "MacAddress")?.filter(|m| !m.is_empty()) {
        parts.push(format!("mac={mac}"));
    }
    for alias in strings(endpoint, "Aliases")? {
        parts.push(format!("alias={alias}"));
    }
    if !strings(endpoint, "Links")?.is_empty() {
        return Err(
            Error::unsupported("links between containers are not supported")
                .hint("containers of one network find each other by name"),
        );
    }
    if parts
        .iter()
        .any(|p| p.contains([',', ':']) && !p.starts_with("mac=") && !p.starts_with("ip6="))
    {
        return Err(Error::invalid(
            "a name of the container on a network has a comma or a colon",
        ));
    }
    Ok(parts.join(","))
}

/// `127.0.0.1:8080:80/tcp`.
fn publish(binding: &Object, port: &str) -> Result<String> {
    let address = text(binding, "HostIp")?.filter(|a| !a.is_empty());
    let outside = text(binding, "HostPort")?.filter(|p| !p.is_empty() && *p != "0");
    let address = address.map(|a| match a.contains(':') && !a.starts_with('[') {
        true => format!("[{a}]"),
        false => a.to_owned(),
    });
    Ok(match (address, outside) {
        (None, None) => port.to_owned(),
        (None, Some(outside)) => format!("{outside}:{port}"),
        (Some(address), outside) => format!("{address}:{}:{port}", outside.unwrap_or_default()),
    })
}

/// One mount as `--mount` reads it: fields of CSV.
fn mount_word(mount: &Object) -> Result<String> {
    let kind = text(mount, "Type")?.unwrap_or("bind");
    let mut fields = vec![format!("type={kind}")];
    if let Some(source) = text(mount, "Source")?.filter(|s| !s.is_empty()) {
        fields.push(format!("source={source}"));
    }
    fields.push(format!(
        "target={}",
        text(mount, "Target")?.unwrap_or_default()
    ));
    if flag(mount, "ReadOnly")? {
        fields.push("readonly=true".to_owned());
    }
    if let Some(bind) = object(mount, "BindOptions")? {
        if let Some(propagation) = text(bind, "Propagation")?.filter(|p| !p.is_empty()) {
            fields.push(format!("bind-propagation={propagation}"));
        }
        if flag(bind, "NonRecursive")? {
            fields.push("bind-nonrecursive=true".to_owned());
        }
    }
    if let Some(volume) = object(mount, "VolumeOptions")? {
        if flag(volume, "NoCopy")? {
            fields.push("volume-nocopy=true".to_owned());
        }
        if let Some(path) = text(volume, "Subpath")?.filter(|p| !p.is_empty()) {
            fields.push(format!("volume-subpath={path}"));
        }
        if let Some(driver) = object(volume, "DriverConfig")? {
            if let Some(name) = text(driver, "Name")?.filter(|n| !n.is_empty()) {
                fields.push(format!("volume-driver={name}"));
            }
            for (key, value) in pairs(driver, "Options")? {
                fields.push(format!("volume-opt={key}={value}"));
            }
        }
        for (key, value) in pairs(volume, "Labels")? {
            fields.push(format!("volume-label={key}={value}"));
        }
    }
    if let Some(tmpfs) = object(mount, "TmpfsOptions")? {
        if let Some(size) = number(tmpfs, "SizeBytes")?.filter(|s| *s > 0) {
            fields.push(format!("tmpfs-size={size}"));
        }
        if let Some(mode) = number(tmpfs, "Mode")?.filter(|m| *m > 0) {
            fields.push(format!("tmpfs-mode={mode:o}"));
        }
    }
    let quoted = fields.iter().map(|f| match f.contains([',', '"', '\n']) {
        true => format!("\"{}\"", f.replace('"', "\"\"")),
        false => f.clone(),
    });
    Ok(quoted.collect::<Vec<_>>().join(","))
}
