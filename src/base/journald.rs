//! The systemd journal's native protocol: one datagram an entry, fields as `NAME=value`.
//!
//! Spec: systemd, "Native Journal Protocol".

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use super::{Error, Kind, Result};

/// Where the journal listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// A journal that does not take an entry for so long loses it; whoever writes goes on.
const PATIENCE: Duration = Duration::from_secs(1);

/// Connects to the journal.
///
/// # Errors
/// `Unavailable` when none listens.
pub fn dial(path: &Path) -> Result<UnixDatagram> {
    let dial = || {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok::<_, std::io::Error>(socket)
    };
    dial().map_err(|e| unavailable().because(e))
}

/// Nobody listens.
pub fn unavailable() -> Error {
    Error::new(Kind::Unavailable, "no systemd journal listens")
}

/// Whether entries can be written and read again by this user: a journal that is kept on disk has a
/// file for each user, one in memory has none, and only its own groups read the whole.
///
/// `root` is the host's root folder. Spec: systemd-journald.service(8), "Access Control".
pub fn is_readable(root: &Path) -> bool {
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    let Ok(machine) = fs::read_to_string(below("/etc/machine-id")) else {
        return false;
    };
    let machine = machine.trim();
    if machine.is_empty() || dial(&below(SOCKET)).is_err() {
        return false;
    }
    let whole = below("/run/log/journal").join(machine);
    below("/var/log/journal").join(machine).is_dir()
        || File::open(whole.join("system.journal")).is_ok()
}

/// Encodes a field; one with line ends needs its length. An empty one is left out, but for MESSAGE.
pub fn field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    if value.is_empty() && name != "MESSAGE" {
        return;
    }
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_of_use_when_it_listens_and_its_files_can_be_read() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for folder in ["etc", "run/systemd/journal", "run/log/journal/abc"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        assert!(!is_readable(root));
        fs::write(root.join("etc/machine-id"), "abc\n").unwrap();
        let socket = UnixDatagram::bind(root.join("run/systemd/journal/socket")).unwrap();
        assert!(!is_readable(root), "in memory, and not for this user");
        fs::write(root.join("run/log/journal/abc/system.journal"), "").unwrap();
        assert!(is_readable(root));
        fs::remove_dir_all(root.join("run/log")).unwrap();
        fs::create_dir_all(root.join("var/log/journal/abc")).unwrap();
        assert!(is_readable(root), "on disk");
        drop(socket);
        assert!(!is_readable(root), "nobody listens");
    }

    #[test]
    fn fields_with_line_ends_carry_their_length() {
        let mut out = Vec::new();
        field("MESSAGE", b"a\nb", &mut out);
        assert_eq!(out, b"MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n");
        out.clear();
        field("IMAGE", b"", &mut out);
        field("MESSAGE", b"", &mut out);
        assert_eq!(out, b"MESSAGE=\n");
    }
}
