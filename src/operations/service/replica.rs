//! Replicas: containers that bear a service's labels.

use std::collections::BTreeMap;

use super::plan::Present;
use crate::base::{Result, random};
use crate::operations::container::summary::Summary;
use crate::operations::session::Session;
use crate::state::container::Containers;
use crate::state::options::{ContainerOptions, RestartPolicy};
use crate::state::service::{
    REVISION, SERVICE_ID, SERVICE_NAME, SLOT, ServiceRecord, TASK_ID, TASK_NAME,
};

/// A container of a service.
#[derive(Clone, Debug)]
pub struct Replica {
    /// What is known of it.
    pub summary: Summary,
    /// Which it is, from 1.
    pub slot: u32,
    /// What it was made from.
    pub revision: u64,
}

impl Replica {
    fn of(summary: Summary) -> Self {
        let number = |key: &str| summary.label(key).and_then(|n| n.parse().ok());
        let slot = number(SLOT).and_then(|n| u32::try_from(n).ok());
        Self {
            slot: slot.unwrap_or(0),
            revision: number(REVISION).unwrap_or(0),
            summary,
        }
    }

    /// Whether it does what it should.
    pub fn is_ready(&self) -> bool {
        let drained = self.summary.status.as_ref().is_some_and(|s| s.drained);
        self.summary.state == crate::state::container::State::Running
            && !drained
            && matches!(self.summary.health(), "none" | "healthy")
    }

    pub(super) fn present(&self) -> Present {
        let status = self.summary.status.as_ref();
        Present {
            id: self.summary.container.id().to_string(),
            slot: self.slot,
            revision: self.revision,
            active: self.summary.state.is_active(),
            drained: status.is_some_and(|s| s.drained),
        }
    }
}

/// The replicas of all services, by the services' ids, slots in order.
///
/// # Errors
/// What the kernel says.
pub fn all_replicas(session: &Session) -> Result<BTreeMap<String, Vec<Replica>>> {
    let mut all: BTreeMap<String, Vec<Replica>> = BTreeMap::new();
    for container in Containers::new(&session.dirs).list()?.0 {
        let labels = &container.record.options.labels;
        if let (Some(id), true) = (labels.get(SERVICE_ID).cloned(), labels.contains_key(SLOT)) {
            let replica = Replica::of(Summary::of(container)?);
            all.entry(id).or_default().push(replica);
        }
    }
    for list in all.values_mut() {
        list.sort_by_key(|r| (r.slot, r.revision, r.summary.container.record.created));
    }
    Ok(all)
}

/// The replicas of one service.
///
/// # Errors
/// What the kernel says.
pub fn replicas(session: &Session, service: &ServiceRecord) -> Result<Vec<Replica>> {
    Ok(all_replicas(session)?
        .remove(service.id.as_str())
        .unwrap_or_default())
}

/// What the replica in a slot is made with. docker's placeholders are filled in where docker does it:
/// in variables, in the host name, in mounts.
///
/// # Errors
/// What the kernel says of random numbers.
pub(super) fn options(
    service: &ServiceRecord,
    from: &ContainerOptions,
    slot: u32,
) -> Result<ContainerOptions> {
    let task = crate::spec::digest::hex(&random::bytes::<6>()?);
    let name = format!("{}.{slot}.{task}", service.name);
    let mut options = from.clone();
    let values: [(&str, &str); 5] = [
        (".Service.ID", service.id.as_str()),
        (".Service.Name", service.name.as_str()),
        (".Task.ID", &task),
        (".Task.Name", &name),
        (".Task.Slot", &slot.to_string()),
    ];
    let fill = |text: &mut String| {
        if text.contains("{{") {
            for (key, value) in values {
                *text = text
                    .replace(&format!("{{{{{key}}}}}"), value)
                    .replace(&format!("{{{{ {key} }}}}"), value);
            }
        }
    };
    options.env.iter_mut().for_each(fill);
    options.hostname.iter_mut().for_each(fill);
    for mount in &mut options.mounts {
        use crate::state::options::MountSource;
        match &mut mount.source {
            MountSource::Volume {
                name: Some(name), ..
            } => fill(name),
            MountSource::Bind { path, .. } => {
                let mut text = path.to_string_lossy().into_owned();
                if text.contains("{{") {
                    fill(&mut text);
                    *path = text.into();
                }
            }
            _ => {}
        }
    }
    for (key, value) in [
        (SERVICE_ID, service.id.to_string()),
        (SERVICE_NAME, service.name.to_string()),
        (TASK_ID, task.clone()),
        (TASK_NAME, name.clone()),
        (SLOT, slot.to_string()),
        (REVISION, service.desired.revision.to_string()),
    ] {
        options.labels.insert(key.to_owned(), value);
    }
    options.name = Some(name);
    options.network.services = vec![service.name.to_string()];
    if options.restart == RestartPolicy::UnlessStopped {
        options.restart = RestartPolicy::Always;
    }
    Ok(options)
}
