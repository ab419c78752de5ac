//! `kube play`.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::base::{Context as _, Error, Kind, Result};
use crate::cli::output::Out;
use crate::cli::{container, pod};
use crate::kube::{self, Plan, Step, Wish};
use crate::operations::image::lookup;
use crate::operations::kube::attend::{self, End, Propagation, Vigil};
use crate::operations::kube::{self as operation, Downed};
use crate::operations::pod::{act, remove};
use crate::operations::session::Session;
use crate::state::pod::{PodRecord, Pods};

/// A manifest longer than this is none.
const LIMIT: u64 = 16 << 20;

/// Run what manifests describe
///
/// Pods, Deployments, StatefulSets, DaemonSets and Jobs with as many replicas as they ask for, with
/// ConfigMaps, Secrets and claims. Pods find each other by the names of whatever made
/// them; Services have an address, and those of the types NodePort and LoadBalancer ports of the host. Fields that have no effect on one machine are told.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each one is a flag of podman's"
)]
pub struct PlayArgs {
    /// Annotation of all pods, KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Build images of folders that are named like them (absent: those that are not here)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    build: Option<bool>,
    /// File with further ConfigMaps
    #[arg(long, value_name = "FILE")]
    configmap: Vec<String>,
    /// Folder with the folders of images
    #[arg(long, value_name = "DIR")]
    context_dir: Option<PathBuf>,
    /// Remove what the manifests made
    #[arg(long)]
    down: bool,
    /// With --down: volumes of claims, too
    #[arg(long)]
    force: bool,
    /// Address of the pod on its network
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<String>,
    /// Where output is kept: k8s-file, json-file, journald, none
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// Option of the log driver
    #[arg(long, value_name = "KEY=VALUE")]
    log_opt: Vec<String>,
    /// Hardware address of the pod
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Vec<String>,
    /// Network of the pods; absent means one that all manifests share
    #[arg(long, alias = "net", value_name = "MODE")]
    network: Vec<String>,
    /// Leave /etc/hosts as the images have it
    #[arg(long)]
    no_hosts: bool,
    /// Containers have their own names, without the pod's in front
    #[arg(long)]
    no_pod_prefix: bool,
    /// Publish a port: [[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]
    #[arg(long, value_name = "PORT")]
    publish: Vec<String>,
    /// Publish the ports of containers that name none of the host's, too
    #[arg(long)]
    publish_all: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Remove pods of the same names first
    #[arg(long)]
    replace: bool,
    /// Folder of profiles that manifests name
    #[arg(long, value_name = "DIR")]
    seccomp_profile_root: Option<String>,
    /// Start the pods (on by default)
    #[arg(long)]
    start: Option<bool>,
    /// Stay as the main process of a service, until all containers have ended; at SIGTERM stop them
    ///
    /// NOTIFY_SOCKET is told when everything runs. For units: `kube down` has to follow.
    #[arg(long)]
    service_container: Option<bool>,
    /// Whose failure is the service's: all (if every container fails), any, none
    #[arg(long, value_name = "POLICY", requires = "service_container")]
    service_exit_code_propagation: Option<String>,
    /// User namespace of the pods
    #[arg(long, value_name = "MODE")]
    userns: Option<String>,
    /// Stay until all containers ended or a signal came, then remove what was made
    #[arg(short, long, conflicts_with_all = ["down", "service_container"])]
    wait: bool,
    /// Files, addresses, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
}

/// Runs `kube play`.
///
/// # Errors
/// What the manifests or the operations say. What was made until then goes.
pub fn run(args: PlayArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let objects = read_all(session, &args.files)?;
    let wish = wish(&args, session)?;
    let plan = kube::plan(&objects, &wish, &|kind, name| {
        operation::lookup(session, kind, name)
    })?;
    if args.down {
        let gone = operation::down(session, &plan, args.force)?;
        show_downed(&gone, out)?;
        return Ok(0);
    }
    let propagation = args.service_exit_code_propagation.as_deref();
    let propagation: Propagation = propagation.unwrap_or("none").parse()?;
    for notice in &plan.notices {
        out.warn(notice);
    }
    if args.quiet {
        session.progress = std::sync::Arc::new(crate::base::progress::Silent);
    }
    vacate(&plan, args.replace, session)?;
    build(&plan, args.build, args.context_dir.as_deref(), session, out)?;
    let mut made = Vec::new();
    match carry_out(&plan, args.start.unwrap_or(true), session, out, &mut made) {
        Ok(()) => {}
        Err(e) => {
            let options = remove::RemoveOptions {
                force: true,
                ..Default::default()
            };
            for (pod, _) in &made {
                // The error that brought us here is the one to report.
                drop(remove::remove(session, pod, &options));
            }
            drop(operation::withdraw(session, &plan));
            return Err(e);
        }
    }
    for (pod, containers) in &made {
        out.line("Pod:")?;
        out.line(pod.id.as_str())?;
        let one = containers.len() == 1;
        out.line(if one { "Container:" } else { "Containers:" })?;
        for id in containers {
            out.line(id)?;
        }
        out.line("")?;
    }
    if !args.wait && args.service_container != Some(true) {
        return Ok(0);
    }
    out.flush()?;
    let ids: Vec<String> = made.iter().flat_map(|(_, ids)| ids.clone()).collect();
    let vigil = Vigil {
        containers: &ids,
        service: !args.wait,
        timers: plan.steps.iter().any(|s| matches!(s, Step::Timer(_))),
    };
    if args.wait {
        let mut down = || operation::down(session, &plan, false).map(drop);
        let codes = match attend::attend(session, &vigil, &mut down)? {
            End::Asked => Vec::new(),
            End::Over(codes) => {
                down()?;
                codes
            }
        };
        let greatest = codes.iter().map(|c| c & 0xFF).max();
        return Ok(greatest.and_then(|c| u8::try_from(c).ok()).unwrap_or(0));
    }
    let mut stop = || {
        let mut pods = made.iter().rev();
        pods.try_for_each(|(pod, _)| operation::clear(session, pod))
    };
    Ok(match attend::attend(session, &vigil, &mut stop)? {
        End::Asked => 0,
        End::Over(codes) => propagation.code(&codes),
    })
}

/// Builds images of folders: those that are not here, or with `--build` all that have one.
fn build(
    plan: &Plan,
    wanted: Option<bool>,
    context: Option<&Path>,
    session: &mut Session,
    out: &mut Out,
) -> Result<()> {
    if wanted == Some(false) {
        return Ok(());
    }
    let mut done = BTreeSet::new();
    for step in &plan.steps {
        let Step::Container { image, .. } = step else {
            continue;
        };
        if !done.insert(image) || (wanted.is_none() && lookup(session, image).is_ok()) {
            continue;
        }
        let folder = kube::image_folder(image);
        let folder = context.unwrap_or(Path::new(".")).join(folder);
        let there = |name: &&str| folder.join(name).is_file();
        let Some(file) = ["Containerfile", "Dockerfile"].into_iter().find(there) else {
            continue;
        };
        let line: Vec<String> = [
            "coracle",
            "build",
            "--quiet",
            &format!("--tag={image}"),
            &format!("--file={}", folder.join(file).display()),
            &folder.to_string_lossy(),
        ]
        .into_iter()
        .map(str::to_owned)
        .collect();
        if crate::cli::again(&line, session, out)? != 0 {
            return Err(Error::new(
                Kind::Unavailable,
                format!("cannot build {image} in {}", folder.display()),
            ));
        }
    }
    Ok(())
}

/// Sees to it that no pod of the plan is there.
fn vacate(plan: &Plan, replace: bool, session: &Session) -> Result<()> {
    let pods = Pods::new(&session.dirs);
    for step in &plan.steps {
        let name = match step {
            Step::Pod { name, .. } => name,
            Step::Timer(timer) => {
                operation::timer::vacant(session, &timer.name, replace)?;
                continue;
            }
            _ => continue,
        };
        let Some(old) = pods.get(&name.parse()?)? else {
            continue;
        };
        if !replace {
            return Err(
                Error::new(Kind::Exists, format!("pod {name:?} exists already"))
                    .hint("use --replace, or `coracle kube down` first"),
            );
        }
        operation::clear(session, &old)?;
    }
    Ok(())
}

fn carry_out(
    plan: &Plan,
    start: bool,
    session: &mut Session,
    out: &mut Out,
    made: &mut Vec<(PodRecord, Vec<String>)>,
) -> Result<()> {
    for step in &plan.steps {
        match step {
            Step::Pod { name, words } => {
                let mut all = vec![format!("--name={name}")];
                all.extend(words.iter().cloned());
                made.push((pod::create::by_words(&all, session, out)?, Vec::new()));
            }
            Step::Container { words, .. } => {
                // systemd hears of the manifest as a whole.
                let mut words = words.clone();
                words.insert(0, "--sdnotify=ignore".to_owned());
                let id = container::create::by_words(&words, session, out)?;
                if let Some((_, containers)) = made.last_mut() {
                    containers.push(id.to_string());
                }
            }
            Step::Start(name) if start => {
                let found = made.iter().find(|(pod, _)| pod.name.as_str() == name);
                if let Some((pod, _)) = found {
                    act::start(session, pod, &mut |text| out.warn(text))?;
                }
            }
            Step::Timer(timer) => {
                operation::timer::install(session, timer, &mut |text| out.warn(text))?;
                out.line("CronJob:")?;
                out.line(&timer.name)?;
            }
            other => operation::prepare(session, other)?,
        }
    }
    Ok(())
}

fn wish(args: &PlayArgs, session: &Session) -> Result<Wish> {
    let mut config_maps = read_all(session, &args.configmap)?;
    config_maps.retain(|o| o.get("kind").and_then(Value::as_str) == Some("ConfigMap"));
    Ok(Wish {
        networks: args.network.clone(),
        config_maps,
        publish: args.publish.clone(),
        publish_all: args.publish_all,
        userns: args.userns.clone(),
        annotations: args.annotation.clone(),
        log_driver: args.log_driver.clone(),
        log_opts: args.log_opt.clone(),
        no_hosts: args.no_hosts,
        ips: args.ip.clone(),
        macs: args.mac_address.clone(),
        seccomp_root: args.seccomp_profile_root.clone(),
        no_pod_prefix: args.no_pod_prefix,
    })
}

/// The objects of all manifests.
///
/// # Errors
/// What reading says; `Invalid` for what is no manifest.
pub(super) fn read_all(session: &Session, names: &[String]) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for name in names {
        let bytes = if name == "-" {
            let mut bytes = Vec::new();
            std::io::stdin()
                .take(LIMIT)
                .read_to_end(&mut bytes)
                .what(|| "cannot read standard input")?;
            bytes
        } else if name.starts_with("http://") || name.starts_with("https://") {
            operation::fetch(session, name)?
        } else {
            crate::base::fs::read(Path::new(name), LIMIT)?
        };
        let text =
            String::from_utf8(bytes).what_kind(Kind::Invalid, || format!("{name} is no text"))?;
        objects.extend(kube::parse(&text, name)?);
    }
    Ok(objects)
}

/// Prints what went, as podman does.
///
/// # Errors
/// When nobody reads standard output any more.
pub(super) fn show_downed(gone: &Downed, out: &mut Out) -> Result<()> {
    for (head, list) in [
        ("Pods stopped:", &gone.pods),
        ("Pods removed:", &gone.pods),
        ("Secrets removed:", &gone.secrets),
        ("Volumes removed:", &gone.volumes),
        ("CronJobs removed:", &gone.timers),
    ] {
        if head.starts_with("CronJobs") && list.is_empty() {
            continue;
        }
        out.line(head)?;
        for item in list {
            out.line(item)?;
        }
    }
    Ok(())
}
