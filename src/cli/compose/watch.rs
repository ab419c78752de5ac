//! `compose watch`: changed files brought into containers.
//!
//! Whatever a change asks for is done by a fork: namespaces that one action enters are not in the
//! way of the next.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::Value;

use super::project::{ProjectFlags, Shell};
use crate::base::{Context as _, Error, Kind, Result};
use crate::build::ignore::Ignore;
use crate::cli::output::Out;
use crate::compose::Project;
use crate::compose::convert::texts;
use crate::compose::plan::Recreate;
use crate::compose::schema::text;
use crate::image::store::Images;
use crate::operations::compose::images::Means;
use crate::operations::compose::observe::{self, Member};
use crate::operations::compose::up::{self, UpOptions};
use crate::operations::container::cp::{self, CopyOptions, Place};
use crate::operations::container::exec::{Executed, exec};
use crate::operations::container::run as running;
use crate::operations::container::stop::StopOptions;
use crate::operations::image::{lookup, remove};
use crate::operations::session::Session;
use crate::state::request::ExecOptions;
use crate::sys::clone;
use crate::sys::watch::Watch;
use crate::sys::{attributes, fd as descriptors, pidfd};

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

/// How to watch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// `--prune`.
    pub prune: bool,
    /// `--quiet`.
    pub quiet: bool,
}

/// One rule of a service.
struct Rule {
    service: String,
    action: String,
    path: PathBuf,
    target: String,
    exec: Vec<String>,
    /// The hook's user, folder, variables, as words of `exec`.
    exec_flags: Vec<String>,
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
    let project = args.project.load(session, out, &args.services)?;
    rules(&project, &args.services)?;
    if !args.no_up {
        let quiet = args.quiet || args.project.is_quiet(session);
        let wanted = wanted(args.services.clone(), args.project.most(session)?, false);
        up::up(session, &project, &wanted, &mut Shell { out, quiet })?;
    }
    let options = Options {
        prune: args.prune,
        quiet: args.quiet,
    };
    follow(&args.project, &args.services, options, session, out)?;
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
                exec_flags: rule.get("exec").map(hook_flags).unwrap_or_default(),
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

fn hook_flags(hook: &Value) -> Vec<String> {
    let mut words = Vec::new();
    for (key, flag) in [("user", "user"), ("working_dir", "workdir")] {
        let given = hook.get(key).and_then(text);
        words.extend(given.map(|v| format!("--{flag}={v}")));
    }
    if hook.get("privileged") == Some(&Value::Bool(true)) {
        words.push("--privileged".to_owned());
    }
    let env = hook.get("environment").and_then(Value::as_object);
    for (key, value) in env.into_iter().flatten() {
        words.push(format!("--env={key}={}", text(value).unwrap_or_default()));
    }
    words
}

impl Rule {
    /// The files that it is about.
    fn own(&self, files: &[PathBuf]) -> Vec<PathBuf> {
        let own = files.iter().filter(|f| self.covers(f).is_some());
        own.cloned().collect()
    }

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

/// Does something in a fork, and waits for it; what goes wrong is told. Whether it went well.
fn apart(out: &mut Out, body: impl FnOnce(&mut Out) -> Result<()>) -> Result<bool> {
    out.flush()?;
    let child = clone::fork_with(|| {
        drop(attributes::set_death_signal(libc::SIGTERM));
        let mut out = Out::standard();
        let done = body(&mut out);
        match done.and_then(|()| out.flush()) {
            Ok(()) => 0,
            Err(e) => {
                out.error(&e);
                1
            }
        }
    })?;
    Ok(pidfd::wait(&child.pidfd)?.code() == 0)
}

/// Watches until it is ended.
///
/// # Errors
/// As reading the project; what goes wrong with one change is told.
pub fn follow(
    flags: &ProjectFlags,
    services: &[String],
    options: Options,
    session: &mut Session,
    out: &mut Out,
) -> Result<()> {
    let project = flags.load_with(session, services, true, true)?;
    let rules = rules(&project, services)?;
    let watch = Watch::new()?;
    let mut before = look(&rules, &watch);
    let initial: Vec<PathBuf> = before.keys().cloned().collect();
    let most = flags.most(session)?;
    for rule in rules
        .iter()
        .filter(|r| r.initial && r.action.contains("sync"))
    {
        let own = rule.own(&initial);
        if !own.is_empty() {
            each(&project, rule, session, &mut |member, session| {
                apart(out, |_| sync(rule, member, &own, session)).map(drop)
            })?;
        }
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
            let own = rule.own(&changed);
            if own.is_empty() {
                continue;
            }
            let done = match rule.action.as_str() {
                "rebuild" => rebuild(&project, rule, options, most, session, out),
                _ => each(&project, rule, session, &mut |member, session| {
                    bring(rule, member, &own, session, out)
                }),
            };
            if let Err(error) = done {
                out.error(&error);
            }
        }
    }
}

/// Builds a service's image and makes its containers anew of it.
fn rebuild(
    project: &Project,
    rule: &Rule,
    options: Options,
    most: usize,
    session: &mut Session,
    out: &mut Out,
) -> Result<()> {
    let service = &rule.service;
    out.note(&format!(
        "Rebuilding service {service:?} after changes were detected…"
    ));
    let image = project.image(service, project.service(service)?);
    let id = |session: &Session| {
        lookup(session, &image)
            .ok()
            .map(|f| f.record.id.to_string())
    };
    let before = id(session);
    let wanted = wanted(vec![service.clone()], most, true);
    let quiet = options.quiet;
    let built = apart(out, |out| {
        up::up(session, project, &wanted, &mut Shell { out, quiet })
    })?;
    if !built {
        return Ok(());
    }
    out.note(&format!("service {service:?} successfully built"));
    if options.prune
        && let Some(before) = before.filter(|b| Some(b) != id(session).as_ref())
    {
        apart(out, |_| {
            let hex = before.trim_start_matches("sha256:");
            match lookup(session, hex) {
                Ok(found)
                    if Images::open(&session.dirs)
                        .names()?
                        .of(&found.record.id)
                        .next()
                        .is_none() =>
                {
                    remove::remove(session, hex, remove::Options::default()).map(drop)
                }
                _ => Ok(()),
            }
        })?;
    }
    Ok(())
}

/// Does something with every running container of a rule's service.
fn each(
    project: &Project,
    rule: &Rule,
    session: &mut Session,
    work: &mut dyn FnMut(&Member, &mut Session) -> Result<()>,
) -> Result<()> {
    let mut members = observe::members(session, &project.name)?;
    members.retain(|m| m.present.service == rule.service && !m.present.oneoff && m.present.running);
    for member in &members {
        work(member, session)?;
    }
    Ok(())
}

/// Does what a rule says about files that changed, in one container.
fn bring(
    rule: &Rule,
    member: &Member,
    files: &[PathBuf],
    session: &mut Session,
    out: &mut Out,
) -> Result<()> {
    let (service, name) = (&rule.service, &member.present.name);
    if rule.action.contains("sync") {
        if !apart(out, |_| sync(rule, member, files, session))? {
            return Ok(());
        }
        out.note(&format!(
            "Syncing service {service:?} after {} changes were detected",
            files.len()
        ));
    }
    if rule.action == "sync+exec" && !rule.exec.is_empty() {
        let mut words = vec!["coracle".to_owned(), "exec".to_owned()];
        words.extend(rule.exec_flags.iter().cloned());
        words.push(name.clone());
        words.extend(rule.exec.iter().cloned());
        apart(out, |out| match crate::cli::again(&words, session, out)? {
            0 => Ok(()),
            code => Err(Error::new(
                Kind::Unavailable,
                format!("the command of watch ended with {code} in {name}"),
            )),
        })?;
    }
    if rule.action.contains("restart")
        && apart(out, |out| {
            let options = StopOptions::default();
            running::restart(session, &member.container, &options, &mut |t| out.warn(t)).map(drop)
        })?
    {
        out.note(&format!("service {service:?} restarted"));
    }
    Ok(())
}

/// Copies files into a container; those that are gone, go there too.
fn sync(rule: &Rule, member: &Member, files: &[PathBuf], session: &mut Session) -> Result<()> {
    let mut gone = Vec::new();
    let mut there = Vec::new();
    for file in files {
        let Some(below) = rule.covers(file) else {
            continue;
        };
        let place = rule.place(below);
        match file.symlink_metadata() {
            Ok(about) => there.push((file, place, about)),
            Err(_) => gone.push(place),
        }
    }
    let name = member.present.name.clone();
    if !there.is_empty() {
        // Below the root, with all folders: where there are none yet, unpacking makes them.
        let (reading, writing) = descriptors::pipe()?;
        std::thread::scope(|scope| {
            let packer = scope.spawn(move || pack(&there, std::fs::File::from(writing)));
            let to = Place::Container {
                name: name.clone(),
                path: "/".to_owned(),
            };
            let options = CopyOptions {
                archive: true,
                overwrite: true,
                follow: false,
            };
            let mut input = std::fs::File::from(reading);
            let written = cp::copy(
                session,
                &Place::Stream,
                &to,
                options,
                &mut input,
                &mut std::io::sink(),
            );
            drop(input);
            let packed = packer
                .join()
                .unwrap_or_else(|_| Err(std::io::Error::other("the packing thread panicked")));
            written.and(packed.what(|| "cannot read the files that changed"))
        })?;
    }
    if !gone.is_empty() {
        let options = ExecOptions {
            container: member.container.id().to_string(),
            command: ["rm", "-rf", "--"]
                .map(str::to_owned)
                .into_iter()
                .chain(gone)
                .collect(),
            user: Some("0".to_owned()),
            ..ExecOptions::default()
        };
        if let Executed::Ended(outcome) = exec(session, &options)?
            && outcome.exit_code() != 0
        {
            return Err(Error::new(
                Kind::Unavailable,
                format!(
                    "cannot remove files in {name}: rm ended with {}",
                    outcome.exit_code()
                ),
            ));
        }
    }
    Ok(())
}

/// The files as a tar stream, all of them root's.
fn pack(
    files: &[(&PathBuf, String, std::fs::Metadata)],
    into: std::fs::File,
) -> std::io::Result<()> {
    let mut tar = tar::Builder::new(std::io::BufWriter::new(into));
    tar.follow_symlinks(false);
    for (file, place, about) in files {
        let mut header = tar::Header::new_gnu();
        header.set_metadata(about);
        header.set_uid(0);
        header.set_gid(0);
        let place = place.trim_start_matches('/');
        match about.is_symlink() {
            true => {
                header.set_size(0);
                tar.append_link(&mut header, place, std::fs::read_link(file)?)?;
            }
            // Written while it is read, it may be shorter or longer by now.
            false => {
                let bytes = match std::fs::read(file) {
                    Ok(bytes) => bytes,
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(e),
                };
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, place, bytes.as_slice())?;
            }
        }
    }
    tar.into_inner()?
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    Ok(())
}
