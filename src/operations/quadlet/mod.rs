//! Quadlets: what systemd's generator does, and the commands about them.

mod apps;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::session::Session;
use super::systemctl;
use crate::base::fs::{self as files, Durability};
use crate::base::{Context as _, Error, Kind as ErrorKind, Result};
use crate::config::env::Env;
use crate::config::user::User;
use crate::quadlet::bundle;
use crate::quadlet::search::{self, Whose};
use crate::quadlet::unit::Unit;
use crate::quadlet::{Kind, Service, Source, Target, convert, service_of};

/// Whose quadlets, and for which manager.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// The environment.
    pub env: &'a Env,
    /// The caller.
    pub user: &'a User,
    /// For the user's manager.
    pub for_user: bool,
}

impl Scope<'_> {
    fn whose(&self) -> Whose<'_> {
        Whose {
            user: self.for_user,
            uid: self.user.uid,
            home: &self.user.home,
        }
    }

    fn target(&self, sources: &[Source]) -> Result<Target> {
        let program = std::env::current_exe().what(|| "cannot find this program")?;
        let devices = sources
            .iter()
            .flat_map(|s| {
                s.unit
                    .words("Container", "AddDevice", false)
                    .unwrap_or_default()
            })
            .filter_map(|(word, _)| {
                let path = word.strip_prefix('-')?.split(':').next()?.to_owned();
                Path::new(&path).exists().then_some(path)
            })
            .collect();
        Ok(Target {
            program: program.display().to_string(),
            user: self.for_user,
            devices,
        })
    }
}

/// What a generator's run made.
#[derive(Debug, Default)]
pub struct Made {
    /// Services, in the order of the quadlets' names.
    pub services: Vec<Service>,
    /// What could not be made, each with file and line.
    pub errors: Vec<Error>,
}

/// Makes the services of all quadlets; writes nothing.
///
/// # Errors
/// When this program cannot be found.
pub fn make(scope: &Scope<'_>) -> Result<Made> {
    let (sources, errors) = search::load(&search::folders(scope.env, &scope.whose()));
    let target = scope.target(&sources)?;
    let mut made = Made {
        services: Vec::new(),
        errors,
    };
    for (_, result) in convert(&sources, &target) {
        match result {
            Ok(service) => made.services.push(service),
            Err(e) => made.errors.push(e),
        }
    }
    Ok(made)
}

/// Writes services and their links into a folder of systemd's.
///
/// # Errors
/// What the kernel says.
pub fn write(services: &[Service], folder: &Path) -> Result<()> {
    for service in services {
        let path = folder.join(&service.name);
        files::replace(&path, service.text.as_bytes(), 0o644, Durability::Volatile)?;
        for (name, target) in &service.links {
            let link = folder.join(name);
            let what = || format!("cannot make {}", link.display());
            if let Some(parent) = link.parent() {
                fs::create_dir_all(parent).what(what)?;
            }
            files::remove_file_if_exists(&link)?;
            symlink(target, &link).what(what)?;
        }
    }
    Ok(())
}

/// One line of `quadlet list`.
#[derive(Debug)]
pub struct Listed {
    /// The quadlet's file name.
    pub name: String,
    /// The service's.
    pub unit: String,
    /// Where the quadlet is.
    pub path: PathBuf,
    /// What systemd says of the service, or that it does not know it.
    pub status: String,
    /// The application that it is part of; empty without one.
    pub app: String,
}

/// All quadlets, by name; those that cannot be read are told beside.
pub fn list(scope: &Scope<'_>) -> (Vec<Listed>, Vec<Error>) {
    let (sources, errors) = search::load(&search::folders(scope.env, &scope.whose()));
    let units: Vec<String> = sources.iter().map(service_of).collect();
    let states = states(scope, &units);
    let apps = apps::of_files(&search::own_folder(scope.env, &scope.whose()));
    let listed = sources.into_iter().zip(units).zip(states);
    let listed = listed.map(|((source, unit), status)| Listed {
        app: apps.get(&source.name).cloned().unwrap_or_default(),
        name: source.name,
        unit,
        path: source.path,
        status,
    });
    (listed.collect(), errors)
}

/// `active/running` and so on, for each unit; one question for all.
fn states(scope: &Scope<'_>, units: &[String]) -> Vec<String> {
    let unknown = || vec!["Not loaded".to_owned(); units.len()];
    if units.is_empty() {
        return Vec::new();
    }
    let mut command = systemctl::command(scope.for_user);
    command.args(["show", "--property=LoadState,ActiveState,SubState"]);
    let Ok(output) = command.arg("--").args(units).stderr(Stdio::null()).output() else {
        return unknown();
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let states: Vec<String> = text
        .split("\n\n")
        .map(|part| {
            let value = |key: &str| {
                part.lines()
                    .find_map(|l| l.strip_prefix(key)?.strip_prefix('='))
                    .unwrap_or_default()
            };
            match value("LoadState") {
                "loaded" => format!("{}/{}", value("ActiveState"), value("SubState")),
                _ => "Not loaded".to_owned(),
            }
        })
        .collect();
    match states.len() == units.len() {
        true => states,
        false => unknown(),
    }
}

/// Makes systemd read its units again.
///
/// # Errors
/// `Unavailable` when there is no manager to ask.
pub fn reload(scope: &Scope<'_>) -> Result<()> {
    systemctl::run(scope.for_user, &["daemon-reload"])
        .what(|| "cannot make systemd read its units again")
        .map_err(|e| e.hint("the files are in place: --reload-systemd=false leaves this step out"))
}

/// A quadlet by its name, with its extension or without.
///
/// # Errors
/// `NotFound`.
pub fn find(scope: &Scope<'_>, name: &str) -> Result<Source> {
    let (sources, _) = search::load(&search::folders(scope.env, &scope.whose()));
    let found = sources
        .into_iter()
        .find(|s| s.name == name || service_of(s) == name);
    found.ok_or_else(|| {
        Error::not_found(format!("no such quadlet: {name:?}"))
            .hint("`coracle quadlet list` shows them all")
    })
}

/// A file that is to be installed.
struct File {
    /// Its name there.
    name: String,
    /// What it holds.
    bytes: Vec<u8>,
    /// It is a quadlet.
    source: Option<Source>,
    /// The application that it is part of.
    app: Option<String>,
}

/// Reads a file; `.quadlets` are taken apart, and are an application then.
fn read(path: &Path, app: Option<&str>, files: &mut Vec<File>) -> Result<()> {
    let name = name_of(path)?;
    let bytes = fs::read(path).what(|| format!("cannot read {}", path.display()))?;
    take(name, path, bytes, app, files)
}

/// What was read from `path`, a file or an address.
fn take(
    name: String,
    path: &Path,
    bytes: Vec<u8>,
    app: Option<&str>,
    files: &mut Vec<File>,
) -> Result<()> {
    let shown = path.display().to_string();
    let text = |bytes| String::from_utf8(bytes).what(|| format!("{shown} is no text"));
    if bundle::is_named(&name) {
        let stem = name.rsplit_once('.').map_or("", |(stem, _)| stem);
        for part in bundle::split(&text(bytes)?, &shown)? {
            let source = Source {
                name: part.name.clone(),
                path: path.to_owned(),
                kind: part.kind,
                unit: Unit::parse(&bundle::padded(&part.text, part.line), &shown)?,
            };
            files.push(File {
                name: part.name,
                bytes: part.text.into_bytes(),
                source: Some(source),
                app: Some(app.unwrap_or(stem).to_owned()),
            });
        }
        return Ok(());
    }
    let source = match Kind::of_name(&name) {
        Some(kind) => Some(Source {
            name: name.clone(),
            path: path.to_owned(),
            kind,
            unit: Unit::parse(&text(bytes.clone())?, &shown)?,
        }),
        None => None,
    };
    files.push(File {
        name,
        bytes,
        source,
        app: app.map(str::to_owned),
    });
    Ok(())
}

/// The name of what an address gives: its last part.
fn name_in(address: &str) -> Result<String> {
    let path = address.split(['?', '#']).next().unwrap_or(address);
    let name = path.split('/').skip(3).last().unwrap_or_default();
    // Not hidden, so it is neither `..` nor the list of an application.
    match name.is_empty() || name.starts_with('.') || name.contains('%') {
        true => Err(
            Error::invalid(format!("the address {address} ends with no file name"))
                .hint("fetch it with another program and give its path"),
        ),
        false => Ok(name.to_owned()),
    }
}

/// Puts files, a folder's files or what addresses give where quadlets are looked for; of `.quadlets`
/// what is in them. A folder is an application, so is what is in `.quadlets`, and a quadlet with the
/// other files that follow it. Quadlets among them are checked first; answers the new paths.
///
/// # Errors
/// A quadlet that cannot be converted for itself; `Exists` without `replace`; what a server says.
pub fn install(
    session: &Session,
    scope: &Scope<'_>,
    paths: &[String],
    replace: bool,
) -> Result<Vec<PathBuf>> {
    let folder = search::own_folder(scope.env, &scope.whose());
    let mut all: Vec<File> = Vec::new();
    for text in paths {
        let what = || format!("cannot install {text}");
        let path = Path::new(text);
        if text.starts_with("http://") || text.starts_with("https://") {
            let name = name_in(text)?;
            let bytes = super::build::fetched(session, text).what(what)?;
            take(name, path, bytes, None, &mut all)?;
        } else if fs::metadata(path).what(what)?.is_dir() {
            let app = apps::name_of(path)?;
            for entry in fs::read_dir(path).what(what)? {
                let entry = entry.what(what)?.path();
                if entry.is_file() {
                    read(&entry, Some(&app), &mut all)?;
                }
            }
        } else {
            read(path, None, &mut all)?;
        }
    }
    // Other files belong to the quadlet before them.
    let mut before: Option<String> = None;
    let mut owners = Vec::new();
    for file in &mut all {
        match (&file.source, &file.app) {
            (Some(_), None) => before = Some(file.name.clone()),
            (None, None) => {
                file.app.clone_from(&before);
                owners.extend(before.clone());
            }
            (_, Some(_)) => {}
        }
    }
    for file in all.iter_mut().filter(|f| f.app.is_none()) {
        file.app = owners.contains(&file.name).then(|| file.name.clone());
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let sources: Vec<Source> = all.iter().filter_map(|f| f.source.clone()).collect();
    if sources.is_empty() {
        return Err(Error::invalid("there is no quadlet among these files").hint(
            "their names end with .container, .pod, .kube, .volume, .network, .image, .build, .artifact or .quadlets",
        ));
    }
    for file in &all {
        let there = folder.join(&file.name);
        if there.exists() && !replace {
            return Err(
                Error::new(ErrorKind::Exists, format!("{} exists", there.display()))
                    .hint("--replace puts the new one in its place"),
            );
        }
    }
    let target = scope.target(&sources)?;
    // What they refer to may be installed already.
    let (mut known, _) = search::load(&search::folders(scope.env, &scope.whose()));
    known.retain(|k| !sources.iter().any(|s| s.name == k.name));
    known.extend(sources.iter().cloned());
    for (name, result) in convert(&known, &target) {
        if sources.iter().any(|s| s.name == name) {
            result?;
        }
    }
    fs::create_dir_all(&folder).what(|| format!("cannot make {}", folder.display()))?;
    let mut made = Vec::new();
    for file in all {
        let there = folder.join(&file.name);
        if let Some(app) = &file.app {
            // Known before it is there: a removal after a kill takes it along.
            apps::add(&folder, app, std::slice::from_ref(&file.name))?;
        }
        files::replace(&there, &file.bytes, 0o644, Durability::Durable)?;
        made.push(there);
    }
    Ok(made)
}

fn name_of(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|n| n.to_str());
    name.map(str::to_owned)
        .ok_or_else(|| Error::invalid(format!("{} has no name", path.display())))
}

/// Removes a quadlet, or all of an application; services are stopped first with `force`. Answers the
/// quadlets that went.
///
/// # Errors
/// `NotFound`; `InUse` when a service runs; what the kernel says.
pub fn remove(scope: &Scope<'_>, name: &str, force: bool) -> Result<Vec<String>> {
    let folder = search::own_folder(scope.env, &scope.whose());
    let missing = match find(scope, name) {
        Ok(source) => return remove_one(scope, &source, force).map(|()| vec![source.name]),
        Err(e) => e,
    };
    let app = name.strip_prefix('.').unwrap_or(name);
    let app = app.strip_suffix(".app").unwrap_or(app);
    let Some(members) = apps::members(&folder, app)? else {
        return Err(missing);
    };
    let mut gone = Vec::new();
    for member in members.into_iter().filter(|m| Kind::of_name(m).is_some()) {
        match find(scope, &member) {
            Ok(source) => remove_one(scope, &source, force)?,
            // Somebody removed the file by hand.
            Err(e) if e.kind() == ErrorKind::NotFound => apps::forget(&folder, &member)?,
            Err(e) => return Err(e),
        }
        gone.push(member);
    }
    Ok(gone)
}

fn remove_one(scope: &Scope<'_>, source: &Source, force: bool) -> Result<()> {
    let unit = service_of(source);
    let state = states(scope, std::slice::from_ref(&unit));
    if state.iter().any(|s| s.starts_with("active/")) {
        if !force {
            return Err(Error::new(
                ErrorKind::InUse,
                format!("cannot remove quadlet {:?}: {unit} runs", source.name),
            )
            .hint("--force stops it first"));
        }
        systemctl::run(scope.for_user, &["stop", "--", &unit])?;
    }
    fs::remove_file(&source.path).what(|| format!("cannot remove {}", source.path.display()))?;
    match source.path.parent() {
        Some(folder) => apps::forget(folder, &source.name),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_file() {
        for (address, name) in [
            ("https://example.org/a/web.container", Some("web.container")),
            (
                "http://example.org/web.container?raw=1#x",
                Some("web.container"),
            ),
            ("https://example.org/", None),
            ("https://example.org", None),
            ("https://example.org/..", None),
            ("https://example.org/.x.app", None),
            ("https://example.org/a%2Fb.container", None),
        ] {
            assert_eq!(name_in(address).ok().as_deref(), name, "{address}");
        }
    }
}
