//! `info`.

use super::super::output::listing::is_json;
use super::super::output::{Out, Template};
use crate::base::{Context as _, Kind, Result};
use crate::operations::session::Session;
use crate::operations::system::info;

/// Show what this host and this installation are
///
/// The section `choices` tells which storage driver, network and cgroup mode containers get here,
/// and why. Templates may name podman's fields (`{{.Host.Arch}}`) and docker's (`{{.NCPU}}`).
#[derive(Debug, clap::Args)]
pub struct InfoArgs {
    /// Print by a Go template, or `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Accepted for podman; changes nothing
    #[arg(short = 'D', hide = true)]
    debug: bool,
}

/// Runs `info`.
///
/// # Errors
/// What the configuration or the template says.
pub fn run(args: InfoArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    match args.format.as_deref() {
        None => {
            let yaml = serde_yaml::to_string(&info::info(session)?)
                .what_kind(Kind::Internal, || "cannot write the facts as YAML")?;
            out.text(&yaml)?;
        }
        Some(format) if is_json(format) && out.is_docker() => {
            out.line(info::info_for_templates(session)?.to_string())?;
        }
        Some(format) if is_json(format) => out.json(&info::info(session)?)?,
        Some(format) => {
            let template = Template::parse(format)?;
            out.line(template.render(&info::info_for_templates(session)?)?)?;
        }
    }
    Ok(0)
}
