//! The mounts of a RUN: sources found inside their stage, image or context only, caches under opaque
//! names, secrets and agents handed over in memory. Security: class F.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::Secret;
use super::copy::{self, Owner};
use super::copying;
use super::running::Plan;
use super::schedule::At;
use super::ssh::Relay;
use crate::base::{Context as _, Error, Hint as _, Result};
use crate::build::apply::{self, SCRIPTS};
use crate::build::ignore::Ignore;
use crate::build::mount::{Mount, MountKind, Sharing};
use crate::build::pattern::clean;
use crate::runtime::launch::PreparedMount;
use crate::spec::digest::Digest;
use crate::spec::runtime::Mount as SpecMount;
use crate::state::options::ContainerOptions;
use crate::storage::draft::Draft;
use crate::storage::rootfs::{Scratch, View};
use crate::sys::{Call as _, at, mount, resolve};

/// The most that a secret may hold.
const SECRET: u64 = 512 << 10;

/// What must stay while the step runs.
#[derive(Default)]
pub(super) struct Held {
    locks: Vec<File>,
    fds: Vec<OwnedFd>,
    relays: Vec<Relay>,
}

/// A mount of the specification, and what it shows.
pub(super) type Prepared = (SpecMount, Option<PreparedMount>);

fn spec_mount(target: &str, kind: &str, options: &[&str]) -> SpecMount {
    SpecMount {
        destination: target.to_owned(),
        kind: Some(kind.to_owned()),
        source: Some(String::new()),
        options: options.iter().map(|o| (*o).to_owned()).collect(),
        ..SpecMount::default()
    }
}

/// The target as an absolute path.
fn target(at: &At<'_>, path: &str) -> Result<String> {
    let path = apply::workdir(&at.state.config.config.working_dir, path)?;
    if path == "/" {
        return Err(
            Error::invalid("a mount cannot replace the whole root").hint("name a folder as target")
        );
    }
    Ok(path)
}

/// Prepares every mount of a RUN; secrets as variables go into `options`.
///
/// # Errors
/// `NotFound` for sources and required secrets that are not there.
pub(super) fn prepare_mounts(
    at: &At<'_>,
    plan: &Plan,
    draft: &Draft,
    runtime_dir: &Path,
    options: &mut ContainerOptions,
    held: &mut Held,
) -> Result<Vec<Prepared>> {
    let mut found = Vec::new();
    crate::base::fs::create_private_dir_all(runtime_dir)?;
    // Locks in one order, so that two builds never wait for each other.
    let mut caches: Vec<(usize, Digest)> = plan
        .mounts
        .iter()
        .enumerate()
        .filter(|(_, m)| m.kind == MountKind::Cache)
        .map(|(index, m)| (index, cache_key(at, m)))
        .collect();
    caches.sort_by(|a, b| a.1.cmp(&b.1));
    let mut folders: BTreeMap<usize, OwnedFd> = BTreeMap::new();
    for (index, key) in caches {
        let mount = &plan.mounts[index];
        folders.insert(index, cache_folder(at, plan, mount, &key, held)?);
    }
    let mut agents = 0;
    for (index, mount) in plan.mounts.iter().enumerate() {
        match mount.kind {
            MountKind::Bind => found.push(bind(at, plan, mount, index, draft, held)?),
            MountKind::Cache => {
                let Some(folder) = folders.remove(&index) else {
                    continue;
                };
                let tree =
                    mount::clone_fd(&folder, false).what(|| "cannot mount the cache".to_owned())?;
                held.fds.push(folder);
                let words: &[&str] = match mount.read_only {
                    Some(true) => &["bind", "ro", "nosuid", "nodev"],
                    _ => &["bind", "nosuid", "nodev"],
                };
                found.push((
                    spec_mount(&target(at, &mount.target)?, "bind", words),
                    Some(PreparedMount::Tree(tree)),
                ));
            }
            MountKind::Tmpfs => {
                let mut spec = spec_mount(
                    &target(at, &mount.target)?,
                    "tmpfs",
                    &["nosuid", "nodev", "mode=1777"],
                );
                spec.source = Some("tmpfs".to_owned());
                if let Some(size) = mount.size {
                    spec.options.push(format!("size={size}"));
                }
                found.push((spec, None));
            }
            MountKind::Secret => {
                found.extend(secret(at, mount, index, runtime_dir, options)?);
            }
            MountKind::Ssh => {
                found.extend(agent(at, mount, &mut agents, runtime_dir, options, held)?);
            }
        }
    }
    if let Some((name, text)) = &plan.program.script {
        let path = runtime_dir.join("script");
        let what = || "cannot write the script of a here-document".to_owned();
        let mut file = create(&path, 0o755).what(what)?;
        file.write_all(text.as_bytes()).what(what)?;
        drop(file);
        found.push((
            spec_mount(&format!("{SCRIPTS}/{name}"), "bind", &["bind", "ro"]),
            Some(PreparedMount::Source(handle(&path)?)),
        ));
    }
    Ok(found)
}

fn create(path: &Path, mode: u32) -> std::io::Result<File> {
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

fn handle(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .call("open", || path.display().to_string())
        .what(|| format!("cannot open {}", path.display()))
}

fn bind(
    at: &At<'_>,
    plan: &Plan,
    mount: &Mount,
    index: usize,
    draft: &Draft,
    held: &mut Held,
) -> Result<Prepared> {
    let writable = mount.read_only == Some(false);
    let scratch = draft.path().join(format!("mount-{index}"));
    let store = at.schedule.store;
    let layers = match &mount.from {
        None => None,
        Some(from) => copying::layers_of(at.schedule, plan.stage, from)?,
    };
    let root = match layers {
        Some(layers) => {
            let layers = copying::ground(store, layers)?;
            let view = View::Same;
            let rootfs =
                store.mount_image(&layers, &view, writable.then_some(scratch.as_path()))?;
            held.fds.extend(rootfs.lock);
            rootfs.tree
        }
        None => {
            let context = match &mount.from {
                Some(from) => at
                    .schedule
                    .request
                    .contexts
                    .get(from)
                    .ok_or_else(|| Error::internal("a context that is none"))?,
                None => &at.schedule.request.context,
            };
            let tree = context.tree()?;
            match (&tree.ignore, writable) {
                (None, false) => tree.root,
                _ => {
                    let rootfs = store.mount_over(tree.root.as_fd(), Scratch::Folder(&scratch))?;
                    hide(&tree, rootfs.tree.as_fd())?;
                    held.fds.extend(rootfs.lock);
                    rootfs.tree
                }
            }
        }
    };
    let source = clean(&format!("/{}", mount.source));
    let shown = || format!("cannot mount {:?}", mount.source);
    let inner = resolve::handle(&root, source.trim_start_matches('/'))
        .what(shown)
        .hint(|| "source is a path in the stage, image or context that `from` names")?;
    let tree = mount::clone_fd(&inner, true).what(shown)?;
    held.fds.push(root);
    let words: &[&str] = match writable {
        true => &["rbind", "nosuid", "nodev"],
        false => &["rbind", "ro", "nosuid", "nodev"],
    };
    Ok((
        spec_mount(&target(at, &mount.target)?, "bind", words),
        Some(PreparedMount::Tree(tree)),
    ))
}

/// Takes away what the ignore file leaves out, in an overlay over the context.
fn hide(tree: &copy::Tree, root: BorrowedFd<'_>) -> Result<()> {
    if tree.ignore.is_none() {
        return Ok(());
    }
    let all = copy::Tree {
        root: tree.root.try_clone().what(|| "cannot open the context")?,
        prefix: String::new(),
        ignore: None,
        is_image: false,
        held: None,
    };
    let words = ["/".to_owned()];
    let none = Ignore::default();
    let limits = copy::Limits::default();
    let seen = |tree: &copy::Tree| -> Result<BTreeSet<Vec<u8>>> {
        let selected = copy::select(tree, &words, false, &none, limits)?;
        let items = selected.into_iter().flat_map(|s| s.items);
        Ok(items.map(|i| i.from).filter(|p| !p.is_empty()).collect())
    };
    let kept = seen(tree)?;
    // Deepest first: a folder goes when all in it is gone.
    for path in seen(&all)?.into_iter().rev() {
        if kept.contains(&path) {
            continue;
        }
        let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b"."[..], &path[..]),
        };
        let dir = at::open_dir_beneath(root, parent)?;
        match at::unlink(dir.as_fd(), name) {
            Err(e) if matches!(e.errno, libc::EISDIR | libc::EPERM) => {
                match at::rmdir(dir.as_fd(), name) {
                    Err(e) if matches!(e.errno, libc::ENOTEMPTY | libc::EEXIST) => {}
                    other => other?,
                }
            }
            other => other?,
        }
    }
    Ok(())
}

/// The opaque name of a cache mount: of its id, or of its target.
fn cache_key(at: &At<'_>, mount: &Mount) -> Digest {
    let id = match &mount.id {
        Some(id) => id.clone(),
        None => apply::workdir(&at.state.config.config.working_dir, &mount.target)
            .unwrap_or_else(|_| mount.target.clone()),
    };
    let from = mount.from.as_deref().unwrap_or_default();
    let space = at
        .schedule
        .request
        .args
        .get("BUILDKIT_CACHE_MOUNT_NS")
        .map_or("", String::as_str);
    Digest::sha256_of(format!("cache mount\0{space}\0{id}\0{from}\0{}", mount.source).as_bytes())
}

fn cache_folder(
    at: &At<'_>,
    plan: &Plan,
    mount: &Mount,
    key: &Digest,
    held: &mut Held,
) -> Result<OwnedFd> {
    let cache = &at.schedule.cache;
    let mut key = key.clone();
    let lock = match mount.sharing {
        Sharing::Shared => cache.lock_mount(&key, false, true)?,
        Sharing::Locked => match cache.lock_mount(&key, true, false)? {
            Some(lock) => Some(lock),
            None => {
                at.desk.note(&format!(
                    "waiting for the cache {} that another step uses",
                    mount.target
                ));
                cache.lock_mount(&key, true, true)?
            }
        },
        Sharing::Private => {
            let first = key.clone();
            let mut number = 0;
            loop {
                if let Some(lock) = cache.lock_mount(&key, true, false)? {
                    break Some(lock);
                }
                number += 1;
                key = Digest::sha256_of(format!("{first} {number}").as_bytes());
            }
        }
    };
    held.locks.extend(lock);
    let id = mount.id.as_deref().unwrap_or(&mount.target);
    cache.describe_mount(&key, id)?;
    let path = cache.mount_dir(&key);
    let what = || format!("cannot make the cache {id:?}");
    if !path.is_dir() {
        // Filled before it has its name: whoever shares it finds it whole.
        let draft = at.schedule.store.draft()?;
        let fresh = draft.path().join("data");
        fs::DirBuilder::new().create(&fresh).what(what)?;
        let dir = at::open_host_dir(&fresh)?;
        if let Some(from) = &mount.from {
            fill(at, plan, from, &mount.source, dir.as_fd())?;
        }
        at::fchown(dir.as_fd(), mount.uid.unwrap_or(0), mount.gid.unwrap_or(0)).what(what)?;
        at::fchmod(dir.as_fd(), mount.mode.unwrap_or(0o755)).what(what)?;
        match fs::rename(&fresh, &path) {
            Err(_) if path.is_dir() => {}
            other => other.what(what)?,
        }
    }
    at::open_host_dir(&path).what(what)
}

/// The first content of a cache mount.
fn fill(at: &At<'_>, plan: &Plan, from: &str, source: &str, into: BorrowedFd<'_>) -> Result<()> {
    let tree = copying::tree_of(at.schedule, plan.stage, Some(from))?;
    let word = match source {
        "" => "/",
        source => source,
    };
    copy::into_folder(into, &tree, word, Owner::Keep)
}

/// A secret as a file, as a variable, or both.
fn secret(
    at: &At<'_>,
    mount: &Mount,
    index: usize,
    runtime_dir: &Path,
    options: &mut ContainerOptions,
) -> Result<Option<Prepared>> {
    let id = mount.id.as_deref().unwrap_or_default();
    let request = at.schedule.request;
    let Some(secret) = request.secrets.get(id) else {
        if mount.required {
            return Err(
                Error::not_found(format!("secret {id:?} was not given")).hint(format!(
                    "give it: --secret id={id},src=FILE or id={id},env=NAME"
                )),
            );
        }
        return Ok(None);
    };
    let bytes = match secret {
        Secret::File(path) => {
            crate::base::fs::read(path, SECRET).what(|| format!("cannot read secret {id:?}"))?
        }
        Secret::Env(name) => at
            .schedule
            .session
            .env
            .exact(name)
            .map(String::into_bytes)
            .ok_or_else(|| {
                Error::not_found(format!("secret {id:?}: variable {name} is not set"))
                    .hint(format!("set {name}, or give the secret another source"))
            })?,
    };
    if let Some(name) = &mount.env {
        let text = String::from_utf8(bytes.clone()).map_err(|_| {
            Error::invalid(format!("secret {id:?} is no text and cannot be a variable"))
                .hint("mount it as a file: leave out env=")
        })?;
        options.env.push(format!("{name}={text}"));
        if mount.target.is_empty() {
            return Ok(None);
        }
    }
    let inside = match mount.target.as_str() {
        "" => format!("/run/secrets/{id}"),
        path => target(at, path)?,
    };
    let path = runtime_dir.join(format!("secret-{index}"));
    let what = || format!("cannot hand over secret {id:?}");
    let mut file = create(&path, 0o600).what(what)?;
    file.write_all(&bytes).what(what)?;
    chown(&path, mount.uid.or(Some(0)), mount.gid.or(Some(0))).what(what)?;
    file.set_permissions(fs::Permissions::from_mode(mount.mode.unwrap_or(0o400)))
        .what(what)?;
    Ok(Some((
        spec_mount(
            &inside,
            "bind",
            &["bind", "ro", "nosuid", "nodev", "noexec"],
        ),
        Some(PreparedMount::Source(handle(&path)?)),
    )))
}

/// A socket that leads to an SSH agent.
fn agent(
    at: &At<'_>,
    mount: &Mount,
    count: &mut usize,
    runtime_dir: &Path,
    options: &mut ContainerOptions,
    held: &mut Held,
) -> Result<Option<Prepared>> {
    let id = mount.id.as_deref().unwrap_or("default");
    let Some(socket) = at.schedule.request.ssh.socket(id) else {
        if mount.required {
            return Err(Error::not_found(format!("no SSH agent {id:?} was given"))
                .hint(format!("give it: --ssh {id}, or --ssh {id}=SOCKET or KEY")));
        }
        return Ok(None);
    };
    let inside = match mount.target.as_str() {
        "" => format!("/run/buildkit/ssh_agent.{count}"),
        path => target(at, path)?,
    };
    if *count == 0 {
        options.env.push(format!("SSH_AUTH_SOCK={inside}"));
    }
    let path = runtime_dir.join(format!("agent-{count}"));
    *count += 1;
    let owner = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
    let mode = mount.mode.unwrap_or(0o600);
    held.relays.push(Relay::start(socket, &path, owner, mode)?);
    let fd = handle(&path)?;
    Ok(Some((
        spec_mount(&inside, "bind", &["bind", "nosuid", "nodev"]),
        Some(PreparedMount::Source(fd)),
    )))
}
