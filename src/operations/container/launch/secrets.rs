//! Secrets of a container: files in the runtime folder (memory, as a rule), and variables.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};

use super::Kit;
use crate::base::{Context as _, Error, Result};
use crate::runtime::generate::SecretFact;
use crate::secrets::Secrets;
use crate::state::options::SecretTarget;

/// Files with their places inside, and `KEY=VALUE` texts.
///
/// # Errors
/// `NotFound` for a secret that was removed; `Invalid` for a variable that is not text.
pub(super) fn prepare(kit: &Kit<'_>) -> Result<(Vec<SecretFact>, Vec<String>)> {
    let wanted = &kit.container.record.options.secrets;
    let (mut files, mut variables) = (Vec::new(), Vec::new());
    if wanted.is_empty() {
        return Ok((files, variables));
    }
    let secrets = Secrets::new(&kit.session.dirs);
    let dir = kit.container.runtime_dir().join("secrets");
    drop(fs::remove_dir_all(&dir));
    crate::base::fs::create_private_dir_all(&dir)?;
    // The container's users pass through the bind, not through this folder.
    for (index, option) in wanted.iter().enumerate() {
        let data = secrets.data(&secrets.find(&option.name)?)?;
        match &option.target {
            SecretTarget::File {
                path,
                uid,
                gid,
                mode,
            } => {
                let source = dir.join(index.to_string());
                let what = || format!("cannot write secret {:?}", option.name);
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&source)
                    .what(what)?;
                file.write_all(data.expose()).what(what)?;
                let (uid, gid) = super::outside(kit.nested.as_ref(), (*uid, *gid));
                chown(&source, Some(uid), Some(gid)).what(what)?;
                file.set_permissions(fs::Permissions::from_mode(*mode & 0o7777))
                    .what(what)?;
                let path = if path.starts_with('/') {
                    path.clone()
                } else {
                    format!("/run/secrets/{path}")
                };
                files.push(SecretFact { path, source });
            }
            SecretTarget::Env { name } => {
                let text = std::str::from_utf8(data.expose()).map_err(|_| {
                    Error::invalid(format!(
                        "secret {:?} is not text and cannot be a variable",
                        option.name
                    ))
                    .hint("mount it as a file: --secret NAME")
                })?;
                variables.push(format!("{name}={text}"));
            }
        }
    }
    Ok((files, variables))
}
