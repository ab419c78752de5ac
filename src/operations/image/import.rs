//! `import`: a root file system's tar becomes an image of one layer.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Result};
use crate::image::{ImageRecord, change};
use crate::operations::session::Session;
use crate::spec::image::{History, ImageConfig};
use crate::spec::platform::Platform;
use crate::spec::reference::Reference;

/// Where the tar comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
    /// `http://` or `https://`.
    Url(String),
}

impl Source {
    /// Reads what a person types: `-`, an address, or a path.
    pub fn parse(text: &str) -> Self {
        if text == "-" {
            Self::Stdin
        } else if text.starts_with("http://") || text.starts_with("https://") {
            Self::Url(text.to_owned())
        } else {
            Self::File(PathBuf::from(text))
        }
    }

    /// Opens it. Before the user namespace is entered: the caller's own rights count.
    ///
    /// # Errors
    /// `NotFound`, or what the kernel or the server says.
    pub fn open(&self, session: &Session) -> Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Stdin => Box::new(std::io::stdin()),
            Self::File(path) => {
                let what = || format!("cannot open {}", path.display());
                let file = File::open(path).what(what)?;
                if file.metadata().what(what)?.is_dir() {
                    return Err(Error::invalid(format!("{} is a folder", path.display()))
                        .hint("import takes a tar archive: \"tar -C DIR -c . | coracle import - NAME\""));
                }
                Box::new(file)
            }
            Self::Url(url) => super::source::open_url(session, url)?,
        })
    }
}

/// What to make of it.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// The image's name.
    pub name: Option<Reference>,
    /// `--change`.
    pub changes: Vec<String>,
    /// `--message`.
    pub message: Option<String>,
    /// `--platform`, or `--os`, `--arch` and `--variant`.
    pub platform: Option<Platform>,
}

/// Imports a tar, which may be compressed. Enters the user namespace.
///
/// # Errors
/// `Invalid` for a change that is none, or a tar that is damaged or hostile.
pub fn import(session: &Session, source: &Source, import: &Import) -> Result<ImageRecord> {
    let created = Timestamp::now().rfc3339();
    let platform = import.platform.clone().unwrap_or_else(Platform::host);
    let mut config = ImageConfig {
        created: Some(created.clone()),
        architecture: platform.architecture,
        variant: platform.variant,
        os: platform.os,
        ..ImageConfig::default()
    };
    for line in &import.changes {
        change::apply(&mut config.config, line)?;
    }
    let from = match source {
        Source::Stdin => "-".to_owned(),
        Source::File(path) => path.display().to_string(),
        Source::Url(url) => url.clone(),
    };
    config.history.push(History {
        created: Some(created),
        created_by: Some(format!("coracle import {from}")),
        comment: Some(
            import
                .message
                .clone()
                .unwrap_or_else(|| format!("imported from {from}")),
        ),
        ..History::default()
    });
    let reader = source.open(session)?;
    let store = super::enter_store(session)?;
    let _growing = super::remove::growing(session, &store)?;
    let layer =
        super::make::layer(&store, None, reader).what(|| format!("cannot import {from}"))?;
    let names: Vec<Reference> = import.name.iter().cloned().collect();
    let record = super::make::image(session, config, &[layer], None, &names)?;
    let first = names.first().map(ToString::to_string).unwrap_or_default();
    super::events::note(session, "import", &record.id, &first);
    Ok(record)
}
