//! Mending: one finding after the other; what cannot be mended says why.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{Finding, Remedy, Request, find, mounts};
use crate::base::{Context as _, Error, Kind, Result};
use crate::operations::container::remove::{RemoveOptions, remove};
use crate::operations::container::stop::{StopOptions, stop};
use crate::operations::image;
use crate::operations::session::Session;
use crate::spec::digest::Digest;
use crate::state::container::{Container, Containers, Status, read_json, remove_tree};
use crate::storage::Store;
use crate::storage::volume::Volumes;

/// Mends each, and writes the outcome into it.
pub(super) fn each(session: &Session, store: &Store, request: &Request, findings: &mut [Finding]) {
    for finding in findings.iter_mut().filter(|f| f.outcome.is_none()) {
        let remedy = finding.remedy.clone();
        finding.outcome = Some(apply(session, store, request, remedy));
    }
}

fn apply(session: &Session, store: &Store, request: &Request, remedy: Remedy) -> Result<String> {
    match remedy {
        Remedy::None(why) => Err(Error::unsupported(why)),
        Remedy::ClearAway(path) => {
            store.clear_away(&path)?;
            Ok("removed".to_owned())
        }
        Remedy::Renew {
            parent,
            diff_id,
            blob,
            chain,
        } => {
            if let Some(name) = find::running_on(session, &chain)? {
                return Err(in_use(format!("container {name:?} runs on it"))
                    .hint(format!("coracle stop {name}")));
            }
            store.renew(parent.as_ref(), &diff_id, &blob)?;
            Ok("unpacked again".to_owned())
        }
        Remedy::RemoveBlob(digest) => {
            store.remove_blob(&digest)?;
            Ok("removed".to_owned())
        }
        Remedy::RemoveImage(id) => remove_image(session, request, &id),
        Remedy::SetNamesAside => {
            let aside = image::images(session).set_names_aside()?;
            Ok(format!(
                "moved to {}; `coracle tag` gives images names again",
                aside.display()
            ))
        }
        Remedy::Untag(name) => {
            image::images(session).untag(&[name])?;
            Ok("removed".to_owned())
        }
        Remedy::RemoveContainer(dir) => remove_container(session, request, &dir),
        Remedy::SweepContainers => {
            Containers::new(&session.dirs).sweep()?;
            Ok("removed".to_owned())
        }
        Remedy::SweepVolumes => {
            Volumes::new(&session.dirs).sweep()?;
            Ok("removed".to_owned())
        }
        Remedy::RenewVolume(name) => {
            Volumes::new(&session.dirs).renew(&name)?;
            Ok("its record is written anew, without labels and options".to_owned())
        }
        Remedy::SetAside(path) => {
            let mut aside = path.clone().into_os_string();
            aside.push(".damaged");
            fs::rename(&path, &aside).what(|| format!("cannot rename {}", path.display()))?;
            Ok(format!("moved to {}", Path::new(&aside).display()))
        }
        Remedy::Unmount(path) => mounts::unmount(&path),
        Remedy::Stop(id) => {
            if !request.force {
                return Err(in_use("it runs").hint("--force stops it; its next start mounts anew"));
            }
            let container = Containers::new(&session.dirs).find(&id)?;
            let options = StopOptions {
                timeout: Some(Duration::ZERO),
                signal: None,
            };
            stop(session, &container, &options)?;
            Ok("stopped".to_owned())
        }
    }
}

fn in_use(why: impl Into<String>) -> Error {
    Error::new(Kind::InUse, why)
}

fn remove_image(session: &Session, request: &Request, id: &Digest) -> Result<String> {
    let users = find::users(session, id)?;
    if !users.is_empty() && !request.force {
        let names: Vec<&str> = users.iter().map(Container::name).collect();
        return Err(in_use(format!("containers use it: {}", names.join(", ")))
            .hint("--force removes them, too; or bring it back with `coracle pull`"));
    }
    for container in &users {
        image::release::remove_container(session, container, Some(Duration::ZERO))?;
    }
    let names = image::images(session).remove(id)?.unwrap_or_default();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    Ok(match (names.is_empty(), users.len()) {
        (true, 0) => "removed".to_owned(),
        (false, 0) => format!("removed; it was {}", names.join(", ")),
        (_, n) => format!("removed with {n} containers; it was {}", names.join(", ")),
    })
}

fn remove_container(session: &Session, request: &Request, dir: &Path) -> Result<String> {
    if !request.force {
        return Err(
            in_use("it may have files that are nowhere else").hint(format!(
                "save what you need from {}/upper, then use --force",
                dir.display()
            )),
        );
    }
    let id = find::id_of(dir).ok_or_else(|| Error::internal("the folder is no container's"))?;
    let containers = Containers::new(&session.dirs);
    match containers.open(&id) {
        Ok(container) => {
            let options = RemoveOptions {
                force: true,
                volumes: false,
                depend: true,
                infra: true,
                time: Some(Duration::ZERO),
            };
            remove(session, container, &options)?;
        }
        Err(_) => {
            let status = session.dirs.runtime_containers().join(id.as_str());
            if let Ok(Some(status)) = read_json::<Status>(&status.join("status.json"))
                && status.monitor.is_alive()
            {
                return Err(in_use("it runs").hint(format!("kill {}", status.monitor.pid)));
            }
            let trash = session
                .dirs
                .containers()
                .join(format!(".removing-{}", id.as_str()));
            fs::rename(dir, &trash).what(|| format!("cannot remove {}", dir.display()))?;
            remove_tree(&trash)?;
            // Its name leads nowhere now, and its runtime folder is nobody's.
            containers.sweep()?;
        }
    }
    Ok("removed".to_owned())
}
