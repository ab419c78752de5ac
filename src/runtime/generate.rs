//! Options + image configuration + facts about the host -> runtime specification. Pure.
//!
//! Conventions of the result, which `runtime::launch` applies:
//! - `spec.mounts` is in the order of mounting; `Generated::origins` has one entry for each.
//! - binds have kind `bind`, a host path as source (empty where only a descriptor can say it) and
//!   `bind` or `rbind` among the options.
//! - `linux.seccomp` stays empty: the compiled program goes beside the specification.

use std::path::PathBuf;

use crate::base::{Error, Result};
use crate::spec::idmap::IdMaps;
use crate::spec::image::ImageConfig;
use crate::spec::runtime::{Rlimit, Spec};
use crate::state::options::{ContainerOptions, MountOption};

/// What is known about the host and the container when it is started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The container's id.
    pub id: String,
    /// The container's name.
    pub name: String,
    /// Host name inside, for a UTS namespace of its own; also the value of `HOSTNAME`.
    pub hostname: String,
    /// The user, resolved in the root file system.
    pub user: Account,
    /// The user namespace that the container is in, ids inside -> ids of the caller's.
    pub maps: IdMaps,
    /// Lines of a user namespace of the container's own below the shared one (`keep-id`, `auto`,
    /// `--uidmap`), relative to the shared one; absent when it shares that.
    pub nested: Option<IdMaps>,
    /// The caller's resource limits (`getrlimit`), for `--ulimit host` and as upper bound.
    pub caller_limits: Vec<Rlimit>,
    /// The caller's own `oom_score_adj`: a process without privileges cannot go below it.
    pub caller_oom_score_adj: i32,
    /// Generated `/etc/hosts`; absent leaves the image's.
    pub hosts: Option<PathBuf>,
    /// Generated `/etc/resolv.conf`; absent leaves the image's.
    pub resolv_conf: Option<PathBuf>,
    /// Generated `/etc/hostname`; absent leaves the image's.
    pub hostname_file: Option<PathBuf>,
    /// Generated `/run/.containerenv`.
    pub containerenv: Option<PathBuf>,
    /// Generated `/etc/passwd` with an entry for an unknown user.
    pub passwd: Option<PathBuf>,
    /// Generated `/etc/group`.
    pub group: Option<PathBuf>,
    /// `/etc/localtime`'s source for `--tz`, resolved on the host.
    pub localtime: Option<PathBuf>,
    /// Bound volumes, anonymous and the image's ones included.
    pub volumes: Vec<VolumeFact>,
    /// Mounts taken over by `--volumes-from`, already resolved.
    pub inherited: Vec<MountOption>,
    /// Secrets as files, in the order of the options' file secrets.
    pub secret_files: Vec<SecretFact>,
    /// Secrets as variables, `KEY=VALUE`.
    pub secret_env: Vec<String>,
    /// Host device nodes for `--privileged`, `/dev/...` paths.
    pub host_devices: Vec<PathBuf>,
    /// The host has cgroup v2 mounted and the container may have a cgroup namespace.
    pub cgroup2: bool,
}

/// A user inside a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// Supplementary groups, those of `--group-add` included.
    pub groups: Vec<u32>,
    /// Home folder; empty when unknown.
    pub home: String,
}

/// Where a volume of the container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFact {
    /// Its name.
    pub name: String,
    /// Its place inside.
    pub destination: String,
    /// The host folder with its data.
    pub path: PathBuf,
    /// Options of the volume itself (`volume create -o`), as mount words.
    pub options: Vec<String>,
}

/// A secret as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFact {
    /// Absolute path inside.
    pub path: String,
    /// The host file, already with owner and mode.
    pub source: PathBuf,
}

/// A specification and what its mounts stand for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    /// The specification.
    pub spec: Spec,
    /// One for each of `spec.mounts`.
    pub origins: Vec<Origin>,
    /// Signal for `stop`.
    pub stop_signal: i32,
    /// Whether a systemd inside is catered for.
    pub systemd: bool,
}

/// What a mount stands for: tells which ones need a descriptor prepared by storage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A kernel file system or a file of ours: `runtime::launch` needs nothing else.
    #[default]
    Plain,
    /// A host path given by the user.
    Host {
        /// Make a missing directory.
        create: bool,
        /// `U`.
        chown: bool,
    },
    /// A volume.
    Volume {
        /// Its name.
        name: String,
        /// No copy-up.
        nocopy: bool,
        /// Path below it.
        subpath: Option<String>,
        /// `U`.
        chown: bool,
    },
    /// A throw-away overlay over a host directory.
    Overlay {
        /// Host directory.
        path: PathBuf,
        /// `upperdir=`.
        upper: Option<PathBuf>,
        /// `workdir=`.
        work: Option<PathBuf>,
        /// `U`.
        chown: bool,
    },
    /// Another image's file system.
    Image {
        /// Reference or id.
        image: String,
        /// Throw-away upper.
        writable: bool,
        /// Path below it.
        subpath: Option<String>,
    },
    /// A tmpfs that starts with the image's content.
    TmpfsCopyUp,
}

/// Makes the specification.
///
/// # Errors
/// `Invalid` for contradictions, for an image whose `Env` is not `KEY=VALUE`, for no command.
pub fn generate(
    options: &ContainerOptions,
    image: Option<&ImageConfig>,
    facts: &Facts,
) -> Result<Generated> {
    let _ = (options, image, facts);
    Err(Error::unsupported("generate is being written"))
}
