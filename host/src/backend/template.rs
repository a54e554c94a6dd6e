//! The operator's templates for a ticket's title and body (minijinja), and what the templates see.
//!
//! A body template is Markdown. What comes from an incident is escaped in it, so that it reads as
//! it was written and does nothing; HTML and plain text are made from that Markdown. A title is one
//! line of plain text.

mod markdown;

use std::collections::BTreeMap;
use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value, ValueKind};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;
use serde_json::{Map, json};
use ticket_plugin_api::abi::MAX_EXTRA;
use ticket_plugin_api::{Difference, Incident};

use crate::config::BackendSetting;
use crate::error::{Error, Result};

/// The title if the operator says nothing: the description, as Argus's own plugins have it.
pub(super) const DEFAULT_TITLE: &str = include_str!("template/title.txt");
/// The body if the operator says nothing: the sections of Argus's own plugins, the empty ones left out.
pub(super) const DEFAULT_BODY: &str = include_str!("template/body.md");
/// What a comment on a change of the incident says.
const COMMENT: &str = include_str!("template/comment.md");
/// What the last comment says, with which the ticket is closed.
const CLOSING: &str = include_str!("template/closing.md");
/// What a person says.
const SAID: &str = "{{ said }}";

/// Bytes that a filled-in template may have. No ticket system takes more.
const LONGEST: usize = 8 << 20;
/// Steps (minijinja's fuel) that filling in a template may take. The default body needs fewer even for the
/// largest number of tags that an incident can have.
const FUEL: u64 = 5_000_000;

/// Bytes of texts with which a template of the host's own is filled in at once.
const QUICK: usize = 32 << 10;
/// What a value counts for beside its text, in bytes.
const EACH: usize = 16;

/// The attributes of an incident from Argus (API v2 and v3, what Argus adds for ticket plugins, and what the host adds).
const ATTRIBUTES: [&str; 18] = [
    "pk",
    "start_time",
    "end_time",
    "source",
    "source_incident_id",
    "details_url",
    "description",
    "level",
    "ticket_url",
    "tags",
    "metadata",
    "stateful",
    "open",
    "acked",
    "argus_url",
    "user",
    "closed_by",
    "former_ticket_url",
];

/// Whether what lies in a JSON object has no more than `left` bytes, which are then fewer.
fn fits(object: &Map<String, serde_json::Value>, left: &mut usize) -> bool {
    object.iter().all(|(name, value)| takes(left, name.len()) && value_fits(value, left))
}

fn value_fits(value: &serde_json::Value, left: &mut usize) -> bool {
    match value {
        serde_json::Value::String(text) => takes(left, text.len()),
        serde_json::Value::Array(values) => values.iter().all(|value| value_fits(value, left)),
        serde_json::Value::Object(object) => fits(object, left),
        _ => takes(left, 0),
    }
}

fn takes(left: &mut usize, bytes: usize) -> bool {
    let rest = left.checked_sub(bytes + EACH);
    *left = rest.unwrap_or(0);
    rest.is_some()
}

/// What a template sees. What is the host's own stands after the plugin's, since of two members with one name the last is seen.
#[derive(Serialize)]
struct Context<'a> {
    #[serde(flatten)]
    extra: Map<String, serde_json::Value>,
    incident: &'a Map<String, serde_json::Value>,
    tags: Vec<&'a str>,
    source: &'a str,
    end_time: &'a str,
    diff: &'a BTreeMap<String, Difference>,
    said: &'a str,
}

/// What a comment is about.
#[derive(Debug, Clone, Default)]
pub(crate) struct News {
    /// How the incident differs from what its ticket was told before.
    pub diff: BTreeMap<String, Difference>,
    /// What a person says, in the place of the template.
    pub said: Option<String>,
}

/// The operator's own templates.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Given<'a> {
    pub title: Option<&'a str>,
    pub body: Option<&'a str>,
    pub comment: Option<&'a str>,
    pub closing: Option<&'a str>,
}

/// Why a template can't be used.
#[derive(Debug)]
pub(crate) struct Unusable {
    pub setting: BackendSetting,
    /// The line of the template that it is about, from 1.
    pub line: usize,
    pub error: Box<Error>,
}

/// The compiled templates of a title, a body, a comment and a closing comment.
#[derive(Debug, Clone)]
pub(crate) struct Templates {
    environment: Environment<'static>,
    /// Those that are the operator's, by their names.
    given: Vec<&'static str>,
    /// A sentence for each name in them that Argus's incidents don't have. Most likely it is misspelt.
    pub warnings: Vec<String>,
}

impl Templates {
    /// # Errors
    /// For each template that can't be read a settings error that names it, and the line.
    pub(crate) fn new(given: &Given<'_>) -> std::result::Result<Templates, Vec<Unusable>> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("Jinja's own delimiters don't clash"));
        environment.set_auto_escape_callback(|name| match name {
            "title" => AutoEscape::None,
            _ => AutoEscape::Custom("markdown".into()),
        });
        environment.set_formatter(|out, state, value| {
            if value.is_undefined() || value.is_none() {
                return Ok(());
            }
            let text = value.to_string();
            if value.is_safe() || matches!(state.auto_escape(), AutoEscape::None) {
                out.write_str(&text)?;
            } else {
                out.write_str(&markdown::escape(&text))?;
            }
            Ok(())
        });
        environment.add_filter("link", |value: Value| {
            if value.kind() == ValueKind::String {
                Value::from_safe_string(markdown::link(&value.to_string()))
            } else {
                value
            }
        });
        let (mut warnings, mut all) = (Vec::new(), Vec::new());
        let mut by_operator = Vec::new();
        for (name, given, default) in [
            ("title", given.title, DEFAULT_TITLE),
            ("body", given.body, DEFAULT_BODY),
            ("comment", given.comment, COMMENT),
            ("closing", given.closing, CLOSING),
            ("said", None, SAID),
        ] {
            by_operator.extend(given.map(|_| name));
            let source = given.unwrap_or(default);
            let added = environment.add_template_owned(name, source.to_owned());
            let added = added.map_err(|cause| unusable(name, "can't be read", cause));
            // The host's own are right: a test has looked.
            let checked = added.and_then(|()| match given {
                Some(_) => check(&environment, name, &mut warnings),
                None => Ok(()),
            });
            all.extend(checked.err());
        }
        if all.is_empty() {
            Ok(Templates { environment, given: by_operator, warnings })
        } else {
            Err(all)
        }
    }

    /// The text that a plugin's `render()` gets. `part` is `title`, `body`, `comment` or `closing`. `format` is that of all but a
    /// title: `markdown`, `html` or `text`. `extra` is empty or a JSON object, whose members these templates see too.
    ///
    /// # Errors
    /// Says why there is no text, in words that the plugin can put into its own error.
    /// Whether a part is filled in within a millisecond: a template of the host's own, with little to fill it with. What an operator's
    /// template does nobody knows.
    pub(crate) fn is_quick(&self, part: &str, extra: &str, incident: &Incident) -> bool {
        let mut left = QUICK.saturating_sub(extra.len());
        !self.given.contains(&part) && fits(&incident.attributes, &mut left)
    }

    pub(crate) fn render(
        &self,
        part: &str,
        format: &str,
        extra: &str,
        incident: &Incident,
        news: &News,
    ) -> std::result::Result<String, String> {
        if extra.len() > MAX_EXTRA {
            return Err(format!("render()'s extra has more than {MAX_EXTRA} bytes"));
        }
        let rendered = match part {
            "title" => self.title(incident),
            "comment" | "closing" if news.said.is_some() => {
                self.text("said", incident, format, Map::new(), news)
            }
            "body" | "comment" | "closing" => {
                let extra = match extra {
                    "" => Map::new(),
                    json => serde_json::from_str(json).map_err(|cause| {
                        format!("render()'s extra is not a JSON object: {cause}")
                    })?,
                };
                self.text(part, incident, format, extra, news)
            }
            other => {
                return Err(format!(
                    "there is no template {other:?}, only title, body, comment and closing"
                ));
            }
        };
        rendered.map_err(|error| match &error.cause {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        })
    }

    /// One line of plain text, never empty.
    fn title(&self, incident: &Incident) -> Result<String> {
        let text = self.fill_in("title", incident, Map::new(), &News::default())?;
        let line = markdown::one_line(&text);
        Ok(if line.is_empty() { "Incident".to_owned() } else { line })
    }

    /// A body or a comment in `format`, with what the plugin adds as `extra`.
    fn text(
        &self,
        part: &str,
        incident: &Incident,
        format: &str,
        extra: Map<String, serde_json::Value>,
        news: &News,
    ) -> Result<String> {
        let text = self.fill_in(part, incident, extra, news)?;
        let made = match format {
            "markdown" => text,
            "html" => markdown::to_html(&text),
            "text" => markdown::to_text(&text),
            other => {
                return Err(Error::plugin(format!(
                    "the plugin asked for a {part} in the unknown format {other:?}"
                )));
            }
        };
        if made.len() > LONGEST {
            return Err(too_long(part));
        }
        Ok(made)
    }

    fn fill_in(
        &self,
        name: &str,
        incident: &Incident,
        extra: Map<String, serde_json::Value>,
        news: &News,
    ) -> Result<String> {
        let context = Context {
            extra,
            incident: &incident.attributes,
            tags: incident.tags.iter().map(|tag| tag.text.as_str()).collect(),
            source: &incident.source,
            end_time: &incident.end_time,
            diff: &news.diff,
            said: news.said.as_deref().unwrap_or_default(),
        };
        let mut out = Bounded { bytes: Vec::new(), full: false };
        let template = self.environment.get_template(name);
        let filled = template
            .and_then(|template| template.render_captured_to(Serde(&context), &mut out).map(drop));
        if out.full {
            return Err(too_long(name));
        }
        filled.map_err(|cause| {
            Error::settings(format!("template.{name}: can't be filled in for this incident"))
                .cause(cause)
        })?;
        let text = String::from_utf8(out.bytes).map_err(|cause| {
            Error::settings(format!("template.{name}: its text is not UTF-8")).cause(cause)
        })?;
        Ok(text.trim_end().to_owned() + if name == "body" { "\n" } else { "" })
    }
}

fn too_long(name: &str) -> Error {
    Error::settings(format!("template.{name}: gives more than {LONGEST} bytes for this incident"))
        .help("leave out of the template what is long in the incident, or in what the plugin adds")
}

/// Takes a filled-in text up to [`LONGEST`] bytes, and refuses more.
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + piece.len() > LONGEST {
            self.full = true;
            return Err(io::Error::other("the text is too long"));
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The template `name` fails for that reason.
fn unusable(name: &str, what: &str, cause: minijinja::Error) -> Unusable {
    let line = cause.line().unwrap_or(1);
    let error = Error::settings(format!("template.{name}, line {line}: {what}"))
        .help("the syntax is Jinja's: https://docs.rs/minijinja/latest/minijinja/syntax/")
        .cause(cause);
    let setting = match name {
        "title" => BackendSetting::Title,
        "comment" => BackendSetting::Comment,
        "closing" => BackendSetting::Closing,
        _ => BackendSetting::Body,
    };
    Unusable { setting, line, error: Box::new(error) }
}

/// Looks for mistakes that would only show when a ticket is made: an error for a filter, test or function that
/// doesn't exist, a warning for a name that means nothing.
fn check(
    environment: &Environment,
    name: &str,
    warnings: &mut Vec<String>,
) -> std::result::Result<(), Unusable> {
    let failed = |cause| unusable(name, "can't be filled in", cause);
    let template = environment.get_template(name).map_err(failed)?;
    let mut unknown: Vec<String> = template.undeclared_variables(true).into_iter().collect();
    unknown.sort();
    for variable in unknown {
        let mut parts = variable.split('.');
        let (first, second) = (parts.next().unwrap_or_default(), parts.next());
        let known = match (first, second) {
            ("incident", Some(attribute)) => ATTRIBUTES.contains(&attribute),
            ("incident" | "source" | "end_time" | "tags" | "missing_fields" | "warnings", _) => {
                true
            }
            ("diff", _) => matches!(name, "comment" | "closing"),
            ("said", _) => name == "said",
            _ => environment.globals().any(|(global, _)| global == first),
        };
        if !known {
            warnings.push(format!(
                "template.{name}: {variable} is nothing that Argus's incidents have; is it misspelt?"
            ));
        }
    }
    use minijinja::ErrorKind::{UnknownFilter, UnknownFunction, UnknownMethod, UnknownTest};
    let sample: Map<String, serde_json::Value> =
        ATTRIBUTES.iter().map(|name| ((*name).to_owned(), json!("text"))).collect();
    match template.render(Serde(json!({"incident": sample, "tags": ["key=value"]}))) {
        Err(cause)
            if matches!(
                cause.kind(),
                UnknownFilter | UnknownFunction | UnknownMethod | UnknownTest
            ) =>
        {
            Err(failed(cause))
        }
        // The cause of another failure can be the sample, in which every attribute is a text.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(template: &str, extra: &str) -> std::result::Result<String, String> {
        let incident = serde_json::from_value(json!({"description": "gw1 is down"})).unwrap();
        let templates =
            Templates::new(&Given { body: Some(template), ..Given::default() }).unwrap();
        templates.render("body", "html", extra, &incident, &News::default())
    }

    #[test]
    fn what_a_plugin_adds_and_what_comes_of_it_have_bounds() {
        let warning = "x".repeat(200 << 10);
        let extra = json!({"warnings": [warning]}).to_string();
        assert!(body("{{ warnings[0] }}", &extra).unwrap().contains(&warning));
        let huge = json!({"warnings": ["x".repeat(256 << 10)]}).to_string();
        let refused = body("{{ warnings[0] }}", &huge).unwrap_err();
        assert_eq!(refused, "render()'s extra has more than 262144 bytes");
        let long = body("{% for n in range(100) %}{{ warnings[0] }}{% endfor %}", &extra);
        assert!(long.unwrap_err().contains("gives more than 8388608 bytes for this incident"));
    }

    #[test]
    fn what_a_plugin_adds_never_hides_the_incident() {
        let extra = json!({"incident": {"description": "forged"}, "own": "added"}).to_string();
        let text = body("{{ incident.description }} {{ own }}", &extra).unwrap();
        assert!(text.contains("gw1 is down added"), "{text}");
    }

    #[test]
    fn the_hosts_own_templates_are_right() {
        let templates = Templates::new(&Given::default()).unwrap();
        for part in ["title", "body", "comment", "closing", "said"] {
            let mut warnings = Vec::new();
            assert!(check(&templates.environment, part, &mut warnings).is_ok(), "{part}");
            assert!(warnings.is_empty(), "{part}: {warnings:?}");
        }
    }

    #[test]
    fn a_comment_and_a_closing_say_what_became_of_the_incident() {
        let incident = json!({
            "description": "gw1 *is* down", "level": 2, "end_time": "2026-11-26T12:00:00Z",
        });
        let incident = serde_json::from_value(incident).unwrap();
        let templates = Templates::new(&Given::default()).unwrap();
        for (part, text) in [
            ("comment", "The incident has changed (level 2): gw1 *is* down"),
            ("closing", "The incident has ended at 2026-11-26T12:00:00Z: gw1 *is* down"),
        ] {
            assert_eq!(
                templates.render(part, "text", "", &incident, &News::default()).unwrap().trim(),
                text
            );
        }
        let other =
            templates.render("reopening", "text", "", &incident, &News::default()).unwrap_err();
        assert!(other.contains("only title, body, comment and closing"), "{other}");
    }

    #[test]
    fn a_template_that_goes_on_and_on_is_stopped() {
        let numbers = json!({"warnings": vec![0; 100_000]}).to_string();
        let forever =
            "{% for a in warnings %}{% for b in warnings %}{% endfor %}{% endfor %}".to_owned();
        assert!(body(&forever, &numbers).unwrap_err().contains("ran out of fuel"));
    }

    #[test]
    fn the_largest_number_of_tags_that_an_incident_can_have_is_filled_in() {
        let tags: Vec<String> = (0..200_000).map(|_| "a".to_owned()).collect();
        let incident = json!({"description": "x", "tags": tags});
        let incident = serde_json::from_value(incident).unwrap();
        let templates = Templates::new(&Given::default()).unwrap();
        assert!(templates.render("body", "markdown", "", &incident, &News::default()).is_ok());
    }

    #[test]
    fn only_the_hosts_own_templates_and_small_incidents_are_filled_in_at_once() {
        let own = Templates::new(&Given::default()).unwrap();
        let given =
            Templates::new(&Given { body: Some("{{ incident.description }}"), ..Given::default() })
                .unwrap();
        let incident = |length: usize, tags: usize| -> Incident {
            let tags = vec![json!({"tag": "a=b"}); tags];
            let incident = json!({"description": "x".repeat(length), "tags": tags});
            serde_json::from_value(incident).unwrap()
        };
        assert!(own.is_quick("body", "{}", &incident(1000, 3)));
        assert!(own.is_quick("title", "{}", &incident(1000, 3)));
        assert!(given.is_quick("title", "{}", &incident(1000, 3)));
        assert!(!given.is_quick("body", "{}", &incident(1000, 3)));
        assert!(!own.is_quick("body", "{}", &incident(33 << 10, 3)));
        assert!(!own.is_quick("body", "{}", &incident(1000, 2000)));
        assert!(!own.is_quick("body", &" ".repeat(33 << 10), &incident(1000, 3)));
    }
}
