//! Commands about containers: words to requests, results to text.

use super::frame::Entry;
use super::output::Out;
use crate::command;

pub mod attach;
pub mod auto_update;
pub mod clone;
pub mod commit;
pub mod cp;
pub mod create;
pub mod diff;
pub mod exec;
pub mod exec_options;
pub mod exists;
pub mod export;
pub mod init;
pub mod inspect;
pub mod kill;
pub mod logs;
pub mod mount;
pub mod options;
pub mod pause;
pub mod port;
pub mod prune;
pub mod ps;
pub mod rename;
pub mod restart;
pub mod rm;
pub mod run;
pub mod start;
pub mod stats;
pub mod stop;
mod targets;
pub mod top;
pub mod update;
pub mod wait;

/// Standard output as a sink for archives.
struct ToOut<'a>(&'a mut Out);

impl std::io::Write for ToOut<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.bytes(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(_) if self.0.is_closed() => Err(std::io::ErrorKind::BrokenPipe.into()),
            Err(e) => Err(std::io::Error::other(e)),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush().map_err(std::io::Error::other)
    }
}

/// `coracle VERB` and `coracle container VERB`.
pub const BOTH: &[Entry] = &[
    command!(
        "attach",
        "Attach to a running container",
        attach::AttachArgs,
        attach::run
    ),
    command!(
        "logs",
        "Show what containers wrote",
        logs::LogsArgs,
        logs::run
    ),
    command!(
        "wait",
        "Wait for containers and print their exit codes",
        wait::WaitArgs,
        wait::run
    ),
    command!(
        "commit",
        "Make an image of a container",
        commit::CommitArgs,
        commit::run
    ),
    command!(
        "cp",
        "Copy files between a container and the host",
        cp::CpArgs,
        cp::run
    ),
    command!(
        "create",
        "Make a container without starting it",
        create::CreateArgs,
        create::run
    ),
    command!(
        "diff",
        "Show what a container changed in its file system",
        diff::DiffArgs,
        diff::run
    ),
    command!(
        "exec",
        "Run a command in a running container",
        exec_options::ExecArgs,
        exec::run
    ),
    command!(
        "export",
        "Write a container's file system as a tar",
        export::ExportArgs,
        export::run
    ),
    command!(
        "init",
        "Check that containers can be started, and fill their volumes",
        init::InitArgs,
        init::run
    ),
    command!(
        "kill",
        "Send a signal to the first process of containers",
        kill::KillArgs,
        kill::run
    ),
    command!(
        "mount",
        "Show containers' file systems at a path of the host's",
        mount::MountArgs,
        mount::mount
    ),
    command!(
        "unmount",
        "Take those mounts away",
        mount::UnmountArgs,
        mount::unmount
    )
    .aliases(&["umount"]),
    command!(
        "pause",
        "Freeze all processes of containers",
        pause::PauseArgs,
        pause::run
    ),
    command!(
        "port",
        "Show the published ports of containers",
        port::PortArgs,
        port::run
    ),
    command!(
        "rename",
        "Give a container another name",
        rename::RenameArgs,
        rename::run
    ),
    command!(
        "restart",
        "Stop containers if they run, and start them",
        restart::RestartArgs,
        restart::run
    ),
    command!("rm", "Remove containers", rm::RmArgs, rm::run).aliases(&["remove"]),
    command!(
        "run",
        "Run a command in a new container",
        run::RunArgs,
        run::run
    ),
    command!(
        "start",
        "Start containers that exist",
        start::StartArgs,
        start::run
    ),
    command!(
        "stats",
        "Show what running containers use",
        stats::StatsArgs,
        stats::run
    ),
    command!("stop", "Stop running containers", stop::StopArgs, stop::run),
    command!(
        "top",
        "Show the processes of a container",
        top::TopArgs,
        top::run
    ),
    command!(
        "unpause",
        "Let frozen containers go on",
        pause::PauseArgs,
        pause::unpause
    ),
    command!(
        "update",
        "Change limits, health checks and restart policy of a container",
        update::UpdateArgs,
        update::run
    ),
];

/// `coracle VERB` only.
pub const TOP: &[Entry] = &[
    command!(
        "auto-update",
        "Start units anew whose containers have newer images",
        auto_update::AutoUpdateArgs,
        auto_update::run
    ),
    command!(
        "inspect",
        "Show everything about objects of any kind",
        inspect::InspectArgs,
        inspect::run
    ),
    command!("ps", "List containers", ps::PsArgs, ps::run),
];

/// `coracle container VERB` only.
pub const NOUN: &[Entry] = &[
    command!(
        "cleanup",
        "Clean up after containers that ended",
        init::CleanupArgs,
        init::cleanup
    ),
    command!(
        "clone",
        "Make a container with the options of another one",
        clone::CloneArgs,
        clone::run
    ),
    command!(
        "exists",
        "Say by the exit code whether a container exists",
        exists::ExistsArgs,
        exists::run
    ),
    command!(
        "inspect",
        "Show everything about containers",
        inspect::ContainerInspectArgs,
        inspect::container
    ),
    command!(
        "prune",
        "Remove all containers that do not run",
        prune::PruneArgs,
        prune::run
    ),
    command!("ps", "List containers", ps::PsArgs, ps::run).aliases(&["ls", "list"]),
];
