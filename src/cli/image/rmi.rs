//! `rmi`.

use crate::base::{Error, Kind, Result};
use crate::cli::output::Out;
use crate::operations::image::{self, remove};
use crate::operations::session::Session;

/// Remove images
///
/// A name is taken away first; the image goes with its last one. Layers that nothing else needs
/// are freed. Exit codes: 1 no such image, 2 in use.
#[derive(Debug, clap::Args)]
pub struct RmiArgs {
    /// Remove all images
    #[arg(short, long)]
    pub all: bool,
    /// Remove containers that use them, and images with several names
    #[arg(short, long)]
    pub force: bool,
    /// Be content when there is no such image
    #[arg(short, long)]
    pub ignore: bool,
    /// Keep untagged images that these were made from
    #[arg(long)]
    pub no_prune: bool,
    /// Names or ids
    #[arg(value_name = "IMAGE", required_unless_present = "all")]
    pub images: Vec<String>,
}

/// Runs `rmi`; answers the exit code.
///
/// # Errors
/// The last failure; the others are reported, and the rest is removed.
pub fn run(args: RmiArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let options = remove::Options {
        force: args.force,
        no_prune: args.no_prune,
    };
    let mut targets = args.images;
    if args.all {
        if !targets.is_empty() {
            return Err(Error::invalid("--all and names exclude each other"));
        }
        targets = image::list::list(session)?
            .iter()
            .map(|i| i.record.id.to_string())
            .collect();
    }
    let mut failure: Option<Error> = None;
    for target in &targets {
        // With --all every name goes, and what an earlier one took along is no failure.
        let options = remove::Options {
            force: options.force,
            ..options
        };
        let removed = if args.all {
            remove::remove_all_names(session, target, options)
        } else {
            remove::remove(session, target, options)
        };
        match removed {
            Ok(lines) => {
                for line in lines {
                    out.line(line.line())?;
                }
            }
            Err(e) if e.kind() == Kind::NotFound && (args.ignore || args.all) => {}
            Err(e) => {
                if let Some(previous) = failure.replace(e) {
                    out.error(&previous);
                }
            }
        }
    }
    failure.map_or(Ok(0), Err)
}
