//! SSH agents for RUN and for git: a person's own, or one with the keys that `--ssh` names.
//!
//! A step never sees the agent's socket itself but one of ours, relayed by a process of the
//! person's own id: agents answer nobody else, and the step's user may be any. Security: class F.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};

use crate::base::fs as files;
use crate::base::{Context as _, Error, Kind, Result};
use crate::operations::session::Session;
use crate::sys::clone::{self, Child};
use crate::sys::spawn::{self, Lifetime};
use crate::sys::{attributes, pidfd};

/// Connections of one step at a time.
const CONNECTIONS: usize = 64;

/// The agents of a build, by their ids.
#[derive(Debug, Default)]
pub struct Agents {
    sockets: BTreeMap<String, PathBuf>,
    started: Vec<Started>,
}

impl Agents {
    /// The socket of an agent.
    pub fn socket(&self, id: &str) -> Option<&Path> {
        self.sockets.get(id).map(PathBuf::as_path)
    }

    /// All ids.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.sockets.keys().map(String::as_str)
    }

    /// Adds `--ssh ID[=SOCKET|KEY[,KEY…]]`: keys are given to an agent of the build's own, which
    /// ends with it.
    ///
    /// # Errors
    /// `NotFound` without an agent, or for a path; what ssh-add says of a key.
    pub fn add(&mut self, session: &Session, text: &str) -> Result<()> {
        let (id, given) = match text.split_once('=') {
            Some((id, given)) => (id, Some(given)),
            None => (text, None),
        };
        let socket = match given {
            None => session.env.absolute_path("SSH_AUTH_SOCK").ok_or_else(|| {
                Error::not_found(format!("--ssh {id}: no SSH agent runs")).hint(
                    "start one: eval $(ssh-agent); ssh-add; or name a key: --ssh default=FILE",
                )
            })?,
            Some(given) => PathBuf::from(given),
        };
        let is_socket = |path: &Path| std::fs::metadata(path).map(|m| m.file_type().is_socket());
        let what = || format!("cannot open {}", socket.display());
        let keys = given.is_some_and(|g| g.contains(',')) || !is_socket(&socket).what(what)?;
        let socket = match keys {
            false => socket,
            true => {
                let keys: Vec<&str> = given.unwrap_or_default().split(',').collect();
                let started = Started::with(session, &keys)
                    .what(|| format!("--ssh {id}: cannot make an agent for the keys"))?;
                let socket = started.socket.clone();
                self.started.push(started);
                socket
            }
        };
        self.sockets.insert(id.to_owned(), socket);
        Ok(())
    }
}

/// An agent of the build's own.
#[derive(Debug)]
struct Started {
    child: std::process::Child,
    socket: PathBuf,
    dir: PathBuf,
}

impl Started {
    /// Starts OpenSSH's agent in the foreground and gives it the keys.
    fn with(session: &Session, keys: &[&str]) -> Result<Self> {
        let random: String = crate::base::random::bytes::<8>()?
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let all = session.dirs.runtime.join("ssh");
        sweep(&all);
        let dir = all.join(random);
        files::create_private_dir_all(&dir)?;
        let socket = dir.join("agent");
        let mut command = plain(session, "ssh-agent");
        command.arg("-D").arg("-a").arg(&socket);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(Stdio::null());
        spawn::inherit(&mut command, Vec::new(), Lifetime::WithThreadWithoutRights);
        let child = command.spawn().map_err(|e| missing(e, "ssh-agent"))?;
        let mut agent = Self { child, socket, dir };
        // It tells where it listens once it does.
        let mut line = String::new();
        if let Some(stdout) = agent.child.stdout.take() {
            BufReader::new(stdout.take(4096))
                .read_line(&mut line)
                .what(|| "cannot hear from ssh-agent")?;
        }
        if line.is_empty() {
            return Err(Error::new(Kind::Unavailable, "ssh-agent ended at once"));
        }
        for key in keys {
            let mut command = plain(session, "ssh-add");
            command
                .env("SSH_AUTH_SOCK", &agent.socket)
                // Nobody is asked: a key with a passphrase belongs into the person's own agent.
                .env("SSH_ASKPASS_REQUIRE", "force")
                .env("SSH_ASKPASS", "/bin/false")
                .args(["-q", "--", key])
                .stdin(Stdio::null());
            let said = command.output().map_err(|e| missing(e, "ssh-add"))?;
            if !said.status.success() {
                let why = String::from_utf8_lossy(&said.stderr).trim().to_owned();
                return Err(
                    Error::invalid(format!("ssh-add does not take {key}: {why}")).hint(
                        "a key with a passphrase: eval $(ssh-agent); ssh-add; then --ssh default",
                    ),
                );
            }
        }
        Ok(agent)
    }
}

/// Removes the folders of agents that ended with a killed build: nobody listens there any more.
fn sweep(all: &Path) {
    for entry in std::fs::read_dir(all).into_iter().flatten().flatten() {
        let refused = UnixStream::connect(entry.path().join("agent"))
            .is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused);
        if refused {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

/// A program of the person's with an empty environment.
fn plain(session: &Session, program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", session.env.text("PATH").unwrap_or_default())
        .env("LC_ALL", "C");
    command
}

fn missing(e: std::io::Error, program: &str) -> Error {
    let kind = match e.kind() {
        std::io::ErrorKind::NotFound => Kind::NotFound,
        _ => Kind::Unavailable,
    };
    Error::new(kind, format!("cannot run {program}"))
        .because(e)
        .hint("keys need OpenSSH's programs: install openssh-client")
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// A socket of a step's own that leads to an agent, for as long as this is held.
#[derive(Debug)]
pub struct Relay {
    child: Child,
}

impl Relay {
    /// Listens at `path`, which gets this owner and mode.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn start(agent: &Path, path: &Path, owner: (u32, u32), mode: u32) -> Result<Self> {
        let what = || format!("cannot listen at {}", path.display());
        let listener = UnixListener::bind(path).what(what)?;
        chown(path, Some(owner.0), Some(owner.1)).what(what)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).what(what)?;
        let parent = rustix::process::getpid();
        let child = clone::fork_with(|| {
            drop(attributes::set_death_signal(libc::SIGKILL));
            if rustix::process::getppid() != Some(parent) {
                return 1;
            }
            match serve(&listener, agent) {
                Ok(()) => 0,
                Err(_) => 1,
            }
        })?;
        Ok(Self { child })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(pidfd::send_signal(&self.child.pidfd, libc::SIGKILL));
        drop(pidfd::wait(&self.child.pidfd));
    }
}

/// Passes bytes on, both ways, until killed. The protocol is one question, one answer, so a write
/// never waits for long.
fn serve(listener: &UnixListener, agent: &Path) -> std::io::Result<()> {
    let mut pairs: Vec<(UnixStream, UnixStream)> = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let ready: Vec<bool> = {
            let room = pairs.len() < CONNECTIONS;
            let first = if room {
                PollFlags::IN
            } else {
                PollFlags::empty()
            };
            let mut fds = vec![PollFd::new(listener, first)];
            for (inside, outside) in &pairs {
                fds.push(PollFd::from_borrowed_fd(inside.as_fd(), PollFlags::IN));
                fds.push(PollFd::from_borrowed_fd(outside.as_fd(), PollFlags::IN));
            }
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            }
            fds.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        let mut index = 0;
        let mut pass = |from: &mut UnixStream, to: &mut UnixStream| -> bool {
            match from.read(&mut buffer) {
                Ok(n) if n > 0 => to.write_all(&buffer[..n]).is_ok(),
                _ => false,
            }
        };
        pairs.retain_mut(|(inside, outside)| {
            let (a, b) = (ready.get(1 + 2 * index), ready.get(2 + 2 * index));
            index += 1;
            (a != Some(&true) || pass(inside, outside))
                && (b != Some(&true) || pass(outside, inside))
        });
        if ready.first() == Some(&true)
            && let Ok((inside, _)) = listener.accept()
            && let Ok(outside) = UnixStream::connect(agent)
        {
            pairs.push((inside, outside));
        }
    }
}
