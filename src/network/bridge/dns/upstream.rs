//! Whom to ask about the outside: the host's own servers, followed as they change.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::base::fs as files;
use crate::network::files::parse_resolver;

/// The port of DNS.
const PORT: u16 = 53;

/// How often the file is looked at, at most.
const LOOK: Duration = Duration::from_secs(1);

/// A longer file is no configuration.
const LIMIT: u64 = 1 << 20;

/// At most so many are asked, one after the other.
const SERVERS: usize = 3;

/// The servers of `resolv.conf`.
#[derive(Debug)]
pub(super) struct Upstream {
    path: PathBuf,
    looked: Option<Instant>,
    stamp: Option<(SystemTime, u64)>,
    servers: Vec<SocketAddr>,
}

impl Upstream {
    /// Those of a file; read when first asked for.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            looked: None,
            stamp: None,
            servers: Vec::new(),
        }
    }

    /// The servers as of now; a file that cannot be read leaves them as they were.
    pub(super) fn servers(&mut self, now: Instant) -> &[SocketAddr] {
        if self.looked.is_none_or(|at| now.duration_since(at) >= LOOK) {
            self.looked = Some(now);
            // Written anew or replaced: either shows here.
            let stamp = std::fs::metadata(&self.path)
                .ok()
                .and_then(|m| Some((m.modified().ok()?, m.len())));
            if stamp != self.stamp
                && let Ok(Some(bytes)) = files::read_if_exists(&self.path, LIMIT)
            {
                self.stamp = stamp;
                self.servers = parse_resolver(&String::from_utf8_lossy(&bytes))
                    .servers
                    .iter()
                    .filter_map(|s| address(s))
                    .take(SERVERS)
                    .collect();
            }
        }
        &self.servers
    }
}

/// Where a server given by address listens.
pub(super) fn at(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, PORT)
}

/// `192.0.2.1`, `fe80::1%eth0`, `fe80::1%2`; `None` for a zone that is not there.
fn address(word: &str) -> Option<SocketAddr> {
    let Some((address, zone)) = word.split_once('%') else {
        return word.parse().ok().map(at);
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let number = zone.parse().ok().or_else(|| {
        let is_name = !zone.is_empty() && !zone.contains('/') && zone != "..";
        let path = Path::new("/sys/class/net").join(zone).join("ifindex");
        is_name.then(|| std::fs::read_to_string(path).ok()?.trim().parse().ok())?
    })?;
    Some(SocketAddrV6::new(address, PORT, 0, number).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_follow_the_file_and_odd_lines_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let mut upstream = Upstream::new(&path);
        let start = Instant::now();
        assert!(upstream.servers(start).is_empty());
        let text = "nameserver ::1\nnameserver fe80::1%lo\nnameserver fe80::1%no-such\nnameserver x\nnameserver 127.0.0.53\n";
        std::fs::write(&path, text).unwrap();
        assert!(upstream.servers(start + LOOK / 2).is_empty(), "not yet");
        let shown: Vec<String> = upstream
            .servers(start + LOOK)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(shown, ["[::1]:53", "[fe80::1%1]:53", "127.0.0.53:53"]);
        std::fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(
            upstream.servers(start + LOOK * 2),
            [at([192, 0, 2, 1].into())]
        );
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            upstream.servers(start + LOOK * 3).len(),
            1,
            "a moment without the file"
        );
    }
}
