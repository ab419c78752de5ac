//! Devices: nodes of the host, and what vendors describe (CDI).

use std::fs;
use std::path::Path;

use crate::support::{Outcome, World};

fn spec(dir: &Path, name: &str, kind: &str, edits: &str) {
    fs::create_dir_all(dir).unwrap();
    let text = format!(
        r#"{{"cdiVersion":"0.6.0","kind":"{kind}","devices":[
            {{"name":"one","containerEdits":{edits}}},
            {{"name":"all","containerEdits":{{"env":["WHICH=all"]}}}}],
            "containerEdits":{{"env":["VENDOR={kind}"]}}}}"#
    );
    fs::write(dir.join(name), text).unwrap();
}

fn run(w: &World, before: &[&str], flags: &str, script: &str) -> Outcome {
    let mut args = before.to_vec();
    args.extend(["run", "--rm", "--network", "none"]);
    args.extend(flags.split_whitespace());
    args.extend(["busybox", "sh", "-c", script]);
    w.run(&args)
}

#[test]
fn a_described_device_brings_nodes_files_and_variables() {
    let w = World::with_busybox();
    let dir = w.path().join("cdi");
    let share = w.path().join("share");
    fs::create_dir(&share).unwrap();
    fs::write(share.join("lib"), "driver 1").unwrap();
    let edits = format!(
        r#"{{"env":["WHICH=one"],"deviceNodes":[{{"path":"/dev/v/x0","hostPath":"/dev/full","type":"c"}}],
            "mounts":[{{"hostPath":"{}","containerPath":"/usr/v","options":["ro","nosuid","nodev","bind"]}}]}}"#,
        share.display()
    );
    spec(&dir, "v.json", "vendor.com/class", &edits);
    let before = ["--cdi-spec-dir", dir.to_str().unwrap()];
    let flags = "--device vendor.com/class=one";
    let script = "echo $VENDOR $WHICH; stat -c %t:%T /dev/v/x0; cat /usr/v/lib; \
                  touch /usr/v/y 2>/dev/null || echo ' sealed'";
    let want = "vendor.com/class one\n1:7\ndriver 1 sealed";
    assert_eq!(run(&w, &before, flags, script).ok(), want);
    // In a user namespace of its own, too.
    if crate::support::peer::has_subids() {
        let flags = format!("{flags} --userns keep-id");
        assert_eq!(run(&w, &before, &flags, script).ok(), want);
    }
    // containers.conf names the folder; the file is read at every start.
    let conf = w.path().join("c.conf");
    let text = format!("[engine]\ncdi_spec_dirs=[{dir:?}]\n");
    fs::write(&conf, text).unwrap();
    let create = "create --name c --network none --device vendor.com/class=one busybox sh -c";
    let mut args: Vec<&str> = create.split(' ').collect();
    args.push("echo $WHICH");
    let mut command = w.command(&args);
    command.env("CONTAINERS_CONF", &conf);
    Outcome::of(&args, command.output().unwrap()).ok();
    assert_eq!(w.ok(&["start", "-a", "c"]), "one");
    spec(
        &dir,
        "v.json",
        "vendor.com/class",
        r#"{"env":["WHICH=new"]}"#,
    );
    assert_eq!(w.ok(&["start", "-a", "c"]), "new");
    // The person's own mount wins.
    spec(&dir, "v.json", "vendor.com/class", &edits);
    let flags = "--device vendor.com/class=one -v v:/usr/v";
    assert_eq!(run(&w, &before, flags, "ls /usr/v").ok(), "");
}

#[test]
fn gpus_are_those_of_the_vendor_that_is_there() {
    let w = World::with_busybox();
    let dir = w.path().join("cdi");
    let before = ["--cdi-spec-dir", dir.to_str().unwrap()];
    run(&w, &before, "--gpus all", "true")
        .code(125)
        .says("nvidia.com/gpu=all");
    spec(&dir, "amd.json", "amd.com/gpu", "{}");
    let script = "echo $VENDOR $WHICH";
    assert_eq!(
        run(&w, &before, "--gpus all", script).ok(),
        "amd.com/gpu all"
    );
    spec(&dir, "nv.json", "nvidia.com/gpu", r#"{"env":["WHICH=x"]}"#);
    let got = run(&w, &before, "--gpus device=one", script);
    assert_eq!(got.ok(), "nvidia.com/gpu x");
    run(&w, &before, "--gpus 2", "true")
        .code(125)
        .says("nvidia.com/gpu=0");
}

#[test]
fn what_a_description_cannot_have_ends_the_run_with_a_sentence() {
    let w = World::with_busybox();
    let dir = w.path().join("cdi");
    let before = ["--cdi-spec-dir", dir.to_str().unwrap()];
    for (edits, sentence) in [
        (
            r#"{"hooks":[{"hookName":"createContainer","path":"/bin/true"}]}"#,
            "hooks",
        ),
        (
            r#"{"deviceNodes":[{"path":"/dev/none-such"}]}"#,
            "/dev/none-such",
        ),
        (
            r#"{"mounts":[{"hostPath":"/dev/null","containerPath":"/proc/x"}]}"#,
            "/proc",
        ),
    ] {
        spec(&dir, "v.json", "v.com/c", edits);
        run(&w, &before, "--device v.com/c=one", "true")
            .code(125)
            .says(sentence);
    }
    run(&w, &before, "--device v.com/c=two", "true")
        .code(125)
        .says("known are v.com/c=all, v.com/c=one");
    assert_eq!(w.ok(&["ps", "-aq"]), "");
}

#[test]
fn nodes_of_the_host_are_bound_in_every_user_namespace() {
    let w = World::with_busybox();
    let script = "stat -c %t:%T /dev/mine; echo x 2>/dev/null >/dev/mine || echo full";
    for more in [
        "",
        "--userns keep-id",
        "--userns nomap",
        "--privileged",
        "-u 7",
    ] {
        if !more.is_empty() && !crate::support::peer::has_subids() {
            continue;
        }
        let flags = format!("--device /dev/full:/dev/mine {more}");
        let got = run(&w, &[], &flags, script);
        assert_eq!(got.ok(), "1:7\nfull", "{more}");
    }
    for (device, sentence) in [
        ("relative", "not absolute"),
        ("/dev/full:/dev/x:r", "needs root"),
        ("/dev/full:/dev/x:z", "rwm"),
    ] {
        let flags = format!("--device {device}");
        run(&w, &[], &flags, "true").code(125).says(sentence);
    }
}

#[test]
fn images_volumes_and_settings_may_lie_elsewhere() {
    let w = World::new();
    let at = |name: &str| w.path().join(name).to_str().unwrap().to_owned();
    let (images, volumes) = (at("images"), at("volumes"));
    let tar = crate::support::fixture::busybox_file(w.path());
    let all = ["--imagestore", &images, "--volumepath", &volumes];
    let with = |more: &[&str]| w.run(&[&all[..], more].concat());
    with(&["import", "-q", tar.to_str().unwrap(), "busybox"]).ok();
    assert_eq!(w.ok(&["images", "-q"]), "");
    assert_eq!(with(&["images", "-q"]).ok().lines().count(), 1);
    let run = ["run", "--rm", "--network", "none", "-v", "v:/x", "busybox"];
    with(&[&run[..], &["touch", "/x/f"]].concat()).ok();
    assert!(Path::new(&volumes).join("v/_data/f").exists());
    assert!(Path::new(&images).join("layers").exists());
    assert_eq!(w.ok(&["volume", "ls", "-q"]), "");
    // A module of containers.conf, by path and by name.
    let folder = w
        .path()
        .join("home/.config/containers/containers.conf.modules");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("m.conf"), "[containers]\numask='0077'\n").unwrap();
    let umask = [
        "run",
        "--rm",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "umask",
    ];
    let path = folder.join("m.conf");
    for module in ["m.conf", path.to_str().unwrap()] {
        let args = [&["--module", module][..], &umask].concat();
        assert_eq!(with(&args).ok(), "0077");
    }
    with(&["--module", "none.conf", "run", "busybox"])
        .code(125)
        .says("none.conf");
    with(&["system", "reset", "--force"]).ok();
    assert!(!Path::new(&volumes).join("v").exists());
}

#[test]
fn variables_choose_as_podmans_do() {
    requires_subids!();
    let w = World::with_busybox();
    let run = |variables: &[(&str, &str)], args: &str| {
        let args: Vec<&str> = args.split(' ').collect();
        let mut command = w.command(&args);
        command.envs(variables.iter().copied());
        Outcome::of(&args, command.output().unwrap())
    };
    let id = "run --rm --network none busybox id -u";
    let me = crate::support::peer::uid().to_string();
    assert_eq!(run(&[("PODMAN_USERNS", "keep-id")], id).ok(), me);
    let host = "run --rm --network none --userns host busybox id -u";
    assert_eq!(run(&[("PODMAN_USERNS", "keep-id")], host).ok(), "0");
    run(&[("PODMAN_USERNS", "odd")], id).code(125).says("odd");
    let driver = "info --format {{.Store.GraphDriverName}}";
    let vfs = run(&[("STORAGE_DRIVER", "vfs")], driver).ok();
    assert_eq!(vfs, run(&[("CORACLE_STORAGE_DRIVER", "copy")], driver).ok());
    assert_ne!(vfs, run(&[], driver).ok());
    // storage.conf chooses the disk, unless the root is given.
    let conf = w.path().join("storage.conf");
    let text = format!("[storage]\ngraphroot={:?}\n", w.path().join("disk"));
    fs::write(&conf, text).unwrap();
    let args = ["info", "--format", "{{.Store.GraphRoot}}"];
    let mut command = w.command(&args);
    command
        .env_remove("CORACLE_ROOT")
        .env("CONTAINERS_STORAGE_CONF", &conf);
    let root = Outcome::of(&args, command.output().unwrap()).ok();
    assert!(
        root.starts_with(w.path().join("disk").to_str().unwrap()),
        "{root}"
    );
    run(&[("CONTAINERS_CONF", "/nowhere.conf")], id)
        .code(125)
        .says("CONTAINERS_CONF");
}

/// A command with a containers.conf of this text.
fn with_conf(w: &World, text: &str, env: &[(&str, &str)], args: &[&str]) -> Outcome {
    let file = w.path().join("containers.conf");
    fs::write(&file, text).unwrap();
    let mut command = w.command(args);
    command
        .env("CONTAINERS_CONF", &file)
        .envs(env.iter().copied());
    Outcome::of(args, command.output().unwrap())
}

#[test]
fn keys_that_have_no_effect_are_told_once() {
    let w = World::with_busybox();
    let run = ["run", "--rm", "--network", "none", "busybox", "true"];
    let text = "[engine]\nnum_locks=7\nruntime='runc'\nevents_loger='none'\n[machine]\ncpus=2\n";
    let first = with_conf(&w, text, &[], &run).code(0).stderr;
    for word in [
        "num_locks in [engine] has no effect",
        "coracle starts containers itself",
        "unknown key events_loger in [engine]",
        "[machine] has no effect",
    ] {
        assert!(first.contains(word), "{word:?} is not in {first}");
    }
    assert_eq!(with_conf(&w, text, &[], &run).code(0).stderr, "");
    // Another file is another matter.
    let again = with_conf(&w, "[engine]\nnum_locks=7\n", &[], &run);
    assert!(again.code(0).stderr.contains("num_locks"));
    // Nothing is told of a file that has only what works.
    let fine = "[engine]\nnetwork_cmd_options=['mtu=1500']\n[containers]\ntz='local'\n";
    assert_eq!(with_conf(&w, fine, &[], &run).code(0).stderr, "");
}

#[test]
fn the_engines_settings_are_followed() {
    let w = World::with_busybox();
    let place = w.path().join("vols");
    let events = w.path().join("log/events");
    let text = format!(
        "[engine]\nvolume_path={place:?}\nevents_logfile_path={events:?}\nenv=['STORAGE_DRIVER=copy']\n"
    );
    with_conf(&w, &text, &[], &["volume", "create", "v"]).ok();
    assert!(place.join("coracle/v/_data").is_dir());
    assert!(fs::read_to_string(&events).unwrap().contains("\"v\""));
    let shown = with_conf(&w, &text, &[], &["events", "--stream=false"]);
    assert!(shown.stdout.contains("volume create v"), "{}", shown.stdout);
    let driver = ["info", "--format", "{{.Store.GraphDriverName}}"];
    let vfs = with_conf(&w, "", &[("STORAGE_DRIVER", "vfs")], &driver).ok();
    assert_eq!(with_conf(&w, &text, &[], &driver).ok(), vfs);
    // The environment itself is stronger, and flags are stronger than both.
    let overlay = [("STORAGE_DRIVER", "overlay")];
    assert_ne!(with_conf(&w, &text, &overlay, &driver).ok(), vfs);
    let other = w.path().join("other");
    let args = [
        "--volumepath",
        other.to_str().unwrap(),
        "volume",
        "create",
        "x",
    ];
    with_conf(&w, &text, &[], &args).ok();
    assert!(other.join("x").is_dir());
    with_conf(&w, &text, &[], &["system", "reset", "-f"]).ok();
    for (text, says) in [
        ("[engine]\nenv=['X']", "NAME=value"),
        ("[engine]\nevents_logger='syslog'", "file, journald, none"),
        (
            "[engine]\nevents_logfile_max_size='big'",
            "events_logfile_max_size",
        ),
    ] {
        with_conf(&w, text, &[], &["ps"]).code(125).says(says);
    }
    let quota = [("STORAGE_OPTS", "overlay.size=1g")];
    with_conf(&w, "", &quota, &["ps"])
        .code(125)
        .says("STORAGE_OPTS");
    with_conf(
        &w,
        "",
        &[("STORAGE_OPTS", "overlay.mount_program=/x")],
        &["ps"],
    )
    .ok();
    let args = ["--network-cmd-path", "/none", "ps"];
    w.run(&args).code(125).says("/none is no program");
    w.ok(&["--network-cmd-path", "/bin/sh", "ps"]);
}

#[test]
fn events_go_where_they_are_wanted() {
    let w = World::with_busybox();
    let logger = |name: &str| format!("[engine]\nevents_logger='{name}'\n");
    let list = ["events", "--stream=false"];
    with_conf(&w, &logger("none"), &[], &["volume", "create", "lost"]).ok();
    with_conf(&w, &logger("none"), &[], &list)
        .code(125)
        .says("none are kept");
    with_conf(
        &w,
        &logger("none"),
        &[],
        &["--events-backend", "file", "volume", "create", "v"],
    )
    .ok();
    let kept = w.ok(&list);
    assert!(
        kept.contains("create v") && !kept.contains("lost"),
        "{kept}"
    );
    // Without a journal a shared file falls back; who asks for it by name hears why not.
    let nowhere = w.path().join("nowhere");
    let nowhere = [("CORACLE_JOURNAL", nowhere.to_str().unwrap())];
    with_conf(
        &w,
        &logger("journald"),
        &nowhere,
        &["volume", "create", "w"],
    )
    .ok();
    assert!(w.ok(&list).contains("create w"));
    with_conf(&w, "", &nowhere, &["--events-backend=journald", "ps"])
        .code(125)
        .says("no systemd journal listens");
    // A journal that is one socket and one program.
    let socket = w.path().join("journal");
    let listener = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    let journal = [("CORACLE_JOURNAL", socket.to_str().unwrap())];
    with_conf(
        &w,
        &logger("journald"),
        &journal,
        &["volume", "create", "j"],
    )
    .ok();
    let mut buffer = [0; 8192];
    let n = listener.recv(&mut buffer).unwrap();
    let entry = String::from_utf8_lossy(&buffer[..n]).into_owned();
    assert!(entry.starts_with("MESSAGE=volume create j\n"), "{entry}");
    let event = entry
        .lines()
        .find_map(|l| l.strip_prefix("CORACLE_EVENT="))
        .unwrap();
    let json = serde_json::json!({ "CORACLE_EVENT": event }).to_string();
    let bin = w.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let program = bin.join("journalctl");
    let root = w.data().display().to_string();
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--lines=all*CORACLE_ROOT={root}) cat <<'E'\n{json}\nE\n;; esac\n"
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(
        &program,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let both = [journal[0], ("PATH", path.as_str())];
    let shown = with_conf(&w, &logger("journald"), &both, &list);
    assert!(shown.stdout.contains("volume create j"), "{shown:?}");
    assert!(!w.ok(&list).contains("create j"));
    let name = ["info", "--format", "{{.Host.EventLogger}}"];
    assert_eq!(
        with_conf(&w, &logger("journald"), &both, &name).ok(),
        "journald"
    );
}
