//! One test's own world: data, runtime and home folders, and the program run in it.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::{fixture, peer};

/// A root of its own; everything in it ends with the test.
#[derive(Debug)]
pub struct World {
    dir: tempfile::TempDir,
}

/// What a finished command printed and how it ended.
#[derive(Debug)]
pub struct Outcome {
    line: String,
    /// Exit code; 128 + n for a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl World {
    /// A fresh one, empty.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("coracle-it-")
            .tempdir()
            .unwrap();
        for sub in ["home", "xdg", "tmp"] {
            std::fs::create_dir(dir.path().join(sub)).unwrap();
        }
        private(&dir.path().join("xdg"));
        Self { dir }
    }

    /// One with the image `busybox` in it.
    pub fn with_busybox() -> Self {
        let world = Self::new();
        world.add_busybox("busybox");
        world
    }

    /// Imports the busybox image under `name`.
    pub fn add_busybox(&self, name: &str) {
        let file = fixture::busybox_file(self.path());
        self.ok(&[
            "import",
            "-q",
            "-c",
            r#"CMD ["sh"]"#,
            file.to_str().unwrap(),
            name,
        ]);
    }

    /// The world's folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The runtime folder.
    pub fn runtime(&self) -> PathBuf {
        self.path().join("run")
    }

    /// The program with these arguments, ready to spawn, with nothing of the caller's settings.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command.args(args);
        self.settle(&mut command);
        command
    }

    /// Gives a command this world's environment.
    pub fn settle(&self, command: &mut Command) {
        for (key, _) in std::env::vars_os() {
            let text = key.to_string_lossy();
            let foreign = [
                "CORACLE_",
                "CONTAINERS_",
                "DOCKER_",
                "PODMAN_",
                "XDG_",
                "REGISTRY_",
                "STORAGE_",
                "BUILDAH_",
            ]
            .iter()
            .any(|p| text.starts_with(p));
            if foreign || text.to_ascii_lowercase().ends_with("_proxy") {
                command.env_remove(&key);
            }
        }
        command
            .env("HOME", self.path().join("home"))
            .env("XDG_RUNTIME_DIR", self.path().join("xdg"))
            .env("TMPDIR", self.path().join("tmp"))
            // Debian's podman brings a containers.conf that changes defaults. (With this variable the
            // whole suite runs under another one, e.g. userns = "nested".)
            .env(
                "CONTAINERS_CONF",
                std::env::var_os("TEST_CONTAINERS_CONF").unwrap_or("/dev/null".into()),
            )
            .env("CORACLE_ROOT", self.data())
            .env("CORACLE_RUNROOT", self.runtime())
            .current_dir(self.path());
    }

    /// Runs to the end with empty standard input.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Outcome {
        let mut command = self.command(args);
        command.stdin(Stdio::null());
        Outcome::of(args, command.output().unwrap())
    }

    /// Runs to the end with `input` on standard input.
    pub fn run_with<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> Outcome {
        let mut command = self.command(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A program that ends early closes the pipe: not this thread's business.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Outcome::of(args, output)
    }

    /// Runs and insists on exit code 0; the standard output without the last line break.
    pub fn ok<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        self.run(args).ok()
    }

    /// Starts and leaves it running.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: &[S]) -> Child {
        self.command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// `image inspect` with a template.
    pub fn inspect_image(&self, name: &str, template: &str) -> String {
        self.ok(&["image", "inspect", "--format", template, name])
    }

    /// The field of `inspect` that a template names.
    pub fn inspect(&self, name: &str, template: &str) -> String {
        self.ok(&["inspect", "--format", template, name])
    }

    /// Waits until a container is in the state.
    pub fn wait_state(&self, name: &str, state: &str) {
        peer::wait_for(&format!("{name} to be {state}"), || {
            self.run(&["inspect", "--format", "{{.State.Status}}", name])
                .stdout
                .trim()
                == state
        });
    }

    /// A real registry with its data in this world.
    pub fn registry(&self, mode: peer::Mode) -> peer::Registry {
        peer::Registry::start(self.path(), mode)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let reset = self.run(&["system", "reset", "--force"]);
        if !std::thread::panicking() {
            assert_eq!(reset.code, 0, "system reset failed: {}", reset.stderr);
        }
        // What containers with other ids left needs the user namespace.
        drop(self.run(&["unshare", "rm", "-rf", self.data().to_str().unwrap()]));
    }
}

impl Outcome {
    /// Takes what a finished command gave.
    pub fn of<S: AsRef<OsStr>>(args: &[S], output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let words: Vec<_> = args.iter().map(|a| a.as_ref().to_string_lossy()).collect();
        Self {
            line: words.join(" "),
            code: output
                .status
                .code()
                .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Insists on exit code 0; the standard output without the last line break.
    #[track_caller]
    pub fn ok(self) -> String {
        self.code(0).stdout.trim_end_matches('\n').to_owned()
    }

    /// Insists on an exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "coracle {}\nstdout: {}\nstderr: {}",
            self.line, self.stdout, self.stderr
        );
        self
    }

    /// Insists on a text in the standard error.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "coracle {}: no {text:?} in: {}",
            self.line,
            self.stderr
        );
        self
    }
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
}
