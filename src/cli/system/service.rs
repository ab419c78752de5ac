//! `system service`.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api::{exec, server};
use crate::base::fs::create_private_dir_all;
use crate::base::{Context as _, Error, Kind, Result};
use crate::cli::output::Out;
use crate::operations::session::Session;
use crate::sys::fd;

/// Serve docker's interface on a socket
///
/// Docker's clients and libraries use containers, images, networks and volumes through it. Only the
/// caller and root may connect. Started by systemd (coracle.socket), it takes the socket that is passed.
#[derive(Debug, clap::Args)]
pub struct ServiceArgs {
    /// End when nothing was asked for so many seconds; 0 for never
    #[arg(short, long, value_name = "SECONDS", default_value_t = 5)]
    time: u64,
    /// Allow other origins; web pages are never served
    #[arg(long, value_name = "ORIGINS", hide = true)]
    cors: Option<String>,
    /// unix:///path; absent means $XDG_RUNTIME_DIR/coracle/coracle.sock
    #[arg(value_name = "URI")]
    uri: Option<String>,
}

/// Runs `system service` until it ends.
///
/// # Errors
/// `Unsupported` for other sockets than unix; `InUse` when another one serves it.
pub fn run(args: ServiceArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.cors.as_deref().is_some_and(|c| !c.is_empty()) {
        return Err(Error::unsupported(
            "--cors is not supported: web pages are not served",
        ));
    }
    exec::sweep(session);
    let (listener, path) = match session.env.listen_fds(std::process::id()) {
        0 => {
            let path = place(session, args.uri.as_deref())?;
            (listen(&path)?, Some(path))
        }
        1 => (passed()?, None),
        n => {
            return Err(Error::invalid(format!(
                "systemd passed {n} sockets: one is served"
            )));
        }
    };
    if let Some(path) = &path
        && std::io::IsTerminal::is_terminal(&std::io::stderr())
    {
        let uri = format!("unix://{}", path.display());
        out.note(&format!(
            "Clients find it by\n  export DOCKER_HOST={uri}\nor for good by\n  docker context create coracle --docker host={uri} && docker context use coracle"
        ));
    }
    out.flush()?;
    let idle = (args.time > 0).then(|| Duration::from_secs(args.time));
    let served = server::serve(session, &listener, idle);
    if let Some(path) = &path {
        let _gone = crate::base::fs::remove_file_if_exists(path);
    }
    served.map(|()| 0)
}

/// The path that a URI names.
fn place(session: &Session, uri: Option<&str>) -> Result<PathBuf> {
    let Some(uri) = uri.filter(|u| !u.is_empty()) else {
        return Ok(session.dirs.runtime.join("coracle.sock"));
    };
    let path = match uri.split_once("://") {
        Some(("unix", path)) => path,
        Some((scheme, _)) => {
            return Err(Error::unsupported(format!(
                "cannot serve {uri:?}: sockets of {scheme} are not served"
            ))
            .hint("use unix:///path, and ssh to reach it from elsewhere"));
        }
        None => uri.strip_prefix("unix:").unwrap_or(uri),
    };
    match Path::new(path).is_absolute() {
        true => Ok(PathBuf::from(path)),
        false => Err(Error::invalid(format!(
            "cannot serve {uri:?}: not an absolute path"
        ))),
    }
}

/// A socket of mode 0600. One that nobody serves any more gives way.
fn listen(path: &Path) -> Result<UnixListener> {
    let what = || format!("cannot listen on {}", path.display());
    if let Some(folder) = path.parent() {
        create_private_dir_all(folder)?;
    }
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(Error::new(Kind::Exists, what()).hint("something else has that name"));
        }
        if crate::handoff::address::connect(path).is_ok() {
            return Err(Error::new(Kind::InUse, what())
                .because(Error::new(Kind::InUse, "another service serves it")));
        }
    }
    // Made under another name, so that nobody finds it before it is closed to others.
    let temporary = path.with_extension(format!("new.{}", std::process::id()));
    crate::base::fs::remove_file_if_exists(&temporary)?;
    let listener = crate::handoff::address::listen(&temporary)?;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600)).what(what)?;
    std::fs::rename(&temporary, path).what(what)?;
    Ok(listener)
}

/// The socket that systemd passed.
fn passed() -> Result<UnixListener> {
    let what = || "cannot take the socket that systemd passed";
    let socket: OwnedFd = fd::inherited(3).ok_or_else(|| Error::invalid(what()))?;
    debug_assert_eq!(socket.as_raw_fd(), 3);
    fd::set_cloexec(&socket, true)?;
    let local = rustix::net::getsockname(&socket).what(what)?;
    if local.address_family() != rustix::net::AddressFamily::UNIX {
        return Err(Error::unsupported(
            "systemd passed a socket that is not a unix socket",
        ));
    }
    Ok(UnixListener::from(socket))
}
