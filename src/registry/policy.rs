//! `policy.json`: what may be pulled at all, and who must have signed it.
//!
//! Read from `~/.config/containers/policy.json`, else `/etc/containers/policy.json`; without a
//! file everything may be. Here is only which requirements hold; [`super::trust`] verifies
//! signatures.
//!
//! man: containers-policy.json(5).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::base::fs as files;
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::env::Env;
use crate::config::user;
use crate::spec::reference::Reference;

const LIMIT: u64 = 4 << 20;

/// The policy in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What holds where nothing else does.
    #[serde(default)]
    pub default: Vec<Rule>,
    /// By transport (`docker`, `oci`, …) and scope.
    #[serde(default)]
    pub transports: BTreeMap<String, BTreeMap<String, Vec<Rule>>>,
}

/// One requirement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Which of them.
    #[serde(rename = "type")]
    pub kind: Type,
    /// For `signedBy`: `GPGKeys`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_type: Option<String>,
    /// A file with public keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_path: Option<PathBuf>,
    /// Several such files: any of the keys will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_paths: Option<Vec<PathBuf>>,
    /// The public keys themselves, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_data: Option<String>,
    /// Several of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_datas: Option<Vec<String>>,
    /// What the signature must name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_identity: Option<Identity>,
    /// Keyless signatures: not verified here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fulcio: Option<serde_json::Value>,
    /// Certificates: not verified here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pki: Option<serde_json::Value>,
    /// A transparency log: not asked here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rekor_public_key_path: Option<PathBuf>,
    /// As before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rekor_public_key_data: Option<String>,
    /// As before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rekor_public_key_paths: Option<Vec<PathBuf>>,
    /// As before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rekor_public_key_datas: Option<Vec<String>>,
}

/// The requirements there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Type {
    /// None.
    InsecureAcceptAnything,
    /// Nothing may be pulled.
    #[default]
    Reject,
    /// Simple signing with GPG.
    SignedBy,
    /// A signature of sigstore beside the image.
    SigstoreSigned,
}

/// What a signature must name, for an image that is asked for by some name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Identity {
    /// The same name.
    MatchExact,
    /// The same name; for an image by digest, the same repository.
    #[default]
    MatchRepoDigestOrExact,
    /// The same repository.
    MatchRepository,
    /// This name.
    ExactReference {
        /// The name.
        docker_reference: String,
    },
    /// This repository.
    ExactRepository {
        /// The repository.
        docker_repository: String,
    },
    /// As `matchRepoDigestOrExact`, for a name that begins otherwise.
    RemapIdentity {
        /// How it is asked for.
        prefix: String,
        /// How it was signed.
        signed_prefix: String,
    },
}

/// The caller's own policy file.
pub fn own_path(env: &Env) -> PathBuf {
    env.config_home(&user::current().home)
        .join("containers/policy.json")
}

/// The machine's policy file.
pub const SYSTEM: &str = "/etc/containers/policy.json";

impl Policy {
    /// Reads the policy.
    ///
    /// # Errors
    /// `Invalid` for a malformed file: it must not be taken for "anything goes".
    pub fn load(env: &Env) -> Result<Self> {
        Ok(Self::find(env)?
            .map(|(_, policy)| policy)
            .unwrap_or_default())
    }

    /// The file in force, and what it says.
    ///
    /// # Errors
    /// As [`Policy::load`].
    pub fn find(env: &Env) -> Result<Option<(PathBuf, Self)>> {
        for path in [own_path(env), PathBuf::from(SYSTEM)] {
            if let Some(policy) = Self::read(&path)? {
                return Ok(Some((path, policy)));
            }
        }
        Ok(None)
    }

    /// Reads one file, if it is there.
    ///
    /// # Errors
    /// As [`Policy::load`].
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let Some(bytes) = files::read_if_exists(path, LIMIT)? else {
            return Ok(None);
        };
        Self::parse(&bytes)
            .map(Some)
            .what(|| format!("cannot read {}", path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let policy: Self =
            serde_json::from_slice(bytes).what_kind(Kind::Invalid, || "the policy is malformed")?;
        if policy.default.is_empty() {
            return Err(Error::invalid("the policy has no default"));
        }
        let all = policy.transports.values().flat_map(BTreeMap::values);
        for rules in all.chain([&policy.default]) {
            if rules.is_empty() {
                return Err(Error::invalid(
                    "the policy has a scope without requirements",
                ));
            }
            for rule in rules {
                rule.check()?;
            }
        }
        Ok(policy)
    }

    /// What holds for an image of a registry: the signatures that it must have.
    ///
    /// # Errors
    /// `Denied` when it may not be pulled at all.
    #[must_use = "the signatures must be verified"]
    pub fn check_registry(&self, reference: &Reference) -> Result<Vec<&Rule>> {
        let mut scopes = vec![reference.to_string()];
        let name = reference.name();
        let mut rest = name.as_str();
        scopes.push(rest.to_owned());
        while let Some((parent, _)) = rest.rsplit_once('/') {
            scopes.push(parent.to_owned());
            rest = parent;
        }
        let host = rest.split(':').next().unwrap_or(rest);
        let mut domain = host;
        while let Some((_, parent)) = domain.split_once('.') {
            scopes.push(format!("*.{parent}"));
            domain = parent;
        }
        scopes.push(String::new());
        self.check("docker", &scopes, &reference.to_string())
    }

    /// Whether an image of another transport (`docker-archive`, `oci`, `dir`, …) may be read.
    ///
    /// # Errors
    /// `Denied` when it may not, or must be signed: files have no signatures that we read.
    pub fn check_path(&self, transport: &str, path: &str) -> Result<()> {
        let mut scopes = vec![path.to_owned()];
        let mut rest = path;
        while let Some((parent, _)) = rest.rsplit_once('/') {
            scopes.push(parent.to_owned());
            rest = parent;
        }
        scopes.push(String::new());
        if self.check(transport, &scopes, path)?.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Kind::Denied,
            format!("image {path:?} must be signed by policy.json, and files have no signatures"),
        )
        .hint(format!(
            "allow them: \"transports\": {{\"{transport}\": {{\"\": [{{\"type\": \"insecureAcceptAnything\"}}]}}}}"
        )))
    }

    fn check(&self, transport: &str, scopes: &[String], what: &str) -> Result<Vec<&Rule>> {
        let by_transport = self.transports.get(transport);
        let rules = scopes
            .iter()
            .find_map(|scope| by_transport.and_then(|t| t.get(scope)))
            .unwrap_or(&self.default);
        let mut signatures = Vec::new();
        for rule in rules {
            match rule.kind {
                Type::InsecureAcceptAnything => {}
                Type::Reject => {
                    return Err(Error::new(
                        Kind::Denied,
                        format!("image {what:?} is refused by policy.json"),
                    )
                    .hint("the rule is in ~/.config/containers/policy.json or /etc/containers/policy.json"));
                }
                Type::SignedBy | Type::SigstoreSigned => signatures.push(rule),
            }
        }
        Ok(signatures)
    }
}

impl Rule {
    fn check(&self) -> Result<()> {
        let sources = [
            self.key_path.is_some(),
            self.key_paths.is_some(),
            self.key_data.is_some(),
            self.key_datas.is_some(),
            self.fulcio.is_some(),
            self.pki.is_some(),
        ];
        let sources = sources.iter().filter(|s| **s).count();
        match self.kind {
            Type::InsecureAcceptAnything | Type::Reject => Ok(()),
            Type::SignedBy if self.key_type.as_deref() != Some("GPGKeys") => Err(Error::invalid(
                "the policy has a signedBy whose keyType is not GPGKeys",
            )),
            _ if sources != 1 => Err(Error::invalid(
                "the policy asks for signatures and names no keys, or several kinds of them",
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_scope_decides() {
        let policy = Policy::parse(
            br#"{"default":[{"type":"reject"}],"transports":{"docker":{
                "docker.io":[{"type":"insecureAcceptAnything"}],
                "docker.io/library/bad":[{"type":"reject"}],
                "*.example.com":[{"type":"insecureAcceptAnything"}],
                "quay.io":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}]},
                "oci":{"":[{"type":"sigstoreSigned","keyPath":"/k"}]}}}"#,
        )
        .unwrap();
        for (name, want) in [
            ("docker.io/library/good", Ok(0)),
            ("docker.io/library/bad:1", Err(Kind::Denied)),
            ("a.b.example.com/x", Ok(0)),
            ("example.com/x", Err(Kind::Denied)),
            ("quay.io/x", Ok(1)),
        ] {
            let reference = Reference::parse_normalized(name).unwrap();
            let outcome = policy.check_registry(&reference);
            let outcome = outcome.map(|rules| rules.len()).map_err(|e| e.kind());
            assert_eq!(outcome, want, "{name}");
        }
        assert!(
            policy.check_path("oci", "/x/y").is_err(),
            "files are not signed"
        );
        assert!(policy.check_path("dir", "/x/y").is_err());
        assert!(Policy::default().check_path("oci", "/x").is_ok());
    }

    #[test]
    fn malformed_policies_are_not_taken_for_anything_goes() {
        for bad in [
            "{}",
            r#"{"default":[]}"#,
            r#"{"default":[{"type":"whatever"}]}"#,
            r#"{"default":[{"type":"signedBy","keyPath":"/k"}]}"#,
            r#"{"default":[{"type":"signedBy","keyType":"GPGKeys"}]}"#,
            r#"{"default":[{"type":"sigstoreSigned","keyPath":"/k","keyData":"eA=="}]}"#,
            r#"{"default":[{"type":"sigstoreSigned","keyPath":"/k","more":1}]}"#,
            r#"{"default":[{"type":"reject"}],"transports":{"docker":{"x":[]}}}"#,
        ] {
            assert!(Policy::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
