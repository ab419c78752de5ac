//! The flags of `service create` and `service update`, as one table: what a service is made from is
//! kept by these names, so that `update` can edit it.

use std::collections::BTreeMap;

use clap::builder::Arg;
use clap::{ArgAction, ArgMatches, Command};

use crate::base::{Error, Result};

/// What was given, by the names of flags. `image` and `args` are in it, too.
pub type Words = BTreeMap<String, Vec<String>>;

/// How a flag is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// No value.
    Nothing,
    /// One value.
    One,
    /// A list: `update` has `--NAME-add` and `--NAME-rm`.
    Many,
    /// A list that `update` adds to by the same name.
    More,
}

/// What becomes of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// The flag of `run` of this name, with the same value.
    Run(&'static str),
    /// Something of the service's own.
    Own,
    /// Nothing on one machine, which is told.
    Idle,
    /// It is refused, with this hint.
    Refused(&'static str),
}

/// One flag.
#[derive(Debug)]
pub struct Flag {
    /// Its name.
    pub name: &'static str,
    short: Option<char>,
    takes: Takes,
    value: &'static str,
    help: &'static str,
    /// What becomes of it.
    pub means: Means,
    /// `service create` only.
    first: bool,
}

const fn flag(
    name: &'static str,
    takes: Takes,
    value: &'static str,
    means: Means,
    help: &'static str,
) -> Flag {
    Flag {
        name,
        short: None,
        takes,
        value,
        help,
        means,
        first: false,
    }
}

const fn short(letter: char, mut flag: Flag) -> Flag {
    flag.short = Some(letter);
    flag
}

const fn first(mut flag: Flag) -> Flag {
    flag.first = true;
    flag
}

use Means::{Idle, Own, Refused, Run};
use Takes::{Many, More, Nothing, One};

/// All of them, in the order of names.
pub const FLAGS: &[Flag] = &[
    flag(
        "cap-add",
        More,
        "CAPABILITY",
        Run("cap-add"),
        "Add a capability",
    ),
    flag(
        "cap-drop",
        More,
        "CAPABILITY",
        Run("cap-drop"),
        "Drop a capability",
    ),
    flag(
        "config",
        Many,
        "CONFIG",
        Refused("use --secret, or --mount with a file"),
        "Refused: there are no objects of that kind",
    ),
    flag(
        "constraint",
        Many,
        "CONSTRAINT",
        Idle,
        "Accepted; there is one machine",
    ),
    flag(
        "container-label",
        Many,
        "KEY=VALUE",
        Run("label"),
        "Label of the replicas",
    ),
    flag(
        "credential-spec",
        One,
        "SPEC",
        Refused("it is Windows's"),
        "Refused: it is Windows's",
    ),
    flag("dns", Many, "ADDRESS", Run("dns"), "Name server"),
    flag(
        "dns-option",
        Many,
        "OPTION",
        Run("dns-option"),
        "Option of resolv.conf",
    ),
    flag(
        "dns-search",
        Many,
        "DOMAIN",
        Run("dns-search"),
        "Domain to search",
    ),
    flag(
        "endpoint-mode",
        One,
        "MODE",
        Own,
        "What its name leads to: vip (an address of its own) or dnsrr (the replicas)",
    ),
    flag(
        "entrypoint",
        One,
        "COMMAND",
        Run("entrypoint"),
        "Entry point in place of the image's",
    ),
    short(
        'e',
        flag("env", Many, "NAME[=VALUE]", Run("env"), "Variable"),
    ),
    first(flag(
        "env-file",
        Many,
        "FILE",
        Run("env-file"),
        "Read variables from a file",
    )),
    flag(
        "generic-resource",
        Many,
        "RESOURCE",
        Idle,
        "Accepted; there is one machine",
    ),
    flag("group", Many, "GROUP", Run("group-add"), "Further group"),
    flag(
        "health-cmd",
        One,
        "COMMAND",
        Run("health-cmd"),
        "Command that tells whether a replica is well",
    ),
    flag(
        "health-interval",
        One,
        "TIME",
        Run("health-interval"),
        "Time between two checks",
    ),
    flag(
        "health-retries",
        One,
        "N",
        Run("health-retries"),
        "Failures in a row until it is unhealthy",
    ),
    flag(
        "health-start-interval",
        One,
        "TIME",
        Run("health-start-interval"),
        "Time between two checks while it starts",
    ),
    flag(
        "health-start-period",
        One,
        "TIME",
        Run("health-start-period"),
        "Time in which failures do not count",
    ),
    flag(
        "health-timeout",
        One,
        "TIME",
        Run("health-timeout"),
        "Time limit of one check",
    ),
    flag(
        "host",
        Many,
        "NAME:ADDRESS",
        Run("add-host"),
        "Line of /etc/hosts",
    ),
    flag("hostname", One, "NAME", Run("hostname"), "Name inside"),
    flag(
        "init",
        Nothing,
        "",
        Run("init"),
        "Run an init process inside",
    ),
    flag(
        "isolation",
        One,
        "MODE",
        Refused("it is Windows's"),
        "Refused: it is Windows's",
    ),
    short(
        'l',
        flag("label", Many, "KEY=VALUE", Own, "Label of the service"),
    ),
    flag(
        "limit-cpu",
        One,
        "N",
        Run("cpus"),
        "Number of CPUs of a replica",
    ),
    flag(
        "limit-memory",
        One,
        "SIZE",
        Run("memory"),
        "Memory of a replica",
    ),
    flag(
        "limit-pids",
        One,
        "N",
        Run("pids-limit"),
        "Number of processes of a replica",
    ),
    flag(
        "log-driver",
        One,
        "DRIVER",
        Run("log-driver"),
        "Where output is kept",
    ),
    flag(
        "log-opt",
        More,
        "KEY=VALUE",
        Run("log-opt"),
        "Option of the log driver",
    ),
    flag(
        "max-concurrent",
        One,
        "N",
        Refused("run the job with `coracle run`"),
        "Refused: there are no jobs",
    ),
    flag(
        "memory-swap",
        One,
        "SIZE",
        Run("memory-swap"),
        "Memory and swap together",
    ),
    flag(
        "memory-swappiness",
        One,
        "N",
        Run("memory-swappiness"),
        "How willingly it swaps, 0 to 100",
    ),
    first(flag(
        "mode",
        One,
        "MODE",
        Own,
        "replicated, or global: one on each machine, of which there is one",
    )),
    flag(
        "mount",
        Many,
        "MOUNT",
        Run("mount"),
        "Mount: type=,source=,target=,…",
    ),
    first(flag(
        "name",
        One,
        "NAME",
        Own,
        "Name of the service; generated if absent",
    )),
    flag(
        "network",
        Many,
        "NETWORK",
        Own,
        "Network of its replicas and its address (default podman)",
    ),
    flag(
        "no-healthcheck",
        Nothing,
        "",
        Run("no-healthcheck"),
        "Have no health check, whatever the image says",
    ),
    flag(
        "no-resolve-image",
        Nothing,
        "",
        Idle,
        "Accepted; images are taken as they are here",
    ),
    flag(
        "oom-score-adj",
        One,
        "N",
        Run("oom-score-adj"),
        "How willingly the kernel kills it, -1000 to 1000",
    ),
    flag(
        "placement-pref",
        Many,
        "PREFERENCE",
        Idle,
        "Accepted; there is one machine",
    ),
    short(
        'p',
        flag(
            "publish",
            Many,
            "PORT",
            Own,
            "Port of the host that leads to any replica: [[ADDRESS:]HOST:]PORT[/PROTOCOL] or published=,target=,protocol=,mode=",
        ),
    ),
    flag(
        "read-only",
        Nothing,
        "",
        Run("read-only"),
        "The root file system cannot be written",
    ),
    flag("replicas", One, "N", Own, "How many (default 1)"),
    flag(
        "replicas-max-per-node",
        One,
        "N",
        Idle,
        "Accepted; there is one machine",
    ),
    flag(
        "reserve-cpu",
        One,
        "N",
        Idle,
        "Accepted; there is one machine",
    ),
    flag(
        "reserve-memory",
        One,
        "SIZE",
        Run("memory-reservation"),
        "Memory that a replica is asked to stay below",
    ),
    flag(
        "restart-condition",
        One,
        "CONDITION",
        Own,
        "When a replica is started again: any (the default), on-failure, none",
    ),
    flag(
        "restart-delay",
        One,
        "TIME",
        Idle,
        "Accepted; pauses begin with 100 ms and double",
    ),
    flag(
        "restart-max-attempts",
        One,
        "N",
        Own,
        "How often after a failure",
    ),
    flag(
        "restart-window",
        One,
        "TIME",
        Idle,
        "Accepted; a run of 10 s counts as a good one",
    ),
    flag(
        "rollback-delay",
        One,
        "TIME",
        Own,
        "Time between two groups of a rollback",
    ),
    flag(
        "rollback-failure-action",
        One,
        "ACTION",
        Own,
        "When a rollback fails: pause (the default) or continue",
    ),
    flag(
        "rollback-max-failure-ratio",
        One,
        "RATIO",
        Own,
        "Which part may fail, 0 to 1",
    ),
    flag(
        "rollback-monitor",
        One,
        "TIME",
        Own,
        "Time for which new replicas are watched (default 5s)",
    ),
    flag(
        "rollback-order",
        One,
        "ORDER",
        Own,
        "start-first or stop-first (the default)",
    ),
    flag(
        "rollback-parallelism",
        One,
        "N",
        Own,
        "How many at a time, 0 for all (default 1)",
    ),
    flag("secret", Many, "SECRET", Run("secret"), "Secret"),
    flag(
        "stop-grace-period",
        One,
        "TIME",
        Own,
        "Time for connections, and again for the end (default 10s)",
    ),
    flag(
        "stop-signal",
        One,
        "SIGNAL",
        Run("stop-signal"),
        "Signal that stops a replica",
    ),
    flag(
        "sysctl",
        Many,
        "KEY=VALUE",
        Run("sysctl"),
        "Kernel parameter",
    ),
    short(
        't',
        flag("tty", Nothing, "", Run("tty"), "Give replicas a terminal"),
    ),
    flag(
        "ulimit",
        Many,
        "LIMIT",
        Run("ulimit"),
        "Resource limit NAME=SOFT[:HARD]",
    ),
    flag(
        "update-delay",
        One,
        "TIME",
        Own,
        "Time between two groups of an update",
    ),
    flag(
        "update-failure-action",
        One,
        "ACTION",
        Own,
        "When an update fails: pause (the default), continue or rollback",
    ),
    flag(
        "update-max-failure-ratio",
        One,
        "RATIO",
        Own,
        "Which part may fail, 0 to 1",
    ),
    flag(
        "update-monitor",
        One,
        "TIME",
        Own,
        "Time for which new replicas are watched (default 5s)",
    ),
    flag(
        "update-order",
        One,
        "ORDER",
        Own,
        "start-first or stop-first (the default)",
    ),
    flag(
        "update-parallelism",
        One,
        "N",
        Own,
        "How many at a time, 0 for all (default 1)",
    ),
    short('u', flag("user", One, "USER", Run("user"), "User inside")),
    flag(
        "with-registry-auth",
        Nothing,
        "",
        Idle,
        "Accepted; there is one machine",
    ),
    short(
        'w',
        flag("workdir", One, "DIR", Run("workdir"), "Folder inside"),
    ),
];

/// An argument of clap's, which keeps names for ever; these are made once. The frame wants
/// underscores in them.
fn arg(long: String, flag: &Flag, help: String) -> Arg {
    let hidden = matches!(flag.means, Refused(_));
    let id: &'static str = long.replace('-', "_").leak();
    let long: &'static str = long.leak();
    let made = Arg::new(id).long(long).help(help).hide(hidden);
    match flag.takes {
        Nothing => made.action(ArgAction::SetTrue),
        One => made.action(ArgAction::Set).value_name(flag.value),
        Many | More => made.action(ArgAction::Append).value_name(flag.value),
    }
}

fn given(matches: &ArgMatches, name: &str, takes: Takes) -> Option<Vec<String>> {
    let id = name.replace('-', "_");
    if !matches.try_contains_id(&id).unwrap_or(false)
        || matches.value_source(&id) != Some(clap::parser::ValueSource::CommandLine)
    {
        return None;
    }
    match takes {
        Nothing => Some(vec![matches.get_flag(&id).to_string()]),
        _ => Some(matches.get_many::<String>(&id)?.cloned().collect()),
    }
}

/// Makes a type of clap's from functions that add arguments and read them.
macro_rules! args {
    ($name:ident, $augment:path, $read:path) => {
        impl clap::Args for $name {
            fn augment_args(command: Command) -> Command {
                $augment(command)
            }

            fn augment_args_for_update(command: Command) -> Command {
                $augment(command)
            }
        }

        impl clap::FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
                Ok($read(matches))
            }

            fn update_from_arg_matches(
                &mut self,
                matches: &ArgMatches,
            ) -> std::result::Result<(), clap::Error> {
                *self = $read(matches);
                Ok(())
            }
        }
    };
}

/// The flags of `service create`.
#[derive(Debug, Default)]
pub struct CreateWords(pub Words);

args!(CreateWords, augment_create, read_create);

fn augment_create(mut command: Command) -> Command {
    for flag in FLAGS {
        let mut made = arg(flag.name.to_owned(), flag, flag.help.to_owned());
        if let Some(letter) = flag.short {
            made = made.short(letter);
        }
        command = command.arg(made);
    }
    command
}

fn read_create(matches: &ArgMatches) -> CreateWords {
    let all = FLAGS.iter();
    let found = all.filter_map(|f| Some((f.name.to_owned(), given(matches, f.name, f.takes)?)));
    CreateWords(found.collect())
}

/// The flags of `service update`.
#[derive(Debug, Default)]
pub struct UpdateWords {
    /// What replaces what was given before.
    set: Words,
    add: Words,
    remove: Words,
}

args!(UpdateWords, augment_update, read_update);

fn augment_update(mut command: Command) -> Command {
    for flag in FLAGS.iter().filter(|f| !f.first) {
        if flag.takes == Many {
            for (suffix, what) in [("add", "Add"), ("rm", "Remove")] {
                let name = format!("{}-{suffix}", flag.name);
                command = command.arg(arg(name, flag, format!("{what}: {}", flag.help)));
            }
            continue;
        }
        let mut made = arg(flag.name.to_owned(), flag, flag.help.to_owned());
        if let Some(letter) = flag.short {
            made = made.short(letter);
        }
        command = command.arg(made);
    }
    command
}

fn read_update(matches: &ArgMatches) -> UpdateWords {
    let mut words = UpdateWords::default();
    for flag in FLAGS.iter().filter(|f| !f.first) {
        let name = flag.name.to_owned();
        match flag.takes {
            Many => {
                for (suffix, into) in [("add", &mut words.add), ("rm", &mut words.remove)] {
                    if let Some(list) = given(matches, &format!("{name}-{suffix}"), Many) {
                        into.insert(name.clone(), list);
                    }
                }
            }
            takes => {
                if let Some(list) = given(matches, &name, takes) {
                    let into = match takes {
                        More => &mut words.add,
                        _ => &mut words.set,
                    };
                    into.insert(name, list);
                }
            }
        }
    }
    words
}

impl UpdateWords {
    /// Sets what stands for itself: the image, the arguments.
    pub fn set(&mut self, name: &str, values: Vec<String>) {
        self.set.insert(name.to_owned(), values);
    }

    /// Edits what a service was made from.
    pub fn edit(self, words: &mut Words) {
        words.extend(self.set);
        for (name, gone) in self.remove {
            if let Some(list) = words.get_mut(&name) {
                list.retain(|entry| !gone.iter().any(|g| g == entry || *g == key(&name, entry)));
            }
        }
        for (name, more) in self.add {
            let list = words.entry(name.clone()).or_default();
            list.retain(|entry| !more.iter().any(|m| key(&name, m) == key(&name, entry)));
            list.extend(more);
        }
        words.retain(|_, list| !list.is_empty());
    }
}

/// What an entry of a list is known by, when it is replaced or removed.
fn key(flag: &str, entry: &str) -> String {
    let field = |names: &[&str]| {
        let mut pairs = entry.split(',').filter_map(|p| p.split_once('='));
        pairs
            .find(|(k, _)| names.contains(k))
            .map(|(_, v)| v.to_owned())
    };
    let before = |mark: char| entry.split(mark).next().unwrap_or(entry).to_owned();
    match flag {
        "env" | "label" | "container-label" | "sysctl" | "ulimit" | "log-opt" => before('='),
        "mount" => field(&["target", "dst", "destination"]).unwrap_or_else(|| entry.to_owned()),
        "secret" => field(&["source"]).unwrap_or_else(|| before(',')),
        "network" => field(&["name"]).unwrap_or_else(|| before(':')),
        "publish" => field(&["target"]).unwrap_or_else(|| {
            let inner = entry.rsplit(':').next().unwrap_or(entry);
            inner.split('/').next().unwrap_or(inner).to_owned()
        }),
        _ => entry.to_owned(),
    }
}

/// Refuses what cannot be done, and answers what has no effect, in sentences.
///
/// # Errors
/// `Unsupported`.
pub fn check(words: &Words) -> Result<Vec<String>> {
    let mut notices = Vec::new();
    for flag in FLAGS.iter().filter(|f| words.contains_key(f.name)) {
        match flag.means {
            Refused(hint) => {
                return Err(
                    Error::unsupported(format!("--{} is not supported", flag.name)).hint(hint),
                );
            }
            Idle => notices.push(format!(
                "--{} has no effect: {}",
                flag.name,
                flag.help.trim_start_matches("Accepted; ")
            )),
            Run(_) | Own => {}
        }
    }
    Ok(notices)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[(&str, &[&str])]) -> Words {
        let pair = |(k, v): &(&str, &[&str])| {
            let values: Vec<String> = v.iter().map(|v| (*v).to_owned()).collect();
            ((*k).to_owned(), values)
        };
        list.iter().map(pair).collect()
    }

    #[test]
    fn an_update_edits_what_was_given() {
        let line = |words: &[&str]| {
            let command = augment_update(Command::new("update").no_binary_name(true));
            read_update(&command.try_get_matches_from(words).unwrap())
        };
        let mut all = words(&[
            ("env", &["A=1", "B=2"]),
            (
                "publish",
                &["8080:80", "published=53,target=53,protocol=udp"],
            ),
            ("mount", &["type=volume,source=v,target=/v"]),
            ("user", &["1"]),
        ]);
        line(&[
            "--env-add=B=3",
            "--env-rm=A",
            "--publish-rm=80",
            "--publish-add=9090:53",
            "--mount-rm=/v",
            "--user=2",
            "--cap-add=NET_RAW",
            "--read-only",
        ])
        .edit(&mut all);
        let wanted = words(&[
            ("cap-add", &["NET_RAW"]),
            ("env", &["B=3"]),
            ("publish", &["9090:53"]),
            ("read-only", &["true"]),
            ("user", &["2"]),
        ]);
        assert_eq!(all, wanted);
        // Nothing given, nothing changed.
        line(&[]).edit(&mut all);
        assert_eq!(all, wanted);
    }

    #[test]
    fn what_one_machine_has_no_use_for_is_told() {
        let told = check(&words(&[("constraint", &["node.role==manager"])])).unwrap();
        assert_eq!(told, ["--constraint has no effect: there is one machine"]);
        assert!(check(&words(&[("config", &["x"])])).is_err());
        let names: Vec<&str> = FLAGS.iter().map(|f| f.name).collect();
        assert!(names.is_sorted());
    }
}
