//! `compose deploy`: a project handed to a cluster.

use clap::Args;

use super::export::pushed;
use super::project::ProjectFlags;
use crate::base::{Error, Result};
use crate::cli::kube::apply::{ClusterFlags, show};
use crate::cli::output::Out;
use crate::compose::convert::PROJECT;
use crate::compose::export::{Fate, Given, kube, stack};
use crate::operations::compose::{objects, swarm};
use crate::operations::kube::apply::Request;
use crate::operations::session::Session;

/// Hand a project to a cluster
///
/// To Kubernetes as `export kube` and `kube apply`: what the project has no more is removed there, but
/// for claims. To a manager of a swarm as `export swarm` and `docker stack deploy --prune`. The rollout is
/// waited for and shown.
#[derive(Debug, Args)]
pub struct DeployArgs {
    #[command(flatten)]
    project: ProjectFlags,
    #[command(flatten)]
    cluster: ClusterFlags,
    /// What kind of cluster: kube, swarm
    #[arg(long, value_name = "KIND")]
    to: String,
    /// Manager of the swarm, as docker's --host; without, what DOCKER_HOST or docker's context says
    #[arg(short = 'H', long, value_name = "URL")]
    host: Option<String>,
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

impl DeployArgs {
    /// Flags of the one kind mean nothing to the other.
    fn check(&self, to_swarm: bool) -> Result<()> {
        let cluster = &self.cluster;
        let alien = match to_swarm {
            true => [
                (cluster.kubeconfig.is_some(), "--kubeconfig"),
                (cluster.ca_cert_file.is_some(), "--ca-cert-file"),
                (
                    cluster.insecure_skip_tls_verify,
                    "--insecure-skip-tls-verify",
                ),
                (cluster.namespace.is_some(), "--namespace"),
                (self.force, "--force"),
            ]
            .to_vec(),
            false => vec![(self.host.is_some(), "--host")],
        };
        match alien.into_iter().find(|(given, _)| *given) {
            Some((_, flag)) => Err(Error::invalid(format!(
                "{flag} does not go with --to {}",
                self.to
            ))),
            None => Ok(()),
        }
    }
}

/// Runs `compose deploy`.
///
/// # Errors
/// As reading the project, `build`, `push`, `kube apply` and `operations::compose::swarm`.
pub fn run(args: DeployArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let to_swarm = match args.to.as_str() {
        "kube" => false,
        "swarm" => true,
        other => {
            return Err(
                Error::unsupported(format!("cannot hand a project to {other:?}"))
                    .hint("--to takes kube and swarm"),
            );
        }
    };
    args.check(to_swarm)?;
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
    let export = match to_swarm {
        true => stack::export(&project, &given)?.0,
        false => kube::export(&project, &given)?,
    };
    for line in export.lines.iter().filter(|l| l.fate != Fate::Kept) {
        out.note(&format!("{} {}: {}", line.fate.name(), line.path, line.why));
    }
    let prune = args.prune.unwrap_or(true);
    if to_swarm {
        let which = swarm::Which {
            host: args.host,
            context: args.cluster.context.clone(),
        };
        let request = swarm::Request {
            stack: &project.name,
            document: export.documents.first().unwrap_or(&serde_json::Value::Null),
            content: given.content,
            prune,
            dry_run: args.project.dry_run,
            wait: args.cluster.patience(),
        };
        swarm::Manager::open(session, &which)?.deploy(&request, &mut |told| show(told, out))?;
        return Ok(0);
    }
    let request = Request {
        objects: export.documents,
        prune: prune.then(|| format!("{PROJECT}={}", project.name)),
        claims: args.force,
        dry_run: args.project.dry_run,
        ..Request::default()
    };
    args.cluster.apply(request, session, out)?;
    Ok(0)
}
