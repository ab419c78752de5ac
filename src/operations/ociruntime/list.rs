//! `state` and `list`.

use serde_json::{Value, json};

use super::Place;
use super::record::Container;
use crate::base::Result;

/// The state of one container, as `state` and `list` print it.
///
/// Spec: runtime, "State"; `rootfs`, `created` and `owner` are runc's.
///
/// # Errors
/// `NotFound`.
pub fn state(place: &Place, id: &str) -> Result<Value> {
    describe(&Container::open(place, id)?)
}

/// All containers of a root.
///
/// # Errors
/// What the kernel says.
pub fn list(place: &Place) -> Result<Vec<Value>> {
    Container::all(place)?.iter().map(describe).collect()
}

fn describe(container: &Container) -> Result<Value> {
    let spec = container.spec()?;
    let state = container.state(&spec, container.status());
    let record = &container.record;
    let mut value = json!({
        "ociVersion": state.oci_version,
        "id": state.id,
        "pid": state.pid,
        "status": state.status,
        "bundle": state.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
        "owner": record.owner.to_string(),
    });
    if !state.annotations.is_empty()
        && let Some(object) = value.as_object_mut()
    {
        object.insert("annotations".into(), json!(state.annotations));
    }
    Ok(value)
}
