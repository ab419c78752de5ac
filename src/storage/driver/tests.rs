//! The drivers on the real kernel, inside a user namespace as a plain user has it: the outer test
//! runs this binary again under unshare(1), once for each inner test.

use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;

use super::probe::{Form, probe};
use super::*;
use crate::base::Kind;
use crate::config::dirs::Dirs;
use crate::spec::idmap::IdMaps;
use crate::spec::runtime::IdMapping;
use crate::storage::layer::{Limits, Unpack};
use crate::storage::rootfs::RootfsRequest;
use crate::storage::tar::{Entry, Kind as TarKind, Writer};

/// Runs the inner test `name` of this binary as uid 0 of a user namespace.
pub(in crate::storage) fn inside(name: &str, single: bool) {
    let me = std::env::current_exe().unwrap();
    let temp = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
    let mut command = if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(temp.path(), Some(1001), Some(1001)).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=1001", "--regid=1001", "--clear-groups", "unshare"]);
        command
    } else {
        Command::new("unshare")
    };
    command.args(["-Ur", "-m"]);
    if !single {
        command.arg("--map-auto");
    }
    // The target folder may be closed to a plain user: a copy is not.
    let copy = temp.path().join("test");
    std::fs::copy(&me, &copy).unwrap();
    let out = command
        .arg(&copy)
        .args(["--exact", name, "--include-ignored", "--nocapture"])
        .env("CORACLE_TEST_DIR", temp.path())
        .env("HOME", temp.path())
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
    // Files of other ids are only ours to remove inside.
    let mut clean = if rustix::process::geteuid().is_root() {
        Command::new("true")
    } else {
        let mut command = Command::new("unshare");
        command
            .args(["-Ur", "--map-auto", "rm", "-rf"])
            .arg(temp.path());
        command
    };
    drop(clean.status());
}

/// For tests that give files away: whoever is not root runs them as root of a user namespace.
/// `true` when that was done.
pub(in crate::storage) fn as_root(name: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return false;
    }
    inside(name, false);
    true
}

/// A store in the folder that the outer test made.
pub(in crate::storage) fn store(choice: Option<&str>) -> Store {
    let base = std::path::PathBuf::from(std::env::var_os("CORACLE_TEST_DIR").unwrap());
    let dirs = Dirs::new(base.join("data"), base.join("run"));
    Store::open(&dirs, choice).unwrap()
}

fn entry(path: &str, kind: TarKind, uid: u32, content: &str, link: &str) -> (Entry, String) {
    let entry = Entry {
        mode: if kind == TarKind::Dir { 0o755 } else { 0o644 },
        uid,
        gid: uid,
        mtime: 1_000_000_000,
        size: content.len() as u64,
        link: link.as_bytes().to_vec(),
        ..Entry::new(path.as_bytes(), kind)
    };
    (entry, content.to_owned())
}

fn layer(store: &Store, parent: Option<&Digest>, entries: &[(Entry, String)]) -> Digest {
    let mut writer = Writer::new(Vec::new());
    for (entry, content) in entries {
        writer.entry(entry).unwrap();
        writer.data(content.as_bytes()).unwrap();
    }
    let tar = writer.finish().unwrap();
    let diff_id = Digest::sha256_of(&tar);
    let what = Unpack {
        parent,
        diff_id: Some(&diff_id),
        limits: Limits::default(),
    };
    let info = store.layers().unpack(&what, &tar[..]).unwrap();
    assert_eq!(info.diff_id, diff_id);
    info.chain_id
}

const ACL: &std::ffi::CStr = c"system.posix_acl_access";

/// An access control list that names user 33 and group 42.
fn acl(shift: impl Fn(u32) -> u32) -> Vec<u8> {
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in [
        (1_u16, 6_u16, u32::MAX),
        (2, 6, shift(33)),
        (4, 4, u32::MAX),
        (8, 4, shift(42)),
        (16, 4, u32::MAX),
        (32, 4, u32::MAX),
    ] {
        list.extend(tag.to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}

/// Two layers: the upper one hides, replaces and adds.
pub(in crate::storage) fn image(store: &Store) -> Vec<Digest> {
    use TarKind::{Char, Dir, File, HardLink, Symlink};
    let mut su = entry("bin/su", File, 0, "#!su", "");
    su.0.mode = 0o4755;
    let mut null = entry("dev/null", Char, 0, "", "");
    null.0.device = (1, 3);
    let mut listed = entry("var/www/index", File, 33, "hello", "");
    listed.0.xattrs = vec![(ACL.to_bytes().to_vec(), acl(|id| id))];
    let mut fifo = entry("var/www/fifo", TarKind::Fifo, 33, "", "");
    fifo.0.mode = 0o640;
    let bottom = layer(
        store,
        None,
        &[
            entry("bin", Dir, 0, "", ""),
            su,
            entry("bin/sh", File, 0, "shell", ""),
            entry("bin/bash", HardLink, 0, "", "bin/sh"),
            entry("etc", Dir, 0, "", ""),
            entry("etc/passwd", File, 0, "old", ""),
            entry("etc/shadow", File, 42, "secret", ""),
            entry("etc/gone", File, 0, "x", ""),
            entry("var/www", Dir, 33, "", ""),
            listed,
            entry("var/www/link", Symlink, 33, "", "index"),
            fifo,
            entry("opt/a", File, 0, "a", ""),
            entry("lib", Symlink, 7, "", "usr/lib"),
            null,
        ],
    );
    let top = layer(
        store,
        Some(&bottom),
        &[
            entry("etc/passwd", File, 0, "new", ""),
            entry("etc/.wh.gone", File, 0, "", ""),
            entry("opt/.wh..wh..opq", File, 0, "", ""),
            entry("opt/b", File, 0, "b", ""),
        ],
    );
    vec![bottom, top]
}

pub(in crate::storage) fn read(tree: BorrowedFd<'_>, path: &str) -> Option<String> {
    let (dir, name) = path.rsplit_once('/').unwrap_or((".", path));
    let dir = at::open_dir_in_root(tree, dir.as_bytes()).ok()?;
    let (fd, _) = at::open_file(dir.as_fd(), name.as_bytes()).ok()?;
    let mut text = String::new();
    std::fs::File::from(fd).read_to_string(&mut text).unwrap();
    Some(text)
}

fn owner(tree: BorrowedFd<'_>, path: &str) -> (u32, u32) {
    let fd = at::open_path_in_root(tree, path.as_bytes(), false).unwrap();
    let meta = at::fstat(fd.as_fd()).unwrap();
    (meta.uid, meta.permissions())
}

fn check_view(tree: BorrowedFd<'_>, shift: impl Fn(u32) -> u32 + Copy) {
    assert_eq!(read(tree, "etc/passwd").unwrap(), "new");
    assert_eq!(read(tree, "etc/shadow").unwrap(), "secret");
    assert_eq!(read(tree, "var/www/index").unwrap(), "hello");
    assert_eq!(read(tree, "bin/bash").unwrap(), "shell");
    assert_eq!(read(tree, "opt/b").unwrap(), "b");
    assert_eq!(read(tree, "etc/gone"), None);
    assert_eq!(read(tree, "opt/a"), None);
    assert_eq!(owner(tree, "bin/su"), (shift(0), 0o4755));
    assert_eq!(owner(tree, "etc/shadow"), (shift(42), 0o644));
    assert_eq!(owner(tree, "var/www"), (shift(33), 0o755));
    assert_eq!(owner(tree, "lib").0, shift(7));
    assert_eq!(owner(tree, "var/www/link").0, shift(33));
    assert_eq!(owner(tree, "var/www/fifo"), (shift(33), 0o640));
    let www = at::open_dir_in_root(tree, b"var/www").unwrap();
    let (index, _) = at::open_file(www.as_fd(), b"index").unwrap();
    assert_eq!(at::getxattr(index.as_fd(), ACL).unwrap(), Some(acl(shift)));
    let etc = at::open_dir_in_root(tree, b"etc").unwrap();
    let names: Vec<_> = at::list(etc.as_fd())
        .unwrap()
        .into_iter()
        .map(|e| String::from_utf8(e.name).unwrap())
        .collect();
    assert_eq!(names, ["passwd", "shadow"]);
}

fn write(tree: BorrowedFd<'_>, name: &str, text: &str) {
    let fd = at::create_file(tree, name.as_bytes(), 0o600).unwrap();
    at::pwrite_all(fd.as_fd(), text.as_bytes(), 0).unwrap();
}

fn mount(
    store: &Store,
    layers: &[Digest],
    dir: &Path,
    view: &View,
) -> Result<super::super::Rootfs> {
    std::fs::create_dir_all(dir).unwrap();
    store.mount(&RootfsRequest {
        layers,
        container_dir: dir,
        view,
        mode: Mode::Persistent,
        points: false,
    })
}

fn keep_id() -> View {
    let line = |container_id, host_id, size| IdMapping {
        container_id,
        host_id,
        size,
    };
    let map = vec![line(0, 1, 1000), line(1000, 0, 1), line(1001, 1001, 60_000)];
    View::Shifted(IdMaps {
        uids: map.clone(),
        gids: map,
    })
}

/// What was found in another boot counts while everything worked, and is looked at again when a
/// mount shows that it is wrong.
fn beyond_the_boot(store: &Store, layers: &[Digest], dir: &Path) {
    let path = std::fs::read_dir(store.dir()).unwrap().flatten();
    let path = path.map(|e| e.path());
    let mut path = path.filter(|p| {
        p.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("probe-")
    });
    let path = path.next().unwrap();
    let edit = |from: &str, to: &str| {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
    };
    let boot = crate::sys::process::boot_id();
    edit(boot, "another");
    assert!(probe(store).unwrap().is_older(), "everything worked");
    edit("\"data_only\":true", "\"data_only\":false");
    assert!(!probe(store).unwrap().is_older(), "a no is asked again");
    // A yes that is none: strings instead of descriptors would work as well, so a kernel that is
    // another one stands for it.
    edit(boot, "another");
    edit("\"kernel\":\"", "\"kernel\":\"not ");
    assert!(!probe(store).unwrap().is_older(), "another kernel");
    edit(boot, "another");
    let taken = mount(store, layers, dir, &View::Same).unwrap();
    let error = mount(store, layers, dir, &View::Same).unwrap_err();
    assert_eq!(error.kind(), Kind::InUse);
    assert!(
        probe(store).unwrap().is_older(),
        "in use says nothing about it"
    );
    drop(taken);
    std::fs::remove_dir_all(dir.join("work")).unwrap();
    std::fs::write(dir.join("work"), "").unwrap();
    mount(store, layers, dir, &View::Same).unwrap_err();
    assert!(!probe(store).unwrap().is_older(), "a mount failed");
}

#[test]
#[ignore = "runs inside a user namespace, started by every_driver_shows_the_same"]
fn inner_every_driver() {
    let store_of = |choice| store(choice);
    let store = store_of(None);
    let layers = image(&store);
    let base = store.dir().join("../containers");
    let found = probe(&store).unwrap();
    assert_eq!(found.overlay, Some(Form::Descriptors), "{found:?}");
    assert!(found.volatile && found.data_only, "{found:?}");
    assert_eq!(probe(&store).unwrap(), found, "from the cache");
    beyond_the_boot(&store, &layers, &base.join("boot"));

    // The plain overlay: locked, kept, mounted again.
    let dir = base.join("plain");
    let first = mount(&store, &layers, &dir, &View::Same).unwrap();
    assert_eq!(first.driver, "overlay");
    check_view(first.tree.as_fd(), |id| id);
    write(first.tree.as_fd(), "mine", "kept");
    let taken = mount(&store, &layers, &dir, &View::Same).unwrap_err();
    assert_eq!(taken.kind(), Kind::InUse);
    drop(first);
    let again = mount(&store, &layers, &dir, &View::Same).unwrap();
    assert_eq!(read(again.tree.as_fd(), "mine").unwrap(), "kept");
    assert_eq!(again.notice, None, "same boot");
    drop(again);
    // As after a power cut.
    let work = at::open_host_dir(&dir.join("work")).unwrap();
    at::setxattr(work.as_fd(), c"user.coracle.boot", b"another").unwrap();
    let cut = mount(&store, &layers, &dir, &View::Same).unwrap();
    assert!(cut.notice.is_some());
    drop(cut);
    at::setxattr(work.as_fd(), c"user.coracle.boot", b"another").unwrap();
    store.settle(&dir).unwrap();
    assert_eq!(
        mount(&store, &layers, &dir, &View::Same).unwrap().notice,
        None
    );

    // Read-only, also of one layer alone.
    for layers in [&layers[..], &layers[..1]] {
        let image = store.mount_image(layers, &View::Same, None).unwrap();
        assert!(read(image.tree.as_fd(), "bin/su").is_some());
        let refused = at::create_file(image.tree.as_fd(), b"x", 0o600).unwrap_err();
        assert_eq!(refused.errno, libc::EROFS);
    }
    let scratch = base.join("scratch");
    let image = store
        .mount_image(&layers, &View::Same, Some(&scratch))
        .unwrap();
    write(image.tree.as_fd(), "x", "x");

    // Other owners: a metadata clone, made once.
    let shift = |id| if id < 1000 { id + 1 } else { id };
    let dir = base.join("keep-id");
    let clone = mount(&store, &layers, &dir, &keep_id()).unwrap();
    assert_eq!(clone.driver, "overlay-clone");
    check_view(clone.tree.as_fd(), shift);
    // Lists leave with the ids that they came with.
    let mut tar = Vec::new();
    store
        .pack_tree(clone.tree.as_fd(), &keep_id(), None, &mut tar)
        .unwrap();
    let mut archive = ::tar::Archive::new(&tar[..]);
    let mut lists = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        for record in entry.pax_extensions().unwrap().into_iter().flatten() {
            let record = record.unwrap();
            if record.key_bytes() == b"SCHILY.xattr.system.posix_acl_access" {
                lists.push(record.value_bytes().to_vec());
            }
        }
    }
    assert_eq!(lists, [acl(|id| id)]);
    // Copy-up of a file whose data is in a layer.
    let etc = at::open_dir_in_root(clone.tree.as_fd(), b"etc").unwrap();
    let fd = at::open_file_for_write(etc.as_fd(), b"shadow").unwrap();
    at::pwrite_all(fd.as_fd(), b"!", 6).unwrap();
    drop(fd);
    assert_eq!(read(clone.tree.as_fd(), "etc/shadow").unwrap(), "secret!");
    let bin = at::open_dir_in_root(clone.tree.as_fd(), b"bin").unwrap();
    assert_eq!(at::stat(bin.as_fd(), b"sh").unwrap().nlink, 2);
    assert_eq!(
        std::fs::read_dir(store.dir().join("clones"))
            .unwrap()
            .count(),
        1
    );
    let second = mount(&store, &layers, &base.join("keep-id-2"), &keep_id()).unwrap();
    check_view(second.tree.as_fd(), shift);
    assert_eq!(
        std::fs::read_dir(store.dir().join("clones"))
            .unwrap()
            .count(),
        1
    );

    // The copy driver shows the same, and a container stays with it.
    let copies = store_of(Some("copy"));
    for (name, view) in [("copy", View::Same), ("copy-keep-id", keep_id())] {
        let dir = base.join(name);
        let copy = mount(&copies, &layers, &dir, &view).unwrap();
        assert_eq!(copy.driver, "copy");
        check_view(copy.tree.as_fd(), |id| {
            if name == "copy" { id } else { shift(id) }
        });
        write(copy.tree.as_fd(), "mine", "kept");
        let taken = mount(&store, &layers, &dir, &view).unwrap_err();
        assert_eq!(taken.kind(), Kind::InUse);
        drop(copy);
        let again = mount(&store, &layers, &dir, &view).unwrap();
        assert_eq!(again.driver, "copy");
        assert_eq!(read(again.tree.as_fd(), "mine").unwrap(), "kept");
    }

    // Read-only copies are one for each view.
    for view in [View::Same, keep_id()] {
        let image = copies.mount_image(&layers, &view, None).unwrap();
        check_view(image.tree.as_fd(), |id| {
            if view == View::Same { id } else { shift(id) }
        });
    }

    // A path that no attribute can hold.
    let deep = format!("{}/f", vec!["d".repeat(200); 20].join("/"));
    let with_deep = layer(
        &store,
        layers.last(),
        &[entry(&deep, TarKind::File, 33, "deep", "")],
    );
    let with_deep = [&layers[..], &[with_deep]].concat();
    let clone = mount(&store, &with_deep, &base.join("deep"), &keep_id()).unwrap();
    assert_eq!(clone.driver, "overlay-clone");
    assert_eq!(read(clone.tree.as_fd(), &deep).unwrap(), "deep");

    // Owners from beside, as of layers that were unpacked with one id.
    let out = base.join("restored");
    std::fs::create_dir_all(&out).unwrap();
    let out = at::open_host_dir(&out).unwrap();
    let opened: Vec<_> = layers
        .iter()
        .rev()
        .map(|layer| store.layers().open(layer).unwrap())
        .collect();
    let five = |mode| crate::storage::unpack::attrs::TrueOwner {
        uid: 5,
        gid: 6,
        mode,
    };
    let tables = [
        owners::Table::new(),
        owners::Table::from([
            (b"lib".to_vec(), five(0)),
            (b"var/www/fifo".to_vec(), five(0o604)),
        ]),
    ];
    replica::replicate(
        &opened,
        out.as_fd(),
        &keep_id(),
        replica::Data::Copy,
        Some(&tables),
    )
    .unwrap();
    assert_eq!(owner(out.as_fd(), "lib").0, 6);
    assert_eq!(owner(out.as_fd(), "var/www/fifo"), (6, 0o604));
    assert_eq!(owner(out.as_fd(), "var/www/link").0, 34);

    // A throw-away overlay over a folder of the host.
    let host = base.join("host");
    std::fs::create_dir_all(&host).unwrap();
    std::fs::write(host.join("f"), "host").unwrap();
    let lower = at::open_host_dir(&host).unwrap();
    let over = store
        .mount_over(
            lower.as_fd(),
            super::super::rootfs::Scratch::Folder(&base.join("over")),
        )
        .unwrap();
    assert_eq!(read(over.tree.as_fd(), "f").unwrap(), "host");
    write(over.tree.as_fd(), "new", "x");
    assert!(!host.join("new").exists());

    // Kernels before 6.13: by path, and by mount(2) when there are many.
    for more in [0, 38] {
        let mut opened: Vec<_> = layers
            .iter()
            .rev()
            .map(|layer| store.layers().open(layer).unwrap())
            .collect();
        for i in 0..more {
            let dir = base.join(format!("empty-{i}"));
            std::fs::create_dir_all(&dir).unwrap();
            opened.push(at::open_host_dir(&dir).unwrap());
        }
        let lowers: Vec<_> = opened.iter().map(|l| l.as_fd()).collect();
        let stack = overlay::Stack {
            lowers: &lowers,
            data: &[],
            upper: None,
            volatile: false,
        };
        let tree = overlay::raw(Form::Strings, &stack, store.dir()).unwrap();
        check_view(tree.as_fd(), |id| id);
    }
}

#[test]
#[ignore = "runs inside a user namespace, started by one_id_is_enough"]
fn inner_single_id() {
    let store = store(None);
    let layers = image(&store);
    assert!(store.layers().get(&layers[0]).unwrap().unwrap().squashed);
    let dir = store.dir().join("../c");
    let root = mount(&store, &layers, &dir, &View::Same).unwrap();
    assert_eq!(root.driver, "overlay");
    assert_eq!(owner(root.tree.as_fd(), "etc/shadow").0, 0);
    assert_eq!(read(root.tree.as_fd(), "etc/shadow").unwrap(), "secret");

    // What goes out has the owners that came in, unless the container put something else there.
    at::unlink(root.tree.as_fd(), b"lib").unwrap();
    at::symlink(b"elsewhere", root.tree.as_fd(), b"lib").unwrap();
    let www = at::open_dir_in_root(root.tree.as_fd(), b"var/www").unwrap();
    at::mkfifo(www.as_fd(), b"own", 0o600).unwrap();
    let owners = store.link_owners(&layers, Some(&dir)).unwrap();
    let mut tar = Vec::new();
    store
        .pack_tree(root.tree.as_fd(), &View::Same, owners.as_ref(), &mut tar)
        .unwrap();
    let mut archive = ::tar::Archive::new(&tar[..]);
    let mut found = std::collections::BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        found.insert(
            path,
            (header.uid().unwrap(), header.mode().unwrap() & 0o7777),
        );
    }
    assert_eq!(found["var/www/link"].0, 33);
    assert_eq!(found["var/www/fifo"], (33, 0o640));
    assert_eq!(found["var/www/own"], (0, 0o600));
    assert_eq!(found["var/www/index"].0, 33);
    assert_eq!(found["lib"].0, 0);
}

#[test]
#[ignore = "runs inside a user namespace, started by a_panic_ends_with_its_request"]
fn inner_panic() {
    use crate::overlay::{self, Plan, tests::PANIC};
    use std::sync::atomic::Ordering;
    let store = store(None);
    let layers = image(&store);
    let (device, tree) = overlay::mount(true).unwrap();
    let plan = Plan {
        lowers: layers
            .iter()
            .rev()
            .map(|layer| store.layers().open(layer).unwrap())
            .collect(),
        upper: None,
        maps: None,
        restore: None,
        squash: false,
        volatile: true,
        metadata_only: false,
        content: None,
    };
    let server = std::thread::spawn(move || overlay::serve(device, plan, || {}));
    check_view(tree.as_fd(), |id| id);
    let su = |tree: BorrowedFd<'_>| {
        let bin = at::open_dir_in_root(tree, b"bin").unwrap();
        let (file, _) = at::open_file(bin.as_fd(), b"su").unwrap();
        let mut text = String::new();
        std::fs::File::from(file)
            .read_to_string(&mut text)
            .map(|_| text)
    };
    PANIC.store(true, Ordering::Relaxed);
    for _ in 0..10 {
        let failed = su(tree.as_fd()).unwrap_err();
        assert_eq!(failed.raw_os_error(), Some(libc::EIO));
    }
    PANIC.store(false, Ordering::Relaxed);
    assert_eq!(su(tree.as_fd()).unwrap(), "#!su");
    let refused = at::create_file(tree.as_fd(), b"x", 0o600).unwrap_err();
    assert_eq!(refused.errno, libc::EROFS);
    drop(tree);
    server.join().unwrap().unwrap();
}

#[test]
fn a_panic_ends_with_its_request() {
    inside("storage::driver::tests::inner_panic", false);
}

#[test]
fn every_driver_shows_the_same() {
    inside("storage::driver::tests::inner_every_driver", false);
}

#[test]
fn one_id_is_enough() {
    inside("storage::driver::tests::inner_single_id", true);
}
