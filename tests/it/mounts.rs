//! `-v`, `--mount`, `--tmpfs` and `--volumes-from`, by what is seen inside and left outside.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::support::{Outcome, World};

/// The image `filled`: busybox and `/data/f`, `/data/sub/g`; the folder `h` on the host.
fn world() -> World {
    let world = World::with_busybox();
    let script = "mkdir -p /data/sub; echo image >/data/f; echo deep >/data/sub/g; chmod 751 /data";
    run(&world, "--name made", "busybox", script).ok();
    world.ok(&["commit", "-q", "made", "filled"]);
    world.ok(&["rm", "made"]);
    fs::create_dir_all(world.path().join("h/in")).unwrap();
    fs::write(world.path().join("h/f"), "host\n").unwrap();
    world
}

fn run(world: &World, flags: &str, image: &str, script: &str) -> Outcome {
    let mut args = vec!["run", "--network", "none"];
    args.extend(flags.split_whitespace());
    args.extend([image, "sh", "-c", script]);
    world.run(&args)
}

fn inside(world: &World, flags: &str, script: &str) -> String {
    run(world, &format!("--rm {flags}"), "filled", script).ok()
}

#[test]
fn a_folder_is_given_to_the_containers_user_and_back() {
    requires_subids!();
    let w = world();
    let seen = "stat -c %u:%g /m /m/f /m/in | sort -u";
    assert_eq!(inside(&w, "-u 1000:1000 -v ./h:/m:U", seen), "1000:1000");
    let owner = || fs::metadata(w.path().join("h/f")).unwrap().uid();
    assert_ne!(owner(), crate::support::peer::uid());
    assert_eq!(inside(&w, "-v ./h:/m:U", seen), "0:0");
    assert_eq!(owner(), crate::support::peer::uid());
    let bind = "-u 7 --mount type=bind,src=./h,dst=/m,U=true";
    assert_eq!(inside(&w, bind, "stat -c %u /m/f"), "7");
    assert_eq!(inside(&w, "-v ./h:/m:U", seen), "0:0");
    // A volume, and a file system in memory.
    let volume = "-u 9:9 --mount type=volume,src=v,dst=/data,U";
    assert_eq!(inside(&w, volume, "stat -c %u:%g /data/f"), "9:9");
    let memory = "-u 9:9 --mount type=tmpfs,dst=/data,U";
    let both = "stat -c %u:%g /data /data/f; echo more >>/data/f && cat /data/f";
    assert_eq!(inside(&w, memory, both), "9:9\n9:9\nimage\nmore");
}

#[test]
fn an_overlay_mount_leaves_the_folder_alone() {
    let w = world();
    let script = "echo new >/m/n; rm /m/f; ls /m";
    assert_eq!(inside(&w, "-v ./h:/m:O", script), "in\nn");
    assert!(w.path().join("h/f").exists() && !w.path().join("h/n").exists());
    // Nothing is left of it at the next start either.
    run(&w, "--name again -v ./h:/m:O", "filled", script).ok();
    assert_eq!(w.ok(&["start", "-a", "again"]), "in\nn");
    // With folders of the person's the changes stay there.
    for dir in ["up", "work"] {
        fs::create_dir(w.path().join(dir)).unwrap();
    }
    let kept = "-v ./h:/m:O,upperdir=./up,workdir=./work";
    assert_eq!(inside(&w, kept, script), "in\nn");
    assert_eq!(inside(&w, kept, "ls /m"), "in\nn");
    assert_eq!(fs::read(w.path().join("up/n")).unwrap(), b"new\n");
    assert!(w.path().join("h/f").exists());
    run(&w, "-v ./h:/m:O,upperdir=./up", "filled", "true")
        .code(125)
        .says("go together");
}

#[test]
fn an_images_files_can_be_mounted() {
    let w = world();
    let seal = "cat /i/data/f; touch /i/x 2>/dev/null || echo sealed";
    let flags = "--mount type=image,src=filled,dst=/i";
    assert_eq!(inside(&w, flags, seal), "image\nsealed");
    let flags = "--mount type=image,source=filled,target=/i,rw=true";
    assert_eq!(inside(&w, flags, "touch /i/x && ls /i/x"), "/i/x");
    // What was written is gone.
    assert_eq!(
        inside(&w, flags, "ls /i/x 2>/dev/null || echo none"),
        "none"
    );
    let flags = "--mount type=image,src=filled,dst=/i,subpath=data/sub";
    assert_eq!(inside(&w, flags, "cat /i/g"), "deep");
    let flags = "--mount type=image,src=nothing,dst=/i";
    run(&w, flags, "filled", "true").code(125).says("nothing");
}

#[test]
fn memory_begins_with_what_the_image_has_there() {
    let w = world();
    let look = "cat /data/f /data/sub/g; stat -c %a /data";
    for flags in ["--tmpfs /data", "--mount type=tmpfs,dst=/data"] {
        assert_eq!(inside(&w, flags, look), "image\ndeep\n751", "{flags}");
    }
    let flags = "--tmpfs /data:mode=700,size=2m";
    let script = "stat -c %a /data; df -k /data | tail -1 | awk '{print $2}'";
    assert_eq!(inside(&w, flags, script), "700\n2048");
    let flags = "--mount type=tmpfs,dst=/data,notmpcopyup,tmpfs-size=1m,tmpfs-mode=1750";
    let script = "ls /data; stat -c %a /data; df -k /data | tail -1 | awk '{print $2}'";
    assert_eq!(inside(&w, flags, script), "1750\n1024");
    let options = "awk '$5==\"/x\" {print $6}' /proc/self/mountinfo";
    for (flags, want) in [
        ("--tmpfs /x:ro,noexec", "ro,nosuid,nodev,noexec,relatime"),
        ("--tmpfs /x:suid,dev,noatime", "rw,noatime"),
        (
            "--mount type=tmpfs,dst=/x,ro,noatime",
            "ro,nosuid,nodev,noatime",
        ),
        ("--mount type=ramfs,dst=/x", "rw,nosuid,nodev,relatime"),
    ] {
        assert_eq!(inside(&w, flags, options), want, "{flags}");
    }
    let flags = "--mount type=ramfs,dst=/x,tmpfs-mode=711";
    assert_eq!(inside(&w, flags, "stat -c %a /x"), "711");
    // The size is a limit.
    let script = "dd if=/dev/zero of=/x/f bs=1k count=2000 2>/dev/null || echo full";
    assert_eq!(inside(&w, "--tmpfs /x:size=1m", script), "full");
}

#[test]
fn volumes_take_the_images_content_once() {
    let w = world();
    let flags = "--mount type=volume,src=v,dst=/data";
    let script = "cat /data/f; stat -c %a /data; echo own >/data/f";
    assert_eq!(inside(&w, flags, script), "image\n751");
    assert_eq!(inside(&w, flags, "cat /data/f"), "own");
    let flags = "--mount type=volume,src=v,dst=/x,subpath=sub,ro";
    let script = "cat /x/g; touch /x/y 2>/dev/null || echo sealed";
    assert_eq!(inside(&w, flags, script), "deep\nsealed");
    let flags = "--mount type=volume,src=bare,dst=/data,volume-nocopy,volume-label=a=b";
    assert_eq!(inside(&w, flags, "ls /data"), "");
    let label = w.ok(&["volume", "inspect", "--format", "{{.Labels.a}}", "bare"]);
    assert_eq!(label, "b");
    let flags = "--mount type=volume,src=v,dst=/x,subpath=nope";
    run(&w, flags, "filled", "true").code(125).says("nope");
    run(&w, "-v v:/data:nocopy,frob", "filled", "true")
        .code(125)
        .says("frob");
}

#[test]
fn a_bind_has_the_options_asked_for() {
    let w = world();
    let options = "awk '$5==\"/m\" {print $6,$7}' /proc/self/mountinfo";
    let bind = "--mount type=bind,src=./h,dst=/m";
    let words = inside(&w, &format!("{bind},ro,noexec,nosuid"), options);
    for word in ["ro", "noexec", "nosuid"] {
        assert!(words.split([',', ' ']).any(|o| o == word), "{words}");
    }
    let script = "echo x >/m/made && cat /m/made";
    assert_eq!(
        inside(&w, &format!("{bind},bind-nonrecursive"), script),
        "x"
    );
    assert!(w.path().join("h/made").exists());
    for propagation in ["rprivate", "rslave"] {
        let flags = format!("{bind},bind-propagation={propagation}");
        assert_eq!(inside(&w, &flags, "cat /m/f"), "host");
    }
    let flags = "--mount type=bind,src=./h/f,dst=/deep/er/file";
    assert_eq!(inside(&w, flags, "cat /deep/er/file"), "host");
    run(&w, "--mount type=bind,src=./none,dst=/m", "filled", "true")
        .code(125)
        .says("none");
    run(&w, &format!("{bind},frob"), "filled", "true")
        .code(125)
        .says("frob");
    // Called as docker, -v makes the folder; as podman it does not.
    run(&w, "-v ./none:/m", "filled", "true").code(125);
    assert!(!w.path().join("none").exists());
    let docker = w.path().join("docker");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_coracle"), &docker).unwrap();
    let args = "run --rm --network none -v ./none:/m filled touch /m/x";
    let mut command = std::process::Command::new(&docker);
    command.args(args.split(' '));
    w.settle(&mut command);
    Outcome::of(&[args], command.output().unwrap()).ok();
    assert!(w.path().join("none/x").exists());
}

#[test]
fn every_path_that_fits_a_pattern_is_mounted() {
    let w = world();
    for name in ["a.so", "b.so", "c.txt"] {
        fs::write(w.path().join("h").join(name), name).unwrap();
    }
    let script = "ls /libs; cat /libs/b.so; touch /libs/a.so 2>/dev/null || echo ' sealed'";
    let flags = "--mount type=glob,src=./h/*.so,dst=/libs,ro";
    assert_eq!(inside(&w, flags, script), "a.so\nb.so\nb.so sealed");
    let own = w.path().join("h").display().to_string();
    let flags = format!("--mount type=glob,src={own}/?.txt");
    assert_eq!(inside(&w, &flags, &format!("cat {own}/c.txt")), "c.txt");
    run(&w, "--mount type=glob,src=./h/*.none", "filled", "true")
        .code(125)
        .says("nothing fits");
}

#[test]
fn mounts_of_others_are_taken_over() {
    let w = world();
    let flags = "--name source -v v:/d1 -v ./h:/hb:ro --tmpfs /t";
    run(&w, flags, "filled", "true").ok();
    let script = "cat /hb/f; echo x >/d1/x; touch /hb/y 2>/dev/null || echo sealed; \
                  grep -c ' /t ' /proc/self/mountinfo";
    let got = run(&w, "--rm --volumes-from source", "filled", script);
    assert_eq!(got.stdout, "host\nsealed\n0\n");
    let got = inside(&w, "--volumes-from source:ro", "touch /d1/y || cat /d1/x");
    assert_eq!(got, "x");
    // An own mount at the place wins.
    let got = inside(&w, "--volumes-from source -v other:/d1", "ls /d1");
    assert_eq!(got, "");
    // The volume lives on without the first one.
    run(&w, "--name heir --volumes-from source", "filled", "true").ok();
    w.ok(&["rm", "-v", "source"]);
    assert_eq!(w.ok(&["volume", "ls", "-q"]), "other\nv");
    run(&w, "--volumes-from nobody", "filled", "true")
        .code(125)
        .says("nobody");
}

#[test]
fn volume_options_hold_wherever_it_is_mounted() {
    let w = world();
    let create = |args: &str| {
        let mut all = vec!["volume", "create"];
        all.extend(args.split(' '));
        w.run(&all)
    };
    create("-o type=tmpfs -o o=size=2m,nodev,noexec,mode=700 mem").ok();
    let script = "df -k /x | tail -1 | awk '{print $2}'; stat -c %a /x; \
                  awk '$5==\"/x\" {print $6}' /proc/self/mountinfo";
    let got = inside(&w, "-v mem:/x", script);
    assert_eq!(got, "2048\n700\nrw,nosuid,nodev,noexec,relatime");
    let dir = w.path().join("h");
    let device = format!("device={}", dir.display());
    create(&format!("-o type=none -o {device} -o o=bind,ro folder")).ok();
    let script = "cat /x/f; touch /x/y 2>/dev/null || echo sealed";
    assert_eq!(inside(&w, "-v folder:/x", script), "host\nsealed");
    create("-o nocopy bare").ok();
    assert_eq!(inside(&w, "-v bare:/data", "ls /data"), "");
    create("-o type=nfs -o device=:/x nfs")
        .code(125)
        .says("nfs");
    create("-o size=5m quota").code(125).says("quota");
    if crate::support::peer::has_subids() {
        create("-o uid=5 -o gid=6 owned").ok();
        assert_eq!(inside(&w, "-v owned:/x", "stat -c %u:%g /x"), "5:6");
    }
}

#[test]
fn a_mount_shows_its_owners_through_a_map_of_its_own() {
    requires_subids!();
    let w = world();
    let memory = ["-o", "type=tmpfs", "-o", "o=mode=755", "mem"];
    w.ok(&[&["volume", "create"], &memory[..]].concat());
    // The file system's 0 to 9 show as the ids 100 to 109 of the shared user namespace.
    let map = "idmap=uids=0-100-10#10-500-1;gids=0-200-10";
    let script = "stat -c %u:%g /x; touch /x/f 2>/dev/null || echo sealed; id -u";
    let got = inside(&w, &format!("-v mem:/x:{map}"), script);
    // Root inside has no place in the map: it owns nothing there and leaves nothing behind.
    assert_eq!(got, "100:200\nsealed\n0");
    let mount = format!("--mount type=volume,src=mem,dst=/x,{map} -u 100:200");
    let script = "touch /x/f && stat -c %u:%g /x/f";
    assert_eq!(inside(&w, &mount, script), "100:200");
    // Without a map: the container's own, so that the file system's root is root inside.
    let script = "stat -c %u:%g /x; touch /x/f && stat -c %u:%g /x/f";
    let auto = "--userns=auto:size=2000";
    let unmapped = inside(&w, &format!("{auto} -v mem:/x"), "stat -c %u:%g /x");
    assert_eq!(unmapped, "65534:65534");
    let got = inside(&w, &format!("{auto} -v mem:/x:idmap"), script);
    assert_eq!(got, "0:0\n0:0");
    let got = inside(
        &w,
        &format!("{auto} -v mem:/x:idmap=uids=@0-7-1;gids=@0-8-1"),
        "stat -c %u:%g /x",
    );
    assert_eq!(got, "7:8");
    for (flags, says) in [
        ("-v mem:/x:idmap", "none of its own"),
        ("-v mem:/x:idmap=uids=0-1", "three numbers"),
        (
            "-v mem:/x:idmap=uids=0-4000000000-5;gids=0-1-1",
            "ids that the caller does not have",
        ),
        ("--tmpfs /x:idmap", "unknown option"),
    ] {
        run(&w, flags, "filled", "true").code(125).says(says);
    }
    // What the host mounted is the host's to map.
    if crate::support::peer::uid() != 0 {
        let flags = format!("{auto} -v ./h:/x:idmap");
        run(&w, &flags, "filled", "true")
            .code(125)
            .says("mounted by the host")
            .says("keep-id");
    }
}

#[test]
fn a_link_is_followed_or_made_inside_as_it_is() {
    let w = world();
    std::os::unix::fs::symlink("/data/f", w.path().join("link")).unwrap();
    let bind = "--mount type=bind,src=./link,dst";
    // Followed, it leads nowhere on the host.
    run(&w, &format!("{bind}=/l"), "filled", "true").code(125);
    let script = "readlink /deep/l; cat /deep/l";
    let got = inside(&w, &format!("{bind}=/deep/l,no-dereference"), script);
    assert_eq!(got, "/data/f\nimage");
    // As podman, a second start finds it there.
    let flags = format!("--name again {bind}=/l,no-dereference");
    run(&w, &flags, "filled", "cat /l").ok();
    assert_eq!(w.ok(&["start", "-a", "again"]), "image");
    // A plain file is bound as ever.
    let plain = "--mount type=bind,src=./h/f,dst=/m,no-dereference=true";
    assert_eq!(inside(&w, plain, "cat /m"), "host");
    for (dst, says) in [
        ("/data/sub", "another file"),
        ("/dev/l", "mount of its own"),
    ] {
        let flags = format!("{bind}={dst},no-dereference");
        run(&w, &flags, "filled", "true").code(125).says(says);
    }
}
