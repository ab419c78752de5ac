//! Id maps as values: translation, composition, keep-id. Pure.

use serde::{Deserialize, Serialize};

use super::runtime::IdMapping;

/// The two maps of a user namespace, lines as in `/proc/PID/uid_map`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMaps {
    /// User ids.
    pub uids: Vec<IdMapping>,
    /// Group ids.
    pub gids: Vec<IdMapping>,
}

/// Translates an id from inside to outside.
pub fn to_host(map: &[IdMapping], id: u32) -> Option<u32> {
    map.iter().find_map(|m| {
        let offset = id.checked_sub(m.container_id)?;
        (offset < m.size).then(|| m.host_id.checked_add(offset))?
    })
}

/// Translates an id from outside to inside.
pub fn to_container(map: &[IdMapping], id: u32) -> Option<u32> {
    map.iter().find_map(|m| {
        let offset = id.checked_sub(m.host_id)?;
        (offset < m.size).then(|| m.container_id.checked_add(offset))?
    })
}

/// How many ids a map has.
pub fn total(map: &[IdMapping]) -> u64 {
    map.iter().map(|m| u64::from(m.size)).sum()
}

impl IdMaps {
    /// Whether only one uid is mapped: no subordinate ids.
    pub fn is_single(&self) -> bool {
        total(&self.uids) <= 1
    }

    /// The text for `/proc/PID/uid_map` or `gid_map`.
    pub fn render(map: &[IdMapping]) -> String {
        map.iter()
            .map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size))
            .collect()
    }

    /// Parses the text of `/proc/PID/uid_map` or `gid_map`.
    pub fn parse(text: &str) -> Vec<IdMapping> {
        text.lines()
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace().map(str::parse);
                match (words.next(), words.next(), words.next()) {
                    (Some(Ok(container_id)), Some(Ok(host_id)), Some(Ok(size))) => {
                        Some(IdMapping {
                            container_id,
                            host_id,
                            size,
                        })
                    }
                    _ => None,
                }
            })
            .collect()
    }
}
