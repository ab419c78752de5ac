//! The options of every command, the project that they name, and what the command line does for it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use crate::base::{Context as _, Error, Kind, Result};
use crate::cli::output::Out;
use crate::compose::load::{Request, load, normalise_name};
use crate::compose::{Project, schema};
use crate::operations::compose::Hands;
use crate::operations::compose::observe::{self, Member};
use crate::operations::container::request::RunOptions;
use crate::operations::session::Session;
use crate::state::options::ContainerOptions;

/// How many containers at a time where nobody says.
const PARALLEL: usize = 16;

/// Options of `compose` itself: they may stand before the command, too.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Project")]
pub struct ProjectFlags {
    /// Project file; several are laid over each other (-f before the command)
    #[arg(long, value_name = "FILE")]
    pub file: Vec<String>,
    /// Name of the project (-p before the command)
    #[arg(long, value_name = "NAME")]
    pub project_name: Option<String>,
    /// Profile whose services are on
    #[arg(long, value_name = "NAME")]
    pub profile: Vec<String>,
    /// File with variables
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<String>,
    /// Folder that relative paths begin at
    #[arg(long, value_name = "DIR")]
    pub project_directory: Option<String>,
    /// How progress is shown: auto, plain, quiet
    #[arg(long, value_name = "FORM")]
    pub progress: Option<String>,
    /// Colours: auto, never, always
    #[arg(long, value_name = "WHEN")]
    pub ansi: Option<String>,
    /// How many things are done at a time
    #[arg(long, value_name = "N")]
    pub parallel: Option<String>,
    /// Read everything in the files, used or not
    #[arg(long, hide = true)]
    pub all_resources: bool,
    /// Names with _ in place of -, as docker-compose of version 1 had them
    #[arg(long)]
    pub compatibility: bool,
    /// Print what would be done and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// The caller's variables, all of them, as they are.
pub fn variables(session: &Session) -> BTreeMap<String, String> {
    session.env.all().into_iter().collect()
}

impl ProjectFlags {
    /// What the project's files say.
    ///
    /// # Errors
    /// As `compose::load`.
    pub fn load(&self, session: &Session, out: &mut Out, targets: &[String]) -> Result<Project> {
        let project = self.load_with(session, targets, true, true)?;
        for notice in &project.notices {
            out.warn(notice);
        }
        for lost in schema::lost(&project.model) {
            out.warn(&format!("{} has no effect: {}", lost.path, lost.why));
        }
        Ok(project)
    }

    /// As [`ProjectFlags::load`], without a word.
    ///
    /// # Errors
    /// As there.
    pub fn load_with(
        &self,
        session: &Session,
        targets: &[String],
        interpolate: bool,
        resolve_env: bool,
    ) -> Result<Project> {
        if self.compatibility || session.env.is_on("COMPOSE_COMPATIBILITY") {
            return Err(Error::unsupported(
                "names of docker-compose version 1 (--compatibility) are not made",
            )
            .hint("leave it out: containers are named PROJECT-SERVICE-1"));
        }
        if self.all_resources {
            return Err(Error::unsupported(
                "--all-resources has no effect here: what no service uses is not made",
            )
            .hint("leave it out"));
        }
        if let Some(word) = self
            .progress
            .as_deref()
            .filter(|w| !["auto", "plain", "quiet"].contains(w))
        {
            return Err(
                Error::unsupported(format!("cannot show progress as {word:?}"))
                    .hint("use auto, plain or quiet"),
            );
        }
        let cwd = std::env::current_dir().what(|| "cannot tell the working directory")?;
        let home = session.env.home().unwrap_or_else(|| PathBuf::from("/"));
        load(&Request {
            files: &self.file,
            name: self.project_name.as_deref(),
            profiles: &self.profile,
            env_files: &self.env_file,
            dir: self.project_directory.as_deref(),
            cwd: &cwd,
            home: &home,
            env: &variables(session),
            targets,
            interpolate,
            resolve_env,
        })
    }

    /// The project's name and, where they are there, its files: commands on containers that exist
    /// need the name alone.
    ///
    /// # Errors
    /// As [`ProjectFlags::load`], without files and name.
    pub fn named(
        &self,
        session: &Session,
        targets: &[String],
    ) -> Result<(String, Option<Project>)> {
        match self.load_with(session, targets, true, false) {
            Ok(project) => Ok((project.name.clone(), Some(project))),
            Err(e) if e.kind() == Kind::NotFound && self.file.is_empty() => {
                let given = self.project_name.clone();
                let given = given.or_else(|| session.env.text("COMPOSE_PROJECT_NAME"));
                match given {
                    Some(name) if normalise_name(&name) == name => Ok((name, None)),
                    _ => Err(e),
                }
            }
            Err(e) => Err(e),
        }
    }

    /// The containers of services that exist; all without names.
    ///
    /// # Errors
    /// `NotFound` for a service that neither the files nor a container know.
    pub fn members(
        &self,
        session: &Session,
        services: &[String],
    ) -> Result<(Vec<Member>, Option<Project>)> {
        let (name, project) = self.named(session, services)?;
        let mut members = observe::members(session, &name)?;
        for service in services {
            let known = project.as_ref().is_some_and(|p| p.service(service).is_ok());
            if !known && !members.iter().any(|m| m.present.service == *service) {
                return Err(Error::not_found(format!("no such service: {service}")));
            }
        }
        if !services.is_empty() {
            members.retain(|m| services.contains(&m.present.service));
        } else if let Some(project) = &project {
            // Services whose profile is off, and orphans, are named or left alone.
            members.retain(|m| project.service(&m.present.service).is_ok());
        }
        Ok((members, project))
    }

    /// One container of a service: the one with the number, else the first.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn member(&self, session: &Session, service: &str, index: Option<usize>) -> Result<Member> {
        let (name, _) = self.named(session, &[service.to_owned()])?;
        let members = observe::members(session, &name)?;
        let mut own = members
            .into_iter()
            .filter(|m| m.present.service == service && !m.present.oneoff);
        let found = match index.filter(|i| *i > 0) {
            Some(index) => own.find(|m| m.present.number == index),
            None => {
                let all: Vec<Member> = own.collect();
                let running = all.iter().find(|m| m.present.running).cloned();
                running.or_else(|| all.into_iter().next())
            }
        };
        found.ok_or_else(|| {
            Error::not_found(match index {
                Some(index) => format!("service {service:?} has no container {index}"),
                None => format!("service {service:?} is not running"),
            })
            .hint("coracle compose ps --all lists what there is")
        })
    }

    /// How many things are done at a time.
    ///
    /// # Errors
    /// `Invalid` for what is no number.
    pub fn most(&self, session: &Session) -> Result<usize> {
        let word = self
            .parallel
            .clone()
            .or_else(|| session.env.text("COMPOSE_PARALLEL_LIMIT"));
        match word.as_deref() {
            None => Ok(PARALLEL),
            Some("-1") => Ok(usize::MAX),
            Some(word) => word
                .parse::<usize>()
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| {
                    Error::invalid(format!("invalid number {word:?} of things at a time"))
                }),
        }
    }

    /// Whether steps are told.
    pub fn is_quiet(&self, session: &Session) -> bool {
        let word = self
            .progress
            .clone()
            .or_else(|| session.env.text("COMPOSE_PROGRESS"));
        word.as_deref() == Some("quiet")
    }

    /// Whether output is coloured.
    ///
    /// # Errors
    /// `Invalid` for an unknown word.
    pub fn colours(&self, session: &Session, out: &Out) -> Result<bool> {
        let word = self
            .ansi
            .clone()
            .or_else(|| session.env.text("COMPOSE_ANSI"));
        match word.as_deref() {
            None | Some("auto") => Ok(out.is_terminal() && !session.env.is_on("NO_COLOR")),
            Some("never") => Ok(false),
            Some("always") => Ok(true),
            Some(other) => Err(Error::invalid(format!("unknown --ansi {other:?}"))
                .hint("use auto, never or always")),
        }
    }
}

/// The command line at work for a project.
pub struct Shell<'a> {
    /// Where it prints.
    pub out: &'a mut Out,
    /// Steps are not told.
    pub quiet: bool,
}

impl Hands for Shell<'_> {
    fn options(
        &mut self,
        session: &mut Session,
        words: &[String],
    ) -> Result<(ContainerOptions, RunOptions)> {
        crate::cli::container::create::options(words, session, self.out)
    }

    fn build(
        &mut self,
        session: &mut Session,
        words: &[String],
        inline: Option<&str>,
    ) -> Result<()> {
        let mut line = vec!["coracle".to_owned(), "build".to_owned()];
        let mut held = None;
        if let Some(inline) = inline {
            // A file of the caller's alone, gone when it was read.
            let path = session
                .dirs
                .runtime
                .join(format!("dockerfile-{}", std::process::id()));
            crate::base::fs::create_private_dir_all(&session.dirs.runtime)?;
            let mut file =
                std::fs::File::create(&path).what(|| format!("cannot write {}", path.display()))?;
            file.write_all(inline.as_bytes())
                .what(|| format!("cannot write {}", path.display()))?;
            line.push(format!("--file={}", path.display()));
            held = Some(path);
        }
        line.extend(words.iter().cloned());
        if self.quiet {
            line.insert(2, "--quiet".to_owned());
        }
        let answer = crate::cli::again(&line, session, self.out);
        if let Some(path) = held {
            drop(std::fs::remove_file(path));
        }
        match answer? {
            0 => Ok(()),
            code => Err(Error::new(Kind::Unavailable, "the build failed").exit_code(code)),
        }
    }

    fn tell(&mut self, noun: &str, name: &str, done: &str) {
        if !self.quiet {
            self.out.note(&format!(" {noun} {name}  {done}"));
        }
    }

    fn warn(&mut self, text: &str) {
        self.out.warn(text);
    }
}
