//! `manifest inspect`.

use serde_json::Value;

use crate::base::{Context as _, Kind, Result};
use crate::cli::image::args::RegistryArgs;
use crate::cli::output::Out;
use crate::operations::image::manifest;
use crate::operations::session::Session;

/// Show a list, here or in a registry
///
/// As JSON. docker://NAME asks the registry even when a list of that name is here.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// How to talk to registries
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Talk to registries without TLS or with a bad certificate
    #[arg(long, hide = true)]
    pub insecure: bool,
    /// Name or id
    #[arg(value_name = "LIST")]
    pub list: String,
}

/// Runs `manifest inspect`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: InspectArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let registry = args.registry.options_or_insecure(args.insecure)?;
    let raw = manifest::inspect(session, &args.list, &registry)?;
    let value: Value =
        serde_json::from_str(&raw).what_kind(Kind::Corrupt, || "the manifest is malformed")?;
    out.json(&value)?;
    Ok(0)
}
