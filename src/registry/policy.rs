//! `policy.json`: what may be pulled at all.
//!
//! Read from `~/.config/containers/policy.json`, else `/etc/containers/policy.json`; without a
//! file everything may be. Only `insecureAcceptAnything` and `reject` are known: a rule that asks
//! for signatures refuses the image, because coracle cannot verify them yet.
//!
//! man: containers-policy.json(5).

use std::path::Path;

use serde::Deserialize;
use std::collections::BTreeMap;

use crate::base::fs as files;
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::env::Env;
use crate::config::user;
use crate::spec::reference::Reference;

const LIMIT: u64 = 4 << 20;

/// The policy in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Policy {
    #[serde(default)]
    default: Vec<Rule>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<Rule>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Rule {
    #[serde(rename = "type")]
    kind: String,
}

impl Policy {
    /// Reads the policy.
    ///
    /// # Errors
    /// `Invalid` for a malformed file: it must not be taken for "anything goes".
    pub fn load(env: &Env) -> Result<Self> {
        let own = env
            .config_home(&user::current().home)
            .join("containers/policy.json");
        for path in [own.as_path(), Path::new("/etc/containers/policy.json")] {
            if let Some(bytes) = files::read_if_exists(path, LIMIT)? {
                return Self::parse(&bytes).what(|| format!("cannot read {}", path.display()));
            }
        }
        Ok(Self::default())
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let policy: Self =
            serde_json::from_slice(bytes).what_kind(Kind::Invalid, || "the policy is malformed")?;
        if policy.default.is_empty() {
            return Err(Error::invalid("the policy has no default"));
        }
        Ok(policy)
    }

    /// Whether an image of a registry may be pulled.
    ///
    /// # Errors
    /// `Denied`, or `Unsupported` where a signature is asked for.
    pub fn check_registry(&self, reference: &Reference) -> Result<()> {
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
    /// As [`Policy::check_registry`].
    pub fn check_path(&self, transport: &str, path: &str) -> Result<()> {
        let mut scopes = vec![path.to_owned()];
        let mut rest = path;
        while let Some((parent, _)) = rest.rsplit_once('/') {
            scopes.push(parent.to_owned());
            rest = parent;
        }
        scopes.push(String::new());
        self.check(transport, &scopes, path)
    }

    fn check(&self, transport: &str, scopes: &[String], what: &str) -> Result<()> {
        let by_transport = self.transports.get(transport);
        let rules = scopes
            .iter()
            .find_map(|scope| by_transport.and_then(|t| t.get(scope)))
            .unwrap_or(&self.default);
        for rule in rules {
            match rule.kind.as_str() {
                "insecureAcceptAnything" => {}
                "reject" => {
                    return Err(Error::new(
                        Kind::Denied,
                        format!("image {what:?} is refused by policy.json"),
                    )
                    .hint("the rule is in ~/.config/containers/policy.json or /etc/containers/policy.json"));
                }
                other => {
                    return Err(Error::unsupported(format!(
                        "image {what:?} must be signed ({other}) by policy.json, and coracle cannot verify signatures yet"
                    )));
                }
            }
        }
        Ok(())
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
                "quay.io":[{"type":"signedBy"}]}}}"#,
        )
        .unwrap();
        for (name, kind) in [
            ("docker.io/library/good", None),
            ("docker.io/library/bad:1", Some(Kind::Denied)),
            ("a.b.example.com/x", None),
            ("example.com/x", Some(Kind::Denied)),
            ("quay.io/x", Some(Kind::Unsupported)),
        ] {
            let reference = Reference::parse_normalized(name).unwrap();
            let outcome = policy.check_registry(&reference);
            assert_eq!(outcome.err().map(|e| e.kind()), kind, "{name}");
        }
        assert!(policy.check_path("oci", "/x/y").is_err());
        assert!(Policy::default().check_path("oci", "/x").is_ok());
        assert!(Policy::parse(b"{}").is_err());
    }
}
