//! `start`.

use super::targets::{self, Choice, Named};
use crate::base::{Error, Result};
use crate::cli::output::Out;
use crate::operations::container::run::{Ran, Relay, start};
use crate::operations::session::Session;
use crate::state::container::State;
use crate::state::request::AttachStreams;

/// Start containers that exist
#[derive(Debug, clap::Args)]
pub struct StartArgs {
    /// All containers that do not run
    #[arg(long)]
    pub all: bool,
    /// Relay output and signals until it ends; its exit code becomes ours
    #[arg(short, long)]
    pub attach: bool,
    /// Keys that leave it running
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Only containers for which this holds
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Relay input, too
    #[arg(short, long)]
    pub interactive: bool,
    /// Pass signals on to it (on with --attach, off with a terminal)
    #[arg(long, value_name = "true|false")]
    pub sig_proxy: Option<bool>,
    #[command(flatten)]
    named: Named,
}

/// Runs `start`; answers the exit code.
///
/// # Errors
/// A selection that makes no sense; with --attach, the failure to start.
pub fn run(args: StartArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let choice = Choice {
        all: args.all,
        filters: args.filter,
        ignore: false,
    };
    let found = args.named.find(
        session,
        choice,
        &[State::Created, State::Exited, State::Lost],
    )?;
    if !args.attach && !args.interactive {
        return targets::each(out, found, &mut |container, out| {
            start(session, container, None, &mut |text| out.warn(text)).map(drop)
        });
    }
    let mut found = found.into_iter();
    let (Some(target), None) = (found.next(), found.next()) else {
        return Err(Error::invalid(
            "--attach and --interactive take one container",
        ));
    };
    let container = target.container?;
    let relay = Relay {
        streams: AttachStreams {
            stdin: args.interactive,
            stdout: true,
            stderr: true,
        },
        sig_proxy: args.sig_proxy.unwrap_or(!container.record.options.tty),
        detach_keys: args
            .detach_keys
            .or_else(|| container.record.options.detach_keys.clone()),
    };
    out.flush()?;
    let ran = start(session, &container, Some(&relay), &mut |text| {
        out.warn(text);
    })?;
    Ok(exit_code(&ran))
}

/// The process's exit code for the way a run went.
pub fn exit_code(ran: &Ran) -> u8 {
    match ran {
        Ran::Detached(_) | Ran::Left => 0,
        // -1 stands for unknown.
        Ran::Exited(code) => u8::try_from(*code).unwrap_or(255),
        Ran::BrokenPipe => 141,
    }
}
