//! `pod inspect`.

use crate::base::Result;
use crate::cli::output::{Out, listing};
use crate::operations::pod::inspect::value;
use crate::operations::pod::list::PodSummary;
use crate::operations::pod::select::Selection;
use crate::operations::session::Session;

/// Show everything about pods
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Print by a Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// The newest pod
    #[arg(short, long)]
    latest: bool,
    /// Names or ids
    #[arg(value_name = "POD")]
    pods: Vec<String>,
}

/// Runs `pod inspect`.
///
/// # Errors
/// `NotFound`, after the found ones are printed; what the template says.
pub fn run(args: InspectArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let selection = Selection {
        names: args.pods,
        latest: args.latest,
        ..Selection::default()
    };
    let (mut values, mut failed) = (Vec::new(), None);
    for found in selection.resolve(session)? {
        match found.and_then(|pod| PodSummary::of(session, pod)) {
            Ok(pod) => values.push(value(&pod)),
            Err(e) => failed = Some(e),
        }
    }
    if args.format.is_some() {
        for value in &values {
            listing::print_object(out, args.format.as_deref(), value)?;
        }
    } else {
        out.json(&values.into())?;
    }
    failed.map_or(Ok(0), Err)
}
