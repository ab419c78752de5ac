//! Go templates over JSON values: what `--format` takes.
//!
//! The language is that of Go's `text/template` with the functions of docker and podman. The text
//! comes from the caller; the values come from images too, so nothing here depends on them for
//! its end: parsing and evaluation are bounded in depth, and loops run over finite values.

use serde_json::Value;

use crate::base::{Error, Result};

mod eval;
mod functions;
mod lex;
mod parse;
mod printf;

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template {
    table: bool,
    tree: parse::Tree,
}

impl Template {
    /// Parses the text of `--format`. `table ` in front makes it a table, in which blanks between
    /// two actions separate columns; `\t` and `\n` in the text are tab and line end.
    ///
    /// # Errors
    /// `Invalid` with the place in the text.
    pub fn parse(text: &str) -> Result<Self> {
        let (table, body) = match text.trim_start().strip_prefix("table ") {
            Some(rest) => (true, columns(rest.trim())),
            None => (false, text.to_owned()),
        };
        let tree = parse::parse(&body).map_err(wrong)?;
        Ok(Self { table, tree })
    }

    /// Whether it began with `table `.
    pub fn is_table(&self) -> bool {
        self.table
    }

    /// Whether it begins with `{{range .}}`: then it wants the whole list at once.
    pub fn wants_list(&self) -> bool {
        self.tree.begins_with_range_over_dot()
    }

    /// The header line: every field by its name in `names`, or else the name itself in capitals
    /// with blanks between its words.
    pub fn headers(&self, names: &[(&str, &str)]) -> String {
        eval::headers(&self.tree, names)
    }

    /// The text for one value.
    ///
    /// # Errors
    /// `Invalid` for a field that the value lacks, or an operation that does not fit.
    pub fn render(&self, value: &Value) -> Result<String> {
        eval::render(&self.tree, value).map_err(wrong)
    }
}

fn wrong(text: String) -> Error {
    Error::invalid(format!("template: format:{text}"))
}

/// Blanks between two actions become a tab.
fn columns(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(end) = rest.find("}}") {
        let (action, after) = rest.split_at(end + 2);
        result.push_str(action);
        let next = after.trim_start_matches(' ');
        if next.len() < after.len() && next.starts_with("{{") {
            result.push('\t');
            rest = next;
        } else {
            rest = after;
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests;
