//! `artifact extract`.

use std::path::PathBuf;

use crate::base::Result;
use crate::cli::output::Out;
use crate::operations::image::artifact::{self, Pick};
use crate::operations::session::Session;

/// Write an artifact's files
///
/// Into a folder under their own names, or a single one to a path.
#[derive(Debug, clap::Args)]
pub struct ExtractArgs {
    /// Only the file with this digest
    #[arg(long, value_name = "DIGEST", conflicts_with = "title")]
    pub digest: Option<String>,
    /// Only the file with this title
    #[arg(long, value_name = "TITLE")]
    pub title: Option<String>,
    /// Name or digest
    #[arg(value_name = "ARTIFACT")]
    pub name: String,
    /// Where to
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
}

/// Runs `artifact extract`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: ExtractArgs, session: &mut Session, _out: &mut Out) -> Result<u8> {
    let pick = match (args.digest, args.title) {
        (Some(digest), _) => Pick::Digest(digest),
        (None, Some(title)) => Pick::Title(title),
        (None, None) => Pick::All,
    };
    artifact::extract(session, &args.name, &pick, &args.path)?;
    Ok(0)
}
