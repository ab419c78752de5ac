//! The words of a `run` that was typed, taken apart: for units that do it again.

use super::container::run::RunArgs;
use super::frame;
use super::pod::create::CreateArgs as PodArgs;
use crate::base::{Error, Result};

/// A command line of `run` or `create`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunWords {
    /// Options before the verb.
    pub before: Vec<String>,
    /// Options after it by their long names, and their values; switches have none.
    pub flags: Vec<(String, Option<String>)>,
    /// The image and what follows it.
    pub rest: Vec<String>,
}

impl RunWords {
    /// Takes apart what was typed, the program's name first.
    ///
    /// # Errors
    /// `Invalid` when it is no `run` or `create`, or has an option that this version does not know.
    pub fn parse(words: &[String]) -> Result<Self> {
        let verb = words
            .iter()
            .skip(1)
            .position(|w| matches!(w.as_str(), "run" | "create"))
            .map(|at| at + 1)
            .ok_or_else(|| Error::invalid("the container was not made by `run` or `create`"))?;
        let mut before: Vec<String> = words.get(1..verb).unwrap_or_default().to_vec();
        if before.last().is_some_and(|w| w == "container") {
            before.pop();
        }
        let mut this = Self {
            before,
            ..Self::default()
        };
        this.read(words.get(verb + 1..).unwrap_or_default())?;
        Ok(this)
    }

    /// Takes apart what follows the verb.
    ///
    /// # Errors
    /// `Invalid` for an option that this version does not know.
    pub fn of_options(words: &[String]) -> Result<Self> {
        let mut this = Self::default();
        this.read(words)?;
        Ok(this)
    }

    /// Takes apart the words of a `pod create` that was typed; a name that stands alone becomes
    /// `--name`.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn of_pod(words: &[String]) -> Result<Self> {
        let at = words
            .windows(2)
            .position(|w| w[0] == "pod" && w[1] == "create")
            .filter(|at| *at > 0)
            .ok_or_else(|| Error::invalid("the pod was not made by `pod create`"))?;
        let mut this = Self {
            before: words[1..at].to_vec(),
            ..Self::default()
        };
        let mut behind = words[at + 2..].to_vec();
        while !behind.is_empty() {
            this.read_as::<PodArgs>(&behind)?;
            behind = std::mem::take(&mut this.rest);
            if !behind.is_empty() {
                let name = behind.remove(0);
                this.flags.push(("name".to_owned(), Some(name)));
            }
        }
        Ok(this)
    }

    fn read(&mut self, words: &[String]) -> Result<()> {
        self.read_as::<RunArgs>(words)
    }

    fn read_as<A: clap::Args>(&mut self, words: &[String]) -> Result<()> {
        frame::whole();
        let command = A::augment_args(clap::Command::new("words"));
        let args: Vec<&clap::Arg> = command.get_arguments().collect();
        let unknown = |word: &str| Error::invalid(format!("unknown option {word:?}"));
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                self.rest.extend(words.cloned());
                return Ok(());
            }
            if let Some(long) = word.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (long, None),
                };
                let arg = args
                    .iter()
                    .find(|a| {
                        a.get_long() == Some(name)
                            || a.get_all_aliases().is_some_and(|all| all.contains(&name))
                    })
                    .ok_or_else(|| unknown(word))?;
                let value = match (takes_value(arg), value) {
                    (true, None) => words.next().cloned(),
                    (_, value) => value,
                };
                self.flag(arg, value);
            } else if let Some(letters) = word.strip_prefix('-').filter(|l| !l.is_empty()) {
                for (at, letter) in letters.char_indices() {
                    let arg = args
                        .iter()
                        .find(|a| a.get_short() == Some(letter))
                        .ok_or_else(|| unknown(word))?;
                    if !takes_value(arg) {
                        self.flag(arg, None);
                        continue;
                    }
                    let tail = &letters[at + letter.len_utf8()..];
                    let tail = tail.strip_prefix('=').unwrap_or(tail);
                    let value = match tail.is_empty() {
                        true => words.next().cloned(),
                        false => Some(tail.to_owned()),
                    };
                    self.flag(arg, value);
                    break;
                }
            } else {
                self.rest.push(word.clone());
                self.rest.extend(words.cloned());
                return Ok(());
            }
        }
        Ok(())
    }

    fn flag(&mut self, arg: &clap::Arg, value: Option<String>) {
        let long = arg.get_long().unwrap_or_default().to_owned();
        self.flags.push((long, value));
    }

    /// Takes an option away; answers its last value.
    pub fn take(&mut self, long: &str) -> Option<Option<String>> {
        let last = self.flags.iter().rev().find(|(l, _)| l == long);
        let last = last.map(|(_, value)| value.clone());
        self.flags.retain(|(l, _)| l != long);
        last
    }

    /// The options and the rest as words again.
    pub fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self
            .flags
            .iter()
            .map(|(long, value)| match value {
                Some(value) => format!("--{long}={value}"),
                None => format!("--{long}"),
            })
            .collect();
        words.extend(self.rest.iter().cloned());
        words
    }
}

fn takes_value(arg: &clap::Arg) -> bool {
    matches!(
        arg.get_action(),
        clap::ArgAction::Set | clap::ArgAction::Append
    ) && !frame::is_bool(arg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart_and_put_together() {
        let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
        let line = "coracle --log-level debug container run -dit --name web -p80:80 -e A=1 \
                    --net=host --init=false --rm img sh -c --rm";
        let mut run = RunWords::parse(&words(line)).unwrap();
        assert_eq!(run.before, words("--log-level debug"));
        assert_eq!(run.rest, words("img sh -c --rm"));
        assert_eq!(run.take("name"), Some(Some("web".into())));
        assert_eq!(run.take("detach"), Some(None));
        assert_eq!(run.take("cidfile"), None);
        assert_eq!(
            run.words(),
            words(
                "--interactive --tty --publish=80:80 --env=A=1 --network=host --init=false --rm img sh -c --rm"
            )
        );
        assert!(RunWords::parse(&words("coracle start x")).is_err());
        let line = "coracle --log-level debug pod create -p 80:80 app --label a=b";
        let pod = RunWords::of_pod(&words(line)).unwrap();
        assert_eq!(pod.before, words("--log-level debug"));
        assert_eq!(pod.words(), words("--publish=80:80 --name=app --label=a=b"));
        assert!(RunWords::of_pod(&words("coracle kube play x")).is_err());
        assert!(RunWords::of_options(&words("--no-such-option x")).is_err());
    }
}
