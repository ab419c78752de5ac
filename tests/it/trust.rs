//! policy.json, registries.d, and signatures: made by us and by skopeo, verified by both.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::hub::{Hub, Rules, sha256};
use crate::support::peer::Mode;
use crate::support::{Outcome, World};

fn peer(world: &World, program: &str, args: &[&str]) -> Outcome {
    let mut command = Command::new(program);
    command.args(args);
    world.settle(&mut command);
    Outcome::of(args, command.output().unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes a file of the caller's configuration.
fn configure(world: &World, name: &str, content: &str) {
    let path = world.path().join("home/.config/containers").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn policy(world: &World, rule: &str) {
    let text = format!(
        r#"{{"default":[{{"type":"insecureAcceptAnything"}}],"transports":{{"docker":{{"127.0.0.1":[{{"type":"reject"}}],"":[{rule}]}}}}}}"#
    );
    configure(world, "policy.json", &text);
}

/// A key pair: private in PKCS#8, and public.
fn key_pair(world: &World, name: &str) -> (PathBuf, PathBuf) {
    let private = world.path().join(format!("{name}.key"));
    let public = world.path().join(format!("{name}.pub"));
    let make = [
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
    ];
    let mut words = make.to_vec();
    words.push(text(&private));
    peer(world, "openssl", &words).ok();
    peer(
        world,
        "openssl",
        &[
            "pkey",
            "-in",
            text(&private),
            "-pubout",
            "-out",
            text(&public),
        ],
    )
    .ok();
    (private, public)
}

/// The same private key as cosign keeps it, behind a passphrase.
fn as_cosign(world: &World, private: &Path, passphrase: &str) -> PathBuf {
    use crypto_secretbox::aead::{Aead as _, KeyInit as _};
    let pem = std::fs::read_to_string(private).unwrap();
    let body: String = pem.lines().filter(|l| !l.starts_with("-----")).collect();
    let pkcs8 = STANDARD.decode(body).unwrap();
    // python's scrypt is openssl's: another one than ours.
    let script = "import hashlib,sys;print(hashlib.scrypt(sys.argv[1].encode(),salt=b's'*32,n=32768,r=8,p=1,maxmem=1<<27,dklen=32).hex())";
    let hex = peer(world, "python3", &["-c", script, passphrase]).ok();
    let key: Vec<u8> = (0..32)
        .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
        .collect();
    let key: [u8; 32] = key.try_into().unwrap();
    let nonce = [7_u8; 24];
    let sealed = crypto_secretbox::XSalsa20Poly1305::new(&key.into())
        .encrypt(&nonce.into(), pkcs8.as_slice())
        .unwrap();
    let document = serde_json::json!({
        "kdf": {"name": "scrypt", "params": {"N": 32768, "r": 8, "p": 1}, "salt": STANDARD.encode([b's'; 32])},
        "cipher": {"name": "nacl/secretbox", "nonce": STANDARD.encode(nonce)},
        "ciphertext": STANDARD.encode(sealed),
    });
    let body = STANDARD.encode(document.to_string());
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .map(|l| std::str::from_utf8(l).unwrap())
        .collect();
    let path = world.path().join("cosign.key");
    let text = format!(
        "-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\n{}\n-----END ENCRYPTED COSIGN PRIVATE KEY-----\n",
        lines.join("\n")
    );
    std::fs::write(&path, text).unwrap();
    path
}

const ATTACHED: &str = "default-docker:\n  use-sigstore-attachments: true\n";

fn nothing_is_here(world: &World) {
    assert_eq!(world.ok(&["images", "-q"]), "");
    assert!(
        !world.data().join("store/layers").exists(),
        "nothing was unpacked"
    );
    let blobs = std::fs::read_dir(world.data().join("store/blobs/sha256"));
    assert_eq!(
        blobs.into_iter().flatten().count(),
        0,
        "nothing was fetched"
    );
}

#[test]
fn images_without_the_right_sigstore_signature_are_refused_before_they_are_fetched() {
    requires!("openssl");
    let world = World::with_busybox();
    let hub = Hub::start(Rules::default());
    let (private, public) = key_pair(&world, "one");
    let (_, other) = key_pair(&world, "two");
    let image = hub.image("signed:1");
    let sign = [
        "push",
        "-q",
        "--sign-by-sigstore-private-key",
        text(&private),
        "busybox",
        &image,
    ];
    world.ok(&sign);
    world.ok(&["push", "-q", "busybox", &hub.image("bare:1")]);
    let puller = World::new();
    let rule = |key: &Path, more: &str| {
        format!(
            r#"{{"type":"sigstoreSigned","keyPath":"{}"{more}}}"#,
            key.display()
        )
    };
    let docker = |world: &World, rule: &str| {
        let registry = &hub.address;
        configure(
            world,
            "policy.json",
            &format!(
                r#"{{"default":[{{"type":"reject"}}],"transports":{{"docker":{{"{registry}":[{rule}]}}}}}}"#
            ),
        );
    };
    docker(&puller, &rule(&public, ""));
    let pull = ["pull", "-q", image.as_str()];
    puller.run(&pull).code(125).says("use-sigstore-attachments");
    configure(&puller, "registries.d/a.yaml", ATTACHED);
    puller
        .run(&["pull", "-q", &hub.image("bare:1")])
        .code(125)
        .says("it has no signature");
    puller
        .run(&["run", "--rm", &hub.image("bare:1"), "true"])
        .code(125)
        .says("refused by policy.json");
    docker(&puller, &rule(&other, ""));
    puller
        .run(&pull)
        .code(125)
        .says("a key that the policy does not name");
    docker(&puller, &rule(&public, r#","rekorPublicKeyPath":"/x""#));
    puller.run(&pull).code(125).says("does not verify");
    let identity = r#","signedIdentity":{"type":"exactRepository","dockerRepository":"r.io/x"}"#;
    docker(&puller, &rule(&public, identity));
    puller.run(&pull).code(125).says("is for the name");
    puller
        .run(&["pull", "-q", "127.0.0.1:1/x"])
        .code(125)
        .says("refused by policy.json");
    nothing_is_here(&puller);
    docker(&puller, &rule(&public, ""));
    puller.ok(&pull);
    // The same name with another image behind it: the signature is not for that.
    let tag = hub.manifest("bare", "1");
    let digest = hub.manifest_digest("signed", "1");
    assert_eq!(tag, hub.manifest("signed", "1"));
    crate::chunked::add_image(&world, "changed", &[("data/x", b"other".to_vec())]);
    world.ok(&["push", "-q", "changed", &image]);
    assert_ne!(hub.manifest_digest("signed", "1"), digest);
    puller.run(&pull).code(125).says("it has no signature");
    hub.copy_manifest(
        "signed",
        &signature_tag(&digest),
        &signature_tag(&hub.manifest_digest("signed", "1")),
    );
    puller.run(&pull).code(125).says("for another image");
    // A policy that got stricter holds for images that are here, too.
    docker(&puller, &rule(&other, ""));
    let by_digest = format!("{}@{digest}", hub.image("signed"));
    puller.run(&["pull", "-q", &by_digest]).code(125);
    docker(&puller, &rule(&public, ""));
    puller.ok(&["pull", "-q", &by_digest]);
}

#[test]
fn lists_and_artifacts_are_signed_with_all_that_they_name() {
    requires!("openssl");
    let world = World::with_busybox();
    let hub = Hub::start(Rules::default());
    let (private, public) = key_pair(&world, "one");
    let key = ["--sign-by-sigstore-private-key", text(&private)];
    world.ok(&["manifest", "create", "list", "busybox"]);
    let (by_push, by_list) = (hub.image("a:1"), hub.image("b:1"));
    world.ok(&[&["push", "-q"], &key[..], &["list", &by_push]].concat());
    world.ok(&[&["manifest", "push", "-q"], &key[..], &["list", &by_list]].concat());
    let file = world.path().join("file");
    std::fs::write(&file, "content").unwrap();
    let made = hub.image("c:1");
    world.ok(&["artifact", "add", &made, text(&file)]);
    world.ok(&[&["artifact", "push", "-q"], &key[..], &[&made]].concat());
    for name in ["a", "b", "c"] {
        let digest = hub.manifest_digest(name, "1");
        // There is a signature of it: the hub answers with a manifest.
        let signature = hub.manifest(name, &signature_tag(&digest));
        assert!(signature["layers"][0]["digest"].is_string(), "{name}");
    }
    let puller = World::new();
    configure(&puller, "registries.d/a.yaml", ATTACHED);
    let rule = format!(
        r#"{{"type":"sigstoreSigned","keyPath":"{}"}}"#,
        public.display()
    );
    let policy = format!(
        r#"{{"default":[{{"type":"reject"}}],"transports":{{"docker":{{"{}":[{rule}]}}}}}}"#,
        hub.address
    );
    configure(&puller, "policy.json", &policy);
    puller.ok(&["pull", "-q", &by_push]);
    puller.ok(&["pull", "-q", &by_list]);
    // A key that is not there is told before anything is sent.
    let sent = hub.log().len();
    let none = ["--sign-by-sigstore-private-key", "/nokey"];
    let push = [&["artifact", "push", "-q"], &none[..], &[&made]].concat();
    world.run(&push).code(125).says("cannot read /nokey");
    assert_eq!(hub.log().len(), sent);
}

fn signature_tag(digest: &str) -> String {
    format!("{}.sig", digest.replace(':', "-"))
}

// Debian's skopeo and podman have sigstore taken out: openssl is the witness.
#[test]
fn openssl_verifies_our_sigstore_signatures_and_we_verify_its() {
    requires!("openssl", "python3");
    let world = World::with_busybox();
    let hub = Hub::start(Rules::default());
    let (private, public) = key_pair(&world, "one");
    let encrypted = as_cosign(&world, &private, "secret");
    let phrase = world.path().join("phrase");
    std::fs::write(&phrase, "secret\n").unwrap();
    let (ours, key) = (hub.image("ours:1"), text(&encrypted));
    let mut push = vec!["push", "-q", "--sign-by-sigstore-private-key", key];
    let mut without = push.clone();
    without.extend(["busybox", &ours]);
    world.run(&without).code(125).says("--sign-passphrase-file");
    push.extend(["--sign-passphrase-file", text(&phrase), "busybox", &ours]);
    world.ok(&push);
    let digest = hub.manifest_digest("ours", "1");
    let artifact = hub.manifest("ours", &signature_tag(&digest));
    let layer = &artifact["layers"][0];
    assert_eq!(layer["mediaType"], PAYLOAD);
    let payload = hub.bytes_of(layer["digest"].as_str().unwrap());
    let signed: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(
        signed["critical"]["type"],
        "cosign container image signature"
    );
    assert_eq!(
        signed["critical"]["image"]["docker-manifest-digest"],
        digest
    );
    assert_eq!(signed["critical"]["identity"]["docker-reference"], ours);
    let signature = layer["annotations"][SIGNATURE].as_str().unwrap();
    let (content, made) = (world.path().join("content"), world.path().join("made"));
    std::fs::write(&content, &payload).unwrap();
    std::fs::write(&made, STANDARD.decode(signature).unwrap()).unwrap();
    let verify = [
        "dgst",
        "-sha256",
        "-verify",
        text(&public),
        "-signature",
        text(&made),
        text(&content),
    ];
    peer(&world, "openssl", &verify).ok();
    // A wrong passphrase opens nothing.
    std::fs::write(&phrase, "wrong").unwrap();
    world.run(&push).code(125).says("passphrase");
    // The other way round, with every kind of key that openssl makes.
    for (kind, options) in [
        ("EC", vec!["-pkeyopt", "ec_paramgen_curve:P-256"]),
        ("EC", vec!["-pkeyopt", "ec_paramgen_curve:P-384"]),
        ("RSA", vec!["-pkeyopt", "rsa_keygen_bits:2048"]),
    ] {
        let (private, public) = (world.path().join("k.key"), world.path().join("k.pub"));
        let mut make = vec!["genpkey", "-algorithm", kind, "-out", text(&private)];
        make.extend(options.iter().copied());
        peer(&world, "openssl", &make).ok();
        peer(
            &world,
            "openssl",
            &[
                "pkey",
                "-in",
                text(&private),
                "-pubout",
                "-out",
                text(&public),
            ],
        )
        .ok();
        world.ok(&["push", "-q", "busybox", &hub.image("theirs:1")]);
        let digest = hub.manifest_digest("theirs", "1");
        let payload = serde_json::json!({
            "critical": {
                "identity": {"docker-reference": hub.image("theirs:1")},
                "image": {"docker-manifest-digest": digest},
                "type": "cosign container image signature",
            },
            "optional": null,
        })
        .to_string();
        std::fs::write(&content, &payload).unwrap();
        let sign = [
            "dgst",
            "-sha256",
            "-sign",
            text(&private),
            "-out",
            text(&made),
            text(&content),
        ];
        peer(&world, "openssl", &sign).ok();
        let signature = STANDARD.encode(std::fs::read(&made).unwrap());
        let config = hub.blob(b"{}", sha256);
        let artifact = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
            "layers": [{
                "mediaType": PAYLOAD, "digest": hub.blob(payload.as_bytes(), sha256), "size": payload.len(),
                "annotations": {SIGNATURE: signature},
            }],
        });
        let tag = signature_tag(&digest);
        hub.publish(
            "theirs",
            &tag,
            MANIFEST,
            artifact.to_string().into_bytes(),
            sha256,
        );
        let puller = World::new();
        configure(&puller, "registries.d/a.yaml", ATTACHED);
        let rule = |key: &Path| {
            format!(
                r#"{{"default":[{{"type":"sigstoreSigned","keyPath":"{}"}}]}}"#,
                key.display()
            )
        };
        configure(&puller, "policy.json", &rule(&world.path().join("one.pub")));
        puller
            .run(&["pull", "-q", &hub.image("theirs:1")])
            .code(125)
            .says("does not name");
        nothing_is_here(&puller);
        configure(&puller, "policy.json", &rule(&public));
        puller.ok(&["pull", "-q", &hub.image("theirs:1")]);
    }
}

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[test]
fn simple_signatures_are_made_and_verified_with_gpg() {
    requires!("gpg", "gpgv", "skopeo", "docker-registry");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Plain);
    let home = world.path().join("home/.gnupg");
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, None, None).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&home, mode).unwrap();
    let export = |who: &str| {
        let generate = [
            "--batch",
            "--passphrase",
            "",
            "--quick-gen-key",
            who,
            "rsa2048",
            "sign",
            "never",
        ];
        peer(&world, "gpg", &generate).ok();
        let path = world.path().join(format!("{who}.asc"));
        peer(
            &world,
            "gpg",
            &[
                "--batch",
                "--armor",
                "--output",
                text(&path),
                "--export",
                who,
            ],
        )
        .ok();
        path
    };
    let (good, other) = (export("good@example.com"), export("other@example.com"));
    let lookaside = world.path().join("signatures");
    let places = format!(
        "default-docker:\n  lookaside: file://{}\n",
        lookaside.display()
    );
    configure(&world, "registries.d/a.yaml", &places);
    let ours = registry.image("ours:1");
    world.ok(&[
        "push",
        "-q",
        "--sign-by",
        "good@example.com",
        "busybox",
        &ours,
    ]);
    world
        .run(&["push", "-q", "--sign-by", "nobody@x", "busybox", &ours])
        .code(125)
        .says("nobody@x");
    let rule = |key: &Path| {
        format!(
            r#"{{"default":[{{"type":"signedBy","keyType":"GPGKeys","keyPath":"{}"}}],"transports":{{"dir":{{"":[{{"type":"insecureAcceptAnything"}}]}}}}}}"#,
            key.display()
        )
    };
    let puller = World::new();
    configure(&puller, "policy.json", &rule(&good));
    puller
        .run(&["pull", "-q", &ours])
        .code(125)
        .says("it has no signature");
    configure(&puller, "registries.d/a.yaml", &places);
    configure(&puller, "policy.json", &rule(&other));
    puller
        .run(&["pull", "-q", &ours])
        .code(125)
        .says("does not name");
    nothing_is_here(&puller);
    configure(&puller, "policy.json", &rule(&good));
    puller.ok(&["pull", "-q", &ours]);
    // skopeo believes ours, and we believe skopeo's.
    let policy = world.path().join("policy.json");
    std::fs::write(&policy, rule(&good)).unwrap();
    let theirs = registry.image("theirs:1");
    peer(
        &world,
        "skopeo",
        &[
            "--policy",
            text(&policy),
            "copy",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            "--remove-signatures",
            "--sign-by",
            "good@example.com",
            &format!("docker://{ours}"),
            &format!("docker://{theirs}"),
        ],
    )
    .ok();
    let again = World::new();
    configure(&again, "registries.d/a.yaml", &places);
    configure(&again, "policy.json", &rule(&good));
    again.ok(&["pull", "-q", &theirs]);
    // A byte of the message turned over.
    let mut signatures = Vec::new();
    find(&lookaside.join("theirs"), &mut signatures);
    find(&lookaside, &mut signatures);
    for path in signatures {
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    let last = World::new();
    configure(&last, "registries.d/a.yaml", &places);
    configure(&last, "policy.json", &rule(&good));
    last.run(&["pull", "-q", &theirs]).code(125);
    nothing_is_here(&last);
}

fn find(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, found);
        } else if !found.contains(&path) {
            found.push(path);
        }
    }
}

#[test]
fn trust_is_shown_and_set() {
    let world = World::new();
    let shown = world.ok(&["image", "trust", "show"]);
    assert!(
        shown.contains("default") && shown.contains("accept"),
        "{shown}"
    );
    let key = world.path().join("k.pub");
    std::fs::write(&key, "x").unwrap();
    world
        .run(&["image", "trust", "set", "quay.io"])
        .code(125)
        .says("needs a public key");
    world
        .run(&["image", "trust", "set", "-f", "/none", "quay.io"])
        .code(125)
        .says("/none");
    world.ok(&["image", "trust", "set", "-t", "reject", "default"]);
    world.ok(&["image", "trust", "set", "-t", "accept", "docker.io"]);
    world.ok(&["image", "trust", "set", "-f", text(&key), "quay.io/team"]);
    world.ok(&[
        "image",
        "trust",
        "set",
        "-t",
        "sigstoreSigned",
        "-f",
        text(&key),
        "ghcr.io",
    ]);
    configure(
        &world,
        "registries.d/a.yaml",
        "docker:\n  quay.io:\n    lookaside: https://s.example/\n",
    );
    let shown = world.ok(&["image", "trust", "show", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let of = |name: &str| {
        let all = list.as_array().unwrap();
        all.iter().find(|l| l["name"] == name).unwrap().clone()
    };
    assert_eq!(of("default")["type"], "reject");
    assert_eq!(of("docker.io")["type"], "accept");
    assert_eq!(of("quay.io/team")["type"], "signed");
    assert_eq!(of("quay.io/team")["sigstore"], "https://s.example/");
    assert_eq!(of("ghcr.io")["keys"][0], text(&key));
    let raw = world.ok(&["image", "trust", "show", "--raw"]);
    assert!(raw.contains("\"keyType\": \"GPGKeys\""), "{raw}");
    world
        .run(&["pull", "-q", "127.0.0.1:1/x"])
        .code(125)
        .says("refused by policy.json");
    policy(&world, r#"{"type":"nonsense"}"#);
    world
        .run(&["pull", "-q", "127.0.0.1:1/x"])
        .code(125)
        .says("policy.json");
}
