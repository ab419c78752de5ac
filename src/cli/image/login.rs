//! `login` and `logout`.

use std::io::Read as _;
use std::path::PathBuf;

use crate::base::{Context as _, Error, Kind, Result};
use crate::cli::output::Out;
use crate::cli::prompt;
use crate::operations::image::RegistryOptions;
use crate::operations::image::login::{self, AuthFile};
use crate::operations::session::Session;
use crate::registry::credentials::Credentials;

/// Log into a registry
///
/// The credentials are proven to the registry first, then stored for pull and push: by the
/// credential helper that the file names, else in the file itself, which is not encrypted.
#[derive(Debug, clap::Args)]
pub struct LoginArgs {
    /// Path of the file with credentials
    #[arg(long, value_name = "FILE", conflicts_with = "compat_auth_file")]
    pub authfile: Option<PathBuf>,
    /// Folder with CA and client certificates
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// Path of a file in docker's form
    #[arg(long, value_name = "FILE")]
    pub compat_auth_file: Option<PathBuf>,
    /// Print who is logged in
    #[arg(long)]
    pub get_login: bool,
    /// Password (others on this machine may see it)
    #[arg(
        short,
        long,
        value_name = "PASSWORD",
        conflicts_with = "password_stdin"
    )]
    pub password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// Insist on HTTPS and valid certificates
    #[arg(long)]
    pub tls_verify: Option<bool>,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// Tell where the credentials are kept
    #[arg(short, long)]
    pub verbose: bool,
    /// The registry; default is the first to search, or docker.io
    #[arg(value_name = "REGISTRY")]
    pub registry: Option<String>,
}

/// Runs `login`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn login(args: LoginArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let which = AuthFile {
        authfile: args.authfile.clone(),
        compat: args.compat_auth_file.clone(),
    };
    let registry = match args.registry {
        Some(text) => host_of(&text),
        None => login::default_registry(session)?,
    };
    if args.get_login {
        out.line(login::current(session, &registry, &which)?)?;
        return Ok(0);
    }
    let user = match args.username {
        Some(user) => user,
        None if args.password_stdin => {
            return Err(Error::invalid("--password-stdin needs --username"));
        }
        None => prompt::line("Username: ", out)?,
    };
    let password = match args.password {
        Some(password) => password,
        None if args.password_stdin => {
            let mut text = String::new();
            std::io::stdin()
                .lock()
                .take(1 << 20)
                .read_to_string(&mut text)
                .what(|| "cannot read the password")?;
            text.trim_end_matches(['\n', '\r']).to_owned()
        }
        None => prompt::hidden("Password: ", out)?,
    };
    if user.is_empty() || password.is_empty() {
        return Err(Error::invalid("user name and password must not be empty"));
    }
    let options = RegistryOptions {
        authfile: args.authfile,
        cert_dir: args.cert_dir,
        tls_verify: args.tls_verify,
        ..RegistryOptions::default()
    };
    let credentials = Credentials::Basic { user, password };
    login::login(session, &registry, &credentials, &options, &which)?;
    out.line("Login Succeeded!")?;
    if args.verbose {
        let kept = which.compat.or(which.authfile).unwrap_or_else(|| {
            crate::operations::image::remote::auth_files(session, None)
                .target()
                .to_owned()
        });
        out.line(format!("Used: {}", kept.display()))?;
    }
    Ok(0)
}

/// Forget the credentials of a registry
#[derive(Debug, clap::Args)]
pub struct LogoutArgs {
    /// Forget all of them
    #[arg(short, long)]
    pub all: bool,
    /// Path of the file with credentials
    #[arg(long, value_name = "FILE", conflicts_with = "compat_auth_file")]
    pub authfile: Option<PathBuf>,
    /// Path of a file in docker's form
    #[arg(long, value_name = "FILE")]
    pub compat_auth_file: Option<PathBuf>,
    /// The registry; default is the first to search, or docker.io
    #[arg(value_name = "REGISTRY")]
    pub registry: Option<String>,
}

/// Runs `logout`; answers the exit code.
///
/// # Errors
/// `NotFound` when nobody was logged in.
pub fn logout(args: LogoutArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let which = AuthFile {
        authfile: args.authfile,
        compat: args.compat_auth_file,
    };
    if args.all {
        if args.registry.is_some() {
            return Err(Error::invalid("--all and a registry exclude each other"));
        }
        login::logout_all(session, &which)?;
        out.line("Removed login credentials for all registries")?;
        return Ok(0);
    }
    let registry = match args.registry {
        Some(text) => host_of(&text),
        None => login::default_registry(session)?,
    };
    if !login::logout(session, &registry, &which)? {
        return Err(Error::new(
            Kind::NotFound,
            format!("not logged into {registry}"),
        ));
    }
    out.line(format!("Removed login credentials for {registry}"))?;
    Ok(0)
}

/// People paste addresses.
fn host_of(text: &str) -> String {
    match text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
    {
        Some(rest) => rest.split('/').next().unwrap_or(rest).to_owned(),
        None => text.trim_end_matches('/').to_owned(),
    }
}
