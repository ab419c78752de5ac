//! A web proxy that leads everything to one place, whatever name it is asked for: by tunnels, and by
//! requests with a whole address.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use super::http;

/// The server; it ends with the test process.
pub struct Proxy {
    /// `127.0.0.1:PORT`.
    pub address: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts one that leads to `target`.
    pub fn start(target: &str) -> Self {
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let (own, target) = (Arc::clone(&log), target.to_owned());
        let address = http::listen(move |stream| {
            let mut reader = BufReader::new(stream);
            let Some(request) = http::read(&mut reader)? else {
                return Ok(());
            };
            let secret = request.header("proxy-authorization").unwrap_or_default();
            let line = format!("{} {} {secret}", request.method, request.path);
            own.lock().unwrap().push(line.trim_end().to_owned());
            let there = TcpStream::connect(&target)?;
            if request.method != "CONNECT" {
                return forward(&request, &there, stream);
            }
            assert!(reader.buffer().is_empty());
            (&mut &*stream).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            std::thread::scope(|scope| {
                scope.spawn(|| relay(stream, &there));
                relay(&there, stream);
            });
            Ok(())
        });
        Self { address, log }
    }

    /// `CONNECT host:port` or `GET http://host:port/path`, with the credentials behind.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

/// Asks the server as a client would, once.
fn forward(
    request: &http::Request,
    mut there: &TcpStream,
    mut here: &TcpStream,
) -> std::io::Result<()> {
    let path = request
        .path
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap()
        .1;
    let query = match request.query.as_str() {
        "" => String::new(),
        query => format!("?{query}"),
    };
    let mut head = format!("{} /{path}{query} HTTP/1.1\r\n", request.method);
    for (name, value) in &request.headers {
        if !name.starts_with("proxy-") {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    assert_eq!(request.header("connection"), Some("close"));
    there.write_all(format!("{head}\r\n").as_bytes())?;
    there.write_all(&request.body)?;
    std::io::copy(&mut there, &mut here)?;
    here.shutdown(Shutdown::Both)
}

fn relay(mut from: &TcpStream, mut to: &TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Write));
}
