//! Tokens to a tree.

use std::collections::BTreeMap;

use serde_json::Value;

use super::lex::{self, Kind, Token};

/// Parentheses and blocks may nest so deep.
const DEPTH: usize = 64;

/// A parsed template.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    /// `{{define}}`d ones.
    pub(super) named: BTreeMap<String, Vec<Node>>,
}

impl Tree {
    pub(super) fn begins_with_range_over_dot(&self) -> bool {
        matches!(
            self.nodes.first(),
            Some(Node::Range(pipe, ..))
                if matches!(pipe.commands.as_slice(),
                    [Call { operands, .. }] if matches!(operands.as_slice(), [Operand::Dot]))
        )
    }
}

/// A part of a template.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    If(Pipe, Vec<Self>, Vec<Self>),
    With(Pipe, Vec<Self>, Vec<Self>),
    Range(Pipe, Vec<Self>, Vec<Self>),
    Template(String, Option<Pipe>),
    Break,
    Continue,
}

/// `$x := a | b`.
#[derive(Clone, Debug)]
pub(super) struct Pipe {
    pub(super) variables: Vec<String>,
    /// `=` in place of `:=`.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Call>,
}

/// A command of a pipeline: an operand, or a function with its arguments.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) operands: Vec<Operand>,
    /// Line, for errors.
    pub(super) line: String,
}

/// One word of a command.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    Dot,
    Nil,
    Literal(Value),
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Function(String),
    Group(Box<Pipe>, Vec<String>),
}

/// Parses a template.
///
/// # Errors
/// `line: what is wrong`.
pub(super) fn parse(source: &str) -> Result<Tree, String> {
    let mut parser = Parser {
        source,
        tokens: lex::lex(source)?,
        at: 0,
        depth: 0,
        loops: 0,
        scopes: vec![vec![String::new()]],
        named: BTreeMap::new(),
    };
    let (nodes, end) = parser.block()?;
    if let Some(end) = end {
        return Err(parser.wrong(&format!("unexpected {{{{{end}}}}}")));
    }
    Ok(Tree {
        nodes,
        named: parser.named,
    })
}

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    loops: usize,
    scopes: Vec<Vec<String>>,
    named: BTreeMap<String, Vec<Node>>,
}

impl Parser<'_> {
    fn line(&self) -> String {
        let token = self.tokens.get(self.at).or(self.tokens.last());
        lex::place(self.source, token.map_or(0, |t| t.at))
    }

    fn wrong(&self, what: &str) -> String {
        format!("{}: {what}", self.line())
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|t| &t.kind)
    }

    fn next(&mut self) -> Option<Kind> {
        let kind = self.tokens.get(self.at).map(|t| t.kind.clone());
        self.at += 1;
        kind
    }

    fn deeper<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.wrong("nested too deeply"));
        }
        let result = parse(self);
        self.depth -= 1;
        result
    }

    fn close(&mut self) -> Result<(), String> {
        match self.next() {
            Some(Kind::Close) => Ok(()),
            _ => {
                self.at -= 1;
                Err(self.wrong("unexpected text in action"))
            }
        }
    }

    /// Nodes up to the end of the text, or `{{end}}` or `{{else…}}`, which is named and consumed
    /// up to the word itself.
    fn block(&mut self) -> Result<(Vec<Node>, Option<String>), String> {
        let mut nodes = Vec::new();
        loop {
            match self.next() {
                None => return Ok((nodes, None)),
                Some(Kind::Text(text)) => nodes.push(Node::Text(text)),
                Some(Kind::Open) => {
                    let word = match self.peek() {
                        Some(Kind::Word(word)) => word.clone(),
                        _ => String::new(),
                    };
                    match word.as_str() {
                        "end" | "else" => {
                            self.at += 1;
                            return Ok((nodes, Some(word)));
                        }
                        "if" | "with" | "range" => {
                            self.at += 1;
                            nodes.push(self.deeper(|p| p.control(&word))?);
                        }
                        "break" | "continue" => {
                            self.at += 1;
                            if self.loops == 0 {
                                return Err(
                                    self.wrong(&format!("{{{{{word}}}}} outside {{{{range}}}}"))
                                );
                            }
                            self.close()?;
                            nodes.push(if word == "break" {
                                Node::Break
                            } else {
                                Node::Continue
                            });
                        }
                        "define" => {
                            self.at += 1;
                            let name = self.name()?;
                            self.close()?;
                            let body = self.deeper(Self::body)?;
                            self.named.insert(name, body);
                        }
                        "block" => {
                            self.at += 1;
                            let name = self.name()?;
                            let pipe = self.pipe("block")?;
                            self.close()?;
                            let body = self.deeper(Self::body)?;
                            self.named.insert(name.clone(), body);
                            nodes.push(Node::Template(name, Some(pipe)));
                        }
                        "template" => {
                            self.at += 1;
                            let name = self.name()?;
                            let pipe = if self.peek() == Some(&Kind::Close) {
                                None
                            } else {
                                Some(self.pipe("template")?)
                            };
                            self.close()?;
                            nodes.push(Node::Template(name, pipe));
                        }
                        _ => {
                            let pipe = self.pipe("command")?;
                            self.close()?;
                            nodes.push(Node::Action(pipe));
                        }
                    }
                }
                Some(_) => return Err(self.wrong("unexpected token")),
            }
        }
    }

    /// Nodes up to `{{end}}`.
    fn body(&mut self) -> Result<Vec<Node>, String> {
        let (nodes, end) = self.block()?;
        if end.as_deref() != Some("end") {
            return Err(self.wrong("unexpected EOF"));
        }
        self.close()?;
        Ok(nodes)
    }

    fn name(&mut self) -> Result<String, String> {
        match self.next() {
            Some(Kind::Text2(name)) => Ok(name),
            _ => {
                self.at -= 1;
                Err(self.wrong("expected a quoted template name"))
            }
        }
    }

    /// The rest of `{{if …`, `{{with …` or `{{range …`, with its branches.
    fn control(&mut self, word: &str) -> Result<Node, String> {
        self.scopes.push(Vec::new());
        let pipe = self.pipe(word)?;
        self.close()?;
        self.loops += usize::from(word == "range");
        let (then, mut end) = self.block()?;
        self.loops -= usize::from(word == "range");
        let mut otherwise = Vec::new();
        if end.as_deref() == Some("else") {
            if let Some(Kind::Word(next)) = self.peek()
                && (next == "if" || next == "with")
            {
                let next = next.clone();
                self.at += 1;
                // It ends with the same {{end}}.
                otherwise.push(self.deeper(|p| p.control(&next))?);
                self.scopes.pop();
                return Ok(node(word, pipe, then, otherwise));
            }
            self.close()?;
            (otherwise, end) = self.block()?;
        }
        if end.as_deref() != Some("end") {
            return Err(self.wrong("unexpected EOF"));
        }
        self.close()?;
        self.scopes.pop();
        Ok(node(word, pipe, then, otherwise))
    }

    fn pipe(&mut self, context: &str) -> Result<Pipe, String> {
        let (variables, assigns) = self.declaration(context == "range")?;
        let mut commands = Vec::new();
        loop {
            let line = self.line();
            let operands = self.operands()?;
            match operands.first() {
                None => return Err(self.wrong(&format!("missing value for {context}"))),
                Some(Operand::Function(_)) => {}
                Some(first) => {
                    let literal = matches!(first, Operand::Literal(_) | Operand::Nil);
                    if !commands.is_empty() && (literal || matches!(first, Operand::Dot)) {
                        return Err(self.wrong("non executable command in pipeline"));
                    }
                    let method = matches!(first, Operand::Field(path) if *path == ["Label"]);
                    if operands.len() > 1 && !method {
                        return Err(self.wrong("can't give argument to non-function"));
                    }
                }
            }
            commands.push(Call { operands, line });
            if self.peek() == Some(&Kind::Pipe) {
                self.at += 1;
            } else {
                break;
            }
        }
        if !assigns && let Some(scope) = self.scopes.last_mut() {
            scope.extend(variables.iter().cloned());
        }
        Ok(Pipe {
            variables,
            assigns,
            commands,
        })
    }

    /// `$x :=`, `$x =`, and in a range `$i, $x :=`.
    fn declaration(&mut self, two: bool) -> Result<(Vec<String>, bool), String> {
        let kind = |n: usize| self.tokens.get(self.at + n).map(|t| &t.kind);
        let variable = |n: usize| match kind(n) {
            Some(Kind::Variable(name)) => Some(name.clone()),
            _ => None,
        };
        let Some(first) = variable(0) else {
            return Ok((Vec::new(), false));
        };
        match kind(1) {
            Some(Kind::Declare) => {
                self.at += 2;
                Ok((vec![first], false))
            }
            Some(Kind::Assign) => {
                self.known(&first)?;
                self.at += 2;
                Ok((vec![first], true))
            }
            Some(Kind::Comma) if two => match (variable(2), kind(3)) {
                (Some(second), Some(Kind::Declare)) => {
                    self.at += 4;
                    Ok((vec![first, second], false))
                }
                _ => Err(self.wrong("range can only initialize variables")),
            },
            _ => Ok((Vec::new(), false)),
        }
    }

    fn known(&self, name: &str) -> Result<(), String> {
        if self.scopes.iter().flatten().any(|n| n == name) {
            return Ok(());
        }
        Err(self.wrong(&format!("undefined variable \"${name}\"")))
    }

    fn operands(&mut self) -> Result<Vec<Operand>, String> {
        let mut operands = Vec::new();
        while let Some(kind) = self.peek().cloned() {
            let operand = match kind {
                Kind::Pipe | Kind::Close | Kind::RightParen => break,
                Kind::Dot => Operand::Dot,
                Kind::Text2(text) => Operand::Literal(Value::String(text)),
                Kind::Integer(n) => Operand::Literal(n.into()),
                Kind::Float(n) => Operand::Literal(n.into()),
                Kind::Word(word) => match word.as_str() {
                    "true" => Operand::Literal(true.into()),
                    "false" => Operand::Literal(false.into()),
                    "nil" => Operand::Nil,
                    name if super::functions::exists(name) => Operand::Function(word),
                    name => return Err(self.wrong(&format!("function {name:?} not defined"))),
                },
                Kind::Field { name, .. } => {
                    self.at += 1;
                    let mut path = vec![name];
                    path.extend(self.glued_fields());
                    operands.push(Operand::Field(path));
                    continue;
                }
                Kind::Variable(name) => {
                    self.known(&name)?;
                    self.at += 1;
                    let path = self.glued_fields();
                    operands.push(Operand::Variable(name, path));
                    continue;
                }
                Kind::LeftParen => {
                    self.at += 1;
                    let pipe = self.deeper(|p| p.pipe("parenthesized pipeline"))?;
                    if self.next() != Some(Kind::RightParen) {
                        return Err(self.wrong("unclosed left paren"));
                    }
                    let path = self.glued_fields();
                    operands.push(Operand::Group(Box::new(pipe), path));
                    continue;
                }
                _ => return Err(self.wrong("unexpected token in operand")),
            };
            self.at += 1;
            operands.push(operand);
        }
        Ok(operands)
    }

    fn glued_fields(&mut self) -> Vec<String> {
        let mut path = Vec::new();
        while let Some(Kind::Field { name, glued: true }) = self.peek() {
            path.push(name.clone());
            self.at += 1;
        }
        path
    }
}

fn node(word: &str, pipe: Pipe, then: Vec<Node>, otherwise: Vec<Node>) -> Node {
    match word {
        "if" => Node::If(pipe, then, otherwise),
        "with" => Node::With(pipe, then, otherwise),
        _ => Node::Range(pipe, then, otherwise),
    }
}
