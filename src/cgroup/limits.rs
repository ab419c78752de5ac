//! From limits as a person gives them to the files of a group. Only devices are looked at.

use super::probe::{Support, Version};
use crate::base::{Context as _, Error, Result};
use crate::state::options::Resources;

/// How many processes a container may have where nothing else is said, as in podman.
pub const DEFAULT_PIDS: i64 = 2048;

/// The files to write, in order: name and text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Controllers that must be on.
    pub controllers: Vec<String>,
    /// File name and content.
    pub files: Vec<(String, String)>,
}

impl Settings {
    fn set(&mut self, controller: &str, file: &str, value: impl Into<String>) {
        if !self.controllers.iter().any(|c| c == controller) {
            self.controllers.push(controller.to_owned());
        }
        self.files.push((file.to_owned(), value.into()));
    }
}

/// Told of an option and the controller that it needs.
type Need<'a> = &'a mut dyn FnMut(&str, &str);

/// Checks every limit against what the host allows, and gives the files that make them true.
///
/// # Errors
/// `Unsupported`, naming the option, what is missing and the command that mends it; `Invalid` for
/// values that contradict each other.
pub fn check(support: &Support, resources: &Resources) -> Result<Settings> {
    let r = resources;
    let mut settings = Settings::default();
    let mut refuse = None;
    let mut need = |option: &str, controller: &str| {
        if refuse.is_none() && !(support.is_usable() && support.has(controller)) {
            refuse = Some(missing(support, option, controller));
        }
    };
    if let Some(memory) = r.memory.filter(|m| *m > 0) {
        need("--memory", "memory");
        settings.set("memory", "memory.max", memory.to_string());
    }
    if let Some(low) = r.memory_reservation.filter(|m| *m > 0) {
        need("--memory-reservation", "memory");
        if r.memory.is_some_and(|max| max > 0 && low > max) {
            return Err(Error::invalid(format!(
                "--memory-reservation {low} is more than --memory {}",
                r.memory.unwrap_or_default()
            )));
        }
        settings.set("memory", "memory.low", low.to_string());
    }
    swap(r, &mut settings, &mut need)?;
    cpu(r, &mut settings, &mut need)?;
    for (value, option, file) in [
        (&r.cpuset_cpus, "--cpuset-cpus", "cpuset.cpus"),
        (&r.cpuset_mems, "--cpuset-mems", "cpuset.mems"),
    ] {
        if let Some(value) = value {
            need(option, "cpuset");
            settings.set("cpuset", file, value.clone());
        }
    }
    match r.pids_limit {
        Some(count) if count > 0 => {
            need("--pids-limit", "pids");
            settings.set("pids", "pids.max", count.to_string());
        }
        Some(_) => {}
        None if support.is_usable() && support.has("pids") => {
            settings.set("pids", "pids.max", DEFAULT_PIDS.to_string());
        }
        None => {}
    }
    if let Some(weight) = r.blkio_weight.filter(|w| *w > 0) {
        if !(10..=1000).contains(&weight) {
            return Err(Error::invalid(format!(
                "--blkio-weight {weight} is not between 10 and 1000"
            )));
        }
        need("--blkio-weight", "io");
        let weight = io_weight(weight.into());
        settings.set("io", "io.weight", format!("default {weight}"));
    }
    devices(r, &mut settings, &mut need)?;
    unified(r, &mut settings, &mut need)?;
    if let Some(error) = refuse {
        return Err(error);
    }
    for (given, option) in [
        (r.memory_swappiness.is_some(), "--memory-swappiness"),
        (r.oom_kill_disable, "--oom-kill-disable"),
    ] {
        if given {
            return Err(Error::unsupported(format!(
                "{option} cannot be applied: cgroup v2 has no such setting"
            ))
            .hint(format!("leave {option} out")));
        }
    }
    Ok(settings)
}

/// The line between 10..1000 and 1..10000, as runc and crun draw it.
fn io_weight(weight: u64) -> u64 {
    1 + (weight.clamp(10, 1000) - 10) * 9999 / 990
}

/// Limits of single devices.
fn devices(r: &Resources, settings: &mut Settings, need: Need<'_>) -> Result<()> {
    for limit in &r.devices {
        let option = limit.kind.option();
        need(option, "io");
        let device = device_number(&limit.path, option)?;
        match limit.kind.key() {
            None => settings.set(
                "io",
                "io.weight",
                format!("{device} {}", io_weight(limit.value)),
            ),
            // A rate of 0 is none, as in the kernel's old interface.
            Some(key) if limit.value == 0 => {
                settings.set("io", "io.max", format!("{device} {key}=max"));
            }
            Some(key) => settings.set("io", "io.max", format!("{device} {key}={}", limit.value)),
        }
    }
    Ok(())
}

/// `MAJOR:MINOR` of a block device; of the whole disk for a partition, as the kernel counts no
/// other.
fn device_number(path: &str, option: &str) -> Result<String> {
    let what = || format!("{option} cannot be applied to {path:?}");
    let stat = rustix::fs::stat(path).what(what)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::BlockDevice {
        return Err(Error::invalid(what())
            .because(Error::invalid("it is no block device"))
            .hint("`lsblk -p` lists them"));
    }
    let number = format!(
        "{}:{}",
        rustix::fs::major(stat.st_rdev),
        rustix::fs::minor(stat.st_rdev)
    );
    let folder = std::path::Path::new("/sys/dev/block").join(&number);
    if folder.join("partition").exists()
        && let Ok(disk) = std::fs::read_to_string(folder.join("../dev"))
    {
        return Ok(disk.trim().to_owned());
    }
    Ok(number)
}

/// `--cgroup-conf`: files of cgroup v2 by their names.
fn unified(r: &Resources, settings: &mut Settings, need: Need<'_>) -> Result<()> {
    for (file, value) in &r.unified {
        let (controller, rest) = file.split_once('.').unwrap_or((file, ""));
        if rest.is_empty() || file.contains('/') {
            return Err(Error::invalid(format!(
                "--cgroup-conf {file:?} is not the name of a cgroup file"
            ))
            .hint("e.g. --cgroup-conf memory.high=512M"));
        }
        if controller == "cgroup" {
            return Err(Error::unsupported(format!(
                "--cgroup-conf {file:?} cannot be applied: cgroup.* files are not settings of a container"
            ))
            .hint("`coracle pause` freezes, `--pids-limit` limits processes"));
        }
        need(&format!("--cgroup-conf {file}"), controller);
        for line in value.lines() {
            settings.set(controller, file, line);
        }
    }
    Ok(())
}

fn swap(r: &Resources, settings: &mut Settings, need: Need<'_>) -> Result<()> {
    let memory = r.memory.filter(|m| *m > 0);
    match (r.memory_swap, memory) {
        (Some(-1), _) => {
            need("--memory-swap", "memory");
            settings.set("memory", "memory.swap.max", "max");
        }
        (Some(total), Some(memory)) if total > 0 => {
            // Docker's number is memory and swap together, the kernel's is swap alone.
            let swap = u64::try_from(total).unwrap_or_default().checked_sub(memory);
            let Some(swap) = swap else {
                return Err(Error::invalid(format!(
                    "--memory-swap {total} is less than --memory {memory}"
                )));
            };
            need("--memory-swap", "memory");
            settings.set("memory", "memory.swap.max", swap.to_string());
        }
        (Some(total), None) if total > 0 => {
            return Err(Error::invalid("--memory-swap needs --memory"));
        }
        // As docker and podman: as much swap as memory.
        (_, Some(memory)) => settings.set("memory", "memory.swap.max", memory.to_string()),
        _ => {}
    }
    Ok(())
}

fn cpu(r: &Resources, settings: &mut Settings, need: Need<'_>) -> Result<()> {
    let period = r.cpu_period.filter(|p| *p > 0).unwrap_or(100_000);
    if !(1000..=1_000_000).contains(&period) {
        return Err(Error::invalid(format!(
            "--cpu-period {period} is not between 1000 and 1000000 microseconds"
        )));
    }
    let given_quota = r.cpu_quota.filter(|q| *q > 0);
    let quota = match (r.cpus.filter(|c| *c != 0.0), given_quota) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid(
                "--cpus and --cpu-quota contradict each other",
            ));
        }
        (Some(cpus), None) => {
            let quota = cpus * period as f64;
            if !(cpus.is_finite() && quota >= 1000.0) {
                return Err(Error::invalid(format!(
                    "--cpus {cpus} is less than the kernel's minimum of 0.01"
                )));
            }
            need("--cpus", "cpu");
            Some((quota.round() as u64).to_string())
        }
        (None, Some(quota)) => {
            need("--cpu-quota", "cpu");
            Some(quota.to_string())
        }
        (None, None) if r.cpu_period.is_some_and(|p| p > 0) => {
            need("--cpu-period", "cpu");
            Some("max".to_owned())
        }
        (None, None) => None,
    };
    if let Some(quota) = quota {
        settings.set("cpu", "cpu.max", format!("{quota} {period}"));
    }
    if let Some(shares) = r.cpu_shares.filter(|s| *s > 0) {
        need("--cpu-shares", "cpu");
        let shares = shares.clamp(2, 262_144);
        // The table of runc and crun: 2..262144 shares become 1..10000.
        let weight = 1 + (shares - 2) * 9999 / 262_142;
        settings.set("cpu", "cpu.weight", weight.to_string());
    }
    Ok(())
}

/// The sentence that says what is missing.
fn missing(support: &Support, option: &str, controller: &str) -> Error {
    let say = |why: String| Error::unsupported(format!("{option} cannot be applied: {why}"));
    match support.version {
        Version::None => say("no cgroup file system is mounted here".to_owned())
            .hint("limits need cgroup v2 at /sys/fs/cgroup; without, use `--ulimit`"),
        Version::V1 | Version::Hybrid => {
            say("this host uses cgroup v1, and limits need v2".to_owned()).hint(
                "boot with `systemd.unified_cgroup_hierarchy=1` on the kernel's command line; without, use `--ulimit`",
            )
        }
        Version::V2 if !support.is_usable() => say(format!(
            "no cgroup is delegated to you (this process is in {}), and you have no user manager that could",
            support.own
        ))
        .hint("log in by ssh, on a console or with `machinectl shell` (su and sudo start no user manager), or run it as the command of a unit with Delegate=yes"),
        Version::V2 if !support.host_controllers.iter().any(|c| c == controller) => say(format!(
            "this kernel, or the container we are in, has no {controller} controller"
        ))
        .hint("`cat /sys/fs/cgroup/cgroup.controllers` lists what there is"),
        Version::V2 => say(format!("the {controller} controller is not delegated to you")).hint(
            "delegate it with `sudo mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload` and log in again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;
    use crate::state::options::{DeviceLimit, DeviceLimitKind};

    fn support(controllers: &[&str]) -> Support {
        Support {
            version: Version::V2,
            mount: "/sys/fs/cgroup".into(),
            own: "/x".into(),
            base: Some("/sys/fs/cgroup/x".into()),
            controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
            host_controllers: ["cpu", "cpuset", "io", "memory", "pids"]
                .iter()
                .map(|c| (*c).to_owned())
                .collect(),
        }
    }

    fn all() -> Support {
        support(&["cpu", "cpuset", "io", "memory", "pids"])
    }

    #[test]
    fn limits_become_files() {
        let none = Resources::default();
        let cases: Vec<(Resources, Vec<(&str, &str)>)> = vec![
            (none.clone(), vec![("pids.max", "2048")]),
            (
                Resources {
                    memory: Some(64 << 20),
                    pids_limit: Some(-1),
                    ..none.clone()
                },
                vec![("memory.max", "67108864"), ("memory.swap.max", "67108864")],
            ),
            (
                Resources {
                    memory: Some(100),
                    memory_swap: Some(150),
                    memory_reservation: Some(50),
                    pids_limit: Some(7),
                    ..none.clone()
                },
                vec![
                    ("memory.max", "100"),
                    ("memory.low", "50"),
                    ("memory.swap.max", "50"),
                    ("pids.max", "7"),
                ],
            ),
            (
                Resources {
                    cpus: Some(1.5),
                    cpu_shares: Some(1024),
                    pids_limit: Some(0),
                    blkio_weight: Some(1000),
                    ..none.clone()
                },
                vec![
                    ("cpu.max", "150000 100000"),
                    ("cpu.weight", "39"),
                    ("io.weight", "default 10000"),
                ],
            ),
            (
                Resources {
                    cpu_period: Some(50_000),
                    cpuset_cpus: Some("0-1".into()),
                    pids_limit: Some(0),
                    ..none
                },
                vec![("cpu.max", "max 50000"), ("cpuset.cpus", "0-1")],
            ),
        ];
        for (resources, expected) in cases {
            let settings = check(&all(), &resources).unwrap();
            let files: Vec<(&str, &str)> = settings
                .files
                .iter()
                .map(|(f, v)| (f.as_str(), v.as_str()))
                .collect();
            assert_eq!(files, expected);
        }
    }

    #[test]
    fn raw_settings_ask_for_their_controller() {
        let of = |pairs: &[(&str, &str)]| Resources {
            unified: pairs
                .iter()
                .map(|(f, v)| ((*f).to_owned(), (*v).to_owned()))
                .collect(),
            pids_limit: Some(0),
            ..Resources::default()
        };
        let settings = check(
            &all(),
            &of(&[("io.max", "8:0 rbps=1\n8:0 wbps=2"), ("memory.high", "5M")]),
        )
        .unwrap();
        assert_eq!(settings.controllers, ["io", "memory"]);
        let expected = [
            ("io.max", "8:0 rbps=1"),
            ("io.max", "8:0 wbps=2"),
            ("memory.high", "5M"),
        ];
        assert!(
            settings
                .files
                .iter()
                .map(|(f, v)| (f.as_str(), v.as_str()))
                .eq(expected)
        );
        for bad in ["memory", "memory/../../x.y", "cgroup.procs", "../x.y"] {
            assert!(check(&all(), &of(&[(bad, "1")])).is_err(), "{bad}");
        }
        let e = check(&all(), &of(&[("hugetlb.2MB.max", "0")])).unwrap_err();
        assert!(e.what().contains("no hugetlb controller"), "{e:?}");
    }

    #[test]
    fn only_block_devices_have_limits() {
        for (path, expected) in [("/dev/null", "no block device"), ("/dev/none", "/dev/none")] {
            let limit = DeviceLimit {
                kind: DeviceLimitKind::ReadBps,
                path: path.to_owned(),
                value: 5,
            };
            let resources = Resources {
                devices: vec![limit],
                ..Resources::default()
            };
            let e = check(&all(), &resources).unwrap_err();
            assert!(e.one_line().contains(expected), "{e:?}");
        }
    }

    #[test]
    fn what_cannot_be_applied_is_refused_by_name_with_a_way_out() {
        let memory = Resources {
            memory: Some(1 << 20),
            ..Resources::default()
        };
        let cpus = Resources {
            cpus: Some(1.0),
            ..Resources::default()
        };
        let nothing = Support {
            version: Version::V2,
            own: "/user.slice/user-1000.slice/session-1.scope".into(),
            ..Support::default()
        };
        let cases = [
            (
                Support::default(),
                &memory,
                "--memory cannot be applied: no cgroup",
            ),
            (
                Support {
                    version: Version::Hybrid,
                    ..Support::default()
                },
                &memory,
                "cgroup v1",
            ),
            (nothing, &memory, "no cgroup is delegated to you"),
            (
                support(&["memory", "pids"]),
                &cpus,
                "--cpus cannot be applied: the cpu controller is not delegated",
            ),
            (
                Support {
                    host_controllers: vec![],
                    ..support(&[])
                },
                &cpus,
                "has no cpu controller",
            ),
        ];
        for (support, resources, expected) in cases {
            let e = check(&support, resources).unwrap_err();
            assert_eq!(e.kind(), Kind::Unsupported);
            assert!(e.what().contains(expected), "{e:?}");
            assert!(!e.hints().is_empty());
            assert!(
                check(&support, &Resources::default()).is_ok(),
                "no limit, no refusal"
            );
        }
        let bad = [
            Resources {
                memory_swap: Some(5),
                ..Resources::default()
            },
            Resources {
                memory: Some(9),
                memory_swap: Some(5),
                ..Resources::default()
            },
            Resources {
                memory: Some(9),
                memory_reservation: Some(10),
                ..Resources::default()
            },
            Resources {
                cpus: Some(1.0),
                cpu_quota: Some(5000),
                ..Resources::default()
            },
            Resources {
                cpus: Some(f64::NAN),
                ..Resources::default()
            },
            Resources {
                cpus: Some(-1.0),
                ..Resources::default()
            },
            Resources {
                blkio_weight: Some(5),
                ..Resources::default()
            },
            Resources {
                oom_kill_disable: true,
                ..Resources::default()
            },
        ];
        for resources in bad {
            assert!(check(&all(), &resources).is_err(), "{resources:?}");
        }
    }
}
