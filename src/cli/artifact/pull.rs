//! `artifact pull`.

use std::sync::Arc;

use crate::base::Result;
use crate::base::progress::Silent;
use crate::cli::image::args::{RegistryArgs, RetryArgs};
use crate::cli::output::Out;
use crate::operations::image::artifact;
use crate::operations::session::Session;

/// Bring an artifact here
///
/// Prints its digest.
#[derive(Debug, clap::Args)]
pub struct PullArgs {
    /// How to talk to registries
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// How often to try
    #[command(flatten)]
    pub retry: RetryArgs,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
    /// Name of the artifact
    #[arg(value_name = "ARTIFACT")]
    pub name: String,
}

/// Runs `artifact pull`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: PullArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.quiet {
        session.progress = Arc::new(Silent);
    }
    let mut registry = args.registry.options()?;
    args.retry.apply(&mut registry)?;
    let digest = artifact::pull(session, &args.name, &registry)?;
    out.line(digest.hex())?;
    Ok(0)
}
