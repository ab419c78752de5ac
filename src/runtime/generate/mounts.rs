//! The list of mounts, in the order of mounting.
//!
//! Who wins for one destination, later first: `-v`/`--mount`/`--tmpfs`, `--volumes-from`, image
//! volumes, files and file systems of ours. Parents come before what is below them.

use std::path::Path;

use super::{Facts, Origin};
use crate::base::{Error, Result};
use crate::spec::idmap;
use crate::spec::image::ImageConfig;
use crate::spec::runtime::Mount;
use crate::state::options::{
    ContainerOptions, ImageVolume, MountOption, MountSource, NamespaceMode, NetworkMode,
    SecretTarget,
};

/// Size of `/dev/shm` when none is given.
const SHM_SIZE: u64 = 65536 << 10;

/// Nodes that every container has; `--privileged` does not bind the host's over them.
const STANDARD_NODES: [&str; 8] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/console",
    "/dev/ptmx",
];

/// Files of proc that may be covered, e.g. by lxcfs; anything else below `/proc` is refused
/// (kernel.md 7, rule 5).
const PROC_ALLOWED: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
];

/// Mounts with what they stand for.
#[derive(Debug, Default)]
struct Table(Vec<(Mount, Origin)>);

impl Table {
    /// Puts a mount in, in place of one with the same destination.
    fn put(&mut self, mount: Mount, origin: Origin) {
        match self
            .0
            .iter_mut()
            .find(|(m, _)| m.destination == mount.destination)
        {
            Some(slot) => *slot = (mount, origin),
            None => self.0.push((mount, origin)),
        }
    }
}

/// Brings a path inside the container to its one form: absolute, no `.`, `..` or doubled slash.
///
/// # Errors
/// `Invalid` for relative paths and for NUL.
pub fn clean(path: &str) -> Result<String> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(Error::invalid(format!(
            "{path:?} is not an absolute path inside the container"
        )));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| (*w).to_owned()).collect()
}

fn fresh(destination: &str, kind: &str, options: Vec<String>) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind: Some(kind.to_owned()),
        source: Some(kind.to_owned()),
        options,
        ..Mount::default()
    }
}

fn bind(destination: &str, source: &Path, options: Vec<String>) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind: Some("bind".to_owned()),
        source: Some(source.to_string_lossy().into_owned()),
        options,
        ..Mount::default()
    }
}

/// All mounts with what they stand for, in order.
///
/// # Errors
/// `Invalid` for destinations that are relative, `/`, `/proc` or below it.
pub(super) fn mounts(
    options: &ContainerOptions,
    image: Option<&ImageConfig>,
    facts: &Facts,
    systemd: bool,
) -> Result<(Vec<Mount>, Vec<Origin>)> {
    let mut table = Table::default();
    kernel_file_systems(&mut table, options, facts, systemd);
    own_files(&mut table, options, facts);
    secrets(&mut table, options, facts)?;
    devices(&mut table, options, facts)?;
    if systemd {
        for path in ["/run", "/run/lock", "/tmp", "/var/log/journal"] {
            scratch(&mut table, path);
        }
    }
    if options.read_only && options.read_only_tmpfs.unwrap_or(true) {
        for path in ["/run", "/tmp", "/var/tmp"] {
            scratch(&mut table, path);
        }
    }
    image_volumes(&mut table, options, image, facts)?;
    let mut given: Vec<String> = Vec::new();
    for mount in facts.inherited.iter().chain(&options.mounts) {
        given.push(user_mount(&mut table, mount, facts)?);
    }
    // Whoever mounts a whole /dev or /sys brings what is below it.
    for whole in ["/dev", "/sys"] {
        if given.iter().any(|d| d == whole) {
            let below = format!("{whole}/");
            table.0.retain(|(m, _)| {
                !m.destination.starts_with(&below) || given.contains(&m.destination)
            });
        }
    }
    table.0.sort_by_key(|(m, _)| depth(&m.destination));
    Ok(table.0.into_iter().unzip())
}

/// Number of components, 0 for `/`.
fn depth(path: &str) -> usize {
    path.split('/').filter(|p| !p.is_empty()).count()
}

fn kernel_file_systems(
    table: &mut Table,
    options: &ContainerOptions,
    facts: &Facts,
    systemd: bool,
) {
    let mut plain = |mount| table.put(mount, Origin::Plain);
    // proc belongs to a pid namespace of our user namespace; the host's can only be bound.
    plain(if options.pid == NamespaceMode::Host {
        bind(
            "/proc",
            Path::new("/proc"),
            words(&["rbind", "rprivate", "nosuid", "noexec", "nodev"]),
        )
    } else {
        let mut opts = words(&["nosuid", "noexec", "nodev"]);
        opts.extend(options.security.proc_opts.iter().cloned());
        fresh("/proc", "proc", opts)
    });

    let sealed = options.read_only && options.read_only_tmpfs == Some(false);
    let mut dev = words(&["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]);
    if sealed {
        dev.push("ro".to_owned());
    }
    plain(fresh("/dev", "tmpfs", dev));

    let mut pts = words(&[
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
    ]);
    // The tty group, where the map has it; a mount option that names an unmapped id fails.
    let gids = facts.nested.as_ref().map_or(&facts.maps.gids, |n| &n.gids);
    if idmap::to_host(gids, 5).is_some() {
        pts.push("gid=5".to_owned());
    }
    plain(fresh("/dev/pts", "devpts", pts));

    match &options.ipc {
        NamespaceMode::Host | NamespaceMode::Path(_) => {
            let opts = words(&["bind", "rprivate", "nosuid", "noexec", "nodev"]);
            plain(bind("/dev/shm", Path::new("/dev/shm"), opts.clone()));
            if facts.host_mqueue {
                plain(bind("/dev/mqueue", Path::new("/dev/mqueue"), opts));
            }
        }
        NamespaceMode::None => {
            plain(fresh(
                "/dev/mqueue",
                "mqueue",
                words(&["nosuid", "noexec", "nodev"]),
            ));
        }
        NamespaceMode::Container(_) => {
            plain(fresh(
                "/dev/mqueue",
                "mqueue",
                words(&["nosuid", "noexec", "nodev"]),
            ));
            table.put(
                bind(
                    "/dev/shm",
                    Path::new(""),
                    words(&["bind", "rprivate", "nosuid", "noexec", "nodev"]),
                ),
                Origin::SharedShm,
            );
        }
        NamespaceMode::Default | NamespaceMode::Private | NamespaceMode::Shareable => {
            plain(fresh(
                "/dev/mqueue",
                "mqueue",
                words(&["nosuid", "noexec", "nodev"]),
            ));
            let mut shm = words(&["nosuid", "noexec", "nodev", "mode=1777"]);
            shm.push(format!("size={}", options.shm_size.unwrap_or(SHM_SIZE)));
            if sealed {
                shm.push("ro".to_owned());
            }
            plain(Mount {
                source: Some("shm".to_owned()),
                ..fresh("/dev/shm", "tmpfs", shm)
            });
        }
    }
    let mut plain = |mount| table.put(mount, Origin::Plain);

    // sysfs shows a network namespace and can be mounted by its owner only.
    let access = if options.privileged { "rw" } else { "ro" };
    let foreign_network = matches!(
        options.network.mode,
        NetworkMode::Host | NetworkMode::Path(_)
    );
    plain(if foreign_network {
        let mut opts = words(&["rbind", "rprivate", "nosuid", "noexec", "nodev"]);
        opts.push(if options.privileged { "rw" } else { "rro" }.to_owned());
        bind("/sys", Path::new("/sys"), opts)
    } else {
        let mut opts = words(&["nosuid", "noexec", "nodev"]);
        opts.push(access.to_owned());
        fresh("/sys", "sysfs", opts)
    });
    if facts.cgroup2 {
        let writable = options.privileged || systemd;
        let mut opts = words(&["rprivate", "nosuid", "noexec", "nodev", "relatime"]);
        opts.push(if writable { "rw" } else { "ro" }.to_owned());
        let foreign = matches!(
            options.cgroupns,
            NamespaceMode::Host | NamespaceMode::Container(_) | NamespaceMode::Path(_)
        );
        if foreign {
            opts.insert(0, "rbind".to_owned());
            plain(bind("/sys/fs/cgroup", Path::new("/sys/fs/cgroup"), opts));
        } else {
            plain(fresh("/sys/fs/cgroup", "cgroup2", opts));
        }
    }
}

/// Files that we make for the container. Read-only together with the root file system.
fn own_files(table: &mut Table, options: &ContainerOptions, facts: &Facts) {
    let mut opts = words(&["bind", "rprivate"]);
    if options.read_only {
        opts.extend(words(&["ro", "nosuid", "noexec", "nodev"]));
    }
    for (inside, file) in [
        ("/etc/hosts", &facts.hosts),
        ("/etc/resolv.conf", &facts.resolv_conf),
        ("/etc/hostname", &facts.hostname_file),
        ("/etc/passwd", &facts.passwd),
        ("/etc/group", &facts.group),
        ("/run/.containerenv", &facts.containerenv),
    ] {
        if let Some(file) = file {
            table.put(bind(inside, file, opts.clone()), Origin::Plain);
        }
    }
    if let Some(zone) = &facts.localtime {
        let opts = words(&["bind", "rprivate", "ro", "nosuid", "noexec", "nodev"]);
        table.put(bind("/etc/localtime", zone, opts), Origin::Plain);
    }
    if let Some(init) = &options.init_path {
        let opts = words(&["bind", "rprivate", "ro"]);
        table.put(
            bind(super::INIT_INSIDE, Path::new(init), opts),
            Origin::Plain,
        );
    }
}

/// Secrets are files on a file system in memory: nothing of them stays in the container's layer.
fn secrets(table: &mut Table, options: &ContainerOptions, facts: &Facts) -> Result<()> {
    let wants_folder = options
        .secrets
        .iter()
        .any(|s| matches!(&s.target, SecretTarget::File { path, .. } if !path.starts_with('/')));
    if wants_folder {
        let opts = words(&[
            "nosuid", "noexec", "nodev", "rprivate", "mode=755", "size=64k",
        ]);
        table.put(fresh("/run/secrets", "tmpfs", opts), Origin::Plain);
    }
    for secret in &facts.secret_files {
        let opts = words(&["bind", "rprivate", "ro", "nosuid", "noexec", "nodev"]);
        table.put(
            bind(&clean(&secret.path)?, &secret.source, opts),
            Origin::Plain,
        );
    }
    Ok(())
}

/// A user cannot make device nodes, so the host's are bound.
fn devices(table: &mut Table, options: &ContainerOptions, facts: &Facts) -> Result<()> {
    let opts = words(&["bind", "rprivate", "nosuid", "noexec"]);
    if options.privileged {
        for node in &facts.host_devices {
            let inside = node.to_string_lossy();
            if !STANDARD_NODES.contains(&&*inside) {
                table.put(bind(&inside, node, opts.clone()), Origin::Device);
            }
        }
    }
    for device in &options.devices {
        let inside = clean(&device.inside)?;
        if STANDARD_NODES.contains(&inside.as_str()) && device.host == Path::new(&inside) {
            continue;
        }
        table.put(
            bind(
                &inside,
                &device.host,
                words(&["rbind", "rprivate", "nosuid", "noexec"]),
            ),
            Origin::Device,
        );
    }
    Ok(())
}

/// A tmpfs that starts as a copy of what the image has there.
fn scratch(table: &mut Table, path: &str) {
    let opts = words(&["rw", "rprivate", "nosuid", "nodev", "tmpcopyup"]);
    table.put(fresh(path, "tmpfs", opts), Origin::TmpfsCopyUp);
}

fn image_volumes(
    table: &mut Table,
    options: &ContainerOptions,
    image: Option<&ImageConfig>,
    facts: &Facts,
) -> Result<()> {
    let mut paths = Vec::new();
    for path in image.iter().flat_map(|i| i.config.volumes.keys()) {
        // Docker accepts a relative VOLUME and takes it from the root.
        let path = clean(&format!("/{path}"))?;
        check_destination(&path)?;
        paths.push(path);
    }
    for path in paths {
        match options.image_volume {
            ImageVolume::Ignore => {}
            ImageVolume::Tmpfs => {
                let opts = words(&["rw", "rprivate", "nosuid", "nodev", "tmpcopyup"]);
                table.put(fresh(&path, "tmpfs", opts), Origin::TmpfsCopyUp);
            }
            ImageVolume::Anonymous => {
                if let Some(volume) = facts.volumes.iter().find(|v| v.destination == path) {
                    let opts = words(&["rbind", "rprivate", "nosuid", "nodev", "rw"]);
                    table.put(
                        bind(&path, &volume.path, opts),
                        Origin::Volume {
                            name: volume.name.clone(),
                            nocopy: false,
                            subpath: None,
                            chown: false,
                        },
                    );
                }
            }
        }
    }
    Ok(())
}

/// Whether people may mount there.
///
/// # Errors
/// `Invalid` for `/`, `/proc` and what is below it.
pub fn check_destination(path: &str) -> Result<()> {
    if path == "/" {
        return Err(Error::invalid("cannot mount onto / of the container")
            .hint("--rootfs DIR runs a folder as the root file system"));
    }
    let below_proc = path == "/proc" || path.starts_with("/proc/");
    if below_proc && !PROC_ALLOWED.contains(&path) {
        return Err(Error::invalid(format!(
            "cannot mount onto {path}: /proc belongs to the runtime"
        ))
        .hint("choose another place, e.g. /host/proc"));
    }
    Ok(())
}

/// Words that choose the propagation.
const PROPAGATION: [&str; 8] = [
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "unbindable",
    "runbindable",
];

/// Adds one mount of the user and says where.
fn user_mount(table: &mut Table, mount: &MountOption, facts: &Facts) -> Result<String> {
    let destination = clean(&mount.destination)?;
    check_destination(&destination)?;
    let mut opts: Vec<String> = Vec::new();
    let mut bound = |recursive: bool, guarded: bool| {
        opts.push(if recursive { "rbind" } else { "bind" }.to_owned());
        if guarded {
            for (word, opposite) in [("nosuid", "suid"), ("nodev", "dev")] {
                if !mount.options.iter().any(|o| o == opposite) {
                    opts.push(word.to_owned());
                }
            }
        }
        let access = match (mount.read_only, recursive) {
            (true, true) => "rro",
            (true, false) => "ro",
            (false, _) => "rw",
        };
        opts.push(access.to_owned());
        let given = mount
            .options
            .iter()
            .filter(|o| *o != "bind" && *o != "rbind");
        opts.extend(given.cloned());
        if !opts.iter().any(|o| PROPAGATION.contains(&o.as_str())) {
            opts.push("rprivate".to_owned());
        }
    };
    let (made, origin) = match &mount.source {
        MountSource::Bind {
            path,
            create,
            recursive,
        } => {
            bound(*recursive, false);
            let origin = Origin::Host {
                create: *create,
                chown: mount.chown,
            };
            (bind(&destination, path, opts), origin)
        }
        MountSource::Overlay { path, upper, work } => {
            bound(true, false);
            let origin = Origin::Overlay {
                path: path.clone(),
                upper: upper.clone(),
                work: work.clone(),
                chown: mount.chown,
            };
            (bind(&destination, path, opts), origin)
        }
        MountSource::Volume {
            name,
            nocopy,
            subpath,
            ..
        } => {
            let volume = facts
                .volumes
                .iter()
                .find(|v| match name {
                    Some(name) => v.name == *name && v.destination == destination,
                    None => v.destination == destination,
                })
                .or_else(|| {
                    facts
                        .volumes
                        .iter()
                        .find(|v| Some(&v.name) == name.as_ref())
                })
                .ok_or_else(|| Error::internal(format!("no volume was bound for {destination}")))?;
            bound(true, true);
            opts.extend(volume.options.iter().cloned());
            let origin = Origin::Volume {
                name: volume.name.clone(),
                nocopy: *nocopy,
                subpath: subpath.clone(),
                chown: mount.chown,
            };
            (bind(&destination, &volume.path, opts), origin)
        }
        MountSource::Image {
            image,
            writable,
            subpath,
        } => {
            bound(true, true);
            let origin = Origin::Image {
                image: image.clone(),
                writable: *writable,
                subpath: subpath.clone(),
            };
            (bind(&destination, Path::new(""), opts), origin)
        }
        MountSource::Tmpfs {
            size,
            mode,
            copy_up,
        } => {
            in_memory(&mut opts, mount);
            opts.extend(size.map(|s| format!("size={s}")));
            opts.extend(mode.map(|m| format!("mode={m:o}")));
            let origin = if *copy_up {
                opts.push("tmpcopyup".to_owned());
                Origin::TmpfsCopyUp
            } else {
                Origin::Plain
            };
            (fresh(&destination, "tmpfs", opts), origin)
        }
        MountSource::Ramfs => {
            in_memory(&mut opts, mount);
            (fresh(&destination, "ramfs", opts), Origin::Plain)
        }
        MountSource::Devpts => {
            opts.extend(words(&["nosuid", "noexec", "newinstance"]));
            opts.extend(mount.options.iter().cloned());
            if !opts.iter().any(|o| o.starts_with("ptmxmode=")) {
                opts.push("ptmxmode=0666".to_owned());
            }
            (fresh(&destination, "devpts", opts), Origin::Plain)
        }
    };
    table.put(made, origin);
    Ok(destination)
}

/// Options of a file system in memory: nosuid and nodev unless asked for otherwise.
fn in_memory(opts: &mut Vec<String>, mount: &MountOption) {
    opts.push(if mount.read_only { "ro" } else { "rw" }.to_owned());
    for (word, opposite) in [("nosuid", "suid"), ("nodev", "dev")] {
        if !mount.options.iter().any(|o| o == opposite || o == word) {
            opts.push(word.to_owned());
        }
    }
    opts.extend(mount.options.iter().cloned());
    if !opts.iter().any(|o| PROPAGATION.contains(&o.as_str())) {
        opts.push("rprivate".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::generate::{SecretFact, VolumeFact};
    use crate::spec::image::{Empty, RunConfig};
    use crate::spec::runtime::IdMapping;

    fn facts() -> Facts {
        let line = |size| IdMapping {
            container_id: 0,
            host_id: 100_000,
            size,
        };
        Facts {
            maps: idmap::IdMaps {
                uids: vec![line(65536)],
                gids: vec![line(65536)],
            },
            hosts: Some("/c/hosts".into()),
            cgroup2: true,
            ..Facts::default()
        }
    }

    fn lines(
        options: &ContainerOptions,
        image: Option<&ImageConfig>,
        facts: &Facts,
    ) -> Vec<String> {
        let (mounts, origins) = mounts(options, image, facts, false).unwrap();
        assert_eq!(mounts.len(), origins.len());
        mounts
            .iter()
            .map(|m| {
                format!(
                    "{} {} {} {}",
                    m.destination,
                    m.kind.as_deref().unwrap_or("-"),
                    m.source.as_deref().unwrap_or("-"),
                    m.options.join(",")
                )
            })
            .collect()
    }

    fn mount(destination: &str, source: MountSource) -> MountOption {
        MountOption {
            destination: destination.to_owned(),
            source,
            read_only: false,
            chown: false,
            relabel: None,
            options: Vec::new(),
        }
    }

    fn host(path: &str) -> MountSource {
        MountSource::Bind {
            path: path.into(),
            create: false,
            recursive: true,
        }
    }

    #[test]
    fn a_plain_container_has_these_mounts_in_this_order() {
        assert_eq!(
            lines(&ContainerOptions::default(), None, &facts()),
            [
                "/proc proc proc nosuid,noexec,nodev",
                "/dev tmpfs tmpfs nosuid,noexec,strictatime,mode=755,size=65536k",
                "/sys sysfs sysfs nosuid,noexec,nodev,ro",
                "/dev/pts devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
                "/dev/mqueue mqueue mqueue nosuid,noexec,nodev",
                "/dev/shm tmpfs shm nosuid,noexec,nodev,mode=1777,size=67108864",
                "/etc/hosts bind /c/hosts bind,rprivate",
                "/sys/fs/cgroup cgroup2 cgroup2 rprivate,nosuid,noexec,nodev,relatime,ro",
            ]
        );
    }

    #[test]
    fn host_namespaces_are_shown_by_binding_the_host() {
        let mut options = ContainerOptions {
            pid: NamespaceMode::Host,
            ipc: NamespaceMode::Host,
            cgroupns: NamespaceMode::Host,
            ..ContainerOptions::default()
        };
        options.network.mode = NetworkMode::Host;
        let mut facts = facts();
        facts.maps = idmap::IdMaps::default();
        assert_eq!(
            lines(&options, None, &facts),
            [
                "/proc bind /proc rbind,rprivate,nosuid,noexec,nodev",
                "/dev tmpfs tmpfs nosuid,noexec,strictatime,mode=755,size=65536k",
                "/sys bind /sys rbind,rprivate,nosuid,noexec,nodev,rro",
                "/dev/pts devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620",
                "/dev/shm bind /dev/shm bind,rprivate,nosuid,noexec,nodev",
                "/etc/hosts bind /c/hosts bind,rprivate",
                "/sys/fs/cgroup bind /sys/fs/cgroup rbind,rprivate,nosuid,noexec,nodev,relatime,ro",
            ]
        );
    }

    #[test]
    fn what_the_user_mounts_wins_and_parents_come_first() {
        let mut options = ContainerOptions {
            mounts: vec![
                mount("/a/b/c", host("/1")),
                mount("/etc/hosts", host("/2")),
                MountOption {
                    read_only: true,
                    options: vec!["rslave".into()],
                    ..mount("/a/../a/", host("/3"))
                },
                mount(
                    "/t",
                    MountSource::Tmpfs {
                        size: Some(4096),
                        mode: Some(0o700),
                        copy_up: true,
                    },
                ),
                mount(
                    "/v",
                    MountSource::Volume {
                        name: Some("data".into()),
                        nocopy: true,
                        subpath: None,
                        labels: Default::default(),
                    },
                ),
            ],
            ..ContainerOptions::default()
        };
        let mut facts = facts();
        facts.volumes.push(VolumeFact {
            name: "data".into(),
            destination: "/v".into(),
            path: "/volumes/data/_data".into(),
            options: Vec::new(),
        });
        facts.inherited.push(mount("/a", host("/lost")));
        let all = lines(&options, None, &facts);
        let at = |start: &str| all.iter().position(|l| l.starts_with(start)).unwrap();
        for line in [
            "/a bind /3 rbind,rro,rslave",
            "/a/b/c bind /1 rbind,rw,rprivate",
            "/etc/hosts bind /2 rbind,rw,rprivate",
            "/t tmpfs tmpfs rw,nosuid,nodev,rprivate,size=4096,mode=700,tmpcopyup",
            "/v bind /volumes/data/_data rbind,nosuid,nodev,rw,rprivate",
        ] {
            assert!(all.contains(&line.to_owned()), "{line} in {all:#?}");
        }
        assert!(at("/a bind") < at("/a/b/c"));
        assert!(
            !all.iter()
                .any(|l| l.contains("/lost") || l.contains("/c/hosts"))
        );
        options.mounts = vec![mount("/dev", host("/dev")), mount("/dev/shm", host("/x"))];
        let all = lines(&options, None, &facts);
        assert_eq!(all.iter().filter(|l| l.starts_with("/dev")).count(), 2);
    }

    #[test]
    fn root_and_proc_are_not_for_mounting() {
        for bad in ["/", "/proc", "/proc/1", "//proc/./sys", "relative", "/x/.."] {
            let options = ContainerOptions {
                mounts: vec![mount(bad, host("/1"))],
                ..ContainerOptions::default()
            };
            assert!(mounts(&options, None, &facts(), false).is_err(), "{bad}");
        }
        let options = ContainerOptions {
            mounts: vec![mount("/proc/meminfo", host("/1"))],
            ..ContainerOptions::default()
        };
        assert!(mounts(&options, None, &facts(), false).is_ok());
    }

    #[test]
    fn image_volumes_secrets_and_scratch_space_appear() {
        let image = ImageConfig {
            config: RunConfig {
                volumes: [("/data".to_owned(), Empty {}), ("rel".to_owned(), Empty {})].into(),
                ..RunConfig::default()
            },
            ..ImageConfig::default()
        };
        let mut options = ContainerOptions {
            read_only: true,
            image_volume: ImageVolume::Tmpfs,
            secrets: vec![crate::state::options::SecretOption {
                name: "s".into(),
                target: SecretTarget::File {
                    path: "s".into(),
                    uid: 0,
                    gid: 0,
                    mode: 0o444,
                },
            }],
            ..ContainerOptions::default()
        };
        let mut facts = facts();
        facts.secret_files.push(SecretFact {
            path: "/run/secrets/s".into(),
            source: "/r/s".into(),
        });
        let all = lines(&options, Some(&image), &facts);
        for line in [
            "/data tmpfs tmpfs rw,rprivate,nosuid,nodev,tmpcopyup",
            "/rel tmpfs tmpfs rw,rprivate,nosuid,nodev,tmpcopyup",
            "/var/tmp tmpfs tmpfs rw,rprivate,nosuid,nodev,tmpcopyup",
            "/run/secrets tmpfs tmpfs nosuid,noexec,nodev,rprivate,mode=755,size=64k",
            "/run/secrets/s bind /r/s bind,rprivate,ro,nosuid,noexec,nodev",
            "/etc/hosts bind /c/hosts bind,rprivate,ro,nosuid,noexec,nodev",
        ] {
            assert!(all.contains(&line.to_owned()), "{line} in {all:#?}");
        }
        options.image_volume = ImageVolume::Ignore;
        options.read_only_tmpfs = Some(false);
        let all = lines(&options, Some(&image), &facts);
        assert!(
            !all.iter()
                .any(|l| l.starts_with("/data") || l.starts_with("/tmp"))
        );
        assert!(
            all.iter()
                .any(|l| l.starts_with("/dev tmpfs") && l.ends_with(",ro"))
        );
    }
}
