//! HTTP/1 as far as Docker's interface needs it: the head of a request, and how its body is framed.
//!
//! Pure. Strict where two readers could disagree about where a request ends (RFC 9112, sections 5.2,
//! 6.3 and 7.1): such a request is refused and its connection closed.

/// A head is no longer, bytes. `X-Registry-Config` carries a person's credentials.
pub const HEAD_LIMIT: usize = 64 << 10;

/// A head has no more fields.
const FIELDS: usize = 100;

/// The line of a chunk's size, or of a trailer, is no longer, bytes.
const LINE_LIMIT: usize = 4 << 10;

/// A request that cannot be served, with the status that says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// The sentence for the client.
    pub message: String,
}

impl Refusal {
    /// Makes one.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}

/// Where the body of a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
}

/// A request without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// `GET`, ….
    pub method: String,
    /// The decoded segments of the path, without the version.
    pub path: Vec<String>,
    /// `1.44` of `/v1.44/…`.
    pub version: Option<(u32, u32)>,
    /// The decoded pairs of the query, in order.
    pub query: Vec<(String, String)>,
    /// The fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// HTTP/1.0.
    pub old: bool,
    /// Where the body ends.
    pub framing: Framing,
}

impl Head {
    /// The first field of this name, which is in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut all = self.fields.iter();
        all.find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first value of a query's key.
    pub fn value(&self, key: &str) -> Option<&str> {
        let mut all = self.query.iter();
        all.find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The first value of a query's key, unless it is empty.
    pub fn given(&self, key: &str) -> Option<&str> {
        self.value(key).filter(|v| !v.is_empty())
    }

    /// All values of a query's key.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let all = self.query.iter();
        all.filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Whether a query's key is set, as Docker reads it: everything but these words is yes.
    pub fn flag(&self, key: &str) -> bool {
        self.value(key).is_some_and(|v| {
            !matches!(
                v.trim().to_ascii_lowercase().as_str(),
                "" | "0" | "no" | "false" | "none"
            )
        })
    }

    /// Whether the client asks for another protocol on this connection.
    pub fn upgrades(&self) -> bool {
        self.field("upgrade").is_some() && self.has_word("connection", "upgrade")
    }

    /// Whether it asks for podman's own form of a route.
    pub fn is_libpod(&self) -> bool {
        self.path.first().is_some_and(|p| p == "libpod")
    }

    /// Whether the connection may carry another request after this one.
    pub fn keeps_alive(&self) -> bool {
        match self.old {
            true => self.has_word("connection", "keep-alive"),
            false => !self.has_word("connection", "close"),
        }
    }

    fn has_word(&self, field: &str, word: &str) -> bool {
        self.fields
            .iter()
            .filter(|(n, _)| n == field)
            .flat_map(|(_, v)| v.split(','))
            .any(|w| w.trim().eq_ignore_ascii_case(word))
    }
}

/// Reads a head from the beginning of `bytes`; answers it with its length, or `None` while more must
/// come.
///
/// # Errors
/// What is wrong with it: the connection cannot be used any more.
pub fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() >= HEAD_LIMIT => {
            return Err(Refusal::new(431, "the request's header is too long"));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::new(431, "the request has too many header fields"));
        }
        Err(e) => return Err(Refusal::new(400, format!("malformed request: {e}"))),
    };
    let bad = |what: &str| Refusal::new(400, format!("malformed request: {what}"));
    let mut list = Vec::with_capacity(request.headers.len());
    for field in request.headers.iter() {
        // Bytes that are no UTF-8 stand in no field that is read here.
        let value = String::from_utf8_lossy(field.value).trim().to_owned();
        list.push((field.name.to_ascii_lowercase(), value));
    }
    let old = request.version == Some(0);
    let framing = framing(&list, old)?;
    let target = request.path.unwrap_or_default();
    // The absolute form names a host that does not matter here.
    let target = match target.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
            rest.find('/').map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    if !target.starts_with('/') {
        return Err(bad("the target is no path"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut segments = path
        .split('/')
        .filter(|s| !s.is_empty())
        .map(|s| decode(s, false).ok_or_else(|| bad("the path is not encoded well")))
        .collect::<Result<Vec<_>, _>>()?;
    let version = segments.first().and_then(|s| version(s));
    if version.is_some() {
        segments.remove(0);
    }
    let query = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            decode(key, true).zip(decode(value, true))
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| bad("the query is not encoded well"))?;
    let head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        path: segments,
        version,
        query,
        fields: list,
        old,
        framing,
    };
    Ok(Some((head, length)))
}

/// Where the body ends. Two answers, or none that is sure, are refused.
fn framing(fields: &[(String, String)], old: bool) -> Result<Framing, Refusal> {
    let all = |name: &str| -> Vec<&str> {
        let fields = fields.iter().filter(|(n, _)| n == name);
        fields.map(|(_, v)| v.as_str()).collect()
    };
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    let bad = |what: &str| Refusal::new(400, format!("malformed request: {what}"));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Framing::Length(0)),
        ([first, rest @ ..], []) => {
            let digits = !first.is_empty() && first.bytes().all(|b| b.is_ascii_digit());
            let length = first.parse().ok().filter(|_| digits);
            match length {
                Some(length) if rest.iter().all(|r| r == first) => Ok(Framing::Length(length)),
                _ => Err(bad("the length of the body is not clear")),
            }
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") && !old => Ok(Framing::Chunked),
        ([], _) if old => Err(bad("HTTP/1.0 has no transfer codings")),
        ([], _) => Err(Refusal::new(
            501,
            "only the transfer coding chunked is known",
        )),
        _ => Err(bad("the body has a length and a transfer coding")),
    }
}

/// `v1.44`.
fn version(text: &str) -> Option<(u32, u32)> {
    // podman's own routes say v5.0.0.
    let mut parts = text.strip_prefix('v')?.split('.');
    let number = |text: Option<&str>| -> Option<u32> {
        let text = text.filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
        text.parse().ok()
    };
    let found = (number(parts.next())?, number(parts.next())?);
    parts
        .all(|p| p.bytes().all(|b| b.is_ascii_digit()))
        .then_some(found)
}

/// Undoes the percent encoding; `None` when the text is not UTF-8 then, has a NUL, or was cut.
pub fn decode(text: &str, plus: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(out).ok().filter(|t| !t.contains('\0'))
}

/// What a piece of a chunked body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes at the beginning are the body's.
    Data(usize),
    /// So many bytes at the beginning are of the framing.
    Skip(usize),
    /// More must come.
    More,
    /// The body ended before the first byte.
    End,
}

/// Cuts a chunked body (RFC 9112, section 7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chunks {
    /// A chunk's size comes.
    #[default]
    Size,
    /// So many bytes of a chunk come.
    Data(u64),
    /// The end of a chunk's line comes.
    After,
    /// Trailers come, of which this much was seen.
    Trailers(usize),
    /// Nothing comes.
    Over,
}

impl Chunks {
    /// Looks at the next bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, Refusal> {
        let bad = |what: &str| Refusal::new(400, format!("malformed body: {what}"));
        let line = |bytes: &[u8]| -> Result<Option<usize>, Refusal> {
            match bytes.iter().position(|b| *b == b'\n') {
                Some(at) if at > 0 && bytes[at - 1] == b'\r' => Ok(Some(at + 1)),
                Some(_) => Err(bad("a line that does not end with CR LF")),
                None if bytes.len() > LINE_LIMIT => Err(bad("an endless line")),
                None => Ok(None),
            }
        };
        match *self {
            Self::Over => Ok(Piece::End),
            Self::Size => {
                let Some(length) = line(bytes)? else {
                    return Ok(Piece::More);
                };
                let text = &bytes[..length - 2];
                let digits = text.iter().take_while(|b| b.is_ascii_hexdigit()).count();
                let follows = text.get(digits);
                if digits == 0
                    || digits > 15
                    || follows.is_some_and(|b| !matches!(b, b';' | b' ' | b'\t'))
                {
                    return Err(bad("the size of a chunk"));
                }
                let size = text[..digits].iter().fold(0_u64, |sum, b| {
                    sum * 16 + u64::from(char::from(*b).to_digit(16).unwrap_or(0))
                });
                *self = match size {
                    0 => Self::Trailers(0),
                    size => Self::Data(size),
                };
                Ok(Piece::Skip(length))
            }
            Self::Data(left) if bytes.is_empty() => {
                debug_assert!(left > 0);
                Ok(Piece::More)
            }
            Self::Data(left) => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                *self = match left - taken as u64 {
                    0 => Self::After,
                    left => Self::Data(left),
                };
                Ok(Piece::Data(taken))
            }
            Self::After => match bytes {
                [b'\r', b'\n', ..] => {
                    *self = Self::Size;
                    Ok(Piece::Skip(2))
                }
                [] | [b'\r'] => Ok(Piece::More),
                _ => Err(bad("a chunk that is longer than its size")),
            },
            Self::Trailers(seen) => {
                let Some(length) = line(bytes)? else {
                    return Ok(Piece::More);
                };
                *self = match (length, seen + length) {
                    (2, _) => Self::Over,
                    (_, seen) if seen > HEAD_LIMIT => return Err(bad("endless trailers")),
                    (_, seen) => Self::Trailers(seen),
                };
                Ok(Piece::Skip(length))
            }
        }
    }
}

/// The reason that stands behind a status.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "UPGRADED",
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Request Entity Too Large",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Head, Refusal> {
        head(text.as_bytes()).map(|found| found.expect("a whole head").0)
    }

    #[test]
    fn a_head_is_read() {
        let text = "POST /v1.44/images/a%2Fb:1/json?all=1&filters=%7B%7D&x=a+b&flag HTTP/1.1\r\n\
                    Host: docker\r\nContent-Length: 3\r\nX-Y:  z \r\n\r\nabc";
        let (head, length) = head(text.as_bytes()).unwrap().unwrap();
        assert_eq!(&text[length..], "abc");
        assert_eq!(head.path, ["images", "a/b:1", "json"]);
        assert_eq!(head.version, Some((1, 44)));
        assert_eq!(head.given("filters"), Some("{}"));
        assert_eq!(head.value("x"), Some("a b"));
        assert!(head.flag("all") && !head.flag("flag") && !head.flag("none"));
        assert_eq!(head.field("x-y"), Some("z"));
        assert_eq!(head.framing, Framing::Length(3));
        assert!(head.keeps_alive() && !head.upgrades());
        for step in 0..length {
            assert_eq!(super::head(&text.as_bytes()[..step]), Ok(None), "{step}");
        }
        let hijack =
            read("POST /x HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n").unwrap();
        assert!(hijack.upgrades());
        assert!(!read("GET / HTTP/1.0\r\n\r\n").unwrap().keeps_alive());
        let far = read("GET http://d/v5.0.0/libpod/_ping HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(
            (far.version, far.path),
            (Some((5, 0)), vec!["libpod".into(), "_ping".into()])
        );
    }

    #[test]
    fn what_two_readers_could_understand_differently_is_refused() {
        for (fields, status) in [
            ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Content-Length: 3\r\nContent-Length: 4\r\n", 400),
            ("Content-Length: +3\r\n", 400),
            ("Content-Length: 0x3\r\n", 400),
            ("Content-Length: 3, 3\r\n", 400),
            ("Content-Length: \r\n", 400),
            ("Content-Length: 99999999999999999999999\r\n", 400),
            ("Transfer-Encoding: gzip, chunked\r\n", 501),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                501,
            ),
            ("Transfer-Encoding: xchunked\r\n", 501),
            ("A: b\r\n c\r\n", 400),
            ("A : b\r\n", 400),
            ("A: b\x01\r\n", 400),
            ("no field\r\n", 400),
        ] {
            let got = head(format!("POST /x HTTP/1.1\r\n{fields}\r\n").as_bytes());
            assert_eq!(got.map_err(|e| e.status), Err(status), "{fields:?}");
        }
        let twice = "POST /x HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(read(twice).unwrap().framing, Framing::Length(3));
        let old = "POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(read(old).unwrap_err().status, 400);
        for line in [
            "GET x HTTP/1.1",
            "GET /%zz HTTP/1.1",
            "GET /%00 HTTP/1.1",
            "GET /?a=%f HTTP/1.1",
        ] {
            assert_eq!(
                read(&format!("{line}\r\n\r\n")).unwrap_err().status,
                400,
                "{line}"
            );
        }
        let long = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(HEAD_LIMIT));
        assert_eq!(head(long.as_bytes()).unwrap_err().status, 431);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(FIELDS + 1));
        assert_eq!(head(many.as_bytes()).unwrap_err().status, 431);
    }

    /// The body, and what stands behind it.
    fn unchunk(text: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
        let (mut chunks, mut body, mut at, mut seen) = (Chunks::default(), Vec::new(), 0, 0);
        loop {
            match chunks.next(&text[at..seen])? {
                Piece::Data(n) => {
                    body.extend_from_slice(&text[at..at + n]);
                    at += n;
                }
                Piece::Skip(n) => at += n,
                Piece::End => return Ok((body, text[at..].to_vec())),
                Piece::More if seen == text.len() => return Err(Refusal::new(0, "cut")),
                Piece::More => seen = (seen + step).min(text.len()),
            }
        }
    }

    #[test]
    fn chunks_survive_any_cutting_of_the_stream() {
        let text = b"5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nGET /";
        for step in 1..text.len() {
            let (body, rest) = unchunk(text, step).unwrap();
            assert_eq!(
                (&body[..], &rest[..]),
                (&b"hello0123456789"[..], &b"GET /"[..]),
                "{step}"
            );
        }
    }

    #[test]
    fn chunks_that_lie_are_refused() {
        for text in [
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello!\r\n0\r\n\r\n",
            "-5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            "5 5\rhello\n",
            "fffffffffffffffff\r\n",
            "\r\n",
            "g\r\n",
            "0\r\nbad\n\r\n",
        ] {
            assert_eq!(
                unchunk(text.as_bytes(), 64).unwrap_err().status,
                400,
                "{text:?}"
            );
        }
        let endless = format!("5;{}", "x".repeat(2 * LINE_LIMIT));
        assert_eq!(unchunk(endless.as_bytes(), 64).unwrap_err().status, 400);
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(HEAD_LIMIT));
        assert_eq!(unchunk(trailers.as_bytes(), 4096).unwrap_err().status, 400);
    }
}
