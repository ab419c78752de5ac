//! `secret create`.

use super::super::args;
use super::super::output::Out;
use crate::base::Result;
use crate::operations::secret::{self, Create, Source};
use crate::operations::session::Session;
use crate::secrets::Taken;

/// Create a secret
///
/// The content reaches containers by `run --secret NAME`. It has at most 512,000 bytes. The driver
/// `file` stores it unencrypted, readable by you only; `pass` in a pass store, by gpg (options: root,
/// key, gpghomedir); `shell` by commands of yours (options: list, lookup, store, delete).
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Storage of the content: file (the default), pass or shell
    #[arg(short, long, value_name = "NAME")]
    driver: Option<String>,
    /// Option of the driver (the driver `file` has none)
    #[arg(long, value_name = "KEY=VALUE")]
    driver_opts: Vec<String>,
    /// Read the content from the environment variable that stands for the file
    #[arg(long)]
    env: bool,
    /// Leave a secret of that name alone and succeed
    #[arg(long)]
    ignore: bool,
    /// Label of the secret
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Replace a secret of that name
    #[arg(long, conflicts_with = "ignore")]
    replace: bool,
    /// Name of the secret
    name: String,
    /// File to read, or `-` for standard input
    #[arg(value_name = "FILE|-")]
    file: String,
}

/// Runs `secret create`: prints the id.
///
/// # Errors
/// What the operation says.
pub fn run(args: CreateArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let request = request(args)?;
    let record = secret::create(session, &request)?;
    out.line(record.id)?;
    Ok(0)
}

fn request(args: CreateArgs) -> Result<Create> {
    Ok(Create {
        name: args.name,
        source: match args.file.as_str() {
            _ if args.env => Source::Env(args.file),
            "-" => Source::Stdin,
            _ => Source::File(args.file.into()),
        },
        driver: args.driver,
        // Several may stand in one, as podman has it.
        options: args::pairs("driver-opts", &split(&args.driver_opts))?,
        labels: args::labels(&args.label)?,
        taken: match (args.replace, args.ignore) {
            (true, _) => Taken::Replace,
            (_, true) => Taken::Keep,
            _ => Taken::Refuse,
        },
    })
}

/// `a=b,c=d` as two, unless what follows the comma is no option: commands may have commas.
fn split(texts: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for text in texts {
        for (at, part) in text.split(',').enumerate() {
            match all.last_mut() {
                Some(last) if at > 0 && !is_option(part) => {
                    last.push(',');
                    last.push_str(part);
                }
                _ => all.push(part.to_owned()),
            }
        }
    }
    all
}

fn is_option(text: &str) -> bool {
    text.split_once('=')
        .is_some_and(|(key, _)| !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;
    use crate::base::Error;

    fn parsed(words: &str) -> Result<Create> {
        let command = super::super::super::frame::augment::<CreateArgs>(clap::Command::new("x"));
        let matches = command
            .try_get_matches_from(words.split(' '))
            .map_err(|e| Error::invalid(e.to_string()))?;
        request(CreateArgs::from_arg_matches(&matches).unwrap())
    }

    #[test]
    fn words_become_a_request() {
        let r = parsed("x -l a=b --replace token -").unwrap();
        assert_eq!((r.source, r.taken), (Source::Stdin, Taken::Replace));
        assert_eq!(r.labels["a"], "b");
        let r = parsed("x --env token VARIABLE").unwrap();
        assert_eq!(r.source, Source::Env("VARIABLE".to_owned()));
        let r = parsed("x token ./file").unwrap();
        assert_eq!(r.source, Source::File("./file".into()));
        let r =
            parsed("x -d shell --driver-opts list=a,lookup=b,c,Dx=1 --driver-opts store=d token -");
        let r = r.unwrap();
        assert_eq!(r.driver.as_deref(), Some("shell"));
        let options: Vec<_> = r.options.iter().map(|(k, v)| format!("{k}:{v}")).collect();
        assert_eq!(options, ["list:a", "lookup:b,c,Dx=1", "store:d"]);
        for bad in ["x token", "x --replace --ignore token -"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
