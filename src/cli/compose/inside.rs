//! Commands about one container of a service: `exec`, `run`, `cp`, `top`, ….
//!
//! Each is the command of `container` with the container's name for the service's.

use clap::Args;
use serde_json::Value;

use super::project::{ProjectFlags, Shell};
use crate::base::{Error, Result};
use crate::cli::output::Out;
use crate::compose::convert::{self, Wish};
use crate::compose::plan::Recreate;
use crate::operations::compose::images::{self, Means};
use crate::operations::compose::{Hands as _, objects, observe, up};
use crate::operations::session::Session;

/// Runs a command of `container`.
fn container(words: Vec<String>, session: &mut Session, out: &mut Out) -> Result<u8> {
    let mut line = vec!["coracle".to_owned(), "container".to_owned()];
    line.extend(words);
    crate::cli::again(&line, session, out)
}

/// Run a command in a running container
///
/// As `exec`, in the first container of the service; with a terminal unless -T is given.
#[derive(Debug, Args)]
pub struct ExecArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Leave it in the background
    #[arg(short, long)]
    detach: bool,
    /// Variable
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// The container with this number
    #[arg(long, value_name = "N")]
    index: Option<usize>,
    /// Without a terminal
    #[arg(short = 'T', long, visible_alias = "no-TTY")]
    no_tty: bool,
    /// With input (always)
    #[arg(short, long, hide = true)]
    interactive: bool,
    /// With a terminal (usual)
    #[arg(short, long, hide = true)]
    tty: bool,
    /// With all capabilities
    #[arg(long)]
    privileged: bool,
    /// User
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Folder inside
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Service, then the command
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "SERVICE COMMAND [ARG…]"
    )]
    words: Vec<String>,
}

fn has_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stdin())
        && std::io::IsTerminal::is_terminal(&std::io::stdout())
}

/// Runs `compose exec`.
///
/// # Errors
/// As `exec`.
pub fn exec(args: ExecArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let [service, command @ ..] = args.words.as_slice() else {
        return Err(Error::invalid("a service is missing"));
    };
    if command.is_empty() {
        return Err(
            Error::invalid("a command is missing").hint("coracle compose exec SERVICE COMMAND")
        );
    }
    let member = args.project.member(session, service, args.index)?;
    let mut words = vec!["exec".to_owned()];
    match (args.detach, args.no_tty || !has_terminal()) {
        (true, _) => words.push("--detach".to_owned()),
        (_, true) => words.push("--interactive".to_owned()),
        (_, false) => words.extend(["--interactive", "--tty"].map(str::to_owned)),
    }
    words.extend(args.env.iter().map(|e| format!("--env={e}")));
    words.extend(args.user.iter().map(|u| format!("--user={u}")));
    words.extend(args.workdir.iter().map(|w| format!("--workdir={w}")));
    words.extend(args.privileged.then(|| "--privileged".to_owned()));
    words.push(member.present.name.clone());
    words.extend(command.iter().cloned());
    container(words, session, out)
}

/// Run a command in a new container of a service
///
/// What the service needs is started first. Ports are published with --service-ports only.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,
    /// Leave it in the background and print its name
    #[arg(short, long)]
    detach: bool,
    /// Variable
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// File with variables
    #[arg(long, value_name = "FILE")]
    env_from_file: Vec<String>,
    /// Program in place of the service's
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Do not start what the service needs
    #[arg(long)]
    no_deps: bool,
    /// User
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Folder inside
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Without a terminal
    #[arg(short = 'T', long, visible_alias = "no-TTY")]
    no_tty: bool,
    /// With input (default true)
    #[arg(short, long)]
    interactive: Option<bool>,
    /// Publish the service's ports
    #[arg(short = 'P', long, conflicts_with = "publish")]
    service_ports: bool,
    /// Publish a port
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<String>,
    /// Bind a folder or volume
    #[arg(short, long, value_name = "VOLUME")]
    volume: Vec<String>,
    /// Build the image before
    #[arg(long)]
    build: bool,
    /// When the image is pulled
    #[arg(long, value_name = "POLICY")]
    pull: Option<String>,
    /// Add a capability
    #[arg(long, value_name = "CAP")]
    cap_add: Vec<String>,
    /// Drop a capability
    #[arg(long, value_name = "CAP")]
    cap_drop: Vec<String>,
    /// Label
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Be known by the service's names on its networks
    #[arg(long)]
    use_aliases: bool,
    /// Remove containers of services that are no longer in the files
    #[arg(long)]
    remove_orphans: bool,
    /// Tell nothing of what is started
    #[arg(short, long)]
    quiet: bool,
    /// Tell nothing of builds
    #[arg(long)]
    quiet_build: bool,
    /// Tell nothing of pulls
    #[arg(long)]
    quiet_pull: bool,
    /// Service, then the command
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "SERVICE [COMMAND [ARG…]]"
    )]
    words: Vec<String>,
}

/// Runs `compose run`.
///
/// # Errors
/// As `up` of what is needed, and `run`.
pub fn run(args: RunArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let [service, command @ ..] = args.words.as_slice() else {
        return Err(Error::invalid("a service is missing"));
    };
    let project = args
        .project
        .load(session, out, std::slice::from_ref(service))?;
    let mut keys = project.service(service)?.clone();
    let quiet = args.quiet || args.project.is_quiet(session);
    let means = Means {
        build: false,
        no_build: false,
        pull: args.pull.clone(),
        parallel: args.project.most(session)?,
    };
    let mut shell = Shell { out, quiet };
    let needed: Vec<String> = project.order(std::slice::from_ref(service), true)?;
    let needed: Vec<String> = needed.into_iter().filter(|n| n != service).collect();
    if !args.no_deps && !needed.is_empty() {
        let wanted = up::UpOptions {
            services: needed,
            deps: true,
            means: means.clone(),
            recreate: Recreate::Diverged,
            recreate_deps: Recreate::Diverged,
            renew_volumes: false,
            remove_orphans: args.remove_orphans,
            ignore_orphans: true,
            start: true,
            scale: Default::default(),
            timeout: None,
            wait: false,
        };
        up::up(session, &project, &wanted, &mut shell)?;
    }
    let own = [service.clone()];
    let mut build = means;
    build.build = args.build;
    let progress = std::sync::Arc::clone(&session.progress);
    if args.quiet_pull || args.quiet_build || quiet {
        session.progress = std::sync::Arc::new(crate::base::progress::Silent);
        shell.quiet = true;
    }
    let ids = images::ensure_all(session, &project, &own, &build, &mut shell)?;
    session.progress = progress;
    shell.quiet = quiet;
    objects::ensure(session, &project, &own, &mut shell)?;
    let present = observe::members(session, &project.name)?;
    if !args.no_deps {
        let dependencies = crate::compose::Project::dependencies(&keys);
        crate::operations::compose::conditions::all_met(
            session,
            &project.name,
            &dependencies,
            &mut |step| shell.step(step),
        )?;
    }
    keys.remove("container_name");
    if let Some(line) = &args.entrypoint {
        let split = shlex::split(line)
            .ok_or_else(|| Error::invalid("--entrypoint has a quote that is not closed"))?;
        keys.insert("entrypoint".to_owned(), split.into());
        keys.remove("command");
    }
    if !command.is_empty() {
        keys.insert("command".to_owned(), command.to_vec().into());
    }
    if !args.service_ports {
        keys.remove("ports");
    }
    let random = crate::operations::container::names::random_id()?;
    let wish = Wish {
        name: args
            .name
            .clone()
            .unwrap_or_else(|| format!("{}-{service}-run-{}", project.name, random.short())),
        number: 1,
        image_id: ids.get(service).cloned().unwrap_or_default(),
        oneoff: true,
        with_ports: args.service_ports,
        with_names: args.use_aliases,
        others: up::others(&project, &present),
        ..Wish::default()
    };
    let terminal = !args.no_tty && !args.detach && has_terminal();
    keys.insert("tty".to_owned(), Value::Bool(terminal));
    keys.insert(
        "stdin_open".to_owned(),
        Value::Bool(args.interactive.unwrap_or(true)),
    );
    let made = convert::create(&project, service, &keys, &wish)?;
    for notice in &made.notices {
        shell.warn(&format!("services.{service}: {notice}"));
    }
    let mut words = vec!["run".to_owned()];
    words.extend(args.rm.then(|| "--rm".to_owned()));
    words.extend(args.detach.then(|| "--detach".to_owned()));
    for (list, flag) in [
        (&args.env_from_file, "env-file"),
        (&args.publish, "publish"),
        (&args.volume, "volume"),
        (&args.cap_add, "cap-add"),
        (&args.cap_drop, "cap-drop"),
        (&args.label, "label"),
    ] {
        words.extend(list.iter().map(|v| format!("--{flag}={v}")));
    }
    words.extend(args.user.iter().map(|v| format!("--user={v}")));
    words.extend(args.workdir.iter().map(|v| format!("--workdir={v}")));
    // The service's variables first: the later one wins.
    let image = project.image(service, &keys);
    let at = made
        .words
        .iter()
        .position(|w| *w == image)
        .unwrap_or(made.words.len());
    let (flags, rest) = made.words.split_at(at);
    let given = |w: &&String| {
        !(args.user.is_some() && w.starts_with("--user=")
            || args.workdir.is_some() && w.starts_with("--workdir="))
    };
    words.extend(flags.iter().filter(given).cloned());
    words.extend(args.env.iter().map(|v| format!("--env={v}")));
    words.extend(rest.iter().cloned());
    if args.project.dry_run {
        out.line(words.join(" "))?;
        return Ok(0);
    }
    container(words, session, out)
}

/// Copy files to and from containers
#[derive(Debug, Args)]
pub struct CpArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Keep owners
    #[arg(short, long)]
    archive: bool,
    /// Follow a symbolic link that is named
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// The container with this number
    #[arg(long, value_name = "N")]
    index: Option<usize>,
    /// To the containers of `run`, too
    #[arg(long)]
    all: bool,
    /// SERVICE:PATH, a path, or -
    source: String,
    /// SERVICE:PATH, a path, or -
    target: String,
}

/// Runs `compose cp`.
///
/// # Errors
/// As `cp`.
pub fn cp(args: CpArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let service_of = |text: &str| {
        let (name, path) = text.split_once(':')?;
        (!name.contains('/') && !name.starts_with('.')).then(|| (name.to_owned(), path.to_owned()))
    };
    let mut targets = vec![args.target.clone()];
    let mut source = args.source.clone();
    match (service_of(&args.source), service_of(&args.target)) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid("copying between services is not supported")
                .hint("copy to a local folder first"));
        }
        (Some((service, path)), None) => {
            let member = args.project.member(session, &service, args.index)?;
            source = format!("{}:{path}", member.present.name);
        }
        (None, Some((service, path))) => {
            let (members, _) = args
                .project
                .members(session, std::slice::from_ref(&service))?;
            targets = members
                .iter()
                .filter(|m| args.all || !m.present.oneoff)
                .filter(|m| args.index.is_none_or(|i| m.present.number == i))
                .map(|m| format!("{}:{path}", m.present.name))
                .collect();
            if targets.is_empty() {
                return Err(Error::not_found(format!(
                    "service {service:?} has no such container"
                )));
            }
        }
        (None, None) => {
            return Err(Error::invalid("neither place is in a service").hint("write SERVICE:PATH"));
        }
    }
    for target in targets {
        let mut words = vec!["cp".to_owned()];
        words.extend(args.archive.then(|| "--archive".to_owned()));
        words.extend(args.follow_link.then(|| "--follow-link".to_owned()));
        words.extend([source.clone(), target]);
        container(words, session, out)?;
    }
    Ok(0)
}

/// List the processes of containers
#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `compose top`.
///
/// # Errors
/// As `top`.
pub fn top(args: TopArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let (members, _) = args.project.members(session, &args.services)?;
    for member in members.iter().filter(|m| m.present.running) {
        out.line(&member.present.name)?;
        container(
            vec!["top".to_owned(), member.present.name.clone()],
            session,
            out,
        )?;
        out.line("")?;
    }
    Ok(0)
}

/// Show what containers use
#[derive(Debug, Args)]
pub struct StatsArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Those too that do not run
    #[arg(short, long)]
    all: bool,
    /// Once
    #[arg(long)]
    no_stream: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// table, json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `compose stats`.
///
/// # Errors
/// As `stats`.
pub fn stats(args: StatsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let (members, _) = args.project.members(session, &args.services)?;
    let mut words = vec!["stats".to_owned()];
    words.extend(args.no_stream.then(|| "--no-stream".to_owned()));
    words.extend(args.no_trunc.then(|| "--no-trunc".to_owned()));
    words.extend(args.format.iter().map(|f| format!("--format={f}")));
    let chosen = members.iter().filter(|m| args.all || m.present.running);
    let names: Vec<String> = chosen.map(|m| m.present.name.clone()).collect();
    if names.is_empty() {
        return Ok(0);
    }
    words.extend(names);
    container(words, session, out)
}

/// Show what happens to containers
#[derive(Debug, Args)]
pub struct EventsArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// As JSON objects
    #[arg(long)]
    json: bool,
    /// Not before this time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Not after this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `compose events`.
///
/// # Errors
/// As `events`.
pub fn events(args: EventsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let (name, _) = args.project.named(session, &args.services)?;
    let mut line = vec![
        "coracle".to_owned(),
        "events".to_owned(),
        "--filter=type=container".to_owned(),
    ];
    line.push(format!("--filter=label={}={name}", convert::PROJECT));
    if args.services.len() > 1 {
        return Err(
            Error::unsupported("events of several services at once are not told apart")
                .hint("name one service, or none"),
        );
    }
    line.extend(
        args.services
            .iter()
            .map(|s| format!("--filter=label={}={s}", convert::SERVICE)),
    );
    line.extend(args.json.then(|| "--format=json".to_owned()));
    line.extend(args.since.iter().map(|t| format!("--since={t}")));
    line.extend(args.until.iter().map(|t| format!("--until={t}")));
    crate::cli::again(&line, session, out)
}

/// Connect to the streams of a container
#[derive(Debug, Args)]
pub struct AttachArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// The container with this number
    #[arg(long, value_name = "N")]
    index: Option<usize>,
    /// Keys that detach
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Without input
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on (default true)
    #[arg(long)]
    sig_proxy: Option<bool>,
    /// Service
    service: String,
}

/// Runs `compose attach`.
///
/// # Errors
/// As `attach`.
pub fn attach(args: AttachArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let member = args.project.member(session, &args.service, args.index)?;
    let mut words = vec!["attach".to_owned()];
    words.extend(
        args.detach_keys
            .iter()
            .map(|k| format!("--detach-keys={k}")),
    );
    words.extend(args.no_stdin.then(|| "--no-stdin".to_owned()));
    words.extend(args.sig_proxy.map(|on| format!("--sig-proxy={on}")));
    words.push(member.present.name);
    container(words, session, out)
}

/// Make an image of a container
#[derive(Debug, Args)]
pub struct CommitArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// The container with this number
    #[arg(long, value_name = "N")]
    index: Option<usize>,
    /// Author
    #[arg(short, long, value_name = "NAME")]
    author: Option<String>,
    /// Instruction of a Dockerfile to apply
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Message
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Freeze the container meanwhile
    #[arg(short, long)]
    pause: Option<bool>,
    /// Service
    service: String,
    /// Name of the image
    image: Option<String>,
}

/// Runs `compose commit`.
///
/// # Errors
/// As `commit`.
pub fn commit(args: CommitArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let member = args.project.member(session, &args.service, args.index)?;
    let mut words = vec!["commit".to_owned()];
    words.extend(args.author.iter().map(|a| format!("--author={a}")));
    words.extend(args.change.iter().map(|c| format!("--change={c}")));
    words.extend(args.message.iter().map(|m| format!("--message={m}")));
    words.extend(args.pause.map(|on| format!("--pause={on}")));
    words.push(member.present.name);
    words.extend(args.image);
    container(words, session, out)
}
