//! `system service`: docker's interface, spoken byte by byte.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::World;

/// A service of a world's own; ended with the test.
struct Service {
    child: Child,
    socket: PathBuf,
}

impl Service {
    fn new(w: &World, time: &str) -> Self {
        let socket = w.path().join("api.sock");
        let mut command = w.command(&[
            "system",
            "service",
            "--time",
            time,
            &format!("unix://{}", socket.display()),
        ]);
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        // The name appears when the socket listens.
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !socket.exists() {
            assert!(std::time::Instant::now() < deadline, "no socket");
            std::thread::yield_now();
        }
        Self { child, socket }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    }

    /// Sends a request; answers status and body.
    fn raw(&self, method: &str, path: &str, fields: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = self.connect();
        ask(&mut stream, method, path, fields, body);
        answer(&mut stream)
    }

    fn json(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let (status, bytes) = self.raw(method, path, "", &body);
        (
            status,
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        )
    }

    /// Makes a container; answers its id.
    fn create(&self, body: Value) -> String {
        let (status, made) = self.json("POST", "/v1.44/containers/create", body);
        assert_eq!(status, 201, "{made}");
        made["Id"].as_str().unwrap().to_owned()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn ask(stream: &mut UnixStream, method: &str, path: &str, fields: &str, body: &[u8]) {
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: d\r\nContent-Length: {length}\r\n{fields}\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
}

fn head(stream: &mut UnixStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

fn exactly(stream: &mut UnixStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn answer(stream: &mut UnixStream) -> (u16, Vec<u8>) {
    let head = head(stream);
    let status = head[9..12].parse().unwrap();
    if let Some((_, rest)) = head.split_once("Content-Length: ") {
        let length = rest.split("\r\n").next().unwrap().parse().unwrap();
        return (status, exactly(stream, length));
    }
    let mut body = Vec::new();
    if head.contains("Transfer-Encoding: chunked") {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.extend(exactly(stream, 1));
            }
            let size =
                usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            body.extend(exactly(stream, size));
            exactly(stream, 2);
            if size == 0 {
                break;
            }
        }
    }
    (status, body)
}

/// Everything of a hijacked stream: standard output and standard error.
fn frames(stream: &mut UnixStream) -> (Vec<u8>, Vec<u8>) {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let (mut out, mut err, mut rest) = (Vec::new(), Vec::new(), &bytes[..]);
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let to = if head[0] == 1 { &mut out } else { &mut err };
        to.extend_from_slice(&tail[..length]);
        rest = &tail[length..];
    }
    assert!(rest.is_empty());
    (out, err)
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: tcp\r\n";

#[test]
fn the_socket_is_its_owners_and_ends_when_nobody_asks() {
    let w = World::new();
    let mut service = Service::new(&w, "1");
    let mode = std::fs::metadata(&service.socket)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(service.raw("GET", "/_ping", "", b"").1, b"OK");
    let mut stream = service.connect();
    ask(&mut stream, "HEAD", "/_ping", "", b"");
    assert!(head(&mut stream).starts_with("HTTP/1.1 200 OK"));
    let (status, version) = service.json("GET", "/v1.44/version", Value::Null);
    assert_eq!((status, &version["MinAPIVersion"]), (200, &json!("1.24")));
    let second = w.run(&[
        "system",
        "service",
        &format!("unix://{}", service.socket.display()),
    ]);
    second.code(125).says("another service");
    assert!(service.child.wait().unwrap().success());
    assert!(!service.socket.exists());
    w.run(&["system", "service", "tcp://127.0.0.1:1"])
        .code(125)
        .says("tcp");
}

#[test]
fn requests_that_lie_about_their_length_end_the_connection() {
    let w = World::new();
    let service = Service::new(&w, "0");
    for (text, status) in [
        (
            "POST /x HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nGET /_ping HTTP/1.1\r\n\r\n",
            "400",
        ),
        (
            "GET /_ping HTTP/1.1\r\nOrigin: http://a\r\nConnection: close\r\n\r\n",
            "403",
        ),
        (
            "GET /v1.99/_ping HTTP/1.1\r\nConnection: close\r\n\r\n",
            "400",
        ),
        (
            "POST /containers/create HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n",
            "413",
        ),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let mut stream = service.connect();
        stream.write_all(text.as_bytes()).unwrap();
        let mut got = String::new();
        stream.read_to_string(&mut got).unwrap();
        assert_eq!(&got[9..12], status, "{text:?}: {got}");
        assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "{got}");
    }
    // One connection for several requests, a body among them.
    let mut stream = service.connect();
    for _ in 0..3 {
        ask(&mut stream, "POST", "/containers/none/rename", "", b"{}");
        let (status, body) = answer(&mut stream);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (status, &body["message"]),
            (404, &json!("No such container: none"))
        );
    }
    let (status, swarm) = service.json("GET", "/swarm", Value::Null);
    assert_eq!(status, 503);
    assert!(
        swarm["message"]
            .as_str()
            .unwrap()
            .contains("not a swarm manager")
    );
    assert_eq!(service.json("GET", "/nothing", Value::Null).0, 404);
}

#[test]
fn a_container_lives_its_life_over_the_socket() {
    let w = World::with_busybox();
    let service = Service::new(&w, "0");
    let missing = service.json("POST", "/containers/create", json!({"Image": "nothing"}));
    assert_eq!(missing, (404, json!({"message": "No such image: nothing"})));
    // podman's clients read two more.
    let (status, theirs) = service.json(
        "POST",
        "/libpod/containers/create",
        json!({"image": "nothing"}),
    );
    assert_eq!((status, &theirs["response"]), (404, &json!(404)));
    assert_eq!(theirs["cause"], "No such image: nothing");
    let id = service.create(json!({
        "Image": "busybox", "Cmd": ["sh", "-c", "cat; echo err >&2; exit 3"], "OpenStdin": true, "StdinOnce": true,
        "Labels": {"a": "b"}, "Env": ["X=y"], "HostConfig": {"NetworkMode": "none", "AutoRemove": true},
    }));
    // As docker run does: attached and waited for before it is started.
    let mut attached = service.connect();
    let path = format!("/containers/{id}/attach?stream=1&stdin=1&stdout=1&stderr=1");
    ask(&mut attached, "POST", &path, UPGRADE, b"");
    assert!(head(&mut attached).starts_with("HTTP/1.1 101 "));
    let mut waiting = service.connect();
    ask(
        &mut waiting,
        "POST",
        &format!("/containers/{id}/wait?condition=removed"),
        "",
        b"",
    );
    assert!(head(&mut waiting).starts_with("HTTP/1.1 200 "));
    assert_eq!(
        service
            .json("POST", &format!("/containers/{id}/start"), Value::Null)
            .0,
        204
    );
    let input: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut writer = attached.try_clone().unwrap();
    let sent = input.clone();
    let feeding = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let (out, err) = frames(&mut attached);
    feeding.join().unwrap();
    assert!(out == input, "{} bytes of {}", out.len(), input.len());
    assert_eq!(err, b"err\n");
    let mut told = String::new();
    let mut chunk = [0; 64];
    while !told.contains('}') {
        let n = waiting.read(&mut chunk).unwrap();
        told.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
    }
    assert!(told.contains("{\"StatusCode\":3}"), "{told}");
    assert_eq!(
        service
            .json("GET", &format!("/containers/{id}/json"), Value::Null)
            .0,
        404
    );
}

#[test]
fn a_container_that_runs_is_looked_at_and_changed() {
    let w = World::with_busybox();
    let service = Service::new(&w, "0");
    let id = service.create(json!({
        "Image": "busybox", "Cmd": ["sh", "-c", "echo one; echo two >&2; exec sleep 100"], "Labels": {"a": "b"},
        "HostConfig": {"NetworkMode": "none"},
    }));
    let at = |verb: &str| format!("/containers/{id}/{verb}");
    assert_eq!(service.json("POST", &at("start"), Value::Null).0, 204);
    assert_eq!(service.json("POST", &at("start"), Value::Null).0, 304);
    let (_, shown) = service.json("GET", &at("json"), Value::Null);
    assert_eq!(shown["State"]["Running"], true);
    assert_eq!(shown["Config"]["Labels"]["a"], "b");
    let list = "/containers/json?filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%7D";
    let (_, rows) = service.json("GET", list, Value::Null);
    assert_eq!(
        (&rows[0]["Id"], &rows[0]["State"]),
        (&json!(id), &json!("running"))
    );
    // Exec, with input and an exit code.
    let body = json!({"Cmd": ["sh", "-c", "cat; exit 7"], "AttachStdin": true, "AttachStdout": true, "AttachStderr": true});
    let (status, session) = service.json("POST", &at("exec"), body);
    assert_eq!(status, 201);
    let session = session["Id"].as_str().unwrap();
    let mut stream = service.connect();
    ask(
        &mut stream,
        "POST",
        &format!("/exec/{session}/start"),
        UPGRADE,
        b"{}",
    );
    assert!(head(&mut stream).starts_with("HTTP/1.1 101 "));
    stream.write_all(b"through").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(frames(&mut stream).0, b"through");
    let (_, ended) = service.json("GET", &format!("/exec/{session}/json"), Value::Null);
    assert_eq!(
        (&ended["Running"], &ended["ExitCode"]),
        (&json!(false), &json!(7))
    );
    assert_eq!(
        service
            .json("POST", &format!("/exec/{session}/start"), json!({}))
            .0,
        409
    );
    // Files in and out.
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o640);
    tar.append_data(&mut header, "file", &b"text"[..]).unwrap();
    let tar = tar.into_inner().unwrap();
    let put = service.raw("PUT", &at("archive?path=/tmp"), "", &tar);
    assert_eq!(put.0, 200, "{}", String::from_utf8_lossy(&put.1));
    let (status, got) = service.raw("GET", &at("archive?path=/tmp/file"), "", b"");
    let mut archive = tar::Archive::new(&got[..]);
    let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
    let mut text = String::new();
    entry.read_to_string(&mut text).unwrap();
    assert_eq!((status, text.as_str()), (200, "text"));
    assert_eq!(
        service.raw("GET", &at("archive?path=/none"), "", b"").0,
        404
    );
    // Logs of both streams, in frames.
    assert_eq!(service.json("POST", &at("pause"), Value::Null).0, 204);
    assert_eq!(service.json("POST", &at("unpause"), Value::Null).0, 204);
    assert_eq!(
        service.json("POST", &at("kill?signal=KILL"), Value::Null).0,
        204
    );
    let (_, code) = service.json("POST", &at("wait"), Value::Null);
    assert_eq!(code["StatusCode"], 137);
    let (_, logs) = service.raw("GET", &at("logs?stdout=1&stderr=1"), "", b"");
    let logs = String::from_utf8_lossy(&logs).into_owned();
    assert!(logs.contains("\u{1}\0\0\0\0\0\0\u{4}one\n"), "{logs:?}");
    assert!(logs.contains("\u{2}\0\0\0\0\0\0\u{4}two\n"), "{logs:?}");
    assert_eq!(
        service
            .json("POST", &at("rename?name=other"), Value::Null)
            .0,
        204
    );
    assert_eq!(
        service
            .json("DELETE", "/containers/other?v=1", Value::Null)
            .0,
        204
    );
    assert_eq!(
        service.json("DELETE", "/containers/other", Value::Null).0,
        404
    );
}

#[test]
fn images_volumes_and_networks_are_kept_over_the_socket() {
    let w = World::with_busybox();
    let service = Service::new(&w, "0");
    assert_eq!(
        service
            .json("POST", "/images/busybox/tag?repo=other&tag=1", Value::Null)
            .0,
        201
    );
    let (_, images) = service.json("GET", "/images/json", Value::Null);
    assert!(images[0]["Id"].as_str().unwrap().starts_with("sha256:"));
    assert!(images.to_string().contains("\"other:1\""), "{images}");
    let (_, one) = service.json("GET", "/images/other:1/json", Value::Null);
    assert_eq!(one["Os"], "linux");
    let mut tar = tar::Builder::new(Vec::new());
    let text = b"FROM busybox\nARG A\nRUN echo $A > /a\nLABEL x=y\n";
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "Dockerfile", &text[..])
        .unwrap();
    let context = tar.into_inner().unwrap();
    let path = "/build?t=made&networkmode=none&buildargs=%7B%22A%22%3A%22b%22%7D";
    let (status, said) = service.raw("POST", path, "", &context);
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(status, 200);
    assert!(said.contains("\"aux\":{\"ID\":\"sha256:"), "{said}");
    assert!(said.contains("Successfully tagged made"), "{said}");
    let (_, gone) = service.json("DELETE", "/images/made", Value::Null);
    assert!(gone.to_string().contains("Untagged"), "{gone}");
    let (status, saved) = service.raw("GET", "/images/other:1/get", "", b"");
    assert_eq!(status, 200);
    let (_, loaded) = service.raw("POST", "/images/load", "", &saved);
    let loaded = String::from_utf8_lossy(&loaded).into_owned();
    assert!(loaded.contains("Loaded image: other:1"), "{loaded}");
    let (status, volume) = service.json(
        "POST",
        "/volumes/create",
        json!({"Name": "v", "Labels": {"k": "l"}}),
    );
    assert_eq!((status, &volume["Labels"]["k"]), (201, &json!("l")));
    assert_eq!(
        service.json("GET", "/volumes", Value::Null).1["Volumes"][0]["Name"],
        "v"
    );
    assert_eq!(service.json("DELETE", "/volumes/v", Value::Null).0, 204);
    assert_eq!(service.json("DELETE", "/volumes/v", Value::Null).0, 404);
    assert_eq!(
        service.json("DELETE", "/volumes/v?force=1", Value::Null).0,
        204
    );
    let (status, made) = service.json(
        "POST",
        "/networks/create",
        json!({"Name": "n", "Labels": {"k": "l"}}),
    );
    assert_eq!(status, 201, "{made}");
    assert_eq!(
        service
            .json("POST", "/networks/create", json!({"Name": "n"}))
            .0,
        409
    );
    assert_eq!(
        service.json("GET", "/networks/n", Value::Null).1["Labels"]["k"],
        "l"
    );
    assert_eq!(service.json("DELETE", "/networks/n", Value::Null).0, 204);
    assert_eq!(
        service.json("GET", "/networks/bridge", Value::Null).1["Name"],
        "bridge"
    );
}

#[test]
fn what_was_written_before_comes_with_an_attachment_and_over_a_websocket() {
    let w = World::with_busybox();
    let service = Service::new(&w, "0");
    let id = service.create(json!({
        "Image": "busybox", "Cmd": ["sh", "-c", "echo before; read a; echo got $a"], "OpenStdin": true,
        "HostConfig": {"NetworkMode": "none"},
    }));
    let started = service.json("POST", &format!("/containers/{id}/start"), Value::Null);
    assert_eq!(started.0, 204);
    let mut logs = service.connect();
    let path = format!("/containers/{id}/logs?stdout=1&follow=1");
    ask(&mut logs, "GET", &path, "", b"");
    head(&mut logs);
    // The size of a chunk, a frame's head and the line: it is in the log now.
    assert!(exactly(&mut logs, 3 + 8 + 7).ends_with(b"before\n"));
    let mut only = service.connect();
    let path = format!("/containers/{id}/attach?logs=1&stdout=1&stream=0");
    ask(&mut only, "POST", &path, UPGRADE, b"");
    head(&mut only);
    assert_eq!(frames(&mut only).0, b"before\n");

    let path = format!("/containers/{id}/attach/ws?logs=1&stream=1&stdin=1&stdout=1");
    assert_eq!(service.raw("GET", &path, "", b"").0, 400);
    let mut socket = service.connect();
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    ask(&mut socket, "GET", &path, fields, b"");
    let answer = head(&mut socket);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(
        answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
        "{answer}"
    );
    assert_eq!(exactly(&mut socket, 9), b"\x82\x07before\n");
    // One masked message; the mask is zero.
    socket.write_all(b"\x82\x83\0\0\0\0me\n").unwrap();
    assert_eq!(exactly(&mut socket, 9), b"\x82\x07got me\n");
    assert_eq!(exactly(&mut socket, 4), b"\x88\x02\x03\xe8");
}
