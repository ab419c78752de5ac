//! Platforms and the choice among an index's members.
//!
//! Spec: image-spec, image index, "platform"; the normalisation is containerd's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::Error;

/// `os/architecture[/variant]`, in Go's words (`linux/arm64/v8`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Operating system.
    pub os: String,
    /// CPU architecture.
    pub architecture: String,
    /// CPU variant; absent means the architecture's baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// What this program was compiled for, on Linux.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "x86" => ("386", None),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// How well `candidate` serves a wish for `self`: higher is better, `None` means not at all.
    pub fn rank(&self, candidate: &Self) -> Option<u32> {
        if self.os != candidate.os || self.architecture != candidate.architecture {
            return None;
        }
        let own = self.level();
        let other = candidate.level();
        // A CPU runs what was built for its own variant or an older one.
        (other <= own).then(|| 100 - (own - other))
    }

    fn level(&self) -> u32 {
        let default = match self.architecture.as_str() {
            "arm64" => 8,
            "arm" => 7,
            "amd64" => 1,
            _ => 0,
        };
        match &self.variant {
            Some(v) => v
                .strip_prefix('v')
                .and_then(|n| n.split('.').next())
                .and_then(|n| n.parse().ok())
                .unwrap_or(default),
            None => default,
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || {
            Error::invalid(format!("invalid platform {text:?}"))
                .hint("write os/architecture[/variant], e.g. linux/arm64")
        };
        let parts: Vec<&str> = text.split('/').collect();
        let word = |s: &str| {
            s.starts_with(|c: char| c.is_ascii_alphanumeric())
                && s.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        };
        if !parts.iter().all(|p| word(p)) {
            return Err(bad());
        }
        let (os, architecture, variant) = match parts[..] {
            ["linux"] => return Ok(Self::host()),
            [arch] => ("linux", arch, None),
            [os, arch] => (os, arch, None),
            [os, arch, variant] => (os, arch, Some(variant)),
            _ => return Err(bad()),
        };
        let (architecture, implied) = match architecture.to_ascii_lowercase().as_str() {
            "x86_64" | "x86-64" => ("amd64".to_owned(), None),
            "aarch64" => ("arm64".to_owned(), None),
            "armhf" => ("arm".to_owned(), Some("v7")),
            "armel" => ("arm".to_owned(), Some("v6")),
            "i386" | "i686" => ("386".to_owned(), None),
            other => (other.to_owned(), None),
        };
        let variant = variant.or(implied).map(str::to_ascii_lowercase);
        let variant = variant.filter(|v| !(architecture == "amd64" && v == "v1"));
        Ok(Self {
            os: os.to_ascii_lowercase(),
            architecture,
            variant,
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if let Some(variant) = &self.variant {
            write!(f, "/{variant}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn variants_fall_back_to_older_ones_only() {
        let wish = p("linux/arm/v7");
        assert!(wish.rank(&p("linux/arm/v7")) > wish.rank(&p("linux/arm/v6")));
        assert_eq!(p("linux/arm/v6").rank(&p("linux/arm/v7")), None);
        assert_eq!(p("linux/amd64").rank(&p("linux/arm64")), None);
        assert!(p("linux/arm64").rank(&p("linux/arm64/v8")).is_some());
    }

    #[test]
    fn names_are_normalised() {
        assert_eq!(p("x86_64").to_string(), "linux/amd64");
        assert_eq!(p("linux/aarch64").to_string(), "linux/arm64");
        assert!("linux/../x".parse::<Platform>().is_err());
        assert!("".parse::<Platform>().is_err());
    }
}
