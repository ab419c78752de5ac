//! What the user mounts: `-v`, `--mount`, `--tmpfs`, `--volumes-from`.

use std::path::Path;

use super::super::{Facts, Origin};
use super::{Table, bind, check_destination, clean, fresh, idmap_of, is_idmap, words};
use crate::base::{Error, Result};
use crate::state::options::{MountOption, MountSource};

/// The word of a bind whose source is a link that is to be a link inside, too.
pub const NO_DEREFERENCE: &str = "no-dereference";

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
pub(super) fn user_mount(table: &mut Table, mount: &MountOption, facts: &Facts) -> Result<String> {
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
            .filter(|o| *o != "bind" && *o != "rbind" && *o != NO_DEREFERENCE && !is_idmap(o));
        opts.extend(given.cloned());
        if !opts.iter().any(|o| PROPAGATION.contains(&o.as_str())) {
            opts.push("rprivate".to_owned());
        }
    };
    let (mut made, origin) = match &mount.source {
        MountSource::Bind {
            path,
            create,
            recursive,
        } => {
            bound(*recursive, false);
            let origin = Origin::Host {
                create: *create,
                chown: mount.chown,
                follow: !mount.options.iter().any(|o| o == NO_DEREFERENCE),
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
            if *copy_up {
                opts.push("tmpcopyup".to_owned());
            }
            let origin = if *copy_up || mount.chown {
                Origin::Tmpfs {
                    copy_up: *copy_up,
                    chown: mount.chown,
                }
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
    // The start has complained by now; a container that does not run has no map to be shown.
    if let Ok(Some(maps)) = idmap_of(&mount.options, facts.nested.as_ref()) {
        made.uid_mappings = maps.uids;
        made.gid_mappings = maps.gids;
    }
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
