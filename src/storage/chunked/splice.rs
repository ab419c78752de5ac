//! The archive of a zstd:chunked layer out of the parts of its blob that are not here yet and of
//! files that other layers have already.
//!
//! What comes out is the whole archive, headers and all, so its digest is verified as that of any
//! other layer: nothing is believed because a table says so. That is why eStargz layers are not
//! taken apart: their table does not say where a file's headers end.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use super::recipe::{Crc, Recipe, Written};
use super::table::{Form, Item, Table};
use crate::base::{Error, Kind as Failure, Result};
use crate::spec::digest::Digest;

/// A file is fetched rather than looked up when so few bytes of the blob make it.
const SMALL: u64 = 4 << 10;

/// A piece of the archive, in order.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// So many bytes of the blob, which are headers.
    Headers(u64),
    /// So many bytes of the blob, which are `size` bytes of a file's content.
    Fetched { packed: u64, size: u64 },
    /// The whole content of a file that is here.
    Local(usize),
    /// A file's content ends: item.
    End(usize),
}

/// What is fetched and what is taken from here.
#[derive(Clone, Debug)]
pub struct Plan {
    parts: VecDeque<Part>,
    /// The parts of the blob to fetch, (offset, length), ascending and not touching.
    pub ranges: Vec<(u64, u64)>,
    /// Bytes of the blob that are not fetched.
    pub saved: u64,
}

/// Plans; `have` says whether a file with that content and size is here. `None` when the layer
/// cannot be put together this way, or nothing is saved.
pub fn plan(table: &Table, have: &dyn Fn(&Digest, u64) -> bool) -> Option<Plan> {
    if table.form != Form::Zstd {
        return None;
    }
    // Whether an entry of that name had content.
    let mut names: HashMap<&[u8], bool> = HashMap::new();
    let mut plan = Plan {
        parts: VecDeque::new(),
        ranges: Vec::new(),
        saved: 0,
    };
    let mut at = 0;
    for (index, item) in table.items.iter().enumerate() {
        let content = !item.chunks.is_empty();
        if let Some(before) = names.insert(item.path(), content)
            && (before || content)
        {
            // The later one hides the earlier one's content, which the recipe would need.
            return None;
        }
        let (Some(first), Some(last)) = (item.chunks.first(), item.chunks.last()) else {
            continue;
        };
        if item.chunks.iter().any(|chunk| chunk.zeros) || item.whiteout() {
            return None;
        }
        plan.fetch(at, first.offset);
        plan.parts.push_back(Part::Headers(first.offset - at));
        at = last.end;
        let packed = last.end - first.offset;
        let local = item
            .digest
            .as_ref()
            .is_some_and(|digest| packed > SMALL && have(digest, item.size()));
        if local {
            plan.parts.push_back(Part::Local(index));
            plan.saved += packed;
        } else {
            plan.fetch(first.offset, last.end);
            let mut from = first.offset;
            for chunk in &item.chunks {
                if chunk.offset != from {
                    return None;
                }
                from = chunk.end;
                plan.parts.push_back(Part::Fetched {
                    packed: chunk.end - chunk.offset,
                    size: chunk.size,
                });
            }
        }
        plan.parts.push_back(Part::End(index));
    }
    plan.fetch(at, table.end);
    plan.parts
        .push_back(Part::Headers(table.end.checked_sub(at)?));
    (plan.saved > 0).then_some(plan)
}

impl Plan {
    fn fetch(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        match self.ranges.last_mut() {
            Some((start, length)) if *start + *length == from => *length += to - from,
            _ => self.ranges.push((from, to - from)),
        }
    }

    /// Bytes to fetch.
    pub fn fetched(&self) -> u64 {
        self.ranges.iter().map(|(_, length)| length).sum()
    }
}

impl Item {
    fn whiteout(&self) -> bool {
        let name = self.entry.path.rsplit(|b| *b == b'/').next();
        name.is_some_and(|name| name.starts_with(b".wh."))
    }
}

/// Opens a file that is here already and has an entry's content.
type Opener<'a> = Box<dyn FnMut(&Item) -> Result<File> + Send + 'a>;

/// Reads the archive that a [`Plan`] describes.
pub struct Splice<'a, R> {
    table: &'a Table,
    parts: VecDeque<Part>,
    /// The planned ranges, one behind the other.
    blob: R,
    open: Opener<'a>,
    now: Now,
    recipe: Recipe,
    crc: Crc,
    done: Done,
}

/// Where the recipe is, once all of the archive was read.
pub type Done = Arc<Mutex<Option<Written>>>;

enum Now {
    /// Between parts.
    Idle,
    /// Inflated already; whether it is headers.
    Bytes(io::Cursor<Vec<u8>>, bool),
    File(File, u64),
}

/// Frames of headers between two files are no larger than this, inflated.
const HEADERS: u64 = 64 << 20;
/// Nor is a piece of a file.
const PIECE: u64 = 64 << 20;

impl<'a, R: Read> Splice<'a, R> {
    /// `blob` gives the plan's ranges, `open` a file with an item's content.
    pub fn new(
        table: &'a Table,
        plan: Plan,
        blob: R,
        open: impl FnMut(&Item) -> Result<File> + Send + 'a,
    ) -> Self {
        Self {
            table,
            parts: plan.parts,
            blob,
            open: Box::new(open),
            now: Now::Idle,
            recipe: Recipe::default(),
            crc: Crc::default(),
            done: Done::default(),
        }
    }

    /// Where what gives the archive back later will be.
    pub fn done(&self) -> Done {
        Arc::clone(&self.done)
    }

    fn advance(&mut self) -> Result<bool> {
        let Some(part) = self.parts.pop_front() else {
            let recipe = std::mem::take(&mut self.recipe).finish()?;
            if let Ok(mut done) = self.done.lock()
                && done.is_none()
            {
                *done = recipe;
            }
            return Ok(false);
        };
        let item = |index: usize| {
            self.table
                .items
                .get(index)
                .ok_or_else(|| Error::internal("no such file"))
        };
        match part {
            Part::Headers(0) => {}
            Part::Headers(packed) => {
                let bytes = self.inflate(packed, None)?;
                self.recipe.segment(&bytes);
                self.now = Now::Bytes(io::Cursor::new(bytes), true);
            }
            Part::Fetched { packed, size } => {
                let bytes = self.inflate(packed, Some(size))?;
                self.now = Now::Bytes(io::Cursor::new(bytes), false);
            }
            Part::Local(index) => {
                let item = item(index)?;
                let size = item.size();
                self.now = Now::File((self.open)(item)?, size);
            }
            Part::End(index) => {
                let item = item(index)?;
                let name = String::from_utf8_lossy(item.path()).into_owned();
                let crc = std::mem::take(&mut self.crc).finish();
                self.recipe.file(&name, item.size(), crc);
            }
        }
        Ok(true)
    }

    /// So many bytes of the blob, which are whole frames.
    fn inflate(&mut self, packed: u64, size: Option<u64>) -> Result<Vec<u8>> {
        let limit = size.unwrap_or(HEADERS);
        if limit > PIECE {
            return Err(Error::unsupported(
                "a part of a file is too large to be fetched alone",
            ));
        }
        let mut source = (&mut self.blob).take(packed);
        let mut bytes = Vec::new();
        let decoder = zstd::stream::read::Decoder::new(&mut source);
        decoder
            .and_then(|d| d.take(limit + 1).read_to_end(&mut bytes))
            .map_err(|e| {
                crate::storage::tar::read::from_io(e, "cannot inflate a part of the layer")
            })?;
        let whole = size.map_or(bytes.len() as u64 <= limit, |size| {
            bytes.len() as u64 == size
        });
        if !whole || source.limit() > 0 {
            return Err(Error::new(
                Failure::Corrupt,
                "a part of the layer is not what its table of contents says",
            ));
        }
        Ok(bytes)
    }
}

impl<R: Read> Read for Splice<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.now {
                Now::Idle => {}
                Now::Bytes(bytes, headers) => {
                    let n = bytes.read(buffer)?;
                    if n > 0 {
                        if !*headers {
                            self.crc.update(&buffer[..n]);
                        }
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
                    self.crc.update(&buffer[..n]);
                    return Ok(n);
                }
            }
            self.now = Now::Idle;
            if !self.advance().map_err(io::Error::other)? {
                return Ok(0);
            }
        }
    }
}
