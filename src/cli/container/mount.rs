//! `mount` and `unmount`.

use super::targets::{self, Choice, Named};
use crate::base::{Error, Result};
use crate::cli::output::Out;
use crate::operations::container::mounted;
use crate::operations::session::Session;
use crate::state::container::Containers;

/// Show containers' file systems at a path of the host's
///
/// Works in `coracle unshare`, as a plain user's mounts are seen in the user namespace only. Without
/// a container it lists what is mounted.
#[derive(Debug, clap::Args)]
pub struct MountArgs {
    /// All containers
    #[arg(short, long)]
    all: bool,
    /// json, for a list of what is mounted
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Full ids
    #[arg(long, alias = "notruncate")]
    no_trunc: bool,
    #[command(flatten)]
    named: Named,
}

/// Runs `mount`; answers the exit code.
///
/// # Errors
/// A selection that makes no sense.
pub fn mount(args: MountArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let names = &args.named;
    let none = names.containers.is_empty() && names.cidfile.is_empty() && !names.latest;
    if none && !args.all {
        return list(&args, session, out);
    }
    if args.format.is_some() {
        return Err(Error::invalid(
            "--format is for the list, without a container",
        ));
    }
    let single = args.named.containers.len() == 1;
    let choice = Choice {
        all: args.all,
        filters: Vec::new(),
        ignore: false,
    };
    let mut worst = 0;
    for target in args.named.find(session, choice, &[])? {
        let mounted = target.container.and_then(|c| mounted::mount(session, &c));
        match mounted {
            Ok(path) if single => out.line(path.display().to_string())?,
            Ok(path) => out.line(format!("{} {}", target.shown, path.display()))?,
            Err(e) => {
                out.error(&e);
                worst = 125;
            }
        }
    }
    Ok(worst)
}

fn list(args: &MountArgs, session: &Session, out: &mut Out) -> Result<u8> {
    let (containers, _) = Containers::new(&session.dirs).list()?;
    let mut rows = Vec::new();
    for container in containers {
        let path = mounted::place(&container);
        if mounted::is_mounted(&path)? {
            rows.push((container, path));
        }
    }
    match args.format.as_deref() {
        None => {
            for (container, path) in rows {
                let id = match args.no_trunc {
                    true => container.id().as_str(),
                    false => container.id().short(),
                };
                out.line(format!("{id}  {}", path.display()))?;
            }
        }
        Some("json") => {
            let all: Vec<_> = rows
                .iter()
                .map(|(container, path)| {
                    serde_json::json!({
                        "id": container.id().as_str(),
                        "Names": [container.name()],
                        "mountpoint": path,
                    })
                })
                .collect();
            out.json(&serde_json::Value::Array(all))?;
        }
        Some(other) => {
            return Err(Error::invalid(format!(
                "unknown format {other:?}: only json is there"
            )));
        }
    }
    Ok(0)
}

/// Take those mounts away
#[derive(Debug, clap::Args)]
pub struct UnmountArgs {
    /// All mounted containers
    #[arg(short, long)]
    all: bool,
    /// For podman's scripts: whatever uses it keeps it anyway
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    named: Named,
}

/// Runs `unmount`; answers the exit code.
///
/// # Errors
/// A selection that makes no sense.
pub fn unmount(args: UnmountArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let all = args.all;
    let choice = Choice {
        all,
        filters: Vec::new(),
        ignore: false,
    };
    let mut found = args.named.find(session, choice, &[])?;
    if all {
        found.retain(|t| {
            let mounted = |c| mounted::is_mounted(&mounted::place(c)).unwrap_or(false);
            t.container.as_ref().map_or(true, mounted)
        });
    }
    targets::each(
        out,
        found,
        &mut |container, _| match mounted::unmount(container)? {
            true => Ok(()),
            false => Err(Error::not_found(format!(
                "container {:?} is not mounted",
                container.name()
            ))),
        },
    )
}
