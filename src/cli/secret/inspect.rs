//! `secret inspect`.

use serde_json::{Value, json};

use super::super::output::{Out, listing};
use crate::base::Result;
use crate::operations::secret;
use crate::operations::session::Session;
use crate::secrets::SecretRecord;

/// Show everything about secrets
///
/// The content is shown with --showsecret only.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Print by a Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Print for people
    #[arg(long, conflicts_with = "format")]
    pretty: bool,
    /// Show the content too
    #[arg(long)]
    showsecret: bool,
    /// Names or ids
    #[arg(required = true, value_name = "SECRET")]
    secrets: Vec<String>,
}

/// Runs `secret inspect`.
///
/// # Errors
/// `NotFound`, after the found ones are printed; what the template says.
pub fn run(args: InspectArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let mut values = Vec::new();
    let mut failed = None;
    for text in &args.secrets {
        match secret::find(session, text) {
            Ok(record) => {
                let mut value = value(&record);
                if args.showsecret {
                    let data = secret::data(session, &record)?;
                    value["SecretData"] = String::from_utf8_lossy(data.expose()).into();
                }
                values.push((record, value));
            }
            Err(e) => failed = Some(e),
        }
    }
    if args.pretty {
        for (record, value) in &values {
            out.text(&pretty(record, value))?;
        }
    } else if args.format.is_some() {
        for (_, value) in &values {
            listing::print_object(out, args.format.as_deref(), value)?;
        }
    } else {
        out.json(&values.into_iter().map(|(_, v)| v).collect())?;
    }
    failed.map_or(Ok(0), Err)
}

/// podman's JSON of a secret.
pub fn value(record: &SecretRecord) -> Value {
    json!({
        "ID": record.id,
        "CreatedAt": record.created.rfc3339(),
        "UpdatedAt": record.updated.rfc3339(),
        "Spec": {
            "Name": record.name.as_str(),
            "Driver": {"Name": record.driver, "Options": record.options},
            "Labels": record.labels,
        },
    })
}

fn pretty(record: &SecretRecord, value: &Value) -> String {
    let mut text = format!(
        "ID:              {}\nName:            {}\n",
        record.id, record.name
    );
    if !record.labels.is_empty() {
        text.push_str("Labels:\n");
        for (key, value) in &record.labels {
            text.push_str(&format!(" - {key}={value}\n"));
        }
    }
    text.push_str(&format!(
        "Driver:          {}\nCreated at:      {}\nUpdated at:      {}\n",
        record.driver,
        record.created.rfc3339(),
        record.updated.rfc3339()
    ));
    if let Some(data) = value.get("SecretData").and_then(Value::as_str) {
        text.push_str(&format!("Secret data:     {data}\n"));
    }
    text
}
