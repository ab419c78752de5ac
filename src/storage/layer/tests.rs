//! Layers as a whole: damaged ones, kill -9 at every step, trees to archives and back.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::config::dirs::Dirs;
use crate::storage::codec::{Compression, Encoder};
use crate::storage::driver::tests::as_root;
use crate::storage::pack::Packer;
use crate::storage::store::Store;
use crate::storage::tar::{Entry, Kind as TarKind, Writer};

fn store(base: &Path) -> Store {
    let dirs = Dirs::new(base.join("data"), base.join("run"));
    Store::open(&dirs, None).unwrap()
}

fn tar(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, content) in entries {
        writer.entry(entry).unwrap();
        writer.data(content).unwrap();
    }
    writer.finish().unwrap()
}

fn small() -> Vec<u8> {
    let files = (0..10).map(|i| {
        let entry = Entry {
            mode: 0o644,
            size: 4,
            ..Entry::new(format!("d/f{i}").as_bytes(), TarKind::File)
        };
        (entry, b"data".to_vec())
    });
    tar(&files.collect::<Vec<_>>())
}

fn wanted(diff_id: &Digest) -> Unpack<'_> {
    Unpack {
        parent: None,
        diff_id: Some(diff_id),
        limits: Limits::default(),
    }
}

#[test]
fn a_layer_that_is_not_what_its_image_says_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let store = store(temp.path());
    let other = Digest::sha256_of(b"other");
    let mut gzip = Encoder::new(Vec::new(), Compression::Gzip(6)).unwrap();
    gzip.write_all(&small()).unwrap();
    let good = gzip.finish().unwrap().sink;
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    for (what, bytes, diff_id) in [
        ("another digest", good.clone(), &other),
        ("a cut stream", good[..good.len() - 20].to_vec(), &other),
        ("a flipped bit", flipped, &Digest::sha256_of(&small())),
    ] {
        let failed = store
            .layers()
            .unpack(&wanted(diff_id), &bytes[..])
            .unwrap_err();
        assert!(
            matches!(failed.kind(), Kind::Corrupt | Kind::Invalid),
            "{what}: {failed:?}"
        );
        assert!(!store.layers().has(diff_id), "{what}");
        let left = fs::read_dir(store.dir().join("staging")).unwrap().count();
        assert_eq!(left, 0, "{what}");
    }
    let diff_id = Digest::sha256_of(&small());
    let info = store.layers().unpack(&wanted(&diff_id), &good[..]).unwrap();
    assert_eq!((info.size, info.inodes), (40, 12));
    assert_eq!(store.layers().list().unwrap(), [info]);
}

#[test]
#[ignore = "a step of kill_9_at_any_step_leaves_the_old_or_the_new_state"]
fn inner_unpack_and_remove() {
    let store = store(&PathBuf::from(
        std::env::var_os("CORACLE_TEST_DIR").unwrap(),
    ));
    let diff_id = Digest::sha256_of(&small());
    store
        .layers()
        .unpack(&wanted(&diff_id), &small()[..])
        .unwrap();
    let mut blob = &b"a blob"[..];
    let (digest, _) = store.blobs().ingest(&mut blob).unwrap();
    store.blobs().remove(&digest).unwrap();
    if std::env::var_os("CORACLE_TEST_REMOVE").is_some() {
        store.layers().remove(&diff_id).unwrap();
        store.empty_trash().unwrap();
    }
}

#[test]
fn kill_9_at_any_step_leaves_the_old_or_the_new_state() {
    let run = |dir: &Path, failpoint: Option<&str>, remove: bool| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "storage::layer::tests::inner_unpack_and_remove",
                "--ignored",
            ])
            .env("CORACLE_TEST_DIR", dir);
        if let Some(name) = failpoint {
            command.env("CORACLE_FAILPOINT", name);
        }
        if remove {
            command.env("CORACLE_TEST_REMOVE", "1");
        }
        command.output().unwrap()
    };
    let diff_id = Digest::sha256_of(&small());
    for (failpoint, remove, there) in [
        ("layer::staged", false, false),
        ("unpack::entry", false, false),
        ("unpack::entry:7", false, false),
        ("layer::sync", false, false),
        ("layer::publish", false, false),
        ("layer::published", false, true),
        ("blob::commit", false, true),
        ("layer::remove", true, true),
        ("trash::rename", true, true),
        ("trash::renamed", true, false),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let out = run(temp.path(), Some(failpoint), remove);
        assert_eq!(
            out.status.signal(),
            Some(libc::SIGKILL),
            "{failpoint}: {out:?}"
        );
        let store = store(temp.path());
        assert_eq!(store.layers().has(&diff_id), there, "{failpoint}");
        let known = store.layers().list().unwrap();
        assert_eq!(known.len(), usize::from(there), "{failpoint}");
        // The next command works, and nothing is left.
        let out = run(temp.path(), None, false);
        assert!(out.status.success(), "{failpoint}: {out:?}");
        assert!(store.layers().has(&diff_id), "{failpoint}");
        store
            .staging
            .sweep_older_than(std::time::Duration::ZERO)
            .unwrap();
        store.empty_trash().unwrap();
        for folder in ["staging", "trash"] {
            let left = fs::read_dir(store.dir().join(folder)).map_or(0, Iterator::count);
            assert_eq!(left, 0, "{failpoint}: {folder}");
        }
    }
}

fn pack(dir: &Path) -> Vec<u8> {
    let root = at::open_host_dir(dir).unwrap();
    let mut packer = Packer::new(Vec::new(), None);
    packer.tree(root.as_fd(), b"", false).unwrap();
    packer.finish().unwrap()
}

fn unpacked(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let store = store(temp.path());
    let info = store
        .layers()
        .unpack(&wanted(&Digest::sha256_of(bytes)), bytes)
        .unwrap();
    let path = store.layers().path(&info.chain_id).join("diff");
    (temp, path)
}

fn entries() -> impl Strategy<Value = Vec<(Entry, Vec<u8>)>> {
    let name = prop_oneof![
        "[a-c]",
        "[a-c]/[a-c]",
        "[a-c]/[a-c]/[a-zä.-]{1,90}x",
        "[a-z]{120}"
    ];
    let one = (
        name,
        0_u8..6,
        0_u32..0o10000,
        (0_u32..3, 0_u32..3),
        (-5_000_000_000_i64..20_000_000_000, 0_u32..1_000_000_000),
        proptest::collection::vec(any::<u8>(), 0..2000),
        proptest::option::of("[a-z]{1,8}"),
    );
    let one = one.prop_map(|(path, kind, mode, ids, time, content, xattr)| {
        let kind = match kind {
            0 | 1 => TarKind::File,
            2 => TarKind::Dir,
            3 => TarKind::Symlink,
            4 => TarKind::Fifo,
            _ => TarKind::Char,
        };
        let mut entry = Entry {
            mode,
            uid: ids.0,
            gid: ids.1,
            // What ext4 can hold.
            mtime: time.0.clamp(-2_000_000_000, 15_000_000_000),
            nsec: time.1,
            ..Entry::new(path.as_bytes(), kind)
        };
        if kind == TarKind::Symlink {
            entry.link = format!("../{}", "t".repeat(content.len() % 150 + 1)).into_bytes();
        }
        if kind == TarKind::Char {
            entry.device = (5, 1);
        }
        if kind == TarKind::File {
            entry.size = content.len() as u64;
            entry.xattrs.extend(xattr.map(|name| {
                (
                    format!("user.{name}").into_bytes(),
                    content[..content.len() % 64].to_vec(),
                )
            }));
        }
        (entry, content)
    });
    proptest::collection::vec(one, 0..25)
}

#[test]
fn trees_survive_the_way_through_an_archive() {
    if as_root("storage::layer::tests::trees_survive_the_way_through_an_archive") {
        return;
    }
    let config = ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(entries in entries())| {
        // A path behind a file or a link is refused: nothing to compare then.
        let bytes = tar(&entries);
        let temp = tempfile::tempdir().unwrap();
        let first = store(temp.path());
        let diff_id = Digest::sha256_of(&bytes);
        let Ok(info) = first.layers().unpack(&wanted(&diff_id), &bytes[..]) else {
            return Ok(());
        };
        let packed = pack(&first.layers().path(&info.chain_id).join("diff"));
        let (_keep, second) = unpacked(&packed);
        prop_assert!(pack(&second) == packed, "packing is stable");
        // GNU tar reads our archive as we do; device nodes it cannot make here.
        if entries.iter().any(|(e, _)| matches!(e.kind, TarKind::Char | TarKind::Block)) {
            return Ok(());
        }
        let gnu = tempfile::tempdir().unwrap();
        fs::write(gnu.path().join("a.tar"), &packed).unwrap();
        fs::create_dir(gnu.path().join("out")).unwrap();
        let out = Command::new("tar")
            .args(["--xattrs", "--xattrs-include=*", "--same-owner", "--delay-directory-restore"])
            .args(["--numeric-owner", "-xpf"])
            .arg(gnu.path().join("a.tar"))
            .arg("-C")
            .arg(gnu.path().join("out"))
            .output()
            .unwrap();
        prop_assert!(out.status.success(), "{:?}", out);
        prop_assert!(pack(&gnu.path().join("out")) == packed, "GNU tar unpacks the same");
    });
}

/// `CORACLE_MEASURE=layer.tar.gz cargo test --release --lib measure -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn measure_unpack() {
    let path = std::env::var_os("CORACLE_MEASURE").unwrap();
    let temp = tempfile::tempdir().unwrap();
    let store = store(temp.path());
    let file = File::open(path).unwrap();
    let begun = std::time::Instant::now();
    let what = Unpack {
        parent: None,
        diff_id: None,
        limits: Limits::default(),
    };
    let info = store.layers().unpack(&what, file).unwrap();
    println!(
        "{:?} for {} inodes, {} bytes",
        begun.elapsed(),
        info.inodes,
        info.size
    );
}
