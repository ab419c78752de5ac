//! A replica that is about to go: it gets no new connections, and those it has come to their end.

use std::time::{Duration, Instant};

use crate::base::{Kind, Result};
use crate::handoff::control::{Control, NetworkChange, Request};
use crate::handoff::ended::wait_ended;
use crate::state::container::Container;
use crate::sys::process::Identity;

/// How often the connections are looked at: the kernel tells nobody outside their namespace.
const LOOK: Duration = Duration::from_millis(20);

/// A longer table of connections is not read.
const LIMIT: u64 = 64 << 20;

/// Has services send a replica no new connections, or do so again. One that does not run gets none.
///
/// # Errors
/// What its monitor says.
pub(super) fn set(container: &Container, drained: bool) -> Result<()> {
    let change = Box::new(NetworkChange::Drain { drained });
    let asked = Control::connect(&container.control_socket())
        .and_then(|mut control| control.call(&Request::Network { change }));
    match asked {
        Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Unavailable) => Ok(()),
        other => other.map(drop),
    }
}

/// How long a replica has for its connections, and again for its end.
pub(super) fn grace(container: &Container) -> Duration {
    Duration::from_secs(container.record.options.stop_timeout.unwrap_or(10).into())
}

/// Drains a replica: returns when nobody is connected to it, when it ended, or after `patience`.
///
/// # Errors
/// As [`set`].
pub(super) fn drain(container: &Container, patience: Duration) -> Result<()> {
    set(container, true)?;
    let Some(init) = container.status()?.and_then(|s| s.init) else {
        return Ok(());
    };
    let until = Instant::now() + patience;
    loop {
        // What was on its way has arrived by then, too.
        if wait_ended(&init, Some(LOOK))? {
            return Ok(());
        }
        if Instant::now() >= until || is_quiet(&init) {
            return Ok(());
        }
    }
}

/// Whether nobody is connected to a port that somebody listens on in the process's network.
fn is_quiet(init: &Identity) -> bool {
    let read = |name: &str| {
        let path = format!("/proc/{}/net/{name}", init.pid);
        let bytes = crate::base::fs::read(std::path::Path::new(&path), LIMIT);
        String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
    };
    connected(&format!("{}{}", read("tcp"), read("tcp6"))) == 0
}

/// How many connections have come to ports that are listened on, from elsewhere, and are not over.
/// `table`: lines of `/proc/net/tcp`, proc(5).
fn connected(table: &str) -> usize {
    let rows = || {
        table.lines().filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
            let (_, port) = local.split_once(':')?;
            Some((port, remote, state))
        })
    };
    // TCP_LISTEN
    let listening: Vec<&str> = rows().filter(|r| r.2 == "0A").map(|r| r.0).collect();
    rows()
        .filter(|(port, remote, state)| {
            // ESTABLISHED, SYN_RECV, FIN_WAIT1, CLOSE_WAIT, LAST_ACK
            let lives = matches!(*state, "01" | "03" | "04" | "08" | "09");
            lives && listening.contains(port) && !is_loopback(remote)
        })
        .count()
}

/// `0100007F:1F90`, or 32 digits for IPv6. Words of four bytes are in the machine's order.
fn is_loopback(remote: &str) -> bool {
    let address = remote.split(':').next().unwrap_or_default();
    let first = |word: &str| {
        let number = u32::from_str_radix(word, 16).unwrap_or(0);
        number.to_ne_bytes()[0] == 127
    };
    match address.len() {
        8 => first(address),
        32 => {
            let own = u32::from_ne_bytes([0, 0, 0, 1]);
            let mapped = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
            address == format!("{:024}{own:08X}", 0)
                || (address.starts_with(&format!("{:016}{mapped:08X}", 0))
                    && address.get(24..).is_some_and(first))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_others_to_what_is_listened_on_count() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue\n";
        let line = |local: &str, remote: &str, state: &str| {
            format!("   0: {local} {remote} {state} 00000000:00000000 00:00000000\n")
        };
        let listen = line("00000000:1F90", "00000000:0000", "0A");
        let text = |more: &[String]| format!("{head}{listen}{}", more.concat());
        let own = "0202590A:1F90";
        let other = "0102590A:D431";
        assert_eq!(connected(&text(&[])), 0);
        for (state, count) in [
            ("01", 1),
            ("03", 1),
            ("04", 1),
            ("08", 1),
            // FIN_WAIT2, TIME_WAIT, CLOSE: nothing is owed any more.
            ("05", 0),
            ("06", 0),
            ("07", 0),
        ] {
            let all = text(&[line(own, other, state)]);
            assert_eq!(connected(&all), count, "{state}");
        }
        // Its own connections to others, and those of itself.
        let out = line("0202590A:D431", "0102590A:1F90", "01");
        let inside = line("0100007F:1F90", "0100007F:D431", "01");
        assert_eq!(connected(&text(&[out, inside])), 0);
        let mapped = format!("0000000000000000FFFF0000{other}");
        let loopback = "00000000000000000000000001000000:D431";
        let v6 = |remote: &str| line(&format!("{:032}:1F90", 0), remote, "01");
        assert_eq!(connected(&text(&[v6(&mapped), v6(loopback)])), 1);
    }
}
