//! Content of one file under random reads, writes, cuts, holes and copies, against bytes in memory:
//! what fsx does. It begins as a file of a lower layer.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::FallocateFlags;

use super::{Engine, Stage, inside, scratch};

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

const MOST: u64 = 300_000;

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap()
}

/// Makes `bytes` at least so long.
fn reach(bytes: &mut Vec<u8>, end: u64) {
    if bytes.len() < index(end) {
        bytes.resize(index(end), 0);
    }
}

fn exercise(path: &Path, bytes: &mut Vec<u8>, random: &mut Random, steps: usize) {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    for step in 0..steps {
        let at = random.below(MOST);
        let length = 1 + random.below(20_000);
        let size = bytes.len() as u64;
        match random.below(9) {
            0 | 1 => {
                let data = vec![u8::try_from(step % 255).unwrap() + 1; index(length)];
                file.write_all_at(&data, at).unwrap();
                reach(bytes, at + length);
                bytes[index(at)..index(at + length)].copy_from_slice(&data);
            }
            2 => {
                file.set_len(at).unwrap();
                bytes.resize(index(at), 0);
            }
            3 => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(&file, flags, at, length).unwrap();
                let (from, to) = (at.min(size), (at + length).min(size));
                bytes[index(from)..index(to)].fill(0);
            }
            4 => {
                rustix::fs::fallocate(&file, FallocateFlags::empty(), at, length).unwrap();
                reach(bytes, at + length);
            }
            5 => {
                let into = random.below(MOST);
                if at + length <= size && (into >= at + length || into + length <= at) {
                    let (mut from, mut to) = (at, into);
                    let mut left = index(length);
                    while left > 0 {
                        let n = rustix::fs::copy_file_range(
                            &file,
                            Some(&mut from),
                            &file,
                            Some(&mut to),
                            left,
                        );
                        let n = n.unwrap();
                        assert!(n > 0, "step {step}");
                        left -= n;
                    }
                    reach(bytes, into + length);
                    bytes.copy_within(index(at)..index(at + length), index(into));
                }
            }
            6 => {
                // What is said to be data reaches to what is said to be a hole, and holes are zero.
                if let Ok(data) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
                    let end = index(data.min(size));
                    assert!(
                        bytes[index(at.min(size))..end].iter().all(|b| *b == 0),
                        "step {step}"
                    );
                    let hole = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(data)).unwrap();
                    assert!(hole > data && hole <= size, "step {step}: {hole} of {size}");
                }
            }
            _ => {
                let mut read = vec![0; index(length)];
                let n = file.read_at(&mut read, at).unwrap();
                let wanted = bytes.get(index(at)..).unwrap_or_default();
                let wanted = &wanted[..wanted.len().min(index(length))];
                assert_eq!(n, wanted.len(), "step {step}");
                assert!(read[..n] == *wanted, "step {step}: other bytes at {at}");
            }
        }
        assert_eq!(
            file.metadata().unwrap().len(),
            bytes.len() as u64,
            "step {step}"
        );
    }
    file.sync_all().unwrap();
    assert!(std::fs::read(path).unwrap() == *bytes, "at the end");
}

#[test]
#[ignore = "runs inside a user namespace, started by content_is_what_was_written"]
fn inner_content() {
    let base = scratch("content");
    let lower = base.join("lower");
    std::fs::create_dir(&lower).unwrap();
    let first: Vec<u8> = (0..100_000_u32)
        .map(|i| u8::try_from(i % 253).unwrap())
        .collect();
    std::fs::write(lower.join("f"), &first).unwrap();
    let mut random = Random(7);
    let mut bytes = first.clone();
    let mut folder = base.join("ours");
    for _ in 0..4 {
        let stage = Stage::new(Engine::Ours, folder, std::slice::from_ref(&lower));
        exercise(&stage.root().join("f"), &mut bytes, &mut random, 500);
        folder = stage.end();
    }
    let native = Stage::new(Engine::Kernel, folder, std::slice::from_ref(&lower));
    assert!(std::fs::read(native.root().join("f")).unwrap() == bytes);
    native.end();
    assert!(
        std::fs::read(lower.join("f")).unwrap() == first,
        "the layer is as it was"
    );
}

#[test]
#[ignore = "runs inside a user namespace, started by many_threads_at_once"]
fn inner_threads() {
    let base = scratch("threads");
    let lower = base.join("lower");
    for n in 0..8 {
        std::fs::create_dir_all(lower.join(format!("d{n}/sub"))).unwrap();
        for f in 0..50 {
            std::fs::write(lower.join(format!("d{n}/sub/f{f}")), vec![b'x'; 3000]).unwrap();
        }
    }
    let stage = Stage::new(
        Engine::Ours,
        base.join("ours"),
        std::slice::from_ref(&lower),
    );
    let root = stage.root();
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let root = root.clone();
            scope.spawn(move || work(&root, thread));
        }
    });
    // One shared file got a line of every round of every thread, none torn.
    let log = std::fs::read_to_string(root.join("log")).unwrap();
    assert_eq!(log.lines().count(), 8 * 150);
    assert!(log.lines().all(|l| l.len() == 19), "torn lines");
    let before = super::snapshot(&root, true);
    let folder = stage.end();
    let again = Stage::new(Engine::Ours, folder, std::slice::from_ref(&lower));
    super::assert_same(&before, &super::snapshot(&again.root(), true), "after all");
    again.end();
}

/// Makes, changes, moves and removes files beside seven others who do so in the same folders.
fn work(root: &Path, thread: u64) {
    use std::io::Write as _;
    let mut random = Random(thread + 1);
    let mut log = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(root.join("log"))
        .unwrap();
    for round in 0..150 {
        let dir = root.join(format!("d{}", random.below(8)));
        let own = dir.join(format!("own-{thread}-{round}"));
        std::fs::write(&own, format!("{thread} {round}")).unwrap();
        let shared = dir.join(format!("sub/f{}", random.below(50)));
        match random.below(5) {
            0 => drop(std::fs::remove_file(&shared)),
            1 => drop(std::fs::write(&shared, vec![b'y'; 5000])),
            2 => drop(std::fs::rename(
                &shared,
                dir.join(format!("moved-{thread}")),
            )),
            3 => drop(std::fs::hard_link(
                &shared,
                dir.join(format!("link-{thread}-{round}")),
            )),
            _ => {
                let count = std::fs::read_dir(dir.join("sub")).unwrap().count();
                assert!(count <= 50);
            }
        }
        assert_eq!(
            std::fs::read_to_string(&own).unwrap(),
            format!("{thread} {round}")
        );
        let next = dir.join(format!("own-{thread}"));
        std::fs::rename(&own, &next).unwrap();
        assert!(!own.exists());
        log.write_all(
            format!("{thread:09} {round:09}\n")
                .replace(' ', "-")
                .as_bytes(),
        )
        .unwrap();
        if random.below(2) == 0 {
            std::fs::remove_file(&next).unwrap();
        }
        let folder = dir.join(format!("dir-{thread}"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("x"), "x").unwrap();
        let other = root.join(format!("dir-{thread}-moved"));
        std::fs::rename(&folder, &other).unwrap();
        std::fs::remove_file(other.join("x")).unwrap();
        std::fs::remove_dir(&other).unwrap();
    }
}

#[test]
fn content_is_what_was_written() {
    requires!("unshare", "newuidmap");
    inside("overlay::content::inner_content");
}

#[test]
fn many_threads_at_once() {
    requires!("unshare", "newuidmap");
    inside("overlay::content::inner_threads");
}
