//! Command lines that do not parse: clap's errors in the words of the project.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::base::Error;

/// Turns clap's error into ours: one sentence and a hint, exit code 125.
pub fn explain(error: &clap::Error) -> Error {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let argument = context(ContextKind::InvalidArg);
    let what = match error.kind() {
        ErrorKind::UnknownArgument => format!("unknown flag: {argument}"),
        ErrorKind::InvalidSubcommand => format!(
            "unrecognized command {:?}",
            context(ContextKind::InvalidSubcommand)
        ),
        _ => first_sentence(error),
    };
    Error::invalid(what)
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
