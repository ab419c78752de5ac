//! `history`.

use serde_json::{Value, json};

use crate::base::Result;
use crate::base::size;
use crate::base::time::human_duration;
use crate::cli::output::{Listing, Out};
use crate::operations::image;
use crate::operations::image::inspect::HistoryLine;
use crate::operations::session::Session;

/// Show how an image was made
#[derive(Debug, clap::Args)]
pub struct HistoryArgs {
    /// Go template, or json
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Sizes and times for people
    #[arg(short = 'H', long, default_value = "true")]
    pub human: Option<bool>,
    /// Show everything in full
    #[arg(long)]
    pub no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    pub quiet: bool,
    /// Name or id
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// Runs `history`; answers the exit code.
///
/// # Errors
/// As the lookup.
pub fn run(args: HistoryArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let found = image::lookup(session, &args.image)?;
    let lines = image::inspect::history(session, &found.record)?;
    if args.quiet {
        for line in &lines {
            out.line(id(line, args.no_trunc))?;
        }
        return Ok(0);
    }
    let human = args.human != Some(false);
    let rows: Vec<Value> = lines
        .iter()
        .map(|line| row(line, human, args.no_trunc))
        .collect();
    Listing {
        default: "table {{.ID}}\t{{.Created}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
        headers: match out.is_docker() {
            true => &[("ID", "IMAGE"), ("CreatedBy", "CREATED BY")],
            false => &[("CreatedBy", "CREATED BY"), ("CreatedAt", "CREATED AT")],
        },
        format: args.format.as_deref(),
        no_heading: false,
        docker: &[
            "Comment",
            "CreatedAt",
            "CreatedBy",
            "CreatedSince",
            "ID",
            "Size",
        ],
    }
    .print(out, &rows, || {
        Value::Array(lines.iter().map(machine).collect())
    })?;
    Ok(0)
}

fn id(line: &HistoryLine, full: bool) -> String {
    match &line.id {
        None => "<missing>".to_owned(),
        Some(id) if full => id.clone(),
        Some(id) => id.chars().take(12).collect(),
    }
}

fn row(line: &HistoryLine, human: bool, full: bool) -> Value {
    let since = format!("{} ago", human_duration(line.created.elapsed()));
    let at = line.created.rfc3339();
    // A here-document has several lines, a table's row one.
    let by = match full {
        true => line.created_by.clone(),
        false => line.created_by.replace('\n', " "),
    };
    let by: String = if full || by.chars().count() <= 45 {
        by
    } else {
        by.chars().take(44).chain(['…']).collect()
    };
    json!({
        "ID": id(line, full),
        "Id": id(line, true),
        "Created": if human { since.clone() } else { at.clone() },
        "CreatedSince": since,
        "CreatedAt": at,
        "CreatedBy": by,
        "Size": if human { size::human(line.size) } else { line.size.to_string() },
        "Comment": line.comment,
        "Tags": line.tags,
    })
}

fn machine(line: &HistoryLine) -> Value {
    json!({
        "id": line.id.clone().unwrap_or_else(|| "<missing>".to_owned()),
        "created": line.created.rfc3339(),
        "Created": line.created.rfc3339(),
        "CreatedBy": line.created_by,
        "size": line.size,
        "comment": line.comment,
        "tags": line.tags,
    })
}
