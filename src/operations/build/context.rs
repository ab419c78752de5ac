//! Where a build's files come from: a folder, a tar, an address, a git repository, an image.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use super::copy::{Tree, archive_start};
use super::fetch::{self, Repository};
use super::job::save;
use crate::base::fs as files;
use crate::base::{Context as _, Error, Hint as _, Kind as ErrorKind, Result};
use crate::build::FILE_LIMIT;
use crate::build::ignore::Ignore;
use crate::operations::image::load;
use crate::operations::session::Session;
use crate::spec::digest::{Algorithm, Digest};
use crate::spec::platform::Platform;
use crate::storage::Store;
use crate::storage::codec::Decoder;
use crate::storage::copy::{CopyIn, Owner, copy_in};
use crate::storage::draft::Draft;
use crate::sys::{at, resolve};

/// What a context is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Files.
    Folder,
    /// An image, by name.
    Image(String),
}

/// Files to build from.
#[derive(Debug)]
pub struct Context {
    /// What it is.
    pub kind: Kind,
    root: Option<OwnedFd>,
    ignore: Option<Ignore>,
    /// Its own folder in staging, for what was fetched.
    _draft: Option<Draft>,
    /// A Dockerfile that came in its place.
    pub dockerfile: Option<String>,
    /// The address that it was fetched from.
    pub address: Option<String>,
    /// The layout that the image is in: it is brought here for each platform.
    layout: Option<Layout>,
}

/// `oci-layout://PATH[:TAG|@DIGEST]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Layout {
    path: PathBuf,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Layout {
    fn parse(text: &str) -> Result<Self> {
        let (path, digest) = match text.split_once('@') {
            Some((path, digest)) => (path, Some(digest.parse()?)),
            None => (text, None),
        };
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
            _ => (path, None),
        };
        if path.is_empty() {
            return Err(Error::invalid("oci-layout:// names no folder")
                .hint("write oci-layout://PATH, PATH:TAG or PATH@DIGEST"));
        }
        Ok(Self {
            path: PathBuf::from(path),
            tag,
            digest,
        })
    }
}

/// The names of a Dockerfile, the first that is there counts.
pub const NAMES: [&str; 2] = ["Containerfile", "Dockerfile"];

/// Ignore files, the first that is there counts.
const IGNORES: [&str; 2] = [".containerignore", ".dockerignore"];

impl Context {
    /// An image.
    pub fn image(name: &str) -> Self {
        Self {
            kind: Kind::Image(name.to_owned()),
            root: None,
            ignore: None,
            _draft: None,
            dockerfile: None,
            address: None,
            layout: None,
        }
    }

    /// An image in an OCI layout: the text behind `oci-layout://`.
    ///
    /// # Errors
    /// `Invalid` for what is no such text.
    pub fn layout(text: &str) -> Result<Self> {
        Ok(Self {
            layout: Some(Layout::parse(text)?),
            ..Self::image("")
        })
    }

    /// Brings the image of a layout here, for a platform; nothing for other contexts.
    ///
    /// # Errors
    /// What the layout says.
    pub(super) fn settle(&mut self, session: &Session, platform: &Platform) -> Result<()> {
        if let Some(layout) = &self.layout {
            let record = load::from_layout(
                session,
                &layout.path,
                layout.tag.as_deref(),
                layout.digest.as_ref(),
                platform,
            )?;
            self.kind = Kind::Image(record.id.to_string());
        }
        Ok(())
    }

    /// Whether it is an image.
    pub fn is_image(&self) -> bool {
        matches!(self.kind, Kind::Image(_))
    }

    /// A folder of the host, as the person named it.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for what is no folder.
    pub fn folder(path: &Path) -> Result<Self> {
        let root = at::open_host_dir(path)
            .what(|| format!("cannot open the context {}", path.display()))
            .hint(
                || "the context is a folder, -, or an address; the Dockerfile is named with -f",
            )?;
        Ok(Self {
            kind: Kind::Folder,
            root: Some(root),
            ignore: None,
            _draft: None,
            dockerfile: None,
            address: None,
            layout: None,
        })
    }

    /// What a person typed: `-` for standard input, an address, a repository, or a folder. Inside
    /// the user namespace.
    ///
    /// # Errors
    /// As the source.
    pub fn open(
        session: &Session,
        store: &Store,
        text: &str,
        agent: Option<&Path>,
        keep_git: bool,
    ) -> Result<Self> {
        if text == "-" {
            return Self::stream(store, &mut std::io::stdin().lock());
        }
        if let Some(repository) = Repository::parse(text).filter(|_| !Path::new(text).is_dir()) {
            let draft = store.draft()?;
            let folder = draft.path().join("context");
            files::create_private_dir_all(&folder)?;
            let progress = &session.progress;
            fetch::clone(session, &repository, agent, keep_git, &folder, &|text| {
                progress.message(text);
            })?;
            let mut context = Self::of_draft(draft, &repository.folder)?;
            context.address = Some(text.to_owned());
            return Ok(context);
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            let draft = store.draft()?;
            let path = draft.path().join("download");
            fetch::download(session, text, &path)?;
            let mut file = File::open(&path).what(|| format!("cannot read {text}"))?;
            let mut context = Self::stream(store, &mut file)?;
            context.address = Some(text.to_owned());
            return Ok(context);
        }
        Self::folder(Path::new(text))
    }

    /// A context with nothing in it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn empty(store: &Store) -> Result<Self> {
        let draft = store.draft()?;
        files::create_private_dir_all(&draft.path().join("context"))?;
        Self::of_draft(draft, "")
    }

    fn of_draft(draft: Draft, folder: &str) -> Result<Self> {
        let root = at::open_host_dir(&draft.path().join("context"))?;
        let root = match folder {
            "" => root,
            folder => at::open_dir_in_root(root.as_fd(), folder.as_bytes())
                .what(|| format!("the context has no folder {folder:?}"))?,
        };
        Ok(Self {
            kind: Kind::Folder,
            root: Some(root),
            ignore: None,
            _draft: Some(draft),
            dockerfile: None,
            address: None,
            layout: None,
        })
    }

    /// A tar, compressed or not, as files; anything else is a Dockerfile without a context.
    fn stream(store: &Store, input: &mut dyn Read) -> Result<Self> {
        let draft = store.draft()?;
        let path = draft.path().join("input");
        let what = || "cannot read the context".to_owned();
        let mut file = File::create_new(&path).what(what)?;
        save(input, &mut file, u64::MAX - 1)?;
        drop(file);
        let open = || File::open(&path).what(what);
        let mut start = Vec::new();
        let tar = Decoder::local(BufReader::new(open()?), Algorithm::Sha256)
            .ok()
            .is_some_and(|decoder| {
                decoder.take(512).read_to_end(&mut start).is_ok() && archive_start(&start)
            });
        let folder = draft.path().join("context");
        files::create_private_dir_all(&folder)?;
        let mut text = None;
        match tar {
            true => {
                let root = at::open_host_dir(&folder)?;
                let how = CopyIn {
                    owner: Owner::Fixed { uid: 0, gid: 0 },
                    maps: None,
                    overwrite: true,
                };
                copy_in(&mut BufReader::new(open()?), root.as_fd(), "/", &how)
                    .what(|| "cannot unpack the context")?;
            }
            false => {
                let bytes = files::read(&path, FILE_LIMIT)
                    .hint(|| "standard input is taken for a tar or for a Dockerfile")?;
                text = Some(utf8(bytes, "the Dockerfile on standard input")?);
            }
        }
        fs::remove_file(&path).what(what)?;
        let mut context = Self::of_draft(draft, "")?;
        context.dockerfile = text;
        Ok(context)
    }

    /// The files, as a root of its own.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn tree(&self) -> Result<Tree> {
        let root = self
            .root
            .as_ref()
            .ok_or_else(|| Error::internal("an image is asked for its folder"))?;
        Ok(Tree {
            root: root.try_clone().what(|| "cannot open the context")?,
            prefix: String::new(),
            ignore: self.ignore.clone(),
            is_image: false,
            held: None,
        })
    }

    /// Reads a file inside.
    ///
    /// # Errors
    /// `Invalid` for what is no regular file, or too large.
    pub fn read(&self, path: &str) -> Result<Option<String>> {
        let Some(root) = &self.root else {
            return Ok(None);
        };
        resolve::read(root, path.trim_start_matches('/'), FILE_LIMIT)
            .what_kind(ErrorKind::Invalid, || {
                format!("cannot read {path} of the context")
            })?
            .map(|bytes| utf8(bytes, path))
            .transpose()
    }

    /// Takes over the patterns of an ignore file: the one named, else the one beside the
    /// Dockerfile, else the context's own.
    ///
    /// # Errors
    /// `Invalid` for a malformed pattern.
    pub fn ignore(&mut self, named: Option<&Path>, dockerfile: Option<&Path>) -> Result<()> {
        let mut found = None;
        if let Some(path) = named {
            found = Some((path.display().to_string(), text_of(path)?));
        }
        if found.is_none()
            && let Some(dockerfile) = dockerfile
        {
            for end in IGNORES {
                let mut name = dockerfile.as_os_str().to_owned();
                name.push(end);
                let path = PathBuf::from(name);
                if path.is_file() {
                    found = Some((path.display().to_string(), text_of(&path)?));
                    break;
                }
            }
        }
        for name in IGNORES {
            if found.is_none() {
                found = self.read(name)?.map(|text| (name.to_owned(), text));
            }
        }
        if let Some((name, text)) = found {
            let ignore = Ignore::parse(&name, &text)?;
            self.ignore = (!ignore.is_empty()).then_some(ignore);
        }
        Ok(())
    }

    /// The patterns.
    pub fn patterns(&self) -> Ignore {
        self.ignore.clone().unwrap_or_default()
    }
}

/// A file of the person's as text.
///
/// # Errors
/// `NotFound`; `Invalid` for bytes that are no text.
pub fn text_of(path: &Path) -> Result<String> {
    utf8(files::read(path, FILE_LIMIT)?, &path.display().to_string())
}

fn utf8(bytes: Vec<u8>, name: &str) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| {
        Error::invalid(format!("{name} is no UTF-8 text")).hint("is this the right file?")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_named_by_path_tag_and_digest() {
        let of = |text: &str| {
            let layout = Layout::parse(text).unwrap();
            let digest = layout.digest.map(|d| d.to_string());
            (layout.path.display().to_string(), layout.tag, digest)
        };
        let hex = "a".repeat(64);
        assert_eq!(of("/a/b"), ("/a/b".to_owned(), None, None));
        assert_eq!(
            of("./b:v1"),
            ("./b".to_owned(), Some("v1".to_owned()), None)
        );
        assert_eq!(of("/a:x/b"), ("/a:x/b".to_owned(), None, None));
        let (path, _, digest) = of(&format!("/a@sha256:{hex}"));
        assert_eq!((path.as_str(), digest.unwrap().len()), ("/a", 71));
        assert!(Layout::parse("").is_err() && Layout::parse("/a@x").is_err());
    }
}
