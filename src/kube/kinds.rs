//! Which kinds are played, and the versions of the API that have them.

use serde_json::Value;

use crate::base::{Error, Result};

/// A kind and its version. Older ones had other fields.
const KINDS: &[(&str, &str)] = &[
    ("ConfigMap", "v1"),
    ("CronJob", "batch/v1"),
    ("DaemonSet", "apps/v1"),
    ("Deployment", "apps/v1"),
    ("Ingress", "networking.k8s.io/v1"),
    ("Job", "batch/v1"),
    ("PersistentVolumeClaim", "v1"),
    ("Pod", "v1"),
    ("ReplicaSet", "apps/v1"),
    ("Secret", "v1"),
    ("Service", "v1"),
    ("StatefulSet", "apps/v1"),
];

/// Sees that an object of a kind that is played is of the version that is known.
///
/// # Errors
/// `Invalid` without a version, `Unsupported` for another one.
pub fn check(object: &Value) -> Result<()> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let Some((_, version)) = KINDS.iter().find(|(k, _)| *k == kind) else {
        return Ok(());
    };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let hint = format!("write apiVersion: {version}");
    match object["apiVersion"].as_str() {
        Some(own) if own == *version => Ok(()),
        None => Err(Error::invalid(format!("{kind} {name}: apiVersion is missing")).hint(hint)),
        Some(own) => {
            let what = format!("{kind} {name}: apiVersion {own:?} is not known");
            Err(Error::unsupported(what).hint(hint))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn versions_are_checked_of_kinds_that_are_played() {
        let of = |version: Value, kind: &str| {
            check(&json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}}))
        };
        assert!(of("v1".into(), "Pod").is_ok());
        assert!(of("example.com/v7".into(), "Widget").is_ok());
        let old = of("extensions/v1beta1".into(), "Deployment").unwrap_err();
        assert_eq!(old.hints(), ["write apiVersion: apps/v1"]);
        assert!(of("v2".into(), "Pod").is_err());
        assert!(of(Value::Null, "Job").is_err());
    }
}
