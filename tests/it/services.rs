//! Containers as services: readiness, sockets and watchdog of systemd's, starting after a boot,
//! quadlets and their generator. systemd itself is in tests/vm (services.sh, pods.sh).

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::World;
use crate::support::http::{Answer, serve};
use crate::support::peer::{self, Mode};
use crate::support::world::Outcome;

const SLEEP: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

/// A manager that listens, and hears the next message.
struct Manager(UnixDatagram);

impl Manager {
    fn new(w: &World) -> Self {
        let socket = UnixDatagram::bind(w.path().join("notify")).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self(socket)
    }

    fn hears(&self) -> String {
        let mut buffer = [0; 512];
        let n = self.0.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    }
}

fn run(w: &World, name: &str, flags: &[&str], more: &[(&str, &str)]) {
    let base = ["run", "-d", "--name", name, "--network", "none"];
    let args = [&base[..], flags, &["busybox", "sh", "-c", SLEEP]].concat();
    let mut command = w.command(&args);
    command.env("NOTIFY_SOCKET", w.path().join("notify"));
    command.envs(more.iter().copied()).stdin(Stdio::null());
    Outcome::of(&args, command.output().unwrap()).ok();
}

fn monitor(w: &World, name: &str) -> String {
    format!("MAINPID={}\n", w.inspect(name, "{{.State.ConmonPid}}"))
}

#[test]
fn systemd_hears_of_the_monitor_and_when_the_container_is_up() {
    let w = World::with_busybox();
    let manager = Manager::new(&w);
    run(&w, "conmon", &["--sdnotify=conmon"], &[]);
    assert_eq!(
        manager.hears(),
        format!("{}READY=1\n", monitor(&w, "conmon"))
    );
    assert_eq!(w.inspect("conmon", "{{.Config.sdNotifyMode}}"), "conmon");

    let check = [
        "--sdnotify=healthy",
        "--health-cmd",
        "test -e /up",
        "--health-interval",
        "50ms",
    ];
    run(&w, "healthy", &check, &[]);
    assert_eq!(manager.hears(), monitor(&w, "healthy"));
    w.ok(&["exec", "healthy", "touch", "/up"]);
    assert_eq!(manager.hears(), "READY=1\n");
    w.run(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--sdnotify=healthy",
        "busybox",
        "true",
    ])
    .code(125)
    .says("no health check");

    // The container speaks for itself; what means something inside only is left out.
    run(&w, "own", &[], &[]);
    assert_eq!(manager.hears(), monitor(&w, "own"));
    let script = "test -S $NOTIFY_SOCKET && echo $NOTIFY_SOCKET";
    assert_eq!(
        w.ok(&["exec", "own", "sh", "-c", script]),
        "/run/notify/notify.sock"
    );
    let folder = w
        .runtime()
        .join("containers")
        .join(w.inspect("own", "{{.Id}}"));
    let folder = std::fs::File::open(folder.join("notify")).unwrap();
    let socket = format!("/proc/self/fd/{}/notify.sock", folder.as_raw_fd());
    let inside = UnixDatagram::unbound().unwrap();
    inside
        .send_to(b"MAINPID=1\nREADY=1\nSTATUS=fine", &socket)
        .unwrap();
    assert_eq!(manager.hears(), "READY=1\nSTATUS=fine\n");

    run(&w, "ignored", &["--sdnotify=ignore"], &[]);
    run(
        &w,
        "beats",
        &["--sdnotify=conmon"],
        &[("WATCHDOG_USEC", "100000")],
    );
    assert!(
        manager.hears().ends_with("READY=1\n"),
        "nothing of the ignored one"
    );
    assert_eq!(manager.hears(), "WATCHDOG=1\n");
    assert_eq!(manager.hears(), "WATCHDOG=1\n");
    for name in ["conmon", "healthy", "own", "ignored", "beats"] {
        w.ok(&["rm", "-f", "-t", "0", name]);
    }
}

#[test]
fn sockets_that_systemd_holds_go_to_the_container() {
    let w = World::with_busybox();
    std::fs::write(w.path().join("passed"), "from outside\n").unwrap();
    let program = env!("CARGO_BIN_EXE_coracle");
    let inside = "echo $LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES; cat <&3";
    let script = format!(
        "exec env LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web {program} run --rm --network none \
         busybox sh -c '{inside}' 3<passed"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(Stdio::null());
    w.settle(&mut command);
    let got = Outcome::of(&["sockets"], command.output().unwrap());
    assert_eq!(got.ok(), "1 1 web\nfrom outside");
    // Sockets of another process are not ours.
    let args = [
        "run",
        "--rm",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo $LISTEN_FDS.",
    ];
    let mut command = w.command(&args);
    command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1");
    assert_eq!(Outcome::of(&args, command.output().unwrap()).ok(), ".");
}

#[test]
fn after_a_boot_the_policies_hold() {
    let w = World::with_busybox();
    let run = |name: &str, policy: &str| {
        w.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "--restart",
            policy,
            "--network",
            "none",
            "busybox",
            "sh",
            "-c",
            SLEEP,
        ]);
    };
    for (name, policy) in [
        ("always", "always"),
        ("unless", "unless-stopped"),
        ("stopped", "unless-stopped"),
        ("failing", "on-failure"),
        ("no", "no"),
    ] {
        run(name, policy);
    }
    w.ok(&[
        "create",
        "--name",
        "created",
        "--restart",
        "always",
        "busybox",
        "true",
    ]);
    w.ok(&["stop", "-t", "5", "always", "stopped", "failing", "no"]);
    // A logout ends what is kept, and leaves no trace that somebody wanted that.
    w.ok(&["system", "boot", "stop"]);
    let state = |name: &str| w.inspect(name, "{{.State.Status}} {{.State.StoppedByUser}}");
    assert_eq!(state("unless"), "exited false");
    assert_eq!(w.ok(&["system", "boot", "run"]), "always\nunless");
    for (name, expected) in [
        ("always", "running false"),
        ("unless", "running false"),
        ("stopped", "exited true"),
        ("failing", "exited true"),
        ("no", "exited true"),
        ("created", "created false"),
    ] {
        let got = state(name);
        assert_eq!(got.split(' ').next(), expected.split(' ').next(), "{name}");
    }
    assert_eq!(w.ok(&["system", "boot", "run"]), "", "they run already");
    let unit = w
        .path()
        .join("home/.config/systemd/user/coracle-boot.service");
    assert_eq!(w.run(&["system", "boot", "status"]).code, 1);
    assert_eq!(
        w.ok(&["system", "boot", "enable"]),
        unit.display().to_string()
    );
    let status = w.ok(&["system", "boot", "status"]);
    assert!(
        status.starts_with("enabled: ") && status.contains("container: unless"),
        "{status}"
    );
    let text = std::fs::read_to_string(&unit).unwrap();
    let root = format!("\"--root={}\"", w.data().display());
    assert!(
        text.contains(&root) && text.contains(" system boot run\n"),
        "{text}"
    );
    assert!(
        unit.with_file_name("default.target.wants/coracle-boot.service")
            .exists()
    );
    w.ok(&["system", "boot", "disable"]);
    assert!(!unit.exists());
    for name in ["always", "unless"] {
        w.ok(&["rm", "-f", "-t", "0", name]);
    }
}

fn put(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn the_generator_writes_services_and_links_and_names_what_is_wrong() {
    let w = World::new();
    let units = w.path().join("units");
    put(
        &units.join("web.container"),
        "[Container]\nImage=localhost/web\nVolume=data.volume:/data\n[Install]\nWantedBy=default.target\n",
    );
    put(&units.join("deep/data.volume"), "[Volume]\n");
    put(&units.join("bad.container"), "[Container]\n\nImages=x\n");
    put(
        &units.join("web.container.d/10.conf"),
        "[Container]\nLabel=from=dropin\n",
    );
    let link = w.path().join("coracle-user-generator");
    symlink(env!("CARGO_BIN_EXE_coracle"), &link).unwrap();
    let generate = |args: &[&str]| {
        let mut command = Command::new(&link);
        command.args(args);
        w.settle(&mut command);
        command.env("QUADLET_UNIT_DIRS", &units);
        Outcome::of(args, command.output().unwrap())
    };
    let dry = generate(&["-dryrun", "-v"])
        .code(1)
        .says("bad.container:3: unknown key \"Images\"");
    assert!(
        dry.stdout.starts_with("---data-volume.service---\n"),
        "{}",
        dry.stdout
    );
    assert!(dry.stdout.contains("--label from=dropin localhost/web\n"));
    let out = w.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let folder = out.to_str().unwrap();
    generate(&["-no-kmsg-log", folder, folder, folder])
        .code(1)
        .says("bad.container:3");
    let text = std::fs::read_to_string(out.join("web.service")).unwrap();
    assert!(text.contains("Requires=data-volume.service\n"), "{text}");
    assert!(
        text.contains("coracle-wait-network-online.service"),
        "{text}"
    );
    let link = std::fs::read_link(out.join("default.target.wants/web.service")).unwrap();
    assert_eq!(link, Path::new("../web.service"));
    assert!(out.join("data-volume.service").exists());
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_ok()
    {
        // What systemd itself thinks of it; the program must be where the unit says.
        let mut command = Command::new("systemd-analyze");
        command
            .args(["verify", "--user", "--man=no"])
            .arg(out.join("web.service"));
        let got = Outcome::of(&["verify"], command.output().unwrap());
        assert!(!got.stderr.contains("web.service:"), "{}", got.stderr);
    }
}

#[test]
fn quadlets_are_installed_listed_printed_and_removed() {
    let w = World::new();
    let source = w.path().join("app");
    put(
        &source.join("web.container"),
        "[Container]\nImage=localhost/web\nEnvironmentFile=web.env\n",
    );
    put(&source.join("web.env"), "A=1\n");
    put(&w.path().join("bad.container"), "[Container]\nImage=\n");
    let quiet = "--reload-systemd=false";
    w.run(&["quadlet", "install", quiet, "bad.container"])
        .code(125)
        .says("neither Image= nor Rootfs= is given");
    let installed = w.ok(&["quadlet", "install", quiet, "app"]);
    assert_eq!(installed.lines().count(), 2);
    w.run(&["quadlet", "install", quiet, "app"])
        .code(125)
        .says("--replace");
    w.ok(&[
        "quadlet",
        "install",
        quiet,
        "--replace",
        "app/web.container",
    ]);
    let list = w.ok(&[
        "quadlet",
        "list",
        "--format",
        "{{.Name}} {{.UnitName}} {{.Status}}",
    ]);
    assert_eq!(list, "web.container web.service Not loaded");
    // A folder is an application, whose name stands for all of it.
    let apps = ["quadlet", "list", "-n", "--format", "{{.Name}}:{{.App}}"];
    assert_eq!(w.ok(&apps), "web.container:app");
    let folder = w.path().join("home/.config/containers/systemd");
    let files = || std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(files(), 3, "quadlet, environment, list");
    assert_eq!(w.ok(&["quadlet", "rm", quiet, "app"]), "web.container");
    assert_eq!(files(), 0);
    // So is a quadlet with the files that follow it; they go with it.
    w.ok(&[
        "quadlet",
        "install",
        quiet,
        "app/web.container",
        "app/web.env",
    ]);
    assert_eq!(w.ok(&apps), "web.container:web.container");
    w.ok(&["quadlet", "rm", quiet, "web.container"]);
    assert_eq!(files(), 0);
    // From a server, by the last part of the address.
    let server = serve(|request| match request.path.as_str() {
        "/q/web.container" => Answer::ok("[Container]\nImage=localhost/web\n"),
        "/q/bad.container" => Answer::ok("[Container]\n"),
        _ => Answer::status(404),
    });
    let from = |name: &str| {
        w.run(&[
            "quadlet",
            "install",
            quiet,
            &format!("http://{server}/q/{name}"),
        ])
    };
    from("web.container").ok();
    assert_eq!(w.ok(&apps), "web.container:");
    from("gone.container").code(125).says("does not have it");
    from("bad.container")
        .code(125)
        .says(&format!("http://{server}/q/bad.container"));
    from("").code(125).says("no file name");
    assert_eq!(files(), 1);
    assert_eq!(w.ok(&["quadlet", "list", "-n", "--filter", "name=db*"]), "");
    assert!(
        w.ok(&["quadlet", "print", "web.container"])
            .starts_with("[Container]\n")
    );
    assert_eq!(
        w.ok(&["quadlet", "rm", quiet, "web.container"]),
        "web.container"
    );
    w.run(&["quadlet", "rm", quiet, "web.container"])
        .code(125)
        .says("no such quadlet");
    w.ok(&["quadlet", "rm", quiet, "-i", "web.container"]);
}

#[test]
fn a_file_of_several_quadlets_is_taken_apart_at_its_installation() {
    let w = World::new();
    let text = "# FileName=web\n[Container]\nImage=localhost/web\nPod=app.pod\n---\n# FileName=app\n[Pod]\n\
                ---\n\n# FileName=all\n[Kube]\nYaml=all.yml\n---\n# FileName=data\n[Artifact]\nArtifact=example.org/d:1\n";
    put(&w.path().join("app.quadlets"), text);
    let wrong = text.replace("Pod=app.pod", "Pod=other.pod");
    put(&w.path().join("wrong.quadlets"), &wrong);
    let quiet = "--reload-systemd=false";
    w.run(&["quadlet", "install", quiet, "wrong.quadlets"])
        .code(125)
        .says("wrong.quadlets:4: Pod=: there is no quadlet \"other.pod\"");
    let installed = w.ok(&["quadlet", "install", quiet, "app.quadlets"]);
    assert_eq!(installed.lines().count(), 4, "{installed}");
    let list = w.ok(&["quadlet", "list", "--format", "{{.Name}} {{.UnitName}}"]);
    assert_eq!(
        list,
        "all.kube all.service\napp.pod app-pod.service\ndata.artifact data-artifact.service\n\
         web.container web.service"
    );
    let print = w.ok(&["quadlet", "print", "app-pod.service"]);
    assert_eq!(print, "# FileName=app\n[Pod]");
    let app = w.ok(&["quadlet", "list", "-n", "--format", "{{.App}}"]);
    assert_eq!(app, "app\napp\napp\napp");
    w.ok(&["quadlet", "rm", quiet, "--all"]);
    assert_eq!(w.ok(&["quadlet", "list", "-n"]), "");
}

/// A pod of two containers: what they run.
fn manifest(w: &World, one: &str, two: &str) {
    let container = |name: &str, script: &str| {
        format!(
            "  - {{name: {name}, image: busybox, imagePullPolicy: Never, command: [sh, -c, {script:?}]}}\n"
        )
    };
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: app}}\nspec:\n  restartPolicy: Never\n  \
         terminationGracePeriodSeconds: 0\n  containers:\n{}{}",
        container("one", one),
        container("two", two)
    );
    put(&w.path().join("app.yml"), &text);
}

#[test]
fn a_manifest_is_a_service_until_all_of_it_has_ended() {
    let w = World::with_busybox();
    let manager = Manager::new(&w);
    let play = |more: &[&str]| {
        let args = [
            &["kube", "play", "--network", "none"][..],
            more,
            &["app.yml"],
        ]
        .concat();
        let mut command = w.command(&args);
        command.env("NOTIFY_SOCKET", w.path().join("notify"));
        command.env("PODMAN_SYSTEMD_UNIT", "app.service");
        if more.contains(&"--annotation=io.containers.autoupdate=local") {
            command.env("WATCHDOG_USEC", "100000");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.spawn().unwrap()
    };
    let service = [
        "--service-container=true",
        "--service-exit-code-propagation=any",
        "--annotation=io.containers.autoupdate=local",
        "--annotation=io.containers.autoupdate/two=registry",
    ];
    manifest(&w, "exit 3", "until test -e /end; do sleep 0.05; done");
    let mut child = play(&service);
    assert_eq!(
        manager.hears(),
        format!("MAINPID={}\nREADY=1\n", child.id())
    );
    let label = "{{index .Config.Labels \"io.containers.autoupdate\"}} {{.Config.Labels.PODMAN_SYSTEMD_UNIT}}";
    assert_eq!(w.inspect("app-one", label), "local app.service");
    assert_eq!(w.inspect("app-two", label), "registry app.service");
    assert_eq!(manager.hears(), "WATCHDOG=1\n");
    assert_eq!(manager.hears(), "WATCHDOG=1\n");
    w.ok(&["exec", "app-two", "touch", "/end"]);
    assert_eq!(child.wait().unwrap().code(), Some(3));
    w.ok(&["kube", "down", "app.yml"]);
    // What it still said of the watchdog.
    manager.0.set_nonblocking(true).unwrap();
    while manager.0.recv(&mut [0; 512]).is_ok() {}
    manager.0.set_nonblocking(false).unwrap();

    // A signal ends it in order.
    manifest(&w, "exec sleep 1000", "exec sleep 1000");
    for (flags, told) in [(&service[..1], true), (&["--wait"][..], false)] {
        let mut child = play(flags);
        let pid = rustix::process::Pid::from_child(&child);
        if told {
            manager.hears();
        } else {
            // It catches signals once everything runs.
            peer::wait_for("signals are caught", || {
                let status =
                    std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
                status.contains("SigBlk:\t0000000000004003")
            });
        }
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        w.run(&["pod", "exists", "app"]).code(1);
    }
    manifest(&w, "exit 3", "exit 0");
    assert_eq!(play(&["--wait"]).wait().unwrap().code(), Some(3));
    w.run(&["pod", "exists", "app"]).code(1);
}

#[test]
fn units_and_quadlets_are_written_for_containers_that_exist() {
    let w = World::with_busybox();
    let flags = [
        "run",
        "-d",
        "--name",
        "web",
        "--network=none",
        "-e",
        "A=x y",
        "busybox",
        "sleep",
        "1000",
    ];
    w.ok(&flags);
    let program = env!("CARGO_BIN_EXE_coracle");
    let unit = w.ok(&[
        "generate",
        "systemd",
        "--name",
        "--no-header",
        "--restart-sec",
        "3",
        "web",
    ]);
    for line in [
        &format!("ExecStart={program} start web"),
        &format!("ExecStop={program} stop -t 10 web"),
        "RestartSec=3",
        "Type=forking",
    ] {
        assert!(unit.lines().any(|l| l == line), "{line}: {unit}");
    }
    let new = w.ok(&[
        "generate", "systemd", "--new", "--name", "-t", "7", "--env", "B=1", "web",
    ]);
    assert!(new.starts_with("# container-web.service\n"), "{new}");
    let start = format!(
        "ExecStart={program} run --cidfile=%t/%n.ctr-id --cgroups=no-conmon --rm --sdnotify=conmon -d \
         --replace --name=web --network=none \"--env=A=x y\" busybox sleep 1000"
    );
    assert!(
        new.contains(&start) && new.contains("TimeoutStopSec=67\n"),
        "{new}"
    );
    let path = w.ok(&[
        "generate",
        "systemd",
        "--files",
        "--name",
        "--separator",
        "_",
        "web",
    ]);
    assert!(path.ends_with("/container_web.service") && Path::new(&path).exists());
    let json = w.ok(&["generate", "systemd", "--format", "json", "--name", "web"]);
    assert!(json.contains("\"container-web\""), "{json}");
    for (flags, sentence) in [
        (&["--template"][..], "--new"),
        (&["--restart-policy", "perhaps"], "on-failure"),
        (&["--env", "x"], "NAME=VALUE"),
    ] {
        let args = [&["generate", "systemd"][..], flags, &["web"]].concat();
        w.run(&args).code(125).says(sentence);
    }
    // A pod has a unit of its own and one for each container.
    w.ok(&[
        "pod",
        "create",
        "--network",
        "none",
        "--label",
        "a=b",
        "app",
    ]);
    w.ok(&[
        "create", "--pod", "app", "--name", "one", "busybox", "sleep", "1000",
    ]);
    let pod = ["generate", "systemd", "--name", "--format", "json"];
    let there = w.ok(&[&pod[..], &["app"]].concat());
    let new = w.ok(&[&pod[..], &["--new", "--pod-prefix", "p", "app"]].concat());
    for (units, line) in [
        (&there, format!("ExecStart={program} start app-infra\\n")),
        (&there, "Before=container-one.service\\n".to_owned()),
        (
            &there,
            "BindsTo=pod-app.service\\nAfter=pod-app.service\\n".to_owned(),
        ),
        (
            &new,
            format!(
                "ExecStartPre={program} pod create --infra-conmon-pidfile=%t/p-app.pid \
                 --pod-id-file=%t/p-app.pod-id --replace --name=app --network=none --label=a=b --exit-policy=stop\\n"
            ),
        ),
        (
            &new,
            "-d --pod-id-file=%t/p-app.pod-id --replace --name=one busybox sleep 1000\\n"
                .to_owned(),
        ),
    ] {
        assert!(units.contains(&line), "{line} is not in {units}");
    }
    w.ok(&["pod", "rm", "-f", "-t", "0", "app"]);
    let quadlet = w.ok(&["quadlet", "from", "container", "web"]);
    assert_eq!(
        quadlet,
        "[Container]\nImage=busybox\nNetwork=none\nEnvironment=\"A=x y\"\nContainerName=web\n\
         Exec=sleep 1000\n\n[Install]\nWantedBy=default.target"
    );
    assert!(
        w.ok(&["quadlet", "from", "run", "--rm", "-p", "80:80", "img"])
            .contains("PublishPort=80:80\n")
    );
    w.ok(&["rm", "-f", "-t", "0", "web"]);
}

/// Stands for systemd: `restart UNIT` makes the container of the unit anew.
fn fake_systemctl(w: &World) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = w.path().join("bin");
    let program = env!("CARGO_BIN_EXE_coracle");
    let run = "run -d --name web --replace --network none --tls-verify=false";
    put(
        &folder.join("systemctl"),
        &format!(
            "#!/bin/sh\nunset PODMAN_SYSTEMD_UNIT\necho \"$*\" >>{log}\n\
             export PODMAN_SYSTEMD_UNIT=web.service\n\
             exec {program} {run} --label io.containers.autoupdate=$POLICY $IMAGE >/dev/null\n",
            log = w.path().join("asked").display()
        ),
    );
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.join("systemctl"), mode).unwrap();
    folder
}

#[test]
fn a_newer_image_is_started_and_given_up_when_it_is_not_well() {
    let w = World::with_busybox();
    let folder = fake_systemctl(&w);
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let image = "localhost/web:latest";
    let make = |name: &str, check: &str| {
        w.ok(&["create", "--name", "base", "--network", "none", "busybox"]);
        let health = format!("HEALTHCHECK --interval=50ms --retries=2 CMD {check}");
        let label = format!("LABEL version={name}");
        let cmd = "CMD [\"sleep\", \"1000\"]";
        w.ok(&[
            "commit", "-q", "-c", &health, "-c", &label, "-c", cmd, "base", image,
        ]);
        w.ok(&["rm", "base"]);
    };
    let run = |args: &[&str]| {
        let mut command = w.command(args);
        command
            .env("PATH", &path)
            .env("POLICY", "local")
            .env("IMAGE", image);
        Outcome::of(args, command.stdin(Stdio::null()).output().unwrap())
    };
    let update = |flags: &[&str]| {
        let format = [
            "auto-update",
            "--format",
            "{{.Unit}} {{.ContainerName}} {{.Policy}} {{.Updated}}",
        ];
        run(&[&format[..], flags].concat())
    };
    make("one", "true");
    let mut first = Command::new(folder.join("systemctl"));
    w.settle(first.env("POLICY", "local").env("IMAGE", image));
    assert!(first.status().unwrap().success());
    let version = || w.inspect("web", "{{.Config.Labels.version}}");
    assert_eq!(
        w.inspect("web", "{{.Config.Labels.PODMAN_SYSTEMD_UNIT}}"),
        "web.service"
    );
    assert_eq!(update(&[]).ok(), "web.service web local false");
    make("two", "true");
    assert_eq!(update(&["--dry-run"]).ok(), "web.service web local pending");
    assert_eq!(version(), "one");
    assert_eq!(update(&[]).ok(), "web.service web local true");
    assert_eq!(version(), "two");
    make("bad", "false");
    let got = update(&[]).code(125).says("its health check fails");
    assert_eq!(got.stdout, "web.service web local rolled back\n");
    assert_eq!(version(), "two");
    w.ok(&["wait", "--condition", "healthy", "web"]);
    make("bad", "false");
    let got = update(&["--rollback=false"]).code(125);
    assert_eq!(got.stdout, "web.service web local failed\n");
    assert_eq!(version(), "bad");
    let asked = std::fs::read_to_string(w.path().join("asked")).unwrap();
    assert!(
        asked
            .lines()
            .skip(1)
            .all(|l| l == "--user restart -- web.service"),
        "{asked}"
    );
    // What is no service cannot be started anew.
    w.ok(&[
        "run",
        "-d",
        "--name",
        "alone",
        "--network",
        "none",
        "--label",
        "io.containers.autoupdate=local",
        "busybox",
        "sleep",
        "1000",
    ]);
    update(&["--dry-run"])
        .code(125)
        .says("no unit of systemd's runs it");
    w.ok(&["rm", "-f", "-t", "0", "alone", "web"]);
}

#[test]
fn a_registry_is_asked_for_newer_images() {
    requires!("docker-registry");
    let w = World::with_busybox();
    let registry = w.registry(Mode::Plain);
    let image = registry.image("web:latest");
    let folder = fake_systemctl(&w);
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let push = |version: &str| {
        w.ok(&["create", "--name", "base", "--network", "none", "busybox"]);
        let label = format!("LABEL version={version}");
        let cmd = "CMD [\"sleep\", \"1000\"]";
        w.ok(&["commit", "-q", "-c", &label, "-c", cmd, "base", "made"]);
        w.ok(&["rm", "base"]);
        w.ok(&["push", "-q", "--tls-verify=false", "made", &image]);
        w.ok(&["rmi", "made"]);
    };
    let update = |flags: &[&str]| {
        let base = [
            "auto-update",
            "--tls-verify=false",
            "--format",
            "{{.Policy}} {{.Updated}}",
        ];
        let args = [&base[..], flags].concat();
        let mut command = w.command(&args);
        command
            .env("PATH", &path)
            .env("POLICY", "registry")
            .env("IMAGE", &image);
        Outcome::of(&args, command.stdin(Stdio::null()).output().unwrap())
    };
    push("one");
    let mut first = Command::new(folder.join("systemctl"));
    w.settle(first.env("POLICY", "registry").env("IMAGE", &image));
    assert!(first.status().unwrap().success());
    assert_eq!(update(&["--dry-run"]).ok(), "registry false");
    assert_eq!(update(&[]).ok(), "registry false");
    push("two");
    assert_eq!(update(&["--dry-run"]).ok(), "registry pending");
    assert_eq!(w.inspect("web", "{{.Config.Labels.version}}"), "one");
    assert_eq!(update(&[]).ok(), "registry true");
    assert_eq!(w.inspect("web", "{{.Config.Labels.version}}"), "two");
    w.ok(&["rm", "-f", "-t", "0", "web"]);
}
