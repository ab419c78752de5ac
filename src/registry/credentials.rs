//! Credentials of registries: where podman and docker keep them, and the helpers that do.
//!
//! Order of reading: `--authfile`, `$REGISTRY_AUTH_FILE`, `$XDG_RUNTIME_DIR/containers/auth.json`,
//! `~/.config/containers/auth.json`, `$DOCKER_CONFIG/config.json`, `~/.docker/config.json`. The
//! first file that knows the repository, a parent of it or the registry wins; helpers named in a
//! file come before the secrets in it. Unknown fields of a file survive a rewrite.
//!
//! man: containers-auth.json(5).

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::base::fs::{self as files, Durability};
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::env::Env;
use crate::config::user;

const LIMIT: u64 = 4 << 20;

/// What proves who we are.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody.
    #[default]
    Anonymous,
    /// Name and password.
    Basic {
        /// The account.
        user: String,
        /// The password or access token.
        password: String,
    },
    /// An OAuth2 refresh token, as `docker login` stores it for some registries.
    IdentityToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic { .. } => "Basic(…)",
            Self::IdentityToken(_) => "IdentityToken(…)",
        })
    }
}

impl Credentials {
    /// From `USER[:PASSWORD]`.
    pub fn parse(text: &str) -> Result<Self> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        if user.is_empty() {
            return Err(Error::invalid("the credentials have no user name")
                .hint("write --creds USER:PASSWORD"));
        }
        Ok(Self::Basic {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }
}

/// The files that may hold credentials.
#[derive(Clone, Debug)]
pub struct AuthFiles {
    explicit: Option<PathBuf>,
    read: Vec<PathBuf>,
    write: PathBuf,
    env: Env,
}

impl AuthFiles {
    /// The usual files, or the one given with `--authfile`. `docker` is the folder of docker's
    /// `config.json`, where a command line names it.
    pub fn new(authfile: Option<&Path>, docker: Option<&Path>, env: &Env) -> Self {
        let home = &user::current().home;
        let explicit = authfile
            .map(Path::to_owned)
            .or_else(|| env.registry_auth_file());
        let config = env.config_home(home).join("containers/auth.json");
        let mut read = Vec::new();
        let mut write = config.clone();
        if let Some(path) = &explicit {
            read.push(path.clone());
            write.clone_from(path);
        } else {
            if let Some(runtime) = env.xdg_runtime_dir() {
                write = runtime.join("containers/auth.json");
                read.push(write.clone());
            }
            read.push(config);
            let docker = docker
                .map(Path::to_owned)
                .or_else(|| env.docker_config())
                .unwrap_or_else(|| home.join(".docker"));
            read.push(docker.join("config.json"));
        }
        Self {
            explicit,
            read,
            write,
            env: env.clone(),
        }
    }

    /// The one file that `login` writes: docker's with `--compat-auth-file`.
    #[must_use]
    pub fn compat(path: &Path, env: &Env) -> Self {
        Self {
            explicit: Some(path.to_owned()),
            read: vec![path.to_owned()],
            write: path.to_owned(),
            env: env.clone(),
        }
    }

    /// The files that are read besides the one that `login` writes.
    pub fn others(&self) -> Vec<PathBuf> {
        let mut others = self.read.clone();
        others.retain(|path| *path != self.write);
        others
    }

    /// Where `login` writes.
    pub fn target(&self) -> &Path {
        &self.write
    }

    /// The credentials for a repository (`registry/path`) or a registry.
    ///
    /// # Errors
    /// `NotFound` when the file given with `--authfile` is missing, `Corrupt` for a malformed one.
    pub fn find(&self, name: &str) -> Result<Credentials> {
        for path in &self.read {
            let Some(file) = read(path)? else {
                if self.explicit.as_deref() == Some(path) {
                    return Err(Error::not_found(format!(
                        "no such credential file: {}",
                        path.display()
                    )));
                }
                continue;
            };
            let found = self.find_in(&file, name)?;
            if found != Credentials::Anonymous {
                return Ok(found);
            }
        }
        Ok(Credentials::Anonymous)
    }

    fn find_in(&self, file: &Map<String, Value>, name: &str) -> Result<Credentials> {
        let registry = name.split('/').next().unwrap_or(name);
        let keys = keys_of(name);
        let helpers = file.get("credHelpers").and_then(Value::as_object);
        for key in &keys {
            if let Some(helper) = helpers.and_then(|h| h.get(key)).and_then(Value::as_str) {
                let found = self.ask_helper(helper, registry)?;
                if found != Credentials::Anonymous {
                    return Ok(found);
                }
            }
        }
        if let Some(store) = file.get("credsStore").and_then(Value::as_str)
            && !store.is_empty()
        {
            // Docker's file names a helper even on machines that lack it: the other files count.
            if self.helper_path(store).is_some() {
                let found = self.ask_helper(store, registry)?;
                if found != Credentials::Anonymous {
                    return Ok(found);
                }
            }
        }
        let Some(auths) = file.get("auths").and_then(Value::as_object) else {
            return Ok(Credentials::Anonymous);
        };
        for key in &keys {
            let entry = auths.get(key).or_else(|| {
                auths
                    .iter()
                    .find(|(k, _)| normalized(k) == *key)
                    .map(|(_, v)| v)
            });
            if let Some(entry) = entry {
                let found = decode(entry)?;
                if found != Credentials::Anonymous {
                    return Ok(found);
                }
            }
        }
        Ok(Credentials::Anonymous)
    }

    /// Stores credentials under `key`, by the helper that the file names for it, else in the file.
    ///
    /// # Errors
    /// What the helper or the kernel says.
    pub fn store(&self, key: &str, credentials: &Credentials) -> Result<()> {
        let mut file = read(&self.write)?.unwrap_or_default();
        let registry = key.split('/').next().unwrap_or(key);
        if let Some(helper) = self.writer_helper(&file, key) {
            let (user, secret) = match credentials {
                Credentials::Basic { user, password } => (user.as_str(), password.as_str()),
                Credentials::IdentityToken(token) => ("<token>", token.as_str()),
                Credentials::Anonymous => return Ok(()),
            };
            let input =
                json!({"ServerURL": server_url(registry), "Username": user, "Secret": secret});
            self.run_helper(&helper, "store", &input.to_string())?;
            return Ok(());
        }
        let entry = match credentials {
            Credentials::Basic { user, password } => {
                json!({"auth": STANDARD.encode(format!("{user}:{password}"))})
            }
            Credentials::IdentityToken(token) => json!({"identitytoken": token}),
            Credentials::Anonymous => return Ok(()),
        };
        let auths = file
            .entry("auths")
            .or_insert_with(|| Value::Object(Map::new()));
        match auths.as_object_mut() {
            Some(auths) => auths.insert(key.to_owned(), entry),
            None => return Err(malformed(&self.write)),
        };
        self.rewrite(&file)
    }

    /// Forgets the credentials stored under `key`. Whether there were any.
    ///
    /// # Errors
    /// What the helper or the kernel says.
    pub fn erase(&self, key: &str) -> Result<bool> {
        let Some(mut file) = read(&self.write)? else {
            return Ok(false);
        };
        let registry = key.split('/').next().unwrap_or(key);
        let mut found = false;
        if let Some(helper) = self.writer_helper(&file, key) {
            found = self.ask_helper(&helper, registry)? != Credentials::Anonymous;
            self.run_helper(&helper, "erase", server_url(registry))?;
        }
        if let Some(auths) = file.get_mut("auths").and_then(Value::as_object_mut) {
            let before = auths.len();
            auths.retain(|k, _| k != key && normalized(k) != key);
            found |= auths.len() != before;
        }
        if found {
            self.rewrite(&file)?;
        }
        Ok(found)
    }

    /// Forgets all credentials of the file.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn erase_all(&self) -> Result<()> {
        let Some(mut file) = read(&self.write)? else {
            return Ok(());
        };
        file.insert("auths".to_owned(), Value::Object(Map::new()));
        self.rewrite(&file)
    }

    fn writer_helper(&self, file: &Map<String, Value>, key: &str) -> Option<String> {
        let registry = key.split('/').next().unwrap_or(key);
        let helpers = file.get("credHelpers").and_then(Value::as_object);
        helpers
            .and_then(|h| h.get(key).or_else(|| h.get(registry)))
            .or_else(|| file.get("credsStore"))
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty() && self.helper_path(name).is_some())
            .map(str::to_owned)
    }

    fn rewrite(&self, file: &Map<String, Value>) -> Result<()> {
        if let Some(dir) = self.write.parent() {
            files::create_private_dir_all(dir)?;
        }
        let mut text = serde_json::to_string_pretty(file)
            .what_kind(Kind::Internal, || "cannot write credentials")?;
        text.push('\n');
        files::replace(&self.write, text.as_bytes(), 0o600, Durability::Durable)
    }

    fn helper_path(&self, name: &str) -> Option<PathBuf> {
        // The name comes from a file of the caller's, but a path in it would surprise them.
        if name.contains('/') {
            return None;
        }
        self.env.find_program(&format!("docker-credential-{name}"))
    }

    fn ask_helper(&self, helper: &str, registry: &str) -> Result<Credentials> {
        let answer = match self.run_helper(helper, "get", server_url(registry)) {
            Ok(answer) => answer,
            Err(e) if e.kind() == Kind::NotFound => return Ok(Credentials::Anonymous),
            Err(e) => return Err(e),
        };
        let what = || format!("credential helper {helper:?} answers no JSON");
        let answer: Value = serde_json::from_str(&answer).what_kind(Kind::Corrupt, what)?;
        let field = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        Ok(match (field("Username"), field("Secret")) {
            (_, "") => Credentials::Anonymous,
            ("<token>", secret) => Credentials::IdentityToken(secret.to_owned()),
            (user, secret) => Credentials::Basic {
                user: user.to_owned(),
                password: secret.to_owned(),
            },
        })
    }

    fn run_helper(&self, helper: &str, verb: &str, input: &str) -> Result<String> {
        let what = || format!("cannot run credential helper {helper:?}");
        let program = self.helper_path(helper).ok_or_else(|| {
            Error::new(Kind::Unavailable, what())
                .because(format!("no program docker-credential-{helper} in PATH"))
                .hint("install it, or remove it from the credential file")
        })?;
        let output = duct::cmd(&program, [verb])
            .stdin_bytes(input)
            .stdout_capture()
            .stderr_capture()
            .unchecked()
            .run()
            .what(what)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        // The protocol reports on stdout, in English, with status 1.
        let reason = if text.trim().is_empty() {
            String::from_utf8_lossy(&output.stderr).trim().to_owned()
        } else {
            text.trim().to_owned()
        };
        let kind =
            if reason.contains("not found in native keychain") || reason.contains("not found") {
                Kind::NotFound
            } else {
                Kind::Unavailable
            };
        Err(Error::new(kind, what()).because(reason))
    }
}

/// The key under which credentials of a registry are stored.
pub fn key_of(registry: &str) -> String {
    normalized(registry)
}

/// Docker's helpers know Docker Hub by its first address only.
fn server_url(registry: &str) -> &str {
    if registry == "docker.io" {
        "https://index.docker.io/v1/"
    } else {
        registry
    }
}

/// Strips scheme and path of docker's old keys; Docker Hub's names become one.
fn normalized(key: &str) -> String {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let key = match bare {
        // With a scheme the path is /v1/ or /v2/, never a repository.
        Some(rest) => rest.split('/').next().unwrap_or(rest),
        None => key.trim_end_matches('/'),
    };
    match key {
        "index.docker.io" | "registry-1.docker.io" | "hub.docker.com" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

/// `a/b/c`, `a/b`, `a`.
fn keys_of(name: &str) -> Vec<String> {
    let mut keys = vec![name.to_owned()];
    let mut rest = name;
    while let Some((parent, _)) = rest.rsplit_once('/') {
        keys.push(parent.to_owned());
        rest = parent;
    }
    keys
}

fn read(path: &Path) -> Result<Option<Map<String, Value>>> {
    let Some(bytes) = files::read_if_exists(path, LIMIT)? else {
        return Ok(None);
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Some(Map::new()));
    }
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| malformed(path).because(e))
}

fn malformed(path: &Path) -> Error {
    Error::new(
        Kind::Corrupt,
        format!("credential file {} is malformed", path.display()),
    )
}

fn decode(entry: &Value) -> Result<Credentials> {
    let field = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let token = field("identitytoken");
    if !token.is_empty() {
        return Ok(Credentials::IdentityToken(token.to_owned()));
    }
    if !field("username").is_empty() {
        return Ok(Credentials::Basic {
            user: field("username").to_owned(),
            password: field("password").to_owned(),
        });
    }
    let auth = field("auth");
    if auth.is_empty() {
        return Ok(Credentials::Anonymous);
    }
    let bad = || Error::new(Kind::Corrupt, "a stored credential is malformed");
    let decoded = STANDARD.decode(auth.trim()).map_err(|e| bad().because(e))?;
    let text = String::from_utf8(decoded).map_err(|e| bad().because(e))?;
    let (user, password) = text.split_once(':').ok_or_else(bad)?;
    Ok(Credentials::Basic {
        user: user.to_owned(),
        password: password.trim_end_matches('\0').to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(user: &str) -> Credentials {
        Credentials::Basic {
            user: user.to_owned(),
            password: "p".to_owned(),
        }
    }

    fn auth(user: &str) -> Value {
        json!({"auth": STANDARD.encode(format!("{user}:p"))})
    }

    #[test]
    fn the_most_specific_key_wins_and_docker_hub_has_many_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        let file = json!({"auths": {
            "quay.io": auth("registry"),
            "quay.io/a/b": auth("repository"),
            "https://index.docker.io/v1/": auth("hub"),
            "http://reg:5000/v2/": auth("old"),
            "token.io": {"identitytoken": "t"},
        }});
        std::fs::write(&path, file.to_string()).unwrap();
        let files = AuthFiles::new(Some(&path), None, &Env::fixed([("PATH", "/")]));
        for (name, user) in [
            ("quay.io/a/b", "repository"),
            ("quay.io/a/b/c", "repository"),
            ("quay.io/a", "registry"),
            ("docker.io/library/x", "hub"),
            ("reg:5000/x", "old"),
        ] {
            assert_eq!(files.find(name).unwrap(), basic(user), "{name}");
        }
        assert_eq!(
            files.find("token.io/x").unwrap(),
            Credentials::IdentityToken("t".to_owned())
        );
        assert_eq!(files.find("gcr.io/x").unwrap(), Credentials::Anonymous);
    }

    #[test]
    fn what_is_stored_is_found_and_other_fields_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/auth.json");
        let env = Env::fixed([("PATH", "/")]);
        let files = AuthFiles::compat(&path, &env);
        files.store("reg.example", &basic("me")).unwrap();
        let mut text: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        text["HttpHeaders"] = json!({"X": "y"});
        std::fs::write(&path, text.to_string()).unwrap();
        files.store("other/repo", &basic("you")).unwrap();
        assert_eq!(files.find("reg.example/x").unwrap(), basic("me"));
        assert!(files.erase("reg.example").unwrap());
        assert!(!files.erase("reg.example").unwrap());
        assert_eq!(files.find("reg.example/x").unwrap(), Credentials::Anonymous);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("HttpHeaders"), "{text}");
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        files.erase_all().unwrap();
        assert_eq!(files.find("other/repo").unwrap(), Credentials::Anonymous);
    }

    #[test]
    fn helpers_are_asked_and_their_not_found_is_no_error() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let helper = dir.path().join("docker-credential-fake");
        std::fs::write(
            &helper,
            "#!/bin/sh\nread s\ncase \"$1 $s\" in\n\
             'get reg.example') echo '{\"Username\":\"u\",\"Secret\":\"p\"}';;\n\
             *) echo 'credentials not found in native keychain'; exit 1;;\nesac\n",
        )
        .unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().join("auth.json");
        std::fs::write(
            &path,
            json!({"credHelpers": {"reg.example": "fake"}, "credsStore": "fake"}).to_string(),
        )
        .unwrap();
        let env = Env::fixed([("PATH", format!("{}:/usr/bin:/bin", dir.path().display()))]);
        let files = AuthFiles::new(Some(&path), None, &env);
        assert_eq!(files.find("reg.example/x").unwrap(), basic("u"));
        assert_eq!(
            files.find("none.example/x").unwrap(),
            Credentials::Anonymous
        );
    }

    #[test]
    fn secrets_are_never_printed() {
        assert_eq!(format!("{:?}", basic("me")), "Basic(…)");
    }
}
