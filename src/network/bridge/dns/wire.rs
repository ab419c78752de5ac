//! DNS messages: reading a question, writing an answer. Pure.
//!
//! Spec: RFC 1035 section 4, RFC 6891 (EDNS). The wire format is `simple-dns`'s; what is forwarded
//! passes as bytes, with another id.

use std::net::IpAddr;

use simple_dns::rdata::{A, AAAA, OPT, PTR, RData};
use simple_dns::{
    CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE,
};

use super::names::{Asked, DOMAIN};

/// How long others may remember an answer, seconds: addresses change with every start.
const TTL: u32 = 0;

/// The largest packet of UDP without EDNS.
const PLAIN: u16 = 512;

/// The largest that we send: fits every path.
const LARGEST: u16 = 1232;

/// At most so many records are in an answer.
const RECORDS: usize = 64;

/// A question that is well formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The asker's number for it.
    pub id: u16,
    /// The name as asked, without the final dot.
    pub name: String,
    /// Of what kind.
    pub asked: Asked,
    /// The largest answer over UDP.
    pub room: usize,
}

/// What cannot be answered but with an error, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// No answer: it is one itself, or too short.
    Silence,
    /// Malformed.
    Format,
    /// An operation or class that we do not have.
    Unknown,
}

impl Wrong {
    /// The error that is answered where one is answered at all.
    pub fn saying(self) -> Saying {
        Saying::Error(match self {
            Self::Unknown => RCODE::NotImplemented,
            Self::Format | Self::Silence => RCODE::FormatError,
        })
    }
}

/// Reads a question.
///
/// # Errors
/// [`Wrong`], see there.
pub fn read(bytes: &[u8]) -> Result<Question, Wrong> {
    // The header alone tells whether to answer at all: an answer to an answer has no end.
    let header = bytes.first_chunk::<12>().ok_or(Wrong::Silence)?;
    if header[2] & 0x80 != 0 {
        return Err(Wrong::Silence);
    }
    let packet = Packet::parse(bytes).map_err(|_| Wrong::Format)?;
    if packet.opcode() != OPCODE::StandardQuery {
        return Err(Wrong::Unknown);
    }
    let [question] = &packet.questions[..] else {
        return Err(Wrong::Format);
    };
    if !matches!(question.qclass, QCLASS::CLASS(CLASS::IN) | QCLASS::ANY) {
        return Err(Wrong::Unknown);
    }
    let asked = match question.qtype {
        QTYPE::TYPE(TYPE::A) => Asked::A,
        QTYPE::TYPE(TYPE::AAAA) => Asked::Aaaa,
        QTYPE::TYPE(TYPE::PTR) => Asked::Ptr,
        _ => Asked::Other,
    };
    let room = packet
        .opt()
        .map_or(PLAIN, |o| o.udp_packet_size.clamp(PLAIN, LARGEST));
    Ok(Question {
        id: packet.id(),
        name: question.qname.to_string(),
        asked,
        room: room.into(),
    })
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saying {
    /// Addresses, in this order.
    Addresses(Vec<IpAddr>),
    /// Names of an address, without our domain.
    Names(Vec<String>),
    /// No record, no error.
    Nothing,
    /// An error.
    Error(RCODE),
}

/// Writes the answer to `question`, the bytes that [`read`] took. `room`: the longest there may be;
/// a longer one is cut, and says so. `None` when nothing can be said.
pub fn write(question: &[u8], saying: &Saying, room: usize) -> Option<Vec<u8>> {
    let asked = Packet::parse(question).ok();
    let Some(asked) = asked.filter(|a| a.questions.len() == 1) else {
        return malformed(question, saying);
    };
    let mut reply = Packet::new_reply(asked.id());
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE | PacketFlag::AUTHORITATIVE_ANSWER);
    if asked.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    reply.questions.clone_from(&asked.questions);
    if asked.opt().is_some() {
        *reply.opt_mut() = Some(OPT {
            opt_codes: Vec::new(),
            udp_packet_size: LARGEST,
            version: 0,
        });
    }
    let name = asked.questions.first()?.qname.clone();
    let record = |data: RData<'static>| ResourceRecord::new(name.clone(), CLASS::IN, TTL, data);
    match saying {
        Saying::Error(code) => *reply.rcode_mut() = *code,
        Saying::Nothing => {}
        Saying::Addresses(list) => {
            for address in list.iter().take(RECORDS) {
                reply.answers.push(record(match address {
                    IpAddr::V4(a) => RData::A(A {
                        address: (*a).into(),
                    }),
                    IpAddr::V6(a) => RData::AAAA(AAAA {
                        address: (*a).into(),
                    }),
                }));
            }
        }
        Saying::Names(list) => {
            for text in list.iter().take(RECORDS) {
                let text = format!("{text}.{DOMAIN}");
                // Names were checked when they were given.
                if let Ok(target) = Name::new(&text) {
                    reply
                        .answers
                        .push(record(RData::PTR(PTR(target.into_owned()))));
                }
            }
        }
    }
    let bytes = reply.build_bytes_vec_compressed().ok()?;
    if bytes.len() <= room {
        return Some(bytes);
    }
    reply.answers.clear();
    reply.set_flags(PacketFlag::TRUNCATION);
    reply.build_bytes_vec_compressed().ok()
}

/// An error for what cannot be read: the header alone.
fn malformed(question: &[u8], saying: &Saying) -> Option<Vec<u8>> {
    let mut header = *question.first_chunk::<12>()?;
    let code = match saying {
        Saying::Error(code) => *code as u8,
        _ => RCODE::ServerFailure as u8,
    };
    header[2] = 0x80 | (header[2] & 0x79);
    header[3] = 0x80 | (code & 0xf);
    header[4..].fill(0);
    Some(header.to_vec())
}

/// The id of a message.
pub fn id(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|b| u16::from_be_bytes(*b))
}

/// Gives a message another id.
pub fn set_id(bytes: &mut [u8], id: u16) {
    if let Some(place) = bytes.first_chunk_mut() {
        *place = id.to_be_bytes();
    }
}

/// Whether an answer from elsewhere is one to `question`: its id was compared already.
pub fn is_answer(question: &[u8], answer: &[u8]) -> bool {
    let (Some(asked), Some(said)) = (question.get(12..), answer.get(12..)) else {
        return false;
    };
    if answer[2] & 0x80 == 0 || answer[4..6] != [0, 1] {
        // Some servers leave the question out when they refuse it.
        return answer[2] & 0x80 != 0 && answer[4..6] == [0, 0] && answer[3] & 0xf != 0;
    }
    let Some(length) = question_length(asked) else {
        return false;
    };
    match (asked.get(..length), said.get(..length)) {
        (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
        _ => false,
    }
}

/// The length of the question behind the header: labels, type and class.
fn question_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 5),
            label @ 1..=63 => at += usize::from(label) + 1,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};
    use simple_dns::Question as Asking;

    fn query(name: &str, kind: TYPE, edns: Option<u16>) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new(name).unwrap();
        let question = Asking::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false);
        packet.questions.push(question);
        if let Some(udp_packet_size) = edns {
            *packet.opt_mut() = Some(OPT {
                opt_codes: vec![],
                udp_packet_size,
                version: 0,
            });
        }
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn questions_are_read_with_the_room_for_their_answer() {
        for (edns, room) in [
            (None, 512),
            (Some(100), 512),
            (Some(1000), 1000),
            (Some(65535), 1232),
        ] {
            let question = read(&query("Web.Example", TYPE::AAAA, edns)).unwrap();
            assert_eq!(question.room, room);
            assert_eq!(
                (question.id, question.name.as_str(), question.asked),
                (7, "Web.Example", Asked::Aaaa)
            );
        }
        let mut answer = query("x", TYPE::A, None);
        answer[2] |= 0x80;
        assert_eq!(read(&answer), Err(Wrong::Silence));
        assert_eq!(read(&[0; 11]), Err(Wrong::Silence));
        assert_eq!(read(&[0; 12]), Err(Wrong::Format));
        let mut update = query("x", TYPE::A, None);
        update[2] |= 5 << 3;
        assert!(read(&update).is_err());
    }

    #[test]
    fn answers_repeat_the_question_and_are_cut_where_they_do_not_fit() {
        let asked = query("WeB", TYPE::A, Some(1232));
        let list: Vec<IpAddr> = (0..60).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        let whole = write(&asked, &Saying::Addresses(list.clone()), 1232).unwrap();
        let packet = Packet::parse(&whole).unwrap();
        assert_eq!((packet.id(), packet.answers.len()), (7, 60));
        assert!(packet.opt().is_some() && packet.has_flags(PacketFlag::RESPONSE));
        assert_eq!(packet.questions[0].qname.to_string(), "WeB");
        assert!(is_answer(&asked, &whole));
        assert!(!is_answer(&query("other", TYPE::A, None), &whole));
        let cut = write(&query("web", TYPE::A, None), &Saying::Addresses(list), 512).unwrap();
        let packet = Packet::parse(&cut).unwrap();
        assert!(packet.has_flags(PacketFlag::TRUNCATION) && packet.answers.is_empty());
        let names = write(
            &query("1.0.0.10.in-addr.arpa", TYPE::PTR, None),
            &Saying::Names(vec!["db".into()]),
            512,
        );
        let names = names.unwrap();
        let packet = Packet::parse(&names).unwrap();
        let RData::PTR(target) = &packet.answers[0].rdata else {
            panic!("{packet:?}")
        };
        assert_eq!(target.0.to_string(), "db.dns.podman");
        let error = write(
            &[1, 2, 1, 0, 9, 9, 9, 9, 9, 9, 9, 9],
            &Saying::Error(RCODE::FormatError),
            512,
        )
        .unwrap();
        assert_eq!(error, [1, 2, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    /// What once was thought of as hostile; each is replayed through everything that reads.
    #[test]
    fn the_corpus_is_survived() {
        let mut pointer_loop = query("x", TYPE::A, None);
        pointer_loop[12] = 0xc0;
        pointer_loop[13] = 0x0c;
        let mut many = query("x", TYPE::A, None);
        many[4..12].fill(0xff);
        let long = [&query("x", TYPE::A, None)[..12], &[63; 300]].concat();
        for bytes in [
            pointer_loop,
            many,
            long,
            vec![],
            vec![0xff; 512],
            vec![0; 65535],
        ] {
            survive(&bytes);
        }
    }

    fn survive(bytes: &[u8]) {
        let read_as = read(bytes);
        for saying in [
            Saying::Nothing,
            Saying::Addresses(vec![[10, 0, 0, 1].into()]),
            Saying::Error(RCODE::Refused),
        ] {
            if let Some(answer) = write(bytes, &saying, 512) {
                assert!(answer.len() <= 512 || read_as.is_ok(), "{bytes:?}");
            }
        }
        is_answer(bytes, bytes);
        assert_eq!(id(bytes).is_some(), bytes.len() > 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn garbage_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            survive(&bytes);
        }

        #[test]
        fn damaged_questions_are_survived(at in 0_usize..40, value in any::<u8>(), cut in 0_usize..40) {
            let mut bytes = query("some.name.example", TYPE::A, Some(1232));
            let length = bytes.len();
            bytes[at % length] = value;
            bytes.truncate(length - cut % length);
            survive(&bytes);
            prop_assert!(bytes.len() <= length);
        }
    }
}
