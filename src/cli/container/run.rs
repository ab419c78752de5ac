//! `run`.

use super::options::{CreateFlags, Host, Manner, request};
use crate::base::{Context as _, Error, Result};
use crate::cli::output::Out;
use crate::config::{containers_conf, limits};
use crate::operations::container::request::RunOptions;
use crate::operations::container::run::{self as operation, Ran};
use crate::operations::session::Session;
use crate::state::options::ContainerOptions;

/// Run a command in a new container
///
/// The first word that is no option names the image; everything after it is the command inside,
/// in place of the image's own. The image is pulled when it is not here. The exit code is the
/// command's; 125 says that coracle failed, 126 that the command cannot be executed, 127 that it
/// was not found.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    flags: CreateFlags,
    /// Run in the background and print the container's id
    #[arg(short, long, help_heading = "Process")]
    detach: bool,
    /// Keys that detach from the container, e.g. ctrl-p,ctrl-q; empty for none
    #[arg(long, value_name = "KEYS", help_heading = "Process")]
    detach_keys: Option<String>,
    /// Pass signals on to the container (on by default without --tty)
    #[arg(long, help_heading = "Process")]
    sig_proxy: Option<bool>,
    /// Pass so many further descriptors, from 3 on
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        help_heading = "Process"
    )]
    preserve_fds: u32,
    /// Pass these further descriptors, under their own numbers
    #[arg(
        long,
        value_name = "N[,N…]",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(3..1024),
        conflicts_with = "preserve_fds",
        help_heading = "Process"
    )]
    preserve_fd: Vec<u32>,
    /// Remove the image too when the container ends, unless another one uses it
    #[arg(long, help_heading = "Container")]
    rmi: bool,
    /// Image, then the command with its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "IMAGE [COMMAND [ARG…]]"
    )]
    words: Vec<String>,
}

/// The next step of who named a program that cannot be run.
fn advise(error: Error, words: &[String]) -> Error {
    if !error.hints().is_empty() {
        return error;
    }
    let (image, first) = match words {
        [image, first, ..] => (image, first.as_str()),
        _ => return error,
    };
    match error.asked_exit_code() {
        Some(126 | 127) if first.starts_with('-') => error.hint(format!(
            "flags of run stand before the image: coracle run {first} {image}"
        )),
        Some(127) => error.hint("what stands after the image is a program of the image, e.g. sh"),
        Some(126) => error.hint("name a program of the image with the right to be executed"),
        _ => error,
    }
}

/// Runs `run`; answers the command's exit code.
///
/// # Errors
/// What the operation says.
pub fn run(args: RunArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let manner = Manner {
        detach: args.detach,
        sig_proxy: args.sig_proxy,
        detach_keys: args.detach_keys,
        preserve_fds: args.preserve_fds,
        preserve_fd: args.preserve_fd,
        rmi: args.rmi,
        create: false,
    };
    let (options, run) = ask(args.flags, &manner, &args.words, session, out)?;
    let ran = operation::run(session, options, &run, &mut |text| out.warn(text))
        .map_err(|e| advise(e, &args.words))?;
    match ran {
        Ran::Detached(id) => {
            out.line(id.as_str())?;
            Ok(0)
        }
        Ran::Exited(code) => Ok((code & 0xFF) as u8),
        Ran::Left => Ok(0),
        // As if the signal had ended us: 128 + SIGPIPE.
        Ran::BrokenPipe => Ok(141),
    }
}

/// What `run` and `create` do alike: flags and caller to a request.
pub(in crate::cli) fn ask(
    flags: CreateFlags,
    manner: &Manner,
    words: &[String],
    session: &mut Session,
    out: &Out,
) -> Result<(ContainerOptions, RunOptions)> {
    let cwd = std::env::current_dir().what(|| "cannot tell the working directory")?;
    let conf = containers_conf::load()?;
    let cdi_dirs = match session.options.cdi_spec_dirs.is_empty() {
        true => &conf.engine.cdi_spec_dirs,
        false => &session.options.cdi_spec_dirs,
    };
    let (mut options, run) = request(
        flags,
        manner,
        words,
        &Host {
            env: &session.env,
            cwd: &cwd,
            user: session.user,
            docker: out.is_docker(),
            stdin_is_tty: std::io::IsTerminal::is_terminal(&std::io::stdin()),
            limits: limits::current(),
            conf,
            cdi_dirs,
        },
    )?;
    options.create_command.clone_from(&session.command_line);
    if run.quiet {
        session.progress = std::sync::Arc::new(crate::base::progress::Silent);
    }
    Ok((options, run))
}

/// What `create` makes of these words, for a client of `system service`.
///
/// # Errors
/// As `create`.
pub(crate) fn of_words(
    words: &[String],
    session: &mut Session,
) -> Result<(ContainerOptions, RunOptions)> {
    let command = clap::Command::new("create")
        .no_binary_name(true)
        .disable_help_flag(true);
    // The tree of the service's own line knows that line's options only.
    crate::cli::frame::whole();
    crate::cli::frame::let_flags_take_values(true);
    let command = crate::cli::frame::augment::<super::create::CreateArgs>(command);
    let matches = command.try_get_matches_from(words);
    crate::cli::frame::let_flags_take_values(false);
    let mut matches = matches.map_err(|e| crate::cli::usage::explain(&e))?;
    let args = crate::cli::frame::parse::<super::create::CreateArgs>(&mut matches)?;
    let manner = Manner {
        create: true,
        ..Manner::default()
    };
    let out = Out::standard().as_docker(true);
    ask(args.flags, &manner, &args.words, session, &out)
}

/// The options that a build's steps share, from the words of `run` that say them.
///
/// # Errors
/// As `run`.
pub(in crate::cli) fn step_options(
    words: &[String],
    session: &mut Session,
    out: &Out,
) -> Result<ContainerOptions> {
    let command = clap::Command::new("build")
        .no_binary_name(true)
        .disable_help_flag(true);
    let command = <CreateFlags as clap::Args>::augment_args(command);
    let mut matches = command
        .try_get_matches_from(words)
        .map_err(|e| crate::cli::usage::explain(&e))?;
    let flags = crate::cli::frame::parse::<CreateFlags>(&mut matches)?;
    let manner = Manner {
        detach: true,
        ..Manner::default()
    };
    let progress = std::sync::Arc::clone(&session.progress);
    let asked = ask(flags, &manner, &["build".to_owned()], session, out);
    session.progress = progress;
    let (mut options, _) = asked?;
    options.image.clear();
    Ok(options)
}
