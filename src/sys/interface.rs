//! Network interfaces of the calling thread's network namespace: just what a fresh one needs.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

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

/// Sets an option that is a number.
fn set_number(socket: impl AsFd, level: i32, option: i32, name: &str) -> Result<()> {
    let on: i32 = 1;
    let length = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or(0);
    // SAFETY: the value is valid for its length over the call.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            length,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(Error::last("setsockopt", name))
    }
}

/// Lets a socket have an address that is nobody's here: that of a client whose connection it
/// carries on.
///
/// Kernel: ip(7), `IP_TRANSPARENT`; `CAP_NET_ADMIN` over the socket's network.
///
/// # Errors
/// `EPERM`.
pub fn set_transparent(socket: impl AsFd, v6: bool) -> Result<()> {
    match v6 {
        true => set_number(
            socket,
            libc::SOL_IPV6,
            libc::IPV6_TRANSPARENT,
            "IPV6_TRANSPARENT",
        ),
        false => set_number(socket, libc::SOL_IP, libc::IP_TRANSPARENT, "IP_TRANSPARENT"),
    }
}

/// Has a socket take only what comes through one device.
///
/// Kernel: socket(7), `SO_BINDTODEVICE`.
///
/// # Errors
/// `ENODEV`.
pub fn bind_to_device(socket: impl AsFd, name: &str) -> Result<()> {
    let length = libc::socklen_t::try_from(name.len()).unwrap_or(0);
    // SAFETY: the text is valid for its length over the call.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast(),
            length,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(Error::last("setsockopt(SO_BINDTODEVICE)", name))
    }
}
