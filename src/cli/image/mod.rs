//! Commands about images: words to requests, results to text.

use super::frame::Entry;

/// `coracle VERB`.
pub const TOP: &[Entry] = &[];

/// `coracle image VERB`.
pub const NOUN: &[Entry] = &[];
