//! Layers on their way into the store: several downloads at once, unpacked in the order of the
//! chain while they come.
//!
//! A download writes the partial blob; the unpacking reads that very file behind it. So a cut and
//! resumed line is invisible to the unpacking, neither waits for the other longer than it must,
//! and nothing is kept in memory.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::partial::Parts;
use crate::base::progress::Progress;
use crate::base::{Context as _, Error, Kind, Result};
use crate::image::LayerRecord;
use crate::operations::session::Session;
use crate::registry::fetch::Sink;
use crate::spec::manifest::Descriptor;
use crate::storage::Store;
use crate::storage::blob::{BlobWriter, Claim};
use crate::storage::layer::{Limits, Unpack};

/// Downloads at once.
pub(super) const LANES: usize = 3;

/// No file says more than this.
const MOST: usize = 32;

/// How many layers the configuration lets be copied at once.
pub(super) fn lanes(session: &Session) -> usize {
    let wish = session.options.lanes.and_then(|n| usize::try_from(n).ok());
    wish.unwrap_or(LANES).min(MOST)
}

/// Where blobs come from.
pub trait Source: Sync {
    /// Brings a blob into `sink`, from where it stands to its end.
    ///
    /// # Errors
    /// What the source says.
    fn fetch(&self, blob: &Descriptor, sink: &mut dyn Sink) -> Result<()>;

    /// The layers that come in parts.
    fn parts(&self) -> Option<&Parts> {
        None
    }

    /// Gives parts of a blob, (offset, length), one behind the other.
    fn ranges<'a>(
        &'a self,
        _layer: &'a LayerRecord,
        _ranges: Vec<(u64, u64)>,
    ) -> Box<dyn Read + Send + 'a> {
        Box::new(io::empty())
    }

    /// How many are brought at once.
    fn lanes(&self) -> usize {
        LANES
    }
}

/// How far one layer is.
#[derive(Default)]
struct Lane {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The blob or its beginning, once there is something to read.
    file: Option<File>,
    /// Bytes that may be read.
    written: u64,
    /// Whether the blob is complete and verified, or will never be.
    end: Option<Result<()>>,
}

impl Lane {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a blob while it is written.
struct Follow<'a> {
    lane: &'a Lane,
    file: File,
    position: u64,
}

impl Read for Follow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.lane.state();
        loop {
            let there = state.written.saturating_sub(self.position);
            if there > 0 {
                drop(state);
                let most = usize::try_from(there).unwrap_or(usize::MAX);
                let most = most.min(buffer.len());
                let n = self.file.read_at(&mut buffer[..most], self.position)?;
                if n == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.position += n as u64;
                return Ok(n);
            }
            match &state.end {
                Some(Ok(())) => return Ok(0),
                Some(Err(_)) => return Err(io::Error::other("the download failed")),
                None => state = self.lane.wait(state),
            }
        }
    }
}

/// Writes a blob, tells those who follow, and stops when the pull is given up.
struct Writing<'a> {
    writer: &'a mut BlobWriter,
    lane: &'a Lane,
    stop: &'a AtomicBool,
    progress: &'a dyn Progress,
    key: &'a str,
    label: &'a str,
    total: u64,
}

impl Sink for Writing<'_> {
    fn offset(&self) -> u64 {
        self.writer.resume_offset()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Interrupted, "the pull was given up"));
        }
        self.writer.write(bytes)?;
        let written = self.writer.resume_offset();
        self.lane.change(|s| s.written = written);
        self.progress
            .update(self.key, self.label, written, self.total);
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.lane.change(|s| s.written = 0);
        self.writer.restart()
    }
}

/// A blob on its way into the store, without anybody who follows.
struct Alone<'a>(&'a mut BlobWriter);

impl Sink for Alone<'_> {
    fn offset(&self) -> u64 {
        self.0.resume_offset()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write(bytes)
    }

    fn restart(&mut self) -> Result<()> {
        self.0.restart()
    }
}

/// Brings one blob here, unless it is here. Inside the user namespace.
///
/// # Errors
/// `Corrupt` for another digest; what the source or the disk says.
pub fn blob(store: &Store, wanted: &Descriptor, source: &dyn Source) -> Result<()> {
    match store.blobs().writer(&wanted.digest, Some(wanted.size))? {
        Claim::Present => Ok(()),
        Claim::Write(mut writer) => {
            source.fetch(wanted, &mut Alone(&mut writer))?;
            writer.finish()
        }
    }
}

/// Brings the blobs of `layers` here and unpacks what is not unpacked yet. Inside the user
/// namespace; all threads have ended when this returns.
///
/// # Errors
/// `Corrupt` for wrong digests or a hostile tar; what the source or the disk says. Complete blobs
/// and layers stay, and so do partial blobs: the next try goes on from there.
pub fn layers(
    store: &Store,
    layers: &[LayerRecord],
    source: &dyn Source,
    progress: &dyn Progress,
) -> Result<()> {
    let resumed = AtomicBool::new(false);
    match attempt(store, layers, source, progress, &resumed) {
        // What an earlier process left may have been torn by a power cut: once more, from scratch.
        Err(e) if e.kind() == Kind::Corrupt && resumed.load(Ordering::Relaxed) => {
            attempt(store, layers, source, progress, &AtomicBool::new(false))
        }
        other => other,
    }
}

fn attempt(
    store: &Store,
    layers: &[LayerRecord],
    source: &dyn Source,
    progress: &dyn Progress,
    resumed: &AtomicBool,
) -> Result<()> {
    let lanes: Vec<Lane> = layers.iter().map(|_| Lane::default()).collect();
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let download = || {
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(layer), Some(lane)) = (layers.get(at), lanes.get(at)) else {
                break;
            };
            let end = bring(store, layer, lane, source, progress, &stop, resumed);
            if end.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            lane.change(|s| s.end = Some(end));
        }
        // Whoever follows a layer that nobody will bring must not wait for ever. A download that
        // still runs writes its own end later.
        if stop.load(Ordering::Relaxed) {
            for lane in &lanes {
                lane.change(|s| {
                    s.end.get_or_insert_with(|| Err(given_up()));
                });
            }
        }
    };
    let unpacked = std::thread::scope(|scope| {
        for _ in 0..source.lanes().min(layers.len()) {
            scope.spawn(download);
        }
        let unpacked = unpack_all(store, layers, &lanes, &stop, (source, progress));
        if unpacked.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        unpacked
    });
    // A failed download is why the unpacking failed, not the other way round.
    for lane in &lanes {
        let end = lane.state().end.take();
        if let Some(Err(e)) = end
            && e.kind() != Kind::Interrupted
        {
            return Err(e);
        }
    }
    unpacked
}

/// Brings one blob here.
fn bring(
    store: &Store,
    layer: &LayerRecord,
    lane: &Lane,
    source: &dyn Source,
    progress: &dyn Progress,
    stop: &AtomicBool,
    resumed: &AtomicBool,
) -> Result<()> {
    let key = layer.digest.to_string();
    let label = format!("Copying blob {}", layer.digest.short());
    if source
        .parts()
        .is_some_and(|parts| parts.of(layer).is_some())
    {
        // Unpacking fetches it.
        return Ok(());
    }
    if store.layers().has_recipe(&layer.chain_id) {
        progress.finish(&key, &label, "already exists");
        return Ok(());
    }
    match store.blobs().writer(&layer.digest, Some(layer.size))? {
        Claim::Present => {
            let file = store.blobs().open(&layer.digest)?;
            let length = file.metadata().what(|| "cannot read a blob")?.len();
            lane.change(|s| {
                s.file = Some(file);
                s.written = length;
            });
            let outcome = if store.layers().has(&layer.chain_id) {
                "already exists"
            } else {
                "is here"
            };
            progress.finish(&key, &label, outcome);
        }
        Claim::Write(mut writer) => {
            let start = writer.resume_offset();
            if start > 0 {
                resumed.store(true, Ordering::Relaxed);
            }
            let file = writer.reader()?;
            lane.change(|s| {
                s.file = Some(file);
                s.written = start;
            });
            progress.update(&key, &label, start, layer.size);
            let descriptor =
                Descriptor::new(layer.media_type.clone(), layer.digest.clone(), layer.size);
            source.fetch(
                &descriptor,
                &mut Writing {
                    writer: &mut writer,
                    lane,
                    stop,
                    progress,
                    key: &key,
                    label: &label,
                    total: layer.size,
                },
            )?;
            writer.finish()?;
            progress.finish(&key, &label, "done");
        }
    }
    Ok(())
}

fn unpack_all(
    store: &Store,
    layers: &[LayerRecord],
    lanes: &[Lane],
    stop: &AtomicBool,
    (source, progress): (&dyn Source, &dyn Progress),
) -> Result<()> {
    let mut parent = None;
    for (at, (layer, lane)) in layers.iter().zip(lanes).enumerate() {
        let parts = source.parts().filter(|parts| parts.of(layer).is_some());
        if let (Some(parts), false) = (parts, store.layers().has(&layer.chain_id)) {
            let mut blob = |ranges| source.ranges(layer, ranges);
            parts
                .unpack(store, (layer, parent), &mut blob, progress)
                .what(|| format!("cannot unpack layer {} ({})", at + 1, layer.digest.short()))?;
        } else if !store.layers().has(&layer.chain_id) {
            let mut state = lane.state();
            let file = loop {
                if let Some(file) = state.file.take() {
                    break file;
                }
                if state.end.is_some() || stop.load(Ordering::Relaxed) {
                    return Err(given_up());
                }
                state = lane.wait(state);
            };
            drop(state);
            store
                .layers()
                .unpack(
                    &Unpack {
                        parent,
                        diff_id: Some(&layer.diff_id),
                        limits: Limits::default(),
                    },
                    Follow {
                        lane,
                        file,
                        position: 0,
                    },
                )
                .what(|| format!("cannot unpack layer {} ({})", at + 1, layer.digest.short()))?;
        }
        parent = Some(&layer.chain_id);
    }
    for lane in lanes {
        let mut state = lane.state();
        while state.end.is_none() {
            if stop.load(Ordering::Relaxed) {
                return Err(given_up());
            }
            state = lane.wait(state);
        }
    }
    Ok(())
}

fn given_up() -> Error {
    Error::new(Kind::Interrupted, "a download failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_sees_every_byte_once_and_the_end_only_when_it_is_verified() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"").unwrap();
        let lane = Lane::default();
        let mut follow = Follow {
            lane: &lane,
            file: File::open(&path).unwrap(),
            position: 0,
        };
        let content: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        let read = std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut bytes = Vec::new();
                follow.read_to_end(&mut bytes).map(|_| bytes)
            });
            let mut writer = std::fs::OpenOptions::new()
                .append(true)
                .open(&path)
                .unwrap();
            for (n, piece) in content.chunks(10_000).enumerate() {
                std::io::Write::write_all(&mut writer, piece).unwrap();
                lane.change(|s| s.written = (n * 10_000 + piece.len()) as u64);
            }
            lane.change(|s| s.end = Some(Ok(())));
            reader.join().unwrap()
        });
        assert_eq!(read.unwrap(), content);
        let failed = Lane::default();
        failed.change(|s| s.end = Some(Err(given_up())));
        let mut follow = Follow {
            lane: &failed,
            file: File::open(&path).unwrap(),
            position: 0,
        };
        assert!(follow.read(&mut [0; 8]).is_err());
    }
}
