//! Filters of image listings. Pure.

use std::collections::BTreeMap;

use super::record::ImageRecord;
use crate::base::glob;
use crate::base::time::Timestamp;
use crate::base::{Error, Result};
use crate::spec::digest::Digest;
use crate::spec::reference::Reference;

/// The filter keys of `images` and `image prune`.
pub const KEYS: &[&str] = &[
    "reference",
    "dangling",
    "label",
    "label!",
    "before",
    "since",
    "after",
    "until",
    "id",
    "containers",
    "intermediate",
    "readonly",
    "manifest",
    "digest",
];

/// An image with what the index and the containers say of it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The image.
    pub record: ImageRecord,
    /// Names with a tag, sorted.
    pub tags: Vec<Reference>,
    /// Names with a digest, sorted.
    pub digests: Vec<Reference>,
    /// How many containers use it.
    pub containers: usize,
    /// Whether another image here was made from it, or a list here names it.
    pub has_children: bool,
    /// Whether it is in a store of others only.
    pub read_only: bool,
}

impl Listed {
    /// Untagged, and not the base of another image.
    pub fn is_dangling(&self) -> bool {
        self.tags.is_empty() && self.digests.is_empty() && !self.has_children
    }

    /// Untagged, and the base of another image.
    pub fn is_intermediate(&self) -> bool {
        self.tags.is_empty() && self.digests.is_empty() && self.has_children
    }
}

/// Whether one filter holds for an image. `moment` reads a point in time for `until`; `find`
/// gives the creation time of the image named by `before` and `since`.
///
/// # Errors
/// `Invalid` for a value that is none; those of `find`.
pub fn holds(
    image: &Listed,
    key: &str,
    value: &str,
    find: &dyn Fn(&str) -> Result<Timestamp>,
    moment: &dyn Fn(&str) -> Result<Timestamp>,
) -> Result<bool> {
    let record = &image.record;
    Ok(match key {
        "reference" => image
            .tags
            .iter()
            .chain(&image.digests)
            .any(|name| reference_matches(name, value)),
        "dangling" => boolean(key, value)? == image.is_dangling(),
        "intermediate" => boolean(key, value)? == image.is_intermediate(),
        "containers" => match value {
            "external" => false,
            _ => boolean(key, value)? == (image.containers > 0),
        },
        "readonly" => boolean(key, value)? == image.read_only,
        "manifest" => boolean(key, value)? == record.list.is_some(),
        "label" => label_matches(&record.config.config.labels, value),
        "label!" => !label_matches(&record.config.config.labels, value),
        "before" => record.created() < find(value)?,
        "since" | "after" => record.created() > find(value)?,
        "until" => record.created() < moment(value)?,
        "id" => {
            let hex = value.strip_prefix("sha256:").unwrap_or(value);
            record.id.hex().starts_with(hex)
        }
        "digest" => digest_matches(image, value),
        _ => return Err(Error::invalid(format!("invalid filter key {key:?}"))),
    })
}

fn boolean(key: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "t" => Ok(true),
        "false" | "0" | "f" => Ok(false),
        _ => Err(Error::invalid(format!(
            "filter {key} takes true or false, not {value:?}"
        ))),
    }
}

fn label_matches(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|v| v == value),
        None => labels.contains_key(wanted),
    }
}

fn digest_matches(image: &Listed, value: &str) -> bool {
    let of =
        |digest: &Digest| digest.to_string().starts_with(value) || digest.hex().starts_with(value);
    image.record.manifests.iter().any(|m| of(&m.digest))
        || image.digests.iter().filter_map(Reference::digest).any(of)
}

/// Docker's and podman's `reference=`: a pattern with `*`, `?` and `[…]` over the full name, the
/// familiar one, or a tail of the path; without a tag it means every tag.
pub fn reference_matches(name: &Reference, pattern: &str) -> bool {
    let full = name.to_string();
    let bare = name.name();
    let familiar = name.familiar();
    let mut forms = vec![full.as_str(), &bare, &familiar];
    let familiar_bare = familiar
        .split('@')
        .next()
        .and_then(|n| match n.rfind(':') {
            Some(colon) if !n[colon..].contains('/') => n.get(..colon),
            _ => Some(n),
        })
        .unwrap_or(&familiar);
    forms.push(familiar_bare);
    // Tails of the path: `x` finds `localhost/x` and `quay.io/a/x`.
    let mut tails: Vec<&str> = Vec::new();
    for form in [full.as_str(), &bare] {
        tails.extend(form.match_indices('/').map(|(at, _)| &form[at + 1..]));
    }
    forms.extend(tails);
    forms.iter().any(|form| glob::matches(pattern, form))
}

#[cfg(test)]
mod tests {
    use super::super::record::StoredManifest;
    use super::*;

    fn name(text: &str) -> Reference {
        Reference::parse_normalized(text).unwrap()
    }

    fn listed(tags: &[&str]) -> Listed {
        let raw = r#"{"os":"linux","created":"2026-01-02T00:00:00Z","config":{"Labels":{"a":"1"}},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let manifest = StoredManifest {
            digest: Digest::sha256_of(b"m"),
            media_type: String::new(),
            raw: String::new(),
        };
        Listed {
            record: ImageRecord::new(raw.to_owned(), manifest, vec![]).unwrap(),
            tags: tags.iter().map(|t| name(t)).collect(),
            digests: vec![],
            containers: 0,
            has_children: false,
            read_only: false,
        }
    }

    #[test]
    fn references_match_full_familiar_and_tail_names() {
        for (text, pattern, matches) in [
            ("alpine:3", "alpine", true),
            ("alpine:3", "alpine:3", true),
            ("alpine:3", "alpine:4", false),
            ("alpine:3", "alp*", true),
            ("alpine:3", "*:3", true),
            ("alpine:3", "docker.io/library/alpine", true),
            ("quay.io/a/b:1", "b", true),
            ("quay.io/a/b:1", "a/b", true),
            ("quay.io/a/b:1", "quay.io/*/b", true),
            ("quay.io/a/b:1", "quay.io/*", false),
            ("localhost/x", "[w-y]", true),
            ("localhost/x", "[^x]", false),
            ("localhost/x", "?", true),
            ("localhost/x", "y", false),
        ] {
            assert_eq!(
                reference_matches(&name(text), pattern),
                matches,
                "{text} {pattern}"
            );
        }
    }

    #[test]
    fn filters_hold_for_what_they_say() {
        let tagged = listed(&["x"]);
        let bare = listed(&[]);
        let none = |_: &str| Err(Error::not_found("x"));
        let noon = |_: &str| Timestamp::parse_rfc3339("2026-01-02T12:00:00Z");
        for (image, key, value, want) in [
            (&tagged, "dangling", "true", false),
            (&bare, "dangling", "true", true),
            (&bare, "dangling", "false", false),
            (&tagged, "label", "a", true),
            (&tagged, "label", "a=2", false),
            (&tagged, "label!", "a", false),
            (&tagged, "containers", "false", true),
            (&tagged, "readonly", "false", true),
            (&tagged, "until", "x", true),
        ] {
            assert_eq!(
                holds(image, key, value, &none, &noon).unwrap(),
                want,
                "{key}={value}"
            );
        }
        assert!(holds(&tagged, "dangling", "maybe", &none, &noon).is_err());
        assert!(holds(&tagged, "before", "gone", &none, &noon).is_err());
        let noon2 = |_: &str| Timestamp::parse_rfc3339("2026-01-02T12:00:00Z");
        assert!(holds(&tagged, "before", "x", &noon2, &noon).unwrap());
        assert!(!holds(&tagged, "since", "x", &noon2, &noon).unwrap());
        let id = &tagged.record.id.hex()[..6];
        assert!(holds(&tagged, "id", id, &none, &noon).unwrap());
    }
}
