//! What is written down about the commands agrees with the commands: man pages, completion
//! scripts, help texts, hints, the compatibility table. `UPDATE=1` rewrites the generated files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use clap::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The whole tree with every option.
fn tree() -> Command {
    let mut tree = coracle::cli::tree();
    tree.build();
    tree
}

/// Every command that help shows, with its words: `["container", "ls"]`; the root has none.
fn commands(tree: &Command) -> Vec<(Vec<String>, Command)> {
    fn walk(path: &[String], command: &Command, into: &mut Vec<(Vec<String>, Command)>) {
        into.push((path.to_vec(), command.clone()));
        for below in command.get_subcommands() {
            if !below.is_hide_set() && below.get_name() != "help" {
                let mut path = path.to_vec();
                path.push(below.get_name().to_owned());
                walk(&path, below, into);
            }
        }
    }
    let mut all = Vec::new();
    walk(&[], tree, &mut all);
    all
}

/// Compares a folder's generated files with what they should be, or rewrites them.
fn compare(folder: &str, wanted: &BTreeMap<String, String>) {
    let dir = root().join(folder);
    let update = std::env::var_os("UPDATE").is_some_and(|v| v == "1");
    let there: BTreeSet<String> = fs::read_dir(&dir)
        .into_iter()
        .flatten()
        .map(|e| e.unwrap())
        .filter(|e| e.file_type().unwrap().is_file())
        .map(|e| e.file_name().into_string().unwrap())
        .collect();
    let mut stale = Vec::new();
    for (name, text) in wanted {
        let path = dir.join(name);
        if fs::read_to_string(&path).ok().as_ref() != Some(text) {
            stale.push(name.clone());
            if update {
                fs::create_dir_all(&dir).unwrap();
                fs::write(path, text).unwrap();
            }
        }
    }
    for name in there.iter().filter(|n| !wanted.contains_key(*n)) {
        stale.push(name.clone());
        if update {
            fs::remove_file(dir.join(name)).unwrap();
        }
    }
    assert!(
        update || stale.is_empty(),
        "{folder}/ does not agree with the commands; run `UPDATE=1 cargo test --test it manual`: {stale:?}"
    );
}

fn part(name: &str) -> String {
    fs::read_to_string(root().join("man/parts").join(name)).unwrap_or_default()
}

/// A command's page.
fn page(path: &[String], command: &Command) -> String {
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let (line, more) = about.split_once("\n\n").unwrap_or((&about, ""));
    let name = ["coracle"]
        .into_iter()
        .chain(path.iter().map(String::as_str))
        .collect::<Vec<_>>()
        .join("-");
    let command = command
        .clone()
        .about(line.to_owned())
        .long_about(if more.is_empty() {
            line.to_owned()
        } else {
            more.to_owned()
        })
        .display_name(name.clone());
    let man = clap_mangen::Man::new(command.clone())
        .title(name.to_uppercase())
        .source(format!("coracle {}", env!("CARGO_PKG_VERSION")))
        .manual("coracle manual");
    let mut roff = Vec::new();
    man.render_title(&mut roff).unwrap();
    man.render_name_section(&mut roff).unwrap();
    man.render_synopsis_section(&mut roff).unwrap();
    man.render_description_section(&mut roff).unwrap();
    if command.get_arguments().any(|a| !a.is_hide_set()) {
        man.render_options_section(&mut roff).unwrap();
    }
    let mut text = String::from_utf8(roff).unwrap();
    let below: Vec<&Command> = command
        .get_subcommands()
        .filter(|c| !c.is_hide_set() && c.get_name() != "help")
        .collect();
    if !below.is_empty() {
        text.push_str(".SH COMMANDS\n");
        for c in below {
            let about = c.get_about().map(ToString::to_string).unwrap_or_default();
            let line = about.lines().next().unwrap_or_default().replace('-', "\\-");
            text.push_str(&format!(
                ".TP\n\\fB{name}\\-{}\\fR(1)\n{line}\n",
                c.get_name()
            ));
        }
    }
    text.push_str(&compatibility(path));
    text.push_str(&part(&format!("{name}.man")));
    text.push_str(&part("common.man"));
    if !path.is_empty() {
        text.push_str(".SH SEE ALSO\n\\fBcoracle\\fR(1)\n");
    }
    text
}

#[test]
fn man_pages_agree_with_the_commands() {
    let tree = tree();
    let all = commands(&tree);
    let top: BTreeMap<&str, String> = all
        .iter()
        .filter(|(path, _)| path.len() == 1)
        .map(|(path, c)| (path[0].as_str(), options_of(c)))
        .collect();
    let mut pages = BTreeMap::new();
    for (path, command) in &all {
        let file = format!(
            "coracle{}.1",
            path.iter().map(|w| format!("-{w}")).collect::<String>()
        );
        // `container run` is `run`.
        let same = match path.as_slice() {
            [_, verb] if !command.has_subcommands() => top
                .get(verb.as_str())
                .is_some_and(|o| *o == options_of(command)),
            _ => false,
        };
        let text = if same {
            format!(".so man1/coracle-{}.1\n", path[1])
        } else {
            page(path, command)
        };
        pages.insert(file, text);
    }
    for part in fs::read_dir(root().join("man/parts")).unwrap() {
        let name = part.unwrap().file_name().into_string().unwrap();
        let stem = name.strip_suffix(".man").unwrap();
        assert!(
            stem == "common" || pages.contains_key(&format!("{stem}.1")),
            "man/parts/{name} belongs to no command"
        );
    }
    compare("man", &pages);
}

/// What makes two commands the same command.
fn options_of(command: &Command) -> String {
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let options: Vec<String> = command
        .get_arguments()
        .map(|a| format!("{:?}{:?}{:?}", a.get_id(), a.get_short(), a.get_long()))
        .collect();
    format!("{about}{}", options.join(","))
}

#[test]
fn completion_scripts_are_those_that_the_program_prints() {
    let mut files = BTreeMap::new();
    for (shell, file) in [
        ("bash", "coracle.bash"),
        ("zsh", "_coracle"),
        ("fish", "coracle.fish"),
    ] {
        let script = coracle::cli::completions::script(shell, true).unwrap();
        files.insert(file.to_owned(), script);
    }
    compare("completions", &files);
}

#[test]
fn bash_completes_commands_options_and_words_with_colons() {
    requires!("bash");
    let program = PathBuf::from(env!("CARGO_BIN_EXE_coracle"));
    let world = crate::support::World::new();
    let complete = |line: &str| -> Vec<String> {
        let script = "source \"$1\"; COMP_WORDBREAKS=$' \\t\\n\"><=;|&(:'; COMP_LINE=$2; \
                      COMP_POINT=${#2}; _coracle 2>/dev/null; printf '%s\\n' \"${COMPREPLY[@]}\"";
        let output = Process::new("bash")
            .args(["--norc", "-c", script, "bash"])
            .arg(root().join("completions/coracle.bash"))
            .arg(line)
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", program.parent().unwrap().display()),
            )
            .env("CORACLE_ROOT", world.data())
            .env("CORACLE_RUNROOT", world.runtime())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    assert!(complete("coracle vers").contains(&"version".to_owned()));
    assert!(complete("coracle secret ls --fil").contains(&"--filter".to_owned()));
    assert_eq!(complete("coracle --log-level=de"), ["debug"]);
    assert_eq!(complete("coracle --root /x secret cre"), ["create"]);
}

#[test]
fn every_command_and_option_has_a_help_text_of_the_right_shape() {
    let tree = tree();
    tree.clone().debug_assert();
    let mut bad = Vec::new();
    for (path, command) in commands(&tree) {
        let name = path.join(" ");
        let about = command
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default();
        let line = about.lines().next().unwrap_or_default();
        if line.is_empty() || line.len() > 72 || line.ends_with('.') {
            bad.push(format!("{name}: {line:?}"));
        }
        for arg in command.get_arguments().filter(|a| !a.is_hide_set()) {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let line = help.lines().next().unwrap_or_default();
            if line.is_empty() || line.ends_with('.') {
                bad.push(format!("{name} {}: {line:?}", arg.get_id()));
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn commands_quoted_in_hints_parse() {
    fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                into.push(path);
            }
        }
    }
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut bad = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code: Vec<&str> = text
            .lines()
            .filter(|l| !l.trim_start().starts_with("//"))
            .collect();
        for rest in code.join("\n").split("`coracle ").skip(1) {
            let Some((words, _)) = rest.split_once('`') else {
                continue;
            };
            // Names in capitals or braces stand for what a person types.
            if words.contains(['…', '<', '{', '\n', '$']) || words.contains("...") {
                continue;
            }
            let words = shlex::split(words).unwrap_or_default();
            let line = std::iter::once("coracle".to_owned()).chain(words.clone());
            if words.iter().any(|w| w == "COMMAND" || w == "VERB") {
                continue;
            }
            if let Err(error) = coracle::cli::tree().try_get_matches_from(line) {
                use clap::error::ErrorKind as E;
                if matches!(error.kind(), E::UnknownArgument | E::InvalidSubcommand) {
                    bad.push(format!("{}: {words:?}", file.display()));
                }
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

/// A line of `docs/compat.tsv`.
struct Line {
    command: String,
    option: String,
    status: String,
    reason: String,
}

fn table() -> Vec<Line> {
    let text = fs::read_to_string(root().join("docs/compat.tsv")).unwrap();
    text.lines()
        .skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            assert_eq!(cells.len(), 4, "{line:?}");
            Line {
                command: cells[0].to_owned(),
                option: cells[1].to_owned(),
                status: cells[2].to_owned(),
                reason: cells[3].to_owned(),
            }
        })
        .collect()
}

/// The section of a page about options that are not as in podman.
fn compatibility(path: &[String]) -> String {
    let name = path.join(" ");
    let lines: Vec<Line> = table()
        .into_iter()
        .filter(|l| l.command == name && l.status != "same")
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    let mut text = ".SH COMPATIBILITY\nOptions of podman and docker that differ here:\n".to_owned();
    for line in lines {
        let option = line.option.replace('-', "\\-");
        let status = match line.status.as_str() {
            "refused" => "Refused: ",
            _ => "",
        };
        let reason = line.reason.replace('\\', "\\e");
        text.push_str(&format!(".TP\n\\fB{option}\\fR\n{status}{reason}\n"));
    }
    text
}

#[test]
fn the_compatibility_table_agrees_with_the_commands() {
    let tree = tree();
    let mut bad = Vec::new();
    for line in table() {
        let mut command = Some(&tree);
        for word in line.command.split(' ').filter(|w| !w.is_empty()) {
            command = command.and_then(|c| c.find_subcommand(word));
        }
        let Some(command) = command else {
            bad.push(format!("no command {:?}", line.command));
            continue;
        };
        let has = |option: &str| {
            let long = option.strip_prefix("--");
            command.get_arguments().any(|a| {
                long.is_some_and(|l| {
                    a.get_long() == Some(l)
                        || a.get_all_aliases().is_some_and(|all| all.contains(&l))
                })
            })
        };
        let there = has(&line.option);
        let right = match line.status.as_str() {
            "same" => there && line.reason.is_empty(),
            "differs" => there && !line.reason.is_empty(),
            "refused" => !line.reason.is_empty(),
            _ => false,
        };
        if !right {
            bad.push(format!(
                "{} {} is said to be {:?} ({:?}), and is {}there",
                line.command,
                line.option,
                line.status,
                line.reason,
                if there { "" } else { "not " }
            ));
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}
