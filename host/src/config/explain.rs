//! Why a file that is TOML gives no settings, in plain words, and where. The schema says what would be right.
//!
//! Serde decides whether a file can be read; this only explains why not, and takes what is wrong out of the file, so that
//! the rest of it can be looked at, too. Invariant: no text of the file that may be a secret gets into an explanation.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::bounds::out_of_bounds;
use super::guess;
use super::mask::Hidden;
use super::schema::{Kind, Setting, Shape};
use crate::error::NOWHERE;
use crate::terminal;

/// Characters of a text that a message repeats at most.
const LONGEST: usize = 60;

/// One thing that is wrong in a file.
#[derive(Debug)]
pub(super) struct Mistake {
    /// The names that lead to it, from the top of the file on; its own is the last. None leads to the file itself.
    pub path: Vec<String>,
    /// Whether it has settings that aren't read, of which it isn't known what they are.
    pub hides_settings: bool,
    /// What to point at.
    pub span: Range<usize>,
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Mistake {
    /// Whether something isn't read because of this that may belong to this table at the top of the file.
    pub(super) fn hides(&self, table: &str) -> bool {
        matches!(self.path.as_slice(), [name] if name == table || self.hides_settings)
    }
}

/// All that is wrong in a file of that shape. It is taken out of the file, and where something must stand, a value that
/// stands [`NOWHERE`] takes its place. `hidden` is what may be a secret.
pub(super) fn mistakes(
    file: &mut Spanned<DeTable<'_>>,
    shape: &Shape,
    hidden: &Hidden,
) -> Vec<Mistake> {
    let mut reader = Reader { file: shape, hidden, path: Vec::new(), mistakes: Vec::new() };
    reader.table(file.span(), shape, file.get_mut());
    reader.mistakes
}

/// What takes the place of a wrong or missing value of that shape.
fn stand_in<'a>(shape: &Shape) -> Spanned<DeValue<'a>> {
    let value = match &shape.kind {
        Kind::Table(settings) => {
            let required = settings.iter().filter(|setting| setting.required);
            DeValue::Table(required.map(stand_in_of).collect())
        }
        Kind::Named(_) | Kind::Plugins => DeValue::Table(DeTable::new()),
        Kind::List(_) => DeValue::Array(DeArray::new()),
        Kind::Flag => DeValue::Boolean(false),
        Kind::Word(words) => {
            let first = words.first().map(|word| word.text.clone());
            DeValue::String(first.unwrap_or_default().into())
        }
        Kind::Text | Kind::Whole { .. } | Kind::Number { .. } | Kind::Other(_) => {
            DeValue::String("".into())
        }
    };
    Spanned::new(NOWHERE, value)
}

fn stand_in_of<'a>(setting: &Setting) -> (Spanned<DeString<'a>>, Spanned<DeValue<'a>>) {
    (Spanned::new(NOWHERE, setting.name.clone().into()), stand_in(&setting.shape))
}

struct Reader<'a> {
    file: &'a Shape,
    hidden: &'a Hidden,
    /// The names that lead to what is looked at.
    path: Vec<String>,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn table(&mut self, span: Range<usize>, shape: &Shape, members: &mut DeTable<'_>) {
        self.unknown_ones(shape, members);
        for setting in shape.settings() {
            let name = setting.name.as_str();
            self.path.push(name.to_owned());
            match members.get_mut(name) {
                Some(value) => {
                    let fits = self.value(&format!("`{name}`"), &setting.shape, value);
                    if !fits && !has_stand_in(setting) {
                        members.remove(name);
                    } else if !fits {
                        *value = stand_in(&setting.shape);
                    }
                }
                None if setting.required => {
                    self.add(span.clone(), format!("`{name}` is missing"), about(setting));
                    members.extend([stand_in_of(setting)]);
                }
                None => {}
            }
            self.path.pop();
        }
    }

    /// Takes those members out of a table whose names aren't ones of its settings. The setting that a misspelled one seems
    /// to be is not missing: it gets that value if it can be no secret.
    fn unknown_ones(&mut self, shape: &Shape, members: &mut DeTable<'_>) {
        let is_unknown = |key: &&Spanned<DeString<'_>>| shape.setting(key.get_ref()).is_none();
        let unknown: Vec<_> = members.keys().filter(is_unknown).cloned().collect();
        for key in unknown {
            let own: &str = key.get_ref();
            let value = members.remove(own);
            self.path.push(own.to_owned());
            let meant = self.unknown(shape.settings(), &key, value.as_ref());
            self.path.pop();
            let Some(meant) = meant.filter(|meant| !members.contains_key(meant.name.as_str()))
            else {
                continue;
            };
            if guess::harmless(own, shape.settings()).is_some() {
                let name = Spanned::new(key.span(), meant.name.clone().into());
                members.extend(value.map(|value| (name, value)));
            } else if has_stand_in(meant) {
                members.extend([stand_in_of(meant)]);
            }
        }
    }

    /// Looks at a value that should be of that shape, and says whether it is; what is wrong within it is taken out.
    /// `subject` is what a message calls it.
    fn value(&mut self, subject: &str, shape: &Shape, value: &mut Spanned<DeValue<'_>>) -> bool {
        let (span, before) = (value.span(), self.mistakes.len());
        match (&shape.kind, value.get_mut()) {
            (Kind::Table(_), DeValue::Table(members)) => self.table(span, shape, members),
            (Kind::Named(each), DeValue::Table(members)) => {
                let subject = format!("each of {subject}");
                for (name, member) in members.iter_mut() {
                    self.path.push(name.get_ref().clone().into_owned());
                    if !self.value(&subject, each, member) {
                        *member = stand_in(each);
                        // What was written there may be a setting that belongs elsewhere.
                        self.last().hides_settings = true;
                    }
                    self.path.pop();
                }
            }
            (Kind::List(each), DeValue::Array(items)) => {
                let subject = format!("each of {subject}");
                let all = std::mem::replace(items, DeArray::new());
                let fitting = |mut item| self.value(&subject, each, &mut item).then_some(item);
                *items = all.into_iter().filter_map(fitting).collect();
            }
            (kind, leaf) if !fits(kind, leaf) => {
                let message = format!("{subject} {}", self.refusal(kind, value));
                self.add(span, message, shape.about.clone());
                self.last().hides_settings = has_settings(value.get_ref());
                return false;
            }
            _ => {}
        }
        if self.mistakes.len() > before {
            // What may be found wrong with it as a whole, later, could follow from these.
            let whole = std::mem::replace(value.get_mut(), DeValue::Boolean(false));
            *value = Spanned::new(NOWHERE, whole);
        }
        true
    }

    /// Why a value isn't one of that kind: `must be 1 to 256; this is 0`.
    fn refusal(&self, kind: &Kind, value: &Spanned<DeValue<'_>>) -> String {
        let shown = self.is_shown(&value.span());
        match (kind, value.get_ref()) {
            (Kind::Whole { min, max }, DeValue::Integer(number)) if shown => {
                out_of_bounds(min, max, number)
            }
            (Kind::Number { min, max }, DeValue::Integer(number)) if shown => {
                out_of_bounds(min, max, number)
            }
            (Kind::Number { min, max }, DeValue::Float(number)) if shown => {
                out_of_bounds(min, max, number)
            }
            (Kind::Word(words), DeValue::String(text)) if shown => {
                let meant =
                    guess::word(text, words).map(|word| format!("; did you mean {word:?}?"));
                let (kind, text) = (kind.words(), shortened(text));
                format!("must be {kind}; this is {text}{}", meant.unwrap_or_default())
            }
            (kind, value) => format!("must be {}; this is {}", kind.words(), what(value, shown)),
        }
    }

    /// Adds the mistake of a name that isn't one of these settings', and of what is written there. Gives the setting
    /// that seems to be meant.
    fn unknown<'a>(
        &mut self,
        settings: &'a [Setting],
        key: &Spanned<DeString<'_>>,
        value: Option<&Spanned<DeValue<'_>>>,
    ) -> Option<&'a Setting> {
        let whole: &str = key.get_ref();
        let guess = guess::setting(whole, settings);
        let hides_settings =
            guess.is_none() || value.is_some_and(|value| has_settings(value.get_ref()));
        if !self.is_shown(&key.span()) {
            let message = "unknown setting, whose name is not shown, since it may hold a secret";
            self.add(key.span(), message.into(), there_are(settings));
            self.last().hides_settings = true;
            return None;
        }
        let name = &terminal::cut(whole, LONGEST);
        let (message, help) = match (guess, self.homes(whole)) {
            (Some(guess), home) => {
                let message = format!("unknown setting `{name}`; did you mean `{}`?", guess.name);
                let or = home.map(|home| format!(" Or {home}.")).unwrap_or_default();
                (message, format!("`{}`: {}{or}", guess.name, about(guess)))
            }
            (None, Some(home)) => (format!("unknown setting `{name}` here"), home),
            (None, None) => (format!("unknown setting `{name}`"), there_are(settings)),
        };
        self.add(key.span(), message, help);
        self.last().hides_settings = hides_settings;
        guess
    }

    /// Where the setting of that name is to be written, if there is one.
    fn homes(&self, name: &str) -> Option<String> {
        let tables = self.file.tables().into_iter();
        let homes: Vec<String> = tables
            .filter(|(_, table)| table.setting(name).is_some())
            .map(|(header, _)| match header.as_str() {
                "" => "at the top of the file, before the first [table]".to_owned(),
                header => format!("below {header}"),
            })
            .collect();
        (!homes.is_empty()).then(|| format!("write it {}", homes.join(", or ")))
    }

    fn is_shown(&self, span: &Range<usize>) -> bool {
        !self.hidden.has_some_of(span)
    }

    fn add(&mut self, span: Range<usize>, message: String, help: String) {
        let path = self.path.clone();
        self.mistakes.push(Mistake { path, hides_settings: false, span, message, help });
    }

    /// The mistake that was added last.
    fn last(&mut self) -> &mut Mistake {
        self.mistakes.last_mut().expect("a mistake was added")
    }
}

/// Whether a setting whose value is wrong is looked at again, later, as if it were there.
///
/// A pin is one of these: without it, another library could seem to be meant.
fn has_stand_in(setting: &Setting) -> bool {
    let is_table = matches!(setting.shape.kind, Kind::Table(_) | Kind::Plugins);
    setting.required || is_table || setting.name == "sha256"
}

/// Whether a value that isn't read has settings of its own.
fn has_settings(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Table(members) => !members.is_empty(),
        DeValue::Array(items) => items.iter().any(|item| has_settings(item.get_ref())),
        _ => false,
    }
}

/// Whether a value that is no table with settings of its own, and no list of values, is of that kind.
fn fits(kind: &Kind, value: &DeValue<'_>) -> bool {
    match (kind, value) {
        (Kind::Text, DeValue::String(_))
        | (Kind::Flag, DeValue::Boolean(_))
        | (Kind::Plugins, DeValue::Table(_))
        | (Kind::Other(_), _) => true,
        (Kind::Word(words), DeValue::String(text)) => words.iter().any(|word| word.text == *text),
        (Kind::Whole { min, max }, DeValue::Integer(number)) => {
            let number = u64::from_str_radix(number.as_str(), number.radix());
            number.is_ok_and(|number| (*min..=*max).contains(&number))
        }
        (Kind::Number { min, max }, DeValue::Integer(number)) => {
            let number = i64::from_str_radix(number.as_str(), number.radix());
            number.is_ok_and(|number| (*min..=*max).contains(&(number as f64)))
        }
        (Kind::Number { min, max }, DeValue::Float(number)) => {
            number.as_str().parse().is_ok_and(|number: f64| (*min..=*max).contains(&number))
        }
        _ => false,
    }
}

/// What a value is, in words, with the value itself if it may be shown.
fn what(value: &DeValue<'_>, shown: bool) -> String {
    let (what, value) = match value {
        DeValue::String(text) => ("a text", shortened(text)),
        DeValue::Integer(number) => ("a number", number.to_string()),
        DeValue::Float(number) => ("a number with a decimal point", number.to_string()),
        DeValue::Boolean(flag) if shown => return flag.to_string(),
        DeValue::Boolean(_) => return "true or false".to_owned(),
        DeValue::Datetime(time) => ("a date or a time", time.to_string()),
        DeValue::Array(_) => return "a list".to_owned(),
        DeValue::Table(_) => return "a table".to_owned(),
    };
    if shown { format!("{what} ({value})") } else { what.to_owned() }
}

/// A text in quotes, or its beginning if it is long.
fn shortened(text: &str) -> String {
    let start: String = text.chars().take(LONGEST).collect();
    let rest = if start.len() < text.len() { "..." } else { "" };
    format!("{start:?}{rest}")
}

fn about(setting: &Setting) -> String {
    setting.shape.about.clone()
}

fn there_are(settings: &[Setting]) -> String {
    let names: Vec<&str> = settings.iter().map(|setting| setting.name.as_str()).collect();
    format!("there are: {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Config, schema};
    use crate::error::Error;

    const BACKEND: &str = "[backends.a]\nplugin = \"rt\"\nendpoint = \"https://rt.example.org\"\n";
    const TOKEN: &str = "[serve.tokens.a]\ntoken = \"t\"\n";
    const ARGUS: &str = "[argus]\nurl = \"https://argus.example.org\"\ntoken = \"t\"\n";

    /// What is refused: what stands before it, its text, what is pointed at, and what is said.
    const REFUSED: &[(&str, &str, &str, &str)] = &[
        // Numbers and their bounds.
        (BACKEND, "concurrency = 0", "0", "`concurrency` must be 1 to 256; this is 0"),
        (BACKEND, "concurrency = 257", "257", "must be 1 to 256; this is 257"),
        (BACKEND, "concurrency = -1", "-1", "must be 1 to 256; this is -1"),
        (BACKEND, "call_timeout_seconds = 3601", "3601", "must be 1 to 3600; this is 3601"),
        (BACKEND, "max_response_bytes = 1023", "1023", "must be 1024 to 33554432"),
        (BACKEND, "requests_per_second = 0", "0", "must be 0.001 to 10000; this is 0"),
        (BACKEND, "requests_per_second = 10000.5", "10000.5", "this is 10000.5"),
        ("[limits]\n", "call_timeout_seconds = 0", "0", "must be 1 to 3600; this is 0"),
        (
            "[limits]\n",
            "max_response_bytes = 0x3_000_000",
            "0x3_000_000",
            "must be 1024 to 33554432",
        ),
        ("[limits]\n", "max_incident_bytes = 16777217", "16777217", "must be 1024 to 16777216"),
        ("[limits]\n", "concurrency = 0", "0", "must be 1 to 256; this is 0"),
        ("[limits]\n", "max_workers = 4097", "4097", "must be 1 to 4096; this is 4097"),
        ("[limits]\n", "workers_memory_megabytes = 63", "63", "must be 64 to 16777216"),
        ("[serve]\n", "shutdown_seconds = 601", "601", "must be 0 to 600; this is 601"),
        ("[queue]\n", "max_megabytes = 0", "0", "must be 1 to 1048576; this is 0"),
        ("[queue]\n", "retry_days = 366", "366", "must be 1 to 365; this is 366"),
        ("[queue]\n", "longest_wait_seconds = 86401", "86401", "must be 1 to 86400"),
        ("[queue]\n", "keep_days = 3651", "3651", "must be 1 to 3650; this is 3651"),
        ("[queue]\n", "settle_seconds = 3601", "3601", "must be 0 to 3600; this is 3601"),
        (ARGUS, "interval_seconds = 0", "0", "must be 1 to 3600; this is 0"),
        // Types.
        (
            "",
            "default_backend = 5",
            "5",
            "`default_backend` must be a text in quotes; this is a number (5)",
        ),
        (
            "",
            "plugin_dirs = \"/x\"",
            "\"/x\"",
            "must be a list of texts in quotes; this is a text (\"/x\")",
        ),
        ("", "plugin_dirs = [\"/x\", 1]", "1", "each of `plugin_dirs` must be a text in quotes"),
        ("", "limits = 5", "5", "`limits` must be a table; this is a number"),
        ("", "backends = true", "true", "`backends` must be a table; this is true or false"),
        (
            "",
            "backends.a = 1.5",
            "1.5",
            "each of `backends` must be a table; this is a number with a decimal",
        ),
        (
            "",
            "signatures = true",
            "true",
            "must be \"off\" or \"warn\" or \"require\"; this is true",
        ),
        (
            "[limits]\n",
            "concurrency = \"many\"",
            "\"many\"",
            "must be a whole number, 1 to 256; this is a text",
        ),
        (
            "[limits]\n",
            "concurrency = 1.5",
            "1.5",
            "must be a whole number, 1 to 256; this is a number with",
        ),
        (
            "[limits]\n",
            "concurrency = [4]",
            "[4]",
            "must be a whole number, 1 to 256; this is a list",
        ),
        (
            "[limits]\n",
            "concurrency = {}",
            "{}",
            "must be a whole number, 1 to 256; this is a table",
        ),
        ("[queue]\n", "path = 1", "1", "`path` must be a text in quotes; this is a number (1)"),
        (
            "[serve]\n",
            "listen = 8620",
            "8620",
            "`listen` must be a text in quotes; this is a number (8620)",
        ),
        (
            "[serve]\n",
            "tokens.a = \"x\"",
            "\"x\"",
            "each of `tokens` must be a table; this is a text",
        ),
        (TOKEN, "scopes = \"create\"", "\"create\"", "`scopes` must be a list of \"create\" or"),
        (
            BACKEND,
            "requests_per_second = \"10\"",
            "\"10\"",
            "must be a number, 0.001 to 10000; this is a text",
        ),
        (BACKEND, "secret = \"x\"", "\"x\"", "`secret` must be a table; this is a text"),
        (
            BACKEND,
            "information = \"NOC\"",
            "\"NOC\"",
            "`information` must be a table; this is a text",
        ),
        (BACKEND, "template = [1]", "[1]", "`template` must be a table; this is a list"),
        (BACKEND, "template = { body = 1 }", "1", "`body` must be a text in quotes"),
        (
            BACKEND,
            "permissions = { exec = \"yes\" }",
            "\"yes\"",
            "`exec` must be true or false; this is a text",
        ),
        (
            BACKEND,
            "permissions = { read = \"/x\" }",
            "\"/x\"",
            "`read` must be a list of texts in quotes",
        ),
        // Words.
        (
            "",
            "signatures = \"requir\"",
            "\"requir\"",
            "this is \"requir\"; did you mean \"require\"?",
        ),
        ("", "sandbox = \"best_effort\"", "\"best_effort\"", "did you mean \"best-effort\"?"),
        (
            BACKEND,
            "isolation = \"none\"",
            "\"none\"",
            "must be \"worker\" or \"in-process\"; this is \"none\"",
        ),
        (BACKEND, "look_first = \"never\"", "\"never\"", "must be \"always\" or \"when-in-doubt\""),
        (BACKEND, "unknown = \"retry\"", "\"retry\"", "must be \"ask\" or \"again\""),
        (BACKEND, "not_done = 503", "503", "must be a list of whole numbers, 400 to 599"),
        (BACKEND, "not_done = [200]", "200", "must be 400 to 599; this is 200"),
        (
            BACKEND,
            "permissions = { network = \"Direct\" }",
            "\"Direct\"",
            "did you mean \"direct\"?",
        ),
        (TOKEN, "scopes = [\"create\", \"reed\"]", "\"reed\"", "each of `scopes` must be"),
        // Unknown settings and tables.
        (
            "",
            "default_backnd = \"a\"",
            "default_backnd",
            "`default_backnd`; did you mean `default_backend`?",
        ),
        (
            "",
            "[limit]\nconcurrency = 1",
            "limit",
            "unknown setting `limit`; did you mean `limits`?",
        ),
        ("", "[backend.a]\nplugin = \"rt\"", "backend", "did you mean `backends`?"),
        ("", "nonsense = 1", "nonsense", "unknown setting `nonsense`"),
        ("[limits]\n", "max-workers = 4", "max-workers", "did you mean `max_workers`?"),
        ("[serve]\n", "lisen = \"[::1]:1\"", "lisen", "did you mean `listen`?"),
        ("[queue]\n", "retry_day = 1", "retry_day", "did you mean `retry_days`?"),
        ("[queue]\n", "plugin_dirs = []", "plugin_dirs", "unknown setting `plugin_dirs` here"),
        (ARGUS, "filtre = \"x\"", "filtre", "did you mean `filter`?"),
        (TOKEN, "scope = []\nscopes = []", "scope", "did you mean `scopes`?"),
        (
            "",
            "[trusted_keys.a]\nplugin = []\nkey = \"x\"\nplugins = [\"a\"]",
            "plugin",
            "did you mean `plugins`?",
        ),
        (BACKEND, "endpont = \"x\"", "endpont", "did you mean `endpoint`?"),
        (BACKEND, "ENDPOINT = \"x\"", "ENDPOINT", "did you mean `endpoint`?"),
        (BACKEND, "template = { titel = \"x\" }", "titel", "did you mean `title`?"),
        (BACKEND, "permissions = { wirte = [] }", "wirte", "did you mean `write`?"),
        // Missing ones.
        ("", "[backends.a]\nendpoint = \"https://x.org\"", "[backends.a]", "`plugin` is missing"),
        ("", "backends.a = { plugin = \"rt\" }", "{ plugin = \"rt\" }", "`endpoint` is missing"),
        ("", "[argus]\nurl = \"https://a.org\"", "[argus]", "`token` is missing"),
        ("", "[argus]\ntoken = \"t\"", "[argus]", "`url` is missing"),
        (TOKEN, "", "[serve.tokens.a]", "`scopes` is missing"),
        ("", "[trusted_keys.a]\nplugins = [\"a\"]", "[trusted_keys.a]", "`key` is missing"),
        ("", "[trusted_keys.a]\nkey = \"x\"", "[trusted_keys.a]", "`plugins` is missing"),
    ];

    fn refused(text: &str) -> Error {
        Config::parse(Path::new("c.toml"), text).expect_err(text)
    }

    #[test]
    fn what_is_wrong_is_pointed_at_and_explained_and_the_schema_refuses_it_too() {
        let schema = jsonschema::validator_for(&schema::schema()).unwrap();
        for (before, wrong, at, why) in REFUSED {
            let text = format!("{before}{wrong}\n");
            let error = refused(&text);
            assert!(error.message.contains(why), "{text}\n{error}");
            let snippet = error.snippet.as_ref().unwrap();
            assert_eq!(&text[snippet.span.clone()], *at, "{text}");
            assert!(error.help.is_some_and(|help| !help.is_empty()), "{text}");
            let value = toml::from_str::<toml::Value>(&text).unwrap();
            assert!(!schema.is_valid(&super::super::json::json(value)), "the schema takes {text}");
        }
    }

    #[test]
    fn numbers_that_json_does_not_have_are_refused_too() {
        for (number, why) in [
            (
                "concurrency = 99999999999999999999",
                "must be 1 to 256; this is 99999999999999999999",
            ),
            ("requests_per_second = nan", "must be 0.001 to 10000; this is nan"),
            ("requests_per_second = inf", "must be 0.001 to 10000; this is inf"),
            ("concurrency = 2026-11-26", "this is a date or a time (2026-11-26)"),
            ("concurrency = 4.0", "this is a number with a decimal point (4.0)"),
        ] {
            let error = refused(&format!("{BACKEND}{number}\n"));
            assert!(error.message.contains(why), "{error}");
        }
    }

    #[test]
    fn the_help_says_where_a_setting_stands_what_it_is_or_what_there_is() {
        let help = |text: &str| refused(text).help.unwrap();
        let elsewhere = help(&format!("{BACKEND}plugin_dirs = [\"/x\"]\n"));
        assert_eq!(elsewhere, "write it at the top of the file, before the first [table]");
        let elsewhere = help("concurrency = 4\n");
        assert_eq!(elsewhere, "write it below [backends.NAME], or below [limits]");
        assert!(help("[limits]\nconcurency = 4\n").starts_with("`concurrency`: How many calls"));
        assert!(help("[serve]\nnonsense = 4\n").contains("listen, shutdown_seconds, tokens"));
        assert!(help("[argus]\ntoken = \"t\"\n").starts_with("The URL of Argus's API"));
    }

    #[track_caller]
    fn tells(text: &str, told: &[&str]) {
        let error = refused(text);
        let all: Vec<&str> = error.each().map(|error| error.message.as_str()).collect();
        assert_eq!(all.len(), told.len(), "{text}\n{all:#?}");
        for (message, told) in all.iter().zip(told) {
            assert!(message.contains(told), "no {told:?}: {text}\n{all:#?}");
        }
    }

    #[test]
    fn all_mistakes_of_a_file_are_told_in_its_order() {
        for (text, told) in [
            (
                "[serve]\nlistn = 1\n[queue]\nretry_days = 0\n[limits]\nconcurrency = 0\n",
                &["`listn`", "`retry_days` must be", "`concurrency` must be"][..],
            ),
            // Those of values, beside those of types and names, also in one backend.
            (
                "default_backend = \"c\"\n[backends.b]\nendpoint = \"x\"\nconcurrency = 0\nproxy = \"y\"\n\
                 allow_origins = [\"https://x.org/y\", 1, \"z\"]\nsha256 = \"0\"\n[backends.a]\nplugin = 1\n\
                 endpoint = \"ftp://x.org\"\n[argus]\nurl = 1\nfrontend_url = \"z\"\n[serve]\nlisten = \"here\"\n\
                 tokens.a = { sha256 = \"0\", scopes = [\"make\"] }\n[trusted_keys.k]\nkey = \"x\"\nplugins = []\n",
                &[
                    "default_backend names a backend \"c\"",
                    "`plugin` is missing",
                    "endpoint \"x\" is not",
                    "`concurrency` must be",
                    "proxy is not",
                    "\"https://x.org/y\" that is not an origin",
                    "each of `allow_origins` must be",
                    "\"z\" that is not an origin",
                    "sha256 ",
                    "`plugin` must be",
                    "endpoint \"ftp://x.org\" has a scheme",
                    "`token` is missing",
                    "`url` must be",
                    "argus.frontend_url \"z\"",
                    "listen \"here\" is not",
                    "sha256 ",
                    "each of `scopes` must be",
                    "key is not",
                    "plugins is empty",
                ],
            ),
        ] {
            tells(text, told);
        }
    }

    #[test]
    fn nothing_that_follows_from_a_mistake_is_told() {
        for (text, told) in [
            // A misspelled setting is looked at all the same, and one that is there is not missing.
            (
                format!("default_backend = \"a\"\n{BACKEND}concurency = 0\nplugn = \"x\"\n"),
                &["`concurency`; did you mean", "`concurrency` must be", "`plugn`; did you mean"][..],
            ),
            (
                "default_backend = \"a\"\n[backends.a]\nplugn = \"rt\"\nendpoint = \"x\"\n"
                    .to_owned(),
                &["`plugn`", "endpoint \"x\""],
            ),
            (
                "default_backend = \"a\"\nbackends.a = 1\n".to_owned(),
                &["each of `backends` must be"],
            ),
            (
                format!("{BACKEND}secrt = {{ key = \"x\" }}\ninformatoin = 1\n"),
                &["`secrt`; did you mean", "`informatoin`; did you mean"],
            ),
            // Backends that aren't read may be those that are named.
            ("default_backend = \"a\"\nbackends = 1\n".to_owned(), &["`backends` must be"]),
            (
                format!(
                    "default_backend = \"a\"\n[[backends]]\nplugin = \"x\"\n{ARGUS}backend = \"a\"\n"
                ),
                &["`backends` must be"],
            ),
            (
                "default_backend = \"a\"\n[backend.a]\nplugin = \"x\"\n[backends.b]\n".to_owned(),
                &["`backend`; did you", "`endpoint` is missing", "`plugin` is missing"],
            ),
            (
                format!("default_backend = \"a\"\n[b.a]\nplugin = \"x\"\n{ARGUS}backend = \"a\"\n"),
                &["`b`"],
            ),
            (
                "default_backend = \"a\"\n[queue]\nx = 1\n".to_owned(),
                &["default_backend names", "`x`"],
            ),
            ("serve.tokens.a = {}\n".to_owned(), &["`scopes` is missing"]),
            (
                "serve.tokens.a = 1\ntrusted_keys.k = 1\nargus = 1\n".to_owned(),
                &["each of", "each of", "`argus`"],
            ),
            // What is not TOML is one mistake.
            ("a = \nb = \n".to_owned(), &[""]),
        ] {
            tells(&text, told);
        }
    }

    #[test]
    fn what_a_misspelled_setting_gives_is_shown_only_if_it_can_be_no_secret() {
        let shown = |text: &str| refused(text).snippet.unwrap().text.to_string();
        assert!(shown(&format!("{BACKEND}concurency = 4\n")).contains("concurency = 4"));
        for text in [
            "[argus]\nurl = \"https://a.org\"\ntokn = \"hunter2\"\n",
            "[argus]\nurl = \"https://a.org\"\nTOKEN = \"hunter2\"\n",
            "[argus]\nurl = \"https://a.org\"\npassword = [\"hunter2\"]\n",
            &format!("{BACKEND}[backends.a.secrt]\nkey = \"hunter2\"\n"),
            &format!("{BACKEND}secrte = {{ key = \"hunter2\" }}\nconcurrency = 0\n"),
            &format!("nonsense = 1\n{BACKEND}credentials = {{ key = \"hunter2\" }}\n"),
        ] {
            assert!(!shown(text).contains("hunter2"), "{}", shown(text));
            assert!(!format!("{:?}", refused(text)).contains("hunter2"));
        }
    }

    #[test]
    fn very_many_mistakes_are_explained_in_no_more_time_than_their_number_takes() {
        let many = |number: usize, each: fn(usize) -> String| (0..number).map(each).collect();
        let endpoint = |n| format!("[backends.b{n}]\nplugin = \"rt\"\nendpoint = \"x@y\"\n");
        let unknown: String = many(20_000, |n| format!("k{n} = {n}\n"));
        for (text, first, number) in [
            (unknown.clone(), "unknown setting `k0`", 20_000),
            (format!("{BACKEND}{unknown}"), "unknown setting `k0`", 20_000),
            (many(5_000, endpoint), "endpoint is not a valid URL", 5_000),
        ] {
            let before = std::time::Instant::now();
            let error = refused(&text);
            assert!(before.elapsed().as_secs() < 30, "{first}: {:?}", before.elapsed());
            assert!(error.message.contains(first), "{error}");
            assert_eq!(error.each().count() + error.more as usize, number);
            let starts: Vec<_> =
                error.each().map(|error| error.snippet.as_ref().unwrap().span.start).collect();
            assert!(starts.is_sorted() && starts.len() == 100);
            // They are the first of the file.
            let end = text.lines().take(303).map(|line| line.len() + 1).sum();
            assert!(starts.iter().all(|start| *start < end), "{starts:?}");
            let shown = crate::report::text(&error);
            let more = format!("... and {} errors more", number - 20);
            assert!(shown.contains(&more), "{shown}");
        }
    }

    #[test]
    fn a_long_text_is_not_repeated_as_a_whole() {
        let error = refused(&format!("signatures = \"{}\"\n", "x".repeat(100_000)));
        assert!(error.message.len() < 300, "{}", error.message.len());
    }
}
