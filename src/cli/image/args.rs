//! Options that several image commands share.

use std::path::PathBuf;

use crate::base::fs::{self as files, Durability};
use crate::base::{Error, Result};
use crate::operations::image::RegistryOptions;
use crate::operations::image::push::Signing;
use crate::spec::digest::Digest;
use crate::spec::platform::Platform;

/// How to talk to registries.
#[derive(Debug, Default, clap::Args)]
pub struct RegistryArgs {
    /// Path of the file with credentials
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// Credentials for this one command
    #[arg(long, value_name = "USER[:PASSWORD]")]
    pub creds: Option<String>,
    /// Folder with CA (*.crt) and client certificates (*.cert, *.key)
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// Insist on HTTPS and valid certificates
    #[arg(long)]
    pub tls_verify: Option<bool>,
}

impl RegistryArgs {
    /// As [`RegistryArgs::options`], with docker's `--insecure`.
    ///
    /// # Errors
    /// As [`RegistryArgs::options`].
    pub fn options_or_insecure(&self, insecure: bool) -> Result<RegistryOptions> {
        let mut options = self.options()?;
        if insecure {
            options.tls_verify.get_or_insert(false);
        }
        Ok(options)
    }

    /// The operation's form.
    ///
    /// # Errors
    /// `Invalid` for credentials without a user.
    pub fn options(&self) -> Result<RegistryOptions> {
        let credentials = match &self.creds {
            None => None,
            Some(text) => {
                let (user, password) = text.split_once(':').unwrap_or((text, ""));
                if user.is_empty() {
                    return Err(Error::invalid("--creds has no user name")
                        .hint("write --creds USER:PASSWORD"));
                }
                Some((user.to_owned(), password.to_owned()))
            }
        };
        Ok(RegistryOptions {
            authfile: self.authfile.clone(),
            credentials,
            cert_dir: self.cert_dir.clone(),
            tls_verify: self.tls_verify,
            retry: None,
            retry_delay: None,
        })
    }
}

/// What is done with the manifest that was pushed.
#[derive(Debug, Default, clap::Args)]
pub struct PushedArgs {
    /// Write the manifest's digest into a file
    #[arg(long, value_name = "FILE")]
    pub digestfile: Option<PathBuf>,
    /// Sign with this GPG key, into the folder that registries.d names
    #[arg(long, value_name = "FINGERPRINT")]
    pub sign_by: Option<String>,
    /// Sign with this key, as cosign does
    #[arg(long, value_name = "FILE", conflicts_with = "sign_by")]
    pub sign_by_sigstore_private_key: Option<PathBuf>,
    /// File whose first line opens the key to sign with
    #[arg(long, value_name = "FILE")]
    pub sign_passphrase_file: Option<PathBuf>,
}

impl PushedArgs {
    /// Who signs it.
    pub fn signing(&self) -> Signing {
        Signing {
            by: self.sign_by.clone(),
            sigstore_key: self.sign_by_sigstore_private_key.clone(),
            passphrase_file: self.sign_passphrase_file.clone(),
        }
    }

    /// Writes the file of `--digestfile`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn note(&self, digest: &Digest) -> Result<()> {
        let Some(path) = &self.digestfile else {
            return Ok(());
        };
        let text = digest.to_string();
        files::replace(path, text.as_bytes(), 0o644, Durability::Volatile)
    }
}

/// How often to try.
#[derive(Debug, Default, clap::Args)]
pub struct RetryArgs {
    /// How often to try again after a failure
    #[arg(long, value_name = "N")]
    pub retry: Option<u32>,
    /// Wait between tries, e.g. 5s; the default grows from one second
    #[arg(long, value_name = "DURATION")]
    pub retry_delay: Option<String>,
}

impl RetryArgs {
    /// Adds them to the operation's form.
    ///
    /// # Errors
    /// `Invalid` for a malformed duration.
    pub fn apply(&self, options: &mut RegistryOptions) -> Result<()> {
        options.retry = self.retry;
        options.retry_delay = self
            .retry_delay
            .as_deref()
            .map(crate::base::time::parse_duration)
            .transpose()?;
        Ok(())
    }
}

/// Which platform.
#[derive(Debug, Default, clap::Args)]
pub struct PlatformArgs {
    /// Platform of the image, e.g. linux/arm64
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", conflicts_with_all = ["os", "arch", "variant"])]
    pub platform: Option<String>,
    /// CPU architecture of the image
    #[arg(long, alias = "override-arch", value_name = "ARCH")]
    pub arch: Option<String>,
    /// Operating system of the image
    #[arg(long, alias = "override-os", value_name = "OS")]
    pub os: Option<String>,
    /// CPU variant of the image
    #[arg(long, alias = "override-variant", value_name = "VARIANT")]
    pub variant: Option<String>,
}

impl PlatformArgs {
    /// The platform asked for, if any.
    ///
    /// # Errors
    /// `Invalid` for a malformed one.
    pub fn platform(&self) -> Result<Option<Platform>> {
        if let Some(text) = &self.platform {
            return text.parse().map(Some);
        }
        if self.arch.is_none() && self.os.is_none() && self.variant.is_none() {
            return Ok(None);
        }
        let host = Platform::host();
        let os = self.os.as_deref().unwrap_or(&host.os);
        let arch = self.arch.as_deref().unwrap_or(&host.architecture);
        let mut text = format!("{os}/{arch}");
        if let Some(variant) = &self.variant {
            text = format!("{text}/{variant}");
        }
        text.parse().map(Some)
    }
}
