//! Network devices by route netlink: into another namespace, with their addresses.
//!
//! Kernel: rtnetlink(7). Numbers are in the machine's byte order.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::error::{Call as _, Error, Result};
use super::memory::Buffer;
use super::nl::{messages, verdict};

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct ifaddrmsg`.
const ADDRESS: usize = 8;
/// The kernel's own buffers are at most this large.
const BUFFER: usize = 32 << 10;
/// An acknowledgement or a refusal, which repeats the request.
const ANSWER: usize = 1 << 10;

const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_FLAGS: u16 = 8;
const IFA_CACHEINFO: u16 = 6;
const IFA_F_PERMANENT: u32 = 0x80;
const IFF_UP: u32 = 1;

/// A socket in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Links(OwnedFd);

/// An address as the kernel gave it: everything but the device's number is taken over as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `struct ifaddrmsg` and attributes.
    payload: Vec<u8>,
}

impl Address {
    /// The body of the message that gives it.
    pub fn bytes(&self) -> &[u8] {
        &self.payload
    }
}

impl Links {
    /// Opens one in the calling thread's network namespace.
    ///
    /// # Errors
    /// What socket(2) says.
    pub fn open() -> Result<Self> {
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )
        .call("socket", || "NETLINK_ROUTE".into())?;
        Ok(Self(fd))
    }

    /// The number of a device of this namespace.
    ///
    /// # Errors
    /// `ENODEV`.
    pub fn index(&self, name: &str) -> Result<i32> {
        let bytes = name.as_bytes();
        if bytes.is_empty() || bytes.len() >= libc::IFNAMSIZ || bytes.contains(&0) {
            return Err(Error::new("ioctl(SIOCGIFINDEX)", name, libc::ENODEV));
        }
        // SAFETY: plain data; all zeros is a value of it.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (place, byte) in request.ifr_name.iter_mut().zip(bytes) {
            *place = byte.cast_signed();
        }
        // SAFETY: the request is valid and lives over the call; the kernel writes the number.
        let rc = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SIOCGIFINDEX, &raw mut request) };
        if rc < 0 {
            return Err(Error::last("ioctl(SIOCGIFINDEX)", name));
        }
        // SAFETY: the kernel filled that member for this request.
        Ok(unsafe { request.ifr_ifru.ifru_ifindex })
    }

    /// The lasting addresses of a device that are known everywhere (scope universe).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn addresses(&self, index: i32) -> Result<Vec<Address>> {
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
        self.send(libc::RTM_GETADDR, flags, &[0; ADDRESS])?;
        let mut all = Vec::new();
        let mut buffer = Buffer::new(BUFFER);
        loop {
            let count = self.receive(&mut buffer)?;
            for (kind, _, payload) in messages(buffer.get(..count).unwrap_or_default()) {
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(all),
                    libc::NLMSG_ERROR => verdict(payload, "dump of addresses")?,
                    _ => all.extend(lasting(payload, index)),
                }
            }
        }
    }

    /// Moves a device into another network namespace, under a name of there.
    ///
    /// # Errors
    /// `EINVAL` for devices that cannot be moved, `EEXIST` for a name that is taken, `EPERM`.
    pub fn give(&self, index: i32, namespace: impl AsFd, name: &str) -> Result<()> {
        let mut payload = link(index, 0, 0);
        let number = namespace.as_fd().as_raw_fd().unsigned_abs();
        attribute(&mut payload, IFLA_NET_NS_FD, &number.to_ne_bytes());
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        attribute(&mut payload, IFLA_IFNAME, &text);
        self.ask(libc::RTM_NEWLINK, &payload, name)
    }

    /// Switches a device on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn up(&self, index: i32) -> Result<()> {
        self.ask(libc::RTM_NEWLINK, &link(index, IFF_UP, IFF_UP), "up")
    }

    /// Gives a device an address that it had elsewhere.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn add(&self, index: i32, address: &Address) -> Result<()> {
        let mut payload = address.payload.clone();
        if let Some(place) = payload.get_mut(4..8) {
            place.copy_from_slice(&index.to_ne_bytes());
        }
        self.ask(libc::RTM_NEWADDR, &payload, "address")
    }

    fn send(&self, kind: u16, flags: u16, payload: &[u8]) -> Result<()> {
        let length = u32::try_from(HEADER + payload.len()).unwrap_or(u32::MAX);
        let mut message = length.to_ne_bytes().to_vec();
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&flags.to_ne_bytes());
        message.extend_from_slice(&[0; 8]);
        message.extend_from_slice(payload);
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&self.0, &message, SendFlags::empty(), &kernel)
            .map(drop)
            .call("sendto", || "NETLINK_ROUTE".into())
    }

    fn receive(&self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            match rustix::net::recv(&self.0, &mut *buffer, RecvFlags::empty()) {
                Err(rustix::io::Errno::INTR) => {}
                other => {
                    return other
                        .map(|(count, _)| count)
                        .call("recv", || "NETLINK_ROUTE".into());
                }
            }
        }
    }

    /// Sends a request and waits for its answer.
    fn ask(&self, kind: u16, payload: &[u8], what: &str) -> Result<()> {
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE) as u16;
        self.send(kind, flags, payload)?;
        let mut buffer = [0; ANSWER];
        let count = self.receive(&mut buffer)?;
        for (kind, _, payload) in messages(buffer.get(..count).unwrap_or_default()) {
            if i32::from(kind) == libc::NLMSG_ERROR {
                return verdict(payload, what);
            }
        }
        Err(Error::new("recv", "NETLINK_ROUTE", libc::EBADMSG))
    }
}

/// `struct ifinfomsg`.
fn link(index: i32, flags: u32, change: u32) -> Vec<u8> {
    let mut payload = vec![0; 4];
    payload.extend_from_slice(&index.to_ne_bytes());
    payload.extend_from_slice(&flags.to_ne_bytes());
    payload.extend_from_slice(&change.to_ne_bytes());
    payload
}

/// Appends a `struct rtattr`, padded.
fn attribute(payload: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    payload.extend_from_slice(&length.to_ne_bytes());
    payload.extend_from_slice(&kind.to_ne_bytes());
    payload.extend_from_slice(value);
    payload.resize(payload.len().next_multiple_of(4), 0);
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_ne_bytes(four))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_ne_bytes(two))
}

/// The address in a message, if it is one of that device and to be kept; without what the kernel
/// counts itself.
pub fn lasting(payload: &[u8], index: i32) -> Option<Address> {
    let scope = *payload.get(3)?;
    let flags = u32::from(*payload.get(2)?);
    if u32_at(payload, 4)?.cast_signed() != index || scope != libc::RT_SCOPE_UNIVERSE {
        return None;
    }
    let mut kept = payload.get(..ADDRESS)?.to_vec();
    let mut all_flags = flags;
    let mut at = ADDRESS;
    while let (Some(length), Some(kind)) = (u16_at(payload, at), u16_at(payload, at + 2)) {
        let length = usize::from(length);
        let value = payload.get(at + 4..at + length)?;
        match kind {
            IFA_FLAGS => all_flags |= u32_at(value, 0).unwrap_or(0),
            IFA_CACHEINFO => {}
            other => attribute(&mut kept, other, value),
        }
        at += length.next_multiple_of(4).max(4);
    }
    (all_flags & IFA_F_PERMANENT != 0).then_some(Address { payload: kept })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_a_number_and_no_address_of_the_world() {
        let links = Links::open().unwrap();
        let lo = links.index("lo").unwrap();
        assert!(lo > 0);
        assert!(links.addresses(lo).unwrap().is_empty());
        assert_eq!(links.index("no-such-dev").unwrap_err().errno, libc::ENODEV);
        assert!(links.index("a-name-that-is-too-long").is_err());
    }

    #[test]
    fn attributes_are_padded_and_addresses_of_others_left_out() {
        let mut payload = link(3, 1, 1);
        attribute(&mut payload, IFLA_IFNAME, b"ab\0");
        assert_eq!(payload.len() % 4, 0);
        let mut address = vec![2, 24, IFA_F_PERMANENT as u8, 0];
        address.extend_from_slice(&7_i32.to_ne_bytes());
        attribute(&mut address, 1, &[10, 0, 0, 1]);
        attribute(&mut address, IFA_CACHEINFO, &[0; 16]);
        assert_eq!(lasting(&address, 7).unwrap().payload.len(), ADDRESS + 8);
        assert!(lasting(&address, 8).is_none());
        address[3] = libc::RT_SCOPE_LINK;
        assert!(lasting(&address, 7).is_none());
    }
}
