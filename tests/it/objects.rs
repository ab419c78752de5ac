//! Volumes, secrets, and the commands about the whole installation.

use crate::support::World;

fn create(w: &World, name: &str, more: &[&str]) {
    let base = ["create", "--name", name, "--network", "none"];
    w.ok(&[&base[..], more, &["busybox", "sleep", "300"]].concat());
}

#[test]
fn volumes_come_and_go_by_name() {
    let w = World::with_busybox();
    // (No digits of an anonymous one: the beginning of a name is enough.)
    assert_eq!(
        w.ok(&["volume", "create", "--label", "tier=db", "vol"]),
        "vol"
    );
    w.run(&["volume", "create", "vol"]).code(125).says("exists");
    assert_eq!(w.ok(&["volume", "create", "--ignore", "vol"]), "vol");
    assert_eq!(w.ok(&["volume", "create"]).len(), 64);
    w.run(&["volume", "exists", "vol"]).code(0);
    w.run(&["volume", "exists", "other"]).code(1);
    w.run(&["volume", "create", "-d", "nfs4", "other"])
        .code(125)
        .says("nfs4");
    let listed = |filter: &str| w.ok(&["volume", "ls", "-q", "--filter", filter]);
    for filter in ["name=vol", "label=tier", "label=tier=db", "label!=none"] {
        let all = listed(filter);
        assert!(all.lines().any(|l| l == "vol"), "{filter}: {all}");
    }
    assert_eq!(listed("label=tier=web"), "");
    w.run(&["volume", "ls", "--filter", "colour=red"])
        .code(125)
        .says("colour");
    let format = "{{.Name}} {{.Driver}} {{.Labels.tier}}";
    assert_eq!(
        w.ok(&["volume", "inspect", "--format", format, "vol"]),
        "vol local db"
    );
    assert_eq!(w.ok(&["volume", "rm", "vol"]), "vol");
    w.run(&["volume", "rm", "vol"])
        .code(1)
        .says("no such volume");
    w.ok(&["volume", "rm", "-f", "vol"]);
    assert_eq!(w.ok(&["volume", "rm", "--all"]).lines().count(), 1);
}

#[test]
fn a_volume_in_use_goes_only_with_its_container() {
    let w = World::with_busybox();
    create(&w, "c", &["-v", "v:/x"]);
    w.ok(&["start", "c"]);
    w.run(&["volume", "rm", "v"]).code(2).says("coracle rm c");
    assert_eq!(w.ok(&["volume", "prune", "-f", "--all"]), "");
    w.run(&["volume", "rm", "-t", "0", "v"])
        .code(125)
        .says("--force");
    assert_eq!(w.ok(&["volume", "rm", "-f", "-t", "0", "v"]), "v");
    assert_eq!(w.ok(&["ps", "-aq"]), "");
    assert_eq!(w.ok(&["volume", "ls", "-q"]), "");
}

#[test]
fn volumes_are_exported_and_imported() {
    let w = World::with_busybox();
    let script = "mkdir /x/d; echo content >/x/d/f; ln -s d/f /x/l; chmod 640 /x/d/f";
    let run = ["run", "--rm", "--network", "none", "-v"];
    w.ok(&[&run[..], &["a:/x", "busybox", "sh", "-c", script]].concat());
    let file = w.path().join("a.tar");
    let file = file.to_str().unwrap();
    w.ok(&["volume", "export", "-o", file, "a"]);
    w.ok(&["volume", "create", "b"]);
    w.ok(&["volume", "import", "b", file]);
    let look = "cat /x/l; stat -c %a /x/d/f";
    let got = w.ok(&[&run[..], &["b:/x", "busybox", "sh", "-c", look]].concat());
    assert_eq!(got, "content\n640");
    // Through a pipe, too.
    w.ok(&["volume", "create", "c"]);
    let bytes = std::fs::read(file).unwrap();
    w.run_with(&["volume", "import", "c", "-"], &bytes).ok();
    let got = w.ok(&[&run[..], &["c:/x", "busybox", "cat", "/x/d/f"]].concat());
    assert_eq!(got, "content");
    w.run_with(&["volume", "import", "c", "-"], b"no tar at all")
        .code(125);
    w.run(&["volume", "export", "none"]).code(125).says("none");
}

#[test]
fn a_transient_container_is_gone_after_a_boot_and_its_name_is_free() {
    let w = World::with_busybox();
    let create = ["--transient-store", "create", "--name", "t", "busybox"];
    let id = w.ok(&create);
    w.ok(&["create", "--name", "stays", "busybox"]);
    w.run(&create).code(125).says("already in use");
    assert_eq!(w.ok(&["ps", "-aq"]).lines().count(), 2);
    // Another boot.
    let folder = w.data().join("containers").join(&id);
    let record = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let boot = std::fs::read_link(folder.join("boot")).unwrap();
    let other = "00000000-0000-0000-0000-000000000000";
    let changed = record.replace(boot.to_str().unwrap(), other);
    assert_ne!(changed, record);
    std::fs::write(folder.join("config.json"), changed).unwrap();
    std::fs::remove_file(folder.join("boot")).unwrap();
    std::os::unix::fs::symlink(other, folder.join("boot")).unwrap();
    assert_eq!(w.ok(&["ps", "-a", "--format", "{{.Names}}"]), "stays");
    w.run(&["inspect", "--type", "container", "t"]).code(125);
    w.run(&["rm", &id]).code(1);
    assert_ne!(w.ok(&create), id);
    w.ok(&["start", "t"]);
    w.ok(&["rm", "-f", "-t", "0", "t", "stays"]);
}

#[test]
fn secrets_are_kept_shown_only_on_demand_and_used() {
    let w = World::with_busybox();
    let file = w.path().join("s");
    std::fs::write(&file, "quiet\n").unwrap();
    let file = file.to_str().unwrap();
    let id = w.ok(&["secret", "create", "--label", "a=b", "s", file]);
    assert_eq!(id.len(), 25);
    w.run(&["secret", "create", "s", file])
        .code(125)
        .says("in use");
    assert_eq!(w.ok(&["secret", "create", "--ignore", "s", file]), id);
    assert!(!w.ok(&["secret", "inspect", "s"]).contains("quiet"));
    let shown = ["secret", "inspect", "--showsecret"];
    let format = ["--format", "{{.SecretData}}", "s"];
    assert_eq!(w.ok(&[&shown[..], &format].concat()), "quiet");
    let mut from_env = w.command(&["secret", "create", "--env", "e", "TOKEN"]);
    assert!(
        from_env
            .env("TOKEN", "fromenv")
            .output()
            .unwrap()
            .status
            .success()
    );
    w.run_with(&["secret", "create", "p", "-"], b"piped").ok();
    let names = ["secret", "ls", "--format", "{{.Name}}", "--filter", "name="];
    assert_eq!(w.ok(&names).lines().count(), 3);
    let run = |secret: &str, script: &str| {
        let args = ["run", "--rm", "--network", "none", "--secret", secret];
        w.run(&[&args[..], &["busybox", "sh", "-c", script]].concat())
    };
    let look = "stat -c %a:%u:%g /run/secrets/s; cat /run/secrets/s";
    assert_eq!(run("s", look).ok(), "444:0:0\nquiet");
    let look = "stat -c %a:%u:%g /etc/t; cat /etc/t";
    assert_eq!(
        run("s,target=/etc/t,mode=0440", look).ok(),
        "440:0:0\nquiet"
    );
    if crate::support::peer::has_subids() {
        let got = run("s,type=mount,target=/etc/t,uid=5,gid=6,mode=0400", look);
        assert_eq!(got.ok(), "400:5:6\nquiet");
    }
    assert_eq!(run("e,type=env,target=T", "echo $T").ok(), "fromenv");
    assert_eq!(run("p,type=env", "echo $p").ok(), "piped");
    run("none", "true").code(125).says("none");
    // The folder of secrets is in memory, and nothing of it stays in the image.
    let args = ["run", "--name", "c", "--network", "none", "--secret", "s"];
    w.ok(&[&args[..], &["busybox", "true"]].concat());
    assert!(!w.ok(&["diff", "c"]).contains("secrets/s"));
    w.ok(&["rm", "c"]);
    w.ok(&["secret", "create", "--replace", "s", file]);
    assert_ne!(w.ok(&["secret", "inspect", "--format", "{{.ID}}", "s"]), id);
    w.run(&["secret", "rm", "p", "none"]).code(125).says("none");
    assert_eq!(w.ok(&["secret", "rm", "--all"]).lines().count(), 2);
    w.run(&["secret", "exists", "s"]).code(1);
}

#[test]
fn the_disks_use_is_told_and_given_back() {
    let w = World::with_busybox();
    create(&w, "kept", &["-v", "used:/x"]);
    w.ok(&["start", "kept"]);
    create(&w, "idle", &["-v", "/anonymous"]);
    w.ok(&["volume", "create", "unused"]);
    let df = "{{.Type}} {{.TotalCount}} {{.Active}}";
    assert_eq!(
        w.ok(&["system", "df", "--format", df]),
        "Images 1 1\nContainers 2 1\nLocal Volumes 3 2\nBuild Cache 0 0"
    );
    assert!(w.ok(&["system", "df", "-v"]).contains("unused"));
    let names = |out: &str| {
        let mut lines: Vec<String> = out.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    w.ok(&["system", "prune", "-f"]);
    assert_eq!(
        names(&w.ok(&["ps", "-a", "--format", "{{.Names}}"])),
        ["kept"]
    );
    assert_eq!(
        names(&w.ok(&["volume", "ls", "-q", "--filter", "name=u"])),
        ["unused", "used"]
    );
    w.ok(&["system", "prune", "-af", "--volumes"]);
    assert_eq!(names(&w.ok(&["volume", "ls", "-q"])), ["used"]);
    assert_eq!(w.ok(&["images", "-q"]).lines().count(), 1);
    // Nobody answers: nothing happens.
    w.run_with(&["system", "reset"], b"n\n");
    w.ok(&["container", "exists", "kept"]);
    w.ok(&["system", "reset", "--force"]);
    for args in [
        &["ps", "-aq"][..],
        &["images", "-q"],
        &["volume", "ls", "-q"],
        &["secret", "ls", "-q"],
    ] {
        assert_eq!(w.ok(args), "", "{args:?}");
    }
}

#[test]
fn unshare_is_the_containers_user_namespace() {
    requires_subids!();
    let w = World::new();
    assert_eq!(w.ok(&["unshare", "id", "-u"]), "0");
    w.run(&["unshare", "sh", "-c", "exit 7"]).code(7);
    w.run(&["unshare", "no-such-program"]).code(127);
    let script = "touch f && chown 5:6 f && stat -c %u:%g f";
    assert_eq!(w.ok(&["unshare", "sh", "-c", script]), "5:6");
    w.ok(&["unshare", "rm", "f"]);
}

#[test]
fn secrets_may_be_kept_by_commands_of_the_persons() {
    let w = World::with_busybox();
    let kept = w.path().join("kept");
    std::fs::create_dir(&kept).unwrap();
    let at = |text: &str| text.replace("DIR", kept.to_str().unwrap());
    let options = [
        at("list=ls DIR"),
        at("lookup=cat DIR/$SECRET_ID"),
        at("store=cat >DIR/$SECRET_ID"),
        at("delete=rm DIR/$SECRET_ID"),
    ];
    let mut args = vec!["secret", "create", "-d", "shell"];
    args.extend(options.iter().flat_map(|o| ["--driver-opts", o]));
    let make = |more: &[&str], text: &[u8]| w.run_with(&[&args[..], more].concat(), text);
    let id = make(&["s", "-"], b"quiet").ok();
    assert_eq!(std::fs::read(kept.join(&id)).unwrap(), b"quiet");
    let own = w.data().join("secrets/s/data");
    assert!(!own.exists(), "it is kept twice");
    let driver = [
        "secret",
        "inspect",
        "--format",
        "{{.Spec.Driver.Name}}",
        "s",
    ];
    assert_eq!(w.ok(&driver), "shell");
    let run = [
        "run",
        "--rm",
        "--network",
        "none",
        "--secret",
        "s",
        "busybox",
    ];
    assert_eq!(
        w.ok(&[&run[..], &["cat", "/run/secrets/s"]].concat()),
        "quiet"
    );
    // Another one in its place: the first goes.
    let second = make(&["--replace", "s", "-"], b"other").ok();
    assert!(!kept.join(&id).exists() && kept.join(&second).exists());
    // A name that is taken leaves nothing behind.
    make(&["s", "-"], b"third").code(125).says("in use");
    assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 1);
    std::fs::remove_file(kept.join(&second)).unwrap();
    let gone = w.run(&[&run[..], &["true"]].concat());
    gone.code(125).says("lookup").says("No such file");
    // The record goes even so, and the person hears that the rest did not.
    w.run(&["secret", "rm", "s"])
        .code(125)
        .says("its content is not");
    w.run(&["secret", "exists", "s"]).code(1);
    let lacks = [
        "secret",
        "create",
        "-d",
        "shell",
        "--driver-opts",
        "list=ls",
        "x",
        "-",
    ];
    w.run_with(&lacks, b"x").code(125).says("lookup=COMMAND");
    w.run_with(&["secret", "create", "-d", "vault", "x", "-"], b"x")
        .code(125)
        .says("use file, pass or shell");
}

#[test]
fn secrets_may_be_kept_in_a_pass_store() {
    requires!("gpg", "gpgconf");
    let w = World::with_busybox();
    // The agent's socket needs a short path.
    let home = tempfile::Builder::new().prefix("gpg").tempdir().unwrap();
    let gpg = |program: &str, words: &[&str]| {
        let mut command = std::process::Command::new(program);
        command.env("GNUPGHOME", home.path()).args(words);
        assert!(command.output().unwrap().status.success(), "{words:?}");
    };
    let key = [
        "--batch",
        "--passphrase",
        "",
        "--quick-gen-key",
        "me@x",
        "default",
        "default",
        "never",
    ];
    gpg("gpg", &key);
    let store = w.path().join("home/.password-store");
    std::fs::create_dir_all(&store).unwrap();
    let folder = format!("gpghomedir={}", home.path().display());
    let create = [
        "secret",
        "create",
        "-d",
        "pass",
        "--driver-opts",
        &folder,
        "s",
        "-",
    ];
    w.run_with(&create, b"quiet")
        .code(125)
        .says(".gpg-id")
        .says("pass init");
    std::fs::write(store.join(".gpg-id"), "me@x\n").unwrap();
    let id = w.run_with(&create, b"quiet").ok();
    let file = store.join(format!("{id}.gpg"));
    assert!(
        !std::fs::read(&file)
            .unwrap()
            .windows(5)
            .any(|w| w == b"quiet")
    );
    let run = [
        "run",
        "--rm",
        "--network",
        "none",
        "--secret",
        "s,type=env,target=S",
        "busybox",
    ];
    assert_eq!(
        w.ok(&[&run[..], &["sh", "-c", "echo $S"]].concat()),
        "quiet"
    );
    w.ok(&["secret", "rm", "s"]);
    assert!(!file.exists());
    // containers.conf may choose the driver.
    let conf = w.path().join("containers.conf");
    let text = format!(
        "[secrets]\ndriver='pass'\n[secrets.opts]\ngpghomedir={:?}\nkey='me@x'\n",
        home.path()
    );
    std::fs::write(&conf, text).unwrap();
    let mut command = w.command(&["secret", "create", "--env", "t", "TOKEN"]);
    command.env("CONTAINERS_CONF", &conf).env("TOKEN", "x");
    assert!(command.output().unwrap().status.success());
    assert_eq!(w.ok(&["secret", "ls", "--format", "{{.Driver}}"]), "pass");
    w.ok(&["secret", "rm", "t"]);
    gpg("gpgconf", &["--kill", "gpg-agent"]);
}
