//! The words between `compose` and its command, put where clap reads them; other programs' names.

/// Options of `compose` itself that take a value: short and long.
const VALUED: &[(Option<char>, &str)] = &[
    (Some('f'), "file"),
    (Some('p'), "project-name"),
    (None, "profile"),
    (None, "env-file"),
    (None, "project-directory"),
    (None, "progress"),
    (None, "ansi"),
    (None, "parallel"),
];

/// Options that take none.
const SWITCHES: &[&str] = &["all-resources", "compatibility", "dry-run"];

/// A command line whose options before the command stand behind it, as `compose` would have them
/// anywhere. Called by the name of another compose, the word `compose` is put in.
pub fn line(words: Vec<String>) -> Vec<String> {
    let name = words.first().map_or("", String::as_str);
    let own = matches!(
        name.rsplit('/').next(),
        Some("docker-compose" | "podman-compose")
    );
    let mut words = words;
    if own {
        words.insert(1, "compose".to_owned());
        // What docker calls of a plugin.
        if words
            .get(2)
            .is_some_and(|w| w == "docker-cli-plugin-metadata")
        {
            return words;
        }
    }
    let Some(at) = words
        .iter()
        .skip(1)
        .position(|w| !w.starts_with('-'))
        .map(|i| i + 1)
    else {
        return words;
    };
    if words[at] != "compose" {
        return words;
    }
    let mut moved: Vec<String> = Vec::new();
    let mut rest = words[at + 1..].iter().peekable();
    let mut behind: Vec<String> = Vec::new();
    while let Some(word) = rest.next() {
        if !word.starts_with('-') {
            behind.push(word.clone());
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            let (key, value) = match long.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (long, None),
            };
            if SWITCHES.contains(&key) || key == "verbose" {
                if key != "verbose" {
                    moved.push(word.clone());
                }
                continue;
            }
            if VALUED.iter().any(|(_, l)| *l == key)
                && let Some(value) = value.or_else(|| rest.next().cloned())
            {
                moved.push(format!("--{key}={value}"));
                continue;
            }
            if key == "version" {
                behind.push("version".to_owned());
                continue;
            }
        } else if let Some(letter) = word.chars().nth(1) {
            if letter == 'v' && word.len() == 2 {
                behind.push("version".to_owned());
                continue;
            }
            let valued = VALUED.iter().find(|(s, _)| *s == Some(letter));
            if let Some((_, long)) = valued {
                let tail = word[2..].trim_start_matches('=');
                let value = match tail.is_empty() {
                    true => rest.next().cloned(),
                    false => Some(tail.to_owned()),
                };
                if let Some(value) = value {
                    moved.push(format!("--{long}={value}"));
                    continue;
                }
            }
        }
        // Not ours: clap says what is wrong with it.
        behind.push(word.clone());
    }
    let mut made: Vec<String> = words[..=at].to_vec();
    let verb = behind
        .iter()
        .position(|w| !w.starts_with('-'))
        .map(|i| i + 1);
    let verb = verb.unwrap_or(behind.len());
    made.extend(behind[..verb].iter().cloned());
    if !behind.is_empty() {
        made.extend(moved);
    }
    made.extend(behind[verb..].iter().cloned());
    made.extend(rest.cloned());
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_before_the_command_move_behind_it() {
        for (given, wanted) in [
            ("c compose up -d", "c compose up -d"),
            (
                "c compose -f a.yaml -p x up -d -f",
                "c compose up --file=a.yaml --project-name=x -d -f",
            ),
            (
                "c compose --profile=a --dry-run run web sh -p",
                "c compose run --profile=a --dry-run web sh -p",
            ),
            (
                "/usr/bin/docker-compose -fa ps",
                "/usr/bin/docker-compose compose ps --file=a",
            ),
            ("c compose --bogus up", "c compose --bogus up"),
            ("c compose --version", "c compose version"),
            ("c run compose -f x", "c run compose -f x"),
            (
                "c --log-level=debug compose -p x ls",
                "c --log-level=debug compose ls --project-name=x",
            ),
        ] {
            let words = given.split(' ').map(str::to_owned).collect();
            assert_eq!(line(words).join(" "), wanted);
        }
    }
}
