//! Whole command lines.

use super::*;
use crate::base::Kind;
use crate::cli::frame;
use crate::operations::image::policy::PullPolicy;
use crate::state::options::{NetworkMode, UsernsMode};

#[derive(Debug, clap::Args)]
struct Line {
    #[command(flatten)]
    flags: CreateFlags,
    #[arg(required = true, trailing_var_arg = true)]
    words: Vec<String>,
}

fn line(text: &str, manner: &Manner) -> Result<(ContainerOptions, RunOptions)> {
    line_with(&ContainersConf::default(), text, manner)
}

fn line_with(
    conf: &ContainersConf,
    text: &str,
    manner: &Manner,
) -> Result<(ContainerOptions, RunOptions)> {
    let words: Vec<&str> = std::iter::once("run").chain(text.split(' ')).collect();
    let command = frame::augment::<Line>(clap::Command::new("run"));
    let mut matches = command
        .try_get_matches_from(words)
        .unwrap_or_else(|e| panic!("{text}: {e}"));
    let line = frame::parse::<Line>(&mut matches)?;
    let env = Env::fixed([("HOME", "/h"), ("http_proxy", "p"), ("X", "1")]);
    let host = Host {
        env: &env,
        cwd: Path::new("/w"),
        user: user(),
        docker: false,
        stdin_is_tty: false,
        limits: &[],
        conf,
        cdi_dirs: &[],
    };
    request(line.flags, manner, &line.words, &host)
}

/// An ordinary one.
pub(super) fn user() -> &'static User {
    static USER: std::sync::LazyLock<User> = std::sync::LazyLock::new(|| User {
        uid: 1000,
        gid: 1000,
        name: "dev".to_owned(),
        home: "/h".into(),
        is_root: false,
    });
    &USER
}

fn run(text: &str) -> (ContainerOptions, RunOptions) {
    line(text, &Manner::default()).unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

fn fails(text: &str) -> Error {
    match line(text, &Manner::default()) {
        Ok(_) => panic!("{text} was accepted"),
        Err(e) => e,
    }
}

#[test]
fn the_tree_is_sound() {
    frame::augment::<Line>(clap::Command::new("run")).debug_assert();
}

#[test]
fn plain_words_leave_the_defaults() {
    let (options, run) = run("alpine ls -l --rm");
    assert_eq!(options.image, "alpine");
    assert_eq!(options.command, ["ls", "-l", "--rm"]);
    assert_eq!(options.env_proxy, ["http_proxy=p"]);
    assert!(!options.remove && options.env_host.is_empty());
    let rest = ContainerOptions {
        image: options.image.clone(),
        command: options.command.clone(),
        env_proxy: options.env_proxy.clone(),
        ..ContainerOptions::default()
    };
    assert_eq!(options, rest);
    assert!(run.sig_proxy && run.attach.stdout && run.attach.stderr && !run.attach.stdin);
    assert_eq!(run.pull, PullPolicy::Missing);
}

#[test]
fn many_flags_at_once() {
    let (o, r) = run(
        "-it --name web --rm -e X -e Y=2 -l a=b -v data:/d -p 80 -u 5 -w /x -h box --init \
         --cap-add net_raw --cap-drop ALL --memory 64m --cpus 1.5 --pids-limit -1 --pull always \
         --network none --ulimit nofile=5:6 --stop-signal INT --stop-timeout 3 --tmpfs /t \
         --read-only --add-host a:1.2.3.4 --dns 9.9.9.9 --sysctl net.x=1 --umask 077 \
         --userns keep-id --entrypoint [\"a\",\"b\"] --log-driver json-file --log-opt max-size=1m \
         --platform linux/arm64 --annotation k=v --cidfile c --tz local --replace \
         --oom-score-adj -5 --group-add keep-groups --secret s --device /dev/fuse \
         --annotation=k2=v2 --http-proxy=false alpine"
            .replace("         ", "")
            .as_str(),
    );
    assert_eq!(o.name.as_deref(), Some("web"));
    assert!(o.tty && o.interactive && o.remove && o.init && o.read_only && o.keep_groups);
    assert_eq!(o.env, ["X=1", "Y=2"]);
    assert_eq!(
        (o.cap_add.join(","), o.cap_drop.join(",")),
        ("NET_RAW".into(), "ALL".into())
    );
    assert_eq!(o.resources.memory, Some(64 << 20));
    assert_eq!(
        (o.resources.cpus, o.resources.pids_limit),
        (Some(1.5), Some(-1))
    );
    assert_eq!(o.network.mode, NetworkMode::None);
    assert_eq!((o.ulimits[0].soft, o.ulimits[0].hard), (5, 6));
    assert_eq!((o.stop_signal, o.stop_timeout), (Some(2), Some(3)));
    assert_eq!(o.mounts.len(), 2);
    assert_eq!(o.umask, Some(0o77));
    assert!(matches!(o.userns, UsernsMode::KeepId { .. }));
    assert_eq!(
        o.entrypoint.as_deref(),
        Some(&["a".to_owned(), "b".to_owned()][..])
    );
    assert_eq!(
        (o.log.driver, o.log.max_size),
        (LogDriver::JsonFile, Some(1 << 20))
    );
    assert_eq!(o.platform.map(|p| p.architecture).as_deref(), Some("arm64"));
    assert_eq!(o.cidfile.as_deref(), Some(Path::new("/w/c")));
    assert_eq!((o.annotations.len(), o.oom_score_adj), (2, Some(-5)));
    assert!(o.env_proxy.is_empty());
    assert_eq!(r.pull, PullPolicy::Always);
    assert!(r.replace && !r.sig_proxy && r.attach.stdin);
    // Ports with no network, and a terminal that is none.
    assert_eq!(r.notices.len(), 2);
}

#[test]
fn hidden_and_old_names_work() {
    let (o, _) = run("--net host --dns-opt ndots:1 --env-host alpine");
    assert_eq!(o.network.mode, NetworkMode::Host);
    assert_eq!(o.network.dns_options, ["ndots:1"]);
    assert!(o.env_host.contains(&"X=1".to_owned()));
    let (o, _) = run("--rootfs dir:O sh");
    let rootfs = o.rootfs.unwrap();
    assert_eq!(
        (rootfs.path.as_path(), rootfs.overlay),
        (Path::new("/w/dir"), true)
    );
    assert_eq!((o.image.as_str(), o.command), ("", vec!["sh".to_owned()]));
    let (o, _) = run("--entrypoint= --no-healthcheck alpine");
    assert_eq!(o.entrypoint, Some(vec![]));
    assert_eq!(o.healthcheck.unwrap().test, ["NONE"]);
    let (o, _) = run("--arch arm64 --restart on-failure:3 alpine");
    assert_eq!(o.restart, RestartPolicy::OnFailure(Some(3)));
    assert_eq!(o.platform.unwrap().architecture, "arm64");
}

#[test]
fn detached_commands_relay_nothing() {
    let manner = Manner {
        detach: true,
        ..Manner::default()
    };
    let (_, r) = line("-i alpine", &manner).unwrap();
    assert!(r.detach && !r.sig_proxy && r.attach == AttachStreams::default());
    assert!(line("-a stdout alpine", &manner).is_err());
    let (_, r) = run("-a stdin -a STDERR alpine");
    assert!(r.attach.stdin && r.attach.stderr && !r.attach.stdout);
    let manner = Manner {
        rmi: true,
        ..Manner::default()
    };
    let (o, _) = line("alpine", &manner).unwrap();
    assert!(o.remove && o.remove_image);
}

#[test]
fn contradictions_and_nonsense_are_refused() {
    for text in [
        "--rm --restart always alpine",
        "--restart sometimes alpine",
        "--restart on-failure:x alpine",
        "--name -x alpine",
        "--replace alpine",
        "--network container:a -p 80 alpine",
        "--network container:a --dns 1.1.1.1 alpine",
        "--dns none --dns 1.1.1.1 alpine",
        "--no-hosts --add-host a:1.1.1.1 alpine",
        "--uts host -h box alpine",
        "-h a/b alpine",
        "--init --systemd always alpine",
        "--init --pid host alpine",
        "--shm-size 1m --ipc host alpine",
        "--memory 1k alpine",
        "--memory 10m --memory-swap 5m alpine",
        "--memory-swap 5m alpine",
        "--memory 10m --memory-reservation 20m alpine",
        "--cpus 1 --cpu-quota 5000 alpine",
        "--cpus x alpine",
        "--cpuset-cpus 3-1 alpine",
        "--pids-limit -2 alpine",
        "--blkio-weight 5 alpine",
        "--ulimit nofile=9:1 alpine",
        "--ulimit wings=1 alpine",
        "--ulimit host --ulimit core=1 alpine",
        "--oom-score-adj 2000 alpine",
        "--cap-add flying alpine",
        "--cap-add chown --cap-drop chown alpine",
        "--umask 999 alpine",
        "--tz ../x alpine",
        "-w rel alpine",
        "-u : alpine",
        "--platform linux/arm64 --arch amd64 alpine",
        "--log-driver syslog alpine",
        "--log-opt x=y alpine",
        "-t --log-driver passthrough alpine",
        "--stop-signal NOPE alpine",
        "--stop-timeout x alpine",
        "--pull sometimes alpine",
        "-a stdx alpine",
        "-v a:/x -v b:/x alpine",
        "--tmpfs /x -v b:/x/ alpine",
        "--sysctl x alpine",
        "--image-volume x alpine",
        "--cgroups x alpine",
        "--group-add keep-groups --group-add 5 alpine",
        "--systemd odd alpine",
    ] {
        let e = fails(text);
        assert!(
            matches!(e.kind(), Kind::Invalid | Kind::Unsupported),
            "{text}: {e:?}"
        );
    }
}

#[test]
fn what_comes_later_is_refused_by_name() {
    let e = fails("--link db alpine");
    assert_eq!(e.kind(), Kind::Unsupported);
    assert!(e.what().contains("--link"), "{e}");
}

#[test]
fn a_unit_logs_to_the_journal_unless_it_is_told_otherwise() {
    for (driver, options, journal, want) in [
        (None, &[][..], true, LogDriver::Journald),
        (None, &["tag=x"], true, LogDriver::Journald),
        (None, &[], false, LogDriver::K8sFile),
        (Some("k8s-file"), &[], true, LogDriver::K8sFile),
        (Some("none"), &[], true, LogDriver::None),
        // Only a file has a size.
        (None, &["max-size=1m"], true, LogDriver::K8sFile),
        (None, &["path=/log"], true, LogDriver::K8sFile),
    ] {
        let options: Vec<String> = options.iter().map(|&o| o.to_owned()).collect();
        let got = log(driver, &options, &mut || journal).unwrap().driver;
        assert_eq!(got, want, "{driver:?} {options:?} {journal}");
    }
}

#[test]
fn subordinate_ids_are_named_by_their_owner() {
    for text in [
        "--subuidname dev alpine",
        "--subgidname 1000 alpine",
        "--subuidname dev --subgidname dev alpine",
    ] {
        assert_eq!(run(text).0.userns, UsernsMode::Nomap, "{text}");
    }
    // Of others, without root; beside another map.
    let e = fails("--subuidname other alpine");
    assert_eq!(e.kind(), Kind::Unsupported);
    assert!(e.what().contains("other"), "{e}");
    fails("--subuidname dev --userns keep-id alpine");
    fails("--subuidname dev --uidmap 0:1:1 alpine");
}

#[test]
fn containers_conf_stands_in_for_flags_that_were_not_given() {
    let mut conf = ContainersConf::default();
    conf.containers.tz = Some("UTC".into());
    conf.containers.env = Some(vec!["FROM=conf".into(), "odd".into()]);
    conf.containers.default_capabilities = Some(vec!["CAP_CHOWN".into(), "AUDIT_WRITE".into()]);
    conf.containers.default_sysctls = Some(vec!["net.ipv4.ping_group_range=0 0".into()]);
    conf.containers.default_ulimits = vec!["nofile=5:6".into()];
    conf.containers.netns = Some("none".into());
    conf.containers.volumes = vec!["/a:/b".into()];
    conf.engine.stop_timeout = Some(7);
    let get = |text: &str| line_with(&conf, text, &Manner::default()).unwrap();
    let (o, _) = get("alpine");
    assert_eq!(o.timezone.as_deref(), Some("UTC"));
    assert_eq!(o.env_proxy, ["FROM=conf", "http_proxy=p"]);
    assert_eq!(o.cap_add, ["AUDIT_WRITE"]);
    assert_eq!(o.cap_drop.len(), 11);
    assert_eq!((o.mounts.len(), o.stop_timeout), (1, Some(7)));
    assert_eq!(o.network.mode, NetworkMode::None);
    assert_eq!(o.sysctls.len(), 1);
    let (o, _) = get(
        "--tz local --network host --cap-add kill --cap-drop audit_write \
                      --ulimit nofile=9 --stop-timeout 1 alpine"
            .replace("                      ", "")
            .as_str(),
    );
    assert_eq!(o.timezone.as_deref(), Some("local"));
    assert_eq!((o.network.mode, o.sysctls.len()), (NetworkMode::Host, 0));
    assert_eq!(o.cap_add, ["KILL"]);
    assert!(!o.cap_drop.contains(&"KILL".to_owned()));
    assert_eq!(
        (o.ulimits.len(), o.ulimits[0].hard, o.stop_timeout),
        (1, 9, Some(1))
    );
    let (o, _) = get("--privileged alpine");
    assert!(o.cap_add.is_empty() && o.cap_drop.is_empty());
}
