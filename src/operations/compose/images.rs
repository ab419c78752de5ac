//! The images of services: found, pulled, built.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::tasks::{self, Task};
use super::{Hands, observe};
use crate::base::progress::Silent;
use crate::base::{Error, Kind, Result};
use crate::compose::convert;
use crate::compose::project::{Keys, Project};
use crate::compose::schema::{seconds, text};
use crate::operations::image::policy::{PullPolicy, RegistryOptions};
use crate::operations::image::{ensure, lookup};
use crate::operations::session::Session;
use crate::spec::platform::Platform;

/// What may be done to have images.
#[derive(Clone, Debug, Default)]
pub struct Means {
    /// `--build`.
    pub build: bool,
    /// `--no-build`.
    pub no_build: bool,
    /// `--pull`.
    pub pull: Option<String>,
    /// How many at a time.
    pub parallel: usize,
}

/// When a service's image is fetched.
fn policy(keys: &Keys, means: &Means, session: &Session, name: &str) -> Result<(PullPolicy, bool)> {
    let word = means
        .pull
        .clone()
        .or_else(|| keys.get("pull_policy").and_then(text));
    let refresh = keys.get("pull_refresh_after").and_then(text);
    let missing = PullPolicy::Missing;
    Ok(match word.as_deref() {
        None | Some("missing" | "if_not_present" | "policy" | "") => (missing, false),
        Some("always") => (PullPolicy::Always, false),
        Some("newer") => (PullPolicy::Newer, false),
        Some("never") => (PullPolicy::Never, false),
        Some("build") => (missing, true),
        Some(word) => {
            let every = match word {
                "daily" => Some(86_400.0),
                "weekly" => Some(7.0 * 86_400.0),
                "refresh" => refresh.as_deref().and_then(seconds),
                other => other.strip_prefix("every_").and_then(seconds),
            };
            let every = every.ok_or_else(|| {
                Error::invalid(format!("unknown pull policy {word:?}"))
                    .hint("use always, missing, never, build, daily, weekly or every_DURATION")
            })?;
            match lookup(session, name) {
                Ok(found) if found.record.stored.elapsed().as_secs_f64() < every => {
                    (missing, false)
                }
                Ok(_) => (PullPolicy::Always, false),
                Err(_) => (missing, false),
            }
        }
    })
}

/// The ids of the images of services, by service. What is missing is pulled or built; with
/// `means.build` what can be is built.
///
/// # Errors
/// As pull and build; `NotFound` with `--no-build`.
pub fn ensure_all(
    session: &mut Session,
    project: &Project,
    services: &[String],
    means: &Means,
    hands: &mut dyn Hands,
) -> Result<BTreeMap<String, String>> {
    let mut pulls: BTreeMap<String, (PullPolicy, Option<String>)> = BTreeMap::new();
    let mut builds: Vec<&String> = Vec::new();
    for service in services {
        let keys = project.service(service)?;
        let image = project.image(service, keys);
        let (policy, must_build) = policy(keys, means, session, &image)?;
        let platform = keys.get("platform").and_then(text);
        if keys.get("build").is_some() {
            let here = lookup(session, &image).is_ok();
            if (means.build || must_build || !here) && !means.no_build {
                builds.push(service);
            } else if !here {
                return Err(Error::not_found(format!(
                    "no such image: {image:?} of service {service:?} must be built"
                ))
                .hint("leave --no-build out"));
            }
            continue;
        }
        let here = lookup(session, &image).is_ok();
        if policy == PullPolicy::Always
            || policy == PullPolicy::Newer
            || !here
            || platform.is_some()
        {
            pulls.insert(image, (policy, platform));
        }
    }
    pull(session, pulls.into_iter().collect(), means.parallel, hands)?;
    for service in builds {
        build(session, project, service, &[], hands)?;
    }
    let mut ids = BTreeMap::new();
    for service in services {
        let image = project.image(service, project.service(service)?);
        let found = lookup(session, &image)?;
        ids.insert(service.clone(), found.record.id.to_string());
    }
    Ok(ids)
}

/// Pulls images, several at a time.
///
/// # Errors
/// The first failure.
pub fn pull(
    session: &Session,
    images: Vec<(String, (PullPolicy, Option<String>))>,
    parallel: usize,
    hands: &mut dyn Hands,
) -> Result<()> {
    let registry = RegistryOptions::default();
    let alone = images.len() == 1;
    let mut work: Vec<Task<'_>> = Vec::new();
    for (image, (policy, platform)) in images {
        let platform: Option<Platform> = platform.map(|p| p.parse()).transpose()?;
        let mut session = session.clone();
        if !alone {
            session.progress = Arc::new(Silent);
        }
        let (name, registry) = (image.clone(), &registry);
        work.push(Task {
            noun: "Image",
            name: image,
            done: "Pulled",
            after: Vec::new(),
            waits: false,
            work: Box::new(move |_| {
                let want = ensure::Ensure {
                    name: &name,
                    policy,
                    platform: platform.as_ref(),
                    registry,
                    keep_tag: false,
                };
                ensure::ensure(&session, &want).map(drop)
            }),
        });
    }
    tasks::run(work, parallel, &mut |step| hands.step(step))
}

/// Builds the image of a service, with further words.
///
/// # Errors
/// As `build`.
pub fn build(
    session: &mut Session,
    project: &Project,
    service: &str,
    more: &[String],
    hands: &mut dyn Hands,
) -> Result<()> {
    let keys = project.service(service)?;
    let (made, inline) = convert::build(project, service, keys)?;
    for notice in &made.notices {
        hands.warn(&format!("services.{service}: {notice}"));
    }
    let mut words: Vec<String> = more.to_vec();
    words.extend(made.words);
    hands.build(session, &words, inline.as_deref())?;
    hands.tell("Image", &project.image(service, keys), "Built");
    Ok(())
}

/// `down --rmi`: removes the images of a project's services: those without a name of their own, or
/// all.
///
/// # Errors
/// As `rmi`.
pub fn remove(
    session: &Session,
    project: &Project,
    all: bool,
    hands: &mut dyn Hands,
) -> Result<()> {
    use crate::operations::image::remove;
    let users = observe::all(session)?;
    for (service, keys) in project.services() {
        let own = keys.get("image").is_none_or(Value::is_null);
        if !all && !own {
            continue;
        }
        let image = project.image(service, keys);
        if users
            .iter()
            .any(|m| m.container.record.options.image == image)
        {
            hands.warn(&format!("image {image} is in use by another project"));
            continue;
        }
        match remove::remove(session, &image, remove::Options::default()) {
            Ok(_) => hands.tell("Image", &image, "Removed"),
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => hands.warn(&e.one_line()),
        }
    }
    Ok(())
}
