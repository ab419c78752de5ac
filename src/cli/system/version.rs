//! `version`.

use super::super::output::listing::is_json;
use super::super::output::{Out, Template};
use crate::base::Result;
use crate::operations::session::Session;
use crate::operations::system::version;

/// Show the version
#[derive(Debug, clap::Args)]
pub struct VersionArgs {
    /// Print by a Go template, or `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// Runs `version`.
///
/// # Errors
/// What the template says.
pub fn run(args: VersionArgs, _session: &mut Session, out: &mut Out) -> Result<u8> {
    match args.format.as_deref() {
        Some(format) if is_json(format) && out.is_docker() => {
            out.line(version::version_for_templates().to_string())?;
        }
        Some(format) if is_json(format) => out.line(version::version().to_string())?,
        Some(format) => {
            let text = Template::parse(format)?.render(&version::version_for_templates())?;
            out.line(text)?;
        }
        None if out.is_docker() => {
            let os_arch = version::os_arch();
            let version = version::VERSION;
            out.text(&format!(
                "Client: coracle\n Version:           {version}\n OS/Arch:           {os_arch}\n \
                 Context:           default\n\nServer: coracle\n Engine:\n  \
                 Version:          {version}\n  OS/Arch:          {os_arch}\n"
            ))?;
        }
        None => {
            let os_arch = version::os_arch();
            let version = version::VERSION;
            out.text(&format!(
                "Client:       coracle\nVersion:      {version}\nOS/Arch:      {os_arch}\n"
            ))?;
        }
    }
    Ok(0)
}
