//! What of a config file's text is shown in errors: everything but what may be a secret, of which only
//! quotes, brackets and line breaks are left.
//!
//! Invariant: the masked text is as long as the text, byte for byte, so that the same spans fit both.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::schema::Shape;
use super::urls::{is_plain, may_hold_secret};

/// What is masked of the values below a key. The later is the stricter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// Texts that look as if they held a secret, though they should not.
    Suspicious,
    /// Texts that are not plainly a URL without a secret: the setting is a URL.
    Url,
    /// All values: the setting is a secret, or a URL that may hold one.
    All,
}

impl Rule {
    /// The rule for what is below `key`, in a table to which this rule applies.
    fn below(self, key: &str) -> Rule {
        let own = match key {
            "secret" | "token" | "proxy" => Rule::All,
            "endpoint" | "url" | "frontend_url" | "allow_origins" => Rule::Url,
            _ => Rule::Suspicious,
        };
        self.max(own)
    }

    fn masks(self, value: &DeValue<'_>) -> bool {
        match (self, value.as_str()) {
            (Rule::All, _) => true,
            (Rule::Url, Some(text)) => !is_plain(text),
            (Rule::Suspicious, Some(text)) => may_hold_secret(text),
            (_, None) => false,
        }
    }
}

/// The spans of all values, and keys, of a config file that are not to be shown.
pub(super) fn hidden(file: &DeTable<'_>) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    hide_in_table(file, Rule::Suspicious, &mut spans);
    spans
}

fn hide_in_table(table: &DeTable<'_>, rule: Rule, spans: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        if may_hold_secret(key.get_ref()) {
            spans.push(key.span());
        }
        hide(value, rule.below(key.get_ref()), spans);
    }
}

fn hide(value: &Spanned<DeValue<'_>>, rule: Rule, spans: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        // The name of a file or variable that a secret is read from is not the secret.
        DeValue::Table(members) if is_secret_source(members) => {
            hide_in_table(members, Rule::Suspicious, spans);
        }
        DeValue::Table(members) => hide_in_table(members, rule, spans),
        DeValue::Array(items) => items.iter().for_each(|item| hide(item, rule, spans)),
        leaf if rule.masks(leaf) => spans.push(value.span()),
        _ => {}
    }
}

/// Whether a table is `{ env = "..." }` or `{ file = "..." }`.
fn is_secret_source(members: &DeTable<'_>) -> bool {
    let mut names = members.iter().map(|(name, value)| (name.get_ref(), value.get_ref()));
    matches!((names.next(), names.next()), (Some((name, value)), None)
        if (name == "env" || name == "file") && value.is_str())
}

/// The spans of all that is not to be shown of the value of an unknown setting: what isn't of the setting that seems to
/// be meant, or all of it if none does.
pub(super) fn below(meant: Option<&str>, value: &Spanned<DeValue<'_>>) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let rule = meant.map_or(Rule::All, |name| Rule::Suspicious.below(name));
    hide(value, rule, &mut spans);
    spans
}

/// `text`, with what is in `hidden` masked.
pub(super) fn spans(text: &str, hidden: &[Range<usize>]) -> String {
    let is_hidden = |at: usize| hidden.iter().any(|span| span.contains(&at));
    text.char_indices().map(|(at, c)| if is_hidden(at) { star(c) } else { c.to_string() }).collect()
}

/// A text that is not TOML, in which nothing tells a value from anything else: all is masked but the names
/// of settings and tables, where a line has them.
pub(super) fn broken(text: &str) -> String {
    let file = Shape::of_file();
    let names = file.names();
    let masked = text.split_inclusive('\n').map(|line| {
        let header = line.trim_start().starts_with('[');
        let end = line.find('=').unwrap_or(if header { line.len() } else { 0 });
        only(&names, &line[..end]) + &all(&line[end..])
    });
    masked.collect()
}

/// `text`, with all masked but these names.
fn only(names: &BTreeSet<&str>, text: &str) -> String {
    let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let pieces = text.split_inclusive(|c| !in_name(c)).map(|piece| {
        let (name, end) = piece.split_at(piece.trim_end_matches(|c| !in_name(c)).len());
        let name = if names.contains(name) { name.to_owned() } else { all(name) };
        name + &if end == "." { end.to_owned() } else { all(end) }
    });
    pieces.collect()
}

fn all(text: &str) -> String {
    text.chars().map(star).collect()
}

/// As many stars as the character has bytes; what gives a text its shape stays as it is.
fn star(c: char) -> String {
    if matches!(c, '\n' | '\r' | '"' | '\'' | ' ' | '=' | '{' | '}' | '[' | ']' | ',') {
        c.to_string()
    } else {
        "*".repeat(c.len_utf8())
    }
}
