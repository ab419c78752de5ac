//! What the options of a volume mean. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::{Context as _, Error, Result, size};

/// Words of `o=` that are the mount's own, wherever the volume is mounted.
pub(super) const MOUNT_WORDS: &[&str] = &[
    "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "relatime",
];

/// What `--opt` says, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Backing {
    /// The folder `_data`, perhaps with another owner.
    Folder { uid: u32, gid: u32, nocopy: bool },
    /// A tmpfs, empty at every first use.
    Tmpfs { options: Vec<(String, String)> },
    /// A folder of the person's.
    Bind { path: PathBuf },
}

impl Backing {
    /// Reads the options of the driver `local`.
    ///
    /// # Errors
    /// `Unsupported` or `Invalid`, with the option.
    pub(super) fn parse(options: &BTreeMap<String, String>) -> Result<Self> {
        let refuse = |key: &str, why: &str| {
            Err(
                Error::unsupported(format!("volume option {key:?} is not supported"))
                    .because(why.to_owned()),
            )
        };
        for key in options.keys() {
            match key.as_str() {
                "type" | "device" | "o" | "nocopy" | "copy" | "uid" | "gid" | "UID" | "GID" => {}
                "size" | "inodes" => {
                    return refuse(
                        key,
                        "quotas need a project quota that a plain user cannot set",
                    );
                }
                _ => {
                    return refuse(
                        key,
                        "the driver \"local\" knows type, device, o, uid, gid, copy and nocopy",
                    );
                }
            }
        }
        let words: Vec<&str> = options
            .get("o")
            .map(|o| o.split(',').filter(|w| !w.is_empty()).collect())
            .unwrap_or_default();
        let device = options.get("device").map_or("", String::as_str);
        let id = |name: &str| -> Result<u32> {
            let plain = options
                .get(name)
                .or_else(|| options.get(&name.to_ascii_uppercase()))
                .map(String::as_str);
            let text = plain.or_else(|| {
                words
                    .iter()
                    .find_map(|w| w.strip_prefix(name)?.strip_prefix('='))
            });
            text.map_or(Ok(0), |t| {
                t.parse().what(|| format!("invalid {name} {t:?}"))
            })
        };
        match options.get("type").map_or("", String::as_str) {
            "tmpfs" => {
                let mut list = Vec::new();
                for word in words.iter().filter(|w| !MOUNT_WORDS.contains(w)) {
                    let (key, value) = word.split_once('=').unwrap_or((word, ""));
                    match key {
                        "size" => list.push((key.to_owned(), size::parse(value)?.to_string())),
                        "mode" | "nr_inodes" | "uid" | "gid" => {
                            list.push((key.to_owned(), value.to_owned()));
                        }
                        _ => {
                            return refuse(
                                word,
                                "a tmpfs takes size, mode, nr_inodes, uid and gid",
                            );
                        }
                    }
                }
                Ok(Self::Tmpfs { options: list })
            }
            "none" | "bind" | "" if words.iter().any(|w| matches!(*w, "bind" | "rbind")) => {
                if !Path::new(device).is_absolute() {
                    return Err(Error::invalid(format!(
                        "a bind volume needs device=/absolute/path, not {device:?}"
                    )));
                }
                if let Some(word) = words
                    .iter()
                    .find(|w| !matches!(**w, "bind" | "rbind") && !MOUNT_WORDS.contains(w))
                {
                    return refuse(word, "a bind volume takes o=bind and options of mounts");
                }
                Ok(Self::Bind {
                    path: device.into(),
                })
            }
            "" => {
                if !device.is_empty() {
                    return refuse("device", "it needs a type");
                }
                let known = |w: &&&str| {
                    w.starts_with("uid=")
                        || w.starts_with("gid=")
                        || matches!(**w, "nocopy" | "copy")
                };
                if let Some(word) = words.iter().find(|w| !known(w)) {
                    return refuse(word, "without a type, o= takes uid, gid, copy and nocopy");
                }
                Ok(Self::Folder {
                    uid: id("uid")?,
                    gid: id("gid")?,
                    nocopy: words.contains(&"nocopy") || options.contains_key("nocopy"),
                })
            }
            other => refuse(
                &format!("type={other}"),
                "a plain user may mount tmpfs and bind; mount it on the host and use -v HOSTDIR:/path",
            ),
        }
    }
}
