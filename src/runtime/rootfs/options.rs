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
    /// Attributes to set on the whole tree (`rro`).
    pub(crate) tree_set: u32,
    /// Attributes to clear on the whole tree (`rrw`).
    pub(crate) tree_clear: u32,
    /// Propagation.
    pub(crate) propagation: Option<Propagation>,
    /// The propagation is for the whole tree (`rprivate`).
    pub(crate) tree_propagation: bool,
    /// Change what is mounted there already.
    pub(crate) remount: bool,
    /// `idmap`, or with submounts `ridmap`.
    pub(crate) idmap: Option<bool>,
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
        if let Some(bit) = flag(word) {
            self.set |= bit;
            return Ok(());
        }
        if let Some(bit) = opposite(word) {
            self.set &= !bit;
            return Ok(());
        }
        let plain = word.strip_prefix('r').unwrap_or_default();
        if let Some(bit) = flag(plain) {
            self.tree_set |= bit;
            self.tree_clear &= !bit;
            return Ok(());
        }
        if let Some(bit) = opposite(plain) {
            self.tree_set &= !bit;
            self.tree_clear |= bit;
            return Ok(());
        }
        match word {
            "" | "defaults" | "relatime" | "norelatime" | "atime" | "nostrictatime" | "async"
            | "silent" | "loud" | "notmpcopyup" | "copy" | "nocopy" | "iversion" | "noiversion" => {
            }
            "rrelatime" | "rnorelatime" | "ratime" | "rnostrictatime" => self.tree_atime(0),
            "noatime" => self.atime(mount::NOATIME),
            "rnoatime" => self.tree_atime(mount::NOATIME),
            "strictatime" => self.atime(mount::STRICTATIME),
            "rstrictatime" => self.tree_atime(mount::STRICTATIME),
            "bind" => self.bind = true,
            "rbind" => {
                self.bind = true;
                self.recursive = true;
            }
            "private" | "slave" | "shared" | "unbindable" => self.propagate(word, false),
            "rprivate" | "rslave" | "rshared" | "runbindable" => self.propagate(plain, true),
            "tmpcopyup" => self.copy_up = true,
            "remount" => self.remount = true,
            "idmap" => self.idmap = Some(false),
            "ridmap" => self.idmap = Some(true),
            "move" => {
                return Err(Error::unsupported(format!(
                    "the mount option {word:?} is not supported"
                )));
            }
            _ if word.starts_with("idmap=") || word.starts_with("ridmap=") => {
                return Err(Error::unsupported(format!(
                    "the mount option {word:?} is not supported"
                ))
                .hint("the specification has uidMappings and gidMappings for that"));
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

    fn tree_atime(&mut self, mode: u32) {
        self.tree_clear |= mount::ATIME_MASK;
        self.tree_set = (self.tree_set & !mount::ATIME_MASK) | mode;
    }

    fn propagate(&mut self, word: &str, tree: bool) {
        self.propagation = Some(match word {
            "slave" => Propagation::Slave,
            "shared" => Propagation::Shared,
            "unbindable" => Propagation::Unbindable,
            _ => Propagation::Private,
        });
        self.tree_propagation = tree;
    }

    /// What to change on a tree that exists already, in one go. Nothing is ever loosened:
    /// attributes that the host set stay.
    pub(crate) fn change(&self, default: Option<Propagation>) -> Change {
        Change {
            set: self.set | self.tree_set,
            clear: self.clear,
            propagation: self.propagation.or(default),
        }
    }

    /// The same word by word: what is for the mount, and what is for everything below as well.
    pub(crate) fn changes(&self, default: Propagation) -> (Change, Change) {
        let one = Change {
            set: self.set,
            clear: self.clear,
            propagation: self.propagation.filter(|_| !self.tree_propagation),
        };
        let tree = Change {
            set: self.tree_set,
            clear: self.tree_clear,
            propagation: match self.propagation {
                None => Some(default),
                given => given.filter(|_| self.tree_propagation),
            },
        };
        (one, tree)
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
        assert!(o.bind && o.recursive && o.change(None).set == mount::RDONLY);
        let (one, tree) = o.changes(Propagation::Slave);
        assert!(one.is_empty() && tree.set == mount::RDONLY);
        assert_eq!(tree.propagation, Some(Propagation::Private));
        assert_eq!(o.propagation, Some(Propagation::Private));
        assert_eq!(parse(&["ro", "rw"]).set, 0);
        assert_eq!(parse(&["newinstance", "gid=5"]).data.len(), 2);
        assert!(parse(&["tmpcopyup"]).copy_up);
        assert!(parse(&["remount"]).remount && parse(&["ridmap"]).idmap == Some(true));
        for bad in ["move", "idmap=uids=0-1-1"] {
            assert!(Options::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
