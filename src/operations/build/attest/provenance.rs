//! How an image was built, as a SLSA provenance predicate.
//!
//! Spec: SLSA provenance v1. With `mode=min` neither arguments nor the Dockerfile are told; secrets
//! are never more than their ids.

use serde_json::{Value, json};

use super::wish::Detail;
use crate::build::packages::escaped;
use crate::operations::build::{Built, Request};
use crate::operations::system::version::VERSION;
use crate::spec::platform::Platform;

/// What the parameters mean: docs/formats/build.md.
const TYPE: &str =
    "https://github.com/coracle-containers/coracle/blob/main/docs/formats/build.md#provenance";

/// The predicate.
pub fn predicate(request: &Request, detail: Detail, builder: &str, built: &Built) -> Value {
    let mut asked = json!({
        "frontend": "dockerfile",
        "target": request.target,
        "platform": built.record.platform().to_string(),
    });
    let mut source = json!({ "path": request.file.name });
    if let Some(address) = &request.context.address {
        source["uri"] = address.as_str().into();
    }
    let mut internal = json!({ "builderPlatform": Platform::host().to_string() });
    if detail == Detail::Max {
        asked["args"] = json!(request.args);
        asked["labels"] = json!(request.labels);
        asked["secrets"] = request.secrets.keys().cloned().collect();
        asked["ssh"] = request.ssh.ids().map(str::to_owned).collect();
        source["content"] = request.file.source.as_str().into();
        internal["steps"] = built
            .steps
            .iter()
            .map(|step| {
                json!({
                    "instruction": step.text,
                    "key": step.key.to_string(),
                    "layer": step.layer.as_ref().map(|l| l.digest.to_string()),
                })
            })
            .collect();
    }
    let dependencies: Vec<Value> = built
        .bases
        .iter()
        .map(|base| {
            let (name, tag) = match base.name.rsplit_once(':') {
                Some((name, tag)) if !tag.contains('/') => (name, tag),
                _ => (base.name.as_str(), "latest"),
            };
            json!({
                "uri": format!("pkg:docker/{name}@{tag}?platform={}", escaped(&base.platform)),
                "digest": { base.digest.algorithm().name(): base.digest.hex() },
            })
        })
        .collect();
    let mut metadata = json!({
        "startedOn": built.started.rfc3339(),
        "finishedOn": built.finished.rfc3339(),
    });
    if request.fixed_time().is_none()
        && let Ok(id) = crate::base::random::bytes::<16>()
    {
        let hex: String = id.iter().map(|b| format!("{b:02x}")).collect();
        metadata["invocationId"] = hex.into();
    }
    json!({
        "buildDefinition": {
            "buildType": TYPE,
            "externalParameters": { "configSource": source, "request": asked },
            "internalParameters": internal,
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": { "id": builder, "version": { "coracle": VERSION } },
            "metadata": metadata,
        },
    })
}
