//! What `run` and `create` ask for beyond the container's own options. Never stored.

use crate::operations::image::policy::{PullPolicy, RegistryOptions};
use crate::spec::id::ContainerId;
use crate::state::request::AttachStreams;

/// The part of `run` and `create` that is not kept in the container's record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// `--detach`.
    pub detach: bool,
    /// Which streams the command relays; all false with `--detach`.
    pub attach: AttachStreams,
    /// `--sig-proxy` (default true; false with `--tty`, where the terminal sends them).
    pub sig_proxy: bool,
    /// `--pull`.
    pub pull: PullPolicy,
    /// `--quiet`: no pull progress.
    pub quiet: bool,
    /// The id that it gets; absent means a random one.
    pub id: Option<ContainerId>,
    /// It is a thing of its own, as `create` makes it: one that is to be removed at its end is never taken
    /// for what a killed `run --rm` left.
    pub kept: bool,
    /// `--replace`: remove a container of the same name first.
    pub replace: bool,
    /// How to reach the registry of the implied pull.
    pub registry: RegistryOptions,
    /// Sentences for the person that are not errors, e.g. about a flag without effect.
    pub notices: Vec<String>,
}
