//! What `volume …` does.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::os::fd::AsFd as _;

use super::session::Session;
use crate::base::filter::{Filters, label_matches, point_in_time};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result};
use crate::events::{Event, Type};
use crate::runtime::userns::{Want, enter};
use crate::state::container::{Container, Containers};
use crate::storage::copy::{self, CopyIn, Owner};
pub use crate::storage::volume::{VolumeRecord, VolumeSpec, Volumes};

/// Keys of `volume ls --filter`.
pub const FILTERS: &[&str] = &[
    "dangling",
    "driver",
    "label",
    "name",
    "opt",
    "scope",
    "since",
    "after",
    "until",
    "anonymous",
];

/// Keys of `volume prune --filter`.
pub const PRUNE_FILTERS: &[&str] = &[
    "label",
    "all",
    "since",
    "after",
    "until",
    "anonymous",
    "name",
    "driver",
    "opt",
];

/// Makes a volume; with `ignore` one of that name is left alone.
///
/// # Errors
/// `Exists`, `Invalid`, `Unsupported`; what the kernel says.
pub fn create(session: &Session, spec: &VolumeSpec, ignore: bool) -> Result<VolumeRecord> {
    let volumes = Volumes::new(&session.dirs);
    // Other owners than the caller are there only inside the user namespace.
    if spec
        .options
        .keys()
        .any(|k| matches!(k.as_str(), "uid" | "gid" | "UID" | "GID" | "o"))
    {
        enter(&session.dirs, Want::Default)?;
    }
    match volumes.create(spec) {
        Ok(record) => {
            event(session, "create", &record);
            Ok(record)
        }
        Err(e) if ignore && e.kind() == Kind::Exists => {
            find(session, spec.name.as_deref().unwrap_or_default())
        }
        Err(e) => Err(e),
    }
}

/// One by name or unique prefix.
///
/// # Errors
/// `NotFound`; `Invalid` for a prefix of several.
pub fn find(session: &Session, name: &str) -> Result<VolumeRecord> {
    Volumes::new(&session.dirs).find(name)
}

/// Whether there is one of exactly this name.
///
/// # Errors
/// `Corrupt` for a damaged record.
pub fn exists(session: &Session, name: &str) -> Result<bool> {
    Ok(Volumes::new(&session.dirs).get(name)?.is_some())
}

/// Where its files are.
pub fn mount_point(session: &Session, record: &VolumeRecord) -> String {
    Volumes::new(&session.dirs)
        .data_path(&record.name)
        .display()
        .to_string()
}

/// The containers of each volume, by the volume's name.
///
/// # Errors
/// What the kernel says.
pub fn users(session: &Session) -> Result<BTreeMap<String, Vec<Container>>> {
    let (containers, _) = Containers::new(&session.dirs).list()?;
    Ok(users_among(&containers))
}

/// As [`users`], of these containers.
pub fn users_among(containers: &[Container]) -> BTreeMap<String, Vec<Container>> {
    let mut users: BTreeMap<String, Vec<Container>> = BTreeMap::new();
    for container in containers {
        let names: BTreeSet<String> = container
            .record
            .volumes
            .iter()
            .map(|v| v.name.clone())
            .collect();
        for name in names {
            users.entry(name).or_default().push(container.clone());
        }
    }
    users
}

/// The volumes that pass the filters, by name.
///
/// # Errors
/// `Invalid` for a bad filter value.
pub fn list(session: &Session, filters: &Filters) -> Result<Vec<VolumeRecord>> {
    let users = if filters.0.iter().any(|f| f.key == "dangling") {
        users(session)?
    } else {
        BTreeMap::new()
    };
    let all = Volumes::new(&session.dirs);
    let mut records = Vec::new();
    for record in all.list()? {
        if passes(&all, &record, &users, filters)? {
            records.push(record);
        }
    }
    Ok(records)
}

fn passes(
    all: &Volumes,
    record: &VolumeRecord,
    users: &BTreeMap<String, Vec<Container>>,
    filters: &Filters,
) -> Result<bool> {
    let now = Timestamp::now();
    filters.accept(|key, value| {
        Ok(match key {
            "dangling" => flag(value)? != users.contains_key(record.name.as_str()),
            "anonymous" => flag(value)? == record.anonymous,
            "all" => true,
            "driver" => record.driver == value,
            "scope" => value == "local",
            "name" => record.name.as_str().contains(value),
            "label" => label_matches(&record.labels, value),
            "opt" => label_matches(&record.options, value),
            "since" | "after" => record.created > moment(all, value, now)?,
            _ => record.created < moment(all, value, now)?,
        })
    })
}

/// A point in time, or when the volume of that name was made.
fn moment(all: &Volumes, value: &str, now: Timestamp) -> Result<Timestamp> {
    match all.get(value)? {
        Some(record) => Ok(record.created),
        None => point_in_time(value, now),
    }
}

fn flag(value: &str) -> Result<bool> {
    match value {
        "1" | "true" | "True" | "TRUE" | "t" => Ok(true),
        "0" | "false" | "False" | "FALSE" | "f" => Ok(false),
        _ => Err(Error::invalid(format!(
            "invalid filter value {value:?}: expected true or false"
        ))),
    }
}

/// Removes one; with `force` its containers go first, each with `time` to stop, else killed.
///
/// # Errors
/// `NotFound`; `InUse` while containers have it.
pub fn remove(
    session: &Session,
    name: &str,
    force: bool,
    time: Option<std::time::Duration>,
) -> Result<VolumeRecord> {
    let record = find(session, name)?;
    let mut users = users(session)?
        .remove(record.name.as_str())
        .unwrap_or_default();
    if let (Some(first), false) = (users.first(), force) {
        let ids: Vec<&str> = users.iter().map(|c| c.id().short()).collect();
        let hint = format!(
            "coracle rm {} removes the container, `volume rm --force` both",
            first.name()
        );
        return Err(Error::new(
            Kind::InUse,
            format!(
                "volume {:?} is used by the containers {}",
                record.name.as_str(),
                ids.join(", ")
            ),
        )
        .hint(hint)
        .exit_code(2));
    }
    for container in users.drain(..) {
        super::image::release::remove_container(session, &container, time)?;
    }
    enter(&session.dirs, Want::Default)?;
    match Volumes::new(&session.dirs).remove(&record.name) {
        // An anonymous one went with its container.
        Err(e) if force && e.kind() == Kind::NotFound => {}
        other => other?,
    }
    event(session, "remove", &record);
    Ok(record)
}

/// What `volume prune` removed.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// Names.
    pub names: Vec<String>,
    /// Bytes the disk got back.
    pub bytes: u64,
}

/// Removes the volumes that no container has and that pass the filters: anonymous ones, or all.
///
/// # Errors
/// What listing says; a volume that cannot be removed is passed over.
pub fn prune(session: &Session, all: bool, filters: &Filters) -> Result<Pruned> {
    enter(&session.dirs, Want::Default)?;
    let volumes = Volumes::new(&session.dirs);
    volumes.sweep()?;
    let users = users(session)?;
    let mut pruned = Pruned::default();
    for record in volumes.list()? {
        let wanted = (all || record.anonymous) && !users.contains_key(record.name.as_str());
        if !wanted || !passes(&volumes, &record, &users, filters)? {
            continue;
        }
        let bytes = volumes.weight(&record).unwrap_or(0);
        match volumes.remove(&record.name) {
            Ok(()) => {
                event(session, "remove", &record);
                pruned.names.push(record.name.to_string());
                pruned.bytes += bytes;
            }
            // Taken by a container, or removed, in this moment.
            Err(e) if matches!(e.kind(), Kind::InUse | Kind::NotFound) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(pruned)
}

/// Writes the volume's content as a tar.
///
/// # Errors
/// `NotFound`; what the kernel or the sink says.
pub fn export(session: &Session, name: &str, sink: &mut dyn Write) -> Result<()> {
    let record = find(session, name)?;
    enter(&session.dirs, Want::Default)?;
    let mounted = Volumes::new(&session.dirs).mount(&record, None)?;
    copy::copy_out(mounted.tree.as_fd(), "/", false, "", None, sink)
        .what(|| format!("cannot export volume {:?}", record.name.as_str()))
}

/// Unpacks a tar (plain, gzip or zstd) into the volume.
///
/// # Errors
/// `NotFound`; `Invalid` for a hostile or damaged tar.
pub fn import(session: &Session, name: &str, tar: &mut dyn Read) -> Result<()> {
    let record = find(session, name)?;
    enter(&session.dirs, Want::Default)?;
    let mounted = Volumes::new(&session.dirs).mount(&record, None)?;
    let options = CopyIn {
        owner: Owner::Keep,
        maps: None,
        overwrite: true,
    };
    copy::copy_in(tar, mounted.tree.as_fd(), "/", &options)
        .what(|| format!("cannot import into volume {:?}", record.name.as_str()))
}

fn event(session: &Session, action: &str, record: &VolumeRecord) {
    if let Some(journal) = super::container::events::journal(session) {
        let name = record.name.as_str();
        let mut event = Event::new(Type::Volume, action, name, name);
        event.attributes = record.labels.clone();
        journal.write(&event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_hold_as_podman_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = crate::config::dirs::Dirs::new(dir.path().to_owned(), dir.path().join("run"));
        let all = Volumes::new(&dirs);
        let labels = BTreeMap::from([("tier".to_owned(), "db".to_owned())]);
        let spec = VolumeSpec {
            name: Some("data".to_owned()),
            labels,
            ..VolumeSpec::default()
        };
        let record = all.create(&spec).unwrap();
        let none = BTreeMap::new();
        let passes = |texts: &[&str]| {
            passes(
                &all,
                &record,
                &none,
                &Filters::parse(texts, FILTERS).unwrap(),
            )
            .unwrap()
        };
        assert!(passes(&[]));
        assert!(passes(&[
            "label=tier",
            "label=tier=db",
            "name=at",
            "driver=local",
            "scope=local"
        ]));
        assert!(
            passes(&["dangling=true", "anonymous=false", "until=1s"]) || passes(&["dangling=true"])
        );
        assert!(!passes(&["dangling=false"]));
        assert!(!passes(&["label=tier=web"]));
        assert!(!passes(&["label!=tier"]));
        assert!(!passes(&["anonymous=true"]));
        assert!(!passes(&["since=data"]));
        assert!(flag("maybe").is_err());
    }
}
