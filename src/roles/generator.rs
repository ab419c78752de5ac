//! systemd's generator: `coracle-system-generator` and `coracle-user-generator`, which systemd calls
//! with three folders at every start and reload; also by podman's names for them.
//!
//! Spec: systemd.generator(7).

use std::io::Write as _;
use std::path::PathBuf;

use crate::base::Result;
use crate::config::env::Env;
use crate::config::user;
use crate::operations::quadlet::{Scope, make, write};

/// Names of the program in this role, and whether they are for a user's manager.
const NAMES: &[(&str, bool)] = &[
    ("coracle-system-generator", false),
    ("coracle-user-generator", true),
    ("podman-system-generator", false),
    ("podman-user-generator", true),
    ("quadlet", false),
];

/// Whether a program of this name is the generator, and whose.
pub(super) fn named(program: &str) -> Option<bool> {
    let name = program.rsplit('/').next().unwrap_or(program);
    NAMES
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, user)| *user)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Words {
    dry: bool,
    user: bool,
    verbose: bool,
    no_kmsg: bool,
    version: bool,
    folder: Option<PathBuf>,
}

/// Go's flags: one hyphen or two.
fn read(words: &[String], user: bool) -> std::result::Result<Words, String> {
    let mut read = Words {
        user,
        ..Words::default()
    };
    for word in words {
        match word
            .strip_prefix('-')
            .map(|w| w.strip_prefix('-').unwrap_or(w))
        {
            None => {
                read.folder.get_or_insert_with(|| word.into());
            }
            Some("dryrun") => read.dry = true,
            Some("user") => read.user = true,
            Some("v") => read.verbose = true,
            Some("no-kmsg-log") => read.no_kmsg = true,
            Some("version") => read.version = true,
            Some(_) => return Err(format!("unknown option {word}")),
        }
    }
    if read.folder.is_none() && !read.dry && !read.version {
        return Err("the folder for the units is missing".to_owned());
    }
    Ok(read)
}

/// Runs; answers the exit code. What cannot be made does not keep the rest from being made.
pub(super) fn run(words: &[String], for_user: bool) -> u8 {
    let mut errors = std::io::stderr();
    let words = match read(words.get(1..).unwrap_or_default(), for_user) {
        Ok(words) => words,
        Err(why) => {
            let usage = "usage: coracle-{system,user}-generator [-dryrun] [-user] [-v] [-no-kmsg-log] NORMAL [EARLY LATE]";
            drop(writeln!(errors, "{why}\n{usage}"));
            return 1;
        }
    };
    // At boot there is nobody at standard error.
    let mut log: Box<dyn std::io::Write> = match words.dry || words.no_kmsg {
        true => Box::new(errors),
        false => match std::fs::OpenOptions::new().write(true).open("/dev/kmsg") {
            Ok(kmsg) => Box::new(kmsg),
            Err(_) => Box::new(errors),
        },
    };
    match work(&words, log.as_mut()) {
        Ok(code) => code,
        Err(e) => {
            drop(writeln!(log, "coracle-generator: {}", e.one_line()));
            1
        }
    }
}

fn work(words: &Words, log: &mut dyn std::io::Write) -> Result<u8> {
    let mut out = std::io::stdout();
    if words.version {
        drop(writeln!(out, "{}", env!("CARGO_PKG_VERSION")));
        return Ok(0);
    }
    let env = Env::process();
    let made = make(&Scope {
        env: &env,
        user: user::current(),
        for_user: words.user,
    })?;
    for error in &made.errors {
        drop(writeln!(log, "coracle-generator: {}", error.one_line()));
    }
    for service in &made.services {
        if words.verbose {
            drop(writeln!(log, "coracle-generator: {}", service.name));
        }
        if words.dry {
            drop(writeln!(out, "---{}---\n{}", service.name, service.text));
        }
    }
    if let Some(folder) = words.folder.as_ref().filter(|_| !words.dry) {
        write(&made.services, folder)?;
    }
    Ok(u8::from(!made.errors.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_words_are_systemds_and_podmans() {
        assert_eq!(
            named("/usr/lib/systemd/user-generators/coracle-user-generator"),
            Some(true)
        );
        assert_eq!(named("podman-system-generator"), Some(false));
        assert_eq!(named("coracle"), None);
        let of = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            read(&words, false)
        };
        let usual = of("/n /e /l").unwrap();
        assert_eq!(
            (usual.folder.unwrap(), usual.dry),
            (PathBuf::from("/n"), false)
        );
        let dry = of("--dryrun -user -v -no-kmsg-log").unwrap();
        assert!(dry.dry && dry.user && dry.verbose && dry.no_kmsg);
        assert!(of("").is_err() && of("-x /n").is_err());
    }
}
