//! `/_ping`, `/version`, `/info`, `/system/df`, `/events`, `/auth`, `/distribution/…`.

use serde_json::{Value, json};

use super::conn::Conn;
use super::{Cx, OLDEST, VERSION, events, images};
use crate::base::Result;
use crate::cli::output::docker_objects;
use crate::operations::system::{df, info, version};

/// Answers; false for a route that there is not.
///
/// # Errors
/// What the operation says.
pub fn route(cx: &Cx<'_>, conn: &mut Conn, path: &[&str]) -> Result<bool> {
    match (cx.method(), path) {
        ("GET" | "HEAD", ["_ping"]) => {
            let fields = [
                ("Content-Type", "text/plain; charset=utf-8"),
                // The classic builder: a tar in the body of `POST /build`.
                ("Builder-Version", "1"),
                ("Swarm", "inactive"),
                ("Cache-Control", "no-cache, no-store, must-revalidate"),
                ("Pragma", "no-cache"),
            ];
            conn.answer_with(200, &fields, b"OK")?;
        }
        ("GET", ["version"]) => conn.json(200, &version_value())?,
        ("GET", ["info"]) => {
            let value = match cx.libpod {
                true => info::info(cx.session)?,
                false => {
                    let value = info::info_for_docker(cx.session)?;
                    super::containers::without(value, "", &["ClientInfo"])
                }
            };
            conn.json(200, &value)?;
        }
        ("GET", ["system", "df"]) => usage(cx, conn)?,
        ("GET", ["events"]) => events::send(cx, conn)?,
        ("POST", ["auth"]) => auth(cx, conn)?,
        ("GET", ["distribution", name @ .., "json"]) if !name.is_empty() => {
            images::distribution(cx, conn, &name.join("/"))?;
        }
        ("POST", ["session" | "grpc"]) => conn.json(
            501,
            &json!({"message": "BuildKit's own protocol is not supported over this socket: set DOCKER_BUILDKIT=0, or build with `coracle build`"}),
        )?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn version_value() -> Value {
    let mut server = version::version_for_templates()["Server"].take();
    server["ApiVersion"] = VERSION.into();
    server["MinAPIVersion"] = OLDEST.into();
    for component in server["Components"].as_array_mut().into_iter().flatten() {
        component["Details"]["ApiVersion"] = VERSION.into();
        component["Details"]["MinAPIVersion"] = OLDEST.into();
    }
    if let Some(map) = server.as_object_mut() {
        for key in [
            "APIVersion",
            "DefaultAPIVersion",
            "Built",
            "BuiltTime",
            "BuildOrigin",
            "OsArch",
            "Context",
        ] {
            map.remove(key);
        }
    }
    server
}

fn usage(cx: &Cx<'_>, conn: &mut Conn) -> Result<()> {
    let usage = df::df(cx.session)?;
    let images: Vec<Value> = usage
        .images
        .iter()
        .map(|i| images::usage_row(&i.listed, i.size, i.size.saturating_sub(i.unique)))
        .collect();
    let containers: Vec<Value> = usage
        .containers
        .iter()
        .map(|c| {
            let record = &c.summary.container.record;
            json!({
                "Id": record.id,
                "Names": [format!("/{}", record.name)],
                "Image": record.options.image,
                "ImageID": record.image.as_ref().map_or_else(String::new, |i| i.id.to_string()),
                "Command": c.summary.command().join(" "),
                "Created": record.created.seconds(),
                "Ports": [],
                "SizeRw": c.size,
                "SizeRootFs": c.size,
                "Labels": record.options.labels,
                "State": c.summary.state.name(),
                "Status": c.summary.status_text(),
                "HostConfig": {},
                "NetworkSettings": {"Networks": {}},
                "Mounts": [],
            })
        })
        .collect();
    let volumes: Vec<Value> = usage
        .volumes
        .iter()
        .map(|v| {
            let mut value = crate::cli::volume::inspect::value(cx.session, &v.record);
            value = docker_objects::object(value);
            value["UsageData"] = json!({"RefCount": v.links, "Size": v.size});
            value
        })
        .collect();
    let cache: Vec<Value> = usage
        .cache
        .iter()
        .map(|u| json!({"ID": u.id, "Type": "regular", "InUse": u.in_use, "Shared": false, "Size": u.bytes}))
        .collect();
    conn.json(
        200,
        &json!({
            "LayersSize": usage.image_total().size,
            "Images": images,
            "Containers": containers,
            "Volumes": volumes,
            "BuildCache": cache,
        }),
    )
}

/// Proves credentials; the client keeps them.
fn auth(cx: &Cx<'_>, conn: &mut Conn) -> Result<()> {
    let body = cx.body(conn)?;
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    let server = text("serveraddress");
    let server = match server.as_str() {
        "" => "docker.io",
        server => server
            .trim_start_matches("https://")
            .trim_start_matches("http://")
            .trim_end_matches('/'),
    };
    let server = server.strip_prefix("index.").unwrap_or(server);
    let server = server.split('/').next().unwrap_or(server);
    crate::operations::image::login::check(
        cx.session,
        server,
        &text("username"),
        &text("password"),
    )?;
    conn.json(
        200,
        &json!({"Status": "Login Succeeded", "IdentityToken": ""}),
    )
}
