//! `service create`.

use super::Manner;
use super::derive::desired;
use super::words::CreateWords;
use crate::base::{Kind, Result};
use crate::cli::output::Out;
use crate::operations::service;
use crate::operations::session::Session;

/// Create a service
///
/// The same container several times, behind one name and one address on its networks; a published
/// port leads to any of them. A replica takes connections when it runs and, where it has a health
/// check, is healthy. Replicas are kept running by their monitors. Prints the service's id.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    #[command(flatten)]
    words: CreateWords,
    #[command(flatten)]
    manner: Manner,
    /// Image, then the command with its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "IMAGE [COMMAND [ARG…]]"
    )]
    image: Vec<String>,
}

/// Runs `service create`: prints the id.
///
/// # Errors
/// What the words or the operation say. When replicas cannot be started nothing of it is left.
pub fn run(args: CreateArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let CreateWords(mut words) = args.words;
    let name = words.remove("name").and_then(|mut list| list.pop());
    let mut image = args.image;
    let rest = image.split_off(1);
    words.insert("image".to_owned(), image);
    if !rest.is_empty() {
        words.insert("args".to_owned(), rest);
    }
    let (mut desired, run) = desired(words, session, out)?;
    service::have_image(session, &mut desired, &run)?;
    let (record, lock) = service::create(session, name.as_deref(), desired)?;
    let id = record.id.to_string();
    let made = record.clone();
    match args.manner.drive(record, lock, session, out) {
        // It is there, and says what is wrong with it.
        Err(e) if e.kind() != Kind::Unavailable => {
            drop(service::remove(session, &made));
            Err(e)
        }
        other => {
            out.line(&id)?;
            other
        }
    }
}
