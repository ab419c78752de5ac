//! From facts to findings. Pure.

use super::facts::{Facts, Helper};
use super::steps::{Outcome, Step};
use super::{Finding, Grade};
use crate::base::size::human_binary;
use crate::cgroup::Version;
use crate::network::facts::Tun;

/// Judges everything, in the order in which one thing rests on another.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut list = vec![kernel(facts), namespaces(facts), ids(facts), store(facts)];
    list.extend(drivers(facts));
    list.push(hello(facts));
    list.push(network(facts));
    list.extend([
        resolver(facts),
        ping(facts),
        low_ports(facts),
        limits(facts),
        runtime(facts),
    ]);
    list.extend(logout(facts));
    list.extend([configuration(facts), clock(facts)]);
    list
}

fn finding(name: &'static str, grade: Grade, found: impl Into<String>) -> Finding {
    Finding {
        name,
        grade,
        found: found.into(),
        costs: None,
        mend: None,
    }
}

impl Finding {
    fn costs(mut self, costs: impl Into<String>) -> Self {
        self.costs = Some(costs.into());
        self
    }
    fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }
    fn mend_by_hint(mut self, outcome: &Outcome) -> Self {
        self.mend = outcome.hints.first().cloned();
        self
    }
}

/// The command that installs a package, by distribution.
fn install(facts: &Facts, package: &str) -> String {
    let is = |word: &str| facts.distribution.split(' ').any(|w| w.starts_with(word));
    let uidmap = |debian: &str, alpine: &str, others: &str| {
        if package != "uidmap" {
            package.to_owned()
        } else if is("debian") || is("ubuntu") {
            debian.to_owned()
        } else if is("alpine") {
            alpine.to_owned()
        } else {
            others.to_owned()
        }
    };
    let shadow = if is("arch") || is("suse") || is("opensuse") {
        "shadow"
    } else {
        "shadow-utils"
    };
    let name = uidmap("uidmap", "shadow-uidmap", shadow);
    let sudo = if facts.is_root { "" } else { "sudo " };
    let tool = if is("debian") || is("ubuntu") {
        "apt-get install"
    } else if is("fedora") || is("rhel") || is("centos") {
        "dnf install"
    } else if is("arch") {
        "pacman -S"
    } else if is("alpine") {
        "apk add"
    } else if is("suse") || is("opensuse") {
        "zypper install"
    } else {
        return format!("install the package {name}");
    };
    format!("{sudo}{tool} {name}")
}

fn version(release: &str) -> (u32, u32) {
    let mut words = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|w| w.parse().unwrap_or(0));
    (words.next().unwrap_or(0), words.next().unwrap_or(0))
}

fn kernel(facts: &Facts) -> Finding {
    let found = format!("Linux {}", facts.kernel);
    if version(&facts.kernel) < (5, 15) {
        return finding("kernel", Grade::Fail, format!("{found} is older than 5.15"))
            .costs("mounts and namespaces that containers need are missing")
            .mend("boot a newer kernel");
    }
    if !facts.has_seccomp {
        return finding(
            "kernel",
            Grade::Fail,
            format!("{found} has no seccomp filters"),
        )
        .costs("containers are started with a filter, and refused without")
        .mend("boot a kernel with CONFIG_SECCOMP_FILTER");
    }
    finding("kernel", Grade::Ok, found)
}

fn namespaces(facts: &Facts) -> Finding {
    const NAME: &str = "user-namespaces";
    let Some(outcome) = facts.steps.get(&Step::Namespaces) else {
        return finding(NAME, Grade::Fail, "not tried");
    };
    if outcome.worked {
        return finding(NAME, Grade::Ok, "one can be made, and mounted in");
    }
    let program = facts.program.display();
    let (why, mend) = if facts.max_user_namespaces == Some(0) {
        (
            "user.max_user_namespaces is 0",
            "sudo sysctl -w user.max_user_namespaces=15000".to_owned(),
        )
    } else if facts.unprivileged_clone_off {
        (
            "kernel.unprivileged_userns_clone is 0",
            "sudo sysctl -w kernel.unprivileged_userns_clone=1".to_owned(),
        )
    } else if facts.apparmor_restricts {
        (
            "AppArmor lets only programs with a profile make them",
            format!(
                "printf 'abi <abi/4.0>,\\nprofile coracle {program} flags=(unconfined) {{ userns, }}\\n' | sudo tee /etc/apparmor.d/coracle && sudo apparmor_parser -r /etc/apparmor.d/coracle"
            ),
        )
    } else if facts.in_container {
        (
            "the container around us forbids them",
            "start the outer container with --security-opt seccomp=unconfined".to_owned(),
        )
    } else {
        return finding(
            NAME,
            Grade::Fail,
            format!("none can be made: {}", outcome.said),
        )
        .costs("no container starts")
        .mend_by_hint(outcome);
    };
    finding(
        NAME,
        Grade::Fail,
        format!("none can be made: {why} ({})", outcome.said),
    )
    .costs("no container starts")
    .mend(mend)
}

fn ids(facts: &Facts) -> Finding {
    const NAME: &str = "subordinate-ids";
    const COST: &str = "containers have one user only: `su`, `apt-get` and services that change their user fail or pretend";
    let outcome = facts.steps.get(&Step::Ids);
    if let Some(outcome) = outcome.filter(|o| o.worked) {
        let notes = match facts.ranges.notes.first() {
            Some(note) if !facts.is_root => format!(" ({note})"),
            _ => String::new(),
        };
        return finding(NAME, Grade::Ok, format!("{}{notes}", outcome.said));
    }
    let said = outcome.map(|o| o.said.as_str()).unwrap_or("not tried");
    if facts.is_root {
        return finding(NAME, Grade::Warn, said).costs(COST);
    }
    let next = facts.next_free_id;
    let last = next.saturating_add(65_535);
    let powerless = |name: &str| {
        finding(
            NAME,
            Grade::Warn,
            format!("{name} has lost its set-uid bit"),
        )
        .costs(COST)
        .mend(format!("sudo chmod u+s $(command -v {name})"))
    };
    match (facts.newuidmap, facts.newgidmap) {
        _ if !facts.ranges.is_usable() => finding(
            NAME,
            Grade::Warn,
            format!("/etc/subuid and /etc/subgid give {} no ids", facts.user),
        )
        .costs(COST)
        .mend(format!(
            "sudo usermod --add-subuids {next}-{last} --add-subgids {next}-{last} {}",
            facts.user
        )),
        (Helper::Missing, _) | (_, Helper::Missing) => finding(
            NAME,
            Grade::Warn,
            "newuidmap and newgidmap are not installed",
        )
        .costs(COST)
        .mend(install(facts, "uidmap")),
        (Helper::Powerless, _) => powerless("newuidmap"),
        (_, Helper::Powerless) => powerless("newgidmap"),
        _ => finding(NAME, Grade::Warn, format!("they cannot be mapped: {said}")).costs(COST),
    }
}

fn store(facts: &Facts) -> Finding {
    const NAME: &str = "store";
    let data = &facts.data;
    let at = data.path.display();
    let elsewhere = "set CORACLE_ROOT to a folder on a local disk";
    let is_network = [
        "nfs",
        "cifs",
        "smb",
        "9p",
        "fuse.sshfs",
        "afs",
        "lustre",
        "gpfs",
        "ceph",
    ]
    .iter()
    .any(|k| data.kind.starts_with(k));
    if data.options.iter().any(|o| o == "ro") {
        return finding(NAME, Grade::Fail, format!("{at} is mounted read-only"))
            .costs("nothing can be stored")
            .mend(elsewhere);
    }
    if let Some(why) = &data.refused {
        let grade = if is_network { Grade::Warn } else { Grade::Fail };
        return finding(
            NAME,
            grade,
            format!(
                "{at} ({}) does not keep files with attributes: {why}",
                data.kind
            ),
        )
        .costs("layers cannot be shared by the kernel's overlay, or nothing can be stored at all")
        .mend(elsewhere);
    }
    if is_network {
        return finding(
            NAME,
            Grade::Warn,
            format!("{at} is on a network file system ({})", data.kind),
        )
        .costs("other owners and the kernel's overlay are refused there, so containers are copied")
        .mend(elsewhere);
    }
    if let Some(option) = data
        .options
        .iter()
        .find(|o| *o == "noexec" || *o == "nosuid")
    {
        return finding(NAME, Grade::Warn, format!("{at} is mounted with {option}"))
            .costs("programs in images may not run, or not with set-uid rights")
            .mend(elsewhere);
    }
    if data.free < 1 << 30 || data.inodes.is_some_and(|n| n < 20_000) {
        return finding(
            NAME,
            Grade::Warn,
            format!(
                "{at} has {} and {} inodes left",
                human_binary(data.free),
                data.inodes.unwrap_or(0)
            ),
        )
        .costs("pulling an image may fill the disk")
        .mend("coracle system prune --all");
    }
    finding(
        NAME,
        Grade::Ok,
        format!("{at} on {}, {} free", data.kind, human_binary(data.free)),
    )
}

fn drivers(facts: &Facts) -> Vec<Finding> {
    let of = |step| facts.steps.get(&step).cloned().unwrap_or_default();
    let is_single = !of(Step::Ids).worked;
    let (overlay, shifted, copy) = (of(Step::Overlay), of(Step::Shifted), of(Step::Copy));
    let fuse = of(Step::Fuse);
    let ok = |name, outcome: &Outcome| {
        finding(
            name,
            Grade::Ok,
            format!("{} in {} ms", outcome.said, outcome.took / 1000),
        )
    };
    let mut list = Vec::new();
    list.push(if overlay.worked {
        ok("driver-overlay", &overlay)
    } else {
        let grade = if copy.worked || fuse.worked {
            Grade::Warn
        } else {
            Grade::Fail
        };
        let costs = if fuse.worked {
            "containers' files go through FUSE: many small files are slower"
        } else {
            "containers are copied in full: slow starts and a full disk"
        };
        finding("driver-overlay", grade, overlay.said.clone())
            .costs(costs)
            .mend_by_hint(&overlay)
    });
    if shifted.worked {
        list.push(ok("driver-shifted", &shifted));
    } else if !is_single {
        list.push(
            finding("driver-shifted", Grade::Warn, shifted.said.clone())
                .costs("--userns=keep-id and auto copy the image first")
                .mend_by_hint(&shifted),
        );
    }
    list.push(if fuse.worked {
        ok("driver-fuse", &fuse)
    } else {
        finding("driver-fuse", Grade::Warn, fuse.said.clone())
            .costs("where the kernel's overlay does not work, containers are copied in full")
            .mend_by_hint(&fuse)
    });
    list.push(if copy.worked {
        ok("driver-copy", &copy)
    } else {
        let grade = if overlay.worked || fuse.worked {
            Grade::Warn
        } else {
            Grade::Fail
        };
        finding("driver-copy", grade, copy.said.clone())
            .costs("there is nothing to fall back on")
            .mend_by_hint(&copy)
    });
    list
}

fn hello(facts: &Facts) -> Finding {
    const NAME: &str = "container";
    if facts.hello.worked {
        let found = format!(
            "a container of the built-in image ran in {} ms",
            facts.hello.took / 1000
        );
        return finding(NAME, Grade::Ok, found);
    }
    finding(NAME, Grade::Fail, facts.hello.said.clone())
        .costs("no container runs")
        .mend_by_hint(&facts.hello)
}

fn network(facts: &Facts) -> Finding {
    const NAME: &str = "network";
    const COST: &str = "containers reach nothing outside, and no port can be published";
    let n = &facts.network;
    if n.pasta.is_none() && n.slirp4netns.is_none() {
        return finding(
            NAME,
            Grade::Warn,
            "neither pasta nor slirp4netns is installed",
        )
        .costs(COST)
        .mend(install(facts, "passt"));
    }
    match n.tun {
        Tun::Usable => {}
        Tun::Missing => {
            return finding(NAME, Grade::Warn, "/dev/net/tun is missing")
                .costs(COST)
                .mend("sudo modprobe tun");
        }
        Tun::Denied => {
            return finding(NAME, Grade::Warn, "this user may not open /dev/net/tun")
                .costs(COST)
                .mend("sudo chmod 666 /dev/net/tun");
        }
    }
    let outcome = facts.steps.get(&Step::Network).cloned().unwrap_or_default();
    if !outcome.worked {
        return finding(NAME, Grade::Warn, outcome.said.clone())
            .costs(COST)
            .mend_by_hint(&outcome);
    }
    if n.slirp4netns.is_none() && n.pasta_release.is_none_or(|day| day < 20_231_004) {
        return finding(
            NAME,
            Grade::Warn,
            format!(
                "{}; but this pasta is older than October 2023",
                outcome.said
            ),
        )
        .costs(
            "published services that speak first (SSH, SMTP, MySQL) hang for clients from outside",
        )
        .mend(install(facts, "slirp4netns"));
    }
    finding(NAME, Grade::Ok, outcome.said)
}

fn resolver(facts: &Facts) -> Finding {
    if facts.nameservers.is_empty() {
        return finding("names", Grade::Warn, "/etc/resolv.conf names no server")
            .costs("neither pulls nor containers find hosts by name")
            .mend("coracle run --dns ADDRESS …, or name a server in /etc/resolv.conf");
    }
    finding(
        "names",
        Grade::Ok,
        format!("resolvers: {}", facts.nameservers.join(", ")),
    )
}

fn ping(facts: &Facts) -> Finding {
    let gid = facts.gid;
    match facts.ping_groups {
        Some((first, last)) if facts.is_root || (first..=last).contains(&gid) => {
            finding("ping", Grade::Ok, "containers can ping hosts outside")
        }
        _ => finding(
            "ping",
            Grade::Warn,
            format!("net.ipv4.ping_group_range leaves group {gid} out"),
        )
        .costs("ping from containers to hosts outside gets no answer")
        .mend("sudo sysctl -w 'net.ipv4.ping_group_range=0 2147483647'"),
    }
}

fn low_ports(facts: &Facts) -> Finding {
    let start = facts.network.unprivileged_port_start;
    // Nobody is hurt who publishes 8080: not a warning.
    let found = match start {
        _ if facts.is_root => "every port can be published".to_owned(),
        0..=80 => format!("ports from {start} on can be published"),
        _ => format!(
            "ports from {start} on can be published (lower: `sudo sysctl -w net.ipv4.ip_unprivileged_port_start=80`)"
        ),
    };
    finding("ports", Grade::Ok, found)
}

fn limits(facts: &Facts) -> Finding {
    const NAME: &str = "limits";
    let c = &facts.cgroup;
    let refused = |found: String| {
        finding(NAME, Grade::Warn, found)
            .costs("--memory, --cpus and --pids-limit are refused; containers run without limits")
    };
    match c.version {
        Version::None => refused("no cgroup file system is mounted".to_owned()),
        Version::V1 | Version::Hybrid => refused("this host uses cgroup v1".to_owned())
            .mend("boot with systemd.unified_cgroup_hierarchy=1"),
        Version::V2 if !c.is_usable() => refused(format!(
            "no cgroup is delegated to us (we are in {})",
            c.own
        ))
        .mend("sudo loginctl enable-linger $USER"),
        Version::V2 => {
            let missing: Vec<&str> = ["cpu", "memory", "pids"]
                .into_iter()
                .filter(|w| !c.has(w))
                .collect();
            if missing.is_empty() {
                let found = format!("controllers {} can be used", c.controllers.join(", "));
                return finding(NAME, Grade::Ok, found);
            }
            refused(format!("not delegated to us: {}", missing.join(", "))).mend(
                "sudo mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload",
            )
        }
    }
}

fn runtime(facts: &Facts) -> Finding {
    let path = facts.runtime.display();
    if !facts.is_root && facts.runtime.starts_with("/tmp") {
        return finding(
            "runtime-folder",
            Grade::Warn,
            format!("XDG_RUNTIME_DIR is not set; {path} is used"),
        )
        .costs("a cleaner of /tmp may lose sight of running containers")
        .mend("log in through systemd (`machinectl shell`, ssh), or set XDG_RUNTIME_DIR");
    }
    finding("runtime-folder", Grade::Ok, path.to_string())
}

fn logout(facts: &Facts) -> Option<Finding> {
    if facts.is_root || !facts.has_systemd || !facts.has_user_bus {
        return None;
    }
    Some(if facts.lingers {
        finding("logout", Grade::Ok, "containers stay when you log out")
    } else {
        finding(
            "logout",
            Grade::Warn,
            format!("lingering is off for {}", facts.user),
        )
        .costs("systemd ends your containers when you log out")
        .mend(format!("sudo loginctl enable-linger {}", facts.user))
    })
}

fn configuration(facts: &Facts) -> Finding {
    match &facts.configuration {
        None => finding("configuration", Grade::Ok, "containers.conf can be used"),
        Some(why) => finding("configuration", Grade::Fail, why.clone())
            .costs("commands that need it stop with this error")
            .mend("correct that file"),
    }
}

fn clock(facts: &Facts) -> Finding {
    // The first day of 2025; certificates of registries are younger.
    const OLDEST: u64 = 1_735_689_600;
    if facts.clock < OLDEST {
        return finding(
            "clock",
            Grade::Warn,
            "the clock is set to a time before this program was written",
        )
        .costs("registries' certificates look invalid")
        .mend("sudo timedatectl set-ntp true");
    }
    finding("clock", Grade::Ok, "plausible")
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
