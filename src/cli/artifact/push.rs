//! `artifact push`.

use std::sync::Arc;

use crate::base::Result;
use crate::base::progress::Silent;
use crate::cli::image::args::{PushedArgs, RegistryArgs, RetryArgs};
use crate::cli::output::Out;
use crate::operations::image::artifact;
use crate::operations::session::Session;

/// Give an artifact to a registry
///
/// Without a destination it goes to the registry of its own name. Prints its digest.
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// How to talk to registries
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// How often to try
    #[command(flatten)]
    pub retry: RetryArgs,
    /// What is done with the manifest that was pushed
    #[command(flatten)]
    pub pushed: PushedArgs,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
    /// Name or digest
    #[arg(value_name = "ARTIFACT")]
    pub name: String,
    /// Another name
    #[arg(value_name = "DESTINATION")]
    pub destination: Option<String>,
}

/// Runs `artifact push`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: PushArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.quiet {
        session.progress = Arc::new(Silent);
    }
    let mut registry = args.registry.options()?;
    args.retry.apply(&mut registry)?;
    let (to, signing) = (args.destination.as_deref(), args.pushed.signing());
    let digest = artifact::push(session, &args.name, to, &registry, &signing)?;
    args.pushed.note(&digest)?;
    if !args.quiet {
        out.line(digest.hex())?;
    }
    Ok(0)
}
