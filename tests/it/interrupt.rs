//! Ctrl-C and SIGTERM: the command ends at once, by the signal, and leaves only what can be resumed.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::liar::{Fault, Liar};
use crate::support::peer::wait_for;
use crate::support::{World, http};

fn entries(world: &World, folder: &str) -> Vec<String> {
    std::fs::read_dir(world.data().join("store").join(folder))
        .map(|entries| {
            entries
                .flatten()
                .map(|e| e.file_name().to_string_lossy().into_owned())
                // Locks.
                .filter(|name| !name.starts_with('.'))
                .collect()
        })
        .unwrap_or_default()
}

/// Sends the signal; the child must end by it within two seconds, and say nothing.
fn ends_by(mut child: Child, signal: Signal) {
    let begun = Instant::now();
    // Not its input: a command must not end because that does.
    let stdin = child.stdin.take();
    kill_process(Pid::from_child(&child), signal).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(signal.as_raw()), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(!said.contains("Error"), "{said}");
    drop(stdin);
}

fn nothing_half_built(world: &World) {
    for folder in ["staging", "trash", "layers"] {
        assert_eq!(entries(world, folder), [""; 0], "{folder}");
    }
    assert_eq!(world.ok(&["images", "-qa"]), "");
}

#[test]
fn a_pull_ends_at_once_and_the_next_one_goes_on() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let (world, liar) = (World::new(), Liar::start(Fault::StallOnce));
        let child = world.spawn(&["pull", &liar.image()]);
        wait_for("the layer to be unpacked", || {
            !entries(&world, "staging").is_empty()
                && std::fs::read_dir(world.data().join("store/blobs/sha256")).is_ok_and(|entries| {
                    entries
                        .flatten()
                        .any(|e| e.metadata().is_ok_and(|m| m.len() > 900_000))
                })
        });
        ends_by(child, signal);
        nothing_half_built(&world);
        let blobs = entries(&world, "blobs/sha256");
        assert!(
            blobs.iter().any(|b| b.ends_with(".part")),
            "nothing to resume: {blobs:?}"
        );
        world.ok(&["pull", "-q", &liar.image()]);
        let log = liar.requests();
        assert!(log.iter().any(|r| r.contains(" from ")), "{log:?}");
    }
}

#[test]
fn an_import_and_a_load_that_wait_for_input_leave_nothing() {
    let world = World::new();
    let tar = crate::support::fixture::busybox_tar();
    for (args, signal) in [
        (&["import", "-", "x"][..], Signal::INT),
        (&["load"][..], Signal::TERM),
    ] {
        let mut child = world.spawn(args);
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&tar[..tar.len() / 2]).unwrap();
        child.stdin = Some(stdin);
        if args[0] == "import" {
            // The blob and the folder.
            wait_for("the layer to be unpacked", || {
                entries(&world, "staging").len() == 2
            });
        } else {
            wait_for("the store to be there", || {
                world.data().join("store").exists()
            });
        }
        ends_by(child, signal);
        nothing_half_built(&world);
        assert_eq!(entries(&world, "blobs/sha256"), [""; 0]);
    }
}

#[test]
fn a_push_to_a_silent_registry_ends_at_once() {
    let silent = http::serve(|request| {
        if request.path.contains("/blobs/uploads/") {
            std::thread::park_timeout(Duration::from_secs(60));
        }
        http::Answer::status(404)
    });
    let world = World::with_busybox();
    for extra in [&[][..], &["--compression-format", "gzip"]] {
        let name = format!("{silent}/x:1");
        let args = [&["push"], extra, &["busybox", &name]].concat();
        let child = world.spawn(&args);
        wait_for("the push to talk", || {
            std::fs::read_to_string(format!("/proc/{}/net/tcp", child.id())).is_ok_and(|t| {
                let port: u16 = silent.rsplit(':').next().unwrap().parse().unwrap();
                t.contains(&format!(":{port:04X} 01"))
            })
        });
        ends_by(child, Signal::INT);
        assert_eq!(entries(&world, "staging"), [""; 0]);
        assert_eq!(world.ok(&["images", "-q"]).lines().count(), 1);
    }
}

#[test]
fn a_signal_that_the_shell_ignores_is_ignored() {
    let (world, liar) = (World::new(), Liar::start(Fault::Stall));
    let program = env!("CARGO_BIN_EXE_coracle");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' INT; exec \"$@\"", "sh", program]);
    command.args(["pull", "--retry", "0", &liar.image()]);
    world.settle(&mut command);
    command.env("CORACLE_REGISTRY_TIMEOUT", "1");
    let mut child = command
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the pull to unpack", || {
        !entries(&world, "staging").is_empty()
    });
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(125));
}
