//! `pod ps`: which pods there are.

use std::collections::BTreeMap;

use super::status;
use crate::base::filter::{Filters, label_matches};
use crate::base::time::Timestamp;
use crate::base::{Error, Result, parallel};
use crate::operations::container::pattern::Pattern;
use crate::operations::container::summary::Summary;
use crate::operations::session::Session;
use crate::state::container::Containers;
use crate::state::pod::{PodRecord, Pods};

/// Keys of `pod ps --filter`.
pub const FILTERS: &[&str] = &[
    "ctr-ids",
    "ctr-names",
    "ctr-number",
    "ctr-status",
    "id",
    "label",
    "name",
    "network",
    "status",
    "until",
];

/// A pod as of now.
#[derive(Clone, Debug)]
pub struct PodSummary {
    /// What it is.
    pub record: PodRecord,
    /// Its containers, oldest first.
    pub members: Vec<Summary>,
}

impl PodSummary {
    /// Looks at one pod.
    ///
    /// # Errors
    /// As [`super::summaries`].
    pub fn of(session: &Session, record: PodRecord) -> Result<Self> {
        Ok(Self {
            members: super::summaries(session, &record)?,
            record,
        })
    }

    /// podman's word for what it is doing; containers that run to their end first do not count.
    pub fn status(&self) -> &'static str {
        let counted = |m: &&Summary| m.container.record.options.init_ctr.is_none();
        status(self.members.iter().filter(counted).map(|m| m.state))
    }

    /// The networks with a name that its containers are on.
    pub fn networks(&self) -> Vec<String> {
        let holder = self
            .members
            .iter()
            .find(|m| m.container.record.options.infra);
        holder.map_or_else(Vec::new, Summary::networks)
    }

    fn is_accepted(&self, filters: &Filters, now: Timestamp) -> Result<bool> {
        let record = &self.record;
        let members = || self.members.iter();
        filters.accept(|key, value| {
            Ok(match key {
                "id" => record.id.as_str().starts_with(value),
                "name" => Pattern::parse(value)?.is_match(record.name.as_str()),
                "status" => self.status().eq_ignore_ascii_case(value),
                "label" => label_matches(&record.labels, value),
                "until" => record.created < Timestamp::parse_moment(value, now)?,
                "network" => self.networks().iter().any(|n| n == value),
                "ctr-ids" => members().any(|m| m.container.id().as_str().starts_with(value)),
                "ctr-names" => {
                    let pattern = Pattern::parse(value)?;
                    members().any(|m| pattern.is_match(m.container.name()))
                }
                "ctr-status" => members().any(|m| m.state.name() == value),
                "ctr-number" => {
                    let wanted: usize = value.parse().map_err(|_| {
                        Error::invalid(format!("invalid filter {key}={value}: not a number"))
                    })?;
                    self.members.len() == wanted
                }
                _ => return Err(Error::internal(format!("filter {key:?} has no test"))),
            })
        })
    }
}

/// All pods that the filters accept, newest first, and what could not be read.
///
/// # Errors
/// `Invalid` for a filter that makes no sense; what the kernel says of the folders.
pub fn list(session: &Session, filters: &Filters) -> Result<(Vec<PodSummary>, Vec<Error>)> {
    let (pods, mut bad) = Pods::new(&session.dirs).list()?;
    if pods.is_empty() {
        return Ok((Vec::new(), bad));
    }
    let (mut containers, _) = Containers::new(&session.dirs).list()?;
    containers.retain(|c| c.record.options.pod.is_some());
    let mut by_pod: BTreeMap<String, Vec<Summary>> = BTreeMap::new();
    for summary in parallel::map(containers, Summary::of) {
        match summary {
            Ok(s) => {
                let pod = s.container.record.options.pod.clone().unwrap_or_default();
                by_pod.entry(pod).or_default().push(s);
            }
            Err(e) => bad.push(e),
        }
    }
    let now = Timestamp::now();
    let mut shown = Vec::new();
    for record in pods.into_iter().rev() {
        let summary = PodSummary {
            members: by_pod.remove(record.id.as_str()).unwrap_or_default(),
            record,
        };
        if summary.is_accepted(filters, now)? {
            shown.push(summary);
        }
    }
    Ok((shown, bad))
}
