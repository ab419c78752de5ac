//! `GET /events`.

use std::io::Write as _;

use super::Cx;
use super::conn::{Conn, gone};
use crate::base::time::Timestamp;
use crate::base::{Error, Result};
use crate::events::Filter;
use crate::operations::events::{EventsOptions, events};

/// A moment as Docker's clients write it: seconds, with a fraction, or RFC 3339.
///
/// # Errors
/// `Invalid`.
pub fn moment(text: Option<&str>) -> Result<Option<Timestamp>> {
    let Some(text) = text.filter(|t| !t.is_empty() && *t != "0") else {
        return Ok(None);
    };
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if digits(whole) && digits(fraction) {
        let nanos: String = fraction
            .chars()
            .chain("000000000".chars())
            .take(9)
            .collect();
        let wrong = || Error::invalid(format!("invalid time {text:?}"));
        let seconds: i64 = whole.parse().map_err(|_| wrong())?;
        let nanos: i64 = nanos.parse().map_err(|_| wrong())?;
        let sum = seconds
            .checked_mul(1_000_000_000)
            .and_then(|s| s.checked_add(nanos));
        return Ok(Some(Timestamp(sum.ok_or_else(wrong)?)));
    }
    Timestamp::parse_moment(text, Timestamp::now()).map(Some)
}

/// Sends what happens, a line of JSON each.
///
/// # Errors
/// Filters and times that make no sense; that the client went away.
pub fn send(cx: &Cx<'_>, conn: &mut Conn) -> Result<()> {
    let mut filter = Filter::parse(&cx.filters()?)?;
    filter.since = moment(cx.head.value("since"))?;
    filter.until = moment(cx.head.value("until"))?;
    let stream = cx.head.value("stream").is_none() || cx.head.flag("stream");
    cx.line.may_be_cut();
    let options = EventsOptions { filter, stream };
    let fields = [("Content-Type", "application/json")];
    events(cx.session, &options, &mut |event| {
        if !conn.has_begun() {
            conn.begin_stream(200, &fields)?;
        }
        let Some(event) = event else { return Ok(()) };
        let mut text = crate::cli::events::machine(event, true, true).to_string();
        if cx.libpod {
            // podman's clients read its own word for it.
            text = text.replace("\"Action\":\"die\"", "\"Action\":\"died\"");
        }
        text.push('\n');
        conn.write_all(text.as_bytes()).map_err(gone)
    })?;
    if !conn.has_begun() {
        conn.begin_stream(200, &fields)?;
    }
    conn.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        assert_eq!(moment(None).unwrap(), None);
        assert_eq!(moment(Some("0")).unwrap(), None);
        assert_eq!(moment(Some("5")).unwrap(), Some(Timestamp(5_000_000_000)));
        assert_eq!(
            moment(Some("5.25")).unwrap(),
            Some(Timestamp(5_250_000_000))
        );
        assert_eq!(
            moment(Some("5.000000001")).unwrap(),
            Some(Timestamp(5_000_000_001))
        );
        assert!(moment(Some("99999999999999999999")).is_err());
        assert!(moment(Some("soon")).is_err());
        assert!(moment(Some("2023-11-14T22:13:20Z")).unwrap().is_some());
    }
}
