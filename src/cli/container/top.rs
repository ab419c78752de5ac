//! `top`.

use crate::base::{Error, Result};
use crate::cli::output::{Out, table};
use crate::operations::container::exec::{Executed, exec};
use crate::operations::container::select;
use crate::operations::container::top::{self, DESCRIPTORS};
use crate::operations::session::Session;
use crate::state::container::Containers;
use crate::state::request::ExecOptions;

/// Show the processes of a running container
///
/// Columns by name (pid, user, args, hpid, capeff, …). Anything else goes to the container's own ps.
#[derive(Debug, clap::Args)]
pub struct TopArgs {
    /// The newest container
    #[arg(short, long)]
    pub latest: bool,
    /// List the columns
    #[arg(long, hide = true)]
    pub list_descriptors: bool,
    /// Container, and columns or options of ps
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CONTAINER [COLUMNS|PS OPTIONS]"
    )]
    pub words: Vec<String>,
}

/// Runs `top`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: TopArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.list_descriptors {
        for (name, _) in DESCRIPTORS {
            out.line(name)?;
        }
        return Ok(0);
    }
    let mut words = args.words;
    let container = if args.latest {
        select::latest(session)?
    } else {
        if words.is_empty() {
            return Err(Error::invalid("which container?").hint("coracle top CONTAINER"));
        }
        Containers::new(&session.dirs).find(&words.remove(0))?
    };
    let Some(columns) = top::parse(&words) else {
        let mut command = vec!["ps".to_owned()];
        command.append(&mut words);
        out.flush()?;
        let options = ExecOptions {
            container: container.id().to_string(),
            command,
            ..ExecOptions::default()
        };
        return match exec(session, &options)? {
            Executed::Ended(outcome) => Ok(outcome.exit_code()),
            Executed::Detached(_) => Ok(0),
        };
    };
    // docker prints the host's `ps -ef`.
    if out.is_docker() && words.is_empty() {
        let columns: Vec<&str> = top::DOCKER.iter().map(|(name, _)| *name).collect();
        let headers: Vec<&str> = top::DOCKER.iter().map(|(_, header)| *header).collect();
        let rows = top::top(session, &container, &columns)?;
        return print(&headers, &rows, (20, 1), out);
    }
    let rows = top::top(session, &container, &columns)?;
    let headers: Vec<&str> = columns
        .iter()
        .filter_map(|c| DESCRIPTORS.iter().find(|(name, _)| name == c))
        .map(|(_, header)| *header)
        .collect();
    print(&headers, &rows, (12, 2), out)
}

/// A table with columns of at least so many characters, so many blanks apart.
pub(in crate::cli) fn print(
    headers: &[&str],
    rows: &[Vec<String>],
    (width, padding): (usize, usize),
    out: &mut Out,
) -> Result<u8> {
    let mut text = headers.join("\t");
    text.push('\n');
    for row in rows {
        text.push_str(&row.join("\t").replace('\n', " "));
        text.push('\n');
    }
    out.text(&table::align(&text, width, padding))?;
    Ok(0)
}
