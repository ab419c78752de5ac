//! Hooks: programs of others at fixed points of a container's life, the state on their standard
//! input.
//!
//! Spec: runtime-spec, config, "POSIX-platform Hooks"; runtime, "State".

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Serialize;

use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::runtime::Hook;
use crate::sys::{fd, memfd, pidfd};

/// How much of a failed hook's standard error is told.
const SAID: usize = 2 << 10;

/// A container's state, as hooks, agents and `state` see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the specification.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// `creating`, `created`, `running` or `stopped`.
    pub status: &'static str,
    /// Its first process, as the host counts; absent when there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub pid: i32,
    /// The bundle's absolute path.
    pub bundle: String,
    /// The configuration's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_zero(pid: &i32) -> bool {
    *pid == 0
}

impl State {
    /// The same in another status.
    #[must_use]
    pub fn at(&self, status: &'static str) -> Self {
        Self {
            status,
            ..self.clone()
        }
    }
}

/// A seccomp agent, and what it is told beside the container's state.
#[derive(Debug)]
pub struct Agent {
    /// The connection.
    pub socket: OwnedFd,
    /// `listenerMetadata`.
    pub metadata: Option<String>,
    /// The container's state.
    pub state: State,
}

impl Agent {
    /// The connection, and the message for a process with that pid.
    ///
    /// Spec: config-linux, "The Container Process State".
    pub(crate) fn message(self, pid: i32) -> (OwnedFd, Vec<u8>) {
        let message = serde_json::json!({
            "ociVersion": self.state.oci_version,
            "fds": ["seccompFd"],
            "pid": pid,
            "metadata": self.metadata.unwrap_or_default(),
            "state": self.state,
        });
        (self.socket, message.to_string().into_bytes())
    }
}

/// Checks hooks before anything is made.
///
/// # Errors
/// `Invalid` for a relative path and a timeout that is not positive.
pub fn check(hooks: &[Hook]) -> Result<()> {
    for hook in hooks {
        if !hook.path.starts_with('/') {
            return Err(Error::invalid(format!(
                "the hook {:?} is not an absolute path",
                hook.path
            )));
        }
        if hook.timeout.is_some_and(|t| t <= 0) {
            return Err(Error::invalid(format!(
                "the timeout of the hook {} is not positive",
                hook.path
            )));
        }
    }
    Ok(())
}

/// Runs hooks one after the other, until one fails.
///
/// # Errors
/// The first hook that could not be run, ended with another code than 0, or took too long.
pub fn run(kind: &str, hooks: &[Hook], state: &State) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let text = text(state)?;
    if kind != "startContainer" {
        // What our caller has open is none of a hook's business either. (There the program's own
        // are in their places already, and nothing else.)
        fd::cloexec_from(3)?;
    }
    for hook in hooks {
        one(kind, hook, &text)?;
    }
    Ok(())
}

/// Runs all hooks, whatever becomes of each; the failures.
///
/// # Errors
/// Only if the state cannot be written down.
pub fn run_all(kind: &str, hooks: &[Hook], state: &State) -> Result<Vec<Error>> {
    if hooks.is_empty() {
        return Ok(Vec::new());
    }
    let text = text(state)?;
    fd::cloexec_from(3)?;
    let failed = hooks.iter().filter_map(|hook| one(kind, hook, &text).err());
    Ok(failed.collect())
}

fn text(state: &State) -> Result<Vec<u8>> {
    serde_json::to_vec(state).what(|| "cannot write the container's state")
}

fn one(kind: &str, hook: &Hook, state: &[u8]) -> Result<()> {
    let what = || format!("cannot run the {kind} hook {}", hook.path);
    let (reader, writer) = fd::pipe()?;
    let mut command = Command::new(&hook.path);
    command
        .env_clear()
        // A file, not a pipe: whether and how much the hook reads is its own business.
        .stdin(memfd::sealed("state", state)?)
        .stdout(Stdio::null())
        .stderr(writer);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    for entry in &hook.env {
        if let Some((key, value)) = entry.split_once('=') {
            command.env(key, value);
        }
    }
    let child = command.spawn().what(what)?;
    // Our copy of the writing end.
    drop(command);
    let process = pidfd::open(child.id().cast_signed())?;
    let patience = hook
        .timeout
        .and_then(|t| u64::try_from(t).ok())
        .map(Duration::from_secs);
    if !pidfd::wait_end(&process, patience)? {
        drop(pidfd::send_signal(&process, libc::SIGKILL));
        drop(pidfd::wait(&process));
        return Err(Error::new(
            Kind::TimedOut,
            format!(
                "the {kind} hook {} took more than {} s",
                hook.path,
                hook.timeout.unwrap_or_default()
            ),
        ));
    }
    match pidfd::wait(&process)? {
        pidfd::Ended::Exited(0) => Ok(()),
        ended => {
            let how = match ended {
                pidfd::Ended::Exited(code) => format!("exit status {code}"),
                pidfd::Ended::Signalled(signal) => format!("signal {signal}"),
            };
            // What it left in the pipe; a grandchild may still hold the other end.
            fd::set_nonblocking(&reader, true)?;
            let mut buffer = [0; SAID];
            let length = rustix::io::read(&reader, &mut buffer).unwrap_or(0);
            let said = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            Err(Error::new(
                Kind::Invalid,
                format!(
                    "error running {kind} hook {}: {how}, stderr: {}",
                    hook.path,
                    said.trim()
                ),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            oci_version: "1.2.0".into(),
            id: "x".into(),
            status: "creating",
            pid: 7,
            bundle: "/b".into(),
            annotations: BTreeMap::new(),
        }
    }

    fn sh(script: &str) -> Hook {
        Hook {
            path: "/bin/sh".into(),
            args: vec!["hook".into(), "-c".into(), script.into()],
            env: vec!["A=b".into()],
            timeout: None,
        }
    }

    #[test]
    fn hooks_get_the_state_and_their_environment_and_the_first_failure_counts() {
        let script = r#"read line; test "$A$PATH0" = b && test "$0" = hook && case $line in *'"status":"creating","pid":7'*) exit 0;; esac; exit 9"#;
        run("prestart", &[sh(script)], &state()).unwrap();
        let failing = [sh("echo oh >&2; exit 3"), sh("exit 4")];
        let e = run("prestart", &failing, &state()).unwrap_err();
        assert!(e.what().ends_with("exit status 3, stderr: oh"), "{e}");
        assert_eq!(run_all("poststop", &failing, &state()).unwrap().len(), 2);
    }

    #[test]
    fn a_hook_that_takes_too_long_is_ended() {
        let slow = Hook {
            timeout: Some(1),
            ..sh("exec sleep 100")
        };
        let e = run("prestart", &[slow], &state()).unwrap_err();
        assert_eq!(e.kind(), Kind::TimedOut);
        let bad = Hook {
            timeout: Some(0),
            ..sh("")
        };
        assert!(check(&[bad]).is_err());
    }
}
