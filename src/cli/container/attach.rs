//! `attach`.

use crate::base::{Error, Result};
use crate::cli::output::Out;
use crate::operations::container::attach::attach;
use crate::operations::container::run::{Ran, Relay};
use crate::operations::container::select::Selection;
use crate::operations::session::Session;
use crate::state::request::AttachStreams;

/// Attach to a running container
///
/// Relays its input and output until it ends; its exit code becomes ours. The detach keys
/// (ctrl-p,ctrl-q) leave it running. Several callers may be attached at once; each sees the whole
/// output.
#[derive(Debug, clap::Args)]
pub struct AttachArgs {
    /// Keys that leave the container running; empty for none
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// The newest container
    #[arg(short, long, conflicts_with = "container")]
    pub latest: bool,
    /// Do not relay input
    #[arg(long)]
    pub no_stdin: bool,
    /// Pass signals on to the container
    #[arg(long, default_value = "true", hide_default_value = true)]
    pub sig_proxy: Option<bool>,
    /// Name or id
    #[arg(value_name = "CONTAINER", required_unless_present = "latest")]
    pub container: Option<String>,
}

/// Runs `attach`; answers the container's exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: AttachArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let selection = Selection {
        names: args.container.into_iter().collect(),
        latest: args.latest,
        ..Selection::default()
    };
    let container = selection
        .resolve(session)?
        .into_iter()
        .next()
        .ok_or_else(|| Error::not_found("there is no container"))?
        .container?;
    let own_keys = || container.record.options.detach_keys.clone();
    let relay = Relay {
        streams: AttachStreams {
            stdin: !args.no_stdin,
            stdout: true,
            stderr: true,
        },
        sig_proxy: args.sig_proxy != Some(false),
        detach_keys: args.detach_keys.or_else(own_keys),
    };
    out.flush()?;
    Ok(match attach(session, &container, &relay)? {
        Ran::Exited(code) => (code & 0xFF) as u8,
        Ran::Left | Ran::Detached(_) => 0,
        Ran::BrokenPipe => 141,
    })
}
