//! `search`: names in registries, and tags of a repository.

use super::policy::RegistryOptions;
use super::remote::Remote;
use crate::base::{Context as _, Error, Kind, Result};
use crate::operations::session::Session;
use crate::registry::catalog::{Finding, search_credentials, search_endpoint};
use crate::registry::client::Client;
use crate::registry::credentials::key_of;
use crate::spec::reference::Reference;

/// Looks for a word: in the registry that the text begins with, else in those of registries.conf.
///
/// # Errors
/// What the last registry says, when none answers.
pub fn search(
    session: &Session,
    text: &str,
    limit: usize,
    options: &RegistryOptions,
) -> Result<Vec<Finding>> {
    let remote = Remote::open(session, options)?;
    let (registries, word) = match text.split_once('/') {
        Some((registry, word)) if crate::image::store::has_registry(text) => {
            (vec![registry.to_owned()], word)
        }
        _ => (remote.registries.search_registries(), text),
    };
    let mut found = Vec::new();
    let mut failure = None;
    let mut answered = false;
    for registry in registries {
        match one(&remote, &registry, word, limit) {
            Ok(findings) => {
                answered = true;
                found.extend(findings);
            }
            Err(e) => failure = Some(e),
        }
    }
    match failure {
        Some(e) if !answered => Err(e).what(|| format!("cannot search for {text:?}")),
        _ => Ok(found),
    }
}

fn one(remote: &Remote, registry: &str, word: &str, limit: usize) -> Result<Vec<Finding>> {
    let credentials = match remote.explicit() {
        Some(explicit) => explicit.clone(),
        None => remote.auth.find(&key_of(registry))?,
    };
    let mut endpoint = search_endpoint(registry);
    if let Ok(reference) = Reference::parse_normalized(&format!("{registry}/x"))
        && let Ok(places) = remote.registries.endpoints(&reference)
    {
        endpoint.insecure = places.iter().find(|p| !p.mirror).and_then(|p| p.insecure);
    }
    let client = Client::new(
        &endpoint,
        search_credentials(registry, credentials),
        remote.settings(),
    )?;
    match client.search(registry, word, limit) {
        // Most registries have a catalog in place of the old interface.
        Err(e) if e.kind() == Kind::NotFound || e.kind() == Kind::Corrupt => {
            let names = client.catalog(word, limit)?;
            Ok(names
                .into_iter()
                .map(|name| Finding {
                    name: format!("{registry}/{name}"),
                    description: String::new(),
                    stars: 0,
                    official: false,
                    automated: false,
                })
                .collect())
        }
        other => other,
    }
}

/// The full name and the tags of a repository.
///
/// # Errors
/// What the registry says.
pub fn tags(
    session: &Session,
    text: &str,
    limit: usize,
    options: &RegistryOptions,
) -> Result<(String, Vec<String>)> {
    let remote = Remote::open(session, options)?;
    let reference = remote
        .registries
        .candidates(text)?
        .into_iter()
        .next()
        .ok_or_else(|| Error::invalid(format!("invalid name {text:?}")))?;
    let mut failure = None;
    for endpoint in remote.registries.endpoints(&reference)? {
        match remote
            .client(&endpoint)
            .and_then(|client| client.tags(&endpoint.repository, limit))
        {
            Ok(tags) => return Ok((reference.name(), tags)),
            Err(e) => failure = Some(e),
        }
    }
    Err(failure.unwrap_or_else(|| Error::not_found("no registry to ask")))
        .what(|| format!("cannot list the tags of {text:?}"))
}
