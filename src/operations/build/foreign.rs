//! Programs of other processors: whether the kernel knows how to run them (binfmt_misc).

use std::path::Path;

use crate::base::{Error, Result};
use crate::spec::platform::Platform;

/// Where the kernel shows its handlers.
const HANDLERS: &str = "/proc/sys/fs/binfmt_misc";

/// Refuses to run programs of a platform that nothing here can run.
///
/// # Errors
/// `Unsupported`, naming what is missing.
pub fn check(platform: &Platform) -> Result<()> {
    let host = Platform::host();
    if is_native(&host, platform) {
        return Ok(());
    }
    let Some(header) = header(&platform.architecture) else {
        return Err(refused(platform, "coracle does not know that processor"));
    };
    let mut lacks = "no binfmt_misc handler for such programs is registered";
    for entry in std::fs::read_dir(HANDLERS).into_iter().flatten().flatten() {
        let Ok(text) = std::fs::read_to_string(entry.path()) else {
            continue;
        };
        match serves(&text, &header) {
            Some(true) => return Ok(()),
            Some(false) => {
                lacks = "its binfmt_misc handler lacks the flag F, so that it cannot be found \
                         inside of containers";
            }
            None => {}
        }
    }
    if !Path::new(HANDLERS).join("status").exists() {
        lacks = "the kernel's binfmt_misc is not mounted";
    }
    Err(refused(platform, lacks))
}

fn refused(platform: &Platform, why: &str) -> Error {
    Error::unsupported(format!(
        "a RUN for {platform} cannot run on {}: {why}",
        Platform::host()
    ))
    .hint("Debian: apt install qemu-user-static (or qemu-user-binfmt); or build on such a machine")
    .hint("steps without RUN, and FROM --platform=$BUILDPLATFORM, need none")
}

/// Whether this processor runs it by itself: its own, and the 32-bit one beside it.
fn is_native(host: &Platform, wanted: &Platform) -> bool {
    let pair = (host.architecture.as_str(), wanted.architecture.as_str());
    host.architecture == wanted.architecture || matches!(pair, ("amd64", "386") | ("arm64", "arm"))
}

/// The first 20 bytes of an ELF program for an architecture.
fn header(architecture: &str) -> Option<[u8; 20]> {
    // class (1: 32 bits, 2: 64), data (1: little-endian, 2: big), machine
    let (class, data, machine): (u8, u8, u16) = match architecture {
        "amd64" => (2, 1, 62),
        "386" => (1, 1, 3),
        "arm64" => (2, 1, 183),
        "arm" => (1, 1, 40),
        "riscv64" => (2, 1, 243),
        "ppc64le" => (2, 1, 21),
        "s390x" => (2, 2, 22),
        "mips64le" => (2, 1, 8),
        "mips64" => (2, 2, 8),
        "loong64" => (2, 1, 258),
        _ => return None,
    };
    let mut bytes = [0; 20];
    bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, data, 1]);
    let put = |n: u16| match data {
        1 => n.to_le_bytes(),
        _ => n.to_be_bytes(),
    };
    // An executable.
    bytes[16..18].copy_from_slice(&put(2));
    bytes[18..].copy_from_slice(&put(machine));
    Some(bytes)
}

/// Whether a handler takes such a program; `Some(false)` when it does, but its interpreter is looked
/// for inside the container.
fn serves(handler: &str, header: &[u8; 20]) -> Option<bool> {
    let mut lines = handler.lines();
    if lines.next() != Some("enabled") {
        return None;
    }
    let value = |key: &str| {
        let found = handler.lines().find_map(|l| l.strip_prefix(key));
        found.map(str::trim)
    };
    if value("offset ").is_some_and(|o| o != "0") {
        return None;
    }
    let magic = bytes(value("magic ")?)?;
    let mask = match value("mask ") {
        Some(mask) => bytes(mask)?,
        None => vec![0xff; magic.len()],
    };
    if magic.is_empty() || magic.len() > header.len() || mask.len() != magic.len() {
        return None;
    }
    let alike = magic
        .iter()
        .zip(&mask)
        .zip(header)
        .all(|((magic, mask), own)| magic & mask == own & mask);
    alike.then(|| value("flags:").is_some_and(|f| f.contains('F')))
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_are_known_by_magic_and_flags() {
        let qemu = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\n\
                    offset 0\nmagic 7f454c460201010000000000000000000200b700\n\
                    mask ffffffffffffff00fffffffffffffffffeffffff\n";
        let arm64 = header("arm64").unwrap();
        assert_eq!(serves(qemu, &arm64), Some(true));
        assert_eq!(serves(&qemu.replace("POCF", "POC"), &arm64), Some(false));
        assert_eq!(serves(&qemu.replace("enabled", "disabled"), &arm64), None);
        for other in ["amd64", "arm", "s390x", "riscv64", "ppc64le"] {
            assert_eq!(serves(qemu, &header(other).unwrap()), None, "{other}");
        }
        let python = "enabled\ninterpreter /usr/bin/python3\nflags: \noffset 0\nmagic a70d0d0a\n";
        assert_eq!(serves(python, &arm64), None);
        let by_name = "enabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n";
        assert_eq!(serves(by_name, &arm64), None);
    }

    #[test]
    fn own_programs_need_no_handler() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        let amd64 = platform("linux/amd64");
        assert!(is_native(&amd64, &platform("linux/386")));
        assert!(is_native(&amd64, &platform("linux/amd64/v3")));
        assert!(!is_native(&amd64, &platform("linux/arm64")));
        assert!(check(&Platform::host()).is_ok());
        assert!(check(&platform("linux/pdp11")).is_err());
    }
}
