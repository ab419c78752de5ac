//! Writing: blobs (found, mounted from a sister repository, or uploaded) and manifests.
//!
//! Spec: distribution-spec, "Push".

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::Body;
use ureq::http::{Method, Response};

use super::auth::encode;
use super::client::{Call, Client, scope};
use super::http::{Failure, Payload, Retry};
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::digest::Digest;

/// Larger blobs go in pieces of this size, so that a cut line costs one of them.
const PIECE: u64 = 64 << 20;

/// How a blob got there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It was there.
    Existed,
    /// The registry took it from another repository of its own.
    Mounted,
    /// It was uploaded.
    Uploaded,
}

/// A blob on its way to a registry.
pub struct Upload<'a> {
    /// Its digest.
    pub digest: &'a Digest,
    /// Its bytes.
    pub file: &'a File,
    /// How many.
    pub size: u64,
    /// A repository of the same registry that may have it.
    pub mount_from: Option<&'a str>,
    /// Told how many bytes went out so far.
    pub sent: &'a (dyn Fn(u64) + Sync),
    /// Set once the registry refused pieces: then everything goes in one.
    pub whole: &'a AtomicBool,
}

impl Client {
    /// Whether a repository has a blob.
    ///
    /// # Errors
    /// What the registry says, except that it has not.
    pub fn has_blob(&self, repository: &str, digest: &Digest) -> Result<bool> {
        let target = format!("/v2/{repository}/blobs/{digest}");
        let response = self.call(
            &Call {
                method: Method::HEAD,
                target: &target,
                headers: &[],
                payload: Payload::None,
                scope: &scope(repository, true),
            },
            &[404],
        )?;
        Ok(response.status().is_success())
    }

    /// Brings a blob to a repository.
    ///
    /// # Errors
    /// What the registry or the network says.
    pub fn place_blob(&self, repository: &str, upload: &Upload<'_>) -> Result<Placed> {
        let what = || format!("cannot push blob {}", upload.digest);
        if self.has_blob(repository, upload.digest).what(what)? {
            return Ok(Placed::Existed);
        }
        let mut tries = 0;
        loop {
            let mut progress = 0;
            let failure = match self.upload(repository, upload, &mut progress) {
                Ok(placed) => return Ok(placed),
                Err(failure) => failure,
            };
            if progress > 0 {
                tries = 0;
            }
            if !failure.may_pass() || tries >= self.settings().retry {
                return Err(failure.error).what(what);
            }
            self.wait(&failure, tries);
            tries += 1;
        }
    }

    fn upload(
        &self,
        repository: &str,
        upload: &Upload<'_>,
        progress: &mut u64,
    ) -> Result<Placed, Failure> {
        let mut target = format!("/v2/{repository}/blobs/uploads/");
        let mut scopes = scope(repository, true);
        if let Some(from) = upload.mount_from {
            target = format!("{target}?mount={}&from={}", upload.digest, encode(from));
            scopes = format!("{scopes} {}", scope(from, false));
        }
        let response = self.attempt(
            &Call {
                method: Method::POST,
                target: &target,
                headers: &[],
                payload: Payload::Bytes(&[]),
                scope: &scopes,
            },
            &[],
        )?;
        if response.status().as_u16() == 201 {
            return Ok(Placed::Mounted);
        }
        let mut location = location(&response)
            .ok_or_else(|| Error::new(Kind::Corrupt, "the registry names no upload address"))?;
        let scopes = scope(repository, true);
        if upload.size > PIECE && !upload.whole.load(Ordering::Relaxed) {
            match self.pieces(&location, upload, &scopes, progress) {
                Ok(next) => location = next,
                Err(failure) if *progress == 0 && failure.retry == Retry::No => {
                    // Some registries know no pieces: the next try sends all at once.
                    upload.whole.store(true, Ordering::Relaxed);
                    return Err(Failure::transient(failure.error));
                }
                Err(failure) => return Err(failure),
            }
            self.finish(&location, upload, Payload::Bytes(&[]), &scopes)?;
        } else {
            let payload = Payload::Part {
                file: upload.file,
                offset: 0,
                length: upload.size,
                sent: upload.sent,
            };
            self.finish(&location, upload, payload, &scopes)?;
        }
        Ok(Placed::Uploaded)
    }

    fn pieces(
        &self,
        first: &str,
        upload: &Upload<'_>,
        scopes: &str,
        progress: &mut u64,
    ) -> Result<String, Failure> {
        let mut at = first.to_owned();
        let mut offset = 0;
        let mut tries = 0;
        while offset < upload.size {
            let length = PIECE.min(upload.size - offset);
            let headers = [
                ("content-type", "application/octet-stream".to_owned()),
                ("content-range", format!("{offset}-{}", offset + length - 1)),
            ];
            let sent = self.attempt(
                &Call {
                    method: Method::PATCH,
                    target: &at,
                    headers: &headers,
                    payload: Payload::Part {
                        file: upload.file,
                        offset,
                        length,
                        sent: upload.sent,
                    },
                    scope: scopes,
                },
                &[],
            );
            match sent {
                Ok(response) => {
                    offset += length;
                    *progress = offset;
                    tries = 0;
                    if let Some(next) = location(&response) {
                        at = next;
                    }
                }
                Err(failure) if !failure.may_pass() || tries >= self.settings().retry => {
                    return Err(failure);
                }
                Err(failure) => {
                    self.wait(&failure, tries);
                    tries += 1;
                    // How much of the piece got there?
                    let status = self.attempt(
                        &Call {
                            method: Method::GET,
                            target: &at,
                            headers: &[],
                            payload: Payload::None,
                            scope: scopes,
                        },
                        &[],
                    )?;
                    let end = status
                        .headers()
                        .get("range")
                        .and_then(|v| v.to_str().ok())
                        .and_then(range_end);
                    // `0-0` may mean nothing or one byte: one byte more does no harm only when
                    // it is not sent again, so nothing is taken for certain then.
                    offset = match end {
                        Some(end) if end > 0 && end < upload.size => end + 1,
                        _ => return Err(failure),
                    };
                    if let Some(next) = location(&status) {
                        at = next;
                    }
                }
            }
        }
        Ok(at)
    }

    fn finish(
        &self,
        at: &str,
        upload: &Upload<'_>,
        payload: Payload<'_>,
        scopes: &str,
    ) -> Result<(), Failure> {
        let separator = if at.contains('?') { '&' } else { '?' };
        let target = format!(
            "{at}{separator}digest={}",
            encode(&upload.digest.to_string())
        );
        let headers = [("content-type", "application/octet-stream".to_owned())];
        self.attempt(
            &Call {
                method: Method::PUT,
                target: &target,
                headers: &headers,
                payload,
                scope: scopes,
            },
            &[],
        )
        .map(drop)
    }

    /// Stores a manifest under a tag or its digest; answers the digest that the registry names.
    ///
    /// # Errors
    /// What the registry says; `Corrupt` when it stored something else.
    pub fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest> {
        let target = format!("/v2/{repository}/manifests/{reference}");
        let headers = [("content-type", media_type.to_owned())];
        let response = self.call(
            &Call {
                method: Method::PUT,
                target: &target,
                headers: &headers,
                payload: Payload::Bytes(bytes),
                scope: &scope(repository, true),
            },
            &[],
        )?;
        let own = Digest::sha256_of(bytes);
        let named = response
            .headers()
            .get("docker-content-digest")
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.parse::<Digest>().ok());
        match named {
            Some(named) if named != Digest::of(named.algorithm(), bytes) => Err(Error::new(
                Kind::Corrupt,
                format!("{} stored another manifest: {named}", self.name()),
            )),
            _ => Ok(own),
        }
    }
}

fn location(response: &Response<Body>) -> Option<String> {
    Some(
        response
            .headers()
            .get("location")?
            .to_str()
            .ok()?
            .to_owned(),
    )
}

/// `0-1023` or `bytes=0-1023`.
fn range_end(text: &str) -> Option<u64> {
    text.rsplit('-').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_ranges_are_read() {
        assert_eq!(range_end("0-1023"), Some(1023));
        assert_eq!(range_end("bytes=0-5"), Some(5));
        assert_eq!(range_end("none"), None);
    }
}
