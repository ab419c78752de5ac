//! Flows of packets: one socket towards the container for each client.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::net::SocketType;

/// A flow that carries nothing for so long is over.
pub(super) const IDLE: Duration = Duration::from_secs(90);

/// A socket that reaches `target` as `source`, or as the gateway. In the namespace of bridges.
///
/// # Errors
/// What the kernel says.
pub(super) fn reach(target: SocketAddr, source: Option<IpAddr>) -> std::io::Result<UdpSocket> {
    let socket = crate::network::carry::socket_towards(target, source, SocketType::DGRAM)?;
    rustix::net::connect(socket.as_fd(), &target)?;
    Ok(UdpSocket::from(socket))
}
