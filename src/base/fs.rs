//! Files of our own: reading with a bound, atomic replacement, and errors that carry the path.
//!
//! Not for paths inside a root file system: those go through `sys::openat2` and descriptors only.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::error::{Context as _, Error, Kind, Result};

/// Whether a file must survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Flushed to the disk before it takes its name: images, volumes, configurations.
    Durable,
    /// Not flushed: runtime state, caches, anything that can be made again.
    Volatile,
}

/// Most records fit into this many bytes.
const FIRST: usize = 4 << 10;

/// Opens a file for reading; `None` when there is none.
///
/// # Errors
/// What the kernel says.
pub fn open_if_exists(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).what(|| format!("cannot open {}", path.display())),
    }
}

/// Reads a whole file of at most `limit` bytes; `None` if there is none.
///
/// # Errors
/// `Corrupt` when it is larger, else what the kernel says.
pub fn read_if_exists(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    whole(path, limit, false)
}

/// As [`read_if_exists`], for a regular file: a read that leaves room has seen its end. Records are
/// small and read by the thousand, and this saves each a system call.
///
/// # Errors
/// As [`read_if_exists`].
pub fn read_regular_if_exists(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    whole(path, limit, true)
}

fn whole(path: &Path, limit: u64, is_regular: bool) -> Result<Option<Vec<u8>>> {
    let what = || format!("cannot read {}", path.display());
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            return Ok(None);
        }
        Err(e) => return Err(e).what(|| format!("cannot open {}", path.display())),
    };
    // Without a start the buffer grows from 32 bytes, a system call each time.
    let mut bytes = vec![0; FIRST];
    let first = loop {
        match file.read(&mut bytes) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            other => break other.what(what)?,
        }
    };
    bytes.truncate(first);
    if first > 0 && !(is_regular && first < FIRST) {
        file.take((limit + 1).saturating_sub(first as u64))
            .read_to_end(&mut bytes)
            .what(what)?;
    }
    if bytes.len() as u64 > limit {
        return Err(Error::new(
            Kind::Corrupt,
            format!("{} is larger than {limit} bytes", path.display()),
        ));
    }
    Ok(Some(bytes))
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// As [`read_if_exists`], and `NotFound`.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    read_if_exists(path, limit)?
        .ok_or_else(|| Error::not_found(format!("no such file: {}", path.display())))
}

/// Writes `bytes` to a temporary file beside `path` and renames it over.
///
/// # Errors
/// What the kernel says; the old content is then untouched.
pub fn replace(path: &Path, bytes: &[u8], mode: u32, durability: Durability) -> Result<()> {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let what = || format!("cannot write {}", path.display());
    let dir = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let temp = dir.join(format!(".{name}.{}.{serial}.tmp", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temp)?;
        file.write_all(bytes)?;
        if durability == Durability::Durable {
            file.sync_all()?;
        }
        fs::rename(&temp, path)?;
        if durability == Durability::Durable {
            File::open(dir)?.sync_all()?;
        }
        Ok::<(), std::io::Error>(())
    })();
    if written.is_err() {
        // The rename did not happen: the half-written file is nobody's.
        drop(fs::remove_file(&temp));
    }
    written.what(what)
}

/// Brings the names in a directory to the disk.
///
/// # Errors
/// What the kernel says.
pub fn sync_dir(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .what(|| format!("cannot flush {}", path.display()))
}

/// Makes `path` and its parents with mode 0700; an existing directory is fine.
///
/// # Errors
/// What the kernel says.
pub fn create_private_dir_all(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .what(|| format!("cannot create directory {}", path.display()))
}

/// Removes a file; it is fine if there is none.
///
/// # Errors
/// What the kernel says.
pub fn remove_file_if_exists(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).what(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
