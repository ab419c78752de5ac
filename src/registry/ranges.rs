//! Reading parts of a blob: several ranges as one stream, as few requests as the registry allows.
//!
//! Spec: distribution-spec, "Pulling blobs"; RFC 9110, 14 (ranges, multipart/byteranges).

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::BodyReader;
use ureq::http::Method;

use super::client::{Call, Client, scope};
use super::http::{Failure, Payload};
use crate::base::{Error, Kind, Result};
use crate::spec::digest::Digest;

/// Ranges in one request: servers bound the length of a header.
const AT_ONCE: usize = 64;

/// Longest line between the parts of an answer.
const LINE: u64 = 8 << 10;

/// Parts of a blob, in the order in which they were asked for, one behind the other.
pub struct Ranges<'a> {
    client: &'a Client,
    repository: &'a str,
    digest: &'a Digest,
    /// What is still to come, as (offset, length).
    left: VecDeque<(u64, u64)>,
    answer: Option<Answer>,
    /// The registry takes several ranges in one request.
    several: &'a AtomicBool,
    tries: u32,
}

struct Answer {
    body: BufReader<BodyReader<'static>>,
    /// Line between the parts, for an answer in several.
    boundary: Option<String>,
    /// Whether the present range has begun.
    begun: bool,
}

impl Client {
    /// Reads `ranges`, (offset, length), which ascend and do not touch. `several` remembers whether
    /// the registry takes more than one in a request: true to begin with.
    ///
    /// Reading fails with `Unsupported` when the registry sends the whole blob instead.
    pub fn ranges<'a>(
        &'a self,
        repository: &'a str,
        digest: &'a Digest,
        ranges: impl IntoIterator<Item = (u64, u64)>,
        several: &'a AtomicBool,
    ) -> Ranges<'a> {
        Ranges {
            client: self,
            repository,
            digest,
            left: ranges
                .into_iter()
                .filter(|(_, length)| *length > 0)
                .collect(),
            answer: None,
            several,
            tries: 0,
        }
    }

    /// Reads one range whole.
    ///
    /// # Errors
    /// What the registry says; `Unsupported` when it knows no ranges.
    pub fn range(&self, repository: &str, digest: &Digest, at: (u64, u64)) -> Result<Vec<u8>> {
        let several = AtomicBool::new(true);
        let mut bytes = Vec::new();
        self.ranges(repository, digest, [at], &several)
            .read_to_end(&mut bytes)
            .map_err(unwrapped)?;
        Ok(bytes)
    }
}

/// Our own error, which went through `io`.
pub fn unwrapped(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(other) => Error::new(Kind::Unavailable, "cannot read from the registry").because(other),
    }
}

impl Ranges<'_> {
    fn open(&mut self) -> Result<(), Failure> {
        let most = if self.several.load(Ordering::Relaxed) {
            AT_ONCE
        } else {
            1
        };
        let asked = self.left.len().min(most);
        let list: Vec<String> = self
            .left
            .iter()
            .take(asked)
            .map(|(offset, length)| format!("{offset}-{}", offset + length - 1))
            .collect();
        let target = format!("/v2/{}/blobs/{}", self.repository, self.digest);
        let call = Call {
            method: Method::GET,
            target: &target,
            headers: &[("range", format!("bytes={}", list.join(",")))],
            payload: Payload::None,
            scope: &scope(self.repository, false),
        };
        let response = self.client.attempt(&call, &[400, 416])?;
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        let boundary = boundary(&header("content-type"));
        let status = response.status().as_u16();
        let first = self.left.front().map(|(offset, _)| *offset);
        let fits = match (status, &boundary) {
            (206, Some(_)) => true,
            (206, None) => asked == 1 && start(&header("content-range")) == first,
            _ => false,
        };
        if !fits {
            if asked > 1 {
                // Perhaps it knows one at a time.
                self.several.store(false, Ordering::Relaxed);
                return self.open();
            }
            return Err(Error::unsupported(format!(
                "{} does not serve parts of blobs",
                self.client.name()
            ))
            .into());
        }
        self.answer = Some(Answer {
            begun: boundary.is_none(),
            boundary,
            body: BufReader::new(response.into_body().into_reader()),
        });
        Ok(())
    }

    fn advance(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        loop {
            let Some((offset, length)) = self.left.front().copied() else {
                return Ok(0);
            };
            let Some(answer) = &mut self.answer else {
                self.open()?;
                continue;
            };
            if !answer.begun {
                match answer.begin().map_err(|e| self.client.read_failure(e))? {
                    Some(start) if start == offset => answer.begun = true,
                    // The end of this answer: the rest is asked for.
                    None => {
                        self.answer = None;
                        self.tries += 1;
                        if self.tries > 64 {
                            return Err(self.odd());
                        }
                        continue;
                    }
                    Some(_) => return Err(self.odd()),
                }
            }
            let most = usize::try_from(length).map_or(buffer.len(), |l| l.min(buffer.len()));
            let n = answer
                .body
                .read(&mut buffer[..most])
                .map_err(|e| self.client.read_failure(e))?;
            if n == 0 {
                return Err(Failure::transient(Error::new(
                    Kind::Unavailable,
                    format!(
                        "{} ended blob {} early",
                        self.client.name(),
                        self.digest.short()
                    ),
                )));
            }
            self.tries = 0;
            let n64 = n as u64;
            if n64 == length {
                self.left.pop_front();
                match &mut self.answer {
                    Some(answer) if answer.boundary.is_some() => answer.begun = false,
                    _ => self.answer = None,
                }
            } else if let Some(front) = self.left.front_mut() {
                *front = (offset + n64, length - n64);
            }
            return Ok(n);
        }
    }

    fn odd(&self) -> Failure {
        Error::unsupported(format!(
            "{} answers with other parts than it was asked for",
            self.client.name()
        ))
        .into()
    }
}

impl Answer {
    /// Reads up to the content of the next part; where it begins, `None` at the end.
    fn begin(&mut self) -> io::Result<Option<u64>> {
        let Some(boundary) = &self.boundary else {
            return Ok(None);
        };
        let mut inside = false;
        let mut found = None;
        // A part has a handful of headers.
        for _ in 0..64 {
            let mut line = Vec::new();
            (&mut self.body).take(LINE).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                return Ok(None);
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end();
            if let Some(rest) = line
                .strip_prefix("--")
                .and_then(|l| l.strip_prefix(boundary.as_str()))
            {
                if rest.starts_with("--") {
                    return Ok(None);
                }
                inside = true;
            } else if inside && line.is_empty() {
                return Ok(Some(found.unwrap_or(u64::MAX)));
            } else if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-range")
            {
                found = start(value);
            }
        }
        Ok(Some(u64::MAX))
    }
}

impl Read for Ranges<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.advance(buffer) {
                Ok(n) => return Ok(n),
                Err(failure) => {
                    self.answer = None;
                    if !failure.may_pass() || self.tries >= self.client.settings().retry {
                        return Err(io::Error::other(failure.error));
                    }
                    self.client.wait(&failure, self.tries);
                    self.tries += 1;
                }
            }
        }
    }
}

/// `bytes 5-9/10`.
pub(super) fn start(text: &str) -> Option<u64> {
    text.trim()
        .strip_prefix("bytes")?
        .trim_start_matches([' ', '='])
        .split('-')
        .next()?
        .parse()
        .ok()
}

/// `multipart/byteranges; boundary=…`.
fn boundary(content_type: &str) -> Option<String> {
    let rest = content_type.trim();
    let (kind, parameters) = rest.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/byteranges") {
        return None;
    }
    let value = parameters
        .split(';')
        .find_map(|p| p.trim().strip_prefix("boundary="))?;
    Some(value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_boundaries_are_read() {
        assert_eq!(start("bytes 5-9/10"), Some(5));
        assert_eq!(start("bytes=7-9/*"), Some(7));
        assert_eq!(start("items 1-2"), None);
        assert_eq!(start(""), None);
        assert_eq!(
            boundary("multipart/byteranges; boundary=\"x y\"").as_deref(),
            Some("x y")
        );
        assert_eq!(
            boundary("multipart/byteranges; charset=x; boundary=abc").as_deref(),
            Some("abc")
        );
        assert_eq!(boundary("application/octet-stream; boundary=abc"), None);
    }
}
