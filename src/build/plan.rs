//! The graph of stages: which of them a target needs, and what each needs.

use std::collections::{BTreeMap, BTreeSet};

use super::expand::{self, Form};
use super::instruction::{Stage, Step};
use super::parser::{Dockerfile, located};
use super::scope;
use crate::base::{Error, Hint as _, Result};
use crate::spec::platform::Platform;

/// More stages than any person writes.
const STAGES: usize = 1000;

/// What is to be built.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// `--target`: a stage's name or number; absent means the last.
    pub target: Option<&'a str>,
    /// `--build-arg`.
    pub args: &'a BTreeMap<String, String>,
    /// Names of `--build-context`.
    pub contexts: &'a BTreeSet<String>,
    /// The platform of the image.
    pub platform: Platform,
    /// The platform of this machine.
    pub host: Platform,
    /// `--from`: what the first `FROM` starts from instead.
    pub first_from: Option<&'a str>,
    /// Build every stage, needed or not (`--skip-unused-stages=false`).
    pub all_stages: bool,
}

/// What a stage starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// A named context.
    Context(String),
    /// An image.
    Image(String),
}

/// Where `--from` leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// A stage.
    Stage(usize),
    /// A named context.
    Context(String),
    /// An image.
    Image(String),
}

/// One stage of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it starts from.
    pub base: Base,
    /// The platform of its image and of what it runs.
    pub platform: Platform,
    /// The stages that it needs, its base included.
    pub needs: BTreeSet<usize>,
    /// Values of global and automatic arguments, which `ARG` without a default gives it.
    pub global: BTreeMap<String, String>,
}

/// The graph for one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For each stage of the file.
    pub nodes: Vec<Node>,
    /// The stage whose image is wanted.
    pub target: usize,
    /// The stages needed for it, each behind those that it needs.
    pub order: Vec<usize>,
    /// Names asked for in `FROM` that have no value.
    pub missing: BTreeSet<String>,
}

/// Plans a build.
///
/// # Errors
/// `Invalid` for an unknown target, a stage that needs itself, an empty base.
pub fn plan(file: &Dockerfile, request: &Request<'_>) -> Result<Plan> {
    if file.stages.len() > STAGES {
        return Err(
            Error::invalid(format!("{} has more than {STAGES} stages", file.name))
                .hint("split the build into several images"),
        );
    }
    let target = target(file, request.target)?;
    let mut missing = BTreeSet::new();
    let mut nodes = Vec::with_capacity(file.stages.len());
    let target_name = file.stages[target].name.clone();
    let name = target_name.unwrap_or_else(|| "default".to_owned());
    let global = globals(file, request, &name)?;
    for (index, stage) in file.stages.iter().enumerate() {
        let node = node(file, request, index, stage, &global, &mut missing)
            .map_err(|e| located(e, &file.name, stage.line))?;
        nodes.push(node);
    }
    let wanted: Vec<usize> = match request.all_stages {
        true => (0..=target).chain([target]).collect(),
        false => vec![target],
    };
    let order = order(file, &nodes, &wanted)?;
    Ok(Plan {
        nodes,
        target,
        order,
        missing,
    })
}

fn target(file: &Dockerfile, wanted: Option<&str>) -> Result<usize> {
    let last = file.stages.len() - 1;
    let Some(wanted) = wanted.filter(|w| !w.is_empty()) else {
        return Ok(last);
    };
    let lower = wanted.to_ascii_lowercase();
    let named = file
        .stages
        .iter()
        .position(|s| s.name.as_deref() == Some(&lower));
    if let Some(index) = named.or_else(|| lower.parse().ok().filter(|n| *n <= last)) {
        return Ok(index);
    }
    let names: Vec<&str> = file
        .stages
        .iter()
        .filter_map(|s| s.name.as_deref())
        .collect();
    let hint = match names.is_empty() {
        true => format!("no stage has a name; number 0 to {last} works"),
        false => format!("there are {}", names.join(", ")),
    };
    Err(Error::invalid(format!("{} has no stage {wanted:?}", file.name)).hint(hint))
}

/// Global arguments with their values, the automatic ones first.
fn globals(
    file: &Dockerfile,
    request: &Request<'_>,
    target: &str,
) -> Result<BTreeMap<String, String>> {
    let mut values = scope::automatic(&request.platform, &request.host, target);
    // An automatic argument that is given by hand is what the person says.
    for (name, value) in request.args {
        if let Some(slot) = values.get_mut(name) {
            slot.clone_from(value);
        }
    }
    for (name, default, line) in &file.globals {
        let at = |e| located(e, &file.name, *line);
        let lookup = |name: &str| values.get(name).cloned();
        let expand = |text: &str| {
            expand::word(text, file.directives.escape, Form::Word, &lookup).map_err(at)
        };
        let name = expand(name)?;
        let value = match (request.args.get(&name), default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => Some(expand(default)?),
            (None, None) => values.get(&name).cloned(),
        };
        match value {
            Some(value) => values.insert(name, value),
            None => values.remove(&name),
        };
    }
    Ok(values)
}

struct Names<'a> {
    values: &'a BTreeMap<String, String>,
    missing: std::cell::RefCell<&'a mut BTreeSet<String>>,
}

impl expand::Lookup for Names<'_> {
    fn value(&self, name: &str) -> Option<String> {
        self.values.get(name).cloned()
    }

    fn missing(&self, name: &str) {
        self.missing.borrow_mut().insert(name.to_owned());
    }
}

fn node(
    file: &Dockerfile,
    request: &Request<'_>,
    index: usize,
    stage: &Stage,
    global: &BTreeMap<String, String>,
    missing: &mut BTreeSet<String>,
) -> Result<Node> {
    let names = Names {
        values: global,
        missing: missing.into(),
    };
    let escape = file.directives.escape;
    let expand = |text: &str| expand::word(text, escape, Form::Word, &names);
    let text = match (index, request.first_from) {
        (0, Some(other)) => other.to_owned(),
        _ => expand(&stage.base)?,
    };
    if text.trim().is_empty() {
        return Err(Error::invalid(format!("FROM {} names nothing", stage.base))
            .hint("give the variable a value with --build-arg, or a default with ARG"));
    }
    let lower = text.to_ascii_lowercase();
    let earlier = file.stages[..index]
        .iter()
        .rposition(|s| s.name.as_deref() == Some(&lower));
    let base = if request.contexts.contains(&text) {
        Base::Context(text)
    } else if let Some(earlier) = earlier {
        Base::Stage(earlier)
    } else if text == "scratch" {
        Base::Scratch
    } else {
        Base::Image(text)
    };
    let platform = match &stage.platform {
        Some(text) => {
            let text = expand(text)?;
            if text.is_empty() {
                return Err(Error::invalid("FROM --platform is empty")
                    .hint("give the variable a value with --build-arg"));
            }
            text.parse()?
        }
        None => request.platform.clone(),
    };
    let mut needs = BTreeSet::new();
    if let Base::Stage(n) = base {
        needs.insert(n);
    }
    for step in &stage.steps {
        for from in step.instruction.froms() {
            match resolve(file, request.contexts, index, &from) {
                Ok(From::Stage(n)) => {
                    needs.insert(n);
                }
                Ok(_) => {}
                Err(e) => return Err(located(e, &file.name, step.line)),
            }
        }
    }
    Ok(Node {
        base,
        platform,
        needs,
        global: global.clone(),
    })
}

/// Where a `--from` in stage `own` leads: a named context, a stage by name or number, an image.
///
/// # Errors
/// `Invalid` for the stage itself, and for a number that no stage has.
pub fn resolve(
    file: &Dockerfile,
    contexts: &BTreeSet<String>,
    own: usize,
    from: &str,
) -> Result<From> {
    if contexts.contains(from) {
        return Ok(From::Context(from.to_owned()));
    }
    let lower = from.to_ascii_lowercase();
    let named = file
        .stages
        .iter()
        .position(|s| s.name.as_deref() == Some(&lower));
    let found = match (named, lower.parse::<usize>()) {
        (Some(n), _) => n,
        (None, Ok(n)) if n < file.stages.len() => n,
        (None, Ok(n)) => {
            return Err(
                Error::invalid(format!("there is no stage {n}")).hint(format!(
                    "stages are numbered 0 to {}",
                    file.stages.len() - 1
                )),
            );
        }
        (None, Err(_)) => return Ok(From::Image(from.to_owned())),
    };
    if found == own {
        return Err(Error::invalid(format!("stage {from:?} needs itself"))
            .hint("take the files from an earlier stage"));
    }
    Ok(From::Stage(found))
}

/// Needed stages, each behind its needs; a circle is an error.
fn order(file: &Dockerfile, nodes: &[Node], wanted: &[usize]) -> Result<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; nodes.len()];
    let mut order = Vec::new();
    // Without recursion: the file says how deep it goes.
    let mut stack: Vec<(usize, bool)> = wanted.iter().rev().map(|n| (*n, false)).collect();
    while let Some((n, leaving)) = stack.pop() {
        if leaving {
            marks[n] = Mark::Done;
            order.push(n);
            continue;
        }
        match marks[n] {
            Mark::Done => continue,
            Mark::Open => {
                return Err(Error::invalid(format!(
                    "{}:{}: the stage needs itself by way of others",
                    file.name, file.stages[n].line
                ))
                .hint("break the circle of COPY --from and RUN --mount=from"));
            }
            Mark::New => {}
        }
        marks[n] = Mark::Open;
        stack.push((n, true));
        for need in nodes[n].needs.iter().rev() {
            if marks[*need] == Mark::Open {
                return Err(Error::invalid(format!(
                    "{}:{}: the stage needs itself by way of others",
                    file.name, file.stages[*need].line
                ))
                .hint("break the circle of COPY --from and RUN --mount=from"));
            }
            stack.push((*need, false));
        }
    }
    Ok(order)
}

/// The triggers of a base image as steps, and the stages that they need.
///
/// # Errors
/// `Invalid` for a trigger that is none.
pub fn triggers(
    file: &Dockerfile,
    contexts: &BTreeSet<String>,
    own: usize,
    texts: &[String],
) -> Result<(Vec<Step>, BTreeSet<usize>)> {
    let line = file.stages[own].line;
    let mut needs = BTreeSet::new();
    let mut steps = Vec::new();
    for text in texts {
        let step = super::parser::trigger(text, line)?;
        for from in step.instruction.froms() {
            if let From::Stage(n) = resolve(file, contexts, own, &from)
                .hint(|| format!("the base image asks for it: ONBUILD {text}"))?
            {
                needs.insert(n);
            }
        }
        steps.push(step);
    }
    Ok((steps, needs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::parse;

    fn planned(text: &str, target: Option<&str>, args: &[(&str, &str)]) -> Result<Plan> {
        let file = parse("Dockerfile", text)?;
        let args = args.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        let host: Platform = "linux/amd64".parse()?;
        plan(
            &file,
            &Request {
                target,
                args: &args.collect(),
                contexts: &BTreeSet::from(["ctx".to_owned()]),
                platform: "linux/arm64".parse()?,
                host,
                first_from: None,
                all_stages: false,
            },
        )
    }

    #[test]
    fn only_needed_stages_are_built_each_behind_its_needs() {
        let text = "FROM a AS one\nFROM b AS unused\nFROM one AS two\nFROM scratch\nCOPY --from=two /x /\n\
                    RUN --mount=from=0,target=/m x";
        let plan = planned(text, None, &[]).unwrap();
        assert_eq!(plan.order, [0, 2, 3]);
        assert_eq!(plan.nodes[2].base, Base::Stage(0));
        let early = planned(text, Some("ONE"), &[]).unwrap();
        assert_eq!(early.order, [0]);
        assert_eq!(planned(text, Some("1"), &[]).unwrap().order, [1]);
        assert!(planned(text, Some("no"), &[]).unwrap_err().hints()[0].contains("one"));
    }

    #[test]
    fn arguments_before_from_choose_bases_and_platforms() {
        let text = "ARG V=1\nARG IMG=a:$V\nFROM --platform=$BUILDPLATFORM $IMG AS x\nFROM ctx\nFROM ${NONE:-scratch}";
        let plan = planned(text, None, &[("V", "2")]).unwrap();
        assert_eq!(plan.nodes[0].base, Base::Image("a:2".into()));
        assert_eq!(plan.nodes[0].platform.to_string(), "linux/amd64");
        assert_eq!(plan.nodes[1].base, Base::Context("ctx".into()));
        assert_eq!(plan.nodes[2].base, Base::Scratch);
        assert_eq!(plan.nodes[2].platform.architecture, "arm64");
        assert_eq!(plan.nodes[0].global["TARGETARCH"], "arm64");
        let e = planned("FROM $NONE", None, &[]).unwrap_err();
        assert!(e.what().contains("Dockerfile:1"), "{e}");
    }

    #[test]
    fn circles_and_missing_stages_are_told() {
        for text in [
            "FROM a AS x\nCOPY --from=x a b",
            "FROM a AS x\nCOPY --from=y a b\nFROM a AS y\nCOPY --from=x a b",
            "FROM a\nCOPY --from=3 a b",
        ] {
            assert!(planned(text, None, &[]).is_err(), "{text}");
        }
        assert!(planned("FROM a\nCOPY --from=other/image a b", None, &[]).is_ok());
        // A later stage may be named, as long as there is no circle.
        let plan = planned(
            "FROM a AS x\nCOPY --from=y a b\nFROM a AS y",
            Some("x"),
            &[],
        )
        .unwrap();
        assert_eq!(plan.order, [1, 0]);
    }

    #[test]
    fn triggers_name_the_stages_that_they_need() {
        let file = parse("f", "FROM a AS dep\nFROM b").unwrap();
        let texts = ["COPY --from=dep /a /b".to_owned(), "RUN x".to_owned()];
        let (steps, needs) = triggers(&file, &BTreeSet::new(), 1, &texts).unwrap();
        assert_eq!((steps.len(), needs), (2, BTreeSet::from([0])));
        assert!(triggers(&file, &BTreeSet::new(), 1, &["FROM x".to_owned()]).is_err());
    }
}
