//! Real namespaces: each case runs in forked children, which have one thread.

use super::*;
use crate::sys::{clone, pidfd};
use std::path::Path;

/// Runs `body` in a single-threaded child; a panic or `Err` fails the test.
pub(crate) fn in_child(body: impl FnOnce() -> std::result::Result<(), String>) {
    let child =
        clone::fork_with(
            || match std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)) {
                Ok(Ok(())) => 0,
                Ok(Err(text)) => {
                    drop(sys::fd::write_all(
                        std::io::stderr(),
                        format!("{text}\n").as_bytes(),
                    ));
                    1
                }
                Err(panic) => {
                    // The harness captures what the panic printed, in this process, and it is lost.
                    let text = panic
                        .downcast_ref::<String>()
                        .map_or("panicked", String::as_str);
                    drop(sys::fd::write_all(
                        std::io::stderr(),
                        format!("{text}\n").as_bytes(),
                    ));
                    2
                }
            },
        )
        .unwrap();
    assert_eq!(pidfd::wait(&child.pidfd).unwrap().code(), 0);
}

fn dirs(at: &Path) -> Dirs {
    Dirs::new(at.join("data"), at.join("run"))
}

fn check<T, E: std::fmt::Debug>(
    what: &str,
    result: std::result::Result<T, E>,
) -> std::result::Result<T, String> {
    result.map_err(|e| format!("{what}: {e:?}"))
}

#[test]
fn the_second_command_joins_what_the_first_one_made() {
    let temp = tempfile::tempdir().unwrap();
    let dirs = dirs(temp.path());
    for expected in [Joined::Created, Joined::Holder] {
        in_child(|| {
            let entered = check("enter", enter(&dirs, Want::Default))?;
            if entered.single {
                return Ok(());
            }
            assert_eq!(entered.joined, expected);
            assert_eq!(rustix::process::geteuid().as_raw(), 0);
            assert_eq!(entered.maps, create::own_maps().unwrap());
            assert_eq!(crate::sys::caps::get().unwrap().effective & 1, 1);
            let again = check("again", enter(&dirs, Want::Default))?;
            assert_eq!(again.joined, Joined::Already);
            Ok(())
        });
    }
    end_holder(&dirs);
}

#[test]
fn many_commands_at_once_end_in_one_namespace() {
    let temp = tempfile::tempdir().unwrap();
    let dirs = dirs(temp.path());
    let children: Vec<_> = (0..20)
        .map(|n| {
            let out = temp.path().join(format!("ns{n}"));
            let dirs = dirs.clone();
            std::thread::spawn(move || {
                in_child(|| {
                    let entered = check("enter", enter(&dirs, Want::Default))?;
                    let inode = namespace::inode(namespace::own(Namespace::User).unwrap()).unwrap();
                    let text = format!("{inode} {}", entered.single);
                    check("write", fs::write(&out, text))
                });
            })
        })
        .collect();
    for child in children {
        child.join().unwrap();
    }
    let seen: std::collections::BTreeSet<String> = (0..20)
        .map(|n| fs::read_to_string(temp.path().join(format!("ns{n}"))).unwrap())
        .filter(|text| text.ends_with("false"))
        .collect();
    assert!(seen.len() <= 1, "{seen:?}");
    end_holder(&dirs);
}

#[test]
fn a_dead_holder_is_replaced() {
    let temp = tempfile::tempdir().unwrap();
    let dirs = dirs(temp.path());
    for _ in 0..2 {
        in_child(|| {
            let entered = check("enter", enter(&dirs, Want::Default))?;
            assert!(entered.single || entered.joined == Joined::Created);
            Ok(())
        });
        end_holder(&dirs);
    }
}

#[test]
fn one_id_is_mapped_without_any_helper() {
    in_child(|| {
        let entered = check("single", create::single())?;
        assert!(entered.single);
        check("finish", finish(&entered, Mounts::Own))?;
        assert_eq!(rustix::process::geteuid().as_raw(), 0);
        assert_eq!(rustix::process::getegid().as_raw(), 0);
        Ok(())
    });
}

#[test]
fn a_holder_keeps_no_descriptor_of_its_command() {
    let temp = tempfile::tempdir().unwrap();
    let dirs = dirs(temp.path());
    let (reader, writer) = sys::fd::pipe().unwrap();
    sys::fd::set_cloexec(&writer, false).unwrap();
    in_child(|| check("enter", enter(&dirs, Want::Default)).map(drop));
    drop(writer);
    assert!(sys::fd::wait_readable(&reader, Some(Duration::from_secs(5))).unwrap());
    end_holder(&dirs);
}

fn end_holder(dirs: &Dirs) {
    let Some(record) = read_json::<Record>(&record_path(dirs)).unwrap() else {
        return;
    };
    let holder = record.holder.open().unwrap();
    pidfd::send_signal(&holder, libc::SIGKILL).unwrap();
    assert!(pidfd::wait_end(&holder, Some(Duration::from_secs(5))).unwrap());
}
