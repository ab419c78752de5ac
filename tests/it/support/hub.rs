//! A registry in memory that hands out tokens, counts, limits, and takes every digest.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use sha2::Digest as _;

use super::fixture;
use super::http::{Answer, Request, serve};

/// What the registry insists on; the default is nothing.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Tokens are needed; each is good for so many requests.
    pub token_uses: Option<usize>,
    /// Without credentials not even reading is allowed.
    pub private: bool,
    /// So many answers about blobs are cut half way.
    pub cuts: usize,
    /// So many answers are 429.
    pub busy: usize,
    /// `Retry-After` of those.
    pub retry_after: String,
    /// `Range` is not understood.
    pub no_ranges: bool,
    /// Several ranges at once are not understood.
    pub one_range: bool,
    /// Bytes a second of a blob; 0 for as fast as it goes.
    pub rate: usize,
    /// Nothing is answered but 503.
    pub down: bool,
}

/// The server; it ends with the test process. User `u`, password `p`, identity token `identity`.
pub struct Hub {
    /// `127.0.0.1:PORT`.
    pub address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    rules: Rules,
    address: String,
    manifests: HashMap<String, (String, Vec<u8>)>,
    blobs: HashMap<String, Vec<u8>>,
    uploads: HashMap<String, Vec<u8>>,
    tokens: HashMap<String, (HashSet<String>, usize)>,
    issued: usize,
    log: Vec<String>,
    /// Bytes of blobs that went out.
    sent: usize,
}

/// `sha256:…` of some bytes.
pub fn sha256(bytes: &[u8]) -> String {
    let hex: String = sha2::Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// `sha512:…` of some bytes.
pub fn sha512(bytes: &[u8]) -> String {
    let hex: String = sha2::Sha512::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("sha512:{hex}")
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Hub {
    /// Starts one.
    pub fn start(rules: Rules) -> Self {
        let state = Arc::new(Mutex::new(State {
            rules,
            ..State::default()
        }));
        let own = Arc::clone(&state);
        let address = serve(move |request| own.lock().unwrap().answer(request));
        state.lock().unwrap().address.clone_from(&address);
        Self { address, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// `address/name`.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// What was asked so far: `METHOD path`, with ` token:N`, ` basic` or ` from N` behind.
    pub fn log(&self) -> Vec<String> {
        self.state().log.clone()
    }

    /// Bytes of blobs that went out since the last time.
    pub fn sent(&self) -> usize {
        std::mem::take(&mut self.state().sent)
    }

    /// Other rules from now on.
    pub fn change(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.state().rules);
    }

    /// The manifest that a tag has.
    pub fn manifest(&self, name: &str, tag: &str) -> serde_json::Value {
        serde_json::from_slice(&self.state().manifests[&format!("{name}@{tag}")].1).unwrap()
    }

    /// The digest of the manifest that a tag has.
    pub fn manifest_digest(&self, name: &str, tag: &str) -> String {
        sha256(&self.state().manifests[&format!("{name}@{tag}")].1)
    }

    /// Gives a manifest another tag.
    pub fn copy_manifest(&self, name: &str, from: &str, to: &str) {
        let mut state = self.state();
        let manifest = state.manifests[&format!("{name}@{from}")].clone();
        state.manifests.insert(format!("{name}@{to}"), manifest);
    }

    /// A blob's bytes.
    pub fn bytes_of(&self, digest: &str) -> Vec<u8> {
        self.state().blobs[digest].clone()
    }

    /// Puts another content in place of a blob's.
    pub fn replace(&self, digest: &str, bytes: Vec<u8>) {
        self.state().blobs.insert(digest.to_owned(), bytes);
    }

    /// How many tokens were handed out.
    pub fn issued(&self) -> usize {
        self.state().issued
    }

    /// Puts a blob there under a digest of `hash`; answers its digest.
    pub fn blob(&self, bytes: &[u8], hash: fn(&[u8]) -> String) -> String {
        let digest = hash(bytes);
        self.state().blobs.insert(digest.clone(), bytes.to_vec());
        digest
    }

    /// Puts an image there: `layers` are blobs as they are, `tars` what they inflate to. Answers
    /// its manifest's digest and descriptor.
    pub fn put(
        &self,
        name: &str,
        tag: &str,
        platform: (&str, &str, &str),
        layers: &[(Vec<u8>, Vec<u8>)],
        hash: fn(&[u8]) -> String,
    ) -> String {
        let (os, arch, variant) = platform;
        let diff_ids: Vec<String> = layers.iter().map(|(_, tar)| sha256(tar)).collect();
        let config = serde_json::json!({
            "os": os, "architecture": arch, "variant": variant,
            "config": {"Cmd": ["sh"], "Env": [format!("PLATFORM={os}/{arch}/{variant}")]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
        .to_string();
        let descriptors: Vec<_> = layers
            .iter()
            .map(|(blob, _)| {
                let kind = match blob.get(..2) {
                    Some([0x1f, 0x8b]) => "tar+gzip",
                    Some([0x28, 0xb5]) => "tar+zstd",
                    _ => "tar",
                };
                serde_json::json!({
                    "mediaType": format!("application/vnd.oci.image.layer.v1.{kind}"),
                    "digest": self.blob(blob, hash), "size": blob.len(),
                })
            })
            .collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": self.blob(config.as_bytes(), hash), "size": config.len(),
            },
            "layers": descriptors,
        })
        .to_string();
        self.publish(name, tag, MANIFEST, manifest.into_bytes(), hash)
    }

    /// Puts an index of several manifests there.
    pub fn index(&self, name: &str, tag: &str, members: &[(String, (&str, &str, &str))]) -> String {
        let manifests: Vec<_> = members
            .iter()
            .map(|(digest, (os, arch, variant))| {
                let size = self.state().manifests[&format!("{name}@{digest}")].1.len();
                let mut platform = serde_json::json!({"os": os, "architecture": arch});
                if !variant.is_empty() {
                    platform["variant"] = (*variant).into();
                }
                serde_json::json!({
                    "mediaType": MANIFEST, "digest": digest, "size": size, "platform": platform,
                })
            })
            .collect();
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests,
        });
        self.publish(name, tag, INDEX, index.to_string().into_bytes(), sha256)
    }

    /// Puts a manifest there under a tag; answers its digest.
    pub fn publish(
        &self,
        name: &str,
        tag: &str,
        media: &str,
        bytes: Vec<u8>,
        hash: fn(&[u8]) -> String,
    ) -> String {
        let digest = hash(&bytes);
        let mut state = self.state();
        for key in [format!("{name}@{digest}"), format!("{name}@{tag}")] {
            state
                .manifests
                .insert(key, (media.to_owned(), bytes.clone()));
        }
        digest
    }
}

/// `n` layers with a file each, the first of them with busybox.
pub fn layers(n: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    (0..n)
        .map(|at| {
            let tar = if at == 0 {
                fixture::busybox_tar()
            } else {
                let mut tar = tar::Builder::new(Vec::new());
                fixture::add_file(&mut tar, &format!("layer-{at}"), 0o644, (0, 0), b"x");
                tar.into_inner().unwrap()
            };
            (tar.clone(), tar)
        })
        .collect()
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        let authorization = request.header("authorization").unwrap_or_default();
        let (scheme, value) = authorization.split_once(' ').unwrap_or(("", ""));
        let mut line = format!("{} {}", request.method, request.path);
        match scheme {
            "Bearer" => line.push_str(&format!(" token:{value}")),
            "Basic" => line.push_str(" basic"),
            _ => {}
        }
        if request.start() > 0 {
            line.push_str(&format!(" from {}", request.start()));
        }
        self.log.push(line);
        if request.path == "/token" {
            return self.token(request, value);
        }
        if self.rules.down {
            return Answer::status(503);
        }
        if self.rules.busy > 0 {
            self.rules.busy -= 1;
            return Answer {
                body: br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#.to_vec(),
                ..Answer::status(429)
            }
            .with("Retry-After", self.rules.retry_after.clone());
        }
        let writes = !matches!(request.method.as_str(), "GET" | "HEAD");
        let rest = request.path.strip_prefix("/v2/").unwrap_or_default();
        let split = ["/manifests/", "/blobs/", "/tags/"]
            .iter()
            .find_map(|part| rest.find(part).map(|at| (at, at + part.len(), *part)));
        let (name, part, tail) = match split {
            Some((at, end, part)) => (&rest[..at], part, &rest[end..]),
            None => ("", "", rest),
        };
        if let Some(uses) = self.rules.token_uses {
            let need = format!("repository:{name}:{}", if writes { "push" } else { "pull" });
            let good = self.tokens.get_mut(value).is_some_and(|(scopes, left)| {
                let good = *left > 0 && (name.is_empty() || scopes.contains(&need));
                *left = left.saturating_sub(1);
                good
            });
            if !good {
                let actions = if writes { "pull,push" } else { "pull" };
                let challenge = format!(
                    "Bearer realm=\"http://{}/token\",service=\"hub\",scope=\"repository:{name}:{actions}\"",
                    self.address
                );
                assert!(uses > 0);
                return Answer::status(401).with("WWW-Authenticate", challenge);
            }
        }
        match (request.method.as_str(), part) {
            ("GET" | "HEAD", "") if request.path == "/v2/" => Answer::ok("{}"),
            ("GET" | "HEAD", "/manifests/") => {
                match self.manifests.get(&format!("{name}@{tail}")) {
                    Some((media, bytes)) => {
                        Answer::ok(bytes.clone()).with("Content-Type", media.clone())
                    }
                    None => Answer::status(404),
                }
            }
            ("PUT", "/manifests/") => {
                let media = request
                    .header("content-type")
                    .unwrap_or_default()
                    .to_owned();
                let digest = sha256(&request.body);
                let manifest: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
                // An index has neither.
                let layers = manifest["layers"].as_array().into_iter().flatten();
                for blob in layers.chain(manifest.get("config")) {
                    if !self.blobs.contains_key(blob["digest"].as_str().unwrap()) {
                        return Answer::status(400);
                    }
                }
                for key in [format!("{name}@{tail}"), format!("{name}@{digest}")] {
                    self.manifests
                        .insert(key, (media.clone(), request.body.clone()));
                }
                Answer::status(201).with("Docker-Content-Digest", digest)
            }
            // Pages of two, whatever was asked for.
            ("GET", "/tags/") => {
                let prefix = format!("{name}@");
                let mut tags: Vec<&str> = self
                    .manifests
                    .keys()
                    .filter_map(|k| k.strip_prefix(&prefix))
                    .filter(|t| !t.contains(':'))
                    .collect();
                tags.sort_unstable();
                let last = request.parameters("last").pop().unwrap_or_default();
                tags.retain(|t| *t > last.as_str());
                let more = tags.len() > 2;
                tags.truncate(2);
                let answer =
                    Answer::ok(serde_json::json!({"name": name, "tags": tags}).to_string());
                match tags.last() {
                    Some(last) if more => {
                        let link = format!("</v2/{name}/tags/list?last={last}&n=2>; rel=\"next\"");
                        answer.with("Link", link)
                    }
                    _ => answer,
                }
            }
            ("GET", "") if request.path == "/v1/search" => {
                let word = request.parameters("q").pop().unwrap_or_default();
                let hit = serde_json::json!({
                    "name": format!("team/{word}"), "description": "found", "star_count": 7,
                    "is_official": true,
                });
                Answer::ok(serde_json::json!({"results": [hit]}).to_string())
            }
            ("GET" | "HEAD", "/blobs/") => self.serve_blob(request, tail),
            ("POST", "/blobs/") => {
                let id = self.uploads.len().to_string();
                self.uploads.insert(id.clone(), Vec::new());
                Answer::status(202).with("Location", format!("/v2/{name}/blobs/uploads/{id}"))
            }
            ("PUT", "/blobs/") => {
                let digest = request.parameters("digest").remove(0);
                if digest != sha256(&request.body) && digest != sha512(&request.body) {
                    return Answer::status(400);
                }
                self.blobs.insert(digest, request.body.clone());
                Answer::status(201)
            }
            _ => Answer::status(404),
        }
    }

    fn serve_blob(&mut self, request: &Request, digest: &str) -> Answer {
        let Some(bytes) = self.blobs.get(digest) else {
            return Answer::status(404);
        };
        let mut ranges = request.ranges();
        if self.rules.one_range && ranges.len() > 1 {
            return Answer::status(416);
        }
        if self.rules.no_ranges {
            ranges.clear();
        }
        let start = if self.rules.no_ranges {
            0
        } else {
            request.start().min(bytes.len())
        };
        let mut answer = Answer::ok(bytes[start..].to_vec());
        if ranges.iter().any(|(a, b)| a > b || *b >= bytes.len()) {
            return Answer::status(416);
        }
        if let [(first, last)] = ranges[..] {
            answer.status = 206;
            answer.body = bytes[first..=last].to_vec();
            let range = format!("bytes {first}-{last}/{}", bytes.len());
            answer = answer.with("Content-Range", range);
        } else if !ranges.is_empty() {
            answer.status = 206;
            answer.body.clear();
            for (first, last) in ranges {
                let head = format!(
                    "--cut\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {first}-{last}/{}\r\n\r\n",
                    bytes.len()
                );
                answer.body.extend_from_slice(head.as_bytes());
                answer.body.extend_from_slice(&bytes[first..=last]);
                answer.body.extend_from_slice(b"\r\n");
            }
            answer.body.extend_from_slice(b"--cut--\r\n");
            answer = answer.with("Content-Type", "multipart/byteranges; boundary=cut");
        } else if start > 0 {
            answer.status = 206;
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            answer = answer.with("Content-Range", range);
        }
        // Small ones would be no test.
        if request.method == "GET" && self.rules.cuts > 0 && bytes.len() > 100_000 {
            self.rules.cuts -= 1;
            answer.cut = Some(answer.body.len() / 2);
        }
        answer.rate = self.rules.rate;
        if request.method == "GET" {
            self.sent += answer.body.len();
        }
        answer
    }

    fn token(&mut self, request: &Request, basic: &str) -> Answer {
        let refused = |text: &str| Answer {
            body: format!("{{\"details\":{text:?}}}").into_bytes(),
            ..Answer::status(401)
        };
        let known = match (request.method.as_str(), basic) {
            // u:p
            ("GET", "dTpw") => true,
            ("GET", "") => false,
            ("POST", _) if request.parameters("refresh_token") == ["identity"] => {
                assert_eq!(request.parameters("grant_type"), ["refresh_token"]);
                true
            }
            _ => return refused("incorrect username or password"),
        };
        assert_eq!(request.parameters("service"), ["hub"]);
        if self.rules.private && !known {
            return refused("nobody is allowed to nothing");
        }
        let mut scopes = HashSet::new();
        for scope in request.parameters("scope") {
            let (resource, actions) = scope.rsplit_once(':').unwrap();
            for action in actions.split(',') {
                // The others may read.
                if known || action == "pull" {
                    scopes.insert(format!("{resource}:{action}"));
                }
            }
        }
        self.issued += 1;
        let token = self.issued.to_string();
        let uses = self.rules.token_uses.unwrap_or(usize::MAX);
        self.tokens.insert(token.clone(), (scopes, uses));
        let name = if request.method == "POST" {
            "access_token"
        } else {
            "token"
        };
        Answer::ok(format!("{{\"{name}\":\"{token}\",\"expires_in\":60}}"))
    }
}
