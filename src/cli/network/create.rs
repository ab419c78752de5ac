//! `network create`.

use std::net::IpAddr;

use super::super::args;
use super::super::output::Out;
use crate::base::{Error, Result};
use crate::cli::container::options::interface_name;
use crate::operations::network::{self, CreateSpec};
use crate::operations::session::Session;
use crate::spec::cidr::Cidr;
use crate::state::network::Route;

/// Create a network
///
/// Containers on a network find each other by name and reach the outside through this user's own
/// namespace; containers of other networks are kept out. Without --subnet a free one is chosen.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Driver of the network; only `bridge`
    #[arg(short, long, value_name = "NAME", default_value = "bridge")]
    driver: String,
    /// Subnet, e.g. 10.90.0.0/24
    #[arg(long, value_name = "SUBNET")]
    subnet: Vec<String>,
    /// Gateway of the subnet of the same place; default its first address
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<String>,
    /// Containers get addresses from here only: a subnet, or FIRST-LAST
    #[arg(long, value_name = "RANGE")]
    ip_range: Vec<String>,
    /// Give the network IPv6 as well
    #[arg(long)]
    ipv6: bool,
    /// No way out of the network
    #[arg(long)]
    internal: bool,
    /// Answer no names
    #[arg(long)]
    disable_dns: bool,
    /// Server that names of the outside are asked of
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    dns: Vec<String>,
    /// Label of the network
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Option of the driver: mtu, isolate, metric, no_default_route
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Name of the bridge
    #[arg(long, value_name = "NAME")]
    interface_name: Option<String>,
    /// Give the network IPv4 (--ipv4=false: only IPv6)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    ipv4: bool,
    /// Address that no container gets: NAME=ADDRESS
    #[arg(long, value_name = "NAME=ADDRESS")]
    aux_address: Vec<String>,
    /// Route of containers: SUBNET,GATEWAY[,METRIC]
    #[arg(long, value_name = "ROUTE")]
    route: Vec<String>,
    /// Leave a network of that name alone and succeed
    #[arg(long)]
    ignore: bool,
    /// Who gives addresses; only `host-local`
    #[arg(long, value_name = "NAME", default_value = "host-local")]
    ipam_driver: String,
    /// Containers may join by hand; they always may
    #[arg(long, hide = true)]
    attachable: bool,
    /// Only `local`
    #[arg(long, hide = true, value_name = "SCOPE", default_value = "local")]
    scope: String,
    /// Name of the network
    name: Option<String>,
}

/// Runs `network create`: prints the name; called as docker, the id.
///
/// # Errors
/// What the operation says.
pub fn run(args: CreateArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if !matches!(args.ipam_driver.as_str(), "" | "default" | "host-local") {
        return Err(Error::unsupported(format!(
            "ipam driver {:?} is not supported: addresses come from the network's subnets",
            args.ipam_driver
        )));
    }
    if args.scope != "local" {
        return Err(Error::unsupported(format!(
            "scope {:?} is not supported: networks are this user's own",
            args.scope
        )));
    }
    let subnets = args
        .subnet
        .iter()
        .map(|s| s.parse())
        .collect::<Result<Vec<Cidr>>>()?;
    let spec = CreateSpec {
        name: args.name,
        driver: Some(args.driver),
        subnets,
        gateways: addresses(&args.gateway)?,
        ranges: args
            .ip_range
            .iter()
            .map(|r| range(r))
            .collect::<Result<_>>()?,
        ipv6: args.ipv6,
        internal: args.internal,
        disable_dns: args.disable_dns,
        dns: addresses(&args.dns)?,
        labels: args::labels(&args.label)?,
        options: {
            // `-o mtu=1400,isolate=false` as podman has it too.
            let words: Vec<String> = args
                .opt
                .iter()
                .flat_map(|o| o.split(','))
                .map(str::to_owned)
                .collect();
            args::pairs("opt", &words)?
        },
        interface: args
            .interface_name
            .map(|n| interface_name(&n))
            .transpose()?,
        without_v4: !args.ipv4,
        reserved: args::pairs("aux-address", &args.aux_address)?
            .into_iter()
            .map(|(name, address)| Ok((name, addresses(&[address])?[0])))
            .collect::<Result<_>>()?,
        routes: args.route.iter().map(|r| route(r)).collect::<Result<_>>()?,
        ignore: args.ignore,
    };
    let record = network::create(session, &spec)?;
    match out.is_docker() {
        true => out.line(&record.id)?,
        false => out.line(record.name.as_str())?,
    }
    Ok(0)
}

pub(super) fn addresses(texts: &[String]) -> Result<Vec<IpAddr>> {
    let parse = |t: &String| {
        t.parse()
            .map_err(|_| Error::invalid(format!("{t:?} is not an IP address")))
    };
    texts.iter().map(parse).collect()
}

/// `10.21.0.0/16,10.90.0.5` or `10.21.0.0/16,10.90.0.5,200`.
fn route(text: &str) -> Result<Route> {
    let wrong = || {
        Error::invalid(format!("{text:?} is not a route"))
            .hint("a route is SUBNET,GATEWAY or SUBNET,GATEWAY,METRIC")
    };
    let words: Vec<&str> = text.split(',').collect();
    let (destination, gateway, metric) = match words[..] {
        [destination, gateway] => (destination, gateway, None),
        [destination, gateway, metric] => {
            let metric = metric.parse().map_err(|_| wrong())?;
            (destination, gateway, Some(metric))
        }
        _ => return Err(wrong()),
    };
    Ok(Route {
        destination: destination.parse().map_err(|e| wrong().because(e))?,
        gateway: gateway.parse().map_err(|_| wrong())?,
        metric,
    })
}

/// `10.90.0.128/25` or `10.90.0.10-10.90.0.20`.
pub(crate) fn range(text: &str) -> Result<(IpAddr, IpAddr)> {
    if let Some((first, last)) = text.split_once('-') {
        let ends = addresses(&[first.to_owned(), last.to_owned()])?;
        return Ok((ends[0], ends[1]));
    }
    let net: Cidr = text.parse()?;
    // A whole subnet's own names are nobody's; the allocator knows.
    Ok((net.address(), net.last()))
}
