//! The flags of `runtime exec`.

use std::path::PathBuf;

use super::Globals;
use crate::base::{Error, Result};
use crate::cli::output::Out;
use crate::operations::ociruntime::create::Terminal;
use crate::operations::ociruntime::exec::{self, Changes, Request};

/// Run a further process in a running container
#[derive(Debug, clap::Args)]
pub(super) struct ExecArgs {
    /// Take the process from a file in config.json's form
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Working directory inside
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Further variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// User id, with :group
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<String>,
    /// Supplementary group
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,
    /// Further capability
    #[arg(short, long, value_name = "NAME")]
    cap: Vec<String>,
    /// AppArmor profile
    #[arg(long, value_name = "NAME")]
    apparmor: Option<String>,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// Forbid it to gain privileges
    #[arg(long)]
    no_new_privs: bool,
    /// Do not wait for its end
    #[arg(short, long)]
    detach: bool,
    /// Write its pid to a file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Send its terminal to who listens at this socket
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Pass so many further descriptors, from 3 on
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    preserve_fds: u32,
    /// Also in a paused container, where it waits
    #[arg(long)]
    ignore_paused: bool,
    /// Group below the container's cgroup
    #[arg(long, value_name = "PATH")]
    cgroup: Option<String>,
    /// Container, then the command with its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "CONTAINER [COMMAND [ARG…]]"
    )]
    words: Vec<String>,
}

/// Runs `exec`; answers the process's exit code.
pub(super) fn exec(args: ExecArgs, globals: &Globals, _out: &mut Out) -> Result<u8> {
    let mut words = args.words.into_iter();
    let id = words.next().unwrap_or_default();
    let command: Vec<String> = words.collect();
    if command.is_empty() && args.process.is_none() {
        return Err(Error::invalid("exec needs a command or --process"));
    }
    let terminal = match args.console_socket {
        Some(socket) => Terminal::Socket(socket),
        None if args.detach => Terminal::None,
        None => Terminal::Relay,
    };
    let request = Request {
        id,
        process: args.process,
        changes: Changes {
            args: command,
            cwd: args.cwd,
            env: args.env,
            tty: args.tty,
            user: args.user.as_deref().map(user).transpose()?,
            additional_gids: args.additional_gids,
            caps: args.cap,
            apparmor: args.apparmor,
            process_label: args.process_label,
            no_new_privs: args.no_new_privs,
        },
        terminal,
        detach: args.detach,
        pid_file: args.pid_file,
        preserve_fds: args.preserve_fds,
        ignore_paused: args.ignore_paused,
        cgroup: args.cgroup,
    };
    exec::exec(&globals.place()?, &request)
}

fn user(text: &str) -> Result<(u32, Option<u32>)> {
    let number = |part: &str| {
        part.parse()
            .map_err(|_| Error::invalid(format!("--user {text:?} is not UID or UID:GID")))
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
        None => Ok((number(text)?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        assert_eq!(user("5").unwrap(), (5, None));
        assert_eq!(user("5:6").unwrap(), (5, Some(6)));
        assert!(user("root").is_err() && user("1:").is_err());
    }
}
