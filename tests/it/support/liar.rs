//! A registry that misbehaves on request: one image, one fault.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha2::Digest as _;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The layer stops half way, silently, for ever.
    Stall,
    /// As `Stall`, the first time only.
    StallOnce,
    /// The line is cut in the middle of the layer, the first `n` times.
    Cut(usize),
    /// As `Cut(1)`, and ranges are ignored afterwards.
    CutWithoutRanges,
    /// The layer has one byte changed.
    WrongByte,
    /// The manifest declares a smaller layer than comes.
    TooLong,
    /// The manifest declares a larger layer than comes.
    TooShort,
    /// The configuration lists another diff id.
    WrongDiffId,
    /// The manifest is not the one that the digest header names.
    WrongManifest,
    /// The manifest has no end.
    EndlessManifest,
    /// `n` times 429 with `Retry-After: 0`.
    TooMany(usize),
    /// `n` times 503.
    Broken(usize),
    /// 401 again and again, with a challenge.
    LoginLoop,
    /// Layers are redirected to another port, which must see no Authorization.
    Redirect,
    /// Redirects in a circle.
    RedirectLoop,
}

/// The server; it ends with the test process.
pub struct Liar {
    /// `127.0.0.1:PORT`.
    pub address: String,
    state: Arc<State>,
}

struct State {
    fault: Fault,
    documents: HashMap<String, (String, Vec<u8>)>,
    layer_path: String,
    layer: Vec<u8>,
    faults: AtomicUsize,
    requests: Mutex<Vec<String>>,
    elsewhere: Mutex<String>,
}

fn digest(bytes: &[u8]) -> String {
    let hash = sha2::Sha256::digest(bytes);
    let hex: String = hash.iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

impl Liar {
    /// Starts one. The layer is about 2 MiB of noise in one file.
    pub fn start(fault: Fault) -> Self {
        let mut noise = vec![0_u8; 2 << 20];
        let mut x = 1_u32;
        for byte in &mut noise {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (x >> 24) as u8;
        }
        let mut tar = tar::Builder::new(Vec::new());
        super::fixture::add_file(&mut tar, "noise", 0o644, (0, 0), &noise);
        let layer = tar.into_inner().unwrap();
        let diff_id = if fault == Fault::WrongDiffId {
            digest(b"other")
        } else {
            digest(&layer)
        };
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
        );
        let declared = match fault {
            Fault::TooLong => layer.len() - 10,
            Fault::TooShort => layer.len() + 10,
            _ => layer.len(),
        };
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{declared}}}]}}"#,
            digest(config.as_bytes()),
            config.len(),
            digest(&layer),
        );
        let layer_path = format!("/v2/x/blobs/{}", digest(&layer));
        let mut documents = HashMap::new();
        let media = "application/vnd.oci.image.manifest.v1+json".to_owned();
        for name in ["1".to_owned(), digest(manifest.as_bytes())] {
            documents.insert(
                format!("/v2/x/manifests/{name}"),
                (media.clone(), manifest.clone().into_bytes()),
            );
        }
        documents.insert(
            format!("/v2/x/blobs/{}", digest(config.as_bytes())),
            ("application/octet-stream".to_owned(), config.into_bytes()),
        );
        let mut served = layer;
        if fault == Fault::WrongByte {
            let middle = served.len() / 2;
            served[middle] ^= 1;
        }
        let state = Arc::new(State {
            fault,
            documents,
            layer_path,
            layer: served,
            faults: AtomicUsize::new(0),
            requests: Mutex::default(),
            elsewhere: Mutex::default(),
        });
        let address = listen(&state);
        *state.elsewhere.lock().unwrap() = listen(&state);
        Self { address, state }
    }

    /// The image's name.
    pub fn image(&self) -> String {
        format!("{}/x:1", self.address)
    }

    /// Request lines seen so far, with `auth` appended where credentials came.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }
}

fn listen(state: &Arc<State>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (state, own) = (Arc::clone(state), address.clone());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (state, own) = (Arc::clone(&state), own.clone());
            // A client that goes away is its own business.
            thread::spawn(move || drop(serve(&stream, &state, &own)));
        }
    });
    address
}

fn serve(stream: &TcpStream, state: &State, own: &str) -> std::io::Result<()> {
    let mut first = [0_u8; 1];
    stream.peek(&mut first)?;
    if first[0] == 0x16 {
        // A TLS greeting: this server speaks plain HTTP only.
        return (&mut &*stream).write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
    }
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (method, path) = (
            words.next().unwrap_or_default().to_owned(),
            words.next().unwrap_or_default().to_owned(),
        );
        let mut start = 0;
        let mut authorized = false;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(range) = header.strip_prefix("range: bytes=") {
                start = range.trim_end_matches('-').parse().unwrap_or(0);
            }
            authorized |= header.starts_with("authorization:");
        }
        let note = format!(
            "{own} {method} {path}{}{}",
            if start > 0 {
                format!(" from {start}")
            } else {
                String::new()
            },
            if authorized { " auth" } else { "" }
        );
        state.requests.lock().unwrap().push(note);
        if !answer(stream, state, own, &path, start)? {
            return Ok(());
        }
    }
}

/// Answers one request; false when the connection ends.
fn answer(
    stream: &TcpStream,
    state: &State,
    own: &str,
    path: &str,
    start: usize,
) -> std::io::Result<bool> {
    let mut out = stream;
    let head = |status: &str, more: &str, length: usize| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n")
    };
    let nth = || state.faults.fetch_add(1, Ordering::SeqCst);
    match state.fault {
        Fault::LoginLoop => {
            let challenge = "WWW-Authenticate: Basic realm=\"x\"\r\n";
            out.write_all(head("401 Unauthorized", challenge, 0).as_bytes())?;
            return Ok(true);
        }
        Fault::TooMany(n) if nth() < n => {
            let more = "Retry-After: 0\r\n";
            out.write_all(head("429 Too Many Requests", more, 0).as_bytes())?;
            return Ok(true);
        }
        Fault::Broken(n) if nth() < n => {
            out.write_all(head("503 Service Unavailable", "", 0).as_bytes())?;
            return Ok(true);
        }
        Fault::EndlessManifest if path.contains("/manifests/") => {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")?;
            let chunk = vec![b' '; 1 << 20];
            loop {
                out.write_all(&chunk)?;
            }
        }
        _ => {}
    }
    if path == state.layer_path {
        return layer(stream, state, own, start);
    }
    match state.documents.get(path) {
        Some((media, bytes)) => {
            let named = if state.fault == Fault::WrongManifest {
                digest(b"another")
            } else {
                digest(bytes)
            };
            let more = format!("Content-Type: {media}\r\nDocker-Content-Digest: {named}\r\n");
            out.write_all(head("200 OK", &more, bytes.len()).as_bytes())?;
            out.write_all(bytes)?;
        }
        None => out.write_all(head("404 Not Found", "", 0).as_bytes())?,
    }
    Ok(true)
}

fn layer(stream: &TcpStream, state: &State, own: &str, start: usize) -> std::io::Result<bool> {
    let mut out = stream;
    let bytes = &state.layer;
    let elsewhere = state.elsewhere.lock().unwrap().clone();
    match state.fault {
        Fault::Redirect if own != elsewhere => {
            let head = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{elsewhere}{}\r\nContent-Length: 0\r\n\r\n",
                state.layer_path
            );
            out.write_all(head.as_bytes())?;
            return Ok(true);
        }
        Fault::RedirectLoop => {
            let head = format!(
                "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
                state.layer_path
            );
            out.write_all(head.as_bytes())?;
            return Ok(true);
        }
        _ => {}
    }
    let seen = state.faults.fetch_add(1, Ordering::SeqCst);
    let ranges = state.fault != Fault::CutWithoutRanges;
    let start = if ranges { start.min(bytes.len()) } else { 0 };
    let head = if start > 0 {
        format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{}\r\nContent-Length: {}\r\n\r\n",
            bytes.len() - 1,
            bytes.len(),
            bytes.len() - start
        )
    } else {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len())
    };
    out.write_all(head.as_bytes())?;
    let half = start + (bytes.len() - start) / 2;
    match state.fault {
        Fault::StallOnce if seen > 0 => {
            out.write_all(&bytes[start..])?;
            Ok(true)
        }
        Fault::Stall | Fault::StallOnce => {
            out.write_all(&bytes[start..half])?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            let mut nothing = [0_u8; 1];
            drop((&mut &*stream).read(&mut nothing));
            Ok(false)
        }
        Fault::Cut(n) if seen < n => {
            out.write_all(&bytes[start..half])?;
            Ok(false)
        }
        Fault::CutWithoutRanges if seen == 0 => {
            out.write_all(&bytes[start..half])?;
            Ok(false)
        }
        _ => {
            out.write_all(&bytes[start..])?;
            Ok(true)
        }
    }
}
