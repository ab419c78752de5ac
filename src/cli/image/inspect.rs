//! `image inspect`.

use serde_json::Value;

use crate::base::{Error, Result};
use crate::cli::output::{Out, Template, docker_objects};
use crate::operations::image;
use crate::operations::session::Session;

/// Show everything about images
///
/// Prints a JSON list, or one line for each image with --format.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Go template, or json
    #[arg(short, long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Runs `image inspect`; answers the exit code.
///
/// # Errors
/// The last image that is not here; the others are shown.
pub fn run(args: InspectArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let mut values = Vec::new();
    let mut failure: Option<Error> = None;
    for text in &args.images {
        match image::lookup(session, text)
            .and_then(|found| image::inspect::inspect(session, &found.record))
        {
            Ok(value) => values.push(value),
            Err(e) => {
                if let Some(previous) = failure.replace(e) {
                    out.error(&previous);
                }
            }
        }
    }
    if out.is_docker() {
        values = values.into_iter().map(docker_objects::object).collect();
    }
    match args.format.as_deref() {
        None | Some("json") => out.json(&Value::Array(values))?,
        Some(format) => {
            let template = Template::parse(format)?;
            for value in &values {
                out.line(template.render(value)?)?;
            }
        }
    }
    failure.map_or(Ok(0), Err)
}
