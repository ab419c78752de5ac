//! `auto-update`.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::base::Result;
use crate::cli::output::{Listing, Out};
use crate::operations::auto_update::{Options, Row, update};
use crate::operations::image::RegistryOptions;
use crate::operations::session::Session;

/// Start units anew whose containers have newer images
///
/// The label io.containers.autoupdate says where from: registry, or local. A unit that does not come
/// up with the new image, or whose health check fails, goes back to the old one.
#[derive(Debug, clap::Args)]
pub struct AutoUpdateArgs {
    /// Look for newer images, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Go back to the old image when the new one does not work (on by default)
    #[arg(long)]
    pub rollback: Option<bool>,
    /// Print by a Go template, or `json`
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Path of the file with credentials
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// Insist on HTTPS and valid certificates
    #[arg(long)]
    pub tls_verify: Option<bool>,
}

/// Runs `auto-update`; answers the exit code: 125 when something failed.
///
/// # Errors
/// As the operation.
pub fn run(args: AutoUpdateArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let options = Options {
        dry_run: args.dry_run,
        rollback: args.rollback.unwrap_or(true),
        registry: RegistryOptions {
            authfile: args.authfile,
            tls_verify: args.tls_verify,
            ..RegistryOptions::default()
        },
    };
    let (rows, errors) = update(session, &options)?;
    let rows: Vec<Value> = rows.iter().map(row).collect();
    Listing {
        default: "table {{.Unit}} {{.Container}} {{.Image}} {{.Policy}} {{.Updated}}",
        headers: &[],
        format: args.format.as_deref(),
        no_heading: false,
        docker: &[],
    }
    .print(out, &rows, || Value::Array(rows.clone()))?;
    errors.iter().for_each(|e| out.error(e));
    Ok(if errors.is_empty() { 0 } else { 125 })
}

fn row(row: &Row) -> Value {
    let short = row.id.get(..12).unwrap_or(&row.id);
    json!({
        "Unit": row.unit,
        "Container": format!("{short} ({})", row.name),
        "ContainerName": row.name,
        "ContainerID": row.id,
        "Image": row.image,
        "Policy": row.policy,
        "Updated": row.updated,
    })
}
