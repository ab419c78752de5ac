//! Which events a person asked for: `--filter`, `--since`, `--until`. Pure.
//!
//! Values of one key are alternatives, keys add up. man podman-events, `--filter`.

use super::{Event, Type};
use crate::base::time::Timestamp;
use crate::base::{Error, Result};

/// A choice of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    wanted: Vec<(Key, Vec<String>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Container,
    Image,
    Volume,
    Network,
    Pod,
    Type,
    Event,
    Label,
}

impl Filter {
    /// Parses `--filter` words.
    ///
    /// # Errors
    /// `Invalid` for a word without `=` and for an unknown key.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self> {
        let mut filter = Self::default();
        for word in words {
            let word = word.as_ref();
            let bad = |why: &str| {
                Error::invalid(format!("invalid filter {word:?}: {why}")).hint(
                    "filters are container, event, image, label, network, pod, type and volume, \
                     e.g. event=died",
                )
            };
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| bad("it needs a value"))?;
            let key = match key.to_ascii_lowercase().as_str() {
                "container" => Key::Container,
                "image" => Key::Image,
                "volume" => Key::Volume,
                "network" => Key::Network,
                "pod" => Key::Pod,
                "type" => Key::Type,
                "event" | "status" => Key::Event,
                "label" => Key::Label,
                _ => return Err(bad("no such key")),
            };
            let value = match key {
                Key::Event => podman_action(value).to_owned(),
                Key::Type => value.to_ascii_lowercase(),
                _ => value.to_owned(),
            };
            match filter.wanted.iter_mut().find(|(k, _)| *k == key) {
                Some((_, values)) => values.push(value),
                None => filter.wanted.push((key, vec![value])),
            }
        }
        Ok(filter)
    }

    /// Whether an event is wanted.
    pub fn accepts(&self, event: &Event) -> bool {
        self.since.is_none_or(|t| event.time >= t)
            && self.until.is_none_or(|t| event.time <= t)
            && self
                .wanted
                .iter()
                .all(|(key, values)| values.iter().any(|v| matches(*key, v, event)))
    }
}

fn matches(key: Key, value: &str, event: &Event) -> bool {
    let object = |kind: Type| {
        event.kind == kind
            && (event.name == value || (!value.is_empty() && event.id.starts_with(value)))
    };
    match key {
        Key::Container => object(Type::Container),
        Key::Pod => object(Type::Pod),
        Key::Network => object(Type::Network),
        Key::Volume => object(Type::Volume),
        Key::Image => {
            object(Type::Image)
                || same_image(&event.image, value)
                || (event.kind == Type::Image && same_image(&event.name, value))
        }
        Key::Type => event.kind.name() == value,
        Key::Event => podman_action(&event.action) == value,
        Key::Label => {
            let (name, wanted) = match value.split_once('=') {
                Some((name, wanted)) => (name, Some(wanted)),
                None => (value, None),
            };
            event
                .attributes
                .get(name)
                .is_some_and(|v| wanted.is_none_or(|w| w == v))
        }
    }
}

/// `alpine` means `docker.io/library/alpine:latest` too, as podman's substring search finds it.
fn same_image(full: &str, wanted: &str) -> bool {
    if wanted.is_empty() || full == wanted {
        return full == wanted;
    }
    full.strip_suffix(wanted)
        .or_else(|| {
            full.rsplit_once(':')
                .and_then(|(name, _)| name.strip_suffix(wanted))
        })
        .is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

/// Docker's word for an action becomes podman's.
pub fn podman_action(action: &str) -> &str {
    match action {
        "die" => "died",
        "destroy" | "rm" | "delete" => "remove",
        "exec_die" => "exec_died",
        "unpaused" => "unpause",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_alternatives_and_keys_add_up() {
        let mut event = Event::new(Type::Container, "died", "abcdef0123", "web");
        event.image = "docker.io/library/alpine:latest".to_owned();
        event
            .attributes
            .insert("tier".to_owned(), "front".to_owned());
        for (words, accepted) in [
            (vec![], true),
            (vec!["container=web"], true),
            (vec!["container=abcd"], true),
            (vec!["container=other"], false),
            (vec!["container=other", "container=web"], true),
            (vec!["event=die"], true),
            (vec!["event=died", "type=container"], true),
            (vec!["event=start", "type=container"], false),
            (vec!["event=start", "event=died"], true),
            (vec!["image=alpine"], true),
            (vec!["image=library/alpine:latest"], true),
            (vec!["image=pine"], false),
            (vec!["label=tier"], true),
            (vec!["label=tier=front"], true),
            (vec!["label=tier=back"], false),
            (vec!["type=image"], false),
            (vec!["volume=web"], false),
        ] {
            let filter = Filter::parse(&words).unwrap();
            assert_eq!(filter.accepts(&event), accepted, "{words:?}");
        }
        assert!(Filter::parse(&["color=red"]).is_err());
        assert!(Filter::parse(&["container"]).is_err());
    }

    #[test]
    fn the_time_bounds_hold() {
        let mut event = Event::new(Type::System, "prune", "", "");
        event.time = Timestamp(50);
        for (since, until, accepted) in [
            (None, None, true),
            (Some(50), Some(50), true),
            (Some(51), None, false),
            (None, Some(49), false),
        ] {
            let filter = Filter {
                since: since.map(Timestamp),
                until: until.map(Timestamp),
                ..Filter::default()
            };
            assert_eq!(filter.accepts(&event), accepted, "{since:?} {until:?}");
        }
    }
}
