//! The little of SQLite's file format that RPM's `rpmdb.sqlite` needs: the blobs of one table.
//!
//! Spec: "Database File Format" of SQLite: pages, b-trees of tables, records, overflow.

use super::LIMIT;

type Outcome<T> = Result<T, &'static str>;

/// Deeper trees than this hold more than a file can.
const DEPTH: usize = 20;

struct File<'a> {
    bytes: &'a [u8],
    page: usize,
    /// Usable bytes of a page.
    usable: usize,
    /// Pages that may still be read: each once, or the file leads in circles.
    left: usize,
}

fn short(bytes: &[u8], at: usize) -> Outcome<usize> {
    let two = bytes.get(at..at + 2).ok_or("a page is cut off")?;
    Ok(usize::from(two[0]) << 8 | usize::from(two[1]))
}

fn long(bytes: &[u8], at: usize) -> Outcome<usize> {
    Ok(short(bytes, at)? << 16 | short(bytes, at + 2)?)
}

/// A variable-length number and how many bytes it has.
fn varint(bytes: &[u8], at: usize) -> Outcome<(u64, usize)> {
    let mut value = 0_u64;
    for n in 0..9 {
        let byte = *bytes.get(at + n).ok_or("a number is cut off")?;
        if n == 8 {
            return Ok((value << 8 | u64::from(byte), 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok((value, n + 1));
        }
    }
    Err("a number is damaged")
}

/// The column `column` (from 0) of every row of a table, where it is a blob.
///
/// # Errors
/// Why the file cannot be read.
pub fn blobs(bytes: &[u8], table: &str, column: usize) -> Outcome<Vec<Vec<u8>>> {
    if bytes.get(..16) != Some(b"SQLite format 3\0") {
        return Err("it does not begin as one");
    }
    let page = match short(bytes, 16)? {
        1 => 65536,
        n if n >= 512 && n.is_power_of_two() => n,
        _ => return Err("its pages have no valid size"),
    };
    let reserved = usize::from(*bytes.get(20).ok_or("it is cut off")?);
    let mut file = File {
        bytes,
        page,
        usable: page - reserved,
        left: bytes.len() / page + 1,
    };
    let mut root = None;
    file.walk(1, 0, &mut |record| {
        // type, name, tbl_name, rootpage, sql
        let name = value(record, 1)?;
        let kind = value(record, 0)?;
        if kind == Value::Text(b"table") && name == Value::Text(table.as_bytes()) {
            root = match value(record, 3)? {
                Value::Number(n) => usize::try_from(n).ok(),
                _ => None,
            };
        }
        Ok(())
    })?;
    let root = root.ok_or("it has no such table")?;
    let mut found = Vec::new();
    file.left = bytes.len() / page + 1;
    file.walk(root, 0, &mut |record| {
        if let Value::Blob(blob) = value(record, column)? {
            found.push(blob.to_vec());
        }
        match found.len() > LIMIT {
            true => Err("it has too many rows"),
            false => Ok(()),
        }
    })?;
    Ok(found)
}

impl<'a> File<'a> {
    fn get(&mut self, number: usize) -> Outcome<&'a [u8]> {
        self.left = self.left.checked_sub(1).ok_or("it leads in circles")?;
        let start = number.checked_sub(1).ok_or("it leads nowhere")?;
        let start = start.checked_mul(self.page).ok_or("it leads nowhere")?;
        let end = start.checked_add(self.page).ok_or("it leads nowhere")?;
        self.bytes.get(start..end).ok_or("it is cut off")
    }

    /// Every record of the tree below a page.
    fn walk(
        &mut self,
        number: usize,
        depth: usize,
        each: &mut dyn FnMut(&[u8]) -> Outcome<()>,
    ) -> Outcome<()> {
        if depth > DEPTH {
            return Err("its tree is too deep");
        }
        let page = self.get(number)?;
        // The first page begins with the file's own header.
        let head = if number == 1 { 100 } else { 0 };
        let kind = *page.get(head).ok_or("a page is cut off")?;
        let cells = short(page, head + 3)?;
        let array = head + if kind == 5 { 12 } else { 8 };
        for n in 0..cells {
            let at = short(page, array + 2 * n)?;
            match kind {
                5 => self.walk(long(page, at)?, depth + 1, each)?,
                13 => {
                    let record = self.record(page, at)?;
                    each(&record)?;
                }
                _ => return Err("a page is none of a table"),
            }
        }
        match kind {
            5 => self.walk(long(page, head + 8)?, depth + 1, each),
            13 => Ok(()),
            _ => Err("a page is none of a table"),
        }
    }

    /// The payload of a cell, gathered from its overflow pages.
    fn record(&mut self, page: &[u8], at: usize) -> Outcome<Vec<u8>> {
        let (size, n) = varint(page, at)?;
        let (_, m) = varint(page, at + n)?;
        let at = at + n + m;
        let size = usize::try_from(size).map_err(|_| "a row is too large")?;
        if size > self.bytes.len() {
            return Err("a row is larger than the file");
        }
        let most = self.usable.checked_sub(35).ok_or("its pages are full")?;
        if size <= most {
            let whole = page.get(at..at + size).ok_or("a row is cut off")?;
            return Ok(whole.to_vec());
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let here = least + (size - least) % (self.usable - 4);
        let here = if here <= most { here } else { least };
        let mut record = page.get(at..at + here).ok_or("a row is cut off")?.to_vec();
        let mut next = long(page, at + here)?;
        while record.len() < size {
            let page = self.get(next)?;
            next = long(page, 0)?;
            let part = (size - record.len()).min(self.usable - 4);
            record.extend(page.get(4..4 + part).ok_or("a row is cut off")?);
        }
        Ok(record)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Value<'a> {
    Number(u64),
    Text(&'a [u8]),
    Blob(&'a [u8]),
    Other,
}

/// A column of a record; numbers as far as they are not negative.
fn value(record: &[u8], column: usize) -> Outcome<Value<'_>> {
    let (head, mut at) = varint(record, 0)?;
    let head = usize::try_from(head).map_err(|_| "a row is damaged")?;
    let mut place = head;
    for index in 0.. {
        if at >= head {
            return Ok(Value::Other);
        }
        let (kind, n) = varint(record, at)?;
        at += n;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).unwrap_or(0),
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return Err("a row is damaged"),
            n => usize::try_from((n - 12) / 2).map_err(|_| "a row is damaged")?,
        };
        if index < column {
            place = place.checked_add(length).ok_or("a row is damaged")?;
            continue;
        }
        let end = place.checked_add(length).ok_or("a row is damaged")?;
        let bytes = record.get(place..end).ok_or("a row is cut off")?;
        return Ok(match kind {
            1..=6 => Value::Number(bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b))),
            8 => Value::Number(0),
            9 => Value::Number(1),
            n if n >= 12 && n % 2 == 0 => Value::Blob(bytes),
            n if n >= 13 => Value::Text(bytes),
            _ => Value::Other,
        });
    }
    Ok(Value::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by SQLite itself: `Packages(hnum INTEGER PRIMARY KEY, blob BLOB)` with 60 rows of
    /// i * 40 bytes of value i (pages of 512 bytes, so interior pages and overflow), between two
    /// other tables.
    const FILE: &[u8] = include_bytes!("../../../tests/data/build/packages.sqlite");

    #[test]
    fn a_file_of_sqlite_is_read_row_by_row() {
        let found = blobs(FILE, "Packages", 1).unwrap();
        assert_eq!(found.len(), 60);
        for (n, blob) in found.iter().enumerate() {
            assert_eq!(blob.len(), n * 40);
            assert!(blob.iter().all(|b| usize::from(*b) == n % 251));
        }
        assert!(blobs(FILE, "packages", 1).is_err());
        assert!(blobs(FILE, "Other", 1).unwrap().is_empty());
    }

    #[test]
    fn damaged_files_end_in_an_error_or_an_answer_but_they_end() {
        for cut in [0, 15, 99, 101, 512, 5000, FILE.len() - 1] {
            assert!(blobs(&FILE[..cut], "Packages", 1).is_err(), "{cut}");
        }
        let mut state = 7_u64;
        for _ in 0..200 {
            let mut bytes = FILE.to_vec();
            for _ in 0..20 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let at = usize::try_from(state >> 33).unwrap() % bytes.len();
                bytes[at] = u8::try_from(state >> 24 & 0xff).unwrap();
            }
            drop(blobs(&bytes, "Packages", 1));
        }
    }
}
