//! The protocol of registries: tokens and their end, limits, digests of both kinds, platforms.

use std::time::{Duration, Instant};

use crate::support::hub::{Hub, Rules, layers, sha256, sha512};
use crate::support::{Outcome, World, http};

const AMD64: (&str, &str, &str) = ("linux", "amd64", "");

fn tokens() -> Rules {
    Rules {
        token_uses: Some(1000),
        ..Rules::default()
    }
}

#[test]
fn everyone_gets_a_token_to_read_and_only_the_known_one_to_write() {
    let (world, hub) = (World::new(), Hub::start(tokens()));
    hub.put("team/app", "1", AMD64, &layers(2), sha256);
    let name = hub.image("team/app:1");
    world.ok(&["pull", "-q", &name]);
    let log = hub.log();
    let asked = |line: &str| log.iter().any(|l| l == line);
    assert!(asked("GET /v2/team/app/manifests/1"), "{log:?}");
    assert!(asked("GET /v2/team/app/manifests/1 token:1"), "{log:?}");
    assert_eq!(hub.issued(), 1, "one token for one repository: {log:?}");

    // Pulled by `run`: the monitor is forked behind the threads of the pull, and signals are as before.
    let fresh = World::new();
    let script = "grep SigBlk /proc/self/status; echo hi";
    let ran = fresh.run(&[
        "run",
        "--rm",
        "--network",
        "none",
        &name,
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(ran.code(0).stdout, "SigBlk:\t0000000000000000\nhi\n");

    let other = hub.image("team/new:1");
    world.run(&["push", &name, &other]).code(125).says("login");
    world
        .run(&["push", "--creds", "u:wrong", &name, &other])
        .code(125)
        .says("incorrect username or password");
    world.ok(&["push", "-q", "--creds", "u:p", &name, &other]);
    let log = hub.log();
    let secret = log.iter().filter(|l| l.ends_with(" basic"));
    for line in secret {
        assert!(line.starts_with("GET /token"), "a password left: {line}");
    }
    World::new().ok(&["pull", "-q", &other]);
}

#[test]
fn a_token_that_ends_in_the_middle_is_replaced_and_the_blob_resumed() {
    for uses in [1, 2, 3] {
        let (world, hub) = (
            World::new(),
            Hub::start(Rules {
                token_uses: Some(uses),
                cuts: 2,
                ..Rules::default()
            }),
        );
        hub.put("x", "1", AMD64, &layers(6), sha256);
        let pulled = world.run(&["pull", "--retry-delay", "20ms", &hub.image("x:1")]);
        pulled.code(0);
        let log = hub.log();
        assert!(hub.issued() >= 8 / uses, "{uses}: {log:?}");
        assert!(log.iter().any(|l| l.contains(" from ")), "{log:?}");
        // And the other way.
        let to = hub.image("y:1");
        world.ok(&["push", "-q", "--creds", "u:p", &hub.image("x:1"), &to]);
    }
}

#[test]
fn several_uploads_at_once_learn_the_challenge_together() {
    requires!("docker-registry", "htpasswd");
    let hub = Hub::start(Rules::default());
    hub.put("x", "1", AMD64, &layers(6), sha256);
    let world = World::new();
    let name = hub.image("x:1");
    world.ok(&["pull", "-q", &name]);
    let registry = world.registry(crate::support::peer::Mode::Htpasswd);
    for n in 0..5 {
        let to = registry.image(&format!("x{n}:1"));
        world.ok(&["push", "-q", "--creds", "u:p", &name, &to]);
    }
}

#[test]
fn an_identity_token_of_docker_login_is_exchanged() {
    let (world, hub) = (
        World::new(),
        Hub::start(Rules {
            private: true,
            ..tokens()
        }),
    );
    hub.put("x", "1", AMD64, &layers(1), sha256);
    let name = hub.image("x:1");
    world
        .run(&["pull", &name])
        .code(125)
        .says("nobody is allowed");
    let docker = world.path().join("home/.docker");
    std::fs::create_dir(&docker).unwrap();
    let file =
        serde_json::json!({"auths": {(&hub.address): {"auth": "", "identitytoken": "identity"}}});
    std::fs::write(docker.join("config.json"), file.to_string()).unwrap();
    world.ok(&["pull", "-q", &name]);
    assert!(hub.log().iter().any(|l| l == "POST /token"));
    let wrong = file.to_string().replace("\"identity\"", "\"stolen\"");
    std::fs::write(docker.join("config.json"), wrong).unwrap();
    world.run(&["pull", &name]).code(125).says("incorrect");
}

#[test]
fn login_proves_itself_at_the_token_server() {
    let (world, hub) = (
        World::new(),
        Hub::start(Rules {
            private: true,
            ..tokens()
        }),
    );
    let login = |password: &str| {
        world.run_with(
            &["login", "-u", "u", "--password-stdin", &hub.address],
            password.as_bytes(),
        )
    };
    login("wrong").code(125).says("incorrect");
    login("p").code(0);
    hub.put("x", "1", AMD64, &layers(1), sha256);
    world.ok(&["pull", "-q", &hub.image("x:1")]);
}

#[test]
fn a_registry_that_asks_to_wait_gets_its_wait_but_not_hours() {
    let busy = |n: usize, after: &str| {
        let hub = Hub::start(Rules {
            busy: n,
            retry_after: after.to_owned(),
            ..Rules::default()
        });
        hub.put("x", "1", AMD64, &layers(1), sha256);
        hub
    };
    let world = World::new();
    let hub = busy(1, "1");
    let begun = Instant::now();
    world
        .run(&["pull", &hub.image("x:1")])
        .code(0)
        .says("slow down; trying again in 1 s");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let hub = busy(2, "Sun, 06 Nov 1994 08:49:37 GMT");
    world.run(&["pull", &hub.image("x:1")]).code(0);
    let hub = busy(1, "21600");
    let begun = Instant::now();
    world
        .run(&["pull", &hub.image("x:1")])
        .code(125)
        .says("try again in 6 hours");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn sha512_digests_are_as_good_and_checked_as_well() {
    let (world, hub) = (World::new(), Hub::start(Rules::default()));
    let digest = hub.put("x", "1", AMD64, &layers(3), sha512);
    assert!(digest.starts_with("sha512:"));
    for name in [hub.image("x:1"), hub.image(&format!("x@{digest}"))] {
        let world = World::new();
        world.ok(&["pull", "-q", &name]);
        let listed = world.ok(&["run", "--rm", "--network", "none", &name, "ls", "/"]);
        assert!(listed.contains("layer-2"), "{listed}");
        let saved = world.path().join("saved.tar");
        world.ok(&[
            "save",
            "--format",
            "oci-archive",
            "-o",
            saved.to_str().unwrap(),
            &name,
        ]);
        let other = World::new();
        other.ok(&["load", "-q", "-i", saved.to_str().unwrap()]);
        world.ok(&["push", "-q", &name, &hub.image("back:1")]);
        world.ok(&["rmi", "-f", &name]);
    }
    let wrong = format!("x@sha512:{}", "0".repeat(128));
    world.run(&["pull", &hub.image(&wrong)]).code(125);
    // A blob that is not what its digest says.
    hub.put("y", "1", AMD64, &layers(1), |bytes| {
        sha512(&[bytes, b"more"].concat())
    });
    world
        .run(&["pull", "--retry", "0", &hub.image("y:1")])
        .code(125)
        .says("sha512");
}

#[test]
fn with_tag_and_digest_the_digest_counts() {
    let (world, hub) = (World::new(), Hub::start(Rules::default()));
    let old = hub.put("x", "1", AMD64, &layers(1), sha256);
    let new = hub.put("x", "1", AMD64, &layers(2), sha256);
    assert_ne!(old, new);
    let both = hub.image(&format!("x:1@{old}"));
    let id = world.ok(&["pull", "-q", &both]);
    world.ok(&["image", "exists", &hub.image(&format!("x@{old}"))]);
    world.ok(&["image", "exists", &both]);
    let ran = world.ok(&["run", "--rm", "--network", "none", &both, "ls", "/"]);
    assert!(!ran.contains("layer-1"), "{ran}");
    assert_ne!(world.ok(&["pull", "-q", &hub.image("x:1")]), id);
    world
        .run(&[
            "pull",
            &hub.image(&format!("x:1@sha256:{}", "0".repeat(64))),
        ])
        .code(125);
}

#[test]
fn an_index_gives_the_image_of_the_wanted_platform() {
    let (world, hub) = (World::new(), Hub::start(Rules::default()));
    let platforms = [
        ("linux", "s390x", ""),
        ("linux", "arm", "v5"),
        ("linux", "arm", "v7"),
        ("linux", "arm64", "v8"),
        ("windows", "amd64", ""),
        ("linux", "amd64", ""),
    ];
    let members: Vec<_> = platforms
        .iter()
        .map(|p| {
            let tag = format!("{}-{}{}", p.0, p.1, p.2);
            (hub.put("multi", &tag, *p, &layers(1), sha256), *p)
        })
        .collect();
    let top = hub.index("multi", "1", &members);
    let name = hub.image("multi:1");
    let shown = |world: &World| {
        world.ok(&[
            "image",
            "inspect",
            "--format",
            "{{.Os}}/{{.Architecture}}",
            &name,
        ])
    };
    for (args, says, platform) in [
        (&[][..], "linux/amd64", "PLATFORM=linux/amd64/"),
        (&["--platform", "linux/arm64"], "linux/arm64", "/arm64/v8"),
        (&["--platform", "linux/arm/v7"], "linux/arm", "/arm/v7"),
        // What it lacks is taken from an older variant, never from a newer one.
        (
            &["--arch", "arm", "--variant", "v6"],
            "linux/arm",
            "/arm/v5",
        ),
        (&["--arch", "s390x"], "linux/s390x", "/s390x/"),
        (&["--os", "windows"], "windows/amd64", "windows/amd64"),
        (&["--platform", "aarch64"], "linux/arm64", "/arm64/v8"),
    ] {
        let pull = [&["pull", "-q"], args, &[&name]].concat();
        world.ok(&pull);
        assert_eq!(shown(&world), says, "{args:?}");
        let env = world.ok(&["image", "inspect", "--format", "{{.Config.Env}}", &name]);
        assert!(env.contains(platform), "{args:?}: {env}");
    }
    let failed = world.run(&["pull", "--platform", "linux/riscv64", &name]);
    failed.code(125).says("riscv64");
    // The digest of the index means the same for everyone.
    let by_digest = hub.image(&format!("multi@{top}"));
    let other = World::new();
    other.ok(&["pull", "-q", &by_digest]);
    let digests = other.ok(&[
        "image",
        "inspect",
        "--format",
        "{{.RepoDigests}}",
        &by_digest,
    ]);
    assert!(digests.contains(&top), "{digests}");
    // What is here for another platform is no answer to `run --platform`.
    other.ok(&["pull", "-q", "--platform", "linux/arm64", &name]);
    other.ok(&[
        "create",
        "--platform",
        "linux/amd64",
        "--name",
        "c",
        &name,
        "true",
    ]);
    let image = other.inspect("c", "{{.Image}}");
    let platform = other.inspect(&image, "{{.Os}}/{{.Architecture}}");
    assert_eq!(platform, "linux/amd64");
}

#[test]
fn an_image_of_another_platform_brings_a_warning() {
    let (world, hub) = (World::new(), Hub::start(Rules::default()));
    hub.put("x", "1", ("linux", "s390x", ""), &layers(1), sha256);
    let name = hub.image("x:1");
    world.run(&["pull", &name]).code(0).says("WARNING");
    let outcome: Outcome = world.run(&["pull", "--arch", "s390x", &name]);
    assert!(!outcome.stderr.contains("WARNING"), "{}", outcome.stderr);
}

#[test]
fn tags_come_page_by_page_and_words_are_searched() {
    let (world, hub) = (World::new(), Hub::start(tokens()));
    for tag in ["a", "b", "c", "d", "e"] {
        hub.put("many", tag, AMD64, &layers(1), sha256);
    }
    let list = |more: &[&str]| {
        let name = hub.image("many");
        let args = [
            &["search", "--list-tags", "--format", "{{.Tag}}"],
            more,
            &[&name],
        ];
        world.ok(&args.concat())
    };
    assert_eq!(list(&[]), "a\nb\nc\nd\ne");
    assert_eq!(list(&["--limit", "3"]), "a\nb\nc");
    world.ok(&["pull", "-q", "--all-tags", &hub.image("many")]);
    let here = world.ok(&["images", "--format", "{{.Tag}}"]);
    assert_eq!(here.lines().count(), 5, "{here}");
    let open = Hub::start(Rules::default());
    let format = "{{.Name}} {{.Description}} {{.Stars}} {{.Official}}";
    let found = world.ok(&["search", "--format", format, &open.image("word")]);
    assert_eq!(found, format!("{} found 7 [OK]", open.image("team/word")));
    let few = ["search", "--filter", "stars=8", "-q", &open.image("word")];
    world.run(&few).code(125);
    let few = [
        "search",
        "--filter",
        "stars=8",
        "--format",
        "x",
        &open.image("word"),
    ];
    assert_eq!(world.ok(&few), "");
}

#[test]
fn all_tags_of_a_repository_are_pushed() {
    let (world, hub) = (World::with_busybox(), Hub::start(Rules::default()));
    let repository = hub.image("team/app");
    for tag in ["1", "2"] {
        world.ok(&["tag", "busybox", &format!("{repository}:{tag}")]);
    }
    world.ok(&["tag", "busybox", &hub.image("team/app2:9")]);
    let said = world.ok(&["push", "--all-tags", &repository]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].starts_with(&format!("{repository}:1: sha256:")));
    let tags = ["search", "--list-tags", "--format", "{{.Tag}}", &repository];
    assert_eq!(world.ok(&tags), "1\n2");
    world
        .run(&["push", "-a", &format!("{repository}:1")])
        .code(125);
    world.run(&["push", "-a", &hub.image("none")]).code(125);
    world
        .run(&["push", "-a", &repository, "elsewhere"])
        .code(125);
}

#[test]
fn archives_come_from_a_web_server() {
    let world = World::with_busybox();
    let saved = world.path().join("saved.tar");
    world.ok(&["save", "-o", saved.to_str().unwrap(), "busybox"]);
    let archive = std::fs::read(&saved).unwrap();
    let server = http::serve(move |request| match request.path.as_str() {
        "/saved.tar" => http::Answer::ok(archive.clone()),
        "/root.tar" => http::Answer::ok(crate::support::fixture::busybox_tar()),
        "/moved.tar" => http::Answer::status(302).with("Location", "/saved.tar"),
        "/cut.tar" => http::Answer {
            cut: Some(100_000),
            ..http::Answer::ok(archive.clone())
        },
        _ => http::Answer::status(404),
    });
    let other = World::new();
    let url = |path: &str| format!("http://{server}/{path}");
    for path in ["saved.tar", "moved.tar"] {
        other.ok(&["load", "-i", &url(path)]);
        other.ok(&["rmi", "busybox"]);
    }
    other.ok(&["import", &url("root.tar"), "made"]);
    other.ok(&["image", "exists", "made"]);
    for args in [["load", "-i"], ["import", "-q"]] {
        let gone = url("none.tar");
        other
            .run(&[args[0], args[1], &gone])
            .code(125)
            .says("does not have it");
        other.run(&[args[0], args[1], &url("cut.tar")]).code(125);
    }
    other
        .run_with(&["load", "-i", "-"], &std::fs::read(&saved).unwrap())
        .code(0);
}
