//! The reader: merges the headers of each entry, checks them against each other, gives the data.

use std::io::{self, BufRead};

use super::header::{Dialect, Header, number, text};
use super::pax::{self, Pax, SPARSE_MAX};
use super::{BLOCK, Entry, Kind, PATH_MAX, show};
use crate::base::{Context as _, Error, Result};

/// Largest extended header (Go's bound too).
const EXTENDED_MAX: u64 = 1 << 20;

/// Reads entries one after the other from an uncompressed stream.
#[derive(Debug)]
pub(in crate::storage) struct Reader<R> {
    source: R,
    /// Data bytes of the present entry not yet taken.
    remaining: u64,
    /// Zeros behind them.
    padding: u64,
    ended: bool,
    /// The present entry's name and link as they stand in the archive.
    raw: (Vec<u8>, Vec<u8>),
}

/// Extended headers waiting for their entry.
#[derive(Default)]
struct Pending {
    pax: Option<Pax>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// Turns an error of the stream into ours; one of ours that went through `io` comes back whole.
pub(in crate::storage) fn from_io(error: io::Error, what: &str) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(error) => Err::<(), _>(error)
            .what(|| what)
            .err()
            .unwrap_or_else(|| Error::internal("no error")),
    }
}

fn truncated() -> Error {
    Error::invalid("the archive ends in the middle of an entry")
}

impl<R: BufRead> Reader<R> {
    /// Reads from `source`.
    pub(in crate::storage) fn new(source: R) -> Self {
        Self {
            source,
            remaining: 0,
            padding: 0,
            ended: false,
            raw: (Vec::new(), Vec::new()),
        }
    }

    /// Where it reads.
    pub(in crate::storage) fn source(&mut self) -> &mut R {
        &mut self.source
    }

    /// Gives that back.
    pub(in crate::storage) fn into_source(self) -> R {
        self.source
    }

    /// The present entry's name as it stands in the archive.
    pub(in crate::storage) fn raw_name(&self) -> &[u8] {
        &self.raw.0
    }

    /// The present entry's link as it stands in the archive.
    pub(in crate::storage) fn raw_link(&self) -> &[u8] {
        &self.raw.1
    }

    /// The next entry; its data follows with [`Reader::data`]. What was not taken of the last
    /// one's is skipped.
    pub(in crate::storage) fn next(&mut self) -> Result<Option<Entry>> {
        if self.ended {
            return Ok(None);
        }
        let mut pending = Pending::default();
        loop {
            self.skip_rest()?;
            let Some(block) = self.header_block()? else {
                self.ended = true;
                if pending.pax.is_some() || pending.name.is_some() || pending.link.is_some() {
                    return Err(truncated());
                }
                return Ok(None);
            };
            let header = Header::parse(&block)?;
            let twice = || Error::invalid("an entry of the archive has an extended header twice");
            match header.kind() {
                b'x' => {
                    let bytes = self.extended(&header)?;
                    if pending.pax.replace(Pax::parse(&bytes)?).is_some() {
                        return Err(twice());
                    }
                }
                b'g' => {
                    let bytes = self.extended(&header)?;
                    pax::check_global(&bytes)?;
                }
                b'L' => {
                    let bytes = self.long_name(&header)?;
                    if pending.name.replace(bytes).is_some() {
                        return Err(twice());
                    }
                }
                b'K' => {
                    let bytes = self.long_name(&header)?;
                    if pending.link.replace(bytes).is_some() {
                        return Err(twice());
                    }
                }
                _ => return self.entry(&header, pending).map(Some),
            }
        }
    }

    /// The next piece of the present entry's data, empty at its end.
    pub(in crate::storage) fn data(&mut self) -> Result<&[u8]> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let available = fill(&mut self.source)?;
        if available.is_empty() {
            return Err(truncated());
        }
        let n = available
            .len()
            .min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        Ok(&available[..n])
    }

    /// Takes `n` bytes of what [`Reader::data`] gave.
    pub(in crate::storage) fn consume(&mut self, n: usize) {
        self.source.consume(n);
        self.remaining -= n as u64;
    }

    /// Reads whatever lies behind the end of the archive, so that a hash covers all of it.
    pub(in crate::storage) fn drain(mut self) -> Result<()> {
        loop {
            let n = fill(&mut self.source)?.len();
            if n == 0 {
                return Ok(());
            }
            self.source.consume(n);
        }
    }

    fn skip_rest(&mut self) -> Result<()> {
        let mut left = self.remaining + self.padding;
        while left > 0 {
            let n = fill(&mut self.source)?.len();
            if n == 0 {
                return Err(truncated());
            }
            let n = n.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.source.consume(n);
            left -= n as u64;
        }
        self.remaining = 0;
        self.padding = 0;
        Ok(())
    }

    /// One block, `None` at a clean end of the stream.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            let available = fill(&mut self.source)?;
            if available.is_empty() {
                return if have == 0 {
                    Ok(None)
                } else {
                    Err(truncated())
                };
            }
            let n = available.len().min(BLOCK - have);
            block[have..have + n].copy_from_slice(&available[..n]);
            self.source.consume(n);
            have += n;
        }
        Ok(Some(block))
    }

    /// The next header, `None` at the two zero blocks or the end of the stream.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let Some(block) = self.block()? else {
            return Ok(None);
        };
        if block != [0; BLOCK] {
            return Ok(Some(block));
        }
        match self.block()? {
            None => Ok(None),
            Some(second) if second == [0; BLOCK] => Ok(None),
            // Some parsers stop at one zero block, others go on.
            Some(_) => Err(Error::invalid(
                "the archive has entries behind a block of zeros",
            )),
        }
    }

    fn begin_data(&mut self, size: u64) {
        self.remaining = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    fn take(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        self.begin_data(size);
        while self.remaining > 0 {
            let piece = self.data()?;
            let n = piece.len();
            bytes.extend_from_slice(piece);
            self.consume(n);
        }
        Ok(bytes)
    }

    fn extended(&mut self, header: &Header<'_>) -> Result<Vec<u8>> {
        let size = header.size()?;
        if size > EXTENDED_MAX {
            return Err(Error::invalid(format!(
                "an extended header of the archive is larger than {EXTENDED_MAX} bytes"
            )));
        }
        self.take(size)
    }

    fn long_name(&mut self, header: &Header<'_>) -> Result<Vec<u8>> {
        let bytes = self.extended(header)?;
        let name = text(&bytes);
        if name.is_empty() || name.len() > PATH_MAX || bytes.len() > name.len() + 1 {
            return Err(Error::invalid("a long name of the archive is malformed"));
        }
        Ok(name.to_vec())
    }

    fn entry(&mut self, header: &Header<'_>, pending: Pending) -> Result<Entry> {
        let mut pax = pending.pax.unwrap_or_default();
        if (pax.path.is_some() && pending.name.is_some())
            || (pax.link.is_some() && pending.link.is_some())
        {
            return Err(Error::invalid(
                "an entry of the archive has a GNU and a PAX name",
            ));
        }
        let raw = pax
            .sparse_name
            .take()
            .or_else(|| pax.path.take())
            .or(pending.name)
            .unwrap_or_else(|| header.name());
        let path = clean(&raw)?;
        let named = |what: &str| Error::invalid(format!("entry {:?} {what}", show(&raw)));
        let slash = raw.last() == Some(&b'/');
        let kind = match header.kind() {
            // In V7 archives a folder is a file whose name ends in a slash.
            0 if slash => Kind::Dir,
            0 | b'0' | b'7' | b'S' if slash => {
                return Err(named("is a file with the name of a folder"));
            }
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::Char,
            b'4' => Kind::Block,
            b'5' => Kind::Dir,
            b'6' => Kind::Fifo,
            other => {
                return Err(named(&format!(
                    "has the unknown type {:?}",
                    char::from(other)
                )));
            }
        };
        if path.is_empty() && kind != Kind::Dir {
            return Err(named("names the root, but is no folder"));
        }
        let own = header.size()?;
        let size = match pax.size {
            // The header's field ends at 8 GiB; below that both must agree.
            Some(size) if size != own && size <= 0o77_777_777_777 => {
                return Err(named("has two different sizes"));
            }
            Some(size) => size,
            None => own,
        };
        if kind != Kind::File && size != 0 {
            return Err(named("has data, but is no file"));
        }
        let mut entry = Entry {
            mode: header.mode()?,
            uid: pax.uid.map_or_else(|| header.uid(), Ok)?,
            gid: pax.gid.map_or_else(|| header.gid(), Ok)?,
            size,
            xattrs: std::mem::take(&mut pax.xattrs),
            ..Entry::new(&path, kind)
        };
        (entry.mtime, entry.nsec) = match pax.mtime {
            Some(time) => time,
            None => (header.mtime()?, 0),
        };
        if matches!(kind, Kind::Char | Kind::Block) {
            entry.device = header.device()?;
        }
        if matches!(kind, Kind::HardLink | Kind::Symlink) {
            let link = pax
                .link
                .take()
                .or(pending.link)
                .unwrap_or_else(|| header.link().to_vec());
            if link.is_empty() || link.len() > PATH_MAX {
                return Err(named("is a link to nothing"));
            }
            self.raw.1.clone_from(&link);
            entry.link = if kind == Kind::HardLink {
                clean(&link)?
            } else {
                link
            };
        }
        self.raw.0 = raw.clone();
        self.begin_data(size);
        if kind == Kind::File {
            self.sparse(header, &pax, &mut entry)
                .what(|| format!("cannot read sparse file {:?}", show(&raw)))?;
        }
        Ok(entry)
    }

    /// Finds the map of a sparse file in any of its three forms.
    fn sparse(&mut self, header: &Header<'_>, pax: &Pax, entry: &mut Entry) -> Result<()> {
        let bad = || Error::invalid("its map is malformed");
        let (map, size) = match (pax.sparse_version, &pax.sparse_map, pax.sparse_size) {
            _ if header.kind() == b'S' => {
                if header.dialect() != Dialect::Gnu || pax.sparse_map.is_some() {
                    return Err(bad());
                }
                self.gnu_map(header)?
            }
            ((Some(1), Some(0)), None, Some(size)) => (self.leading_map()?, size),
            ((None | Some(0), None | Some(1)), Some(map), Some(size)) => (map.clone(), size),
            ((None, None), None, None) => return Ok(()),
            _ => return Err(bad()),
        };
        let mut end = 0;
        let mut total = 0_u64;
        for (offset, len) in &map {
            let stop = offset.checked_add(*len).ok_or_else(bad)?;
            if *offset < end || stop > size {
                return Err(bad());
            }
            end = stop;
            total = total.checked_add(*len).ok_or_else(bad)?;
        }
        if total != self.remaining {
            return Err(bad());
        }
        entry.size = size;
        entry.sparse = Some(map);
        Ok(())
    }

    /// Old GNU form: four pairs in the header, then blocks of 21.
    fn gnu_map(&mut self, header: &Header<'_>) -> Result<(Vec<(u64, u64)>, u64)> {
        let bad = || Error::invalid("its map is malformed");
        let field = |bytes: &[u8]| {
            number(bytes, "sparse map").and_then(|n| u64::try_from(n).map_err(|_| bad()))
        };
        let mut map = Vec::new();
        let add = |bytes: &[u8], map: &mut Vec<(u64, u64)>| -> Result<()> {
            for pair in bytes.chunks_exact(24) {
                if pair[0] != 0 {
                    map.push((field(&pair[..12])?, field(&pair[12..])?));
                }
            }
            Ok(())
        };
        add(&header.0[386..482], &mut map)?;
        let size = field(&header.0[483..495])?;
        let mut more = header.0[482] != 0;
        while more {
            let block = self.block()?.ok_or_else(truncated)?;
            add(&block[..504], &mut map)?;
            if map.len() > SPARSE_MAX {
                return Err(bad());
            }
            more = block[504] != 0;
        }
        Ok((map, size))
    }

    /// PAX 1.0 form: decimal lines at the start of the data, filled up to a block.
    fn leading_map(&mut self) -> Result<Vec<(u64, u64)>> {
        let bad = || Error::invalid("its map is malformed");
        let mut lines: Vec<u64> = Vec::new();
        let mut digits: Vec<u8> = Vec::new();
        let mut wanted = None;
        loop {
            if self.remaining < BLOCK as u64 {
                return Err(bad());
            }
            let block = self.block()?.ok_or_else(truncated)?;
            self.remaining -= BLOCK as u64;
            for byte in block {
                if wanted == Some(lines.len()) {
                    break;
                }
                if byte != b'\n' {
                    digits.push(byte);
                    if digits.len() > 20 {
                        return Err(bad());
                    }
                    continue;
                }
                let value = pax::decimal(&digits)?;
                digits.clear();
                if wanted.is_none() {
                    let pairs = usize::try_from(value).map_err(|_| bad())?;
                    if pairs > SPARSE_MAX {
                        return Err(bad());
                    }
                    wanted = Some(pairs * 2);
                } else {
                    lines.push(value);
                }
            }
            if wanted == Some(lines.len()) {
                return Ok(lines.chunks_exact(2).map(|p| (p[0], p[1])).collect());
            }
        }
    }
}

fn fill<R: BufRead>(source: &mut R) -> Result<&[u8]> {
    // A loop around fill_buf would borrow twice: skip over interruptions first.
    loop {
        match source.fill_buf() {
            Ok(_) => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(from_io(e, "cannot read the archive")),
        }
    }
    source
        .fill_buf()
        .map_err(|e| from_io(e, "cannot read the archive"))
}

/// Cleans a path: leading slashes, `.` and empty components go, `..` is refused.
pub(in crate::storage) fn clean(raw: &[u8]) -> Result<Vec<u8>> {
    let bad = |why: &str| Error::invalid(format!("path {:?} of the archive {why}", show(raw)));
    if raw.is_empty() || raw.contains(&0) {
        return Err(bad("is empty or has a NUL in it"));
    }
    if raw.len() > PATH_MAX {
        return Err(bad("is too long"));
    }
    let mut path = Vec::with_capacity(raw.len());
    for part in raw.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(bad("leads out of the tree")),
            _ if part.len() > 255 => return Err(bad("has a component that is too long")),
            _ => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
            }
        }
    }
    Ok(path)
}
