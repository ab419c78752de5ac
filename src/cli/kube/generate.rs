//! `kube generate`.

use std::path::PathBuf;

use crate::base::fs::{self as files, Durability};
use crate::base::{Error, Kind, Result};
use crate::cli::output::Out;
use crate::operations::kube::generate::{self as operation, Request, Wrap};
use crate::operations::session::Session;

/// Write manifests of pods, containers and volumes
#[derive(Debug, clap::Args)]
pub struct GenerateArgs {
    /// Write to a file that must not exist
    #[arg(short, long, value_name = "FILE")]
    filename: Option<PathBuf>,
    /// How many replicas a Deployment has
    #[arg(short, long, value_name = "N")]
    replicas: Option<u32>,
    /// Write a Service, too
    #[arg(short, long)]
    service: bool,
    /// Kind: pod, deployment, daemonset or job
    #[arg(short = 't', long = "type", value_name = "KIND", default_value = "pod")]
    kind: String,
    /// Pods, containers or volumes
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Runs `kube generate`.
///
/// # Errors
/// What the operation says; `Exists` when the file is there.
pub fn run(args: GenerateArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let wrap = match args.kind.to_ascii_lowercase().as_str() {
        "pod" => Wrap::Pod,
        "deployment" => Wrap::Deployment,
        "daemonset" => Wrap::DaemonSet,
        "job" => Wrap::Job,
        other => {
            return Err(Error::invalid(format!("cannot write the kind {other:?}"))
                .hint("use pod, deployment, daemonset or job"));
        }
    };
    let request = Request {
        names: args.names,
        wrap,
        replicas: args.replicas,
        service: args.service,
    };
    let (objects, notices) = operation::generate(session, &request)?;
    for notice in &notices {
        out.warn(notice);
    }
    let text = operation::yaml(&objects)?;
    let Some(file) = args.filename else {
        out.text(&text)?;
        return Ok(0);
    };
    if file.exists() {
        return Err(Error::new(
            Kind::Exists,
            format!("cannot write to {}: it exists", file.display()),
        ));
    }
    files::replace(&file, text.as_bytes(), 0o644, Durability::Volatile)?;
    Ok(0)
}
