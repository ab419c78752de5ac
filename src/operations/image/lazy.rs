//! Images that start before they are here: `run --pull=lazy`.
//!
//! [`prepare`] makes trees out of tables of contents; a [`Filler`], in the process of the FUSE server,
//! fetches files when they are first opened, and the rest behind. A file is verified by the digests
//! in its layer's table, and the table by its digest in the manifest. The rest is the ordinary blob,
//! which resumes and is verified and unpacked as in any pull: then the layer is an ordinary one.

use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::partial::Fetch;
use super::policy::RegistryOptions;
use crate::base::progress::Silent;
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result, journald};
use crate::config::dirs::Dirs;
use crate::config::env::Env;
use crate::image::{ImageRecord, LayerRecord};
use crate::operations::session::Session;
use crate::overlay::Content;
use crate::registry::client::{Client, Settings};
use crate::registry::credentials::AuthFiles;
use crate::registry::fetch::Sink;
use crate::registry::registries_conf::Endpoint;
use crate::spec::digest::Digest;
use crate::spec::manifest::Descriptor;
use crate::spec::ondisk::{CAPABILITY, LAZY};
use crate::storage::Store;
use crate::storage::blob::{BlobWriter, Claim};
use crate::storage::chunked::table::{Chunk, Item, Table, inflate, locate};
use crate::storage::layer::lazy::Origin;
use crate::storage::layer::{Layers, Limits, Unpack};
use crate::sys::at;
use crate::sys::process::boot_id;

/// How long the fetching behind waits after a failure, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// A layer's failures are logged so often.
const QUIET: Duration = Duration::from_secs(5);

/// The log of failures, in the store.
pub const LOG: &str = "lazy.log";

/// Bytes of the log after which it begins anew.
const LOG_MOST: u64 = 1 << 20;

/// Who has the blob of a layer; no secret is in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Source {
    registry: String,
    repository: String,
    insecure: Option<bool>,
    mirror: bool,
    tls_verify: Option<bool>,
    cert_dir: Option<std::path::PathBuf>,
    authfile: Option<std::path::PathBuf>,
    docker_config: Option<std::path::PathBuf>,
    home: std::path::PathBuf,
}

/// How many of an image's lower layers must be pulled as usual: above them all have a table, or are
/// here.
pub fn plain_below(store: &Store, record: &ImageRecord) -> usize {
    let fits = |layer: &LayerRecord| {
        store.layers().has(&layer.chain_id)
            || matches!(locate(&layer.annotations, layer.size), Ok(Some(_)))
    };
    let layers = &record.layers;
    layers.len() - layers.iter().rev().take_while(|l| fits(l)).count()
}

/// Makes the trees of the layers above the first `below`; answers the bytes of the image.
///
/// # Errors
/// `Corrupt` for a table that is another than the manifest says; what the registry says.
pub fn prepare(
    session: &Session,
    store: &Store,
    (record, below): (&ImageRecord, usize),
    (endpoint, options): (&Endpoint, &RegistryOptions),
    fetch: &Fetch<'_>,
) -> Result<u64> {
    let source = Source {
        registry: endpoint.registry.clone(),
        repository: endpoint.repository.clone(),
        insecure: endpoint.insecure,
        mirror: endpoint.mirror,
        tls_verify: options.tls_verify,
        cert_dir: options.cert_dir.clone(),
        authfile: options.authfile.clone(),
        docker_config: session.options.docker_config.clone(),
        home: session.user.home.clone(),
    };
    let source =
        serde_json::to_value(&source).what_kind(Kind::Internal, || "cannot write a record")?;
    let mut size = 0_u64;
    for (at, layer) in record.layers.iter().enumerate() {
        let parent = at.checked_sub(1).and_then(|at| record.layers.get(at));
        let info = if let Some(info) = store.layers().get(&layer.chain_id)? {
            info
        } else if store.layers().is_lazy(&layer.chain_id) {
            store.layers().lazy_info(&layer.chain_id)?
        } else if at < below {
            return Err(Error::internal("a lower layer is not here"));
        } else {
            let what = || format!("cannot read the table of contents of layer {}", at + 1);
            let place = locate(&layer.annotations, layer.size)?
                .ok_or_else(|| Error::internal("no table of contents"))?;
            let (table, kept) = place
                .read_keeping(layer.size, &mut |offset, length| {
                    fetch(layer, (offset, length))
                })
                .what(what)?;
            let origin = Origin {
                digest: layer.digest.clone(),
                size: layer.size,
                annotations: layer.annotations.clone(),
                source: source.clone(),
            };
            let unpack = Unpack {
                parent: parent.map(|l| &l.chain_id),
                diff_id: Some(&layer.diff_id),
                limits: Limits::default(),
            };
            store
                .layers()
                .make_lazy(&unpack, (&table, &kept), &origin)
                .what(what)?
        };
        size = size.saturating_add(info.size);
    }
    Ok(size)
}

/// Fetches what the files of lazy layers need.
#[derive(Debug)]
pub struct Filler {
    lowers: Vec<Option<Arc<Lazy>>>,
    demand: Arc<Demand>,
}

/// How many are waiting for a file: meanwhile nothing is fetched behind.
#[derive(Debug, Default)]
struct Demand {
    waiting: Mutex<usize>,
    changed: Condvar,
}

struct Waiting<'a>(&'a Demand);

impl Demand {
    fn begin(&self) -> Waiting<'_> {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Waiting(self)
    }

    fn wait_for_none(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while *waiting > 0 {
            waiting = self
                .changed
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self
            .0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *waiting -= 1;
        self.0.changed.notify_all();
    }
}

/// One layer that is not all here.
struct Lazy {
    store: Store,
    chain: Digest,
    origin: Origin,
    source: Source,
    table: Table,
    client: Client,
    several: AtomicBool,
    /// When a failure was last logged.
    said: Mutex<Option<Instant>>,
    /// Says that the folder is in use.
    _lock: std::fs::File,
}

impl std::fmt::Debug for Lazy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lazy")
            .field("chain", &self.chain)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Filler {
    /// For the lazy ones among `layers`, top first. Inside the user namespace.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt` when a layer's folder is not whole.
    pub fn open(store: &Path, layers: &[Option<Digest>]) -> Result<Self> {
        let dirs = Dirs::new(store.to_owned(), store.to_owned()).with(Some(store), None)?;
        let store = Store::open(&dirs, None)?;
        let lowers = layers
            .iter()
            .map(|chain| {
                chain
                    .as_ref()
                    .map(|chain| Lazy::open(&store, chain).map(Arc::new))
                    .transpose()
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            lowers,
            demand: Arc::default(),
        })
    }

    /// Begins to fetch the rest, in a thread that ends when all is here.
    pub fn fetch_behind(self: Arc<Self>) {
        let work = move || {
            // The lowest first: a layer is unpacked on top of those below it.
            for lazy in self.lowers.iter().rev().flatten() {
                lazy.fetch_whole(&self.demand);
            }
        };
        let name = "fetch".to_owned();
        if let Err(e) = std::thread::Builder::new().name(name).spawn(work) {
            log::warn!("nothing is fetched behind: {e}");
        }
    }
}

impl Content for Filler {
    fn fill(&self, lower: usize, mark: &[u8], file: BorrowedFd<'_>) -> bool {
        let Some(Some(lazy)) = self.lowers.get(lower) else {
            // Marked, but of a layer that is all here: nothing to do.
            return true;
        };
        if is_done(mark) {
            return true;
        }
        let _waiting = self.demand.begin();
        match lazy.fill(mark, file) {
            Ok(()) => true,
            Err(e) => {
                lazy.log(&e);
                false
            }
        }
    }
}

/// Whether the mark says that the content was fetched in this boot: without a power cut since then,
/// what was written is there.
fn is_done(mark: &[u8]) -> bool {
    words(mark).1 == Some(boot_id())
}

/// The number in the table, and the boot in which the content was fetched.
fn words(mark: &[u8]) -> (Option<usize>, Option<&str>) {
    let text = std::str::from_utf8(mark).unwrap_or_default();
    let mut words = text.split(' ');
    let number = words.next().and_then(|n| n.parse().ok());
    let boot = match words.next() {
        Some("done") => words.next(),
        _ => None,
    };
    (number, boot)
}

/// Writes to a place in a file.
struct Into<'a> {
    file: BorrowedFd<'a>,
    at: u64,
}

impl io::Write for Into<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        at::pwrite_all(self.file, bytes, self.at).map_err(io::Error::other)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a part of a file.
struct Range<'a> {
    file: &'a std::fs::File,
    at: u64,
    end: u64,
}

impl Read for Range<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt as _;
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let n = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Lazy {
    fn open(store: &Store, chain: &Digest) -> Result<Self> {
        let (origin, lock) = store.layers().origin(chain)?;
        let source: Source = serde_json::from_value(origin.source.clone())
            .what_kind(Kind::Corrupt, || "the origin of a layer is damaged")?;
        let table = store.layers().lazy_table(chain, &origin)?;
        let endpoint = Endpoint {
            registry: source.registry.clone(),
            repository: source.repository.clone(),
            insecure: source.insecure,
            mirror: source.mirror,
        };
        // Inside the user namespace everybody's home is root's.
        let home = source.home.to_string_lossy().into_owned();
        let variables = Env::process()
            .all()
            .into_iter()
            .filter(|(n, _)| n != "HOME");
        let env = Env::fixed(variables.chain([("HOME".to_owned(), home)]));
        let mut settings = Settings::new(&env, Arc::new(Silent));
        settings.tls_verify = source.tls_verify;
        settings.cert_dir.clone_from(&source.cert_dir);
        // Somebody waits for an answer: no tries in vain.
        settings.retry = 1;
        settings.retry_delay = Some(Duration::from_millis(200));
        let files = AuthFiles::new(
            source.authfile.as_deref(),
            source.docker_config.as_deref(),
            &env,
        );
        let credentials = files.find(&format!("{}/{}", source.registry, source.repository))?;
        Ok(Self {
            client: Client::new(&endpoint, credentials, settings)?,
            store: store.clone(),
            chain: chain.clone(),
            origin,
            source,
            table,
            several: AtomicBool::new(true),
            said: Mutex::default(),
            _lock: lock,
        })
    }

    /// Gives a file its content.
    fn fill(&self, mark: &[u8], file: BorrowedFd<'_>) -> Result<()> {
        rustix::fs::flock(file, rustix::fs::FlockOperation::LockExclusive)
            .map_err(io::Error::from)
            .what(|| "cannot lock a file of a layer")?;
        // Another server may have been faster.
        let mark = at::getxattr(file, LAZY)?.unwrap_or_else(|| mark.to_vec());
        if is_done(&mark) {
            return Ok(());
        }
        let (number, before) = words(&mark);
        let (number, item) = number
            .and_then(|n| Some((n, self.table.items.get(n)?)))
            .ok_or_else(|| Error::new(Kind::Corrupt, "a file of a layer has a malformed mark"))?;
        let what = || {
            format!(
                "cannot fetch {:?} from {}/{}",
                String::from_utf8_lossy(item.path()),
                self.source.registry,
                self.source.repository
            )
        };
        let local = before.is_some();
        self.content(item, file, local).what(what)?;
        restore(item, file)?;
        let done = format!("{number} done {}", boot_id());
        Ok(at::setxattr(file, LAZY, done.as_bytes())?)
    }

    /// Writes the chunks; with `local` those that are right in the file already are left alone: a
    /// power cut may have torn it.
    fn content(&self, item: &Item, file: BorrowedFd<'_>, local: bool) -> Result<()> {
        let mut wanted: Vec<&Chunk> = item.chunks.iter().filter(|c| !c.zeros).collect();
        if local {
            wanted.retain(|chunk| !is_there(file, chunk));
        }
        let store = self.store.blobs();
        if let Some(source) = store.whole_or_beginning(&self.origin.digest) {
            wanted.retain(|chunk| {
                let range = Range {
                    file: &source,
                    at: chunk.offset,
                    end: chunk.end,
                };
                let mut sink = Into { file, at: chunk.at };
                // What is not there yet, or torn, is fetched.
                inflate(self.table.form, chunk, range, &mut sink).is_err()
            });
        }
        // Chunks that touch are one range.
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for chunk in &wanted {
            match ranges.last_mut() {
                Some((start, length)) if *start + *length == chunk.offset => {
                    *length += chunk.end - chunk.offset;
                }
                _ => ranges.push((chunk.offset, chunk.end - chunk.offset)),
            }
        }
        let mut stream = self.client.ranges(
            &self.source.repository,
            &self.origin.digest,
            ranges,
            &self.several,
        );
        for chunk in wanted {
            let mut part = (&mut stream).take(chunk.end - chunk.offset);
            let mut sink = Into { file, at: chunk.at };
            inflate(self.table.form, chunk, &mut part, &mut sink)?;
            // Headers of the next file may follow.
            io::copy(&mut part, &mut io::sink()).map_err(crate::registry::ranges::unwrapped)?;
        }
        if item.chunks.iter().any(|c| c.digest.is_none() && !c.zeros) {
            verify_whole(item, file)?;
        }
        Ok(())
    }

    /// Brings the whole blob here and unpacks it; waits out failures.
    fn fetch_whole(&self, demand: &Demand) {
        let mut pause = PAUSE.0;
        while !self.store.layers().has(&self.chain) {
            match self.bring(demand).and_then(|()| self.unpack()) {
                Ok(()) => return,
                Err(e) => {
                    self.log(&e);
                    if !matches!(e.kind(), Kind::Unavailable | Kind::TimedOut) {
                        return;
                    }
                }
            }
            crate::sys::process::pause(pause);
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    fn bring(&self, demand: &Demand) -> Result<()> {
        let blobs = self.store.blobs();
        let Claim::Write(mut writer) = blobs.writer(&self.origin.digest, Some(self.origin.size))?
        else {
            return Ok(());
        };
        let descriptor = Descriptor::new("", self.origin.digest.clone(), self.origin.size);
        let mut sink = Behind {
            writer: &mut writer,
            demand,
        };
        self.client
            .download(&self.source.repository, &descriptor, &mut sink)?;
        writer.finish()
    }

    fn unpack(&self) -> Result<()> {
        let info = self.store.layers().lazy_info(&self.chain)?;
        let blob = self.store.blobs().open(&self.origin.digest)?;
        let layers: &Layers = self.store.layers();
        layers
            .unpack(
                &Unpack {
                    parent: info.parent.as_ref(),
                    diff_id: Some(&info.diff_id),
                    limits: Limits::default(),
                },
                blob,
            )
            .map(drop)
    }

    /// Says why something cannot be had: in the journal, and in a file of the store.
    fn log(&self, error: &Error) {
        let now = Instant::now();
        if let Ok(mut said) = self.said.lock() {
            if said.is_some_and(|then| now.duration_since(then) < QUIET) {
                return;
            }
            *said = Some(now);
        }
        let text = error.one_line();
        let line = format!("{} {text}\n", Timestamp::now().rfc3339());
        let path = self.store.dir().join(LOG);
        let full = std::fs::metadata(&path).is_ok_and(|m| m.len() > LOG_MOST);
        let mut open = std::fs::OpenOptions::new();
        open.create(true).append(!full).write(true).truncate(full);
        // A log that cannot be written is no reason to fail.
        drop(
            open.open(&path)
                .and_then(|mut file| io::Write::write_all(&mut file, line.as_bytes())),
        );
        if let Ok(journal) = journald::dial(Path::new(journald::SOCKET)) {
            let mut entry = Vec::new();
            journald::field("MESSAGE", text.as_bytes(), &mut entry);
            journald::field("PRIORITY", b"4", &mut entry);
            journald::field("SYSLOG_IDENTIFIER", b"coracle", &mut entry);
            drop(journal.send(&entry));
        }
    }
}

/// Appends to the blob while nobody waits for a file.
struct Behind<'a> {
    writer: &'a mut BlobWriter,
    demand: &'a Demand,
}

impl Sink for Behind<'_> {
    fn offset(&self) -> u64 {
        self.writer.resume_offset()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.demand.wait_for_none();
        self.writer.write(bytes)
    }

    fn restart(&mut self) -> Result<()> {
        self.writer.restart()
    }
}

/// What writing took away: the modification time, set-id bits and capabilities.
fn restore(item: &Item, file: BorrowedFd<'_>) -> Result<()> {
    let capability = item.attribute(CAPABILITY.to_bytes());
    at::fchmod(file, item.mode())?;
    if let Some(value) = capability {
        match at::setxattr(file, CAPABILITY, value) {
            Err(e) if e.errno != libc::EPERM => return Err(e.into()),
            _ => {}
        }
    }
    let (seconds, nanoseconds) = item.modified();
    Ok(at::futimens(file, seconds, nanoseconds)?)
}

/// Whether a chunk's content is in the file.
fn is_there(file: BorrowedFd<'_>, chunk: &Chunk) -> bool {
    let Some(wanted) = &chunk.digest else {
        return false;
    };
    let Ok(owned) = file.try_clone_to_owned() else {
        return false;
    };
    digest_of(owned, wanted, (chunk.at, chunk.at + chunk.size)).is_ok_and(|found| found == *wanted)
}

fn digest_of(file: OwnedFd, like: &Digest, (at, end): (u64, u64)) -> Result<Digest> {
    let file = std::fs::File::from(file);
    let mut hasher = crate::storage::blob::Hasher::new(like.algorithm());
    let mut buffer = vec![0; 128 << 10];
    let mut range = Range {
        file: &file,
        at,
        end,
    };
    loop {
        let n = range
            .read(&mut buffer)
            .what(|| "cannot read a file of a layer")?;
        if n == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer[..n]);
    }
}

fn verify_whole(item: &Item, file: BorrowedFd<'_>) -> Result<()> {
    let damaged = || {
        Error::new(
            Kind::Corrupt,
            "the file has another content than its table of contents says",
        )
    };
    let wanted = item.digest.as_ref().ok_or_else(damaged)?;
    let owned = file
        .try_clone_to_owned()
        .what(|| "cannot read a file of a layer")?;
    if digest_of(owned, wanted, (0, item.size()))? == *wanted {
        return Ok(());
    }
    Err(damaged())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read() {
        assert_eq!(words(b"7"), (Some(7), None));
        assert_eq!(words(b"7 done abc"), (Some(7), Some("abc")));
        assert_eq!(words(b"x"), (None, None));
        assert!(is_done(format!("7 done {}", boot_id()).as_bytes()));
        assert!(!is_done(b"7 done other-boot"));
        assert!(!is_done(b"7"));
    }

    #[test]
    fn nothing_is_fetched_behind_while_somebody_waits() {
        let demand = Arc::new(Demand::default());
        let waiting = demand.begin();
        let other = Arc::clone(&demand);
        let (told, heard) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            other.wait_for_none();
            told.send(()).unwrap();
        });
        assert!(heard.try_recv().is_err());
        drop(waiting);
        heard.recv().unwrap();
        thread.join().unwrap();
    }
}
