//! Which program this is.

use serde_json::{Value, json};

/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `linux/amd64` and its like, in Go's words.
pub fn os_arch() -> String {
    format!(
        "linux/{}",
        crate::spec::platform::Platform::host().architecture
    )
}

/// `version --format json` of podman: the client only.
pub fn version() -> Value {
    let os_arch = os_arch();
    json!({
        "Client": {
            "APIVersion": VERSION,
            "Version": VERSION,
            "GoVersion": "none",
            "GitCommit": "",
            "BuiltTime": "Thu Jan  1 00:00:00 1970",
            "Built": 0,
            "BuildOrigin": "coracle",
            "OsArch": os_arch,
            "Os": "linux",
        },
    })
}

/// As [`version`], with the members that docker has too, so that a template of either works. What
/// docker asks its server, this program answers.
pub fn version_for_templates() -> Value {
    let mut value = version();
    if let Some(client) = value["Client"].as_object_mut() {
        let arch = os_arch().trim_start_matches("linux/").to_owned();
        client.insert("Arch".to_owned(), arch.into());
        client.insert("Context".to_owned(), "default".into());
        client.insert("Platform".to_owned(), json!({"Name": "coracle"}));
    }
    value["Server"] = value["Client"].clone();
    // podman: `--format {{.Version}}`.
    value["Version"] = VERSION.into();
    value
}
