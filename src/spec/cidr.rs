//! Subnets: an address with the length of its prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::Error;

/// `10.89.0.0/24` or `fd00:1::/64`; the bits behind the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    /// The subnet of `bits` that `address` is in; `None` for a prefix longer than an address.
    pub fn of(address: IpAddr, bits: u8) -> Option<Self> {
        if bits > width(address) {
            return None;
        }
        let base = number(address) & mask(address, bits);
        Some(Self {
            address: from_number(address, base),
            bits,
        })
    }

    /// The first address, which names the subnet.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The length of the prefix.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether it is one of IPv6.
    pub fn is_v6(&self) -> bool {
        self.address.is_ipv6()
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.is_v6() == address.is_ipv6() && Self::of(address, self.bits) == Some(*self)
    }

    /// Whether the two share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// The address `offset` places behind the first, if it is inside.
    pub fn nth(&self, offset: u128) -> Option<IpAddr> {
        let room = number(self.address) | !mask(self.address, self.bits) & all(self.address);
        let wanted = number(self.address).checked_add(offset)?;
        (wanted <= room).then(|| from_number(self.address, wanted))
    }

    /// The last address: IPv4's broadcast.
    pub fn last(&self) -> IpAddr {
        let last = number(self.address) | !mask(self.address, self.bits) & all(self.address);
        from_number(self.address, last)
    }

    /// Where `address` is, counted from the first; `None` when it is not inside.
    pub fn offset(&self, address: IpAddr) -> Option<u128> {
        self.contains(address)
            .then(|| number(address) - number(self.address))
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn all(address: IpAddr) -> u128 {
    u128::MAX >> (128 - u32::from(width(address)))
}

fn mask(address: IpAddr, bits: u8) -> u128 {
    let free = u32::from(width(address) - bits);
    all(address) & u128::MAX.checked_shl(free).unwrap_or(0)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u32::from(a).into(),
        IpAddr::V6(a) => a.into(),
    }
}

fn from_number(like: IpAddr, number: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from(number).into(),
    }
}

impl FromStr for Cidr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::invalid(format!("invalid subnet {text:?}"))
                .hint("write an address and the length of its prefix, e.g. 10.90.0.0/24")
        };
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let is_plain = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
        let bits: u8 = bits.parse().ok().filter(|_| is_plain).ok_or_else(wrong)?;
        Self::of(address, bits).ok_or_else(wrong)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse()
            .map_err(|e: Error| serde::de::Error::custom(e.what()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn texts_become_subnets_without_host_bits_or_are_refused() {
        for (text, shown) in [
            ("10.89.0.7/24", "10.89.0.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.168.1.1/32", "192.168.1.1/32"),
            ("fd00:1::5/64", "fd00:1::/64"),
            ("::1/128", "::1/128"),
        ] {
            assert_eq!(cidr(text).to_string(), shown);
        }
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "1.2.3.4/+8",
            "1.2.3.4/",
            "x/8",
        ] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }

    #[test]
    fn places_inside_are_counted_and_never_leave_it() {
        let net = cidr("10.89.0.0/24");
        assert_eq!(net.nth(1), Some("10.89.0.1".parse().unwrap()));
        assert_eq!(net.nth(255), Some(net.last()));
        assert_eq!(net.nth(256), None);
        assert_eq!(net.offset("10.89.0.9".parse().unwrap()), Some(9));
        assert_eq!(net.offset("10.89.1.0".parse().unwrap()), None);
        assert!(!net.contains("::1".parse().unwrap()));
        assert_eq!(cidr("::/0").nth(u128::MAX), Some(cidr("::/0").last()));
        assert!(net.overlaps(&cidr("10.0.0.0/8")) && cidr("10.0.0.0/8").overlaps(&net));
        assert!(!net.overlaps(&cidr("10.89.1.0/24")) && !net.overlaps(&cidr("::/0")));
    }
}
