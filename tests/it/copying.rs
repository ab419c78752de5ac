//! `cp` against a container that changes under its hands.

use std::fs;

use crate::support::World;

#[test]
fn a_container_that_swaps_folders_for_links_gains_nothing() {
    let w = World::with_busybox();
    let victim = w.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("f"), "of the host").unwrap();
    // The same path is a folder, a link to the host's absolute path, and one that climbs.
    let outside = victim.display();
    let script = format!(
        "mkdir -p /x; echo ready; while :; do \
         mkdir /x/d; echo inside >/x/d/f; rm -rf /x/d; \
         ln -s {outside} /x/d; rm /x/d; \
         ln -s ../../../../../../../../../../..{outside} /x/d; rm /x/d; done"
    );
    let args = ["run", "-d", "--name", "c", "--network", "none", "busybox"];
    w.ok(&[&args[..], &["sh", "-c", &script]].concat());
    crate::support::peer::wait_for("the loop", || {
        w.run(&["logs", "c"]).stdout.contains("ready")
    });
    let mine = w.path().join("mine");
    fs::write(&mine, "for the container").unwrap();
    let (mine, back) = (mine.to_str().unwrap(), w.path().join("back"));
    let back = back.to_str().unwrap();
    let (mut read, mut wrote) = (0, 0);
    for round in 0..40 {
        for source in ["c:/x/d/f", "c:/x/d"] {
            drop(fs::remove_file(back));
            drop(fs::remove_dir_all(back));
            if w.run(&["cp", source, back]).code == 0 {
                // A link comes out as a link: that is all the container can plant.
                if !fs::symlink_metadata(back).unwrap().is_symlink() {
                    let inner = w.path().join("back/f");
                    let text = fs::read_to_string(back).or_else(|_| fs::read_to_string(inner));
                    let text = text.unwrap_or_default();
                    assert!(
                        ["", "inside\n", "for the container"].contains(&&*text),
                        "{round}: {text}"
                    );
                }
                read += 1;
            }
        }
        for target in ["c:/x/d/f", "c:/x/d/", "c:/x/d/new"] {
            if w.run(&["cp", mine, target]).code == 0 {
                wrote += 1;
            }
        }
    }
    assert!(read + wrote > 0, "no copy ever met the folder");
    let left: Vec<_> = fs::read_dir(&victim).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(fs::read_to_string(victim.join("f")).unwrap(), "of the host");
    w.ok(&["rm", "-f", "-t", "0", "c"]);
}

#[test]
fn a_copy_comes_out_as_a_tree_of_its_own() {
    let w = World::with_busybox();
    // Links are copied as links, and never lead a later copy astray.
    let script = "mkdir /t; echo x >/t/f; ln -s /etc/passwd /t/abs; ln -s ../../../etc /t/up";
    let args = ["run", "--name", "c", "--network", "none", "busybox"];
    w.ok(&[&args[..], &["sh", "-c", script]].concat());
    w.ok(&["cp", "c:/t", "out"]);
    let out = w.path().join("out");
    assert_eq!(fs::read_to_string(out.join("f")).unwrap(), "x\n");
    assert_eq!(
        fs::read_link(out.join("abs")).unwrap().to_str(),
        Some("/etc/passwd")
    );
    assert!(fs::symlink_metadata(out.join("up")).unwrap().is_symlink());
    // A link of the container's as target is followed inside it only.
    fs::write(w.path().join("f"), "new").unwrap();
    w.ok(&["cp", "f", "c:/t/up/made"]);
    assert!(w.ok(&["diff", "c"]).contains("A /etc/made"));
    assert!(!std::path::Path::new("/etc/made").exists());
    // Through tar streams, too.
    let tar = w.path().join("t.tar");
    let mut command = w.command(&["cp", "c:/t/f", "-"]);
    fs::write(&tar, command.output().unwrap().stdout).unwrap();
    let bytes = fs::read(&tar).unwrap();
    w.ok(&["start", "-a", "c"]);
    w.run_with(&["cp", "-", "c:/etc"], &bytes).ok();
    assert!(w.ok(&["diff", "c"]).contains("A /etc/f"));
}
