//! `--chmod`: an octal mode, or chmod(1)'s symbolic one.

use crate::base::{Error, Result};

/// A change of permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// These bits.
    Octal(u32),
    /// `u=rwX,go=rX`.
    Symbolic(Vec<Clause>),
}

/// `who` `operator` `what`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// Which of user (4), group (2), others (1); all when none was named.
    who: u32,
    operator: char,
    what: String,
}

impl std::str::FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid(format!("invalid mode {text:?}"))
                .hint("write it like 0644, or like u=rwX,go=rX")
        };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let bits = u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8);
            return match bits {
                Ok(bits) if bits <= 0o7777 => Ok(Self::Octal(bits)),
                _ => Err(bad()),
            };
        }
        let mut clauses = Vec::new();
        for clause in text.split(',') {
            let start = clause.find(['+', '-', '=']).ok_or_else(bad)?;
            let mut who = 0;
            for c in clause[..start].chars() {
                who |= match c {
                    'u' => 4,
                    'g' => 2,
                    'o' => 1,
                    'a' => 7,
                    _ => return Err(bad()),
                };
            }
            let mut rest = &clause[start..];
            while let Some(operator) = rest.chars().next() {
                let end = rest[1..]
                    .find(['+', '-', '='])
                    .map_or(rest.len(), |n| n + 1);
                let what = &rest[1..end];
                let copies = what.chars().all(|c| "ugo".contains(c)) && what.len() == 1;
                if !copies && !what.chars().all(|c| "rwxXst".contains(c)) {
                    return Err(bad());
                }
                clauses.push(Clause {
                    who: if who == 0 { 7 } else { who },
                    operator,
                    what: what.to_owned(),
                });
                rest = &rest[end..];
            }
        }
        Ok(Self::Symbolic(clauses))
    }
}

impl Mode {
    /// The new bits of a file with these.
    pub fn apply(&self, bits: u32, is_dir: bool) -> u32 {
        match self {
            Self::Octal(new) => *new,
            Self::Symbolic(clauses) => clauses
                .iter()
                .fold(bits & 0o7777, |bits, clause| clause.apply(bits, is_dir)),
        }
    }
}

impl Clause {
    fn apply(&self, bits: u32, is_dir: bool) -> u32 {
        let mut three = 0;
        let mut special = 0;
        for c in self.what.chars() {
            match c {
                'r' => three |= 4,
                'w' => three |= 2,
                'x' => three |= 1,
                'X' if is_dir || bits & 0o111 != 0 => three |= 1,
                's' => {
                    special |= (if self.who & 4 != 0 { 0o4000 } else { 0 })
                        | (if self.who & 2 != 0 { 0o2000 } else { 0 });
                }
                't' => special |= 0o1000,
                'u' => three |= (bits >> 6) & 7,
                'g' => three |= (bits >> 3) & 7,
                'o' => three |= bits & 7,
                _ => {}
            }
        }
        let mut mask = 0;
        let mut value = 0;
        for (bit, shift) in [(4, 6), (2, 3), (1, 0)] {
            if self.who & bit != 0 {
                mask |= 7 << shift;
                value |= three << shift;
            }
        }
        value |= special;
        match self.operator {
            '+' => bits | value,
            '-' => bits & !value,
            _ => {
                // A folder keeps its set-id bits unless they are named, as chmod(1) does.
                if !is_dir {
                    mask |= (if self.who & 4 != 0 { 0o4000 } else { 0 })
                        | (if self.who & 2 != 0 { 0o2000 } else { 0 });
                }
                (bits & !mask) | value
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_do_what_chmod_does() {
        for (mode, bits, dir, want) in [
            ("755", 0o600, false, 0o755),
            ("4755", 0, false, 0o4755),
            ("0", 0o777, false, 0),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("go=", 0o777, false, 0o700),
            ("g=u", 0o640, false, 0o660),
            ("u+s,g+s,+t", 0o755, false, 0o7755),
            ("u+x-w", 0o600, false, 0o500),
            ("u=rw", 0o4755, false, 0o655),
        ] {
            let parsed: Mode = mode.parse().unwrap();
            assert_eq!(parsed.apply(bits, dir), want, "{mode} on {bits:o}");
        }
        for bad in [
            "",
            "888",
            "77777",
            "x",
            "u",
            "z+x",
            "u+q",
            "rwxr-xr-x",
            "u=ug",
        ] {
            assert!(bad.parse::<Mode>().is_err(), "{bad}");
        }
    }
}
