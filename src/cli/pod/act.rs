//! `pod start`, `stop`, `restart`, `kill`, `pause`, `unpause`.

use std::path::PathBuf;

use super::targets::{Named, each};
use crate::base::{Result, signal};
use crate::cli::args::seconds;
use crate::cli::output::Out;
use crate::operations::container::stop::StopOptions;
use crate::operations::pod::act as operation;
use crate::operations::session::Session;
use crate::state::pod::PodRecord;

/// Do something to pods
#[derive(Debug, clap::Args)]
pub struct PlainArgs {
    #[command(flatten)]
    named: Named,
}

/// Start pods
///
/// First what holds the shared namespaces, then containers made with --init-ctr, then the others.
#[derive(Debug, clap::Args)]
pub struct StartArgs {
    /// Read a pod id from this file
    #[arg(long, value_name = "FILE")]
    pod_id_file: Vec<PathBuf>,
    #[command(flatten)]
    named: Named,
}

/// Stop pods
#[derive(Debug, clap::Args)]
pub struct StopArgs {
    /// What is not there is no error
    #[arg(short, long)]
    ignore: bool,
    /// Read a pod id from this file
    #[arg(long, value_name = "FILE")]
    pod_id_file: Vec<PathBuf>,
    /// Seconds until KILL (0: at once, -1: never; default: each container's own, 10)
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        alias = "timeout",
        allow_negative_numbers = true
    )]
    time: Option<i64>,
    #[command(flatten)]
    named: Named,
}

/// Send a signal to the containers of pods
#[derive(Debug, clap::Args)]
pub struct KillArgs {
    /// Name or number of the signal
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    #[command(flatten)]
    named: Named,
}

/// Runs `pod start`; answers the exit code.
///
/// # Errors
/// A selection that makes no sense.
pub fn start(args: StartArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let found = args.named.find(session, false, args.pod_id_file)?;
    each(out, found, &mut |pod, out| {
        operation::start(session, pod, &mut |text| out.warn(text))
    })
}

/// Runs `pod stop`; answers the exit code.
///
/// # Errors
/// A selection that makes no sense.
pub fn stop(args: StopArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let options = StopOptions {
        timeout: args.time.map(seconds),
        signal: None,
    };
    let found = args.named.find(session, args.ignore, args.pod_id_file)?;
    each(out, found, &mut |pod, _| {
        operation::stop(session, pod, &options)
    })
}

/// Runs `pod restart`; answers the exit code.
///
/// # Errors
/// A selection that makes no sense.
pub fn restart(args: PlainArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let found = args.named.find(session, false, Vec::new())?;
    each(out, found, &mut |pod, out| {
        operation::restart(session, pod, &mut |text| out.warn(text))
    })
}

/// Runs `pod kill`; answers the exit code.
///
/// # Errors
/// A selection or signal that makes no sense.
pub fn kill(args: KillArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let number = signal::parse(&args.signal)?;
    let found = args.named.find(session, false, Vec::new())?;
    each(out, found, &mut |pod, _| {
        operation::kill(session, pod, number)
    })
}

/// Runs `pod pause`; answers the exit code.
///
/// # Errors
/// A selection that makes no sense.
pub fn pause(args: PlainArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    plain(args, session, out, operation::pause)
}

/// Runs `pod unpause`; answers the exit code.
///
/// # Errors
/// A selection that makes no sense.
pub fn unpause(args: PlainArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    plain(args, session, out, operation::unpause)
}

fn plain(
    args: PlainArgs,
    session: &Session,
    out: &mut Out,
    verb: fn(&Session, &PodRecord) -> Result<()>,
) -> Result<u8> {
    let found = args.named.find(session, false, Vec::new())?;
    each(out, found, &mut |pod, _| verb(session, pod))
}
