//! A registry: its address, its challenge, our tokens, and requests with retries.
//!
//! Plain HTTP is spoken only where it is allowed: with `--tls-verify=false`, `insecure = true`, or
//! to a loopback address for which nothing is said (as docker does); HTTPS is always tried first.
//! A loopback server that does speak TLS must still show a trusted certificate.
//! Credentials and tokens go to the registry's own origin only, never along a redirect.

use std::collections::HashMap;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::Body;
use ureq::http::{Method, Response};

use super::auth::{self, Challenge};
use super::credentials::Credentials;
use super::http::{Exchange, Failure, Http, Payload, Retry, io_failure, refusal};
use super::proxy::Proxies;
use super::registries_conf::Endpoint;
use super::resolver::Resolver;
use super::tls::Trust;
use crate::base::progress::Progress;
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::env::Env;

/// The longest wait that a registry may ask for: with a longer one there is no other try.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(120);
const ERROR_LIMIT: u64 = 64 << 10;
const REDIRECTS: usize = 6;

/// How registries are talked to.
#[derive(Clone)]
pub struct Settings {
    /// The environment: proxies, files.
    pub env: Env,
    /// `--tls-verify`.
    pub tls_verify: Option<bool>,
    /// `--cert-dir`.
    pub cert_dir: Option<PathBuf>,
    /// Tries after the first.
    pub retry: u32,
    /// A fixed wait between tries.
    pub retry_delay: Option<Duration>,
    /// How long a server may be silent.
    pub stall: Duration,
    /// Who hears of retries.
    pub progress: Arc<dyn Progress>,
}

impl Settings {
    /// The defaults: three retries, half a minute of silence (`$CORACLE_REGISTRY_TIMEOUT`).
    pub fn new(env: &Env, progress: Arc<dyn Progress>) -> Self {
        let seconds = env
            .text("CORACLE_REGISTRY_TIMEOUT")
            .and_then(|t| t.parse::<u64>().ok())
            .unwrap_or(30)
            .clamp(1, 3600);
        Self {
            env: env.clone(),
            tls_verify: None,
            cert_dir: None,
            retry: 3,
            retry_delay: None,
            stall: Duration::from_secs(seconds),
            progress,
        }
    }
}

/// One registry.
pub struct Client {
    /// `host[:port]` as people write it.
    name: String,
    /// `host[:port]` that serves its API.
    host: String,
    http: Http,
    settings: Settings,
    credentials: Credentials,
    plain_allowed: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    plain: bool,
    settled: bool,
    challenge: Option<Challenge>,
    tokens: HashMap<String, String>,
}

/// How many challenges one request answers: without a token, with an old one, with one that
/// another request used up meanwhile.
const CHALLENGES: usize = 3;

/// What one request shows of itself.
#[derive(Default)]
struct Pass {
    /// The shared token that was sent.
    token: Option<String>,
    /// Whether to get a token that no other request knows.
    own: bool,
}

/// A request to a registry.
pub struct Call<'a> {
    /// GET, HEAD, POST, PUT, PATCH or DELETE.
    pub method: Method,
    /// Below the registry (`/v2/…`), or a whole address that the registry named.
    pub target: &'a str,
    /// Headers.
    pub headers: &'a [(&'static str, String)],
    /// The body.
    pub payload: Payload<'a>,
    /// What a token must allow, e.g. `repository:library/alpine:pull`; several by spaces.
    pub scope: &'a str,
}

/// The scope for reading, or reading and writing, a repository.
pub fn scope(repository: &str, push: bool) -> String {
    let actions = if push { "pull,push" } else { "pull" };
    format!("repository:{repository}:{actions}")
}

impl Client {
    /// Makes a client; contacts nobody.
    ///
    /// # Errors
    /// `Invalid` for malformed certificates or proxies.
    pub fn new(endpoint: &Endpoint, credentials: Credentials, settings: Settings) -> Result<Self> {
        let name = endpoint.registry.clone();
        let host = match name.as_str() {
            "docker.io" => "registry-1.docker.io".to_owned(),
            other => other.to_owned(),
        };
        let insecure = match settings.tls_verify {
            Some(verify) => !verify,
            None => endpoint.insecure == Some(true),
        };
        let plain_allowed = insecure || (settings.tls_verify.is_none() && is_loopback(&host));
        let trust = Trust::load(
            &name,
            settings.cert_dir.as_deref(),
            !insecure,
            &settings.env,
        )?;
        let http = Http::new(
            Arc::new(trust),
            Resolver::default(),
            Proxies::from_env(&settings.env)?,
            settings.stall,
        );
        Ok(Self {
            name,
            host,
            http,
            settings,
            credentials,
            plain_allowed,
            state: Mutex::default(),
        })
    }

    /// `host[:port]` as people write it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is talked to.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn origin(&self, plain: bool) -> String {
        let scheme = if plain { "http" } else { "https" };
        format!("{scheme}://{}", self.host)
    }

    /// Sends a request, with retries; the answer's status is in 200..=299 or one of `also`.
    ///
    /// # Errors
    /// What the registry or the network says, after the last try.
    pub fn call(&self, call: &Call<'_>, also: &[u16]) -> Result<Response<Body>> {
        self.retrying(|| self.attempt(call, also))
    }

    /// Runs `work` again after failures that may pass.
    ///
    /// # Errors
    /// The last failure.
    pub fn retrying<T>(&self, mut work: impl FnMut() -> Result<T, Failure>) -> Result<T> {
        let mut tries = 0;
        loop {
            let failure = match work() {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            if !failure.may_pass() || tries >= self.settings.retry {
                return Err(failure.error);
            }
            self.wait(&failure, tries);
            tries += 1;
        }
    }

    /// Waits before another try and says so.
    pub fn wait(&self, failure: &Failure, tries: u32) {
        let wait = match (failure.retry, self.settings.retry_delay) {
            (Retry::After(wait), _) => wait,
            (_, Some(wait)) => wait,
            _ => Duration::from_secs(1 << tries.min(5)),
        };
        self.settings.progress.message(&format!(
            "{}; trying again in {} s",
            failure.error.one_line(),
            wait.as_secs_f64()
        ));
        // One call sleeps until a signal wakes it: a container's end may, so until the clock says.
        let until = std::time::Instant::now() + wait;
        while let left = until.saturating_duration_since(std::time::Instant::now())
            && !left.is_zero()
        {
            crate::sys::process::pause(left);
        }
    }

    /// One try: the request, and what its challenge or its redirect asks for.
    ///
    /// A token that was refused is replaced, first by one that other requests share. Where that
    /// one is refused too (another request used up its last time), this one gets its own.
    ///
    /// # Errors
    /// As [`Client::call`], with a word on whether another try may help.
    pub fn attempt(&self, call: &Call<'_>, also: &[u16]) -> Result<Response<Body>, Failure> {
        let mut pass = Pass::default();
        let mut challenges = 0;
        loop {
            // Another thread may learn the challenge while this request is on its way without it.
            let knew = self.state().challenge.clone();
            let response = self.reach(call, &mut pass)?;
            let status = response.status();
            if status.as_u16() == 401 && challenges < CHALLENGES {
                let challenge = Challenge::parse(
                    response
                        .headers()
                        .get_all("www-authenticate")
                        .iter()
                        .filter_map(|v| v.to_str().ok()),
                );
                if let Some(challenge) = challenge {
                    let mut state = self.state();
                    // What was sent was not good enough; another thread's newer token may be.
                    if pass.token.is_some() && state.tokens.get(call.scope) == pass.token.as_ref() {
                        state.tokens.remove(call.scope);
                    }
                    state.challenge = Some(challenge.clone());
                    drop(state);
                    if challenge == Challenge::Basic
                        && (challenges > 0
                            || self.credentials == Credentials::Anonymous
                            || knew == Some(Challenge::Basic))
                    {
                        return Err(self.explain(response));
                    }
                    challenges += 1;
                    pass.own = challenges == CHALLENGES;
                    continue;
                }
            }
            if status.is_success() || also.contains(&status.as_u16()) {
                return Ok(response);
            }
            return Err(self.explain(response));
        }
    }

    /// Sends the request to the registry, over HTTPS or, where allowed, HTTP; follows redirects.
    fn reach(&self, call: &Call<'_>, pass: &mut Pass) -> Result<Response<Body>, Failure> {
        loop {
            // Another thread may learn meanwhile what the registry speaks.
            let plain = self.state().plain;
            let origin = self.origin(plain);
            let url = join(&origin, call.target);
            match self.send(call, &url, &origin, pass) {
                Ok(response) => {
                    self.state().settled = true;
                    return Ok(response);
                }
                Err(failure) => {
                    let mut state = self.state();
                    let learnt = state.plain || !state.settled;
                    if failure.no_tls && self.plain_allowed && !plain && learnt {
                        state.plain = true;
                        continue;
                    }
                    if plain && !state.settled {
                        // Neither worked: the next try begins with HTTPS again.
                        state.plain = false;
                    }
                    return Err(failure);
                }
            }
        }
    }

    fn send(
        &self,
        call: &Call<'_>,
        url: &str,
        origin: &str,
        pass: &mut Pass,
    ) -> Result<Response<Body>, Failure> {
        let mut url = url.to_owned();
        for _ in 0..REDIRECTS {
            let mut headers: Vec<(&'static str, String)> = call.headers.to_vec();
            if is_of(&url, origin)
                && let Some(value) = self.authorization(call.scope, pass)?
            {
                headers.push(("authorization", value));
            }
            let response = self.http.send(&Exchange {
                method: call.method.clone(),
                url: &url,
                headers: &headers,
                payload: call.payload,
            })?;
            let redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let follows = matches!(call.method, Method::GET | Method::HEAD);
            let location = response
                .headers()
                .get("location")
                .and_then(|v| v.to_str().ok());
            let (true, true, Some(location)) = (redirect, follows, location) else {
                return Ok(response);
            };
            let next = join(&url, location);
            if next.starts_with("http://") && url.starts_with("https://") && !self.plain_allowed {
                return Err(Error::new(
                    Kind::Denied,
                    format!("{} redirects to an unencrypted address", self.name),
                )
                .into());
            }
            url = next;
        }
        Err(Error::new(
            Kind::Unavailable,
            format!("{} redirects without end", self.name),
        )
        .into())
    }

    fn authorization(&self, scope: &str, pass: &mut Pass) -> Result<Option<String>, Failure> {
        pass.token = None;
        let challenge = self.state().challenge.clone();
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(match &self.credentials {
                Credentials::Basic { user, password } => Some(basic(user, password)),
                _ => None,
            }),
            Some(Challenge::Bearer {
                realm,
                service,
                scope: named,
            }) => {
                let shared = self.state().tokens.get(scope).cloned();
                if let Some(token) = shared.filter(|_| !pass.own) {
                    let value = format!("Bearer {token}");
                    pass.token = Some(token);
                    return Ok(Some(value));
                }
                let asked = if scope.is_empty() {
                    named
                } else {
                    scope.to_owned()
                };
                let token = self.token(&realm, &service, &asked)?;
                let value = format!("Bearer {token}");
                if !pass.own {
                    self.state().tokens.insert(scope.to_owned(), token.clone());
                    pass.token = Some(token);
                }
                Ok(Some(value))
            }
        }
    }

    /// Gets a token.
    fn token(&self, realm: &str, service: &str, scope: &str) -> Result<String, Failure> {
        let plain = realm.starts_with("http://") && self.state().plain;
        if !plain && !realm.starts_with("https://") {
            return Err(Error::new(
                Kind::Denied,
                format!("{} asks to log in at an unencrypted address", self.name),
            )
            .into());
        }
        let mut pairs = vec![("service", service)];
        pairs.extend(
            scope
                .split(' ')
                .filter(|s| !s.is_empty())
                .map(|s| ("scope", s)),
        );
        let mut headers = vec![("accept", "application/json".to_owned())];
        let response = match &self.credentials {
            Credentials::IdentityToken(token) => {
                pairs.extend([
                    ("grant_type", "refresh_token"),
                    ("client_id", "coracle"),
                    ("refresh_token", token),
                ]);
                let form = auth::form(&pairs);
                headers.push((
                    "content-type",
                    "application/x-www-form-urlencoded".to_owned(),
                ));
                self.http.send(&Exchange {
                    method: Method::POST,
                    url: realm,
                    headers: &headers,
                    payload: Payload::Bytes(form.as_bytes()),
                })?
            }
            other => {
                if let Credentials::Basic { user, password } = other {
                    pairs.push(("account", user));
                    headers.push(("authorization", basic(user, password)));
                }
                let separator = if realm.contains('?') { '&' } else { '?' };
                let url = format!("{realm}{separator}{}", auth::form(&pairs));
                self.http.send(&Exchange {
                    method: Method::GET,
                    url: &url,
                    headers: &headers,
                    payload: Payload::None,
                })?
            }
        };
        if !response.status().is_success() {
            return Err(self.explain(response));
        }
        let body = self.small_body(response, 1 << 20)?;
        Ok(auth::read_token(&body)?)
    }

    /// Whether the credentials are good: asks `/v2/` with them.
    ///
    /// # Errors
    /// `Denied` when they are not.
    pub fn check_login(&self) -> Result<()> {
        self.call(
            &Call {
                method: Method::GET,
                target: "/v2/",
                headers: &[],
                payload: Payload::None,
                scope: "",
            },
            &[],
        )
        .map(drop)
    }

    /// Reads a small body.
    ///
    /// # Errors
    /// `Corrupt` when it is larger than `limit`; transient when the line is cut.
    pub fn small_body(&self, response: Response<Body>, limit: u64) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        response
            .into_body()
            .into_reader()
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| self.read_failure(e))?;
        if bytes.len() as u64 > limit {
            return Err(Error::new(
                Kind::Corrupt,
                format!("{} answers with more than {limit} bytes", self.name),
            )
            .into());
        }
        Ok(bytes)
    }

    /// What a failure in the middle of a body means.
    pub fn read_failure(&self, error: std::io::Error) -> Failure {
        io_failure(error, &self.host, self.settings.stall.as_secs())
    }

    /// Turns an unexpected answer into an error.
    pub fn explain(&self, response: Response<Body>) -> Failure {
        let status = response.status();
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|v| v.to_str().ok())
            .and_then(retry_after);
        let mut bytes = Vec::new();
        // The reason is a courtesy: without it the status has to do.
        drop(
            response
                .into_body()
                .into_reader()
                .take(ERROR_LIMIT)
                .read_to_end(&mut bytes),
        );
        refusal(status, &reason(&bytes), &self.name, retry_after)
    }
}

/// `Retry-After`: seconds, or a date.
fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    Some(Timestamp::parse_http(text)?.since(Timestamp::now()))
}

/// What an error body says: `{"errors":[{"code":…,"message":…}]}`, or OAuth's `{"details":…}`.
fn reason(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else {
        return String::new();
    };
    let mut parts = Vec::new();
    for error in value
        .get("errors")
        .and_then(|e| e.as_array())
        .into_iter()
        .flatten()
    {
        let field = |name: &str| error.get(name).and_then(|v| v.as_str()).unwrap_or_default();
        let (code, message) = (field("code"), field("message"));
        parts.push(if message.is_empty() {
            code.to_owned()
        } else {
            message.to_owned()
        });
    }
    for name in ["details", "error_description", "message"] {
        if parts.is_empty()
            && let Some(text) = value.get(name).and_then(|v| v.as_str())
        {
            parts.push(text.to_owned());
        }
    }
    let text: String = parts.join("; ");
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Whether `url` is on `origin`.
fn is_of(url: &str, origin: &str) -> bool {
    url.strip_prefix(origin)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
}

/// Resolves what a header or a link names against the address it came from.
pub fn join(base: &str, target: &str) -> String {
    if target.starts_with("https://") || target.starts_with("http://") {
        return target.to_owned();
    }
    let scheme_end = base.find("://").map_or(0, |at| at + 3);
    if let Some(rest) = target.strip_prefix("//") {
        return format!("{}{rest}", &base[..scheme_end]);
    }
    let path_start = base[scheme_end..]
        .find('/')
        .map_or(base.len(), |at| scheme_end + at);
    if target.starts_with('/') {
        return format!("{}{target}", &base[..path_start]);
    }
    let path = base[path_start..].split('?').next().unwrap_or_default();
    let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
    format!("{}{folder}{target}", &base[..path_start])
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name == "localhost"
        || name
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// Opens any address for reading, with retries for the head of the answer only.
///
/// # Errors
/// What the server or the network says.
pub fn download(url: &str, settings: Settings) -> Result<Box<dyn std::io::Read + Send>> {
    Ok(fetch(url, settings)?.body)
}

/// What an address gave.
pub struct Fetched {
    /// The content.
    pub body: Box<dyn std::io::Read + Send>,
    /// `Last-Modified`.
    pub modified: Option<Timestamp>,
}

/// As [`download`], with what the server says of it.
///
/// # Errors
/// As [`download`].
pub fn fetch(url: &str, settings: Settings) -> Result<Fetched> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or_else(|| Error::invalid(format!("{url:?} is no http:// or https:// address")))?;
    let host = rest.split(['/', '?']).next().unwrap_or(rest);
    let endpoint = Endpoint {
        registry: host.to_owned(),
        repository: String::new(),
        insecure: None,
        mirror: false,
    };
    let client = Client::new(&endpoint, Credentials::Anonymous, settings)?;
    // An http:// address asks for what it says.
    let plain = url.starts_with("http://");
    let response = client
        .retrying(|| {
            let response = client.send(
                &Call {
                    method: Method::GET,
                    target: url,
                    headers: &[],
                    payload: Payload::None,
                    scope: "",
                },
                url,
                "",
                &mut Pass::default(),
            )?;
            if response.status().is_success() {
                Ok(response)
            } else {
                Err(client.explain(response))
            }
        })
        .what(|| {
            let how = if plain { "without encryption " } else { "" };
            format!("cannot fetch {how}{host}")
        })?;
    let modified = response
        .headers()
        .get("last-modified")
        .and_then(|v| v.to_str().ok())
        .and_then(Timestamp::parse_http);
    Ok(Fetched {
        body: Box::new(response.into_body().into_reader()),
        modified,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_joined_as_urls_are() {
        let base = "https://r.example:5000/v2/x/uploads/1?a=b";
        for (target, want) in [
            ("https://o/x", "https://o/x"),
            ("/v2/y", "https://r.example:5000/v2/y"),
            ("//cdn/x", "https://cdn/x"),
            ("2?c=d", "https://r.example:5000/v2/x/uploads/2?c=d"),
        ] {
            assert_eq!(join(base, target), want);
        }
        assert_eq!(join("https://r", "/v2/"), "https://r/v2/");
        assert_eq!(join("https://r", "x"), "https://r/x");
    }

    #[test]
    fn authorization_stays_with_its_origin() {
        assert!(is_of("https://r.example/v2/", "https://r.example"));
        for other in [
            "https://r.example.evil/v2/",
            "https://r.example:444/v2/",
            "http://r.example/v2/",
            "https://r.example@evil/",
        ] {
            assert!(!is_of(other, "https://r.example"), "{other}");
        }
    }

    #[test]
    fn only_loopback_hosts_may_fall_back_by_themselves() {
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.1.2.3",
            "[::1]:5000",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example:5000", "10.0.0.1", "quay.io", "[::2]"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn registries_ask_for_a_wait_in_seconds_or_until_a_date() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::ZERO)
        );
        let later = retry_after("Tue, 31 Dec 2199 23:59:59 GMT").unwrap();
        assert!(later > Duration::from_secs(1 << 30), "{later:?}");
        assert_eq!(retry_after("soon"), None);
    }

    #[test]
    fn reasons_are_short_and_clean() {
        assert_eq!(
            reason(br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m"},{"code":"X"}]}"#),
            "no[31m; X"
        );
        assert_eq!(reason(br#"{"details":"wrong password"}"#), "wrong password");
        assert_eq!(reason(b"<html>"), "");
    }
}
