//! `manifest push`.

use std::sync::Arc;

use crate::base::progress::Silent;
use crate::base::{Error, Result};
use crate::cli::image::args::{PushedArgs, RegistryArgs, RetryArgs};
use crate::cli::output::Out;
use crate::image::manifest::Format;
use crate::operations::image::manifest::{self, PushOptions};
use crate::operations::session::Session;

/// Give a list and its images to a registry
///
/// Without a destination it goes to the registry of its own name.
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// Push the images, too (the default); --all=false: only the list
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", action = clap::ArgAction::Set)]
    pub all: bool,
    /// Remove the list here afterwards
    #[arg(long)]
    pub rm: bool,
    /// docker's word for --rm
    #[arg(short, long, hide = true)]
    pub purge: bool,
    /// Form of the list: oci or v2s2
    #[arg(short, long, value_name = "FORM")]
    pub format: Option<String>,
    /// What is done with the list that was pushed
    #[command(flatten)]
    pub pushed: PushedArgs,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
    /// Accepted for podman's sake: signatures are never copied
    #[arg(long, hide = true)]
    pub remove_signatures: bool,
    /// How to talk to registries
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Talk to registries without TLS or with a bad certificate
    #[arg(long, hide = true)]
    pub insecure: bool,
    /// How often to try
    #[command(flatten)]
    pub retry: RetryArgs,
    /// The list
    #[arg(value_name = "LIST")]
    pub list: String,
    /// Another name
    #[arg(value_name = "DESTINATION")]
    pub destination: Option<String>,
}

/// Runs `manifest push`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: PushArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.quiet {
        session.progress = Arc::new(Silent);
    }
    let mut registry = args.registry.options_or_insecure(args.insecure)?;
    args.retry.apply(&mut registry)?;
    let format = match args.format.as_deref() {
        None | Some("oci") => Format::Oci,
        Some("v2s2" | "docker") => Format::Docker,
        Some(other) => {
            return Err(Error::invalid(format!("invalid format {other:?}")).hint("use oci or v2s2"));
        }
    };
    let options = PushOptions {
        all: args.all,
        format,
        rm: args.rm || args.purge,
        registry,
        signing: args.pushed.signing(),
    };
    let digest = manifest::push(session, &args.list, args.destination.as_deref(), &options)?;
    args.pushed.note(&digest)?;
    if !args.quiet {
        out.line(digest.to_string())?;
    }
    Ok(0)
}
