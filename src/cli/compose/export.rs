//! `compose export`: a project for a cluster, or the files of a container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::project::{ProjectFlags, Shell};
use crate::base::fs::{self as files, Durability};
use crate::base::{Error, Kind, Result};
use crate::cli::output::Out;
use crate::compose::Project;
use crate::compose::export::{Export, Fate, Given, kube, stack};
use crate::operations::compose::images::{self, Means};
use crate::operations::compose::objects;
use crate::operations::image::lookup;
use crate::operations::kube::generate::yaml;
use crate::operations::session::Session;

/// Write a project for a cluster, or a container's files as a tar
///
/// `export kube` writes manifests of Kubernetes, `export swarm` a stack file; what becomes of each key
/// is told: kept keys with --list only. With the name of a service its container's files are written.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// The container with this number
    #[arg(long, value_name = "N")]
    index: Option<usize>,
    /// Write to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Push what is built here to this registry, and name it so
    #[arg(long, value_name = "REGISTRY[/PATH]")]
    push: Option<String>,
    /// Ask for HTTPS and a valid certificate when pushing (default true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    tls_verify: Option<bool>,
    /// List all keys and what becomes of them, in place of the files
    #[arg(long)]
    list: bool,
    /// kube or swarm; or a service
    #[arg(value_name = "kube|swarm|SERVICE")]
    what: String,
}

/// Runs `compose export`.
///
/// # Errors
/// As reading the project, `build` and `push`; as `export` of a container.
pub fn run(args: ExportArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let (_, known) = args.project.named(session, &[])?;
    let is_service = known.is_some_and(|p| p.service(&args.what).is_ok());
    if is_service || !matches!(args.what.as_str(), "kube" | "swarm") {
        return container(&args, session, out);
    }
    let project = args.project.load_with(session, &[], true, true)?;
    for notice in &project.notices {
        out.warn(notice);
    }
    let images = match args.list {
        true => BTreeMap::new(),
        false => pushed(
            &args.project,
            &args.push,
            args.tls_verify,
            &project,
            session,
            out,
        )?,
    };
    let given = Given {
        images: &images,
        content: &|noun, key| objects::content(&project, noun, key),
    };
    let (export, beside) = match args.what.as_str() {
        "kube" => (kube::export(&project, &given)?, Vec::new()),
        _ => stack::export(&project, &given)?,
    };
    if args.list {
        return list(&export, out);
    }
    for line in export.lines.iter().filter(|l| l.fate != Fate::Kept) {
        out.note(&format!("{} {}: {}", line.fate.name(), line.path, line.why));
    }
    let text = yaml(&export.documents)?;
    let Some(file) = &args.output else {
        if let Some((name, _)) = beside.first() {
            return Err(Error::invalid(format!("the stack needs {name} beside it"))
                .hint("name its file with --output: what it needs goes to the same folder"));
        }
        out.text(&text)?;
        return Ok(0);
    };
    let folder = file.parent().unwrap_or(Path::new("."));
    for (name, content) in &beside {
        files::replace(&folder.join(name), content, 0o600, Durability::Volatile)?;
    }
    // Manifests hold the content of secrets.
    files::replace(file, text.as_bytes(), 0o600, Durability::Volatile)?;
    Ok(0)
}

fn list(export: &Export, out: &mut Out) -> Result<u8> {
    let mut text = "KEY\tFATE\tWHY\n".to_owned();
    for line in &export.lines {
        text.push_str(&format!(
            "{}\t{}\t{}\n",
            line.path,
            line.fate.name(),
            line.why
        ));
    }
    let aligned = crate::cli::output::table::align(&text, 10, 3);
    for line in aligned.lines() {
        out.line(line.trim_end())?;
    }
    Ok(0)
}

/// As `container export`.
fn container(args: &ExportArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    for (given, flag) in [(args.push.is_some(), "--push"), (args.list, "--list")] {
        if given {
            return Err(Error::invalid(format!(
                "{flag} is for `export kube` and `export swarm`"
            )));
        }
    }
    let member = args.project.member(session, &args.what, args.index)?;
    let mut words = vec![
        "coracle".to_owned(),
        "container".to_owned(),
        "export".to_owned(),
    ];
    words.extend(
        args.output
            .iter()
            .map(|o| format!("--output={}", o.display())),
    );
    words.push(member.present.name);
    crate::cli::again(&words, session, out)
}

/// The name of an image in a registry: its own last part, with its tag, or one that changes with it.
fn remote_name(registry: &str, image: &str, id: &str) -> String {
    let bare = image.split('@').next().unwrap_or(image);
    let last = bare.rsplit_once('/').map_or(bare, |(_, last)| last);
    let short = id
        .trim_start_matches("sha256:")
        .get(..12)
        .unwrap_or("latest");
    let (name, tag) = last.split_once(':').unwrap_or((last, short));
    format!("{}/{name}:{tag}", registry.trim_end_matches('/'))
}

/// Builds what is built here and missing, pushes it, and answers the names; without `--push` it is
/// told that a cluster cannot pull them.
pub(super) fn pushed(
    flags: &ProjectFlags,
    push: &Option<String>,
    tls_verify: Option<bool>,
    project: &Project,
    session: &mut Session,
    out: &mut Out,
) -> Result<BTreeMap<String, String>> {
    let mut names = BTreeMap::new();
    let built: Vec<String> = project
        .services()
        .filter(|(_, keys)| keys.contains_key("build"))
        .map(|(name, _)| name.clone())
        .collect();
    let Some(registry) = push else {
        for service in &built {
            let image = project.image(service, project.service(service)?);
            out.warn(&format!(
                "services.{service}: {image} is built here, where a cluster cannot pull it: --push REGISTRY pushes it"
            ));
        }
        return Ok(names);
    };
    let means = Means {
        parallel: flags.most(session)?,
        ..Means::default()
    };
    let quiet = flags.is_quiet(session);
    images::ensure_all(session, project, &built, &means, &mut Shell { out, quiet })?;
    for service in built {
        let image = project.image(&service, project.service(&service)?);
        let id = lookup(session, &image)?.record.id.to_string();
        let name = remote_name(registry, &image, &id);
        let mut words = vec![
            "coracle".to_owned(),
            "push".to_owned(),
            "--quiet".to_owned(),
        ];
        words.extend(tls_verify.map(|v| format!("--tls-verify={v}")));
        words.extend([image, name.clone()]);
        if crate::cli::again(&words, session, out)? != 0 {
            return Err(Error::new(Kind::Unavailable, format!("cannot push {name}")));
        }
        names.insert(service, name);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_registry_keep_their_tag_or_change_with_the_image() {
        for (image, want) in [
            ("p-web", "r:5000/team/p-web:0123456789ab"),
            ("localhost/x/web:1.2", "r:5000/team/web:1.2"),
            ("h:80/web@sha256:00", "r:5000/team/web:0123456789ab"),
        ] {
            assert_eq!(
                remote_name("r:5000/team/", image, "sha256:0123456789abcdef"),
                want
            );
        }
    }
}
