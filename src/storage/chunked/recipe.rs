//! The tar-split form of an archive: everything but the files' content, and where that goes.
//!
//! One JSON object a line: bytes of the archive (type 2), or a file (type 1) whose content comes
//! from a tree. With it an unpacked layer gives its archive back, byte for byte.
//!
//! Spec: github.com/vbatts/tar-split, tar/storage.

use std::io::{self, BufRead as _, Read, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::base::{Context as _, Error, Kind, Result};

/// Longest line that is read: a segment's headers, in base64.
const LINE: u64 = 64 << 20;
/// A segment is written when it has so many bytes.
const SEGMENT: usize = 1 << 20;
/// zstd's level for recipes.
const LEVEL: i32 = 3;

#[derive(Debug, Serialize, Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    payload: Option<String>,
    #[serde(default)]
    position: u64,
}

/// A recipe being written.
#[derive(Debug, Default)]
pub struct Recipe {
    lines: Vec<u8>,
    segment: Vec<u8>,
    position: u64,
    spoilt: bool,
}

/// A finished recipe.
#[derive(Clone, Debug)]
pub struct Written {
    /// Compressed with zstd.
    pub bytes: Vec<u8>,
    /// Bytes before that.
    pub plain: u64,
}

impl Recipe {
    /// Bytes of the archive that are no file's content.
    pub fn segment(&mut self, bytes: &[u8]) {
        self.segment.extend_from_slice(bytes);
        if self.segment.len() >= SEGMENT {
            self.flush();
        }
    }

    /// An entry with `size` bytes of content whose CRC-64 is `crc`.
    pub fn file(&mut self, name: &str, size: u64, crc: u64) {
        self.flush();
        self.line(Item {
            kind: 1,
            name: Some(name.to_owned()),
            size: (size > 0).then_some(size),
            payload: (size > 0).then(|| STANDARD.encode(crc.to_be_bytes())),
            position: 0,
        });
    }

    /// It cannot be told right: there will be none.
    pub fn spoil(&mut self) {
        self.spoilt = true;
    }

    fn flush(&mut self) {
        if self.segment.is_empty() {
            return;
        }
        let payload = Some(STANDARD.encode(&self.segment));
        self.segment.clear();
        self.line(Item {
            kind: 2,
            name: None,
            size: None,
            payload,
            position: 0,
        });
    }

    fn line(&mut self, mut item: Item) {
        item.position = self.position;
        self.position += 1;
        match serde_json::to_writer(&mut self.lines, &item) {
            Ok(()) => self.lines.push(b'\n'),
            Err(_) => self.spoilt = true,
        }
    }

    /// Ends it; `None` when it was spoilt.
    ///
    /// # Errors
    /// `Internal` when it cannot be compressed.
    pub fn finish(mut self) -> Result<Option<Written>> {
        self.flush();
        if self.spoilt {
            return Ok(None);
        }
        let bytes = zstd::bulk::compress(&self.lines, LEVEL)
            .what_kind(Kind::Internal, || "cannot compress the archive's headers")?;
        Ok(Some(Written {
            bytes,
            plain: self.lines.len() as u64,
        }))
    }
}

/// CRC-64 of ISO 3309, as Go's `crc64.ISO`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crc(u64);

const CRC: [u64; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut value = at as u64;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                (value >> 1) ^ 0xd800_0000_0000_0000
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[at] = value;
        at += 1;
    }
    table
};

impl Crc {
    /// Takes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let mut crc = !self.0;
        for byte in bytes {
            crc = CRC[usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
        }
        self.0 = !crc;
    }

    /// The sum of all bytes.
    pub fn finish(self) -> u64 {
        self.0
    }
}

/// Opens the content of the file with that path.
type Opener<'a> = Box<dyn FnMut(&[u8]) -> Result<std::fs::File> + Send + 'a>;

/// An archive put together from its recipe and the content of its files.
pub struct Assembly<'a> {
    lines: io::BufReader<Box<dyn Read + Send + 'a>>,
    open: Opener<'a>,
    now: Now,
}

enum Now {
    Segment(io::Cursor<Vec<u8>>),
    File(std::fs::File, u64),
    End,
}

impl<'a> Assembly<'a> {
    /// `recipe` is compressed with zstd; `open` gives a file of the tree by its clean path.
    ///
    /// # Errors
    /// What zstd says.
    pub fn new(
        recipe: impl Read + Send + 'a,
        open: impl FnMut(&[u8]) -> Result<std::fs::File> + Send + 'a,
    ) -> Result<Self> {
        let plain = zstd::stream::read::Decoder::new(recipe)
            .what(|| "cannot read the archive's headers")?;
        Ok(Self {
            lines: io::BufReader::new(Box::new(plain)),
            open: Box::new(open),
            now: Now::Segment(io::Cursor::default()),
        })
    }

    fn advance(&mut self) -> Result<()> {
        let damaged = || "the recipe of the archive is damaged";
        let mut line = Vec::new();
        (&mut self.lines)
            .take(LINE)
            .read_until(b'\n', &mut line)
            .what_kind(Kind::Corrupt, damaged)?;
        if line.is_empty() {
            self.now = Now::End;
            return Ok(());
        }
        let item: Item = serde_json::from_slice(&line).what_kind(Kind::Corrupt, damaged)?;
        self.now = match (item.kind, item.size) {
            (2, _) => Now::Segment(io::Cursor::new(
                STANDARD
                    .decode(item.payload.unwrap_or_default())
                    .what_kind(Kind::Corrupt, damaged)?,
            )),
            (1, Some(size)) if size > 0 => {
                let name = item.name.unwrap_or_default();
                let path = crate::storage::tar::read::clean(name.as_bytes())?;
                Now::File((self.open)(&path)?, size)
            }
            (1, _) => Now::Segment(io::Cursor::default()),
            _ => return Err(Error::new(Kind::Corrupt, damaged())),
        };
        Ok(())
    }
}

impl Read for Assembly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.now {
                Now::End => return Ok(0),
                Now::Segment(bytes) => {
                    let n = bytes.read(buffer)?;
                    if n > 0 {
                        return Ok(n);
                    }
                }
                Now::File(_, 0) => {}
                Now::File(file, left) => {
                    let most = usize::try_from(*left).map_or(buffer.len(), |l| l.min(buffer.len()));
                    let n = file.read(&mut buffer[..most])?;
                    if n == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    *left -= n as u64;
                    return Ok(n);
                }
            }
            self.advance().map_err(io::Error::other)?;
        }
    }
}

/// Writes a file beside a layer that is being made.
pub(in crate::storage) fn keep(path: &std::path::Path, bytes: &[u8]) -> Result<()> {
    let mut file = std::fs::File::create_new(path).what(|| "cannot write a record")?;
    file.write_all(bytes).map_err(crate::storage::blob::full)
}
