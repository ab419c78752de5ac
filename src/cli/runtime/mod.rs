//! `coracle runtime`: an OCI runtime for other engines, with runc's and crun's command line.
//!
//! Also under the names `coracle-runtime`, `runc` and `crun`. It opens no session: no image, no
//! store and no configuration of ours is looked at.

mod exec;
mod log;
mod verbs;

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches as _};

use super::frame::{self, Action, Entry};
use super::output::Out;
use super::usage;
use crate::base::{Error, Result};
use crate::config::env::Env;
use crate::operations::ociruntime::{Place, cgroups};

/// Names under which the program is this runtime.
const NAMES: [&str; 3] = ["coracle-runtime", "runc", "crun"];

/// The entry in the tree of all commands.
pub const ENTRY: Entry = Entry {
    name: "runtime",
    aliases: &[],
    about: "Run bundles for other engines, as runc and crun do",
    hidden: false,
    augment,
    action: Action::Run(|matches, _, out| Ok(answer(run(matches, out), matches, out))),
};

/// One command of the runtime.
struct Verb {
    name: &'static str,
    about: &'static str,
    augment: fn(Command) -> Command,
    run: fn(&mut ArgMatches, &Globals, &mut Out) -> Result<u8>,
}

macro_rules! verb {
    ($name:literal, $about:literal, $args:ty, $run:path) => {
        Verb {
            name: $name,
            about: $about,
            augment: with::<$args>,
            run: |matches, globals, out| {
                let args = <$args as clap::FromArgMatches>::from_arg_matches_mut(matches)
                    .map_err(|e| usage::explain(&e))?;
                $run(args, globals, out)
            },
        }
    };
}

const VERBS: &[Verb] = &[
    verb!(
        "create",
        "Create a container from a bundle, up to its start",
        verbs::CreateArgs,
        verbs::create
    ),
    verb!(
        "delete",
        "Delete a container that has stopped",
        verbs::DeleteArgs,
        verbs::delete
    ),
    verb!(
        "events",
        "Print what a container uses, from time to time",
        verbs::EventsArgs,
        verbs::events
    ),
    verb!(
        "exec",
        "Run a further process in a running container",
        exec::ExecArgs,
        exec::exec
    ),
    verb!(
        "features",
        "Print what this runtime can do",
        verbs::NoArgs,
        verbs::features
    ),
    verb!(
        "kill",
        "Send a signal to a container",
        verbs::KillArgs,
        verbs::kill
    ),
    verb!("list", "List containers", verbs::ListArgs, verbs::list),
    verb!(
        "pause",
        "Freeze all processes of a container",
        verbs::IdArgs,
        verbs::pause
    ),
    verb!(
        "ps",
        "List the processes of a container",
        verbs::PsArgs,
        verbs::ps
    ),
    verb!(
        "resume",
        "Let a paused container go on",
        verbs::IdArgs,
        verbs::resume
    ),
    verb!(
        "run",
        "Create and start a container",
        verbs::RunArgs,
        verbs::run
    ),
    verb!(
        "spec",
        "Write a configuration to begin with",
        verbs::SpecArgs,
        verbs::spec
    ),
    verb!(
        "start",
        "Start a created container",
        verbs::IdArgs,
        verbs::start
    ),
    verb!(
        "state",
        "Print the state of a container",
        verbs::IdArgs,
        verbs::state
    ),
    verb!(
        "update",
        "Change the limits of a container",
        verbs::UpdateArgs,
        verbs::update
    ),
    verb!(
        "checkpoint",
        "Refused: containers cannot be checkpointed",
        verbs::RefusedArgs,
        verbs::checkpoint
    ),
    verb!(
        "restore",
        "Refused: containers cannot be checkpointed",
        verbs::RefusedArgs,
        verbs::checkpoint
    ),
];

/// Run bundles for other engines, as runc and crun do
#[derive(Debug, clap::Args)]
struct Globals {
    /// Folder of the containers' state
    #[arg(long, value_name = "DIR")]
    root: Option<std::path::PathBuf>,
    /// Append errors to a file as well
    #[arg(long, value_name = "FILE")]
    log: Option<String>,
    /// Format of that file: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: String,
    /// Say from this level on: error, warning, info, debug
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Say what is done, as --log-level debug
    #[arg(long)]
    debug: bool,
    /// Take cgroupsPath as slice:prefix:name
    #[arg(long)]
    systemd_cgroup: bool,
    /// How cgroups are named: cgroupfs, systemd or disabled
    #[arg(long, value_name = "NAME")]
    cgroup_manager: Option<String>,
    /// Whether the caller is not root: true, false or auto (it is seen by itself)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rootless: Option<String>,
    /// Understood for runc's sake: there are no checkpoints
    #[arg(long, value_name = "PATH", hide = true)]
    criu: Option<String>,
}

impl Globals {
    /// Where containers are: below the caller's runtime folder, or for root below /run.
    fn place(&self) -> Result<Place> {
        let systemd = match self.cgroup_manager.as_deref() {
            None | Some("cgroupfs" | "disabled") => self.systemd_cgroup,
            Some("systemd") => true,
            Some(other) => {
                return Err(Error::invalid(format!("unknown cgroup manager {other:?}")));
            }
        };
        let root = match &self.root {
            Some(root) => std::path::absolute(root)
                .map_err(|e| Error::invalid("--root is not a path").because(e))?,
            None => default_root(),
        };
        Ok(Place {
            root,
            systemd_cgroup: systemd,
            no_cgroup: self.cgroup_manager.as_deref() == Some("disabled"),
        })
    }
}

fn default_root() -> std::path::PathBuf {
    let is_root = rustix::process::geteuid().is_root() && cgroups::is_first_user_namespace();
    let own = Env::process().xdg_runtime_dir().filter(|_| !is_root);
    own.unwrap_or_else(|| "/run".into()).join("coracle/runtime")
}

fn with<A: clap::Args>(command: Command) -> Command {
    let about = command.get_about().cloned();
    let command = frame::prepare(A::augment_args(command));
    match about {
        Some(about) => command.about(about).long_about(None),
        None => command,
    }
}

/// Adds the runtime's own options and its commands.
fn augment(command: Command) -> Command {
    let verbs = VERBS.iter().map(|v| {
        Command::new(v.name)
            .about(v.about)
            .hide(v.name == "checkpoint" || v.name == "restore")
            .defer(v.augment)
    });
    with::<Globals>(command)
        .arg(
            Arg::new("runtime version")
                .short('v')
                .long("version")
                .help("Print the version")
                .action(ArgAction::SetTrue),
        )
        .subcommands(verbs)
        .disable_help_subcommand(true)
}

fn tree() -> Command {
    augment(
        Command::new("runtime")
            .bin_name("coracle runtime")
            .about(ENTRY.about),
    )
}

/// The words of a command line of the runtime, its name first; `None` for other command lines.
pub fn words(words: &[String]) -> Option<Vec<String>> {
    let (own, rest) = words.split_first()?;
    let name = own.rsplit('/').next().unwrap_or(own);
    if NAMES.contains(&name) {
        return Some(words.to_vec());
    }
    match rest.split_first() {
        Some((first, _)) if first == ENTRY.name => Some(rest.to_vec()),
        _ => None,
    }
}

/// Runs a command line; answers the exit code.
pub fn main(words: &[String], out: &mut Out) -> u8 {
    let mut matches = match usage::parse(tree, &[], words) {
        Ok(matches) => matches,
        Err(e) => {
            return match usage::answer(&e, out).and_then(|code| out.flush().map(|()| code)) {
                Ok(code) => code,
                Err(e) => {
                    tell(&e, out);
                    1
                }
            };
        }
    };
    let globals = matches.clone();
    let result = run(&mut matches, out).and_then(|code| out.flush().map(|()| code));
    answer(result, &globals, out)
}

/// Tells an error where the caller listens: on standard error and in the log.
fn answer(result: Result<u8>, matches: &ArgMatches, out: &mut Out) -> u8 {
    match result {
        Ok(code) => code,
        Err(_) if out.is_closed() => 0,
        Err(error) => {
            let mut matches = matches.clone();
            if let Ok(globals) = Globals::from_arg_matches_mut(&mut matches)
                && let Some(file) = &globals.log
                && let Err(e) = log::append(file, &globals.log_format, &error)
            {
                tell(&e, out);
            }
            tell(&error, out);
            1
        }
    }
}

/// One line, and what to do about it last: engines show people the last line, or all in one.
fn tell(error: &Error, out: &mut Out) {
    let mut text = error.one_line().replace('\n', " ");
    if let Some(hint) = error.hints().first() {
        text.push_str(&format!(" ({hint})"));
    }
    // There is nobody left to be told of a failure to tell.
    drop(out.error_bytes(format!("{text}\n").as_bytes()));
}

fn run(matches: &mut ArgMatches, out: &mut Out) -> Result<u8> {
    if matches.get_flag("runtime version") {
        out.line(format!(
            "coracle-runtime version {}",
            env!("CARGO_PKG_VERSION")
        ))?;
        out.line(format!("spec: {}", verbs::SPEC_VERSION))?;
        return Ok(0);
    }
    let sub = matches.remove_subcommand();
    let globals = Globals::from_arg_matches_mut(matches).map_err(|e| usage::explain(&e))?;
    log::check_format(&globals.log_format)?;
    let level = match globals.log_level.as_deref() {
        _ if globals.debug => Some("debug"),
        Some("warning") => Some("warn"),
        other => other,
    };
    super::output::report::start_logging(level)?;
    let Some((name, mut below)) = sub else {
        return Err(Error::invalid("missing command `coracle runtime COMMAND`")
            .hint("see `coracle runtime --help`"));
    };
    let verb = VERBS
        .iter()
        .find(|v| v.name == name)
        .ok_or_else(|| Error::internal(format!("no command named {name:?}")))?;
    (verb.run)(&mut below, &globals, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Option<Vec<String>> {
        let all: Vec<String> = text.split(' ').map(str::to_owned).collect();
        words(&all)
    }

    #[test]
    fn the_runtime_is_known_by_its_names() {
        assert_eq!(
            line("/usr/bin/runc list").unwrap(),
            ["/usr/bin/runc", "list"]
        );
        assert_eq!(line("coracle runtime list").unwrap(), ["runtime", "list"]);
        assert!(line("coracle run list").is_none());
        assert!(line("coracle").is_none());
    }

    #[test]
    fn the_options_of_runc_and_crun_are_understood() {
        for text in [
            "runc --root /r --log /l --log-format json --systemd-cgroup create --bundle /b --pid-file /p --console-socket /s --preserve-fds 2 --no-pivot --no-new-keyring id",
            "crun --cgroup-manager=disabled --rootless=true --debug run -d -b /b id",
            "runc exec --process /p --pid-file /x --console-socket /s --detach id",
            "runc exec -t -u 1:2 -g 5 -c CAP_KILL --apparmor a --no-new-privs -e A=b --cwd / --ignore-paused id ls -l --all",
            "runc kill --all id KILL",
            "runc delete --force id",
            "runc list -q -f json",
            "runc ps --format json id",
            "runc update -r - id",
            "runc events --stats --interval 1s id",
            "runc spec --bundle /b --rootless",
        ] {
            let all: Vec<String> = text.split(' ').map(str::to_owned).collect();
            let matches = usage::parse(tree, &[], &all).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert!(matches.subcommand().is_some(), "{text}");
        }
    }
}
