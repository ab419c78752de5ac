//! What the role gives up once it is set up: its threads read bytes of containers and of strangers.
//!
//! - capabilities: each thread keeps those of the network that its work needs, the one that answers
//!   names none at all;
//! - Landlock, where the kernel has it: no file but the host's resolv.conf, and only to read;
//! - a filter of system calls: no program is executed, no process or thread made, nothing opened
//!   for writing, no memory made executable, no socket but of IPv4 and IPv6. Programs that lead out
//!   are started by a process of their own (`server::starter`).

use std::path::{Path, PathBuf};

use super::dns::RESOLV_CONF;
use crate::sys::confine::{self, Allowed, Condition};
use crate::sys::{Result, caps, landlock};

/// What the threads that ask the kernel for devices, addresses, rules and sockets keep.
pub(super) const OF_NETWORKS: caps::Mask =
    1 << caps::NET_ADMIN | 1 << caps::NET_RAW | 1 << caps::NET_BIND_SERVICE;

/// Where resolv.conf, or the file that it links to, may be; and numbers of devices, for addresses
/// with a zone.
const READABLE: [&str; 8] = [
    "/etc",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/connman",
    "/sys/class/net",
    "/sys/devices",
    // The first port of plain users.
    "/proc/sys/net/ipv4",
];

/// For the calling thread, for good. What cannot be given up is logged: a role that serves is better
/// than none.
pub(super) fn thread(keep: caps::Mask) {
    if let Err(e) = try_thread(keep) {
        log::warn!("the network role keeps more rights than it needs: {e}");
    }
}

fn try_thread(keep: caps::Mask) -> Result<()> {
    landlock::no_new_privileges()?;
    let mut readable: Vec<PathBuf> = READABLE.iter().map(PathBuf::from).collect();
    // A link to somewhere else.
    let real = std::fs::canonicalize(RESOLV_CONF).ok();
    readable.extend(real.and_then(|p| p.parent().map(Path::to_owned)));
    let readable: Vec<&Path> = readable.iter().map(PathBuf::as_path).collect();
    if !landlock::restrict(&readable)? {
        log::info!("this kernel has no Landlock");
    }
    caps::set_ambient(0)?;
    let permitted = keep & caps::get()?.permitted;
    caps::set(caps::Sets {
        effective: permitted,
        permitted,
        inheritable: 0,
    })
}

/// For all threads, when the last one runs.
pub(super) fn process() {
    match confine::allow_only(CALLS) {
        Ok(true) => {}
        Ok(false) => log::info!("no filter of system calls for this machine"),
        Err(e) => log::warn!("the network role runs without a filter of system calls: {e}"),
    }
}

/// Flags of openat(2) that write or make something.
const WRITING: u32 = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND) as u32
    | (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;

const EXECUTABLE: Condition = Condition::Without(2, libc::PROT_EXEC as u32);

const ALWAYS: Condition = Condition::Always;

/// What the threads call once they run.
const CALLS: &[Allowed] = &[
    // The most frequent first.
    (libc::SYS_epoll_pwait2, ALWAYS),
    (libc::SYS_epoll_pwait, ALWAYS),
    (libc::SYS_recvfrom, ALWAYS),
    (libc::SYS_sendto, ALWAYS),
    (libc::SYS_read, ALWAYS),
    (libc::SYS_write, ALWAYS),
    (libc::SYS_splice, ALWAYS),
    (libc::SYS_accept4, ALWAYS),
    (libc::SYS_close, ALWAYS),
    (libc::SYS_epoll_ctl, ALWAYS),
    (libc::SYS_futex, ALWAYS),
    (
        libc::SYS_socket,
        Condition::OneOf(0, &[libc::AF_INET as u32, libc::AF_INET6 as u32]),
    ),
    (libc::SYS_connect, ALWAYS),
    (libc::SYS_bind, ALWAYS),
    (libc::SYS_listen, ALWAYS),
    (libc::SYS_setsockopt, ALWAYS),
    (libc::SYS_getsockopt, ALWAYS),
    (libc::SYS_getsockname, ALWAYS),
    (libc::SYS_getpeername, ALWAYS),
    (libc::SYS_shutdown, ALWAYS),
    (libc::SYS_recvmsg, ALWAYS),
    (libc::SYS_sendmsg, ALWAYS),
    (libc::SYS_readv, ALWAYS),
    (libc::SYS_writev, ALWAYS),
    (libc::SYS_pipe2, ALWAYS),
    (libc::SYS_fcntl, ALWAYS),
    (
        libc::SYS_ioctl,
        Condition::OneOf(
            1,
            &[
                libc::SIOCGIFINDEX as u32,
                libc::FIONBIO as u32,
                libc::FIOCLEX as u32,
            ],
        ),
    ),
    (libc::SYS_ppoll, ALWAYS),
    (libc::SYS_clock_gettime, ALWAYS),
    (libc::SYS_gettimeofday, ALWAYS),
    (libc::SYS_clock_nanosleep, ALWAYS),
    (libc::SYS_nanosleep, ALWAYS),
    (libc::SYS_getrandom, ALWAYS),
    (libc::SYS_sched_yield, ALWAYS),
    (libc::SYS_brk, ALWAYS),
    (libc::SYS_mmap, EXECUTABLE),
    (libc::SYS_mprotect, EXECUTABLE),
    (libc::SYS_munmap, ALWAYS),
    (libc::SYS_mremap, ALWAYS),
    (libc::SYS_madvise, ALWAYS),
    // resolv.conf.
    (libc::SYS_openat, Condition::Without(2, WRITING)),
    (libc::SYS_statx, ALWAYS),
    (libc::SYS_newfstatat, ALWAYS),
    (libc::SYS_fstat, ALWAYS),
    (libc::SYS_lseek, ALWAYS),
    (libc::SYS_pread64, ALWAYS),
    (libc::SYS_getdents64, ALWAYS),
    (libc::SYS_readlinkat, ALWAYS),
    // Who one is; ends of threads and of the process.
    (libc::SYS_getpid, ALWAYS),
    (libc::SYS_gettid, ALWAYS),
    (libc::SYS_geteuid, ALWAYS),
    (libc::SYS_getuid, ALWAYS),
    (libc::SYS_sigaltstack, ALWAYS),
    (libc::SYS_rt_sigprocmask, ALWAYS),
    (libc::SYS_rt_sigaction, ALWAYS),
    (libc::SYS_rt_sigreturn, ALWAYS),
    (libc::SYS_restart_syscall, ALWAYS),
    (
        libc::SYS_prctl,
        Condition::OneOf(0, &[libc::PR_SET_VMA as u32]),
    ),
    (libc::SYS_exit, ALWAYS),
    (libc::SYS_exit_group, ALWAYS),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, ALWAYS),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, ALWAYS),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_readlink, ALWAYS),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
        result.err().and_then(|e| e.raw_os_error())
    }

    #[test]
    fn a_confined_thread_serves_and_can_do_nothing_else() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        let thread = std::thread::spawn(move || {
            try_thread(0).unwrap();
            assert!(confine::allow_only_here(CALLS).unwrap());
            // Its work.
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let own = listener.local_addr().unwrap();
            let soon = std::time::Duration::from_secs(5);
            let mut out = TcpStream::connect_timeout(&own, soon).unwrap();
            let (mut back, _) = listener.accept().unwrap();
            out.set_nonblocking(true).unwrap();
            out.write_all(b"x").unwrap();
            let mut got = [0];
            back.read_exact(&mut got).unwrap();
            drop(std::fs::metadata(RESOLV_CONF));
            drop(std::fs::read(RESOLV_CONF));
            let poller = crate::sys::event::Poller::new();
            // Made before, in the role.
            assert!(poller.is_err());
            assert_eq!(vec![1_u8; 8 << 20].len(), 8 << 20, "memory is there");
            // What an intruder would like.
            let refused = Some(libc::EPERM);
            assert_eq!(
                errno(std::process::Command::new("/bin/true").spawn()),
                refused
            );
            assert_eq!(errno(std::thread::Builder::new().spawn(|| ())), refused);
            assert_eq!(errno(std::fs::write(&path, "x")), refused);
            assert_eq!(
                errno(std::fs::create_dir(path.with_extension("d"))),
                refused
            );
            assert_eq!(errno(std::fs::remove_file(&path)), refused);
            assert_eq!(errno(std::os::unix::net::UnixStream::pair()), refused);
            let own = rustix::process::getpid();
            let signal = rustix::process::Signal::KILL;
            assert!(rustix::process::kill_process(own, signal).is_err());
            assert!(rustix::process::chdir("/").is_err());
            assert_eq!(caps::get().unwrap_err().errno, libc::EPERM);
        });
        thread.join().unwrap();
        assert!(file.path().exists());
    }
}
