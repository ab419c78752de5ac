//! `artifact add`.

use std::path::PathBuf;

use crate::base::Result;
use crate::cli::manifest::annotations;
use crate::cli::output::Out;
use crate::operations::image::artifact::{self, AddOptions};
use crate::operations::session::Session;

/// Make an artifact of files
///
/// Each file is a blob with its name as the title. Prints the artifact's digest.
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// Annotation of each file
    #[arg(long, value_name = "KEY=VALUE")]
    pub annotation: Vec<String>,
    /// Add the files to an artifact that is here
    #[arg(short, long, conflicts_with_all = ["replace", "kind"])]
    pub append: bool,
    /// Media type of the files; the default is what their content tells
    #[arg(long, value_name = "TYPE")]
    pub file_type: Option<String>,
    /// Take the place of an artifact that is here
    #[arg(long)]
    pub replace: bool,
    /// Type of the artifact
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Name of the artifact
    #[arg(value_name = "ARTIFACT")]
    pub name: String,
    /// The files
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// Runs `artifact add`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: AddArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let options = AddOptions {
        annotations: annotations(&args.annotation)?,
        append: args.append,
        replace: args.replace,
        file_type: args.file_type,
        kind: args.kind,
    };
    let digest = artifact::add(session, &args.name, &args.files, &options)?;
    out.line(digest.hex())?;
    Ok(0)
}
