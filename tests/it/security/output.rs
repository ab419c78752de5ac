//! Text of strangers on our terminal: nothing of it drives the terminal.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use crate::support::{World, fixture};

/// Sets the title, colours, clears the screen in the eight-bit form, turns text around.
const EVIL: &str = "\x1b]0;pwned\x07\x1b[31m\u{9b}2J\u{202e}";

/// What a command line shows on a terminal, both streams.
fn shown(world: &World, args: &[&str]) -> String {
    let mut line = env!("CARGO_BIN_EXE_coracle").to_owned();
    for arg in args {
        // No word has a quote.
        line.push_str(&format!(" '{arg}'"));
    }
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]);
    world.settle(&mut command);
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn harmless(world: &World, args: &[&str]) {
    let text = shown(world, args);
    for bad in ["\x1b]", "\x1b[31m", "\x07", "\u{9b}", "\u{202e}"] {
        assert!(!text.contains(bad), "{args:?} shows {bad:?}: {text:?}");
    }
    assert!(!text.is_empty(), "{args:?} shows nothing");
}

#[test]
fn names_labels_and_commands_do_not_drive_the_terminal() {
    let world = World::new();
    let file = fixture::busybox_file(world.path());
    let changes = [format!("LABEL a=v{EVIL}"), format!("ENV B=v{EVIL}")];
    world.ok(&[
        "import",
        "-q",
        "-m",
        &format!("m{EVIL}"),
        "-c",
        &changes[0],
        "-c",
        &changes[1],
        file.to_str().unwrap(),
        "busybox",
    ]);
    let (label, variable) = (format!("k=v{EVIL}"), format!("X=v{EVIL}"));
    let (word, made) = (format!("w{EVIL}"), format!("/new{EVIL}"));
    world.ok(&[
        "run",
        "-d",
        "--name",
        "c",
        "--network",
        "none",
        "-l",
        &label,
        "-e",
        &variable,
        "busybox",
        "sh",
        "-c",
        "touch \"$0\"; sleep 100; true",
        &made,
    ]);
    world.ok(&["exec", "c", "touch", &made]);
    world.ok(&["volume", "create", "-l", &label, "v"]);
    for args in [
        &["ps", "--no-trunc"][..],
        &["ps", "--format", "{{.Labels}} {{.Command}}"],
        &["ps", "--format", "json"],
        &["inspect", "c"],
        &[
            "inspect",
            "--format",
            "{{.Config.Labels}} {{.Config.Env}}",
            "c",
        ],
        &["image", "inspect", "busybox"],
        &["history", "--no-trunc", "busybox"],
        &["events", "--stream=false", "--since", "1h"],
        &["top", "c"],
        &["diff", "c"],
        &["volume", "inspect", "v"],
        &["inspect", &word],
        &["rm", &word],
        &["rmi", &word],
        &["run", "--rm", &word],
        &["run", "--rm", "--network", "none", "busybox", &word],
        &["run", "--rm", "--name", &word, "busybox"],
        &["run", "--rm", "-v", &word, "busybox"],
        &["exec", "c", &word],
        &["pull", "--retry", "0", &format!("127.0.0.1:1/{word}")],
        &[&word],
        &["run", &format!("--{word}")],
    ] {
        harmless(&world, args);
    }
}

#[test]
fn what_a_registry_says_does_not_drive_the_terminal() {
    let world = World::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let n = stream.read(&mut request).unwrap_or(0);
            if request[..n].starts_with(b"STOP") {
                return;
            }
            let body = format!(
                "{{\"errors\":[{{\"code\":\"DENIED\",\"message\":\"no{}\",\"detail\":\"no{EVIL}\"}}]}}",
                "\\u001b]0;x\\u0007\\u009b2J\\u202e\\u001b[31m"
            );
            let answer = format!(
                "HTTP/1.1 403 no{EVIL}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    let name = format!("{address}/x/y");
    for args in [
        &["pull", "--retry", "0", "--tls-verify=false", &name][..],
        &["search", "--tls-verify=false", &name],
        &[
            "login",
            "--tls-verify=false",
            "-u",
            "a",
            "-p",
            "b",
            &address,
        ],
    ] {
        harmless(&world, args);
    }
    drop(
        std::net::TcpStream::connect(&address)
            .unwrap()
            .write_all(b"STOP"),
    );
    server.join().unwrap();
}
