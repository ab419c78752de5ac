//! What instructions without files do to an image's configuration, and how they read in history.

use super::instruction::{Command, Health, Instruction, Run};
use super::pattern::clean;
use super::scope::Scope;
use crate::base::{Error, Result, signal};
use crate::spec::image::{Empty, Healthcheck, RunConfig};

/// The shell of the shell form when no SHELL says otherwise.
pub const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// The PATH of an image that sets none.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The most ports that one EXPOSE may name.
const PORTS: u32 = 65_536;

/// Applies an instruction; answers its line of the history. `None` for those that need files
/// (RUN, COPY, ADD); WORKDIR also makes a folder, which is not done here. `cmd_set` says whether
/// this stage had a CMD: an ENTRYPOINT resets one that was inherited.
///
/// # Errors
/// `Invalid` for values that are none once variables are expanded.
pub fn apply(
    instruction: &Instruction,
    config: &mut RunConfig,
    scope: &mut Scope,
    escape: char,
    cmd_set: &mut bool,
) -> Result<Option<String>> {
    let text = match instruction {
        Instruction::Run(_) | Instruction::Copy(_) => return Ok(None),
        Instruction::Env(list) => {
            // One instruction sees what was before it, not its own words.
            let list = expanded(list, scope, escape)?;
            for (key, value) in &list {
                set_env(&mut config.env, key, value);
                scope.set_env(key, value);
            }
            format!("ENV {}", shown(&list))
        }
        Instruction::Label(list) => {
            let list = expanded(list, scope, escape)?;
            config.labels.extend(list.iter().cloned());
            format!("LABEL {}", shown(&list))
        }
        Instruction::Arg(list) => {
            let mut words = Vec::new();
            for (name, default) in list {
                let name = scope.word(name, escape)?;
                let default = default
                    .as_deref()
                    .map(|d| scope.word(d, escape))
                    .transpose()?;
                words.push(match &default {
                    Some(value) => format!("{name}={value}"),
                    None => name.clone(),
                });
                scope.declare(&name, default);
            }
            format!("ARG {}", words.join(" "))
        }
        Instruction::Cmd(command) => {
            let argv = argv(command, config);
            let text = format!("CMD {}", json(&argv));
            config.cmd = Some(argv);
            *cmd_set = true;
            text
        }
        Instruction::Entrypoint(command) => {
            let argv = argv(command, config);
            let text = format!("ENTRYPOINT {}", json(&argv));
            config.entrypoint = Some(argv);
            if !*cmd_set {
                config.cmd = None;
            }
            text
        }
        Instruction::Expose(list) => {
            let mut all = Vec::new();
            for word in list {
                for port in scope.words(word, escape)? {
                    all.extend(ports(&port)?);
                }
            }
            let text = format!("EXPOSE {}", all.join(" "));
            config
                .exposed_ports
                .extend(all.into_iter().map(|p| (p, Empty {})));
            text
        }
        Instruction::Volume(list) => {
            let list = list
                .iter()
                .map(|v| scope.word(v, escape))
                .collect::<Result<Vec<_>>>()?;
            if list.iter().any(String::is_empty) {
                return Err(Error::invalid("VOLUME with an empty path").hint("name a folder"));
            }
            let text = format!("VOLUME {}", json(&list));
            config
                .volumes
                .extend(list.into_iter().map(|v| (v, Empty {})));
            text
        }
        Instruction::User(user) => {
            let user = scope.word(user, escape)?;
            if user.is_empty() {
                return Err(Error::invalid("USER is empty once it is expanded")
                    .hint("give the variable a value: ${USER:-root}"));
            }
            config.user.clone_from(&user);
            format!("USER {user}")
        }
        Instruction::Workdir(dir) => {
            let dir = workdir(&config.working_dir, &scope.word(dir, escape)?)?;
            config.working_dir.clone_from(&dir);
            format!("WORKDIR {dir}")
        }
        Instruction::StopSignal(text) => {
            let text = scope.word(text, escape)?;
            signal::parse(&text)?;
            config.stop_signal = Some(text.clone());
            format!("STOPSIGNAL {text}")
        }
        Instruction::Healthcheck(health) => {
            let check = healthcheck(health);
            let text = format!("HEALTHCHECK {}", json(&check.test));
            config.healthcheck = Some(check);
            text
        }
        Instruction::Shell(list) => {
            config.shell = Some(list.clone());
            format!("SHELL {}", json(list))
        }
        Instruction::OnBuild(text) => {
            config.on_build.push(text.clone());
            format!("ONBUILD {text}")
        }
        Instruction::Maintainer(name) => format!("MAINTAINER {name}"),
    };
    Ok(Some(text))
}

fn expanded(
    list: &[(String, String)],
    scope: &Scope,
    escape: char,
) -> Result<Vec<(String, String)>> {
    list.iter()
        .map(|(key, value)| {
            let key = scope.word(key, escape)?;
            if key.is_empty() || key.contains(['=', '\0']) {
                return Err(Error::invalid(format!("{key:?} is no name"))
                    .hint("a name is not empty and has no '='"));
            }
            Ok((key, scope.word(value, escape)?))
        })
        .collect()
}

fn shown(list: &[(String, String)]) -> String {
    let words: Vec<String> = list.iter().map(|(k, v)| format!("{k}={v}")).collect();
    words.join(" ")
}

/// Sets a variable of a configuration where it stands, or at the end.
pub fn set_env(env: &mut Vec<String>, key: &str, value: &str) {
    let start = format!("{key}=");
    let entry = format!("{start}{value}");
    match env.iter_mut().find(|e| e.starts_with(&start)) {
        Some(slot) => *slot = entry,
        None => env.push(entry),
    }
}

/// A list as JSON, as the history shows it.
pub fn json(list: &[String]) -> String {
    serde_json::to_string(list).unwrap_or_default()
}

/// The words of a command, the shell in front of the shell form.
pub fn argv(command: &Command, config: &RunConfig) -> Vec<String> {
    match command {
        Command::Exec(list) => list.clone(),
        Command::Shell(text) if text.is_empty() => Vec::new(),
        Command::Shell(text) => {
            let mut list = shell(config);
            list.push(text.clone());
            list
        }
    }
}

fn shell(config: &RunConfig) -> Vec<String> {
    match &config.shell {
        Some(shell) if !shell.is_empty() => shell.clone(),
        _ => SHELL.map(str::to_owned).to_vec(),
    }
}

/// What a RUN runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The command.
    pub argv: Vec<String>,
    /// A script with an interpreter of its own, and its name.
    pub script: Option<(String, String)>,
}

/// The folder with the script of a RUN.
pub const SCRIPTS: &str = "/dev/pipes";

/// The command of a RUN, here-documents considered.
///
/// # Errors
/// `Invalid` for here-documents with the exec form.
pub fn program(run: &Run, config: &RunConfig) -> Result<Program> {
    let plain = |argv| Program { argv, script: None };
    let Some(first) = run.heredocs.first() else {
        return Ok(plain(argv(&run.command, config)));
    };
    let Command::Shell(text) = &run.command else {
        return Err(Error::invalid("RUN: here-documents need the shell form")
            .hint("write the command without brackets"));
    };
    let alone = run.heredocs.len() == 1
        && super::lexer::heredoc_name(text, '\\').as_deref() == Some(&first.name);
    if alone && first.content.starts_with("#!") {
        // The name becomes a file's: only its last part counts, and never a dot alone.
        let name: String = first
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        return Ok(Program {
            argv: vec![format!("{SCRIPTS}/{name}")],
            script: Some((name, first.content.clone())),
        });
    }
    let text = match alone {
        true => first.content.clone(),
        false => run.heredocs.iter().fold(text.clone(), |text, doc| {
            format!("{text}\n{}{}", doc.content, doc.name)
        }),
    };
    let mut argv = shell(config);
    argv.push(text);
    Ok(plain(argv))
}

/// A RUN's line of the history: the arguments it saw, then its command.
pub fn run_history(argv: &[String], args: &[(String, String)]) -> String {
    let mut text = "RUN ".to_owned();
    if !args.is_empty() {
        text.push_str(&format!("|{} ", args.len()));
        for (name, value) in args {
            text.push_str(&format!("{name}={value} "));
        }
    }
    text.push_str(&argv.join(" "));
    text
}

/// `WORKDIR` after another: an absolute, clean path.
///
/// # Errors
/// `Invalid` when it is empty.
pub fn workdir(before: &str, dir: &str) -> Result<String> {
    if dir.is_empty() {
        return Err(Error::invalid("WORKDIR is empty once it is expanded")
            .hint("give the variable a value: ${DIR:-/work}"));
    }
    Ok(match dir.starts_with('/') {
        true => clean(dir),
        false => clean(&format!("/{before}/{dir}")),
    })
}

/// `80`, `80/udp`, `8000-8002/tcp` as single ports with protocol.
fn ports(text: &str) -> Result<Vec<String>> {
    let bad = || {
        Error::invalid(format!("invalid port {text:?}")).hint("write PORT[-PORT][/tcp|/udp|/sctp]")
    };
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(bad());
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number =
        |text: &str| -> Result<u32> { text.parse::<u16>().map(u32::from).map_err(|_| bad()) };
    let (first, last) = (number(first)?, number(last)?);
    if first == 0 || first > last || last - first >= PORTS {
        return Err(bad());
    }
    Ok((first..=last).map(|p| format!("{p}/{protocol}")).collect())
}

fn healthcheck(health: &Health) -> Healthcheck {
    let test = match &health.command {
        None => vec!["NONE".to_owned()],
        Some(Command::Exec(list)) => std::iter::once("CMD".to_owned())
            .chain(list.clone())
            .collect(),
        Some(Command::Shell(text)) => vec!["CMD-SHELL".to_owned(), text.clone()],
    };
    Healthcheck {
        test,
        interval: health.interval,
        timeout: health.timeout,
        start_period: health.start_period,
        start_interval: health.start_interval,
        retries: health.retries,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::parse;
    use std::collections::BTreeMap;

    fn applied(text: &str) -> Result<(RunConfig, Vec<String>)> {
        let file = parse("f", &format!("FROM scratch\n{text}\n"))?;
        let mut config = RunConfig::default();
        let mut scope = Scope::new(&BTreeMap::new(), BTreeMap::new());
        let mut set = false;
        let mut history = Vec::new();
        for step in &file.stages[0].steps {
            history.extend(apply(
                &step.instruction,
                &mut config,
                &mut scope,
                '\\',
                &mut set,
            )?);
        }
        Ok((config, history))
    }

    #[test]
    fn metadata_ends_up_in_the_configuration() {
        let (c, h) = applied(
            "ARG V=1\nENV A=$V B=$A\nENV C=\"$A b\"\nLABEL l=$C\nEXPOSE 80 90-91/UDP\nVOLUME /a [\"x\"]\n\
             USER ${U:-me}\nWORKDIR /a\nWORKDIR ../b\nSTOPSIGNAL SIGTERM\nSHELL [\"bash\",\"-c\"]\nCMD x y\n\
             ENTRYPOINT [\"e\"]\nHEALTHCHECK CMD ok\nONBUILD RUN z",
        )
        .unwrap();
        assert_eq!(c.env, ["A=1", "B=", "C=1 b"]);
        assert_eq!(c.labels["l"], "1 b");
        let ports: Vec<_> = c.exposed_ports.keys().cloned().collect();
        assert_eq!(ports, ["80/tcp", "90/udp", "91/udp"]);
        assert_eq!((c.user.as_str(), c.working_dir.as_str()), ("me", "/b"));
        assert_eq!(c.cmd.unwrap(), ["bash", "-c", "x y"]);
        assert_eq!(c.entrypoint.unwrap(), ["e"]);
        assert_eq!(c.healthcheck.unwrap().test, ["CMD-SHELL", "ok"]);
        assert_eq!(c.on_build, ["RUN z"]);
        assert_eq!(h[0], "ARG V=1");
        assert!(h.contains(&"CMD [\"bash\",\"-c\",\"x y\"]".to_owned()));
        for bad in [
            "EXPOSE 0",
            "EXPOSE 99999",
            "EXPOSE 80/icmp",
            "EXPOSE 9-8",
            "STOPSIGNAL SIGNOPE",
            "USER $none",
            "WORKDIR $none",
            "VOLUME $none",
            "ENV \"\"=x",
        ] {
            assert!(applied(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_entrypoint_resets_an_inherited_command_only() {
        let mut config = RunConfig {
            cmd: Some(vec!["base".into()]),
            ..RunConfig::default()
        };
        let mut scope = Scope::default();
        let entry = Instruction::Entrypoint(Command::Exec(vec!["e".into()]));
        apply(&entry, &mut config, &mut scope, '\\', &mut false).unwrap();
        assert_eq!(config.cmd, None);
        config.cmd = Some(vec!["own".into()]);
        apply(&entry, &mut config, &mut scope, '\\', &mut true).unwrap();
        assert_eq!(config.cmd.unwrap(), ["own"]);
    }

    #[test]
    fn here_documents_become_commands() {
        let run = |text: &str| {
            let file = parse("f", &format!("FROM a\n{text}\n")).unwrap();
            let Instruction::Run(run) = file.stages[0].steps[0].instruction.clone() else {
                unreachable!();
            };
            program(&run, &RunConfig::default()).unwrap()
        };
        assert_eq!(run("RUN <<E\na\nb\nE").argv, ["/bin/sh", "-c", "a\nb\n"]);
        let script = run("RUN <<E\n#!/bin/x\na\nE");
        assert_eq!(script.argv, ["/dev/pipes/E"]);
        assert_eq!(script.script.unwrap().1, "#!/bin/x\na\n");
        let argv = run("RUN cat <<A - <<B\na\nA\nb\nB").argv;
        assert_eq!(argv[2], "cat <<A - <<B\na\nA\nb\nB");
    }
}
