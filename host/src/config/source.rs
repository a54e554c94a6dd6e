//! The text of a config file while it is read, and where each setting stands in it, so that an error can
//! show the line that it is about.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use super::explain::Mistake;
use super::mask::Hidden;
use super::schema::Shape;
use super::{explain, mask};
use crate::error::{Error, Errors, NOWHERE, Result, Snippet};

/// A setting's value, and where it stands in the file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Spanned<T>(toml::Spanned<T>);

impl<T> Spanned<T> {
    /// A value that stands in no file, such as a default.
    pub(super) fn nowhere(value: T) -> Spanned<T> {
        Spanned(toml::Spanned::new(0..0, value))
    }

    pub(super) fn span(&self) -> Range<usize> {
        self.0.span()
    }

    pub(super) fn get_ref(&self) -> &T {
        self.0.get_ref()
    }

    pub(super) fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

/// Its schema is the value's.
impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A config file as errors show it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    file: String,
    /// The file's text, with everything masked that may be a secret. It is as long as the text, so
    /// that spans fit both.
    masked: Arc<str>,
    /// What is masked.
    hidden: Arc<Hidden>,
    /// What of the file's text may be shown to people who look at the settings.
    shown: Arc<str>,
}

impl Source {
    /// # Errors
    /// A settings error: the text is not TOML.
    pub(super) fn new(path: &Path, text: &str) -> Result<Source> {
        let file = path.display().to_string();
        let tree = DeTable::parse(text).map_err(|cause| {
            let masked = mask::broken(text).into();
            let source =
                Source { file: file.clone(), masked, hidden: Arc::default(), shown: "".into() };
            let error =
                Error::settings(cause.message()).help("the syntax is TOML's, https://toml.io");
            source.pointing(cause.span().unwrap_or(0..0), error)
        })?;
        let hidden = mask::hidden(tree.get_ref(), false);
        let shown = mask::hidden(tree.get_ref(), true).settings(text, tree.get_ref()).into();
        Ok(Source { file, masked: hidden.masked(text).into(), hidden: Arc::new(hidden), shown })
    }

    /// The settings as the file has them, without its comments and with `***` in place of what may be a secret.
    pub(super) fn shown(&self) -> String {
        self.shown.to_string()
    }

    /// Reads the whole file's settings. Where a setting is unknown, missing, or of another type, the rest is read, and
    /// that is a mistake.
    ///
    /// # Errors
    /// A settings error: there is no rest that could be read.
    pub(super) fn deserialize<T: DeserializeOwned>(&self, text: &str) -> Result<(T, Vec<Mistake>)> {
        let cause = match toml::from_str(text) {
            Ok(read) => return Ok((read, Vec::new())),
            Err(cause) => cause,
        };
        let mut mistakes = Vec::new();
        let rest = DeTable::parse(text).and_then(|mut file| {
            mistakes = explain::mistakes(&mut file, Shape::of_file(), &self.hidden);
            T::deserialize(toml::de::Deserializer::from(file))
        });
        match rest {
            Ok(rest) if !mistakes.is_empty() => Ok((rest, mistakes)),
            _ => {
                let mut errors = Errors::default();
                mistakes.into_iter().for_each(|mistake| errors.add(self.explained(mistake)));
                errors.together()?;
                // The schema finds nothing wrong. What serde says may quote the value.
                let error = Error::settings("this can't be used as a setting here")
                    .help("`ticket-host config reference` describes the settings");
                Err(self.pointing(cause.span().unwrap_or(0..0), error))
            }
        }
    }

    /// The error that a mistake is.
    pub(super) fn explained(&self, mistake: Mistake) -> Error {
        self.pointing(mistake.span, Error::settings(mistake.message).help(mistake.help))
    }

    /// `error`, with the lines that `span` is in.
    pub(super) fn pointing(&self, span: Range<usize>, error: Error) -> Error {
        Error { snippet: Some(Box::new(self.snippet(span))), ..error }
    }

    /// Whether an error points to something in the file, and not to what took the place of a mistake.
    pub(super) fn is_in_file(error: &Error) -> bool {
        error.snippet.as_ref().is_none_or(|snippet| snippet.span.start != NOWHERE.start)
    }

    /// What `read` makes of a setting's value. Its error points to the value.
    pub(super) fn read<V, T>(
        &self,
        value: &Spanned<V>,
        read: impl FnOnce(&V) -> Result<T>,
    ) -> Result<T> {
        read(value.get_ref()).map_err(|error| self.pointing(value.span(), error))
    }

    /// As [`Source::read`], for a setting that may be absent.
    pub(super) fn read_if_given<V, T>(
        &self,
        value: Option<&Spanned<V>>,
        read: impl FnOnce(&V) -> Result<T>,
    ) -> Result<Option<T>> {
        value.map(|value| self.read(value, read)).transpose()
    }

    fn snippet(&self, span: Range<usize>) -> Snippet {
        Snippet { file: self.file.clone(), text: Arc::clone(&self.masked), span }
    }
}

/// Where a setting stands in the config file, for an error that is found after the file was read.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    source: Source,
    span: Range<usize>,
}

/// Two settings are equal wherever in a file they stand.
impl PartialEq for Place {
    fn eq(&self, _: &Place) -> bool {
        true
    }
}

impl Place {
    pub(super) fn new(source: &Source, span: Range<usize>) -> Place {
        Place { source: source.clone(), span }
    }

    /// That of a setting that couldn't be read: what else is wrong with it is no mistake of the file's.
    pub(super) fn nowhere(source: &Source) -> Place {
        Place::new(source, NOWHERE)
    }

    /// `result`, whose error has the lines that the setting stands in.
    pub(super) fn pointing_to<T>(place: &Place, result: Result<T>) -> Result<T> {
        result.map_err(|error| Place::pointing(Some(place), error))
    }

    /// `error`, with the lines that the setting stands in, if it came from a file.
    pub(super) fn pointing(place: Option<&Place>, error: Error) -> Error {
        match place {
            Some(Place { source, span }) => source.pointing(span.clone(), error),
            None => error,
        }
    }
}

/// A backend's setting that an error can point to after the file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendSetting {
    Plugin,
    Secret,
    Information,
    /// template.title
    Title,
    /// template.body
    Body,
    /// template.comment
    Comment,
    /// template.closing
    Closing,
    CaFile,
    Permissions,
    Sha256,
}

/// Where one backend's settings stand in the config file.
#[derive(Debug, Clone)]
pub(crate) struct Spans {
    source: Source,
    /// Every backend has this one: errors about settings that are absent point to it.
    plugin: Range<usize>,
    others: Vec<(BackendSetting, Range<usize>)>,
}

/// Two backends are equal if their settings are, wherever in a file these stand.
impl PartialEq for Spans {
    fn eq(&self, _: &Spans) -> bool {
        true
    }
}

impl Spans {
    pub(super) fn new(
        source: Source,
        plugin: Range<usize>,
        others: impl IntoIterator<Item = (BackendSetting, Option<Range<usize>>)>,
    ) -> Spans {
        let others = others.into_iter().filter_map(|(setting, span)| Some((setting, span?)));
        Spans { source, plugin, others: others.collect() }
    }

    /// Forgets where the plugin is told, so that what is wrong with it is no mistake of the file's: it isn't known which
    /// library may be used.
    pub(super) fn forget_plugin(&mut self) {
        self.plugin = NOWHERE;
        self.others.retain(|(setting, _)| *setting != BackendSetting::Sha256);
    }

    /// `error`, with the lines that the setting stands in.
    pub(super) fn pointing(&self, setting: BackendSetting, error: Error) -> Error {
        self.source.pointing(self.span(setting), error)
    }

    /// `error`, with line number `line` (from 1) of the text that the setting is.
    pub(super) fn pointing_at_line(
        &self,
        setting: BackendSetting,
        line: usize,
        error: Error,
    ) -> Error {
        let span = self.span(setting);
        let text = self.source.masked.get(span.clone()).unwrap_or_default();
        let within = line_within(text, line);
        self.source.pointing(span.start + within.start..span.start + within.end, error)
    }

    fn span(&self, setting: BackendSetting) -> Range<usize> {
        let given = self.others.iter().find(|(other, _)| *other == setting);
        given.map_or(&self.plugin, |(_, span)| span).clone()
    }
}

/// Where line number `wanted` (from 1) of a text stands in the string that it is in TOML, which begins and ends with
/// quotes. Where the text has no such line it is the last one.
fn line_within(string: &str, wanted: usize) -> Range<usize> {
    let quotes = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quotes| string.starts_with(quotes));
    let quotes = quotes.map_or(0, str::len);
    let bytes = string.as_bytes();
    let has_escapes = bytes.first() == Some(&b'"');
    let mut start = quotes;
    if quotes == 3 {
        // The line that the opening quotes end is not of the text.
        let first = ["\r\n", "\n"].into_iter().find(|end| string[start..].starts_with(end));
        start += first.map_or(0, str::len);
    }
    let end = string.len().saturating_sub(quotes).max(start);
    let (mut at, mut line) = (start, 1);
    while at < end && line <= wanted {
        let (length, ends_line) = match (bytes[at], bytes.get(at + 1)) {
            (b'\n', _) => (1, true),
            (b'\\', Some(b'n')) if has_escapes => (2, true),
            // A line break behind a backslash, and all space behind it, is not of the text.
            (b'\\', Some(space)) if has_escapes && space.is_ascii_whitespace() => {
                (1 + bytes[at + 1..].iter().take_while(|b| b.is_ascii_whitespace()).count(), false)
            }
            (b'\\', Some(_)) if has_escapes => (2, false),
            _ => (1, false),
        };
        if ends_line && line == wanted {
            break;
        }
        at += length;
        if ends_line {
            (line, start) = (line + 1, at);
        }
    }
    let at = at.min(end);
    let shown = string.get(start..at).unwrap_or_default();
    let indented = shown.len() - shown.trim_start().len();
    if shown.trim().is_empty() {
        // There is nothing to be seen in it but perhaps the closing quotes.
        return at..string.len().min(at + quotes.max(1));
    }
    start + indented..start + shown.trim_end().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_text_is_found_in_the_string_that_it_is() {
        for (string, line, expected) in [
            ("\"one\"", 1, "one"),
            ("'one'", 1, "one"),
            (r#""one\ntwo\nthree""#, 2, "two"),
            (r#""on\\ne\ntwo""#, 2, "two"),
            (r"'one\ntwo'", 1, r"one\ntwo"),
            ("\"\"\"one\ntwo\n\"\"\"", 1, "one"),
            ("\"\"\"\none\n  two  \nthree\"\"\"", 2, "two"),
            ("\"\"\"\r\none\r\ntwo\r\n\"\"\"", 2, "two"),
            ("'''\none\\\ntwo'''", 2, "two"),
            ("\"\"\"\none\\\n   still one\ntwo\"\"\"", 2, "two"),
            ("\"\"\"\none\\ntwo\nthree\"\"\"", 3, "three"),
            ("\"\"\"\none\n\n\"\"\"", 3, "\"\"\""),
            ("\"one\"", 9, "one"),
            ("\"\"", 1, "\""),
            ("\"", 1, ""),
            ("", 1, ""),
        ] {
            let within = line_within(string, line);
            assert_eq!(string.get(within), Some(expected), "line {line} of {string:?}");
        }
    }
}
