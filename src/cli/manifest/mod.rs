//! Commands about manifest lists: words to requests, results to text.

use std::collections::BTreeMap;

use super::frame::Entry;
use crate::base::{Error, Result};
use crate::command;
use crate::operations::image::manifest::Describe;

pub mod add;
pub mod annotate;
pub mod create;
pub mod exists;
pub mod inspect;
pub mod push;
pub mod remove;
pub mod rm;

/// `coracle manifest VERB`.
pub const NOUN: &[Entry] = &[
    command!(
        "add",
        "Add an image, or files as an artifact, to a list",
        add::AddArgs,
        add::run
    ),
    command!(
        "annotate",
        "Change what a list says of a member",
        annotate::AnnotateArgs,
        annotate::run
    ),
    command!(
        "create",
        "Make a list of images, for several platforms",
        create::CreateArgs,
        create::run
    ),
    command!(
        "exists",
        "Tell by the exit code whether a list is here",
        exists::ExistsArgs,
        exists::run
    ),
    command!(
        "inspect",
        "Show a list, here or in a registry",
        inspect::InspectArgs,
        inspect::run
    ),
    command!(
        "push",
        "Give a list and its images to a registry",
        push::PushArgs,
        push::run
    ),
    command!(
        "remove",
        "Take a member out of a list",
        remove::RemoveArgs,
        remove::run
    ),
    command!("rm", "Remove lists", rm::RmArgs, rm::run),
];

/// What a member says of itself.
#[derive(Debug, Default, clap::Args)]
pub struct DescribeArgs {
    /// CPU architecture of the member
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// Operating system of the member
    #[arg(long, value_name = "OS")]
    pub os: Option<String>,
    /// Version of its operating system
    #[arg(long, value_name = "VERSION")]
    pub os_version: Option<String>,
    /// Features of its operating system
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    pub os_features: Vec<String>,
    /// CPU features of the member
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    pub features: Vec<String>,
    /// CPU variant of the member
    #[arg(long, value_name = "VARIANT")]
    pub variant: Option<String>,
    /// Annotation
    #[arg(long, value_name = "KEY=VALUE")]
    pub annotation: Vec<String>,
}

impl DescribeArgs {
    /// The operation's form.
    ///
    /// # Errors
    /// `Invalid` for an annotation without a value.
    pub fn describe(&self) -> Result<Describe> {
        Ok(Describe {
            architecture: self.arch.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            features: self.features.clone(),
            variant: self.variant.clone(),
            annotations: annotations(&self.annotation)?,
        })
    }
}

/// `KEY=VALUE` words.
///
/// # Errors
/// `Invalid` for one without `=` or key.
pub fn annotations(words: &[String]) -> Result<BTreeMap<String, String>> {
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(Error::invalid(format!(
                "annotation {word:?} is not KEY=VALUE"
            ))),
        })
        .collect()
}
