//! `--filter key=value`: podman's and docker's grammar, and the meanings that several commands
//! share.

use std::collections::BTreeMap;

use crate::base::time::Timestamp;
use crate::base::{Error, Result};

/// One `--filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// What is compared.
    pub key: String,
    /// With what.
    pub value: String,
    /// `key!=value`.
    pub negated: bool,
}

/// Filters of one command. Those with the same key are alternatives (a negated one, and `label`,
/// must hold by itself); different keys must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(pub Vec<Filter>);

impl Filters {
    /// Parses the values of `--filter`; only `known` keys are accepted.
    ///
    /// # Errors
    /// `Invalid` for text without `=` or an unknown key.
    pub fn parse<S: AsRef<str>>(texts: &[S], known: &[&str]) -> Result<Self> {
        let mut filters = Vec::new();
        for text in texts {
            let text = text.as_ref();
            let (key, value) = text.split_once('=').ok_or_else(|| {
                Error::invalid(format!("invalid filter {text:?}: expected KEY=VALUE"))
            })?;
            let (key, negated) = match key.strip_suffix('!') {
                Some(key) => (key, true),
                None => (key, false),
            };
            if !known.contains(&key) {
                return Err(Error::invalid(format!("invalid filter key {key:?}"))
                    .hint(format!("known filters: {}", known.join(", "))));
            }
            filters.push(Filter {
                key: key.to_owned(),
                value: value.to_owned(),
                negated,
            });
        }
        Ok(Self(filters))
    }

    /// Whether no filter was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values of a key, negated ones left out.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |f| f.key == key && !f.negated)
            .map(|f| f.value.as_str())
    }

    /// Whether an object passes: `holds(key, value)` says whether one filter applies to it.
    ///
    /// # Errors
    /// Those of `holds`.
    pub fn accept(&self, mut holds: impl FnMut(&str, &str) -> Result<bool>) -> Result<bool> {
        let mut alternatives: BTreeMap<&str, bool> = BTreeMap::new();
        for filter in &self.0 {
            let held = holds(&filter.key, &filter.value)?;
            if filter.negated || filter.key.starts_with("label") {
                if held == filter.negated {
                    return Ok(false);
                }
            } else {
                *alternatives.entry(&filter.key).or_default() |= held;
            }
        }
        Ok(alternatives.values().all(|held| *held))
    }
}

/// `label=KEY` or `label=KEY=VALUE`.
pub fn label_matches(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|v| v == value),
        None => labels.contains_key(wanted),
    }
}

/// A point in time as `--since`, `--until` and the filters of these names take it: RFC 3339, a
/// date with or without time of day (local), seconds since 1970 with a fraction, or a Go duration
/// before `now`.
///
/// # Errors
/// `Invalid` for anything else.
pub fn point_in_time(text: &str, now: Timestamp) -> Result<Timestamp> {
    if let Ok(duration) = crate::base::time::parse_duration(text.trim_start_matches('-'))
        && text != "0"
    {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        return Ok(Timestamp(now.0.saturating_sub(nanos)));
    }
    if let Some(time) = unix_seconds(text) {
        return Ok(time);
    }
    if let Ok(time) = Timestamp::parse_rfc3339(text) {
        return Ok(time);
    }
    let bad = || {
        Error::invalid(format!("invalid time {text:?}")).hint(
            "write 2026-01-31T10:00:00Z, 2026-01-31, seconds since 1970, or a duration like 10m",
        )
    };
    let local: jiff::civil::DateTime = if text.len() == 10 {
        let date: jiff::civil::Date = text.parse().map_err(|_| bad())?;
        date.to_datetime(jiff::civil::Time::midnight())
    } else {
        text.parse().map_err(|_| bad())?
    };
    let zoned = local
        .to_zoned(jiff::tz::TimeZone::system())
        .map_err(|_| bad())?;
    i64::try_from(zoned.timestamp().as_nanosecond())
        .map(Timestamp)
        .map_err(|_| bad())
}

fn unix_seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    seconds
        .checked_mul(1_000_000_000)?
        .checked_add(nanos)
        .map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_keys_are_alternatives_and_labels_all_hold() {
        let known = ["name", "status", "label"];
        let accept = |texts: &[&str], name: &str, status: &str| {
            Filters::parse(texts, &known)
                .unwrap()
                .accept(|key, value| {
                    Ok(match key {
                        "name" => value == name,
                        "status" => value == status,
                        _ => value == "a" || value == "b",
                    })
                })
                .unwrap()
        };
        assert!(accept(&[], "x", "up"));
        assert!(accept(&["name=x", "name=y"], "y", "up"));
        assert!(!accept(&["name=x", "status=up"], "x", "down"));
        assert!(!accept(&["name!=x"], "x", "up"));
        assert!(accept(&["label=a", "label=b"], "x", "up"));
        assert!(!accept(&["label=a", "label=c"], "x", "up"));
        assert!(Filters::parse(&["colour=red"], &known).is_err());
        assert!(Filters::parse(&["name"], &known).is_err());
    }

    #[test]
    fn points_in_time_are_read_in_every_form() {
        let now = Timestamp::parse_rfc3339("2026-11-23T10:00:00Z").unwrap();
        for (text, want) in [
            ("10m", "2026-11-23T09:50:00Z"),
            ("1h30m", "2026-11-23T08:30:00Z"),
            ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z"),
            ("1700000000", "2023-11-14T22:13:20Z"),
            ("1700000000.5", "2023-11-14T22:13:20.5Z"),
        ] {
            assert_eq!(point_in_time(text, now).unwrap().rfc3339(), want, "{text}");
        }
        assert!(point_in_time("2026-01-31", now).is_ok());
        assert!(point_in_time("2026-01-31T10:00:00", now).is_ok());
        for text in ["", "yesterday", "2026-13-01", "1.2.3"] {
            assert!(point_in_time(text, now).is_err(), "{text}");
        }
    }
}
