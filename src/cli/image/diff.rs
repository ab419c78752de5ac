//! `image diff`.

use crate::base::Result;
use crate::cli::container::diff::show;
use crate::cli::output::Out;
use crate::operations::image;
use crate::operations::session::Session;

/// Show what an image changed: A added, C changed, D deleted
///
/// Against the second image, or without one against the image's own layers but the uppermost.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// json for a machine
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Name or id
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Name or id of another one
    #[arg(value_name = "OTHER")]
    pub other: Option<String>,
}

/// Runs `image diff`; answers the exit code.
///
/// # Errors
/// As the lookup; what storage says.
pub fn run(args: DiffArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let found = image::lookup(session, &args.image)?;
    let other = match &args.other {
        Some(other) => Some(image::lookup(session, other)?.record),
        None => None,
    };
    let changes = image::inspect::diff(session, &found.record, other.as_ref())?;
    show(&changes, args.format.as_deref(), out)?;
    Ok(0)
}
