//! `image trust`: what policy.json says, and changing it.

use std::path::PathBuf;

use crate::base::fs::{self as files, Durability};
use crate::base::{Context as _, Error, Kind, Result};
use crate::operations::session::Session;
use crate::registry::policy::{Policy, Rule, SYSTEM, Type, own_path};
use crate::registry::trust::lookaside::Lookaside;
use crate::spec::reference::Reference;

/// One line of `image trust show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `all`, `repository` (the transport docker), or another transport.
    pub transport: String,
    /// The scope; `default`.
    pub name: String,
    /// `accept`, `reject`, `signed` or `sigstoreSigned`.
    pub kind: &'static str,
    /// The keys: their files, or `<data>`.
    pub keys: Vec<String>,
    /// Where signatures lie.
    pub store: Option<String>,
}

/// The policy as lines.
///
/// # Errors
/// `Invalid` for a malformed file.
pub fn show(session: &Session) -> Result<Vec<Line>> {
    let policy = policy(session)?;
    let lookaside = Lookaside::load(&session.env)?;
    let mut lines = Vec::new();
    let mut add = |transport: &str, name: &str, rules: &[Rule]| {
        for rule in rules {
            let reference = Reference::parse_normalized(name).ok();
            let store = reference
                .filter(|_| transport == "repository")
                .and_then(|reference| lookaside.place(&reference));
            lines.push(Line {
                transport: transport.to_owned(),
                name: name.to_owned(),
                kind: word(rule.kind),
                keys: keys(rule),
                store,
            });
        }
    };
    add("all", "default", &policy.default);
    for (transport, scopes) in &policy.transports {
        let shown = match transport.as_str() {
            "docker" => "repository",
            other => other,
        };
        for (scope, rules) in scopes {
            add(shown, scope, rules);
        }
    }
    Ok(lines)
}

fn word(kind: Type) -> &'static str {
    match kind {
        Type::InsecureAcceptAnything => "accept",
        Type::Reject => "reject",
        Type::SignedBy => "signed",
        Type::SigstoreSigned => "sigstoreSigned",
    }
}

fn keys(rule: &Rule) -> Vec<String> {
    let files = rule.key_paths.iter().flatten().chain(&rule.key_path);
    let mut keys: Vec<String> = files.map(|p| p.display().to_string()).collect();
    let data = rule.key_datas.iter().flatten().chain(&rule.key_data);
    keys.extend(data.map(|_| "<data>".to_owned()));
    keys
}

/// The policy in force; without a file: everything is accepted.
///
/// # Errors
/// `Invalid` for a malformed file.
pub fn policy(session: &Session) -> Result<Policy> {
    let found = Policy::find(&session.env)?;
    Ok(found.map_or_else(open_policy, |(_, policy)| policy))
}

fn open_policy() -> Policy {
    Policy {
        default: vec![Rule {
            kind: Type::InsecureAcceptAnything,
            ..Rule::default()
        }],
        ..Policy::default()
    }
}

/// The text of the policy's file as it is.
///
/// # Errors
/// `NotFound` without one.
pub fn raw(session: &Session) -> Result<String> {
    let (path, _) =
        Policy::find(&session.env)?.ok_or_else(|| Error::not_found("there is no policy.json"))?;
    std::fs::read_to_string(&path).what(|| format!("cannot read {}", path.display()))
}

/// Changes what holds for a registry, a repository or `default`, in the caller's own file (root:
/// the machine's). Answers which file.
///
/// # Errors
/// `Invalid` for a type that needs keys and has none, or the other way round; `NotFound` for a key
/// that is not there.
pub fn set(session: &Session, scope: &str, kind: Type, keys: &[PathBuf]) -> Result<PathBuf> {
    let signed = matches!(kind, Type::SignedBy | Type::SigstoreSigned);
    if signed == keys.is_empty() {
        return Err(if signed {
            Error::invalid("trust by signature needs a public key")
                .hint("name it: --pubkeysfile FILE")
        } else {
            Error::invalid("accept and reject take no keys")
        });
    }
    let mut paths = Vec::new();
    for key in keys {
        let path = std::path::absolute(key).what(|| "cannot find the key")?;
        if !path.is_file() {
            return Err(Error::not_found(format!(
                "there is no key {}",
                path.display()
            )));
        }
        paths.push(path);
    }
    let mut rule = Rule {
        kind,
        key_type: (kind == Type::SignedBy).then(|| "GPGKeys".to_owned()),
        ..Rule::default()
    };
    match paths.as_slice() {
        [] => {}
        [one] => rule.key_path = Some(one.clone()),
        _ => rule.key_paths = Some(paths),
    }
    let own = if session.user.is_root {
        PathBuf::from(SYSTEM)
    } else {
        own_path(&session.env)
    };
    // The caller's file takes the place of the machine's: it begins as a copy of that.
    let mut policy = match Policy::read(&own)? {
        Some(policy) => policy,
        None => self::policy(session)?,
    };
    if scope == "default" {
        policy.default = vec![rule];
    } else {
        let docker = policy.transports.entry("docker".to_owned()).or_default();
        docker.insert(scope.to_owned(), vec![rule]);
    }
    let text = serde_json::to_string_pretty(&policy)
        .what_kind(Kind::Internal, || "cannot write the policy")?;
    if let Some(folder) = own.parent() {
        std::fs::create_dir_all(folder).what(|| format!("cannot make {}", folder.display()))?;
    }
    files::replace(
        &own,
        format!("{text}\n").as_bytes(),
        0o644,
        Durability::Durable,
    )?;
    Ok(own)
}
