//! The list of mounts, in the order of mounting.
//!
//! Who wins for one destination, later first: `-v`/`--mount`/`--tmpfs`, `--volumes-from`, image
//! volumes, files and file systems of ours. Parents come before what is below them.

mod given;
mod mapped;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use self::given::NO_DEREFERENCE;
pub use self::mapped::{check_idmap, idmap_of, is_idmap};
use super::{Facts, Origin};
use crate::base::{Error, Result};
use crate::runtime::rootfs::may_cover;
use crate::spec::idmap;
use crate::spec::image::ImageConfig;
use crate::spec::runtime::Mount;
use crate::state::options::{
    ContainerOptions, ImageVolume, NamespaceMode, NetworkMode, SecretTarget,
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
            scratch(&mut table, path, options.shm_size_systemd.unwrap_or(0));
        }
    }
    if options.read_only && options.read_only_tmpfs.unwrap_or(true) {
        for path in ["/run", "/tmp", "/var/tmp"] {
            // One of systemd's stays as it is.
            let sized = systemd && path != "/var/tmp";
            let size = options.shm_size_systemd.filter(|_| sized);
            scratch(&mut table, path, size.unwrap_or(0));
        }
    }
    image_volumes(&mut table, options, image, facts)?;
    let mut given: Vec<String> = Vec::new();
    for mount in facts.inherited.iter().chain(&options.mounts) {
        given.push(given::user_mount(&mut table, mount, facts)?);
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
        ("/run/notify", &facts.notify),
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
/// A file system in memory; of `size` bytes, 0 for as many as the kernel gives.
fn scratch(table: &mut Table, path: &str, size: u64) {
    let mut opts = words(&["rw", "rprivate", "nosuid", "nodev", "tmpcopyup"]);
    if size > 0 {
        opts.push(format!("size={size}"));
    }
    table.put(
        fresh(path, "tmpfs", opts),
        Origin::Tmpfs {
            copy_up: true,
            chown: false,
        },
    );
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
                table.put(
                    fresh(&path, "tmpfs", opts),
                    Origin::Tmpfs {
                        copy_up: true,
                        chown: false,
                    },
                );
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
    if path == "/proc" || !may_cover(path) {
        return Err(Error::invalid(format!(
            "cannot mount onto {path}: /proc belongs to the runtime"
        ))
        .hint("choose another place, e.g. /host/proc"));
    }
    Ok(())
}
