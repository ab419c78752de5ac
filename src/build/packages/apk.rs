//! Alpine's `/lib/apk/db/installed`.
//!
//! Spec: apk-tools, database of installed packages: a letter, a colon, a value; an empty line ends
//! a package.

use super::{LIMIT, Package};

/// The installed packages.
pub fn parse(text: &str) -> Vec<Package> {
    let mut found = Vec::new();
    let mut package = Package::default();
    for line in text.lines().chain([""]) {
        if line.is_empty() {
            if !package.name.is_empty() && found.len() < LIMIT {
                package.kind = "apk";
                found.push(std::mem::take(&mut package));
            }
            package = Package::default();
            continue;
        }
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        match key {
            "P" => value.clone_into(&mut package.name),
            "V" => value.clone_into(&mut package.version),
            "A" => value.clone_into(&mut package.architecture),
            "L" => value.clone_into(&mut package.license),
            "m" => value.clone_into(&mut package.supplier),
            "o" if value != package.name => value.clone_into(&mut package.source),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_end_at_empty_lines() {
        let text = "C:Q1x=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nm:N <n@x>\nF:lib\nR:ld\n\nP:libcrypto3\nV:3\no:openssl\n";
        let found = parse(text);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].license.as_str(), found[0].source.as_str()),
            ("MIT", "")
        );
        assert_eq!(found[1].source, "openssl");
        assert!(parse("nothing\n").is_empty());
    }
}
