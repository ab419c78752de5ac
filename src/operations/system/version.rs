//! Which program this is.

use serde_json::{Value, json};

/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of docker's interface whose output is imitated; there is no such interface.
pub const API: &str = "1.41";

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
        for key in ["ApiVersion", "DefaultAPIVersion"] {
            client.insert(key.to_owned(), API.into());
        }
        client.insert("BuildTime".to_owned(), "Thu Jan  1 00:00:00 1970".into());
    }
    value["Server"] = value["Client"].clone();
    let kernel = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let server = &mut value["Server"];
    server["MinAPIVersion"] = "1.12".into();
    server["KernelVersion"] = kernel.clone().into();
    server["Components"] = json!([{
        "Name": "Engine",
        "Version": VERSION,
        "Details": {
            "ApiVersion": API,
            "Arch": server["Arch"],
            "BuildTime": server["BuildTime"],
            "Experimental": "false",
            "GitCommit": "",
            "GoVersion": "none",
            "KernelVersion": kernel,
            "MinAPIVersion": "1.12",
            "Os": "linux",
        },
    }]);
    // podman: `--format {{.Version}}`.
    value["Version"] = VERSION.into();
    value
}
