//! `registries.conf`, version 2: where a name is really fetched, and what short names mean.
//!
//! Files: `--registries-conf` or `$CONTAINERS_REGISTRIES_CONF` alone; else the first of
//! `~/.config/containers/registries.conf`, `/etc/containers/registries.conf` and
//! `/usr/share/containers/registries.conf`; then the drop-ins `registries.conf.d/*.conf` of
//! `/usr/share/containers`, `/etc/containers` and `~/.config/containers`, later ones winning.
//! A short name that nothing configures means Docker Hub.
//!
//! man: containers-registries.conf(5).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::fs as files;
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::env::Env;
use crate::config::user;
use crate::spec::reference::Reference;

const LIMIT: u64 = 4 << 20;

/// What the files say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    search: Vec<String>,
    registries: Vec<Registry>,
    aliases: BTreeMap<String, String>,
}

/// One place to ask for an image, in the order to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `host[:port]`.
    pub registry: String,
    /// The path below it.
    pub repository: String,
    /// What the configuration says of TLS; absent means nothing.
    pub insecure: Option<bool>,
    /// Whether it is a mirror: its failures are not the last word.
    pub mirror: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Registry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    #[serde(rename = "mirror")]
    mirrors: Vec<Mirror>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    unqualified_search_registries: Option<Vec<String>>,
    #[serde(rename = "registry")]
    registries: Vec<Registry>,
    aliases: BTreeMap<String, String>,
    /// Version 1: `[registries.search] registries = […]`.
    #[serde(rename = "registries")]
    version1: Option<toml::Table>,
}

impl Registries {
    /// Reads the files.
    ///
    /// # Errors
    /// `Invalid` for a malformed file or one of version 1; `NotFound` for a named one.
    pub fn load(named: Option<&Path>, env: &Env) -> Result<Self> {
        let home = env.config_home(&user::current().home).join("containers");
        let named = named.map(Path::to_owned).or_else(|| env.registries_conf());
        let mut all = Self::default();
        if let Some(path) = named {
            let text = read(&path)?
                .ok_or_else(|| Error::not_found(format!("no such file: {}", path.display())))?;
            all.merge(&text, &path)?;
            return Ok(all);
        }
        let roots = [
            PathBuf::from("/usr/share/containers"),
            PathBuf::from("/etc/containers"),
            home,
        ];
        for root in roots.iter().rev() {
            let path = root.join("registries.conf");
            if let Some(text) = read(&path)? {
                all.merge(&text, &path)?;
                break;
            }
        }
        for root in &roots {
            for path in drop_ins(&root.join("registries.conf.d")) {
                if let Some(text) = read(&path)? {
                    all.merge(&text, &path)?;
                }
            }
        }
        Ok(all)
    }

    fn merge(&mut self, text: &str, path: &Path) -> Result<()> {
        let what = || format!("cannot read {}", path.display());
        let file: File = toml::from_str(text).what_kind(Kind::Invalid, what)?;
        if file.version1.is_some() {
            return Err(Error::invalid(what())
                .because("it has the old version 1 form ([registries.search])")
                .hint("write it in version 2: see containers-registries.conf(5)"));
        }
        if let Some(search) = file.unqualified_search_registries {
            self.search = search;
        }
        self.aliases.extend(file.aliases);
        for mut registry in file.registries {
            if registry.prefix.is_empty() {
                registry.prefix.clone_from(&registry.location);
            }
            if registry.location.is_empty() && !registry.prefix.starts_with("*.") {
                registry.location.clone_from(&registry.prefix);
            }
            if registry.prefix.is_empty() {
                return Err(Error::invalid(what())
                    .because("a [[registry]] has neither prefix nor location"));
            }
            match self
                .registries
                .iter_mut()
                .find(|r| r.prefix == registry.prefix)
            {
                Some(old) => *old = registry,
                None => self.registries.push(registry),
            }
        }
        Ok(())
    }

    /// The full names that a typed name may mean, best first; a name with a registry means itself.
    ///
    /// # Errors
    /// `Invalid` when the text breaks the grammar.
    pub fn candidates(&self, text: &str) -> Result<Vec<Reference>> {
        if has_registry(text) {
            return Ok(vec![Reference::parse_normalized(text)?]);
        }
        let plain = Reference::parse_normalized(text)?;
        let tail = &text[name_length(text)..];
        if let Some(target) = self.aliases.get(&text[..name_length(text)])
            && !target.is_empty()
        {
            return Ok(vec![Reference::parse_normalized(&format!(
                "{target}{tail}"
            ))?]);
        }
        if self.search.is_empty() {
            return Ok(vec![plain]);
        }
        self.search
            .iter()
            .map(|registry| Reference::parse_normalized(&format!("{registry}/{text}")))
            .collect()
    }

    /// The registries of `unqualified-search-registries`, or Docker Hub.
    pub fn search_registries(&self) -> Vec<String> {
        if self.search.is_empty() {
            vec!["docker.io".to_owned()]
        } else {
            self.search.clone()
        }
    }

    /// Where to ask for an image: mirrors first, the place itself last.
    ///
    /// # Errors
    /// `Denied` when the configuration blocks it; `Invalid` for a rewrite to something malformed.
    pub fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        let name = reference.name();
        let full = reference.to_string();
        let Some(rule) = self
            .registries
            .iter()
            .filter(|r| matches_prefix(&r.prefix, &full))
            .max_by_key(|r| r.prefix.len())
        else {
            return Ok(vec![endpoint(&name, None, false)?]);
        };
        if rule.blocked {
            return Err(Error::new(
                Kind::Denied,
                format!("registry {:?} is blocked by registries.conf", rule.prefix),
            ));
        }
        let by_digest = reference.digest().is_some();
        let mut found = Vec::new();
        for mirror in &rule.mirrors {
            let usable = match mirror.pull_from_mirror.as_str() {
                "digest-only" => by_digest,
                "tag-only" => !by_digest,
                _ => by_digest || !rule.mirror_by_digest_only,
            };
            if usable {
                let name = rewrite(&rule.prefix, &mirror.location, &name);
                found.push(endpoint(&name, Some(mirror.insecure), true)?);
            }
        }
        let name = rewrite(&rule.prefix, &rule.location, &name);
        found.push(endpoint(&name, rule.insecure.then_some(true), false)?);
        Ok(found)
    }
}

fn endpoint(name: &str, insecure: Option<bool>, mirror: bool) -> Result<Endpoint> {
    let reference = Reference::parse_untagged(name)
        .what(|| format!("registries.conf leads to the malformed name {name:?}"))?;
    Ok(Endpoint {
        registry: reference.registry().to_owned(),
        repository: reference.repository().to_owned(),
        insecure: insecure.filter(|i| *i),
        mirror,
    })
}

/// `prefix` is a host, a host with a path, a whole reference, or `*.domain`.
fn matches_prefix(prefix: &str, full: &str) -> bool {
    if let Some(domain) = prefix.strip_prefix('*') {
        let host = full.split('/').next().unwrap_or(full);
        let bare = host.split(':').next().unwrap_or(host);
        return bare.ends_with(domain) && bare.len() > domain.len();
    }
    full.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']))
}

fn rewrite(prefix: &str, location: &str, name: &str) -> String {
    if location.is_empty() {
        return name.to_owned();
    }
    let rest = if prefix.starts_with('*') {
        name.find('/').map_or("", |at| &name[at..])
    } else {
        // A prefix with a tag is longer than the name: then it is the whole of it.
        name.get(prefix.len()..).unwrap_or_default()
    };
    format!("{location}{rest}")
}

fn has_registry(text: &str) -> bool {
    text.split_once('/').is_some_and(|(first, _)| {
        first == "localhost"
            || first.contains(['.', ':'])
            || first.bytes().any(|b| b.is_ascii_uppercase())
    })
}

/// Where tag and digest of a short name begin.
fn name_length(text: &str) -> usize {
    let end = text.find('@').unwrap_or(text.len());
    match text[..end].rfind(':') {
        Some(colon) if !text[colon..end].contains('/') => colon,
        _ => end,
    }
}

fn drop_ins(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .map(|entries| {
            entries
                .filter_map(|e| e.ok().map(|e| e.path()))
                .filter(|p| p.extension().is_some_and(|e| e == "conf"))
                .collect()
        })
        .unwrap_or_default();
    found.sort();
    found
}

fn read(path: &Path) -> Result<Option<String>> {
    Ok(files::read_if_exists(path, LIMIT)?.map(|b| String::from_utf8_lossy(&b).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> Registries {
        let mut all = Registries::default();
        all.merge(text, Path::new("test")).unwrap();
        all
    }

    fn name(text: &str) -> Reference {
        Reference::parse_normalized(text).unwrap()
    }

    fn asked(conf: &Registries, text: &str) -> Vec<String> {
        conf.endpoints(&name(text))
            .unwrap()
            .iter()
            .map(|e| format!("{}/{}", e.registry, e.repository))
            .collect()
    }

    #[test]
    fn short_names_follow_aliases_then_search_registries_then_docker_hub() {
        let plain = conf("");
        let shown = |conf: &Registries, text: &str| -> Vec<String> {
            let all = conf.candidates(text).unwrap();
            all.iter().map(ToString::to_string).collect()
        };
        assert_eq!(shown(&plain, "x:1"), ["docker.io/library/x:1"]);
        let full = conf(
            "unqualified-search-registries = [\"a.example\", \"docker.io\"]\n\
             [aliases]\n\"fedora\" = \"registry.fedoraproject.org/fedora\"\n",
        );
        assert_eq!(
            shown(&full, "fedora:40"),
            ["registry.fedoraproject.org/fedora:40"]
        );
        assert_eq!(
            shown(&full, "x"),
            ["a.example/x:latest", "docker.io/library/x:latest"]
        );
        assert_eq!(shown(&full, "q.io/x"), ["q.io/x:latest"]);
        assert_eq!(shown(&full, "localhost/x"), ["localhost/x:latest"]);
    }

    #[test]
    fn mirrors_come_first_and_digest_rules_hold() {
        let conf = conf(
            "[[registry]]\nprefix = \"docker.io\"\nlocation = \"mirror.example/hub\"\nmirror-by-digest-only = true\n\
             [[registry.mirror]]\nlocation = \"m1.example:5000\"\ninsecure = true\n\
             [[registry.mirror]]\nlocation = \"m2.example\"\npull-from-mirror = \"tag-only\"\n",
        );
        let digest = format!("x@sha256:{}", "0".repeat(64));
        assert_eq!(
            asked(&conf, &digest),
            ["m1.example:5000/library/x", "mirror.example/hub/library/x"]
        );
        assert_eq!(
            asked(&conf, "x:1"),
            ["m2.example/library/x", "mirror.example/hub/library/x"]
        );
        assert_eq!(
            conf.endpoints(&name(&digest)).unwrap()[0].insecure,
            Some(true)
        );
    }

    #[test]
    fn the_longest_prefix_wins_and_wildcards_match_subdomains_only() {
        let conf = conf(
            "[[registry]]\nprefix = \"*.example.com\"\nblocked = true\n\
             [[registry]]\nprefix = \"a.example.com/team\"\nlocation = \"b.example/t\"\n\
             [[registry]]\nlocation = \"plain.example:80\"\ninsecure = true\n",
        );
        let blocked = conf.endpoints(&name("c.example.com/x")).unwrap_err();
        assert_eq!(blocked.kind(), Kind::Denied);
        assert!(conf.endpoints(&name("example.com/x")).is_ok());
        assert_eq!(asked(&conf, "a.example.com/team/x"), ["b.example/t/x"]);
        assert!(conf.endpoints(&name("a.example.com/teams/x")).is_err());
        let plain = &conf.endpoints(&name("plain.example:80/x")).unwrap()[0];
        assert_eq!((plain.insecure, plain.mirror), (Some(true), false));
    }

    #[test]
    fn version_1_and_malformed_files_are_refused() {
        for text in [
            "[registries.search]\nregistries = ['docker.io']\n",
            "[[registry]]\nblocked = true\n",
            "= x",
        ] {
            assert!(
                Registries::default().merge(text, Path::new("x")).is_err(),
                "{text}"
            );
        }
    }
}
