//! Challenges and tokens.
//!
//! Spec: RFC 9110, 11 (challenges); Docker's token authentication and its OAuth2 variant.

use serde::Deserialize;

use crate::base::{Error, Kind, Result};

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Name and password with every request.
    Basic,
    /// A token from `realm`.
    Bearer {
        /// Where tokens are.
        realm: String,
        /// For which service.
        service: String,
        /// The scope that the registry named for this request.
        scope: String,
    },
}

impl Challenge {
    /// The best challenge that `WWW-Authenticate` headers hold: a token before a password.
    pub fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut basic = None;
        for header in headers {
            for (scheme, parameters) in challenges(header) {
                if scheme.eq_ignore_ascii_case("bearer") {
                    let find = |name: &str| {
                        parameters
                            .iter()
                            .find(|(k, _)| k.eq_ignore_ascii_case(name))
                            .map(|(_, v)| v.clone())
                            .unwrap_or_default()
                    };
                    let realm = find("realm");
                    if !realm.is_empty() {
                        return Some(Self::Bearer {
                            realm,
                            service: find("service"),
                            scope: find("scope"),
                        });
                    }
                } else if scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
            }
        }
        basic
    }
}

type Parameters = Vec<(String, String)>;

/// `Bearer realm="…",service="…", Basic realm="…"`.
fn challenges(header: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header.trim_start_matches([' ', ',']);
    while !rest.is_empty() {
        let end = rest.find([' ', '=', ',']).unwrap_or(rest.len());
        let word = &rest[..end];
        let after = rest[end..].trim_start();
        if let Some(value) = after.strip_prefix('=')
            && !word.is_empty()
        {
            let (value, tail) = value_of(value.trim_start());
            if let Some((_, parameters)) = found.last_mut() {
                parameters.push((word.to_owned(), value));
            }
            rest = tail;
        } else if word.is_empty() {
            // A stray sign: every turn must consume something.
            rest = after.get(1..).unwrap_or_default();
        } else {
            found.push((word.to_owned(), Vec::new()));
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',']);
    }
    found
}

fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            '"' => return (value, &quoted[at + 1..]),
            c => value.push(c),
        }
    }
    (value, "")
}

/// The answer of a token server.
#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

/// Reads the token out of the answer.
///
/// # Errors
/// `Corrupt` when there is none, or it could not stand in a header.
pub fn read_token(body: &[u8]) -> Result<String> {
    let bad = || Error::new(Kind::Corrupt, "the token server's answer holds no token");
    let answer: Token = serde_json::from_slice(body).map_err(|e| bad().because(e))?;
    let token = answer
        .token
        .filter(|t| !t.is_empty())
        .or(answer.access_token)
        .filter(|t| !t.is_empty())
        .ok_or_else(bad)?;
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(bad());
    }
    Ok(token)
}

/// `name=value` for a query or a form, percent-encoded.
pub fn form(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        text.push_str(&encode(value));
    }
    text
}

/// Percent-encodes everything but letters, digits and `-._~`.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&format!("{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_in_every_form() {
        let bearer = |realm: &str, service: &str, scope: &str| {
            Some(Challenge::Bearer {
                realm: realm.to_owned(),
                service: service.to_owned(),
                scope: scope.to_owned(),
            })
        };
        for (headers, want) in [
            (
                vec![r#"Bearer realm="https://a/t",service="s",scope="repository:x:pull,push""#],
                bearer("https://a/t", "s", "repository:x:pull,push"),
            ),
            (vec![r#"Basic realm="x, y""#], Some(Challenge::Basic)),
            (
                vec![r#"Basic realm="x", bearer realm="https://a",service=s"#],
                bearer("https://a", "s", ""),
            ),
            (
                vec!["Basic realm=x", r#"Bearer realm="https://b\"c""#],
                bearer("https://b\"c", "", ""),
            ),
            (vec!["Negotiate", "Digest realm=x"], None),
            (vec!["", ",,,", "=", "Bearer", "Bearer realm=\""], None),
        ] {
            assert_eq!(
                Challenge::parse(headers.iter().copied()),
                want,
                "{headers:?}"
            );
        }
    }

    #[test]
    fn tokens_come_under_two_names_and_must_fit_a_header() {
        assert_eq!(read_token(br#"{"token":"a"}"#).unwrap(), "a");
        assert_eq!(
            read_token(br#"{"token":"","access_token":"b"}"#).unwrap(),
            "b"
        );
        for bad in [&b"{}"[..], b"x", br#"{"token":"a\r\nX: y"}"#] {
            assert!(read_token(bad).is_err());
        }
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(
            form(&[("scope", "repository:a/b:pull"), ("x", "ä &")]),
            "scope=repository%3Aa%2Fb%3Apull&x=%C3%A4%20%26"
        );
    }
}
