//! Words of an instruction to files of a tree.

use std::os::fd::AsFd as _;

use super::{Item, Kind, Selected, Tree};
use crate::base::{Context as _, Error, Result};
use crate::build::ignore::{Ignore, Marks};
use crate::build::pattern::{Pattern, clean};
use crate::sys::at::{self, Meta};

/// Bounds on what one instruction may copy.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Files, folders and all else.
    pub entries: usize,
    /// How deep folders may nest.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 10_000_000,
            depth: 2048,
        }
    }
}

/// How words are read.
#[derive(Clone, Debug, Default)]
pub(super) struct Manner<'a> {
    pub(super) parents: bool,
    pub(super) exclude: Option<&'a Ignore>,
}

/// Finds what the words mean. `exclude` are the patterns of `--exclude`.
///
/// # Errors
/// `NotFound` for a word that nothing fits, with the ignore file as the reason where it is one.
pub fn select(
    tree: &Tree,
    words: &[String],
    parents: bool,
    exclude: &Ignore,
    limits: Limits,
) -> Result<Vec<Selected>> {
    let manner = Manner {
        parents,
        exclude: (!exclude.is_empty()).then_some(exclude),
    };
    let mut selection = Selection {
        tree,
        manner,
        limits,
        count: 0,
    };
    let mut found = Vec::new();
    let mut globs: Vec<&str> = Vec::new();
    for word in words {
        let before = found.len();
        let is_glob = selection.word(word, &mut found)?;
        if is_glob && found.len() == before {
            globs.push(word);
        }
    }
    if let (true, Some(first)) = (found.is_empty(), globs.first()) {
        return Err(Error::not_found(format!("no file fits {first:?}"))
            .hint("patterns are relative to the context; `*` does not cross folders, `**` does"));
    }
    Ok(found)
}

struct Selection<'a> {
    tree: &'a Tree,
    manner: Manner<'a>,
    limits: Limits,
    count: usize,
}

fn is_glob(word: &str) -> bool {
    word.contains(['*', '?', '['])
}

fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or_default()
}

fn join(a: &[u8], b: &[u8]) -> Vec<u8> {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b.to_vec(),
        (_, true) => a.to_vec(),
        _ => [a, b"/", b].concat(),
    }
}

impl Selection<'_> {
    /// Adds what one word stands for; whether it is a pattern.
    fn word(&mut self, word: &str, found: &mut Vec<Selected>) -> Result<bool> {
        // What stands before `/./` is not kept by --parents.
        let pivot = match self.manner.parents {
            true => word
                .find("/./")
                .map(|at| clean(&format!("/{}", &word[..at]))),
            false => None,
        };
        let pivot = pivot.unwrap_or_default().trim_start_matches('/').to_owned();
        let cleaned = clean(&format!("/{word}"));
        let relative = cleaned.trim_start_matches('/');
        if !is_glob(word) {
            let path = Pattern::new(relative)
                .ok()
                .and_then(|p| p.literal())
                .unwrap_or_else(|| relative.to_owned());
            let selected = self.literal(word, &path, &pivot)?;
            found.extend(selected);
            return Ok(false);
        }
        let pattern = Pattern::new(relative)?;
        let mut matches = Vec::new();
        self.search(&pattern, relative, &mut matches)?;
        matches.sort();
        for path in matches {
            let path = String::from_utf8_lossy(&path).into_owned();
            found.extend(self.literal(word, &path, &pivot)?);
        }
        Ok(true)
    }

    fn ignored(&self, path: &str) -> bool {
        let Some(ignore) = &self.tree.ignore else {
            return false;
        };
        let full = match self.tree.prefix.is_empty() {
            true => path.to_owned(),
            false => format!("{}/{path}", self.tree.prefix),
        };
        !path.is_empty() && ignore.excludes(&full)
    }

    /// One path. A link at its end is followed, inside the root.
    fn literal(&mut self, word: &str, path: &str, pivot: &str) -> Result<Option<Selected>> {
        let root = self.tree.root.as_fd();
        let missing = || {
            Error::not_found(format!("{word:?} is not in the context"))
                .hint("paths are relative to the context; nothing outside it can be copied")
        };
        let hidden = self.ignored(path);
        let may_hold = self
            .tree
            .ignore
            .as_ref()
            .is_some_and(Ignore::may_let_in_below);
        let ignored = || {
            Error::not_found(format!("{word:?} is left out by the ignore file"))
                .hint("let it in with a line '!PATH' in .containerignore or .dockerignore")
        };
        if hidden && !may_hold {
            return Err(ignored());
        }
        let opened = match path.is_empty() {
            true => at::reopen_dir(root),
            false => at::open_path_in_root(root, path.as_bytes(), true),
        };
        let fd = match opened {
            Err(e) if matches!(e.errno, libc::ENOENT | libc::ENOTDIR) => return Err(missing()),
            other => other.what(|| format!("cannot open {word:?}"))?,
        };
        let meta = at::fstat(fd.as_fd())?;
        let real = self.real(path)?;
        let to = match self.manner.parents {
            true => {
                let rest = path.strip_prefix(pivot).unwrap_or(path);
                rest.trim_start_matches('/').as_bytes().to_vec()
            }
            false => Vec::new(),
        };
        let mut items = Vec::new();
        if self.manner.parents {
            self.above(path, pivot, &mut items)?;
        }
        if !meta.is_dir() {
            if hidden {
                return Err(ignored());
            }
            if let Some(exclude) = self.manner.exclude
                && (exclude.excludes(path)
                    || exclude.excludes(&String::from_utf8_lossy(base_name(path.as_bytes()))))
            {
                return Ok(None);
            }
            let to = match self.manner.parents {
                true => to,
                false => base_name(path.as_bytes()).to_vec(),
            };
            let dir_fd = self.parent_of(&real)?;
            if let Some(item) = item_of(dir_fd.as_fd(), &real, to, meta)? {
                items.push(item);
            }
            return Ok(Some(Selected {
                word: word.to_owned(),
                items,
                is_file: !self.manner.parents,
            }));
        }
        items.push(Item {
            from: real.clone(),
            to: to.clone(),
            kind: Kind::Folder,
            meta,
        });
        let before = items.len();
        self.folder(path, &real, &to, &mut items)?;
        if hidden && items.len() == before {
            return Err(ignored());
        }
        Ok(Some(Selected {
            word: word.to_owned(),
            items,
            is_file: false,
        }))
    }

    fn parent_of(&self, real: &[u8]) -> Result<std::os::fd::OwnedFd> {
        let parent = match real.iter().rposition(|b| *b == b'/') {
            Some(slash) => &real[..slash],
            None => b".",
        };
        Ok(at::open_dir_beneath(self.tree.root.as_fd(), parent)?)
    }

    /// The folders of a path, for --parents.
    fn above(&mut self, path: &str, pivot: &str, items: &mut Vec<Item>) -> Result<()> {
        let rest = path
            .strip_prefix(pivot)
            .unwrap_or(path)
            .trim_start_matches('/');
        let start = path.len() - rest.len();
        for (at, _) in rest.match_indices('/') {
            let folder = &path[..start + at];
            let real = self.real(folder)?;
            let fd = at::open_dir_beneath(self.tree.root.as_fd(), &real)?;
            items.push(Item {
                meta: at::fstat(fd.as_fd())?,
                from: real,
                to: rest.as_bytes()[..at].to_vec(),
                kind: Kind::Folder,
            });
        }
        Ok(())
    }

    /// The path with its links resolved, so that it can be opened without following any.
    fn real(&self, path: &str) -> Result<Vec<u8>> {
        let root = self.tree.root.as_fd();
        let mut rest: Vec<Vec<u8>> = path
            .split('/')
            .filter(|p| !p.is_empty())
            .rev()
            .map(|p| p.as_bytes().to_vec())
            .collect();
        let mut real: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(name) = rest.pop() {
            match &name[..] {
                b"." => continue,
                b".." => {
                    real.pop();
                    continue;
                }
                _ => {}
            }
            let dir = match real.is_empty() {
                true => at::reopen_dir(root)?,
                false => at::open_dir_beneath(root, &real.join(&b'/'))?,
            };
            let meta = at::stat(dir.as_fd(), &name).what(|| format!("cannot open {path:?}"))?;
            if !meta.is_symlink() {
                real.push(name);
                continue;
            }
            links += 1;
            if links > 40 {
                return Err(Error::invalid(format!("{path:?} has too many links"))
                    .hint("a link in it leads in a circle"));
            }
            let target = at::readlink(dir.as_fd(), &name)?;
            if target.starts_with(b"/") {
                real.clear();
            }
            rest.extend(
                target
                    .split(|b| *b == b'/')
                    .filter(|p| !p.is_empty())
                    .rev()
                    .map(<[u8]>::to_vec),
            );
        }
        Ok(real.join(&b'/'))
    }

    /// Everything in a folder, by name, folders before their content.
    fn folder(&mut self, shown: &str, real: &[u8], to: &[u8], items: &mut Vec<Item>) -> Result<()> {
        struct Level {
            real: Vec<u8>,
            below: Vec<u8>,
            marks: Marks,
            out: bool,
            exclude: Marks,
        }
        let root = self.tree.root.as_fd();
        let ignore = self.tree.ignore.as_ref();
        let ignore_path = |below: &[u8]| {
            let path = join(shown.as_bytes(), below);
            let path = join(self.tree.prefix.as_bytes(), &path);
            String::from_utf8_lossy(&path).into_owned()
        };
        let (marks, out) = match ignore {
            Some(ignore) => marks_of(ignore, &ignore_path(b"")),
            None => (Marks::default(), false),
        };
        // Folders of which only something below is let in, to be kept when something is.
        let mut stack = vec![Level {
            real: real.to_vec(),
            below: Vec::new(),
            marks,
            out,
            exclude: self.manner.exclude.map(Ignore::top).unwrap_or_default(),
        }];
        while let Some(level) = stack.pop() {
            if level.below.iter().filter(|b| **b == b'/').count() > self.limits.depth {
                return Err(Error::invalid(format!(
                    "folders below {shown:?} nest deeper than {}",
                    self.limits.depth
                ))
                .hint("leave them out with the ignore file"));
            }
            let dir = match level.real.is_empty() {
                true => at::reopen_dir(root)?,
                false => at::open_dir_beneath(root, &level.real)
                    .what(|| format!("cannot open {:?}", String::from_utf8_lossy(&level.real)))?,
            };
            let mut names = at::list(dir.as_fd())
                .what(|| format!("cannot list {:?}", String::from_utf8_lossy(&level.real)))?;
            names.sort_by(|a, b| a.name.cmp(&b.name));
            let mut deeper = Vec::new();
            for entry in names {
                let below = join(&level.below, &entry.name);
                let from = join(&level.real, &entry.name);
                let (hidden, marks) = match ignore {
                    Some(ignore) => ignore.judge(&ignore_path(&below), &level.marks),
                    None => (level.out, Marks::default()),
                };
                let text = String::from_utf8_lossy(&below).into_owned();
                let (excluded, exclude) = match self.manner.exclude {
                    Some(exclude) => exclude.judge(&text, &level.exclude),
                    None => (false, Marks::default()),
                };
                let Some(meta) = at::stat_if_exists(dir.as_fd(), &entry.name)? else {
                    continue;
                };
                let lets_in = ignore.is_some_and(Ignore::may_let_in_below);
                let also = self.manner.exclude.is_some_and(Ignore::may_let_in_below);
                let left_out = hidden || excluded;
                if left_out && !(meta.is_dir() && (!hidden || lets_in) && (!excluded || also)) {
                    continue;
                }
                self.count += 1;
                if self.count > self.limits.entries {
                    return Err(Error::invalid(format!(
                        "one instruction copies more than {} files",
                        self.limits.entries
                    ))
                    .hint("leave some out with the ignore file"));
                }
                if !left_out
                    && let Some(item) = item_of(dir.as_fd(), &from, join(to, &below), meta)?
                {
                    items.push(item);
                }
                if meta.is_dir() {
                    deeper.push(Level {
                        real: from,
                        below,
                        marks,
                        out: hidden,
                        exclude,
                    });
                }
            }
            stack.extend(deeper.into_iter().rev());
        }
        self.implied(real, to, items)
    }

    /// Folders that are left out themselves, but have something that is not: they come along.
    fn implied(&self, real: &[u8], to: &[u8], items: &mut Vec<Item>) -> Result<()> {
        let known: std::collections::BTreeSet<Vec<u8>> = items
            .iter()
            .filter(|i| i.kind == Kind::Folder)
            .map(|i| i.to.clone())
            .collect();
        let mut missing = std::collections::BTreeSet::new();
        for item in items.iter() {
            let mut path = &item.to[..];
            while let Some(slash) = path.iter().rposition(|b| *b == b'/') {
                path = &path[..slash];
                if path.len() <= to.len() || known.contains(path) || !missing.insert(path.to_vec())
                {
                    break;
                }
            }
        }
        for path in missing {
            let below = match to.is_empty() {
                true => &path[..],
                false => &path[to.len() + 1..],
            };
            let from = join(real, below);
            let fd = at::open_dir_beneath(self.tree.root.as_fd(), &from)?;
            items.push(Item {
                meta: at::fstat(fd.as_fd())?,
                from,
                to: path,
                kind: Kind::Folder,
            });
        }
        // Folders stand before their content.
        items.sort_by(|a, b| a.to.split(|c| *c == b'/').cmp(b.to.split(|c| *c == b'/')));
        Ok(())
    }

    /// Every path that fits a pattern.
    fn search(&mut self, pattern: &Pattern, text: &str, found: &mut Vec<Vec<u8>>) -> Result<()> {
        // Without `**` no match is deeper than the pattern.
        let deepest = match text.contains("**") {
            true => self.limits.depth,
            false => text.matches('/').count(),
        };
        let mut stack: Vec<Vec<u8>> = vec![Vec::new()];
        let mut seen = 0;
        while let Some(folder) = stack.pop() {
            let depth = match folder.is_empty() {
                true => 0,
                false => folder.iter().filter(|b| **b == b'/').count() + 1,
            };
            let dir = match folder.is_empty() {
                true => at::reopen_dir(self.tree.root.as_fd())?,
                false => match at::open_dir_beneath(self.tree.root.as_fd(), &folder) {
                    Ok(dir) => dir,
                    Err(e) if matches!(e.errno, libc::EACCES | libc::ENOENT) => continue,
                    Err(e) => return Err(e.into()),
                },
            };
            for entry in at::list(dir.as_fd())? {
                seen += 1;
                if seen > self.limits.entries {
                    return Err(Error::invalid(format!("{text:?} looks at too many files"))
                        .hint("name a folder in front of the pattern"));
                }
                let path = join(&folder, &entry.name);
                let shown = String::from_utf8_lossy(&path).into_owned();
                let hidden = self.ignored(&shown);
                let lets_in = self
                    .tree
                    .ignore
                    .as_ref()
                    .is_some_and(Ignore::may_let_in_below);
                if hidden && !lets_in {
                    continue;
                }
                if pattern.matches(&shown) && !hidden {
                    found.push(path.clone());
                    if !text.contains("**") || entry.kind != libc::S_IFDIR {
                        continue;
                    }
                }
                let is_dir = entry.kind == libc::S_IFDIR
                    || at::stat_if_exists(dir.as_fd(), &entry.name)?.is_some_and(|m| m.is_dir());
                if is_dir && depth < deepest {
                    stack.push(path);
                }
            }
        }
        Ok(())
    }
}

fn marks_of(ignore: &Ignore, path: &str) -> (Marks, bool) {
    let mut marks = ignore.top();
    let mut out = false;
    if path.is_empty() {
        return (marks, false);
    }
    for (at, _) in path.match_indices('/').chain([(path.len(), "")]) {
        (out, marks) = ignore.judge(&path[..at], &marks);
    }
    (marks, out)
}

fn item_of(
    dir: std::os::fd::BorrowedFd<'_>,
    from: &[u8],
    to: Vec<u8>,
    meta: Meta,
) -> Result<Option<Item>> {
    let kind = match meta.kind() {
        libc::S_IFDIR => Kind::Folder,
        libc::S_IFREG => Kind::File,
        libc::S_IFLNK => Kind::Link(at::readlink(dir, base_name(from))?),
        libc::S_IFIFO => Kind::Pipe,
        // A socket means nothing without its process, and devices are nobody's to give away.
        _ => return Ok(None),
    };
    Ok(Some(Item {
        from: from.to_vec(),
        to,
        kind,
        meta,
    }))
}
