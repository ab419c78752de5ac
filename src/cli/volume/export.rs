//! `volume export`.

use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use super::super::output::Out;
use crate::base::{Context as _, Error, Result};
use crate::operations::session::Session;
use crate::operations::volume;

/// Write a volume's content as a tar
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// File to write, in place of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name of the volume
    name: String,
}

/// Runs `volume export`.
///
/// # Errors
/// `Invalid` for a terminal; what the operation says.
pub fn run(args: ExportArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    match args.output {
        Some(path) => {
            let what = || format!("cannot write {}", path.display());
            let mut file = BufWriter::new(std::fs::File::create(&path).what(what)?);
            volume::export(session, &args.name, &mut file)?;
            file.flush().what(what)?;
        }
        None if out.is_terminal() => {
            return Err(Error::invalid("a tar is not written to a terminal")
                .hint("give --output FILE, or send standard output to a file or pipe"));
        }
        None => {
            let mut sink = Bytes(out);
            volume::export(session, &args.name, &mut sink)?;
            out.flush()?;
        }
    }
    Ok(0)
}

/// Standard output as a sink of bytes.
struct Bytes<'a>(&'a mut Out);

impl std::io::Write for Bytes<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .bytes(bytes)
            .map_err(|e| std::io::Error::other(e.one_line()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
