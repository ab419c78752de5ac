//! The first process's environment, built from nothing.
//!
//! Later ones win: defaults, image, `--http-proxy`, `--env-host`, `--env-merge`, `--env-file`,
//! `--env`, CDI devices, secrets.
//! What the image says is data: an entry without `=` would name a variable of the host, so such
//! an image is refused (security class G, CVE-2026-57231).

use super::Facts;
use crate::base::{Error, Kind, Result};
use crate::spec::image::ImageConfig;
use crate::state::options::ContainerOptions;

/// Where programs are looked for when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What systemd gives one process and no other.
const OF_SERVICES: &[&str] = &[
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
];

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
    // What systemd told the caller is not for the container: it gets its own below.
    vars.0
        .retain(|(key, _)| !OF_SERVICES.contains(&key.as_str()));
    if options.unset_env_all {
        vars.0.clear();
    }
    vars.0.retain(|(key, _)| !options.unset_env.contains(key));
    for entry in &options.env_merge {
        if let Some((key, value)) = split(entry) {
            let value = expand(value, &vars.0).map_err(|why| {
                Error::invalid(format!("cannot work out --env-merge {entry:?}: {why}"))
            })?;
            vars.set(key, &value);
        }
    }
    vars.extend(&options.env)?;
    vars.extend(&facts.secret_env)?;
    vars.extend(&facts.service_env)?;
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

/// `$NAME`, `${NAME}`, `${NAME:-word}` and `${NAME:+word}` become the variables' values; a
/// backslash takes the meaning from what follows.
fn expand(text: &str, vars: &[(String, String)]) -> std::result::Result<String, &'static str> {
    let value = |name: &str| {
        let found = vars.iter().find(|(k, _)| k == name);
        found.map_or("", |(_, v)| v.as_str())
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut made = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['$', '\\']) {
        made.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if rest[at..].starts_with('\\') {
            let next = after.chars().next();
            made.push(next.unwrap_or('\\'));
            rest = &after[next.map_or(0, char::len_utf8)..];
        } else if let Some(inner) = after.strip_prefix('{') {
            let end = inner.find('}').ok_or("a brace is not closed")?;
            let (name, word) = match inner[..end].split_once(':') {
                Some((name, word)) => (name, Some(word)),
                None => (&inner[..end], None),
            };
            if name.is_empty() || !name.chars().all(is_name) {
                return Err("there is no variable's name in the braces");
            }
            let value = value(name);
            made.push_str(match word {
                None => value,
                Some(word) => match (word.chars().next(), value.is_empty()) {
                    (Some('-'), true) | (Some('+'), false) => &word[1..],
                    (Some('-'), false) => value,
                    (Some('+'), true) => "",
                    _ => return Err("only :- and :+ may follow the name"),
                },
            });
            rest = &inner[end + 1..];
        } else {
            let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
            match end {
                0 => made.push('$'),
                _ => made.push_str(value(&after[..end])),
            }
            rest = &after[end..];
        }
    }
    made.push_str(rest);
    Ok(made)
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
    fn merged_values_are_made_of_the_images() {
        let options = ContainerOptions {
            env_merge: [
                "A=${A}-mod",
                "PATH=$PATH:/opt",
                r"B=\$A${NONE:-x}${A:+y}$",
                "C=$A",
            ]
            .map(str::to_owned)
            .to_vec(),
            env: list("C=env"),
            ..ContainerOptions::default()
        };
        let env = environment(&options, Some(&image("A=1 PATH=/p")), &facts(), false).unwrap();
        assert_eq!(env[0], "PATH=/p:/opt");
        assert_eq!(env[2..5], ["A=1-mod", "B=$Axy$", "C=env"]);
        for bad in ["A=${", "A=${}", "A=${A:x}", "A=${A B}"] {
            let options = ContainerOptions {
                env_merge: vec![bad.to_owned()],
                ..ContainerOptions::default()
            };
            assert!(
                environment(&options, None, &facts(), false).is_err(),
                "{bad}"
            );
        }
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
