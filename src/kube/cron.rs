//! The schedule of a CronJob as the calendar of a systemd timer.
//!
//! man: crontab(5), systemd.time(7).

use std::collections::BTreeSet;

use crate::base::{Error, Result};

/// A field: its name, its range, and names for its values.
struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        first: 0,
        last: 59,
        names: &[],
    },
    Field {
        name: "hour",
        first: 0,
        last: 23,
        names: &[],
    },
    Field {
        name: "day of the month",
        first: 1,
        last: 31,
        names: &[],
    },
    Field {
        name: "month",
        first: 1,
        last: 12,
        names: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    },
    Field {
        name: "day of the week",
        first: 0,
        last: 7,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    },
];

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// The values of a field; `None` for all of them.
fn values(text: &str, field: &Field) -> Result<Option<BTreeSet<u32>>> {
    let bad = || Error::invalid(format!("{:?} is no {}", text, field.name));
    if text == "*" || text == "?" {
        return Ok(None);
    }
    let number = |word: &str| -> Result<u32> {
        let lower = word.to_ascii_lowercase();
        if let Some(at) = field.names.iter().position(|n| *n == lower) {
            return Ok(u32::try_from(at).unwrap_or(0) + field.first);
        }
        let number = word.parse().map_err(|_| bad())?;
        match (field.first..=field.last).contains(&number) {
            true => Ok(number),
            false => Err(bad()),
        }
    };
    let mut all = BTreeSet::new();
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<usize>().map_err(|_| bad())?)),
            None => (part, None),
        };
        if step == Some(0) {
            return Err(bad());
        }
        let (first, last) = match (range, range.split_once('-')) {
            ("*", _) => (field.first, field.last),
            (_, Some((first, last))) => (number(first)?, number(last)?),
            // With a step: from there to the end.
            (one, None) if step.is_some() => (number(one)?, field.last),
            (one, None) => (number(one)?, number(one)?),
        };
        if first > last {
            return Err(bad());
        }
        all.extend((first..=last).step_by(step.unwrap_or(1)));
    }
    Ok(Some(all))
}

/// The values of `OnCalendar=` for a schedule; with both days given cron means one or the other, so
/// there are two then.
///
/// # Errors
/// `Invalid`, with the field that makes no sense.
pub fn calendars(schedule: &str, zone: Option<&str>) -> Result<Vec<String>> {
    let words = match schedule.trim() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        other => other,
    };
    let words: Vec<&str> = words.split_whitespace().collect();
    if words.len() != FIELDS.len() {
        return Err(Error::invalid(format!("{schedule:?} is no schedule"))
            .hint("write minute, hour, day of the month, month and day of the week"));
    }
    let mut fields = Vec::new();
    for (word, field) in words.iter().zip(&FIELDS) {
        fields.push(values(word, field)?);
    }
    let shown = |at: usize| match &fields[at] {
        None => "*".to_owned(),
        Some(set) => {
            let all: Vec<String> = set.iter().map(|n| format!("{n:02}")).collect();
            all.join(",")
        }
    };
    let week = fields[4].as_ref().map(|set| {
        let days: BTreeSet<u32> = set.iter().map(|d| d % 7).collect();
        let names: Vec<&str> = days.iter().map(|d| DAYS[*d as usize]).collect();
        format!("{} ", names.join(","))
    });
    let zone = zone.map_or_else(String::new, |z| format!(" {z}"));
    let line = |week: &str, day: &str| {
        let (minute, hour, month) = (shown(0), shown(1), shown(3));
        format!("{week}*-{month}-{day} {hour}:{minute}:00{zone}")
    };
    Ok(match (week, &fields[2]) {
        (None, _) => vec![line("", &shown(2))],
        (Some(week), None) => vec![line(&week, "*")],
        (Some(week), Some(_)) => vec![line("", &shown(2)), line(&week, "*")],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_become_calendars() {
        for (schedule, want) in [
            ("* * * * *", "*-*-* *:*:00"),
            ("*/20 * * * *", "*-*-* *:00,20,40:00"),
            ("5/30 1-3 * * *", "*-*-* 01,02,03:05,35:00"),
            ("0 0 1,15 feb *", "*-02-01,15 00:00:00"),
            ("0 3 * * 1-5", "Mon,Tue,Wed,Thu,Fri *-*-* 03:00:00"),
            ("0 3 * * 7", "Sun *-*-* 03:00:00"),
            ("0 3 13 * fri", "*-*-13 03:00:00|Fri *-*-* 03:00:00"),
            ("@hourly", "*-*-* *:00:00"),
            ("@weekly", "Sun *-*-* 00:00:00"),
        ] {
            assert_eq!(
                calendars(schedule, None).unwrap().join("|"),
                want,
                "{schedule}"
            );
        }
        assert_eq!(
            calendars("@daily", Some("Europe/Berlin")).unwrap(),
            ["*-*-* 00:00:00 Europe/Berlin"]
        );
        for schedule in [
            "",
            "* * * *",
            "60 * * * *",
            "* * 0 * *",
            "*/0 * * * *",
            "5-1 * * * *",
            "x * * * *",
            "* * * 13 *",
            "@never",
        ] {
            assert!(calendars(schedule, None).is_err(), "{schedule}");
        }
    }
}
