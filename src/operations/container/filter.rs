//! `--filter` of container commands: pure, over what the records say.
//!
//! Values of one key are alternatives, different keys must all hold; `label` values must all hold.

use std::collections::BTreeMap;

use super::pattern::Pattern;
use super::summary::Summary;
use crate::base::time::Timestamp;
use crate::base::{Error, Result};
use crate::spec::reference::Reference;
use crate::state::options::{NetworkMode, RestartPolicy};

/// The keys that people may use.
pub const KEYS: &[&str] = &[
    "ancestor",
    "before",
    "command",
    "exited",
    "health",
    "id",
    "label",
    "label!",
    "name",
    "network",
    "pod",
    "restart-policy",
    "since",
    "status",
    "until",
    "volume",
    "publish",
    "expose",
];

/// Parsed filters.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    by_key: BTreeMap<&'static str, Vec<Test>>,
}

#[derive(Clone, Debug)]
enum Test {
    Id(String),
    Name(Pattern),
    Label {
        key: String,
        value: Option<String>,
    },
    Exited(i32),
    Status(String),
    Ancestor(String),
    CreatedBefore(Timestamp),
    CreatedAfter(Timestamp),
    Volume(String),
    Health(String),
    /// A pod's id, or its beginning; names were looked up before.
    Pod(String),
    Network(String),
    RestartPolicy(String),
    Command(String),
    Port {
        number: u16,
        protocol: Option<String>,
    },
}

impl Filters {
    /// Parses `key=value` words. `moment_of` finds when the container of a `before` or `since` was
    /// created.
    ///
    /// # Errors
    /// `Invalid` for unknown keys and malformed values; what `moment_of` says.
    pub fn parse(
        words: &[String],
        now: Timestamp,
        moment_of: &dyn Fn(&str) -> Result<Timestamp>,
    ) -> Result<Self> {
        let mut by_key: BTreeMap<&'static str, Vec<Test>> = BTreeMap::new();
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| {
                Error::invalid(format!("invalid filter {word:?}"))
                    .hint("write it as KEY=VALUE, e.g. --filter status=running")
            })?;
            // `label!=x` splits into `label!` and `x`.
            let key = KEYS.iter().find(|k| **k == key).ok_or_else(|| {
                Error::invalid(format!("unknown filter {key:?}"))
                    .hint(format!("filters are {}", KEYS.join(", ")))
            })?;
            by_key
                .entry(key)
                .or_default()
                .push(parse_test(key, value, now, moment_of)?);
        }
        Ok(Self { by_key })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Whether containers that do not run may be wanted: `ps` then looks at all of them.
    pub fn names_states(&self) -> bool {
        self.by_key.contains_key("status") || self.by_key.contains_key("exited")
    }

    /// Whether all filters hold for a container.
    pub fn accept(&self, summary: &Summary) -> bool {
        self.by_key.iter().all(|(key, tests)| match *key {
            "label" => tests.iter().all(|t| t.holds(summary)),
            "label!" => !tests.iter().any(|t| t.holds(summary)),
            _ => tests.iter().any(|t| t.holds(summary)),
        })
    }
}

fn parse_test(
    key: &str,
    value: &str,
    now: Timestamp,
    moment_of: &dyn Fn(&str) -> Result<Timestamp>,
) -> Result<Test> {
    let bad = |hint: &str| {
        Error::invalid(format!("invalid value {value:?} of filter {key:?}")).hint(hint)
    };
    Ok(match key {
        "id" => Test::Id(value.to_owned()),
        "name" => Test::Name(Pattern::parse(value.trim_start_matches('/'))?),
        "label" | "label!" => match value.split_once('=') {
            Some((k, v)) => Test::Label {
                key: k.to_owned(),
                value: Some(v.to_owned()),
            },
            None => Test::Label {
                key: value.to_owned(),
                value: None,
            },
        },
        "exited" => Test::Exited(value.parse().map_err(|_| bad("an exit code is a number"))?),
        "status" => {
            const STATES: &[&str] = &[
                "created",
                "configured",
                "initialized",
                "running",
                "paused",
                "exited",
                "stopped",
                "restarting",
                "waiting",
                "removing",
                "stopping",
                "dead",
                "unknown",
            ];
            let value = value.to_ascii_lowercase();
            if !STATES.contains(&value.as_str()) {
                return Err(bad(&format!("states are {}", STATES.join(", "))));
            }
            Test::Status(value)
        }
        "ancestor" => Test::Ancestor(value.to_owned()),
        "before" => Test::CreatedBefore(moment_of(value)?),
        "since" => Test::CreatedAfter(moment_of(value)?),
        "until" => Test::CreatedBefore(Timestamp::parse_moment(value, now)?),
        "volume" => Test::Volume(value.to_owned()),
        "health" => {
            if !["healthy", "unhealthy", "starting", "none"].contains(&value) {
                return Err(bad("use healthy, unhealthy, starting or none"));
            }
            Test::Health(value.to_owned())
        }
        "pod" => Test::Pod(value.to_owned()),
        "network" => Test::Network(value.to_owned()),
        "restart-policy" => Test::RestartPolicy(value.to_owned()),
        "command" => Test::Command(value.to_owned()),
        "publish" | "expose" => {
            let (number, protocol) = match value.split_once('/') {
                Some((n, p)) => (n, Some(p.to_owned())),
                None => (value, None),
            };
            Test::Port {
                number: number
                    .parse()
                    .map_err(|_| bad("write it as PORT[/PROTOCOL]"))?,
                protocol,
            }
        }
        _ => return Err(Error::internal(format!("filter {key:?} has no test"))),
    })
}

impl Test {
    fn holds(&self, s: &Summary) -> bool {
        let record = &s.container.record;
        match self {
            Self::Id(prefix) => record.id.as_str().starts_with(prefix.as_str()),
            Self::Name(pattern) => pattern.is_match(record.name.as_str()),
            Self::Label { key, value } => s
                .label(key)
                .is_some_and(|have| value.as_deref().is_none_or(|want| want == have)),
            Self::Exited(code) => s.ended() && s.exit.as_ref().is_some_and(|e| e.code == *code),
            Self::Status(name) => match name.as_str() {
                "stopped" | "exited" | "dead" => s.ended(),
                "configured" => s.state.name() == "created",
                other => s.state.name() == other,
            },
            Self::Ancestor(value) => is_ancestor(s, value),
            Self::CreatedBefore(moment) => record.created < *moment,
            Self::CreatedAfter(moment) => record.created > *moment,
            Self::Volume(value) => {
                record
                    .volumes
                    .iter()
                    .any(|v| v.name == *value || v.destination == *value)
                    || record
                        .options
                        .mounts
                        .iter()
                        .any(|m| m.destination == *value)
                    || s.bind_sources().any(|p| p == value.as_str())
            }
            Self::Health(value) => s.health() == value,
            Self::Pod(id) => {
                let own = record.options.pod.as_deref();
                own.is_some_and(|own| !id.is_empty() && own.starts_with(id.as_str()))
            }
            Self::Network(value) => {
                network_name(&record.options.network.mode) == *value
                    || s.status.as_ref().is_some_and(|st| st.network == *value)
                    || s.networks().iter().any(|n| is_network(n, s, value))
            }
            Self::RestartPolicy(value) => {
                let policy = policy_name(&record.options.restart);
                policy == *value
                    || matches!(&record.options.restart, RestartPolicy::OnFailure(Some(n)) if *value == format!("on-failure:{n}"))
            }
            Self::Command(value) => s.command().first().is_some_and(|c| c == value),
            Self::Port { number, protocol } => s.ports().iter().any(|p| {
                (p.container_port..p.container_port.saturating_add(p.range.max(1))).contains(number)
                    && protocol
                        .as_deref()
                        .is_none_or(|want| want == p.protocol.name())
            }),
        }
    }
}

fn is_ancestor(s: &Summary, value: &str) -> bool {
    let Some(image) = &s.container.record.image else {
        return false;
    };
    let wanted_hex = value.strip_prefix("sha256:").unwrap_or(value);
    let is_hex = wanted_hex.len() >= 4 && wanted_hex.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hex && image.id.hex().starts_with(wanted_hex) {
        return true;
    }
    let Ok(wanted) = Reference::parse_normalized(value) else {
        return false;
    };
    // Without a tag any tag will do.
    let tagged = value
        .rsplit('/')
        .next()
        .is_some_and(|last| last.contains([':', '@']));
    let wanted = wanted.to_string();
    if tagged {
        return image.name == wanted
            || image.name.strip_prefix("localhost/") == Some(value)
            || image.name.strip_suffix(&format!("/{value}")).is_some();
    }
    let without_tag = |name: &str| match name.rsplit_once(':') {
        Some((head, tail)) if !tail.contains('/') => head.to_owned(),
        _ => name.to_owned(),
    };
    let have = without_tag(&image.name);
    have == without_tag(&wanted) || have.ends_with(&format!("/{value}"))
}

/// The word for a restart policy.
pub fn policy_name(policy: &RestartPolicy) -> &'static str {
    match policy {
        RestartPolicy::No => "no",
        RestartPolicy::OnFailure(_) => "on-failure",
        RestartPolicy::Always => "always",
        RestartPolicy::UnlessStopped => "unless-stopped",
    }
}

/// Whether `value` means the network `name`: its name, docker's for the default one, or its id.
fn is_network(name: &str, s: &Summary, value: &str) -> bool {
    use crate::state::network::{DEFAULT, DEFAULT_OF_DOCKER};
    let networks = s.status.iter().flat_map(|st| &st.networks);
    name == value
        || (name == DEFAULT && value == DEFAULT_OF_DOCKER)
        || networks
            .filter(|n| n.name.as_str() == name)
            .any(|n| value.len() >= 6 && n.id.starts_with(value))
}

/// The word for a network mode.
pub fn network_name(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::Default => "pasta".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::Container(c) => format!("container:{c}"),
        NetworkMode::Path(p) => format!("ns:{}", p.display()),
        NetworkMode::Pasta(_) => "pasta".to_owned(),
        NetworkMode::Slirp4netns(_) => "slirp4netns".to_owned(),
        NetworkMode::Networks(_) => "bridge".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::container::summary::tests::sample;

    #[test]
    fn filters_hold_as_podman_has_them() {
        let s = sample();
        let now = Timestamp(s.container.record.created.0 + 60_000_000_000);
        let created = s.container.record.created;
        let moment_of = |name: &str| {
            Ok(match name {
                "older" => Timestamp(created.0 - 1),
                _ => Timestamp(created.0 + 1),
            })
        };
        for (words, expected) in [
            (&["id=abab"][..], true),
            (&["id=cd"], false),
            (&["name=we"], true),
            (&["name=^web$"], true),
            (&["name=db"], false),
            (&["name=db", "name=web"], true),
            (&["label=app"], true),
            (&["label=app=demo"], true),
            (&["label=app=other"], false),
            (&["label=app", "label=none"], false),
            (&["label!=app"], false),
            (&["label!=other"], true),
            (&["status=created"], true),
            (&["status=running"], false),
            (&["status=running", "status=created"], true),
            (&["exited=0"], false),
            (&["ancestor=alpine"], true),
            (&["ancestor=alpine:latest"], true),
            (&["ancestor=docker.io/library/alpine:latest"], true),
            (&["ancestor=alpine:3.20"], false),
            (&["ancestor=cccccc"], true),
            (&["ancestor=debian"], false),
            (&["since=older"], true),
            (&["since=newer"], false),
            (&["before=newer"], true),
            (&["until=30s"], true),
            (&["until=5m"], false),
            (&["restart-policy=no"], true),
            (&["command=/bin/sh"], true),
            (&["command=sh"], false),
            (&["publish=80"], true),
            (&["publish=81/tcp"], false),
            (&["health=none"], true),
            (&["pod=x"], false),
            (&["network=pasta"], true),
            (&["name=web", "status=running"], false),
        ] {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            let filters = Filters::parse(&words, now, &moment_of).unwrap();
            assert_eq!(filters.accept(&s), expected, "{words:?}");
        }
        for bad in ["x", "colour=red", "status=happy", "exited=x", "name=("] {
            assert!(
                Filters::parse(&[bad.to_owned()], now, &moment_of).is_err(),
                "{bad}"
            );
        }
    }
}
