//! What of a config file's text is shown in errors: everything but what may be a secret, of which only
//! quotes, brackets and line breaks are left.
//!
//! Invariant: the masked text is as long as the text, byte for byte, so that the same spans fit both.

use std::collections::BTreeSet;
use std::ops::Range;

use ticket_host_worker::Digest;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::guess;
use super::schema::{Kind, Shape};
use super::urls::{is_plain, may_hold_secret};
use crate::credential_name::is_credential;

/// Bytes of a text that can't be another one by chance.
const TELLING: usize = 4;

/// What is masked of the values below a key. The later is the stricter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// Texts that look as if they held a secret, though they should not.
    Suspicious,
    /// Texts that are not plainly a URL without a secret: the setting is a URL.
    Url,
    /// Texts that are no digest: a token may stand where its digest belongs.
    Digest,
    /// All values: the setting is a secret, or a URL that may hold one.
    All,
}

impl Rule {
    /// The rule for what is below `key`, in a table to which this rule applies.
    fn below(self, key: &str) -> Rule {
        let own = match key {
            "secret" | "token" | "password" | "proxy" => Rule::All,
            // Of the alarm: also the path of such a URL is often a secret.
            "argus_token" | "webhook" | "ping" => Rule::All,
            "endpoint" | "url" | "frontend_url" | "allow_origins" => Rule::Url,
            "sha256" => Rule::Digest,
            _ => Rule::Suspicious,
        };
        self.max(own)
    }

    fn masks(self, value: &DeValue<'_>) -> bool {
        match (self, value.as_str()) {
            (Rule::All, _) => true,
            (Rule::Url, Some(text)) => !is_plain(text),
            (Rule::Digest, Some(text)) => text.parse::<Digest>().is_err(),
            (Rule::Suspicious, Some(text)) => may_hold_secret(text),
            (_, None) => false,
        }
    }
}

/// The spans of all values, and keys, of a config file that are not to be shown: in the order of the file, and none
/// overlaps another.
#[derive(Debug, Default)]
pub(super) struct Hidden(Vec<Range<usize>>);

/// What is not to be shown of a config file: in errors, to who has the file; or, `strict`, to who may only look at the service.
pub(super) fn hidden(file: &DeTable<'_>, strict: bool) -> Hidden {
    let mut hider = Hider { spans: Vec::new(), strict };
    hider.table(Shape::of_file(), file, Rule::Suspicious);
    Hidden::of(hider.spans)
}

impl Hidden {
    fn of(mut spans: Vec<Range<usize>>) -> Hidden {
        spans.sort_by_key(|span| span.start);
        spans.dedup_by(|next, span| {
            let overlaps = next.start < span.end;
            if overlaps {
                span.end = span.end.max(next.end);
            }
            overlaps
        });
        Hidden(spans)
    }

    /// The settings of `text` for people: without comments, which may say anything, without empty lines at its ends or one after
    /// the other, and with `***` in place of what is hidden, however long that is.
    pub(super) fn settings(&self, text: &str, file: &DeTable<'_>) -> String {
        let mut texts = Vec::new();
        texts_of(file, &mut texts);
        texts.sort_by_key(|span| span.start);
        let is_text = |at: usize| {
            let first = texts.partition_point(|span| span.end <= at);
            texts.get(first).is_some_and(|span| span.start <= at)
        };
        let (mut shown, mut at) = (String::with_capacity(text.len()), 0);
        for line in text.split_inclusive('\n') {
            let (start, end) = (at, at + line.trim_end_matches(['\n', '\r']).len());
            at += line.len();
            let comment = line.match_indices('#').map(|(place, _)| start + place);
            let comment = comment.filter(|place| !is_text(*place)).min().unwrap_or(end).min(end);
            let before = shown.len();
            self.show(text, start..comment, &mut shown);
            // Of an empty line within a text nothing is known to be needless.
            let is_empty = shown[before..].trim().is_empty() && !is_text(start);
            shown.truncate(before + shown[before..].trim_end().len());
            match is_empty && (shown.is_empty() || shown.ends_with("\n\n")) {
                true => shown.truncate(before),
                false => shown.push('\n'),
            }
        }
        shown.truncate(shown.trim_end().len());
        // A key has each of its tables' headers, of which only the first is known; and what is a secret in one place is one in all.
        let texts = self.0.iter().map(|span| text[span.clone()].trim_matches(['"', '\'', '\n']));
        let mut texts: Vec<&str> = texts.filter(|text| text.len() >= TELLING).collect();
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        texts.iter().fold(shown, |shown, text| shown.replace(text, "***"))
    }

    /// Adds a part of a text, with `***` where what is hidden begins.
    fn show(&self, text: &str, part: Range<usize>, shown: &mut String) {
        let mut at = part.start;
        let first = self.0.partition_point(|hidden| hidden.end <= part.start);
        for hidden in self.0[first..].iter().take_while(|hidden| hidden.start < part.end) {
            shown.push_str(&text[at..hidden.start.max(at)]);
            if hidden.start >= part.start {
                shown.push_str("***");
            }
            at = hidden.end.min(part.end);
        }
        shown.push_str(&text[at..part.end]);
    }

    /// Whether some of the span is hidden.
    pub(super) fn has_some_of(&self, span: &Range<usize>) -> bool {
        let first = self.0.partition_point(|hidden| hidden.end <= span.start);
        self.0.get(first).is_some_and(|hidden| hidden.start < span.end)
    }

    /// `text`, with what is hidden masked.
    pub(super) fn masked(&self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        let mut shown = 0;
        for span in &self.0 {
            masked.push_str(&text[shown..span.start]);
            mask(&text[span.clone()], &mut masked);
            shown = span.end;
        }
        masked + &text[shown..]
    }
}

/// The spans of all texts in a file, its keys among them: where a `#` begins no comment.
fn texts_of(members: &DeTable<'_>, spans: &mut Vec<Range<usize>>) {
    for (key, value) in members {
        spans.push(key.span());
        texts_in(value, spans);
    }
}

fn texts_in(value: &Spanned<DeValue<'_>>, spans: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::Table(members) => texts_of(members, spans),
        DeValue::Array(items) => items.iter().for_each(|item| texts_in(item, spans)),
        DeValue::String(_) => spans.push(value.span()),
        _ => {}
    }
}

struct Hider {
    spans: Vec<Range<usize>>,
    strict: bool,
}

impl Hider {
    /// Hides what is not to be shown of a table that has settings.
    fn table(&mut self, shape: &Shape, members: &DeTable<'_>, rule: Rule) {
        for (key, value) in members {
            self.key(key);
            let name: &str = key.get_ref();
            match shape.setting(name).or_else(|| guess::harmless(name, shape.settings())) {
                Some(setting) => {
                    // A token may be so short that its digest tells it.
                    let of_token =
                        self.strict && name == "sha256" && shape.setting("scopes").is_some();
                    let rule = if of_token { Rule::All } else { rule.below(&setting.name) };
                    self.value(&setting.shape, value, rule);
                }
                // What an unknown setting gives may be a secret.
                None => self.free(value, Rule::All),
            }
        }
    }

    /// Hides what is not to be shown of a value that should be of that shape.
    fn value(&mut self, shape: &Shape, value: &Spanned<DeValue<'_>>, rule: Rule) {
        match (&shape.kind, value.get_ref()) {
            (Kind::Table(_), DeValue::Table(members)) => self.table(shape, members, rule),
            (Kind::Named(each), DeValue::Table(members)) => {
                for (name, member) in members {
                    self.key(name);
                    self.value(each, member, rule);
                }
            }
            (Kind::List(each), DeValue::Array(items)) => {
                items.iter().for_each(|item| self.item(each, item, rule));
            }
            (Kind::Plugins, DeValue::Table(_)) | (Kind::Other(_), _) => self.free(value, rule),
            // Where a table belongs, what stands there instead may be the secret that belongs into the table. And what
            // is in a table or a list that doesn't belong here is as unknown as what an unknown setting gives.
            (Kind::Table(_) | Kind::Named(_) | Kind::Plugins, _)
            | (_, DeValue::Table(_) | DeValue::Array(_)) => self.free(value, Rule::All),
            // One that stands alone was meant as a list's only item.
            (Kind::List(each), _) => self.item(each, value, rule),
            _ => self.leaf(value, rule),
        }
    }

    /// As [`Hider::value`], for an item of a list. Where the items are words, any other text may be one that belongs to
    /// the setting beside it: the scopes of a token stand beside the token.
    fn item(&mut self, each: &Shape, item: &Spanned<DeValue<'_>>, rule: Rule) {
        match (&each.kind, item.get_ref()) {
            (Kind::Word(words), DeValue::String(text)) if guess::word(text, words).is_none() => {
                self.leaf(item, Rule::All);
            }
            _ => self.value(each, item, rule),
        }
    }

    /// Hides what is not to be shown of a value of any shape.
    fn free(&mut self, value: &Spanned<DeValue<'_>>, rule: Rule) {
        match value.get_ref() {
            DeValue::Table(members) => {
                // The name of a file or variable that a secret is read from is not the secret.
                let rule = if is_secret_source(members) { Rule::Suspicious } else { rule };
                for (key, value) in members {
                    self.key(key);
                    self.free(value, self.below(rule, key.get_ref()));
                }
            }
            DeValue::Array(items) => items.iter().for_each(|item| self.free(item, rule)),
            _ => self.leaf(value, rule),
        }
    }

    /// The rule for what is below `key` of a plugin's own settings. To who may only look, what is called like a credential isn't shown.
    fn below(&self, rule: Rule, key: &str) -> Rule {
        let is_hidden = self.strict && is_credential(key.as_bytes());
        if is_hidden { Rule::All } else { rule.below(key) }
    }

    fn leaf(&mut self, value: &Spanned<DeValue<'_>>, rule: Rule) {
        if rule.masks(value.get_ref()) {
            self.spans.push(value.span());
        }
    }

    fn key(&mut self, key: &Spanned<DeString<'_>>) {
        if may_hold_secret(key.get_ref()) {
            self.spans.push(key.span());
        }
    }
}

/// Whether a table is `{ env = "..." }` or `{ file = "..." }`.
fn is_secret_source(members: &DeTable<'_>) -> bool {
    let mut names = members.iter().map(|(name, value)| (name.get_ref(), value.get_ref()));
    matches!((names.next(), names.next()), (Some((name, value)), None)
        if (name == "env" || name == "file") && value.is_str())
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
    let mut masked = String::with_capacity(text.len());
    mask(text, &mut masked);
    masked
}

/// Adds as many stars as a text has bytes; what gives it its shape stays as it is.
fn mask(text: &str, masked: &mut String) {
    masked.extend(text.bytes().map(|byte| match byte {
        b'\n' | b'\r' | b'"' | b'\'' | b' ' | b'=' | b'{' | b'}' | b'[' | b']' | b',' => {
            char::from(byte)
        }
        _ => '*',
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_shown_without_comments_and_secrets_are_all_of_one_length() {
        let text = "# a comment with hunter2\n\n\n[backends.b] # hunter2\nplugin = 'rt'\nendpoint = \"https://rt.example.org/#x\"   \n\n\n\
            secret = { token = \"hunter2\" }\n[backends.b.information]\nqueue = \"a # b\" # hunter2\nbody = \"\"\"\n# no comment\n\n\n  x\n\"\"\"\n\
            list = [\n  1, # hunter2\n  2,\n]\n\n# the end\n";
        let tree = DeTable::parse(text).unwrap();
        assert_eq!(
            hidden(tree.get_ref(), true).settings(text, tree.get_ref()),
            "[backends.b]\nplugin = 'rt'\nendpoint = ***\n\n\
            secret = { token = *** }\n[backends.b.information]\nqueue = \"a # b\"\nbody = \"\"\"\n# no comment\n\n\n  x\n\"\"\"\n\
            list = [\n  1,\n  2,\n]"
        );
        // What is called like a credential, digests of tokens, and a key that may hold one, wherever it stands.
        let text = "[backends.\"u:hunter2@x\"]\nplugin = 'rt'\n[backends.\"u:hunter2@x\".information]\napi_key = \"hunter2\"\nqueue = \"noc\"\n\
            headers = { Authorization = \"Bearer hunter2\" }\n[serve.tokens.a]\nsha256 = \"hunter2\"\n[backends.b]\nbody = \"hunter2!\"\n";
        let tree = DeTable::parse(text).unwrap();
        let shown = hidden(tree.get_ref(), true).settings(text, tree.get_ref());
        assert!(!shown.contains("hunter2") && shown.contains("queue = \"noc\""), "{shown}");
        // What a token may do, and the pin of a plugin, are no secrets.
        let pin = "0".repeat(64);
        let text = format!(
            "[serve.tokens.a]\ntoken = \"hunter2\"\nscopes = [\"read\"]\n[backends.b]\nsha256 = \"{pin}\"\n"
        );
        let tree = DeTable::parse(&text).unwrap();
        let shown = hidden(tree.get_ref(), true).settings(&text, tree.get_ref());
        assert!(shown.contains("scopes = [\"read\"]") && shown.contains(&pin), "{shown}");
        let text = "[queue]\npassword = \"\"\"\nhunter2\n# hunter2\n\"\"\"\nurl = \"x\"\n";
        let tree = DeTable::parse(text).unwrap();
        let shown = hidden(tree.get_ref(), true).settings(text, tree.get_ref());
        assert!(!shown.contains("hunter2") && shown.contains("password = ***"), "{shown}");
    }
}
