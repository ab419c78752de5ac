//! `create`.

use super::options::{CreateFlags, Manner};
use super::run::ask;
use crate::base::Result;
use crate::base::fs::Durability;
use crate::cli::frame;
use crate::cli::output::Out;
use crate::operations::container::create as operation;
use crate::operations::container::request::RunOptions;
use crate::operations::session::Session;
use crate::spec::id::ContainerId;
use crate::state::options::ContainerOptions;

/// Make a container without starting it
///
/// Takes the options of `run`; prints the container's id. `start` starts it, again and again.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    #[command(flatten)]
    pub(super) flags: CreateFlags,
    /// Image, then the command with its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "IMAGE [COMMAND [ARG…]]"
    )]
    pub(super) words: Vec<String>,
}

/// Runs `create`: prints the id.
///
/// # Errors
/// What the operation says.
pub fn run(args: CreateArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let id = make(args, session, out)?;
    out.line(id.as_str())?;
    Ok(0)
}

/// As `create` with these words, printing nothing; answers the id.
///
/// # Errors
/// What the words or the operation say.
pub(in crate::cli) fn by_words(
    words: &[String],
    session: &mut Session,
    out: &mut Out,
) -> Result<ContainerId> {
    let args = crate::cli::frame::args_of::<CreateArgs>(words)?;
    make(args, session, out)
}

fn make(args: CreateArgs, session: &mut Session, out: &mut Out) -> Result<ContainerId> {
    let manner = Manner {
        create: true,
        ..Manner::default()
    };
    let (options, run) = ask(args.flags, &manner, &args.words, session, out)?;
    let created = operation::create(
        session,
        options,
        &run,
        Durability::Durable,
        &mut |text| out.warn(text),
        &mut |_, _| Ok(()),
    )?;
    Ok(created.container.id().clone())
}

/// The options that the words behind `create` mean, for a container of a project.
///
/// # Errors
/// As `create`.
pub(in crate::cli) fn options(
    words: &[String],
    session: &mut Session,
    out: &Out,
) -> Result<(ContainerOptions, RunOptions)> {
    let command = clap::Command::new("create")
        .no_binary_name(true)
        .disable_help_flag(true);
    let command = frame::prepare(<CreateArgs as clap::Args>::augment_args(command));
    let mut matches = command
        .try_get_matches_from(words)
        .map_err(|e| crate::cli::usage::explain(&e))?;
    let args = frame::parse::<CreateArgs>(&mut matches)?;
    let manner = Manner {
        create: true,
        ..Manner::default()
    };
    let progress = std::sync::Arc::clone(&session.progress);
    let asked = ask(args.flags, &manner, &args.words, session, out);
    session.progress = progress;
    asked
}
