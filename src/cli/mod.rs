//! The command line: words typed by a person to requests, results to text.
//!
//! [`frame`] says how a command is added. Nothing here does the work: `operations` does.

use clap::Command;

use crate::base::Result;
use crate::noun;
use crate::operations::session::Session;

pub mod args;
pub mod artifact;
pub mod build;
pub mod candidates;
pub mod completions;
pub mod compose;
pub mod container;
pub mod events;
pub mod frame;
pub mod generate;
pub mod globals;
pub mod healthcheck;
pub mod image;
pub mod kube;
pub mod manifest;
pub mod network;
pub mod output;
pub mod pod;
pub mod prompt;
pub mod quadlet;
pub mod run_words;
pub mod runtime;
pub mod secret;
pub mod service;
pub mod system;
pub mod usage;
pub mod volume;

use frame::Entry;
use output::Out;

/// The nouns.
const NOUNS: &[Entry] = &[
    noun!(
        "container",
        "Manage containers",
        container::BOTH,
        container::NOUN
    ),
    noun!(
        "image",
        "Manage images",
        image::BOTH,
        image::NOUN,
        build::BOTH
    ),
    noun!(
        "builder",
        "Build images and keep their cache",
        build::BOTH,
        build::ENTRIES,
        build::CACHE
    ),
    noun!(
        "cache",
        "Manage the build cache",
        build::ENTRIES,
        build::CACHE
    ),
    noun!(
        "buildx",
        "The same, as docker spells it",
        build::BOTH,
        build::CACHE,
        build::BUILDX
    ),
    noun!("generate", "Write files for other programs", generate::NOUN),
    noun!(
        "healthcheck",
        "Check the health of containers",
        healthcheck::NOUN
    ),
    noun!(
        "kube",
        "Run manifests of Kubernetes and write them",
        kube::NOUN
    ),
    noun!("play", "The same, as podman spells it", kube::PLAY),
    noun!("network", "Manage networks", network::NOUN),
    noun!(
        "artifact",
        "Manage files in registries that are no images",
        artifact::NOUN
    ),
    noun!("manifest", "Manage lists of images", manifest::NOUN),
    noun!(
        "pod",
        "Manage pods: containers that share namespaces",
        pod::NOUN
    ),
    noun!("volume", "Manage volumes", volume::NOUN),
    noun!(
        "quadlet",
        "Manage unit files that describe containers",
        quadlet::NOUN
    ),
    noun!("secret", "Manage secrets", secret::NOUN),
    noun!(
        "service",
        "Manage services: replicas behind one name and address",
        service::NOUN
    ),
    noun!(
        "compose",
        "Manage projects of many containers",
        compose::NOUN
    ),
    noun!(
        "system",
        "Manage coracle itself",
        system::BOTH,
        system::NOUN
    ),
    runtime::ENTRY,
];

/// Everything that may stand first on a command line, as help groups it.
const GROUPS: &[(&str, &[&[Entry]])] = &[
    ("Containers", &[container::BOTH, container::TOP]),
    ("Images", &[build::BOTH, image::BOTH, image::TOP]),
    ("This installation", &[system::BOTH, system::TOP]),
    ("Objects", &[NOUNS]),
];

/// The tables of all groups.
fn tables() -> Vec<&'static [Entry]> {
    let tables = GROUPS.iter().flat_map(|(_, tables)| tables.iter());
    tables.copied().collect()
}

/// The whole tree; the commands' own options are built when they are needed.
pub fn tree() -> Command {
    let mut command = globals::root().help_template(HELP);
    for table in tables() {
        command = frame::add(command, table);
    }
    command
}

/// The help of the program itself: `COMMANDS` stands for the groups.
const HELP: &str = "{about}\n\n{usage-heading} {usage}\n\nCOMMANDSOptions:\n{options}\n\n\
                    `coracle help COMMAND` tells more.\n";

/// The commands of the program in groups, aligned.
pub(crate) fn groups() -> String {
    let shown = |tables: &[&'static [Entry]]| {
        let all = tables.iter().copied().flatten();
        let mut shown: Vec<&Entry> = all.filter(|e| !e.hidden).collect();
        shown.sort_by_key(|e| e.name);
        shown
    };
    let width = shown(&tables()).iter().map(|e| e.name.len()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    for (heading, tables) in GROUPS {
        text.push_str(&format!("{heading}:\n"));
        for entry in shown(tables) {
            text.push_str(&format!("  {:width$}  {}\n", entry.name, entry.about));
        }
        text.push('\n');
    }
    text
}

/// What a start needs of the heap, bytes; measured.
const START_HEAP: usize = 208 << 10;

/// Runs a command line and answers the exit code of the process.
pub fn main(words: Vec<String>) -> u8 {
    let words = compose::line(words);
    if matches!(words.get(1).map(String::as_str), Some("run" | "start")) {
        crate::sys::memory::warm(START_HEAP);
    }
    if let Some(words) = runtime::words(&words) {
        // Other engines' way in: nothing of ours is looked up for it.
        return runtime::main(&words, &mut Out::standard());
    }
    let docker = called_as(&words) == "docker";
    let mut out = Out::standard().as_docker(docker);
    let verb = |verbs: &[&str]| (words.iter().skip(1).take(2)).any(|w| verbs.contains(&&**w));
    let starts = verb(&["run", "create"]);
    // What these answer may be a container's own code.
    let relays = verb(&["run", "exec", "attach", "wait"])
        || (verb(&["start"]) && words.iter().any(|w| w.starts_with("-a") || w == "--attach"));
    let result = interpret(words, &mut out).and_then(|code| out.flush().map(|()| code));
    match result {
        // Names that were not found, one by one, are docker's 1.
        Ok(125) if docker && !starts && !relays => 1,
        Ok(code) => code,
        Err(_) if out.is_closed() => 0,
        Err(error) => {
            out.error(&error);
            match docker {
                true => output::report::exit_code_for_docker(&error, starts),
                false => output::report::exit_code(&error),
            }
        }
    }
}

fn interpret(words: Vec<String>, out: &mut Out) -> Result<u8> {
    let matches = match usage::parse(tree, &tables(), &words) {
        Ok(matches) => matches,
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayVersion => {
            let version = env!("CARGO_PKG_VERSION");
            out.line(match called_as(&words) {
                "docker" => format!("Docker version {version}, build coracle"),
                "podman" => format!("podman version {version}"),
                _ => format!("coracle {version}"),
            })?;
            return Ok(0);
        }
        Err(error) => return usage::answer(&error, out).map_err(|e| e.exit_code(125)),
    };
    let mut session: Session = globals::session(&matches, words)?;
    frame::dispatch(&tables(), matches, &mut session, out)
}

/// Runs another command line in the same session, as part of a command.
///
/// # Errors
/// As the command that it names.
pub(in crate::cli) fn again(words: &[String], session: &mut Session, out: &mut Out) -> Result<u8> {
    frame::whole();
    let matches = usage::parse(tree, &tables(), words).map_err(|e| usage::explain(&e))?;
    frame::dispatch(&tables(), matches, session, out)
}

/// The last part of the program's own name.
fn called_as(words: &[String]) -> &str {
    let name = words.first().map_or("", String::as_str);
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arguments of `run` as one of the two trees reads them.
    fn read(command: Command, words: &[String]) -> Option<String> {
        let mut matches = command.try_get_matches_from(words).ok()?;
        while let Some((_, below)) = matches.remove_subcommand() {
            matches = below;
        }
        let args = frame::parse::<container::run::RunArgs>(&mut matches).unwrap();
        Some(format!("{args:?}"))
    }

    #[test]
    fn the_part_of_the_tree_reads_a_line_as_the_whole_one_does() {
        for line in [
            "c run x",
            "c run --rm --network none x true",
            "c run -it --rm -v /a:/b -e A=1 -eB --env=C=2 x sh -c --rm",
            "c container run -dp 80:80 --name -odd --memory-swap -1 -- x -y",
            "c run --pull always --tls-verify --label a=-b --label -c -h box -u0 x",
            "c run --net host --read-only --init --userns keep-id:uid=3 x -- -z",
            "c create-nothing x",
            "c run --bogus x",
            "c run --rm=false x",
            "c run --help",
            "c run",
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let lean = frame::lean(&tables(), &words).map(|lean| read(lean, &words));
            frame::whole();
            // What the part refuses is asked of the whole.
            if let Some(Some(lean)) = lean {
                assert_eq!(Some(lean), read(tree(), &words), "{line}");
            } else {
                let good = read(tree(), &words);
                assert!(
                    good.is_none() || line.contains("=false"),
                    "{line}: {good:?}"
                );
            }
        }
    }
}
