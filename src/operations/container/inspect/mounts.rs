//! `Mounts`: what the person asked to be mounted.

use std::path::Path;

use serde_json::{Value, json};

use crate::operations::container::summary::Summary;
use crate::state::options::MountSource;

/// One object for each volume, bind and image mount; tmpfs are in `HostConfig.Tmpfs`, as podman has it.
pub fn mounts(s: &Summary, volumes: &Path) -> Vec<Value> {
    let record = &s.container.record;
    let option_of = |destination: &str| {
        record
            .options
            .mounts
            .iter()
            .find(|m| m.destination == destination)
    };
    let mut all: Vec<Value> = record
        .volumes
        .iter()
        .map(|v| {
            let option = option_of(&v.destination);
            json!({
                "Type": "volume",
                "Name": v.name,
                "Source": volumes.join(&v.name).join("_data"),
                "Destination": v.destination,
                "Driver": "local",
                "Mode": "",
                "Options": ["nosuid", "nodev", "rbind"],
                "RW": option.is_none_or(|o| !o.read_only),
                "Propagation": "rprivate",
            })
        })
        .collect();
    for m in &record.options.mounts {
        let (kind, source, recursive) = match &m.source {
            MountSource::Bind {
                path, recursive, ..
            } => ("bind", path.display().to_string(), *recursive),
            MountSource::Overlay { path, .. } => ("bind", path.display().to_string(), true),
            MountSource::Image { image, .. } => ("image", image.clone(), true),
            _ => continue,
        };
        let propagation = m
            .options
            .iter()
            .find(|o| {
                ["shared", "slave", "private", "unbindable"]
                    .iter()
                    .any(|p| o.trim_start_matches('r') == *p)
            })
            .map_or("rprivate", String::as_str);
        let mut options: Vec<&str> = m
            .options
            .iter()
            .map(String::as_str)
            .filter(|o| *o != propagation)
            .collect();
        if !options.iter().any(|o| o.ends_with("bind")) {
            options.push(if recursive { "rbind" } else { "bind" });
        }
        all.push(json!({
            "Type": kind,
            "Source": source,
            "Destination": m.destination,
            "Driver": "",
            "Mode": "",
            "Options": options,
            "RW": !m.read_only,
            "Propagation": propagation,
        }));
    }
    all
}
