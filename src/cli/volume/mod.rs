//! Commands about volumes: words to requests, results to text.

use super::frame::Entry;

/// `coracle VERB`.
pub const TOP: &[Entry] = &[];

/// `coracle volume VERB`.
pub const NOUN: &[Entry] = &[];
