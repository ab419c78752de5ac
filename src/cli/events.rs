//! `events`.

use serde_json::{Value, json};

use super::output::{Out, Template, listing};
use crate::base::time::Timestamp;
use crate::base::{Kind, Result};
use crate::events::{Event, Filter, Type};
use crate::operations::events::{EventsOptions, events};
use crate::operations::session::Session;

/// Show what happens to containers, images and volumes
///
/// Without --since and --until only what happens from now on is shown. Times are RFC 3339, a date,
/// seconds since 1970, or how long ago (10m).
#[derive(Debug, clap::Args)]
pub struct EventsArgs {
    /// Only events for which this holds: container, event, image, label, network, pod, type, volume
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Go template, or json
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Show ids in full
    #[arg(long, default_value = "true", hide_default_value = true)]
    pub no_trunc: Option<bool>,
    /// Not before this time
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Stay and show what happens; with false, show what is kept and end
    #[arg(long, default_value = "true", hide_default_value = true)]
    pub stream: Option<bool>,
    /// Not after this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

/// Runs `events`; answers the exit code.
///
/// # Errors
/// Filters, times and templates that make no sense; what the kernel says.
pub fn run(args: EventsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let now = Timestamp::now();
    let moment = |text: Option<&str>| text.map(|t| Timestamp::parse_moment(t, now)).transpose();
    let mut filter = Filter::parse(&args.filter)?;
    filter.since = moment(args.since.as_deref())?;
    filter.until = moment(args.until.as_deref())?;
    let options = EventsOptions {
        filter,
        stream: args.stream != Some(false),
    };
    let style = match args.format.as_deref() {
        None => Style::Person,
        Some(format) if listing::is_json(format) => Style::Json,
        Some(format) => Style::Template(Template::parse(format)?),
    };
    let full = args.no_trunc != Some(false);
    let docker = out.is_docker();
    let shown = events(session, &options, &mut |event| match event {
        None => out.flush(),
        Some(event) => {
            let text = match &style {
                Style::Person => person(event, full),
                Style::Json => machine(event, docker, true).to_string(),
                Style::Template(template) => template.render(&fields(event, docker, full))?,
            };
            out.line(text)
        }
    });
    match shown {
        Err(e) if e.kind() == Kind::Interrupted && out.is_closed() => Ok(0),
        other => other.map(|()| 0),
    }
}

enum Style {
    Person,
    Json,
    Template(Template),
}

fn short(id: &str, full: bool) -> &str {
    match id.get(..12) {
        Some(short) if !full => short,
        _ => id,
    }
}

/// podman's line for people.
fn person(event: &Event, full: bool) -> String {
    let mut text = format!(
        "{} {} {}",
        local(event.time),
        event.kind.name(),
        event.action
    );
    let id = short(&event.id, full);
    match event.kind {
        Type::Container | Type::Pod => {
            let image = &event.image;
            text.push_str(&format!(" {id} (image={image}, name={}", event.name));
            if let Some(code) = event.exit_code {
                text.push_str(&format!(", exit_code={code}"));
            }
            for (key, value) in &event.attributes {
                text.push_str(&format!(", {key}={value}"));
            }
            text.push(')');
        }
        Type::Network => {
            let container = event.attributes.get("container").map_or("", String::as_str);
            text.push_str(&format!(
                " {id} (container={container}, name={})",
                event.name
            ));
        }
        Type::Image | Type::Volume | Type::Secret | Type::System => {
            for word in [id, event.name.as_str()] {
                // A volume has its name as its id.
                if !word.is_empty() && !text.ends_with(&format!(" {word}")) {
                    text.push(' ');
                    text.push_str(word);
                }
            }
        }
    }
    text
}

/// Go's way to print a time: `2026-11-23 08:05:42.25 +0000 UTC`.
fn local(time: Timestamp) -> String {
    let Ok(stamp) = jiff::Timestamp::from_nanosecond(i128::from(time.0)) else {
        return time.rfc3339();
    };
    let zoned = stamp.to_zoned(jiff::tz::TimeZone::system());
    let whole = zoned.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let nanos = format!("{:09}", time.0.rem_euclid(1_000_000_000));
    let fraction = match nanos.trim_end_matches('0') {
        "" => String::new(),
        digits => format!(".{digits}"),
    };
    format!("{whole}{fraction} {}", zoned.strftime("%z %Z"))
}

/// The object that `--format` sees: podman's fields, or docker's when called as docker.
pub(crate) fn machine(event: &Event, docker: bool, full: bool) -> Value {
    let id = short(&event.id, full);
    if docker {
        let action = docker_action(event);
        let mut attributes = json!(event.attributes);
        if let Value::Object(map) = &mut attributes {
            map.insert("name".to_owned(), json!(event.name));
            if !event.image.is_empty() {
                map.insert("image".to_owned(), json!(event.image));
            }
            if let Some(code) = event.exit_code {
                map.insert("exitCode".to_owned(), json!(code.to_string()));
            }
        }
        return json!({
            "status": action, "id": id, "from": event.image,
            "Type": event.kind.name(), "Action": action,
            "Actor": { "ID": id, "Attributes": attributes },
            "scope": "local", "time": event.time.seconds(), "timeNano": event.time.0,
        });
    }
    let mut value = json!({
        "ID": id,
        "Image": event.image,
        "Name": event.name,
        "Status": event.action,
        "Time": event.time.rfc3339(),
        "Type": event.kind.name(),
        "Attributes": event.attributes,
        "time": event.time.seconds(),
        "timeNano": event.time.0,
    });
    if let Value::Object(map) = &mut value {
        if let Some(code) = event.exit_code {
            map.insert("ContainerExitCode".to_owned(), json!(code));
        }
        if !health(event).is_empty() {
            map.insert("HealthStatus".to_owned(), json!(health(event)));
        }
    }
    value
}

/// As [`machine`], with the names that templates use for the same values.
fn fields(event: &Event, docker: bool, full: bool) -> Value {
    let mut value = machine(event, docker, full);
    let more = if docker {
        json!({
            "Status": value["status"], "ID": value["id"], "From": event.image, "Scope": "local",
            "Time": event.time.seconds(), "TimeNano": event.time.0,
        })
    } else {
        json!({
            "TimeNano": event.time.0, "ContainerExitCode": event.exit_code.unwrap_or(0),
            "HealthStatus": health(event), "Network": "", "PodID": "", "Error": "",
        })
    };
    if let (Value::Object(map), Value::Object(more)) = (&mut value, more) {
        map.extend(more);
    }
    value
}

/// The state that a check brought about.
fn health(event: &Event) -> &str {
    event
        .attributes
        .get("health_status")
        .map_or("", String::as_str)
}

/// docker's word where it has another one.
fn docker_action(event: &Event) -> String {
    let word = match (event.kind, event.action.as_str()) {
        (_, "died") => "die",
        (_, "exec_died") => "exec_die",
        (Type::Image, "remove") => "delete",
        (_, "remove") => "destroy",
        (_, "health_status") => return format!("health_status: {}", health(event)),
        (_, action) => action,
    };
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn died() -> Event {
        let mut event = Event::new(Type::Container, "died", &"ab".repeat(32), "web");
        event.time = Timestamp(1_700_000_000_250_000_000);
        event.image = "docker.io/library/alpine:latest".to_owned();
        event.exit_code = Some(3);
        event
    }

    #[test]
    fn people_read_podmans_line() {
        let text = person(&died(), false);
        let (_, rest) = text.split_once(" container ").unwrap();
        assert_eq!(
            rest,
            "died abababababab (image=docker.io/library/alpine:latest, name=web, exit_code=3)"
        );
        assert!(text.starts_with("2023-11-1"), "{text}");
        assert!(text.contains(".25 +") || text.contains(".25 -"), "{text}");
        let volume = Event::new(Type::Volume, "create", "data", "data");
        assert!(person(&volume, true).ends_with(" volume create data"));
    }

    #[test]
    fn programs_read_podmans_or_dockers_fields() {
        let podman = machine(&died(), false, true);
        assert_eq!(podman["Status"], "died");
        assert_eq!(podman["ContainerExitCode"], 3);
        assert_eq!(podman["timeNano"], 1_700_000_000_250_000_000_i64);
        let docker = machine(&died(), true, true);
        assert_eq!(docker["Action"], "die");
        assert_eq!(docker["Actor"]["Attributes"]["exitCode"], "3");
        assert_eq!(docker["time"], 1_700_000_000);
    }
}
