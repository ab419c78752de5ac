//! Tests that want namespaces of their own: this binary again under unshare(1), for the inner test
//! that does the work.

use std::process::Command;

/// Runs the inner test `name` of this binary as uid 0 of a user namespace with a mount namespace;
/// `more` is for unshare(1).
pub fn run(name: &str, more: &[&str]) {
    let temp = tempfile::Builder::new()
        .prefix("coracle-inner-")
        .tempdir_in("/var/tmp")
        .unwrap();
    let copy = temp.path().join("test");
    // By a process of its own: one that another thread forks meanwhile would keep the file open for
    // writing, and what is open for writing is not executed.
    let copied = Command::new("cp")
        .arg(std::env::current_exe().unwrap())
        .arg(&copy)
        .status();
    assert!(copied.unwrap().success());
    let outer = |program: &str| {
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=1001", "--regid=1001", "--clear-groups", "unshare"]);
            command
        } else {
            Command::new("unshare")
        };
        command
            .args(["-Ur", "-m", "--map-auto"])
            .args(more)
            .arg(program);
        command
    };
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(temp.path(), Some(1001), Some(1001)).unwrap();
    }
    let out = outer(copy.to_str().unwrap())
        .args(["--exact", name, "--include-ignored", "--nocapture"])
        .env("CORACLE_TEST_DIR", temp.path())
        .env("HOME", temp.path())
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    // Files of other ids are only ours to remove inside.
    let cleaned = outer("find")
        .arg(temp.path())
        .args(["-mindepth", "1", "-delete"])
        .status();
    assert!(out.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
    assert!(
        cleaned.unwrap().success(),
        "the test's folder cannot be removed"
    );
}
