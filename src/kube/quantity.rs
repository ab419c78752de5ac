//! Quantities of Kubernetes: `500m`, `1.5`, `64Mi`, `1e3`.

use crate::base::{Error, Result};

/// Suffixes and their powers.
const SUFFIXES: &[(&str, f64)] = &[
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("m", 0.001),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
];

/// Thousandths.
///
/// # Errors
/// `Invalid` for what is no quantity, or below 0.
pub fn milli(text: &str) -> Result<u64> {
    let bad =
        || Error::invalid(format!("{text:?} is no quantity")).hint("write e.g. 500m, 1.5 or 64Mi");
    let text = text.trim();
    let (number, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
        .unwrap_or((text, 1.0));
    let value: f64 = number.parse().map_err(|_| bad())?;
    let all = (value * factor * 1000.0).ceil();
    if !(0.0..9e18).contains(&all) {
        return Err(bad());
    }
    Ok(all as u64)
}

/// Whole units, rounded up.
///
/// # Errors
/// As [`milli`].
pub fn whole(text: &str) -> Result<u64> {
    milli(text).map(|m| m.div_ceil(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read() {
        for (text, want) in [
            ("500m", 500),
            ("1", 1000),
            ("1.5", 1500),
            ("2k", 2_000_000),
            ("1e3", 1_000_000),
        ] {
            assert_eq!(milli(text).unwrap(), want, "{text}");
        }
        assert_eq!(whole("64Mi").unwrap(), 64 << 20);
        assert_eq!(whole("1G").unwrap(), 1_000_000_000);
        assert_eq!(whole("100m").unwrap(), 1);
        for bad in ["", "x", "-1", "1Q", "NaN"] {
            assert!(milli(bad).is_err(), "{bad}");
        }
    }
}
