//! `manifest add`.

use std::path::PathBuf;

use super::DescribeArgs;
use crate::base::{Error, Result};
use crate::cli::image::args::RegistryArgs;
use crate::cli::output::Out;
use crate::operations::image::manifest::{self, Addition, ArtifactSpec};
use crate::operations::session::Session;

/// Add an image, or files as an artifact, to a list
///
/// The image is one here, or in a registry (docker://NAME). Prints the list's id.
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// Of a list add all members
    #[arg(long)]
    pub all: bool,
    /// What the list says of it
    #[command(flatten)]
    pub describe: DescribeArgs,
    /// The rest of the words are files, to be added as an artifact
    #[arg(long)]
    pub artifact: bool,
    /// File with the artifact's configuration
    #[arg(long, value_name = "FILE", requires = "artifact")]
    pub artifact_config: Option<PathBuf>,
    /// Media type of the artifact's configuration
    #[arg(long, value_name = "TYPE", requires = "artifact")]
    pub artifact_config_type: Option<String>,
    /// Do not write the files' names into the artifact
    #[arg(long, requires = "artifact")]
    pub artifact_exclude_titles: bool,
    /// Media type of the files; the default is what their content tells
    #[arg(long, value_name = "TYPE", requires = "artifact")]
    pub artifact_layer_type: Option<String>,
    /// Image that the artifact is about
    #[arg(long, value_name = "IMAGE", requires = "artifact")]
    pub artifact_subject: Option<String>,
    /// Type of the artifact
    #[arg(long, value_name = "TYPE", requires = "artifact")]
    pub artifact_type: Option<String>,
    /// How to talk to registries
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// The list
    #[arg(value_name = "LIST")]
    pub list: String,
    /// The image, or the files
    #[arg(value_name = "IMAGE|FILE", required = true)]
    pub what: Vec<String>,
}

/// Runs `manifest add`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: AddArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let registry = args.registry.options()?;
    let additions = if args.artifact {
        let subject = match &args.artifact_subject {
            None => None,
            Some(text) => Some(manifest::descriptor_of(session, text, &registry)?),
        };
        let spec = ArtifactSpec {
            kind: args.artifact_type,
            config: args.artifact_config,
            config_type: args.artifact_config_type,
            layer_type: args.artifact_layer_type,
            exclude_titles: args.artifact_exclude_titles,
            subject,
            ..ArtifactSpec::default()
        };
        vec![Addition::Files(
            args.what.iter().map(PathBuf::from).collect(),
            Box::new(spec),
        )]
    } else {
        args.what.into_iter().map(Addition::Image).collect()
    };
    let describe = args.describe.describe()?;
    if additions.len() > 1 && !describe.is_empty() {
        return Err(Error::invalid(
            "options that describe a member are for one image only",
        ));
    }
    let mut id = None;
    for what in &additions {
        let added = manifest::add(session, &args.list, what, args.all, &describe, &registry)?;
        id = Some(added.0);
    }
    if let Some(id) = id {
        out.line(id.hex())?;
    }
    Ok(0)
}
