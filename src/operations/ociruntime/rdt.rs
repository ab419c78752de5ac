//! `linux.intelRdt`: a class of service and a monitoring group in a mounted resctrl file system.
//!
//! Spec: runtime-spec 1.3, config-linux, "IntelRdt". Kernel: Documentation/filesystems/resctrl.rst.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::record::Record;
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::runtime::{IntelRdt, Spec};

/// Folders of the file system itself, which are no classes.
const RESERVED: [&str; 5] = [".", "..", "info", "mon_groups", "mon_data"];

/// The kernel's tables of a class are shorter.
const LIMIT: usize = 64 << 10;

/// Groups of a container that is being created; what was made for it goes with the value unless
/// kept.
#[derive(Debug, Default)]
pub struct Groups {
    /// Those whose `tasks` the container's processes are in: the class, then the monitoring group.
    pub all: Vec<PathBuf>,
    /// Those that go with the container, in the order of their removal.
    pub own: Vec<PathBuf>,
    kept: bool,
}

impl Groups {
    /// They stay.
    pub fn keep(mut self) {
        self.kept = true;
    }

    /// Puts a process into them; what it starts later is born there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn enter(&self, pid: i32) -> Result<()> {
        enter(&self.all, pid)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        if !self.kept {
            for path in &self.own {
                drop(fs::remove_dir(path));
            }
        }
    }
}

/// Checks what needs no file system.
///
/// # Errors
/// `Invalid`.
pub fn check(asked: &IntelRdt) -> Result<()> {
    if !asked.mem_bw_schema.is_empty() && !asked.mem_bw_schema.starts_with("MB:") {
        return Err(Error::invalid(
            "linux.intelRdt.memBwSchema must start with MB:",
        ));
    }
    let lines = asked.schemata.iter().chain([&asked.mem_bw_schema]);
    if lines.into_iter().any(|line| line.contains('\n')) {
        return Err(Error::invalid(
            "a line of linux.intelRdt must not contain a newline",
        ));
    }
    if asked.clos_id != "/" {
        check_name(&asked.clos_id)?;
    }
    Ok(())
}

/// A class is one folder of the file system.
fn check_name(name: &str) -> Result<()> {
    if name.contains(['/', '\n', '\0']) || RESERVED.contains(&name) {
        return Err(Error::invalid(format!(
            "linux.intelRdt: {name:?} cannot be the name of a class of service"
        )));
    }
    Ok(())
}

/// Makes the groups that a configuration asks for, with their limits; `None` when it asks for none,
/// and then no resctrl is touched.
///
/// # Errors
/// `Unsupported` without a mounted resctrl; `NotFound` for a class that should be there; `Invalid`
/// for one that has other limits; what the kernel says.
pub fn make(spec: &Spec, id: &str) -> Result<Option<Groups>> {
    let Some(asked) = spec.linux.as_ref().and_then(|l| l.intel_rdt.as_ref()) else {
        return Ok(None);
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mount = mounted(&mounts).ok_or_else(|| {
        Error::unsupported("linux.intelRdt needs a mounted resctrl file system")
            .hint("mount it with `sudo mount -t resctrl resctrl /sys/fs/resctrl`, on a processor that has it")
    })?;
    make_in(&mount, asked, id).map(Some)
}

/// Where resctrl is mounted.
fn mounted(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        (right.split(' ').next() == Some("resctrl")).then_some(())?;
        left.split(' ').nth(4).map(PathBuf::from)
    })
}

fn make_in(mount: &Path, asked: &IntelRdt, id: &str) -> Result<Groups> {
    check(asked)?;
    let named = !asked.clos_id.is_empty();
    let class = match asked.clos_id.as_str() {
        "/" => mount.to_owned(),
        "" => {
            check_name(id)?;
            mount.join(id)
        }
        name => mount.join(name),
    };
    let limited = !asked.l3_cache_schema.is_empty()
        || !asked.mem_bw_schema.is_empty()
        || !asked.schemata.is_empty();
    let mut groups = Groups::default();
    if named && !limited {
        if !class.is_dir() {
            return Err(Error::not_found(format!(
                "linux.intelRdt: the class of service {} is not there, and no limits are given to make it with",
                asked.clos_id
            )));
        }
    } else {
        let made = make_dir(&class)?;
        if made && !named {
            groups.own.push(class.clone());
        } else if !made && named {
            compare(&class, asked)?;
        }
        // A class that was made under a name of its own stays from now on, with these limits; one
        // that the kernel did not accept does not.
        if let Err(e) = limit(mount, &class, asked) {
            if made {
                drop(fs::remove_dir(&class));
            }
            return Err(e);
        }
    }
    if asked.enable_monitoring {
        let monitor = class.join("mon_groups").join(id);
        fs::create_dir(&monitor).what(|| {
            format!(
                "linux.intelRdt: cannot make the monitoring group {}",
                monitor.display()
            )
        })?;
        groups.own.insert(0, monitor.clone());
        groups.all = vec![class, monitor];
    } else {
        groups.all = vec![class];
    }
    Ok(groups)
}

/// Whether the folder was made; `false` when it was there.
fn make_dir(path: &Path) -> Result<bool> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e).what(|| {
            format!(
                "linux.intelRdt: cannot make the class of service {}",
                path.display()
            )
        }),
    }
}

/// Writes limits: first those of the older properties, `schemata` last.
fn limit(mount: &Path, class: &Path, asked: &IntelRdt) -> Result<()> {
    let all = asked.schemata.join("\n");
    for text in [&asked.l3_cache_schema, &asked.mem_bw_schema, &all] {
        if text.is_empty() {
            continue;
        }
        // The kernel wants a whole line.
        fs::write(class.join("schemata"), format!("{text}\n")).map_err(|e| {
            let said = fs::read_to_string(mount.join("info/last_cmd_status")).unwrap_or_default();
            let said = said.lines().next().unwrap_or("no reason given").to_owned();
            Error::new(
                Kind::Invalid,
                format!("linux.intelRdt: the kernel refuses {text:?}: {said}"),
            )
            .because(e)
        })?;
    }
    Ok(())
}

/// A class that is there must have the limits that are given.
fn compare(class: &Path, asked: &IntelRdt) -> Result<()> {
    let text = fs::read_to_string(class.join("schemata")).what(|| {
        format!(
            "linux.intelRdt: cannot read the limits of {}",
            class.display()
        )
    })?;
    let has = table(&text);
    for given in [&asked.l3_cache_schema, &asked.mem_bw_schema] {
        for (resource, domains) in table(given) {
            let found = has.get(&resource);
            let same = domains
                .iter()
                .all(|(domain, value)| found.and_then(|f| f.get(domain)) == Some(value));
            if !same {
                return Err(Error::invalid(format!(
                    "linux.intelRdt: the class of service {} is there and has other limits than {given:?}",
                    asked.clos_id
                )));
            }
        }
    }
    Ok(())
}

/// `L3:0=f;1=0f` by resource and domain; numbers without leading zeros.
fn table(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let text = text.get(..LIMIT.min(text.len())).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (resource, domains) = line.split_once(':')?;
            let domains = domains.split(';').filter_map(|one| {
                let (domain, value) = one.split_once('=')?;
                let value = value.trim().trim_start_matches('0').to_ascii_lowercase();
                Some((domain.trim().to_owned(), value))
            });
            Some((resource.trim().to_owned(), domains.collect()))
        })
        .collect()
}

/// Puts a process into the groups of a container.
///
/// # Errors
/// What the kernel says.
pub fn enter(groups: &[PathBuf], pid: i32) -> Result<()> {
    for group in groups {
        fs::write(group.join("tasks"), pid.to_string())
            .what(|| format!("linux.intelRdt: cannot enter {}", group.display()))?;
    }
    Ok(())
}

/// Gives the class of a container other limits, whoever else is in it.
///
/// # Errors
/// `Unsupported` when it is in none; `Invalid` for what the kernel refuses.
pub fn update(record: &Record, asked: &IntelRdt) -> Result<()> {
    if *asked == IntelRdt::default() {
        return Ok(());
    }
    check(asked)?;
    let class = record.rdt.first().ok_or_else(|| {
        Error::unsupported("the container has no class of service: linux.intelRdt was not set")
    })?;
    // The class is a folder of the file system, or its root.
    let mount = match class.parent() {
        Some(parent) if parent.join("schemata").exists() => parent,
        _ => class,
    };
    limit(mount, class, asked)
}

/// Removes what `create` made for the container alone.
///
/// # Errors
/// What the kernel says.
pub fn remove(record: &Record) -> Result<()> {
    for path in &record.own_rdt {
        match fs::remove_dir(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).what(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel fills it: classes that are there, with their limits.
    fn tree(classes: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, schemata) in [("", "    L3:0=7ff;1=7ff\n    MB:0=100;1=100\n")]
            .iter()
            .chain(classes)
        {
            let class = dir.path().join(name);
            fs::create_dir_all(class.join("mon_groups")).unwrap();
            fs::write(class.join("schemata"), schemata).unwrap();
            fs::write(class.join("tasks"), "").unwrap();
        }
        dir
    }

    fn asked(json: &str) -> IntelRdt {
        serde_json::from_str(json).unwrap()
    }

    fn text(path: PathBuf) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn without_a_name_the_class_is_the_containers_own() {
        let dir = tree(&[]);
        let groups = make_in(dir.path(), &asked(r#"{"l3CacheSchema":"L3:0=f"}"#), "c1").unwrap();
        let class = dir.path().join("c1");
        assert_eq!(
            (groups.all.as_slice(), groups.own.as_slice()),
            ([class.clone()].as_slice(), [class.clone()].as_slice())
        );
        assert_eq!(text(class.join("schemata")), "L3:0=f\n");
        groups.enter(77).unwrap();
        assert_eq!(text(class.join("tasks")), "77");
        // Without limits, too, and none are written.
        let groups = make_in(dir.path(), &asked("{}"), "c2").unwrap();
        let class = dir.path().join("c2");
        assert!(class.is_dir() && !class.join("schemata").exists());
        drop(groups);
        assert!(!class.exists(), "it goes when the container is not kept");
        // One that is there already is not the container's own.
        fs::create_dir(&class).unwrap();
        assert!(
            make_in(dir.path(), &asked("{}"), "c2")
                .unwrap()
                .own
                .is_empty()
        );
        assert!(make_in(dir.path(), &asked("{}"), "mon_groups").is_err());
    }

    #[test]
    fn limits_are_written_with_schemata_last() {
        let dir = tree(&[]);
        let all = asked(
            r#"{"closID":"gold","l3CacheSchema":"L3:0=7f0","memBwSchema":"MB:0=20","schemata":["L2:0=f","MB:1=70"]}"#,
        );
        let groups = make_in(dir.path(), &all, "c").unwrap();
        // (A plain file keeps the last write only.)
        assert_eq!(text(dir.path().join("gold/schemata")), "L2:0=f\nMB:1=70\n");
        assert!(groups.own.is_empty(), "a named class stays");
        drop(groups);
        assert!(dir.path().join("gold").is_dir());
    }

    #[test]
    fn a_class_that_is_there_must_have_the_same_limits() {
        let dir = tree(&[("gold", "L3:0=0f0;1=1f\nMB:0= 20;1= 70\n")]);
        for (json, good) in [
            (r#"{"closID":"gold"}"#, true),
            (r#"{"closID":"gold","l3CacheSchema":"L3:0=F0"}"#, true),
            (r#"{"closID":"gold","memBwSchema":"MB:0=20;1=70"}"#, true),
            (r#"{"closID":"gold","l3CacheSchema":"L3:0=ff"}"#, false),
            (r#"{"closID":"gold","l3CacheSchema":"L3:2=f0"}"#, false),
            (r#"{"closID":"gold","memBwSchema":"MB:0=30"}"#, false),
            (r#"{"closID":"/","l3CacheSchema":"L3:0=7ff"}"#, true),
            (r#"{"closID":"silver"}"#, false),
            (r#"{"closID":"silver","memBwSchema":"L3:0=1"}"#, false),
            (
                r#"{"closID":"silver","schemata":["MB:0=1\nMB:1=1"]}"#,
                false,
            ),
            (r#"{"closID":"a/b"}"#, false),
            (r#"{"closID":".."}"#, false),
            (r#"{"closID":"info"}"#, false),
        ] {
            fs::write(
                dir.path().join("gold/schemata"),
                "L3:0=0f0;1=1f\nMB:0= 20;1= 70\n",
            )
            .unwrap();
            let made = make_in(dir.path(), &asked(json), "c");
            assert_eq!(made.is_ok(), good, "{json}: {made:?}");
        }
        assert!(!dir.path().join("silver").exists());
        // The default class is the root of the file system.
        let root = make_in(dir.path(), &asked(r#"{"closID":"/"}"#), "c").unwrap();
        assert_eq!(root.all, [dir.path()]);
    }

    #[test]
    fn a_monitoring_group_is_the_containers_own_in_any_class() {
        let dir = tree(&[("gold", "L3:0=f\n")]);
        let json = asked(r#"{"closID":"gold","enableMonitoring":true}"#);
        let groups = make_in(dir.path(), &json, "c").unwrap();
        let class = dir.path().join("gold");
        let monitor = class.join("mon_groups/c");
        assert_eq!(groups.all, [class, monitor.clone()]);
        assert_eq!(groups.own, std::slice::from_ref(&monitor));
        // A name that is taken, or no more groups: an error.
        assert!(make_in(dir.path(), &json, "c").is_err());
        let record = Record {
            rdt: groups.all.clone(),
            own_rdt: groups.own.clone(),
            ..super::super::record::example()
        };
        update(&record, &asked(r#"{"memBwSchema":"MB:0=10"}"#)).unwrap();
        assert_eq!(text(dir.path().join("gold/schemata")), "MB:0=10\n");
        assert!(update(&record, &asked(r#"{"memBwSchema":"L3:0=10"}"#)).is_err());
        assert!(
            update(
                &super::super::record::example(),
                &asked(r#"{"memBwSchema":"MB:0=1"}"#)
            )
            .is_err()
        );
        groups.keep();
        remove(&record).unwrap();
        assert!(!monitor.exists());
        // Removed by somebody else meanwhile.
        remove(&record).unwrap();
    }

    #[test]
    fn the_mount_is_found_by_its_type() {
        let info = "1 0 0:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / /sys/fs/resctrl rw shared:1 - resctrl resctrl rw\n";
        assert_eq!(mounted(info).unwrap(), Path::new("/sys/fs/resctrl"));
        assert_eq!(mounted("1 0 0:1 / /resctrl rw - tmpfs resctrl rw\n"), None);
    }
}
