//! Byte counts as people write and read them.

use super::error::{Error, Result};

/// Parses a size as podman and Docker do: `512`, `64k`, `1.5g`, `2GiB`; units are powers of 1024.
///
/// # Errors
/// `Invalid` when the text is no number with one of the units b, k, m, g, t, p, or too large.
pub fn parse(text: &str) -> Result<u64> {
    let bad = || {
        Error::invalid(format!("invalid size {text:?}"))
            .hint("write e.g. 64k, 512m or 1.5g")
            .hint("write a number with b, k, m or g, e.g. 512m")
    };
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let shift = match unit.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(bad()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(bad);
    }
    let value: f64 = number.parse().map_err(|_| bad())?;
    let bytes = value * (1_u64 << shift) as f64;
    if !(0.0..9.0e18).contains(&bytes) {
        return Err(bad());
    }
    Ok(bytes as u64)
}

/// Renders as Docker's `units.HumanSize`: powers of 1000, four significant digits (`1.24MB`).
pub fn human(bytes: u64) -> String {
    scaled_to(4, bytes as f64, 1000.0, DECIMAL)
}

/// As [`human`] with three significant digits, as lists of images have it (`1.23MB`).
pub fn human_short(bytes: u64) -> String {
    scaled_to(3, bytes as f64, 1000.0, DECIMAL)
}

/// Renders as Docker's `units.BytesSize`: powers of 1024, four significant digits (`1.5MiB`).
pub fn human_binary(bytes: u64) -> String {
    scaled_to(
        4,
        bytes as f64,
        1024.0,
        &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"],
    )
}

const DECIMAL: &[&str] = &["B", "kB", "MB", "GB", "TB", "PB", "EB"];

fn scaled_to(digits: usize, mut value: f64, base: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// Go's `%.Ng` for the range that sizes have.
fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor() as i32;
    let decimals = (digits as i32 - 1 - magnitude).max(0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64k", 65536),
            ("1.5g", 1_610_612_736),
            ("2GiB", 2 << 30),
            ("10M", 10 << 20),
            ("7b", 7),
        ] {
            assert_eq!(parse(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "k", "1x", "-1", "1..5m", "99999999999g", "1 0m"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_written_as_docker_writes_them() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.234kB"),
            (7_650_000, "7.65MB"),
            (1_240_000_000, "1.24GB"),
        ] {
            assert_eq!(human(bytes), text);
        }
        assert_eq!(human_short(1_234_567), "1.23MB");
        assert_eq!(human_binary(1_610_612_736), "1.5GiB");
    }
}
