//! Unencrypted requests through a web proxy: `GET http://host/path` to the proxy itself. Many
//! proxies tunnel (CONNECT) to encrypted ports only.
//!
//! The connection goes to the proxy; the first thing sent on it, the head of the one request that it
//! carries, gets the whole address in its first line.
//!
//! Spec: RFC 9112, section 3.2.2.

use ureq::http::Uri;
use ureq::unversioned::resolver::ResolvedSocketAddrs;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use super::resolver::Resolver;

/// The headers that such a request needs besides.
pub fn headers(proxy: &ureq::Proxy) -> Vec<(&'static str, String)> {
    use base64::Engine as _;
    // The next request is made known to the proxy on a connection of its own.
    let mut headers = vec![("connection", "close".to_owned())];
    if let Some(user) = proxy.username() {
        let pair = format!("{user}:{}", proxy.password().unwrap_or_default());
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        headers.push(("proxy-authorization", format!("Basic {pair}")));
    }
    headers
}

/// Whether requests to unencrypted servers are given to this proxy as they are.
pub fn forwards(proxy: &ureq::Proxy) -> bool {
    matches!(proxy.protocol(), ureq::ProxyProtocol::Http)
}

/// Looks up the proxy in the place of every server.
#[derive(Debug)]
pub struct ToProxy {
    /// Looks it up.
    pub resolver: Resolver,
    /// Where the proxy is.
    pub proxy: Uri,
}

impl ureq::unversioned::resolver::Resolver for ToProxy {
    fn resolve(
        &self,
        _uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        ureq::unversioned::resolver::Resolver::resolve(&self.resolver, &self.proxy, config, timeout)
    }
}

/// Wraps a connection to the proxy.
#[derive(Debug, Default)]
pub struct Forward;

impl<In: Transport> Connector<In> for Forward {
    type Out = Forwarded<In>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let server = details.uri.authority().map(|a| format!("http://{a}"));
        Ok(chained.map(|inner| Forwarded { inner, server }))
    }
}

/// A connection to the proxy that carries one request.
#[derive(Debug)]
pub struct Forwarded<In> {
    inner: In,
    /// What the first line still lacks.
    server: Option<String>,
}

impl<In: Transport> Transport for Forwarded<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(
        &mut self,
        mut amount: usize,
        timeout: NextTimeout,
    ) -> Result<(), ureq::Error> {
        if let Some(server) = self.server.take() {
            amount = insert(self.inner.buffers().output(), amount, server.as_bytes())
                .ok_or(ureq::Error::LargeResponseHeader(amount, amount))?;
        }
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        // Never for a second request.
        false
    }
}

/// Puts `server` before the target of a request's first line; how many bytes there are then.
fn insert(output: &mut [u8], amount: usize, server: &[u8]) -> Option<usize> {
    let target = output.get(..amount)?.iter().position(|b| *b == b' ')? + 1;
    let end = amount.checked_add(server.len())?;
    output.get(..end)?;
    output.copy_within(target..amount, target + server.len());
    output
        .get_mut(target..target + server.len())?
        .copy_from_slice(server);
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_gets_the_whole_address() {
        let head = b"GET /v2/?x=1 HTTP/1.1\r\nhost: h:5000\r\n\r\n";
        let mut buffer = head.to_vec();
        buffer.resize(100, 0);
        let end = insert(&mut buffer, head.len(), b"http://h:5000").unwrap();
        let text = String::from_utf8_lossy(&buffer[..end]);
        assert!(
            text.starts_with("GET http://h:5000/v2/?x=1 HTTP/1.1\r\nhost"),
            "{text}"
        );
        assert!(text.ends_with("\r\n\r\n"));
        // No room, and no request line.
        assert_eq!(insert(&mut head.to_vec(), head.len(), b"http://h"), None);
        assert_eq!(insert(&mut [b'x'; 90], 40, b"http://h"), None);
    }

    #[test]
    fn credentials_go_to_the_proxy() {
        let proxy = ureq::Proxy::new("http://me:secret@proxy:3128").unwrap();
        assert!(forwards(&proxy));
        let all = headers(&proxy);
        assert_eq!(all[0], ("connection", "close".to_owned()));
        assert_eq!(
            all[1],
            ("proxy-authorization", "Basic bWU6c2VjcmV0".to_owned())
        );
        assert_eq!(headers(&ureq::Proxy::new("http://proxy").unwrap()).len(), 1);
        assert!(!forwards(&ureq::Proxy::new("https://proxy").unwrap()));
    }
}
