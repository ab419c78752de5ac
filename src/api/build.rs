//! `POST /build` and `POST /build/prune`: by the command `build`, with the context from a file.

use std::fs::File;
use std::io::{Seek as _, Write as _};

use serde_json::{Value, json};

use super::conn::{Conn, gone};
use super::http::Head;
use super::{Cx, filters, tool};
use crate::base::{Context as _, Error, Kind, Result};

/// Answers; false for a route that there is not.
///
/// # Errors
/// What the command says.
pub fn route(cx: &Cx<'_>, conn: &mut Conn, path: &[&str]) -> Result<bool> {
    match (cx.method(), path) {
        ("POST", []) => build(cx, conn)?,
        ("POST", ["prune"]) => prune(cx, conn)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// The words after `build`, without the context.
fn words(head: &Head) -> Result<Vec<String>> {
    if head.given("version") == Some("2") {
        return Err(Error::unsupported(
            "builds of BuildKit's own protocol are not supported over the socket",
        )
        .hint("set DOCKER_BUILDKIT=0, or build with `coracle build`"));
    }
    let mut words = vec!["--progress=plain".to_owned()];
    let mut push = |option: &str, value: &str| words.push(format!("--{option}={value}"));
    push("file", head.given("dockerfile").unwrap_or("Dockerfile"));
    for name in head.values("t").filter(|t| !t.is_empty()) {
        push("tag", name);
    }
    for (key, option) in [
        ("target", "target"),
        ("platform", "platform"),
        ("shmsize", "shm-size"),
        ("cgroupparent", "cgroup-parent"),
        ("cpusetcpus", "cpuset-cpus"),
        ("cpusetmems", "cpuset-mems"),
    ] {
        if let Some(value) = head.given(key).filter(|v| *v != "0") {
            push(option, value);
        }
    }
    for (key, option) in [
        ("memory", "memory"),
        ("memswap", "memory-swap"),
        ("cpushares", "cpu-shares"),
        ("cpuperiod", "cpu-period"),
        ("cpuquota", "cpu-quota"),
    ] {
        if let Some(value) = head.given(key).filter(|v| *v != "0") {
            push(option, value);
        }
    }
    if let Some(mode) = head.given("networkmode").filter(|m| *m != "default") {
        push("network", mode);
    }
    for (key, option) in [("nocache", "no-cache"), ("squash", "squash")] {
        if head.flag(key) {
            push(option, "true");
        }
    }
    if head.flag("pull") {
        push("pull", "always");
    }
    for (key, option) in [("buildargs", "build-arg"), ("labels", "label")] {
        let Some(text) = head.given(key) else {
            continue;
        };
        let wrong = || Error::invalid(format!("{key} is no object of texts"));
        let map: Value = serde_json::from_str(text).map_err(|_| wrong())?;
        for (name, value) in map.as_object().into_iter().flatten() {
            match value {
                // An argument without a value would be looked up in the service's environment.
                Value::Null => {}
                Value::String(value) => push(option, &format!("{name}={value}")),
                _ => return Err(wrong()),
            }
        }
    }
    if let Some(text) = head.given("cachefrom") {
        let list: Value = serde_json::from_str(text)
            .map_err(|_| Error::invalid("cachefrom is no list of texts"))?;
        for name in list
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            push("cache-from", name);
        }
    }
    for host in head
        .values("extrahosts")
        .flat_map(|h| h.split(','))
        .filter(|h| !h.is_empty())
    {
        push("add-host", host);
    }
    if let Some(text) = head.given("ulimits") {
        let list: Value =
            serde_json::from_str(text).map_err(|_| Error::invalid("ulimits is no list"))?;
        for limit in list.as_array().into_iter().flatten() {
            let name = limit["Name"].as_str().unwrap_or_default();
            push(
                "ulimit",
                &format!("{name}={}:{}", limit["Soft"], limit["Hard"]),
            );
        }
    }
    Ok(words)
}

/// The body of the request in a file that has no name.
fn spool(cx: &Cx<'_>, conn: &mut Conn) -> Result<File> {
    let folder = match &cx.session.options.tmpdir {
        Some(folder) => folder.clone(),
        None => cx.session.env.big_temp(),
    };
    let flags =
        rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let file =
        rustix::fs::open(&folder, flags, rustix::fs::Mode::from_raw_mode(0o600)).what(|| {
            format!(
                "cannot keep the context of the build in {}",
                folder.display()
            )
        })?;
    let mut file = File::from(file);
    std::io::copy(conn, &mut file)
        .what_kind(Kind::Invalid, || "cannot read the context of the build")?;
    file.rewind()
        .what(|| "cannot read the context of the build")?;
    Ok(file)
}

fn build(cx: &Cx<'_>, conn: &mut Conn) -> Result<()> {
    let mut words = words(cx.head)?;
    let id_file = cx
        .session
        .dirs
        .runtime
        .join("api")
        .join(format!("iid.{}", std::process::id()));
    crate::base::fs::create_private_dir_all(&cx.session.dirs.runtime.join("api"))?;
    words.push(format!("--iidfile={}", id_file.display()));
    let remote = cx.head.given("remote").filter(|r| *r != "client-session");
    let context = spool(cx, conn)?;
    let mut line = vec!["build"];
    line.extend(words.iter().map(String::as_str));
    line.extend(["--", remote.unwrap_or("-")]);
    let mut command = tool::command(cx.session, &line)?;
    command.stdin(context);
    cx.line.may_be_cut();
    conn.begin_stream(200, &[("Content-Type", "application/json")])?;
    let quiet = cx.head.flag("q");
    let mut last = Vec::new();
    let good = tool::lines(command, &mut |text| {
        if !text.trim().is_empty() {
            last.push(text.trim_end().to_owned());
            let from = last.len().saturating_sub(8);
            last.drain(..from);
        }
        match quiet {
            true => Ok(()),
            false => say(conn, &json!({"stream": text})),
        }
    });
    let id = std::fs::read_to_string(&id_file).unwrap_or_default();
    let _left = crate::base::fs::remove_file_if_exists(&id_file);
    let id = id.trim().trim_start_matches("sha256:");
    if good? && !id.is_empty() {
        say(conn, &json!({"aux": {"ID": format!("sha256:{id}")}}))?;
        let short = id.get(..12).unwrap_or(id);
        match quiet {
            true => say(conn, &json!({"stream": format!("sha256:{id}\n")}))?,
            false => say(
                conn,
                &json!({"stream": format!("Successfully built {short}\n")}),
            )?,
        }
        for name in cx.head.values("t").filter(|t| !t.is_empty() && !quiet) {
            say(
                conn,
                &json!({"stream": format!("Successfully tagged {name}\n")}),
            )?;
        }
    } else {
        let error = tool::failure(&last.join("\n"));
        let message = error.what();
        say(
            conn,
            &json!({"errorDetail": {"message": message}, "error": message}),
        )?;
    }
    conn.finish()
}

fn say(conn: &mut Conn, value: &Value) -> Result<()> {
    conn.write_all(format!("{value}\r\n").as_bytes())
        .map_err(gone)
}

fn prune(cx: &Cx<'_>, conn: &mut Conn) -> Result<()> {
    let mut line = vec![
        "builder".to_owned(),
        "prune".to_owned(),
        "--force".to_owned(),
    ];
    if cx.head.flag("all") {
        line.push("--all".to_owned());
    }
    for filter in filters(cx.head.given("filters").unwrap_or_default())? {
        line.push(format!("--filter={filter}"));
    }
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    tool::run(tool::command(cx.session, &line)?)?;
    conn.json(200, &json!({"CachesDeleted": [], "SpaceReclaimed": 0}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &str) -> Result<String> {
        let text = format!("POST /build?{query} HTTP/1.1\r\n\r\n");
        let head = super::super::http::head(text.as_bytes())
            .unwrap()
            .unwrap()
            .0;
        words(&head).map(|w| w.join(" "))
    }

    #[test]
    fn a_query_becomes_the_words_of_build() {
        let line = ask(
            "t=a&t=b:1&dockerfile=D&buildargs=%7B%22A%22%3A%22b+c%22%2C%22N%22%3Anull%7D&nocache=1&q=\
             &networkmode=host&memory=0&cachefrom=%5B%22x%22%5D&target=t&labels=%7B%22k%22%3A%22v%22%7D",
        )
        .unwrap();
        for word in [
            "--tag=a ",
            "--tag=b:1 ",
            "--file=D ",
            "--build-arg=A=b c ",
            "--no-cache=true ",
            "--network=host ",
            "--cache-from=x",
            "--target=t ",
            "--label=k=v ",
        ] {
            assert!(line.contains(word), "{word} in {line}");
        }
        assert!(!line.contains("memory") && !line.contains("N="), "{line}");
        assert_eq!(ask("version=2").unwrap_err().kind(), Kind::Unsupported);
        assert!(ask("buildargs=%5B1%5D").is_ok() && ask("buildargs=x").is_err());
    }
}
