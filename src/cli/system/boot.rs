//! `system boot`.

use crate::base::Result;
use crate::cli::frame::Entry;
use crate::cli::output::Out;
use crate::command;
use crate::operations::session::Session;
use crate::operations::system::boot;

/// `coracle system boot VERB`.
pub const NOUN: &[Entry] = &[
    command!(
        "enable",
        "Start containers after a boot or login, by their restart policies",
        EnableArgs,
        enable
    ),
    command!("disable", "Do so no more", DisableArgs, disable),
    command!(
        "status",
        "Show whether that is so, and which containers it concerns",
        StatusArgs,
        status
    ),
    command!(
        "run",
        "Start those containers now, as the unit does",
        RunArgs,
        run
    ),
    command!(
        "stop",
        "End those containers until the next boot, as the unit does",
        StopArgs,
        stop
    ),
];

/// Start containers after a boot or login, by their restart policies
///
/// Installs one small unit of the user's systemd (root: of the system's). It starts containers with
/// the policy always, and those with unless-stopped that nobody stopped.
#[derive(Debug, clap::Args)]
pub struct EnableArgs {}

/// Do so no more
#[derive(Debug, clap::Args)]
pub struct DisableArgs {}

/// Show whether that is so, and which containers it concerns
///
/// Exits with 0 when it is enabled and with 1 when it is not.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {}

/// Start those containers now, as the unit does
#[derive(Debug, clap::Args)]
pub struct RunArgs {}

/// End those containers until the next boot, as the unit does
#[derive(Debug, clap::Args)]
pub struct StopArgs {}

/// Runs `system boot enable`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn enable(_: EnableArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let unit = boot::enable(session)?;
    out.line(unit.display().to_string())?;
    if boot::status(session)?.linger == Some(false) {
        out.note("without linger it runs at your first login: see `loginctl enable-linger`");
    }
    Ok(0)
}

/// Runs `system boot disable`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn disable(_: DisableArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if !boot::disable(session)? {
        out.note("it was not enabled");
    }
    Ok(0)
}

/// Runs `system boot status`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn status(_: StatusArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let status = boot::status(session)?;
    match &status.unit {
        Some(unit) => out.line(format!("enabled: {}", unit.display()))?,
        None => out.line("disabled")?,
    }
    if let Some(linger) = status.linger {
        out.line(match linger {
            true => "linger: yes, at boot",
            false => "linger: no, at the first login",
        })?;
    }
    for name in &status.containers {
        out.line(format!("container: {name}"))?;
    }
    Ok(u8::from(status.unit.is_none()))
}

/// Runs `system boot run`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(_: RunArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let mut told = Vec::new();
    let failed = boot::start_all(session, &mut |name, error| match error {
        None => told.push(Ok(name.to_owned())),
        Some(e) => told.push(Err(e.one_line())),
    })?;
    for line in told {
        match line {
            Ok(name) => out.line(name)?,
            Err(text) => out.note(&text),
        }
    }
    Ok(if failed > 0 { 1 } else { 0 })
}

/// Runs `system boot stop`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn stop(_: StopArgs, session: &mut Session, _: &mut Out) -> Result<u8> {
    boot::stop_all(session)?;
    Ok(0)
}
