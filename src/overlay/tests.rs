//! The parts that need no mount; the file system itself is tested in tests/it/overlay.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::handles::Handles;
use super::node::{Listing, Name, Node, Slot, Table, UPPER};
use super::*;
use crate::sys::bare::Stat;

/// Whether the next read panics.
pub(crate) static PANIC: AtomicBool = AtomicBool::new(false);

/// For the test that a panic ends with its request.
pub(super) fn maybe_panic() {
    assert!(!PANIC.load(Ordering::Relaxed), "asked for");
}

fn slot(kind: u32, level: u16) -> Slot {
    Slot {
        position: 0,
        kind,
        ino: 5,
        level,
        node: 0,
        beneath: false,
    }
}

#[test]
fn a_listing_goes_on_where_it_stopped_whatever_changes_meanwhile() {
    let mut listing = Listing::default();
    for n in 0..10 {
        let name = Name::from(format!("f{n}").as_bytes());
        listing.put(&name, slot(libc::S_IFREG, 1));
    }
    let (third, _) = listing.after(4).unwrap();
    listing.remove(b"f0");
    listing.remove(b"f3");
    listing.put(&Name::from(&b"new"[..]), slot(libc::S_IFREG, UPPER));
    // What hides something is not listed.
    listing.put(&Name::from(&b"f4"[..]), slot(0, UPPER));
    let mut rest = Vec::new();
    let mut from = third;
    while let Some((position, name)) = listing.after(from) {
        rest.push(String::from_utf8(name.to_vec()).unwrap());
        from = position;
    }
    assert_eq!(rest, ["f5", "f6", "f7", "f8", "f9", "new"]);
    assert!(listing.shown(b"f4").is_none());
    assert!(listing.slot(b"f4").is_some());
}

#[test]
fn a_node_is_known_as_often_as_the_kernel_was_told() {
    let root = Arc::new(Node::root(1, Vec::new()));
    let table = Table::new(root.clone());
    let stat = Stat {
        dev: 1,
        ino: 77,
        mode: libc::S_IFREG,
        nlink: 2,
        ..Stat::default()
    };
    let name = Name::from(&b"a"[..]);
    let make = || table.add(&stat, 1, 1, &root, &name);
    let (first, known) = table.linked((1, 77), make);
    assert_eq!((first.id, known), (77, false));
    let (second, known) = table.linked((1, 77), make);
    assert!(known && Arc::ptr_eq(&first, &second));
    // A number that is taken, or of another file system, gets one of ours.
    let other = table.add(&stat, 1, 1, &root, &name);
    let foreign = table.add(&Stat { dev: 2, ..stat }, 1, 1, &root, &name);
    assert!(other.id > u64::MAX / 2 && foreign.id > other.id);
    table.forget(77, 1);
    assert!(table.get(77).is_some());
    table.forget(77, 1);
    assert!(table.get(77).is_none());
    assert_eq!(table.len(), 2);
    let (third, known) = table.linked((1, 77), make);
    assert!(!known && !Arc::ptr_eq(&first, &third));
}

#[test]
fn descriptors_are_given_up_when_there_are_too_many() {
    let handles = Handles::new(64);
    let root = Arc::new(Node::root(1, Vec::new()));
    let table = Table::new(root.clone());
    let nodes: Vec<_> = (2..200)
        .map(|ino| {
            let stat = Stat {
                dev: 1,
                ino,
                mode: libc::S_IFREG,
                ..Stat::default()
            };
            let node = table.add(&stat, 1, 1, &root, &Name::from(&b"x"[..]));
            let fd = crate::sys::fd::null().unwrap();
            *lock(&node.data) = Some(super::node::Data {
                handle: handles.keep(fd),
                writable: false,
            });
            handles.enlist(&node);
            node
        })
        .collect();
    let open = nodes.iter().filter(|n| lock(&n.data).is_some()).count();
    assert!(open <= 34, "{open} of {}", nodes.len());
    assert!(lock(&nodes[197].data).is_some(), "the last one has its own");
}

#[test]
fn very_deep_paths_are_let_go_of() {
    let mut here = Arc::new(Node::root(1, Vec::new()));
    let table = Table::new(here.clone());
    for ino in 2..100_000 {
        let stat = Stat {
            dev: 1,
            ino,
            mode: libc::S_IFDIR,
            ..Stat::default()
        };
        here = table.add(&stat, 0, 1, &here, &Name::from(&b"d"[..]));
    }
    drop(table);
    drop(here);
}

#[test]
fn the_work_folder_is_emptied_first() {
    let dir = tempfile::tempdir().unwrap();
    for made in ["fuse/7/in", "fuse/8"] {
        std::fs::create_dir_all(dir.path().join(made)).unwrap();
    }
    std::fs::write(dir.path().join("fuse/9"), "half").unwrap();
    std::fs::write(dir.path().join("kernels"), "not ours").unwrap();
    let folder = crate::sys::at::open_host_dir(dir.path()).unwrap();
    let work = work_folder(&folder).unwrap();
    let mut left = 0;
    bare::list(work.as_fd(), |_| {
        left += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(left, 0);
    assert!(dir.path().join("kernels").exists());
}
