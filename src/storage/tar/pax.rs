//! PAX extended headers.
//!
//! Spec: POSIX pax, "pax Extended Header"; GNU tar manual, "Storing Sparse Files".

use std::collections::BTreeSet;

use super::PATH_MAX;
use crate::base::{Error, Result};

/// Most pieces of data in a sparse file.
pub(super) const SPARSE_MAX: usize = 65_536;

/// Longest value of one extended attribute (the kernel's bound), and of all of an entry.
const XATTR_VALUE_MAX: usize = 64 << 10;

/// The records of one extended header, those that we know.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse_version: (Option<u64>, Option<u64>),
    pub(super) sparse_name: Option<Vec<u8>>,
    pub(super) sparse_size: Option<u64>,
    pub(super) sparse_map: Option<Vec<(u64, u64)>>,
}

/// Splits into records; lengths must add up exactly.
pub(super) fn records(mut bytes: &[u8]) -> Result<Vec<(&[u8], &[u8])>> {
    let bad = || Error::invalid("an extended header of the archive is malformed");
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().take(12).position(|b| *b == b' ');
        let space = space.filter(|n| *n > 0).ok_or_else(bad)?;
        let len = usize::try_from(decimal(&bytes[..space])?).map_err(|_| bad())?;
        if len <= space + 1 || len > bytes.len() || bytes[len - 1] != b'\n' {
            return Err(bad());
        }
        let record = &bytes[space + 1..len - 1];
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
        if equals == 0 {
            return Err(bad());
        }
        found.push((&record[..equals], &record[equals + 1..]));
        bytes = &bytes[len..];
    }
    Ok(found)
}

impl Pax {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let mut pax = Self::default();
        let mut seen = BTreeSet::new();
        for (key, value) in records(bytes)? {
            if !seen.insert(key) {
                return Err(Error::invalid(format!(
                    "an extended header of the archive has {:?} twice",
                    super::show(key)
                )));
            }
            match key {
                b"path" => pax.path = Some(path(value)?),
                b"linkpath" => pax.link = Some(path(value)?),
                b"size" => pax.size = Some(decimal(value)?),
                b"uid" => pax.uid = Some(id(value)?),
                b"gid" => pax.gid = Some(id(value)?),
                b"mtime" => pax.mtime = Some(time(value)?),
                b"GNU.sparse.major" => pax.sparse_version.0 = Some(decimal(value)?),
                b"GNU.sparse.minor" => pax.sparse_version.1 = Some(decimal(value)?),
                b"GNU.sparse.name" => pax.sparse_name = Some(path(value)?),
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                    if pax.sparse_size.replace(decimal(value)?).is_some() {
                        return Err(Error::invalid("a sparse file of the archive has two sizes"));
                    }
                }
                b"GNU.sparse.map" => pax.sparse_map = Some(map(value)?),
                b"GNU.sparse.numblocks" => {}
                b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                    return Err(Error::unsupported(
                        "the archive has sparse files in the old 0.0 form",
                    ));
                }
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        pax.add_xattr(name, value)?;
                    }
                }
            }
        }
        Ok(pax)
    }

    fn add_xattr(&mut self, name: &[u8], value: &[u8]) -> Result<()> {
        if name.is_empty() || name.len() > 255 || name.contains(&0) {
            return Err(Error::invalid("an extended attribute has a malformed name"));
        }
        if value.len() > XATTR_VALUE_MAX {
            return Err(Error::invalid(format!(
                "extended attribute {:?} is larger than {XATTR_VALUE_MAX} bytes",
                super::show(name)
            )));
        }
        self.xattrs.push((name.to_vec(), value.to_vec()));
        Ok(())
    }
}

/// Whether a global header changes what entries mean.
pub(super) fn check_global(bytes: &[u8]) -> Result<()> {
    for (key, _) in records(bytes)? {
        // Parsers differ: GNU tar applies them to all entries that follow, Go to none.
        if key != b"comment" && !key.starts_with(b"VENDOR.") {
            return Err(Error::invalid(format!(
                "the archive sets {:?} for all entries at once",
                super::show(key)
            )));
        }
    }
    Ok(())
}

fn path(value: &[u8]) -> Result<Vec<u8>> {
    if value.is_empty() || value.contains(&0) || value.len() > PATH_MAX {
        return Err(Error::invalid("an extended header has a malformed path"));
    }
    Ok(value.to_vec())
}

pub(super) fn decimal(value: &[u8]) -> Result<u64> {
    let bad = || Error::invalid("an extended header of the archive has a malformed number");
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(bad());
    }
    value.iter().try_fold(0_u64, |sum, digit| {
        sum.checked_mul(10)
            .and_then(|s| s.checked_add(u64::from(digit - b'0')))
            .filter(|s| i64::try_from(*s).is_ok())
            .ok_or_else(bad)
    })
}

fn id(value: &[u8]) -> Result<u32> {
    super::header::id(i64::try_from(decimal(value)?).unwrap_or(i64::MAX))
}

/// `-12.5`, `1700000000.123456789`.
fn time(value: &[u8]) -> Result<(i64, u32)> {
    let bad = || Error::invalid("an extended header of the archive has a malformed time");
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let (whole, fraction) = match digits.iter().position(|b| *b == b'.') {
        Some(dot) => (&digits[..dot], &digits[dot + 1..]),
        None => (digits, &b""[..]),
    };
    let seconds = i64::try_from(decimal(whole).map_err(|_| bad())?).map_err(|_| bad())?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(bad());
    }
    let mut nanos = 0_u32;
    for i in 0..9 {
        nanos = nanos * 10 + u32::from(fraction.get(i).map_or(0, |d| d - b'0'));
    }
    Ok(match (negative, nanos) {
        (false, n) => (seconds, n),
        (true, 0) => (-seconds, 0),
        (true, n) => (-seconds - 1, 1_000_000_000 - n),
    })
}

/// `offset,length,offset,length,…`
fn map(value: &[u8]) -> Result<Vec<(u64, u64)>> {
    let numbers = value
        .split(|b| *b == b',')
        .map(decimal)
        .collect::<Result<Vec<_>>>()?;
    if numbers.len() % 2 != 0 || numbers.len() > 2 * SPARSE_MAX {
        return Err(Error::invalid(
            "a sparse file of the archive has a malformed map",
        ));
    }
    Ok(numbers.chunks_exact(2).map(|p| (p[0], p[1])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_nanoseconds_and_signs() {
        for (text, want) in [
            ("0", (0, 0)),
            ("1700000000.5", (1_700_000_000, 500_000_000)),
            ("1.0000000019", (1, 1)),
            ("-1", (-1, 0)),
            ("-1.25", (-2, 750_000_000)),
        ] {
            assert_eq!(time(text.as_bytes()).unwrap(), want, "{text}");
        }
        for text in ["", ".", "x", "1.x", "--1", "99999999999999999999"] {
            assert!(time(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn malformed_and_repeated_records_are_refused() {
        assert_eq!(records(b"9 path=a\n").unwrap(), [(&b"path"[..], &b"a"[..])]);
        for bytes in [
            &b"9 path=a"[..],
            b"8 path=a\n",
            b"99 path=a\n",
            b" 9 path=a\n",
            b"9 path=ab\n",
            b"5 =a\n",
            b"-9 path=a\n",
            b"9 path=a\n9 path=b\n",
            b"10 path=a\0\n",
            b"8 path=\n",
            b"9 size=x\n",
            b"9 uid=-1\n",
        ] {
            assert!(Pax::parse(bytes).is_err(), "{}", super::super::show(bytes));
        }
        assert!(check_global(b"15 comment=abc\n").is_ok());
        assert!(check_global(b"9 path=a\n").is_err());
    }
}
