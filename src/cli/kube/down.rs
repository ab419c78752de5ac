//! `kube down`.

use super::play::{read_all, show_downed};
use crate::base::Result;
use crate::cli::output::Out;
use crate::kube::{Wish, plan};
use crate::operations::kube as operation;
use crate::operations::session::Session;

/// Remove what manifests made
///
/// Pods, secrets and volumes of their own. Volumes of claims stay without --force.
#[derive(Debug, clap::Args)]
pub struct DownArgs {
    /// Volumes of claims, too
    #[arg(long)]
    force: bool,
    /// Files, addresses, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
}

/// Runs `kube down`.
///
/// # Errors
/// What the manifests or the operation say.
pub fn run(args: DownArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let objects = read_all(session, &args.files)?;
    let plan = plan(&objects, &Wish::default(), &|kind, name| {
        operation::lookup(session, kind, name)
    })?;
    let gone = operation::down(session, &plan, args.force)?;
    show_downed(&gone, out)?;
    Ok(0)
}
