//! Packages as an SPDX 2.3 document.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Distribution, Package, url};
use crate::spec::digest::Digest;

/// What the document is about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The image's name, or its id.
    pub name: &'a str,
    /// Digest of its manifest.
    pub manifest: &'a Digest,
    /// When, RFC 3339.
    pub created: &'a str,
    /// This program's version.
    pub version: &'a str,
}

/// The document; the same packages give the same bytes.
pub fn document(about: &About<'_>, packages: &[Package], distribution: &Distribution) -> Value {
    let image = "SPDXRef-Image";
    let mut list = vec![json!({
        "SPDXID": image,
        "name": about.name,
        "versionInfo": about.manifest.to_string(),
        "supplier": NONE,
        "downloadLocation": NONE,
        "filesAnalyzed": false,
        "licenseConcluded": NONE,
        "licenseDeclared": NONE,
        "copyrightText": NONE,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{ "algorithm": "SHA256", "checksumValue": about.manifest.hex() }],
    })];
    let mut relations = vec![json!({
        "spdxElementId": "SPDXRef-DOCUMENT",
        "relationshipType": "DESCRIBES",
        "relatedSpdxElement": image,
    })];
    let sorted: BTreeSet<&Package> = packages.iter().collect();
    for package in sorted {
        let place = url(package, distribution);
        let id = format!(
            "SPDXRef-Package-{}-{}-{}",
            package.kind,
            plain(&package.name),
            Digest::sha256_of(place.as_bytes()).short()
        );
        let mut value = json!({
            "SPDXID": id,
            "name": package.name,
            "versionInfo": package.version,
            "supplier": supplier(&package.supplier),
            "downloadLocation": NONE,
            "filesAnalyzed": false,
            "licenseConcluded": NONE,
            "licenseDeclared": NONE,
            "copyrightText": NONE,
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": place,
            }],
        });
        // Databases write licences in words of their own, not always SPDX's expressions.
        if !package.license.is_empty() {
            value["licenseComments"] = format!("its database says: {}", package.license).into();
        }
        list.push(value);
        relations.push(json!({
            "spdxElementId": image,
            "relationshipType": "CONTAINS",
            "relatedSpdxElement": id,
        }));
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": about.name,
        "documentNamespace": format!("urn:coracle:sbom:{}", about.manifest),
        "creationInfo": {
            "created": seconds(about.created),
            "creators": [format!("Tool: coracle-{}", about.version)],
        },
        "packages": list,
        "relationships": relations,
    })
}

const NONE: &str = "NOASSERTION";

/// `Person: name (mail)`, as SPDX writes what databases say as `name <mail>`.
fn supplier(text: &str) -> String {
    match text.split_once('<') {
        _ if text.is_empty() => NONE.to_owned(),
        Some((name, mail)) => format!(
            "Person: {} ({})",
            name.trim(),
            mail.trim_end().trim_end_matches('>')
        ),
        None => format!("Organization: {text}"),
    }
}

/// Letters, digits, dots and dashes: what an SPDX identifier may hold.
fn plain(text: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    text.chars()
        .map(|c| if keep(c) { c } else { '-' })
        .collect()
}

/// SPDX's times have whole seconds.
fn seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_every_package_once() {
        let package = Package {
            kind: "apk",
            name: "lib+x".to_owned(),
            version: "1".to_owned(),
            supplier: "N <n@x>".to_owned(),
            license: "MIT".to_owned(),
            ..Package::default()
        };
        let digest = Digest::sha256_of(b"x");
        let about = About {
            name: "n",
            manifest: &digest,
            created: "2024-01-02T03:04:05.678Z",
            version: "1",
        };
        let twice = [package.clone(), package];
        let value = document(&about, &twice, &Distribution::default());
        assert_eq!(value["packages"].as_array().unwrap().len(), 2);
        assert_eq!(value["creationInfo"]["created"], "2024-01-02T03:04:05Z");
        let own = &value["packages"][1];
        assert_eq!(own["supplier"], "Person: N (n@x)");
        let id = own["SPDXID"].as_str().unwrap();
        assert!(id.starts_with("SPDXRef-Package-apk-lib-x-"), "{id}");
        assert_eq!(value["relationships"][1]["relatedSpdxElement"], id);
    }
}
