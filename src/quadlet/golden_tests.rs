//! Golden cases, `tests/data/quadlet/*.case`: quadlets in, services or messages out.
//!
//! A case has parts: `=== NAME` begins a quadlet; `>>> NAME` what comes of it: a service's text, its
//! links (`link NAME -> TARGET`), or `error MESSAGE`. `UPDATE=1` writes the second half anew. The
//! system's manager is asked for unless the first line is `user`.

use std::path::{Path, PathBuf};

use super::unit::Unit;
use super::{Kind, Source, Target, convert};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/quadlet")
}

fn cases() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "case"))
        .collect();
    paths.sort();
    paths
}

fn run(text: &str) -> String {
    let (input, _) = text.split_once("\n>>> ").unwrap_or((text, ""));
    let user = input.starts_with("user\n");
    let mut sources = Vec::new();
    let mut results: Vec<(String, String)> = Vec::new();
    for part in format!("\n{input}").split("\n=== ").skip(1) {
        let (name, body) = part.split_once('\n').unwrap_or((part, ""));
        let path = PathBuf::from("/units").join(name);
        match Unit::parse(body, &path.display().to_string()) {
            Ok(unit) => sources.push(Source {
                name: name.to_owned(),
                kind: Kind::of_name(name).unwrap(),
                path,
                unit,
            }),
            Err(e) => results.push((name.to_owned(), format!("error {}\n", e.one_line()))),
        }
    }
    let target = Target {
        program: "/usr/bin/coracle".to_owned(),
        user,
        devices: vec!["/dev/there".to_owned()],
    };
    for (name, result) in convert(&sources, &target) {
        results.push((
            name,
            match result {
                Err(e) => format!("error {}\n", e.one_line()),
                Ok(service) => {
                    let links = service.links.iter();
                    let links: String = links.map(|(n, t)| format!("link {n} -> {t}\n")).collect();
                    format!("{}\n{}{links}", service.name, service.text)
                }
            },
        ));
    }
    let mut out = input.trim_end_matches('\n').to_owned();
    for (name, result) in results {
        out.push_str(&format!("\n>>> {name}\n{}", result.trim_end_matches('\n')));
    }
    out.push('\n');
    out
}

#[test]
fn golden_cases_come_out_as_written() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut count = 0;
    let mut wrong = Vec::new();
    for path in cases() {
        let text = std::fs::read_to_string(&path).unwrap();
        let got = run(&text);
        count += 1;
        if got != text {
            if update {
                std::fs::write(&path, &got).unwrap();
            } else {
                wrong.push(format!("{}:\n{got}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 120, "there are {count} cases");
}

/// Every key that is known is in a case, and every key in a case of its own section.
#[test]
fn every_key_has_a_case() {
    let mut text = String::new();
    for path in cases() {
        let case = std::fs::read_to_string(path).unwrap();
        let (input, _) = case.split_once("\n>>> ").unwrap_or((&case, ""));
        text.push_str(input);
        text.push('\n');
    }
    let mut missing = Vec::new();
    for kind in Kind::ALL {
        for key in kind.keys() {
            let mut section = "";
            let found = text.lines().any(|line| {
                if line.starts_with('[') {
                    section = line;
                }
                section == format!("[{}]", kind.section()) && line.split('=').next() == Some(*key)
            });
            if !found {
                missing.push(format!("[{}] {key}", kind.section()));
            }
        }
    }
    assert!(missing.is_empty(), "no case: {missing:?}");
}

/// `keys.tsv` has the manual's: nothing of it is unknown here, nothing here is our own, and what is
/// refused says its name.
#[test]
fn every_key_of_the_manual_is_served_or_refused_by_name() {
    let text = std::fs::read_to_string(folder().join("keys.tsv")).unwrap();
    let rows = text.lines().filter(|l| !l.starts_with('#'));
    let mut manual: Vec<(&str, &str)> = rows
        .map(|row| row.split_once('\t').unwrap())
        .map(|(section, rest)| (section, rest.split('\t').next().unwrap()))
        .collect();
    manual.sort_unstable();
    let own = Kind::ALL.into_iter().flat_map(|kind| {
        let keys = kind.keys().iter();
        keys.map(move |key| (kind.section(), *key))
    });
    let general = super::keys::QUADLET.iter().map(|key| ("Quadlet", *key));
    let mut ours: Vec<(&str, &str)> = own.chain(general).collect();
    ours.sort_unstable();
    assert_eq!(ours, manual);
    for (section, key) in manual {
        let kind = Kind::ALL.into_iter().find(|k| k.section() == section);
        let kind = kind.unwrap_or(Kind::Container);
        let out = run(&format!(
            "=== x.{}\n[{section}]\n{key}=1\n",
            kind.extension()
        ));
        assert!(!out.contains("unknown key"), "{out}");
        if super::keys::refused(key).is_some() {
            assert!(out.contains(&format!(" {key}=: ")), "{out}");
        }
    }
}
