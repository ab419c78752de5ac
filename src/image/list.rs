//! Manifest lists: images that are a choice of images.
//!
//! A list is a record like any image's, with members in place of layers, so that it has names, is
//! listed and is removed like one. It can be changed, so its id says nothing about its content. All
//! that a push needs of a member that is here lies in the record (manifest, configuration) and
//! among the blobs, which the record keeps.
//!
//! Spec: image-spec, image index.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::manifest::Format;
use super::record::{ImageRecord, StoredManifest};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result, random};
use crate::spec::digest::Digest;
use crate::spec::manifest::{Descriptor, Document, Index, Manifest, media};
use crate::spec::platform::Platform;

/// Which manifest a member states something about: BuildKit's annotation.
pub const ABOUT: &str = "vnd.docker.reference.digest";

/// What a list has in place of layers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageList {
    /// Annotations of the index.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What the index is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// The members, in the order in which they came.
    pub members: Vec<Member>,
}

/// A member of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// As the index has it: digest, platform, annotations.
    pub descriptor: Descriptor,
    /// Its manifest.
    pub manifest: StoredManifest,
    /// Its configuration's bytes; absent for one that only a registry has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// Where a registry has it: a name with its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl Member {
    /// The image as it is stored here.
    ///
    /// # Errors
    /// `Corrupt` for a malformed manifest; `NotFound` for what only a registry has.
    pub fn record(&self) -> Result<ImageRecord> {
        let config = self.config.clone().ok_or_else(|| {
            Error::not_found(format!("manifest {} is not here", self.descriptor.digest))
        })?;
        let manifest = self.parsed()?;
        let layers = manifest.layers.into_iter();
        ImageRecord::new(
            config,
            self.manifest.clone(),
            layers.map(|l| (l.digest, l.media_type, l.size)).collect(),
        )
    }

    /// Its manifest, parsed.
    ///
    /// # Errors
    /// `Corrupt` for a malformed one.
    pub fn parsed(&self) -> Result<Manifest> {
        match Document::parse(self.manifest.raw.as_bytes(), "")? {
            Document::Manifest(manifest) => Ok(manifest),
            Document::Index(_) => Err(Error::new(
                Kind::Corrupt,
                format!("manifest {} is an index", self.descriptor.digest),
            )),
        }
    }
}

impl ImageList {
    /// Puts a member in; one with the same digest is replaced.
    pub fn put(&mut self, member: Member) {
        let same = |m: &&mut Member| m.descriptor.digest == member.descriptor.digest;
        match self.members.iter_mut().find(same) {
            Some(old) => *old = member,
            None => self.members.push(member),
        }
    }

    /// Puts members in; those for the same platforms give way, and so does what is stated about
    /// them.
    pub fn replace(&mut self, members: Vec<Member>) {
        let known = |m: &Member| {
            let platform = m.descriptor.platform.clone();
            platform.filter(|p| p.os != "unknown")
        };
        let platforms: Vec<_> = members.iter().filter_map(known).collect();
        let mut gone: Vec<String> = Vec::new();
        self.members.retain(|m| {
            let goes = known(m).is_some_and(|p| platforms.contains(&p));
            if goes {
                gone.push(m.descriptor.digest.to_string());
            }
            !goes
        });
        self.members.retain(|m| {
            let about = m.descriptor.annotations.get(ABOUT);
            about.is_none_or(|digest| !gone.contains(digest))
        });
        for member in members {
            self.put(member);
        }
        // Images first, as BuildKit writes them.
        self.members
            .sort_by_key(|m| m.descriptor.annotations.contains_key(ABOUT));
    }

    /// The index.
    ///
    /// # Errors
    /// None that could be mended.
    pub fn document(&self, format: Format) -> Result<StoredManifest> {
        let media_type = match format {
            Format::Oci => media::OCI_INDEX,
            Format::Docker => media::DOCKER_LIST,
        };
        let index = self.index(media_type);
        let raw = serde_json::to_string(&index)
            .what_kind(Kind::Internal, || "cannot write the manifest list")?;
        Ok(StoredManifest {
            digest: Digest::sha256_of(raw.as_bytes()),
            media_type: media_type.to_owned(),
            raw,
        })
    }

    fn index(&self, media_type: &str) -> Index {
        let docker = media_type == media::DOCKER_LIST;
        Index {
            schema_version: 2,
            media_type: media_type.to_owned(),
            manifests: self.members.iter().map(|m| m.descriptor.clone()).collect(),
            // Docker's lists have neither.
            annotations: if docker {
                BTreeMap::new()
            } else {
                self.annotations.clone()
            },
            subject: self.subject.clone().filter(|_| !docker),
        }
    }

    /// The best member for a platform.
    ///
    /// # Errors
    /// `NotFound`, naming the platforms that there are.
    pub fn choose(&self, wish: &Platform) -> Result<&Member> {
        let index = self.index(media::OCI_INDEX);
        let digest = index.choose(wish)?.digest.clone();
        self.members
            .iter()
            .find(|m| m.descriptor.digest == digest)
            .ok_or_else(|| Error::internal("the chosen member is gone"))
    }
}

impl ImageRecord {
    /// An empty list.
    ///
    /// # Errors
    /// What the kernel says of random bytes.
    pub fn new_list() -> Result<Self> {
        let id = Digest::from_sha256(&random::bytes::<32>()?);
        let created = Timestamp::now().rfc3339_nanos();
        let raw = format!(
            r#"{{"created":"{created}","architecture":"","os":"","rootfs":{{"type":"layers","diff_ids":[]}}}}"#
        );
        let list = ImageList::default();
        let mut record = Self::new(raw, list.document(Format::Oci)?, Vec::new())?;
        record.id = id;
        record.list = Some(list);
        record.settle()?;
        Ok(record)
    }

    /// Writes manifest and size of a list anew after a change.
    ///
    /// # Errors
    /// As [`ImageList::document`].
    pub fn settle(&mut self) -> Result<()> {
        if let Some(list) = &self.list {
            let document = list.document(Format::Oci)?;
            self.size = document.raw.len() as u64;
            self.manifests = vec![document];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::manifest::DescriptorPlatform;

    fn member(text: &str, architecture: &str) -> Member {
        let config = r#"{"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let raw = format!(
            r#"{{"schemaVersion":2,"annotations":{{"a":"{text}"}},"config":{{"digest":"{}","size":1}},"layers":[]}}"#,
            Digest::sha256_of(config.as_bytes())
        );
        let digest = Digest::sha256_of(raw.as_bytes());
        let mut descriptor = Descriptor::new(media::OCI_MANIFEST, digest.clone(), raw.len() as u64);
        descriptor.platform = Some(DescriptorPlatform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            ..DescriptorPlatform::default()
        });
        Member {
            descriptor,
            manifest: StoredManifest {
                digest,
                media_type: media::OCI_MANIFEST.to_owned(),
                raw,
            },
            config: Some(config.to_owned()),
            source: None,
        }
    }

    #[test]
    fn lists_keep_their_id_and_choose_by_platform() {
        let mut record = ImageRecord::new_list().unwrap();
        let empty = record.manifest_digest().cloned();
        let list = record.list.as_mut().unwrap();
        list.put(member("x", "amd64"));
        list.put(member("y", "arm64"));
        list.put(member("x", "amd64"));
        assert_eq!(list.members.len(), 2);
        let mut changed = list.clone();
        changed.replace(vec![member("z", "arm64")]);
        let digests = |l: &ImageList| -> Vec<Digest> {
            let members = l.members.iter();
            members.map(|m| m.descriptor.digest.clone()).collect()
        };
        let (x, z) = (member("x", "amd64"), member("z", "arm64"));
        assert_eq!(
            digests(&changed),
            [x.descriptor.digest, z.descriptor.digest]
        );
        let arm = "linux/arm64".parse().unwrap();
        let chosen = list.choose(&arm).unwrap();
        assert_eq!(chosen.descriptor, member("y", "arm64").descriptor);
        assert!(chosen.record().unwrap().layers.is_empty());
        assert!(list.choose(&"linux/riscv64".parse().unwrap()).is_err());
        let docker = list.document(Format::Docker).unwrap();
        assert!(docker.raw.contains("manifest.list.v2"));
        let id = record.id.clone();
        record.settle().unwrap();
        assert_ne!(record.manifest_digest().cloned(), empty);
        assert_eq!(record.id, id);
        let back = ImageRecord::from_json(&record.to_json().unwrap(), "x").unwrap();
        assert_eq!(back, record);
        assert_eq!(record.flaw(), None);
    }
}
