//! Records that are damaged: found one by one, where every other reader gives up at the first.

use super::record::ImageRecord;
use super::store::Images;
use crate::base::{Context as _, Kind, Result};
use crate::spec::digest::Digest;
use crate::spec::image::chain_ids;

impl ImageRecord {
    /// Holds the record against itself: the id is the configuration's digest, each manifest's is
    /// its own, and the layers are those of the configuration. What is wrong in words.
    pub fn flaw(&self) -> Option<String> {
        let found = Digest::sha256_of(self.raw_config.as_bytes());
        // A list can be changed: its id says nothing about its content.
        if found != self.id && self.list.is_none() {
            return Some(format!("its configuration has digest {found}"));
        }
        for manifest in &self.manifests {
            let wrong = manifest.digest.algorithm() == crate::spec::digest::Algorithm::Sha256
                && Digest::sha256_of(manifest.raw.as_bytes()) != manifest.digest;
            if wrong {
                return Some(format!(
                    "its manifest {} has another content",
                    manifest.digest.short()
                ));
            }
        }
        let diff_ids = &self.config.rootfs.diff_ids;
        let same = self.layers.iter().map(|l| &l.diff_id).eq(diff_ids)
            && self.chain() == chain_ids(diff_ids);
        (!same).then(|| "its layers are not those of its configuration".to_owned())
    }
}

impl Images {
    /// Every record, by the id that its file is named after; what is wrong with a bad one is the
    /// error.
    ///
    /// # Errors
    /// What the kernel says of the folder.
    pub fn examine(&self) -> Result<Vec<(Digest, Result<ImageRecord>)>> {
        let mut found = Vec::new();
        for id in self.own_ids()? {
            let record = self.get(&id).and_then(|record| {
                let flaw = match record.id == id {
                    true => record.flaw(),
                    false => Some(format!("it is the record of image {}", record.id.short())),
                };
                match flaw {
                    None => Ok(record),
                    Some(flaw) => Err(crate::base::Error::new(Kind::Corrupt, flaw)),
                }
            });
            match record {
                Err(e) if e.kind() == Kind::NotFound => {}
                other => found.push((id, other)),
            }
        }
        Ok(found)
    }

    /// Renames a damaged name index to `names.json.damaged`, so that names can be given again.
    /// Answers where it is now.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_names_aside(&self) -> Result<std::path::PathBuf> {
        let _lock = self.lock()?;
        let aside = self.names.with_extension("json.damaged");
        std::fs::rename(&self.names, &aside)
            .what(|| format!("cannot rename {}", self.names.display()))?;
        Ok(aside)
    }
}
