//! Transports by name: `docker-archive:PATH[:NAME]`, `oci-archive:…`, `oci:…`, `dir:…`.

use std::path::PathBuf;

use crate::base::{Error, Result};

/// The forms of an image in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `docker save`'s tar.
    DockerArchive,
    /// The OCI layout in a tar.
    OciArchive,
    /// The OCI layout as a folder.
    OciDir,
    /// skopeo's folder.
    DockerDir,
}

impl Form {
    /// The transport's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::DockerArchive => "docker-archive",
            Self::OciArchive => "oci-archive",
            Self::OciDir => "oci",
            Self::DockerDir => "dir",
        }
    }
}

/// An image in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// In which form.
    pub form: Form,
    /// Where.
    pub path: PathBuf,
    /// Which one, or what to call it.
    pub name: Option<String>,
}

impl Location {
    /// Reads a transport and what follows; `None` for a name in a registry.
    ///
    /// # Errors
    /// `Unsupported` for transports that need other programs' stores.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        let Some((transport, rest)) = text.split_once(':') else {
            return Ok(None);
        };
        let form = match transport {
            "docker-archive" => Form::DockerArchive,
            "oci-archive" => Form::OciArchive,
            "oci" => Form::OciDir,
            "dir" => Form::DockerDir,
            "containers-storage" => {
                return Err(Error::unsupported("coracle cannot read podman's store")
                    .hint("\"podman save NAME | coracle load\" brings an image over"));
            }
            "docker-daemon" => {
                return Err(
                    Error::unsupported("coracle does not talk to a docker daemon")
                        .hint("\"docker save NAME | coracle load\" brings an image over"),
                );
            }
            "ostree" | "sif" | "tarball" | "atomic" => {
                return Err(Error::unsupported(format!(
                    "transport {transport:?} is not built in"
                )));
            }
            _ => return Ok(None),
        };
        // A folder may have colons in its name only where nothing follows: podman splits there too.
        let (path, name) = match (form, rest.split_once(':')) {
            (Form::DockerDir, _) | (_, None) => (rest, None),
            (_, Some((path, name))) => (path, Some(name.to_owned()).filter(|n| !n.is_empty())),
        };
        if path.is_empty() {
            return Err(Error::invalid(format!("{text:?} names no path")));
        }
        Ok(Some(Self {
            form,
            path: PathBuf::from(path),
            name,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_are_told_from_names() {
        let parsed = |text: &str| Location::parse(text).unwrap();
        let location = parsed("docker-archive:/a/b.tar:x:1").unwrap();
        assert_eq!(location.form, Form::DockerArchive);
        assert_eq!(location.path, PathBuf::from("/a/b.tar"));
        assert_eq!(location.name.as_deref(), Some("x:1"));
        assert_eq!(parsed("oci:dir").unwrap().name, None);
        assert_eq!(parsed("dir:/a:b").unwrap().path, PathBuf::from("/a:b"));
        for name in ["alpine", "alpine:3", "localhost:5000/x", "docker://x"] {
            assert_eq!(parsed(name), None, "{name}");
        }
        for bad in ["oci:", "containers-storage:x", "docker-daemon:x"] {
            assert!(Location::parse(bad).is_err(), "{bad}");
        }
    }
}
