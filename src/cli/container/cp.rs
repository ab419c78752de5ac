//! `cp`.

use crate::base::Result;
use crate::cli::output::Out;
use crate::operations::container::cp::{self, CopyOptions, Place};
use crate::operations::session::Session;
use crate::state::container::Containers;

/// Copy files between a container and the host
///
/// A side is CONTAINER:PATH, a path of the host, or - for a tar from standard input or to standard
/// output. SRC/. means what is in the folder. Works on containers that do not run, too.
#[derive(Debug, clap::Args)]
pub struct CpArgs {
    /// Give what goes in to the container's user (on by default; =false keeps owners)
    ///
    /// This is podman's meaning. When coracle is called as docker it is Docker's: keep owners.
    #[arg(short, long)]
    pub archive: Option<bool>,
    /// A symbolic link as source means what it points to
    #[arg(short = 'L', long)]
    pub follow_link: bool,
    /// A folder may replace a file, and the other way round
    #[arg(long)]
    pub overwrite: bool,
    /// No progress (there is none)
    #[arg(short, long)]
    pub quiet: bool,
    /// From where
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Where to
    #[arg(value_name = "DESTINATION")]
    pub destination: String,
}

/// Runs `cp`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: CpArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let containers = Containers::new(&session.dirs);
    let source = cp::parse(&args.source, &containers);
    let destination = cp::parse(&args.destination, &containers);
    if destination == Place::Stream && out.is_terminal() {
        return Err(
            crate::base::Error::invalid("an archive is nothing for a terminal")
                .hint("redirect standard output"),
        );
    }
    let keep = match (out.is_docker(), args.archive) {
        (true, given) => given.unwrap_or(false),
        (false, given) => given == Some(false),
    };
    let options = CopyOptions {
        // A tar says whose its files are.
        archive: keep || source == Place::Stream,
        overwrite: args.overwrite,
        follow: args.follow_link,
    };
    let mut input = std::io::stdin();
    cp::copy(
        session,
        &source,
        &destination,
        options,
        &mut input,
        &mut super::ToOut(out),
    )?;
    Ok(0)
}
