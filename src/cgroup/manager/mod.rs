//! systemd as the owner of the tree: scopes, for the user manager and for the system's.
//!
//! A process of a login session is not below its user manager, and the kernel lets nobody but root
//! carry it there. systemd does: the manager makes the scope and has the system's manager move the
//! processes. With `Delegate=yes` what is below the scope is ours from then on.
//!
//! Spec: org.freedesktop.systemd1(5), systemd.scope(5), systemd's CGROUP_DELEGATION.md.

mod bus;
mod message;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bus::{Address, Bus};
use message::Writer;

use super::probe::Support;
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::env::Env;
use crate::sys::process::pause;

/// How long the scope of the run before may take to go.
const GOING: Duration = Duration::from_secs(3);

/// The folder below a scope in which the monitor is: a group with processes of its own cannot hand
/// controllers down.
pub(super) const MONITOR: &str = "monitor";

/// The folder below a scope in which the container is.
pub const CONTAINER: &str = "container";

/// A manager that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    addresses: Vec<Address>,
    /// The folder of the manager's groups: what controllers it has, its scopes have.
    pub root: PathBuf,
    is_user: bool,
    mount: PathBuf,
}

/// A scope to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Its name, with `.scope`.
    pub unit: String,
    /// The slice it goes to; absent means `user.slice`, or `machine.slice` for the system's
    /// manager, as in podman.
    pub slice: Option<String>,
    /// What `systemctl status` shows.
    pub description: String,
    /// How long `systemctl stop` waits before it kills.
    pub stop_timeout: Duration,
}

impl Manager {
    /// The manager of this caller: the system's for root, else the user's. Absent where systemd
    /// does not run, or not for this user.
    pub fn find(env: &Env, support: &Support, is_root: bool) -> Option<Self> {
        let mount = support.mount.clone();
        if is_root {
            return Path::new("/run/systemd/system").is_dir().then(|| Self {
                addresses: vec![
                    Address::Bus("/run/dbus/system_bus_socket".into()),
                    Address::Peer("/run/systemd/private".into()),
                ],
                root: mount.clone(),
                is_user: false,
                mount,
            });
        }
        let runtime = env.xdg_runtime_dir();
        let uid = uid_of_path(&support.own).or_else(|| {
            let name = runtime.as_ref()?.file_name()?.to_str()?;
            name.parse::<u32>().ok()
        })?;
        let runtime = runtime.unwrap_or_else(|| PathBuf::from(format!("/run/user/{uid}")));
        let root = mount.join(format!("user.slice/user-{uid}.slice/user@{uid}.service"));
        let mut addresses = vec![Address::Bus(runtime.join("bus"))];
        if let Some(text) = env.text("DBUS_SESSION_BUS_ADDRESS") {
            addresses.extend(Address::parse(&text));
        }
        addresses.dedup();
        addresses.push(Address::Peer(runtime.join("systemd/private")));
        root.is_dir().then_some(Self {
            addresses,
            root,
            is_user: true,
            mount,
        })
    }

    /// The controllers that its scopes can have.
    pub fn controllers(&self) -> Vec<String> {
        fs::read_to_string(self.root.join("cgroup.controllers"))
            .unwrap_or_default()
            .split_ascii_whitespace()
            .map(str::to_owned)
            .collect()
    }

    fn connect(&self) -> Result<Bus> {
        Bus::connect(&self.addresses).map_err(|e| {
            let (who, hint) = if self.is_user {
                (
                    "your user manager (systemd --user)",
                    "log in by ssh, on a console or with `machinectl shell`: su and sudo start no user manager; \
                     `loginctl enable-linger` starts one at boot",
                )
            } else {
                ("systemd", "`--cgroup-manager cgroupfs` does without it")
            };
            Error::new(Kind::Unavailable, format!("cannot reach {who}"))
                .because(e)
                .hint(hint)
        })
    }

    /// Makes a scope with processes in it and waits until they are there.
    ///
    /// # Errors
    /// `Unavailable` when the manager cannot be reached; what it says otherwise.
    pub fn start(&self, scope: &Scope, pids: &[u32]) -> Result<()> {
        let slice = scope.slice.as_deref().unwrap_or(if self.is_user {
            "user.slice"
        } else {
            "machine.slice"
        });
        let mut body = Writer::default();
        body.string(&scope.unit);
        body.string("fail");
        body.array(8, |a| {
            a.property("Description", "s", |v| v.string(&scope.description));
            a.property("PIDs", "au", |v| {
                v.array(4, |v| pids.iter().for_each(|pid| v.u32(*pid)));
            });
            a.property("Slice", "s", |v| v.string(slice));
            a.property("Delegate", "b", |v| v.u32(1));
            a.property("CollectMode", "s", |v| v.string("inactive-or-failed"));
            let timeout = u64::try_from(scope.stop_timeout.as_micros()).unwrap_or(u64::MAX);
            a.property("TimeoutStopUSec", "t", |v| v.u64(timeout));
        });
        body.array(8, |_| {});
        let what = || format!("cannot make the scope {}", scope.unit);
        let mut bus = self.connect().what(what)?;
        bus.listen("JobRemoved").what(what)?;
        let deadline = Instant::now() + GOING;
        let answer = loop {
            match bus.manager("StartTransientUnit", "ssa(sv)a(sa(sv))", &body) {
                // The run before has ended, and systemd is about to see that.
                Err(e) if e.kind() == Kind::Exists && Instant::now() < deadline => {
                    pause(Duration::from_millis(5));
                }
                other => break other.what(what)?,
            }
        };
        let job = answer.arguments.first().cloned().unwrap_or_default();
        loop {
            let signal = bus.signal().what(what)?;
            // Number, job, unit, result.
            if signal.member == "JobRemoved" && signal.arguments.get(1) == Some(&job) {
                return match signal.arguments.get(3).map(String::as_str) {
                    Some("done") => Ok(()),
                    other => Err(Error::unsupported(format!(
                        "systemd says that the job {}",
                        other.unwrap_or("ended")
                    )))
                    .what(what),
                };
            }
        }
    }

    /// Makes a scope around this process, and makes it ready: this process in a group of its own
    /// below, so that others can have controllers. Gives the scope's folder. A process that is
    /// there already stays.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn enter(&self, scope: &Scope) -> Result<PathBuf> {
        if let Some(folder) = self.own_scope(&scope.unit) {
            return Ok(folder);
        }
        self.start(scope, &[std::process::id()])?;
        let folder = self.own_scope(&scope.unit).ok_or_else(|| {
            Error::unsupported(format!(
                "systemd made the scope {}, but this process is not in it",
                scope.unit
            ))
        })?;
        super::group::move_to(&folder.join(MONITOR), &[0])?;
        Ok(folder)
    }

    /// Brings this process into the monitor's group of a scope that exists, so that its children
    /// may be born in the container's.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn attach(&self, unit: &str, part: &str) -> Result<()> {
        if self.own_scope(unit).is_some() {
            return Ok(());
        }
        let mut body = Writer::default();
        body.string(unit);
        body.string(&format!("/{part}"));
        body.array(4, |a| a.u32(std::process::id()));
        let what = || format!("cannot enter the unit {unit}");
        self.connect()
            .what(what)?
            .manager("AttachProcessesToUnit", "ssau", &body)
            .map(drop)
            .what(what)
    }

    /// The folder of a scope that this process is in.
    fn own_scope(&self, unit: &str) -> Option<PathBuf> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = own.lines().find_map(|l| l.strip_prefix("0::/"))?;
        let path = self.mount.join(own);
        path.ancestors()
            .find(|p| p.file_name().is_some_and(|name| name == unit))
            .map(Path::to_owned)
    }
}

/// The user whose slice a group is in.
fn uid_of_path(own: &str) -> Option<u32> {
    own.split('/').find_map(|part| {
        part.strip_prefix("user-")?
            .strip_suffix(".slice")?
            .parse()
            .ok()
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
