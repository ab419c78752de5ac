//! `pod clone`.

use std::path::PathBuf;

use clap::{ArgMatches, Command};

use super::create::{absolute, augment, flags, kept, tell_of_infra};
use crate::base::{Error, Result};
use crate::cli::container::options::{CreateFlags, Manner};
use crate::cli::container::run::ask;
use crate::cli::frame;
use crate::cli::output::Out;
use crate::operations::pod::copy::{CloneOptions, clone};
use crate::operations::session::Session;
use crate::state::options::{ContainerOptions, RestartPolicy};
use crate::state::pod::Pods;

/// The flags of `pod create` that another pod can have differently.
const CHANGED: &[&str] = &[
    "name",
    "label",
    "label_file",
    "restart",
    "hostname",
    "security_opt",
    "userns",
    "uidmap",
    "gidmap",
    "subuidname",
    "subgidname",
    "pid",
    "uts",
    "sysctl",
    "volume",
    "volumes_from",
    "device",
    "gpus",
    "shm_size",
    "shm_size_systemd",
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

/// Those flags. Others are refused.
#[derive(Debug)]
pub struct CloneFlags(CreateFlags);

impl clap::Args for CloneFlags {
    fn augment_args(command: Command) -> Command {
        augment(command, CHANGED).mut_arg("name", |arg| {
            arg.help("Name of the new one; else the first one's with -clone")
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for CloneFlags {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        flags(matches, CHANGED).map(Self)
    }

    fn update_from_arg_matches(
        &mut self,
        matches: &ArgMatches,
    ) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Make a pod with the options of another one, and its containers anew
///
/// Named volumes are shared; file systems and anonymous volumes are new. What is given here replaces what the first pod
/// has; labels, volumes, devices and kernel settings are added to its own. Prints the new pod's id.
#[derive(Debug, clap::Args)]
pub struct CloneArgs {
    #[command(flatten)]
    flags: CloneFlags,
    /// Remove the first pod afterwards
    #[arg(long, help_heading = "Pod")]
    destroy: bool,
    /// Start the new one
    #[arg(long, help_heading = "Pod")]
    start: bool,
    /// Name of the container that holds the namespaces; absent means the pod's with -infra behind
    #[arg(long, value_name = "NAME", help_heading = "Pod")]
    infra_name: Option<String>,
    /// podman's: what holds the namespaces is coracle itself
    #[arg(long, hide = true)]
    infra_command: Option<String>,
    /// Write the process id of the monitor that holds the namespaces to a file, which systemd reads
    /// as PIDFile=
    #[arg(long, value_name = "FILE", help_heading = "Pod")]
    infra_conmon_pidfile: Option<PathBuf>,
    /// Name or id of the first one
    #[arg(value_name = "POD")]
    first: String,
    /// Name of the new one, if --name is not used
    #[arg(value_name = "NAME")]
    called: Option<String>,
}

/// Runs `pod clone`: prints the new id.
///
/// # Errors
/// What the operation says.
pub fn run(args: CloneArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    tell_of_infra("--infra-command", args.infra_command.as_ref(), out);
    let first = Pods::new(&session.dirs).find(&args.first)?;
    let mut asked = options(args.flags, session, out)?;
    // What nobody asked for, to tell it apart.
    let usual = frame::args_of::<CloneArgs>(&[args.first])?;
    let usual = options(usual.flags, session, out)?;
    let name = match (asked.name.take(), args.called) {
        (Some(_), Some(_)) => return Err(Error::invalid("the name is given twice")),
        (a, b) => a.or(b),
    };
    let wanted = CloneOptions {
        name,
        destroy: args.destroy,
        start: args.start,
        infra_name: args.infra_name,
        pidfile: args
            .infra_conmon_pidfile
            .as_deref()
            .map(absolute)
            .transpose()?,
        labels: std::mem::take(&mut asked.labels),
        restart: Some(asked.restart).filter(|r| *r != RestartPolicy::No),
        asked: Box::new(kept(asked)),
        usual: Box::new(kept(usual)),
    };
    let made = clone(session, &first, &wanted, &mut |text| out.warn(text))?;
    out.line(made.id.as_str())?;
    Ok(0)
}

fn options(flags: CloneFlags, session: &mut Session, out: &Out) -> Result<ContainerOptions> {
    let manner = Manner {
        create: true,
        ..Manner::default()
    };
    ask(flags.0, &manner, &["pod".to_owned()], session, out).map(|(options, _)| options)
}
