//! What files are worth as a cache key: everything that ends up in the layer but for times.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::fd::AsFd as _;

use sha2::{Digest as _, Sha256};

use super::{Item, Kind, Owner, Selected, Tree, open_item};
use crate::base::{Context as _, Result, parallel};
use crate::spec::digest::{Digest, hex};
use crate::sys::at;

/// Bytes read at a time.
const PIECE: usize = 256 << 10;

/// A digest over names, kinds, modes, owners, attributes and content, not over times.
///
/// # Errors
/// A file that cannot be read.
pub fn digest_of(tree: &Tree, selected: &[Selected], owner: Owner) -> Result<Digest> {
    let mut all = Sha256::new();
    let files: Vec<&Item> = selected
        .iter()
        .flat_map(|s| &s.items)
        .filter(|i| i.kind == Kind::File)
        .collect();
    let contents = parallel::map(files, |item| content(tree, item));
    let mut contents = contents.into_iter();
    for one in selected {
        all.update(format!("word {} {}\n", one.is_file, one.items.len()));
        let mut linked: HashMap<(u64, u64), usize> = HashMap::new();
        for (index, item) in one.items.iter().enumerate() {
            let (uid, gid) = match owner {
                Owner::Keep => (item.meta.uid, item.meta.gid),
                Owner::Fixed(uid, gid) => (uid, gid),
            };
            all.update(format!(
                "{} {:o} {uid}:{gid} ",
                hex(&item.to),
                item.meta.permissions()
            ));
            match &item.kind {
                Kind::Folder => all.update("folder\n"),
                Kind::Pipe => all.update("pipe\n"),
                Kind::Link(text) => all.update(format!("link {}\n", hex(text))),
                Kind::File => {
                    if let Some(content) = contents.next() {
                        all.update(content?);
                    }
                    if item.meta.nlink > 1 {
                        let first = *linked
                            .entry((item.meta.dev, item.meta.ino))
                            .or_insert(index);
                        all.update(format!("linked {first}\n"));
                    }
                }
            }
        }
    }
    Ok(Digest::from_sha256(all.finalize().as_ref()))
}

/// Size, content and attributes of one file.
fn content(tree: &Tree, item: &Item) -> Result<Vec<u8>> {
    let what = || format!("cannot read {:?}", String::from_utf8_lossy(&item.from));
    let fd = open_item(tree, item)?;
    let mut hasher = Sha256::new();
    for name in super::write::kept_attributes(fd.as_fd(), tree.is_image)? {
        if let Some(value) = at::getxattr(fd.as_fd(), &name)? {
            hasher.update(name.to_bytes_with_nul());
            hasher.update((value.len() as u64).to_be_bytes());
            hasher.update(value);
        }
    }
    let mut file = std::fs::File::from(fd);
    let room = usize::try_from(item.meta.size).unwrap_or(PIECE);
    let mut buffer = vec![0; room.clamp(1, PIECE)];
    let mut size = 0_u64;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                hasher.update(&buffer[..n]);
                size += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e).what(what),
        }
    }
    Ok(format!("file {size} {}\n", hex(hasher.finalize().as_ref())).into_bytes())
}

/// Whether a file's first bytes, inflated, are a tar's.
pub fn archive_start(block: &[u8]) -> bool {
    let Some(header) = block.get(..512) else {
        return false;
    };
    let Some(field) = header.get(148..156) else {
        return false;
    };
    let text: String = field
        .iter()
        .map(|b| char::from(*b))
        .filter(|c| !matches!(c, ' ' | '\0'))
        .collect();
    let Ok(stored) = u32::from_str_radix(&text, 8) else {
        return false;
    };
    let sum: u32 = header
        .iter()
        .enumerate()
        .map(|(at, b)| match (148..156).contains(&at) {
            true => u32::from(b' '),
            false => u32::from(*b),
        })
        .sum();
    stored == sum && header[0] != 0
}
