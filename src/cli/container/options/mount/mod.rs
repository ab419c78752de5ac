//! `-v`, `--mount`, `--tmpfs`.

#[cfg(test)]
mod tests;

use std::path::{Component, Path, PathBuf};

use super::{Host, flags};
use crate::base::{Error, Result, size};
use crate::runtime::generate::{NO_DEREFERENCE, check_destination, check_idmap, clean, is_idmap};
use crate::spec::id::ObjectName;
use crate::state::options::{MountOption, MountSource, Relabel};

/// Words that a mount takes as they are.
const WORDS: [&str; 22] = [
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "unbindable",
    "runbindable",
];

/// Docker's hints for file sharing with a Mac: nothing to do.
const NO_EFFECT: [&str; 4] = ["cached", "delegated", "consistent", "default"];

/// All mounts: volumes, mounts, tmpfs, as podman orders them.
///
/// # Errors
/// `Invalid` for what cannot be read, and for two mounts in one place.
pub(super) fn mounts(flags: &flags::Files, host: &Host<'_>) -> Result<Vec<MountOption>> {
    let mut all: Vec<MountOption> = Vec::new();
    let volumes = flags.volume.iter().map(|t| volume(t, host));
    let mut mounts = Vec::new();
    for text in &flags.mount {
        let fields = csv(text);
        match fields.iter().any(|f| f == "type=glob") {
            true => mounts.extend(globbed(text, &fields, host)?),
            false => mounts.push(mount(text, &fields, host)),
        }
    }
    let tmpfs = flags.tmpfs.iter().map(|t| tmpfs(t));
    for made in volumes.chain(mounts).chain(tmpfs) {
        let made = made?;
        if all.iter().any(|m| m.destination == made.destination) {
            return Err(Error::invalid(format!(
                "two mounts at {}",
                made.destination
            )));
        }
        all.push(made);
    }
    Ok(all)
}

fn destination(text: &str) -> Result<String> {
    let path = clean(text)?;
    check_destination(&path)?;
    Ok(path)
}

/// A host path, made absolute without looking at it.
fn absolute(text: &str, host: &Host<'_>) -> PathBuf {
    let mut path = PathBuf::new();
    for part in host.cwd.join(text).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                path.pop();
            }
            other => path.push(other),
        }
    }
    path
}

fn plain(destination: String, source: MountSource) -> MountOption {
    MountOption {
        destination,
        source,
        read_only: false,
        chown: false,
        relabel: None,
        options: Vec::new(),
    }
}

/// Splits at colons that no backslash precedes.
fn fields(text: &str) -> Vec<String> {
    let mut list = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let last = list.len() - 1;
        match c {
            '\\' if chars.peek() == Some(&':') => list[last].extend(chars.next()),
            ':' => list.push(String::new()),
            c => list[last].push(c),
        }
    }
    list
}

/// `[SOURCE:]DESTINATION[:OPTIONS]`.
fn volume(text: &str, host: &Host<'_>) -> Result<MountOption> {
    let bad = |why: String| {
        Error::invalid(format!("cannot mount {text:?}: {why}"))
            .hint("write /host/dir:/dir[:ro], ./dir:/dir or name:/dir")
    };
    let fields = fields(text);
    let (source, inside, options) = match &fields[..] {
        [inside] => (None, inside, None),
        [source, inside] => (Some(source), inside, None),
        [source, inside, options] => (Some(source), inside, Some(options)),
        _ => return Err(bad("there are more than three parts".to_owned())),
    };
    let destination = destination(inside).map_err(|e| bad(e.what().to_owned()))?;
    let source = match source {
        None => MountSource::Volume {
            name: None,
            nocopy: false,
            subpath: None,
            labels: Default::default(),
        },
        Some(source) if source.is_empty() => return Err(bad("the source is empty".to_owned())),
        Some(source) if source.starts_with(['/', '.']) => MountSource::Bind {
            path: absolute(source, host),
            create: host.docker,
            recursive: true,
        },
        Some(source) => {
            let name: ObjectName = source.parse().map_err(|_| {
                bad(format!(
                    "{source:?} is neither a path nor the name of a volume"
                ))
            })?;
            MountSource::Volume {
                name: Some(name.as_str().to_owned()),
                nocopy: false,
                subpath: None,
                labels: Default::default(),
            }
        }
    };
    let mut made = plain(destination, source);
    let Some(options) = options else {
        return Ok(made);
    };
    let mut overlay = false;
    let (mut upper, mut work) = (None, None);
    for word in options.split(',').filter(|w| !w.is_empty()) {
        match word {
            "ro" => made.read_only = true,
            "rw" => made.read_only = false,
            "z" => made.relabel = Some(Relabel::Shared),
            "Z" => made.relabel = Some(Relabel::Private),
            "U" => made.chown = true,
            "O" => overlay = true,
            "copy" => {}
            "nocopy" => match &mut made.source {
                MountSource::Volume { nocopy, .. } => *nocopy = true,
                _ => return Err(bad("nocopy is for volumes".to_owned())),
            },
            "bind" | "rbind" => match &mut made.source {
                MountSource::Bind { recursive, .. } => *recursive = word == "rbind",
                _ => return Err(bad(format!("{word} is for paths of the host"))),
            },
            word if NO_EFFECT.contains(&word) => {}
            word if WORDS.contains(&word) => made.options.push(word.to_owned()),
            word if is_idmap(word) => {
                check_idmap(word).map_err(|e| bad(e.what().to_owned()))?;
                made.options.push(word.to_owned());
            }
            NO_DEREFERENCE if matches!(made.source, MountSource::Bind { .. }) => {
                made.options.push(word.to_owned());
            }
            word => match word.split_once('=') {
                Some(("upperdir", dir)) => upper = Some(absolute(dir, host)),
                Some(("workdir", dir)) => work = Some(absolute(dir, host)),
                _ => return Err(bad(format!("unknown option {word:?}"))),
            },
        }
    }
    if overlay {
        let MountSource::Bind { path, .. } = made.source else {
            return Err(bad("the option O is for paths of the host".to_owned()));
        };
        if upper.is_some() != work.is_some() {
            return Err(bad("upperdir and workdir go together".to_owned()));
        }
        made.source = MountSource::Overlay { path, upper, work };
    } else if upper.is_some() || work.is_some() {
        return Err(bad("upperdir and workdir need the option O".to_owned()));
    }
    Ok(made)
}

/// `DIR[:OPTIONS]`; keeps what the image has there, as podman does.
fn tmpfs(text: &str) -> Result<MountOption> {
    let (inside, options) = text.split_once(':').unwrap_or((text, ""));
    let bad = |why: String| {
        Error::invalid(format!("cannot mount a tmpfs at {text:?}: {why}"))
            .hint("write /dir or /dir:size=64m,mode=700")
    };
    let destination = destination(inside).map_err(|e| bad(e.what().to_owned()))?;
    let mut made = plain(destination, memory());
    for word in options.split(',').filter(|w| !w.is_empty()) {
        if !memory_option(&mut made, word).map_err(|e| bad(e.what().to_owned()))? {
            return Err(bad(format!("unknown option {word:?}")));
        }
    }
    Ok(made)
}

fn memory() -> MountSource {
    MountSource::Tmpfs {
        size: None,
        mode: None,
        copy_up: true,
    }
}

/// Applies an option of a tmpfs; answers whether it is one.
fn memory_option(made: &mut MountOption, word: &str) -> Result<bool> {
    let MountSource::Tmpfs {
        size: bytes,
        mode,
        copy_up,
    } = &mut made.source
    else {
        return Ok(false);
    };
    match word {
        "ro" => made.read_only = true,
        "rw" => made.read_only = false,
        "tmpcopyup" => *copy_up = true,
        "notmpcopyup" => *copy_up = false,
        "U" => made.chown = true,
        "noswap" => made.options.push(word.to_owned()),
        word if WORDS.contains(&word) => made.options.push(word.to_owned()),
        word => match word.split_once('=') {
            Some(("size", "")) | Some(("mode", "")) => {
                return Err(Error::invalid(format!("{word} has no value")));
            }
            // A share of the memory is the kernel's to compute.
            Some(("size", share)) if share.ends_with('%') => {
                let number = share.trim_end_matches('%').parse::<u16>();
                number.map_err(|_| Error::invalid(format!("invalid size {share:?}")))?;
                made.options.push(word.to_owned());
            }
            Some(("size", text)) => *bytes = Some(size::parse(text)?),
            Some(("mode", text)) => *mode = Some(octal(text)?),
            Some(("uid" | "gid" | "nr_inodes", number)) => {
                let digits = number.trim_end_matches(['k', 'm', 'g']);
                if digits.parse::<u32>().is_err() {
                    return Err(Error::invalid(format!("{word:?} is no number")));
                }
                made.options.push(word.to_owned());
            }
            _ => return Ok(false),
        },
    }
    Ok(true)
}

fn octal(text: &str) -> Result<u32> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|m| *m <= 0o7777)
        .ok_or_else(|| Error::invalid(format!("{text:?} is no octal mode")))
}

/// Fields of a CSV line as `--mount` and `--secret` use it: a field may stand in double quotes.
pub(super) fn csv(text: &str) -> Vec<String> {
    let mut list = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let last = list.len() - 1;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => list[last].extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => list.push(String::new()),
            c => list[last].push(c),
        }
    }
    list
}

fn switch(value: Option<&str>) -> Result<bool> {
    match value {
        None => Ok(true),
        Some(text) => {
            crate::cli::frame::go_bool(text).map_err(|e| Error::invalid(format!("{text:?}: {e}")))
        }
    }
}

/// `type=glob,src=PATTERN[,dst=DIR]`: a bind of each path that fits, at its own place or in `dst`.
fn globbed(text: &str, fields: &[String], host: &Host<'_>) -> Result<Vec<Result<MountOption>>> {
    let one = |names: [&str; 3]| {
        let pairs = fields.iter().rev().filter_map(|f| f.split_once('='));
        let mut found = pairs.filter(|(key, _)| names.contains(key));
        found.next().map(|(_, value)| value)
    };
    let pattern = one(["source", "src", "src"]).unwrap_or_default();
    let pattern = absolute(pattern, host);
    let paths = crate::base::glob::expand(&pattern)?;
    if paths.is_empty() {
        return Err(Error::not_found(format!(
            "cannot mount {text:?}: nothing fits {}",
            pattern.display()
        )));
    }
    let target = one(["destination", "dst", "target"]);
    let place = |path: &Path| match (target, path.file_name()) {
        (Some(target), Some(name)) => Path::new(target).join(name),
        _ => path.to_owned(),
    };
    let own = |field: &&String| {
        let key = field.split('=').next().unwrap_or_default();
        !["type", "source", "src", "destination", "dst", "target"].contains(&key)
    };
    Ok(paths
        .iter()
        .map(|path| {
            let mut fields: Vec<String> = fields.iter().filter(own).cloned().collect();
            fields.push("type=bind".to_owned());
            fields.push(format!("src={}", path.display()));
            fields.push(format!("dst={}", place(path).display()));
            mount(text, &fields, host)
        })
        .collect())
}

/// `type=…,src=…,dst=…,…`.
fn mount(text: &str, fields: &[String], host: &Host<'_>) -> Result<MountOption> {
    let bad = |why: &str| {
        Error::invalid(format!("cannot mount {text:?}: {why}"))
            .hint("write type=bind,src=/host/dir,dst=/dir or type=volume,src=name,dst=/dir")
    };
    let pairs: Vec<(&str, Option<&str>)> = fields
        .iter()
        .filter(|f| !f.is_empty())
        .map(|f| {
            f.split_once('=')
                .map_or((f.as_str(), None), |(k, v)| (k, Some(v)))
        })
        .collect();
    let one = |names: &[&str]| {
        pairs
            .iter()
            .rev()
            .find(|(key, _)| names.contains(key))
            .map(|(_, value)| value.unwrap_or_default())
    };
    let kind = one(&["type"]).unwrap_or("volume");
    let source = one(&["source", "src"]).filter(|s| !s.is_empty());
    let inside = one(&["destination", "dst", "target"]).filter(|d| !d.is_empty());
    let inside = inside.ok_or_else(|| bad("there is no dst="))?;
    let destination = destination(inside).map_err(|e| bad(e.what()))?;
    let needed = || source.ok_or_else(|| bad("there is no src="));
    let none = || match source {
        Some(_) => Err(bad("this type has no src=")),
        None => Ok(()),
    };
    let what = match kind {
        "bind" => MountSource::Bind {
            path: absolute(needed()?, host),
            create: false,
            recursive: true,
        },
        "volume" => MountSource::Volume {
            name: match source {
                None => None,
                Some(name) => {
                    let name: ObjectName = name.parse().map_err(|_| {
                        bad("src= is not the name of a volume; type=bind takes a path")
                    })?;
                    Some(name.as_str().to_owned())
                }
            },
            nocopy: false,
            subpath: None,
            labels: Default::default(),
        },
        "tmpfs" => {
            none()?;
            memory()
        }
        "ramfs" => {
            none()?;
            MountSource::Ramfs
        }
        "devpts" => {
            none()?;
            MountSource::Devpts
        }
        "image" => MountSource::Image {
            image: needed()?.to_owned(),
            writable: false,
            subpath: None,
        },
        "artifact" | "cluster" | "npipe" => {
            return Err(Error::unsupported(format!(
                "mounts of type {kind} are not supported"
            )));
        }
        _ => {
            return Err(bad(&format!(
                "unknown type {kind:?}: use bind, volume, tmpfs, ramfs, devpts or image"
            )));
        }
    };
    let is_image = matches!(what, MountSource::Image { .. });
    let mut made = plain(destination, what);
    // An image is shown as it is unless asked for otherwise.
    made.read_only = is_image;
    for (key, value) in pairs {
        if !common(&mut made, key, value).map_err(|e| bad(e.what()))?
            && !special(&mut made, key, value).map_err(|e| bad(e.what()))?
        {
            return Err(bad(&format!("unknown option {key:?} for type {kind}")));
        }
    }
    Ok(made)
}

/// Options of every type; answers whether it is one.
fn common(made: &mut MountOption, key: &str, value: Option<&str>) -> Result<bool> {
    match (key, value) {
        ("type" | "source" | "src" | "destination" | "dst" | "target", Some(_)) => {}
        ("readonly" | "ro", value) => made.read_only = switch(value)?,
        ("rw" | "readwrite", value) => {
            made.read_only = !switch(value)?;
            if let MountSource::Image { writable, .. } = &mut made.source {
                *writable = !made.read_only;
            }
        }
        ("U" | "chown", value) => made.chown = switch(value)?,
        ("consistency", Some(_)) => {}
        (word, None) if WORDS.contains(&word) => made.options.push(word.to_owned()),
        _ => return Ok(false),
    }
    Ok(true)
}

/// Options of one type; answers whether it is one.
fn special(made: &mut MountOption, key: &str, value: Option<&str>) -> Result<bool> {
    match (&mut made.source, key, value) {
        (MountSource::Bind { .. }, "bind-propagation", Some(word)) => {
            if !WORDS.contains(&word) {
                return Err(Error::invalid(format!("unknown propagation {word:?}")));
            }
            made.options.push(word.to_owned());
        }
        (MountSource::Bind { recursive, .. }, "bind-nonrecursive", value) => {
            *recursive = !switch(value)?;
        }
        (MountSource::Bind { recursive, .. }, "bind-recursive", Some(word)) => match word {
            "enabled" | "true" | "1" => *recursive = true,
            "disabled" | "false" | "0" => *recursive = false,
            _ => {
                return Err(Error::unsupported(format!(
                    "bind-recursive={word} is not supported: use enabled or disabled"
                )));
            }
        },
        (MountSource::Bind { create, .. }, "bind-create-src", value) => *create = switch(value)?,
        (MountSource::Bind { .. } | MountSource::Volume { .. }, "relabel", Some(word)) => {
            made.relabel = Some(match word {
                "shared" | "z" => Relabel::Shared,
                "private" | "Z" => Relabel::Private,
                _ => return Err(Error::invalid(format!("unknown relabel {word:?}"))),
            });
        }
        (MountSource::Bind { .. } | MountSource::Volume { .. }, "z" | "Z", None) => {
            made.relabel = Some(if key == "z" {
                Relabel::Shared
            } else {
                Relabel::Private
            });
        }
        (MountSource::Volume { nocopy, .. }, "volume-nocopy" | "nocopy", value) => {
            *nocopy = switch(value)?;
        }
        (
            MountSource::Volume { subpath, .. } | MountSource::Image { subpath, .. },
            "subpath" | "volume-subpath" | "image-subpath",
            Some(path),
        ) => {
            let inside = Path::new(path);
            if path.is_empty() || inside.components().any(|c| c == Component::ParentDir) {
                return Err(Error::invalid(format!("invalid subpath {path:?}")));
            }
            *subpath = Some(path.trim_start_matches('/').to_owned());
        }
        (MountSource::Volume { labels, .. }, "volume-label", Some(pair)) => {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            labels.insert(key.to_owned(), value.to_owned());
        }
        (MountSource::Volume { .. }, "volume-driver", Some("local" | "")) => {}
        (MountSource::Tmpfs { .. }, key, value) => {
            let key = key.strip_prefix("tmpfs-").unwrap_or(key);
            let word = match value {
                Some(value) => format!("{key}={value}"),
                None => key.to_owned(),
            };
            return memory_option(made, &word);
        }
        (MountSource::Devpts, "uid" | "gid" | "max", Some(number)) => {
            let number: u32 = number
                .parse()
                .map_err(|_| Error::invalid(format!("{key}={number} is no number")))?;
            made.options.push(format!("{key}={number}"));
        }
        (MountSource::Ramfs, "mode" | "tmpfs-mode" | "ramfs-mode", Some(text)) => {
            made.options.push(format!("mode={:o}", octal(text)?));
        }
        (MountSource::Devpts, "mode", Some(text)) => {
            made.options.push(format!("mode={:o}", octal(text)?));
        }
        (MountSource::Bind { .. } | MountSource::Volume { .. }, "idmap", value) => {
            let word = match value {
                None | Some("") => "idmap".to_owned(),
                Some(map) => format!("idmap={map}"),
            };
            check_idmap(&word)?;
            made.options.push(word);
        }
        (MountSource::Bind { .. }, NO_DEREFERENCE, value) => {
            if switch(value)? {
                made.options.push(NO_DEREFERENCE.to_owned());
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}
