//! `quadlet from compose`: a project as quadlets, in one `.quadlets` file.

use std::collections::BTreeSet;

use serde_json::Value;

use super::from;
use crate::base::Result;
use crate::cli::compose::project::ProjectFlags;
use crate::cli::output::Out;
use crate::cli::run_words::RunWords;
use crate::compose::convert::{self, Wish};
use crate::compose::project::Keys;
use crate::compose::{Project, schema};
use crate::operations::session::Session;
use crate::quadlet::unit::Unit;
use crate::quadlet::{bundle, words};

/// Write quadlets for a Compose project
///
/// One file with all of them: `coracle quadlet install NAME.quadlets` takes it apart. Images are not
/// built; what cannot be said in a quadlet is told.
#[derive(Debug, clap::Args)]
pub struct ComposeArgs {
    #[command(flatten)]
    project: ProjectFlags,
}

/// Runs `quadlet from compose`; answers the exit code.
///
/// # Errors
/// As reading the project.
pub fn run(args: ComposeArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let project = args.project.load(session, out, &[])?;
    let (text, notices) = text(&project)?;
    for notice in notices {
        out.warn(&notice);
    }
    out.text(&text)?;
    Ok(0)
}

fn text(project: &Project) -> Result<(String, Vec<String>)> {
    let mut parts: Vec<(String, Unit)> = Vec::new();
    let mut notices = Vec::new();
    let own = |keys: &Keys| keys.get("external") != Some(&Value::Bool(true));
    for (key, keys) in project.objects("networks").filter(|(_, k)| own(k)) {
        parts.push((
            key.clone(),
            network(&project.real_name("networks", key), keys),
        ));
    }
    for (key, keys) in project.objects("volumes").filter(|(_, k)| own(k)) {
        let unit = volume(&project.real_name("volumes", key), key, keys, &mut notices);
        parts.push((key.clone(), unit));
    }
    // What others wait for says when it is there.
    let (mut healthy, mut completed) = (BTreeSet::new(), BTreeSet::new());
    for (_, keys) in project.services() {
        for needed in Project::dependencies(keys) {
            match needed.condition.as_str() {
                "service_healthy" => drop(healthy.insert(needed.service)),
                "service_completed_successfully" => drop(completed.insert(needed.service)),
                _ => {}
            }
        }
    }
    for (service, keys) in project.services() {
        let mut unit = container(project, service, keys, &mut notices)?;
        if healthy.contains(service) {
            unit.set("Container", "Notify", "healthy");
        }
        if completed.contains(service) {
            unit.set("Service", "Type", "oneshot");
            unit.set("Service", "RemainAfterExit", "yes");
        }
        parts.push((service.clone(), unit));
    }
    Ok((bundle::join(&parts), notices))
}

fn network(name: &str, keys: &Keys) -> Unit {
    const SECTION: &str = "Network";
    let mut unit = Unit::default();
    unit.push(SECTION, "NetworkName", name);
    for (key, word) in [
        ("driver", "Driver"),
        ("internal", "Internal"),
        ("enable_ipv6", "IPv6"),
    ] {
        put(&mut unit, SECTION, word, keys.get(key));
    }
    let ipam = keys.get("ipam");
    put(
        &mut unit,
        SECTION,
        "IPAMDriver",
        ipam.and_then(|i| i.get("driver")),
    );
    let subnets = ipam.and_then(|i| i.get("config")).and_then(Value::as_array);
    for subnet in subnets.into_iter().flatten() {
        for (key, word) in [
            ("subnet", "Subnet"),
            ("gateway", "Gateway"),
            ("ip_range", "IPRange"),
        ] {
            put(&mut unit, SECTION, word, subnet.get(key));
        }
    }
    pairs(&mut unit, SECTION, "Options", keys.get("driver_opts"));
    pairs(&mut unit, SECTION, "Label", keys.get("labels"));
    unit
}

fn volume(name: &str, key: &str, keys: &Keys, notices: &mut Vec<String>) -> Unit {
    const SECTION: &str = "Volume";
    let mut unit = Unit::default();
    unit.push(SECTION, "VolumeName", name);
    put(&mut unit, SECTION, "Driver", keys.get("driver"));
    let options = keys.get("driver_opts").and_then(Value::as_object);
    for (option, value) in options.into_iter().flatten() {
        match option.as_str() {
            "device" => put(&mut unit, SECTION, "Device", Some(value)),
            "type" => put(&mut unit, SECTION, "Type", Some(value)),
            "o" => put(&mut unit, SECTION, "Options", Some(value)),
            other => notices.push(format!(
                "volumes.{key}.driver_opts.{other}: there is no key for it in a quadlet"
            )),
        }
    }
    pairs(&mut unit, SECTION, "Label", keys.get("labels"));
    unit
}

fn plain(text: &str) -> String {
    text.replace('%', "%%")
}

fn put(unit: &mut Unit, section: &str, key: &str, value: Option<&Value>) {
    let text = value.and_then(schema::text).filter(|t| !t.is_empty());
    if let Some(text) = text {
        unit.push(section, key, plain(&text));
    }
}

fn pairs(unit: &mut Unit, section: &str, key: &str, value: Option<&Value>) {
    for (name, value) in value.and_then(Value::as_object).into_iter().flatten() {
        let value = schema::text(value).unwrap_or_default();
        unit.push(
            section,
            key,
            words::quote(&plain(&format!("{name}={value}"))),
        );
    }
}

fn container(
    project: &Project,
    service: &str,
    keys: &Keys,
    notices: &mut Vec<String>,
) -> Result<Unit> {
    let mut tell = |what: &str| notices.push(format!("services.{service}: {what}"));
    if keys.contains_key("build") && !keys.contains_key("image") {
        tell("build its image first: `coracle compose build`");
    }
    if Project::scale(keys) != 1 {
        tell("a quadlet is one container");
    }
    let others = project.services();
    let others = others.map(|(n, k)| (n.clone(), project.container_name(n, k, 1)));
    let wish = Wish {
        name: project.container_name(service, keys, 1),
        number: 1,
        others: others.collect(),
        ..Wish::default()
    };
    let made = convert::create(project, service, keys, &wish)?;
    made.notices.iter().for_each(|n| tell(n));
    let mut run = RunWords::of_options(&made.words)?;
    run.take("pull");
    run.flags.retain(|(flag, value)| {
        let value = value.as_deref().unwrap_or_default();
        flag != "label" || !value.starts_with("com.docker.compose.")
    });
    let own = |noun: &'static str| {
        let all = project.objects(noun);
        let own = all.filter(|(_, k)| k.get("external") != Some(&Value::Bool(true)));
        own.map(move |(key, _)| (project.real_name(noun, key), key))
    };
    for (flag, value) in &mut run.flags {
        let Some(value) = value else { continue };
        match flag.as_str() {
            "network" => {
                for (name, key) in own("networks") {
                    let rest = value.strip_prefix(&name);
                    if let Some(rest) = rest.filter(|r| r.is_empty() || r.starts_with(':')) {
                        *value = format!("{key}.network{rest}");
                        break;
                    }
                }
            }
            "mount" => {
                let parts = value.split(',').map(|part| {
                    let source = part
                        .split_once('=')
                        .filter(|(k, _)| matches!(*k, "source" | "src"));
                    let found =
                        source.and_then(|(_, s)| own("volumes").find(|(name, _)| name == s));
                    found.map_or_else(
                        || part.to_owned(),
                        |(_, key)| format!("source={key}.volume"),
                    )
                });
                *value = parts.collect::<Vec<_>>().join(",");
            }
            "secret" => tell("its secrets must be there: `coracle secret create`"),
            _ => {}
        }
    }
    let mut unit = from::unit(run)?;
    for needed in Project::dependencies(keys) {
        let other = format!("{}.container", needed.service);
        if project.service(&needed.service).is_err() {
            continue;
        }
        let how = if needed.required { "Requires" } else { "Wants" };
        unit.push_first("Unit", "After", other.clone());
        unit.push_first("Unit", how, other);
    }
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::quadlet::{Source, Target, convert};

    #[test]
    fn a_project_becomes_quadlets_that_can_be_converted() {
        let project = Project {
            name: "shop".into(),
            dir: "/p".into(),
            files: Vec::new(),
            env_files: Vec::new(),
            model: json!({
                "services": {
                    "web": {
                        "image": "web", "ports": [],
                        "networks": {"front": null},
                        "depends_on": {"db": {"condition": "service_healthy"},
                                       "init": {"condition": "service_completed_successfully"}},
                        "restart": "always", "environment": {"A": "50%"},
                    },
                    "db": {
                        "image": "db", "networks": {"front": null, "other": null},
                        "volumes": [{"type": "volume", "source": "data", "target": "/data"}],
                        "healthcheck": {"test": ["CMD-SHELL", "true"]},
                    },
                    "init": {"image": "db", "build": {"context": "."}, "network_mode": "none", "scale": 2},
                },
                "networks": {"front": {"internal": true, "labels": {"a": "b c"}}, "other": {"external": true, "name": "other"}},
                "volumes": {"data": {"driver_opts": {"type": "tmpfs", "device": "tmpfs", "x": "y"}}},
            }),
            disabled: Default::default(),
            env: Default::default(),
            notices: Vec::new(),
        };
        let (text, notices) = text(&project).unwrap();
        assert_eq!(
            notices,
            [
                "volumes.data.driver_opts.x: there is no key for it in a quadlet",
                "services.init: a quadlet is one container",
            ]
        );
        let parts = bundle::split(&text, "f").unwrap();
        let sources: Vec<Source> = parts
            .iter()
            .map(|p| Source {
                name: p.name.clone(),
                path: format!("/u/{}", p.name).into(),
                kind: p.kind,
                unit: Unit::parse(&p.text, &p.name).unwrap(),
            })
            .collect();
        let target = Target {
            program: "/c".into(),
            user: true,
            devices: Vec::new(),
        };
        let mut all = String::new();
        for (name, result) in convert(&sources, &target) {
            all.push_str(
                &result
                    .unwrap_or_else(|e| panic!("{name}: {e}\n{text}"))
                    .text,
            );
        }
        for line in [
            "ExecStart=/c network create --ignore --internal --label \"a=b c\" shop_front\n",
            "ExecStart=/c volume create --ignore --opt device=tmpfs --opt type=tmpfs shop_data\n",
            "Requires=db.service\n",
            "After=init.service\n",
            "Requires=front-network.service\n",
            "--network shop_front:alias=web",
            "--network other:alias=db",
            "--sdnotify=healthy",
            "--env A=50%%",
            "RemainAfterExit=yes\n",
            "Restart=always\n",
            "Requires=data-volume.service\n",
        ] {
            assert!(all.contains(line), "{line:?} is not in\n{all}\n{text}");
        }
        assert!(!text.contains("com.docker.compose"), "{text}");
    }
}
