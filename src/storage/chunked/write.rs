//! Making layers with a table of contents out of plain archives, in one pass.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::recipe::Recipe;
use super::{
    Annotations, Document, KIND, LANDMARKS, Line, SPLIT_CHECKSUM, SPLIT_POSITION, STARGZ_DIGEST,
    STARGZ_NAME, STARGZ_SIZE, ZSTD_CHECKSUM, ZSTD_MAGIC, ZSTD_POSITION,
};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind as Failure, Result};
use crate::spec::digest::Digest;
use crate::storage::codec::Hashed;
use crate::storage::tar::read::from_io;
use crate::storage::tar::{BLOCK, Entry, Kind, Reader, Writer, show};

/// The pieces in which a file's content can be fetched, as eStargz's own default.
const CHUNK: usize = 4 << 20;

/// Headers between files go out when there are so many bytes of them.
const RAW: usize = 1 << 20;

/// Which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// zstd:chunked, with a level of zstd.
    Zstd(i32),
    /// eStargz, with a level of gzip.
    Stargz(u32),
}

/// What [`pack`] made.
#[derive(Clone, Debug)]
pub struct Packed<W> {
    /// Digest of the blob.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Digest of what it inflates to: for eStargz another than the archive's that came.
    pub diff_id: Digest,
    /// Digest of the archive that came.
    pub source: Digest,
    /// What the layer's descriptor must say.
    pub annotations: Annotations,
    /// Where it went.
    pub sink: W,
}

/// Remembers what was taken from a stream.
struct Tap<R> {
    inner: R,
    seen: Vec<u8>,
    hasher: Sha256,
}

impl<R: BufRead> Read for Tap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(buffer.len());
        buffer[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Tap<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        // What was given before is still there.
        if let Ok(bytes) = self.inner.fill_buf() {
            self.hasher.update(&bytes[..n]);
            self.seen.extend_from_slice(&bytes[..n]);
        }
        self.inner.consume(n);
    }
}

/// Frames of zstd, or members of gzip, each on its own.
enum Frames {
    Zstd(zstd::bulk::Compressor<'static>),
    Gzip(u32),
}

impl Frames {
    fn frame(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(compressor) => compressor.compress(bytes),
            Self::Gzip(level) => {
                let sink = Vec::with_capacity(bytes.len() / 2 + 64);
                let level = flate2::Compression::new(*level);
                let mut encoder = flate2::write::GzEncoder::new(sink, level);
                encoder.write_all(bytes)?;
                encoder.finish()
            }
        }
    }
}

struct Packer<W: Write> {
    out: Hashed<W>,
    frames: Frames,
    form: Form,
    /// Headers and padding since the last frame.
    raw: Vec<u8>,
    lines: Vec<Line>,
    recipe: Recipe,
    plain: Sha256,
    plain_size: u64,
}

/// Makes a layer out of the plain archive `tar`. The same archive gives the same bytes.
///
/// # Errors
/// `Invalid` for a damaged archive, `Unsupported` for one that a table cannot describe: with sparse
/// files, or names that are no UTF-8; what the sink says.
pub fn pack<R: BufRead, W: Write>(tar: R, sink: W, form: Form) -> Result<Packed<W>> {
    let frames = match form {
        Form::Zstd(level @ 1..=22) => Frames::Zstd(
            zstd::bulk::Compressor::new(level).map_err(|e| from_io(e, "cannot start zstd"))?,
        ),
        Form::Stargz(level @ 0..=9) => Frames::Gzip(level),
        Form::Zstd(level) => return Err(Error::invalid(format!("zstd has no level {level}"))),
        Form::Stargz(level) => return Err(Error::invalid(format!("gzip has no level {level}"))),
    };
    let packer = Packer {
        out: Hashed::new(sink),
        frames,
        form,
        raw: Vec::new(),
        lines: Vec::new(),
        recipe: Recipe::default(),
        plain: Sha256::new(),
        plain_size: 0,
    };
    packer.run(Tap {
        inner: tar,
        seen: Vec::new(),
        hasher: Sha256::new(),
    })
}

fn failed(error: io::Error) -> Error {
    from_io(error, "cannot write the compressed stream")
}

impl<W: Write> Packer<W> {
    fn run<R: BufRead>(mut self, tap: Tap<R>) -> Result<Packed<W>> {
        let stargz = matches!(self.form, Form::Stargz(_));
        if stargz {
            self.landmark()?;
        }
        let mut reader = Reader::new(tap);
        // Zeros behind the last entry's content, and whether it was left out.
        let (mut padding, mut left_out) = (0, false);
        while let Some(entry) = reader.next()? {
            let seen = std::mem::take(&mut reader.source().seen);
            let (zeros, header) = seen.split_at(padding.min(seen.len()));
            if !left_out {
                self.header(zeros)?;
            }
            padding = (BLOCK - (entry.size % BLOCK as u64) as usize) % BLOCK;
            left_out = stargz && is_own(&entry.path);
            if left_out {
                // The next entry skips what is not read.
                let mut left = entry.size;
                while left > 0 {
                    let n = reader.data()?.len();
                    reader.consume(n);
                    reader.source().seen.clear();
                    left -= n as u64;
                }
                continue;
            }
            self.header(header)?;
            self.entry(&entry, header, &mut reader)
                .what(|| format!("cannot describe {:?}", show(&entry.path)))?;
        }
        // The padding of the last entry, and the end of the archive.
        let mut tap = reader.into_source();
        let rest = std::mem::take(&mut tap.seen);
        let (zeros, end) = rest.split_at(padding.min(rest.len()));
        if !left_out {
            self.header(zeros)?;
        }
        if !stargz {
            self.header(end)?;
        }
        loop {
            let n = tap
                .fill_buf()
                .map_err(|e| from_io(e, "cannot read the archive"))?
                .len();
            if n == 0 {
                break;
            }
            tap.consume(n);
            if !stargz {
                self.header(&tap.seen)?;
            }
            tap.seen.clear();
        }
        let source = Digest::from_sha256(tap.hasher.finalize().as_ref());
        self.flush_raw()?;
        let annotations = match self.form {
            Form::Zstd(level) => self.zstd_end(level)?,
            Form::Stargz(_) => self.stargz_end()?,
        };
        self.out.flush().map_err(failed)?;
        let (sink, digest, size) = self.out.finish();
        Ok(Packed {
            digest,
            size,
            diff_id: Digest::from_sha256(self.plain.finalize().as_ref()),
            source,
            annotations,
            sink,
        })
    }
}

impl<W: Write> Packer<W> {
    /// Takes bytes that are no file's content.
    fn header(&mut self, bytes: &[u8]) -> Result<()> {
        self.raw.extend_from_slice(bytes);
        self.recipe.segment(bytes);
        if self.raw.len() >= RAW {
            self.flush_raw()?;
        }
        Ok(())
    }

    fn flush_raw(&mut self) -> Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let raw = std::mem::take(&mut self.raw);
        self.frame(&raw)?;
        self.raw = raw;
        self.raw.clear();
        Ok(())
    }

    /// Writes a frame; answers where it begins and ends.
    fn frame(&mut self, bytes: &[u8]) -> Result<(u64, u64)> {
        let start = self.out.written();
        self.plain.update(bytes);
        self.plain_size += bytes.len() as u64;
        let frame = self.frames.frame(bytes).map_err(failed)?;
        self.out.write_all(&frame).map_err(failed)?;
        Ok((start, self.out.written()))
    }

    fn entry<R: BufRead>(
        &mut self,
        entry: &Entry,
        header: &[u8],
        reader: &mut Reader<Tap<R>>,
    ) -> Result<()> {
        if entry.sparse.is_some() {
            return Err(Error::unsupported(
                "it is a sparse file, which a table of contents cannot describe",
            )
            .hint("use zstd or gzip for this image"));
        }
        let name = text(reader.raw_name())?;
        if [&b" atime="[..], b" ctime="]
            .iter()
            .any(|word| contains(header, word))
        {
            // Whoever compares both would miss them in the table.
            self.recipe.spoil();
        }
        let mut line = Line {
            kind: kind(entry.kind).to_owned(),
            name: name.clone(),
            link_name: match entry.kind {
                Kind::HardLink => text(reader.raw_link())?,
                Kind::Symlink => text(&entry.link)?,
                _ => String::new(),
            },
            mode: entry.mode.into(),
            size: entry.size,
            uid: entry.uid.into(),
            gid: entry.gid.into(),
            modified: Some(moment(entry)),
            dev_major: entry.device.0.into(),
            dev_minor: entry.device.1.into(),
            ..Line::default()
        };
        if !entry.xattrs.is_empty() {
            let mut xattrs = BTreeMap::new();
            for (name, value) in &entry.xattrs {
                xattrs.insert(text(name)?, STANDARD.encode(value));
            }
            line.xattrs = Some(xattrs);
        }
        if entry.kind != Kind::File {
            self.recipe.file(&name, 0, 0);
            self.lines.push(line);
            return Ok(());
        }
        let first = self.lines.len();
        let stargz = matches!(self.form, Form::Stargz(_));
        let mut whole = Sha256::new();
        let mut crc = super::recipe::Crc::default();
        let mut at = 0;
        let mut piece = Vec::new();
        let several = entry.size > CHUNK as u64;
        self.lines.push(line);
        while at < entry.size {
            piece.clear();
            while piece.len() < CHUNK && at + (piece.len() as u64) < entry.size {
                let data = reader.data()?;
                let n = data.len().min(CHUNK - piece.len());
                piece.extend_from_slice(&data[..n]);
                reader.consume(n);
                reader.source().seen.clear();
            }
            if at == 0 {
                self.flush_raw()?;
            } else {
                self.lines.push(Line {
                    kind: "chunk".to_owned(),
                    name: name.clone(),
                    chunk_offset: at,
                    ..Line::default()
                });
            }
            whole.update(&piece);
            crc.update(&piece);
            let (start, end) = self.frame(&piece)?;
            let last = at + piece.len() as u64 == entry.size;
            if let Some(line) = self.lines.last_mut() {
                line.offset = start;
                if several || stargz {
                    line.chunk_digest = Digest::sha256_of(&piece).to_string();
                }
                if several && !(stargz && last) {
                    line.chunk_size = piece.len() as u64;
                }
                if !stargz {
                    line.end_offset = end;
                }
            }
            at += piece.len() as u64;
        }
        if let Some(line) = self.lines.get_mut(first) {
            line.digest = Digest::from_sha256(whole.finalize().as_ref()).to_string();
        }
        self.recipe.file(&name, entry.size, crc.finish());
        Ok(())
    }

    /// The file that says that nothing is to be fetched first.
    fn landmark(&mut self) -> Result<()> {
        let content = [0xf_u8];
        let mut writer = Writer::new(Vec::new());
        let entry = Entry {
            mode: 0o644,
            size: 1,
            ..Entry::new(LANDMARKS[1].as_bytes(), Kind::File)
        };
        writer.entry(&entry).map_err(failed)?;
        writer.data(&content).map_err(failed)?;
        let mut bytes = writer.finish().map_err(failed)?;
        // Without the end of an archive.
        bytes.truncate(2 * BLOCK);
        self.header(&bytes[..BLOCK])?;
        self.flush_raw()?;
        let (offset, _) = self.frame(&content)?;
        self.raw.extend_from_slice(&bytes[BLOCK + 1..]);
        let digest = Digest::sha256_of(&content).to_string();
        self.lines.push(Line {
            kind: "reg".to_owned(),
            name: LANDMARKS[1].to_owned(),
            mode: 0o644,
            size: 1,
            modified: Some(moment(&entry)),
            digest: digest.clone(),
            chunk_digest: digest,
            offset,
            ..Line::default()
        });
        Ok(())
    }

    fn document(&self, split: Option<String>) -> Result<Vec<u8>> {
        serde_json::to_vec(&Document {
            version: 1,
            entries: &self.lines,
            split,
        })
        .what_kind(Failure::Internal, || "cannot write the table of contents")
    }

    fn zstd_end(&mut self, level: i32) -> Result<Annotations> {
        let mut annotations = Annotations::new();
        let recipe = std::mem::take(&mut self.recipe).finish()?;
        let split = recipe
            .as_ref()
            .map(|r| Digest::sha256_of(&r.bytes).to_string());
        let plain = self.document(split.clone())?;
        let table = zstd::bulk::compress(&plain, level).map_err(failed)?;
        let position = self.skippable(&table)?;
        annotations.insert(
            ZSTD_CHECKSUM.to_owned(),
            Digest::sha256_of(&table).to_string(),
        );
        annotations.insert(
            ZSTD_POSITION.to_owned(),
            format!("{position}:{}:{}:{KIND}", table.len(), plain.len()),
        );
        let mut footer = [
            position,
            table.len() as u64,
            plain.len() as u64,
            KIND,
            0,
            0,
            0,
        ];
        if let (Some(recipe), Some(split)) = (recipe, split) {
            let at = self.skippable(&recipe.bytes)?;
            annotations.insert(SPLIT_CHECKSUM.to_owned(), split);
            annotations.insert(
                SPLIT_POSITION.to_owned(),
                format!("{at}:{}:{}", recipe.bytes.len(), recipe.plain),
            );
            footer[4..].copy_from_slice(&[at, recipe.bytes.len() as u64, recipe.plain]);
        }
        let mut bytes: Vec<u8> = footer.iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes.extend_from_slice(ZSTD_MAGIC);
        self.skippable(&bytes)?;
        Ok(annotations)
    }

    /// Writes what a decoder skips; answers where its content begins.
    fn skippable(&mut self, bytes: &[u8]) -> Result<u64> {
        let length = u32::try_from(bytes.len())
            .map_err(|_| Error::unsupported("the layer has too many files for a table"))?;
        self.out
            .write_all(&[0x50, 0x2a, 0x4d, 0x18])
            .map_err(failed)?;
        self.out.write_all(&length.to_le_bytes()).map_err(failed)?;
        let at = self.out.written();
        self.out.write_all(bytes).map_err(failed)?;
        Ok(at)
    }

    fn stargz_end(&mut self) -> Result<Annotations> {
        let table = self.document(None)?;
        let mut writer = Writer::new(Vec::new());
        let entry = Entry {
            mode: 0o444,
            size: table.len() as u64,
            ..Entry::new(STARGZ_NAME.as_bytes(), Kind::File)
        };
        writer.entry(&entry).map_err(failed)?;
        writer.data(&table).map_err(failed)?;
        let archive = writer.finish().map_err(failed)?;
        let (offset, _) = self.frame(&archive)?;
        self.out.write_all(&stargz_footer(offset)).map_err(failed)?;
        Ok(Annotations::from([
            (
                STARGZ_DIGEST.to_owned(),
                Digest::sha256_of(&table).to_string(),
            ),
            (STARGZ_SIZE.to_owned(), self.plain_size.to_string()),
        ]))
    }
}

/// An empty member of gzip whose extra field says where the table is.
fn stargz_footer(offset: u64) -> Vec<u8> {
    // Deflate, with an extra field, no time, unknown system.
    let mut footer = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
    let field = format!("{offset:016x}STARGZ");
    footer.extend_from_slice(&(field.len() as u16 + 4).to_le_bytes());
    footer.extend_from_slice(b"SG");
    footer.extend_from_slice(&(field.len() as u16).to_le_bytes());
    footer.extend_from_slice(field.as_bytes());
    // One empty stored block, the last; then checksum and length of nothing.
    footer.extend_from_slice(&[1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    footer
}

/// Whether a file belongs to eStargz, not to the image.
pub(super) fn is_own(path: &[u8]) -> bool {
    path == STARGZ_NAME.as_bytes() || LANDMARKS.iter().any(|name| path == name.as_bytes())
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "reg",
        Kind::HardLink => "hardlink",
        Kind::Symlink => "symlink",
        Kind::Char => "char",
        Kind::Block => "block",
        Kind::Dir => "dir",
        Kind::Fifo => "fifo",
    }
}

fn moment(entry: &Entry) -> String {
    let nanos = entry
        .mtime
        .saturating_mul(1_000_000_000)
        .saturating_add(entry.nsec.into());
    Timestamp(nanos).rfc3339()
}

fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| {
        Error::unsupported("its name is no UTF-8, which a table of contents cannot hold")
            .hint("use zstd or gzip for this image")
    })
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|w| w == word)
}
