//! Volumes of a pod: what a container mounts, and what must be made for it.

use std::collections::BTreeMap;

use super::downward;
use super::node::Node;
use super::pod::Meta;
use super::{File, Lookup, Step, Volume};
use crate::base::{Error, Result};

/// Where a volume of a pod comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A path of the host.
    Host(String),
    /// A volume of ours, perhaps read-only.
    Volume {
        /// Its name.
        name: String,
        /// Mounted read-only.
        read_only: bool,
    },
    /// A tmpfs of so many bytes.
    Memory(Option<u64>),
    /// An image's files.
    Image(String),
    /// An optional one that is not there.
    Absent,
}

/// Reads `spec.volumes`.
///
/// # Errors
/// `Invalid`, `NotFound` for what a volume needs, `Unsupported` for kinds of clusters.
pub fn volumes(
    spec: &Node<'_>,
    meta: &Meta,
    pod: &str,
    lookup: Lookup<'_>,
    steps: &mut Vec<Step>,
) -> Result<BTreeMap<String, Source>> {
    let mut all = BTreeMap::new();
    let about = downward::About {
        pod,
        labels: &meta.labels,
        annotations: &meta.annotations,
        namespace: meta.namespace.as_deref(),
    };
    for volume in spec.nodes("volumes")? {
        let name = volume.needed("name")?;
        let own = format!("{pod}-{name}");
        let source = if let Some(host) = volume.node("hostPath")? {
            let path = host.needed("path")?;
            let kind = host.text("type")?.unwrap_or_default();
            steps.push(Step::HostPath {
                path: path.clone(),
                kind,
            });
            Source::Host(path)
        } else if let Some(empty) = volume.node("emptyDir")? {
            let limit = empty.text("sizeLimit")?;
            match empty.text("medium")?.as_deref() {
                Some("Memory") => {
                    Source::Memory(limit.map(|l| super::quantity::whole(&l)).transpose()?)
                }
                None | Some("") => {
                    if limit.is_some() {
                        empty.note(".sizeLimit has no effect on a disk");
                    }
                    made(own, Vec::new(), steps, false)
                }
                Some(other) => {
                    return Err(Error::unsupported(format!(
                        "{}.medium {other:?}: use Memory or none",
                        empty.path()
                    )));
                }
            }
        } else if let Some(claim) = volume.node("persistentVolumeClaim")? {
            let name = claim.needed("claimName")?;
            let read_only = claim.flag("readOnly")?.unwrap_or(false);
            Source::Volume { name, read_only }
        } else if let Some(map) = volume.node("configMap")? {
            let name = map.needed("name")?;
            let mode = mode(&map, 0o644)?;
            match files(&map, "ConfigMap", &name, mode, lookup)? {
                Some(files) => made(own, files, steps, true),
                None => Source::Absent,
            }
        } else if let Some(secret) = volume.node("secret")? {
            let name = match secret.text("secretName")? {
                Some(name) => name,
                None => secret.needed("name")?,
            };
            let mode = mode(&secret, 0o644)?;
            match files(&secret, "Secret", &name, mode, lookup)? {
                Some(files) => made(own, files, steps, true),
                None => Source::Absent,
            }
        } else if let Some(projected) = volume.node("projected")? {
            let usual = mode(&projected, 0o644)?;
            let mut all = Vec::new();
            for source in projected.nodes("sources")? {
                for (field, kind) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
                    if let Some(node) = source.node(field)? {
                        let name = node.needed("name")?;
                        all.extend(files(&node, kind, &name, usual, lookup)?.unwrap_or_default());
                    }
                }
                if let Some(node) = source.node("downwardAPI")? {
                    all.extend(downward::files(&node, spec, &about, usual)?);
                }
            }
            made(own, all, steps, true)
        } else if let Some(node) = volume.node("downwardAPI")? {
            let usual = mode(&node, 0o644)?;
            let files = downward::files(&node, spec, &about, usual)?;
            made(own, files, steps, true)
        } else if let Some(image) = volume.node("image")? {
            image.skip(&["pullPolicy"]);
            Source::Image(image.needed("reference")?)
        } else {
            return Err(Error::unsupported(format!(
                "{} ({name}): volumes of that kind are a cluster's",
                volume.path()
            ))
            .hint("there are hostPath, emptyDir, configMap, secret, downwardAPI, projected, persistentVolumeClaim and image"));
        };
        all.insert(name, source);
    }
    Ok(all)
}

fn made(name: String, files: Vec<File>, steps: &mut Vec<Step>, read_only: bool) -> Source {
    steps.push(Step::Volume(Volume {
        name: name.clone(),
        files,
        ..Volume::default()
    }));
    Source::Volume { name, read_only }
}

fn mode(node: &Node<'_>, usual: u32) -> Result<u32> {
    Ok(node
        .number("defaultMode")?
        .and_then(|m| u32::try_from(m).ok())
        .unwrap_or(usual))
}

/// The `path` of an item: below the volume.
///
/// # Errors
/// `Invalid` without it, and for one that leads out.
pub fn inside(item: &Node<'_>) -> Result<String> {
    let path = item.needed("path")?;
    if path.starts_with('/') || path.split('/').any(|p| p == "..") {
        return Err(Error::invalid(format!(
            "{}.path {path:?} leads out of the volume",
            item.path()
        )));
    }
    Ok(path)
}

/// The files of a ConfigMap or Secret; none when it is optional and absent.
fn files(
    node: &Node<'_>,
    kind: &str,
    name: &str,
    usual: u32,
    lookup: Lookup<'_>,
) -> Result<Option<Vec<File>>> {
    let optional = node.flag("optional")?.unwrap_or(false);
    let items = node.nodes("items")?;
    let Some(data) = lookup(kind, name) else {
        if optional {
            return Ok(None);
        }
        return Err(Error::not_found(format!(
            "{}: no {kind} {name:?}",
            node.path()
        )));
    };
    if let Some(key) = data.keys().find(|k| k.contains('/') || *k == "..") {
        return Err(Error::invalid(format!(
            "{kind} {name:?}: {key:?} is no key"
        )));
    }
    if items.is_empty() {
        let all = data.into_iter().map(|(path, bytes)| File {
            path,
            bytes,
            mode: usual,
        });
        return Ok(Some(all.collect()));
    }
    let mut chosen = Vec::new();
    for item in items {
        let key = item.needed("key")?;
        let path = inside(&item)?;
        let mode = item.number("mode")?.and_then(|m| u32::try_from(m).ok());
        match data.get(&key) {
            Some(bytes) => chosen.push(File {
                path,
                bytes: bytes.clone(),
                mode: mode.unwrap_or(usual),
            }),
            None if optional => {}
            None => {
                return Err(Error::not_found(format!(
                    "{}: {kind} {name:?} has no key {key:?}",
                    item.path()
                )));
            }
        }
    }
    Ok(Some(chosen))
}

/// The words of `create` for a container's `volumeMounts`.
///
/// # Errors
/// `Invalid` for a volume that the pod does not have.
pub fn mounts(container: &Node<'_>, volumes: &BTreeMap<String, Source>) -> Result<Vec<String>> {
    let mut words = Vec::new();
    for mount in container.nodes("volumeMounts")? {
        let name = mount.needed("name")?;
        let target = mount.needed("mountPath")?;
        let mut read_only = mount.flag("readOnly")?.unwrap_or(false);
        let subpath = mount.text("subPath")?.filter(|s| !s.is_empty());
        if subpath
            .as_deref()
            .is_some_and(|s| s.starts_with('/') || s.split('/').any(|p| p == ".."))
        {
            return Err(Error::invalid(format!(
                "{}.subPath leads out of the volume",
                mount.path()
            )));
        }
        let propagation = match mount.text("mountPropagation")?.as_deref() {
            None | Some("None") => None,
            Some("HostToContainer") => Some("rslave"),
            Some("Bidirectional") => Some("rshared"),
            Some(other) => {
                return Err(Error::invalid(format!(
                    "{}.mountPropagation {other:?} is none",
                    mount.path()
                )));
            }
        };
        let source = volumes.get(&name).ok_or_else(|| {
            Error::invalid(format!("{}: the pod has no volume {name:?}", mount.path()))
        })?;
        let mut text = match source {
            Source::Host(path) => {
                let below = subpath.map_or_else(String::new, |s| format!("/{s}"));
                format!("type=bind,source={path}{below},target={target}")
            }
            Source::Volume {
                name,
                read_only: always,
            } => {
                read_only |= *always;
                let below = subpath.map_or_else(String::new, |s| format!(",subpath={s}"));
                format!("type=volume,source={name},target={target}{below}")
            }
            Source::Memory(size) => {
                let size = size.map_or_else(String::new, |s| format!(",tmpfs-size={s}"));
                format!("type=tmpfs,target={target}{size}")
            }
            Source::Image(image) => {
                let below = subpath.map_or_else(String::new, |s| format!(",subpath={s}"));
                read_only = false;
                format!("type=image,source={image},target={target}{below}")
            }
            Source::Absent => continue,
        };
        if read_only {
            text.push_str(",readonly");
        }
        if let (Some(propagation), Source::Host(_)) = (propagation, source) {
            text.push_str(&format!(",bind-propagation={propagation}"));
        }
        words.extend(["--mount".to_owned(), text]);
    }
    Ok(words)
}
