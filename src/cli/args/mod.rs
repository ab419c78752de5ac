//! Words and groups of options that several commands share.

use std::collections::BTreeMap;

use crate::base::{Error, Result};

/// `--label KEY=VALUE` values as a map; a missing value is empty, the last one of a key counts.
///
/// # Errors
/// `Invalid` for an empty key.
pub fn labels(texts: &[String]) -> Result<BTreeMap<String, String>> {
    pairs("label", texts)
}

/// `KEY=VALUE` texts of an option as a map.
///
/// # Errors
/// `Invalid` for an empty key.
pub fn pairs(option: &str, texts: &[String]) -> Result<BTreeMap<String, String>> {
    texts
        .iter()
        .map(|text| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            if key.is_empty() {
                return Err(Error::invalid(format!("invalid {option} {text:?}: no key")));
            }
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}

/// Seconds as `--time` takes them: -1 waits for ever (a year will do).
pub fn seconds(text: i64) -> std::time::Duration {
    std::time::Duration::from_secs(u64::try_from(text).unwrap_or(365 * 24 * 3600))
}

/// How long containers may take to stop before they are removed by force.
#[derive(Debug, clap::Args)]
pub struct ForceTime {
    /// Seconds that the stop signal may take with --force (-1: no limit)
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        alias = "timeout",
        allow_negative_numbers = true
    )]
    time: Option<i64>,
}

impl ForceTime {
    /// Absent means that none is sent.
    pub fn get(&self) -> Option<std::time::Duration> {
        self.time.map(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_pairs_and_the_last_one_counts() {
        let texts = ["a=1", "b", "a=2=3"].map(str::to_owned);
        let map = labels(&texts).unwrap();
        assert_eq!(map["a"], "2=3");
        assert_eq!(map["b"], "");
        assert!(labels(&["=x".to_owned()]).is_err());
    }
}
