//! What files and the environment say of registries: certificates, proxies, credential helpers,
//! mirrors and other places.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::peer::{Mode, Registry};
use crate::support::proxy::Proxy;
use crate::support::{Outcome, World};

fn run(world: &World, env: &[(&str, &str)], args: &[&str]) -> Outcome {
    let mut command = world.command(args);
    command.envs(env.iter().copied());
    Outcome::of(args, command.output().unwrap())
}

/// Puts the authority, and perhaps the client's certificate, where a registry's are looked for.
fn trust(folder: &Path, registry: &Registry, client: bool) {
    std::fs::create_dir_all(folder).unwrap();
    let put = |from: &str, to: &str| {
        std::fs::copy(registry.dir.join(from), folder.join(to)).unwrap();
    };
    put("ca.crt", "ca.crt");
    if client {
        put("client.crt", "client.cert");
        put("client.key", "client.key");
    }
}

#[test]
fn a_client_certificate_is_shown_from_podmans_and_from_dockers_folder() {
    requires!("docker-registry", "openssl");
    let world = World::with_busybox();
    let registry = world.registry(Mode::MutualTls);
    let name = registry.image("x:1");
    let certs = world.path().join("certs");
    trust(&certs, &registry, false);
    let certs = certs.to_str().unwrap();
    world
        .run(&[
            "push",
            "--retry",
            "0",
            "--cert-dir",
            certs,
            "busybox",
            &name,
        ])
        .code(125)
        .says("certs.d");
    trust(Path::new(certs), &registry, true);
    world.ok(&["push", "-q", "--cert-dir", certs, "busybox", &name]);
    for folder in ["containers", "docker"] {
        let other = World::new();
        let certs = other
            .path()
            .join(format!("home/.config/{folder}/certs.d"))
            .join(&registry.address);
        trust(&certs, &registry, true);
        other.ok(&["pull", "-q", &name]);
        let listed = other.ok(&[
            "search",
            "--list-tags",
            "--format",
            "{{.Tag}}",
            &registry.image("x"),
        ]);
        assert_eq!(listed, "1");
        std::fs::remove_file(certs.join("client.key")).unwrap();
        other.run(&["pull", &name]).code(125).says("client.key");
    }
}

#[test]
fn registries_are_reached_through_the_proxy_but_for_the_exceptions() {
    requires!("docker-registry", "openssl");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Tls);
    let proxy = Proxy::start(&registry.address);
    let certs = world
        .path()
        .join("home/.config/containers/certs.d/registry.test:5443");
    trust(&certs, &registry, false);
    let name = "registry.test:5443/team/x:1";
    let address = format!("http://me:secret@{}", proxy.address);
    let through = [("HTTPS_PROXY", address.as_str())];
    run(&world, &through, &["push", "busybox", name]).code(0);
    let log = proxy.log();
    // me:secret
    let line = "CONNECT registry.test:5443 Basic bWU6c2VjcmV0";
    assert!(!log.is_empty() && log.iter().all(|l| l == line), "{log:?}");
    let lower = [
        ("https_proxy", address.as_str()),
        ("HTTPS_PROXY", "http://127.0.0.1:1"),
    ];
    run(&world, &lower, &["pull", "-q", name]).code(0);
    let seen = proxy.log().len();
    for except in ["registry.test", ".test", "*", "x, registry.test:5443"] {
        let env = [through[0], ("NO_PROXY", except)];
        let failed = run(&world, &env, &["pull", "--retry", "0", name]).code(125);
        assert!(!failed.stderr.contains("secret"), "{}", failed.stderr);
    }
    // Loopback is never asked for through one.
    let direct = [
        ("HTTPS_PROXY", "http://127.0.0.1:1"),
        ("HTTP_PROXY", "http://127.0.0.1:1"),
    ];
    let plain = registry.image("team/x:1");
    run(
        &world,
        &direct,
        &["pull", "-q", "--tls-verify=false", &plain],
    )
    .code(0);
    assert_eq!(proxy.log().len(), seen);
    let gone = run(&world, &direct, &["pull", "--retry", "0", name]).code(125);
    gone.says("127.0.0.1:1");
    for (name, bad) in [("HTTPS_PROXY", "socks5://x"), ("HTTPS_PROXY", "ftp://a b")] {
        run(&world, &[(name, bad)], &["pull", "busybox:9"])
            .code(125)
            .says(name);
    }
}

#[test]
fn an_unencrypted_registry_is_reached_through_the_proxy() {
    requires!("docker-registry");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Plain);
    let proxy = Proxy::start(&registry.address);
    let address = format!("http://{}", proxy.address);
    let env = [
        ("HTTPS_PROXY", address.as_str()),
        ("HTTP_PROXY", address.as_str()),
    ];
    let name = "registry.test:5000/x:1";
    run(
        &world,
        &env,
        &["push", "-q", "--tls-verify=false", "busybox", name],
    )
    .code(0);
    run(&world, &env, &["pull", "-q", "--tls-verify=false", name]).code(0);
    // The encrypted try is a tunnel, the rest are requests to the proxy itself.
    let log = proxy.log();
    assert!(
        log.iter()
            .any(|l| l.starts_with("PUT http://registry.test:5000/v2/x/manifests/1")),
        "{log:?}"
    );
    assert!(
        log.iter()
            .any(|l| l.starts_with("GET http://registry.test:5000/v2/x/manifests/1")),
        "{log:?}"
    );
    let secret = format!("http://me:secret@{}", proxy.address);
    let secret = [
        ("http_proxy", secret.as_str()),
        ("https_proxy", secret.as_str()),
    ];
    world.ok(&["rmi", name]);
    let plain = ["pull", "-q", "--tls-verify=false", name];
    run(&world, &secret, &plain).code(0);
    let last = proxy.log().pop().unwrap();
    assert!(last.ends_with(" Basic bWU6c2VjcmV0"), "{last}");
    // A port that is excepted is asked for directly: nobody knows that name.
    let seen = proxy.log().len();
    let except = [secret[0], secret[1], ("NO_PROXY", "registry.test:5000")];
    let direct = ["pull", "--retry", "0", "--tls-verify=false", name];
    run(&world, &except, &direct).code(125);
    assert_eq!(proxy.log().len(), seen);
    let other = [secret[0], secret[1], ("NO_PROXY", "registry.test:5001")];
    run(&world, &other, &plain).code(0);
    run(&world, &env, &["pull", "-q", name])
        .code(125)
        .says("TLS");
}

/// A helper that keeps one secret for each server in files, as docker's `pass` and others do.
const HELPER: &str = r#"#!/bin/sh
read -r input
dir=$(dirname "$0")/kept
mkdir -p "$dir"
echo "$1 $input" >>"$dir/log"
key() { printf %s "$1" | tr '/:' '__'; }
case $1 in
get) [ -f "$dir/$(key "$input")" ] || { echo 'credentials not found in native keychain'; exit 1; }
     cat "$dir/$(key "$input")";;
store) server=$(printf %s "$input" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/')
     printf %s "$input" >"$dir/$(key "$server")";;
erase) rm -f "$dir/$(key "$input")";;
esac
"#;

#[test]
fn docker_credential_helpers_keep_and_give_the_secrets() {
    requires!("docker-registry", "htpasswd");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Htpasswd);
    let bin = world.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for name in ["docker-credential-mine", "docker-credential-all"] {
        std::fs::write(bin.join(name), HELPER).unwrap();
        std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let env = [("PATH", path.as_str())];
    let name = registry.image("x:1");
    let docker = world.path().join("home/.docker");
    std::fs::create_dir(&docker).unwrap();
    let config = docker.join("config.json");
    for settings in [
        serde_json::json!({"credHelpers": {(&registry.address): "mine"}}),
        serde_json::json!({"credsStore": "all"}),
        serde_json::json!({"credHelpers": {(&registry.address): "mine"}, "credsStore": "missing"}),
    ] {
        std::fs::write(&config, settings.to_string()).unwrap();
        let file = config.to_str().unwrap();
        run(&world, &env, &["push", "busybox", &name])
            .code(125)
            .says("login");
        let login = [
            "login",
            "--compat-auth-file",
            file,
            "-u",
            "u",
            "-p",
            "p",
            &registry.address,
        ];
        run(&world, &env, &login).code(0);
        let text = std::fs::read_to_string(&config).unwrap();
        assert!(
            !text.contains("\"auth\""),
            "the file has the secret: {text}"
        );
        run(&world, &env, &["push", "-q", "busybox", &name]).code(0);
        run(&world, &env, &["pull", "-q", &name]).code(0);
        let who = ["login", "--get-login", &registry.address];
        assert_eq!(run(&world, &env, &who).ok(), "u");
        let logout = ["logout", "--compat-auth-file", file, &registry.address];
        run(&world, &env, &logout).code(0);
        run(&world, &env, &["pull", &name]).code(125).says("login");
    }
    // One that fails for another reason than not knowing says so.
    let broken = "#!/bin/sh\necho 'the keyring is locked'; exit 1\n";
    std::fs::write(bin.join("docker-credential-mine"), broken).unwrap();
    run(&world, &env, &["pull", &name])
        .code(125)
        .says("the keyring is locked");
}

#[test]
fn names_lead_elsewhere_as_registries_conf_says() {
    requires!("docker-registry");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Plain);
    let digest = world.path().join("digest");
    let mirrored = registry.image("mirror/app:1");
    let pushed = [
        "push",
        "-q",
        "--digestfile",
        digest.to_str().unwrap(),
        "busybox",
        &mirrored,
    ];
    world.ok(&pushed);
    let digest = std::fs::read_to_string(digest).unwrap();
    let address = &registry.address;
    let folder = world
        .path()
        .join("home/.config/containers/registries.conf.d");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(
        folder.join("1.conf"),
        format!(
            "unqualified-search-registries = ['nowhere.test', '{address}']\n\
             short-name-mode = 'permissive'\n\
             [aliases]\nshort = '{address}/mirror/app'\n\
             [[registry]]\nprefix = 'moved.test/old'\nlocation = '{address}/mirror'\n\
             [[registry]]\nprefix = '*.wild.test'\nlocation = '{address}/mirror'\n\
             [[registry]]\nprefix = 'moved.test/old/secret'\nblocked = true\n\
             [[registry]]\nlocation = 'nowhere.test'\n\
             [[registry]]\nprefix = 'pinned.test'\nlocation = '127.0.0.1:1'\n\
             mirror-by-digest-only = true\n\
             [[registry.mirror]]\nlocation = '{address}/mirror'\n\
             [[registry]]\nprefix = 'tags.test'\nlocation = '127.0.0.1:1'\n\
             [[registry.mirror]]\nlocation = '{address}/mirror'\npull-from-mirror = 'tag-only'\n"
        ),
    )
    .unwrap();
    // The name stays, only the place is another.
    for name in [
        "moved.test/old/app:1",
        "a.wild.test/app:1",
        "tags.test/app:1",
    ] {
        world.ok(&["pull", "-q", name]);
        world.ok(&["image", "exists", name]);
    }
    let pinned = format!("pinned.test/app@{digest}");
    world.ok(&["pull", "-q", &pinned]);
    let tags = format!("tags.test/app@{digest}");
    for (name, says) in [
        ("moved.test/old/secret/x", "blocked"),
        ("pinned.test/app:1", "127.0.0.1:1"),
        (tags.as_str(), "127.0.0.1:1"),
    ] {
        world
            .run(&["pull", "--retry", "0", name])
            .code(125)
            .says(says);
    }
    world.ok(&["pull", "-q", "short:1"]);
    world.ok(&["image", "exists", &mirrored]);
    // The first registry to search is not there, the second has it.
    world.ok(&["pull", "-q", "--retry", "0", "mirror/app:1"]);
    // Pushing goes to the place itself.
    world.ok(&["push", "-q", "busybox", "moved.test/old/new:1"]);
    World::new().ok(&["pull", "-q", &registry.image("mirror/new:1")]);
}
