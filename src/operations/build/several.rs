//! A build as the command line means it: for each platform, with statements, under names.

use super::attest::{self, wish::Wish};
use super::watch::Watch;
use super::{Built, Request, build};
use crate::base::{Error, Result};
use crate::build::plan::{self, Base};
use crate::image::ImageRecord;
use crate::operations::image::{enter_store, manifest, platforms, remove};
use crate::operations::session::Session;
use crate::spec::platform::Platform;
use crate::spec::reference::Reference;

/// What is wanted beyond one image.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// The platforms; none means the request's own.
    pub platforms: Vec<Platform>,
    /// `--manifest`: an index that the images are added to.
    pub manifest: Option<Reference>,
    /// Statements about the images.
    pub attest: Wish,
    /// An index even for one image.
    pub always_index: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// An image for each platform.
    pub built: Vec<Built>,
    /// The list that holds them, if one was made.
    pub list: Option<ImageRecord>,
    /// The names that the result has.
    pub names: Vec<Reference>,
}

/// The platforms for which all base images of a build exist (`--all-platforms`).
///
/// # Errors
/// `NotFound` when they have none in common; what registries say.
pub fn all_platforms(session: &Session, request: &Request) -> Result<Vec<Platform>> {
    let host = Platform::host();
    let contexts = request.contexts.keys().cloned().collect();
    let plan = plan::plan(
        &request.file,
        &plan::Request {
            target: request.target.as_deref(),
            args: &request.args,
            contexts: &contexts,
            platform: host.clone(),
            host: host.clone(),
            first_from: request.first_from.as_deref(),
            all_stages: request.all_stages,
        },
    )?;
    let mut common: Option<Vec<Platform>> = None;
    for stage in &plan.order {
        // A stage that names its platform is built for that one alone.
        if request.file.stages[*stage].platform.is_some() {
            continue;
        }
        let Base::Image(name) = &plan.nodes[*stage].base else {
            continue;
        };
        let there = platforms::all(session, name, &request.registry)?;
        common = Some(match common {
            None => there,
            Some(list) => list.into_iter().filter(|p| there.contains(p)).collect(),
        });
    }
    match common {
        None => Ok(vec![host]),
        Some(list) if list.is_empty() => Err(Error::not_found(
            "the base images have no platform in common",
        )
        .hint("name the platforms: --platform a,b")),
        Some(list) => Ok(list),
    }
}

/// Builds for every platform, one after the other: steps that are the same are found in the cache.
/// Enters the user namespace; the process has one thread.
///
/// # Errors
/// As [`build`]; the first platform that fails ends it.
pub fn build_all(
    session: &Session,
    request: &mut Request,
    wishes: &Wishes,
    watch: &mut dyn Watch,
) -> Result<Outcome> {
    let several = wishes.platforms.len() > 1;
    let indexed = several || wishes.attest.any() || wishes.always_index;
    let tags = request.tags.clone();
    // An index has the names; its members have none of their own.
    if indexed {
        request.tags.clear();
    }
    request.labelled = several;
    let store = enter_store(session)?;
    // Statements are in no record before the index is.
    let _growing = remove::growing_deaf(session)?;
    let each: Vec<Option<Platform>> = match &wishes.platforms[..] {
        [] => vec![request.platform.clone()],
        list => list.iter().cloned().map(Some).collect(),
    };
    let mut outcome = Outcome {
        built: Vec::new(),
        list: None,
        names: tags.clone(),
    };
    let mut members = Vec::new();
    for platform in each {
        request.platform = platform;
        let own = request.platform.clone().unwrap_or_else(Platform::host);
        for context in request.contexts.values_mut() {
            context.settle(session, &own)?;
        }
        request.first_number = outcome.built.iter().map(|b| b.shown).sum();
        let built = build(session, request, watch)?;
        let attestation = attest::make(session, &store, request, &wishes.attest, &built, &tags)?;
        members.push(manifest::of_record(&built.record)?);
        members.extend(attestation);
        outcome.built.push(built);
    }
    let annotations = &request.index_annotations;
    if let Some(name) = &wishes.manifest {
        let names = std::slice::from_ref(name);
        let list = manifest::keep(session, members.clone(), annotations, names, true)?;
        outcome.list = Some(list);
        outcome.names.extend(wishes.manifest.clone());
    }
    if indexed && (!tags.is_empty() || wishes.manifest.is_none()) {
        let list = manifest::keep(session, members, annotations, &tags, false)?;
        outcome.list.get_or_insert(list);
    }
    Ok(outcome)
}
