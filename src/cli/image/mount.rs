//! `image mount` and `image unmount`.

use serde_json::{Value, json};

use crate::base::{Error, Result};
use crate::cli::output::{Out, listing};
use crate::operations::image;
use crate::operations::image::mount::{self, Mounted};
use crate::operations::session::Session;

/// Show images as folders, read-only
///
/// Prints where. Without a name the mounted images are listed. A plain user works inside
/// `coracle unshare`, and the mounts live as long as that.
#[derive(Debug, clap::Args)]
pub struct MountArgs {
    /// Mount all images
    #[arg(short, long)]
    pub all: bool,
    /// json for a machine
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Names or ids
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// Runs `image mount`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: MountArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let json = match args.format.as_deref() {
        None => false,
        Some(format) if listing::is_json(format) => true,
        Some(other) => {
            return Err(Error::invalid(format!("unknown format {other:?}")).hint("use json"));
        }
    };
    let names = wanted(session, args.all, args.images)?;
    let list = names.is_empty();
    let mounted = if list {
        mount::mounted(session)?
    } else {
        names
            .iter()
            .map(|name| mount::mount(session, &image::lookup(session, name)?))
            .collect::<Result<Vec<_>>>()?
    };
    if json {
        let index = image::images(session).names()?;
        let row = |one: &Mounted| -> Value {
            let names: Vec<String> = index
                .tags_of(&one.record.id)
                .map(ToString::to_string)
                .collect();
            json!({
                "id": one.record.id.hex(),
                "Repositories": names,
                "mountpoint": one.path.display().to_string(),
            })
        };
        let rows: Vec<Value> = mounted.iter().map(row).collect();
        out.json(&Value::Array(rows))?;
        return Ok(0);
    }
    for one in &mounted {
        let path = one.path.display();
        if list || mounted.len() > 1 {
            out.line(format!("{} {path}", one.record.id.short()))?;
        } else {
            out.line(path.to_string())?;
        }
    }
    Ok(0)
}

/// Take mounts of images away
#[derive(Debug, clap::Args)]
pub struct UnmountArgs {
    /// All of them
    #[arg(short, long)]
    pub all: bool,
    /// Also while somebody works in them
    #[arg(short, long)]
    pub force: bool,
    /// Names or ids
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// Runs `image unmount`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn unmount(args: UnmountArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let records = if args.all {
        let mounted = mount::mounted(session)?;
        mounted.into_iter().map(|m| m.record).collect()
    } else {
        if args.images.is_empty() {
            return Err(Error::invalid("image unmount takes an image, or --all"));
        }
        let mut records = Vec::new();
        for name in &args.images {
            records.push(image::lookup(session, name)?.record);
        }
        records
    };
    for record in records {
        mount::unmount(session, &record, args.force)?;
        out.line(record.id.hex())?;
    }
    Ok(0)
}

fn wanted(session: &Session, all: bool, names: Vec<String>) -> Result<Vec<String>> {
    if !all {
        return Ok(names);
    }
    let all = image::images(session).list()?;
    Ok(all.iter().map(|r| r.id.hex().to_owned()).collect())
}
