//! `pod ps`.

use serde_json::{Value, json};

use crate::base::filter::Filters;
use crate::base::time::human_duration;
use crate::base::{Error, Result};
use crate::cli::output::{Listing, Out};
use crate::operations::pod::list::{self, PodSummary};
use crate::operations::session::Session;

/// List pods
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each one is a flag of podman's"
)]
pub struct PsArgs {
    /// Show the ids of the containers
    #[arg(long)]
    ctr_ids: bool,
    /// Show the names of the containers
    #[arg(long)]
    ctr_names: bool,
    /// Show what the containers are doing
    #[arg(long)]
    ctr_status: bool,
    /// Only pods for which this holds (id=, name=, label=, status=, until=, network=, ctr-…=)
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Go template, json, or table
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// The newest pod
    #[arg(short, long)]
    latest: bool,
    /// Show which namespaces are shared
    #[arg(long, alias = "namespace")]
    ns: bool,
    /// Show ids in full
    #[arg(long, alias = "notruncate")]
    no_trunc: bool,
    /// Leave out the headings
    #[arg(short, long)]
    noheading: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Order: created, id, name, number or status
    #[arg(long, value_name = "KEY", default_value = "created")]
    sort: String,
}

/// Runs `pod ps`.
///
/// # Errors
/// What the filters, the template or the records say.
pub fn run(args: PsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let filters = Filters::parse(&args.filter, list::FILTERS)?;
    let (mut pods, bad) = list::list(session, &filters)?;
    for error in &bad {
        out.error(error);
    }
    if args.latest {
        pods.truncate(1);
    }
    match args.sort.as_str() {
        "created" => {}
        "id" => pods.sort_by(|a, b| a.record.id.cmp(&b.record.id)),
        "name" => pods.sort_by(|a, b| a.record.name.cmp(&b.record.name)),
        "number" => pods.sort_by_key(|p| p.members.len()),
        "status" => pods.sort_by_key(PodSummary::status),
        other => {
            return Err(Error::invalid(format!("cannot sort by {other:?}"))
                .hint("use created, id, name, number or status"));
        }
    }
    let mut default =
        "table {{.ID}}\t{{.Name}}\t{{.Status}}\t{{.Created}}\t{{.InfraID}}".to_owned();
    for (shown, column) in [
        (args.ctr_ids, "\t{{.ContainerIds}}"),
        (args.ctr_names, "\t{{.ContainerNames}}"),
        (args.ctr_status, "\t{{.ContainerStatuses}}"),
        (args.ns, "\t{{.Namespace}}"),
    ] {
        if shown {
            default.push_str(column);
        }
    }
    if !(args.ctr_ids || args.ctr_names || args.ctr_status) {
        default.push_str("\t{{.NumberOfContainers}}");
    }
    if args.quiet {
        "{{.ID}}".clone_into(&mut default);
    }
    let rows: Vec<Value> = pods.iter().map(|p| row(p, args.no_trunc)).collect();
    Listing {
        default: &default,
        headers: &[
            ("ID", "POD ID"),
            ("Id", "POD ID"),
            ("InfraID", "INFRA ID"),
            ("InfraId", "INFRA ID"),
            ("ContainerIds", "IDS"),
            ("ContainerNames", "NAMES"),
            ("ContainerStatuses", "STATUS"),
            ("Namespace", "NAMESPACES"),
            ("NumberOfContainers", "# OF CONTAINERS"),
        ],
        format: args.format.as_deref(),
        no_heading: args.noheading,
        docker: &[],
    }
    .print(out, &rows, || pods.iter().map(machine).collect())?;
    Ok(0)
}

fn short(id: &str, full: bool) -> &str {
    match full {
        true => id,
        false => id.get(..12).unwrap_or(id),
    }
}

fn row(pod: &PodSummary, full: bool) -> Value {
    let record = &pod.record;
    let id = short(record.id.as_str(), full);
    let infra = record
        .infra
        .as_ref()
        .map_or("", |i| short(i.id.as_str(), full));
    let all = |text: &dyn Fn(usize) -> String| -> String {
        let texts: Vec<String> = (0..pod.members.len()).map(text).collect();
        texts.join(",")
    };
    let shared: Vec<&str> = record.share.iter().map(|s| s.name()).collect();
    json!({
        "ID": id,
        "Id": id,
        "Name": record.name,
        "Status": pod.status(),
        "Created": format!("{} ago", human_duration(record.created.elapsed())),
        "InfraID": infra,
        "InfraId": infra,
        "ContainerIds": all(&|i| short(pod.members[i].container.id().as_str(), full).to_owned()),
        "ContainerNames": all(&|i| pod.members[i].container.name().to_owned()),
        "ContainerStatuses": all(&|i| pod.members[i].state.name().to_owned()),
        "NumberOfContainers": pod.members.len(),
        "Namespace": shared.join(","),
        "Networks": pod.networks(),
        "Labels": record.labels,
        "Cgroup": record.infra.as_ref().and_then(|i| i.options.cgroup_parent.clone()).unwrap_or_default(),
        "Restarts": pod.members.iter().map(crate::operations::container::summary::Summary::restarts).sum::<u32>(),
    })
}

/// One object of `--format json`, with podman's names and types.
fn machine(pod: &PodSummary) -> Value {
    let record = &pod.record;
    let containers: Vec<Value> = pod
        .members
        .iter()
        .map(|m| {
            json!({
                "Id": m.container.id(),
                "Names": m.container.name(),
                "Status": m.state.name(),
                "RestartCount": m.restarts(),
            })
        })
        .collect();
    json!({
        "Cgroup": record.infra.as_ref().and_then(|i| i.options.cgroup_parent.clone()).unwrap_or_default(),
        "Containers": containers,
        "Created": record.created.rfc3339(),
        "Id": record.id,
        "InfraId": record.infra.as_ref().map_or("", |i| i.id.as_str()),
        "Name": record.name,
        "Namespace": "",
        "Networks": pod.networks(),
        "Status": pod.status(),
        "Labels": record.labels,
    })
}
