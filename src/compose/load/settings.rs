//! Which files, which folder, which variables: flags, then `COMPOSE_*`, then what is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::read;
use crate::base::{Error, Result};
use crate::compose::{canonical, dotenv};

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// `--file`.
    pub files: &'a [String],
    /// `--project-name`.
    pub name: Option<&'a str>,
    /// `--profile`.
    pub profiles: &'a [String],
    /// `--env-file`.
    pub env_files: &'a [String],
    /// `--project-directory`.
    pub dir: Option<&'a str>,
    /// The caller's folder.
    pub cwd: &'a Path,
    /// The caller's home.
    pub home: &'a Path,
    /// The caller's variables.
    pub env: &'a BTreeMap<String, String>,
    /// Services that the command names: their profiles are on.
    pub targets: &'a [String],
    /// Replace variables (off with `--no-interpolate`).
    pub interpolate: bool,
    /// Give containers the variables of their `env_file`s (off with `--no-env-resolution`).
    pub resolve_env: bool,
}

/// What is settled before any project file is read.
pub(super) struct Settled {
    pub files: Vec<PathBuf>,
    pub dir: PathBuf,
    pub env_files: Vec<PathBuf>,
    pub env: BTreeMap<String, String>,
    pub profiles: Vec<String>,
}

/// Names of project files, best first.
const NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];

/// Names of the files beside them that are laid over.
const OVERRIDES: [&str; 4] = [
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yaml",
    "docker-compose.override.yml",
];

pub(super) fn settle(request: &Request<'_>) -> Result<Settled> {
    let mut env = request.env.clone();
    // The files' place decides where .env is, and .env may name the files.
    let given_dir = request.dir.map(|d| absolute(request.cwd, d));
    let early = given_dir.clone().unwrap_or_else(|| request.cwd.to_owned());
    let mut env_files = env_files(request, &early, &env)?;
    merge_env(&mut env, request.env, &env_files)?;
    let separator = env
        .get("COMPOSE_PATH_SEPARATOR")
        .map_or(":", String::as_str);
    let named: Vec<String> = match request.files {
        [] => env
            .get("COMPOSE_FILE")
            .filter(|f| !f.is_empty())
            .map(|f| f.split(separator).map(str::to_owned).collect())
            .unwrap_or_default(),
        files => files.to_vec(),
    };
    let files = match named.is_empty() {
        false => named.iter().map(|f| absolute(request.cwd, f)).collect(),
        true => discover(&early)?,
    };
    let first = files
        .first()
        .and_then(|f| f.parent())
        .unwrap_or(request.cwd);
    let dir = given_dir.unwrap_or_else(|| first.to_owned());
    if env_files.is_empty() && dir != early && request.env_files.is_empty() {
        env_files = usual(&dir);
        merge_env(&mut env, request.env, &env_files)?;
    }
    let profiles = match request.profiles {
        [] => env
            .get("COMPOSE_PROFILES")
            .map(|p| {
                p.split(',')
                    .map(|p| p.trim().to_owned())
                    .filter(|p| !p.is_empty())
                    .collect()
            })
            .unwrap_or_default(),
        given => given.to_vec(),
    };
    Ok(Settled {
        files,
        dir,
        env_files,
        env,
        profiles,
    })
}

fn absolute(cwd: &Path, text: &str) -> PathBuf {
    PathBuf::from(canonical::clean(&cwd.join(text)))
}

fn usual(dir: &Path) -> Vec<PathBuf> {
    let file = dir.join(".env");
    file.is_file().then_some(file).into_iter().collect()
}

fn env_files(
    request: &Request<'_>,
    dir: &Path,
    env: &BTreeMap<String, String>,
) -> Result<Vec<PathBuf>> {
    let given: Vec<String> = match request.env_files {
        [] => env
            .get("COMPOSE_ENV_FILES")
            .filter(|f| !f.is_empty())
            .map(|f| f.split(',').map(str::to_owned).collect())
            .unwrap_or_default(),
        files => files.to_vec(),
    };
    if given.is_empty() {
        return Ok(usual(dir));
    }
    let files: Vec<PathBuf> = given.iter().map(|f| absolute(request.cwd, f)).collect();
    match files.iter().find(|f| !f.is_file()) {
        Some(missing) => Err(Error::not_found(format!(
            "couldn't find env file: {}",
            missing.display()
        ))),
        None => Ok(files),
    }
}

/// Adds the files' variables; the caller's own win, and later files over earlier ones.
fn merge_env(
    env: &mut BTreeMap<String, String>,
    own: &BTreeMap<String, String>,
    files: &[PathBuf],
) -> Result<()> {
    for file in files {
        let known = |name: &str| own.get(name).or_else(|| env.get(name)).cloned();
        let read = dotenv::parse(&read(file)?, &file.to_string_lossy(), &known)?;
        for (key, value) in read {
            if let Some(value) = value
                && !own.contains_key(&key)
            {
                env.insert(key, value);
            }
        }
    }
    Ok(())
}

/// The project file of a folder or of one above it, and the one beside it that is laid over.
fn discover(dir: &Path) -> Result<Vec<PathBuf>> {
    for folder in dir.ancestors() {
        let of = |names: &[&str]| {
            let all = names.iter().map(|n| folder.join(n));
            all.into_iter().find(|f| f.is_file())
        };
        if let Some(first) = of(&NAMES) {
            return Ok([Some(first), of(&OVERRIDES)]
                .into_iter()
                .flatten()
                .collect());
        }
    }
    Err(
        Error::not_found("no configuration file provided: not found")
            .hint("write a compose.yaml here, or name one with -f"),
    )
}

/// A project's name out of any text: lower case letters, digits, `-` and `_`.
pub fn normalise_name(text: &str) -> String {
    let kept: String = text
        .to_lowercase()
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(*c))
        .collect();
    kept.trim_start_matches(['-', '_']).to_owned()
}
