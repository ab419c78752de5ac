//! Text to logical lines: parser directives, comments, continuation, here-documents.
//!
//! Nothing is copied beyond the file's own size, and each byte is looked at a fixed number of
//! times.

use super::words;
use crate::base::{Error, Result};

/// More instructions than any person writes.
const INSTRUCTIONS: usize = 20_000;

/// `# key=value` at the very top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// `escape`: a backslash or a backtick.
    pub escape: char,
    /// `syntax`: a front end's image. It is read and never executed.
    pub syntax: Option<String>,
    /// `check`: what the lints skip, and whether they fail the build.
    pub check: Option<String>,
}

impl Default for Directives {
    fn default() -> Self {
        Self {
            escape: '\\',
            syntax: None,
            check: None,
        }
    }
}

/// `<<NAME` and what follows the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it.
    pub name: String,
    /// Whether variables are expanded: not when the word was quoted.
    pub expand: bool,
    /// `<<-`: leading tabs are taken off.
    pub chomp: bool,
    /// The text, with its final line feed.
    pub content: String,
}

/// One instruction as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The first word, as written.
    pub word: String,
    /// Everything after it, continuation lines joined.
    pub rest: String,
    /// Here-documents in order.
    pub heredocs: Vec<Heredoc>,
    /// First line, from 1.
    pub first: u32,
    /// Last line, here-documents included.
    pub last: u32,
    /// A comment of one paragraph right above, for descriptions.
    pub comment: String,
    /// An empty line stood between continued ones.
    pub empty_continuation: bool,
}

/// A lexed file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lexed {
    /// Parser directives.
    pub directives: Directives,
    /// The instructions.
    pub lines: Vec<Line>,
}

/// Splits a Dockerfile. `name` is the file's, for errors.
///
/// # Errors
/// `Invalid` with file, line and a next step.
pub fn lex(name: &str, text: &str) -> Result<Lexed> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() as u64 > super::FILE_LIMIT {
        return Err(Error::invalid(format!("{name} is larger than 4 MiB"))
            .hint("a Dockerfile is a text of instructions; is this the right file?"));
    }
    if text.contains('\0') {
        return Err(Error::invalid(format!("{name} contains a NUL byte"))
            .hint("a Dockerfile is UTF-8 text; convert the file"));
    }
    let (directives, _) = directives(name, text)?;
    let mut lexer = Lexer {
        name,
        lines: text.split_inclusive('\n').collect(),
        at: 0,
        escape: directives.escape,
    };
    let mut lines = Vec::new();
    let mut comment = String::new();
    while let Some(raw) = lexer.next_raw() {
        let trimmed = raw.trim();
        if let Some(text) = trimmed.strip_prefix('#') {
            if !comment.is_empty() {
                comment.push(' ');
            }
            comment.push_str(text.trim());
            continue;
        }
        if trimmed.is_empty() {
            comment.clear();
            continue;
        }
        let line = lexer.instruction(raw, std::mem::take(&mut comment))?;
        lines.push(line);
        if lines.len() > INSTRUCTIONS {
            return Err(Error::invalid(format!(
                "{name} has more than {INSTRUCTIONS} instructions"
            ))
            .hint("split the build into several images"));
        }
    }
    Ok(Lexed { directives, lines })
}

/// The directives, and how many lines they take.
fn directives(name: &str, text: &str) -> Result<(Directives, usize)> {
    let mut found = Directives::default();
    let mut seen: Vec<&'static str> = Vec::new();
    let mut count = 0;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if number == 0 && line.starts_with("#!") {
            count += 1;
            continue;
        }
        let Some((key, value)) = line
            .strip_prefix('#')
            .and_then(|rest| rest.split_once('='))
            .map(|(key, value)| (key.trim().to_ascii_lowercase(), value.trim()))
        else {
            break;
        };
        let known = match key.as_str() {
            "escape" => "escape",
            "syntax" => "syntax",
            "check" => "check",
            _ => break,
        };
        let at = || format!("{name}:{}", number + 1);
        if seen.contains(&known) {
            return Err(Error::invalid(format!(
                "{}: the parser directive {known} is there twice",
                at()
            ))
            .hint("keep one of them"));
        }
        seen.push(known);
        match known {
            "escape" => {
                found.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    other => {
                        return Err(Error::invalid(format!(
                            "{}: invalid escape character {other:?}",
                            at()
                        ))
                        .hint("the directive takes a backslash or a backtick"));
                    }
                };
            }
            "syntax" => found.syntax = Some(value.to_owned()),
            _ => found.check = Some(value.to_owned()),
        }
        count += 1;
    }
    Ok((found, count))
}

struct Lexer<'a> {
    name: &'a str,
    lines: Vec<&'a str>,
    /// Lines read, so the number of the last one.
    at: usize,
    escape: char,
}

impl<'a> Lexer<'a> {
    fn next_raw(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.at)?;
        self.at += 1;
        Some(line)
    }

    fn number(&self) -> u32 {
        u32::try_from(self.at).unwrap_or(u32::MAX)
    }

    fn instruction(&mut self, raw: &str, comment: String) -> Result<Line> {
        let first = self.number();
        let mut empty_continuation = false;
        let (mut logical, mut more) = self.uncontinued(raw.trim_start());
        while more {
            let Some(next) = self.next_raw() else { break };
            let trimmed = next.trim();
            if trimmed.starts_with('#') {
                continue;
            }
            if trimmed.is_empty() {
                empty_continuation = true;
                continue;
            }
            let (text, again) = self.uncontinued(next);
            logical.push_str(&text);
            more = again;
        }
        let logical = logical.trim();
        let (word, rest) = match logical.find(char::is_whitespace) {
            Some(space) => (&logical[..space], logical[space..].trim()),
            None => (logical, ""),
        };
        let mut line = Line {
            word: word.to_owned(),
            rest: rest.to_owned(),
            heredocs: Vec::new(),
            first,
            last: first,
            comment,
            empty_continuation,
        };
        self.heredocs(&mut line)?;
        line.last = self.number();
        Ok(line)
    }

    /// A physical line without its end; whether the next one continues it.
    fn uncontinued(&self, raw: &str) -> (String, bool) {
        let line = raw.trim_end_matches(['\n', '\r']);
        let bare = line.trim_end_matches([' ', '\t']);
        if let Some(start) = bare.strip_suffix(self.escape)
            && !start.ends_with(self.escape)
        {
            return (start.to_owned(), true);
        }
        (line.to_owned(), false)
    }

    fn heredocs(&mut self, line: &mut Line) -> Result<()> {
        let mut word = line.word.to_ascii_uppercase();
        let mut rest = line.rest.as_str();
        if word == "ONBUILD" {
            let (inner, tail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            word = inner.to_ascii_uppercase();
            rest = tail.trim();
        }
        if !matches!(word.as_str(), "RUN" | "COPY" | "ADD") || !rest.contains("<<") {
            return Ok(());
        }
        if words::json(rest).is_some() {
            return Ok(());
        }
        let Some(list) = words::shell(rest, self.escape) else {
            return Ok(());
        };
        for text in list {
            let Some(mut doc) = heredoc(&text, self.escape) else {
                continue;
            };
            let start = self.number();
            loop {
                let Some(raw) = self.next_raw() else {
                    return Err(Error::invalid(format!(
                        "{}:{}: the here-document {:?} has no end",
                        self.name, line.first, doc.name
                    ))
                    .hint(format!(
                        "put a line with nothing but {} after line {start}",
                        doc.name
                    )));
                };
                let text = match doc.chomp {
                    true => raw.trim_start_matches('\t'),
                    false => raw,
                };
                if text.trim_end_matches(['\n', '\r']) == doc.name {
                    break;
                }
                doc.content.push_str(text);
            }
            line.heredocs.push(doc);
        }
        Ok(())
    }
}

/// `[N]<<[-]NAME` as one word of a shell.
fn heredoc(word: &str, escape: char) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = rest.strip_prefix("<<")?;
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let quoted = rest.contains(['"', '\'']) || rest.contains(escape);
    let name = words::unquoted(rest, escape)?;
    (!name.is_empty() && !name.contains('\n')).then_some(Heredoc {
        name,
        expand: !quoted,
        chomp,
        content: String::new(),
    })
}

/// The name that a word of an instruction gives to a here-document, if it is one.
pub fn heredoc_name(word: &str, escape: char) -> Option<String> {
    heredoc(word, escape).map(|doc| doc.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(String, String)> {
        let lexed = lex("Dockerfile", text).unwrap();
        let pair = |l: Line| (l.word, l.rest);
        lexed.lines.into_iter().map(pair).collect()
    }

    fn pair(a: &str, b: &str) -> (String, String) {
        (a.to_owned(), b.to_owned())
    }

    #[test]
    fn lines_are_joined_and_comments_vanish() {
        let text = "\u{feff}# a comment\r\nFROM scratch\r\n\r\n  RUN a \\\n# inside\n\n  b \\  \n c\nCMD x\\\\\nUSER y";
        let want = [
            pair("FROM", "scratch"),
            pair("RUN", "a   b  c"),
            pair("CMD", "x\\\\"),
            pair("USER", "y"),
        ];
        assert_eq!(lines(text), want);
        assert!(lex("f", text).unwrap().lines[1].empty_continuation);
    }

    #[test]
    fn directives_stand_at_the_top_only() {
        let lexed = lex("f", "# escape=`\n#Syntax = docker/dockerfile:1\n# CHECK=skip=all\nRUN a `\n b\n# escape=x\n").unwrap();
        assert_eq!(lexed.directives.escape, '`');
        assert_eq!(
            lexed.directives.syntax.as_deref(),
            Some("docker/dockerfile:1")
        );
        assert_eq!(lexed.directives.check.as_deref(), Some("skip=all"));
        assert_eq!(lexed.lines[0].rest, "a  b");
        let late = lex("f", "\n# escape=`\nRUN a `\n").unwrap();
        assert_eq!(late.directives.escape, '\\');
        let text = lex("f", "# about=this\n# escape=`\n").unwrap();
        assert_eq!(text.directives.escape, '\\');
        assert!(lex("f", "# escape=\\\n# escape=`\n").is_err());
        assert!(lex("f", "# escape=x\n").is_err());
    }

    #[test]
    fn here_documents_follow_their_line() {
        let text = "RUN <<A cat <<-'B' 3<<C\n$x\nA\n\ty\n\tB\nz\nC\nCOPY <<E /e\nE\nRUN echo 1<<2 '<<no'\n2\nLABEL a=<<X\nONBUILD RUN <<Y\ny\nY\n";
        let lexed = lex("f", text).unwrap();
        let docs = &lexed.lines[0].heredocs;
        assert_eq!(docs.len(), 3);
        assert_eq!((docs[0].content.as_str(), docs[0].expand), ("$x\n", true));
        assert_eq!((docs[1].content.as_str(), docs[1].expand), ("y\n", false));
        assert_eq!(docs[2].content, "z\n");
        assert_eq!((lexed.lines[0].first, lexed.lines[0].last), (1, 7));
        assert_eq!(lexed.lines[1].heredocs[0].content, "");
        assert_eq!(lexed.lines[2].heredocs.len(), 1);
        assert!(lexed.lines[3].heredocs.is_empty());
        assert_eq!(lexed.lines[4].heredocs[0].content, "y\n");
        let lost = lex("f", "RUN <<EOF\nx\n").unwrap_err();
        assert!(lost.what().contains("f:1"), "{lost}");
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert!(lex("f", "FROM a\0b").is_err());
        assert!(lex("f", &"x".repeat(5 << 20)).is_err());
        assert!(lex("f", &"USER x\n".repeat(20_001)).is_err());
    }
}
