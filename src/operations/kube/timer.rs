//! CronJobs: a timer and a service of systemd's that plays the Job, and the manifest beside.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::base::fs::{self as files, Durability};
use crate::base::{Context as _, Error, Kind, Result};
use crate::kube::Timer;
use crate::operations::session::Session;
use crate::operations::system::boot;
use crate::operations::systemctl;
use crate::spec::id::ObjectName;

/// What belongs to one CronJob.
struct Place {
    service: PathBuf,
    timer: PathBuf,
    link: PathBuf,
    manifest: PathBuf,
    unit: String,
}

fn place(session: &Session, name: &str) -> Result<Place> {
    // A name is part of paths: one that leads elsewhere is none.
    let name: ObjectName = name.parse()?;
    let folder = match session.user.is_root {
        true => PathBuf::from("/etc/systemd/system"),
        false => session
            .env
            .config_home(&session.user.home)
            .join("systemd/user"),
    };
    let unit = format!("coracle-cronjob-{name}");
    Ok(Place {
        service: folder.join(format!("{unit}.service")),
        timer: folder.join(format!("{unit}.timer")),
        link: folder
            .join("timers.target.wants")
            .join(format!("{unit}.timer")),
        manifest: session.dirs.data.join("kube").join(format!("{name}.json")),
        unit,
    })
}

/// The text of the service: plays the Job, stays until its pods end, takes them away.
fn service(command: &str, name: &str, manifest: &Path) -> String {
    let manifest = systemctl::quoted(&manifest.display().to_string());
    format!(
        "# Made by `coracle kube play`; `coracle kube down` takes it away.\n\
         [Unit]\n\
         Description=CronJob {name}\n\
         Documentation=man:coracle-kube-play(1)\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart={command} kube play --quiet --replace --wait {manifest}\n\
         KillMode=mixed\n\
         TimeoutStopSec=infinity\n"
    )
}

fn timer(wanted: &Timer) -> String {
    let calendars: String = wanted
        .calendars
        .iter()
        .map(|c| format!("OnCalendar={c}\n"))
        .collect();
    format!(
        "# Made by `coracle kube play`; `coracle kube down` takes it away.\n\
         [Unit]\n\
         Description=CronJob {name}\n\
         \n\
         [Timer]\n\
         {calendars}AccuracySec=1s\n\
         \n\
         [Install]\n\
         WantedBy=timers.target\n",
        name = wanted.name
    )
}

/// Installs a timer, in the place of one of the same name, and starts it.
///
/// # Errors
/// What the kernel says of the files; `Unavailable` when a manager runs and refuses the units.
pub fn install(session: &Session, wanted: &Timer, warn: &mut dyn FnMut(&str)) -> Result<()> {
    let place = place(session, &wanted.name)?;
    let what = || format!("cannot install {}", place.timer.display());
    for path in [&place.timer, &place.link] {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).what(what)?;
    }
    files::create_private_dir_all(place.manifest.parent().unwrap_or(Path::new("/")))?;
    let durable = Durability::Durable;
    files::replace(&place.manifest, wanted.manifest.as_bytes(), 0o600, durable)?;
    let command = boot::own_command(session)?;
    let text = service(&command, &wanted.name, &place.manifest);
    files::replace(&place.service, text.as_bytes(), 0o644, durable)?;
    files::replace(&place.timer, timer(wanted).as_bytes(), 0o644, durable)?;
    files::remove_file_if_exists(&place.link)?;
    if !wanted.suspended {
        symlink(&place.timer, &place.link).what(what)?;
    }
    let unit = format!("{}.timer", place.unit);
    let verb = if wanted.suspended { "stop" } else { "restart" };
    let user = !session.user.is_root;
    let told = systemctl::run(user, &["daemon-reload"])
        .and_then(|()| systemctl::run(user, &[verb, "--", &unit]));
    if let Err(e) = told {
        warn(&format!(
            "{unit} is in place and begins with the next login: {}",
            e.one_line()
        ));
    }
    Ok(())
}

/// Stops a timer and takes its files away; whether it was there.
///
/// # Errors
/// What the kernel says of the files; `Unavailable` when its run cannot be stopped.
pub fn remove(session: &Session, name: &str) -> Result<bool> {
    let place = place(session, name)?;
    let was = place.timer.exists();
    if was {
        let user = !session.user.is_root;
        let units = [
            format!("{}.timer", place.unit),
            format!("{}.service", place.unit),
        ];
        match systemctl::run(user, &["stop", "--", &units[0], &units[1]]) {
            // Nobody runs it then.
            Err(e) if e.kind() == Kind::Unavailable => {}
            other => other?,
        }
    }
    for path in [&place.link, &place.timer, &place.service, &place.manifest] {
        files::remove_file_if_exists(path)?;
    }
    if was {
        drop(systemctl::run(!session.user.is_root, &["daemon-reload"]));
    }
    Ok(was)
}

/// Sees that a timer of this name may be made.
///
/// # Errors
/// `Exists` without `replace`.
pub fn vacant(session: &Session, name: &str, replace: bool) -> Result<()> {
    match place(session, name)?.timer.exists() && !replace {
        true => Err(
            Error::new(Kind::Exists, format!("CronJob {name:?} exists already"))
                .hint("use --replace, or `coracle kube down` first"),
        ),
        false => Ok(()),
    }
}
