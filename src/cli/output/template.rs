//! Go templates over JSON values: what `--format` takes.

use serde_json::Value;

use crate::base::{Error, Result};

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template {
    table: bool,
}

impl Template {
    /// Parses the text of `--format`; `table ` in front makes it a table.
    ///
    /// # Errors
    /// `Invalid` with the place in the text.
    pub fn parse(text: &str) -> Result<Self> {
        Err(Error::unsupported(format!("format {text:?}")))
    }

    /// Whether it began with `table `.
    pub fn is_table(&self) -> bool {
        self.table
    }

    /// The header line: every field by its name in capitals, or by `names`.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn headers(&self, names: &[(&str, &str)]) -> Result<String> {
        Err(Error::unsupported(format!("headers {names:?}")))
    }

    /// The text for one value.
    ///
    /// # Errors
    /// `Invalid` for a field that the value lacks, or an operation that does not fit.
    pub fn render(&self, value: &Value) -> Result<String> {
        Err(Error::unsupported(format!("render {value:?}")))
    }
}
