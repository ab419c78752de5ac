//! Volumes of a pod, and what a container mounts.

use serde_json::{Value, json};

use super::super::{bytes, list, word};
use super::{One, data_key, name, object_name};
use crate::base::{Error, Result};
use crate::compose::convert::texts;
use crate::compose::schema::text;

impl One<'_> {
    /// Adds a volume to the pod; one of the same name is the same.
    fn volume(&mut self, called: &str, source: (&str, Value)) {
        let mut volume = json!({"name": called});
        volume[source.0] = source.1;
        self.volumes.insert(called.to_owned(), volume);
    }

    pub(super) fn mounts(&mut self) -> Result<Vec<Value>> {
        let keys = self.keys;
        let mut mounts = Vec::new();
        for (i, mount) in list(keys.get("volumes")).enumerate() {
            let Some(mount) = mount.as_object() else {
                continue;
            };
            let kind = word(mount, &["type"]).unwrap_or_default();
            let source = word(mount, &["source"]);
            let target = word(mount, &["target"]).unwrap_or_default();
            let mut made = json!({"mountPath": target});
            let called = match (kind.as_str(), source) {
                ("volume", Some(source)) => {
                    let claim = object_name(self.project, "volumes", &source);
                    let called = name(&source);
                    self.volume(
                        &called,
                        ("persistentVolumeClaim", json!({"claimName": claim})),
                    );
                    if let Some(below) = word(mount, &["volume", "subpath"]) {
                        made["subPath"] = below.into();
                    }
                    if word(mount, &["volume", "nocopy"]).as_deref() != Some("true") {
                        let path = format!("{}.volumes[{i}]", self.at);
                        self.ledger.changed(
                            path,
                            "a claim begins empty: nothing of the image is copied into it",
                        );
                    }
                    called
                }
                ("bind", Some(source)) => {
                    let called = format!("host-{i}");
                    let create =
                        word(mount, &["bind", "create_host_path"]).as_deref() != Some("false");
                    let kind = if create { "DirectoryOrCreate" } else { "" };
                    self.volume(&called, ("hostPath", json!({"path": source, "type": kind})));
                    let path = format!("{}.volumes[{i}]", self.at);
                    self.ledger.changed(
                        path,
                        format!("{source} is a path of whatever node the pod is on"),
                    );
                    match word(mount, &["bind", "propagation"]).as_deref() {
                        Some("rshared" | "shared") => {
                            made["mountPropagation"] = "Bidirectional".into();
                        }
                        Some("rslave" | "slave") => {
                            made["mountPropagation"] = "HostToContainer".into();
                        }
                        _ => {}
                    }
                    called
                }
                ("tmpfs", _) => {
                    let called = name(&format!("memory-{i}"));
                    self.volume(
                        &called,
                        ("emptyDir", memory(bytes(mount, &["tmpfs", "size"]))),
                    );
                    called
                }
                ("image", Some(source)) => {
                    let called = name(&format!("image-{i}"));
                    self.volume(&called, ("image", json!({"reference": source})));
                    if let Some(below) = word(mount, &["image", "subpath"]) {
                        made["subPath"] = below.into();
                    }
                    called
                }
                ("volume", None) => {
                    let called = name(&format!("anonymous-{i}"));
                    self.volume(&called, ("emptyDir", json!({})));
                    called
                }
                (other, _) => {
                    return Err(Error::invalid(format!(
                        "{}.volumes: {target:?} is of type {other:?}, which a cluster does not have",
                        self.at
                    )));
                }
            };
            made["name"] = called.into();
            if word(mount, &["read_only"]).as_deref() == Some("true") {
                made["readOnly"] = true.into();
            }
            mounts.push(made);
        }
        for (i, entry) in texts(keys.get("tmpfs")).iter().enumerate() {
            let (target, options) = entry.split_once(':').unwrap_or((entry, ""));
            let size = options.split(',').find_map(|o| o.strip_prefix("size="));
            let called = format!("tmpfs-{i}");
            let size = size.and_then(|s| crate::base::size::parse(s).ok());
            self.volume(&called, ("emptyDir", memory(size)));
            mounts.push(json!({"name": called, "mountPath": target}));
        }
        if let Some(size) = bytes(keys, &["shm_size"]) {
            self.volume("shm", ("emptyDir", memory(Some(size))));
            mounts.push(json!({"name": "shm", "mountPath": "/dev/shm"}));
        }
        for noun in ["secrets", "configs"] {
            for (i, grant) in list(keys.get(noun)).enumerate() {
                mounts.extend(self.grant(noun, i, grant)?);
            }
        }
        Ok(mounts)
    }

    /// A secret or config as one file.
    fn grant(&mut self, noun: &str, i: usize, grant: &Value) -> Result<Option<Value>> {
        let of = |key: &str| grant.get(key).and_then(text);
        let source = of("source").unwrap_or_default();
        if !self.project.objects(noun).any(|(n, _)| *n == source) {
            return Ok(None);
        }
        let target = crate::compose::convert::grant_target(noun, &source, of("target"));
        let object = object_name(self.project, noun, &source);
        let file = data_key(&source);
        let mut item = json!({"key": file, "path": file});
        if let Some(mode) = of("mode") {
            let bits = u32::from_str_radix(&mode, 8).map_err(|_| {
                Error::invalid(format!("{}.{noun}[{i}]: mode {mode:?} is none", self.at))
            })?;
            item["mode"] = bits.into();
        }
        if of("uid").is_some() || of("gid").is_some() {
            let path = format!("{}.{noun}[{i}]", self.at);
            self.ledger
                .changed(path, "its owner is root, or the pod's fsGroup");
        }
        let called = name(&format!("{}-{i}-{source}", noun.trim_end_matches('s')));
        let volume = match noun {
            "secrets" => ("secret", json!({"secretName": object, "items": [item]})),
            _ => ("configMap", json!({"name": object, "items": [item]})),
        };
        self.volume(&called, volume);
        Ok(Some(
            json!({"name": called, "mountPath": target, "subPath": file, "readOnly": true}),
        ))
    }
}

/// A volume in memory.
fn memory(size: Option<u64>) -> Value {
    match size {
        Some(size) => json!({"medium": "Memory", "sizeLimit": size.to_string()}),
        None => json!({"medium": "Memory"}),
    }
}
