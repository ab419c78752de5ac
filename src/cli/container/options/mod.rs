//! The flags of `run` and `create` -> [`ContainerOptions`] and [`RunOptions`].
//!
//! Pure but for the files that flags name (`--env-file`, `--label-file`): everything about the
//! caller is in [`Host`]. What this version does not serve is refused here, in a sentence.

mod conf;
mod env;
mod flags;
mod health;
mod limits;
mod mount;
mod network;
mod refused;
mod security;
mod subordinate;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use env::read_variables;
pub use flags::CreateFlags;
pub(super) use flags::Limits;
pub(super) use health::HealthFlags;
pub(super) use limits::resources;
pub(crate) use network::{interface_name, network_wish, port};

use crate::base::{Error, Result, journald, signal, size, time};
use crate::cli::args::{labels, pairs};
use crate::config::cdi;
use crate::config::containers_conf::ContainersConf;
use crate::config::env::Env;
use crate::config::user::User;
use crate::operations::auto_update::UNIT;
use crate::operations::container::request::RunOptions;
use crate::operations::container::select::read_cidfile;
use crate::operations::image::policy::RegistryOptions;
use crate::spec::id::ObjectName;
use crate::spec::platform::Platform;
use crate::spec::runtime::Rlimit;
use crate::state::health::HealthOptions;
use crate::state::options::{
    ContainerOptions, HostUser, ImageVolume, InitCtr, LogDriver, LogOptions, NamespaceMode,
    RestartPolicy, RootfsOption, SdNotify, SystemdMode,
};
use crate::state::request::AttachStreams;

/// Longest host name. Kernel: `__NEW_UTS_LEN`.
const HOSTNAME_MAX: usize = 64;

/// What the flags need to know about the caller.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// The environment.
    pub env: &'a Env,
    /// The working directory.
    pub cwd: &'a Path,
    /// The caller.
    pub user: &'a User,
    /// The program was called as `docker`: its habits where the two differ.
    pub docker: bool,
    /// Standard input is a terminal.
    pub stdin_is_tty: bool,
    /// The caller's resource limits.
    pub limits: &'a [Rlimit],
    /// `containers.conf`.
    pub conf: &'a ContainersConf,
    /// Folders that describe devices, where somebody names some.
    pub cdi_dirs: &'a [PathBuf],
}

/// The flags that only one of the two commands has.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// `run` in the foreground relays; `create` and `run -d` do not.
    pub detach: bool,
    /// `--sig-proxy`.
    pub sig_proxy: Option<bool>,
    /// `--detach-keys`.
    pub detach_keys: Option<String>,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// `--preserve-fd`.
    pub preserve_fd: Vec<u32>,
    /// `--rmi`.
    pub rmi: bool,
    /// It is `create`: attaching is for `start`.
    pub create: bool,
}

/// Turns flags and words into what is asked for.
///
/// # Errors
/// `Invalid` for what cannot be read or contradicts itself, `Unsupported` for what this version
/// does not do.
pub fn request(
    mut flags: CreateFlags,
    manner: &Manner,
    words: &[String],
    host: &Host<'_>,
) -> Result<(ContainerOptions, RunOptions)> {
    flags.refused.check()?;
    conf::fill(&mut flags, host.conf, host.env)?;
    let flags = &flags;
    let mut notices = Vec::new();
    let options = options(flags, manner, words, host, &mut notices)?;
    let attach = attach(flags, manner, host, &mut notices)?;
    let run = RunOptions {
        detach: manner.detach,
        attach,
        kept: false,
        // A terminal sends the signals of its keys itself.
        sig_proxy: manner.sig_proxy.unwrap_or(!options.tty) && !manner.detach,
        pull: flags.image.pull.as_deref().unwrap_or_default().parse()?,
        quiet: flags.image.quiet,
        id: None,
        replace: flags.general.replace,
        registry: registry(&flags.image)?,
        notices,
    };
    if options.network.on_demand.is_some() && !manner.detach && !manner.create {
        return Err(Error::invalid(
            "--on-demand leaves the container to the first connection: nobody can be attached to it",
        )
        .hint("give -d as well"));
    }
    if run.replace && options.name.is_none() {
        return Err(Error::invalid("--replace needs --name"));
    }
    Ok((options, run))
}

fn options(
    flags: &CreateFlags,
    manner: &Manner,
    words: &[String],
    host: &Host<'_>,
    notices: &mut Vec<String>,
) -> Result<ContainerOptions> {
    let (general, process, files) = (&flags.general, &flags.process, &flags.files);
    let (net, security, limits) = (&flags.network, &flags.security, &flags.limits);
    let (first, command) = words
        .split_first()
        .filter(|(first, _)| !first.is_empty())
        .ok_or_else(|| Error::invalid("no image was named"))?;
    let mut all_labels = env::label_files(&general.label_file, host.cwd)?;
    all_labels.extend(general.label.iter().cloned());
    let annotations = pairs("annotation", &general.annotation)?;
    let name = match &general.name {
        Some(name) => Some(name.parse::<ObjectName>()?.as_str().to_owned()),
        None => None,
    };
    let restart = restart(general.restart.as_deref())?;
    let remove = general.rm || manner.rmi;
    if remove && restart != RestartPolicy::No {
        return Err(Error::invalid(
            "--rm and --restart contradict each other: a container is removed or started again",
        )
        .hint("leave one of them out"));
    }
    if limits.kernel_memory.is_some() {
        notices.push(
            "--kernel-memory has no effect: the kernel has no such limit any more".to_owned(),
        );
    }
    let network = network::network(net, notices)?;
    let init = process.init.unwrap_or_else(|| process.init_path.is_some());
    let privileged = security.privileged.unwrap_or(false);
    let systemd = match process.systemd.as_deref() {
        None | Some("") => SystemdMode::Auto,
        Some("always") => SystemdMode::Always,
        Some(text) => match crate::cli::frame::go_bool(text) {
            Ok(true) => SystemdMode::Auto,
            Ok(false) => SystemdMode::Off,
            Err(_) => {
                return Err(Error::invalid(format!(
                    "invalid --systemd {text:?}: use true, false or always"
                )));
            }
        },
    };
    if init && systemd == SystemdMode::Always {
        return Err(Error::invalid(
            "--init and --systemd=always contradict each other",
        ));
    }
    let pid = security::namespace("pid", security.pid.as_deref())?;
    if init
        && matches!(
            pid,
            NamespaceMode::Host | NamespaceMode::Container(_) | NamespaceMode::Path(_)
        )
    {
        return Err(Error::invalid(
            "--init is process 1 of a process namespace: it cannot be used with --pid of another",
        ));
    }
    let uts = security::namespace("uts", security.uts.as_deref())?;
    let hostname = hostname(net.hostname.as_deref(), &uts)?;
    let cap_add = security::capability_names(&security.cap_add)?;
    let cap_drop = security::capability_names(&security.cap_drop)?;
    crate::runtime::capabilities::bounding(privileged, &cap_add, &cap_drop)?;
    let log = log(general.log_driver.as_deref(), &general.log_opt, &mut || {
        let unit = host.env.text(UNIT).is_some() && (manner.detach || manner.create);
        unit && journald::is_readable(Path::new("/"))
    })?;
    if log.driver == LogDriver::Passthrough && process.tty {
        return Err(Error::invalid(
            "--log-driver passthrough gives the container your own terminal: leave --tty out",
        ));
    }
    let keep_groups = process.group_add.iter().any(|g| g == "keep-groups");
    if keep_groups && process.group_add.len() > 1 {
        return Err(Error::invalid("--group-add keep-groups stands alone"));
    }
    let absolute = |path: &PathBuf| host.cwd.join(path);
    let mut options = ContainerOptions {
        name,
        pod: pod(general, host)?,
        infra: false,
        init_ctr: init_ctr(general.init_ctr.as_deref())?,
        image: if files.rootfs {
            String::new()
        } else {
            first.clone()
        },
        rootfs: files.rootfs.then(|| rootfs(first, host)).transpose()?,
        command: command.to_vec(),
        entrypoint: process.entrypoint.as_deref().map(entrypoint),
        env: env::read_variables(&process.env_file, &process.env, host.env, host.cwd)?,
        env_host: listed(process.env_host.unwrap_or(false), || host.env.all()),
        env_proxy: host
            .conf
            .containers
            .env
            .iter()
            .flatten()
            .filter(|e| e.contains('='))
            .cloned()
            .chain(listed(process.http_proxy.unwrap_or(true), || {
                host.env.proxies()
            }))
            .collect(),
        env_merge: env::merges(&process.env_merge)?,
        unset_env: process.unsetenv.clone(),
        unset_env_all: process.unsetenv_all,
        workdir: workdir(process.workdir.as_deref())?,
        user: user(process.user.as_deref())?,
        groups: process
            .group_add
            .iter()
            .filter(|g| *g != "keep-groups")
            .cloned()
            .collect(),
        keep_groups,
        passwd: process.passwd,
        passwd_entry: account_entry("--passwd-entry", process.passwd_entry.as_deref())?,
        group_entry: account_entry("--group-entry", process.group_entry.as_deref())?,
        host_users: process
            .hostuser
            .iter()
            .map(|u| host_user(u))
            .collect::<Result<_>>()?,
        hostname,
        no_hostname: net.no_hostname,
        domainname: net.domainname.clone(),
        tty: process.tty,
        interactive: process.interactive,
        detach_keys: manner
            .detach_keys
            .clone()
            .or_else(|| host.conf.engine.detach_keys.clone()),
        labels: labels(&all_labels)?,
        annotations,
        mounts: mount::mounts(files, host)?,
        volumes_from: files.volumes_from.clone(),
        image_volume: image_volume(files.image_volume.as_deref())?,
        devices: files
            .device
            .iter()
            .filter(|d| !cdi::is_name(d))
            .map(|d| security::device(d))
            .collect::<Result<_>>()?,
        cdi_devices: files
            .device
            .iter()
            .filter(|d| cdi::is_name(d))
            .cloned()
            .collect(),
        gpus: security::gpus(&files.gpus)?,
        cdi_dirs: host.cdi_dirs.iter().map(absolute).collect(),
        secrets: process
            .secret
            .iter()
            .map(|s| security::secret(s))
            .collect::<Result<_>>()?,
        cap_add,
        cap_drop,
        privileged,
        security: security::security(&security.security_opt, host)?,
        personality: personality(security.personality.as_deref())?,
        read_only: files.read_only.unwrap_or(false),
        read_only_tmpfs: files.read_only_tmpfs,
        shm_size: shm_size(files.shm_size.as_deref(), security)?,
        shm_size_systemd: files
            .shm_size_systemd
            .as_deref()
            .map(size::parse)
            .transpose()?,
        init,
        init_path: process
            .init_path
            .as_ref()
            .map(|p| host.cwd.join(p).to_string_lossy().into_owned()),
        systemd,
        pid,
        ipc: security::namespace("ipc", security.ipc.as_deref())?,
        uts,
        cgroupns: security::namespace("cgroupns", security.cgroupns.as_deref())?,
        userns: security::userns(security, host.user)?,
        userns_asked: security.userns.is_some(),
        network,
        ulimits: limits::ulimits(&limits.ulimit, host)?,
        sysctls: sysctls(&security.sysctl)?,
        oom_score_adj: match limits.oom_score_adj {
            Some(n) if !(-1000..=1000).contains(&n) => {
                return Err(Error::invalid("--oom-score-adj is -1000 to 1000"));
            }
            n => n,
        },
        umask: umask(process.umask.as_deref())?,
        timezone: timezone(process.tz.as_deref())?,
        preserve_fds: manner.preserve_fds,
        preserve_fd: manner.preserve_fd.clone(),
        resources: limits::resources(limits)?,
        cgroups: cgroups(limits.cgroups.as_deref())?,
        cgroup_parent: limits.cgroup_parent.clone().filter(|p| !p.is_empty()),
        cgroup_manager: limits.cgroup_manager,
        log,
        stop_signal: general
            .stop_signal
            .as_deref()
            .map(signal::parse)
            .transpose()?,
        stop_timeout: stop_timeout(general.stop_timeout.as_deref())?,
        timeout: general.timeout,
        restart,
        remove,
        remove_image: manner.rmi,
        healthcheck: None,
        health: HealthOptions::default(),
        sdnotify: sdnotify(general.sdnotify.as_deref())?,
        platform: platform(&flags.image)?,
        cidfile: general.cidfile.as_ref().map(absolute),
        pidfile: general.pidfile.as_ref().map(absolute),
        monitor_pidfile: general.conmon_pidfile.as_ref().map(absolute),
        create_command: Vec::new(),
    };
    if let Some(unit) = host.env.text(UNIT) {
        // Units say so; `auto-update` restarts it.
        let label = options.labels.entry(UNIT.to_owned());
        label.or_insert(unit);
    }
    flags.health.changes()?.apply(&mut options);
    Ok(options)
}

/// `--pod`, `--pod-id-file`.
fn pod(general: &flags::General, host: &Host<'_>) -> Result<Option<String>> {
    match (&general.pod, &general.pod_id_file) {
        (Some(pod), _) => {
            if let Some(name) = pod.strip_prefix("new:").filter(|n| !n.is_empty()) {
                name.parse::<ObjectName>()?;
            }
            Ok(Some(pod.clone()).filter(|p| !p.is_empty()))
        }
        (None, Some(file)) => read_cidfile(&host.cwd.join(file)).map(Some),
        (None, None) => Ok(None),
    }
}

fn init_ctr(text: Option<&str>) -> Result<Option<InitCtr>> {
    match text {
        None | Some("") => Ok(None),
        Some("always") => Ok(Some(InitCtr::Always)),
        Some("once") => Ok(Some(InitCtr::Once)),
        Some(other) => {
            Err(Error::invalid(format!("invalid --init-ctr {other:?}")).hint("use always or once"))
        }
    }
}

fn listed(wanted: bool, all: impl FnOnce() -> Vec<(String, String)>) -> Vec<String> {
    if !wanted {
        return Vec::new();
    }
    all().into_iter().map(|(k, v)| format!("{k}={v}")).collect()
}

fn rootfs(text: &str, host: &Host<'_>) -> Result<RootfsOption> {
    let (path, overlay) = match text.rsplit_once(':') {
        Some((path, "O")) => (path, true),
        Some((_, "idmap")) => {
            return Err(Error::unsupported(
                "--rootfs with its own id map comes with a later version",
            ));
        }
        _ => (text, false),
    };
    Ok(RootfsOption {
        path: host.cwd.join(path),
        overlay,
    })
}

/// A JSON list, a plain word, or nothing.
fn entrypoint(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    if text.starts_with('[')
        && let Ok(list) = serde_json::from_str(text)
    {
        return list;
    }
    vec![text.to_owned()]
}

fn workdir(text: Option<&str>) -> Result<Option<String>> {
    match text {
        None | Some("") => Ok(None),
        Some(text) if text.starts_with('/') => Ok(Some(text.to_owned())),
        Some(text) => Err(Error::invalid(format!(
            "the working directory {text:?} is not an absolute path inside the container"
        ))
        .hint(format!("write /{}", text.trim_start_matches("./")))),
    }
}

fn user(text: Option<&str>) -> Result<Option<String>> {
    match text {
        None | Some("") => Ok(None),
        Some(text) => {
            let (user, group) = text.split_once(':').unwrap_or((text, "x"));
            if (user.is_empty() && group.is_empty()) || text.contains(['\n', '\0', '/']) {
                return Err(Error::invalid(format!("invalid user {text:?}")));
            }
            Ok(Some(text.to_owned()))
        }
    }
}

fn personality(text: Option<&str>) -> Result<Option<String>> {
    match text {
        None | Some("") => Ok(None),
        Some("LINUX" | "LINUX32") => Ok(text.map(str::to_owned)),
        Some(text) => Err(Error::invalid(format!(
            "invalid --personality {text:?}: use LINUX or LINUX32"
        ))),
    }
}

/// One line of passwd or group, given whole.
fn account_entry(flag: &str, text: Option<&str>) -> Result<Option<String>> {
    match text {
        Some(text) if text.contains(['\n', '\0']) => {
            Err(Error::invalid(format!("{flag} takes one line")))
        }
        text => Ok(text.filter(|t| !t.is_empty()).map(str::to_owned)),
    }
}

/// `--hostuser`: the host's account, looked up now.
fn host_user(text: &str) -> Result<HostUser> {
    let found = crate::config::user::account_named(text).ok_or_else(|| {
        Error::not_found(format!("the host has no user {text:?}"))
            .hint("--hostuser takes a name or id of the host's /etc/passwd")
    })?;
    Ok(HostUser {
        name: found.name,
        uid: found.uid,
        gid: found.gid,
        full_name: found.full_name,
        home: found.home.to_string_lossy().into_owned(),
    })
}

fn hostname(text: Option<&str>, uts: &NamespaceMode) -> Result<Option<String>> {
    let Some(text) = text.filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    if matches!(
        uts,
        NamespaceMode::Host | NamespaceMode::Container(_) | NamespaceMode::Path(_)
    ) {
        return Err(Error::invalid(
            "--hostname needs a UTS namespace of its own: leave --uts out",
        ));
    }
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.len() > HOSTNAME_MAX || !text.chars().all(known) || text.starts_with(['-', '.']) {
        return Err(Error::invalid(format!("invalid host name {text:?}"))
            .hint("letters, digits, dots and hyphens, at most 64 of them"));
    }
    Ok(Some(text.to_owned()))
}

fn image_volume(text: Option<&str>) -> Result<ImageVolume> {
    match text {
        None | Some("" | "anonymous" | "bind") => Ok(ImageVolume::Anonymous),
        Some("tmpfs") => Ok(ImageVolume::Tmpfs),
        Some("ignore") => Ok(ImageVolume::Ignore),
        Some(text) => Err(Error::invalid(format!(
            "invalid --image-volume {text:?}: use anonymous, tmpfs or ignore"
        ))),
    }
}

fn shm_size(text: Option<&str>, security: &flags::Security) -> Result<Option<u64>> {
    let Some(text) = text else { return Ok(None) };
    if security
        .ipc
        .as_deref()
        .is_some_and(|m| !matches!(m, "" | "private" | "shareable"))
    {
        return Err(Error::invalid(
            "--shm-size is for a /dev/shm of the container's own: leave --ipc out",
        ));
    }
    size::parse(text).map(Some)
}

fn sysctls(words: &[String]) -> Result<std::collections::BTreeMap<String, String>> {
    if let Some(word) = words.iter().find(|w| !w.contains('=')) {
        return Err(Error::invalid(format!(
            "invalid --sysctl {word:?}: write NAME=VALUE"
        )));
    }
    pairs("sysctl", words)
}

fn umask(text: Option<&str>) -> Result<Option<u32>> {
    text.map(|text| {
        u32::from_str_radix(text, 8)
            .ok()
            .filter(|m| *m <= 0o777)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "invalid --umask {text:?}: write it in octal, e.g. 0027"
                ))
            })
    })
    .transpose()
}

fn timezone(text: Option<&str>) -> Result<Option<String>> {
    let Some(text) = text.filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '/');
    if !text.chars().all(known) || text.starts_with('/') {
        return Err(Error::invalid(format!("invalid time zone {text:?}"))
            .hint("e.g. Europe/Berlin, UTC, or local"));
    }
    Ok(Some(text.to_owned()))
}

fn cgroups(text: Option<&str>) -> Result<Option<String>> {
    match text {
        None | Some("" | "enabled") => Ok(None),
        Some(text @ ("disabled" | "no-conmon" | "split")) => Ok(Some(text.to_owned())),
        Some(text) => Err(Error::invalid(format!(
            "invalid --cgroups {text:?}: use enabled, disabled, no-conmon or split"
        ))),
    }
}

fn stop_timeout(text: Option<&str>) -> Result<Option<u32>> {
    match text {
        None => Ok(None),
        // Docker: wait without end.
        Some("-1") => Ok(Some(u32::MAX)),
        Some(text) => text.parse().map(Some).map_err(|_| {
            Error::invalid(format!(
                "invalid --stop-timeout {text:?}: write seconds, or -1"
            ))
        }),
    }
}

/// `--restart`.
///
/// # Errors
/// `Invalid` for a policy that does not exist.
pub(super) fn restart(text: Option<&str>) -> Result<RestartPolicy> {
    let bad = |text: &str| {
        Error::invalid(format!("invalid --restart {text:?}"))
            .hint("use no, on-failure[:TIMES], always or unless-stopped")
    };
    match text {
        None | Some("" | "no" | "never") => Ok(RestartPolicy::No),
        Some("always") => Ok(RestartPolicy::Always),
        Some("unless-stopped") => Ok(RestartPolicy::UnlessStopped),
        Some("on-failure") => Ok(RestartPolicy::OnFailure(None)),
        Some(text) => {
            let times = text
                .strip_prefix("on-failure:")
                .and_then(|n| n.parse::<u32>().ok());
            let times = times.ok_or_else(|| bad(text))?;
            Ok(RestartPolicy::OnFailure(Some(times).filter(|n| *n > 0)))
        }
    }
}

/// `--log-driver`, `--log-opt`. Who names neither a driver nor an option of files gets the journal in
/// a unit whose journal can be read: `journal` answers that.
fn log(
    driver: Option<&str>,
    words: &[String],
    journal: &mut dyn FnMut() -> bool,
) -> Result<LogOptions> {
    let of_files = |word: &&String| word.starts_with("path=") || word.starts_with("max-");
    let mut log = LogOptions {
        driver: match driver {
            None | Some("") if !words.iter().any(|w| of_files(&w)) && journal() => {
                LogDriver::Journald
            }
            None | Some("" | "k8s-file") => LogDriver::K8sFile,
            // Docker's `local` is a file with rotation, which is what json-file is here.
            Some("json-file" | "local") => LogDriver::JsonFile,
            Some("journald") => LogDriver::Journald,
            Some("none") => LogDriver::None,
            Some("passthrough" | "passthrough-tty") => LogDriver::Passthrough,
            Some(text) => {
                return Err(
                    Error::unsupported(format!("log driver {text:?} is not supported"))
                        .hint("use k8s-file, json-file, journald, none or passthrough"),
                );
            }
        },
        ..LogOptions::default()
    };
    for word in words {
        let bad = |why: &str| Error::invalid(format!("invalid --log-opt {word:?}: {why}"));
        match word.split_once('=') {
            Some(("path", path)) if path.starts_with('/') => log.path = Some(path.into()),
            Some(("path", _)) => return Err(bad("the path is not absolute")),
            Some(("max-size", "-1")) => log.max_size = None,
            Some(("max-size", text)) => log.max_size = Some(size::parse(text)?),
            Some(("max-file", text)) => {
                let count = text.parse::<u32>().ok().filter(|n| *n > 0);
                log.max_file = Some(count.ok_or_else(|| bad("it is no number"))?);
            }
            Some(("tag", text)) => log.tag = Some(text.to_owned()),
            _ => return Err(bad("known are path=, max-size=, max-file= and tag=")),
        }
    }
    Ok(log)
}

fn sdnotify(text: Option<&str>) -> Result<SdNotify> {
    Ok(match text {
        None | Some("" | "container") => SdNotify::Container,
        Some("conmon") => SdNotify::Conmon,
        Some("healthy") => SdNotify::Healthy,
        Some("ignore") => SdNotify::Ignore,
        Some(text) => {
            return Err(Error::invalid(format!(
                "invalid --sdnotify {text:?}: use container, conmon, healthy or ignore"
            )));
        }
    })
}

fn platform(flags: &flags::Image) -> Result<Option<Platform>> {
    let parts = [&flags.arch, &flags.os, &flags.variant];
    let given = parts
        .iter()
        .any(|p| p.as_ref().is_some_and(|t| !t.is_empty()));
    match &flags.platform {
        Some(text) if !text.is_empty() => {
            if given {
                return Err(Error::invalid(
                    "--platform says it all: --arch, --os and --variant cannot be used with it",
                ));
            }
            text.parse().map(Some)
        }
        _ if !given => Ok(None),
        _ => {
            let host = Platform::host();
            let text = |part: &Option<String>| part.clone().filter(|t| !t.is_empty());
            let os = text(&flags.os).unwrap_or(host.os);
            let own_variant = flags.arch.is_none().then_some(host.variant).flatten();
            let arch = text(&flags.arch).unwrap_or(host.architecture);
            let name = match text(&flags.variant).or(own_variant) {
                Some(variant) => format!("{os}/{arch}/{variant}"),
                None => format!("{os}/{arch}"),
            };
            name.parse().map(Some)
        }
    }
}

fn registry(flags: &flags::Image) -> Result<RegistryOptions> {
    Ok(RegistryOptions {
        authfile: flags.authfile.clone(),
        credentials: flags.creds.as_deref().map(|text| {
            let (user, password) = text.split_once(':').unwrap_or((text, ""));
            (user.to_owned(), password.to_owned())
        }),
        cert_dir: flags.cert_dir.clone(),
        tls_verify: flags.tls_verify,
        retry: flags.retry,
        retry_delay: flags
            .retry_delay
            .as_deref()
            .map(time::parse_duration)
            .transpose()?,
    })
}

/// Which streams the command relays.
fn attach(
    flags: &CreateFlags,
    manner: &Manner,
    host: &Host<'_>,
    notices: &mut Vec<String>,
) -> Result<AttachStreams> {
    let process = &flags.process;
    let mut streams = AttachStreams::default();
    for word in process.attach.iter().flat_map(|w| w.split(',')) {
        match word.to_ascii_lowercase().as_str() {
            "stdin" => streams.stdin = true,
            "stdout" => streams.stdout = true,
            "stderr" => streams.stderr = true,
            "none" if host.docker => {}
            _ => {
                return Err(Error::invalid(format!(
                    "invalid --attach {word:?}: use stdin, stdout or stderr"
                )));
            }
        }
    }
    if manner.detach && !process.attach.is_empty() {
        return Err(Error::invalid(
            "--attach and --detach contradict each other",
        ));
    }
    if manner.detach || manner.create {
        return Ok(AttachStreams::default());
    }
    if process.tty && process.interactive && !host.stdin_is_tty {
        notices.push(
            "standard input is not a terminal: --tty and --interactive may not work together"
                .to_owned(),
        );
    }
    if process.attach.is_empty() {
        streams = AttachStreams {
            stdin: process.interactive,
            stdout: true,
            stderr: true,
        };
    }
    Ok(streams)
}
