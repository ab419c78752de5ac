//! `.pod`, `.kube`.

use super::others::{is_url, mappings, working_directory};
use super::{Maker, container, resource_name};
use crate::base::Result;

/// Where the pid of the monitor is that holds a pod together: the main process of its service.
const PIDFILE: &str = "%t/%N.pid";

/// A pod is made before every start and goes after every stop. Its containers are services of their
/// own, which begin after this one and end with it.
pub(super) fn pod(maker: &mut Maker<'_>) -> Result<()> {
    let name = resource_name(maker.source);
    let infos = maker.infos;
    let own = infos.get(&maker.source.name);
    for member in own.into_iter().flat_map(|i| &i.members) {
        maker.service.push("Unit", "Wants", member.clone());
        maker.service.push("Unit", "Before", member.clone());
    }
    if let Some(other) = maker.source.unit.last("Service", "Type")
        && other != "forking"
    {
        let line = maker.source.unit.line("Service", "Type");
        let what = format!("Type={other}: it must be forking");
        return Err(crate::quadlet::at(maker.source, line, what));
    }
    let mut create = maker.command(&["pod", "create"])?;
    let c = &mut create;
    c.push(format!("--infra-conmon-pidfile={PIDFILE}"));
    c.push("--replace".to_owned());
    let policy = maker.last("ExitPolicy");
    match policy.as_deref() {
        None | Some("stop" | "continue") => {}
        Some(other) => {
            let why = format!("{other:?} is neither stop nor continue");
            return Err(maker.bad("ExitPolicy", why));
        }
    }
    let policy = policy.unwrap_or_else(|| "stop".to_owned());
    c.extend(["--exit-policy".to_owned(), policy]);
    mappings(maker, c)?;
    maker.lists(&[("PublishPort", "--publish")], c);
    maker.pairs(&[("Label", "--label")], c)?;
    maker.networks(c)?;
    maker.texts(
        &[
            ("HostName", "--hostname"),
            ("IP", "--ip"),
            ("IP6", "--ip6"),
            ("ShmSize", "--shm-size"),
        ],
        c,
    );
    maker.lists(
        &[
            ("NetworkAlias", "--network-alias"),
            ("DNS", "--dns"),
            ("DNSOption", "--dns-option"),
            ("DNSSearch", "--dns-search"),
            ("AddHost", "--add-host"),
        ],
        c,
    );
    maker.volumes(c)?;
    c.extend(["--infra-name".to_owned(), format!("{name}-infra")]);
    c.extend(["--name".to_owned(), name.clone()]);
    maker.more(c)?;

    let start = maker.command(&["pod", "start", &name])?;
    let mut stop = maker.command(&["pod", "stop", "--ignore"])?;
    if let Some(time) = maker.last("StopTimeout") {
        if time.parse::<u32>().is_err() {
            return Err(maker.bad("StopTimeout", format!("{time:?} is no number")));
        }
        stop.push(format!("--time={time}"));
    }
    stop.push(name.clone());
    let remove = maker.command(&["pod", "rm", "--ignore", "--force", &name])?;
    let service = &mut maker.service;
    service.push("Service", "Environment", container::UNIT_VARIABLE);
    for (key, value) in [("SyslogIdentifier", "%N"), ("Restart", "on-failure")] {
        if !service.has("Service", key) {
            service.push("Service", key, value);
        }
    }
    service.set("Service", "Type", "forking");
    service.set("Service", "PIDFile", PIDFILE);
    maker.exec("ExecStartPre", &create);
    maker.exec("ExecStart", &start);
    maker.exec("ExecStop", &stop);
    maker.exec("ExecStopPost", &remove);
    Ok(())
}

/// Manifests are played by the main process, which stays until all of it has ended.
pub(super) fn kube(maker: &mut Maker<'_>) -> Result<()> {
    let files: Vec<String> = maker
        .all("Yaml")
        .iter()
        .map(|file| match is_url(file) {
            true => file.clone(),
            false => maker.absolute(file),
        })
        .collect();
    if files.is_empty() {
        return Err(maker.bad("Yaml", "it is not given"));
    }
    container::kill_mode(maker)?;
    let kind = maker.source.unit.last("Service", "Type");
    let oneshot = match kind.as_deref() {
        None | Some("notify") => false,
        Some("oneshot") => true,
        Some(other) => {
            let line = maker.source.unit.line("Service", "Type");
            let what = format!("Type={other}: it must be notify or oneshot");
            return Err(crate::quadlet::at(maker.source, line, what));
        }
    };
    let mut command = maker.command(&["kube", "play", "--replace"])?;
    let c = &mut command;
    let policy = maker.last("ExitCodePropagation");
    if let Some(policy) = &policy
        && !matches!(policy.as_str(), "all" | "any" | "none")
    {
        let why = format!("{policy:?} is not one of all, any, none");
        return Err(maker.bad("ExitCodePropagation", why));
    }
    if !oneshot {
        c.push("--service-container=true".to_owned());
        c.extend(policy.map(|p| format!("--service-exit-code-propagation={p}")));
        maker.service.set("Service", "Type", "notify");
        maker.service.set("Service", "NotifyAccess", "all");
    } else if policy.is_some() {
        let why = "with Type=oneshot nobody waits for the containers";
        return Err(maker.bad("ExitCodePropagation", why));
    }
    maker.texts(&[("LogDriver", "--log-driver")], c);
    maker.word_lists(&[("LogOpt", "--log-opt")], c)?;
    mappings(maker, c)?;
    maker.networks(c)?;
    for update in maker.words("AutoUpdate", false)? {
        // NAME/POLICY is for one container.
        let (name, policy) = match update.split_once('/') {
            Some((name, policy)) => (format!("/{name}"), policy),
            None => (String::new(), update.as_str()),
        };
        if !matches!(policy, "registry" | "local") {
            let why = format!("{policy:?} is neither registry nor local");
            return Err(maker.bad("AutoUpdate", why));
        }
        c.push(format!(
            "--annotation={}{name}={policy}",
            container::AUTO_UPDATE
        ));
    }
    for file in maker.all("ConfigMap") {
        c.extend(["--configmap".to_owned(), maker.absolute(&file)]);
    }
    maker.lists(&[("PublishPort", "--publish")], c);
    maker.more(c)?;
    c.extend(files.iter().cloned());
    let mut down = maker.command(&["kube", "down"])?;
    maker.switches(&[("KubeDownForce", "--force")], &mut down)?;
    down.extend(files);
    maker
        .service
        .push("Service", "Environment", container::UNIT_VARIABLE);
    if !maker.service.has("Service", "SyslogIdentifier") {
        maker.service.push("Service", "SyslogIdentifier", "%N");
    }
    maker.exec("ExecStart", &command);
    // However it ended.
    maker.exec("ExecStopPost", &down);
    working_directory(maker)?;
    Ok(())
}
