//! `network ls`.

use serde_json::{Value, json};

use super::super::output::{Listing, Out, docker};
use super::inspect;
use crate::base::Result;
use crate::base::filter::Filters;
use crate::operations::network::{self, NetworkRecord};
use crate::operations::session::Session;

/// List networks
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// List those only for which KEY=VALUE holds: dangling, driver, id, label, name, until
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print by a Go template, or `json`
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Leave out the headings
    #[arg(short, long)]
    noheading: bool,
    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Print the names only; called as docker, the ids
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
}

/// Runs `network ls`.
///
/// # Errors
/// What the filters or the template say.
pub fn run(args: LsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let filters = Filters::parse(&args.filter, network::FILTERS)?;
    let records = network::list(session, &filters)?;
    let is_docker = out.is_docker();
    let mut rows: Vec<Value> = records
        .iter()
        .map(|record| row(record, args.no_trunc, is_docker))
        .collect();
    if is_docker && filters.is_empty() {
        // docker counts its two modes as networks.
        for name in ["host", "none"] {
            rows.push(json!({
                "ID": "-", "Id": "-", "Name": name, "Driver": if name == "host" { "host" } else { "null" },
                "Scope": "local", "IPv6": "false", "Internal": "false", "Labels": "",
                "CreatedAt": "",
            }));
        }
        rows.sort_by(|a, b| a["Name"].as_str().cmp(&b["Name"].as_str()));
    }
    let table = match is_docker {
        true => "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
        false => "table {{.ID}} {{.Name}} {{.Driver}}",
    };
    Listing {
        default: match (args.quiet, is_docker) {
            (true, true) => "{{.ID}}",
            (true, false) => "{{.Name}}",
            _ => table,
        },
        headers: &[("ID", "NETWORK ID")],
        format: args.format.as_deref(),
        no_heading: args.noheading,
        docker: &[
            "CreatedAt",
            "Driver",
            "ID",
            "IPv6",
            "Internal",
            "Labels",
            "Name",
            "Scope",
        ],
    }
    .print(out, &rows, || {
        records.iter().map(|r| inspect::podmans(r, &[])).collect()
    })?;
    Ok(0)
}

fn row(record: &NetworkRecord, full: bool, is_docker: bool) -> Value {
    let id = match full {
        true => record.id.as_str(),
        false => record.id.get(..12).unwrap_or(&record.id),
    };
    let mut row = inspect::podmans(record, &[]);
    let more = json!({
        "ID": id,
        "Id": record.id,
        "Name": if is_docker { inspect::name(record) } else { record.name.as_str() },
        "Driver": "bridge",
        "Scope": "local",
        "Subnets": row["subnets"].clone(),
        "IPv6": record.has_v6().to_string(),
        "IPv6Enabled": record.has_v6(),
        "Internal": if is_docker { json!(record.internal.to_string()) } else { json!(record.internal) },
        "DNSEnabled": record.dns,
        "NetworkInterface": record.interface,
        "Labels": docker::labels(&record.labels),
        "Options": record.options,
        "Created": record.created.rfc3339(),
        "CreatedAt": record.created.rfc3339(),
    });
    if let (Value::Object(row), Value::Object(more)) = (&mut row, more) {
        row.extend(more);
    }
    row
}
