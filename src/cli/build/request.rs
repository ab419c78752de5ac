//! Options of `build` to a request.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::flags::BuildArgs;
use crate::base::{Context as _, Error, Hint as _, Result, time};
use crate::build::words::csv;
use crate::build::{Dockerfile, parse};
use crate::cli::args::pairs;
use crate::cli::container::run as container;
use crate::cli::output::Out;
use crate::image::manifest::Format;
use crate::image::store::local_name;
use crate::operations::build::attest::wish::Wish;
use crate::operations::build::cache::place;
use crate::operations::build::context::{self, Context};
use crate::operations::build::several::Wishes;
use crate::operations::build::ssh::Agents;
use crate::operations::build::{Allowed, Output, Request, Secret, Squash};
use crate::operations::image::PullPolicy;
use crate::operations::image::source::open_url;
use crate::operations::session::Session;
use crate::spec::platform::Platform;
use crate::state::options::ContainerOptions;
use crate::storage::Store;

/// A request with what the command does afterwards.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) outputs: Vec<Output>,
    pub(super) wishes: Wishes,
    /// `--all-platforms`.
    pub(super) all_platforms: bool,
}

/// The Dockerfile and the context. Inside the user namespace.
///
/// # Errors
/// `NotFound` without a Dockerfile; `Invalid` for its mistakes.
pub(super) fn sources(
    args: &BuildArgs,
    session: &Session,
    store: &Store,
    agents: &Agents,
) -> Result<(Dockerfile, Context)> {
    let text = match (&args.context, &args.file) {
        (Some(text), _) => text.clone(),
        // podman: without a context the Dockerfile's own folder, else here.
        (None, Some(file)) if file != "-" && !file.contains("://") => Path::new(file)
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .map_or_else(|| ".".to_owned(), |p| p.display().to_string()),
        (None, _) => ".".to_owned(),
    };
    if text == "-" && args.file.as_deref() == Some("-") {
        return Err(
            Error::invalid("context and Dockerfile cannot both be standard input")
                .hint("put the Dockerfile into the tar, or the context into a folder"),
        );
    }
    let keep_git = args
        .build_arg
        .iter()
        .any(|a| a == "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1");
    let mut context = Context::open(session, store, &text, agents.socket("default"), keep_git)?;
    let is_folder = Path::new(&text).is_dir();
    let mut beside = None;
    let (name, content) = match (&args.file, context.dockerfile.take()) {
        (None, Some(text)) => ("Dockerfile".to_owned(), text),
        (Some(file), _) if file == "-" => {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut std::io::stdin().lock(), &mut text)
                .what(|| "cannot read the Dockerfile on standard input")?;
            ("Dockerfile".to_owned(), text)
        }
        (Some(file), _) if file.starts_with("http://") || file.starts_with("https://") => {
            let mut text = String::new();
            let reader = open_url(session, file)?;
            std::io::Read::read_to_string(
                &mut std::io::Read::take(reader, crate::build::FILE_LIMIT + 1),
                &mut text,
            )
            .what(|| format!("cannot read {file}"))?;
            ("Dockerfile".to_owned(), text)
        }
        (Some(file), _) => {
            let path = Path::new(file);
            let inside = Path::new(&text).join(file);
            // In a tar it is a path of the tar's, as docker has it: what lies here is another's.
            if text != "-" && path.is_file() {
                beside = Some(path.to_owned());
                (shown(path), context::text_of(path)?)
            } else if is_folder && inside.is_file() {
                beside = Some(inside.clone());
                (shown(&inside), context::text_of(&inside)?)
            } else {
                let text = context.read(file)?.ok_or_else(|| {
                    Error::not_found(format!("there is no Dockerfile {file:?}"))
                        .hint("--file is relative to this folder, else to the context")
                })?;
                (file.clone(), text)
            }
        }
        (None, None) => {
            let mut found = None;
            for name in context::NAMES {
                if found.is_none() {
                    found = context.read(name)?.map(|text| (name.to_owned(), text));
                }
            }
            let found = found.ok_or_else(|| {
                Error::not_found(format!("{text} has no Containerfile and no Dockerfile"))
                    .hint("name one: --file PATH")
            })?;
            if is_folder {
                beside = Some(Path::new(&text).join(&found.0));
            }
            found
        }
    };
    context.ignore(args.ignorefile.as_deref(), beside.as_deref())?;
    Ok((parse(&name, &content)?, context))
}

/// A path as errors name it: short, without a leading `./`.
fn shown(path: &Path) -> String {
    let path = path.strip_prefix(".").unwrap_or(path);
    path.display().to_string()
}

/// `--build-arg` and `--build-arg-file`.
fn build_args(args: &BuildArgs, session: &Session) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut texts = Vec::new();
    for path in &args.build_arg_file {
        let text = context::text_of(path)?;
        texts.extend(
            text.lines()
                .map(str::trim)
                .filter(|l| !l.is_empty() && !l.starts_with('#'))
                .map(str::to_owned),
        );
    }
    texts.extend(args.build_arg.iter().cloned());
    for text in texts {
        match text.split_once('=') {
            Some(("", _)) => {
                return Err(Error::invalid(format!("invalid build argument {text:?}"))
                    .hint("write --build-arg NAME=VALUE"));
            }
            Some((name, value)) => {
                found.insert(name.to_owned(), value.to_owned());
            }
            // A bare name is the caller's variable; one that is not set is not given.
            None => {
                if let Some(value) = session.env.exact(&text) {
                    found.insert(text, value);
                }
            }
        }
    }
    Ok(found)
}

/// `--secret id=ID[,src=FILE|,env=NAME][,type=file|env]`.
fn secrets(args: &BuildArgs) -> Result<BTreeMap<String, Secret>> {
    let mut found = BTreeMap::new();
    for text in &args.secret {
        let bad = |why: &str| {
            Error::invalid(format!("invalid secret {text:?}: {why}"))
                .hint("write --secret id=ID,src=FILE, or --secret id=ID,env=NAME")
        };
        let (mut id, mut source, mut env, mut kind) = (None, None, None, None);
        for field in csv(text).ok_or_else(|| bad("a quote has no end"))? {
            match field.split_once('=') {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("src" | "source", value)) => source = Some(value.to_owned()),
                Some(("env", value)) => env = Some(value.to_owned()),
                Some(("type", value @ ("file" | "env"))) => kind = Some(value.to_owned()),
                _ => return Err(bad(&format!("unknown field {field:?}"))),
            }
        }
        let id = id
            .filter(|i| !i.is_empty())
            .ok_or_else(|| bad("id is missing"))?;
        let secret = match (source, env, kind.as_deref()) {
            (Some(_), Some(_), _) => return Err(bad("it has two sources")),
            (Some(name), None, Some("env")) => Secret::Env(name),
            (Some(path), None, _) => Secret::File(PathBuf::from(path)),
            (None, Some(name), _) => Secret::Env(name),
            // As in BuildKit: a variable of that name, else a file.
            (None, None, Some("env")) => Secret::Env(id.clone()),
            (None, None, _) if std::env::var_os(&id).is_some() => Secret::Env(id.clone()),
            (None, None, _) => Secret::File(PathBuf::from(&id)),
        };
        found.insert(id, secret);
    }
    Ok(found)
}

/// `--ssh default`, `--ssh ID=SOCKET`, `--ssh ID=KEY,KEY`. Inside the user namespace.
///
/// # Errors
/// As [`Agents::add`].
pub(super) fn agents(args: &BuildArgs, session: &Session) -> Result<Agents> {
    let mut agents = Agents::default();
    for text in &args.ssh {
        agents.add(session, text)?;
    }
    Ok(agents)
}

fn allowed(args: &BuildArgs) -> Result<Allowed> {
    let mut found = Allowed::default();
    for text in args.allow.iter().flat_map(|t| t.split(',')) {
        match text.split_once('=') {
            None if text == "network.host" => found.host_network = true,
            None if text == "security.insecure" => found.insecure = true,
            None if text == "device" => {
                found.devices.insert("*".to_owned());
            }
            Some(("device", name)) => {
                found.devices.insert(name.to_owned());
            }
            _ => {
                return Err(Error::invalid(format!("unknown right {text:?}"))
                    .hint("there are network.host, security.insecure and device=NAME"));
            }
        }
    }
    Ok(found)
}

/// What every RUN is started with: the same words as for `run`, read by the same code.
fn step_options(args: &BuildArgs, session: &mut Session, out: &Out) -> Result<ContainerOptions> {
    let mut words: Vec<String> = Vec::new();
    let lists = [
        ("add-host", &args.add_host),
        ("dns", &args.dns),
        ("dns-option", &args.dns_option),
        ("dns-search", &args.dns_search),
        ("volume", &args.volume),
        ("device", &args.device),
        ("cap-add", &args.cap_add),
        ("cap-drop", &args.cap_drop),
        ("group-add", &args.group_add),
        ("security-opt", &args.security_opt),
        ("ulimit", &args.ulimit),
    ];
    for (name, values) in lists {
        words.extend(values.iter().map(|v| format!("--{name}={v}")));
    }
    let network = match args.network.as_deref() {
        // docker's and podman's words for what is the default here.
        Some("default" | "private") => None,
        other => other.map(str::to_owned),
    };
    let singles = [
        ("network", &network),
        ("shm-size", &args.shm_size),
        ("memory", &args.memory),
        ("memory-swap", &args.memory_swap),
        ("cpu-period", &args.cpu_period),
        ("cpu-quota", &args.cpu_quota),
        ("cpu-shares", &args.cpu_shares),
        ("cpuset-cpus", &args.cpuset_cpus),
        ("cpuset-mems", &args.cpuset_mems),
        ("cgroup-parent", &args.cgroup_parent),
        ("cgroupns", &args.cgroupns),
        ("ipc", &args.ipc),
        ("pid", &args.pid),
        ("uts", &args.uts),
        ("userns", &args.userns),
    ];
    for (name, value) in singles {
        words.extend(value.iter().map(|v| format!("--{name}={v}")));
    }
    if args.no_hosts {
        words.push("--no-hosts".to_owned());
    }
    if args.http_proxy == Some(false) {
        words.push("--http-proxy=false".to_owned());
    }
    container::step_options(&words, session, out)
}

/// Everything that the command line says.
///
/// # Errors
/// `Invalid` for what cannot be read, `Unsupported` for what this version does not do.
pub(super) fn request(
    args: &BuildArgs,
    (file, context, agents): (Dockerfile, Context, Agents),
    session: &mut Session,
    store: &Store,
    out: &Out,
) -> Result<Asked> {
    if args
        .isolation
        .as_deref()
        .is_some_and(|i| !matches!(i, "oci" | "rootless" | "default" | ""))
    {
        return Err(
            Error::unsupported("--isolation=chroot: every RUN is a container")
                .hint("leave out --isolation"),
        );
    }
    let mut attest = Wish::default();
    for text in &args.attest {
        attest.attest(text)?;
    }
    if let Some(text) = &args.sbom {
        attest.sbom(text)?;
    }
    if let Some(text) = &args.provenance {
        attest.provenance(text)?;
    }
    let mut platforms = platforms(args, session)?;
    if args.all_platforms && !platforms.is_empty() {
        return Err(Error::invalid(
            "--all-platforms and --platform exclude each other",
        ));
    }
    let platform = match platforms.len() {
        1 => platforms.pop(),
        _ => None,
    };
    let manifest = args.manifest.as_deref().map(local_name).transpose()?;
    let mut contexts = BTreeMap::new();
    for text in &args.build_context {
        let (name, source) = text
            .split_once('=')
            .filter(|(n, _)| !n.is_empty())
            .ok_or_else(|| {
                Error::invalid(format!("invalid --build-context {text:?}"))
                    .hint("write --build-context NAME=SOURCE")
            })?;
        let image = ["docker-image://", "container-image://", "docker://"]
            .iter()
            .find_map(|start| source.strip_prefix(start));
        let layout = source.strip_prefix("oci-layout://");
        let context = match (image, layout) {
            (Some(image), _) => Context::image(image),
            (None, Some(layout)) => Context::layout(layout)?,
            (None, None) => {
                let mut context = Context::open(session, store, source, None, false)?;
                context.ignore(None, None)?;
                context
            }
        };
        contexts.insert(name.to_owned(), context);
    }
    let (mut annotations, mut index_annotations) = (BTreeMap::new(), BTreeMap::new());
    for (key, value) in pairs("annotation", &args.annotation)? {
        // As buildx: where it goes stands before the first colon, several places between commas.
        let (places, key) = key.split_once(':').unwrap_or(("manifest", &key));
        for place in places.split(',') {
            let list = match place {
                "manifest" => &mut annotations,
                "index" => &mut index_annotations,
                _ => {
                    return Err(Error::unsupported(format!(
                        "--annotation {place}:…: annotations go into manifests and indexes"
                    ))
                    .hint(
                        "write --annotation KEY=VALUE, manifest:KEY=VALUE, index:KEY=VALUE or \
                         index,manifest:KEY=VALUE",
                    ));
                }
            };
            list.insert(key.to_owned(), value.clone());
        }
    }
    let build_args = build_args(args, session)?;
    let cache_from = args.cache_from.iter().map(|text| place::source(text));
    let mut cache_to = args
        .cache_to
        .iter()
        .map(|text| place::target(text, out.is_docker()))
        .collect::<Result<Vec<_>>>()?;
    if build_args
        .get("BUILDKIT_INLINE_CACHE")
        .is_some_and(|v| v == "1" || v == "true")
    {
        cache_to.push(place::Target::Inline);
    }
    let epoch = args
        .source_date_epoch
        .clone()
        .or_else(|| build_args.get("SOURCE_DATE_EPOCH").cloned())
        .or_else(|| session.env.text("SOURCE_DATE_EPOCH"))
        .filter(|t| !t.is_empty())
        .map(|text| {
            text.parse::<i64>()
                .map_err(|_| Error::invalid(format!("SOURCE_DATE_EPOCH {text:?} is no number")))
                .hint(|| "write seconds since 1970")
        })
        .transpose()?;
    let format = match args.format.as_deref() {
        None | Some("oci") => Format::Oci,
        Some("docker" | "v2s2") => Format::Docker,
        Some(other) => {
            return Err(
                Error::invalid(format!("invalid format {other:?}")).hint("use oci or docker")
            );
        }
    };
    let outputs = args
        .output
        .iter()
        .map(|text| Output::parse(text))
        .collect::<Result<Vec<_>>>()?;
    let mut tags = args
        .tag
        .iter()
        .map(|name| local_name(name))
        .collect::<Result<Vec<_>>>()?;
    for output in &outputs {
        tags.extend(output.names()?);
    }
    let mut registry = args.registry.options()?;
    args.retry.apply(&mut registry)?;
    let shell_on_error = match args.on_error.as_deref() {
        None | Some("fail") => false,
        Some("shell" | "debug") => true,
        Some(other) => {
            return Err(
                Error::invalid(format!("invalid --on-error {other:?}")).hint("use shell, or fail")
            );
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let ttl = args
        .cache_ttl
        .as_deref()
        .map(time::parse_duration)
        .transpose()?;
    let env = args
        .env
        .iter()
        .map(|text| match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (text.clone(), session.env.exact(text).unwrap_or_default()),
        })
        .collect();
    let request = Request {
        file,
        context,
        contexts,
        args: build_args,
        target: args.target.clone(),
        platform,
        first_from: args.from.clone(),
        all_stages: args.skip_unused_stages == Some(false),
        pull: args
            .pull
            .as_deref()
            .unwrap_or_default()
            .parse::<PullPolicy>()?
            .whole()?,
        registry,
        no_cache: args.no_cache || args.layers == Some(false),
        no_cache_filter: args
            .no_cache_filter
            .iter()
            .map(|s| s.to_ascii_lowercase())
            .collect::<BTreeSet<_>>(),
        cache_ttl: ttl.map(|t| t.as_secs()),
        cache_from: cache_from.collect::<Result<Vec<_>>>()?,
        cache_to,
        jobs: args.jobs.filter(|n| *n > 0).unwrap_or(cores),
        run: step_options(args, session, out)?,
        secrets: secrets(args)?,
        ssh: agents,
        allowed: allowed(args)?,
        tags,
        format,
        labels: pairs("label", &args.label)?,
        annotations,
        env,
        unset_env: args.unsetenv.clone(),
        unset_labels: args.unsetlabel.clone(),
        inherit_labels: args.inherit_labels != Some(false),
        omit_history: args.omit_history,
        epoch,
        rewrite_times: args.rewrite_timestamp
            || outputs.iter().any(|o| {
                o.options
                    .get("rewrite-timestamp")
                    .is_some_and(|v| v == "true")
            }),
        timestamp: args.timestamp,
        squash: match (args.squash_all, args.squash) {
            (true, _) => Squash::All,
            (_, true) => Squash::New,
            _ => Squash::No,
        },
        why: args.why,
        shell_on_error,
        labelled: false,
        first_number: 0,
        index_annotations,
        docker: out.is_docker(),
    };
    let truth = |v: &String| matches!(v.as_str(), "1" | "true");
    let wishes = Wishes {
        platforms,
        manifest,
        attest,
        always_index: request
            .args
            .get("BUILDKIT_MULTI_PLATFORM")
            .is_some_and(truth),
    };
    Ok(Asked {
        request,
        outputs,
        wishes,
        all_platforms: args.all_platforms,
    })
}

/// `--platform`, each only once; `--os`, `--arch` and `--variant` for one.
fn platforms(args: &BuildArgs, session: &Session) -> Result<Vec<Platform>> {
    let mut list: Vec<String> = args
        .platform
        .iter()
        .flat_map(|p| p.split(','))
        .map(|p| p.trim().to_owned())
        .collect();
    if list.is_empty() && !args.all_platforms {
        list.extend(session.env.text("DOCKER_DEFAULT_PLATFORM"));
    }
    list.retain(|p| !p.is_empty());
    let host = Platform::host();
    let given = args.os.is_some() || args.arch.is_some() || args.variant.is_some();
    if given && list.iter().all(|p| p == "local") {
        let os = args.os.as_deref().unwrap_or(&host.os);
        let arch = args.arch.as_deref().unwrap_or(&host.architecture);
        let mut text = format!("{os}/{arch}");
        if let Some(variant) = &args.variant {
            text = format!("{text}/{variant}");
        }
        return Ok(vec![text.parse()?]);
    }
    // This machine's own needs no word.
    if list.len() == 1 && list[0] == "local" {
        return Ok(Vec::new());
    }
    let mut found: Vec<Platform> = Vec::new();
    for text in list {
        let platform = match text.as_str() {
            "local" => host.clone(),
            text => text.parse()?,
        };
        if !found.contains(&platform) {
            found.push(platform);
        }
    }
    Ok(found)
}
