//! The monitor with a shell in place of a container: everything but namespaces is real.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::*;
use crate::base::time::Timestamp;
use crate::base::{Error, Kind};
use crate::config::dirs::Dirs;
use crate::handoff::control::Control;
use crate::handoff::ended::wait_ended;
use crate::handoff::frame::{self, Decoder};
use crate::handoff::output::Stream;
use crate::handoff::relay::{self, Caller, Outcome};
use crate::state::container::{ContainerRecord, Containers, State};
use crate::state::options::ContainerOptions;
use crate::sys::pidfd;

/// Writes what the monitor gives it into a file.
struct FileSink(File);

impl Sink for FileSink {
    fn write(&mut self, stream: Stream, _time: Timestamp, bytes: &[u8]) -> Result<()> {
        let name = stream.name();
        writeln!(
            self.0,
            "{name}: {}",
            String::from_utf8_lossy(bytes).trim_end()
        )
        .unwrap();
        Ok(())
    }
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
    fn reopen(&mut self) -> Result<()> {
        Ok(())
    }
}

fn dirs(dir: &std::path::Path) -> Dirs {
    Dirs::new(dir.join("data"), dir.join("run"))
}

/// A record of which only the name and the id matter.
fn record() -> ContainerRecord {
    serde_json::from_value(serde_json::json!({
        "version": 1, "id": "07".repeat(32), "name": "web", "created": 0, "options": {}
    }))
    .unwrap()
}

/// One container below a folder of its own.
pub(crate) struct World {
    pub dir: tempfile::TempDir,
    pub container: Container,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(ContainerOptions::default())
    }

    pub(crate) fn dirs(&self) -> Dirs {
        dirs(self.dir.path())
    }

    pub(crate) fn with(options: ContainerOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let dirs = dirs(dir.path());
        let container = Containers::new(&dirs)
            .create(
                ContainerRecord {
                    options,
                    ..record()
                },
                crate::base::fs::Durability::Volatile,
            )
            .unwrap();
        Self { dir, container }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn plan(&self, script: &str) -> MonitorPlan<'static> {
        let script = script.to_owned();
        let note = |path: PathBuf| {
            move |record: &ExitRecord| {
                let mut file = File::options()
                    .create(true)
                    .append(true)
                    .open(&path)
                    .unwrap();
                writeln!(file, "{}", record.code).unwrap();
            }
        };
        MonitorPlan {
            container: self.container.clone(),
            launch: Box::new(move |attempt| {
                let running = shell(&script, attempt)?;
                Ok(Box::new(move || Ok(running)))
            }),
            on_exit: {
                let note = note(self.path("on_exit"));
                Box::new(move |record| {
                    note(record);
                    Vec::new()
                })
            },
            cleanup: Box::new(note(self.path("cleanup"))),
            log: Box::new(FileSink(File::create(self.path("log")).unwrap())),
            stdio: StdioPlan::Pipes { stdin: false },
            attach: None,
            restart: RestartPolicy::No,
            timeout: None,
            stop_signal: libc::SIGTERM,
            stop_timeout: Duration::from_secs(10),
            pidfile: None,
            monitor_pidfile: None,
            events: None,
            health: None,
            health_events: true,
            exec: Box::new(|_, words| check(words)),
            demand: None,
            notify: None,
            foreign: Vec::new(),
        }
    }

    pub(crate) fn control(&self) -> Control {
        Control::connect(&self.container.control_socket()).unwrap()
    }
}

const ALL: AttachRequest = AttachRequest {
    stdin: false,
    stdout: true,
    stderr: true,
    size: None,
    owner: false,
};

#[expect(clippy::zombie_processes, reason = "it is waited for by its pidfd")]
fn shell(script: &str, attempt: Attempt) -> Result<Running> {
    let mut pty = None;
    let mut command = match attempt.stdio {
        AttemptStdio::Fds([stdin, stdout, stderr]) => {
            let mut command = Command::new("/bin/sh");
            command.stdin(stdin).stdout(stdout).stderr(stderr);
            command
        }
        AttemptStdio::Terminal(size) => {
            let (master, slave) = terminal();
            if let Some(size) = size {
                size.apply(&master)?;
            }
            let mut command = Command::new("setsid");
            command.args(["--ctty", "--wait", "/bin/sh"]);
            command.stdin(slave.try_clone().unwrap());
            command.stdout(slave.try_clone().unwrap()).stderr(slave);
            pty = Some(master);
            command
        }
        AttemptStdio::Passthrough => Command::new("/bin/sh"),
    };
    let child = command
        .args(["-c", script])
        .env("ATTEMPT", attempt.number.to_string())
        .spawn()
        .unwrap();
    let pid = child.id().cast_signed();
    let mut running = Running::new(pid, pidfd::open(pid)?);
    running.pty = pty;
    Ok(running)
}

fn terminal() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let slave = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
    (master, slave)
}

/// Relays like the command would; gives output, errors and the outcome.
fn relayed(client: UnixStream, input: &str) -> (String, String, Outcome) {
    let (out_read, out) = rustix::pipe::pipe().unwrap();
    let (err_read, err) = rustix::pipe::pipe().unwrap();
    let (stdin, mut stdin_write) = std::io::pipe().unwrap();
    stdin_write.write_all(input.as_bytes()).unwrap();
    drop(stdin_write);
    let reader = |fd: OwnedFd| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            File::from(fd).read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let (out_thread, err_thread) = (reader(out_read), reader(err_read));
    let caller = Caller {
        stdin: Some(stdin.into()),
        stdout: Some(out),
        stderr: Some(err),
    };
    let outcome = relay::attached(client, caller, &relay::Options::default()).unwrap();
    (
        out_thread.join().unwrap(),
        err_thread.join().unwrap(),
        outcome,
    )
}

fn ended(started: &Started) {
    // It is a child of this process: reaped when it ends.
    assert!(wait_ended(&started.monitor, Some(Duration::from_secs(20))).unwrap());
}

pub(crate) fn wait_for(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        crate::sys::process::pause(Duration::from_millis(5));
    }
    panic!("waited in vain: {what}");
}

#[test]
fn output_reaches_the_command_and_the_log_and_the_code_is_recorded() {
    let world = World::new();
    let started = spawn(MonitorPlan {
        attach: Some(ALL),
        pidfile: Some(world.path("pid")),
        monitor_pidfile: Some(world.path("monitor-pid")),
        ..world.plan("echo out; echo err >&2; exit 7")
    })
    .unwrap();
    let (out, err, outcome) = relayed(started.client.as_ref().unwrap().try_clone().unwrap(), "");
    assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));
    assert_eq!(outcome, Outcome::Exited(7));
    assert_eq!(
        world.container.state().unwrap(),
        State::Exited,
        "before the command hears of it"
    );
    let exit = world.container.exit().unwrap().unwrap();
    assert_eq!(
        (exit.code, exit.unknown, exit.stopped_by_user),
        (7, false, false)
    );
    assert_eq!(world.text("on_exit"), "7\n");
    drop(started.client);
    wait_for("cleanup", || world.text("cleanup") == "7\n");
    let log = world.text("log");
    assert!(
        log.contains("stdout: out\n") && log.contains("stderr: err\n"),
        "{log}"
    );
    assert_eq!(world.text("pid"), started.pid.to_string());
    assert_eq!(world.text("monitor-pid"), started.monitor.pid.to_string());
}

#[test]
fn a_failed_start_passes_the_error_whole_and_is_recorded() {
    let world = World::new();
    let mut plan = world.plan("");
    plan.launch = Box::new(|_| {
        Err(Error::not_found("no such command")
            .hint("look into the image")
            .exit_code(127)
            .because(crate::sys::Error::new("execve", "/x", libc::ENOENT)))
    });
    let error = spawn(plan).unwrap_err();
    assert_eq!(error.asked_exit_code(), Some(127));
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(error.errno(), Some(libc::ENOENT));
    assert_eq!(error.hints(), ["look into the image"]);
    let exit = world.container.exit().unwrap().unwrap();
    assert_eq!(exit.code, 127);
    assert!(exit.error.unwrap().contains("no such command"));
    assert_eq!(world.container.state().unwrap(), State::Exited);
    wait_for("cleanup", || world.text("cleanup") == "127\n");
}

#[test]
fn input_goes_in_and_its_end_closes_it() {
    let world = World::new();
    let started = spawn(MonitorPlan {
        attach: Some(AttachRequest { stdin: true, ..ALL }),
        stdio: StdioPlan::Pipes { stdin: true },
        ..world.plan("wc -c")
    })
    .unwrap();
    let input = "x".repeat(60_000);
    let (out, _, outcome) = relayed(started.client.unwrap(), &input);
    assert_eq!(out.trim(), "60000");
    assert_eq!(outcome, Outcome::Exited(0));
}

#[test]
fn without_interactive_input_is_empty() {
    let world = World::new();
    let started = spawn(MonitorPlan {
        attach: Some(AttachRequest { stdin: true, ..ALL }),
        ..world.plan("wc -c")
    })
    .unwrap();
    let (out, _, _) = relayed(started.client.unwrap(), "ignored");
    assert_eq!(out.trim(), "0");
}

#[test]
fn a_killed_command_leaves_the_container_and_a_later_client_sees_its_end() {
    let world = World::new();
    let gate = world.path("gate");
    let started = spawn(MonitorPlan {
        attach: Some(AttachRequest { stdin: true, ..ALL }),
        stdio: StdioPlan::Pipes { stdin: true },
        ..world.plan(&format!(
            "echo first; while ! test -e {}; do sleep 0.01; done; read line; echo got $line; exit 3",
            gate.display()
        ))
    })
    .unwrap();
    drop(started.client);
    assert_eq!(world.container.state().unwrap(), State::Running);
    wait_for("the first line", || world.text("log").contains("first"));
    let one = world
        .control()
        .attach(AttachRequest { stdin: true, ..ALL })
        .unwrap();
    let two = world.control().attach(ALL).unwrap();
    let waiting = world.control().wait().unwrap();
    File::create(gate).unwrap();
    let second = std::thread::spawn(move || relayed(two, ""));
    let (out, _, outcome) = relayed(one, "hello\n");
    assert_eq!(out, "got hello\n");
    assert_eq!(outcome, Outcome::Exited(3));
    assert_eq!(
        second.join().unwrap(),
        ("got hello\n".to_owned(), String::new(), outcome)
    );
    assert_eq!(waiting.finish().unwrap(), Some(3));
}

#[test]
fn a_slow_command_loses_nothing_of_a_large_output() {
    let world = World::new();
    let size = 24 << 20;
    let started = spawn(MonitorPlan {
        attach: Some(ALL),
        log: Box::new(crate::handoff::output::Discard),
        ..world.plan(&format!("head -c {size} /dev/zero; echo end >&2"))
    })
    .unwrap();
    // Long after the socket and the pipes are full, nothing is lost.
    crate::sys::process::pause(Duration::from_millis(300));
    let (mut stream, mut decoder) = (started.client.unwrap(), Decoder::default());
    let (mut got, mut errors, mut exit) = (0, Vec::new(), None);
    let mut buffer = vec![0; 300_000];
    while exit.is_none() {
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "cut after {got} bytes");
        decoder.feed(&buffer[..n]);
        while let Some((kind, bytes)) = decoder.next_frame().unwrap() {
            match kind {
                frame::Kind::Stdout => got += bytes.len(),
                frame::Kind::Stderr => errors.extend_from_slice(bytes),
                frame::Kind::Exit => exit = Some(bytes.to_vec()),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(got, size);
    assert_eq!(errors, b"end\n");
    assert_eq!(exit.unwrap(), [0; 4]);
}

#[test]
fn a_reader_that_goes_away_is_a_broken_pipe_and_the_container_goes_on() {
    let world = World::new();
    let started = spawn(MonitorPlan {
        attach: Some(ALL),
        ..world.plan("while :; do echo y; sleep 0.005; done")
    })
    .unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    drop(reader);
    let caller = Caller {
        stdout: Some(writer),
        ..Caller::default()
    };
    let outcome = relay::attached(started.client.unwrap(), caller, &relay::Options::default());
    assert_eq!(outcome.unwrap(), Outcome::BrokenPipe);
    assert_eq!(world.container.state().unwrap(), State::Running);
    crate::sys::signal::send(started.pid, libc::SIGKILL).unwrap();
}

#[test]
fn on_failure_restarts_as_often_as_it_says_and_records_the_last_exit() {
    let world = World::new();
    let mut plan = world.plan("echo run $ATTEMPT; exit 4");
    plan.restart = RestartPolicy::OnFailure(Some(2));
    let started = spawn(plan).unwrap();
    wait_for("the last restart", || world.text("cleanup") == "4\n");
    assert_eq!(world.text("on_exit"), "4\n", "once, at the end");
    assert_eq!(
        world.text("log"),
        "stdout: run 0\nstdout: run 1\nstdout: run 2\n"
    );
    assert_eq!(world.container.state().unwrap(), State::Exited);
    drop(started);
}

#[test]
fn a_stopped_container_is_not_restarted_and_the_record_says_so() {
    let world = World::new();
    let mut plan = world.plan("trap 'exit 5' TERM; echo up; while :; do sleep 0.01; done");
    plan.restart = RestartPolicy::Always;
    let started = spawn(plan).unwrap();
    wait_for("the trap", || world.text("log").contains("up"));
    let mut control = world.control();
    control.stopping().unwrap();
    crate::sys::signal::send(started.pid, libc::SIGTERM).unwrap();
    assert_eq!(control.wait().unwrap().finish().unwrap(), Some(5));
    let exit = world.container.exit().unwrap().unwrap();
    assert!(exit.stopped_by_user);
    assert_eq!(world.container.state().unwrap(), State::Exited);
}

#[test]
fn a_stop_between_two_starts_ends_it() {
    let world = World::new();
    let mut plan = world.plan("exit 1");
    plan.restart = RestartPolicy::Always;
    let started = spawn(plan).unwrap();
    // By now the delay is long enough to be met in the middle.
    wait_for("some restarts", || {
        matches!(world.container.state_and_status().unwrap(),
            (State::Restarting, Some(s)) if s.restarts >= 2 && s.init.is_none())
    });
    world.control().stopping().unwrap();
    wait_for("the end", || {
        world.container.state().unwrap() == State::Exited
    });
    assert!(world.container.exit().unwrap().unwrap().stopped_by_user);
    drop(started);
}

#[test]
fn the_policy_can_be_changed_while_it_runs() {
    let world = World::new();
    let mut plan = world.plan("while :; do sleep 0.01; done");
    plan.restart = RestartPolicy::Always;
    let started = spawn(plan).unwrap();
    let policy = serde_json::to_value(RestartPolicy::No).unwrap();
    let request = crate::handoff::control::Request::Restart { policy };
    world.control().call(&request).unwrap();
    crate::sys::signal::send(started.pid, libc::SIGKILL).unwrap();
    wait_for("the end", || world.text("cleanup") == "137\n");
}

#[test]
fn a_timeout_kills() {
    let world = World::new();
    let mut plan = world.plan("while :; do sleep 0.01; done");
    plan.timeout = Some(Duration::from_millis(50));
    spawn(plan).unwrap();
    wait_for("the kill", || world.text("cleanup") == "137\n");
}

#[test]
fn sigterm_for_the_monitor_stops_the_container_without_a_restart() {
    let world = World::new();
    let mut plan = world.plan("trap '' TERM; echo up; while :; do sleep 0.01; done");
    plan.restart = RestartPolicy::Always;
    plan.stop_timeout = Duration::from_millis(50);
    let started = spawn(plan).unwrap();
    wait_for("the trap", || world.text("log").contains("up"));
    crate::sys::signal::send(started.monitor.pid, libc::SIGTERM).unwrap();
    wait_for("the end", || world.text("cleanup") == "137\n");
    assert!(!world.container.exit().unwrap().unwrap().stopped_by_user);
}

#[test]
fn a_lack_of_memory_is_told_while_the_container_lives() {
    let world = World::new();
    let gate = world.path("gate");
    let script = format!("while ! [ -e {} ]; do sleep 0.02; done", gate.display());
    let mut plan = world.plan(&script);
    plan.launch = Box::new(move |attempt| {
        let mut running = shell(&script, attempt)?;
        // Without a reader the pipe has an error condition, as the event file when it changed.
        let (read, changed) = crate::sys::fd::pipe()?;
        drop(read);
        let mut asked = 0;
        running.memory = Some(Memory {
            changed,
            kills: Box::new(move || {
                asked += 1;
                // No news, then a kill; then the group is gone, and nobody asks again.
                [Some(0), Some(0), Some(1)]
                    .get(asked - 1)
                    .copied()
                    .flatten()
            }),
        });
        Ok(Box::new(move || Ok(running)))
    });
    let started = spawn(plan).unwrap();
    let status = || world.container.status().unwrap();
    wait_for("the status", || status().is_some_and(|s| s.out_of_memory));
    assert_eq!(world.container.state().unwrap(), State::Running);
    std::fs::write(&gate, "").unwrap();
    ended(&started);
    assert!(world.container.exit().unwrap().unwrap().oom_killed);
}

#[test]
fn a_killed_monitor_is_noticed() {
    let world = World::new();
    let started = spawn(world.plan("while :; do sleep 0.01; done")).unwrap();
    let waiting = world.control().wait().unwrap();
    crate::sys::signal::send(started.monitor.pid, libc::SIGKILL).unwrap();
    ended(&started);
    assert_eq!(waiting.finish().unwrap(), None);
    assert_eq!(world.container.state().unwrap(), State::Lost);
    // A real container dies with it by PDEATHSIG.
    crate::sys::signal::send(started.pid, libc::SIGKILL).unwrap();
}

#[test]
fn a_container_that_removes_itself_tells_the_code_without_a_record() {
    let world = World::with(ContainerOptions {
        remove: true,
        ..ContainerOptions::default()
    });
    let started = spawn(world.plan("sleep 0.05; exit 9")).unwrap();
    let waiting = world.control().wait().unwrap();
    assert_eq!(waiting.finish().unwrap(), Some(9));
    assert!(world.container.exit().unwrap().is_none());
    drop(started);
}

#[test]
fn the_monitor_holds_nothing_of_its_callers() {
    let world = World::new();
    let lock = world.container.lock(Duration::from_secs(1)).unwrap();
    let secret = File::create(world.path("secret")).unwrap();
    // As a shell hands it down: without close-on-exec.
    let inherited = rustix::io::dup(&secret).unwrap();
    let mut plan = world.plan("while :; do sleep 0.01; done");
    plan.foreign = vec![secret.as_fd(), lock.as_fd()];
    let started = spawn(plan).unwrap();
    drop((lock, inherited));
    let dir = format!("/proc/{}/fd", started.monitor.pid);
    let held: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .filter_map(|e| std::fs::read_link(e.unwrap().path()).ok())
        .collect();
    assert!(!held.contains(&world.path("secret")), "{held:?}");
    assert!(!held.iter().any(|p| p == world.container.dir()), "{held:?}");
    assert!(
        world.container.lock(Duration::from_millis(50)).is_ok(),
        "the lock is free though the monitor lives"
    );
    crate::sys::signal::send(started.pid, libc::SIGKILL).unwrap();
}

#[test]
fn a_terminal_has_the_clients_size_and_takes_input_as_typed() {
    let world = World::new();
    let size = Size {
        rows: 33,
        columns: 77,
    };
    let started = spawn(MonitorPlan {
        stdio: StdioPlan::Terminal { size: Some(size) },
        attach: Some(AttachRequest { stdin: true, ..ALL }),
        ..world.plan("stty size; read a; stty size; echo got $a; exit 6")
    })
    .unwrap();
    let mut client = started.client.unwrap();
    let seen = |client: &mut UnixStream, text: &str, until: &str| {
        let (mut decoder, mut seen) = (Decoder::default(), text.to_owned());
        let mut buffer = [0; 4096];
        while !seen.contains(until) {
            let n = client.read(&mut buffer).unwrap();
            assert!(n > 0, "{seen}");
            decoder.feed(&buffer[..n]);
            while let Some((kind, bytes)) = decoder.next_frame().unwrap() {
                match kind {
                    frame::Kind::Stdout => seen.push_str(&String::from_utf8_lossy(bytes)),
                    frame::Kind::Exit => seen.push_str(&format!("exit {}", bytes[3])),
                    _ => {}
                }
            }
        }
        seen
    };
    seen(&mut client, "", "33 77\r\n");
    let mut control = world.control();
    control
        .resize(Size {
            rows: 10,
            columns: 20,
        })
        .unwrap();
    client
        .write_all(&frame::small(frame::Kind::Stdin, b"hi\r"))
        .unwrap();
    let text = seen(&mut client, "", "exit 6");
    assert!(text.contains("10 20\r\n"), "{text}");
    assert!(text.contains("got hi\r\n"), "{text}");
}

#[test]
fn requests_without_a_meaning_are_refused_by_name() {
    let world = World::new();
    let started = spawn(world.plan("while :; do sleep 0.01; done")).unwrap();
    let mut control = world.control();
    let error = control
        .resize(Size {
            rows: 1,
            columns: 1,
        })
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    control.set_paused(true).unwrap();
    assert_eq!(world.container.state().unwrap(), State::Paused);
    control.set_paused(false).unwrap();
    let status = control
        .call(&crate::handoff::control::Request::Status)
        .unwrap();
    assert_eq!(status["init"]["pid"], started.pid);
    crate::sys::signal::send(started.pid, libc::SIGKILL).unwrap();
}

#[test]
fn starting_is_recorded_before_it_is_finished() {
    let world = World::new();
    let container = world.container.clone();
    let mut plan = world.plan("");
    plan.launch = Box::new(move |_| {
        let container = container.clone();
        Ok(Box::new(move || {
            // Whoever looks now sees that somebody is at it.
            let state = container.state().unwrap();
            Err(Error::internal(format!("{state:?}")))
        }))
    });
    assert_eq!(spawn(plan).unwrap_err().what(), "Restarting");
}

/// A program of a health check, without a container around it.
fn check(words: &[String]) -> Result<Probing> {
    use std::os::unix::process::CommandExt as _;
    let (output, theirs) = crate::sys::fd::pipe()?;
    let child = Command::new(&words[0])
        .args(&words[1..])
        .stdout(theirs.try_clone().unwrap())
        .stderr(theirs)
        .process_group(0)
        .spawn()
        .map_err(|e| Error::not_found("cannot run it").because(e).exit_code(127))?;
    let pid = child.id().cast_signed();
    Ok(Probing {
        pid,
        pidfd: pidfd::open(pid)?,
        output,
    })
}
