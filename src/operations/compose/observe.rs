//! What is there of a project.

use crate::base::Result;
use crate::compose::convert;
use crate::compose::plan::Present;
use crate::compose::project::Dependency;
use crate::operations::session::Session;
use crate::state::container::{Container, Containers, State};

/// A container of a project.
#[derive(Clone, Debug)]
pub struct Member {
    /// The container.
    pub container: Container,
    /// How it is.
    pub state: State,
    /// What plans need to know.
    pub present: Present,
}

impl Member {
    fn of(container: Container) -> Result<Self> {
        let state = container.state()?;
        let record = &container.record;
        let label = |key: &str| record.options.labels.get(key).cloned().unwrap_or_default();
        let present = Present {
            id: container.id().to_string(),
            name: container.name().to_owned(),
            service: label(convert::SERVICE),
            number: label(convert::NUMBER).parse().unwrap_or(1),
            oneoff: label(convert::ONEOFF).eq_ignore_ascii_case("true"),
            hash: label(convert::HASH),
            image: record
                .image
                .as_ref()
                .map_or_else(String::new, |i| i.id.to_string()),
            running: state.is_active(),
            behind: !record.options.network.services.is_empty(),
        };
        Ok(Self {
            container,
            state,
            present,
        })
    }

    /// A label.
    pub fn label(&self, key: &str) -> &str {
        self.container
            .record
            .options
            .labels
            .get(key)
            .map_or("", String::as_str)
    }

    /// What its service needed when it was made.
    pub fn dependencies(&self) -> Vec<Dependency> {
        self.label(convert::DEPENDS)
            .split(',')
            .filter(|w| !w.is_empty())
            .map(|word| {
                let mut parts = word.split(':');
                Dependency {
                    service: parts.next().unwrap_or_default().to_owned(),
                    condition: parts.next().unwrap_or("service_started").to_owned(),
                    restart: parts.next() == Some("true"),
                    required: true,
                }
            })
            .collect()
    }
}

/// The containers of all projects, those of `run` too, in the order of services and numbers.
///
/// # Errors
/// What the kernel says.
pub fn all(session: &Session) -> Result<Vec<Member>> {
    let (list, _) = Containers::new(&session.dirs).list()?;
    let mut members = Vec::new();
    for container in list {
        if container
            .record
            .options
            .labels
            .contains_key(convert::PROJECT)
        {
            members.push(Member::of(container)?);
        }
    }
    members.sort_by(|a, b| {
        let key = |m: &Member| {
            (
                m.present.service.clone(),
                m.present.oneoff,
                m.present.number,
            )
        };
        key(a)
            .cmp(&key(b))
            .then_with(|| a.present.name.cmp(&b.present.name))
    });
    Ok(members)
}

/// The containers of a project; as [`all`].
///
/// # Errors
/// What the kernel says.
pub fn members(session: &Session, project: &str) -> Result<Vec<Member>> {
    let mut members = all(session)?;
    members.retain(|m| m.label(convert::PROJECT) == project);
    Ok(members)
}
