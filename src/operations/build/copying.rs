//! `COPY`, `ADD` and `WORKDIR` as steps: keys, the cache, and the layer.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::context;
use super::copy::{self, Owner, Selected, Tree};
use super::fetch;
use super::hit::{self, Known};
use super::job::Answer;
use super::running::{image_of, key, seal};
use super::schedule::{At, Schedule};
use super::stage::State;
use crate::base::{Context as _, Error, Result};
use crate::build::ignore::Ignore;
use crate::build::instruction::{Copy, Instruction, Step};
use crate::build::mode::Mode;
use crate::build::plan::From;
use crate::runtime::user::resolve_user;
use crate::spec::digest::{Algorithm, Digest};
use crate::storage::Store;
use crate::storage::codec::Decoder;
use crate::storage::copy::{CopyIn, Owner as TarOwner, copy_in};
use crate::storage::draft::Draft;
use crate::storage::rootfs::{Mode as MountMode, RootfsRequest, View};
use crate::sys::at;

/// A COPY or ADD with everything expanded.
#[derive(Debug)]
pub struct Plan {
    copy: Copy,
    sources: Vec<String>,
    /// Addresses among an ADD's sources.
    remote: Vec<String>,
    documents: Vec<(String, String)>,
    destination: String,
    chown: Option<String>,
    chmod: Option<Mode>,
    exclude: Vec<String>,
    checksum: Option<String>,
    stage: usize,
    /// Its line of the history.
    pub history: String,
}

/// Expands.
///
/// # Errors
/// `Invalid` for a malformed mode, pattern or checksum.
pub fn prepare(schedule: &Schedule<'_>, stage: usize, state: &State, copy: &Copy) -> Result<Plan> {
    let escape = schedule.request.file.directives.escape;
    let word = |text: &String| state.scope.word(text, escape);
    let all = copy.sources.iter().map(word).collect::<Result<Vec<_>>>()?;
    let (remote, sources): (Vec<String>, Vec<String>) = all
        .into_iter()
        .partition(|s| copy.add && fetch::is_remote(s));
    if let Some(address) = sources.iter().find(|s| s.contains("://") && !copy.add) {
        return Err(Error::invalid(format!("COPY takes no address: {address}")).hint("use ADD"));
    }
    let documents = copy
        .heredocs
        .iter()
        .map(|doc| {
            let text = match doc.expand {
                true => state.scope.document(&doc.content, escape)?,
                false => doc.content.clone(),
            };
            let name = doc.name.rsplit('/').next().unwrap_or_default().to_owned();
            if matches!(name.as_str(), "" | "." | "..") {
                return Err(Error::invalid(format!("{:?} is no file name", doc.name))
                    .hint("name the here-document as the file shall be called"));
            }
            Ok((name, text))
        })
        .collect::<Result<Vec<_>>>()?;
    let destination = word(&copy.destination)?;
    if destination.is_empty() {
        return Err(
            Error::invalid("the destination is empty once it is expanded")
                .hint("give the variable a value"),
        );
    }
    let count = sources.len() + remote.len() + documents.len();
    if count > 1 && !destination.ends_with('/') && !destination.ends_with('.') {
        return Err(
            Error::invalid("several sources need a folder as destination")
                .hint(format!("end it with a slash: {destination}/")),
        );
    }
    let chown = copy.chown.as_ref().map(word).transpose()?;
    let chmod = copy.chmod.as_ref().map(word).transpose()?;
    let chmod = chmod
        .filter(|m| !m.is_empty())
        .map(|m| m.parse())
        .transpose()?;
    let exclude = copy.exclude.iter().map(word).collect::<Result<Vec<_>>>()?;
    Ignore::of(&exclude)?;
    let checksum = copy.checksum.as_ref().map(word).transpose()?;
    if checksum.is_some() && remote.len() != 1 {
        return Err(
            Error::invalid("--checksum is for one address").hint("use one ADD for each address")
        );
    }
    let mut shown: Vec<String> = sources.iter().chain(&remote).cloned().collect();
    shown.extend(documents.iter().map(|(name, _)| name.clone()));
    let mut history = format!("{} ", if copy.add { "ADD" } else { "COPY" });
    for (flag, value) in [
        ("from", copy.from.as_ref()),
        ("chown", chown.as_ref()),
        ("chmod", copy.chmod.as_ref()),
        ("checksum", checksum.as_ref()),
    ] {
        if let Some(value) = value {
            history.push_str(&format!("--{flag}={value} "));
        }
    }
    for (flag, on) in [("link", copy.link), ("parents", copy.parents)] {
        if on {
            history.push_str(&format!("--{flag} "));
        }
    }
    history.push_str(&format!("{} {destination}", shown.join(" ")));
    Ok(Plan {
        sources,
        remote,
        documents,
        destination,
        chown: chown.filter(|c| !c.is_empty()),
        chmod,
        exclude,
        checksum,
        stage,
        history,
        copy: copy.clone(),
    })
}

/// The step that a named context as a stage's base stands for: all of its files.
pub fn whole_context(name: &str, line: u32) -> Step {
    Step {
        instruction: Instruction::Copy(Box::new(Copy {
            sources: vec!["/".to_owned()],
            destination: "/".to_owned(),
            from: Some(name.to_owned()),
            ..Copy::default()
        })),
        text: format!("FROM {name}"),
        line,
        last: line,
    }
}

/// Layers to mount: an empty one where there are none.
///
/// # Errors
/// What the kernel says.
pub fn ground(store: &Store, chain: Vec<Digest>) -> Result<Vec<Digest>> {
    Ok(match chain.is_empty() {
        true => vec![store.empty_layer()?],
        false => chain,
    })
}

/// What a step is mounted on: the stage's layers, or an empty one.
///
/// # Errors
/// What the kernel says.
pub fn lower(at: &At<'_>) -> Result<Vec<Digest>> {
    ground(at.schedule.store, at.state.chain())
}

/// Which input differs from the last time that this instruction ran, for `--why`.
///
/// # Errors
/// What the kernel says.
pub fn why(at: &At<'_>, inputs: &BTreeMap<String, String>) -> Result<Vec<String>> {
    if !at.schedule.request.why {
        return Ok(Vec::new());
    }
    if at.fresh {
        return Ok(vec!["why: the cache was not asked (--no-cache)".to_owned()]);
    }
    let Some(before) = at.schedule.cache.like(&at.step.text)? else {
        return Ok(vec!["why: this instruction never ran before".to_owned()]);
    };
    let mut found = Vec::new();
    let names: std::collections::BTreeSet<&String> =
        before.inputs.keys().chain(inputs.keys()).collect();
    for name in names {
        let (old, new) = (before.inputs.get(name), inputs.get(name));
        if old != new {
            let show = |v: Option<&String>| v.map_or_else(|| "nothing".to_owned(), |v| short(v));
            found.push(format!(
                "why: {name} was {} and is {}",
                show(old),
                show(new)
            ));
        }
    }
    if found.is_empty() {
        found.push("why: its layer was removed from the cache".to_owned());
    }
    Ok(found)
}

fn short(text: &str) -> String {
    let mut short: String = text.chars().take(100).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// The layers of a stage or image that files are taken from; `None` for a folder.
///
/// # Errors
/// Only by a mistake of ours.
pub fn layers_of(schedule: &Schedule<'_>, stage: usize, from: &str) -> Result<Option<Vec<Digest>>> {
    Ok(match schedule.resolve(stage, from)? {
        From::Stage(n) => Some(
            schedule
                .done(n)
                .ok_or_else(|| Error::internal("a stage is asked for before it is done"))?
                .chain(),
        ),
        From::Image(name) => Some(image_of(schedule, stage, &name)?.chain()),
        From::Context(name) => match schedule.request.contexts.get(&name).map(|c| &c.kind) {
            Some(context::Kind::Image(image)) => Some(image_of(schedule, stage, image)?.chain()),
            _ => None,
        },
    })
}

/// The tree that files are taken from.
///
/// # Errors
/// What storage says.
pub fn tree_of(schedule: &Schedule<'_>, stage: usize, from: Option<&str>) -> Result<Tree> {
    let Some(from) = from else {
        return schedule.request.context.tree();
    };
    let Some(layers) = layers_of(schedule, stage, from)? else {
        let context = schedule
            .request
            .contexts
            .get(from)
            .ok_or_else(|| Error::internal("a context that is none"))?;
        return context.tree();
    };
    let layers = ground(schedule.store, layers)?;
    let rootfs = schedule.store.mount_image(&layers, &View::Same, None)?;
    Ok(Tree {
        root: rootfs.tree,
        prefix: String::new(),
        ignore: None,
        is_image: true,
        held: rootfs.lock,
    })
}

/// A source with its files.
struct Gathered {
    tree: Tree,
    selected: Vec<Selected>,
}

/// Does it, in a worker, unless the cache has it.
///
/// # Errors
/// `NotFound` for a source that is not there; what the kernel says.
pub(super) fn execute(at: &At<'_>, plan: &Plan, draft: Draft) -> Result<Answer> {
    let schedule = at.schedule;
    let exclude = Ignore::of(&plan.exclude)?;
    let mut gathered = Vec::new();
    if !plan.sources.is_empty() {
        let tree = tree_of(schedule, plan.stage, plan.copy.from.as_deref())?;
        let selected = copy::select(
            &tree,
            &plan.sources,
            plan.copy.parents,
            &exclude,
            copy::Limits::default(),
        )?;
        gathered.push(Gathered { tree, selected });
    }
    for (index, address) in plan.remote.iter().enumerate() {
        let folder = draft.path().join(format!("fetched-{index}"));
        let fetched = fetch::fetch(
            at,
            address,
            plan.checksum.as_deref(),
            plan.copy.keep_git_dir,
            &folder,
        )?;
        let words = [fetched.word];
        let selected = copy::select(
            &fetched.tree,
            &words,
            false,
            &exclude,
            copy::Limits::default(),
        )?;
        gathered.push(Gathered {
            tree: fetched.tree,
            selected,
        });
    }
    let lower = lower(at)?;
    let names = match &plan.chown {
        // Names are those of the image so far, whatever the layer is put on.
        Some(text) => {
            let rootfs = schedule.store.mount_image(&lower, &View::Same, None)?;
            Some(copy::owner(rootfs.tree.as_fd(), text)?)
        }
        None => None,
    };
    let owner = match (names, plan.copy.from.is_some()) {
        (Some((uid, gid)), _) => Owner::Fixed(uid, gid),
        (None, true) if gathered.iter().all(|g| g.tree.is_image) => Owner::Keep,
        _ => Owner::Fixed(0, 0),
    };
    let link = plan.copy.link;
    let mut maker = key(schedule.request, if plan.copy.add { "ADD" } else { "COPY" });
    match link {
        true => maker.add("link", "true"),
        false => maker.add(
            "base",
            at.state
                .top()
                .map_or_else(|| "scratch".to_owned(), ToString::to_string),
        ),
    }
    maker.add("destination", destination(at, plan));
    maker.add("owner", format!("{owner:?}"));
    maker.add("mode", format!("{:?}", plan.chmod));
    maker.add("parents", plan.copy.parents.to_string());
    maker.add("unpack", format!("{:?}", plan.copy.unpack));
    for (index, one) in gathered.iter().enumerate() {
        let digest = copy::digest_of(&one.tree, &one.selected, owner)?;
        maker.add(&format!("content {index}"), digest.to_string());
    }
    for (name, text) in &plan.documents {
        maker.add(&format!("document {name}"), text.clone());
    }
    let todo = match hit::known(at, maker.finish())? {
        Known::Answer(answer) => return Ok(answer),
        Known::Ours(todo) => todo,
    };
    let below = match link {
        true => vec![schedule.store.empty_layer()?],
        false => lower,
    };
    let rootfs = schedule.store.mount(&RootfsRequest {
        layers: &below,
        container_dir: draft.path(),
        view: &View::Same,
        mode: MountMode::Ephemeral,
        points: false,
    })?;
    put(at, plan, &gathered, owner, names, rootfs.tree.as_fd())?;
    drop(gathered);
    drop(rootfs);
    let layer = seal(at, draft, &below, &[])?;
    todo.done(at, layer)
}

/// The destination as an absolute path, its closing slash kept.
fn destination(at: &At<'_>, plan: &Plan) -> String {
    match plan.destination.starts_with('/') {
        true => plan.destination.clone(),
        false => format!(
            "{}/{}",
            at.state.config.config.working_dir.trim_end_matches('/'),
            plan.destination
        ),
    }
}

fn put(
    at: &At<'_>,
    plan: &Plan,
    gathered: &[Gathered],
    owner: Owner,
    names: Option<(u32, u32)>,
    root: BorrowedFd<'_>,
) -> Result<()> {
    let now = at
        .schedule
        .request
        .fixed_time()
        .unwrap_or_else(crate::base::time::Timestamp::now)
        .seconds();
    let target = copy::Target {
        path: plan.destination.clone(),
        workdir: at.state.config.config.working_dir.clone(),
        owner,
        parents_owner: names.unwrap_or((0, 0)),
        mode: plan.chmod.clone(),
        now,
        parents: plan.copy.parents,
    };
    let several = gathered.len() + plan.documents.len() > 1;
    for (index, one) in gathered.iter().enumerate() {
        let is_fetched = index >= usize::from(!plan.sources.is_empty());
        let unpack = plan.copy.add
            && match plan.copy.unpack {
                Some(unpack) => unpack,
                None => !is_fetched,
            };
        let mut plain = Vec::new();
        for selected in &one.selected {
            if unpack
                && selected.is_file
                && let Some(item) = selected.items.first()
                && let Some(archive) = archive(&one.tree, item)?
            {
                unpack_into(archive, root, &target, names)
                    .what(|| format!("cannot unpack {:?}", selected.word))?;
                continue;
            }
            plain.push(selected.clone());
        }
        if !plain.is_empty() {
            let mut target = target.clone();
            if several && !target.path.ends_with('/') {
                target.path.push('/');
            }
            copy::write(root, &one.tree, &plain, &target)?;
        }
    }
    if !plan.documents.is_empty() {
        let mut writer = copy::Writer::new(root, &target);
        let alone = plan.documents.len() == 1 && gathered.is_empty();
        let place = writer.place(alone)?;
        for (name, text) in &plan.documents {
            let name = place
                .name
                .clone()
                .unwrap_or_else(|| name.as_bytes().to_vec());
            writer.text(&place.folder, &name, text.as_bytes(), 0o644)?;
        }
        writer.finish()?;
    }
    Ok(())
}

/// The file, when it is a tar, compressed or not: told by its content.
fn archive(tree: &Tree, item: &copy::Item) -> Result<Option<OwnedFd>> {
    if item.kind != copy::Kind::File {
        return Ok(None);
    }
    let fd = copy::open_item(tree, item)?;
    let file = File::from(fd.try_clone().what(|| "cannot open the archive")?);
    let mut start = Vec::new();
    let Ok(decoder) = Decoder::local(file, Algorithm::Sha256) else {
        return Ok(None);
    };
    let read = decoder.take(512).read_to_end(&mut start);
    if read.is_err() || !copy::archive_start(&start) {
        return Ok(None);
    }
    rustix::fs::seek(&fd, rustix::fs::SeekFrom::Start(0))
        .map_err(std::io::Error::from)
        .what(|| "cannot read the archive")?;
    Ok(Some(fd))
}

fn unpack_into(
    archive: OwnedFd,
    root: BorrowedFd<'_>,
    target: &copy::Target,
    names: Option<(u32, u32)>,
) -> Result<()> {
    let writer = copy::Writer::new(root, target);
    let place = writer.place(false)?;
    let owner = match names {
        Some((uid, gid)) => TarOwner::Fixed { uid, gid },
        None => TarOwner::Keep,
    };
    let path = String::from_utf8_lossy(&place.folder).into_owned();
    copy_in(
        &mut File::from(archive),
        root,
        &path,
        &CopyIn {
            owner,
            maps: None,
            overwrite: true,
        },
    )
}

/// `WORKDIR`: makes the folder, as the stage's user.
///
/// # Errors
/// What the kernel says.
pub(super) fn workdir(at: &At<'_>, draft: Draft) -> Result<Answer> {
    let schedule = at.schedule;
    let config = &at.state.config.config;
    let parent = at.state.top();
    let mut maker = key(schedule.request, "WORKDIR");
    maker.add(
        "base",
        parent.map_or_else(|| "scratch".to_owned(), ToString::to_string),
    );
    maker.add("path", &config.working_dir);
    maker.add("user", &config.user);
    let todo = match hit::known(at, maker.finish())? {
        Known::Answer(answer) => return Ok(answer),
        Known::Ours(todo) => todo,
    };
    let lower = lower(at)?;
    let there = {
        let rootfs = schedule.store.mount_image(&lower, &View::Same, None)?;
        at::open_dir_in_root(rootfs.tree.as_fd(), config.working_dir.as_bytes()).is_ok()
    };
    let layer = match there {
        true => None,
        false => {
            let rootfs = schedule.store.mount(&RootfsRequest {
                layers: &lower,
                container_dir: draft.path(),
                view: &View::Same,
                mode: MountMode::Ephemeral,
                points: false,
            })?;
            let user = resolve_user(rootfs.tree.as_fd(), &config.user, &[])
                .what(|| format!("cannot find the user {:?}", config.user))?;
            copy::make_dirs(
                rootfs.tree.as_fd(),
                &config.working_dir,
                (user.uid, user.gid),
            )?;
            drop(rootfs);
            seal(at, draft, &lower, &[])?
        }
    };
    todo.done(at, layer)
}
