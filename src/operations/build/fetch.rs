//! Files from elsewhere: addresses and git repositories, for ADD and as contexts.
//!
//! Everything lands in a folder in staging and is then a tree like any other: links in it lead
//! nowhere else. git is the person's own program, run with an empty environment, without their
//! configuration, hooks and credentials; an SSH agent is handed on only when `--ssh` names one.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::copy::Tree;
use super::job::save;
use super::schedule::At;
use crate::base::{Context as _, Error, Hint as _, Kind, Result};
use crate::build::pattern::clean;
use crate::operations::session::Session;
use crate::registry::client::{self, Settings};
use crate::spec::digest::Digest;
use crate::sys::at;

/// The most that one address may give, bytes.
const LIMIT: u64 = 64 << 30;

/// What was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// A folder with it.
    pub tree: Tree,
    /// What to take from the folder: the file, or everything.
    pub word: String,
}

/// A repository with what to take from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// What git gets.
    pub url: String,
    /// Branch, tag or commit; empty means the default branch.
    pub reference: String,
    /// Folder below; empty means all.
    pub folder: String,
}

impl Repository {
    /// Reads `git@HOST:PATH`, `git://…`, `ssh://…`, `http(s)://….git`, with `#REF:DIR` or
    /// `?ref=…&subdir=…` behind it; `None` for what is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, fragment) = match text.split_once('#') {
            Some((address, fragment)) => (address, fragment),
            None => (text, ""),
        };
        let (bare, query) = address.split_once('?').unwrap_or((address, ""));
        let by_form = ["git://", "ssh://", "git@", "git+https://", "git+http://"]
            .iter()
            .any(|start| bare.starts_with(start));
        let by_end = (bare.starts_with("http://") || bare.starts_with("https://"))
            && bare.trim_end_matches('/').ends_with(".git");
        let forge = bare.starts_with("github.com/");
        if !(by_form || by_end || forge) || bare.contains(['\0', '\n']) {
            return None;
        }
        let url = match forge {
            true => format!("https://{bare}"),
            false => bare.strip_prefix("git+").unwrap_or(bare).to_owned(),
        };
        let (mut reference, mut folder) = match fragment.split_once(':') {
            Some((reference, folder)) => (reference.to_owned(), folder.to_owned()),
            None => (fragment.to_owned(), String::new()),
        };
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("ref" | "branch" | "tag" | "commit", value)) => {
                    value.clone_into(&mut reference);
                }
                Some(("subdir", value)) => value.clone_into(&mut folder),
                _ => {}
            }
        }
        // What git would take for an option.
        let ok = !url.starts_with('-') && !reference.starts_with('-');
        ok.then_some(Self {
            url,
            reference,
            folder: clean(&format!("/{folder}"))
                .trim_start_matches('/')
                .to_owned(),
        })
    }
}

/// Whether a source of ADD is an address.
pub fn is_remote(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://") || Repository::parse(text).is_some()
}

/// Fetches a source of ADD into `folder`, which is made.
///
/// # Errors
/// `Corrupt` for another checksum; what the server or git says.
pub(super) fn fetch(
    at: &At<'_>,
    address: &str,
    checksum: Option<&str>,
    keep_git: bool,
    folder: &Path,
) -> Result<Fetched> {
    crate::base::fs::create_private_dir_all(folder)?;
    let agent = at.schedule.request.ssh.socket("default");
    if let Some(repository) = Repository::parse(address) {
        let commit = clone(
            at.schedule.session,
            &repository,
            agent,
            keep_git,
            folder,
            &|text| {
                at.desk.note(text);
            },
        )?;
        if let Some(wanted) = checksum
            && (wanted.len() < 7 || !commit.starts_with(wanted))
        {
            return Err(Error::new(
                Kind::Corrupt,
                format!("{address} is at commit {commit}, not at {wanted}"),
            )
            .hint("name the commit as the reference, or correct --checksum"));
        }
        return Ok(Fetched {
            tree: tree(folder)?,
            word: format!("/{}", repository.folder),
        });
    }
    let path = address.split(['?', '#']).next().unwrap_or(address);
    let name = path
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'))
        .and_then(|(_, rest)| rest.rsplit('/').next())
        .unwrap_or_default();
    // A destination that is a file gives its own name.
    let name = match name {
        "" | "." | ".." => "index.html",
        name => name,
    };
    let digest = download(at.schedule.session, address, &folder.join(name))?;
    if let Some(wanted) = checksum {
        let wanted: Digest = wanted.parse().hint(|| "write --checksum=sha256:HEX")?;
        if wanted != digest {
            return Err(Error::new(
                Kind::Corrupt,
                format!("{address} has digest {digest}, not {wanted}"),
            )
            .hint("somebody changed the file, or the checksum is for another one"));
        }
    }
    Ok(Fetched {
        tree: tree(folder)?,
        word: format!("/{}", name.replace(['*', '?', '['], "?")),
    })
}

/// Downloads something short.
///
/// # Errors
/// What the server says; `Invalid` for more than 16 MiB.
pub(in crate::operations) fn bytes(session: &Session, address: &str) -> Result<Vec<u8>> {
    let name = crate::operations::container::names::random_id()?;
    let path = session.dirs.runtime.join(format!("fetch-{}", name.short()));
    crate::base::fs::create_private_dir_all(&session.dirs.runtime)?;
    let read =
        download(session, address, &path).and_then(|_| crate::base::fs::read(&path, 16 << 20));
    drop(std::fs::remove_file(&path));
    read
}

/// Downloads into a file of mode 0600 with the server's time; the content's digest.
///
/// # Errors
/// What the server says.
pub fn download(session: &Session, address: &str, to: &Path) -> Result<Digest> {
    let settings = Settings::new(&session.env, Arc::clone(&session.progress));
    let mut fetched = client::fetch(address, settings)?;
    let what = || format!("cannot save {}", to.display());
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(to)
        .what(what)?;
    save(&mut fetched.body, &mut file, LIMIT)?;
    std::os::unix::fs::PermissionsExt::set_mode(
        &mut file.metadata().what(what)?.permissions(),
        0o600,
    );
    at::fchmod(std::os::fd::AsFd::as_fd(&file), 0o600)?;
    let time = fetched
        .modified
        .map_or(0, crate::base::time::Timestamp::seconds);
    at::futimens(std::os::fd::AsFd::as_fd(&file), time, 0)?;
    let mut hasher = crate::storage::blob::Hasher::new(crate::spec::digest::Algorithm::Sha256);
    use std::io::{Read as _, Seek as _};
    file.rewind().what(what)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer).what(what)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher.finish())
}

fn tree(folder: &Path) -> Result<Tree> {
    Ok(Tree {
        root: at::open_host_dir(folder)?,
        prefix: String::new(),
        ignore: None,
        is_image: false,
        held: None,
    })
}

/// Clones a repository into an empty folder; the commit that it is at.
///
/// # Errors
/// `NotFound` without git; what git says.
pub fn clone(
    session: &Session,
    repository: &Repository,
    agent: Option<&Path>,
    keep_git: bool,
    folder: &Path,
    say: &dyn Fn(&str),
) -> Result<String> {
    let git = |words: &[&str]| -> Result<String> {
        let mut command = Command::new("git");
        command
            .env_clear()
            .env("PATH", session.env.text("PATH").unwrap_or_default())
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "true")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .env("GIT_ALLOW_PROTOCOL", "http:https:git:ssh")
            .args([
                "-c",
                "core.hooksPath=/dev/null",
                "-c",
                "core.fsmonitor=false",
            ])
            .args(["-c", "advice.detachedHead=false"])
            .args(words)
            .current_dir(folder)
            .stdin(Stdio::null());
        for (name, value) in session.env.all() {
            if crate::build::scope::PROXY.contains(&name.as_str()) {
                command.env(name, value);
            }
        }
        if let Some(agent) = agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        let output = command.output().map_err(|e| {
            let kind = match e.kind() {
                std::io::ErrorKind::NotFound => Kind::NotFound,
                _ => Kind::Unavailable,
            };
            Error::new(kind, "cannot run git")
                .because(e)
                .hint("a git repository needs the git program: install it, or clone it yourself")
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::new(
            Kind::Unavailable,
            format!("cannot fetch {}", repository.url),
        )
        .because(Error::invalid(said))
        .hint("does the repository exist, and is it readable without a password?"))
    };
    say(&format!("fetching {}", repository.url));
    git(&["init", "-q"])?;
    let wanted = match repository.reference.as_str() {
        "" => "HEAD",
        reference => reference,
    };
    let shallow = git(&[
        "fetch",
        "-q",
        "--no-tags",
        "--depth",
        "1",
        "--",
        &repository.url,
        wanted,
    ]);
    let mut found = "FETCH_HEAD".to_owned();
    if shallow.is_err() {
        // Old servers know no shallow fetches, and not every server gives a bare commit.
        let all = "+refs/*:refs/remotes/origin/*";
        git(&["fetch", "-q", "--", &repository.url, all])?;
        let candidates = [
            format!("refs/remotes/origin/heads/{wanted}"),
            format!("refs/remotes/origin/tags/{wanted}"),
            wanted.to_owned(),
            "refs/remotes/origin/heads/main".to_owned(),
            "refs/remotes/origin/heads/master".to_owned(),
        ];
        let usable = match wanted {
            "HEAD" => &candidates[3..],
            _ => &candidates[..3],
        };
        let commit = usable.iter().find_map(|one| {
            let spec = format!("{one}^{{commit}}");
            git(&["rev-parse", "-q", "--verify", &spec]).ok()
        });
        found = commit.ok_or_else(|| {
            Error::not_found(format!("{} has no {wanted}", repository.url))
                .hint("name a branch, a tag or a whole commit behind #")
        })?;
    }
    git(&["checkout", "-q", "--force", "--detach", &found])?;
    let commit = git(&["rev-parse", "HEAD"])?;
    if folder.join(".gitmodules").is_file() {
        git(&[
            "submodule",
            "update",
            "-q",
            "--init",
            "--recursive",
            "--depth",
            "1",
        ])?;
    }
    if !keep_git {
        let dir = folder.join(".git");
        fs::remove_dir_all(&dir).what(|| format!("cannot remove {}", dir.display()))?;
    }
    Ok(commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_told_by_their_form() {
        for (text, url, reference, folder) in [
            ("https://h/r.git", "https://h/r.git", "", ""),
            ("https://h/r.git#v1:a/b", "https://h/r.git", "v1", "a/b"),
            ("https://h/r.git#:../../x", "https://h/r.git", "", "x"),
            ("git@h:r.git#main", "git@h:r.git", "main", ""),
            ("git://h/r", "git://h/r", "", ""),
            ("github.com/a/b", "https://github.com/a/b", "", ""),
            (
                "https://h/r.git?ref=x&subdir=y",
                "https://h/r.git",
                "x",
                "y",
            ),
        ] {
            let found = Repository::parse(text).unwrap();
            assert_eq!(found.url, url);
            assert_eq!(
                (found.reference.as_str(), found.folder.as_str()),
                (reference, folder)
            );
        }
        for text in [
            "https://h/file.tar.gz",
            "./dir",
            "a/b.git",
            "git@h:r#--upload-pack=x",
        ] {
            assert_eq!(Repository::parse(text), None, "{text}");
        }
        assert!(is_remote("http://h/x") && !is_remote("http.txt"));
    }
}
