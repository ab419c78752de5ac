//! `system df`.

use serde_json::{Value, json};

use super::super::output::{Listing, Out, docker};
use crate::base::time::{Timestamp, human_duration};
use crate::base::{Error, Result, size};
use crate::operations::session::Session;
use crate::operations::system::df::{self, Total, Usage};

/// Show what takes how much of the disk
#[derive(Debug, clap::Args)]
pub struct DfArgs {
    /// Print by a Go template, or `json`
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "verbose")]
    format: Option<String>,
    /// Show each image, container and volume
    #[arg(short, long)]
    verbose: bool,
}

/// Runs `system df`.
///
/// # Errors
/// What the operation or the template says.
pub fn run(args: DfArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let usage = df::df(session)?;
    if args.verbose {
        verbose(&usage, out)?;
        return Ok(0);
    }
    let mut rows = vec![
        row("Images", &usage.image_total()),
        row("Containers", &usage.container_total()),
        row("Local Volumes", &usage.volume_total()),
        row("Build Cache", &usage.cache_total()),
    ];
    if out.is_docker() {
        for row in &mut rows {
            for key in ["TotalCount", "Active"] {
                row[key] = row[key].to_string().into();
            }
        }
    }
    Listing {
        default: "table {{.Type}} {{.Total}} {{.Active}} {{.Size}} {{.Reclaimable}}",
        headers: &[],
        format: args.format.as_deref(),
        no_heading: false,
        docker: &["Active", "Reclaimable", "Size", "TotalCount", "Type"],
    }
    .print(out, &rows, || Value::Array(rows.clone()))?;
    Ok(0)
}

fn row(kind: &str, total: &Total) -> Value {
    json!({
        "Type": kind,
        "Total": total.count,
        "TotalCount": total.count,
        "Active": total.active,
        "RawSize": total.size,
        "Size": size::human(total.size),
        "RawReclaimable": total.reclaimable,
        "Reclaimable": format!("{} ({}%)", size::human(total.reclaimable), total.percent()),
    })
}

fn ago(time: Timestamp) -> String {
    format!("{} ago", human_duration(time.elapsed()))
}

fn verbose(usage: &Usage, out: &mut Out) -> Result<()> {
    let as_docker = out.is_docker();
    let print =
        |out: &mut Out, title: &str, format: &str, headers: &[(&str, &str)], rows: &[Value]| {
            out.line(format!("{title} space usage:\n"))?;
            let listing = Listing {
                default: format,
                headers,
                format: None,
                no_heading: false,
                docker: &[],
            };
            listing.print(out, rows, || Value::Null)?;
            Ok::<(), Error>(())
        };
    let mut rows = Vec::new();
    for image in &usage.images {
        let name = image.listed.tags.first();
        let none = || "<none>".to_owned();
        rows.push(json!({
            "Repository": match name.map_or_else(none, crate::spec::reference::Reference::name) {
                name if as_docker => docker::familiar(&name).to_owned(),
                name => name,
            },
            "Tag": name.and_then(|n| n.tag()).map_or_else(none, str::to_owned),
            "ImageID": &image.listed.record.id.hex()[..12],
            "Created": ago(image.listed.record.created()),
            "Size": size::human(image.size),
            "SharedSize": size::human(image.size - image.unique),
            "UniqueSize": size::human(image.unique),
            "Containers": image.listed.containers,
        }));
    }
    print(
        out,
        "Images",
        "table {{.Repository}} {{.Tag}} {{.ImageID}} {{.Created}} {{.Size}} {{.SharedSize}} {{.UniqueSize}} {{.Containers}}",
        &[],
        &rows,
    )?;
    let rows: Vec<Value> = usage
        .containers
        .iter()
        .map(|c| {
            let record = &c.summary.container.record;
            json!({
                "ContainerID": record.id.short(),
                "Image": match as_docker {
                    true => docker::familiar(&record.options.image).to_owned(),
                    false => record.options.image.clone(),
                },
                "Command": match as_docker {
                    true => docker::command(&c.summary.command().join(" "), false),
                    false => c.summary.command().join(" "),
                },
                "LocalVolumes": record.volumes.len(),
                "Size": size::human(c.size),
                "Created": ago(record.created),
                "Status": c.summary.state.name(),
                "Names": record.name.as_str(),
            })
        })
        .collect();
    out.line("")?;
    print(
        out,
        "Containers",
        "table {{.ContainerID}} {{.Image}} {{.Command}} {{.LocalVolumes}} {{.Size}} {{.Created}} {{.Status}} {{.Names}}",
        &[("ContainerID", "CONTAINER ID")],
        &rows,
    )?;
    let rows: Vec<Value> = usage
        .volumes
        .iter()
        .map(|v| {
            json!({
                "VolumeName": v.record.name.as_str(),
                "Links": v.links,
                "Size": size::human(v.size),
            })
        })
        .collect();
    out.line("")?;
    print(
        out,
        "Local Volumes",
        "table {{.VolumeName}} {{.Links}} {{.Size}}",
        &[],
        &rows,
    )?;
    let rows: Vec<Value> = usage
        .cache
        .iter()
        .map(|u| {
            json!({
                "CacheID": u.id.get(..12).unwrap_or(&u.id),
                "CacheType": u.kind,
                "Size": size::human(u.bytes),
                "Created": ago(u.created),
                "LastUsed": ago(u.used),
                "Shared": u.shared,
            })
        })
        .collect();
    out.line("")?;
    print(
        out,
        "Build Cache",
        "table {{.CacheID}} {{.CacheType}} {{.Size}} {{.Created}} {{.LastUsed}} {{.Shared}}",
        &[
            ("CacheID", "CACHE ID"),
            ("CacheType", "CACHE TYPE"),
            ("LastUsed", "LAST USED"),
        ],
        &rows,
    )
}
