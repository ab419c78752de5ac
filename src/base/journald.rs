//! The systemd journal's native protocol: one datagram an entry, fields as `NAME=value`.
//!
//! Spec: systemd, "Native Journal Protocol".

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
