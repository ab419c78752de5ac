//! The header of an RPM package, as its databases keep it.
//!
//! Spec: the RPM v4 header format: two counts, an index of tags, and their data, big-endian.

use super::Package;

/// No header has more entries, or more bytes of data.
const ENTRIES: usize = 1 << 16;

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const VENDOR: u32 = 1011;
const LICENSE: u32 = 1014;
const ARCH: u32 = 1022;
const SOURCERPM: u32 = 1044;

const INT32: u32 = 4;
const STRING: u32 = 6;
const I18NSTRING: u32 = 9;

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

/// The package of a header; `None` for what is none.
pub fn parse(bytes: &[u8]) -> Option<Package> {
    let entries = usize::try_from(number(bytes, 0)?).ok()?;
    let length = usize::try_from(number(bytes, 4)?).ok()?;
    if entries > ENTRIES {
        return None;
    }
    let start = 8 + entries * 16;
    let data = bytes.get(start..start.checked_add(length)?)?;
    let mut package = Package {
        kind: "rpm",
        ..Package::default()
    };
    let (mut release, mut epoch) = (String::new(), None);
    for index in 0..entries {
        let at = 8 + index * 16;
        let (tag, kind) = (number(bytes, at)?, number(bytes, at + 4)?);
        let offset = usize::try_from(number(bytes, at + 8)?).ok()?;
        let text = || -> Option<String> {
            if kind != STRING && kind != I18NSTRING {
                return None;
            }
            let rest = data.get(offset..)?;
            let end = rest.iter().position(|b| *b == 0)?;
            Some(String::from_utf8_lossy(&rest[..end]).into_owned())
        };
        match tag {
            NAME => package.name = text()?,
            VERSION => package.version = text()?,
            RELEASE => release = text()?,
            EPOCH if kind == INT32 => epoch = number(data, offset),
            VENDOR => package.supplier = text()?,
            LICENSE => package.license = text()?,
            ARCH => package.architecture = text()?,
            SOURCERPM => package.source = source(&text()?).to_owned(),
            _ => {}
        }
    }
    // Keys that signed packages are kept as packages, too.
    if package.name.is_empty() || package.name == "gpg-pubkey" {
        return None;
    }
    package.version = match epoch {
        Some(epoch) if epoch > 0 => format!("{epoch}:{}-{release}", package.version),
        _ => format!("{}-{release}", package.version),
    };
    if package.source == package.name {
        package.source.clear();
    }
    Some(package)
}

/// `name-version-release.src.rpm` without all but the name.
fn source(file: &str) -> &str {
    let mut parts = file.rsplitn(3, '-');
    let (_, _) = (parts.next(), parts.next());
    parts.next().unwrap_or_default()
}

/// A header with these strings, for tests of the databases.
#[cfg(test)]
pub fn header(strings: &[(u32, &str)], epoch: Option<u32>) -> Vec<u8> {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    let mut entry = |tag: u32, kind: u32, offset: usize| {
        for n in [tag, kind, u32::try_from(offset).unwrap(), 1] {
            index.extend(n.to_be_bytes());
        }
    };
    if let Some(epoch) = epoch {
        entry(EPOCH, INT32, 0);
        data.extend(epoch.to_be_bytes());
    }
    for (tag, text) in strings {
        entry(*tag, STRING, data.len());
        data.extend(text.bytes());
        data.push(0);
    }
    let count = u32::try_from(index.len() / 16).unwrap();
    let length = u32::try_from(data.len()).unwrap();
    [
        &count.to_be_bytes()[..],
        &length.to_be_bytes(),
        &index,
        &data,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_hostile_ones_are_none() {
        let strings = [
            (NAME, "bash"),
            (VERSION, "5.2"),
            (RELEASE, "3.fc40"),
            (ARCH, "x86_64"),
            (LICENSE, "GPL-3.0-or-later"),
            (VENDOR, "Fedora Project"),
            (SOURCERPM, "bash-doc-5.2-3.fc40.src.rpm"),
        ];
        let whole = header(&strings, Some(1));
        let package = parse(&whole).unwrap();
        assert_eq!(package.version, "1:5.2-3.fc40");
        assert_eq!(package.source, "bash-doc");
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), None, "{cut}");
        }
        let mut other = whole.clone();
        other[0] = 0xff;
        assert_eq!(parse(&other), None);
        assert_eq!(parse(&header(&[(NAME, "gpg-pubkey")], None)), None);
    }
}
