//! `volume import`.

use std::path::PathBuf;

use super::super::output::Out;
use crate::base::{Context as _, Result};
use crate::operations::session::Session;
use crate::operations::volume;

/// Unpack a tar into a volume
///
/// The tar may be plain, or compressed with gzip or zstd. Files of the same names are replaced, others stay.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// Name of the volume
    name: String,
    /// File to read, or `-` for standard input
    #[arg(value_name = "FILE|-", default_value = "-")]
    source: PathBuf,
}

/// Runs `volume import`.
///
/// # Errors
/// What the operation says.
pub fn run(args: ImportArgs, session: &mut Session, _out: &mut Out) -> Result<u8> {
    if args.source.as_os_str() == "-" {
        volume::import(session, &args.name, &mut std::io::stdin().lock())?;
    } else {
        let mut file = std::fs::File::open(&args.source)
            .what(|| format!("cannot open {}", args.source.display()))?;
        volume::import(session, &args.name, &mut file)?;
    }
    Ok(0)
}
