//! What a registry has: tags of a repository, names that match a word.

use serde::Deserialize;
use ureq::http::Method;

use super::auth::encode;
use super::client::{Call, Client, scope};
use super::credentials::Credentials;
use super::http::Payload;
use super::registries_conf::Endpoint;
use crate::base::{Context as _, Kind, Result};
use crate::spec::image::null_default;

const LIMIT: u64 = 16 << 20;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The full name.
    pub name: String,
    /// What it says of itself.
    pub description: String,
    /// How many people like it.
    pub stars: u64,
    /// Whether the registry vouches for it.
    pub official: bool,
    /// Whether it is built from a public source by the registry.
    pub automated: bool,
}

#[derive(Deserialize)]
struct Tags {
    #[serde(default, deserialize_with = "null_default")]
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct Repositories {
    #[serde(default, deserialize_with = "null_default")]
    repositories: Vec<String>,
}

#[derive(Deserialize)]
struct Results {
    #[serde(default, deserialize_with = "null_default")]
    results: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "null_default")]
    description: String,
    #[serde(default)]
    star_count: u64,
    #[serde(default)]
    is_official: bool,
    #[serde(default)]
    is_automated: bool,
}

impl Client {
    /// The tags of a repository, in the registry's order, at most `limit`.
    ///
    /// # Errors
    /// What the registry says.
    pub fn tags(&self, repository: &str, limit: usize) -> Result<Vec<String>> {
        let scope = scope(repository, false);
        self.paged(
            format!("/v2/{repository}/tags/list?n=1000"),
            &scope,
            limit,
            |body| {
                serde_json::from_slice::<Tags>(body)
                    .map(|t| t.tags)
                    .what_kind(Kind::Corrupt, || "the list of tags is malformed")
            },
        )
    }

    /// The repositories whose name holds `word`, at most `limit`.
    ///
    /// # Errors
    /// What the registry says; many deny it.
    pub fn catalog(&self, word: &str, limit: usize) -> Result<Vec<String>> {
        let mut found = self.paged(
            "/v2/_catalog?n=1000".to_owned(),
            "registry:catalog:*",
            100_000,
            |body| {
                let page: Repositories = serde_json::from_slice(body)
                    .what_kind(Kind::Corrupt, || "the catalog is malformed")?;
                let mut names = page.repositories;
                names.retain(|name| name.contains(word));
                Ok(names)
            },
        )?;
        found.truncate(limit);
        Ok(found)
    }

    fn paged(
        &self,
        first: String,
        scope: &str,
        limit: usize,
        read: impl Fn(&[u8]) -> Result<Vec<String>>,
    ) -> Result<Vec<String>> {
        let mut target = first;
        let mut found: Vec<String> = Vec::new();
        // A registry that always names a next page ends here.
        for _ in 0..1000 {
            let call = Call {
                method: Method::GET,
                target: &target,
                headers: &[],
                payload: Payload::None,
                scope,
            };
            let (next, body) = self.retrying(|| {
                let response = self.attempt(&call, &[])?;
                let next = response
                    .headers()
                    .get("link")
                    .and_then(|v| v.to_str().ok())
                    .and_then(next_link);
                Ok((next, self.small_body(response, LIMIT)?))
            })?;
            found.extend(read(&body)?);
            match next {
                Some(next) if found.len() < limit => target = next,
                _ => break,
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Asks the old search interface, which Docker Hub and some others have. `registry` is the
    /// name that people know it by.
    ///
    /// # Errors
    /// What the registry says.
    pub fn search(&self, registry: &str, word: &str, limit: usize) -> Result<Vec<Finding>> {
        let target = format!("/v1/search?q={}&n={limit}", encode(word));
        let call = Call {
            method: Method::GET,
            target: &target,
            headers: &[],
            payload: Payload::None,
            scope: "",
        };
        let body = self.retrying(|| {
            let response = self.attempt(&call, &[])?;
            self.small_body(response, LIMIT)
        })?;
        let results: Results = serde_json::from_slice(&body)
            .what_kind(Kind::Corrupt, || "the answer to the search is malformed")?;
        Ok(results
            .results
            .into_iter()
            .take(limit)
            .map(|hit| Finding {
                name: format!("{registry}/{}", full_name(registry, &hit.name)),
                description: hit.description,
                stars: hit.star_count,
                official: hit.is_official,
                automated: hit.is_automated,
            })
            .collect())
    }
}

fn full_name(registry: &str, name: &str) -> String {
    if registry == "docker.io" && !name.contains('/') {
        format!("library/{name}")
    } else {
        name.to_owned()
    }
}

/// The place that a registry is searched at: Docker Hub has another host for it.
pub fn search_endpoint(registry: &str) -> Endpoint {
    let host = if registry == "docker.io" {
        "index.docker.io"
    } else {
        registry
    };
    Endpoint {
        registry: host.to_owned(),
        repository: String::new(),
        insecure: None,
        mirror: false,
    }
}

/// Credentials that a search sends: the old interface of Docker Hub wants none.
pub fn search_credentials(registry: &str, credentials: Credentials) -> Credentials {
    if registry == "docker.io" {
        Credentials::Anonymous
    } else {
        credentials
    }
}

/// `</v2/x/tags/list?last=b&n=2>; rel="next"`.
fn next_link(text: &str) -> Option<String> {
    text.split(',').find_map(|link| {
        let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        rest.contains("next").then(|| address.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_the_next_page_are_read() {
        assert_eq!(
            next_link(r#"</v2/x/tags/list?last=b&n=2>; rel="next""#).unwrap(),
            "/v2/x/tags/list?last=b&n=2"
        );
        assert_eq!(next_link(r#"</x>; rel="prev""#), None);
        assert_eq!(next_link("x"), None);
    }
}
