//! Manifests for a cluster: in which order, what the labels say, whether a rollout is over. Pure.

use serde_json::Value;

use crate::base::{Error, Result};

/// Who owns the fields that are applied here.
pub const MANAGER: &str = "coracle";

/// Kinds whose objects are looked for when what is no longer in the manifests is removed.
pub const PRUNED: &[(&str, &str)] = &[
    ("networking.k8s.io/v1", "Ingress"),
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
    ("v1", "Pod"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "PersistentVolumeClaim"),
];

/// What must be there first comes first; else the order stays.
pub fn order(objects: &mut [Value]) {
    objects.sort_by_key(|o| match o["kind"].as_str().unwrap_or_default() {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        "ServiceAccount"
        | "ConfigMap"
        | "Secret"
        | "PersistentVolume"
        | "StorageClass"
        | "PersistentVolumeClaim" => 2,
        _ => 3,
    });
}

/// The object as it is sent: without what the server writes.
pub fn sent(object: &Value) -> Value {
    let mut made = object.clone();
    if let Some(map) = made.as_object_mut() {
        map.remove("status");
    }
    if let Some(meta) = made["metadata"].as_object_mut() {
        for key in [
            "managedFields",
            "creationTimestamp",
            "resourceVersion",
            "uid",
        ] {
            meta.remove(key);
        }
    }
    made
}

/// The labels of `KEY=VALUE,…`.
///
/// # Errors
/// `Invalid` for anything else.
pub fn selector(text: &str) -> Result<Vec<(String, String)>> {
    let pair = |one: &str| {
        let (key, value) = one.split_once('=')?;
        let value = value.strip_prefix('=').unwrap_or(value);
        (!key.is_empty() && !key.ends_with('!')).then(|| (key.to_owned(), value.to_owned()))
    };
    text.split(',')
        .map(|one| pair(one.trim()))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| {
            Error::invalid(format!("{text:?} does not say which labels"))
                .hint("write KEY=VALUE, several with commas")
        })
}

/// Sees that every object bears the labels by which it is found again.
///
/// # Errors
/// `Invalid` for the first that does not.
pub fn bear(objects: &[Value], labels: &[(String, String)]) -> Result<()> {
    for object in objects {
        let own = &object["metadata"]["labels"];
        if let Some((key, value)) = labels.iter().find(|(k, v)| own[k] != **v) {
            return Err(Error::invalid(format!(
                "{} is without the label {key}={value}: it would be lost sight of",
                shown(object)
            ))
            .hint("put the label into its metadata"));
        }
    }
    Ok(())
}

/// `kind/name`.
pub fn shown(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    format!("{}/{name}", kind.to_ascii_lowercase())
}

/// Whether what the server has was applied here, by nobody's controller, and may go.
pub fn is_ours(object: &Value) -> bool {
    let fields = object["metadata"]["managedFields"].as_array();
    let owners = object["metadata"]["ownerReferences"].as_array();
    fields.is_some_and(|all| all.iter().any(|f| f["manager"] == MANAGER))
        && owners.is_none_or(Vec::is_empty)
        && object["metadata"]["deletionTimestamp"].is_null()
}

/// How far a change is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// Everything is as it was asked for.
    Done,
    /// What there is of what.
    Waits(String),
    /// It will not become anything.
    Failed(String),
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let all = object["status"]["conditions"].as_array()?;
    all.iter().find(|c| c["type"] == kind)
}

fn message(condition: &Value) -> String {
    let text = condition["message"].as_str().filter(|m| !m.is_empty());
    let reason = condition["reason"].as_str().unwrap_or_default();
    text.unwrap_or(reason).to_owned()
}

/// How far an object is; `None` for kinds that are there as soon as they are stored.
pub fn rollout(object: &Value) -> Option<Rollout> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let (spec, status) = (&object["spec"], &object["status"]);
    let is = |name: &str| condition(object, name).filter(|c| c["status"] == "True");
    let count = |key: &str| status[key].as_u64().unwrap_or(0);
    let generation = object["metadata"]["generation"].as_u64().unwrap_or(0);
    let (wanted, updated, ready, all) = match kind {
        "Pod" => {
            return Some(match status["phase"].as_str().unwrap_or_default() {
                "Succeeded" => Rollout::Done,
                "Failed" => Rollout::Failed(message(status)),
                _ if is("Ready").is_some() => Rollout::Done,
                "" => Rollout::Waits("Pending".to_owned()),
                phase => Rollout::Waits(phase.to_owned()),
            });
        }
        "Job" => {
            let wanted = spec["completions"].as_u64().unwrap_or(1);
            return Some(match (is("Failed"), is("Complete")) {
                (Some(why), _) => Rollout::Failed(message(why)),
                (None, Some(_)) => Rollout::Done,
                _ if spec["suspend"] == true => Rollout::Done,
                _ => Rollout::Waits(format!("{} of {wanted} complete", count("succeeded"))),
            });
        }
        "Deployment" => {
            let stuck = condition(object, "Progressing")
                .filter(|c| c["reason"] == "ProgressDeadlineExceeded");
            if let Some(why) = stuck {
                return Some(Rollout::Failed(message(why)));
            }
            let wanted = spec["replicas"].as_u64().unwrap_or(1);
            (
                wanted,
                count("updatedReplicas"),
                count("availableReplicas"),
                count("replicas"),
            )
        }
        "StatefulSet" => {
            if spec["updateStrategy"]["type"] == "OnDelete" {
                return None;
            }
            let wanted = spec["replicas"].as_u64().unwrap_or(1);
            (
                wanted,
                count("updatedReplicas"),
                count("readyReplicas"),
                count("replicas"),
            )
        }
        "DaemonSet" => {
            if spec["updateStrategy"]["type"] == "OnDelete" {
                return None;
            }
            let wanted = count("desiredNumberScheduled");
            (
                wanted,
                count("updatedNumberScheduled"),
                count("numberAvailable"),
                wanted,
            )
        }
        _ => return None,
    };
    if status["observedGeneration"].as_u64().unwrap_or(0) < generation {
        return Some(Rollout::Waits("not looked at yet".to_owned()));
    }
    Some(if updated >= wanted && ready >= wanted && all <= wanted {
        Rollout::Done
    } else if updated >= wanted && all > wanted {
        Rollout::Waits(format!("{} old ones still there", all - wanted))
    } else {
        Rollout::Waits(format!("{updated} of {wanted} updated, {ready} ready"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rollouts_are_over_when_all_is_new_and_ready() {
        let waits = |t: &str| Some(Rollout::Waits(t.to_owned()));
        let deployment = |status: Value| {
            rollout(&json!({"kind": "Deployment", "metadata": {"generation": 2},
                "spec": {"replicas": 3}, "status": status}))
        };
        assert_eq!(deployment(json!({})), waits("not looked at yet"));
        assert_eq!(
            deployment(
                json!({"observedGeneration": 2, "replicas": 4, "updatedReplicas": 1, "availableReplicas": 3})
            ),
            waits("1 of 3 updated, 3 ready")
        );
        assert_eq!(
            deployment(
                json!({"observedGeneration": 2, "replicas": 4, "updatedReplicas": 3, "availableReplicas": 4})
            ),
            waits("1 old ones still there")
        );
        assert_eq!(
            deployment(
                json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3})
            ),
            Some(Rollout::Done)
        );
        let stuck = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "no"}]);
        assert_eq!(
            deployment(json!({"conditions": stuck})),
            Some(Rollout::Failed("no".to_owned()))
        );
        let job = |c: &str| {
            rollout(
                &json!({"kind": "Job", "spec": {}, "status": {"conditions": [
                {"type": c, "status": "True", "reason": "BackoffLimitExceeded"}]}}),
            )
        };
        assert_eq!(job("Complete"), Some(Rollout::Done));
        assert_eq!(
            job("Failed"),
            Some(Rollout::Failed("BackoffLimitExceeded".to_owned()))
        );
        assert_eq!(job("x"), waits("0 of 1 complete"));
        assert_eq!(rollout(&json!({"kind": "Pod"})), waits("Pending"));
        assert_eq!(rollout(&json!({"kind": "ConfigMap"})), None);
        assert_eq!(
            rollout(&json!({"kind": "DaemonSet", "status": {"desiredNumberScheduled": 1}})),
            waits("0 of 1 updated, 0 ready")
        );
    }

    #[test]
    fn labels_are_checked_and_strangers_left_alone() {
        let labels = selector("a=b, c==d").unwrap();
        assert_eq!(labels[1], ("c".to_owned(), "d".to_owned()));
        for wrong in ["", "a", "a!=b", "=b"] {
            assert!(selector(wrong).is_err(), "{wrong}");
        }
        let of =
            |labels: Value| [json!({"kind": "Pod", "metadata": {"name": "x", "labels": labels}})];
        assert!(bear(&of(json!({"a": "b", "c": "d"})), &labels).is_ok());
        let lacks = bear(&of(json!({"a": "b"})), &labels).unwrap_err();
        assert!(
            lacks.what().starts_with("pod/x is without the label c=d"),
            "{lacks:?}"
        );
        let ours = json!({"metadata": {"managedFields": [{"manager": "coracle"}]}});
        assert!(is_ours(&ours));
        let mut owned = ours.clone();
        owned["metadata"]["ownerReferences"] = json!([{}]);
        assert!(!is_ours(&owned));
        assert!(!is_ours(
            &json!({"metadata": {"managedFields": [{"manager": "kubectl"}]}})
        ));
    }

    #[test]
    fn what_others_need_goes_first_and_the_servers_fields_stay_here() {
        let mut all: Vec<Value> = ["Service", "Secret", "Pod", "Namespace"]
            .map(|k| json!({"kind": k, "status": {}, "metadata": {"name": "x", "uid": "1"}}))
            .into();
        order(&mut all);
        let kinds: Vec<&str> = all.iter().filter_map(|o| o["kind"].as_str()).collect();
        assert_eq!(kinds, ["Namespace", "Secret", "Service", "Pod"]);
        assert_eq!(
            sent(&all[0]),
            json!({"kind": "Namespace", "metadata": {"name": "x"}})
        );
    }
}
