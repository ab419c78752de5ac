//! `image convert`.

use crate::base::{Error, Result};
use crate::cli::output::Out;
use crate::image::store::local_name;
use crate::operations::image::compress::Wanted;
use crate::operations::image::convert;
use crate::operations::session::Session;

use super::push::compression;

/// Compress an image's layers another way
///
/// The result is another image with a name of its own. --zstdchunked and --estargz give layers
/// whose files can be fetched one by one: `run --pull=lazy` starts them at once. Prints the digest
/// of the new manifest.
#[derive(Debug, clap::Args)]
pub struct ConvertArgs {
    /// Layers as eStargz
    #[arg(long, group = "how")]
    pub estargz: bool,
    /// Level of gzip for --estargz, 1 to 9
    #[arg(long, value_name = "N", requires = "estargz")]
    pub estargz_compression_level: Option<i32>,
    /// Turn the manifest into OCI's
    #[arg(long)]
    pub oci: bool,
    /// Insist on the image being for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Layers as plain tars
    #[arg(long, group = "how")]
    pub uncompressed: bool,
    /// Layers compressed with zstd
    #[arg(long, group = "how")]
    pub zstd: bool,
    /// Level for --zstd, 1 to 22
    #[arg(long, value_name = "N", requires = "zstd")]
    pub zstd_compression_level: Option<i32>,
    /// Layers as zstd:chunked
    #[arg(long, group = "how")]
    pub zstdchunked: bool,
    /// Level of zstd for --zstdchunked, 1 to 22
    #[arg(long, value_name = "N", requires = "zstdchunked")]
    pub zstdchunked_compression_level: Option<i32>,
    /// The image
    #[arg(value_name = "IMAGE")]
    pub source: String,
    /// The name of the new one
    #[arg(value_name = "NAME")]
    pub target: String,
}

/// Runs `image convert`; answers the exit code.
///
/// # Errors
/// As the operation; `Invalid` when nothing is to be changed.
pub fn run(args: ConvertArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let wanted: Option<Wanted> = if args.estargz {
        compression(Some("estargz"), args.estargz_compression_level)?
    } else if args.zstdchunked {
        compression(Some("zstd:chunked"), args.zstdchunked_compression_level)?
    } else if args.zstd {
        compression(Some("zstd"), args.zstd_compression_level)?
    } else if args.uncompressed {
        compression(Some("none"), None)?
    } else {
        None
    };
    if wanted.is_none() && !args.oci {
        return Err(Error::invalid("nothing is to be converted")
            .hint("name a form: --zstdchunked, --estargz, --zstd, --uncompressed or --oci"));
    }
    let request = convert::Request {
        compression: wanted,
        oci: args.oci,
        platform: args.platform.as_deref().map(str::parse).transpose()?,
    };
    let target = local_name(&args.target)?;
    let record = convert::convert(session, &args.source, &target, &request)?;
    match record.manifest_digest() {
        Some(digest) => out.line(digest.to_string())?,
        None => out.line(record.id.to_string())?,
    }
    Ok(0)
}
