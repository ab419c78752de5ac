//! `port`.

use crate::base::{Error, Kind, Result};
use crate::cli::output::Out;
use crate::operations::container::select::Selection;
use crate::operations::container::summary::Summary;
use crate::operations::session::Session;
use crate::state::options::PortMapping;

/// Show the published ports of containers
#[derive(Debug, clap::Args)]
pub struct PortArgs {
    /// All running containers
    #[arg(short, long)]
    pub all: bool,
    /// The newest container
    #[arg(short, long)]
    pub latest: bool,
    /// Name or id, then a port inside with its protocol, e.g. 80 or 53/udp
    #[arg(value_name = "CONTAINER [PORT[/PROTOCOL]]")]
    pub words: Vec<String>,
}

/// Runs `port`; answers the exit code.
///
/// # Errors
/// `NotFound` for the container, or when that port is not published.
pub fn run(args: PortArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let mut words = args.words;
    let named = usize::from(!args.all && !args.latest);
    if words.len() > named + 1 {
        return Err(Error::invalid("port takes one container and one port"));
    }
    let wanted = (words.len() > named).then(|| words.pop()).flatten();
    if args.all && wanted.is_some() {
        return Err(Error::invalid("--all takes no names"));
    }
    let selection = Selection {
        names: words,
        all: args.all,
        latest: args.latest,
        ..Selection::default()
    };
    let wanted = wanted.as_deref().map(parse).transpose()?;
    for target in selection.resolve(session)? {
        let summary = Summary::of(target.container?)?;
        if args.all && !summary.state.is_active() {
            continue;
        }
        let mut found = false;
        for (inside, protocol, outside) in lines(summary.ports()) {
            match &wanted {
                Some((port, proto)) if *port != inside || *proto != protocol => continue,
                Some(_) => out.line(&outside)?,
                None if args.all => out.line(format!(
                    "{}\t{inside}/{protocol} -> {outside}",
                    summary.container.id().short()
                ))?,
                None => out.line(format!("{inside}/{protocol} -> {outside}"))?,
            }
            found = true;
        }
        if let (false, Some((port, protocol))) = (found, &wanted) {
            return Err(Error::new(
                Kind::NotFound,
                format!(
                    "container {:?} does not publish port {port}/{protocol}",
                    summary.container.name()
                ),
            ));
        }
    }
    Ok(0)
}

fn parse(text: &str) -> Result<(u16, &str)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let port = port.parse().map_err(|_| {
        Error::invalid(format!("invalid port {text:?}")).hint("write it like 80 or 53/udp")
    })?;
    Ok((port, protocol))
}

fn lines(ports: &[PortMapping]) -> impl Iterator<Item = (u16, &'static str, String)> {
    ports.iter().flat_map(|p| {
        (0..p.range.max(1)).map(move |n| {
            let ip = match p.host_ip {
                None => "0.0.0.0".to_owned(),
                Some(std::net::IpAddr::V6(ip)) => format!("[{ip}]"),
                Some(ip) => ip.to_string(),
            };
            (
                p.container_port.saturating_add(n),
                p.protocol.name(),
                format!("{ip}:{}", p.host_port.saturating_add(n)),
            )
        })
    })
}
