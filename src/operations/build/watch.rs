//! What a build tells while it goes on, without knowing who shows it.

use std::time::Duration;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran.
    Done,
    /// Its outcome was in the cache.
    Cached,
    /// It failed.
    Failed,
    /// The build ended before it did.
    Canceled,
}

/// Something happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step began; `id` stays its number.
    Begin {
        /// Counts from 1.
        id: usize,
        /// `[build 2/4] RUN make`.
        name: &'a str,
    },
    /// A step says something.
    Output {
        /// Which.
        id: usize,
        /// Bytes of its standard output and error.
        bytes: &'a [u8],
    },
    /// A sentence about a step, of ours.
    Note {
        /// Which.
        id: usize,
        /// The sentence.
        text: &'a str,
    },
    /// A step ended.
    End {
        /// Which.
        id: usize,
        /// How.
        outcome: Outcome,
        /// How long it took.
        took: Duration,
    },
    /// A sentence about the whole build that a person should read.
    Warning(&'a str),
    /// Nothing happened for a moment: a live display may move.
    Tick,
}

/// Who hears of a build.
pub trait Watch {
    /// Shows it.
    fn event(&mut self, event: &Event<'_>);

    /// Whether [`Event::Tick`] is wanted.
    fn is_live(&self) -> bool {
        false
    }
}
