//! The writer: ustar headers, PAX records only for what they cannot say. The same entries give the
//! same bytes.

use std::io::{self, Write};

use super::{BLOCK, Entry, Kind};

/// Writes entries one after the other.
#[derive(Debug)]
pub(in crate::storage) struct Writer<W: Write> {
    sink: W,
    /// Data bytes that the present entry still owes.
    owed: u64,
    padding: usize,
}

/// Largest number of eleven octal digits.
const OCTAL_11: u64 = 0o77_777_777_777;
/// Largest number of seven octal digits.
const OCTAL_7: u64 = 0o7_777_777;

impl<W: Write> Writer<W> {
    pub(in crate::storage) fn new(sink: W) -> Self {
        Self {
            sink,
            owed: 0,
            padding: 0,
        }
    }

    /// Begins an entry; exactly `entry.size` bytes of a regular file must follow.
    pub(in crate::storage) fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.fill()?;
        let mut name = entry.path.clone();
        if name.is_empty() {
            name.extend_from_slice(b"./");
        } else if entry.kind == Kind::Dir {
            name.push(b'/');
        }
        let size = if entry.kind == Kind::File {
            entry.size
        } else {
            0
        };
        let records = records(entry, &name, size);
        if !records.is_empty() {
            let mut header = [0; BLOCK];
            put_text(&mut header[..100], &pax_name(&entry.path));
            fields(&mut header, b'x', 0o644, (0, 0), records.len() as u64, 0);
            self.sink.write_all(&seal(header))?;
            self.sink.write_all(&records)?;
            self.sink
                .write_all(&[0; BLOCK][..pad(records.len() as u64)])?;
        }
        let mut header = [0; BLOCK];
        match split(&name) {
            Some((prefix, rest)) => {
                put_text(&mut header[345..500], prefix);
                put_text(&mut header[..100], rest);
            }
            None => put_text(&mut header[..100], &name),
        }
        put_text(&mut header[157..257], &entry.link);
        let kind = match entry.kind {
            Kind::File => b'0',
            Kind::HardLink => b'1',
            Kind::Symlink => b'2',
            Kind::Char => b'3',
            Kind::Block => b'4',
            Kind::Dir => b'5',
            Kind::Fifo => b'6',
        };
        let seconds = u64::try_from(entry.mtime).unwrap_or(0).min(OCTAL_11);
        let ids = (entry.uid, entry.gid);
        fields(&mut header, kind, entry.mode, ids, size, seconds);
        if matches!(entry.kind, Kind::Char | Kind::Block) {
            put_octal(&mut header[329..337], entry.device.0.into());
            put_octal(&mut header[337..345], entry.device.1.into());
        }
        self.sink.write_all(&seal(header))?;
        self.owed = size;
        self.padding = pad(size);
        Ok(())
    }

    /// Data of the present entry. More than its size is cut off: the file grew meanwhile.
    pub(in crate::storage) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let n = bytes
            .len()
            .min(usize::try_from(self.owed).unwrap_or(usize::MAX));
        self.sink.write_all(&bytes[..n])?;
        self.owed -= n as u64;
        Ok(())
    }

    /// How many bytes the present entry still wants.
    pub(in crate::storage) fn owed(&self) -> u64 {
        self.owed
    }

    /// Ends the archive.
    pub(in crate::storage) fn finish(mut self) -> io::Result<W> {
        self.fill()?;
        self.sink.write_all(&[0; 2 * BLOCK])?;
        self.sink.flush()?;
        Ok(self.sink)
    }

    /// Zeros for what a file lost meanwhile, and up to the next block.
    fn fill(&mut self) -> io::Result<()> {
        const ZEROS: [u8; 16 << 10] = [0; 16 << 10];
        while self.owed > 0 {
            let n = ZEROS
                .len()
                .min(usize::try_from(self.owed).unwrap_or(usize::MAX));
            self.sink.write_all(&ZEROS[..n])?;
            self.owed -= n as u64;
        }
        self.sink.write_all(&ZEROS[..self.padding])?;
        self.padding = 0;
        Ok(())
    }
}

fn pad(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

fn put_text(field: &mut [u8], text: &[u8]) {
    let n = text.len().min(field.len());
    field[..n].copy_from_slice(&text[..n]);
}

/// Octal with a closing NUL; 0 when it does not fit, PAX has it then.
fn put_octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let fits = digits >= 22 || value < 1 << (3 * digits);
    let text = format!("{:0digits$o}", if fits { value } else { 0 });
    field[..digits].copy_from_slice(text.as_bytes());
}

fn fields(header: &mut [u8; BLOCK], kind: u8, mode: u32, ids: (u32, u32), size: u64, mtime: u64) {
    put_octal(&mut header[100..108], mode.into());
    put_octal(&mut header[108..116], ids.0.into());
    put_octal(&mut header[116..124], ids.1.into());
    put_octal(&mut header[124..136], size);
    put_octal(&mut header[136..148], mtime);
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
}

fn seal(mut header: [u8; BLOCK]) -> [u8; BLOCK] {
    header[148..156].fill(b' ');
    let sum: u64 = header.iter().map(|b| u64::from(*b)).sum();
    let text = format!("{sum:06o}\0 ");
    header[148..156].copy_from_slice(text.as_bytes());
    header
}

/// Name of the extended header itself, for readers that unpack it as a file.
fn pax_name(path: &[u8]) -> Vec<u8> {
    let base = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    let mut name = b"PaxHeaders.0/".to_vec();
    name.extend(base.iter().take(80).filter(|b| b.is_ascii_graphic()));
    name
}

/// Splits a long name into ustar's prefix and name.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return None;
    }
    // The earliest slash that leaves at most 100 bytes behind it, never the closing one.
    let from = name.len().saturating_sub(101);
    let slash = (from..name.len() - 1).find(|i| name[*i] == b'/')?;
    (slash > 0 && slash <= 155).then(|| (&name[..slash], &name[slash + 1..]))
}

fn records(entry: &Entry, name: &[u8], size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let ascii = |text: &[u8]| text.is_ascii();
    if (name.len() > 100 && split(name).is_none()) || !ascii(name) {
        put_record(&mut out, b"path", name);
    }
    if entry.link.len() > 100 || !ascii(&entry.link) {
        put_record(&mut out, b"linkpath", &entry.link);
    }
    if size > OCTAL_11 {
        put_record(&mut out, b"size", size.to_string().as_bytes());
    }
    for (key, id) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
        if u64::from(id) > OCTAL_7 {
            put_record(&mut out, key, id.to_string().as_bytes());
        }
    }
    if entry.nsec != 0 || u64::try_from(entry.mtime).is_ok_and(|t| t > OCTAL_11) || entry.mtime < 0
    {
        put_record(&mut out, b"mtime", time(entry.mtime, entry.nsec).as_bytes());
    }
    for (key, value) in &entry.xattrs {
        put_record(&mut out, &[b"SCHILY.xattr.", &key[..]].concat(), value);
    }
    out
}

fn time(seconds: i64, nsec: u32) -> String {
    let (sign, whole, nanos) = match (seconds < 0, nsec) {
        (true, n) if n > 0 => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - n),
        (true, _) => ("-", seconds.unsigned_abs(), 0),
        (false, n) => ("", seconds.unsigned_abs(), n),
    };
    if nanos == 0 {
        return format!("{sign}{whole}");
    }
    let text = format!("{sign}{whole}.{nanos:09}");
    text.trim_end_matches('0').to_owned()
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn put_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let body = key.len() + value.len() + 3;
    let mut len = body + 1;
    while len != body + len.to_string().len() {
        len = body + len.to_string().len();
    }
    out.extend_from_slice(len.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;

    fn sample() -> Vec<Entry> {
        let long = [b"d".repeat(90), b"/".to_vec(), b"n".repeat(90)].concat();
        let longer = [b"d".repeat(200), b"/".to_vec(), b"n".repeat(200)].concat();
        vec![
            Entry {
                mode: 0o755,
                ..Entry::new(b"", Kind::Dir)
            },
            Entry {
                mode: 0o4755,
                uid: 1000,
                gid: 3_000_000,
                mtime: 1_700_000_000,
                nsec: 123_456_789,
                size: 5,
                xattrs: vec![(b"user.x".to_vec(), b"a=b\n\0".to_vec())],
                ..Entry::new("bin/ä".as_bytes(), Kind::File)
            },
            Entry {
                mtime: -2,
                nsec: 750_000_000,
                ..Entry::new(&long, Kind::Dir)
            },
            Entry {
                link: b"x".repeat(300),
                ..Entry::new(&longer, Kind::Symlink)
            },
            Entry {
                link: b"bin/a".to_vec(),
                ..Entry::new(b"hard", Kind::HardLink)
            },
            Entry {
                device: (1, 3),
                mode: 0o666,
                ..Entry::new(b"dev/null", Kind::Char)
            },
            Entry::new(b"fifo", Kind::Fifo),
        ]
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = Writer::new(Vec::new());
        for entry in sample() {
            writer.entry(&entry).unwrap();
            if entry.kind == Kind::File {
                writer.data(b"hel").unwrap();
                assert_eq!(writer.owed(), 2);
                writer.data(b"lo, cut off").unwrap();
            }
        }
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut reader = Reader::new(&bytes[..]);
        for entry in sample() {
            assert_eq!(reader.next().unwrap().unwrap(), entry);
            if entry.kind == Kind::File {
                assert_eq!(reader.data().unwrap(), b"hello");
            }
        }
        assert!(reader.next().unwrap().is_none());
        reader.drain().unwrap();
    }

    #[test]
    fn record_lengths_count_themselves() {
        for n in [1, 2, 86, 87, 88, 89, 985, 986, 987, 988] {
            let mut out = Vec::new();
            put_record(&mut out, b"path", &b"x".repeat(n));
            let text = String::from_utf8_lossy(&out);
            let len: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(len, out.len(), "{n}");
        }
    }
}
