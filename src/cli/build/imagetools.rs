//! `buildx imagetools`.

use serde_json::Value;

use crate::base::{Error, Result};
use crate::cli::args::pairs;
use crate::cli::frame::Entry;
use crate::cli::image::args::RegistryArgs;
use crate::cli::output::{Out, template};
use crate::command;
use crate::operations::build::imagetools as operation;
use crate::operations::session::Session;
use crate::spec::manifest::Document;
use crate::spec::reference::Reference;

/// Below `buildx imagetools`.
pub const NOUN: &[Entry] = &[
    command!(
        "inspect",
        "Show an image or index at its registry",
        InspectArgs,
        inspect
    ),
    command!(
        "create",
        "Make an index of images at registries",
        CreateArgs,
        create
    ),
];

/// Show an image or index at its registry
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// The bytes as they are
    #[arg(long)]
    pub raw: bool,
    /// Print by a Go template; {{json .Manifest}} is all
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "raw")]
    pub format: Option<String>,
    /// How to talk to registries
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Accepted for buildx's sake: there is one builder
    #[arg(long, value_name = "NAME", hide = true)]
    pub builder: Option<String>,
    /// The name
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Runs `inspect`; answers the exit code.
///
/// # Errors
/// What the registry says.
pub fn inspect(args: InspectArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let seen = operation::inspect(session, &args.name, &args.registry.options()?)?;
    if args.raw {
        out.text(&seen.stored.raw)?;
        return Ok(0);
    }
    if let Some(text) = &args.format {
        let mut manifest: Value = serde_json::from_str(&seen.stored.raw).unwrap_or_default();
        manifest["mediaType"] = seen.stored.media_type.as_str().into();
        manifest["digest"] = seen.stored.digest.to_string().into();
        manifest["size"] = seen.stored.raw.len().into();
        let value = serde_json::json!({ "Name": seen.name.to_string(), "Manifest": manifest });
        let line = template::Template::parse(text)?.render(&value)?;
        out.line(line)?;
        return Ok(0);
    }
    out.line(format!("Name:      {}", seen.name))?;
    out.line(format!("MediaType: {}", seen.stored.media_type))?;
    out.line(format!("Digest:    {}", seen.stored.digest))?;
    if let Document::Index(index) = &seen.document {
        out.line("\nManifests:")?;
        for member in &index.manifests {
            out.line(format!("  Name:        {}@{}", seen.name, member.digest))?;
            out.line(format!("  MediaType:   {}", member.media_type))?;
            if let Some(platform) = &member.platform {
                out.line(format!("  Platform:    {}", platform.normalized()))?;
            }
            if !member.annotations.is_empty() {
                out.line("  Annotations:")?;
                for (key, value) in &member.annotations {
                    out.line(format!("    {key}: {value}"))?;
                }
            }
            out.line("")?;
        }
    }
    Ok(0)
}

/// Make an index of images at registries
///
/// Sources are images or indexes; blobs that the new name's repository lacks are copied there. One
/// source alone is copied as it is.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Name of the index
    #[arg(short, long, value_name = "NAME")]
    pub tag: Vec<String>,
    /// Add to what the first name stands for
    #[arg(long)]
    pub append: bool,
    /// Print the index and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Annotation of the index
    #[arg(long, value_name = "KEY=VALUE")]
    pub annotation: Vec<String>,
    /// How to talk to registries
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Accepted for buildx's sake: there is one builder
    #[arg(long, value_name = "NAME", hide = true)]
    pub builder: Option<String>,
    /// Accepted for buildx's sake
    #[arg(long, value_name = "FORM", hide = true)]
    pub progress: Option<String>,
    /// What goes into it
    #[arg(value_name = "SOURCE", required = true)]
    pub sources: Vec<String>,
}

/// Runs `create`; answers the exit code.
///
/// # Errors
/// `Invalid` without a name; what registries say.
pub fn create(args: CreateArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.tag.is_empty() && !args.dry_run {
        return Err(Error::invalid("the index has no name").hint("name it: --tag NAME"));
    }
    let names = args
        .tag
        .iter()
        .map(|name| Reference::parse_normalized(name));
    let strip = |(key, value): (String, String)| match key.strip_prefix("index:") {
        Some(key) => (key.to_owned(), value),
        None => (key, value),
    };
    let made = operation::create(
        session,
        &operation::Create {
            sources: args.sources,
            names: names.collect::<Result<Vec<_>>>()?,
            append: args.append,
            dry_run: args.dry_run,
            annotations: pairs("annotation", &args.annotation)?
                .into_iter()
                .map(strip)
                .collect(),
            registry: args.registry.options()?,
        },
    )?;
    if args.dry_run {
        out.line(made.raw)?;
    }
    Ok(0)
}
