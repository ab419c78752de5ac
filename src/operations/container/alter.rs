//! `rename`, `update`, `init`: what changes a container's record.

use super::{events, reap};
use crate::base::{Error, Kind, Result};
use crate::cgroup::{self, Group};
use crate::handoff::control::{Control, Request};
use crate::operations::session::Session;
use crate::spec::image::Healthcheck;
use crate::state::container::{Container, ContainerLock};
use crate::state::health::{Checks, LogDestination, OnFailure, StartupCheck};
use crate::state::options::{ContainerOptions, DeviceLimit, Resources, RestartPolicy};

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
    /// `--health-*`, `--no-healthcheck`.
    pub health: HealthChanges,
}

/// Health options that `update` changes; absent fields stay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HealthChanges {
    /// The check: an empty test keeps the test, a figure 0 keeps the figure.
    pub check: Option<Healthcheck>,
    /// `--health-interval` was given: whether it was `disable`.
    pub manual: Option<bool>,
    /// The startup check, in the same way.
    pub startup: Option<StartupCheck>,
    /// `--health-on-failure`.
    pub on_failure: Option<OnFailure>,
    /// `--health-log-destination`.
    pub log: Option<LogDestination>,
    /// `--health-max-log-count`.
    pub max_log_count: Option<u32>,
    /// `--health-max-log-size`.
    pub max_log_size: Option<u32>,
}

impl HealthChanges {
    /// Puts them over what a container has.
    pub fn apply(&self, options: &mut ContainerOptions) {
        if let Some(check) = &self.check {
            let old = options.healthcheck.take();
            let old = old.filter(|o| o.test.first().is_none_or(|t| t != "NONE"));
            options.healthcheck = Some(match (&old, check.test.is_empty()) {
                (Some(old), false) if check.test[0] != "NONE" => Healthcheck {
                    test: check.test.clone(),
                    ..figures(old, check)
                },
                (Some(old), true) => figures(old, check),
                _ => check.clone(),
            });
        }
        let health = &mut options.health;
        if let Some(startup) = &self.startup {
            let mut new = health.startup.clone().unwrap_or_default();
            if !startup.test.is_empty() {
                new.test.clone_from(&startup.test);
            }
            for (slot, value) in [
                (&mut new.interval, startup.interval),
                (&mut new.timeout, startup.timeout),
            ] {
                if value != 0 {
                    *slot = value;
                }
            }
            for (slot, value) in [
                (&mut new.retries, startup.retries),
                (&mut new.success, startup.success),
            ] {
                if value != 0 {
                    *slot = value;
                }
            }
            health.startup = Some(new);
        }
        health.manual = self.manual.unwrap_or(health.manual);
        health.on_failure = self.on_failure.unwrap_or(health.on_failure);
        health.max_log_count = self.max_log_count.or(health.max_log_count);
        health.max_log_size = self.max_log_size.or(health.max_log_size);
        if let Some(log) = &self.log {
            health.log = log.clone();
        }
    }
}

/// A check with another's figures where those are given.
fn figures(old: &Healthcheck, new: &Healthcheck) -> Healthcheck {
    let pick = |old: i64, new: i64| if new == 0 { old } else { new };
    Healthcheck {
        test: old.test.clone(),
        interval: pick(old.interval, new.interval),
        timeout: pick(old.timeout, new.timeout),
        start_period: pick(old.start_period, new.start_period),
        start_interval: pick(old.start_interval, new.start_interval),
        retries: pick(old.retries, new.retries),
    }
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
    let health = changes.health != HealthChanges::default();
    if health {
        changes.health.apply(options);
    }
    // The image says what was not given; one that is gone says nothing.
    let image = super::create::image_of(session, &container).ok().flatten();
    let image = image.as_ref().map(|i| &i.config.config);
    let checks = Checks::of(&container.record.options, image)?;
    container.write_record()?;
    if health && container.state()?.is_active() {
        let checks = serde_json::to_value(checks)
            .map_err(|e| Error::internal("cannot encode the health check").because(e))?;
        Control::connect(&container.control_socket())?.call(&Request::Health { checks })?;
    }
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

/// Limits with those of `new` in the place of the old ones. Pure.
pub(in crate::operations) fn merge(old: &Resources, new: &Resources) -> Resources {
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
    fn health_options_that_are_not_named_stay() {
        let test = |text: &str| vec!["CMD".to_owned(), text.to_owned()];
        let mut options = ContainerOptions {
            healthcheck: Some(Healthcheck {
                test: test("a"),
                interval: 5,
                retries: 7,
                ..Healthcheck::default()
            }),
            ..ContainerOptions::default()
        };
        options.health.max_log_size = Some(9);
        let change = |check: Healthcheck| HealthChanges {
            check: Some(check),
            ..HealthChanges::default()
        };
        let retries = Healthcheck {
            retries: 2,
            ..Healthcheck::default()
        };
        change(retries).apply(&mut options);
        let now = options.healthcheck.clone().unwrap();
        assert_eq!((now.test, now.interval, now.retries), (test("a"), 5, 2));
        let other = Healthcheck {
            test: test("b"),
            ..Healthcheck::default()
        };
        change(other.clone()).apply(&mut options);
        let now = options.healthcheck.clone().unwrap();
        assert_eq!((now.test, now.interval), (test("b"), 5));
        let none = Healthcheck {
            test: vec!["NONE".to_owned()],
            ..Healthcheck::default()
        };
        change(none.clone()).apply(&mut options);
        assert_eq!(options.healthcheck, Some(none));
        change(other.clone()).apply(&mut options);
        assert_eq!(options.healthcheck, Some(other));
        assert_eq!(options.health.max_log_size, Some(9));
    }

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
