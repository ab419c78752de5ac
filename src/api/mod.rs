//! Docker's interface over HTTP: what `coracle system service` answers.
//!
//! [`http`], [`fields`] and [`create`] are pure; [`conn`] speaks HTTP on one connection; [`server`] forks a process
//! for each request; the rest are the routes, which call `operations` as the commands do. What a command
//! makes of standard input or output (cp, save, build, …) is done by the command itself ([`tool`]).

pub mod archive;
pub mod build;
pub mod conn;
pub mod containers;
pub mod create;
pub mod events;
pub mod exec;
pub mod fields;
pub mod http;
pub mod images;
mod libpod;
pub mod networks;
mod places;
mod plugins;
pub mod progress;
pub mod server;
pub mod spec;
pub mod streams;
pub mod system;
pub mod tool;
pub mod volumes;
pub mod wait;
pub mod websocket;

use serde_json::{Value, json};

use crate::base::{Context as _, Error, Kind, Result};
use crate::operations::session::Session;
use conn::Conn;
use http::Head;

/// The newest version that is spoken, and the oldest.
pub const VERSION: &str = "1.50";
/// The oldest version that is spoken.
pub const OLDEST: &str = "1.24";

/// The version of podman's routes that is named to its clients.
pub const LIBPOD: &str = "5.0.0";

/// A body of JSON is no longer, bytes.
const JSON_LIMIT: u64 = 4 << 20;

/// A request on its way.
pub struct Cx<'a> {
    /// The service's own session.
    pub session: &'a Session,
    /// What is asked.
    pub head: &'a Head,
    /// Whether it is podman's own form of a route.
    pub libpod: bool,
    /// To the connection's process.
    pub line: &'a server::Line<'a>,
}

impl Cx<'_> {
    /// `GET`, ….
    pub fn method(&self) -> &str {
        &self.head.method
    }

    /// The body as JSON; an empty one is null.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn body(&self, conn: &mut Conn) -> Result<Value> {
        let bytes = conn.body(JSON_LIMIT)?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes)
            .what_kind(Kind::Invalid, || "the body of the request is no JSON")
    }

    /// `filters`, as the words of `--filter`. Docker has written it in two forms.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn filters(&self) -> Result<Vec<String>> {
        filters(self.head.given("filters").unwrap_or_default())
    }
}

fn filters(text: &str) -> Result<Vec<String>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let wrong = || Error::invalid(format!("invalid filter {text:?}"));
    let value: Value = serde_json::from_str(text).map_err(|_| wrong())?;
    let mut words = Vec::new();
    for (key, values) in value.as_object().ok_or_else(wrong)? {
        match values {
            Value::Array(list) => {
                for value in list {
                    words.push(format!("{key}={}", value.as_str().ok_or_else(wrong)?));
                }
            }
            Value::Object(map) => {
                let set = map.iter().filter(|(_, on)| **on == Value::Bool(true));
                words.extend(set.map(|(value, _)| format!("{key}={value}")));
            }
            _ => return Err(wrong()),
        }
    }
    Ok(words)
}

/// Answers a request, or says why not.
fn dispatch(cx: &Cx<'_>, conn: &mut Conn) {
    let result = admit(cx.head).and_then(|version| {
        conn.version = version;
        route(cx, conn)
    });
    let Err(error) = result else { return };
    if error.kind() == Kind::Interrupted || conn.has_begun() {
        // The client went away, or has to see by the cut that the answer is not whole.
        log::debug!("{}", error.one_line());
        conn.cut();
        return;
    }
    drop(conn.json(status(&error), &body(&error, cx.libpod)));
}

/// Whether a request may be served at all; answers the version that it speaks.
fn admit(head: &Head) -> Result<String> {
    if head.field("origin").is_some() {
        // No client of this interface is a page in a browser.
        return Err(Error::new(
            Kind::Denied,
            "requests of web pages are not served",
        ));
    }
    let Some((major, minor)) = head.version.filter(|_| !head.is_libpod()) else {
        return Ok(VERSION.to_owned());
    };
    let number = |text: &str| -> u32 {
        let minor = text.split_once('.').map(|(_, m)| m.parse());
        minor.and_then(std::result::Result::ok).unwrap_or(0)
    };
    match (major, minor) {
        (1, minor) if minor < number(OLDEST) => Err(Error::invalid(format!(
            "client version {major}.{minor} is too old. Minimum supported API version is {OLDEST}, please upgrade your client to a newer version"
        ))),
        (1, minor) if minor <= number(VERSION) => Ok(format!("1.{minor}")),
        // podman's clients put their own version before Docker's routes, too.
        (3..=5, _) => Ok(VERSION.to_owned()),
        _ => Err(Error::invalid(format!(
            "client version {major}.{minor} is too new. Maximum supported API version is {VERSION}"
        ))),
    }
}

/// The status that Docker gives to such an error.
pub fn status(error: &Error) -> u16 {
    if error.asked_exit_code() == Some(conn::TOO_LONG) {
        return 413;
    }
    match error.kind() {
        Kind::NotFound => 404,
        Kind::InUse | Kind::Exists => 409,
        Kind::Invalid => 400,
        Kind::Denied => 403,
        Kind::Unsupported => 501,
        _ => 500,
    }
}

/// `{"message": …}`; podman's clients read a cause and a response, too.
pub fn body(error: &Error, libpod: bool) -> Value {
    let mut sentences = error.sentences();
    if let Some(first) = sentences.first_mut() {
        *first = crate::cli::output::docker_objects::sentence(first);
    }
    let message = sentences.join(": ");
    if !libpod {
        return json!({ "message": message });
    }
    let cause = sentences.last().cloned().unwrap_or_default();
    json!({"message": message, "cause": cause, "response": status(error)})
}

/// Docker's answer to everything about swarms on a machine that is in none.
const NO_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";

fn route(cx: &Cx<'_>, conn: &mut Conn) -> Result<()> {
    let path: Vec<&str> = cx.head.path.iter().map(String::as_str).collect();
    let path = match path.as_slice() {
        ["libpod", rest @ ..] => rest,
        all => all,
    };
    let method = cx.method();
    let found = match path {
        ["containers", rest @ ..] => containers::route(cx, conn, rest)?,
        ["exec", rest @ ..] => exec::route(cx, conn, rest)?,
        ["images", rest @ ..] => images::route(cx, conn, rest)?,
        ["networks", rest @ ..] => networks::route(cx, conn, rest)?,
        ["volumes", rest @ ..] => volumes::route(cx, conn, rest)?,
        ["secrets", rest @ ..] if cx.libpod => libpod::secrets(cx, conn, rest)?,
        ["pods", rest @ ..] if cx.libpod => libpod::pods(cx, conn, rest)?,
        ["build", rest @ ..] => build::route(cx, conn, rest)?,
        ["commit"] if method == "POST" => {
            images::commit(cx, conn)?;
            true
        }
        ["plugins", rest @ ..] if !cx.libpod => plugins::route(cx, conn, rest)?,
        [
            "swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs",
            ..,
        ] if !cx.libpod => {
            conn.json(503, &json!({"message": NO_SWARM}))?;
            true
        }
        rest => system::route(cx, conn, rest)?,
    };
    match found {
        true => Ok(()),
        false => conn.json(404, &json!({"message": "page not found"})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_come_in_two_forms() {
        let words = filters(r#"{"label":["a=b","c"],"status":["running"]}"#).unwrap();
        assert_eq!(words, ["label=a=b", "label=c", "status=running"]);
        let old = filters(r#"{"label":{"a=b":true,"x":false}}"#).unwrap();
        assert_eq!(old, ["label=a=b"]);
        assert!(filters("").unwrap().is_empty() && filters("{}").unwrap().is_empty());
        for bad in ["x", "[]", r#"{"a":"b"}"#, r#"{"a":[1]}"#] {
            assert!(filters(bad).is_err(), "{bad}");
        }
    }

    fn ask(line: &str) -> Result<String> {
        let text = format!("GET {line} HTTP/1.1\r\n\r\n");
        admit(&http::head(text.as_bytes()).unwrap().unwrap().0)
    }

    #[test]
    fn versions_are_negotiated() {
        assert_eq!(ask("/_ping").unwrap(), "1.50");
        assert_eq!(ask("/v1.24/info").unwrap(), "1.24");
        assert_eq!(ask("/v1.50/info").unwrap(), "1.50");
        assert_eq!(ask("/v4.9.3/libpod/info").unwrap(), "1.50");
        for bad in ["/v1.23/info", "/v1.51/info", "/v2.0/info"] {
            assert_eq!(status(&ask(bad).unwrap_err()), 400, "{bad}");
        }
        let page = b"GET /info HTTP/1.1\r\nOrigin: http://evil\r\n\r\n";
        let refused = admit(&http::head(page).unwrap().unwrap().0).unwrap_err();
        assert_eq!(status(&refused), 403);
    }

    #[test]
    fn errors_have_dockers_form() {
        let error = Error::not_found("no such container: \"web\"");
        assert_eq!(body(&error, false)["message"], "No such container: web");
        assert_eq!(status(&error), 404);
        assert_eq!(status(&Error::invalid("x")), 400);
        assert_eq!(status(&Error::new(Kind::Exists, "x")), 409);
    }
}
