//! Flags of podman and Docker that are known and not served: each says why, none is ignored.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::base::{Error, Result};

/// The sentence after "cannot use --flag: ".
const WINDOWS: &str = "it is for Windows";
const NO_CGROUP_DEVICES: &str = "only root on the host can limit devices";

/// Name, whether a value follows, why not.
const FLAGS: &[(&str, bool, &str)] = &[
    ("cpu-count", true, WINDOWS),
    ("cpu-percent", true, WINDOWS),
    ("io-maxbandwidth", true, WINDOWS),
    ("io-maxiops", true, WINDOWS),
    ("isolation", true, WINDOWS),
    (
        "use-api-socket",
        false,
        "there is no daemon, so there is no socket of one",
    ),
    (
        "volume-driver",
        true,
        "volumes are folders, without plugins",
    ),
    (
        "link",
        true,
        "put both containers on one network: names are found there",
    ),
    (
        "link-local-ip",
        true,
        "bridge networks give no link-local addresses of choice",
    ),
    ("requires", true, "start order comes with a later version"),
    ("decryption-key", true, "encrypted images are not supported"),
    ("device-cgroup-rule", true, NO_CGROUP_DEVICES),
    ("cpu-rt-period", true, "it exists in cgroup v1 only"),
    ("cpu-rt-runtime", true, "it exists in cgroup v1 only"),
    ("rdt-class", true, "it needs root on the host"),
    ("chrootdirs", true, "it is not supported"),
    (
        "seccomp-policy",
        true,
        "it is not supported; --security-opt seccomp=FILE names a profile",
    ),
    (
        "storage-opt",
        true,
        "a quota for one container is not supported",
    ),
];

/// The refused flags that were given.
#[derive(Debug, Default)]
pub struct Refused(Vec<&'static (&'static str, bool, &'static str)>);

impl Refused {
    /// Says no.
    ///
    /// # Errors
    /// `Unsupported` when a flag was given.
    pub(super) fn check(&self) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _, why)) => Err(Error::unsupported(format!("cannot use --{name}: {why}"))),
        }
    }
}

impl clap::Args for Refused {
    fn augment_args(command: Command) -> Command {
        command.args(FLAGS.iter().map(|(name, takes_value, _)| {
            let arg = Arg::new(*name).long(*name).hide(true);
            if *takes_value {
                arg.action(ArgAction::Append)
            } else {
                arg.action(ArgAction::SetTrue)
            }
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Refused {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let given =
            |name: &str| matches.value_source(name) == Some(clap::parser::ValueSource::CommandLine);
        Ok(Self(
            FLAGS.iter().filter(|(name, _, _)| given(name)).collect(),
        ))
    }

    fn update_from_arg_matches(
        &mut self,
        matches: &ArgMatches,
    ) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
