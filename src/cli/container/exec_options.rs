//! The flags of `exec` -> [`ExecOptions`].

use std::path::{Path, PathBuf};

use super::options::read_variables;
use crate::base::{Context as _, Error, Result};
use crate::config::env::Env;
use crate::state::request::ExecOptions;

/// Run a command in a running container
///
/// The exit code is the command's; 125 says that coracle failed, 126 that the command cannot be
/// executed, 127 that it was not found.
#[derive(Debug, clap::Args)]
pub struct ExecArgs {
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Run in the background
    #[arg(short, long)]
    detach: bool,
    /// Variable: NAME=VALUE, NAME from here, or NAME* for all that begin so
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// User: name or id, with :group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Working directory inside
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Give it all capabilities
    #[arg(long)]
    privileged: bool,
    /// Keys that detach from the command
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Pass so many further descriptors, from 3 on
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    preserve_fds: u32,
    /// Pass these further descriptors, under their own numbers
    #[arg(
        long,
        value_name = "N[,N…]",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(3..1024),
        conflicts_with = "preserve_fds"
    )]
    preserve_fd: Vec<u32>,
    /// Read the container's id from a file
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// The newest container
    #[arg(short, long)]
    pub(super) latest: bool,
    /// Keep no record of it (coracle never does)
    #[arg(long)]
    no_session: bool,
    /// Container (unless --cidfile names one), then the command with its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "CONTAINER COMMAND [ARG…]"
    )]
    words: Vec<String>,
}

impl ExecArgs {
    /// What is asked for; `latest` is the newest container's id, with `--latest`.
    ///
    /// # Errors
    /// `Invalid` for what cannot be read or contradicts itself.
    pub fn request(self, env: &Env, cwd: &Path, latest: Option<String>) -> Result<ExecOptions> {
        let mut words = self.words.into_iter();
        let container = match (&self.cidfile, latest) {
            (_, Some(latest)) => latest,
            (Some(file), None) => std::fs::read_to_string(cwd.join(file))
                .what(|| format!("cannot read the container's id from {}", file.display()))?
                .trim()
                .to_owned(),
            (None, None) => words.next().unwrap_or_default(),
        };
        let command: Vec<String> = words.collect();
        if container.is_empty() {
            return Err(Error::invalid("no container was named"));
        }
        if command.is_empty() {
            return Err(
                Error::invalid("there is nothing to run: no command was given")
                    .hint("name one after the container, e.g. `coracle exec NAME sh`"),
            );
        }
        if self
            .workdir
            .as_deref()
            .is_some_and(|dir| !dir.is_empty() && !dir.starts_with('/'))
        {
            return Err(Error::invalid(
                "the working directory is not an absolute path inside the container",
            ));
        }
        if self.detach && (self.preserve_fds > 0 || !self.preserve_fd.is_empty()) {
            return Err(Error::invalid(
                "--detach and --preserve-fds contradict each other",
            ));
        }
        Ok(ExecOptions {
            container,
            command,
            interactive: self.interactive,
            tty: self.tty,
            detach: self.detach,
            env: read_variables(&self.env_file, &self.env, env, cwd)?,
            user: self.user.filter(|u| !u.is_empty()),
            workdir: self.workdir.filter(|d| !d.is_empty()),
            privileged: self.privileged,
            detach_keys: self.detach_keys,
            preserve_fds: self.preserve_fds,
            preserve_fd: self.preserve_fd,
            cidfile: self.cidfile,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::frame;

    fn exec(line: &str) -> Result<ExecOptions> {
        let command = frame::augment::<ExecArgs>(clap::Command::new("exec"));
        let words = std::iter::once("exec").chain(line.split(' '));
        let mut matches = command.try_get_matches_from(words).unwrap();
        let args = frame::parse::<ExecArgs>(&mut matches)?;
        args.request(&Env::fixed([("A", "1")]), Path::new("/tmp"), None)
    }

    #[test]
    fn flags_end_at_the_container() {
        let got = exec("-it -e A -eB=2 -u 5:6 -w /x web sh -c ls --privileged").unwrap();
        assert_eq!(got.container, "web");
        assert_eq!(got.command, ["sh", "-c", "ls", "--privileged"]);
        assert_eq!(got.env, ["A=1", "B=2"]);
        assert!(got.interactive && got.tty && !got.privileged && !got.detach);
        assert_eq!(
            (got.user.as_deref(), got.workdir.as_deref()),
            (Some("5:6"), Some("/x"))
        );
        for bad in [
            "web",
            "-w rel web sh",
            "-d --preserve-fds 1 web sh",
            "-e =x web sh",
        ] {
            assert!(exec(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cidfile_stands_for_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cid");
        std::fs::write(&file, "abc\n").unwrap();
        let got = exec(&format!("--cidfile {} sh", file.display())).unwrap();
        assert_eq!(
            (got.container.as_str(), got.command),
            ("abc", vec!["sh".to_owned()])
        );
    }
}
