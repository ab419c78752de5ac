//! Many commands at once on one store.

use crate::support::World;

#[test]
fn fifty_runs_at_once_on_a_cold_store_all_work() {
    let world = World::with_busybox();
    let children: Vec<_> = (0..50)
        .map(|i| world.spawn(&["run", "--rm", "busybox", "sh", "-c", &format!("exit {i}")]))
        .collect();
    for (i, child) in children.into_iter().enumerate() {
        let out = child.wait_with_output().unwrap();
        assert_eq!(
            out.status.code(),
            Some(i as i32),
            "run {i}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    assert_eq!(world.ok(&["ps", "-aq"]), "");
}

#[test]
fn fifty_mixed_commands_do_not_disturb_each_other() {
    let world = World::with_busybox();
    let mut children = Vec::new();
    for i in 0..10 {
        let name = format!("c{i}");
        children.push(world.spawn(&["create", "--name", &name, "busybox", "true"]));
        children.push(world.spawn(&[
            "run",
            "-d",
            "--name",
            &format!("d{i}"),
            "busybox",
            "sleep",
            "100",
        ]));
        children.push(world.spawn(&["volume", "create", &format!("v{i}")]));
        children.push(world.spawn(&["ps", "-a"]));
        children.push(world.spawn(&["tag", "busybox", &format!("copy{i}")]));
    }
    for child in children {
        let out = child.wait_with_output().unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    assert_eq!(world.ok(&["ps", "-aq"]).lines().count(), 20);
    assert_eq!(world.ok(&["ps", "-q"]).lines().count(), 10);
    assert_eq!(world.ok(&["volume", "ls", "-q"]).lines().count(), 10);
    assert_eq!(world.ok(&["images", "--noheading"]).lines().count(), 11);
    let removers: Vec<_> = (0..10)
        .map(|i| world.spawn(&["rm", "-f", &format!("d{i}"), &format!("c{i}")]))
        .collect();
    for child in removers {
        let out = child.wait_with_output().unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    assert_eq!(world.ok(&["ps", "-aq"]), "");
}

#[test]
fn one_name_goes_to_one_of_many() {
    let world = World::with_busybox();
    let children: Vec<_> = (0..10)
        .map(|_| world.spawn(&["create", "--name", "only", "busybox"]))
        .collect();
    let won = children
        .into_iter()
        .filter(|_| true)
        .map(|c| c.wait_with_output().unwrap());
    let (good, bad): (Vec<_>, Vec<_>) = won.partition(|o| o.status.success());
    assert_eq!((good.len(), bad.len()), (1, 9));
    for loser in bad {
        assert_eq!(loser.status.code(), Some(125));
        assert!(String::from_utf8_lossy(&loser.stderr).contains("already in use"));
    }
    assert_eq!(world.ok(&["ps", "-aq"]).lines().count(), 1);
}
