//! Keys of sigstore: public ones to verify with, private ones to sign with.
//!
//! Private keys come as PKCS#8, or encrypted as cosign writes them: a JSON document in PEM with
//! scrypt and NaCl's secretbox.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, UnparsedPublicKey};
use serde::Deserialize;

use crate::base::{Context as _, Error, Hint as _, Kind, Result};

/// A key that signatures are verified with.
#[derive(Clone, Debug)]
pub struct PublicKey {
    kind: Algorithm,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    P256,
    P384,
    Ed25519,
    Rsa,
}

/// The body of the first PEM block whose label ends in `label`; and its whole label.
fn pem(text: &[u8], label: &str) -> Result<(String, Vec<u8>)> {
    let malformed = || Error::invalid(format!("the key is no PEM file with a {label}"));
    let text = std::str::from_utf8(text).map_err(|_| malformed())?;
    let mut lines = text.lines().map(str::trim);
    let found = lines
        .find_map(|l| l.strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
        .filter(|found| found.ends_with(label))
        .ok_or_else(malformed)?;
    let body: String = lines.take_while(|l| !l.starts_with("-----")).collect();
    let bytes = STANDARD.decode(body).map_err(|e| malformed().because(e))?;
    Ok((found.to_owned(), bytes))
}

/// Takes one DER value off the front: its tag, its content, and what follows.
fn der(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if length >= 0x80 {
        let count = length & 0x7f;
        if count == 0 || count > 3 {
            return None;
        }
        let (digits, behind) = rest.split_at_checked(count)?;
        length = digits.iter().fold(0, |n, d| (n << 8) | usize::from(*d));
        rest = behind;
    }
    let (content, behind) = rest.split_at_checked(length)?;
    Some((*tag, content, behind))
}

const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];

impl PublicKey {
    /// Reads a `PUBLIC KEY` in PEM.
    ///
    /// # Errors
    /// `Invalid` for anything else, `Unsupported` for other algorithms than ECDSA with P-256 or
    /// P-384, Ed25519 and RSA.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let (_, bytes) = pem(text, "PUBLIC KEY")?;
        let parsed = (|| {
            let (0x30, outer, []) = der(&bytes)? else {
                return None;
            };
            let (0x30, algorithm, rest) = der(outer)? else {
                return None;
            };
            let (3, bits, []) = der(rest)? else {
                return None;
            };
            let (6, name, parameters) = der(algorithm)? else {
                return None;
            };
            let curve = match der(parameters) {
                Some((6, curve, _)) => curve,
                _ => &[],
            };
            // The first byte counts unused bits.
            let (0, key) = bits.split_first().map(|(n, key)| (*n, key))? else {
                return None;
            };
            Some((name, curve, key))
        })();
        let (name, curve, key) = parsed.ok_or_else(|| Error::invalid("the key is malformed"))?;
        let kind = match (name, curve) {
            (EC, P256) => Algorithm::P256,
            (EC, P384) => Algorithm::P384,
            (ED25519, _) => Algorithm::Ed25519,
            (RSA, _) => Algorithm::Rsa,
            _ => {
                return Err(Error::unsupported(
                    "the key is none of ECDSA (P-256, P-384), Ed25519 and RSA",
                ));
            }
        };
        Ok(Self {
            kind,
            bytes: key.to_vec(),
        })
    }

    /// Whether a signature of `message` was made with this key.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn signature::VerificationAlgorithm = match self.kind {
            Algorithm::P256 => &signature::ECDSA_P256_SHA256_ASN1,
            // As sigstore does: SHA-256 for every key.
            Algorithm::P384 => &signature::ECDSA_P384_SHA256_ASN1,
            Algorithm::Ed25519 => &signature::ED25519,
            Algorithm::Rsa => &signature::RSA_PKCS1_2048_8192_SHA256,
        };
        UnparsedPublicKey::new(algorithm, &self.bytes)
            .verify(message, signature)
            .is_ok()
    }
}

/// A key that images are signed with.
pub enum PrivateKey {
    /// ECDSA with P-256.
    Ecdsa(Box<EcdsaKeyPair>),
    /// Ed25519.
    Ed25519(Box<Ed25519KeyPair>),
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// cosign's encrypted form.
#[derive(Deserialize)]
struct Encrypted {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Scrypt,
    salt: String,
}

#[derive(Deserialize)]
struct Scrypt {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

impl PrivateKey {
    /// Reads a private key: PKCS#8 in PEM, or cosign's, which `passphrase` opens.
    ///
    /// # Errors
    /// `Invalid` for anything else, `Denied` for a wrong passphrase.
    pub fn parse(text: &[u8], passphrase: Option<&[u8]>) -> Result<Self> {
        let (label, bytes) = pem(text, "PRIVATE KEY")?;
        let pkcs8 = match label.as_str() {
            "PRIVATE KEY" => bytes,
            "ENCRYPTED COSIGN PRIVATE KEY" | "ENCRYPTED SIGSTORE PRIVATE KEY" => {
                let passphrase = passphrase.ok_or_else(|| {
                    Error::invalid("the private key is encrypted")
                        .hint("name a file with its passphrase: --sign-passphrase-file FILE")
                })?;
                decrypt(&bytes, passphrase)?
            }
            other => {
                return Err(Error::unsupported(format!(
                    "the private key is of the kind {other:?}"
                ))
                .hint("use one of cosign, or PKCS#8: openssl pkcs8 -topk8 -nocrypt"));
            }
        };
        let random = SystemRandom::new();
        let algorithm = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8, &random) {
            return Ok(Self::Ecdsa(Box::new(pair)));
        }
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8)
            .map(|pair| Self::Ed25519(Box::new(pair)))
            .map_err(|e| {
                Error::unsupported("the private key is neither ECDSA with P-256 nor Ed25519")
                    .because(e.to_string())
            })
    }

    /// Signs.
    ///
    /// # Errors
    /// `Internal` without random numbers.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Ecdsa(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map(|s| s.as_ref().to_vec())
                .map_err(|_| Error::internal("cannot sign")),
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

/// The key that scrypt derives, with the parameters N, r and p.
///
/// Spec: RFC 7914.
fn scrypt(passphrase: &[u8], salt: &[u8], (n, r, p): (usize, usize, usize)) -> [u8; 32] {
    use ring::pbkdf2::{PBKDF2_HMAC_SHA256, derive};
    let once = std::num::NonZeroU32::MIN;
    let mut bytes = vec![0_u8; p * 128 * r];
    derive(PBKDF2_HMAC_SHA256, once, salt, passphrase, &mut bytes);
    for block in bytes.chunks_exact_mut(128 * r) {
        let mut x: Vec<u32> = block
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        let mut table = Vec::with_capacity(n * x.len());
        for _ in 0..n {
            table.extend_from_slice(&x);
            block_mix(&mut x);
        }
        for _ in 0..n {
            let at = x[x.len() - 16] as usize & (n - 1);
            let row = &table[at * x.len()..][..x.len()];
            for (word, other) in x.iter_mut().zip(row) {
                *word ^= other;
            }
            block_mix(&mut x);
        }
        for (out, word) in block.chunks_exact_mut(4).zip(&x) {
            out.copy_from_slice(&word.to_le_bytes());
        }
    }
    let mut key = [0_u8; 32];
    derive(PBKDF2_HMAC_SHA256, once, &bytes, passphrase, &mut key);
    key
}

fn block_mix(x: &mut [u32]) {
    let mut last = [0_u32; 16];
    last.copy_from_slice(&x[x.len() - 16..]);
    let (mut even, mut odd) = (Vec::with_capacity(x.len()), Vec::new());
    for (at, block) in x.chunks_exact(16).enumerate() {
        for (word, other) in last.iter_mut().zip(block) {
            *word ^= other;
        }
        salsa8(&mut last);
        if at % 2 == 0 {
            even.extend_from_slice(&last);
        } else {
            odd.extend_from_slice(&last);
        }
    }
    even.append(&mut odd);
    x.copy_from_slice(&even);
}

/// Salsa20 with eight rounds, as a function of a block.
fn salsa8(block: &mut [u32; 16]) {
    /// Words of a column or row, in the order in which they change each other.
    const QUARTERS: [[usize; 4]; 8] = [
        [0, 4, 8, 12],
        [5, 9, 13, 1],
        [10, 14, 2, 6],
        [15, 3, 7, 11],
        [0, 1, 2, 3],
        [5, 6, 7, 4],
        [10, 11, 8, 9],
        [15, 12, 13, 14],
    ];
    let mut x = *block;
    for _ in 0..4 {
        for [a, b, c, d] in QUARTERS {
            x[b] ^= x[a].wrapping_add(x[d]).rotate_left(7);
            x[c] ^= x[b].wrapping_add(x[a]).rotate_left(9);
            x[d] ^= x[c].wrapping_add(x[b]).rotate_left(13);
            x[a] ^= x[d].wrapping_add(x[c]).rotate_left(18);
        }
    }
    for (word, mixed) in block.iter_mut().zip(x) {
        *word = word.wrapping_add(mixed);
    }
}

fn decrypt(document: &[u8], passphrase: &[u8]) -> Result<Vec<u8>> {
    use crypto_secretbox::aead::{Aead as _, KeyInit as _};
    let malformed = || "the encrypted private key is malformed";
    let document: Encrypted =
        serde_json::from_slice(document).what_kind(Kind::Invalid, malformed)?;
    if document.kdf.name != "scrypt" || document.cipher.name != "nacl/secretbox" {
        return Err(Error::unsupported(
            "the private key is encrypted in an unknown way",
        ));
    }
    let decode = |text: &str| STANDARD.decode(text).what_kind(Kind::Invalid, malformed);
    let (salt, nonce) = (decode(&document.kdf.salt)?, decode(&document.cipher.nonce)?);
    let Scrypt { n, r, p } = document.kdf.params;
    // 128 · N · r bytes of memory: 32 MiB as cosign makes them.
    if !n.is_power_of_two()
        || !(2..=1 << 18).contains(&n)
        || !(1..=16).contains(&r)
        || !(1..=16).contains(&p)
    {
        return Err(Error::invalid(malformed()));
    }
    let key = scrypt(passphrase, &salt, (n as usize, r as usize, p as usize));
    let nonce: [u8; 24] = nonce.try_into().map_err(|_| Error::invalid(malformed()))?;
    crypto_secretbox::XSalsa20Poly1305::new(&key.into())
        .decrypt(&nonce.into(), decode(&document.ciphertext)?.as_slice())
        .map_err(|_| Error::new(Kind::Denied, "the passphrase does not open the private key"))
        .hint(|| "check the file of --sign-passphrase-file: a line end at its end counts not")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEa1rVHdWR1iUtvFzcJpDAxXKUbyYY\nqyX0+kNSKR2yX7HrxU1kJNJ0TAGUQY1mI9H6J2mGJWqGqWqXlIyKcrUo5g==\n-----END PUBLIC KEY-----\n";

    #[test]
    fn scrypt_gives_what_the_rfc_says() {
        let hex = |bytes: &[u8]| crate::spec::digest::hex(bytes);
        assert_eq!(
            hex(&scrypt(b"", b"", (16, 1, 1))),
            "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"
        );
        assert_eq!(
            hex(&scrypt(b"password", b"NaCl", (1024, 8, 16))),
            "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
        );
    }

    #[test]
    fn malformed_keys_are_refused_without_a_panic() {
        let good = PublicKey::parse(PUBLIC.as_bytes()).unwrap();
        assert_eq!(good.kind, Algorithm::P256);
        assert!(!good.verifies(b"x", b"y"));
        let (_, bytes) = pem(PUBLIC.as_bytes(), "PUBLIC KEY").unwrap();
        for at in 0..bytes.len() {
            let mut cut = bytes.clone();
            cut.truncate(at);
            let text = format!(
                "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----",
                STANDARD.encode(&cut)
            );
            assert!(PublicKey::parse(text.as_bytes()).is_err(), "cut at {at}");
            let mut bent = bytes.clone();
            bent[at] ^= 0x81;
            let text = format!(
                "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----",
                STANDARD.encode(&bent)
            );
            drop(PublicKey::parse(text.as_bytes()));
        }
        for bad in [
            "",
            "-----BEGIN PUBLIC KEY-----",
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
        ] {
            assert!(PublicKey::parse(bad.as_bytes()).is_err());
            assert!(PrivateKey::parse(bad.as_bytes(), None).is_err());
        }
    }
}
