//! A program of the host's inside the caller's user namespace, where the store's files belong to
//! whom they belong to.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::IntoRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::base::{Context as _, Error, Kind, Result};
use crate::config::containers_conf;
use crate::network::bridge::client;
use crate::network::facts;
use crate::operations::session::Session;
use crate::runtime::userns;
use crate::state::options::NetworkOptions;
use crate::sys::{exec, fd, namespace};

/// Enters the user namespace and becomes `command`, or the caller's shell when it is empty; with
/// `on_bridges` in the network namespace of the bridges, which lasts as long as the command. Only
/// returns on failure.
///
/// # Errors
/// With exit code 127 when there is no such program, 126 when it cannot be executed; what entering
/// says.
pub fn unshare(session: &Session, command: &[String], on_bridges: bool) -> Result<Infallible> {
    let shell;
    let command = if command.is_empty() {
        shell = [session.env.text("SHELL").unwrap_or("/bin/sh".to_owned())];
        &shell
    } else {
        command
    };
    let name = &command[0];
    let what = || format!("cannot run {name:?} in the user namespace");
    let path = find(session, name).ok_or_else(|| {
        Error::not_found(what())
            .because(format!("{name}: not found in PATH"))
            .exit_code(127)
    })?;
    let entered = userns::enter(&session.dirs, userns::Want::Default)?;
    if session.progress.is_seen() {
        userns::tell(&session.dirs, &entered, &mut |text| {
            session.progress.message(text);
        });
    }
    if on_bridges {
        enter_bridges(session)?;
    }
    let env = environment(session);
    let program = exec::Program::new(
        command.iter().map(String::as_str),
        env.iter().map(String::as_str),
    )
    .what(what)?;
    let path = CString::new(path.as_os_str().as_bytes()).what_kind(Kind::Invalid, what)?;
    exec::path(&path, &program).map_err(|e| {
        let code = if e.errno == libc::ENOENT { 127 } else { 126 };
        Error::from(e).exit_code(code)
    })
}

fn enter_bridges(session: &Session) -> Result<()> {
    let conf = containers_conf::load()?;
    let host = facts::probe(&session.env, conf, &NetworkOptions::default());
    let visit = client::visit(&session.dirs.runtime, &client::outlet(&host, conf)?)?;
    for notice in &visit.notices {
        session.progress.message(notice);
    }
    namespace::join(&visit.bridges, namespace::Kind::Net.flag())
        .what(|| "cannot enter the namespace of networks")?;
    // The command has it, and the role ends some seconds after the command.
    fd::set_cloexec(&visit.socket, false).what(|| "cannot hand on a socket")?;
    let _kept = visit.socket.into_raw_fd();
    Ok(())
}

fn find(session: &Session, name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Path::new(name).exists().then(|| PathBuf::from(name));
    }
    session.env.find_program(name)
}

/// The caller's, with where things are: podman's names, which scripts know.
fn environment(session: &Session) -> Vec<String> {
    let set = [
        ("CONTAINERS_GRAPHROOT", &session.dirs.data),
        ("CONTAINERS_RUNROOT", &session.dirs.runtime),
        ("CORACLE_ROOT", &session.dirs.data),
        ("CORACLE_RUNROOT", &session.dirs.runtime),
    ];
    let mark = userns::mark();
    let kept = session
        .env
        .all()
        .into_iter()
        .filter(|(key, _)| set.iter().all(|(name, _)| name != key))
        .filter(|(key, _)| mark.as_ref().is_none_or(|(name, _)| name != key))
        .map(|(key, value)| format!("{key}={value}"));
    kept.chain(set.map(|(name, path)| format!("{name}={}", path.display())))
        .chain(mark.iter().map(|(name, value)| format!("{name}={value}")))
        .collect()
}
