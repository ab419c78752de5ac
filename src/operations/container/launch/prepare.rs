//! Everything a start needs, as values and descriptors; nothing of the container runs yet.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use super::joins::{self, Joins};
use super::mounts::{self, Sources};
use super::{Kit, OwnGroup, files, outside, root_owner};
use crate::base::failpoint::failpoint;
use crate::base::{Context as _, Error, Result};
use crate::cgroup::{self, Group};
use crate::config::{containers_conf, limits};
use crate::network::bridge::client::Membership;
use crate::network::bridge::protocol::Attached;
use crate::network::facts::{self, HostFacts};
use crate::network::namespace::{self, Namespace};
use crate::network::plan::{self as network_plan, NetworkPlan};
use crate::network::{files as network_files, ports};
use crate::operations::session::Session;
use crate::runtime::generate::{self, Facts, Generated, VolumeFact};
use crate::runtime::nested::{self, Nested, Owns};
use crate::runtime::seccomp;
use crate::runtime::user::{ResolvedUser, resolve_user};
use crate::runtime::userns::{self, Asked, Entered, Ready};
use crate::spec::idmap::{IdMaps, to_container};
use crate::spec::image::ImageConfig;
use crate::state::container::Containers;
use crate::state::options::{ContainerOptions, NamespaceMode, NetworkMode, Resources, UsernsMode};
use crate::storage::rootfs::{Mode, Rootfs, RootfsRequest, Scratch};
use crate::storage::volume::Volumes;

/// A hosts file of a container whose network is shared, or of an image, may be this long.
const HOSTS_LIMIT: u64 = 1 << 20;

/// Ready to be launched.
pub(super) struct Prepared {
    pub generated: Generated,
    /// The container's user, as the shared user namespace numbers it.
    pub owner: (u32, u32),
    pub rootfs: Rootfs,
    pub joins: Joins,
    pub nested: Option<Nested>,
    pub netns: Option<Namespace>,
    pub networks: Option<Membership>,
    pub plan: NetworkPlan,
    pub sources: Sources,
    pub seccomp: Option<seccomp::Filter>,
    pub cgroup: (cgroup::Place, cgroup::Settings),
    pub driver: &'static str,
    pub notices: Vec<String>,
}

/// The network namespace of a container, under way.
#[derive(Debug)]
pub(in crate::operations::container) struct Making {
    settings: namespace::Settings,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// The holder was asked for the one that it keeps ready.
    Asked(Asked),
    /// The holder gave it.
    Ready(Namespace),
    /// A thread makes it; waited for in every case.
    Thread(JoinHandle<Result<Namespace>>),
    /// It was handed over.
    Over,
}

/// What the holder keeps ready: a network namespace without anything special.
///
/// # Errors
/// What the kernel says.
pub fn spare(maps: &IdMaps) -> Result<Ready> {
    let settings = plain(maps);
    Ok(Ready {
        kind: settings.describe(),
        fds: namespace::create(settings)?.into(),
    })
}

/// The settings of a network that nobody gave any for: those of containers.conf.
fn plain(maps: &IdMaps) -> namespace::Settings {
    // A damaged file is told by whoever reads more of it.
    let sysctls = containers_conf::load().map_or_else(
        |_| BTreeMap::new(),
        containers_conf::ContainersConf::sysctls,
    );
    namespace::Settings::new(&sysctls, last_id(maps))
}

/// Begins to make the network namespace of a container that is about to be recorded and started:
/// the kernel takes as long for it as everything else until the fork. `None` when the start needs
/// this process single-threaded before it, or makes the namespace elsewhere.
///
/// # Errors
/// What the kernel says of the thread.
pub(in crate::operations::container) fn ahead(
    session: &Session,
    options: &ContainerOptions,
    entered: &Entered,
) -> Result<Option<Making>> {
    let joins = [&options.pid, &options.ipc, &options.uts, &options.cgroupns]
        .into_iter()
        .any(|mode| matches!(mode, NamespaceMode::Container(_) | NamespaceMode::Path(_)));
    // The maps of mounts are made by forks, too.
    let maps_mounts =
        (options.mounts.iter().flat_map(|m| &m.options)).any(|o| generate::is_idmap(o));
    if joins || maps_mounts || options.userns != UsernsMode::Host || !has_own_network(options) {
        return Ok(None);
    }
    Making::begin(session, options, entered).map(Some)
}

fn has_own_network(options: &ContainerOptions) -> bool {
    options.network.mode.is_own()
}

impl Making {
    fn begin(session: &Session, options: &ContainerOptions, entered: &Entered) -> Result<Self> {
        let settings = namespace::Settings::new(&options.sysctls, last_id(&entered.maps));
        // Only a holder of several ids keeps one, and one without special settings.
        let asked = (!entered.single && settings == plain(&entered.maps))
            .then(|| userns::ask(&session.dirs))
            .flatten();
        let way = match asked {
            Some(asked) => Way::Asked(asked),
            None => Way::Thread(namespace::spawn(settings.clone())?),
        };
        Ok(Self { settings, way })
    }

    /// Looks whether the holder has answered: what it does not have, a thread makes.
    fn look(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.way, Way::Over) {
            Way::Asked(asked) if asked.is_answered() => {
                self.way = match self.take(asked) {
                    Some(ready) => Way::Ready(ready),
                    None => Way::Thread(namespace::spawn(self.settings.clone())?),
                };
            }
            other => self.way = other,
        }
        Ok(())
    }

    /// What the holder had, if it is what this container needs.
    fn take(&self, asked: Asked) -> Option<Namespace> {
        userns::take(asked)
            .filter(|ready| ready.kind == self.settings.describe())
            .and_then(|ready| Namespace::received(ready.fds))
    }

    fn finish(mut self) -> Result<Namespace> {
        let ready = match std::mem::replace(&mut self.way, Way::Over) {
            Way::Asked(asked) => self.take(asked),
            Way::Thread(thread) => return namespace::join(thread),
            Way::Ready(ready) => Some(ready),
            Way::Over => None,
        };
        match ready {
            Some(ready) => Ok(ready),
            None => namespace::create(self.settings.clone()),
        }
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if let Way::Thread(thread) = std::mem::replace(&mut self.way, Way::Over) {
            // An error of ours is under way already; forks must find one thread only.
            drop(thread.join());
        }
    }
}

/// Prepares a start.
///
/// # Errors
/// The first thing that could not be had; what was made until then goes with its descriptors.
pub(super) fn prepare(kit: &Kit<'_>, ahead: Option<Making>) -> Result<Prepared> {
    let options = &*super::cdi::apply(&kit.container.record.options)?;
    let image = kit.image.as_ref().map(|i| &i.config);
    let containers = Containers::new(&kit.session.dirs);
    let joins = joins::open(&containers, options)?;
    let mut shm = joins.ipc_of.map(mounts::shared_shm).transpose()?;

    let own_network = has_own_network(options);
    let maps = kit.nested.as_ref().unwrap_or(&kit.entered.maps);
    let settings = namespace::Settings::new(&options.sysctls, last_id(maps));
    // It is made beside the rest.
    let mut begun = match &kit.nested {
        Some(maps) => Some(nested::begin(
            maps,
            Owns {
                net: own_network,
                ipc: is_own(&options.ipc),
                uts: is_own(&options.uts),
            },
        )?),
        None => None,
    };
    let idmaps = mounts::idmaps(options, kit.nested.as_ref())?;
    let mut making = match ahead {
        None if own_network && begun.is_none() => {
            Some(Making::begin(kit.session, options, &kit.entered)?)
        }
        ahead => ahead,
    };

    let rootfs = mount_rootfs(kit)?;
    if let Some(making) = &mut making {
        making.look()?;
    }
    failpoint("start::mounted")?;
    let mut notices: Vec<String> = rootfs.notice.iter().cloned().collect();
    let user = account(kit, &options.groups, &rootfs.tree, image)?;
    let owner = outside(kit.nested.as_ref(), (user.uid, user.gid));
    let hostname = hostname(kit, &joins);
    let (mut networks, mut early, mut nested) = (None, None, None);
    if !options.network.mode.networks().is_empty() {
        // The addresses are in the files that follow; and the role is forked by one thread.
        let own = making.take().map(Making::finish).transpose()?;
        nested = begun.take().map(nested::Begun::finish).transpose()?;
        let own = match (&nested, own) {
            (Some(nested), _) => of_nested(nested, &settings)?,
            (None, own) => own,
        };
        if let Some(own) = own {
            let copy = own.try_clone()?;
            networks = Some(super::networks::join(kit, options, image, copy)?);
            early = Some(own);
        }
    }
    let attached = networks.as_ref().map(|n| &n.attached);
    notices.extend(attached.into_iter().flat_map(|a| a.notices.iter().cloned()));
    let (plan, host) = plan_network(kit, &rootfs.tree, image, &hostname, attached)?;
    notices.extend(plan.notices.iter().cloned());

    let facts = facts_of(kit, &rootfs.tree, &joins, &plan, user, hostname)?;
    drop(host);
    let mut generated = generate::generate(options, image, &facts)?;
    mounts::links(&rootfs.tree, &mut generated)?;
    notices.extend(generated.notices.iter().cloned());
    failpoint("start::generated")?;
    let sources = mounts::prepare(
        kit,
        &rootfs.tree,
        owner,
        &generated.spec.mounts,
        &generated.origins,
        &mut shm,
        &idmaps,
    )?;
    failpoint("start::mounts")?;
    let caps = generated
        .spec
        .process
        .as_ref()
        .and_then(|p| p.capabilities.as_ref())
        .map_or_else(Vec::new, |c| c.bounding.clone());
    let seccomp = seccomp::filter(
        &options.security,
        options.privileged,
        &caps,
        seccomp::needs_socketcall(&generated.spec),
    )?;
    let cgroup = check_limits(kit, generated.systemd)?;
    let mut netns = match (early, making) {
        (Some(own), _) => Some(own),
        (None, making) => {
            let own = making.map(Making::finish).transpose()?;
            nested = begun.map(nested::Begun::finish).transpose()?;
            match &nested {
                Some(nested) => of_nested(nested, &settings)?.or(own),
                None => own,
            }
        }
    };
    if !plan.needs_namespace() {
        netns = None;
    }
    if let Some(netns) = &mut netns {
        // On networks the membership has its own copy; nobody else sets anything any more.
        netns.links = None;
    }
    Ok(Prepared {
        driver: rootfs.driver,
        generated,
        owner,
        rootfs,
        joins,
        nested,
        netns,
        networks,
        plan,
        sources,
        seccomp,
        cgroup,
        notices,
    })
}

/// The network of a nested user namespace, prepared.
fn of_nested(nested: &Nested, settings: &namespace::Settings) -> Result<Option<Namespace>> {
    let Some(net) = &nested.net else {
        return Ok(None);
    };
    let net = net
        .try_clone()
        .what(|| "cannot duplicate the network namespace")?;
    namespace::prepare(net, settings.clone()).map(Some)
}

fn is_own(mode: &NamespaceMode) -> bool {
    !matches!(
        mode,
        NamespaceMode::Host | NamespaceMode::Container(_) | NamespaceMode::Path(_)
    )
}

/// The highest group inside, for the groups that may ping.
fn last_id(maps: &IdMaps) -> u32 {
    maps.gids
        .iter()
        .map(|m| m.container_id.saturating_add(m.size - 1))
        .max()
        .unwrap_or(0)
}

fn mount_rootfs(kit: &Kit<'_>) -> Result<Rootfs> {
    let options = &kit.container.record.options;
    let what = || {
        format!(
            "cannot mount the root file system of container {:?}",
            kit.container.name()
        )
    };
    if options.infra {
        // Empty but for the places of the mounts; nothing of an image runs in it.
        let root = kit.container.dir().join("root");
        std::fs::create_dir_all(&root).what(what)?;
        return kit.store.mount_directory(&root).what(what);
    }
    match (&options.rootfs, &kit.image) {
        (Some(rootfs), _) if rootfs.overlay => {
            let lower = kit.store.mount_directory(&rootfs.path).what(what)?;
            let scratch = kit.container.dir().join("rootfs-overlay");
            kit.store
                .mount_over(lower.tree.as_fd(), Scratch::Folder(&scratch))
                .what(what)
        }
        (Some(rootfs), _) => kit.store.mount_directory(&rootfs.path).what(what),
        (None, Some(image)) => kit
            .store
            .mount(&RootfsRequest {
                layers: &image.chain(),
                container_dir: kit.container.dir(),
                view: &kit.view,
                mode: if options.remove {
                    Mode::Ephemeral
                } else {
                    Mode::Persistent
                },
                points: has_all_files(options),
            })
            .what(what),
        (None, None) => Err(Error::internal(what()).because("it has neither image nor rootfs")),
    }
}

/// Whether hosts, resolvers, host name and `.containerenv` are all bound over.
fn has_all_files(options: &ContainerOptions) -> bool {
    let network = &options.network;
    let borrowed = matches!(
        network.mode,
        NetworkMode::Container(_) | NetworkMode::Path(_)
    );
    !(borrowed || network.no_hosts || network.dns_none || options.no_hostname)
        && network.hosts_file.as_deref() != Some("none")
}

/// The user that the process runs as.
fn account(
    kit: &Kit<'_>,
    groups: &[String],
    root: &OwnedFd,
    image: Option<&ImageConfig>,
) -> Result<ResolvedUser> {
    let options = &kit.container.record.options;
    let keep = match (&options.userns, &kit.nested) {
        // Whoever keeps their id wants to be that user.
        (UsernsMode::KeepId { .. }, Some(maps)) => Some(format!(
            "{}:{}",
            to_container(&maps.uids, 0).unwrap_or(0),
            to_container(&maps.gids, 0).unwrap_or(0)
        )),
        _ => None,
    };
    let text = options
        .user
        .as_deref()
        .or_else(|| image.map(|i| i.config.user.as_str()))
        .filter(|t| !t.is_empty())
        .or(keep.as_deref())
        .unwrap_or_default();
    resolve_user(root.as_fd(), text, groups)
}

fn hostname(kit: &Kit<'_>, joins: &Joins) -> String {
    let record = &kit.container.record;
    if let Some(name) = &record.options.hostname {
        return name.clone();
    }
    if let Some(other) = &joins.uts_of {
        let options = &other.record.options;
        return options
            .hostname
            .clone()
            .unwrap_or_else(|| other.id().short().to_owned());
    }
    let host = || {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    };
    if record.options.uts == NamespaceMode::Host || record.options.network.mode == NetworkMode::Host
    {
        return host();
    }
    let by_name = containers_conf::load()
        .ok()
        .and_then(|c| c.containers.container_name_as_hostname);
    if by_name == Some(true) {
        return record.name.as_str().replace('_', "");
    }
    record.id.short().to_owned()
}

fn plan_network(
    kit: &Kit<'_>,
    root: &OwnedFd,
    image: Option<&ImageConfig>,
    hostname: &str,
    attached: Option<&Attached>,
) -> Result<(NetworkPlan, HostFacts)> {
    let record = &kit.container.record;
    let options = &record.options.network;
    let conf = containers_conf::load()?;
    let mut host = facts::probe(&kit.session.env, conf, options);
    if let Some(program) = &kit.session.options.network_cmd_path {
        host.slirp4netns = Some(program.clone());
    }
    let image_ports: Vec<String> = image
        .map(|i| i.config.exposed_ports.keys().cloned().collect())
        .unwrap_or_default();
    let image_hosts = match options.hosts_file.as_deref() {
        Some("image") => crate::sys::resolve::read(root, "etc/hosts", HOSTS_LIMIT)
            .what(|| "cannot read /etc/hosts of the image")?
            .map(|b| String::from_utf8_lossy(&b).into_owned()),
        _ => None,
    };
    let hosts_file = match options.hosts_file.as_deref() {
        None | Some("" | "none" | "image") => None,
        Some(path) => Some(
            String::from_utf8_lossy(&crate::base::fs::read(Path::new(path), HOSTS_LIMIT)?)
                .into_owned(),
        ),
    };
    let request = network_plan::Request {
        options,
        image_ports: &image_ports,
        hostname,
        domain: record.options.domainname.as_deref(),
        name: record.name.as_str(),
        image_hosts: image_hosts.as_deref(),
        hosts_file: hosts_file.as_deref(),
        attached,
    };
    let mut plan = network_plan::plan(&request, &host, conf)?;
    ports::settle(&mut plan, &host)?;
    Ok((plan, host))
}

fn facts_of(
    kit: &Kit<'_>,
    root: &OwnedFd,
    joins: &Joins,
    plan: &NetworkPlan,
    mut user: ResolvedUser,
    hostname: String,
) -> Result<Facts> {
    let record = &kit.container.record;
    let options = &record.options;
    let dir = kit.container.runtime_dir();
    let owner = root_owner(kit.nested.as_ref());
    let put = |name: &str, text: &str| files::write(dir, name, text.as_bytes(), owner);
    // A shared network has shared names: the other container's very files.
    let shared = |name: &str| {
        joins
            .network_of
            .as_ref()
            .map(|c| c.runtime_dir().join(name))
            .filter(|p| p.exists())
    };
    let hosts = match &plan.hosts {
        Some(text) => Some(put("hosts", text)?),
        None => shared("hosts"),
    };
    let resolv_conf = match &plan.resolv_conf {
        Some(text) => Some(put("resolv.conf", text)?),
        None => shared("resolv.conf"),
    };
    let cwd = options
        .workdir
        .as_deref()
        .or_else(|| {
            kit.image
                .as_ref()
                .map(|i| i.config.config.working_dir.as_str())
        })
        .filter(|d| !d.is_empty())
        .unwrap_or("/");
    let me = files::me(options, kit.session.user);
    let host_users = options.host_users.iter().chain(me.iter().map(|m| &m.user));
    if let Some(host) = host_users
        .into_iter()
        .find(|h| !user.known && h.uid == user.uid)
    {
        user.home = files::home_inside(options, &host.home, cwd);
    }
    let passwd = files::passwd(root.as_fd(), options, &user, me.as_ref(), cwd)?
        .map(|text| put("passwd", &text))
        .transpose()?;
    let group = files::group(root.as_fd(), options, &user, me.as_ref())?
        .map(|text| put("group", &text))
        .transpose()?;
    let (secret_files, secret_env) = super::secrets::prepare(kit)?;
    let volumes = Volumes::new(&kit.session.dirs);
    let volumes = record
        .volumes
        .iter()
        .map(|v| {
            Ok(VolumeFact {
                name: v.name.clone(),
                destination: v.destination.clone(),
                path: volumes.data_path(&v.name.parse()?),
                options: volumes
                    .get(&v.name)?
                    .map_or_else(Vec::new, |r| Volumes::mount_words(&r)),
            })
        })
        .collect::<Result<_>>()?;
    Ok(Facts {
        id: record.id.to_string(),
        name: record.name.to_string(),
        hosts,
        resolv_conf,
        hostname_file: match options.no_hostname {
            true => None,
            false => Some(put("hostname", &network_files::hostname(&hostname))?),
        },
        hostname,
        user,
        maps: kit.entered.maps.clone(),
        nested: kit.nested.clone(),
        caller_limits: limits::current().to_vec(),
        caller_oom_score_adj: caller_oom_score_adj(),
        containerenv: Some(put(
            "containerenv",
            &files::containerenv(&kit.container, kit.session.user),
        )?),
        passwd,
        group,
        localtime: files::localtime(options.timezone.as_deref())?,
        volumes,
        inherited: Vec::new(),
        secret_files,
        secret_env,
        service_env: kit.service.env.clone(),
        notify: kit.service.folder.clone(),
        host_devices: if options.privileged {
            files::host_devices()
        } else {
            Vec::new()
        },
        cgroup2: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
        host_mqueue: Path::new("/dev/mqueue").is_dir(),
        joined: joins.paths.clone(),
    })
}

fn caller_oom_score_adj() -> i32 {
    std::fs::read_to_string("/proc/self/oom_score_adj")
        .ok()
        .and_then(|t| t.trim().parse().ok())
        .unwrap_or(0)
}

/// What the container's own group will be; limits that cannot be had are refused here, before
/// anything runs.
fn check_limits(kit: &Kit<'_>, systemd: bool) -> Result<(cgroup::Place, cgroup::Settings)> {
    let options = &kit.container.record.options;
    let limits = Resources {
        // "No limit" asks for nothing.
        pids_limit: options.resources.pids_limit.filter(|n| *n > 0),
        ..options.resources.clone()
    };
    let pod = super::super::member::shared_group(kit.session, &kit.container)?;
    let mut support = cgroup::probe();
    let wish = cgroup::Wish {
        mode: options.cgroups.as_deref(),
        manager: options.cgroup_manager,
        parent: options.cgroup_parent.as_deref(),
        limits: limits != Resources::default() || pod.is_some(),
        wanted: systemd,
        is_root: kit.session.user.uid == 0,
    };
    let env = &kit.session.env;
    if let (Some(folder), false) = (&pod, wish.mode == Some("disabled")) {
        let place = cgroup::below(folder, &support, env, wish.is_root)?;
        let settings = cgroup::check(&cgroup::probe_at(folder), &options.resources)?;
        return Ok((place, settings));
    }
    let place = cgroup::choose(&mut support, &wish, env)?;
    if let (true, true, Some(pod)) = (options.infra, wish.limits, &options.pod) {
        // They are for all in the pod; what one container may have by default is no limit of theirs.
        let shared = Resources {
            pids_limit: Some(-1),
            ..limits
        };
        let settings = cgroup::check(&support, &shared)?;
        return Ok((place.of_pod(pod), settings));
    }
    let settings = match options.cgroups.as_deref() {
        Some("disabled") => cgroup::Settings::default(),
        _ => cgroup::check(&support, &options.resources)?,
    };
    Ok((place, settings))
}

/// The container's own group, where this host allows one. Made by the monitor: it alone removes it.
pub(super) fn make_group(
    kit: &Kit<'_>,
    (place, settings): &(cgroup::Place, cgroup::Settings),
    owner: Option<(u32, u32)>,
) -> Result<Option<OwnGroup>> {
    let container = &kit.container;
    let what = || {
        format!(
            "cannot make the control group of container {:?}",
            container.name()
        )
    };
    let who = cgroup::Who {
        id: container.id(),
        name: container.name(),
        stop_timeout: super::stop_timeout(container),
    };
    let group = Group::create(place, &who, settings).what(what)?;
    if let (Some(group), Some(owner)) = (&group, owner) {
        group.delegate(owner.0, Some(owner.1)).what(what)?;
    }
    Ok(group.map(OwnGroup))
}

/// What `exec` and `inspect` take from a container that does not run: the specification it would
/// have, without looking at the host.
pub(in crate::operations::container) fn imagined(
    id: &str,
    name: &str,
    options: &ContainerOptions,
    image: Option<&ImageConfig>,
    volumes: Vec<(String, String, PathBuf)>,
) -> Option<Generated> {
    let facts = Facts {
        id: id.to_owned(),
        name: name.to_owned(),
        hostname: options
            .hostname
            .clone()
            .unwrap_or_else(|| id.get(..12).unwrap_or(id).to_owned()),
        user: ResolvedUser {
            home: "/root".to_owned(),
            ..ResolvedUser::default()
        },
        volumes: volumes
            .into_iter()
            .map(|(name, destination, path)| VolumeFact {
                name,
                destination,
                path,
                options: Vec::new(),
            })
            .collect(),
        cgroup2: true,
        ..Facts::default()
    };
    generate::generate(options, image, &facts).ok()
}
