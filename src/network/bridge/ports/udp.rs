//! Flows of packets: one socket towards the container for each client.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::sys::interface;

/// A flow that carries nothing for so long is over.
pub(super) const IDLE: Duration = Duration::from_secs(90);

/// A socket that reaches `target` as `source`, or as the gateway. In the namespace of bridges.
///
/// # Errors
/// What the kernel says.
pub(super) fn reach(target: SocketAddr, source: Option<IpAddr>) -> std::io::Result<UdpSocket> {
    let family = match target {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let open = || rustix::net::socket_with(family, SocketType::DGRAM, flags, None);
    let mut socket = open()?;
    if let Some(source) = source {
        let bound = interface::set_transparent(&socket, target.is_ipv6()).is_ok()
            && rustix::net::bind(socket.as_fd(), &SocketAddr::new(source, 0)).is_ok();
        if !bound {
            socket = open()?;
        }
    }
    rustix::net::connect(socket.as_fd(), &target)?;
    Ok(UdpSocket::from(socket))
}
