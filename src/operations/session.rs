//! What every operation needs: the directories, the global options, who hears of progress.
//!
//! Invariants: opening a session reads no file and starts nothing, so that a command pays only
//! for what it uses; stores are opened by the operations that need them. No setters: a command
//! line is decided once.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::progress::Progress;
use crate::config::dirs::Dirs;
use crate::config::env::Env;
use crate::config::user::User;

/// The options that stand before a command, typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GlobalOptions {
    /// `--storage-driver`, `STORAGE_DRIVER`.
    pub storage_driver: Option<String>,
    /// `--cdi-spec-dir`.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// `--cgroup-manager`: `cgroupfs` or `systemd`.
    pub cgroup_manager: Option<String>,
    /// `--events-backend`, `events_logger`: where events go.
    pub events: Events,
    /// `healthcheck_events = false`: events do not tell of health checks.
    pub no_health_events: bool,
    /// `enable_partial_images = "false"` in storage.conf: layers are pulled whole.
    pub whole_layers: bool,
    /// `--transient-store`, `transient_store`: containers that are made do not outlive this boot.
    pub transient: bool,
    /// `--hooks-dir`: folders of hook files in place of the usual ones.
    pub hooks_dirs: Vec<PathBuf>,
    /// `--tmpdir`: scratch space in place of the store's own.
    pub tmpdir: Option<PathBuf>,
    /// `--network-cmd-path`: slirp4netns in place of the one that is found.
    pub network_cmd_path: Option<PathBuf>,
    /// `image_parallel_copies`: how many layers are copied at once.
    pub lanes: Option<u32>,
    /// `--registries-conf FILE` (hidden, as in podman).
    pub registries_conf: Option<PathBuf>,
    /// docker's `--config DIR`, `DOCKER_CONFIG`: where `config.json` with credentials is.
    pub docker_config: Option<PathBuf>,
}

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Events {
    /// A file: another one than the store's own, rotated above another size (bytes, 0: never).
    File {
        /// `events_logfile_path`.
        path: Option<PathBuf>,
        /// `events_logfile_max_size`.
        limit: Option<u64>,
    },
    /// The systemd journal that listens here.
    Journald(PathBuf),
    /// Nowhere.
    None,
}

impl Default for Events {
    fn default() -> Self {
        Self::File {
            path: None,
            limit: None,
        }
    }
}

impl Events {
    /// podman's word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Journald(_) => "journald",
            Self::None => "none",
        }
    }
}

/// One run of the program.
#[derive(Clone)]
pub struct Session {
    /// Where everything is.
    pub dirs: Dirs,
    /// The caller's environment.
    pub env: Env,
    /// The caller.
    pub user: &'static User,
    /// Options that hold for every command.
    pub options: GlobalOptions,
    /// Who hears of long work. A command replaces it by `base::progress::Silent` for `--quiet`.
    pub progress: Arc<dyn Progress>,
    /// The words typed, program name first, for `Config.CreateCommand`.
    pub command_line: Vec<String>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("dirs", &self.dirs)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
