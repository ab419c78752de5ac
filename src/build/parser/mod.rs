//! Logical lines to typed instructions in stages.

mod flags;

use self::flags::Flags;
use super::instruction::{Command, Copy, Health, Instruction, Run, RunNetwork, Stage, Step, Words};
use super::lexer::{self, Directives, Line};
use super::words;
use crate::base::{Error, Hint as _, Result, time};

/// A parsed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// The file's name, for errors.
    pub name: String,
    /// Parser directives.
    pub directives: Directives,
    /// `ARG`s before the first `FROM`, with their lines.
    pub globals: Vec<(String, Option<String>, u32)>,
    /// The stages in order; at least one.
    pub stages: Vec<Stage>,
    /// The lines as lexed, for the lints.
    pub lines: Vec<Line>,
    /// The text.
    pub source: String,
}

/// Every instruction there is, `FROM` too, for suggestions.
pub const WORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Parses a Dockerfile. `name` is the file's, for errors.
///
/// # Errors
/// `Invalid` with file, line and a next step.
pub fn parse(name: &str, text: &str) -> Result<Dockerfile> {
    let lexed = lexer::lex(name, text)?;
    let mut globals = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    for line in &lexed.lines {
        let at = |e: Error| located(e, name, line.first);
        let word = line.word.to_ascii_uppercase();
        if word == "FROM" {
            let mut stage = from(line, lexed.directives.escape).map_err(at)?;
            let twin = stages
                .iter()
                .find(|s| s.name.is_some() && s.name == stage.name)
                .map(|s| s.line);
            if twin.is_some() {
                // The later one has the name, as in BuildKit; a lint tells.
                for other in &mut stages {
                    if other.name == stage.name {
                        other.name = None;
                    }
                }
            }
            stage.comment.clone_from(&line.comment);
            stages.push(stage);
            continue;
        }
        let instruction = instruction(line, lexed.directives.escape).map_err(at)?;
        match (stages.last_mut(), instruction) {
            (Some(stage), instruction) => stage.steps.push(Step {
                instruction,
                text: format!("{word} {}", line.rest).trim_end().to_owned(),
                line: line.first,
                last: line.last,
            }),
            (None, Instruction::Arg(list)) => {
                globals.extend(list.into_iter().map(|(k, v)| (k, v, line.first)));
            }
            (None, _) => {
                return Err(at(Error::invalid(format!("no stage to put {word} into"))
                    .hint("begin with FROM IMAGE, or FROM scratch")));
            }
        }
    }
    if stages.is_empty() {
        let what = match lexed.lines.is_empty() {
            true => format!("{name} has no instructions"),
            false => format!("{name} has no FROM"),
        };
        return Err(Error::invalid(what).hint("begin with FROM IMAGE, or FROM scratch"));
    }
    Ok(Dockerfile {
        name: name.to_owned(),
        directives: lexed.directives,
        globals,
        stages,
        lines: lexed.lines,
        source: text.to_owned(),
    })
}

/// One trigger of an image (`ONBUILD`), as an instruction of the stage that it is used in.
///
/// # Errors
/// `Invalid` for what no trigger may be.
pub fn trigger(text: &str, line: u32) -> Result<Step> {
    let at = |e: Error| located(e, "ONBUILD of the base image", line);
    // The text was stored by whoever built the base: here-documents follow it in the same text.
    let lexed = lexer::lex("ONBUILD", text)?;
    let [one] = &lexed.lines[..] else {
        return Err(at(Error::invalid(format!(
            "no single instruction: {text:?}"
        ))));
    };
    if matches!(
        one.word.to_ascii_uppercase().as_str(),
        "FROM" | "ONBUILD" | "MAINTAINER"
    ) {
        return Err(at(Error::invalid(format!(
            "{} is not allowed as a trigger",
            one.word
        ))
        .hint("use a base image without it")));
    }
    Ok(Step {
        instruction: instruction(one, '\\').map_err(at)?,
        text: format!("{} {}", one.word.to_ascii_uppercase(), one.rest),
        line,
        last: line,
    })
}

/// An error with its place in front.
pub fn located(e: Error, name: &str, line: u32) -> Error {
    let hints: Vec<String> = e.hints().into_iter().map(str::to_owned).collect();
    let told = Error::new(e.kind(), format!("{name}:{line}: {}", e.what()));
    hints.into_iter().fold(told, Error::hint)
}

fn from(line: &Line, escape: char) -> Result<Stage> {
    let (mut flags, rest) = Flags::of(line, escape)?;
    let platform = flags.value("platform")?;
    flags.done()?;
    let list = words::plain(rest);
    let hint = "write FROM IMAGE [AS NAME]";
    let (base, name) = match &list[..] {
        [base] => (base, None),
        [base, word, name] if word.eq_ignore_ascii_case("as") => (base, Some(name)),
        _ => return Err(Error::invalid("FROM takes one image, or IMAGE AS NAME").hint(hint)),
    };
    if let Some(name) = name {
        let ok = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if !ok {
            return Err(Error::invalid(format!("invalid name of a stage {name:?}"))
                .hint("a name begins with a letter and has letters, digits, '-', '_' and '.'"));
        }
    }
    Ok(Stage {
        base: base.clone(),
        name: name.map(|n| n.to_ascii_lowercase()),
        name_as_written: name.cloned(),
        platform,
        comment: String::new(),
        line: line.first,
        steps: Vec::new(),
    })
}

fn instruction(line: &Line, escape: char) -> Result<Instruction> {
    let word = line.word.to_ascii_uppercase();
    if !WORDS.contains(&word.as_str()) {
        let near = WORDS.iter().find(|w| is_near(w, &word));
        let error = Error::invalid(format!("unknown instruction {:?}", line.word));
        return Err(match near {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.hint("see the Dockerfile reference for the instructions"),
        });
    }
    let (mut flags, rest) = Flags::of(line, escape)?;
    let found = match word.as_str() {
        "RUN" => {
            let run = run(line, &mut flags, rest)?;
            flags.done()?;
            return Ok(Instruction::Run(Box::new(run)));
        }
        "COPY" | "ADD" => {
            let copy = copy(word == "ADD", line, &mut flags, rest, escape)?;
            flags.done()?;
            return Ok(Instruction::Copy(Box::new(copy)));
        }
        "HEALTHCHECK" => {
            let health = health(&mut flags, rest)?;
            flags.done()?;
            return Ok(Instruction::Healthcheck(health));
        }
        "ONBUILD" => onbuild(line, escape)?,
        other => {
            flags.done()?;
            simple(other, rest, escape)?
        }
    };
    Ok(found)
}

/// Whether two words differ in one letter, or two that changed places.
fn is_near(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 1 {
        return false;
    }
    let start = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let end = a[start..]
        .iter()
        .rev()
        .zip(b[start..].iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    let (rest_a, rest_b) = (&a[start..a.len() - end], &b[start..b.len() - end]);
    match (rest_a, rest_b) {
        ([x, y], [z, w]) => x == w && y == z,
        (x, y) => x.len() <= 1 && y.len() <= 1,
    }
}

fn need<'a>(word: &str, rest: &'a str) -> Result<&'a str> {
    match rest {
        "" => Err(Error::invalid(format!("{word} needs a value"))
            .hint("see the Dockerfile reference for what it takes")),
        rest => Ok(rest),
    }
}

/// The exec form, else the shell form.
fn command(word: &str, rest: &str) -> Result<Command> {
    if words::is_json_of_others(rest) {
        return Err(
            Error::invalid(format!("{word}: the JSON form takes strings only"))
                .hint("put every element in double quotes"),
        );
    }
    Ok(match words::json(rest) {
        Some(list) => Command::Exec(list),
        None => Command::Shell(rest.to_owned()),
    })
}

fn simple(word: &str, rest: &str, escape: char) -> Result<Instruction> {
    let list = |rest: &str| words::json(rest).unwrap_or_else(|| words::plain(rest));
    Ok(match word {
        "CMD" => Instruction::Cmd(command(word, rest)?),
        "ENTRYPOINT" => Instruction::Entrypoint(command(word, rest)?),
        "ENV" => Instruction::Env(pairs(word, need(word, rest)?, escape)?),
        "LABEL" => Instruction::Label(pairs(word, need(word, rest)?, escape)?),
        "ARG" => {
            let list = words::shell_lenient(need(word, rest)?, escape);
            let mut found = Vec::new();
            for one in list {
                let (name, value) = match one.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (one, None),
                };
                if name.is_empty() {
                    return Err(
                        Error::invalid("ARG without a name").hint("write ARG NAME[=DEFAULT]")
                    );
                }
                found.push((name, value));
            }
            Instruction::Arg(found)
        }
        "EXPOSE" => Instruction::Expose(words::plain(need(word, rest)?)),
        "VOLUME" => {
            let list = list(need(word, rest)?);
            if list.is_empty() || list.iter().any(|v| v.trim().is_empty()) {
                return Err(Error::invalid("VOLUME with an empty path").hint("name a folder"));
            }
            Instruction::Volume(list)
        }
        "USER" => Instruction::User(one(word, rest)?),
        "WORKDIR" => Instruction::Workdir(one(word, rest)?),
        "STOPSIGNAL" => Instruction::StopSignal(one(word, rest)?),
        "MAINTAINER" => Instruction::Maintainer(one(word, rest)?),
        _ => match words::json(rest) {
            Some(list) if !list.is_empty() => Instruction::Shell(list),
            _ => {
                return Err(Error::invalid("SHELL takes the JSON form")
                    .hint("e.g. SHELL [\"/bin/bash\", \"-c\"]"));
            }
        },
    })
}

fn one(word: &str, rest: &str) -> Result<String> {
    need(word, rest).map(str::to_owned)
}

/// `K=V …`, or the old `K V`.
fn pairs(word: &str, rest: &str, escape: char) -> Result<Vec<(String, String)>> {
    let list = words::shell_lenient(rest, escape);
    let hint = format!("write {word} KEY=VALUE …");
    match list.first() {
        Some(first) if !first.contains('=') => match rest.split_once(char::is_whitespace) {
            Some((key, value)) => Ok(vec![(key.to_owned(), value.trim().to_owned())]),
            None => Err(Error::invalid(format!("{word} {rest} has no value")).hint(hint)),
        },
        _ => {
            list.iter()
                .map(|one| match one.split_once('=') {
                    Some(("", _)) => {
                        Err(Error::invalid(format!("{word}: a name is empty")).hint(hint.clone()))
                    }
                    Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
                    None => Err(Error::invalid(format!("{word}: {one:?} is no KEY=VALUE"))
                        .hint(hint.clone())),
                })
                .collect()
        }
    }
}

fn run(line: &Line, flags: &mut Flags, rest: &str) -> Result<Run> {
    let network = match flags.value("network")?.as_deref() {
        None | Some("default") => RunNetwork::Default,
        Some("none") => RunNetwork::None,
        Some("host") => RunNetwork::Host,
        Some(other) => {
            return Err(
                Error::invalid(format!("RUN --network={other} does not exist"))
                    .hint("default, none or host"),
            );
        }
    };
    let insecure = match flags.value("security")?.as_deref() {
        None | Some("sandbox") => false,
        Some("insecure") => true,
        Some(other) => {
            return Err(
                Error::invalid(format!("RUN --security={other} does not exist"))
                    .hint("sandbox or insecure"),
            );
        }
    };
    let run = Run {
        command: command("RUN", rest)?,
        heredocs: line.heredocs.clone(),
        mounts: flags.values("mount")?,
        network,
        insecure,
        devices: flags.values("device")?,
    };
    match &run.command {
        Command::Exec(list) if list.is_empty() => {
            Err(Error::invalid("RUN [] runs nothing").hint("name a program"))
        }
        Command::Shell(text) if text.is_empty() => {
            Err(Error::invalid("RUN needs a command").hint("write RUN COMMAND"))
        }
        _ => Ok(run),
    }
}

fn copy(add: bool, line: &Line, flags: &mut Flags, rest: &str, escape: char) -> Result<Copy> {
    let word = if add { "ADD" } else { "COPY" };
    let mut list = match words::json(rest) {
        Some(list) => list,
        None => words::plain(rest),
    };
    let destination = match list.pop() {
        Some(last) if !list.is_empty() => last,
        _ => {
            return Err(
                Error::invalid(format!("{word} needs a source and a destination"))
                    .hint(format!("write {word} SOURCE… DESTINATION")),
            );
        }
    };
    let mut copy = Copy {
        add,
        destination,
        chown: flags.value("chown")?,
        chmod: flags.value("chmod")?,
        link: flags.switch("link")?.unwrap_or(false),
        parents: flags.switch("parents")?.unwrap_or(false),
        exclude: flags.values("exclude")?,
        ..Copy::default()
    };
    if add {
        copy.checksum = flags.value("checksum")?;
        copy.keep_git_dir = flags.switch("keep-git-dir")?.unwrap_or(false);
        copy.unpack = flags.switch("unpack")?;
    } else {
        copy.from = flags.value("from")?;
        if copy.from.as_deref() == Some("") {
            return Err(Error::invalid("COPY --from is empty").hint("name a stage or an image"));
        }
        if copy.from.as_deref().is_some_and(|f| f.contains('$')) {
            return Err(Error::invalid("COPY --from takes no variables")
                .hint("name a stage that is made FROM the variable: FROM ${IMAGE} AS name"));
        }
    }
    let mut heredocs = line.heredocs.iter();
    for source in list {
        match lexer::heredoc_name(&source, escape) {
            Some(_) if !line.heredocs.is_empty() => {
                copy.heredocs.extend(heredocs.next().cloned());
            }
            _ => copy.sources.push(source),
        }
    }
    if copy.from.is_some() && !copy.heredocs.is_empty() {
        return Err(
            Error::invalid("COPY --from and here-documents exclude each other")
                .hint("use two instructions"),
        );
    }
    if copy.sources.len() + copy.heredocs.len() > 1
        && !copy.destination.ends_with('/')
        && !matches!(copy.destination.as_str(), "." | "..")
        && !copy.destination.contains('$')
        && !copy.destination.ends_with("/.")
    {
        return Err(Error::invalid(format!(
            "{word} of several sources needs a folder as its destination"
        ))
        .hint(format!("end it with a slash: {}/", copy.destination)));
    }
    Ok(copy)
}

fn health(flags: &mut Flags, rest: &str) -> Result<Health> {
    let mut times = [0_i64; 4];
    for (slot, name) in
        times
            .iter_mut()
            .zip(["interval", "timeout", "start-period", "start-interval"])
    {
        if let Some(value) = flags.value(name)? {
            let duration = time::parse_duration(&value)?;
            *slot = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
            if *slot != 0 && *slot < 1_000_000 {
                return Err(
                    Error::invalid(format!("--{name}={value} is under a millisecond"))
                        .hint("write a time like 30s"),
                );
            }
        }
    }
    let retries = match flags.value("retries")? {
        Some(value) => value
            .parse::<u32>()
            .map_err(|_| Error::invalid(format!("--retries={value} is no number")))
            .hint(|| "write a number like 3")?,
        None => 0,
    };
    let (word, tail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = match word.to_ascii_uppercase().as_str() {
        "NONE" if tail.trim().is_empty() => None,
        "CMD" if !tail.trim().is_empty() => Some(command("HEALTHCHECK", tail.trim())?),
        _ => {
            return Err(Error::invalid("malformed HEALTHCHECK")
                .hint("write HEALTHCHECK [OPTIONS] CMD COMMAND, or HEALTHCHECK NONE"));
        }
    };
    let [interval, timeout, start_period, start_interval] = times;
    Ok(Health {
        command,
        interval,
        timeout,
        start_period,
        start_interval,
        retries: i64::from(retries),
    })
}

fn onbuild(line: &Line, escape: char) -> Result<Instruction> {
    let rest = need("ONBUILD", &line.rest)?;
    let (word, tail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let word = word.to_ascii_uppercase();
    if matches!(word.as_str(), "FROM" | "ONBUILD" | "MAINTAINER") {
        return Err(Error::invalid(format!("ONBUILD {word} is not allowed"))
            .hint("any other instruction may be a trigger"));
    }
    // Whoever builds on it should not be the first to find a mistake.
    let inner = Line {
        word,
        rest: tail.trim().to_owned(),
        ..line.clone()
    };
    instruction(&inner, escape)?;
    let mut text = format!("{} {}", inner.word, inner.rest);
    for doc in &line.heredocs {
        text.push('\n');
        text.push_str(&doc.content);
        text.push_str(&doc.name);
    }
    Ok(Instruction::OnBuild(text))
}

/// All words of a list in one, for messages.
pub fn joined(list: &Words) -> String {
    list.join(" ")
}

#[cfg(test)]
mod tests;
