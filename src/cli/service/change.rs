//! `service update`, `rollback`, `scale`, `rm`.

use super::Manner;
use super::derive::{count, desired};
use super::words::UpdateWords;
use crate::base::{Error, Result};
use crate::cli::output::{Out, report};
use crate::operations::service;
use crate::operations::session::Session;
use crate::state::service::{ProgressState, Services};

/// Change a service, a group of replicas after the other
///
/// A replica that goes gets no new connections and has the time of --stop-grace-period for those it
/// has; a new one gets some when it is ready. Without a change it finishes what an interrupted
/// command has left.
#[derive(Debug, clap::Args)]
pub struct UpdateArgs {
    #[command(flatten)]
    words: UpdateWords,
    #[command(flatten)]
    manner: Manner,
    /// Arguments of the replicas' program, as a shell reads them
    #[arg(long, value_name = "COMMAND")]
    args: Option<String>,
    /// Replace replicas although nothing has changed
    #[arg(long)]
    force: bool,
    /// Image
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Make it what it was before its last change
    #[arg(long)]
    rollback: bool,
    /// Name or id
    #[arg(value_name = "SERVICE")]
    service: String,
}

/// Runs `service update`: prints the name. The exit code is 1 when it was paused or undone.
///
/// # Errors
/// What the words or the operation say.
pub fn update(args: UpdateArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.rollback {
        let args = RollbackArgs {
            manner: args.manner,
            service: args.service,
        };
        return rollback(args, session, out);
    }
    let (mut record, lock) = {
        let services = Services::new(&session.dirs);
        services.lock(&services.find(&args.service)?)?
    };
    if record.desired.options.is_none() {
        return Err(Error::invalid(format!(
            "service {:?} has no replicas of its own",
            record.name.as_str()
        ))
        .hint("change it with what made it: kube or compose"));
    }
    let mut edit = args.words;
    if let Some(image) = args.image {
        edit.set("image", vec![image]);
    }
    if let Some(text) = args.args {
        let words = shlex::split(&text)
            .ok_or_else(|| Error::invalid(format!("--args {text:?}: a quote is open")))?;
        edit.set("args", words);
    }
    let mut words = record.desired.words.clone();
    edit.edit(&mut words);
    let interrupted = record
        .progress
        .as_ref()
        .is_some_and(|p| p.state == ProgressState::Updating);
    if words == record.desired.words && !args.force && interrupted {
        // What was begun is finished.
        out.line(&args.service)?;
        return args.manner.drive(record, lock, session, out);
    }
    let replicas = record.desired.replicas;
    let scaled = words.get("replicas") != record.desired.words.get("replicas");
    let (mut wanted, run) = desired(words, session, out)?;
    if !scaled && !wanted.global {
        // `scale` has said it since.
        wanted.replicas = replicas;
    }
    service::have_image(session, &mut wanted, &run)?;
    service::change(session, &mut record, &lock, wanted, args.force)?;
    out.line(&args.service)?;
    args.manner.drive(record, lock, session, out)
}

/// Make a service what it was before its last change
///
/// Twice in a row leads forward again.
#[derive(Debug, clap::Args)]
pub struct RollbackArgs {
    #[command(flatten)]
    manner: Manner,
    /// Name or id
    #[arg(value_name = "SERVICE")]
    service: String,
}

/// Runs `service rollback`: prints the name.
///
/// # Errors
/// What the operation says.
pub fn rollback(args: RollbackArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let services = Services::new(&session.dirs);
    let (mut record, lock) = services.lock(&services.find(&args.service)?)?;
    service::turn_back(session, &mut record, &lock, true)?;
    out.line(&args.service)?;
    args.manner.drive(record, lock, session, out)
}

/// Change how many replicas services have
#[derive(Debug, clap::Args)]
pub struct ScaleArgs {
    #[command(flatten)]
    manner: Manner,
    /// Name or id, and how many
    #[arg(required = true, value_name = "SERVICE=N")]
    services: Vec<String>,
}

/// Runs `service scale`: prints what each was scaled to.
///
/// # Errors
/// One that fails is reported and the others go on.
pub fn scale(args: ScaleArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let mut wanted = Vec::new();
    for text in &args.services {
        let (name, number) = text
            .split_once('=')
            .ok_or_else(|| Error::invalid(format!("{text:?} is not SERVICE=N")))?;
        wanted.push((name, count(number)?));
    }
    let mut worst = 0;
    for (name, number) in wanted {
        let services = Services::new(&session.dirs);
        let begun = services.find(name).and_then(|record| {
            let (mut record, lock) = services.lock(&record)?;
            service::scale(session, &mut record, &lock, number)?;
            Ok((record, lock))
        });
        let outcome = begun.and_then(|(record, lock)| {
            out.line(format!("{name} scaled to {number}"))?;
            args.manner.drive(record, lock, session, out)
        });
        match outcome {
            Ok(code) => worst = worst.max(code),
            Err(e) => {
                worst = report::exit_code(&e);
                out.error(&e);
            }
        }
    }
    Ok(worst)
}

/// Remove services with their replicas
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// Names or ids
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs `service rm`: prints each name.
///
/// # Errors
/// One that fails is reported and the others go on.
pub fn rm(args: RmArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let mut worst = 0;
    for name in &args.services {
        let gone = service::find(session, name).and_then(|r| service::remove(session, &r));
        match gone {
            Ok(()) => out.line(name)?,
            Err(e) => {
                worst = report::exit_code(&e);
                out.error(&e);
            }
        }
    }
    Ok(worst)
}
