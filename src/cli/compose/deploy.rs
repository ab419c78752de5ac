//! `compose deploy`: a project handed to a cluster.

use clap::Args;

use super::export::pushed;
use super::project::ProjectFlags;
use crate::base::{Error, Result};
use crate::cli::kube::apply::ClusterFlags;
use crate::cli::output::Out;
use crate::compose::convert::PROJECT;
use crate::compose::export::{Fate, Given, kube};
use crate::operations::compose::objects;
use crate::operations::kube::apply::Request;
use crate::operations::session::Session;

/// Hand a project to a cluster
///
/// As `export kube` and `kube apply`: what the project has no more is removed there, but for claims;
/// the rollout is waited for and shown.
#[derive(Debug, Args)]
pub struct DeployArgs {
    #[command(flatten)]
    project: ProjectFlags,
    #[command(flatten)]
    cluster: ClusterFlags,
    /// What kind of cluster: kube
    #[arg(long, value_name = "KIND")]
    to: String,
    /// Push what is built here to this registry, and name it so
    #[arg(long, value_name = "REGISTRY[/PATH]")]
    push: Option<String>,
    /// Ask for HTTPS and a valid certificate when pushing (default true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    tls_verify: Option<bool>,
    /// Leave what the project has no more (false), or remove it (true, the default)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    prune: Option<bool>,
    /// Remove claims and their data, too
    #[arg(long)]
    force: bool,
}

/// Runs `compose deploy`.
///
/// # Errors
/// As reading the project, `build`, `push` and `kube apply`.
pub fn run(args: DeployArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.to != "kube" {
        return Err(Error::unsupported(format!("cannot hand a project to {:?}", args.to)).hint(
            "use --to kube; for a swarm: `compose export swarm --output FILE`, then `docker stack deploy`",
        ));
    }
    let project = args.project.load_with(session, &[], true, true)?;
    for notice in &project.notices {
        out.warn(notice);
    }
    let images = pushed(
        &args.project,
        &args.push,
        args.tls_verify,
        &project,
        session,
        out,
    )?;
    let given = Given {
        images: &images,
        content: &|noun, key| objects::content(&project, noun, key),
    };
    let export = kube::export(&project, &given)?;
    for line in export.lines.iter().filter(|l| l.fate != Fate::Kept) {
        out.note(&format!("{} {}: {}", line.fate.name(), line.path, line.why));
    }
    let request = Request {
        objects: export.documents,
        prune: args
            .prune
            .unwrap_or(true)
            .then(|| format!("{PROJECT}={}", project.name)),
        claims: args.force,
        dry_run: args.project.dry_run,
        ..Request::default()
    };
    args.cluster.apply(request, session, out)?;
    Ok(0)
}
