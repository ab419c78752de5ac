//! `info`.

use serde_json::Value;

use super::super::output::listing::is_json;
use super::super::output::{Out, Template};
use crate::base::{Context as _, Kind, Result, size};
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
        None if out.is_docker() => {
            let text = as_docker(&info::info_for_templates(session)?);
            out.text(&text)?;
        }
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

/// docker's summary: the client, then what it would ask its server.
fn as_docker(info: &Value) -> String {
    let version = crate::operations::system::version::VERSION;
    let mut text = format!(
        "Client: coracle\n Version:    {version}\n Context:    default\n Debug Mode: false\n\nServer:\n"
    );
    for (depth, name, key) in [
        (1, "Containers", "Containers"),
        (2, "Running", "ContainersRunning"),
        (2, "Paused", "ContainersPaused"),
        (2, "Stopped", "ContainersStopped"),
        (1, "Images", "Images"),
        (1, "Server Version", "ServerVersion"),
        (1, "Storage Driver", "Driver"),
        (1, "Logging Driver", "LoggingDriver"),
        (1, "Cgroup Driver", "CgroupDriver"),
        (1, "Cgroup Version", "CgroupVersion"),
        (1, "Default Runtime", "DefaultRuntime"),
        (1, "Security Options", "SecurityOptions"),
        (1, "Kernel Version", "KernelVersion"),
        (1, "Operating System", "OperatingSystem"),
        (1, "OSType", "OSType"),
        (1, "Architecture", "Architecture"),
        (1, "CPUs", "NCPU"),
        (1, "Total Memory", "MemTotal"),
        (1, "Name", "Name"),
        (1, "Docker Root Dir", "DockerRootDir"),
    ] {
        let indent = " ".repeat(depth);
        match (&info[key], key) {
            (Value::Array(list), _) => {
                text.push_str(&format!("{indent}{name}:\n"));
                for option in list.iter().filter_map(Value::as_str) {
                    let shown = option.split(',').next().unwrap_or_default();
                    let shown = shown.trim_start_matches("name=");
                    text.push_str(&format!("{indent} {shown}\n"));
                }
            }
            (Value::Number(bytes), "MemTotal") => {
                let bytes = size::human_binary(bytes.as_u64().unwrap_or(0));
                text.push_str(&format!("{indent}{name}: {bytes}\n"));
            }
            (Value::String(word), _) => text.push_str(&format!("{indent}{name}: {word}\n")),
            (other, _) => text.push_str(&format!("{indent}{name}: {other}\n")),
        }
    }
    text
}
