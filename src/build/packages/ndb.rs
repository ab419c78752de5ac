//! RPM's "new" database, `Packages.db` of SUSE: slots that point to blobs of headers.
//!
//! Spec: rpm, lib/backend/ndb/rpmpkg.c: little-endian; a header of 32 bytes, slots of 16, blobs in
//! units of 16 bytes with a head of 16.

use super::LIMIT;

const MAGIC: &[u8] = b"RpmP";
const SLOT: &[u8] = b"Slot";
const BLOB: &[u8] = b"BlbS";
const PAGE: usize = 4096;
const UNIT: usize = 16;

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(four.try_into().ok()?)).ok()
}

/// The headers of a database; the reason for what is none.
///
/// # Errors
/// Why it cannot be read.
pub fn headers(bytes: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    if bytes.get(..4) != Some(MAGIC) {
        return Err("it does not begin as one");
    }
    if number(bytes, 4) != Some(0) {
        return Err("it has an unknown version");
    }
    let pages = number(bytes, 12).ok_or("it is cut off")?;
    let end = pages.checked_mul(PAGE).ok_or("it has too many slots")?;
    let slots = bytes.get(2 * UNIT..end).ok_or("it is cut off")?;
    let mut found = Vec::new();
    for slot in slots.chunks_exact(UNIT) {
        if slot.get(..4) != Some(SLOT) {
            return Err("a slot is damaged");
        }
        let index = number(slot, 4).unwrap_or(0);
        if index == 0 {
            continue;
        }
        let start = number(slot, 8).and_then(|n| n.checked_mul(UNIT));
        let start = start.ok_or("a slot is damaged")?;
        let blob = bytes.get(start..).ok_or("a slot leads nowhere")?;
        let length = number(blob, 12).ok_or("a blob is cut off")?;
        let end = length.checked_add(UNIT).ok_or("a blob is damaged")?;
        if blob.get(..4) != Some(BLOB) || number(blob, 4) != Some(index) {
            return Err("a blob is damaged");
        }
        found.push(blob.get(UNIT..end).ok_or("a blob is cut off")?);
        if found.len() > LIMIT {
            return Err("it has too many packages");
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_lead_to_headers_or_to_an_error() {
        let le = |n: u32| n.to_le_bytes();
        let header = super::super::rpm::header(&[(1000, "a"), (1001, "1"), (1002, "2")], None);
        let mut file = Vec::new();
        file.extend(MAGIC);
        for n in [0, 1, 1, 0, 0, 0, 0] {
            file.extend(le(n));
        }
        for slot in 0..254_u32 {
            file.extend(SLOT);
            let used = u32::from(slot == 3);
            for n in [used * 7, used * 256, used * 8] {
                file.extend(le(n));
            }
        }
        assert_eq!(file.len(), PAGE);
        file.extend(BLOB);
        for n in [7, 1, u32::try_from(header.len()).unwrap()] {
            file.extend(le(n));
        }
        file.extend(&header);
        assert_eq!(headers(&file).unwrap(), [&header[..]]);
        for cut in [0, 3, 20, 4000, file.len() - 1] {
            assert!(headers(&file[..cut]).is_err(), "{cut}");
        }
        let mut other = file.clone();
        other[PAGE + 4] = 8;
        assert!(headers(&other).is_err());
    }
}
