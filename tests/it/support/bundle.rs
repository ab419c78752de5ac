//! OCI bundles made on the spot, and the runtime run on them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Outcome, fixture, peer};

/// A bundle with busybox and a runtime root of its own. As a plain user it has a user namespace with
/// the caller as 0 and its subordinate ids after it; as root it has none.
#[derive(Debug)]
pub struct Bundle {
    dir: tempfile::TempDir,
    /// What becomes `config.json`.
    pub config: Value,
}

impl Bundle {
    /// A fresh one that runs `true`.
    pub fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::Builder::new()
            .prefix("coracle-oci-")
            .tempdir_in("/var/tmp")
            .unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let rootfs = dir.path().join("bundle/rootfs");
        std::fs::create_dir_all(&rootfs).unwrap();
        let tar = fixture::busybox_file(dir.path());
        let unpacked = Command::new("tar")
            .args(["-x", "--no-same-owner", "-f"])
            .arg(&tar)
            .arg("-C")
            .arg(&rootfs)
            .status();
        assert!(unpacked.unwrap().success());
        for folder in ["proc", "sys", "dev", "tmp", "mnt", "etc"] {
            std::fs::create_dir_all(rootfs.join(folder)).unwrap();
        }
        Self {
            config: config(),
            dir,
        }
    }

    /// The folder around everything.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The bundle.
    pub fn bundle(&self) -> PathBuf {
        self.path().join("bundle")
    }

    /// The root file system.
    pub fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }

    /// Changes the configuration.
    pub fn set(&mut self, pointer: &str, value: Value) -> &mut Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = self.config.pointer_mut(parent).unwrap();
        match parent {
            Value::Object(map) => drop(map.insert(key.to_owned(), value)),
            Value::Array(list) if key == "-" => list.push(value),
            other => panic!("{pointer}: {other}"),
        }
        self
    }

    /// The same for the command: a script.
    pub fn script(&mut self, script: &str) -> &mut Self {
        self.set("/process/args", json!(["sh", "-c", script]))
    }

    /// Adds a mount.
    pub fn mount(
        &mut self,
        destination: &str,
        kind: &str,
        source: &str,
        options: &[&str],
    ) -> &mut Self {
        let mount = json!({
            "destination": destination, "type": kind, "source": source, "options": options,
        });
        self.set("/mounts/-", mount)
    }

    /// Removes a namespace, or gives it a path.
    pub fn namespace(&mut self, kind: &str, path: Option<&str>) -> &mut Self {
        let list = self.config["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|n| n["type"] != kind);
        if let Some(path) = path {
            list.push(json!({"type": kind, "path": path}));
        }
        self
    }

    /// Writes `config.json`.
    pub fn write(&self) {
        let text = serde_json::to_vec_pretty(&self.config).unwrap();
        std::fs::write(self.bundle().join("config.json"), text).unwrap();
    }

    /// The runtime with these arguments, in the bundle's folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command
            .args(["runtime", "--root"])
            .arg(self.path().join("state"))
            .args(args)
            .current_dir(self.bundle())
            .env_remove("LISTEN_FDS");
        command
    }

    /// Runs the runtime to its end.
    pub fn runtime(&self, args: &[&str]) -> Outcome {
        let output = self.command(args).stdin(Stdio::null()).output().unwrap();
        Outcome::of(args, output)
    }

    /// Writes the configuration and runs a container `c` to its end.
    pub fn run(&self) -> Outcome {
        self.write();
        self.runtime(&["run", "c"])
    }

    /// The output of a script in a container.
    #[track_caller]
    pub fn output(&mut self, script: &str) -> String {
        self.script(script);
        self.run().ok()
    }

    /// Insists that no container can be created from this configuration, and that nothing is left.
    #[track_caller]
    pub fn refused(&self) -> Outcome {
        self.write();
        // Not a pipe: a container that is there after all would hold it open.
        let log = std::fs::File::create(self.path().join("refused")).unwrap();
        let mut command = self.command(&["create", "c"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let status = command.status().unwrap();
        assert!(!status.success(), "{}", self.config);
        assert!(!self.path().join("state/c").exists(), "a folder is left");
        let stderr = std::fs::read(self.path().join("refused")).unwrap();
        let output = std::process::Output {
            status,
            stdout: Vec::new(),
            stderr,
        };
        Outcome::of(&["create"], output)
    }

    /// Writes the configuration and creates container `c`, its output in a file.
    #[track_caller]
    pub fn create(&self) {
        self.write();
        let log = std::fs::File::create(self.path().join("output")).unwrap();
        let errors = log.try_clone().unwrap();
        let status = self
            .command(&["create", "c"])
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .status()
            .unwrap();
        assert!(status.success(), "{}", self.printed());
    }

    /// What the container of [`Bundle::create`] printed.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(self.path().join("output")).unwrap_or_default()
    }

    /// The state of `c`.
    #[track_caller]
    pub fn state(&self) -> Value {
        serde_json::from_str(&self.runtime(&["state", "c"]).ok()).unwrap()
    }

    /// The status of `c`.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    /// Waits until `c` has stopped.
    pub fn wait_stopped(&self) {
        peer::wait_for("c to stop", || self.status() == "stopped");
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let list = self.runtime(&["list", "-q"]).stdout;
        for id in list.lines() {
            drop(self.runtime(&["delete", "--force", id]));
        }
    }
}

/// The configuration that `spec` writes, for whoever runs the tests.
fn config() -> Value {
    let root = peer::is_root();
    let mut config = coracle::operations::ociruntime::spec::config(
        (!root).then(|| (peer::uid(), nix::unistd::getegid().as_raw())),
    );
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["true"]);
    config["process"]["rlimits"] = json!([]);
    config["root"]["readonly"] = json!(false);
    if !root {
        for (key, ids) in [
            ("uidMappings", "/etc/subuid"),
            ("gidMappings", "/etc/subgid"),
        ] {
            if let Some(start) = first_id(ids) {
                let line = json!({"containerID": 1, "hostID": start, "size": 65535});
                config["linux"][key].as_array_mut().unwrap().push(line);
            }
        }
        // With subordinate ids there is a group of terminals, and a network of its own costs nothing.
        config["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .push(json!({"type": "network"}));
    }
    config
}

fn first_id(file: &str) -> Option<u32> {
    let user = nix::unistd::getuid();
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let name = passwd.lines().find_map(|line| {
        let cells: Vec<&str> = line.split(':').collect();
        (cells.get(2)? == &user.to_string()).then(|| cells[0].to_owned())
    })?;
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut cells = line.split(':');
        (cells.next()? == name).then(|| cells.next()?.parse().ok())?
    })
}
