//! Where the content of secrets is: in a file of ours, in a `pass` store, or wherever four commands
//! of the person's put it.
//!
//! `pass`: `<root>/<id>.gpg`, encrypted for the key that the option or the store's `.gpg-id` names.
//! `shell`: `list`, `lookup`, `store` and `delete` are run by `/bin/sh -c`, with the id in
//! `SECRET_ID`; the content goes in and out by the standard streams.
//!
//! Spec: podman-secret-create(1), "--driver".

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{LIMIT, SecretData};
use crate::base::fs as files;
use crate::base::{Context as _, Error, Kind, Result};

/// What the driver `shell` must know to do.
const COMMANDS: [&str; 4] = ["list", "lookup", "store", "delete"];

/// A driver with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    /// The file `data` beside the record.
    File,
    /// GnuPG.
    Pass {
        root: PathBuf,
        key: Option<String>,
        home: Option<PathBuf>,
    },
    /// Commands by name.
    Shell(BTreeMap<String, String>),
}

impl Driver {
    /// Reads name and options.
    ///
    /// # Errors
    /// `Unsupported` for another driver; `Invalid` for options that it does not have or lacks.
    pub(super) fn parse(name: &str, options: &BTreeMap<String, String>) -> Result<Self> {
        let only = |known: &[&str]| match options.keys().find(|k| !known.contains(&k.as_str())) {
            None => Ok(()),
            Some(other) => Err(Error::unsupported(format!(
                "--driver-opts {other:?} is not supported"
            ))
            .because(match known {
                [] => format!("the driver {name:?} has no options"),
                known => format!("the driver {name:?} has {}", known.join(", ")),
            })),
        };
        let path = |key: &str| match options.get(key).map(PathBuf::from) {
            Some(path) if !path.is_absolute() => Err(Error::invalid(format!(
                "--driver-opts {key}={} is not absolute",
                path.display()
            ))),
            other => Ok(other),
        };
        match name {
            "file" => only(&[]).map(|()| Self::File),
            "pass" => {
                only(&["root", "key", "gpghomedir"])?;
                Ok(Self::Pass {
                    root: path("root")?.ok_or_else(|| {
                        Error::invalid("the driver \"pass\" needs --driver-opts root=FOLDER")
                    })?,
                    key: options.get("key").cloned(),
                    home: path("gpghomedir")?,
                })
            }
            "shell" => {
                only(&COMMANDS)?;
                let empty = |name: &&&str| options.get(**name).is_none_or(|c| c.trim().is_empty());
                if let Some(missing) = COMMANDS.iter().find(empty) {
                    return Err(Error::invalid(format!(
                        "the driver \"shell\" needs --driver-opts {missing}=COMMAND"
                    ))
                    .hint(format!("it needs {}", COMMANDS.join(", "))));
                }
                Ok(Self::Shell(options.clone()))
            }
            other => Err(
                Error::unsupported(format!("secret driver {other:?} is not supported"))
                    .hint("use file, pass or shell"),
            ),
        }
    }

    /// Whether the content is not in the secret's own folder.
    pub(super) fn is_elsewhere(&self) -> bool {
        *self != Self::File
    }

    /// Stores the content under `id`, outside.
    ///
    /// # Errors
    /// What the program says.
    pub(super) fn store(&self, id: &str, data: &SecretData) -> Result<()> {
        match self {
            Self::File => Ok(()),
            Self::Pass { root, key, .. } => {
                files::create_private_dir_all(root)?;
                let key = match key {
                    Some(key) => key.clone(),
                    None => recipient(root)?,
                };
                let file = place(root, id);
                let target = file.to_string_lossy().into_owned();
                let words = ["--encrypt", "--recipient", &key, "--output", &target];
                self.gpg(&words, Some(data)).map(drop)
            }
            Self::Shell(commands) => shell(commands, "store", id, Some(data)).map(drop),
        }
    }

    /// The content under `id`.
    ///
    /// # Errors
    /// What the program says; `Invalid` for content that no secret can have.
    pub(super) fn lookup(&self, id: &str) -> Result<SecretData> {
        let bytes = match self {
            Self::File => return Err(Error::internal("a secret of the driver \"file\"")),
            Self::Pass { root, .. } => {
                let file = place(root, id);
                if !file.exists() {
                    return Err(Error::not_found(format!("there is no {}", file.display())));
                }
                self.gpg(&["--decrypt", &file.to_string_lossy()], None)?
            }
            Self::Shell(commands) => shell(commands, "lookup", id, None)?,
        };
        SecretData::new(bytes)
    }

    /// Removes what is under `id`.
    ///
    /// # Errors
    /// What the program says.
    pub(super) fn delete(&self, id: &str) -> Result<()> {
        match self {
            Self::File => Ok(()),
            Self::Pass { root, .. } => files::remove_file_if_exists(&place(root, id)),
            Self::Shell(commands) => shell(commands, "delete", id, None).map(drop),
        }
    }

    fn gpg(&self, words: &[&str], input: Option<&SecretData>) -> Result<Vec<u8>> {
        let mut all: Vec<String> = Vec::new();
        if let Self::Pass {
            home: Some(home), ..
        } = self
        {
            all.push("--homedir".to_owned());
            all.push(home.to_string_lossy().into_owned());
        }
        // Nobody is there to be asked, and the key was chosen by whoever named it.
        let fixed = ["--batch", "--yes", "--quiet", "--trust-model", "always"];
        all.extend(fixed.iter().chain(words).map(|w| (*w).to_owned()));
        run(duct::cmd("gpg", all), input)
            .what(|| "gpg cannot do it")
            .map_err(|e| match e.errno() {
                Some(libc::ENOENT) => e.hint("install gnupg, or use the driver file"),
                _ => e,
            })
    }
}

/// The key of a `pass` store.
fn recipient(root: &Path) -> Result<String> {
    let file = root.join(".gpg-id");
    let text = fs::read_to_string(&file).what(|| format!("cannot read {}", file.display()));
    let text =
        text.map_err(|e| e.hint("`pass init KEY` makes it; or give --driver-opts key=KEY"))?;
    let key = text
        .lines()
        .map(str::trim)
        .find(|l| !l.is_empty() && !l.starts_with('#'));
    key.map(str::to_owned)
        .ok_or_else(|| Error::invalid(format!("{} names no key", file.display())))
}

fn place(root: &Path, id: &str) -> PathBuf {
    root.join(format!("{id}.gpg"))
}

fn shell(
    commands: &BTreeMap<String, String>,
    name: &str,
    id: &str,
    input: Option<&SecretData>,
) -> Result<Vec<u8>> {
    let text = commands.get(name).map_or("", String::as_str);
    let command = duct::cmd("/bin/sh", ["-c", text]).env("SECRET_ID", id);
    run(command, input).what(|| format!("the command {name:?} of the driver \"shell\" failed"))
}

/// Runs to the end; what it said on its standard error is the reason of a failure.
fn run(command: duct::Expression, input: Option<&SecretData>) -> Result<Vec<u8>> {
    let command = match input {
        Some(data) => command.stdin_bytes(data.expose()),
        None => command.stdin_null(),
    };
    let done = command
        .stdout_capture()
        .stderr_capture()
        .unchecked()
        .run()
        .what(|| "it cannot be run")?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        let said = said.lines().rfind(|l| !l.trim().is_empty());
        let why = match said {
            Some(said) => format!("{}: {}", done.status, said.trim()),
            None => done.status.to_string(),
        };
        return Err(Error::new(Kind::Unavailable, why));
    }
    let mut bytes = done.stdout;
    bytes.truncate(LIMIT);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn drivers_have_the_options_that_they_need() {
        let parse = |name: &str, pairs: &[(&str, &str)]| Driver::parse(name, &options(pairs));
        assert_eq!(parse("file", &[]).unwrap(), Driver::File);
        assert!(parse("pass", &[("root", "/r"), ("key", "me")]).is_ok());
        let all = COMMANDS.map(|c| (c, "true"));
        assert!(parse("shell", &all).is_ok());
        assert!(parse("shell", &all[..3]).is_err());
        for (name, pairs) in [
            ("vault", &[] as &[(&str, &str)]),
            ("file", &[("path", "/x")]),
            ("pass", &[]),
            ("pass", &[("root", "relative")]),
            ("pass", &[("root", "/r"), ("odd", "x")]),
            ("shell", &[("list", " ")]),
        ] {
            assert!(parse(name, pairs).is_err(), "{name} {pairs:?}");
        }
    }

    #[test]
    fn commands_get_the_id_and_the_content() {
        let dir = tempfile::tempdir().unwrap();
        let at = |text: &str| text.replace("DIR", dir.path().to_str().unwrap());
        let driver = Driver::parse(
            "shell",
            &options(&[
                ("list", "ls DIR"),
                ("lookup", &at("cat DIR/$SECRET_ID")),
                ("store", &at("cat >DIR/$SECRET_ID")),
                ("delete", &at("rm DIR/$SECRET_ID")),
            ]),
        )
        .unwrap();
        // More than a pipe holds.
        let data = SecretData::new(vec![7; 200_000]).unwrap();
        driver.store("one", &data).unwrap();
        assert_eq!(driver.lookup("one").unwrap(), data);
        driver.delete("one").unwrap();
        let e = driver.lookup("one").unwrap_err();
        assert!(e.one_line().contains("No such file"), "{e:?}");
        assert!(driver.delete("one").is_err());
    }
}
