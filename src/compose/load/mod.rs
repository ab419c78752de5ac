//! Files to a project: found, read, interpolated, included, extended, merged.

mod finish;
mod settings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

pub use settings::{Request, normalise_name};

use super::canonical::{Base, document, service};
use super::interpolate::{Met, Scope};
use super::project::Project;
use super::schema::text;
use super::{dotenv, merge, yaml};
use crate::base::{Context as _, Error, Result};

/// A file larger than this is none of ours, bytes.
const LIMIT: u64 = 16 << 20;

/// How deep files may include or extend each other.
const DEPTH: usize = 64;

/// Reads a project.
///
/// # Errors
/// `NotFound` without a file; `Invalid`, with the file and the key, for what cannot be read.
pub fn load(request: &Request<'_>) -> Result<Project> {
    let settled = settings::settle(request)?;
    let loader = Loader {
        home: request.home,
        interpolate: request.interpolate,
        met: std::cell::RefCell::default(),
    };
    let scene = Scene {
        dir: settled.dir.clone(),
        env: settled.env.clone(),
    };
    let model = loader.files(&settled.files, &scene, 0)?;
    let model = merge::settle(model);
    finish::finish(request, settled, model, loader.met.into_inner())
}

/// Where files are read.
struct Scene {
    /// Relative paths begin here.
    dir: PathBuf,
    /// The variables.
    env: BTreeMap<String, String>,
}

struct Loader<'a> {
    home: &'a Path,
    interpolate: bool,
    met: std::cell::RefCell<BTreeMap<String, Met>>,
}

/// Reads a text file.
fn read(path: &Path) -> Result<String> {
    let what = || format!("cannot read {}", path.display());
    let bytes = crate::base::fs::read(path, LIMIT).what(what)?;
    String::from_utf8(bytes).map_err(|_| Error::invalid(format!("{}: is no text", path.display())))
}

impl Loader<'_> {
    /// The merged, unmarked documents of several files.
    fn files(&self, files: &[PathBuf], scene: &Scene, depth: usize) -> Result<Value> {
        let mut model = Value::Null;
        for file in files {
            let next = self.file(file, scene, depth, &model)?;
            model = match model {
                Value::Null => next,
                before => merge::documents(before, next),
            };
        }
        Ok(model)
    }

    /// One file, in the long form, with what it includes and extends.
    fn file(&self, file: &Path, scene: &Scene, depth: usize, before: &Value) -> Result<Value> {
        if depth > DEPTH {
            return Err(Error::invalid(format!(
                "{}: files include or extend each other in a circle",
                file.display()
            )));
        }
        let text = read(file)?;
        self.text(&text, file, scene, depth, before)
            .map_err(|e| place(e, file, &text))
    }

    fn text(
        &self,
        text: &str,
        file: &Path,
        scene: &Scene,
        depth: usize,
        before: &Value,
    ) -> Result<Value> {
        let mut model = Value::Null;
        for raw in yaml::read(text, "not YAML")? {
            let raw = self.interpolated(raw, scene)?;
            let base = Base {
                dir: &scene.dir,
                home: self.home,
            };
            let mut next = document(raw, &base)?;
            let included = next.as_object_mut().and_then(|m| m.remove("include"));
            self.extend(&mut next, file, scene, depth, before)?;
            for one in included.iter().flat_map(listed) {
                let other = self.include(&one, scene, depth)?;
                model = merge::documents(model, other);
            }
            model = merge::documents(model, next);
        }
        match model {
            Value::Null => Err(Error::invalid("is empty")),
            model => Ok(model),
        }
    }

    fn interpolated(&self, raw: Value, scene: &Scene) -> Result<Value> {
        if !self.interpolate {
            return Ok(raw);
        }
        let lookup = |name: &str| scene.env.get(name).cloned();
        let scope = Scope::new(&lookup);
        let made = scope.value(raw, "");
        self.met.borrow_mut().extend(scope.met.into_inner());
        made
    }

    fn include(&self, one: &Value, scene: &Scene, depth: usize) -> Result<Value> {
        let texts = |key: &str| -> Vec<String> {
            let value = one.get(key);
            value
                .iter()
                .flat_map(|v| listed(v))
                .filter_map(|v| text(&v))
                .collect()
        };
        let paths = match text(one) {
            Some(path) => vec![path],
            None => texts("path"),
        };
        let Some(first) = paths.first() else {
            return Err(Error::invalid("include: a path is missing"));
        };
        let first = scene.dir.join(first);
        let dir = match one.get("project_directory").and_then(text) {
            Some(dir) => scene.dir.join(dir),
            None => first.parent().unwrap_or(&scene.dir).to_owned(),
        };
        let env_files: Vec<PathBuf> = match texts("env_file") {
            list if list.is_empty() => {
                let usual = dir.join(".env");
                usual.is_file().then_some(usual).into_iter().collect()
            }
            list => list.iter().map(|f| scene.dir.join(f)).collect(),
        };
        let mut env = scene.env.clone();
        for file in env_files {
            let known = |name: &str| scene.env.get(name).cloned();
            for (key, value) in dotenv::parse(&read(&file)?, &file.to_string_lossy(), &known)? {
                if let Some(value) = value {
                    env.entry(key).or_insert(value);
                }
            }
        }
        let files: Vec<PathBuf> = paths.iter().map(|p| scene.dir.join(p)).collect();
        let model = self.files(&files, &Scene { dir, env }, depth + 1)?;
        let mut model = merge::settle(model);
        if let Some(map) = model.as_object_mut() {
            map.remove("name");
            map.remove("version");
        }
        Ok(model)
    }

    /// Lays every service on the one that it extends.
    fn extend(
        &self,
        model: &mut Value,
        file: &Path,
        scene: &Scene,
        _depth: usize,
        before: &Value,
    ) -> Result<()> {
        let names: Vec<String> = services(model).map(|(n, _)| n.clone()).collect();
        for name in names {
            let mut above = vec![(file.to_owned(), name.clone())];
            let own = model["services"][&name].take();
            let made = self.extended(own, model, file, scene, before, &mut above)?;
            model["services"][&name] = made;
        }
        Ok(())
    }

    fn extended(
        &self,
        mut own: Value,
        model: &Value,
        file: &Path,
        scene: &Scene,
        before: &Value,
        above: &mut Vec<(PathBuf, String)>,
    ) -> Result<Value> {
        let Some(wish) = own.as_object_mut().and_then(|m| m.remove("extends")) else {
            return Ok(own);
        };
        let name = wish.get("service").and_then(text).unwrap_or_default();
        let other_file = wish.get("file").and_then(text).map(PathBuf::from);
        let at = other_file.clone().unwrap_or_else(|| file.to_owned());
        if above.len() > DEPTH || above.contains(&(at.clone(), name.clone())) {
            return Err(Error::invalid(format!("services.{name}.extends: a circle")));
        }
        above.push((at.clone(), name.clone()));
        let missing = || {
            Error::invalid(format!(
                "services.{}.extends: no service {name:?} in {}",
                above[0].1,
                at.display()
            ))
        };
        let base = match other_file {
            None => {
                let here = services(model)
                    .chain(services(before))
                    .find(|(n, v)| **n == name && !v.is_null());
                let base = here.ok_or_else(missing)?.1.clone();
                self.extended(base, model, file, scene, before, above)?
            }
            Some(other) => {
                let dir = other.parent().unwrap_or(&scene.dir).to_owned();
                let text = read(&other)?;
                let inner = Scene {
                    dir,
                    env: scene.env.clone(),
                };
                let found = self.raw_services(&text, &other, &inner)?;
                let base = services(&found).find(|(n, _)| **n == name);
                let base = base.ok_or_else(missing)?.1.clone();
                self.extended(base, &found, &other, &inner, &Value::Null, above)?
            }
        };
        above.pop();
        Ok(merge::services(merge::settle(base), own))
    }

    /// The services of a file in the long form, nothing extended.
    fn raw_services(&self, text: &str, file: &Path, scene: &Scene) -> Result<Value> {
        let mut made = Map::new();
        for raw in yaml::read(text, &file.to_string_lossy())? {
            let mut raw = self.interpolated(raw, scene)?;
            let base = Base {
                dir: &scene.dir,
                home: self.home,
            };
            if let Some(Value::Object(all)) = raw.get_mut("services").map(Value::take) {
                for (name, value) in all {
                    let value = service(value, &format!("services.{name}"), &base)
                        .map_err(|e| place(e, file, text))?;
                    made.insert(name, value);
                }
            }
        }
        Ok(serde_json::json!({ "services": made }))
    }
}

fn services(model: &Value) -> impl Iterator<Item = (&String, &Value)> {
    model
        .get("services")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

fn listed(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    }
}

/// Says in which file, and at which line, the key stands that an error is about.
fn place(error: Error, file: &Path, text: &str) -> Error {
    let what = error.what();
    let file = file.display().to_string();
    if what.starts_with(&file) || what.starts_with('/') {
        return error;
    }
    let path = what.split(": ").next().unwrap_or_default();
    let line = yaml::line_of(text, path).map_or_else(String::new, |n| format!(":{n}"));
    let made = Error::new(error.kind(), format!("{file}{line}: {what}"));
    error
        .hints()
        .into_iter()
        .fold(made, |made, h| made.hint(h.to_owned()))
}
