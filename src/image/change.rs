//! `--change`: Containerfile instructions that alter a configuration, for `import` and `commit`.
//!
//! Only what sets metadata is known: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD,
//! SHELL, STOPSIGNAL, USER, VOLUME and WORKDIR. Pure.

use crate::base::{Error, Result};
use crate::spec::image::{Empty, Healthcheck, RunConfig};

/// Applies one instruction.
///
/// # Errors
/// `Invalid` for an unknown or malformed instruction.
pub fn apply(config: &mut RunConfig, change: &str) -> Result<()> {
    let change = change.trim();
    let (word, rest) = change
        .split_once(|c: char| c.is_whitespace() || c == '=')
        .unwrap_or((change, ""));
    let rest = rest.trim();
    let bad = |why: &str| {
        Error::invalid(format!("invalid change {change:?}: {why}"))
            .hint("write it like 'CMD [\"sh\"]', 'ENV KEY=VALUE' or 'EXPOSE 80/tcp'")
    };
    if rest.is_empty() {
        return Err(bad("a value is missing"));
    }
    match word.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = Some(command(rest)),
        "ENTRYPOINT" => config.entrypoint = Some(command(rest)),
        "ENV" => {
            for (key, value) in pairs(rest).ok_or_else(|| bad("no KEY=VALUE"))? {
                let start = format!("{key}=");
                config.env.retain(|e| !e.starts_with(&start));
                config.env.push(format!("{key}={value}"));
            }
        }
        "LABEL" => {
            for (key, value) in pairs(rest).ok_or_else(|| bad("no KEY=VALUE"))? {
                config.labels.insert(key, value);
            }
        }
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                for one in expose(port).ok_or_else(|| bad("no port[-port][/protocol]"))? {
                    config.exposed_ports.insert(one, Empty {});
                }
            }
        }
        "VOLUME" => {
            let list = match exec_form(rest) {
                Some(list) => list,
                None => rest.split_whitespace().map(str::to_owned).collect(),
            };
            for path in list {
                config.volumes.insert(path, Empty {});
            }
        }
        "USER" => config.user = rest.to_owned(),
        "WORKDIR" => {
            config.working_dir = if rest.starts_with('/') {
                rest.to_owned()
            } else {
                let base = config.working_dir.trim_end_matches('/');
                format!("{base}/{rest}")
            };
        }
        "STOPSIGNAL" => config.stop_signal = Some(rest.to_owned()),
        "ONBUILD" => config.on_build.push(rest.to_owned()),
        "SHELL" => {
            config.shell = Some(exec_form(rest).ok_or_else(|| bad("SHELL needs the JSON form"))?);
        }
        "HEALTHCHECK" => {
            config.healthcheck =
                Some(healthcheck(rest).ok_or_else(|| bad("malformed health check"))?);
        }
        _ => return Err(bad("this instruction cannot be used here")),
    }
    Ok(())
}

/// `["a","b"]`.
fn exec_form(text: &str) -> Option<Vec<String>> {
    if !text.starts_with('[') {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// The exec form, else the shell form.
fn command(text: &str) -> Vec<String> {
    exec_form(text).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

/// `K=V K2="V 2"`, or the old `K V`.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let words = shlex::split(text)?;
    let first = words.first()?;
    if !first.contains('=') {
        let (key, value) = text.split_once(char::is_whitespace)?;
        return Some(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    words
        .iter()
        .map(|word| {
            let (key, value) = word.split_once('=')?;
            (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
        })
        .collect()
}

/// `80`, `80/udp`, `8000-8002/tcp` as single ports with protocol.
fn expose(text: &str) -> Option<Vec<String>> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first != 0 && first <= last).then(|| {
        (first..=last)
            .map(|port| format!("{port}/{protocol}"))
            .collect()
    })
}

/// `NONE`, or `[--interval= --timeout= --start-period= --start-interval= --retries=] CMD …`.
fn healthcheck(text: &str) -> Option<Healthcheck> {
    let mut check = Healthcheck::default();
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, tail) = option.split_once(char::is_whitespace)?;
        let (key, value) = option.split_once('=')?;
        let nanos = || {
            crate::base::time::parse_duration(value)
                .ok()
                .and_then(|d| i64::try_from(d.as_nanos()).ok())
        };
        match key {
            "interval" => check.interval = nanos()?,
            "timeout" => check.timeout = nanos()?,
            "start-period" => check.start_period = nanos()?,
            "start-interval" => check.start_interval = nanos()?,
            "retries" => check.retries = value.parse().ok()?,
            _ => return None,
        }
        rest = tail.trim_start();
    }
    if rest.eq_ignore_ascii_case("none") {
        check.test = vec!["NONE".to_owned()];
        return Some(check);
    }
    let (word, command) = rest.split_once(char::is_whitespace)?;
    if !word.eq_ignore_ascii_case("cmd") {
        return None;
    }
    let command = command.trim();
    check.test = match exec_form(command) {
        Some(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
        None => vec!["CMD-SHELL".to_owned(), command.to_owned()],
    };
    Some(check)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> RunConfig {
        let mut config = RunConfig::default();
        for change in changes {
            apply(&mut config, change).unwrap();
        }
        config
    }

    #[test]
    fn instructions_set_what_they_name() {
        let c = changed(&[
            "CMD [\"a\", \"b c\"]",
            "entrypoint echo hi",
            "ENV A=1 B=\"x y\"",
            "ENV A=2",
            "ENV OLD form of it",
            "EXPOSE 80 9000-9001/udp",
            "LABEL a.b=c",
            "ONBUILD RUN x",
            "STOPSIGNAL SIGINT",
            "USER 1000:1000",
            "VOLUME [\"/data\"]",
            "VOLUME /a /b",
            "WORKDIR /srv",
            "WORKDIR sub",
            "HEALTHCHECK --interval=5s --retries=3 CMD curl -f x",
        ]);
        assert_eq!(c.cmd.unwrap(), ["a", "b c"]);
        assert_eq!(c.entrypoint.unwrap(), ["/bin/sh", "-c", "echo hi"]);
        assert_eq!(c.env, ["B=x y", "A=2", "OLD=form of it"]);
        let ports: Vec<_> = c.exposed_ports.keys().map(String::as_str).collect();
        assert_eq!(ports, ["80/tcp", "9000/udp", "9001/udp"]);
        assert_eq!(c.labels["a.b"], "c");
        assert_eq!(c.working_dir, "/srv/sub");
        assert_eq!(c.volumes.len(), 3);
        let check = c.healthcheck.unwrap();
        assert_eq!((check.interval, check.retries), (5_000_000_000, 3));
        assert_eq!(check.test, ["CMD-SHELL", "curl -f x"]);
    }

    #[test]
    fn podmans_equals_sign_after_the_instruction_is_read() {
        assert_eq!(changed(&["CMD=[\"x\"]"]).cmd.unwrap(), ["x"]);
        assert_eq!(changed(&["USER=root"]).user, "root");
    }

    #[test]
    fn other_instructions_and_bad_values_are_refused() {
        for change in [
            "",
            "RUN x",
            "CMD",
            "EXPOSE 0",
            "EXPOSE 80/x",
            "ENV =x",
            "SHELL sh",
            "HEALTHCHECK x",
        ] {
            assert!(
                apply(&mut RunConfig::default(), change).is_err(),
                "{change}"
            );
        }
    }
}
