//! Names and ids for containers that were given none: `adjective_surname`.
//!
//! Our own word lists: pleasant adjectives, and people who sailed, measured, computed or cured.

use crate::base::{Result, random};
use crate::spec::id::{ContainerId, ObjectName};

const ADJECTIVES: &[&str] = &[
    "agile", "airy", "amber", "ample", "apt", "ardent", "bold", "brave", "breezy", "bright",
    "brisk", "calm", "candid", "cheery", "civil", "clear", "clever", "cosy", "crisp", "curious",
    "dapper", "daring", "deft", "devoted", "eager", "earnest", "easy", "elegant", "fair",
    "fearless", "festive", "fine", "fleet", "fluent", "fond", "frank", "fresh", "gallant",
    "generous", "gentle", "gifted", "glad", "golden", "graceful", "handy", "hardy", "hearty",
    "honest", "humble", "ideal", "jaunty", "jolly", "jovial", "keen", "kind", "lively", "loyal",
    "lucid", "lucky", "mellow", "merry", "mild", "modest", "neat", "nimble", "noble", "open",
    "patient", "placid", "pleasant", "plucky", "polite", "prompt", "proud", "quick", "quiet",
    "ready", "robust", "rosy", "serene", "sharp", "silent", "sincere", "smart", "snug", "sober",
    "spry", "steady", "stout", "sturdy", "subtle", "sunny", "swift", "tender", "tidy", "trim",
    "trusty", "upbeat", "valiant", "vivid", "warm", "wise", "witty", "zesty",
];

const SURNAMES: &[&str] = &[
    "abel",
    "agnesi",
    "amundsen",
    "anning",
    "avogadro",
    "banneker",
    "bardeen",
    "bell",
    "bernoulli",
    "bohr",
    "boole",
    "bose",
    "brahe",
    "brunel",
    "burnell",
    "cannon",
    "cantor",
    "carson",
    "carver",
    "cauchy",
    "cavendish",
    "cerf",
    "charpentier",
    "chatelet",
    "clarke",
    "cook",
    "copernicus",
    "crick",
    "curie",
    "cuvier",
    "daguerre",
    "dalton",
    "darwin",
    "davy",
    "dijkstra",
    "dirac",
    "drake",
    "dyson",
    "earhart",
    "edison",
    "einstein",
    "elion",
    "engelbart",
    "erdos",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "feynman",
    "fibonacci",
    "fleming",
    "fourier",
    "franklin",
    "fuller",
    "galileo",
    "galois",
    "gauss",
    "germain",
    "goodall",
    "haller",
    "hamilton",
    "harrison",
    "hawking",
    "heisenberg",
    "hero",
    "herschel",
    "hilbert",
    "hoare",
    "hodgkin",
    "hooke",
    "hopper",
    "humboldt",
    "huygens",
    "hypatia",
    "jacquard",
    "jemison",
    "johnson",
    "joule",
    "kay",
    "kepler",
    "khayyam",
    "kovalevskaya",
    "lagrange",
    "lamarr",
    "laplace",
    "lavoisier",
    "leavitt",
    "leibniz",
    "linnaeus",
    "lister",
    "lovelace",
    "magellan",
    "maxwell",
    "mayer",
    "mcclintock",
    "meitner",
    "mendel",
    "mendeleev",
    "mercator",
    "merian",
    "mirzakhani",
    "morse",
    "nansen",
    "napier",
    "nash",
    "neumann",
    "newton",
    "nightingale",
    "nobel",
    "noether",
    "oersted",
    "ohm",
    "pascal",
    "pasteur",
    "pauling",
    "perlman",
    "planck",
    "poincare",
    "ptolemy",
    "ramanujan",
    "ritchie",
    "roentgen",
    "rubin",
    "rutherford",
    "sagan",
    "schrodinger",
    "shannon",
    "shackleton",
    "slocum",
    "snow",
    "somerville",
    "stevin",
    "stokes",
    "swartz",
    "tasman",
    "tesla",
    "thales",
    "thompson",
    "tereshkova",
    "torvalds",
    "tu",
    "turing",
    "vesalius",
    "volta",
    "wallace",
    "watt",
    "wegener",
    "wiles",
    "wing",
    "wozniak",
    "wu",
    "yonath",
    "zhang",
    "zuse",
];

/// A fresh random id.
///
/// # Errors
/// What the kernel says.
pub fn random_id() -> Result<ContainerId> {
    Ok(ContainerId::from_random(&random::bytes()?))
}

/// A name for attempt number `attempt` (from 0): from the third attempt on with a number behind, since
/// so many names being taken means that plain ones run out.
///
/// # Errors
/// What the kernel says.
pub fn random_name(attempt: u32) -> Result<ObjectName> {
    name_of(u32::from_le_bytes(random::bytes()?), attempt).parse()
}

fn name_of(random: u32, attempt: u32) -> String {
    let adjective = ADJECTIVES[random as usize % ADJECTIVES.len()];
    let rest = random as usize / ADJECTIVES.len();
    let surname = SURNAMES[rest % SURNAMES.len()];
    let number = rest / SURNAMES.len() % 1000;
    if attempt < 2 {
        format!("{adjective}_{surname}")
    } else {
        format!("{adjective}_{surname}{number}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn words_are_unique_and_every_pair_is_a_valid_name() {
        for list in [ADJECTIVES, SURNAMES] {
            let set: BTreeSet<_> = list.iter().collect();
            assert_eq!(set.len(), list.len());
            assert!(
                list.iter()
                    .all(|w| w.bytes().all(|b| b.is_ascii_lowercase()))
            );
        }
        for random in [0, 1, 12_345_678, u32::MAX] {
            for attempt in [0, 5] {
                assert!(name_of(random, attempt).parse::<ObjectName>().is_ok());
            }
        }
    }

    #[test]
    fn later_attempts_carry_a_number() {
        assert!(!name_of(u32::MAX, 0).ends_with(|c: char| c.is_ascii_digit()));
        assert!(name_of(u32::MAX, 2).ends_with(|c: char| c.is_ascii_digit()));
    }
}
