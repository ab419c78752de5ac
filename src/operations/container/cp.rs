//! `cp`: between a container and the host, as tar streams from one tree into another by descriptor.
//!
//! The rules are `docker cp`'s: a folder is copied into a folder that exists, or becomes the one
//! that does not; `SRC/.` copies what is in it; a file replaces a file or goes into a folder.
//! A volume or bind below the path is looked into, whether the container runs or not.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::tree;
use crate::base::{Context as _, Error, Kind, Result};
use crate::operations::session::Session;
use crate::runtime::generate::clean;
use crate::runtime::user::resolve_user;
use crate::runtime::userns::{Want, enter};
use crate::spec::idmap::{IdMaps, to_host};
use crate::state::container::{Container, Containers};
use crate::state::options::MountSource;
use crate::storage::copy::{self, CopyIn, Owner, PathStat};
use crate::storage::volume::Volumes;
use crate::sys::{Call as _, fd as descriptors};

/// One side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A path in a container, by name or id.
    Container {
        /// Which.
        name: String,
        /// Absolute path inside.
        path: String,
    },
    /// A path of the host.
    Host(PathBuf),
    /// Standard input or output, as a tar.
    Stream,
}

/// How to copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// `--archive`: owners stay as they are; else they become the destination's user.
    pub archive: bool,
    /// `--overwrite`: a folder may replace a file, and the other way round.
    pub overwrite: bool,
    /// `--follow-link`: a symbolic link named as source means what it points to.
    pub follow: bool,
}

/// Reads `CONTAINER:PATH`, a host path, or `-`. A path with a slash before its first colon is the
/// host's, and so is one whose part before the colon names no container.
pub fn parse(text: &str, containers: &Containers) -> Place {
    if text == "-" {
        return Place::Stream;
    }
    match text.split_once(':') {
        Some((name, path))
            if !name.is_empty()
                && !name.contains('/')
                && !name.starts_with('.')
                && (containers.find(name).is_ok() || !Path::new(text).exists()) =>
        {
            Place::Container {
                name: name.to_owned(),
                path: if path.is_empty() {
                    "/".to_owned()
                } else {
                    path.to_owned()
                },
            }
        }
        _ => Place::Host(PathBuf::from(text)),
    }
}

/// A tree with a path in it.
struct Spot {
    root: OwnedFd,
    /// Absolute, below the root, with `/` or `/.` at the end as typed.
    path: String,
    maps: Option<IdMaps>,
    /// What is said in errors.
    shown: String,
    /// Whose copied files become, where owners do not stay.
    owner: (u32, u32),
    _tree: Option<tree::Tree>,
}

/// Copies. `input` and `output` are for `-`.
///
/// # Errors
/// `NotFound` for the source, or the folder that the destination is to be in; `Exists` when a file
/// and a folder meet.
pub fn copy(
    session: &Session,
    source: &Place,
    destination: &Place,
    options: CopyOptions,
    input: &mut (dyn Read + Send),
    output: &mut (dyn Write + Send),
) -> Result<()> {
    match (source, destination) {
        (Place::Stream, Place::Stream) | (Place::Host(_), Place::Host(_)) => {
            Err(Error::invalid("one side of cp must be a container")
                .hint("coracle cp CONTAINER:PATH PATH, or coracle cp PATH CONTAINER:PATH"))
        }
        (Place::Host(_), Place::Stream) | (Place::Stream, Place::Host(_)) => {
            Err(Error::invalid("- stands for a tar from or to a container"))
        }
        (from, Place::Stream) => {
            let from = spot(session, from)?;
            let stat = source_stat(&from, options)?;
            let name = stat.name.clone();
            let name = if from.path.ends_with("/.") {
                ""
            } else {
                name.as_str()
            };
            copy::copy_out(
                from.root.as_fd(),
                &from.path,
                options.follow || from.path.ends_with('/'),
                name,
                from.maps.as_ref(),
                output,
            )
            .what(|| format!("cannot copy {}", from.shown))
        }
        (Place::Stream, to) => {
            let to = spot(session, to)?;
            let is_dir = copy::stat(to.root.as_fd(), &to.path, true)?.is_some_and(|s| s.is_dir());
            if !is_dir {
                return Err(Error::invalid(format!(
                    "cannot unpack into {}: it is no folder that exists",
                    to.shown
                )));
            }
            copy::copy_in(input, to.root.as_fd(), &to.path, &copy_in(&to, options))
                .what(|| format!("cannot copy to {}", to.shown))
        }
        (from, to) => {
            let from = spot(session, from)?;
            let to = spot(session, to)?;
            between(&from, &to, options)
        }
    }
}

fn copy_in(to: &Spot, options: CopyOptions) -> CopyIn<'_> {
    CopyIn {
        owner: if options.archive {
            Owner::Keep
        } else {
            Owner::Fixed {
                uid: to.owner.0,
                gid: to.owner.1,
            }
        },
        maps: to.maps.as_ref(),
        overwrite: options.overwrite,
    }
}

fn source_stat(from: &Spot, options: CopyOptions) -> Result<PathStat> {
    let follow = options.follow || from.path.ends_with('/') || from.path.ends_with("/.");
    let stat = copy::stat(from.root.as_fd(), &from.path, follow)?.ok_or_else(|| {
        Error::not_found(format!("no such file or folder: {}", from.shown)).hint(
            "paths of containers begin at their root; `coracle exec` with ls shows what is there",
        )
    })?;
    if (from.path.ends_with('/') || from.path.ends_with("/.")) && !stat.is_dir() {
        return Err(Error::invalid(format!("{} is no folder", from.shown)));
    }
    Ok(stat)
}

/// Where a copy goes: the folder to unpack in, and the name that the tar begins with.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    folder: String,
    name: String,
}

/// `docker cp`'s rules. `there` is what lies at the destination, `parent` whether its folder exists.
fn target(
    source: (&PathStat, bool),
    destination: &str,
    there: Option<&PathStat>,
    parent: bool,
    overwrite: bool,
) -> Result<Target> {
    let (stat, contents) = source;
    let trimmed = destination.trim_end_matches('/').trim_end_matches("/.");
    let (folder, last) = match trimmed.rsplit_once('/') {
        Some((folder, last)) => (format!("{folder}/"), last.to_owned()),
        None => ("/".to_owned(), trimmed.to_owned()),
    };
    let beside = Target { folder, name: last };
    let into = Target {
        folder: destination.to_owned(),
        name: if contents {
            String::new()
        } else {
            stat.name.clone()
        },
    };
    match there {
        Some(d) if d.is_dir() && (stat.is_dir() || !overwrite) => Ok(into),
        Some(d) if d.is_dir() => Ok(beside),
        Some(_) if stat.is_dir() && !overwrite => Err(Error::new(
            Kind::Exists,
            format!("cannot copy a folder over the file {destination}"),
        )
        .hint("use --overwrite, or another destination")),
        Some(_) => Ok(beside),
        None if destination.ends_with('/') && !stat.is_dir() => {
            Err(Error::not_found(format!("no such folder: {destination}")))
        }
        None if !parent => Err(Error::not_found(format!(
            "no such folder: {}",
            beside.folder
        ))),
        None => Ok(beside),
    }
}

fn between(from: &Spot, to: &Spot, options: CopyOptions) -> Result<()> {
    let stat = source_stat(from, options)?;
    let contents = from.path.ends_with("/.");
    let there = copy::stat(to.root.as_fd(), &to.path, true)?;
    let trimmed = to.path.trim_end_matches('/');
    let folder = trimmed.rsplit_once('/').map_or(
        "/",
        |(folder, _)| {
            if folder.is_empty() { "/" } else { folder }
        },
    );
    let parent = copy::stat(to.root.as_fd(), folder, true)?.is_some_and(|s| s.is_dir());
    let target = target(
        (&stat, contents),
        &to.path,
        there.as_ref(),
        parent,
        options.overwrite,
    )?;
    let what = || format!("cannot copy {} to {}", from.shown, to.shown);
    let (reading, writing) = descriptors::pipe()?;
    std::thread::scope(|scope| -> Result<()> {
        let packer = scope.spawn(|| {
            let mut sink = BufWriter::with_capacity(256 << 10, File::from(writing));
            let packed = copy::copy_out(
                from.root.as_fd(),
                &from.path,
                options.follow || from.path.ends_with('/'),
                &target.name,
                from.maps.as_ref(),
                &mut sink,
            );
            let flushed = sink.flush().what(|| "cannot write the copy");
            packed.and(flushed)
        });
        let mut reader = BufReader::with_capacity(256 << 10, File::from(reading));
        let written = copy::copy_in(
            &mut reader,
            to.root.as_fd(),
            &target.folder,
            &copy_in(to, options),
        );
        drop(reader);
        let packed = packer
            .join()
            .unwrap_or_else(|_| Err(Error::internal("the packing thread panicked")));
        match (packed, written) {
            // The writer stopped reading: its reason counts.
            (Err(p), Err(w)) if p.errno() == Some(libc::EPIPE) => {
                drop(p);
                Err(w)
            }
            (Err(p), _) => Err(p),
            (Ok(()), written) => written,
        }
    })
    .what(what)
}

fn spot(session: &Session, place: &Place) -> Result<Spot> {
    match place {
        Place::Stream => Err(Error::internal("a stream is no tree")),
        Place::Host(path) => host(session, path),
        Place::Container { name, path } => {
            let container = Containers::new(&session.dirs).find(name)?;
            inside(session, &container, path)
        }
    }
}

/// The host's tree: the caller's own paths, resolved as the caller types them.
fn host(session: &Session, path: &Path) -> Result<Spot> {
    enter(&session.dirs, Want::Default)?;
    let absolute = std::path::absolute(path).what(|| format!("cannot use {}", path.display()))?;
    let text = absolute
        .to_str()
        .ok_or_else(|| Error::invalid(format!("{} is not UTF-8", path.display())))?;
    let typed = path.to_string_lossy();
    let mut text = text.to_owned();
    // `absolute` drops what says folder or contents.
    if typed == "." || typed.ends_with("/.") {
        text = format!("{}/.", text.trim_end_matches("/.").trim_end_matches('/'));
    } else if typed.ends_with('/') && !text.ends_with('/') {
        text.push('/');
    }
    let root = open_path(Path::new("/"))?;
    Ok(Spot {
        root,
        path: text,
        maps: None,
        shown: path.display().to_string(),
        owner: (0, 0),
        _tree: None,
    })
}

fn inside(session: &Session, container: &Container, path: &str) -> Result<Spot> {
    let tree = tree::open(session, container)?;
    let maps = tree::maps(session, container)?;
    let shown = format!("{}:{path}", container.name());
    let marker = if path == "." || path.ends_with("/.") {
        "/."
    } else if path.ends_with('/') {
        "/"
    } else {
        ""
    };
    // A relative path begins at the root, as in docker.
    let plain = clean(&format!("/{path}"))?;
    let with_marker = |p: &str| format!("{}{marker}", p.trim_end_matches('/'));
    let owner = owner(container, &tree, maps.as_ref());
    if !tree.with_mounts
        && let Some((root, rest)) = below_mount(session, container, &plain)?
    {
        return Ok(Spot {
            root,
            path: absolute_or_root(with_marker(&rest)),
            maps,
            shown,
            owner,
            _tree: None,
        });
    }
    let root = tree
        .root
        .try_clone()
        .what(|| "cannot duplicate a descriptor")?;
    Ok(Spot {
        root,
        path: absolute_or_root(with_marker(&plain)),
        maps,
        shown,
        owner,
        _tree: Some(tree),
    })
}

fn absolute_or_root(path: String) -> String {
    if path.is_empty() {
        "/".to_owned()
    } else {
        path
    }
}

/// The container's user, as the shared user namespace numbers it.
fn owner(container: &Container, tree: &tree::Tree, maps: Option<&IdMaps>) -> (u32, u32) {
    let text = container.record.options.user.as_deref().unwrap_or_default();
    let (uid, gid) = resolve_user(tree.root.as_fd(), text, &[]).map_or((0, 0), |u| (u.uid, u.gid));
    match maps {
        None => (uid, gid),
        Some(maps) => (
            to_host(&maps.uids, uid).unwrap_or(0),
            to_host(&maps.gids, gid).unwrap_or(0),
        ),
    }
}

/// The volume or bind of a container that does not run, below which `path` lies; and the rest of
/// the path.
fn below_mount(
    session: &Session,
    container: &Container,
    path: &str,
) -> Result<Option<(OwnedFd, String)>> {
    let volumes = Volumes::new(&session.dirs);
    let record = &container.record;
    let mut best: Option<(usize, PathBuf)> = None;
    let mut offer = |destination: &str, source: PathBuf| {
        let destination = destination.trim_end_matches('/');
        let fits = path == destination
            || path
                .strip_prefix(destination)
                .is_some_and(|r| r.starts_with('/'));
        if fits && best.as_ref().is_none_or(|(n, _)| *n < destination.len()) {
            best = Some((destination.len(), source));
        }
    };
    for volume in &record.volumes {
        if let Ok(name) = volume.name.parse() {
            offer(&volume.destination, volumes.data_path(&name));
        }
    }
    for mount in &record.options.mounts {
        if let MountSource::Bind { path, .. } = &mount.source {
            offer(&mount.destination, path.clone());
        }
    }
    let Some((length, source)) = best else {
        return Ok(None);
    };
    let rest = path.get(length..).unwrap_or_default();
    Ok(Some((
        open_path(&source)?,
        format!("/{}", rest.trim_start_matches('/')),
    )))
}

fn open_path(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .call("open", || path.display().to_string())
        .map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(name: &str, dir: bool) -> PathStat {
        PathStat {
            name: name.to_owned(),
            size: 0,
            mode: if dir { libc::S_IFDIR } else { libc::S_IFREG },
            mtime: 0,
            link_target: None,
        }
    }

    #[test]
    fn destinations_follow_dockers_rules() {
        let (file, dir) = (stat("f", false), stat("d", true));
        let (a_file, a_dir) = (stat("x", false), stat("x", true));
        let to = |folder: &str, name: &str| {
            Some(Target {
                folder: folder.to_owned(),
                name: name.to_owned(),
            })
        };
        for (source, contents, destination, there, parent, expected) in [
            (&file, false, "/a/x", None, true, to("/a/", "x")),
            (&file, false, "/a/x", None, false, None),
            (&file, false, "/a/x/", None, true, None),
            (&file, false, "/a/x", Some(&a_file), true, to("/a/", "x")),
            (&file, false, "/a/x", Some(&a_dir), true, to("/a/x", "f")),
            (&dir, false, "/a/x", None, true, to("/a/", "x")),
            (&dir, true, "/a/x", None, true, to("/a/", "x")),
            (&dir, false, "/a/x", Some(&a_file), true, None),
            (&dir, false, "/a/x", Some(&a_dir), true, to("/a/x", "d")),
            (&dir, true, "/a/x", Some(&a_dir), true, to("/a/x", "")),
            (&file, false, "/", Some(&a_dir), true, to("/", "f")),
        ] {
            assert_eq!(
                target((source, contents), destination, there, parent, false).ok(),
                expected,
                "{} {contents} to {destination}",
                source.name
            );
        }
    }
}
