//! Commands about secrets: words to requests, results to text.

use super::frame::Entry;

/// `coracle VERB`.
pub const TOP: &[Entry] = &[];

/// `coracle secret VERB`.
pub const NOUN: &[Entry] = &[];
