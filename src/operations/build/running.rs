//! `RUN`: a container like any other, on the stage's layers, and what it changed as a layer.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::cache::{Cache, KeyMaker};
use super::copy::{self, Owner};
use super::job::Answer;
use super::schedule::{At, Schedule};
use super::stage::State;
use super::{Secret, copying, forbidden};
use crate::base::{Context as _, Error, Hint as _, Result};
use crate::build::apply::{self, Program, SCRIPTS};
use crate::build::ignore::Ignore;
use crate::build::instruction::{Instruction, Run, RunNetwork, Step};
use crate::build::mount::{Mount, MountKind, Sharing};
use crate::build::pattern::clean;
use crate::build::plan::From;
use crate::image::{ImageRecord, LayerRecord};
use crate::operations::container::launch::step as container;
use crate::runtime::launch::PreparedMount;
use crate::spec::digest::Digest;
use crate::spec::manifest::Compression;
use crate::spec::runtime::Mount as SpecMount;
use crate::state::options::{ContainerOptions, ImageVolume, NetworkMode, SystemdMode};
use crate::storage::draft::{Draft, Seal, Times};
use crate::storage::rootfs::{Scratch, View};
use crate::sys::{Call as _, at, clone, fd as descriptors, mount, pidfd, resolve};

/// A RUN with everything expanded.
#[derive(Debug)]
pub struct Plan {
    /// What runs.
    pub program: Program,
    /// The arguments that it sees.
    pub args: Vec<(String, String)>,
    mounts: Vec<Mount>,
    options: ContainerOptions,
    /// The key and what went into it, when it needs no file of the context.
    pub key: Option<(Digest, BTreeMap<String, String>)>,
    maker: KeyMaker,
    stage: usize,
}

/// The most that a secret may hold.
const SECRET: u64 = 512 << 10;

/// Expands, checks what is allowed, and makes the key where that needs no file.
///
/// # Errors
/// `Invalid` for a malformed mount; `Denied` for what the command line does not allow.
pub fn prepare(schedule: &Schedule<'_>, stage: usize, state: &State, run: &Run) -> Result<Plan> {
    let request = schedule.request;
    let escape = request.file.directives.escape;
    let config = &state.config.config;
    let program = apply::program(run, config)?;
    if program.argv.is_empty() {
        return Err(Error::invalid("RUN runs nothing").hint("name a program"));
    }
    let mut options = request.run.clone();
    match run.network {
        RunNetwork::Default => {}
        RunNetwork::None => options.network.mode = NetworkMode::None,
        RunNetwork::Host => {
            if !request.allowed.host_network && options.network.mode != NetworkMode::Host {
                return Err(forbidden("the host's network", "--allow network.host"));
            }
            options.network.mode = NetworkMode::Host;
        }
    }
    if run.insecure {
        if !request.allowed.insecure {
            return Err(forbidden(
                "a RUN without confinement",
                "--allow security.insecure",
            ));
        }
        options.privileged = true;
    }
    for device in &run.devices {
        let device = state.scope.word(device, escape)?;
        let (name, required) = match device.rsplit_once(',') {
            Some((name, "required")) => (name.to_owned(), true),
            _ => (device.clone(), true),
        };
        let _ = required;
        let allowed = &request.allowed.devices;
        if !allowed.contains("*") && !allowed.contains(&name) {
            return Err(forbidden(
                &format!("device {name}"),
                &format!("--allow device={name}"),
            ));
        }
        options.cdi_devices.push(name);
    }
    let mut mounts = Vec::new();
    for text in &run.mounts {
        mounts.push(Mount::parse(text, &mut |word| {
            state.scope.word(word, escape)
        })?);
    }
    options.entrypoint = Some(Vec::new());
    options.command.clone_from(&program.argv);
    options.image_volume = ImageVolume::Ignore;
    options.systemd = SystemdMode::Off;
    options.remove = true;
    options.healthcheck = None;
    let args = state.scope.args();
    // Proxy arguments that nobody declared are in the environment and in no key.
    let proxies = state.scope.proxies();
    for (name, value) in proxies.iter().chain(&args) {
        options.env.push(format!("{name}={value}"));
    }
    let mut maker = KeyMaker::default();
    maker.add("kind", "RUN");
    maker.add("base", parent_text(state));
    maker.add("platform", schedule.plan.nodes[stage].platform.to_string());
    maker.add("user", &config.user);
    maker.add("workdir", &config.working_dir);
    maker.add("env", apply::json(&config.env));
    let named = args.iter().map(|(n, v)| format!("{n}={v}"));
    maker.add("args", apply::json(&named.collect::<Vec<_>>()));
    maker.add("command", apply::json(&program.argv));
    maker.add("network", format!("{:?}", run.network));
    maker.add("insecure", run.insecure.to_string());
    maker.add("devices", run.devices.join(" "));
    if let Some((_, script)) = &program.script {
        maker.add("script", script.clone());
    }
    let mut waits = false;
    for (index, (mount, text)) in mounts.iter().zip(&run.mounts).enumerate() {
        maker.add(&format!("mount {index}"), shown_mount(mount));
        let name = format!("mount {index} content");
        match (&mount.from, mount.kind) {
            (Some(from), _) => match schedule.resolve(stage, from)? {
                From::Stage(n) => maker.add(&name, top_of(schedule.done(n))?),
                From::Image(image) => maker.add(&name, image_top(schedule, stage, &image)?),
                From::Context(context) => {
                    match schedule.request.contexts.get(&context).map(|c| &c.kind) {
                        Some(super::context::Kind::Image(image)) => {
                            maker.add(&name, image_top(schedule, stage, image)?);
                        }
                        _ => waits = true,
                    }
                }
            },
            (None, MountKind::Bind) => waits = true,
            _ => {}
        }
        if text.contains('\0') {
            return Err(Error::invalid("a mount with a NUL byte").hint("take it out"));
        }
    }
    let key = (!waits).then(|| maker.clone().finish());
    Ok(Plan {
        program,
        args,
        mounts,
        options,
        key,
        maker,
        stage,
    })
}

fn parent_text(state: &State) -> String {
    state
        .top()
        .map_or_else(|| "scratch".to_owned(), ToString::to_string)
}

fn top_of(state: Option<&State>) -> Result<String> {
    state
        .map(parent_text)
        .ok_or_else(|| Error::internal("a stage is asked for before it is done"))
}

fn image_top(schedule: &Schedule<'_>, stage: usize, image: &str) -> Result<String> {
    let record = image_of(schedule, stage, image)?;
    Ok(record
        .layers
        .last()
        .map_or_else(|| "scratch".to_owned(), |l| l.chain_id.to_string()))
}

/// An image that was made sure of before.
///
/// # Errors
/// Only by a mistake of ours.
pub(super) fn image_of<'a>(
    schedule: &'a Schedule<'_>,
    stage: usize,
    image: &str,
) -> Result<&'a ImageRecord> {
    let platform = schedule.plan.nodes[stage].platform.to_string();
    schedule
        .images
        .get(&(image.to_owned(), platform))
        .ok_or_else(|| Error::internal(format!("image {image} is asked for before it is here")))
}

/// A mount as the key sees it: no content of secrets, no path of the host.
fn shown_mount(mount: &Mount) -> String {
    format!(
        "{:?} target={} source={} id={:?} ro={:?} mode={:?} uid={:?} gid={:?} size={:?} env={:?} required={}",
        mount.kind,
        mount.target,
        mount.source,
        mount.id,
        mount.read_only,
        mount.mode,
        mount.uid,
        mount.gid,
        mount.size,
        mount.env,
        mount.required
    )
}

/// Does it, in a worker, unless the cache has it.
///
/// # Errors
/// As the start of a container; what storage says.
pub(super) fn execute(at: &At<'_>, plan: &Plan, draft: Draft) -> Result<Answer> {
    let schedule = at.schedule;
    let (key, inputs) = match &plan.key {
        Some(pair) => pair.clone(),
        None => with_content(at, plan)?,
    };
    let cache = &schedule.cache;
    if let Some(answer) = copying::cached(at, &key, at.state.top())? {
        return Ok(answer);
    }
    let _claim = cache.claim(&key)?;
    // Another build may have made it while we waited.
    if let Some(answer) = copying::cached(at, &key, at.state.top())? {
        return Ok(answer);
    }
    let why = copying::why(at, &inputs)?;
    let lower = copying::lower(at)?;
    let runtime_dir = runtime_dir(schedule, &draft);
    let outcome = run(at, plan, &draft, &lower, &runtime_dir);
    drop(fs::remove_dir_all(&runtime_dir));
    let (code, mount_points) = outcome?;
    if code != 0 {
        // The draft is the parent's to drop: a shell may open in it.
        draft.leave();
        return Ok(Answer::Exited(code));
    }
    let layer = seal(at, draft, &lower, &mount_points, at.state.top())?;
    let record = Cache::record(key, layer, at.state.top().cloned(), &at.step.text, inputs);
    cache.put(&record)?;
    Ok(Answer::Step {
        record: Box::new(record),
        cached: false,
        why,
    })
}

/// Makes the layer of a draft.
pub(super) fn seal(
    at: &At<'_>,
    draft: Draft,
    lower: &[Digest],
    mount_points: &[Vec<u8>],
    parent: Option<&Digest>,
) -> Result<Option<LayerRecord>> {
    let request = at.schedule.request;
    let times = match (request.timestamp, request.epoch) {
        (Some(at), _) => Some(Times { at, all: true }),
        (None, Some(at)) if request.rewrite_times => Some(Times { at, all: false }),
        _ => None,
    };
    let sealed = at.schedule.store.seal(
        draft,
        &Seal {
            lower,
            parent,
            mount_points,
            times,
        },
    )?;
    Ok(sealed.map(|sealed| LayerRecord {
        digest: sealed.digest,
        media_type: Compression::Zstd.oci_layer().to_owned(),
        size: sealed.size,
        diff_id: sealed.info.diff_id,
        chain_id: sealed.info.chain_id,
    }))
}

/// The key with the content of mounts from the context.
fn with_content(at: &At<'_>, plan: &Plan) -> Result<(Digest, BTreeMap<String, String>)> {
    let mut maker = plan.maker.clone();
    for (index, mount) in plan.mounts.iter().enumerate() {
        let tree = match (&mount.from, mount.kind) {
            (None, MountKind::Bind) => at.schedule.request.context.tree()?,
            (Some(from), _) => match at.schedule.resolve(plan.stage, from)? {
                From::Context(name) => match at.schedule.request.contexts.get(&name) {
                    Some(context) if !context.is_image() => context.tree()?,
                    _ => continue,
                },
                _ => continue,
            },
            _ => continue,
        };
        let word = match mount.source.as_str() {
            "" => "/".to_owned(),
            source => source.to_owned(),
        };
        let selected = copy::select(
            &tree,
            &[word],
            false,
            &Ignore::default(),
            copy::Limits::default(),
        )?;
        let digest = copy::digest_of(&tree, &selected, Owner::Keep)?;
        maker.add(&format!("mount {index} content"), digest.to_string());
    }
    Ok(maker.finish())
}

/// Where a step's generated files are: in memory, as a rule.
fn runtime_dir(schedule: &Schedule<'_>, draft: &Draft) -> PathBuf {
    let name = draft.path().file_name().unwrap_or_default();
    schedule.session.dirs.runtime.join("build").join(name)
}

/// The container's image: the stage as it is.
fn image(state: &State, lower: &[Digest]) -> ImageRecord {
    let mut config = state.config.clone();
    config.config.volumes.clear();
    config.config.healthcheck = None;
    config.config.entrypoint = None;
    config.config.cmd = None;
    let layers = lower
        .iter()
        .map(|chain| LayerRecord {
            digest: chain.clone(),
            media_type: String::new(),
            size: 0,
            diff_id: chain.clone(),
            chain_id: chain.clone(),
        })
        .collect();
    ImageRecord {
        id: Digest::sha256_of(b""),
        config,
        raw_config: String::new(),
        manifests: Vec::new(),
        layers,
        stored: crate::base::time::Timestamp(0),
        size: 0,
        parent: None,
    }
}

fn run(
    at: &At<'_>,
    plan: &Plan,
    draft: &Draft,
    lower: &[Digest],
    runtime_dir: &Path,
) -> Result<(i32, Vec<Vec<u8>>)> {
    let mut held = Held::default();
    let mut options = plan.options.clone();
    let mounts = prepare_mounts(at, plan, draft, runtime_dir, &mut options, &mut held)?;
    let output = |_| {
        at.desk
            .output
            .try_clone()
            .what(|| "cannot duplicate the step's output")
    };
    let ready = container::ready(
        at.schedule.session,
        container::Step {
            options,
            image: image(at.state, lower),
            dir: draft.path(),
            runtime_dir,
            mounts,
            stdio: [descriptors::null()?, output(1)?, output(2)?],
        },
    )?;
    for notice in ready.notices() {
        at.desk.note(notice);
    }
    let mount_points = ready.missing_mount_points();
    let code = ready.run(|| Ok(()))?;
    drop(held);
    Ok((code, mount_points))
}

/// What must stay while the step runs.
#[derive(Default)]
struct Held {
    locks: Vec<File>,
    fds: Vec<OwnedFd>,
}

/// A mount of the specification, and what it shows.
type Prepared = (SpecMount, Option<PreparedMount>);

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

fn prepare_mounts(
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
                found.extend(agent(at, mount, &mut agents, options)?);
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
            let layers = match layers.is_empty() {
                true => vec![store.empty_layer()?],
                false => layers,
            };
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
fn hide(tree: &copy::Tree, root: std::os::fd::BorrowedFd<'_>) -> Result<()> {
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
    let seen = |tree: &copy::Tree| -> Result<std::collections::BTreeSet<Vec<u8>>> {
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
fn fill(
    at: &At<'_>,
    plan: &Plan,
    from: &str,
    source: &str,
    into: std::os::fd::BorrowedFd<'_>,
) -> Result<()> {
    let tree = copying::tree_of(at.schedule, plan.stage, Some(from))?;
    let word = match source {
        "" => "/".to_owned(),
        source => source.to_owned(),
    };
    let selected = copy::select(
        &tree,
        &[word],
        false,
        &Ignore::default(),
        copy::Limits::default(),
    )?;
    let target = copy::Target {
        path: "/".to_owned(),
        workdir: String::new(),
        owner: Owner::Keep,
        parents_owner: (0, 0),
        mode: None,
        now: 0,
        parents: false,
    };
    copy::write(into, &tree, &selected, &target)
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

/// The socket of a person's SSH agent.
fn agent(
    at: &At<'_>,
    mount: &Mount,
    count: &mut usize,
    options: &mut ContainerOptions,
) -> Result<Option<Prepared>> {
    let id = mount.id.as_deref().unwrap_or("default");
    let Some(socket) = at.schedule.request.ssh.get(id) else {
        if mount.required {
            return Err(Error::not_found(format!("no SSH agent {id:?} was given"))
                .hint(format!("give it: --ssh {id}, or --ssh {id}=SOCKET")));
        }
        return Ok(None);
    };
    if mount.uid.is_some_and(|u| u != 0) || mount.gid.is_some_and(|g| g != 0) {
        return Err(
            Error::unsupported("an SSH agent can be given to the user 0 of a step only")
                .hint("leave out uid= and gid=, and run the step as root"),
        );
    }
    let inside = match mount.target.as_str() {
        "" => format!("/run/buildkit/ssh_agent.{count}"),
        path => target(at, path)?,
    };
    if *count == 0 {
        options.env.push(format!("SSH_AUTH_SOCK={inside}"));
    }
    *count += 1;
    let fd = handle(socket).hint(|| "is the agent running? `echo $SSH_AUTH_SOCK` tells")?;
    Ok(Some((
        spec_mount(&inside, "bind", &["bind", "nosuid", "nodev"]),
        Some(PreparedMount::Source(fd)),
    )))
}

/// A shell in the state in which a RUN failed, with its mounts, on the person's own terminal.
///
/// # Errors
/// As the step itself.
pub(super) fn debug(
    schedule: &Schedule<'_>,
    stage: usize,
    state: &State,
    step: &Step,
    draft: &Draft,
) -> Result<()> {
    let Instruction::Run(run_step) = &step.instruction else {
        return Ok(());
    };
    let mut plan = prepare(schedule, stage, state, run_step)?;
    plan.options.command = vec!["/bin/sh".to_owned()];
    plan.options.interactive = true;
    let child = clone::fork_with(|| {
        let go = || -> Result<i32> {
            let desk = super::job::Desk {
                output: descriptors::standard()?
                    .into_iter()
                    .nth(2)
                    .ok_or_else(|| Error::internal("no standard error"))?,
            };
            let at = At {
                schedule,
                desk: &desk,
                state,
                step,
                fresh: true,
            };
            desk.note("a shell where the step failed; the build ends when it does");
            let lower = copying::lower(&at)?;
            let runtime_dir = runtime_dir(schedule, draft);
            drop(fs::remove_dir_all(&runtime_dir));
            let mut held = Held::default();
            let mut options = plan.options.clone();
            let mounts = prepare_mounts(&at, &plan, draft, &runtime_dir, &mut options, &mut held)?;
            let ready = container::ready(
                schedule.session,
                container::Step {
                    options,
                    image: image(state, &lower),
                    dir: draft.path(),
                    runtime_dir: &runtime_dir,
                    mounts,
                    stdio: descriptors::standard()?,
                },
            )?;
            let code = ready.run(|| Ok(()));
            drop(held);
            code
        };
        u8::try_from(go().unwrap_or(1)).unwrap_or(1)
    })?;
    pidfd::wait(&child.pidfd)?;
    Ok(())
}
