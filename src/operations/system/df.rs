//! `system df`: what weighs how much, and what of it nobody uses.

use std::collections::BTreeMap;

use crate::base::Result;
use crate::base::filter::Filters;
use crate::image::filter::Listed;
use crate::operations::container::list::sizes;
use crate::operations::container::summary::Summary;
use crate::operations::session::Session;
use crate::operations::{image, volume};
use crate::spec::digest::Digest;
use crate::state::container::Containers;
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
    /// Layers of images, each once.
    pub layers: u64,
    /// Layers that only images without a container need.
    pub layers_reclaimable: u64,
}

/// An image.
#[derive(Debug)]
pub struct ImageUsage {
    /// What the records say.
    pub listed: Listed,
    /// All its layers.
    pub size: u64,
    /// Layers that no other image has.
    pub unique: u64,
}

/// A container.
#[derive(Debug)]
pub struct ContainerUsage {
    /// What the records say.
    pub summary: Summary,
    /// Its writable layer.
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
            size: self.layers,
            reclaimable: self.layers_reclaimable,
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
    let weights: BTreeMap<Digest, u64> = store
        .layer_usage()?
        .into_iter()
        .map(|l| (l.chain_id, l.bytes))
        .collect();
    let mut usage = weigh_images(image::list::list(session)?, &weights);
    let (containers, _damaged) = Containers::new(&session.dirs).list()?;
    for container in containers {
        let size = sizes(session, &container).map_or(0, |s| s.upper);
        usage.containers.push(ContainerUsage {
            summary: Summary::of(container)?,
            size,
        });
    }
    let users = volume::users(session)?;
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

fn weigh_images(images: Vec<Listed>, weights: &BTreeMap<Digest, u64>) -> Usage {
    /// Who needs a layer.
    #[derive(Default)]
    struct Need {
        images: usize,
        active: bool,
    }
    let mut needs: BTreeMap<Digest, Need> = BTreeMap::new();
    for image in &images {
        for layer in image.record.chain() {
            let need = needs.entry(layer).or_default();
            need.images += 1;
            need.active |= image.containers > 0;
        }
    }
    let weight = |layer: &Digest| weights.get(layer).copied().unwrap_or(0);
    let mut usage = Usage::default();
    for (layer, need) in &needs {
        usage.layers += weight(layer);
        if !need.active {
            usage.layers_reclaimable += weight(layer);
        }
    }
    for listed in images {
        let chain = listed.record.chain();
        let alone = |l: &&Digest| needs.get(*l).is_some_and(|n| n.images == 1);
        usage.images.push(ImageUsage {
            size: chain.iter().map(weight).sum(),
            unique: chain.iter().filter(alone).map(weight).sum(),
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
