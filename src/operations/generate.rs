//! `generate systemd`: a unit for a container that exists. Pure.
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
    /// The container, by name or id, as `start` takes it.
    pub container: String,
    /// `--new`: what makes it anew at every start: options before `run`, and everything after it.
    pub new: Option<(Vec<String>, Vec<String>)>,
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
    add("Unit", "Description", format!("Container {file}"));
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
    match &wish.new {
        None => {
            let name = wish.container.as_str();
            let stop = command(&[program, "stop", "-t", &seconds, name]);
            add("Service", "ExecStart", command(&[program, "start", name]));
            add("Service", "ExecStop", stop.clone());
            add("Service", "ExecStopPost", stop);
            add("Service", "PIDFile", wish.pidfile.clone());
            add("Service", "Type", "forking".into());
        }
        Some((before, after)) => {
            let id = "--cidfile=%t/%n.ctr-id";
            add("Service", "ExecStartPre", "/bin/rm -f %t/%n.ctr-id".into());
            let mut start = vec![wish.program.clone()];
            let own =
                |words: &[&str]| -> Vec<String> { words.iter().map(|w| (*w).to_owned()).collect() };
            // Specifiers and variables were the shell's business when it was typed.
            let given = |words: &[String]| -> Vec<String> {
                let plain = words.iter();
                plain
                    .map(|w| w.replace('%', "%%").replace('$', "$$"))
                    .collect()
            };
            start.extend(given(before));
            start.extend(own(&[
                "run",
                id,
                "--cgroups=no-conmon",
                "--rm",
                "--sdnotify=conmon",
                "-d",
            ]));
            let mut after = given(after);
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
            container: "web".into(),
            new: None,
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
            new: Some((
                words("--log-level debug"),
                words("--name web img sh -c 50%$x"),
            )),
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
}
