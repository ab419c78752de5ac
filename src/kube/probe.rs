//! Probes: what the container's monitor checks.

use super::node::Node;
use crate::base::{Error, Result};

/// Kubernetes' words for times, and our flags.
const TIMES: &[(&str, &str, i64)] = &[
    ("initialDelaySeconds", "--health-start-period", 0),
    ("periodSeconds", "--health-interval", 10),
    ("timeoutSeconds", "--health-timeout", 1),
];

/// The words of `create` for the probes of a container.
///
/// # Errors
/// `Invalid` for a probe that names no check.
pub fn words(
    container: &Node<'_>,
    restarts: bool,
    port: &dyn Fn(&str) -> Option<u16>,
) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let liveness = container.node("livenessProbe")?;
    let readiness = container.node("readinessProbe")?;
    let startup = container.node("startupProbe")?;
    let (main, live) = match (liveness, readiness) {
        (Some(live), Some(ready)) => {
            ready.skip(KEYS);
            ready.note(" has no effect beside a livenessProbe, whose answer counts for both");
            (Some(live), true)
        }
        (Some(live), None) => (Some(live), true),
        (None, ready) => (ready, false),
    };
    let Some(main) = main else {
        if let Some(startup) = startup {
            startup.skip(KEYS);
            startup.note(" has no effect without a livenessProbe or readinessProbe");
        }
        return Ok(words);
    };
    words.extend(check(&main, port)?);
    let mut start_period = 0;
    for (key, flag, usual) in TIMES {
        let seconds = main.number(key)?.unwrap_or(*usual).max(0);
        if *flag == "--health-start-period" {
            start_period = seconds;
        } else {
            words.extend([(*flag).to_owned(), format!("{}s", seconds.max(1))]);
        }
    }
    let failures = main.number("failureThreshold")?.unwrap_or(3).max(1);
    words.extend(["--health-retries".to_owned(), failures.to_string()]);
    if main.number("successThreshold")?.is_some_and(|n| n > 1) {
        main.note(".successThreshold has no effect: one success is enough");
    }
    if let Some(startup) = startup {
        // Until it succeeds failures do not count: the time that it may take.
        startup.skip(KEYS);
        let period = startup.number("periodSeconds")?.unwrap_or(10).max(1);
        let failures = startup.number("failureThreshold")?.unwrap_or(3).max(1);
        let delay = startup.number("initialDelaySeconds")?.unwrap_or(0).max(0);
        match startup.node("exec")? {
            Some(exec) => {
                let command = serde_json::Value::from(exec.texts("command")?).to_string();
                words.extend(["--health-startup-cmd".to_owned(), command]);
                words.extend(["--health-startup-interval".to_owned(), format!("{period}s")]);
                words.extend(["--health-startup-retries".to_owned(), failures.to_string()]);
            }
            None => {
                start_period += delay + period * failures;
                startup.note(" is the time in which failures of the other probe do not count");
            }
        }
    }
    if start_period > 0 {
        words.extend([
            "--health-start-period".to_owned(),
            format!("{start_period}s"),
        ]);
    }
    if live {
        let action = if restarts { "restart" } else { "kill" };
        words.extend(["--health-on-failure".to_owned(), action.to_owned()]);
    }
    Ok(words)
}

const KEYS: &[&str] = &[
    "exec",
    "httpGet",
    "tcpSocket",
    "grpc",
    "initialDelaySeconds",
    "periodSeconds",
    "timeoutSeconds",
    "failureThreshold",
    "successThreshold",
];

fn check(probe: &Node<'_>, named: &dyn Fn(&str) -> Option<u16>) -> Result<Vec<String>> {
    let port = |node: &Node<'_>| -> Result<String> {
        let text = node.needed("port")?;
        match text.parse::<u16>() {
            Ok(_) => Ok(text),
            Err(_) => named(&text).map(|p| p.to_string()).ok_or_else(|| {
                Error::invalid(format!(
                    "{}.port: the container has no port {text:?}",
                    node.path()
                ))
            }),
        }
    };
    if let Some(exec) = probe.node("exec")? {
        let command = serde_json::Value::from(exec.texts("command")?).to_string();
        return Ok(vec!["--health-cmd".to_owned(), command]);
    }
    if let Some(http) = probe.node("httpGet")? {
        let scheme = http.text("scheme")?.unwrap_or_else(|| "HTTP".to_owned());
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(Error::unsupported(format!(
                "{}.scheme {scheme}: only HTTP is checked",
                http.path()
            ))
            .hint("use tcpSocket"));
        }
        let path = http.text("path")?.unwrap_or_else(|| "/".to_owned());
        let slash = if path.starts_with('/') { "" } else { "/" };
        let host = http.text("host")?.unwrap_or_else(|| "127.0.0.1".to_owned());
        let url = format!("http://{host}:{}{slash}{path}", port(&http)?);
        return Ok(vec!["--health-http".to_owned(), url]);
    }
    if let Some(tcp) = probe.node("tcpSocket")? {
        let port = port(&tcp)?;
        let address = match tcp.text("host")? {
            Some(host) => format!("{host}:{port}"),
            None => port,
        };
        return Ok(vec!["--health-tcp".to_owned(), address]);
    }
    if let Some(grpc) = probe.node("grpc")? {
        let port = port(&grpc)?;
        let address = match grpc.text("service")?.filter(|s| !s.is_empty()) {
            Some(service) => format!("{port}/{service}"),
            None => port,
        };
        return Ok(vec!["--health-grpc".to_owned(), address]);
    }
    Err(Error::invalid(format!(
        "{} has none of exec, httpGet, tcpSocket and grpc",
        probe.path()
    )))
}
