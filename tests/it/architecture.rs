//! The rules of ARCHITECTURE.md and CONTRIBUTING.md that a program can check.

use std::path::{Path, PathBuf};

/// Modules by layer; a module may name only modules of lower layers.
const LAYERS: &[(&str, u32)] = &[
    ("sys", 0),
    ("base", 1),
    ("spec", 1),
    ("config", 2),
    ("state", 3),
    ("handoff", 3),
    ("events", 3),
    ("image", 4),
    ("registry", 4),
    ("archive", 4),
    ("storage", 4),
    ("overlay", 4),
    ("network", 4),
    ("runtime", 4),
    ("monitor", 4),
    ("cgroup", 4),
    ("build", 4),
    ("logs", 4),
    ("secrets", 4),
    ("quadlet", 4),
    ("kube", 4),
    ("compose", 4),
    ("operations", 5),
    ("cli", 6),
    ("roles", 6),
    ("api", 6),
];

/// Edges inside a layer, or upward, that are allowed, each with its reason.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("spec", "base", "a parser's error is a base::Error"),
    (
        "handoff",
        "state",
        "the control protocol names containers by their records",
    ),
    (
        "storage",
        "overlay",
        "the fuse driver hands it the layers' descriptors",
    ),
    ("events", "state", "an event carries ids"),
    ("cli", "roles", "none today; main picks between them"),
    ("cli", "api", "`system service` starts it"),
    (
        "api",
        "cli",
        "a request of Docker's becomes the words of a command, read by the same flags",
    ),
];

fn sources() -> Vec<PathBuf> {
    fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                into.push(path);
            }
        }
    }
    let mut files = Vec::new();
    walk(&root().join("src"), &mut files);
    files.sort();
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn layer(module: &str) -> Option<u32> {
    LAYERS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, layer)| *layer)
}

/// The code of a file without its tests and comments. A file of tests (`tests.rs`, `x_tests.rs`)
/// has none.
fn code(path: &Path) -> String {
    let stem = path.file_stem().unwrap().to_str().unwrap();
    if stem == "tests" || stem.ends_with("_tests") {
        return String::new();
    }
    let text = std::fs::read_to_string(path).unwrap();
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end]
        .lines()
        .filter(|l| !l.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn modules_name_only_lower_layers() {
    let mut wrong = Vec::new();
    for path in sources() {
        let inside = path.strip_prefix(root().join("src")).unwrap();
        let module = inside
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs")
            .to_owned();
        let Some(own) = layer(&module) else { continue };
        let code = code(&path);
        for (at, _) in code.match_indices("crate::") {
            let rest = &code[at + 7..];
            let name: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let Some(other) = layer(&name) else { continue };
            let allowed = ALLOWED
                .iter()
                .any(|(from, to, _)| *from == module && *to == name);
            if name != module && other >= own && !allowed {
                wrong.push(format!("{} names {name}", inside.display()));
            }
        }
    }
    wrong.dedup();
    assert!(
        wrong.is_empty(),
        "upward or sideways imports:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_module_of_the_library_has_a_layer() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for line in lib.lines() {
        if let Some(name) = line
            .strip_prefix("pub mod ")
            .and_then(|l| l.strip_suffix(';'))
        {
            assert!(
                layer(name).is_some(),
                "src/lib.rs declares {name}, which LAYERS does not know"
            );
        }
    }
}

#[test]
fn unsafe_code_stays_in_sys() {
    for path in sources() {
        let inside = path.strip_prefix(root().join("src")).unwrap();
        if inside.starts_with("sys") {
            continue;
        }
        let code = code(&path);
        for marker in [
            "unsafe {",
            "unsafe fn",
            "unsafe impl",
            "expect(unsafe_code",
            "allow(unsafe_code",
        ] {
            assert!(!code.contains(marker), "{}: {marker}", inside.display());
        }
    }
}

#[test]
fn only_the_output_module_prints() {
    for path in sources() {
        let inside = path.strip_prefix(root().join("src")).unwrap();
        if inside.starts_with("cli/output")
            || inside.starts_with("roles")
            || inside == Path::new("main.rs")
        {
            continue;
        }
        if inside == Path::new("operations/image/save.rs") {
            // An archive on standard output is data that is too large to be handed up.
            continue;
        }
        let code = code(&path);
        // Handing a descriptor on, or asking whether it is a terminal, is not printing.
        for marker in [
            "println!(",
            " print!(",
            "stdout().lock()",
            "stdout().write",
            "stderr().lock()",
            "stderr().write",
        ] {
            assert!(!code.contains(marker), "{}: {marker}", inside.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_holds_one_responsibility() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let inside = path.strip_prefix(root()).unwrap();
        assert!(
            text.starts_with("//! "),
            "{}: no head comment",
            inside.display()
        );
        let lines = code(&path).lines().count();
        assert!(lines <= 800, "{}: {lines} lines of code", inside.display());
    }
}

#[test]
fn every_test_file_is_part_of_the_one_binary() {
    let main = std::fs::read_to_string(root().join("tests/it/main.rs")).unwrap();
    for entry in std::fs::read_dir(root().join("tests/it"))
        .unwrap()
        .flatten()
    {
        let name = entry.file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        if module != "main" {
            assert!(
                main.contains(&format!("mod {module};")),
                "tests/it/{name} is not declared in main.rs"
            );
        }
    }
}
