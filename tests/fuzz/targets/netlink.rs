//! What comes from netlink sockets. The kernel is no stranger, but it copies what others named:
//! devices, addresses, routes.

use coracle::sys::{link, netlink, nl};

/// `struct nlmsghdr`.
const HEADER: usize = 16;

/// A packet: its messages, verdicts, and what they say about routes.
pub fn messages(data: &[u8]) {
    let all = nl::messages(data);
    let total: usize = all.iter().map(|m| m.2.len() + HEADER).sum();
    assert!(total <= data.len(), "{total} of {} bytes", data.len());
    for (_, _, payload) in &all {
        if nl::verdict(payload, "fuzz").is_ok() {
            assert_eq!(payload.first_chunk(), Some(&[0; 4]));
        }
    }
    let seen = netlink::seen_in(data);
    if seen.default_v4 || seen.default_v6 {
        assert!(!all.is_empty());
    }
}

/// A message about an address: the number of the device that is meant, then the message's body.
pub fn addresses(data: &[u8]) {
    let Some((index, payload)) = data.split_first_chunk() else {
        return;
    };
    let index = i32::from_ne_bytes(*index);
    if let Some(address) = link::lasting(payload, index) {
        let kept = address.bytes();
        assert!(kept.len() <= payload.len().next_multiple_of(4));
        assert_eq!(kept.len() % 4, 0, "attributes are padded");
        // `struct ifaddrmsg` is taken over as it is.
        assert_eq!(kept.get(..8), payload.get(..8));
    }
}
