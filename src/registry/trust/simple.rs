//! Simple signing: an OpenPGP message around the payload. GnuPG does the cryptography, as it does for
//! podman: `gpgv` verifies with the policy's keys only, `gpg` signs with the caller's.
//!
//! man: containers-signature(5), gpgv(1).

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::payload;
use super::{Image, keys, refused};
use crate::base::{Context as _, Error, Kind, Result};
use crate::registry::policy::Rule;
use crate::spec::digest::Digest;
use crate::spec::reference::Reference;

/// A folder in the temporary folder, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let name = crate::spec::digest::hex(&crate::base::random::bytes::<8>()?);
        let path = std::env::temp_dir().join(format!("coracle-gpg-{name}"));
        crate::base::fs::create_private_dir_all(&path)?;
        Ok(Self(path))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).what(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Keys without their armour.
fn binary(key: &[u8]) -> Result<Vec<u8>> {
    let Some(text) = std::str::from_utf8(key)
        .ok()
        .filter(|t| t.contains("-----BEGIN PGP"))
    else {
        return Ok(key.to_vec());
    };
    let mut bytes = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while lines.any(|l| l.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK")) {
        // Headers end with an empty line, the body with its checksum.
        let body: String = lines
            .by_ref()
            .skip_while(|l| !l.is_empty())
            .take_while(|l| !l.starts_with('=') && !l.starts_with("-----END"))
            .collect();
        let block = STANDARD
            .decode(body)
            .what_kind(Kind::Invalid, || "a GPG key is malformed")?;
        bytes.extend_from_slice(&block);
    }
    Ok(bytes)
}

fn missing(program: &str, error: std::io::Error) -> Error {
    Error::new(Kind::Unavailable, format!("cannot run {program}"))
        .because(error)
        .hint(format!("install it: the package {program}"))
}

/// The content of a signed message, if one of the keys signed it.
fn opened(message: &[u8], ring: &[u8]) -> Result<Vec<u8>> {
    let scratch = Scratch::new()?;
    let ring = scratch.write("keys.gpg", ring)?;
    let message = scratch.write("message", message)?;
    let content = scratch.0.join("content");
    let output = duct::cmd(
        "gpgv",
        [
            Path::new("--homedir"),
            &scratch.0,
            Path::new("--status-fd"),
            Path::new("1"),
            Path::new("--keyring"),
            &ring,
            Path::new("--output"),
            &content,
            &message,
        ],
    )
    .stdout_capture()
    .stderr_null()
    .unchecked()
    .run()
    .map_err(|e| missing("gpgv", e))?;
    let status = String::from_utf8_lossy(&output.stdout);
    let says = |word: &str| {
        status.lines().any(|l| {
            l.strip_prefix("[GNUPG:] ")
                .is_some_and(|l| l.starts_with(word))
        })
    };
    let reason = if says("ERRSIG") || says("NO_PUBKEY") {
        "a signature is of a key that the policy does not name"
    } else if says("EXPKEYSIG") || says("EXPSIG") || says("KEYEXPIRED") {
        "a signature or its key has expired"
    } else if says("REVKEYSIG") {
        "a signature is of a revoked key"
    } else if !output.status.success() || !says("GOODSIG") || !says("VALIDSIG") {
        "a signature is not good"
    } else {
        let limit = 1 << 20;
        return crate::base::fs::read_if_exists(&content, limit)?
            .ok_or_else(|| Error::new(Kind::Denied, "a signature has no content"));
    };
    Err(Error::new(Kind::Denied, reason))
}

/// Verifies that one of the keys of `rule` signed the image.
///
/// # Errors
/// `Denied` when none did; `Unavailable` without gpgv.
pub(super) fn verify(image: &Image<'_>, rule: &Rule) -> Result<()> {
    let mut ring = Vec::new();
    for key in keys(rule)? {
        ring.extend(binary(&key)?);
    }
    let identity = rule.signed_identity.clone().unwrap_or_default();
    let mut reasons = Vec::new();
    for digest in image.digests {
        let settings = image.client.settings();
        for message in image.lookaside.read(image.reference, digest, settings)? {
            let outcome = opened(&message, &ring).and_then(|content| {
                let names = (image.reference, image.digests);
                payload::check(&content, payload::SIMPLE, names, &identity)
            });
            match outcome {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == Kind::Unavailable => return Err(e),
                Err(e) => reasons.push(e.one_line()),
            }
        }
    }
    Err(refused(&reasons))
}

/// Signs a manifest with the caller's key; answers the message.
///
/// # Errors
/// What gpg says.
pub fn sign(
    key: &str,
    passphrase: Option<&Path>,
    reference: &Reference,
    digest: &Digest,
) -> Result<Vec<u8>> {
    let content = payload::make(payload::SIMPLE, &reference.to_string(), digest)?;
    let mut words = vec!["--batch".into(), "--local-user".into(), key.into()];
    if let Some(file) = passphrase {
        words.extend([
            "--pinentry-mode".into(),
            "loopback".into(),
            "--passphrase-file".into(),
        ]);
        words.push(file.as_os_str().to_owned());
    }
    words.push(std::ffi::OsString::from("--sign"));
    let output = duct::cmd("gpg", words)
        .stdin_bytes(content)
        .stdout_capture()
        .stderr_capture()
        .unchecked()
        .run()
        .map_err(|e| missing("gpg", e))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().last().unwrap_or_default();
    Err(Error::new(
        Kind::Denied,
        format!("gpg does not sign with the key {key}: {said}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn armour_is_taken_off() {
        let body = STANDARD.encode(b"key bytes");
        let text = format!(
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: x\n\n{body}\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n"
        );
        assert_eq!(binary(text.as_bytes()).unwrap(), b"key bytes");
        let two = text.repeat(2);
        assert_eq!(binary(two.as_bytes()).unwrap(), b"key byteskey bytes");
        assert_eq!(binary(&[0x99, 1]).unwrap(), [0x99, 1]);
    }
}
