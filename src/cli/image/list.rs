//! `images`.

use serde_json::{Value, json};

use crate::base::time::{Timestamp, human_duration};
use crate::base::{Error, Result, size};
use crate::cli::output::filter::{Filters, point_in_time};
use crate::cli::output::{Listing, Out, docker};
use crate::image::filter::{self, Listed};
use crate::operations::image;
use crate::operations::session::Session;
use crate::spec::reference::Reference;

/// List images
///
/// Newest first. Images without a name that others are based on are shown with --all only.
#[derive(Debug, clap::Args)]
pub struct ImagesArgs {
    /// Show intermediate images as well
    #[arg(short, long)]
    pub all: bool,
    /// Show digests
    #[arg(long)]
    pub digests: bool,
    /// Only images for which this holds (reference=, dangling=, label=, before=, since=, until=, id=, containers=, digest=, …)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Go template, or json
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Show every name that an image had
    #[arg(long)]
    pub history: bool,
    /// Show ids in full
    #[arg(long)]
    pub no_trunc: bool,
    /// Leave out the headings
    #[arg(short, long)]
    pub noheading: bool,
    /// Print ids only
    #[arg(short, long)]
    pub quiet: bool,
    /// Order: created, id, repository, size or tag
    #[arg(long, value_name = "KEY", default_value = "created")]
    pub sort: String,
    /// Only images with this name
    #[arg(value_name = "NAME[:TAG]")]
    pub name: Option<String>,
}

/// Runs `images`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: ImagesArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let known: Vec<&str> = filter::KEYS
        .iter()
        .copied()
        .filter(|k| !k.ends_with('!'))
        .collect();
    let mut filters = Filters::parse(&args.filter, &known)?;
    if let Some(name) = &args.name {
        filters
            .0
            .extend(Filters::parse(&[format!("reference={name}")], &known)?.0);
    }
    let now = Timestamp::now();
    let all = image::list::list(session)?;
    let moment = |text: &str| point_in_time(text, now);
    let find = |text: &str| Ok(image::lookup_any(session, text)?.record.created());
    let mut shown = Vec::new();
    for listed in all {
        if !args.all && listed.is_intermediate() {
            continue;
        }
        if filters.accept(|key, value| filter::holds(&listed, key, value, &find, &moment))? {
            shown.push(listed);
        }
    }
    if args.quiet && args.format.is_none() {
        let mut ids = Vec::new();
        for listed in &shown {
            let id = id_text(listed, args.no_trunc);
            if !ids.contains(&id) {
                out.line(&id)?;
                ids.push(id);
            }
        }
        return Ok(0);
    }
    let wanted: Vec<&str> = filters.values("reference").collect();
    let mut rows: Vec<Row<'_>> = shown.iter().flat_map(|l| rows(l, &wanted)).collect();
    sort(&mut rows, &args.sort)?;
    let values: Vec<Value> = rows
        .iter()
        .map(|r| value(r, &args, out.is_docker()))
        .collect();
    let default = match (args.digests, args.history) {
        (false, false) => "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.Created}}\t{{.Size}}",
        (true, false) => {
            "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.Created}}\t{{.Size}}"
        }
        (false, true) => {
            "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.Created}}\t{{.Size}}\t{{.History}}"
        }
        (true, true) => {
            "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.Created}}\t{{.Size}}\t{{.History}}"
        }
    };
    Listing {
        default,
        headers: &[
            ("ID", "IMAGE ID"),
            ("Id", "IMAGE ID"),
            ("CreatedSince", "CREATED"),
            ("CreatedAt", "CREATED AT"),
        ],
        format: args.format.as_deref(),
        no_heading: args.noheading,
        docker: &[
            "Containers",
            "CreatedAt",
            "CreatedSince",
            "Digest",
            "ID",
            "Repository",
            "SharedSize",
            "Size",
            "Tag",
            "UniqueSize",
            "VirtualSize",
        ],
    }
    .print(out, &values, || {
        Value::Array(shown.iter().map(machine).collect())
    })?;
    Ok(0)
}

struct Row<'a> {
    listed: &'a Listed,
    repository: String,
    tag: String,
}

/// One row for each name; `wanted` are the reference filters, which hold for each name by itself.
fn rows<'a>(listed: &'a Listed, wanted: &[&str]) -> Vec<Row<'a>> {
    let row = |repository: &str, tag: &str| Row {
        listed,
        repository: repository.to_owned(),
        tag: tag.to_owned(),
    };
    let matches = |name: &&Reference| {
        wanted.is_empty() || wanted.iter().any(|w| filter::reference_matches(name, w))
    };
    let mut rows: Vec<Row<'a>> = listed
        .tags
        .iter()
        .filter(matches)
        .map(|name| row(&name.name(), name.tag().unwrap_or("<none>")))
        .collect();
    if rows.is_empty() {
        let repository = listed
            .digests
            .first()
            .map_or_else(|| "<none>".to_owned(), Reference::name);
        rows.push(row(&repository, "<none>"));
    }
    rows
}

fn sort(rows: &mut [Row<'_>], key: &str) -> Result<()> {
    match key {
        // As the operation gave them: newest first.
        "created" => {}
        "id" => rows.sort_by(|a, b| a.listed.record.id.cmp(&b.listed.record.id)),
        "repository" => rows.sort_by(|a, b| a.repository.cmp(&b.repository)),
        "size" => rows.sort_by_key(|r| r.listed.record.size),
        "tag" => rows.sort_by(|a, b| a.tag.cmp(&b.tag)),
        _ => {
            return Err(Error::invalid(format!("invalid sort key {key:?}"))
                .hint("use created, id, repository, size or tag"));
        }
    }
    Ok(())
}

fn id_text(listed: &Listed, full: bool) -> String {
    if full {
        listed.record.id.to_string()
    } else {
        listed.record.id.short().to_owned()
    }
}

fn names(listed: &Listed) -> Vec<String> {
    listed.tags.iter().map(ToString::to_string).collect()
}

fn digests(listed: &Listed) -> Vec<String> {
    let mut found: Vec<String> = listed.digests.iter().map(ToString::to_string).collect();
    if let Some(digest) = listed.record.manifest_digest() {
        for name in &listed.tags {
            let text = format!("{}@{digest}", name.name());
            if !found.contains(&text) {
                found.push(text);
            }
        }
    }
    found
}

fn value(row: &Row<'_>, args: &ImagesArgs, is_docker: bool) -> Value {
    let record = &row.listed.record;
    let created = record.created();
    let since = format!("{} ago", human_duration(created.elapsed()));
    let digest = record
        .manifest_digest()
        .map_or_else(|| "<none>".to_owned(), ToString::to_string);
    let short = size::human_short(record.size);
    let unit = short.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = short.strip_suffix(unit).unwrap_or(&short);
    // podman sets the unit off.
    let (repository, human) = match is_docker {
        true => (docker::familiar(&row.repository), short.clone()),
        false => (row.repository.as_str(), format!("{number} {unit}")),
    };
    let created_at = match is_docker {
        true => format!(
            "{} +0000 UTC",
            created
                .rfc3339()
                .replace('T', " ")
                .get(..19)
                .unwrap_or_default()
        ),
        false => created.rfc3339(),
    };
    json!({
        "ID": id_text(row.listed, args.no_trunc),
        "Id": record.id.hex(),
        "Repository": repository,
        "Tag": row.tag,
        "Digest": digest,
        "Created": since,
        "CreatedSince": since,
        "CreatedAt": created_at,
        "CreatedTime": created.rfc3339(),
        "Size": human,
        "VirtualSize": human,
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "History": names(row.listed).join(", "),
        "Names": names(row.listed),
        "RepoTags": names(row.listed),
        "RepoDigests": digests(row.listed),
        "Containers": match is_docker {
            true => "N/A".into(),
            false => Value::from(row.listed.containers),
        },
        "Labels": record.config.config.labels,
        "Dangling": row.listed.is_dangling(),
        "ReadOnly": row.listed.read_only,
        "IsManifestList": record.list.is_some(),
        "ParentId": record.parent.as_ref().map(|p| p.hex().to_owned()).unwrap_or_default(),
        "Arch": record.config.architecture,
        "Os": record.config.os,
    })
}

/// podman's `--format json`.
fn machine(listed: &Listed) -> Value {
    let record = &listed.record;
    let mut value = json!({
        "Id": record.id.hex(),
        "ParentId": record.parent.as_ref().map(|p| p.hex().to_owned()).unwrap_or_default(),
        "RepoTags": names(listed),
        "RepoDigests": digests(listed),
        "Size": record.size,
        "SharedSize": 0,
        "VirtualSize": record.size,
        "Labels": record.config.config.labels,
        "Containers": listed.containers,
        "Arch": record.config.architecture,
        "Os": record.config.os,
        "Digest": record.manifest_digest().map(ToString::to_string).unwrap_or_default(),
        "History": names(listed),
        "Names": names(listed),
        "Dangling": listed.is_dangling(),
        "Created": record.created().seconds(),
        "CreatedAt": record.created().rfc3339(),
    });
    // podman leaves them out where they are false.
    for (key, holds) in [
        ("ReadOnly", listed.read_only),
        ("IsManifestList", record.list.is_some()),
    ] {
        if holds {
            value[key] = true.into();
        }
    }
    value
}
