//! `commit`: a container's changes become a layer, and with the image's own an image.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::os::fd::AsFd as _;

use super::create::image_of;
use super::{events, look, pause, tree};
use crate::base::failpoint::failpoint;
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Result};
use crate::image::manifest::Format;
use crate::image::{ImageRecord, LayerRecord, change};
use crate::operations::image::{make, remove};
use crate::operations::session::Session;
use crate::runtime::userns::{Want, enter};
use crate::spec::digest::Digest;
use crate::spec::image::{Empty, History, ImageConfig};
use crate::spec::platform::Platform;
use crate::spec::reference::Reference;
use crate::state::container::{Container, State};
use crate::state::health::{Probe, merged};
use crate::storage::snapshot::{Packed, Snapshot};
use crate::storage::{Store, View};
use crate::sys::fd as descriptors;
use crate::sys::signal::{self, Set};

/// What to make.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// The image's name.
    pub name: Option<Reference>,
    /// `--author`.
    pub author: Option<String>,
    /// `--message`.
    pub message: Option<String>,
    /// `--change`, Containerfile instructions.
    pub changes: Vec<String>,
    /// `--pause`.
    pub pause: bool,
    /// `--format`.
    pub format: Format,
    /// `--squash`: everything in one layer, the base's too.
    pub squash: bool,
    /// `--include-volumes`: the volumes' paths go into the configuration.
    pub include_volumes: bool,
}

/// Makes an image of a container.
///
/// # Errors
/// `Invalid` for a change that is none; what storage says.
pub fn commit(
    session: &Session,
    container: &Container,
    options: &CommitOptions,
) -> Result<ImageRecord> {
    if container.record.options.rootfs.is_some() {
        return Err(Error::unsupported(format!(
            "container {:?} runs on a folder of the host and has no layers to commit",
            container.name()
        ))
        .hint("coracle export CONTAINER | coracle import - NAME"));
    }
    let paused = options.pause && container.state()? == State::Running;
    // A signal waits until the container runs again.
    let before = signal::block(&Set::of(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]))?;
    let committed = commit_paused(session, container, options, paused);
    signal::set_mask(&before)?;
    let record = committed?;
    events::write(session, container, "commit");
    Ok(record)
}

fn commit_paused(
    session: &Session,
    container: &Container,
    options: &CommitOptions,
    paused: bool,
) -> Result<ImageRecord> {
    if paused {
        pause::pause(session, container)?;
    }
    let made = make_image(session, container, options);
    if paused {
        let thawed = pause::unpause(session, container);
        if made.is_ok() {
            thawed?;
        }
    }
    made.what(|| format!("cannot commit container {:?}", container.name()))
}

fn make_image(
    session: &Session,
    container: &Container,
    options: &CommitOptions,
) -> Result<ImageRecord> {
    let base = image_of(session, container)?
        .ok_or_else(|| Error::internal("a container without an image"))?;
    let mut config = config(session, container, &base, options)?;
    let view = tree::view(session, container)?;
    enter(&session.dirs, Want::Default)?;
    let store = tree::store(session)?;
    let _growing = remove::growing_deaf(session)?;
    let chain = base.chain();
    let snapshot = Snapshot {
        layers: &chain,
        container_dir: container.dir(),
        view: &view,
    };
    let layer = packed_layer(&store, chain.last(), |sink| {
        store.pack_diff(&snapshot, sink)
    })?;
    failpoint("commit::layer")?;
    let mut layers = base.layers.clone();
    layers.push(layer);
    if options.squash {
        layers = vec![squashed(&store, &layers)?];
        // One layer, so one entry of the history may have one.
        let last = config.history.len().saturating_sub(1);
        config.history.drain(..last);
    }
    let names: Vec<Reference> = options.name.iter().cloned().collect();
    let parent = (!options.squash).then(|| base.id.clone());
    make::image_as(options.format, session, config, &layers, parent, &names)
}

/// Layers flattened into one.
fn squashed(store: &Store, layers: &[LayerRecord]) -> Result<LayerRecord> {
    let chain: Vec<Digest> = layers.iter().map(|l| l.chain_id.clone()).collect();
    let rootfs = store.mount_image(&chain, &View::Same, None)?;
    let owners = store.link_owners(&chain, None)?;
    packed_layer(store, None, |sink| {
        store.pack_tree(rootfs.tree.as_fd(), &View::Same, owners.as_ref(), sink)
    })
}

/// A layer on top of `parent`, of what `pack` writes: a thread packs, this one unpacks and
/// compresses; it ends with the pipe.
fn packed_layer(
    store: &Store,
    parent: Option<&Digest>,
    pack: impl FnOnce(&mut dyn Write) -> Result<Packed> + Send,
) -> Result<LayerRecord> {
    let (reading, writing) = descriptors::pipe()?;
    std::thread::scope(|scope| -> Result<_> {
        let packer = scope.spawn(|| {
            let mut sink = BufWriter::with_capacity(1 << 20, File::from(writing));
            let packed = pack(&mut sink);
            sink.flush()
                .what(|| "cannot pack the container's changes")?;
            packed
        });
        let reader = BufReader::with_capacity(1 << 20, File::from(reading));
        let layer = make::layer(store, parent, reader);
        let packed = packer
            .join()
            .unwrap_or_else(|_| Err(Error::internal("the packing thread panicked")));
        // The packer's own failure is the reason for a cut-off tar.
        packed?;
        layer
    })
}

/// The image's configuration with what the container was given.
fn config(
    session: &Session,
    container: &Container,
    base: &ImageRecord,
    options: &CommitOptions,
) -> Result<ImageConfig> {
    let created = Timestamp::now().rfc3339();
    let record = &container.record;
    let given = &record.options;
    let mut config = base.config.clone();
    let platform = Platform::host();
    if config.architecture.is_empty() {
        config.architecture = platform.architecture;
        config.os = platform.os;
    }
    config.created = Some(created.clone());
    if options.author.is_some() {
        config.author.clone_from(&options.author);
    }
    let run = &mut config.config;
    if let Some(user) = &given.user {
        run.user.clone_from(user);
    }
    if let Some(dir) = &given.workdir {
        run.working_dir.clone_from(dir);
    }
    if let Some(entrypoint) = &given.entrypoint {
        run.entrypoint = (!entrypoint.is_empty()).then(|| entrypoint.clone());
        run.cmd = None;
    }
    if !given.command.is_empty() {
        run.cmd = Some(given.command.clone());
    }
    for entry in &given.env {
        let name = entry.split('=').next().unwrap_or(entry);
        let prefix = format!("{name}=");
        run.env.retain(|e| !e.starts_with(&prefix));
        run.env.push(entry.clone());
    }
    run.labels.extend(given.labels.clone());
    for port in &given.network.expose {
        let port = if port.contains('/') {
            port.clone()
        } else {
            format!("{port}/tcp")
        };
        run.exposed_ports.insert(port, Empty {});
    }
    for port in &given.network.publish {
        for n in 0..port.range.max(1) {
            run.exposed_ports.insert(
                format!(
                    "{}/{}",
                    port.container_port.saturating_add(n),
                    port.protocol.name()
                ),
                Empty {},
            );
        }
    }
    if record.stop_signal != 0 && given.stop_signal.is_some() {
        run.stop_signal = Some(crate::base::signal::name(record.stop_signal));
    }
    // Docker's format has no word for checks over the network: those stay with the container.
    if let Some(check) = merged(given.healthcheck.as_ref(), run.healthcheck.as_ref())
        && Probe::is_for_images(&check.test)
    {
        run.healthcheck = Some(check);
    }
    if options.include_volumes {
        for volume in &record.volumes {
            run.volumes.insert(volume.destination.clone(), Empty {});
        }
    }
    for line in &options.changes {
        change::apply(run, line)?;
    }
    let process = look::spec_of(session, container)?.and_then(|s| s.process);
    let command = process.map_or_else(|| record.command.clone(), |p| p.args);
    config.history.push(History {
        created: Some(created),
        created_by: Some(command.join(" ")),
        author: options.author.clone(),
        comment: options.message.clone(),
        ..History::default()
    });
    Ok(config)
}
