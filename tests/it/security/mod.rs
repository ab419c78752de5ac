//! The threat model's classes (SECURITY.md), one file a class: reproductions of published holes and
//! what two containers that work together could try. docs/security-tests.md has the table.

mod builds;
mod code;
mod descriptors;
mod exposure;
mod files;
mod kernel;
mod mounts;
mod nested;
mod options;
mod output;
mod paths;
mod privileges;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::{World, fixture};

/// The hostile program, compiled once for all tests: whoever can build coracle has a C compiler.
fn probe() -> &'static Path {
    static PROBE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PROBE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("probe");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/security/probe.c");
        let made = Command::new("cc")
            .args(["-static", "-O1", "-o"])
            .args([&path, &source])
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        (dir, path)
    });
    path
}

/// Imports an image `name` with a shell, the hostile program as `probe`, and what `add` adds or
/// puts in the place of the usual folders.
fn image(
    world: &World,
    name: &str,
    changes: &[&str],
    add: impl FnOnce(&mut tar::Builder<Vec<u8>>),
) {
    let mut tar = tar::Builder::new(Vec::new());
    fixture::add_dir(&mut tar, "bin", 0o755);
    let mut file = |path: &str, from: &Path| {
        let content = std::fs::read(from).unwrap();
        fixture::add_file(&mut tar, path, 0o755, (0, 0), &content);
    };
    file("bin/busybox", Path::new("/bin/busybox"));
    file("bin/probe", probe());
    for applet in [
        "cat", "chmod", "echo", "env", "find", "grep", "head", "id", "ln", "ls", "mkdir", "mknod",
        "mount", "mv", "pwd", "readlink", "rm", "sh", "sleep", "stat", "touch", "true", "umount",
        "wc",
    ] {
        let path = format!("bin/{applet}");
        fixture::add_link(&mut tar, tar::EntryType::Symlink, &path, "busybox");
    }
    add(&mut tar);
    let path = world.path().join(format!("{name}.tar"));
    std::fs::write(&path, tar.into_inner().unwrap()).unwrap();
    let mut args = vec!["import", "-q"];
    for change in changes {
        args.extend(["-c", change]);
    }
    args.extend([path.to_str().unwrap(), name]);
    world.ok(&args);
}

fn link(tar: &mut tar::Builder<Vec<u8>>, path: &str, target: &str) {
    fixture::add_link(tar, tar::EntryType::Symlink, path, target);
}

/// A folder of the host that nothing may change, and everything that is in it.
struct Canary {
    dir: PathBuf,
    before: Vec<String>,
}

impl Canary {
    fn new(world: &World) -> Self {
        let dir = world.path().join("canary");
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        for (name, text) in [
            ("passwd", "evil:x:0:0::/:/bin/sh\n"),
            ("group", "evil:x:0:\n"),
            ("file", "host's\n"),
            ("sub/file", "host's\n"),
        ] {
            std::fs::write(dir.join(name), text).unwrap();
        }
        let before = listing(&dir);
        Self { dir, before }
    }

    fn path(&self) -> &str {
        self.dir.to_str().unwrap()
    }

    /// Nothing was added, changed, given away or taken.
    #[track_caller]
    fn sings(&self) {
        assert_eq!(listing(&self.dir), self.before, "the host was changed");
    }
}

/// Every path below a folder with its kind, mode, owner and content.
fn listing(dir: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt as _;
    let mut all = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(at) = todo.pop() {
        let meta = std::fs::symlink_metadata(&at).unwrap();
        let content = if meta.is_file() {
            std::fs::read(&at).unwrap()
        } else {
            Vec::new()
        };
        all.push(format!(
            "{} {:o} {} {} {:?}",
            at.display(),
            meta.mode(),
            meta.uid(),
            meta.gid(),
            String::from_utf8_lossy(&content)
        ));
        if meta.is_dir() {
            todo.extend(std::fs::read_dir(&at).unwrap().map(|e| e.unwrap().path()));
        }
    }
    all.sort();
    all
}

/// Words of a command line; a word with blanks cannot be written this way.
fn words(line: &str) -> Vec<&str> {
    line.split(' ').filter(|w| !w.is_empty()).collect()
}
