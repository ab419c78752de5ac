//! `__complete`: what may stand next on a command line, for the shells' scripts.
//!
//! It answers a line for each candidate, `word<TAB>description`, and at the end one that begins
//! with a colon: `:files` when names of files fit as well, else `:none`. It never fails loudly:
//! without an answer the shell offers nothing.

use clap::{Arg, ArgAction, Command, ValueHint};

use super::output::{Out, docker};
use crate::base::Result;
use crate::image::Images;
use crate::operations::session::Session;
use crate::secrets::Secrets;
use crate::state::container::{Container, Containers, State};
use crate::storage::volume::Volumes;

/// Offer what may stand next on a command line
#[derive(Debug, clap::Args)]
pub struct CompleteArgs {
    /// The words so far, the last one perhaps in part
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Runs `__complete`.
///
/// # Errors
/// Those of writing.
pub fn run(args: CompleteArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let place = place(super::tree(), &args.words);
    let mut files = false;
    let partial = place.partial.as_str();
    let mut offer = |word: &str, description: &str| -> Result<()> {
        if word.starts_with(partial) && !word.contains(['\n', '\t']) {
            let description = description.lines().next().unwrap_or_default();
            out.line(format!("{}{word}\t{description}", place.before))?;
        }
        Ok(())
    };
    match &place.wanted {
        Wanted::Commands(commands) => {
            for (name, about) in commands {
                offer(name, about)?;
            }
        }
        Wanted::Options(options) => {
            for (name, help) in options {
                offer(name, help)?;
            }
        }
        Wanted::Words(words) => {
            for word in words {
                offer(word, "")?;
            }
        }
        Wanted::Objects(kind) => {
            for (word, description) in objects(*kind, session) {
                offer(&word, &description)?;
            }
        }
        Wanted::Files => files = true,
        Wanted::Nothing => {}
    }
    out.line(if files { ":files" } else { ":none" })?;
    Ok(0)
}

/// Live objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Containers,
    Running,
    Stopped,
    Images,
    Volumes,
    Secrets,
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Commands(Vec<(String, String)>),
    Options(Vec<(String, String)>),
    Words(Vec<String>),
    Objects(Kind),
    Files,
    Nothing,
}

/// Where the cursor is.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    wanted: Wanted,
    /// What of it is typed.
    partial: String,
    /// What of the word stands before it: `--flag=`.
    before: String,
}

fn place(root: Command, words: &[String]) -> Place {
    let (last, before) = match words.split_last() {
        Some((last, before)) => (last.as_str(), before),
        None => ("", words),
    };
    let mut command = root;
    let mut path: Vec<String> = Vec::new();
    let mut positionals = 0;
    let mut options_end = false;
    let mut value_of: Option<Arg> = None;
    for word in before {
        if value_of.take().is_some() {
            continue;
        }
        if !options_end && word.starts_with('-') && word.len() > 1 {
            if word == "--" {
                options_end = true;
            } else {
                value_of = option(&command, word).filter(|_| !word.contains('='));
            }
            continue;
        }
        let below = command
            .get_subcommands()
            .find(|c| c.get_name() == word || c.get_all_aliases().any(|a| a == word))
            .cloned();
        match below {
            Some(mut below) if positionals == 0 => {
                below.build();
                path.push(below.get_name().to_owned());
                command = below;
            }
            _ => {
                positionals += 1;
                // After `run IMAGE` everything belongs to the container.
                options_end |= command
                    .get_positionals()
                    .any(clap::Arg::is_trailing_var_arg_set);
            }
        }
    }
    let whole = |wanted| Place {
        wanted,
        partial: last.to_owned(),
        before: String::new(),
    };
    if let Some(arg) = value_of {
        return whole(values(&arg));
    }
    if !options_end && last.starts_with('-') {
        if let Some((flag, value)) = last.split_once('=') {
            return Place {
                wanted: option(&command, flag).map_or(Wanted::Nothing, |a| values(&a)),
                partial: value.to_owned(),
                before: format!("{flag}="),
            };
        }
        return whole(Wanted::Options(options(&command)));
    }
    if positionals == 0 && command.has_subcommands() {
        let commands = command
            .get_subcommands()
            .filter(|c| !c.is_hide_set())
            .map(|c| {
                let about = c.get_about().map(ToString::to_string).unwrap_or_default();
                (c.get_name().to_owned(), about)
            })
            .collect();
        return whole(Wanted::Commands(commands));
    }
    whole(arguments(&path, positionals))
}

fn options(command: &Command) -> Vec<(String, String)> {
    command
        .get_arguments()
        .filter(|a| !a.is_hide_set())
        .filter_map(|a| {
            let help = a.get_help().map(ToString::to_string).unwrap_or_default();
            Some((format!("--{}", a.get_long()?), help))
        })
        .collect()
}

/// The option that a word names and that takes a value after it.
fn option(command: &Command, word: &str) -> Option<Arg> {
    let takes_value = |a: &&Arg| matches!(a.get_action(), ArgAction::Set | ArgAction::Append);
    let mut arguments = command.get_arguments().filter(takes_value);
    let found = match word.strip_prefix("--") {
        Some(long) => {
            let long = long.split('=').next().unwrap_or_default();
            arguments.find(|a| a.get_long() == Some(long))
        }
        // `-itv DIR`: the last letter counts.
        None => {
            let letter = word.chars().last();
            arguments.find(|a| letter.is_some() && a.get_short() == letter)
        }
    };
    found.filter(|a| !a.is_require_equals_set()).cloned()
}

/// What fits as an option's value.
fn values(arg: &Arg) -> Wanted {
    let possible: Vec<String> = arg
        .get_possible_values()
        .iter()
        .map(|v| v.get_name().to_owned())
        .collect();
    if !possible.is_empty() {
        return Wanted::Words(possible);
    }
    let words = |words: &[&str]| Wanted::Words(words.iter().map(|w| (*w).to_owned()).collect());
    match arg.get_long().unwrap_or_default() {
        "volumes-from" => Wanted::Objects(Kind::Containers),
        "secret" => Wanted::Objects(Kind::Secrets),
        "network" | "net" => words(&["none", "host", "pasta", "slirp4netns", "container:", "ns:"]),
        "userns" => words(&["host", "nested", "keep-id", "nomap", "auto", "container:"]),
        "pid" | "ipc" | "uts" | "cgroupns" => words(&["host", "private", "container:"]),
        "pull" => words(&["always", "missing", "never", "newer"]),
        "restart" => words(&["no", "always", "on-failure", "unless-stopped"]),
        "log-driver" => words(&["k8s-file", "json-file", "journald", "none", "passthrough"]),
        "log-level" => words(&["trace", "debug", "info", "warn", "error"]),
        "cgroup-manager" => words(&["cgroupfs", "systemd"]),
        "events-backend" => words(&["file", "none"]),
        "storage-driver" => words(&["overlay", "fuse", "fuse-metadata", "copy"]),
        "format" => words(&["json"]),
        _ => match arg.get_value_hint() {
            ValueHint::AnyPath
            | ValueHint::FilePath
            | ValueHint::DirPath
            | ValueHint::ExecutablePath => Wanted::Files,
            _ => match arg.get_value_names().and_then(|n| n.first()) {
                Some(name) if ["FILE", "DIR", "PATH"].iter().any(|p| name.contains(p)) => {
                    Wanted::Files
                }
                _ => Wanted::Nothing,
            },
        },
    }
}

/// What fits as a command's own words.
fn arguments(path: &[String], position: usize) -> Wanted {
    let (noun, verb) = match path {
        [verb] => ("", verb.as_str()),
        [noun, verb] => (noun.as_str(), verb.as_str()),
        _ => return Wanted::Nothing,
    };
    let kind = match (noun, verb) {
        ("volume", "create") | ("secret", "create") if position == 0 => return Wanted::Nothing,
        ("volume", _) => Kind::Volumes,
        ("secret", "create") => return Wanted::Files,
        ("secret", _) => Kind::Secrets,
        ("image", "rm" | "inspect" | "exists" | "history" | "tree" | "untag" | "save" | "push")
        | ("", "rmi" | "history" | "untag" | "save" | "push") => Kind::Images,
        (_, "tag") => Kind::Images,
        (_, "run" | "create") if position == 0 => Kind::Images,
        (_, "start") => Kind::Stopped,
        (_, "stop" | "kill" | "pause" | "attach" | "stats") => Kind::Running,
        (_, "exec" | "top") if position == 0 => Kind::Running,
        (
            _,
            "rm" | "logs" | "inspect" | "restart" | "wait" | "port" | "unpause" | "diff" | "export"
            | "commit" | "update" | "rename" | "init" | "exists",
        ) => Kind::Containers,
        (_, "completion") => {
            return Wanted::Words(
                super::completions::SHELLS
                    .iter()
                    .map(|s| (*s).into())
                    .collect(),
            );
        }
        _ => return Wanted::Files,
    };
    Wanted::Objects(kind)
}

fn objects(kind: Kind, session: &Session) -> Vec<(String, String)> {
    let containers = |wanted: &dyn Fn(State) -> bool| {
        let all = Containers::new(&session.dirs).list();
        let (all, _damaged) = all.unwrap_or_default();
        all.iter()
            .filter(|c| c.state().is_ok_and(wanted))
            .map(|c: &Container| (c.name().to_owned(), c.record.options.image.clone()))
            .collect()
    };
    match kind {
        Kind::Containers => containers(&|_| true),
        Kind::Running => containers(&State::is_active),
        Kind::Stopped => containers(&|s| !s.is_active()),
        Kind::Images => {
            let names = Images::open(&session.dirs).names().unwrap_or_default();
            names
                .0
                .keys()
                .filter(|name| name.digest().is_none())
                .map(|name| {
                    (
                        docker::familiar(&name.to_string()).to_owned(),
                        String::new(),
                    )
                })
                .collect()
        }
        Kind::Volumes => {
            let volumes = Volumes::new(&session.dirs).list().unwrap_or_default();
            volumes
                .into_iter()
                .map(|v| (v.name.to_string(), v.driver))
                .collect()
        }
        Kind::Secrets => {
            let secrets = Secrets::new(&session.dirs).list().unwrap_or_default();
            secrets
                .into_iter()
                .map(|s| (s.name.to_string(), s.driver))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(line: &str) -> (Wanted, String, String) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let place = place(super::super::tree(), &words);
        (place.wanted, place.partial, place.before)
    }

    #[test]
    fn candidates_follow_the_tree() {
        let (Wanted::Commands(commands), partial, _) = wanted("secr") else {
            panic!("no commands")
        };
        assert_eq!(partial, "secr");
        assert!(commands.iter().any(|(name, _)| name == "secret"));
        assert!(commands.iter().all(|(name, _)| !name.starts_with("__")));
        let (Wanted::Options(options), ..) = wanted("secret ls --f") else {
            panic!("no options")
        };
        assert!(options.iter().any(|(name, _)| name == "--filter"));
        assert!(options.iter().all(|(name, _)| name != "--root"));
        assert_eq!(wanted("secret rm x").0, Wanted::Objects(Kind::Secrets));
        assert_eq!(
            wanted("--root /x secret rm ").0,
            Wanted::Objects(Kind::Secrets)
        );
        assert_eq!(wanted("--root ").0, Wanted::Files);
        let (words, partial, before) = wanted("--log-level=de");
        assert!(matches!(words, Wanted::Words(_)));
        assert_eq!((partial.as_str(), before.as_str()), ("de", "--log-level="));
        assert_eq!(wanted("secret create token ").0, Wanted::Files);
        assert_eq!(wanted("bogus ").0, Wanted::Nothing);
    }
}
