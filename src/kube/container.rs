//! A container of a pod: its fields as the words of `create`.

use std::collections::BTreeMap;

use super::node::Node;
use super::volume::{self, Source};
use super::{Lookup, Wish, probe, quantity};
use crate::base::{Error, Result};

/// podman's annotation and label: where newer images of a container come from; with `/NAME` behind
/// it holds for that container.
const AUTO_UPDATE: &str = "io.containers.autoupdate";

/// What a container's words depend on.
pub struct Context<'a> {
    /// The pod's name.
    pub pod: &'a str,
    /// The pod's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The pod's annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// The pod's namespace, where it names one.
    pub namespace: Option<&'a str>,
    /// The pod's volumes.
    pub volumes: &'a BTreeMap<String, Source>,
    /// `--restart` of its containers.
    pub restart: &'a str,
    /// `runAsUser`, `runAsGroup`, `seccompProfile`, `seLinuxOptions` of the pod, as words.
    pub security: &'a Security,
    /// Seconds between the stop signal and KILL.
    pub grace: Option<i64>,
    /// ConfigMaps and Secrets.
    pub lookup: Lookup<'a>,
    /// The command line's.
    pub wish: &'a Wish,
}

/// Who a container runs as and what confines it.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// `runAsUser`.
    pub user: Option<i64>,
    /// `runAsGroup`.
    pub group: Option<i64>,
    /// `runAsNonRoot`.
    pub non_root: bool,
    /// `supplementalGroups`, `fsGroup`.
    pub groups: Vec<i64>,
    /// Values of `--security-opt`.
    pub options: Vec<String>,
}

impl Security {
    /// Reads what pods and containers have in common, over what holds for the pod.
    ///
    /// # Errors
    /// `Invalid` for a profile that makes no sense.
    pub fn read(node: &Node<'_>, above: &Self, root: Option<&str>) -> Result<Self> {
        let mut options = above.options.clone();
        if let Some(profile) = node.node("seccompProfile")? {
            options.retain(|o| !o.starts_with("seccomp="));
            match profile.needed("type")?.as_str() {
                "RuntimeDefault" => {}
                "Unconfined" => options.push("seccomp=unconfined".to_owned()),
                "Localhost" => {
                    let path = profile.needed("localhostProfile")?;
                    let root = root.unwrap_or("/var/lib/kubelet/seccomp");
                    options.push(format!("seccomp={root}/{path}"));
                }
                other => {
                    return Err(Error::invalid(format!(
                        "{}.type {other:?} is no profile",
                        profile.path()
                    )));
                }
            }
        }
        if let Some(labels) = node.node("seLinuxOptions")? {
            for key in ["user", "role", "type", "level"] {
                if let Some(value) = labels.text(key)? {
                    options.push(format!("label={key}:{value}"));
                }
            }
        }
        Ok(Self {
            user: node.number("runAsUser")?.or(above.user),
            group: node.number("runAsGroup")?.or(above.group),
            non_root: node.flag("runAsNonRoot")?.unwrap_or(above.non_root),
            groups: above.groups.clone(),
            options,
        })
    }
}

/// A port that a container has.
#[derive(Clone, Debug)]
pub struct Port {
    /// Inside.
    pub inside: u16,
    /// On the host, if it is published.
    pub host: Option<String>,
    /// Its name.
    pub name: Option<String>,
}

/// Reads `ports`; what is published is a word of `pod create --publish`.
///
/// # Errors
/// `Invalid` for a port that is none.
pub fn ports(container: &Node<'_>, all: bool) -> Result<Vec<Port>> {
    let mut found = Vec::new();
    for port in container.nodes("ports")? {
        let bad = |what: &str| Error::invalid(format!("{}.{what} is no port", port.path()));
        let number = |key: &str| -> Result<Option<u16>> {
            port.number(key)?
                .map(|n| u16::try_from(n).map_err(|_| bad(key)))
                .transpose()
        };
        let inside = number("containerPort")?
            .filter(|p| *p > 0)
            .ok_or_else(|| bad("containerPort"))?;
        let protocol = port
            .text("protocol")?
            .map_or_else(|| "tcp".to_owned(), |p| p.to_ascii_lowercase());
        let address = port.text("hostIP")?.filter(|a| !a.is_empty());
        let wanted = number("hostPort")?.filter(|p| *p > 0);
        let host = match (wanted, all) {
            (Some(host), _) => Some(host),
            (None, true) => Some(inside),
            (None, false) => None,
        };
        let shown = |a: &str| match a.contains(':') {
            true => format!("[{a}]:"),
            false => format!("{a}:"),
        };
        found.push(Port {
            inside,
            host: host.map(|h| {
                let address = address.as_deref().map_or_else(String::new, shown);
                format!("{address}{h}:{inside}/{protocol}")
            }),
            name: port.text("name")?,
        });
    }
    Ok(found)
}

/// The words of `create`, image and arguments included, and the image alone.
///
/// # Errors
/// `Invalid` for fields that make no sense, `NotFound` for what they refer to, `Unsupported` for
/// what must not be left out in silence.
pub fn words(
    node: &Node<'_>,
    cx: &Context<'_>,
    ports: &[Port],
    init: Option<&str>,
) -> Result<(String, Vec<String>)> {
    let name = node.needed("name")?;
    let image = node.needed("image")?;
    let mut words: Vec<String> = Vec::new();
    let mut add = |flag: &str, value: String| words.push(format!("{flag}={value}"));
    add("--pod", cx.pod.to_owned());
    add(
        "--name",
        match cx.wish.no_pod_prefix {
            true => name.clone(),
            false => format!("{}-{name}", cx.pod),
        },
    );
    match init {
        Some(when) => add("--init-ctr", when.to_owned()),
        None => add("--restart", cx.restart.to_owned()),
    }
    match node.text("imagePullPolicy")?.as_deref() {
        None if image.ends_with(":latest") => add("--pull", "newer".to_owned()),
        None => {}
        Some("Always") => add("--pull", "always".to_owned()),
        Some("IfNotPresent") => add("--pull", "missing".to_owned()),
        Some("Never") => add("--pull", "never".to_owned()),
        Some(other) => {
            return Err(Error::invalid(format!(
                "{}.imagePullPolicy {other:?} is none",
                node.path()
            )));
        }
    }
    if let Some(dir) = node.text("workingDir")?.filter(|d| !d.is_empty()) {
        add("--workdir", dir);
    }
    for (key, flag) in [("tty", "--tty"), ("stdin", "--interactive")] {
        if node.flag(key)?.unwrap_or(false) {
            add(flag, "true".to_owned());
        }
    }
    // What is said of one container counts more than what is said of all.
    let general = [AUTO_UPDATE.to_owned(), format!("{AUTO_UPDATE}/{name}")];
    for key in &general {
        let written = cx.annotations.get(key).cloned();
        let asked = cx.wish.annotations.iter().rev();
        let asked = asked.filter_map(|a| a.strip_prefix(key.as_str())?.strip_prefix('='));
        if let Some(policy) = asked.map(str::to_owned).next().or(written) {
            add("--label", format!("{AUTO_UPDATE}={policy}"));
        }
    }
    for annotation in &cx.wish.annotations {
        if !annotation.starts_with(AUTO_UPDATE) {
            add("--annotation", annotation.clone());
        }
    }
    if let Some(driver) = &cx.wish.log_driver {
        add("--log-driver", driver.clone());
    }
    for option in &cx.wish.log_opts {
        add("--log-opt", option.clone());
    }
    if let Some(seconds) = cx.grace {
        add("--stop-timeout", seconds.max(0).to_string());
    }
    lifecycle(node, &mut add)?;
    security(node, cx, &mut add)?;
    let limits = resources(node, &mut add)?;
    let env = environment(node, cx, &limits)?;
    for (key, value) in &env {
        add("--env", format!("{key}={value}"));
    }
    words.extend(volume::mounts(node, cx.volumes)?);
    let named = |name: &str| {
        ports
            .iter()
            .find(|p| p.name.as_deref() == Some(name))
            .map(|p| p.inside)
    };
    words.extend(probe::words(node, cx.restart != "no", &named)?);
    let expand =
        |words: Vec<String>| -> Vec<String> { words.iter().map(|w| expanded(w, &env)).collect() };
    let command = expand(node.texts("command")?);
    let args = expand(node.texts("args")?);
    if !command.is_empty() {
        let list = serde_json::Value::from(command);
        words.push(format!("--entrypoint={list}"));
    }
    words.push("--".to_owned());
    words.push(image.clone());
    words.extend(args);
    Ok((image, words))
}

fn lifecycle(node: &Node<'_>, add: &mut dyn FnMut(&str, String)) -> Result<()> {
    let Some(lifecycle) = node.node("lifecycle")? else {
        return Ok(());
    };
    if let Some(signal) = lifecycle.text("stopSignal")? {
        add("--stop-signal", signal);
    }
    Ok(())
}

fn security(node: &Node<'_>, cx: &Context<'_>, add: &mut dyn FnMut(&str, String)) -> Result<()> {
    let own = node.node("securityContext")?;
    let security = match &own {
        Some(own) => Security::read(own, cx.security, cx.wish.seccomp_root.as_deref())?,
        None => cx.security.clone(),
    };
    match (security.user, security.group) {
        (Some(user), Some(group)) => add("--user", format!("{user}:{group}")),
        (Some(user), None) => add("--user", user.to_string()),
        (None, Some(group)) => add("--user", format!("0:{group}")),
        (None, None) => {}
    }
    if security.non_root {
        match security.user {
            Some(0) => {
                return Err(Error::invalid(format!(
                    "{}: runAsNonRoot and runAsUser 0 contradict each other",
                    node.path()
                )));
            }
            Some(_) => {}
            None => node.note(": runAsNonRoot is not checked without runAsUser"),
        }
    }
    for group in &security.groups {
        add("--group-add", group.to_string());
    }
    for option in &security.options {
        add("--security-opt", option.clone());
    }
    let Some(own) = own else { return Ok(()) };
    for (key, flag) in [
        ("privileged", "--privileged"),
        ("readOnlyRootFilesystem", "--read-only"),
    ] {
        if own.flag(key)?.unwrap_or(false) {
            add(flag, "true".to_owned());
        }
    }
    if own.flag("allowPrivilegeEscalation")? == Some(false) {
        add("--security-opt", "no-new-privileges".to_owned());
    }
    match own.text("procMount")?.as_deref() {
        None | Some("" | "Default") => {}
        Some("Unmasked") => add("--security-opt", "unmask=ALL".to_owned()),
        Some(other) => {
            return Err(Error::invalid(format!(
                "{}.procMount {other:?}: use Default or Unmasked",
                own.path()
            )));
        }
    }
    if let Some(capabilities) = own.node("capabilities")? {
        for (key, flag) in [("add", "--cap-add"), ("drop", "--cap-drop")] {
            for capability in capabilities.texts(key)? {
                add(flag, capability);
            }
        }
    }
    Ok(())
}

/// Quantities of `resources`, by `limits.cpu` and so on.
type Quantities = BTreeMap<String, String>;

fn resources(node: &Node<'_>, add: &mut dyn FnMut(&str, String)) -> Result<Quantities> {
    let mut all = Quantities::new();
    let Some(resources) = node.node("resources")? else {
        return Ok(all);
    };
    for (part, flags) in [
        ("limits", ["--cpus", "--memory"]),
        ("requests", ["--cpu-shares", "--memory-reservation"]),
    ] {
        let Some(list) = resources.node(part)? else {
            continue;
        };
        if let Some(cpu) = list.text("cpu")? {
            let milli = quantity::milli(&cpu)?;
            if milli > 0 {
                let value = match part {
                    "limits" => format!("{}.{:03}", milli / 1000, milli % 1000),
                    _ => (milli * 1024 / 1000).max(2).to_string(),
                };
                add(flags[0], value);
            }
            all.insert(format!("{part}.cpu"), cpu);
        }
        if let Some(memory) = list.text("memory")? {
            let bytes = quantity::whole(&memory)?;
            if bytes > 0 {
                add(flags[1], format!("{bytes}b"));
            }
            all.insert(format!("{part}.memory"), memory);
        }
    }
    Ok(all)
}

/// Variables in the order in which they are set; a later one of the same name replaces the first.
fn environment(
    node: &Node<'_>,
    cx: &Context<'_>,
    limits: &Quantities,
) -> Result<Vec<(String, String)>> {
    let mut env: Vec<(String, String)> = Vec::new();
    let set = |env: &mut Vec<(String, String)>, key: String, value: String| {
        env.retain(|(k, _)| *k != key);
        env.push((key, value));
    };
    for from in node.nodes("envFrom")? {
        let prefix = from.text("prefix")?.unwrap_or_default();
        for (field, kind) in [("configMapRef", "ConfigMap"), ("secretRef", "Secret")] {
            let Some(reference) = from.node(field)? else {
                continue;
            };
            let name = reference.needed("name")?;
            let optional = reference.flag("optional")?.unwrap_or(false);
            match (cx.lookup)(kind, &name) {
                Some(data) => {
                    for (key, bytes) in data {
                        let value = String::from_utf8_lossy(&bytes).into_owned();
                        set(&mut env, format!("{prefix}{key}"), value);
                    }
                }
                None if optional => {}
                None => {
                    return Err(Error::not_found(format!(
                        "{}: no {kind} {name:?}",
                        reference.path()
                    )));
                }
            }
        }
    }
    for variable in node.nodes("env")? {
        let key = variable.needed("name")?;
        let value = match variable.node("valueFrom")? {
            Some(from) => value_from(&from, cx, limits)?,
            None => Some(expanded(&variable.text("value")?.unwrap_or_default(), &env)),
        };
        if let Some(value) = value {
            set(&mut env, key, value);
        }
    }
    Ok(env)
}

fn value_from(from: &Node<'_>, cx: &Context<'_>, limits: &Quantities) -> Result<Option<String>> {
    for (field, kind) in [("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")] {
        let Some(reference) = from.node(field)? else {
            continue;
        };
        let (name, key) = (reference.needed("name")?, reference.needed("key")?);
        let optional = reference.flag("optional")?.unwrap_or(false);
        let value = (cx.lookup)(kind, &name).and_then(|data| data.get(&key).cloned());
        return match value {
            Some(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            None if optional => Ok(None),
            None => Err(Error::not_found(format!(
                "{}: no {kind} {name:?} with the key {key:?}",
                reference.path()
            ))),
        };
    }
    if let Some(field) = from.node("fieldRef")? {
        field.skip(&["apiVersion"]);
        let path = field.needed("fieldPath")?;
        let about = super::downward::About {
            pod: cx.pod,
            labels: cx.labels,
            annotations: cx.annotations,
            namespace: cx.namespace,
        };
        let value = about.field(&path);
        return value.map(Some).ok_or_else(|| {
            Error::unsupported(format!(
                "{}.fieldPath {path:?} is not known before the pod runs",
                field.path()
            ))
        });
    }
    if let Some(field) = from.node("resourceFieldRef")? {
        field.skip(&["containerName"]);
        let resource = field.needed("resource")?;
        let divisor = field.text("divisor")?;
        let have = limits.get(&resource).ok_or_else(|| {
            Error::not_found(format!(
                "{}.resource: the container has no {resource}",
                field.path()
            ))
        })?;
        return super::downward::divided(have, divisor.as_deref()).map(Some);
    }
    Err(Error::unsupported(format!(
        "{} has no source that is known here",
        from.path()
    )))
}

/// `$(NAME)` replaced; `$$` is a dollar, and a name that is not set stays as it is.
fn expanded(text: &str, env: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
            continue;
        }
        let name = after
            .strip_prefix('(')
            .and_then(|tail| tail.split_once(')'));
        match name
            .and_then(|(name, tail)| Some((env.iter().find(|(k, _)| k == name)?.1.as_str(), tail)))
        {
            Some((value, tail)) => {
                out.push_str(value);
                rest = tail;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_in_words_are_replaced() {
        let env = [("A".to_owned(), "1".to_owned())];
        for (text, want) in [
            ("x$(A)y", "x1y"),
            ("$$(A)", "$(A)"),
            ("$(B) $A $", "$(B) $A $"),
            ("$(A)$(A)", "11"),
        ] {
            assert_eq!(expanded(text, &env), want, "{text}");
        }
    }
}
