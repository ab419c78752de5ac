//! Lists of objects: `--format`, `--noheading` and the default table, in one place.

use serde_json::Value;

use super::{Out, Template, docker, table};
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
    /// The keys of docker's `--format json`; empty means all.
    pub docker: &'a [&'a str],
}

impl Listing<'_> {
    /// Prints `rows` by the template, or `json` (made only then) for `--format json`.
    ///
    /// # Errors
    /// `Invalid` for a template that does not parse or names a field that the rows lack.
    pub fn print(&self, out: &mut Out, rows: &[Value], json: impl FnOnce() -> Value) -> Result<()> {
        match self.format.unwrap_or(self.default).trim() {
            "" | "table" => self.lines(out, self.default, rows),
            // docker prints an object a line, podman a list.
            format if is_json(format) && out.is_docker() => {
                for row in rows {
                    out.line(match self.docker.is_empty() {
                        true => row.to_string(),
                        false => docker::only(row, self.docker).to_string(),
                    })?;
                }
                Ok(())
            }
            format if is_json(format) => out.json(&json()),
            _ => self.lines(out, self.format.unwrap_or(self.default), rows),
        }
    }

    fn lines(&self, out: &mut Out, format: &str, rows: &[Value]) -> Result<()> {
        let template = Template::parse(format)?;
        if template.wants_list() {
            return out.text(&template.render(&Value::Array(rows.to_vec()))?);
        }
        let mut text = String::new();
        if template.is_table() && !self.no_heading {
            text.push_str(&template.headers(self.headers));
            text.push('\n');
        }
        for row in rows {
            text.push_str(&template.render(row)?);
            text.push('\n');
        }
        if template.is_table() {
            text = match out.is_docker() {
                true => table::align(&text, 10, 3),
                false => table::align(&text, 12, 2),
            };
        }
        out.text(&text)
    }
}

/// `json` or `{{json .}}`.
pub fn is_json(format: &str) -> bool {
    let format = format.trim();
    let inside = format
        .strip_prefix("{{")
        .and_then(|f| f.strip_suffix("}}"))
        .map(|f| f.split_whitespace().collect::<Vec<_>>());
    format == "json" || matches!(inside.as_deref(), Some(["json"] | ["json", "."]))
}

/// Prints one object by `--format` (`inspect`, `info`, `version`): JSON for none and `json`.
///
/// # Errors
/// As [`Listing::print`].
pub fn print_object(out: &mut Out, format: Option<&str>, value: &Value) -> Result<()> {
    match format {
        None => out.json(value),
        Some(format) if is_json(format) => out.json(value),
        Some(format) => {
            let line = Template::parse(format)?.render(value)?;
            out.line(line)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::output::tests::captured;

    fn list(format: Option<&str>, no_heading: bool) -> String {
        let listing = Listing {
            default: "table {{.Driver}} {{.Name}}",
            headers: &[("Name", "VOLUME NAME")],
            format,
            no_heading,
            docker: &[],
        };
        let rows = [
            json!({"Driver": "local", "Name": "data"}),
            json!({"Driver": "a-very-long-driver", "Name": "x"}),
        ];
        captured(|out| listing.print(out, &rows, || json!([1]))).0
    }

    #[test]
    fn lists_are_tables_json_or_templates() {
        assert_eq!(
            list(None, false),
            "DRIVER              VOLUME NAME\nlocal               data\na-very-long-driver  x\n"
        );
        assert_eq!(list(Some("table"), true).lines().count(), 2);
        assert_eq!(list(Some("{{.Name}}"), false), "data\nx\n");
        assert_eq!(
            list(Some("table {{.Name}}"), false),
            "VOLUME NAME\ndata\nx\n"
        );
        assert_eq!(list(Some("{{range .}}{{.Name}} {{end}}"), false), "data x ");
        assert_eq!(list(Some("{{ json . }}"), false), "[\n  1\n]\n");
        assert_eq!(list(Some("json"), false), "[\n  1\n]\n");
    }
}
