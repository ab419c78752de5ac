//! `.container`.

use super::Maker;
use crate::base::Result;
use crate::quadlet::{Kind, Source};

/// Set for the container, so that `auto-update` finds the service.
pub(super) const UNIT_VARIABLE: &str = "PODMAN_SYSTEMD_UNIT=%n";

/// The label that `auto-update` looks at.
pub(super) const AUTO_UPDATE: &str = "io.containers.autoupdate";

const HEALTH: &[(&str, &str)] = &[
    ("HealthCmd", "--health-cmd"),
    ("HealthInterval", "--health-interval"),
    ("HealthOnFailure", "--health-on-failure"),
    ("HealthLogDestination", "--health-log-destination"),
    ("HealthMaxLogCount", "--health-max-log-count"),
    ("HealthMaxLogSize", "--health-max-log-size"),
    ("HealthRetries", "--health-retries"),
    ("HealthStartPeriod", "--health-start-period"),
    ("HealthTimeout", "--health-timeout"),
    ("HealthStartupCmd", "--health-startup-cmd"),
    ("HealthStartupInterval", "--health-startup-interval"),
    ("HealthStartupRetries", "--health-startup-retries"),
    ("HealthStartupSuccess", "--health-startup-success"),
    ("HealthStartupTimeout", "--health-startup-timeout"),
];

const TEXTS: &[(&str, &str)] = &[
    ("Timezone", "--tz"),
    ("PidsLimit", "--pids-limit"),
    ("ShmSize", "--shm-size"),
    ("Entrypoint", "--entrypoint"),
    ("WorkingDir", "--workdir"),
    ("IP", "--ip"),
    ("IP6", "--ip6"),
    ("HostName", "--hostname"),
    ("StopSignal", "--stop-signal"),
    ("StopTimeout", "--stop-timeout"),
    ("Pull", "--pull"),
    ("Memory", "--memory"),
    ("Retry", "--retry"),
    ("RetryDelay", "--retry-delay"),
];

const LISTS: &[(&str, &str)] = &[
    ("NetworkAlias", "--network-alias"),
    ("Ulimit", "--ulimit"),
    ("DNS", "--dns"),
    ("DNSOption", "--dns-option"),
    ("DNSSearch", "--dns-search"),
    ("GroupAdd", "--group-add"),
    ("AddHost", "--add-host"),
    ("Tmpfs", "--tmpfs"),
];

/// The container's name, specifiers and all.
pub(super) fn name(source: &Source) -> String {
    let usual = match source.name.contains('@') {
        true => "systemd-%p_%i",
        false => "systemd-%N",
    };
    source
        .unit
        .last("Container", "ContainerName")
        .unwrap_or_else(|| usual.to_owned())
}

pub(super) fn convert(maker: &mut Maker<'_>) -> Result<()> {
    let image = match (maker.last("Image"), maker.last("Rootfs")) {
        (None, None) => {
            return Err(maker.bad("Image", "neither Image= nor Rootfs= is given"));
        }
        (Some(_), Some(_)) => {
            return Err(maker.bad("Rootfs", "Image= is given as well"));
        }
        (Some(image), None) => vec![maker.image(image)?],
        (None, Some(folder)) => vec!["--rootfs".to_owned(), folder],
    };
    let pod = pod(maker)?;
    let name = name(maker.source);
    maker.service.push("Service", "Environment", UNIT_VARIABLE);
    kill_mode(maker)?;
    // In order, with its own signal and time; then it removes itself.
    let stop = maker.command(&["stop", "-i", &name])?;
    maker.exec("ExecStop", &stop);
    // What stays when the monitor was killed.
    let mut after = maker.command(&["rm", "-v", "-f", "-i", &name])?;
    after[0].insert(0, '-');
    maker.exec("ExecStopPost", &after);
    reload(maker, &name)?;

    let mut command = maker.command(&["run", "--name", &name, "--replace", "--rm"])?;
    let c = &mut command;
    if let Some(pod) = pod {
        c.extend(["--pod".to_owned(), pod]);
    }
    maker.texts(&[("LogDriver", "--log-driver")], c);
    maker.word_lists(&[("LogOpt", "--log-opt")], c)?;
    maker.service.push("Service", "Delegate", "yes");
    match maker.last("CgroupsMode") {
        Some(mode) => c.extend(["--cgroups".to_owned(), mode]),
        None => c.push("--cgroups=split".to_owned()),
    }
    maker.texts(TEXTS, c);
    maker.lists(LISTS, c);
    maker.switches(
        &[
            ("RunInit", "--init"),
            ("EnvironmentHost", "--env-host"),
            ("ReadOnlyTmpfs", "--read-only-tmpfs"),
            ("HttpProxy", "--http-proxy"),
        ],
        c,
    )?;
    maker.networks(c)?;
    readiness(maker, c)?;
    if !maker.service.has("Service", "SyslogIdentifier") {
        maker.service.push("Service", "SyslogIdentifier", "%N");
    }
    security(maker, c)?;
    read_only(maker, c)?;
    user(maker, c)?;
    super::others::mappings(maker, c)?;
    maker.volumes(c)?;
    if let Some(policy) = maker.last("AutoUpdate") {
        c.extend(["--label".to_owned(), format!("{AUTO_UPDATE}={policy}")]);
    }
    for port in maker.all("ExposeHostPort") {
        let good = port
            .split(['-', '/'])
            .all(|p| p.parse::<u16>().is_ok() || matches!(p, "tcp" | "udp" | "sctp"));
        if !good {
            return Err(maker.bad("ExposeHostPort", format!("{port:?} is no port")));
        }
        c.extend(["--expose".to_owned(), port]);
    }
    maker.lists(&[("PublishPort", "--publish")], c);
    maker.pairs(
        &[
            ("Environment", "--env"),
            ("Label", "--label"),
            ("Annotation", "--annotation"),
        ],
        c,
    )?;
    for (key, word) in [("Mask", "mask"), ("Unmask", "unmask")] {
        for paths in maker.words(key, true)? {
            c.extend(["--security-opt".to_owned(), format!("{word}={paths}")]);
        }
    }
    for file in maker.words("EnvironmentFile", true)? {
        c.extend(["--env-file".to_owned(), maker.absolute(&file)]);
    }
    for secret in maker.words("Secret", true)? {
        c.extend(["--secret".to_owned(), secret]);
    }
    for mount in maker.words("Mount", true)? {
        let mount = mount_of(maker, &mount)?;
        c.extend(["--mount".to_owned(), mount]);
    }
    maker.texts(HEALTH, c);
    maker.more(c)?;
    c.extend(image);
    c.extend(maker.last_words("Exec")?);
    maker.exec("ExecStart", &command);
    Ok(())
}

/// `Pod=`: its service comes before this one, and this one ends with it.
fn pod(maker: &mut Maker<'_>) -> Result<Option<String>> {
    let Some(pod) = maker.last("Pod") else {
        return match maker.switch("StartWithPod")? {
            None => Ok(None),
            Some(_) => Err(maker.bad("StartWithPod", "Pod= is not given")),
        };
    };
    maker.switch("StartWithPod")?;
    if Kind::of_name(&pod) != Some(Kind::Pod) {
        return Err(maker.bad("Pod", format!("{pod:?} is no .pod quadlet")));
    }
    maker.bound("Pod", &pod, "BindsTo").map(Some)
}

/// The monitor ends the container; with other modes systemd would take it away first.
pub(super) fn kill_mode(maker: &mut Maker<'_>) -> Result<()> {
    match maker.source.unit.last("Service", "KillMode").as_deref() {
        None => maker.service.set("Service", "KillMode", "mixed"),
        Some("mixed" | "control-group") => {}
        Some(other) => {
            let line = maker.source.unit.line("Service", "KillMode");
            let what = format!("KillMode={other}: it must be mixed or control-group");
            return Err(crate::quadlet::at(maker.source, line, what));
        }
    }
    Ok(())
}

/// `ReloadCmd=`, `ReloadSignal=`.
fn reload(maker: &mut Maker<'_>, name: &str) -> Result<()> {
    let words = maker.last_words("ReloadCmd")?;
    let reload = match (words.is_empty(), maker.last("ReloadSignal")) {
        (true, None) => return Ok(()),
        (false, Some(_)) => {
            return Err(maker.bad("ReloadSignal", "ReloadCmd= is given as well"));
        }
        (true, Some(signal)) => maker.command(&["kill", "--signal", &signal, name])?,
        (false, None) => {
            let mut command = maker.command(&["exec", name])?;
            command.extend(words);
            command
        }
    };
    maker.exec("ExecReload", &reload);
    Ok(())
}

/// How systemd hears that it is up: `Type=` and `Notify=`.
fn readiness(maker: &mut Maker<'_>, command: &mut Vec<String>) -> Result<()> {
    let kind = maker.source.unit.last("Service", "Type");
    match kind.as_deref() {
        Some("oneshot") => return Ok(()),
        None | Some("notify") => {}
        Some(other) => {
            let line = maker.source.unit.line("Service", "Type");
            let what = format!("Type={other}: it must be notify or oneshot");
            return Err(crate::quadlet::at(maker.source, line, what));
        }
    }
    let healthy = maker
        .last("Notify")
        .is_some_and(|n| n.eq_ignore_ascii_case("healthy"));
    let mode = match healthy {
        true => "healthy",
        false if maker.switch("Notify")? == Some(true) => "container",
        false => "conmon",
    };
    command.push(format!("--sdnotify={mode}"));
    maker.service.set("Service", "Type", "notify");
    maker.service.set("Service", "NotifyAccess", "all");
    // The monitor stays; nobody reads from the command.
    command.push("-d".to_owned());
    Ok(())
}

fn security(maker: &Maker<'_>, command: &mut Vec<String>) -> Result<()> {
    if maker.switch("NoNewPrivileges")? == Some(true) {
        command.push("--security-opt=no-new-privileges".to_owned());
    }
    let mut option = |text: String| command.extend(["--security-opt".to_owned(), text]);
    for (key, word) in [
        ("SecurityLabelDisable", "disable"),
        ("SecurityLabelNested", "nested"),
    ] {
        if maker.switch(key)? == Some(true) {
            option(format!("label={word}"));
        }
    }
    for (key, word) in [
        ("SecurityLabelType", "label=type:"),
        ("SecurityLabelFileType", "label=filetype:"),
        ("SecurityLabelLevel", "label=level:"),
        ("AppArmor", "apparmor="),
        ("SeccompProfile", "seccomp="),
    ] {
        if let Some(value) = maker.last(key) {
            option(format!("{word}{value}"));
        }
    }
    for device in maker.words("AddDevice", false)? {
        let device = match device.strip_prefix('-') {
            // A hyphen: only where there is such a device.
            Some(path) if !maker.target.has_device(path) => continue,
            Some(path) => path.to_owned(),
            None => device,
        };
        command.extend(["--device".to_owned(), device]);
    }
    for (key, flag) in [
        ("DropCapability", "--cap-drop"),
        ("AddCapability", "--cap-add"),
    ] {
        for name in maker.words(key, false)? {
            command.extend([flag.to_owned(), name.to_lowercase()]);
        }
    }
    maker.word_lists(&[("Sysctl", "--sysctl")], command)
}

fn read_only(maker: &Maker<'_>, command: &mut Vec<String>) -> Result<()> {
    maker.switches(&[("ReadOnly", "--read-only")], command)?;
    let volatile = maker.switch("VolatileTmp")? == Some(true);
    if volatile && maker.switch("ReadOnly")? != Some(true) {
        command.extend([
            "--tmpfs".to_owned(),
            "/tmp:rw,size=512M,mode=1777".to_owned(),
        ]);
    }
    Ok(())
}

fn user(maker: &Maker<'_>, command: &mut Vec<String>) -> Result<()> {
    let text = match (maker.last("User"), maker.last("Group")) {
        (None, None) => return Ok(()),
        (None, Some(_)) => return Err(maker.bad("Group", "User= is not given")),
        (Some(user), None) => user,
        (Some(user), Some(group)) => format!("{user}:{group}"),
    };
    command.extend(["--user".to_owned(), text]);
    Ok(())
}

/// `Mount=`: a source that is a relative path or a quadlet is resolved.
fn mount_of(maker: &mut Maker<'_>, text: &str) -> Result<String> {
    let mut parts: Vec<String> = text.split(',').map(str::to_owned).collect();
    let kind = parts
        .iter()
        .find_map(|p| p.strip_prefix("type="))
        .unwrap_or("volume");
    if kind == "artifact" {
        return Err(maker.bad("Mount", "artifacts cannot be mounted"));
    }
    if !matches!(kind, "volume" | "bind" | "glob" | "image") {
        return Ok(text.to_owned());
    }
    for part in &mut parts {
        let Some((key, value)) = part.split_once('=') else {
            if matches!(part.as_str(), "source" | "src") {
                return Err(maker.bad("Mount", format!("{part} has no value")));
            }
            continue;
        };
        if matches!(key, "source" | "src") && !value.is_empty() {
            let source = maker.storage("Mount", value, true)?;
            *part = format!("source={source}");
        }
    }
    Ok(parts.join(","))
}
