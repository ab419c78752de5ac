//! What a container's start takes over from systemd: sockets, readiness, watchdog.
//!
//! Spec: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::base::{Context as _, Error, Result};
use crate::handoff::address;
use crate::monitor::NotifyPlan;
use crate::operations::session::Session;
use crate::state::container::Container;
use crate::state::options::SdNotify;

/// The folder inside that holds the socket.
const INSIDE: &str = "/run/notify";

/// What there is for one container.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// So many descriptors from 3 on are sockets of its.
    pub sockets: u32,
    /// Variables for its process.
    pub env: Vec<String>,
    /// The host's folder that is bound at [`INSIDE`].
    pub folder: Option<PathBuf>,
    /// What the monitor tells.
    pub notify: Option<NotifyPlan>,
}

/// Looks at the caller's environment.
///
/// # Errors
/// What the kernel says of the socket.
pub(super) fn of_caller(session: &Session, container: &Container) -> Result<Service> {
    let env = &session.env;
    let options = &container.record.options;
    let me = std::process::id();
    let mut service = Service {
        sockets: env.listen_fds(me),
        ..Service::default()
    };
    // The init in front is process 1.
    let pid = if options.init { 2 } else { 1 };
    if service.sockets > 0 {
        service.env.push(format!("LISTEN_FDS={}", service.sockets));
        service.env.push(format!("LISTEN_PID={pid}"));
        let names = env.text("LISTEN_FDNAMES");
        service
            .env
            .extend(names.map(|n| format!("LISTEN_FDNAMES={n}")));
    }
    let Some(socket) = env.raw("NOTIFY_SOCKET") else {
        return Ok(service);
    };
    if !matches!(socket.as_bytes().first(), Some(b'/' | b'@'))
        || options.sdnotify == SdNotify::Ignore
    {
        return Ok(service);
    }
    let watchdog = env.watchdog(me);
    let inside = options.sdnotify == SdNotify::Container;
    let proxy = match inside {
        false => None,
        true => {
            let folder = container.runtime_dir().join("notify");
            let what = || format!("cannot make {}", folder.display());
            std::fs::create_dir_all(&folder).what(what)?;
            let proxy = address::receive(&folder.join("notify.sock"))?;
            service
                .env
                .push(format!("NOTIFY_SOCKET={INSIDE}/notify.sock"));
            if let Some(usec) = watchdog.map(|w| w.as_micros()) {
                service.env.push(format!("WATCHDOG_USEC={usec}"));
                service.env.push(format!("WATCHDOG_PID={pid}"));
            }
            service.folder = Some(folder);
            Some(proxy)
        }
    };
    service.notify = Some(NotifyPlan {
        mode: options.sdnotify,
        socket,
        proxy,
        // The container sees to it itself.
        watchdog: watchdog.filter(|_| !inside),
    });
    Ok(service)
}

/// Refuses to wait for a health that nobody looks at.
pub(super) fn check(container: &Container, checked: bool) -> Result<()> {
    match container.record.options.sdnotify {
        SdNotify::Healthy if !checked => Err(Error::invalid(format!(
            "container {:?} has --sdnotify=healthy and no health check",
            container.name()
        ))
        .hint("--health-cmd COMMAND gives it one")),
        _ => Ok(()),
    }
}
