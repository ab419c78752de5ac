//! Every form of `-v`, `--mount` and `--tmpfs`.

use super::*;
use crate::config::containers_conf::ContainersConf;
use crate::config::env::Env;

fn host(env: &Env, docker: bool) -> Host<'_> {
    static CONF: std::sync::LazyLock<ContainersConf> = std::sync::LazyLock::new(Default::default);
    Host {
        env,
        cwd: Path::new("/work"),
        user: crate::cli::container::options::tests::user(),
        docker,
        stdin_is_tty: true,
        limits: &[],
        conf: &CONF,
        cdi_dirs: &[],
    }
}

fn show(m: &MountOption) -> String {
    let source = match &m.source {
        MountSource::Bind {
            path,
            create,
            recursive,
        } => format!(
            "bind {}{}{}",
            path.display(),
            if *create { " create" } else { "" },
            if *recursive { "" } else { " flat" }
        ),
        MountSource::Overlay { path, upper, .. } => {
            format!("overlay {} {upper:?}", path.display())
        }
        MountSource::Volume {
            name,
            nocopy,
            subpath,
            labels,
        } => format!(
            "volume {}{}{}{}",
            name.as_deref().unwrap_or("-"),
            if *nocopy { " nocopy" } else { "" },
            subpath
                .as_ref()
                .map_or(String::new(), |s| format!(" sub={s}")),
            labels
                .iter()
                .map(|(k, v)| format!(" {k}={v}"))
                .collect::<String>()
        ),
        MountSource::Tmpfs {
            size,
            mode,
            copy_up,
        } => {
            format!("tmpfs {size:?} {mode:?} {copy_up}")
        }
        MountSource::Image {
            image,
            writable,
            subpath,
        } => {
            format!("image {image} {writable} {subpath:?}")
        }
        other => format!("{other:?}"),
    };
    format!(
        "{} <- {source}{}{}{} {}",
        m.destination,
        if m.read_only { " ro" } else { "" },
        if m.chown { " U" } else { "" },
        m.relabel.map_or(String::new(), |r| format!(" {r:?}")),
        m.options.join(",")
    )
    .trim_end()
    .to_owned()
}

#[test]
fn volumes_in_every_form() {
    let env = Env::fixed([("", ""); 0]);
    let host = host(&env, false);
    for (text, want) in [
        ("/data", "/data <- volume -"),
        ("name:/data/", "/data <- volume name"),
        ("name:/data:ro,nocopy", "/data <- volume name nocopy ro"),
        ("/src:/dst", "/dst <- bind /src"),
        ("./src:/dst:ro", "/dst <- bind /work/src ro"),
        ("../x/./y:/dst", "/dst <- bind /x/y"),
        (".:/dst:rw", "/dst <- bind /work"),
        (
            "/s:/d:z,U,noexec,rslave",
            "/d <- bind /s U Shared noexec,rslave",
        ),
        ("/s:/d:Z,bind,cached", "/d <- bind /s flat Private"),
        ("/s:/d:O", "/d <- overlay /s None"),
        (
            "/s:/d:O,upperdir=/u,workdir=/w",
            "/d <- overlay /s Some(\"/u\")",
        ),
        ("/s\\:x:/d", "/d <- bind /s:x"),
        (
            "/s:/d:idmap,no-dereference",
            "/d <- bind /s idmap,no-dereference",
        ),
        (
            "v:/d:idmap=uids=0-1-10#10-11-5;gids=@0-1-1",
            "/d <- volume v idmap=uids=0-1-10#10-11-5;gids=@0-1-1",
        ),
    ] {
        assert_eq!(show(&volume(text, &host).unwrap()), want, "{text}");
    }
    for text in [
        "",
        "name",
        "name:rel",
        ":/d",
        "/s:",
        "/s:/",
        "/s:/proc",
        "/s:/d:x",
        "/s:/d:ro:z",
        "a/b:/d",
        "name:/d:O",
        "name:/d:bind",
        "/s:/d:nocopy",
        "/s:/d:upperdir=/u",
        "/s:/d:O,upperdir=/u",
        "/s:/d:idmap=",
        "/s:/d:idmap=uids=1",
        "v:/d:no-dereference",
        "~/x:/d",
    ] {
        assert!(volume(text, &host).is_err(), "{text}");
    }
}

#[test]
fn docker_makes_missing_folders() {
    let env = Env::fixed([("", ""); 0]);
    let made = volume("/s:/d", &host(&env, true)).unwrap();
    assert_eq!(show(&made), "/d <- bind /s create");
}

#[test]
fn mounts_in_words() {
    let env = Env::fixed([("", ""); 0]);
    let host = host(&env, false);
    for (text, want) in [
        ("type=bind,src=/s,dst=/d", "/d <- bind /s"),
        (
            "type=bind,source=s,target=/d,readonly",
            "/d <- bind /work/s ro",
        ),
        (
            "type=bind,src=/s,dst=/d,ro=false,bind-propagation=rshared",
            "/d <- bind /s rshared",
        ),
        (
            "type=bind,src=/s,dst=/d,bind-nonrecursive,relabel=private",
            "/d <- bind /s flat Private",
        ),
        (
            "type=bind,\"src=/a,b\",dst=/d,bind-create-src",
            "/d <- bind /a,b create",
        ),
        (
            "type=bind,src=/s,dst=/d,idmap,no-dereference",
            "/d <- bind /s idmap,no-dereference",
        ),
        (
            "type=bind,src=/s,dst=/d,idmap=uids=0-1-10;gids=0-1-10,no-dereference=false",
            "/d <- bind /s idmap=uids=0-1-10;gids=0-1-10",
        ),
        ("src=v,dst=/d", "/d <- volume v"),
        ("type=volume,dst=/d", "/d <- volume -"),
        (
            "type=volume,src=v,dst=/d,volume-nocopy,subpath=a/b,volume-label=x=y,U=true",
            "/d <- volume v nocopy sub=a/b x=y U",
        ),
        ("type=tmpfs,dst=/d", "/d <- tmpfs None None true"),
        (
            "type=tmpfs,dst=/d,tmpfs-size=1m,tmpfs-mode=1770,notmpcopyup,noatime",
            "/d <- tmpfs Some(1048576) Some(1016) false noatime",
        ),
        ("type=ramfs,dst=/d", "/d <- Ramfs"),
        (
            "type=devpts,dst=/d,gid=5,mode=620,max=9",
            "/d <- Devpts gid=5,mode=620,max=9",
        ),
        (
            "type=image,src=alpine,dst=/d",
            "/d <- image alpine false None ro",
        ),
        (
            "type=image,src=alpine,dst=/d,rw=true,subpath=/etc",
            "/d <- image alpine true Some(\"etc\")",
        ),
    ] {
        assert_eq!(
            show(&mount(text, &csv(text), &host).unwrap()),
            want,
            "{text}"
        );
    }
    for text in [
        "",
        "dst=/d,bogus",
        "type=bind,dst=/d",
        "type=bind,src=/s",
        "type=x,dst=/d",
        "type=tmpfs,src=/s,dst=/d",
        "type=bind,src=/s,dst=/d,tmpfs-size=1",
        "type=tmpfs,dst=/d,tmpfs-size=x",
        "type=volume,src=/s,dst=/d",
        "type=volume,src=v,dst=/d,subpath=../x",
        "type=bind,src=/s,dst=/d,ro=maybe",
        "type=bind,src=/s,dst=/d,bind-propagation=odd",
        "type=glob,src=/none-such-s*,dst=/d",
        "type=image,dst=/d",
        "type=bind,src=/s,dst=/proc/x",
        "type=bind,src=/s,dst=/d,idmap=users=0-1-1",
        "type=tmpfs,dst=/d,idmap",
        "type=volume,src=v,dst=/d,no-dereference",
    ] {
        assert!(mount(text, &csv(text), &host).is_err(), "{text}");
    }
}

#[test]
fn tmpfs_options_are_checked() {
    for (text, want) in [
        ("/d", "/d <- tmpfs None None true"),
        (
            "/d:size=64k,mode=700,noexec",
            "/d <- tmpfs Some(65536) Some(448) true noexec",
        ),
        (
            "/d:rw,size=50%,uid=5,notmpcopyup",
            "/d <- tmpfs None None false size=50%,uid=5",
        ),
        ("/d:ro", "/d <- tmpfs None None true ro"),
    ] {
        assert_eq!(show(&tmpfs(text).unwrap()), want, "{text}");
    }
    for text in [
        "",
        "d",
        "/d:size",
        "/d:size=",
        "/d:mode=9",
        "/d:x",
        "/d:uid=x",
        "/",
    ] {
        assert!(tmpfs(text).is_err(), "{text}");
    }
}
