//! Which pods a command means: names, `--all`, `--latest`, `--pod-id-file`.

use std::path::PathBuf;

use crate::base::{Error, Kind, Result};
use crate::operations::container::select::read_cidfile;
use crate::operations::session::Session;
use crate::state::pod::{PodRecord, Pods};

/// What was typed.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Names, ids, unique id prefixes.
    pub names: Vec<String>,
    /// `--all`.
    pub all: bool,
    /// `--latest`.
    pub latest: bool,
    /// `--ignore`: what is not there is no error.
    pub ignore: bool,
    /// `--pod-id-file`.
    pub id_files: Vec<PathBuf>,
}

impl Selection {
    /// Finds the pods, each once, in the order typed, else oldest first; an error for each that is
    /// not there.
    ///
    /// # Errors
    /// `Invalid` when nothing is chosen, or things that exclude each other.
    pub fn resolve(&self, session: &Session) -> Result<Vec<Result<PodRecord>>> {
        let pods = Pods::new(&session.dirs);
        let named = !self.names.is_empty() || !self.id_files.is_empty();
        match usize::from(named) + usize::from(self.all) + usize::from(self.latest) {
            0 => {
                return Err(Error::invalid("which pod?")
                    .hint("give a name or an id, or --all; `coracle pod ps` lists all pods"));
            }
            1 => {}
            _ => {
                return Err(Error::invalid(
                    "names, --all and --latest cannot be used together",
                ));
            }
        }
        if !named {
            let (mut list, bad) = pods.list()?;
            if self.latest {
                let newest = list
                    .pop()
                    .ok_or_else(|| Error::not_found("no pods, so there is no latest one"))?;
                return Ok(vec![Ok(newest)]);
            }
            return Ok(list
                .into_iter()
                .map(Ok)
                .chain(bad.into_iter().map(Err))
                .collect());
        }
        let mut found: Vec<Result<PodRecord>> = Vec::new();
        let from_files = self.id_files.iter().map(|file| read_cidfile(file));
        for text in self.names.iter().cloned().map(Ok).chain(from_files) {
            match text.and_then(|t| pods.find(&t)) {
                Err(e) if self.ignore && e.kind() == Kind::NotFound => {}
                Ok(pod) if found.iter().flatten().any(|p| p.id == pod.id) => {}
                other => found.push(other),
            }
        }
        Ok(found)
    }
}
