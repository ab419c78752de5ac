//! Our own overlay (`coracle::overlay`), beside the kernel's and beside a plain folder.
//!
//! Every case runs in a user namespace as a plain user has it: the test starts this binary again
//! under unshare(1), for the inner test that does the work. The server runs in a thread there.

mod cases;
mod content;
mod life;
mod model;

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;

use coracle::overlay::{self, Plan};
use coracle::spec::idmap::IdMaps;
use coracle::sys::{at, mount};

/// Runs the inner test `name` of this binary as uid 0 of a user namespace.
fn inside(name: &str) {
    crate::support::inner::run(name, &[]);
}

/// One way to see layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    /// A copy in a plain folder.
    Plain,
    /// The kernel's overlay.
    Kernel,
    /// Ours.
    Ours,
}

/// Layers, and what is mounted of them.
struct Stage {
    engine: Engine,
    folder: PathBuf,
    lowers: Vec<PathBuf>,
    server: Option<JoinHandle<()>>,
}

/// How a server is set up, beside its layers.
#[derive(Clone, Debug, Default)]
struct Options {
    maps: Option<IdMaps>,
    squash: bool,
    volatile: bool,
}

fn open(path: &Path) -> OwnedFd {
    at::open_host_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A folder that ends with the inner test.
fn scratch(name: &str) -> PathBuf {
    let base = PathBuf::from(std::env::var_os("CORACLE_TEST_DIR").unwrap());
    let folder = base.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

impl Stage {
    /// Mounts `lowers` (top first) below an upper of `folder`, which may have been used before.
    fn new(engine: Engine, folder: PathBuf, lowers: &[PathBuf]) -> Self {
        Self::with(engine, folder, lowers, Options::default())
    }

    fn with(engine: Engine, folder: PathBuf, lowers: &[PathBuf], options: Options) -> Self {
        for name in ["upper", "work", "root"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
            // Whatever the umask is by now.
            std::fs::set_permissions(folder.join(name), PermissionsExt::from_mode(0o755)).unwrap();
        }
        let mut stage = Self {
            engine,
            folder,
            lowers: lowers.to_vec(),
            server: None,
        };
        stage.mount(options);
        stage
    }

    fn mount(&mut self, options: Options) {
        match self.engine {
            Engine::Plain => {
                // What the kernel shows is what the copy begins with.
                let first = self.folder.join("first");
                if !first.exists() {
                    let view = Self::new(Engine::Kernel, first, &self.lowers);
                    let status = Command::new("cp")
                        .arg("-aT")
                        .arg(view.root())
                        .arg(self.root())
                        .status();
                    assert!(status.unwrap().success());
                    view.end();
                }
            }
            Engine::Kernel => {
                let list: Vec<_> = self.lowers.iter().map(|p| p.to_str().unwrap()).collect();
                let text = format!(
                    "userxattr,volatile,lowerdir={},upperdir={},workdir={}",
                    list.join(":"),
                    self.upper().display(),
                    self.folder.join("work").display()
                );
                let mark = self.folder.join("work/work/incompat");
                if mark.exists() {
                    std::fs::remove_dir_all(mark).unwrap();
                }
                at::mount_overlay(&self.root(), &text, false).unwrap();
            }
            Engine::Ours => {
                let plan = Plan {
                    lowers: self.lowers.iter().map(|p| open(p)).collect(),
                    upper: Some((open(&self.upper()), open(&self.folder.join("work")))),
                    maps: options.maps,
                    restore: None,
                    squash: options.squash,
                    volatile: options.volatile,
                    metadata_only: false,
                    content: None,
                };
                let (device, tree) = overlay::mount(false).unwrap();
                let (ready, is_ready) = std::sync::mpsc::channel();
                let server = std::thread::spawn(move || {
                    overlay::serve(device, plan, || ready.send(()).unwrap()).unwrap();
                });
                // From here on the umask of this process is the case's.
                is_ready.recv().unwrap();
                let tree = overlay::enter(tree).unwrap();
                mount::attach(&tree, open(&self.root()).as_fd()).unwrap();
                self.server = Some(server);
            }
        }
    }

    /// What is seen.
    fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// What is written.
    fn upper(&self) -> PathBuf {
        self.folder.join("upper")
    }

    /// Ends the mount; the server must end with it.
    fn end(mut self) -> PathBuf {
        if self.engine != Engine::Plain {
            let root = std::ffi::CString::new(self.root().to_str().unwrap()).unwrap();
            mount::unmount(&root).unwrap();
        }
        if let Some(server) = self.server.take() {
            server.join().unwrap();
        }
        self.folder
    }
}

/// The errno of a failure, 0 of a success.
fn errno<T>(result: &std::io::Result<T>) -> i32 {
    match result {
        Ok(_) => 0,
        Err(e) => e.raw_os_error().unwrap_or(-1),
    }
}

/// As [`errno`], of a call without the standard library.
fn said<T>(result: &rustix::io::Result<T>) -> i32 {
    match result {
        Ok(_) => 0,
        Err(e) => e.raw_os_error(),
    }
}

fn c(path: &Path) -> std::ffi::CString {
    std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap()
}

/// The attributes of one file that must be the same everywhere, one a line.
fn describe(path: &Path, shown: &str, links: bool) -> String {
    use std::fmt::Write as _;
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{shown}: {e}"));
    let mut line = format!("{shown} {:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
    if meta.is_file() {
        let content = std::fs::read(path).unwrap();
        assert_eq!(content.len() as u64, meta.len(), "{shown}");
        let sum = coracle::spec::digest::Digest::sha256_of(&content);
        write!(line, " {} {}", meta.len(), &sum.hex()[..12]).unwrap();
    }
    if meta.is_symlink() {
        write!(line, " -> {}", std::fs::read_link(path).unwrap().display()).unwrap();
    } else {
        let mut names = vec![0_u8; 4096];
        let n = rustix::fs::listxattr(path, &mut names[..]).unwrap_or(0);
        let mut names: Vec<_> = names[..n].split(|b| *b == 0).collect();
        names.sort_unstable();
        for name in names
            .iter()
            .filter(|n| n.starts_with(b"user.") || n.starts_with(b"system."))
        {
            let mut value = vec![0_u8; 4096];
            let n = rustix::fs::getxattr(path, *name, &mut value[..]).unwrap();
            let name = String::from_utf8_lossy(name);
            // An upper may have marks of its own where a copy has none.
            write!(line, " {name}={:02x?}", &value[..n]).unwrap();
        }
    }
    if links && !meta.is_dir() {
        write!(line, " x{}", meta.nlink()).unwrap();
    }
    // Times that somebody set, not those that passed.
    if meta.mtime() < 1_500_000_000 {
        write!(line, " @{}", meta.mtime()).unwrap();
    }
    line
}

/// All that a tree shows.
fn snapshot(root: &Path, links: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = vec![(root.to_owned(), String::from("."))];
    while let Some((dir, shown)) = rest.pop() {
        found.push(describe(&dir, &shown, links));
        for entry in std::fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let shown = format!("{shown}/{}", entry.file_name().to_string_lossy());
            if entry.file_type().unwrap().is_dir() {
                rest.push((entry.path(), shown));
            } else {
                found.push(describe(&entry.path(), &shown, links));
            }
        }
    }
    found.sort();
    found
}

/// Says where two snapshots differ.
fn assert_same(left: &[String], right: &[String], what: &str) {
    let only = |a: &[String], b: &[String]| -> Vec<String> {
        a.iter().filter(|l| !b.contains(l)).cloned().collect()
    };
    let (a, b) = (only(left, right), only(right, left));
    assert!(
        a.is_empty() && b.is_empty(),
        "{what}\nfirst:\n{}\nsecond:\n{}",
        a.join("\n"),
        b.join("\n")
    );
}

/// Runs `$CORACLE_COMMAND` with the mounted folder as its argument, on `$CORACLE_ENGINE`: for
/// tests/overlay-suites, which brings other people's tests.
#[test]
#[ignore = "runs inside a user namespace, started by tests/overlay-suites"]
fn inner_command() {
    let engine = match std::env::var("CORACLE_ENGINE").as_deref() {
        Ok("ours") => Engine::Ours,
        Ok("kernel") => Engine::Kernel,
        _ => Engine::Plain,
    };
    let base = scratch("command");
    let lowers = ["top", "bottom"].map(|name| base.join(name));
    for lower in &lowers {
        std::fs::create_dir(lower).unwrap();
    }
    let stage = Stage::new(engine, base.join("stage"), &lowers);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let status = Command::new("sh")
        .arg("-c")
        .arg(std::env::var_os("CORACLE_COMMAND").unwrap())
        .arg("sh")
        .arg(stage.root())
        .status();
    stage.end();
    assert!(status.unwrap().success());
}
