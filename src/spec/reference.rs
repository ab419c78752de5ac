//! Image references: `[host[:port]/]path[:tag][@digest]`.
//!
//! Spec: distribution-spec, "Pulling manifests" (name and tag grammar); the normalisation of
//! short names is Docker's (`docker.io/library/…`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::digest::Digest;
use crate::base::{Error, Result};

/// A full reference: registry, repository, and a tag, a digest or both.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses what a person types; a name without a registry means Docker Hub, one without a tag
    /// and digest means `latest`.
    ///
    /// # Errors
    /// `Invalid` when the text breaks the grammar.
    pub fn parse_normalized(text: &str) -> Result<Self> {
        let mut r = Self::parse_untagged(text)?;
        if r.tag.is_none() && r.digest.is_none() {
            r.tag = Some("latest".to_owned());
        }
        Ok(r)
    }

    /// As [`Reference::parse_normalized`] without adding `latest`.
    ///
    /// # Errors
    /// `Invalid` when the text breaks the grammar.
    pub fn parse_untagged(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::invalid(format!("invalid image name {:?}: {why}", text.chars().take(300).collect::<String>()))
                .hint("write [registry/]name[:tag][@digest], all lower case, e.g. docker.io/library/debian:12")
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rfind(':') {
            Some(colon) if !rest[colon..].contains('/') => {
                (&rest[..colon], Some(&rest[colon + 1..]))
            }
            _ => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(bad(
                "the tag may hold letters, digits, '_', '.' and '-' only, at most 128",
            ));
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if is_registry(first) => (first, path),
            _ => ("docker.io", name),
        };
        let registry = if registry == "index.docker.io" {
            "docker.io"
        } else {
            registry
        };
        if !valid_host(registry) {
            return Err(bad("the registry is no host[:port]"));
        }
        if path.is_empty() {
            return Err(bad("the repository is missing"));
        }
        if path.len() + registry.len() > 255 || !path.split('/').all(is_component) {
            return Err(bad(
                "a repository is lower-case words of letters and digits, joined by '.', '_', '__' or '-'",
            ));
        }
        let repository = if registry == "docker.io" && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// `host[:port]`, as written (`docker.io`, not the host that serves it).
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path below the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `registry/repository`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository with this tag and no digest.
    ///
    /// # Errors
    /// `Invalid` when `tag` is none.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        if !is_tag(tag) {
            return Err(Error::invalid(format!("invalid tag {tag:?}")));
        }
        Ok(Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }

    /// The same repository with this digest and no tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// As Docker shows it: without `docker.io/` and `library/`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        match full.strip_prefix("docker.io/") {
            Some(rest) => rest.strip_prefix("library/").unwrap_or(rest).to_owned(),
            None => full,
        }
    }
}

/// Whether the part before the first slash names a registry: it has a dot or a colon, or is
/// `localhost`, or has upper-case letters.
fn is_registry(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn valid_host(host: &str) -> bool {
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        match rest.split_once(']') {
            Some((v6, tail)) if v6.parse::<std::net::Ipv6Addr>().is_ok() => {
                return tail.is_empty()
                    || tail
                        .strip_prefix(':')
                        .is_some_and(|p| p.parse::<u16>().is_ok());
            }
            _ => return false,
        }
    } else {
        match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        }
    };
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253
        && name.split('.').all(label)
        && port.is_none_or(|p| p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok())
}

fn is_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && tag.len() <= 128
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(component: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alnum(*first) || !alnum(*last) {
        return false;
    }
    bytes.chunk_by(|a, b| alnum(*a) == alnum(*b)).all(|run| {
        alnum(run[0]) || matches!(run, b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-')
    })
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse_normalized(text)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse_untagged(&text).map_err(|e| serde::de::Error::custom(e.what()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_as_docker_does() {
        for (text, full) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("me/app", "docker.io/me/app:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/a/b:t", "localhost:5000/a/b:t"),
            ("index.docker.io/library/x", "docker.io/library/x:latest"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
            ("quay.io/a__b/c-d.e:V1.0_x", "quay.io/a__b/c-d.e:V1.0_x"),
        ] {
            assert_eq!(Reference::parse_normalized(text).unwrap().to_string(), full);
        }
        let digest = format!("alpine:1@sha256:{}", "0".repeat(64));
        let r = Reference::parse_normalized(&digest).unwrap();
        assert_eq!((r.tag(), r.digest().is_some()), (Some("1"), true));
        assert_eq!(
            Reference::parse_normalized("alpine").unwrap().familiar(),
            "alpine:latest"
        );
    }

    #[test]
    fn hostile_names_are_refused() {
        for text in [
            "",
            "/",
            "a/",
            "../x",
            "a/../b",
            "a//b",
            "UPPER/x y",
            "alpine:",
            "alpine:-x",
            "alpine:a/b:c d",
            "a@sha256:00",
            "host:99999/x",
            "-a",
            "a-",
            "a...b",
            "a\0b",
            "é",
            "[::1/x",
            "exa mple.com/x",
        ] {
            assert!(Reference::parse_normalized(text).is_err(), "{text:?}");
        }
    }
}
