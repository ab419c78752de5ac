//! Layers that came in parts (`chunked::splice`): their blob is not here, but `recipe` beside the
//! tree gives their archive back, and `table` is their table of contents as it came.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;

use super::Layers;
use crate::base::fs as files;
use crate::base::{Context as _, Result};
use crate::spec::digest::Digest;
use crate::storage::chunked::recipe::{Assembly, Written, keep};
use crate::sys::at;

const RECIPE: &str = "recipe";
pub(super) const TABLE: &str = "table";
/// Bytes of a table as it came.
pub(super) const LIMIT: u64 = 64 << 20;

/// Writes both beside a layer that is being made.
///
/// # Errors
/// What the kernel says.
pub fn write(layer: &Path, recipe: &Written, table: &[u8]) -> Result<()> {
    keep(&layer.join(RECIPE), &recipe.bytes)?;
    keep(&layer.join(TABLE), table)
}

impl Layers {
    /// Whether the archive of a layer can be put together without its blob.
    pub fn has_recipe(&self, chain: &Digest) -> bool {
        self.path(chain).join(RECIPE).exists()
    }

    /// The table of contents of a layer that came in parts, as it came.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn kept_table(&self, chain: &Digest) -> Result<Option<Vec<u8>>> {
        files::read_if_exists(&self.path(chain).join(TABLE), LIMIT)
    }

    /// A regular file of a layer, by its clean path.
    ///
    /// # Errors
    /// `NotFound` when it is another thing.
    pub fn file(&self, chain: &Digest, path: &[u8]) -> Result<File> {
        let root = self.open(chain)?;
        let (dir, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(slash) => (
                at::open_dir_beneath(root.as_fd(), &path[..slash])?,
                &path[slash + 1..],
            ),
            None => (root, path),
        };
        Ok(at::open_file(dir.as_fd(), name)?.0.into())
    }

    /// The archive of a layer that came in parts. Inside the user namespace. The reader must verify
    /// its digest.
    ///
    /// # Errors
    /// `NotFound` without a recipe.
    pub fn archive(&self, chain: &Digest) -> Result<Assembly<'static>> {
        let path = self.path(chain).join(RECIPE);
        let recipe = File::open(&path).what(|| format!("cannot open {}", path.display()))?;
        let (layers, chain) = (self.clone(), chain.clone());
        Assembly::new(recipe, move |path| layers.file(&chain, path))
    }
}
