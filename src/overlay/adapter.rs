//! The `fuser` crate's view of the file system: requests in, exactly one answer each out.
//!
//! A request that panics is answered with EIO, and the server lives on: `fuser` answers so when an
//! answer is dropped, and the panic ends here (docs/decisions/0007).

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use fuser::{
    CopyFileRangeFlags, Errno, FileHandle, Filesystem, Generation, INodeNo, KernelConfig,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite,
    ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::attributes::Change;
use super::make::{Caller, What};
use super::node::{INNER, Node, ROOT};
use super::rename::Target;
use super::reply::{FOREVER, NOTHING, asked, device_of, empty, errno, send, shown, sized};
use super::session::negotiate;
use super::{DOOR, Overlay, lock, names};
use crate::sys::bare::{Code, NAME_MAX, Stat};

/// Answers for an overlay.
pub(super) struct Server(pub(super) Overlay);

/// Runs what answers a request; a panic ends here.
fn answer(with: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(with)).is_err() {
        log::error!("a request to the root file system failed by a defect of coracle");
    }
}

impl Server {
    fn node(&self, ino: INodeNo) -> std::result::Result<Arc<Node>, Code> {
        self.0.node(ino.0)
    }

    fn two(&self, a: INodeNo, b: INodeNo) -> std::result::Result<(Arc<Node>, Arc<Node>), Code> {
        Ok((self.node(a)?, self.node(b)?))
    }

    /// Tells the kernel of something new.
    fn made(&self, reply: ReplyEntry, made: std::result::Result<(Arc<Node>, Stat), Code>) {
        match made {
            Ok((node, stat)) => reply.entry(&FOREVER, &shown(node.id, &stat), Generation(0)),
            Err(code) => reply.error(errno(code)),
        }
    }
}

thread_local! {
    /// What is read goes through it: one a thread, as large as a request.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Filesystem for Server {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        negotiate(config);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer(|| {
            let name = name.as_bytes();
            if name.len() > NAME_MAX {
                return reply.error(Errno::ENAMETOOLONG);
            }
            if parent.0 == ROOT && name == DOOR && self.0.closed.swap(false, Ordering::Relaxed) {
                return send(reply, self.0.attributes(&self.0.root), |reply, stat| {
                    reply.entry(&FOREVER, &shown(INNER, &stat), Generation(0));
                });
            }
            let found = self.node(parent).and_then(|parent| {
                let Some((node, stat)) = self.0.find(&parent, name)? else {
                    return Ok(None);
                };
                let stat = self
                    .0
                    .present(&node, stat)
                    .inspect_err(|_| self.0.table.forget(node.id, 1))?;
                Ok(Some((node, stat)))
            });
            match found {
                Ok(Some(found)) => self.made(reply, Ok(found)),
                Ok(None) => reply.entry(&FOREVER, &shown(0, &NOTHING), Generation(0)),
                Err(code) => reply.error(errno(code)),
            }
        });
    }

    fn forget(&self, _request: &Request, ino: INodeNo, times: u64) {
        answer(|| self.0.table.forget(ino.0, times));
    }

    fn getattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        answer(|| {
            send(
                reply,
                self.node(ino).and_then(|node| self.0.attributes(&node)),
                |reply, stat| reply.attr(&FOREVER, &shown(ino.0, &stat)),
            );
        });
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _created: Option<SystemTime>,
        _changed: Option<SystemTime>,
        _backup: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        answer(|| {
            let change = Change {
                mode: mode.map(|mode| mode & 0o7777),
                uid,
                gid,
                size,
                atime: asked(atime),
                mtime: asked(mtime),
                caller: request.uid(),
            };
            let changed = self
                .node(ino)
                .and_then(|node| self.0.change(&node, &change));
            send(reply, changed, |reply, stat| {
                reply.attr(&FOREVER, &shown(ino.0, &stat));
            });
        });
    }

    fn readlink(&self, _request: &Request, ino: INodeNo, reply: ReplyData) {
        answer(|| {
            let text = self.node(ino).and_then(|node| {
                let place = lock(&node.place);
                self.0.at(&node, &place, crate::sys::bare::readlink)
            });
            send(reply, text, |reply, text| reply.data(&text));
        });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        device: u32,
        reply: ReplyEntry,
    ) {
        answer(|| {
            let made = self.node(parent).and_then(|parent| {
                let what = What::Node(mode, device_of(device));
                self.0
                    .make(caller(request, umask), &parent, name.as_bytes(), what)
            });
            self.made(reply, made);
        });
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        answer(|| {
            let made = self.node(parent).and_then(|parent| {
                let what = What::Folder(mode);
                self.0
                    .make(caller(request, umask), &parent, name.as_bytes(), what)
            });
            self.made(reply, made);
        });
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        answer(|| {
            let made = self.node(parent).and_then(|parent| {
                let what = What::Link(target.as_os_str().as_bytes());
                self.0
                    .make(caller(request, 0), &parent, name.as_bytes(), what)
            });
            self.made(reply, made);
        });
    }

    fn link(
        &self,
        _request: &Request,
        ino: INodeNo,
        parent: INodeNo,
        name: &OsStr,
        reply: ReplyEntry,
    ) {
        answer(|| {
            let made = self
                .two(ino, parent)
                .and_then(|(node, parent)| self.0.link(&node, &parent, name.as_bytes()));
            self.made(reply, made);
        });
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(|| {
            let done = self
                .node(parent)
                .and_then(|parent| self.0.unlink(&parent, name.as_bytes()));
            empty(reply, done);
        });
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(|| {
            let done = self
                .node(parent)
                .and_then(|parent| self.0.rmdir(&parent, name.as_bytes()));
            empty(reply, done);
        });
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        answer(|| {
            let target = match flags {
                flags if flags.is_empty() => Target::Replaced,
                RenameFlags::RENAME_NOREPLACE => Target::Absent,
                RenameFlags::RENAME_EXCHANGE => Target::Exchanged,
                _ => return reply.error(Errno::EINVAL),
            };
            let done = self.two(parent, new_parent).and_then(|(from, to)| {
                let (old, new) = (name.as_bytes(), new_name.as_bytes());
                self.0.rename(&from, old, &to, new, target)
            });
            empty(reply, done);
        });
    }

    fn open(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // From the first such answer on the kernel opens by itself.
        reply.error(Errno::ENOSYS);
    }

    fn opendir(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn create(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        // MKNOD follows: one request in all, while CREATE would be followed by RELEASE.
        reply.error(Errno::ENOSYS);
    }

    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn access(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _mask: fuser::AccessFlags,
        reply: ReplyEmpty,
    ) {
        // The kernel checks permissions itself.
        reply.error(Errno::ENOSYS);
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        answer(|| {
            let size = usize::try_from(size).unwrap_or(0);
            BUFFER.with_borrow_mut(|buffer| {
                if buffer.len() < size {
                    buffer.resize(size, 0);
                }
                let read = self
                    .node(ino)
                    .and_then(|node| self.0.read(&node, offset, &mut buffer[..size]));
                send(reply, read, |reply, n| reply.data(&buffer[..n]));
            });
        });
    }

    fn write(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        answer(|| {
            let harmless = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
            let written = self
                .node(ino)
                .and_then(|node| self.0.write(&node, offset, data, harmless));
            send(reply, written, |reply, n| {
                reply.written(u32::try_from(n).unwrap_or(u32::MAX));
            });
        });
    }

    fn fallocate(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        answer(|| {
            let done = self
                .node(ino)
                .and_then(|node| self.0.allocate(&node, mode.unsigned_abs(), offset, length));
            empty(reply, done);
        });
    }

    fn lseek(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        answer(|| {
            let found = match (u64::try_from(offset), whence) {
                (Ok(offset), libc::SEEK_DATA | libc::SEEK_HOLE) => self
                    .node(ino)
                    .and_then(|node| self.0.seek(&node, offset, whence == libc::SEEK_HOLE)),
                // The kernel does all others itself.
                _ => Err(Code(libc::EINVAL)),
            };
            send(reply, found, |reply, place| {
                reply.offset(i64::try_from(place).unwrap_or(i64::MAX));
            });
        });
    }

    fn copy_file_range(
        &self,
        _request: &Request,
        ino_in: INodeNo,
        _handle_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        _handle_out: FileHandle,
        offset_out: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        answer(|| {
            let copied = self.two(ino_in, ino_out).and_then(|(from, to)| {
                self.0
                    .copy_range((&from, offset_in), (&to, offset_out), length)
            });
            send(reply, copied, |reply, n| {
                reply.written(u32::try_from(n).unwrap_or(u32::MAX));
            });
        });
    }

    fn fsync(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        answer(|| {
            let done = self
                .node(ino)
                .and_then(|node| self.0.flush(&node, datasync));
            empty(reply, done);
        });
    }

    fn fsyncdir(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.fsync(request, ino, handle, datasync, reply);
    }

    fn readdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        answer(|| {
            let done = self
                .node(ino)
                .and_then(|node| names::list(&self.0, &node, offset, &mut reply));
            send(reply, done, |reply, ()| reply.ok());
        });
    }

    fn readdirplus(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        answer(|| {
            let done = self
                .node(ino)
                .and_then(|node| names::list_plus(&self.0, &node, offset, &mut reply));
            send(reply, done, |reply, ()| reply.ok());
        });
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        answer(|| {
            send(reply, self.0.space(), |reply, space| {
                reply.statfs(
                    space.blocks.0,
                    space.blocks.1,
                    space.blocks.2,
                    space.files.0,
                    space.files.1,
                    space.block,
                    255,
                    space.fragment,
                );
            });
        });
    }

    fn setxattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        answer(|| {
            let done = self.node(ino).and_then(|node| {
                let flags = flags.unsigned_abs();
                self.0.set_attribute(&node, name.as_bytes(), value, flags)
            });
            empty(reply, done);
        });
    }

    fn getxattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        answer(|| {
            let value = self
                .node(ino)
                .and_then(|node| self.0.get_attribute(&node, name.as_bytes()));
            sized(reply, size, value);
        });
    }

    fn listxattr(&self, _request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        answer(|| {
            let names = self
                .node(ino)
                .and_then(|node| self.0.list_attributes(&node));
            sized(reply, size, names);
        });
    }

    fn removexattr(&self, _request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(|| {
            let done = self
                .node(ino)
                .and_then(|node| self.0.remove_attribute(&node, name.as_bytes()));
            empty(reply, done);
        });
    }
}

fn caller(request: &Request, umask: u32) -> Caller {
    Caller {
        uid: request.uid(),
        gid: request.gid(),
        umask,
    }
}
