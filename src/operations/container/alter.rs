//! `rename`, `update`, `init`: what changes a container's record.

use super::{events, reap};
use crate::base::{Error, Kind, Result};
use crate::cgroup::{self, Group};
use crate::handoff::control::{Control, Request};
use crate::operations::session::Session;
use crate::state::container::{Container, ContainerLock};
use crate::state::options::{DeviceLimit, Resources, RestartPolicy};

fn locked(session: &Session, container: &mut Container) -> Result<ContainerLock> {
    reap::lock(session, container)?
        .ok_or_else(|| Error::not_found(format!("no such container: {:?}", container.name())))
}

/// Gives a container another name.
///
/// # Errors
/// `Exists` when the name is taken; `Invalid` for a name that is none.
pub fn rename(session: &Session, container: &Container, name: &str) -> Result<()> {
    let mut container = container.clone();
    let name = name.parse()?;
    let _lock = locked(session, &mut container)?;
    if container.record.name == name {
        return Err(Error::new(
            Kind::Exists,
            format!("container {:?} has that name already", container.name()),
        ));
    }
    container.rename(name)?;
    events::write(session, &container, "rename");
    Ok(())
}

/// Checks that a container that does not run could be started, and fills its volumes. coracle
/// prepares at every start anew, so the container stays as it is.
///
/// # Errors
/// Whatever the start would say; `InUse` when it runs.
pub fn init(session: &Session, container: &Container, warn: &mut dyn FnMut(&str)) -> Result<()> {
    let mut container = container.clone();
    super::launch::enter_for(session, &container)?;
    let _lock = locked(session, &mut container)?;
    let state = container.state()?;
    if state.is_active() {
        return Err(Error::new(
            Kind::InUse,
            format!(
                "cannot initialize container {:?}: it is {}",
                container.name(),
                state.name()
            ),
        ));
    }
    let image = super::create::image_of(session, &container)?;
    super::launch::rehearse(session, &container, image, warn)?;
    events::write(session, &container, "init");
    Ok(())
}

/// What `update` changes; absent fields stay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// `--restart`.
    pub restart: Option<RestartPolicy>,
    /// Limits: those that are set are changed.
    pub resources: Resources,
    /// `--env`: added or replaced at the next start.
    pub env: Vec<String>,
    /// `--unsetenv`: gone at the next start.
    pub unset_env: Vec<String>,
}

impl Changes {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Changes restart policy, limits and variables of a container. Limits of a running one apply at
/// once.
///
/// # Errors
/// `Unsupported` when this host does not let the caller set a limit; `Invalid` for `--restart`
/// with `--rm`.
pub fn update(session: &Session, container: &Container, changes: &Changes) -> Result<()> {
    let mut container = container.clone();
    let _lock = locked(session, &mut container)?;
    let limits_change = changes.resources != Resources::default();
    let merged = merge(&container.record.options.resources, &changes.resources);
    if limits_change {
        let (state, status) = container.state_and_status()?;
        if state.is_active()
            && let Some(path) = status.and_then(|s| s.cgroup)
        {
            let group = Group::open(&path)?;
            let settings = cgroup::check(&cgroup::probe_at(group.path()), &merged)?;
            group.apply(&settings)?;
        } else if state.is_active() {
            return Err(Error::unsupported(format!(
                "container {:?} runs without a control group, so its limits cannot change now",
                container.name()
            ))
            .hint("stop it, update it, and start it again"));
        }
        container.record.options.resources = merged;
    }
    let options = &mut container.record.options;
    if let Some(policy) = &changes.restart {
        if options.remove && *policy != RestartPolicy::No {
            return Err(Error::invalid("--rm and --restart contradict each other"));
        }
        options.restart = *policy;
    }
    for name in &changes.unset_env {
        let prefix = format!("{name}=");
        options.env.retain(|e| !e.starts_with(&prefix));
        if !options.unset_env.contains(name) {
            options.unset_env.push(name.clone());
        }
    }
    for text in &changes.env {
        let name = text.split('=').next().unwrap_or(text);
        let prefix = format!("{name}=");
        options.env.retain(|e| !e.starts_with(&prefix));
        options.unset_env.retain(|n| n != name);
        options.env.push(text.clone());
    }
    container.write_record()?;
    if let Some(policy) = &changes.restart
        && container.state()?.is_active()
    {
        let policy = serde_json::to_value(policy)
            .map_err(|e| Error::internal("cannot encode the restart policy").because(e))?;
        Control::connect(&container.control_socket())?.call(&Request::Restart { policy })?;
    }
    events::write(session, &container, "update");
    Ok(())
}

pub(super) fn merge(old: &Resources, new: &Resources) -> Resources {
    Resources {
        memory: new.memory.or(old.memory),
        memory_reservation: new.memory_reservation.or(old.memory_reservation),
        memory_swap: new.memory_swap.or(old.memory_swap),
        memory_swappiness: new.memory_swappiness.or(old.memory_swappiness),
        cpus: new.cpus.or(old.cpus),
        cpu_period: new.cpu_period.or(old.cpu_period),
        cpu_quota: new.cpu_quota.or(old.cpu_quota),
        cpu_shares: new.cpu_shares.or(old.cpu_shares),
        cpuset_cpus: new.cpuset_cpus.clone().or_else(|| old.cpuset_cpus.clone()),
        cpuset_mems: new.cpuset_mems.clone().or_else(|| old.cpuset_mems.clone()),
        pids_limit: new.pids_limit.or(old.pids_limit),
        blkio_weight: new.blkio_weight.or(old.blkio_weight),
        oom_kill_disable: new.oom_kill_disable || old.oom_kill_disable,
        devices: {
            let same = |a: &DeviceLimit, b: &DeviceLimit| a.kind == b.kind && a.path == b.path;
            let kept = old
                .devices
                .iter()
                .filter(|o| !new.devices.iter().any(|n| same(n, o)));
            kept.chain(&new.devices).cloned().collect()
        },
        unified: {
            let mut all = old.unified.clone();
            all.extend(new.unified.clone());
            all
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_are_not_named_stay() {
        let old = Resources {
            memory: Some(1 << 20),
            pids_limit: Some(10),
            ..Resources::default()
        };
        let new = Resources {
            pids_limit: Some(20),
            ..Resources::default()
        };
        let merged = merge(&old, &new);
        assert_eq!(merged.memory, Some(1 << 20));
        assert_eq!(merged.pids_limit, Some(20));
    }
}
