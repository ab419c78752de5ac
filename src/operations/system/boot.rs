//! `system boot`: containers whose restart policy says so run again after a reboot or a login.
//!
//! One unit does that. It starts what `always` names, and what `unless-stopped` names unless a
//! person stopped it; at its end it stops them as a logout does, so that the next start finds them.
//! Nothing runs in between.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::fs::{self as files, Durability};
use crate::base::{Context as _, Error, Result};
use crate::handoff::ended::wait_ended;
use crate::operations::container::run;
use crate::operations::session::Session;
use crate::operations::systemctl;
use crate::state::container::{Container, Containers, State};
use crate::state::options::RestartPolicy;
use crate::sys::signal;

/// The unit's name.
const UNIT: &str = "coracle-boot.service";

/// A container that ends on SIGTERM to its monitor takes its own stop timeout, and not much longer.
const SPARE: Duration = Duration::from_secs(5);

/// Where the unit is, and what wants it.
struct Place {
    unit: PathBuf,
    link: PathBuf,
    target: &'static str,
}

fn place(session: &Session) -> Place {
    let (folder, target) = match session.user.is_root {
        true => (PathBuf::from("/etc/systemd/system"), "multi-user.target"),
        false => (
            session
                .env
                .config_home(&session.user.home)
                .join("systemd/user"),
            "default.target",
        ),
    };
    Place {
        link: folder.join(format!("{target}.wants")).join(UNIT),
        unit: folder.join(UNIT),
        target,
    }
}

/// The unit's text. `root` and `runroot` are given where they are not the usual ones.
fn unit(program: &Path, options: &[String], target: &str) -> String {
    let command = command(program, options);
    format!(
        "# Made by `coracle system boot enable`.\n\
         [Unit]\n\
         Description=Containers whose restart policy starts them with the system\n\
         Documentation=man:coracle-system-boot(1)\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart={command} system boot run\n\
         ExecStop={command} system boot stop\n\
         KillMode=process\n\
         TimeoutStopSec=infinity\n\
         \n\
         [Install]\n\
         WantedBy={target}\n"
    )
}

fn command(program: &Path, options: &[String]) -> String {
    let mut command = systemctl::quoted(&program.display().to_string());
    for option in options {
        command.push_str(&format!(" {}", systemctl::quoted(option)));
    }
    command
}

/// This program with the options that lead to this store, as units write it.
///
/// # Errors
/// What the kernel says of the program's path.
pub fn own_command(session: &Session) -> Result<String> {
    let program = std::env::current_exe().what(|| "cannot tell the program's own path")?;
    Ok(command(&program, &store_options(session)))
}

/// Installs the unit for the next boot or login, or again after a change; answers its path.
///
/// # Errors
/// What the kernel says of the files.
pub fn enable(session: &Session) -> Result<PathBuf> {
    let place = place(session);
    let what = || format!("cannot install {}", place.unit.display());
    let program = std::env::current_exe().what(what)?;
    let text = unit(&program, &store_options(session), place.target);
    for path in [&place.unit, &place.link] {
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).what(what)?;
    }
    files::replace(&place.unit, text.as_bytes(), 0o644, Durability::Durable)?;
    files::remove_file_if_exists(&place.link)?;
    symlink(&place.unit, &place.link).what(what)?;
    reload(session);
    Ok(place.unit)
}

/// The options that lead to this store, when it is not the usual one.
fn store_options(session: &Session) -> Vec<String> {
    let usual = |name: &str| session.env.raw(name).is_none();
    let mut options = Vec::new();
    if !usual("CORACLE_ROOT") || session.command_line.iter().any(|w| w.starts_with("--root")) {
        options.push(format!("--root={}", session.dirs.data.display()));
    }
    if !usual("CORACLE_RUNROOT")
        || session
            .command_line
            .iter()
            .any(|w| w.starts_with("--runroot"))
    {
        options.push(format!("--runroot={}", session.dirs.runtime.display()));
    }
    options
}

/// Takes the unit away; whether it was there.
///
/// # Errors
/// What the kernel says of the files.
pub fn disable(session: &Session) -> Result<bool> {
    let place = place(session);
    let was = place.unit.exists();
    files::remove_file_if_exists(&place.link)?;
    files::remove_file_if_exists(&place.unit)?;
    reload(session);
    Ok(was)
}

/// A manager that is not there reads the files when it comes.
fn reload(session: &Session) {
    let _told = systemctl::run(!session.user.is_root, &["daemon-reload"]);
}

/// What is installed, and what follows from it.
#[derive(Debug)]
pub struct Status {
    /// The unit, when it is installed.
    pub unit: Option<PathBuf>,
    /// Whether this user's services start with the system; `None` where nobody keeps that.
    pub linger: Option<bool>,
    /// Names of the containers that would be started.
    pub containers: Vec<String>,
}

/// Looks.
///
/// # Errors
/// What the kernel says of the records.
pub fn status(session: &Session) -> Result<Status> {
    let place = place(session);
    let (all, _) = Containers::new(&session.dirs).list()?;
    let mut containers = Vec::new();
    for container in all {
        if is_wanted(&container)? {
            containers.push(container.name().to_owned());
        }
    }
    Ok(Status {
        unit: place.link.exists().then_some(place.unit),
        linger: linger(session, Path::new("/")),
        containers,
    })
}

/// Whether a user's manager outlives his logins: what logind keeps below `root`. `None` for root,
/// and where logind knows nothing of the user.
fn linger(session: &Session, root: &Path) -> Option<bool> {
    let user = session.user;
    let known = root.join("run/systemd/users").join(user.uid.to_string());
    if user.is_root || !known.exists() {
        return None;
    }
    Some(
        root.join("var/lib/systemd/linger")
            .join(&user.name)
            .exists(),
    )
}

/// What to say to somebody who starts a container that is to be kept running, in the background.
pub fn hint(session: &Session, container: &Container) -> Option<String> {
    if container.record.options.restart == RestartPolicy::No
        || linger(session, Path::new("/")) != Some(false)
    {
        return None;
    }
    Some(format!(
        "container {:?} ends when you log out: `loginctl enable-linger` keeps it, and \
         `coracle system boot enable` starts it after a reboot",
        container.name()
    ))
}

/// Whether it ran before and is to run after a boot. Docker's rule: `always` whatever happened,
/// `unless-stopped` unless a person stopped it, the others not.
fn is_wanted(container: &Container) -> Result<bool> {
    let (state, _, exit) = container.situation()?;
    let exit = match exit {
        None if state == State::Lost => container.exit()?,
        other => other,
    };
    Ok(wanted(
        container.record.options.restart,
        state,
        exit.is_some_and(|e| e.stopped_by_user && state != State::Lost),
    ))
}

fn wanted(policy: RestartPolicy, state: State, stopped: bool) -> bool {
    if state == State::Created {
        return false;
    }
    match policy {
        RestartPolicy::Always => true,
        RestartPolicy::UnlessStopped => !stopped,
        RestartPolicy::No | RestartPolicy::OnFailure(_) => false,
    }
}

/// Starts them, the oldest first, each in a process of its own. What fails is told, and the others
/// go on; answers how many failed.
///
/// # Errors
/// What the kernel says of the records.
pub fn start_all(session: &Session, report: &mut dyn FnMut(&str, Option<&Error>)) -> Result<u32> {
    let (all, bad) = Containers::new(&session.dirs).list()?;
    let mut failed = 0;
    for e in &bad {
        failed += 1;
        report("", Some(e));
    }
    for container in all {
        if container.state()?.is_active() || !is_wanted(&container)? {
            continue;
        }
        match run::start(session, &container, None, &mut |_| {}) {
            Ok(_) => report(container.name(), None),
            Err(e) => {
                failed += 1;
                report(container.name(), Some(&e));
            }
        }
    }
    Ok(failed)
}

/// Ends them as a logout does: their monitors stop them, without noting that somebody wanted it.
///
/// # Errors
/// What the kernel says of the records.
pub fn stop_all(session: &Session) -> Result<()> {
    let (all, _) = Containers::new(&session.dirs).list()?;
    let mut ending = Vec::new();
    for container in all {
        let options = &container.record.options;
        let kept = matches!(
            options.restart,
            RestartPolicy::Always | RestartPolicy::UnlessStopped
        );
        let (state, status) = container.state_and_status()?;
        if let (true, true, Some(status)) = (kept, state.is_active(), status)
            && signal::send(status.monitor.pid, libc::SIGTERM).is_ok()
        {
            let patience = u64::from(options.stop_timeout.unwrap_or(10));
            ending.push((status.monitor, Duration::from_secs(patience) + SPARE));
        }
    }
    for (monitor, patience) in ending {
        wait_ended(&monitor, Some(patience))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_start_after_a_boot_what_docker_starts() {
        use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
        for (policy, state, stopped, yes) in [
            (Always, State::Exited, false, true),
            (Always, State::Exited, true, true),
            (Always, State::Created, false, false),
            (UnlessStopped, State::Exited, false, true),
            (UnlessStopped, State::Exited, true, false),
            (UnlessStopped, State::Lost, false, true),
            (OnFailure(None), State::Lost, false, false),
            (No, State::Lost, false, false),
        ] {
            assert_eq!(wanted(policy, state, stopped), yes, "{policy:?} {state:?}");
        }
    }

    #[test]
    fn the_unit_quotes_what_systemd_would_read_otherwise() {
        let options = ["--root=/a b%c".to_owned()];
        let text = unit(Path::new("/opt/my \"c\"/coracle"), &options, "x.target");
        assert!(text.contains(
            "ExecStart=\"/opt/my \\\"c\\\"/coracle\" \"--root=/a b%%c\" system boot run\n"
        ));
        assert!(text.ends_with("WantedBy=x.target\n"));
    }
}
