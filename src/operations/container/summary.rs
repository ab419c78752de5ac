//! What the records say about one container, gathered once: the input of `ps`, filters and `inspect`.

use std::path::Path;

use crate::base::Result;
use crate::base::time::{Timestamp, human_duration};
use crate::state::container::{Container, ExitRecord, Situation, State, Status};
use crate::state::health::HealthRecord;
use crate::state::options::{MountSource, PortMapping};

/// One container as of now.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Record and folders.
    pub container: Container,
    /// What it is doing.
    pub state: State,
    /// The monitor's facts, while there are any.
    pub status: Option<Status>,
    /// How the last run ended.
    pub exit: Option<ExitRecord>,
    /// How its checks went, in the present run or the last one since boot.
    pub health: Option<HealthRecord>,
}

impl Summary {
    /// How often the restart policy started it again, in this run or the last one.
    pub fn restarts(&self) -> u32 {
        let last = || self.exit.as_ref().map_or(0, |e| e.restarts);
        self.status.as_ref().map_or_else(last, |s| s.restarts)
    }

    /// Reads status and exit record.
    ///
    /// # Errors
    /// `Corrupt` for damaged records.
    pub fn of(container: Container) -> Result<Self> {
        let mut summary = Self::from(container, Container::situation)?;
        summary.health = summary.container.health()?;
        Ok(summary)
    }

    /// As [`Summary::of`], for a container that had no runtime folder a moment ago.
    ///
    /// # Errors
    /// `Corrupt` for damaged records.
    pub fn at_rest(container: Container) -> Result<Self> {
        Self::from(container, Container::situation_at_rest)
    }

    fn from(container: Container, look: fn(&Container) -> Result<Situation>) -> Result<Self> {
        let (mut state, mut status, mut exit) = look(&container)?;
        if state == State::Lost {
            // The monitor writes the exit record, then takes the status away: look again.
            (state, status, exit) = container.situation()?;
        }
        if exit.is_none() && !matches!(state, State::Created | State::Exited) {
            exit = container.exit()?;
        }
        Ok(Self {
            container,
            state,
            status,
            exit,
            health: None,
        })
    }

    /// The networks with a name that it has, or will have when it runs.
    pub fn networks(&self) -> Vec<String> {
        let status = self.status.as_ref().filter(|_| self.state.is_active());
        crate::operations::network::names_of(&self.container, status)
    }

    /// Whether it ran and runs no more.
    pub fn ended(&self) -> bool {
        matches!(self.state, State::Exited | State::Lost)
    }

    /// The exit code as listings show it; 0 while it runs.
    pub fn exit_code(&self) -> i32 {
        match (self.state, &self.exit) {
            (State::Lost, _) => -1,
            (State::Exited, Some(exit)) => exit.code,
            _ => 0,
        }
    }

    /// The value of a label; the image's labels were merged into the options at creation.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.container
            .record
            .options
            .labels
            .get(key)
            .map(String::as_str)
    }

    /// Host paths of binds.
    pub fn bind_sources(&self) -> impl Iterator<Item = &Path> {
        self.container
            .record
            .options
            .mounts
            .iter()
            .filter_map(|m| match &m.source {
                MountSource::Bind { path, .. } | MountSource::Overlay { path, .. } => {
                    Some(path.as_path())
                }
                _ => None,
            })
    }

    /// The command with its arguments, as it was resolved at creation.
    pub fn command(&self) -> &[String] {
        &self.container.record.command
    }

    /// Published ports: with the random ones filled in while it runs.
    pub fn ports(&self) -> &[PortMapping] {
        match &self.status {
            Some(status) => &status.ports,
            None => &self.container.record.options.network.publish,
        }
    }

    /// healthy, unhealthy, starting, or none; of a container that runs.
    pub fn health(&self) -> &'static str {
        match (&self.health, self.state) {
            (Some(health), State::Running | State::Paused) => health.status.name(),
            _ => "none",
        }
    }

    /// When its present or last run began.
    pub fn started(&self) -> Option<Timestamp> {
        match (&self.status, &self.exit) {
            (Some(status), _) if self.state != State::Lost => Some(status.started),
            (_, Some(exit)) => Some(exit.started),
            (Some(status), None) => Some(status.started),
            (None, None) => None,
        }
    }

    /// When its last run ended.
    pub fn finished(&self) -> Option<Timestamp> {
        self.exit.as_ref().map(|e| e.finished)
    }

    /// The process, as the host sees it; 0 when it does not run.
    pub fn pid(&self) -> i32 {
        match self.state {
            State::Running | State::Paused => self
                .status
                .as_ref()
                .and_then(|s| s.init.as_ref())
                .map_or(0, |i| i.pid),
            _ => 0,
        }
    }

    /// podman's and Docker's sentence: `Up 5 minutes`, `Exited (0) 2 hours ago`, `Created`.
    pub fn status_text(&self) -> String {
        let ago =
            |t: Option<Timestamp>| t.map_or_else(String::new, |t| human_duration(t.elapsed()));
        match self.state {
            State::Created => "Created".to_owned(),
            State::Restarting => match &self.exit {
                Some(e) => format!("Restarting ({}) {} ago", e.code, ago(Some(e.finished))),
                None => "Restarting".to_owned(),
            },
            State::Waiting => "Waiting for a connection".to_owned(),
            State::Running => {
                let up = format!("Up {}", ago(self.started()));
                match self.health() {
                    "none" => up,
                    health => format!("{up} ({health})"),
                }
            }
            State::Paused => format!("Up {} (Paused)", ago(self.started())),
            State::Exited => format!("Exited ({}) {} ago", self.exit_code(), ago(self.finished())),
            State::Lost => "Exited (-1)".to_owned(),
        }
    }
}

/// Docker's and podman's text for published ports: `0.0.0.0:8080->80/tcp`, ranges as one.
pub fn ports_text(ports: &[PortMapping]) -> String {
    let all: Vec<String> = ports
        .iter()
        .map(|p| {
            let ip = p.host_ip.map_or_else(
                || "0.0.0.0".to_owned(),
                |ip| match ip {
                    std::net::IpAddr::V4(v4) => v4.to_string(),
                    std::net::IpAddr::V6(v6) => format!("[{v6}]"),
                },
            );
            let span = |first: u16| match p.range {
                0 | 1 => first.to_string(),
                n => format!("{first}-{}", u32::from(first) + u32::from(n) - 1),
            };
            format!(
                "{ip}:{}->{}/{}",
                span(p.host_port),
                span(p.container_port),
                p.protocol.name()
            )
        })
        .collect();
    all.join(", ")
}

/// A sample for the tests of the modules beside.
#[cfg(test)]
/// A summary for tests of other modules.
pub mod tests {
    use super::*;
    use crate::config::dirs::Dirs;
    use crate::state::container::{ContainerRecord, Containers};
    use crate::state::options::{ContainerOptions, Protocol};

    /// A container that was created, with a label and a published port.
    pub fn sample() -> Summary {
        let dir = tempfile::tempdir().unwrap();
        let mut options = ContainerOptions {
            image: "alpine".to_owned(),
            ..Default::default()
        };
        options.labels.insert("app".to_owned(), "demo".to_owned());
        options.network.publish.push(PortMapping {
            host_ip: None,
            host_port: 8080,
            container_port: 80,
            range: 1,
            protocol: Protocol::Tcp,
        });
        let record = ContainerRecord {
            version: 1,
            id: "ab".repeat(32).parse().unwrap(),
            name: "web".parse().unwrap(),
            created: Timestamp(1_795_421_142_000_000_000),
            options,
            image: Some(crate::state::container::ContainerImage {
                id: format!("sha256:{}", "c".repeat(64)).parse().unwrap(),
                name: "docker.io/library/alpine:latest".to_owned(),
                digest: None,
            }),
            volumes: Vec::new(),
            driver: "overlay".to_owned(),
            command: vec!["/bin/sh".to_owned(), "-c".to_owned(), "true".to_owned()],
            stop_signal: 15,
            auto_maps: None,
            by_run: false,
            transient: None,
        };
        let containers =
            Containers::new(&Dirs::new(dir.path().join("data"), dir.path().join("run")));
        Summary::of(
            containers
                .create(record, crate::base::fs::Durability::Volatile)
                .unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn ports_read_as_podman_prints_them() {
        let one = PortMapping {
            host_ip: None,
            host_port: 8080,
            container_port: 80,
            range: 1,
            protocol: Protocol::Tcp,
        };
        let many = PortMapping {
            host_ip: Some("::1".parse().unwrap()),
            host_port: 9000,
            container_port: 9000,
            range: 3,
            protocol: Protocol::Udp,
        };
        assert_eq!(
            ports_text(&[one, many]),
            "0.0.0.0:8080->80/tcp, [::1]:9000-9002->9000-9002/udp"
        );
    }
}
