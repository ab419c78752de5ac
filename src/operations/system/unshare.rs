//! A program of the host's inside the caller's user namespace, where the store's files belong to
//! whom they belong to.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::base::{Context as _, Error, Kind, Result};
use crate::operations::session::Session;
use crate::runtime::userns;
use crate::sys::exec;

/// Enters the user namespace and becomes `command`, or the caller's shell when it is empty. Only
/// returns on failure.
///
/// # Errors
/// With exit code 127 when there is no such program, 126 when it cannot be executed; what entering
/// says.
pub fn unshare(session: &Session, command: &[String]) -> Result<Infallible> {
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
