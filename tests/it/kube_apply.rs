//! `kube apply` and `compose deploy --to kube`, against a small server that speaks Kubernetes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::World;
use crate::support::http::{Answer, Request, serve};

/// What the server holds, by path, and what it was asked to change.
#[derive(Default)]
struct Store {
    objects: BTreeMap<String, Value>,
    asked: Vec<String>,
    version: u64,
    /// Deployments never become ready.
    stuck: bool,
}

fn answer(store: &mut Store, request: &Request) -> (u16, Value) {
    let no = |code: u16, text: &str| {
        (
            code,
            json!({"kind": "Status", "status": "Failure", "message": text, "code": code}),
        )
    };
    if request.header("authorization") != Some("Bearer sesame") {
        return no(401, "Unauthorized");
    }
    let kind = |name: &str, kind: &str| json!({"name": name, "kind": kind, "namespaced": true});
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/api/v1") => {
            let all = [
                kind("configmaps", "ConfigMap"),
                kind("services", "Service"),
                kind("persistentvolumeclaims", "PersistentVolumeClaim"),
            ];
            return (200, json!({"resources": all}));
        }
        ("GET", "/apis/apps/v1") => {
            let all = [
                kind("deployments/status", "Deployment"),
                kind("deployments", "Deployment"),
            ];
            return (200, json!({"resources": all}));
        }
        _ => {}
    }
    if request.method != "GET" {
        let dry = request.parameters("dryRun").concat();
        store.asked.push(
            format!("{} {} {dry}", request.method, request.path)
                .trim()
                .to_owned(),
        );
    }
    let dry = !request.parameters("dryRun").is_empty();
    match request.method.as_str() {
        "GET" if !request.parameters("labelSelector").is_empty() => {
            let selector = request.parameters("labelSelector").concat();
            let (key, value) = selector.split_once('=').unwrap();
            let below = format!("{}/", request.path);
            let items: Vec<&Value> = store
                .objects
                .iter()
                .filter(|(p, o)| p.starts_with(&below) && o["metadata"]["labels"][key] == value)
                .map(|(_, o)| o)
                .collect();
            (200, json!({ "items": items }))
        }
        "GET" => match store.objects.get_mut(&request.path) {
            None => no(404, "not found"),
            Some(object) => {
                let now = object.clone();
                if object["kind"] == "Deployment" && !store.stuck {
                    // The controller is at work between two looks.
                    let n = object["spec"]["replicas"].clone();
                    object["status"] = json!({"observedGeneration": 1, "replicas": n, "updatedReplicas": n, "availableReplicas": n});
                }
                (200, now)
            }
        },
        "PATCH" => {
            assert_eq!(
                request.header("content-type"),
                Some("application/apply-patch+yaml")
            );
            assert_eq!(request.parameters("fieldManager"), ["coracle"]);
            assert_eq!(request.parameters("force"), ["true"]);
            let mut object: Value = serde_json::from_slice(&request.body).unwrap();
            if object["data"]["bad"] == "yes" {
                return no(422, "ConfigMap \"x\" is invalid: data: bad is bad");
            }
            let old = store.objects.get(&request.path).cloned();
            let same = old
                .as_ref()
                .is_some_and(|o| o["spec"] == object["spec"] && o["data"] == object["data"]);
            if same {
                return (200, old.unwrap());
            }
            store.version += 1;
            object["metadata"]["resourceVersion"] = store.version.to_string().into();
            object["metadata"]["generation"] = 1.into();
            object["metadata"]["managedFields"] = json!([{"manager": "coracle"}]);
            if !dry {
                store.objects.insert(request.path.clone(), object.clone());
            }
            (if old.is_some() { 200 } else { 201 }, object)
        }
        "DELETE" => {
            if !dry {
                store.objects.remove(&request.path);
            }
            (200, json!({"kind": "Status", "status": "Success"}))
        }
        _ => no(405, "no such method"),
    }
}

/// A world with the kubeconfig of a server of its own.
fn cluster(w: &World) -> Arc<Mutex<Store>> {
    let store = Arc::new(Mutex::new(Store::default()));
    let own = Arc::clone(&store);
    let address = serve(move |request| {
        let (status, body) = answer(&mut own.lock().unwrap(), request);
        Answer {
            status,
            ..Answer::ok(body.to_string())
        }
    });
    let config = json!({
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "team"}},
            {"name": "nobody", "context": {"cluster": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "u", "user": {"token": "sesame"}}],
    });
    std::fs::write(w.path().join("kubeconfig"), config.to_string()).unwrap();
    store
}

const TWO: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {set: one}}
spec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: x}]}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {set: one}}
data: {a: b}
";

fn apply(w: &World, manifest: &str, more: &[&str]) -> crate::support::Outcome {
    let words = [
        &["kube", "apply", "--kubeconfig=kubeconfig", "-f", "-"],
        more,
    ]
    .concat();
    w.run_with(&words, manifest.as_bytes())
}

#[test]
fn manifests_are_created_updated_and_pruned_in_a_cluster() {
    let w = World::new();
    let store = cluster(&w);
    let tried = apply(&w, TWO, &["--dry-run"]).ok();
    assert!(
        tried.contains("deployment/web created (dry run)"),
        "{tried}"
    );
    assert!(store.lock().unwrap().objects.is_empty());

    let first = apply(&w, TWO, &[]).code(0);
    // What others need goes first.
    assert_eq!(
        first.stdout,
        "configmap/settings created\ndeployment/web created\n"
    );
    assert!(
        first.stderr.contains("deployment/web: not looked at yet"),
        "{}",
        first.stderr
    );
    assert!(
        first.stderr.contains("deployment/web: ready"),
        "{}",
        first.stderr
    );
    let paths: Vec<String> = store.lock().unwrap().objects.keys().cloned().collect();
    assert_eq!(
        paths,
        [
            "/api/v1/namespaces/team/configmaps/settings",
            "/apis/apps/v1/namespaces/team/deployments/web"
        ]
    );

    let more = TWO.replace("replicas: 2", "replicas: 3");
    let second = apply(&w, &more, &[]).ok();
    assert_eq!(
        second,
        "configmap/settings unchanged\ndeployment/web configured"
    );

    // Somebody else's with the same label, and a claim of ours.
    let strangers = [
        ("configmaps/other", "kubectl"),
        ("persistentvolumeclaims/data", "coracle"),
    ];
    for (path, manager) in strangers {
        let name = path.rsplit_once('/').unwrap().1;
        let object = json!({"metadata": {"name": name, "labels": {"set": "one"}, "managedFields": [{"manager": manager}]}});
        store
            .lock()
            .unwrap()
            .objects
            .insert(format!("/api/v1/namespaces/team/{path}"), object);
    }
    let (_, config) = TWO.split_once("---").unwrap();
    let pruned = apply(&w, config, &["--prune", "-l", "set=one"]).code(0);
    assert_eq!(
        pruned.stdout,
        "configmap/settings unchanged\ndeployment/web pruned\n"
    );
    assert!(
        pruned.stderr.contains("persistentvolumeclaim/data stays"),
        "{}",
        pruned.stderr
    );
    apply(&w, config, &["--prune", "-l", "set=one", "--force"]).ok();
    let left: Vec<String> = store.lock().unwrap().objects.keys().cloned().collect();
    assert_eq!(
        left,
        ["other", "settings"].map(|n| format!("/api/v1/namespaces/team/configmaps/{n}"))
    );
}

#[test]
fn what_the_cluster_refuses_is_told_in_its_words() {
    let w = World::new();
    let store = cluster(&w);
    let bad = TWO.replace("a: b", "bad: 'yes'");
    apply(&w, &bad, &[])
        .code(125)
        .says("cannot apply configmap/settings")
        .says("data: bad is bad");
    apply(&w, TWO, &["--context=nobody"])
        .code(125)
        .says("says 401: Unauthorized");
    apply(&w, TWO, &["--prune", "-l", "set=two"])
        .code(125)
        .says("without the label set=two");
    apply(&w, &TWO.replace("kind: ConfigMap", "kind: Widget"), &[])
        .code(125)
        .says("knows no Widget");
    assert_eq!(
        store
            .lock()
            .unwrap()
            .asked
            .iter()
            .filter(|a| a.starts_with("DELETE"))
            .count(),
        0
    );
    store.lock().unwrap().stuck = true;
    apply(&w, TWO, &["--timeout=1s"])
        .code(125)
        .says("not ready after 1 s: deployment/web");
    apply(&w, TWO, &["--wait=false"]).ok();
}

#[test]
fn a_project_is_deployed_to_a_cluster_and_what_it_has_no_more_is_pruned() {
    let w = World::new();
    let store = cluster(&w);
    let write = |text: &str| std::fs::write(w.path().join("compose.yaml"), text).unwrap();
    let deploy = || {
        w.run(&["compose", "deploy", "--to=kube", "--kubeconfig=kubeconfig"])
            .ok()
    };
    write(
        "name: shop\nservices:\n  web: {image: 'r/web:1', deploy: {replicas: 2}}\n  old: {image: 'r/old:1'}\n",
    );
    let first = deploy();
    assert!(
        first.contains("deployment/web created") && first.contains("deployment/old created"),
        "{first}"
    );
    write("name: shop\nservices:\n  web: {image: 'r/web:2', deploy: {replicas: 2}}\n");
    let second = deploy();
    assert!(
        second.contains("deployment/web configured") && second.contains("deployment/old pruned"),
        "{second}"
    );
    let web =
        store.lock().unwrap().objects["/apis/apps/v1/namespaces/team/deployments/web"].clone();
    assert_eq!(
        web["spec"]["template"]["spec"]["containers"][0]["image"],
        "r/web:2"
    );
    for (flags, says) in [
        (&["--to=nomad"][..], "--to takes kube and swarm"),
        (
            &["--to=kube", "--host=h"],
            "--host does not go with --to kube",
        ),
        (
            &["--to=swarm", "--force"],
            "--force does not go with --to swarm",
        ),
        (&["--to=swarm", "--context=c"], "no docker context \"c\""),
        (&["--to=swarm", "--host=ssh://h"], "forward its socket"),
        (
            &["--to=swarm", "--host=unix:///nowhere"],
            "--host names another one",
        ),
        (
            &["--to=swarm", "--host=tcp://127.0.0.1:1"],
            "check the manager tcp://127.0.0.1:1",
        ),
    ] {
        w.run(&[&["compose", "deploy"], flags].concat())
            .code(125)
            .says(says);
    }
}
