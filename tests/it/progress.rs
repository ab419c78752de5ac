//! What long work shows: moving bars on a terminal, plain lines in a pipe, nothing with --quiet.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::support::World;
use crate::support::liar::{Fault, Liar};
use crate::support::peer::wait_for;

/// A command on a terminal of its own.
struct OnTerminal {
    child: Child,
    terminal: OwnedFd,
    keyboard: File,
    before: Termios,
    shown: Arc<Mutex<String>>,
    reader: std::thread::JoinHandle<()>,
}

fn on_terminal(world: &World, columns: u16, args: &[&str]) -> OnTerminal {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap();
    let open = || {
        let file = File::options()
            .read(true)
            .write(true)
            .open(path.to_str().unwrap());
        OwnedFd::from(file.unwrap())
    };
    let terminal = open();
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&terminal, size).unwrap();
    let before = tcgetattr(&terminal).unwrap();
    let mut command = world.command(args);
    command
        .env("TERM", "xterm")
        .stdin(Stdio::from(open()))
        .stdout(Stdio::from(open()))
        .stderr(Stdio::from(open()));
    let child = command.spawn().unwrap();
    drop(command);
    let shown = Arc::new(Mutex::new(String::new()));
    let all = Arc::clone(&shown);
    let mut master = File::from(master);
    let keyboard = master.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // EIO when nobody has the terminal any more.
        while let Ok(n @ 1..) = master.read(&mut buffer) {
            all.lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    });
    OnTerminal {
        child,
        terminal,
        keyboard,
        before,
        shown,
        reader,
    }
}

impl OnTerminal {
    fn sees(&self, text: &str) {
        wait_for(text, || self.shown.lock().unwrap().contains(text));
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for its end: the status, and all that it showed. The terminal must be as it was.
    fn end(mut self) -> (std::process::ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let after = tcgetattr(self.terminal.as_fd()).unwrap();
        assert!(same(&self.before, &after));
        // The reader ends when nobody has it.
        drop(self.terminal);
        drop(self.keyboard);
        self.reader.join().unwrap();
        let shown = self.shown.lock().unwrap().clone();
        (status, shown)
    }
}

fn same(a: &Termios, b: &Termios) -> bool {
    (
        a.input_modes,
        a.output_modes,
        a.control_modes,
        a.local_modes,
    ) == (
        b.input_modes,
        b.output_modes,
        b.control_modes,
        b.local_modes,
    )
}

/// What the lines look like when the terminal has done what it was told.
fn screen(shown: &str) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    let mut row = 0;
    let mut rest = shown;
    while let Some(c) = rest.chars().next() {
        if let Some(sequence) = rest.strip_prefix("\x1b[") {
            let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap();
            match &sequence[end..=end] {
                "A" => row -= sequence[..end].parse::<usize>().unwrap(),
                "J" => lines.truncate(row + 1),
                other => panic!("unknown sequence {other:?}"),
            }
            rest = &sequence[end + 1..];
            continue;
        }
        match c {
            '\n' => {
                row += 1;
                if row == lines.len() {
                    lines.push(String::new());
                }
            }
            '\r' => {}
            c => lines[row].push(c),
        }
        if c == '\r' && rest[1..].starts_with("\x1b[J") {
            lines[row].clear();
        }
        rest = &rest[c.len_utf8()..];
    }
    lines
}

#[test]
fn on_a_terminal_bars_move_and_leave_one_line_each() {
    for columns in [100, 20] {
        let (world, liar) = (World::new(), Liar::start(Fault::Cut(1)));
        let name = liar.image();
        let running = on_terminal(&world, columns, &["pull", "--retry-delay", "300ms", &name]);
        let (status, shown) = running.end();
        assert!(status.success(), "{shown}");
        assert!(shown.contains("\x1b["), "nothing moved: {shown}");
        if columns == 100 {
            assert!(shown.contains("=>"), "no bar: {shown:?}");
            assert!(shown.contains(" / 2.099MB"), "{shown:?}");
        }
        let last = screen(&shown);
        let copied: Vec<&String> = last
            .iter()
            .filter(|l| l.starts_with("Copying blob"))
            .collect();
        assert_eq!(copied.len(), 1, "{last:?}");
        assert!(copied[0].ends_with(" done"), "{last:?}");
        let id = world.ok(&["images", "-q", "--no-trunc"]);
        assert_eq!(format!("sha256:{}", last[last.len() - 2]), id, "{last:?}");
        assert_eq!(
            last[last.len() - 1],
            "",
            "the prompt begins on a line of its own"
        );
    }
}

#[test]
fn ctrl_c_leaves_the_terminal_as_it_was() {
    let (world, liar) = (World::new(), Liar::start(Fault::Stall));
    let running = on_terminal(&world, 100, &["pull", &liar.image()]);
    wait_for("a bar", || running.shown.lock().unwrap().contains("[>"));
    kill_process(Pid::from_child(&running.child), Signal::INT).unwrap();
    let (status, shown) = running.end();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(2)
    );
    assert!(shown.ends_with('\n'), "{shown:?}");
    assert!(!shown.contains("\x1b[?25l"), "the cursor is hidden");
}

#[test]
fn in_a_pipe_there_are_plain_lines_and_only_the_result_on_standard_output() {
    let liar = Liar::start(Fault::None);
    let world = World::new();
    let pulled = world.run(&["pull", &liar.image()]).code(0);
    assert_eq!(pulled.stdout.lines().count(), 1);
    assert_eq!(pulled.stdout.trim().len(), 64);
    assert!(!pulled.stderr.contains('\x1b'));
    let lines: Vec<&str> = pulled.stderr.lines().collect();
    assert_eq!(lines[0], format!("Trying to pull {}...", liar.image()));
    assert!(
        lines[1].starts_with("Copying blob ") && lines[1].ends_with(" done"),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 2, "{lines:?}");
    let again = world.run(&["pull", &liar.image()]).code(0);
    assert_eq!(again.stdout, pulled.stdout);

    let quiet = World::new();
    let pulled = quiet.run(&["pull", "--quiet", &liar.image()]).code(0);
    assert_eq!(pulled.stderr, "");
    let (status, shown) = on_terminal(&World::new(), 80, &["pull", "-q", &liar.image()]).end();
    assert!(status.success());
    assert_eq!(shown.trim().len(), 64, "{shown:?}");

    // The other ways that an image moves.
    let file = quiet.path().join("saved.tar");
    let file = file.to_str().unwrap();
    let saved = quiet.run(&["save", "-o", file, &liar.image()]).code(0);
    assert!(!saved.stderr.contains('\x1b'));
    let loaded = World::new().run(&["load", "-i", file]).code(0);
    assert!(
        loaded.stderr.contains("Copying layer "),
        "{}",
        loaded.stderr
    );
    assert_eq!(loaded.stdout, format!("Loaded image: {}\n", liar.image()));
    let dumb = {
        let other = World::new();
        let mut command = other.command(&["pull", &liar.image()]);
        command.env("TERM", "dumb");
        command.output().unwrap()
    };
    assert!(!dumb.stderr.contains(&0x1b));
}

#[test]
fn a_password_is_not_shown_and_ctrl_c_puts_the_terminal_back() {
    let world = World::new();
    let login = ["login", "-u", "me", "127.0.0.1:1"];
    let asked = on_terminal(&world, 80, &login);
    asked.sees("Password: ");
    let echo = || {
        tcgetattr(asked.terminal.as_fd())
            .unwrap()
            .local_modes
            .contains(LocalModes::ECHO)
    };
    assert!(!echo());
    kill_process(Pid::from_child(&asked.child), Signal::INT).unwrap();
    // `end` compares the terminal's settings.
    let (status, shown) = asked.end();
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(signal, Some(2), "{shown}");
    let mut asked = on_terminal(&world, 80, &login);
    asked.sees("Password: ");
    asked.types("hush\n");
    let (status, shown) = asked.end();
    assert_eq!(status.code(), Some(125), "{shown}");
    assert!(
        !shown.contains("hush") && shown.contains("127.0.0.1:1"),
        "{shown}"
    );
    // Both questions, in a row.
    let mut asked = on_terminal(&world, 80, &["login", "127.0.0.1:1"]);
    asked.sees("Username: ");
    asked.types("me\n");
    asked.sees("Password: ");
    asked.types("hush\n");
    let (_, shown) = asked.end();
    assert!(
        shown.contains("me\r\n") && !shown.contains("hush"),
        "{shown}"
    );
}

#[test]
fn what_removes_a_lot_asks_first() {
    let world = World::with_busybox();
    let there = || world.run(&["container", "exists", "c"]).code == 0;
    world.ok(&["create", "--name", "c", "busybox"]);
    for command in [
        &["system", "prune"][..],
        &["container", "prune"],
        &["system", "reset"],
    ] {
        for answer in ["n", "", "yikes"] {
            let mut asked = on_terminal(&world, 80, command);
            asked.sees("[y/N] ");
            asked.types(&format!("{answer}\n"));
            let (status, shown) = asked.end();
            assert!(
                status.success() && there(),
                "{command:?} {answer:?}: {shown}"
            );
        }
        // Nobody can answer.
        let silent = world.run(command);
        silent.code(125).says("nobody answers").says("--force");
        assert!(there());
    }
    world.run_with(&["container", "prune"], b"y\n").ok();
    assert!(!there());
    let mut asked = on_terminal(&world, 80, &["volume", "prune"]);
    asked.sees("[y/N] ");
    asked.types("Yes\n");
    assert!(asked.end().0.success());
    world.ok(&["volume", "prune", "-f"]);
}
