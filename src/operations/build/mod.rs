//! `build`: a Dockerfile and a context become an image.
//!
//! One process plans and schedules, with one thread; each step that touches files runs in a fork of
//! it, so that independent stages run side by side and a RUN is the child of a process with one
//! thread. A worker has the whole plan as values, answers once, and dies with its parent.
//!
//! Invariants: a step's outcome is published before it is used; what a killed build leaves is in
//! staging, and the next build sweeps it up. Secrets are handed to a RUN in memory and are in no
//! record, key, history or log.
//!
//! Security: class F of docs/security.md.

pub mod attest;
pub mod cache;
pub mod context;
pub mod copy;
mod copying;
mod export;
mod fetch;
pub(in crate::operations) use fetch::bytes as fetched;
mod foreign;
mod hit;
pub mod imagetools;
mod job;
mod mounting;
mod running;
mod schedule;
pub mod several;
pub mod ssh;
mod stage;
pub mod usage;
pub mod watch;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::base::time::Timestamp;
use crate::base::{Error, Result};
use crate::build::Dockerfile;
use crate::build::plan;
use crate::image::ImageRecord;
use crate::image::manifest::Format;
use crate::operations::image::{PullPolicy, RegistryOptions, enter_store, remove};
use crate::operations::session::Session;
use crate::spec::digest::Digest;
use crate::spec::platform::Platform;
use crate::spec::reference::Reference;
use crate::state::options::ContainerOptions;
use crate::storage::Store;
use cache::StepRecord;
use cache::place::{Place, Target};
use context::Context;

pub use export::{Output, OutputKind, check_outputs, push_all, write};
pub use watch::{Event, Outcome, Watch};

/// A secret: where its bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A file of the host.
    File(PathBuf),
    /// A variable of the caller's environment.
    Env(String),
}

/// What is flattened into one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Squash {
    /// Nothing.
    #[default]
    No,
    /// The layers made here.
    New,
    /// All, the base's too.
    All,
}

/// What the command line allows a Dockerfile to ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// `RUN --network=host`.
    pub host_network: bool,
    /// `RUN --security=insecure`.
    pub insecure: bool,
    /// `RUN --device`: these, or all with `*`.
    pub devices: BTreeSet<String>,
}

/// A build.
#[derive(Debug)]
pub struct Request {
    /// The parsed file.
    pub file: Dockerfile,
    /// The files to build from.
    pub context: Context,
    /// `--build-context`.
    pub contexts: BTreeMap<String, Context>,
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<String>,
    /// `--platform`; this machine's when absent.
    pub platform: Option<Platform>,
    /// `--from`.
    pub first_from: Option<String>,
    /// `--skip-unused-stages=false`.
    pub all_stages: bool,
    /// `--pull`.
    pub pull: PullPolicy,
    /// How registries are asked.
    pub registry: RegistryOptions,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--no-cache-filter`: stages.
    pub no_cache_filter: BTreeSet<String>,
    /// `--cache-ttl`: older records do not count, in seconds.
    pub cache_ttl: Option<u64>,
    /// `--cache-from`.
    pub cache_from: Vec<Place>,
    /// `--cache-to`.
    pub cache_to: Vec<Target>,
    /// `--jobs`.
    pub jobs: usize,
    /// What every RUN is started with: network, hosts, limits, security, volumes.
    pub run: ContainerOptions,
    /// `--secret`.
    pub secrets: BTreeMap<String, Secret>,
    /// `--ssh`.
    pub ssh: ssh::Agents,
    /// `--allow`.
    pub allowed: Allowed,
    /// `--tag`.
    pub tags: Vec<Reference>,
    /// `--format`.
    pub format: Format,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--annotation`.
    pub annotations: BTreeMap<String, String>,
    /// `--env`.
    pub env: Vec<(String, String)>,
    /// `--unsetenv`.
    pub unset_env: Vec<String>,
    /// `--unsetlabel`.
    pub unset_labels: Vec<String>,
    /// `--inherit-labels`.
    pub inherit_labels: bool,
    /// `--omit-history`.
    pub omit_history: bool,
    /// `--source-date-epoch`, seconds: the time of the image, and the latest of its files with
    /// `rewrite_times`.
    pub epoch: Option<i64>,
    /// `--rewrite-timestamp`.
    pub rewrite_times: bool,
    /// `--timestamp`, seconds: the time of the image and of every file in new layers.
    pub timestamp: Option<i64>,
    /// `--squash`, `--squash-all`.
    pub squash: Squash,
    /// `--why`: tell which input of a step changed.
    pub why: bool,
    /// `--on-error=shell`.
    pub shell_on_error: bool,
    /// Steps are shown with their platform: there are several.
    pub labelled: bool,
    /// Steps are numbered behind this one.
    pub first_number: usize,
    /// `--annotation index:…`.
    pub index_annotations: BTreeMap<String, String>,
    /// Docker's way where it and podman disagree.
    pub docker: bool,
}

impl Request {
    /// The time that everything of this build has, if one was given.
    pub fn fixed_time(&self) -> Option<Timestamp> {
        let seconds = self.timestamp.or(self.epoch)?;
        Some(Timestamp(seconds.saturating_mul(1_000_000_000)))
    }
}

/// What was built.
#[derive(Clone, Debug)]
pub struct Built {
    /// The image; without an id of its own when nothing asked for one.
    pub record: ImageRecord,
    /// Build arguments that no instruction declared.
    pub unused_args: Vec<String>,
    /// How many steps were found in the cache.
    pub cached: usize,
    /// How many steps ran.
    pub ran: usize,
    /// How many numbers steps were shown under.
    pub shown: usize,
    /// The images that it was built from.
    pub bases: Vec<UsedImage>,
    /// The steps of the result.
    pub steps: Vec<StepRecord>,
    /// When it began; the build's fixed time, if it has one.
    pub started: Timestamp,
    /// When it ended; the same.
    pub finished: Timestamp,
}

/// An image that a build used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedImage {
    /// As the Dockerfile names it.
    pub name: String,
    /// For which platform.
    pub platform: String,
    /// Its manifest.
    pub digest: Digest,
}

/// Builds for one platform. Enters the user namespace; the process has one thread.
///
/// # Errors
/// `Invalid` for the file's mistakes, with file and line; what a step says.
pub fn build(session: &Session, request: &Request, watch: &mut dyn Watch) -> Result<Built> {
    let began = request.fixed_time().unwrap_or_else(Timestamp::now);
    let host = Platform::host();
    let platform = request.platform.clone().unwrap_or_else(|| host.clone());
    let contexts: BTreeSet<String> = request.contexts.keys().cloned().collect();
    let plan = plan::plan(
        &request.file,
        &plan::Request {
            target: request.target.as_deref(),
            args: &request.args,
            contexts: &contexts,
            platform: platform.clone(),
            host,
            first_from: request.first_from.as_deref(),
            all_stages: request.all_stages,
        },
    )?;
    for name in &plan.missing {
        watch.event(&Event::Warning(&format!(
            "FROM uses {name}, which has no value"
        )));
    }
    let store = enter_store(session)?;
    // What killed builds left.
    store.sweep()?;
    sweep_runtime(session);
    cache::Cache::new(session).sweep_claims();
    let _growing = remove::growing_deaf(session)?;
    let outcome = schedule::run(session, request, &plan, &store, watch)?;
    let record = stage::image(session, request, &store, &outcome.state)?;
    export(session, request, &store, &outcome.exports, watch)?;
    Ok(Built {
        record,
        unused_args: outcome.unused_args,
        cached: outcome.cached,
        ran: outcome.ran,
        shown: outcome.shown,
        bases: outcome.bases,
        steps: outcome.state.steps,
        started: began,
        finished: request.fixed_time().unwrap_or_else(Timestamp::now),
    })
}

/// Writes the caches that `--cache-to` names.
fn export(
    session: &Session,
    request: &Request,
    store: &Store,
    steps: &[Vec<StepRecord>],
    watch: &mut dyn Watch,
) -> Result<()> {
    let places = request.cache_to.iter().filter_map(|to| match to {
        Target::Place { place, lenient, .. } => Some((place, *lenient)),
        Target::Inline => None,
    });
    for ((place, lenient), steps) in places.zip(steps) {
        match cache::export::write(session, store, &request.registry, place, steps) {
            Err(e) if lenient => watch.event(&Event::Warning(&e.one_line())),
            other => other?,
        }
    }
    Ok(())
}

/// Removes generated files of steps whose draft is gone.
fn sweep_runtime(session: &Session) {
    let staging = session.dirs.store().join("staging");
    let dir = session.dirs.runtime.join("build");
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if !staging.join(entry.file_name()).exists() {
            // What stays now goes the next time.
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

/// The error of something that only the command line may allow.
fn forbidden(what: &str, flag: &str) -> Error {
    Error::new(
        crate::base::Kind::Denied,
        format!("the Dockerfile asks for {what}, which was not allowed"),
    )
    .hint(format!("allow it for this build: {flag}"))
}
