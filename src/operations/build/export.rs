//! `--output`: what becomes of a build beside the image in the store.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use super::copy::{self, Owner, Tree};
use super::copying;
use super::several::Outcome;
use crate::base::{Context as _, Error, Result};
use crate::build::words::fields;
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

impl OutputKind {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Tar => "tar",
            Self::Oci => "oci",
            Self::Docker => "docker",
            Self::Image => "image",
            Self::Registry => "registry",
            Self::CacheOnly => "cacheonly",
        }
    }
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
        let mut options: BTreeMap<_, _> = fields(text).map_err(bad)?.into_iter().collect();
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

/// Sees that every output can hold so many images.
///
/// # Errors
/// `Unsupported` for several in a form that holds one.
pub fn check_outputs(outputs: &[Output], images: usize) -> Result<()> {
    let one = |o: &&Output| match o.kind {
        OutputKind::Tar => true,
        OutputKind::Docker => o.destination.is_some(),
        OutputKind::Local => o
            .destination
            .as_deref()
            .is_some_and(|d| d == Path::new("-")),
        _ => false,
    };
    match outputs.iter().find(one) {
        Some(output) if images > 1 => Err(Error::unsupported(format!(
            "--output type={}: it holds the image of one platform",
            output.kind.name()
        ))
        .hint("use type=oci, type=local (a folder for each platform), or one --platform")),
        _ => Ok(()),
    }
}

/// Writes images' files or archives where the output says. `stdout` is for `dest=-`.
///
/// # Errors
/// What the kernel says.
pub fn write(
    session: &Session,
    outcome: &Outcome,
    output: &Output,
    stdout: &mut dyn Write,
) -> Result<()> {
    let destination = output.destination.clone().unwrap_or_default();
    let is_stdout = destination.as_os_str() == "-";
    let Some(first) = outcome.built.first() else {
        return Ok(());
    };
    let record = &first.record;
    match output.kind {
        OutputKind::Local if is_stdout => tar(session, record, stdout),
        OutputKind::Local => {
            let split = output.options.get("platform-split").map(String::as_str);
            if outcome.built.len() == 1 || split == Some("false") {
                return outcome
                    .built
                    .iter()
                    .try_for_each(|b| local(session, &b.record, &destination));
            }
            for built in &outcome.built {
                let folder = built.record.platform().to_string().replace('/', "_");
                local(session, &built.record, &destination.join(folder))?;
            }
            Ok(())
        }
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
                record: match &outcome.list {
                    Some(list) => list.clone(),
                    None => record.clone(),
                },
                names: outcome.names.clone(),
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

/// An image, mounted to be read.
///
/// # Errors
/// What storage says.
pub(super) fn root(
    session: &Session,
    record: &ImageRecord,
) -> Result<(crate::storage::Store, crate::storage::Rootfs)> {
    let store = crate::operations::image::enter_store(session)?;
    let chain = copying::ground(&store, record.chain())?;
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
    copy::into_folder(into.as_fd(), &tree, "/", Owner::Fixed(0, 0))
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
            ..push::Options::default()
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
