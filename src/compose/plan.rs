//! What `up` changes: which containers stay, go, are made, are made anew.

use std::collections::BTreeMap;

use super::project::{Keys, Project};

/// A container that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// Its full id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its service.
    pub service: String,
    /// Its number.
    pub number: usize,
    /// A container of `run`.
    pub oneoff: bool,
    /// The hash it was made with.
    pub hash: String,
    /// The image it was made of.
    pub image: String,
    /// It runs.
    pub running: bool,
    /// Something stands in front of it.
    pub behind: bool,
}

/// When containers are made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recreate {
    /// When their service or image changed.
    #[default]
    Diverged,
    /// Always.
    Force,
    /// Never.
    Never,
}

/// What is to be done with one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is made.
    Create {
        /// Its service.
        service: String,
        /// Its number.
        number: usize,
    },
    /// It is made anew, in the place of this one.
    Recreate {
        /// Its service.
        service: String,
        /// Its number.
        number: usize,
        /// The id of the one that goes.
        old: String,
    },
    /// It stays, and is started.
    Start {
        /// Its service.
        service: String,
        /// Its id.
        id: String,
    },
    /// It stays as it is.
    Keep {
        /// Its service.
        service: String,
        /// Its id.
        id: String,
    },
    /// It goes: there are too many of the service.
    Remove {
        /// Its service.
        service: String,
        /// Its id.
        id: String,
    },
}

impl Step {
    /// The service it is about.
    pub fn service(&self) -> &str {
        match self {
            Self::Create { service, .. }
            | Self::Recreate { service, .. }
            | Self::Start { service, .. }
            | Self::Keep { service, .. }
            | Self::Remove { service, .. } => service,
        }
    }
}

/// How a service is brought to what it should be.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Its name.
    pub service: &'a str,
    /// Its keys.
    pub keys: &'a Keys,
    /// How many containers.
    pub scale: usize,
    /// The id of its image as it is now; empty when it is not known.
    pub image: &'a str,
    /// When it is made anew.
    pub recreate: Recreate,
    /// Something that it shares a namespace with is made anew.
    pub joined_anew: bool,
    /// Something stands in front of its containers.
    pub behind: bool,
}

/// The steps for one service, in the order of their numbers.
pub fn service(wanted: &Wanted<'_>, present: &[Present]) -> Vec<Step> {
    let hash = Project::hash(wanted.keys);
    let own = present
        .iter()
        .filter(|p| p.service == wanted.service && !p.oneoff);
    let mut by_number: BTreeMap<usize, &Present> = BTreeMap::new();
    let mut steps = Vec::new();
    for one in own {
        let number = one.number.max(1);
        if by_number.insert(number, one).is_some() {
            // Two of one number: interrupted once. The later one stays.
            steps.push(Step::Remove {
                service: wanted.service.to_owned(),
                id: one.id.clone(),
            });
            by_number.insert(number, one);
        }
    }
    let surplus = by_number.len().saturating_sub(wanted.scale);
    let away: Vec<usize> = by_number.keys().rev().take(surplus).copied().collect();
    for number in away {
        if let Some(one) = by_number.remove(&number) {
            steps.push(Step::Remove {
                service: wanted.service.to_owned(),
                id: one.id.clone(),
            });
        }
    }
    let service = wanted.service.to_owned();
    let mut made = 0;
    for (number, one) in &by_number {
        made += 1;
        let diverged = one.hash != hash
            || one.behind != wanted.behind
            || wanted.joined_anew
            || (!wanted.image.is_empty() && !one.image.is_empty() && one.image != wanted.image);
        let anew = match wanted.recreate {
            Recreate::Force => true,
            Recreate::Never => false,
            Recreate::Diverged => diverged,
        };
        steps.push(match (anew, one.running) {
            (true, _) => Step::Recreate {
                service: service.clone(),
                number: *number,
                old: one.id.clone(),
            },
            (false, true) => Step::Keep {
                service: service.clone(),
                id: one.id.clone(),
            },
            (false, false) => Step::Start {
                service: service.clone(),
                id: one.id.clone(),
            },
        });
    }
    let mut number = 0;
    while made < wanted.scale {
        number += 1;
        if !by_number.contains_key(&number) {
            made += 1;
            steps.push(Step::Create {
                service: service.clone(),
                number,
            });
        }
    }
    steps
}

/// Containers of services that the project no longer has.
pub fn orphans<'a>(project: &Project, present: &'a [Present]) -> Vec<&'a Present> {
    present
        .iter()
        .filter(|p| {
            !p.oneoff
                && project.service(&p.service).is_err()
                && !project.disabled.contains_key(&p.service)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn present(number: usize, hash: &str, running: bool) -> Present {
        Present {
            id: format!("id{number}"),
            service: "a".to_owned(),
            number,
            hash: hash.to_owned(),
            image: "sha256:1".to_owned(),
            running,
            ..Present::default()
        }
    }

    #[test]
    fn only_what_changed_is_made_anew() {
        let keys = json!({"image": "i"});
        let keys = keys.as_object().unwrap();
        let hash = Project::hash(keys);
        let plan = |scale, image: &str, recreate, there: &[Present]| {
            let wanted = Wanted {
                service: "a",
                keys,
                scale,
                image,
                recreate,
                joined_anew: false,
                behind: false,
            };
            let word = |s: Step| match s {
                Step::Create { number, .. } => format!("create {number}"),
                Step::Recreate { old, .. } => format!("recreate {old}"),
                Step::Start { id, .. } => format!("start {id}"),
                Step::Keep { id, .. } => format!("keep {id}"),
                Step::Remove { id, .. } => format!("remove {id}"),
            };
            service(&wanted, there)
                .into_iter()
                .map(word)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let same = present(1, &hash, true);
        let usual = Recreate::Diverged;
        assert_eq!(plan(1, "sha256:1", usual, &[]), "create 1");
        assert_eq!(
            plan(1, "sha256:1", usual, std::slice::from_ref(&same)),
            "keep id1"
        );
        assert_eq!(
            plan(1, "sha256:2", usual, std::slice::from_ref(&same)),
            "recreate id1"
        );
        assert_eq!(
            plan(1, "", usual, &[present(1, "old", true)]),
            "recreate id1"
        );
        assert_eq!(
            plan(1, "", Recreate::Never, &[present(1, "old", false)]),
            "start id1"
        );
        assert_eq!(
            plan(1, "", Recreate::Force, std::slice::from_ref(&same)),
            "recreate id1"
        );
        assert_eq!(
            plan(3, "", usual, &[present(2, &hash, true)]),
            "keep id2, create 1, create 3"
        );
        assert_eq!(
            plan(1, "", usual, &[same.clone(), present(2, &hash, true)]),
            "remove id2, keep id1"
        );
        assert_eq!(plan(0, "", usual, &[same]), "remove id1");
    }
}
