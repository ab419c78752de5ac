//! `commit`.

use std::path::PathBuf;

use crate::base::{Context as _, Error, Result};
use crate::cli::output::Out;
use crate::image::manifest::Format;
use crate::image::store::local_name;
use crate::operations::container::commit::{CommitOptions, commit};
use crate::operations::session::Session;
use crate::state::container::Containers;

/// Make an image of a container
///
/// Prints the image's id.
#[derive(Debug, clap::Args)]
pub struct CommitArgs {
    /// Who made it
    #[arg(short, long, value_name = "AUTHOR")]
    pub author: Option<String>,
    /// A Containerfile instruction, e.g. 'CMD ["sh"]'
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Form of the manifest: oci or docker
    #[arg(short, long, value_name = "FORMAT", default_value = "oci")]
    pub format: String,
    /// Write the image's id to this file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,
    /// Name the volumes' paths in the configuration
    #[arg(long)]
    pub include_volumes: bool,
    /// A note for the history
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Freeze the container meanwhile
    #[arg(short, long)]
    pub pause: Option<bool>,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
    /// One layer for everything, the base image's files too
    #[arg(short, long)]
    pub squash: bool,
    /// Container and the image's name
    #[arg(value_name = "CONTAINER [IMAGE]", required = true, num_args = 1..=2)]
    pub words: Vec<String>,
}

/// Runs `commit`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: CommitArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let format = match args.format.as_str() {
        "oci" => Format::Oci,
        "docker" => Format::Docker,
        other => {
            return Err(
                Error::invalid(format!("invalid format {other:?}")).hint("use oci or docker")
            );
        }
    };
    if args.quiet {
        session.progress = std::sync::Arc::new(crate::base::progress::Silent);
    }
    let mut words = args.words.into_iter();
    let name = words.next().unwrap_or_default();
    let container = Containers::new(&session.dirs).find(&name)?;
    let options = CommitOptions {
        name: words.next().as_deref().map(local_name).transpose()?,
        author: args.author,
        message: args.message,
        changes: args.change,
        pause: args.pause.unwrap_or(false) || (out.is_docker() && args.pause.is_none()),
        include_volumes: args.include_volumes,
        format,
        squash: args.squash,
    };
    let image = commit(session, &container, &options)?;
    if let Some(file) = &args.iidfile {
        std::fs::write(file, image.id.to_string())
            .what(|| format!("cannot write {}", file.display()))?;
    }
    let id = if out.is_docker() {
        image.id.to_string()
    } else {
        image.id.hex().to_owned()
    };
    out.line(id)?;
    Ok(0)
}
