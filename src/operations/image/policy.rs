//! The choices that every command which may contact a registry shares.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::base::Error;

/// `--pull` and `--policy`: when a registry is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Ask every time; a registry out of reach is an error.
    Always,
    /// Ask when the image is not here.
    #[default]
    Missing,
    /// Never ask.
    Never,
    /// Ask every time, and pull when the registry has another one; a registry out of reach is
    /// fine when the image is here.
    Newer,
    /// As `Missing`, but only the tables of contents are waited for: files come when they are first
    /// opened, and the rest behind.
    Lazy,
}

impl FromStr for PullPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "always" | "true" | "1" => Ok(Self::Always),
            "missing" | "ifnotpresent" | "" => Ok(Self::Missing),
            "never" | "false" | "0" => Ok(Self::Never),
            "newer" | "ifnewer" => Ok(Self::Newer),
            "lazy" => Ok(Self::Lazy),
            _ => Err(Error::invalid(format!("invalid pull policy {text:?}"))
                .hint("use always, missing, never, newer or lazy")),
        }
    }
}

/// How to talk to registries; every field at its default asks the configuration files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryOptions {
    /// `--authfile`.
    pub authfile: Option<PathBuf>,
    /// `--creds USER[:PASSWORD]`.
    pub credentials: Option<(String, String)>,
    /// `--cert-dir`.
    pub cert_dir: Option<PathBuf>,
    /// `--tls-verify`; absent means what registries.conf says, else yes.
    pub tls_verify: Option<bool>,
    /// `--retry`; absent means 3.
    pub retry: Option<u32>,
    /// `--retry-delay`; absent means growing from one second.
    pub retry_delay: Option<Duration>,
}

impl PullPolicy {
    /// Sees that it is none that needs a container: `pull` and `build` want the whole image.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn whole(self) -> Result<Self, Error> {
        match self {
            Self::Lazy => Err(Error::invalid("lazy is a policy of run and create")
                .hint("use always, missing, never or newer")),
            other => Ok(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_read_as_podman_and_docker_write_them() {
        assert_eq!("always".parse::<PullPolicy>().unwrap(), PullPolicy::Always);
        assert_eq!(
            "IfNotPresent".parse::<PullPolicy>().unwrap(),
            PullPolicy::Missing
        );
        assert_eq!("newer".parse::<PullPolicy>().unwrap(), PullPolicy::Newer);
        assert!("sometimes".parse::<PullPolicy>().is_err());
    }
}
