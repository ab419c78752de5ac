//! Other people's programs: what is installed, and the real registry.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Whether a program is on the path (or in the sbin folders, which a plain user's path lacks).
pub fn installed(program: &str) -> bool {
    find(program).is_some()
}

/// Where a program is.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .map(|d| Path::new(d).join(program))
        .find(|p| p.is_file())
}

/// Whether this user can map a range of ids: root, or an entry in /etc/subuid and the helpers.
pub fn has_subids() -> bool {
    if is_root() {
        return true;
    }
    let user = std::env::var("USER")
        .or_else(|_| std::env::var("LOGNAME"))
        .unwrap_or_default();
    let uid = uid().to_string();
    let listed = std::fs::read_to_string("/etc/subuid")
        .unwrap_or_default()
        .lines()
        .any(|l| l.split(':').next().is_some_and(|n| n == user || n == uid));
    listed && installed("newuidmap")
}

/// The user id of this process.
pub fn uid() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Whether this process is root.
pub fn is_root() -> bool {
    uid() == 0
}

/// How the registry is to be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Plain HTTP.
    Plain,
    /// TLS with a certificate authority made for the test.
    Tls,
    /// As `Tls`, and who comes must show a certificate of that authority.
    MutualTls,
    /// Plain HTTP, user `u`, password `p`.
    Htpasswd,
}

/// Debian's docker-registry on a free loopback port; ended when dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// The folder of its data and certificates.
    pub dir: PathBuf,
}

impl Registry {
    /// Starts one with its data below `dir`.
    pub fn start(dir: &Path, mode: Mode) -> Self {
        let dir = dir.join("registry");
        std::fs::create_dir_all(&dir).unwrap();
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {0}/data\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n",
            dir.display()
        );
        match mode {
            Mode::Plain => {}
            Mode::Tls | Mode::MutualTls => {
                make_certificates(&dir);
                config.push_str(&format!(
                    "  tls:\n    certificate: {0}/server.crt\n    key: {0}/server.key\n",
                    dir.display()
                ));
                if mode == Mode::MutualTls {
                    let ca = dir.join("ca.crt");
                    config.push_str(&format!("    clientcas:\n    - {}\n", ca.display()));
                }
            }
            Mode::Htpasswd => {
                let hash = Command::new("htpasswd")
                    .args(["-Bbn", "u", "p"])
                    .output()
                    .unwrap();
                std::fs::write(dir.join("htpasswd"), hash.stdout).unwrap();
                config.push_str(&format!(
                    "auth:\n  htpasswd:\n    realm: test\n    path: {}/htpasswd\n",
                    dir.display()
                ));
            }
        }
        let file = dir.join("config.yml");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let registry = Self {
            child,
            address,
            dir,
        };
        let target: SocketAddr = registry.address.parse().unwrap();
        wait_for("the registry to listen", || {
            TcpStream::connect_timeout(&target, Duration::from_millis(200)).is_ok()
        });
        registry
    }

    /// `address/name`.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn make_certificates(dir: &Path) {
    let run = |args: &[&str]| {
        let out = Command::new("openssl")
            .args(args)
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "openssl {args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    };
    run(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
        "-days",
        "2",
        "-subj",
        "/CN=coracle test CA",
        "-addext",
        "basicConstraints=critical,CA:TRUE",
    ]);
    let names = "subjectAltName=DNS:localhost,DNS:registry.test,IP:127.0.0.1\n";
    std::fs::write(dir.join("ext"), names).unwrap();
    for (who, subject) in [("server", "/CN=localhost"), ("client", "/CN=somebody")] {
        let (key, request) = (format!("{who}.key"), format!("{who}.csr"));
        run(&[
            "req", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &request, "-subj",
            subject,
        ]);
        let certificate = format!("{who}.crt");
        run(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-out",
            &certificate,
            "-days",
            "2",
            "-extfile",
            "ext",
        ]);
    }
}

/// A TCP port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Lets a process run for so many microseconds, then kills it with -9.
pub fn kill_after(child: &mut std::process::Child, micros: u64) {
    let until = std::time::Instant::now() + std::time::Duration::from_micros(micros);
    while std::time::Instant::now() < until {
        std::hint::spin_loop();
    }
    drop(child.kill());
    drop(child.wait());
}

/// Polls `condition` every 10 ms, for 20 s at most.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 20 s for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
