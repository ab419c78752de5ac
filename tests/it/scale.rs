//! Many layers, images and containers: what looks at all of them looks at each a few times. Files
//! that are opened are counted, not seconds; tests/bench/scale.sh has the seconds.

use std::fs;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

use rustix::fs::inotify;
use serde_json::Value;

use crate::support::World;
use crate::support::hub::sha256;

const IMAGES: usize = 40;
const CONTAINERS: usize = 60;

fn only(dir: &Path) -> PathBuf {
    fs::read_dir(dir).unwrap().next().unwrap().unwrap().path()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Images of three layers each on the one that is there, and containers like the one that is there,
/// as records.
fn multiply(world: &World) {
    let store = world.data().join("store");
    let record = json(&only(&store.join("images")));
    let mut names = json(&store.join("names.json"));
    let base = record["layers"][0].clone();
    let bottom = base["chain_id"].as_str().unwrap().to_owned();
    let info = json(&store.join("layers").join(&bottom[7..]).join("layer.json"));
    for image in 0..IMAGES {
        let (mut below, mut chain) = (bottom.clone(), vec![base.clone()]);
        for n in 0..3 {
            let diff = sha256(format!("diff {image} {n}").as_bytes());
            let top = sha256(format!("{below} {diff}").as_bytes());
            let folder = store.join("layers").join(&top[7..]);
            fs::create_dir_all(folder.join("diff/d")).unwrap();
            let mut layer = info.clone();
            for (key, value) in [("chain_id", &top), ("diff_id", &diff), ("parent", &below)] {
                layer[key] = value.clone().into();
            }
            fs::write(folder.join("layer.json"), layer.to_string()).unwrap();
            let blob = sha256(diff.as_bytes());
            fs::write(store.join("blobs/sha256").join(&blob[7..]), &diff).unwrap();
            let mut layer = base.clone();
            for (key, value) in [("digest", &blob), ("diff_id", &diff), ("chain_id", &top)] {
                layer[key] = value.clone().into();
            }
            layer["size"] = diff.len().into();
            chain.push(layer);
            below = top;
        }
        let mut config: Value = serde_json::from_str(record["config"].as_str().unwrap()).unwrap();
        let diffs: Vec<_> = chain.iter().map(|l| l["diff_id"].clone()).collect();
        config["rootfs"]["diff_ids"] = diffs.into();
        let config = config.to_string();
        let id = sha256(config.as_bytes());
        let mut manifest: Value =
            serde_json::from_str(record["manifests"][0]["raw"].as_str().unwrap()).unwrap();
        manifest["config"]["digest"] = id.clone().into();
        manifest["config"]["size"] = config.len().into();
        let layers = chain.iter().map(|l| {
            serde_json::json!({"mediaType": l["media_type"], "digest": l["digest"], "size": l["size"]})
        });
        manifest["layers"] = layers.collect();
        let raw = manifest.to_string();
        let mut made = record.clone();
        made["id"] = id.clone().into();
        made["config"] = config.into();
        made["layers"] = chain.into();
        made["manifests"][0]["digest"] = sha256(raw.as_bytes()).into();
        let name = format!("localhost/scale:{image}");
        names["names"][name] =
            serde_json::json!({"id": id, "digest": made["manifests"][0]["digest"]});
        made["manifests"][0]["raw"] = raw.into();
        let path = store.join(format!("images/{}.json", &id[7..]));
        fs::write(path, made.to_string()).unwrap();
    }
    fs::write(store.join("names.json"), names.to_string()).unwrap();
    let containers = world.data().join("containers");
    let first = only(&containers);
    let old = first.file_name().unwrap().to_str().unwrap().to_owned();
    let config = fs::read_to_string(first.join("config.json")).unwrap();
    for n in 1..CONTAINERS {
        let new = sha256(format!("container {n}").as_bytes())[7..].to_owned();
        fs::create_dir(containers.join(&new)).unwrap();
        let text = config
            .replace(&old, &new)
            .replace("\"c0\"", &format!("\"c{n}\""));
        fs::write(containers.join(&new).join("config.json"), text).unwrap();
        std::os::unix::fs::symlink(&new, world.data().join(format!("names/c{n}"))).unwrap();
    }
}

/// How often anything of the store and the containers is opened by a command.
fn opened(world: &World, args: &[&str]) -> usize {
    let data = world.data();
    let mut folders = vec![data.join("store/images"), data.join("store/blobs/sha256")];
    for parent in ["store/layers", "containers"] {
        let children = fs::read_dir(data.join(parent)).unwrap();
        folders.extend(children.map(|entry| entry.unwrap().path()));
    }
    let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
    let watch = inotify::init(flags).unwrap();
    for folder in folders.iter().filter(|f| f.is_dir()) {
        inotify::add_watch(&watch, folder, inotify::WatchFlags::OPEN).unwrap();
    }
    world.ok(args);
    let mut buffer = [MaybeUninit::uninit(); 16 << 10];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    let mut opened = 0;
    loop {
        match events.next() {
            Ok(event) => {
                assert!(!event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW));
                opened += 1;
            }
            Err(rustix::io::Errno::AGAIN) => return opened,
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn commands_that_look_at_everything_look_at_each_a_few_times() {
    let world = World::with_busybox();
    world.ok(&[
        "create",
        "--name",
        "c0",
        "--network",
        "none",
        "busybox",
        "sh",
    ]);
    multiply(&world);
    // Layers, their records' folders and blobs, images, containers.
    let all = IMAGES * (1 + 3 * 2) + CONTAINERS;
    for args in [
        &["ps", "-a"][..],
        &["images"],
        &["system", "df"],
        &["system", "df", "-v"],
        &["system", "check", "--quick"],
        &["image", "prune", "-f"],
        &["rmi", "localhost/scale:1"],
        &["system", "prune", "-f"],
        &["system", "prune", "-f", "--all"],
    ] {
        let count = opened(&world, args);
        assert!(count < 10 * all, "{args:?} opened {count} of {all}");
    }
    assert_eq!(world.ok(&["ps", "-aq"]), "", "all containers were pruned");
}
