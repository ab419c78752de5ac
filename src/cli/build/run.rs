//! `build`.

use std::sync::Arc;

use serde_json::json;

use super::flags::BuildArgs;
use super::request::{Asked, agents, request, sources};
use crate::base::fs::{self as files, Durability};
use crate::base::progress::Silent;
use crate::base::{Context as _, Error, Result};
use crate::build::lint::{self, Settings};
use crate::build::{Dockerfile, ignore::Ignore};
use crate::cli::output::Out;
use crate::cli::output::build::{Form, Show};
use crate::operations::build::{Output, OutputKind, check_outputs, push_all, several, write};
use crate::operations::image::enter_store;
use crate::operations::session::Session;

/// Runs `build`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: BuildArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let wanted = args
        .progress
        .clone()
        .or_else(|| session.env.text("BUILDKIT_PROGRESS"))
        .unwrap_or_default();
    let form = match args.quiet {
        true => Form::Quiet,
        false => Form::parse(&wanted, &session.env)?,
    };
    if args.quiet {
        session.progress = Arc::new(Silent);
    }
    let store = enter_store(session)?;
    let agents = agents(&args, session)?;
    let (file, context) = sources(&args, session, &store, &agents)?;
    let what = match (args.check, args.call.as_deref()) {
        (true, _) => "check",
        (false, None | Some("build")) => "build",
        (false, Some(what)) => what,
    };
    match what {
        "build" => {}
        "check" | "lint" => return check(&file, &context.patterns(), out),
        "targets" => return targets(&file, out),
        "outline" => return outline(&file, &args, out),
        other => {
            return Err(Error::invalid(format!("unknown --call {other:?}"))
                .hint("use build, check, outline or targets"));
        }
    }
    let ignore = context.patterns();
    let Asked {
        mut request,
        outputs,
        mut wishes,
        all_platforms,
    } = request(&args, (file, context, agents), session, &store, out)?;
    let settings = settings(&request.file, request.args.get("BUILDKIT_DOCKERFILE_CHECK"))?;
    let findings = lint::check(&request.file, &ignore, &settings);
    if settings.error && !findings.is_empty() {
        return Err(failed(&request.file, &findings));
    }
    if all_platforms {
        wishes.platforms = several::all_platforms(session, &request)?;
    }
    check_outputs(&outputs, wishes.platforms.len())?;
    let mut show = match &args.logfile {
        Some(path) => {
            let file =
                std::fs::File::create(path).what(|| format!("cannot write {}", path.display()))?;
            Show::to(Form::Plain, Box::new(file))
        }
        None => Show::new(form),
    };
    let outcome = several::build_all(session, &mut request, &wishes, &mut show);
    show.clear();
    let outcome = outcome?;
    let Some(built) = outcome.built.first() else {
        return Err(Error::internal("a build without an image"));
    };
    if !args.quiet && form != Form::Json {
        for name in &built.unused_args {
            out.warn(&format!(
                "build argument {name} was given and no ARG declares it"
            ));
        }
        if !findings.is_empty() {
            out.warn(&format!(
                "{} of the Dockerfile: `build --check` tells",
                match findings.len() {
                    1 => "one finding in a line".to_owned(),
                    n => format!("{n} findings in lines"),
                }
            ));
        }
    }
    for output in &outputs {
        let mut sink = Sink { out: &mut *out };
        write(session, &outcome, output, &mut sink)?;
    }
    let mut digests = Vec::new();
    if args.push || outputs.iter().any(Output::pushes) {
        digests = push_all(session, &outcome.names, &request.registry)?;
    }
    // What was made is the list, when there is one.
    let made = outcome.list.as_ref().unwrap_or(&built.record);
    let id = &made.id;
    if let Some(path) = &args.iidfile {
        files::replace(path, id.to_string().as_bytes(), 0o644, Durability::Volatile)?;
    }
    if let Some(path) = &args.metadata_file {
        let digest = digests
            .first()
            .map(|(_, digest)| digest.clone())
            .or_else(|| made.manifest_digest().cloned());
        let names: Vec<String> = outcome.names.iter().map(ToString::to_string).collect();
        let mut value = json!({
            "containerimage.digest": digest.map(|d| d.to_string()),
            "image.name": names.join(","),
        });
        if outcome.built.len() == 1 {
            value["containerimage.config.digest"] = built.record.id.to_string().into();
        }
        let text = crate::cli::output::json::indented(&value);
        files::replace(path, text.as_bytes(), 0o644, Durability::Volatile)?;
    }
    let to_stdout = outputs.iter().any(|o| {
        o.destination
            .as_deref()
            .is_some_and(|d| d.as_os_str() == "-")
    });
    if to_stdout || outputs.iter().any(|o| o.kind == OutputKind::CacheOnly) {
        return Ok(0);
    }
    match (out.is_docker(), args.quiet) {
        (true, true) => out.line(id.to_string())?,
        (true, false) => {}
        (false, _) => out.line(id.hex())?,
    }
    Ok(0)
}

/// Standard output for archives.
struct Sink<'a> {
    out: &'a mut Out,
}

impl std::io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.out.bytes(bytes).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush().map_err(std::io::Error::other)
    }
}

fn settings(file: &Dockerfile, given: Option<&String>) -> Result<Settings> {
    match given.or(file.directives.check.as_ref()) {
        Some(text) => Settings::parse(text),
        None => Ok(Settings::default()),
    }
}

fn failed(file: &Dockerfile, findings: &[lint::Finding]) -> Error {
    let list: Vec<String> = findings
        .iter()
        .map(|f| format!("{}:{}: {}: {}", file.name, f.line, f.rule, f.message))
        .collect();
    Error::invalid(format!("the Dockerfile has findings:\n{}", list.join("\n")))
        .hint("correct them, or skip a rule: # check=skip=RULE")
        .exit_code(1)
}

/// `--check`: the findings, and exit code 1 when there are any.
fn check(file: &Dockerfile, ignore: &Ignore, out: &mut Out) -> Result<u8> {
    let settings = settings(file, None)?;
    let findings = lint::check(file, ignore, &settings);
    if findings.is_empty() {
        out.line("Check complete, no warnings found.")?;
        return Ok(0);
    }
    for finding in &findings {
        let why = lint::RULES
            .iter()
            .find(|(name, _)| *name == finding.rule)
            .map_or("", |(_, why)| why);
        out.line(format!(
            "{}:{}: {}: {} ({why})",
            file.name, finding.line, finding.rule, finding.message
        ))?;
    }
    Ok(1)
}

/// `--call=targets`: the stages that can be built.
fn targets(file: &Dockerfile, out: &mut Out) -> Result<u8> {
    out.line("TARGET\tDESCRIPTION")?;
    let last = file.stages.len() - 1;
    for (index, stage) in file.stages.iter().enumerate() {
        let name = match (&stage.name, index == last) {
            (Some(name), true) => format!("{name} (default)"),
            (Some(name), false) => name.clone(),
            (None, true) => "(default)".to_owned(),
            (None, false) => continue,
        };
        out.line(format!("{name}\t{}", stage.comment))?;
    }
    Ok(0)
}

/// `--call=outline`: the arguments, secrets and agents that a target may take.
fn outline(file: &Dockerfile, args: &BuildArgs, out: &mut Out) -> Result<u8> {
    use crate::build::instruction::Instruction;
    use crate::build::mount::{Mount, MountKind};
    let target = args.target.clone().unwrap_or_default();
    out.line(format!(
        "TARGET: {}",
        if target.is_empty() {
            "(default)"
        } else {
            &target
        }
    ))?;
    out.line("BUILD ARG\tDEFAULT")?;
    for (name, default, _) in &file.globals {
        out.line(format!(
            "{name}\t{}",
            default.as_deref().unwrap_or_default()
        ))?;
    }
    let mut needs: Vec<String> = Vec::new();
    for step in file.stages.iter().flat_map(|s| &s.steps) {
        match &step.instruction {
            Instruction::Arg(list) => {
                for (name, default) in list {
                    out.line(format!(
                        "{name}\t{}",
                        default.as_deref().unwrap_or_default()
                    ))?;
                }
            }
            Instruction::Run(run) => {
                for text in &run.mounts {
                    let mount = Mount::parse(text, &mut |word| Ok(word.to_owned()))?;
                    let kind = match mount.kind {
                        MountKind::Secret => "secret",
                        MountKind::Ssh => "ssh",
                        _ => continue,
                    };
                    let id = mount.id.unwrap_or_else(|| "default".to_owned());
                    let required = if mount.required { "\trequired" } else { "" };
                    needs.push(format!("{kind}\t{id}{required}"));
                }
            }
            _ => {}
        }
    }
    needs.sort();
    needs.dedup();
    for need in needs {
        out.line(need)?;
    }
    Ok(0)
}
