//! The rules of the namespace of all bridges, as one nftables table that is replaced as a whole.
//! Pure: networks in, a batch out.
//!
//! - forward: between the subnets of one network everything; an isolated network takes nothing from
//!   others and gives them nothing; an internal one has no way out at all.
//! - postrouting: what leaves through the uplink bears its address.
//! - services: a connection to a service's address is led to one of its replicas that are ready, in
//!   turn, and those that are led so bear the bridge's address: an answer must come back here, which
//!   those between neighbours do not. What is under way stays with its replica.
//! - prerouting: packets for one of our own sockets that bears a client's address are marked
//!   ([`super::links::deliver_marked`]).
//!
//! Kernel: `linux/netfilter/nf_tables.h`. Numbers in attributes are in the network's order, data
//! in registers in the machine's.

use std::net::IpAddr;

use super::links::MARK;
use crate::state::options::Protocol;
use crate::state::service::ServicePort;
use crate::sys::nl::Batch;

const TABLE: &str = "coracle";
/// `NFNL_SUBSYS_NFTABLES` in the upper byte of a message's type.
const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEWTABLE: u16 = SUBSYSTEM;
const DELTABLE: u16 = SUBSYSTEM | 2;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const NEWRULE: u16 = SUBSYSTEM | 6;
const NEWSET: u16 = SUBSYSTEM | 9;
const NEWSETELEM: u16 = SUBSYSTEM | 12;
const NFPROTO_INET: u8 = 1;
/// A member of a list.
const ELEMENT: u16 = 1;
const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
/// The bytes of a value.
const VALUE: u16 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const META_MARK: u32 = 3;
const META_IIF: u32 = 4;
const META_OIF: u32 = 5;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
/// Sixteen bytes.
const REGISTER: u32 = 1;
/// Sixteen more.
const SECOND: u32 = 2;
/// Four bytes each, one behind the other.
const PAIR: [u32; 2] = [8, 9];

/// A bridge, for the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// The device's number.
    pub index: u32,
    /// Whether other networks are kept out.
    pub isolated: bool,
    /// Whether it has no way out.
    pub internal: bool,
}

/// A service on one network, for the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Its address.
    pub address: IpAddr,
    /// The replicas that take connections now, of the same family.
    pub replicas: Vec<IpAddr>,
    /// Ports that lead to others; none means that every port leads to the same.
    pub ports: Vec<ServicePort>,
}

/// How packets that may not pass are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// With an error, so that nobody waits.
    Reject,
    /// Not at all: kernels that lack the other.
    Drop,
}

/// `struct nfgenmsg`.
fn family(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

/// The whole table. `uplink` is the name of the device that leads out.
pub fn ruleset(bridges: &[Bridge], services: &[Balance], uplink: &str, refusal: Refusal) -> Batch {
    let mut batch = Batch::new();
    batch.note(BATCH_BEGIN, 0, &family(0, 10));
    let inet = family(NFPROTO_INET, 0);
    // Made if it is not there, so that it can be removed with what it holds.
    for (kind, flags) in [
        (NEWTABLE, libc::NLM_F_CREATE),
        (DELTABLE, 0),
        (NEWTABLE, libc::NLM_F_CREATE),
    ] {
        batch
            .request(kind, flags, &inet, "nftables table")
            .put_text(1, TABLE);
    }
    let sets: [(&str, u32, Vec<Vec<u8>>); 4] = [
        ("all", 4, bridges.iter().map(|b| key(&[b.index])).collect()),
        (
            "isolated",
            4,
            bridges
                .iter()
                .filter(|b| b.isolated)
                .map(|b| key(&[b.index]))
                .collect(),
        ),
        (
            "internal",
            4,
            bridges
                .iter()
                .filter(|b| b.internal)
                .map(|b| key(&[b.index]))
                .collect(),
        ),
        (
            "same",
            8,
            bridges.iter().map(|b| key(&[b.index, b.index])).collect(),
        ),
    ];
    for (number, (name, length, keys)) in (1..).zip(sets) {
        set(&mut batch, name, number, length, &keys);
    }
    chain(&mut batch, "forward", "filter", 2, 0);
    chain(&mut batch, "postrouting", "nat", 4, 100);
    chain(&mut batch, "prerouting", "filter", 0, -150);
    chain(&mut batch, "services", "nat", 0, -100);
    rule(&mut batch, "forward", |b| {
        meta(b, META_IIF, PAIR[0]);
        meta(b, META_OIF, PAIR[1]);
        lookup(b, "same", PAIR[0]);
        accept(b);
    });
    for direction in [META_IIF, META_OIF] {
        rule(&mut batch, "forward", |b| {
            meta(b, direction, REGISTER);
            lookup(b, "internal", REGISTER);
            refuse(b, refusal);
        });
    }
    for [this, other] in [[META_IIF, META_OIF], [META_OIF, META_IIF]] {
        rule(&mut batch, "forward", |b| {
            meta(b, this, REGISTER);
            lookup(b, "isolated", REGISTER);
            meta(b, other, REGISTER);
            lookup(b, "all", REGISTER);
            refuse(b, refusal);
        });
    }
    rule(&mut batch, "postrouting", |b| {
        meta(b, META_OIFNAME, REGISTER);
        let mut name = uplink.as_bytes().to_vec();
        name.resize(libc::IFNAMSIZ, 0);
        equals(b, REGISTER, &name);
        expression(b, "masq", |_| {});
    });
    let mut number = 5;
    for service in services.iter().filter(|s| !s.replicas.is_empty()) {
        number += 1;
        balance(&mut batch, number, service);
    }
    if number > 5 {
        rule(&mut batch, "postrouting", |b| {
            led(b);
            expression(b, "masq", |_| {});
        });
    }
    rule(&mut batch, "prerouting", |b| {
        expression(b, "socket", |b| {
            // NFT_SOCKET_TRANSPARENT
            b.put_be32(1, 0).put_be32(2, REGISTER);
        });
        equals(b, REGISTER, &[1]);
        expression(b, "immediate", |b| {
            b.put_be32(1, REGISTER).nest(2, |b| {
                b.put(VALUE, &MARK.to_ne_bytes());
            });
        });
        expression(b, "meta", |b| {
            b.put_be32(2, META_MARK).put_be32(3, REGISTER);
        });
    });
    batch.note(BATCH_END, 0, &family(0, 10));
    batch
}

/// Leads connections to a service's address to its replicas, in turn.
fn balance(batch: &mut Batch, number: u32, service: &Balance) {
    let name = format!("service{number}");
    let inet = family(NFPROTO_INET, 0);
    let (proto, offset) = match service.address {
        IpAddr::V4(_) => (NFPROTO_IPV4, 16),
        IpAddr::V6(_) => (NFPROTO_IPV6, 24),
    };
    let address = octets(service.address);
    let length = u32::try_from(address.len()).unwrap_or(4);
    batch
        .request(NEWSET, libc::NLM_F_CREATE, &inet, "nftables map")
        .put_text(1, TABLE)
        .put_text(2, &name)
        // NFT_SET_MAP
        .put_be32(3, 8)
        .put_be32(4, 0)
        .put_be32(5, 4)
        // NFTA_SET_DATA_TYPE, _LEN: any but a verdict.
        .put_be32(6, 0)
        .put_be32(7, length)
        .put_be32(10, number);
    batch
        .request(NEWSETELEM, libc::NLM_F_CREATE, &inet, "nftables elements")
        .put_text(1, TABLE)
        .put_text(2, &name)
        .put_be32(4, number)
        .nest(3, |b| {
            for (place, replica) in (0_u32..).zip(&service.replicas) {
                b.nest(ELEMENT, |b| {
                    b.nest(1, |b| {
                        b.put(VALUE, &place.to_ne_bytes());
                    })
                    .nest(2, |b| {
                        b.put(VALUE, &octets(*replica));
                    });
                });
            }
        });
    let count = u32::try_from(service.replicas.len()).unwrap_or(1);
    let mut lead = |port: Option<&ServicePort>| {
        rule(batch, "services", |b| {
            meta(b, META_NFPROTO, REGISTER);
            equals(b, REGISTER, &[proto]);
            // NFT_PAYLOAD_NETWORK_HEADER
            payload(b, 1, offset, length);
            equals(b, REGISTER, &address);
            if let Some(port) = port {
                let protocol = match port.protocol {
                    Protocol::Tcp => libc::IPPROTO_TCP,
                    Protocol::Udp => libc::IPPROTO_UDP,
                };
                meta(b, META_L4PROTO, REGISTER);
                equals(b, REGISTER, &[protocol.to_le_bytes()[0]]);
                // NFT_PAYLOAD_TRANSPORT_HEADER
                payload(b, 2, 2, 2);
                equals(b, REGISTER, &port.port.to_be_bytes());
            }
            expression(b, "numgen", |b| {
                // NFT_NG_INCREMENTAL
                b.put_be32(1, REGISTER).put_be32(2, count).put_be32(3, 0);
            });
            expression(b, "lookup", |b| {
                b.put_text(1, &name)
                    .put_be32(2, REGISTER)
                    .put_be32(3, REGISTER)
                    .put_be32(4, number);
            });
            if let Some(port) = port {
                expression(b, "immediate", |b| {
                    b.put_be32(1, SECOND).nest(2, |b| {
                        b.put(VALUE, &port.target.to_be_bytes());
                    });
                });
            }
            expression(b, "nat", |b| {
                // NFT_NAT_DNAT
                b.put_be32(1, 1)
                    .put_be32(2, proto.into())
                    .put_be32(3, REGISTER);
                if port.is_some() {
                    b.put_be32(5, SECOND);
                }
            });
        });
    };
    match service.ports.is_empty() {
        true => lead(None),
        false => service.ports.iter().for_each(|port| lead(Some(port))),
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// Only packets of connections that were led elsewhere.
fn led(batch: &mut Batch) {
    /// `IPS_DST_NAT` of the connection's status.
    const LED: u32 = 1 << 5;
    expression(batch, "ct", |b| {
        // NFT_CT_STATUS
        b.put_be32(1, REGISTER).put_be32(2, 2);
    });
    expression(batch, "bitwise", |b| {
        b.put_be32(1, REGISTER)
            .put_be32(2, REGISTER)
            .put_be32(3, 4)
            .nest(4, |b| {
                b.put(VALUE, &LED.to_ne_bytes());
            })
            .nest(5, |b| {
                b.put(VALUE, &[0; 4]);
            });
    });
    equals(batch, REGISTER, &LED.to_ne_bytes());
}

fn payload(batch: &mut Batch, base: u32, offset: u32, length: u32) {
    expression(batch, "payload", |b| {
        b.put_be32(1, REGISTER)
            .put_be32(2, base)
            .put_be32(3, offset)
            .put_be32(4, length);
    });
}

fn key(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_ne_bytes()).collect()
}

fn set(batch: &mut Batch, name: &str, number: u32, length: u32, keys: &[Vec<u8>]) {
    let inet = family(NFPROTO_INET, 0);
    batch
        .request(NEWSET, libc::NLM_F_CREATE, &inet, "nftables set")
        .put_text(1, TABLE)
        .put_text(2, name)
        .put_be32(3, 0)
        .put_be32(4, 0)
        .put_be32(5, length)
        .put_be32(10, number);
    if keys.is_empty() {
        return;
    }
    batch
        .request(NEWSETELEM, libc::NLM_F_CREATE, &inet, "nftables elements")
        .put_text(1, TABLE)
        .put_text(2, name)
        .put_be32(4, number)
        .nest(3, |b| {
            for key in keys {
                b.nest(ELEMENT, |b| {
                    b.nest(1, |b| {
                        b.put(VALUE, key);
                    });
                });
            }
        });
}

fn chain(batch: &mut Batch, name: &str, kind: &str, hook: u32, priority: i32) {
    batch
        .request(NEWCHAIN, libc::NLM_F_CREATE, &family(NFPROTO_INET, 0), "nftables chain")
        .put_text(1, TABLE)
        .put_text(3, name)
        .nest(4, |b| {
            b.put_be32(1, hook).put_be32(2, priority.cast_unsigned());
        })
        // NF_ACCEPT
        .put_be32(5, 1)
        .put_text(7, kind);
}

fn rule(batch: &mut Batch, chain: &str, expressions: impl FnOnce(&mut Batch)) {
    batch
        .request(
            NEWRULE,
            libc::NLM_F_CREATE | libc::NLM_F_APPEND,
            &family(NFPROTO_INET, 0),
            &format!("nftables rule in {chain}"),
        )
        .put_text(1, TABLE)
        .put_text(2, chain)
        .nest(4, expressions);
}

fn expression(batch: &mut Batch, name: &str, data: impl FnOnce(&mut Batch)) {
    batch.nest(ELEMENT, |b| {
        b.put_text(EXPR_NAME, name).nest(EXPR_DATA, data);
    });
}

fn meta(batch: &mut Batch, key: u32, register: u32) {
    expression(batch, "meta", |b| {
        b.put_be32(1, register).put_be32(2, key);
    });
}

fn lookup(batch: &mut Batch, set: &str, register: u32) {
    expression(batch, "lookup", |b| {
        b.put_text(1, set).put_be32(2, register);
    });
}

fn equals(batch: &mut Batch, register: u32, value: &[u8]) {
    expression(batch, "cmp", |b| {
        // NFT_CMP_EQ
        b.put_be32(1, register).put_be32(2, 0).nest(3, |b| {
            b.put(VALUE, value);
        });
    });
}

fn verdict(batch: &mut Batch, code: u32) {
    expression(batch, "immediate", |b| {
        // NFT_REG_VERDICT, NFTA_DATA_VERDICT
        b.put_be32(1, 0).nest(2, |b| {
            b.nest(2, |b| {
                b.put_be32(1, code);
            });
        });
    });
}

fn accept(batch: &mut Batch) {
    verdict(batch, 1);
}

fn refuse(batch: &mut Batch, refusal: Refusal) {
    match refusal {
        Refusal::Drop => verdict(batch, 0),
        // NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_ADMIN_PROHIBITED
        Refusal::Reject => expression(batch, "reject", |b| {
            b.put_be32(1, 2).put(2, &[3]);
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::nl::messages;

    #[test]
    fn the_table_is_replaced_in_one_transaction() {
        let bridges = [
            Bridge {
                index: 5,
                isolated: true,
                internal: false,
            },
            Bridge {
                index: 6,
                isolated: false,
                internal: true,
            },
        ];
        let bytes = ruleset(&bridges, &[], "eth0", Refusal::Reject).finish();
        let all = messages(&bytes);
        let kinds: Vec<u16> = all.iter().map(|m| m.0).collect();
        assert_eq!(kinds.first(), Some(&BATCH_BEGIN));
        assert_eq!(kinds.last(), Some(&BATCH_END));
        assert_eq!(kinds[1..4], [NEWTABLE, DELTABLE, NEWTABLE]);
        assert_eq!(kinds.iter().filter(|k| **k == NEWRULE).count(), 7);
        assert_eq!(kinds.iter().filter(|k| **k == NEWSETELEM).count(), 4);
        assert!(
            all[1..all.len() - 1].iter().all(|m| m.1 > 0),
            "all are answered"
        );
        let empty = ruleset(&[], &[], "eth0", Refusal::Drop).finish();
        assert!(messages(&empty).iter().all(|m| m.0 != NEWSETELEM));
    }

    #[test]
    fn a_service_leads_to_its_replicas_that_are_ready() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let service = |own: &str, replicas: &[&str], ports: &[(u16, u16)]| Balance {
            address: address(own),
            replicas: replicas.iter().map(|r| address(r)).collect(),
            ports: ports
                .iter()
                .map(|(port, target)| ServicePort {
                    port: *port,
                    target: *target,
                    protocol: Protocol::Tcp,
                })
                .collect(),
        };
        let services = [
            service("10.0.0.9", &["10.0.0.2", "10.0.0.3"], &[]),
            service("fd00::9", &["fd00::2"], &[(80, 8080), (443, 8443)]),
            // Nobody is ready: the address answers that nobody is there.
            service("10.0.0.8", &[], &[]),
        ];
        let bytes = ruleset(&[], &services, "eth0", Refusal::Drop).finish();
        let all = messages(&bytes);
        let count = |kind| all.iter().filter(|m| m.0 == kind).count();
        // One rule, two, and the one that has answers come back.
        assert_eq!(count(NEWRULE), 7 + 1 + 2 + 1);
        assert_eq!((count(NEWSET), count(NEWSETELEM)), (4 + 2, 2));
        let holds = |what: &[u8]| bytes.windows(what.len()).any(|w| w == what);
        assert!(holds(&8443_u16.to_be_bytes()) && holds(&[10, 0, 0, 3]));
        assert!(!holds(&[10, 0, 0, 8]));
    }
}
