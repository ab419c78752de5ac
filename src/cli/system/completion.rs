//! `completion`.

use std::path::PathBuf;

use super::super::output::Out;
use crate::base::fs::{Durability, replace};
use crate::base::{Error, Result};
use crate::operations::session::Session;

/// Print the completion script of a shell
///
/// Load it now with `source <(coracle completion bash)`; packages install it for good.
#[derive(Debug, clap::Args)]
pub struct CompletionArgs {
    /// Write to a file in place of standard output
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Leave descriptions out (bash's has none)
    #[arg(long)]
    no_desc: bool,
    /// bash, zsh, fish or powershell
    #[arg(value_name = "SHELL")]
    shell: String,
}

/// Runs `completion`.
///
/// # Errors
/// `Unsupported` for other shells; what writing the file says.
pub fn run(args: CompletionArgs, _session: &mut Session, out: &mut Out) -> Result<u8> {
    let script =
        super::super::completions::script(&args.shell, !args.no_desc).ok_or_else(|| {
            Error::unsupported(format!("no completion for the shell {:?}", args.shell))
                .hint("coracle completion bash|zsh|fish|powershell")
        })?;
    match &args.file {
        Some(path) => replace(path, script.as_bytes(), 0o644, Durability::Volatile)?,
        None => out.text(&script)?,
    }
    Ok(0)
}
