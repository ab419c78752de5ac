//! What every command needs that talks to registries: configuration, credentials, clients.

use std::path::Path;
use std::sync::Arc;

use super::policy::RegistryOptions;
use crate::base::progress::Progress;
use crate::base::{Error, Kind, Result};
use crate::operations::session::Session;
use crate::registry::client::{Client, Settings};
use crate::registry::credentials::{AuthFiles, Credentials};
use crate::registry::policy::{Policy, Rule};
use crate::registry::registries_conf::{Endpoint, Registries};
use crate::registry::trust;
use crate::registry::trust::lookaside::Lookaside;
use crate::spec::digest::Digest;
use crate::spec::reference::Reference;

/// The configuration of registries, read once for a command.
pub struct Remote {
    /// registries.conf.
    pub registries: Registries,
    /// policy.json.
    pub policy: Policy,
    /// Credential files.
    pub auth: AuthFiles,
    settings: Settings,
    explicit: Option<Credentials>,
}

impl Remote {
    /// Reads the configuration files. Before the user namespace is entered, or after: the caller
    /// is the same.
    ///
    /// # Errors
    /// `Invalid` for a malformed file.
    pub fn open(session: &Session, options: &RegistryOptions) -> Result<Self> {
        let mut settings = Settings::new(&session.env, Arc::clone(&session.progress));
        settings.tls_verify = options.tls_verify;
        settings.cert_dir.clone_from(&options.cert_dir);
        if let Some(retry) = options.retry {
            settings.retry = retry;
        }
        settings.retry_delay = options.retry_delay;
        Ok(Self {
            registries: Registries::load(session.options.registries_conf.as_deref(), &session.env)?,
            policy: Policy::load(&session.env)?,
            auth: auth_files(session, options.authfile.as_deref()),
            settings,
            explicit: options
                .credentials
                .as_ref()
                .map(|(user, password)| Credentials::Basic {
                    user: user.clone(),
                    password: password.clone(),
                }),
        })
    }

    /// How servers are talked to.
    pub fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// Who hears of progress.
    pub fn progress(&self) -> &dyn Progress {
        &*self.settings.progress
    }

    /// A client for a place, with the credentials for it: those of the command line for the place
    /// itself, never for a mirror.
    ///
    /// # Errors
    /// `Invalid` or `Corrupt` for malformed certificates and credential files.
    pub fn client(&self, endpoint: &Endpoint) -> Result<Client> {
        let credentials = match &self.explicit {
            Some(explicit) if !endpoint.mirror => explicit.clone(),
            _ => self
                .auth
                .find(&format!("{}/{}", endpoint.registry, endpoint.repository))?,
        };
        Client::new(endpoint, credentials, self.settings())
    }

    /// Reads something of a reference: each mirror is tried, then the place itself. A mirror that
    /// does not serve is worth a word.
    ///
    /// # Errors
    /// `Denied` by policy.json; what `work` says of the place itself.
    pub fn read<T>(
        &self,
        reference: &Reference,
        work: impl Fn(&Client, &Endpoint) -> Result<T>,
    ) -> Result<T> {
        self.read_signed(reference, |client, endpoint, rules| {
            if rules.is_empty() {
                return work(client, endpoint);
            }
            Err(Error::new(
                Kind::Denied,
                format!(
                    "image {reference} must be signed by policy.json, which is not verified here"
                ),
            )
            .hint("pull it first"))
        })
    }

    /// As [`Remote::read`], for who verifies the signatures that the image must have.
    ///
    /// # Errors
    /// As [`Remote::read`].
    pub fn read_signed<T>(
        &self,
        reference: &Reference,
        work: impl Fn(&Client, &Endpoint, &[&Rule]) -> Result<T>,
    ) -> Result<T> {
        let rules = self.policy.check_registry(reference)?;
        let mut last = None;
        for endpoint in self.registries.endpoints(reference)? {
            let attempt = self
                .client(&endpoint)
                .and_then(|client| work(&client, &endpoint, &rules));
            match attempt {
                Err(e) if endpoint.mirror => {
                    self.progress().message(&format!(
                        "mirror {} does not serve: {}",
                        endpoint.registry,
                        e.one_line()
                    ));
                    last = Some(e);
                }
                other => return other,
            }
        }
        Err(last.unwrap_or_else(|| Error::not_found("no registry to ask")))
    }

    /// Verifies the signatures that the policy wants: those of `rules`, for an image that has any
    /// of `digests`.
    ///
    /// # Errors
    /// `Denied` when the image may not be used.
    pub fn verify(
        &self,
        rules: &[&Rule],
        reference: &Reference,
        digests: &[&Digest],
        (client, endpoint): (&Client, &Endpoint),
    ) -> Result<()> {
        if rules.is_empty() {
            return Ok(());
        }
        let image = trust::Image {
            reference,
            digests,
            client,
            repository: &endpoint.repository,
            lookaside: &Lookaside::load(&self.settings.env)?,
        };
        trust::verify(&image, rules)
    }

    /// The credentials given on the command line.
    pub fn explicit(&self) -> Option<&Credentials> {
        self.explicit.as_ref()
    }
}

/// The credential files of a session.
pub fn auth_files(session: &Session, authfile: Option<&Path>) -> AuthFiles {
    AuthFiles::new(
        authfile,
        session.options.docker_config.as_deref(),
        &session.env,
    )
}
