//! A container's networks with a name: joining them at a start, and serving the monitor while it
//! runs.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use super::Kit;
use crate::base::Result;
use crate::config::containers_conf;
use crate::handoff::control::NetworkChange;
use crate::monitor::Networks;
use crate::network::bridge::client::{self, Membership};
use crate::network::bridge::protocol::{Attach, Endpoint};
use crate::network::namespace::Namespace;
use crate::network::{facts, files, ports};
use crate::spec::image::ImageConfig;
use crate::state::network::{AttachedNetwork, Networks as Records};
use crate::state::options::ContainerOptions;
use crate::state::service::{Front, Services};

/// Puts the container's namespace on the networks that its options name.
///
/// # Errors
/// `NotFound` for a network that is gone; what the role says.
pub(super) fn join(
    kit: &Kit<'_>,
    options: &ContainerOptions,
    image: Option<&ImageConfig>,
    namespace: Namespace,
) -> Result<Membership> {
    let conf = containers_conf::load()?;
    let records = Records::new(&kit.session.dirs);
    let image_ports: Vec<String> = image
        .map(|i| i.config.exposed_ports.keys().cloned().collect())
        .unwrap_or_default();
    let host = facts::probe(&kit.session.env, conf, &options.network);
    let attach = Attach {
        id: kit.container.id().clone(),
        name: kit.container.name().to_owned(),
        endpoints: client::endpoints(&options.network, &|name| records.find(name))?,
        dns: options.network.dns.clone(),
        ports: ports::served(&options.network, &image_ports, conf)?,
        taken: Vec::new(),
        services: fronts(kit, options)?,
        ready: false,
    };
    let outlet = client::outlet(&host, conf)?;
    client::attach(&kit.session.dirs.runtime, namespace, attach, outlet)
}

/// What the services say that the container is a replica of.
fn fronts(kit: &Kit<'_>, options: &ContainerOptions) -> Result<Vec<Front>> {
    let services = Services::new(&kit.session.dirs);
    let names = options.network.services.iter();
    names.map(|n| services.find(n).map(|s| s.front())).collect()
}

/// What the monitor has of it.
pub(super) fn serve(mut membership: Membership, folder: &Path) -> Box<dyn Networks> {
    membership.keep();
    Box::new(Joined {
        membership,
        folder: folder.to_owned(),
    })
}

struct Joined {
    membership: Membership,
    /// The container's runtime folder.
    folder: PathBuf,
}

impl Networks for Joined {
    fn socket(&self) -> BorrowedFd<'_> {
        self.membership.socket()
    }

    fn again(&mut self) -> Result<()> {
        self.membership.again()
    }

    fn change(&mut self, change: &NetworkChange) -> Result<()> {
        let before = self.membership.attached.resolvers();
        match change {
            NetworkChange::Connect { network, wish } => {
                self.membership.connect(Endpoint {
                    network: (**network).clone(),
                    wish: wish.clone(),
                    interface: wish.interface.clone().unwrap_or_default(),
                    present: None,
                })?;
            }
            NetworkChange::Disconnect { network } => self.membership.disconnect(network)?,
            // The monitor's own business.
            NetworkChange::Drain { .. } | NetworkChange::Member { .. } => {}
        }
        let now = self.membership.attached.resolvers();
        if now != before && !now.is_empty() {
            self.change_resolvers(&now);
        }
        Ok(())
    }

    fn ready(&mut self, ready: bool) -> Result<()> {
        self.membership.ready(ready)
    }

    fn attached(&self) -> Vec<AttachedNetwork> {
        self.membership.attached.networks.clone()
    }

    fn bridges(&self) -> Option<u64> {
        self.membership.bridges()
    }
}

impl Joined {
    /// Writes the container's resolv.conf, the very file that is bound into it. One that the
    /// container has without us (`--dns none`) stays.
    fn change_resolvers(&self, servers: &[std::net::IpAddr]) {
        let path = self.folder.join("resolv.conf");
        if let Ok(text) = std::fs::read_to_string(&path)
            && let Err(e) = std::fs::write(&path, files::with_servers(&text, servers))
        {
            log::warn!("cannot write {}: {e}", path.display());
        }
    }
}
