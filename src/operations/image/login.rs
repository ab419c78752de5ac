//! `login` and `logout`.

use std::path::{Path, PathBuf};

use super::policy::RegistryOptions;
use super::remote::{self, Remote};
use crate::base::{Context as _, Error, Kind, Result};
use crate::operations::session::Session;
use crate::registry::client::Client;
use crate::registry::credentials::{AuthFiles, Credentials, key_of};
use crate::registry::registries_conf::Endpoint;

/// Which file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthFile {
    /// `--authfile`.
    pub authfile: Option<PathBuf>,
    /// `--compat-auth-file`: docker's form.
    pub compat: Option<PathBuf>,
}

fn files(session: &Session, which: &AuthFile) -> Result<AuthFiles> {
    match (&which.authfile, &which.compat) {
        (Some(_), Some(_)) => Err(Error::invalid(
            "--authfile and --compat-auth-file exclude each other",
        )),
        (None, Some(path)) => Ok(AuthFiles::compat(path, &session.env)),
        (path, None) => Ok(remote::auth_files(session, path.as_deref())),
    }
}

/// The registry that a login without a name means: the first to search, or Docker Hub.
///
/// # Errors
/// `Invalid` for a malformed registries.conf.
pub fn default_registry(session: &Session) -> Result<String> {
    let remote = Remote::open(session, &RegistryOptions::default())?;
    Ok(remote
        .registries
        .search_registries()
        .into_iter()
        .next()
        .unwrap_or_else(|| "docker.io".to_owned()))
}

/// The account that is logged in.
///
/// # Errors
/// `NotFound` when none is.
pub fn current(session: &Session, registry: &str, which: &AuthFile) -> Result<String> {
    let files = match which.authfile.as_deref() {
        // A file that does not exist yet holds nobody.
        Some(path) if !path.exists() => return Err(nobody(registry)),
        _ => files(session, which)?,
    };
    match files.find(&key_of(registry))? {
        Credentials::Basic { user, .. } => Ok(user),
        Credentials::IdentityToken(_) => Ok("<token>".to_owned()),
        Credentials::Anonymous => Err(nobody(registry)),
    }
}

fn nobody(registry: &str) -> Error {
    Error::not_found(format!("not logged into {registry}"))
}

/// Proves the credentials to the registry, then stores them.
///
/// # Errors
/// `Denied` when the registry refuses them: nothing is stored then.
pub fn login(
    session: &Session,
    registry: &str,
    credentials: &Credentials,
    options: &RegistryOptions,
    which: &AuthFile,
) -> Result<()> {
    prove(session, registry, credentials, options)?;
    files(session, which)?.store(&key_of(registry), credentials)
}

/// Proves a user name and a password to the registry, and stores nothing.
///
/// # Errors
/// `Denied` when the registry refuses them.
pub fn check(session: &Session, registry: &str, user: &str, password: &str) -> Result<()> {
    let credentials = Credentials::Basic {
        user: user.to_owned(),
        password: password.to_owned(),
    };
    prove(session, registry, &credentials, &RegistryOptions::default())
}

fn prove(
    session: &Session,
    registry: &str,
    credentials: &Credentials,
    options: &RegistryOptions,
) -> Result<()> {
    let key = key_of(registry);
    // The file is not read here: it may not exist yet.
    let unread = RegistryOptions {
        authfile: None,
        ..options.clone()
    };
    let remote = Remote::open(session, &unread)?;
    let (host, repository) = key.split_once('/').unwrap_or((&key, "x"));
    let reference = format!("{host}/{repository}")
        .parse()
        .what(|| format!("{registry:?} is no registry"))?;
    let endpoint = remote
        .registries
        .endpoints(&reference)?
        .into_iter()
        .find(|e| !e.mirror)
        .unwrap_or(Endpoint {
            registry: host.to_owned(),
            repository: String::new(),
            insecure: None,
            mirror: false,
        });
    let client = Client::new(&endpoint, credentials.clone(), remote.settings())?;
    client.check_login().map_err(|e| {
        let kind = e.kind();
        let error = Error::new(kind, format!("cannot log into {registry}")).because(e);
        if kind == Kind::Denied {
            error.hint("check user name and password")
        } else {
            error
        }
    })?;
    Ok(())
}

/// Forgets the credentials of a registry. Whether there were any.
///
/// # Errors
/// What the file or the helper says.
pub fn logout(session: &Session, registry: &str, which: &AuthFile) -> Result<bool> {
    let key = key_of(registry);
    let erased = files(session, which)?.erase(&key)?;
    if erased || which.authfile.is_some() || which.compat.is_some() {
        return Ok(erased);
    }
    // Logged in by docker, or by an older podman: those files are the caller's as well.
    let mut any = false;
    for path in remote::auth_files(session, None).others() {
        if Path::new(&path).exists() {
            any |= AuthFiles::compat(&path, &session.env).erase(&key)?;
        }
    }
    Ok(any)
}

/// Forgets all credentials.
///
/// # Errors
/// What the kernel says.
pub fn logout_all(session: &Session, which: &AuthFile) -> Result<()> {
    files(session, which)?.erase_all()
}
