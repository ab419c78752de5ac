//! The relay of `exec`, in a process of its own between two real terminals.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Command;
use std::time::Duration;

use rustix::termios::{LocalModes, tcgetattr};

use super::*;
use crate::handoff::terminal::Size;
use crate::sys::{daemon, fd, pidfd, signal};

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

/// A relay in another process; the test sits at the caller's terminal.
struct Sitting {
    screen: File,
    seen: String,
    pid: i32,
    pidfd: OwnedFd,
}

#[expect(clippy::zombie_processes, reason = "it is waited for by its pidfd")]
impl Sitting {
    /// Runs a script in a terminal of its own, relayed.
    fn new(script: &str, options: &Options) -> Self {
        let (master, slave) = terminal();
        Size {
            rows: 40,
            columns: 100,
        }
        .apply(&master)
        .unwrap();
        let pid = daemon::fork_daemon(|| {
            let (inner, theirs) = terminal();
            // As `exec` does: the first size is there before the program.
            Size::of(&slave).unwrap().apply(&inner).unwrap();
            // A caller may ignore the signal, and a shell cannot trap what it found ignored.
            let child = Command::new("env")
                .args(["--default-signal=INT", "setsid", "--ctty", "--wait"])
                .args(["/bin/sh", "-c", script])
                .stdin(theirs.try_clone().unwrap())
                .stdout(theirs.try_clone().unwrap())
                .stderr(theirs)
                .spawn()
                .unwrap();
            let process = Local {
                pidfd: pidfd::open(child.id().cast_signed()).unwrap(),
                pty: Some(inner),
                stdin: None,
                stdout: None,
                stderr: None,
            };
            let caller = Caller {
                stdin: Some(slave.try_clone().unwrap()),
                stdout: Some(slave.try_clone().unwrap()),
                stderr: None,
            };
            match local(process, caller, options) {
                Ok(Outcome::Exited(code)) => u8::try_from(code).unwrap(),
                Ok(Outcome::Detached) => 200,
                Ok(Outcome::BrokenPipe) => 201,
                Err(_) => 202,
            }
        })
        .unwrap();
        Self {
            screen: File::from(master),
            seen: String::new(),
            pid,
            pidfd: pidfd::open(pid).unwrap(),
        }
    }

    fn sees(&mut self, text: &str) {
        let mut buffer = [0; 1024];
        while !self.seen.contains(text) {
            assert!(
                fd::wait_readable(&self.screen, Some(Duration::from_secs(20))).unwrap(),
                "waited for {text:?}, saw {:?}",
                self.seen
            );
            let n = self.screen.read(&mut buffer).unwrap();
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    }

    fn types(&mut self, keys: &[u8]) {
        self.screen.write_all(keys).unwrap();
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(self.screen.as_fd())
            .unwrap()
            .local_modes
            .contains(LocalModes::ICANON)
    }

    fn ends(self) -> pidfd::Ended {
        assert!(pidfd::wait_end(&self.pidfd, Some(Duration::from_secs(20))).unwrap());
        assert!(!self.is_raw(), "the terminal is as it was");
        pidfd::wait(&self.pidfd).unwrap()
    }
}

fn options() -> Options {
    Options {
        tty: true,
        detach_keys: DetachKeys::parse(crate::handoff::keys::DEFAULT).unwrap(),
        proxy_signals: true,
        ..Options::default()
    }
}

#[test]
fn typed_bytes_size_and_exit_code_go_through_a_raw_terminal() {
    let script = "stty size; read a; echo got $a; exit 7";
    let mut sitting = Sitting::new(script, &options());
    sitting.sees("40 100\r\n");
    assert!(sitting.is_raw());
    sitting.types(b"hi\r");
    sitting.sees("got hi\r\n");
    assert_eq!(sitting.ends(), pidfd::Ended::Exited(7));
}

#[test]
fn control_c_is_a_byte_for_the_container() {
    let script = "trap 'echo caught; exit 3' INT; echo up; while :; do sleep 0.01; done";
    let mut sitting = Sitting::new(script, &options());
    sitting.sees("up\r\n");
    sitting.types(b"\x03");
    sitting.sees("caught");
    assert_eq!(sitting.ends(), pidfd::Ended::Exited(3));
}

#[test]
fn the_detach_keys_leave() {
    let mut sitting = Sitting::new("echo up; read a", &options());
    sitting.sees("up\r\n");
    sitting.types(b"x\x10");
    sitting.types(b"\x11");
    assert_eq!(sitting.ends(), pidfd::Ended::Exited(200));
}

#[test]
fn a_new_size_goes_on() {
    let script = "trap 'stty size; exit 0' WINCH; echo up; while :; do sleep 0.01; done";
    let mut sitting = Sitting::new(script, &options());
    sitting.sees("up\r\n");
    Size {
        rows: 11,
        columns: 22,
    }
    .apply(&sitting.screen)
    .unwrap();
    // The kernel tells the terminal's own session; this relay is in another one.
    signal::send(sitting.pid, libc::SIGWINCH).unwrap();
    sitting.sees("11 22\r\n");
    assert_eq!(sitting.ends(), pidfd::Ended::Exited(0));
}

#[test]
fn a_signal_that_ends_the_command_restores_the_terminal_first() {
    let keep = Options {
        proxy_signals: false,
        ..options()
    };
    let mut sitting = Sitting::new("echo up; sleep 20", &keep);
    sitting.sees("up\r\n");
    assert!(sitting.is_raw());
    signal::send(sitting.pid, libc::SIGTERM).unwrap();
    assert_eq!(sitting.ends(), pidfd::Ended::Signalled(libc::SIGTERM));
}

#[test]
fn a_proxied_signal_reaches_the_process() {
    // `setsid --wait` stands between: it dies of the signal, and so does its session.
    let mut sitting = Sitting::new("echo up; sleep 20", &options());
    sitting.sees("up\r\n");
    signal::send(sitting.pid, libc::SIGTERM).unwrap();
    assert_eq!(sitting.ends(), pidfd::Ended::Exited(143));
}

#[expect(clippy::zombie_processes, reason = "it is waited for by its pidfd")]
#[test]
fn pipes_are_relayed_both_ways_and_apart() {
    let (stdin, mut write) = std::io::pipe().unwrap();
    let (mut out_read, out) = std::io::pipe().unwrap();
    let (mut err_read, err) = std::io::pipe().unwrap();
    let [
        (input, theirs_in),
        (theirs_out, output),
        (theirs_err, errors),
    ] = [
        fd::pipe().map(|(r, w)| (w, r)).unwrap(),
        fd::pipe().map(|(r, w)| (w, r)).unwrap(),
        fd::pipe().map(|(r, w)| (w, r)).unwrap(),
    ];
    let child = Command::new("/bin/sh")
        .args(["-c", "wc -c; echo bad >&2; exit 4"])
        .stdin(theirs_in)
        .stdout(theirs_out)
        .stderr(theirs_err)
        .spawn()
        .unwrap();
    let process = Local {
        pidfd: pidfd::open(child.id().cast_signed()).unwrap(),
        pty: None,
        stdin: Some(input),
        stdout: Some(output),
        stderr: Some(errors),
    };
    let writer = std::thread::spawn(move || write.write_all(&[b'x'; 300_000]).unwrap());
    let caller = Caller {
        stdin: Some(stdin.into()),
        stdout: Some(out.into()),
        stderr: Some(err.into()),
    };
    let outcome = local(process, caller, &Options::default()).unwrap();
    writer.join().unwrap();
    assert_eq!(outcome, Outcome::Exited(4));
    let mut text = String::new();
    out_read.read_to_string(&mut text).unwrap();
    assert_eq!(text.trim(), "300000");
    text.clear();
    err_read.read_to_string(&mut text).unwrap();
    assert_eq!(text, "bad\n");
}
