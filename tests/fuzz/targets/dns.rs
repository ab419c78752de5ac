//! The name service: questions of containers, answers of servers, the host's resolv.conf.

use std::net::IpAddr;

use coracle::network::bridge::dns::names::{Directory, Place, Resident, Scope, Verdict};
use coracle::network::bridge::dns::wire::{self, Saying, Wrong};
use coracle::network::files;

const NETWORK: &str = "net";
const CLIENT: [u8; 4] = [10, 1, 0, 2];

/// One network, two containers.
fn directory() -> Directory {
    let mut directory = Directory::default();
    let scope = Scope {
        subnets: ["10.1.0.0/24", "fd00::/64"]
            .iter()
            .filter_map(|s| s.parse().ok())
            .collect(),
        ..Scope::default()
    };
    directory.set_scope(NETWORK, scope);
    for (number, octet, name) in [(1, 2, "web"), (2, 3, "db")] {
        let place = Place {
            network: NETWORK.to_owned(),
            addresses: vec![[10, 1, 0, octet].into()],
            names: vec![name.to_owned(), "all".to_owned()],
        };
        let resident = Resident {
            places: vec![place],
            servers: Vec::new(),
        };
        directory.set(number, resident);
    }
    directory
}

/// What a container sends to its gateway, from reading it to the answer.
pub fn question(data: &[u8]) {
    let read = wire::read(data);
    if read == Err(Wrong::Silence) {
        return;
    }
    let (saying, room) = match &read {
        Err(wrong) => (wrong.saying(), 512),
        Ok(question) => {
            assert!((512..=1232).contains(&question.room), "{}", question.room);
            assert_eq!(Some(question.id), wire::id(data));
            let client = IpAddr::from(CLIENT);
            let said = directory().answer(NETWORK, client, &question.name, question.asked);
            let saying = match said {
                Verdict::Addresses(list) => Saying::Addresses(list),
                Verdict::Names(list) => Saying::Names(list),
                _ => Saying::Nothing,
            };
            (saying, question.room)
        }
    };
    let many = Saying::Addresses((0..200).map(|n| [10, 1, 0, n].into()).collect());
    for saying in [&saying, &Saying::Nothing, &many] {
        for room in [room, usize::from(u16::MAX)] {
            let Some(answer) = wire::write(data, saying, room) else {
                continue;
            };
            // The question itself may be longer than the room; then the answer is no longer.
            assert!(
                answer.len() <= room.max(data.len() + 64),
                "{}",
                answer.len()
            );
            assert_eq!(wire::id(&answer), wire::id(data));
            assert_eq!(
                wire::read(&answer),
                Err(Wrong::Silence),
                "an answer is answered"
            );
        }
    }
}

/// What a server sends: two bytes for the length of the question that it was asked, that question,
/// the answer.
pub fn answer(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk() else {
        return;
    };
    let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
    let (question, answer) = rest.split_at(length);
    let accepted = wire::is_answer(question, answer);
    if accepted {
        assert!(question.len() >= 12 && answer.len() >= 12);
        assert_ne!(answer[2] & 0x80, 0, "a question is taken for an answer");
    }
    let mut renamed = answer.to_vec();
    wire::set_id(&mut renamed, 0xabcd);
    assert_eq!(renamed.len(), answer.len());
    if answer.len() >= 2 {
        assert_eq!(wire::id(&renamed), Some(0xabcd));
        assert_eq!(wire::is_answer(question, &renamed), accepted);
    }
}

/// The host's resolv.conf, and ours for a container.
pub fn resolv_conf(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let read = files::parse_resolver(&text);
    assert!(
        read.servers
            .iter()
            .all(|s| !s.contains(|c: char| c.is_ascii_whitespace()))
    );
    let servers = [IpAddr::from(CLIENT)];
    let again = files::parse_resolver(&files::with_servers(&text, &servers));
    assert_eq!(again.servers, ["10.1.0.2"]);
}
