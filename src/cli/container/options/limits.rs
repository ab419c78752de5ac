//! Memory, CPU, processes, `--ulimit`.

use std::collections::BTreeMap;

use super::{Host, flags};
use crate::base::{Error, Result, size};
use crate::config::limits::KINDS;
use crate::spec::runtime::Rlimit;
use crate::state::options::{DeviceLimit, DeviceLimitKind, Resources};

/// Less memory than this starts nothing; Docker's bound.
const LEAST_MEMORY: u64 = 6 << 20;

/// The limits of the cgroup.
///
/// # Errors
/// `Invalid` for numbers out of range and for contradictions.
pub(in crate::cli::container) fn resources(flags: &flags::Limits) -> Result<Resources> {
    let bytes = |flag: &str, text: &Option<String>| -> Result<Option<u64>> {
        let Some(text) = text else { return Ok(None) };
        // Docker's word for no limit.
        if text == "0" || text == "-1" {
            return Ok(None);
        }
        let bytes = size::parse(text).map_err(|e| named(flag, &e))?;
        if bytes < LEAST_MEMORY {
            return Err(Error::invalid(format!("{flag} {text} is less than 6m"))
                .hint("without a unit it is bytes: write e.g. 512m or 1.5g"));
        }
        Ok(Some(bytes))
    };
    let memory = bytes("--memory", &flags.memory)?;
    let memory_reservation = bytes("--memory-reservation", &flags.memory_reservation)?;
    if let (Some(hard), Some(soft)) = (memory, memory_reservation)
        && soft > hard
    {
        return Err(Error::invalid("--memory-reservation is more than --memory"));
    }
    let memory_swap = match flags.memory_swap.as_deref() {
        None | Some("0") => None,
        Some("-1") => Some(-1),
        Some(text) => {
            let total = size::parse(text).map_err(|e| named("--memory-swap", &e))?;
            let Some(memory) = memory else {
                return Err(Error::invalid("--memory-swap needs --memory"));
            };
            if total < memory {
                return Err(Error::invalid(
                    "--memory-swap counts memory and swap together: it cannot be less than --memory",
                ));
            }
            i64::try_from(total).ok()
        }
    };
    let memory_swappiness = match flags.memory_swappiness {
        None | Some(-1) => None,
        Some(n @ 0..=100) => u64::try_from(n).ok(),
        Some(_) => return Err(Error::invalid("--memory-swappiness is 0 to 100, or -1")),
    };
    let cpus = match &flags.cpus {
        None => None,
        Some(text) => {
            let number = text
                .parse::<f64>()
                .ok()
                .filter(|n| n.is_finite() && *n >= 0.0);
            let number = number.ok_or_else(|| {
                Error::invalid(format!("invalid number of CPUs {text:?}")).hint("e.g. --cpus 1.5")
            })?;
            if number > 0.0 && number < 0.01 {
                return Err(Error::invalid("--cpus is at least 0.01"));
            }
            Some(number).filter(|n| *n > 0.0)
        }
    };
    if cpus.is_some() && (flags.cpu_period.is_some() || flags.cpu_quota.is_some()) {
        return Err(Error::invalid(
            "--cpus sets period and quota: it cannot be used with --cpu-period or --cpu-quota",
        ));
    }
    if flags
        .cpu_period
        .is_some_and(|p| p != 0 && !(1000..=1_000_000).contains(&p))
    {
        return Err(Error::invalid(
            "--cpu-period is 1000 to 1000000 microseconds",
        ));
    }
    if flags.cpu_quota.is_some_and(|q| q > 0 && q < 1000) {
        return Err(Error::invalid("--cpu-quota is at least 1000 microseconds"));
    }
    for (flag, list) in [
        ("--cpuset-cpus", &flags.cpuset_cpus),
        ("--cpuset-mems", &flags.cpuset_mems),
    ] {
        if let Some(text) = list.as_deref().filter(|t| !is_set(t)) {
            return Err(Error::invalid(format!("invalid {flag} {text:?}")).hint("e.g. 0-2,4"));
        }
    }
    if flags
        .blkio_weight
        .is_some_and(|w| w != 0 && !(10..=1000).contains(&w))
    {
        return Err(Error::invalid("--blkio-weight is 10 to 1000"));
    }
    if flags.pids_limit.is_some_and(|n| n < -1) {
        return Err(Error::invalid(
            "--pids-limit is a number, or -1 for no limit",
        ));
    }
    Ok(Resources {
        memory,
        memory_reservation,
        memory_swap,
        memory_swappiness,
        cpus,
        cpu_period: flags.cpu_period.filter(|p| *p != 0),
        cpu_quota: flags.cpu_quota.filter(|q| *q != 0),
        cpu_shares: flags
            .cpu_shares
            .filter(|s| *s != 0)
            .map(|s| s.clamp(2, 262_144)),
        cpuset_cpus: flags.cpuset_cpus.clone().filter(|t| !t.is_empty()),
        cpuset_mems: flags.cpuset_mems.clone().filter(|t| !t.is_empty()),
        pids_limit: flags.pids_limit,
        blkio_weight: flags.blkio_weight.filter(|w| *w != 0),
        oom_kill_disable: flags.oom_kill_disable,
        devices: devices(flags)?,
        unified: unified(&flags.cgroup_conf)?,
    })
}

/// `PATH:RATE` of each option, in its own unit.
fn devices(flags: &flags::Limits) -> Result<Vec<DeviceLimit>> {
    use DeviceLimitKind::{ReadBps, ReadIops, Weight, WriteBps, WriteIops};
    let mut all = Vec::new();
    for (kind, words) in [
        (ReadBps, &flags.device_read_bps),
        (WriteBps, &flags.device_write_bps),
        (ReadIops, &flags.device_read_iops),
        (WriteIops, &flags.device_write_iops),
        (Weight, &flags.blkio_weight_device),
    ] {
        for word in words {
            let option = kind.option();
            let bad = |why: &str| {
                Error::invalid(format!("invalid {option} {word:?}: {why}")).hint(match kind {
                    ReadBps | WriteBps => format!("e.g. {option} /dev/sda:10mb"),
                    ReadIops | WriteIops => format!("e.g. {option} /dev/sda:1000"),
                    Weight => format!("e.g. {option} /dev/sda:200"),
                })
            };
            let (path, value) = word
                .rsplit_once(':')
                .ok_or_else(|| bad("there is no value"))?;
            if !path.starts_with("/dev/") {
                return Err(bad("the device is not below /dev"));
            }
            let value = match kind {
                ReadBps | WriteBps => size::parse(value).map_err(|e| bad(e.what()))?,
                _ => value
                    .parse::<u64>()
                    .map_err(|_| bad("the value is no number"))?,
            };
            if kind == Weight && !(10..=1000).contains(&value) {
                return Err(bad("a weight is 10 to 1000"));
            }
            all.push(DeviceLimit {
                kind,
                path: path.to_owned(),
                value,
            });
        }
    }
    Ok(all)
}

/// `FILE=VALUE`.
fn unified(words: &[String]) -> Result<BTreeMap<String, String>> {
    words
        .iter()
        .map(|word| {
            let pair = word.split_once('=').filter(|(file, _)| !file.is_empty());
            let (file, value) = pair.ok_or_else(|| {
                Error::invalid(format!("invalid --cgroup-conf {word:?}"))
                    .hint("e.g. --cgroup-conf memory.high=512M")
            })?;
            Ok((file.to_owned(), value.to_owned()))
        })
        .collect()
}

fn named(flag: &str, error: &Error) -> Error {
    let named = Error::invalid(format!("{flag}: {}", error.what()));
    error.hints().iter().fold(named, |e, hint| e.hint(*hint))
}

/// `0-2,4`, or empty.
fn is_set(text: &str) -> bool {
    text.is_empty()
        || text.split(',').all(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(a), Ok(b)) if a <= b)
        })
}

/// `NAME=SOFT[:HARD]` and `host`.
///
/// # Errors
/// `Invalid` for unknown names, no numbers, soft above hard.
pub(super) fn ulimits(words: &[String], host: &Host<'_>) -> Result<Vec<Rlimit>> {
    let mut list: Vec<Rlimit> = Vec::new();
    for word in words {
        if word == "host" {
            if words.len() > 1 {
                return Err(Error::invalid("--ulimit host stands alone"));
            }
            return Ok(host.limits.to_vec());
        }
        let bad = |why: &str| {
            Error::invalid(format!("invalid --ulimit {word:?}: {why}"))
                .hint("write e.g. nofile=1024:4096, or nofile=-1 for no limit")
        };
        let (name, values) = word
            .split_once('=')
            .ok_or_else(|| bad("there is no value"))?;
        let lower = name.to_ascii_lowercase();
        let bare = lower.strip_prefix("rlimit_").unwrap_or(&lower);
        let (_, kind, _) = KINDS
            .iter()
            .find(|(short, _, _)| *short == bare)
            .ok_or_else(|| bad("there is no such limit"))?;
        let number = |text: &str| match text {
            "-1" | "unlimited" => Ok(u64::MAX),
            text => text
                .parse::<u64>()
                .map_err(|_| bad("the value is no number")),
        };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft > hard {
            return Err(bad("the soft limit is above the hard one"));
        }
        list.retain(|l| l.kind != *kind);
        list.push(Rlimit {
            kind: (*kind).to_owned(),
            hard,
            soft,
        });
    }
    Ok(list)
}
