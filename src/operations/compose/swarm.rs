//! A project handed to a swarm: what its manager is asked for over Docker's interface, in the order in
//! which `docker stack deploy` asks, and the wait for the rollout.
//!
//! Spec: Docker Engine API 1.41; `docker context` (contexts/meta and contexts/tls below ~/.docker).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::http::Method;

use crate::base::{Context as _, Error, Kind, Result, fs as files};
use crate::compose::export::is_external;
use crate::compose::export::swarm::{self as plan, Known, STACK, real_name};
use crate::compose::project::Keys;
use crate::kube::apply::Rollout;
use crate::operations::kube::apply::{Told, exchanged, follow, said};
use crate::operations::session::Session;
use crate::registry::auth::encode;
use crate::registry::http::{Exchange, Http, Payload};
use crate::registry::proxy::Proxies;
use crate::registry::resolver::Resolver;
use crate::registry::tls::Trust;
use crate::spec::digest::Digest;

/// An answer longer than this is none.
const LIMIT: u64 = 64 << 20;
/// How long a manager may be silent.
const STALL: Duration = Duration::from_secs(60);
/// How long a network may stay in use after its services are gone.
const LINGER: Duration = Duration::from_secs(20);
/// The label with the digest of what was asked for: whatever was taken out since changes it.
const ASKED: &str = "io.coracle.asked";

/// Which manager.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// `--host`: `unix://PATH`, `tcp://HOST:PORT`, `http://…` or `https://…`.
    pub host: Option<String>,
    /// `--context`: docker's.
    pub context: Option<String>,
}

/// What is asked for.
pub struct Request<'a> {
    /// The stack's name.
    pub stack: &'a str,
    /// The stack file.
    pub document: &'a Value,
    /// The content of a secret or config, by noun and key.
    pub content: &'a dyn Fn(&str, &str) -> Result<Vec<u8>>,
    /// What the stack has no more is removed.
    pub prune: bool,
    /// Only tell what would be done.
    pub dry_run: bool,
    /// How long to wait for the rollout; `None` for not at all.
    pub wait: Option<Duration>,
}

/// How a manager's TLS is checked, and what is shown to it.
struct Secure {
    verify: bool,
    authority: Option<Vec<u8>>,
    client: Option<(Vec<u8>, Vec<u8>)>,
}

enum Means {
    Socket(PathBuf),
    Net(String, Box<Http>),
}

/// A manager of a swarm.
pub struct Manager {
    means: Means,
    /// As it was named.
    host: String,
    /// `/v1.41`.
    version: String,
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manager")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

fn keys_below(folder: &Path, verify: bool) -> Result<Secure> {
    let read = |name: &str| files::read_if_exists(&folder.join(name), 1 << 20);
    Ok(Secure {
        verify,
        authority: read("ca.pem")?,
        client: read("cert.pem")?.zip(read("key.pem")?),
    })
}

/// Where docker's client would go, and how.
fn endpoint(session: &Session, which: &Which) -> Result<(String, Option<Secure>)> {
    let env = |name: &str| session.env.text(name).filter(|v| !v.is_empty());
    let home = session.env.home().unwrap_or_else(|| PathBuf::from("/"));
    let folder = env("DOCKER_CONFIG").map_or_else(|| home.join(".docker"), PathBuf::from);
    let by_env = |host: String| -> Result<(String, Option<Secure>)> {
        let verify = env("DOCKER_TLS_VERIFY").is_some();
        let secure = match verify || env("DOCKER_TLS").is_some() {
            true => {
                let at = env("DOCKER_CERT_PATH").map_or_else(|| folder.clone(), PathBuf::from);
                Some(keys_below(&at, verify)?)
            }
            false => None,
        };
        Ok((host, secure))
    };
    let by_name = |name: &str| -> Result<(String, Option<Secure>)> {
        let hex = Digest::sha256_of(name.as_bytes()).hex().to_owned();
        let meta = folder.join("contexts/meta").join(&hex).join("meta.json");
        let Some(bytes) = files::read_if_exists(&meta, 1 << 20)? else {
            return Err(
                Error::not_found(format!("there is no docker context {name:?}"))
                    .hint("`docker context ls` lists them; --host names a manager"),
            );
        };
        let meta: Value = serde_json::from_slice(&bytes)
            .what_kind(Kind::Corrupt, || format!("{} is damaged", meta.display()))?;
        let about = &meta["Endpoints"]["docker"];
        let host = about["Host"].as_str().unwrap_or_default().to_owned();
        let at = folder.join("contexts/tls").join(&hex).join("docker");
        let secure = keys_below(&at, about["SkipTLSVerify"] != true)?;
        let some = secure.authority.is_some() || secure.client.is_some();
        Ok((host, some.then_some(secure)))
    };
    let named = |name: String| Some(name).filter(|n| n != "default");
    if let Some(host) = &which.host {
        return by_env(host.clone());
    }
    if let Some(name) = which.context.clone().and_then(named) {
        return by_name(&name);
    }
    if let Some(host) = env("DOCKER_HOST").filter(|_| which.context.is_none()) {
        return by_env(host);
    }
    if which.context.is_none() {
        let configured = || -> Option<String> {
            let bytes = files::read_if_exists(&folder.join("config.json"), 1 << 20).ok()??;
            let config: Value = serde_json::from_slice(&bytes).ok()?;
            Some(config["currentContext"].as_str()?.to_owned())
        };
        if let Some(name) = env("DOCKER_CONTEXT").or_else(configured).and_then(named) {
            return by_name(&name);
        }
    }
    Ok(("unix:///var/run/docker.sock".to_owned(), None))
}

impl Manager {
    /// Finds one, and asks whether it is one.
    ///
    /// # Errors
    /// `NotFound` for a context that is not there; `Unavailable` when nobody answers; `Unsupported` for
    /// `ssh://`, old versions, and an engine that manages no swarm.
    pub fn open(session: &Session, which: &Which) -> Result<Self> {
        let (host, secure) = endpoint(session, which)?;
        let net = |rest: &str, tls: bool| -> Result<Means> {
            let none = Secure {
                verify: true,
                authority: None,
                client: None,
            };
            let secure = secure.as_ref().unwrap_or(&none);
            let client = secure.client.as_ref();
            let trust = Trust::given(
                secure.verify,
                secure.authority.as_deref(),
                client.map(|(chain, key)| (chain.as_slice(), key.as_slice())),
            )?;
            let scheme = if tls { "https" } else { "http" };
            let proxies = Proxies::from_env(&session.env)?;
            let http = Http::new(Arc::new(trust), Resolver::default(), proxies, STALL);
            let base = format!("{scheme}://{}", rest.trim_end_matches('/'));
            Ok(Means::Net(base, Box::new(http)))
        };
        let means = match host.split_once("://") {
            Some(("unix", path)) => Means::Socket(PathBuf::from(path)),
            Some(("tcp", rest)) => net(rest, secure.is_some())?,
            Some(("http", rest)) => net(rest, false)?,
            Some(("https", rest)) => net(rest, true)?,
            _ => {
                return Err(Error::unsupported(format!(
                    "cannot reach a manager at {host:?}"
                ))
                .hint("unix://PATH and tcp://HOST:PORT are known; for ssh, forward its socket: ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST"));
            }
        };
        let mut manager = Self {
            means,
            host,
            version: String::new(),
        };
        let what = "cannot ask for its version";
        let version = manager.good(what, Method::GET, "/version", None)?;
        let version = version["ApiVersion"].as_str().unwrap_or_default();
        let number = |v: &str| -> Option<(u32, u32)> {
            let (major, minor) = v.split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        };
        if number(version).is_none_or(|v| v < (1, 41)) {
            return Err(Error::unsupported(format!(
                "{} speaks version {version:?} of Docker's interface; 1.41 is the oldest that tells how far a service is",
                manager.host
            )));
        }
        manager.version = format!("/v{version}");
        let info = manager.good("cannot ask for its swarm", Method::GET, "/info", None)?;
        if info["Swarm"]["ControlAvailable"] != true {
            return Err(
                Error::unsupported(format!("{} is no manager of a swarm", manager.host)).hint(
                    "`docker swarm init` there makes it one; --host or --context names another",
                ),
            );
        }
        Ok(manager)
    }

    /// The answer: its status, and what it holds.
    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let target = format!("{}{path}", self.version);
        let bytes = body.map(Value::to_string);
        match &self.means {
            Means::Socket(at) => over_socket(at, &method, &target, bytes.as_deref()),
            Means::Net(base, http) => {
                let url = format!("{base}{target}");
                let mut headers = vec![("accept", "application/json".to_owned())];
                if bytes.is_some() {
                    headers.push(("content-type", "application/json".to_owned()));
                }
                let exchange = Exchange {
                    method,
                    url: &url,
                    headers: &headers,
                    payload: match &bytes {
                        Some(text) => Payload::Bytes(text.as_bytes()),
                        None => Payload::None,
                    },
                };
                exchanged(http, &exchange, || {
                    format!("check the manager {} and its certificates", self.host)
                })
            }
        }
    }

    /// As [`Manager::ask`]; a bad answer is an error that says `what` could not be done.
    fn good(&self, what: &str, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, answer) = self.ask(method, path, body)?;
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let said = answer["message"].as_str().unwrap_or_default();
        let kind = match status {
            401 | 403 => Kind::Denied,
            404 => Kind::NotFound,
            409 => Kind::InUse,
            400 => Kind::Invalid,
            _ => Kind::Unavailable,
        };
        Err(Error::new(
            kind,
            format!("{what}: {} says {status}: {said}", self.host),
        ))
    }

    fn list(&self, noun: &str, query: &str, filters: &Value) -> Result<Vec<Value>> {
        let path = format!("/{noun}?{query}filters={}", encode(&filters.to_string()));
        let all = self.good(&format!("cannot list {noun}"), Method::GET, &path, None)?;
        Ok(all.as_array().cloned().unwrap_or_default())
    }

    /// What a stack has there.
    fn of_stack(&self, noun: &str, stack: &str) -> Result<Vec<Value>> {
        self.list(noun, "", &json!({"label": [format!("{STACK}={stack}")]}))
    }

    /// Does it.
    ///
    /// # Errors
    /// What the manager says to the first object that it does not take; `TimedOut` when the rollout
    /// takes longer, `Unavailable` when it fails.
    pub fn deploy(
        &self,
        request: &Request<'_>,
        tell: &mut dyn FnMut(Told) -> Result<()>,
    ) -> Result<()> {
        let mark = if request.dry_run { " (dry run)" } else { "" };
        let mut done = |noun: &str, name: &str, verb: &str| {
            let one = noun.trim_end_matches('s');
            tell(Told::Done(format!("{one}/{name} {verb}{mark}")))
        };
        let (mut known, mut kept) = (Known::new(), BTreeSet::new());
        for noun in ["networks", "secrets", "configs"] {
            let there = self.of_stack(noun, request.stack)?;
            for (key, keys) in objects(request.document, noun) {
                let (name, id) = match is_external(keys) {
                    true => self.existing(noun, &real_name(request.stack, keys, key))?,
                    false => {
                        let body = match noun {
                            "networks" => plan::network(request.stack, key, keys),
                            _ => {
                                plan::data(request.stack, key, keys, &(request.content)(noun, key)?)
                            }
                        };
                        let name = body["Name"].as_str().unwrap_or_default().to_owned();
                        let id = match there.iter().find(|o| name_of(o) == name) {
                            Some(object) => {
                                done(noun, &name, "unchanged")?;
                                id_of(object)
                            }
                            None => {
                                let what = format!("cannot make {name} of the {noun}");
                                let path = format!("/{noun}/create");
                                let made = match request.dry_run {
                                    true => Value::Null,
                                    false => self.good(&what, Method::POST, &path, Some(&body))?,
                                };
                                done(noun, &name, "created")?;
                                id_of(&made)
                            }
                        };
                        kept.insert((noun, name.clone()));
                        (name, id)
                    }
                };
                known.insert((noun.to_owned(), key.clone()), (name, id));
            }
        }
        let none = Keys::new();
        let volumes = request.document["volumes"].as_object().unwrap_or(&none);
        let there = self.of_stack("services", request.stack)?;
        let (mut rollouts, mut changed) = (Vec::new(), BTreeSet::new());
        for (key, keys) in objects(request.document, "services") {
            let mut spec = plan::service(request.stack, key, keys, volumes, &known)?;
            let name = spec["Name"].as_str().unwrap_or_default().to_owned();
            let before = there.iter().find(|s| name_of(s) == name);
            self.pin(&mut spec, before);
            let asked = Digest::sha256_of(spec.to_string().as_bytes());
            spec["Labels"][ASKED] = asked.hex()[..16].into();
            // A network of the node's own, as the host's, is kept under another id than it has there: what
            // was asked for is in the label.
            let mut known_again = spec.clone();
            if let Some(task) = known_again["TaskTemplate"].as_object_mut() {
                task.remove("Networks");
            }
            let verb = match before {
                Some(before) if plan::agrees(&before["Spec"], &known_again) => "unchanged",
                Some(before) => {
                    // Another number of it starts all tasks anew.
                    let force = &before["Spec"]["TaskTemplate"]["ForceUpdate"];
                    if !force.is_null() {
                        spec["TaskTemplate"]["ForceUpdate"] = force.clone();
                    }
                    let path = format!(
                        "/services/{}/update?version={}",
                        id_of(before),
                        before["Version"]["Index"]
                    );
                    if !request.dry_run {
                        let what = format!("cannot update service {name}");
                        self.good(&what, Method::POST, &path, Some(&spec))?;
                    }
                    "updated"
                }
                None => {
                    if !request.dry_run {
                        let what = format!("cannot make service {name}");
                        self.good(&what, Method::POST, "/services/create", Some(&spec))?;
                    }
                    "created"
                }
            };
            done("services", &name, verb)?;
            if verb != "unchanged" {
                changed.insert(name.clone());
            }
            kept.insert(("services", name.clone()));
            rollouts.push((format!("service/{name}"), name));
        }
        if request.prune {
            for noun in ["services", "secrets", "configs", "networks"] {
                for object in self.of_stack(noun, request.stack)? {
                    let name = name_of(&object).to_owned();
                    if !kept.contains(&(noun, name.clone())) {
                        if !request.dry_run {
                            self.remove(noun, &name, &id_of(&object))?;
                        }
                        done(noun, &name, "pruned")?;
                    }
                }
            }
        }
        match request.wait.filter(|_| !request.dry_run) {
            Some(patience) => {
                let look = |_: &str, name: &str| self.look(name, changed.contains(name));
                let more = "`docker service ps --no-trunc` and `docker service logs` tell more";
                follow(rollouts, patience, more, &look, tell)
            }
            None => Ok(()),
        }
    }

    /// What is declared to exist: its name and id.
    fn existing(&self, noun: &str, name: &str) -> Result<(String, String)> {
        let all = self.list(noun, "", &json!({"name": [name]}))?;
        match all.iter().find(|o| name_of(o) == name) {
            Some(object) => Ok((name.to_owned(), id_of(object))),
            None => Err(Error::not_found(format!(
                "{noun}: {name:?} is external, and {} has none of that name",
                self.host
            ))),
        }
    }

    /// Names the image by its digest, so that all nodes have the same one and a tag that was moved is
    /// noticed; one that the manager cannot look up stays as it was or as it is written.
    fn pin(&self, spec: &mut Value, before: Option<&Value>) {
        let image = &spec["TaskTemplate"]["ContainerSpec"]["Image"];
        let image = image.as_str().unwrap_or_default().to_owned();
        if image.contains('@') {
            return;
        }
        let found = self.ask(Method::GET, &format!("/distribution/{image}/json"), None);
        let digest = match &found {
            Ok((200, about)) => about["Descriptor"]["digest"].as_str(),
            _ => None,
        };
        let pinned = match digest {
            Some(digest) => format!("{image}@{digest}"),
            None => {
                log::info!("{} cannot look {image} up: {found:?}", self.host);
                let before = before.map(|b| &b["Spec"]);
                let same = before.filter(|b| b["Labels"]["com.docker.stack.image"] == image);
                let last = same.and_then(|b| b["TaskTemplate"]["ContainerSpec"]["Image"].as_str());
                last.map_or(image, str::to_owned)
            }
        };
        spec["TaskTemplate"]["ContainerSpec"]["Image"] = pinned.into();
    }

    fn remove(&self, noun: &str, name: &str, id: &str) -> Result<()> {
        let what = format!("cannot remove {name} of the {noun}");
        let end = Instant::now() + LINGER;
        loop {
            match self.good(&what, Method::DELETE, &format!("/{noun}/{id}"), None) {
                Err(e) if e.kind() == Kind::NotFound => return Ok(()),
                // Tasks that are ending still hold it.
                Err(e) if e.kind() != Kind::Unavailable && noun != "services" => {
                    if Instant::now() >= end {
                        return Err(e);
                    }
                    crate::sys::process::pause(Duration::from_millis(200));
                }
                other => return other.map(drop),
            }
        }
    }

    /// How far a service is; `changed` when it was made or updated just now.
    fn look(&self, name: &str, changed: bool) -> Result<Option<Rollout>> {
        let all = self.list("services", "status=true&", &json!({"name": [name]}))?;
        let Some(service) = all.iter().find(|s| name_of(s) == name) else {
            return Err(Error::not_found(format!(
                "service {name} was removed meanwhile"
            )));
        };
        let tasks = self.list("tasks", "", &json!({"service": [name]}))?;
        Ok(Some(rollout(service, &tasks, changed)))
    }
}

/// How far a service of a swarm is.
///
/// Spec: `Service.UpdateStatus`, `Service.ServiceStatus`, `Task.Status`.
fn rollout(service: &Value, tasks: &[Value], changed: bool) -> Rollout {
    let spec = &service["Spec"];
    let status = &service["ServiceStatus"];
    let count = |v: &Value| v.as_u64().unwrap_or(0);
    let said = service["UpdateStatus"]["Message"]
        .as_str()
        .unwrap_or_default();
    let state = service["UpdateStatus"]["State"]
        .as_str()
        .unwrap_or_default();
    if changed && matches!(state, "paused" | "rollback_paused" | "rollback_completed") {
        return Rollout::Failed(format!("{state}: {said}"));
    }
    let mode = &spec["Mode"];
    let (have, want, word) = if mode["ReplicatedJob"].is_object() || mode["GlobalJob"].is_object() {
        let total = &mode["ReplicatedJob"]["TotalCompletions"];
        let want = total
            .as_u64()
            .unwrap_or_else(|| count(&status["DesiredTasks"]));
        (count(&status["CompletedTasks"]), want, "complete")
    } else {
        // Those of the version before run on while it is replaced. A task that may stay where it is
        // stays under new rules of placement, and its runtime goes without saying.
        let template = |v: &Value| {
            let mut v = v.clone();
            if let Some(v) = v.as_object_mut() {
                v.retain(|key, _| !matches!(key.as_str(), "Placement" | "Runtime"));
            }
            v
        };
        let wanted = template(&spec["TaskTemplate"]);
        let runs = |t: &&Value| t["DesiredState"] == "running" && t["Status"]["State"] == "running";
        let (new, old): (Vec<&Value>, Vec<&Value>) = tasks
            .iter()
            .filter(runs)
            .partition(|t| template(&t["Spec"]) == wanted);
        if !old.is_empty() && state.is_empty() {
            // The update was taken, and has not begun.
            return Rollout::Waits(format!("{} of the version before run", old.len()));
        }
        let have = new.len() as u64;
        let replicas = &mode["Replicated"]["Replicas"];
        let want = replicas
            .as_u64()
            .unwrap_or_else(|| count(&status["DesiredTasks"]));
        (have, want, "running")
    };
    if have >= want && !matches!(state, "updating" | "rollback_started") {
        return Rollout::Done;
    }
    let failure = tasks
        .iter()
        .filter_map(|t| {
            Some((
                t["Status"]["Timestamp"].as_str()?,
                t["Status"]["Err"].as_str()?,
            ))
        })
        .max();
    Rollout::Waits(match failure {
        Some((_, why)) => format!("{have} of {want} {word}; {why}"),
        None => format!("{have} of {want} {word}"),
    })
}

fn objects<'a>(document: &'a Value, noun: &str) -> BTreeMap<&'a String, &'a Keys> {
    let all = document[noun].as_object().into_iter().flatten();
    all.filter_map(|(key, value)| Some((key, value.as_object()?)))
        .collect()
}

fn name_of(object: &Value) -> &str {
    let name = object["Spec"]["Name"].as_str().or(object["Name"].as_str());
    name.unwrap_or_default()
}

fn id_of(object: &Value) -> String {
    let id = object["ID"].as_str().or(object["Id"].as_str());
    id.or(object["id"].as_str()).unwrap_or_default().to_owned()
}

/// One exchange over a socket. HTTP/1.0: the answer ends where the connection does.
fn over_socket(
    path: &Path,
    method: &Method,
    target: &str,
    body: Option<&str>,
) -> Result<(u16, Value)> {
    let what = || format!("cannot ask the manager at {}", path.display());
    let reach = || -> std::io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(STALL))?;
        stream.set_write_timeout(Some(STALL))?;
        let text = body.unwrap_or_default();
        write!(
            stream,
            "{method} {target} HTTP/1.0\r\nhost: docker\r\naccept: application/json\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        )?;
        let mut answer = Vec::new();
        stream.take(LIMIT).read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = reach().map_err(|e| {
        Error::new(Kind::Unavailable, format!("{}: {e}", what()))
            .hint("is dockerd running, and may this user open its socket? --host names another one")
    })?;
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    match head.parse(&answer) {
        Ok(httparse::Status::Complete(length)) => {
            Ok((head.code.unwrap_or(0), said(&answer[length..])))
        }
        _ => Err(Error::new(
            Kind::Unavailable,
            format!("{}: no HTTP", what()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(replicas: u64, state: &str) -> Value {
        json!({"Spec": {"Name": "p_web", "Mode": {"Replicated": {"Replicas": replicas}},
            "TaskTemplate": {"ContainerSpec": {"Image": "new"}, "Runtime": "container", "Placement": {"MaxReplicas": 1}}},
            "UpdateStatus": {"State": state, "Message": "why"}})
    }

    fn task(image: &str, state: &str, err: Option<&str>) -> Value {
        json!({"Spec": {"ContainerSpec": {"Image": image}}, "DesiredState": "running",
            "Status": {"State": state, "Timestamp": "2026-01-01", "Err": err}})
    }

    #[test]
    fn a_rollout_is_over_when_the_tasks_of_the_new_version_run() {
        let (old, new) = (task("old", "running", None), task("new", "running", None));
        let look = |s: &Value, tasks: &[Value]| rollout(s, tasks, true);
        let two = service(2, "");
        assert_eq!(look(&two, &[new.clone(), new.clone()]), Rollout::Done);
        assert_eq!(
            look(&two, &[old.clone(), new.clone()]),
            Rollout::Waits("1 of the version before run".into())
        );
        let two_on = service(2, "updating");
        assert_eq!(
            look(&two_on, &[old, new.clone()]),
            Rollout::Waits("1 of 2 running".into())
        );
        let failed = task("new", "rejected", Some("No such image"));
        assert_eq!(
            look(&two, &[new.clone(), failed]),
            Rollout::Waits("1 of 2 running; No such image".into())
        );
        let updating = service(1, "updating");
        assert_eq!(
            look(&updating, std::slice::from_ref(&new)),
            Rollout::Waits("1 of 1 running".into())
        );
        let back = service(1, "rollback_completed");
        assert_eq!(
            look(&back, std::slice::from_ref(&new)),
            Rollout::Failed("rollback_completed: why".into())
        );
        // From an update before this one.
        assert_eq!(rollout(&back, &[new], false), Rollout::Done);
        let job = json!({"Spec": {"Mode": {"ReplicatedJob": {"TotalCompletions": 2}}},
            "ServiceStatus": {"CompletedTasks": 1}});
        assert_eq!(look(&job, &[]), Rollout::Waits("1 of 2 complete".into()));
    }
}
