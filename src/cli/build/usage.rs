//! `builder du`, and what buildx says of its builder.

use serde_json::json;

use crate::base::{Result, size};
use crate::cli::output::Out;
use crate::cli::output::table::align;
use crate::operations::build::usage as operation;
use crate::operations::session::Session;
use crate::operations::system::version;
use crate::spec::platform::Platform;

/// Show what the build cache weighs
///
/// A step's layer that an image has too is shared: removing it from the cache frees nothing.
#[derive(Debug, clap::Args)]
pub struct DuArgs {
    /// What each entry is
    #[arg(long)]
    pub verbose: bool,
    /// Only what this holds for: as of prune
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// json, or nothing for a table
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Accepted for buildx's sake: there is one builder
    #[arg(long, value_name = "NAME", hide = true)]
    pub builder: Option<String>,
}

/// Runs `du`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn du(args: DuArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let mut wish = operation::Prune::default();
    super::prune::filters(&mut wish, &args.filter)?;
    let list = operation::some(session, &wish)?;
    if args.format.as_deref() == Some("json") {
        for usage in &list {
            let value = json!({
                "ID": usage.id, "Type": usage.kind, "Description": usage.text,
                "Size": usage.bytes, "Shared": usage.shared, "InUse": usage.in_use,
                "CreatedAt": usage.created.rfc3339(), "LastUsedAt": usage.used.rfc3339(),
            });
            out.line(value.to_string())?;
        }
        return Ok(0);
    }
    let mut table = "ID\tTYPE\tSIZE\tSHARED\tLAST USED\tDESCRIPTION\n".to_owned();
    for usage in &list {
        let mut text = usage.text.lines().next().unwrap_or_default().to_owned();
        if !args.verbose && text.chars().count() > 50 {
            text = text.chars().take(49).chain(['…']).collect();
        }
        let id: String = usage.id.chars().take(12).collect();
        table.push_str(&format!(
            "{id}\t{}\t{}\t{}\t{}\t{}\n",
            usage.kind,
            size::human(usage.bytes),
            usage.shared,
            usage.used.local_text(),
            text.replace('\t', " ")
        ));
    }
    out.text(&align(&table, 12, 2))?;
    let total: u64 = list.iter().map(|u| u.bytes).sum();
    let shared: u64 = list.iter().filter(|u| u.shared).map(|u| u.bytes).sum();
    out.line(format!("Shared:      {}", size::human(shared)))?;
    out.line(format!("Private:     {}", size::human(total - shared)))?;
    out.line(format!("Total:       {}", size::human(total)))?;
    Ok(0)
}

/// List builders: there is one
#[derive(Debug, clap::Args)]
pub struct LsArgs {}

/// Runs `buildx ls`.
///
/// # Errors
/// When standard output is gone.
pub fn ls(_args: LsArgs, _session: &mut Session, out: &mut Out) -> Result<u8> {
    let table = format!(
        "NAME/NODE\tDRIVER/ENDPOINT\tSTATUS\tPLATFORMS\ndefault*\tcoracle\trunning\t{}\n",
        Platform::host()
    );
    out.text(&align(&table, 12, 2))?;
    Ok(0)
}

/// Show the builder
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Accepted: there is nothing to start
    #[arg(long)]
    pub bootstrap: bool,
    /// Its name: default
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// Runs `buildx inspect`.
///
/// # Errors
/// `NotFound` for another name than the one there is.
pub fn inspect(args: InspectArgs, _session: &mut Session, out: &mut Out) -> Result<u8> {
    if let Some(name) = args.name.filter(|n| n != "default") {
        return Err(
            crate::base::Error::not_found(format!("no builder {name:?}"))
                .hint("there is one builder, and it is called default"),
        );
    }
    out.text(&format!(
        "Name:   default\nDriver: coracle\n\nNodes:\nName:      default\nEndpoint:  none: no daemon\n\
         Status:    running\nPlatforms: {}\n",
        Platform::host()
    ))?;
    Ok(0)
}

/// Show the version
#[derive(Debug, clap::Args)]
pub struct VersionArgs {}

/// Runs `buildx version`.
///
/// # Errors
/// When standard output is gone.
pub fn version(_args: VersionArgs, _session: &mut Session, out: &mut Out) -> Result<u8> {
    out.line(format!("coracle {}", version::VERSION))?;
    Ok(0)
}

/// Build what files of HCL or JSON describe: refused
#[derive(Debug, clap::Args)]
pub struct BakeArgs {
    /// Whatever it may be
    #[arg(
        value_name = "TARGET",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub rest: Vec<String>,
}

/// Runs `buildx bake`.
///
/// # Errors
/// Always: `Unsupported`.
pub fn bake(_args: BakeArgs, _session: &mut Session, _out: &mut Out) -> Result<u8> {
    Err(
        crate::base::Error::unsupported("`buildx bake`: coracle reads no files of bake")
            .hint("`coracle build` once for each target; builds share their cache and may run side by side"),
    )
}
