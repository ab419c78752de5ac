//! Services to the words of `create` and `build`: everything that a flag says, is said by it.

mod build;
mod mounts;

use std::collections::BTreeMap;

use serde_json::Value;

pub use build::build;
pub use mounts::{grant_target, kept_secret};
use mounts::{grants, mounts};

use super::project::{Keys, Project};
use super::schema::{seconds, text};
use crate::base::{Error, Result};

/// Labels that other tools know, too.
pub const PROJECT: &str = "com.docker.compose.project";
/// The service's name.
pub const SERVICE: &str = "com.docker.compose.service";
/// The number of a container among the service's, from 1.
pub const NUMBER: &str = "com.docker.compose.container-number";
/// `True` for a container of `run`.
pub const ONEOFF: &str = "com.docker.compose.oneoff";
/// What [`Project::hash`] answers.
pub const HASH: &str = "com.docker.compose.config-hash";
/// The image's id when the container was made.
pub const IMAGE: &str = "com.docker.compose.image";
/// `service:condition:restart`, separated by commas.
pub const DEPENDS: &str = "com.docker.compose.depends_on";
/// The project's files.
pub const FILES: &str = "com.docker.compose.project.config_files";
/// The project's folder.
pub const FOLDER: &str = "com.docker.compose.project.working_dir";
/// The project's files with variables.
pub const ENV_FILES: &str = "com.docker.compose.project.environment_file";
/// The key of a network.
pub const NETWORK: &str = "com.docker.compose.network";
/// The key of a volume.
pub const VOLUME: &str = "com.docker.compose.volume";
/// Which compose made it.
pub const VERSION: &str = "com.docker.compose.version";

/// One container to be made.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: usize,
    /// Its image's id.
    pub image_id: String,
    /// Its image by name, where it is another than the service's.
    pub image: Option<String>,
    /// A container of `run`.
    pub oneoff: bool,
    /// One of `run` that publishes the service's ports.
    pub with_ports: bool,
    /// One of `run` that has the service's names.
    pub with_names: bool,
    /// Anonymous volumes that it takes over: destination and name.
    pub volumes: BTreeMap<String, String>,
    /// The containers of other services, by service.
    pub others: BTreeMap<String, String>,
    /// Something stands in front of all containers of the service and has their ports.
    pub behind: bool,
}

/// Whether a service asks for an address of its own.
pub fn with_address(keys: &Keys) -> bool {
    let mode = keys.get("deploy").and_then(|d| d.get("endpoint_mode"));
    mode.and_then(Value::as_str) == Some("vip")
}

/// Whether so many containers of a service stand behind one address or one port.
pub fn stands_behind(keys: &Keys, scale: usize) -> bool {
    let shared = || list(keys.get("ports")).any(is_shared);
    !keys.contains_key("network_mode") && (with_address(keys) || (scale > 1 && shared()))
}

/// Whether only one container can have a port: it names a single one of the host.
pub fn is_shared(port: &Value) -> bool {
    let own = port.get("mode").and_then(text).as_deref() == Some("host");
    let published = port.get("published").and_then(text);
    !own && published.is_some_and(|p| !p.is_empty() && !p.contains('-') && p != "0")
}

/// The name of what stands in front of a service.
pub fn front_name(project: &Project, service: &str) -> String {
    format!("{}-{service}", project.name)
}

/// The words of `create` behind the verb, and what could not be said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The words.
    pub words: Vec<String>,
    /// Sentences for the person.
    pub notices: Vec<String>,
}

impl Words {
    fn flag(&mut self, name: &str) {
        self.words.push(format!("--{name}"));
    }

    fn put(&mut self, name: &str, value: &str) {
        self.words.push(format!("--{name}={value}"));
    }

    fn put_text(&mut self, name: &str, value: Option<&Value>) {
        if let Some(value) = value.and_then(text) {
            self.put(name, &value);
        }
    }

    fn put_all(&mut self, name: &str, value: Option<&Value>) {
        for item in texts(value) {
            self.put(name, &item);
        }
    }

    fn put_map(&mut self, name: &str, value: Option<&Value>) {
        for (key, value) in value.and_then(Value::as_object).into_iter().flatten() {
            self.put(name, &format!("{key}={}", text(value).unwrap_or_default()));
        }
    }

    fn put_ulimits(&mut self, value: Option<&Value>) {
        for (name, limit) in value.and_then(Value::as_object).into_iter().flatten() {
            let of = |key: &str| limit.get(key).and_then(text).unwrap_or_default();
            self.put("ulimit", &format!("{name}={}:{}", of("soft"), of("hard")));
        }
    }

    fn put_if(&mut self, name: &str, value: Option<&Value>) {
        if value == Some(&Value::Bool(true)) {
            self.flag(name);
        }
    }
}

/// The texts of a list.
pub fn texts(value: Option<&Value>) -> Vec<String> {
    value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(text)
        .collect()
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// The words that make a container of a service.
///
/// # Errors
/// `Invalid` for values that have no meaning.
pub fn create(project: &Project, service: &str, keys: &Keys, wish: &Wish) -> Result<Words> {
    let mut w = Words::default();
    w.put("name", &wish.name);
    w.put("pull", "never");
    labels(&mut w, project, service, keys, wish);
    plain(&mut w, keys);
    process(&mut w, keys);
    limits(&mut w, keys);
    namespaces(&mut w, keys, wish, service)?;
    networks(&mut w, project, service, keys, wish)?;
    health(&mut w, keys);
    logging(&mut w, keys);
    if !wish.oneoff {
        restart(&mut w, keys, service)?;
    }
    if !wish.oneoff || wish.with_ports {
        ports(&mut w, keys, wish);
    }
    mounts(&mut w, project, service, keys, wish)?;
    grants(&mut w, project, service, keys)?;
    w.words.push(
        wish.image
            .clone()
            .unwrap_or_else(|| project.image(service, keys)),
    );
    w.words.extend(texts(keys.get("command")));
    Ok(w)
}

fn labels(w: &mut Words, project: &Project, service: &str, keys: &Keys, wish: &Wish) {
    w.put_map("label", keys.get("labels"));
    let files: Vec<_> = project.files.iter().map(|f| f.to_string_lossy()).collect();
    let env_files: Vec<_> = project
        .env_files
        .iter()
        .map(|f| f.to_string_lossy())
        .collect();
    let depends: Vec<String> = Project::dependencies(keys)
        .iter()
        .map(|d| format!("{}:{}:{}", d.service, d.condition, d.restart))
        .collect();
    for (key, value) in [
        (PROJECT, project.name.clone()),
        (SERVICE, service.to_owned()),
        (NUMBER, wish.number.to_string()),
        (
            ONEOFF,
            if wish.oneoff { "True" } else { "False" }.to_owned(),
        ),
        (HASH, Project::hash(keys)),
        (IMAGE, wish.image_id.clone()),
        (DEPENDS, depends.join(",")),
        (FILES, files.join(",")),
        (FOLDER, project.dir.to_string_lossy().into_owned()),
        (ENV_FILES, env_files.join(",")),
        (VERSION, env!("CARGO_PKG_VERSION").to_owned()),
    ] {
        w.put("label", &format!("{key}={value}"));
    }
}

/// Keys that a flag says as they are.
fn plain(w: &mut Words, keys: &Keys) {
    for (key, flag) in [
        ("cgroup", "cgroupns"),
        ("cgroup_parent", "cgroup-parent"),
        ("cpu_period", "cpu-period"),
        ("cpu_quota", "cpu-quota"),
        ("cpu_shares", "cpu-shares"),
        ("cpuset", "cpuset-cpus"),
        ("domainname", "domainname"),
        ("hostname", "hostname"),
        ("mem_reservation", "memory-reservation"),
        ("mem_swappiness", "memory-swappiness"),
        ("memswap_limit", "memory-swap"),
        ("oom_score_adj", "oom-score-adj"),
        ("platform", "platform"),
        ("shm_size", "shm-size"),
        ("stop_signal", "stop-signal"),
        ("user", "user"),
        ("userns_mode", "userns"),
        ("working_dir", "workdir"),
    ] {
        w.put_text(flag, keys.get(key));
    }
    for (key, flag) in [
        ("cap_add", "cap-add"),
        ("cap_drop", "cap-drop"),
        ("devices", "device"),
        ("dns", "dns"),
        ("dns_opt", "dns-option"),
        ("dns_search", "dns-search"),
        ("expose", "expose"),
        ("group_add", "group-add"),
        ("tmpfs", "tmpfs"),
    ] {
        w.put_all(flag, keys.get(key));
    }
    for (key, flag) in [
        ("annotations", "annotation"),
        ("environment", "env"),
        ("sysctls", "sysctl"),
    ] {
        w.put_map(flag, keys.get(key));
    }
    for (key, flag) in [
        ("init", "init"),
        ("oom_kill_disable", "oom-kill-disable"),
        ("privileged", "privileged"),
        ("read_only", "read-only"),
        ("stdin_open", "interactive"),
        ("tty", "tty"),
    ] {
        w.put_if(flag, keys.get(key));
    }
}

fn process(w: &mut Words, keys: &Keys) {
    if let Some(Value::Array(list)) = keys.get("entrypoint") {
        match list.is_empty() {
            true => w.put("entrypoint", ""),
            false => w.put("entrypoint", &Value::Array(list.clone()).to_string()),
        }
    }
    if let Some(time) = keys
        .get("stop_grace_period")
        .and_then(text)
        .as_deref()
        .and_then(seconds)
    {
        w.put("stop-timeout", &format!("{:.0}", time.ceil()));
    }
    for host in texts(keys.get("extra_hosts")) {
        let (name, ip) = host.split_once('=').unwrap_or((&host, ""));
        w.put("add-host", &format!("{name}:{ip}"));
    }
    for word in texts(keys.get("security_opt")) {
        // Docker's older form has a colon.
        let word = match word.contains('=') {
            true => word,
            false => word.replacen(':', "=", 1),
        };
        w.put("security-opt", &word);
    }
    w.put_ulimits(keys.get("ulimits"));
}

fn limits(w: &mut Words, keys: &Keys) {
    let deploy = |kind: &str, key: &str| keys.get("deploy")?.get("resources")?.get(kind)?.get(key);
    w.put_text("cpus", keys.get("cpus").or(deploy("limits", "cpus")));
    w.put_text(
        "memory",
        keys.get("mem_limit").or(deploy("limits", "memory")),
    );
    w.put_text(
        "pids-limit",
        keys.get("pids_limit").or(deploy("limits", "pids")),
    );
    if !keys.contains_key("mem_reservation") {
        w.put_text("memory-reservation", deploy("reservations", "memory"));
    }
    for device in list(keys.get("gpus")).chain(list(deploy("reservations", "devices"))) {
        let ids = texts(device.get("device_ids"));
        let driver = device.get("driver").and_then(text).unwrap_or_default();
        match device.get("count").and_then(text).as_deref() {
            _ if driver == "cdi" => ids.iter().for_each(|id| w.put("device", id)),
            _ if !ids.is_empty() => w.put("gpus", &format!("device={}", ids.join(","))),
            None | Some("all" | "-1") => w.put("gpus", "all"),
            Some(count) => w.put("gpus", count),
        }
    }
    let Some(Value::Object(io)) = keys.get("blkio_config") else {
        return;
    };
    w.put_text("blkio-weight", io.get("weight"));
    for (key, flag, value) in [
        ("weight_device", "blkio-weight-device", "weight"),
        ("device_read_bps", "device-read-bps", "rate"),
        ("device_write_bps", "device-write-bps", "rate"),
        ("device_read_iops", "device-read-iops", "rate"),
        ("device_write_iops", "device-write-iops", "rate"),
    ] {
        for item in list(io.get(key)) {
            let of = |key: &str| item.get(key).and_then(text).unwrap_or_default();
            w.put(flag, &format!("{}:{}", of("path"), of(value)));
        }
    }
}

/// `service:NAME` as the container it means.
fn joined(mode: &str, wish: &Wish, service: &str) -> Result<String> {
    let Some(other) = mode.strip_prefix("service:") else {
        return Ok(mode.to_owned());
    };
    match wish.others.get(other) {
        Some(container) => Ok(format!("container:{container}")),
        None => Err(Error::not_found(format!(
            "services.{service}: service {other:?} has no container to join"
        ))),
    }
}

fn namespaces(w: &mut Words, keys: &Keys, wish: &Wish, service: &str) -> Result<()> {
    for key in ["ipc", "pid", "uts"] {
        if let Some(mode) = keys.get(key).and_then(text) {
            w.put(key, &joined(&mode, wish, service)?);
        }
    }
    Ok(())
}

/// The networks of a service, the first one first: by priority, then by name.
pub fn networks_of(keys: &Keys) -> Vec<(&String, &Value)> {
    let mut all: Vec<(&String, &Value)> = keys
        .get("networks")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .collect();
    let priority = |v: &Value| v.get("priority").and_then(Value::as_i64).unwrap_or(0);
    all.sort_by(|(a, x), (b, y)| priority(y).cmp(&priority(x)).then(a.cmp(b)));
    all
}

/// Names that `links` of other services give this one.
pub fn link_names(project: &Project, service: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (_, keys) in project.services() {
        for link in texts(keys.get("links")) {
            if let Some((target, alias)) = link.split_once(':')
                && target == service
            {
                names.push(alias.to_owned());
            }
        }
    }
    names
}

fn networks(
    w: &mut Words,
    project: &Project,
    service: &str,
    keys: &Keys,
    wish: &Wish,
) -> Result<()> {
    if let Some(mode) = keys.get("network_mode").and_then(text) {
        w.put("network", &joined(&mode, wish, service)?);
        w.put_text("mac-address", keys.get("mac_address"));
        return Ok(());
    }
    for (at, (key, how)) in networks_of(keys).into_iter().enumerate() {
        let mut word = project.real_name("networks", key);
        let mut options: Vec<String> = Vec::new();
        let mut aliases = texts(how.get("aliases"));
        if !wish.oneoff || wish.with_names {
            if !(wish.behind && with_address(keys)) {
                aliases.insert(0, service.to_owned());
            }
            aliases.extend(link_names(project, service));
        }
        let mut seen = Vec::new();
        for alias in aliases {
            if !seen.contains(&alias) {
                options.push(format!("alias={alias}"));
                seen.push(alias);
            }
        }
        let mac = how
            .get("mac_address")
            .or(keys.get("mac_address").filter(|_| at == 0));
        for (value, name) in [
            (how.get("ipv4_address"), "ip"),
            (how.get("ipv6_address"), "ip6"),
            (mac, "mac"),
            (how.get("interface_name"), "interface_name"),
        ] {
            options.extend(value.and_then(text).map(|v| format!("{name}={v}")));
        }
        if !options.is_empty() {
            word = format!("{word}:{}", options.join(","));
        }
        w.put("network", &word);
    }
    if wish.behind && !wish.oneoff {
        w.put("service", &front_name(project, service));
    }
    Ok(())
}

fn health(w: &mut Words, keys: &Keys) {
    let Some(Value::Object(check)) = keys.get("healthcheck") else {
        return;
    };
    let test = texts(check.get("test"));
    let off = check.get("disable") == Some(&Value::Bool(true));
    if off || test.first().is_some_and(|t| t == "NONE") {
        w.flag("no-healthcheck");
        return;
    }
    match test.split_first() {
        Some((kind, rest)) if kind == "CMD-SHELL" => w.put("health-cmd", &rest.join(" ")),
        Some((_, rest)) => w.put("health-cmd", &Value::from(rest.to_vec()).to_string()),
        None => {}
    }
    for (key, flag) in [
        ("interval", "health-interval"),
        ("timeout", "health-timeout"),
        ("start_period", "health-start-period"),
        ("start_interval", "health-start-interval"),
    ] {
        if let Some(time) = check.get(key).and_then(text).as_deref().and_then(seconds) {
            w.put(flag, &format!("{:.0}ms", time * 1000.0));
        }
    }
    w.put_text("health-retries", check.get("retries"));
}

fn logging(w: &mut Words, keys: &Keys) {
    let Some(Value::Object(logging)) = keys.get("logging") else {
        return;
    };
    let driver = logging.get("driver").and_then(text).unwrap_or_default();
    match driver.as_str() {
        "" => {}
        "json-file" | "journald" | "none" | "k8s-file" | "passthrough" => {
            w.put("log-driver", &driver);
        }
        other => w.notices.push(format!(
            "logging: there is no driver {other:?}; the log goes to a file, see `compose logs`"
        )),
    }
    for (key, value) in logging
        .get("options")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let value = text(value).unwrap_or_default();
        match key.as_str() {
            "max-size" | "max-file" | "tag" | "path" => w.put("log-opt", &format!("{key}={value}")),
            _ => w
                .notices
                .push(format!("logging.options.{key} has no effect")),
        }
    }
}

fn restart(w: &mut Words, keys: &Keys, service: &str) -> Result<()> {
    let policy = keys.get("deploy").and_then(|d| d.get("restart_policy"));
    let of = |key: &str| policy.and_then(|p| p.get(key)).and_then(text);
    let word = match (
        keys.get("restart").and_then(text),
        of("condition").as_deref(),
    ) {
        (Some(word), _) => word,
        (None, Some("none")) => return Ok(()),
        (None, Some("on-failure")) => match of("max_attempts") {
            Some(most) => format!("on-failure:{most}"),
            None => "on-failure".to_owned(),
        },
        (None, Some("any")) => "unless-stopped".to_owned(),
        (None, Some(other)) => {
            return Err(Error::invalid(format!(
                "services.{service}.deploy.restart_policy.condition: unknown condition {other:?}"
            )));
        }
        (None, None) if policy.is_some() => "unless-stopped".to_owned(),
        (None, None) => return Ok(()),
    };
    w.put("restart", &word);
    Ok(())
}

fn ports(w: &mut Words, keys: &Keys, wish: &Wish) {
    for port in list(keys.get("ports")) {
        if wish.behind && is_shared(port) {
            continue;
        }
        let of = |key: &str| port.get(key).and_then(text).filter(|t| !t.is_empty());
        let target = of("target").unwrap_or_default();
        // Of a range each container of the service has its own.
        let published = of("published").map(|p| match p.split_once('-') {
            Some((first, _)) => first
                .parse::<usize>()
                .map_or_else(|_| p.clone(), |first| (first + wish.number - 1).to_string()),
            None => p,
        });
        let ip = of("host_ip").map(|ip| match ip.contains(':') {
            true => format!("[{ip}]"),
            false => ip,
        });
        let mut word = match (ip, published) {
            (Some(ip), published) => format!("{ip}:{}:{target}", published.unwrap_or_default()),
            (None, Some(published)) => format!("{published}:{target}"),
            (None, None) => target,
        };
        if let Some(protocol) = of("protocol").filter(|p| p != "tcp") {
            word.push_str(&format!("/{protocol}"));
        }
        w.put("publish", &word);
    }
}
