//! `.containerignore` and `.dockerignore`: which files of a context there are.
//!
//! The rules are Docker's, exactly: patterns in order, the last that fits decides, `!` lets in
//! again, a pattern that fits a folder fits all below it.

use super::pattern::{Pattern, clean};
use crate::base::{Error, Hint as _, Result};

/// More patterns than this are no ignore file.
const PATTERNS: usize = 10_000;

/// A list of patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    rules: Vec<Rule>,
    /// Whether any pattern lets in again, so that excluded folders must be looked into.
    exceptions: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    pattern: Pattern,
    lets_in: bool,
}

impl Ignore {
    /// Reads an ignore file. `name` is the file's, for errors.
    ///
    /// # Errors
    /// `Invalid` with file and line for a malformed pattern.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut ignore = Self::default();
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            ignore
                .add(line)
                .map_err(|e| Error::invalid(format!("{name}:{}: {}", number + 1, e.what())))
                .hint(|| "patterns are those of Go's filepath.Match, ** and a leading !")?;
        }
        Ok(ignore)
    }

    /// A list of patterns as `--exclude` gives them.
    ///
    /// # Errors
    /// `Invalid` for a malformed pattern.
    pub fn of<S: AsRef<str>>(patterns: &[S]) -> Result<Self> {
        let mut ignore = Self::default();
        for pattern in patterns {
            ignore.add(pattern.as_ref())?;
        }
        Ok(ignore)
    }

    fn add(&mut self, line: &str) -> Result<()> {
        let line = line.trim();
        if line.is_empty() {
            return Ok(());
        }
        let (lets_in, text) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        if text.is_empty() {
            return Err(Error::invalid("a lone ! lets nothing in"));
        }
        let cleaned = clean(text);
        let relative = match cleaned.len() {
            1 => cleaned.as_str(),
            _ => cleaned.trim_start_matches('/'),
        };
        if self.rules.len() >= PATTERNS {
            return Err(Error::invalid(format!("more than {PATTERNS} patterns")));
        }
        self.exceptions |= lets_in;
        self.rules.push(Rule {
            pattern: Pattern::new(relative)?,
            lets_in,
        });
        Ok(())
    }

    /// Without any pattern.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether an excluded folder may have something in it that is let in.
    pub fn may_let_in_below(&self) -> bool {
        self.exceptions
    }

    /// Whether `path` (relative, clean) is left out.
    pub fn excludes(&self, path: &str) -> bool {
        let mut marks = self.top();
        let mut at = 0;
        while let Some(slash) = path[at..].find('/') {
            marks = self.enter(&path[..at + slash], &marks);
            at += slash + 1;
        }
        self.judge(path, &marks).0
    }

    /// What holds in the context's own folder, for walks with [`Ignore::judge`].
    pub fn top(&self) -> Marks {
        Marks(vec![false; self.rules.len()])
    }

    fn enter(&self, folder: &str, above: &Marks) -> Marks {
        self.judge(folder, above).1
    }

    /// Whether `path` is left out, below a folder with these marks; and its own marks, should it
    /// be a folder.
    pub fn judge(&self, path: &str, above: &Marks) -> (bool, Marks) {
        let mut out = false;
        let mut marks = Vec::with_capacity(self.rules.len());
        for (rule, above) in self.rules.iter().zip(&above.0) {
            let fits = *above || rule.pattern.matches(path);
            marks.push(fits);
            if fits {
                out = !rule.lets_in;
            }
        }
        (out, Marks(marks))
    }
}

/// Which patterns fit a folder or one above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(Vec<bool>);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(file: &str, out: &[&str], within: &[&str]) {
        let ignore = Ignore::parse(".dockerignore", file).unwrap();
        for path in out {
            assert!(
                ignore.excludes(path),
                "{path} should be left out by {file:?}"
            );
        }
        for path in within {
            assert!(
                !ignore.excludes(path),
                "{path} should be there with {file:?}"
            );
        }
    }

    #[test]
    fn patterns_are_anchored_and_cover_what_is_below() {
        check(
            "node_modules\n",
            &["node_modules", "node_modules/a/b"],
            &["x/node_modules"],
        );
        check("/a\nb/\n", &["a", "b", "b/c"], &["ab"]);
        check("*.md\n", &["a.md"], &["d/a.md"]);
        check("**/*.md\n", &["a.md", "d/e/a.md"], &["a.mdx"]);
        check("**/temp*\n", &["a/temp1", "temp/x"], &["atemp"]);
        check("*/x\n", &["a/x"], &["x", "a/b/x"]);
        check("a/**\n", &["a/b", "a/b/c"], &["a"]);
        check("# *\n  \n", &[], &["a"]);
        check(" #a\n", &["#a"], &["a"]);
    }

    #[test]
    fn the_last_pattern_that_fits_decides() {
        check("*\n!keep\n", &["a", "b/c"], &["keep", "keep/x"]);
        check(
            "*.md\n!README*.md\nREADME-secret.md\n",
            &["a.md", "README-secret.md"],
            &["README.md"],
        );
        check("!README.md\n*.md\n", &["README.md"], &[]);
        check("dir\n!dir/a\n", &["dir", "dir/b"], &["dir/a", "dir/a/c"]);
        check(
            "dir/*\n!dir/keep\ndir/keep/not\n",
            &["dir/x", "dir/keep/not"],
            &["dir/keep", "dir/keep/y"],
        );
        check("**\n!**/*.rs\n", &["a", "x/y"], &["a.rs", "x/y/z.rs"]);
    }

    #[test]
    fn odd_lines_are_told_with_their_number() {
        let e = Ignore::parse(".dockerignore", "a\n[\n").unwrap_err();
        assert!(e.what().contains(".dockerignore:2"), "{e}");
        assert!(Ignore::parse("f", "!\n").is_err());
        assert!(Ignore::parse("f", &"a\n".repeat(10_001)).is_err());
        check("\u{feff}a\r\nb\r\n", &["a", "b"], &["c"]);
        check(".\n", &[], &["a"]);
        check("./a/../b\n", &["b"], &["a"]);
    }
}
