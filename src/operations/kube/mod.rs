//! What manifests of Kubernetes come to: everything of a plan but pods and containers, which the
//! command line's own operations make.

pub mod apply;
pub mod attend;
pub mod generate;
pub mod timer;

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use super::container::stop::StopOptions;
use super::network::{self, CreateSpec};
use super::pod::{act, remove as pods};
use super::session::Session;
use super::{secret, service, volume};
use crate::base::fs::{self as files, Durability};
use crate::base::{Context as _, Error, Kind, Result};
use crate::kube::{self, Plan, Step, Volume};
use crate::secrets::Taken;
use crate::state::pod::{PodRecord, Pods};
use crate::state::service::Desired;
use crate::storage::volume::{VolumeSpec, Volumes};

/// Finds what an earlier manifest left as a secret of ours.
///
/// What cannot be read is not there: whoever needs it says so.
pub fn lookup(session: &Session, kind: &str, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
    if kind != "Secret" {
        return None;
    }
    let record = secret::find(session, name).ok()?;
    let data = secret::data(session, &record).ok()?;
    let text = String::from_utf8_lossy(data.expose()).into_owned();
    let object = kube::parse(&text, name).ok()?.into_iter().next()?;
    kube::data_of(&object).ok()
}

/// Makes what a step needs that is neither pod nor container.
///
/// # Errors
/// As `network create`, `volume create`, `secret create`; `Invalid` for a path of the host that is
/// not what it is to be.
pub fn prepare(session: &Session, step: &Step) -> Result<()> {
    match step {
        Step::Network(name) => {
            let spec = CreateSpec {
                name: Some(name.clone()),
                ignore: true,
                ..CreateSpec::default()
            };
            network::create(session, &spec).map(drop)
        }
        Step::Volume(wanted) => fill(session, wanted),
        Step::Secret { name, content } => secret::create(
            session,
            &secret::Create {
                name: name.clone(),
                source: secret::Source::Bytes(content.clone().into_bytes()),
                driver: None,
                options: BTreeMap::new(),
                labels: BTreeMap::new(),
                taken: Taken::Replace,
            },
        )
        .map(drop),
        Step::Service(wanted) => {
            let desired = Desired {
                labels: wanted.labels.clone(),
                networks: wanted.networks.clone(),
                names: wanted.names.clone(),
                ports: wanted.ports.clone(),
                publish: wanted.publish.clone(),
                ..Desired::default()
            };
            service::offer(session, &wanted.name, desired).map(drop)
        }
        Step::HostPath { path, kind } => host_path(Path::new(path), kind),
        Step::Pod { .. } | Step::Container { .. } | Step::Start(_) | Step::Timer(_) => Ok(()),
    }
}

fn fill(session: &Session, wanted: &Volume) -> Result<()> {
    let spec = VolumeSpec {
        name: Some(wanted.name.clone()),
        labels: wanted.labels.clone(),
        options: wanted.options.clone(),
        ..VolumeSpec::default()
    };
    let record = volume::create(session, &spec, true)?;
    let folder = Volumes::new(&session.dirs).data_path(&record.name);
    for file in &wanted.files {
        let path = folder.join(&file.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .what(|| format!("cannot create {}", parent.display()))?;
        }
        files::replace(&path, &file.bytes, file.mode & 0o777, Durability::Volatile)?;
        let mode = std::fs::Permissions::from_mode(file.mode & 0o777);
        std::fs::set_permissions(&path, mode)
            .what(|| format!("cannot set the mode of {}", path.display()))?;
    }
    Ok(())
}

fn host_path(path: &Path, kind: &str) -> Result<()> {
    let shown = path.display();
    let is = |right: fn(&std::fs::FileType) -> bool, what: &str| -> Result<()> {
        match std::fs::metadata(path) {
            Ok(m) if right(&m.file_type()) => Ok(()),
            Ok(_) => Err(Error::invalid(format!("hostPath {shown} is no {what}"))),
            Err(e) => Err(e).what(|| format!("hostPath {shown}: no such {what}")),
        }
    };
    match kind {
        "" => Ok(()),
        "DirectoryOrCreate" => {
            std::fs::create_dir_all(path).what(|| format!("cannot create {shown}"))
        }
        "FileOrCreate" => std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map(drop)
            .what(|| format!("cannot create {shown}")),
        "Directory" => is(std::fs::FileType::is_dir, "folder"),
        "File" => is(std::fs::FileType::is_file, "file"),
        "Socket" => is(std::fs::FileType::is_socket, "socket"),
        "CharDevice" => is(std::fs::FileType::is_char_device, "character device"),
        "BlockDevice" => is(std::fs::FileType::is_block_device, "block device"),
        other => Err(Error::invalid(format!("hostPath {shown}: no type {other:?}")).hint(
            "types are DirectoryOrCreate, Directory, FileOrCreate, File, Socket, CharDevice, BlockDevice",
        )),
    }
}

/// Fetches a manifest.
///
/// # Errors
/// What the server says.
pub fn fetch(session: &Session, address: &str) -> Result<Vec<u8>> {
    super::build::fetched(session, address)
}

/// Takes the services of a plan away; what is gone is no error.
///
/// # Errors
/// As `service rm`.
pub fn withdraw(session: &Session, plan: &Plan) -> Result<()> {
    for step in &plan.steps {
        if let Step::Service(wanted) = step {
            match service::find(session, &wanted.name) {
                Ok(record) if record.desired.options.is_none() => {
                    service::remove(session, &record)?;
                }
                // Another one of that name.
                Ok(_) => {}
                Err(e) if e.kind() == Kind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

/// What went.
#[derive(Debug, Default)]
pub struct Downed {
    /// Ids of pods that were stopped, in order.
    pub pods: Vec<String>,
    /// Names of secrets.
    pub secrets: Vec<String>,
    /// Names of volumes.
    pub volumes: Vec<String>,
    /// Names of CronJobs.
    pub timers: Vec<String>,
}

/// Stops a pod, with the time that each container has for it, and removes it.
///
/// # Errors
/// As `pod stop` and `pod rm`.
pub fn clear(session: &Session, pod: &PodRecord) -> Result<()> {
    act::stop(session, pod, &StopOptions::default())?;
    let options = pods::RemoveOptions {
        force: true,
        time: None,
    };
    pods::remove(session, pod, &options)
}

/// Takes away what a plan made. Volumes of claims stay without `force`; what is gone is no error.
///
/// # Errors
/// As `pod rm`, `secret rm`, `volume rm`.
pub fn down(session: &Session, plan: &Plan, force: bool) -> Result<Downed> {
    let mut gone = Downed::default();
    let records = Pods::new(&session.dirs);
    for step in plan.steps.iter().rev() {
        let pods = match step {
            Step::Pod { name, .. } => std::slice::from_ref(name),
            Step::Timer(wanted) => {
                if timer::remove(session, &wanted.name)? {
                    gone.timers.push(wanted.name.clone());
                }
                wanted.pods.as_slice()
            }
            _ => continue,
        };
        for name in pods {
            if let Some(pod) = records.get(&name.parse()?)? {
                clear(session, &pod)?;
                gone.pods.push(pod.id.to_string());
            }
        }
    }
    gone.pods.reverse();
    withdraw(session, plan)?;
    for step in &plan.steps {
        let missing = |e: &Error| e.kind() == Kind::NotFound;
        match step {
            Step::Secret { name, .. } => match secret::remove(session, name) {
                Ok(_) => gone.secrets.push(name.clone()),
                Err(e) if missing(&e) => {}
                Err(e) => return Err(e),
            },
            Step::Volume(v) if !v.keeps || force => {
                match Volumes::new(&session.dirs).find(&v.name) {
                    Ok(record) => {
                        volume::remove(session, record.name.as_str(), force, None)?;
                        gone.volumes.push(v.name.clone());
                    }
                    Err(e) if missing(&e) => {}
                    Err(e) => return Err(e),
                }
            }
            _ => {}
        }
    }
    Ok(gone)
}
