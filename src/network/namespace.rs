//! The network namespace: made in a thread, so that it costs the start nothing.
//!
//! Making one takes about half a millisecond; the caller mounts the root file system meanwhile and
//! joins the thread before it forks. The thread alone changes its namespace.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread::JoinHandle;

use nix::sched::CloneFlags;

use crate::base::{Context as _, Error, Hint as _, Kind, Result};
use crate::sys::netlink::Route;
use crate::sys::{Call as _, interface, nl};

/// What is set inside before anybody runs there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Groups that may ping without a capability, first and last as ids of the namespace's user
    /// namespace; absent leaves the kernel's default (none).
    pub ping_groups: Option<(u32, u32)>,
    /// `--sysctl net.*`, names with dots.
    pub sysctls: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ping_groups: Some((0, 0)),
            sysctls: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Takes the `net.*` ones of `sysctls`, and opens ping for the groups 0 to `last_gid`.
    pub fn new(sysctls: &BTreeMap<String, String>, last_gid: u32) -> Self {
        Self {
            ping_groups: Some((0, last_gid)),
            sysctls: sysctls
                .iter()
                .filter(|(name, _)| name.starts_with("net."))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        }
    }

    /// The same for the same settings, and for no others.
    pub fn describe(&self) -> String {
        format!("{self:?}")
    }
}

/// Where clouds answer questions about the machine, credentials included.
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// A network namespace with its loopback up.
#[derive(Debug)]
pub struct Namespace {
    /// The namespace itself.
    pub fd: OwnedFd,
    /// Hears of routes in it; opened inside.
    pub routes: Route,
    /// Sets devices, addresses and routes in it; opened inside. Gone once nobody needs it.
    pub links: Option<nl::Socket>,
}

impl Namespace {
    /// The same namespace and sockets once more.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn try_clone(&self) -> Result<Self> {
        let again =
            |fd: BorrowedFd<'_>| fd.try_clone_to_owned().what(|| "cannot copy a descriptor");
        Ok(Self {
            fd: again(self.fd.as_fd())?,
            routes: Route::from(again(self.routes.as_fd())?),
            links: match &self.links {
                Some(links) => Some(nl::Socket::from(again(links.as_fd())?)),
                None => None,
            },
        })
    }
}

impl From<Namespace> for Vec<OwnedFd> {
    /// For another process: the namespace first.
    fn from(namespace: Namespace) -> Self {
        let links = namespace.links.map(OwnedFd::from);
        Self::from_iter(
            [namespace.fd, namespace.routes.into()]
                .into_iter()
                .chain(links),
        )
    }
}

impl Namespace {
    /// What another process made of a namespace; `None` unless it is all there.
    pub fn received(fds: Vec<OwnedFd>) -> Option<Self> {
        let [fd, routes, links] = fds.try_into().ok()?;
        Some(Self {
            fd,
            routes: Route::from(routes),
            links: Some(nl::Socket::from(links)),
        })
    }
}

/// Starts [`create`] in a thread of its own.
///
/// # Errors
/// When no thread can be started.
pub fn spawn(settings: Settings) -> Result<JoinHandle<Result<Namespace>>> {
    std::thread::Builder::new()
        .name("netns".to_owned())
        .stack_size(128 << 10)
        .spawn(move || create_here(&settings))
        .what(|| "cannot start a thread")
}

/// Waits for what [`spawn`] started.
///
/// # Errors
/// As [`create`].
pub fn join(thread: JoinHandle<Result<Namespace>>) -> Result<Namespace> {
    thread.join().unwrap_or_else(|_| {
        Err(Error::internal(
            "the thread that makes the network panicked",
        ))
    })
}

/// Makes a namespace owned by the caller's user namespace: loopback up, settings applied.
///
/// # Errors
/// `Denied` without `CAP_SYS_ADMIN` in the user namespace; `Invalid` for a sysctl that the kernel
/// refuses.
pub fn create(settings: Settings) -> Result<Namespace> {
    join(spawn(settings)?)
}

/// Prepares a namespace that somebody else made (that of a nested user namespace).
///
/// # Errors
/// As [`create`].
pub fn prepare(fd: OwnedFd, settings: Settings) -> Result<Namespace> {
    let thread = std::thread::Builder::new()
        .name("netns".to_owned())
        .stack_size(128 << 10)
        .spawn(move || {
            nix::sched::setns(&fd, CloneFlags::CLONE_NEWNET)
                .call("setns", || "net".to_owned())
                .what(|| "cannot enter the container's network")?;
            finish(fd, watch()?, &settings)
        })
        .what(|| "cannot start a thread")?;
    join(thread)
}

fn create_here(settings: &Settings) -> Result<Namespace> {
    let what = || "cannot make a network namespace";
    nix::sched::unshare(CloneFlags::CLONE_NEWNET)
        .call("unshare", || "CLONE_NEWNET".to_owned())
        .what(what)
        .hint(|| "`coracle doctor` says whether user namespaces work here")?;
    let routes = watch()?;
    let fd = match routes.namespace() {
        Ok(fd) => fd,
        // Not as root of a namespace that something keeps from it.
        Err(_) => std::fs::File::open("/proc/thread-self/ns/net")
            .what(what)?
            .into(),
    };
    finish(fd, routes, settings)
}

fn watch() -> Result<Route> {
    Route::open().what(|| "cannot watch the container's network")
}

/// In the namespace: loopback and sysctls.
fn finish(fd: OwnedFd, routes: Route, settings: &Settings) -> Result<Namespace> {
    let links = nl::Socket::route().what(|| "cannot set up the container's network")?;
    interface::loopback_up().what(|| "cannot bring the loopback up")?;
    // A cloud's metadata service hands out the machine's keys to whoever asks: not to containers.
    // Not fatal where routes of that type are not built in.
    if let Err(e) = routes.close(METADATA) {
        log::info!("{e}");
    }
    let own_ping = settings.sysctls.contains_key("net.ipv4.ping_group_range");
    if let Some((first, last)) = settings.ping_groups.filter(|_| !own_ping) {
        // Not fatal: a kernel may lack ping sockets, and ping then wants a capability as ever.
        drop(write_sysctl(
            "net.ipv4.ping_group_range",
            &format!("{first} {last}"),
        ));
    }
    let low_ports = "net.ipv4.ip_unprivileged_port_start";
    if !settings.sysctls.contains_key(low_ports) {
        // As docker: a service that runs as a plain user may have port 80 of its own network.
        drop(write_sysctl(low_ports, "0"));
    }
    for (name, value) in &settings.sysctls {
        write_sysctl(name, value)?;
    }
    Ok(Namespace {
        fd,
        routes,
        links: Some(links),
    })
}

/// Writes below `/proc/sys`, which shows the calling thread's network namespace under `net`.
///
/// # Errors
/// `NotFound`, `Denied`, or `Invalid` for a value that the kernel refuses.
pub fn write_sysctl(name: &str, value: &str) -> Result<()> {
    let what = || format!("cannot set sysctl {name}={value}");
    // Names come from the person, but a slash must not lead out of the folder.
    let is_plain = name.starts_with("net.")
        && name
            .split('.')
            .all(|w| !w.is_empty() && !w.contains('/') && w != "..");
    if !is_plain {
        return Err(Error::invalid(what()));
    }
    let path = Path::new("/proc/sys").join(name.replace('.', "/"));
    let write = || {
        std::fs::File::options()
            .write(true)
            .open(&path)?
            .write_all(value.as_bytes())
    };
    write().map_err(|e| {
        let kind = match e.raw_os_error() {
            Some(libc::ENOENT) => Kind::NotFound,
            Some(libc::EACCES | libc::EPERM) => Kind::Denied,
            _ => Kind::Invalid,
        };
        Error::new(kind, what()).because(e)
    })
}

/// Opens a network namespace by path, for `--network ns:PATH`.
///
/// # Errors
/// `NotFound`; `Invalid` when it is not a network namespace.
pub fn open(path: &Path) -> Result<OwnedFd> {
    let what = || format!("cannot use the network namespace {}", path.display());
    let file = std::fs::File::open(path).what(what)?;
    if !is_network(&file) {
        return Err(Error::invalid(what()).because("it is not a network namespace"));
    }
    Ok(file.into())
}

/// Whether a descriptor is a network namespace.
fn is_network(fd: impl AsFd) -> bool {
    use std::os::fd::AsRawFd as _;
    let link = format!("/proc/thread-self/fd/{}", fd.as_fd().as_raw_fd());
    std::fs::read_link(link).is_ok_and(|target| target.to_string_lossy().starts_with("net:["))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::time::Duration;

    #[test]
    fn only_sysctls_of_the_network_are_written() {
        for name in [
            "kernel.hostname",
            "net",
            "net..x",
            "net.../etc",
            "net.a/b",
            "net.ipv4.no_such_thing",
        ] {
            assert!(write_sysctl(name, "1").is_err(), "{name}");
        }
    }

    #[test]
    fn a_fresh_namespace_has_a_loopback_settings_and_no_metadata_service() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: not root");
            return;
        }
        let name = "net.ipv4.ip_unprivileged_port_start";
        let settings = Settings::new(
            &BTreeMap::from([
                (name.to_owned(), "80".to_owned()),
                ("kernel.msgmax".to_owned(), "1".to_owned()),
            ]),
            7,
        );
        let before = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let namespace = create(settings).unwrap();
        assert_eq!(
            std::fs::read_link("/proc/thread-self/ns/net").unwrap(),
            before
        );
        let fd = namespace.fd.try_clone().unwrap();
        assert!(is_network(&fd));
        let inside = std::thread::spawn(move || {
            nix::sched::setns(fd, CloneFlags::CLONE_NEWNET).unwrap();
            let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let at = listener.local_addr().unwrap();
            assert!(TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_ok());
            let metadata = SocketAddr::new(METADATA.into(), 80);
            let refused = TcpStream::connect_timeout(&metadata, Duration::from_secs(1));
            let read = |path: &str| std::fs::read_to_string(path).unwrap();
            (
                refused.unwrap_err().raw_os_error(),
                read("/proc/sys/net/ipv4/ping_group_range"),
                read("/proc/sys/net/ipv4/ip_unprivileged_port_start"),
            )
        });
        let (errno, ping, start) = inside.join().unwrap();
        assert_eq!(errno, Some(libc::EHOSTUNREACH));
        assert_eq!((ping.as_str(), start.as_str()), ("0\t7\n", "80\n"));
    }

    #[test]
    fn a_path_must_be_a_network_namespace() {
        assert!(open(Path::new("/proc/self/ns/net")).is_ok());
        for path in ["/proc/self/ns/uts", "/etc/passwd", "/nowhere"] {
            assert!(open(Path::new(path)).is_err(), "{path}");
        }
    }
}
