//! `/volumes/…`.

use serde_json::{Value, json};

use super::Cx;
use super::conn::Conn;
use super::networks::pairs;
use crate::base::filter::Filters;
use crate::base::{Error, Kind, Result};
use crate::cli::output::docker_objects;
use crate::cli::volume::inspect::value;
use crate::operations::volume::{self, VolumeRecord};
use crate::storage::volume::VolumeSpec;

/// Answers; false for a route that there is not.
///
/// # Errors
/// What the operation says.
pub fn route(cx: &Cx<'_>, conn: &mut Conn, path: &[&str]) -> Result<bool> {
    let session = cx.session;
    let object = |record: &VolumeRecord| match cx.libpod {
        true => value(session, record),
        false => docker_objects::object(value(session, record)),
    };
    let find = |name: &str| {
        volume::find(session, name).map_err(|e| match e.kind() {
            Kind::NotFound => Error::not_found(format!("get {name}: no such volume")),
            _ => e,
        })
    };
    match (cx.method(), path) {
        ("GET", [] | ["json"]) => {
            let words = cx.filters()?;
            let filters = Filters::parse(&words, volume::FILTERS)?;
            let list = volume::list(session, &filters)?;
            let list: Vec<Value> = list.iter().map(object).collect();
            let value = match cx.libpod {
                true => Value::Array(list),
                false => json!({"Volumes": list, "Warnings": null}),
            };
            conn.json(200, &value)?;
        }
        ("POST", ["create"]) => {
            let body = cx.body(conn)?;
            let text = |field: &str| {
                body[field]
                    .as_str()
                    .filter(|t| !t.is_empty())
                    .map(str::to_owned)
            };
            let option = if cx.libpod { "Options" } else { "DriverOpts" };
            let spec = VolumeSpec {
                name: text("Name"),
                driver: text("Driver"),
                labels: match cx.libpod && !body["Label"].is_null() {
                    true => pairs(&body, "Label"),
                    false => pairs(&body, "Labels"),
                },
                options: pairs(&body, option),
                anonymous: text("Name").is_none(),
            };
            // Docker answers with the one that is there.
            let record = volume::create(session, &spec, !cx.libpod)?;
            conn.json(201, &object(&record))?;
        }
        ("POST", ["prune"]) => {
            let filters = Filters::parse(&cx.filters()?, volume::PRUNE_FILTERS)?;
            let all = cx.libpod || filters.values("all").any(|v| matches!(v, "true" | "1"));
            let pruned = volume::prune(session, all, &filters)?;
            let value = match cx.libpod {
                true => pruned
                    .names
                    .iter()
                    .map(|n| json!({"Id": n, "Err": null, "Size": 0}))
                    .collect(),
                false => json!({"VolumesDeleted": pruned.names, "SpaceReclaimed": pruned.bytes}),
            };
            conn.json(200, &value)?;
        }
        ("GET", [name, "exists"]) if cx.libpod => {
            find(name)?;
            conn.empty(204)?;
        }
        ("GET", [name] | [name, "json"]) => conn.json(200, &object(&find(name)?))?,
        // Docker has volumes that can be changed in swarms only.
        ("PUT", [_]) if !cx.libpod => conn.json(503, &json!({"message": super::NO_SWARM}))?,
        ("DELETE", [name]) => {
            let force = cx.head.flag("force");
            match find(name).and_then(|_| volume::remove(session, name, cx.libpod && force, None)) {
                // With force, one that is not there is no error; one in use always is.
                Err(e) if force && e.kind() == Kind::NotFound => {}
                other => drop(other?),
            }
            conn.empty(204)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}
