//! What `secret …` does.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;

use super::session::Session;
use crate::base::filter::{Filters, label_matches};
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::containers_conf;
use crate::secrets::{LIMIT, SecretData, SecretRecord, SecretSpec, Secrets, Taken};

/// Where the content comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
    /// A variable of the caller's environment.
    Env(String),
    /// What the caller has.
    Bytes(Vec<u8>),
}

/// `secret create`.
#[derive(Clone, Debug)]
pub struct Create {
    /// Its name.
    pub name: String,
    /// Its content.
    pub source: Source,
    /// `--driver`; absent means the one of containers.conf, or `file`.
    pub driver: Option<String>,
    /// `--driver-opts`.
    pub options: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--replace`, `--ignore`.
    pub taken: Taken,
}

/// Keys of `secret ls --filter`.
pub const FILTERS: &[&str] = &["name", "id", "label"];

/// Makes a secret.
///
/// # Errors
/// `Invalid` for a bad name or content; `Exists`; what reading the source says.
pub fn create(session: &Session, request: &Create) -> Result<SecretRecord> {
    let what = || format!("cannot create secret \"{}\"", request.name);
    let name = request.name.parse().what(what)?;
    let bytes = match &request.source {
        Source::Stdin => bounded(std::io::stdin().lock()).what(|| "cannot read standard input"),
        Source::File(path) => std::fs::File::open(path)
            .and_then(bounded)
            .what(|| format!("cannot read {}", path.display())),
        Source::Bytes(bytes) => Ok(bytes.clone()),
        Source::Env(variable) => session
            .env
            .exact(variable)
            .map(String::into_bytes)
            .ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    format!("environment variable {variable} is not set"),
                )
            }),
    };
    let data = SecretData::new(bytes.what(what)?).what(what)?;
    let spec = spec(session, request)?;
    Secrets::new(&session.dirs)
        .create(&name, &data, spec, request.taken)
        .what(what)
}

/// The driver with its options: given, or those of containers.conf.
fn spec(session: &Session, request: &Create) -> Result<SecretSpec> {
    let conf = &containers_conf::load()?.secrets;
    let driver = request.driver.clone().or_else(|| conf.driver.clone());
    let driver = driver
        .filter(|d| !d.is_empty())
        .unwrap_or_else(|| "file".to_owned());
    let mut options = request.options.clone();
    // The file's options are those of the file's driver.
    if conf.driver.as_deref() == Some(driver.as_str()) {
        for (key, value) in &conf.opts {
            options.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    if driver == "pass" && !options.contains_key("root") {
        let store = session.env.absolute_path("PASSWORD_STORE_DIR");
        let store = store.unwrap_or_else(|| session.user.home.join(".password-store"));
        options.insert("root".to_owned(), store.to_string_lossy().into_owned());
    }
    Ok(SecretSpec {
        driver,
        options,
        labels: request.labels.clone(),
    })
}

/// Reads one byte more than fits, so that the size check sees it.
fn bounded(reader: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(LIMIT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The secrets that pass the filters, by name.
///
/// # Errors
/// What listing says.
pub fn list(session: &Session, filters: &Filters) -> Result<Vec<SecretRecord>> {
    let mut records = Vec::new();
    for record in Secrets::new(&session.dirs).list()? {
        let accepted = filters.accept(|key, value| {
            Ok(match key {
                "name" => record.name.as_str().contains(value),
                "id" => record.id.starts_with(value),
                _ => label_matches(&record.labels, value),
            })
        })?;
        if accepted {
            records.push(record);
        }
    }
    Ok(records)
}

/// One secret.
///
/// # Errors
/// `NotFound`.
pub fn find(session: &Session, text: &str) -> Result<SecretRecord> {
    Secrets::new(&session.dirs).find(text)
}

/// What a secret holds.
///
/// # Errors
/// What reading says.
pub fn data(session: &Session, record: &SecretRecord) -> Result<SecretData> {
    Secrets::new(&session.dirs).data(record)
}

/// Removes one secret; answers its id.
///
/// # Errors
/// `NotFound`; what the kernel says.
pub fn remove(session: &Session, text: &str) -> Result<String> {
    let secrets = Secrets::new(&session.dirs);
    let record = secrets.find(text)?;
    secrets.remove(&record)?;
    Ok(record.id)
}
