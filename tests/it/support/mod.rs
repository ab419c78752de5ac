//! The harness: a root of its own for each test, the program, peers and fixtures.

pub mod bundle;
pub mod fixture;
pub mod http;
pub mod hub;
pub mod inner;
pub mod liar;
pub mod peer;
pub mod proxy;
pub mod world;

pub use bundle::Bundle;
pub use world::{Outcome, World};

/// Whether a missing capability is a failure (`REQUIRE=1`).
pub fn strict() -> bool {
    std::env::var_os("REQUIRE").is_some_and(|v| v == "1")
}

/// Returns from the test, saying why, when a program is not installed.
macro_rules! requires {
    ($($program:literal),+ $(,)?) => {
        $(
            if !$crate::support::peer::installed($program) {
                assert!(!$crate::support::strict(), "REQUIRE=1, but {} is not installed", $program);
                eprintln!("skipped: {} is not installed", $program);
                return;
            }
        )+
    };
}

/// Returns from the test, saying why, when this user has no subordinate ids.
macro_rules! requires_subids {
    () => {
        if !$crate::support::peer::has_subids() {
            assert!(
                !$crate::support::strict(),
                "REQUIRE=1, but this user has no subordinate ids"
            );
            eprintln!("skipped: this user has no subordinate ids");
            return;
        }
    };
}
