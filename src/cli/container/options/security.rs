//! Capabilities, `--security-opt`, namespaces, id maps, devices, secrets.

use std::path::Path;

use super::mount::csv;
use super::{Host, flags};
use crate::base::{Error, Result};
use crate::config::cdi;
use crate::config::user::User;
use crate::runtime::capabilities;
use crate::runtime::generate::clean;
use crate::spec::runtime::IdMapping;
use crate::state::options::{
    DeviceOption, NamespaceMode, SecretOption, SecretTarget, SecurityOptions, UsernsMode,
};

/// Checks capability names and brings them to one form: without `CAP_`, in capitals.
///
/// # Errors
/// `Invalid` for unknown names.
pub(super) fn capability_names(words: &[String]) -> Result<Vec<String>> {
    words
        .iter()
        .flat_map(|w| w.split(','))
        .filter(|w| !w.is_empty())
        .map(|w| {
            let name = capabilities::normalize(w)?;
            Ok(name.strip_prefix("CAP_").unwrap_or(name).to_owned())
        })
        .collect()
}

/// `--security-opt`: `KEY=VALUE`, Docker's old `KEY:VALUE` too.
///
/// # Errors
/// `Invalid` for unknown keys and values.
pub(super) fn security(words: &[String], host: &Host<'_>) -> Result<SecurityOptions> {
    let mut made = SecurityOptions::default();
    for word in words {
        let bad = |why: &str| Error::invalid(format!("invalid --security-opt {word:?}: {why}"));
        let (key, value) = match word.find(['=', ':']) {
            Some(at) => (&word[..at], Some(&word[at + 1..])),
            None => (word.as_str(), None),
        };
        let paths = |value: &str| -> Vec<String> {
            value
                .split(':')
                .filter(|p| !p.is_empty())
                .map(str::to_owned)
                .collect()
        };
        match (key, value) {
            ("no-new-privileges", None) => made.no_new_privileges = true,
            ("no-new-privileges", Some(value)) => {
                made.no_new_privileges = crate::cli::frame::go_bool(value).map_err(|e| bad(&e))?;
            }
            ("seccomp", Some("" | "builtin" | "default")) => made.seccomp = None,
            ("seccomp", Some(word @ ("unconfined" | "socketcall"))) => {
                made.seccomp = Some(word.to_owned());
            }
            ("seccomp", Some(path)) => {
                made.seccomp = Some(host.cwd.join(path).to_string_lossy().into_owned());
            }
            ("apparmor", Some(profile)) if !profile.is_empty() => {
                made.apparmor = Some(profile.to_owned());
            }
            ("label", Some(label)) if !label.is_empty() => {
                // Without SELinux support that is how it is; a label that nobody sets would be a lie.
                match label.split(':').next().unwrap_or_default() {
                    "disable" => made.label.push(label.to_owned()),
                    "nested" | "user" | "role" | "type" | "level" | "filetype" => {
                        return Err(Error::unsupported(format!(
                            "cannot use --security-opt {word:?}: coracle sets no SELinux labels"
                        ))
                        .hint("leave it out, or write label=disable"));
                    }
                    _ => return Err(bad("unknown label")),
                }
            }
            ("mask", Some(value)) => {
                for path in paths(value) {
                    made.mask
                        .push(clean(&path).map_err(|_| bad("the path is not absolute"))?);
                }
            }
            ("unmask", Some(value)) => {
                for path in paths(value) {
                    if !path.eq_ignore_ascii_case("all") && !path.starts_with('/') {
                        return Err(bad("write ALL or absolute paths"));
                    }
                    made.unmask.push(path);
                }
            }
            ("systempaths", Some("unconfined")) => made.unmask.push("ALL".to_owned()),
            ("proc-opts", Some(value)) => {
                for option in value.split(',').filter(|o| !o.is_empty()) {
                    let known = matches!(
                        option,
                        "subset=pid"
                            | "hidepid=0"
                            | "hidepid=1"
                            | "hidepid=2"
                            | "hidepid=4"
                            | "hidepid=off"
                            | "hidepid=noaccess"
                            | "hidepid=invisible"
                            | "hidepid=ptraceable"
                    );
                    if !known && !option.strip_prefix("gid=").is_some_and(is_number) {
                        return Err(bad("unknown option of proc"));
                    }
                    made.proc_opts.push(option.to_owned());
                }
            }
            _ => {
                return Err(bad("unknown option").hint(
                    "known are seccomp=, apparmor=, label=, mask=, unmask=, proc-opts=, \
                     systempaths=unconfined and no-new-privileges",
                ));
            }
        }
    }
    Ok(made)
}

fn is_number(text: &str) -> bool {
    text.parse::<u32>().is_ok()
}

/// `--pid`, `--ipc`, `--uts`, `--cgroupns`.
///
/// # Errors
/// `Invalid` for unknown modes.
pub(super) fn namespace(flag: &str, text: Option<&str>) -> Result<NamespaceMode> {
    let Some(text) = text else {
        return Ok(NamespaceMode::Default);
    };
    let (name, rest) = match text.split_once(':') {
        Some((name, rest)) => (name, Some(rest)),
        None => (text, None),
    };
    match (name, rest) {
        ("", None) => Ok(NamespaceMode::Default),
        ("private", None) => Ok(NamespaceMode::Private),
        ("host", None) => Ok(NamespaceMode::Host),
        ("shareable", None) if flag == "ipc" => Ok(NamespaceMode::Shareable),
        ("none", None) if flag == "ipc" => Ok(NamespaceMode::None),
        ("container", Some(other)) if !other.is_empty() => {
            Ok(NamespaceMode::Container(other.to_owned()))
        }
        ("ns", Some(path)) if path.starts_with('/') => Ok(NamespaceMode::Path(path.into())),
        // A pod's containers do so anyway.
        ("pod", None) => Ok(NamespaceMode::Default),
        _ => Err(Error::invalid(format!("invalid --{flag} {text:?}"))
            .hint("use private, host, container:NAME or ns:/absolute/path")),
    }
}

/// `--userns`, `--uidmap`, `--gidmap`, `--subuidname`, `--subgidname`.
///
/// # Errors
/// `Invalid` for what cannot be read; `Unsupported` for podman's map flags.
pub(super) fn userns(flags: &flags::Security, user: &User) -> Result<UsernsMode> {
    if let Some(mode) = super::subordinate::mode(flags, user)? {
        return Ok(mode);
    }
    if !flags.uidmap.is_empty() || !flags.gidmap.is_empty() {
        if flags
            .userns
            .as_deref()
            .is_some_and(|m| !m.is_empty() && m != "private")
        {
            return Err(Error::invalid(
                "--uidmap and --gidmap describe a user namespace: --userns cannot be used with them",
            ));
        }
        let lines = |words: &[String]| words.iter().map(|w| line(w)).collect::<Result<Vec<_>>>();
        let (mut uids, mut gids) = (lines(&flags.uidmap)?, lines(&flags.gidmap)?);
        if uids.is_empty() {
            uids.clone_from(&gids);
        }
        if gids.is_empty() {
            gids.clone_from(&uids);
        }
        return Ok(UsernsMode::Maps { uids, gids });
    }
    let Some(text) = flags.userns.as_deref() else {
        return Ok(UsernsMode::Host);
    };
    let bad = |why: &str| {
        Error::invalid(format!("invalid --userns {text:?}: {why}")).hint(
            "use host, nested, keep-id[:uid=…,gid=…], nomap, auto[:size=…], container:NAME or ns:PATH",
        )
    };
    let (name, rest) = match text.split_once(':') {
        Some((name, rest)) => (name, Some(rest)),
        None => (text, None),
    };
    let pairs = || -> Result<Vec<(&str, &str)>> {
        rest.unwrap_or_default()
            .split(',')
            .filter(|p| !p.is_empty())
            .map(|p| {
                p.split_once('=')
                    .ok_or_else(|| bad("an option has no value"))
            })
            .collect()
    };
    let number = |text: &str| text.parse::<u32>().map_err(|_| bad("a value is no number"));
    match (name, rest) {
        ("" | "host", None) => Ok(UsernsMode::Host),
        ("nomap", None) => Ok(UsernsMode::Nomap),
        ("nested", None) => Ok(UsernsMode::Nested),
        ("keep-id", _) => {
            let (mut uid, mut gid, mut size) = (None, None, None);
            for (key, value) in pairs()? {
                let slot = match key {
                    "uid" => &mut uid,
                    "gid" => &mut gid,
                    "size" => &mut size,
                    _ => return Err(bad("unknown option")),
                };
                *slot = Some(number(value)?);
            }
            Ok(UsernsMode::KeepId { uid, gid, size })
        }
        ("auto", _) => {
            let (mut size, mut uids, mut gids) = (None, Vec::new(), Vec::new());
            for (key, value) in pairs()? {
                match key {
                    "size" => size = Some(number(value)?).filter(|s| *s > 0),
                    "uidmapping" => uids.push(line(value)?),
                    "gidmapping" => gids.push(line(value)?),
                    _ => return Err(bad("unknown option")),
                }
            }
            Ok(UsernsMode::Auto { size, uids, gids })
        }
        ("container", Some(other)) if !other.is_empty() => {
            Ok(UsernsMode::Container(other.to_owned()))
        }
        ("ns", Some(path)) if path.starts_with('/') => Ok(UsernsMode::Path(path.into())),
        ("private", None) => Err(bad("it needs --uidmap or --gidmap")),
        ("pod", None) => Ok(UsernsMode::Host),
        _ => Err(bad("unknown mode")),
    }
}

/// `INSIDE:OUTSIDE[:COUNT]`.
fn line(text: &str) -> Result<IdMapping> {
    let bad = || {
        Error::invalid(format!("invalid id map {text:?}"))
            .hint("write INSIDE:OUTSIDE:COUNT, where OUTSIDE 0 is your own id and 1 the first subordinate one")
    };
    if text.starts_with(['+', 'u', 'g']) || text.contains('@') {
        return Err(Error::unsupported(format!(
            "id map {text:?}: the forms with +, u, g and @ are not supported yet"
        )));
    }
    let parts: Vec<u32> = text
        .split(':')
        .map(|p| p.parse::<u32>().map_err(|_| bad()))
        .collect::<Result<_>>()?;
    let (container_id, host_id, size) = match parts[..] {
        [inside, outside] => (inside, outside, 1),
        [inside, outside, count] => (inside, outside, count),
        _ => return Err(bad()),
    };
    let fits = |first: u32| first.checked_add(size).is_some();
    if size == 0 || !fits(container_id) || !fits(host_id) {
        return Err(bad());
    }
    Ok(IdMapping {
        container_id,
        host_id,
        size,
    })
}

/// `HOST[:INSIDE][:PERMISSIONS]`.
///
/// # Errors
/// `Unsupported` for CDI names and for less than reading and writing.
pub(super) fn device(text: &str) -> Result<DeviceOption> {
    let bad = |why: &str| {
        Error::invalid(format!("invalid --device {text:?}: {why}"))
            .hint("write /dev/fuse, /dev/host:/dev/inside:rwm, or vendor.com/class=name")
    };
    if !text.starts_with('/') {
        return Err(bad("the path is not absolute"));
    }
    let parts: Vec<&str> = text.split(':').collect();
    let (host, inside, permissions) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, second] if second.starts_with('/') => (host, second, "rwm"),
        [host, permissions] => (host, host, permissions),
        [host, inside, permissions] => (host, inside, permissions),
        _ => return Err(bad("there are more than three parts")),
    };
    let known = !permissions.is_empty()
        && permissions.chars().all(|c| "rwm".contains(c))
        && permissions
            .chars()
            .enumerate()
            .all(|(i, c)| !permissions[..i].contains(c));
    if !known {
        return Err(bad("permissions are letters of rwm"));
    }
    if !permissions.contains('r') || !permissions.contains('w') {
        return Err(Error::unsupported(format!(
            "cannot give device {host} with {permissions:?} only: limiting a device needs root on the host"
        )));
    }
    Ok(DeviceOption {
        host: Path::new(host).to_owned(),
        inside: clean(inside).map_err(|_| bad("the path inside is not absolute"))?,
        permissions: permissions.to_owned(),
    })
}

/// `--gpus`: `all`, a number, `device=NAME[,NAME…]`, as Docker has it; names without a vendor.
///
/// # Errors
/// `Invalid` for anything else, `Unsupported` for another driver.
pub(super) fn gpus(words: &[String]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for word in words {
        let bad = |why: &str| {
            Error::invalid(format!("invalid --gpus {word:?}: {why}"))
                .hint("write all, a number, or device=0,1")
        };
        let mut count = |text: &str| -> Result<()> {
            match text {
                "all" | "-1" => names.push("all".to_owned()),
                text => {
                    let number: u8 = text.parse().map_err(|_| bad("it is no number"))?;
                    names.extend((0..number).map(|n| n.to_string()));
                }
            }
            Ok(())
        };
        let fields = csv(word);
        // Docker wants "device=0,1" in quotes of its own; without them it means the same here.
        let mut devices = Vec::new();
        let mut in_devices = false;
        for field in fields.iter().flat_map(|f| match f.strip_prefix("device=") {
            Some(_) => f.split(',').collect::<Vec<_>>(),
            None => vec![f.as_str()],
        }) {
            match field.split_once('=') {
                Some(("device", name)) => {
                    devices.push(name.to_owned());
                    in_devices = true;
                    continue;
                }
                None if in_devices => {
                    devices.push(field.to_owned());
                    continue;
                }
                Some(("count", text)) => count(text)?,
                Some(("capabilities" | "options", _)) => {}
                Some(("driver", "" | "nvidia" | "cdi")) => {}
                Some(("driver", driver)) => {
                    return Err(Error::unsupported(format!(
                        "cannot use --gpus with the driver {driver:?}"
                    )));
                }
                None => count(field)?,
                _ => return Err(bad("unknown option")),
            }
            in_devices = false;
        }
        if let Some(name) = devices.iter().find(|d| !cdi::is_name(&format!("v/c={d}"))) {
            return Err(bad(&format!("{name:?} is no name of a device")));
        }
        names.extend(devices);
    }
    Ok(names)
}

/// `NAME[,type=mount|env][,target=…][,uid=…][,gid=…][,mode=…]`.
///
/// # Errors
/// `Invalid` for unknown options.
pub(super) fn secret(text: &str) -> Result<SecretOption> {
    let bad = |why: &str| {
        Error::invalid(format!("invalid --secret {text:?}: {why}"))
            .hint("write NAME or NAME,type=env,target=VARIABLE")
    };
    let fields = csv(text);
    let mut name = None;
    let (mut kind, mut target) = ("mount", None);
    let (mut uid, mut gid, mut mode) = (None, None, None);
    for (i, field) in fields.iter().enumerate() {
        let number = |v: &str| v.parse::<u32>().map_err(|_| bad("an id is no number"));
        match field.split_once('=') {
            None if i == 0 => name = Some(field.as_str()),
            Some(("source" | "src" | "id", value)) => name = Some(value),
            Some(("type", value @ ("mount" | "env"))) => kind = value,
            Some(("target" | "dst" | "destination", value)) => target = Some(value),
            Some(("uid", value)) => uid = Some(number(value)?),
            Some(("gid", value)) => gid = Some(number(value)?),
            Some(("mode", value)) => {
                let bits = u32::from_str_radix(value, 8).ok().filter(|m| *m <= 0o777);
                mode = Some(bits.ok_or_else(|| bad("the mode is not octal"))?);
            }
            _ => return Err(bad("unknown option")),
        }
    }
    let name = name
        .filter(|n| !n.is_empty())
        .ok_or_else(|| bad("there is no name"))?;
    if target == Some("") {
        return Err(bad("the target is empty"));
    }
    let target = target.unwrap_or(name).to_owned();
    let target = if kind == "env" {
        if uid.is_some() || gid.is_some() || mode.is_some() {
            return Err(bad("a variable has no owner and no mode"));
        }
        if target.contains(['=', '\0']) {
            return Err(bad("the target is no name of a variable"));
        }
        SecretTarget::Env { name: target }
    } else {
        if target.split('/').any(|part| part == "..") {
            return Err(bad("the target leaves its folder"));
        }
        SecretTarget::File {
            path: target,
            uid: uid.unwrap_or(0),
            gid: gid.unwrap_or(0),
            mode: mode.unwrap_or(0o444),
        }
    };
    Ok(SecretOption {
        name: name.to_owned(),
        target,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::containers_conf::ContainersConf;
    use crate::config::env::Env;

    #[test]
    fn security_options_in_every_form() {
        let env = Env::fixed([("", ""); 0]);
        let conf = ContainersConf::default();
        let host = Host {
            env: &env,
            cwd: Path::new("/w"),
            user: super::super::tests::user(),
            docker: false,
            stdin_is_tty: true,
            limits: &[],
            conf: &conf,
            cdi_dirs: &[],
        };
        let get = |word: &str| security(&[word.to_owned()], &host);
        assert!(get("no-new-privileges").unwrap().no_new_privileges);
        assert!(!get("no-new-privileges=false").unwrap().no_new_privileges);
        assert!(get("no-new-privileges:true").unwrap().no_new_privileges);
        assert_eq!(
            get("seccomp=p.json").unwrap().seccomp.as_deref(),
            Some("/w/p.json")
        );
        assert_eq!(
            get("seccomp:unconfined").unwrap().seccomp.as_deref(),
            Some("unconfined")
        );
        assert_eq!(get("label:disable").unwrap().label, ["disable"]);
        assert!(get("label=type:x_t").is_err());
        assert_eq!(get("mask=/a:/b/../c").unwrap().mask, ["/a", "/c"]);
        assert_eq!(get("unmask=ALL").unwrap().unmask, ["ALL"]);
        assert_eq!(get("unmask=/proc/*:/sys/firmware").unwrap().unmask.len(), 2);
        assert_eq!(get("systempaths=unconfined").unwrap().unmask, ["ALL"]);
        assert_eq!(get("proc-opts=hidepid=2,gid=3").unwrap().proc_opts.len(), 2);
        for bad in [
            "",
            "x",
            "x=y",
            "no-new-privileges=maybe",
            "mask=rel",
            "unmask=rel",
            "label=odd",
            "apparmor=",
            "systempaths=x",
            "proc-opts=evil",
            "writable-cgroups=true",
        ] {
            assert!(get(bad).is_err(), "{bad}");
        }
        let caps = capability_names(&["CAP_NET_RAW,chown".to_owned(), "all".to_owned()]);
        assert_eq!(caps.unwrap(), ["NET_RAW", "CHOWN", "ALL"]);
    }

    #[test]
    fn namespaces_and_user_namespaces() {
        use NamespaceMode::{Container, Default, Host, None as No, Path, Shareable};
        for (flag, text, want) in [
            ("pid", "", Default),
            ("pid", "host", Host),
            ("ipc", "shareable", Shareable),
            ("ipc", "none", No),
            ("uts", "container:a", Container("a".into())),
            ("pid", "ns:/proc/1/ns/pid", Path("/proc/1/ns/pid".into())),
        ] {
            assert_eq!(namespace(flag, Some(text)).unwrap(), want, "{text}");
        }
        for (flag, text) in [
            ("pid", "none"),
            ("pid", "x"),
            ("uts", "container:"),
            ("ipc", "ns:x"),
        ] {
            assert!(namespace(flag, Some(text)).is_err(), "{text}");
        }
        let line = |container_id, host_id, size| IdMapping {
            container_id,
            host_id,
            size,
        };
        let get = |userns: Option<&str>, uidmap: &[&str], gidmap: &[&str]| {
            let list = |l: &[&str]| l.iter().map(|t| (*t).to_owned()).collect();
            userns_of(userns, list(uidmap), list(gidmap))
        };
        for (text, want) in [
            ("host", UsernsMode::Host),
            ("nomap", UsernsMode::Nomap),
            (
                "keep-id",
                UsernsMode::KeepId {
                    uid: None,
                    gid: None,
                    size: None,
                },
            ),
            (
                "keep-id:uid=5,gid=6",
                UsernsMode::KeepId {
                    uid: Some(5),
                    gid: Some(6),
                    size: None,
                },
            ),
            (
                "auto:size=100,uidmapping=0:1:2",
                UsernsMode::Auto {
                    size: Some(100),
                    uids: vec![line(0, 1, 2)],
                    gids: vec![],
                },
            ),
            ("container:x", UsernsMode::Container("x".into())),
        ] {
            assert_eq!(get(Some(text), &[], &[]).unwrap(), want, "{text}");
        }
        assert_eq!(
            get(None, &["0:1:10", "10:0"], &[]).unwrap(),
            UsernsMode::Maps {
                uids: vec![line(0, 1, 10), line(10, 0, 1)],
                gids: vec![line(0, 1, 10), line(10, 0, 1)],
            }
        );
        for bad in [
            "x",
            "keep-id:x=1",
            "keep-id:uid=a",
            "keep-id:uid",
            "auto:x=1",
            "ns:x",
            "private",
        ] {
            assert!(get(Some(bad), &[], &[]).is_err(), "{bad}");
        }
        for bad in [
            "",
            "0",
            "0:1:0",
            "0:4294967295:2",
            "a:b:c",
            "+0:1:1",
            "0:@1:1",
            "0:1:2:3",
        ] {
            assert!(get(None, &[bad], &[]).is_err(), "{bad}");
        }
        assert!(get(Some("keep-id"), &["0:1:1"], &[]).is_err());
    }

    fn userns_of(
        userns: Option<&str>,
        uidmap: Vec<String>,
        gidmap: Vec<String>,
    ) -> Result<UsernsMode> {
        super::userns(
            &flags::Security {
                privileged: None,
                cap_add: vec![],
                cap_drop: vec![],
                security_opt: vec![],
                userns: userns.map(str::to_owned),
                uidmap,
                gidmap,
                subuidname: None,
                subgidname: None,
                pid: None,
                ipc: None,
                uts: None,
                cgroupns: None,
                personality: None,
                sysctl: vec![],
            },
            super::super::tests::user(),
        )
    }

    #[test]
    fn gpus_are_counted_or_named() {
        for (text, want) in [
            ("all", "all"),
            ("-1", "all"),
            ("2", "0 1"),
            ("device=0", "0"),
            ("device=0,1", "0 1"),
            ("\"device=0,1\",capabilities=utility", "0 1"),
            (
                "device=GPU-3a23c669-1f69,driver=nvidia",
                "GPU-3a23c669-1f69",
            ),
            ("count=1,capabilities=gpu", "0"),
        ] {
            assert_eq!(gpus(&[text.to_owned()]).unwrap().join(" "), want, "{text}");
        }
        for bad in [
            "",
            "none",
            "device=",
            "device=a/b",
            "x=1",
            "driver=other",
            "300",
        ] {
            assert!(gpus(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn devices_and_secrets() {
        for (text, host, inside, permissions) in [
            ("/dev/fuse", "/dev/fuse", "/dev/fuse", "rwm"),
            ("/dev/a:/dev/b", "/dev/a", "/dev/b", "rwm"),
            ("/dev/a:rw", "/dev/a", "/dev/a", "rw"),
            ("/dev/a:/dev/b:wr", "/dev/a", "/dev/b", "wr"),
        ] {
            let got = device(text).unwrap();
            assert_eq!(
                (
                    got.host.to_str().unwrap(),
                    got.inside.as_str(),
                    got.permissions.as_str()
                ),
                (host, inside, permissions)
            );
        }
        for bad in [
            "",
            "dev",
            "nvidia.com/gpu=all",
            "/dev/a:r",
            "/dev/a:x",
            "/dev/a:rr",
            "/a:/b:rw:x",
        ] {
            assert!(device(bad).is_err(), "{bad}");
        }
        let file = |path: &str, uid, mode| SecretTarget::File {
            path: path.into(),
            uid,
            gid: 0,
            mode,
        };
        for (text, target) in [
            ("s", file("s", 0, 0o444)),
            ("s,target=/x/y,uid=5,mode=0400", file("/x/y", 5, 0o400)),
            ("source=s,type=mount,target=t", file("t", 0, 0o444)),
            (
                "s,type=env,target=V",
                SecretTarget::Env { name: "V".into() },
            ),
            ("s,type=env", SecretTarget::Env { name: "s".into() }),
        ] {
            let got = secret(text).unwrap();
            assert_eq!((got.name.as_str(), got.target), ("s", target), "{text}");
        }
        for bad in [
            "",
            ",type=env",
            "s,x=1",
            "s,type=x",
            "s,mode=9",
            "s,type=env,uid=1",
            "s,target=../x",
            "s,t",
        ] {
            assert!(secret(bad).is_err(), "{bad}");
        }
    }
}
