//! Completion in the real shells: live objects, options, words with colons.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support::{Outcome, World};

/// A world with a container, an image, a volume and a secret, and `coracle` in its PATH.
fn world() -> World {
    let w = World::with_busybox();
    w.ok(&["tag", "busybox", "localhost/other:v1"]);
    w.ok(&[
        "create",
        "--name",
        "idle-one",
        "--network",
        "none",
        "busybox",
        "true",
    ]);
    let run = ["run", "-d", "--name", "busy-one", "--network", "none"];
    w.ok(&[&run[..], &["-v", "vol-one:/x", "busybox", "sleep", "300"]].concat());
    w.run_with(&["secret", "create", "secret-one", "-"], b"x")
        .ok();
    std::fs::create_dir(w.path().join("bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_coracle"), w.path().join("bin/coracle")).unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = w.ok(&["completion", shell]);
        std::fs::write(w.path().join(shell), script).unwrap();
    }
    w
}

/// What stands on a line -> a candidate that must be offered, and one that must not.
const CASES: &[(&str, &str, &str)] = &[
    ("coracle start ", "idle-one", "busy-one"),
    ("coracle stop ", "busy-one", "idle-one"),
    ("coracle exec ", "busy-one", "idle-one"),
    ("coracle logs ", "idle-one", "vol-one"),
    ("coracle volume rm ", "vol-one", "busy-one"),
    ("coracle secret inspect ", "secret-one", "vol-one"),
    ("coracle run --rm ", "busybox:latest", "idle-one"),
    ("coracle rmi other", "other:v1", "busybox:latest"),
    ("coracle run --vol", "--volume", "--rm"),
    ("coracle run --pull ", "missing", "busybox:latest"),
    ("coracle container cl", "clone", "start"),
    ("coracle completion ", "powershell", "busy-one"),
];

fn offered(w: &World, program: &str, args: &[&str]) -> Vec<String> {
    let mut command = Command::new(program);
    command.args(args);
    w.settle(&mut command);
    let path = std::env::var("PATH").unwrap_or_default();
    let bin = w.path().join("bin");
    command.env("PATH", format!("{}:{path}", bin.display()));
    let got = Outcome::of(args, command.output().unwrap());
    let lines = got.stdout.lines();
    lines
        .map(|l| l.split('\t').next().unwrap_or_default().trim().to_owned())
        .collect()
}

fn check(w: &World, shell: &str, ask: impl Fn(&str) -> Vec<String>) {
    for (line, wanted, unwanted) in CASES {
        let list = ask(line);
        assert!(
            list.iter().any(|c| c == wanted),
            "{shell}: {line}: {list:?}"
        );
        assert!(
            list.iter().all(|c| c != unwanted),
            "{shell}: {line}: {list:?}"
        );
    }
    w.ok(&["rm", "-f", "-t", "0", "busy-one"]);
}

#[test]
fn bash_offers_what_is_there() {
    requires!("bash");
    let w = world();
    check(&w, "bash", |line| {
        let script = format!(
            "source ./bash; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; COMP_WORDBREAKS=; \
             _coracle 2>/dev/null; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        offered(&w, "bash", &["--norc", "-c", &script])
    });
}

#[test]
fn zsh_offers_what_is_there() {
    requires!("zsh");
    let w = world();
    check(&w, "zsh", |line| {
        // The completion system itself needs a terminal: what the script gives it is printed.
        let script = format!(
            "compdef() {{ }}; _files() {{ }}; \
             _describe() {{ local -a all; all=(\"${{(@P)@[-1]}}\"); for c in $all; do c=${{c//\\\\:/@}}; \
             c=${{c%%:*}}; print -r -- ${{c//@/:}}; done }}; \
             source ./zsh; words=(${{(z)${{:-'{line}'}}}}); [[ '{line}' == *' ' ]] && words+=(''); \
             CURRENT=$#words; _coracle"
        );
        offered(&w, "zsh", &["-f", "-c", &script])
    });
}

#[test]
fn fish_offers_what_is_there() {
    requires!("fish");
    let w = world();
    check(&w, "fish", |line| {
        let script = format!("source ./fish; complete --do-complete '{line}'");
        offered(&w, "fish", &["--no-config", "-c", &script])
    });
}
