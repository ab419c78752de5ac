//! `RUN`: a container like any other, on the stage's layers, and what it changed as a layer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::cache::KeyMaker;
use super::copy::{self, Owner};
use super::hit::{self, Key, Known};
use super::job::Answer;
use super::mounting::{Held, prepare_mounts};
use super::schedule::{At, Schedule};
use super::stage::State;
use super::{Request, copying, forbidden};
use crate::base::{Context as _, Error, Result};
use crate::build::apply::{self, Program};
use crate::build::ignore::Ignore;
use crate::build::instruction::{Instruction, Run, RunNetwork, Step};
use crate::build::mount::{Mount, MountKind};
use crate::build::plan::From;
use crate::image::{ImageRecord, LayerRecord};
use crate::operations::container::launch::step as container;
use crate::spec::digest::Digest;
use crate::spec::manifest::Compression;
use crate::state::options::{ContainerOptions, ImageVolume, NetworkMode, SystemdMode};
use crate::storage::draft::{Draft, Seal, Times};
use crate::sys::{clone, fd as descriptors, pidfd};

/// A RUN with everything expanded.
#[derive(Debug)]
pub struct Plan {
    /// What runs.
    pub program: Program,
    /// The arguments that it sees.
    pub args: Vec<(String, String)>,
    pub(super) mounts: Vec<Mount>,
    options: ContainerOptions,
    /// The key and what went into it, when it needs no file of the context.
    pub key: Option<Key>,
    maker: KeyMaker,
    pub(super) stage: usize,
}

/// Expands, checks what is allowed, and makes the key where that needs no file.
///
/// # Errors
/// `Invalid` for a malformed mount; `Denied` for what the command line does not allow.
pub fn prepare(schedule: &Schedule<'_>, stage: usize, state: &State, run: &Run) -> Result<Plan> {
    let request = schedule.request;
    let escape = request.file.directives.escape;
    let config = &state.config.config;
    let program = apply::program(run, config)?;
    if program.argv.is_empty() {
        return Err(Error::invalid("RUN runs nothing").hint("name a program"));
    }
    let mut options = request.run.clone();
    match run.network {
        RunNetwork::Default => {}
        RunNetwork::None => options.network.mode = NetworkMode::None,
        RunNetwork::Host => {
            if !request.allowed.host_network && options.network.mode != NetworkMode::Host {
                return Err(forbidden("the host's network", "--allow network.host"));
            }
            options.network.mode = NetworkMode::Host;
        }
    }
    if run.insecure {
        if !request.allowed.insecure {
            return Err(forbidden(
                "a RUN without confinement",
                "--allow security.insecure",
            ));
        }
        options.privileged = true;
    }
    for device in &run.devices {
        let device = state.scope.word(device, escape)?;
        // A device that is not there is an error with and without the word.
        let name = device
            .strip_suffix(",required")
            .unwrap_or(&device)
            .to_owned();
        let allowed = &request.allowed.devices;
        if !allowed.contains("*") && !allowed.contains(&name) {
            return Err(forbidden(
                &format!("device {name}"),
                &format!("--allow device={name}"),
            ));
        }
        options.cdi_devices.push(name);
    }
    let mut mounts = Vec::new();
    for text in &run.mounts {
        mounts.push(Mount::parse(text, &mut |word| {
            state.scope.word(word, escape)
        })?);
    }
    options.entrypoint = Some(Vec::new());
    options.command.clone_from(&program.argv);
    options.image_volume = ImageVolume::Ignore;
    options.systemd = SystemdMode::Off;
    options.remove = true;
    options.healthcheck = None;
    let args = state.scope.args();
    // Proxy arguments that nobody declared are in the environment and in no key.
    let proxies = state.scope.proxies();
    for (name, value) in proxies.iter().chain(&args) {
        options.env.push(format!("{name}={value}"));
    }
    let mut maker = key(request, "RUN");
    maker.add("base", parent_text(state));
    maker.add("platform", schedule.plan.nodes[stage].platform.to_string());
    maker.add("user", &config.user);
    maker.add("workdir", &config.working_dir);
    maker.add("env", apply::json(&config.env));
    let named = args.iter().map(|(n, v)| format!("{n}={v}"));
    maker.add("args", apply::json(&named.collect::<Vec<_>>()));
    maker.add("command", apply::json(&program.argv));
    maker.add("network", format!("{:?}", run.network));
    maker.add("insecure", run.insecure.to_string());
    maker.add("devices", run.devices.join(" "));
    if let Some((_, script)) = &program.script {
        maker.add("script", script.clone());
    }
    let mut waits = false;
    for (index, (mount, text)) in mounts.iter().zip(&run.mounts).enumerate() {
        maker.add(&format!("mount {index}"), shown_mount(mount));
        let name = format!("mount {index} content");
        match (&mount.from, mount.kind) {
            (Some(from), _) => match schedule.resolve(stage, from)? {
                From::Stage(n) => maker.add(&name, top_of(schedule.done(n))?),
                From::Image(image) => maker.add(&name, image_top(schedule, stage, &image)?),
                From::Context(context) => {
                    match schedule.request.contexts.get(&context).map(|c| &c.kind) {
                        Some(super::context::Kind::Image(image)) => {
                            maker.add(&name, image_top(schedule, stage, image)?);
                        }
                        _ => waits = true,
                    }
                }
            },
            (None, MountKind::Bind) => waits = true,
            _ => {}
        }
        if text.contains('\0') {
            return Err(Error::invalid("a mount with a NUL byte").hint("take it out"));
        }
    }
    let key = (!waits).then(|| maker.clone().finish());
    Ok(Plan {
        program,
        args,
        mounts,
        options,
        key,
        maker,
        stage,
    })
}

fn parent_text(state: &State) -> String {
    state
        .top()
        .map_or_else(|| "scratch".to_owned(), ToString::to_string)
}

fn top_of(state: Option<&State>) -> Result<String> {
    state
        .map(parent_text)
        .ok_or_else(|| Error::internal("a stage is asked for before it is done"))
}

fn image_top(schedule: &Schedule<'_>, stage: usize, image: &str) -> Result<String> {
    let record = image_of(schedule, stage, image)?;
    Ok(record
        .layers
        .last()
        .map_or_else(|| "scratch".to_owned(), |l| l.chain_id.to_string()))
}

/// An image that was made sure of before.
///
/// # Errors
/// Only by a mistake of ours.
pub(super) fn image_of<'a>(
    schedule: &'a Schedule<'_>,
    stage: usize,
    image: &str,
) -> Result<&'a ImageRecord> {
    let platform = schedule.plan.nodes[stage].platform.to_string();
    schedule
        .images
        .get(&(image.to_owned(), platform))
        .ok_or_else(|| Error::internal(format!("image {image} is asked for before it is here")))
}

/// A mount as the key sees it: no content of secrets, no path of the host.
fn shown_mount(mount: &Mount) -> String {
    format!(
        "{:?} target={} source={} id={:?} ro={:?} mode={:?} uid={:?} gid={:?} size={:?} env={:?} required={}",
        mount.kind,
        mount.target,
        mount.source,
        mount.id,
        mount.read_only,
        mount.mode,
        mount.uid,
        mount.gid,
        mount.size,
        mount.env,
        mount.required
    )
}

/// Does it, in a worker, unless the cache has it.
///
/// # Errors
/// As the start of a container; what storage says.
pub(super) fn execute(at: &At<'_>, plan: &Plan, draft: Draft) -> Result<Answer> {
    let key = match &plan.key {
        Some(pair) => pair.clone(),
        None => with_content(at, plan)?,
    };
    let todo = match hit::known(at, key)? {
        Known::Answer(answer) => return Ok(answer),
        Known::Ours(todo) => todo,
    };
    super::foreign::check(&at.schedule.plan.nodes[plan.stage].platform)?;
    let lower = copying::lower(at)?;
    let runtime_dir = runtime_dir(at.schedule, &draft);
    let outcome = run(at, plan, &draft, &lower, &runtime_dir);
    drop(fs::remove_dir_all(&runtime_dir));
    let (code, mount_points) = outcome?;
    if code != 0 {
        // The draft is the parent's to drop: a shell may open in it.
        draft.leave();
        return Ok(Answer::Exited(code));
    }
    let layer = seal(at, draft, &lower, &mount_points)?;
    todo.done(at, layer)
}

/// What happens to the times of files in new layers.
fn times(request: &Request) -> Option<Times> {
    match (request.timestamp, request.epoch) {
        (Some(at), _) => Some(Times { at, all: true }),
        (None, Some(at)) if request.rewrite_times => Some(Times { at, all: false }),
        _ => None,
    }
}

/// A key that has nothing in it yet but what every step's has.
pub(super) fn key(request: &Request, kind: &str) -> KeyMaker {
    let mut maker = KeyMaker::default();
    maker.add("kind", kind);
    // A layer with other times is another layer.
    if let Some(times) = times(request) {
        maker.add("times", format!("{times:?}"));
    }
    maker
}

/// Makes the layer of a draft.
pub(super) fn seal(
    at: &At<'_>,
    draft: Draft,
    lower: &[Digest],
    mount_points: &[Vec<u8>],
) -> Result<Option<LayerRecord>> {
    let times = times(at.schedule.request);
    let sealed = at.schedule.store.seal(
        draft,
        &Seal {
            lower,
            parent: at.state.top(),
            mount_points,
            times,
        },
    )?;
    Ok(sealed.map(|sealed| LayerRecord {
        digest: sealed.digest,
        media_type: Compression::Zstd.oci_layer().to_owned(),
        size: sealed.size,
        diff_id: sealed.info.diff_id,
        chain_id: sealed.info.chain_id,
        annotations: BTreeMap::new(),
    }))
}

/// The key with the content of mounts from the context.
fn with_content(at: &At<'_>, plan: &Plan) -> Result<Key> {
    let mut maker = plan.maker.clone();
    for (index, mount) in plan.mounts.iter().enumerate() {
        let tree = match (&mount.from, mount.kind) {
            (None, MountKind::Bind) => at.schedule.request.context.tree()?,
            (Some(from), _) => match at.schedule.resolve(plan.stage, from)? {
                From::Context(name) => match at.schedule.request.contexts.get(&name) {
                    Some(context) if !context.is_image() => context.tree()?,
                    _ => continue,
                },
                _ => continue,
            },
            _ => continue,
        };
        let word = match mount.source.as_str() {
            "" => "/".to_owned(),
            source => source.to_owned(),
        };
        let selected = copy::select(
            &tree,
            &[word],
            false,
            &Ignore::default(),
            copy::Limits::default(),
        )?;
        let digest = copy::digest_of(&tree, &selected, Owner::Keep)?;
        maker.add(&format!("mount {index} content"), digest.to_string());
    }
    Ok(maker.finish())
}

/// Where a step's generated files are: in memory, as a rule.
fn runtime_dir(schedule: &Schedule<'_>, draft: &Draft) -> PathBuf {
    let name = draft.path().file_name().unwrap_or_default();
    schedule.session.dirs.runtime.join("build").join(name)
}

/// The container's image: the stage as it is.
fn image(state: &State, lower: &[Digest]) -> ImageRecord {
    let mut config = state.config.clone();
    config.config.volumes.clear();
    config.config.healthcheck = None;
    config.config.entrypoint = None;
    config.config.cmd = None;
    let layers = lower
        .iter()
        .map(|chain| LayerRecord {
            digest: chain.clone(),
            media_type: String::new(),
            size: 0,
            diff_id: chain.clone(),
            chain_id: chain.clone(),
            annotations: BTreeMap::new(),
        })
        .collect();
    ImageRecord {
        id: Digest::sha256_of(b""),
        config,
        raw_config: String::new(),
        manifests: Vec::new(),
        layers,
        stored: crate::base::time::Timestamp(0),
        size: 0,
        parent: None,
        list: None,
    }
}

fn run(
    at: &At<'_>,
    plan: &Plan,
    draft: &Draft,
    lower: &[Digest],
    runtime_dir: &Path,
) -> Result<(i32, Vec<Vec<u8>>)> {
    let mut held = Held::default();
    let mut options = plan.options.clone();
    let mounts = prepare_mounts(at, plan, draft, runtime_dir, &mut options, &mut held)?;
    let output = |_| {
        at.desk
            .output
            .try_clone()
            .what(|| "cannot duplicate the step's output")
    };
    let ready = container::ready(
        at.schedule.session,
        container::Step {
            options,
            image: image(at.state, lower),
            dir: draft.path(),
            runtime_dir,
            mounts,
            stdio: [descriptors::null()?, output(1)?, output(2)?],
        },
    )?;
    for notice in ready.notices() {
        at.desk.note(notice);
    }
    let mount_points = ready.missing_mount_points();
    let code = ready.run(|| Ok(()))?;
    drop(held);
    Ok((code, mount_points))
}

/// A shell in the state in which a RUN failed, with its mounts, on the person's own terminal.
///
/// # Errors
/// As the step itself.
pub(super) fn debug(
    schedule: &Schedule<'_>,
    stage: usize,
    state: &State,
    step: &Step,
    draft: &Draft,
) -> Result<()> {
    let Instruction::Run(run_step) = &step.instruction else {
        return Ok(());
    };
    let mut plan = prepare(schedule, stage, state, run_step)?;
    plan.options.command = vec!["/bin/sh".to_owned()];
    plan.options.interactive = true;
    let child = clone::fork_with(|| {
        let go = || -> Result<i32> {
            let desk = super::job::Desk {
                output: descriptors::standard()?
                    .into_iter()
                    .nth(2)
                    .ok_or_else(|| Error::internal("no standard error"))?,
            };
            let at = At {
                schedule,
                desk: &desk,
                state,
                step,
                fresh: true,
            };
            desk.note("a shell where the step failed; the build ends when it does");
            let lower = copying::lower(&at)?;
            let runtime_dir = runtime_dir(schedule, draft);
            drop(fs::remove_dir_all(&runtime_dir));
            let mut held = Held::default();
            let mut options = plan.options.clone();
            let mounts = prepare_mounts(&at, &plan, draft, &runtime_dir, &mut options, &mut held)?;
            let ready = container::ready(
                schedule.session,
                container::Step {
                    options,
                    image: image(state, &lower),
                    dir: draft.path(),
                    runtime_dir: &runtime_dir,
                    mounts,
                    stdio: descriptors::standard()?,
                },
            )?;
            let code = ready.run(|| Ok(()));
            drop(held);
            code
        };
        u8::try_from(go().unwrap_or(1)).unwrap_or(1)
    })?;
    pidfd::wait(&child.pidfd)?;
    Ok(())
}
