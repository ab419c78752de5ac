//! The state of a stage: configuration, layers, variables; and the image that the last one becomes.

use std::collections::BTreeMap;

use super::cache::place::Target;
use super::cache::{StepRecord, document};
use super::{Request, Squash};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Result};
use crate::build::apply;
use crate::build::scope::Scope;
use crate::image::{ImageRecord, LayerRecord};
use crate::operations::image::make;
use crate::operations::session::Session;
use crate::spec::digest::Digest;
use crate::spec::image::{History, ImageConfig};
use crate::spec::platform::Platform;
use crate::storage::Store;

/// What a stage is so far.
#[derive(Clone, Debug)]
pub struct State {
    /// Configuration with history.
    pub config: ImageConfig,
    /// Layers, bottom first.
    pub layers: Vec<LayerRecord>,
    /// Variables.
    pub scope: Scope,
    /// Whether this stage had a CMD.
    pub cmd_set: bool,
    /// How many of the layers are the base image's.
    pub base_layers: usize,
    /// How many entries of the history are the base image's.
    pub base_history: usize,
    /// The base image.
    pub base: Option<Digest>,
    /// The time of the newest layer, for instructions without one; 0 before the first.
    pub time: Timestamp,
    /// Labels that the base image had.
    pub base_labels: BTreeMap<String, String>,
    /// The steps that it consists of, its own and those of stages below, for `--cache-to`.
    pub steps: Vec<StepRecord>,
}

impl State {
    /// From nothing.
    pub fn scratch(platform: &Platform, scope: Scope) -> Self {
        let mut state = Self {
            config: ImageConfig {
                architecture: platform.architecture.clone(),
                variant: platform.variant.clone(),
                os: platform.os.clone(),
                ..ImageConfig::default()
            },
            layers: Vec::new(),
            scope,
            cmd_set: false,
            base_layers: 0,
            base_history: 0,
            base: None,
            time: Timestamp(0),
            base_labels: BTreeMap::new(),
            steps: Vec::new(),
        };
        state.give_path();
        state
    }

    /// From an image.
    pub fn image(record: &ImageRecord, platform: &Platform, scope: Scope) -> Self {
        let mut config = record.config.clone();
        if config.architecture.is_empty() {
            config.architecture.clone_from(&platform.architecture);
            config.os.clone_from(&platform.os);
        }
        // Triggers are for the next build, and so is its cache, not for those after it.
        config.cache = None;
        config.config.on_build.clear();
        let mut state = Self {
            base_layers: record.layers.len(),
            base_history: config.history.len(),
            base: Some(record.id.clone()),
            time: record.created(),
            base_labels: config.config.labels.clone(),
            steps: Vec::new(),
            layers: record.layers.clone(),
            cmd_set: false,
            scope,
            config,
        };
        state.scope.inherit(&state.config.config.env);
        state.give_path();
        state
    }

    /// From another stage: its variables but its arguments.
    pub fn stage(other: &Self, scope: Scope) -> Self {
        let mut state = Self {
            scope,
            cmd_set: false,
            ..other.clone()
        };
        state.config.config.on_build.clear();
        state.scope.inherit(&state.config.config.env);
        state
    }

    /// The image's PATH, when it has none: programs are looked for in it, and variables show it.
    fn give_path(&mut self) {
        if !self
            .config
            .config
            .env
            .iter()
            .any(|e| e.starts_with("PATH="))
        {
            apply::set_env(&mut self.config.config.env, "PATH", apply::PATH);
        }
        self.scope.inherit(&self.config.config.env);
    }

    /// Chain ids, bottom first.
    pub fn chain(&self) -> Vec<Digest> {
        self.layers.iter().map(|l| l.chain_id.clone()).collect()
    }

    /// The newest layer's chain id.
    pub fn top(&self) -> Option<&Digest> {
        self.layers.last().map(|l| &l.chain_id)
    }

    /// An instruction that made no layer.
    pub fn note(&mut self, text: String) {
        self.config.history.push(History {
            created: (self.time.0 != 0).then(|| self.time.rfc3339()),
            created_by: Some(text),
            comment: Some(COMMENT.to_owned()),
            empty_layer: true,
            ..History::default()
        });
    }

    /// A step that may have made one.
    pub fn add(&mut self, record: &StepRecord, text: String) {
        self.time = self.time.max(record.created);
        self.config.history.push(History {
            created: Some(record.created.rfc3339()),
            created_by: Some(text),
            comment: Some(COMMENT.to_owned()),
            empty_layer: record.layer.is_none(),
            ..History::default()
        });
        self.layers.extend(record.layer.clone());
        self.steps.push(record.clone());
    }
}

/// Who made an entry of the history.
const COMMENT: &str = "coracle.dockerfile.v1";

/// Stores the image of a stage under the build's names.
///
/// # Errors
/// What the kernel says.
pub fn image(
    session: &Session,
    request: &Request,
    store: &Store,
    state: &State,
) -> Result<ImageRecord> {
    let mut config = state.config.clone();
    let mut layers = state.layers.clone();
    let fixed = request.fixed_time();
    let newest = match state.time {
        Timestamp(0) => Timestamp::now(),
        time => time,
    };
    let time = fixed.unwrap_or(newest).rfc3339();
    for entry in config.history.iter_mut().skip(state.base_history) {
        // What stands before the first layer is as old as the image.
        if fixed.is_some() || entry.created.is_none() {
            entry.created = Some(time.clone());
        }
    }
    let run = &mut config.config;
    if !request.inherit_labels {
        run.labels
            .retain(|key, value| state.base_labels.get(key) != Some(value));
    }
    run.labels.extend(request.labels.clone());
    for key in &request.unset_labels {
        run.labels.remove(key);
    }
    for (key, value) in &request.env {
        apply::set_env(&mut run.env, key, value);
    }
    for key in &request.unset_env {
        let start = format!("{key}=");
        run.env.retain(|e| !e.starts_with(&start));
    }
    config.created = Some(time);
    let from = match request.squash {
        Squash::No => None,
        Squash::New if layers.len() - state.base_layers < 2 => None,
        Squash::New => Some(state.base_layers),
        Squash::All if layers.len() < 2 => None,
        Squash::All => Some(0),
    };
    if let Some(from) = from {
        let (below, _) = layers.split_at(from);
        let all = state.chain();
        let base: Vec<Digest> = below.iter().map(|l| l.chain_id.clone()).collect();
        let flat = flattened(store, &all, &base)?;
        layers.truncate(from);
        layers.push(flat);
        let kept = if from == 0 { 0 } else { state.base_history };
        // One layer, so one entry of the new history has one: the last that had.
        let last = config.history.iter().rposition(|h| !h.empty_layer);
        for (index, entry) in config.history.iter_mut().enumerate().skip(kept) {
            entry.empty_layer = Some(index) != last;
        }
    }
    if request.cache_to.contains(&Target::Inline) {
        let here = |r: &StepRecord| match &r.layer {
            None => true,
            Some(layer) => layers.iter().any(|l| l.diff_id == layer.diff_id),
        };
        let steps: Vec<StepRecord> = state.steps.iter().filter(|r| here(r)).cloned().collect();
        config.cache = Some(document::inline(&steps)?);
    }
    if request.omit_history {
        config.history.clear();
    }
    make::image_with(
        &make::Form {
            format: request.format,
            annotations: &request.annotations,
        },
        session,
        config,
        &layers,
        state.base.clone(),
        &request.tags,
    )
    .what(|| "cannot store the image".to_owned())
}

/// What all layers changed against the base's, as one layer.
fn flattened(store: &Store, all: &[Digest], base: &[Digest]) -> Result<LayerRecord> {
    let (reading, writing) = crate::sys::fd::pipe()?;
    std::thread::scope(|scope| -> Result<LayerRecord> {
        let packer = scope.spawn(|| {
            use std::io::Write as _;
            let mut sink = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::from(writing));
            let packed = store.pack_changes(all, base, &mut sink);
            sink.flush().what(|| "cannot pack the layers")?;
            packed
        });
        let reader = std::io::BufReader::with_capacity(1 << 20, std::fs::File::from(reading));
        let layer = make::layer(store, base.last(), reader);
        packer
            .join()
            .unwrap_or_else(|_| Err(Error::internal("the packing thread panicked")))?;
        layer
    })
}
