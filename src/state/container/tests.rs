//! Records, names and states of containers, on a folder of the test's own.

use super::*;
use crate::base::time::Timestamp;
use crate::config::dirs::Dirs;

fn create(dir: &Path) -> (Containers, Container) {
    let containers = Containers::new(&Dirs::new(dir.join("data"), dir.join("run")));
    let record = serde_json::from_value(serde_json::json!({
        "version": 1, "id": "07".repeat(32), "name": "web", "created": 0, "options": {}
    }))
    .unwrap();
    let container = containers.create(record, Durability::Volatile).unwrap();
    (containers, container)
}

fn started(monitor: Identity, at: i64) -> Status {
    serde_json::from_value(serde_json::json!({
        "version": 1, "monitor": monitor, "started": at
    }))
    .unwrap()
}

fn ended(started: i64) -> ExitRecord {
    serde_json::from_value(serde_json::json!({
        "version": 1, "code": 3, "started": started, "finished": started + 1
    }))
    .unwrap()
}

/// A process of the boot before this one.
fn of_another_boot() -> Identity {
    Identity {
        boot_id: "00000000-0000-4000-8000-000000000000".to_owned(),
        ..Identity::of(std::process::id().cast_signed()).unwrap()
    }
}

#[test]
fn a_power_cut_ends_a_run_with_an_unknown_code() {
    let dir = tempfile::tempdir().unwrap();
    let (_, container) = create(dir.path());
    assert_eq!(container.state().unwrap(), State::Created);
    // An earlier run, and one that the cut ended: status.json went with the runtime folder.
    container
        .mark_start(&started(of_another_boot(), 1000))
        .unwrap();
    container.write_exit(&ended(1000)).unwrap();
    assert_eq!(container.state().unwrap(), State::Exited);
    let last = started(of_another_boot(), Timestamp::now().0);
    container.mark_start(&last).unwrap();
    // ext4 keeps it in the inode.
    let target = fs::read_link(container.dir().join("run")).unwrap();
    assert!(target.as_os_str().len() < 60, "{target:?}");
    let (state, status) = container.state_and_status().unwrap();
    assert_eq!(state, State::Lost);
    assert_eq!(status.unwrap().started, last.started);
    // Whoever finds it writes that down.
    container.write_exit(&ended(last.started.0)).unwrap();
    assert_eq!(container.state().unwrap(), State::Exited);
}

#[test]
fn a_run_that_lost_its_runtime_folder_is_not_started_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (_, container) = create(dir.path());
    let me = Identity::of(std::process::id().cast_signed()).unwrap();
    container.mark_start(&started(me.clone(), 1)).unwrap();
    let (state, status) = container.state_and_status().unwrap();
    assert_eq!(state, State::Restarting);
    assert_eq!(status.unwrap().monitor, me);
}

#[test]
fn records_that_a_power_cut_emptied_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let (containers, container) = create(dir.path());
    container.write_exit(&ended(1)).unwrap();
    fs::write(container.dir().join("exit.json"), "").unwrap();
    assert_eq!(container.exit().unwrap(), None);
    fs::write(container.dir().join("config.json"), "").unwrap();
    assert_eq!(containers.find("web").unwrap_err().kind(), Kind::NotFound);
    let (good, bad) = containers.list().unwrap();
    assert!(good.is_empty() && bad.is_empty(), "{bad:?}");
    // Its name is free.
    let id: ContainerId = "08".repeat(32).parse().unwrap();
    link_name(&container.names, &"web".parse().unwrap(), &id).unwrap();
}

#[test]
fn a_record_without_its_name_is_half_made_and_swept_up() {
    let dir = tempfile::tempdir().unwrap();
    let (containers, container) = create(dir.path());
    assert_eq!(containers.list().unwrap().0.len(), 1);
    fs::remove_file(container.names.join("web")).unwrap();
    assert!(containers.list().unwrap().0.is_empty());
    containers.sweep().unwrap();
    assert!(container.dir().exists(), "somebody may be making it");
    let folder = File::open(container.dir()).unwrap();
    let before = std::time::SystemTime::now() - Duration::from_secs(120);
    folder.set_modified(before).unwrap();
    containers.sweep().unwrap();
    assert!(!container.dir().exists());
}
