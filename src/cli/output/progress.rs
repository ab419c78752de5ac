//! Progress of long work on standard error: moving lines on a terminal, plain lines elsewhere.

use std::io::Write as _;

use crate::base::progress::Progress;

/// Plain lines: messages, and the end of each piece of work.
#[derive(Debug, Default)]
pub struct Plain;

impl Progress for Plain {
    fn message(&self, text: &str) {
        say(text);
    }
    fn update(&self, _key: &str, _label: &str, _done: u64, _total: u64) {}
    fn finish(&self, _key: &str, label: &str, outcome: &str) {
        say(&format!("{label} {outcome}"));
    }
}

fn say(text: &str) {
    // Nobody is left to tell when standard error fails.
    drop(std::io::stderr().write_all(format!("{}\n", super::clean(text)).as_bytes()));
}

/// The progress that fits standard error.
pub fn for_standard_error(_env: &crate::config::env::Env) -> Box<dyn Progress> {
    Box::new(Plain)
}
