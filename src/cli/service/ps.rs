//! `service ps`.

use serde_json::{Value, json};

use crate::base::filter::Filters;
use crate::base::time::human_duration;
use crate::base::{Error, Result};
use crate::cli::output::{Listing, Out, docker};
use crate::operations::service::{self, Replica, replicas};
use crate::operations::session::Session;
use crate::state::container::State;
use crate::state::service::TASK_ID;

/// List the replicas of services
#[derive(Debug, clap::Args)]
pub struct PsArgs {
    /// Only replicas for which this holds (desired-state=, id=, name=, node=)
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print by a Go template, or `json`
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Accepted; names are never looked up
    #[arg(long, hide = true)]
    no_resolve: bool,
    /// Show ids, images and errors in full
    #[arg(long)]
    no_trunc: bool,
    /// Print the ids only
    #[arg(short, long)]
    quiet: bool,
    /// Names or ids
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `service ps`.
///
/// # Errors
/// `NotFound`, after the others; what the filters or the template say.
pub fn run(args: PsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let known = ["desired-state", "id", "name", "node"];
    let filters = Filters::parse(&args.filter, &known)?;
    let (mut rows, mut failed) = (Vec::new(), None);
    let node = super::node();
    for name in &args.services {
        match service::find(session, name).and_then(|s| Ok((replicas(session, &s)?, s))) {
            Ok((list, service)) => {
                let revision = service.desired.revision;
                rows.extend(list.iter().map(|r| row(r, revision, &node, args.no_trunc)));
            }
            Err(e) => failed = Some(e),
        }
    }
    let mut shown = Vec::new();
    for row in rows {
        let is = |key: &str, value: &str| row[key].as_str().is_some_and(|t| t.starts_with(value));
        let passes = filters.accept(|key, value| {
            Ok(match key {
                "desired-state" => {
                    let state = row["DesiredState"].as_str().unwrap_or_default();
                    state.eq_ignore_ascii_case(value)
                }
                "id" => is("ID", value),
                "name" => is("Name", value),
                _ => is("Node", value),
            })
        })?;
        if passes {
            shown.push(row);
        }
    }
    Listing {
        default: match args.quiet {
            true => "{{.ID}}",
            false => {
                "table {{.ID}}\t{{.Name}}\t{{.Image}}\t{{.Node}}\t{{.DesiredState}}\t{{.CurrentState}}\t{{.Error}}\t{{.Ports}}"
            }
        },
        headers: &[
            ("DesiredState", "DESIRED STATE"),
            ("CurrentState", "CURRENT STATE"),
        ],
        format: args.format.as_deref(),
        no_heading: false,
        docker: &[
            "CurrentState",
            "DesiredState",
            "Error",
            "ID",
            "Image",
            "Name",
            "Node",
            "Ports",
        ],
    }
    .print(out, &shown, || shown.clone().into())?;
    failed.map_or(Ok(0), |e: Error| Err(e.exit_code(1)))
}

fn row(replica: &Replica, revision: u64, node: &str, full: bool) -> Value {
    let summary = &replica.summary;
    let container = &summary.container;
    let drained = summary.status.as_ref().is_some_and(|s| s.drained);
    let state = match (summary.state, summary.health()) {
        (State::Running, _) if drained => "Draining",
        (State::Running, "starting") => "Starting",
        (State::Running, "unhealthy") => "Unhealthy",
        (State::Running, _) => "Running",
        (State::Paused, _) => "Paused",
        (State::Created, _) => "New",
        (State::Restarting | State::Waiting, _) => "Ready",
        (State::Exited | State::Lost, _) if summary.exit_code() == 0 => "Complete",
        (State::Exited | State::Lost, _) => "Failed",
    };
    let since = match (summary.ended(), &summary.exit) {
        (true, Some(exit)) => Some(exit.finished),
        _ => summary.started(),
    };
    let since = since.unwrap_or(container.record.created);
    let error = match &summary.exit {
        Some(exit) if summary.ended() => exit.error.clone().unwrap_or_else(|| match exit.code {
            0 => String::new(),
            code => format!("task: non-zero exit ({code})"),
        }),
        _ => String::new(),
    };
    let cut = |text: &str, most: usize| match full || text.chars().count() <= most {
        true => text.to_owned(),
        false => text.chars().take(most - 1).chain(['…']).collect(),
    };
    let image = container.record.options.image.as_str();
    let name = format!("{}.{}", service_name(replica), replica.slot);
    let id = summary.label(TASK_ID).unwrap_or_default();
    let ports: Vec<String> = summary.ports().iter().map(super::ls::port).collect();
    json!({
        "ID": id,
        "Name": name,
        "Image": docker::familiar(image),
        "Node": node,
        "DesiredState": if replica.revision == revision { "Running" } else { "Shutdown" },
        "CurrentState": format!("{state} {} ago", human_duration(since.elapsed()).to_lowercase()),
        "Error": cut(&error, 30),
        "Ports": ports.join(","),
        "Container": container.name(),
        "ContainerID": container.id(),
    })
}

fn service_name(replica: &Replica) -> &str {
    let label = crate::state::service::SERVICE_NAME;
    replica.summary.label(label).unwrap_or_default()
}
