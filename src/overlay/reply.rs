//! Answers: our values in the terms of the `fuser` crate.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileType, INodeNo, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyLseek, ReplyStatfs, ReplyWrite, ReplyXattr, TimeOrNow,
};

use crate::sys::bare::{Code, Stat, Time};

/// For ever: nobody but this server changes the tree.
pub(super) const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// An answer that may be an error.
pub(super) trait Refuse {
    /// Answers with an error.
    fn refuse(self, errno: Errno);
}

macro_rules! refuse {
    ($($reply:ty),+ $(,)?) => {
        $(impl Refuse for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        })+
    };
}

refuse!(
    ReplyAttr,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyLseek,
    ReplyStatfs,
    ReplyWrite,
    ReplyXattr,
);

/// Answers with the value, or with the error.
pub(super) fn send<R: Refuse, T>(
    reply: R,
    result: std::result::Result<T, Code>,
    answer: impl FnOnce(R, T),
) {
    match result {
        Ok(value) => answer(reply, value),
        Err(code) => reply.refuse(errno(code)),
    }
}

pub(super) fn errno(code: Code) -> Errno {
    Errno::from_i32(code.0)
}

pub(super) fn empty(reply: ReplyEmpty, done: std::result::Result<(), Code>) {
    send(reply, done, |reply, ()| reply.ok());
}

pub(super) fn time((seconds, nanoseconds): (i64, u32)) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let rest = Duration::from_nanos(nanoseconds.into());
    let whole = if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    whole
        .and_then(|whole| whole.checked_add(rest))
        .unwrap_or(UNIX_EPOCH)
}

pub(super) fn asked(wanted: Option<TimeOrNow>) -> Time {
    match wanted {
        None => Time::Keep,
        Some(TimeOrNow::Now) => Time::Now,
        Some(TimeOrNow::SpecificTime(time)) => match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Time::At(
                i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                after.subsec_nanos(),
            ),
            Err(before) => {
                // The crate takes the nanoseconds off as well, where the kernel adds them.
                let before = before.duration();
                let seconds = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                match before.subsec_nanos() {
                    0 => Time::At(-seconds, 0),
                    nanoseconds => Time::At(-seconds, nanoseconds),
                }
            }
        },
    }
}

pub(super) fn kind(mode: u32) -> FileType {
    match mode & libc::S_IFMT {
        libc::S_IFDIR => FileType::Directory,
        libc::S_IFLNK => FileType::Symlink,
        libc::S_IFIFO => FileType::NamedPipe,
        libc::S_IFSOCK => FileType::Socket,
        libc::S_IFCHR => FileType::CharDevice,
        libc::S_IFBLK => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

pub(super) fn shown(id: u64, stat: &Stat) -> FileAttr {
    FileAttr {
        ino: INodeNo(id),
        size: stat.size,
        blocks: stat.blocks,
        atime: time(stat.atime),
        mtime: time(stat.mtime),
        ctime: time(stat.ctime),
        crtime: UNIX_EPOCH,
        kind: kind(stat.mode),
        perm: u16::try_from(stat.mode & 0o7777).unwrap_or(0),
        nlink: stat.nlink,
        uid: stat.uid,
        gid: stat.gid,
        rdev: device_number(stat.device),
        blksize: stat.block_size,
        flags: 0,
    }
}

/// A device as the protocol has it (`new_encode_dev`).
fn device_number((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// As the kernel counts it.
pub(super) fn device_of(number: u32) -> u64 {
    let major = (number & 0xfff00) >> 8;
    let minor = (number & 0xff) | ((number >> 12) & 0xfff00);
    rustix::fs::makedev(major, minor)
}

/// Says that a name is not there, and that the kernel may keep that.
pub(super) const NOTHING: Stat = Stat {
    dev: 0,
    ino: 0,
    mode: libc::S_IFREG,
    nlink: 0,
    uid: 0,
    gid: 0,
    size: 0,
    blocks: 0,
    block_size: 0,
    device: (0, 0),
    atime: (0, 0),
    mtime: (0, 0),
    ctime: (0, 0),
};

pub(super) fn sized(reply: ReplyXattr, size: u32, value: std::result::Result<Vec<u8>, Code>) {
    send(reply, value, |reply, value| {
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        if size == 0 {
            reply.size(length);
        } else if length > size {
            reply.error(Errno::ERANGE);
        } else {
            reply.data(&value);
        }
    });
}
