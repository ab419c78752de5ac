//! Single behaviours, each on a plain folder, the kernel's overlay and ours.

use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, RenameFlags, XattrFlags};

use super::{Engine, Options, Stage, errno, inside, said, scratch};

/// What a case must find everywhere, and the known differences.
struct Case {
    name: &'static str,
    run: fn(&Path) -> String,
    wanted: &'static str,
    /// What both overlays answer instead.
    overlays: Option<&'static str>,
    /// What the kernel's alone answers instead.
    kernel: Option<&'static str>,
}

fn case(name: &'static str, run: fn(&Path) -> String, wanted: &'static str) -> Case {
    Case {
        name,
        run,
        wanted,
        overlays: None,
        kernel: None,
    }
}

/// The lower layers of every case, top first.
fn layers(base: &Path) -> Vec<PathBuf> {
    let (top, bottom) = (base.join("top"), base.join("bottom"));
    for dir in ["dir/sub", "many", "group"] {
        std::fs::create_dir_all(bottom.join(dir)).unwrap();
        std::fs::create_dir_all(top.join(dir)).unwrap();
    }
    std::fs::write(bottom.join("file"), "lower content\n").unwrap();
    std::fs::write(bottom.join("dir/one"), "1").unwrap();
    std::fs::write(top.join("dir/two"), "2").unwrap();
    std::fs::write(bottom.join("dir/sub/deep"), "deep").unwrap();
    for n in 0..100 {
        std::fs::write(bottom.join(format!("many/low{n}")), "x").unwrap();
    }
    std::fs::write(bottom.join("su"), "#!").unwrap();
    std::fs::set_permissions(bottom.join("su"), std::fs::Permissions::from_mode(0o6755)).unwrap();
    let sparse = std::fs::File::create(bottom.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_all_at(b"end", (64 << 20) - 3).unwrap();
    std::os::unix::fs::chown(bottom.join("group"), Some(0), Some(7)).unwrap();
    std::fs::set_permissions(
        bottom.join("group"),
        std::fs::Permissions::from_mode(0o2775),
    )
    .unwrap();
    std::os::unix::fs::chown(top.join("group"), Some(0), Some(7)).unwrap();
    std::fs::set_permissions(top.join("group"), std::fs::Permissions::from_mode(0o2775)).unwrap();
    std::os::unix::fs::symlink("file", bottom.join("link")).unwrap();
    vec![top, bottom]
}

fn exchange(a: &Path, b: &Path, flags: RenameFlags) -> String {
    said(&rustix::fs::renameat_with(
        rustix::fs::CWD,
        a,
        rustix::fs::CWD,
        b,
        flags,
    ))
    .to_string()
}

fn sorted(dir: &Path) -> String {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names.join(" ")
}

fn cases() -> Vec<Case> {
    vec![
        case(
            "a removed lower file stays with who has it open",
            |root| {
                let mut file = std::fs::OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(root.join("file"))
                    .unwrap();
                std::fs::remove_file(root.join("file")).unwrap();
                file.seek(std::io::SeekFrom::End(0)).unwrap();
                file.write_all(b"more\n").unwrap();
                file.rewind().unwrap();
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                format!(
                    "{text:?} {} {}",
                    file.metadata().unwrap().nlink(),
                    root.join("file").exists()
                )
            },
            r#""lower content\nmore\n" 0 false"#,
        ),
        case(
            "a removed new file stays with who has it open",
            |root| {
                let mut file = std::fs::OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .open(root.join("new"))
                    .unwrap();
                file.write_all(b"abc").unwrap();
                std::fs::remove_file(root.join("new")).unwrap();
                file.set_permissions(std::fs::Permissions::from_mode(0o640))
                    .unwrap();
                file.set_len(5).unwrap();
                file.write_all_at(b"Z", 4).unwrap();
                std::fs::write(root.join("new"), "another").unwrap();
                let mut text = [0; 8];
                let n = file.read_at(&mut text, 0).unwrap();
                format!(
                    "{:?} {:o} {}",
                    &text[..n],
                    file.metadata().unwrap().mode(),
                    std::fs::read_to_string(root.join("new")).unwrap()
                )
            },
            "[97, 98, 99, 0, 90] 100640 another",
        ),
        case(
            "a file that is replaced stays with who has it open",
            |root| {
                let file = std::fs::File::open(root.join("file")).unwrap();
                std::fs::write(root.join("new"), "new").unwrap();
                std::fs::rename(root.join("new"), root.join("file")).unwrap();
                let mut text = [0; 5];
                file.read_exact_at(&mut text, 0).unwrap();
                format!(
                    "{} {}",
                    String::from_utf8_lossy(&text),
                    std::fs::read_to_string(root.join("file")).unwrap()
                )
            },
            "lower new",
        ),
        case(
            "names of 255 bytes",
            |root| {
                let long = "n".repeat(255);
                let more = "n".repeat(256);
                let mut said = Vec::new();
                std::fs::write(root.join(&long), "x").unwrap();
                said.push(errno(&std::fs::rename(root.join("file"), root.join(&long))));
                said.push(errno(&std::fs::remove_file(root.join(&long))));
                said.push(errno(&std::fs::create_dir(root.join(&long))));
                said.push(errno(&std::fs::remove_dir(root.join(&long))));
                said.push(errno(&std::os::unix::fs::symlink("x", root.join(&long))));
                said.push(errno(&std::fs::remove_file(root.join(&long))));
                said.push(errno(&std::fs::create_dir(root.join(&more))));
                said.push(errno(&std::fs::metadata(root.join(&more))));
                format!("{said:?}")
            },
            "[0, 0, 0, 0, 0, 0, 36, 36]",
        ),
        case(
            "a folder is removed when all that it shows is removed",
            |root| {
                let mut said = vec![errno(&std::fs::remove_dir(root.join("dir")))];
                std::fs::remove_file(root.join("dir/one")).unwrap();
                std::fs::remove_file(root.join("dir/two")).unwrap();
                said.push(errno(&std::fs::remove_dir(root.join("dir"))));
                std::fs::remove_dir_all(root.join("dir/sub")).unwrap();
                said.push(errno(&std::fs::remove_dir(root.join("dir"))));
                std::fs::create_dir(root.join("dir")).unwrap();
                format!("{said:?} {:?}", sorted(&root.join("dir")))
            },
            r#"[39, 39, 0] """#,
        ),
        case(
            "a folder that replaces another hides what was there",
            |root| {
                std::fs::create_dir(root.join("fresh")).unwrap();
                std::fs::write(root.join("fresh/f"), "f").unwrap();
                let full = errno(&std::fs::rename(root.join("fresh"), root.join("dir")));
                std::fs::remove_dir_all(root.join("dir")).unwrap();
                std::fs::rename(root.join("fresh"), root.join("dir")).unwrap();
                format!(
                    "{full} {} {}",
                    sorted(&root.join("dir")),
                    root.join("fresh").exists()
                )
            },
            "39 f false",
        ),
        case(
            "an emptied folder is replaced",
            |root| {
                std::fs::create_dir(root.join("fresh")).unwrap();
                std::fs::write(root.join("fresh/f"), "f").unwrap();
                std::fs::remove_file(root.join("dir/sub/deep")).unwrap();
                std::fs::rename(root.join("fresh"), root.join("dir/sub")).unwrap();
                sorted(&root.join("dir/sub"))
            },
            "f",
        ),
        case(
            "exchange of a file and a folder",
            |root| {
                std::fs::create_dir(root.join("fresh")).unwrap();
                std::fs::write(root.join("fresh/f"), "f").unwrap();
                let first = exchange(
                    &root.join("fresh"),
                    &root.join("file"),
                    RenameFlags::EXCHANGE,
                );
                let missing = exchange(
                    &root.join("fresh"),
                    &root.join("none"),
                    RenameFlags::EXCHANGE,
                );
                format!(
                    "{first} {missing} {} {}",
                    sorted(&root.join("file")),
                    std::fs::read_to_string(root.join("fresh")).unwrap()
                )
            },
            "0 2 f lower content\n",
        ),
        case(
            "no replacement where none is wanted",
            |root| {
                std::fs::write(root.join("new"), "n").unwrap();
                let refused = exchange(
                    &root.join("new"),
                    &root.join("file"),
                    RenameFlags::NOREPLACE,
                );
                std::fs::remove_file(root.join("file")).unwrap();
                let done = exchange(
                    &root.join("new"),
                    &root.join("file"),
                    RenameFlags::NOREPLACE,
                );
                format!(
                    "{refused} {done} {}",
                    std::fs::read_to_string(root.join("file")).unwrap()
                )
            },
            "17 0 n",
        ),
        Case {
            overlays: Some("18"),
            ..case(
                "a lower folder is not renamed",
                |root| exchange(&root.join("dir"), &root.join("other"), RenameFlags::empty()),
                "0",
            )
        },
        case(
            "new files in a set-group-id folder",
            |root| {
                std::fs::write(root.join("group/f"), "").unwrap();
                std::fs::create_dir(root.join("group/d")).unwrap();
                let of = |name: &str| {
                    let meta = std::fs::metadata(root.join(name)).unwrap();
                    format!("{}:{:o}", meta.gid(), meta.mode())
                };
                format!("{} {}", of("group/f"), of("group/d"))
            },
            "7:100644 7:42755",
        ),
        case(
            "a default list of rights is inherited, and the umask is not applied",
            |root| {
                let mut list = 2_u32.to_le_bytes().to_vec();
                for (tag, rights, id) in [
                    (1_u16, 7_u16, u32::MAX),
                    (2, 7, 33),
                    (4, 5, u32::MAX),
                    (16, 7, u32::MAX),
                    (32, 0, u32::MAX),
                ] {
                    list.extend(tag.to_le_bytes());
                    list.extend(rights.to_le_bytes());
                    list.extend(id.to_le_bytes());
                }
                rustix::fs::setxattr(
                    root.join("dir"),
                    "system.posix_acl_default",
                    &list,
                    XattrFlags::empty(),
                )
                .unwrap();
                std::fs::remove_file(root.join("dir/one")).unwrap();
                let make = |name: &str| {
                    let path = root.join(name);
                    drop(
                        rustix::fs::open(
                            &path,
                            rustix::fs::OFlags::CREATE,
                            Mode::from_raw_mode(0o666),
                        )
                        .unwrap(),
                    );
                    let mut value = [0; 256];
                    let n = rustix::fs::getxattr(&path, "system.posix_acl_access", &mut value[..])
                        .unwrap_or(0);
                    format!("{:o} {n}", std::fs::metadata(&path).unwrap().mode())
                };
                // One where a whiteout is, one where nothing is.
                format!("{} {}", make("dir/one"), make("dir/three"))
            },
            "100660 44 100660 44",
        ),
        case(
            "a change of owner takes set-id bits away",
            |root| {
                std::os::unix::fs::chown(root.join("su"), Some(3), Some(4)).unwrap();
                let meta = std::fs::metadata(root.join("su")).unwrap();
                format!("{}:{} {:o}", meta.uid(), meta.gid(), meta.mode())
            },
            "3:4 100755",
        ),
        case(
            "a write by somebody else takes set-id bits away",
            |root| {
                std::fs::set_permissions(root.join("su"), std::fs::Permissions::from_mode(0o6777))
                    .unwrap();
                let status = std::process::Command::new("setpriv")
                    .args([
                        "--reuid=5",
                        "--regid=5",
                        "--clear-groups",
                        "sh",
                        "-c",
                        "echo x >> \"$0\"",
                    ])
                    .arg(root.join("su"))
                    .status();
                assert!(status.unwrap().success());
                format!("{:o}", std::fs::metadata(root.join("su")).unwrap().mode())
            },
            "100777",
        ),
        case(
            "files are removed while they are listed",
            |root| {
                let mut removed = 0;
                for n in 0..700 {
                    std::fs::write(root.join(format!("many/new{n}")), "x").unwrap();
                }
                for entry in std::fs::read_dir(root.join("many")).unwrap() {
                    std::fs::remove_file(entry.unwrap().path()).unwrap();
                    removed += 1;
                }
                format!(
                    "{removed} {:?}",
                    errno(&std::fs::remove_dir(root.join("many")))
                )
            },
            "800 0",
        ),
        case(
            "sparse files stay sparse",
            |root| {
                std::fs::OpenOptions::new()
                    .write(true)
                    .open(root.join("sparse"))
                    .unwrap()
                    .write_all_at(b"s", 0)
                    .unwrap();
                let meta = std::fs::metadata(root.join("sparse")).unwrap();
                let mut end = [0; 3];
                std::fs::File::open(root.join("sparse"))
                    .unwrap()
                    .read_exact_at(&mut end, meta.len() - 3)
                    .unwrap();
                format!(
                    "{} {} {}",
                    meta.len(),
                    meta.blocks() < 200,
                    String::from_utf8_lossy(&end)
                )
            },
            "67108864 true end",
        ),
        case(
            "attributes that look like marks are none",
            |root| {
                let path = root.join("dir");
                rustix::fs::setxattr(&path, "user.overlay.opaque", b"y", XattrFlags::empty())
                    .unwrap();
                let mut value = [0; 8];
                let n = rustix::fs::getxattr(&path, "user.overlay.opaque", &mut value[..]).unwrap();
                let missing = rustix::fs::getxattr(root.join("file"), "user.none", &mut value[..]);
                let removed = rustix::fs::removexattr(&path, "user.overlay.opaque");
                let again = rustix::fs::removexattr(&path, "user.overlay.opaque");
                format!(
                    "{n} {} {} {} {}",
                    said(&missing),
                    sorted(&path),
                    said(&removed),
                    said(&again)
                )
            },
            "1 61 one sub two 0 61",
        ),
        case(
            "locks hold between two who opened a file",
            |root| {
                let one = std::fs::File::open(root.join("file")).unwrap();
                let two = std::fs::File::open(root.join("file")).unwrap();
                one.lock().unwrap();
                let busy = two.try_lock().is_err();
                drop(one);
                format!("{busy} {}", two.try_lock().is_ok())
            },
            "true true",
        ),
        case(
            "sockets and FIFOs",
            |root| {
                let listener = std::os::unix::net::UnixListener::bind(root.join("s")).unwrap();
                let connected = std::os::unix::net::UnixStream::connect(root.join("s")).is_ok();
                drop(listener);
                rustix::fs::mknodat(
                    rustix::fs::CWD,
                    root.join("p"),
                    FileType::Fifo,
                    Mode::RUSR,
                    0,
                )
                .unwrap();
                let gone = [
                    errno(&std::fs::remove_file(root.join("s"))),
                    errno(&std::fs::remove_file(root.join("p"))),
                ];
                format!("{connected} {gone:?}")
            },
            "true [0, 0]",
        ),
        case(
            "a folder that is worked in is removed",
            |root| {
                let dir = std::fs::File::open(root.join("dir/sub")).unwrap();
                std::fs::remove_dir_all(root.join("dir/sub")).unwrap();
                let made = rustix::fs::openat(&dir, "x", rustix::fs::OFlags::CREATE, Mode::RUSR);
                format!("{} {}", dir.metadata().unwrap().is_dir(), said(&made))
            },
            "true 2",
        ),
        Case {
            // The inode number changes with the copy; ours keeps it.
            kernel: Some("false 2 both file"),
            ..case(
                "links: of their own, and of the lower layer",
                |root| {
                    std::fs::hard_link(root.join("file"), root.join("dir/again")).unwrap();
                    std::fs::write(root.join("dir/again"), "both").unwrap();
                    let (a, b) = (
                        std::fs::metadata(root.join("file")).unwrap(),
                        std::fs::metadata(root.join("dir/again")).unwrap(),
                    );
                    format!(
                        "{} {} {} {}",
                        a.ino() == b.ino(),
                        a.nlink(),
                        std::fs::read_to_string(root.join("file")).unwrap(),
                        std::fs::read_link(root.join("link")).unwrap().display()
                    )
                },
                "true 2 both file",
            )
        },
        case(
            "deep folders",
            |root| {
                let mut here: std::os::fd::OwnedFd = std::fs::File::open(root).unwrap().into();
                for _ in 0..400 {
                    rustix::fs::mkdirat(&here, "level", Mode::RWXU).unwrap();
                    here = rustix::fs::openat(
                        &here,
                        "level",
                        rustix::fs::OFlags::DIRECTORY,
                        Mode::empty(),
                    )
                    .unwrap();
                }
                drop(
                    rustix::fs::openat(&here, "leaf", rustix::fs::OFlags::CREATE, Mode::RUSR)
                        .unwrap(),
                );
                errno(&std::fs::remove_dir_all(root.join("level"))).to_string()
            },
            "0",
        ),
        case(
            "room is reported",
            |root| {
                let space = rustix::fs::statvfs(root).unwrap();
                format!(
                    "{} {}",
                    space.f_blocks > 0 && space.f_files > 0,
                    space.f_namemax
                )
            },
            "true 255",
        ),
        case(
            "times are set and kept",
            |root| {
                let file = std::fs::File::open(root.join("file")).unwrap();
                let when =
                    std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
                file.set_times(
                    std::fs::FileTimes::new()
                        .set_modified(when)
                        .set_accessed(when),
                )
                .unwrap();
                let early = std::fs::FileTimes::new()
                    .set_modified(std::time::UNIX_EPOCH - std::time::Duration::new(5, 250_000_000));
                std::fs::File::open(root.join("su"))
                    .unwrap()
                    .set_times(early)
                    .unwrap();
                let (a, b) = (
                    file.metadata().unwrap(),
                    std::fs::metadata(root.join("su")).unwrap(),
                );
                format!(
                    "{}.{} {}.{}",
                    a.mtime(),
                    a.mtime_nsec(),
                    b.mtime(),
                    b.mtime_nsec()
                )
            },
            "1000000000.123456789 -6.750000000",
        ),
    ]
}

#[test]
#[ignore = "runs inside a user namespace, started by every_case_as_everywhere_else"]
fn inner_cases() {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let mut wrong = Vec::new();
    for (number, case) in cases().iter().enumerate() {
        for engine in [Engine::Plain, Engine::Kernel, Engine::Ours] {
            rustix::process::umask(Mode::from_raw_mode(0o022));
            let base = scratch(&format!("case-{number}-{engine:?}"));
            let lowers = layers(&base);
            let stage = Stage::new(engine, base.join("stage"), &lowers);
            // The server, a thread of this process, takes no bits away; the case does.
            rustix::process::umask(Mode::from_raw_mode(0o022));
            let root = stage.root();
            let answer = (case.run)(&root);
            let wanted = match engine {
                Engine::Plain => case.wanted,
                Engine::Ours => case.overlays.unwrap_or(case.wanted),
                Engine::Kernel => case.kernel.or(case.overlays).unwrap_or(case.wanted),
            };
            if answer != wanted {
                wrong.push(format!("{}, {engine:?}: {answer}, not {wanted}", case.name));
            }
            stage.end();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "runs inside a user namespace, started by owners_are_shifted_or_remembered"]
fn inner_owners() {
    use coracle::spec::idmap::IdMaps;
    use coracle::spec::runtime::IdMapping;
    let base = scratch("owners");
    let lower = base.join("lower");
    std::fs::create_dir(&lower).unwrap();
    for (name, id) in [("root", 0), ("www", 33), ("far", 60_000)] {
        std::fs::write(lower.join(name), name).unwrap();
        std::os::unix::fs::chown(lower.join(name), Some(id), Some(id)).unwrap();
    }
    let line = |container_id, host_id, size| IdMapping {
        container_id,
        host_id,
        size,
    };
    let map = vec![line(0, 1000, 1), line(1, 1, 99)];
    let options = Options {
        maps: Some(IdMaps {
            uids: map.clone(),
            gids: map,
        }),
        ..Options::default()
    };
    let owners = |root: &Path| -> Vec<(u32, u32)> {
        ["root", "www", "far"]
            .map(|n| {
                std::fs::metadata(root.join(n))
                    .map(|m| (m.uid(), m.gid()))
                    .unwrap()
            })
            .to_vec()
    };
    let stage = Stage::with(
        Engine::Ours,
        base.join("shifted"),
        std::slice::from_ref(&lower),
        options.clone(),
    );
    let wanted = [(1000, 1000), (33, 33), (65534, 65534)];
    assert_eq!(owners(&stage.root()), wanted);
    // The copy has the shown owner.
    std::fs::write(stage.root().join("root"), "changed").unwrap();
    std::os::unix::fs::chown(stage.root().join("www"), Some(7), None).unwrap();
    let wanted = [(1000, 1000), (7, 33), (65534, 65534)];
    assert_eq!(owners(&stage.root()), wanted);
    let on_disk = std::fs::metadata(stage.upper().join("root")).unwrap();
    assert_eq!(on_disk.uid(), 1000);
    let folder = stage.end();
    let again = Stage::with(Engine::Ours, folder, std::slice::from_ref(&lower), options);
    assert_eq!(owners(&again.root()), wanted);
    again.end();

    let squash = || Options {
        squash: true,
        ..Options::default()
    };
    let stage = Stage::with(
        Engine::Ours,
        base.join("squashed"),
        std::slice::from_ref(&lower),
        squash(),
    );
    let root = stage.root();
    std::fs::write(root.join("new"), "n").unwrap();
    std::fs::create_dir(root.join("dir")).unwrap();
    for name in ["new", "dir", "root"] {
        std::os::unix::fs::chown(root.join(name), Some(33), Some(44)).unwrap();
        std::fs::set_permissions(root.join(name), std::fs::Permissions::from_mode(0o4751)).unwrap();
    }
    let shown = |root: &Path, name: &str| {
        let meta = std::fs::metadata(root.join(name)).unwrap();
        format!("{}:{} {:o}", meta.uid(), meta.gid(), meta.mode() & 0o7777)
    };
    for name in ["new", "dir", "root"] {
        assert_eq!(shown(&root, name), "33:44 4751", "{name}");
        let on_disk = std::fs::metadata(stage.upper().join(name)).unwrap();
        assert_eq!(on_disk.uid(), 0, "{name} on disk");
    }
    let folder = stage.end();
    let again = Stage::with(Engine::Ours, folder, std::slice::from_ref(&lower), squash());
    for name in ["new", "dir", "root"] {
        assert_eq!(shown(&again.root(), name), "33:44 4751", "{name} again");
    }
    // Nothing of it shows as an attribute.
    let mut names = [0; 100];
    assert_eq!(
        rustix::fs::listxattr(again.root().join("new"), &mut names[..]),
        Ok(0)
    );
    again.end();
}

#[test]
fn every_case_as_everywhere_else() {
    requires!("unshare", "newuidmap", "setpriv");
    inside("overlay::cases::inner_cases");
}

#[test]
fn owners_are_shifted_or_remembered() {
    requires!("unshare", "newuidmap");
    inside("overlay::cases::inner_owners");
}
