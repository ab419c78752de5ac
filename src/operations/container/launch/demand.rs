//! `--on-demand`: the ports that the monitor holds for a container without a process.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::base::Result;
use crate::config::containers_conf;
use crate::image::ImageRecord;
use crate::monitor::Demand;
use crate::network::demand::{Listening, carry};
use crate::network::ports;
use crate::state::container::{Container, Status};
use crate::state::options::{OnDemand, PortMapping};

struct Held {
    listening: Listening,
    idle: Option<Duration>,
}

/// Opens the ports of a container that runs on demand; none for any other.
///
/// # Errors
/// As [`Listening::open`]; `Invalid` for a malformed port of the image.
pub(super) fn hold(
    container: &Container,
    image: Option<&ImageRecord>,
) -> Result<Option<Box<dyn Demand>>> {
    let options = &container.record.options.network;
    let Some(OnDemand { idle }) = options.on_demand else {
        return Ok(None);
    };
    let exposed = image.map(|i| i.config.config.exposed_ports.keys().cloned().collect());
    let exposed: Vec<String> = exposed.unwrap_or_default();
    let mappings = ports::requested(options, &exposed, containers_conf::load()?)?;
    Ok(Some(Box::new(Held {
        listening: Listening::open(mappings)?,
        idle: (idle > 0).then(|| Duration::from_secs(idle)),
    })))
}

impl Demand for Held {
    fn sockets(&self) -> Vec<BorrowedFd<'_>> {
        self.listening.sockets()
    }

    fn ports(&self) -> &[PortMapping] {
        &self.listening.ports
    }

    fn refuse(&self) {
        self.listening.refuse();
    }

    fn carry(&self, status: &Status) -> Result<()> {
        let address = status.ip_address.as_deref().and_then(|a| a.parse().ok());
        // Without an address the container has no network, and nobody but this host has come.
        let address: IpAddr = address.unwrap_or(Ipv4Addr::LOCALHOST.into());
        carry(&self.listening, address, self.idle)
    }
}
