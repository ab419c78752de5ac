//! Reading tables of contents. They come from whoever made the image: everything is bounded and
//! checked before it is believed, and it is believed only for what its digest in the manifest
//! covers. Security: class E of docs/security.md.

use std::fmt;
use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Annotations, KIND, Line, STARGZ_DIGEST, STARGZ_FOOTER, STARGZ_NAME};
use super::{ZSTD_CHECKSUM, ZSTD_POSITION};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind as Failure, Result};
use crate::spec::digest::{Algorithm, Digest};
use crate::storage::blob::Hasher;
use crate::storage::layer::Limits;
use crate::storage::tar::read::clean;
use crate::storage::tar::{Entry, Kind, PATH_MAX, Reader, show};

/// Most bytes of a table, compressed.
const PACKED: u64 = 64 << 20;
/// Most bytes of a table.
const PLAIN: u64 = 256 << 20;
/// Most lines of a table.
const LINES: usize = 2_000_000;
/// Most bytes of all files together.
const BYTES: u64 = 1 << 40;
/// So many bytes may come out of a layer however small it is.
const GRACE: u64 = 1 << 30;
/// Most bytes of an extended attribute, as the kernel has it.
const XATTR: usize = 64 << 10;

/// A part of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where its frame begins in the blob; for a hole 0.
    pub offset: u64,
    /// Where what is to be read of the blob ends; more than its frame may lie before that.
    pub end: u64,
    /// Where it goes in the file.
    pub at: u64,
    /// Its bytes.
    pub size: u64,
    /// Its digest: a file of one chunk may have the file's only.
    pub digest: Option<Digest>,
    /// It is all zeros, and nowhere in the blob.
    pub zeros: bool,
}

/// One entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub(in crate::storage) entry: Entry,
    /// Digest of a file's content.
    pub digest: Option<Digest>,
    /// A file's content, in order and without gaps.
    pub chunks: Vec<Chunk>,
}

impl Item {
    /// Its clean path.
    pub fn path(&self) -> &[u8] {
        &self.entry.path
    }

    /// Bytes of a file.
    pub fn size(&self) -> u64 {
        self.entry.size
    }

    /// Permissions, with set-id bits.
    pub fn mode(&self) -> u32 {
        self.entry.mode
    }

    /// When it was modified: seconds since 1970, and nanoseconds.
    pub fn modified(&self) -> (i64, u32) {
        (self.entry.mtime, self.entry.nsec)
    }

    /// The value of an extended attribute.
    pub fn attribute(&self, name: &[u8]) -> Option<&[u8]> {
        let mut all = self.entry.xattrs.iter();
        all.find(|(n, _)| n == name)
            .map(|(_, value)| value.as_slice())
    }
}

/// Which of the two forms a table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// zstd:chunked: frames of zstd, that end where the table says.
    Zstd,
    /// eStargz: members of gzip.
    Stargz,
}

/// A layer's table of contents.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its form.
    pub form: Form,
    /// The entries in the archive's order.
    pub items: Vec<Item>,
    /// Where the archive's part of the blob ends and the table begins.
    pub end: u64,
}

/// Where a layer's table is, as its descriptor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// zstd:chunked.
    Zstd {
        /// Where it begins.
        offset: u64,
        /// Its bytes, compressed.
        packed: u64,
        /// And not.
        plain: u64,
        /// Digest of it, compressed.
        digest: Digest,
    },
    /// eStargz: the blob's last bytes tell.
    Stargz {
        /// Digest of it, not compressed.
        digest: Digest,
    },
}

fn bad(why: &str) -> Error {
    Error::new(
        Failure::Corrupt,
        format!("the layer's table of contents {why}"),
    )
}

/// Where the table of a layer of `size` bytes is; `None` for a layer without one.
///
/// # Errors
/// `Corrupt` for malformed annotations.
pub fn locate(annotations: &Annotations, size: u64) -> Result<Option<Place>> {
    if let (Some(position), Some(digest)) = (
        annotations.get(ZSTD_POSITION),
        annotations.get(ZSTD_CHECKSUM),
    ) {
        let numbers: Option<Vec<u64>> = position.split(':').map(|n| n.parse().ok()).collect();
        let Some([offset, packed, plain, kind]) = numbers.as_deref() else {
            return Err(bad("has a malformed position"));
        };
        if *kind != KIND {
            return Ok(None);
        }
        if offset.checked_add(*packed).is_none_or(|end| end > size) {
            return Err(bad("lies outside of the layer"));
        }
        if *packed > PACKED || *plain > PLAIN {
            return Err(bad("is too large"));
        }
        return Ok(Some(Place::Zstd {
            offset: *offset,
            packed: *packed,
            plain: *plain,
            digest: digest.parse()?,
        }));
    }
    Ok(match annotations.get(STARGZ_DIGEST) {
        Some(digest) if size > STARGZ_FOOTER => Some(Place::Stargz {
            digest: digest.parse()?,
        }),
        _ => None,
    })
}

impl Place {
    /// Reads the table of a blob of `size` bytes; `fetch` gives so many bytes from an offset on.
    ///
    /// # Errors
    /// `Corrupt` when it is another than the descriptor says, malformed, or says what cannot be;
    /// `Unsupported` for forms of files that we do not fetch one by one; what `fetch` says.
    pub fn read(
        &self,
        size: u64,
        fetch: &mut dyn FnMut(u64, u64) -> Result<Vec<u8>>,
    ) -> Result<Table> {
        match self {
            Self::Zstd {
                offset,
                packed,
                plain,
                digest,
            } => {
                let bytes = fetch(*offset, *packed)?;
                verify(&bytes, digest)?;
                let decoder = zstd::stream::read::Decoder::new(&bytes[..])
                    .what_kind(Failure::Corrupt, || "cannot start zstd")?;
                let text = bounded(decoder, *plain)?;
                Table::parse(&text, Form::Zstd, offset.saturating_sub(8))
            }
            Self::Stargz { digest } => {
                let footer = fetch(size - STARGZ_FOOTER, STARGZ_FOOTER)?;
                let offset = stargz_offset(&footer)
                    .filter(|offset| *offset < size - STARGZ_FOOTER)
                    .ok_or_else(|| bad("is not where eStargz has it"))?;
                let packed = size - STARGZ_FOOTER - offset;
                if packed > PACKED {
                    return Err(bad("is too large"));
                }
                let bytes = fetch(offset, packed)?;
                let archive = bounded(flate2::bufread::MultiGzDecoder::new(&bytes[..]), PLAIN)?;
                let mut reader = Reader::new(&archive[..]);
                let entry = reader
                    .next()?
                    .filter(|e| e.path == STARGZ_NAME.as_bytes() && e.sparse.is_none())
                    .ok_or_else(|| bad("is not where eStargz has it"))?;
                let mut text = Vec::new();
                while (text.len() as u64) < entry.size {
                    let piece = reader.data()?;
                    let n = piece.len();
                    text.extend_from_slice(piece);
                    reader.consume(n);
                }
                verify(&text, digest)?;
                Table::parse(&text, Form::Stargz, offset)
            }
        }
    }
}

impl Place {
    /// As [`Place::read`], with the bytes that [`Place::read_kept`] needs to read it again.
    ///
    /// # Errors
    /// As [`Place::read`].
    pub fn read_keeping(
        &self,
        size: u64,
        fetch: &mut dyn FnMut(u64, u64) -> Result<Vec<u8>>,
    ) -> Result<(Table, Vec<u8>)> {
        let mut kept = Vec::new();
        let table = self.read(size, &mut |offset, length| {
            let bytes = fetch(offset, length)?;
            // The footer is fetched first, and lies behind the table.
            kept.splice(0..0, bytes.iter().copied());
            Ok(bytes)
        })?;
        Ok((table, kept))
    }

    /// Reads the table out of what [`Place::read_keeping`] gave.
    ///
    /// # Errors
    /// As [`Place::read`].
    pub fn read_kept(&self, size: u64, kept: &[u8]) -> Result<Table> {
        self.read(size, &mut |offset, length| {
            let start = match self {
                Self::Stargz { .. } if offset == size - STARGZ_FOOTER => {
                    (kept.len() as u64).saturating_sub(length)
                }
                _ => 0,
            };
            let start = usize::try_from(start).unwrap_or(usize::MAX);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            kept.get(start..start.saturating_add(length))
                .map(<[u8]>::to_vec)
                .ok_or_else(|| bad("is cut"))
        })
    }
}

fn verify(bytes: &[u8], wanted: &Digest) -> Result<()> {
    let found = Digest::of(wanted.algorithm(), bytes);
    if found == *wanted {
        return Ok(());
    }
    Err(bad(&format!("has digest {found} in place of {wanted}")))
}

fn bounded(source: impl Read, limit: u64) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    source.take(limit + 1).read_to_end(&mut text).what_kind(
        Failure::Corrupt,
        || "cannot inflate the layer's table of contents",
    )?;
    if text.len() as u64 > limit {
        return Err(bad("is larger than it says"));
    }
    Ok(text)
}

fn stargz_offset(footer: &[u8]) -> Option<u64> {
    let field = footer.get(16..38)?;
    if footer.get(..4)? != [0x1f, 0x8b, 8, 4] || footer.get(12..14)? != b"SG" {
        return None;
    }
    let digits = field.strip_suffix(b"STARGZ")?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// `{"version":1,"entries":[…]}`, with a bound on the entries.
struct Lines;

impl<'de> Visitor<'de> for Lines {
    type Value = Vec<Line>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of contents")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Line>, A::Error> {
        let mut version = None;
        let mut lines = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "version" => version = Some(map.next_value::<u64>()?),
                "entries" => lines = Some(map.next_value::<Bounded>()?.0),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if version != Some(1) {
            return Err(serde::de::Error::custom("it has not version 1"));
        }
        lines.ok_or_else(|| serde::de::Error::custom("it has no entries"))
    }
}

struct Bounded(Vec<Line>);

impl<'de> serde::Deserialize<'de> for Bounded {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seq;
        impl<'de> Visitor<'de> for Seq {
            type Value = Bounded;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Bounded, A::Error> {
                let mut lines = Vec::new();
                while let Some(line) = seq.next_element::<Line>()? {
                    if lines.len() >= LINES {
                        return Err(serde::de::Error::custom("it has too many entries"));
                    }
                    lines.push(line);
                }
                Ok(Bounded(lines))
            }
        }
        deserializer.deserialize_seq(Seq)
    }
}

impl Table {
    fn parse(text: &[u8], form: Form, end: u64) -> Result<Self> {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let lines = deserializer
            .deserialize_map(Lines)
            .map_err(|e| bad("is malformed").because(e))?;
        let mut items: Vec<Item> = Vec::new();
        let mut total = 0_u64;
        for line in lines {
            if line.inner_offset > 0 {
                return Err(Error::unsupported(
                    "the layer packs several files into one member",
                ));
            }
            if line.kind == "chunk" {
                let last = items
                    .last_mut()
                    .filter(|i| i.entry.kind == Kind::File && !i.chunks.is_empty())
                    .ok_or_else(|| bad("continues a file that there is not"))?;
                let chunk = chunk(&line)?;
                last.chunks.push(chunk);
                continue;
            }
            let item = item(&line).map_err(|e| {
                let name: String = line.name.chars().take(200).collect();
                bad(&format!("has a bad entry {:?}", show(name.as_bytes()))).because(e.one_line())
            })?;
            total = total.saturating_add(item.entry.size);
            if total > BYTES {
                return Err(bad("has too many bytes"));
            }
            items.push(item);
        }
        // As for any stream: beyond the first GiB so many bytes for each of the blob.
        if total > GRACE + end.saturating_mul(Limits::default().ratio) {
            return Err(bad("describes a decompression bomb"));
        }
        if form == Form::Stargz {
            items.retain(|item| !super::write::is_own(&item.entry.path));
        }
        close(&mut items, form, end)?;
        Ok(Self { form, items, end })
    }
}

fn chunk(line: &Line) -> Result<Chunk> {
    let zeros = match line.chunk_type.as_str() {
        "" => false,
        "zeros" => true,
        _ => return Err(bad("has chunks of an unknown kind")),
    };
    Ok(Chunk {
        offset: line.offset,
        end: line.end_offset,
        at: line.chunk_offset,
        size: line.chunk_size,
        digest: match line.chunk_digest.as_str() {
            "" => None,
            text => Some(text.parse()?),
        },
        zeros,
    })
}

fn item(line: &Line) -> Result<Item> {
    let kind = match line.kind.as_str() {
        "reg" => Kind::File,
        "hardlink" => Kind::HardLink,
        "symlink" => Kind::Symlink,
        "char" => Kind::Char,
        "block" => Kind::Block,
        "dir" => Kind::Dir,
        "fifo" => Kind::Fifo,
        _ => return Err(Error::invalid("it has an unknown type")),
    };
    let path = clean(line.name.as_bytes())?;
    if path.is_empty() && kind != Kind::Dir {
        return Err(Error::invalid("it names the root, but is no folder"));
    }
    let number = |n: u64| u32::try_from(n).map_err(|_| Error::invalid("a number is too large"));
    let mut entry = Entry {
        mode: number(line.mode)? & 0o7777,
        uid: number(line.uid)?,
        gid: number(line.gid)?,
        device: (number(line.dev_major)?, number(line.dev_minor)?),
        ..Entry::new(&path, kind)
    };
    if let Some(text) = line.modified.as_deref().filter(|t| !t.is_empty()) {
        // Go's zero time is what no archive says.
        let time = Timestamp::parse_rfc3339(text).unwrap_or_default();
        entry.mtime = time.seconds();
        entry.nsec = u32::try_from(time.0.rem_euclid(1_000_000_000)).unwrap_or(0);
    }
    entry.link = match kind {
        Kind::HardLink => clean(line.link_name.as_bytes())?,
        Kind::Symlink => {
            let link = line.link_name.as_bytes();
            if link.is_empty() || link.len() > PATH_MAX || link.contains(&0) {
                return Err(Error::invalid("it is a link to nothing"));
            }
            link.to_vec()
        }
        _ => Vec::new(),
    };
    for (name, value) in line.xattrs.iter().flatten() {
        let value = STANDARD
            .decode(value)
            .map_err(|e| Error::invalid("an attribute is no base64").because(e))?;
        if name.is_empty() || name.len() > 255 || name.contains('\0') || value.len() > XATTR {
            return Err(Error::invalid("an attribute is too large"));
        }
        entry.xattrs.push((name.as_bytes().to_vec(), value));
    }
    let mut chunks = Vec::new();
    if kind == Kind::File {
        entry.size = line.size;
        if line.size > 0 {
            chunks.push(chunk(line)?);
        }
    }
    Ok(Item {
        entry,
        digest: match line.digest.as_str() {
            "" => None,
            text if kind == Kind::File => Some(text.parse()?),
            _ => None,
        },
        chunks,
    })
}

/// Fills in what the formats leave out, and checks that each file is whole and lies in the blob.
fn close(items: &mut [Item], form: Form, end: u64) -> Result<()> {
    let mut next = end;
    for item in items.iter_mut().rev() {
        let size = item.entry.size;
        let mut behind = size;
        for chunk in item.chunks.iter_mut().rev() {
            let wrong = || bad("has a file with gaps, or one that lies outside of the layer");
            // The last one's size may be left out, and the only one's.
            if chunk.at >= behind {
                return Err(wrong());
            }
            if chunk.size == 0 {
                chunk.size = behind - chunk.at;
            }
            if chunk.at.checked_add(chunk.size) != Some(behind) {
                return Err(wrong());
            }
            behind = chunk.at;
            if chunk.zeros {
                continue;
            }
            if form == Form::Stargz {
                chunk.end = next;
            }
            if chunk.offset >= chunk.end || chunk.end > next {
                return Err(wrong());
            }
            next = chunk.offset;
        }
        if behind != 0 {
            return Err(bad("has a file with gaps"));
        }
        if let [only] = &mut item.chunks[..]
            && only.digest.is_none()
        {
            only.digest.clone_from(&item.digest);
        }
        if item.chunks.iter().any(|c| c.digest.is_none() && !c.zeros) && item.digest.is_none() {
            return Err(bad("has a file without a digest"));
        }
    }
    Ok(())
}

/// Inflates a chunk out of the bytes that lie between its `offset` and its `end`, and verifies it.
///
/// # Errors
/// `Corrupt` when it is another content than the table says.
pub fn inflate(
    form: Form,
    chunk: &Chunk,
    packed: impl Read,
    sink: &mut dyn io::Write,
) -> Result<()> {
    let algorithm = chunk
        .digest
        .as_ref()
        .map_or(Algorithm::Sha256, Digest::algorithm);
    let mut hasher = Hasher::new(algorithm);
    let mut source: Box<dyn Read + '_> = match form {
        Form::Zstd => {
            Box::new(zstd::stream::read::Decoder::new(packed).what(|| "cannot start zstd")?)
        }
        Form::Stargz => Box::new(flate2::read::MultiGzDecoder::new(packed)),
    };
    let mut buffer = vec![0_u8; 128 << 10];
    let mut left = chunk.size;
    while left > 0 {
        let most = usize::try_from(left).map_or(buffer.len(), |l| l.min(buffer.len()));
        let n = match source.read(&mut buffer[..most]) {
            Ok(0) => return Err(Error::new(Failure::Corrupt, "a part of a file ends early")),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => {
                return Err(crate::storage::tar::read::from_io(
                    e,
                    "cannot read a part of a file",
                ));
            }
        };
        hasher.update(&buffer[..n]);
        sink.write_all(&buffer[..n])
            .map_err(crate::storage::blob::full)?;
        left -= n as u64;
    }
    match &chunk.digest {
        Some(wanted) if hasher.finish() != *wanted => Err(Error::new(
            Failure::Corrupt,
            "a part of a file has another content than the table of contents says",
        )),
        _ => Ok(()),
    }
}
