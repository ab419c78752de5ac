//! Mounts as data.

use super::*;
use crate::runtime::generate::{SecretFact, VolumeFact};
use crate::spec::image::{Empty, RunConfig};
use crate::spec::runtime::IdMapping;
use crate::state::options::{MountOption, MountSource};

fn facts() -> Facts {
    let line = |size| IdMapping {
        container_id: 0,
        host_id: 100_000,
        size,
    };
    Facts {
        maps: idmap::IdMaps {
            uids: vec![line(65536)],
            gids: vec![line(65536)],
        },
        hosts: Some("/c/hosts".into()),
        cgroup2: true,
        ..Facts::default()
    }
}

fn lines(options: &ContainerOptions, image: Option<&ImageConfig>, facts: &Facts) -> Vec<String> {
    let (mounts, origins) = mounts(options, image, facts, false).unwrap();
    assert_eq!(mounts.len(), origins.len());
    mounts
        .iter()
        .map(|m| {
            format!(
                "{} {} {} {}",
                m.destination,
                m.kind.as_deref().unwrap_or("-"),
                m.source.as_deref().unwrap_or("-"),
                m.options.join(",")
            )
        })
        .collect()
}

fn mount(destination: &str, source: MountSource) -> MountOption {
    MountOption {
        destination: destination.to_owned(),
        source,
        read_only: false,
        chown: false,
        relabel: None,
        options: Vec::new(),
    }
}

fn host(path: &str) -> MountSource {
    MountSource::Bind {
        path: path.into(),
        create: false,
        recursive: true,
    }
}

#[test]
fn a_plain_container_has_these_mounts_in_this_order() {
    assert_eq!(
        lines(&ContainerOptions::default(), None, &facts()),
        [
            "/proc proc proc nosuid,noexec,nodev",
            "/dev tmpfs tmpfs nosuid,noexec,strictatime,mode=755,size=65536k",
            "/sys sysfs sysfs nosuid,noexec,nodev,ro",
            "/dev/pts devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
            "/dev/mqueue mqueue mqueue nosuid,noexec,nodev",
            "/dev/shm tmpfs shm nosuid,noexec,nodev,mode=1777,size=67108864",
            "/etc/hosts bind /c/hosts bind,rprivate",
            "/sys/fs/cgroup cgroup2 cgroup2 rprivate,nosuid,noexec,nodev,relatime,ro",
        ]
    );
}

#[test]
fn host_namespaces_are_shown_by_binding_the_host() {
    let mut options = ContainerOptions {
        pid: NamespaceMode::Host,
        ipc: NamespaceMode::Host,
        cgroupns: NamespaceMode::Host,
        ..ContainerOptions::default()
    };
    options.network.mode = NetworkMode::Host;
    let mut facts = facts();
    facts.maps = idmap::IdMaps::default();
    assert_eq!(
        lines(&options, None, &facts),
        [
            "/proc bind /proc rbind,rprivate,nosuid,noexec,nodev",
            "/dev tmpfs tmpfs nosuid,noexec,strictatime,mode=755,size=65536k",
            "/sys bind /sys rbind,rprivate,nosuid,noexec,nodev,rro",
            "/dev/pts devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620",
            "/dev/shm bind /dev/shm bind,rprivate,nosuid,noexec,nodev",
            "/etc/hosts bind /c/hosts bind,rprivate",
            "/sys/fs/cgroup bind /sys/fs/cgroup rbind,rprivate,nosuid,noexec,nodev,relatime,ro",
        ]
    );
}

#[test]
fn what_the_user_mounts_wins_and_parents_come_first() {
    let mut options = ContainerOptions {
        mounts: vec![
            mount("/a/b/c", host("/1")),
            mount("/etc/hosts", host("/2")),
            MountOption {
                read_only: true,
                options: vec!["rslave".into()],
                ..mount("/a/../a/", host("/3"))
            },
            mount(
                "/t",
                MountSource::Tmpfs {
                    size: Some(4096),
                    mode: Some(0o700),
                    copy_up: true,
                },
            ),
            mount(
                "/v",
                MountSource::Volume {
                    name: Some("data".into()),
                    nocopy: true,
                    subpath: None,
                    labels: Default::default(),
                },
            ),
        ],
        ..ContainerOptions::default()
    };
    let mut facts = facts();
    facts.volumes.push(VolumeFact {
        name: "data".into(),
        destination: "/v".into(),
        path: "/volumes/data/_data".into(),
        options: Vec::new(),
    });
    facts.inherited.push(mount("/a", host("/lost")));
    let all = lines(&options, None, &facts);
    let at = |start: &str| all.iter().position(|l| l.starts_with(start)).unwrap();
    for line in [
        "/a bind /3 rbind,rro,rslave",
        "/a/b/c bind /1 rbind,rw,rprivate",
        "/etc/hosts bind /2 rbind,rw,rprivate",
        "/t tmpfs tmpfs rw,nosuid,nodev,rprivate,size=4096,mode=700,tmpcopyup",
        "/v bind /volumes/data/_data rbind,nosuid,nodev,rw,rprivate",
    ] {
        assert!(all.contains(&line.to_owned()), "{line} in {all:#?}");
    }
    assert!(at("/a bind") < at("/a/b/c"));
    assert!(
        !all.iter()
            .any(|l| l.contains("/lost") || l.contains("/c/hosts"))
    );
    options.mounts = vec![mount("/dev", host("/dev")), mount("/dev/shm", host("/x"))];
    let all = lines(&options, None, &facts);
    assert_eq!(all.iter().filter(|l| l.starts_with("/dev")).count(), 2);
}

#[test]
fn root_and_proc_are_not_for_mounting() {
    for bad in ["/", "/proc", "/proc/1", "//proc/./sys", "relative", "/x/.."] {
        let options = ContainerOptions {
            mounts: vec![mount(bad, host("/1"))],
            ..ContainerOptions::default()
        };
        assert!(mounts(&options, None, &facts(), false).is_err(), "{bad}");
    }
    let options = ContainerOptions {
        mounts: vec![mount("/proc/meminfo", host("/1"))],
        ..ContainerOptions::default()
    };
    assert!(mounts(&options, None, &facts(), false).is_ok());
}

#[test]
fn image_volumes_secrets_and_scratch_space_appear() {
    let image = ImageConfig {
        config: RunConfig {
            volumes: [("/data".to_owned(), Empty {}), ("rel".to_owned(), Empty {})].into(),
            ..RunConfig::default()
        },
        ..ImageConfig::default()
    };
    let mut options = ContainerOptions {
        read_only: true,
        image_volume: ImageVolume::Tmpfs,
        secrets: vec![crate::state::options::SecretOption {
            name: "s".into(),
            target: SecretTarget::File {
                path: "s".into(),
                uid: 0,
                gid: 0,
                mode: 0o444,
            },
        }],
        ..ContainerOptions::default()
    };
    let mut facts = facts();
    facts.secret_files.push(SecretFact {
        path: "/run/secrets/s".into(),
        source: "/r/s".into(),
    });
    let all = lines(&options, Some(&image), &facts);
    for line in [
        "/data tmpfs tmpfs rw,rprivate,nosuid,nodev,tmpcopyup",
        "/rel tmpfs tmpfs rw,rprivate,nosuid,nodev,tmpcopyup",
        "/var/tmp tmpfs tmpfs rw,rprivate,nosuid,nodev,tmpcopyup",
        "/run/secrets tmpfs tmpfs nosuid,noexec,nodev,rprivate,mode=755,size=64k",
        "/run/secrets/s bind /r/s bind,rprivate,ro,nosuid,noexec,nodev",
        "/etc/hosts bind /c/hosts bind,rprivate,ro,nosuid,noexec,nodev",
    ] {
        assert!(all.contains(&line.to_owned()), "{line} in {all:#?}");
    }
    options.image_volume = ImageVolume::Ignore;
    options.read_only_tmpfs = Some(false);
    let all = lines(&options, Some(&image), &facts);
    assert!(
        !all.iter()
            .any(|l| l.starts_with("/data") || l.starts_with("/tmp"))
    );
    assert!(
        all.iter()
            .any(|l| l.starts_with("/dev tmpfs") && l.ends_with(",ro"))
    );
}
