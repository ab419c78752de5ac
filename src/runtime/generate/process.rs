//! The process: arguments, working directory, ids, capabilities, limits. Built from nothing, by
//! the same rules for the first process and for `exec` (security class G).

use super::{Facts, INIT_INSIDE, capabilities, env};
use crate::base::{Error, Result, signal};
use crate::runtime::user::ResolvedUser;
use crate::spec::image::ImageConfig;
use crate::spec::runtime::{Process, Rlimit, User};
use crate::state::options::{ContainerOptions, SystemdMode};
use crate::state::request::ExecOptions;

/// podman's and Docker's default.
const UMASK: u32 = 0o022;

/// Default upper bounds, as podman: the caller's own are usually lower and then stay.
const DEFAULT_LIMITS: [(&str, u64); 2] =
    [("RLIMIT_NOFILE", 1_048_576), ("RLIMIT_NPROC", 4_194_304)];

/// The signal that asks systemd to shut down in order: `SIGRTMIN+3`.
const SYSTEMD_STOP: i32 = 37;

/// The command with its arguments: entry point and command of the options, else of the image.
/// An entry point given by the user takes the image's command away.
///
/// # Errors
/// `Invalid` when nothing says what to run.
pub fn argv(options: &ContainerOptions, image: Option<&ImageConfig>) -> Result<Vec<String>> {
    if options.infra {
        return Ok(Vec::new());
    }
    let config = image.map(|i| &i.config);
    let of_image = || {
        config
            .and_then(|c| c.entrypoint.clone())
            .unwrap_or_default()
    };
    let mut args = options.entrypoint.clone().unwrap_or_else(of_image);
    // `--entrypoint ""`, and images that say [""].
    if args.iter().all(String::is_empty) {
        args.clear();
    }
    if options.command.is_empty() {
        if options.entrypoint.is_none() {
            args.extend(config.and_then(|c| c.cmd.clone()).unwrap_or_default());
        }
    } else {
        args.extend(options.command.iter().cloned());
    }
    if args.is_empty() {
        return Err(
            Error::invalid("there is nothing to run: no command was given")
                .hint("name one after the image, e.g. `coracle run IMAGE sh`"),
        );
    }
    if args.iter().any(|a| a.contains('\0')) {
        return Err(Error::invalid("the command holds a NUL byte"));
    }
    if options.init_path.is_some() {
        args.splice(0..0, [INIT_INSIDE.to_owned(), "--".to_owned()]);
    }
    Ok(args)
}

/// Whether the container gets what systemd wants.
pub fn is_systemd(mode: SystemdMode, args: &[String]) -> bool {
    match mode {
        SystemdMode::Off => false,
        SystemdMode::Always => true,
        SystemdMode::Auto => args.first().is_some_and(|command| {
            [
                "/init",
                "/sbin/init",
                "/usr/sbin/init",
                "/usr/local/sbin/init",
            ]
            .contains(&command.as_str())
                || command.rsplit('/').next() == Some("systemd")
        }),
    }
}

/// The signal for `stop`: the option's, the image's, systemd's, or TERM.
///
/// # Errors
/// `Invalid` when the image names a signal that does not exist.
pub fn stop_signal(
    options: &ContainerOptions,
    image: Option<&ImageConfig>,
    systemd: bool,
) -> Result<i32> {
    if let Some(signal) = options.stop_signal {
        return Ok(signal);
    }
    match image.and_then(|i| i.config.stop_signal.as_deref()) {
        Some(text) if !text.is_empty() => signal::parse(text),
        _ if systemd => Ok(SYSTEMD_STOP),
        _ => Ok(libc::SIGTERM),
    }
}

/// The container's first process.
pub(super) fn first_process(
    options: &ContainerOptions,
    image: Option<&ImageConfig>,
    facts: &Facts,
    args: Vec<String>,
    systemd: bool,
    notices: &mut Vec<String>,
) -> Result<Process> {
    let of_image = || image.map(|i| i.config.working_dir.clone());
    Ok(Process {
        terminal: options.tty,
        cwd: working_dir(
            options
                .workdir
                .clone()
                .or_else(of_image)
                .unwrap_or_default(),
        )?,
        env: env::environment(options, image, facts, systemd)?,
        args,
        rlimits: limits(options, facts, notices),
        apparmor_profile: options
            .security
            .apparmor
            .clone()
            .filter(|p| p != "unconfined" && !p.is_empty()),
        capabilities: Some(capabilities::sets(
            facts.user.uid,
            options.privileged,
            &options.cap_add,
            &options.cap_drop,
        )?),
        no_new_privileges: options.security.no_new_privileges,
        // A process without privileges cannot go below what it inherited.
        oom_score_adj: options
            .oom_score_adj
            .map(|score| score.max(facts.caller_oom_score_adj)),
        user: ids(&facts.user, options.umask),
        ..Process::default()
    })
}

fn ids(user: &ResolvedUser, umask: Option<u32>) -> User {
    User {
        uid: user.uid,
        gid: user.gid,
        umask: Some(umask.unwrap_or(UMASK)),
        additional_gids: user.groups.clone(),
    }
}

/// An absolute path; an image's relative one counts from the root.
fn working_dir(text: String) -> Result<String> {
    if text.contains('\0') {
        return Err(Error::invalid("the working directory holds a NUL byte"));
    }
    Ok(match text {
        text if text.starts_with('/') => text,
        text => format!("/{text}"),
    })
}

/// Limits asked for and podman's defaults, none above the caller's hard limit: raising that
/// takes a privilege on the host that no user namespace gives.
fn limits(options: &ContainerOptions, facts: &Facts, notices: &mut Vec<String>) -> Vec<Rlimit> {
    let own = |kind: &str| facts.caller_limits.iter().find(|l| l.kind == kind);
    let mut list: Vec<Rlimit> = Vec::new();
    for asked in &options.ulimits {
        let mut limit = asked.clone();
        if let Some(own) = own(&asked.kind).filter(|own| limit.hard > own.hard) {
            notices.push(format!(
                "{} is limited to {} here, your own hard limit",
                asked.kind, own.hard
            ));
            limit.hard = own.hard;
        }
        limit.soft = limit.soft.min(limit.hard);
        match list.iter_mut().find(|l| l.kind == limit.kind) {
            Some(slot) => *slot = limit,
            None => list.push(limit),
        }
    }
    for (kind, most) in DEFAULT_LIMITS {
        if list.iter().any(|l| l.kind == kind) {
            continue;
        }
        if let Some(own) = own(kind) {
            list.push(Rlimit {
                kind: kind.to_owned(),
                hard: own.hard.min(most),
                soft: own.soft.min(most),
            });
        }
    }
    list
}

/// The process of an `exec`: the container's environment, limits and capabilities with what the
/// request changes. `user` is the account to use, resolved in the container.
///
/// # Errors
/// `Invalid` for unknown capabilities in the container's options, variables without `=`.
pub fn exec_process(
    request: &ExecOptions,
    options: &ContainerOptions,
    first: &Process,
    user: &ResolvedUser,
) -> Result<Process> {
    let mut env = env::Merge::new(&first.env);
    if user.uid != first.user.uid && !user.home.is_empty() {
        env.set("HOME", &user.home);
    }
    if request.tty {
        env.set_missing("TERM", "xterm");
    }
    env.extend(&request.env)?;
    let drop: &[String] = if request.privileged {
        &[]
    } else {
        &options.cap_drop
    };
    let privileged = options.privileged || request.privileged;
    let capabilities = capabilities::sets(user.uid, privileged, &options.cap_add, drop)?;
    Ok(Process {
        terminal: request.tty,
        cwd: match &request.workdir {
            Some(dir) => working_dir(dir.clone())?,
            None => first.cwd.clone(),
        },
        env: env.finish(),
        args: request.command.clone(),
        rlimits: first.rlimits.clone(),
        apparmor_profile: first.apparmor_profile.clone(),
        capabilities: Some(capabilities),
        no_new_privileges: first.no_new_privileges,
        oom_score_adj: first.oom_score_adj,
        user: ids(user, first.user.umask),
        ..Process::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::image::RunConfig;

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn entry_point_and_command_combine_as_in_docker() {
        let image = |entrypoint: &str, cmd: &str| ImageConfig {
            config: RunConfig {
                entrypoint: Some(list(entrypoint)),
                cmd: Some(list(cmd)),
                ..RunConfig::default()
            },
            ..ImageConfig::default()
        };
        for (of_image, entrypoint, command, result) in [
            (("", "sh"), None, "", "sh"),
            (("e", "c"), None, "", "e c"),
            (("e", "c"), None, "x y", "e x y"),
            (("e", "c"), Some("n"), "", "n"),
            (("e", "c"), Some("n m"), "x", "n m x"),
            (("e", "c"), Some(""), "x", "x"),
        ] {
            let options = ContainerOptions {
                entrypoint: entrypoint.map(list),
                command: list(command),
                ..ContainerOptions::default()
            };
            let got = argv(&options, Some(&image(of_image.0, of_image.1))).unwrap();
            assert_eq!(got, list(result), "{of_image:?} {entrypoint:?} {command}");
        }
        let cleared = ContainerOptions {
            entrypoint: Some(vec![String::new()]),
            ..ContainerOptions::default()
        };
        assert!(argv(&cleared, Some(&image("e", "c"))).is_err());
        assert!(argv(&ContainerOptions::default(), None).is_err());
    }

    #[test]
    fn systemd_is_recognised_by_its_command() {
        for (command, yes) in [
            ("/sbin/init", true),
            ("/lib/systemd/systemd", true),
            ("systemd", true),
            ("/bin/sh", false),
            ("/x/init", false),
        ] {
            assert_eq!(
                is_systemd(SystemdMode::Auto, &list(command)),
                yes,
                "{command}"
            );
        }
        let image = ImageConfig::default();
        let options = ContainerOptions::default();
        assert_eq!(stop_signal(&options, Some(&image), true).unwrap(), 37);
        assert_eq!(stop_signal(&options, Some(&image), false).unwrap(), 15);
    }

    #[test]
    fn limits_stay_below_the_callers() {
        let limit = |kind: &str, soft, hard| Rlimit {
            kind: kind.into(),
            hard,
            soft,
        };
        let facts = Facts {
            caller_limits: vec![
                limit("RLIMIT_NOFILE", 1024, 2_000_000),
                limit("RLIMIT_NPROC", 100, 100),
                limit("RLIMIT_CORE", 0, 10),
            ],
            ..Facts::default()
        };
        let options = ContainerOptions {
            ulimits: vec![limit("RLIMIT_CORE", u64::MAX, u64::MAX)],
            ..ContainerOptions::default()
        };
        let mut notices = Vec::new();
        assert_eq!(
            limits(&options, &facts, &mut notices),
            [
                limit("RLIMIT_CORE", 10, 10),
                limit("RLIMIT_NOFILE", 1024, 1_048_576),
                limit("RLIMIT_NPROC", 100, 100)
            ]
        );
        assert_eq!(notices.len(), 1);
    }

    #[test]
    fn exec_starts_from_the_container_and_adds_its_own() {
        let first = Process {
            env: list("PATH=/p HOME=/root A=1"),
            cwd: "/w".into(),
            user: ids(&ResolvedUser::default(), Some(0o77)),
            ..Process::default()
        };
        let request = ExecOptions {
            command: list("id -u"),
            env: list("A=2 B=3"),
            tty: true,
            ..ExecOptions::default()
        };
        let user = ResolvedUser {
            uid: 1000,
            gid: 1000,
            groups: vec![4],
            name: None,
            known: false,
            home: "/home/u".into(),
        };
        let options = ContainerOptions::default();
        let p = exec_process(&request, &options, &first, &user).unwrap();
        assert_eq!(p.env, list("PATH=/p HOME=/home/u A=2 TERM=xterm B=3"));
        assert_eq!((p.cwd.as_str(), p.user.umask), ("/w", Some(0o77)));
        assert_eq!(p.user.additional_gids, [4]);
        assert!(p.capabilities.unwrap().effective.is_empty());
        let request = ExecOptions {
            env: list("NOVALUE"),
            ..request
        };
        assert!(exec_process(&request, &options, &first, &user).is_err());
    }
}
