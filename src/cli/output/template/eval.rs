//! The tree over a value: text, or the headers of a table.

use std::borrow::Cow;

use serde_json::Value;

use super::functions;
use super::parse::{Call, Node, Operand, Pipe, Tree};

/// Templates may call each other so deep.
const DEPTH: usize = 100;

/// Objects that are maps in podman and docker, where a missing key is `<no value>`, and not
/// structs, where it is an error.
const MAPS: &[&str] = &[
    "Annotations",
    "Config",
    "Data",
    "DriverOpts",
    "ExposedPorts",
    "GraphOptions",
    "GraphStatus",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "Registries",
    "Storage",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];

/// What an expression gives.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Val<'a> {
    /// A value, and the name of the field that it came from.
    Json(Cow<'a, Value>, &'a str),
    /// A key that a map does not have.
    Missing,
}

impl<'a> Val<'a> {
    pub(super) fn own(value: impl Into<Value>) -> Self {
        Self::Json(Cow::Owned(value.into()), "")
    }

    pub(super) fn value(&self) -> &Value {
        match self {
            Self::Json(value, _) => value,
            Self::Missing => &Value::Null,
        }
    }

    fn owned<'b>(self) -> Val<'b> {
        match self {
            Self::Json(value, _) => Val::Json(Cow::Owned(value.into_owned()), ""),
            Self::Missing => Val::Missing,
        }
    }
}

/// Renders a template.
///
/// # Errors
/// `line: what does not fit`.
pub(super) fn render(tree: &Tree, value: &Value) -> Result<String, String> {
    let dot = Val::Json(Cow::Borrowed(value), "");
    let mut run = Run {
        tree,
        out: String::new(),
        variables: vec![(String::new(), dot.clone())],
        depth: 0,
    };
    run.nodes(&tree.nodes, &dot)?;
    Ok(run.out)
}

enum Flow {
    Next,
    Break,
    Continue,
}

struct Run<'t, 'v> {
    tree: &'t Tree,
    out: String,
    variables: Vec<(String, Val<'v>)>,
    depth: usize,
}

impl<'v> Run<'_, 'v> {
    fn nodes(&mut self, nodes: &[Node], dot: &Val<'v>) -> Result<Flow, String> {
        for node in nodes {
            match self.node(node, dot)? {
                Flow::Next => {}
                other => return Ok(other),
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &Node, dot: &Val<'v>) -> Result<Flow, String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    self.out.push_str(&functions::shown(&value));
                }
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::If(pipe, then, otherwise) => {
                let scope = self.variables.len();
                let value = self.pipe(pipe, dot)?;
                let branch = if functions::truth(value.value()) {
                    then
                } else {
                    otherwise
                };
                let flow = self.nodes(branch, dot)?;
                self.variables.truncate(scope);
                return Ok(flow);
            }
            Node::With(pipe, then, otherwise) => {
                let scope = self.variables.len();
                let value = self.pipe(pipe, dot)?;
                let flow = if functions::truth(value.value()) {
                    self.nodes(then, &value)?
                } else {
                    self.nodes(otherwise, dot)?
                };
                self.variables.truncate(scope);
                return Ok(flow);
            }
            Node::Range(pipe, then, otherwise) => return self.range(pipe, then, otherwise, dot),
            Node::Template(name, pipe) => {
                let value = match pipe {
                    Some(pipe) => self.pipe(pipe, dot)?,
                    None => Val::Missing,
                };
                let tree = self.tree;
                let body = tree
                    .named
                    .get(name)
                    .ok_or_else(|| format!("1: template {name:?} not defined"))?;
                self.depth += 1;
                if self.depth > DEPTH {
                    return Err("1: exceeded maximum template depth".to_owned());
                }
                let outer =
                    std::mem::replace(&mut self.variables, vec![(String::new(), value.clone())]);
                self.nodes(body, &value)?;
                self.variables = outer;
                self.depth -= 1;
            }
        }
        Ok(Flow::Next)
    }

    fn range(
        &mut self,
        pipe: &Pipe,
        then: &[Node],
        otherwise: &[Node],
        dot: &Val<'v>,
    ) -> Result<Flow, String> {
        let scope = self.variables.len();
        let over = self.range_value(pipe, dot)?;
        let items = elements(over).map_err(|what| at(pipe, &what))?;
        if items.is_empty() {
            let flow = self.nodes(otherwise, dot)?;
            self.variables.truncate(scope);
            return Ok(flow);
        }
        for (key, item) in items {
            self.variables.truncate(scope);
            match pipe.variables.as_slice() {
                [] => {}
                [element] => self.set(element, item.clone(), pipe.assigns),
                [index, element, ..] => {
                    self.set(index, key, false);
                    self.set(element, item.clone(), false);
                }
            }
            if let Flow::Break = self.nodes(then, &item)? {
                break;
            }
        }
        self.variables.truncate(scope);
        Ok(Flow::Next)
    }

    fn set(&mut self, name: &str, value: Val<'v>, assigns: bool) {
        if assigns && let Some(slot) = self.variables.iter_mut().rev().find(|(n, _)| n == name) {
            slot.1 = value;
            return;
        }
        self.variables.push((name.to_owned(), value));
    }

    /// A pipeline's value; its variable is set.
    fn pipe(&mut self, pipe: &Pipe, dot: &Val<'v>) -> Result<Val<'v>, String> {
        let value = self.range_value(pipe, dot)?;
        if let [name] = pipe.variables.as_slice() {
            self.set(name, value.clone(), pipe.assigns);
        }
        Ok(value)
    }

    /// A pipeline's value; its variables are left alone.
    fn range_value(&mut self, pipe: &Pipe, dot: &Val<'v>) -> Result<Val<'v>, String> {
        let mut last = None;
        for call in &pipe.commands {
            last = Some(self.call(call, dot, last.take())?);
        }
        Ok(last.unwrap_or(Val::Missing))
    }

    fn call(
        &mut self,
        call: &Call,
        dot: &Val<'v>,
        piped: Option<Val<'v>>,
    ) -> Result<Val<'v>, String> {
        let wrong = |what: String| format!("{}: {what}", call.line);
        let Some((first, arguments)) = call.operands.split_first() else {
            return Err(wrong("missing value".to_owned()));
        };
        let Operand::Function(name) = first else {
            if piped.is_some() {
                return Err(wrong(format!("{} is not a function", text_of(first))));
            }
            if matches!(first, Operand::Nil) {
                return Err(wrong("nil is not a command".to_owned()));
            }
            if let (Operand::Field(path), [Operand::Literal(Value::String(key))]) =
                (first, arguments)
                && path.len() == 1
                && path[0] == "Label"
            {
                return Ok(label(dot, key));
            }
            return self.operand(first, dot, &call.line);
        };
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for (n, argument) in arguments.iter().enumerate() {
            let value = match argument {
                Operand::Function(name) => functions::call(name, Vec::new()).map_err(wrong)?,
                argument => self.operand(argument, dot, &call.line)?,
            };
            // `and` and `or` look at no more than they need.
            let decided = match name.as_str() {
                "and" => !functions::truth(value.value()),
                "or" => functions::truth(value.value()),
                _ => false,
            };
            values.push(value);
            if decided && (n + 1 < arguments.len() || piped.is_some()) {
                return Ok(values.pop().unwrap_or(Val::Missing));
            }
        }
        values.extend(piped);
        functions::call(name, values).map_err(|what| wrong(format!("error calling {name}: {what}")))
    }

    fn operand(&mut self, operand: &Operand, dot: &Val<'v>, line: &str) -> Result<Val<'v>, String> {
        let (start, path) = match operand {
            Operand::Dot => return Ok(dot.clone()),
            Operand::Nil => return Ok(Val::own(Value::Null)),
            Operand::Literal(value) => return Ok(Val::own(value.clone())),
            Operand::Function(name) => return functions::call(name, Vec::new()),
            Operand::Field(path) => (dot.clone(), path),
            Operand::Variable(name, path) => {
                let value = self.variables.iter().rev().find(|(n, _)| n == name);
                (value.map_or(Val::Missing, |(_, v)| v.clone()), path)
            }
            Operand::Group(pipe, path) => (self.pipe(pipe, dot)?, path),
        };
        let mut value = start;
        for name in path {
            value = field(value, name).map_err(|what| {
                format!(
                    "{line}: executing \"format\" at <{}>: {what}",
                    text_of(operand)
                )
            })?;
        }
        Ok(value)
    }
}

/// `.Label "key"`, the one method that docker and podman have: a label's value, or nothing.
fn label<'v>(dot: &Val<'v>, key: &str) -> Val<'v> {
    let value = dot.value().get("Labels").and_then(|labels| labels.get(key));
    Val::own(
        value
            .cloned()
            .unwrap_or_else(|| Value::String(String::new())),
    )
}

fn at(pipe: &Pipe, what: &str) -> String {
    let line = pipe.commands.first().map_or("1", |c| c.line.as_str());
    format!("{line}: {what}")
}

/// How an operand was written, for errors.
fn text_of(operand: &Operand) -> String {
    let path = |path: &[String]| path.iter().map(|p| format!(".{p}")).collect::<String>();
    match operand {
        Operand::Dot => ".".to_owned(),
        Operand::Nil => "nil".to_owned(),
        Operand::Literal(value) => value.to_string(),
        Operand::Field(fields) => path(fields),
        Operand::Variable(name, fields) => format!("${name}{}", path(fields)),
        Operand::Function(name) => name.clone(),
        Operand::Group(_, fields) => format!("(…){}", path(fields)),
    }
}

/// A member of an object: by its exact name, else without regard to case, as the JSON of `info`
/// has other names than podman's structs.
fn field<'v>(value: Val<'v>, name: &str) -> Result<Val<'v>, String> {
    let (value, came_from) = match value {
        Val::Missing => return Err(format!("nil data; no entry for key {name:?}")),
        Val::Json(value, came_from) => (value, came_from),
    };
    let absent = |object: &Value| match object {
        Value::Object(map) if is_map(came_from, map) => Ok(Val::Missing),
        Value::Null => Err(format!("nil pointer evaluating .{name}")),
        Value::Object(_) => Err(format!("can't evaluate field {name}")),
        other => Err(format!(
            "can't evaluate field {name} in type {}",
            functions::type_name(other)
        )),
    };
    match value {
        Cow::Borrowed(Value::Object(map)) => {
            let found = map
                .get_key_value(name)
                .or_else(|| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)));
            match found {
                Some((key, value)) => Ok(Val::Json(Cow::Borrowed(value), key)),
                None => absent(value.as_ref()),
            }
        }
        Cow::Owned(Value::Object(ref map)) => {
            let found = map.get(name).or_else(|| {
                map.iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value)
            });
            match found {
                Some(found) => Ok(Val::own(found.clone())),
                None => absent(&value),
            }
        }
        other => absent(&other),
    }
}

fn is_map(came_from: &str, map: &serde_json::Map<String, Value>) -> bool {
    MAPS.iter().any(|name| name.eq_ignore_ascii_case(came_from))
        // A struct's fields are words; anything else is a key that somebody chose.
        || map.keys().any(|key| key.contains(['.', '/', '-', ' ']))
}

/// What a range walks over, with keys.
fn elements(over: Val<'_>) -> Result<Vec<(Val<'_>, Val<'_>)>, String> {
    let value = match over {
        Val::Missing => return Ok(Vec::new()),
        Val::Json(value, _) => value,
    };
    let number = |n: usize| Val::own(n as u64);
    match value {
        Cow::Borrowed(Value::Array(items)) => Ok(items
            .iter()
            .enumerate()
            .map(|(n, item)| (number(n), Val::Json(Cow::Borrowed(item), "")))
            .collect()),
        Cow::Owned(Value::Array(items)) => Ok(items
            .into_iter()
            .enumerate()
            .map(|(n, item)| (number(n), Val::own(item)))
            .collect()),
        Cow::Borrowed(Value::Object(map)) => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| key.as_str());
            Ok(pairs
                .into_iter()
                .map(|(key, item)| (Val::own(key.as_str()), Val::Json(Cow::Borrowed(item), "")))
                .collect())
        }
        Cow::Owned(Value::Object(map)) => {
            let mut pairs: Vec<_> = map.into_iter().collect();
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
            Ok(pairs
                .into_iter()
                .map(|(key, item)| (Val::own(key), Val::own(item)))
                .collect())
        }
        ref other if other.is_null() => Ok(Vec::new()),
        other => match other.as_u64() {
            Some(count) if count <= 1_000_000 => {
                Ok((0..count).map(|n| (Val::own(n), Val::own(n))).collect())
            }
            _ => Err(format!(
                "range can't iterate over {}",
                functions::shown(&Val::Json(other, "").owned())
            )),
        },
    }
}

/// The header line of a table.
pub(super) fn headers(tree: &Tree, names: &[(&str, &str)]) -> String {
    let mut line = String::new();
    header_nodes(&tree.nodes, names, &mut line);
    line
}

fn header_nodes(nodes: &[Node], names: &[(&str, &str)], line: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => line.push_str(text),
            Node::Action(pipe) => {
                if let Some(name) = first_field(pipe) {
                    line.push_str(&header(name, names));
                }
            }
            Node::If(_, then, _) | Node::With(_, then, _) | Node::Range(_, then, _) => {
                header_nodes(then, names, line);
            }
            Node::Template(..) | Node::Break | Node::Continue => {}
        }
    }
}

fn first_field(pipe: &Pipe) -> Option<&str> {
    let operands = pipe.commands.iter().flat_map(|c| &c.operands);
    operands.into_iter().find_map(|operand| match operand {
        Operand::Field(path) | Operand::Variable(_, path) => path.last().map(String::as_str),
        Operand::Group(pipe, path) => path
            .last()
            .map(String::as_str)
            .or_else(|| first_field(pipe)),
        _ => None,
    })
}

/// `CreatedAt` is `CREATED AT`, `ID` is `ID`, `ImageID` is `IMAGE ID`.
fn header(field: &str, names: &[(&str, &str)]) -> String {
    if let Some((_, header)) = names.iter().find(|(name, _)| *name == field) {
        return (*header).to_owned();
    }
    let mut result = String::new();
    let mut lower_before = false;
    for c in field.chars() {
        if c.is_uppercase() && lower_before {
            result.push(' ');
        }
        lower_before = c.is_lowercase() || c.is_ascii_digit();
        result.extend(c.to_uppercase());
    }
    result
}
