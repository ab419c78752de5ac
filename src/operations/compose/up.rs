//! `up`, `create`, `scale`: containers made what the files say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::conditions::Gates;
use super::images::{self, Means};
use super::observe::{self, Member};
use super::replace::{Ready, anonymous_volumes, away, hooks, replace, run_hooks};
use super::tasks::{self, Task, Work};
use super::{Hands, conditions, front, objects};
use crate::base::{Error, Result};
use crate::compose::convert::{self, Wish};
use crate::compose::plan::{self, Recreate, Wanted};
use crate::compose::project::{Dependency, Keys, Project};
use crate::compose::schema::text;
use crate::operations::container::request::RunOptions;
use crate::operations::container::run;
use crate::operations::session::Session;
use crate::runtime::userns::{self, Want};
use crate::state::options::ContainerOptions;

/// How to bring a project up.
#[derive(Clone, Debug)]
pub struct UpOptions {
    /// The services named; none means all.
    pub services: Vec<String>,
    /// With what they need (off with `--no-deps`).
    pub deps: bool,
    /// How images are had.
    pub means: Means,
    /// When containers are made anew.
    pub recreate: Recreate,
    /// The same of what they need (`--always-recreate-deps`).
    pub recreate_deps: Recreate,
    /// `--renew-anon-volumes`.
    pub renew_volumes: bool,
    /// `--remove-orphans`.
    pub remove_orphans: bool,
    /// Do not tell of them.
    pub ignore_orphans: bool,
    /// Start them (off with `create` and `--no-start`).
    pub start: bool,
    /// `--scale`.
    pub scale: BTreeMap<String, usize>,
    /// `--timeout`.
    pub timeout: Option<Duration>,
    /// `--wait`.
    pub wait: bool,
}

impl UpOptions {
    /// How many containers a service is to have.
    pub(super) fn count(&self, service: &str, keys: &Keys) -> usize {
        let asked = self.scale.get(service).copied();
        asked.unwrap_or_else(|| Project::scale(keys))
    }
}

/// Brings a project up; answers the containers of the services named, and of what they need.
///
/// # Errors
/// As the operations; `TimedOut` and others when a service that was waited for does not come up.
pub fn up(
    session: &mut Session,
    project: &Project,
    wanted: &UpOptions,
    hands: &mut dyn Hands,
) -> Result<()> {
    let order = project.order(&wanted.services, wanted.deps)?;
    let present = observe::members(session, &project.name)?;
    let ids = images::ensure_all(session, project, &order, &wanted.means, hands)?;
    objects::ensure(session, project, &order, hands)?;
    front::ensure(session, project, &order, wanted, hands)?;
    let steps = plan_all(project, wanted, &order, &present, &ids)?;
    orphans(session, project, wanted, &present, hands)?;
    let begun = apply(session, project, wanted, &steps, &present, &ids, hands)?;
    if wanted.wait {
        wait_all(session, project, &order, wanted.means.parallel, hands)?;
    }
    log::debug!("{begun} containers were changed");
    Ok(())
}

/// The steps of all services, in their order.
fn plan_all(
    project: &Project,
    wanted: &UpOptions,
    order: &[String],
    present: &[Member],
    ids: &BTreeMap<String, String>,
) -> Result<Vec<plan::Step>> {
    let present: Vec<plan::Present> = present.iter().map(|m| m.present.clone()).collect();
    let mut steps = Vec::new();
    let mut anew: BTreeSet<String> = BTreeSet::new();
    for service in order {
        let keys = project.service(service)?;
        let scale = wanted.count(service, keys);
        if scale > 1 && keys.contains_key("container_name") {
            return Err(Error::invalid(format!(
                "services.{service}: container_name names one container, and there would be {scale}"
            )));
        }
        let named = wanted.services.is_empty() || wanted.services.contains(service);
        let joins = ["network_mode", "ipc", "pid", "uts"].iter().any(|key| {
            let mode = keys.get(*key).and_then(Value::as_str);
            mode.and_then(|m| m.strip_prefix("service:"))
                .is_some_and(|o| anew.contains(o))
        });
        let own = plan::service(
            &Wanted {
                service,
                keys,
                scale,
                image: ids.get(service).map_or("", String::as_str),
                recreate: if named {
                    wanted.recreate
                } else {
                    wanted.recreate_deps
                },
                joined_anew: joins,
                behind: convert::stands_behind(keys, scale),
            },
            &present,
        );
        if own.iter().any(|s| matches!(s, plan::Step::Recreate { .. })) {
            anew.insert(service.clone());
        }
        steps.extend(own);
    }
    Ok(steps)
}

fn orphans(
    session: &Session,
    project: &Project,
    wanted: &UpOptions,
    members: &[Member],
    hands: &mut dyn Hands,
) -> Result<()> {
    let present: Vec<plan::Present> = members.iter().map(|m| m.present.clone()).collect();
    let orphans = plan::orphans(project, &present);
    if orphans.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = orphans.iter().map(|o| o.name.as_str()).collect();
    if wanted.remove_orphans {
        let ids: BTreeSet<&str> = orphans.iter().map(|o| o.id.as_str()).collect();
        let list: Vec<Member> = members
            .iter()
            .filter(|m| ids.contains(m.present.id.as_str()))
            .cloned()
            .collect();
        return super::down::remove_members(
            session,
            list,
            wanted.timeout,
            false,
            wanted.means.parallel,
            hands,
        );
    }
    if !wanted.ignore_orphans {
        hands.warn(&format!(
            "found orphan containers ({}) for this project: --remove-orphans removes them",
            names.join(", ")
        ));
    }
    Ok(())
}

/// The containers that a service's may join or take volumes from, as they will be named.
pub fn others(project: &Project, present: &[Member]) -> BTreeMap<String, String> {
    let mut others = BTreeMap::new();
    for (name, keys) in project.services() {
        others.insert(name.clone(), project.container_name(name, keys, 1));
    }
    for member in present.iter().rev().filter(|m| !m.present.oneoff) {
        others.insert(member.present.service.clone(), member.present.name.clone());
    }
    others
}

fn ready(
    session: &mut Session,
    project: &Project,
    wish: &Wish,
    service: &str,
    keys: &Keys,
    hands: &mut dyn Hands,
) -> Result<(ContainerOptions, RunOptions)> {
    let words = convert::create(project, service, keys, wish)?;
    for notice in &words.notices {
        hands.warn(&format!("services.{service}: {notice}"));
    }
    let asked = hands.options(session, &words.words);
    let (options, mut run) = asked.map_err(|e| {
        let made = Error::new(e.kind(), format!("services.{service}: {}", e.what()));
        e.hints()
            .into_iter()
            .fold(made, |m, h| m.hint(h.to_owned()))
    })?;
    run.detach = true;
    Ok((options, run))
}

fn apply(
    session: &mut Session,
    project: &Project,
    wanted: &UpOptions,
    steps: &[plan::Step],
    present: &[Member],
    ids: &BTreeMap<String, String>,
    hands: &mut dyn Hands,
) -> Result<usize> {
    let find = |id: &str| present.iter().find(|m| m.present.id == id);
    let others = others(project, present);
    let behind =
        |service: &str, keys: &Keys| convert::stands_behind(keys, wanted.count(service, keys));
    let mut readies: Vec<Option<Ready>> = Vec::new();
    for step in steps {
        readies.push(match step {
            plan::Step::Create { service, number } => {
                let keys = project.service(service)?;
                let wish = Wish {
                    name: project.container_name(service, keys, *number),
                    number: *number,
                    image_id: ids.get(service).cloned().unwrap_or_default(),
                    others: others.clone(),
                    behind: behind(service, keys),
                    ..Wish::default()
                };
                let (options, run) = ready(session, project, &wish, service, keys, hands)?;
                Some(Ready {
                    options,
                    run,
                    old: None,
                    start_first: false,
                })
            }
            plan::Step::Recreate {
                service,
                number,
                old,
            } => {
                let keys = project.service(service)?;
                let old = find(old).map(|m| m.container.clone());
                let volumes = match (&old, wanted.renew_volumes) {
                    (Some(old), false) => anonymous_volumes(old),
                    _ => BTreeMap::new(),
                };
                let wish = Wish {
                    name: project.container_name(service, keys, *number),
                    number: *number,
                    image_id: ids.get(service).cloned().unwrap_or_default(),
                    others: others.clone(),
                    behind: behind(service, keys),
                    volumes,
                    ..Wish::default()
                };
                let (options, run) = ready(session, project, &wish, service, keys, hands)?;
                let ports = keys.get("ports").and_then(Value::as_array);
                let shares = ports.is_some_and(|p| p.iter().any(convert::is_shared));
                let alone = !wish.behind && shares;
                // One that stood alone has its ports until it is stopped.
                let was_behind = old
                    .as_ref()
                    .is_none_or(|o| !o.record.options.network.services.is_empty());
                let start_first = starts_first(keys);
                if start_first && alone {
                    hands.warn(&format!(
                        "services.{service}.deploy.update_config.order: the new container cannot \
                         start first, as both would have the same port of the host"
                    ));
                }
                Some(Ready {
                    options,
                    run,
                    old,
                    start_first: start_first && !alone && (was_behind || !shares),
                })
            }
            _ => None,
        });
    }
    let changes = steps.iter().any(|s| !matches!(s, plan::Step::Keep { .. }));
    if !changes {
        return Ok(0);
    }
    // Once, before the forks: each of them has it then.
    userns::enter(&session.dirs, Want::Default)?;
    let session: &Session = session;
    let order = project.order(&wanted.services, wanted.deps)?;
    let mut list: Vec<Task<'_>> = Vec::new();
    let mut gates = Gates::default();
    let mut of_service: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut rolling: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (step, ready) in steps.iter().zip(readies) {
        let service = step.service();
        let keys = project.service(service)?;
        let mut needed: Vec<Dependency> = Project::dependencies(keys);
        // With --no-deps nobody waits for those that are not brought up.
        needed.retain(|d| wanted.deps || order.contains(&d.service));
        let mut after: Vec<usize> = needed
            .iter()
            .flat_map(|d| of_service.get(&d.service).into_iter().flatten().copied())
            .collect();
        let start = wanted.start;
        let waits = start && !matches!(step, plan::Step::Keep { .. } | plan::Step::Remove { .. });
        if waits {
            after.extend(gates.add(session, &project.name, &needed, &mut list, &|s| {
                of_service.get(s).cloned().unwrap_or_default()
            }));
        }
        let renew = wanted.renew_volumes;
        let timeout = wanted.timeout;
        let hooks = hooks(keys, "post_start");
        let (name, done, work): (String, &'static str, Work<'_>) = match step {
            plan::Step::Keep { .. } => continue,
            plan::Step::Create { .. } | plan::Step::Recreate { .. } => {
                let Some(ready) = ready else { continue };
                let name = ready.options.name.clone().unwrap_or_default();
                let done = match (&ready.old, start) {
                    (None, true) => "Started",
                    (None, false) => "Created",
                    (Some(_), true) => "Recreated",
                    (Some(_), false) => "Recreated",
                };
                if ready.old.is_some() {
                    let before = rolling.entry(service.to_owned()).or_default();
                    let width = parallelism(keys);
                    if width > 0 && before.len() >= width {
                        after.push(before[before.len() - width]);
                    }
                    before.push(list.len());
                } else if behind(service, keys) {
                    // The ports may be those of one that is made anew.
                    after.extend(rolling.get(service).into_iter().flatten());
                }
                let delay = update_delay(keys);
                let work: Work<'_> = Box::new(move |warn| {
                    let old = ready.old.clone();
                    replace(session, ready, start, timeout, renew, &hooks, warn)?;
                    if old.is_some() && !delay.is_zero() {
                        crate::sys::process::pause(delay);
                    }
                    Ok(())
                });
                (name, done, work)
            }
            plan::Step::Start { id, .. } => {
                if !start {
                    continue;
                }
                let Some(member) = find(id) else { continue };
                let container = &member.container;
                let work: Work<'_> = Box::new(move |warn| {
                    run::start(session, container, None, warn)?;
                    run_hooks(session, container, &hooks)
                });
                (member.present.name.clone(), "Started", work)
            }
            plan::Step::Remove { id, .. } => {
                let Some(member) = find(id) else { continue };
                let container = member.container.clone();
                let work: Work<'_> = Box::new(move |_| away(session, container, timeout, true));
                (member.present.name.clone(), "Removed", work)
            }
        };
        let place = list.len();
        if !matches!(step, plan::Step::Remove { .. }) {
            of_service
                .entry(service.to_owned())
                .or_default()
                .push(place);
        }
        list.push(Task {
            noun: "Container",
            name,
            done,
            after,
            waits: false,
            work,
        });
    }
    let count = list.len();
    tasks::run(list, wanted.means.parallel, &mut |step| hands.step(step))?;
    Ok(count)
}

/// `update_config.parallelism`: how many of a service are made anew at a time; 0 means all.
fn parallelism(keys: &Keys) -> usize {
    let config = keys.get("deploy").and_then(|d| d.get("update_config"));
    let width = match config {
        Some(config) => config
            .get("parallelism")
            .and_then(Value::as_u64)
            .unwrap_or(1),
        None => 0,
    };
    usize::try_from(width).unwrap_or(0)
}

/// `update_config.order`.
fn starts_first(keys: &Keys) -> bool {
    let config = keys.get("deploy").and_then(|d| d.get("update_config"));
    let order = config.and_then(|c| c.get("order"));
    order.and_then(Value::as_str) == Some("start-first")
}

fn update_delay(keys: &Keys) -> Duration {
    let config = keys.get("deploy").and_then(|d| d.get("update_config"));
    let delay = config.and_then(|c| c.get("delay")).and_then(text);
    let delay = delay.as_deref().and_then(crate::compose::schema::seconds);
    Duration::from_secs_f64(delay.unwrap_or(0.0))
}

/// `--wait`: until every container of the services runs and is healthy.
fn wait_all(
    session: &Session,
    project: &Project,
    order: &[String],
    parallel: usize,
    hands: &mut dyn Hands,
) -> Result<()> {
    let members = observe::members(session, &project.name)?;
    let mut list = Vec::new();
    for member in members
        .iter()
        .filter(|m| order.contains(&m.present.service) && !m.present.oneoff)
    {
        let container = &member.container;
        list.push(Task {
            noun: "Container",
            name: member.present.name.clone(),
            done: "Healthy",
            after: Vec::new(),
            waits: false,
            work: Box::new(move |_| match container.exit()? {
                // A job that is over is as far as it gets.
                Some(exit) if exit.code == 0 && !container.state()?.is_active() => Ok(()),
                _ => conditions::healthy(session, container, false),
            }),
        });
    }
    tasks::run(list, parallel.max(64), &mut |step| hands.step(step))
}

/// What `up` would do, in words; nothing is changed.
///
/// # Errors
/// As far as `up` gets without changing anything.
pub fn rehearse(session: &Session, project: &Project, wanted: &UpOptions) -> Result<Vec<String>> {
    let order = project.order(&wanted.services, wanted.deps)?;
    let present = observe::members(session, &project.name)?;
    let mut lines = Vec::new();
    let mut ids = BTreeMap::new();
    for service in &order {
        let image = project.image(service, project.service(service)?);
        match crate::operations::image::lookup(session, &image) {
            Ok(found) => drop(ids.insert(service.clone(), found.record.id.to_string())),
            Err(_) => lines.push(format!("image {image}: to be pulled or built")),
        }
    }
    let name_of = |id: &str| {
        let own = present.iter().find(|m| m.present.id == id);
        own.map_or_else(|| id.to_owned(), |m| m.present.name.clone())
    };
    let others = others(project, &present);
    for step in plan_all(project, wanted, &order, &present, &ids)? {
        lines.push(match &step {
            plan::Step::Keep { id, .. } => format!("keep {}", name_of(id)),
            plan::Step::Start { id, .. } => format!("start {}", name_of(id)),
            plan::Step::Remove { id, .. } => format!("remove {}", name_of(id)),
            plan::Step::Create { service, number }
            | plan::Step::Recreate {
                service, number, ..
            } => {
                let keys = project.service(service)?;
                let wish = Wish {
                    name: project.container_name(service, keys, *number),
                    number: *number,
                    others: others.clone(),
                    behind: convert::stands_behind(keys, wanted.count(service, keys)),
                    ..Wish::default()
                };
                let verb = match step {
                    plan::Step::Create { .. } => "create",
                    _ => "recreate",
                };
                let words = convert::create(project, service, keys, &wish)?.words;
                let shown: Vec<&str> = words.iter().map(String::as_str).collect();
                format!("{verb} {}", shlex::try_join(shown).unwrap_or_default())
            }
        });
    }
    Ok(lines)
}
