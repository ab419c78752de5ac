//! What is signed: a JSON document that names a manifest by digest, and the image by name. Both
//! kinds of signatures have the same.
//!
//! man: containers-signature(5).

use serde::{Deserialize, Serialize};

use crate::base::{Context as _, Error, Kind, Result};
use crate::registry::policy::Identity;
use crate::spec::digest::Digest;
use crate::spec::reference::Reference;

/// `critical.type` of simple signing.
pub const SIMPLE: &str = "atomic container signature";
/// `critical.type` of sigstore.
pub const COSIGN: &str = "cosign container image signature";

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    critical: Critical,
    #[serde(default)]
    optional: serde_json::Value,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Named,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    #[serde(rename = "docker-reference")]
    reference: String,
}

/// The document for an image.
///
/// # Errors
/// `Internal` when it cannot be written.
pub fn make(kind: &str, reference: &str, digest: &Digest) -> Result<Vec<u8>> {
    serde_json::to_vec(&Document {
        critical: Critical {
            identity: Named {
                reference: reference.to_owned(),
            },
            image: Image {
                digest: digest.clone(),
            },
            kind: kind.to_owned(),
        },
        optional: serde_json::json!({
            "creator": concat!("coracle ", env!("CARGO_PKG_VERSION")),
            "timestamp": crate::base::time::Timestamp::now().seconds(),
        }),
    })
    .what_kind(Kind::Internal, || "cannot write a signature")
}

/// Sees that a document whose signature is good is about this image.
///
/// # Errors
/// `Denied` when it is about another; `Corrupt` for a malformed one.
pub fn check(
    bytes: &[u8],
    kind: &str,
    (reference, digests): (&Reference, &[&Digest]),
    identity: &Identity,
) -> Result<()> {
    let document: Document = serde_json::from_slice(bytes)
        .what_kind(Kind::Corrupt, || "the signature's content is malformed")?;
    let critical = document.critical;
    if critical.kind != kind {
        return Err(Error::new(
            Kind::Denied,
            format!("the signature is of the kind {:?}", critical.kind),
        ));
    }
    if !digests.contains(&&critical.image.digest) {
        return Err(Error::new(
            Kind::Denied,
            "the signature is for another image",
        ));
    }
    let signed = critical.identity.reference;
    if matches(identity, reference, &signed)? {
        return Ok(());
    }
    Err(Error::new(
        Kind::Denied,
        format!("the signature is for the name {signed:?}"),
    ))
}

/// Whether a signature for the name `signed` is one for `wanted`.
fn matches(identity: &Identity, wanted: &Reference, signed: &str) -> Result<bool> {
    let Ok(signed) = Reference::parse_normalized(signed) else {
        return Ok(false);
    };
    Ok(match identity {
        Identity::MatchExact => exact(wanted, &signed),
        Identity::MatchRepoDigestOrExact => repo_digest_or_exact(wanted, &signed),
        Identity::MatchRepository => wanted.name() == signed.name(),
        Identity::ExactReference { docker_reference } => {
            exact(&Reference::parse_normalized(docker_reference)?, &signed)
        }
        Identity::ExactRepository { docker_repository } => {
            Reference::parse_normalized(docker_repository)?.name() == signed.name()
        }
        Identity::RemapIdentity {
            prefix,
            signed_prefix,
        } => {
            let text = wanted.to_string();
            let rest = text.strip_prefix(prefix.as_str()).filter(|rest| {
                rest.is_empty() || rest.starts_with(['/', ':', '@']) || prefix.ends_with('/')
            });
            match rest {
                Some(rest) => {
                    let mapped = Reference::parse_normalized(&format!("{signed_prefix}{rest}"))?;
                    repo_digest_or_exact(&mapped, &signed)
                }
                None => repo_digest_or_exact(wanted, &signed),
            }
        }
    })
}

fn exact(wanted: &Reference, signed: &Reference) -> bool {
    wanted.digest().is_none() && wanted.tag().is_some() && wanted == signed
}

fn repo_digest_or_exact(wanted: &Reference, signed: &Reference) -> bool {
    match wanted.digest() {
        Some(_) => wanted.name() == signed.name(),
        None => exact(wanted, signed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_the_identity_says() {
        let digest = Digest::sha256_of(b"x");
        let by_digest = format!("r.io/a/b@{digest}");
        let remap = Identity::RemapIdentity {
            prefix: "mirror.io/a".to_owned(),
            signed_prefix: "r.io/a".to_owned(),
        };
        for (identity, wanted, signed, want) in [
            (Identity::MatchExact, "r.io/a/b:1", "r.io/a/b:1", true),
            (Identity::MatchExact, "r.io/a/b:1", "r.io/a/b:2", false),
            (Identity::MatchExact, &*by_digest, "r.io/a/b:1", false),
            (
                Identity::MatchRepoDigestOrExact,
                &*by_digest,
                "r.io/a/b:1",
                true,
            ),
            (
                Identity::MatchRepoDigestOrExact,
                &*by_digest,
                "r.io/a/c:1",
                false,
            ),
            (
                Identity::MatchRepoDigestOrExact,
                "r.io/a/b:1",
                "r.io/a/b:2",
                false,
            ),
            (Identity::MatchRepository, "r.io/a/b:1", "r.io/a/b:2", true),
            (
                Identity::MatchRepository,
                "r.io/a/b:1",
                "r.io/a/bb:1",
                false,
            ),
            (remap.clone(), "mirror.io/a/b:1", "r.io/a/b:1", true),
            (remap.clone(), "mirror.io/ab:1", "r.io/ab:1", false),
            (remap, "r.io/z:1", "r.io/z:1", true),
        ] {
            let wanted = Reference::parse_normalized(wanted).unwrap();
            assert_eq!(
                matches(&identity, &wanted, signed).unwrap(),
                want,
                "{identity:?} {wanted} {signed}"
            );
        }
    }

    #[test]
    fn a_document_is_for_one_image_only() {
        let digest = Digest::sha256_of(b"x");
        let other = Digest::sha256_of(b"y");
        let bytes = make(COSIGN, "r.io/a:1", &digest).unwrap();
        let name = Reference::parse_normalized("r.io/a:1").unwrap();
        let identity = Identity::default();
        check(&bytes, COSIGN, (&name, &[&other, &digest]), &identity).unwrap();
        assert!(check(&bytes, COSIGN, (&name, &[&other]), &identity).is_err());
        assert!(check(&bytes, SIMPLE, (&name, &[&digest]), &identity).is_err());
        let more = String::from_utf8(bytes).unwrap();
        let more = more.replace("\"critical\":{", "\"critical\":{\"unknown\":1,");
        assert!(check(more.as_bytes(), COSIGN, (&name, &[&digest]), &identity).is_err());
    }
}
