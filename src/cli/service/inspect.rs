//! `service inspect`.

use serde_json::{Map, Value, json};

use crate::base::Result;
use crate::cli::output::{Out, listing};
use crate::operations::network::Networks;
use crate::operations::service;
use crate::operations::session::Session;
use crate::state::options::{PortMapping, RestartPolicy};
use crate::state::service::{Desired, Rolling, ServiceRecord};

/// Show everything about services
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Print by a Go template, or `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Print for people
    #[arg(long, conflicts_with = "format")]
    pretty: bool,
    /// Names or ids
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `service inspect`.
///
/// # Errors
/// `NotFound`, after the found ones are printed; what the template says.
pub fn run(args: InspectArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let (mut values, mut failed) = (Vec::new(), None);
    for name in &args.services {
        match service::find(session, name) {
            Ok(record) if args.pretty => pretty(&record, out)?,
            Ok(record) => values.push(value(session, &record)),
            Err(e) => failed = Some(e.exit_code(1)),
        }
    }
    match args.format.as_deref() {
        _ if args.pretty => {}
        Some(format) if !listing::is_json(format) => {
            for value in &values {
                listing::print_object(out, Some(format), value)?;
            }
        }
        _ => out.json(&Value::Array(values))?,
    }
    failed.map_or(Ok(0), Err)
}

/// docker's object.
pub(crate) fn value(session: &Session, record: &ServiceRecord) -> Value {
    let networks = Networks::new(&session.dirs);
    let addresses: Vec<Value> = record
        .addresses
        .iter()
        .map(|(name, address)| {
            let network = networks.get(name).ok().flatten();
            let subnets = network.iter().flat_map(|n| &n.subnets);
            let mut bits = subnets.filter(|s| s.subnet.contains(*address));
            json!({
                "NetworkID": network.as_ref().map_or(name.as_str(), |n| n.id.as_str()),
                "Addr": format!("{address}/{}", bits.next().map_or(32, |s| s.subnet.bits())),
            })
        })
        .collect();
    let mut value = json!({
        "ID": record.id,
        "Version": {"Index": record.changes},
        "CreatedAt": record.created.rfc3339_nanos(),
        "UpdatedAt": record.updated.rfc3339_nanos(),
        "Spec": spec(record.name.as_str(), &record.desired),
        "Endpoint": {
            "Spec": endpoint(&record.desired),
            "Ports": ports(&record.desired.publish),
            "VirtualIPs": addresses,
        },
    });
    if let Some(previous) = &record.previous {
        value["PreviousSpec"] = spec(record.name.as_str(), previous);
    }
    if let Some(progress) = &record.progress {
        value["UpdateStatus"] = json!({
            "State": progress.state.name(),
            "StartedAt": progress.started.rfc3339_nanos(),
            "CompletedAt": progress.completed.map(crate::base::time::Timestamp::rfc3339_nanos),
            "Message": progress.message,
        });
    }
    value
}

fn spec(name: &str, desired: &Desired) -> Value {
    let mut task = Map::new();
    if let Some(options) = &desired.options {
        let mut labels = options.labels.clone();
        labels.retain(|key, _| !key.starts_with("com.docker.swarm."));
        let own = json!({
            "Image": options.image,
            "Labels": labels,
            "Command": options.entrypoint,
            "Args": options.command,
            "Env": options.env,
            "Dir": options.workdir,
            "User": options.user,
            "Hostname": options.hostname,
            "TTY": options.tty,
            "ReadOnly": options.read_only,
            "Init": options.init,
            "StopGracePeriod": u64::from(options.stop_timeout.unwrap_or(10)) * 1_000_000_000,
            "Healthcheck": options.healthcheck,
            "Secrets": options.secrets.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
            "CapabilityAdd": options.cap_add,
            "CapabilityDrop": options.cap_drop,
        });
        task.insert("ContainerSpec".to_owned(), without_nothing(own));
        let condition = match options.restart {
            RestartPolicy::No => "none",
            RestartPolicy::OnFailure(_) => "on-failure",
            RestartPolicy::Always | RestartPolicy::UnlessStopped => "any",
        };
        let attempts = match options.restart {
            RestartPolicy::OnFailure(most) => most.unwrap_or(0),
            _ => 0,
        };
        task.insert(
            "RestartPolicy".to_owned(),
            json!({"Condition": condition, "MaxAttempts": attempts}),
        );
    }
    let networks = desired.networks.iter().map(|n| json!({"Target": n}));
    task.insert("Networks".to_owned(), networks.collect());
    task.insert("ForceUpdate".to_owned(), json!(desired.revision));
    let mode = match desired.global {
        true => json!({"Global": {}}),
        false => json!({"Replicated": {"Replicas": desired.replicas}}),
    };
    json!({
        "Name": name,
        "Labels": desired.labels,
        "TaskTemplate": task,
        "Mode": mode,
        "UpdateConfig": rolling(&desired.update),
        "RollbackConfig": rolling(&desired.rollback),
        "EndpointSpec": endpoint(desired),
    })
}

/// What was not given is left out, as docker does.
fn without_nothing(value: Value) -> Value {
    let Value::Object(map) = value else {
        return value;
    };
    let is_nothing = |v: &Value| match v {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    map.into_iter().filter(|(_, v)| !is_nothing(v)).collect()
}

fn rolling(rolling: &Rolling) -> Value {
    json!({
        "Parallelism": rolling.parallelism,
        "Delay": rolling.delay,
        "FailureAction": rolling.on_failure.name(),
        "Monitor": rolling.monitor,
        "MaxFailureRatio": rolling.max_failure_ratio,
        "Order": rolling.order.name(),
    })
}

fn endpoint(desired: &Desired) -> Value {
    json!({
        "Mode": if desired.direct { "dnsrr" } else { "vip" },
        "Ports": ports(&desired.publish),
    })
}

fn ports(list: &[PortMapping]) -> Value {
    let each = list.iter().flat_map(|m| {
        (0..m.range.max(1)).map(move |n| {
            json!({
                "Protocol": m.protocol.name(),
                "TargetPort": m.container_port.saturating_add(n),
                "PublishedPort": m.host_port.saturating_add(n),
                "PublishMode": "ingress",
            })
        })
    });
    each.collect()
}

/// docker's `--pretty`, what it shows of it.
fn pretty(record: &ServiceRecord, out: &mut Out) -> Result<()> {
    let desired = &record.desired;
    let mut text = format!("\nID:\t\t{}\nName:\t\t{}\n", record.id, record.name);
    for (at, (key, value)) in desired.labels.iter().enumerate() {
        let head = if at == 0 { "Labels:\n" } else { "" };
        text.push_str(&format!("{head} {key}={value}\n"));
    }
    let mode = if desired.global {
        "Global"
    } else {
        "Replicated"
    };
    text.push_str(&format!("Service Mode:\t{mode}\n"));
    if !desired.global {
        text.push_str(&format!(" Replicas:\t{}\n", desired.replicas));
    }
    if let Some(progress) = &record.progress {
        text.push_str(&format!(
            "UpdateStatus:\n State:\t\t{}\n Message:\t{}\n",
            progress.state.name(),
            progress.message
        ));
    }
    for (head, rolling) in [
        ("UpdateConfig", &desired.update),
        ("RollbackConfig", &desired.rollback),
    ] {
        text.push_str(&format!(
            "{head}:\n Parallelism:\t{}\n Delay:\t\t{}\n On failure:\t{}\n Monitoring Period: {}\n Max failure ratio: {}\n Update order:      {}\n",
            rolling.parallelism,
            seconds(rolling.delay),
            rolling.on_failure.name(),
            seconds(rolling.monitor),
            rolling.max_failure_ratio,
            rolling.order.name()
        ));
    }
    if let Some(options) = &desired.options {
        text.push_str(&format!("ContainerSpec:\n Image:\t\t{}\n", options.image));
        if !options.command.is_empty() {
            text.push_str(&format!(" Args:\t\t{}\n", options.command.join(" ")));
        }
        if !options.env.is_empty() {
            text.push_str(&format!(" Env:\t\t{}\n", options.env.join(" ")));
        }
    }
    text.push_str(&format!("Networks: {}\n", desired.networks.join(" ")));
    let mode = if desired.direct { "dnsrr" } else { "vip" };
    text.push_str(&format!("Endpoint Mode:\t{mode}\n"));
    for (network, address) in &record.addresses {
        text.push_str(&format!(" {network}:\t{address}\n"));
    }
    if !desired.publish.is_empty() {
        text.push_str("Ports:\n");
    }
    for mapping in &desired.publish {
        text.push_str(&format!(" {}\n", super::ls::port(mapping)));
    }
    out.text(&text)
}

fn seconds(nanos: u64) -> String {
    format!("{}s", nanos / 1_000_000_000)
}
