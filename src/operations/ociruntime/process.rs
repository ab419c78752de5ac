//! `ps`: the processes of a container.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::record::{Container, Record};
use super::{Place, cgroups};
use crate::base::{Context as _, Error, Result};

/// The pids of a container's processes, as the caller's pid namespace counts.
///
/// # Errors
/// `NotFound`; what the kernel says.
pub fn list(place: &Place, id: &str) -> Result<Vec<i32>> {
    let container = Container::open(place, id)?;
    if !container.record.process.is_alive() {
        return Ok(Vec::new());
    }
    match cgroups::processes(&container.record)? {
        Some(list) => Ok(list),
        None => of_namespace(&container.record),
    }
}

/// The processes in the pid namespace of a container's first one; only that one where it has none
/// of its own.
///
/// # Errors
/// What the kernel says.
pub(super) fn of_namespace(record: &Record) -> Result<Vec<i32>> {
    let inode = |pid: &str| fs::metadata(format!("/proc/{pid}/ns/pid")).map(|m| m.ino());
    let first = record.process.pid;
    let own = inode("self").what(|| "cannot look at the own pid namespace")?;
    let theirs = match inode(&first.to_string()) {
        Ok(theirs) if theirs != own => theirs,
        _ => return Ok(vec![first]),
    };
    let mut list = Vec::new();
    for entry in fs::read_dir("/proc").what(|| "cannot read /proc")? {
        let Ok(entry) = entry else { continue };
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if let Ok(pid) = name.parse::<i32>()
            && inode(&name).is_ok_and(|i| i == theirs)
        {
            list.push(pid);
        }
    }
    list.sort_unstable();
    Ok(list)
}

/// `ps` of the host with `options`, less the lines of other processes.
///
/// # Errors
/// `NotFound` without ps; `Invalid` when its output has no PID column.
pub fn table(place: &Place, id: &str, options: &[String]) -> Result<String> {
    let pids = list(place, id)?;
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() {
        &default
    } else {
        options
    };
    let output = std::process::Command::new("ps")
        .args(options)
        .output()
        .what(|| "cannot run ps")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::invalid(format!("ps failed: {}", said.trim())));
    }
    filter(&String::from_utf8_lossy(&output.stdout), &pids)
}

fn filter(text: &str, pids: &[i32]) -> Result<String> {
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head
        .split_whitespace()
        .position(|w| w == "PID")
        .ok_or_else(|| Error::invalid("the output of ps has no PID column"))?;
    let mut out = format!("{head}\n");
    for line in lines {
        let pid = line
            .split_whitespace()
            .nth(column)
            .and_then(|w| w.parse().ok());
        if pid.is_some_and(|pid: i32| pids.contains(&pid)) {
            out.push_str(line);
            out.push('\n');
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_containers_lines_only() {
        let text = "UID PID CMD\nroot 1 init\nroot 22 sleep\nroot 222 x\n";
        assert_eq!(filter(text, &[22]).unwrap(), "UID PID CMD\nroot 22 sleep\n");
        assert!(filter("CMD\n", &[1]).is_err());
    }
}
