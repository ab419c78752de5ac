//! The rules of the namespace of all bridges, as one nftables table that is replaced as a whole.
//! Pure: networks in, a batch out.
//!
//! - forward: between the subnets of one network everything; an isolated network takes nothing from
//!   others and gives them nothing; an internal one has no way out at all.
//! - postrouting: what leaves through the uplink bears its address.
//! - prerouting: packets for one of our own sockets that bears a client's address are marked
//!   ([`super::links::deliver_marked`]).
//!
//! Kernel: `linux/netfilter/nf_tables.h`. Numbers in attributes are in the network's order, data
//! in registers in the machine's.

use super::links::MARK;
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
const META_MARK: u32 = 3;
const META_IIF: u32 = 4;
const META_OIF: u32 = 5;
const META_OIFNAME: u32 = 7;
/// Sixteen bytes.
const REGISTER: u32 = 1;
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
pub fn ruleset(bridges: &[Bridge], uplink: &str, refusal: Refusal) -> Batch {
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
        let bytes = ruleset(&bridges, "eth0", Refusal::Reject).finish();
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
        let empty = ruleset(&[], "eth0", Refusal::Drop).finish();
        assert!(messages(&empty).iter().all(|m| m.0 != NEWSETELEM));
    }
}
