//! Role `hello`: the one program of the built-in image; shows from inside what isolates it.
//!
//! Started by: the entry point of the image `hello`, as the container's first process.
//! Namespaces: the container's. Holds: standard output only. Writes: text to it. Ends: at once.
//!
//! Invariants: it reads /proc alone, needs nothing else of the image, and leaves out whatever it
//! cannot read; it never fails because of that.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::runtime::capabilities;

/// Runs the role; answers the exit code.
pub fn run() -> u8 {
    let text = report();
    // A closed pipe is the reader's wish.
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => 0,
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => 0,
        Err(_) => 1,
    }
}

fn report() -> String {
    let status = read("/proc/self/status");
    let mut text = String::new();
    text.push_str("Hello from a coracle container!\n\n");
    text.push_str(
        "This is coracle's own program, alone in a root file system of one layer. No daemon\n\
         started it, and no network was needed. It sees:\n\n",
    );
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:<13} {value}");
        }
    };
    line("ids", ids(&status));
    line("uid map", id_map(&read("/proc/self/uid_map")));
    line("gid map", id_map(&read("/proc/self/gid_map")));
    line("processes", processes());
    line(
        "host name",
        read("/proc/sys/kernel/hostname").trim().to_owned(),
    );
    line("namespaces", namespaces());
    line("cgroup", cgroup());
    line("root", root(&read("/proc/self/mountinfo")));
    line("network", network());
    line("capabilities", capability_names(&status));
    line("seccomp", seccomp(&status));
    line("new privileges", new_privileges(&status));
    line("limits", limits(&read("/proc/self/limits")));
    text.push_str(
        "\nWhat to do next:\n\
         \x20 coracle run -it docker.io/library/debian bash   a system of your choice, interactive\n\
         \x20 coracle run -d -p 8080:80 docker.io/library/nginx   a service in the background\n\
         \x20 coracle ps -a          what runs and what ran\n\
         \x20 coracle doctor         what this machine offers, and what would make it better\n\
         \x20 coracle --help         everything else\n",
    );
    text
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A field of `/proc/self/status`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

fn ids(status: &str) -> String {
    let first = |name| {
        field(status, name)
            .and_then(|v| v.split_whitespace().next())
            .unwrap_or("?")
    };
    let groups = field(status, "Groups").unwrap_or_default();
    let groups = if groups.is_empty() {
        "no further groups".to_owned()
    } else {
        format!("groups {groups}")
    };
    format!("user {}, group {}, {groups}", first("Uid"), first("Gid"))
}

/// Lines of an id map as `0-999 is outside 100000-100999`.
fn id_map(map: &str) -> String {
    let range = |start: u64, count: u64| {
        if count == 1 {
            start.to_string()
        } else {
            format!("{start}-{}", start + count - 1)
        }
    };
    let lines: Vec<String> = map
        .lines()
        .filter_map(|line| {
            let numbers: Vec<u64> = line
                .split_whitespace()
                .filter_map(|n| n.parse().ok())
                .collect();
            let [inside, outside, count] = numbers[..] else {
                return None;
            };
            if count == u64::from(u32::MAX) && inside == outside {
                return Some("the host's own".to_owned());
            }
            Some(format!(
                "{} is {} outside",
                range(inside, count),
                range(outside, count)
            ))
        })
        .collect();
    lines.join("; ")
}

fn processes() -> String {
    let count = std::fs::read_dir("/proc")
        .map(|entries| {
            entries
                .flatten()
                .filter(|e| {
                    let name = e.file_name();
                    let name = name.to_string_lossy();
                    !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit())
                })
                .count()
        })
        .unwrap_or_default();
    format!(
        "{count} in sight, this one is number {}",
        std::process::id()
    )
}

fn namespaces() -> String {
    let mut found: Vec<String> = Vec::new();
    for name in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"] {
        let link = std::fs::read_link(format!("/proc/self/ns/{name}"));
        let inode = link.ok().and_then(|target| {
            let text = target.to_string_lossy().into_owned();
            Some(text.split_once('[')?.1.trim_end_matches(']').to_owned())
        });
        if let Some(inode) = inode {
            found.push(format!("{name} {inode}"));
        }
    }
    found.join(", ")
}

fn cgroup() -> String {
    let own = read("/proc/self/cgroup");
    own.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .or_else(|| own.lines().next())
        .unwrap_or_default()
        .to_owned()
}

/// The file system at `/`.
fn root(mountinfo: &str) -> String {
    let Some(line) = mountinfo
        .lines()
        .rev()
        .find(|line| line.split(' ').nth(4) == Some("/"))
    else {
        return String::new();
    };
    let Some((before, after)) = line.split_once(" - ") else {
        return String::new();
    };
    let kind = after.split(' ').next().unwrap_or("?");
    let options = before.split(' ').nth(5).unwrap_or_default();
    let writable = if options.split(',').any(|o| o == "ro") {
        "read-only"
    } else {
        "writable"
    };
    let others = mountinfo.lines().count().saturating_sub(1);
    format!("{kind}, {writable}; {others} more mounts")
}

fn network() -> String {
    let devices = read("/proc/net/dev");
    let names: Vec<&str> = devices
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':').map(|(name, _)| name.trim()))
        .collect();
    let mut addresses = local_ipv4(&read("/proc/net/fib_trie"));
    for line in read("/proc/net/if_inet6").lines() {
        if let Some(hex) = line.split_whitespace().next()
            && let Ok(bits) = u128::from_str_radix(hex, 16)
        {
            addresses.push(std::net::Ipv6Addr::from_bits(bits).to_string());
        }
    }
    let addresses = if addresses.is_empty() {
        "no address".to_owned()
    } else {
        addresses.join(", ")
    };
    if names.is_empty() {
        return String::new();
    }
    format!("{} with {addresses}", names.join(", "))
}

/// The addresses that the kernel's table of routes calls local.
fn local_ipv4(trie: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut last = "";
    for line in trie.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address;
        } else if line.starts_with("/32 host LOCAL") && !found.iter().any(|a| a == last) {
            found.push(last.to_owned());
        }
    }
    found
}

fn capability_names(status: &str) -> String {
    let mask = |name| {
        field(status, name)
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .unwrap_or_default()
    };
    let own = mask("CapEff");
    let names: Vec<String> = capabilities::NAMES
        .iter()
        .enumerate()
        .filter(|(number, _)| own & (1 << number) != 0)
        .map(|(_, name)| name.trim_start_matches("CAP_").to_ascii_lowercase())
        .collect();
    let bound = mask("CapBnd").count_ones();
    match names.len() {
        0 => format!("none, and at most {bound} could be had"),
        n => format!("{n} of {}: {}", capabilities::NAMES.len(), names.join(" ")),
    }
}

fn seccomp(status: &str) -> String {
    match field(status, "Seccomp") {
        Some("2") => match field(status, "Seccomp_filters") {
            Some(count) => format!("on, {count} filter(s) look at every system call"),
            None => "on, a filter looks at every system call".to_owned(),
        },
        Some("0") => "off".to_owned(),
        _ => String::new(),
    }
}

fn new_privileges(status: &str) -> String {
    match field(status, "NoNewPrivs") {
        Some("1") => "none can be gained by set-uid programs".to_owned(),
        Some("0") => "can be gained by set-uid programs of the image".to_owned(),
        _ => String::new(),
    }
}

fn limits(limits: &str) -> String {
    let soft = |name: &str| {
        limits
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or("?")
            .to_owned()
    };
    let mut parts = vec![
        format!("{} open files", soft("Max open files")),
        format!("{} processes", soft("Max processes")),
    ];
    for (file, what) in [
        ("memory.max", "bytes of memory"),
        ("pids.max", "tasks"),
        ("cpu.max", "CPU time (quota, period)"),
    ] {
        let value = read(&format!("/sys/fs/cgroup/{file}"));
        let value = value.trim();
        if !value.is_empty() && !value.starts_with("max") {
            parts.push(format!("{value} {what}"));
        }
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_made_of_what_proc_says() {
        let text = report();
        assert!(text.starts_with("Hello from a coracle container!"));
        for part in ["ids", "namespaces", "root", "capabilities", "limits"] {
            assert!(text.contains(&format!("\n  {part} ")), "{part}: {text}");
        }
    }

    #[test]
    fn maps_addresses_and_mounts_are_read() {
        assert_eq!(
            id_map("         0       1000          1\n         1     100000      65536\n"),
            "0 is 1000 outside; 1-65536 is 100000-165535 outside"
        );
        assert_eq!(id_map("0 0 4294967295"), "the host's own");
        let trie = "Main:\n  +-- 127.0.0.0/8\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 10.0.2.255\n        /32 link BROADCAST\n     |-- 10.0.2.100\n        /32 host LOCAL\n";
        assert_eq!(local_ipv4(trie), ["127.0.0.1", "10.0.2.100"]);
        let mounts = "1 0 0:1 / / rw - ext4 /dev/x rw\n2 1 0:2 / / rw,relatime - overlay overlay rw,lowerdir=/x\n3 2 0:3 / /proc rw - proc proc rw\n";
        assert_eq!(root(mounts), "overlay, writable; 2 more mounts");
    }
}
