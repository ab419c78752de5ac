//! The image that `run` and `create` need: here already, or brought here.

use super::hello;
use super::policy::{PullPolicy, RegistryOptions};
use crate::base::{Error, Kind, Result};
use crate::image::Found;
use crate::operations::session::Session;
use crate::spec::platform::Platform;

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Ensure<'a> {
    /// Name or id, as typed.
    pub name: &'a str,
    /// When a registry is asked.
    pub policy: PullPolicy,
    /// `--platform`; absent means this machine's, and whatever is here.
    pub platform: Option<&'a Platform>,
    /// How registries are asked.
    pub registry: &'a RegistryOptions,
    /// A pull for another platform leaves the tag with the image that this machine can run, when
    /// both are of one index.
    pub keep_tag: bool,
}

/// Finds the image, or pulls it as the policy says. Enters the user namespace when it pulls, so
/// the process must still have one thread.
///
/// # Errors
/// `NotFound` when it is not here and may not be pulled, or no registry has it.
pub fn ensure(session: &Session, want: &Ensure<'_>) -> Result<Found> {
    let local = match super::lookup_for(session, want.name, want.platform) {
        Ok(found) if hello::is_hello(want.name) && found.name.is_some() => {
            return if hello::is_stale(&found) {
                hello::make(session)
            } else {
                Ok(found)
            };
        }
        Ok(found) if fits(&found, want.platform) => Some(found),
        Ok(found) => match want.platform {
            Some(wish) => super::platforms::sibling(session, &found, wish)?,
            None => None,
        },
        Err(e) if e.kind() == Kind::NotFound && hello::is_hello(want.name) => {
            return hello::make(session);
        }
        Err(e) if e.kind() == Kind::NotFound => None,
        Err(e) => return Err(e),
    };
    match (want.policy, local) {
        (PullPolicy::Missing | PullPolicy::Never | PullPolicy::Lazy, Some(found)) => Ok(found),
        (PullPolicy::Always | PullPolicy::Newer, Some(found)) if found.name.is_none() => {
            // An id is not a name: nobody can be asked about it.
            Ok(found)
        }
        (PullPolicy::Never, None) => Err(Error::not_found(format!(
            "no such image: {:?} is not here and --pull is never",
            want.name
        ))
        .hint(format!("coracle pull {}", want.name))),
        (PullPolicy::Newer, Some(found)) => match super::pull::one(session, want) {
            Ok(pulled) => Ok(pulled),
            Err(e) if matches!(e.kind(), Kind::Unavailable | Kind::TimedOut) => {
                session.progress.message(&format!(
                    "cannot look for a newer image, using the one here: {}",
                    e.one_line()
                ));
                Ok(found)
            }
            Err(e) => Err(e),
        },
        (_, _) => super::pull::one(session, want),
    }
}

/// Whether an image that is here serves the wish; with no wish every image does.
fn fits(found: &Found, wish: Option<&Platform>) -> bool {
    let Some(wish) = wish else {
        return true;
    };
    let own = found.record.platform();
    own.architecture.is_empty() || wish.rank(&own).is_some()
}
