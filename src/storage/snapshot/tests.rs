//! Diff and commit on real mounts, inside a user namespace; trees to archives and back.

use std::os::fd::AsFd as _;

use super::*;
use crate::storage::driver::tests::{image, inside, read, store};
use crate::storage::layer::{Limits, Unpack};
use crate::storage::rootfs::{Mode, RootfsRequest};
use crate::storage::tree::remove_at;

fn lines(changes: &[Change]) -> Vec<String> {
    changes
        .iter()
        .map(|c| format!("{} {}", c.kind.letter(), String::from_utf8_lossy(&c.path)))
        .collect()
}

#[test]
#[ignore = "runs inside a user namespace, started by what_a_container_changes_becomes_a_layer"]
fn inner_commit() {
    for choice in [None, Some("copy")] {
        let store = store(choice);
        let layers = image(&store);
        let dir = store
            .dir()
            .join(format!("../containers-{}", choice.unwrap_or("overlay")));
        std::fs::create_dir_all(&dir).unwrap();
        let view = View::Same;
        let request = RootfsRequest {
            layers: &layers,
            container_dir: &dir,
            view: &view,
            mode: Mode::Persistent,
            points: false,
        };
        let snapshot = Snapshot {
            layers: &layers,
            container_dir: &dir,
            view: &view,
        };
        assert_eq!(store.changes(&snapshot).unwrap(), [], "never mounted");
        let root = store.mount(&request).unwrap();
        let tree = root.tree.as_fd();
        let open = |path: &str| at::open_dir_in_root(tree, path.as_bytes()).unwrap();
        let etc = open("etc");
        at::unlink(etc.as_fd(), b"shadow").unwrap();
        let passwd = at::open_file_for_write(etc.as_fd(), b"passwd").unwrap();
        at::pwrite_all(passwd.as_fd(), b"longer", 0).unwrap();
        drop(passwd);
        at::create_file(etc.as_fd(), b"hosts", 0o644).unwrap();
        at::mkdir(tree, b"proc", 0o755).unwrap();
        remove_at(tree, b"opt").unwrap();
        at::mkdir(tree, b"opt", 0o755).unwrap();
        at::create_file(open("opt").as_fd(), b"c", 0o600).unwrap();
        at::mkdir(tree, b"new", 0o700).unwrap();
        at::mkfifo(open("new").as_fd(), b"pipe", 0o600).unwrap();
        at::link(etc.as_fd(), b"passwd", open("new").as_fd(), b"hard").unwrap();
        let changes = store.changes(&snapshot).unwrap();
        assert_eq!(
            lines(&changes),
            [
                "C /etc",
                "C /etc/passwd",
                "D /etc/shadow",
                "A /new",
                "A /new/hard",
                "A /new/pipe",
                "C /opt",
                "D /opt/b",
                "A /opt/c",
            ],
            "{choice:?}"
        );
        let sizes = store.sizes(&snapshot).unwrap();
        assert_eq!(sizes.virtual_size - sizes.upper, 29, "{sizes:?}");
        assert!(sizes.upper >= 6);

        // As a layer on the same image it shows the same.
        let mut tar = Vec::new();
        let packed = store.pack_diff(&snapshot, &mut tar).unwrap();
        assert_eq!(packed.diff_id, Digest::sha256_of(&tar));
        let mut second = Vec::new();
        store.pack_diff(&snapshot, &mut second).unwrap();
        assert_eq!(tar, second, "deterministic");
        let what = Unpack {
            parent: layers.last(),
            diff_id: Some(&packed.diff_id),
            limits: Limits::default(),
        };
        let info = store.layers().unpack(&what, &tar[..]).unwrap();
        let mut committed = layers.clone();
        committed.push(info.chain_id);
        let again = store.mount_image(&committed, &View::Same, None).unwrap();
        let tree = again.tree.as_fd();
        assert_eq!(read(tree, "etc/passwd").unwrap(), "longer");
        assert_eq!(read(tree, "new/hard").unwrap(), "longer");
        assert_eq!(read(tree, "etc/shadow"), None);
        assert_eq!(read(tree, "opt/b"), None);
        assert!(read(tree, "opt/c").is_some());

        // The whole, read by GNU tar.
        let mut whole = Vec::new();
        store
            .pack_tree(tree, &View::Same, None, &mut whole)
            .unwrap();
        let path = dir.join("whole.tar");
        std::fs::write(&path, &whole).unwrap();
        let out = std::process::Command::new("tar")
            .arg("-tvf")
            .arg(&path)
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        let listing = String::from_utf8_lossy(&out.stdout);
        assert!(
            listing
                .lines()
                .any(|l| l.starts_with("crw-rw-rw-") || l.contains("1,3")),
            "the device is a device again: {listing}"
        );
        assert!(listing.contains("-rwsr-xr-x"), "{listing}");
        assert!(listing.contains("link to bin/bash"), "{listing}");
    }
}

#[test]
fn what_a_container_changes_becomes_a_layer() {
    inside("storage::snapshot::tests::inner_commit", false);
}

#[test]
fn parents_of_changes_are_changed() {
    let found = |path: &str, kind| diff::Found {
        path: path.as_bytes().to_vec(),
        kind,
        size: 0,
    };
    let all = diff::with_parents(vec![
        found("a/b/c", ChangeKind::Added),
        found("a/b", ChangeKind::Added),
        found("x/y", ChangeKind::Deleted),
    ]);
    assert_eq!(
        lines(&all),
        ["C /a", "A /a/b", "A /a/b/c", "C /x", "D /x/y"]
    );
}
