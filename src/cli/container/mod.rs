//! Commands about containers: words to requests, results to text.

use super::frame::Entry;

/// `coracle VERB`.
pub const TOP: &[Entry] = &[];

/// `coracle container VERB`.
pub const NOUN: &[Entry] = &[];
