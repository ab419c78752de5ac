//! Mistakes of people who begin: each answer says what was wanted, of which object, why not, and one
//! next step.

use crate::support::World;

/// Command line, exit code, and what the answer must hold.
const MISTAKES: &[(&str, u8, &[&str])] = &[
    // Images.
    (
        "run --pull never busybbox",
        125,
        &["busybbox", "coracle pull busybbox"],
    ),
    (
        "run 127.0.0.1:1/x",
        125,
        &[
            "cannot pull \"127.0.0.1:1/x\"",
            "refused",
            "check the network",
        ],
    ),
    (
        "run BusyBox",
        125,
        &[
            "\"BusyBox\"",
            "lower-case",
            "e.g. docker.io/library/debian:12",
        ],
    ),
    ("run busybox:", 125, &["busybox:", "tag"]),
    ("run --platform linux/nope busybox", 125, &["linux/nope"]),
    ("pull http://h/x", 125, &["http://h/x", "registry", "write"]),
    (
        "rmi nope",
        1,
        &["no such image: \"nope\"", "coracle images"],
    ),
    (
        "push busybox",
        125,
        &[
            "cannot push localhost/busybox:latest",
            "push busybox REGISTRY/busybox",
        ],
    ),
    (
        "load -i none.tar",
        125,
        &["cannot load none.tar", "No such file"],
    ),
    (
        "load -i file",
        125,
        &["neither a docker archive", "coracle import"],
    ),
    // Programs.
    (
        "run --network none busybox nosuch",
        127,
        &[
            "cannot run \"nosuch\"",
            "not found in $PATH",
            "a program of the image",
        ],
    ),
    (
        "run --network none busybox /data",
        126,
        &["cannot run \"/data\"", "EISDIR", "name a program"],
    ),
    (
        "run --network none busybox --rm",
        127,
        &[
            "\"--rm\"",
            "flags of run stand before the image: coracle run --rm busybox",
        ],
    ),
    (
        "run --network none --entrypoint= --rm bare",
        125,
        &["there is nothing to run", "coracle run IMAGE sh"],
    ),
    ("run", 125, &["IMAGE", "coracle run --help"]),
    // Flags.
    (
        "run --bogus busybox",
        125,
        &["unknown flag: --bogus", "coracle run --help"],
    ),
    (
        "run --isolation hyperv busybox",
        125,
        &["cannot use --isolation", "Windows"],
    ),
    (
        "run --memory 12x busybox",
        125,
        &["--memory", "\"12x\"", "512m"],
    ),
    (
        "run --memory 4 busybox",
        125,
        &["--memory 4 is less than 6m", "512m"],
    ),
    ("run --cpus many busybox", 125, &["\"many\"", "--cpus 1.5"]),
    (
        "run --restart odd busybox",
        125,
        &["--restart \"odd\"", "on-failure"],
    ),
    (
        "run --rm --restart always busybox",
        125,
        &["contradict", "leave one of them out"],
    ),
    (
        "run -w here busybox",
        125,
        &["\"here\"", "not an absolute path", "write /here"],
    ),
    (
        "run --ulimit nofile=x busybox",
        125,
        &["nofile=x", "nofile=1024:4096"],
    ),
    (
        "run --cap-add NOPE busybox",
        125,
        &["unknown capability \"NOPE\"", "capabilities(7)"],
    ),
    (
        "run --security-opt seccomp=/none --network none busybox",
        125,
        &["/none", "No such file", "leave the option out"],
    ),
    // Ports.
    (
        "run -p 99999:80 busybox",
        125,
        &["99999:80", "65535", "write 8080:80"],
    ),
    ("run -p abc busybox", 125, &["\"abc\"", "write 8080:80"]),
    // Mounts and devices.
    (
        "run --network none -v /no/dir:/x busybox",
        125,
        &["\"/x\"", "/no/dir", "ENOENT", "create it first"],
    ),
    (
        "run -v rel/dir:/x busybox",
        125,
        &["rel/dir", "neither a path nor the name", "./dir:/dir"],
    ),
    (
        "run -v /etc:here busybox",
        125,
        &["\"here\"", "not an absolute path", "write"],
    ),
    (
        "run -v /etc:/x:odd busybox",
        125,
        &["/etc:/x:odd", "unknown option \"odd\"", "write"],
    ),
    (
        "run -v /etc:/x:ro:more busybox",
        125,
        &["more than three parts", "write"],
    ),
    (
        "run --network none -v ./file:/data busybox",
        125,
        &["/data", "is a directory", "files on files"],
    ),
    (
        "run --mount bogus busybox",
        125,
        &["\"bogus\"", "no dst=", "type=bind,src="],
    ),
    (
        "run --mount type=artifact,src=x,dst=/x busybox",
        125,
        &["type artifact", "not supported"],
    ),
    (
        "run --tmpfs x busybox",
        125,
        &["tmpfs at \"x\"", "not an absolute path", "/dir:size=64m"],
    ),
    (
        "run --network none --device /dev/none busybox",
        125,
        &["/dev/none", "ENOENT", "ls /dev"],
    ),
    (
        "run --device /dev/null:r busybox",
        125,
        &["/dev/null", "\"r\"", "root on the host"],
    ),
    (
        "volume create -o type=nfs v",
        125,
        &["type=nfs", "mount it on the host"],
    ),
    // Containers.
    (
        "start nope",
        125,
        &["no such container: \"nope\"", "coracle ps -a"],
    ),
    (
        "create --name there busybox",
        125,
        &["\"there\" is already in use", "--replace"],
    ),
    (
        "create --name a/b busybox",
        125,
        &["\"a/b\"", "[a-zA-Z0-9]"],
    ),
    (
        "cp there:/none .",
        125,
        &["there:/none", "no such file", "coracle exec"],
    ),
    (
        "cp a b",
        125,
        &["one side of cp must be a container", "CONTAINER:PATH"],
    ),
    (
        "exec there true",
        125,
        &["\"there\"", "not running", "coracle start there"],
    ),
    (
        "rm --storage there",
        125,
        &["cannot use --storage", "coracle system prune"],
    ),
    ("kill --signal NOPE there", 125, &["\"NOPE\"", "SIGKILL"]),
    (
        "logs --since yesterday there",
        125,
        &["\"yesterday\"", "write it like"],
    ),
    (
        "ps --filter odd=x",
        125,
        &["unknown filter \"odd\"", "filters are"],
    ),
    // Commands.
    (
        "swarm init",
        125,
        &["swarm", "there is no swarm", "coracle --help"],
    ),
    ("frobnicate", 125, &["frobnicate", "coracle --help"]),
    (
        "--rm run busybox",
        125,
        &["unknown flag: --rm", "coracle --help"],
    ),
];

#[test]
fn every_answer_says_what_of_which_object_and_one_next_step() {
    let w = World::with_busybox();
    std::fs::write(w.path().join("file"), "").unwrap();
    let tar = crate::support::fixture::busybox_file(w.path());
    w.ok(&["import", "-q", tar.to_str().unwrap(), "bare"]);
    w.ok(&["create", "--name", "there", "busybox"]);
    let mut wrong = Vec::new();
    for (line, code, holds) in MISTAKES {
        let args: Vec<&str> = line.split(' ').collect();
        let out = w.run(&args);
        let text = &out.stderr;
        let mut must = |good: bool, what: String| {
            if !good {
                wrong.push(format!("{line}: {what} in:\n{text}"));
            }
        };
        for word in *holds {
            must(text.contains(word), format!("no {word:?}"));
        }
        must(out.code == i32::from(*code), format!("code {}", out.code));
        let first = text.lines().find(|l| l.starts_with("Error: "));
        must(
            first.is_some_and(|l| !l.ends_with('.')),
            "a bad first line".to_owned(),
        );
        must(text.lines().count() < 8, "too much".to_owned());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("127.0.0.1:{}:80", taken.local_addr().unwrap().port());
    w.run(&["run", "-p", &port, "busybox", "true"])
        .code(125)
        .says("is taken on 127.0.0.1")
        .says("publish another port");
    if crate::support::peer::uid() != 0 {
        w.run(&["run", "-p", "80:80", "busybox", "true"])
            .code(125)
            .says("below 1024")
            .says("8080:80");
    }
}
