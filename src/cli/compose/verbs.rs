//! Commands on containers that exist: `down`, `start`, `stop`, `restart`, `rm`, `kill`, `pause`, ….

use std::time::Duration;

use clap::Args;

use super::project::{ProjectFlags, Shell};
use crate::base::{Error, Kind, Result};
use crate::cli::output::Out;
use crate::compose::Project;
use crate::operations::compose::observe::{self, Member};
use crate::operations::compose::{conditions, down as operation, start};
use crate::operations::container::{pause as freezing, stop as stopping, wait as waiting};
use crate::operations::session::Session;
use crate::state::container::State;

/// Stop and remove containers and networks
///
/// Volumes stay unless --volumes is given. Without the files, -p says whose containers go.
#[derive(Debug, Args)]
pub struct DownArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Remove volumes, too: those of the files, and anonymous ones
    #[arg(short, long)]
    volumes: bool,
    /// Remove images, too: local (those without a name of their own) or all
    #[arg(long, value_name = "WHICH")]
    rmi: Option<String>,
    /// Remove containers of services that are no longer in the files
    #[arg(long)]
    remove_orphans: bool,
    /// Seconds that a container may take to stop
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Services; without any, everything
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `compose down`.
///
/// # Errors
/// As the operation.
pub fn down(args: DownArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let (name, project) = args.project.named(session, &args.services)?;
    let images = match args.rmi.as_deref() {
        None => None,
        Some("all") => Some(true),
        Some("local") => Some(false),
        Some(other) => {
            return Err(Error::invalid(format!("unknown --rmi {other:?}")).hint("use local or all"));
        }
    };
    if args.project.dry_run {
        return dry(session, &name, &args.services, "stop and remove", out);
    }
    let wanted = operation::DownOptions {
        services: args.services,
        volumes: args.volumes,
        images,
        remove_orphans: args.remove_orphans || session.env.is_on("COMPOSE_REMOVE_ORPHANS"),
        timeout: args.timeout.map(Duration::from_secs),
        parallel: args.project.most(session)?,
    };
    let quiet = args.project.is_quiet(session);
    operation::down(
        session,
        &name,
        project.as_ref(),
        &wanted,
        &mut Shell { out, quiet },
    )?;
    Ok(0)
}

/// `--dry-run` of a command on containers that exist.
fn dry(
    session: &Session,
    name: &str,
    services: &[String],
    verb: &str,
    out: &mut Out,
) -> Result<u8> {
    for member in observe::members(session, name)? {
        if services.is_empty() || services.contains(&member.present.service) {
            out.line(format!("{verb} {}", member.present.name))?;
        }
    }
    Ok(0)
}

/// The containers of a command, or `None` when it only says what it would do.
fn chosen(
    flags: &ProjectFlags,
    services: &[String],
    verb: &str,
    session: &Session,
    out: &mut Out,
) -> Result<Option<(Vec<Member>, Option<Project>)>> {
    let (mut members, project) = flags.members(session, services)?;
    members.retain(|m| !m.present.oneoff);
    if flags.dry_run {
        for member in &members {
            out.line(format!("{verb} {}", member.present.name))?;
        }
        return Ok(None);
    }
    Ok(Some((members, project)))
}

/// Start containers that exist
#[derive(Debug, Args)]
pub struct StartArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Wait until the services run and are healthy
    #[arg(long)]
    wait: bool,
    /// Services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `compose start`.
///
/// # Errors
/// As the operation.
pub fn start(args: StartArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let Some((members, project)) = chosen(&args.project, &args.services, "start", session, out)?
    else {
        return Ok(0);
    };
    if members.is_empty() {
        return Err(Error::not_found("there is no container to start")
            .hint("coracle compose up makes them"));
    }
    let quiet = args.project.is_quiet(session);
    let most = args.project.most(session)?;
    start::start_members(
        session,
        project.as_ref(),
        members.clone(),
        most,
        &mut Shell { out, quiet },
    )?;
    if args.wait {
        for member in members {
            conditions::healthy(session, &member.container, false)?;
        }
    }
    Ok(0)
}

/// Stop containers
#[derive(Debug, Args)]
pub struct StopArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Seconds that a container may take to stop
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `compose stop`.
///
/// # Errors
/// As the operation.
pub fn stop(args: StopArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let Some((mut members, project)) = chosen(&args.project, &args.services, "stop", session, out)?
    else {
        return Ok(0);
    };
    members.retain(|m| m.present.running);
    let quiet = args.project.is_quiet(session);
    let most = args.project.most(session)?;
    let timeout = args.timeout.map(Duration::from_secs);
    operation::stop_members(
        session,
        project.as_ref(),
        members,
        timeout,
        most,
        &mut Shell { out, quiet },
    )?;
    Ok(0)
}

/// Stop containers and start them again
///
/// Services whose `depends_on` says `restart: true` of one of these are restarted with it.
#[derive(Debug, Args)]
pub struct RestartArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Leave services alone that need these
    #[arg(long)]
    no_deps: bool,
    /// Seconds that a container may take to stop
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `compose restart`.
///
/// # Errors
/// As the operation.
pub fn restart(args: RestartArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let mut services = args.services.clone();
    if !args.no_deps && !services.is_empty() {
        let (all, _) = args.project.members(session, &[])?;
        loop {
            let more = all.iter().find(|m| {
                !services.contains(&m.present.service)
                    && m.dependencies()
                        .iter()
                        .any(|d| d.restart && services.contains(&d.service))
            });
            match more {
                Some(member) => services.push(member.present.service.clone()),
                None => break,
            }
        }
    }
    let Some((members, project)) = chosen(&args.project, &services, "restart", session, out)?
    else {
        return Ok(0);
    };
    let quiet = args.project.is_quiet(session);
    let most = args.project.most(session)?;
    let timeout = args.timeout.map(Duration::from_secs);
    let mut shell = Shell { out, quiet };
    operation::stop_members(
        session,
        project.as_ref(),
        members.clone(),
        timeout,
        most,
        &mut shell,
    )?;
    let mut stopped = members;
    stopped.iter_mut().for_each(|m| m.present.running = false);
    start::start_members(session, project.as_ref(), stopped, most, &mut shell)?;
    Ok(0)
}

/// Remove containers that do not run
#[derive(Debug, Args)]
pub struct RmArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Do not ask (nothing is asked)
    #[arg(short, long)]
    force: bool,
    /// Stop them first
    #[arg(short, long)]
    stop: bool,
    /// Remove their anonymous volumes, too
    #[arg(short, long)]
    volumes: bool,
    /// Services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `compose rm`.
///
/// # Errors
/// As the operation.
pub fn rm(args: RmArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let Some((mut members, _)) = chosen(&args.project, &args.services, "remove", session, out)?
    else {
        return Ok(0);
    };
    members.retain(|m| args.stop || !m.present.running);
    if members.is_empty() {
        out.note("No stopped containers");
        return Ok(0);
    }
    if !args.force && std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        let names: Vec<&str> = members.iter().map(|m| m.present.name.as_str()).collect();
        let question = format!("Remove {}?", names.join(", "));
        if !crate::cli::prompt::confirm(&question, out)? {
            return Ok(0);
        }
    }
    let quiet = args.project.is_quiet(session);
    let most = args.project.most(session)?;
    operation::remove_members(
        session,
        members,
        None,
        args.volumes,
        most,
        &mut Shell { out, quiet },
    )?;
    Ok(0)
}

/// Send a signal to containers
#[derive(Debug, Args)]
pub struct KillArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// The signal
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// Remove containers of services that are no longer in the files
    #[arg(long)]
    remove_orphans: bool,
    /// Services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `compose kill`.
///
/// # Errors
/// As the operation.
pub fn kill(args: KillArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let signal = crate::base::signal::parse(&args.signal)?;
    let Some((mut members, project)) = chosen(&args.project, &args.services, "kill", session, out)?
    else {
        return Ok(0);
    };
    members.retain(|m| m.present.running);
    let quiet = args.project.is_quiet(session);
    let most = args.project.most(session)?;
    let mut shell = Shell { out, quiet };
    operation::each(session, members, "Killed", most, &mut shell, &|m| {
        stopping::kill(session, &m.container, signal)
    })?;
    if args.remove_orphans
        && let Some(project) = project
    {
        let mut orphans = observe::members(session, &project.name)?;
        orphans.retain(|m| {
            let service = &m.present.service;
            project.service(service).is_err() && !project.disabled.contains_key(service)
        });
        operation::remove_members(session, orphans, None, false, most, &mut shell)?;
    }
    Ok(0)
}

/// Freeze containers, or let them go on
#[derive(Debug, Args)]
pub struct PauseArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `compose pause`.
///
/// # Errors
/// As the operation.
pub fn pause(args: PauseArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let Some((mut members, _)) = chosen(&args.project, &args.services, "pause", session, out)?
    else {
        return Ok(0);
    };
    members.retain(|m| m.state == State::Running);
    let quiet = args.project.is_quiet(session);
    let most = args.project.most(session)?;
    operation::each(
        session,
        members,
        "Paused",
        most,
        &mut Shell { out, quiet },
        &|m| freezing::pause(session, &m.container),
    )?;
    Ok(0)
}

/// Runs `compose unpause`.
///
/// # Errors
/// As the operation.
pub fn unpause(args: PauseArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let Some((mut members, _)) = chosen(&args.project, &args.services, "unpause", session, out)?
    else {
        return Ok(0);
    };
    members.retain(|m| m.state == State::Paused);
    let quiet = args.project.is_quiet(session);
    let most = args.project.most(session)?;
    operation::each(
        session,
        members,
        "Unpaused",
        most,
        &mut Shell { out, quiet },
        &|m| freezing::unpause(session, &m.container),
    )?;
    Ok(0)
}

/// Wait until containers end
///
/// Prints how each ended, and answers the code of the last one.
#[derive(Debug, Args)]
pub struct WaitArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Take the project down when the first one ended
    #[arg(long)]
    down_project: bool,
    /// Services
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `compose wait`.
///
/// # Errors
/// As the operation.
pub fn wait(args: WaitArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let (members, project) = args.project.members(session, &args.services)?;
    let members: Vec<Member> = members.into_iter().filter(|m| !m.present.oneoff).collect();
    if members.is_empty() {
        return Err(Error::new(
            Kind::NotFound,
            "there is no container to wait for",
        ));
    }
    let stopped = [waiting::Condition::Stopped];
    if args.down_project {
        let containers: Vec<_> = members.iter().map(|m| m.container.clone()).collect();
        let code = waiting::wait_first(session, &containers, &stopped)?;
        let name = members[0]
            .label(crate::compose::convert::PROJECT)
            .to_owned();
        let wanted = operation::DownOptions {
            parallel: args.project.most(session)?,
            ..operation::DownOptions::default()
        };
        let mut shell = Shell { out, quiet: false };
        operation::down(session, &name, project.as_ref(), &wanted, &mut shell)?;
        return Ok((code & 0xFF) as u8);
    }
    let mut last = 0;
    for member in members {
        last = waiting::wait(session, &member.container, &stopped)?;
        out.line(format!(
            "container {:?} exited with code {last}",
            member.present.name
        ))?;
    }
    Ok((last & 0xFF) as u8)
}
