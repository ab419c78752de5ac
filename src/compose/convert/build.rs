//! The `build` of a service as words of `build`.

use serde_json::Value;

use super::{Words, list, texts};
use crate::base::Result;
use crate::compose::project::{Keys, Project};
use crate::compose::schema::text;

/// The words of `build` for a service, the context last, and a Dockerfile that is in the project.
///
/// # Errors
/// `Invalid` for values that have no meaning.
pub fn build(project: &Project, service: &str, keys: &Keys) -> Result<(Words, Option<String>)> {
    let empty = Value::Null;
    let build = keys.get("build").unwrap_or(&empty);
    let mut w = Words::default();
    w.put("tag", &project.image(service, keys));
    for tag in texts(build.get("tags")) {
        w.put("tag", &tag);
    }
    for (key, flag) in [
        ("target", "target"),
        ("network", "network"),
        ("shm_size", "shm-size"),
        ("provenance", "provenance"),
        ("sbom", "sbom"),
    ] {
        w.put_text(flag, build.get(key));
    }
    for (key, value) in build
        .get("args")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        if let Some(value) = text(value).or_else(|| project.env.get(key).cloned()) {
            w.put("build-arg", &format!("{key}={value}"));
        }
    }
    w.put_map("label", build.get("labels"));
    for (key, flag) in [
        ("ssh", "ssh"),
        ("cache_from", "cache-from"),
        ("cache_to", "cache-to"),
        ("no_cache_filter", "no-cache-filter"),
        ("entitlements", "allow"),
    ] {
        w.put_all(flag, build.get(key));
    }
    for (name, place) in build
        .get("additional_contexts")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let place = text(place).unwrap_or_default();
        let place = match place.strip_prefix("service:") {
            Some(other) => format!(
                "docker-image://{}",
                project.image(other, project.service(other)?)
            ),
            None => place,
        };
        w.put("build-context", &format!("{name}={place}"));
    }
    for host in texts(build.get("extra_hosts")) {
        w.put("add-host", &host.replacen('=', ":", 1));
    }
    w.put_ulimits(build.get("ulimits"));
    w.put_if("no-cache", build.get("no_cache"));
    if build.get("pull") == Some(&Value::Bool(true)) {
        w.put("pull", "always");
    }
    if build.get("privileged") == Some(&Value::Bool(true)) {
        w.put("allow", "security.insecure");
    }
    match texts(build.get("platforms")) {
        list if !list.is_empty() => w.put("platform", &list.join(",")),
        _ => w.put_text("platform", keys.get("platform")),
    }
    for grant in list(build.get("secrets")) {
        let source = grant.get("source").and_then(text).unwrap_or_default();
        let id = grant
            .get("target")
            .and_then(text)
            .unwrap_or_else(|| source.clone());
        let what = project
            .objects("secrets")
            .find(|(n, _)| **n == source)
            .map(|(_, k)| k);
        let of = |key: &str| what.and_then(|k| k.get(key)).and_then(text);
        match (of("file"), of("environment")) {
            (Some(file), _) => w.put("secret", &format!("id={id},src={file}")),
            (_, Some(variable)) => w.put("secret", &format!("id={id},env={variable}")),
            _ => w.notices.push(format!(
                "build.secrets: {source:?} is neither a file nor a variable"
            )),
        }
    }
    let context = build
        .get("context")
        .and_then(text)
        .unwrap_or_else(|| ".".to_owned());
    let inline = build.get("dockerfile_inline").and_then(text);
    if inline.is_none()
        && let Some(file) = build.get("dockerfile").and_then(text)
    {
        let file = match crate::compose::canonical::is_remote(&context) {
            true => file,
            false => crate::compose::canonical::clean(&std::path::Path::new(&context).join(file)),
        };
        w.put("file", &file);
    }
    w.words.push(context);
    Ok((w, inline))
}
