//! `quadlet list`.

use serde_json::{Value, json};

use super::super::output::{Listing, Out};
use crate::base::filter::Filters;
use crate::base::glob;
use crate::base::{Error, Result};
use crate::operations::quadlet::{Listed, list};
use crate::operations::session::Session;

/// List quadlets
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// List those only for which KEY=VALUE holds: name
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print by a Go template, or `json`
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Leave out the headings
    #[arg(short, long)]
    noheading: bool,
}

/// Runs `quadlet list`; answers the exit code: 125 when a quadlet cannot be read.
///
/// # Errors
/// What the filters or the template say.
pub fn run(args: ListArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let filters = Filters::parse(&args.filter, &["name"])?;
    let (listed, errors) = list(&super::scope(session));
    let mut rows: Vec<Value> = Vec::new();
    for one in &listed {
        if filters.accept(|_, pattern| Ok(glob::matches(pattern, &one.name)))? {
            rows.push(row(one));
        }
    }
    Listing {
        default: "table {{.Name}} {{.UnitName}} {{.Path}} {{.Status}} {{.App}}",
        headers: &[
            ("UnitName", "UNIT NAME"),
            ("Path", "PATH ON DISK"),
            ("App", "APPLICATION"),
        ],
        format: args.format.as_deref(),
        no_heading: args.noheading,
        docker: &[],
    }
    .print(out, &rows, || Value::Array(rows.clone()))?;
    errors.iter().for_each(|e: &Error| out.error(e));
    Ok(if errors.is_empty() { 0 } else { 125 })
}

fn row(listed: &Listed) -> Value {
    json!({
        "Name": listed.name,
        "UnitName": listed.unit,
        "Path": listed.path,
        "Status": listed.status,
        "App": listed.app,
    })
}
