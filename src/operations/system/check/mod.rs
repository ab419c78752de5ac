//! `system check`: what is damaged in the store, and mending it.
//!
//! Finding changes nothing and trusts nothing. Mending prefers what loses nothing (a layer is
//! unpacked again from its blob, an index is set aside); an image goes only when a part of it is
//! gone for good, and a container only with `force`.

mod find;
mod mend;
mod mounts;

use std::path::PathBuf;
use std::time::Duration;

use crate::base::{Error, Result};
use crate::operations::image;
use crate::operations::session::Session;
use crate::spec::digest::Digest;
use crate::spec::id::ObjectName;
use crate::spec::reference::Reference;

/// What to look at and what to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request {
    /// Records and sizes only; no content is read.
    pub quick: bool,
    /// Mend what is found.
    pub repair: bool,
    /// Also remove containers that cannot be kept.
    pub force: bool,
    /// Leftovers and layers that nothing needs count when they are older than this.
    pub max: Duration,
}

/// One thing that is wrong.
#[derive(Debug)]
pub struct Finding {
    /// What kind of object: `layer`, `image`, `container`, …
    pub kind: &'static str,
    /// Which: a name or an id.
    pub object: String,
    /// What is wrong.
    pub flaw: String,
    /// What was done about it, or why nothing could be; absent when nobody asked.
    pub outcome: Option<Result<String>>,
    remedy: Remedy,
}

impl Finding {
    fn new(
        kind: &'static str,
        object: impl Into<String>,
        flaw: impl Into<String>,
        remedy: Remedy,
    ) -> Self {
        Self {
            kind,
            object: object.into(),
            flaw: flaw.into(),
            outcome: None,
            remedy,
        }
    }

    /// The line that a person reads.
    pub fn line(&self) -> String {
        let mut line = format!("{} {}: {}", self.kind, self.object, self.flaw);
        match &self.outcome {
            None => {}
            Some(Ok(done)) => line = format!("{line}: {done}"),
            Some(Err(why)) => line = format!("{line}: not mended: {}", why.one_line()),
        }
        line
    }
}

/// What would mend it.
#[derive(Clone, Debug)]
enum Remedy {
    /// Nothing that coracle can do.
    None(&'static str),
    /// Delete a file or a folder of the store that nobody needs.
    ClearAway(PathBuf),
    /// Unpack the layer again.
    Renew {
        parent: Option<Digest>,
        diff_id: Digest,
        blob: Digest,
        chain: Digest,
    },
    /// Take away a blob that is not what its name says.
    RemoveBlob(Digest),
    /// The image cannot be used any more.
    RemoveImage(Digest),
    /// Give the names up.
    SetNamesAside,
    /// The name stands for nothing.
    Untag(Reference),
    /// Nobody can use the container any more.
    RemoveContainer(PathBuf),
    /// Finish what was begun.
    SweepContainers,
    /// Finish what was begun.
    SweepVolumes,
    /// Write a volume's record anew, keeping its files.
    RenewVolume(ObjectName),
    /// A record that nobody can read: move it away.
    SetAside(PathBuf),
    /// Take a mount away whose server is gone.
    Unmount(PathBuf),
    /// End a container whose files nobody serves.
    Stop(String),
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// Everything that was found first, with what was done about it.
    pub findings: Vec<Finding>,
    /// How much is wrong still.
    pub remaining: usize,
}

/// How often mending may uncover something new: an image that goes leaves layers, those leave
/// what lies below them.
const ROUNDS: usize = 4;

/// Looks, and mends when asked. Enters the user namespace.
///
/// # Errors
/// What entering the user namespace or a folder of the store says; `InUse` when another command
/// brings images here while something is to be mended. Damage is in the answer.
pub fn check(session: &Session, request: &Request) -> Result<Report> {
    // Before this process has a mount namespace of its own.
    let mut seen = mounts::dead(session)?;
    if request.repair {
        for finding in &mut seen {
            if let Remedy::Unmount(path) = &finding.remedy {
                finding.outcome = Some(mounts::unmount(path));
            }
        }
    }
    let store = image::enter_store(session)?;
    let mut report = Report {
        findings: seen,
        remaining: 0,
    };
    report.findings.extend(find::all(session, &store, request)?);
    if !request.repair {
        report.remaining = report.findings.len();
        return Ok(report);
    }
    let _alone = image::remove::alone(session)?.ok_or_else(|| {
        Error::new(
            crate::base::Kind::InUse,
            "cannot mend the store while another command brings images here",
        )
        .hint("try again when it is done")
    })?;
    mend::each(session, &store, request, &mut report.findings);
    for _ in 0..ROUNDS {
        let mut more = find::all(session, &store, request)?;
        report.remaining = more.len();
        more.retain(|new| {
            let known = |old: &Finding| {
                old.kind == new.kind && old.object == new.object && old.flaw == new.flaw
            };
            !report.findings.iter().any(known)
        });
        if more.is_empty() {
            break;
        }
        mend::each(session, &store, request, &mut more);
        report.findings.append(&mut more);
    }
    report.remaining += report
        .findings
        .iter()
        .filter(|f| f.kind == mounts::KIND && !matches!(f.outcome, Some(Ok(_))))
        .count();
    Ok(report)
}
