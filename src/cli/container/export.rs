//! `export`.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use crate::base::{Context as _, Error, Result};
use crate::cli::output::Out;
use crate::operations::container::tree;
use crate::operations::session::Session;
use crate::state::container::Containers;

/// Write a container's file system as a tar
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Name or id
    pub container: String,
}

/// Runs `export`; answers the exit code.
///
/// # Errors
/// As the operation; `Invalid` when a terminal would get the archive.
pub fn run(args: ExportArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let container = Containers::new(&session.dirs).find(&args.container)?;
    match args.output.filter(|o| o.as_os_str() != "-") {
        None => {
            if out.is_terminal() {
                return Err(Error::invalid("an archive is nothing for a terminal")
                    .hint("use --output FILE, or redirect standard output"));
            }
            tree::export(session, &container, &mut super::ToOut(out))?;
        }
        Some(path) => {
            let what = || format!("cannot write {}", path.display());
            // A half-written archive must not look like a whole one.
            let mut name = path.clone().into_os_string();
            name.push(".partial");
            let partial = PathBuf::from(name);
            let special = path.exists() && !path.is_file();
            let target = if special { &path } else { &partial };
            let mut file = BufWriter::with_capacity(1 << 20, File::create(target).what(what)?);
            let written =
                tree::export(session, &container, &mut file).and_then(|()| file.flush().what(what));
            if !special {
                match written {
                    Ok(()) => std::fs::rename(&partial, &path).what(what)?,
                    Err(e) => {
                        drop(std::fs::remove_file(&partial));
                        return Err(e);
                    }
                }
            } else {
                written?;
            }
        }
    }
    Ok(0)
}
