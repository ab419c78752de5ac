//! Options that stand before a command (podman's also after it): those that work, and those of
//! podman and docker that are understood and refused with the reason.
//!
//! One table describes them. They are not clap's global options, which would be copied into every
//! command of the tree on each start: [`frame::augment`] adds them to the one command that runs,
//! and [`session`] reads them at every level, the innermost last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::frame;
use super::output::{progress, report};
use crate::base::{Context as _, Error, Result, journald, size};
use crate::config::containers_conf;
use crate::config::dirs::Dirs;
use crate::config::env::Env;
use crate::config::{storage_conf, user};
use crate::operations::container::launch;
use crate::operations::session::{Events, GlobalOptions, Session};
use crate::runtime::userns;

/// One option.
struct Global {
    /// Unlike any id of a command's own option.
    id: &'static str,
    long: &'static str,
    short: Option<char>,
    /// What it takes; empty for a flag.
    value: &'static str,
    help: &'static str,
    /// podman's may follow the command, docker's may not.
    everywhere: bool,
    /// Why it does not work.
    refused: &'static str,
}

macro_rules! works {
    ($long:literal, $value:literal, $help:literal $(,)?) => {
        Global {
            id: concat!("global ", $long),
            long: $long,
            short: None,
            value: $value,
            help: $help,
            everywhere: true,
            refused: "",
        }
    };
}

macro_rules! refused {
    ($long:literal, $value:literal, $why:expr $(,)?) => {
        Global {
            id: concat!("global ", $long),
            long: $long,
            short: None,
            value: $value,
            help: "",
            everywhere: true,
            refused: $why,
        }
    };
}

impl Global {
    const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// Only before the command.
    const fn first(mut self) -> Self {
        self.everywhere = false;
        self
    }
}

const NO_DAEMON: &str = "coracle has no daemon and no remote client";
const OWN_RUNTIME: &str = "coracle starts containers itself";

const GLOBALS: &[Global] = &[
    works!("root", "DIR", "Folder of images, containers and volumes"),
    works!("runroot", "DIR", "Folder of runtime state"),
    works!(
        "storage-driver",
        "NAME",
        "Storage driver in place of the one that probing chooses",
    ),
    works!("storage-opt", "KEY=VALUE", ""),
    works!(
        "log-level",
        "LEVEL",
        "Log from this level on: trace, debug, info, warn, error",
    ),
    works!("tmpdir", "DIR", "Folder for temporary files"),
    works!(
        "cgroup-manager",
        "NAME",
        "How cgroups are made: cgroupfs or systemd",
    ),
    works!(
        "events-backend",
        "NAME",
        "Where events go: file, journald or none",
    ),
    works!(
        "cdi-spec-dir",
        "DIR",
        "Folder with descriptions of devices (CDI)",
    ),
    works!(
        "imagestore",
        "DIR",
        "Folder of images in place of one in --root",
    ),
    works!(
        "volumepath",
        "DIR",
        "Folder of volumes in place of one in --root",
    ),
    works!("module", "FILE", "Read this module of containers.conf, too",),
    works!("registries-conf", "FILE", ""),
    works!("config", "DIR", "").first(),
    works!("debug", "", "").short('D').first(),
    works!("docker-log-level", "LEVEL", "").short('l').first(),
    works!("host", "ADDRESS", "").short('H').first(),
    works!("context", "NAME", "").short('c').first(),
    refused!("tls", "", NO_DAEMON).first(),
    refused!("tlsverify", "", NO_DAEMON).first(),
    refused!("tlscacert", "FILE", NO_DAEMON).first(),
    refused!("tlscert", "FILE", NO_DAEMON).first(),
    refused!("tlskey", "FILE", NO_DAEMON).first(),
    refused!("remote", "", NO_DAEMON).short('r').first(),
    refused!("url", "URL", NO_DAEMON).first(),
    refused!("connection", "NAME", NO_DAEMON).first(),
    refused!("identity", "FILE", NO_DAEMON).first(),
    refused!("ssh", "MODE", NO_DAEMON).first(),
    refused!("runtime", "PATH", OWN_RUNTIME),
    refused!("runtime-flag", "FLAG", OWN_RUNTIME),
    refused!("conmon", "PATH", "coracle has its own monitor"),
    works!("hooks-dir", "DIR", "Folder of hook files (oci-hooks(5))"),
    works!(
        "network-config-dir",
        "DIR",
        "Folder of networks in place of one in --root",
    ),
    works!("network-cmd-path", "PATH", ""),
    works!(
        "transient-store",
        "",
        "Containers that are made now are gone after a reboot",
    ),
    refused!(
        "syslog",
        "",
        "messages go to standard error; pipe them to logger",
    ),
];

fn argument(global: &Global) -> Arg {
    let arg = Arg::new(global.id)
        .help(global.help)
        .hide(global.help.is_empty());
    let arg = match global.long {
        // A spelling of docker's for which podman has no long form.
        "docker-log-level" => arg,
        long => arg.long(long),
    };
    let arg = match global.short {
        Some(letter) => arg.short(letter),
        None => arg,
    };
    if global.value.is_empty() {
        arg.action(ArgAction::SetTrue)
    } else {
        arg.action(ArgAction::Append).value_name(global.value)
    }
}

/// The program itself with its global options, without commands.
pub fn root() -> Command {
    let mut command = Command::new("coracle")
        .bin_name("coracle")
        .about("Containers for one person: no daemon, no root, one static binary")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .subcommand_required(true);
    for global in GLOBALS {
        command = command.arg(argument(global).help_heading("Global options"));
    }
    frame::prepare(command).arg(
        Arg::new("version")
            .short('v')
            .long("version")
            .help("Print the version")
            .action(ArgAction::Version),
    )
}

/// Whether one of the options that may follow a command is among the long ones of a line.
pub fn may_follow(mut among: impl FnMut(&str) -> bool) -> bool {
    GLOBALS.iter().any(|g| g.everywhere && among(g.long))
}

/// Adds to a command what may also follow it, hidden, unless it has an option of that name.
pub fn add_persistent(mut command: Command) -> Command {
    for global in GLOBALS.iter().filter(|g| g.everywhere) {
        let taken = command
            .get_arguments()
            .any(|a| a.get_long() == Some(global.long));
        if !taken {
            command = command.arg(argument(global).hide(true));
        }
    }
    command
}

/// The values given, at any level.
#[derive(Debug, Default)]
struct Given(BTreeMap<&'static str, Vec<String>>);

impl Given {
    fn read(matches: &ArgMatches) -> Self {
        let mut given = Self::default();
        let mut level = Some(matches);
        while let Some(matches) = level {
            for global in GLOBALS {
                if global.value.is_empty() {
                    if let Ok(Some(true)) = matches.try_get_one::<bool>(global.id) {
                        given.0.insert(global.long, Vec::new());
                    }
                } else if let Ok(Some(values)) = matches.try_get_many::<String>(global.id) {
                    given
                        .0
                        .entry(global.long)
                        .or_default()
                        .extend(values.cloned());
                }
            }
            level = matches.subcommand().map(|(_, below)| below);
        }
        given
    }

    fn has(&self, long: &str) -> bool {
        self.0.contains_key(long)
    }

    fn all(&self, long: &str) -> Vec<String> {
        self.0.get(long).cloned().unwrap_or_default()
    }

    fn last(&self, long: &str) -> Option<&str> {
        self.0.get(long)?.last().map(String::as_str)
    }

    fn path(&self, long: &str) -> Option<PathBuf> {
        self.last(long).map(PathBuf::from)
    }

    /// Refuses what would change the meaning of the command and does not work.
    fn check(&self) -> Result<()> {
        for global in GLOBALS {
            if !global.refused.is_empty() && self.has(global.long) {
                return refuse(&format!("--{}", global.long), global.refused);
            }
        }
        for host in self.all("host") {
            // A local socket is the default: the command then means the same without a daemon.
            if !host.starts_with("unix://") {
                return refuse(&format!("--host {host:?}"), NO_DAEMON);
            }
        }
        match self.last("context") {
            None | Some("default") => {}
            Some(other) => return refuse(&format!("--context {other:?}"), NO_DAEMON),
        }
        check_storage("--storage-opt", &self.all("storage-opt"))?;
        self.one_of("cgroup-manager", &["cgroupfs", "systemd"])?;
        self.one_of("events-backend", &["file", "journald", "none"])
    }

    fn one_of(&self, long: &str, known: &[&str]) -> Result<()> {
        match self.last(long) {
            Some(value) if !known.contains(&value) => refuse(
                &format!("--{long} {value:?}"),
                &format!("it is one of {}", known.join(", ")),
            ),
            _ => Ok(()),
        }
    }
}

/// Refuses options of the storage that would change something: nothing is done for those that
/// probing decides, and for what single-id mode does anyway.
fn check_storage(what: &str, options: &[String]) -> Result<()> {
    for option in options {
        let key = option.split('=').next().unwrap_or_default();
        let key = key.rsplit('.').next().unwrap_or_default();
        let known = ["ignore_chown_errors", "mount_program", "mountopt"];
        if !known.contains(&key) && !ADDITIONAL.contains(&key) && key != "force_mask" {
            return refuse(
                &format!("{what} {option:?}"),
                "of storage options there are additionalimagestore=PATH and force_mask=shared",
            );
        }
    }
    Ok(())
}

/// podman's words for a store of others.
const ADDITIONAL: [&str; 3] = [
    "additionalimagestore",
    "additionalimagestores",
    "imagestore",
];

/// What storage.conf and `--storage-opt` say of stores.
struct Stores {
    /// Those of others to read from.
    others: Vec<PathBuf>,
    /// This one is for others, too.
    shared: bool,
    /// Layers are pulled whole, whatever is here.
    whole: bool,
    /// Containers do not outlive a boot.
    transient: bool,
}

/// The options, else storage.conf.
fn stores(options: &[String], env: &Env, user: &user::User) -> Result<Stores> {
    let mut others = Vec::new();
    let mut mask = None;
    for option in options {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match key.rsplit('.').next().unwrap_or_default() {
            key if ADDITIONAL.contains(&key) => others.push(PathBuf::from(value)),
            "force_mask" => mask = Some(value.to_owned()),
            _ => {}
        }
    }
    // A damaged file is told by whoever needs the folders of it.
    let conf = storage_conf::load_from(env, user, std::path::Path::new("/")).unwrap_or_default();
    if others.is_empty() {
        others = conf.additional_stores(user, env);
    }
    let shared = match mask.as_deref().or(conf.force_mask()) {
        None | Some("private") => false,
        Some("shared") => true,
        Some(other) => {
            return Err(
                Error::unsupported(format!("force_mask {other:?} is not supported"))
                    .because("it is shared or private: the files' own modes stay"),
            );
        }
    };
    Ok(Stores {
        others,
        shared,
        whole: !conf.partial_images(),
        transient: conf.transient(),
    })
}

/// Where events go: the flag, else containers.conf, else a file.
fn events(flag: Option<&str>, conf: &containers_conf::Engine, env: &Env) -> Result<Events> {
    let file = || -> Result<Events> {
        let limit = conf.events_logfile_max_size.as_deref().map(size::parse);
        Ok(Events::File {
            path: conf
                .events_logfile_path
                .as_ref()
                .filter(|p| !p.is_empty())
                .map(PathBuf::from),
            limit: limit
                .transpose()
                .what(|| "events_logfile_max_size in containers.conf")?,
        })
    };
    let socket = env.journal_socket();
    match flag.or(conf.events_logger.as_deref()) {
        Some("none") => Ok(Events::None),
        Some("journald") if socket.exists() => Ok(Events::Journald(socket)),
        Some("journald") if flag.is_some() => Err(journald::unavailable()
            .because(format!("there is no {}", socket.display()))
            .hint("use --events-backend file, the default")),
        // A host without a journal: containers.conf is often shared between machines.
        None | Some("" | "file" | "journald") => file(),
        Some(other) => Err(Error::invalid(format!(
            "events_logger {other:?} in containers.conf: it is one of file, journald, none"
        ))),
    }
}

/// A program that was named.
fn program(path: &Path, env: &Env) -> Result<PathBuf> {
    let whole = std::path::absolute(path).what(|| "cannot use --network-cmd-path")?;
    env.find_program(&whole.to_string_lossy()).ok_or_else(|| {
        Error::not_found(format!(
            "--network-cmd-path: {} is no program",
            whole.display()
        ))
        .hint("name the slirp4netns to use, or leave it out: it is found in PATH")
    })
}

/// `env` in `[engine]` of containers.conf.
fn engine_env(conf: &containers_conf::Engine) -> Result<Vec<(String, String)>> {
    let pairs = conf.env.iter().map(|word| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Error::invalid(format!(
            "env in [engine] of containers.conf: {word:?} is not NAME=value"
        ))),
    });
    pairs.collect()
}

fn refuse(what: &str, why: &str) -> Result<()> {
    Err(Error::unsupported(format!("{what} is not supported")).because(why))
}

/// Opens the session that the global options ask for.
///
/// # Errors
/// `Unsupported` for an option that would change the meaning and does not work; `Invalid` for a
/// bad value; what finding the directories says.
pub fn session(matches: &ArgMatches, words: Vec<String>) -> Result<Session> {
    let given = Given::read(matches);
    given.check()?;
    let level = given
        .last("log-level")
        .or_else(|| given.last("docker-log-level"))
        .or_else(|| given.has("debug").then_some("debug"));
    report::start_logging(level)?;
    let user = user::current();
    let modules = given.all("module");
    if !modules.is_empty() {
        containers_conf::use_modules(&modules, &Env::process(), user)?;
    }
    // A damaged one is told by the commands that cannot do without it.
    let loaded = containers_conf::load();
    // As with volumes: records of our own form, in a folder of their own below.
    let network_folder = loaded
        .as_ref()
        .ok()
        .and_then(|c| c.network.network_config_dir.clone());
    let conf = loaded.map_or_else(|_| Default::default(), |c| c.engine.clone());
    let env = Env::process().with_defaults(engine_env(&conf)?);
    if !given.has("storage-opt") {
        check_storage("STORAGE_OPTS", &env.storage_opts())?;
    }
    let dirs = Dirs::resolve(
        given.path("root").as_deref(),
        given.path("runroot").as_deref(),
        &env,
        user,
    )?
    .with(
        given.path("imagestore").as_deref(),
        // podman's volumes are of another form: a folder of our own below.
        given
            .path("volumepath")
            .or_else(|| conf.volume_path.as_ref().map(|p| p.join("coracle")))
            .as_deref(),
    )?
    .with_networks(
        given
            .path("network-config-dir")
            .or_else(|| network_folder.map(|p| p.join("coracle")))
            .as_deref(),
    )?;
    let storage = match given.has("storage-opt") {
        true => given.all("storage-opt"),
        false => env.storage_opts(),
    };
    let stores = stores(&storage, &env, user)?;
    let dirs = dirs.with_others(&stores.others, stores.shared)?;
    userns::keep_ready(launch::spare);
    Ok(Session {
        dirs,
        options: GlobalOptions {
            storage_driver: given
                .last("storage-driver")
                .map(str::to_owned)
                .or_else(|| env.storage_driver()),
            cdi_spec_dirs: given
                .all("cdi-spec-dir")
                .iter()
                .map(PathBuf::from)
                .collect(),
            cgroup_manager: given.last("cgroup-manager").map(str::to_owned),
            events: events(given.last("events-backend"), &conf, &env)?,
            no_health_events: conf.healthcheck_events == Some(false),
            whole_layers: stores.whole,
            transient: given.has("transient-store") || stores.transient,
            hooks_dirs: match given.has("hooks-dir") {
                true => given.all("hooks-dir").iter().map(PathBuf::from).collect(),
                // The file's list is of places to look at.
                false => conf
                    .hooks_dir
                    .iter()
                    .filter(|d| d.is_dir())
                    .cloned()
                    .collect(),
            },
            tmpdir: given.path("tmpdir"),
            network_cmd_path: given
                .path("network-cmd-path")
                .map(|p| program(&p, &env))
                .transpose()?,
            lanes: conf.image_parallel_copies.filter(|n| *n > 0),
            registries_conf: given.path("registries-conf"),
            docker_config: given.path("config"),
        },
        progress: Arc::from(progress::for_standard_error(&env)),
        env,
        user,
        command_line: words,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &[&str]) -> Result<Given> {
        let tree = root().subcommand(
            Command::new("ps").defer(|c| frame::prepare(add_persistent(c.arg(Arg::new("x"))))),
        );
        let matches = tree.try_get_matches_from(words).unwrap();
        let given = Given::read(&matches);
        given.check().map(|()| given)
    }

    #[test]
    fn podmans_options_may_follow_the_command_and_the_last_one_counts() {
        let g = given(&[
            "c",
            "--root",
            "/a",
            "ps",
            "--root=/b",
            "--log-level",
            "debug",
        ])
        .unwrap();
        assert_eq!(g.last("root"), Some("/b"));
        assert_eq!(g.last("log-level"), Some("debug"));
        let g = given(&["c", "-l", "debug", "-D", "-H", "unix:///run/x.sock", "ps"]).unwrap();
        assert_eq!(g.last("docker-log-level"), Some("debug"));
        assert!(g.has("debug"));
    }

    #[test]
    fn what_would_change_the_meaning_is_refused_with_the_reason() {
        for words in [
            &["c", "-H", "tcp://1.2.3.4:2375", "ps"] as &[&str],
            &["c", "--context", "remote", "ps"],
            &["c", "--tls", "ps"],
            &["c", "--remote", "ps"],
            &["c", "ps", "--runtime", "runc"],
            &["c", "--cgroup-manager", "docker", "ps"],
            &["c", "--storage-opt", "overlay.size=1g", "ps"],
            &["c", "--events-backend=syslog", "ps"],
        ] {
            let error = given(words).unwrap_err();
            assert!(error.what().contains("not supported"), "{words:?}");
            assert!(std::error::Error::source(&error).is_some());
        }
        assert!(given(&["c", "--context=default", "ps"]).is_ok());
    }
}
