//! `/containers/{id}/archive`: files in and out as a tar, by the command `cp`.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use base64::Engine as _;
use serde_json::{Value, json};

use super::conn::{Conn, gone};
use super::{Cx, tool};
use crate::base::{Context as _, Error, Result, time::Timestamp};
use crate::state::container::Container;

/// `GET`, `HEAD` and `PUT`.
///
/// # Errors
/// `NotFound` without such a file; what `cp` says.
pub fn route(cx: &Cx<'_>, conn: &mut Conn, container: &Container) -> Result<()> {
    let path = cx.head.given("path");
    let path = path.ok_or_else(|| Error::invalid("the query has no path"))?;
    let place = format!("{}:{path}", container.id());
    if cx.head.method == "PUT" {
        let mut words = vec!["cp"];
        if cx.head.flag("copyUIDGID") {
            words.push("--archive");
        }
        if !cx.head.flag("noOverwriteDirNonDir") {
            words.push("--overwrite");
        }
        words.extend(["-", place.as_str()]);
        tool::feed(tool::command(cx.session, &words)?, conn)?;
        return conn.empty(200);
    }
    let mut child = tool::command(cx.session, &["cp", &place, "-"])?
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .what(|| "cannot start a command of our own")?;
    let mut out = child
        .stdout
        .take()
        .ok_or_else(|| Error::internal("a command without standard output"))?;
    let mut seen = Vec::new();
    let stat = loop {
        let mut block = [0; 512];
        if out.read_exact(&mut block).is_err() {
            let output = child
                .wait_with_output()
                .what(|| "cannot wait for a command of our own")?;
            let error = tool::failure(&String::from_utf8_lossy(&output.stderr));
            return Err(Error::not_found(format!(
                "Could not find the file {path} in container {}",
                container.name()
            ))
            .because(error));
        }
        seen.extend_from_slice(&block);
        match stat(&block) {
            Ok(stat) => break stat,
            // A header of a header: its text is skipped.
            Err(size) if size <= 1 << 20 => {
                let mut text = vec![0; size.div_ceil(512) * 512];
                out.read_exact(&mut text)
                    .what(|| "cannot read an archive")?;
                seen.extend_from_slice(&text);
            }
            Err(_) => return Err(Error::internal("an archive with an endless header")),
        }
    };
    let text = base64::engine::general_purpose::STANDARD.encode(stat.to_string());
    let fields = [
        ("Content-Type", "application/x-tar"),
        ("X-Docker-Container-Path-Stat", text.as_str()),
    ];
    if cx.head.method == "HEAD" {
        drop(child.kill());
        drop(child.wait());
        return conn.answer_with(200, &fields[1..], b"");
    }
    cx.line.may_be_cut();
    conn.begin_stream(200, &fields)?;
    conn.write_all(&seen).map_err(gone)?;
    std::io::copy(&mut out, conn).map_err(gone)?;
    if !child.wait().is_ok_and(|s| s.success()) {
        conn.cut();
        return Err(Error::internal("the archive is not whole"));
    }
    conn.finish()
}

/// What a tar's header says of its file, as Docker's clients read it; else the size of the text that
/// describes the next header.
fn stat(block: &[u8; 512]) -> Result<Value, usize> {
    let text = |from: usize, length: usize| {
        let field = &block[from..from + length];
        let end = field.iter().position(|b| *b == 0).unwrap_or(length);
        String::from_utf8_lossy(&field[..end]).into_owned()
    };
    let number = |from: usize, length: usize| {
        let field = text(from, length);
        u64::from_str_radix(field.trim(), 8).unwrap_or(0)
    };
    let size = number(124, 12);
    let kind = block[156];
    if matches!(kind, b'x' | b'g' | b'L' | b'K') {
        return Err(usize::try_from(size).unwrap_or(usize::MAX));
    }
    let name = text(0, 100);
    let name = name
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    // Go's os.FileMode.
    let bits = match kind {
        b'5' => 1_u64 << 31,
        b'2' => 1 << 27,
        b'3' => (1 << 26) | (1 << 21),
        b'4' => 1 << 26,
        b'6' => 1 << 25,
        _ => 0,
    };
    let mode = number(100, 8);
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special: u64 = special
        .iter()
        .filter(|(bit, _)| mode & bit != 0)
        .map(|(_, go)| go)
        .sum();
    let seconds = i64::try_from(number(136, 12)).unwrap_or(0);
    Ok(json!({
        "name": name,
        "size": if kind == b'5' { 4096 } else { size },
        "mode": (mode & 0o777) | bits | special,
        "mtime": Timestamp(seconds.saturating_mul(1_000_000_000)).rfc3339(),
        "linkTarget": if kind == b'2' { text(157, 100) } else { String::new() },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_tells_of_its_file() {
        let mut header = tar::Header::new_ustar();
        header.set_path("dir/").unwrap();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o1755);
        header.set_size(0);
        header.set_mtime(5);
        let block: &[u8; 512] = header.as_bytes();
        let value = stat(block).unwrap();
        assert_eq!(value["name"], "dir");
        assert_eq!(value["mode"], 0o755_u64 | 1 << 31 | 1 << 20);
        assert_eq!(value["mtime"], "1970-01-01T00:00:05Z");
        header.set_entry_type(tar::EntryType::XHeader);
        header.set_size(700);
        assert_eq!(stat(header.as_bytes()), Err(700));
    }
}
