//! Network interfaces of the calling thread's network namespace: just what a fresh one needs.

use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::error::{Call as _, Error, Result};

/// Brings the loopback interface up; the kernel then gives it 127.0.0.1 and ::1.
///
/// Kernel: netdevice(7), `SIOCSIFFLAGS`.
///
/// # Errors
/// `EPERM` in a network namespace of somebody else.
pub fn loopback_up() -> Result<()> {
    let socket: OwnedFd = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .call("socket", String::new)?;
    // SAFETY: plain data; all zeros is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is valid and lives over the call; the kernel reads name and flags.
    let rc = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if rc == 0 {
        Ok(())
    } else {
        Err(Error::last("ioctl(SIOCSIFFLAGS)", "lo"))
    }
}
