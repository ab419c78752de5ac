//! `generate systemd`.

use serde_json::{Map, Value};

use crate::base::fs::{Durability, replace};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Result};
use crate::cli::output::Out;
use crate::cli::run_words::RunWords;
use crate::operations::generate::{Wish, unit};
use crate::operations::session::Session;
use crate::state::container::{Container, Containers};

/// Write a systemd unit for a container
///
/// The unit starts and stops the container, or with --new makes it anew every time. Quadlets say the
/// same in fewer lines: see `coracle quadlet --help`.
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
    /// First part of the unit's name
    #[arg(long, value_name = "PREFIX", default_value = "container")]
    pub container_prefix: String,
    /// The same for pods
    #[arg(long, value_name = "PREFIX", default_value = "pod", hide = true)]
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
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// Runs `generate systemd`; answers the exit code.
///
/// # Errors
/// As finding the container and reading how it was made.
pub fn run(args: SystemdArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let container = Containers::new(&session.dirs).find(&args.container)?;
    let wish = wish(&args, session, &container)?;
    let file = format!(
        "{}{}.service",
        wish.name,
        if args.template { "@" } else { "" }
    );
    let text = unit(&wish);
    if args.files {
        let folder = std::env::current_dir().what(|| "cannot find the current folder")?;
        let path = folder.join(&file);
        replace(&path, text.as_bytes(), 0o644, Durability::Durable)?;
        out.line(path.display().to_string())?;
        return Ok(0);
    }
    match args.format.as_deref() {
        None | Some("") => out.text(&text)?,
        Some("json") => {
            let mut object = Map::new();
            object.insert(wish.name, text.into());
            out.json(&Value::Object(object))?;
        }
        Some(other) => {
            return Err(Error::invalid(format!(
                "invalid --format {other:?}: use json"
            )));
        }
    }
    Ok(0)
}

fn wish(args: &SystemdArgs, session: &Session, container: &Container) -> Result<Wish> {
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
    let record = &container.record;
    let named = match args.name {
        true => container.name(),
        false => record.id.as_str(),
    };
    let parts = [args.container_prefix.as_str(), named];
    let parts: Vec<&str> = parts.into_iter().filter(|p| !p.is_empty()).collect();
    let program = std::env::current_exe().what(|| "cannot find this program")?;
    Ok(Wish {
        program: program.display().to_string(),
        name: parts.join(&args.separator),
        container: named.to_owned(),
        new: match args.new {
            true => Some(anew(container, args.template)?),
            false => None,
        },
        template: args.template,
        pidfile: container.monitor_pidfile().display().to_string(),
        runtime: session.dirs.runtime.display().to_string(),
        restart: args.restart_policy.clone(),
        restart_sec: args.restart_sec,
        start_timeout: args.start_timeout,
        stop_timeout: args
            .stop_timeout
            .or(record.options.stop_timeout)
            .unwrap_or(10),
        wants: args.wants.clone(),
        after: args.after.clone(),
        requires: args.requires.clone(),
        env: args.env.clone(),
        header: (!args.no_header).then(|| Timestamp::now().rfc3339()),
    })
}

/// The words that make the container again.
fn anew(container: &Container, template: bool) -> Result<(Vec<String>, Vec<String>)> {
    let typed = &container.record.options.create_command;
    if typed.is_empty() {
        return Err(Error::unsupported(format!(
            "cannot use --new: how container {:?} was made is not known",
            container.name()
        )));
    }
    let mut run = RunWords::parse(typed)?;
    // The unit says these.
    for flag in [
        "detach", "rm", "cidfile", "sdnotify", "cgroups", "restart", "replace",
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
