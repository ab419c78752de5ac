//! `service ls`.

use serde_json::{Value, json};

use crate::base::Result;
use crate::base::filter::Filters;
use crate::cli::output::{Listing, Out, docker};
use crate::operations::service::{self, Replica, all_replicas};
use crate::operations::session::Session;
use crate::state::options::PortMapping;
use crate::state::service::ServiceRecord;

/// List services
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// Only services for which this holds (id=, label=, mode=, name=)
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print by a Go template, or `json`
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Print the ids only
    #[arg(short, long)]
    quiet: bool,
}

/// Runs `service ls`.
///
/// # Errors
/// What the filters, the template or the records say.
pub fn run(args: LsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let filters = Filters::parse(&args.filter, service::FILTERS)?;
    let (services, bad) = service::list(session, &filters)?;
    for error in &bad {
        out.error(error);
    }
    let mut replicas = all_replicas(session)?;
    let rows: Vec<Value> = services
        .iter()
        .map(|s| {
            let own = replicas.remove(s.id.as_str()).unwrap_or_default();
            row(s, &own)
        })
        .collect();
    Listing {
        default: match args.quiet {
            true => "{{.ID}}",
            false => "table {{.ID}}\t{{.Name}}\t{{.Mode}}\t{{.Replicas}}\t{{.Image}}\t{{.Ports}}",
        },
        headers: &[],
        format: args.format.as_deref(),
        no_heading: false,
        docker: &["ID", "Image", "Mode", "Name", "Ports", "Replicas"],
    }
    .print(out, &rows, || rows.clone().into())?;
    Ok(0)
}

fn row(service: &ServiceRecord, replicas: &[Replica]) -> Value {
    let desired = &service.desired;
    let ready = replicas.iter().filter(|r| r.is_ready()).count();
    let ports: Vec<String> = desired.publish.iter().map(port).collect();
    // Of one whose replicas others make nobody knows how many there should be.
    let count = match &desired.options {
        Some(_) => format!("{ready}/{}", desired.replicas),
        None => String::new(),
    };
    json!({
        "ID": service.id.short(),
        "Name": service.name,
        "Mode": service::mode(desired),
        "Replicas": count,
        "Image": desired.options.as_ref().map_or("", |o| docker::familiar(&o.image)),
        "Ports": ports.join(", "),
        "Labels": docker::labels(&desired.labels),
    })
}

/// docker's words for a published port.
pub(super) fn port(mapping: &PortMapping) -> String {
    let of = |first: u16| match mapping.range {
        0 | 1 => first.to_string(),
        n => format!("{first}-{}", first.saturating_add(n - 1)),
    };
    let address = mapping.host_ip.map_or("*".to_owned(), |ip| ip.to_string());
    format!(
        "{address}:{}->{}/{}",
        of(mapping.host_port),
        of(mapping.container_port),
        mapping.protocol.name()
    )
}
