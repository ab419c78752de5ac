//! Objects as docker's `inspect` shows them, for a program that is called by that name: podman's
//! objects have most of the same fields, and a few of another form.

use serde_json::{Map, Value, json};

/// Any of them, by its kind's own field.
pub fn object(value: Value) -> Value {
    if value.get("HostConfig").is_some() {
        container(value)
    } else if value.get("RootFS").is_some() {
        image(value)
    } else if value.get("Mountpoint").is_some() {
        volume(value)
    } else {
        value
    }
}

/// Sets what is missing.
fn fill(object: &mut Value, defaults: Value) {
    if let (Some(object), Value::Object(defaults)) = (object.as_object_mut(), defaults) {
        for (key, value) in defaults {
            object.entry(key).or_insert(value);
        }
    }
}

/// Sets a field to null when it has this value, which means "not set" in podman.
fn unset(object: &mut Value, key: &str, when: &Value) {
    if let Some(field) = object.get_mut(key).filter(|f| *f == when) {
        *field = Value::Null;
    }
}

fn with_algorithm(id: &mut Value) {
    if let Some(hex) = id.as_str().filter(|h| h.len() == 64) {
        *id = format!("sha256:{hex}").into();
    }
}

/// The name begins with a slash, the image's id with its algorithm; limits that are not set are null,
/// and there is a health state only where there is a check.
fn container(mut value: Value) -> Value {
    if let Some(name) = value["Name"].as_str().filter(|n| !n.starts_with('/')) {
        value["Name"] = format!("/{name}").into();
    }
    with_algorithm(&mut value["Image"]);
    let config = &mut value["Config"];
    if let Some(name) = config["Image"].as_str() {
        let short = super::docker::familiar(name);
        config["Image"] = short.strip_suffix(":latest").unwrap_or(short).into();
    }
    let host = &mut value["HostConfig"];
    unset(host, "MemorySwappiness", &json!(-1));
    unset(host, "PidsLimit", &json!(0));
    unset(host, "OomKillDisable", &json!(false));
    for key in [
        "CapAdd",
        "CapDrop",
        "Dns",
        "DnsOptions",
        "DnsSearch",
        "ExtraHosts",
        "GroupAdd",
        "SecurityOpt",
        "VolumesFrom",
        "Binds",
    ] {
        unset(host, key, &json!([]));
    }
    if host["LogConfig"]["Config"].is_null() {
        host["LogConfig"]["Config"] = json!({});
    }
    let cgroupns = match host["CgroupMode"].as_str() {
        Some("host") => "host",
        _ => "private",
    };
    fill(
        host,
        json!({
            "CgroupnsMode": cgroupns,
            "DeviceCgroupRules": null,
            "DeviceRequests": null,
            "KernelMemoryTCP": 0,
        }),
    );
    fill(
        &mut value["NetworkSettings"],
        json!({"SecondaryIPAddresses": null, "SecondaryIPv6Addresses": null, "Ports": {}}),
    );
    if value["State"]["Health"]["Status"] == "" {
        // Absent there; templates ask whether it is set.
        value["State"]["Health"] = Value::Null;
    }
    if let Some(state) = value["State"].as_object_mut() {
        state.remove("Healthcheck");
    }
    fill(&mut value, json!({"ExecIDs": null}));
    unset(&mut value, "ExecIDs", &json!([]));
    value
}

/// The configuration has every field, set or not.
fn image(mut value: Value) -> Value {
    with_algorithm(&mut value["Id"]);
    for list in ["RepoTags", "RepoDigests"] {
        for name in value[list].as_array_mut().into_iter().flatten() {
            if let Some(text) = name.as_str() {
                *name = super::docker::familiar(text).into();
            }
        }
    }
    fill(
        &mut value["Config"],
        json!({
            "Hostname": "",
            "Domainname": "",
            "User": "",
            "AttachStdin": false,
            "AttachStdout": false,
            "AttachStderr": false,
            "Tty": false,
            "OpenStdin": false,
            "StdinOnce": false,
            "Env": null,
            "Cmd": null,
            "Image": "",
            "Volumes": null,
            "WorkingDir": "",
            "Entrypoint": null,
            "OnBuild": null,
            "Labels": null,
        }),
    );
    let created = value["Created"].clone();
    fill(
        &mut value,
        json!({"Container": "", "DockerVersion": "", "Metadata": {"LastTagTime": created}}),
    );
    value
}

fn volume(mut value: Value) -> Value {
    unset(&mut value, "Options", &json!({}));
    unset(&mut value, "Labels", &json!({}));
    if let Some(object) = value.as_object_mut() {
        for key in ["Anonymous", "MountCount", "NeedsCopyUp", "NeedsChown"] {
            object.remove(key);
        }
    }
    value
}

/// A volume's row in `volume ls`.
pub fn volume_row(mut row: Value) -> Value {
    let labels: Map<String, Value> = row["Labels"].as_object().cloned().unwrap_or_default();
    let pairs: Vec<String> = labels
        .iter()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    row["Labels"] = pairs.join(",").into();
    for key in ["Availability", "Group", "Links", "Size", "Status"] {
        row[key] = "N/A".into();
    }
    row
}

/// The keys of a volume's row.
pub const VOLUME_KEYS: &[&str] = &[
    "Availability",
    "Driver",
    "Group",
    "Labels",
    "Links",
    "Mountpoint",
    "Name",
    "Scope",
    "Size",
    "Status",
];

/// docker's sentence for what is not there: `No such container: web`.
pub fn sentence(text: &str) -> String {
    let Some(rest) = text.strip_prefix("no such ") else {
        return text.to_owned();
    };
    match rest.split_once(": ") {
        Some((kind, name)) => format!("No such {kind}: {}", name.trim_matches('"')),
        None => format!("No such {rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_dockers_forms() {
        let value = object(json!({
            "Name": "web", "Image": "a".repeat(64), "ExecIDs": [],
            "Config": {"Image": "docker.io/library/alpine:latest"},
            "State": {"Health": {"Status": ""}},
            "NetworkSettings": {},
            "HostConfig": {
                "PidsLimit": 0, "MemorySwappiness": -1, "OomKillDisable": false, "CapAdd": [],
                "CapDrop": ["X"], "LogConfig": {"Config": null}, "CgroupMode": "host",
            },
        }));
        assert_eq!(value["Name"], "/web");
        assert_eq!(value["Image"], format!("sha256:{}", "a".repeat(64)));
        assert_eq!(value["Config"]["Image"], "alpine");
        assert!(value["State"]["Health"].is_null() && value["ExecIDs"].is_null());
        let host = &value["HostConfig"];
        assert!(host["PidsLimit"].is_null() && host["CapAdd"].is_null());
        assert_eq!(host["CapDrop"], json!(["X"]));
        assert_eq!(host["CgroupnsMode"], "host");
        assert_eq!(object(value.clone()), value, "twice is as once");
    }

    #[test]
    fn what_is_not_there_is_told_in_dockers_words() {
        assert_eq!(
            sentence("no such container: \"web\""),
            "No such container: web"
        );
        assert_eq!(sentence("cannot start"), "cannot start");
        let row = volume_row(json!({"Name": "v", "Labels": {"a": "b", "c": ""}}));
        assert_eq!(
            (&row["Labels"], &row["Links"]),
            (&json!("a=b,c="), &json!("N/A"))
        );
    }
}
