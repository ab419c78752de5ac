//! Class J: what of the kernel's files and of our own processes a container can reach.

use super::image;
use crate::support::World;

/// CVE-2023-25809, CVE-2022-0492: nothing below /proc/sys, /sys and the cgroup tree opens for
/// writing, not even for root with every capability.
#[test]
fn no_kernel_file_opens_for_writing() {
    let world = World::new();
    image(&world, "hostile", &[], |_| ());
    let script = "for f in $(find /proc/sys /sys /proc/irq /proc/bus /proc/fs /proc/sysrq-trigger /proc/acpi /proc/scsi -type f 2>/dev/null); do ( : >> $f ) 2>/dev/null && echo $f; done; mkdir /sys/fs/cgroup/x /sys/x /proc/x 2>/dev/null && echo made; mount -t cgroup2 none /tmp 2>/dev/null && echo mounted; echo end";
    for more in [
        &[][..],
        &["--cap-add", "all", "--security-opt", "seccomp=unconfined"],
    ] {
        let base = ["run", "--rm", "--network", "none"];
        let script = if more.is_empty() {
            script
        } else {
            &script.replace(
                "mount -t cgroup2 none /tmp 2>/dev/null && echo mounted; ",
                "",
            )
        };
        let said = world.ok(&[&base[..], more, &["hostile", "sh", "-c", script]].concat());
        assert_eq!(said, "end", "{more:?}");
    }
}

/// The host's processes are out of sight, and with `--pid host` out of reach: also our own, whose
/// owner is the container's root.
#[test]
fn with_the_host_s_processes_in_sight_the_monitor_is_out_of_reach() {
    let world = World::new();
    image(&world, "hostile", &[], |_| ());
    world.ok(&super::words(
        "run -d --name c --network none hostile sleep 100",
    ));
    let monitor = world.inspect("c", "{{.State.ConmonPid}}");
    let own = std::process::id().to_string();
    for victim in [&monitor, &own] {
        for more in [
            &[][..],
            &["--user", "7"],
            &["--cap-add", "dac_read_search,sys_admin"],
        ] {
            let base = ["run", "--rm", "--network", "none", "--pid", "host"];
            let tried =
                world.ok(&[&base[..], more, &["hostile", "probe", "victim", victim]].concat());
            let got: Vec<_> = tried.lines().filter(|l| l.ends_with(": ok")).collect();
            assert!(got.is_empty(), "{more:?}: {tried}");
            assert_eq!(tried.lines().count(), 9, "{tried}");
        }
    }
    // A process of this user outside needs rights that no container has.
    let all = "run --rm --network none --pid host --privileged hostile probe victim";
    let tried = world.ok(&[super::words(all), vec![&own]].concat());
    assert!(
        !tried.contains("environ: ok") && !tried.contains("mem: ok"),
        "{tried}"
    );
}

/// Device nodes, the kernel's log.
#[test]
fn devices_cannot_be_made_and_the_kernel_s_log_is_closed() {
    let world = World::new();
    image(&world, "hostile", &[], |tar| {
        crate::support::fixture::add_dir(tar, "tmp", 0o1777);
    });
    for line in [
        "run --rm --network none --cap-add mknod hostile probe nodes",
        "run --rm --network none --cap-add all --security-opt seccomp=unconfined hostile probe nodes",
    ] {
        let said = world.ok(&super::words(line));
        let refused = [
            "mknod(mem): EPERM",
            "mknod(sda): EPERM",
            "open(kmsg): ENOENT",
            "open(mem): ENOENT",
        ];
        for what in refused {
            assert!(said.contains(what), "{line}: {said}");
        }
    }
}
