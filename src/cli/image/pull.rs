//! `pull`.

use std::sync::Arc;

use crate::base::progress::Silent;
use crate::base::{Error, Result};
use crate::cli::output::Out;
use crate::operations::image::{self, Ensure, PullPolicy};
use crate::operations::session::Session;

use super::args::{PlatformArgs, RegistryArgs, RetryArgs};

/// Bring images here
///
/// A name without a registry means Docker Hub, unless registries.conf says otherwise. Prints the
/// id of each image. A pull that was cut off goes on where it ended.
#[derive(Debug, clap::Args)]
pub struct PullArgs {
    /// Pull every tag of the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// How to talk to registries
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// How often to try
    #[command(flatten)]
    pub retry: RetryArgs,
    /// Which platform
    #[command(flatten)]
    pub platform: PlatformArgs,
    /// Accepted for docker's sake; signatures of that kind do not exist any more
    #[arg(long, hide = true)]
    pub disable_content_trust: Option<bool>,
    /// When to ask a registry: always, missing, never or newer
    #[arg(long, value_name = "POLICY", default_value = "always")]
    pub policy: String,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
    /// Names, or archives as docker-archive:PATH, oci-archive:PATH, oci:PATH, dir:PATH
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Runs `pull`; answers the exit code.
///
/// # Errors
/// The last failure; the others are reported, and the rest is pulled.
pub fn run(args: PullArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.quiet {
        session.progress = Arc::new(Silent);
    }
    let mut options = args.registry.options()?;
    args.retry.apply(&mut options)?;
    let platform = args.platform.platform()?;
    let policy: PullPolicy = args.policy.parse::<PullPolicy>()?.whole()?;
    let mut failure: Option<Error> = None;
    for name in &args.images {
        let pulled = if let Some(source) = image::archive::Location::parse(name)? {
            image::load::from_location(session, &source)
        } else {
            let name = name.strip_prefix("docker://").unwrap_or(name);
            if args.all_tags {
                image::pull::all_tags(session, name, platform.as_ref(), &options)
            } else {
                image::ensure(
                    session,
                    &Ensure {
                        keep_tag: false,
                        name,
                        policy,
                        platform: platform.as_ref(),
                        registry: &options,
                    },
                )
                .map(|found| vec![found])
            }
        };
        match pulled {
            Ok(found) => {
                for one in found {
                    out.line(one.record.id.hex())?;
                }
            }
            Err(e) => {
                if let Some(previous) = failure.replace(e) {
                    out.error(&previous);
                }
            }
        }
    }
    failure.map_or(Ok(0), Err)
}
