//! `generate systemd`: units for a container or a pod that exists. Pure.
//!
//! man podman-generate-systemd.

use crate::quadlet::unit::Unit;
use crate::quadlet::words;

/// What a unit stands on.
#[derive(Clone, Debug)]
pub struct Wish {
    /// This program, absolute.
    pub program: String,
    /// The unit's name without `.service`.
    pub name: String,
    /// What it is for.
    pub what: What,
    /// The unit of the pod that it belongs to, with `.service`.
    pub pod: Option<String>,
    /// `--template`: the unit is one.
    pub template: bool,
    /// Where the monitor's pid is.
    pub pidfile: String,
    /// The folder with what is volatile.
    pub runtime: String,
    /// `--restart-policy`.
    pub restart: String,
    /// `--restart-sec`.
    pub restart_sec: Option<u32>,
    /// `--start-timeout`.
    pub start_timeout: Option<u32>,
    /// `--stop-timeout`, seconds.
    pub stop_timeout: u32,
    /// `--wants`, `--after`, `--requires`.
    pub wants: Vec<String>,
    /// See `wants`.
    pub after: Vec<String>,
    /// See `wants`.
    pub requires: Vec<String>,
    /// `--env`, `NAME=VALUE`.
    pub env: Vec<String>,
    /// When it is made, for the header; none without one.
    pub header: Option<String>,
}

/// What a unit is for. With `--new` it is made anew at every start, by the options before the command
/// and everything after it.
#[derive(Clone, Debug)]
pub enum What {
    /// A container, by name or id, as `start` takes it.
    Container(String),
    /// `--new`: a container by the words of `run`.
    NewContainer(Vec<String>, Vec<String>),
    /// A pod whose containers have these units; what holds its namespaces, as `start` takes it.
    Pod(String, Vec<String>),
    /// `--new`: a pod by the words of `pod create`, and the units of its containers.
    NewPod(Vec<String>, Vec<String>, Vec<String>),
}

/// Where a pod's unit keeps the pod's id.
pub fn pod_id_file(unit: &str) -> String {
    format!("%t/{unit}.pod-id")
}

/// Words as systemd leaves them alone: specifiers and variables were the shell's business when they
/// were typed.
fn plain(words: &[String]) -> Vec<String> {
    let words = words.iter();
    words
        .map(|w| w.replace('%', "%%").replace('$', "$$"))
        .collect()
}

/// systemd gives up so much later than the container is killed.
const SPARE: u32 = 60;

/// The unit's text.
pub fn unit(wish: &Wish) -> String {
    let mut unit = Unit::default();
    let file = format!(
        "{}{}.service",
        wish.name,
        if wish.template { "@" } else { "" }
    );
    let mut add = |section: &str, key: &str, value: String| unit.push(section, key, value);
    let members = match &wish.what {
        What::Container(_) | What::NewContainer(..) => None,
        What::Pod(_, members) | What::NewPod(_, _, members) => Some(members),
    };
    let noun = if members.is_some() {
        "Pod"
    } else {
        "Container"
    };
    add("Unit", "Description", format!("{noun} {file}"));
    add(
        "Unit",
        "Documentation",
        "man:coracle-generate-systemd(1)".into(),
    );
    add("Unit", "Wants", "network-online.target".into());
    add("Unit", "After", "network-online.target".into());
    add("Unit", "RequiresMountsFor", wish.runtime.clone());
    for (key, list) in [
        ("Wants", &wish.wants),
        ("After", &wish.after),
        ("Requires", &wish.requires),
    ] {
        if !list.is_empty() {
            add("Unit", key, list.join(" "));
        }
    }
    if let Some(pod) = &wish.pod {
        add("Unit", "BindsTo", pod.clone());
        add("Unit", "After", pod.clone());
    }
    if let Some(members) = members.filter(|m| !m.is_empty()) {
        add("Unit", "Wants", members.join(" "));
        add("Unit", "Before", members.join(" "));
    }
    add("Service", "Environment", "PODMAN_SYSTEMD_UNIT=%n".into());
    for variable in &wish.env {
        add(
            "Service",
            "Environment",
            words::quote(&variable.replace('%', "%%")),
        );
    }
    add("Service", "Restart", wish.restart.clone());
    if let Some(seconds) = wish.restart_sec {
        add("Service", "RestartSec", seconds.to_string());
    }
    if let Some(seconds) = wish.start_timeout {
        add("Service", "TimeoutStartSec", seconds.to_string());
    }
    let stop = wish.stop_timeout.saturating_add(SPARE);
    add("Service", "TimeoutStopSec", stop.to_string());
    let seconds = wish.stop_timeout.to_string();
    let program = wish.program.as_str();
    let command = |words: &[&str]| words::command(words);
    match &wish.what {
        What::Container(name) | What::Pod(name, _) => {
            let stop = command(&[program, "stop", "-t", &seconds, name]);
            add("Service", "ExecStart", command(&[program, "start", name]));
            add("Service", "ExecStop", stop.clone());
            add("Service", "ExecStopPost", stop);
            add("Service", "PIDFile", wish.pidfile.clone());
            add("Service", "Type", "forking".into());
        }
        What::NewPod(before, after, _) => {
            let file = pod_id_file(&wish.name);
            let id = format!("--pod-id-file={file}");
            let pid = format!("%t/{}.pid", wish.name);
            add(
                "Service",
                "ExecStartPre",
                format!("/bin/rm -f {pid} {file}"),
            );
            let mut create = vec![wish.program.clone()];
            create.extend(plain(before));
            create.extend(["pod", "create"].map(str::to_owned));
            create.push(format!("--infra-conmon-pidfile={pid}"));
            create.extend([id.clone(), "--replace".to_owned()]);
            create.extend(plain(after));
            add("Service", "ExecStartPre", words::command(&create));
            let id = id.as_str();
            for (key, verb) in [
                ("ExecStart", &["start"][..]),
                ("ExecStop", &["stop", "--ignore", "-t", &seconds]),
                ("ExecStopPost", &["rm", "--ignore", "-f"]),
            ] {
                let line = [&[program, "pod"][..], verb, &[id]].concat();
                add("Service", key, command(&line));
            }
            add("Service", "PIDFile", pid);
            add("Service", "Type", "forking".into());
        }
        What::NewContainer(before, after) => {
            let id = "--cidfile=%t/%n.ctr-id";
            add("Service", "ExecStartPre", "/bin/rm -f %t/%n.ctr-id".into());
            let mut start = vec![wish.program.clone()];
            let own =
                |words: &[&str]| -> Vec<String> { words.iter().map(|w| (*w).to_owned()).collect() };
            start.extend(plain(before));
            start.extend(own(&[
                "run",
                id,
                "--cgroups=no-conmon",
                "--rm",
                "--sdnotify=conmon",
                "-d",
            ]));
            if let Some(pod) = wish.pod.as_deref().and_then(|p| p.strip_suffix(".service")) {
                start.push(format!("--pod-id-file={}", pod_id_file(pod)));
            }
            let mut after = plain(after);
            if wish.template {
                // The instance makes names apart.
                for word in &mut after {
                    *word = word.replace("%%i", "%i");
                }
            }
            start.extend(after);
            add("Service", "ExecStart", words::command(&start));
            add(
                "Service",
                "ExecStop",
                command(&[program, "stop", "--ignore", "-t", &seconds, id]),
            );
            add(
                "Service",
                "ExecStopPost",
                command(&[program, "rm", "-f", "--ignore", "-t", &seconds, id]),
            );
            add("Service", "Type", "notify".into());
            add("Service", "NotifyAccess", "all".into());
        }
    }
    add("Install", "WantedBy", "default.target".into());
    let header = wish.header.as_ref();
    let header = header.map_or_else(String::new, |when| {
        format!(
            "# {file}\n# made by coracle {}\n# {when}\n\n",
            env!("CARGO_PKG_VERSION")
        )
    });
    format!("{header}{}", unit.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> Wish {
        Wish {
            program: "/usr/bin/coracle".into(),
            name: "container-web".into(),
            what: What::Container("web".into()),
            pod: None,
            template: false,
            pidfile: "/run/user/1/coracle/containers/07/monitor.pid".into(),
            runtime: "/run/user/1/coracle".into(),
            restart: "on-failure".into(),
            restart_sec: None,
            start_timeout: None,
            stop_timeout: 10,
            wants: Vec::new(),
            after: Vec::new(),
            requires: Vec::new(),
            env: Vec::new(),
            header: None,
        }
    }

    #[test]
    fn a_container_that_exists_is_started_and_stopped() {
        assert_eq!(
            unit(&wish()),
            "[Unit]\n\
             Description=Container container-web.service\n\
             Documentation=man:coracle-generate-systemd(1)\n\
             Wants=network-online.target\n\
             After=network-online.target\n\
             RequiresMountsFor=/run/user/1/coracle\n\
             \n\
             [Service]\n\
             Environment=PODMAN_SYSTEMD_UNIT=%n\n\
             Restart=on-failure\n\
             TimeoutStopSec=70\n\
             ExecStart=/usr/bin/coracle start web\n\
             ExecStop=/usr/bin/coracle stop -t 10 web\n\
             ExecStopPost=/usr/bin/coracle stop -t 10 web\n\
             PIDFile=/run/user/1/coracle/containers/07/monitor.pid\n\
             Type=forking\n\
             \n\
             [Install]\n\
             WantedBy=default.target\n"
        );
    }

    #[test]
    fn a_new_one_is_made_by_the_words_it_was_made_by() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let wish = Wish {
            what: What::NewContainer(
                words("--log-level debug"),
                words("--name web img sh -c 50%$x"),
            ),
            restart_sec: Some(3),
            start_timeout: Some(4),
            wants: words("a.service b.service"),
            env: vec!["A=b c%".into()],
            header: Some("today".into()),
            ..wish()
        };
        let text = unit(&wish);
        for line in [
            "# container-web.service\n# made by coracle ",
            "\nWants=a.service b.service\n",
            "\nEnvironment=\"A=b c%%\"\n",
            "\nRestartSec=3\nTimeoutStartSec=4\nTimeoutStopSec=70\n",
            "\nExecStartPre=/bin/rm -f %t/%n.ctr-id\n",
            "\nExecStart=/usr/bin/coracle --log-level debug run --cidfile=%t/%n.ctr-id \
             --cgroups=no-conmon --rm --sdnotify=conmon -d --name web img sh -c 50%%$$x\n",
            "\nExecStop=/usr/bin/coracle stop --ignore -t 10 --cidfile=%t/%n.ctr-id\n",
            "\nExecStopPost=/usr/bin/coracle rm -f --ignore -t 10 --cidfile=%t/%n.ctr-id\n",
            "\nType=notify\nNotifyAccess=all\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_pod_has_a_unit_that_those_of_its_containers_are_bound_to() {
        let members = vec![
            "container-a.service".to_owned(),
            "container-b.service".to_owned(),
        ];
        let pod = Wish {
            name: "pod-app".into(),
            what: What::NewPod(
                vec!["--log-level=debug".into()],
                vec!["--name=app".into(), "--label=a=5%".into()],
                members.clone(),
            ),
            ..wish()
        };
        let text = unit(&pod);
        for line in [
            "Description=Pod pod-app.service\n",
            "\nWants=container-a.service container-b.service\nBefore=container-a.service container-b.service\n",
            "\nExecStartPre=/bin/rm -f %t/pod-app.pid %t/pod-app.pod-id\n",
            "\nExecStartPre=/usr/bin/coracle --log-level=debug pod create --infra-conmon-pidfile=%t/pod-app.pid \
             --pod-id-file=%t/pod-app.pod-id --replace --name=app --label=a=5%%\n",
            "\nExecStart=/usr/bin/coracle pod start --pod-id-file=%t/pod-app.pod-id\n",
            "\nExecStop=/usr/bin/coracle pod stop --ignore -t 10 --pod-id-file=%t/pod-app.pod-id\n",
            "\nExecStopPost=/usr/bin/coracle pod rm --ignore -f --pod-id-file=%t/pod-app.pod-id\n",
            "\nPIDFile=%t/pod-app.pid\nType=forking\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
        let there = Wish {
            what: What::Pod("app-infra".into(), members),
            ..pod
        };
        assert!(unit(&there).contains("\nExecStart=/usr/bin/coracle start app-infra\n"));
        let member = Wish {
            pod: Some("pod-app.service".into()),
            what: What::NewContainer(Vec::new(), vec!["--name=a".into(), "img".into()]),
            ..wish()
        };
        let text = unit(&member);
        assert!(text.contains("\nBindsTo=pod-app.service\nAfter=pod-app.service\n"));
        assert!(
            text.contains(" -d --pod-id-file=%t/pod-app.pod-id --name=a img\n"),
            "{text}"
        );
    }
}
