//! `generate systemd`.

use serde_json::{Map, Value};

use crate::base::fs::{Durability, replace};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result};
use crate::cli::output::Out;
use crate::cli::run_words::RunWords;
use crate::operations;
use crate::operations::generate::{What, Wish, unit};
use crate::operations::session::Session;
use crate::state::container::{Container, Containers};
use crate::state::pod::{PodRecord, Pods};

/// Write systemd units for a container, or a pod and its containers
///
/// The units start and stop them, or with --new make them anew every time. Quadlets say the same in
/// fewer lines: see `coracle quadlet --help`.
#[derive(Debug, clap::Args)]
pub struct SystemdArgs {
    /// Make the container at every start and remove it at every stop
    #[arg(long)]
    pub new: bool,
    /// Use the container's name in place of its id
    #[arg(short, long)]
    pub name: bool,
    /// Write a file into the current folder and print its path
    #[arg(short, long)]
    pub files: bool,
    /// Print as `json`: an object with names and texts
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Seconds until the container is killed; that of the container unless given
    #[arg(
        short = 't',
        long = "stop-timeout",
        alias = "time",
        value_name = "SECONDS"
    )]
    pub stop_timeout: Option<u32>,
    /// Seconds that a start may take
    #[arg(long, value_name = "SECONDS")]
    pub start_timeout: Option<u32>,
    /// When systemd starts it again
    #[arg(long, value_name = "POLICY", default_value = "on-failure")]
    pub restart_policy: String,
    /// Seconds before it does
    #[arg(long, value_name = "SECONDS")]
    pub restart_sec: Option<u32>,
    /// First part of the name of a container's unit
    #[arg(long, value_name = "PREFIX", default_value = "container")]
    pub container_prefix: String,
    /// The same of a pod's unit
    #[arg(long, value_name = "PREFIX", default_value = "pod")]
    pub pod_prefix: String,
    /// What stands between the parts
    #[arg(long, value_name = "TEXT", default_value = "-")]
    pub separator: String,
    /// Unit that is to be started before
    #[arg(long, value_name = "UNIT")]
    pub after: Vec<String>,
    /// Unit that it cannot do without
    #[arg(long, value_name = "UNIT")]
    pub requires: Vec<String>,
    /// Unit that is to be started with it
    #[arg(long, value_name = "UNIT")]
    pub wants: Vec<String>,
    /// Variable of the unit, NAME=VALUE
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Leave out who made it and when
    #[arg(long)]
    pub no_header: bool,
    /// Make a template, whose instances are named %i; needs --new
    #[arg(long)]
    pub template: bool,
    /// Name or id
    #[arg(value_name = "CONTAINER|POD")]
    pub container: String,
}

/// Runs `generate systemd`; answers the exit code.
///
/// # Errors
/// As finding the container or the pod and reading how it was made.
pub fn run(args: SystemdArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    check(&args)?;
    let wishes = wishes(&args, session)?;
    let mut object = Map::new();
    for wish in wishes {
        let text = unit(&wish);
        if args.files {
            let suffix = if args.template { "@" } else { "" };
            let folder = std::env::current_dir().what(|| "cannot find the current folder")?;
            let path = folder.join(format!("{}{suffix}.service", wish.name));
            replace(&path, text.as_bytes(), 0o644, Durability::Durable)?;
            out.line(path.display().to_string())?;
        } else if args.format.as_deref() == Some("json") {
            object.insert(wish.name, text.into());
        } else {
            out.text(&text)?;
        }
    }
    if !object.is_empty() {
        out.json(&Value::Object(object))?;
    }
    Ok(0)
}

fn check(args: &SystemdArgs) -> Result<()> {
    const POLICIES: &[&str] = &[
        "no",
        "on-success",
        "on-failure",
        "on-abnormal",
        "on-watchdog",
        "on-abort",
        "always",
    ];
    if !POLICIES.contains(&args.restart_policy.as_str()) {
        return Err(Error::invalid(format!(
            "invalid --restart-policy {:?}: systemd knows {}",
            args.restart_policy,
            POLICIES.join(", ")
        )));
    }
    if args.template && !args.new {
        return Err(Error::invalid("--template needs --new")
            .hint("one container cannot be several instances"));
    }
    if let Some(bad) = args
        .env
        .iter()
        .find(|e| !e.contains('=') || e.starts_with('='))
    {
        return Err(Error::invalid(format!("invalid variable {bad:?}")).hint("write NAME=VALUE"));
    }
    match args.format.as_deref() {
        None | Some("" | "json") => Ok(()),
        Some(other) => Err(Error::invalid(format!(
            "invalid --format {other:?}: use json"
        ))),
    }
}

/// The units of a container, or of a pod and its containers.
fn wishes(args: &SystemdArgs, session: &Session) -> Result<Vec<Wish>> {
    let missing = match Containers::new(&session.dirs).find(&args.container) {
        Ok(container) => return Ok(vec![of_container(args, session, &container, None)?]),
        Err(e) if e.kind() == Kind::NotFound => e,
        Err(e) => return Err(e),
    };
    let pod = match Pods::new(&session.dirs).find(&args.container) {
        Err(e) if e.kind() == Kind::NotFound => return Err(missing),
        other => other?,
    };
    of_pod(args, session, &pod)
}

fn of_pod(args: &SystemdArgs, session: &Session, pod: &PodRecord) -> Result<Vec<Wish>> {
    let name = pod.name.as_str();
    if args.template {
        return Err(Error::invalid(format!(
            "--template is for containers, and {name:?} is a pod"
        )));
    }
    let Some(holder) = &pod.infra else {
        return Err(Error::unsupported(format!(
            "cannot write units for pod {name:?}: it was made with --infra=false, so nothing lasts as long as it"
        )));
    };
    let named = if args.name { name } else { pod.id.as_str() };
    let unit = joined(args, &args.pod_prefix, named);
    let mut all = Vec::new();
    let mut infra = None;
    for container in operations::pod::members(session, pod)? {
        if container.id() == &holder.id {
            infra = Some(container);
        } else {
            all.push(of_container(args, session, &container, Some(&unit))?);
        }
    }
    let infra = infra.ok_or_else(|| {
        Error::not_found(format!("what holds pod {name:?} together is gone"))
            .hint(format!("coracle pod start {name}"))
    })?;
    let members = all.iter().map(|w| format!("{}.service", w.name)).collect();
    let what = match args.new {
        false => {
            let holder = if args.name {
                infra.name()
            } else {
                infra.id().as_str()
            };
            What::Pod(holder.to_owned(), members)
        }
        true => {
            let mut run = RunWords::of_pod(&pod.create_command)
                .map_err(|e| Error::unsupported(format!("cannot use --new: {}", e.what())))?;
            for flag in ["infra-conmon-pidfile", "pod-id-file", "replace", "name"] {
                run.take(flag);
            }
            // A name that was thought up by us is one, too.
            run.flags
                .insert(0, ("name".to_owned(), Some(name.to_owned())));
            if !run.flags.iter().any(|(f, _)| f == "exit-policy") {
                let policy = Some("stop".to_owned());
                run.flags.push(("exit-policy".to_owned(), policy));
            }
            let before = std::mem::take(&mut run.before);
            What::NewPod(before, run.words(), members)
        }
    };
    let first = Wish {
        wants: args.wants.clone(),
        after: args.after.clone(),
        requires: args.requires.clone(),
        ..wish(args, session, &infra, unit, what)?
    };
    all.insert(0, first);
    Ok(all)
}

fn joined(args: &SystemdArgs, prefix: &str, named: &str) -> String {
    let parts = [prefix, named];
    let parts: Vec<&str> = parts.into_iter().filter(|p| !p.is_empty()).collect();
    parts.join(&args.separator)
}

fn of_container(
    args: &SystemdArgs,
    session: &Session,
    container: &Container,
    pod: Option<&str>,
) -> Result<Wish> {
    let named = match args.name {
        true => container.name(),
        false => container.id().as_str(),
    };
    let what = match args.new {
        true => {
            let (before, after) = anew(container, args.template, pod.is_some())?;
            What::NewContainer(before, after)
        }
        false => What::Container(named.to_owned()),
    };
    let unit = joined(args, &args.container_prefix, named);
    let wish = wish(args, session, container, unit, what)?;
    Ok(match pod {
        // The pod's unit has them.
        Some(pod) => Wish {
            pod: Some(format!("{pod}.service")),
            ..wish
        },
        None => Wish {
            wants: args.wants.clone(),
            after: args.after.clone(),
            requires: args.requires.clone(),
            ..wish
        },
    })
}

/// A unit whose main process is the monitor of `container`.
fn wish(
    args: &SystemdArgs,
    session: &Session,
    container: &Container,
    name: String,
    what: What,
) -> Result<Wish> {
    let options = &container.record.options;
    let program = std::env::current_exe().what(|| "cannot find this program")?;
    let own = || container.monitor_pidfile();
    let pidfile = options.monitor_pidfile.clone().unwrap_or_else(own);
    Ok(Wish {
        program: program.display().to_string(),
        name,
        what,
        pod: None,
        template: args.template,
        pidfile: pidfile.display().to_string(),
        runtime: session.dirs.runtime.display().to_string(),
        restart: args.restart_policy.clone(),
        restart_sec: args.restart_sec,
        start_timeout: args.start_timeout,
        stop_timeout: args.stop_timeout.or(options.stop_timeout).unwrap_or(10),
        wants: Vec::new(),
        after: Vec::new(),
        requires: Vec::new(),
        env: args.env.clone(),
        header: (!args.no_header).then(|| Timestamp::now().rfc3339()),
    })
}

/// The words that make the container again.
fn anew(container: &Container, template: bool, in_pod: bool) -> Result<(Vec<String>, Vec<String>)> {
    let typed = &container.record.options.create_command;
    if typed.is_empty() {
        return Err(Error::unsupported(format!(
            "cannot use --new: how container {:?} was made is not known",
            container.name()
        )));
    }
    let mut run = RunWords::parse(typed)?;
    if in_pod {
        // The pod's unit says which.
        run.take("pod");
        run.take("pod-id-file");
    }
    // The unit says these.
    for flag in [
        "detach",
        "rm",
        "cidfile",
        "conmon-pidfile",
        "sdnotify",
        "cgroups",
        "restart",
        "replace",
    ] {
        run.take(flag);
    }
    if let Some(Some(name)) = run.take("name") {
        let name = if template { format!("{name}-%i") } else { name };
        run.flags.insert(0, ("name".to_owned(), Some(name)));
        run.flags.insert(0, ("replace".to_owned(), None));
    }
    let before = std::mem::take(&mut run.before);
    Ok((before, run.words()))
}
