//! `system df`: what weighs how much, and what of it nobody uses.
//!
//! Everything is in bytes of disk blocks, as du(1) counts them, and every byte in one row only: what
//! images and the build cache share counts with the images.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::filter::Filters;
use crate::base::{Result, parallel};
use crate::image::filter::Listed;
use crate::image::manifest;
use crate::operations::build::cache::{self, Cache};
use crate::operations::container::summary::Summary;
use crate::operations::session::Session;
use crate::operations::{image, volume};
use crate::spec::digest::Digest;
use crate::state::container::Containers;
use crate::storage::gc::{Reachable, StoreUsage, disk_usage};
use crate::storage::volume::{VolumeRecord, Volumes};

/// Everything, in bytes of disk blocks.
#[derive(Debug, Default)]
pub struct Usage {
    /// Images, newest first.
    pub images: Vec<ImageUsage>,
    /// Containers.
    pub containers: Vec<ContainerUsage>,
    /// Volumes, by name.
    pub volumes: Vec<VolumeUsage>,
    /// Steps and cache mounts of builds; their `bytes` are what they hold alone.
    pub cache: Vec<cache::Usage>,
    /// Layers and blobs of images, each once, and what no image needs any more.
    pub stored: u64,
    /// What of that removing all images without a container would bring.
    pub stored_reclaimable: u64,
    /// What only the build cache holds, each once.
    pub cached: u64,
}

/// An image.
#[derive(Debug)]
pub struct ImageUsage {
    /// What the records say.
    pub listed: Listed,
    /// All its layers and blobs.
    pub size: u64,
    /// Those that no other image has.
    pub unique: u64,
}

/// A container.
#[derive(Debug)]
pub struct ContainerUsage {
    /// What the records say.
    pub summary: Summary,
    /// Its writable layer, its records and its log.
    pub size: u64,
}

/// A volume.
#[derive(Debug)]
pub struct VolumeUsage {
    /// What the record says.
    pub record: VolumeRecord,
    /// How many containers have it.
    pub links: usize,
    /// Its files.
    pub size: u64,
}

/// A line of the summary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// How many.
    pub count: usize,
    /// How many are in use.
    pub active: usize,
    /// Bytes.
    pub size: u64,
    /// Bytes that a prune would bring.
    pub reclaimable: u64,
}

impl Usage {
    /// Images.
    pub fn image_total(&self) -> Total {
        Total {
            count: self.images.len(),
            active: self
                .images
                .iter()
                .filter(|i| i.listed.containers > 0)
                .count(),
            size: self.stored,
            reclaimable: self.stored_reclaimable,
        }
    }

    /// The build cache.
    pub fn cache_total(&self) -> Total {
        let mounts = self.cache.iter().filter(|u| u.kind == "mount");
        let size = self.cached + mounts.map(|u| u.bytes).sum::<u64>();
        let busy = self.cache.iter().filter(|u| u.in_use);
        Total {
            count: self.cache.len(),
            active: busy.clone().count(),
            size,
            reclaimable: size.saturating_sub(busy.map(|u| u.bytes).sum()),
        }
    }

    /// Containers.
    pub fn container_total(&self) -> Total {
        let mut total = Total::default();
        for c in &self.containers {
            let active = c.summary.state.is_active();
            total.add(active, c.size);
        }
        total
    }

    /// Volumes.
    pub fn volume_total(&self) -> Total {
        let mut total = Total::default();
        for v in &self.volumes {
            total.add(v.links > 0, v.size);
        }
        total
    }
}

impl Total {
    fn add(&mut self, active: bool, size: u64) {
        self.count += 1;
        self.active += usize::from(active);
        self.size += size;
        if !active {
            self.reclaimable += size;
        }
    }

    /// The reclaimable share of the size, rounded to whole percent.
    pub fn percent(&self) -> u64 {
        (self.reclaimable.saturating_mul(100) + self.size / 2)
            .checked_div(self.size)
            .unwrap_or(0)
    }
}

/// Weighs everything, inside the user namespace.
///
/// # Errors
/// Damaged records; what entering the user namespace says.
pub fn df(session: &Session) -> Result<Usage> {
    let store = image::enter_store(session)?;
    let weights = store.usage()?;
    let mut cached = Reachable::default();
    Cache::new(session).reachable(&mut cached)?;
    cached.layers = store.with_parents(&cached.layers)?;
    let images = image::list::list(session)?;
    let (containers, _damaged) = Containers::new(&session.dirs).list()?;
    let held = image::remove::held_layers(session, images.iter().map(|i| &i.record), &containers);
    let users = volume::users_among(&containers);
    let mut usage = weigh(images, &weights, &cached);
    usage.cache = Cache::new(session).usage(&store, &held)?;
    let weighed = parallel::map(containers, |container| -> Result<ContainerUsage> {
        Ok(ContainerUsage {
            size: disk_usage(container.dir()),
            summary: Summary::of(container)?,
        })
    });
    usage.containers = weighed.into_iter().collect::<Result<_>>()?;
    let volumes = Volumes::new(&session.dirs);
    for record in volume::list(session, &Filters::default())? {
        usage.volumes.push(VolumeUsage {
            links: users.get(record.name.as_str()).map_or(0, Vec::len),
            size: volumes.weight(&record).unwrap_or(0),
            record,
        });
    }
    Ok(usage)
}

/// A layer, or a blob.
type Part = (bool, Digest);

/// What an image consists of: its layers, and the blobs of all its manifests.
fn parts(image: &Listed) -> BTreeSet<Part> {
    let record = &image.record;
    let layers = record.chain().into_iter().map(|chain| (true, chain));
    let blobs = record.layers.iter().map(|l| l.digest.clone());
    let others = record
        .manifests
        .iter()
        .flat_map(|m| manifest::layer_digests(&m.raw));
    layers
        .chain(blobs.chain(others).map(|blob| (false, blob)))
        .collect()
}

fn weigh(images: Vec<Listed>, weights: &StoreUsage, cached: &Reachable) -> Usage {
    /// Who needs a part.
    #[derive(Default)]
    struct Need {
        images: usize,
        active: bool,
    }
    let mut needs: BTreeMap<Part, Need> = BTreeMap::new();
    for image in &images {
        for part in parts(image) {
            let need = needs.entry(part).or_default();
            need.images += 1;
            need.active |= image.containers > 0;
        }
    }
    let weight = |(is_layer, digest): &Part| {
        let table = if *is_layer {
            &weights.layers
        } else {
            &weights.blobs
        };
        table.get(digest).copied().unwrap_or(0)
    };
    let mut usage = Usage {
        stored: weights.other,
        stored_reclaimable: weights.garbage,
        ..Usage::default()
    };
    let layers = weights.layers.keys().map(|d| (true, d.clone()));
    let blobs = weights.blobs.keys().map(|d| (false, d.clone()));
    for part in layers.chain(blobs) {
        let bytes = weight(&part);
        let in_cache = match &part {
            (true, chain) => cached.layers.contains(chain),
            (false, blob) => cached.blobs.contains(blob),
        };
        match needs.get(&part) {
            None if in_cache => usage.cached += bytes,
            need => {
                usage.stored += bytes;
                if !in_cache && !need.is_some_and(|n| n.active) {
                    usage.stored_reclaimable += bytes;
                }
            }
        }
    }
    for listed in images {
        let parts = parts(&listed);
        let alone = |part: &&Part| needs.get(*part).is_some_and(|n| n.images == 1);
        usage.images.push(ImageUsage {
            size: parts.iter().map(weight).sum(),
            unique: parts.iter().filter(alone).map(weight).sum(),
            listed,
        });
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_use_is_reclaimable() {
        let mut total = Total::default();
        total.add(true, 600);
        total.add(false, 300);
        assert_eq!(
            total,
            Total {
                count: 2,
                active: 1,
                size: 900,
                reclaimable: 300
            }
        );
        assert_eq!(total.percent(), 33);
        assert_eq!(Total::default().percent(), 0);
    }
}
