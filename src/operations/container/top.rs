//! `top`: the processes of a container, read from `/proc` on the host side, shown as the container
//! sees them.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;

use super::{exec, look, processes};
use crate::base::{Context as _, Error, Result};
use crate::operations::session::Session;
use crate::runtime::capabilities;
use crate::spec::idmap::{IdMaps, to_container};
use crate::state::container::Container;
use crate::state::options::NamespaceMode;
use crate::sys::resolve;

/// Clock ticks a second, as `/proc` counts them on every architecture that Linux has left.
const TICKS: u64 = 100;
/// `/etc/passwd` and `/etc/group` may be this long.
const LIMIT: u64 = 4 << 20;

/// podman's columns when none are named.
pub const DEFAULT: &[&str] = &[
    "user", "pid", "ppid", "pcpu", "etime", "tty", "time", "args",
];

/// Descriptors and their headers.
pub const DESCRIPTORS: &[(&str, &str)] = &[
    ("args", "COMMAND"),
    ("capamb", "AMBIENT CAPS"),
    ("capbnd", "BOUNDING CAPS"),
    ("capeff", "EFFECTIVE CAPS"),
    ("capinh", "INHERITED CAPS"),
    ("capprm", "PERMITTED CAPS"),
    ("comm", "COMMAND"),
    ("cpu", "CPU"),
    ("elapsed", "ELAPSED"),
    ("environ", "ENVIRON"),
    ("etime", "ELAPSED"),
    ("group", "GROUP"),
    ("groups", "GROUPS"),
    ("hcomm", "HCOMMAND"),
    ("hgroup", "HGROUP"),
    ("hpid", "HPID"),
    ("huser", "HUSER"),
    ("label", "LABEL"),
    ("nice", "NI"),
    ("pcpu", "%CPU"),
    ("pgid", "PGID"),
    ("pid", "PID"),
    ("ppid", "PPID"),
    ("rgroup", "RGROUP"),
    ("rss", "RSS"),
    ("ruser", "RUSER"),
    ("seccomp", "SECCOMP"),
    ("state", "STATE"),
    ("stime", "STIME"),
    ("time", "TIME"),
    ("tty", "TTY"),
    ("user", "USER"),
    ("vsz", "VSZ"),
];

/// docker's columns when none are named (those of `ps -ef`), with their headers: processes by the
/// host's numbers.
pub const DOCKER: &[(&str, &str)] = &[
    ("user", "UID"),
    ("hpid", "PID"),
    ("hppid", "PPID"),
    ("share", "C"),
    ("begun", "STIME"),
    ("tty", "TTY"),
    ("clock", "TIME"),
    ("args", "CMD"),
];

/// Columns from words: names with commas or apart, `%cpu` style codes too. `None` when a word is
/// none of ours: then it is for `ps`.
pub fn parse(words: &[String]) -> Option<Vec<&'static str>> {
    let mut columns = Vec::new();
    for word in words.iter().flat_map(|w| w.split(',')) {
        let word = match word {
            "%C" => "pcpu",
            "%G" => "group",
            "%P" => "ppid",
            "%U" => "user",
            "%a" => "args",
            "%c" => "comm",
            "%g" => "rgroup",
            "%n" => "nice",
            "%p" => "pid",
            "%r" => "pgid",
            "%t" => "etime",
            "%u" => "ruser",
            "%x" => "time",
            "%y" => "tty",
            "%z" => "vsz",
            other => other,
        };
        columns.push(DESCRIPTORS.iter().find(|(name, _)| *name == word)?.0);
    }
    if columns.is_empty() {
        columns.extend(DEFAULT);
    }
    Some(columns)
}

/// One row for each process, one text for each column.
///
/// # Errors
/// `InUse` when the container does not run.
pub fn top(session: &Session, container: &Container, columns: &[&str]) -> Result<Vec<Vec<String>>> {
    let (status, root) = exec::running_root(session, container)?;
    let init = status
        .init
        .as_ref()
        .ok_or_else(|| Error::internal("a running container without a process"))?;
    let own = container.record.options.pid != NamespaceMode::Host;
    let spec = look::spec_of(session, container)?;
    let view = View {
        users: names(&root, "etc/passwd"),
        groups: names(&root, "etc/group"),
        nested: spec.as_ref().and_then(exec::nested_maps),
        uptime: uptime()?,
    };
    let list = processes::list(init, own)?;
    let inside: BTreeMap<i32, i32> = list
        .iter()
        .filter_map(|p| Some((p.pid, inner_pid(&status_of(p.pid)?))))
        .collect();
    let mut rows = Vec::new();
    for process in list {
        if let Some(facts) = Facts::read(process.pid) {
            rows.push((
                inside.get(&process.pid).copied().unwrap_or(process.pid),
                columns
                    .iter()
                    .map(|c| view.column(c, &facts, &inside))
                    .collect(),
            ));
        }
    }
    rows.sort_by_key(|(pid, _)| *pid);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn uptime() -> Result<f64> {
    let text = fs::read_to_string("/proc/uptime").what(|| "cannot read /proc/uptime")?;
    Ok(text
        .split(' ')
        .next()
        .and_then(|w| w.parse().ok())
        .unwrap_or(0.0))
}

/// Ids to names from a file of the container.
fn names(root: &OwnedFd, file: &str) -> BTreeMap<u32, String> {
    let bytes = resolve::read(root, file, LIMIT).ok().flatten();
    let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
    let mut map = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(':');
        if let (Some(name), Some(Ok(id))) = (words.next(), words.nth(1).map(str::parse)) {
            map.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    map
}

fn status_of(pid: i32) -> Option<BTreeMap<String, String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(
        text.lines()
            .filter_map(|l| l.split_once(':'))
            .map(|(k, v)| (k.to_owned(), v.trim().to_owned()))
            .collect(),
    )
}

/// The pid in the innermost namespace.
fn inner_pid(status: &BTreeMap<String, String>) -> i32 {
    status
        .get("NSpid")
        .and_then(|v| v.split_whitespace().last())
        .and_then(|w| w.parse().ok())
        .unwrap_or(0)
}

struct Facts {
    pid: i32,
    status: BTreeMap<String, String>,
    stat: Vec<String>,
    comm: String,
}

impl Facts {
    fn read(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (head, rest) = text.rsplit_once(") ")?;
        Some(Self {
            pid,
            status: status_of(pid)?,
            stat: rest.split_whitespace().map(str::to_owned).collect(),
            comm: head.split_once(" (").map_or("", |(_, c)| c).to_owned(),
        })
    }

    /// Field `n` of proc_pid_stat(5), counted from 1; the first two are not here.
    fn number(&self, n: usize) -> u64 {
        self.signed(n).max(0).cast_unsigned()
    }

    fn signed(&self, n: usize) -> i64 {
        self.stat
            .get(n - 3)
            .and_then(|w| w.parse().ok())
            .unwrap_or(0)
    }

    fn text(&self, key: &str) -> &str {
        self.status.get(key).map_or("", String::as_str)
    }

    /// Word `n` of a status line with several numbers.
    fn id(&self, key: &str, n: usize) -> u32 {
        self.text(key)
            .split_whitespace()
            .nth(n)
            .and_then(|w| w.parse().ok())
            .unwrap_or(0)
    }

    fn args(&self) -> String {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let text: Vec<String> = bytes
            .split(|b| *b == 0)
            .filter(|w| !w.is_empty())
            .map(|w| String::from_utf8_lossy(w).into_owned())
            .collect();
        if text.is_empty() {
            format!("[{}]", self.comm)
        } else {
            text.join(" ")
        }
    }
}

struct View {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
    nested: Option<IdMaps>,
    uptime: f64,
}

impl View {
    fn user(&self, id: u32) -> String {
        let id = match &self.nested {
            Some(maps) => to_container(&maps.uids, id).unwrap_or(65_534),
            None => id,
        };
        self.users
            .get(&id)
            .cloned()
            .unwrap_or_else(|| id.to_string())
    }

    fn group(&self, id: u32) -> String {
        let id = match &self.nested {
            Some(maps) => to_container(&maps.gids, id).unwrap_or(65_534),
            None => id,
        };
        self.groups
            .get(&id)
            .cloned()
            .unwrap_or_else(|| id.to_string())
    }

    fn column(&self, name: &str, f: &Facts, inside: &BTreeMap<i32, i32>) -> String {
        let ticks = f.number(14) + f.number(15);
        let elapsed = (self.uptime - f.number(22) as f64 / TICKS as f64).max(0.0);
        let share = match elapsed > 0.0 {
            true => ticks as f64 / TICKS as f64 * 100.0 / elapsed,
            false => 0.0,
        };
        let caps = |key: &str| caps_text(u64::from_str_radix(f.text(key), 16).unwrap_or(0));
        match name {
            "args" => f.args(),
            "capamb" => caps("CapAmb"),
            "capbnd" => caps("CapBnd"),
            "capeff" => caps("CapEff"),
            "capinh" => caps("CapInh"),
            "capprm" => caps("CapPrm"),
            "comm" | "hcomm" => f.comm.clone(),
            "cpu" | "pcpu" => format!("{share:.3}"),
            "elapsed" | "etime" => duration(elapsed),
            "environ" => {
                let bytes = fs::read(format!("/proc/{}/environ", f.pid)).unwrap_or_default();
                String::from_utf8_lossy(&bytes)
                    .replace('\0', " ")
                    .trim()
                    .to_owned()
            }
            "group" => self.group(f.id("Gid", 1)),
            "rgroup" => self.group(f.id("Gid", 0)),
            "groups" => f
                .text("Groups")
                .split_whitespace()
                .filter_map(|w| Some(self.group(w.parse().ok()?)))
                .collect::<Vec<_>>()
                .join(","),
            "hgroup" => f.id("Gid", 1).to_string(),
            "hpid" => f.pid.to_string(),
            "huser" => f.id("Uid", 1).to_string(),
            "hppid" => f.number(4).to_string(),
            "share" => format!("{:.0}", share.floor()),
            "begun" => begun(elapsed),
            "clock" => {
                let seconds = ticks / TICKS;
                let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
                format!("{h:02}:{m:02}:{s:02}")
            }
            "label" => fs::read_to_string(format!("/proc/{}/attr/current", f.pid))
                .map(|t| t.trim_end_matches(['\0', '\n']).to_owned())
                .ok()
                .filter(|t| !t.is_empty())
                .unwrap_or_else(|| "?".to_owned()),
            "nice" => f.signed(19).to_string(),
            "pgid" => {
                let group = i32::try_from(f.number(5)).unwrap_or(0);
                inside.get(&group).copied().unwrap_or(group).to_string()
            }
            "pid" => inner_pid(&f.status).to_string(),
            "ppid" => {
                let parent = i32::try_from(f.number(4)).unwrap_or(0);
                // A parent outside is 0, as inside.
                inside.get(&parent).copied().unwrap_or(0).to_string()
            }
            "rss" => (f.signed(24).max(0) * 4).to_string(),
            "ruser" => self.user(f.id("Uid", 0)),
            "user" => self.user(f.id("Uid", 1)),
            "seccomp" => match f.text("Seccomp") {
                "0" => "disabled",
                "1" => "strict",
                "2" => "filter",
                _ => "?",
            }
            .to_owned(),
            "state" => f.text("State").chars().take(1).collect(),
            "stime" => duration(f.number(15) as f64 / TICKS as f64),
            "time" => duration(ticks as f64 / TICKS as f64),
            "tty" => tty(f.number(7)),
            "vsz" => (f.number(23) / 1024).to_string(),
            _ => "?".to_owned(),
        }
    }
}

/// When a process began, as `ps -ef` says it: the time of today, else the day.
fn begun(elapsed: f64) -> String {
    let now = jiff::Zoned::now();
    let began = jiff::SignedDuration::try_from_secs_f64(elapsed)
        .ok()
        .and_then(|elapsed| now.checked_sub(elapsed).ok());
    match began {
        Some(began) if began.date() == now.date() => began.strftime("%H:%M").to_string(),
        Some(began) => began.strftime("%b%d").to_string(),
        None => "?".to_owned(),
    }
}

/// Go's way: `1h2m3.5s`.
fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    let (h, m) = (whole / 3600, whole / 60 % 60);
    let s = seconds - (h * 3600 + m * 60) as f64;
    let mut text = String::new();
    if h > 0 {
        text.push_str(&format!("{h}h"));
    }
    if h > 0 || m > 0 {
        text.push_str(&format!("{m}m"));
    }
    let fraction = format!("{s:.3}");
    text.push_str(fraction.trim_end_matches('0').trim_end_matches('.'));
    text.push('s');
    text
}

/// Major and minor of a terminal as people know it.
fn tty(device: u64) -> String {
    if device == 0 {
        return "?".to_owned();
    }
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0xfff00);
    match major {
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 => format!("tty{minor}"),
        _ => format!("{major}:{minor}"),
    }
}

fn caps_text(mask: u64) -> String {
    let all = capabilities::NAMES;
    let have: Vec<&str> = all
        .iter()
        .enumerate()
        .filter(|(n, _)| mask & (1 << n) != 0)
        .map(|(_, name)| name.trim_start_matches("CAP_"))
        .collect();
    match have.len() {
        0 => "none".to_owned(),
        n if n == all.len() => "full".to_owned(),
        _ => have.join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_parse_in_podmans_ways_and_the_rest_is_for_ps() {
        let words = |t: &str| t.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(parse(&[]).unwrap(), DEFAULT);
        assert_eq!(
            parse(&words("pid,user args")).unwrap(),
            ["pid", "user", "args"]
        );
        assert_eq!(parse(&words("%p %a")).unwrap(), ["pid", "args"]);
        assert!(parse(&words("-ef")).is_none());
        assert!(parse(&words("aux")).is_none());
    }

    #[test]
    fn durations_and_terminals_read_as_in_podman() {
        assert_eq!(begun(0.0).len(), 5);
        assert!(begun(90_000.0).as_bytes()[0].is_ascii_uppercase());
        assert_eq!(duration(0.0), "0s");
        assert_eq!(duration(3.25), "3.25s");
        assert_eq!(duration(63.0), "1m3s");
        assert_eq!(duration(3661.5), "1h1m1.5s");
        assert_eq!(tty(0), "?");
        assert_eq!(tty(136 << 8 | 3), "pts/3");
        assert_eq!(tty(4 << 8 | 1), "tty1");
    }
}
