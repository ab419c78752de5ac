//! Where coracle keeps things.
//!
//! Data (persistent): `$CORACLE_ROOT`, else `$XDG_DATA_HOME/coracle`, else
//! `~/.local/share/coracle`; for root `/var/lib/coracle`. `--root` wins.
//! Runtime (volatile): `$CORACLE_RUNROOT`, else `$XDG_RUNTIME_DIR/coracle`, else a checked private
//! folder `/tmp/coracle-<uid>`; for root `/run/coracle`. `--runroot` wins.

use std::path::PathBuf;

/// The two trees and the folders below them. Paths only: nothing is made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// Persistent tree.
    pub data: PathBuf,
    /// Volatile tree.
    pub runtime: PathBuf,
}

impl Dirs {
    /// `data/store`: blobs, layers, images, staging.
    pub fn store(&self) -> PathBuf {
        self.data.join("store")
    }
    /// `data/containers`: one folder a container.
    pub fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }
    /// `data/names`: one symbolic link a container name, to its id.
    pub fn names(&self) -> PathBuf {
        self.data.join("names")
    }
    /// `data/volumes`: one folder a volume.
    pub fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }
    /// `data/secrets`: one folder a secret.
    pub fn secrets(&self) -> PathBuf {
        self.data.join("secrets")
    }
    /// `data/events`: the journal.
    pub fn events(&self) -> PathBuf {
        self.data.join("events")
    }
    /// `runtime/containers/<id>`: status and control socket.
    pub fn runtime_containers(&self) -> PathBuf {
        self.runtime.join("containers")
    }
}
