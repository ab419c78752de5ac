//! Netlink in batches: several requests in one message, their answers read with suspicion.
//!
//! Kernel: netlink(7), rtnetlink(7), and nfnetlink's batches (`NFNL_MSG_BATCH_BEGIN` … `_END`),
//! which are applied as a whole or not at all. Numbers are in the machine's byte order but where a
//! family says otherwise.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{RecvFlags, SendFlags};

use super::error::{Call as _, Error, Result};

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// The kernel's own buffers are at most this large.
const BUFFER: usize = 32 << 10;
/// Length and type of an attribute.
const ATTRIBUTE: usize = 4;
/// An attribute that holds others.
const NESTED: u16 = 1 << 15;
/// The kernel answers at once; this long only if something is badly wrong.
const PATIENCE: i64 = 10;

/// Requests under construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where the open message begins.
    open: Option<usize>,
    /// How many want an answer.
    answers: usize,
    what: Vec<String>,
}

impl Batch {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a message that is answered; `header` is the family's own, and `what` is for the error.
    pub fn request(&mut self, kind: u16, flags: i32, header: &[u8], what: &str) -> &mut Self {
        self.answers += 1;
        self.what.push(what.to_owned());
        let number = u32::try_from(self.what.len()).unwrap_or(0);
        self.begin(kind, flags | libc::NLM_F_ACK, number, header)
    }

    /// Begins a message that is not answered.
    pub fn note(&mut self, kind: u16, flags: i32, header: &[u8]) -> &mut Self {
        self.begin(kind, flags, 0, header)
    }

    fn begin(&mut self, kind: u16, flags: i32, number: u32, header: &[u8]) -> &mut Self {
        self.close();
        self.open = Some(self.bytes.len());
        let flags = u16::try_from(flags | libc::NLM_F_REQUEST).unwrap_or(0);
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&number.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(header);
        self.pad();
        self
    }

    /// Adds an attribute.
    pub fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(ATTRIBUTE + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// Adds a number in the machine's order.
    pub fn put_u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_ne_bytes())
    }

    /// Adds a number in the network's order, as nftables wants.
    pub fn put_be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// Adds a text with its end.
    pub fn put_text(&mut self, kind: u16, text: &str) -> &mut Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes)
    }

    /// Adds an attribute that holds what `inside` adds.
    pub fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.put(kind | NESTED, &[]);
        inside(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        if let Some(place) = self.bytes.get_mut(start..start + 2) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
        self
    }

    /// Adds bytes as they are: the header of a family inside an attribute.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn close(&mut self) {
        if let Some(start) = self.open.take() {
            let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
            if let Some(place) = self.bytes.get_mut(start..start + 4) {
                place.copy_from_slice(&length.to_ne_bytes());
            }
        }
    }

    /// The finished messages.
    pub fn finish(mut self) -> Vec<u8> {
        self.close();
        self.bytes
    }
}

/// A netlink socket. It belongs to the network namespace of the thread that opened it, whoever
/// uses it later.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// For links, addresses, routes and rules.
    ///
    /// # Errors
    /// What socket(2) says.
    pub fn route() -> Result<Self> {
        Self::open(libc::NETLINK_ROUTE)
    }

    /// For nftables.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` where the kernel lacks it.
    pub fn netfilter() -> Result<Self> {
        Self::open(libc::NETLINK_NETFILTER)
    }

    fn open(protocol: i32) -> Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: numbers only; a new descriptor comes back.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) };
        if fd < 0 {
            return Err(Error::last("socket", "AF_NETLINK"));
        }
        // SAFETY: just returned by the kernel, nobody else owns it.
        Ok(Self::from(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends a batch and waits for all its answers.
    ///
    /// # Errors
    /// The kernel's first refusal, with what was asked.
    pub fn ask(&self, batch: Batch) -> Result<()> {
        let (expected, what) = (batch.answers, batch.what.clone());
        self.send(&batch.finish())?;
        let mut answered = 0;
        let mut refused = None;
        while answered < expected {
            for (kind, number, payload) in messages(&self.receive()?) {
                if i32::from(kind) != libc::NLMSG_ERROR {
                    continue;
                }
                let name = (number as usize)
                    .checked_sub(1)
                    .and_then(|n| what.get(n))
                    .map_or("netlink", String::as_str);
                answered += usize::from(number > 0);
                if let Err(e) = verdict(payload, name) {
                    if number == 0 {
                        // The batch as such was refused: nothing else will come.
                        return Err(e);
                    }
                    refused.get_or_insert(e);
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// The number of a device of the socket's namespace.
    ///
    /// # Errors
    /// `ENODEV`.
    pub fn index(&self, name: &str) -> Result<u32> {
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
        Ok(unsafe { request.ifr_ifru.ifru_ifindex }.unsigned_abs())
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&self.0, bytes, SendFlags::empty(), &kernel)
            .map(drop)
            .call("sendto", || "netlink".into())
    }

    fn receive(&self) -> Result<Vec<u8>> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let patience = Some(std::time::Duration::from_secs(PATIENCE.unsigned_abs()));
            if !super::fd::wait_readable(&self.0, patience)? {
                return Err(Error::new("recv", "netlink", libc::ETIMEDOUT));
            }
            match rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT) {
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                other => {
                    let (count, _) = other.call("recv", || "netlink".into())?;
                    buffer.truncate(count);
                    return Ok(buffer);
                }
            }
        }
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.0
    }
}

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The messages of a packet: kind, number of the request, payload. Stops at the first malformed one.
pub fn messages(mut bytes: &[u8]) -> Vec<(u16, u32, &[u8])> {
    let mut list = Vec::new();
    while let (Some(length), Some(kind), Some(number)) =
        (u32_at(bytes, 0), bytes.get(4..), u32_at(bytes, 8))
    {
        let length = length as usize;
        let (Some(kind), Some(payload)) = (kind.first_chunk(), bytes.get(HEADER..length)) else {
            break;
        };
        list.push((u16::from_ne_bytes(*kind), number, payload));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    list
}

/// What an answer says, `struct nlmsgerr`; `what` is for the error.
///
/// # Errors
/// The kernel's refusal; `EBADMSG` for an answer without a number.
pub fn verdict(payload: &[u8], what: &str) -> Result<()> {
    match u32_at(payload, 0).map(u32::cast_signed) {
        Some(0) => Ok(()),
        Some(error) => Err(Error::new("netlink", what, error.saturating_neg())),
        None => Err(Error::new("netlink", what, libc::EBADMSG)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, proptest};

    #[test]
    fn batches_are_padded_and_read_back() {
        let mut batch = Batch::new();
        batch
            .request(16, libc::NLM_F_CREATE, &[1, 2, 3], "first")
            .put_text(3, "ab")
            .nest(18, |b| {
                b.put(1, b"x").put_be32(2, 5);
            });
        batch.note(17, 0, &[]);
        let bytes = batch.finish();
        let all = messages(&bytes);
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].0, all[0].1, all[1].0, all[1].1), (16, 1, 17, 0));
        assert_eq!(
            all[0].2,
            [
                1, 2, 3, 0, 7, 0, 3, 0, b'a', b'b', 0, 0, 20, 0, 18, 128, 5, 0, 1, 0, b'x', 0, 0,
                0, 8, 0, 2, 0, 0, 0, 0, 5
            ]
        );
    }

    #[test]
    fn the_kernel_answers_and_refusals_name_the_request() {
        let socket = Socket::route().unwrap();
        assert_eq!(socket.index("lo").unwrap(), 1);
        assert_eq!(socket.index("no-such-dev").unwrap_err().errno, libc::ENODEV);
        let mut batch = Batch::new();
        // RTM_DELLINK of a device that is not there.
        let mut header = [0; 16];
        header[4..8].copy_from_slice(&0x00ff_ffff_u32.to_ne_bytes());
        batch.request(libc::RTM_DELLINK, 0, &header, "gone");
        let error = socket.ask(batch).unwrap_err();
        assert!(matches!(error.errno, libc::ENODEV | libc::EPERM), "{error}");
        assert!(error.to_string().contains("gone"), "{error}");
    }

    proptest! {
        #[test]
        fn garbage_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let total: usize = messages(&bytes).iter().map(|m| m.2.len() + HEADER).sum();
            prop_assert!(total <= bytes.len());
            drop(verdict(&bytes, "x"));
        }
    }
}
