//! `/containers/{id}/exec` and `/exec/…`.
//!
//! A session is a file below `api/exec`: what was asked for, then how it goes. The process that answers
//! the start is the command's parent; it listens for new sizes of the terminal, and stays until the
//! command ends, also when nobody is connected.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Cx;
use super::conn::Conn;
use super::streams::{self, Client};
use crate::base::fs::{
    Durability, create_private_dir_all, read_if_exists, remove_file_if_exists, replace,
};
use crate::base::{Context as _, Error, Kind, Result};
use crate::handoff::address;
use crate::handoff::relay::{self, Outcome};
use crate::handoff::terminal::Size;
use crate::operations::container::exec::{Begun, begin, ended};
use crate::operations::container::names::random_id;
use crate::operations::session::Session;
use crate::spec::id::ContainerId;
use crate::state::container::{Container, Containers, State};
use crate::state::request::ExecOptions;
use crate::sys::clone::fork_with;
use crate::sys::process::Identity;
use crate::sys::{daemon, fd, pidfd};

/// A session's file is no longer, bytes.
const LIMIT: u64 = 4 << 20;

/// A session.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    container: String,
    command: Vec<String>,
    env: Vec<String>,
    user: Option<String>,
    workdir: Option<String>,
    privileged: bool,
    tty: bool,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    keys: Option<String>,
    /// Its parent, once it was started.
    parent: Option<Identity>,
    pid: i32,
    code: Option<i32>,
}

fn folder(session: &Session) -> PathBuf {
    session.dirs.runtime.join("api").join("exec")
}

/// Forgets the sessions of containers that do not run any more.
pub fn sweep(session: &Session) {
    let containers = Containers::new(&session.dirs);
    for entry in std::fs::read_dir(folder(session))
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = entry.path();
        let record = read_if_exists(&path, LIMIT).ok().flatten();
        let record = record.and_then(|b| serde_json::from_slice::<Record>(&b).ok());
        let runs = record
            .and_then(|r| r.container.parse::<ContainerId>().ok())
            .is_some_and(|id| {
                let state = containers.open(&id).and_then(|c| c.state());
                state.is_ok_and(State::is_active)
            });
        if !runs {
            let _left = remove_file_if_exists(&path);
        }
    }
}

fn path(session: &Session, id: &str) -> Result<PathBuf> {
    // An id and nothing else becomes part of a path.
    let id: ContainerId = id.parse().map_err(|_| no_such(id))?;
    Ok(folder(session).join(format!("{id}.json")))
}

fn no_such(id: &str) -> Error {
    Error::not_found(format!("No such exec instance: {id}"))
}

fn read(session: &Session, id: &str) -> Result<Record> {
    let bytes = read_if_exists(&path(session, id)?, LIMIT)?.ok_or_else(|| no_such(id))?;
    serde_json::from_slice(&bytes)
        .what_kind(Kind::Corrupt, || format!("exec session {id} is damaged"))
}

fn write(session: &Session, id: &str, record: &Record) -> Result<()> {
    let bytes = serde_json::to_vec(record).what(|| "cannot write an exec session")?;
    replace(&path(session, id)?, &bytes, 0o600, Durability::Volatile)
}

/// `POST /containers/{id}/exec`.
///
/// # Errors
/// `InUse` when the container does not run; `Invalid` for a bad body.
pub fn create(cx: &Cx<'_>, conn: &mut Conn, container: &Container) -> Result<()> {
    let body = cx.body(conn)?;
    let list = |field: &str| -> Result<Vec<String>> {
        let wrong = || Error::invalid(format!("the field {field} has another type than Docker's"));
        match &body[field] {
            Value::Null => Ok(Vec::new()),
            Value::String(one) => Ok(vec![one.clone()]),
            Value::Array(all) => all
                .iter()
                .map(|v| v.as_str().map(str::to_owned).ok_or_else(wrong))
                .collect(),
            _ => Err(wrong()),
        }
    };
    let on = |field: &str| body[field].as_bool().unwrap_or(false);
    let text = |field: &str| {
        body[field]
            .as_str()
            .filter(|t| !t.is_empty())
            .map(str::to_owned)
    };
    let record = Record {
        container: container.id().to_string(),
        command: list("Cmd")?,
        env: list("Env")?
            .into_iter()
            .filter(|e| e.contains('='))
            .collect(),
        user: text("User"),
        workdir: text("WorkingDir"),
        privileged: on("Privileged"),
        tty: on("Tty"),
        stdin: on("AttachStdin"),
        stdout: on("AttachStdout"),
        stderr: on("AttachStderr"),
        keys: text("DetachKeys"),
        parent: None,
        pid: 0,
        code: None,
    };
    if record.command.is_empty() {
        return Err(Error::invalid("No exec command specified"));
    }
    match container.state()? {
        State::Running => {}
        State::Paused => {
            return Err(Error::new(
                Kind::InUse,
                format!(
                    "Container {} is paused, unpause the container before exec",
                    container.id()
                ),
            ));
        }
        _ => {
            return Err(Error::new(
                Kind::InUse,
                format!("container {} is not running", container.id()),
            ));
        }
    }
    create_private_dir_all(&folder(cx.session))?;
    let id = random_id()?.to_string();
    write(cx.session, &id, &record)?;
    conn.json(201, &json!({"Id": id}))
}

/// `/exec/…`; false for a route that there is not.
///
/// # Errors
/// `NotFound` without such a session; as the operation.
pub fn route(cx: &Cx<'_>, conn: &mut Conn, path_: &[&str]) -> Result<bool> {
    match (cx.method(), path_) {
        ("GET", [id, "json"]) => {
            let record = read(cx.session, id)?;
            conn.json(200, &value(id, &record))?;
        }
        ("POST", [id, "start"]) => start(cx, conn, id)?,
        ("POST", [id, "resize"]) => {
            let record = read(cx.session, id)?;
            let size = streams::size(cx)?;
            if !is_running(&record) {
                return Err(Error::new(
                    Kind::InUse,
                    format!("exec session {id} does not run"),
                ));
            }
            let socket =
                std::os::unix::net::UnixDatagram::unbound().what(|| "cannot make a socket")?;
            let text = format!("{} {}", size.rows, size.columns);
            let place = resize_socket(cx.session, id);
            socket
                .send_to(text.as_bytes(), &place)
                .what_kind(Kind::InUse, || format!("exec session {id} has no terminal"))?;
            conn.empty(201)?;
        }
        ("POST", [id, "remove"]) => {
            remove_file_if_exists(&path(cx.session, id)?)?;
            conn.empty(200)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Short, for the address of a socket has little room.
fn resize_socket(session: &Session, id: &str) -> PathBuf {
    let short = id.get(..16).unwrap_or(id);
    session.dirs.runtime.join("api").join(short)
}

fn is_running(record: &Record) -> bool {
    record.code.is_none() && record.parent.as_ref().is_some_and(Identity::is_alive)
}

fn value(id: &str, record: &Record) -> Value {
    let running = is_running(record);
    // One whose parent was killed has no code that anybody knows.
    let code = match (record.code, record.parent.is_some(), running) {
        (Some(code), ..) => json!(code),
        (None, true, false) => json!(-1),
        _ => Value::Null,
    };
    json!({
        "ID": id,
        "ContainerID": record.container,
        "Running": running,
        "ExitCode": code,
        "Pid": if running { record.pid } else { 0 },
        "CanRemove": false,
        "DetachKeys": record.keys.clone().unwrap_or_default(),
        "OpenStdin": record.stdin,
        "OpenStdout": record.stdout,
        "OpenStderr": record.stderr,
        "ProcessConfig": {
            "entrypoint": record.command[0],
            "arguments": record.command[1..],
            "tty": record.tty,
            "privileged": record.privileged,
            "user": record.user.clone().unwrap_or_default(),
        },
    })
}

fn start(cx: &Cx<'_>, conn: &mut Conn, id: &str) -> Result<()> {
    let body = cx.body(conn)?;
    let mut record = read(cx.session, id)?;
    if record.parent.is_some() {
        return Err(Error::new(
            Kind::InUse,
            format!("exec session {id} was started already"),
        ));
    }
    let detach = body["Detach"].as_bool().unwrap_or(false);
    // Both requests say it; the first one counts, as the streams were announced by it.
    let tty = record.tty;
    let console = body["ConsoleSize"].as_array().and_then(|size| {
        let number = |at: usize| size.get(at)?.as_u64().and_then(|n| u16::try_from(n).ok());
        Some(Size {
            rows: number(0).filter(|n| *n > 0)?,
            columns: number(1).filter(|n| *n > 0)?,
        })
    });
    let request = ExecOptions {
        container: record.container.clone(),
        command: record.command.clone(),
        interactive: record.stdin && !detach,
        tty,
        detach,
        env: record.env.clone(),
        user: record.user.clone(),
        workdir: record.workdir.clone(),
        privileged: record.privileged,
        ..ExecOptions::default()
    };
    let options = streams::options(tty, record.keys.as_deref())?;
    let sizes = tty.then(|| Sizes::listen(cx.session, id)).transpose()?;
    // The answer goes out before the command may write: docker-py loses what comes along with it. So
    // what can be refused with a status of its own is looked at first.
    let client = match detach {
        true => None,
        false => {
            let container = Containers::new(&cx.session.dirs).find(&record.container)?;
            if container.state()? != State::Running {
                return Err(Error::new(
                    Kind::InUse,
                    format!("container {} is not running", record.container),
                ));
            }
            Some(Client::hijack(cx, conn, streams::kind(tty))?)
        }
    };
    let begun = match begin(cx.session, &request, console, Some(id)) {
        Ok(begun) => begun,
        Err(e) => {
            let _gone = remove_file_if_exists(&resize_socket(cx.session, id));
            let Some(client) = client else {
                return Err(e);
            };
            // The client reads why, and the code from the session.
            record.code = Some(i32::from(e.asked_exit_code().unwrap_or(126)));
            write(cx.session, id, &record)?;
            let message = format!("{}\r\n", e.one_line());
            let caller = client.caller(false, true, false)?;
            return streams::tell(caller, tty, message.as_bytes());
        }
    };
    let Begun {
        container,
        pid,
        local,
        ..
    } = begun;
    record.parent = Some(Identity::of(std::process::id().cast_signed())?);
    record.pid = pid;
    write(cx.session, id, &record)?;
    if let (Some(pty), Some(sizes)) = (&local.pty, &sizes) {
        fd::send(&sizes.0, b"p", &[pty.as_fd()])?;
    }
    let over = |record: &mut Record, code: i32| {
        record.code = Some(code);
        let _told = write(cx.session, id, record);
        let _gone = remove_file_if_exists(&resize_socket(cx.session, id));
        ended(cx.session, &container, id, code);
    };
    let Some(client) = client else {
        conn.empty(200)?;
        cx.line.next(conn);
        // A terminal that nobody reads would stop the command when it is full.
        let end = local
            .pidfd
            .try_clone()
            .what(|| "cannot duplicate a descriptor")?;
        let none = relay::Caller::default();
        match relay::local(local, none, &relay::Options::default()) {
            Ok(Outcome::Exited(code)) => over(&mut record, code),
            _ => over(&mut record, pidfd::wait(&end)?.code()),
        }
        return Ok(());
    };
    let caller = client.caller(record.stdin, record.stdout, record.stderr)?;
    let end = local
        .pidfd
        .try_clone()
        .what(|| "cannot duplicate a descriptor")?;
    let outcome = relay::local(local, caller, &options);
    let code = match outcome {
        Ok(Outcome::Exited(code)) => code,
        // The client left; the command goes on until it writes to nobody.
        _ => {
            cx.line.next(conn);
            drop(conn.stream().shutdown(std::net::Shutdown::Both));
            pidfd::wait(&end)?.code()
        }
    };
    over(&mut record, code);
    Ok(())
}

/// A process that gives a terminal the sizes that come. It is forked before the command is started:
/// afterwards this process may neither have threads nor children outside the container.
struct Sizes(OwnedFd);

impl Sizes {
    fn listen(session: &Session, id: &str) -> Result<Self> {
        let socket = address::receive(&resize_socket(session, id))?;
        let (ours, theirs) = fd::packet_pair()?;
        fork_with(|| {
            daemon::close_all_but(&[theirs.as_fd(), socket.as_fd()]);
            drop(Self::follow(&theirs, &socket));
            0
        })?;
        Ok(Self(ours))
    }

    fn follow(parent: &OwnedFd, socket: &std::os::unix::net::UnixDatagram) -> Result<()> {
        let (_, mut fds) = fd::receive(parent, 16)?;
        let Some(pty) = fds.pop() else { return Ok(()) };
        let mut buffer = [0; 32];
        loop {
            let mut ready = [
                PollFd::new(socket, PollFlags::IN),
                PollFd::new(parent, PollFlags::IN),
            ];
            if poll(&mut ready, None).is_err() || !ready[1].revents().is_empty() {
                return Ok(());
            }
            let Ok(length) = socket.recv(&mut buffer) else {
                return Ok(());
            };
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let mut numbers = text.split(' ').map(str::parse::<u16>);
            if let (Some(Ok(rows)), Some(Ok(columns))) = (numbers.next(), numbers.next()) {
                let _ended = Size { rows, columns }.apply(pty.as_fd());
            }
        }
    }
}
