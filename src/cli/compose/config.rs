//! `compose config`.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::{Value, json};

use super::project::ProjectFlags;
use crate::base::{Context as _, Error, Hint as _, Result};
use crate::cli::output::Out;
use crate::compose::interpolate::Scope;
use crate::compose::project::{Project, sorted};
use crate::compose::{convert, schema};
use crate::operations::session::Session;

/// Print the project as it was understood
///
/// All files merged, variables replaced, short forms made long: what `up` goes by.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// yaml or json
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only see whether it is right
    #[arg(short, long)]
    quiet: bool,
    /// Leave variables as they are
    #[arg(long)]
    no_interpolate: bool,
    /// Leave variables of containers as they are
    #[arg(long)]
    no_env_resolution: bool,
    /// Print the services
    #[arg(long)]
    services: bool,
    /// Print the volumes
    #[arg(long)]
    volumes: bool,
    /// Print the networks
    #[arg(long)]
    networks: bool,
    /// Print the images
    #[arg(long)]
    images: bool,
    /// Print the profiles
    #[arg(long)]
    profiles: bool,
    /// Print the hash of a service, or of all with *
    #[arg(long, value_name = "SERVICE")]
    hash: Option<String>,
    /// Print the variables that files may mention
    #[arg(long)]
    environment: bool,
    /// Print the variables that the files mention
    #[arg(long)]
    variables: bool,
    /// Name images with the digests that they have here
    #[arg(long)]
    resolve_image_digests: bool,
    /// List the keys that have no effect, each with the reason
    #[arg(long)]
    lossy: bool,
    /// Write to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<std::path::PathBuf>,
    /// Services
    #[arg(value_name = "SERVICE")]
    names: Vec<String>,
}

/// Runs `compose config`.
///
/// # Errors
/// As reading the project.
pub fn run(args: ConfigArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let interpolate = !args.no_interpolate && !args.variables;
    let resolve = !args.no_env_resolution && interpolate;
    let mut flags = args.project.clone();
    if args.profiles || args.variables {
        flags.profile = vec!["*".to_owned()];
    }
    let mut project = flags.load_with(session, &args.names, interpolate, resolve)?;
    if !args.names.is_empty() {
        let keep: BTreeSet<String> = project.order(&args.names, true)?.into_iter().collect();
        if let Some(Value::Object(services)) = project.model.get_mut("services") {
            services.retain(|name, _| keep.contains(name));
        }
    }
    if !args.quiet {
        for notice in project.notices.iter().filter(|_| !args.lossy) {
            out.warn(notice);
        }
    }
    if args.resolve_image_digests {
        resolve_digests(session, &mut project)?;
    }
    let text = match listed(&args, &project)? {
        Some(lines) => lines,
        None if args.quiet => return Ok(0),
        None => {
            let value = project.canonical();
            match args.format.as_deref() {
                Some("json") => format!("{}\n", crate::cli::output::json::indented(&value)),
                None | Some("yaml" | "") => {
                    serde_yaml::to_string(&value).map_err(|e| Error::internal(e.to_string()))?
                }
                Some(other) => {
                    return Err(Error::invalid(format!("unknown format {other:?}"))
                        .hint("use yaml or json"));
                }
            }
        }
    };
    match &args.output {
        Some(path) => {
            std::fs::write(path, text).what(|| format!("cannot write {}", path.display()))?;
        }
        None => out.text(&text)?,
    }
    Ok(0)
}

/// What one of the flags that list something prints.
fn listed(args: &ConfigArgs, project: &Project) -> Result<Option<String>> {
    let mut lines: Vec<String> = Vec::new();
    let keys =
        |noun: &str| -> Vec<String> { project.objects(noun).map(|(k, _)| k.clone()).collect() };
    if args.services {
        lines = project.order(&[], true)?;
    } else if args.volumes {
        lines = keys("volumes");
    } else if args.networks {
        lines = keys("networks");
    } else if args.images {
        lines = project
            .services()
            .map(|(n, k)| project.image(n, k))
            .collect();
    } else if args.profiles {
        let all: BTreeSet<String> = project
            .services()
            .flat_map(|(_, k)| convert::texts(k.get("profiles")))
            .collect();
        lines = all.into_iter().collect();
    } else if let Some(wanted) = &args.hash {
        let names: Vec<&str> = wanted.split(',').collect();
        for (name, keys) in project.services() {
            if wanted == "*" || names.contains(&name.as_str()) {
                lines.push(format!("{name} {}", Project::hash(keys)));
            }
        }
        for name in names.into_iter().filter(|n| *n != "*") {
            project.service(name)?;
        }
    } else if args.environment {
        lines = project
            .env
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
    } else if args.variables {
        lines = variables(&project.model)?;
    } else if args.lossy {
        lines = schema::lost(&project.model)
            .into_iter()
            .map(|l| format!("{}: {}", l.path, l.why))
            .collect();
        for (name, keys) in project.services() {
            let wish = convert::Wish {
                name: project.container_name(name, keys, 1),
                number: 1,
                others: project
                    .services()
                    .map(|(n, k)| (n.clone(), project.container_name(n, k, 1)))
                    .collect(),
                ..convert::Wish::default()
            };
            if let Ok(words) = convert::create(project, name, keys, &wish) {
                lines.extend(words.notices.iter().map(|n| format!("services.{name}.{n}")));
            }
        }
    } else {
        return Ok(None);
    }
    Ok(Some(lines.into_iter().map(|l| l + "\n").collect()))
}

/// The variables of the files: name, whether it must be given, default, alternative.
fn variables(model: &Value) -> Result<Vec<String>> {
    let lookup = |_: &str| Some("x".to_owned());
    let scope = Scope::new(&lookup);
    scope.value(sorted(model), "")?;
    let mut text = "NAME\tREQUIRED\tDEFAULT VALUE\tALTERNATE VALUE\n".to_owned();
    for (name, met) in scope.met.into_inner() {
        text.push_str(&format!(
            "{name}\t{}\t{}\t{}\n",
            met.required,
            met.default.unwrap_or_default(),
            met.alternate.unwrap_or_default()
        ));
    }
    let aligned = crate::cli::output::table::align(&text, 10, 3);
    Ok(aligned.lines().map(|l| l.trim_end().to_owned()).collect())
}

/// Puts the digest of the image that is here behind every image's name.
fn resolve_digests(session: &Session, project: &mut Project) -> Result<()> {
    let services = project
        .model
        .get_mut("services")
        .and_then(Value::as_object_mut);
    for keys in services.into_iter().flat_map(|s| s.values_mut()) {
        let Some(image) = keys.get("image").and_then(schema::text) else {
            continue;
        };
        if !image.contains('@') {
            let found = crate::operations::image::lookup(session, &image)
                .hint(|| "coracle compose pull fetches what is missing")?;
            if let Some(digest) = found.record.manifest_digest() {
                keys["image"] = json!(format!("{image}@{digest}"));
            }
        }
    }
    Ok(())
}
