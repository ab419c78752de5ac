//! What doctor does for real, each in a process of its own: `coracle system doctor --step NAME`.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Context as _, Error, Hint as _, Result};
use crate::config::containers_conf;
use crate::config::dirs::Dirs;
use crate::network::{facts, namespace, plan, ports, uplink};
use crate::operations::session::Session;
use crate::runtime::userns::{self, Want};
use crate::spec::idmap::IdMaps;
use crate::spec::runtime::IdMapping;
use crate::state::options::{NetworkOptions, PortMapping, Protocol};
use crate::storage::layer::{Limits, Unpack};
use crate::storage::{Mode, RootfsRequest, Store, View};
use crate::sys::Call as _;

/// A thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// A user namespace with one id, and a mount in it.
    Namespaces,
    /// The caller's user namespace with all ids, as every command enters it.
    Ids,
    /// A root file system by the kernel's overlay, written to.
    Overlay,
    /// The same for a container with id maps of its own (`keep-id`).
    Shifted,
    /// The same by our own overlay over FUSE.
    Fuse,
    /// The same by copying.
    Copy,
    /// A network of its own with an uplink, and a published port that answers.
    Network,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 7] = [
        Self::Namespaces,
        Self::Ids,
        Self::Overlay,
        Self::Shifted,
        Self::Fuse,
        Self::Copy,
        Self::Network,
    ];

    /// The word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Ids => "ids",
            Self::Overlay => "overlay",
            Self::Shifted => "shifted",
            Self::Fuse => "fuse",
            Self::Copy => "copy",
            Self::Network => "network",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == word)
    }
}

/// How a step went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// It worked.
    pub worked: bool,
    /// What there is to say: a result, or the chain of causes.
    pub said: String,
    /// What the error advised.
    #[serde(default)]
    pub hints: Vec<String>,
    /// Microseconds.
    #[serde(default)]
    pub took: u64,
}

impl Outcome {
    /// From a result and its duration.
    pub fn of(result: Result<String>, took: Duration) -> Self {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        match result {
            Ok(said) => Self {
                worked: true,
                said,
                hints: Vec::new(),
                took,
            },
            Err(e) => Self {
                worked: false,
                said: e.one_line(),
                hints: e.hints().into_iter().map(str::to_owned).collect(),
                took,
            },
        }
    }
}

/// Does one step in this process, which must be single-threaded and end soon.
pub fn perform(session: &Session, step: Step) -> Outcome {
    let started = std::time::Instant::now();
    let result = match step {
        Step::Namespaces => namespaces(session),
        Step::Ids => ids(session),
        Step::Overlay => rootfs(session, "overlay", false),
        Step::Shifted => rootfs(session, "overlay", true),
        Step::Fuse => rootfs(session, "fuse", false),
        Step::Copy => rootfs(session, "copy", false),
        Step::Network => network(session),
    };
    Outcome::of(result, started.elapsed())
}

fn namespaces(session: &Session) -> Result<String> {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        .call("unshare", || "user and mount namespace".to_owned())?;
    // Ubuntu's restriction lets the call above pass and takes the capabilities away.
    let write = |path: &str, text: String| {
        std::fs::write(path, text).what(|| format!("cannot write {path}"))
    };
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {} 1\n", session.user.uid))?;
    write("/proc/self/gid_map", format!("0 {} 1\n", session.user.gid))?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .call("mount", || "/ private".to_owned())?;
    mount(Some("tmpfs"), "/tmp", Some("tmpfs"), MsFlags::empty(), none)
        .call("mount", || "tmpfs".to_owned())?;
    Ok("made one and mounted in it".to_owned())
}

fn ids(session: &Session) -> Result<String> {
    let entered = userns::enter(&session.dirs, Want::Default)?;
    if entered.single {
        let why = entered
            .notice
            .unwrap_or_else(|| "only one id is mapped".to_owned());
        return Err(Error::unsupported(why));
    }
    let count: u64 = entered.maps.uids.iter().map(|m| u64::from(m.size)).sum();
    Ok(format!("{count} user ids are mapped"))
}

/// A store of its own beside the real one, on the same file system; removed when dropped.
struct Scratch(Dirs);

impl Scratch {
    fn new(session: &Session) -> Result<Self> {
        let data = session
            .dirs
            .data
            .join(format!(".doctor-{}", std::process::id()));
        crate::base::fs::create_private_dir_all(&data)?;
        Ok(Self(Dirs::new(data, session.dirs.runtime.clone())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0.data));
    }
}

fn rootfs(session: &Session, driver: &str, shifted: bool) -> Result<String> {
    let entered = userns::enter(&session.dirs, Want::Default)?;
    if shifted && entered.single {
        return Err(Error::unsupported("only one id is mapped"));
    }
    let scratch = Scratch::new(session)?;
    let store = Store::open(&scratch.0, Some(driver))?;
    // A tar without entries is two empty blocks.
    let what = Unpack {
        parent: None,
        diff_id: None,
        limits: Limits::default(),
    };
    let layer = store
        .layers()
        .unpack(&what, std::io::Cursor::new([0_u8; 1024]))?;
    let container = scratch.0.containers().join("doctor");
    crate::base::fs::create_private_dir_all(&container)?;
    let line = |container_id, host_id| IdMapping {
        container_id,
        host_id,
        size: 1,
    };
    let swapped = vec![line(0, 1), line(1, 0)];
    let view = if shifted {
        View::Shifted(IdMaps {
            uids: swapped.clone(),
            gids: swapped,
        })
    } else {
        View::Same
    };
    let rootfs = store.mount(&RootfsRequest {
        layers: &[layer.chain_id],
        container_dir: &container,
        view: &view,
        mode: Mode::Ephemeral,
        points: false,
    })?;
    use rustix::fs::{Mode as Bits, OFlags};
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(rootfs.tree.as_fd(), "written", flags, Bits::from(0o600))
        .call("openat", || "a file in the root file system".to_owned())?;
    rustix::io::write(&file, b"x").call("write", || "the root file system".to_owned())?;
    Ok(format!("the {} driver mounted and wrote", rootfs.driver))
}

fn network(session: &Session) -> Result<String> {
    let conf = containers_conf::load()?;
    let options = NetworkOptions {
        publish: vec![PortMapping {
            host_ip: Some(Ipv4Addr::LOCALHOST.into()),
            host_port: 0,
            container_port: 7,
            range: 1,
            protocol: Protocol::Tcp,
        }],
        ..NetworkOptions::default()
    };
    let host = facts::probe(&session.env, conf, &options);
    let request = plan::Request {
        options: &options,
        image_ports: &[],
        hostname: "doctor",
        domain: None,
        name: "doctor",
        image_hosts: None,
        hosts_file: None,
        attached: None,
    };
    let mut plan = plan::plan(&request, &host, conf)?;
    if plan.kind != plan::Kind::Uplink {
        return Err(Error::unsupported(format!(
            "containers.conf asks for the network {:?}, which has no uplink to try",
            plan.name()
        )));
    }
    ports::settle(&mut plan, &host)?;
    userns::enter(&session.dirs, Want::Default)?;
    crate::base::fs::create_private_dir_all(&session.dirs.runtime)?;
    let namespace = namespace::create(namespace::Settings::default())?;
    let started = std::time::Instant::now();
    let uplink = uplink::start(&plan, &namespace, &session.dirs.runtime)?;
    let ready = started.elapsed();
    let port = plan.ports.first().map_or(0, |p| p.host_port);
    answer(&namespace, port)
        .what(|| format!("{} runs, but a published port does not answer", uplink.name))
        .hint(|| "`--network slirp4netns` or `--network pasta` tries the other program")?;
    let words = format!(
        "{} was ready in {} ms and a published port answered",
        uplink.name,
        ready.as_millis()
    );
    uplink.stop();
    Ok(words)
}

/// Serves one connection inside and makes it from outside.
fn answer(namespace: &namespace::Namespace, port: u16) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let fd = namespace
        .fd
        .try_clone()
        .what(|| "cannot copy a descriptor")?;
    let (send, receive) = std::sync::mpsc::channel();
    let server = std::thread::Builder::new()
        .spawn(move || -> Result<()> {
            nix::sched::setns(fd, nix::sched::CloneFlags::CLONE_NEWNET)
                .call("setns", || "net".to_owned())?;
            let listener =
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, 7)).what(|| "cannot listen inside")?;
            // Nobody waits any more when that fails.
            let _gone = send.send(());
            let (mut stream, _) = listener.accept().what(|| "cannot accept inside")?;
            stream.write_all(b"ok").what(|| "cannot write inside")
        })
        .what(|| "cannot start a thread")?;
    if receive.recv_timeout(PATIENCE).is_err() {
        return match server.join() {
            Ok(Err(e)) => Err(e),
            _ => Err(Error::internal("the listener inside ended")),
        };
    }
    let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let mut stream =
        TcpStream::connect_timeout(&at, PATIENCE).what(|| format!("cannot connect to {at}"))?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .what(|| "cannot set a timeout")?;
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .what(|| format!("no answer from {at}"))?;
    if text == "ok" {
        Ok(())
    } else {
        Err(Error::internal(format!(
            "an odd answer from {at}: {text:?}"
        )))
    }
}
