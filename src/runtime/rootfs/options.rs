//! Mount options as words -> attributes, propagation and file system parameters. Pure.

use crate::base::{Error, Result};
use crate::sys::mount::{self, Change, Propagation};

/// The words of one mount, sorted out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Attributes to set.
    pub(crate) set: u32,
    /// Attributes to clear (only the access time mode).
    pub(crate) clear: u32,
    /// Propagation, and whether for the whole tree.
    pub(crate) propagation: Option<Propagation>,
    /// `bind` or `rbind` was there.
    pub(crate) bind: bool,
    /// `rbind`: with submounts.
    pub(crate) recursive: bool,
    /// `tmpcopyup`.
    pub(crate) copy_up: bool,
    /// Everything else, for the file system.
    pub(crate) data: Vec<(String, Option<String>)>,
}

impl Options {
    /// Sorts the words out.
    ///
    /// # Errors
    /// `Unsupported` for words that no mount in a container can have.
    pub(crate) fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self::default();
        for word in words {
            options.word(word)?;
        }
        Ok(options)
    }

    fn word(&mut self, word: &str) -> Result<()> {
        let flag = |name: &str| {
            Some(match name {
                "ro" => mount::RDONLY,
                "nosuid" => mount::NOSUID,
                "nodev" => mount::NODEV,
                "noexec" => mount::NOEXEC,
                "nodiratime" => mount::NODIRATIME,
                "nosymfollow" => mount::NOSYMFOLLOW,
                _ => return None,
            })
        };
        let opposite = |name: &str| {
            Some(match name {
                "rw" => mount::RDONLY,
                "suid" => mount::NOSUID,
                "dev" => mount::NODEV,
                "exec" => mount::NOEXEC,
                "diratime" => mount::NODIRATIME,
                "symfollow" => mount::NOSYMFOLLOW,
                _ => return None,
            })
        };
        // The recursive forms (`rro`): what we set on a bind is set on its whole tree anyway.
        let plain = word.strip_prefix('r').unwrap_or(word);
        if let Some(bit) = flag(word).or_else(|| flag(plain)) {
            self.set |= bit;
            return Ok(());
        }
        if let Some(bit) = opposite(word).or_else(|| opposite(plain)) {
            self.set &= !bit;
            return Ok(());
        }
        match word {
            "" | "defaults" | "relatime" | "norelatime" | "atime" | "nostrictatime" | "async"
            | "silent" | "loud" | "notmpcopyup" | "copy" | "nocopy" | "rrelatime" => {}
            "noatime" | "rnoatime" => self.atime(mount::NOATIME),
            "strictatime" | "rstrictatime" => self.atime(mount::STRICTATIME),
            "bind" => self.bind = true,
            "rbind" => {
                self.bind = true;
                self.recursive = true;
            }
            "private" | "rprivate" => self.propagation = Some(Propagation::Private),
            "slave" | "rslave" => self.propagation = Some(Propagation::Slave),
            "shared" | "rshared" => self.propagation = Some(Propagation::Shared),
            "unbindable" | "runbindable" => self.propagation = Some(Propagation::Unbindable),
            "tmpcopyup" => self.copy_up = true,
            "remount" | "move" | "idmap" | "ridmap" | "mand" => {
                return Err(Error::unsupported(format!(
                    "the mount option {word:?} is not supported"
                )));
            }
            _ if word.starts_with("idmap=") || word.starts_with("ridmap=") => {
                return Err(Error::unsupported(format!(
                    "the mount option {word:?} is not supported"
                )));
            }
            other => {
                let (key, value) = match other.split_once('=') {
                    Some((key, value)) => (key, Some(value.to_owned())),
                    None => (other, None),
                };
                self.data.push((key.to_owned(), value));
            }
        }
        Ok(())
    }

    fn atime(&mut self, mode: u32) {
        self.clear |= mount::ATIME_MASK;
        self.set = (self.set & !mount::ATIME_MASK) | mode;
    }

    /// What to change on a tree that exists already. Nothing is ever loosened: attributes that the
    /// host set stay.
    pub(crate) fn change(&self, default: Option<Propagation>) -> Change {
        Change {
            set: self.set,
            clear: self.clear,
            propagation: self.propagation.or(default),
        }
    }

    /// The value of a parameter.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.data
            .iter()
            .rev()
            .find(|(k, _)| k == key)
            .and_then(|(_, v)| v.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Options {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        Options::parse(&words).unwrap()
    }

    #[test]
    fn words_become_attributes_and_parameters() {
        let o = parse(&["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]);
        assert_eq!(o.set, mount::NOSUID | mount::NOEXEC | mount::STRICTATIME);
        assert_eq!(o.value("mode"), Some("755"));
        assert_eq!(o.data.len(), 2);
        let o = parse(&["rbind", "rro", "rprivate"]);
        assert!(o.bind && o.recursive && o.set == mount::RDONLY);
        assert_eq!(o.propagation, Some(Propagation::Private));
        assert_eq!(parse(&["ro", "rw"]).set, 0);
        assert_eq!(parse(&["newinstance", "gid=5"]).data.len(), 2);
        assert!(parse(&["tmpcopyup"]).copy_up);
        for bad in ["remount", "idmap", "idmap=uids=0-1-1"] {
            assert!(Options::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
