//! `compose watch`: changed files brought into containers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::Value;

use super::project::{ProjectFlags, Shell};
use crate::base::{Context as _, Error, Result};
use crate::build::ignore::Ignore;
use crate::cli::output::Out;
use crate::compose::Project;
use crate::compose::convert::texts;
use crate::compose::plan::Recreate;
use crate::compose::schema::text;
use crate::operations::compose::images::Means;
use crate::operations::compose::observe;
use crate::operations::compose::up::{self, UpOptions};
use crate::operations::container::run as running;
use crate::operations::container::stop::StopOptions;
use crate::operations::session::Session;
use crate::sys::fd as descriptors;
use crate::sys::watch::Watch;

/// Changes that come so close after each other are handled at once.
const SETTLE: Duration = Duration::from_millis(100);

/// Bring changed files into containers
///
/// By the rules of `develop.watch`: files are copied (sync), the container is restarted or runs a
/// command after it, or the image is built anew and the container made of it (rebuild).
#[derive(Debug, Args)]
pub struct WatchArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Do not make and start the services first
    #[arg(long)]
    no_up: bool,
    /// Remove images that a rebuild replaced
    #[arg(long)]
    prune: bool,
    /// Tell nothing of builds
    #[arg(long)]
    quiet: bool,
    /// Services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// One rule of a service.
struct Rule {
    service: String,
    action: String,
    path: PathBuf,
    target: String,
    exec: Vec<String>,
    ignore: Ignore,
    include: Option<Ignore>,
    initial: bool,
}

/// What a file was when it was last looked at.
type Seen = BTreeMap<PathBuf, (SystemTime, u64)>;

/// Runs `compose watch`.
///
/// # Errors
/// As `up`; `Invalid` without a rule.
pub fn run(args: WatchArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.prune {
        return Err(
            Error::unsupported("replaced images are not removed by watch")
                .hint("coracle image prune removes what no name leads to"),
        );
    }
    let project = args.project.load(session, out, &args.services)?;
    rules(&project, &args.services)?;
    if !args.no_up {
        let quiet = args.quiet || args.project.is_quiet(session);
        let wanted = wanted(args.services.clone(), args.project.most(session)?, false);
        up::up(session, &project, &wanted, &mut Shell { out, quiet })?;
    }
    follow(&args.project, &args.services, session, out)?;
    Ok(0)
}

fn wanted(services: Vec<String>, parallel: usize, build: bool) -> UpOptions {
    UpOptions {
        services,
        deps: !build,
        means: Means {
            build,
            parallel,
            ..Means::default()
        },
        recreate: Recreate::Diverged,
        recreate_deps: Recreate::Diverged,
        renew_volumes: false,
        remove_orphans: false,
        ignore_orphans: true,
        start: true,
        scale: BTreeMap::new(),
        timeout: None,
        wait: false,
    }
}

fn rules(project: &Project, services: &[String]) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for (service, keys) in project.services() {
        if !services.is_empty() && !services.contains(service) {
            continue;
        }
        let list = keys
            .get("develop")
            .and_then(|d| d.get("watch"))
            .and_then(Value::as_array);
        for rule in list.into_iter().flatten() {
            let of = |key: &str| rule.get(key).and_then(text).unwrap_or_default();
            let at = format!("services.{service}.develop.watch");
            let action = of("action");
            let target = of("target");
            if !["sync", "rebuild", "restart", "sync+restart", "sync+exec"]
                .contains(&action.as_str())
            {
                return Err(Error::invalid(format!("{at}: unknown action {action:?}")));
            }
            if action.contains("sync") && target.is_empty() {
                return Err(Error::invalid(format!("{at}: {action} needs a target")));
            }
            let path = PathBuf::from(of("path"));
            let mut ignored = texts(rule.get("ignore"));
            ignored.push("**/.git".to_owned());
            if let Some(context) = keys
                .get("build")
                .and_then(|b| b.get("context"))
                .and_then(text)
                && path.starts_with(&context)
                && let Ok(more) = std::fs::read_to_string(Path::new(&context).join(".dockerignore"))
            {
                ignored.extend(more.lines().map(str::to_owned));
            }
            let include = texts(rule.get("include"));
            // At any depth, as a person means `*.rs`.
            let include: Vec<String> = include
                .into_iter()
                .flat_map(|p| [format!("**/{p}"), p])
                .collect();
            rules.push(Rule {
                service: service.clone(),
                action,
                target,
                exec: rule
                    .get("exec")
                    .map(|e| texts(e.get("command")))
                    .unwrap_or_default(),
                ignore: Ignore::parse("watch", &ignored.join("\n"))?,
                include: match include.is_empty() {
                    true => None,
                    false => Some(Ignore::of(&include)?),
                },
                initial: rule.get("initial_sync") == Some(&Value::Bool(true)),
                path,
            });
        }
    }
    match rules.is_empty() {
        true => Err(Error::invalid("no service has a rule of develop.watch")),
        false => Ok(rules),
    }
}

impl Rule {
    /// A file's path below the rule's, if the rule is about it.
    fn covers<'a>(&self, file: &'a Path) -> Option<&'a Path> {
        let below = file.strip_prefix(&self.path).ok()?;
        let name = match below.as_os_str().is_empty() {
            true => Path::new(file.file_name()?),
            false => below,
        };
        let name = name.to_string_lossy();
        let wanted = self.include.as_ref().is_none_or(|i| i.excludes(&name));
        (wanted && !self.ignore.excludes(&name)).then_some(below)
    }

    /// Where a file goes.
    fn place(&self, below: &Path) -> String {
        match below.as_os_str().is_empty() {
            true => self.target.clone(),
            false => format!("{}/{}", self.target.trim_end_matches('/'), below.display()),
        }
    }
}

/// Everything below a path, watched from now on.
fn scan(path: &Path, watch: &Watch, seen: &mut Seen) {
    let Ok(about) = std::fs::symlink_metadata(path) else {
        return;
    };
    if !about.is_dir() {
        if let Some(parent) = path.parent() {
            drop(watch.add(parent));
        }
        let changed = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        seen.insert(path.to_owned(), (changed, about.len()));
        return;
    }
    drop(watch.add(path));
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_name() == ".git" {
            continue;
        }
        let path = entry.path();
        match entry.metadata() {
            Ok(about) if about.is_dir() => scan(&path, watch, seen),
            Ok(about) => {
                let changed = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                seen.insert(path, (changed, about.len()));
            }
            Err(_) => {}
        }
    }
}

fn look(rules: &[Rule], watch: &Watch) -> Seen {
    let mut seen = Seen::new();
    for rule in rules {
        scan(&rule.path, watch, &mut seen);
    }
    seen
}

/// Watches until it is ended.
///
/// # Errors
/// As reading the project; what goes wrong with one change is told.
pub fn follow(
    flags: &ProjectFlags,
    services: &[String],
    session: &mut Session,
    out: &mut Out,
) -> Result<()> {
    let project = flags.load_with(session, services, true, true)?;
    let rules = rules(&project, services)?;
    let watch = Watch::new()?;
    let mut before = look(&rules, &watch);
    let initial: Vec<PathBuf> = before.keys().cloned().collect();
    for rule in rules
        .iter()
        .filter(|r| r.initial && r.action.contains("sync"))
    {
        let own: Vec<PathBuf> = initial
            .iter()
            .filter(|f| rule.covers(f).is_some())
            .cloned()
            .collect();
        handle(flags, &project, rule, &own, session, out)?;
    }
    out.note("Watch enabled");
    loop {
        descriptors::wait_readable(&watch, None).what(|| "cannot watch")?;
        while descriptors::wait_readable(&watch, Some(SETTLE)).what(|| "cannot watch")? {
            watch.clear();
        }
        let now = look(&rules, &watch);
        let mut changed: Vec<PathBuf> = now
            .iter()
            .filter(|(p, s)| before.get(*p) != Some(s))
            .map(|(p, _)| p.clone())
            .collect();
        changed.extend(before.keys().filter(|p| !now.contains_key(*p)).cloned());
        before = now;
        for rule in &rules {
            let own: Vec<PathBuf> = changed
                .iter()
                .filter(|f| rule.covers(f).is_some())
                .cloned()
                .collect();
            if !own.is_empty()
                && let Err(error) = handle(flags, &project, rule, &own, session, out)
            {
                out.error(&error);
            }
        }
    }
}

/// Does what a rule says about files that changed.
fn handle(
    flags: &ProjectFlags,
    project: &Project,
    rule: &Rule,
    files: &[PathBuf],
    session: &mut Session,
    out: &mut Out,
) -> Result<()> {
    let service = &rule.service;
    if rule.action == "rebuild" {
        out.note(&format!(
            "Rebuilding service {service:?} after changes were detected…"
        ));
        let wanted = wanted(vec![service.clone()], flags.most(session)?, true);
        up::up(session, project, &wanted, &mut Shell { out, quiet: false })?;
        out.note(&format!("service {service:?} successfully built"));
        return Ok(());
    }
    let members = observe::members(session, &project.name)?;
    let own: Vec<_> = members
        .iter()
        .filter(|m| m.present.service == *service && !m.present.oneoff && m.present.running)
        .collect();
    for member in own {
        let name = &member.present.name;
        if rule.action.contains("sync") {
            sync(rule, name, files, session, out)?;
            out.note(&format!(
                "Syncing service {service:?} after {} changes were detected",
                files.len()
            ));
        }
        if rule.action == "sync+exec" && !rule.exec.is_empty() {
            let mut words = vec!["coracle".to_owned(), "exec".to_owned(), name.clone()];
            words.extend(rule.exec.iter().cloned());
            crate::cli::again(&words, session, out)?;
        }
        if rule.action.contains("restart") {
            running::restart(
                session,
                &member.container,
                &StopOptions::default(),
                &mut |t| out.warn(t),
            )?;
            out.note(&format!("service {service:?} restarted"));
        }
    }
    Ok(())
}

/// Copies files into a container; those that are gone, go there too.
fn sync(
    rule: &Rule,
    name: &str,
    files: &[PathBuf],
    session: &mut Session,
    out: &mut Out,
) -> Result<()> {
    for file in files {
        let Some(below) = rule.covers(file) else {
            continue;
        };
        let place = rule.place(below);
        let line = |words: &[&str]| -> Vec<String> {
            [&["coracle"], words]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect()
        };
        let words = match file.symlink_metadata() {
            Ok(_) => {
                if let Some(folder) = Path::new(&place)
                    .parent()
                    .map(|p| p.to_string_lossy().into_owned())
                    && !below.as_os_str().is_empty()
                {
                    crate::cli::again(
                        &line(&["exec", name, "mkdir", "-p", &folder]),
                        session,
                        out,
                    )?;
                }
                line(&["cp", &file.to_string_lossy(), &format!("{name}:{place}")])
            }
            Err(_) => line(&["exec", name, "rm", "-rf", &place]),
        };
        if crate::cli::again(&words, session, out)? != 0 {
            out.warn(&format!("cannot bring {} into {name}", file.display()));
        }
    }
    Ok(())
}
