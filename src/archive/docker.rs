//! docker-archive: `manifest.json` names configurations and layer tars.
//!
//! Spec: Docker image specification v1.2, "Combined image JSON + filesystem changeset format".

use serde::{Deserialize, Serialize};

use super::pack::Pack;
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::image::null_default;
use crate::spec::manifest::{DOCUMENT_LIMIT, LAYER_LIMIT};

/// One image of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Item {
    /// Name of the configuration's part.
    pub config: String,
    /// `name:tag` each.
    #[serde(default, deserialize_with = "null_default")]
    pub repo_tags: Vec<String>,
    /// Names of the layers' parts, bottom first.
    #[serde(default, deserialize_with = "null_default")]
    pub layers: Vec<String>,
}

/// The images of an archive.
///
/// # Errors
/// `Invalid` for a malformed `manifest.json`.
pub fn read(pack: &Pack) -> Result<Vec<Item>> {
    let bytes = pack.part("manifest.json")?.bytes(DOCUMENT_LIMIT)?;
    let items: Vec<Item> = serde_json::from_slice(&bytes)
        .what_kind(Kind::Invalid, || "the archive's manifest.json is malformed")?;
    if items.is_empty() {
        return Err(Error::invalid("the archive holds no image"));
    }
    for item in &items {
        if item.layers.len() > LAYER_LIMIT {
            return Err(Error::invalid(format!(
                "the archive has an image of more than {LAYER_LIMIT} layers"
            )));
        }
    }
    Ok(items)
}

/// The item that `wanted` names: `name:tag`, or `@index`; without one the only image.
///
/// # Errors
/// `NotFound`; `Invalid` when there are several.
pub fn choose<'a>(items: &'a [Item], wanted: Option<&str>) -> Result<&'a Item> {
    let missing = |wanted: &str| Error::not_found(format!("the archive holds no image {wanted:?}"));
    match wanted {
        None if items.len() == 1 => Ok(&items[0]),
        None => Err(Error::invalid("the archive holds several images")
            .hint("name one: docker-archive:PATH:NAME, or load them all with \"coracle load\"")),
        Some(wanted) => {
            if let Some(index) = wanted.strip_prefix('@') {
                return index
                    .parse::<usize>()
                    .ok()
                    .and_then(|at| items.get(at))
                    .ok_or_else(|| missing(wanted));
            }
            let full = |text: &str| {
                crate::spec::reference::Reference::parse_normalized(text)
                    .map(|r| r.to_string())
                    .unwrap_or_else(|_| text.to_owned())
            };
            let wish = full(wanted);
            items
                .iter()
                .find(|i| i.repo_tags.iter().any(|t| t == wanted || full(t) == wish))
                .ok_or_else(|| missing(wanted))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(tag: &str) -> Item {
        Item {
            config: "c".to_owned(),
            repo_tags: vec![tag.to_owned()],
            layers: vec![],
        }
    }

    #[test]
    fn images_are_chosen_by_name_or_index() {
        let two = [item("a:1"), item("docker.io/library/b:latest")];
        assert_eq!(choose(&two, Some("a:1")).unwrap(), &two[0]);
        assert_eq!(choose(&two, Some("b")).unwrap(), &two[1]);
        assert_eq!(choose(&two, Some("@1")).unwrap(), &two[1]);
        assert_eq!(choose(&two[..1], None).unwrap(), &two[0]);
        for wanted in [None, Some("c"), Some("@2"), Some("@x")] {
            assert!(choose(&two, wanted).is_err(), "{wanted:?}");
        }
    }
}
