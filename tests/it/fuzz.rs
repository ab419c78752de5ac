//! The fuzz targets on stable Rust: every input of their corpus, and mutations of them, the same
//! ones at every run (tests/fuzz/README.md).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[path = "../fuzz/targets/mod.rs"]
mod targets;

/// No mutated input is longer, bytes.
const LONGEST: usize = 64 << 10;

/// Mutations of each target; `CORACLE_FUZZ_ROUNDS` makes it another number.
fn rounds() -> u64 {
    let given = std::env::var("CORACLE_FUZZ_ROUNDS").ok();
    given.and_then(|n| n.parse().ok()).unwrap_or(2000)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

/// The inputs of a target, by name.
fn corpus(target: &str) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder().join("corpus").join(target)) else {
        return BTreeMap::new();
    };
    entries
        .flatten()
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// Xorshift: the same numbers everywhere, always.
struct Dice(u64);

impl Dice {
    /// From a text, by FNV-1a.
    fn new(seed: &str) -> Self {
        let hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(hash | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Less than `limit`, which is not 0.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Numbers that parsers trip over.
const ODD: [u8; 10] = [0, 1, 0x7f, 0x80, 0xc0, 0xff, b'\n', b'\\', b'"', b'$'];

/// Changes an input as fuzzers do: bits, bytes, cuts, repetitions, pieces of another one.
fn mutate(dice: &mut Dice, input: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=dice.below(4) {
        let at = dice.below(input.len() + 1);
        let piece = |dice: &mut Dice, of: &[u8]| {
            let from = dice.below(of.len() + 1);
            let length = dice.below((of.len() - from).min(64) + 1);
            of[from..from + length].to_vec()
        };
        match dice.below(8) {
            0 if at < input.len() => input[at] ^= 1 << dice.below(8),
            1 if at < input.len() => input[at] = dice.next() as u8,
            2 if at < input.len() => input[at] = ODD[dice.below(ODD.len())],
            3 => input.truncate(at),
            4 => input.insert(at, ODD[dice.below(ODD.len())]),
            5 => {
                let own = piece(dice, input);
                drop(input.splice(at..at, own));
            }
            6 => {
                let foreign = piece(dice, other);
                drop(input.splice(at..at, foreign));
            }
            _ if at < input.len() => {
                let end = at + dice.below((input.len() - at).min(16)) + 1;
                drop(input.drain(at..end));
            }
            _ => {}
        }
    }
    input.truncate(LONGEST);
}

/// Runs a target; a panic is told with the input that led to it.
fn survives(target: &str, name: &str, input: &[u8]) {
    let run = std::panic::AssertUnwindSafe(|| targets::run(target, input));
    let bytes = || input.iter().map(|b| format!("\\x{b:02x}"));
    assert!(
        std::panic::catch_unwind(run).is_ok(),
        "{target}: {name} is not survived; as a file of its corpus: printf '{}' >tests/fuzz/corpus/{target}/NAME",
        bytes().collect::<String>(),
    );
}

#[test]
fn every_input_of_the_corpus_is_survived() {
    for (target, _) in targets::TARGETS {
        for (name, input) in corpus(target) {
            survives(target, &name, &input);
        }
    }
}

#[test]
fn mutated_inputs_are_survived() {
    for (target, _) in targets::TARGETS {
        let corpus: Vec<(String, Vec<u8>)> = corpus(target).into_iter().collect();
        let mut dice = Dice::new(target);
        for round in 0..rounds() {
            let (name, input) = &corpus[dice.below(corpus.len())];
            let (_, other) = &corpus[dice.below(corpus.len())];
            let mut input = input.clone();
            mutate(&mut dice, &mut input, other);
            survives(target, &format!("{name}, round {round},"), &input);
        }
    }
}

#[test]
fn every_target_is_complete() {
    let manifest = std::fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for (name, _) in targets::TARGETS {
        let file = folder().join("fuzz_targets").join(format!("{name}.rs"));
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            text.contains(&format!("targets::run(\"{name}\", data)")),
            "{} does not run {name}",
            file.display()
        );
        let entry = format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"");
        assert!(manifest.contains(&entry), "Cargo.toml lacks {name}");
        assert!(!corpus(name).is_empty(), "corpus/{name} is empty");
    }
    let known = std::fs::read_dir(folder().join("corpus")).unwrap();
    for entry in known.flatten() {
        let name = entry.file_name().into_string().unwrap();
        assert!(
            targets::TARGETS.iter().any(|(target, _)| *target == name),
            "corpus/{name} belongs to no target"
        );
    }
}

#[test]
fn mutations_are_the_same_at_every_run_and_differ_from_their_origin() {
    let change = || {
        let mut dice = Dice::new("seed");
        let mut input = b"some input".to_vec();
        let mut changed = 0;
        for _ in 0..100 {
            let before = input.clone();
            mutate(&mut dice, &mut input, b"another");
            changed += usize::from(before != input);
            if input.len() > 100 {
                input.truncate(10);
            }
        }
        (input, changed)
    };
    let (first, changed) = change();
    assert_eq!(change().0, first);
    assert!(changed > 60, "{changed}");
}
