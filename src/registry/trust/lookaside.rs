//! registries.d: where the signatures of simple signing lie, and whether sigstore's are looked for.
//!
//! man: containers-registries.d(5); containers/image docs/signature-protocols.md.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::fs::{self as files, Durability};
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::env::Env;
use crate::config::user;
use crate::registry::client::Settings;
use crate::spec::digest::Digest;
use crate::spec::reference::Reference;

/// Bytes of a configuration file, and of a signature.
const LIMIT: u64 = 1 << 20;
/// Signatures of an image that are looked at.
const MOST: usize = 64;

/// What all files together say.
#[derive(Clone, Debug, Default)]
pub struct Lookaside {
    default: Option<Place>,
    scopes: BTreeMap<String, Place>,
    /// Where signatures lie when no file says so.
    own: PathBuf,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Place {
    #[serde(alias = "sigstore")]
    lookaside: Option<String>,
    #[serde(alias = "sigstore-staging")]
    lookaside_staging: Option<String>,
    use_sigstore_attachments: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
struct File {
    default_docker: Option<Place>,
    docker: BTreeMap<String, Place>,
}

impl Lookaside {
    /// Reads all files: the caller's folder, or the machine's where that is not there.
    ///
    /// # Errors
    /// `Invalid` for a malformed file, or one that says again what another says.
    pub fn load(env: &Env) -> Result<Self> {
        let user = user::current();
        let own = if user.is_root {
            PathBuf::from("/var/lib/containers/sigstore")
        } else {
            env.xdg_data_home()
                .unwrap_or_else(|| user.home.join(".local/share"))
                .join("containers/sigstore")
        };
        let mut found = Self {
            own,
            ..Self::default()
        };
        let folder = env.config_home(&user.home).join("containers/registries.d");
        let folder = if folder.is_dir() {
            folder
        } else {
            PathBuf::from("/etc/containers/registries.d")
        };
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
            .collect();
        paths.sort();
        for path in paths {
            if let Some(bytes) = files::read_if_exists(&path, LIMIT)? {
                found
                    .add(&bytes)
                    .what(|| format!("cannot read {}", path.display()))?;
            }
        }
        Ok(found)
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let text = std::str::from_utf8(bytes).what_kind(Kind::Invalid, || "it is no text")?;
        if text
            .lines()
            .all(|l| l.trim().is_empty() || l.trim_start().starts_with('#'))
        {
            return Ok(());
        }
        let file: File =
            serde_yaml::from_str(text).what_kind(Kind::Invalid, || "it is malformed")?;
        let twice = |what: &str| Error::invalid(format!("{what} is said in several files"));
        if let Some(default) = file.default_docker
            && self.default.replace(default).is_some()
        {
            return Err(twice("default-docker"));
        }
        for (scope, place) in file.docker {
            if self.scopes.insert(scope.clone(), place).is_some() {
                return Err(twice(&scope));
            }
        }
        Ok(())
    }

    /// The most specific scope that says something.
    fn of<T>(&self, reference: &Reference, say: impl Fn(&Place) -> Option<T>) -> Option<T> {
        let name = reference.name();
        let mut scopes = vec![reference.to_string(), name.clone()];
        let mut rest = name.as_str();
        while let Some((parent, _)) = rest.rsplit_once('/') {
            scopes.push(parent.to_owned());
            rest = parent;
        }
        let mut domain = rest.split(':').next().unwrap_or(rest);
        while let Some((_, parent)) = domain.split_once('.') {
            scopes.push(format!("*.{parent}"));
            domain = parent;
        }
        // One scope is used, as a whole; it may say nothing of this.
        match scopes.iter().find_map(|scope| self.scopes.get(scope)) {
            Some(place) => say(place),
            None => self.default.as_ref().and_then(say),
        }
    }

    /// Whether sigstore's signatures are looked for beside an image.
    pub fn attachments(&self, reference: &Reference) -> bool {
        self.of(reference, |place| place.use_sigstore_attachments)
            .unwrap_or(false)
    }

    /// Where signatures of an image are read; for `image trust show`.
    pub fn place(&self, reference: &Reference) -> Option<String> {
        self.of(reference, |place| place.lookaside.clone())
    }

    /// The signatures of a manifest.
    ///
    /// # Errors
    /// What the folder or the server says.
    pub fn read(
        &self,
        reference: &Reference,
        digest: &Digest,
        settings: &Settings,
    ) -> Result<Vec<Vec<u8>>> {
        let base = self.base(self.place(reference));
        let mut found = Vec::new();
        for index in 1..=MOST {
            let place = address(&base, reference, digest, index);
            let bytes = match place.strip_prefix("file://") {
                Some(path) => files::read_if_exists(Path::new(path), LIMIT)?,
                None => match crate::registry::client::download(&place, settings.clone()) {
                    Ok(body) => {
                        let mut bytes = Vec::new();
                        std::io::Read::read_to_end(
                            &mut std::io::Read::take(body, LIMIT),
                            &mut bytes,
                        )
                        .what(|| format!("cannot read the signature {place}"))?;
                        Some(bytes)
                    }
                    Err(e) if e.kind() == Kind::NotFound => None,
                    Err(e) => return Err(e),
                },
            };
            match bytes {
                Some(bytes) => found.push(bytes),
                None => break,
            }
        }
        Ok(found)
    }

    /// Adds a signature; answers where it lies.
    ///
    /// # Errors
    /// `Unsupported` for a web server; what the kernel says.
    pub fn write(&self, reference: &Reference, digest: &Digest, bytes: &[u8]) -> Result<PathBuf> {
        let staging = self.of(reference, |place| {
            place
                .lookaside_staging
                .clone()
                .or_else(|| place.lookaside.clone())
        });
        let base = self.base(staging);
        if !base.starts_with("file://") {
            return Err(
                Error::unsupported(format!("signatures cannot be written to {base}"))
                    .hint("name a folder in registries.d: lookaside-staging: file:///PATH"),
            );
        }
        for index in 1..=MOST {
            let place = address(&base, reference, digest, index);
            let path = PathBuf::from(place.trim_start_matches("file://"));
            if path.exists() {
                continue;
            }
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)
                    .what(|| format!("cannot make {}", folder.display()))?;
            }
            files::replace(&path, bytes, 0o644, Durability::Durable)?;
            return Ok(path);
        }
        Err(Error::invalid("the image has too many signatures"))
    }

    fn base(&self, said: Option<String>) -> String {
        said.unwrap_or_else(|| format!("file://{}", self.own.display()))
    }
}

fn address(base: &str, reference: &Reference, digest: &Digest, index: usize) -> String {
    format!(
        "{}/{}@{}={}/signature-{index}",
        base.trim_end_matches('/'),
        reference.repository(),
        digest.algorithm().name(),
        digest.hex()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_scope_says_where() {
        let mut found = Lookaside::default();
        found.add(b"# nothing\n").unwrap();
        found
            .add(
                b"default-docker:\n  sigstore: file:///d\ndocker:\n  r.io:\n    lookaside: https://l/x/\n  r.io/a:\n    use-sigstore-attachments: true\n",
            )
            .unwrap();
        let name = |text| Reference::parse_normalized(text).unwrap();
        assert_eq!(
            found.place(&name("other.io/x")).as_deref(),
            Some("file:///d")
        );
        assert_eq!(
            found.place(&name("r.io/b/c")).as_deref(),
            Some("https://l/x/")
        );
        assert_eq!(found.place(&name("r.io/a/c")), None);
        assert!(found.attachments(&name("r.io/a/c:1")));
        assert!(!found.attachments(&name("r.io/b")));
        assert!(found.add(b"docker:\n  r.io: {}\n").is_err(), "twice");
        assert!(found.add(b"dcoker: {}\n").is_err(), "misspelt");
        let digest = Digest::sha256_of(b"x");
        assert_eq!(
            address("https://l/x/", &name("r.io/b/c"), &digest, 2),
            format!("https://l/x/b/c@sha256={}/signature-2", digest.hex())
        );
    }
}
