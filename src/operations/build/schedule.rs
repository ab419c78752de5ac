//! Which step runs when: stages go on as far as they can, each until it needs a worker's answer or
//! another stage; a free worker takes the next step that is ready.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::cache::import::Imported;
use super::cache::{Cache, StepRecord, export, place};
use super::context::Kind as ContextKind;
use super::job::{Answer, Desk, Job, Lines};
use super::stage::State;
use super::watch::{Event, Outcome, Watch};
use super::{Request, UsedImage, copying, running};
use crate::base::{Error, Kind, Result};
use crate::build::instruction::{Instruction, Step};
use crate::build::parser::located;
use crate::build::plan::{self, Base, From, Plan};
use crate::build::scope::Scope;
use crate::build::{apply, plan as planner};
use crate::image::ImageRecord;
use crate::operations::image::{Ensure, ensure};
use crate::operations::session::Session;
use crate::spec::platform::Platform;
use crate::storage::Store;
use crate::sys::signal::{self, Set};

/// What came of it.
#[derive(Debug)]
pub struct Finished {
    /// The target's state.
    pub state: State,
    /// What goes to each `--cache-to` with a place of its own, in their order.
    pub exports: Vec<Vec<StepRecord>>,
    /// Arguments that nothing declared.
    pub unused_args: Vec<String>,
    /// Steps found in the cache.
    pub cached: usize,
    /// Steps that ran.
    pub ran: usize,
    /// How many numbers were shown.
    pub shown: usize,
    /// The images that were used.
    pub bases: Vec<UsedImage>,
}

/// An image that some stage starts from or takes files from, for a platform.
type ImageKey = (String, String);

/// Where a stage stands.
#[derive(Debug)]
pub(super) enum Standing {
    /// Its base is not there yet.
    New,
    /// It can go on.
    Ready(Box<State>),
    /// A worker has its next step.
    Busy(Box<State>),
    /// Done.
    Done(Box<State>),
}

#[derive(Debug)]
pub(super) struct Track {
    pub(super) standing: Standing,
    pub(super) steps: Vec<Step>,
    pub(super) next: usize,
    /// Stages that triggers of the base image need.
    wants: BTreeSet<usize>,
    /// Steps so far that have a number in `[name 2/4]`, and how many there are.
    shown: (usize, usize),
}

#[derive(Debug)]
pub(super) enum Work {
    Image(ImageKey),
    Cache(String),
    Step { stage: usize, text: String },
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) job: Job,
    pub(super) work: Work,
    pub(super) id: usize,
    pub(super) tail: Vec<u8>,
}

/// All that a build has in hand.
pub(super) struct Schedule<'a> {
    pub(super) session: &'a Session,
    pub(super) request: &'a Request,
    pub(super) plan: &'a Plan,
    pub(super) store: &'a Store,
    pub(super) cache: Cache,
    /// Caches elsewhere.
    pub(super) imported: Vec<Imported>,
    /// Images that are here.
    pub(super) images: BTreeMap<ImageKey, ImageRecord>,
    pub(super) tracks: BTreeMap<usize, Track>,
    pub(super) running: Vec<Running>,
    contexts: BTreeSet<String>,
    declared: BTreeSet<String>,
    count: usize,
    pub(super) cached: usize,
    pub(super) ran: usize,
}

/// Runs the plan.
///
/// # Errors
/// The first failure, with file and line; other steps are ended.
pub fn run(
    session: &Session,
    request: &Request,
    plan: &Plan,
    store: &Store,
    watch: &mut dyn Watch,
) -> Result<Finished> {
    let mut schedule = Schedule {
        session,
        request,
        plan,
        store,
        cache: Cache::new(session),
        imported: Vec::new(),
        images: BTreeMap::new(),
        tracks: BTreeMap::new(),
        running: Vec::new(),
        contexts: request.contexts.keys().cloned().collect(),
        declared: request
            .file
            .globals
            .iter()
            .map(|(n, _, _)| n.clone())
            .collect(),
        count: request.first_number,
        cached: 0,
        ran: 0,
    };
    for stage in &plan.order {
        schedule.track(*stage);
    }
    // A signal ends the workers first.
    let set = Set::of(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]);
    let signals = signal::descriptor(&set)?;
    let before = signal::block(&set)?;
    let outcome = schedule
        .import(&signals, watch)
        .and_then(|()| schedule.all(&signals, watch));
    for running in std::mem::take(&mut schedule.running) {
        let took = running.job.began.elapsed();
        running.job.kill();
        watch.event(&Event::End {
            id: running.id,
            outcome: Outcome::Canceled,
            took,
        });
    }
    signal::set_mask(&before)?;
    outcome?;
    let standing = schedule.tracks.remove(&plan.target).map(|t| t.standing);
    let Some(Standing::Done(state)) = standing else {
        return Err(Error::internal("the build ended before its target"));
    };
    let exports = request
        .cache_to
        .iter()
        .filter_map(|to| match to {
            place::Target::Place { mode, .. } => Some(*mode),
            place::Target::Inline => None,
        })
        .map(|mode| {
            let all = schedule.tracks.values().filter_map(|t| match &t.standing {
                Standing::Done(state) => Some(&**state),
                _ => None,
            });
            export::steps(mode, &state, all)
        })
        .collect();
    let known = |name: &&String| {
        // Those that speak to the builder need no line in the file.
        let ours = name.starts_with("BUILDKIT_") || *name == "SOURCE_DATE_EPOCH";
        let proxy = crate::build::scope::PROXY.contains(&name.as_str());
        ours || proxy || schedule.declared.contains(*name)
    };
    let unused_args = request.args.keys().filter(|n| !known(n)).cloned().collect();
    Ok(Finished {
        state: *state,
        exports,
        unused_args,
        cached: schedule.cached,
        ran: schedule.ran,
        shown: schedule.count - request.first_number,
        bases: schedule
            .images
            .iter()
            .filter_map(|((name, platform), record)| {
                Some(UsedImage {
                    name: name.clone(),
                    platform: platform.clone(),
                    digest: record.manifest_digest()?.clone(),
                })
            })
            .collect(),
    })
}

impl Schedule<'_> {
    fn track(&mut self, stage: usize) {
        if self.tracks.contains_key(&stage) {
            return;
        }
        let steps = self.request.file.stages[stage].steps.clone();
        self.tracks.insert(
            stage,
            Track {
                standing: Standing::New,
                shown: (0, 0),
                steps,
                next: 0,
                wants: BTreeSet::new(),
            },
        );
    }

    /// Reads caches elsewhere, all at once, before the first step. One that cannot be read is worth
    /// a word: the steps run then.
    fn import(&mut self, signals: &std::os::fd::OwnedFd, watch: &mut dyn Watch) -> Result<()> {
        if self.request.no_cache {
            return Ok(());
        }
        for place in &self.request.cache_from {
            let (session, request) = (self.session, self.request);
            let platform = self.plan.nodes[self.plan.target].platform.clone();
            let job = Job::start(None, move |_, _| {
                Imported::read(session, &request.registry, place, &platform)
                    .map(|found| Answer::Cache(Box::new(found)))
            })?;
            let name = format!("[cache] {place}");
            self.launch(job, Work::Cache(place.to_string()), &name, watch);
        }
        while !self.running.is_empty() {
            self.wait(signals, watch)?;
        }
        Ok(())
    }

    fn all(&mut self, signals: &std::os::fd::OwnedFd, watch: &mut dyn Watch) -> Result<()> {
        loop {
            self.advance(watch)?;
            if self.is_done(self.plan.target) && self.running.is_empty() {
                let rest = self.plan.order.iter().all(|s| self.is_done(*s));
                if rest {
                    return Ok(());
                }
            }
            if self.running.is_empty() {
                return Err(Error::invalid(format!(
                    "{}: stages wait for each other",
                    self.request.file.name
                ))
                .hint("a trigger (ONBUILD) of a base image names a stage that needs this one"));
            }
            self.wait(signals, watch)?;
        }
    }

    fn is_done(&self, stage: usize) -> bool {
        matches!(
            self.tracks.get(&stage).map(|t| &t.standing),
            Some(Standing::Done(_))
        )
    }

    /// The state of a stage that is done.
    pub(super) fn done(&self, stage: usize) -> Option<&State> {
        match &self.tracks.get(&stage)?.standing {
            Standing::Done(state) => Some(state),
            _ => None,
        }
    }

    /// Lets every stage go on as far as it can.
    fn advance(&mut self, watch: &mut dyn Watch) -> Result<()> {
        loop {
            let mut moved = false;
            let stages: Vec<usize> = self.tracks.keys().copied().collect();
            for stage in stages {
                while self.step(stage, watch)? {
                    moved = true;
                }
            }
            if !moved {
                return Ok(());
            }
        }
    }

    /// One move of a stage; false when it must wait.
    fn step(&mut self, stage: usize, watch: &mut dyn Watch) -> Result<bool> {
        let file = &self.request.file;
        let line = file.stages[stage].line;
        let Some(track) = self.tracks.get_mut(&stage) else {
            return Ok(false);
        };
        match std::mem::replace(&mut track.standing, Standing::New) {
            Standing::New => {
                let state = self.base(stage, watch).map_err(|e| {
                    wrapped(e, &file.name, line, || "cannot start the stage".into())
                })?;
                let Some(state) = state else {
                    return Ok(false);
                };
                self.begin(stage, state)?;
                Ok(true)
            }
            Standing::Ready(state) => {
                let Some(step) = track.steps.get(track.next).cloned() else {
                    track.standing = Standing::Done(state);
                    return Ok(true);
                };
                track.standing = Standing::Ready(state);
                self.one(stage, &step, watch)
                    .map_err(|e| wrapped(e, &file.name, step.line, || shorten(&step.text)))
            }
            other => {
                track.standing = other;
                Ok(false)
            }
        }
    }

    /// What a stage starts from; `None` while that is not there.
    fn base(&mut self, stage: usize, watch: &mut dyn Watch) -> Result<Option<State>> {
        let node = &self.plan.nodes[stage];
        let scope = Scope::new(&self.request.args, node.global.clone());
        match &node.base {
            Base::Scratch => Ok(Some(State::scratch(&node.platform, scope))),
            Base::Stage(other) => Ok(self.done(*other).map(|s| State::stage(s, scope))),
            Base::Image(name) => {
                let record = self.image(name, &node.platform, watch)?;
                Ok(record.map(|r| State::image(&r, &node.platform, scope)))
            }
            Base::Context(name) => match self.request.contexts.get(name).map(|c| &c.kind) {
                Some(ContextKind::Image(image)) => {
                    let image = image.clone();
                    let record = self.image(&image, &node.platform, watch)?;
                    Ok(record.map(|r| State::image(&r, &node.platform, scope)))
                }
                // A folder: scratch with all its files, which `begin` copies.
                _ => Ok(Some(State::scratch(&node.platform, scope))),
            },
        }
    }

    fn begin(&mut self, stage: usize, state: State) -> Result<()> {
        let node = &self.plan.nodes[stage];
        let mut first = Vec::new();
        if let Base::Context(name) = &node.base
            && !matches!(
                self.request.contexts.get(name).map(|c| &c.kind),
                Some(ContextKind::Image(_))
            )
        {
            let line = self.request.file.stages[stage].line;
            first.push(copying::whole_context(name, line));
        }
        let triggers = match (&node.base, &state.base) {
            (Base::Image(_) | Base::Context(_), Some(id)) => {
                let known = self.images.values().find(|r| r.id == *id);
                known.map_or_else(Vec::new, |r| r.config.config.on_build.clone())
            }
            (Base::Stage(other), _) => self
                .done(*other)
                .map(|s| s.config.config.on_build.clone())
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        let (steps, wants) =
            planner::triggers(&self.request.file, &self.contexts, stage, &triggers)?;
        first.extend(steps);
        for want in &wants {
            self.track(*want);
            for need in &self.plan.nodes[*want].needs {
                self.track(*need);
            }
        }
        if let Some(track) = self.tracks.get_mut(&stage) {
            first.append(&mut track.steps);
            track.steps = first;
            track.wants = wants;
            let heavy = |s: &&Step| {
                matches!(
                    s.instruction,
                    Instruction::Run(_) | Instruction::Copy(_) | Instruction::Workdir(_)
                )
            };
            track.shown = (0, track.steps.iter().filter(heavy).count());
            track.standing = Standing::Ready(Box::new(state));
        }
        Ok(())
    }

    /// An image that is needed; `None` while it is fetched.
    fn image(
        &mut self,
        name: &str,
        platform: &Platform,
        watch: &mut dyn Watch,
    ) -> Result<Option<ImageRecord>> {
        let key = (name.to_owned(), platform.to_string());
        if let Some(record) = self.images.get(&key) {
            return Ok(Some(record.clone()));
        }
        let wanted = self
            .running
            .iter()
            .any(|r| matches!(&r.work, Work::Image(k) if *k == key));
        if wanted {
            return Ok(None);
        }
        // What is here and may be used is no work at all.
        let quiet = Session {
            progress: std::sync::Arc::new(crate::base::progress::Silent),
            ..self.session.clone()
        };
        let own = Platform::host();
        let explicit = self.request.platform.is_some() || *platform != own;
        let here = Ensure {
            keep_tag: true,
            name,
            policy: crate::operations::image::PullPolicy::Never,
            platform: explicit.then_some(platform),
            registry: &self.request.registry,
        };
        use crate::operations::image::PullPolicy;
        if matches!(self.request.pull, PullPolicy::Missing | PullPolicy::Never) {
            match ensure(&quiet, &here) {
                Ok(found) => {
                    self.images.insert(key, found.record.clone());
                    return Ok(Some(found.record));
                }
                Err(e)
                    if self.request.pull == PullPolicy::Missing && e.kind() == Kind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        if self.running.len() >= self.request.jobs {
            return Ok(None);
        }
        let (session, request) = (self.session, self.request);
        let wish = platform.clone();
        let text = name.to_owned();
        let job = Job::start(None, move |desk, _| {
            let session = Session {
                progress: Lines::new(desk)?,
                ..session.clone()
            };
            let found = ensure(
                &session,
                &Ensure {
                    keep_tag: true,
                    name: &text,
                    policy: request.pull,
                    platform: explicit.then_some(&wish),
                    registry: &request.registry,
                },
            )?;
            Ok(Answer::Image(found.record.id))
        })?;
        self.launch(job, Work::Image(key), &format!("[pull] {name}"), watch);
        Ok(None)
    }

    fn launch(&mut self, job: Job, work: Work, name: &str, watch: &mut dyn Watch) {
        self.count += 1;
        watch.event(&Event::Begin {
            id: self.count,
            name,
        });
        self.running.push(Running {
            job,
            work,
            id: self.count,
            tail: Vec::new(),
        });
    }

    /// One instruction of a stage that can go on; false when it must wait.
    fn one(&mut self, stage: usize, step: &Step, watch: &mut dyn Watch) -> Result<bool> {
        let escape = self.request.file.directives.escape;
        let heavy = match &step.instruction {
            Instruction::Run(_) | Instruction::Copy(_) => true,
            // It makes a folder, so it may make a layer.
            Instruction::Workdir(_) => true,
            _ => false,
        };
        if !heavy {
            if let Instruction::Arg(list) = &step.instruction {
                self.declared.extend(list.iter().map(|(n, _)| n.clone()));
            }
            let Some(track) = self.tracks.get_mut(&stage) else {
                return Ok(false);
            };
            if let Standing::Ready(state) = &mut track.standing {
                let text = apply::apply(
                    &step.instruction,
                    &mut state.config.config,
                    &mut state.scope,
                    escape,
                    &mut state.cmd_set,
                )?;
                if let Instruction::Maintainer(name) = &step.instruction {
                    state.config.author = Some(name.clone());
                }
                if let Some(text) = text {
                    state.note(text);
                }
                for name in state.scope.take_missing() {
                    watch.event(&Event::Warning(&format!(
                        "{}:{}: variable {name} has no value",
                        self.request.file.name, step.line
                    )));
                }
            }
            track.next += 1;
            return Ok(true);
        }
        // Everything that it takes files from.
        for from in step.instruction.froms() {
            if !self.is_here(stage, &from, watch)? {
                return Ok(false);
            }
        }
        if self.running.len() >= self.request.jobs {
            return Ok(false);
        }
        let Some(track) = self.tracks.get_mut(&stage) else {
            return Ok(false);
        };
        let Standing::Ready(state) = std::mem::replace(&mut track.standing, Standing::New) else {
            return Ok(false);
        };
        let mut state = state;
        let mut history = String::new();
        if let Instruction::Workdir(_) = &step.instruction {
            history = apply::apply(
                &step.instruction,
                &mut state.config.config,
                &mut state.scope,
                escape,
                &mut state.cmd_set,
            )?
            .unwrap_or_default();
        }
        let prepared = match &step.instruction {
            Instruction::Run(run) => {
                Prepared::Run(Box::new(running::prepare(self, stage, &state, run)?))
            }
            Instruction::Copy(copy) => {
                Prepared::Copy(Box::new(copying::prepare(self, stage, &state, copy)?))
            }
            _ => Prepared::Workdir,
        };
        for name in state.scope.take_missing() {
            watch.event(&Event::Warning(&format!(
                "{}:{}: variable {name} has no value",
                self.request.file.name, step.line
            )));
        }
        if let Prepared::Run(plan) = &prepared {
            history = apply::run_history(&plan.program.argv, &plan.args);
        } else if let Prepared::Copy(plan) = &prepared {
            history.clone_from(&plan.history);
        }
        let fresh = self.is_fresh(stage);
        // A RUN's key needs no file: a hit costs no process.
        if let Prepared::Run(plan) = &prepared
            && let Some(key) = &plan.key
            && !fresh
            && let Some(record) = self.cache.get(self.store, &key.0, state.top())?
            && self.is_young(&record)
        {
            let name = self.name(stage, step);
            self.count += 1;
            let id = self.count;
            watch.event(&Event::Begin { id, name: &name });
            watch.event(&Event::End {
                id,
                outcome: Outcome::Cached,
                took: Duration::ZERO,
            });
            self.cached += 1;
            state.add(&record, history);
            if let Some(track) = self.tracks.get_mut(&stage) {
                track.next += 1;
                track.standing = Standing::Ready(state);
            }
            return Ok(true);
        }
        let draft = self.store.draft()?;
        let ours: &Self = self;
        let own = &state;
        let job = Job::start(Some(draft), move |desk, draft| {
            let draft = draft.ok_or_else(|| Error::internal("a step without a draft"))?;
            let at = At {
                schedule: ours,
                desk,
                state: own,
                step,
                fresh,
            };
            match &prepared {
                Prepared::Run(plan) => running::execute(&at, plan, draft),
                Prepared::Copy(plan) => copying::execute(&at, plan, draft),
                Prepared::Workdir => copying::workdir(&at, draft),
            }
        })?;
        let name = self.name(stage, step);
        if let Some(track) = self.tracks.get_mut(&stage) {
            track.standing = Standing::Busy(state);
        }
        self.launch(
            job,
            Work::Step {
                stage,
                text: history,
            },
            &name,
            watch,
        );
        Ok(false)
    }

    /// Whether the cache does not count for a stage.
    fn is_fresh(&self, stage: usize) -> bool {
        let name = self.request.file.stages[stage].name.as_deref();
        self.request.no_cache
            || self.request.no_cache_filter.contains(&stage.to_string())
            || name.is_some_and(|n| self.request.no_cache_filter.contains(n))
    }

    /// Whether a record is young enough for `--cache-ttl`.
    pub(super) fn is_young(&self, record: &StepRecord) -> bool {
        self.request
            .cache_ttl
            .is_none_or(|ttl| record.created.elapsed() <= Duration::from_secs(ttl))
    }

    fn name(&mut self, stage: usize, step: &Step) -> String {
        let label = match &self.request.file.stages[stage].name {
            Some(name) => name.clone(),
            None => format!("stage-{stage}"),
        };
        let label = match self.request.labelled {
            true => format!("{} {label}", self.plan.nodes[stage].platform),
            false => label,
        };
        let shown = match self.tracks.get_mut(&stage) {
            Some(track) => {
                track.shown.0 += 1;
                track.shown
            }
            None => (0, 0),
        };
        format!("[{label} {}/{}] {}", shown.0, shown.1, shorten(&step.text))
    }

    /// Whether the place that files come from is there; it is fetched otherwise.
    fn is_here(&mut self, stage: usize, from: &str, watch: &mut dyn Watch) -> Result<bool> {
        match plan::resolve(&self.request.file, &self.contexts, stage, from)? {
            From::Stage(other) => {
                self.track(other);
                Ok(self.is_done(other))
            }
            From::Image(name) => {
                let platform = self.plan.nodes[stage].platform.clone();
                Ok(self.image(&name, &platform, watch)?.is_some())
            }
            From::Context(name) => match self.request.contexts.get(&name).map(|c| &c.kind) {
                Some(ContextKind::Image(image)) => {
                    let (image, platform) =
                        (image.clone(), self.plan.nodes[stage].platform.clone());
                    Ok(self.image(&image, &platform, watch)?.is_some())
                }
                _ => Ok(true),
            },
        }
    }

    /// Where `--from` of a stage leads.
    ///
    /// # Errors
    /// As [`plan::resolve`].
    pub(super) fn resolve(&self, stage: usize, from: &str) -> Result<From> {
        plan::resolve(&self.request.file, &self.contexts, stage, from)
    }
}

/// What a step needs beyond its stage's state.
enum Prepared {
    Run(Box<running::Plan>),
    Copy(Box<copying::Plan>),
    Workdir,
}

/// A worker's place: the schedule as it was at the fork, and its own step.
pub(super) struct At<'a> {
    pub(super) schedule: &'a Schedule<'a>,
    pub(super) desk: &'a Desk,
    pub(super) state: &'a State,
    pub(super) step: &'a Step,
    pub(super) fresh: bool,
}

/// The first line of an instruction, not too long.
pub(super) fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line.chars().take(120).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

/// An error with its place in front, unless it has one.
pub(super) fn wrapped(e: Error, name: &str, line: u32, text: impl FnOnce() -> String) -> Error {
    if e.what().starts_with(&format!("{name}:")) || line == 0 {
        return e;
    }
    if e.kind() == Kind::Invalid
        && !e.what().contains('\n')
        && std::error::Error::source(&e).is_none()
    {
        return located(e, name, line);
    }
    let kind = e.kind();
    let code = e.asked_exit_code();
    let told = Error::new(kind, format!("{name}:{line}: {}", text())).because(e);
    match code {
        Some(code) => told.exit_code(code),
        None => told,
    }
}
