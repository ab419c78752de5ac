//! `inspect`, of any kind of object, and `container inspect`.

use serde_json::{Value, json};

use crate::base::{Error, Kind, Result};
use crate::cli::output::{Out, Template, docker_objects, listing};
use crate::operations::container::{look, select};
use crate::operations::session::Session;
use crate::operations::{image, secret};
use crate::state::container::Containers;
use crate::storage::volume::Volumes;

/// Show everything about objects
///
/// Containers first, then images, volumes and secrets, unless --type says which. Prints a JSON
/// list, or one line for each object with --format.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Go template, or json
    #[arg(short, long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// The newest container
    #[arg(short, long)]
    pub latest: bool,
    /// Add the sizes of containers
    #[arg(short, long)]
    pub size: bool,
    /// all, container, image, volume or secret
    #[arg(short = 't', long = "type", value_name = "KIND", default_value = "all")]
    pub kind: String,
    /// Names or ids
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

/// Show everything about containers
///
/// Prints a JSON list, or one line for each container with --format.
#[derive(Debug, clap::Args)]
pub struct ContainerInspectArgs {
    /// Go template, or json
    #[arg(short, long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// The newest container
    #[arg(short, long)]
    pub latest: bool,
    /// Add the sizes
    #[arg(short, long)]
    pub size: bool,
    /// Names or ids
    #[arg(value_name = "CONTAINER")]
    pub names: Vec<String>,
}

/// Runs `container inspect`; answers the exit code.
///
/// # Errors
/// As [`run`].
pub fn container(args: ContainerInspectArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let args = InspectArgs {
        format: args.format,
        latest: args.latest,
        size: args.size,
        kind: "container".to_owned(),
        names: args.names,
    };
    run(args, session, out)
}

/// Runs `inspect`; answers the exit code.
///
/// # Errors
/// The last object that is not there; the others are shown.
pub fn run(args: InspectArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let mut names = args.names.clone();
    if args.latest {
        if !names.is_empty() {
            return Err(Error::invalid("--latest takes no names"));
        }
        names.push(select::latest(session)?.id().to_string());
    }
    if names.is_empty() {
        return Err(Error::invalid("what is to be shown?").hint("coracle inspect NAME"));
    }
    let mut values = Vec::new();
    let mut failure: Option<Error> = None;
    for name in &names {
        match one(session, &args.kind, name, args.size) {
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
        None => out.json(&Value::Array(values))?,
        Some(format) if listing::is_json(format) && format.trim() == "json" => {
            out.json(&Value::Array(values))?;
        }
        Some(format) => {
            let template = Template::parse(format)?;
            for value in &values {
                out.line(template.render(value)?)?;
            }
        }
    }
    failure.map_or(Ok(0), Err)
}

fn one(session: &Session, kind: &str, name: &str, size: bool) -> Result<Value> {
    let container = || look::container(session, Containers::new(&session.dirs).find(name)?, size);
    let image = || image::inspect::inspect(session, &image::lookup(session, name)?.record);
    let volume = || volume(session, name);
    let secret = || {
        Ok(crate::cli::secret::inspect::value(&secret::find(
            session, name,
        )?))
    };
    match kind {
        "container" => container(),
        "image" => image(),
        "volume" => volume(),
        "secret" => secret(),
        "all" => {
            let ways: [&dyn Fn() -> Result<Value>; 4] = [&container, &image, &volume, &secret];
            for way in ways {
                match way() {
                    Err(e) if e.kind() == Kind::NotFound => {}
                    other => return other,
                }
            }
            Err(Error::not_found(format!("no such object: {name:?}"))
                .hint("`coracle ps -a`, `coracle images` and `coracle volume ls` list them"))
        }
        "network" | "pod" | "artifact" => {
            Err(Error::not_found(format!("no such {kind}: {name:?}")))
        }
        other => Err(Error::invalid(format!("unknown kind {other:?}"))
            .hint("use all, container, image, volume or secret")),
    }
}

/// podman's JSON of a volume.
fn volume(session: &Session, name: &str) -> Result<Value> {
    let volumes = Volumes::new(&session.dirs);
    let record = volumes.find(name)?;
    Ok(json!({
        "Name": record.name,
        "Driver": record.driver,
        "Mountpoint": volumes.data_path(&record.name),
        "CreatedAt": record.created.rfc3339(),
        "Labels": record.labels,
        "Scope": "local",
        "Options": record.options,
        "Anonymous": record.anonymous,
    }))
}
