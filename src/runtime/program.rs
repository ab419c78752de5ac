//! Finding the program to execute inside the root that this process is in.
//!
//! CVE-2019-5736: a container that gets our own binary executed (by `/proc/self/exe` as program,
//! link or script interpreter) could open and overwrite it. So magic links are refused on the way,
//! scripts are followed here and their interpreters checked the same way, and where another
//! process could swap the file after the check (a volume, a running container) the checked
//! descriptor itself is executed, close-on-exec: the kernel then refuses it if it became a script.

use std::ffi::CString;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, OFlags};

use crate::base::{Error, Kind, Result};
use crate::sys::{self, exec, mount, resolve};

/// Where programs are looked for when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// As many interpreters as the kernel follows.
const INTERPRETERS: u32 = 5;

/// The kernel looks at this much of a script's first line.
const LINE: u64 = 255;

/// Exit code: found, but not runnable.
const NOT_EXECUTABLE: u8 = 126;
/// Exit code: not found.
const NOT_FOUND: u8 = 127;

/// A program that was found and checked.
#[derive(Debug)]
pub(crate) struct Found {
    name: String,
    path: CString,
    file: OwnedFd,
    by_descriptor: bool,
    args: Vec<String>,
}

/// Finds `args[0]`: a path, or a name along PATH of `env`. `swappable`: other processes may change
/// files of the root while we look.
///
/// # Errors
/// With exit code 127 or 126.
pub(crate) fn find(
    root: impl AsFd,
    args: &[String],
    env: &[String],
    swappable: bool,
) -> Result<Found> {
    let name = args
        .first()
        .filter(|name| !name.is_empty())
        .ok_or_else(|| not_found("", "the command is empty"))?;
    let root = root.as_fd();
    let (path, file) = if name.contains('/') {
        let file = open(root, name).map_err(|e| refused(name, &e))?;
        (name.clone(), file)
    } else {
        search(root, name, env)?
    };
    let mut found = Found {
        name: name.clone(),
        path: c(&path)?,
        by_descriptor: swappable || is_foreign(root, &file)?,
        file,
        args: args.to_vec(),
    };
    let (first, mut script) = (found.path.clone(), path);
    for _ in 0..INTERPRETERS {
        let Some((interpreter, argument)) = shebang(&found.file) else {
            if !found.by_descriptor {
                // Nobody can have changed what was checked: the kernel does it all once more, and
                // the process is named after the script.
                found.path = first;
                found.args = args.to_vec();
            }
            return Ok(found);
        };
        // What the kernel does: `#!i a` for `p x y` is `i a p x y`.
        let rest = found.args.split_off(1.min(found.args.len()));
        found.args = [Some(interpreter.clone()), argument, Some(script)]
            .into_iter()
            .flatten()
            .chain(rest)
            .collect();
        found.file = open(root, &interpreter).map_err(|e| {
            refused(name, &e).hint(format!(
                "{name} is a script for {interpreter:?}: is that in the image?"
            ))
        })?;
        found.path = c(&interpreter)?;
        found.by_descriptor |= swappable || is_foreign(root, &found.file)?;
        script = interpreter;
    }
    Err(error(
        name,
        "its interpreters are scripts without end",
        Kind::Invalid,
        NOT_EXECUTABLE,
    ))
}

impl Found {
    /// The same with its descriptor numbered at least `least`.
    pub(crate) fn moved(self, least: i32) -> Result<Self> {
        Ok(Self {
            file: sys::fd::dup_at_least(&self.file, least)?,
            ..self
        })
    }

    /// Executes it. Only returns on failure.
    pub(crate) fn execute(&self, env: &[String]) -> Error {
        let program = match exec::Program::new(
            self.args.iter().map(String::as_str),
            env.iter().map(String::as_str),
        ) {
            Ok(program) => program,
            Err(e) => return e.into(),
        };
        let failed = if self.by_descriptor {
            exec::descriptor(&self.file, &program)
        } else {
            exec::path(&self.path, &program)
        };
        match failed {
            Err(e) => execution_failed(&self.name, e),
            Ok(never) => match never {},
        }
    }
}

fn execution_failed(name: &str, e: sys::Error) -> Error {
    let (why, kind, code) = match e.errno {
        libc::ENOENT => (
            "its loader or interpreter is missing in the image",
            Kind::NotFound,
            NOT_FOUND,
        ),
        libc::ENOEXEC => (
            "not a program for this machine",
            Kind::Invalid,
            NOT_EXECUTABLE,
        ),
        libc::EACCES | libc::EPERM => ("permission denied", Kind::Denied, NOT_EXECUTABLE),
        libc::E2BIG => (
            "arguments and environment are too long",
            Kind::Invalid,
            NOT_EXECUTABLE,
        ),
        _ => ("the kernel refused it", Kind::Denied, NOT_EXECUTABLE),
    };
    let e2 = error(name, why, kind, code).because(e.clone());
    if e.errno == libc::ENOEXEC {
        e2.hint("is the image for another architecture, or a script without a `#!` line?")
    } else {
        e2
    }
}

fn search(
    root: std::os::fd::BorrowedFd<'_>,
    name: &str,
    env: &[String],
) -> Result<(String, OwnedFd)> {
    let path = env
        .iter()
        .rev()
        .find_map(|entry| entry.strip_prefix("PATH="))
        .unwrap_or(DEFAULT_PATH);
    let mut denied = None;
    for dir in path.split(':') {
        // An empty entry is the working directory, as shells have it.
        let candidate = match dir {
            "" => format!("./{name}"),
            _ => format!("{}/{name}", dir.trim_end_matches('/')),
        };
        match open(root, &candidate) {
            Ok(file) => return Ok((candidate, file)),
            Err(e) if matches!(e.errno, libc::EACCES | libc::EISDIR) => denied = Some(e),
            Err(_) => {}
        }
    }
    Err(match denied {
        Some(e) => refused(name, &e),
        None => not_found(name, "executable file not found in $PATH"),
    })
}

/// Opens a candidate and checks that it is a file this process may execute.
fn open(root: std::os::fd::BorrowedFd<'_>, path: &str) -> sys::Result<OwnedFd> {
    // Relative names start at the working directory, which is inside the root.
    let open = |flags: OFlags| {
        if path.starts_with('/') {
            resolve::open(root, path, flags)
        } else {
            resolve::open_from_here(path, flags)
        }
    };
    let file = match open(OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        // Executable, not readable.
        Err(e) if e.errno == libc::EACCES => open(OFlags::PATH)?,
        other => other?,
    };
    let failed = |errno| sys::Error::new("execve", path, errno);
    match resolve::kind(&file)? {
        FileType::RegularFile => {}
        FileType::Directory => return Err(failed(libc::EISDIR)),
        _ => return Err(failed(libc::EACCES)),
    }
    resolve::may_execute(&file)?;
    Ok(file)
}

/// Whether a file is on another mount than the root: a volume that others may share.
fn is_foreign(root: std::os::fd::BorrowedFd<'_>, file: &OwnedFd) -> Result<bool> {
    Ok(mount::id_of(root)? != mount::id_of(file)?)
}

/// The interpreter of a script and its argument.
fn shebang(file: &OwnedFd) -> Option<(String, Option<String>)> {
    let mut head = Vec::new();
    let copy = file.try_clone().ok()?;
    std::fs::File::from(copy)
        .take(LINE)
        .read_to_end(&mut head)
        .ok()?;
    parse_shebang(&head)
}

fn parse_shebang(head: &[u8]) -> Option<(String, Option<String>)> {
    let line = head.strip_prefix(b"#!")?;
    let line = line.split(|b| *b == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.trim_matches([' ', '\t']);
    let (interpreter, argument) = match line.split_once([' ', '\t']) {
        Some((interpreter, argument)) => (interpreter, Some(argument.trim_matches([' ', '\t']))),
        None => (line, None),
    };
    (!interpreter.is_empty()).then(|| {
        (
            interpreter.to_owned(),
            argument.filter(|a| !a.is_empty()).map(str::to_owned),
        )
    })
}

fn c(path: &str) -> Result<CString> {
    CString::new(path).map_err(|_| Error::invalid(format!("the command {path:?} has a NUL byte")))
}

fn refused(name: &str, e: &sys::Error) -> Error {
    let (why, kind, code) = match e.errno {
        libc::ENOENT | libc::ENOTDIR => ("no such file", Kind::NotFound, NOT_FOUND),
        libc::EISDIR => ("it is a directory", Kind::Denied, NOT_EXECUTABLE),
        libc::EACCES => ("permission denied", Kind::Denied, NOT_EXECUTABLE),
        libc::ELOOP => (
            "its path has a forbidden link",
            Kind::Denied,
            NOT_EXECUTABLE,
        ),
        _ => ("it cannot be opened", Kind::Denied, NOT_EXECUTABLE),
    };
    error(name, why, kind, code).because(e.clone())
}

fn not_found(name: &str, why: &str) -> Error {
    error(name, why, Kind::NotFound, NOT_FOUND)
}

fn error(name: &str, why: &str, kind: Kind, code: u8) -> Error {
    Error::new(kind, format!("cannot run {name:?}: {why}")).exit_code(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    fn root_of(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::PATH, rustix::fs::Mode::empty()).unwrap()
    }

    fn program(dir: &Path, name: &str, text: &str, mode: u32) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn programs_are_found_along_the_path_and_failures_have_their_codes() {
        let dir = tempfile::tempdir().unwrap();
        program(dir.path(), "bin/sh", "\x7fELF", 0o755);
        program(dir.path(), "bin/text", "x", 0o644);
        program(dir.path(), "opt/script", "#!/bin/sh -e x\nfoo", 0o755);
        program(dir.path(), "opt/evil", "#!/proc/self/exe\n", 0o755);
        program(dir.path(), "opt/lost", "#! /bin/none\n", 0o755);
        program(dir.path(), "opt/ouroboros", "#!/opt/ouroboros\n", 0o755);
        fs::create_dir_all(dir.path().join("proc/self")).unwrap();
        symlink("/bin/sh", dir.path().join("bin/link")).unwrap();
        let root = root_of(dir.path());
        let run = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
            find(&root, &args, &["PATH=/opt:/bin".to_owned()], false)
                .map(|f| f.args.join(" "))
                .map_err(|e| e.asked_exit_code().unwrap())
        };
        let cases: &[(&[&str], std::result::Result<&str, u8>)] = &[
            (&["sh", "-c", "x"], Ok("sh -c x")),
            (&["/bin/link"], Ok("/bin/link")),
            (&["script", "a"], Ok("script a")),
            (&["none"], Err(127)),
            (&["/none"], Err(127)),
            (&[""], Err(127)),
            (&[], Err(127)),
            (&["/bin"], Err(126)),
            (&["text"], Err(126)),
            (&["evil"], Err(127)),
            (&["lost"], Err(127)),
            (&["ouroboros"], Err(126)),
        ];
        for (args, expected) in cases {
            assert_eq!(run(args), expected.map(str::to_owned), "{args:?}");
        }
    }

    #[test]
    fn scripts_that_could_be_swapped_become_their_checked_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        program(dir.path(), "bin/sh", "\x7fELF", 0o755);
        program(dir.path(), "opt/script", "#!/bin/sh -e x\nfoo", 0o755);
        let args = ["/opt/script".to_owned(), "a".to_owned()];
        let found = find(root_of(dir.path()), &args, &[], true).unwrap();
        assert_eq!(found.args, ["/bin/sh", "-e x", "/opt/script", "a"]);
        assert!(found.by_descriptor);
    }

    #[test]
    fn our_own_program_is_not_reachable_by_magic_links() {
        let root = root_of(Path::new("/"));
        for path in ["/proc/self/exe", "/proc/self/fd/0", "/proc/thread-self/exe"] {
            let e = find(&root, &[path.to_owned()], &[], false).unwrap_err();
            assert_eq!(e.asked_exit_code(), Some(126), "{path}");
        }
        let dir = tempfile::tempdir().unwrap();
        program(dir.path(), "s", "#!/proc/self/exe\n", 0o755);
        let script = dir.path().join("s").to_string_lossy().into_owned();
        assert!(find(&root, &[script], &[], true).is_err());
    }

    #[test]
    fn first_lines_are_read_as_the_kernel_does() {
        for (head, expected) in [
            ("#!/bin/sh\n", Some(("/bin/sh", None))),
            (
                "#! /usr/bin/env  python3 -u \nx",
                Some(("/usr/bin/env", Some("python3 -u"))),
            ),
            ("#!\n", None),
            ("# !/bin/sh", None),
            ("", None),
        ] {
            let expected = expected.map(|(i, a)| (i.to_owned(), a.map(|a: &str| a.to_owned())));
            assert_eq!(parse_shebang(head.as_bytes()), expected, "{head:?}");
        }
    }
}
