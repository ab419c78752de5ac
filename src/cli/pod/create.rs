//! `pod create`.

use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command};

use crate::base::{Context as _, Error, Result};
use crate::cli::container::options::{CreateFlags, Manner};
use crate::cli::container::run::ask;
use crate::cli::output::Out;
use crate::operations::pod::create::{self as operation, Request};
use crate::operations::session::Session;
use crate::state::options::{ContainerOptions, Resources};
use crate::state::pod::{PodRecord, Share};

/// The flags of `run` that a pod has as well, by their names in the tree.
const SHARED: &[&str] = &[
    "name",
    "replace",
    "label",
    "label_file",
    "restart",
    "pod_id_file",
    "network",
    "network_alias",
    "ip",
    "ip6",
    "mac_address",
    "publish",
    "service",
    "hostname",
    "no_hostname",
    "add_host",
    "no_hosts",
    "hosts_file",
    "dns",
    "dns_search",
    "dns_option",
    "security_opt",
    "userns",
    "uidmap",
    "gidmap",
    "pid",
    "uts",
    "sysctl",
    "volume",
    "mount",
    "tmpfs",
    "volumes_from",
    "device",
    "gpus",
    "shm_size",
    "shm_size_systemd",
    "subuidname",
    "subgidname",
    "cgroup_parent",
    "memory",
    "memory_swap",
    "cpus",
    "cpu_shares",
    "cpuset_cpus",
    "cpuset_mems",
    "blkio_weight",
    "blkio_weight_device",
    "device_read_bps",
    "device_write_bps",
];

/// The flags of `run` that a pod shares with containers. Others are refused.
#[derive(Debug)]
pub struct PodFlags(CreateFlags);

/// The tree of `run` with the flags that are in `shared` alone; the others are hidden.
pub(super) fn augment(command: Command, shared: &'static [&'static str]) -> Command {
    <CreateFlags as clap::Args>::augment_args(command).mut_args(|arg| {
        let id = arg.get_id().clone();
        match id.as_str() {
            id if !shared.contains(&id) => arg.hide(true),
            "name" => arg.short('n').help("Name of the pod; generated if absent"),
            "replace" => arg.help("Remove a pod of the same name first"),
            "pod_id_file" => arg.help("Write the pod's id to a file that must not exist"),
            "restart" => arg.help("When to start its containers again, unless they say it"),
            _ => arg,
        }
    })
}

/// Reads the flags; those that are not in `shared` are refused.
pub(super) fn flags(
    matches: &ArgMatches,
    shared: &[&str],
) -> std::result::Result<CreateFlags, clap::Error> {
    let own = <CreateFlags as clap::Args>::augment_args(Command::new("pod"));
    let foreign = own.get_arguments().find(|arg| {
        let id = arg.get_id().as_str();
        !shared.contains(&id)
            && matches.try_contains_id(id).unwrap_or(false)
            && matches.value_source(id) == Some(clap::parser::ValueSource::CommandLine)
    });
    if let Some(arg) = foreign {
        let name = arg.get_long().unwrap_or_default();
        let known = SHARED.contains(&arg.get_id().as_str());
        return Err(clap::Error::raw(
            clap::error::ErrorKind::UnknownArgument,
            match known {
                true => format!("--{name} stays as the first pod has it"),
                false => format!("--{name} is for containers, not for pods"),
            },
        ));
    }
    <CreateFlags as clap::FromArgMatches>::from_arg_matches(matches)
}

impl clap::Args for PodFlags {
    fn augment_args(command: Command) -> Command {
        augment(command, SHARED)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for PodFlags {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        flags(matches, SHARED).map(Self)
    }

    fn update_from_arg_matches(
        &mut self,
        matches: &ArgMatches,
    ) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Make a pod
///
/// Its containers share the network, the host name and IPC, unless --share says otherwise. What is
/// shared is held by a process of coracle's own: no image is needed for it. Prints the pod's id.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    #[command(flatten)]
    flags: PodFlags,
    /// What happens when the last container ended: continue, or stop
    #[arg(long, value_name = "POLICY", help_heading = "Pod")]
    exit_policy: Option<String>,
    /// Hold namespaces that the containers share (on by default)
    #[arg(long, help_heading = "Pod")]
    infra: Option<bool>,
    /// Name of the container that holds them; absent means the pod's with -infra behind
    #[arg(long, value_name = "NAME", help_heading = "Pod")]
    infra_name: Option<String>,
    /// Namespaces to share: cgroup, ipc, net, pid, uts, none; +NAME adds to the usual ones
    #[arg(long, value_name = "LIST", help_heading = "Pod")]
    share: Option<String>,
    /// Give the containers a common cgroup (they have one where the pod has limits)
    #[arg(long, hide = true)]
    share_parent: Option<bool>,
    /// podman's: nothing of an image runs, so there is none
    #[arg(long, hide = true)]
    infra_image: Option<String>,
    /// podman's: what holds the namespaces is coracle itself
    #[arg(long, hide = true)]
    infra_command: Option<String>,
    /// Write the process id of the monitor that holds the namespaces to a file, which systemd reads
    /// as PIDFile=
    #[arg(long, value_name = "FILE", help_heading = "Pod")]
    infra_conmon_pidfile: Option<PathBuf>,
    /// Its name, if --name is not used
    #[arg(value_name = "NAME")]
    called: Option<String>,
}

/// Runs `pod create`: prints the id.
///
/// # Errors
/// What the operation says.
pub fn run(args: CreateArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    tell_of_infra("--infra-image", args.infra_image.as_ref(), out);
    tell_of_infra("--infra-command", args.infra_command.as_ref(), out);
    let made = make(args, session, out)?;
    out.line(made.id.as_str())?;
    Ok(0)
}

/// Says what a flag about podman's own container is worth.
pub(super) fn tell_of_infra(flag: &str, given: Option<&String>, out: &mut Out) {
    if given.is_some() {
        out.warn(&format!(
            "{flag} has no effect: a pod's namespaces are held by coracle itself"
        ));
    }
}

/// As `pod create` with these words, printing nothing.
///
/// # Errors
/// What the words or the operation say.
pub(in crate::cli) fn by_words(
    words: &[String],
    session: &mut Session,
    out: &mut Out,
) -> Result<PodRecord> {
    let args = crate::cli::frame::args_of::<CreateArgs>(words)?;
    make(args, session, out)
}

fn make(args: CreateArgs, session: &mut Session, out: &mut Out) -> Result<PodRecord> {
    let request = request(args, session, out)?;
    operation::create(session, request, &mut |text| out.warn(text))
}

fn request(args: CreateArgs, session: &mut Session, out: &Out) -> Result<Request> {
    let mut flags = args.flags.0;
    let id_file = flags.take_pod_id_file();
    let manner = Manner {
        create: true,
        ..Manner::default()
    };
    let (mut asked, run) = ask(flags, &manner, &["pod".to_owned()], session, out)?;
    asked.image.clear();
    asked.monitor_pidfile = args
        .infra_conmon_pidfile
        .as_deref()
        .map(absolute)
        .transpose()?;
    let has_infra = args.infra.unwrap_or(true);
    let share = match (args.share.as_deref(), has_infra) {
        (Some(text), _) => Share::parse(text)?,
        (None, true) => Share::USUAL.to_vec(),
        (None, false) => Vec::new(),
    };
    asked.resources.pids_limit = None;
    if asked.resources != Resources::default() && !has_infra {
        return Err(Error::invalid("limits of a pod need --infra"));
    }
    let has_group = asked.resources != Resources::default() || asked.cgroup_parent.is_some();
    if args.share_parent == Some(false) && has_group {
        return Err(Error::invalid(
            "--share-parent=false and a control group of the pod contradict each other",
        )
        .hint("leave it out, or give the limits and --cgroup-parent to the containers"));
    }
    let name = match (asked.name.take(), args.called) {
        (Some(_), Some(other)) => {
            return Err(Error::invalid(format!(
                "--name and the name {other:?} exclude each other"
            )));
        }
        (a, b) => a.or(b),
    };
    Ok(Request {
        name,
        labels: std::mem::take(&mut asked.labels),
        share,
        exit_policy: args.exit_policy.as_deref().unwrap_or_default().parse()?,
        restart: std::mem::take(&mut asked.restart),
        id_file,
        replace: run.replace,
        infra_name: args.infra_name,
        create_command: std::mem::take(&mut asked.create_command),
        infra: has_infra.then(|| Box::new(kept(asked))),
    })
}

/// The path of `--infra-conmon-pidfile`, for whoever is in another folder.
pub(super) fn absolute(file: &Path) -> Result<PathBuf> {
    std::path::absolute(file).what(|| format!("cannot find {}", file.display()))
}

/// What of the options is the pod's: the rest is what containers.conf says of every container.
pub(super) fn kept(asked: ContainerOptions) -> ContainerOptions {
    ContainerOptions {
        network: asked.network,
        hostname: asked.hostname,
        no_hostname: asked.no_hostname,
        mounts: asked.mounts,
        volumes_from: asked.volumes_from,
        devices: asked.devices,
        cdi_devices: asked.cdi_devices,
        gpus: asked.gpus,
        cdi_dirs: asked.cdi_dirs,
        security: asked.security,
        shm_size: asked.shm_size,
        shm_size_systemd: asked.shm_size_systemd,
        // What containers.conf says of processes is for each container.
        resources: Resources {
            pids_limit: None,
            ..asked.resources
        },
        pid: asked.pid,
        uts: asked.uts,
        userns: asked.userns,
        userns_asked: asked.userns_asked,
        sysctls: asked.sysctls,
        cgroup_parent: asked.cgroup_parent,
        cgroup_manager: asked.cgroup_manager,
        monitor_pidfile: asked.monitor_pidfile,
        ..ContainerOptions::default()
    }
}
