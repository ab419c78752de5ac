//! Hostile and odd archives. Security: class E.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::*;
use crate::storage::driver::tests::as_root;
use crate::storage::tar::Writer;
use crate::sys::at;

const LAYER: Policy<'static> = Policy {
    layer: true,
    owners: Owners::Keep,
    overwrite: true,
    root: true,
    limits: Limits {
        entries: 1000,
        bytes: 1 << 20,
        ratio: 200,
    },
    reuse: None,
};

fn dir(path: &str) -> Entry {
    Entry {
        mode: 0o755,
        ..Entry::new(path.as_bytes(), Kind::Dir)
    }
}

fn file(path: &str, content: &str) -> (Entry, String) {
    let entry = Entry {
        mode: 0o644,
        size: content.len() as u64,
        ..Entry::new(path.as_bytes(), Kind::File)
    };
    (entry, content.to_owned())
}

fn link(path: &str, kind: Kind, target: &str) -> (Entry, String) {
    let entry = Entry {
        link: target.as_bytes().to_vec(),
        ..Entry::new(path.as_bytes(), kind)
    };
    (entry, String::new())
}

fn tar(entries: &[(Entry, String)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, content) in entries {
        writer.entry(entry).unwrap();
        writer.data(content.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

fn try_unpack(bytes: &[u8], root: &Path, lower: &[&Path]) -> Result<Summary> {
    let lower: Vec<_> = lower
        .iter()
        .map(|path| at::open_host_dir(path).unwrap())
        .collect();
    let root = at::open_host_dir(root).unwrap();
    unpack(&mut Reader::new(bytes), root, &lower, &LAYER)
}

fn named(path: &str) -> (Entry, String) {
    // The writer writes what it is told: paths that a reader must refuse.
    file(path, "x")
}

#[test]
fn hostile_archives_are_refused_and_nothing_outside_is_touched() {
    let d = |path: &str| (dir(path), String::new());
    let cases: Vec<(&str, Vec<(Entry, String)>)> = vec![
        ("dot dot", vec![named("../canary")]),
        ("dot dot inside", vec![d("a"), named("a/../../canary")]),
        (
            "symlink, then a file behind it",
            vec![
                link("out", Kind::Symlink, "../outside"),
                named("out/canary"),
            ],
        ),
        (
            "absolute symlink, then a folder behind it",
            vec![link("out", Kind::Symlink, "/"), d("out/tmp/x")],
        ),
        (
            "symlink chain",
            vec![
                link("a", Kind::Symlink, "."),
                link("a2", Kind::Symlink, "a/.."),
                named("a2/canary"),
            ],
        ),
        (
            "hard link out",
            vec![link("l", Kind::HardLink, "../outside/canary")],
        ),
        (
            "hard link through a symlink",
            vec![
                link("out", Kind::Symlink, "../outside"),
                link("l", Kind::HardLink, "out/canary"),
            ],
        ),
        ("hard link to itself", vec![link("l", Kind::HardLink, "l")]),
        (
            "hard link to a folder",
            vec![d("a"), link("l", Kind::HardLink, "a")],
        ),
        (
            "hard link to what comes later",
            vec![link("l", Kind::HardLink, "f"), named("f")],
        ),
        ("a folder behind a file", vec![named("f"), named("f/g")]),
        ("whiteout of ..", vec![named(".wh...")]),
        ("whiteout of nothing", vec![named("a/.wh.")]),
        (
            "whiteout behind a symlink",
            vec![
                link("out", Kind::Symlink, "../outside"),
                named("out/.wh.canary"),
            ],
        ),
        (
            "opaque behind a symlink",
            vec![
                link("out", Kind::Symlink, "../outside"),
                named("out/.wh..wh..opq"),
            ],
        ),
        ("the root as a file", vec![named(".")]),
        (
            "a component that is too long",
            vec![named(&"x".repeat(256))],
        ),
        ("a path that is too long", vec![named(&"x/".repeat(2100))]),
        ("too many bytes", vec![file("big", &"x".repeat(2 << 20))]),
        (
            "too many entries",
            (0..1001).map(|i| named(&format!("f{i}"))).collect(),
        ),
    ];
    for (what, entries) in cases {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        let outside = temp.path().join("outside");
        let below = temp.path().join("below");
        for dir in [&root, &outside, &below] {
            fs::create_dir(dir).unwrap();
        }
        fs::write(outside.join("canary"), "alive").unwrap();
        let failed = try_unpack(&tar(&entries), &root, &[&below]).unwrap_err();
        assert_eq!(
            failed.kind(),
            crate::base::Kind::Invalid,
            "{what}: {failed:?}"
        );
        assert_eq!(
            fs::read(outside.join("canary")).unwrap(),
            b"alive",
            "{what}"
        );
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{what}");
        assert_eq!(
            fs::metadata(outside.join("canary")).unwrap().nlink(),
            1,
            "{what}"
        );
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 3, "{what}");
        assert!(
            at::getxattr(at::open_host_dir(&outside).unwrap().as_fd(), OPAQUE)
                .unwrap()
                .is_none(),
            "{what}"
        );
    }
}

#[test]
fn later_entries_replace_earlier_ones_and_never_write_through_them() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(temp.path().join("canary"), "alive").unwrap();
    let bytes = tar(&[
        link("f", Kind::Symlink, "../canary"),
        file("f", "mine"),
        file("g", "one"),
        link("h", Kind::HardLink, "g"),
        file("g", "two"),
        (dir("d"), String::new()),
        file("d/x", "x"),
        link("d", Kind::Symlink, "/etc"),
        (dir("d"), String::new()),
        file("d/y", "y"),
        file("e", "file first"),
        (dir("e"), String::new()),
        file("/abs/olute", "contained"),
        file("./dotted/./x", "x"),
    ]);
    let summary = try_unpack(&bytes, &root, &[]).unwrap();
    assert_eq!(fs::read(temp.path().join("canary")).unwrap(), b"alive");
    assert_eq!(fs::read(root.join("f")).unwrap(), b"mine");
    assert_eq!(fs::read(root.join("g")).unwrap(), b"two");
    assert_eq!(fs::read(root.join("h")).unwrap(), b"one");
    assert!(!root.join("d/x").exists());
    assert_eq!(fs::read(root.join("d/y")).unwrap(), b"y");
    assert!(root.join("e").is_dir());
    assert_eq!(fs::read(root.join("abs/olute")).unwrap(), b"contained");
    assert_eq!(fs::read(root.join("dotted/x")).unwrap(), b"x");
    let walked = crate::storage::tree::weigh(at::open_host_dir(&root).unwrap().as_fd()).unwrap();
    assert!(summary.inodes >= walked.inodes);
}

#[test]
fn attributes_come_out_as_the_archive_says() {
    if as_root("storage::unpack::tests::attributes_come_out_as_the_archive_says") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let bytes = tar(&[
        (
            Entry {
                mode: 0o2775,
                uid: 8,
                gid: 9,
                mtime: 1_000_000_000,
                nsec: 5,
                ..dir("mail")
            },
            String::new(),
        ),
        (
            Entry {
                mode: 0o4755,
                uid: 0,
                gid: 5,
                mtime: 1_500_000_000,
                nsec: 123_456_789,
                size: 3,
                xattrs: vec![
                    (b"security.capability".to_vec(), capability.to_vec()),
                    (b"user.note".to_vec(), b"v".to_vec()),
                    (b"user.overlay.opaque".to_vec(), b"y".to_vec()),
                    (b"user.coracle.owner".to_vec(), b"1:1:777".to_vec()),
                    (b"trusted.x".to_vec(), b"y".to_vec()),
                ],
                ..Entry::new(b"mail/su", Kind::File)
            },
            "su!".to_owned(),
        ),
        (
            Entry {
                uid: 7,
                mtime: 77,
                link: b"su".to_vec(),
                ..Entry::new(b"mail/l", Kind::Symlink)
            },
            String::new(),
        ),
        (
            Entry {
                mode: 0o622,
                gid: 3,
                ..Entry::new(b"run/fifo", Kind::Fifo)
            },
            String::new(),
        ),
        (
            Entry {
                mode: 0o666,
                device: (1, 3),
                ..Entry::new(b"dev/null", Kind::Char)
            },
            String::new(),
        ),
        (
            Entry {
                device: (0, 0),
                ..Entry::new(b"dev/zero-zero", Kind::Char)
            },
            String::new(),
        ),
    ]);
    let summary = try_unpack(&bytes, root, &[]).unwrap();
    assert_eq!(summary.size, 3);
    let mail = fs::metadata(root.join("mail")).unwrap();
    assert_eq!(
        (mail.uid(), mail.gid(), mail.mode() & 0o7777),
        (8, 9, 0o2775)
    );
    assert_eq!((mail.mtime(), mail.mtime_nsec()), (1_000_000_000, 5));
    let su = fs::metadata(root.join("mail/su")).unwrap();
    assert_eq!((su.uid(), su.gid(), su.mode() & 0o7777), (0, 5, 0o4755));
    assert_eq!((su.mtime(), su.mtime_nsec()), (1_500_000_000, 123_456_789));
    let fd = fs::File::open(root.join("mail/su")).unwrap();
    let kept = attrs::read_all(fd.as_fd()).unwrap();
    assert_eq!(kept.len(), 4, "{kept:?}");
    assert_eq!(
        kept[0],
        (b"security.capability".to_vec(), capability.to_vec())
    );
    assert!(at::getxattr(fd.as_fd(), OPAQUE).unwrap().is_none());
    assert!(at::getxattr(fd.as_fd(), OWNER).unwrap().is_none());
    let l = fs::symlink_metadata(root.join("mail/l")).unwrap();
    assert_eq!((l.uid(), l.mtime()), (7, 77));
    let fifo = fs::metadata(root.join("run/fifo")).unwrap();
    assert!(fifo.file_type().is_fifo());
    assert_eq!((fifo.gid(), fifo.permissions().mode() & 0o777), (3, 0o622));
    let run = fs::metadata(root.join("run")).unwrap();
    assert_eq!(run.mode() & 0o7777, 0o755, "an implied folder");
    for (name, node) in [("null", &b"c 1 3 666"[..]), ("zero-zero", b"c 0 0 0")] {
        let null = fs::File::open(root.join("dev").join(name)).unwrap();
        assert!(null.metadata().unwrap().is_file());
        assert_eq!(at::getxattr(null.as_fd(), NODE).unwrap().unwrap(), node);
    }
}

#[test]
fn whiteouts_hide_what_is_below_and_implied_folders_take_after_it() {
    if as_root(
        "storage::unpack::tests::whiteouts_hide_what_is_below_and_implied_folders_take_after_it",
    ) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let below = temp.path().join("below");
    let root = temp.path().join("root");
    for dir in ["below/a/deep", "below/gone", "below/kept", "root"] {
        fs::create_dir_all(temp.path().join(dir)).unwrap();
    }
    fs::set_permissions(below.join("a"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(&below, fs::Permissions::from_mode(0o711)).unwrap();
    std::os::unix::fs::chown(below.join("a/deep"), Some(12), Some(13)).unwrap();
    let bytes = tar(&[
        file("a/deep/new", "x"),
        file(".wh.gone", ""),
        file("a/.wh.old", ""),
        file(".wh.again", ""),
        file("again/x", "x"),
        file(".wh.as-dir", ""),
        (dir("as-dir"), String::new()),
        (dir("own"), String::new()),
        file(".wh.own", ""),
        file("kept/.wh..wh..opq", ""),
        file(".wh..wh.plnk", ""),
        file("stays", "x"),
        file(".wh.stays", ""),
    ]);
    try_unpack(&bytes, &root, &[&below]).unwrap();
    let mode = |path: &str| fs::symlink_metadata(root.join(path)).unwrap().mode();
    assert_eq!(mode("a") & 0o7777, 0o1777);
    assert_eq!(mode("") & 0o7777, 0o711);
    assert_eq!(fs::metadata(root.join("a/deep")).unwrap().uid(), 12);
    for path in ["gone", "a/old"] {
        let meta = fs::symlink_metadata(root.join(path)).unwrap();
        assert!(meta.file_type().is_char_device(), "{path}");
        assert_eq!(meta.rdev(), 0);
    }
    let opaque = |path: &str| {
        let dir = at::open_host_dir(&root.join(path)).unwrap();
        at::getxattr(dir.as_fd(), OPAQUE).unwrap()
    };
    for path in ["again", "as-dir", "own", "kept"] {
        assert_eq!(opaque(path).as_deref(), Some(&b"y"[..]), "{path}");
    }
    assert_eq!(opaque("a"), None);
    assert_eq!(fs::read(root.join("stays")).unwrap(), b"x");
    assert!(!root.join(".wh..wh.plnk").exists());
    // In the lowest layer there is nothing to hide.
    let lowest = temp.path().join("lowest");
    fs::create_dir(&lowest).unwrap();
    try_unpack(
        &tar(&[file(".wh.x", ""), file("d/.wh..wh..opq", "")]),
        &lowest,
        &[],
    )
    .unwrap();
    assert_eq!(fs::read_dir(&lowest).unwrap().count(), 0);
}

#[test]
fn squashed_owners_are_kept_beside() {
    let temp = tempfile::tempdir().unwrap();
    let entries = [
        (
            Entry {
                uid: 33,
                gid: 34,
                ..file("f", "x").0
            },
            "x".to_owned(),
        ),
        (
            Entry {
                uid: 5,
                ..link("l", Kind::Symlink, "f").0
            },
            String::new(),
        ),
        file("mine", "x"),
    ];
    let policy = Policy {
        owners: Owners::Squash,
        ..LAYER
    };
    let root = at::open_host_dir(temp.path()).unwrap();
    let bytes = tar(&entries);
    let summary = unpack(&mut Reader::new(&bytes[..]), root, &[], &policy).unwrap();
    assert_eq!(
        fs::metadata(temp.path().join("f")).unwrap().uid(),
        rustix::process::getuid().as_raw()
    );
    let owner = |name: &str| {
        let file = fs::File::open(temp.path().join(name)).unwrap();
        at::getxattr(file.as_fd(), OWNER).unwrap()
    };
    assert_eq!(owner("f").unwrap(), b"33:34:644");
    assert_eq!(owner("mine"), None);
    assert_eq!(summary.owners, [(b"l".to_vec(), "5:0:0".to_owned())]);
}

/// Changes one byte range of the first header and mends its checksum.
fn patched(mut bytes: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes[..512].iter().map(|b| u32::from(*b)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes
}

#[test]
fn archives_that_parsers_read_differently_are_refused() {
    let plain = tar(&[file("f", "hello")]);
    let pax = |records: &[u8]| {
        let mut out = patched(tar(&[file("pax", "")])[..512].to_vec(), 156, b"x");
        out = patched(out, 124, format!("{:011o}\0", records.len()).as_bytes());
        out.extend_from_slice(records);
        out.resize(1024, 0);
        out
    };
    let lone_zero = [&plain[..1024], &[0; 512][..], &plain[..]].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("sizes that differ", [pax(b"9 size=4\n"), plain.clone()].concat()),
        (
            "records twice",
            [pax(b"9 path=a\n9 path=b\n"), plain.clone()].concat(),
        ),
        (
            "headers twice",
            [pax(b"9 path=a\n"), pax(b"9 path=b\n"), plain.clone()].concat(),
        ),
        ("a header without an entry", pax(b"9 path=a\n")),
        ("a NUL in a path", [pax(b"11 path=a\0b\n"), plain.clone()].concat()),
        (
            "a global path",
            [patched(pax(b"9 path=a\n"), 156, b"g"), plain.clone()].concat(),
        ),
        ("entries behind a block of zeros", lone_zero),
        ("an unknown type", patched(plain.clone(), 156, b"V")),
        ("a link with data", patched(plain.clone(), 156, b"2")),
        ("a folder with data", patched(plain.clone(), 156, b"5")),
        ("a file named as a folder", patched(plain.clone(), 0, b"f/")),
        ("a negative size", patched(plain.clone(), 124, &[0xff; 12])),
        (
            "a huge size",
            patched(plain.clone(), 124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
        ),
        ("no number", patched(plain.clone(), 124, b"12345x")),
        ("an owner of -1", patched(plain.clone(), 108, b"\xff\xff\xff\xff\xff\xff\xff\xff")),
        ("a cut end", plain[..700].to_vec()),
        ("a cut header", plain[..200].to_vec()),
        ("a wrong checksum", {
            let mut bytes = plain.clone();
            bytes[0] = b'g';
            bytes
        }),
        (
            "a giant extended header",
            patched(pax(b"9 path=a\n"), 124, b"77777777777\0"),
        ),
        (
            "a sparse map that overlaps",
            [
                pax(b"22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n26 GNU.sparse.map=0,3,1,2\n22 GNU.sparse.size=10\n"),
                plain.clone(),
            ]
            .concat(),
        ),
    ];
    for (what, bytes) in cases {
        let temp = tempfile::tempdir().unwrap();
        let failed = try_unpack(&bytes, temp.path(), &[]).unwrap_err();
        assert_eq!(
            failed.kind(),
            crate::base::Kind::Invalid,
            "{what}: {failed:?}"
        );
    }
}

#[test]
fn gnu_tar_and_we_agree_on_sparse_files_and_long_names() {
    let temp = tempfile::tempdir().unwrap();
    let source = temp.path().join("source");
    let long = format!("{}/{}", "d".repeat(120), "n".repeat(150));
    fs::create_dir_all(source.join("d".repeat(120))).unwrap();
    fs::write(source.join(&long), "long").unwrap();
    std::os::unix::fs::symlink("t".repeat(200), source.join("link")).unwrap();
    let sparse = fs::File::create(source.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"start", 0).unwrap();
    for i in 1..40 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", i * 100_000).unwrap();
    }
    sparse.set_len(5_000_000).unwrap();
    for format in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=1.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--xattrs"],
    ] {
        let out = std::process::Command::new("tar")
            .args(format)
            .args(["--sparse", "-C"])
            .arg(&source)
            .args(["-cf", "-", "."])
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        let root = tempfile::tempdir().unwrap();
        try_unpack(&out.stdout, root.path(), &[]).unwrap();
        assert_eq!(fs::read(root.path().join(&long)).unwrap(), b"long");
        assert_eq!(
            fs::read(root.path().join("sparse")).unwrap(),
            fs::read(source.join("sparse")).unwrap(),
            "{format:?}"
        );
        assert!(fs::metadata(root.path().join("sparse")).unwrap().blocks() * 512 < 2_000_000);
        assert_eq!(
            fs::read_link(root.path().join("link")).unwrap(),
            fs::read_link(source.join("link")).unwrap()
        );
    }
}
