//! The packages that an image holds, read from the databases of Debian, Alpine and RPM. Pure: bytes
//! in, packages out, every count bounded, for the bytes come from strangers.
//!
//! [`spdx`] writes them as a document.

pub mod apk;
pub mod dpkg;
pub mod ndb;
pub mod rpm;
pub mod spdx;
pub mod sqlite;

/// More packages than this no image has.
pub const LIMIT: usize = 100_000;

/// One installed package.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// `deb`, `apk` or `rpm`: the type of its package URL.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its version, whole: with epoch and release.
    pub version: String,
    /// Its architecture, in its own system's words.
    pub architecture: String,
    /// The source package that it was made from, where it has another name.
    pub source: String,
    /// Who maintains or sells it.
    pub supplier: String,
    /// What its database says of its licence.
    pub license: String,
}

/// The distribution, from os-release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// `ID`.
    pub id: String,
    /// `VERSION_ID`.
    pub version: String,
}

impl Distribution {
    /// Reads os-release(5).
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines().take(1000) {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches(['"', '\'']);
            match key.trim() {
                "ID" => value.clone_into(&mut found.id),
                "VERSION_ID" => value.clone_into(&mut found.version),
                _ => {}
            }
        }
        found
    }
}

/// A package URL (purl).
pub fn url(package: &Package, distribution: &Distribution) -> String {
    let default = match package.kind {
        "deb" => "debian",
        "apk" => "alpine",
        _ => "rpm",
    };
    let vendor = match distribution.id.as_str() {
        "" => default,
        id => id,
    };
    let mut text = format!(
        "pkg:{}/{}/{}@{}",
        package.kind,
        escaped(vendor),
        escaped(&package.name),
        escaped(&package.version)
    );
    let mut parts = Vec::new();
    if !package.architecture.is_empty() {
        parts.push(format!("arch={}", escaped(&package.architecture)));
    }
    if !distribution.id.is_empty() && !distribution.version.is_empty() {
        let distro = format!("{}-{}", distribution.id, distribution.version);
        parts.push(format!("distro={}", escaped(&distro)));
    }
    if !package.source.is_empty() {
        parts.push(format!("upstream={}", escaped(&package.source)));
    }
    if !parts.is_empty() {
        text.push('?');
        text.push_str(&parts.join("&"));
    }
    text
}

/// Percent-encoding of all that is not plain in a package URL.
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_distribution_and_architecture() {
        let package = Package {
            kind: "deb",
            name: "libstdc++6".to_owned(),
            version: "1:12.2.0-14".to_owned(),
            architecture: "amd64".to_owned(),
            source: "gcc-12".to_owned(),
            ..Package::default()
        };
        let debian = Distribution::parse("NAME=x\nID=debian\nVERSION_ID=\"12\"\n");
        assert_eq!(
            url(&package, &debian),
            "pkg:deb/debian/libstdc%2B%2B6@1%3A12.2.0-14?arch=amd64&distro=debian-12&upstream=gcc-12"
        );
        assert!(url(&package, &Distribution::default()).starts_with("pkg:deb/debian/"));
    }
}
