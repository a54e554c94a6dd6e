//! The page at `/docs`: the OpenAPI document, for people who read it in a browser.
//!
//! Invariant: the page is one file. It runs no script and loads nothing, and its Content-Security-Policy lets it do
//! neither. Whatever the document says is escaped.

use std::fmt::Write as _;

use axum::body::Bytes;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;
use serde_json::Value;
use ticket_host_worker::Digest;

const TEMPLATE: &str = include_str!("docs.html");
const STYLE: &str = include_str!("docs.css");
/// The document's own words for it.
const METHODS: [&str; 2] = ["get", "post"];

/// The page, as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Page {
    html: Bytes,
    policy: String,
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let headers: [(HeaderName, String); 4] = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
            (header::CONTENT_SECURITY_POLICY, self.policy),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            (header::REFERRER_POLICY, "no-referrer".to_owned()),
        ];
        (headers, self.html).into_response()
    }
}

/// The page of an OpenAPI document.
pub(super) fn page(document: &Value) -> Page {
    let mut templates = Environment::new();
    templates.add_filter("code", code);
    let html = templates
        // Its ending makes minijinja escape what is filled in.
        .render_named_str("docs.html", TEMPLATE, Serde(Shown::of(document)))
        .expect("the template is part of the program, and a test fills it in");
    let style = STANDARD.encode(Digest::of(STYLE.as_bytes()).bytes());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    Page { html: html.into(), policy }
}

/// A text as HTML, with what stands between backticks as code.
fn code(text: &str) -> minijinja::Value {
    let mut html = String::new();
    for (number, part) in text.split('`').enumerate() {
        let part = minijinja::HtmlEscape(part);
        // Writing to a String can't fail.
        let _ = if number % 2 == 0 {
            write!(html, "{part}")
        } else {
            write!(html, "<code>{part}</code>")
        };
    }
    minijinja::Value::from_safe_string(html)
}

/// What the template shows.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    style: &'static str,
    info: &'a Value,
    /// The paragraphs of the description.
    about: Vec<&'a str>,
    groups: Vec<Group<'a>>,
    schemas: Vec<Schema<'a>>,
}

/// The operations with a tag.
#[derive(Debug, Serialize)]
struct Group<'a> {
    tag: &'a Value,
    operations: Vec<Operation<'a>>,
}

#[derive(Debug, Serialize)]
struct Operation<'a> {
    method: String,
    path: &'a str,
    said: &'a Value,
    /// The scope that a token needs, if one is needed.
    scope: Option<&'a str>,
    /// The scope of the tokens with which more is answered.
    more_with: Option<&'a str>,
    parameters: Vec<Field<'a>>,
    body: Option<Shape>,
    curl: String,
    answers: Vec<Answer<'a>>,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    status: &'a str,
    description: &'a str,
    headers: Vec<Field<'a>>,
    content: Option<(&'a str, Shape)>,
}

/// A parameter, a header, or a member of an object.
#[derive(Debug, Serialize)]
struct Field<'a> {
    name: &'a str,
    /// Where it stands: `path` or `query`, for parameters.
    place: &'a str,
    shape: Shape,
    required: bool,
    description: &'a str,
}

#[derive(Debug, Serialize)]
struct Schema<'a> {
    name: &'a str,
    description: &'a str,
    values: Vec<&'a str>,
    members: Vec<Field<'a>>,
    example: Option<String>,
}

/// What kind of value something is: some words, then perhaps the name of a schema.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Shape {
    words: String,
    schema: Option<String>,
}

impl Shown<'_> {
    fn of(document: &Value) -> Shown<'_> {
        let schemas = members(&document["components"]["schemas"]);
        Shown {
            style: STYLE,
            info: &document["info"],
            about: text(&document["info"]["description"]).split("\n\n").collect(),
            groups: items(&document["tags"]).map(|tag| group(document, tag)).collect(),
            schemas: schemas.map(|(name, schema)| self::schema(name, schema)).collect(),
        }
    }
}

fn group<'a>(document: &'a Value, tag: &'a Value) -> Group<'a> {
    let with_method = |(path, item): (&'a str, &'a Value)| {
        METHODS.iter().map(move |method| (*method, path, &item[method]))
    };
    let operations = members(&document["paths"])
        .flat_map(with_method)
        .filter(|(_, _, said)| items(&said["tags"]).any(|other| *other == tag["name"]))
        .map(|(method, path, said)| operation(document, method, path, said));
    Group { tag, operations: operations.collect() }
}

fn operation<'a>(document: &Value, method: &str, path: &'a str, said: &'a Value) -> Operation<'a> {
    let ways = || items(&said["security"]).map(|way| members(way).next());
    let scope = ways().flatten().next().map(|(scope, _)| scope);
    let is_optional = ways().any(|way| way.is_none());
    let body = &said["requestBody"]["content"]["application/json"]["schema"];
    let body = (!body.is_null()).then(|| shape(body));
    Operation {
        method: method.to_uppercase(),
        path,
        said,
        scope: scope.filter(|_| !is_optional),
        more_with: scope.filter(|_| is_optional),
        parameters: items(&said["parameters"]).map(parameter).collect(),
        curl: curl(document, method, path, said),
        body,
        answers: members(&said["responses"]).map(answer).collect(),
    }
}

/// The command that asks for an operation as its examples do.
fn curl(document: &Value, method: &str, path: &str, said: &Value) -> String {
    let (mut path, mut query) = (path.to_owned(), Vec::new());
    for parameter in items(&said["parameters"]).filter(|one| !one["example"].is_null()) {
        let (name, example) = (text(&parameter["name"]), &parameter["example"]);
        match text(&parameter["in"]) {
            "path" => path = path.replace(&format!("{{{name}}}"), &example.to_string()),
            _ => query.push(format!("{name}={example}")),
        }
    }
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let mut command = format!("curl \"$URL{path}{query}\"");
    if items(&said["security"]).any(|way| members(way).next().is_some()) {
        command.push_str(" \\\n  -H \"Authorization: Bearer $TOKEN\"");
    }
    let body = shape(&said["requestBody"]["content"]["application/json"]["schema"]).schema;
    let example = body.and_then(|name| example(&document["components"]["schemas"][&name]));
    match example {
        // A shell ends a text in single quotes at the next one.
        Some(json) => {
            let json = json.replace('\'', "'\\''");
            command.push_str(" \\\n  -H \"Content-Type: application/json\" \\\n  -d '");
            command.push_str(&format!("{json}'"));
        }
        None if method == "post" => command.push_str(" \\\n  -X POST"),
        None => {}
    }
    command
}

fn parameter(said: &Value) -> Field<'_> {
    Field {
        name: text(&said["name"]),
        place: text(&said["in"]),
        shape: shape(&said["schema"]),
        required: said["required"] == true,
        description: text(&said["description"]),
    }
}

fn answer<'a>((status, said): (&'a str, &'a Value)) -> Answer<'a> {
    let header = |(name, said): (&'a str, &'a Value)| Field {
        name,
        place: "",
        shape: shape(&said["schema"]),
        required: false,
        description: text(&said["description"]),
    };
    let content = members(&said["content"]).next();
    Answer {
        status,
        description: text(&said["description"]),
        headers: members(&said["headers"]).map(header).collect(),
        content: content.map(|(kind, said)| (kind, shape(&said["schema"]))),
    }
}

fn schema<'a>(name: &'a str, said: &'a Value) -> Schema<'a> {
    let member = |(name, of): (&'a str, &'a Value)| Field {
        name,
        place: "",
        shape: shape(of),
        required: items(&said["required"]).any(|required| required == name),
        description: text(&of["description"]),
    };
    let mut members: Vec<Field<'_>> = members(&said["properties"]).map(member).collect();
    // JSON objects are in no order, but what is required is listed in the order of the type.
    let place = |name: &str| items(&said["required"]).position(|required| required == name);
    members.sort_by_key(|member| place(member.name).unwrap_or(usize::MAX));
    Schema {
        name,
        description: text(&said["description"]),
        values: items(&said["enum"]).filter_map(Value::as_str).collect(),
        members,
        example: example(said),
    }
}

fn example(schema: &Value) -> Option<String> {
    let example = items(&schema["examples"]).next()?;
    serde_json::to_string_pretty(example).ok()
}

/// What kind of value a schema takes.
fn shape(schema: &Value) -> Shape {
    let words = |words: &str| Shape { words: words.to_owned(), schema: None };
    if let Some(name) = schema["$ref"].as_str().and_then(|to| to.rsplit('/').next()) {
        return Shape { words: String::new(), schema: Some(name.to_owned()) };
    }
    if let Some(other) = items(&schema["oneOf"]).find(|one| one["type"] != "null") {
        return shape(other).after("null or ");
    }
    let (kind, may_be_null) = match &schema["type"] {
        Value::Array(kinds) => {
            let kind = kinds.iter().find(|kind| *kind != "null");
            (kind.map_or("", text), kinds.iter().any(|kind| kind == "null"))
        }
        kind => (text(kind), false),
    };
    let shape = match kind {
        "array" => shape(&schema["items"]).after("list of "),
        "string" if schema["format"] == "date-time" => words("time (RFC 3339)"),
        "string" => words("text"),
        "" => words("any"),
        kind => words(kind),
    };
    if may_be_null { shape.after("null or ") } else { shape }
}

impl Shape {
    fn after(self, words: &str) -> Shape {
        Shape { words: format!("{words}{}", self.words), ..self }
    }
}

/// The text that a JSON value is, or an empty one.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_is_told_in_words_with_the_schema_that_it_refers_to() {
        let to = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
        for (schema, words, name) in [
            (to("State"), "", Some("State")),
            (json!({"type": "array", "items": to("Job")}), "list of ", Some("Job")),
            (json!({"oneOf": [{"type": "null"}, to("Job")]}), "null or ", Some("Job")),
            (json!({"type": ["string", "null"]}), "null or text", None),
            (
                json!({"type": ["array", "null"], "items": to("Job")}),
                "null or list of ",
                Some("Job"),
            ),
            (json!({"type": "string", "format": "date-time"}), "time (RFC 3339)", None),
            (json!({"type": "integer", "format": "int64"}), "integer", None),
            (json!({"description": "x"}), "any", None),
        ] {
            let expected = Shape { words: words.to_owned(), schema: name.map(str::to_owned) };
            assert_eq!(shape(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn whatever_the_document_says_is_escaped() {
        let evil = "</style><script>alert(1)</script><a href='x' onclick=\"y\">&`<b>`";
        let to = json!({"$ref": format!("#/components/schemas/{evil}")});
        let document = json!({
            "info": {"title": evil, "version": evil, "description": evil},
            "tags": [{"name": evil, "description": evil}],
            "paths": {evil: {"post": {
                "tags": [evil], "operationId": evil, "summary": evil, "description": evil,
                "security": [{evil: []}],
                "parameters": [{"name": evil, "in": "query", "description": evil, "example": evil, "schema": to}],
                "requestBody": {"content": {"application/json": {"schema": to}}},
                "responses": {evil: {
                    "description": evil,
                    "headers": {evil: {"description": evil, "schema": to}},
                    "content": {evil: {"schema": to}},
                }},
            }}},
            "components": {
                "schemas": {evil: {
                    "description": evil, "enum": [evil], "examples": [evil], "required": [evil],
                    "properties": {evil: {"type": evil, "description": evil}},
                }},
            },
        });
        let page = String::from_utf8(page(&document).html.to_vec()).unwrap();
        for part in ["<script", "<a href='x'", "onclick=\"", "<b>"] {
            assert!(!page.contains(part), "{part} in:\n{page}");
        }
        assert_eq!(page.matches("</style>").count(), 1);
        assert!(
            page.contains("&lt;script&gt;") && page.contains("<code>&lt;b&gt;</code>"),
            "{page}"
        );
    }

    #[test]
    fn an_operation_is_asked_for_with_its_examples() {
        let said = json!({
            "security": [{"create": []}],
            "parameters": [
                {"name": "id", "in": "path", "example": 17},
                {"name": "limit", "in": "query", "example": 20},
                {"name": "key", "in": "query"},
            ],
            "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/x/Create"}}}},
        });
        let document = json!({"components": {"schemas": {"Create": {"examples": ["it's"]}}}});
        assert_eq!(
            curl(&document, "post", "/v1/tickets/{id}", &said),
            "curl \"$URL/v1/tickets/17?limit=20\" \\\n  -H \"Authorization: Bearer $TOKEN\" \\\n  \
             -H \"Content-Type: application/json\" \\\n  -d '\"it'\\''s\"'"
        );
        assert_eq!(curl(&document, "post", "/x", &json!({})), "curl \"$URL/x\" \\\n  -X POST");
    }
}
