//! `pod create`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{event, infra};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result};
use crate::operations::container::names::{random_id, random_name};
use crate::operations::session::Session;
use crate::spec::id::ObjectName;
use crate::state::options::{ContainerOptions, NetworkMode, RestartPolicy};
use crate::state::pod::{ExitPolicy, Infra, PodRecord, Pods, Share};

/// How many names are tried before giving up.
const NAME_ATTEMPTS: u32 = 20;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `--name`; absent means a random one.
    pub name: Option<String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--share`.
    pub share: Vec<Share>,
    /// Everything that the containers share, as the options of the one that holds it; absent with
    /// `--infra=false`.
    pub infra: Option<Box<ContainerOptions>>,
    /// `--infra-name`.
    pub infra_name: Option<String>,
    /// `--exit-policy`.
    pub exit_policy: ExitPolicy,
    /// `--restart`.
    pub restart: RestartPolicy,
    /// `--pod-id-file`.
    pub id_file: Option<PathBuf>,
    /// `--replace`.
    pub replace: bool,
    /// The whole command line.
    pub create_command: Vec<String>,
}

/// Makes a pod with the container that holds its namespaces. Nothing runs yet.
///
/// # Errors
/// `Exists` when a name or the id file is taken; `Invalid` for what contradicts itself.
pub fn create(
    session: &Session,
    request: Request,
    warn: &mut dyn FnMut(&str),
) -> Result<PodRecord> {
    check(&request)?;
    let wanted: Option<ObjectName> = request.name.as_deref().map(str::parse).transpose()?;
    let pods = Pods::new(&session.dirs);
    if let (true, Some(name)) = (request.replace, &wanted)
        && let Some(old) = pods.get(name)?
    {
        let options = super::remove::RemoveOptions {
            force: true,
            ..Default::default()
        };
        super::remove::remove(session, &old, &options)
            .what(|| format!("cannot replace pod {:?}", name.as_str()))?;
    }
    let id = random_id()?;
    let infra_id = random_id()?;
    let mut attempt = 0;
    let record = loop {
        let name = match &wanted {
            Some(name) => name.clone(),
            None => random_name(attempt)?,
        };
        let holder = request.infra.as_ref().map(|asked| Infra {
            id: infra_id.clone(),
            options: Box::new(infra::options(
                &id,
                name.as_str(),
                request.infra_name.as_deref(),
                &request.share,
                (**asked).clone(),
            )),
        });
        let record = PodRecord {
            version: 1,
            id: id.clone(),
            name,
            created: Timestamp::now(),
            labels: request.labels.clone(),
            share: request.share.clone(),
            infra: holder,
            exit_policy: request.exit_policy,
            restart: request.restart,
            id_file: request.id_file.clone(),
            create_command: request.create_command.clone(),
        };
        match pods.create(&record) {
            Ok(()) => break record,
            Err(e) if e.kind() == Kind::Exists && wanted.is_none() && attempt < NAME_ATTEMPTS => {
                attempt += 1;
            }
            Err(e) => return Err(e),
        }
    };
    let made = record
        .infra
        .as_ref()
        .map_or(Ok(()), |i| infra::make(session, i, warn).map(drop))
        .and_then(|()| match &record.id_file {
            Some(file) => write_id(file, &record),
            None => Ok(()),
        });
    if let Err(e) = made {
        // Nobody saw it: what cannot be taken back now, `pod rm` takes.
        let options = super::remove::RemoveOptions {
            force: true,
            ..Default::default()
        };
        drop(super::remove::remove(session, &record, &options));
        return Err(e).what(|| format!("cannot make pod {:?}", record.name.as_str()));
    }
    event(session, &record, "create");
    Ok(record)
}

fn check(request: &Request) -> Result<()> {
    let Some(infra) = &request.infra else {
        if !request.share.is_empty() {
            return Err(Error::invalid(
                "--infra=false and --share contradict each other: nobody would hold what is shared",
            ));
        }
        return Ok(());
    };
    let net = &infra.network;
    let mode = &net.mode;
    if !request.share.contains(&Share::Net)
        && (!net.publish.is_empty() || *mode != NetworkMode::Default)
    {
        return Err(Error::invalid(
            "--network and --publish are for pods that share their network",
        )
        .hint("add net to --share"));
    }
    if let Some(file) = &request.id_file
        && file.exists()
    {
        return Err(Error::new(
            Kind::Exists,
            format!("pod id file {} exists", file.display()),
        )
        .hint("remove it, or make sure that the other pod is gone"));
    }
    Ok(())
}

fn write_id(file: &Path, pod: &PodRecord) -> Result<()> {
    let what = || format!("cannot write pod id file {}", file.display());
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .and_then(|mut f| f.write_all(pod.id.as_str().as_bytes()))
        .what(what)
}
