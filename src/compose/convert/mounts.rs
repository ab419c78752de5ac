//! Volumes, secrets and configs of a service as words of `create`.

use serde_json::Value;

use super::{Wish, Words, list, texts};
use crate::base::{Error, Result};
use crate::compose::project::{Keys, Project};
use crate::compose::schema::text;

/// A field of `--mount`, in quotes where it must be.
fn field(key: &str, value: &str) -> String {
    match value.contains([',', '"']) {
        true => format!("\"{key}={}\"", value.replace('"', "\"\"")),
        false => format!("{key}={value}"),
    }
}

pub(super) fn mounts(
    w: &mut Words,
    project: &Project,
    service: &str,
    keys: &Keys,
    wish: &Wish,
) -> Result<()> {
    let mut taken = wish.volumes.clone();
    for mount in list(keys.get("volumes")) {
        let of = |key: &str| mount.get(key).and_then(text);
        let kind = of("type").unwrap_or_default();
        let target = of("target").unwrap_or_default();
        let source = of("source");
        let deep = |part: &str, key: &str| mount.get(part).and_then(|p| p.get(key)).and_then(text);
        let mut fields = vec![field("type", &kind)];
        match (kind.as_str(), &source) {
            ("volume", Some(source)) => {
                fields.push(field("source", &project.real_name("volumes", source)));
            }
            ("volume", None) => {
                if let Some(name) = taken.remove(&target) {
                    fields.push(field("source", &name));
                }
            }
            ("bind" | "image", Some(source)) => fields.push(field("source", source)),
            ("tmpfs", _) => {}
            _ => {
                return Err(Error::invalid(format!(
                    "services.{service}.volumes: {target:?} is of type {kind:?}, which is not supported"
                )));
            }
        }
        fields.push(field("target", &target));
        if of("read_only").as_deref() == Some("true") {
            fields.push("ro=true".to_owned());
        }
        match kind.as_str() {
            "bind" => {
                let create = deep("bind", "create_host_path").unwrap_or_else(|| "true".to_owned());
                fields.push(field("bind-create-src", &create));
                fields.extend(deep("bind", "propagation").map(|p| field("bind-propagation", &p)));
                fields.extend(deep("bind", "selinux").map(|z| field("relabel", &z)));
                match deep("bind", "recursive").as_deref() {
                    None | Some("enabled") => {}
                    Some(other) => fields.push(field("bind-recursive", other)),
                }
            }
            "volume" => {
                fields.extend(deep("volume", "nocopy").map(|v| field("volume-nocopy", &v)));
                fields.extend(deep("volume", "subpath").map(|v| field("volume-subpath", &v)));
                let labels = mount
                    .get("volume")
                    .and_then(|v| v.get("labels"))
                    .and_then(Value::as_object);
                for (key, value) in labels.into_iter().flatten() {
                    let value = text(value).unwrap_or_default();
                    fields.push(field("volume-label", &format!("{key}={value}")));
                }
            }
            "tmpfs" => {
                fields.extend(deep("tmpfs", "size").map(|v| field("tmpfs-size", &v)));
                fields.extend(deep("tmpfs", "mode").map(|v| field("tmpfs-mode", &v)));
            }
            _ => fields.extend(deep("image", "subpath").map(|v| field("image-subpath", &v))),
        }
        w.put("mount", &fields.join(","));
    }
    // Those that the image asks for.
    for (target, name) in taken {
        w.put(
            "mount",
            &[
                field("type", "volume"),
                field("source", &name),
                field("target", &target),
            ]
            .join(","),
        );
    }
    for from in texts(keys.get("volumes_from")) {
        let word = match from.strip_prefix("container:") {
            Some(name) => name.to_owned(),
            None => {
                let (other, mode) = from.split_once(':').unwrap_or((&from, ""));
                let name = wish.others.get(other).ok_or_else(|| {
                    Error::not_found(format!(
                        "services.{service}.volumes_from: service {other:?} has no container"
                    ))
                })?;
                match mode {
                    "" => name.clone(),
                    mode => format!("{name}:{mode}"),
                }
            }
        };
        w.put("volumes-from", &word);
    }
    Ok(())
}

/// A secret of ours that holds what a file of the project does not: its name.
pub fn kept_secret(project: &Project, noun: &str, key: &str) -> String {
    let name = project.real_name(noun, key);
    match noun {
        "configs" => format!("{name}.config"),
        _ => name,
    }
}

/// Where a secret or config is in a container.
pub fn grant_target(noun: &str, source: &str, given: Option<String>) -> String {
    let name = given.unwrap_or_else(|| source.to_owned());
    match noun {
        _ if name.starts_with('/') => name,
        "secrets" => format!("/run/secrets/{name}"),
        _ => format!("/{name}"),
    }
}

pub(super) fn grants(w: &mut Words, project: &Project, service: &str, keys: &Keys) -> Result<()> {
    for noun in ["secrets", "configs"] {
        for grant in list(keys.get(noun)) {
            let of = |key: &str| grant.get(key).and_then(text);
            let source = of("source").unwrap_or_default();
            let target = grant_target(noun, &source, of("target"));
            let what = project.objects(noun).find(|(n, _)| **n == source);
            let Some((_, what)) = what else { continue };
            let owned = ["uid", "gid", "mode"]
                .iter()
                .any(|k| grant.get(k).is_some());
            if let (Some(file), false) = (what.get("file").and_then(text), owned) {
                if !std::path::Path::new(&file).exists() {
                    return Err(Error::not_found(format!(
                        "services.{service}.{noun}: the file {file} of {source:?} is not there"
                    )));
                }
                let fields = [
                    field("type", "bind"),
                    field("source", &file),
                    field("target", &target),
                    "ro=true".to_owned(),
                ];
                w.put("mount", &fields.join(","));
                continue;
            }
            let external = what.get("external") == Some(&Value::Bool(true));
            let name = match external {
                true => project.real_name(noun, &source),
                false => kept_secret(project, noun, &source),
            };
            let mut fields = vec![name, field("target", &target)];
            for key in ["uid", "gid"] {
                fields.extend(of(key).map(|v| field(key, &v)));
            }
            fields.push(field("mode", of("mode").as_deref().unwrap_or("0444")));
            w.put("secret", &fields.join(","));
        }
    }
    Ok(())
}
