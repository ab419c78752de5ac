//! `compose`: projects of many containers.

mod config;
mod deploy;
mod export;
mod inside;
mod line;
mod lists;
mod logs;
pub(in crate::cli) mod project;
mod up;
mod verbs;
mod watch;

pub use line::line;

use super::frame::Entry;
use crate::command;

/// The commands below `compose`.
pub const NOUN: &[Entry] = &[
    command!("up", "Make and start containers", up::UpArgs, up::up),
    command!(
        "create",
        "Make containers without starting them",
        up::CreateArgs,
        up::create
    ),
    command!(
        "scale",
        "Set how many containers services have",
        up::ScaleArgs,
        up::scale
    ),
    command!(
        "down",
        "Stop and remove containers and networks",
        verbs::DownArgs,
        verbs::down
    ),
    command!(
        "start",
        "Start containers that exist",
        verbs::StartArgs,
        verbs::start
    ),
    command!("stop", "Stop containers", verbs::StopArgs, verbs::stop),
    command!(
        "restart",
        "Stop containers and start them again",
        verbs::RestartArgs,
        verbs::restart
    ),
    command!(
        "rm",
        "Remove containers that do not run",
        verbs::RmArgs,
        verbs::rm
    ),
    command!(
        "kill",
        "Send a signal to containers",
        verbs::KillArgs,
        verbs::kill
    ),
    command!("pause", "Freeze containers", verbs::PauseArgs, verbs::pause),
    command!(
        "unpause",
        "Let frozen containers go on",
        verbs::PauseArgs,
        verbs::unpause
    ),
    command!(
        "wait",
        "Wait until containers end",
        verbs::WaitArgs,
        verbs::wait
    ),
    command!("ps", "List containers", lists::PsArgs, lists::ps),
    command!("ls", "List projects", lists::LsArgs, lists::ls),
    command!(
        "images",
        "List the images of containers",
        lists::ImagesArgs,
        lists::images
    ),
    command!(
        "volumes",
        "List volumes",
        lists::VolumesArgs,
        lists::volumes
    ),
    command!(
        "port",
        "Print the public address of a port",
        lists::PortArgs,
        lists::port
    ),
    command!(
        "version",
        "Print the version",
        lists::VersionArgs,
        lists::version
    ),
    command!(
        "logs",
        "Show the output of containers",
        logs::LogsArgs,
        logs::run
    ),
    command!(
        "config",
        "Print the project as it was understood",
        config::ConfigArgs,
        config::run
    )
    .aliases(&["convert"]),
    command!(
        "build",
        "Build the images of services",
        up::BuildArgs,
        up::build
    ),
    command!(
        "pull",
        "Pull the images of services",
        up::PullArgs,
        up::pull
    ),
    command!(
        "push",
        "Push the images of services",
        up::PushArgs,
        up::push
    ),
    command!(
        "exec",
        "Run a command in a running container",
        inside::ExecArgs,
        inside::exec
    ),
    command!(
        "run",
        "Run a command in a new container of a service",
        inside::RunArgs,
        inside::run
    ),
    command!(
        "cp",
        "Copy files to and from containers",
        inside::CpArgs,
        inside::cp
    ),
    command!(
        "top",
        "List the processes of containers",
        inside::TopArgs,
        inside::top
    ),
    command!(
        "stats",
        "Show what containers use",
        inside::StatsArgs,
        inside::stats
    ),
    command!(
        "events",
        "Show what happens to containers",
        inside::EventsArgs,
        inside::events
    ),
    command!(
        "attach",
        "Connect to the streams of a container",
        inside::AttachArgs,
        inside::attach
    ),
    command!(
        "export",
        "Write a project for a cluster, or a container's files as a tar",
        export::ExportArgs,
        export::run
    ),
    command!(
        "deploy",
        "Hand a project to a cluster",
        deploy::DeployArgs,
        deploy::run
    ),
    command!(
        "commit",
        "Make an image of a container",
        inside::CommitArgs,
        inside::commit
    ),
    command!(
        "watch",
        "Bring changed files into containers",
        watch::WatchArgs,
        watch::run
    ),
];
