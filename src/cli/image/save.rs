//! `save` and `load`.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::progress::Silent;
use crate::base::{Error, Result};
use crate::cli::output::Out;
use crate::operations::image::archive::Form;
use crate::operations::image::import::Source;
use crate::operations::image::{load as loading, save as saving};
use crate::operations::session::Session;

/// Write images into an archive
///
/// The archive goes to standard output unless --output names a file or folder. docker, podman and
/// skopeo read every form.
#[derive(Debug, clap::Args)]
pub struct SaveArgs {
    /// Compress plain layers with gzip, in a docker-dir
    #[arg(long)]
    pub compress: bool,
    /// docker-archive, oci-archive, oci-dir or docker-dir
    #[arg(long, value_name = "FORM", default_value = "docker-archive")]
    pub format: String,
    /// Accept several images in one archive (they are accepted anyway)
    #[arg(short, long)]
    pub multi_image_archive: bool,
    /// File or folder to write
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Insist on the image being for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
    /// Plain layers in the OCI forms
    #[arg(long)]
    pub uncompressed: bool,
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Runs `save`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn save(args: SaveArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let form = match args.format.as_str() {
        "docker-archive" => Form::DockerArchive,
        "oci-archive" => Form::OciArchive,
        "oci-dir" => Form::OciDir,
        "docker-dir" => Form::DockerDir,
        other => {
            return Err(Error::invalid(format!("invalid format {other:?}"))
                .hint("use docker-archive, oci-archive, oci-dir or docker-dir"));
        }
    };
    if args.compress && form != Form::DockerDir {
        return Err(Error::invalid("--compress is for --format docker-dir only"));
    }
    if args.compress && args.uncompressed {
        return Err(Error::invalid(
            "--compress and --uncompressed exclude each other",
        ));
    }
    if args.quiet {
        session.progress = Arc::new(Silent);
    }
    let target = match args.output {
        Some(path) => saving::Target::Path(path),
        None if out.is_terminal() => {
            return Err(Error::invalid("an archive does not go to a terminal")
                .hint("use --output FILE, or redirect standard output"));
        }
        None => saving::Target::Stdout,
    };
    out.flush()?;
    let platform = args.platform.as_deref().map(str::parse).transpose()?;
    let images = saving::select(session, &args.images, platform.as_ref())?;
    let options = saving::Options {
        form,
        uncompressed: args.uncompressed,
        compress: args.compress,
    };
    saving::save(session, &images, &target, options)?;
    Ok(0)
}

/// Read images from an archive
///
/// Knows docker-archive and oci-archive, compressed or not, OCI layouts and dir folders, from a
/// file, a folder, a web server or standard input.
#[derive(Debug, clap::Args)]
pub struct LoadArgs {
    /// File, folder or address; default is standard input
    #[arg(short, long, value_name = "PATH|URL")]
    pub input: Option<String>,
    /// Load the images for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Print the names only
    #[arg(short, long)]
    pub quiet: bool,
}

/// Runs `load`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn load(args: LoadArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.quiet {
        session.progress = Arc::new(Silent);
    }
    let input = match args.input.as_deref() {
        Some(text) => Source::parse(text),
        None => {
            use std::io::IsTerminal as _;
            if std::io::stdin().is_terminal() {
                return Err(Error::invalid("an archive does not come from a terminal")
                    .hint("use --input FILE, or redirect standard input"));
            }
            Source::Stdin
        }
    };
    let platform = args.platform.as_deref().map(str::parse).transpose()?;
    for found in loading::load(session, &input, platform.as_ref())? {
        match &found.name {
            Some(name) => out.line(format!("Loaded image: {name}"))?,
            None => out.line(format!("Loaded image: {}", found.record.id))?,
        }
    }
    Ok(0)
}
