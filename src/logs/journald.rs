//! The journal: entries by its native datagram protocol, read again through `journalctl`.
//!
//! Fields as conmon and Docker send them: MESSAGE, PRIORITY (6 for standard output, 3 for standard
//! error), CONTAINER_ID, CONTAINER_ID_FULL, CONTAINER_NAME, CONTAINER_TAG, SYSLOG_IDENTIFIER (the
//! tag, without one the container's name),
//! CONTAINER_PARTIAL_MESSAGE, IMAGE_NAME.
//! Spec: systemd, "Native Journal Protocol".

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Entry;
use super::lines::Lines;
use crate::base::journald::{self, SOCKET, field};
use crate::base::time::Timestamp;
use crate::base::{Error, Hint as _, Result};
use crate::handoff::output::{Sink, Stream};
use crate::state::container::Container;

/// The driver.
pub struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    /// The fields that every entry has, encoded.
    fields: Vec<u8>,
    lines: Lines,
}

impl Journal {
    /// Connects to the system's journal.
    ///
    /// # Errors
    /// `Unavailable` when none listens; `Invalid` for a tag with an unknown template.
    pub fn open(container: &Container) -> Result<Self> {
        Self::connect(Path::new(SOCKET), container)
    }

    fn connect(path: &Path, container: &Container) -> Result<Self> {
        let image = container.record.image.as_ref();
        let image_id = image.map(|i| i.id.to_string()).unwrap_or_default();
        let image_name = image.map_or("", |i| i.name.as_str());
        let id = container.id();
        let log = &container.record.options.log;
        let tag = match &log.tag {
            None => id.short().to_owned(),
            Some(template) => expand(
                template,
                &[
                    ("ID", id.short()),
                    ("FullID", id.as_str()),
                    ("Name", container.name()),
                    (
                        "ImageID",
                        image_id
                            .trim_start_matches("sha256:")
                            .get(..12)
                            .unwrap_or(""),
                    ),
                    ("ImageFullID", &image_id),
                    ("ImageName", image_name),
                    ("DaemonName", "coracle"),
                ],
            )?,
        };
        // What a person reads at the beginning of every line.
        let identifier = match &log.tag {
            None => container.name(),
            Some(_) => &tag,
        };
        let mut fields = Vec::new();
        for (name, value) in [
            ("CONTAINER_ID", id.short()),
            ("CONTAINER_ID_FULL", id.as_str()),
            ("CONTAINER_NAME", container.name()),
            ("CONTAINER_TAG", &tag),
            ("SYSLOG_IDENTIFIER", identifier),
            ("IMAGE_NAME", image_name),
        ] {
            field(name, value.as_bytes(), &mut fields);
        }
        Ok(Self {
            socket: dial(path)?,
            path: path.to_owned(),
            fields,
            lines: Lines::default(),
        })
    }

    fn send(&mut self, entries: &[Vec<u8>]) -> Result<()> {
        for entry in entries {
            if self.socket.send(entry).is_err() {
                // The journal was restarted: its socket is a new one.
                self.socket = dial(&self.path)?;
                self.socket
                    .send(entry)
                    .map_err(|e| unavailable().because(e))?;
            }
        }
        Ok(())
    }
}

fn unavailable() -> Error {
    journald::unavailable().hint(ELSE)
}

const ELSE: &str = "use `--log-driver k8s-file`, the default, or `json-file`";

fn dial(path: &Path) -> Result<UnixDatagram> {
    journald::dial(path).hint(|| ELSE)
}

/// Fills a tag's templates: `{{.Name}}`, as Docker has them.
fn expand(template: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let bad = || {
            let names: Vec<String> = values
                .iter()
                .map(|(n, _)| format!("{{{{.{n}}}}}"))
                .collect();
            Error::invalid(format!("invalid log tag {template:?}"))
                .hint(format!("a tag may use {}", names.join(" ")))
        };
        let (name, after) = after.split_once("}}").ok_or_else(bad)?;
        let name = name.trim().strip_prefix('.').ok_or_else(bad)?;
        let (_, value) = values.iter().find(|(n, _)| *n == name).ok_or_else(bad)?;
        text.push_str(before);
        text.push_str(value);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

fn entry(stream: Stream, text: &[u8], ends: bool, fields: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(fields.len() + text.len() + 64);
    field("MESSAGE", text, &mut out);
    let priority: &[u8] = match stream {
        Stream::Stdout => b"6",
        Stream::Stderr => b"3",
    };
    field("PRIORITY", priority, &mut out);
    if !ends {
        field("CONTAINER_PARTIAL_MESSAGE", b"true", &mut out);
    }
    out.extend_from_slice(fields);
    out
}

impl Sink for Journal {
    fn write(&mut self, stream: Stream, _time: Timestamp, bytes: &[u8]) -> Result<()> {
        let mut entries = Vec::new();
        let fields = &self.fields;
        self.lines.feed(stream, bytes, |text, ends| {
            entries.push(entry(stream, text, ends, fields));
        });
        self.send(&entries)
    }

    fn flush(&mut self) -> Result<()> {
        let mut entries = Vec::new();
        let fields = &self.fields;
        self.lines.finish(|stream, text| {
            entries.push(entry(stream, text, false, fields));
        });
        self.send(&entries)
    }

    fn reopen(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The arguments with which `journalctl` gives a container's entries, for [`decode`].
pub fn query(container: &Container, tail: Option<u64>, follow: bool) -> Vec<String> {
    let mut arguments = vec![
        "--quiet".to_owned(),
        "--no-pager".to_owned(),
        "--all".to_owned(),
        "--output=json".to_owned(),
        match tail {
            Some(count) => format!("--lines={count}"),
            // With --follow journalctl shows ten lines unless told otherwise.
            None => "--lines=all".to_owned(),
        },
    ];
    if follow {
        arguments.push("--follow".to_owned());
    }
    arguments.push(format!("CONTAINER_ID_FULL={}", container.id()));
    arguments
}

/// Reads one line of `journalctl --output=json`; `None` when it is not ours or damaged.
pub fn decode(line: &[u8]) -> Option<Entry> {
    let value: Value = serde_json::from_slice(line).ok()?;
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let micros: i64 = text("__REALTIME_TIMESTAMP")?.parse().ok()?;
    // What is no text comes as an array of bytes.
    let message = match value.get("MESSAGE")? {
        Value::String(text) => text.clone().into_bytes(),
        Value::Array(bytes) => bytes
            .iter()
            .map(|b| b.as_u64().and_then(|b| u8::try_from(b).ok()))
            .collect::<Option<_>>()?,
        _ => return None,
    };
    Some(Entry {
        time: Timestamp(micros.checked_mul(1000)?),
        stream: match text("PRIORITY") {
            Some("3") => Stream::Stderr,
            _ => Stream::Stdout,
        },
        text: message,
        ends_line: text("CONTAINER_PARTIAL_MESSAGE") != Some("true"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;
    use crate::state::options::LogOptions;

    #[test]
    fn entries_have_the_fields_that_tools_look_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let listener = UnixDatagram::bind(&path).unwrap();
        let container = crate::logs::read::tests::container(
            dir.path(),
            LogOptions {
                tag: Some("app/{{ .Name }}/{{.ID}}".to_owned()),
                ..LogOptions::default()
            },
        );
        let mut journal = Journal::connect(&path, &container).unwrap();
        journal
            .write(Stream::Stdout, Timestamp::now(), b"one\ntw")
            .unwrap();
        journal
            .write(Stream::Stderr, Timestamp::now(), b"bad\n")
            .unwrap();
        journal.flush().unwrap();
        let next = || {
            let mut buffer = [0; 4096];
            let n = listener.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..n]).into_owned()
        };
        let (id, short) = (container.id().as_str(), container.id().short());
        assert_eq!(
            next(),
            format!(
                "MESSAGE=one\nPRIORITY=6\nCONTAINER_ID={short}\nCONTAINER_ID_FULL={id}\n\
                 CONTAINER_NAME=web\nCONTAINER_TAG=app/web/{short}\n\
                 SYSLOG_IDENTIFIER=app/web/{short}\n"
            )
        );
        assert!(next().starts_with("MESSAGE=bad\nPRIORITY=3\n"));
        assert!(next().starts_with("MESSAGE=tw\nPRIORITY=6\nCONTAINER_PARTIAL_MESSAGE=true\n"));

        // A journal that was restarted is found again.
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            journal
                .write(Stream::Stdout, Timestamp::now(), b"x\n")
                .unwrap_err()
                .kind(),
            Kind::Unavailable
        );
        let listener = UnixDatagram::bind(&path).unwrap();
        journal
            .write(Stream::Stdout, Timestamp::now(), b"y\n")
            .unwrap();
        let mut buffer = [0; 4096];
        assert!(listener.recv(&mut buffer).unwrap() > 0);
    }

    #[test]
    fn unknown_templates_are_refused() {
        for bad in ["{{.Nope}}", "{{.Name", "{{Name}}"] {
            assert!(expand(bad, &[("Name", "x")]).is_err(), "{bad}");
        }
        assert_eq!(expand("a{{.Name}}b", &[("Name", "x")]).unwrap(), "axb");
    }

    #[test]
    fn journalctl_lines_are_read() {
        let line =
            br#"{"__REALTIME_TIMESTAMP":"1700000000000001","PRIORITY":"3","MESSAGE":[104,255]}"#;
        let entry = decode(line).unwrap();
        assert_eq!(entry.time.0, 1_700_000_000_000_001_000);
        assert_eq!((entry.stream, entry.ends_line), (Stream::Stderr, true));
        assert_eq!(entry.text, [104, 255]);
        assert!(decode(b"{}").is_none());
    }
}
