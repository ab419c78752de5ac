//! Build caches outside of the store: registries, folders, and in images.

use std::path::Path;

use crate::building::{build, context, count};
use crate::support::World;
use crate::support::peer::Mode;

/// Two stages, one of them in the result only by a file; every kind of step.
const TEXT: &str = "FROM busybox AS tools\nRUN echo tool > /tool\nRUN true\n\
    FROM busybox\nCOPY f /f\nRUN --mount=type=bind,target=/c cat /c/f > /g\nWORKDIR /w\n\
    COPY --from=tools /tool /tool\nRUN cat /f /tool > out\n";

fn layers(world: &World, name: &str) -> String {
    world.inspect(name, "{{json .RootFS.Layers}} {{json .History}}")
}

fn files(world: &World) -> std::path::PathBuf {
    context(world, "c", &[("Dockerfile", TEXT), ("f", "file")])
}

/// Builds in a store that has never seen any of it; says how many steps came from elsewhere.
fn cold(from: &str, original: &str) -> usize {
    let world = World::with_busybox();
    let dir = files(&world);
    let built = build(&world, &dir, &["-t", "x", "--cache-from", from]).code(0);
    // The base was imported anew and has another time: what the build added is the same.
    assert_eq!(
        layers(&world, "x").split_once(' ').unwrap().0,
        original.split_once(' ').unwrap().0,
        "{}",
        built.stderr
    );
    let said = world.ok(&["run", "--rm", "--network=none", "x", "cat", "/w/out"]);
    assert_eq!(said, "filetool");
    // What came is the store's own from then on.
    let again = build(&world, &dir, &[]).code(0);
    assert_eq!(count(&again, " CACHED"), 7, "{}", again.stderr);
    count(&built, " CACHED")
}

#[test]
fn a_cold_store_takes_every_step_from_a_registry() {
    requires!("docker-registry");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Plain);
    let dir = files(&world);
    let own = |tag: &str| registry.image(&format!("cache/own:{tag}"));
    let max = format!("type=registry,ref={},mode=max", own("max"));
    let min = format!("type=registry,ref={}", own("min"));
    let (plain, folder) = (own("plain"), world.path().join("folder"));
    let local = format!("type=local,dest={},mode=max", folder.display());
    let image = registry.image("app:1");
    let words = [
        "-t",
        &image,
        "--push",
        "--cache-to",
        &max,
        "--cache-to",
        &min,
        "--cache-to",
        &plain,
        "--cache-to",
        &local,
        "--cache-to=type=inline",
    ];
    build(&world, &dir, &words).code(0);
    let original = layers(&world, &image);
    // Everything: the stage that the result only has a file of, too.
    assert_eq!(
        cold(&format!("type=registry,ref={}", own("max")), &original),
        7
    );
    // podman's form of a bare name takes all steps.
    assert_eq!(cold(&plain, &original), 7);
    // What the result does not consist of runs; it gives the same, so what follows is found.
    assert_eq!(cold(&own("min"), &original), 5);
    assert_eq!(cold(&image, &original), 5);
    let source = format!("type=local,src={}", folder.display());
    assert_eq!(cold(&source, &original), 7);
    // Nothing of the instructions is told.
    let config = std::fs::read_dir(folder.join("blobs/sha256")).unwrap();
    for blob in config {
        let bytes = std::fs::read(blob.unwrap().path()).unwrap();
        assert!(!bytes.windows(9).any(|w| w == b"echo tool"));
    }
    // No image: a pull says so.
    world.run(&["pull", &own("max")]).code(125).says("artifact");
    // A cache that is not there, or an image without one, is worth a word.
    let other = world.ok(&[
        "import",
        "-q",
        Path::new("busybox.tar").to_str().unwrap(),
        "bare",
    ]);
    assert!(!other.is_empty());
    let bare = registry.image("bare:1");
    world.ok(&["push", "-q", "bare", &bare]);
    for (from, why) in [
        (own("none").as_str(), "cannot read the cache"),
        (bare.as_str(), "without a cache"),
        ("type=local,src=/nonexistent", "cannot read the cache"),
    ] {
        build(&world, &dir, &["--cache-from", from])
            .code(0)
            .says(why);
    }
    let nowhere = "type=registry,ref=127.0.0.1:1/x/y,mode=max";
    let error = build(&world, &dir, &["--retry=0", "--cache-to", nowhere]).code(125);
    assert!(
        error.stderr.contains("cannot write the cache"),
        "{}",
        error.stderr
    );
    let lenient = format!("{nowhere},ignore-error=true");
    build(&world, &dir, &["--retry=0", "--cache-to", &lenient])
        .code(0)
        .says("cannot write the cache");
    build(&world, &dir, &["--cache-to=type=gha"])
        .code(125)
        .says("that service is not asked");
}

#[test]
fn a_cache_that_lies_is_noticed() {
    let world = World::with_busybox();
    let dir = files(&world);
    let folder = world.path().join("folder");
    let local = format!("type=local,dest={},mode=max", folder.display());
    let fixed = "--timestamp=1700000000";
    build(&world, &dir, &["-t", "x", fixed, "--cache-to", &local]).code(0);
    let wanted = layers(&world, "x").split_once(' ').unwrap().0.to_owned();
    // Every layer is another one now, of the same size.
    for blob in std::fs::read_dir(folder.join("blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let other = World::with_busybox();
    let dir = files(&other);
    let source = format!("type=local,src={}", folder.display());
    let built = build(&other, &dir, &["-t", "x", fixed, "--cache-from", &source]).code(0);
    assert!(
        built.stderr.contains("cannot take a layer from the cache"),
        "{}",
        built.stderr
    );
    assert_eq!(layers(&other, "x").split_once(' ').unwrap().0, wanted);
}
