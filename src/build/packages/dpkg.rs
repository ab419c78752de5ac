//! Debian's `/var/lib/dpkg/status`, and the pieces of it in `status.d` of images without dpkg.
//!
//! Spec: deb-control(5), dpkg's status file.

use super::{LIMIT, Package};

/// The installed packages of a status file.
pub fn parse(text: &str) -> Vec<Package> {
    let mut found = Vec::new();
    let mut package = Package::default();
    // A piece of status.d has no status: what lies there is installed.
    let mut installed = true;
    for line in text.lines().chain([""]) {
        if line.is_empty() {
            if installed && !package.name.is_empty() && found.len() < LIMIT {
                package.kind = "deb";
                found.push(std::mem::take(&mut package));
            }
            package = Package::default();
            installed = true;
            continue;
        }
        if line.starts_with([' ', '\t']) {
            continue;
        }
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match key {
            "Package" => value.clone_into(&mut package.name),
            "Version" => value.clone_into(&mut package.version),
            "Architecture" => value.clone_into(&mut package.architecture),
            "Maintainer" => value.clone_into(&mut package.supplier),
            // `name (version)`: the version only where it differs.
            "Source" => {
                let name = value.split(' ').next().unwrap_or_default();
                name.clone_into(&mut package.source);
            }
            "Status" => installed = value.split(' ').next_back() == Some("installed"),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_counts() {
        let text = "Package: a\nStatus: install ok installed\nVersion: 1:2-3\nArchitecture: all\n\
                    Source: src (9)\nMaintainer: M <m@x>\nDescription: d\n more: x\n\n\
                    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                    Package: piece\nVersion: 3";
        let found = parse(text);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].version.as_str(), found[0].source.as_str()),
            ("1:2-3", "src")
        );
        assert_eq!(
            (found[0].kind, found[0].supplier.as_str()),
            ("deb", "M <m@x>")
        );
        assert_eq!(found[1].name, "piece");
        assert!(parse("").is_empty() && parse("\n\n:\n").is_empty());
    }
}
