//! The built-in image `hello`: this program itself, which shows from inside what isolates it.
//!
//! It needs no network and is the same for the same binary, byte for byte.

use std::fs::File;
use std::io::{Cursor, Read};

use crate::base::{Context as _, Result};
use crate::image::{Found, store};
use crate::operations::session::Session;
use crate::spec::image::{History, ImageConfig};
use crate::spec::platform::Platform;
use crate::spec::reference::Reference;

/// The image's name.
pub const NAME: &str = "localhost/hello:latest";

/// Says which binary the image was made from.
const LABEL: &str = "org.coracle.binary";

/// When the image says it was made: constant, so that it is reproducible.
const CREATED: &str = "2026-11-23T00:00:00Z";

/// Whether a name means the built-in image: nothing else is asked for it.
pub fn is_hello(text: &str) -> bool {
    matches!(
        text,
        "hello" | "hello:latest" | "localhost/hello" | "localhost/hello:latest"
    )
}

/// Whether a found image is the built-in one, made from another build of this program.
pub fn is_stale(found: &Found) -> bool {
    let Some(label) = found.record.config.config.labels.get(LABEL) else {
        return false;
    };
    found.name.as_ref().is_some_and(|n| n.to_string() == NAME)
        && binary()
            .and_then(|program| label_of(&program))
            .is_ok_and(|own| own != *label)
}

/// Makes the image. Enters the user namespace.
///
/// # Errors
/// What the kernel says.
pub fn make(session: &Session) -> Result<Found> {
    // Before the namespaces: whoever may run the program may read it here for sure.
    let program = binary()?;
    let label = label_of(&program)?;
    let size = program
        .metadata()
        .what(|| "cannot read coracle's own program")?
        .len();
    let store = super::enter_store(session)?;
    let _growing = super::remove::growing_deaf(session)?;
    let tar = archive(program, size)?;
    let layer = super::make::layer(&store, None, tar)?;
    let platform = Platform::host();
    let mut config = ImageConfig {
        created: Some(CREATED.to_owned()),
        author: Some("coracle".to_owned()),
        architecture: platform.architecture,
        variant: platform.variant,
        os: platform.os,
        ..ImageConfig::default()
    };
    config.config.entrypoint = Some(vec!["/coracle".to_owned(), "hello".to_owned()]);
    config.config.env = vec!["PATH=/".to_owned()];
    config.config.working_dir = "/".to_owned();
    config.config.labels.insert(LABEL.to_owned(), label);
    config.history.push(History {
        created: Some(CREATED.to_owned()),
        created_by: Some("coracle: built in".to_owned()),
        ..History::default()
    });
    let name: Reference = store::local_name("hello")?;
    let record = super::make::image(session, config, &[layer], None, std::slice::from_ref(&name))?;
    Ok(Found {
        record,
        name: Some(name),
    })
}

fn binary() -> Result<File> {
    File::open("/proc/self/exe").what(|| "cannot read coracle's own program")
}

fn label_of(program: &File) -> Result<String> {
    let size = program
        .metadata()
        .what(|| "cannot read coracle's own program")?
        .len();
    Ok(format!("{} {size}", env!("CARGO_PKG_VERSION")))
}

/// Folders to mount on, and the program.
fn archive(program: File, size: u64) -> Result<impl Read + Send> {
    let mut head = Vec::new();
    for name in ["dev/", "etc/", "proc/", "run/", "sys/", "tmp/"] {
        let mode = if name == "tmp/" { 0o1777 } else { 0o755 };
        head.extend_from_slice(&header(name, tar::EntryType::Directory, mode, 0)?);
    }
    head.extend_from_slice(&header("coracle", tar::EntryType::Regular, 0o755, size)?);
    let padding = (512 - size % 512) % 512;
    let tail = vec![0_u8; usize::try_from(padding).unwrap_or(0) + 1024];
    Ok(Cursor::new(head)
        .chain(program.take(size))
        .chain(Cursor::new(tail)))
}

fn header(name: &str, kind: tar::EntryType, mode: u32, size: u64) -> Result<[u8; 512]> {
    let mut header = tar::Header::new_ustar();
    header
        .set_path(name)
        .what(|| "cannot write an archive header")?;
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    Ok(*header.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_a_whole_tar_and_the_same_each_time() {
        let read = || {
            let file = File::open("/proc/self/exe").unwrap();
            let size = file.metadata().unwrap().len();
            let mut bytes = Vec::new();
            archive(file, size)
                .unwrap()
                .read_to_end(&mut bytes)
                .unwrap();
            bytes
        };
        let bytes = read();
        assert_eq!(bytes.len() % 512, 0);
        assert_eq!(bytes, read());
        let mut archive = tar::Archive::new(&bytes[..]);
        let names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|e| e.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names.last().unwrap(), "coracle");
    }

    #[test]
    fn only_the_plain_name_means_the_built_in_image() {
        assert!(is_hello("hello") && is_hello("localhost/hello:latest"));
        assert!(!is_hello("docker.io/library/hello") && !is_hello("hello:1"));
    }
}
