//! The role: one loop over the connections of monitors.

mod janitor;
mod nets;
mod outlet;
mod plug;
mod services;
mod starter;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use janitor::Janitor;
use nets::scope;
use plug::target;
use services::Service;
use starter::Starter;

use super::confine;
use super::dns;
use super::dns::names::{Place, Resident};
use super::inside::Inside;
use super::links;
use super::ports::{self, Front};
use super::protocol::{self, Attach, Attached, Endpoint, LIMIT, Request};
use super::rules::{Balance, Refusal};
use crate::base::{Context as _, Error, Hint as _, Result};
use crate::network::namespace::{self, Namespace, Settings};
use crate::network::plan::NetworkPlan;
use crate::network::ports::{self as host_ports, Held};
use crate::state::network::{AttachedNetwork, NetworkRecord};
use crate::state::options::PortMapping;
use crate::sys::event::{Interest, Poller};
use crate::sys::{fd, nl};

/// How long it stays when nobody is connected: the next container starts the faster.
const LINGER: Duration = Duration::from_secs(3);

/// How often in a row an uplink is started again.
const UPLINK_TRIES: u32 = 10;

/// The first delay; it doubles.
const UPLINK_DELAY: Duration = Duration::from_millis(100);

/// Routes where nobody chose a metric: as podman's.
const METRIC: u32 = 100;

/// An uplink that ran for so long was a good one.
const UPLINK_GOOD: Duration = Duration::from_secs(10);

const LISTENER: u64 = 0;
const UPLINK_TOKEN: u64 = 1;
const STARTER: u64 = 2;
/// Connections count from here.
const CLIENTS: u64 = 16;

/// How the namespace of bridges reaches the outside.
#[derive(Clone, Debug)]
pub struct Outlet {
    /// The uplink.
    pub plan: Option<NetworkPlan>,
    /// Why there is none, for the person.
    pub missing: Option<String>,
}

/// A network that is set up.
#[derive(Debug)]
struct Net {
    record: NetworkRecord,
    index: u32,
    /// The address that was given last, by subnet: the next one follows.
    last: BTreeMap<usize, IpAddr>,
}

/// A container.
#[derive(Debug)]
struct Member {
    attach: Attach,
    attached: Attached,
}

/// A connection.
#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    member: Option<Member>,
}

struct Server<'a> {
    poller: Poller,
    listener: OwnedFd,
    namespace: Namespace,
    route: nl::Socket,
    inside: Inside,
    filter: nl::Socket,
    outlet: &'a Outlet,
    starter: Option<Starter>,
    /// Readable when the uplink ended.
    uplink: Option<OwnedFd>,
    uplink_since: Instant,
    uplink_at: Option<Instant>,
    uplink_tries: u32,
    dns: dns::Handle,
    ports: ports::Handle,
    janitor: Janitor,
    nets: BTreeMap<String, Net>,
    clients: HashMap<u64, Client>,
    /// By their ids.
    services: BTreeMap<String, Service>,
    /// What the rules say of them.
    balanced: Vec<Balance>,
    next: u64,
    refusal: Refusal,
}

/// Serves until nobody is connected any more; answers the exit code of the process.
pub(super) fn serve(
    listener: OwnedFd,
    bridges: Option<OwnedFd>,
    outlet: &Outlet,
    folder: &Path,
) -> u8 {
    // Each published port, flow and question is a descriptor.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _refused = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
    let held = [Some(listener.as_fd()), bridges.as_ref().map(|b| b.as_fd())];
    let held: Vec<BorrowedFd<'_>> = held.into_iter().flatten().collect();
    let made = match Starter::fork(outlet, folder, &held) {
        Ok(starter) => Server::new(listener, bridges, outlet, starter),
        Err(error) => Err(Failed { listener, error }),
    };
    match made {
        Ok(mut server) => {
            confine::thread(confine::OF_NETWORKS);
            confine::process();
            server.run();
            0
        }
        Err(failed) => {
            failed.tell_all();
            1
        }
    }
}

/// A role that could not be set up: whoever connects hears why.
struct Failed {
    listener: OwnedFd,
    error: Error,
}

impl Failed {
    fn tell_all(self) {
        let soon = Some(Duration::from_secs(1));
        let error = Err(self.error);
        while fd::wait_readable(&self.listener, soon).unwrap_or(false) {
            let Ok(socket) = fd::accept(&self.listener) else {
                return;
            };
            if fd::wait_readable(&socket, soon).unwrap_or(false) {
                drop(fd::receive(&socket, LIMIT));
                drop(protocol::answer(&socket, &error, &[]));
            }
        }
    }
}

impl<'a> Server<'a> {
    fn new(
        listener: OwnedFd,
        bridges: Option<OwnedFd>,
        outlet: &'a Outlet,
        starter: Option<Starter>,
    ) -> std::result::Result<Self, Failed> {
        match Self::set_up(bridges) {
            Ok((poller, namespace, route, inside, filter, dns, ports, janitor)) => {
                drop(poller.add(&listener, LISTENER, Interest::READ));
                if let Some(starter) = &starter {
                    drop(poller.add(starter.socket(), STARTER, Interest::READ));
                }
                Ok(Self {
                    poller,
                    listener,
                    namespace,
                    route,
                    inside,
                    filter,
                    outlet,
                    starter,
                    uplink: None,
                    uplink_since: Instant::now(),
                    uplink_at: None,
                    uplink_tries: 0,
                    dns,
                    ports,
                    janitor,
                    nets: BTreeMap::new(),
                    clients: HashMap::new(),
                    services: BTreeMap::new(),
                    balanced: Vec::new(),
                    next: CLIENTS,
                    refusal: Refusal::Reject,
                })
            }
            Err(error) => Err(Failed { listener, error }),
        }
    }

    #[expect(
        clippy::type_complexity,
        reason = "the parts of one value, made in order"
    )]
    fn set_up(
        bridges: Option<OwnedFd>,
    ) -> Result<(
        Poller,
        Namespace,
        nl::Socket,
        Inside,
        nl::Socket,
        dns::Handle,
        ports::Handle,
        Janitor,
    )> {
        let what = || "cannot set up the namespace of networks";
        let settings = Settings {
            ping_groups: None,
            ..Settings::default()
        };
        let namespace = match bridges {
            Some(bridges) => namespace::prepare(bridges, settings),
            None => namespace::create(settings),
        };
        let mut namespace = namespace.what(what)?;
        let route = namespace
            .links
            .take()
            .ok_or_else(|| Error::internal(what()))?;
        let again = || namespace.fd.try_clone().what(what);
        let inside = Inside::enter(again()?)?;
        let filter = inside
            .run(|| {
                settle();
                let filter = nl::Socket::netfilter();
                confine::thread(confine::OF_NETWORKS);
                filter
            })?
            .what(|| "cannot reach nftables")
            .hint(|| "networks need a kernel with nf_tables: `sudo modprobe nf_tables`")?;
        let loopback = route.index("lo")?;
        for v6 in [false, true] {
            let mut batch = nl::Batch::new();
            links::deliver_marked(&mut batch, loopback, v6);
            match route.ask(batch) {
                Ok(()) => {}
                // Set up by an earlier role; or a host without IPv6.
                Err(e) if e.errno == libc::EEXIST || v6 => log::info!("{e}"),
                Err(e) => return Err(e).what(what),
            }
        }
        let dns = dns::Handle::start()?;
        let ports = ports::Handle::start(again()?)?;
        let janitor = Janitor::start(again()?)?;
        Ok((
            Poller::new()?,
            namespace,
            route,
            inside,
            filter,
            dns,
            ports,
            janitor,
        ))
    }

    fn run(&mut self) {
        let mut idle_since = Instant::now();
        loop {
            let now = Instant::now();
            if !self.clients.is_empty() {
                idle_since = now;
            }
            let idle = idle_since + LINGER;
            if self.clients.is_empty() && now >= idle {
                return;
            }
            let wake = [self.clients.is_empty().then_some(idle), self.uplink_at];
            let patience = wake
                .into_iter()
                .flatten()
                .min()
                .map(|w| w.saturating_duration_since(now));
            for event in self.poller.wait(patience).unwrap_or_default() {
                match event.token {
                    LISTENER => self.accept(),
                    UPLINK_TOKEN => self.uplink_ended(),
                    // Without it there is no other uplink: the monitors start another role.
                    STARTER => return,
                    client => self.serve(client),
                }
            }
            if self.uplink_at.is_some_and(|at| at <= Instant::now()) {
                self.uplink_at = None;
                self.start_uplink();
            }
        }
    }

    fn accept(&mut self) {
        let Ok(socket) = fd::accept(&self.listener) else {
            return;
        };
        // The folder is closed to others; this is the second lock on the door.
        let own = rustix::process::geteuid();
        if !rustix::net::sockopt::socket_peercred(&socket).is_ok_and(|c| c.uid == own) {
            return;
        }
        let token = self.next;
        self.next += 1;
        if self.poller.add(&socket, token, Interest::READ).is_ok() {
            self.clients.insert(
                token,
                Client {
                    socket,
                    member: None,
                },
            );
        }
    }

    fn serve(&mut self, token: u64) {
        let Some(client) = self.clients.get(&token) else {
            return;
        };
        let (bytes, fds) = match fd::receive(&client.socket, LIMIT) {
            Ok((bytes, fds)) if !bytes.is_empty() => (bytes, fds),
            // The monitor ended, or does not want any more.
            _ => {
                self.leave(token);
                if let Some(client) = self.clients.remove(&token) {
                    drop(self.poller.remove(&client.socket));
                }
                return;
            }
        };
        let request = protocol::decode(&bytes);
        let wants_bridges = matches!(request, Ok(Request::Attach(_) | Request::Enter));
        let result = request.and_then(|request| self.obey(token, request, fds));
        let Some(client) = self.clients.get(&token) else {
            return;
        };
        let bridges = [self.namespace.fd.as_fd()];
        let given = if wants_bridges && result.is_ok() {
            &bridges[..]
        } else {
            &[]
        };
        // A client that is gone is seen by its socket.
        drop(protocol::answer(&client.socket, &result, given));
    }

    fn obey(&mut self, token: u64, request: Request, fds: Vec<OwnedFd>) -> Result<Attached> {
        match request {
            Request::Attach(attach) => self.attach(token, *attach, fds),
            Request::Connect(endpoint) => self.connect(token, *endpoint, fds),
            Request::Disconnect { network } => self.disconnect(token, &network),
            Request::Leave => {
                self.leave(token);
                Ok(Attached::default())
            }
            Request::Update { record } => {
                if let Some(net) = self.nets.get_mut(&record.id) {
                    net.record.dns_servers.clone_from(&record.dns_servers);
                    let scope = scope(&net.record);
                    self.dns.directory().set_scope(&record.id, scope);
                }
                Ok(Attached::default())
            }
            Request::Ready { ready } => {
                self.member(token)?.attach.ready = ready;
                self.publish_names(token);
                self.see_to_services()?;
                Ok(Attached::default())
            }
            Request::Service { front } => {
                self.know_service(*front)?;
                self.see_to_services()?;
                Ok(Attached::default())
            }
            Request::Forget { service } => {
                self.forget_service(&service);
                self.see_to_services()?;
                Ok(Attached::default())
            }
            Request::Reload => {
                self.apply_rules()?;
                Ok(Attached::default())
            }
            Request::Enter => Ok(Attached {
                notices: self.ensure_uplink().into_iter().collect(),
                ..Attached::default()
            }),
        }
    }

    fn attach(&mut self, token: u64, attach: Attach, fds: Vec<OwnedFd>) -> Result<Attached> {
        let (namespace, links) = two(fds)?;
        if self.clients.get(&token).is_some_and(|c| c.member.is_some()) {
            return Err(Error::invalid("this connection has a container already"));
        }
        let mut attached = Attached::default();
        for endpoint in &attach.endpoints {
            self.ensure(&endpoint.network)?;
        }
        if attach.endpoints.iter().any(|e| !e.network.internal) {
            attached.notices.extend(self.ensure_uplink());
        }
        let joined = self
            .join_all(token, &attach, &namespace, &links, &mut attached)
            .and_then(|()| {
                let mut fronts = attach.services.iter();
                fronts.try_for_each(|front| self.know_service(front.clone()))
            });
        if let Err(e) = joined {
            drop(self.ports.close(token));
            self.unplug(&attached.networks);
            return Err(e);
        }
        let member = Member {
            attach,
            attached: attached.clone(),
        };
        if let Some(client) = self.clients.get_mut(&token) {
            client.member = Some(member);
        }
        self.publish_names(token);
        self.see_to_services()?;
        Ok(attached)
    }

    fn join_all(
        &mut self,
        token: u64,
        attach: &Attach,
        namespace: &OwnedFd,
        links: &nl::Socket,
        attached: &mut Attached,
    ) -> Result<()> {
        let taken: BTreeSet<IpAddr> = attach.taken.iter().copied().collect();
        for (place, endpoint) in attach.endpoints.iter().enumerate() {
            let network = self.plug(endpoint, place, namespace, links, &taken)?;
            attached.networks.push(network);
        }
        self.ports.target(token, target(&attached.networks))?;
        for mapping in &attach.ports {
            let mapping = self.publish(token, mapping)?;
            attached.ports.push(mapping);
        }
        Ok(())
    }

    /// Opens a port of the host for a container or a service; answers it with the numbers chosen.
    fn publish(&self, number: u64, mapping: &PortMapping) -> Result<PortMapping> {
        let mut mapping = mapping.clone();
        for (held, port) in host_ports::open(&mut mapping)?
            .into_iter()
            .zip(mapping.container_port..)
        {
            let front = match held {
                Held::Tcp(socket) => socket.set_nonblocking(true).map(|()| Front::Tcp(socket)),
                Held::Udp(socket) => socket.set_nonblocking(true).map(|()| Front::Udp(socket)),
            };
            let front = front.what(|| "cannot prepare a published port")?;
            self.ports.open(number, front, port)?;
        }
        Ok(mapping)
    }

    fn connect(&mut self, token: u64, endpoint: Endpoint, fds: Vec<OwnedFd>) -> Result<Attached> {
        let (namespace, links) = two(fds)?;
        self.ensure(&endpoint.network)?;
        let mut notices = Vec::new();
        if !endpoint.network.internal {
            notices.extend(self.ensure_uplink());
        }
        let place = self.member(token)?.attached.networks.len();
        let network = self.plug(&endpoint, place, &namespace, &links, &BTreeSet::new())?;
        let member = self.member(token)?;
        member.attach.endpoints.push(endpoint);
        member.attached.networks.push(network);
        let mut attached = member.attached.clone();
        self.ports.target(token, target(&attached.networks))?;
        self.publish_names(token);
        self.see_to_services()?;
        attached.notices = notices;
        Ok(attached)
    }

    fn disconnect(&mut self, token: u64, name: &str) -> Result<Attached> {
        let member = self.member(token)?;
        let networks = &mut member.attached.networks;
        let Some(place) = networks.iter().position(|n| n.name.as_str() == name) else {
            return Err(Error::not_found(format!(
                "the container is not on network {name:?}"
            )));
        };
        let gone = networks.remove(place);
        member
            .attach
            .endpoints
            .retain(|e| e.network.name.as_str() != name);
        let attached = member.attached.clone();
        self.publish_names(token);
        self.ports.target(token, target(&attached.networks))?;
        self.see_to_services()?;
        self.remove_now(&gone.host_interface)?;
        Ok(attached)
    }

    fn member(&mut self, token: u64) -> Result<&mut Member> {
        self.clients
            .get_mut(&token)
            .and_then(|c| c.member.as_mut())
            .ok_or_else(|| Error::invalid("this connection has no container"))
    }

    /// A container ended.
    fn leave(&mut self, token: u64) {
        let Some(member) = self.clients.get_mut(&token).and_then(|c| c.member.take()) else {
            return;
        };
        self.dns.directory().remove(token);
        if !member.attach.services.is_empty() {
            drop(self.see_to_services());
        }
        if !(member.attached.ports.is_empty() && member.attach.services.is_empty()) {
            drop(self.ports.close(token));
        }
        self.unplug(&member.attached.networks);
    }

    /// Takes cables away, later: the kernel takes some milliseconds for each, and most go with
    /// their container's namespace anyway.
    fn unplug(&self, networks: &[AttachedNetwork]) {
        for network in networks {
            self.janitor.remove(&network.host_interface);
        }
    }

    /// Returns when all cables are away that were to be taken.
    fn wait_for_janitor(&self) -> Result<()> {
        self.janitor.wait()
    }

    /// Takes a cable away now: the container must see it gone.
    fn remove_now(&self, name: &str) -> Result<()> {
        janitor::remove(&self.route, name).what(|| format!("cannot remove the device {name}"))
    }

    /// Tells the name service what a container is called.
    fn publish_names(&self, token: u64) {
        let Some(member) = self.clients.get(&token).and_then(|c| c.member.as_ref()) else {
            return;
        };
        let places = member.attached.networks.iter().map(|n| {
            let mut names = vec![
                member.attach.name.clone(),
                member.attach.id.short().to_owned(),
            ];
            names.extend(n.aliases.iter().cloned());
            names.extend(services::names_of_replica(&member.attach, n.name.as_str()));
            Place {
                network: n.id.clone(),
                addresses: n.addresses.iter().map(|a| a.address).collect(),
                names,
            }
        });
        let resident = Resident {
            places: places.collect(),
            servers: member.attach.dns.clone(),
        };
        self.dns.directory().set(token, resident);
    }
}

/// The descriptors of a request: the container's namespace, and a socket in it.
fn two(fds: Vec<OwnedFd>) -> Result<(OwnedFd, nl::Socket)> {
    let mut fds = fds.into_iter();
    match (fds.next(), fds.next()) {
        (Some(namespace), Some(links)) => Ok((namespace, nl::Socket::from(links))),
        _ => Err(Error::invalid("the request lacks descriptors")),
    }
}

/// Settings of the namespace of bridges; none is there on every kernel.
fn settle() {
    for (name, value) in [
        ("net.ipv4.ip_forward", "1"),
        // Who asks a service's address is led to a neighbour: nothing to be told of.
        ("net.ipv4.conf.all.send_redirects", "0"),
        ("net.ipv4.conf.default.send_redirects", "0"),
        ("net.ipv6.conf.all.forwarding", "1"),
        ("net.ipv6.conf.default.accept_ra", "0"),
        // Frames between containers are none of the rules' business.
        ("net.bridge.bridge-nf-call-iptables", "0"),
        ("net.bridge.bridge-nf-call-ip6tables", "0"),
        ("net.bridge.bridge-nf-call-arptables", "0"),
    ] {
        if let Err(e) = namespace::write_sysctl(name, value) {
            log::info!("{}", e.one_line());
        }
    }
}
