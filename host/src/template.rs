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

/// A title and a body, compiled.
#[derive(Debug, Clone)]
pub struct Templates {
    environment: Environment<'static>,
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
        Ok(Templates { environment })
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
