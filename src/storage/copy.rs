//! `cp`: files out of a root file system as a tar, and a tar into one, by descriptor.
//!
//! The rules for `SRC/.`, destinations that exist or not, and symbolic links are `docker cp`'s.
//! FIFOs and devices are never opened.

use std::io::{BufReader, Read, Write};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::codec::Decoder;
use super::layer::Limits;
use super::pack::Packer;
use super::tar::Reader;
use super::unpack::{Owners, Policy, unpack};
use crate::base::{Context as _, Error, Result};
use crate::spec::digest::Algorithm;
use crate::spec::idmap::IdMaps;
use crate::sys::at;

/// What lies at a path, as `cp` must know before it decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStat {
    /// Last component, `/` for the root.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// `st_mode`.
    pub mode: u32,
    /// Modification time, nanoseconds since 1970.
    pub mtime: i64,
    /// For a symbolic link: the text of it.
    pub link_target: Option<String>,
}

impl PathStat {
    /// Whether it is a folder.
    pub fn is_dir(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }
}

/// Whose the copied files become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// `--archive`: those of the tar.
    Keep,
    /// One for all.
    Fixed {
        /// User id in the namespace we run in.
        uid: u32,
        /// Group id in the namespace we run in.
        gid: u32,
    },
}

/// How files are written into a tree.
#[derive(Clone, Debug)]
pub struct CopyIn<'a> {
    /// Whose the files become.
    pub owner: Owner,
    /// Maps of the container, when it has its own: ids of the tar are ids inside.
    pub maps: Option<&'a IdMaps>,
    /// `--overwrite`: a folder may replace a file and the other way round.
    pub overwrite: bool,
}

/// Looks `path` up inside `root`; the last component is followed when `follow`. `None` if there is
/// nothing.
///
/// # Errors
/// What the kernel says.
pub fn stat(root: BorrowedFd<'_>, path: &str, follow: bool) -> Result<Option<PathStat>> {
    let fd = match open(root, path, follow) {
        Ok(fd) => fd,
        Err(e) if matches!(e.errno, libc::ENOENT | libc::ENOTDIR) => return Ok(None),
        Err(e) => return Err(e).what(|| format!("cannot look at {path:?}")),
    };
    let meta = at::fstat(fd.as_fd()).what(|| format!("cannot look at {path:?}"))?;
    let link_target = if meta.is_symlink() {
        let target = at::readlink(fd.as_fd(), b"")?;
        Some(String::from_utf8_lossy(&target).into_owned())
    } else {
        None
    };
    Ok(Some(PathStat {
        name: base_name(path).unwrap_or("/").to_owned(),
        size: meta.size,
        mode: meta.mode,
        mtime: meta
            .mtime
            .saturating_mul(1_000_000_000)
            .saturating_add(meta.mtime_nsec.into()),
        link_target,
    }))
}

fn open(root: BorrowedFd<'_>, path: &str, follow: bool) -> crate::sys::Result<OwnedFd> {
    let path = if path.is_empty() { "/" } else { path };
    // A closing slash asks for the folder behind a link.
    let follow = follow || path.ends_with('/') || path.ends_with("/.");
    at::open_path_in_root(root, path.as_bytes(), follow)
}

/// The last component that is a name; `None` for the root and for what ends in `..`.
fn base_name(path: &str) -> Option<&str> {
    path.split('/')
        .rfind(|part| !matches!(*part, "" | "."))
        .filter(|part| *part != "..")
}

/// Whether the path asks for the content of a folder rather than the folder: `SRC/.`.
pub fn asks_for_content(path: &str) -> bool {
    path == "." || path.ends_with("/.")
}

/// Where a copy goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The folder that the archive is unpacked in; it must be there.
    pub dir: String,
    /// What the source is called there: the first component of every name in the archive. Empty
    /// for the content of a folder alone.
    pub name: String,
}

/// Decides where `source` (at `source_path`) goes when copied to `path`, at which `there` lies.
///
/// The rules are those of `docker cp`: a file to a missing path takes that name, into a folder it
/// keeps its own; a folder to a missing path becomes it, into a folder it goes below it, unless
/// `SOURCE/.` asks for its content alone.
///
/// # Errors
/// `Invalid` for a folder onto a file, or a file into a folder that is not there.
pub fn destination(
    source: &PathStat,
    source_path: &str,
    there: Option<&PathStat>,
    path: &str,
) -> Result<Destination> {
    let content = asks_for_content(source_path);
    let wants_dir = path.ends_with('/') || asks_for_content(path);
    let under_own_name = || Destination {
        dir: path.to_owned(),
        name: source.name.trim_matches('/').to_owned(),
    };
    let renamed = || -> Result<Destination> {
        let trimmed = path.trim_end_matches('/');
        let name =
            base_name(trimmed).ok_or_else(|| Error::invalid(format!("cannot copy to {path:?}")))?;
        let parent = match trimmed.rsplit_once('/') {
            Some(("", _)) => "/",
            Some((parent, _)) => parent,
            None => ".",
        };
        Ok(Destination {
            dir: parent.to_owned(),
            name: name.to_owned(),
        })
    };
    match there {
        Some(there) if there.is_dir() => {
            if source.is_dir() && content {
                Ok(Destination {
                    dir: path.to_owned(),
                    name: String::new(),
                })
            } else {
                Ok(under_own_name())
            }
        }
        Some(_) if source.is_dir() => Err(Error::invalid(format!(
            "cannot copy a folder onto the file {path:?}"
        ))),
        Some(_) if wants_dir => Err(Error::invalid(format!("{path:?} is not a folder"))),
        Some(_) => renamed(),
        None if source.is_dir() => renamed(),
        None if wants_dir => Err(
            Error::not_found(format!("the folder {path:?} does not exist"))
                .hint("make it first, or leave out the closing slash"),
        ),
        None => renamed(),
    }
}

/// Writes `path` inside `root` as a tar. Names in it begin with `name` (the last component of the
/// path in most cases); an empty `name` (`SRC/.`) writes the folder's content alone. Mounts below
/// the path are read as well, as in a running container.
///
/// # Errors
/// `NotFound`; what the kernel or the sink says.
pub fn copy_out(
    root: BorrowedFd<'_>,
    path: &str,
    follow: bool,
    name: &str,
    maps: Option<&IdMaps>,
    sink: &mut dyn Write,
) -> Result<()> {
    let what = || format!("cannot read {path:?}");
    let fd = open(root, path, follow).what(what)?;
    let meta = at::fstat(fd.as_fd()).what(what)?;
    let mut packer = Packer::new(sink, maps);
    if meta.is_dir() {
        let dir = at::reopen_dir(fd.as_fd()).what(what)?;
        if !name.is_empty() {
            packer.folder(dir.as_fd(), name.as_bytes(), &meta)?;
        }
        packer.tree(dir.as_fd(), name.as_bytes(), true)?;
    } else if name.is_empty() {
        return Err(Error::invalid(format!("{path:?} is not a folder")));
    } else {
        packer.leaf(fd.as_fd(), name.as_bytes(), &meta).what(what)?;
    }
    packer.finish()?;
    Ok(())
}

/// Unpacks a tar (also gzip or zstd) into the folder `path` inside `root`, which must be there.
///
/// # Errors
/// `NotFound`, `Invalid` when `path` is no folder, or for a hostile tar.
pub fn copy_in(
    tar: &mut dyn Read,
    root: BorrowedFd<'_>,
    path: &str,
    options: &CopyIn<'_>,
) -> Result<()> {
    let path = if path.is_empty() { "/" } else { path };
    let dir = at::open_dir_in_root(root, path.as_bytes())
        .what(|| format!("cannot copy into {path:?}"))?;
    let policy = Policy {
        layer: false,
        owners: match (&options.owner, options.maps) {
            (Owner::Fixed { uid, gid }, _) => Owners::Fixed(*uid, *gid),
            (Owner::Keep, _) if super::layer::is_single() => Owners::Squash,
            (Owner::Keep, Some(maps)) => Owners::Mapped(maps),
            (Owner::Keep, None) => Owners::Keep,
        },
        overwrite: options.overwrite,
        root: false,
        // The person's own archive on the person's own disk: no limits but the disk's.
        limits: Limits {
            entries: u64::MAX,
            bytes: u64::MAX,
            ratio: u64::MAX,
        },
        reuse: None,
    };
    let decoder = Decoder::local(tar, Algorithm::Sha256)?;
    let mut reader = Reader::new(BufReader::with_capacity(128 << 10, decoder));
    unpack(&mut reader, dir, &[], &policy)?;
    // Whoever writes into a pipe must get rid of all of it.
    reader.drain()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::driver::tests::as_root;
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
    use std::path::Path;

    fn thing(name: &str, mode: u32) -> PathStat {
        PathStat {
            name: name.to_owned(),
            size: 0,
            mode,
            mtime: 0,
            link_target: None,
        }
    }

    #[test]
    fn destinations_follow_dockers_rules() {
        let file = thing("f", libc::S_IFREG);
        let dir = thing("d", libc::S_IFDIR);
        for (source, from, there, to, want) in [
            (&file, "f", None, "/x/y", Some(("/x", "y"))),
            (&file, "f", None, "y", Some((".", "y"))),
            (&file, "f", None, "/y", Some(("/", "y"))),
            (&file, "f", None, "/x/y/", None),
            (&file, "f", Some(&file), "/x/y", Some(("/x", "y"))),
            (&file, "f", Some(&file), "/x/y/", None),
            (&file, "f", Some(&dir), "/x", Some(("/x", "f"))),
            (&dir, "d", None, "/x/y", Some(("/x", "y"))),
            (&dir, "d", None, "/x/y/", Some(("/x", "y"))),
            (&dir, "d/.", None, "/x/y", Some(("/x", "y"))),
            (&dir, "d", Some(&file), "/x/y", None),
            (&dir, "d", Some(&dir), "/x", Some(("/x", "d"))),
            (&dir, "d/.", Some(&dir), "/x", Some(("/x", ""))),
            (&dir, "d", None, "/..", None),
        ] {
            let got = destination(source, from, there, to).ok();
            let want = want.map(|(dir, name)| Destination {
                dir: dir.to_owned(),
                name: name.to_owned(),
            });
            assert_eq!(got, want, "{from} to {to}");
        }
    }

    fn fixed() -> CopyIn<'static> {
        CopyIn {
            owner: Owner::Fixed { uid: 7, gid: 8 },
            maps: None,
            overwrite: false,
        }
    }

    fn root_of(path: &Path) -> OwnedFd {
        at::open_host_dir(path).unwrap()
    }

    #[test]
    fn a_tree_goes_out_and_in_again() {
        if as_root("storage::copy::tests::a_tree_goes_out_and_in_again") {
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        std::fs::create_dir_all(from.join("d/sub")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("d/sub/f"), "content").unwrap();
        std::fs::set_permissions(from.join("d"), std::fs::Permissions::from_mode(0o2750)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", from.join("d/l")).unwrap();
        std::os::unix::fs::symlink("d", from.join("to-d")).unwrap();
        let root = root_of(&from);
        at::mkfifo(root.as_fd(), b"d/pipe", 0o600).unwrap();
        let mut tar = Vec::new();
        // The link at the end is followed inside the root only.
        copy_out(root.as_fd(), "/to-d", true, "renamed", None, &mut tar).unwrap();
        let target = root_of(&to);
        copy_in(&mut &tar[..], target.as_fd(), "/", &fixed()).unwrap();
        let file = std::fs::metadata(to.join("renamed/sub/f")).unwrap();
        assert_eq!((file.uid(), file.gid()), (7, 8));
        let dir = std::fs::metadata(to.join("renamed")).unwrap();
        assert_eq!(dir.mode() & 0o7777, 0o2750);
        let link = std::fs::read_link(to.join("renamed/l")).unwrap();
        assert_eq!(link, Path::new("/etc/passwd"));
        let pipe = std::fs::symlink_metadata(to.join("renamed/pipe")).unwrap();
        assert!(pipe.file_type().is_fifo());
        let seen = stat(root.as_fd(), "/d/l", false).unwrap().unwrap();
        assert_eq!(seen.link_target.as_deref(), Some("/etc/passwd"));
        assert_eq!(
            stat(root.as_fd(), "/d/l", true).unwrap(),
            None,
            "not the host's"
        );
        assert_eq!(stat(root.as_fd(), "/nothing", true).unwrap(), None);
    }

    #[test]
    fn what_is_in_the_way_is_never_written_through() {
        if as_root("storage::copy::tests::what_is_in_the_way_is_never_written_through") {
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        std::fs::create_dir_all(from.join("a")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("f"), "new").unwrap();
        std::fs::write(from.join("a/g"), "new").unwrap();
        std::fs::write(temp.path().join("canary"), "alive").unwrap();
        std::os::unix::fs::symlink("../canary", to.join("f")).unwrap();
        let (source, target) = (root_of(&from), root_of(&to));
        let mut tar = Vec::new();
        copy_out(source.as_fd(), "/.", true, "", None, &mut tar).unwrap();
        copy_in(&mut &tar[..], target.as_fd(), "/", &fixed()).unwrap();
        assert_eq!(std::fs::read(temp.path().join("canary")).unwrap(), b"alive");
        assert_eq!(std::fs::read(to.join("f")).unwrap(), b"new");
        // A folder where a file comes, and the other way round.
        std::fs::remove_file(to.join("f")).unwrap();
        std::fs::create_dir(to.join("f")).unwrap();
        let refused = copy_in(&mut &tar[..], target.as_fd(), "/", &fixed()).unwrap_err();
        assert!(
            refused.hints().iter().any(|h| h.contains("--overwrite")),
            "{refused:?}"
        );
        let options = CopyIn {
            overwrite: true,
            ..fixed()
        };
        copy_in(&mut &tar[..], target.as_fd(), "/", &options).unwrap();
        assert!(to.join("f").is_file());
        // A link in place of the destination folder stays inside.
        std::os::unix::fs::symlink("/", to.join("out")).unwrap();
        copy_in(&mut &tar[..], target.as_fd(), "/out", &options).unwrap();
        assert!(copy_in(&mut &tar[..], target.as_fd(), "/missing", &options).is_err());
    }
}
