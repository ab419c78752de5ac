//! The journal's files: `events/journal`, and `events/journal.1` with what was before; or the
//! systemd journal, where an event is an entry with the field `CORACLE_EVENT`.
//!
//! Lock: `flock` on the open journal, for the one append or rotation, so that no line goes into a
//! file that was just rotated away.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Event;
use crate::base::fs::create_private_dir_all;
use crate::base::journald::{self, field};
use crate::base::time::Timestamp;
use crate::config::dirs::Dirs;

/// A journal larger than this is rotated, bytes: some twenty thousand events.
const LIMIT: u64 = 8 << 20;

/// A lock that is held for longer is not waited for: one write is whole in any case.
const PATIENCE: Duration = Duration::from_millis(50);

/// Where events of one data directory go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// A file that is rotated above so many bytes; 0 means never.
    File { path: PathBuf, limit: u64 },
    /// systemd's.
    System { socket: PathBuf, store: String },
}

impl Journal {
    /// The journal below `dirs`. Nothing is made until something is written.
    pub fn new(dirs: &Dirs) -> Self {
        Self::at(dirs.events().join("journal"), None)
    }

    /// A journal of which the present file is `path`, rotated above `limit` bytes (0: never).
    pub fn at(path: PathBuf, limit: Option<u64>) -> Self {
        let limit = limit.unwrap_or(LIMIT);
        Self {
            place: Place::File { path, limit },
        }
    }

    /// The journal of systemd that listens at `socket`, with the events of the store below `dirs`.
    pub fn system(socket: PathBuf, dirs: &Dirs) -> Self {
        let store = dirs.data.to_string_lossy().into_owned();
        Self {
            place: Place::System { socket, store },
        }
    }

    /// The folder that changes when an event is written; `None` for systemd's.
    pub fn folder(&self) -> Option<&Path> {
        self.file()?.parent()
    }

    /// The arguments with which `journalctl` gives the events, for [`decode`]; `None` when they are
    /// in files.
    pub fn query(&self, since: Option<Timestamp>, past: bool, follow: bool) -> Option<Vec<String>> {
        let Place::System { store, .. } = &self.place else {
            return None;
        };
        let words = ["--quiet", "--no-pager", "--all", "--output=json"];
        let mut arguments: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        // With --follow journalctl shows ten lines unless told otherwise.
        arguments.push(format!("--lines={}", if past { "all" } else { "0" }));
        if let Some(since) = since {
            arguments.push(format!("--since=@{}", since.0.div_euclid(1_000_000_000)));
        }
        if follow {
            arguments.push("--follow".to_owned());
        }
        arguments.push(format!("CORACLE_ROOT={store}"));
        Some(arguments)
    }

    fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::File { path, .. } => Some(path),
            Place::System { .. } => None,
        }
    }

    /// The present file.
    pub(super) fn path(&self) -> PathBuf {
        self.file().unwrap_or(Path::new("")).to_owned()
    }

    /// The one before.
    pub(super) fn older(&self) -> PathBuf {
        let mut path = self.path().into_os_string();
        path.push(".1");
        path.into()
    }

    /// Appends an event. Never fails: an event that cannot be written is lost.
    pub fn write(&self, event: &Event) {
        self.write_all(std::slice::from_ref(event));
    }

    /// As [`Journal::write`], for several; in a file nobody sees one without the others.
    pub fn write_all(&self, events: &[Event]) {
        match &self.place {
            Place::File { limit, .. } => {
                let mut lines = Vec::new();
                for event in events {
                    if serde_json::to_writer(&mut lines, event).is_ok() {
                        lines.push(b'\n');
                    }
                }
                let _lost = self.append(&lines, *limit);
            }
            Place::System { socket, store } => {
                let Ok(sender) = journald::dial(socket) else {
                    return;
                };
                for event in events {
                    if let Ok(line) = serde_json::to_vec(event) {
                        let _lost = sender.send(&entry(event, &line, store));
                    }
                }
            }
        }
    }

    fn append(&self, lines: &[u8], limit: u64) -> std::io::Result<()> {
        let mut file = self.locked()?;
        let size = file.metadata()?.len();
        if limit > 0 && size > limit {
            fs::rename(self.path(), self.older())?;
            file = self.locked()?;
        } else if size > 0 && ends_torn(&file, size) {
            // A power cut left half a line: it must not swallow this one.
            file.write_all(b"\n")?;
        }
        file.write_all(lines)
    }

    /// The present file, locked.
    fn locked(&self) -> std::io::Result<File> {
        let path = self.path();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let file = match open(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    let folder = path.parent().unwrap_or(Path::new("."));
                    create_private_dir_all(folder).map_err(std::io::Error::other)?;
                    open(&path)?
                }
                other => other?,
            };
            while let Err(fs::TryLockError::WouldBlock) = file.try_lock() {
                if Instant::now() > deadline {
                    return Ok(file);
                }
                crate::sys::process::pause(Duration::from_micros(200));
            }
            // Whoever held the lock may have rotated it.
            let same = fs::metadata(&path).is_ok_and(|m| {
                file.metadata()
                    .is_ok_and(|f| (f.dev(), f.ino()) == (m.dev(), m.ino()))
            });
            if same || Instant::now() > deadline {
                return Ok(file);
            }
        }
    }

    /// A journal that is rotated at another size.
    #[cfg(test)]
    pub(super) fn limited(dir: &Path, limit: u64) -> Self {
        Self::at(dir.join("journal"), Some(limit))
    }
}

/// The entry of systemd's journal: a sentence for people, and the event itself.
fn entry(event: &Event, json: &[u8], store: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() + 256);
    let what = match event.name.is_empty() {
        true => &event.id,
        false => &event.name,
    };
    let sentence = format!("{} {} {what}", event.kind.name(), event.action);
    for (name, value) in [
        ("MESSAGE", sentence.trim_end().as_bytes()),
        ("PRIORITY", b"6"),
        ("SYSLOG_IDENTIFIER", b"coracle"),
        ("CORACLE_ROOT", store.as_bytes()),
        ("CORACLE_EVENT", json),
    ] {
        field(name, value, &mut out);
    }
    out
}

/// Reads one line of `journalctl --output=json`; `None` when it is not ours or damaged.
pub fn decode(line: &[u8]) -> Option<Event> {
    let entry: serde_json::Value = serde_json::from_slice(line).ok()?;
    serde_json::from_str(entry.get("CORACLE_EVENT")?.as_str()?).ok()
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

fn ends_torn(file: &File, size: u64) -> bool {
    let mut last = [b'\n'];
    let read = std::os::unix::fs::FileExt::read_at(file, &mut last, size - 1);
    read.is_ok() && last[0] != b'\n'
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::events::Type;

    #[test]
    fn an_entry_of_systemds_journal_gives_the_event_back() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let dirs = Dirs::new("/data".into(), "/run".into());
        let journal = Journal::system(socket.clone(), &dirs);
        let mut event = Event::new(Type::Container, "died", "07", "web");
        event.attributes.insert("note".into(), "two\nlines".into());
        // Nobody listens: lost, without a word.
        journal.write(&event);
        let listener = UnixDatagram::bind(&socket).unwrap();
        journal.write(&event);
        let mut buffer = [0; 4096];
        let n = listener.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..n]);
        assert!(
            text.starts_with("MESSAGE=container died web\nPRIORITY=6\n"),
            "{text}"
        );
        assert!(text.contains("\nCORACLE_ROOT=/data\n"), "{text}");
        let json = text
            .lines()
            .find_map(|l| l.strip_prefix("CORACLE_EVENT="))
            .unwrap();
        let line = serde_json::json!({ "CORACLE_EVENT": json, "_PID": "7" }).to_string();
        assert_eq!(decode(line.as_bytes()), Some(event));
        assert_eq!(decode(b"{}"), None);
        assert_eq!(decode(b"{\"CORACLE_EVENT\": 7}"), None);
        let query = journal
            .query(Some(Timestamp(1_500_000_000)), true, true)
            .unwrap();
        assert!(query.ends_with(&[
            "--since=@1".into(),
            "--follow".into(),
            "CORACLE_ROOT=/data".into()
        ]));
        assert_eq!(Journal::new(&dirs).query(None, true, false), None);
    }

    #[test]
    fn a_journal_elsewhere_has_its_own_name_and_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/events.log");
        let event = Event::new(Type::System, "prune", "", "");
        let journal = Journal::at(path.clone(), Some(0));
        (0..50).for_each(|_| journal.write(&event));
        assert!(path.exists() && !dir.path().join("deep/events.log.1").exists());
        let journal = Journal::at(path, Some(100));
        (0..5).for_each(|_| journal.write(&event));
        assert!(dir.path().join("deep/events.log.1").exists());
    }
}
