//! `create`, and the first half of `run`: the image, the volumes, the record.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::names::{random_id, random_name};
use super::request::RunOptions;
use super::select;
use super::{events, launch, member, reap};
use crate::base::failpoint::failpoint;
use crate::base::fs::{self as files, Durability};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::containers_conf;
use crate::image::ImageRecord;
use crate::operations::image::{self, Ensure, ensure};
use crate::operations::session::Session;
use crate::runtime::userns::{self, Entered, Want};
use crate::runtime::{capabilities, generate};
use crate::spec::id::ObjectName;
use crate::state::container::{
    BoundVolume, Container, ContainerImage, ContainerLock, ContainerRecord, Containers,
};
use crate::state::network::Networks;
use crate::state::options::{
    CgroupManager, ContainerOptions, ImageVolume, MountOption, MountSource,
};
use crate::state::pod::Pods;
use crate::storage::volume::{VolumeSpec, Volumes};
use crate::sys::namespace;
use crate::sys::process::boot_id;

/// How many names are tried before giving up.
const NAME_ATTEMPTS: u32 = 20;

/// A container that was made, with what `run` goes on with.
#[derive(Debug)]
pub struct Created {
    /// The container.
    pub container: Container,
    /// Its image; absent with `--rootfs`.
    pub image: Option<ImageRecord>,
    /// Its lock, held since before anybody could see it.
    pub lock: ContainerLock,
}

/// Makes a container: finds or pulls the image, makes its volumes, writes its record. `run` does
/// not wait for the disk here (`Volatile`) but after the start; it begins what takes long in
/// `inside`, as soon as the options are settled and the user namespace is entered.
///
/// # Errors
/// `NotFound` without the image, `Exists` when the name or the cidfile is taken, `Invalid` for
/// options that contradict each other or the image.
pub fn create(
    session: &Session,
    mut options: ContainerOptions,
    run: &RunOptions,
    durability: Durability,
    warn: &mut dyn FnMut(&str),
    inside: &mut dyn FnMut(&ContainerOptions, &Entered) -> Result<()>,
) -> Result<Created> {
    for notice in &run.notices {
        warn(notice);
    }
    match session.options.cgroup_manager.as_deref() {
        Some("systemd") => options.cgroup_manager = CgroupManager::Systemd,
        Some(_) => options.cgroup_manager = CgroupManager::Cgroupfs,
        None => {}
    }
    check(&options)?;
    let name: Option<ObjectName> = options.name.as_deref().map(str::parse).transpose()?;
    if let Some(file) = &options.cidfile
        && file.exists()
    {
        return Err(Error::new(
            Kind::Exists,
            format!("container id file {} exists", file.display()),
        )
        .hint("remove it, or make sure that the other container is gone"));
    }
    let pod = member::join(session, &mut options)?;
    let found = match options.rootfs {
        Some(_) => None,
        None if options.infra => None,
        None => Some(ensure(
            session,
            &Ensure {
                keep_tag: false,
                name: &options.image,
                policy: run.pull,
                platform: options.platform.as_ref(),
                registry: &run.registry,
            },
        )?),
    };
    let containers = Containers::new(&session.dirs);
    inherit_mounts(&containers, &mut options)?;
    depend_by_id(&containers, &Networks::new(&session.dirs), &mut options)?;
    keep_from_monitors(&containers, &mut options)?;
    let entered = userns::enter(&session.dirs, Want::Default)?;
    userns::tell(&session.dirs, &entered, warn);
    tell_of_keys(session, warn)?;
    if run.replace
        && let Some(name) = &name
    {
        replace(session, &containers, name)?;
    }
    inside(&options, &entered)?;
    let config = found.as_ref().map(|f| &f.record.config);
    let command = generate::argv(&options, config)?;
    let stop_signal = generate::stop_signal(
        &options,
        config,
        generate::is_systemd(options.systemd, &command),
    )?;
    if let Some(config) = config {
        for (key, value) in &config.config.labels {
            options
                .labels
                .entry(key.clone())
                .or_insert_with(|| value.clone());
        }
    }
    let image = found.as_ref().map(|f| ContainerImage {
        id: f.record.id.clone(),
        name: f
            .name
            .as_ref()
            .map_or_else(|| f.record.id.hex().to_owned(), ToString::to_string),
        digest: f.record.manifest_digest().cloned(),
    });
    let mut made = Made {
        volumes: Volumes::new(&session.dirs),
        anonymous: Vec::new(),
    };
    let volumes = made.bind_volumes(&options, config)?;
    failpoint("create::volumes")?;
    let auto_maps = launch::idmaps::allocate_auto(&options.userns, &entered.maps, || {
        let (list, _) = containers.list()?;
        Ok(list
            .into_iter()
            .filter_map(|c| c.record.auto_maps)
            .collect())
    })?;
    let mut record = ContainerRecord {
        version: 1,
        id: match &run.id {
            Some(id) => id.clone(),
            None => random_id()?,
        },
        name: match &name {
            Some(name) => name.clone(),
            None => random_name(0)?,
        },
        created: Timestamp::now(),
        options,
        image,
        volumes,
        driver: String::new(),
        command,
        stop_signal,
        auto_maps,
        by_run: durability == Durability::Volatile && !run.kept,
        transient: session.options.transient.then(|| boot_id().to_owned()),
    };
    let mut attempt = 0;
    // A pod that is removed meanwhile takes all its containers along.
    let locked = pod
        .map(|pod| Pods::new(&session.dirs).lock(&pod))
        .transpose()?;
    let (container, lock) = loop {
        match containers.create_locked(record.clone(), durability) {
            Ok(made) => break made,
            Err(e) if e.kind() == Kind::Exists && name.is_none() && attempt < NAME_ATTEMPTS => {
                attempt += 1;
                record.name = random_name(attempt)?;
            }
            // A `--rm` container whose monitor, or maker, was killed is as good as gone.
            Err(e) if e.kind() == Kind::Exists && attempt < NAME_ATTEMPTS => {
                attempt += 1;
                if !frees_its_name(session, &containers, &record.name)? {
                    return Err(e);
                }
            }
            Err(e) => return Err(e),
        }
    };
    drop(locked);
    failpoint("create::recorded")?;
    if let Some(found) = &found
        && !image::is_kept(session, &found.record)?
    {
        drop(containers.remove(&container));
        return Err(Error::not_found(format!(
            "no such image: {:?} was removed meanwhile",
            container.record.options.image
        ))
        .hint("try again"));
    }
    made.keep();
    if let Some(file) = &container.record.options.cidfile
        && let Err(e) = write_cidfile(file, &container)
    {
        drop(containers.remove(&container));
        return Err(e);
    }
    events::write(session, &container, "create");
    Ok(Created {
        container,
        image: found.map(|f| f.record),
        lock,
    })
}

/// Tells of keys in containers.conf that have no effect: once a boot, and again when they change.
fn tell_of_keys(session: &Session, warn: &mut dyn FnMut(&str)) -> Result<()> {
    let notices = &containers_conf::load()?.notices;
    if notices.is_empty() {
        return Ok(());
    }
    let told = session.dirs.runtime.join("keys-told");
    let all = notices.join("\n");
    if files::read_if_exists(&told, 1 << 20)?.is_some_and(|t| t == all.as_bytes()) {
        return Ok(());
    }
    for notice in notices {
        warn(&format!("containers.conf: {notice}"));
    }
    // Telling it twice does no harm.
    drop(files::replace(
        &told,
        all.as_bytes(),
        0o600,
        Durability::Volatile,
    ));
    Ok(())
}

/// Whether the bearer of a name was a `--rm` container that nobody removed, and now went.
fn frees_its_name(session: &Session, containers: &Containers, name: &ObjectName) -> Result<bool> {
    match containers.find(name.as_str()) {
        Ok(mut other) if other.record.options.remove => reap::reap_lost(session, &mut other),
        Err(e) if e.kind() == Kind::NotFound => Ok(true),
        _ => Ok(false),
    }
}

/// Options that exclude each other, before anything is made.
fn check(options: &ContainerOptions) -> Result<()> {
    use crate::state::options::{NamespaceMode, RestartPolicy};
    if options.remove && options.restart != RestartPolicy::No {
        return Err(Error::invalid("--rm and --restart contradict each other"));
    }
    let namespaces = [
        ("pid", &options.pid),
        ("ipc", &options.ipc),
        ("uts", &options.uts),
        ("cgroupns", &options.cgroupns),
    ];
    for (flag, mode) in namespaces {
        if let NamespaceMode::Container(name) = mode
            && name.is_empty()
        {
            return Err(Error::invalid(format!("--{flag} container: needs a name")));
        }
    }
    for mount in &options.mounts {
        generate::check_destination(&generate::clean(&mount.destination)?)?;
    }
    let mut seen = BTreeSet::new();
    for mount in &options.mounts {
        if !seen.insert(generate::clean(&mount.destination)?) {
            return Err(Error::invalid(format!(
                "two mounts have the destination {:?}",
                mount.destination
            )));
        }
    }
    Ok(())
}

/// Removes a container that has the name.
fn replace(session: &Session, containers: &Containers, name: &ObjectName) -> Result<()> {
    match containers.find(name.as_str()) {
        Ok(old) if old.name() == name.as_str() => super::remove::remove(
            session,
            old,
            &super::remove::RemoveOptions {
                force: true,
                volumes: true,
                ..Default::default()
            },
        )
        .map(drop)
        .what(|| format!("cannot replace container {:?}", name.as_str())),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == Kind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// `--volumes-from`: the other containers' volumes and binds become this one's own mounts, so that
/// it lives on when they are removed.
fn inherit_mounts(containers: &Containers, options: &mut ContainerOptions) -> Result<()> {
    for text in options.volumes_from.clone() {
        let (name, words) = text.split_once(':').unwrap_or((&text, ""));
        let mut read_only = false;
        for word in words.split(',').filter(|w| !w.is_empty()) {
            match word {
                "ro" => read_only = true,
                "rw" => read_only = false,
                "z" => {}
                other => {
                    return Err(Error::invalid(format!(
                        "--volumes-from {text}: unknown option {other:?}"
                    ))
                    .hint("use ro, rw or z"));
                }
            }
        }
        let source = containers.find(name)?;
        let bound = source.record.volumes.iter().map(|v| {
            let option = source
                .record
                .options
                .mounts
                .iter()
                .find(|m| m.destination == v.destination);
            MountOption {
                destination: v.destination.clone(),
                source: MountSource::Volume {
                    name: Some(v.name.clone()),
                    nocopy: false,
                    subpath: match option.map(|o| &o.source) {
                        Some(MountSource::Volume { subpath, .. }) => subpath.clone(),
                        _ => None,
                    },
                    labels: Default::default(),
                },
                read_only: read_only || option.is_some_and(|o| o.read_only),
                chown: false,
                relabel: None,
                options: option.map_or_else(Vec::new, |o| o.options.clone()),
            }
        });
        let binds = source
            .record
            .options
            .mounts
            .iter()
            .filter(|m| matches!(m.source, MountSource::Bind { .. }))
            .map(|m| MountOption {
                read_only: read_only || m.read_only,
                ..m.clone()
            });
        let all: Vec<MountOption> = bound.chain(binds).collect();
        for mount in all {
            let taken = options
                .mounts
                .iter()
                .any(|m| m.destination == mount.destination);
            if !taken {
                options.mounts.push(mount);
            }
        }
    }
    Ok(())
}

/// Names of other containers become ids: a rename must not lead elsewhere.
fn depend_by_id(
    containers: &Containers,
    networks: &Networks,
    options: &mut ContainerOptions,
) -> Result<()> {
    use crate::state::options::{NamespaceMode, NetworkMode, UsernsMode};
    let id_of = |name: &str| -> Result<String> { Ok(containers.find(name)?.id().to_string()) };
    for mode in [
        &mut options.pid,
        &mut options.ipc,
        &mut options.uts,
        &mut options.cgroupns,
    ] {
        if let NamespaceMode::Container(name) = mode {
            *name = id_of(name)?;
        }
    }
    match &mut options.network.mode {
        NetworkMode::Container(name) => *name = id_of(name)?,
        NetworkMode::Networks(wishes) => {
            for wish in wishes {
                wish.name = networks.find(&wish.name)?.name.to_string();
            }
        }
        _ => {}
    }
    if let UsernsMode::Container(name) = &mut options.userns {
        *name = id_of(name)?;
    }
    Ok(())
}

/// A container that sees our monitors and may trace processes gets a user namespace of its own
/// unless somebody asked for another: in the shared one, their owner's, it could take them over.
pub(super) fn keep_from_monitors(
    containers: &Containers,
    options: &mut ContainerOptions,
) -> Result<()> {
    use crate::state::options::{NamespaceMode, UsernsMode};
    if options.userns != UsernsMode::Host || options.userns_asked {
        return Ok(());
    }
    let mut mode = options.pid.clone();
    // Whose pid namespace it is in the end. (A chain of containers has an end: each was made
    // before the next.)
    while let NamespaceMode::Container(id) = &mode {
        mode = containers.find(id)?.record.options.pid.clone();
    }
    let sees_them = match &mode {
        NamespaceMode::Host => true,
        NamespaceMode::Path(path) => namespace::open_path(&path.to_string_lossy())
            .and_then(|ns| namespace::is_own(ns, namespace::Kind::Pid))
            .unwrap_or(true),
        _ => false,
    };
    let may_trace = || -> Result<bool> {
        let caps = capabilities::bounding(options.privileged, &options.cap_add, &options.cap_drop)?;
        Ok(caps.contains(&"CAP_SYS_PTRACE"))
    };
    if sees_them && may_trace()? {
        options.userns = UsernsMode::Nested;
    }
    Ok(())
}

/// Volumes made for a container that does not exist yet; taken back unless it comes to be.
struct Made {
    volumes: Volumes,
    anonymous: Vec<ObjectName>,
}

impl Made {
    fn bind_volumes(
        &mut self,
        options: &ContainerOptions,
        config: Option<&crate::spec::image::ImageConfig>,
    ) -> Result<Vec<BoundVolume>> {
        let mut bound = Vec::new();
        for mount in &options.mounts {
            let MountSource::Volume { name, labels, .. } = &mount.source else {
                continue;
            };
            let destination = generate::clean(&mount.destination)?;
            bound.push(match name {
                Some(name) => self.named(name, labels, destination)?,
                None => self.anonymous(options, labels.clone(), destination)?,
            });
        }
        let image_paths = config.map(|c| c.config.volumes.keys());
        if options.image_volume == ImageVolume::Anonymous {
            for path in image_paths.into_iter().flatten() {
                let destination = generate::clean(path)?;
                let covered = options
                    .mounts
                    .iter()
                    .any(|m| generate::clean(&m.destination).is_ok_and(|d| d == destination));
                if !covered && destination != "/" {
                    bound.push(self.anonymous(options, Default::default(), destination)?);
                }
            }
        }
        Ok(bound)
    }

    fn named(
        &self,
        name: &str,
        labels: &std::collections::BTreeMap<String, String>,
        destination: String,
    ) -> Result<BoundVolume> {
        if self.volumes.get(name)?.is_none() {
            let spec = VolumeSpec {
                name: Some(name.to_owned()),
                labels: labels.clone(),
                ..VolumeSpec::default()
            };
            match self.volumes.create(&spec) {
                Ok(_) => {}
                // Somebody else was faster: fine.
                Err(e) if e.kind() == Kind::Exists => {}
                Err(e) => return Err(e),
            }
        }
        Ok(BoundVolume {
            name: name.to_owned(),
            destination,
            anonymous: false,
        })
    }

    /// One for this container alone. Of a compose project it says so: `down --volumes` finds it when
    /// its container is long gone.
    fn anonymous(
        &mut self,
        options: &ContainerOptions,
        mut labels: std::collections::BTreeMap<String, String>,
        destination: String,
    ) -> Result<BoundVolume> {
        if let Some(project) = options.labels.get(crate::compose::convert::PROJECT) {
            labels.insert(crate::compose::convert::PROJECT.to_owned(), project.clone());
        }
        let record = self.volumes.create(&VolumeSpec {
            anonymous: true,
            labels,
            ..VolumeSpec::default()
        })?;
        self.anonymous.push(record.name.clone());
        Ok(BoundVolume {
            name: record.name.to_string(),
            destination,
            anonymous: true,
        })
    }

    fn keep(mut self) {
        self.anonymous.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for name in &self.anonymous {
            // The error that brought us here is the one to report.
            drop(self.volumes.remove(name));
        }
    }
}

fn write_cidfile(file: &PathBuf, container: &Container) -> Result<()> {
    use std::io::Write as _;
    let mut target = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .what(|| format!("cannot write container id file {}", file.display()))?;
    target
        .write_all(container.id().as_str().as_bytes())
        .what(|| format!("cannot write container id file {}", file.display()))
}

/// The image of a container that exists already.
///
/// # Errors
/// `NotFound` when the image was removed by force.
pub fn image_of(session: &Session, container: &Container) -> Result<Option<ImageRecord>> {
    let Some(image) = &container.record.image else {
        return Ok(None);
    };
    crate::operations::image::images(session)
        .get(&image.id)
        .map(Some)
        .what(|| format!("the image of container {:?} is gone", container.name()))
}

/// Whether a cidfile names this container; used to remove it with the container.
pub(super) fn remove_cidfile(container: &Container) {
    let Some(file) = &container.record.options.cidfile else {
        return;
    };
    if select::read_cidfile(file).is_ok_and(|id| id == container.id().as_str()) {
        drop(std::fs::remove_file(file));
    }
}
