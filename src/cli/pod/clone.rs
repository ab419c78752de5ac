//! `pod clone`.

use crate::base::{Error, Result};
use crate::cli::output::Out;
use crate::operations::pod::copy::{CloneOptions, clone};
use crate::operations::session::Session;
use crate::state::pod::Pods;

/// Make a pod with the options of another one, and its containers anew
///
/// Named volumes are shared; file systems and anonymous volumes are new. Prints the new pod's id.
#[derive(Debug, clap::Args)]
pub struct CloneArgs {
    /// Remove the first pod afterwards
    #[arg(long)]
    destroy: bool,
    /// Name of the new one; else the first one's with -clone
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,
    /// Start the new one
    #[arg(long)]
    start: bool,
    /// Name or id of the first one
    #[arg(value_name = "POD")]
    pod: String,
    /// Name of the new one, if --name is not used
    #[arg(value_name = "NAME")]
    called: Option<String>,
}

/// Runs `pod clone`: prints the new id.
///
/// # Errors
/// What the operation says.
pub fn run(args: CloneArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.name.is_some() && args.called.is_some() {
        return Err(Error::invalid("the name is given twice"));
    }
    let first = Pods::new(&session.dirs).find(&args.pod)?;
    let wanted = CloneOptions {
        name: args.name.or(args.called),
        destroy: args.destroy,
        start: args.start,
    };
    let made = clone(session, &first, &wanted, &mut |text| out.warn(text))?;
    out.line(made.id.as_str())?;
    Ok(0)
}
