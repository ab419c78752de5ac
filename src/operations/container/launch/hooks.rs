//! Hooks around containers of our own: which of the hook files apply (oci-hooks(5)), and those that
//! the monitor runs itself.

use crate::base::{Error, Result};
use crate::config::oci_hooks::{self, HookFile, When};
use crate::operations::container::pattern::Pattern;
use crate::operations::session::Session;
use crate::runtime::Launched;
use crate::runtime::hooks::{self, State};
use crate::spec::runtime::{Hook, Hooks, Spec};
use crate::state::container::Container;
use crate::sys::pidfd;

/// The hooks for a container; `None` when there are none, as nearly always.
///
/// # Errors
/// As `config::oci_hooks::read`; `Invalid` for a bad pattern or stage.
pub(super) fn of(session: &Session, spec: &Spec, has_binds: bool) -> Result<Option<Hooks>> {
    let mut all = Hooks::default();
    for file in oci_hooks::read(&session.options.hooks_dirs)? {
        if !applies(&file.when, spec, has_binds)? {
            continue;
        }
        for stage in &file.stages {
            stage_of(&mut all, stage, &file)?.push(file.hook.clone());
        }
    }
    Ok((all != Hooks::default()).then_some(all))
}

fn stage_of<'a>(all: &'a mut Hooks, stage: &str, file: &HookFile) -> Result<&'a mut Vec<Hook>> {
    Ok(match stage {
        "prestart" => &mut all.prestart,
        "createRuntime" => &mut all.create_runtime,
        "createContainer" => &mut all.create_container,
        "startContainer" => &mut all.start_container,
        "poststart" => &mut all.poststart,
        "poststop" => &mut all.poststop,
        other => {
            return Err(Error::invalid(format!(
                "the hook {} has an unknown stage {other:?}",
                file.hook.path
            )));
        }
    })
}

fn applies(when: &When, spec: &Spec, has_binds: bool) -> Result<bool> {
    let mut conditions = 0;
    for (given, holds) in [(when.always, true), (when.has_bind_mounts, has_binds)] {
        match given {
            None => {}
            Some(true) if holds => conditions += 1,
            Some(_) => return Ok(false),
        }
    }
    for (key, value) in &when.annotations {
        let (key, value) = (Pattern::parse(key)?, Pattern::parse(value)?);
        let mut all = spec.annotations.iter();
        if !all.any(|(k, v)| key.is_match(k) && value.is_match(v)) {
            return Ok(false);
        }
        conditions += 1;
    }
    if !when.commands.is_empty() {
        let args = spec.process.as_ref().map(|p| p.args.as_slice());
        let command = args.and_then(<[String]>::first).map_or("", String::as_str);
        for pattern in &when.commands {
            if Pattern::parse(pattern)?.is_match(command) {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    Ok(conditions > 0)
}

/// The state of a container that is about to be created.
pub(super) fn state(container: &Container, spec: &Spec) -> State {
    State {
        oci_version: spec.oci_version.clone(),
        id: container.id().as_str().to_owned(),
        status: "creating",
        pid: 0,
        bundle: container.runtime_dir().to_string_lossy().into_owned(),
        annotations: spec.annotations.clone(),
    }
}

/// Runs the poststart hooks; the process does not outlive one that fails.
///
/// # Errors
/// The hook's.
pub(super) fn poststart(list: &[Hook], state: &State, launched: &Launched) -> Result<()> {
    let state = State {
        pid: launched.pid,
        ..state.at("running")
    };
    hooks::run("poststart", list, &state).inspect_err(|_| {
        drop(pidfd::send_signal(&launched.pidfd, libc::SIGKILL));
        drop(pidfd::wait(&launched.pidfd));
    })
}

/// Runs the poststop hooks at the end of its life: when the run is over, or did not come about.
#[derive(Debug)]
pub(super) struct Poststop {
    /// The hooks.
    pub(super) hooks: Vec<Hook>,
    /// The state that they are told.
    pub(super) state: State,
}

impl Drop for Poststop {
    fn drop(&mut self) {
        let failed = hooks::run_all("poststop", &self.hooks, &self.state.at("stopped"));
        for failure in failed.unwrap_or_default() {
            log::warn!("{}", failure.one_line());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::runtime::Process;

    #[test]
    fn all_conditions_that_are_given_must_hold() {
        let spec = Spec {
            annotations: [("a.key".to_owned(), "value".to_owned())].into(),
            process: Some(Process {
                args: vec!["/bin/prog".into()],
                ..Process::default()
            }),
            ..Spec::default()
        };
        for (json, binds, expected) in [
            (r#"{"always":true}"#, false, true),
            (r#"{"always":false}"#, false, false),
            ("{}", true, false),
            (r#"{"hasBindMounts":true}"#, true, true),
            (r#"{"hasBindMounts":true}"#, false, false),
            (r#"{"always":true,"hasBindMounts":true}"#, false, false),
            (r#"{"annotations":{"^a\\.":"^val"}}"#, false, true),
            (r#"{"annotations":{"^a\\.":"^other"}}"#, false, false),
            (r#"{"commands":["prog$","x"]}"#, false, true),
            (r#"{"always":true,"commands":["^x"]}"#, false, false),
        ] {
            let when: When = serde_json::from_str(json).unwrap();
            assert_eq!(applies(&when, &spec, binds).unwrap(), expected, "{json}");
        }
    }
}
