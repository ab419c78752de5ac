//! Where a build cache comes from and goes to: the words of `--cache-from` and `--cache-to`. Pure.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::{Error, Hint as _, Result};
use crate::build::words::fields;
use crate::spec::digest::Digest;
use crate::spec::reference::Reference;

/// A cache outside of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// A name at a registry: a cache of its own, or an image with one in it.
    Registry(Reference),
    /// A folder with the OCI image layout.
    Folder {
        /// The folder.
        path: PathBuf,
        /// The name in the layout's index.
        tag: String,
        /// The manifest, in place of the name; for reading.
        digest: Option<Digest>,
    },
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Registry(name) => write!(f, "{name}"),
            Self::Folder { path, .. } => write!(f, "{}", path.display()),
        }
    }
}

/// Which steps go into a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Those that the result consists of.
    #[default]
    Min,
    /// All that ran or were found.
    Max,
}

/// One `--cache-to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Somewhere of its own.
    Place {
        /// Where.
        place: Place,
        /// What.
        mode: Mode,
        /// `ignore-error=true`: a cache that cannot be written does not fail the build.
        lenient: bool,
    },
    /// In the configuration of the image itself: the steps that it consists of.
    Inline,
}

/// The name in a layout when none is given, as BuildKit's.
const TAG: &str = "latest";

const USAGE: &str =
    "e.g. type=registry,ref=NAME, type=local,src=DIR (dest=DIR to write), type=inline, or NAME";

/// Reads one `--cache-from`.
///
/// # Errors
/// `Invalid` for what cannot be read; `Unsupported` for services that are not asked.
pub fn source(text: &str) -> Result<Place> {
    let mut words = Words::of("--cache-from", text)?;
    let place = match words.kind.as_str() {
        "registry" => words.registry()?,
        "local" => words.folder(&["src", "source"])?,
        "inline" => {
            return Err(words.bad("an image with a cache in it is named: --cache-from NAME"));
        }
        _ => return Err(words.unknown()),
    };
    words.end()?;
    Ok(place)
}

/// Reads one `--cache-to`. A bare name is podman's form: every step goes there; with `docker` it is
/// docker's, which takes the result's steps alone.
///
/// # Errors
/// As [`source`].
pub fn target(text: &str, docker: bool) -> Result<Target> {
    let mut words = Words::of("--cache-to", text)?;
    let mode = match words.take("mode").as_deref() {
        None if words.bare && !docker => Mode::Max,
        None | Some("min") => Mode::Min,
        Some("max") => Mode::Max,
        Some(other) => return Err(words.bad(&format!("mode {other:?} is neither min nor max"))),
    };
    let lenient = words.truth("ignore-error")?.unwrap_or(false);
    // What is written is always an OCI image manifest.
    for key in ["oci-mediatypes", "image-manifest"] {
        if words.truth(key)? == Some(false) {
            return Err(Error::unsupported(format!(
                "--cache-to {key}=false: caches are OCI manifests"
            ))
            .hint(format!("leave out {key}")));
        }
    }
    let target = match words.kind.as_str() {
        "registry" => Target::Place {
            place: words.registry()?,
            mode,
            lenient,
        },
        "local" => Target::Place {
            place: words.folder(&["dest", "destination"])?,
            mode,
            lenient,
        },
        "inline" if mode == Mode::Max => {
            return Err(words.bad("an image holds the steps that it consists of: mode=min only"));
        }
        "inline" => Target::Inline,
        _ => return Err(words.unknown()),
    };
    words.end()?;
    Ok(target)
}

struct Words<'a> {
    flag: &'static str,
    text: &'a str,
    kind: String,
    fields: Vec<(String, String)>,
    bare: bool,
}

impl<'a> Words<'a> {
    fn of(flag: &'static str, text: &'a str) -> Result<Self> {
        let mut words = Self {
            flag,
            text,
            kind: "registry".to_owned(),
            fields: Vec::new(),
            bare: !text.contains('='),
        };
        if words.bare {
            words.fields.push(("ref".to_owned(), text.to_owned()));
            return Ok(words);
        }
        words.fields = fields(text).map_err(|why| words.bad(&why))?;
        words.kind = words
            .take("type")
            .ok_or_else(|| words.bad("type is missing"))?;
        Ok(words)
    }

    fn bad(&self, why: &str) -> Error {
        Error::invalid(format!("invalid {} {:?}: {why}", self.flag, self.text)).hint(USAGE)
    }

    fn unknown(&self) -> Error {
        match self.kind.as_str() {
            "gha" | "s3" | "azblob" => Error::unsupported(format!(
                "{} type={}: that service is not asked",
                self.flag, self.kind
            ))
            .hint("use a registry, or a folder that you bring there yourself: type=local"),
            other => self.bad(&format!("unknown type {other:?}")),
        }
    }

    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.fields.iter().position(|(k, _)| k == key)?;
        Some(self.fields.remove(at).1)
    }

    fn truth(&mut self, key: &str) -> Result<Option<bool>> {
        match self.take(key).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(self.bad(&format!("{key} is true or false, not {other:?}"))),
        }
    }

    fn registry(&mut self) -> Result<Place> {
        let name = self
            .take("ref")
            .filter(|n| !n.is_empty())
            .ok_or_else(|| self.bad("ref is missing"))?;
        let name = name.strip_prefix("docker://").unwrap_or(&name);
        Reference::parse_normalized(name)
            .map(Place::Registry)
            .hint(|| USAGE)
    }

    fn folder(&mut self, keys: &[&str]) -> Result<Place> {
        let path = keys
            .iter()
            .find_map(|key| self.take(key))
            .filter(|p| !p.is_empty())
            .ok_or_else(|| self.bad(&format!("{} is missing", keys[0])))?;
        Ok(Place::Folder {
            path: PathBuf::from(path),
            tag: self.take("tag").unwrap_or_else(|| TAG.to_owned()),
            digest: self.take("digest").map(|d| d.parse()).transpose()?,
        })
    }

    fn end(&self) -> Result<()> {
        match self.fields.first() {
            None => Ok(()),
            Some((key, _)) if key.starts_with("compression") || key == "force-compression" => {
                Err(Error::unsupported(format!(
                    "{} {key}=: layers are cached as they are, compressed with Zstandard",
                    self.flag
                ))
                .hint(format!("leave out {key}")))
            }
            Some((key, _)) => Err(self.bad(&format!("unknown key {key:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(name: &str) -> Place {
        Place::Registry(Reference::parse_normalized(name).unwrap())
    }

    #[test]
    fn places_are_read_as_docker_and_podman_write_them() {
        let wanted = registry("h:5000/a/b:c");
        for text in [
            "type=registry,ref=h:5000/a/b:c",
            "h:5000/a/b:c",
            "ref=h:5000/a/b:c,type=registry",
        ] {
            assert_eq!(source(text).unwrap(), wanted, "{text}");
        }
        let folder = |tag: &str| Place::Folder {
            path: "/x".into(),
            tag: tag.to_owned(),
            digest: None,
        };
        assert_eq!(source("type=local,src=/x").unwrap(), folder("latest"));
        let to = |place, mode, lenient| Target::Place {
            place,
            mode,
            lenient,
        };
        for (text, docker, target_) in [
            ("h/a", false, to(registry("h/a"), Mode::Max, false)),
            ("h/a", true, to(registry("h/a"), Mode::Min, false)),
            (
                "type=registry,ref=h/a",
                false,
                to(registry("h/a"), Mode::Min, false),
            ),
            (
                "type=local,dest=/x,tag=t,mode=max,ignore-error=true,oci-mediatypes=true",
                false,
                to(folder("t"), Mode::Max, true),
            ),
            ("type=inline", false, Target::Inline),
        ] {
            assert_eq!(target(text, docker).unwrap(), target_, "{text}");
        }
        for bad in [
            "type=registry",
            "type=local",
            "type=gha",
            "type=x",
            "type=inline,mode=max",
            "type=registry,ref=h/a,mode=all",
            "type=registry,ref=h/a,foo=1",
            "type=registry,ref=h/a,compression=gzip",
            "type=registry,ref=h/a,image-manifest=false",
            "mode=max",
        ] {
            assert!(target(bad, false).is_err(), "{bad}");
        }
        assert!(source("type=inline").is_err() && source("type=s3,bucket=x").is_err());
    }
}
