//! The short forms of ports and volumes.

use serde_json::{Map, Value, json};

use super::canonical::Base;
use crate::base::{Error, Result};

/// `PORT` or `FIRST-LAST`; `whole` and `path` are for the error.
///
/// # Errors
/// `Invalid` for what is no port.
pub fn range(text: &str, whole: &str, path: &str) -> Result<(u16, u16)> {
    let bad = || Error::invalid(format!("{path}: invalid port {whole:?}"));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (
        first.parse().map_err(|_| bad())?,
        last.parse().map_err(|_| bad())?,
    );
    match first <= last {
        true => Ok((first, last)),
        false => Err(bad()),
    }
}

/// `[IP:][PUBLISHED:]TARGET[/PROTOCOL]`, each a range, as a list of single ports.
///
/// # Errors
/// `Invalid` for what is no port, and for ranges of unlike lengths.
pub fn port(text: &str, path: &str) -> Result<Vec<Value>> {
    let (body, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (rest, target) = match body.rsplit_once(':') {
        Some((rest, target)) => (Some(rest), target),
        None => (None, body),
    };
    let (ip, published) = match rest {
        None => (None, None),
        Some(rest) => match rest.rsplit_once(':') {
            Some((ip, published)) => (Some(ip.trim_matches(['[', ']'])), Some(published)),
            None if rest.contains('.') => (Some(rest), None),
            None => (None, Some(rest)),
        },
    };
    let (first, last) = range(target, text, path)?;
    let count = last - first;
    let published = published.filter(|p| !p.is_empty());
    let span = published.map(|p| range(p, text, path)).transpose()?;
    if let Some((a, b)) = span
        && b - a != count
        && count != 0
    {
        return Err(Error::invalid(format!(
            "{path}: the ranges of {text:?} differ in length"
        )));
    }
    let mut made = Vec::new();
    for i in 0..=count {
        let mut map = Map::new();
        map.insert("mode".to_owned(), "ingress".into());
        if let Some(ip) = ip {
            map.insert("host_ip".to_owned(), ip.into());
        }
        map.insert("target".to_owned(), (first + i).into());
        match span {
            // A range for one port: any of it.
            Some((a, b)) if count == 0 && b != a => {
                map.insert("published".to_owned(), format!("{a}-{b}").into());
            }
            Some((a, _)) => {
                map.insert("published".to_owned(), (a + i).to_string().into());
            }
            None => {}
        }
        map.insert("protocol".to_owned(), protocol.into());
        made.push(Value::Object(map));
    }
    Ok(made)
}

/// `[SOURCE:]TARGET[:MODE]`.
///
/// # Errors
/// `Invalid` for an unknown mode.
pub fn mount(text: &str, path: &str, base: &Base<'_>) -> Result<Value> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, words) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, words] => (Some(*source), *target, *words),
        _ => return Err(Error::invalid(format!("{path}: invalid volume {text:?}"))),
    };
    if target.is_empty() || source == Some("") {
        return Err(Error::invalid(format!("{path}: invalid volume {text:?}")));
    }
    let is_path = |s: &str| s.starts_with(['/', '.', '~']);
    let mut map = Map::new();
    let bind = source.is_some_and(is_path);
    map.insert(
        "type".to_owned(),
        if bind { "bind" } else { "volume" }.into(),
    );
    if let Some(source) = source {
        let source = match bind {
            true => base.path(source),
            false => source.to_owned(),
        };
        map.insert("source".to_owned(), source.into());
    }
    map.insert("target".to_owned(), target.into());
    let mut options = Map::new();
    if bind {
        options.insert("create_host_path".to_owned(), true.into());
    }
    for word in words.split(',').filter(|w| !w.is_empty()) {
        match word {
            "ro" => drop(map.insert("read_only".to_owned(), true.into())),
            "rw" | "cached" | "delegated" | "consistent" => {}
            "z" | "Z" => drop(options.insert("selinux".to_owned(), word.into())),
            "nocopy" if !bind => drop(options.insert(word.to_owned(), true.into())),
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" if bind => {
                options.insert("propagation".to_owned(), word.into());
            }
            other => {
                return Err(Error::invalid(format!(
                    "{path}: unknown option {other:?} of volume {text:?}"
                )));
            }
        }
    }
    if bind {
        map.insert("bind".to_owned(), Value::Object(options));
    } else {
        let nocopy = options.remove("nocopy");
        map.insert(
            "volume".to_owned(),
            nocopy.map_or_else(|| json!({}), |n| json!({"nocopy": n})),
        );
    }
    Ok(Value::Object(map))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn short_ports_are_read() {
        let of = |text: &str| {
            port(text, "p").map(|all| {
                let of = |v: &Value| {
                    format!(
                        "{}>{}/{}@{}",
                        v["published"].as_str().unwrap_or(""),
                        v["target"],
                        v["protocol"].as_str().unwrap(),
                        v["host_ip"].as_str().unwrap_or("")
                    )
                };
                all.iter().map(of).collect::<Vec<_>>().join(" ")
            })
        };
        for (text, wanted) in [
            ("80", ">80/tcp@"),
            ("8080:80/udp", "8080>80/udp@"),
            ("127.0.0.1:8080:80", "8080>80/tcp@127.0.0.1"),
            ("127.0.0.1::80", ">80/tcp@127.0.0.1"),
            ("[::1]:8080:80", "8080>80/tcp@::1"),
            ("3000-3001", ">3000/tcp@ >3001/tcp@"),
            ("9-10:19-20", "9>19/tcp@ 10>20/tcp@"),
            ("8000-8010:80", "8000-8010>80/tcp@"),
        ] {
            assert_eq!(of(text).unwrap(), wanted, "{text}");
        }
        for text in ["x", "1-3:1-2", "70000:1", "5-3"] {
            assert!(of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn short_volumes_are_read() {
        let base = Base {
            dir: Path::new("/p/d"),
            home: Path::new("/h"),
        };
        let of = |text: &str| mount(text, "v", &base);
        assert_eq!(
            of("./a/../b:/x:ro,z").unwrap(),
            json!({"type": "bind", "source": "/p/d/b",
            "target": "/x", "read_only": true, "bind": {"create_host_path": true, "selinux": "z"}})
        );
        assert_eq!(
            of("data:/x:nocopy").unwrap(),
            json!({"type": "volume", "source": "data",
            "target": "/x", "volume": {"nocopy": true}})
        );
        assert_eq!(of("~/c:/x").unwrap()["source"], "/h/c");
        assert_eq!(of("/x").unwrap()["type"], "volume");
        for text in ["a:b:c:d", "a:", ":/x", "a:/x:odd"] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
