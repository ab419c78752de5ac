//! Volumes: made once, found by prefix, options, damaged records.

use super::*;

fn volumes() -> (tempfile::TempDir, Volumes) {
    let dir = tempfile::tempdir().unwrap();
    let volumes = Volumes {
        dir: dir.path().join("volumes"),
    };
    (dir, volumes)
}

fn named(name: &str) -> VolumeSpec {
    VolumeSpec {
        name: Some(name.to_owned()),
        ..VolumeSpec::default()
    }
}

#[test]
fn a_volume_is_made_once_found_by_prefix_and_removed() {
    let (_dir, volumes) = volumes();
    let made = volumes.create(&named("data")).unwrap();
    assert!(!made.anonymous);
    assert_eq!(
        volumes.create(&named("data")).unwrap_err().kind(),
        Kind::Exists
    );
    volumes.create(&named("dust")).unwrap();
    assert_eq!(volumes.find("da").unwrap(), made);
    assert_eq!(volumes.find("d").unwrap_err().kind(), Kind::Invalid);
    assert_eq!(volumes.find("").unwrap_err().kind(), Kind::NotFound);
    assert_eq!(volumes.list().unwrap().len(), 2);
    volumes.remove(&made.name).unwrap();
    assert_eq!(
        volumes.remove(&made.name).unwrap_err().kind(),
        Kind::NotFound
    );
    assert_eq!(volumes.get("data").unwrap(), None);
    assert_eq!(volumes.get("../data").unwrap(), None);
    // Nothing is left beside.
    assert_eq!(fs::read_dir(&volumes.dir).unwrap().count(), 1);
}

#[test]
fn anonymous_volumes_have_long_names() {
    let (_dir, volumes) = volumes();
    let made = volumes.create(&VolumeSpec::default()).unwrap();
    assert!(made.anonymous);
    assert_eq!(made.name.as_str().len(), 64);
}

#[test]
fn options_are_understood_or_refused_by_name() {
    let parse = |pairs: &[(&str, &str)]| {
        Backing::parse(
            &pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        )
    };
    assert_eq!(
        parse(&[]).unwrap(),
        Backing::Folder {
            uid: 0,
            gid: 0,
            nocopy: false
        }
    );
    assert_eq!(
        parse(&[("o", "uid=5,gid=6,nocopy")]).unwrap(),
        Backing::Folder {
            uid: 5,
            gid: 6,
            nocopy: true
        }
    );
    let tmpfs = parse(&[
        ("type", "tmpfs"),
        ("device", "tmpfs"),
        ("o", "size=1m,nodev,mode=700"),
    ])
    .unwrap();
    let options = vec![
        ("size".to_owned(), "1048576".to_owned()),
        ("mode".to_owned(), "700".to_owned()),
    ];
    assert_eq!(tmpfs, Backing::Tmpfs { options });
    let bind = parse(&[("type", "none"), ("device", "/srv"), ("o", "bind")]).unwrap();
    assert_eq!(
        bind,
        Backing::Bind {
            path: "/srv".into()
        }
    );
    for bad in [
        &[("type", "nfs"), ("device", ":/x")][..],
        &[("size", "1g")],
        &[("o", "noatime")],
        &[("type", "none"), ("o", "bind"), ("device", "relative")],
        &[("colour", "red")],
        &[("o", "uid=x")],
        &[("type", "tmpfs"), ("o", "frob=1")],
    ] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_damaged_record_disables_one_volume_only() {
    let (_dir, volumes) = volumes();
    volumes.create(&named("good")).unwrap();
    volumes.create(&named("bad")).unwrap();
    fs::write(volumes.dir.join("bad/volume.json"), "{").unwrap();
    assert_eq!(volumes.list().unwrap().len(), 1);
    assert_eq!(volumes.get("bad").unwrap_err().kind(), Kind::Corrupt);
}
