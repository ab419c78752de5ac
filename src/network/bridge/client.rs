//! The monitors' side: finding the role or starting it, joining networks, noticing its end.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::protocol::{self, Attach, Attached, Endpoint, Request};
use super::server;
use crate::base::fs as files;
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::containers_conf::ContainersConf;
use crate::network::facts::HostFacts;
use crate::network::namespace::Namespace;
use crate::network::plan;
use crate::state::container::{Status, read_json};
use crate::state::network::NetworkRecord;
use crate::state::options::NetworkOptions;
use crate::state::service::Front;
use crate::sys::namespace::{self, Kind as NamespaceKind};
use crate::sys::{Call as _, daemon, fd, signal};

/// Below the runtime folder.
const FOLDER: &str = "net";
/// After the inode number of the user namespace that the role is in. One that outlives it, because
/// its containers and the holder are gone but not its last seconds, has no right to what belongs to
/// the next user namespace: that has a role of its own.
const SOCKET: &str = "sock";
const LOCK: &str = "lock";

/// How long the role may take to answer: it may have to start an uplink.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(40);

/// How long it may take to say good-bye.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(2);

/// A container's place on its networks. Dropping it leaves them all.
#[derive(Debug)]
pub struct Membership {
    runtime: PathBuf,
    socket: OwnedFd,
    /// The namespace of bridges, which lives as long as somebody holds it.
    bridges: OwnedFd,
    namespace: Namespace,
    attach: Attach,
    uplink: server::Outlet,
    /// Whether this process is the one whose end is the container's: the fork that started it drops
    /// its own copy.
    is_own: bool,
    /// What the container has now.
    pub attached: Attached,
}

/// Puts a container on its networks; the role is started where there is none. This process has one
/// thread and is in the user namespace.
///
/// # Errors
/// The role's own: `InUse` for a port or an address that is taken; what starting it says.
pub fn attach(
    runtime: &Path,
    namespace: Namespace,
    mut attach: Attach,
    uplink: server::Outlet,
) -> Result<Membership> {
    attach.taken = taken(runtime);
    let (socket, attached, bridges) = reach(runtime, None, &uplink, &attach, &namespace)?;
    Ok(Membership {
        runtime: runtime.to_owned(),
        socket,
        bridges,
        namespace,
        attach,
        uplink,
        is_own: false,
        attached,
    })
}

/// What the role needs to know about the host for its uplink.
///
/// # Errors
/// As [`plan::uplinks_for_bridges`].
pub fn outlet(facts: &HostFacts, conf: &ContainersConf) -> Result<server::Outlet> {
    let (plan, missing) = plan::uplinks_for_bridges(facts, conf)?;
    Ok(server::Outlet { plan, missing })
}

/// Connects and introduces the container. A role that ends in this very moment, because nobody was
/// there any more, or because it was killed, is replaced.
fn reach(
    runtime: &Path,
    bridges: Option<&OwnedFd>,
    uplink: &server::Outlet,
    attach: &Attach,
    namespace: &Namespace,
) -> Result<(OwnedFd, Attached, OwnedFd)> {
    let mut tries = 3;
    loop {
        tries -= 1;
        let own = bridges
            .map(|b| b.try_clone().what(|| "cannot copy a descriptor"))
            .transpose()?;
        let socket = connect(runtime, own, uplink)?;
        match introduce(&socket, attach, namespace) {
            Ok((attached, bridges)) => return Ok((socket, attached, bridges)),
            Err(e) if e.kind() == Kind::Unavailable && tries > 0 => log::info!("{}", e.one_line()),
            Err(e) => return Err(e),
        }
    }
}

fn introduce(
    socket: &OwnedFd,
    attach: &Attach,
    namespace: &Namespace,
) -> Result<(Attached, OwnedFd)> {
    let fds = descriptors(namespace)?;
    let request = Request::Attach(Box::new(attach.clone()));
    let (attached, mut fds) = call(socket, &request, &fds)?;
    let bridges = fds
        .pop()
        .ok_or_else(|| Error::internal("the network role gave no namespace"))?;
    Ok((attached, bridges))
}

/// What goes with a request that plugs a container in.
fn descriptors(namespace: &Namespace) -> Result<[BorrowedFd<'_>; 2]> {
    let links = namespace.links.as_ref();
    let links = links.ok_or_else(|| Error::internal("the container's network cannot be set up"))?;
    Ok([namespace.fd.as_fd(), links.as_fd()])
}

fn call(
    socket: &OwnedFd,
    request: &Request,
    fds: &[BorrowedFd<'_>],
) -> Result<(Attached, Vec<OwnedFd>)> {
    protocol::ask(socket, request, fds)
        .map_err(|e| Error::new(Kind::Unavailable, "the network role went away").because(e))?;
    if !fd::wait_readable(socket, Some(PATIENCE))? {
        return Err(Error::new(
            Kind::TimedOut,
            format!(
                "the network role gave no answer in {} s",
                PATIENCE.as_secs()
            ),
        ));
    }
    protocol::receive(socket)
}

impl Membership {
    /// The monitor takes it over: dropping it there says good-bye, so that its ports are free.
    pub fn keep(&mut self) {
        self.is_own = true;
    }

    /// Readable when the role ended.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The inode of the namespace of bridges, for the status.
    pub fn bridges(&self) -> Option<u64> {
        namespace::inode(&self.bridges).ok()
    }

    /// The role ended: starts it again, unless somebody else did, and tells it what the container
    /// has.
    ///
    /// # Errors
    /// As [`attach`].
    pub fn again(&mut self) -> Result<()> {
        let mut attach = self.attach.clone();
        attach.ports.clone_from(&self.attached.ports);
        attach.taken = taken(&self.runtime);
        for endpoint in &mut attach.endpoints {
            let present = |n: &&crate::state::network::AttachedNetwork| n.id == endpoint.network.id;
            endpoint.present = self.attached.networks.iter().find(present).cloned();
        }
        let bridges = self
            .bridges
            .try_clone()
            .what(|| "cannot copy a descriptor")?;
        (self.socket, self.attached, self.bridges) = reach(
            &self.runtime,
            Some(&bridges),
            &self.uplink,
            &attach,
            &self.namespace,
        )?;
        Ok(())
    }

    /// Tells whether the container takes connections for its services.
    ///
    /// # Errors
    /// `Unavailable` when the role is gone: the next one is told by [`Membership::again`].
    pub fn ready(&mut self, ready: bool) -> Result<()> {
        if self.attach.services.is_empty() || self.attach.ready == ready {
            return Ok(());
        }
        self.attach.ready = ready;
        call(&self.socket, &Request::Ready { ready }, &[]).map(drop)
    }

    /// One network more.
    ///
    /// # Errors
    /// As [`attach`].
    pub fn connect(&mut self, mut endpoint: Endpoint) -> Result<()> {
        if self
            .attach
            .endpoints
            .iter()
            .any(|e| e.network.id == endpoint.network.id)
        {
            return Err(Error::new(
                Kind::Exists,
                format!(
                    "it is on network {:?} already",
                    endpoint.network.name.as_str()
                ),
            ));
        }
        if endpoint.interface.is_empty() {
            let taken = |name: &str| self.attached.networks.iter().any(|n| n.interface == name);
            endpoint.interface = (0..)
                .map(|n| format!("eth{n}"))
                .find(|n| !taken(n))
                .unwrap_or_default();
        }
        let fds = descriptors(&self.namespace)?;
        let request = Request::Connect(Box::new(endpoint.clone()));
        (self.attached, _) = call(&self.socket, &request, &fds)?;
        self.attach.endpoints.push(endpoint);
        Ok(())
    }

    /// One network less.
    ///
    /// # Errors
    /// `NotFound` when it is not on it.
    pub fn disconnect(&mut self, network: &str) -> Result<()> {
        let request = Request::Disconnect {
            network: network.to_owned(),
        };
        (self.attached, _) = call(&self.socket, &request, &[])?;
        self.attach
            .endpoints
            .retain(|e| e.network.name.as_str() != network);
        Ok(())
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // The ports must be free when the container counts as ended. A role that is gone, or that
        // takes too long, hears of it by the closed socket.
        if self.is_own
            && !(self.attached.ports.is_empty() && self.attach.services.is_empty())
            && protocol::ask(&self.socket, &Request::Leave, &[]).is_ok()
            && fd::wait_readable(&self.socket, Some(FAREWELL)).unwrap_or(false)
        {
            drop(protocol::receive(&self.socket));
        }
    }
}

/// The namespace of bridges, entered by a command.
#[derive(Debug)]
pub struct Visit {
    /// The namespace.
    pub bridges: OwnedFd,
    /// The role stays while this is open.
    pub socket: OwnedFd,
    /// Lines for the person.
    pub notices: Vec<String>,
}

/// Asks for the namespace of bridges; the role is started where there is none. This process has one
/// thread and is in the user namespace.
///
/// # Errors
/// As [`attach`].
pub fn visit(runtime: &Path, uplink: &server::Outlet) -> Result<Visit> {
    let socket = connect(runtime, None, uplink)?;
    let (attached, mut fds) = call(&socket, &Request::Enter, &[])?;
    let bridges = fds
        .pop()
        .ok_or_else(|| Error::internal("the network role gave no namespace"))?;
    Ok(Visit {
        bridges,
        socket,
        notices: attached.notices,
    })
}

/// Tells the role, if one runs, that a record has changed.
///
/// # Errors
/// The role's own.
pub fn update(runtime: &Path, record: &NetworkRecord) -> Result<()> {
    let record = Box::new(record.clone());
    tell(runtime, &Request::Update { record })
}

/// Tells the role, if one runs, how a service is now.
///
/// # Errors
/// `InUse` for a port of the host that is taken.
pub fn service(runtime: &Path, front: Front) -> Result<()> {
    let front = Box::new(front);
    tell(runtime, &Request::Service { front })
}

/// Tells the role, if one runs, that a service is gone.
///
/// # Errors
/// The role's own.
pub fn forget_service(runtime: &Path, id: &str) -> Result<()> {
    let service = id.to_owned();
    tell(runtime, &Request::Forget { service })
}

/// Has the role, if one runs, make its rules anew.
///
/// # Errors
/// The role's own.
pub fn reload(runtime: &Path) -> Result<()> {
    tell(runtime, &Request::Reload)
}

/// Whoever tells something need not be in the user namespace: the role that was started last is the
/// one that serves.
fn tell(runtime: &Path, request: &Request) -> Result<()> {
    let path = runtime.join(FOLDER);
    let Ok(folder) = File::open(&path) else {
        return Ok(());
    };
    let mut names = sockets(&path);
    names.sort_by_key(|(_, made)| std::cmp::Reverse(*made));
    let found = names.iter().find_map(|(name, _)| dial(&folder, name));
    match found {
        Some(socket) => call(&socket, request, &[]).map(drop),
        None => Ok(()),
    }
}

/// The sockets of roles, with the times when they were made.
fn sockets(folder: &Path) -> Vec<(String, Option<SystemTime>)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let is_one = Path::new(&name).extension().is_some_and(|e| e == SOCKET);
            let made = entry.metadata().and_then(|m| m.modified()).ok();
            is_one.then_some((name, made))
        })
        .collect()
}

/// The name of the socket of this process's user namespace.
fn own_socket() -> Result<String> {
    let what = || "cannot tell this process's user namespace";
    let own = File::open("/proc/self/ns/user").what(what)?;
    Ok(format!("{}.{SOCKET}", namespace::inode(own).what(what)?))
}

/// Connects to the role that listens there.
fn dial(folder: &File, name: &str) -> Option<OwnedFd> {
    fd::connect_packets(&short(folder, name)).ok()
}

/// The socket's path, however long the folder's own is.
fn short(folder: &File, name: &str) -> PathBuf {
    Path::new("/proc/self/fd")
        .join(folder.as_raw_fd().to_string())
        .join(name)
}

/// Connects to the role; starts it where nobody listens. `bridges` is the namespace that it is to
/// serve, if this process has it.
fn connect(runtime: &Path, bridges: Option<OwnedFd>, uplink: &server::Outlet) -> Result<OwnedFd> {
    let path = runtime.join(FOLDER);
    let what = || "cannot reach the network role";
    files::create_private_dir_all(&path)?;
    let folder = File::open(&path).what(what)?;
    let name = own_socket()?;
    if let Some(socket) = dial(&folder, &name) {
        return Ok(socket);
    }
    let lock = File::create(path.join(LOCK)).what(what)?;
    lock.lock().what(what)?;
    // Somebody may have been faster.
    if let Some(socket) = dial(&folder, &name) {
        return Ok(socket);
    }
    // Those of roles that ended, in whatever user namespace.
    for (left, _) in sockets(&path) {
        if left == name || dial(&folder, &left).is_none() {
            files::remove_file_if_exists(&path.join(left))?;
        }
    }
    let listener = fd::listen_packets(&short(&folder, &name)).what(what)?;
    // Many may come at once.
    rustix::net::listen(&listener, 512)
        .call("listen", String::new)
        .what(what)?;
    // Containers that run have bridges: those go on.
    let bridges = bridges.or_else(|| find_bridges(runtime));
    start(listener, bridges, uplink, &path)?;
    dial(&folder, &name).ok_or_else(|| Error::internal("the network role does not listen"))
}

/// Forks the role.
fn start(
    listener: OwnedFd,
    bridges: Option<OwnedFd>,
    uplink: &server::Outlet,
    folder: &Path,
) -> Result<()> {
    // Twice, so that it is nobody's child: a monitor reaps its own only.
    let pid = daemon::fork_daemon(move || {
        let grandchild = daemon::fork_daemon(move || {
            let Ok(null) = fd::null() else { return 1 };
            let keep = match bridges {
                Some(bridges) => fd::become_daemon(null, [listener, bridges])
                    .map(|[listener, bridges]| (listener, Some(bridges))),
                None => fd::become_daemon(null, [listener]).map(|[listener]| (listener, None)),
            };
            let Ok((listener, bridges)) = keep else {
                return 1;
            };
            signal::reset_actions();
            for quiet in [libc::SIGHUP, libc::SIGINT, libc::SIGPIPE] {
                signal::ignore(quiet);
            }
            drop(signal::set_mask(&signal::Set::empty()));
            crate::sys::attributes::set_title("coracle net");
            server::serve(listener, bridges, uplink, folder)
        });
        u8::from(grandchild.is_err())
    })
    .what(|| "cannot start the network role")?;
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // It ends at once; somebody else may have reaped it.
        let _gone = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    }
    Ok(())
}

/// What the running containers say they have.
fn statuses(runtime: &Path) -> Vec<Status> {
    let folders = std::fs::read_dir(runtime.join("containers"));
    folders
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| read_json::<Status>(&entry.path().join("status.json")).ok()?)
        .filter(|status| !status.networks.is_empty() && status.monitor.is_alive())
        .collect()
}

/// The addresses of running containers: a role that was just started hears of them only when their
/// monitors come back.
pub fn taken(runtime: &Path) -> Vec<IpAddr> {
    let networks = statuses(runtime).into_iter().flat_map(|s| s.networks);
    networks
        .flat_map(|n| n.addresses.into_iter().map(|a| a.address))
        .collect()
}

/// The namespace of bridges, from a monitor that holds it.
fn find_bridges(runtime: &Path) -> Option<OwnedFd> {
    statuses(runtime).into_iter().find_map(|status| {
        let wanted = status.bridges?;
        let folder = format!("/proc/{}/fd", status.monitor.pid);
        let link = format!("net:[{wanted}]");
        let entry = std::fs::read_dir(folder).ok()?.flatten().find(|entry| {
            std::fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == link.as_str())
        })?;
        let found = namespace::open_path(&entry.path().to_string_lossy()).ok()?;
        let is_it = namespace::is_of_kind(&found, NamespaceKind::Net).unwrap_or(false)
            && namespace::inode(&found).is_ok_and(|inode| inode == wanted)
            && status.monitor.is_alive();
        is_it.then_some(found)
    })
}

/// The endpoints that options ask for.
///
/// # Errors
/// `NotFound` for a network that is not there; `Invalid` for two with one interface name.
pub fn endpoints(
    options: &NetworkOptions,
    find: &dyn Fn(&str) -> Result<NetworkRecord>,
) -> Result<Vec<Endpoint>> {
    let wishes = options.mode.networks();
    let mut list: Vec<Endpoint> = Vec::new();
    for wish in wishes {
        let network = find(&wish.name)?;
        if list.iter().any(|e| e.network.id == network.id) {
            return Err(Error::invalid(format!(
                "network {:?} is given twice",
                network.name.as_str()
            )));
        }
        list.push(Endpoint {
            network,
            wish: wish.clone(),
            interface: wish.interface.clone().unwrap_or_default(),
            present: None,
        });
    }
    let mut names: Vec<String> = list.iter().map(|e| e.interface.clone()).collect();
    for endpoint in &mut list {
        if endpoint.interface.is_empty() {
            let free = (0..)
                .map(|n| format!("eth{n}"))
                .find(|n| !names.contains(n));
            endpoint.interface = free.unwrap_or_default();
            names.push(endpoint.interface.clone());
        } else if names.iter().filter(|n| **n == endpoint.interface).count() > 1 {
            return Err(Error::invalid(format!(
                "two networks want the interface {:?}",
                endpoint.interface
            )));
        }
    }
    Ok(list)
}
