//! The targets: what reads bytes from strangers. Used by libFuzzer (fuzz_targets) and by the replay
//! on stable Rust (tests/it/fuzz.rs).

mod build;
mod dns;
mod netlink;

/// A target: its name, and a function that panics where a promise is broken.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("dns_question", dns::question),
    ("dns_answer", dns::answer),
    ("resolv_conf", dns::resolv_conf),
    ("netlink_messages", netlink::messages),
    ("netlink_addresses", netlink::addresses),
    ("dockerfile_lines", build::lexer),
    ("dockerfile", build::parser),
    ("ignore_file", build::ignore),
    ("expansion", build::expansion),
    ("package_databases", build::packages),
];

/// Runs one by name.
pub fn run(name: &str, data: &[u8]) {
    match TARGETS.iter().find(|(known, _)| *known == name) {
        Some((_, target)) => target(data),
        None => panic!("no target {name:?}"),
    }
}
