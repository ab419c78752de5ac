//! One 512-byte header block: checksum, numbers, names.
//!
//! Spec: POSIX pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".

use super::BLOCK;
use crate::base::{Error, Result};

/// A block that has passed its checksum.
pub(super) struct Header<'a>(pub(super) &'a [u8; BLOCK]);

/// Which dialect the magic says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V7,
    Ustar,
    Star,
    Gnu,
}

impl<'a> Header<'a> {
    /// Checks the sum.
    pub(super) fn parse(block: &'a [u8; BLOCK]) -> Result<Self> {
        let stored = number(&block[148..156], "checksum")?;
        let mut unsigned = 0_i64;
        let mut signed = 0_i64;
        for (i, byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&i) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        if stored != unsigned && stored != signed {
            return Err(Error::invalid(
                "a header of the archive has a wrong checksum",
            ));
        }
        Ok(Self(block))
    }

    pub(super) fn dialect(&self) -> Dialect {
        match &self.0[257..265] {
            b"ustar  \0" => Dialect::Gnu,
            magic if magic.starts_with(b"ustar\0") => {
                if &self.0[508..512] == b"tar\0" {
                    Dialect::Star
                } else {
                    Dialect::Ustar
                }
            }
            _ => Dialect::V7,
        }
    }

    /// The name with its prefix.
    pub(super) fn name(&self) -> Vec<u8> {
        let prefix = match self.dialect() {
            Dialect::Ustar => text(&self.0[345..500]),
            Dialect::Star => text(&self.0[345..476]),
            Dialect::V7 | Dialect::Gnu => b"",
        };
        let name = text(&self.0[..100]);
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(super) fn link(&self) -> &'a [u8] {
        text(&self.0[157..257])
    }

    pub(super) fn kind(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn mode(&self) -> Result<u32> {
        // Some writers put the file type there as well.
        Ok((number(&self.0[100..108], "mode")? & 0o7777) as u32)
    }

    pub(super) fn uid(&self) -> Result<u32> {
        id(number(&self.0[108..116], "owner")?)
    }

    pub(super) fn gid(&self) -> Result<u32> {
        id(number(&self.0[116..124], "group")?)
    }

    pub(super) fn size(&self) -> Result<u64> {
        u64::try_from(number(&self.0[124..136], "size")?)
            .map_err(|_| Error::invalid("an entry of the archive has a negative size"))
    }

    pub(super) fn mtime(&self) -> Result<i64> {
        number(&self.0[136..148], "time")
    }

    pub(super) fn device(&self) -> Result<(u32, u32)> {
        if self.dialect() == Dialect::V7 {
            return Ok((0, 0));
        }
        let part = |field: &[u8]| {
            u32::try_from(number(field, "device number")?)
                .map_err(|_| Error::invalid("a device number of the archive is out of range"))
        };
        Ok((part(&self.0[329..337])?, part(&self.0[337..345])?))
    }
}

/// An id that the kernel can have; -1 means "none" to it.
pub(super) fn id(value: i64) -> Result<u32> {
    u32::try_from(value)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| Error::invalid(format!("owner {value} of an entry is out of range")))
}

/// Up to the first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    &field[..end]
}

/// Octal digits, or GNU's base 256 when the first bit is set.
pub(super) fn number(field: &[u8], what: &str) -> Result<i64> {
    let bad = || Error::invalid(format!("a header of the archive has a malformed {what}"));
    match field.first() {
        Some(first) if first & 0x80 != 0 => {
            let negative = first & 0x40 != 0;
            let mut value: i128 = if negative { -1 } else { 0 };
            for (i, byte) in field.iter().enumerate() {
                let byte = if i == 0 && !negative {
                    byte & 0x7f
                } else {
                    *byte
                };
                value = (value << 8) | i128::from(byte);
            }
            i64::try_from(value).map_err(|_| bad())
        }
        _ => {
            let digits = field.trim_ascii_start();
            let start = digits
                .iter()
                .position(|b| !matches!(b, b' ' | 0))
                .unwrap_or(digits.len());
            let digits = &digits[start..];
            let end = digits
                .iter()
                .rposition(|b| !matches!(b, b' ' | 0))
                .map_or(0, |i| i + 1);
            let mut value = 0_i64;
            for digit in &digits[..end] {
                if !matches!(digit, b'0'..=b'7') {
                    return Err(bad());
                }
                value = value
                    .checked_mul(8)
                    .and_then(|v| v.checked_add(i64::from(digit - b'0')))
                    .ok_or_else(bad)?;
            }
            Ok(value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        for (field, value) in [
            (&b"0000644\0"[..], 0o644),
            (b"    644 ", 0o644),
            (b"\0\0\0\0", 0),
            (b"        ", 0),
            (b"77777777777\0", 0o77_777_777_777),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\0", 256),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", -1),
        ] {
            assert_eq!(number(field, "size").unwrap(), value, "{field:?}");
        }
        for field in [
            &b"12x"[..],
            b"-1",
            b"8",
            b"12\x001",
            b"0x1f",
            b"\x8f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(number(field, "size").is_err(), "{field:?}");
        }
    }
}
