//! Descriptors as such: flags, places, passing them over sockets, waiting for them.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use super::error::{Call as _, Error, Result};

/// How much was written to a socket and not read by its other end, bytes with what the kernel needs
/// to keep them: unix(7), `SIOCOUTQ`.
///
/// # Errors
/// `ENOTTY`, `EINVAL` for what is no socket.
pub fn unread(socket: impl AsFd) -> Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the request writes an int to the place.
    let rc = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    match rc {
        0 => Ok(usize::try_from(count).unwrap_or(0)),
        _ => Err(Error::last("ioctl(SIOCOUTQ)", "socket")),
    }
}

/// Lets go of everything inherited: the standard three become `null`, all else but `keep` (numbers
/// of 3 and more) is closed. For a process that was forked to live on by itself and that has not
/// kept any other descriptor for later use; what the caller's frames own is closed under them, so
/// the process must end without returning into them.
///
/// # Errors
/// What the kernel says; the process should end then.
pub fn become_daemon<const N: usize>(null: OwnedFd, keep: [OwnedFd; N]) -> Result<[OwnedFd; N]> {
    for standard in 0..3 {
        // SAFETY: nobody owns the standard three.
        unsafe { place(null.as_fd(), standard)? };
    }
    // Never dropped: its number may be closed below.
    let _ = null.into_raw_fd();
    let mut numbers: Vec<u32> = keep
        .iter()
        .map(|fd| fd.as_raw_fd().unsigned_abs())
        .collect();
    numbers.sort_unstable();
    let mut first = 3;
    for number in numbers {
        if number > first {
            close_between(first, number - 1)?;
        }
        first = number + 1;
    }
    close_between(first, u32::MAX)?;
    Ok(keep)
}

fn close_between(first: u32, last: u32) -> Result<()> {
    // SAFETY: numbers only; the callers' promise is that no owner of these is used again.
    let rc = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if rc == 0 {
        Ok(())
    } else {
        Err(Error::last("close_range", first.to_string()))
    }
}

/// Marks every descriptor from `first` on close-on-exec.
///
/// Kernel: close_range(2), 5.11.
///
/// # Errors
/// `ENOSYS` on older kernels.
pub fn cloexec_from(first: u32) -> Result<()> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, flags: u32) -> Result<()> {
    // SAFETY: numbers only; with CLOSE_RANGE_CLOEXEC nothing is closed now.
    let rc = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) };
    if rc == 0 {
        Ok(())
    } else {
        Err(Error::last("close_range", first.to_string()))
    }
}

/// Sets or clears close-on-exec.
///
/// # Errors
/// What fcntl(2) says.
pub fn set_cloexec(fd: impl AsFd, on: bool) -> Result<()> {
    let flags = if on {
        rustix::io::FdFlags::CLOEXEC
    } else {
        rustix::io::FdFlags::empty()
    };
    rustix::io::fcntl_setfd(fd, flags).call("fcntl", || "F_SETFD".into())
}

/// Sets or clears O_NONBLOCK of the open file.
///
/// # Errors
/// What fcntl(2) says.
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> Result<()> {
    let fd = fd.as_fd();
    let mut flags = rustix::fs::fcntl_getfl(fd).call("fcntl", || "F_GETFL".into())?;
    flags.set(rustix::fs::OFlags::NONBLOCK, on);
    rustix::fs::fcntl_setfl(fd, flags).call("fcntl", || "F_SETFL".into())
}

/// A copy with a number of at least `least`, close-on-exec.
///
/// # Errors
/// `EMFILE`.
pub fn dup_at_least(fd: impl AsFd, least: i32) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, least).call("fcntl", || "F_DUPFD_CLOEXEC".into())
}

/// Copies `fd` to the number `to`, replacing what is there, not close-on-exec. For a process that
/// arranges its descriptors just before execve.
///
/// # Safety
/// No `OwnedFd` of this process other than `fd` has the number `to`, except the standard three,
/// which nobody owns.
///
/// # Errors
/// What dup2(2) says.
pub unsafe fn place(fd: BorrowedFd<'_>, to: i32) -> Result<()> {
    if fd.as_raw_fd() == to {
        return set_cloexec(fd, false);
    }
    // SAFETY: `fd` is open for the call; what stood at `to` is nobody's by the caller's promise.
    if unsafe { libc::dup2(fd.as_raw_fd(), to) } < 0 {
        return Err(Error::last("dup2", to.to_string()));
    }
    Ok(())
}

/// Arranges the descriptors for execve: `stdio` at 0 to 2, `extra` from 3 on (nothing where it has
/// none), everything else close-on-exec. What else is open below `3 + extra.len()` is replaced: the process executes or
/// ends afterwards. Descriptors that it still needs are moved away by [`dup_at_least`] before.
///
/// # Errors
/// `EMFILE`.
pub fn arrange(stdio: &[OwnedFd; 3], extra: &[Option<OwnedFd>]) -> Result<()> {
    let end = 3 + i32::try_from(extra.len()).map_err(|_| Error::new("dup2", "", libc::EMFILE))?;
    // Out of the way first: a source may have the number of another one's place.
    let sources = stdio
        .iter()
        .map(Some)
        .chain(extra.iter().map(Option::as_ref))
        .map(|fd| fd.map(|fd| dup_at_least(fd, end)).transpose())
        .collect::<Result<Vec<_>>>()?;
    for (number, source) in (0..).zip(&sources) {
        match source {
            // SAFETY: nobody owns the standard three; the owners of others are not used again.
            Some(source) => unsafe { place(source.as_fd(), number)? },
            None => {
                // SAFETY: F_SETFD takes numbers only; one that is not open is as good as closed.
                unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
            }
        }
    }
    cloexec_from(end.unsigned_abs())
}

/// Takes the ownership of a descriptor that was inherited over execve under a number agreed with
/// the parent; `None` when it is not open.
pub fn inherited(number: i32) -> Option<OwnedFd> {
    if number < 3 {
        return None;
    }
    // SAFETY: F_GETFD takes a number only.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: open, above the standard three, and by agreement with the parent process it is ours;
    // each number is taken once, at the start of a role.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A copy of a descriptor that the caller passed over execve, which stays as it is; `None` when
/// there is none under that number. Ours are all close-on-exec, theirs are not: that tells them
/// apart.
///
/// # Errors
/// `EMFILE`.
pub fn copy_of_inherited(number: i32) -> Result<Option<OwnedFd>> {
    // SAFETY: F_GETFD takes a number only.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
        return Ok(None);
    }
    // SAFETY: open, and nobody in this process closes what the caller passed.
    let theirs = unsafe { BorrowedFd::borrow_raw(number) };
    dup_at_least(theirs, 3).map(Some)
}

/// The number of a descriptor, to be told to the next program.
pub fn number(fd: &OwnedFd) -> i32 {
    fd.as_raw_fd()
}

/// Copies of the standard three that this process has now.
///
/// # Errors
/// `EBADF` when one is closed.
pub fn standard() -> Result<[OwnedFd; 3]> {
    let copy = |number| {
        // SAFETY: borrowed for the copying only; a closed one is refused by the kernel.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        dup_at_least(fd, 3)
    };
    Ok([copy(0)?, copy(1)?, copy(2)?])
}

/// A listening packet socket at `path` (of at most 107 bytes), close-on-exec.
///
/// # Errors
/// `EADDRINUSE`; what bind(2) says.
pub fn listen_packets(path: &std::path::Path) -> Result<OwnedFd> {
    let target = || path.display().to_string();
    let socket = packet_socket(SocketFlags::empty())?;
    let address = rustix::net::SocketAddrUnix::new(path).call("bind", target)?;
    rustix::net::bind(&socket, &address).call("bind", target)?;
    rustix::net::listen(&socket, 1).call("listen", target)?;
    Ok(socket)
}

/// Connects to a listening packet socket.
///
/// # Errors
/// `ENOENT`; `ECONNREFUSED` when its process is gone.
pub fn connect_packets(path: &std::path::Path) -> Result<OwnedFd> {
    connect(packet_socket(SocketFlags::empty())?, path)
}

/// As [`connect_packets`], but never waits for a listener that is busy with others; the socket does
/// not wait either.
///
/// # Errors
/// As there; `EAGAIN`.
pub fn try_connect_packets(path: &std::path::Path) -> Result<OwnedFd> {
    connect(packet_socket(SocketFlags::NONBLOCK)?, path)
}

fn connect(socket: OwnedFd, path: &std::path::Path) -> Result<OwnedFd> {
    let target = || path.display().to_string();
    let address = rustix::net::SocketAddrUnix::new(path).call("connect", target)?;
    rustix::net::connect(&socket, &address).call("connect", target)?;
    Ok(socket)
}

fn packet_socket(also: SocketFlags) -> Result<OwnedFd> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | also,
        None,
    )
    .call("socket", String::new)
}

/// The next connection to a listening socket.
///
/// # Errors
/// What accept(2) says.
pub fn accept(listener: impl AsFd) -> Result<OwnedFd> {
    loop {
        match rustix::net::accept_with(&listener, SocketFlags::CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.call("accept", String::new),
        }
    }
}

/// Opens `/dev/null` for reading and writing.
///
/// # Errors
/// What the kernel says.
pub fn null() -> Result<OwnedFd> {
    rustix::fs::open(
        c"/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .call("open", || "/dev/null".into())
}

/// A pipe, close-on-exec: reading end, writing end.
///
/// # Errors
/// `EMFILE`.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).call("pipe2", String::new)
}

/// A pair of connected packet sockets, close-on-exec: messages keep their bounds, and a closed
/// peer reads as an empty message.
///
/// # Errors
/// `EMFILE`.
pub fn packet_pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .call("socketpair", String::new)
}

/// Sends one message with up to 8 descriptors; a vanished peer is `EPIPE`, never a signal.
///
/// # Errors
/// What sendmsg(2) says.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Error::new("sendmsg", "too many descriptors", libc::E2BIG));
    }
    loop {
        match rustix::net::sendmsg(
            &socket,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map(drop).call("sendmsg", String::new),
        }
    }
}

/// Receives one message of at most `limit` bytes and its descriptors (close-on-exec). Empty means
/// that the peer is gone.
///
/// # Errors
/// What recvmsg(2) says; `EMSGSIZE` for a longer message.
pub fn receive(socket: impl AsFd, limit: usize) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; limit];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match rustix::net::recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.call("recvmsg", String::new)?,
        }
    };
    if received.flags.contains(rustix::net::ReturnFlags::TRUNC) {
        return Err(Error::new("recvmsg", "", libc::EMSGSIZE));
    }
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    bytes.truncate(received.bytes);
    Ok((bytes, fds))
}

/// Waits until `fd` is readable (or its peer is gone); `false` when `patience` passed first.
///
/// # Errors
/// What poll(2) says.
pub fn wait_readable(fd: impl AsFd, patience: Option<Duration>) -> Result<bool> {
    let deadline = patience.map(|p| Instant::now() + p);
    loop {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| rustix::event::Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).call("poll", String::new),
        }
    }
}

/// Reads until `buffer` is full or the file ends; says how much.
///
/// # Errors
/// What read(2) says.
pub fn read_full(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|r| !r.is_empty()) {
        match rustix::io::read(&fd, rest) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).call("read", String::new),
        }
    }
    Ok(done)
}

/// Writes all of `bytes`.
///
/// # Errors
/// What write(2) says.
pub fn write_all(fd: impl AsFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&fd, bytes) {
            Ok(0) => return Err(Error::new("write", "", libc::EIO)),
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).call("write", String::new),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_travel_with_a_message_and_a_gone_peer_reads_as_empty() {
        let (a, b) = packet_pair().unwrap();
        let (reader, writer) = pipe().unwrap();
        send(&a, b"x", &[writer.as_fd()]).unwrap();
        drop(writer);
        let (bytes, fds) = receive(&b, 16).unwrap();
        assert_eq!((bytes.as_slice(), fds.len()), (&b"x"[..], 1));
        write_all(&fds[0], b"hello").unwrap();
        drop(fds);
        let mut buffer = [0; 16];
        assert_eq!(read_full(&reader, &mut buffer).unwrap(), 5);
        drop(a);
        assert!(wait_readable(&b, Some(Duration::from_secs(5))).unwrap());
        assert!(receive(&b, 16).unwrap().0.is_empty());
        assert_eq!(send(&b, b"y", &[]).unwrap_err().errno, libc::EPIPE);
    }

    #[test]
    fn a_message_longer_than_the_limit_is_refused() {
        let (a, b) = packet_pair().unwrap();
        send(&a, &[1; 32], &[]).unwrap();
        assert_eq!(receive(&b, 16).unwrap_err().errno, libc::EMSGSIZE);
    }
}
