//! `tag` and `untag`.

use crate::base::Result;
use crate::cli::output::Out;
use crate::image::store::local_name;
use crate::operations::image;
use crate::operations::session::Session;

/// Give an image more names
///
/// A name without a registry gets localhost/ in front; one without a tag gets :latest.
#[derive(Debug, clap::Args)]
pub struct TagArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// The new names
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

/// Runs `tag`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn tag(args: TagArgs, session: &mut Session, _out: &mut Out) -> Result<u8> {
    let names = args
        .names
        .iter()
        .map(|name| local_name(name))
        .collect::<Result<Vec<_>>>()?;
    image::tag(session, &args.image, &names)?;
    Ok(0)
}

/// Take names away from an image
///
/// Without names all of them go. The image itself stays, also without any name.
#[derive(Debug, clap::Args)]
pub struct UntagArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// The names to take away
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

/// Runs `untag`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn untag(args: UntagArgs, session: &mut Session, _out: &mut Out) -> Result<u8> {
    image::untag(session, &args.image, &args.names)?;
    Ok(0)
}
