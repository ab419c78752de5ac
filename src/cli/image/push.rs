//! `push`.

use std::sync::Arc;

use crate::base::progress::Silent;
use crate::base::{Error, Result};
use crate::cli::output::Out;
use crate::config::containers_conf;
use crate::image::manifest::Format;
use crate::operations::image::compress::Wanted;
use crate::operations::image::push;
use crate::operations::session::Session;
use crate::storage::chunked::write::Form;
use crate::storage::codec::Compression;

use super::args::{PushedArgs, RegistryArgs, RetryArgs};

/// Give an image to a registry
///
/// Without a destination it goes to the registry of its own name. Layers go as they came, so that
/// digests stay; --compression-format compresses them anew.
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// Push every tag of the repository that is here
    #[arg(short, long, conflicts_with = "destination")]
    pub all_tags: bool,
    /// How to talk to registries
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// How often to try
    #[command(flatten)]
    pub retry: RetryArgs,
    /// Compress plain layers with gzip, for dir:PATH
    #[arg(long)]
    pub compress: bool,
    /// gzip, zstd, zstd:chunked, estargz or none
    #[arg(long, alias = "compression", value_name = "FORMAT")]
    pub compression_format: Option<String>,
    /// Level, 1 to 9 for gzip, 1 to 22 for zstd
    #[arg(long, value_name = "N")]
    pub compression_level: Option<i32>,
    /// What is done with the manifest that was pushed
    #[command(flatten)]
    pub pushed: PushedArgs,
    /// Accepted for docker's sake; signatures of that kind do not exist any more
    #[arg(long, hide = true)]
    pub disable_content_trust: Option<bool>,
    /// Compress anew also what has that compression
    #[arg(long)]
    pub force_compression: bool,
    /// Form of the manifest: oci or v2s2; default is the one it has
    #[arg(short, long, value_name = "FORM")]
    pub format: Option<String>,
    /// Insist on the image being for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
    /// Accepted for podman's sake: signatures are never copied
    #[arg(long, hide = true)]
    pub remove_signatures: bool,
    /// The image
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Another name, or docker-archive:PATH, oci-archive:PATH, oci:PATH, dir:PATH
    #[arg(value_name = "DESTINATION")]
    pub destination: Option<String>,
}

/// Runs `push`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: PushArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.quiet {
        session.progress = Arc::new(Silent);
    }
    let mut registry = args.registry.options()?;
    args.retry.apply(&mut registry)?;
    let format = match args.format.as_deref() {
        None => None,
        Some("oci") => Some(Format::Oci),
        Some("v2s2" | "docker") => Some(Format::Docker),
        Some("v2s1") => {
            return Err(Error::unsupported(
                "docker's schema 1 is not written any more",
            ));
        }
        Some(other) => {
            return Err(Error::invalid(format!("invalid format {other:?}")).hint("use oci or v2s2"));
        }
    };
    let conf = &containers_conf::load()?.engine;
    let (format_wish, level) = match args.compression_format.as_deref() {
        // What the file says of gzip is what every layer has anyway.
        None => match conf.compression_format.as_deref() {
            None | Some("" | "gzip") => (None, args.compression_level),
            wish => (wish, args.compression_level.or(conf.compression_level)),
        },
        wish => (wish, args.compression_level),
    };
    let options = push::Options {
        format,
        compression: compression(format_wish, level)?,
        force_compression: args.force_compression,
        compress: args.compress,
        platform: args.platform.as_deref().map(str::parse).transpose()?,
        registry,
        signing: args.pushed.signing(),
    };
    if args.compress
        && !args
            .destination
            .as_deref()
            .is_some_and(|d| d.starts_with("dir:"))
    {
        return Err(Error::invalid("--compress is for dir:PATH only"));
    }
    if args.all_tags {
        if args.pushed.digestfile.is_some() {
            return Err(Error::invalid(
                "--digestfile and --all-tags exclude each other",
            ));
        }
        for (name, digest) in push::all_tags(session, &args.image, &options)? {
            if !args.quiet {
                out.line(format!("{name}: {digest}"))?;
            }
        }
        return Ok(0);
    }
    let digest = push::push(session, &args.image, args.destination.as_deref(), &options)?;
    args.pushed.note(&digest)?;
    if out.is_terminal() && !args.quiet {
        out.line(digest.to_string())?;
    }
    Ok(0)
}

/// What `--compression-format` and `--compression-level` say.
///
/// # Errors
/// `Invalid` for a level that does not exist; `Unsupported` for an unknown format.
pub fn compression(format: Option<&str>, level: Option<i32>) -> Result<Option<Wanted>> {
    let out_of_range = |most: i32| {
        Error::invalid(format!(
            "the compression level must be 1 to {most}, not {}",
            level.unwrap_or_default()
        ))
    };
    let gzip = || match u32::try_from(level.unwrap_or(6)) {
        Ok(level @ 1..=9) => Ok(level),
        _ => Err(out_of_range(9)),
    };
    let zstd = || match level.unwrap_or(3) {
        level @ 1..=22 => Ok(level),
        _ => Err(out_of_range(22)),
    };
    Ok(Some(match format {
        None if level.is_some() => {
            return Err(Error::invalid(
                "--compression-level needs --compression-format",
            ));
        }
        None => return Ok(None),
        Some("none") => Wanted::Stream(Compression::None),
        Some("gzip") => Wanted::Stream(Compression::Gzip(gzip()?)),
        Some("zstd") => Wanted::Stream(Compression::Zstd(zstd()?)),
        Some("zstd:chunked") => Wanted::Table(Form::Zstd(zstd()?)),
        Some("estargz") => Wanted::Table(Form::Stargz(gzip()?)),
        Some(other) => {
            return Err(
                Error::unsupported(format!("compression {other:?} is not built in"))
                    .hint("use gzip, zstd, zstd:chunked, estargz or none"),
            );
        }
    }))
}
