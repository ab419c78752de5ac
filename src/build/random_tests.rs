//! Random and damaged input: no panic, no hang, and what is promised holds. Seeds that once failed
//! are in `proptest-regressions`, and are tried first.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::ignore::Ignore;
use super::mode::Mode;
use super::mount::Mount;
use super::pattern::{Pattern, clean};
use super::scope::Scope;
use super::{expand, lexer, lint, parse, plan, words};
use crate::spec::platform::Platform;

/// Pieces that a Dockerfile is made of, whole and broken.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "FROM a", "FROM a AS b", "FROM b", "FROM scratch", "from $x", "ARG x=1", "ARG", "ENV a=b c",
            "ENV a b", "RUN x", "RUN <<E\nx\nE", "RUN <<E", "RUN --mount=type=bind,from=b,target=/x y",
            "RUN --mount=type=cache", "COPY a b", "COPY --from=0 a b", "COPY --from=b <<E x\nE", "ADD a b c/",
            "COPY --chmod=u+x a b", "WORKDIR $x", "USER ${x:-y}", "EXPOSE 1-99999", "VOLUME [\"", "LABEL \"a",
            "ONBUILD RUN x", "ONBUILD ONBUILD x", "SHELL []", "HEALTHCHECK NONE", "HEALTHCHECK --retries=x CMD",
            "STOPSIGNAL 9", "CMD [1]", "# escape=`", "# check=skip=all", "\\", "`", "\u{feff}", "\r",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,40}",
        1 => "[-a-zA-Z0-9$ {}\\[\\]\"'\\\\<>=,:/.#\t]{0,60}",
    ]
}

fn file() -> impl Strategy<Value = String> {
    (
        prop::collection::vec(piece(), 0..20),
        prop::sample::select(vec!["\n", "\r\n", "\\\n"]),
    )
        .prop_map(|(pieces, end)| pieces.join(end))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_is_a_dockerfile_or_an_error_with_a_hint(text in file()) {
        match lexer::lex("f", &text) {
            Err(e) => prop_assert!(!e.hints().is_empty(), "{e}"),
            Ok(lexed) => {
                let mut last = 0;
                for line in &lexed.lines {
                    prop_assert!(line.first > last && line.last >= line.first);
                    last = line.last;
                }
            }
        }
        match parse("f", &text) {
            Err(e) => prop_assert!(!e.what().is_empty()),
            Ok(parsed) => {
                prop_assert!(!parsed.stages.is_empty());
                lint::check(&parsed, &Ignore::default(), &lint::Settings::default());
                let request = plan::Request {
                    target: None,
                    args: &BTreeMap::new(),
                    contexts: &BTreeSet::new(),
                    platform: Platform::host(),
                    host: Platform::host(),
                    first_from: None,
                    all_stages: false,
                };
                if let Ok(plan) = plan::plan(&parsed, &request) {
                    // Each stage comes after all that it needs, and once.
                    for (at, stage) in plan.order.iter().enumerate() {
                        let before: BTreeSet<usize> = plan.order[..at].iter().copied().collect();
                        prop_assert!(plan.nodes[*stage].needs.is_subset(&before));
                        prop_assert!(!before.contains(stage));
                    }
                    prop_assert_eq!(plan.order.last(), Some(&plan.target));
                }
            }
        }
    }

    #[test]
    fn any_word_is_expanded_or_refused(text in "[-a-z$ {}\"'\\\\:+?#%/*]{0,40}", value in "[a-z/.*]{0,20}") {
        let values = |name: &str| (name == "a").then(|| value.clone());
        for form in [expand::Form::Word, expand::Form::Document] {
            drop(expand::word(&text, '\\', form, &values));
        }
        if let Ok(list) = expand::words(&text, '\\', &values) {
            prop_assert!(list.len() <= text.len() + value.len() * text.len());
        }
        // Without anything special a word is itself.
        let plain: String = text.chars().filter(char::is_ascii_alphabetic).collect();
        prop_assert_eq!(Scope::default().word(&plain, '\\').unwrap(), plain);
        drop(words::shell(&text, '\\'));
        drop(words::csv(&text));
        drop(words::flags(&text, '\\'));
        drop(Mount::parse(&text, &mut |w| Ok(w.to_owned())));
        if let Ok(mode) = text.parse::<Mode>() {
            prop_assert!(mode.apply(0o644, false) <= 0o7777);
        }
    }

    #[test]
    fn any_ignore_file_judges_a_path_one_way(
        lines in prop::collection::vec("!?/?[a-c*?/\\[\\]^-]{0,8}", 0..8),
        path in "[a-c]{1,2}(/[a-c]{1,2}){0,3}",
    ) {
        let text = lines.join("\n");
        let Ok(ignore) = Ignore::parse("f", &text) else { return Ok(()); };
        // A walk from the top and a look at the whole path agree.
        let mut marks = ignore.top();
        let mut out = false;
        for (at, _) in path.match_indices('/').chain([(path.len(), "")]) {
            (out, marks) = ignore.judge(&path[..at], &marks);
        }
        prop_assert_eq!(ignore.excludes(&path), out);
        // One more line that lets it in has the last word.
        let more = format!("{text}\n!{path}");
        prop_assert!(!Ignore::parse("f", &more).unwrap().excludes(&path));
    }

    #[test]
    fn patterns_agree_with_a_plain_matcher(pattern in "[ab*?/]{0,7}", text in "[ab/]{0,7}") {
        // A second, slow and simple matcher.
        fn slow(p: &[u8], t: &[u8]) -> bool {
            match p {
                [] => t.is_empty(),
                [b'*', b'*', rest @ ..] => {
                    let rest = &rest[rest.iter().take_while(|b| **b == b'*').count()..];
                    let rest = match rest {
                        [] => return true,
                        [b'/', rest @ ..] => rest,
                        rest => rest,
                    };
                    slow(rest, t) || (0..t.len()).any(|n| t[n] == b'/' && slow(rest, &t[n + 1..]))
                }
                [b'*', rest @ ..] => {
                    let end = t.iter().position(|b| *b == b'/').unwrap_or(t.len());
                    (0..=end).any(|n| slow(rest, &t[n..]))
                }
                [b'?', rest @ ..] => t.first().is_some_and(|b| *b != b'/') && slow(rest, &t[1..]),
                [c, rest @ ..] => t.first() == Some(c) && slow(rest, &t[1..]),
            }
        }
        let fast = Pattern::new(&pattern).unwrap().matches(&text);
        prop_assert_eq!(fast, slow(pattern.as_bytes(), text.as_bytes()), "{} {}", pattern, text);
    }

    #[test]
    fn clean_paths_never_climb_out_of_a_root(path in "[a/.]{0,20}") {
        let cleaned = clean(&format!("/{path}"));
        prop_assert!(cleaned.starts_with('/'));
        prop_assert!(!cleaned.split('/').any(|p| p == ".." || p == "."));
        prop_assert_eq!(clean(&cleaned), cleaned.clone());
    }
}
