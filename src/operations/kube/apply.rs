//! Manifests handed to a cluster: server-side apply, pruning, and the wait for the rollout.
//!
//! Spec: Kubernetes API concepts, "Server-Side Apply" and "Discovery"; `meta/v1 Status`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::http::Method;

use crate::base::{Context as _, Error, Kind, Result, fs as files};
use crate::kube::apply::{self as plan, MANAGER, PRUNED, Rollout, rollout, shown};
use crate::kube::config::{self, Access};
use crate::operations::session::Session;
use crate::registry::auth::encode;
use crate::registry::http::{Exchange, Http, Payload};
use crate::registry::proxy::Proxies;
use crate::registry::resolver::Resolver;
use crate::registry::tls::Trust;

/// An answer longer than this is none.
const LIMIT: u64 = 64 << 20;
/// How long a server may be silent.
const STALL: Duration = Duration::from_secs(30);
/// Between two looks at a rollout.
const PAUSE: Duration = Duration::from_millis(500);

/// Which cluster.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// `--kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`.
    pub context: Option<String>,
    /// `--ca-cert-file`.
    pub authorities: Option<PathBuf>,
    /// `--insecure-skip-tls-verify`.
    pub insecure: bool,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The objects.
    pub objects: Vec<Value>,
    /// `--namespace`: of objects that name none.
    pub namespace: Option<String>,
    /// What bears these labels and is not among the objects is removed.
    pub prune: Option<String>,
    /// Claims are removed, too.
    pub claims: bool,
    /// The server checks everything and keeps nothing.
    pub dry_run: bool,
    /// How long to wait for the rollout; `None` for not at all.
    pub wait: Option<Duration>,
}

/// What is told on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Something was done: `deployment/web created`.
    Done(String),
    /// How far the rollout is.
    Progress(String),
}

/// A kind of the server's: the part of the path, and whether its objects are in namespaces.
#[derive(Clone, Debug)]
struct Resource {
    kind: String,
    plural: String,
    namespaced: bool,
}

/// The server of a cluster.
pub struct Cluster {
    http: Http,
    access: Access,
    known: BTreeMap<String, Vec<Resource>>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

/// One exchange with the server of a cluster: its status, and what it says; `hint` is for when it cannot
/// be reached.
///
/// # Errors
/// `Unavailable` and its like when there is no answer, or half of one.
pub fn exchanged(
    http: &Http,
    exchange: &Exchange<'_>,
    hint: impl FnOnce() -> String,
) -> Result<(u16, Value)> {
    let response = http.send(exchange).map_err(|f| {
        // The hints of registries are about other files.
        Error::new(f.error.kind(), f.error.sentences().join(": ")).hint(hint())
    })?;
    let status = response.status().as_u16();
    let mut text = Vec::new();
    response
        .into_body()
        .into_reader()
        .take(LIMIT)
        .read_to_end(&mut text)
        .what_kind(Kind::Unavailable, || format!("{} breaks off", exchange.url))?;
    Ok((status, said(&text)))
}

/// What an answer holds; one that is no JSON is the text of a `message`.
pub fn said(text: &[u8]) -> Value {
    serde_json::from_slice(text)
        .unwrap_or_else(|_| json!({"message": String::from_utf8_lossy(text).trim()}))
}

fn kubeconfigs(session: &Session, which: &Which) -> Result<Vec<config::Source>> {
    let read = |path: &Path| config::parse(path, &files::read(path, LIMIT)?);
    if let Some(path) = &which.kubeconfig {
        return Ok(vec![read(path)?]);
    }
    let home = session.env.home().unwrap_or_else(|| PathBuf::from("/"));
    let paths: Vec<PathBuf> = match session.env.text("KUBECONFIG") {
        Some(list) => std::env::split_paths(&list).collect(),
        None => vec![home.join(".kube/config")],
    };
    let mut found = Vec::new();
    for path in paths {
        if let Some(bytes) = files::read_if_exists(&path, LIMIT)? {
            found.push(config::parse(&path, &bytes)?);
        }
    }
    if found.is_empty() {
        return Err(
            Error::not_found("there is no kubeconfig, so no cluster is known")
                .hint("name one with --kubeconfig or KUBECONFIG, or put it into ~/.kube/config"),
        );
    }
    Ok(found)
}

impl Cluster {
    /// Opens no connection.
    ///
    /// # Errors
    /// `NotFound` without a kubeconfig; as `kube::config::access`.
    pub fn open(session: &Session, which: &Which) -> Result<Self> {
        let sources = kubeconfigs(session, which)?;
        let mut access = config::access(&sources, which.context.as_deref(), &|path| {
            files::read(path, LIMIT)
        })?;
        if let Some(path) = &which.authorities {
            access.authorities = Some(files::read(path, LIMIT)?);
        }
        access.verify &= !which.insecure;
        let client = access.client.as_ref();
        let trust = Trust::given(
            access.verify,
            access.authorities.as_deref(),
            client.map(|(chain, key)| (chain.as_slice(), key.as_slice())),
        )?;
        let proxies = Proxies::from_env(&session.env)?;
        Ok(Self {
            http: Http::new(Arc::new(trust), Resolver::default(), proxies, STALL),
            access,
            known: BTreeMap::new(),
        })
    }

    /// The answer: its status, and what it holds.
    fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<(u16, Value)> {
        let mut headers = vec![("accept", "application/json".to_owned())];
        headers.extend(
            self.access
                .authorization
                .clone()
                .map(|a| ("authorization", a)),
        );
        let bytes = body.map(|(kind, value)| {
            headers.push(("content-type", kind.to_owned()));
            value.to_string()
        });
        let url = format!("{}{path}", self.access.server);
        let exchange = Exchange {
            method,
            url: &url,
            headers: &headers,
            payload: match &bytes {
                Some(text) => Payload::Bytes(text.as_bytes()),
                None => Payload::None,
            },
        };
        exchanged(&self.http, &exchange, || {
            format!(
                "check the server {}, the authority and the user of the kubeconfig",
                self.access.server
            )
        })
    }

    /// What a bad answer means, about `what`.
    fn refused(&self, what: &str, (status, answer): &(u16, Value)) -> Error {
        let said = answer["message"].as_str().unwrap_or_default();
        let kind = match status {
            401 | 403 => Kind::Denied,
            404 => Kind::NotFound,
            409 => Kind::InUse,
            400 | 422 => Kind::Invalid,
            _ => Kind::Unavailable,
        };
        let error = Error::new(
            kind,
            format!("{what}: {} says {status}: {said}", self.access.server),
        );
        match status {
            401 => error.hint("the token or certificate of the kubeconfig's user is not accepted"),
            403 => error.hint("the user of the kubeconfig lacks the right"),
            _ => error,
        }
    }

    /// The path of all objects of a kind; `None` for one that the server does not know.
    fn place(&mut self, version: &str, kind: &str, namespace: &str) -> Result<Option<String>> {
        let base = match version.contains('/') {
            true => format!("/apis/{version}"),
            false => format!("/api/{version}"),
        };
        if !self.known.contains_key(version) {
            let answer = self.ask(Method::GET, &base, None)?;
            let all = match answer.0 {
                200 => answer.1["resources"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default(),
                404 => Vec::new(),
                _ => return Err(self.refused(&format!("cannot ask for {version}"), &answer)),
            };
            let of = |r: &Value| {
                Some(Resource {
                    kind: r["kind"].as_str()?.to_owned(),
                    plural: r["name"].as_str().filter(|n| !n.contains('/'))?.to_owned(),
                    namespaced: r["namespaced"] == true,
                })
            };
            self.known
                .insert(version.to_owned(), all.iter().filter_map(of).collect());
        }
        let found = self.known[version].iter().find(|r| r.kind == kind);
        Ok(found.map(|r| match r.namespaced {
            true => format!("{base}/namespaces/{namespace}/{}", r.plural),
            false => format!("{base}/{}", r.plural),
        }))
    }

    /// Does it.
    ///
    /// # Errors
    /// What the server says to the first object that it does not take; `TimedOut` when the rollout
    /// takes longer, `Unavailable` when it fails.
    pub fn apply(
        &mut self,
        request: &Request,
        tell: &mut dyn FnMut(Told) -> Result<()>,
    ) -> Result<()> {
        let mut objects = request.objects.clone();
        plan::order(&mut objects);
        let labels = request.prune.as_deref().map(plan::selector).transpose()?;
        if let Some(labels) = &labels {
            plan::bear(&objects, labels)?;
        }
        let home = request
            .namespace
            .clone()
            .unwrap_or_else(|| self.access.namespace.clone());
        let mut applied = BTreeSet::new();
        let mut namespaces = BTreeSet::from([home.clone()]);
        let mut rollouts = Vec::new();
        let dry = if request.dry_run { "&dryRun=All" } else { "" };
        let mark = if request.dry_run { " (dry run)" } else { "" };
        for object in &objects {
            let what = format!("cannot apply {}", shown(object));
            let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
            let name = text(&object["metadata"]["name"]);
            if name.is_empty() {
                return Err(Error::invalid(format!("{what}: it has no name"))
                    .hint("what is applied needs metadata.name"));
            }
            let own = object["metadata"]["namespace"].as_str();
            if let (Some(own), Some(given)) = (own, &request.namespace)
                && own != given
            {
                return Err(Error::invalid(format!(
                    "{what}: it is of the namespace {own:?}, not {given:?}"
                )));
            }
            let namespace = own.unwrap_or(&home).to_owned();
            let place = self.place(&version, &kind, &namespace)?.ok_or_else(|| {
                Error::unsupported(format!(
                    "{what}: the cluster knows no {kind} of {version:?}"
                ))
            })?;
            namespaces.insert(namespace);
            let path = format!("{place}/{name}");
            let before = self.ask(Method::GET, &path, None)?;
            let body = plan::sent(object);
            let query = format!("{path}?fieldManager={MANAGER}&force=true{dry}");
            let answer = self.ask(
                Method::PATCH,
                &query,
                Some(("application/apply-patch+yaml", &body)),
            )?;
            if !(200..300).contains(&answer.0) {
                return Err(self.refused(&what, &answer));
            }
            let stamp = |v: &Value| v["metadata"]["resourceVersion"].clone();
            let verb = match (before.0, stamp(&before.1) == stamp(&answer.1)) {
                (404, _) => "created",
                (200, true) => "unchanged",
                _ => "configured",
            };
            tell(Told::Done(format!("{} {verb}{mark}", shown(object))))?;
            applied.insert(path.clone());
            rollouts.push((shown(object), path));
        }
        if let Some(text) = request.prune.as_deref() {
            self.prune(request, text, &objects, &namespaces, &applied, tell)?;
        }
        match request.wait.filter(|_| !request.dry_run) {
            Some(patience) => self.wait(rollouts, patience, tell),
            None => Ok(()),
        }
    }

    fn prune(
        &mut self,
        request: &Request,
        selector: &str,
        objects: &[Value],
        namespaces: &BTreeSet<String>,
        applied: &BTreeSet<String>,
        tell: &mut dyn FnMut(Told) -> Result<()>,
    ) -> Result<()> {
        let mut kinds: Vec<(String, String)> = PRUNED
            .iter()
            .map(|(v, k)| ((*v).to_owned(), (*k).to_owned()))
            .collect();
        for object in objects {
            let of = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
            let kind = (of("apiVersion"), of("kind"));
            // With a namespace goes everything in it: nobody means that by leaving out a line.
            if kind.1 != "Namespace" && !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let dry = if request.dry_run { "?dryRun=All" } else { "" };
        let mark = if request.dry_run { " (dry run)" } else { "" };
        let mut seen = BTreeSet::new();
        for (version, kind) in kinds {
            for namespace in namespaces {
                let Some(place) = self.place(&version, &kind, namespace)? else {
                    continue;
                };
                if !seen.insert(place.clone()) {
                    continue;
                }
                let query = format!("{place}?labelSelector={}", encode(selector));
                let answer = self.ask(Method::GET, &query, None)?;
                if answer.0 != 200 {
                    return Err(self.refused(&format!("cannot list {kind} objects"), &answer));
                }
                let items = answer.1["items"].as_array().cloned().unwrap_or_default();
                for mut item in items.into_iter().filter(plan::is_ours) {
                    let name = item["metadata"]["name"].as_str().unwrap_or_default();
                    let path = format!("{place}/{name}");
                    if applied.contains(&path) {
                        continue;
                    }
                    item["kind"] = kind.clone().into();
                    if kind == "PersistentVolumeClaim" && !request.claims {
                        tell(Told::Progress(format!(
                            "{} stays with its data: --force removes it, too",
                            shown(&item)
                        )))?;
                        continue;
                    }
                    let how = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
                    let answer = self.ask(
                        Method::DELETE,
                        &format!("{path}{dry}"),
                        Some(("application/json", &how)),
                    )?;
                    if !(200..300).contains(&answer.0) && answer.0 != 404 {
                        return Err(
                            self.refused(&format!("cannot remove {}", shown(&item)), &answer)
                        );
                    }
                    tell(Told::Done(format!("{} pruned{mark}", shown(&item))))?;
                }
            }
        }
        Ok(())
    }

    /// Waits until all rollouts are over.
    fn wait(
        &self,
        left: Vec<(String, String)>,
        patience: Duration,
        tell: &mut dyn FnMut(Told) -> Result<()>,
    ) -> Result<()> {
        let look = |name: &str, path: &str| {
            let answer = self.ask(Method::GET, path, None)?;
            match answer.0 {
                200 => Ok(rollout(&answer.1)),
                _ => Err(self.refused(&format!("cannot look at {name}"), &answer)),
            }
        };
        follow(
            left,
            patience,
            "`kubectl describe` and `kubectl logs` tell more",
            &look,
            tell,
        )
    }
}

/// Looks at rollouts, given as names and what `look` takes, until all are over; one that it answers
/// nothing about is none. `more` says where a failed one can be looked into.
///
/// # Errors
/// `Unavailable` when one fails, `TimedOut` when they take longer; those of `look`, but a server that is
/// away is asked again.
pub fn follow(
    mut left: Vec<(String, String)>,
    patience: Duration,
    more: &str,
    look: &dyn Fn(&str, &str) -> Result<Option<Rollout>>,
    tell: &mut dyn FnMut(Told) -> Result<()>,
) -> Result<()> {
    let end = Instant::now() + patience;
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let mut still = Vec::new();
        for (name, at) in left {
            match look(&name, &at) {
                Ok(None) => {}
                Ok(Some(Rollout::Done)) => tell(Told::Progress(format!("{name}: ready")))?,
                Ok(Some(Rollout::Failed(why))) => {
                    return Err(Error::new(
                        Kind::Unavailable,
                        format!("{name} does not become ready: {why}"),
                    )
                    .hint(more.to_owned()));
                }
                Ok(Some(Rollout::Waits(how))) => {
                    if last.get(&name) != Some(&how) {
                        tell(Told::Progress(format!("{name}: {how}")))?;
                        last.insert(name.clone(), how);
                    }
                    still.push((name, at));
                }
                // A server that is away for a moment: the rollout goes on without it.
                Err(e)
                    if Instant::now() < end
                        && matches!(e.kind(), Kind::Unavailable | Kind::TimedOut) =>
                {
                    still.push((name, at));
                }
                Err(e) => return Err(e),
            }
        }
        if still.is_empty() {
            return Ok(());
        }
        if Instant::now() >= end {
            let names: Vec<&str> = still.iter().map(|(n, _)| n.as_str()).collect();
            return Err(Error::new(
                Kind::TimedOut,
                format!(
                    "not ready after {} s: {}",
                    patience.as_secs(),
                    names.join(", ")
                ),
            )
            .hint("it goes on without us; --timeout gives it longer, --wait=false does not wait"));
        }
        left = still;
        crate::sys::process::pause(PAUSE.min(end.saturating_duration_since(Instant::now())));
    }
}
