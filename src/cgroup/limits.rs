//! From limits as a person gives them to the files of a group. Pure.

use super::probe::{Support, Version};
use crate::base::{Error, Result};
use crate::state::options::Resources;

/// How many processes a container may have where nothing else is said, as in podman.
pub const DEFAULT_PIDS: i64 = 2048;

/// The files to write, in order: name and text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Controllers that must be on.
    pub controllers: Vec<&'static str>,
    /// File name and content.
    pub files: Vec<(&'static str, String)>,
}

impl Settings {
    fn set(&mut self, controller: &'static str, file: &'static str, value: impl Into<String>) {
        if !self.controllers.contains(&controller) {
            self.controllers.push(controller);
        }
        self.files.push((file, value.into()));
    }
}

/// Checks every limit against what the host allows, and gives the files that make them true.
///
/// # Errors
/// `Unsupported`, naming the option, what is missing and the command that mends it; `Invalid` for
/// values that contradict each other.
pub fn check(support: &Support, resources: &Resources) -> Result<Settings> {
    let r = resources;
    let mut settings = Settings::default();
    let mut refuse = None;
    let mut need = |option: &str, controller: &'static str| {
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
        let weight = 1 + (u32::from(weight) - 10) * 9999 / 990;
        settings.set("io", "io.weight", format!("default {weight}"));
    }
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

fn swap(
    r: &Resources,
    settings: &mut Settings,
    need: &mut dyn FnMut(&str, &'static str),
) -> Result<()> {
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

fn cpu(
    r: &Resources,
    settings: &mut Settings,
    need: &mut dyn FnMut(&str, &'static str),
) -> Result<()> {
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
        Version::V2 if !support.is_usable() && support.is_outside_user_manager => say(format!(
            "this login session ({}) is not below your user manager, so no group is yours",
            support.own
        ))
        .hint("run it as `systemd-run --user --scope coracle …`"),
        Version::V2 if !support.is_usable() => say(format!(
            "no cgroup is delegated to you (this process is in {})",
            support.own
        ))
        .hint("run it as `systemd-run --user --scope coracle …`, or ask for a unit with Delegate=yes"),
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
            is_outside_user_manager: false,
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
                .map(|(f, v)| (*f, v.as_str()))
                .collect();
            assert_eq!(files, expected);
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
            is_outside_user_manager: true,
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
            (nothing, &memory, "not below your user manager"),
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
