//! A web proxy that tunnels everything to one place, whatever name it is asked for.

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
            assert!(reader.buffer().is_empty());
            let there = TcpStream::connect(&target)?;
            (&mut &*stream).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            std::thread::scope(|scope| {
                scope.spawn(|| relay(stream, &there));
                relay(&there, stream);
            });
            Ok(())
        });
        Self { address, log }
    }

    /// `CONNECT host:port`, with the credentials behind, one for each tunnel.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
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
