//! Dockerfiles, ignore files and the words of instructions.

use std::collections::{BTreeMap, BTreeSet};

use coracle::build::expand::{self, Form};
use coracle::build::ignore::Ignore;
use coracle::build::mode::Mode;
use coracle::build::mount::Mount;
use coracle::build::packages::{ndb, rpm, sqlite};
use coracle::build::scope::Scope;
use coracle::build::{lexer, lint, parse, plan, words};
use coracle::spec::platform::Platform;

fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

/// Logical lines: in order, none twice, an error with a way out.
pub fn lexer(data: &[u8]) {
    let text = text(data);
    match lexer::lex("f", &text) {
        Err(e) => assert!(!e.hints().is_empty(), "{e}"),
        Ok(lexed) => {
            let mut last = 0;
            for line in &lexed.lines {
                assert!(line.first > last && line.last >= line.first);
                last = line.last;
            }
        }
    }
}

/// The whole file: typed, linted, planned.
pub fn parser(data: &[u8]) {
    let Ok(file) = parse("f", &text(data)) else {
        return;
    };
    assert!(!file.stages.is_empty());
    drop(lint::check(
        &file,
        &Ignore::default(),
        &lint::Settings::default(),
    ));
    let host = Platform::host();
    let planned = plan::plan(
        &file,
        &plan::Request {
            target: None,
            args: &BTreeMap::new(),
            contexts: &BTreeSet::new(),
            platform: host.clone(),
            host,
            first_from: None,
            all_stages: false,
        },
    );
    if let Ok(plan) = planned {
        // Each stage comes after all that it needs, and once.
        let mut before = BTreeSet::new();
        for stage in &plan.order {
            assert!(plan.nodes[*stage].needs.is_subset(&before));
            assert!(before.insert(*stage));
        }
        assert_eq!(plan.order.last(), Some(&plan.target));
    }
}

/// An ignore file, and a path to judge in its last line: a walk and a look at the whole agree.
pub fn ignore(data: &[u8]) {
    let text = text(data);
    let (patterns, path) = text.rsplit_once('\n').unwrap_or((&text, "a/b"));
    let Ok(ignore) = Ignore::parse("f", patterns) else {
        return;
    };
    let path: Vec<&str> = path
        .split('/')
        .filter(|p| !matches!(*p, "" | "." | ".."))
        .take(20)
        .collect();
    if path.is_empty() {
        return;
    }
    let path = path.join("/");
    let mut marks = ignore.top();
    let mut out = false;
    for (at, _) in path.match_indices('/').chain([(path.len(), "")]) {
        (out, marks) = ignore.judge(&path[..at], &marks);
    }
    assert_eq!(ignore.excludes(&path), out, "{patterns:?} {path:?}");
}

/// A value in the first line, a word in the rest.
pub fn expansion(data: &[u8]) {
    let text = text(data);
    let (value, word) = text.split_once('\n').unwrap_or(("v", &text));
    let values = |name: &str| (name == "a").then(|| value.to_owned());
    for escape in ['\\', '`'] {
        for form in [Form::Word, Form::Document] {
            drop(expand::word(word, escape, form, &values));
        }
        if let Ok(list) = expand::words(word, escape, &values) {
            assert!(list.len() <= word.len() + value.len() * word.len());
        }
        drop(words::shell(word, escape));
        assert!(words::shell_lenient(word, escape).len() <= word.len());
        drop(words::flags(word, escape));
    }
    // Without anything special a word is itself.
    let plain: String = word.chars().filter(char::is_ascii_alphabetic).collect();
    assert_eq!(Scope::default().word(&plain, '\\').ok(), Some(plain));
    drop(words::csv(word));
    drop(words::fields(word));
    drop(Mount::parse(word, &mut |w| Ok(w.to_owned())));
    if let Ok(mode) = word.parse::<Mode>() {
        assert!(mode.apply(0o644, false) <= 0o7777);
    }
}

/// Databases of packages: what is found lies in the input.
pub fn packages(data: &[u8]) {
    if let Ok(headers) = ndb::headers(data) {
        assert!(headers.iter().all(|h| h.len() <= data.len()));
        for header in headers {
            drop(rpm::parse(header));
        }
    }
    if let Ok(blobs) = sqlite::blobs(data, "Packages", 1) {
        assert!(blobs.iter().all(|b| b.len() <= data.len()));
    }
    if let Some(package) = rpm::parse(data) {
        assert!(!package.name.is_empty());
    }
}
