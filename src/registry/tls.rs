//! TLS: whom to trust, and the connections.
//!
//! The host's roots are read at the first TLS connection, never before: that takes milliseconds.
//! Where the host has none, Mozilla's built-in list serves. Registries' own authorities and client
//! certificates are in `certs.d` folders, or in the one given with `--cert-dir`.
//!
//! man: containers-certs.d(5).

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
    TransportAdapter,
};

use crate::base::fs as files;
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::env::Env;
use crate::config::user;

const LIMIT: u64 = 4 << 20;

/// Whom one registry's connections trust.
pub struct Trust {
    verify: bool,
    /// The host's own roots count, too.
    native: bool,
    authorities: Vec<CertificateDer<'static>>,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    config: OnceLock<Arc<ClientConfig>>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust")
            .field("verify", &self.verify)
            .field("authorities", &self.authorities.len())
            .finish_non_exhaustive()
    }
}

impl Trust {
    /// Reads the certificates for `host[:port]`: from `cert_dir` alone if given, else from the
    /// `certs.d` folders of containers and docker.
    ///
    /// # Errors
    /// `Invalid` for a malformed certificate, or a client certificate without its key.
    pub fn load(host: &str, cert_dir: Option<&Path>, verify: bool, env: &Env) -> Result<Self> {
        let dirs = match cert_dir {
            Some(dir) if !dir.is_dir() => {
                return Err(Error::not_found(format!(
                    "no such folder: {}",
                    dir.display()
                )));
            }
            Some(dir) => vec![dir.to_owned()],
            None => {
                let config = env.config_home(&user::current().home);
                [
                    config.join("containers/certs.d"),
                    PathBuf::from("/etc/containers/certs.d"),
                    config.join("docker/certs.d"),
                    PathBuf::from("/etc/docker/certs.d"),
                ]
                .into_iter()
                .map(|dir| dir.join(host))
                .collect()
            }
        };
        let mut trust = Self {
            verify,
            native: true,
            authorities: Vec::new(),
            client: None,
            config: OnceLock::new(),
        };
        for dir in dirs {
            trust.read_dir(&dir)?;
        }
        Ok(trust)
    }

    /// Trust in what somebody hands over, PEM: with `authorities` in those alone, without in the
    /// host's; `client` is a certificate and its key.
    ///
    /// # Errors
    /// `Invalid` for a malformed certificate or key.
    pub fn given(
        verify: bool,
        authorities: Option<&[u8]>,
        client: Option<(&[u8], &[u8])>,
    ) -> Result<Self> {
        let client = client
            .map(|(chain, key)| -> Result<_> {
                let key = PrivateKeyDer::from_pem_slice(key)
                    .what_kind(Kind::Invalid, || "the client's key is no key")?;
                Ok((parsed(chain, "the client's certificate")?, key))
            })
            .transpose()?;
        Ok(Self {
            verify,
            native: authorities.is_none(),
            authorities: match authorities {
                Some(pem) => parsed(pem, "the certificate authority")?,
                None => Vec::new(),
            },
            client,
            config: OnceLock::new(),
        })
    }

    fn read_dir(&mut self, dir: &Path) -> Result<()> {
        let Ok(entries) = std::fs::read_dir(dir) else {
            return Ok(());
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            match path.extension().and_then(|e| e.to_str()) {
                Some("crt") => self.authorities.extend(certificates(&path)?),
                Some("cert") => {
                    let key = path.with_extension("key");
                    let bytes = files::read_if_exists(&key, LIMIT)?.ok_or_else(|| {
                        Error::invalid(format!("{} has no key beside it", path.display()))
                            .hint(format!("put it into {}", key.display()))
                    })?;
                    let key = PrivateKeyDer::from_pem_slice(&bytes)
                        .what_kind(Kind::Invalid, || format!("{} is no key", key.display()))?;
                    self.client = Some((certificates(&path)?, key));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn config(&self) -> std::result::Result<Arc<ClientConfig>, rustls::Error> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = if self.verify {
            builder.with_root_certificates(self.roots())
        } else {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anyone))
        };
        let config = match &self.client {
            Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key())?,
            None => builder.with_no_client_auth(),
        };
        Ok(Arc::clone(self.config.get_or_init(|| Arc::new(config))))
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        if self.native {
            let native = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(native.certs);
            if roots.is_empty() {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
        }
        roots.add_parsable_certificates(self.authorities.iter().cloned());
        roots
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    parsed(&files::read(path, LIMIT)?, &path.display().to_string())
}

/// The certificates of PEM text that is called `name` in errors.
fn parsed(pem: &[u8], name: &str) -> Result<Vec<CertificateDer<'static>>> {
    let bad = || format!("{name} holds no certificate");
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<std::result::Result<Vec<_>, _>>()
        .what_kind(Kind::Invalid, bad)?;
    if found.is_empty() {
        return Err(Error::invalid(bad()));
    }
    Ok(found)
}

/// Puts TLS on connections to `https` addresses.
#[derive(Debug)]
pub struct TlsConnector(pub Arc<Trust>);

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> std::result::Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else {
            return Ok(None);
        };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default();
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| ureq::Error::Tls("the host's name cannot be in a certificate"))?;
        let mut connection = ClientConnection::new(self.0.config()?, name)?;
        let mut socket =
            TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket)?;
        Ok(Some(Either::B(TlsTransport {
            buffers: LazyBuffers::new(
                details.config.input_buffer_size(),
                details.config.output_buffer_size(),
            ),
            stream: StreamOwned {
                conn: connection,
                sock: socket,
            },
        })))
    }
}

/// An encrypted connection.
pub struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl std::fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsTransport")
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(
        &mut self,
        amount: usize,
        timeout: NextTimeout,
    ) -> std::result::Result<(), ureq::Error> {
        use std::io::Write as _;
        self.stream.get_mut().set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        self.stream.write_all(output)?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> std::result::Result<bool, ureq::Error> {
        use std::io::Read as _;
        self.stream.get_mut().set_timeout(timeout);
        let input = self.buffers.input_append_buf();
        let amount = self.stream.read(input)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// `--tls-verify=false`: encrypted, but with whomever.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls_pki_types::UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_folders_are_read_and_half_pairs_refused() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::fixed([("HOME", "/nonexistent")]);
        assert!(Trust::load("x", Some(&dir.path().join("none")), true, &env).is_err());
        assert!(Trust::load("x", Some(dir.path()), true, &env).is_ok());
        std::fs::write(dir.path().join("client.cert"), "x").unwrap();
        let e = Trust::load("x", Some(dir.path()), true, &env).unwrap_err();
        assert!(e.what().contains("no key"), "{e:?}");
        std::fs::remove_file(dir.path().join("client.cert")).unwrap();
        std::fs::write(dir.path().join("ca.crt"), "x").unwrap();
        assert!(Trust::load("x", Some(dir.path()), true, &env).is_err());
    }
}
