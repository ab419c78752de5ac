//! Records of networks: `networks/<name>.json`, and what a running container has of them.
//!
//! The default network `podman` is always there; its record exists once somebody changed it.
//! Lock: `flock` on the folder `networks`, held while a network is made, changed or removed, so
//! that two that are made at once never share a subnet. Readers take none.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::container::{read_json, write_json};
use crate::base::fs::{self as files, Durability};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::containers_conf;
use crate::config::dirs::Dirs;
use crate::spec::cidr::Cidr;
use crate::spec::digest::Digest;
use crate::spec::id::ObjectName;

/// The schema of the records that this program writes.
pub const VERSION: u32 = 1;

/// The name of the default network, as podman has it.
pub const DEFAULT: &str = "podman";

/// The same as docker has it.
pub const DEFAULT_OF_DOCKER: &str = "bridge";

/// `networks/<name>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// Schema number.
    pub version: u32,
    /// Its name.
    pub name: ObjectName,
    /// 64 hexadecimal digits.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// The name of its bridge, in the namespace that all networks share.
    pub interface: String,
    /// Its subnets, IPv4's first.
    pub subnets: Vec<Subnet>,
    /// No way out of it.
    #[serde(default)]
    pub internal: bool,
    /// Whether names are answered on its gateway.
    #[serde(default)]
    pub dns: bool,
    /// Whom other names are asked of; empty means the host's own servers.
    #[serde(default)]
    pub dns_servers: Vec<IpAddr>,
    /// `--label`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `--opt`, under the names of podman: mtu, isolate, metric, no_default_route.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// `--aux-address`: addresses that no container gets, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reserved: BTreeMap<String, IpAddr>,
    /// `--route`: what containers reach through others than the gateway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Addresses of services, by their names: no container gets them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, IpAddr>,
}

/// A route that containers of a network get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Whom it leads to.
    pub destination: Cidr,
    /// Through whom.
    pub gateway: IpAddr,
    /// The lower one wins; absent means that of the network's own default route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
}

/// One subnet of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Which.
    pub subnet: Cidr,
    /// The bridge's address in it.
    pub gateway: IpAddr,
    /// Containers get addresses from here only: first and last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(IpAddr, IpAddr)>,
}

/// A network of a running container, in `status.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedNetwork {
    /// The network's name.
    pub name: ObjectName,
    /// Its id.
    pub id: String,
    /// The device inside.
    pub interface: String,
    /// The other end of the cable, in the namespace of the bridges.
    pub host_interface: String,
    /// The hardware address, `02:…`.
    pub mac: String,
    /// Addresses with the subnets that they are in.
    pub addresses: Vec<Address>,
    /// Names by which others find it there, besides its own and its short id.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Whether the gateway answers names.
    #[serde(default)]
    pub dns: bool,
}

/// An address of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address itself.
    pub address: IpAddr,
    /// Its subnet.
    pub subnet: Cidr,
    /// The bridge's own address.
    pub bridge: IpAddr,
    /// The same, where the network has a way out through it.
    pub gateway: Option<IpAddr>,
}

impl NetworkRecord {
    /// Whether it has a subnet of IPv6.
    pub fn has_v6(&self) -> bool {
        self.subnets.iter().any(|s| s.subnet.is_v6())
    }

    /// Whether containers of other networks are kept out: unless `isolate=false`.
    pub fn is_isolated(&self) -> bool {
        self.options.get("isolate").is_none_or(|v| v != "false")
    }

    /// `mtu` of the options.
    pub fn mtu(&self) -> Option<u32> {
        self.options.get("mtu")?.parse().ok()
    }

    /// Whether it is the one that is always there.
    pub fn is_default(&self) -> bool {
        self.name.as_str() == DEFAULT
    }
}

impl AttachedNetwork {
    /// Its IPv4 address, else its first.
    pub fn first_v4(&self) -> Option<IpAddr> {
        let all = || self.addresses.iter().map(|a| a.address);
        all().find(IpAddr::is_ipv4).or_else(|| all().next())
    }
}

/// All networks of this user.
#[derive(Clone, Debug)]
pub struct Networks {
    dir: PathBuf,
}

/// Keeps others from changing networks; gone when dropped, or with the process.
#[derive(Debug)]
pub struct NetworksLock(#[expect(dead_code, reason = "holding it is its use")] File);

impl Networks {
    /// The networks below `dirs`.
    pub fn new(dirs: &Dirs) -> Self {
        Self {
            dir: dirs.networks(),
        }
    }

    fn path(&self, name: &ObjectName) -> PathBuf {
        self.dir.join(format!("{}.json", name.as_str()))
    }

    /// Waits for the lock.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn lock(&self) -> Result<NetworksLock> {
        files::create_private_dir_all(&self.dir)?;
        let what = || format!("cannot lock {}", self.dir.display());
        let file = File::open(&self.dir).what(what)?;
        file.lock().what(what)?;
        Ok(NetworksLock(file))
    }

    /// One by its exact name, docker's name of the default one included.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn get(&self, name: &str) -> Result<Option<NetworkRecord>> {
        let Ok(exact) = name.parse::<ObjectName>() else {
            return Ok(None);
        };
        if let Some(record) = read_json(&self.path(&exact))? {
            return Ok(Some(record));
        }
        match name {
            DEFAULT_OF_DOCKER => self.get(DEFAULT),
            DEFAULT => Ok(Some(default_network()?)),
            _ => Ok(None),
        }
    }

    /// One by name, id, or unique prefix of an id.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a prefix of several.
    pub fn find(&self, text: &str) -> Result<NetworkRecord> {
        if let Some(record) = self.get(text)? {
            return Ok(record);
        }
        let missing = || {
            Error::not_found(format!("no such network: {text:?}"))
                .hint("`coracle network ls` lists all networks")
        };
        if text.is_empty() {
            return Err(missing());
        }
        let mut fits = self.list()?;
        fits.retain(|r| r.id.starts_with(text));
        match fits.len() {
            0 => Err(missing()),
            1 => fits.pop().ok_or_else(missing),
            _ => Err(
                Error::invalid(format!("network id prefix {text:?} fits several networks"))
                    .hint("write more digits"),
            ),
        }
    }

    /// All, by name. One with a damaged record is left out, with a warning in the log.
    ///
    /// # Errors
    /// What the kernel says of the folder.
    pub fn list(&self) -> Result<Vec<NetworkRecord>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            other => Some(other.what(|| format!("cannot list {}", self.dir.display()))?),
        };
        let mut records: BTreeMap<ObjectName, NetworkRecord> = BTreeMap::new();
        for entry in entries.into_iter().flatten().flatten() {
            let file = entry.file_name();
            let name = file.to_str().and_then(|n| n.strip_suffix(".json"));
            let Some(name) = name.and_then(|n| n.parse::<ObjectName>().ok()) else {
                continue;
            };
            match read_json(&self.path(&name)) {
                Ok(Some(record)) => drop(records.insert(name, record)),
                Ok(None) => {}
                Err(e) => log::warn!("{}", e.one_line()),
            }
        }
        let default = default_network()?;
        records.entry(default.name.clone()).or_insert(default);
        Ok(records.into_values().collect())
    }

    /// Publishes a new one. Lock: [`Networks::lock`].
    ///
    /// # Errors
    /// `Exists` when the name is taken.
    pub fn create(&self, record: &NetworkRecord) -> Result<()> {
        if self.get(record.name.as_str())?.is_some() {
            return Err(Error::new(
                Kind::Exists,
                format!("a network named {:?} exists already", record.name.as_str()),
            )
            .hint("use it, choose another name, or give --ignore"));
        }
        self.write(record)
    }

    /// Replaces a record. Lock: [`Networks::lock`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn write(&self, record: &NetworkRecord) -> Result<()> {
        write_json(&self.path(&record.name), record, Durability::Durable)
    }

    /// Removes one. Lock: [`Networks::lock`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&self, name: &ObjectName) -> Result<()> {
        files::remove_file_if_exists(&self.path(name))?;
        files::sync_dir(&self.dir)
    }
}

/// The network that is always there: podman's, with the same id.
fn default_network() -> Result<NetworkRecord> {
    let conf = containers_conf::load().ok();
    let subnet = conf.and_then(|c| c.network.default_subnet.as_deref());
    let subnet: Cidr = subnet
        .unwrap_or("10.88.0.0/16")
        .parse()
        .what(|| "containers.conf: default_subnet")?;
    let gateway = subnet.nth(1).ok_or_else(|| {
        Error::invalid(format!(
            "containers.conf: default_subnet {subnet} has no room for a gateway"
        ))
    })?;
    Ok(NetworkRecord {
        version: VERSION,
        name: DEFAULT.parse()?,
        id: Digest::sha256_of(DEFAULT.as_bytes()).hex().to_owned(),
        created: Timestamp::default(),
        interface: "podman0".to_owned(),
        subnets: vec![Subnet {
            subnet,
            gateway,
            range: None,
        }],
        internal: false,
        dns: true,
        dns_servers: Vec::new(),
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
        reserved: BTreeMap::new(),
        routes: Vec::new(),
        services: BTreeMap::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks() -> (tempfile::TempDir, Networks) {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path().to_owned(), dir.path().join("run"));
        (dir, Networks::new(&dirs))
    }

    #[test]
    fn the_default_network_is_there_without_a_record_and_has_podmans_id() {
        let (dir, networks) = networks();
        let default = networks.get("bridge").unwrap().unwrap();
        assert_eq!(default.name.as_str(), "podman");
        assert!(default.id.starts_with("2f259bab93aaaaa2542ba43ef33eb990"));
        assert_eq!(networks.list().unwrap(), std::slice::from_ref(&default));
        assert_eq!(networks.find("2f259b").unwrap(), default);
        assert!(!dir.path().join("networks").exists());
    }

    #[test]
    fn names_are_unique_and_damaged_records_disable_one_network_only() {
        let (dir, networks) = networks();
        let _lock = networks.lock().unwrap();
        let mut record = networks.get("podman").unwrap().unwrap();
        assert_eq!(networks.create(&record).unwrap_err().kind(), Kind::Exists);
        for name in ["a", "b"] {
            record.name = name.parse().unwrap();
            record.id = Digest::sha256_of(name.as_bytes()).hex().to_owned();
            networks.create(&record).unwrap();
        }
        fs::write(dir.path().join("networks/a.json"), "{").unwrap();
        fs::write(dir.path().join("networks/.hidden.json"), "{}").unwrap();
        let names: Vec<String> = networks
            .list()
            .unwrap()
            .iter()
            .map(|r| r.name.to_string())
            .collect();
        assert_eq!(names, ["b", "podman"]);
        assert_eq!(networks.get("a").unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(networks.find("nowhere").unwrap_err().kind(), Kind::NotFound);
        networks.remove(&record.name).unwrap();
        assert!(networks.get("b").unwrap().is_none());
    }
}
