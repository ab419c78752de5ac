//! Options that stand before a command (podman's also after it): those that work, and those of
//! podman and docker that are understood and refused with the reason.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{ArgMatches, Args, Command, FromArgMatches as _};

use super::frame;
use super::output::progress;
use crate::base::{Error, Result};
use crate::config::dirs::Dirs;
use crate::config::env::Env;
use crate::config::user;
use crate::operations::session::{GlobalOptions, Session};

/// The global options.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Folder of images, containers and volumes
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true)]
    root: Option<PathBuf>,
    /// Folder of runtime state
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true)]
    runroot: Option<PathBuf>,
    /// Storage driver in place of the one that probing chooses
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    storage_driver: Option<String>,
    /// Option of the storage driver
    #[arg(long, global = true, value_name = "KEY=VALUE", hide_short_help = true)]
    storage_opt: Vec<String>,
    /// Log messages at or above this level: trace, debug, info, warn, error
    #[arg(long, global = true, value_name = "LEVEL", hide_short_help = true)]
    log_level: Option<String>,
    /// Folder for temporary files
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true)]
    tmpdir: Option<PathBuf>,
    /// How cgroups are made: cgroupfs or systemd
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    cgroup_manager: Option<String>,
    /// Where events go: file or none
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    events_backend: Option<String>,
    /// Registries' configuration in place of registries.conf
    #[arg(long, global = true, value_name = "FILE", hide = true)]
    registries_conf: Option<PathBuf>,
    /// Folder of docker's client configuration
    #[arg(long, value_name = "DIR", hide = true)]
    config: Option<PathBuf>,
    /// Log at level debug
    #[arg(short = 'D', long, hide = true)]
    debug: bool,
    /// Log level, as docker spells it
    #[arg(short = 'l', value_name = "LEVEL", hide = true)]
    docker_log_level: Option<String>,
    #[command(flatten)]
    foreign: ForeignArgs,
}

/// Options of podman and docker that mean something coracle does not have.
#[derive(Debug, Default, Args)]
struct ForeignArgs {
    /// Address of a daemon (refused, except a local socket: there is no daemon)
    #[arg(short = 'H', long, hide = true)]
    host: Vec<String>,
    /// docker context (only `default`)
    #[arg(short = 'c', long, hide = true)]
    context: Option<String>,
    /// TLS to a daemon (refused)
    #[arg(long, hide = true)]
    tls: bool,
    /// TLS to a daemon (refused)
    #[arg(long, hide = true)]
    tlsverify: bool,
    /// TLS to a daemon (refused)
    #[arg(long, hide = true, value_name = "FILE")]
    tlscacert: Option<String>,
    /// TLS to a daemon (refused)
    #[arg(long, hide = true, value_name = "FILE")]
    tlscert: Option<String>,
    /// TLS to a daemon (refused)
    #[arg(long, hide = true, value_name = "FILE")]
    tlskey: Option<String>,
    /// Remote service (refused)
    #[arg(short = 'r', long, hide = true)]
    remote: bool,
    /// Remote service (refused)
    #[arg(long, hide = true)]
    url: Option<String>,
    /// Remote service (refused)
    #[arg(long, hide = true)]
    connection: Option<String>,
    /// Remote service (refused)
    #[arg(long, hide = true)]
    identity: Option<String>,
    /// Remote service (refused)
    #[arg(long, hide = true)]
    ssh: Option<String>,
    /// OCI runtime (refused: coracle is its own)
    #[arg(long, global = true, hide = true)]
    runtime: Option<String>,
    /// OCI runtime's flags (refused)
    #[arg(long, global = true, hide = true)]
    runtime_flag: Vec<String>,
    /// conmon (refused: coracle has its own monitor)
    #[arg(long, global = true, hide = true)]
    conmon: Option<String>,
    /// OCI hooks (refused)
    #[arg(long, global = true, hide = true)]
    hooks_dir: Vec<String>,
    /// CDI specifications (refused)
    #[arg(long, global = true, hide = true)]
    cdi_spec_dir: Vec<String>,
    /// Network configurations (refused)
    #[arg(long, global = true, hide = true)]
    network_config_dir: Option<String>,
    /// Path of slirp4netns (refused)
    #[arg(long, global = true, hide = true)]
    network_cmd_path: Option<String>,
    /// Volumes' folder (refused)
    #[arg(long, global = true, hide = true)]
    volumepath: Option<String>,
    /// Images' folder (refused)
    #[arg(long, global = true, hide = true)]
    imagestore: Option<String>,
    /// Volatile containers (refused)
    #[arg(long, global = true, hide = true)]
    transient_store: bool,
    /// containers.conf module (refused)
    #[arg(long, global = true, hide = true)]
    module: Vec<String>,
    /// Log to syslog (refused)
    #[arg(long, global = true, hide = true)]
    syslog: bool,
}

impl ForeignArgs {
    /// Refuses what would change the meaning of the command; lets through what asks for the
    /// default.
    fn check(&self) -> Result<()> {
        const NO_DAEMON: &str = "coracle has no daemon and no remote client";
        for host in &self.host {
            if !host.starts_with("unix://") {
                return refuse("--host", host, NO_DAEMON);
            }
        }
        if let Some(context) = self.context.as_deref().filter(|c| *c != "default") {
            return refuse("--context", context, NO_DAEMON);
        }
        let own = "coracle starts containers itself";
        let given: &[(&str, bool, &str)] = &[
            ("--tls", self.tls, NO_DAEMON),
            ("--tlsverify", self.tlsverify, NO_DAEMON),
            ("--tlscacert", self.tlscacert.is_some(), NO_DAEMON),
            ("--tlscert", self.tlscert.is_some(), NO_DAEMON),
            ("--tlskey", self.tlskey.is_some(), NO_DAEMON),
            ("--remote", self.remote, NO_DAEMON),
            ("--url", self.url.is_some(), NO_DAEMON),
            ("--connection", self.connection.is_some(), NO_DAEMON),
            ("--identity", self.identity.is_some(), NO_DAEMON),
            ("--ssh", self.ssh.is_some(), NO_DAEMON),
            ("--runtime", self.runtime.is_some(), own),
            ("--runtime-flag", !self.runtime_flag.is_empty(), own),
            ("--conmon", self.conmon.is_some(), own),
            (
                "--hooks-dir",
                !self.hooks_dir.is_empty(),
                "coracle runs no OCI hooks",
            ),
            (
                "--cdi-spec-dir",
                !self.cdi_spec_dir.is_empty(),
                "coracle reads no CDI files",
            ),
            (
                "--network-config-dir",
                self.network_config_dir.is_some(),
                "networks are kept below --root",
            ),
            (
                "--network-cmd-path",
                self.network_cmd_path.is_some(),
                "pasta and slirp4netns are found in PATH",
            ),
            (
                "--volumepath",
                self.volumepath.is_some(),
                "volumes are kept below --root",
            ),
            (
                "--imagestore",
                self.imagestore.is_some(),
                "images are kept below --root",
            ),
            (
                "--transient-store",
                self.transient_store,
                "use --root and --runroot on a tmpfs",
            ),
            (
                "--module",
                !self.module.is_empty(),
                "coracle reads no containers.conf modules",
            ),
            (
                "--syslog",
                self.syslog,
                "messages go to standard error; use `2> >(logger)`",
            ),
        ];
        match given.iter().find(|(_, given, _)| *given) {
            Some((flag, _, why)) => refuse(flag, "", why),
            None => Ok(()),
        }
    }
}

fn refuse(flag: &str, value: &str, why: &str) -> Result<()> {
    let value = if value.is_empty() {
        String::new()
    } else {
        format!(" {value:?}")
    };
    Err(Error::unsupported(format!("{flag}{value} is not supported")).because(why))
}

/// The program itself with its global options, without commands.
pub fn root() -> Command {
    let command = Command::new("coracle")
        .bin_name("coracle")
        .about("Containers for one person: no daemon, no root, one static binary")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .subcommand_required(true)
        .arg(
            clap::Arg::new("version")
                .short('v')
                .long("version")
                .help("Print the version")
                .action(clap::ArgAction::Version),
        );
    frame::prepare(GlobalArgs::augment_args(command))
}

/// Opens the session that the global options ask for.
///
/// # Errors
/// `Unsupported` for an option that would change the meaning and does not work; `Invalid` for a
/// bad value; what finding the directories says.
pub fn session(matches: &ArgMatches, words: Vec<String>) -> Result<Session> {
    let args = GlobalArgs::from_arg_matches(matches).map_err(|e| super::usage::explain(&e))?;
    args.foreign.check()?;
    let env = Env::process();
    let level = args
        .log_level
        .as_deref()
        .or(args.docker_log_level.as_deref());
    super::output::report::start_logging(match level {
        None if args.debug => Some("debug"),
        level => level,
    })?;
    one_of(
        "--cgroup-manager",
        args.cgroup_manager.as_deref(),
        &["cgroupfs", "systemd"],
    )?;
    one_of(
        "--events-backend",
        args.events_backend.as_deref(),
        &["file", "none"],
    )?;
    let user = user::current();
    let dirs = Dirs::resolve(args.root.as_deref(), args.runroot.as_deref(), &env, user)?;
    Ok(Session {
        dirs,
        options: GlobalOptions {
            storage_driver: args.storage_driver.or_else(|| env.storage_driver()),
            storage_options: args.storage_opt,
            cgroup_manager: args.cgroup_manager,
            events_backend: args.events_backend,
            tmpdir: args.tmpdir,
            registries_conf: args.registries_conf,
            docker_config: args.config,
        },
        progress: Arc::from(progress::for_standard_error(&env)),
        env,
        user,
        command_line: words,
    })
}

fn one_of(flag: &str, value: Option<&str>, known: &[&str]) -> Result<()> {
    match value {
        Some(value) if !known.contains(&value) => Err(Error::unsupported(format!(
            "{flag} {value:?} is not supported"
        ))
        .because(format!("it is one of {}", known.join(", ")))),
        _ => Ok(()),
    }
}
