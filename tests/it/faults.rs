//! Registries that stall, lie, cut the line or want too much: nothing hangs, nothing wrong is
//! kept, and what can be mended by trying again is.

use std::time::{Duration, Instant};

use crate::support::liar::{Fault, Liar};
use crate::support::{Outcome, World};

fn pull(world: &World, liar: &Liar, more: &[&str]) -> Outcome {
    let name = liar.image();
    let mut args = vec!["pull", "--retry-delay", "50ms"];
    args.extend_from_slice(more);
    args.push(&name);
    let mut command = world.command(&args);
    command.env("CORACLE_REGISTRY_TIMEOUT", "1");
    Outcome::of(&args, command.output().unwrap())
}

/// No image, no layer, no complete blob is left.
fn nothing_is_kept(world: &World) {
    assert_eq!(world.ok(&["images", "-q", "-a"]), "");
    let store = world.data().join("store");
    for sub in ["layers", "staging"] {
        let left = std::fs::read_dir(store.join(sub)).map_or(0, |entries| {
            entries
                .flatten()
                .filter(|e| !e.file_name().to_string_lossy().starts_with('.'))
                .count()
        });
        assert_eq!(left, 0, "{sub}");
    }
}

#[test]
fn what_can_be_mended_by_trying_again_is() {
    for fault in [
        Fault::None,
        Fault::Cut(2),
        Fault::CutWithoutRanges,
        Fault::TooMany(2),
        Fault::Broken(3),
        Fault::Redirect,
    ] {
        let (world, liar) = (World::new(), Liar::start(fault));
        pull(&world, &liar, &[]).code(0);
        let seen = liar.requests();
        if matches!(fault, Fault::Cut(_)) {
            assert!(seen.iter().any(|r| r.contains(" from ")), "{seen:?}");
        }
    }
}

#[test]
fn lies_about_size_and_content_are_noticed() {
    for (fault, says) in [
        (Fault::WrongByte, "content"),
        (Fault::TooLong, "more than"),
        (Fault::TooShort, "ended"),
        (Fault::WrongDiffId, "cannot unpack layer"),
        (Fault::WrongManifest, "in place of"),
        (Fault::EndlessManifest, "more than 4194304 bytes"),
        (Fault::RedirectLoop, "redirects without end"),
        (Fault::LoginLoop, "wants a login"),
        (Fault::TooMany(100), "too many requests"),
        (Fault::Broken(100), "status 503"),
    ] {
        let (world, liar) = (World::new(), Liar::start(fault));
        let outcome = pull(&world, &liar, &["--retry", "1"]);
        assert_eq!(outcome.code, 125, "{fault:?}: {}", outcome.stderr);
        outcome.says(says);
        nothing_is_kept(&world);
    }
}

#[test]
fn a_silent_server_is_left_after_the_patience_and_resumed_later() {
    let (world, liar) = (World::new(), Liar::start(Fault::Stall));
    let begun = Instant::now();
    pull(&world, &liar, &["--retry", "0"])
        .code(125)
        .says("silent");
    assert!(begun.elapsed() < Duration::from_secs(15));
    let name = liar.image();
    let partial = std::fs::read_dir(world.data().join("store/blobs/sha256"))
        .unwrap()
        .flatten()
        .find(|e| e.path().extension().is_some_and(|e| e == "part"))
        .unwrap();
    assert!(partial.metadata().unwrap().len() > 100_000);
    pull(&world, &liar, &["--retry", "0"]).code(125);
    let resumed = liar.requests().iter().any(|r| r.contains(" from "));
    assert!(resumed, "{name}: {:?}", liar.requests());
}

#[test]
fn credentials_do_not_follow_a_redirect() {
    let (world, liar) = (World::new(), Liar::start(Fault::Redirect));
    pull(&world, &liar, &["--creds", "u:p"]).code(0);
    let elsewhere: Vec<_> = liar
        .requests()
        .into_iter()
        .filter(|r| !r.starts_with(&liar.address))
        .collect();
    assert!(!elsewhere.is_empty());
    assert!(
        elsewhere.iter().all(|r| !r.ends_with("auth")),
        "{elsewhere:?}"
    );
}

#[test]
fn a_killed_pull_goes_on_where_it_ended() {
    let (world, liar) = (World::new(), Liar::start(Fault::Stall));
    let name = liar.image();
    let mut child = world.spawn(&["pull", &name]);
    crate::support::peer::wait_for("half of the layer", || {
        std::fs::read_dir(world.data().join("store/blobs/sha256")).is_ok_and(|entries| {
            entries
                .flatten()
                .any(|e| e.metadata().is_ok_and(|m| m.len() > 500_000))
        })
    });
    child.kill().unwrap();
    child.wait().unwrap();
    world.ok(&["images", "-q"]);
    pull(&world, &liar, &["--retry", "0"]).code(125);
    assert!(liar.requests().iter().any(|r| r.contains(" from ")));
}
