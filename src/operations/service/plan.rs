//! What is to be done with the replicas of a service. Pure.

use std::collections::BTreeMap;

/// A replica that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Present {
    /// Its container's id.
    pub id: String,
    /// Which it is, from 1.
    pub slot: u32,
    /// What it was made from.
    pub revision: u64,
    /// It runs, or its monitor is about to start it again.
    pub active: bool,
    /// It takes no new connections.
    pub drained: bool,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is as it should be, but takes no connections: it does again.
    Welcome(String),
    /// It is started again.
    Start(String),
    /// One more.
    Create(u32),
    /// An outdated one makes room for a new one, which may be there from an update that was
    /// interrupted.
    Replace {
        /// Which.
        slot: u32,
        /// The ids of those that go.
        old: Vec<String>,
        /// The id of the one that stays, where there is one.
        new: Option<String>,
    },
    /// It goes.
    Remove(String),
}

/// The steps to so many replicas of a revision, slots in order.
pub(super) fn plan(revision: u64, replicas: u32, present: &[Present]) -> Vec<Step> {
    let mut slots: BTreeMap<u32, Vec<&Present>> = BTreeMap::new();
    for one in present {
        slots.entry(one.slot).or_default().push(one);
    }
    let mut steps = Vec::new();
    for slot in 1..=replicas {
        let all = slots.remove(&slot).unwrap_or_default();
        let (mut new, old): (Vec<&Present>, Vec<&Present>) =
            all.into_iter().partition(|p| p.revision == revision);
        // Of several the one that runs.
        new.sort_by_key(|p| !p.active);
        let mut new = new.into_iter();
        let keep = new.next();
        steps.extend(new.map(|p| Step::Remove(p.id.clone())));
        match (keep, old.is_empty()) {
            (None, true) => steps.push(Step::Create(slot)),
            (Some(one), true) if !one.active => steps.push(Step::Start(one.id.clone())),
            (Some(one), true) if one.drained => steps.push(Step::Welcome(one.id.clone())),
            (Some(_), true) => {}
            (keep, false) => steps.push(Step::Replace {
                slot,
                old: old.iter().map(|p| p.id.clone()).collect(),
                new: keep.map(|p| p.id.clone()),
            }),
        }
    }
    let rest = slots.into_values().flatten();
    steps.extend(rest.map(|p| Step::Remove(p.id.clone())));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(slot: u32, revision: u64, active: bool) -> Present {
        Present {
            id: format!("{slot}.{revision}"),
            slot,
            revision,
            active,
            drained: false,
        }
    }

    #[test]
    fn replicas_become_as_many_and_as_new_as_they_should_be() {
        let word = |step: Step| match step {
            Step::Welcome(id) => format!("welcome {id}"),
            Step::Start(id) => format!("start {id}"),
            Step::Create(slot) => format!("create {slot}"),
            Step::Replace { slot, old, new } => {
                format!(
                    "replace {slot}: {} by {}",
                    old.join("+"),
                    new.unwrap_or_default()
                )
            }
            Step::Remove(id) => format!("remove {id}"),
        };
        let said = |replicas, all: &[Present]| {
            let words: Vec<String> = plan(2, replicas, all).into_iter().map(word).collect();
            words.join(", ")
        };
        let good = present(1, 2, true);
        assert_eq!(said(2, &[]), "create 1, create 2");
        assert_eq!(said(1, std::slice::from_ref(&good)), "");
        assert_eq!(said(1, &[present(1, 2, false)]), "start 1.2");
        assert_eq!(said(1, &[good.clone(), present(2, 1, true)]), "remove 2.1");
        assert_eq!(
            said(2, &[present(1, 1, true), present(2, 1, true)]),
            "replace 1: 1.1 by , replace 2: 2.1 by "
        );
        // Interrupted in the middle of one.
        assert_eq!(
            said(1, &[present(1, 1, true), good.clone()]),
            "replace 1: 1.1 by 1.2"
        );
        let drained = Present {
            drained: true,
            ..good
        };
        assert_eq!(said(1, std::slice::from_ref(&drained)), "welcome 1.2");
        // Two of the same: the one that runs stays.
        let other = Present {
            id: "x".to_owned(),
            ..present(1, 2, false)
        };
        assert_eq!(said(1, &[other, drained]), "remove x, welcome 1.2");
    }
}
