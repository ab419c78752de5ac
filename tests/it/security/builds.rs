//! Class F: what a hostile Dockerfile, context or base image reaches from a build.

use std::path::{Path, PathBuf};

use crate::support::{Outcome, World, fixture};

/// A folder outside everything that a build may see, with a file that must stay as it is.
fn canary(world: &World) -> PathBuf {
    let dir = world.path().join("canary");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("file"), "CANARY-7391").unwrap();
    dir
}

fn untouched(dir: &Path) {
    assert_eq!(
        std::fs::read_to_string(dir.join("file")).unwrap(),
        "CANARY-7391"
    );
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 1);
}

fn build(world: &World, text: &str, more: &[&str]) -> Outcome {
    let dir = world.path().join("context");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("Dockerfile"), text).unwrap();
    let mut args = vec!["build", "--progress=plain", "--network=none", "--no-cache"];
    args.extend(more);
    args.push(dir.to_str().unwrap());
    world.run(&args)
}

#[test]
fn links_in_stages_and_contexts_lead_nowhere_outside() {
    let world = World::with_busybox();
    let canary = canary(&world);
    let path = canary.to_str().unwrap();
    let context = world.path().join("context");
    std::fs::create_dir_all(context.join("d")).unwrap();
    std::os::unix::fs::symlink(&canary, context.join("out")).unwrap();
    std::os::unix::fs::symlink("../canary", context.join("near")).unwrap();
    std::os::unix::fs::symlink("/proc/self/root", context.join("magic")).unwrap();
    // CVE-2024-1753, CVE-2024-9407, CVE-2024-11218: sources of mounts that are links.
    for source in [
        "out",
        "near",
        "out/file",
        "magic",
        "../canary",
        "d/../../canary",
    ] {
        let text = format!(
            "FROM busybox\nRUN --mount=type=bind,source={source},target=/m,rw cat /m/file /m; echo x > /m/file; exit 1\n"
        );
        let said = build(&world, &text, &[]);
        assert!(
            said.code != 0 && !said.stderr.contains("CANARY-7391"),
            "{source}: {said:?}"
        );
        untouched(&canary);
    }
    // The same from a stage: the link is the stage's own.
    let text = format!(
        "FROM busybox AS evil\nRUN ln -s {path} /l && ln -s / /r && ln -s ../../../../../../..{path} /u\n\
         FROM busybox\nRUN --mount=from=evil,source=/r,target=/m,rw echo x > /m/owned; test -e /m/bin/busybox\n\
         COPY --from=evil /r/etc/passwd /p\nRUN grep -q user:x /p\n"
    );
    build(&world, &text, &[]).code(0);
    for from in [
        "COPY --from=evil /l /x",
        "COPY --from=evil /u/file /x",
        "RUN --mount=from=evil,source=/l,target=/m true",
    ] {
        let text = format!(
            "FROM busybox AS evil\nRUN ln -s {path} /l && ln -s ../../../../../../..{path} /u\nFROM busybox\n{from}\n"
        );
        let said = build(&world, &text, &[]);
        assert!(
            said.code != 0 && !said.stderr.contains("CANARY"),
            "{from}: {said:?}"
        );
    }
    // Destinations and working folders.
    let text = format!(
        "FROM busybox\nRUN mkdir -p /a && ln -s {path} /a/d && ln -s {path} /w\nCOPY Dockerfile /a/d/file\n\
         COPY Dockerfile /w/\nWORKDIR /w/sub\nRUN touch here\n"
    );
    build(&world, &text, &[]).code(0);
    untouched(&canary);
}

#[test]
fn what_mounting_made_is_cleared_inside_the_layer_only() {
    let world = World::with_busybox();
    let canary = canary(&world);
    let path = canary.to_str().unwrap();
    std::fs::remove_file(canary.join("file")).unwrap();
    // CVE-2024-23652: the step moves the mount point's parent away and puts a link there.
    let text = format!(
        "FROM busybox\nRUN --mount=type=tmpfs,target=/t/u/v mkdir -p /n && mv /t /n/t 2>/dev/null; mv /t/u /t/w 2>/dev/null; \
         rm -rf /t 2>/dev/null; ln -s {path} /t 2>/dev/null; true\n"
    );
    build(&world, &text, &[]).code(0);
    assert!(canary.is_dir(), "an empty folder of the host was removed");
}

#[test]
fn names_of_caches_and_secrets_are_no_paths() {
    let world = World::with_busybox();
    let canary = canary(&world);
    let before = std::fs::read_dir(world.path()).unwrap().count();
    // CVE-2024-9675: cache mounts with a way out.
    for option in [
        "id=../../../../../canary",
        "id=/etc",
        "source=../../../../canary",
        "from=evil,source=/../../../../canary",
    ] {
        let text = format!(
            "FROM busybox AS evil\nRUN mkdir /s\nFROM busybox\nRUN --mount=type=cache,target=/c,{option} touch /c/x; ! cat /c/file\n"
        );
        build(&world, &text, &[]);
        untouched(&canary);
    }
    assert_eq!(
        std::fs::read_dir(world.path()).unwrap().count(),
        before + 1,
        "the context"
    );
    let secret = world.path().join("canary/file");
    let text = "FROM busybox\nRUN --mount=type=secret,id=../../../canary/file test ! -e /run/secrets/../../../canary\n";
    build(&world, text, &[]).code(0);
    let text = "FROM busybox\nRUN --mount=type=secret,id=k,target=../../../../run/secrets/k cat /run/secrets/k > /dev/null\n";
    build(
        &world,
        text,
        &[&format!("--secret=id=k,src={}", secret.display())],
    )
    .code(0);
}

#[test]
fn a_step_is_confined_as_a_container_is() {
    let world = World::with_busybox();
    let script = "grep -E '^(Cap|Seccomp:|NoNewPrivs|Groups|SigIgn|SigBlk)' /proc/self/status; ls /proc/self/fd | wc -l; \
                  cat /proc/self/uid_map; env | sort | grep -v HOSTNAME; for f in /proc/kcore /proc/sysrq-trigger /sys/firmware; do \
                  ls -ld $f | cut -c1-10; done; sh -c 'echo x > /proc/sys/kernel/core_pattern' 2>/dev/null || echo refused";
    let ran = world.ok(&[
        "run",
        "--rm",
        "--network=none",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let text = format!("FROM busybox\nRUN ({script}) > /said\n");
    let dir = world.path().join("context");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("Dockerfile"), text).unwrap();
    let out = world.path().join("out");
    world.ok(&[
        "build",
        "-q",
        "--no-cache",
        "--network=none",
        "-o",
        out.to_str().unwrap(),
        dir.to_str().unwrap(),
    ]);
    let built = std::fs::read_to_string(out.join("said")).unwrap();
    let lines = |text: &str| -> Vec<String> { text.trim().lines().map(str::to_owned).collect() };
    assert_eq!(lines(&built), lines(&ran));
}

#[test]
fn hostile_archives_stay_inside() {
    let world = World::with_busybox();
    let canary = canary(&world);
    let path = canary.to_str().unwrap();
    let mut archives = Vec::new();
    let mut tar = tar::Builder::new(Vec::new());
    fixture::add_link(&mut tar, tar::EntryType::Symlink, "d", path);
    fixture::add_file(&mut tar, "d/file", 0o644, (0, 0), b"through the link");
    archives.push(tar.into_inner().unwrap());
    let mut tar = tar::Builder::new(Vec::new());
    fixture::add_file(&mut tar, "ok", 0o644, (0, 0), b"x");
    fixture::add_link(
        &mut tar,
        tar::EntryType::Link,
        "hard",
        &format!("../../../..{path}/file"),
    );
    archives.push(tar.into_inner().unwrap());
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(4);
    header.set_mode(0o644);
    let name = format!("../../../../../../../..{path}/file");
    header.as_old_mut().name[..name.len().min(100)]
        .copy_from_slice(&name.as_bytes()[..name.len().min(100)]);
    header.set_cksum();
    tar.append(&header, &b"evil"[..]).unwrap();
    archives.push(tar.into_inner().unwrap());
    for (n, archive) in archives.iter().enumerate() {
        let dir = world.path().join("context");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("a.tar"), archive).unwrap();
        // As what is added, and as the context itself; refused or confined.
        build(&world, "FROM busybox\nADD a.tar /x/\n", &[]);
        untouched(&canary);
        world.run_with(&["build", "-q", "-f", "Dockerfile", "-"], archive);
        untouched(&canary);
        std::fs::remove_file(dir.join("a.tar")).unwrap();
        assert!(n < 3);
    }
}

#[test]
fn what_a_dockerfile_asks_for_is_not_granted_by_itself() {
    let world = World::with_busybox();
    for line in [
        "RUN --network=host true",
        "RUN --security=insecure true",
        "RUN --device=a.b/c=d true",
        "RUN --mount=type=bind,source=/,target=/m,propagation=rshared true",
        "RUN --mount=type=host,target=/m true",
        "RUN --privileged true",
    ] {
        let said = build(
            &world,
            &format!("# syntax=evil/frontend\nFROM busybox\n{line}\n"),
            &[],
        );
        assert_ne!(said.code, 0, "{line}");
    }
}
