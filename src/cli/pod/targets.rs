//! Pods on a command line: how they are named, each reported, the others going on.

use std::path::PathBuf;

use crate::base::{Kind, Result};
use crate::cli::output::{Out, report};
use crate::operations::pod::select::Selection;
use crate::operations::session::Session;
use crate::state::pod::PodRecord;

/// The ways to name pods that most commands have.
#[derive(Debug, clap::Args)]
pub struct Named {
    /// All pods
    #[arg(short, long)]
    all: bool,
    /// The newest pod
    #[arg(short, long)]
    latest: bool,
    /// Names or ids
    #[arg(value_name = "POD")]
    pods: Vec<String>,
}

impl Named {
    /// The pods that are meant.
    ///
    /// # Errors
    /// As [`Selection::resolve`].
    pub(super) fn find(
        self,
        session: &Session,
        ignore: bool,
        id_files: Vec<PathBuf>,
    ) -> Result<Vec<Result<PodRecord>>> {
        Selection {
            names: self.pods,
            all: self.all,
            latest: self.latest,
            ignore,
            id_files,
        }
        .resolve(session)
    }
}

/// Does something to every pod and prints its id. A pod that is not there makes the exit code 1.
///
/// # Errors
/// When nobody reads standard output any more; a failure of one pod only changes the exit code.
pub(super) fn each(
    out: &mut Out,
    pods: Vec<Result<PodRecord>>,
    act: &mut dyn FnMut(&PodRecord, &mut Out) -> Result<()>,
) -> Result<u8> {
    let mut worst = 0;
    for found in pods {
        match found {
            Ok(pod) => match act(&pod, out) {
                Ok(()) => {
                    out.line(pod.id.as_str())?;
                    out.flush()?;
                }
                Err(e) => {
                    out.error(&e);
                    worst = report::exit_code(&e);
                }
            },
            Err(e) => {
                worst = match e.kind() {
                    Kind::NotFound => 1,
                    _ => report::exit_code(&e),
                };
                out.error(&e);
            }
        }
    }
    Ok(worst)
}
