//! `search`.

use serde_json::{Value, json};

use crate::base::{Error, Result};
use crate::cli::output::filter::Filters;
use crate::cli::output::{Listing, Out};
use crate::operations::image::search;
use crate::operations::session::Session;

use super::args::RegistryArgs;

/// Look for images in registries
///
/// A word that begins with a registry (quay.io/word) is looked for there, another one in the
/// registries to search, or in Docker Hub.
#[derive(Debug, clap::Args)]
pub struct SearchArgs {
    /// Only what this holds for: stars=N, is-official, is-automated
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Go template, or json
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// List the tags of a repository
    #[arg(long)]
    pub list_tags: bool,
    /// Show descriptions in full
    #[arg(long)]
    pub no_trunc: bool,
    /// How to talk to registries
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// The word
    #[arg(value_name = "WORD")]
    pub word: String,
}

/// Runs `search`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: SearchArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let options = args.registry.options()?;
    if args.list_tags {
        if !args.filter.is_empty() {
            return Err(Error::invalid(
                "--list-tags and --filter exclude each other",
            ));
        }
        let limit = args.limit.unwrap_or(usize::MAX);
        let (name, tags) = search::tags(session, &args.word, limit, &options)?;
        let rows: Vec<Value> = tags
            .iter()
            .map(|tag| json!({"Name": name, "Tag": tag}))
            .collect();
        Listing {
            default: "table {{.Name}}\t{{.Tag}}",
            headers: &[],
            format: args.format.as_deref(),
            no_heading: false,
            docker: &[],
        }
        .print(out, &rows, || json!([{"Name": name, "Tags": tags}]))?;
        return Ok(0);
    }
    let filters = Filters::parse(
        &args
            .filter
            .iter()
            .map(|f| {
                if f.contains('=') {
                    f.clone()
                } else {
                    format!("{f}=true")
                }
            })
            .collect::<Vec<_>>(),
        &["stars", "is-official", "is-automated"],
    )?;
    let mut rows = Vec::new();
    for finding in search::search(session, &args.word, args.limit.unwrap_or(25), &options)? {
        let accepted = filters.accept(|key, value| {
            let bad = || Error::invalid(format!("invalid value {value:?} of filter {key}"));
            Ok(match key {
                "stars" => finding.stars >= value.parse::<u64>().map_err(|_| bad())?,
                "is-official" => finding.official == value.parse::<bool>().map_err(|_| bad())?,
                _ => finding.automated == value.parse::<bool>().map_err(|_| bad())?,
            })
        })?;
        if !accepted {
            continue;
        }
        let description = if args.no_trunc || finding.description.chars().count() <= 60 {
            finding.description.clone()
        } else {
            finding
                .description
                .chars()
                .take(57)
                .chain("...".chars())
                .collect()
        };
        let mark = |on: bool| if on { "[OK]" } else { "" };
        rows.push(json!({
            "Index": finding.name.split('/').next().unwrap_or_default(),
            "Name": finding.name,
            "Description": description,
            "Stars": finding.stars,
            "Official": mark(finding.official),
            "Automated": mark(finding.automated),
        }));
    }
    Listing {
        default: "table {{.Name}}\t{{.Description}}",
        headers: &[],
        format: args.format.as_deref(),
        no_heading: false,
        docker: &[],
    }
    .print(out, &rows, || Value::Array(rows.clone()))?;
    Ok(0)
}
