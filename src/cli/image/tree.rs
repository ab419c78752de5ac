//! `image tree`.

use crate::base::{Result, size};
use crate::cli::output::Out;
use crate::operations::image;
use crate::operations::session::Session;

/// Show the layers of an image
#[derive(Debug, clap::Args)]
pub struct TreeArgs {
    /// Show the images that are built on this one in place of its layers
    #[arg(long)]
    pub whatrequires: bool,
    /// Name or id
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// Runs `image tree`; answers the exit code.
///
/// # Errors
/// As the lookup.
pub fn run(args: TreeArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let found = image::lookup(session, &args.image)?;
    let tags: Vec<String> = image::images(session)
        .names()?
        .tags_of(&found.record.id)
        .map(ToString::to_string)
        .collect();
    out.line(format!("Image ID: {}", found.record.id.short()))?;
    out.line(format!("Tags:     [{}]", tags.join(" ")))?;
    out.line(format!("Size:     {}", size::human(found.record.size)))?;
    if args.whatrequires {
        out.line("Images that require it")?;
        for child in image::inspect::requiring(session, &found.record)? {
            out.line(format!(
                "{}└── ID: {} Size: {} [{}]",
                "    ".repeat(child.depth),
                child.id.short(),
                size::human(child.size),
                child.names.join(" ")
            ))?;
        }
        return Ok(0);
    }
    let layers = image::inspect::tree(session, &found.record)?;
    out.line("Image Layers")?;
    for (at, layer) in layers.iter().enumerate() {
        let branch = if at + 1 == layers.len() {
            "└──"
        } else {
            "├──"
        };
        let mut line = format!(
            "{branch} ID: {} Size: {}",
            &layer.id[..12],
            size::human(layer.size)
        );
        if !layer.top_of.is_empty() {
            line = format!("{line} Top Layer of: [{}]", layer.top_of.join(" "));
        }
        out.line(line)?;
    }
    Ok(0)
}
