//! What `--device vendor/class=name` and `--gpus` stand for, at this start: descriptions change
//! with the drivers of the host.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::base::Result;
use crate::config::cdi;
use crate::runtime::generate::clean;
use crate::state::options::{ContainerOptions, DeviceOption, MountOption, MountSource};

/// The options with everything that the devices bring. The person's own mounts win.
///
/// # Errors
/// As [`cdi::resolve`].
pub(super) fn apply(options: &ContainerOptions) -> Result<Cow<'_, ContainerOptions>> {
    if options.cdi_devices.is_empty() && options.gpus.is_empty() {
        return Ok(Cow::Borrowed(options));
    }
    let dirs = match options.cdi_dirs.is_empty() {
        true => cdi::DEFAULT_DIRS.map(PathBuf::from).to_vec(),
        false => options.cdi_dirs.clone(),
    };
    let edits = cdi::resolve(&dirs, &options.cdi_devices, &options.gpus)?;
    let mut made = options.clone();
    made.env.extend(edits.env);
    let gids = edits.additional_gids.iter().filter(|gid| **gid != 0);
    made.groups.extend(gids.map(ToString::to_string));
    for node in edits.device_nodes {
        let host = match node.host_path.is_empty() {
            true => &node.path,
            false => &node.host_path,
        };
        made.devices.push(DeviceOption {
            host: Path::new(host).to_owned(),
            inside: clean(&node.path)?,
            permissions: "rwm".to_owned(),
        });
    }
    for mount in edits.mounts {
        let destination = clean(&mount.container_path)?;
        if made.mounts.iter().any(|m| m.destination == destination) {
            continue;
        }
        let has = |word: &str| mount.options.iter().any(|o| o == word);
        let (read_only, recursive) = (has("ro"), !has("bind") || has("rbind"));
        let own = |word: &&String| !matches!(word.as_str(), "ro" | "rw" | "bind" | "rbind");
        made.mounts.push(MountOption {
            destination,
            source: MountSource::Bind {
                path: mount.host_path.into(),
                create: false,
                recursive,
            },
            read_only,
            chown: false,
            relabel: None,
            options: mount.options.iter().filter(own).cloned().collect(),
        });
    }
    Ok(Cow::Owned(made))
}
