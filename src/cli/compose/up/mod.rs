//! `compose up`, `create`, `scale`, `build`, `pull`, `push`.

mod attached;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::logs::Looks;
use super::project::{ProjectFlags, Shell};
use crate::base::time::Timestamp;
use crate::base::{Error, Result};
use crate::cli::output::Out;
use crate::compose::Project;
use crate::compose::plan::Recreate;
use crate::compose::schema::text;
use crate::operations::compose::Hands as _;
use crate::operations::compose::images::{self, Means};
use crate::operations::compose::{observe, up as operation};
use crate::operations::image::policy::PullPolicy;
use crate::operations::session::Session;

/// What `up` and `create` share.
#[derive(Clone, Debug, Default, Args)]
struct MakeFlags {
    #[command(flatten)]
    project: ProjectFlags,
    /// Build images before
    #[arg(long)]
    build: bool,
    /// Build no image, even a missing one
    #[arg(long, conflicts_with = "build")]
    no_build: bool,
    /// When images are pulled: always, missing, never, newer, build
    #[arg(long, value_name = "POLICY")]
    pull: Option<String>,
    /// Make all containers anew
    #[arg(long)]
    force_recreate: bool,
    /// Make no container anew, even one that changed
    #[arg(long, conflicts_with = "force_recreate")]
    no_recreate: bool,
    /// Remove containers of services that are no longer in the files
    #[arg(long)]
    remove_orphans: bool,
    /// So many containers of a service
    #[arg(long, value_name = "SERVICE=N")]
    scale: Vec<String>,
    /// Tell nothing of pulls
    #[arg(long)]
    quiet_pull: bool,
    /// Answer yes to all questions (none is asked)
    #[arg(short, long)]
    yes: bool,
}

/// Make and start containers
///
/// Makes what is missing, makes anew what changed, and leaves the rest alone. Without -d it stays
/// and shows what the containers write; the first ctrl-c stops them, the second one kills them.
#[derive(Debug, Args)]
pub struct UpArgs {
    #[command(flatten)]
    make: MakeFlags,
    /// Leave the containers in the background
    #[arg(short, long)]
    detach: bool,
    /// Leave services alone that these need
    #[arg(long)]
    no_deps: bool,
    /// Make the services anew that these need
    #[arg(long, conflicts_with = "no_recreate")]
    always_recreate_deps: bool,
    /// Give new anonymous volumes in place of the old ones
    #[arg(short = 'V', long)]
    renew_anon_volumes: bool,
    /// Make the containers and do not start them
    #[arg(long)]
    no_start: bool,
    /// Wait until the services run and are healthy; implies -d
    #[arg(long)]
    wait: bool,
    /// Seconds that this may take
    #[arg(long, value_name = "SECONDS")]
    wait_timeout: Option<u64>,
    /// Seconds that a container may take to stop
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Stop everything when a container ends
    #[arg(long, conflicts_with = "detach")]
    abort_on_container_exit: bool,
    /// Stop everything when a container fails
    #[arg(long, conflicts_with = "detach")]
    abort_on_container_failure: bool,
    /// Answer the exit code of this service; implies --abort-on-container-exit
    #[arg(long, value_name = "SERVICE", conflicts_with = "detach")]
    exit_code_from: Option<String>,
    /// Show the output of these services only
    #[arg(long, value_name = "SERVICE")]
    attach: Vec<String>,
    /// Do not show the output of these services
    #[arg(long, value_name = "SERVICE")]
    no_attach: Vec<String>,
    /// Show the output of services too that the named ones need
    #[arg(long)]
    attach_dependencies: bool,
    /// Without colours
    #[arg(long)]
    no_color: bool,
    /// Without the container in front of a line
    #[arg(long)]
    no_log_prefix: bool,
    /// With the time of each line
    #[arg(long)]
    timestamps: bool,
    /// Build quietly
    #[arg(long)]
    quiet_build: bool,
    /// Bring changed files into the containers
    #[arg(short, long, conflicts_with = "detach")]
    watch: bool,
    /// Services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Make containers without starting them
#[derive(Debug, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    make: MakeFlags,
    /// Services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Set how many containers services have
#[derive(Debug, Args)]
pub struct ScaleArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Leave services alone that these need
    #[arg(long)]
    no_deps: bool,
    /// Service and number
    #[arg(required = true, value_name = "SERVICE=N")]
    scale: Vec<String>,
}

fn scales(words: &[String]) -> Result<BTreeMap<String, usize>> {
    words
        .iter()
        .map(|word| {
            let pair = word
                .split_once('=')
                .and_then(|(s, n)| Some((s.to_owned(), n.parse().ok()?)));
            pair.ok_or_else(|| {
                Error::invalid(format!("invalid scale {word:?}")).hint("write SERVICE=N")
            })
        })
        .collect()
}

fn wanted(
    make: &MakeFlags,
    services: Vec<String>,
    session: &Session,
) -> Result<operation::UpOptions> {
    let recreate = match (make.force_recreate, make.no_recreate) {
        (true, _) => Recreate::Force,
        (_, true) => Recreate::Never,
        _ => Recreate::Diverged,
    };
    Ok(operation::UpOptions {
        services,
        deps: true,
        means: Means {
            build: make.build,
            no_build: make.no_build,
            pull: make.pull.clone(),
            parallel: make.project.most(session)?,
        },
        recreate,
        recreate_deps: if recreate == Recreate::Force {
            Recreate::Diverged
        } else {
            recreate
        },
        renew_volumes: false,
        remove_orphans: make.remove_orphans || session.env.is_on("COMPOSE_REMOVE_ORPHANS"),
        ignore_orphans: session.env.is_on("COMPOSE_IGNORE_ORPHANS"),
        start: true,
        scale: scales(&make.scale)?,
        timeout: None,
        wait: false,
    })
}

/// Brings the project up, or says what that would be.
fn bring(
    flags: &ProjectFlags,
    project: &Project,
    wanted: &operation::UpOptions,
    quiet_pull: bool,
    session: &mut Session,
    out: &mut Out,
) -> Result<()> {
    for service in wanted.scale.keys() {
        project.service(service)?;
    }
    if flags.dry_run {
        return dry(project, wanted, session, out);
    }
    let quiet = flags.is_quiet(session);
    let progress = std::sync::Arc::clone(&session.progress);
    if quiet || quiet_pull {
        session.progress = std::sync::Arc::new(crate::base::progress::Silent);
    }
    let made = operation::up(session, project, wanted, &mut Shell { out, quiet });
    session.progress = progress;
    made
}

/// `--dry-run`: the steps, and the words that would make the containers.
fn dry(
    project: &Project,
    wanted: &operation::UpOptions,
    session: &Session,
    out: &mut Out,
) -> Result<()> {
    for step in operation::rehearse(session, project, wanted)? {
        out.line(step)?;
    }
    Ok(())
}

/// Runs `compose up`.
///
/// # Errors
/// As the operation.
pub fn up(args: UpArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let flags = &args.make.project;
    let project = flags.load(session, out, &args.services)?;
    let mut wanted = wanted(&args.make, args.services.clone(), session)?;
    wanted.deps = !args.no_deps;
    wanted.start = !args.no_start;
    wanted.wait = args.wait;
    wanted.renew_volumes = args.renew_anon_volumes;
    wanted.timeout = args.timeout.map(Duration::from_secs);
    if args.always_recreate_deps {
        wanted.recreate_deps = Recreate::Force;
    }
    let began = Timestamp::now();
    let _limit = args.wait_timeout.map(attached::limit);
    bring(
        flags,
        &project,
        &wanted,
        args.make.quiet_pull || args.quiet_build,
        session,
        out,
    )?;
    if args.detach || args.wait || args.no_start || flags.dry_run {
        return Ok(0);
    }
    let from = args.exit_code_from.clone();
    if let Some(service) = &from {
        project.service(service)?;
    }
    let order = project.order(&args.services, !args.no_deps)?;
    let shown = |name: &String| {
        let attach = project.service(name).ok().and_then(|k| k.get("attach"));
        let named =
            args.services.is_empty() || args.services.contains(name) || args.attach_dependencies;
        match args.attach.is_empty() {
            false => args.attach.contains(name),
            true => named && attach != Some(&Value::Bool(false)) && !args.no_attach.contains(name),
        }
    };
    let mut members = observe::members(session, &project.name)?;
    members.retain(|m| !m.present.oneoff && order.contains(&m.present.service));
    let request = attached::Request {
        shown: members
            .iter()
            .filter(|m| shown(&m.present.service))
            .cloned()
            .collect(),
        members,
        since: began,
        looks: Looks {
            colours: !args.no_color && flags.colours(session, out)?,
            prefix: !args.no_log_prefix,
            timestamps: args.timestamps,
        },
        abort_on_exit: args.abort_on_container_exit || from.is_some(),
        abort_on_failure: args.abort_on_container_failure,
        exit_code_from: from,
        timeout: wanted.timeout,
        parallel: wanted.means.parallel,
        watch: args.watch.then(|| (flags.clone(), args.services.clone())),
    };
    attached::stay(session, &project, request, out)
}

/// Runs `compose create`.
///
/// # Errors
/// As the operation.
pub fn create(args: CreateArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let flags = &args.make.project;
    let project = flags.load(session, out, &args.services)?;
    let mut wanted = wanted(&args.make, args.services, session)?;
    wanted.start = false;
    bring(flags, &project, &wanted, args.make.quiet_pull, session, out)?;
    Ok(0)
}

/// Runs `compose scale`.
///
/// # Errors
/// As the operation.
pub fn scale(args: ScaleArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let scale = scales(&args.scale)?;
    let services: Vec<String> = scale.keys().cloned().collect();
    let project = args.project.load(session, out, &services)?;
    let make = MakeFlags::default();
    let mut wanted = wanted(&make, services, session)?;
    wanted.scale = scale;
    wanted.deps = !args.no_deps;
    wanted.recreate = Recreate::Never;
    wanted.recreate_deps = Recreate::Never;
    wanted.means.parallel = args.project.most(session)?;
    bring(&args.project, &project, &wanted, false, session, out)?;
    Ok(0)
}

/// Build the images of services
#[derive(Debug, Args)]
pub struct BuildArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Argument of the build
    #[arg(long, value_name = "KEY=VALUE")]
    build_arg: Vec<String>,
    /// Do every step anew
    #[arg(long)]
    no_cache: bool,
    /// Pull the images that the build begins with
    #[arg(long)]
    pull: bool,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
    /// Push the images that were built
    #[arg(long)]
    push: bool,
    /// Build what the services need, too
    #[arg(long)]
    with_dependencies: bool,
    /// Agent or keys for RUN --mount=type=ssh
    #[arg(long, value_name = "ID[=SOCKET|KEY]")]
    ssh: Vec<String>,
    /// Memory of the build's steps
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// Check the Dockerfiles and build nothing
    #[arg(long)]
    check: bool,
    /// Services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `compose build`.
///
/// # Errors
/// As `build`.
pub fn build(args: BuildArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let project = args.project.load(session, out, &args.services)?;
    let order = project.order(
        &args.services,
        args.with_dependencies || args.services.is_empty(),
    )?;
    let mut more: Vec<String> = args
        .build_arg
        .iter()
        .map(|a| format!("--build-arg={a}"))
        .collect();
    more.extend(args.ssh.iter().map(|s| format!("--ssh={s}")));
    more.extend(args.memory.iter().map(|m| format!("--memory={m}")));
    for (on, word) in [
        (args.no_cache, "--no-cache"),
        (args.pull, "--pull=always"),
        (args.check, "--check"),
    ] {
        more.extend(on.then(|| word.to_owned()));
    }
    let quiet = args.quiet || args.project.is_quiet(session);
    for service in order {
        let keys = project.service(&service)?;
        if !keys.contains_key("build") {
            continue;
        }
        if args.project.dry_run {
            let (words, _) = crate::compose::convert::build(&project, &service, keys)?;
            out.line(format!("build {}", words.words.join(" ")))?;
            continue;
        }
        images::build(
            session,
            &project,
            &service,
            &more,
            &mut Shell { out, quiet },
        )?;
        if args.push {
            let words = ["coracle", "push", &project.image(&service, keys)].map(str::to_owned);
            super::super::again(&words, session, out)?;
        }
    }
    Ok(0)
}

/// Pull the images of services
#[derive(Debug, Args)]
pub struct PullArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
    /// Go on when an image cannot be pulled
    #[arg(long)]
    ignore_pull_failures: bool,
    /// Leave out what can be built
    #[arg(long)]
    ignore_buildable: bool,
    /// Pull what the services need, too
    #[arg(long)]
    include_deps: bool,
    /// always, or missing
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    /// Services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `compose pull`.
///
/// # Errors
/// As `pull`.
pub fn pull(args: PullArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let project = args.project.load(session, out, &args.services)?;
    let order = project.order(&args.services, args.include_deps)?;
    let policy = match args.policy.as_deref() {
        None | Some("always") => PullPolicy::Always,
        Some("missing") => PullPolicy::Missing,
        Some(other) => {
            return Err(
                Error::invalid(format!("unknown --policy {other:?}")).hint("use always or missing")
            );
        }
    };
    let quiet = args.quiet || args.project.is_quiet(session);
    if quiet {
        session.progress = std::sync::Arc::new(crate::base::progress::Silent);
    }
    let mut list = BTreeMap::new();
    for service in order {
        let keys = project.service(&service)?;
        let buildable = keys.contains_key("build");
        if (buildable && (args.ignore_buildable || !keys.contains_key("image")))
            || keys.get("pull_policy").and_then(text).as_deref() == Some("never")
        {
            continue;
        }
        list.insert(
            project.image(&service, keys),
            (policy, keys.get("platform").and_then(text)),
        );
    }
    if args.project.dry_run {
        for name in list.keys() {
            out.line(format!("pull {name}"))?;
        }
        return Ok(0);
    }
    let most = args.project.most(session)?;
    let mut shell = Shell { out, quiet };
    if !args.ignore_pull_failures {
        images::pull(session, list.into_iter().collect(), most, &mut shell)?;
        return Ok(0);
    }
    for one in list {
        if let Err(error) = images::pull(session, vec![one], most, &mut shell) {
            shell.warn(&error.one_line());
        }
    }
    Ok(0)
}

/// Push the images of services
///
/// Only images that are built for the project are pushed.
#[derive(Debug, Args)]
pub struct PushArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
    /// Go on when an image cannot be pushed
    #[arg(long)]
    ignore_push_failures: bool,
    /// Push what the services need, too
    #[arg(long)]
    include_deps: bool,
    /// Services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `compose push`.
///
/// # Errors
/// As `push`.
pub fn push(args: PushArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let project = args.project.load(session, out, &args.services)?;
    for service in project.order(&args.services, args.include_deps)? {
        let keys = project.service(&service)?;
        if !keys.contains_key("build") {
            continue;
        }
        let mut words = vec!["coracle".to_owned(), "push".to_owned()];
        if args.quiet {
            words.push("--quiet".to_owned());
        }
        words.push(project.image(&service, keys));
        if args.project.dry_run {
            out.line(words[1..].join(" "))?;
            continue;
        }
        match super::super::again(&words, session, out) {
            Err(error) if args.ignore_push_failures => out.warn(&error.one_line()),
            other => drop(other?),
        }
    }
    Ok(0)
}
