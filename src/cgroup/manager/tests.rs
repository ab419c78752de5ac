//! Against a manager of our own that says what systemd says.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;

use super::message::{Call, FIXED, Message, total};
use super::*;

/// A message from the other side: a call's layout with another type.
fn message(kind: u8, reply_to: Option<u32>, names: (&str, &str), arguments: &[&str]) -> Vec<u8> {
    let mut body = Writer::default();
    let mut signature = String::new();
    for text in arguments {
        if let Ok(number) = text.parse() {
            body.u32(number);
            signature.push('u');
        } else {
            body.string(text);
            signature.push('s');
        }
    }
    let (member, error) = names;
    let mut fields: Vec<(u8, &str, String)> = vec![(3, "s", member.to_owned())];
    if !error.is_empty() {
        fields.push((4, "s", error.to_owned()));
    }
    fields.push((8, "g", signature));
    let call = Call {
        destination: None,
        path: "/",
        interface: "x.y",
        member: "M",
        signature: "",
    };
    // The body's length is where a call has it.
    let encoded = call.encode(1, &body);
    let length = u32::from_le_bytes(encoded[4..8].try_into().unwrap());
    let mut bytes = vec![b'l', kind, 0, 1];
    bytes.extend(length.to_le_bytes());
    bytes.extend(9u32.to_le_bytes());
    let mut list = Vec::new();
    let pad = |list: &mut Vec<u8>, n: usize| list.resize(list.len().next_multiple_of(n), 0);
    for (code, kind, value) in &fields {
        pad(&mut list, 8);
        list.extend([*code, 1, kind.as_bytes()[0], 0]);
        if *kind == "g" {
            list.push(u8::try_from(value.len()).unwrap());
        } else {
            list.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
        }
        list.extend(value.as_bytes());
        list.push(0);
    }
    if let Some(serial) = reply_to {
        pad(&mut list, 8);
        list.extend([5, 1, b'u', 0]);
        list.extend(serial.to_le_bytes());
    }
    bytes.extend(u32::try_from(list.len()).unwrap().to_le_bytes());
    bytes.extend(list);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(&encoded[encoded.len() - usize::try_from(length).unwrap()..]);
    bytes
}

/// Reads one message of the client's: its serial, what it is, and all its bytes.
fn read(stream: &mut UnixStream) -> Option<(u32, Message, Vec<u8>)> {
    let mut bytes = vec![0; FIXED];
    stream.read_exact(&mut bytes).ok()?;
    bytes.resize(total(&bytes).unwrap(), 0);
    stream.read_exact(&mut bytes[FIXED..]).unwrap();
    let serial = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
    Some((serial, Message::decode(&bytes).unwrap(), bytes))
}

/// Lets a client in.
fn welcome(stream: &mut UnixStream) {
    let mut hello = [0; 29];
    stream.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
    // In two pieces, as a slow bus would.
    stream.write_all(b"DATA\r\nOK 12").unwrap();
    stream.write_all(b"34\r\n").unwrap();
}

/// The members called, with their bodies.
type Calls = Vec<(String, Vec<u8>)>;

/// A manager that answers each call with what the closure gives; the calls it saw come back.
fn serve(
    dir: &Path,
    mut answer: impl FnMut(u32, &Message) -> Vec<u8> + Send + 'static,
) -> (Manager, JoinHandle<Calls>) {
    let path = dir.join("bus");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        welcome(&mut stream);
        let mut seen = Vec::new();
        while let Some((serial, call, bytes)) = read(&mut stream) {
            stream.write_all(&answer(serial, &call)).unwrap();
            seen.push((call.member, bytes));
        }
        seen
    });
    let manager = Manager {
        addresses: vec![Address::Bus(dir.join("nobody")), Address::Bus(path)],
        root: dir.to_owned(),
        is_user: true,
        mount: dir.to_owned(),
    };
    (manager, thread)
}

fn scope() -> Scope {
    Scope {
        unit: "coracle-1.scope".to_owned(),
        slice: None,
        description: "a test".to_owned(),
        stop_timeout: Duration::from_secs(15),
    }
}

#[test]
fn a_scope_is_there_when_its_job_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let mut tries = 0;
    let (manager, thread) = serve(dir.path(), move |serial, call| match call.member.as_str() {
        "Hello" => message(2, Some(serial), ("", ""), &[":1.7"]),
        "AddMatch" => message(2, Some(serial), ("", ""), &[]),
        "StartTransientUnit" => {
            tries += 1;
            if tries == 1 {
                return message(
                    3,
                    Some(serial),
                    ("", "org.freedesktop.systemd1.UnitExists"),
                    &["it exists"],
                );
            }
            // Somebody else's job, ours, and only then the answer: signals may overtake it.
            let mut bytes = message(4, None, ("JobRemoved", ""), &["6", "/job/6", "b", "failed"]);
            bytes.extend(message(
                4,
                None,
                ("JobRemoved", ""),
                &["7", "/job/7", "a", "done"],
            ));
            bytes.extend(message(2, Some(serial), ("", ""), &["/job/7"]));
            bytes
        }
        other => panic!("{other}"),
    });
    manager.start(&scope(), &[4711]).unwrap();
    let seen = thread.join().unwrap();
    let names: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "Hello",
            "AddMatch",
            "StartTransientUnit",
            "StartTransientUnit"
        ]
    );
    let has = |needle: &[u8]| seen[3].1.windows(needle.len()).any(|w| w == needle);
    assert!(has(b"coracle-1.scope\0") && has(b"user.slice\0") && has(b"inactive-or-failed\0"));
    assert!(has(&4711u32.to_le_bytes()));
    assert!(has(&15_000_000u64.to_le_bytes()));
}

#[test]
fn what_systemd_refuses_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, thread) = serve(dir.path(), |serial, call| match call.member.as_str() {
        "StartTransientUnit" => message(
            3,
            Some(serial),
            ("", "org.freedesktop.DBus.Error.AccessDenied"),
            &["not you"],
        ),
        _ => message(2, Some(serial), ("", ""), &[]),
    });
    let e = manager.start(&scope(), &[1]).unwrap_err();
    assert_eq!(e.kind(), Kind::Denied);
    assert!(e.one_line().contains("systemd says: not you"), "{e:?}");
    thread.join().unwrap();
}

#[test]
fn a_job_that_fails_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, thread) = serve(dir.path(), |serial, call| {
        let mut bytes = message(2, Some(serial), ("", ""), &["/job/1"]);
        if call.member == "StartTransientUnit" {
            bytes.extend(message(
                4,
                None,
                ("JobRemoved", ""),
                &["1", "/job/1", "a", "failed"],
            ));
        }
        bytes
    });
    let e = manager.start(&scope(), &[1]).unwrap_err();
    assert!(e.one_line().contains("failed"), "{e:?}");
    thread.join().unwrap();
}

#[test]
fn nobody_there_comes_with_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager {
        addresses: vec![Address::Bus(dir.path().join("bus"))],
        root: dir.path().to_owned(),
        is_user: true,
        mount: dir.path().to_owned(),
    };
    let e = manager.start(&scope(), &[1]).unwrap_err();
    assert!(e.hints().iter().any(|h| h.contains("log in")), "{e:?}");
}

#[test]
fn the_user_is_known_by_the_slice() {
    let session = "/user.slice/user-1000.slice/session-3.scope";
    assert_eq!(uid_of_path(session), Some(1000));
    assert_eq!(uid_of_path("/system.slice/cron.service"), None);
}
