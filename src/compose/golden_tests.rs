//! Every project in tests/data/compose: what `config` prints, and the words that make it.

use std::collections::BTreeMap;
use std::path::Path;

use super::convert::{self, Wish};
use super::export::{self, Given};
use super::load::{Request, load};
use super::{Project, schema};

/// The project in a folder, as its `args` ask for it.
fn project_of(dir: &Path) -> crate::base::Result<Project> {
    let env = BTreeMap::from([
        ("FROM_SHELL".to_owned(), "shell".to_owned()),
        ("EMPTY".to_owned(), String::new()),
    ]);
    let words = std::fs::read_to_string(dir.join("args")).unwrap_or_default();
    let mut files = Vec::new();
    let mut profiles = Vec::new();
    let mut targets = Vec::new();
    let mut words = words.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "-f" => files.push(
                dir.join(words.next().unwrap())
                    .to_string_lossy()
                    .into_owned(),
            ),
            "--profile" => profiles.push(words.next().unwrap().to_owned()),
            target => targets.push(target.to_owned()),
        }
    }
    let request = Request {
        files: &files,
        name: None,
        profiles: &profiles,
        env_files: &[],
        dir: None,
        cwd: dir,
        home: Path::new("/home/me"),
        env: &env,
        targets: &targets,
        interpolate: true,
        resolve_env: true,
    };
    load(&request)
}

/// A folder of the container's name must not be in the goldens.
fn text_of(dir: &Path) -> String {
    let text = match project_of(dir).and_then(|project| render(&project)) {
        Ok(text) => text,
        Err(error) => {
            let hints: String = error
                .hints()
                .iter()
                .map(|h| format!("hint: {h}\n"))
                .collect();
            format!("error: {}\n{hints}", error.what())
        }
    };
    text.replace(&dir.to_string_lossy().into_owned(), "DIR")
}

fn render(project: &Project) -> crate::base::Result<String> {
    let mut text = serde_yaml::to_string(&project.canonical()).unwrap();
    for notice in &project.notices {
        text.push_str(&format!("# notice: {notice}\n"));
    }
    for lost in schema::lost(&project.model) {
        text.push_str(&format!("# lost: {}: {}\n", lost.path, lost.why));
    }
    for name in project.order(&[], true)? {
        let keys = project.service(&name)?;
        let others = project
            .services()
            .map(|(n, k)| (n.clone(), project.container_name(n, k, 1)))
            .collect();
        if keys.contains_key("build") {
            let (words, inline) = convert::build(project, &name, keys)?;
            text.push_str(&format!(
                "# build {name}: {}\n",
                words.words.join(" ").replace('\n', "\\n")
            ));
            if let Some(inline) = inline {
                text.push_str(&format!("# inline: {inline:?}\n"));
            }
        }
        let wish = Wish {
            name: project.container_name(&name, keys, 1),
            number: 1,
            others,
            ..Wish::default()
        };
        let words = convert::create(project, &name, keys, &wish)?;
        let shown = words
            .words
            .iter()
            .filter(|w| !w.starts_with("--label=com.docker.compose.") && *w != "--pull=never");
        let shown: Vec<&str> = shown.map(String::as_str).collect();
        text.push_str(&format!(
            "# create {name}: {}\n",
            shown.join(" ").replace('\n', "\\n")
        ));
        for notice in words.notices {
            text.push_str(&format!("# notice {name}: {notice}\n"));
        }
    }
    Ok(text)
}

/// `UPDATE=1 cargo test compose::golden` writes the goldens.
#[test]
fn every_project_is_read_as_its_golden_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/compose");
    let mut dirs: Vec<_> = std::fs::read_dir(&root)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    dirs.sort();
    let mut wrong = Vec::new();
    for dir in &dirs {
        let made = text_of(dir);
        let file = dir.join("golden");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&file, &made).unwrap();
        }
        let wanted = std::fs::read_to_string(&file).unwrap_or_default();
        if made != wanted {
            wrong.push(format!("{}:\n{made}", dir.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(dirs.len() >= 60, "{} projects", dirs.len());
}

/// What a cluster gets of a project, with what is changed and dropped.
fn exported(dir: &Path, target: &str) -> crate::base::Result<String> {
    let project = project_of(dir)?;
    let given = Given {
        images: &BTreeMap::from([("built".to_owned(), "registry/built:1".to_owned())]),
        content: &|noun, key| Ok(format!("{noun} {key}").into_bytes()),
    };
    let (export, beside) = match target {
        "kube" => (export::kube::export(&project, &given)?, Vec::new()),
        _ => export::stack::export(&project, &given)?,
    };
    let of_project: Vec<String> = schema::paths(&project.model)
        .into_iter()
        .map(|p| p.0)
        .collect();
    for path in &of_project {
        assert!(export.lines.iter().any(|l| l.path == *path), "{path}");
    }
    let mut text = String::new();
    for document in &export.documents {
        text.push_str("---\n");
        text.push_str(&serde_yaml::to_string(document).unwrap());
        if target == "kube" {
            let name = document["metadata"]["name"].as_str().unwrap();
            assert!(
                !name.is_empty() && name == export::kube::name(name),
                "{name}"
            );
            assert!(document["apiVersion"].is_string() && document["kind"].is_string());
        }
    }
    for (name, content) in beside {
        text.push_str(&format!(
            "# beside: {name}: {:?}\n",
            String::from_utf8_lossy(&content)
        ));
    }
    for line in export.lines {
        assert_eq!(
            line.why.is_empty(),
            line.fate == export::Fate::Kept,
            "{line:?}"
        );
        text.push_str(&format!(
            "# {} {} {}\n",
            line.fate.name(),
            line.path,
            line.why
        ));
    }
    Ok(text.replace(&dir.to_string_lossy().into_owned(), "DIR"))
}

#[test]
fn every_project_can_be_given_to_a_cluster_and_says_what_becomes_of_each_key() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/compose");
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(&root).unwrap().flatten() {
        let dir = entry.path();
        if !dir.is_dir() || project_of(&dir).is_err() {
            continue;
        }
        for target in ["kube", "swarm"] {
            let Ok(made) = exported(&dir, target) else {
                continue;
            };
            count += 1;
            let file = dir.join(target);
            if !file.exists() {
                continue;
            }
            if std::env::var_os("UPDATE").is_some() {
                std::fs::write(&file, &made).unwrap();
            }
            if std::fs::read_to_string(&file).unwrap() != made {
                wrong.push(format!("{}:\n{made}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 90, "{count}");
}
