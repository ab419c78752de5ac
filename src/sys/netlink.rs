//! Route netlink, as little as we need: to hear when a default route appears, and to close one
//! address.
//!
//! A socket belongs to the network namespace of the thread that opened it and goes on seeing that
//! one, whichever thread reads it later.
//!
//! Kernel: rtnetlink(7), netlink(7). Numbers are in the machine's byte order.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

use super::error::{Call as _, Error, Result};
use super::memory::Buffer;
use super::nl::{Batch, Socket, messages};

/// Larger than any message that we ask for; the kernel's own buffers are at most 32 KiB.
const BUFFER: usize = 32 << 10;
/// An acknowledgement or a refusal, which repeats the request.
const ANSWER: usize = 1 << 10;

/// A route netlink socket.
#[derive(Debug)]
pub struct Route(Socket);

/// What a notification said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// A default route for IPv4 appeared.
    pub default_v4: bool,
    /// A default route for IPv6 appeared.
    pub default_v6: bool,
    /// Those routes, as the kernel told of them: `struct rtmsg` and its attributes.
    pub defaults: Vec<Vec<u8>>,
}

impl Route {
    /// Opens one in the calling thread's network namespace and subscribes to routes.
    ///
    /// # Errors
    /// What socket(2) and bind(2) say.
    pub fn open() -> Result<Self> {
        let target = || "NETLINK_ROUTE".to_owned();
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE is protocol 0.
            None,
        )
        .call("socket", target)?;
        let groups = (1 << (libc::RTNLGRP_IPV4_ROUTE - 1)) | (1 << (libc::RTNLGRP_IPV6_ROUTE - 1));
        bind(&fd, &SocketAddrNetlink::new(0, groups)).call("bind", target)?;
        Ok(Self(fd.into()))
    }

    /// Changes routes of the namespace, as [`Socket::ask`]. Notifications that come meanwhile are
    /// lost.
    ///
    /// # Errors
    /// As there.
    pub fn ask(&self, batch: Batch) -> Result<()> {
        self.0.ask(batch)
    }

    /// Makes `address` unreachable in the namespace, whatever other routes say.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN` over the namespace; `EEXIST` is none.
    pub fn close(&self, address: Ipv4Addr) -> Result<()> {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut message = Vec::with_capacity(36);
        // struct nlmsghdr: length, type, flags, sequence number, port.
        message.extend_from_slice(&36_u32.to_ne_bytes());
        message.extend_from_slice(&libc::RTM_NEWROUTE.to_ne_bytes());
        message.extend_from_slice(&(flags as u16).to_ne_bytes());
        message.extend_from_slice(&[0; 8]);
        // struct rtmsg: one address, the main table, scope universe, an unreachable route.
        message.extend_from_slice(&[libc::AF_INET as u8, 32, 0, 0]);
        let (table, protocol) = (libc::RT_TABLE_MAIN, libc::RTPROT_BOOT);
        message.extend_from_slice(&[table, protocol, libc::RT_SCOPE_UNIVERSE]);
        message.extend_from_slice(&[libc::RTN_UNREACHABLE, 0, 0, 0, 0]);
        // struct rtattr and the address.
        message.extend_from_slice(&8_u16.to_ne_bytes());
        message.extend_from_slice(&libc::RTA_DST.to_ne_bytes());
        message.extend_from_slice(&address.octets());
        let kernel = SocketAddrNetlink::new(0, 0);
        // Without NLM_F_ACK only a refusal is answered, before this call returns.
        sendto(self, &message, SendFlags::empty(), &kernel)
            .call("sendto", || format!("unreachable {address}"))?;
        let mut buffer = [0; ANSWER];
        match recv(self, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((count, _)) => refusal(&buffer[..count], address),
            Err(_) => Ok(()),
        }
    }

    /// The network namespace that the socket belongs to.
    ///
    /// Kernel: ioctl_ns(2), `SIOCGSKNS`, since 4.10.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN` in the namespace's user namespace.
    pub fn namespace(&self) -> Result<OwnedFd> {
        /// linux/sockios.h.
        const SIOCGSKNS: libc::Ioctl = 0x894C;
        // SAFETY: the request has no argument and answers a new descriptor.
        let fd = unsafe { libc::ioctl(self.as_fd().as_raw_fd(), SIOCGSKNS) };
        if fd < 0 {
            return Err(Error::last("ioctl(SIOCGSKNS)", "network namespace"));
        }
        // SAFETY: the kernel has just made it for us, close-on-exec.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Reads the notifications that are there, without waiting.
    ///
    /// # Errors
    /// What recv(2) says; `EAGAIN` and an overrun are no errors.
    pub fn read(&self) -> Result<Seen> {
        let mut seen = Seen::default();
        let mut buffer = Buffer::new(BUFFER);
        loop {
            match recv(self, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((count, _)) => {
                    let now = seen_in(&buffer[..count]);
                    seen.default_v4 |= now.default_v4;
                    seen.default_v6 |= now.default_v6;
                    seen.defaults.extend(now.defaults);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS) => return Ok(seen),
                Err(e) => return Err(e).call("recv", || "NETLINK_ROUTE".to_owned()),
            }
        }
    }
}

impl From<Route> for OwnedFd {
    fn from(socket: Route) -> Self {
        socket.0.into()
    }
}

impl From<OwnedFd> for Route {
    fn from(fd: OwnedFd) -> Self {
        Self(fd.into())
    }
}

impl AsFd for Route {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The refusal in an answer, if it is one.
fn refusal(bytes: &[u8], address: Ipv4Addr) -> Result<()> {
    for (kind, _, body) in messages(bytes) {
        let errno = body
            .first_chunk::<4>()
            .map_or(0, |b| -i32::from_ne_bytes(*b));
        if i32::from(kind) == libc::NLMSG_ERROR && errno != 0 && errno != libc::EEXIST {
            return Err(Error::new(
                "rtnetlink",
                format!("unreachable {address}"),
                errno,
            ));
        }
    }
    Ok(())
}

/// What a packet of notifications says.
pub fn seen_in(bytes: &[u8]) -> Seen {
    let mut seen = Seen::default();
    for (kind, _, body) in messages(bytes) {
        // struct rtmsg: family, length of the destination prefix, …; type is byte 7.
        if let [family, 0, _, _, _, _, _, kind_of_route, ..] = *body
            && kind == libc::RTM_NEWROUTE
            && kind_of_route == libc::RTN_UNICAST
        {
            match i32::from(family) {
                libc::AF_INET => seen.default_v4 = true,
                libc::AF_INET6 => seen.default_v6 = true,
                _ => continue,
            }
            seen.defaults.push(body.to_vec());
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: usize = 16;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut m = Vec::new();
        m.extend_from_slice(&u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes());
        m.extend_from_slice(&kind.to_ne_bytes());
        m.extend_from_slice(&[0; 10]);
        m.extend_from_slice(body);
        m.resize(m.len().next_multiple_of(4), 0);
        m
    }

    #[test]
    fn default_routes_are_told_from_others_and_garbage_is_survived() {
        let v4_default = [2, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
        let v4_other = [2, 24, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
        let v6_default = [10, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
        let v4_unreachable = [2, 0, 0, 0, 254, 4, 0, 7, 0, 0, 0, 0];
        let cases: Vec<(Vec<u8>, bool, bool)> = vec![
            (message(24, &v4_default), true, false),
            (message(24, &v4_other), false, false),
            (message(25, &v4_default), false, false),
            (message(24, &v4_unreachable), false, false),
            (
                [message(16, &[1, 2, 3]), message(24, &v6_default)].concat(),
                false,
                true,
            ),
            (message(24, &v4_default)[..20].to_vec(), false, false),
            (vec![3, 0, 0, 0, 1], false, false),
            (vec![0; 64], false, false),
        ];
        for (bytes, v4, v6) in cases {
            let seen = seen_in(&bytes);
            assert_eq!((seen.default_v4, seen.default_v6), (v4, v6), "{bytes:?}");
            assert_eq!(seen.defaults.len(), usize::from(v4 || v6), "{bytes:?}");
        }
    }
}
