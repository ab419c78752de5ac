//! Whether a step must run at all: the store's cache, then caches elsewhere, and who runs it when
//! several builds want the same.

use std::collections::BTreeMap;

use super::cache::{Cache, Claim, StepRecord};
use super::copying::why;
use super::job::Answer;
use super::schedule::At;
use crate::base::Result;
use crate::base::time::Timestamp;
use crate::image::LayerRecord;
use crate::spec::digest::Digest;

/// A key with all that went into it.
pub type Key = (Digest, BTreeMap<String, String>);

/// What there is to do.
pub enum Known {
    /// Nothing: this is the outcome.
    Answer(Answer),
    /// To run it; nobody else does meanwhile.
    Ours(Todo),
}

/// A step that this process runs.
pub struct Todo {
    key: Key,
    why: Vec<String>,
    _claim: Claim,
}

/// Looks for the outcome of a step on top of the stage's layers; waits while another build makes it.
///
/// # Errors
/// What the kernel says. A cache elsewhere that fails is only worth a word.
pub(super) fn known(at: &At<'_>, key: Key) -> Result<Known> {
    if let Some(answer) = here(at, &key.0, None)? {
        return Ok(Known::Answer(answer));
    }
    let asked = Timestamp::now();
    let claim = at.schedule.cache.claim(&key.0)?;
    // Another stage or build may have made it while we waited: what is that new counts even where
    // the cache does not.
    if let Some(answer) = here(at, &key.0, Some(asked))? {
        return Ok(Known::Answer(answer));
    }
    if let Some(answer) = elsewhere(at, &key)? {
        return Ok(Known::Answer(answer));
    }
    Ok(Known::Ours(Todo {
        why: why(at, &key.1)?,
        key,
        _claim: claim,
    }))
}

/// The answer that the store's cache has. Where the cache does not count, only what was made after
/// `asked` is one.
fn here(at: &At<'_>, key: &Digest, asked: Option<Timestamp>) -> Result<Option<Answer>> {
    if at.fresh && asked.is_none() {
        return Ok(None);
    }
    let schedule = at.schedule;
    let found = schedule.cache.get(schedule.store, key, at.state.top())?;
    let counts = |record: &StepRecord| match at.fresh {
        true => asked.is_some_and(|asked| record.created >= asked),
        false => schedule.is_young(record),
    };
    Ok(found.filter(counts).map(|record| Answer::Step {
        record: Box::new(record),
        cached: true,
        why: Vec::new(),
    }))
}

/// The answer that a cache elsewhere has: its layer comes here.
fn elsewhere(at: &At<'_>, key: &Key) -> Result<Option<Answer>> {
    if at.fresh {
        return Ok(None);
    }
    let schedule = at.schedule;
    let parent = at.state.top();
    for imported in &schedule.imported {
        let Some(step) = imported.get(&key.0) else {
            continue;
        };
        let registry = &schedule.request.registry;
        let brought = imported.bring(schedule.session, schedule.store, registry, step, parent);
        let layer = match brought {
            Ok(layer) => layer,
            Err(e) => {
                at.desk.note(&e.one_line());
                continue;
            }
        };
        let mut record = Cache::record(
            key.0.clone(),
            layer,
            parent.cloned(),
            &at.step.text,
            key.1.clone(),
        );
        // Its own time: the image is the same wherever the step ran.
        record.created = step.created;
        if !schedule.is_young(&record) {
            continue;
        }
        schedule.cache.put(&record)?;
        return Ok(Some(Answer::Step {
            record: Box::new(record),
            cached: true,
            why: Vec::new(),
        }));
    }
    Ok(None)
}

impl Todo {
    /// Keeps what the step gave.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn done(self, at: &At<'_>, layer: Option<LayerRecord>) -> Result<Answer> {
        let (key, inputs) = self.key;
        let parent = at.state.top().cloned();
        let record = Cache::record(key, layer, parent, &at.step.text, inputs);
        at.schedule.cache.put(&record)?;
        Ok(Answer::Step {
            record: Box::new(record),
            cached: false,
            why: self.why,
        })
    }
}
