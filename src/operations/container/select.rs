//! Which containers a command means: names, `--all`, `--latest`, `--filter`, `--cidfile`.

use std::path::PathBuf;

use super::filter::Filters;
use super::summary::Summary;
use crate::base::time::Timestamp;
use crate::base::{Error, Kind, Result};
use crate::operations::session::Session;
use crate::state::container::{Container, Containers};

/// A cidfile holds 64 digits, and perhaps a line end.
const CIDFILE_LIMIT: u64 = 256;

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
    /// `--cidfile`.
    pub cidfiles: Vec<PathBuf>,
    /// `--filter`.
    pub filters: Vec<String>,
}

/// One container that is meant, or why it is not there.
#[derive(Debug)]
pub struct Target {
    /// What is printed for it: what was typed, else the full id.
    pub shown: String,
    /// The container.
    pub container: Result<Container>,
}

impl Selection {
    /// The names alone.
    pub fn of(names: Vec<String>) -> Self {
        Self {
            names,
            ..Self::default()
        }
    }

    /// Checks that the choices fit together.
    ///
    /// # Errors
    /// `Invalid` when nothing is chosen, or things that exclude each other.
    pub fn check(&self) -> Result<()> {
        let ways = usize::from(!self.names.is_empty() || !self.cidfiles.is_empty())
            + usize::from(self.all)
            + usize::from(self.latest);
        if ways > 1 {
            return Err(Error::invalid(
                "names, --all and --latest cannot be used together",
            ));
        }
        if ways == 0 && self.filters.is_empty() {
            return Err(Error::invalid("which container?")
                .hint("give a name or an id, or --all; `coracle ps -a` lists all containers"));
        }
        Ok(())
    }

    /// Finds the containers, each once, in the order typed, else oldest first.
    ///
    /// # Errors
    /// `Invalid` for a selection or a filter that makes no sense; what the kernel says of the folder.
    pub fn resolve(&self, session: &Session) -> Result<Vec<Target>> {
        self.check()?;
        let containers = Containers::new(&session.dirs);
        if self.all || self.latest || (self.names.is_empty() && self.cidfiles.is_empty()) {
            return self.resolve_all(session, &containers);
        }
        let mut targets: Vec<Target> = Vec::new();
        let mut add = |shown: String, found: Result<Container>| {
            match &found {
                Err(e) if self.ignore && e.kind() == Kind::NotFound => return,
                Ok(c) => {
                    let seen =
                        |t: &Target| t.container.as_ref().is_ok_and(|other| other.id() == c.id());
                    if targets.iter().any(seen) {
                        return;
                    }
                }
                Err(_) => {}
            }
            targets.push(Target {
                shown,
                container: found,
            });
        };
        for name in &self.names {
            add(name.clone(), containers.find(name));
        }
        for file in &self.cidfiles {
            match read_cidfile(file) {
                Ok(id) => add(id.clone(), containers.find(&id)),
                Err(e) => add(file.display().to_string(), Err(e)),
            }
        }
        if !self.filters.is_empty() {
            let filters = parse_filters(&self.filters, &containers)?;
            let mut kept = Vec::new();
            for target in targets {
                match target.container {
                    Ok(container) => {
                        let summary = Summary::of(container)?;
                        if filters.accept(&summary) {
                            kept.push(Target {
                                shown: target.shown,
                                container: Ok(summary.container),
                            });
                        }
                    }
                    Err(_) => kept.push(target),
                }
            }
            targets = kept;
        }
        Ok(targets)
    }

    fn resolve_all(&self, _session: &Session, containers: &Containers) -> Result<Vec<Target>> {
        let (mut list, bad) = containers.list()?;
        if self.latest {
            let newest = list
                .pop()
                .ok_or_else(|| Error::not_found("no containers, so there is no latest one"))?;
            list = vec![newest];
        }
        let filters = parse_filters(&self.filters, containers)?;
        let mut targets = Vec::new();
        for container in list {
            let summary = Summary::of(container)?;
            if filters.accept(&summary) {
                targets.push(Target {
                    shown: summary.container.id().to_string(),
                    container: Ok(summary.container),
                });
            }
        }
        if self.all {
            targets.extend(bad.into_iter().map(|e| Target {
                shown: String::new(),
                container: Err(e),
            }));
        }
        Ok(targets)
    }
}

/// Parses filters; names in `before` and `since` are looked up.
///
/// # Errors
/// As [`Filters::parse`].
pub fn parse_filters(words: &[String], containers: &Containers) -> Result<Filters> {
    let mut words = words.to_vec();
    for word in &mut words {
        if let Some(name) = word.strip_prefix("pod=")
            && let Ok(pod) = containers.pods().find(name)
        {
            *word = format!("pod={}", pod.id);
        }
    }
    Filters::parse(&words, Timestamp::now(), &|name| {
        containers.find(name).map(|c| c.record.created)
    })
}

/// Reads a container's id from a `--cidfile`.
///
/// # Errors
/// `NotFound`; `Invalid` when it holds something else.
pub fn read_cidfile(path: &std::path::Path) -> Result<String> {
    let bytes = crate::base::fs::read(path, CIDFILE_LIMIT)?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(Error::invalid(format!(
            "{} holds no container id",
            path.display()
        )));
    }
    Ok(text)
}

/// The newest container.
///
/// # Errors
/// `NotFound` when there is none.
pub fn latest(session: &Session) -> Result<Container> {
    let (mut list, _) = Containers::new(&session.dirs).list()?;
    list.pop()
        .ok_or_else(|| Error::not_found("no containers, so there is no latest one"))
}
