//! The operator's templates of a ticket's title and body (minijinja), and what they see.
//!
//! A body template is Markdown. What comes from an incident is escaped in it, so that it reads as
//! it was written and does nothing; HTML and plain text are made from that Markdown. A title is one
//! line of plain text.

mod markdown;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value, ValueKind};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::{Map, json};
use ticket_plugin_api::Incident;

use crate::error::{Error, Result};

/// The title if the operator says nothing: the description, as Argus's own plugins have it.
pub const DEFAULT_TITLE: &str = include_str!("template/title.txt");
/// The body if the operator says nothing: the sections of Argus's own plugins, the empty ones left out.
pub const DEFAULT_BODY: &str = include_str!("template/body.md");

/// What an incident of Argus's has (API v2 and v3, and what Argus adds for ticket plugins).
const ATTRIBUTES: [&str; 17] = [
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
];

/// A title and a body, compiled.
#[derive(Debug, Clone)]
pub struct Templates {
    environment: Environment<'static>,
    /// What they name and Argus's incidents don't have: misspelt, most likely.
    pub warnings: Vec<String>,
}

impl Templates {
    /// # Errors
    /// A settings error that says which template can't be read, and where in it.
    pub fn new(title: Option<&str>, body: Option<&str>) -> Result<Templates> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("Jinja's own delimiters don't clash"));
        environment.set_auto_escape_callback(|name| match name {
            "body" => AutoEscape::Custom("markdown".into()),
            _ => AutoEscape::None,
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
        for (name, given, default) in
            [("title", title, DEFAULT_TITLE), ("body", body, DEFAULT_BODY)]
        {
            let source = given.unwrap_or(default);
            environment.add_template_owned(name, source.to_owned()).map_err(|cause| {
                let line = cause.line().map(|l| format!(", line {l}")).unwrap_or_default();
                Error::settings(format!("template.{name}{line}: can't be read"))
                    .help("the syntax is Jinja's; see the README's section on templates")
                    .cause(cause)
            })?;
        }
        let mut warnings = Vec::new();
        for name in ["title", "body"] {
            check(&environment, name, &mut warnings)?;
        }
        Ok(Templates { environment, warnings })
    }

    /// One line of plain text, never empty.
    pub fn title(&self, incident: &Incident) -> Result<String> {
        let text = self.render("title", incident, Map::new())?;
        let line = markdown::one_line(&text);
        Ok(if line.is_empty() { "Incident".to_owned() } else { line })
    }

    /// The body in `format`: `markdown`, `html` or `text`. `extra` is what the plugin adds.
    pub fn body(
        &self,
        incident: &Incident,
        format: &str,
        extra: Map<String, serde_json::Value>,
    ) -> Result<String> {
        let body = self.render("body", incident, extra)?;
        match format {
            "markdown" => Ok(body),
            "html" => Ok(markdown::to_html(&body)),
            "text" => Ok(markdown::to_text(&body)),
            other => Err(Error::plugin(format!(
                "the plugin asked for a body in the unknown format {other:?}"
            ))),
        }
    }

    fn render(
        &self,
        name: &str,
        incident: &Incident,
        extra: Map<String, serde_json::Value>,
    ) -> Result<String> {
        let mut context = extra;
        let tags: Vec<&str> = incident.tags.iter().map(|tag| tag.text.as_str()).collect();
        context.insert("incident".into(), incident.attributes.clone().into());
        context.insert("tags".into(), json!(tags));
        context.insert("source".into(), incident.source.clone().into());
        context.insert("end_time".into(), incident.end_time.clone().into());
        let template = self.environment.get_template(name);
        template
            .and_then(|template| template.render(Serde(&context)))
            .map(|text| text.trim_end().to_owned() + if name == "body" { "\n" } else { "" })
            .map_err(|cause| {
                Error::settings(format!("template.{name}: can't be filled in for this incident"))
                    .cause(cause)
            })
    }
}

/// Looks for what would only show when a ticket is made: filters that there are not, and names
/// that mean nothing.
fn check(environment: &Environment, name: &str, warnings: &mut Vec<String>) -> Result<()> {
    let failed = |cause: minijinja::Error| {
        let line = cause.line().map(|l| format!(", line {l}")).unwrap_or_default();
        Error::settings(format!("template.{name}{line}: can't be filled in"))
            .help("the syntax is Jinja's; see the README's section on templates")
            .cause(cause)
    };
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
        // Other failures can be the sample's.
        _ => Ok(()),
    }
}
