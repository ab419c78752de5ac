//! A small HTTP/1.1 server: one thread a connection, one function that answers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// What a client asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET` and so on.
    pub method: String,
    /// Without the query; for a proxy the whole target.
    pub path: String,
    /// What follows the question mark.
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What it gets.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Besides the length.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The line is cut after so many bytes of it.
    pub cut: Option<usize>,
    /// Bytes of the body a second; 0 for as fast as it goes.
    pub rate: usize,
}

impl Request {
    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// The values of a parameter of the query, or of a form.
    pub fn parameters(&self, name: &str) -> Vec<String> {
        let form = String::from_utf8_lossy(&self.body).into_owned();
        let text = if self.method == "POST" && self.query.is_empty() {
            &form
        } else {
            &self.query
        };
        text.split('&')
            .filter_map(|pair| pair.split_once('='))
            .filter(|(n, _)| *n == name)
            .map(|(_, v)| decoded(v))
            .collect()
    }

    /// The ranges that a `Range` header with ends asks for, as (first, last).
    pub fn ranges(&self) -> Vec<(usize, usize)> {
        let header = self.header("range").and_then(|r| r.strip_prefix("bytes="));
        header
            .unwrap_or_default()
            .split(',')
            .filter_map(|r| r.trim().split_once('-'))
            .filter_map(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)))
            .collect()
    }

    /// The first byte that a `Range` header asks for.
    pub fn start(&self) -> usize {
        self.header("range")
            .and_then(|r| r.strip_prefix("bytes="))
            .and_then(|r| r.trim_end_matches('-').parse().ok())
            .unwrap_or(0)
    }
}

impl Answer {
    /// A status without a body.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// 200 with a body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            body: body.into(),
            ..Self::default()
        }
    }

    /// With one header more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let hex: Vec<u8> = bytes.by_ref().take(2).collect();
            let hex = String::from_utf8(hex).unwrap();
            out.push(u8::from_str_radix(&hex, 16).unwrap());
        } else {
            out.push(b);
        }
    }
    String::from_utf8(out).unwrap()
}

/// Serves on a free loopback port until the test process ends; answers `127.0.0.1:PORT`.
pub fn serve(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> String {
    let answer = Arc::new(answer);
    listen(move |stream| {
        let mut reader = BufReader::new(stream);
        while let Some(request) = read(&mut reader)? {
            let answer = answer(&request);
            if !write(stream, &request, &answer)? {
                return Ok(());
            }
        }
        Ok(())
    })
}

/// Hands each connection to `work`, in a thread of its own.
pub fn listen(work: impl Fn(&TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let work = Arc::new(work);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let work = Arc::clone(&work);
            thread::spawn(move || {
                let mut first = [0_u8; 1];
                if matches!(stream.peek(&mut first), Ok(1)) && first[0] == 0x16 {
                    // A TLS greeting: this server speaks plain HTTP only.
                    drop((&stream).write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n"));
                    return;
                }
                // A client that goes away is its own business.
                drop(work(&stream));
            });
        }
    });
    address
}

/// The next request of a connection; `None` at its end.
pub fn read(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request {
        method,
        path,
        query,
        headers,
        body: Vec::new(),
    };
    let length = request
        .header("content-length")
        .and_then(|l| l.parse().ok())
        .unwrap_or(0);
    request.body = vec![0; length];
    reader.read_exact(&mut request.body)?;
    Ok(Some(request))
}

fn write(mut out: &TcpStream, request: &Request, answer: &Answer) -> std::io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} Status\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", answer.body.len()));
    out.write_all(head.as_bytes())?;
    if request.method == "HEAD" {
        return Ok(true);
    }
    match answer.cut.filter(|cut| *cut < answer.body.len()) {
        Some(cut) => {
            out.write_all(&answer.body[..cut])?;
            Ok(false)
        }
        None if answer.rate > 0 => {
            // Ten pieces a second.
            for piece in answer.body.chunks((answer.rate / 10).max(1)) {
                out.write_all(piece)?;
                thread::sleep(std::time::Duration::from_millis(100));
            }
            Ok(true)
        }
        None => {
            out.write_all(&answer.body)?;
            Ok(true)
        }
    }
}
