//! Images made on the spot, without any network.

use std::path::{Path, PathBuf};

/// Adds a directory to a tar under construction.
pub fn add_dir(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(mode);
    header.set_size(0);
    header.set_mtime(1_600_000_000);
    tar.append_data(&mut header, path, std::io::empty())
        .unwrap();
}

/// Adds a file to a tar under construction.
pub fn add_file(
    tar: &mut tar::Builder<Vec<u8>>,
    path: &str,
    mode: u32,
    owner: (u64, u64),
    content: &[u8],
) {
    let mut header = tar::Header::new_ustar();
    header.set_mode(mode);
    header.set_uid(owner.0);
    header.set_gid(owner.1);
    header.set_size(content.len() as u64);
    header.set_mtime(1_600_000_000);
    tar.append_data(&mut header, path, content).unwrap();
}

/// Adds a symbolic or hard link to a tar under construction.
pub fn add_link(tar: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, path: &str, target: &str) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o777);
    header.set_size(0);
    header.set_mtime(1_600_000_000);
    tar.append_link(&mut header, path, target).unwrap();
}

/// Adds a FIFO to a tar under construction.
pub fn add_fifo(tar: &mut tar::Builder<Vec<u8>>, path: &str) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Fifo);
    header.set_mode(0o644);
    header.set_size(0);
    tar.append_data(&mut header, path, std::io::empty())
        .unwrap();
}

const APPLETS: &[&str] = &[
    "sh",
    "ash",
    "ls",
    "cat",
    "echo",
    "true",
    "false",
    "id",
    "sleep",
    "ps",
    "mount",
    "umount",
    "grep",
    "sed",
    "awk",
    "env",
    "pwd",
    "touch",
    "rm",
    "mkdir",
    "rmdir",
    "mv",
    "cp",
    "ln",
    "stat",
    "chmod",
    "chown",
    "dd",
    "head",
    "tail",
    "wc",
    "sort",
    "uniq",
    "tr",
    "cut",
    "hostname",
    "uname",
    "kill",
    "test",
    "[",
    "printf",
    "seq",
    "date",
    "df",
    "du",
    "find",
    "xargs",
    "ip",
    "nslookup",
    "ping",
    "nc",
    "wget",
    "httpd",
    "tty",
    "stty",
    "readlink",
    "mknod",
    "mkfifo",
    "nproc",
    "yes",
    "md5sum",
    "sha256sum",
    "tar",
    "su",
    "whoami",
    "which",
    "basename",
    "dirname",
    "expr",
    "free",
    "top",
    "timeout",
    "trap",
    "usleep",
    "vi",
    "less",
    "more",
    "ulimit",
    "unshare",
    "setsid",
    "sysctl",
    "od",
];

/// A root file system of Debian's busybox-static, as a tar.
pub fn busybox_tar() -> Vec<u8> {
    let busybox = std::fs::read("/bin/busybox")
        .or_else(|_| std::fs::read("/usr/bin/busybox"))
        .unwrap_or_else(|e| panic!("Debian's busybox-static is needed: {e}"));
    let mut tar = tar::Builder::new(Vec::new());
    for dir in [
        "bin",
        "etc",
        "home",
        "home/user",
        "root",
        "usr",
        "usr/bin",
        "var",
        "data",
    ] {
        add_dir(&mut tar, dir, 0o755);
    }
    add_dir(&mut tar, "tmp", 0o1777);
    add_file(&mut tar, "bin/busybox", 0o755, (0, 0), &busybox);
    for applet in APPLETS {
        add_link(
            &mut tar,
            tar::EntryType::Symlink,
            &format!("bin/{applet}"),
            "busybox",
        );
    }
    add_file(
        &mut tar,
        "etc/passwd",
        0o644,
        (0, 0),
        b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    );
    add_file(
        &mut tar,
        "etc/group",
        0o644,
        (0, 0),
        b"root:x:0:\nuser:x:1000:\nwheel:x:10:user\nnogroup:x:65534:\n",
    );
    add_file(
        &mut tar,
        "data/file",
        0o640,
        (1000, 1000),
        b"from the image\n",
    );
    tar.into_inner().unwrap()
}

/// Writes [`busybox_tar`] below `dir`.
pub fn busybox_file(dir: &Path) -> PathBuf {
    let path = dir.join("busybox.tar");
    if !path.exists() {
        std::fs::write(&path, busybox_tar()).unwrap();
    }
    path
}
