//! `doctor`: does what containers need, on this machine, and names what is missing.
//!
//! Three parts: `facts` looks and lets [`steps`] do things in processes of their own (a step that
//! crashes, hangs or is killed by a policy is a finding, not the end); `judge` turns facts into
//! findings and is pure; this file joins them. Nothing is left behind but what any command leaves.

mod facts;
mod judge;
mod steps;

use serde::Serialize;

use super::session::Session;
use crate::base::Result;

pub use steps::{Outcome, Step, perform};

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// It works.
    Ok,
    /// Containers run, but something costs or is missing.
    Warn,
    /// Containers do not run.
    Fail,
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A short name that scripts may rely on: `user-namespaces`.
    pub name: &'static str,
    /// How good it is.
    pub grade: Grade,
    /// What was found, one sentence.
    pub found: String,
    /// What it costs the person; absent when all is well.
    pub costs: Option<String>,
    /// The one command that mends it; absent when all is well or nobody can.
    pub mend: Option<String>,
}

/// Everything found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The findings, in the order in which one thing rests on another.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether containers run.
    pub fn is_good(&self) -> bool {
        self.count(Grade::Fail) == 0
    }

    /// How many findings have that grade.
    pub fn count(&self, grade: Grade) -> usize {
        self.findings.iter().filter(|f| f.grade == grade).count()
    }
}

/// Examines this machine.
///
/// # Errors
/// Only when this program cannot look at all; everything else is a finding.
pub fn examine(session: &Session) -> Result<Report> {
    let facts = facts::gather(session)?;
    Ok(Report {
        findings: judge::judge(&facts),
    })
}
