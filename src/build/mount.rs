//! `RUN --mount=…`: the five kinds, each with its own keys.
//!
//! An unknown key is an error; nothing is passed through to mount(2).

use super::instruction::{Place, Words};
use super::words::csv;
use crate::base::{Error, Result, size};

/// One mount, with variables still in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub kind: MountKind,
    /// The path inside; empty where a kind has a default.
    pub target: String,
    /// `from=`: a stage, an image, a named context; absent means the context, or nothing.
    pub from: Option<String>,
    /// `source=`.
    pub source: String,
    /// `id=`.
    pub id: Option<String>,
    /// `ro`, `rw`: absent means the kind's default.
    pub read_only: Option<bool>,
    /// `mode=`, octal.
    pub mode: Option<u32>,
    /// `uid=`.
    pub uid: Option<u32>,
    /// `gid=`.
    pub gid: Option<u32>,
    /// `size=`, bytes.
    pub size: Option<u64>,
    /// `required`.
    pub required: bool,
    /// `env=`: a secret as a variable.
    pub env: Option<String>,
    /// `sharing=`.
    pub sharing: Sharing,
}

/// The kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// `bind`, the default.
    Bind,
    /// `cache`.
    Cache,
    /// `tmpfs`.
    Tmpfs,
    /// `secret`.
    Secret,
    /// `ssh`.
    Ssh,
}

/// Who may use a cache mount at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// One each: a second one gets another folder.
    Private,
    /// One after the other.
    Locked,
}

impl Mount {
    /// Reads the option's value. `expand` says what variables are worth; `from` has none.
    ///
    /// # Errors
    /// `Invalid` for an unknown kind, key or value.
    pub fn parse(text: &str, expand: &mut dyn FnMut(&str) -> Result<String>) -> Result<Self> {
        let bad = |why: String| {
            Error::invalid(format!("invalid mount {text:?}: {why}")).hint(
                "e.g. --mount=type=cache,target=/root/.cache, type=bind,from=STAGE,source=/a,target=/b, \
                 type=secret,id=ID",
            )
        };
        let fields = csv(text).ok_or_else(|| bad("a quote has no end".into()))?;
        let mut kind = MountKind::Bind;
        for field in &fields {
            if let Some((key, value)) = field.split_once('=')
                && key.eq_ignore_ascii_case("type")
            {
                kind = match expand(value)?.to_ascii_lowercase().as_str() {
                    "bind" => MountKind::Bind,
                    "cache" => MountKind::Cache,
                    "tmpfs" => MountKind::Tmpfs,
                    "secret" => MountKind::Secret,
                    "ssh" => MountKind::Ssh,
                    other => return Err(bad(format!("unknown kind {other:?}"))),
                };
            }
        }
        let mut mount = Self {
            kind,
            target: String::new(),
            from: None,
            source: String::new(),
            id: None,
            read_only: None,
            mode: None,
            uid: None,
            gid: None,
            size: None,
            required: false,
            env: None,
            sharing: Sharing::Shared,
        };
        for field in &fields {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (field.as_str(), None),
            };
            let key = key.trim().to_ascii_lowercase();
            if !mount.takes(&key) {
                return Err(bad(format!("the key {key:?} does not fit this kind")));
            }
            let switch = |value: Option<&str>| match value {
                None | Some("true" | "1" | "True" | "TRUE" | "t" | "T") => Ok(true),
                Some("false" | "0" | "False" | "FALSE" | "f" | "F") => Ok(false),
                Some(other) => Err(bad(format!("{key} is true or false, not {other:?}"))),
            };
            match key.as_str() {
                "readonly" | "ro" => {
                    mount.read_only = Some(switch(value)?);
                    continue;
                }
                "readwrite" | "rw" => {
                    mount.read_only = Some(!switch(value)?);
                    continue;
                }
                "required" => {
                    mount.required = switch(value)?;
                    continue;
                }
                // buildah's, for SELinux: as with `run -v`, no label is set, and the container needs none.
                "z" if value.is_none() => continue,
                "relabel" if matches!(value, Some("shared" | "private")) => continue,
                _ => {}
            }
            let value = value.ok_or_else(|| bad(format!("{key} needs a value")))?;
            if key == "from" {
                if value.contains('$') {
                    return Err(bad("from takes no variables".into()).hint(
                        "name a stage that is made FROM the variable: FROM ${IMAGE} AS name",
                    ));
                }
                mount.from = Some(value.to_owned());
                continue;
            }
            let value = expand(value)?;
            let number = |radix| {
                u32::from_str_radix(&value, radix)
                    .map_err(|_| bad(format!("{key} is no number: {value:?}")))
            };
            match key.as_str() {
                "type" | "target" | "dst" | "destination" | "source" | "src" | "id" | "env"
                    if value.contains('\0') =>
                {
                    return Err(bad("a NUL byte".into()));
                }
                "type" => {}
                "target" | "dst" | "destination" => mount.target = value,
                "source" | "src" => mount.source = value,
                "id" => mount.id = Some(value).filter(|v| !v.is_empty()),
                "env" => mount.env = Some(value),
                "mode" => mount.mode = Some(number(8)? & 0o7777),
                "uid" => mount.uid = Some(number(10)?),
                "gid" => mount.gid = Some(number(10)?),
                "size" => mount.size = Some(size::parse(&value)?),
                _ => {
                    mount.sharing = match value.to_ascii_lowercase().as_str() {
                        "shared" => Sharing::Shared,
                        "private" => Sharing::Private,
                        "locked" => Sharing::Locked,
                        other => return Err(bad(format!("unknown sharing {other:?}"))),
                    };
                }
            }
        }
        mount.check().map_err(bad)?;
        Ok(mount)
    }

    fn takes(&self, key: &str) -> bool {
        let own: &[&str] = match self.kind {
            MountKind::Bind => &[
                "source",
                "src",
                "from",
                "ro",
                "readonly",
                "rw",
                "readwrite",
                "z",
                "relabel",
            ],
            MountKind::Cache => &[
                "id",
                "source",
                "src",
                "from",
                "ro",
                "readonly",
                "rw",
                "readwrite",
                "sharing",
                "mode",
                "uid",
                "gid",
                "z",
                "relabel",
            ],
            MountKind::Tmpfs => &["size"],
            MountKind::Secret => &[
                "id", "source", "src", "required", "mode", "uid", "gid", "env",
            ],
            MountKind::Ssh => &["id", "required", "mode", "uid", "gid"],
        };
        matches!(key, "type" | "target" | "dst" | "destination") || own.contains(&key)
    }

    fn check(&mut self) -> std::result::Result<(), String> {
        match self.kind {
            MountKind::Bind | MountKind::Cache | MountKind::Tmpfs if self.target.is_empty() => {
                return Err("target is missing".into());
            }
            MountKind::Secret => {
                // `source` is the old word for `id`.
                if self.id.is_none() && !self.source.is_empty() {
                    self.id = Some(std::mem::take(&mut self.source));
                }
                if self.id.is_none() {
                    let name = self.target.rsplit('/').next().unwrap_or_default();
                    if name.is_empty() {
                        return Err("id is missing".into());
                    }
                    self.id = Some(name.to_owned());
                }
                if let Some(name) = &self.env
                    && (name.is_empty() || name.contains('='))
                {
                    return Err("env is no variable's name".into());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What it takes from elsewhere in the build.
    pub fn place(&self) -> Option<Place> {
        match (self.kind, &self.from) {
            (_, Some(from)) => Some(Place::Named(from.clone())),
            (MountKind::Bind, None) => Some(Place::Context),
            _ => None,
        }
    }
}

/// The `from=` of a mount as written, for the graph of stages, before anything is expanded.
pub fn from_of(text: &str) -> Option<String> {
    csv(text)?.into_iter().find_map(|field| {
        let (key, value) = field.split_once('=')?;
        (key.trim().eq_ignore_ascii_case("from") && !value.is_empty()).then(|| value.to_owned())
    })
}

/// The mounts of a RUN as written.
pub fn froms(mounts: &Words) -> Vec<String> {
    mounts.iter().filter_map(|m| from_of(m)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Mount> {
        Mount::parse(text, &mut |v| Ok(v.replace("$x", "X")))
    }

    #[test]
    fn every_kind_takes_its_own_keys_only() {
        let m = parse(
            "type=cache,id=a$x,target=/c,sharing=locked,mode=0750,uid=1,gid=2,ro,from=s,source=/d",
        )
        .unwrap();
        assert_eq!(
            (m.id.as_deref(), m.sharing, m.mode),
            (Some("aX"), Sharing::Locked, Some(0o750))
        );
        assert_eq!((m.uid, m.gid, m.read_only), (Some(1), Some(2), Some(true)));
        assert_eq!(m.place(), Some(Place::Named("s".into())));
        let m = parse("target=/x,rw").unwrap();
        assert_eq!(
            (m.kind, m.read_only, m.place()),
            (MountKind::Bind, Some(false), Some(Place::Context))
        );
        let m = parse("type=secret,id=k,env=TOKEN,required").unwrap();
        assert!(m.required && m.env.as_deref() == Some("TOKEN"));
        assert_eq!(
            parse("type=secret,target=/run/key").unwrap().id.as_deref(),
            Some("key")
        );
        assert_eq!(
            parse("type=tmpfs,target=/t,size=1m").unwrap().size,
            Some(1 << 20)
        );
        assert!(parse("type=ssh").unwrap().id.is_none());
        let plain = parse("source=a,target=/x").unwrap();
        for labelled in ["z", "Z", "relabel=shared", "relabel=private"] {
            let m = parse(&format!("source=a,target=/x,{labelled}")).unwrap();
            assert_eq!(m, plain, "{labelled}");
        }
        for bad in [
            "type=bind",
            "type=x,target=/t",
            "type=tmpfs,target=/t,rw",
            "type=ssh,sharing=locked",
            "type=cache,target=/c,sharing=all",
            "type=secret",
            "type=bind,target=/x,from=$x",
            "type=bind,target=/x,ro=maybe",
            "type=cache,target=/x,mode=9",
            "target=/x,propagation=shared",
            "target=/x,relabel=some",
            "target=/x,z=1",
            "type=tmpfs,target=/x,Z",
            "\"type=bind",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stage_is_found_before_anything_is_expanded() {
        assert_eq!(from_of("type=bind,from=a,target=$t").as_deref(), Some("a"));
        assert_eq!(from_of("type=cache,target=/x"), None);
    }
}
