//! Command lines that do not parse, and help: clap's answers in the words of the project.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command};

use super::frame;
use super::output::Out;
use crate::base::{Error, Result};

/// Parses a command line: with the part of the tree that it needs, and with the whole `tree` of
/// these `tables` if it is not a good line of a command. Flags with a value (`--rm=false`) are rare: only they pay for a second
/// tree.
///
/// # Errors
/// Clap's, of the first try, unless the second one knows better.
pub fn parse(
    tree: fn() -> Command,
    tables: &[&'static [frame::Entry]],
    words: &[String],
) -> Result<ArgMatches, clap::Error> {
    if let Some(lean) = frame::lean(tables, words) {
        let matches = lean.try_get_matches_from(words);
        frame::whole();
        if let Ok(matches) = matches {
            return Ok(matches);
        }
    }
    let first = match tree().try_get_matches_from(words) {
        Ok(matches) => return Ok(matches),
        Err(error) => error,
    };
    let valued = words.iter().any(|w| w.starts_with('-') && w.contains('='));
    if !valued
        || !matches!(
            first.kind(),
            ErrorKind::TooManyValues | ErrorKind::UnknownArgument
        )
    {
        return Err(first);
    }
    frame::let_flags_take_values(true);
    let second = tree().try_get_matches_from(words);
    frame::let_flags_take_values(false);
    match second {
        Err(error) if error.kind() == ErrorKind::UnknownArgument => Err(first),
        other => other,
    }
}

/// Answers a command line that clap did not turn into a command: prints help or the version, or
/// says what is wrong.
///
/// # Errors
/// `Invalid` for everything but help and version.
pub fn answer(error: &clap::Error, out: &mut Out) -> Result<u8> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let text = error.render().to_string();
            // The root's own help has a place for the commands in groups.
            out.text(&text.replace("COMMANDS", &super::groups()))?;
            Ok(0)
        }
        _ => Err(explain(error)),
    }
}

/// Commands of docker and podman that will not come, and why.
const FOREIGN: &[(&str, &str)] = &[
    ("buildx", "`build` does what it does"),
    ("builder", "`build` does what it does"),
    ("checkpoint", "containers cannot be frozen to the disk"),
    (
        "config",
        "there is no swarm: -v and --env-file bring configuration",
    ),
    ("desktop", "there is no window"),
    ("farm", "coracle works on this machine only"),
    ("machine", "coracle needs no virtual machine"),
    (
        "node",
        "there is no swarm: coracle works on this machine only",
    ),
    ("plugin", "there are no plugins"),
    ("scout", "images are not examined"),
    (
        "service",
        "there is no swarm: coracle works on this machine only",
    ),
    (
        "stack",
        "there is no swarm: coracle works on this machine only",
    ),
    (
        "swarm",
        "there is no swarm: coracle works on this machine only",
    ),
    ("trust", "content trust of docker is never asked for"),
];

/// Turns clap's error into ours: one sentence and a hint, exit code 125.
pub fn explain(error: &clap::Error) -> Error {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let command = command_of_usage(error);
    let what = match error.kind() {
        // Without a word it is an error of our own, which says it all.
        ErrorKind::UnknownArgument if !context(ContextKind::InvalidArg).is_empty() => {
            format!("unknown flag: {}", context(ContextKind::InvalidArg))
        }
        ErrorKind::InvalidSubcommand => format!(
            "unrecognized command `{command} {}`",
            context(ContextKind::InvalidSubcommand)
        ),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            format!("missing command `{command} COMMAND`")
        }
        ErrorKind::MissingRequiredArgument => {
            let all = context(ContextKind::InvalidArg);
            let bare = |word: &str| {
                let word = word.trim_end_matches("...");
                let inside = word.strip_prefix('<').and_then(|w| w.strip_suffix('>'));
                inside.unwrap_or(word).to_owned()
            };
            let names: Vec<String> = all.split(", ").map(bare).collect();
            format!("missing argument: {}", names.join(", "))
        }
        _ => first_sentence(error),
    };
    if error.kind() == ErrorKind::InvalidSubcommand
        && let Some((_, why)) = FOREIGN
            .iter()
            .find(|(name, _)| *name == context(ContextKind::InvalidSubcommand))
    {
        return Error::unsupported(what)
            .because(*why)
            .hint(format!("see `{command} --help`"));
    }
    let mut result = Error::invalid(what);
    for kind in [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg] {
        let suggestion = context(kind);
        if !suggestion.is_empty() {
            result = result.hint(format!("did you mean `{suggestion}`?"));
        }
    }
    result.hint(format!("see `{command} --help`"))
}

/// `coracle container run` from `Usage: coracle container run [OPTIONS] …`.
fn command_of_usage(error: &clap::Error) -> String {
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let words: Vec<&str> = usage
        .trim_start_matches("Usage:")
        .split_whitespace()
        .take_while(|w| w.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect();
    if words.is_empty() {
        return "coracle".to_owned();
    }
    words.join(" ")
}

/// The first paragraph of clap's message, without its lead.
fn first_sentence(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    paragraph
        .trim_start_matches("error: ")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
