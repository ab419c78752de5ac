//! Health checks: what was asked of them, what comes of that and the image's, and `health.json`,
//! how they went.
//!
//! `<runtime>/containers/<id>/health.json` is the monitor's: replaced at every check, never brought
//! to a disk, begun anew at every start. It stays after the end, until the next start or boot.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::options::{ContainerOptions, is_default};
use crate::base::time::Timestamp;
use crate::base::{Error, Result};
use crate::spec::image::{Healthcheck, RunConfig};

/// Between two checks, and the limit of one. man docker-run, man podman-run.
const USUAL: Duration = Duration::from_secs(30);

/// Between two checks while the container may still be starting, as Docker does.
const WHILE_STARTING: Duration = Duration::from_secs(5);

/// Failures in a row.
const RETRIES: u32 = 3;

/// Results kept, and characters of each. man podman-run, `--health-max-log-count`, `-size`.
pub const LOG_COUNT: u32 = 5;
/// See [`LOG_COUNT`].
pub const LOG_SIZE: u32 = 500;

/// What Docker's image format has no place for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthOptions {
    /// `--health-interval disable`: checked on demand only.
    #[serde(skip_serializing_if = "is_default")]
    pub manual: bool,
    /// `--health-startup-*`.
    #[serde(skip_serializing_if = "is_default")]
    pub startup: Option<StartupCheck>,
    /// `--health-on-failure`.
    #[serde(skip_serializing_if = "is_default")]
    pub on_failure: OnFailure,
    /// `--health-log-destination`.
    #[serde(skip_serializing_if = "is_default")]
    pub log: LogDestination,
    /// `--health-max-log-count`; 0 means all.
    #[serde(skip_serializing_if = "is_default")]
    pub max_log_count: Option<u32>,
    /// `--health-max-log-size`, characters; 0 means all.
    #[serde(skip_serializing_if = "is_default")]
    pub max_log_size: Option<u32>,
}

/// The check that runs in place of the other one until it succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartupCheck {
    /// As [`Healthcheck::test`].
    pub test: Vec<String>,
    /// Nanoseconds; 0 means 30 s.
    #[serde(skip_serializing_if = "is_default")]
    pub interval: i64,
    /// Nanoseconds; 0 means 30 s.
    #[serde(skip_serializing_if = "is_default")]
    pub timeout: i64,
    /// Failures until the container is started anew; 0 means never.
    #[serde(skip_serializing_if = "is_default")]
    pub retries: u32,
    /// Successes that are needed; 0 means 1.
    #[serde(skip_serializing_if = "is_default")]
    pub success: u32,
}

/// `--health-on-failure`: what is done when it turns unhealthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Nothing.
    #[default]
    None,
    /// SIGKILL; the restart policy holds.
    Kill,
    /// Stopped and started again, whatever the restart policy.
    Restart,
    /// Stopped, for good.
    Stop,
}

impl OnFailure {
    /// podman's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Stop => "stop",
        }
    }
}

/// `--health-log-destination`: where results are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogDestination {
    /// In `health.json`.
    #[default]
    Local,
    /// In a file of this folder as well, one JSON object a line.
    Directory(PathBuf),
    /// With the events.
    Events,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// A program in the container; 0 is healthy.
    Exec(Vec<String>),
    /// A page; 200 to 399 is healthy.
    Http {
        /// Address and port in the container's network.
        address: String,
        /// Path and query.
        path: String,
        /// Further header lines.
        headers: Vec<String>,
    },
    /// A port that accepts.
    Tcp {
        /// Address and port in the container's network.
        address: String,
    },
    /// `grpc.health.v1.Health/Check` that answers SERVING.
    Grpc {
        /// Address and port in the container's network.
        address: String,
        /// The service asked for; empty means all of it.
        service: String,
    },
}

impl Probe {
    /// Reads a test as Docker's record has it, with our words `HTTP`, `TCP` and `GRPC` besides;
    /// `None` for `NONE` and nothing. `shell` runs a command given as one text.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn of(test: &[String], shell: &[String]) -> Result<Option<Self>> {
        let Some((kind, rest)) = test.split_first() else {
            return Ok(None);
        };
        let bad = || {
            Error::invalid(format!("invalid health check {test:?}"))
                .hint("its first word is CMD, CMD-SHELL, NONE, HTTP, TCP or GRPC")
        };
        let word = |at: usize| rest.get(at).cloned().ok_or_else(bad);
        Ok(Some(match kind.as_str() {
            "NONE" => return Ok(None),
            "CMD" if !rest.is_empty() => Self::Exec(rest.to_vec()),
            "CMD-SHELL" if !rest.is_empty() => {
                let mut words = shell.to_vec();
                words.push(rest.join(" "));
                Self::Exec(words)
            }
            "HTTP" => Self::Http {
                address: word(0)?,
                path: word(1)?,
                headers: rest.get(2..).unwrap_or_default().to_vec(),
            },
            "TCP" => Self::Tcp { address: word(0)? },
            "GRPC" => Self::Grpc {
                address: word(0)?,
                service: rest.get(1).cloned().unwrap_or_default(),
            },
            _ => return Err(bad()),
        }))
    }

    /// Whether Docker's image format knows this kind of test.
    pub fn is_for_images(test: &[String]) -> bool {
        test.first()
            .is_some_and(|k| matches!(k.as_str(), "NONE" | "CMD" | "CMD-SHELL"))
    }
}

/// The checks of one container: options and image as one, with defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checks {
    /// What is looked at.
    pub probe: Probe,
    /// Between the end of one check and the next; `None` means on demand only.
    pub interval: Option<Duration>,
    /// For one check.
    pub timeout: Duration,
    /// Failures in it do not count, until the first success.
    pub start_period: Duration,
    /// The interval in it.
    pub start_interval: Duration,
    /// Failures in a row until it is unhealthy; at least 1.
    pub retries: u32,
    /// The check before the first success.
    pub startup: Option<Startup>,
    /// What is done when it turns unhealthy.
    pub on_failure: OnFailure,
    /// Where results are kept.
    pub log: LogDestination,
    /// How many; 0 means all.
    pub max_log_count: u32,
    /// Characters of each; 0 means all.
    pub max_log_size: u32,
}

/// See [`StartupCheck`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Startup {
    /// What is looked at.
    pub probe: Probe,
    /// Between two of them.
    pub interval: Duration,
    /// For one of them.
    pub timeout: Duration,
    /// Failures until the container is started anew; 0 means never.
    pub retries: u32,
    /// Successes that are needed; at least 1.
    pub success: u32,
}

/// The image's check with what the options say in its place; `None` when there is neither.
pub fn merged(given: Option<&Healthcheck>, image: Option<&Healthcheck>) -> Option<Healthcheck> {
    let Some(given) = given else {
        return image.cloned();
    };
    if given.test.first().is_some_and(|t| t == "NONE") {
        return Some(given.clone());
    }
    let mut check = image.cloned().unwrap_or_default();
    if !given.test.is_empty() {
        // Another test: the image's figures were not made for it.
        check = Healthcheck {
            test: given.test.clone(),
            ..Healthcheck::default()
        };
    }
    let figures = [
        (&mut check.interval, given.interval),
        (&mut check.timeout, given.timeout),
        (&mut check.start_period, given.start_period),
        (&mut check.start_interval, given.start_interval),
        (&mut check.retries, given.retries),
    ];
    for (slot, value) in figures {
        if value != 0 {
            *slot = value;
        }
    }
    (!check.test.is_empty()).then_some(check)
}

impl Checks {
    /// What a container's monitor does; `None` without a check.
    ///
    /// # Errors
    /// `Invalid` for a test that nobody knows.
    pub fn of(options: &ContainerOptions, image: Option<&RunConfig>) -> Result<Option<Self>> {
        let inherited = image.and_then(|i| i.healthcheck.as_ref());
        let Some(check) = merged(options.healthcheck.as_ref(), inherited) else {
            return Ok(None);
        };
        let usual_shell = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
        let shell = image
            .and_then(|i| i.shell.clone())
            .filter(|s| !s.is_empty())
            .unwrap_or_else(usual_shell);
        let Some(probe) = Probe::of(&check.test, &shell)? else {
            return Ok(None);
        };
        let more = &options.health;
        let interval = time(check.interval, USUAL);
        let startup = match &more.startup {
            None => None,
            Some(s) => Probe::of(&s.test, &shell)?.map(|probe| Startup {
                probe,
                interval: time(s.interval, USUAL),
                timeout: time(s.timeout, USUAL),
                retries: s.retries,
                success: s.success.max(1),
            }),
        };
        Ok(Some(Self {
            probe,
            interval: (!more.manual).then_some(interval),
            timeout: time(check.timeout, USUAL),
            start_period: time(check.start_period, Duration::ZERO),
            start_interval: time(check.start_interval, WHILE_STARTING.min(interval)),
            retries: u32::try_from(check.retries)
                .ok()
                .filter(|n| *n > 0)
                .unwrap_or(RETRIES),
            startup,
            on_failure: more.on_failure,
            log: more.log.clone(),
            max_log_count: more.max_log_count.unwrap_or(LOG_COUNT),
            max_log_size: more.max_log_size.unwrap_or(LOG_SIZE),
        }))
    }
}

fn time(nanoseconds: i64, default: Duration) -> Duration {
    match u64::try_from(nanoseconds) {
        Ok(n) if n > 0 => Duration::from_nanos(n),
        _ => default,
    }
}

/// How a container is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not known yet.
    #[default]
    Starting,
    /// The last checks succeeded.
    Healthy,
    /// Too many failed in a row.
    Unhealthy,
}

impl Health {
    /// podman's and Docker's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// `health.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthRecord {
    /// Schema number.
    pub version: u32,
    /// How it is.
    pub status: Health,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last results, oldest first.
    pub log: Vec<CheckResult>,
}

impl Default for HealthRecord {
    fn default() -> Self {
        Self {
            version: 1,
            status: Health::Starting,
            failing_streak: 0,
            log: Vec::new(),
        }
    }
}

impl HealthRecord {
    /// The object that Docker and podman show.
    pub fn json(&self) -> Value {
        let log = self.log.iter().map(|l| {
            json!({
                "Start": l.start.rfc3339_nanos(),
                "End": l.end.rfc3339_nanos(),
                "ExitCode": l.exit_code,
                "Output": l.output,
            })
        });
        json!({
            "Status": self.status.name(),
            "FailingStreak": self.failing_streak,
            "Log": log.collect::<Vec<_>>(),
        })
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// 0 is healthy; -1 means that it took too long.
    pub exit_code: i32,
    /// What it wrote, the beginning of it.
    pub output: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn image(test: &str) -> RunConfig {
        RunConfig {
            healthcheck: Some(Healthcheck {
                test: words(test),
                interval: 7_000_000_000,
                retries: 9,
                ..Healthcheck::default()
            }),
            ..RunConfig::default()
        }
    }

    #[test]
    fn what_is_given_stands_over_the_image() {
        let check = |test: &str, timeout| Healthcheck {
            test: match test {
                "" => Vec::new(),
                text => words(text),
            },
            timeout,
            ..Healthcheck::default()
        };
        let of = |given: Option<Healthcheck>, image: Option<&RunConfig>| {
            let options = ContainerOptions {
                healthcheck: given,
                ..ContainerOptions::default()
            };
            Checks::of(&options, image).unwrap()
        };
        let own = image("CMD /own");
        let inherited = of(None, Some(&own)).unwrap();
        assert_eq!(inherited.probe, Probe::Exec(words("/own")));
        assert_eq!(inherited.interval, Some(Duration::from_secs(7)));
        assert_eq!((inherited.retries, inherited.timeout), (9, USUAL));
        let patched = of(Some(check("", 1_000_000)), Some(&own)).unwrap();
        assert_eq!(patched.probe, inherited.probe);
        assert_eq!(patched.timeout, Duration::from_millis(1));
        let other = of(Some(check("CMD-SHELL a b", 0)), Some(&own)).unwrap();
        assert_eq!(
            other.probe,
            Probe::Exec(vec!["/bin/sh".into(), "-c".into(), "a b".into()])
        );
        assert_eq!((other.interval, other.retries), (Some(USUAL), RETRIES));
        assert_eq!(of(Some(check("NONE", 0)), Some(&own)), None);
        assert_eq!(of(Some(check("", 5)), None), None);
        assert_eq!(of(None, Some(&RunConfig::default())), None);
        let shell = RunConfig {
            shell: Some(words("/bin/ash -ec")),
            ..image("CMD-SHELL x")
        };
        assert_eq!(
            of(None, Some(&shell)).unwrap().probe,
            Probe::Exec(words("/bin/ash -ec x"))
        );
    }

    #[test]
    fn while_it_starts_it_is_looked_at_more_often_but_never_less() {
        let mut options = ContainerOptions {
            healthcheck: Some(Healthcheck {
                test: words("CMD x"),
                ..Healthcheck::default()
            }),
            ..ContainerOptions::default()
        };
        let interval = |o: &ContainerOptions| Checks::of(o, None).unwrap().unwrap().start_interval;
        assert_eq!(interval(&options), WHILE_STARTING);
        if let Some(check) = &mut options.healthcheck {
            check.interval = 1_000_000_000;
        }
        assert_eq!(interval(&options), Duration::from_secs(1));
        options.health.manual = true;
        assert_eq!(Checks::of(&options, None).unwrap().unwrap().interval, None);
    }

    #[test]
    fn tests_are_dockers_words_and_three_of_ours() {
        let of = |text: &str| Probe::of(&words(text), &[]);
        assert!(matches!(
            of("TCP 127.0.0.1:80"),
            Ok(Some(Probe::Tcp { .. }))
        ));
        assert!(matches!(
            of("GRPC 127.0.0.1:80 db"),
            Ok(Some(Probe::Grpc { service, .. })) if service == "db"
        ));
        assert!(matches!(
            of("HTTP 127.0.0.1:80 /up A:b"),
            Ok(Some(Probe::Http { headers, .. })) if headers == ["A:b"]
        ));
        for bad in ["CMD", "CMD-SHELL", "TCP", "HTTP x", "curl -f x"] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert!(Probe::is_for_images(&words("CMD x")));
        assert!(!Probe::is_for_images(&words("TCP x")));
    }
}
