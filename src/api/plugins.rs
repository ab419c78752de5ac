//! `/plugins/…`: there are none, and none can be installed.

use serde_json::json;

use super::Cx;
use super::conn::Conn;
use crate::base::{Error, Result};

/// Answers; false for a route that there is not.
///
/// # Errors
/// `NotFound` for every plugin that is named, `Unsupported` for one that is to be installed.
pub fn route(cx: &Cx<'_>, conn: &mut Conn, path: &[&str]) -> Result<bool> {
    match (cx.method(), path) {
        ("GET", []) => conn.json(200, &json!([]))?,
        ("GET", ["privileges"]) | ("POST", ["pull" | "create"]) => {
            return Err(Error::unsupported(
                "plugins are programs that Docker's daemon runs: there is no daemon here, and they are not supported",
            ));
        }
        ("GET", [name @ .., "json"])
        | ("DELETE", name @ [_, ..])
        | ("POST", [name @ .., "enable" | "disable" | "upgrade" | "push" | "set"])
            if !name.is_empty() =>
        {
            let name = name.join("/");
            return Err(Error::not_found(format!("plugin {name:?} not found")));
        }
        _ => return Ok(false),
    }
    Ok(true)
}
