//! The holder of the user namespace: there after a command, gone when nobody needs it.

use crate::support::{World, peer};

/// The holder's pid, if its record is there.
fn holder(world: &World) -> Option<i64> {
    let text = std::fs::read(world.runtime().join("userns.json")).ok()?;
    let record: serde_json::Value = serde_json::from_slice(&text).unwrap();
    record["holder"]["pid"].as_i64()
}

/// A zombie, which waits for this machine's init, does not live.
fn lives(pid: i64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap().starts_with('Z'))
}

#[test]
fn reset_ends_the_holder_at_once() {
    requires_subids!();
    let world = World::with_busybox();
    let pid = holder(&world).expect("a holder after a command");
    assert!(lives(pid));
    world.ok(&["system", "reset", "--force"]);
    assert!(!lives(pid), "the holder {pid} outlived the reset");
    assert_eq!(holder(&world), None);
    // And again on an empty root: nothing is left behind by the reset itself.
    world.ok(&["system", "reset", "--force"]);
    assert_eq!(holder(&world), None);
}

#[test]
fn an_idle_holder_ends_and_the_next_command_makes_another() {
    requires_subids!();
    let world = World::new();
    let file = crate::support::fixture::busybox_file(world.path());
    let mut import = world.command(&["import", "-q", file.to_str().unwrap(), "busybox"]);
    let out = import.env("CORACLE_HOLDER_IDLE", "1").output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let pid = holder(&world).expect("a holder after a command");
    peer::wait_for("the idle holder to end", || !lives(pid));
    assert_eq!(holder(&world), None);
    world.ok(&["run", "--rm", "busybox", "true"]);
    assert!(holder(&world).is_some_and(|next| next != pid && lives(next)));
}
