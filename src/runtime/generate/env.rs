//! The first process's environment, built from nothing.
//!
//! Later ones win: defaults, image, `--http-proxy`, `--env-host`, `--env-file`, `--env`, secrets.
//! What the image says is data: an entry without `=` would name a variable of the host, so such
//! an image is refused (security class G, CVE-2026-57231).

use super::Facts;
use crate::base::{Error, Kind, Result};
use crate::spec::image::ImageConfig;
use crate::state::options::ContainerOptions;

/// Where programs are looked for when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables in order of first appearance; a later value replaces an earlier one in place.
#[derive(Debug, Default)]
struct Variables(Vec<(String, String)>);

impl Variables {
    fn set(&mut self, key: &str, value: &str) {
        match self.0.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((key.to_owned(), value.to_owned())),
        }
    }

    fn set_missing(&mut self, key: &str, value: &str) {
        if !value.is_empty() && !self.0.iter().any(|(k, _)| k == key) {
            self.0.push((key.to_owned(), value.to_owned()));
        }
    }

    fn finish(self) -> Vec<String> {
        self.0
            .into_iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect()
    }

    fn extend(&mut self, entries: &[String]) -> Result<()> {
        for entry in entries {
            let (key, value) = split(entry).ok_or_else(|| {
                Error::invalid(format!("invalid environment variable {entry:?}"))
                    .hint("write it as NAME=VALUE")
            })?;
            self.set(key, value);
        }
        Ok(())
    }
}

/// Variables on top of those of a running container, for `exec`.
#[derive(Debug)]
pub(super) struct Merge(Variables);

impl Merge {
    pub(super) fn new(base: &[String]) -> Self {
        let mut vars = Variables::default();
        for (key, value) in base.iter().filter_map(|e| split(e)) {
            vars.set(key, value);
        }
        Self(vars)
    }

    pub(super) fn set(&mut self, key: &str, value: &str) {
        self.0.set(key, value);
    }

    pub(super) fn set_missing(&mut self, key: &str, value: &str) {
        self.0.set_missing(key, value);
    }

    pub(super) fn extend(&mut self, entries: &[String]) -> Result<()> {
        self.0.extend(entries)
    }

    pub(super) fn finish(self) -> Vec<String> {
        self.0.finish()
    }
}

/// `KEY=VALUE` without NUL and with a key.
fn split(entry: &str) -> Option<(&str, &str)> {
    entry
        .split_once('=')
        .filter(|(key, _)| !key.is_empty() && !entry.contains('\0'))
}

/// The environment, `KEY=VALUE` each.
///
/// # Errors
/// `Invalid` for an entry of the image or the options that is not `KEY=VALUE`.
pub(super) fn environment(
    options: &ContainerOptions,
    image: Option<&ImageConfig>,
    facts: &Facts,
    systemd: bool,
) -> Result<Vec<String>> {
    let mut vars = Variables::default();
    vars.set("PATH", DEFAULT_PATH);
    vars.set("container", "oci");
    if options.tty {
        vars.set("TERM", "xterm");
    }
    for entry in image.iter().flat_map(|i| &i.config.env) {
        let (key, value) = split(entry).ok_or_else(|| {
            Error::new(
                Kind::Denied,
                format!("the image's environment entry {entry:?} has no value"),
            )
            .hint(
                "such an entry would take a variable of the host in: rebuild the image without it",
            )
        })?;
        vars.set(key, value);
    }
    vars.extend(&options.env_proxy)?;
    vars.extend(&options.env_host)?;
    if options.unset_env_all {
        vars.0.clear();
    }
    vars.0.retain(|(key, _)| !options.unset_env.contains(key));
    vars.extend(&options.env)?;
    vars.extend(&facts.secret_env)?;
    if systemd {
        vars.set_missing("container_uuid", facts.id.get(..32).unwrap_or(&facts.id));
    }
    vars.set_missing("HOSTNAME", &facts.hostname);
    let home = if facts.user.home.is_empty() {
        "/"
    } else {
        &facts.user.home
    };
    vars.set_missing("HOME", home);
    Ok(vars.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::user::ResolvedUser;
    use crate::spec::image::RunConfig;

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn image(env: &str) -> ImageConfig {
        ImageConfig {
            config: RunConfig {
                env: list(env),
                ..RunConfig::default()
            },
            ..ImageConfig::default()
        }
    }

    fn facts() -> Facts {
        Facts {
            hostname: "box".into(),
            user: ResolvedUser {
                home: "/root".into(),
                ..ResolvedUser::default()
            },
            ..Facts::default()
        }
    }

    #[test]
    fn later_sources_win_and_defaults_fill_the_gaps() {
        let options = ContainerOptions {
            env: list("A=env HOME=/h"),
            env_host: list("A=host B=host"),
            env_proxy: list("http_proxy=p A=proxy"),
            tty: true,
            ..ContainerOptions::default()
        };
        let image = image("A=image B=image C=image PATH=/p");
        let mut facts = facts();
        facts.secret_env = list("C=secret");
        assert_eq!(
            environment(&options, Some(&image), &facts, false).unwrap(),
            [
                "PATH=/p",
                "container=oci",
                "TERM=xterm",
                "A=env",
                "B=host",
                "C=secret",
                "http_proxy=p",
                "HOME=/h",
                "HOSTNAME=box"
            ]
        );
    }

    #[test]
    fn unsetting_spares_what_was_asked_for() {
        let mut options = ContainerOptions {
            env: list("A=1"),
            unset_env: list("PATH A"),
            ..ContainerOptions::default()
        };
        let image = image("A=0 B=0");
        let env = environment(&options, Some(&image), &facts(), false).unwrap();
        assert_eq!(
            env,
            ["container=oci", "B=0", "A=1", "HOSTNAME=box", "HOME=/root"]
        );
        options.unset_env_all = true;
        let env = environment(&options, Some(&image), &facts(), false).unwrap();
        assert_eq!(env, ["A=1", "HOSTNAME=box", "HOME=/root"]);
    }

    #[test]
    fn an_image_cannot_take_host_variables_in() {
        for bad in ["HOME", "*", "AWS_*", "=x"] {
            let e = environment(
                &ContainerOptions::default(),
                Some(&image(bad)),
                &facts(),
                false,
            );
            assert_eq!(e.unwrap_err().kind(), Kind::Denied, "{bad}");
        }
    }
}
