//! One HTTP exchange, and what its failure means: is it worth another try?
//!
//! Redirects are not followed here, statuses are not judged here: the client does.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use rustls::AlertDescription;
use ureq::http::{Method, Request, Response, StatusCode, Uri};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector as _, TcpConnector};
use ureq::{Agent, AsSendBody, Body, SendBody};

use super::client::LONGEST_WAIT;
use super::forward::{self, Forward, ToProxy};
use super::proxy::Proxies;
use super::resolver::Resolver;
use super::tls::{TlsConnector, Trust};
use crate::base::time::human_duration;
use crate::base::{Error, Kind};

/// A registry may take this long to check and store what was uploaded.
const SLOW: Duration = Duration::from_secs(900);

/// Connections to one registry and to wherever it redirects.
#[derive(Debug)]
pub struct Http {
    agent: Agent,
    /// Sends to the proxy what goes to unencrypted servers.
    forward: Option<Agent>,
    proxies: Proxies,
    stall: Duration,
}

/// What goes out with a request.
#[derive(Clone, Copy)]
pub enum Payload<'a> {
    /// Nothing.
    None,
    /// A small body; may be empty.
    Bytes(&'a [u8]),
    /// Part of a file.
    Part {
        /// The file.
        file: &'a File,
        /// First byte.
        offset: u64,
        /// How many.
        length: u64,
        /// Told how many bytes of the file went out so far.
        sent: &'a (dyn Fn(u64) + Sync),
    },
}

/// A request.
pub struct Exchange<'a> {
    /// GET, HEAD, POST, PUT, PATCH or DELETE.
    pub method: Method,
    /// Absolute address.
    pub url: &'a str,
    /// Headers besides those of HTTP itself.
    pub headers: &'a [(&'static str, String)],
    /// The body.
    pub payload: Payload<'a>,
}

/// Why there is no answer, or no good one.
#[derive(Debug)]
pub struct Failure {
    /// For the person.
    pub error: Error,
    /// Whether to try again.
    pub retry: Retry,
    /// The server speaks plain HTTP, or is not there on the TLS port.
    pub no_tls: bool,
}

/// Whether another try may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// No.
    No,
    /// After a while.
    Backoff,
    /// After the time that the server named.
    After(Duration),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            retry: Retry::No,
            no_tls: false,
        }
    }
}

impl Failure {
    /// Whether to try again at all: nobody waits for hours.
    pub fn may_pass(&self) -> bool {
        match self.retry {
            Retry::No => false,
            Retry::Backoff => true,
            Retry::After(wait) => wait <= LONGEST_WAIT,
        }
    }

    /// One that another try may mend.
    pub fn transient(error: Error) -> Self {
        Self {
            error,
            retry: Retry::Backoff,
            no_tls: false,
        }
    }
}

/// Reads part of a file without moving its offset, so that a retry starts afresh.
struct PartReader<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
    sent: &'a (dyn Fn(u64) + Sync),
}

impl Read for PartReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let n = self.file.read_at(&mut buffer[..most], self.offset)?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += n as u64;
        self.left -= n as u64;
        (self.sent)(self.offset);
        Ok(n)
    }
}

impl Http {
    /// Opens no connection. `stall` is how long a server may be silent.
    pub fn new(trust: Arc<Trust>, resolver: Resolver, proxies: Proxies, stall: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("coracle/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .max_idle_connections(8)
            .max_idle_connections_per_host(8)
            .timeout_resolve(Some(Duration::from_secs(30)))
            .timeout_connect(Some(stall))
            .timeout_per_read(Some(stall))
            .timeout_per_write(Some(stall))
            .build();
        let forward = proxies.forward().map(|proxy| {
            Agent::with_parts(
                config.clone(),
                ().chain(TcpConnector::default()).chain(Forward),
                ToProxy {
                    resolver: resolver.clone(),
                    proxy: proxy.uri().clone(),
                },
            )
        });
        let connector =
            ().chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(TlsConnector(trust));
        Self {
            agent: Agent::with_parts(config, connector, resolver),
            forward,
            proxies,
            stall,
        }
    }

    /// Sends a request and receives the head of the answer, whatever its status.
    ///
    /// # Errors
    /// No connection, no trust, no answer, or an answer that is no HTTP.
    pub fn send(&self, exchange: &Exchange<'_>) -> Result<Response<Body>, Failure> {
        let uri: Uri = exchange.url.parse().map_err(|e| {
            Error::new(Kind::Corrupt, "the registry leads to a malformed address").because(e)
        })?;
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(exchange.method.clone())
            .uri(uri.clone());
        for (name, value) in exchange.headers {
            request = request.header(*name, value.as_str());
        }
        let bad = |e: ureq::http::Error| {
            Failure::from(Error::new(Kind::Invalid, "cannot make the request").because(e))
        };
        match exchange.payload {
            Payload::None => self.run(request.body(()).map_err(bad)?, &host),
            Payload::Bytes(bytes) => self.run(request.body(bytes).map_err(bad)?, &host),
            Payload::Part {
                file,
                offset,
                length,
                sent,
            } => {
                let mut part = PartReader {
                    file,
                    offset,
                    left: length,
                    sent,
                };
                request = request.header("content-length", length);
                let body = SendBody::from_reader(&mut part);
                self.run(request.body(body).map_err(bad)?, &host)
            }
        }
    }

    fn run<B: AsSendBody>(
        &self,
        mut request: Request<B>,
        host: &str,
    ) -> Result<Response<Body>, Failure> {
        let mut proxy = self.proxies.for_uri(request.uri());
        let slow = matches!(*request.method(), Method::PUT | Method::PATCH);
        let through = proxy.as_ref().map(|p| format!("{}:{}", p.host(), p.port()));
        let plain = request.uri().scheme_str() == Some("http");
        let agent = match (
            &self.forward,
            proxy.take_if(|p| plain && forward::forwards(p)),
        ) {
            (Some(agent), Some(proxy)) => {
                for (name, value) in forward::headers(&proxy) {
                    if let Ok(value) = value.parse() {
                        request.headers_mut().insert(name, value);
                    }
                }
                agent
            }
            _ => &self.agent,
        };
        let mut config = agent.configure_request(request).proxy(proxy);
        if slow {
            config = config.timeout_per_read(Some(SLOW.max(self.stall)));
        }
        agent.run(config.build()).map_err(|e| {
            let mut failure = failure(e, host, self.stall);
            if let Some(proxy) = through
                && matches!(failure.error.kind(), Kind::Unavailable | Kind::TimedOut)
            {
                failure.error = failure.error.hint(format!(
                    "it is asked through the proxy {proxy}: check HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
                ));
            }
            failure
        })
    }
}

/// What an error of the HTTP library means.
fn failure(error: ureq::Error, host: &str, stall: Duration) -> Failure {
    let seconds = stall.as_secs();
    match error {
        ureq::Error::Timeout(_) => Failure::transient(
            Error::new(
                Kind::TimedOut,
                format!("{host} has been silent for {seconds} seconds"),
            )
            .hint("check the network; CORACLE_REGISTRY_TIMEOUT sets the patience in seconds"),
        ),
        ureq::Error::Other(inner) => match inner.downcast::<Error>() {
            Ok(inner) => {
                let lasting = inner.kind() == Kind::NotFound;
                // A host that nobody knows is not the image that nobody has.
                let error = inner.with_kind(Kind::Unavailable);
                if lasting {
                    error.into()
                } else {
                    Failure::transient(error)
                }
            }
            Err(inner) => Failure::transient(
                Error::new(Kind::Unavailable, format!("cannot reach {host}")).because(inner),
            ),
        },
        ureq::Error::Rustls(inner) => tls_failure(inner, host),
        ureq::Error::Io(io) => io_failure(io, host, seconds),
        ureq::Error::ConnectProxyFailed(reason) => Error::new(
            Kind::Unavailable,
            format!("the proxy does not connect to {host}"),
        )
        .because(reason)
        .hint("check HTTPS_PROXY and NO_PROXY")
        .into(),
        other => Failure::transient(
            Error::new(Kind::Unavailable, format!("{host} gives no proper answer")).because(other),
        ),
    }
}

/// What an error while a body is read or a connection made means.
pub fn io_failure(io: std::io::Error, host: &str, seconds: u64) -> Failure {
    let io = match io.downcast::<ureq::Error>() {
        Ok(inner) => return failure(inner, host, Duration::from_secs(seconds)),
        Err(io) => io,
    };
    let io = match io.downcast::<rustls::Error>() {
        Ok(inner) => return tls_failure(inner, host),
        Err(io) => io,
    };
    let what = format!("cannot reach {host}");
    match io.kind() {
        std::io::ErrorKind::ConnectionRefused
        | std::io::ErrorKind::HostUnreachable
        | std::io::ErrorKind::NetworkUnreachable => Failure {
            error: Error::new(Kind::Unavailable, what).because(io),
            retry: Retry::No,
            no_tls: true,
        },
        std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => {
            Failure::transient(Error::new(Kind::TimedOut, what).because(io))
        }
        // A server without TLS may also hang up at the first strange byte.
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => Failure {
            error: Error::new(Kind::Unavailable, format!("{host} closed the connection"))
                .because(io),
            retry: Retry::Backoff,
            no_tls: true,
        },
        _ => Failure::transient(Error::new(Kind::Unavailable, what).because(io)),
    }
}

fn tls_failure(error: rustls::Error, host: &str) -> Failure {
    match &error {
        rustls::Error::InvalidCertificate(_) => {
            Error::new(Kind::Denied, format!("{host} shows a certificate that is not trusted"))
                .because(error)
                .hint(format!(
                    "put its authority into ~/.config/containers/certs.d/{host}/ca.crt, or use --tls-verify=false"
                ))
                .into()
        }
        rustls::Error::InvalidMessage(_) => Failure {
            error: Error::new(Kind::Denied, format!("{host} does not speak TLS"))
                .because(error)
                .hint("use --tls-verify=false, or \"insecure = true\" in registries.conf, to allow plain HTTP"),
            retry: Retry::No,
            no_tls: true,
        },
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => Error::new(
            Kind::Denied,
            format!("{host} wants a client certificate, or another one"),
        )
        .because(error)
        .hint(format!(
            "put it into ~/.config/containers/certs.d/{host} as client.cert and client.key"
        ))
        .into(),
        _ => Error::new(Kind::Denied, format!("no TLS with {host}"))
            .because(error)
            .into(),
    }
}

/// What a status other than the expected one means; `reason` is what the body says.
pub fn refusal(
    status: StatusCode,
    reason: &str,
    host: &str,
    retry_after: Option<Duration>,
) -> Failure {
    let said = |text: &str| {
        if reason.is_empty() {
            text.to_owned()
        } else {
            format!("{text}: {reason}")
        }
    };
    match status.as_u16() {
        401 => Error::new(Kind::Denied, said(&format!("{host} wants a login")))
            .hint(format!("coracle login {host}"))
            .into(),
        403 => Error::new(Kind::Denied, said(&format!("{host} denies access")))
            .hint(format!("check the name, or \"coracle login {host}\""))
            .into(),
        404 => Error::not_found(said(&format!("{host} does not have it"))).into(),
        429 => Failure {
            error: Error::new(
                Kind::Unavailable,
                said(&format!("{host} says: too many requests")),
            )
            .hint(match retry_after {
                Some(wait) if wait > LONGEST_WAIT => format!(
                    "try again in {}, or log in: \"coracle login {host}\"",
                    human_duration(wait)
                ),
                _ => format!("wait, or log in: \"coracle login {host}\""),
            }),
            retry: Retry::After(retry_after.unwrap_or(Duration::from_secs(5))),
            no_tls: false,
        },
        500 | 502 | 503 | 504 | 408 => Failure {
            error: Error::new(
                Kind::Unavailable,
                said(&format!(
                    "{host} has a problem (status {})",
                    status.as_u16()
                )),
            ),
            retry: retry_after.map_or(Retry::Backoff, Retry::After),
            no_tls: false,
        },
        code => Error::new(
            Kind::Unavailable,
            said(&format!("{host} answers with status {code}")),
        )
        .into(),
    }
}
