//! Lists of objects: `--format`, `--quiet`, `--noheading`, and the default table, in one place.

use serde_json::Value;

use super::{Out, Template, table};
use crate::base::Result;

/// How a command lists its objects.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    /// The default, a template that begins with `table `, e.g. `table {{.ID}}\t{{.Names}}`.
    pub default: &'a str,
    /// Headers that are not the field's name in capitals: `("ID", "CONTAINER ID")`.
    pub headers: &'a [(&'a str, &'a str)],
    /// `--format` as typed.
    pub format: Option<&'a str>,
    /// `--noheading`.
    pub no_heading: bool,
}

impl Listing<'_> {
    /// Prints `rows` by the template, or `json` for `--format json`.
    ///
    /// # Errors
    /// `Invalid` for a template that does not parse or names a field that the rows lack.
    pub fn print(&self, out: &mut Out, rows: &[Value], json: impl FnOnce() -> Value) -> Result<()> {
        let format = self.format.unwrap_or(self.default);
        if format.trim() == "json" {
            return out.json(&json());
        }
        let template = Template::parse(format)?;
        let mut text = String::new();
        if template.is_table() && !self.no_heading {
            text.push_str(&template.headers(self.headers)?);
            text.push('\n');
        }
        for row in rows {
            text.push_str(&template.render(row)?);
            text.push('\n');
        }
        if template.is_table() {
            text = table::align(&text, 12, 2);
        }
        out.text(&text)
    }
}
