//! Signatures of images: made after a push, verified before anything of an image is unpacked.
//!
//! Two kinds: simple signing with GPG, whose signatures lie on a web server or in a folder
//! (`lookaside` in registries.d), and sigstore's with a key, which lie beside the image in its
//! registry. Keyless signatures and transparency logs are not verified: a policy that asks for them
//! refuses every image.
//!
//! man: containers-policy.json(5), containers-registries.d(5), containers-signature(5).

pub mod key;
pub mod lookaside;
mod payload;
pub mod sigstore;
pub mod simple;

use crate::base::fs as files;
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::digest::Digest;
use crate::spec::reference::Reference;

use self::lookaside::Lookaside;
use super::client::Client;
use super::policy::{Rule, Type};

/// Bytes of a file with keys.
const KEYS: u64 = 4 << 20;

/// What is to be verified.
pub struct Image<'a> {
    /// The name that was asked for.
    pub reference: &'a Reference,
    /// The digests that name it: its manifest's, and that of the index it is in.
    pub digests: &'a [&'a Digest],
    /// Where it comes from.
    pub client: &'a Client,
    /// The repository there.
    pub repository: &'a str,
    /// Where signatures are.
    pub lookaside: &'a Lookaside,
}

/// Verifies that an image meets all requirements.
///
/// # Errors
/// `Denied` when it does not; `Unsupported` for requirements that cannot be verified here; what
/// reading signatures says.
pub fn verify(image: &Image<'_>, rules: &[&Rule]) -> Result<()> {
    for rule in rules {
        let outcome = match rule.kind {
            Type::SignedBy => simple::verify(image, rule),
            Type::SigstoreSigned => sigstore::verify(image, rule),
            Type::InsecureAcceptAnything | Type::Reject => Ok(()),
        };
        outcome.what(|| format!("image {} is refused by policy.json", image.reference))?;
    }
    Ok(())
}

/// The keys that a rule names, as their files have them.
fn keys(rule: &Rule) -> Result<Vec<Vec<u8>>> {
    use base64::Engine as _;
    let mut keys = Vec::new();
    let paths = rule.key_paths.iter().flatten().chain(&rule.key_path);
    for path in paths {
        let bytes = files::read_if_exists(path, KEYS)?
            .ok_or_else(|| Error::not_found(format!("the key {} is not there", path.display())))?;
        keys.push(bytes);
    }
    for data in rule.key_datas.iter().flatten().chain(&rule.key_data) {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(data)
            .what_kind(Kind::Invalid, || "the policy has a key that is no base64")?;
        keys.push(bytes);
    }
    Ok(keys)
}

/// What all signatures that were looked at said, as one refusal.
fn refused(reasons: &[String]) -> Error {
    let mut reasons = reasons.to_vec();
    reasons.dedup();
    match reasons.as_slice() {
        [] => Error::new(Kind::Denied, "it has no signature"),
        [one] => Error::new(Kind::Denied, one.clone()),
        many => Error::new(
            Kind::Denied,
            format!("none of its signatures is good: {}", many.join("; ")),
        ),
    }
}
