//! From what was asked and what the host offers to what will be done. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::bridge::protocol::Attached;
use super::facts::{HostFacts, Tun};
use super::files::{self, HostsChoice, ResolverChoice};
use super::ports;
use crate::base::{Context as _, Error, Hint as _, Kind as ErrorKind, Result};
use crate::config::containers_conf::ContainersConf;
use crate::state::options::{NetworkMode, NetworkOptions, PortMapping, Protocol};

/// What a container's network is made from.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `--network`, `-p`, `--dns` and their like.
    pub options: &'a NetworkOptions,
    /// The image's `ExposedPorts`: `80/tcp`, `53/udp`, `8000`.
    pub image_ports: &'a [String],
    /// The host name inside.
    pub hostname: &'a str,
    /// `--domainname`.
    pub domain: Option<&'a str>,
    /// The container's name.
    pub name: &'a str,
    /// The image's own `/etc/hosts`, wanted for `--hosts-file image` only.
    pub image_hosts: Option<&'a str>,
    /// `--hosts-file PATH`'s text, wanted for a path only.
    pub hosts_file: Option<&'a str>,
    /// On networks with a name: what the container has there.
    pub attached: Option<&'a Attached>,
}

/// What kind of network a container has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Loopback only.
    None,
    /// The host's.
    Host,
    /// That of another container, by name or id.
    Container(String),
    /// By path.
    Path(PathBuf),
    /// A namespace of its own with an uplink.
    Uplink,
    /// A namespace of its own on bridges.
    Bridge,
}

/// The whole plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPlan {
    /// The kind.
    pub kind: Kind,
    /// Uplinks to try, in this order; empty unless the kind is [`Kind::Uplink`].
    pub uplinks: Vec<UplinkPlan>,
    /// Ports to publish. Host port 0 is chosen by [`ports::settle`].
    pub ports: Vec<PortMapping>,
    /// Addresses inside, with an uplink of fixed addresses.
    pub addresses: Option<Addresses>,
    /// Text of `/etc/resolv.conf`; absent leaves the image's, or means the other container's.
    pub resolv_conf: Option<String>,
    /// Text of `/etc/hosts`; absent leaves the image's, or means the other container's.
    pub hosts: Option<String>,
    /// Lines for the person, one each.
    pub notices: Vec<String>,
}

impl NetworkPlan {
    /// Whether a namespace has to be made.
    pub fn needs_namespace(&self) -> bool {
        matches!(self.kind, Kind::None | Kind::Uplink | Kind::Bridge)
    }

    /// The word for `status.json` and `inspect`: `none`, `host`, `container`, `ns`, `bridge`,
    /// `pasta`, `slirp4netns`.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::None => "none",
            Kind::Host => "host",
            Kind::Container(_) => "container",
            Kind::Path(_) => "ns",
            Kind::Bridge => "bridge",
            Kind::Uplink => self.uplinks.first().map_or("none", UplinkPlan::name),
        }
    }
}

/// The fixed addresses of a container with an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The container, in a net of 24 bits.
    pub container: Ipv4Addr,
    /// The gateway.
    pub gateway: Ipv4Addr,
    /// Forwards queries to the host's resolver.
    pub resolver: Ipv4Addr,
}

impl Addresses {
    /// The addresses in the net `a.b.c.0/24`, numbered as slirp4netns does.
    fn in_net([a, b, c]: [u8; 3]) -> Self {
        Self {
            container: Ipv4Addr::new(a, b, c, 100),
            gateway: Ipv4Addr::new(a, b, c, 2),
            resolver: Ipv4Addr::new(a, b, c, 3),
        }
    }

    /// `a.b.c.0/24`.
    pub fn net(&self) -> String {
        let [a, b, c, _] = self.container.octets();
        format!("{a}.{b}.{c}.0/24")
    }
}

/// The container's IPv6 address: a unique local one, the same in every container.
pub const CONTAINER_V6: Ipv6Addr = Ipv6Addr::new(0xfd7a, 0x636f, 0x7261, 0, 0, 0, 0, 0x100);
/// The IPv6 gateway.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

/// One way to connect the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkPlan {
    /// Which program.
    pub tool: Tool,
    /// Where it is.
    pub program: PathBuf,
    /// Arguments that depend on neither descriptors nor ports.
    pub arguments: Vec<String>,
    /// Address families whose default route means "ready".
    pub families: Families,
    /// The address inside that forwarded ports go to (slirp4netns).
    pub guest: Ipv4Addr,
}

impl UplinkPlan {
    /// `pasta` or `slirp4netns`.
    pub fn name(&self) -> &'static str {
        match self.tool {
            Tool::Pasta => "pasta",
            Tool::Slirp4netns => "slirp4netns",
        }
    }
}

/// The programs that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// passt's pasta.
    Pasta,
    /// slirp4netns.
    Slirp4netns,
}

/// Address families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

/// Makes the plan.
///
/// # Errors
/// `Invalid` for contradictions, `Unsupported` when a program is missing that was asked for by
/// name or that published ports need.
pub fn plan(
    request: &Request<'_>,
    facts: &HostFacts,
    conf: &ContainersConf,
) -> Result<NetworkPlan> {
    let mode = effective_mode(&request.options.mode, conf)?;
    let published = ports::served(request.options, request.image_ports, conf)?;
    let mut notices = Vec::new();
    let (kind, uplinks, addresses) = match mode {
        NetworkMode::None => (Kind::None, Vec::new(), None),
        NetworkMode::Host => (Kind::Host, Vec::new(), None),
        NetworkMode::Container(name) => (Kind::Container(name), Vec::new(), None),
        NetworkMode::Path(path) => (Kind::Path(path), Vec::new(), None),
        NetworkMode::Networks(_) => (Kind::Bridge, Vec::new(), None),
        mode => {
            let (uplinks, addresses) = uplinks(&mode, &published, facts, conf)?;
            match (uplinks.is_empty(), missing(facts)) {
                (true, Some((why, mend))) if !published.is_empty() => {
                    return Err(
                        Error::unsupported(format!("cannot publish ports: {why}")).hint(mend)
                    );
                }
                (true, reason) => {
                    if let Some((why, mend)) = reason {
                        notices.push(format!("no network outside this container: {why}; {mend}"));
                    }
                    (Kind::None, Vec::new(), None)
                }
                (false, _) => (Kind::Uplink, uplinks, addresses),
            }
        }
    };
    let ports = match &kind {
        Kind::Uplink => published,
        // Served already.
        Kind::Bridge => request
            .attached
            .map(|a| a.ports.clone())
            .unwrap_or_default(),
        _ if published.is_empty() => published,
        Kind::Container(_) => {
            return Err(
                Error::invalid("ports cannot be published in another container's network")
                    .hint("publish them on the container that owns the network"),
            );
        }
        other => {
            let name = match other {
                Kind::Host => "the host's network",
                Kind::Path(_) => "a network namespace by path",
                _ => "--network none",
            };
            notices.push(format!("published ports have no effect with {name}"));
            Vec::new()
        }
    };
    let has_v6 = uplinks.iter().any(|u| u.families.v6);
    if !has_v6
        && kind == Kind::Uplink
        && let Some(port) = ports
            .iter()
            .find(|p| matches!(p.host_ip, Some(IpAddr::V6(_))))
    {
        return Err(Error::unsupported(format!(
            "cannot publish {}: the host has no IPv6 route, so this network has no IPv6",
            ports::describe(port)
        ))
        .hint("publish it on an IPv4 address"));
    }
    let mut plan = NetworkPlan {
        kind,
        uplinks,
        ports,
        addresses,
        resolv_conf: None,
        hosts: None,
        notices,
    };
    name_files(&mut plan, request, facts, conf)?;
    Ok(plan)
}

/// The uplink of the namespace that all bridges share, or why there is none and what to do.
///
/// # Errors
/// `Invalid` for options of containers.conf that cannot be read.
pub fn uplinks_for_bridges(
    facts: &HostFacts,
    conf: &ContainersConf,
) -> Result<(Option<NetworkPlan>, Option<String>)> {
    let (uplinks, addresses) = uplinks(&NetworkMode::Default, &[], facts, conf)?;
    if uplinks.is_empty() {
        let (why, mend) = missing(facts).unwrap_or(("there is no uplink", ""));
        let text = format!("no way out of networks: {why}; {mend}");
        return Ok((None, Some(text)));
    }
    let plan = NetworkPlan {
        kind: Kind::Uplink,
        uplinks,
        ports: Vec::new(),
        addresses,
        resolv_conf: None,
        hosts: None,
        notices: Vec::new(),
    };
    Ok((Some(plan), None))
}

/// `default` becomes what containers.conf says, if it says anything.
fn effective_mode(mode: &NetworkMode, conf: &ContainersConf) -> Result<NetworkMode> {
    if *mode != NetworkMode::Default {
        return Ok(mode.clone());
    }
    let words = |text: &str| text.split(',').map(str::to_owned).collect();
    let wish = conf.containers.netns.as_deref().unwrap_or_default();
    let (name, rest) = wish.split_once(':').unwrap_or((wish, ""));
    let rest_words = || {
        if rest.is_empty() {
            Vec::new()
        } else {
            words(rest)
        }
    };
    Ok(match name {
        // A bridge of podman's is not ours to join; its plain default is ours as well.
        "" | "private" | "bridge" | "default" => NetworkMode::Default,
        "none" => NetworkMode::None,
        "host" => NetworkMode::Host,
        "pasta" => NetworkMode::Pasta(rest_words()),
        "slirp4netns" => NetworkMode::Slirp4netns(rest_words()),
        "ns" if rest.starts_with('/') => NetworkMode::Path(rest.into()),
        _ => {
            return Err(Error::invalid(format!(
                "containers.conf: netns = {wish:?} is not a network mode"
            )));
        }
    })
}

/// Why there is no uplink at all, and what to do.
fn missing(facts: &HostFacts) -> Option<(&'static str, &'static str)> {
    match facts.tun {
        _ if facts.pasta.is_none() && facts.slirp4netns.is_none() => Some((
            "neither pasta nor slirp4netns is installed",
            "install the package passt (or slirp4netns)",
        )),
        Tun::Usable => None,
        Tun::Missing => Some((
            "/dev/net/tun is missing",
            "load it with `sudo modprobe tun`, or pass the device to this outer container",
        )),
        Tun::Denied => Some((
            "this user may not open /dev/net/tun",
            "allow it with `sudo chmod 666 /dev/net/tun`",
        )),
    }
}

/// The nets that containers may have. The first is that of slirp4netns.
const NETS: [[u8; 3]; 4] = [[10, 0, 2], [10, 71, 2], [172, 29, 71], [192, 168, 71]];

/// The addresses of the first net that the host does not use itself.
fn addresses(facts: &HostFacts) -> Addresses {
    let is_free = |[a, b, c]: &[u8; 3]| {
        let net = u32::from(Ipv4Addr::new(*a, *b, *c, 0));
        facts.routes_v4.iter().all(|(address, mask)| {
            let (address, mask) = (u32::from(*address), u32::from(*mask));
            let narrower = mask & 0xffff_ff00;
            // A wide route (a VPN's 10.0.0.0/8) hides nothing: ours is narrower.
            (net & narrower) != (address & narrower) || mask.leading_ones() <= 12
        })
    };
    Addresses::in_net(*NETS.iter().find(|n| is_free(n)).unwrap_or(&NETS[0]))
}

/// The ways to connect, for the modes that have one.
fn uplinks(
    mode: &NetworkMode,
    ports: &[PortMapping],
    facts: &HostFacts,
    conf: &ContainersConf,
) -> Result<(Vec<UplinkPlan>, Option<Addresses>)> {
    let addresses = addresses(facts);
    let needs =
        |program: &Option<PathBuf>, name: &str, package: &str| match (program, missing(facts)) {
            (Some(program), None) => Ok(program.clone()),
            (None, _) => Err(Error::unsupported(format!("{name} is not installed"))
                .hint(format!("install the package {package}"))),
            (_, Some((why, mend))) => {
                Err(Error::unsupported(format!("{name} cannot work: {why}")).hint(mend))
            }
        };
    match mode {
        NetworkMode::Pasta(options) => {
            let program = needs(&facts.pasta, "pasta", "passt")?;
            let all: Vec<String> = conf
                .network
                .pasta_options
                .iter()
                .chain(options)
                .filter(|o| !o.is_empty())
                .cloned()
                .collect();
            Ok(super::uplink::pasta::plan(program, &all, addresses, facts))
        }
        NetworkMode::Slirp4netns(options) => {
            let program = needs(&facts.slirp4netns, "slirp4netns", "slirp4netns")?;
            let all = with_configured(options, conf);
            let (plan, addresses) = super::uplink::slirp::plan(program, &all, addresses)?;
            Ok((vec![plan], Some(addresses)))
        }
        _ => {
            if missing(facts).is_some() {
                return Ok((Vec::new(), None));
            }
            let mut plans = Vec::new();
            let mut fixed = None;
            if let Some(program) = &facts.pasta {
                let (pasta, addresses) = super::uplink::pasta::plan(
                    program.clone(),
                    &conf.network.pasta_options,
                    addresses,
                    facts,
                );
                plans.extend(pasta);
                fixed = addresses;
            }
            if let Some(program) = &facts.slirp4netns {
                let options = with_configured(&[], conf);
                let (slirp, addresses) =
                    super::uplink::slirp::plan(program.clone(), &options, addresses)?;
                let wish = conf.network.default_rootless_network_cmd.as_deref();
                if plans.is_empty() || wish == Some("slirp4netns") {
                    fixed = Some(addresses);
                    plans.clear();
                    plans.push(slirp);
                } else if fixed == Some(addresses) && wish != Some("pasta") && stalls(facts, ports)
                {
                    plans.insert(0, slirp);
                } else if fixed == Some(addresses) {
                    // Same addresses: a stand-in should this pasta not start on this host.
                    plans.push(slirp);
                }
            }
            Ok((plans, fixed))
        }
    }
}

/// Whether this pasta would let a published service hang: until the release of 4 October 2023 it
/// did not complete the handshake when the client waits for the server's first word (SSH, SMTP,
/// MySQL), unless the client is on the host's loopback. Seen with Debian 12's.
fn stalls(facts: &HostFacts, ports: &[PortMapping]) -> bool {
    ports.iter().any(|p| p.protocol == Protocol::Tcp)
        && facts.pasta_release.is_none_or(|day| day < 20_231_004)
}

/// slirp4netns's options of containers.conf, then the person's.
fn with_configured(options: &[String], conf: &ContainersConf) -> Vec<String> {
    conf.engine
        .network_cmd_options
        .iter()
        .chain(options)
        .filter(|o| !o.is_empty())
        .cloned()
        .collect()
}

/// Fills in resolv.conf and hosts.
fn name_files(
    plan: &mut NetworkPlan,
    request: &Request<'_>,
    facts: &HostFacts,
    conf: &ContainersConf,
) -> Result<()> {
    if matches!(plan.kind, Kind::Container(_)) {
        return Ok(());
    }
    let options = request.options;
    let has_v6 = plan.uplinks.iter().any(|u| u.families.v6);
    if !options.dns_none {
        let configured: Vec<IpAddr> = conf
            .containers
            .dns_servers
            .iter()
            .filter(|s| *s != "none")
            .map(|s| {
                s.parse()
                    .what(|| format!("containers.conf: dns_servers: {s:?}"))
            })
            .collect::<Result<_>>()?;
        let or = |own: &[String], conf: &[String]| {
            if own.is_empty() {
                conf.to_vec()
            } else {
                own.to_vec()
            }
        };
        let gateways = request
            .attached
            .map(Attached::resolvers)
            .unwrap_or_default();
        plan.resolv_conf = Some(files::resolv_conf(&ResolverChoice {
            gateways: &gateways,
            host: &facts.resolv_conf,
            behind: facts.resolved_conf.as_deref(),
            is_host_network: !matches!(plan.kind, Kind::Uplink | Kind::Path(_) | Kind::Bridge),
            forward: plan.addresses.map(|a| a.resolver.into()),
            has_v6: has_v6 || plan.kind != Kind::Uplink,
            servers: if options.dns.is_empty() {
                &configured
            } else {
                &options.dns
            },
            search: &or(&options.dns_search, &conf.containers.dns_searches),
            options: &or(&options.dns_options, &conf.containers.dns_options),
        }));
    }
    let hosts_wish = options.hosts_file.as_deref();
    if options.no_hosts {
        if let Some((names, _)) = options.add_hosts.first() {
            return Err(Error::invalid(format!(
                "--add-host {} contradicts --no-hosts",
                names.join(";")
            )));
        }
        return Ok(());
    }
    let is_routed = request.attached.is_some_and(Attached::is_routed);
    let host = host_address(plan, facts, conf, is_routed)?;
    let on_networks = request.attached.and_then(Attached::address);
    let own: IpAddr = match (&plan.kind, plan.addresses) {
        (Kind::Uplink, Some(addresses)) => addresses.container.into(),
        (Kind::Bridge, _) => on_networks.unwrap_or(Ipv4Addr::LOCALHOST.into()),
        _ => Ipv4Addr::LOCALHOST.into(),
    };
    let mut names = Vec::new();
    if let Some(domain) = request.domain {
        names.push(format!("{}.{domain}", request.hostname));
    }
    names.push(request.hostname.to_owned());
    if request.name != request.hostname && !request.name.is_empty() {
        names.push(request.name.to_owned());
    }
    let base = match hosts_wish.or(conf.containers.base_hosts_file.as_deref()) {
        Some("none") => "",
        Some("image") => request.image_hosts.unwrap_or_default(),
        Some(_) if hosts_wish.is_some() => request.hosts_file.unwrap_or_default(),
        _ => &facts.base_hosts,
    };
    let added = options
        .add_hosts
        .iter()
        .map(|(names, text)| Ok((names.clone(), added_address(text, host)?)))
        .collect::<Result<_>>()?;
    plan.hosts = Some(files::hosts(&HostsChoice {
        added,
        base,
        own: (plan.kind != Kind::Host && !request.hostname.is_empty()).then_some((own, names)),
        host,
    }));
    Ok(())
}

fn added_address(text: &str, host: Option<IpAddr>) -> Result<IpAddr> {
    if text == "host-gateway" {
        return host.ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "--add-host: the host has no address that this network reaches (host-gateway)",
            )
        });
    }
    text.parse::<IpAddr>()
        .what(|| format!("--add-host: {text:?} is not an address"))
        .hint(|| "write NAME:ADDRESS, or NAME:host-gateway")
}

/// The address under which the container reaches the host, if it does.
fn host_address(
    plan: &NetworkPlan,
    facts: &HostFacts,
    conf: &ContainersConf,
    is_routed: bool,
) -> Result<Option<IpAddr>> {
    match conf.containers.host_containers_internal_ip.as_deref() {
        Some("none") => return Ok(None),
        None | Some("") => {}
        Some(text) => {
            return text
                .parse()
                .what(|| format!("containers.conf: host_containers_internal_ip: {text:?}"))
                .map(Some);
        }
    }
    let has_v6 = plan.uplinks.iter().any(|u| u.families.v6);
    let slirp_reaches_loopback = plan.uplinks.first().is_some_and(|u| {
        u.tool == Tool::Slirp4netns && !u.arguments.iter().any(|a| a == "--disable-host-loopback")
    });
    Ok(match &plan.kind {
        Kind::Host => Some(Ipv4Addr::LOCALHOST.into()),
        Kind::Uplink if slirp_reaches_loopback => plan.addresses.map(|a| a.gateway.into()),
        Kind::Uplink => facts
            .addresses
            .iter()
            .find(|a| a.is_ipv4() || has_v6)
            .copied()
            // Offline: a name that leads nowhere for now is better than none.
            .or_else(|| plan.addresses.map(|a| a.gateway.into())),
        Kind::Bridge if is_routed => facts
            .addresses
            .iter()
            .find(|a| a.is_ipv4())
            .or(facts.addresses.first())
            .copied(),
        Kind::None | Kind::Container(_) | Kind::Path(_) | Kind::Bridge => None,
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
