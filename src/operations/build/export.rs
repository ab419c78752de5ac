//! `--output`: what becomes of a build beside the image in the store.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use super::copy::{self, Owner, Tree};
use crate::base::{Context as _, Error, Result};
use crate::build::ignore::Ignore;
use crate::build::words::csv;
use crate::image::ImageRecord;
use crate::operations::image::archive::Form;
use crate::operations::image::{RegistryOptions, push, save};
use crate::operations::session::Session;
use crate::spec::digest::Digest;
use crate::spec::reference::Reference;
use crate::storage::rootfs::View;
use crate::sys::at;

/// One `--output`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// What.
    pub kind: OutputKind,
    /// `dest=`; `-` is standard output.
    pub destination: Option<PathBuf>,
    /// Everything else.
    pub options: BTreeMap<String, String>,
}

/// The kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// The files in a folder.
    Local,
    /// The files as a tar.
    Tar,
    /// An OCI archive.
    Oci,
    /// A Docker archive.
    Docker,
    /// The image in the store; pushed with `push=true`.
    Image,
    /// The image at its registry.
    Registry,
    /// Nothing.
    CacheOnly,
}

impl Output {
    /// Reads `type=KIND,dest=PATH,…`, a folder, or `-`.
    ///
    /// # Errors
    /// `Invalid` for an unknown kind or a missing destination.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: String| {
            Error::invalid(format!("invalid --output {text:?}: {why}")).hint(
                "e.g. type=local,dest=DIR, type=tar,dest=FILE, type=oci,dest=FILE, type=registry",
            )
        };
        if !text.contains('=') {
            return Ok(Self {
                kind: match text {
                    "-" => OutputKind::Tar,
                    _ => OutputKind::Local,
                },
                destination: Some(PathBuf::from(text)),
                options: BTreeMap::new(),
            });
        }
        let fields = csv(text).ok_or_else(|| bad("a quote has no end".into()))?;
        let mut options = BTreeMap::new();
        for field in fields {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| bad(format!("{field:?} is no KEY=VALUE")))?;
            options.insert(key.trim().to_ascii_lowercase(), value.to_owned());
        }
        let kind = match options.remove("type").as_deref() {
            Some("local") => OutputKind::Local,
            Some("tar") => OutputKind::Tar,
            Some("oci") => OutputKind::Oci,
            Some("docker") => OutputKind::Docker,
            Some("image") => OutputKind::Image,
            Some("registry") => OutputKind::Registry,
            Some("cacheonly") => OutputKind::CacheOnly,
            Some(other) => return Err(bad(format!("unknown type {other:?}"))),
            None => return Err(bad("type is missing".into())),
        };
        let destination = options
            .remove("dest")
            .or_else(|| options.remove("destination"));
        let known: &[&str] = match kind {
            OutputKind::Image | OutputKind::Registry => &[
                "name",
                "push",
                "push-by-digest",
                "oci-mediatypes",
                "compression",
                "force-compression",
                "compression-level",
                "rewrite-timestamp",
            ],
            OutputKind::Oci | OutputKind::Docker => &[
                "name",
                "tar",
                "oci-mediatypes",
                "compression",
                "rewrite-timestamp",
            ],
            _ => &["platform-split", "rewrite-timestamp"],
        };
        if let Some(key) = options.keys().find(|k| !known.contains(&k.as_str())) {
            return Err(bad(format!("unknown key {key:?}")));
        }
        for key in [
            "push-by-digest",
            "compression",
            "force-compression",
            "compression-level",
        ] {
            if options.contains_key(key) {
                return Err(
                    Error::unsupported(format!("--output {key}= is not supported"))
                        .hint("push the image afterwards: coracle push --compression-format …"),
                );
            }
        }
        let needs = matches!(kind, OutputKind::Local | OutputKind::Tar | OutputKind::Oci);
        if needs && destination.is_none() {
            return Err(bad("dest is missing".into()));
        }
        Ok(Self {
            kind,
            destination: destination.map(PathBuf::from),
            options,
        })
    }

    /// Whether the image is pushed.
    pub fn pushes(&self) -> bool {
        self.kind == OutputKind::Registry || self.options.get("push").is_some_and(|v| v == "true")
    }

    /// `name=`: more names of the image.
    ///
    /// # Errors
    /// `Invalid` for what is no name.
    pub fn names(&self) -> Result<Vec<Reference>> {
        let Some(list) = self.options.get("name") else {
            return Ok(Vec::new());
        };
        list.split(',')
            .filter(|n| !n.is_empty())
            .map(crate::image::store::local_name)
            .collect()
    }
}

/// Writes an image's files or archive where the output says. `stdout` is for `dest=-`.
///
/// # Errors
/// What the kernel says.
pub fn write(
    session: &Session,
    record: &ImageRecord,
    names: &[Reference],
    output: &Output,
    stdout: &mut dyn Write,
) -> Result<()> {
    let destination = output.destination.clone().unwrap_or_default();
    let is_stdout = destination.as_os_str() == "-";
    match output.kind {
        OutputKind::Local if is_stdout => tar(session, record, stdout),
        OutputKind::Local => local(session, record, &destination),
        OutputKind::Tar if is_stdout => tar(session, record, stdout),
        OutputKind::Tar => {
            let what = || format!("cannot write {}", destination.display());
            let mut file = std::io::BufWriter::new(File::create(&destination).what(what)?);
            tar(session, record, &mut file)?;
            file.flush().what(what)
        }
        OutputKind::Oci | OutputKind::Docker if output.destination.is_some() => {
            let folder = output.options.get("tar").is_some_and(|t| t == "false");
            let form = match (output.kind, folder) {
                (OutputKind::Oci, false) => Form::OciArchive,
                (OutputKind::Oci, true) => Form::OciDir,
                (_, false) => Form::DockerArchive,
                (_, true) => Form::DockerDir,
            };
            let saved = save::Saved {
                record: record.clone(),
                names: names.to_vec(),
            };
            let target = match is_stdout {
                true => save::Target::Stdout,
                false => save::Target::Path(destination),
            };
            let options = save::Options {
                form,
                uncompressed: false,
                compress: false,
            };
            save::save(session, &[saved], &target, options)
        }
        _ => Ok(()),
    }
}

fn root(
    session: &Session,
    record: &ImageRecord,
) -> Result<(crate::storage::Store, crate::storage::Rootfs)> {
    let store = crate::operations::image::enter_store(session)?;
    let chain = match record.layers.is_empty() {
        true => vec![store.empty_layer()?],
        false => record.chain(),
    };
    let rootfs = store.mount_image(&chain, &View::Same, None)?;
    Ok((store, rootfs))
}

fn tar(session: &Session, record: &ImageRecord, sink: &mut dyn Write) -> Result<()> {
    let (store, rootfs) = root(session, record)?;
    let owners = store.link_owners(&record.chain(), None)?;
    store
        .pack_tree(rootfs.tree.as_fd(), &View::Same, owners.as_ref(), sink)
        .map(drop)
}

/// All files become the caller's.
fn local(session: &Session, record: &ImageRecord, folder: &std::path::Path) -> Result<()> {
    let (_, rootfs) = root(session, record)?;
    let what = || format!("cannot write to {}", folder.display());
    std::fs::create_dir_all(folder).what(what)?;
    let into = at::open_host_dir(folder).what(what)?;
    let tree = Tree {
        root: rootfs.tree,
        prefix: String::new(),
        ignore: None,
        is_image: false,
        held: rootfs.lock,
    };
    let selected = copy::select(
        &tree,
        &["/".to_owned()],
        false,
        &Ignore::default(),
        copy::Limits::default(),
    )?;
    let target = copy::Target {
        path: "/".to_owned(),
        workdir: String::new(),
        owner: Owner::Fixed(0, 0),
        parents_owner: (0, 0),
        mode: None,
        now: 0,
        parents: false,
    };
    copy::write(into.as_fd(), &tree, &selected, &target)
}

/// Pushes the image under each of its names; the digests.
///
/// # Errors
/// What the registry says; `Invalid` without a name.
pub fn push_all(
    session: &Session,
    names: &[Reference],
    registry: &RegistryOptions,
) -> Result<Vec<(String, Digest)>> {
    if names.is_empty() {
        return Err(Error::invalid("an image without a name cannot be pushed")
            .hint("name it: --tag REGISTRY/NAME:TAG"));
    }
    let mut done = Vec::new();
    for name in names {
        let options = push::Options {
            format: None,
            compression: None,
            force_compression: false,
            compress: false,
            platform: None,
            registry: registry.clone(),
        };
        let text = name.to_string();
        let digest = push::push(session, &text, Some(&text), &options)?;
        done.push((text, digest));
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_in_all_their_forms() {
        let of = |text: &str| Output::parse(text).map(|o| (o.kind, o.destination));
        assert_eq!(of("dir").unwrap(), (OutputKind::Local, Some("dir".into())));
        assert_eq!(of("-").unwrap(), (OutputKind::Tar, Some("-".into())));
        assert_eq!(
            of("type=oci,dest=x").unwrap(),
            (OutputKind::Oci, Some("x".into()))
        );
        assert_eq!(of("type=cacheonly").unwrap().0, OutputKind::CacheOnly);
        assert!(
            Output::parse("type=image,name=a,push=true")
                .unwrap()
                .pushes()
        );
        assert!(Output::parse("type=registry").unwrap().pushes());
        for bad in [
            "type=local",
            "type=x",
            "dest=x",
            "type=tar,dest=x,foo=1",
            "type=registry,compression=zstd",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
