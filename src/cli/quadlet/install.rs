//! `quadlet install`.

use crate::base::Result;
use crate::cli::output::Out;
use crate::operations::quadlet::{install, reload};
use crate::operations::session::Session;

/// Install quadlets from files, folders or addresses
///
/// They are checked before anything is written. What comes of a folder is an application, which `quadlet rm` removes as a
/// whole when it is given its name; so are a quadlet with the other files behind it. A file NAME.quadlets holds several, with lines of
/// three hyphens between them and a comment `# FileName=NAME` in each. Other files of a folder go along: what a quadlet
/// refers to by a relative path is then beside it.
#[derive(Debug, clap::Args)]
pub struct InstallArgs {
    /// Replace files that exist
    #[arg(short, long)]
    pub replace: bool,
    /// Make systemd read its units again (on by default)
    #[arg(long)]
    pub reload_systemd: Option<bool>,
    /// Files, folders with files, or addresses (http:, https:)
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<String>,
}

/// Runs `quadlet install`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: InstallArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let scope = super::scope(session);
    for path in install(session, &scope, &args.paths, args.replace)? {
        out.line(path.display().to_string())?;
    }
    if args.reload_systemd.unwrap_or(true) {
        reload(&scope)?;
    }
    Ok(0)
}
