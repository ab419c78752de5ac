//! `--health-*` of `run`, `create` and `update`.

use std::path::PathBuf;

use clap::Args;

use crate::base::time::parse_duration;
use crate::base::{Error, Result};
use crate::operations::container::alter::HealthChanges;
use crate::spec::image::Healthcheck;
use crate::state::health::{LogDestination, OnFailure, StartupCheck};

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Health")]
pub(in crate::cli::container) struct HealthFlags {
    /// Have no health check, whatever the image says
    #[arg(long)]
    pub no_healthcheck: bool,
    /// Command that tells whether it is well: a text for the shell, a JSON list, or none
    #[arg(long, alias = "healthcheck-command", value_name = "COMMAND")]
    pub health_cmd: Option<String>,
    /// Page that tells it: [http://HOST:]PORT[/PATH], in the container's network
    #[arg(long, value_name = "URL")]
    pub health_http: Option<String>,
    /// Port that tells it by accepting connections, in the container's network
    #[arg(long, value_name = "[ADDRESS:]PORT")]
    pub health_tcp: Option<String>,
    /// Port of a gRPC health service, [ADDRESS:]PORT[/SERVICE]
    #[arg(long, value_name = "PORT[/SERVICE]")]
    pub health_grpc: Option<String>,
    /// Time between two checks, or disable for checks on demand only (default 30s)
    #[arg(long, alias = "healthcheck-interval", value_name = "TIME")]
    pub health_interval: Option<String>,
    /// Failures in a row until it is unhealthy (default 3)
    #[arg(long, alias = "healthcheck-retries", value_name = "N")]
    pub health_retries: Option<u32>,
    /// Time limit of one check (default 30s)
    #[arg(long, alias = "healthcheck-timeout", value_name = "TIME")]
    pub health_timeout: Option<String>,
    /// Time after the start in which failures do not count (default 0s)
    #[arg(long, alias = "healthcheck-start-period", value_name = "TIME")]
    pub health_start_period: Option<String>,
    /// Time between two checks in that period (default 5s)
    #[arg(long, value_name = "TIME")]
    pub health_start_interval: Option<String>,
    /// Command that must succeed before the checks begin
    #[arg(long, value_name = "COMMAND")]
    pub health_startup_cmd: Option<String>,
    /// Time between two tries of that command (default 30s)
    #[arg(long, value_name = "TIME")]
    pub health_startup_interval: Option<String>,
    /// Failures until the container is started anew; 0 for never
    #[arg(long, value_name = "N")]
    pub health_startup_retries: Option<u32>,
    /// How often it must succeed (default 1)
    #[arg(long, value_name = "N")]
    pub health_startup_success: Option<u32>,
    /// Time limit of one try (default 30s)
    #[arg(long, value_name = "TIME")]
    pub health_startup_timeout: Option<String>,
    /// What to do when it turns unhealthy: none, kill, restart, stop
    #[arg(long, value_name = "ACTION")]
    pub health_on_failure: Option<String>,
    /// Where results are kept: local, events_logger, or a folder
    #[arg(long, value_name = "PLACE")]
    pub health_log_destination: Option<String>,
    /// How many results are kept; 0 for all (default 5)
    #[arg(long, value_name = "N")]
    pub health_max_log_count: Option<u32>,
    /// How many characters of each; 0 for all (default 500)
    #[arg(long, value_name = "N")]
    pub health_max_log_size: Option<u32>,
}

impl HealthFlags {
    /// What they ask for.
    ///
    /// # Errors
    /// `Invalid` for what cannot be read or contradicts itself.
    pub fn changes(&self) -> Result<HealthChanges> {
        let startup = StartupCheck {
            test: self
                .health_startup_cmd
                .as_deref()
                .map_or_else(Vec::new, command),
            interval: nanoseconds(
                "--health-startup-interval",
                &self.health_startup_interval,
                1,
            )?,
            timeout: limit("--health-startup-timeout", &self.health_startup_timeout)?,
            retries: self.health_startup_retries.unwrap_or(0),
            success: self.health_startup_success.unwrap_or(0),
        };
        let manual = self.health_interval.as_ref().map(|i| is_never(i));
        let interval = match manual {
            Some(true) => 0,
            _ => nanoseconds("--health-interval", &self.health_interval, 1)?,
        };
        if self.health_retries == Some(0) {
            return Err(Error::invalid("--health-retries is at least 1"));
        }
        let check = Healthcheck {
            test: self.test()?,
            interval,
            timeout: limit("--health-timeout", &self.health_timeout)?,
            start_period: nanoseconds("--health-start-period", &self.health_start_period, 0)?,
            start_interval: nanoseconds("--health-start-interval", &self.health_start_interval, 1)?,
            retries: self.health_retries.unwrap_or(0).into(),
        };
        Ok(HealthChanges {
            check: (check != Healthcheck::default()).then_some(check),
            manual,
            startup: (startup != StartupCheck::default()).then_some(startup),
            on_failure: self
                .health_on_failure
                .as_deref()
                .map(on_failure)
                .transpose()?,
            log: self
                .health_log_destination
                .as_deref()
                .map(destination)
                .transpose()?,
            max_log_count: self.health_max_log_count,
            max_log_size: self.health_max_log_size,
        })
    }

    fn test(&self) -> Result<Vec<String>> {
        let given = [
            (self.no_healthcheck, "--no-healthcheck"),
            (self.health_cmd.is_some(), "--health-cmd"),
            (self.health_http.is_some(), "--health-http"),
            (self.health_tcp.is_some(), "--health-tcp"),
            (self.health_grpc.is_some(), "--health-grpc"),
        ];
        let names: Vec<&str> = given.iter().filter(|(g, _)| *g).map(|(_, n)| *n).collect();
        if let [first, second, ..] = names[..] {
            return Err(Error::invalid(format!(
                "{second} and {first} contradict each other"
            )));
        }
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        if self.no_healthcheck {
            return Ok(words(&["NONE"]));
        }
        if let Some(text) = &self.health_cmd {
            return Ok(command(text));
        }
        if let Some(text) = &self.health_tcp {
            return Ok(words(&["TCP", &address("--health-tcp", text)?]));
        }
        if let Some(text) = &self.health_grpc {
            let (port, service) = text.split_once('/').unwrap_or((text, ""));
            let mut test = words(&["GRPC", &address("--health-grpc", port)?]);
            test.extend(Some(service.to_owned()).filter(|s| !s.is_empty()));
            return Ok(test);
        }
        if let Some(text) = &self.health_http {
            if text.starts_with("https://") {
                return Err(Error::unsupported(
                    "--health-http speaks no TLS: write a command for it",
                )
                .hint("e.g. --health-cmd 'wget -q -O /dev/null https://localhost'"));
            }
            let rest = text.strip_prefix("http://").unwrap_or(text);
            let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
            if path.contains([' ', '\r', '\n']) {
                return Err(Error::invalid(format!(
                    "invalid --health-http {text:?}: a path has no spaces"
                )));
            }
            let named = text.starts_with("http://")
                && !place.rsplit(']').next().is_some_and(|p| p.contains(':'));
            let place = match named {
                true => format!("{place}:80"),
                false => place.to_owned(),
            };
            return Ok(words(&[
                "HTTP",
                &address("--health-http", &place)?,
                &format!("/{path}"),
            ]));
        }
        Ok(Vec::new())
    }
}

/// A command as podman and Docker read it: a JSON list, or a text for the shell.
fn command(text: &str) -> Vec<String> {
    if let Ok(list) = serde_json::from_str::<Vec<String>>(text) {
        let known = list
            .first()
            .is_some_and(|w| matches!(w.as_str(), "CMD" | "CMD-SHELL" | "NONE"));
        return match list.as_slice() {
            [] => vec!["NONE".to_owned()],
            _ if known => list,
            [one] => vec!["CMD-SHELL".to_owned(), one.clone()],
            _ => std::iter::once("CMD".to_owned()).chain(list).collect(),
        };
    }
    if text.is_empty() || text.eq_ignore_ascii_case("none") {
        return vec!["NONE".to_owned()];
    }
    match text.split_once(' ') {
        Some(("CMD", rest)) => std::iter::once("CMD".to_owned())
            .chain(rest.split_whitespace().map(str::to_owned))
            .collect(),
        Some(("CMD-SHELL", rest)) => vec!["CMD-SHELL".to_owned(), rest.to_owned()],
        _ => vec!["CMD-SHELL".to_owned(), text.to_owned()],
    }
}

/// `[ADDRESS:]PORT`, the address in numbers: names are the host's here, not the container's.
fn address(flag: &str, text: &str) -> Result<String> {
    let bad = || {
        Error::invalid(format!("invalid {flag} {text:?}"))
            .hint("write a port, or an address in numbers and a port, e.g. 127.0.0.1:8080")
    };
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port: u16 = port.parse().ok().filter(|p| *p > 0).ok_or_else(bad)?;
    let host = match host {
        "" | "localhost" => "127.0.0.1",
        other => other,
    };
    let ip = host.trim_start_matches('[').trim_end_matches(']');
    let ip: std::net::IpAddr = ip.parse().map_err(|_| bad())?;
    Ok(std::net::SocketAddr::new(ip, port).to_string())
}

fn is_never(interval: &str) -> bool {
    matches!(interval, "disable" | "0" | "0s")
}

/// A duration; at least `least` nanoseconds. Not given is 0.
fn nanoseconds(flag: &str, text: &Option<String>, least: u128) -> Result<i64> {
    let Some(text) = text else { return Ok(0) };
    let time = parse_duration(text)?;
    if time.as_nanos() < least {
        return Err(Error::invalid(format!("{flag} must be longer than 0")));
    }
    i64::try_from(time.as_nanos())
        .map_err(|_| Error::invalid(format!("{flag} {text:?} is too long")))
}

fn limit(flag: &str, text: &Option<String>) -> Result<i64> {
    nanoseconds(flag, text, 1_000_000)
        .map_err(|e| e.hint("a check needs at least a millisecond, e.g. 30s"))
}

fn on_failure(text: &str) -> Result<OnFailure> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "" | "none" => OnFailure::None,
        "kill" => OnFailure::Kill,
        "restart" => OnFailure::Restart,
        "stop" => OnFailure::Stop,
        _ => {
            return Err(Error::invalid(format!(
                "invalid --health-on-failure {text:?}: use none, kill, restart or stop"
            )));
        }
    })
}

fn destination(text: &str) -> Result<LogDestination> {
    match text {
        "" | "local" => Ok(LogDestination::Local),
        "events_logger" => Ok(LogDestination::Events),
        text => {
            let folder = std::path::absolute(PathBuf::from(text))
                .ok()
                .filter(|p| p.is_dir());
            folder.map(LogDestination::Directory).ok_or_else(|| {
                Error::invalid(format!(
                    "invalid --health-log-destination {text:?}: it is no folder"
                ))
                .hint("use local, events_logger, or a folder that exists")
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_podman_reads_them() {
        for (text, words) in [
            ("curl -f http://x", &["CMD-SHELL", "curl -f http://x"][..]),
            (r#"["curl", "-f x"]"#, &["CMD", "curl", "-f x"]),
            (r#"["one word"]"#, &["CMD-SHELL", "one word"]),
            (r#"["CMD", "a b"]"#, &["CMD", "a b"]),
            ("CMD a b", &["CMD", "a", "b"]),
            ("CMD-SHELL a | b", &["CMD-SHELL", "a | b"]),
            ("none", &["NONE"]),
            (r#"["NONE"]"#, &["NONE"]),
            ("", &["NONE"]),
        ] {
            assert_eq!(command(text), words, "{text}");
        }
    }

    #[test]
    fn probes_over_the_network_have_addresses_in_numbers() {
        let test = |set: fn(&mut HealthFlags, String), text: &str| {
            let mut flags = HealthFlags::default();
            set(&mut flags, text.to_owned());
            flags.test().map(|t| t.join(" ")).ok()
        };
        let http = |text: &str| test(|f, t| f.health_http = Some(t), text);
        assert_eq!(http("8080").unwrap(), "HTTP 127.0.0.1:8080 /");
        assert_eq!(
            http("http://localhost/up?x=1").unwrap(),
            "HTTP 127.0.0.1:80 /up?x=1"
        );
        assert_eq!(http("http://[::1]:9/a").unwrap(), "HTTP [::1]:9 /a");
        assert_eq!(http("http://[::1]/a").unwrap(), "HTTP [::1]:80 /a");
        for bad in [
            "https://localhost",
            "http://example.org/",
            "x",
            "0",
            "80/a b",
        ] {
            assert_eq!(http(bad), None, "{bad}");
        }
        let grpc = |text: &str| test(|f, t| f.health_grpc = Some(t), text);
        assert_eq!(grpc("50051/db").unwrap(), "GRPC 127.0.0.1:50051 db");
        assert_eq!(grpc("50051").unwrap(), "GRPC 127.0.0.1:50051");
        let tcp = |text: &str| test(|f, t| f.health_tcp = Some(t), text);
        assert_eq!(tcp("10.0.0.1:5").unwrap(), "TCP 10.0.0.1:5");
    }

    #[test]
    fn figures_are_checked() {
        let changes = |set: fn(&mut HealthFlags)| {
            let mut flags = HealthFlags::default();
            set(&mut flags);
            flags.changes()
        };
        let never = changes(|f| f.health_interval = Some("disable".into())).unwrap();
        assert_eq!((never.manual, never.check), (Some(true), None));
        let every = changes(|f| f.health_interval = Some("90s".into())).unwrap();
        assert_eq!(every.manual, Some(false));
        assert_eq!(every.check.unwrap().interval, 90_000_000_000);
        for bad in [
            (|f| f.health_retries = Some(0)) as fn(&mut HealthFlags),
            |f| f.health_timeout = Some("0".into()),
            |f| f.health_interval = Some("5".into()),
            |f| f.health_on_failure = Some("cry".into()),
            |f| f.health_log_destination = Some("/nowhere/at/all".into()),
            |f| {
                f.no_healthcheck = true;
                f.health_cmd = Some("x".into());
            },
        ] {
            assert!(changes(bad).is_err());
        }
    }
}
