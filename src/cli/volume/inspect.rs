//! `volume inspect`.

use serde_json::{Value, json};

use super::super::output::{Out, docker_objects, listing};
use crate::base::filter::Filters;
use crate::base::{Error, Result};
use crate::operations::session::Session;
use crate::operations::volume::{self, VolumeRecord};

/// Show everything about volumes
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Show all volumes
    #[arg(short, long)]
    all: bool,
    /// Print by a Go template, or `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Names
    #[arg(value_name = "VOLUME")]
    volumes: Vec<String>,
}

/// Runs `volume inspect`.
///
/// # Errors
/// `Invalid` without a volume. One that is missing is reported, the others are shown; the exit code is
/// then 125.
pub fn run(args: InspectArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let mut code = 0;
    let mut values = Vec::new();
    match (args.all, args.volumes.is_empty()) {
        (true, true) => {
            for record in volume::list(session, &Filters::default())? {
                values.push(value(session, &record));
            }
        }
        (false, false) => {
            for name in &args.volumes {
                match volume::find(session, name) {
                    Ok(record) => values.push(value(session, &record)),
                    Err(e) => {
                        out.error(&e);
                        code = 125;
                    }
                }
            }
        }
        (true, false) => return Err(Error::invalid("--all and names exclude each other")),
        (false, true) => return Err(Error::invalid("name at least one volume, or give --all")),
    }
    if out.is_docker() {
        values = values.into_iter().map(docker_objects::object).collect();
        code = code.min(1);
    }
    match args.format.as_deref() {
        Some(format) if !listing::is_json(format) => {
            for value in &values {
                listing::print_object(out, Some(format), value)?;
            }
        }
        _ => out.json(&Value::Array(values))?,
    }
    Ok(code)
}

/// podman's object, which has docker's fields under the same names.
pub(crate) fn value(session: &Session, record: &VolumeRecord) -> Value {
    json!({
        "Name": record.name.as_str(),
        "Driver": record.driver,
        "Mountpoint": volume::mount_point(session, record),
        "CreatedAt": record.created.rfc3339(),
        "Labels": record.labels,
        "Scope": "local",
        "Options": record.options,
        "Anonymous": record.anonymous,
        "MountCount": 0,
        "NeedsCopyUp": !record.used,
        "NeedsChown": false,
    })
}
