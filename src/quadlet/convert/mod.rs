//! From a quadlet to a service: what all kinds have in common.

mod container;
mod others;
mod pods;

use std::collections::BTreeMap;

use super::keys::{self, Kind};
use super::unit::Unit;
use super::{Infos, Service, Source, Target, at, words};
use crate::base::{Error, Result};

/// Dependencies in `[Unit]` that may name quadlets.
const DEPENDENCIES: &[&str] = &[
    "Wants",
    "Requires",
    "Requisite",
    "BindsTo",
    "PartOf",
    "Upholds",
    "Conflicts",
    "Before",
    "After",
    "OnFailure",
    "OnSuccess",
    "PropagatesReloadTo",
    "PropagatesStopTo",
    "ReloadPropagatedFrom",
    "StopPropagatedFrom",
];

/// The user's manager has no such target, so a service of ours waits for the system's.
const NETWORK_OF_USER: &str = "coracle-wait-network-online.service";

/// The name without its extension.
fn stem(source: &Source) -> &str {
    source.name.rsplit_once('.').map_or("", |(stem, _)| stem)
}

/// The service's name without `.service`.
pub(super) fn service_name(source: &Source) -> String {
    let section = source.kind.section();
    source
        .unit
        .last(section, "ServiceName")
        .unwrap_or_else(|| match stem(source).split_once('@') {
            // The suffix belongs to the template: web-volume@.service.
            Some((name, instance)) => format!("{name}{}@{instance}", source.kind.suffix()),
            None => format!("{}{}", stem(source), source.kind.suffix()),
        })
}

/// The name of what it makes, where no specifier is in it.
pub(super) fn resource_name(source: &Source) -> String {
    let section = source.kind.section();
    let given = |key: &str| source.unit.last(section, key);
    let usual = || format!("systemd-{}", stem(source));
    let name = match source.kind {
        Kind::Container => container::name(source).replace("%N", &service_name(source)),
        Kind::Volume => given("VolumeName").unwrap_or_else(usual),
        Kind::Network => given("NetworkName").unwrap_or_else(usual),
        Kind::Image => given("ImageTag")
            .or_else(|| given("Image"))
            .unwrap_or_default(),
        Kind::Build => {
            let tags = source.unit.all(section, "ImageTag");
            tags.first().map_or_else(String::new, |e| e.value.clone())
        }
        Kind::Pod => given("PodName").unwrap_or_else(|| match stem(source).split_once('@') {
            // No pod may have an @ in its name.
            Some((name, "")) => format!("systemd-{name}_%i"),
            _ => usual().replace('@', "_"),
        }),
        Kind::Artifact => given("Artifact").unwrap_or_default(),
        Kind::Kube => String::new(),
    };
    // A container's own name is told to systemd with its specifiers; others cannot know it.
    match source.kind == Kind::Container && name.contains('%') {
        true => String::new(),
        false => name,
    }
}

/// The services of the containers that start with a pod.
pub(super) fn members(pod: &Source, sources: &[Source]) -> Vec<String> {
    const SECTION: &str = "Container";
    let with = |s: &&Source| {
        s.kind == Kind::Container
            && s.unit.last(SECTION, "Pod").as_ref() == Some(&pod.name)
            && !matches!(s.unit.switch(SECTION, "StartWithPod"), Ok(Some(false)))
            // A template itself cannot be started.
            && !stem(s).ends_with('@')
    };
    sources.iter().filter(with).map(super::service_of).collect()
}

/// Makes the service.
pub(super) fn service(source: &Source, infos: &Infos, target: &Target) -> Result<Service> {
    let mut maker = Maker::new(source, infos, target)?;
    match source.kind {
        Kind::Container => container::convert(&mut maker)?,
        Kind::Volume => others::volume(&mut maker)?,
        Kind::Network => others::network(&mut maker)?,
        Kind::Image => others::image(&mut maker)?,
        Kind::Build => others::build(&mut maker)?,
        Kind::Artifact => others::artifact(&mut maker)?,
        Kind::Pod => pods::pod(&mut maker)?,
        Kind::Kube => pods::kube(&mut maker)?,
    }
    let name = format!("{}.service", service_name(source));
    Ok(Service {
        links: links(&maker.service, &name),
        text: format!(
            "# Made by coracle of {}\n{}",
            source.path.display(),
            maker.service.text()
        ),
        name,
        notices: maker.notices,
    })
}

/// The links that `systemctl enable` would make: generated units cannot be enabled.
fn links(service: &Unit, name: &str) -> Vec<(String, String)> {
    let words = |key: &str| -> Vec<String> {
        let found = service.words("Install", key, true).unwrap_or_default();
        let words = found.into_iter().map(|(word, _)| word);
        words
            // A link of another folder's would be written elsewhere.
            .filter(|w| !w.contains('/') && !w.is_empty())
            .collect()
    };
    let mut links: Vec<(String, String)> = words("Alias")
        .into_iter()
        .map(|alias| (alias, name.to_owned()))
        .collect();
    // A template itself cannot be started.
    let wanted = match name.strip_suffix("@.service") {
        None => Some(name.to_owned()),
        Some(template) => service
            .last("Install", "DefaultInstance")
            .map(|instance| format!("{template}@{instance}.service")),
    };
    if let Some(wanted) = wanted {
        for (key, folder) in [
            ("WantedBy", "wants"),
            ("RequiredBy", "requires"),
            ("UpheldBy", "upholds"),
        ] {
            for unit in words(key) {
                links.push((format!("{unit}.{folder}/{wanted}"), format!("../{name}")));
            }
        }
    }
    links
}

/// One conversion under way.
struct Maker<'a> {
    source: &'a Source,
    infos: &'a Infos,
    target: &'a Target,
    section: &'static str,
    /// The service as far as it is.
    service: Unit,
    notices: Vec<String>,
}

impl<'a> Maker<'a> {
    fn new(source: &'a Source, infos: &'a Infos, target: &'a Target) -> Result<Self> {
        let kind = source.kind;
        let section = kind.section();
        if source.unit.section(section).is_none() {
            return Err(at(source, 0, format!("there is no section [{section}]")));
        }
        for (section, known) in [(section, kind.keys()), ("Quadlet", keys::QUADLET)] {
            for entry in source.unit.section(section).iter().flat_map(|s| &s.entries) {
                if !known.contains(&entry.key.as_str()) {
                    let what = format!("unknown key {:?} in [{section}]", entry.key);
                    return Err(at(source, entry.line, what));
                }
                if let Some(why) = keys::refused(&entry.key)
                    && !entry.value.is_empty()
                {
                    return Err(at(source, entry.line, format!("{}=: {why}", entry.key)));
                }
            }
        }
        let mut maker = Self {
            source,
            infos,
            target,
            section,
            service: source.unit.clone(),
            notices: Vec::new(),
        };
        maker.dependencies()?;
        if maker.switch_of("Quadlet", "DefaultDependencies")? != Some(false) {
            let network = match target.user {
                true => NETWORK_OF_USER,
                false => "network-online.target",
            };
            maker.service.push_first("Unit", "After", network);
            maker.service.push_first("Unit", "Wants", network);
        }
        let path = source.path.display().to_string().replace('%', "%%");
        maker.service.push("Unit", "SourcePath", path);
        maker
            .service
            .push("Unit", "RequiresMountsFor", "%t/coracle");
        // systemd leaves sections alone that begin so.
        for own in [section, "Quadlet"] {
            maker.service.rename(own, &format!("X-{own}"));
        }
        Ok(maker)
    }

    /// Quadlets among the dependencies become their services.
    fn dependencies(&mut self) -> Result<()> {
        let Some(unit) = self.service.sections.iter_mut().find(|s| s.name == "Unit") else {
            return Ok(());
        };
        for entry in &mut unit.entries {
            if !DEPENDENCIES.contains(&entry.key.as_str()) {
                continue;
            }
            let names: Result<Vec<String>> = entry
                .value
                .split_whitespace()
                .map(|name| match (Kind::of_name(name), self.infos.get(name)) {
                    (Some(_), Some(info)) => Ok(format!("{}.service", info.service)),
                    (Some(_), None) => {
                        let what = format!("{}=: there is no quadlet {name:?}", entry.key);
                        Err(at(self.source, entry.line, what))
                    }
                    (None, _) => Ok(name.to_owned()),
                })
                .collect();
            entry.value = names?.join(" ");
        }
        Ok(())
    }

    fn line(&self, key: &str) -> usize {
        self.source.unit.line(self.section, key)
    }

    /// An error about a key of the quadlet's own section.
    fn bad(&self, key: &str, why: impl std::fmt::Display) -> Error {
        at(self.source, self.line(key), format!("{key}=: {why}"))
    }

    fn last(&self, key: &str) -> Option<String> {
        self.source.unit.last(self.section, key)
    }

    fn all(&self, key: &str) -> Vec<String> {
        let all = self.source.unit.all(self.section, key);
        all.iter().map(|e| e.value.clone()).collect()
    }

    fn words(&self, key: &str, unescape: bool) -> Result<Vec<String>> {
        match self.source.unit.words(self.section, key, unescape) {
            Ok(words) => Ok(words.into_iter().map(|(word, _)| word).collect()),
            Err((line, why)) => Err(at(self.source, line, format!("{key}=: {why}"))),
        }
    }

    /// The words of a key's last entry.
    fn last_words(&self, key: &str) -> Result<Vec<String>> {
        let all = self.source.unit.all(self.section, key);
        let Some(last) = all.last() else {
            return Ok(Vec::new());
        };
        words::split(&last.value, true)
            .map_err(|why| at(self.source, last.line, format!("{key}=: {why}")))
    }

    fn switch(&self, key: &str) -> Result<Option<bool>> {
        self.switch_of(self.section, key)
    }

    fn switch_of(&self, section: &str, key: &str) -> Result<Option<bool>> {
        self.source
            .unit
            .switch(section, key)
            .map_err(|(line, text)| {
                at(
                    self.source,
                    line,
                    format!("{key}=: {text:?} is neither yes nor no"),
                )
            })
    }

    /// The program with the options that stand before its command.
    fn command(&self, verbs: &[&str]) -> Result<Vec<String>> {
        let mut command = vec![self.target.program.clone()];
        for module in self.all("ContainersConfModule") {
            command.push(format!("--module={module}"));
        }
        command.extend(self.words("GlobalArgs", true)?);
        command.extend(verbs.iter().map(|v| (*v).to_owned()));
        Ok(command)
    }

    /// `--flag VALUE` for the last value of each key.
    fn texts(&self, keys: &[(&str, &str)], command: &mut Vec<String>) {
        for (key, flag) in keys {
            if let Some(value) = self.last(key) {
                command.extend([(*flag).to_owned(), value]);
            }
        }
    }

    /// `--flag VALUE` for every value of each key.
    fn lists(&self, keys: &[(&str, &str)], command: &mut Vec<String>) {
        for (key, flag) in keys {
            for value in self.all(key) {
                command.extend([(*flag).to_owned(), value]);
            }
        }
    }

    /// `--flag WORD` for every word of each key.
    fn word_lists(&self, keys: &[(&str, &str)], command: &mut Vec<String>) -> Result<()> {
        for (key, flag) in keys {
            for word in self.words(key, false)? {
                command.extend([(*flag).to_owned(), word]);
            }
        }
        Ok(())
    }

    /// `--flag` or `--flag=false` for each key that is there.
    fn switches(&self, keys: &[(&str, &str)], command: &mut Vec<String>) -> Result<()> {
        for (key, flag) in keys {
            match self.switch(key)? {
                Some(true) => command.push((*flag).to_owned()),
                Some(false) => command.push(format!("{flag}=false")),
                None => {}
            }
        }
        Ok(())
    }

    /// `--flag NAME=VALUE` for every pair of each key, by name; the last of a name counts.
    fn pairs(&self, keys: &[(&str, &str)], command: &mut Vec<String>) -> Result<()> {
        for (key, flag) in keys {
            let mut pairs = BTreeMap::new();
            for word in self.words(key, true)? {
                let name = word.split('=').next().unwrap_or_default().to_owned();
                if name.is_empty() {
                    return Err(self.bad(key, format!("{word:?} has no name")));
                }
                pairs.insert(name, word);
            }
            for pair in pairs.into_values() {
                command.extend([(*flag).to_owned(), pair]);
            }
        }
        Ok(())
    }

    /// The arguments that are passed on as they are.
    fn more(&self, command: &mut Vec<String>) -> Result<()> {
        command.extend(self.words("PodmanArgs", true)?);
        Ok(())
    }

    fn exec(&mut self, key: &str, command: &[String]) {
        self.service.push("Service", key, words::command(command));
    }

    /// Another quadlet's resource; its service is required.
    fn other(&mut self, key: &str, name: &str) -> Result<String> {
        self.bound(key, name, "Requires")
    }

    /// Another quadlet's resource, and how its service comes before this one.
    fn bound(&mut self, key: &str, name: &str, how: &str) -> Result<String> {
        let Some(info) = self.infos.get(name) else {
            return Err(self.bad(key, format!("there is no quadlet {name:?}")));
        };
        if info.resource.is_empty() {
            let why = format!("the name of what {name:?} makes is known to systemd only");
            return Err(self.bad(key, why));
        }
        let service = format!("{}.service", info.service);
        let resource = info.resource.clone();
        self.service.push("Unit", how, service.clone());
        self.service.push("Unit", "After", service);
        Ok(resource)
    }

    /// An image by name, or what another quadlet pulls or builds.
    fn image(&mut self, name: String) -> Result<String> {
        match Kind::of_name(&name) {
            Some(Kind::Image | Kind::Build) => self.other("Image", &name),
            _ => Ok(name),
        }
    }

    /// A path that is relative to the quadlet's folder, unless systemd knows where it begins.
    fn absolute(&self, path: &str) -> String {
        if path.starts_with('/') || (path.starts_with('%') && !path.starts_with("%%")) {
            return path.to_owned();
        }
        let folder = self.source.path.parent().unwrap_or("/".as_ref());
        let mut whole = folder.to_path_buf();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    whole.pop();
                }
                part => whole.push(part),
            }
        }
        whole.display().to_string()
    }

    /// The source of a mount: a path, a volume's name, or a quadlet.
    fn storage(&mut self, key: &str, source: &str, images: bool) -> Result<String> {
        let source = match source.starts_with('.') {
            true => self.absolute(source),
            false => source.to_owned(),
        };
        if source.starts_with('/') {
            self.service
                .push("Unit", "RequiresMountsFor", source.clone());
            return Ok(source);
        }
        match Kind::of_name(&source) {
            Some(Kind::Volume) => self.other(key, &source),
            Some(Kind::Image | Kind::Build) if images => self.other(key, &source),
            _ => Ok(source),
        }
    }

    /// `Volume=`.
    fn volumes(&mut self, command: &mut Vec<String>) -> Result<()> {
        for volume in self.all("Volume") {
            let text = match volume.split_once(':') {
                None => volume,
                Some(("", rest)) => rest.to_owned(),
                Some((source, rest)) => {
                    format!("{}:{rest}", self.storage("Volume", source, false)?)
                }
            };
            command.extend(["-v".to_owned(), text]);
        }
        Ok(())
    }

    /// `Network=`.
    fn networks(&mut self, command: &mut Vec<String>) -> Result<()> {
        for network in self.all("Network") {
            let (name, options) = match network.split_once(':') {
                Some((name, options)) => (name, Some(options)),
                None => (network.as_str(), None),
            };
            let text = match (Kind::of_name(name), options) {
                (Some(Kind::Network), options) => {
                    let name = self.other("Network", name)?;
                    options.map_or_else(|| name.clone(), |o| format!("{name}:{o}"))
                }
                (Some(Kind::Container), None) => {
                    format!("container:{}", self.other("Network", name)?)
                }
                (Some(Kind::Container), Some(_)) => {
                    return Err(self.bad("Network", "another container's network has no options"));
                }
                _ => network.clone(),
            };
            command.extend(["--network".to_owned(), text]);
        }
        Ok(())
    }

    /// What a service that runs one command and is done has, where nothing is given.
    fn oneshot(&mut self, stays: bool) {
        for (key, value) in [
            ("SyslogIdentifier", "%N"),
            ("Type", "oneshot"),
            ("RemainAfterExit", "yes"),
        ] {
            if !self.service.has("Service", key) && (stays || key != "RemainAfterExit") {
                self.service.push("Service", key, value);
            }
        }
    }
}
