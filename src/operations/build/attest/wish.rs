//! The words of `--attest`, `--sbom` and `--provenance`. Pure.

use crate::base::{Error, Result};
use crate::build::words::fields;

/// How much the provenance tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// No arguments, no Dockerfile.
    #[default]
    Min,
    /// Everything but secrets.
    Max,
}

/// What is stated about an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Which packages it holds.
    pub sbom: bool,
    /// How it was built.
    pub provenance: Option<Detail>,
    /// `builder-id=`: who built it.
    pub builder: String,
}

impl Wish {
    /// Whether anything is.
    pub fn any(&self) -> bool {
        self.sbom || self.provenance.is_some()
    }

    /// Adds `--sbom`: `true`, `false`, or options of one.
    ///
    /// # Errors
    /// `Invalid` for unknown words; `Unsupported` for other scanners.
    pub fn sbom(&mut self, text: &str) -> Result<()> {
        match truth(text) {
            Some(wish) => {
                self.sbom = wish;
                Ok(())
            }
            None => self.one("sbom", "--sbom", text),
        }
    }

    /// Adds `--provenance`: `true`, `false`, `mode=max`, …
    ///
    /// # Errors
    /// `Invalid` for unknown words.
    pub fn provenance(&mut self, text: &str) -> Result<()> {
        match truth(text) {
            Some(true) => {
                self.provenance.get_or_insert_default();
                Ok(())
            }
            Some(false) => {
                self.provenance = None;
                Ok(())
            }
            None => self.one("provenance", "--provenance", text),
        }
    }

    /// Adds `--attest type=KIND,…`.
    ///
    /// # Errors
    /// As the others.
    pub fn attest(&mut self, text: &str) -> Result<()> {
        let kind = fields(&as_fields(text))
            .map_err(|why| bad("--attest", text, &why))?
            .into_iter()
            .find(|(key, _)| key == "type")
            .map(|(_, value)| value);
        match kind.as_deref() {
            Some(kind @ ("sbom" | "provenance")) => self.one(kind, "--attest", text),
            Some(other) => Err(bad("--attest", text, &format!("unknown type {other:?}"))),
            None => Err(bad("--attest", text, "type is missing")),
        }
    }

    fn one(&mut self, kind: &str, flag: &str, text: &str) -> Result<()> {
        let list = fields(&as_fields(text)).map_err(|why| bad(flag, text, &why))?;
        let mut detail = Detail::default();
        let mut off = false;
        for (key, value) in list {
            match (kind, key.as_str(), value.as_str()) {
                (_, "type", _) => {}
                (_, "disabled", _) => {
                    off = truth(&value)
                        .ok_or_else(|| bad(flag, text, "disabled is true or false"))?;
                }
                ("provenance", "mode", "min") => detail = Detail::Min,
                ("provenance", "mode", "max") => detail = Detail::Max,
                ("provenance", "version", "v1") => {}
                ("provenance", "version", _) => {
                    return Err(Error::unsupported(format!(
                        "{flag} {text}: provenance is written as SLSA's version v1"
                    ))
                    .hint("leave out version, or write version=v1"));
                }
                ("provenance", "builder-id", _) => self.builder.clone_from(&value),
                ("sbom", "generator", _) => {
                    return Err(Error::unsupported(format!(
                        "{flag} {text}: other people's scanners are not run"
                    ))
                    .hint("leave out generator: coracle reads the package databases itself"));
                }
                _ => return Err(bad(flag, text, &format!("unknown {key}={value}"))),
            }
        }
        match kind {
            "sbom" => self.sbom = !off,
            _ => self.provenance = (!off).then_some(detail),
        }
        Ok(())
    }
}

/// `type=sbom,disabled` as docker takes it: a key alone means true.
fn as_fields(text: &str) -> String {
    text.replace(",disabled,", ",disabled=true,")
        .strip_suffix(",disabled")
        .map_or_else(|| text.to_owned(), |rest| format!("{rest},disabled=true"))
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "1" | "" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn bad(flag: &str, text: &str, why: &str) -> Error {
    Error::invalid(format!("invalid {flag} {text:?}: {why}"))
        .hint("e.g. --sbom, --provenance=mode=max, --attest type=sbom")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read_in_all_their_forms() {
        let mut wish = Wish::default();
        wish.sbom("true").unwrap();
        wish.provenance("mode=max,builder-id=https://x").unwrap();
        assert_eq!(
            wish,
            Wish {
                sbom: true,
                provenance: Some(Detail::Max),
                builder: "https://x".to_owned()
            }
        );
        wish.sbom("false").unwrap();
        wish.attest("type=provenance,disabled=true").unwrap();
        assert!(!wish.any());
        wish.attest("type=sbom").unwrap();
        wish.provenance("true").unwrap();
        assert_eq!(wish.provenance, Some(Detail::Min));
        assert!(wish.sbom);
        wish.attest("type=sbom,disabled").unwrap();
        assert!(!wish.sbom);
        for bad in ["type=x", "sbom", "mode=max", "type=sbom,generator=x"] {
            assert!(wish.attest(bad).is_err(), "{bad}");
        }
        for bad in ["mode=all", "version=v0.2", "x"] {
            assert!(wish.provenance(bad).is_err(), "{bad}");
        }
        assert!(wish.sbom("syft").is_err());
    }
}
