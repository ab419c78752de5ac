//! `compose ps`, `ls`, `images`, `volumes`, `port`, `version`.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use super::project::ProjectFlags;
use crate::base::{Error, Result};
use crate::cli::output::{Listing, Out};
use crate::compose::convert;
use crate::operations::compose::observe::{self, Member};
use crate::operations::container::summary::{Summary, ports_text};
use crate::operations::image::lookup;
use crate::operations::session::Session;
use crate::state::options::Protocol;
use crate::storage::volume::Volumes;

/// List containers
///
/// Those that run; with --all the others, too.
#[derive(Debug, Args)]
pub struct PsArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Those too that do not run, and those of `run`
    #[arg(short, long)]
    all: bool,
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Names of services only
    #[arg(long)]
    services: bool,
    /// table, json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// status=STATE
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// Only those in this state: created, running, paused, restarting, exited
    #[arg(long, value_name = "STATE")]
    status: Vec<String>,
    /// Whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// With containers of services that are no longer in the files (default true)
    #[arg(long)]
    orphans: Option<bool>,
    /// Services
    #[arg(value_name = "SERVICE")]
    names: Vec<String>,
}

fn publishers(summary: &Summary) -> Vec<Value> {
    let mut all = Vec::new();
    for port in summary.ports() {
        for i in 0..port.range.max(1) {
            all.push(json!({
                "URL": port.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string()),
                "TargetPort": port.container_port + i,
                "PublishedPort": port.host_port + i,
                "Protocol": port.protocol.name(),
            }));
        }
    }
    all
}

fn row(member: &Member, no_trunc: bool) -> Result<Value> {
    let summary = Summary::of(member.container.clone())?;
    let record = &member.container.record;
    let labels: Vec<String> = record
        .options
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    let command = summary.command().join(" ");
    let command = match no_trunc || command.chars().count() <= 20 {
        true => format!("\"{command}\""),
        false => format!("\"{}…\"", command.chars().take(19).collect::<String>()),
    };
    let id = match no_trunc {
        true => member.present.id.clone(),
        false => member.container.id().short().to_owned(),
    };
    Ok(json!({
        "ID": id,
        "Name": member.present.name,
        "Names": member.present.name,
        "Service": member.present.service,
        "Project": member.label(convert::PROJECT),
        "Image": record.options.image,
        "Command": command,
        "State": summary.state.name(),
        "Status": summary.status_text(),
        "Health": summary.health(),
        "ExitCode": if summary.ended() { summary.exit_code() } else { 0 },
        "Ports": ports_text(summary.ports()),
        "Publishers": publishers(&summary),
        "Labels": labels.join(","),
        "CreatedAt": record.created.local_text(),
        "RunningFor": format!("{} ago", crate::base::time::human_duration(record.created.elapsed())),
        "Networks": summary.networks().join(","),
    }))
}

/// Runs `compose ps`.
///
/// # Errors
/// As the listing.
pub fn ps(args: PsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let (name, project) = args.project.named(session, &args.names)?;
    let mut members = observe::members(session, &name)?;
    for service in &args.names {
        let known = project.as_ref().is_some_and(|p| p.service(service).is_ok());
        if !known && !members.iter().any(|m| m.present.service == *service) {
            return Err(Error::not_found(format!("no such service: {service}")));
        }
    }
    let mut states = args.status.clone();
    if let Some(filter) = &args.filter {
        match filter.split_once('=') {
            Some(("status", state)) => states.push(state.to_owned()),
            Some(("source", _)) => {}
            _ => {
                return Err(
                    Error::invalid(format!("invalid filter {filter:?}")).hint("write status=STATE")
                );
            }
        }
    }
    let orphan = |m: &Member| {
        project.as_ref().is_some_and(|p| {
            p.service(&m.present.service).is_err() && !p.disabled.contains_key(&m.present.service)
        })
    };
    members.retain(|m| {
        (args.names.is_empty() || args.names.contains(&m.present.service))
            && (args.orphans != Some(false) || !orphan(m))
            && match states.is_empty() {
                true => args.all || (m.present.running && !m.present.oneoff),
                false => states
                    .iter()
                    .any(|s| s == m.state.name() || (s == "stopped" && m.state.name() == "exited")),
            }
    });
    if args.services {
        let mut names: Vec<&str> = members.iter().map(|m| m.present.service.as_str()).collect();
        names.dedup();
        for name in names {
            out.line(name)?;
        }
        return Ok(0);
    }
    if args.quiet {
        for member in &members {
            out.line(&member.present.id)?;
        }
        return Ok(0);
    }
    let rows: Vec<Value> = members
        .iter()
        .map(|m| row(m, args.no_trunc))
        .collect::<Result<_>>()?;
    print(
        out,
        args.format.as_deref(),
        "table {{.Name}}\t{{.Image}}\t{{.Command}}\t{{.Service}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}",
        &[("RunningFor", "CREATED")],
        &rows,
    )
}

/// Prints rows as a table, by a template, or as one JSON object a line, as docker does.
fn print(
    out: &mut Out,
    format: Option<&str>,
    default: &str,
    headers: &[(&str, &str)],
    rows: &[Value],
) -> Result<u8> {
    if format == Some("json") {
        for row in rows {
            out.line(row.to_string())?;
        }
        return Ok(0);
    }
    let listing = Listing {
        default,
        headers,
        format: format.filter(|f| *f != "table"),
        no_heading: false,
        docker: &[],
    };
    listing.print(out, rows, || Value::Array(rows.to_vec()))?;
    Ok(0)
}

/// List projects
#[derive(Debug, Args)]
pub struct LsArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Those too of which nothing runs
    #[arg(short, long)]
    all: bool,
    /// Names only
    #[arg(short, long)]
    quiet: bool,
    /// table or json
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// name=TEXT
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
}

/// Runs `compose ls`.
///
/// # Errors
/// As the listing.
pub fn ls(args: LsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let mut projects: BTreeMap<String, (BTreeMap<&str, usize>, String)> = BTreeMap::new();
    let members = observe::all(session)?;
    for member in &members {
        let slot = projects
            .entry(member.label(convert::PROJECT).to_owned())
            .or_default();
        *slot.0.entry(member.state.name()).or_default() += 1;
        slot.1 = member.label(convert::FILES).to_owned();
    }
    let mut names = Vec::new();
    for filter in &args.filter {
        match filter.split_once('=') {
            Some(("name", text)) => names.push(text.to_owned()),
            _ => {
                return Err(
                    Error::invalid(format!("invalid filter {filter:?}")).hint("write name=TEXT")
                );
            }
        }
    }
    projects.retain(|name, (states, _)| {
        (args.all || states.contains_key("running"))
            && (names.is_empty() || names.iter().any(|n| name.contains(n.as_str())))
    });
    if args.quiet {
        for name in projects.keys() {
            out.line(name)?;
        }
        return Ok(0);
    }
    let rows: Vec<Value> = projects
        .iter()
        .map(|(name, (states, files))| {
            let status: Vec<String> = states.iter().map(|(s, n)| format!("{s}({n})")).collect();
            json!({"Name": name, "Status": status.join(", "), "ConfigFiles": files})
        })
        .collect();
    if args.format.as_deref() == Some("json") {
        out.line(Value::Array(rows).to_string())?;
        return Ok(0);
    }
    let headers = [("ConfigFiles", "CONFIG FILES")];
    print(
        out,
        args.format.as_deref(),
        "table {{.Name}}\t{{.Status}}\t{{.ConfigFiles}}",
        &headers,
        &rows,
    )
}

/// List the images of containers
#[derive(Debug, Args)]
pub struct ImagesArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// table or json
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `compose images`.
///
/// # Errors
/// As the listing.
pub fn images(args: ImagesArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let (members, _) = args.project.members(session, &args.services)?;
    let mut rows = Vec::new();
    for member in &members {
        let id = member.present.image.clone();
        let hex = id.trim_start_matches("sha256:").to_owned();
        if args.quiet {
            out.line(&hex)?;
            continue;
        }
        let found = lookup(session, &hex).ok();
        let name = &member.container.record.options.image;
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (name.as_str(), "latest"),
        };
        let size = found.as_ref().map_or(0, |f| f.record.size);
        rows.push(json!({
            "ContainerName": member.present.name,
            "Repository": repository,
            "Tag": tag,
            "Platform": found.as_ref().map_or_else(String::new, |f| f.record.platform().to_string()),
            "ID": hex.get(..12).unwrap_or(&hex),
            "Size": crate::base::size::human(size),
            "Created": found.map_or_else(String::new, |f| {
                format!("{} ago", crate::base::time::human_duration(f.record.created().elapsed()))
            }),
        }));
    }
    if args.quiet {
        return Ok(0);
    }
    let headers = [("ContainerName", "CONTAINER"), ("ID", "IMAGE ID")];
    let default = "table {{.ContainerName}}\t{{.Repository}}\t{{.Tag}}\t{{.Platform}}\t{{.ID}}\t{{.Size}}\t{{.Created}}";
    print(out, args.format.as_deref(), default, &headers, &rows)
}

/// List volumes
#[derive(Debug, Args)]
pub struct VolumesArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Names only
    #[arg(short, long)]
    quiet: bool,
    /// table, json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `compose volumes`.
///
/// # Errors
/// As the listing.
pub fn volumes(args: VolumesArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let (name, project) = args.project.named(session, &args.services)?;
    let mut wanted: Option<Vec<String>> = None;
    if let (Some(project), false) = (&project, args.services.is_empty()) {
        let mut names = Vec::new();
        for service in &args.services {
            let mounts = project
                .service(service)?
                .get("volumes")
                .and_then(Value::as_array);
            let sources = mounts
                .into_iter()
                .flatten()
                .filter_map(|m| m.get("source")?.as_str());
            names.extend(sources.map(|s| project.real_name("volumes", s)));
        }
        wanted = Some(names);
    }
    let mut rows = Vec::new();
    for record in Volumes::new(&session.dirs).list()? {
        let volume = record.name.to_string();
        let own = record.labels.get(convert::PROJECT) == Some(&name);
        if !own || wanted.as_ref().is_some_and(|w| !w.contains(&volume)) {
            continue;
        }
        if args.quiet {
            out.line(&volume)?;
            continue;
        }
        rows.push(json!({"Name": volume, "Driver": record.driver, "Labels": record.labels}));
    }
    match args.quiet {
        true => Ok(0),
        false => print(
            out,
            args.format.as_deref(),
            "table {{.Driver}}\t{{.Name}}",
            &[("Name", "VOLUME NAME")],
            &rows,
        ),
    }
}

/// Print the public address of a port
#[derive(Debug, Args)]
pub struct PortArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// The container with this number
    #[arg(long, value_name = "N")]
    index: Option<usize>,
    /// tcp or udp
    #[arg(long, value_name = "PROTOCOL", default_value = "tcp")]
    protocol: String,
    /// Service
    service: String,
    /// Port inside
    private_port: u16,
}

/// Runs `compose port`.
///
/// # Errors
/// `NotFound` for a port that is not published.
pub fn port(args: PortArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let protocol = match args.protocol.as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        other => {
            return Err(
                Error::invalid(format!("unknown protocol {other:?}")).hint("use tcp or udp")
            );
        }
    };
    let member = args.project.member(session, &args.service, args.index)?;
    let summary = Summary::of(member.container.clone())?;
    for port in summary.ports() {
        let place = args.private_port.checked_sub(port.container_port);
        if let Some(offset) = place.filter(|o| *o < port.range.max(1))
            && port.protocol == protocol
        {
            let ip = port
                .host_ip
                .map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string());
            out.line(format!("{ip}:{}", port.host_port + offset))?;
            return Ok(0);
        }
    }
    Err(Error::not_found(format!(
        "no port {}/{} for container {}",
        args.private_port,
        protocol.name(),
        member.present.name
    )))
}

/// Print the version
#[derive(Debug, Args)]
pub struct VersionArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// The number only
    #[arg(long)]
    short: bool,
    /// pretty or json
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Runs `compose version`.
///
/// # Errors
/// `Invalid` for another format.
pub fn version(args: VersionArgs, _session: &mut Session, out: &mut Out) -> Result<u8> {
    let version = env!("CARGO_PKG_VERSION");
    match (args.short, args.format.as_deref()) {
        (true, _) => out.line(version)?,
        (_, Some("json")) => out.line(json!({"version": version}).to_string())?,
        (_, None | Some("pretty" | "")) => {
            out.line(format!("coracle compose version {version}"))?;
        }
        (_, Some(other)) => {
            return Err(
                Error::invalid(format!("unknown format {other:?}")).hint("use pretty or json")
            );
        }
    }
    Ok(0)
}
