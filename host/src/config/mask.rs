//! What of a config file's text is shown.
//!
//! Invariant: what is shown has no secret in it; values that may be one are masked.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The spans of all values below a key that may hold credentials.
pub(super) fn hidden(table: &DeTable<'_>) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    find_secrets(table, &mut spans);
    spans
}

fn find_secrets(table: &DeTable<'_>, spans: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        let name: &str = key.get_ref();
        let url = value.get_ref().as_str().unwrap_or_default();
        if matches!(name, "secret" | "proxy" | "token")
            || name == "endpoint" && url.contains(['@', '?'])
        {
            leaves(value, spans);
        } else if let Some(table) = value.get_ref().as_table() {
            find_secrets(table, spans);
        }
    }
}

fn leaves(value: &Spanned<DeValue<'_>>, spans: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        // Where a secret is to be read is none.
        DeValue::Table(members) if is_source(members) => {}
        DeValue::Table(members) => members.values().for_each(|v| leaves(v, spans)),
        DeValue::Array(items) => items.iter().for_each(|v| leaves(v, spans)),
        _ => spans.push(value.span()),
    }
}

/// Whether a table is `{ env = "..." }` or `{ file = "..." }`.
fn is_source(members: &DeTable<'_>) -> bool {
    let mut names = members.iter().map(|(name, value)| (name.get_ref(), value.get_ref()));
    matches!((names.next(), names.next()), (Some((name, value)), None)
        if (name == "env" || name == "file") && value.is_str())
}

/// `text` with the letters and digits in `spans` as stars: as long as before, so that spans still fit.
pub(super) fn spans(text: &str, spans: &[Range<usize>]) -> String {
    let hidden = |at: usize| spans.iter().any(|span| span.contains(&at));
    text.char_indices().map(|(at, c)| star(c, hidden(at))).collect()
}

/// As [`spans`], for a text whose values can't be told apart: all that follows a `=`, and all lines
/// that are no header of a table and have no `=`.
pub(super) fn broken(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let header = line.trim_start().starts_with('[');
        let value = if header { line.len() } else { line.find('=').unwrap_or(0) };
        out.extend(line.char_indices().map(|(at, c)| star(c, at >= value)));
    }
    out
}

/// Keeps the number of bytes: a star for ASCII, as it is otherwise unless hidden, then stars.
fn star(c: char, hidden: bool) -> String {
    let kept = matches!(c, '\n' | '\r' | '"' | '\'' | ' ' | '=' | '{' | '}' | '[' | ']' | ',');
    if hidden && !kept { "*".repeat(c.len_utf8()) } else { c.to_string() }
}
