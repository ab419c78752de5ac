//! `import`.

use crate::base::Result;
use crate::cli::output::Out;
use crate::image::store::local_name;
use crate::operations::image::import::{self, Import, Source};
use crate::operations::session::Session;

use super::args::PlatformArgs;

/// Make an image from the tar archive of a root file system
///
/// The archive may be compressed with gzip, zstd, bzip2 or xz, and come from a file, from standard input (-)
/// or from a web server. The image gets one layer and the changes given with --change.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// Apply a Containerfile instruction (CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR)
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Note for the image's history
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Print the image id only
    #[arg(short, long)]
    pub quiet: bool,
    /// Which platform the image is for
    #[command(flatten)]
    pub platform: PlatformArgs,
    /// Path, address, or - for standard input
    #[arg(value_name = "PATH|URL|-")]
    pub source: String,
    /// Name of the image
    #[arg(value_name = "NAME[:TAG]")]
    pub name: Option<String>,
}

/// Runs `import`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: ImportArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let import = Import {
        name: args.name.as_deref().map(local_name).transpose()?,
        changes: args.change,
        message: args.message,
        platform: args.platform.platform()?,
    };
    let record = import::import(session, &Source::parse(&args.source), &import)?;
    out.line(record.id.to_string())?;
    Ok(0)
}
