//! `artifact inspect`.

use serde_json::{Value, json};

use crate::base::{Context as _, Kind, Result};
use crate::cli::output::{Out, listing};
use crate::operations::image;
use crate::operations::session::Session;

/// Show everything about an artifact
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Print by a Go template, or `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Name or digest
    #[arg(value_name = "ARTIFACT")]
    pub name: String,
}

/// Runs `artifact inspect`; answers the exit code.
///
/// # Errors
/// As the lookup; a malformed template.
pub fn run(args: InspectArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let record = image::images(session).artifact(&args.name)?;
    let manifest: Value = serde_json::from_str(&record.member.manifest.raw)
        .what_kind(Kind::Corrupt, || "the artifact's manifest is malformed")?;
    let value = json!({
        "Manifest": manifest,
        "Name": record.name,
        "Digest": record.digest().to_string(),
    });
    listing::print_object(out, args.format.as_deref(), &value)?;
    Ok(0)
}
