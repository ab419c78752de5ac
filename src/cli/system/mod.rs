//! Commands about systems: words to requests, results to text.

use super::frame::Entry;

/// `coracle VERB`.
pub const TOP: &[Entry] = &[];

/// `coracle system VERB`.
pub const NOUN: &[Entry] = &[];
