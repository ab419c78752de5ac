//! `artifact ls`.

use serde_json::{Value, json};

use crate::base::time::human_duration;
use crate::base::{Result, size};
use crate::cli::output::{Listing, Out};
use crate::operations::image;
use crate::operations::session::Session;

/// List artifacts
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// Print by a Go template, or `json`
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Do not shorten digests
    #[arg(long)]
    pub no_trunc: bool,
    /// Print no heading
    #[arg(short, long)]
    pub noheading: bool,
}

/// Runs `artifact ls`; answers the exit code.
///
/// # Errors
/// Damaged records; a malformed template.
pub fn run(args: LsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let mut rows = Vec::new();
    for record in image::images(session).artifacts()? {
        let name = record.reference()?;
        let bytes = image::artifact::size(&record)?;
        let digest = record.digest();
        rows.push(json!({
            "Repository": name.name(),
            "Tag": name.tag().unwrap_or_default(),
            "Digest": if args.no_trunc { digest.hex() } else { digest.short() },
            "Created": format!("{} ago", human_duration(record.stored.elapsed())),
            "Size": size::human(bytes),
            "VirtualSize": bytes,
        }));
    }
    Listing {
        default: "table {{.Repository}} {{.Tag}} {{.Digest}} {{.Created}} {{.Size}}",
        headers: &[],
        format: args.format.as_deref(),
        no_heading: args.noheading,
        docker: &[],
    }
    .print(out, &rows, || Value::Array(rows.clone()))?;
    Ok(0)
}
