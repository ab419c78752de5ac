//! Points in time and durations, as Go and Docker write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

/// Nanoseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The wall clock.
    pub fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Whole seconds since the epoch, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// RFC 3339 in UTC with nanoseconds, trailing zeros trimmed, as Go's `time.RFC3339Nano`.
    pub fn rfc3339(self) -> String {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(t) => t.to_string(),
            Err(_) => "0001-01-01T00:00:00Z".to_owned(),
        }
    }

    /// RFC 3339 in UTC with all nine digits: sorts as text, and every line of a log is as wide.
    pub fn rfc3339_nanos(self) -> String {
        let mut text = self.rfc3339();
        text.pop();
        match text.split_once('.') {
            Some((_, digits)) => text.push_str(&"000000000"[digits.len()..]),
            None => text.push_str(".000000000"),
        }
        text.push('Z');
        text
    }

    /// In the local zone as Go prints a time: `2026-11-23 08:05:42.25 +0100 CET`.
    pub fn local_text(self) -> String {
        let Ok(t) = jiff::Timestamp::from_nanosecond(i128::from(self.0)) else {
            return "0001-01-01 00:00:00 +0000 UTC".to_owned();
        };
        let zoned = t.to_zoned(jiff::tz::TimeZone::system());
        let (date, time) = (zoned.date(), zoned.time());
        format!("{date} {time} {}", zoned.strftime("%z %Z"))
    }

    /// Parses RFC 3339, as image configs and records carry it.
    ///
    /// # Errors
    /// `Invalid` for anything else, or a year outside 1678 to 2261.
    pub fn parse_rfc3339(text: &str) -> Result<Self> {
        let t: jiff::Timestamp = text
            .parse()
            .map_err(|e| Error::invalid(format!("invalid time {text:?}")).because(e))?;
        i64::try_from(t.as_nanosecond())
            .map(Self)
            .map_err(|_| Error::invalid(format!("time {text:?} is out of range")))
    }

    /// Parses a point in time as `--since`, `--until` and filters take it: RFC 3339 with or without
    /// zone, a date, seconds since 1970 with or without a fraction, or a Go duration before `now`.
    /// Without a zone the local one holds.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse_moment(text: &str, now: Self) -> Result<Self> {
        let bad = || {
            Error::invalid(format!("invalid time {text:?}")).hint(
                "write it like 2026-11-23T08:05:42Z, 2026-11-23, 1795421142 or 10m (that long ago)",
            )
        };
        if let Ok(t) = Self::parse_rfc3339(text) {
            return Ok(t);
        }
        if let Some((whole, fraction)) = split_seconds(text) {
            return whole
                .checked_mul(1_000_000_000)
                .and_then(|n| n.checked_add(fraction))
                .map(Self)
                .ok_or_else(bad);
        }
        if let Ok(d) = parse_duration(text.strip_prefix('-').unwrap_or(text)) {
            let nanos = i64::try_from(d.as_nanos()).map_err(|_| bad())?;
            return Ok(Self(now.0.saturating_sub(nanos)));
        }
        let civil: jiff::civil::DateTime = text.parse().map_err(|_| bad())?;
        let zoned = civil
            .to_zoned(jiff::tz::TimeZone::system())
            .map_err(|_| bad())?;
        i64::try_from(zoned.timestamp().as_nanosecond())
            .map(Self)
            .map_err(|_| bad())
    }

    /// Parses a date of HTTP (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub fn parse_http(text: &str) -> Option<Self> {
        let t = jiff::fmt::rfc2822::DateTimeParser::new()
            .parse_timestamp(text)
            .ok()?;
        i64::try_from(t.as_nanosecond()).ok().map(Self)
    }

    /// The time from `earlier` to here, zero when it lies later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The time passed since, zero when it lies ahead.
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }
}

/// `123` or `123.456`: seconds and nanoseconds.
fn split_seconds(text: &str) -> Option<(i64, i64)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    Some((whole.parse().ok()?, nanos))
}

/// Parses a Go duration: `300ms`, `1.5h`, `2h45m`; a bare number is refused, except `0`.
///
/// # Errors
/// `Invalid` for anything else, and for negative durations.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let bad = || {
        Error::invalid(format!("invalid duration {text:?}"))
            .hint("write it like 300ms, 90s, 5m or 1h30m")
    };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err(bad());
    }
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(bad)?;
        let number: f64 = rest[..end].parse().map_err(|_| bad())?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(bad()),
            };
        rest = &rest[end..];
    }
    if total > 9.2e18 {
        return Err(bad());
    }
    Ok(Duration::from_nanos(total as u64))
}

/// Docker's `units.HumanDuration`: `Less than a second`, `5 minutes`, `About an hour`.
pub fn human_duration(d: Duration) -> String {
    let seconds = d.as_secs();
    let minutes = seconds / 60;
    let hours = (d.as_secs_f64() / 3600.0).round() as u64;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_reads_them() {
        for (text, ms) in [
            ("0", 0),
            ("300ms", 300),
            ("1.5h", 5_400_000),
            ("2h45m", 9_900_000),
            ("10s", 10_000),
        ] {
            assert_eq!(
                parse_duration(text).unwrap(),
                Duration::from_millis(ms),
                "{text}"
            );
        }
        for text in ["", "5", "s", "1x", "-1s", "1.2.3s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_read_in_every_form() {
        let now = Timestamp::parse_rfc3339("2026-11-23T08:00:00Z").unwrap();
        for (text, expected) in [
            ("2026-11-23T08:05:42Z", "2026-11-23T08:05:42Z"),
            ("2026-11-23T10:05:42+02:00", "2026-11-23T08:05:42Z"),
            ("1795421142", "2026-11-23T08:05:42Z"),
            ("1795421142.5", "2026-11-23T08:05:42.5Z"),
            ("10m", "2026-11-23T07:50:00Z"),
            ("-1h30m", "2026-11-23T06:30:00Z"),
        ] {
            assert_eq!(
                Timestamp::parse_moment(text, now).unwrap().rfc3339(),
                expected,
                "{text}"
            );
        }
        assert!(Timestamp::parse_moment("2026-11-23", now).is_ok());
        assert!(Timestamp::parse_moment("2026-11-23T08:05", now).is_ok());
        for text in ["", "yesterday", "1.2.3"] {
            assert!(Timestamp::parse_moment(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn times_round_trip() {
        let t = Timestamp::parse_rfc3339("2026-11-23T08:05:42.25Z").unwrap();
        assert_eq!(t.rfc3339(), "2026-11-23T08:05:42.25Z");
        assert_eq!(t.rfc3339_nanos(), "2026-11-23T08:05:42.250000000Z");
        assert_eq!(
            Timestamp(0).rfc3339_nanos(),
            "1970-01-01T00:00:00.000000000Z"
        );
        assert_eq!(
            Timestamp(1).rfc3339_nanos(),
            "1970-01-01T00:00:00.000000001Z"
        );
        assert_eq!(
            Timestamp::parse_rfc3339("2026-11-23T10:05:42.25+02:00").unwrap(),
            t
        );
    }
}
