//! `volume create`.

use super::super::args;
use super::super::output::Out;
use crate::base::Result;
use crate::operations::session::Session;
use crate::operations::volume::{self, VolumeSpec};

/// Create a volume
///
/// A volume is a folder of yours that outlives containers. Its first container fills it with what the
/// image has at that place. Without a name it gets a random one.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Driver of the volume; only `local`
    #[arg(short, long, value_name = "NAME", default_value = "local")]
    driver: String,
    /// Leave a volume of that name alone and succeed
    #[arg(long)]
    ignore: bool,
    /// Label of the volume
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Option of the driver: type, device, o, uid, gid, nocopy
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// User id that owns the volume
    #[arg(long, value_name = "ID")]
    uid: Option<u32>,
    /// Group id that owns the volume
    #[arg(long, value_name = "ID")]
    gid: Option<u32>,
    /// Name, as docker's old option
    #[arg(
        long = "name",
        value_name = "NAME",
        hide = true,
        conflicts_with = "name"
    )]
    name_option: Option<String>,
    /// Name of the volume
    name: Option<String>,
}

/// Runs `volume create`: prints the name.
///
/// # Errors
/// What the operation says.
pub fn run(args: CreateArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let mut options = args::pairs("opt", &args.opt)?;
    for (key, value) in [("uid", args.uid), ("gid", args.gid)] {
        if let Some(id) = value {
            options.insert(key.to_owned(), id.to_string());
        }
    }
    let spec = VolumeSpec {
        name: args.name.or(args.name_option),
        driver: Some(args.driver),
        labels: args::labels(&args.label)?,
        options,
        anonymous: false,
    };
    let record = volume::create(session, &spec, args.ignore)?;
    out.line(record.name.as_str())?;
    Ok(0)
}
