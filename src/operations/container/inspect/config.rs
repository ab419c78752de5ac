//! `Config`: what runs.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Context;
use crate::operations::container::summary::Summary;
use crate::state::health::{LOG_COUNT, LOG_SIZE, LogDestination, merged};
use crate::state::options::{ContainerOptions, SecretTarget};

pub(super) fn config(s: &Summary, cx: &Context<'_>) -> Value {
    let record = &s.container.record;
    let options = &record.options;
    let process = cx.spec.and_then(|spec| spec.process.as_ref());
    let image = cx.image.map(|i| &i.config);
    let env = match process {
        Some(p) => p
            .env
            .iter()
            .map(|entry| without_secret(options, entry))
            .collect(),
        None => {
            let mut env = image.map_or_else(Vec::new, |i| i.env.clone());
            env.extend(options.env.iter().cloned());
            env
        }
    };
    let user = options
        .user
        .clone()
        .or_else(|| image.map(|i| i.user.clone()))
        .unwrap_or_default();
    let entrypoint = options
        .entrypoint
        .clone()
        .or_else(|| image.and_then(|i| i.entrypoint.clone()));
    let cmd = if options.command.is_empty() && options.entrypoint.is_none() {
        image.and_then(|i| i.cmd.clone()).unwrap_or_default()
    } else {
        options.command.clone()
    };
    let cwd = options
        .workdir
        .clone()
        .or_else(|| image.map(|i| i.working_dir.clone()))
        .filter(|d| !d.is_empty())
        .unwrap_or_else(|| "/".to_owned());
    let volumes: Map<String, Value> = record
        .volumes
        .iter()
        .filter(|v| v.anonymous)
        .map(|v| (v.destination.clone(), json!({})))
        .collect();
    let mut exposed: BTreeMap<String, Value> = image
        .map(|i| {
            i.exposed_ports
                .keys()
                .map(|k| (with_protocol(k), json!({})))
                .collect()
        })
        .unwrap_or_default();
    exposed.extend(
        options
            .network
            .expose
            .iter()
            .map(|k| (with_protocol(k), json!({}))),
    );
    for p in &options.network.publish {
        for n in 0..p.range.max(1) {
            let port = p.container_port.saturating_add(n);
            exposed.insert(format!("{port}/{}", p.protocol.name()), json!({}));
        }
    }
    let mut config = json!({
        "Hostname": options.hostname.clone().or_else(|| cx.spec.and_then(|s| s.hostname.clone()))
            .unwrap_or_else(|| record.id.short().to_owned()),
        "Domainname": options.domainname.clone().unwrap_or_default(),
        "User": user,
        "AttachStdin": false,
        "AttachStdout": false,
        "AttachStderr": false,
        "Tty": options.tty,
        "OpenStdin": options.interactive,
        "StdinOnce": false,
        "Env": env,
        "Cmd": cmd,
        "Image": if options.image.is_empty() {
            String::new()
        } else {
            record.image.as_ref().map_or_else(|| options.image.clone(), |i| i.name.clone())
        },
        "Volumes": if volumes.is_empty() { Value::Null } else { Value::Object(volumes) },
        "WorkingDir": cwd,
        "Entrypoint": entrypoint,
        "OnBuild": image.map(|i| i.on_build.clone()).filter(|o| !o.is_empty()),
        "Labels": options.labels,
        "Annotations": cx.spec.map_or_else(|| options.annotations.clone(), |s| s.annotations.clone()),
        "StopSignal": signal_name(record.stop_signal),
        "Healthcheck": merged(options.healthcheck.as_ref(), image.and_then(|i| i.healthcheck.as_ref())),
        "HealthcheckOnFailureAction": options.health.on_failure.name(),
        "HealthLogDestination": match &options.health.log {
            LogDestination::Local => "local".to_owned(),
            LogDestination::Events => "events_logger".to_owned(),
            LogDestination::Directory(folder) => folder.display().to_string(),
        },
        "HealthcheckMaxLogCount": options.health.max_log_count.unwrap_or(LOG_COUNT),
        "HealthcheckMaxLogSize": options.health.max_log_size.unwrap_or(LOG_SIZE),
        "StartupHealthCheck": options.health.startup.as_ref().map(|s| json!({
            "Test": s.test, "Interval": s.interval, "Timeout": s.timeout, "Retries": s.retries,
            "Successes": s.success,
        })),
        "CreateCommand": options.create_command,
        "Umask": format!("{:04o}", options.umask.unwrap_or(0o022)),
        "Timeout": options.timeout,
        "StopTimeout": options.stop_timeout.unwrap_or(10),
        "Passwd": options.passwd.unwrap_or(true),
        "sdNotifyMode": options.sdnotify.name(),
        "ExposedPorts": exposed,
        "Timezone": options.timezone,
        "SystemdMode": options.systemd == crate::state::options::SystemdMode::Always,
        "Secrets": secrets(s),
    });
    if let Some(map) = config.as_object_mut() {
        for optional in [
            "Healthcheck",
            "StartupHealthCheck",
            "ExposedPorts",
            "Timezone",
            "Secrets",
        ] {
            let empty = match &map[optional] {
                Value::Null => true,
                Value::Object(o) => o.is_empty(),
                Value::Array(a) => a.is_empty(),
                _ => false,
            };
            if empty {
                map.shift_remove(optional);
            }
        }
    }
    config
}

/// A variable as it may be shown: the value of one that is a secret is not.
fn without_secret(options: &ContainerOptions, entry: &str) -> String {
    let name = entry.split('=').next().unwrap_or_default();
    let is_secret = options
        .secrets
        .iter()
        .any(|s| matches!(&s.target, SecretTarget::Env { name: secret } if secret == name));
    if is_secret {
        format!("{name}=*******")
    } else {
        entry.to_owned()
    }
}

fn secrets(s: &Summary) -> Vec<Value> {
    s.container
        .record
        .options
        .secrets
        .iter()
        .map(|secret| match &secret.target {
            SecretTarget::File { uid, gid, mode, .. } => {
                json!({"Name": secret.name, "ID": secret.name, "UID": uid, "GID": gid, "Mode": mode})
            }
            SecretTarget::Env { .. } => json!({"Name": secret.name, "ID": secret.name}),
        })
        .collect()
}

/// `80` means `80/tcp`.
fn with_protocol(port: &str) -> String {
    if port.contains('/') {
        port.to_owned()
    } else {
        format!("{port}/tcp")
    }
}

/// `SIGTERM` and so on; 0 is the default.
pub(super) fn signal_name(number: i32) -> String {
    super::super::signal::name(if number == 0 { libc::SIGTERM } else { number })
}
