//! The last steps of a process before its program: limits, directory, ids, capabilities, filter,
//! descriptors. One path for first processes and for `exec`: everything is set from nothing, so
//! nothing of the caller is left over (security.md, class G).

use std::convert::Infallible;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags};

use super::hooks::{self, State};
use super::{capabilities, program, schedule, status};
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::runtime::{Capabilities, Hook, Process};
use crate::sys::resolve::{self, Make};
use crate::sys::seccomp::{self, Instruction};
use crate::sys::{self, attributes, caps, exec, fd, signal};

/// What [`finish`] needs beside the process's configuration.
pub(crate) struct Last<'a> {
    pub(crate) process: &'a Process,
    pub(crate) stdio: [OwnedFd; 3],
    pub(crate) preserve: Vec<Option<OwnedFd>>,
    pub(crate) seccomp: Option<&'a [Instruction]>,
    pub(crate) seccomp_flags: u32,
    /// Where failures go; at its other end is the parent.
    pub(crate) status: &'a mut OwnedFd,
    /// Signal for when the parent dies.
    pub(crate) die_with_parent: bool,
    /// A missing working directory is made.
    pub(crate) make_cwd: bool,
    /// Other processes may change the root while we look into it.
    pub(crate) swappable: bool,
    /// Keep the caller's supplementary groups.
    pub(crate) keep_groups: bool,
    /// Keep the caller's session keyring.
    pub(crate) keep_keyring: bool,
    /// Our own program, to be executed as pid 1 in front of the command.
    pub(crate) init: Option<OwnedFd>,
    /// A seccomp agent's connection, and what it is told.
    pub(crate) agent: Option<(OwnedFd, Vec<u8>)>,
    /// What holds the program back.
    pub(crate) gate: Option<Gate>,
    /// Run inside, just before the program.
    pub(crate) hooks: Option<(&'a [Hook], State)>,
}

/// The place where a created container waits for its start: whoever connects here starts the
/// program, and hears how that went.
pub(crate) struct Gate(pub(crate) OwnedFd);

impl Gate {
    /// Tells the parent that all is set up, waits, and makes the starter the one who is told of
    /// failures.
    fn wait(self, status: &mut OwnedFd) -> Result<()> {
        status::send_ready(status)?;
        *status = fd::accept(&self.0).what(|| "cannot wait for the start")?;
        Ok(())
    }
}

/// Checks what can be checked before a process exists.
///
/// # Errors
/// `Unsupported` for what cannot be done, `Invalid` for an environment entry without `=`.
pub(crate) fn check(process: &Process) -> Result<()> {
    schedule::check(process)?;
    // CVE-2026-57231: an entry without a value must not turn into one of the host's.
    for entry in &process.env {
        if entry.find('=').is_none_or(|at| at == 0) || entry.contains('\0') {
            return Err(Error::invalid(format!(
                "the environment entry {entry:?} is not KEY=VALUE"
            )));
        }
    }
    if !process.cwd.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory {:?} is not absolute",
            process.cwd
        )));
    }
    masks(process.capabilities.as_ref()).map(drop)?;
    for limit in &process.rlimits {
        resource(&limit.kind)?;
    }
    Ok(())
}

/// Done first of all in a new process: what needs /proc of the host and a readable process. One
/// that others could see at its birth is not readable, but for a moment when there is something to
/// be written.
///
/// # Errors
/// What the kernel says.
pub(crate) fn begin(process: &Process, status: &OwnedFd, die_with_parent: bool) -> Result<()> {
    if die_with_parent {
        attributes::set_death_signal(libc::SIGKILL)?;
        parent_lives(status)?;
    }
    oom_score(process)?;
    schedule::apply(process)?;
    security_label(process)?;
    // From here on nobody in a namespace that we join can look into this process (CVE-2016-9962).
    attributes::set_dumpable(false)?;
    attributes::new_session()?;
    Ok(())
}

/// Sets the out-of-memory score, which children inherit.
///
/// # Errors
/// What the kernel says.
pub(crate) fn oom_score(process: &Process) -> Result<()> {
    if let Some(score) = process.oom_score_adj {
        let path = "/proc/self/oom_score_adj";
        let now = std::fs::read_to_string(path).unwrap_or_default();
        if now.trim() != score.to_string() {
            attributes::set_dumpable(true)?;
            std::fs::write(path, score.to_string())
                .what(|| format!("cannot set the out-of-memory score to {score}"))
                .map_err(|e| e.hint("without privileges it can only be raised"))?;
        }
    }
    Ok(())
}

/// The race before the death signal was armed: a dead parent sends nothing any more.
fn parent_lives(status: &OwnedFd) -> Result<()> {
    if attributes::peer_lives(status)? {
        Ok(())
    } else {
        Err(Error::new(Kind::Interrupted, "the monitor ended"))
    }
}

/// A label for the next execve: the kernel's file, and what is written to it.
#[derive(Debug, PartialEq, Eq)]
struct Label {
    file: PathBuf,
    text: String,
    what: String,
}

/// The labels that a process shall have, on a host whose files are below `host`.
///
/// # Errors
/// `Unsupported` when the security module is not active there.
fn labels(process: &Process, host: &Path) -> Result<Vec<Label>> {
    let absent = |what: &str, module: &str| {
        Error::unsupported(format!(
            "cannot set the {what}: {module} is not active on this host"
        ))
        .hint("leave it out: this host has no such protection")
    };
    let attributes = host.join("proc/self/attr");
    let mut list = Vec::new();
    let profile = process.apparmor_profile.as_deref();
    if let Some(profile) = profile.filter(|p| !p.is_empty() && *p != "unconfined") {
        let what = format!("AppArmor profile {profile:?}");
        let on = std::fs::read(host.join("sys/module/apparmor/parameters/enabled"));
        if !on.is_ok_and(|text| text.starts_with(b"Y")) {
            return Err(absent(&what, "AppArmor"));
        }
        // Its own file, since other modules may be stacked on it (kernel 5.1).
        let own = attributes.join("apparmor/exec");
        list.push(Label {
            file: match own.exists() {
                true => own,
                false => attributes.join("exec"),
            },
            text: format!("exec {profile}"),
            what,
        });
    }
    if let Some(label) = process.selinux_label.as_deref().filter(|l| !l.is_empty()) {
        let what = format!("SELinux label {label:?}");
        if !host.join("sys/fs/selinux/enforce").exists() {
            return Err(absent(&what, "SELinux"));
        }
        list.push(Label {
            file: attributes.join("exec"),
            text: label.to_owned(),
            what,
        });
    }
    Ok(list)
}

/// Sets the labels for the next execve.
fn security_label(process: &Process) -> Result<()> {
    for label in labels(process, Path::new("/"))? {
        attributes::set_dumpable(true)?;
        std::fs::write(&label.file, &label.text)
            .what(|| format!("cannot set the {}", label.what))
            .map_err(|e| e.hint(format!("is the {} known on this host?", label.what)))?;
    }
    Ok(())
}

/// Turns this process into the container's: it is in its namespaces and root already, with all
/// capabilities of its user namespace. Returns only with an error.
///
/// # Errors
/// With exit code 126 or 127 where the program is to blame.
pub(crate) fn finish(last: Last<'_>) -> Result<Infallible> {
    let process = last.process;
    let user = &process.user;
    let masks = masks(process.capabilities.as_ref())?;
    for limit in &process.rlimits {
        attributes::set_limit(resource(&limit.kind)?, limit.soft, limit.hard)
            .what(|| format!("cannot set the limit {}", limit.kind))
            .map_err(|e| {
                e.hint("a hard limit cannot be raised above the caller's own (`ulimit -H -a`)")
            })?;
    }
    attributes::set_umask(0o022);
    let root = own_root()?;
    enter_directory(&root, process, last.make_cwd)?;
    attributes::set_umask(user.umask.unwrap_or(0o022));
    if !last.keep_keyring {
        new_keyring()?;
    }
    let stdio = last.stdio;
    give_stdio(&stdio, user.uid);

    caps::limit_bounding(masks.bounding)?;
    change_ids(process, last.keep_groups)?;
    if last.die_with_parent || last.gate.is_some() {
        // The change of ids cleared it.
        attributes::set_death_signal(libc::SIGKILL)?;
        parent_lives(last.status)?;
    }
    let full = caps::get()?.permitted;
    // The program is looked for with the rights that it will have.
    caps::set(caps::Sets {
        effective: masks.effective & full,
        permitted: full,
        inheritable: masks.inheritable & full,
    })?;
    let command = match last.init {
        None => Command::Direct(program::find(
            &root,
            &process.args,
            &process.env,
            last.swappable,
        )?),
        Some(own) => Command::Init(own),
    };
    drop(root);

    // Standard descriptors come last: their numbers may be anybody's until now.
    let end = 3 + i32::try_from(last.preserve.len()).unwrap_or(i32::MAX);
    *last.status = fd::dup_at_least(&*last.status, end + 1)?;
    let gate = match last.gate {
        Some(Gate(listener)) => Some(Gate(fd::dup_at_least(&listener, end + 1)?)),
        None => None,
    };
    let agent = match last.agent {
        Some((socket, message)) => Some((fd::dup_at_least(&socket, end + 1)?, message)),
        None => None,
    };
    let command = command.out_of_the_way(end + 1)?;
    fd::arrange(&stdio, &last.preserve)?;
    signal::reset_actions();
    signal::set_mask(&signal::Set::empty())?;
    if !last.die_with_parent {
        attributes::set_death_signal(0)?;
    }
    if let Some(gate) = gate {
        gate.wait(last.status)?;
    }
    if let Some((hooks, state)) = last.hooks {
        let root = own_root()?;
        for hook in hooks {
            // Their paths are the container's: none may lead to our own program.
            program::find(&root, std::slice::from_ref(&hook.path), &[], true)?;
        }
        drop(root);
        hooks::run("startContainer", hooks, &state.at("created"))?;
    }

    let load = || match (last.seccomp, &agent) {
        (Some(filter), Some((socket, message))) => {
            let listener = seccomp::load_with_listener(filter, last.seccomp_flags)
                .what(|| "cannot load the system call filter")?;
            fd::send(socket, message, &[listener.as_fd()])
                .what(|| "cannot send the container's state to the seccomp agent")
        }
        (Some(filter), None) => {
            seccomp::load(filter, last.seccomp_flags).what(|| "cannot load the system call filter")
        }
        (None, _) => Ok(()),
    };
    if process.no_new_privileges {
        attributes::set_no_new_privileges()?;
    } else if last.seccomp.is_some() {
        // Without no_new_privs the filter needs CAP_SYS_ADMIN, so it is loaded before that goes.
        caps::set(caps::Sets {
            effective: full,
            permitted: full,
            inheritable: masks.inheritable & full,
        })?;
        load()?;
    }
    caps::set(caps::Sets {
        effective: masks.effective & full,
        permitted: masks.permitted & full,
        inheritable: masks.inheritable & full,
    })?;
    caps::set_ambient(masks.ambient & masks.permitted & masks.inheritable & full)?;
    if process.no_new_privileges {
        load()?;
    }
    match command {
        Command::Direct(found) => Err(found.execute(&process.env)),
        Command::Init(own) => run_init(&own, process, last.status),
    }
}

fn own_root() -> Result<OwnedFd> {
    rustix::fs::open(
        c"/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(|e| sys::Error::new("open", "/", e.raw_os_error()).into())
}

enum Command {
    Direct(program::Found),
    Init(OwnedFd),
}

impl Command {
    fn out_of_the_way(self, least: i32) -> Result<Self> {
        Ok(match self {
            Self::Direct(found) => Self::Direct(found.moved(least)?),
            Self::Init(own) => Self::Init(fd::dup_at_least(own, least)?),
        })
    }
}

/// Executes ourselves as pid 1; that one looks for the program and reports to the same parent.
fn run_init(own: &OwnedFd, process: &Process, status: &OwnedFd) -> Result<Infallible> {
    fd::set_cloexec(status, false)?;
    let number = fd::number(status).to_string();
    let args = [super::init::NAME, number.as_str(), "--"];
    let program = exec::Program::new(
        args.into_iter()
            .chain(process.args.iter().map(String::as_str)),
        process.env.iter().map(String::as_str),
    )?;
    exec::descriptor(own, &program).what(|| "cannot start the container's init")
}

fn enter_directory(root: &OwnedFd, process: &Process, make: bool) -> Result<()> {
    let cwd = process.cwd.as_str();
    let what = || format!("cannot enter the working directory {cwd:?}");
    let with = Make {
        mode: 0o755,
        owner: Some((process.user.uid, process.user.gid)),
    };
    // CVE-2024-21626: no magic link, so no descriptor of ours, can be the way to it.
    let dir = if make {
        resolve::mkdir_all(root, cwd, with)
    } else {
        resolve::open(root, cwd, OFlags::PATH | OFlags::DIRECTORY)
    }
    .what(what)
    .map_err(|e| match e.errno() {
        Some(libc::EACCES | libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => e.exit_code(126),
        _ => e,
    })?;
    rustix::process::fchdir(&dir)
        .map_err(|e| sys::Error::new("fchdir", cwd, e.raw_os_error()))
        .what(what)?;
    let now = rustix::process::getcwd(Vec::new())
        .map_err(|e| sys::Error::new("getcwd", cwd, e.raw_os_error()))
        .what(what)?;
    if now.to_bytes().first() != Some(&b'/') {
        return Err(Error::new(
            Kind::Denied,
            format!("the working directory {cwd:?} is outside the container"),
        ));
    }
    Ok(())
}

fn new_keyring() -> Result<()> {
    match attributes::new_session_keyring() {
        // No key management, or a container around us that forbids it: there is none to share.
        Err(e) if matches!(e.errno, libc::ENOSYS | libc::EPERM | libc::EACCES) => Ok(()),
        other => other.what(|| "cannot make a keyring").map_err(|e| {
            e.hint("too many keyrings: see /proc/sys/kernel/keys/maxkeys and /proc/keys")
        }),
    }
}

/// Pipes and sockets of the relay go to the user, who may open them again by /dev/stdout. A
/// caller's own files are left alone.
fn give_stdio(stdio: &[OwnedFd; 3], uid: u32) {
    if uid == 0 {
        return;
    }
    for fd in stdio {
        if let Ok(FileType::Fifo | FileType::Socket) = resolve::kind(fd) {
            // A pipe of somebody else's cannot be given away; it works all the same.
            let _ = rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(uid)), None);
        }
    }
}

fn change_ids(process: &Process, keep_groups: bool) -> Result<()> {
    let user = &process.user;
    if !keep_groups {
        match attributes::set_groups(&user.additional_gids) {
            // With one id, groups cannot be dropped; the kernel checks files by them as before.
            Err(e) if e.errno == libc::EPERM && user.additional_gids.is_empty() => {}
            other => other
                .what(|| format!("cannot take the groups {:?}", user.additional_gids))
                .map_err(few_ids)?,
        }
    }
    // The capabilities stay over the change and are set one by one afterwards.
    attributes::set_secure_bits(true)?;
    attributes::set_gid(user.gid)
        .what(|| format!("cannot take the group id {}", user.gid))
        .map_err(few_ids)?;
    attributes::set_uid(user.uid)
        .what(|| format!("cannot take the user id {}", user.uid))
        .map_err(few_ids)?;
    attributes::set_secure_bits(false)?;
    Ok(())
}

fn few_ids(e: Error) -> Error {
    if matches!(e.errno(), Some(libc::EINVAL | libc::EPERM)) {
        e.hint("that id is not mapped here: subordinate ids (/etc/subuid, /etc/subgid) give containers more than one")
    } else {
        e
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Masks {
    bounding: u64,
    effective: u64,
    permitted: u64,
    inheritable: u64,
    ambient: u64,
}

fn masks(sets: Option<&Capabilities>) -> Result<Masks> {
    let none = Capabilities::default();
    let sets = sets.unwrap_or(&none);
    let mask = |names: &[String]| {
        names.iter().try_fold(0, |mask, name| {
            let number = capabilities::number(name)
                .ok_or_else(|| Error::invalid(format!("unknown capability {name:?}")))?;
            Ok::<u64, Error>(mask | 1 << number)
        })
    };
    Ok(Masks {
        bounding: mask(&sets.bounding)?,
        effective: mask(&sets.effective)?,
        permitted: mask(&sets.permitted)?,
        inheritable: mask(&sets.inheritable)?,
        ambient: mask(&sets.ambient)?,
    })
}

fn resource(name: &str) -> Result<u32> {
    Ok(match name {
        "RLIMIT_AS" => libc::RLIMIT_AS,
        "RLIMIT_CORE" => libc::RLIMIT_CORE,
        "RLIMIT_CPU" => libc::RLIMIT_CPU,
        "RLIMIT_DATA" => libc::RLIMIT_DATA,
        "RLIMIT_FSIZE" => libc::RLIMIT_FSIZE,
        "RLIMIT_LOCKS" => libc::RLIMIT_LOCKS,
        "RLIMIT_MEMLOCK" => libc::RLIMIT_MEMLOCK,
        "RLIMIT_MSGQUEUE" => libc::RLIMIT_MSGQUEUE,
        "RLIMIT_NICE" => libc::RLIMIT_NICE,
        "RLIMIT_NOFILE" => libc::RLIMIT_NOFILE,
        "RLIMIT_NPROC" => libc::RLIMIT_NPROC,
        "RLIMIT_RSS" => libc::RLIMIT_RSS,
        "RLIMIT_RTPRIO" => libc::RLIMIT_RTPRIO,
        "RLIMIT_RTTIME" => libc::RLIMIT_RTTIME,
        "RLIMIT_SIGPENDING" => libc::RLIMIT_SIGPENDING,
        "RLIMIT_STACK" => libc::RLIMIT_STACK,
        _ => return Err(Error::invalid(format!("unknown resource limit {name:?}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> Process {
        Process {
            cwd: "/".into(),
            args: vec!["x".into()],
            ..Process::default()
        }
    }

    /// Hosts with and without the modules: what is written where, and what is refused.
    #[test]
    fn labels_are_for_hosts_that_have_the_module() {
        let host = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = host.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let with = |apparmor: Option<&str>, selinux: Option<&str>| Process {
            apparmor_profile: apparmor.map(str::to_owned),
            selinux_label: selinux.map(str::to_owned),
            ..process()
        };
        let both = with(
            Some("docker-default"),
            Some("system_u:system_r:container_t:s0"),
        );
        let of = |process: &Process| labels(process, host.path());
        // Nothing asked for, nothing needed.
        for none in [
            with(None, None),
            with(Some("unconfined"), Some("")),
            with(Some(""), None),
        ] {
            assert_eq!(of(&none).unwrap(), []);
        }
        // Built in, but switched off.
        put("sys/module/apparmor/parameters/enabled", "N\n");
        for process in [&both, &with(Some("x"), None)] {
            let e = of(process).unwrap_err();
            assert_eq!(e.kind(), Kind::Unsupported);
            assert!(e.what().contains("AppArmor is not active"), "{e:?}");
        }
        let e = of(&with(None, Some("x"))).unwrap_err();
        assert!(e.what().contains("SELinux is not active"), "{e:?}");
        // AppArmor on an old kernel, and on one where modules are stacked.
        put("sys/module/apparmor/parameters/enabled", "Y\n");
        let file = |process: &Process| {
            let label = of(process).unwrap().pop().unwrap();
            let file = label.file.strip_prefix(host.path()).unwrap().to_owned();
            (file.to_str().unwrap().to_owned(), label.text)
        };
        let profile = with(Some("docker-default"), None);
        let text = "exec docker-default".to_owned();
        assert_eq!(file(&profile), ("proc/self/attr/exec".into(), text.clone()));
        put("proc/self/attr/apparmor/exec", "");
        assert_eq!(
            file(&profile),
            ("proc/self/attr/apparmor/exec".into(), text)
        );
        // SELinux beside it.
        put("sys/fs/selinux/enforce", "1");
        let label = (
            "proc/self/attr/exec".to_owned(),
            "system_u:system_r:container_t:s0".to_owned(),
        );
        assert_eq!(file(&both), label);
        assert_eq!(of(&both).unwrap().len(), 2);
    }

    #[test]
    fn environment_entries_must_have_a_key_and_a_value() {
        for (entry, good) in [
            ("A=b", true),
            ("A=", true),
            ("HOME", false),
            ("*", false),
            ("=x", false),
            ("A=\0", false),
        ] {
            let process = Process {
                env: vec![entry.into()],
                ..process()
            };
            assert_eq!(check(&process).is_ok(), good, "{entry:?}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused_before_a_process_exists() {
        let cases = [
            Process {
                cwd: "srv".into(),
                ..process()
            },
            Process {
                scheduler: Some(crate::spec::runtime::Scheduler {
                    policy: "SCHED_NONE".into(),
                    ..Default::default()
                }),
                ..process()
            },
            Process {
                capabilities: Some(Capabilities {
                    bounding: vec!["CAP_NONE".into()],
                    ..Capabilities::default()
                }),
                ..process()
            },
            Process {
                rlimits: vec![crate::spec::runtime::Rlimit {
                    kind: "RLIMIT_X".into(),
                    hard: 1,
                    soft: 1,
                }],
                ..process()
            },
        ];
        for process in cases {
            assert!(check(&process).is_err(), "{process:?}");
        }
    }
}
