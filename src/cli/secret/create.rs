//! `secret create`.

use super::super::args;
use super::super::output::Out;
use crate::base::{Error, Result};
use crate::operations::secret::{self, Create, Source};
use crate::operations::session::Session;
use crate::secrets::Taken;

/// Create a secret
///
/// The content is stored unencrypted, readable by you only, and reaches containers by
/// `run --secret NAME`. It has at most 512,000 bytes.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Storage of the content; only `file`
    #[arg(short, long, value_name = "NAME", default_value = "file")]
    driver: String,
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
/// `Unsupported` for other drivers; what the operation says.
pub fn run(args: CreateArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let request = request(args)?;
    let record = secret::create(session, &request)?;
    out.line(record.id)?;
    Ok(0)
}

fn request(args: CreateArgs) -> Result<Create> {
    if args.driver != "file" {
        return Err(Error::unsupported(format!(
            "secret driver {:?} is not supported",
            args.driver
        ))
        .because("only the driver \"file\" exists"));
    }
    if let Some(option) = args.driver_opts.first() {
        return Err(
            Error::unsupported(format!("--driver-opts {option:?} is not supported"))
                .because("the driver \"file\" has no options"),
        );
    }
    Ok(Create {
        name: args.name,
        source: match args.file.as_str() {
            _ if args.env => Source::Env(args.file),
            "-" => Source::Stdin,
            _ => Source::File(args.file.into()),
        },
        labels: args::labels(&args.label)?,
        taken: match (args.replace, args.ignore) {
            (true, _) => Taken::Replace,
            (_, true) => Taken::Keep,
            _ => Taken::Refuse,
        },
    })
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

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
        for bad in [
            "x -d pass token -",
            "x --driver-opts a=b token -",
            "x token",
            "x --replace --ignore token -",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
