//! How a cluster is reached: kubeconfig files. Pure but for the reading of what they name.
//!
//! Spec: kubernetes.io, "Organizing Cluster Access Using kubeconfig Files"; client authentication
//! by certificate, token and password. Programs that hand out tokens are refused.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::base::{Context as _, Error, Kind, Result};

/// What the files come to.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// `https://host:port`, perhaps with a path; no slash at the end.
    pub server: String,
    /// The namespace of the context, `default` without one.
    pub namespace: String,
    /// Whether the server must show a certificate that is trusted.
    pub verify: bool,
    /// The authorities, PEM; the host's without.
    pub authorities: Option<Vec<u8>>,
    /// Certificate and key, PEM.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("server", &self.server)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// A kubeconfig file: where it is, and what it holds.
pub type Source = (PathBuf, Value);

/// Reads one.
///
/// # Errors
/// `Invalid` for what is no YAML.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Source> {
    let value = serde_yaml::from_slice(bytes)
        .what_kind(Kind::Invalid, || format!("cannot read {}", path.display()))?;
    Ok((path.to_owned(), value))
}

/// An entry with a name: of the first file that has it, with that file's folder.
fn entry<'a>(
    sources: &'a [Source],
    list: &str,
    key: &str,
    name: &str,
) -> Result<(&'a Value, &'a Path)> {
    for (path, value) in sources {
        let all = value[list].as_array().into_iter().flatten();
        for one in all {
            if one["name"] == name {
                return Ok((&one[key], path.parent().unwrap_or(Path::new("/"))));
            }
        }
    }
    let files: Vec<String> = sources
        .iter()
        .map(|(p, _)| p.display().to_string())
        .collect();
    Err(Error::not_found(format!(
        "no {key} {name:?} in {}",
        files.join(", ")
    )))
}

/// What stands in the file, or in one that it names.
fn content(
    (of, folder): (&Value, &Path),
    key: &str,
    read: &dyn Fn(&Path) -> Result<Vec<u8>>,
) -> Result<Option<Vec<u8>>> {
    use base64::Engine as _;
    let data = format!("{key}-data");
    if let Some(text) = of[&data].as_str().filter(|t| !t.is_empty()) {
        return base64::engine::general_purpose::STANDARD
            .decode(text.trim())
            .what_kind(Kind::Invalid, || format!("{data} is no base64"))
            .map(Some);
    }
    match of[key].as_str().filter(|t| !t.is_empty()) {
        Some(path) => read(&folder.join(path)).map(Some),
        None => Ok(None),
    }
}

/// How the context's cluster is reached; the current context without a name.
///
/// # Errors
/// `NotFound` for a context, cluster or user that no file has; `Unsupported` for ways to prove who
/// one is that need another program.
pub fn access(
    sources: &[Source],
    context: Option<&str>,
    read: &dyn Fn(&Path) -> Result<Vec<u8>>,
) -> Result<Access> {
    use base64::Engine as _;
    let current = sources
        .iter()
        .find_map(|(_, v)| v["current-context"].as_str().filter(|c| !c.is_empty()));
    let name = context.or(current).ok_or_else(|| {
        Error::invalid("the kubeconfig has no current context").hint("name one with --context")
    })?;
    let (context, _) = entry(sources, "contexts", "context", name)?;
    let cluster_name = context["cluster"].as_str().unwrap_or_default();
    let cluster = entry(sources, "clusters", "cluster", cluster_name)?;
    let server = cluster.0["server"].as_str().unwrap_or_default();
    if !server.starts_with("https://") && !server.starts_with("http://") {
        return Err(Error::invalid(format!(
            "cluster {cluster_name:?} has no server's address: {server:?}"
        )));
    }
    for key in ["tls-server-name", "proxy-url"] {
        if !cluster.0[key].is_null() {
            return Err(Error::unsupported(format!(
                "cluster {cluster_name:?}: {key} has no effect here"
            ))
            .hint("HTTPS_PROXY names a proxy; the server's address must be in its certificate"));
        }
    }
    let mut access = Access {
        server: server.trim_end_matches('/').to_owned(),
        namespace: context["namespace"]
            .as_str()
            .unwrap_or("default")
            .to_owned(),
        verify: cluster.0["insecure-skip-tls-verify"] != true,
        authorities: content(cluster, "certificate-authority", read)?,
        ..Access::default()
    };
    let Some(user_name) = context["user"].as_str().filter(|u| !u.is_empty()) else {
        return Ok(access);
    };
    let user = entry(sources, "users", "user", user_name)?;
    for key in ["exec", "auth-provider", "as"] {
        if !user.0[key].is_null() {
            return Err(Error::unsupported(format!(
                "user {user_name:?} of the kubeconfig needs {key:?}, which is not done here"
            ))
            .hint("put a token or a client certificate there, e.g. of `kubectl create token`"));
        }
    }
    let chain = content(user, "client-certificate", read)?;
    let key = content(user, "client-key", read)?;
    access.client = match (chain, key) {
        (Some(chain), Some(key)) => Some((chain, key)),
        (None, None) => None,
        _ => {
            return Err(Error::invalid(format!(
                "user {user_name:?} of the kubeconfig has a certificate without a key, or a key without one"
            )));
        }
    };
    let text = |key: &str| user.0[key].as_str().filter(|t| !t.is_empty());
    // A token's file wins over the token, as in kubectl.
    let token = match text("tokenFile") {
        Some(path) => Some(
            String::from_utf8_lossy(&read(&user.1.join(path))?)
                .trim()
                .to_owned(),
        ),
        None => text("token").map(str::to_owned),
    };
    access.authorization = match (token, text("username")) {
        (Some(token), _) => Some(format!("Bearer {token}")),
        (None, Some(name)) => {
            let pair = format!("{name}:{}", text("password").unwrap_or_default());
            let pair = base64::engine::general_purpose::STANDARD.encode(pair);
            Some(format!("Basic {pair}"))
        }
        (None, None) => None,
    };
    Ok(access)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(user: Value, context: Option<&str>) -> Result<Access> {
        let first = json!({
            "current-context": "a",
            "contexts": [
                {"name": "a", "context": {"cluster": "c", "user": "u", "namespace": "n"}},
                {"name": "b", "context": {"cluster": "c"}},
            ],
            "users": [{"name": "u", "user": user}],
        });
        let second = json!({"clusters": [{"name": "c", "cluster": {
            "server": "https://h:6443/", "certificate-authority": "ca.pem"}}]});
        let sources = [("/x/one".into(), first), ("/y/two".into(), second)];
        access(&sources, context, &|path| {
            Ok(format!("<{}>", path.display()).into_bytes())
        })
    }

    #[test]
    fn files_are_read_as_one_and_paths_begin_at_theirs() {
        let made = of(json!({"tokenFile": "t", "token": "no"}), None).unwrap();
        assert_eq!(made.server, "https://h:6443");
        assert_eq!(made.namespace, "n");
        assert_eq!(made.authorities.unwrap(), b"</y/ca.pem>");
        assert_eq!(made.authorization.unwrap(), "Bearer </x/t>");
        let other = of(json!({}), Some("b")).unwrap();
        assert_eq!(
            (other.namespace.as_str(), other.authorization),
            ("default", None)
        );
        let basic = of(json!({"username": "me", "password": "secret"}), None).unwrap();
        assert_eq!(basic.authorization.unwrap(), "Basic bWU6c2VjcmV0");
        let pair = json!({"client-certificate-data": "Y2VydA==", "client-key": "/k"});
        let client = of(pair, None).unwrap().client.unwrap();
        assert_eq!(client, (b"cert".to_vec(), b"</k>".to_vec()));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for user in [
            json!({"exec": {"command": "aws"}}),
            json!({"auth-provider": {}}),
            json!({"client-key": "k"}),
            json!({"client-key-data": "%"}),
        ] {
            assert!(of(user.clone(), None).is_err(), "{user}");
        }
        assert_eq!(of(json!({}), Some("z")).unwrap_err().kind(), Kind::NotFound);
    }
}
