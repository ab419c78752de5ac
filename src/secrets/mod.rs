//! Secrets: small files that containers get at run time and that are never part of an image.
//!
//! `data/secrets/<name>/secret.json` (0600) says what it is, `data/secrets/<name>/data` (0600)
//! holds it, unencrypted, as podman's `file` driver does; other drivers keep it elsewhere under its id
//! ([`driver`]). A secret appears by one rename of its
//! folder. Replacing writes the content first and the record second, each atomically; the id
//! changes with it.
//!
//! Invariants: content is in memory only as [`SecretData`], which prints nothing of it.

mod driver;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use driver::Driver;
use serde::{Deserialize, Serialize};

use crate::base::fs::{self as files, Durability};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result, random};
use crate::config::dirs::Dirs;
use crate::spec::digest;
use crate::spec::id::ObjectName;

/// The schema of the records that this program writes.
const VERSION: u32 = 1;

/// A secret holds fewer bytes than this, as in podman and Docker.
pub const LIMIT: usize = 512_000;

/// A record larger than this is damaged.
const RECORD_LIMIT: u64 = 1 << 20;

/// What a secret holds. Printing it shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretData(Vec<u8>);

impl SecretData {
    /// Takes the content over.
    ///
    /// # Errors
    /// `Invalid` when it is empty or too large.
    pub fn new(bytes: Vec<u8>) -> Result<Self> {
        if bytes.is_empty() || bytes.len() >= LIMIT {
            return Err(Error::invalid(format!(
                "a secret must hold more than 0 and fewer than {LIMIT} bytes, not {}",
                bytes.len()
            )));
        }
        Ok(Self(bytes))
    }

    /// The content itself: for the container's mount or environment, and `--showsecret`.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretData(…)")
    }
}

/// `secret.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRecord {
    /// Schema number.
    pub version: u32,
    /// 25 lower-case hex digits, as podman's.
    pub id: String,
    /// Its name.
    pub name: ObjectName,
    /// `file`, `pass` or `shell`.
    pub driver: String,
    /// `--driver-opts`.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// `--label`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When it was made first.
    pub created: Timestamp,
    /// When it was made last.
    pub updated: Timestamp,
}

/// What a new secret is besides its name and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSpec {
    /// `--driver`.
    pub driver: String,
    /// `--driver-opts`.
    pub options: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
}

impl Default for SecretSpec {
    fn default() -> Self {
        Self {
            driver: "file".to_owned(),
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }
}

/// What becomes of a secret whose name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// An error.
    Refuse,
    /// The new one takes its place.
    Replace,
    /// The old one stays.
    Keep,
}

/// All secrets.
#[derive(Clone, Debug)]
pub struct Secrets {
    dir: PathBuf,
}

impl Secrets {
    /// Those below the data directory.
    pub fn new(dirs: &Dirs) -> Self {
        Self {
            dir: dirs.secrets(),
        }
    }

    /// Where the contents are, for `inspect`.
    pub fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    /// Makes a secret.
    ///
    /// # Errors
    /// `Exists` when the name is taken and `taken` says so; what the kernel or the driver says.
    pub fn create(
        &self,
        name: &ObjectName,
        data: &SecretData,
        spec: SecretSpec,
        taken: Taken,
    ) -> Result<SecretRecord> {
        let driver = Driver::parse(&spec.driver, &spec.options)?;
        let now = Timestamp::now();
        let mut record = SecretRecord {
            version: VERSION,
            id: random_id()?,
            name: name.clone(),
            driver: spec.driver,
            options: spec.options,
            labels: spec.labels,
            created: now,
            updated: now,
        };
        if let Some(old) = self.get(name)? {
            match taken {
                Taken::Refuse => return Err(in_use(name)),
                Taken::Keep => return Ok(old),
                Taken::Replace => {
                    record.created = old.created;
                    let dir = self.dir.join(name.as_str());
                    driver.store(&record.id, data)?;
                    write(&dir, &record, data, &driver)?;
                    let before = Driver::parse(&old.driver, &old.options)?;
                    if before.is_elsewhere() {
                        before.delete(&old.id)?;
                    }
                    return Ok(record);
                }
            }
        }
        driver.store(&record.id, data)?;
        files::create_private_dir_all(&self.dir)?;
        let staged = self.dir.join(format!(".{}", record.id));
        let published = fs::DirBuilder::new()
            .mode(0o700)
            .create(&staged)
            .what(|| format!("cannot create directory {}", staged.display()))
            .and_then(|()| write(&staged, &record, data, &driver))
            .and_then(|()| {
                fs::rename(&staged, self.dir.join(name.as_str())).map_err(|e| match e.kind() {
                    // Somebody else was faster.
                    ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists => in_use(name),
                    _ => Error::new(Kind::Internal, format!("cannot create secret \"{name}\""))
                        .because(e),
                })
            });
        if published.is_err() {
            // Nobody has seen it.
            drop(fs::remove_dir_all(&staged));
            drop(driver.delete(&record.id));
        }
        published.map(|()| record)
    }

    /// The secret with that very name.
    ///
    /// # Errors
    /// `Corrupt` when its record does not parse or is from a newer program.
    pub fn get(&self, name: &ObjectName) -> Result<Option<SecretRecord>> {
        let path = self.dir.join(name.as_str()).join("secret.json");
        let Some(bytes) = files::read_if_exists(&path, RECORD_LIMIT)? else {
            return Ok(None);
        };
        let record: SecretRecord = serde_json::from_slice(&bytes)
            .what_kind(Kind::Corrupt, || format!("cannot read {}", path.display()))?;
        if record.version > VERSION {
            return Err(Error::unsupported(format!(
                "secret \"{name}\" was made by a newer coracle (schema {})",
                record.version
            )));
        }
        Ok(Some(record))
    }

    /// The secret that a person means: by name, id, or the beginning of one id.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when several ids begin so.
    pub fn find(&self, text: &str) -> Result<SecretRecord> {
        if let Ok(name) = text.parse::<ObjectName>()
            && let Some(record) = self.get(&name)?
        {
            return Ok(record);
        }
        let mut found = self
            .list()?
            .into_iter()
            .filter(|r| !text.is_empty() && r.id.starts_with(text));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "more than one secret has an id that begins with \"{text}\""
            ))),
            _ => Err(
                Error::not_found(format!("no secret with name or id \"{text}\""))
                    .hint("`coracle secret ls` lists them"),
            ),
        }
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// What the kernel says; `Corrupt` as [`Secrets::get`].
    pub fn list(&self) -> Result<Vec<SecretRecord>> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).what(|| format!("cannot list {}", self.dir.display())),
        };
        let mut records = Vec::new();
        for entry in entries {
            let entry = entry.what(|| format!("cannot list {}", self.dir.display()))?;
            // Staged ones begin with a dot and so are no names.
            if let Ok(name) = entry.file_name().to_string_lossy().parse()
                && let Some(record) = self.get(&name)?
            {
                records.push(record);
            }
        }
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    }

    /// What a secret holds.
    ///
    /// # Errors
    /// `NotFound` when it was removed meanwhile; what the kernel says.
    pub fn data(&self, record: &SecretRecord) -> Result<SecretData> {
        let driver = Driver::parse(&record.driver, &record.options)?;
        if driver.is_elsewhere() {
            return driver
                .lookup(&record.id)
                .what(|| format!("cannot read secret {:?}", record.name.as_str()));
        }
        let path = self.dir.join(record.name.as_str()).join("data");
        files::read(&path, LIMIT as u64).map(SecretData)
    }

    /// Removes a secret. Containers that have it keep what they have until they start again.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&self, record: &SecretRecord) -> Result<()> {
        // The record goes first: without it there is no secret, whatever is left.
        let dir = self.dir.join(record.name.as_str());
        let driver = Driver::parse(&record.driver, &record.options)?;
        files::remove_file_if_exists(&dir.join("secret.json"))?;
        fs::remove_dir_all(&dir).what(|| format!("cannot remove {}", dir.display()))?;
        driver.delete(&record.id).what(|| {
            format!(
                "secret {:?} is gone, its content is not",
                record.name.as_str()
            )
        })
    }
}

fn write(
    dir: &std::path::Path,
    record: &SecretRecord,
    data: &SecretData,
    driver: &Driver,
) -> Result<()> {
    let file = dir.join("data");
    match driver.is_elsewhere() {
        true => files::remove_file_if_exists(&file)?,
        false => files::replace(&file, data.expose(), 0o600, Durability::Durable)?,
    }
    let json = serde_json::to_vec(record)
        .what_kind(Kind::Internal, || "cannot write the secret's record")?;
    files::replace(&dir.join("secret.json"), &json, 0o600, Durability::Durable)
}

fn in_use(name: &ObjectName) -> Error {
    Error::new(Kind::Exists, format!("secret name \"{name}\" is in use"))
        .hint("give `--replace` to write it anew")
}

fn random_id() -> Result<String> {
    let mut id = digest::hex(&random::bytes::<13>()?);
    id.truncate(25);
    Ok(id)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn secrets() -> (tempfile::TempDir, Secrets) {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets {
            dir: dir.path().join("secrets"),
        };
        (dir, secrets)
    }

    fn data(text: &str) -> SecretData {
        SecretData::new(text.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_secret_is_made_found_replaced_and_removed() {
        let (_dir, secrets) = secrets();
        let name: ObjectName = "token".parse().unwrap();
        assert!(secrets.list().unwrap().is_empty());
        let first = secrets
            .create(&name, &data("one"), SecretSpec::default(), Taken::Refuse)
            .unwrap();
        assert_eq!(first.id.len(), 25);
        assert_eq!(secrets.find("token").unwrap(), first);
        assert_eq!(secrets.find(&first.id[..8]).unwrap(), first);
        assert_eq!(secrets.data(&first).unwrap().expose(), b"one");
        let again = |taken| secrets.create(&name, &data("two"), SecretSpec::default(), taken);
        assert_eq!(again(Taken::Refuse).unwrap_err().kind(), Kind::Exists);
        assert_eq!(again(Taken::Keep).unwrap(), first);
        let second = again(Taken::Replace).unwrap();
        assert_eq!(second.created, first.created);
        assert_ne!(second.id, first.id);
        assert_eq!(secrets.data(&second).unwrap().expose(), b"two");
        assert_eq!(secrets.list().unwrap(), std::slice::from_ref(&second));
        secrets.remove(&second).unwrap();
        assert_eq!(secrets.find("token").unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn files_are_private_and_printing_shows_nothing() {
        let (_dir, secrets) = secrets();
        let name: ObjectName = "token".parse().unwrap();
        secrets
            .create(&name, &data("hush"), SecretSpec::default(), Taken::Refuse)
            .unwrap();
        for (path, mode) in [("", 0o700), ("data", 0o600), ("secret.json", 0o600)] {
            let meta = fs::metadata(secrets.dir.join("token").join(path)).unwrap();
            assert_eq!(meta.permissions().mode() & 0o777, mode, "{path}");
        }
        assert!(!format!("{:?}", data("hush")).contains("hush"));
        assert!(SecretData::new(Vec::new()).is_err());
        assert!(SecretData::new(vec![0; LIMIT]).is_err());
    }
}
