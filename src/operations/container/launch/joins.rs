//! Namespaces of other containers, or by path.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::runtime::NamespaceKind;
use crate::state::container::{Container, Containers, State, Status};
use crate::state::options::{ContainerOptions, NamespaceMode, NetworkMode, UsernsMode};
use crate::sys::namespace;

/// What a container joins.
#[derive(Debug, Default)]
pub(super) struct Joins {
    /// For the launcher.
    pub fds: Vec<(NamespaceKind, OwnedFd)>,
    /// For the record.
    pub paths: BTreeMap<NamespaceKind, PathBuf>,
    /// The container whose network it shares.
    pub network_of: Option<Container>,
    /// The process whose IPC namespace, and so `/dev/shm`, it shares.
    pub ipc_of: Option<i32>,
    /// The container whose host name it shares.
    pub uts_of: Option<Container>,
}

/// A running container to join, and its status.
///
/// # Errors
/// `NotFound`; `InUse` when it does not run.
pub(in crate::operations::container) fn running(
    containers: &Containers,
    id: &str,
) -> Result<(Container, Status)> {
    let container = containers.find(id)?;
    match container.state_and_status()? {
        (State::Running | State::Paused, Some(status)) if status.init.is_some() => {
            Ok((container, status))
        }
        _ => Err(Error::new(
            Kind::InUse,
            format!("container {:?} does not run", container.name()),
        )
        .hint(format!("coracle start {}", container.name()))),
    }
}

/// Opens everything that `options` asks to join.
///
/// # Errors
/// As [`running`]; what the kernel says.
pub(super) fn open(containers: &Containers, options: &ContainerOptions) -> Result<Joins> {
    let mut joins = Joins::default();
    let network = match &options.network.mode {
        NetworkMode::Container(id) => NamespaceMode::Container(id.clone()),
        NetworkMode::Path(path) => NamespaceMode::Path(path.clone()),
        _ => NamespaceMode::Default,
    };
    let user = match &options.userns {
        UsernsMode::Container(id) => NamespaceMode::Container(id.clone()),
        UsernsMode::Path(path) => NamespaceMode::Path(path.clone()),
        _ => NamespaceMode::Default,
    };
    for (kind, mode) in [
        (NamespaceKind::User, &user),
        (NamespaceKind::Pid, &options.pid),
        (NamespaceKind::Network, &network),
        (NamespaceKind::Ipc, &options.ipc),
        (NamespaceKind::Uts, &options.uts),
        (NamespaceKind::Cgroup, &options.cgroupns),
    ] {
        match mode {
            NamespaceMode::Container(id) => {
                let (other, status) = running(containers, id)?;
                let what = || {
                    format!(
                        "cannot join the {} namespace of container {:?}",
                        file(kind),
                        other.name()
                    )
                };
                let Some(init) = &status.init else { continue };
                let pidfd = init.open().what(what)?;
                let fd = namespace::of(&pidfd, init.pid, kernel_kind(kind)).what(what)?;
                joins.fds.push((kind, fd));
                joins.paths.insert(
                    kind,
                    PathBuf::from(format!("/proc/{}/ns/{}", init.pid, file(kind))),
                );
                match kind {
                    NamespaceKind::Network => joins.network_of = Some(other),
                    NamespaceKind::Ipc => joins.ipc_of = Some(init.pid),
                    NamespaceKind::Uts => joins.uts_of = Some(other),
                    _ => {}
                }
            }
            NamespaceMode::Path(path) => {
                let text = path.to_string_lossy();
                let fd = namespace::open_path(&text)
                    .what(|| format!("cannot join the {} namespace {text}", file(kind)))?;
                joins.fds.push((kind, fd));
                joins.paths.insert(kind, path.clone());
            }
            _ => {}
        }
    }
    Ok(joins)
}

/// The monitor whose user namespace the command has to be in: namespaces can only be joined by who
/// has rights over their owner.
///
/// # Errors
/// As [`running`].
pub(in crate::operations::container) fn monitor_to_enter(
    containers: &Containers,
    options: &ContainerOptions,
) -> Result<Option<crate::sys::process::Identity>> {
    let spaces = [&options.pid, &options.ipc, &options.uts, &options.cgroupns];
    let mut ids = spaces.into_iter().filter_map(|m| match m {
        NamespaceMode::Container(id) => Some(id),
        _ => None,
    });
    let network = match &options.network.mode {
        NetworkMode::Container(id) => Some(id),
        _ => None,
    };
    let user = match &options.userns {
        UsernsMode::Container(id) => Some(id),
        _ => None,
    };
    match network.or(user).or_else(|| ids.next()) {
        Some(id) => Ok(Some(running(containers, id)?.1.monitor)),
        None => Ok(None),
    }
}

fn file(kind: NamespaceKind) -> &'static str {
    kernel_kind(kind).file()
}

fn kernel_kind(kind: NamespaceKind) -> namespace::Kind {
    match kind {
        NamespaceKind::Pid => namespace::Kind::Pid,
        NamespaceKind::Network => namespace::Kind::Net,
        NamespaceKind::Mount => namespace::Kind::Mount,
        NamespaceKind::Ipc => namespace::Kind::Ipc,
        NamespaceKind::Uts => namespace::Kind::Uts,
        NamespaceKind::User => namespace::Kind::User,
        NamespaceKind::Cgroup => namespace::Kind::Cgroup,
        NamespaceKind::Time => namespace::Kind::Time,
    }
}
