//! `auto-update`: containers of units whose image has changed are made anew, and go back to the old
//! image when that does not work.
//!
//! man podman-auto-update.

use std::collections::BTreeMap;

use super::container::wait::{Condition, wait};
use super::image::policy::{PullPolicy, RegistryOptions};
use super::image::{self, Ensure, ensure};
use super::session::Session;
use super::systemctl;
use crate::base::{Context as _, Error, Result};
use crate::image::has_registry;
use crate::spec::digest::Digest;
use crate::spec::reference::Reference;
use crate::state::container::{Container, Containers, State};
use crate::state::health::Health;

/// Says which containers, and how.
pub const LABEL: &str = "io.containers.autoupdate";

/// Says which unit runs a container.
pub const UNIT: &str = "PODMAN_SYSTEMD_UNIT";

/// How to update.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--dry-run`: only look.
    pub dry_run: bool,
    /// `--rollback`.
    pub rollback: bool,
    /// How registries are asked.
    pub registry: RegistryOptions,
}

/// Where a new image comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Registry,
    Local,
}

impl Policy {
    fn of(container: &Container) -> Result<Option<Self>> {
        let label = container.record.options.labels.get(LABEL);
        Ok(match label.map(String::as_str) {
            None | Some("" | "disabled") => None,
            Some("registry" | "image") => Some(Self::Registry),
            Some("local") => Some(Self::Local),
            Some(other) => {
                return Err(Error::invalid(format!(
                    "container {:?}: invalid value {other:?} of the label {LABEL}",
                    container.name()
                ))
                .hint("use registry, local or disabled"));
            }
        })
    }
}

/// What became of one container.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its unit.
    pub unit: String,
    /// Its id, as it was.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its image, by name.
    pub image: String,
    /// registry or local.
    pub policy: &'static str,
    /// `false`, `true`, `pending`, `failed` or `rolled back`.
    pub updated: &'static str,
}

/// One container with a policy.
struct Candidate {
    container: Container,
    unit: String,
    policy: Policy,
    /// The image's name.
    name: String,
    /// What it runs now.
    old: Digest,
}

/// Updates; what fails is told beside, and the rest goes on.
///
/// # Errors
/// What the kernel says of the records.
pub fn update(session: &Session, options: &Options) -> Result<(Vec<Row>, Vec<Error>)> {
    let (all, mut errors) = Containers::new(&session.dirs).list()?;
    let mut rows = Vec::new();
    let mut units: BTreeMap<String, Vec<(Candidate, usize)>> = BTreeMap::new();
    for container in all {
        let candidate = match candidate(container) {
            Ok(None) => continue,
            Ok(Some(candidate)) => candidate,
            Err(e) => {
                errors.push(e);
                continue;
            }
        };
        let (policy, changed) = (candidate.policy, changed(session, &candidate, options));
        rows.push(Row {
            unit: candidate.unit.clone(),
            id: candidate.container.id().to_string(),
            name: candidate.container.name().to_owned(),
            image: candidate.name.clone(),
            policy: match policy {
                Policy::Registry => "registry",
                Policy::Local => "local",
            },
            updated: match (&changed, options.dry_run) {
                (Err(_), _) => "failed",
                (Ok(true), true) => "pending",
                (Ok(_), _) => "false",
            },
        });
        match changed {
            Err(e) => errors.push(e),
            Ok(true) if !options.dry_run => units
                .entry(candidate.unit.clone())
                .or_default()
                .push((candidate, rows.len() - 1)),
            Ok(_) => {}
        }
    }
    for (unit, candidates) in units {
        let outcome = match renew(session, &unit, &candidates) {
            Ok(()) => "true",
            Err(e) => {
                errors.push(e);
                match options
                    .rollback
                    .then(|| go_back(session, &unit, &candidates))
                {
                    Some(Ok(())) => "rolled back",
                    Some(Err(e)) => {
                        errors.push(e);
                        "failed"
                    }
                    None => "failed",
                }
            }
        };
        for (_, row) in candidates {
            rows[row].updated = outcome;
        }
    }
    Ok((rows, errors))
}

fn candidate(container: Container) -> Result<Option<Candidate>> {
    let Some(policy) = Policy::of(&container)? else {
        return Ok(None);
    };
    if container.state()? != State::Running {
        return Ok(None);
    }
    let bad = |why: String| {
        Error::invalid(format!(
            "cannot update container {:?}: {why}",
            container.name()
        ))
    };
    let unit = container.record.options.labels.get(UNIT).cloned();
    let unit = unit.ok_or_else(|| {
        bad("no unit of systemd's runs it".to_owned())
            .hint("a quadlet with AutoUpdate= does, or `coracle generate systemd --new`")
    })?;
    let image = container.record.image.clone();
    let image = image.ok_or_else(|| bad("it has no image".to_owned()))?;
    let typed = &container.record.options.image;
    if policy == Policy::Registry && !has_registry(typed) {
        return Err(bad(format!("its image {typed:?} names no registry"))
            .hint("write the whole name, e.g. docker.io/library/alpine:latest"));
    }
    Ok(Some(Candidate {
        unit,
        policy,
        name: image.name,
        old: image.id,
        container,
    }))
}

/// Whether there is another image; brings it, unless it is a dry run.
fn changed(session: &Session, candidate: &Candidate, options: &Options) -> Result<bool> {
    let name = candidate.name.as_str();
    if candidate.policy == Policy::Local {
        return Ok(image::lookup(session, name)?.record.id != candidate.old);
    }
    if options.dry_run {
        let here = image::lookup(session, name);
        if here.is_ok_and(|h| h.record.id != candidate.old) {
            return Ok(true);
        }
        return image::pull::has_other(session, name, &candidate.old, &options.registry);
    }
    let found = ensure(
        session,
        &Ensure {
            name,
            // One out of reach is an error: nobody reads what a timer says in passing.
            policy: PullPolicy::Always,
            platform: candidate.container.record.options.platform.as_ref(),
            registry: &options.registry,
            keep_tag: false,
        },
    )?;
    Ok(found.record.id != candidate.old)
}

/// Restarts the unit, and waits until its containers are well.
fn renew(session: &Session, unit: &str, candidates: &[(Candidate, usize)]) -> Result<()> {
    systemctl::run(!session.user.is_root, &["restart", "--", unit])?;
    for (candidate, _) in candidates {
        let name = candidate.container.name();
        let what = || format!("container {name:?} of {unit} does not work with its new image");
        let now = Containers::new(&session.dirs).find(name).what(what)?;
        if now.health()?.is_none() {
            continue;
        }
        let either = [
            Condition::Health(Health::Healthy),
            Condition::Health(Health::Unhealthy),
        ];
        wait(session, &now, &either).what(what)?;
        if now.health()?.is_some_and(|h| h.status == Health::Unhealthy) {
            return Err(Error::invalid(what()).because("its health check fails"));
        }
    }
    Ok(())
}

/// Gives the old images their names back, and restarts the unit.
fn go_back(session: &Session, unit: &str, candidates: &[(Candidate, usize)]) -> Result<()> {
    let what = || format!("cannot bring {unit} back to its old image");
    for (candidate, _) in candidates {
        let name: Reference = candidate.name.parse().what(what)?;
        image::images(session)
            .tag(&candidate.old, &name)
            .what(what)?;
    }
    systemctl::run(!session.user.is_root, &["restart", "--", unit]).what(what)
}
