//! A full disk: a clear error, nothing damaged, and room made lets the work go on.

use std::process::Command;

use crate::support::{Outcome, World, fixture};

#[test]
fn a_full_disk_is_reported_and_harms_nothing() {
    requires!("unshare");
    let world = World::new();
    let tar = fixture::busybox_file(world.path());
    let coracle = env!("CARGO_BIN_EXE_coracle");
    let data = world.data();
    std::fs::create_dir_all(&data).unwrap();
    // What the filler leaves does not hold the image.
    let script = format!(
        r#"set -e
        mount -t tmpfs -o size=24m tmpfs {data}
        dd if=/dev/zero of={data}/filler bs=1M count=23 2>/dev/null
        if {coracle} import -q {tar} busybox 2>err; then echo "it fitted"; exit 1; fi
        cat err
        {coracle} images -q
        {coracle} ps -aq
        rm {data}/filler
        {coracle} import -q {tar} busybox >/dev/null
        {coracle} run --rm --network none busybox echo then it went on
        {coracle} system reset -f"#,
        data = data.display(),
        tar = tar.display(),
    );
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c", &script]);
    world.settle(&mut command);
    let out = Outcome::of(&["(on a full tmpfs)"], command.output().unwrap()).code(0);
    assert!(
        out.stdout.contains("No space left") || out.stdout.contains("ENOSPC"),
        "{out:?}"
    );
    assert!(out.stdout.contains("then it went on"), "{out:?}");
}
