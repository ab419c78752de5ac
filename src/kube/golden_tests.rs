//! Golden cases, `tests/data/kube/*.case`: a manifest in; behind `>>>` what is to be done, or the
//! error. `UPDATE=1` writes the second half anew.

use std::path::{Path, PathBuf};

use super::{Plan, Step, Wish, parse, plan};
use crate::base::Result;

fn shown(plan: &Plan) -> String {
    let mut text = String::new();
    let mut line = |l: String| {
        text.push_str(&l);
        text.push('\n');
    };
    for step in &plan.steps {
        match step {
            Step::Network(name) => line(format!("network {name}")),
            Step::Secret { name, .. } => line(format!("secret {name}")),
            Step::HostPath { path, kind } => line(format!("host path {path} {kind:?}")),
            Step::Service(service) => {
                line(format!("service {}", service.name));
                for port in &service.ports {
                    line(format!(
                        "  {}->{}/{}",
                        port.port,
                        port.target,
                        port.protocol.name()
                    ));
                }
                for port in &service.publish {
                    line(format!(
                        "  publish {}->{}",
                        port.host_port, port.container_port
                    ));
                }
            }
            Step::Start(name) => line(format!("start {name}")),
            Step::Timer(timer) => {
                let suspended = if timer.suspended { " suspended" } else { "" };
                line(format!("timer {}{suspended}", timer.name));
                timer.calendars.iter().for_each(|c| line(format!("  {c}")));
                timer.pods.iter().for_each(|p| line(format!("  pod {p}")));
                line(format!("  {}", timer.manifest));
            }
            Step::Pod { words, name } => {
                line(format!("pod {name}"));
                words.iter().for_each(|w| line(format!("  {w}")));
            }
            Step::Container { words, .. } => {
                line("container".to_owned());
                words.iter().for_each(|w| line(format!("  {w}")));
            }
            Step::Volume(volume) => {
                let keeps = if volume.keeps { " keeps" } else { "" };
                line(format!("volume {}{keeps}", volume.name));
                for (key, value) in volume.labels.iter().chain(&volume.options) {
                    line(format!("  {key}={value}"));
                }
                for file in &volume.files {
                    let text = String::from_utf8_lossy(&file.bytes);
                    line(format!("  {} {:o} {text:?}", file.path, file.mode));
                }
            }
        }
    }
    for notice in &plan.notices {
        line(format!("notice {notice}"));
    }
    text
}

fn run(text: &str) -> Result<Plan> {
    plan(&parse(text, "the manifest")?, &Wish::default(), &|_, _| {
        None
    })
}

#[test]
fn manifests_become_what_they_say() {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kube");
    let mut count = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "case") {
            continue;
        }
        count += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let (input, want) = text.split_once(">>>\n").unwrap_or((&text, ""));
        let got = match run(input) {
            Ok(plan) => shown(&plan),
            Err(e) => format!("error {}\n", e.one_line()),
        };
        if got != want {
            if std::env::var_os("UPDATE").is_some() {
                std::fs::write(&path, format!("{input}>>>\n{got}")).unwrap();
            } else {
                wrong.push(format!("{}:\n{got}", path.display()));
            }
        }
    }
    assert!(count >= 20, "only {count} cases");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
