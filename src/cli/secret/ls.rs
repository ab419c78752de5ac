//! `secret ls`.

use serde_json::{Value, json};

use super::super::output::{Listing, Out};
use super::inspect;
use crate::base::Result;
use crate::base::filter::Filters;
use crate::base::time::{Timestamp, human_duration};
use crate::operations::secret;
use crate::operations::session::Session;
use crate::secrets::SecretRecord;

/// List secrets
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// List those only for which KEY=VALUE holds: name, id, label
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print by a Go template, or `json`
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Leave out the headings
    #[arg(short, long)]
    noheading: bool,
    /// Print the ids only
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
}

/// Runs `secret ls`.
///
/// # Errors
/// What the filters, the template or the records say.
pub fn run(args: LsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let filters = Filters::parse(&args.filter, secret::FILTERS)?;
    let records = secret::list(session, &filters)?;
    let rows: Vec<Value> = records.iter().map(row).collect();
    Listing {
        default: if args.quiet {
            "{{.ID}}"
        } else {
            "table {{.ID}} {{.Name}} {{.Driver}} {{.CreatedAt}} {{.UpdatedAt}}"
        },
        headers: &[("CreatedAt", "CREATED"), ("UpdatedAt", "UPDATED")],
        format: args.format.as_deref(),
        no_heading: args.noheading,
        docker: &[],
    }
    .print(out, &rows, || records.iter().map(inspect::value).collect())?;
    Ok(0)
}

fn row(record: &SecretRecord) -> Value {
    let ago = |t: Timestamp| format!("{} ago", human_duration(t.elapsed()));
    let mut row = json!({
        "ID": record.id,
        "Name": record.name.as_str(),
        "Driver": record.driver,
        "CreatedAt": ago(record.created),
        "UpdatedAt": ago(record.updated),
        "Labels": record.labels,
    });
    row["Spec"] = inspect::value(record)["Spec"].take();
    row
}
