//! Class B: code of the container's that the host's side would run.

use super::{Canary, image};
use crate::support::{World, fixture};

const TROJANS: [&str; 12] = [
    "tar",
    "gzip",
    "unpigz",
    "xz",
    "zstd",
    "newuidmap",
    "newgidmap",
    "pasta",
    "slirp4netns",
    "getsubids",
    "git",
    "coracle",
];

/// CVE-2019-14271, CVE-2026-41567, CVE-2026-53488: no program, library or label of an image is run
/// for any command but the container's own.
#[test]
fn nothing_of_an_image_is_executed_but_its_own_command() {
    requires!("strace");
    let world = World::new();
    let canary = Canary::new(&world);
    let changes = [
        "ENV PATH=/evil:/bin",
        "ENV LD_PRELOAD=/evil/lib.so",
        "ENV LD_LIBRARY_PATH=/evil",
        "ENV GCONV_PATH=/evil",
        "LABEL run=\"sh -c touch\" install=/evil/tar RUN=/evil/tar",
        "CMD [\"/bin/true\"]",
    ];
    image(&world, "hostile", &changes, |tar| {
        fixture::add_dir(tar, "evil", 0o755);
        let script = format!("#!/bin/sh\necho > {}/sub/trojan\n", canary.path());
        for name in TROJANS {
            let path = format!("evil/{name}");
            fixture::add_file(tar, &path, 0o755, (0, 0), script.as_bytes());
        }
        fixture::add_file(tar, "evil/lib.so", 0o755, (0, 0), b"no library");
    });
    // The user namespace is there already: its helpers cannot be traced.
    world.ok(&[
        "run",
        "-d",
        "--name",
        "c",
        "--network",
        "none",
        "hostile",
        "sleep",
        "100",
    ]);
    let trace = world.path().join("trace");
    let out = world.path().join("out.tar");
    let out = out.to_str().unwrap();
    let cases: [(&[&str], &[&str]); 7] = [
        (
            &["run", "--rm", "--network", "none", "hostile"],
            &["/bin/true"],
        ),
        (&["exec", "c", "true"], &["/bin/true"]),
        (&["cp", "c:/bin", out], &[]),
        (&["export", "-o", out, "c"], &[]),
        (&["commit", "-q", "c", "made"], &[]),
        (&["save", "-q", "-o", out, "hostile"], &[]),
        (&["diff", "c"], &[]),
    ];
    for (args, expected) in cases {
        drop(std::fs::remove_file(out));
        drop(std::fs::remove_dir_all(out));
        let mut command = std::process::Command::new("strace");
        command
            .args([
                "-f",
                "-qq",
                "-e",
                "trace=execve,execveat",
                "-e",
                "signal=none",
                "-o",
            ])
            .arg(&trace)
            .arg(env!("CARGO_BIN_EXE_coracle"))
            .args(args);
        world.settle(&mut command);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        let text = std::fs::read_to_string(&trace).unwrap();
        let executed: Vec<&str> = text
            .lines()
            .filter(|l| l.contains(") = 0") && l.contains("exec"))
            .skip(1)
            .collect();
        assert_eq!(executed.len(), expected.len(), "{args:?}: {executed:?}");
        for (line, program) in executed.iter().zip(expected) {
            // By path, or by the checked descriptor where others could exchange the file.
            // (What a process that is not dumpable names, strace cannot read.)
            let named = line.contains(&format!("\"{program}\""))
                || line.contains("execveat(")
                || line.contains("execve(0x");
            assert!(named, "{args:?}: {line}");
        }
    }
    canary.sings();
}
