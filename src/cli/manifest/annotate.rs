//! `manifest annotate`.

use super::DescribeArgs;
use crate::base::{Error, Result};
use crate::cli::image::args::RegistryArgs;
use crate::cli::output::Out;
use crate::operations::image::manifest;
use crate::operations::session::Session;

/// Change what a list says of a member
///
/// The member is named by its digest or by its image. Prints the list's id.
#[derive(Debug, clap::Args)]
pub struct AnnotateArgs {
    /// What the list says of it
    #[command(flatten)]
    pub describe: DescribeArgs,
    /// Annotate the list itself, not a member
    #[arg(long, conflicts_with_all = ["arch", "os", "os_version", "os_features", "features", "variant"])]
    pub index: bool,
    /// Image that the list is about
    #[arg(long, value_name = "IMAGE")]
    pub subject: Option<String>,
    /// The list
    #[arg(value_name = "LIST")]
    pub list: String,
    /// The member
    #[arg(value_name = "IMAGE|DIGEST")]
    pub member: Option<String>,
}

/// Runs `manifest annotate`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: AnnotateArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let member = match (args.index || args.subject.is_some(), args.member.as_deref()) {
        (true, None) => None,
        (false, Some(member)) => Some(member),
        (true, Some(_)) => {
            return Err(Error::invalid(
                "--index and --subject are for the list, not for a member",
            ));
        }
        (false, None) => return Err(Error::invalid("name a member, or give --index")),
    };
    let describe = args.describe.describe()?;
    let registry = RegistryArgs::default().options()?;
    let subject = args.subject.as_deref();
    let id = manifest::annotate(session, &args.list, member, &describe, subject, &registry)?;
    if !out.is_docker() {
        out.line(id.hex())?;
    }
    Ok(0)
}
