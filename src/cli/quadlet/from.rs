//! `quadlet from`.

use super::compose;
use crate::base::{Error, Result};
use crate::cli::frame::Entry;
use crate::cli::output::Out;
use crate::cli::run_words::RunWords;
use crate::command;
use crate::operations::session::Session;
use crate::quadlet::unit::Unit;
use crate::quadlet::words;
use crate::state::container::Containers;

/// `coracle quadlet from WHAT`.
pub const NOUN: &[Entry] = &[
    command!(
        "run",
        "Write a .container file for the words of a run",
        RunArgs,
        run
    ),
    command!(
        "compose",
        "Write quadlets for a Compose project",
        compose::ComposeArgs,
        compose::run
    ),
    command!(
        "container",
        "Write a .container file for a container that exists",
        ContainerArgs,
        container
    ),
];

/// Write a .container file for the words of a run
///
/// What follows is what would follow `coracle run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Options, image and command
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTION|IMAGE|COMMAND"
    )]
    words: Vec<String>,
}

/// Write a .container file for a container that exists
#[derive(Debug, clap::Args)]
pub struct ContainerArgs {
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Runs `quadlet from run`; answers the exit code.
///
/// # Errors
/// `Invalid` for an option that there is not.
pub fn run(args: RunArgs, _: &mut Session, out: &mut Out) -> Result<u8> {
    out.text(&text(RunWords::of_options(&args.words)?)?)?;
    Ok(0)
}

/// Runs `quadlet from container`; answers the exit code.
///
/// # Errors
/// As finding the container and reading how it was made.
pub fn container(args: ContainerArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let container = Containers::new(&session.dirs).find(&args.container)?;
    let mut run = RunWords::parse(&container.record.options.create_command)?;
    // A name that was thought up by us is one, too.
    run.take("name");
    let name = Some(container.name().to_owned());
    run.flags.push(("name".to_owned(), name));
    out.text(&text(run)?)?;
    Ok(0)
}

/// Options that have a key with the same meaning.
const KEYS: &[(&str, &str)] = &[
    ("name", "ContainerName"),
    ("add-host", "AddHost"),
    ("annotation", "Annotation"),
    ("cap-add", "AddCapability"),
    ("cap-drop", "DropCapability"),
    ("cgroups", "CgroupsMode"),
    ("device", "AddDevice"),
    ("dns", "DNS"),
    ("dns-option", "DNSOption"),
    ("dns-search", "DNSSearch"),
    ("entrypoint", "Entrypoint"),
    ("env", "Environment"),
    ("env-file", "EnvironmentFile"),
    ("env-host", "EnvironmentHost"),
    ("expose", "ExposeHostPort"),
    ("gidmap", "GIDMap"),
    ("group-add", "GroupAdd"),
    ("health-cmd", "HealthCmd"),
    ("health-interval", "HealthInterval"),
    ("health-log-destination", "HealthLogDestination"),
    ("health-max-log-count", "HealthMaxLogCount"),
    ("health-max-log-size", "HealthMaxLogSize"),
    ("health-on-failure", "HealthOnFailure"),
    ("health-retries", "HealthRetries"),
    ("health-start-period", "HealthStartPeriod"),
    ("health-startup-cmd", "HealthStartupCmd"),
    ("health-startup-interval", "HealthStartupInterval"),
    ("health-startup-retries", "HealthStartupRetries"),
    ("health-startup-success", "HealthStartupSuccess"),
    ("health-startup-timeout", "HealthStartupTimeout"),
    ("health-timeout", "HealthTimeout"),
    ("hostname", "HostName"),
    ("http-proxy", "HttpProxy"),
    ("init", "RunInit"),
    ("ip", "IP"),
    ("ip6", "IP6"),
    ("label", "Label"),
    ("log-driver", "LogDriver"),
    ("log-opt", "LogOpt"),
    ("memory", "Memory"),
    ("mount", "Mount"),
    ("network", "Network"),
    ("network-alias", "NetworkAlias"),
    ("pids-limit", "PidsLimit"),
    ("publish", "PublishPort"),
    ("pull", "Pull"),
    ("read-only", "ReadOnly"),
    ("read-only-tmpfs", "ReadOnlyTmpfs"),
    ("retry", "Retry"),
    ("retry-delay", "RetryDelay"),
    ("secret", "Secret"),
    ("shm-size", "ShmSize"),
    ("stop-signal", "StopSignal"),
    ("stop-timeout", "StopTimeout"),
    ("subgidname", "SubGIDMap"),
    ("subuidname", "SubUIDMap"),
    ("sysctl", "Sysctl"),
    ("tmpfs", "Tmpfs"),
    ("tz", "Timezone"),
    ("uidmap", "UIDMap"),
    ("ulimit", "Ulimit"),
    ("user", "User"),
    ("userns", "UserNS"),
    ("volume", "Volume"),
    ("workdir", "WorkingDir"),
];

/// Keys whose values are words: one with spaces is quoted.
const WORDS: &[&str] = &[
    "AddCapability",
    "AddDevice",
    "Annotation",
    "DropCapability",
    "Environment",
    "EnvironmentFile",
    "GIDMap",
    "Label",
    "LogOpt",
    "Mount",
    "Secret",
    "Sysctl",
    "UIDMap",
];

/// The file.
fn text(run: RunWords) -> Result<String> {
    unit(run).map(|unit| unit.text())
}

/// The quadlet that runs the same.
pub(super) fn unit(mut run: RunWords) -> Result<Unit> {
    const SECTION: &str = "Container";
    // A service runs in the background, and its container goes when it stops.
    for flag in [
        "detach",
        "rm",
        "replace",
        "cidfile",
        "pidfile",
        "interactive",
        "attach",
        "sig-proxy",
    ] {
        run.take(flag);
    }
    let restart = run.take("restart").flatten();
    let notify = run.take("sdnotify").flatten();
    let rootfs = run.take("rootfs").is_some();
    let mut rest = run.rest.iter().map(String::as_str);
    let image = rest
        .next()
        .ok_or_else(|| Error::invalid("no image was named"))?;
    // Specifiers and variables were the shell's business when it was typed.
    let plain = |text: &str| text.replace('%', "%%");
    let mut unit = Unit::default();
    unit.push(
        SECTION,
        if rootfs { "Rootfs" } else { "Image" },
        plain(image),
    );
    let mut others = Vec::new();
    for (long, value) in &run.flags {
        let key = KEYS.iter().find(|(l, _)| l == long).map(|(_, key)| *key);
        let value = value.as_deref();
        match (key, value) {
            (Some(key), None) => unit.push(SECTION, key, "true"),
            (Some(key), Some(value)) if WORDS.contains(&key) => {
                unit.push(SECTION, key, words::quote(&plain(value)));
            }
            (Some(key), Some(value)) if !value.is_empty() && !value.contains('\n') => {
                unit.push(SECTION, key, plain(value));
            }
            (_, Some(value)) => others.push(format!("--{long}={}", plain(value))),
            (None, None) => others.push(format!("--{long}")),
        }
    }
    if !others.is_empty() {
        unit.push(SECTION, "PodmanArgs", words::command(&others));
    }
    if !run.before.is_empty() {
        unit.push(SECTION, "GlobalArgs", words::command(&run.before));
    }
    match notify.as_deref() {
        Some("healthy") => unit.push(SECTION, "Notify", "healthy"),
        Some("container") => unit.push(SECTION, "Notify", "true"),
        _ => {}
    }
    let exec: Vec<String> = rest.map(|w| plain(w).replace('$', "$$")).collect();
    if !exec.is_empty() {
        unit.push(SECTION, "Exec", words::command(&exec));
    }
    match restart.as_deref() {
        None | Some("no" | "never" | "") => {}
        Some("always" | "unless-stopped") => unit.push("Service", "Restart", "always"),
        Some(_) => unit.push("Service", "Restart", "on-failure"),
    }
    unit.push("Install", "WantedBy", "default.target");
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quadlet::{Kind, Source, Target, convert};

    #[test]
    fn a_quadlet_of_a_run_runs_the_same() {
        let line = [
            "-d",
            "--rm",
            "--name",
            "web",
            "-p",
            "80:80",
            "-e",
            "A=x y 50%",
            "-v",
            "/a:/b:ro",
            "--restart=always",
            "--init",
            "--blkio-weight",
            "20",
            "--cap-drop=ALL",
            "img",
            "sh",
            "-c",
            "echo $X",
        ];
        let line: Vec<String> = line.iter().map(|w| (*w).to_owned()).collect();
        let text = text(RunWords::of_options(&line).unwrap()).unwrap();
        assert_eq!(
            text,
            "[Container]\nImage=img\nContainerName=web\nPublishPort=80:80\n\
             Environment=\"A=x y 50%%\"\nVolume=/a:/b:ro\nRunInit=true\nDropCapability=ALL\n\
             PodmanArgs=--blkio-weight=20\nExec=sh -c \"echo $$X\"\n\
             \n[Service]\nRestart=always\n\n[Install]\nWantedBy=default.target\n"
        );
        let source = Source {
            name: "web.container".into(),
            path: "/u/web.container".into(),
            kind: Kind::Container,
            unit: Unit::parse(&text, "web.container").unwrap(),
        };
        let target = Target {
            program: "/c".into(),
            user: true,
            devices: Vec::new(),
        };
        let made = convert(&[source], &target).remove(0).1.unwrap();
        let start = made.text.lines().find(|l| l.starts_with("ExecStart="));
        assert_eq!(
            start.unwrap(),
            "ExecStart=/c run --name web --replace --rm --cgroups=split --init --sdnotify=conmon -d \
             --cap-drop all -v /a:/b:ro --publish 80:80 --env \"A=x y 50%%\" --blkio-weight=20 img \
             sh -c \"echo $$X\""
        );
    }
}
