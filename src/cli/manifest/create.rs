//! `manifest create`.

use crate::base::Result;
use crate::cli::image::args::RegistryArgs;
use crate::cli::output::Out;
use crate::operations::image::manifest::{self, CreateOptions};
use crate::operations::session::Session;

/// Make a list of images, for several platforms
///
/// Members are images here, or in registries. Prints the list's id.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Of members that are lists themselves take all members
    #[arg(long)]
    pub all: bool,
    /// Add to the list, if there is one of that name
    #[arg(short, long)]
    pub amend: bool,
    /// Annotation of the list
    #[arg(long, value_name = "KEY=VALUE")]
    pub annotation: Vec<String>,
    /// How to talk to registries
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Talk to registries without TLS or with a bad certificate
    #[arg(long, hide = true)]
    pub insecure: bool,
    /// The list
    #[arg(value_name = "LIST")]
    pub list: String,
    /// Its members
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// Runs `manifest create`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: CreateArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let options = CreateOptions {
        amend: args.amend,
        all: args.all,
        annotations: super::annotations(&args.annotation)?,
        registry: args.registry.options_or_insecure(args.insecure)?,
    };
    let id = manifest::create(session, &args.list, &args.images, &options)?;
    match out.is_docker() {
        true => out.line(format!("Created manifest list {}", args.list))?,
        false => out.line(id.hex())?,
    }
    Ok(0)
}
