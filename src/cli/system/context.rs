//! `context`: docker's choice of a daemon. There is none, so there is one context, `default`.

use serde_json::{Value, json};

use super::super::output::listing::print_object;
use super::super::output::{Listing, Out};
use crate::base::{Error, Result};
use crate::operations::session::Session;

/// Show docker's only context here
///
/// For scripts written for docker: `context ls`, `show`, `inspect` and `use default`.
#[derive(Debug, clap::Args)]
pub struct ContextArgs {
    /// Print by a Go template, or `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Print names only
    #[arg(short, long)]
    quiet: bool,
    /// ls, show, inspect or use
    #[arg(required = true, value_name = "VERB")]
    words: Vec<String>,
}

/// Runs `context`.
///
/// # Errors
/// `NotFound` for another context; `Unsupported` for verbs that would need a daemon.
pub fn run(args: ContextArgs, _session: &mut Session, out: &mut Out) -> Result<u8> {
    let (verb, names) = match args.words.split_first() {
        Some((verb, names)) => (verb.as_str(), names),
        None => ("", &[][..]),
    };
    if let Some(other) = names.iter().find(|n| *n != "default") {
        return Err(Error::not_found(format!("no such context: {other:?}"))
            .because("coracle has no daemon and no remote client"));
    }
    match verb {
        "ls" | "list" if args.quiet => out.line("default")?,
        "ls" | "list" => {
            let row = json!({
                "Name": "default",
                "Description": "this machine, without a daemon",
                "DockerEndpoint": "",
                "Error": "",
                "Current": true,
            });
            Listing {
                default: "table {{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}",
                headers: &[("DockerEndpoint", "DOCKER ENDPOINT")],
                format: args.format.as_deref(),
                no_heading: false,
                docker: &[],
            }
            .print(out, std::slice::from_ref(&row), || Value::Array(vec![row.clone()]))?;
        }
        "show" => out.line("default")?,
        "use" => out.line("default")?,
        "inspect" => {
            let value = json!({
                "Name": "default",
                "Metadata": {},
                "Endpoints": {"docker": {"Host": "", "SkipTLSVerify": false}},
                "TLSMaterial": {},
                "Storage": {"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"},
            });
            match args.format {
                None => out.json(&Value::Array(vec![value]))?,
                format => print_object(out, format.as_deref(), &value)?,
            }
        }
        _ => {
            return Err(
                Error::unsupported(format!("`context {verb}` is not supported"))
                    .because("coracle has no daemon and no remote client"),
            );
        }
    }
    Ok(0)
}
