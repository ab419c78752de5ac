//! Looking at this machine, and letting the steps run.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::steps::{Outcome, Step};
use crate::base::{Context as _, Result};
use crate::cgroup;
use crate::config::subid::{self, IdRanges};
use crate::config::{containers_conf, subid::IdRange};
use crate::network::facts::{self as network, HostFacts};
use crate::network::files::parse_resolver;
use crate::operations::session::Session;
use crate::state::options::NetworkOptions;

/// A set-uid helper program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Helper {
    /// There is none.
    #[default]
    Missing,
    /// It is there but has neither the set-uid bit nor file capabilities.
    Powerless,
    /// It can do its work.
    Fit,
}

/// A folder of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Folder {
    /// Where.
    pub(super) path: PathBuf,
    /// The file system's type, as mountinfo spells it.
    pub(super) kind: String,
    /// Free bytes for plain users.
    pub(super) free: u64,
    /// Free inodes; 0 where the file system does not count.
    pub(super) inodes: Option<u64>,
    /// Mount options that hurt: `noexec`, `nosuid`, `nodev`, `ro`.
    pub(super) options: Vec<String>,
    /// Why a file with a `user.` attribute cannot be made there, if so.
    pub(super) refused: Option<String>,
}

/// All facts.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) program: PathBuf,
    pub(super) distribution: String,
    pub(super) kernel: String,
    pub(super) user: String,
    pub(super) is_root: bool,
    pub(super) max_user_namespaces: Option<u64>,
    pub(super) unprivileged_clone_off: bool,
    pub(super) apparmor_restricts: bool,
    pub(super) in_container: bool,
    pub(super) newuidmap: Helper,
    pub(super) newgidmap: Helper,
    pub(super) ranges: IdRanges,
    /// The first id that no range of anybody has.
    pub(super) next_free_id: u32,
    pub(super) data: Folder,
    pub(super) runtime: PathBuf,
    pub(super) network: HostFacts,
    pub(super) configuration: Option<String>,
    pub(super) ping_groups: Option<(u32, u32)>,
    pub(super) gid: u32,
    pub(super) nameservers: Vec<String>,
    pub(super) cgroup: cgroup::Support,
    pub(super) has_systemd: bool,
    pub(super) lingers: bool,
    pub(super) has_user_bus: bool,
    /// Seconds since 1970.
    pub(super) clock: u64,
    pub(super) has_seccomp: bool,
    pub(super) steps: BTreeMap<Step, Outcome>,
    /// A container of the built-in image.
    pub(super) hello: Outcome,
}

pub(super) fn gather(session: &Session) -> Result<Facts> {
    let program = std::env::current_exe().what(|| "cannot find this program's own path")?;
    let user = session.user;
    let loaded = containers_conf::load();
    let configuration = loaded
        .as_ref()
        .err()
        .map(crate::base::error::Error::one_line);
    let conf = loaded.cloned().unwrap_or_default();
    let mut host = network::probe(&session.env, &conf, &NetworkOptions::default());
    host.pasta_release = host.pasta.as_deref().and_then(network::pasta_release);
    let helper = |name: &str| {
        session
            .env
            .find_program(name)
            .map_or(Helper::Missing, |p| helper(&p))
    };
    let mut steps = BTreeMap::new();
    for step in Step::ALL {
        let words = ["system", "doctor", "--step", step.name()];
        let outcome = start(session, &program, &words, |text| {
            serde_json::from_str(text).ok()
        });
        steps.insert(step, outcome);
    }
    let words = ["run", "--rm", "--quiet", "--network", "none", "hello"];
    let hello = start(session, &program, &words, |_| None);
    Ok(Facts {
        distribution: distribution(&text("/etc/os-release")),
        kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
        user: user.name.clone(),
        gid: user.gid,
        is_root: user.is_root,
        max_user_namespaces: text("/proc/sys/user/max_user_namespaces")
            .trim()
            .parse()
            .ok(),
        unprivileged_clone_off: text("/proc/sys/kernel/unprivileged_userns_clone").trim() == "0",
        apparmor_restricts: text("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").trim()
            == "1",
        in_container: ["/run/.containerenv", "/.dockerenv"]
            .iter()
            .any(|p| Path::new(p).exists())
            || session.env.raw("container").is_some(),
        newuidmap: helper("newuidmap"),
        newgidmap: helper("newgidmap"),
        ranges: subid::ranges(user),
        next_free_id: next_free_id(&[text("/etc/subuid"), text("/etc/subgid")]),
        data: folder(&session.dirs.data),
        runtime: session.dirs.runtime.clone(),
        nameservers: parse_resolver(&host.resolv_conf).servers,
        network: host,
        configuration,
        ping_groups: range(&text("/proc/sys/net/ipv4/ping_group_range")),
        cgroup: cgroup::usual(&session.env, session.user.uid == 0).0,
        has_systemd: Path::new("/run/systemd/system").is_dir(),
        lingers: Path::new("/var/lib/systemd/linger")
            .join(&user.name)
            .exists(),
        has_user_bus: Path::new(&format!("/run/user/{}/systemd", user.uid)).exists(),
        clock: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map(|d| d.as_secs())
            .unwrap_or_default(),
        has_seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
        program,
        steps,
        hello,
    })
}

fn text(path: &str) -> String {
    crate::base::fs::read_if_exists(Path::new(path), 8 << 20)
        .ok()
        .flatten()
        .map(|b| String::from_utf8_lossy(&b).into_owned())
        .unwrap_or_default()
}

/// Runs this program with other words; `parse` reads what it prints.
fn start(
    session: &Session,
    program: &Path,
    words: &[&str],
    parse: impl Fn(&str) -> Option<Outcome>,
) -> Outcome {
    let started = std::time::Instant::now();
    let mut arguments: Vec<std::ffi::OsString> = vec![
        "--root".into(),
        session.dirs.data.clone().into(),
        "--runroot".into(),
        session.dirs.runtime.clone().into(),
    ];
    if let Some(driver) = &session.options.storage_driver {
        arguments.extend(["--storage-driver".into(), driver.into()]);
    }
    arguments.extend(words.iter().map(Into::into));
    let run = || -> Result<Outcome> {
        let what = || format!("cannot start {}", program.display());
        let handle = duct::cmd(program, arguments)
            .stdin_null()
            .stdout_capture()
            .stderr_capture()
            .unchecked()
            .start()
            .what(what)?;
        let Some(output) = handle.wait_timeout(Duration::from_secs(60)).what(what)? else {
            drop(handle.kill());
            return Ok(Outcome {
                said: "it did not end within a minute".to_owned(),
                ..Outcome::default()
            });
        };
        let printed = String::from_utf8_lossy(&output.stdout);
        if let Some(outcome) = parse(&printed) {
            return Ok(outcome);
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = complaint
            .lines()
            .map(str::trim)
            .map(|l| l.strip_prefix("Error: ").unwrap_or(l))
            .map(|l| l.strip_prefix("cause: ").unwrap_or(l))
            .filter(|l| !l.is_empty())
            .collect();
        let hints = lines
            .iter()
            .filter_map(|l| l.strip_prefix("hint: "))
            .map(str::to_owned);
        let causes: Vec<&str> = lines
            .iter()
            .copied()
            .filter(|l| !l.starts_with("hint: "))
            .collect();
        Ok(Outcome {
            worked: output.status.success(),
            said: if output.status.success() || !causes.is_empty() {
                causes.join("; ")
            } else {
                output.status.to_string()
            },
            hints: hints.collect(),
            took: 0,
        })
    };
    let mut outcome = run().unwrap_or_else(|e| Outcome::of(Err(e), Duration::ZERO));
    if outcome.took == 0 {
        outcome.took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    }
    outcome
}

/// `ID` of os-release, and what it is like.
fn distribution(os_release: &str) -> String {
    let value = |key: &str| {
        os_release
            .lines()
            .find_map(|l| l.strip_prefix(key)?.strip_prefix('='))
            .map(|v| v.trim_matches('"').to_owned())
    };
    let words = [value("ID"), value("ID_LIKE")];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn helper(path: &Path) -> Helper {
    let is_set_uid =
        fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o4000 != 0 && m.uid() == 0);
    let mut buffer = [0_u8; 64];
    let has_capability =
        rustix::fs::getxattr(path, "security.capability", &mut buffer[..]).is_ok_and(|n| n > 0);
    if is_set_uid || has_capability {
        Helper::Fit
    } else {
        Helper::Powerless
    }
}

/// The first multiple of 65536 after every range in the files, at least 100000.
fn next_free_id(files: &[String]) -> u32 {
    let end = files
        .iter()
        .flat_map(|f| f.lines())
        .filter_map(|line| {
            let mut words = line
                .split(':')
                .skip(1)
                .map(|w| w.trim().parse::<u32>().ok());
            let (start, count) = (words.next()??, words.next()??);
            let range = IdRange { start, count };
            range.start.checked_add(range.count)
        })
        .max()
        .unwrap_or(0);
    end.max(100_000)
}

fn range(text: &str) -> Option<(u32, u32)> {
    let mut words = text.split_ascii_whitespace().map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(first)), Some(Ok(last))) => Some((first, last)),
        _ => None,
    }
}

fn folder(path: &Path) -> Folder {
    let mut facts = Folder {
        path: path.to_owned(),
        ..Folder::default()
    };
    if let Err(e) = crate::base::fs::create_private_dir_all(path) {
        facts.refused = Some(e.one_line());
        return facts;
    }
    if let Ok(s) = rustix::fs::statvfs(path) {
        facts.free = s.f_bavail.saturating_mul(s.f_frsize);
        facts.inodes = (s.f_files > 0).then_some(s.f_favail);
    }
    if let Some((kind, options)) = mount_of(&text("/proc/self/mountinfo"), path) {
        facts.kind = kind;
        facts.options = options;
    }
    let probe = path.join(format!(".doctor-{}", std::process::id()));
    let tried = fs::write(&probe, b"x").and_then(|()| {
        rustix::fs::setxattr(
            &probe,
            "user.coracle.probe",
            b"x",
            rustix::fs::XattrFlags::empty(),
        )
        .map_err(Into::into)
    });
    facts.refused = tried.err().map(|e| e.to_string());
    drop(fs::remove_file(&probe));
    facts
}

/// Type and hurting options of the mount that `path` is on.
fn mount_of(mountinfo: &str, path: &Path) -> Option<(String, Vec<String>)> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    mountinfo
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut words = left.split(' ').skip(4);
            let (point, options) = (words.next()?.replace("\\040", " "), words.next()?);
            let kind = right.split(' ').next()?;
            let hurting = options
                .split(',')
                .filter(|o| matches!(*o, "noexec" | "nosuid" | "nodev" | "ro"))
                .map(str::to_owned)
                .collect();
            path.starts_with(&point).then(|| (point.len(), kind.to_owned(), hurting))
        })
        // Of two mounts on one point the later one is on top.
        .max_by_key(|(length, _, _)| *length)
        .map(|(_, kind, options)| (kind, options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_system_are_understood() {
        let files = [
            "a:100000:65536\nbad\n".to_owned(),
            "b:165536:65536\nc:5:1\n".to_owned(),
        ];
        assert_eq!(next_free_id(&files), 231_072);
        assert_eq!(next_free_id(&[String::new()]), 100_000);
        assert_eq!(range("0\t2147483647\n"), Some((0, 2_147_483_647)));
        assert_eq!(
            distribution("NAME=x\nID=ubuntu\nID_LIKE=\"debian\"\n"),
            "ubuntu debian"
        );
        let mountinfo = "1 0 0:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / /nowhere\\040x rw,noexec,nosuid - nfs4 h:/ rw\n";
        let found = mount_of(mountinfo, Path::new("/nowhere x/y")).unwrap();
        assert_eq!(
            found,
            (
                "nfs4".to_owned(),
                vec!["noexec".to_owned(), "nosuid".to_owned()]
            )
        );
        assert_eq!(
            mount_of(mountinfo, Path::new("/nowhere")).unwrap().0,
            "ext4"
        );
    }
}
