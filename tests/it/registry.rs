//! pull, push, login against Debian's docker-registry, with other people's tools as witnesses.

use std::process::Command;

use crate::support::peer::Mode;
use crate::support::{Outcome, World};

fn peer(world: &World, program: &str, args: &[&str]) -> Outcome {
    let mut command = Command::new(program);
    command.args(args);
    world.settle(&mut command);
    Outcome::of(args, command.output().unwrap())
}

fn second() -> World {
    World::new()
}

#[test]
fn what_is_pushed_is_pulled_again_by_tag_and_by_digest() {
    requires!("docker-registry");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Plain);
    let name = registry.image("team/app:1");
    let file = world.path().join("digest");
    world.ok(&[
        "push",
        "--digestfile",
        file.to_str().unwrap(),
        "busybox",
        &name,
    ]);
    let digest = std::fs::read_to_string(&file).unwrap();
    let id = world.ok(&["images", "-q", "--no-trunc", "busybox"]);

    let other = second();
    assert_eq!(format!("sha256:{}", other.ok(&["pull", "-q", &name])), id);
    let by_digest = format!("{}@{digest}", registry.image("team/app"));
    other.ok(&["image", "exists", &by_digest]);
    other.ok(&["rmi", &name]);
    other.run(&["image", "exists", &by_digest]).code(1);
    other.ok(&["pull", "-q", &by_digest]);
    let listed = other.ok(&["images", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}"]);
    assert_eq!(
        listed,
        format!("{} <none> {digest}", registry.image("team/app"))
    );
}

#[test]
fn skopeo_and_podman_read_what_coracle_pushed() {
    requires!("docker-registry", "skopeo");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Plain);
    for (format, compression) in [
        ("oci", "zstd"),
        ("oci", "gzip"),
        ("v2s2", "gzip"),
        ("oci", "none"),
    ] {
        let name = registry.image(&format!("x/{format}-{compression}:1"));
        world.ok(&[
            "push",
            "-q",
            "--format",
            format,
            "--compression-format",
            compression,
            "busybox",
            &name,
        ]);
        let layout = format!("oci:{}/{format}-{compression}", world.path().display());
        peer(
            &world,
            "skopeo",
            &[
                "copy",
                "--src-tls-verify=false",
                &format!("docker://{name}"),
                &layout,
            ],
        )
        .ok();
    }
}

#[test]
fn images_of_skopeo_with_an_index_are_pulled() {
    requires!("docker-registry", "skopeo");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Plain);
    let archive = world.path().join("a.tar");
    world.ok(&["save", "-o", archive.to_str().unwrap(), "busybox"]);
    for format in ["oci", "v2s2"] {
        let name = registry.image(&format!("x/{format}:1"));
        peer(
            &world,
            "skopeo",
            &[
                "copy",
                "--format",
                format,
                "--dest-tls-verify=false",
                &format!("docker-archive:{}", archive.display()),
                &format!("docker://{name}"),
            ],
        )
        .ok();
        let id = second().ok(&["pull", "-q", &name]);
        assert_eq!(id.len(), 64, "{id}");
    }
}

#[test]
fn tls_needs_a_trusted_authority_or_an_explicit_word() {
    requires!("docker-registry", "openssl");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Tls);
    let name = registry.image("x:1");
    world
        .run(&["push", "busybox", &name])
        .code(125)
        .says("certificate");
    world.ok(&["push", "-q", "--tls-verify=false", "busybox", &name]);
    let certs = world.path().join("certs");
    std::fs::create_dir(&certs).unwrap();
    std::fs::copy(registry.dir.join("ca.crt"), certs.join("ca.crt")).unwrap();
    let other = second();
    other.run(&["pull", &name]).code(125).says("certs.d");
    other.ok(&["pull", "-q", "--cert-dir", certs.to_str().unwrap(), &name]);
    other.ok(&["rmi", &name]);
    let host = other
        .path()
        .join("home/.config/containers/certs.d")
        .join(&registry.address);
    std::fs::create_dir_all(&host).unwrap();
    std::fs::copy(registry.dir.join("ca.crt"), host.join("ca.crt")).unwrap();
    other.ok(&["pull", "-q", &name]);
}

#[test]
fn plain_http_is_refused_where_tls_is_demanded() {
    requires!("docker-registry");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Plain);
    let name = registry.image("x:1");
    world
        .run(&["push", "--tls-verify=true", "busybox", &name])
        .code(125)
        .says("TLS");
    world.ok(&["push", "-q", "busybox", &name]);
}

#[test]
fn login_is_proven_stored_used_and_forgotten() {
    requires!("docker-registry", "htpasswd");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Htpasswd);
    let name = registry.image("x:1");
    let login = |password: &str| {
        world.run_with(
            &["login", "-u", "u", "--password-stdin", &registry.address],
            password.as_bytes(),
        )
    };
    world
        .run(&["push", "busybox", &name])
        .code(125)
        .says("coracle login");
    login("wrong").code(125).says("cannot log into");
    world
        .run(&["login", "--get-login", &registry.address])
        .code(125);
    login("p\n").code(0);
    assert_eq!(world.ok(&["login", "--get-login", &registry.address]), "u");
    world.ok(&["push", "-q", "busybox", &name]);
    world.ok(&["logout", &registry.address]);
    world.run(&["logout", &registry.address]).code(125);
    let other = second();
    other.run(&["pull", &name]).code(125).says("wants a login");
    other.run(&["pull", "--creds", "u:no", &name]).code(125);
    other.ok(&["pull", "-q", "--creds", "u:p", &name]);
}

#[test]
fn podmans_credentials_serve_coracle() {
    requires!("docker-registry", "htpasswd", "skopeo");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Htpasswd);
    let file = world.path().join("auth.json");
    let file = file.to_str().unwrap();
    peer(
        &world,
        "skopeo",
        &[
            "login",
            "--tls-verify=false",
            "--authfile",
            file,
            "-u",
            "u",
            "-p",
            "p",
            &registry.address,
        ],
    )
    .ok();
    world.ok(&[
        "push",
        "-q",
        "--authfile",
        file,
        "busybox",
        &registry.image("x:1"),
    ]);
}

#[test]
fn all_tags_come_and_tags_are_listed() {
    requires!("docker-registry");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Plain);
    let repository = registry.image("many");
    for tag in ["1", "2", "three"] {
        world.ok(&["push", "-q", "busybox", &format!("{repository}:{tag}")]);
    }
    let other = second();
    other.ok(&["pull", "-q", "--all-tags", &repository]);
    let tags = other.ok(&["images", "--format", "{{.Tag}}", "--sort", "tag"]);
    assert_eq!(tags, "1\n2\nthree");
    let listed = other.ok(&["search", "--list-tags", "--format", "{{.Tag}}", &repository]);
    assert_eq!(listed.lines().count(), 3);
    let found = other.ok(&["search", "--format", "{{.Name}}", &registry.image("man")]);
    assert_eq!(found, repository);
}

#[test]
fn blobs_of_a_sister_repository_are_mounted() {
    requires!("docker-registry");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Plain);
    world.ok(&["push", "-q", "busybox", &registry.image("a:1")]);
    let second = world.run(&["push", "busybox", &registry.image("b:1")]);
    second.code(0).says("mounted");
    let third = world.run(&["push", "busybox", &registry.image("b:2")]);
    third.code(0).says("already exists");
}

#[test]
fn mirrors_and_rewritten_names_are_followed_and_blocked_ones_refused() {
    requires!("docker-registry");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Plain);
    world.ok(&["push", "-q", "busybox", &registry.image("library/thing:1")]);
    let conf = world.path().join("registries.conf");
    std::fs::write(
        &conf,
        format!(
            "[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\n\
             [[registry.mirror]]\nlocation = \"127.0.0.1:1\"\n\
             [[registry.mirror]]\nlocation = \"{}\"\n\
             [[registry]]\nprefix = \"bad.example\"\nblocked = true\n",
            registry.address
        ),
    )
    .unwrap();
    let other = second();
    let run = |args: &[&str]| {
        let mut command = other.command(args);
        command.env("CONTAINERS_REGISTRIES_CONF", &conf);
        Outcome::of(args, command.output().unwrap())
    };
    run(&["pull", "thing:1"]).ok();
    other.ok(&["image", "exists", "docker.io/library/thing:1"]);
    run(&["pull", "bad.example/x"]).code(125).says("blocked");
}

#[test]
fn a_policy_that_rejects_refuses_the_pull() {
    requires!("docker-registry");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Plain);
    world.ok(&["push", "-q", "busybox", &registry.image("x:1")]);
    let other = second();
    let dir = other.path().join("home/.config/containers");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(
        dir.join("policy.json"),
        r#"{"default":[{"type":"reject"}]}"#,
    )
    .unwrap();
    other
        .run(&["pull", &registry.image("x:1")])
        .code(125)
        .says("policy.json");
}

#[test]
fn several_pulls_of_one_image_at_once_all_succeed() {
    requires!("docker-registry");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Plain);
    let name = registry.image("x:1");
    world.ok(&["push", "-q", "busybox", &name]);
    let other = second();
    let children: Vec<_> = (0..6)
        .map(|_| other.spawn(&["pull", "-q", &name]))
        .collect();
    for child in children {
        Outcome::of(&["pull"], child.wait_with_output().unwrap()).ok();
    }
    assert_eq!(other.ok(&["images", "-q"]).lines().count(), 1);
}

#[test]
fn another_platform_than_the_asked_one_is_an_error() {
    requires!("docker-registry");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Plain);
    let name = registry.image("x:1");
    world.ok(&["push", "-q", "busybox", &name]);
    second()
        .run(&["pull", "--platform", "linux/s390x", &name])
        .code(125)
        .says("linux/s390x");
}
