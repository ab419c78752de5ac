//! Compression: what comes is recognised by its first bytes, inflated and hashed in one pass; what
//! goes is deflated and hashed before and after in one pass.
//!
//! Memory is bounded whatever the stream asks for: gzip and bzip2 need little by nature, zstd is
//! held to its default window (128 MiB), xz to [`XZ_MEMORY`].

use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use sha2::{Digest as _, Sha256};

use super::blob::Hasher;
use super::tar::read::from_io;
use crate::base::{Error, Kind, Result};
use crate::spec::digest::{Algorithm, Digest};
use crate::spec::manifest::Compression as Found;

/// How a layer is to be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, level 1 to 9.
    Gzip(u32),
    /// zstd, level 1 to 19.
    Zstd(i32),
}

/// Inflates gzip, zstd, bzip2, xz or plain bytes and hashes what comes out.
pub struct Decoder<'a, B: BufRead = Box<dyn BufRead + Send + 'a>> {
    inner: Inner<'a, B>,
    compression: Found,
    hasher: Hasher,
    out: u64,
}

enum Inner<'a, B: BufRead> {
    Plain(Counted<B>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<Counted<B>>>),
    Zstd(Box<zstd::stream::read::Decoder<'a, Counted<B>>>),
    Bzip2(Box<bzip2::bufread::MultiBzDecoder<Counted<B>>>),
    Xz(Box<lzma_rust2::XzReader<Counted<B>>>),
}

/// Counts what was taken from the compressed stream.
struct Counted<B> {
    inner: B,
    count: u64,
}

impl<B: BufRead> Read for Counted<B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count += n as u64;
        Ok(n)
    }
}

impl<B: BufRead> BufRead for Counted<B> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.count += n as u64;
        self.inner.consume(n);
    }
}

/// Takes the first bytes of a stream and recognises it by them.
fn sniff(stream: &mut dyn Read) -> Result<(Vec<u8>, Found)> {
    // A pipe may give less than a magic number at once.
    let mut head = Vec::with_capacity(Found::MAGIC);
    stream
        .take(Found::MAGIC as u64)
        .read_to_end(&mut head)
        .map_err(|e| from_io(e, "cannot read the compressed stream"))?;
    let compression = Found::sniff(&head);
    Ok((head, compression))
}

/// KiB that an xz stream may need: four times the largest preset (`xz -9`).
const XZ_MEMORY: u32 = 256 << 10;

/// Bytes read from the stream at once.
const INPUT: usize = 128 << 10;

impl<'a> Decoder<'a> {
    /// Looks at the first bytes of `stream`; hashes by `algorithm`.
    ///
    /// # Errors
    /// What the stream says.
    pub fn new<R: Read + Send + 'a>(mut stream: R, algorithm: Algorithm) -> Result<Self> {
        let (head, compression) = sniff(&mut stream)?;
        let stream = io::Cursor::new(head).chain(BufReader::with_capacity(INPUT, stream));
        Self::over(Box::new(stream), compression, algorithm)
    }
}

impl<'a> Decoder<'a, Box<dyn BufRead + 'a>> {
    /// As [`Decoder::new`], for a stream that stays in its thread.
    ///
    /// # Errors
    /// As [`Decoder::new`].
    pub fn local<R: Read + 'a>(mut stream: R, algorithm: Algorithm) -> Result<Self> {
        let (head, compression) = sniff(&mut stream)?;
        let stream = io::Cursor::new(head).chain(BufReader::with_capacity(INPUT, stream));
        Self::over(Box::new(stream), compression, algorithm)
    }
}

impl<B: BufRead> Decoder<'_, B> {
    fn over(inner: B, compression: Found, algorithm: Algorithm) -> Result<Self> {
        let source = Counted { inner, count: 0 };
        let inner = match compression {
            Found::None => Inner::Plain(source),
            Found::Gzip => Inner::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(source))),
            Found::Zstd => Inner::Zstd(Box::new(
                zstd::stream::read::Decoder::with_buffer(source)
                    .map_err(|e| from_io(e, "cannot start zstd"))?,
            )),
            Found::Bzip2 => Inner::Bzip2(Box::new(bzip2::bufread::MultiBzDecoder::new(source))),
            Found::Xz => Inner::Xz(Box::new(lzma_rust2::XzReader::new_mem_limit(
                source, true, XZ_MEMORY,
            ))),
        };
        Ok(Self {
            inner,
            compression,
            hasher: Hasher::new(algorithm),
            out: 0,
        })
    }

    /// What was recognised.
    pub fn compression(&self) -> Found {
        self.compression
    }

    /// Whether more than `ratio` bytes came out for each compressed one, beyond the first GiB.
    ///
    /// # Errors
    /// `Invalid` when they did.
    pub fn check_ratio(&self, ratio: u64) -> Result<()> {
        const GRACE: u64 = 1 << 30;
        let (taken, given) = self.counts();
        if given <= GRACE || given - GRACE <= taken.saturating_mul(ratio) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "the {} stream inflates to more than {ratio} times its size: refused as a \
             decompression bomb",
            self.compression.name()
        )))
    }

    /// Bytes taken from the compressed stream and bytes given.
    pub fn counts(&self) -> (u64, u64) {
        let source = match &self.inner {
            Inner::Plain(s) => s,
            Inner::Gzip(d) => d.get_ref(),
            Inner::Zstd(d) => d.get_ref(),
            Inner::Bzip2(d) => d.get_ref(),
            Inner::Xz(d) => d.inner(),
        };
        (source.count, self.out)
    }

    /// The digest of all bytes given: the diff id, once the end was read.
    pub fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

impl<B: BufRead> Read for Decoder<'_, B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = match &mut self.inner {
            Inner::Plain(s) => s.read(buffer),
            Inner::Gzip(d) => d.read(buffer),
            Inner::Zstd(d) => d.read(buffer),
            Inner::Bzip2(d) => d.read(buffer),
            Inner::Xz(d) => d.read(buffer),
        }
        .map_err(|e| damaged(e, self.compression))?;
        self.hasher.update(&buffer[..n]);
        self.out += n as u64;
        Ok(n)
    }
}

impl<B: BufRead> std::fmt::Debug for Decoder<'_, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("compression", &self.compression)
            .field("out", &self.out)
            .finish_non_exhaustive()
    }
}

/// Bytes of a piece handed from the inflating thread, and how many may wait.
const PIECE: usize = 256 << 10;
const PIECES: usize = 8;

/// The receiving end of [`decoded`].
#[derive(Debug)]
pub struct Pieces {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(buffer.len());
        buffer[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.piece.len() && !self.ended {
            let used = std::mem::take(&mut self.piece);
            self.at = 0;
            if used.capacity() > 0 {
                // The thread may have ended meanwhile: then nobody wants it.
                drop(self.empty.send(used));
            }
            match self.full.recv() {
                Ok(piece) => self.piece = piece?,
                Err(_) => self.ended = true,
            }
        }
        Ok(&self.piece[self.at..])
    }

    fn consume(&mut self, n: usize) {
        self.at = (self.at + n).min(self.piece.len());
    }
}

/// Inflates and hashes `stream` in a thread of its own while `work` reads what comes out; returns
/// what `work` gave, and the digest of everything, also of what `work` did not read. `ratio` is
/// the limit of [`super::layer::Limits`].
///
/// # Errors
/// What `work` or the stream says; `Invalid` for a stream that inflates beyond `ratio`.
pub(super) fn decoded<R, T>(
    stream: R,
    (algorithm, ratio): (Algorithm, u64),
    work: impl FnOnce(&mut Pieces) -> Result<T>,
) -> Result<(T, Digest)>
where
    R: Read + Send,
{
    let (full_in, full) = sync_channel(PIECES);
    let (empty, empty_out) = channel();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("inflate".to_owned())
            .spawn_scoped(scope, move || {
                inflate(stream, (algorithm, ratio), &full_in, &empty_out)
            })
            .map_err(|e| from_io(e, "cannot start a thread"))?;
        let mut pieces = Pieces {
            full,
            empty,
            piece: Vec::new(),
            at: 0,
            ended: false,
        };
        let outcome = work(&mut pieces).and_then(|value| {
            loop {
                let n = pieces
                    .fill_buf()
                    .map_err(|e| from_io(e, "cannot read the compressed stream"))?
                    .len();
                if n == 0 {
                    return Ok(value);
                }
                pieces.consume(n);
            }
        });
        // Closes the channel: a thread that still has pieces to give ends.
        drop(pieces);
        let digest = thread
            .join()
            .map_err(|_| Error::internal("the inflating thread panicked"))?;
        match (outcome, digest) {
            (Ok(value), Some(digest)) => Ok((value, digest)),
            (Ok(_), None) => Err(Error::internal("the inflating thread ended early")),
            (Err(e), _) => Err(e),
        }
    })
}

fn inflate<R: Read + Send>(
    stream: R,
    (algorithm, ratio): (Algorithm, u64),
    full: &SyncSender<io::Result<Vec<u8>>>,
    empty: &Receiver<Vec<u8>>,
) -> Option<Digest> {
    let mut decoder = match Decoder::new(stream, algorithm) {
        Ok(decoder) => decoder,
        Err(e) => {
            drop(full.send(Err(io::Error::other(e))));
            return None;
        }
    };
    loop {
        let mut piece = empty.try_recv().unwrap_or_default();
        piece.resize(PIECE, 0);
        let mut have = 0;
        let mut failure = None;
        while have < PIECE {
            match decoder.read(&mut piece[have..]) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    failure = Some(e);
                    break;
                }
            }
        }
        piece.truncate(have);
        if let Err(e) = decoder.check_ratio(ratio) {
            failure = Some(io::Error::other(e));
        }
        if have > 0 && full.send(Ok(piece)).is_err() {
            return None;
        }
        if let Some(failure) = failure {
            drop(full.send(Err(failure)));
            return None;
        }
        if have == 0 {
            return Some(decoder.finish());
        }
    }
}

/// What the codecs say about bad data has no errno: name it.
fn damaged(error: io::Error, compression: Found) -> io::Error {
    if compression == Found::None
        || error.kind() == io::ErrorKind::Interrupted
        || error.raw_os_error().is_some()
        || error
            .get_ref()
            .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Error>)
    {
        return error;
    }
    let name = compression.name();
    if error.kind() == io::ErrorKind::OutOfMemory {
        return io::Error::other(
            Error::unsupported(format!(
                "the {name} stream needs more than {} MiB of memory",
                XZ_MEMORY >> 10
            ))
            .hint("compress it with a smaller dictionary, or with zstd"),
        );
    }
    io::Error::other(
        Error::new(Kind::Corrupt, format!("the {name} stream is damaged")).because(error),
    )
}

/// What [`Encoder::finish`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded<W> {
    /// Digest of what was written to the encoder.
    pub diff_id: Digest,
    /// Its bytes.
    pub diff_size: u64,
    /// Digest of what came out.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// The sink.
    pub sink: W,
}

/// Deflates into a sink, hashing both sides. The same input gives the same output.
pub struct Encoder<W: Write> {
    inner: Deflater<W>,
    hasher: Sha256,
    written: u64,
}

enum Deflater<W: Write> {
    Plain(Hashed<W>),
    Gzip(Box<flate2::write::GzEncoder<Hashed<W>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Hashed<W>>>),
}

/// A sink that hashes and counts what goes through.
pub(super) struct Hashed<W> {
    sink: W,
    hasher: Sha256,
    written: u64,
}

impl<W> Hashed<W> {
    pub(super) fn new(sink: W) -> Self {
        Self {
            sink,
            hasher: Sha256::new(),
            written: 0,
        }
    }

    /// Bytes so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// The sink, the digest of what went into it, and how much.
    pub(super) fn finish(self) -> (W, Digest, u64) {
        let digest = Digest::from_sha256(self.hasher.finalize().as_ref());
        (self.sink, digest, self.written)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.sink.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl<W: Write> Encoder<W> {
    /// Writes to `sink`.
    ///
    /// # Errors
    /// `Invalid` for a level that does not exist.
    pub fn new(sink: W, compression: Compression) -> Result<Self> {
        let sink = Hashed::new(sink);
        let inner = match compression {
            Compression::None => Deflater::Plain(sink),
            Compression::Gzip(level @ 0..=9) => Deflater::Gzip(Box::new(
                flate2::write::GzEncoder::new(sink, flate2::Compression::new(level)),
            )),
            Compression::Zstd(level @ 1..=22) => Deflater::Zstd(Box::new(
                zstd::stream::write::Encoder::new(sink, level)
                    .map_err(|e| from_io(e, "cannot start zstd"))?,
            )),
            Compression::Gzip(level) => {
                return Err(Error::invalid(format!("gzip has no level {level}")));
            }
            Compression::Zstd(level) => {
                return Err(Error::invalid(format!("zstd has no level {level}")));
            }
        };
        Ok(Self {
            inner,
            hasher: Sha256::new(),
            written: 0,
        })
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// What the sink says.
    pub fn finish(self) -> Result<Encoded<W>> {
        let failed = |e| from_io(e, "cannot write the compressed stream");
        let mut out = match self.inner {
            Deflater::Plain(sink) => sink,
            Deflater::Gzip(encoder) => encoder.finish().map_err(failed)?,
            Deflater::Zstd(encoder) => encoder.finish().map_err(failed)?,
        };
        out.flush().map_err(failed)?;
        let (sink, digest, size) = out.finish();
        Ok(Encoded {
            diff_id: Digest::from_sha256(self.hasher.finalize().as_ref()),
            diff_size: self.written,
            digest,
            size,
            sink,
        })
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = match &mut self.inner {
            Deflater::Plain(sink) => sink.write(bytes)?,
            Deflater::Gzip(encoder) => encoder.write(bytes)?,
            Deflater::Zstd(encoder) => encoder.write(bytes)?,
        };
        self.hasher.update(&bytes[..n]);
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> std::fmt::Debug for Encoder<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Vec<u8> {
        b"some text, repeated. ".repeat(50_000)
    }

    #[test]
    fn every_compression_is_recognised_and_both_digests_are_right() {
        for compression in [
            Compression::None,
            Compression::Gzip(6),
            Compression::Zstd(3),
        ] {
            let mut encoder = Encoder::new(Vec::new(), compression).unwrap();
            encoder.write_all(&text()).unwrap();
            let encoded = encoder.finish().unwrap();
            assert_eq!(encoded.diff_id, Digest::sha256_of(&text()));
            assert_eq!(encoded.digest, Digest::sha256_of(&encoded.sink));
            assert_eq!(encoded.size, encoded.sink.len() as u64);
            let (got, digest) = decoded(&encoded.sink[..], (Algorithm::Sha256, 200), |pieces| {
                let mut got = Vec::new();
                pieces.take(100).read_to_end(&mut got).unwrap();
                Ok(got)
            })
            .unwrap();
            assert_eq!(got, text()[..100]);
            assert_eq!(digest, encoded.diff_id, "{compression:?}: all is hashed");
        }
    }

    #[test]
    fn a_reader_that_gives_up_early_ends_the_thread() {
        let zeros = io::repeat(0).take(1 << 30);
        let failed = decoded(zeros, (Algorithm::Sha256, 200), |_| {
            Err::<(), _>(Error::invalid("enough"))
        });
        assert_eq!(failed.unwrap_err().what(), "enough");
    }

    #[test]
    fn damaged_and_unknown_streams_are_named() {
        let mut gz = Encoder::new(Vec::new(), Compression::Gzip(6)).unwrap();
        gz.write_all(&text()).unwrap();
        let mut bytes = gz.finish().unwrap().sink;
        bytes.truncate(bytes.len() / 2);
        let failed = decoded(&bytes[..], (Algorithm::Sha256, 200), |_| Ok(())).unwrap_err();
        assert_eq!(failed.kind(), Kind::Corrupt, "{failed:?}");
        let failed = decoded(&b"BZh91AY"[..], (Algorithm::Sha256, 200), |_| Ok(())).unwrap_err();
        assert_eq!(failed.kind(), Kind::Corrupt, "{failed:?}");
    }

    fn bzip2_of(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(1));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn xz_of(bytes: &[u8], dictionary: u32) -> Vec<u8> {
        let mut options = lzma_rust2::XzOptions::with_preset(1);
        options.lzma_options.dict_size = dictionary;
        let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn bzip2_and_xz_are_read_in_one_or_several_streams_and_damage_is_noticed() {
        // What does not compress: damage then hits data, not only headers.
        let mut noise = Vec::new();
        let mut x = 1_u32;
        for _ in 0..3000 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.push((x >> 24) as u8);
        }
        for one in [bzip2_of(&noise), xz_of(&noise, 1 << 20)] {
            let two = [&one[..], &one[..]].concat();
            let (got, digest) = decoded(&two[..], (Algorithm::Sha256, 200), |pieces| {
                let mut got = Vec::new();
                pieces.read_to_end(&mut got).unwrap();
                Ok(got)
            })
            .unwrap();
            assert_eq!(got, [&noise[..], &noise[..]].concat());
            assert_eq!(digest, Digest::sha256_of(&got));
            let read = |bytes: &[u8]| decoded(bytes, (Algorithm::Sha256, 200), |_| Ok(()));
            // Every cut, and every byte turned over: an error or the content, never a panic.
            for at in 0..one.len() {
                if at > Found::MAGIC {
                    let failed = read(&one[..at]).unwrap_err();
                    assert_eq!(failed.kind(), Kind::Corrupt, "cut at {at}: {failed:?}");
                }
                let mut bent = one.clone();
                bent[at] ^= 0x55;
                match read(&bent) {
                    // Without its magic it is plain bytes.
                    Ok(((), digest)) => assert!(
                        at < Found::MAGIC || digest == Digest::sha256_of(&noise),
                        "byte {at}"
                    ),
                    Err(e) => assert!(
                        matches!(e.kind(), Kind::Corrupt | Kind::Unsupported),
                        "byte {at}: {e:?}"
                    ),
                }
            }
        }
    }

    #[test]
    fn an_xz_stream_with_a_giant_dictionary_is_refused() {
        let mut giant = xz_of(b"small", 1 << 20);
        // Stream header 12 bytes, then the block header: size, flags, filter 0x21, length 1, the
        // dictionary's size, padding, CRC32. 40 means 4 GiB.
        assert_eq!(giant[14..16], [0x21, 1]);
        giant[16] = 40;
        let length = (usize::from(giant[12]) + 1) * 4;
        let mut crc = flate2::Crc::new();
        crc.update(&giant[12..12 + length - 4]);
        giant[12 + length - 4..12 + length].copy_from_slice(&crc.sum().to_le_bytes());
        let failed = decoded(&giant[..], (Algorithm::Sha256, 200), |_| Ok(())).unwrap_err();
        assert_eq!(failed.kind(), Kind::Unsupported, "{failed:?}");
        assert!(failed.what().contains("256 MiB"), "{failed:?}");
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut zstd = Encoder::new(Vec::new(), Compression::Zstd(1)).unwrap();
        io::copy(&mut io::repeat(0).take(1400 << 20), &mut zstd).unwrap();
        let bytes = zstd.finish().unwrap().sink;
        let failed = decoded(&bytes[..], (Algorithm::Sha256, 200), |_| Ok(())).unwrap_err();
        assert_eq!(failed.kind(), Kind::Invalid, "{failed:?}");
    }
}
