//! Reading: manifests, small blobs, and large ones that resume.

use std::io::Read as _;

use ureq::Body;
use ureq::http::{Method, Response};

use super::client::{Call, Client, scope};
use super::http::{Failure, Payload};
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::digest::Digest;
use crate::spec::manifest::{DOCUMENT_LIMIT, Descriptor, media};

const CHUNK: usize = 256 << 10;

/// A manifest or an index, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What the registry calls it.
    pub content_type: String,
    /// Its digest.
    pub digest: Digest,
}

/// Where a blob's bytes go.
pub trait Sink {
    /// How many bytes are there already.
    fn offset(&self) -> u64;
    /// Appends.
    ///
    /// # Errors
    /// What the disk says.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// Throws away what is there.
    ///
    /// # Errors
    /// What the disk says.
    fn restart(&mut self) -> Result<()>;
}

/// `tag` or `digest` of a manifest.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// Whatever bears the tag now.
    Tag(&'a str),
    /// Exactly this.
    Digest(&'a Digest),
}

impl Which<'_> {
    fn text(self) -> String {
        match self {
            Self::Tag(tag) => tag.to_owned(),
            Self::Digest(digest) => digest.to_string(),
        }
    }
}

fn accepted() -> [(&'static str, String); 1] {
    let types = [
        media::OCI_INDEX,
        media::OCI_MANIFEST,
        media::DOCKER_LIST,
        media::DOCKER_MANIFEST,
    ];
    [("accept", types.join(", "))]
}

impl Client {
    /// Reads a manifest or an index of at most 4 MiB.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Unavailable`; `Corrupt` when the digest is another.
    pub fn manifest(&self, repository: &str, which: Which<'_>) -> Result<Fetched> {
        let target = format!("/v2/{repository}/manifests/{}", which.text());
        let scope = scope(repository, false);
        let headers = accepted();
        let call = Call {
            method: Method::GET,
            target: &target,
            headers: &headers,
            payload: Payload::None,
            scope: &scope,
        };
        self.retrying(|| {
            let response = self.attempt(&call, &[])?;
            let header = |name: &str| {
                response
                    .headers()
                    .get(name)
                    .and_then(|v| v.to_str().ok())
                    .unwrap_or_default()
                    .to_owned()
            };
            let content_type = header("content-type");
            let named = header("docker-content-digest");
            let bytes = self.small_body(response, DOCUMENT_LIMIT)?;
            let wanted = match which {
                Which::Digest(digest) => Some(digest.clone()),
                Which::Tag(_) => named.parse::<Digest>().ok(),
            };
            let digest = match wanted {
                None => Digest::sha256_of(&bytes),
                Some(wanted) => {
                    let found = Digest::of(wanted.algorithm(), &bytes);
                    if found != wanted {
                        return Err(Error::new(
                            Kind::Corrupt,
                            format!(
                                "{} sends a manifest with digest {found} in place of {wanted}",
                                self.name()
                            ),
                        )
                        .into());
                    }
                    wanted
                }
            };
            Ok(Fetched {
                bytes,
                content_type,
                digest,
            })
        })
    }

    /// The digest that a tag has now, without its manifest; `None` when the registry does not say.
    ///
    /// # Errors
    /// As [`Client::manifest`].
    pub fn digest_of(&self, repository: &str, which: Which<'_>) -> Result<Option<Digest>> {
        let target = format!("/v2/{repository}/manifests/{}", which.text());
        let headers = accepted();
        let response = self.call(
            &Call {
                method: Method::HEAD,
                target: &target,
                headers: &headers,
                payload: Payload::None,
                scope: &scope(repository, false),
            },
            &[],
        )?;
        Ok(response
            .headers()
            .get("docker-content-digest")
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.parse().ok()))
    }

    /// Reads a small blob, such as a configuration, of at most 4 MiB.
    ///
    /// # Errors
    /// `Corrupt` when size or digest are others.
    pub fn small_blob(&self, repository: &str, descriptor: &Descriptor) -> Result<Vec<u8>> {
        if descriptor.size > DOCUMENT_LIMIT {
            return Err(Error::new(
                Kind::Corrupt,
                format!(
                    "the image's configuration has {} bytes, more than {DOCUMENT_LIMIT}",
                    descriptor.size
                ),
            ));
        }
        let bytes = self.retrying(|| {
            let response = self.blob(repository, &descriptor.digest, 0)?;
            self.small_body(response, DOCUMENT_LIMIT)
        })?;
        let found = Digest::of(descriptor.digest.algorithm(), &bytes);
        if bytes.len() as u64 != descriptor.size || found != descriptor.digest {
            return Err(Error::new(
                Kind::Corrupt,
                format!(
                    "{} sends another content in place of blob {}",
                    self.name(),
                    descriptor.digest
                ),
            ));
        }
        Ok(bytes)
    }

    fn blob(
        &self,
        repository: &str,
        digest: &Digest,
        offset: u64,
    ) -> Result<Response<Body>, Failure> {
        let target = format!("/v2/{repository}/blobs/{digest}");
        let mut headers = Vec::new();
        if offset > 0 {
            headers.push(("range", format!("bytes={offset}-")));
        }
        self.attempt(
            &Call {
                method: Method::GET,
                target: &target,
                headers: &headers,
                payload: Payload::None,
                scope: &scope(repository, false),
            },
            &[416],
        )
    }

    /// Brings a blob into `sink`, from where it stands to its end. A cut line is resumed with a
    /// range; every try that brings bytes gives the others back. Verifying the digest is up to
    /// the caller, who has all the bytes.
    ///
    /// # Errors
    /// `Corrupt` when the registry sends more bytes than declared; what it or the network says.
    pub fn download(
        &self,
        repository: &str,
        descriptor: &Descriptor,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let what = || format!("cannot fetch blob {}", descriptor.digest);
        let mut tries = 0;
        let mut buffer = vec![0_u8; CHUNK];
        while sink.offset() < descriptor.size {
            let before = sink.offset();
            let failure = match self.stretch(repository, descriptor, sink, &mut buffer) {
                Ok(()) if sink.offset() >= descriptor.size => break,
                Ok(()) => Failure::transient(Error::new(
                    Kind::Unavailable,
                    format!(
                        "{} ended blob {} after {} of {} bytes",
                        self.name(),
                        descriptor.digest.short(),
                        sink.offset(),
                        descriptor.size
                    ),
                )),
                Err(failure) => failure,
            };
            if sink.offset() > before {
                tries = 0;
            }
            if !failure.may_pass() || tries >= self.settings().retry {
                return Err(failure.error).what(what);
            }
            self.wait(&failure, tries);
            tries += 1;
        }
        Ok(())
    }

    /// One answer's worth of bytes.
    fn stretch(
        &self,
        repository: &str,
        descriptor: &Descriptor,
        sink: &mut dyn Sink,
        buffer: &mut [u8],
    ) -> Result<(), Failure> {
        let offset = sink.offset();
        let response = self.blob(repository, &descriptor.digest, offset)?;
        // How many bytes of the answer are there already.
        let mut skip = match response.status().as_u16() {
            206 => {
                let start = response
                    .headers()
                    .get("content-range")
                    .and_then(|v| v.to_str().ok())
                    .and_then(super::ranges::start);
                match start {
                    Some(start) if start <= offset => offset - start,
                    _ => {
                        sink.restart()?;
                        return Err(Failure::transient(Error::new(
                            Kind::Unavailable,
                            format!("{} answers with another range", self.name()),
                        )));
                    }
                }
            }
            416 => {
                // It has fewer bytes than we do: ours cannot be right.
                sink.restart()?;
                return Err(Failure::transient(Error::new(
                    Kind::Unavailable,
                    format!(
                        "{} cannot resume blob {}",
                        self.name(),
                        descriptor.digest.short()
                    ),
                )));
            }
            // Ranges are ignored: the whole blob comes again.
            _ => offset,
        };
        let mut reader = response.into_body().into_reader();
        loop {
            let n = match reader.read(buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.read_failure(e)),
            };
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(n);
            skip -= skipped as u64;
            let bytes = &buffer[skipped..n];
            if sink.offset() + bytes.len() as u64 > descriptor.size {
                return Err(Error::new(
                    Kind::Corrupt,
                    format!(
                        "{} sends more than the {} declared bytes of blob {}",
                        self.name(),
                        descriptor.size,
                        descriptor.digest
                    ),
                )
                .into());
            }
            if !bytes.is_empty() {
                sink.write(bytes)?;
            }
        }
    }
}
