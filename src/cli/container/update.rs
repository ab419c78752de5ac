//! `update`.

use super::options::{HealthFlags, Limits, resources, restart};
use crate::base::{Error, Result};
use crate::cli::output::Out;
use crate::operations::container::alter::{Changes, update};
use crate::operations::container::select;
use crate::operations::session::Session;
use crate::state::container::Containers;

/// Change limits, health checks, restart policy and variables of a container
///
/// Limits and health checks of a running container change at once, variables at its next start.
#[derive(Debug, clap::Args)]
pub struct UpdateArgs {
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    health: HealthFlags,
    /// Variable of the next start, NAME=VALUE
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Variable that the next start leaves out
    #[arg(long, value_name = "NAME")]
    unsetenv: Vec<String>,
    /// When to start it again: no, on-failure[:TIMES], always, unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// The newest container
    #[arg(short, long)]
    latest: bool,
    /// Names or ids
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs `update`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: UpdateArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let l = &args.limits;
    let fixed = [
        (!l.ulimit.is_empty(), "--ulimit"),
        (l.cgroups.is_some(), "--cgroups"),
        (l.cgroup_parent.is_some(), "--cgroup-parent"),
        (l.oom_score_adj.is_some(), "--oom-score-adj"),
        (l.oom_kill_disable, "--oom-kill-disable"),
    ];
    if let Some((_, flag)) = fixed.iter().find(|(given, _)| *given) {
        return Err(Error::unsupported(format!(
            "{flag} cannot be changed: it is fixed when the container is created"
        ))
        .hint("create another container with it"));
    }
    for text in &args.env {
        if !text.contains('=') || text.starts_with('=') {
            return Err(
                Error::invalid(format!("invalid variable {text:?}")).hint("write it as NAME=VALUE")
            );
        }
    }
    let changes = Changes {
        restart: args
            .restart
            .as_deref()
            .map(|text| restart(Some(text)))
            .transpose()?,
        resources: resources(l)?,
        env: args.env,
        unset_env: args.unsetenv,
        health: args.health.changes()?,
    };
    if changes.is_empty() {
        return Err(
            Error::invalid("there is nothing to change").hint("see `coracle update --help`")
        );
    }
    let names = match (args.latest, args.containers.is_empty()) {
        (true, true) => vec![select::latest(session)?.id().to_string()],
        (false, false) => args.containers,
        _ => {
            return Err(Error::invalid("which container?").hint("coracle update OPTIONS CONTAINER"));
        }
    };
    for name in names {
        let container = Containers::new(&session.dirs).find(&name)?;
        update(session, &container, &changes)?;
        out.line(name)?;
    }
    Ok(0)
}
