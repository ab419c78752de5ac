//! `container clone`.

use super::options::{Limits, resources};
use crate::base::{Error, Result};
use crate::cli::output::Out;
use crate::operations::container::copy::{CloneOptions, clone};
use crate::operations::session::Session;
use crate::state::container::Containers;

/// Make a container with the options of another one
///
/// Named volumes are shared, anonymous ones and the file system are new. Limits that are given
/// replace those of the first container.
#[derive(Debug, clap::Args)]
pub struct CloneArgs {
    /// Remove the first container afterwards
    #[arg(long)]
    destroy: bool,
    /// Remove it even if it runs
    #[arg(short, long)]
    force: bool,
    /// Name of the new one; else the first one's with -clone
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Start the new one
    #[arg(long)]
    run: bool,
    #[command(flatten)]
    limits: Limits,
    /// Container, then a name and an image for the new one
    #[arg(required = true, num_args = 1..=3, value_name = "CONTAINER [NAME [IMAGE]]")]
    words: Vec<String>,
}

/// Runs `container clone`: prints the new id.
///
/// # Errors
/// What the operation says.
pub fn run(args: CloneArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.force && !args.destroy {
        return Err(Error::invalid("--force is for --destroy"));
    }
    let l = &args.limits;
    if !l.ulimit.is_empty() || l.cgroups.is_some() || l.cgroup_parent.is_some() {
        return Err(Error::unsupported(
            "--ulimit, --cgroups and --cgroup-parent stay as the first container has them",
        ));
    }
    let mut words = args.words.into_iter();
    let first = words.next().unwrap_or_default();
    let named = words.next();
    if named.is_some() && args.name.is_some() {
        return Err(Error::invalid("the name is given twice"));
    }
    let first = Containers::new(&session.dirs).find(&first)?;
    let wanted = CloneOptions {
        name: args.name.or(named),
        image: words.next(),
        resources: resources(l)?,
        destroy: args.destroy,
        force: args.force,
        run: args.run,
    };
    let made = clone(session, &first, wanted, &mut |text| out.warn(text))?;
    out.line(made.id().as_str())?;
    Ok(0)
}
