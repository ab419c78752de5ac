//! Extended attributes of opened files and of names in opened directories, links never followed.
//!
//! Handles opened with `O_PATH` are refused by the `f*xattr` calls: those go through our own
//! `/proc/self/fd`.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::error::{Call as _, Error, Result};

/// The largest value that the kernel takes (`XATTR_SIZE_MAX`).
pub const MAX_VALUE: usize = 65536;

fn link(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// The value of `name`; `None` when the file does not have it, or cannot have any.
///
/// # Errors
/// What fgetxattr(2) says.
pub fn get(fd: impl AsFd, name: &CStr) -> Result<Option<Vec<u8>>> {
    let fd = fd.as_fd();
    let mut value: Vec<u8> = Vec::with_capacity(256);
    loop {
        let spare = rustix::buffer::spare_capacity(&mut value);
        let read = match rustix::fs::fgetxattr(fd, name, spare) {
            Err(Errno::BADF) => {
                value.clear();
                rustix::fs::getxattr(link(fd), name, rustix::buffer::spare_capacity(&mut value))
            }
            other => other,
        };
        match read {
            Ok(_) => return Ok(Some(value)),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(Errno::RANGE) if value.capacity() < MAX_VALUE => {
                value = Vec::with_capacity(MAX_VALUE);
            }
            Err(e) => return Err(e).call("fgetxattr", || name.to_string_lossy().into_owned()),
        }
    }
}

/// Sets `name` to `value`.
///
/// # Errors
/// `EOPNOTSUPP`, `EPERM` (user attributes on links and devices), `ENOSPC`.
pub fn set(fd: impl AsFd, name: &CStr, value: &[u8]) -> Result<()> {
    let fd = fd.as_fd();
    match rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()) {
        Err(Errno::BADF) => rustix::fs::setxattr(link(fd), name, value, XattrFlags::empty()),
        other => other,
    }
    .call("fsetxattr", || name.to_string_lossy().into_owned())
}

/// Removes `name`; it is fine if the file does not have it.
///
/// # Errors
/// What fremovexattr(2) says.
pub fn remove(fd: impl AsFd, name: &CStr) -> Result<()> {
    let fd = fd.as_fd();
    let removed = match rustix::fs::fremovexattr(fd, name) {
        Err(Errno::BADF) => rustix::fs::removexattr(link(fd), name),
        other => other,
    };
    match removed {
        Err(Errno::NODATA) => Ok(()),
        other => other.call("fremovexattr", || name.to_string_lossy().into_owned()),
    }
}

/// The names of all attributes that the caller may see.
///
/// # Errors
/// What flistxattr(2) says; file systems without any give an empty list.
pub fn list(fd: impl AsFd) -> Result<Vec<std::ffi::CString>> {
    let fd = fd.as_fd();
    let mut buffer = vec![MaybeUninit::<u8>::uninit(); 1024];
    loop {
        let read = match rustix::fs::flistxattr(fd, &mut buffer[..]) {
            Err(Errno::BADF) => {
                rustix::fs::listxattr(link(fd), &mut buffer[..]).map(|(n, _)| n.to_vec())
            }
            other => other.map(|(n, _)| n.to_vec()),
        };
        match read {
            Ok(names) => {
                return Ok(names
                    .split(|b| *b == 0)
                    .filter(|n| !n.is_empty())
                    .filter_map(|n| std::ffi::CString::new(n).ok())
                    .collect());
            }
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(Errno::RANGE) if buffer.len() < MAX_VALUE => {
                buffer = vec![MaybeUninit::uninit(); MAX_VALUE];
            }
            Err(e) => return Err(e).call("flistxattr", String::new),
        }
    }
}

/// As [`set`], for a symbolic link or device named in an opened directory: it is not opened.
///
/// # Errors
/// As [`set`].
pub fn set_at(dir: impl AsFd, name: &std::ffi::OsStr, key: &CStr, value: &[u8]) -> Result<()> {
    if name.as_encoded_bytes().contains(&b'/') {
        return Err(Error::new(
            "lsetxattr",
            name.to_string_lossy(),
            libc::EINVAL,
        ));
    }
    let path = std::path::Path::new(&link(dir)).join(name);
    rustix::fs::lsetxattr(&path, key, value, XattrFlags::empty())
        .call("lsetxattr", || key.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};

    #[test]
    fn values_are_set_read_listed_and_removed_also_by_path_handle() {
        let dir = tempfile::Builder::new().tempdir_in("/var/tmp").unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "").unwrap();
        let real = std::fs::File::open(&path).unwrap();
        let handle = rustix::fs::open(&path, OFlags::PATH, Mode::empty()).unwrap();
        set(&handle, c"user.a", b"1").unwrap();
        set(&real, c"user.big", &[7; 3000]).unwrap();
        for fd in [real.as_fd(), handle.as_fd()] {
            assert_eq!(get(fd, c"user.a").unwrap().unwrap(), b"1");
            assert_eq!(get(fd, c"user.big").unwrap().unwrap().len(), 3000);
            assert_eq!(get(fd, c"user.none").unwrap(), None);
            assert!(
                list(fd)
                    .unwrap()
                    .iter()
                    .any(|n| n.as_c_str() == c"user.big")
            );
        }
        remove(&handle, c"user.a").unwrap();
        remove(&real, c"user.a").unwrap();
        assert_eq!(get(&real, c"user.a").unwrap(), None);
    }
}
