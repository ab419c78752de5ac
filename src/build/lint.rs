//! `build --check`: what is allowed and probably not meant, under BuildKit's names.

use std::collections::{BTreeMap, BTreeSet};

use super::ignore::Ignore;
use super::instruction::{Command, Instruction, Stage};
use super::parser::Dockerfile;
use super::scope::{PROXY, automatic};
use super::words;
use crate::base::{Error, Result};
use crate::spec::platform::Platform;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The first line that it is about.
    pub line: u32,
    /// BuildKit's name of the rule.
    pub rule: &'static str,
    /// What is wrong here.
    pub message: String,
}

/// The rules with a sentence for each, in BuildKit's words' order.
pub const RULES: [(&str, &str); 22] = [
    ("StageNameCasing", "names of stages are lower case"),
    ("FromAsCasing", "AS has the case of its FROM"),
    (
        "NoEmptyContinuation",
        "a continued instruction has no empty lines",
    ),
    (
        "ConsistentInstructionCasing",
        "all instructions have one case",
    ),
    ("DuplicateStageName", "each stage has a name of its own"),
    (
        "ReservedStageName",
        "scratch and context are no names of stages",
    ),
    (
        "JSONArgsRecommended",
        "CMD and ENTRYPOINT have the JSON form, so that signals arrive",
    ),
    (
        "MaintainerDeprecated",
        "MAINTAINER is out of use; a label says it",
    ),
    ("UndefinedArgInFrom", "FROM uses declared arguments"),
    ("WorkdirRelativePath", "the first WORKDIR is absolute"),
    ("UndefinedVar", "variables are declared before their use"),
    (
        "MultipleInstructionsDisallowed",
        "only the last of these counts in a stage",
    ),
    ("LegacyKeyValueFormat", "KEY=VALUE in place of KEY VALUE"),
    (
        "RedundantTargetPlatform",
        "FROM has the target platform anyway",
    ),
    (
        "SecretsUsedInArgOrEnv",
        "secrets do not belong into ARG or ENV",
    ),
    (
        "InvalidDefaultArgInFrom",
        "defaults of arguments make a valid FROM",
    ),
    (
        "FromPlatformFlagConstDisallowed",
        "FROM --platform is no constant",
    ),
    ("CopyIgnoredFile", "what is copied is not ignored"),
    (
        "InvalidDefinitionDescription",
        "a description begins with its name",
    ),
    ("ExposeProtoCasing", "protocols are lower case"),
    (
        "ExposeInvalidFormat",
        "EXPOSE takes no host address and no host port",
    ),
    (
        "InvalidJSONForm",
        "brackets that look like JSON, but are none",
    ),
];

/// `# check=skip=A,B;error=true`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Rules left out.
    pub skip: BTreeSet<String>,
    /// All rules left out.
    pub skip_all: bool,
    /// Findings fail the build.
    pub error: bool,
}

impl Settings {
    /// Reads the directive's value, or that of `BUILDKIT_DOCKERFILE_CHECK`.
    ///
    /// # Errors
    /// `Invalid` for an unknown key.
    pub fn parse(text: &str) -> Result<Self> {
        let mut found = Self::default();
        for part in text.split(';').map(str::trim).filter(|p| !p.is_empty()) {
            let bad = || {
                Error::invalid(format!("invalid check {part:?}"))
                    .hint("write check=skip=RULE,RULE;error=true")
            };
            match part.split_once('=').ok_or_else(bad)? {
                ("skip", list) => {
                    for rule in list.split(',').map(str::trim) {
                        found.skip_all |= rule.eq_ignore_ascii_case("all");
                        found.skip.insert(rule.to_ascii_lowercase());
                    }
                }
                ("error", value) => found.error = value.parse().map_err(|_| bad())?,
                ("experimental", _) => {}
                _ => return Err(bad()),
            }
        }
        Ok(found)
    }

    fn skips(&self, rule: &str) -> bool {
        self.skip_all || self.skip.contains(&rule.to_ascii_lowercase())
    }
}

/// Everything that a file's text alone shows, sorted by line.
pub fn check(file: &Dockerfile, ignore: &Ignore, settings: &Settings) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut tell = |line: u32, rule: &'static str, message: String| {
        found.push(Finding {
            line,
            rule,
            message,
        });
    };
    lines(file, &mut tell);
    names(file, &mut tell);
    froms(file, &mut tell);
    let mut above: BTreeMap<usize, (BTreeSet<String>, bool)> = BTreeMap::new();
    for (index, stage) in file.stages.iter().enumerate() {
        let base = stage.base.to_ascii_lowercase();
        let parent = file.stages[..index]
            .iter()
            .rposition(|s| s.name.as_deref() == Some(&base));
        let inherited = parent.and_then(|p| above.get(&p).cloned());
        let state = steps(stage, inherited, parent.is_none(), ignore, &mut tell);
        above.insert(index, state);
    }
    found.retain(|f| !settings.skips(f.rule));
    found.sort();
    found.dedup();
    found
}

type Tell<'a> = dyn FnMut(u32, &'static str, String) + 'a;

fn lines(file: &Dockerfile, tell: &mut Tell<'_>) {
    let is_upper = |w: &str| w == w.to_ascii_uppercase();
    let is_lower = |w: &str| w == w.to_ascii_lowercase();
    let upper = file.lines.iter().filter(|l| is_upper(&l.word)).count();
    let lower = file.lines.iter().filter(|l| is_lower(&l.word)).count();
    for line in &file.lines {
        if line.empty_continuation {
            tell(
                line.first,
                "NoEmptyContinuation",
                "an empty line inside a continued instruction".to_owned(),
            );
        }
        let (fits, case) = match upper >= lower {
            true => (is_upper(&line.word), "uppercase"),
            false => (is_lower(&line.word), "lowercase"),
        };
        if !fits {
            tell(
                line.first,
                "ConsistentInstructionCasing",
                format!("{:?} is not {case} as most others are", line.word),
            );
        }
        let word = line.word.to_ascii_uppercase();
        if matches!(
            word.as_str(),
            "CMD" | "ENTRYPOINT" | "RUN" | "VOLUME" | "COPY" | "ADD"
        ) && words::is_spoiled_json(&line.rest)
            && !words::is_json_of_others(&line.rest)
        {
            tell(
                line.first,
                "InvalidJSONForm",
                format!("{} is not JSON and is taken as text", line.rest),
            );
        }
        if matches!(word.as_str(), "ENV" | "LABEL") {
            let first = line.rest.split_whitespace().next().unwrap_or_default();
            if !first.contains('=') {
                tell(
                    line.first,
                    "LegacyKeyValueFormat",
                    format!("write {word} {first}=VALUE in place of {word} {first} VALUE"),
                );
            }
        }
        if word == "FROM" {
            let list = words::plain(&line.rest);
            let as_word = list
                .iter()
                .rev()
                .nth(1)
                .filter(|w| w.eq_ignore_ascii_case("as"));
            if let Some(as_word) = as_word
                && (is_upper(as_word) != is_upper(&line.word)
                    || is_lower(as_word) != is_lower(&line.word))
            {
                tell(
                    line.first,
                    "FromAsCasing",
                    format!("{as_word:?} and {:?} differ in case", line.word),
                );
            }
        }
    }
}

fn names(file: &Dockerfile, tell: &mut Tell<'_>) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for stage in &file.stages {
        let Some(name) = &stage.name_as_written else {
            continue;
        };
        let lower = name.to_ascii_lowercase();
        if *name != lower {
            tell(
                stage.line,
                "StageNameCasing",
                format!("stage {name:?} is not lower case"),
            );
        }
        if matches!(lower.as_str(), "scratch" | "context") {
            tell(
                stage.line,
                "ReservedStageName",
                format!("{name:?} is a reserved name"),
            );
        }
        if !stage.comment.is_empty()
            && !stage
                .comment
                .split_whitespace()
                .next()
                .is_some_and(|w| w.eq_ignore_ascii_case(name))
            && stage.comment.split_whitespace().count() == 1
        {
            tell(
                stage.line,
                "InvalidDefinitionDescription",
                format!("the comment above stage {name:?} does not begin with its name"),
            );
        }
        if !seen.insert(lower) {
            tell(
                stage.line,
                "DuplicateStageName",
                format!("stage {name:?} is there more than once"),
            );
        }
    }
}

/// Names in `$a` and `${a…}`, with whether a default stands by.
fn variables(text: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
            continue;
        }
        if c != '$' {
            continue;
        }
        let rest = &text[at + 1..];
        let (rest, braced) = match rest.strip_prefix('{') {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let name: String = rest
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let after = &rest[name.len()..];
        let default = braced && after.starts_with([':', '-', '+', '?']);
        found.push((name, default));
    }
    found
}

fn froms(file: &Dockerfile, tell: &mut Tell<'_>) {
    let host = Platform::host();
    let automatic = automatic(&host, &host, "");
    let mut without_default: BTreeSet<&str> = BTreeSet::new();
    let mut known: BTreeSet<&str> = automatic.keys().map(String::as_str).collect();
    known.extend(PROXY);
    for (name, default, _) in &file.globals {
        known.insert(name);
        match default.as_deref() {
            None | Some("") => without_default.insert(name),
            Some(_) => without_default.remove(name.as_str()),
        };
    }
    for stage in &file.stages {
        for (name, default) in variables(&stage.base) {
            if !known.contains(name.as_str()) {
                tell(
                    stage.line,
                    "UndefinedArgInFrom",
                    format!("FROM uses {name}, which no ARG before it declares"),
                );
            } else if without_default.contains(name.as_str()) && !default {
                tell(
                    stage.line,
                    "InvalidDefaultArgInFrom",
                    format!(
                        "{:?} is no image as long as {name} has no value",
                        stage.base
                    ),
                );
            }
        }
        let Some(platform) = &stage.platform else {
            continue;
        };
        if matches!(platform.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
            tell(
                stage.line,
                "RedundantTargetPlatform",
                format!("--platform={platform} is the default"),
            );
        } else if !platform.contains('$')
            && !stage
                .name
                .as_ref()
                .is_some_and(|n| n.contains(platform.rsplit('/').next().unwrap_or_default()))
        {
            tell(
                stage.line,
                "FromPlatformFlagConstDisallowed",
                format!("--platform={platform} is a constant"),
            );
        }
        for (name, _) in variables(platform) {
            if !known.contains(name.as_str()) {
                tell(
                    stage.line,
                    "UndefinedArgInFrom",
                    format!("FROM uses {name}, which no ARG before it declares"),
                );
            }
        }
    }
}

/// Whether a variable's name says that its value is a secret.
fn is_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split(['_', '-', '.']).collect();
    const SECRET: [&str; 9] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "token",
    ];
    const ALSO: [&str; 2] = ["secret", "pwd"];
    parts.iter().any(|p| SECRET.contains(p) || ALSO.contains(p)) && !parts.contains(&"public")
}

fn steps(
    stage: &Stage,
    inherited: Option<(BTreeSet<String>, bool)>,
    foreign_base: bool,
    ignore: &Ignore,
    tell: &mut Tell<'_>,
) -> (BTreeSet<String>, bool) {
    let (mut known, mut absolute) = inherited.unwrap_or_default();
    // What a base image sets is known once it is here; without it only names that stages declare
    // are judged, and PATH is always there.
    known.insert("PATH".to_owned());
    known.extend(PROXY.map(str::to_owned));
    let mut last: BTreeMap<&'static str, u32> = BTreeMap::new();
    let has_shell = stage
        .steps
        .iter()
        .any(|s| matches!(s.instruction, Instruction::Shell(_)));
    for step in &stage.steps {
        let line = step.line;
        let mut uses: Vec<&str> = Vec::new();
        match &step.instruction {
            Instruction::Arg(list) => {
                for (name, value) in list {
                    uses.extend(value.as_deref());
                    if is_secret(name) {
                        tell(
                            line,
                            "SecretsUsedInArgOrEnv",
                            format!("ARG {name} looks like a secret"),
                        );
                    }
                }
            }
            Instruction::Env(list) => {
                for (name, value) in list {
                    uses.push(value);
                    if is_secret(name) {
                        tell(
                            line,
                            "SecretsUsedInArgOrEnv",
                            format!("ENV {name} looks like a secret"),
                        );
                    }
                }
            }
            Instruction::Label(list) => uses.extend(list.iter().map(|(_, v)| v.as_str())),
            Instruction::Workdir(dir) => {
                if !dir.starts_with(['/', '$']) && !absolute {
                    tell(
                        line,
                        "WorkdirRelativePath",
                        format!("WORKDIR {dir} hangs on the base image's"),
                    );
                }
                absolute = true;
                uses.push(dir);
            }
            Instruction::Expose(list) => {
                for port in list {
                    uses.push(port);
                    if let Some((_, protocol)) = port.split_once('/')
                        && protocol != protocol.to_ascii_lowercase()
                        && !protocol.contains('$')
                    {
                        tell(
                            line,
                            "ExposeProtoCasing",
                            format!("protocol {protocol:?} is not lower case"),
                        );
                    }
                    if port.contains(':') && !port.contains('$') {
                        tell(
                            line,
                            "ExposeInvalidFormat",
                            format!("EXPOSE {port} names a host's side"),
                        );
                    }
                }
            }
            Instruction::Cmd(command) | Instruction::Entrypoint(command) => {
                let word = step.instruction.word();
                if matches!(command, Command::Shell(text) if !text.is_empty()) && !has_shell {
                    tell(
                        line,
                        "JSONArgsRecommended",
                        format!("{word} runs in a shell that keeps signals to itself"),
                    );
                }
            }
            Instruction::Maintainer(_) => {
                tell(
                    line,
                    "MaintainerDeprecated",
                    "use LABEL org.opencontainers.image.authors=".to_owned(),
                );
            }
            Instruction::Copy(copy) => {
                uses.extend(copy.sources.iter().map(String::as_str));
                uses.push(&copy.destination);
                if copy.from.is_none() {
                    for source in &copy.sources {
                        let clean = super::pattern::clean(&format!("/{source}"));
                        let relative = clean.trim_start_matches('/');
                        if !relative.is_empty()
                            && !source.contains(['$', '*', '?', '['])
                            && !source.contains("://")
                            && ignore.excludes(relative)
                            && !ignore.may_let_in_below()
                        {
                            tell(
                                line,
                                "CopyIgnoredFile",
                                format!("{source:?} is left out by the ignore file"),
                            );
                        }
                    }
                }
            }
            Instruction::User(text) | Instruction::StopSignal(text) => uses.push(text),
            Instruction::Volume(list) => uses.extend(list.iter().map(String::as_str)),
            _ => {}
        }
        let word = step.instruction.word();
        if matches!(word, "CMD" | "ENTRYPOINT" | "HEALTHCHECK")
            && let Some(before) = last.insert(word, line)
        {
            tell(
                before,
                "MultipleInstructionsDisallowed",
                format!("a later {word} replaces this one"),
            );
        }
        for text in uses {
            for (name, default) in variables(text) {
                // A base image may set it, unless the stage stands on its own.
                let judged = !foreign_base || stage.base == "scratch" || near(&known, &name);
                if !default && judged && !known.contains(&name) {
                    tell(
                        line,
                        "UndefinedVar",
                        format!("variable {name} has no value here"),
                    );
                }
            }
        }
        match &step.instruction {
            Instruction::Arg(list) => known.extend(list.iter().map(|(n, _)| n.clone())),
            Instruction::Env(list) => known.extend(list.iter().map(|(n, _)| n.clone())),
            _ => {}
        }
    }
    (known, absolute)
}

/// Whether a known name differs in one letter only: then it was meant.
fn near(known: &BTreeSet<String>, name: &str) -> bool {
    known.iter().any(|k| {
        k != name && k.len().abs_diff(name.len()) <= 1 && k.len() > 3 && {
            let same = k
                .chars()
                .zip(name.chars())
                .take_while(|(a, b)| a == b)
                .count();
            let back = k
                .chars()
                .rev()
                .zip(name.chars().rev())
                .take_while(|(a, b)| a == b)
                .count();
            same + back + 1 >= k.len().max(name.len())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::parse;

    fn rules(text: &str) -> Vec<&'static str> {
        let file = parse("Dockerfile", text).unwrap();
        let ignore = Ignore::of(&["secret*", "dir"]).unwrap();
        let found = check(&file, &ignore, &Settings::default());
        found.into_iter().map(|f| f.rule).collect()
    }

    #[test]
    fn each_rule_finds_its_mistake_and_nothing_else() {
        for (text, rule) in [
            ("FROM a AS Base", "StageNameCasing"),
            ("FROM a as base", "FromAsCasing"),
            ("FROM a\nRUN x \\\n\n y", "NoEmptyContinuation"),
            ("FROM a\nRun x\nUSER y", "ConsistentInstructionCasing"),
            ("FROM a AS x\nFROM b AS x", "DuplicateStageName"),
            ("FROM a AS scratch", "ReservedStageName"),
            ("FROM a\nCMD x", "JSONArgsRecommended"),
            ("FROM a\nENTRYPOINT x", "JSONArgsRecommended"),
            ("FROM a\nMAINTAINER me", "MaintainerDeprecated"),
            ("FROM a:$V", "UndefinedArgInFrom"),
            ("FROM a\nWORKDIR x", "WorkdirRelativePath"),
            ("FROM scratch\nLABEL a=$v", "UndefinedVar"),
            ("FROM a\nARG VERSION=1\nLABEL a=$VERSON", "UndefinedVar"),
            (
                "FROM a\nCMD [\"x\"]\nCMD [\"y\"]",
                "MultipleInstructionsDisallowed",
            ),
            ("FROM a\nENV a b", "LegacyKeyValueFormat"),
            (
                "FROM --platform=$TARGETPLATFORM a",
                "RedundantTargetPlatform",
            ),
            ("FROM a\nARG API_TOKEN", "SecretsUsedInArgOrEnv"),
            ("FROM a\nENV DB_PASSWORD=x", "SecretsUsedInArgOrEnv"),
            ("ARG V\nFROM a:$V", "InvalidDefaultArgInFrom"),
            (
                "FROM --platform=linux/arm64 a",
                "FromPlatformFlagConstDisallowed",
            ),
            ("FROM a\nCOPY secret.txt /", "CopyIgnoredFile"),
            ("FROM a\nEXPOSE 80/TCP", "ExposeProtoCasing"),
            ("FROM a\nEXPOSE 80:80", "ExposeInvalidFormat"),
            ("FROM a\nRUN [\"x\",]", "InvalidJSONForm"),
        ] {
            assert_eq!(rules(text), [rule], "{text}");
        }
        let clean = "ARG V=1\nFROM --platform=$BUILDPLATFORM a:$V AS base\nARG TARGETOS\nENV X=1\nWORKDIR /a\n\
                     WORKDIR b\nLABEL x=$X y=${Z:-1}\nCOPY a b\nFROM base\nRUN x\nCMD [\"y\"]\nEXPOSE 80/tcp";
        assert!(rules(clean).is_empty(), "{:?}", rules(clean));
    }

    #[test]
    fn findings_can_be_skipped() {
        let settings =
            Settings::parse("skip=JSONArgsRecommended,StageNameCasing;error=true").unwrap();
        assert!(settings.error);
        let file = parse("f", "FROM a AS X\nCMD y").unwrap();
        assert!(check(&file, &Ignore::default(), &settings).is_empty());
        assert!(Settings::parse("skip=all").unwrap().skip_all);
        assert!(Settings::parse("x=y").is_err());
    }

    #[test]
    fn every_finding_has_a_sentence() {
        let names: BTreeSet<&str> = RULES.iter().map(|(n, _)| *n).collect();
        assert_eq!(names.len(), RULES.len());
    }
}
