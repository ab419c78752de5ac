//! Whole trees of ours: removal, sizes.

use std::io;
use std::path::Path;

use crate::base::{Context as _, Result};

/// Removes a file or a tree; fine if there is none.
///
/// # Errors
/// What the kernel says.
pub(super) fn remove_all(path: &Path) -> Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(m) if m.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.what(|| format!("cannot remove {}", path.display())),
    }
}
