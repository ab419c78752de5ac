//! `kill -9` exactly at every named step (docs/failpoints.md): what was acknowledged is there,
//! nothing is leaked, and the same command works afterwards. (No name here is a prefix of an id:
//! hexadecimal digits.)

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::support::peer::Mode;
use crate::support::{World, peer};

/// One command that is killed at each of its steps.
struct Walk {
    /// `name` or `name:passage`.
    points: &'static [&'static str],
    /// What makes the ground for it; every command succeeds.
    before: &'static [&'static str],
    /// The command.
    command: &'static str,
    /// What must work right after it was killed, without a word of repair.
    then: &'static [&'static str],
    /// What clears up.
    after: &'static [&'static str],
}

const MADE: &[&str] = &[
    "layer::staged",
    "unpack::entry:3",
    "layer::sync",
    "layer::publish",
    "layer::published",
    "blob::commit",
    "image::record",
    "image::names",
];

const IMPORT: Walk = Walk {
    points: MADE,
    before: &[],
    command: "import -q second.tar second",
    then: &[
        "import -q second.tar second",
        "run --rm --network none -v data:/d second /bin/busybox true",
    ],
    // A kill after the record leaves an image without a name, which a prune removes.
    after: &["rmi second", "image prune -f"],
};

const PULL: Walk = Walk {
    points: &["blob::write", "blob::sync", "blob::rename"],
    before: &[],
    command: "pull -q --tls-verify=false REGISTRY/second",
    then: &[
        "pull -q --tls-verify=false REGISTRY/second",
        "run --rm --network none REGISTRY/second /bin/busybox true",
    ],
    after: &["rmi REGISTRY/second"],
};

const PULL_LAYERS: Walk = Walk {
    points: &[
        "layer::staged",
        "unpack::entry:3",
        "layer::sync",
        "layer::publish",
        "layer::published",
        "image::record",
        "image::names",
    ],
    ..PULL
};

const COMMIT: Walk = Walk {
    points: MADE,
    before: &[
        "run --network none --name one busybox sh -c echo${IFS}x>/x;echo${IFS}y>/y;echo${IFS}z>/z",
    ],
    command: "commit -q one made",
    then: &["commit -q one made", "run --rm --network none made cat /x"],
    after: &["rmi made", "rm one", "image prune -f"],
};

const COMMIT_LAYER: Walk = Walk {
    points: &["commit::layer"],
    ..COMMIT
};

const REMOVE_IMAGE: Walk = Walk {
    points: &[
        "layer::remove",
        "trash::rename",
        "trash::renamed",
        "gc::blob",
    ],
    before: &["import -q second.tar second"],
    command: "rmi second",
    then: &["import -q second.tar second", "rmi second"],
    after: &[],
};

const CREATE: Walk = Walk {
    points: &[
        "volume::publish",
        "create::volumes",
        "container::folder",
        "container::record",
        "create::recorded",
    ],
    before: &[],
    command: "create --name one --network none -v fresh:/data busybox true",
    then: &[
        "rm -f -i one",
        "create --name one --network none -v fresh:/data busybox true",
        "start -a one",
    ],
    after: &["rm one", "volume rm fresh"],
};

const START: Walk = Walk {
    points: &[
        "start::entered",
        "overlay::upper",
        "start::mounted",
        "start::generated",
        "volume::copied",
        "start::mounts",
        "start::prepared",
        "start::log",
        "start::uplink",
        "start::launched",
    ],
    before: &["create --name one --network none -v fresh:/data busybox sleep 100"],
    command: "start one",
    then: &["start one", "exec one cat /data/file"],
    after: &["rm -f -t 0 one", "volume rm fresh"],
};

const RUN: Walk = Walk {
    points: &[
        "start::launched",
        "exit::seen",
        "exit::recorded",
        "exit::freed",
        "exit::cleared",
    ],
    before: &[],
    command: "run --rm --network none --name one busybox true",
    then: &["run --rm --network none --name one busybox true"],
    after: &[],
};

const EXIT: Walk = Walk {
    points: &[
        "exit::seen",
        "exit::recorded",
        "exit::freed",
        "exit::cleared",
    ],
    before: &["create --network none --name one busybox sh -c exit${IFS}0"],
    command: "start -a one",
    then: &["start -a one"],
    after: &["rm one"],
};

const STOP: Walk = Walk {
    points: &["stop::intended", "stop::ended"],
    before: &["run -d --network none --name one busybox sleep 100"],
    command: "stop -t 0 one",
    then: &["stop -t 0 one", "start one"],
    after: &["rm -f -t 0 one"],
};

const REAP: Walk = Walk {
    points: &["reap::killed", "reap::recorded"],
    before: &[
        "run -d --network none --name one busybox sleep 100",
        "KILL one",
    ],
    command: "start one",
    then: &["start one", "exec one true"],
    after: &["rm -f -t 0 one"],
};

const REMOVE: Walk = Walk {
    points: &[
        "remove::stopped",
        "container::unnamed",
        "remove::discarded",
        "remove::files",
        "volume::remove",
    ],
    before: &["run --network none --name one -v /anonymous busybox true"],
    command: "rm -v one",
    then: &[
        "rm -f -i one",
        "create --name one --network none busybox true",
    ],
    after: &["rm one"],
};

const CLONE: Walk = Walk {
    points: &["clone::publish"],
    before: &["import -q second.tar second"],
    command: "run --rm --network none --userns keep-id second /bin/busybox true",
    then: &["run --rm --network none --userns keep-id second /bin/busybox true"],
    // What a killed `run` made and never started is a container like others.
    after: &["container prune -f", "rmi second"],
};

const COPY: Walk = Walk {
    points: &["copy::publish"],
    before: &[],
    command: "--storage-driver copy run --rm --network none busybox true",
    then: &["--storage-driver copy run --rm --network none busybox true"],
    after: &["container prune -f"],
};

const VOLUME: Walk = Walk {
    points: &["volume::publish"],
    before: &[],
    command: "volume create fresh",
    then: &["volume create --ignore fresh"],
    after: &["volume rm fresh"],
};

const VOLUME_REMOVE: Walk = Walk {
    points: &["volume::remove"],
    before: &["volume create fresh"],
    command: "volume rm fresh",
    then: &["volume create fresh"],
    after: &["volume rm fresh"],
};

const VOLUME_IMPORT: Walk = Walk {
    points: &["unpack::entry:3"],
    before: &["volume create fresh"],
    command: "volume import fresh second.tar",
    then: &["volume import fresh second.tar"],
    after: &["volume rm fresh"],
};

/// A layer and a blob that no image has: the prune is killed at the blob.
const PRUNE: Walk = Walk {
    points: &["gc::blob"],
    before: &["DIE image::record import -q second.tar second", "AGE"],
    command: "image prune -f",
    then: &["image prune -f"],
    after: &[],
};

const POD: Walk = Walk {
    points: &["pod::folder"],
    before: &[],
    command: "pod create --network none p",
    then: &["pod ps", "pod rm -f -i p", "pod create --network none p"],
    after: &["pod rm -f p"],
};

const POD_START: Walk = Walk {
    points: &["pod::held"],
    before: &[
        "pod create --network none --exit-policy stop p",
        "create --pod p --name member busybox true",
    ],
    command: "start member",
    then: &["ps -a", "start -a member", "pod start p"],
    after: &["pod rm -f -t 0 p"],
};

const POD_REMOVE: Walk = Walk {
    points: &["pod::member", "pod::record"],
    before: &[
        "pod create --network none p",
        "create --pod p --name member busybox true",
    ],
    command: "pod rm -f p",
    then: &["ps -a", "pod rm -f -i p", "pod create --network none p"],
    after: &["pod rm -f p"],
};

const ALL: &[&Walk] = &[
    &IMPORT,
    &PULL,
    &PULL_LAYERS,
    &COMMIT,
    &COMMIT_LAYER,
    &REMOVE_IMAGE,
    &CREATE,
    &START,
    &RUN,
    &EXIT,
    &STOP,
    &REAP,
    &REMOVE,
    &CLONE,
    &COPY,
    &VOLUME,
    &VOLUME_REMOVE,
    &VOLUME_IMPORT,
    &PRUNE,
    &POD_START,
    &POD,
    &POD_REMOVE,
];

/// A world with something to lose: an image, a volume with content, a container that runs.
struct Ground {
    world: World,
    registry: Option<peer::Registry>,
    before: BTreeSet<String>,
}

impl Ground {
    fn new(registry: bool) -> Self {
        let world = World::with_busybox();
        second_tar(&world);
        let keep = [
            "run",
            "-d",
            "--name",
            "keep",
            "--network",
            "none",
            "-v",
            "data:/d",
        ];
        let command = [
            "busybox",
            "sh",
            "-c",
            "echo kept > /d/kept; exec sleep 1000",
        ];
        world.ok(&[&keep[..], &command].concat());
        peer::wait_for("the volume's content", || {
            world.run(&["exec", "keep", "cat", "/d/kept"]).stdout == "kept\n"
        });
        let registry = registry.then(|| world.registry(Mode::Plain));
        let mut ground = Self {
            world,
            registry,
            before: BTreeSet::new(),
        };
        if ground.registry.is_some() {
            ground.all(&[
                "import -q second.tar second",
                "push -q --tls-verify=false second REGISTRY/second",
                "rmi second",
            ]);
        }
        // A clone for that view stays with its layer: it is a part of the store from then on.
        ground.all(&["run --rm --network none --userns keep-id busybox true"]);
        ground.wait_idle("at the beginning");
        ground.before = ground.things();
        ground
    }

    fn words(&self, line: &str) -> Vec<String> {
        let address = self.registry.as_ref().map_or("", |r| r.address.as_str());
        line.replace("REGISTRY", address)
            .split(' ')
            .map(|word| word.replace("${IFS}", " "))
            .collect()
    }

    /// Runs commands of which none may fail.
    fn all(&self, lines: &[&str]) {
        for line in lines {
            if let Some(name) = line.strip_prefix("KILL ") {
                let monitor = self.world.inspect(name, "{{.State.ConmonPid}}");
                let pid = rustix::process::Pid::from_raw(monitor.parse().unwrap()).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
                self.world.wait_state(name, "exited");
            } else if let Some(rest) = line.strip_prefix("DIE ") {
                let (point, command) = rest.split_once(' ').unwrap();
                self.die(point, command);
            } else if *line == "AGE" {
                self.age();
            } else {
                self.world.ok(&self.words(line));
            }
        }
    }

    /// Kills `command` at `point`, and insists that it came there.
    fn die(&self, point: &str, command: &str) {
        let hit = self.world.path().join("hit");
        let mut child = self.world.command(&self.words(command));
        let out = child
            .env("CORACLE_FAILPOINT", point)
            .env("CORACLE_FAILPOINT_HIT", &hit)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(hit.exists(), "{command} never came to {point}: {out:?}");
        std::fs::remove_file(hit).unwrap();
    }

    /// What was there before is there, and every listing says so without a complaint.
    fn is_well(&self, what: &str) {
        for line in ["ps -a", "images", "volume ls", "system df"] {
            let out = self.world.run(&self.words(line));
            assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{line} {what}");
        }
        let kept = [
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            "data:/d",
            "busybox",
        ];
        let out = self.world.run(&[&kept[..], &["cat", "/d/kept"]].concat());
        assert_eq!(
            (out.code, out.stdout.as_str()),
            (0, "kept\n"),
            "{what}: {}",
            out.stderr
        );
        let look = [
            "container",
            "inspect",
            "--format",
            "{{.State.Status}}",
            "keep",
        ];
        assert_eq!(self.world.ok(&look), "running", "{what}");
    }

    /// Everything on disk that has a name, and every process.
    fn things(&self) -> BTreeSet<String> {
        let data = self.world.data();
        let folders = [
            data.join("containers"),
            data.join("names"),
            data.join("volumes"),
            data.join("store/staging"),
            data.join("store/trash"),
            data.join("store/layers"),
            data.join("store/layers/.claims"),
            data.join("store/clones"),
            data.join("store/images"),
            data.join("store/blobs/sha256"),
            self.world.runtime().join("containers"),
        ];
        let mut all: BTreeSet<String> = folders.iter().flat_map(|f| names(f)).collect();
        // A folder of locks, made at need; what is in it counts.
        all.remove("layers/.claims");
        all
    }

    /// Makes leftovers old enough for a sweep, which leaves the young ones to who makes them.
    fn age(&self) {
        let data = self.world.data();
        let then = SystemTime::now() - Duration::from_secs(7200);
        for folder in [
            "containers",
            "volumes",
            "store/staging",
            "store/blobs/sha256",
        ] {
            for entry in std::fs::read_dir(data.join(folder))
                .into_iter()
                .flatten()
                .flatten()
            {
                // Files of the container's users are nobody's here.
                if let Ok(file) = std::fs::File::open(entry.path()) {
                    drop(file.set_modified(then));
                }
            }
        }
    }

    fn walk(&self, walk: &Walk) {
        for point in walk.points {
            let what = format!("after {} was killed at {point}", walk.command);
            self.all(walk.before);
            self.die(point, walk.command);
            self.is_well(&what);
            for line in walk.then {
                let out = self.world.run(&self.words(line));
                assert_eq!(out.code, 0, "{line} {what}: {}", out.stderr);
            }
            self.all(walk.after);
            self.is_well(&what);
            self.wait_idle(&what);
        }
    }

    /// Nothing but the monitor of `keep`: a `--rm` container's one cleans up after the answer.
    fn wait_idle(&self, what: &str) {
        peer::wait_for(&format!("all processes to end {what}"), || {
            crate::killed::leftovers(&self.world).len() == 1
        });
    }

    /// After a prune there is what there was, and no mount of this world.
    fn ends_as_it_began(&self) {
        self.age();
        let out = self
            .world
            .run(&["system", "prune", "-a", "-f", "--volumes"]);
        assert_eq!((out.code, out.stderr.as_str()), (0, ""));
        assert_eq!(self.things(), self.before);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.world.path().to_str().unwrap()));
    }
}

fn names(folder: &Path) -> Vec<String> {
    let list = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let below = folder.file_name().unwrap().to_string_lossy().into_owned();
    list.map(|e| format!("{below}/{}", e.file_name().to_string_lossy()))
        .collect()
}

/// An image whose layer no other image has.
fn second_tar(world: &World) {
    let root = world.path().join("second");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    for i in 0..6 {
        std::fs::write(root.join(format!("file{i}")), format!("{i}").repeat(5000)).unwrap();
    }
    std::fs::copy(peer::find("busybox").unwrap(), root.join("bin/busybox")).unwrap();
    let tar = world.path().join("second.tar");
    let made = Command::new("tar")
        .arg("-C")
        .arg(&root)
        .arg("-cf")
        .arg(tar)
        .arg(".")
        .status();
    assert!(made.unwrap().success());
}

/// The names in the sources.
fn in_sources(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path: PathBuf = entry.path();
        if path.is_dir() {
            in_sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for rest in text.split("failpoint(\"").skip(1) {
                found.insert(rest.split('"').next().unwrap().to_owned());
            }
        }
    }
}

#[test]
fn every_failpoint_is_walked_and_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut there = BTreeSet::new();
    in_sources(&root.join("src"), &mut there);
    there.remove("never::armed");
    let walked: BTreeSet<String> = ALL
        .iter()
        .flat_map(|w| w.points)
        .map(|p| match p.rsplit_once(':') {
            Some((name, n)) if n.parse::<u32>().is_ok() => name.to_owned(),
            _ => (*p).to_owned(),
        })
        .collect();
    assert_eq!(there, walked);
    let text = std::fs::read_to_string(root.join("docs/failpoints.md")).unwrap();
    let documented: BTreeSet<String> = text
        .lines()
        .filter(|l| l.starts_with("| `"))
        .filter_map(|l| l.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    assert_eq!(there, documented);
}

#[test]
fn pods_survive_a_kill_at_every_step() {
    let ground = Ground::new(false);
    for walk in [&POD, &POD_START, &POD_REMOVE] {
        ground.walk(walk);
    }
    ground.ends_as_it_began();
}

#[test]
fn images_survive_a_kill_at_every_step() {
    let ground = Ground::new(false);
    for walk in [&IMPORT, &COMMIT, &COMMIT_LAYER, &REMOVE_IMAGE, &PRUNE] {
        ground.walk(walk);
    }
    ground.ends_as_it_began();
}

#[test]
fn a_pull_survives_a_kill_at_every_step() {
    requires!("docker-registry");
    let ground = Ground::new(true);
    for walk in [&PULL, &PULL_LAYERS] {
        ground.walk(walk);
    }
    ground.ends_as_it_began();
}

#[test]
fn containers_survive_a_kill_at_every_step_of_create_and_start() {
    let ground = Ground::new(false);
    for walk in [&CREATE, &START, &CLONE, &COPY] {
        ground.walk(walk);
    }
    ground.ends_as_it_began();
}

#[test]
fn containers_survive_a_kill_at_every_step_of_exit_stop_and_rm() {
    let ground = Ground::new(false);
    for walk in [&RUN, &EXIT, &STOP, &REAP, &REMOVE] {
        ground.walk(walk);
    }
    ground.ends_as_it_began();
}

#[test]
fn volumes_survive_a_kill_at_every_step() {
    let ground = Ground::new(false);
    for walk in [&VOLUME, &VOLUME_REMOVE, &VOLUME_IMPORT] {
        ground.walk(walk);
    }
    ground.ends_as_it_began();
}
