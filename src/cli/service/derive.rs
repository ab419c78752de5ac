//! From the words that a service was asked for with to what it should be.

use std::time::Duration;

use super::words::{FLAGS, Means, Words, check};
use crate::base::time::parse_duration;
use crate::base::{Error, Result};
use crate::cli::container::options::port;
use crate::cli::output::Out;
use crate::operations::container::request::RunOptions;
use crate::operations::session::Session;
use crate::state::options::PortMapping;
use crate::state::service::{Desired, OnFailure, Order, Rolling};

/// The network of a service that names none.
const USUAL: &str = "podman";

/// What a service should be, by its words, and how its image is pulled.
///
/// # Errors
/// `Invalid` for what cannot be read; `Unsupported`.
pub fn desired(
    words: Words,
    session: &mut Session,
    out: &mut Out,
) -> Result<(Desired, RunOptions)> {
    for notice in check(&words)? {
        out.warn(&notice);
    }
    let one = |name: &str| words.get(name).and_then(|v| v.last()).map(String::as_str);
    let many = |name: &str| words.get(name).map_or(&[][..], Vec::as_slice);
    let global = match one("mode") {
        None | Some("replicated") => false,
        Some("global") => true,
        Some(jobs @ ("replicated-job" | "global-job")) => {
            return Err(
                Error::unsupported(format!("--mode {jobs} is not supported"))
                    .hint("run the job with `coracle run`"),
            );
        }
        Some(other) => {
            return Err(Error::invalid(format!("unknown --mode {other:?}"))
                .hint("use replicated or global"));
        }
    };
    let replicas = match one("replicas") {
        None => 1,
        Some(_) if global => {
            return Err(Error::invalid("--replicas is for --mode replicated"));
        }
        Some(text) => count(text)?,
    };
    let direct = match one("endpoint-mode") {
        None | Some("" | "vip") => false,
        Some("dnsrr") => true,
        Some(other) => {
            return Err(Error::invalid(format!("unknown --endpoint-mode {other:?}"))
                .hint("use vip or dnsrr"));
        }
    };
    let mut line: Vec<String> = Vec::new();
    for flag in FLAGS {
        if let Means::Run(name) = flag.means {
            line.extend(many(flag.name).iter().map(|v| format!("--{name}={v}")));
        }
    }
    let (networks, more) = networks(many("network"))?;
    line.extend(more);
    let (publish, more) = published(many("publish"))?;
    line.extend(more);
    line.push(format!("--restart={}", restart(&words)?));
    if let Some(text) = one("stop-grace-period") {
        let time = parse_duration(text)?;
        line.push(format!(
            "--stop-timeout={}",
            time.as_millis().div_ceil(1000)
        ));
    }
    line.push("--".to_owned());
    line.extend(many("image").iter().chain(many("args")).cloned());
    let (mut options, run) = crate::cli::container::create::options(&line, session, out)?;
    // What was typed does not make replicas outdated.
    options.create_command.clear();
    let mut labels = std::collections::BTreeMap::new();
    for label in many("label") {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        labels.insert(key.to_owned(), value.to_owned());
    }
    let desired = Desired {
        labels,
        options: Some(Box::new(options)),
        replicas,
        global,
        networks,
        direct,
        publish,
        update: rolling(&words, "update")?,
        rollback: rolling(&words, "rollback")?,
        words,
        ..Desired::default()
    };
    Ok((desired, run))
}

/// A number of replicas.
///
/// # Errors
/// `Invalid`.
pub fn count(text: &str) -> Result<u32> {
    let most = 1000;
    match text.parse() {
        Ok(n) if n <= most => Ok(n),
        _ => Err(
            Error::invalid(format!("invalid number of replicas {text:?}"))
                .hint(format!("use 0 to {most}")),
        ),
    }
}

/// The networks' names, and the words that put replicas on them.
fn networks(list: &[String]) -> Result<(Vec<String>, Vec<String>)> {
    let (mut names, mut words) = (Vec::new(), Vec::new());
    for text in list {
        let (mut name, mut rest) = (text.as_str(), Vec::new());
        if text.contains("name=") && !text.contains(':') {
            for (key, value) in text.split(',').filter_map(|p| p.split_once('=')) {
                match key {
                    "name" => name = value,
                    "alias" => rest.push(format!("alias={value}")),
                    _ => {
                        return Err(Error::invalid(format!(
                            "cannot read --network {text:?}: no {key:?} is known"
                        )));
                    }
                }
            }
        }
        if matches!(name, "host" | "none") {
            return Err(
                Error::unsupported(format!("a service cannot be on --network {name}"))
                    .hint("name a network with names: `coracle network ls`"),
            );
        }
        names.push(name.split(':').next().unwrap_or(name).to_owned());
        words.push(match rest.is_empty() {
            true => format!("--network={name}"),
            false => format!("--network={name}:{}", rest.join(",")),
        });
    }
    if names.is_empty() {
        names.push(USUAL.to_owned());
        words.push(format!("--network={USUAL}"));
    }
    Ok((names, words))
}

/// The ports that lead to any replica, and the words for those that are each replica's own.
fn published(list: &[String]) -> Result<(Vec<PortMapping>, Vec<String>)> {
    let (mut all, mut words) = (Vec::new(), Vec::new());
    for text in list {
        if !text.contains('=') {
            all.push(port(text)?);
            continue;
        }
        let (mut outer, mut inner, mut protocol, mut own) = ("0", "", "tcp", false);
        for (key, value) in text.split(',').filter_map(|p| p.split_once('=')) {
            match (key, value) {
                ("published", v) => outer = v,
                ("target", v) => inner = v,
                ("protocol", v) => protocol = v,
                ("mode", "ingress") => own = false,
                ("mode", "host") => own = true,
                _ => {
                    return Err(Error::invalid(format!("cannot read --publish {text:?}"))
                        .hint("write published=8080,target=80,protocol=tcp,mode=ingress"));
                }
            }
        }
        let text = format!("{outer}:{inner}/{protocol}");
        match own {
            true => words.push(format!("--publish={text}")),
            false => all.push(port(&text)?),
        }
    }
    for mapping in &all {
        if mapping.host_port == 0 {
            return Err(
                Error::invalid("--publish needs a port of the host: it stays the same")
                    .hint("write 8080:80"),
            );
        }
    }
    Ok((all, words))
}

fn restart(words: &Words) -> Result<String> {
    let one = |name: &str| words.get(name).and_then(|v| v.last()).map(String::as_str);
    let most = one("restart-max-attempts").filter(|n| *n != "0");
    let policy = match (one("restart-condition"), most) {
        (None | Some("any"), None) => "always".to_owned(),
        (Some("none"), None) => "no".to_owned(),
        (Some("on-failure"), None) => "on-failure".to_owned(),
        (Some("on-failure"), Some(n)) => format!("on-failure:{n}"),
        (None | Some("any" | "none"), Some(_)) => {
            return Err(Error::invalid("--restart-max-attempts is for failures")
                .hint("add --restart-condition on-failure"));
        }
        (Some(other), _) => {
            return Err(
                Error::invalid(format!("unknown --restart-condition {other:?}"))
                    .hint("use any, on-failure or none"),
            );
        }
    };
    Ok(policy)
}

/// `--update-*` or `--rollback-*`.
fn rolling(words: &Words, which: &str) -> Result<Rolling> {
    let one = |name: &str| {
        let list = words.get(&format!("{which}-{name}"));
        list.and_then(|v| v.last()).map(String::as_str)
    };
    let wrong = |name: &str, text: &str, hint: &str| {
        Error::invalid(format!("invalid --{which}-{name} {text:?}")).hint(hint.to_owned())
    };
    let time = |name: &str| -> Result<Option<u64>> {
        let time = one(name).map(parse_duration).transpose()?;
        let nanos = |t: Duration| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX);
        Ok(time.map(nanos))
    };
    let mut rolling = Rolling::default();
    if let Some(text) = one("parallelism") {
        let number = text.parse();
        rolling.parallelism = number.map_err(|_| wrong("parallelism", text, "0 is all"))?;
    }
    rolling.delay = time("delay")?.unwrap_or(0);
    if let Some(nanos) = time("monitor")?.filter(|n| *n > 0) {
        rolling.monitor = nanos;
    }
    if let Some(text) = one("max-failure-ratio") {
        rolling.max_failure_ratio = text
            .parse()
            .ok()
            .filter(|r| (0.0..=1.0).contains(r))
            .ok_or_else(|| wrong("max-failure-ratio", text, "use 0 to 1"))?;
    }
    if let Some(text) = one("failure-action") {
        rolling.on_failure = match text {
            "pause" => OnFailure::Pause,
            "continue" => OnFailure::Continue,
            "rollback" if which == "update" => OnFailure::Rollback,
            _ => {
                let hint = match which {
                    "update" => "use pause, continue or rollback",
                    _ => "use pause or continue",
                };
                return Err(wrong("failure-action", text, hint));
            }
        };
    }
    if let Some(text) = one("order") {
        rolling.order = match text {
            "start-first" => Order::StartFirst,
            "stop-first" => Order::StopFirst,
            _ => return Err(wrong("order", text, "use start-first or stop-first")),
        };
    }
    Ok(rolling)
}
