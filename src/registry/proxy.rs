//! Proxies of the environment: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, in Go's meaning.

use std::net::IpAddr;

use crate::base::{Error, Kind, Result};
use crate::config::env::Env;

/// The proxies in force.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Option<ureq::Proxy>,
    https: Option<ureq::Proxy>,
    except: Vec<String>,
}

impl Proxies {
    /// Reads the environment; the lower-case form of a variable wins.
    ///
    /// # Errors
    /// `Invalid` for a malformed address, `Unsupported` for a SOCKS proxy.
    pub fn from_env(env: &Env) -> Result<Self> {
        let both = |name: &str| {
            env.text(&name.to_ascii_lowercase())
                .or_else(|| env.text(name))
        };
        let proxy = |name: &str| -> Result<Option<ureq::Proxy>> {
            let Some(text) = both(name) else {
                return Ok(None);
            };
            if text.starts_with("socks") {
                return Err(Error::unsupported(format!("{name} names a SOCKS proxy"))
                    .hint("use an http:// proxy, or unset the variable"));
            }
            let proxy = ureq::Proxy::new(&text).map_err(|e| {
                // The address may hold a password: it is not repeated.
                Error::new(Kind::Invalid, format!("{name} is no proxy address")).because(e)
            })?;
            Ok(Some(proxy))
        };
        Ok(Self {
            http: proxy("HTTP_PROXY")?,
            https: proxy("HTTPS_PROXY")?,
            except: both("NO_PROXY")
                .unwrap_or_default()
                .split(',')
                .map(|word| word.trim().to_ascii_lowercase())
                .filter(|word| !word.is_empty())
                .collect(),
        })
    }

    /// The proxy to which requests to unencrypted servers are given as they are.
    pub fn forward(&self) -> Option<&ureq::Proxy> {
        self.http.as_ref().filter(|p| super::forward::forwards(p))
    }

    /// The proxy for an address; loopback is never asked through one.
    pub fn for_uri(&self, uri: &ureq::http::Uri) -> Option<ureq::Proxy> {
        let proxy = match uri.scheme_str() {
            Some("http") => self.http.as_ref(),
            _ => self.https.as_ref(),
        }?;
        let host = uri.host()?.trim_matches(['[', ']']).to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
            Some("http") => 80,
            _ => 443,
        });
        let loopback = host == "localhost"
            || host.ends_with(".localhost")
            || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if loopback || self.except.iter().any(|word| excepts(word, &host, port)) {
            return None;
        }
        Some(proxy.clone())
    }
}

/// `*`, `host`, `.domain`, `*.domain`, an address, or `address/bits`; with `:port` for that port
/// only.
fn excepts(word: &str, host: &str, port: u16) -> bool {
    if word == "*" {
        return true;
    }
    let (word, only) = split_port(word);
    if only.is_some_and(|only| only != port) {
        return false;
    }
    if let Some((network, bits)) = word.split_once('/')
        && let (Ok(network), Ok(bits), Ok(address)) = (
            network.parse::<IpAddr>(),
            bits.parse::<u32>(),
            host.parse::<IpAddr>(),
        )
    {
        return in_network(network, bits, address);
    }
    if let Ok(address) = word.parse::<IpAddr>() {
        return host.parse() == Ok(address);
    }
    let bare = word.trim_start_matches('*').trim_start_matches('.');
    if bare.is_empty() {
        return false;
    }
    let below = host
        .strip_suffix(bare)
        .is_some_and(|rest| rest.ends_with('.'));
    // A plain name means itself and everything below it, a leading dot only what is below.
    below || (host == bare && !word.starts_with(['.', '*']))
}

/// `host:port`, `[v6]:port`, `[v6]`, `v6`, `host`.
fn split_port(word: &str) -> (&str, Option<u16>) {
    if let Some((inside, after)) = word.strip_prefix('[').and_then(|w| w.split_once(']')) {
        return (inside, after.strip_prefix(':').and_then(|p| p.parse().ok()));
    }
    match word.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (word, None),
        },
        _ => (word, None),
    }
}

fn in_network(network: IpAddr, bits: u32, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(n), IpAddr::V4(a)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            n.to_bits() & mask == a.to_bits() & mask
        }
        (IpAddr::V6(n), IpAddr::V6(a)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            n.to_bits() & mask == a.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_gos() {
        for (word, host, excepted) in [
            ("*", "x", true),
            ("example.com", "example.com", true),
            ("example.com", "a.example.com", true),
            ("example.com", "badexample.com", false),
            (".example.com", "example.com", false),
            (".example.com", "a.example.com", true),
            ("*.example.com", "a.example.com", true),
            ("example.com:443", "example.com", true),
            ("example.com:443", "a.example.com", true),
            ("example.com:80", "example.com", false),
            (".example.com:5000", "a.example.com", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.0.0.0/8", "ten.example", false),
            ("0.0.0.0/0", "11.1.2.3", true),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("fd00::/8", "fd00::1", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1:443", "10.0.0.1", true),
            ("10.0.0.1:80", "10.0.0.1", false),
            ("fd00::1", "fd00:0::1", true),
            ("[fd00::1]", "fd00::1", true),
            ("[fd00::1]:443", "fd00::1", true),
            ("[fd00::1]:80", "fd00::1", false),
            (".", "x", false),
            ("example.com:", "example.com", false),
        ] {
            assert_eq!(excepts(word, host, 443), excepted, "{word} {host}");
        }
    }

    #[test]
    fn loopback_and_exceptions_go_direct() {
        let env = Env::fixed([
            ("HTTPS_PROXY", "http://proxy:3128"),
            ("NO_PROXY", "inside.example"),
        ]);
        let proxies = Proxies::from_env(&env).unwrap();
        let asked = |uri: &str| proxies.for_uri(&uri.parse().unwrap()).is_some();
        assert!(asked("https://quay.io/v2/"));
        assert!(!asked("http://quay.io/v2/"));
        assert!(!asked("https://inside.example/"));
        assert!(!asked("https://localhost:5000/"));
        assert!(!asked("https://127.0.0.1/"));
        let socks = Env::fixed([("https_proxy", "socks5://x")]);
        assert!(Proxies::from_env(&socks).is_err());
    }
}
