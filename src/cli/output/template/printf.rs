//! Go's `Printf` for the values that JSON has.

use serde_json::Value;

use super::functions::{plain, type_name};

/// Wider fields than this are typing errors.
const WIDEST: usize = 10_000;

#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    blank: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Formats as Go does, with Go's marks for what does not fit: `%!d(string=x)`, `%!v(MISSING)`,
/// `%!(EXTRA int=1)`.
pub(super) fn printf(format: &str, args: &[&Value]) -> String {
    let mut result = String::new();
    let mut args_left = args.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            result.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.peek() {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                ' ' => spec.blank = true,
                '0' => spec.zero = true,
                _ => break,
            }
            chars.next();
        }
        spec.width = digits(&mut chars);
        if chars.peek() == Some(&'.') {
            chars.next();
            spec.precision = Some(digits(&mut chars).unwrap_or(0));
        }
        match chars.next() {
            None => result.push_str("%!(NOVERB)"),
            Some('%') => result.push('%'),
            Some(verb) => match args_left.next() {
                None => result.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => result.push_str(&verb_text(verb, value, &spec)),
            },
        }
    }
    let extra: Vec<String> = args_left
        .map(|v| match v {
            Value::Null => "<nil>".to_owned(),
            v => format!("{}={}", type_name(v), plain(v)),
        })
        .collect();
    if !extra.is_empty() {
        result.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    result
}

/// A number where the text has one.
fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut n = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        n = Some((n.unwrap_or(0) * 10 + digit as usize).min(WIDEST));
        chars.next();
    }
    n
}

fn verb_text(verb: char, value: &Value, spec: &Spec) -> String {
    let wrong = || match value {
        Value::Null => format!("%!{verb}(<nil>)"),
        v => format!("%!{verb}({}={})", type_name(v), plain(v)),
    };
    if let (Value::Array(items), 's' | 'q' | 'd' | 'x') = (value, verb) {
        let parts: Vec<String> = items.iter().map(|i| verb_text(verb, i, spec)).collect();
        return format!("[{}]", parts.join(" "));
    }
    let body = match (verb, value) {
        ('v', Value::Number(n)) if n.is_f64() && spec.precision.is_some() => {
            return verb_text('g', value, spec);
        }
        ('v', Value::String(s)) if spec.sharp => quote(s),
        ('v', _) => cut(&plain(value), spec),
        ('s', Value::String(s)) => cut(s, spec),
        ('s', Value::Object(_)) => plain(value),
        ('q', Value::String(s)) => quote(&cut(s, spec)),
        ('t', Value::Bool(b)) => b.to_string(),
        ('T', _) => type_name(value).to_owned(),
        ('d', Value::Number(n)) if !n.is_f64() => signed(n.to_string(), spec),
        ('c', Value::Number(n)) => n
            .as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .and_then(char::from_u32)
            .unwrap_or('\u{fffd}')
            .to_string(),
        ('x' | 'X' | 'o' | 'b', Value::Number(n)) if !n.is_f64() => {
            let (negative, size) = match n.as_i64() {
                Some(n) => (n < 0, n.unsigned_abs()),
                None => (false, n.as_u64().unwrap_or(0)),
            };
            let (digits, prefix) = match verb {
                'x' => (format!("{size:x}"), "0x"),
                'X' => (format!("{size:X}"), "0X"),
                'o' => (format!("{size:o}"), "0"),
                _ => (format!("{size:b}"), "0b"),
            };
            let prefix = if spec.sharp { prefix } else { "" };
            let sign = if negative { "-" } else { "" };
            format!("{sign}{prefix}{digits}")
        }
        ('x', Value::String(s)) => s.bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::String(s)) => s.bytes().map(|b| format!("{b:02X}")).collect(),
        ('f' | 'F', Value::Number(n)) if n.is_f64() => {
            let f = n.as_f64().unwrap_or(0.0);
            signed(format!("{f:.*}", spec.precision.unwrap_or(6)), spec)
        }
        ('e', Value::Number(n)) if n.is_f64() => {
            let f = n.as_f64().unwrap_or(0.0);
            signed(
                exponent(&format!("{f:.*e}", spec.precision.unwrap_or(6))),
                spec,
            )
        }
        ('g', Value::Number(n)) if n.is_f64() => {
            let f = n.as_f64().unwrap_or(0.0);
            signed(general(f, spec.precision), spec)
        }
        _ => return wrong(),
    };
    pad(&body, spec, value.is_number())
}

/// `%.Ng`: N significant digits.
fn general(f: f64, precision: Option<usize>) -> String {
    let Some(digits) = precision else {
        return plain(&f.into());
    };
    let digits = digits.max(1);
    if f == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{f:.*e}", digits - 1);
    let power: i64 = scientific
        .split_once('e')
        .and_then(|(_, e)| e.parse().ok())
        .unwrap_or(0);
    if power < -4 || power >= digits as i64 {
        let (mantissa, e) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        return exponent(&format!("{}e{e}", trimmed(mantissa)));
    }
    let decimals = usize::try_from(digits as i64 - 1 - power).unwrap_or(0);
    trimmed(&format!("{f:.decimals$}")).to_owned()
}

fn trimmed(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

/// Rust's `1e5` as Go's `1e+05`.
fn exponent(text: &str) -> String {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn signed(text: String, spec: &Spec) -> String {
    match text.starts_with('-') {
        false if spec.plus => format!("+{text}"),
        false if spec.blank => format!(" {text}"),
        _ => text,
    }
}

fn cut(text: &str, spec: &Spec) -> String {
    match spec.precision {
        Some(n) => text.chars().take(n).collect(),
        None => text.to_owned(),
    }
}

fn quote(text: &str) -> String {
    let mut result = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => result.push_str("\\\""),
            '\\' => result.push_str("\\\\"),
            '\n' => result.push_str("\\n"),
            '\t' => result.push_str("\\t"),
            '\r' => result.push_str("\\r"),
            c if c.is_control() => result.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => result.push(c),
        }
    }
    result.push('"');
    result
}

fn pad(text: &str, spec: &Spec, number: bool) -> String {
    let fill = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if spec.minus {
        return format!("{text}{}", " ".repeat(fill));
    }
    if spec.zero && number {
        let (sign, digits) = match text.strip_prefix(['-', '+']) {
            Some(digits) => (&text[..1], digits),
            None => ("", text),
        };
        return format!("{sign}{}{digits}", "0".repeat(fill));
    }
    format!("{}{text}", " ".repeat(fill))
}
