//! A container's place in a pod: what it takes over from it, and that the pod's namespaces are
//! there when it starts.

use std::path::PathBuf;

use crate::base::failpoint::failpoint;
use crate::base::{Error, Kind, Result};
use crate::operations::pod::{self, infra};
use crate::operations::session::Session;
use crate::state::container::{Container, Containers, ExitRecord, State};
use crate::state::options::{
    ContainerOptions, NamespaceMode, NetworkMode, NetworkOptions, Resources, RestartPolicy,
    SecurityOptions, UsernsMode,
};
use crate::state::pod::{ExitPolicy, PodRecord, Pods, Share};

/// Before a container is made to be run at once: makes the pod that `new:` asks for, and sees to it
/// that the pod's namespaces are there.
///
/// # Errors
/// `NotFound` without such a pod; as making and starting the one that holds them.
pub(super) fn ready(
    session: &Session,
    options: &mut ContainerOptions,
    warn: &mut dyn FnMut(&str),
) -> Result<()> {
    if options.infra {
        return Ok(());
    }
    if options.pod.is_some() && options.init_ctr.is_some() {
        return Err(
            Error::invalid("--init-ctr: such a container runs when its pod starts")
                .hint("make it with `coracle create`, then `coracle pod start`"),
        );
    }
    match settle(session, options)? {
        Some(pod) => infra::ensure(session, &pod, warn),
        None => Ok(()),
    }
}

/// Before a container is started: the pod's namespaces are there.
///
/// # Errors
/// As [`ready`].
pub(super) fn ready_for(
    session: &Session,
    container: &Container,
    warn: &mut dyn FnMut(&str),
) -> Result<()> {
    match pod_of(session, container)? {
        Some(pod) if !container.record.options.infra => infra::ensure(session, &pod, warn),
        _ => Ok(()),
    }
}

/// As [`ready_for`], once more with the container's lock: until then the last other one of the pod
/// may have ended, and the namespaces with it.
///
/// # Errors
/// As [`ready`].
pub(super) fn ready_still(
    session: &Session,
    container: &Container,
    warn: &mut dyn FnMut(&str),
) -> Result<()> {
    match pod_of(session, container)? {
        Some(pod) if !container.record.options.infra && pod.exit_policy == ExitPolicy::Stop => {
            infra::ensure(session, &pod, warn)?;
            failpoint("pod::held")
        }
        _ => Ok(()),
    }
}

/// The pod that a container is in.
///
/// # Errors
/// `NotFound` when its record is gone.
pub(super) fn pod_of(session: &Session, container: &Container) -> Result<Option<PodRecord>> {
    let id = container.record.options.pod.as_deref();
    id.map(|id| Pods::new(&session.dirs).find(id)).transpose()
}

/// The name of the pod whose namespaces this container holds, if it does.
///
/// # Errors
/// `Corrupt` for damaged records.
pub(super) fn held_by(session: &Session, container: &Container) -> Result<Option<String>> {
    if !container.record.options.infra {
        return Ok(None);
    }
    match pod_of(session, container) {
        Ok(pod) => Ok(pod.map(|p| p.name.to_string())),
        // The pod is gone, so nobody needs it.
        Err(e) if e.kind() == Kind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The control group that a container shares with the others of its pod: where the pod has limits.
///
/// # Errors
/// `NotFound` when the pod is gone; damaged records.
pub(super) fn shared_group(session: &Session, container: &Container) -> Result<Option<PathBuf>> {
    if container.record.options.infra {
        return Ok(None);
    }
    let Some(infra) = pod_of(session, container)?.and_then(|pod| pod.infra) else {
        return Ok(None);
    };
    if infra.options.resources == Resources::default() {
        return Ok(None);
    }
    let holder = Containers::new(&session.dirs).open(&infra.id)?;
    let group = holder.status()?.and_then(|status| status.cgroup);
    Ok(group.as_deref().and_then(crate::cgroup::of_holder))
}

/// Finds the pod, or makes it; from then on the options have its id.
fn settle(session: &Session, options: &mut ContainerOptions) -> Result<Option<PodRecord>> {
    let Some(text) = options.pod.as_deref() else {
        return Ok(None);
    };
    let pod = match text.strip_prefix("new:") {
        None => Pods::new(&session.dirs).find(text)?,
        Some(name) => {
            // Network, IPC and names are the pod's: the container shares them.
            const SHARED: [&str; 3] = ["net.", "kernel.", "fs.mqueue."];
            let sysctls = std::mem::take(&mut options.sysctls);
            let (net, own) = sysctls
                .into_iter()
                .partition(|(k, _)| SHARED.iter().any(|p| k.starts_with(p)));
            options.sysctls = own;
            let infra = ContainerOptions {
                sysctls: net,
                network: std::mem::take(&mut options.network),
                hostname: options.hostname.take(),
                cgroup_manager: options.cgroup_manager,
                ..ContainerOptions::default()
            };
            let request = pod::create::Request {
                name: Some(name.to_owned()).filter(|n| !n.is_empty()),
                share: Share::USUAL.to_vec(),
                infra: Some(Box::new(infra)),
                create_command: options.create_command.clone(),
                ..pod::create::Request::default()
            };
            pod::create::create(session, request, &mut |_| ())?
        }
    };
    options.pod = Some(pod.id.to_string());
    Ok(Some(pod))
}

/// What a container takes over from its pod.
///
/// # Errors
/// `NotFound` without such a pod; `Invalid` for options that are the pod's to have.
pub(super) fn join(session: &Session, options: &mut ContainerOptions) -> Result<Option<PodRecord>> {
    if options.infra {
        return Ok(None);
    }
    let Some(pod) = settle(session, options)? else {
        return match options.init_ctr {
            Some(_) => Err(Error::invalid(
                "--init-ctr is for containers of a pod: --pod is missing",
            )),
            None => Ok(None),
        };
    };
    if let Some(infra) = &pod.infra {
        adopt(&pod, infra.id.as_str(), &infra.options, options)?;
    }
    if options.restart == RestartPolicy::No && !options.remove && options.init_ctr.is_none() {
        options.restart = pod.restart;
    }
    if options.init_ctr.is_some() {
        if options.restart != RestartPolicy::No {
            return Err(Error::invalid(
                "--init-ctr and --restart contradict each other: it runs to its end",
            ));
        }
        let active = pod::members(session, &pod)?
            .iter()
            .any(|c| c.state().is_ok_and(State::is_active));
        if active {
            return Err(Error::new(
                Kind::InUse,
                format!(
                    "cannot add a container with --init-ctr to pod {:?}: it runs",
                    pod.name.as_str()
                ),
            )
            .hint(format!("coracle pod stop {}", pod.name)));
        }
    }
    Ok(Some(pod))
}

/// Namespaces, mounts and devices of the pod. Pure.
fn adopt(
    pod: &PodRecord,
    holder: &str,
    shared: &ContainerOptions,
    options: &mut ContainerOptions,
) -> Result<()> {
    let name = pod.name.as_str();
    let refuse = |flag: &str| -> Result<()> {
        Err(Error::invalid(format!(
            "{flag} cannot be used with --pod {name}: that is the pod's"
        ))
        .hint(format!("give {flag} to `coracle pod create`")))
    };
    if pod.shares(Share::Net) {
        let net = &options.network;
        if !matches!(net.mode, NetworkMode::Default) {
            return refuse("--network");
        }
        if !net.publish.is_empty() || net.publish_all {
            return refuse("--publish");
        }
        if !net.dns.is_empty() || !net.dns_search.is_empty() || !net.dns_options.is_empty() {
            return refuse("--dns");
        }
        if !net.add_hosts.is_empty() {
            return refuse("--add-host");
        }
        options.network = NetworkOptions {
            mode: NetworkMode::Container(holder.to_owned()),
            ..std::mem::take(&mut options.network)
        };
    }
    if pod.shares(Share::Uts) && options.uts == NamespaceMode::Default && options.hostname.is_some()
    {
        return refuse("--hostname");
    }
    for (share, mode) in [
        (Share::Ipc, &mut options.ipc),
        (Share::Uts, &mut options.uts),
        (Share::Pid, &mut options.pid),
        (Share::Cgroup, &mut options.cgroupns),
    ] {
        if pod.shares(share) && *mode == NamespaceMode::Default {
            *mode = NamespaceMode::Container(holder.to_owned());
        }
    }
    if options.userns_asked || options.userns != UsernsMode::Host {
        return refuse("--userns");
    }
    if shared.userns != UsernsMode::Host {
        options.userns = UsernsMode::Container(holder.to_owned());
    }
    for mount in &shared.mounts {
        let taken = options
            .mounts
            .iter()
            .any(|m| m.destination == mount.destination);
        if !taken {
            options.mounts.push(mount.clone());
        }
    }
    options
        .volumes_from
        .extend(shared.volumes_from.iter().cloned());
    options.devices.extend(shared.devices.iter().cloned());
    options
        .cdi_devices
        .extend(shared.cdi_devices.iter().cloned());
    options.gpus.extend(shared.gpus.iter().cloned());
    if options.security == SecurityOptions::default() {
        options.security = shared.security.clone();
    }
    options.shm_size_systemd = options.shm_size_systemd.or(shared.shm_size_systemd);
    if options.cgroup_parent.is_none() {
        options.cgroup_parent.clone_from(&shared.cgroup_parent);
    }
    Ok(())
}

/// Takes back what [`adopt`] gave a container, so that another pod can give it. Pure.
pub(super) fn release(holder: &str, shared: &ContainerOptions, options: &mut ContainerOptions) {
    let held = NetworkMode::Container(holder.to_owned());
    if options.network.mode == held {
        options.network.mode = NetworkMode::Default;
    }
    for mode in [
        &mut options.ipc,
        &mut options.uts,
        &mut options.pid,
        &mut options.cgroupns,
    ] {
        if *mode == NamespaceMode::Container(holder.to_owned()) {
            *mode = NamespaceMode::Default;
        }
    }
    if options.userns == UsernsMode::Container(holder.to_owned()) {
        options.userns = UsernsMode::Host;
    }
    options.mounts.retain(|m| !shared.mounts.contains(m));
    options
        .volumes_from
        .retain(|v| !shared.volumes_from.contains(v));
    options.devices.retain(|d| !shared.devices.contains(d));
    options
        .cdi_devices
        .retain(|d| !shared.cdi_devices.contains(d));
    options.gpus.retain(|g| !shared.gpus.contains(g));
    if options.shm_size_systemd == shared.shm_size_systemd {
        options.shm_size_systemd = None;
    }
    if options.cgroup_parent == shared.cgroup_parent {
        options.cgroup_parent = None;
    }
}

/// A container ended and was cleaned up: with `--exit-policy stop` the pod's holder goes with the
/// last of the others.
///
/// One that its unit stops is not at its end: `systemctl restart` starts it again, and it would find
/// the unit of the pod, which it is bound to, inactive.
pub(super) fn after_exit(session: &Session, container: &Container, exit: &ExitRecord) {
    let options = &container.record.options;
    let by_unit = exit.stopped_by_user
        && options
            .labels
            .contains_key(crate::operations::auto_update::UNIT);
    if options.infra || options.pod.is_none() || options.init_ctr.is_some() || by_unit {
        return;
    }
    // Whatever cannot be had now leaves the pod as it is; `pod stop` ends it.
    let Ok(Some(pod)) = pod_of(session, container) else {
        return;
    };
    if pod.exit_policy == ExitPolicy::Stop && infra::end_if_idle(session, &pod).is_ok_and(|e| e) {
        pod::event(session, &pod, "stop");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Timestamp;
    use crate::state::options::{MountOption, MountSource};
    use crate::state::pod::Infra;

    fn pod(share: &[Share], options: ContainerOptions) -> PodRecord {
        PodRecord {
            version: 1,
            id: "a".repeat(64).parse().unwrap(),
            name: "web".parse().unwrap(),
            created: Timestamp(0),
            labels: Default::default(),
            share: share.to_vec(),
            infra: Some(Infra {
                id: "b".repeat(64).parse().unwrap(),
                options: Box::new(options),
            }),
            exit_policy: ExitPolicy::Continue,
            restart: RestartPolicy::No,
            id_file: None,
            create_command: Vec::new(),
        }
    }

    fn adopted(pod: &PodRecord, mut options: ContainerOptions) -> Result<ContainerOptions> {
        let infra = pod.infra.as_ref().unwrap();
        adopt(pod, infra.id.as_str(), &infra.options, &mut options)?;
        Ok(options)
    }

    fn mount(path: &str) -> MountOption {
        MountOption {
            destination: path.to_owned(),
            source: MountSource::Devpts,
            read_only: false,
            chown: false,
            relabel: None,
            options: Vec::new(),
        }
    }

    #[test]
    fn containers_share_what_the_pod_shares() {
        let shared = ContainerOptions {
            mounts: vec![mount("/data"), mount("/own")],
            ..ContainerOptions::default()
        };
        let pod = pod(&Share::USUAL, shared);
        let own = ContainerOptions {
            mounts: vec![MountOption {
                read_only: true,
                ..mount("/own")
            }],
            uts: NamespaceMode::Host,
            ..ContainerOptions::default()
        };
        let joined = adopted(&pod, own).unwrap();
        let holder = || "b".repeat(64);
        assert_eq!(joined.network.mode, NetworkMode::Container(holder()));
        assert_eq!(joined.ipc, NamespaceMode::Container(holder()));
        // As asked for.
        assert_eq!(joined.uts, NamespaceMode::Host);
        assert_eq!(joined.pid, NamespaceMode::Default);
        let mounts: Vec<_> = joined
            .mounts
            .iter()
            .map(|m| (&*m.destination, m.read_only))
            .collect();
        assert_eq!(mounts, [("/own", true), ("/data", false)]);
    }

    #[test]
    fn a_user_namespace_of_the_pod_is_its_containers() {
        let maps = UsernsMode::KeepId {
            uid: None,
            gid: None,
            size: None,
        };
        let shared = ContainerOptions {
            userns: maps,
            ..ContainerOptions::default()
        };
        let joined = adopted(&pod(&[], shared), ContainerOptions::default()).unwrap();
        assert_eq!(joined.userns, UsernsMode::Container("b".repeat(64)));
        assert_eq!(joined.network.mode, NetworkMode::Default);
    }

    #[test]
    fn what_is_the_pods_is_refused() {
        let pod = pod(&Share::USUAL, ContainerOptions::default());
        let mut host = ContainerOptions::default();
        host.network.mode = NetworkMode::Host;
        let mut dns = ContainerOptions::default();
        dns.network.dns.push("10.0.0.1".parse().unwrap());
        let named = ContainerOptions {
            hostname: Some("x".to_owned()),
            ..ContainerOptions::default()
        };
        let mapped = ContainerOptions {
            userns: UsernsMode::Nomap,
            ..ContainerOptions::default()
        };
        for (options, flag) in [
            (host, "--network"),
            (dns, "--dns"),
            (named, "--hostname"),
            (mapped, "--userns"),
        ] {
            let e = adopted(&pod, options).unwrap_err();
            assert!(e.what().contains(flag), "{e}");
        }
    }
}
