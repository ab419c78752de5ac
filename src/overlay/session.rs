//! The session with the kernel: what is agreed on, and the threads that answer.

use std::os::fd::OwnedFd;

use fuser::{Config, InitFlags, KernelConfig, Session, SessionACL};

use super::Overlay;
use super::adapter::Server;
use crate::base::{Context as _, Result};

/// The most that one request reads or writes.
const MOST: u32 = 1 << 20;

/// How many threads answer: a request that waits for the disk, or even for a registry, shall not keep
/// the next one waiting.
fn threads(fetches: bool) -> usize {
    let most = if fetches { 16 } else { 4 };
    std::thread::available_parallelism().map_or(2, |n| n.get().clamp(most / 2, most))
}

/// Serves until the file system is gone.
pub(super) fn run(device: OwnedFd, overlay: Overlay, ready: impl FnOnce()) -> Result<()> {
    let mut config = Config::default();
    config.acl = SessionACL::All;
    config.n_threads = Some(threads(overlay.content.is_some()));
    let session = Session::from_fd(Server(overlay), device, SessionACL::All, config)
        .what(|| "the kernel does not speak our FUSE protocol")?;
    ready();
    session.run().what(|| "the FUSE server ended")
}

/// Asks the kernel for what this server can do.
pub(super) fn negotiate(config: &mut KernelConfig) {
    let wanted = [
        InitFlags::FUSE_PARALLEL_DIROPS,
        InitFlags::FUSE_DO_READDIRPLUS,
        InitFlags::FUSE_READDIRPLUS_AUTO,
        InitFlags::FUSE_CACHE_SYMLINKS,
        // Opening takes no request; a file is copied to the upper when it is written to.
        InitFlags::FUSE_NO_OPEN_SUPPORT,
        InitFlags::FUSE_NO_OPENDIR_SUPPORT,
        // Else every write would ask for security.capability.
        InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        InitFlags::FUSE_DONT_MASK,
        // Without it there are no access control lists in a user namespace at all.
        InitFlags::FUSE_POSIX_ACL,
        InitFlags::FUSE_ASYNC_DIO,
    ];
    for flag in wanted {
        // What an older kernel lacks costs speed only.
        let _ = config.add_capabilities(flag);
    }
    let _ = config.set_max_write(MOST);
    if let Err(most) = config.set_max_readahead(MOST) {
        let _ = config.set_max_readahead(most);
    }
    let _ = config.set_max_background(64);
}
