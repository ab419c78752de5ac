//! `image trust show` and `image trust set`.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::base::{Error, Result};
use crate::cli::frame::Entry;
use crate::cli::output::{Listing, Out};
use crate::command;
use crate::operations::image::trust::{self, Line};
use crate::operations::session::Session;
use crate::registry::policy::Type;

/// `coracle image trust VERB`.
pub const VERBS: &[Entry] = &[
    command!("set", "Change whose images are trusted", SetArgs, set),
    command!("show", "Show whose images are trusted", ShowArgs, show),
];

/// Change whose images are trusted
///
/// Writes ~/.config/containers/policy.json, which then holds in place of the machine's file; root
/// writes /etc/containers/policy.json. It is asked at every pull, before anything is unpacked.
#[derive(Debug, clap::Args)]
pub struct SetArgs {
    /// File with a public key, may be given several times: any of them will do
    #[arg(short = 'f', long = "pubkeysfile", value_name = "FILE")]
    pub keys: Vec<PathBuf>,
    /// accept, reject, signedBy (GPG) or sigstoreSigned
    #[arg(
        short = 't',
        long = "type",
        value_name = "TYPE",
        default_value = "signedBy"
    )]
    pub kind: String,
    /// A registry, a repository, an image, or default
    #[arg(value_name = "SCOPE")]
    pub scope: String,
}

/// Runs `image trust set`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn set(args: SetArgs, session: &mut Session, _out: &mut Out) -> Result<u8> {
    let kind = match args.kind.as_str() {
        "accept" | "insecureAcceptAnything" => Type::InsecureAcceptAnything,
        "reject" => Type::Reject,
        "signedBy" => Type::SignedBy,
        "sigstoreSigned" => Type::SigstoreSigned,
        other => {
            return Err(Error::invalid(format!("unknown type of trust {other:?}"))
                .hint("use accept, reject, signedBy or sigstoreSigned"));
        }
    };
    trust::set(session, &args.scope, kind, &args.keys)?;
    Ok(0)
}

/// Show whose images are trusted
///
/// What policy.json says, and where registries.d has signatures. Without a file everything is
/// accepted.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// json for a machine
    #[arg(short, long)]
    pub json: bool,
    /// Leave out the headings
    #[arg(short, long)]
    pub noheading: bool,
    /// The file as it is
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
    /// Only what holds for exactly this registry or repository
    #[arg(value_name = "SCOPE")]
    pub scope: Option<String>,
}

/// Runs `image trust show`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn show(args: ShowArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.raw {
        out.text(&trust::raw(session)?)?;
        return Ok(0);
    }
    let mut lines = trust::show(session)?;
    if let Some(scope) = &args.scope {
        lines.retain(|line| line.name == *scope);
    }
    let rows: Vec<Value> = lines.iter().map(row).collect();
    let listing = Listing {
        default: "table {{.Transport}}\t{{.Name}}\t{{.Type}}\t{{.ID}}\t{{.Store}}",
        headers: &[],
        format: args.json.then_some("json"),
        no_heading: args.noheading,
        docker: &[],
    };
    listing.print(out, &rows, || lines.iter().map(object).collect())?;
    Ok(0)
}

fn row(line: &Line) -> Value {
    json!({
        "Transport": line.transport,
        "Name": line.name,
        "Type": line.kind,
        "ID": line.keys.join(", "),
        "Store": line.store.as_deref().unwrap_or_default(),
    })
}

/// podman's names.
fn object(line: &Line) -> Value {
    let mut object = json!({
        "transport": line.transport,
        "name": line.name,
        "repo_name": line.name,
        "type": line.kind,
    });
    if !line.keys.is_empty() {
        object["keys"] = json!(line.keys);
    }
    if let Some(store) = &line.store {
        object["sigstore"] = json!(store);
    }
    object
}
