//! Compares settings with a plugin's JSON Schemas, and says what is wrong in words that an operator can act on.

use jsonschema::PatternOptions;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use crate::error::{Error, Errors, Result};
use crate::terminal;

/// Problems that are looked for.
const MOST_PROBLEMS: usize = 100;
/// Bytes of one problem's description, which may quote the schema or the setting.
const LONGEST_REASON: usize = 1 << 10;

/// Checks `value`, the setting called `name`. If it is `secret`, the errors don't quote it.
///
/// # Errors
/// All that the schema refuses, or that it is none.
pub(crate) fn validate(name: &str, schema: &Value, value: &Value, secret: bool) -> Result<()> {
    // The manifest's reader bounds the schema's size and the number of its regular expressions. How long each of
    // them may take, and how large it may get, is bounded here.
    let patterns = PatternOptions::fancy_regex().backtrack_limit(10_000).size_limit(256 << 10);
    let validator = jsonschema::options().with_pattern_options(patterns).build(schema);
    let validator = validator.map_err(|cause| {
        let cause = shown(&cause.to_string());
        Error::plugin(format!("the plugin's schema of {name} is not a JSON Schema: {cause}"))
    })?;
    let mut errors = Errors::default();
    for error in validator.iter_errors(value).take(MOST_PROBLEMS) {
        let path = error.instance_path().to_string().replace('/', ".");
        let what = match error.kind() {
            ValidationErrorKind::AnyOf { .. } | ValidationErrorKind::OneOfNotValid { .. } => {
                needs(schema)
            }
            ValidationErrorKind::Required { property } => {
                format!("{} is missing", property.as_str().unwrap_or_default())
            }
            _ if secret => error.masked().to_string(),
            _ => error.to_string(),
        };
        errors.add(
            Error::settings(shown(&format!("{name}{path}: {what}")))
                .help("`ticket-host plugins show NAME` documents a plugin's settings"),
        );
    }
    errors.together()
}

/// A text of the plugin's as a person gets to see it: on one line, and not too long.
fn shown(text: &str) -> String {
    terminal::short_line(text, LONGEST_REASON)
}

/// Says which members each of a schema's alternatives needs, for example `needs token; or username, password`.
fn needs(schema: &Value) -> String {
    let shapes: Vec<String> = alternatives(schema)
        .into_iter()
        .map(|shape| {
            let required = shape["required"].as_array().into_iter().flatten();
            required.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        })
        .filter(|names| !names.is_empty())
        .collect();
    if shapes.is_empty() {
        "fits none of the forms that the plugin knows".to_owned()
    } else {
        format!("needs {}", shapes.join("; or "))
    }
}

/// A sentence for each member of `value` that the schema doesn't know. Mostly it is a misspelling.
pub(crate) fn unknown_members(name: &str, schema: &Value, value: &Value) -> Vec<String> {
    let (Some(known), Some(given)) = (schema["properties"].as_object(), value.as_object()) else {
        return Vec::new();
    };
    let names = || known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    given
        .keys()
        .filter(|member| !known.contains_key(*member))
        .map(|member| format!("{name}.{member}: the plugin doesn't know it; it knows {}", names()))
        .map(|warning| shown(&warning))
        .collect()
}

/// A setting as `plugins show` documents it.
#[derive(Debug, serde::Serialize)]
pub(crate) struct DocumentedSetting {
    pub name: String,
    pub kind: String,
    pub required: bool,
    pub description: String,
}

/// The settings that a schema describes: one list for each of its alternatives, and one for what all have in
/// common.
pub(crate) fn settings(schema: &Value) -> Vec<Vec<DocumentedSetting>> {
    let shapes = alternatives(schema).into_iter().chain([schema]).map(|shape| {
        let required = |name: &str| {
            shape["required"].as_array().is_some_and(|r| r.iter().any(|v| v.as_str() == Some(name)))
        };
        let properties = shape["properties"].as_object().into_iter().flatten();
        properties
            .map(|(name, property)| DocumentedSetting {
                name: shown(name),
                kind: shown(&kind(schema, property, 4)),
                required: required(name),
                description: shown(
                    &property["description"].as_str().unwrap_or_default().replace('\n', " "),
                ),
            })
            .collect()
    });
    shapes.filter(|settings: &Vec<DocumentedSetting>| !settings.is_empty()).collect()
}

/// The schemas in `anyOf` or `oneOf`.
fn alternatives(schema: &Value) -> Vec<&Value> {
    let shapes = schema.get("anyOf").or_else(|| schema.get("oneOf"));
    shapes.and_then(Value::as_array).into_iter().flatten().collect()
}

/// The type of a property in words. References lead into `root`. At most `depth` are followed, one after the other,
/// since one could lead back to itself.
fn kind(root: &Value, property: &Value, depth: usize) -> String {
    let any = || "any".to_owned();
    if let Some(reference) = property["$ref"].as_str() {
        let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return match (target, depth) {
            (None, _) | (_, 0) => any(),
            (Some(target), depth) => kind(root, target, depth - 1),
        };
    }
    let mut kinds: Vec<String> = match &property["type"] {
        Value::String(kind) => vec![kind.clone()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => alternatives(property)
            .into_iter()
            .filter(|shape| shape["type"] != "null")
            .map(|shape| kind(root, shape, depth))
            .collect(),
    };
    // A type that may be null is one that may be left out, and "required" tells that already.
    kinds.retain(|kind| kind != "null");
    if kinds.is_empty() { any() } else { kinds.join(" or ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn login() -> Value {
        json!({"anyOf": [
            {"type": "object", "required": ["token"], "properties": {"token": {"type": "string"}}},
            {"type": "object", "required": ["username", "password"]},
        ]})
    }

    #[test]
    fn a_secret_of_no_known_shape_is_told_the_shapes_and_not_shown() {
        let error = validate("secret", &login(), &json!({"tokn": "hunter2"}), true).unwrap_err();
        assert_eq!(error.message, "secret: needs token; or username, password");
    }

    #[test]
    fn a_secret_of_the_wrong_type_is_not_shown() {
        let schema = json!({"properties": {"token": {"type": "integer"}}});
        let error = validate("secret", &schema, &json!({"token": "hunter2"}), true).unwrap_err();
        assert!(!error.message.contains("hunter2"), "{error}");
        assert!(error.message.starts_with("secret.token: "), "{error}");
    }

    #[test]
    fn settings_are_documented_by_alternative_and_through_references() {
        let schema = json!({
            "$defs": {
                "Queue": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                "Loop": {"anyOf": [{"$ref": "#/$defs/Loop"}]},
            },
            "anyOf": [
                {"required": ["q"], "properties": {"q": {"$ref": "#/$defs/Queue"}}},
                {"properties": {"r": {"anyOf": [{"$ref": "#/$defs/Queue"}, {"type": "null"}]}}},
            ],
            "properties": {"s": {"$ref": "#/$defs/Loop"}},
        });
        let shapes = settings(&schema);
        let kinds = shapes.iter().map(|shape| (shape[0].kind.as_str(), shape[0].required));
        let expected = [("string or integer", true), ("string or integer", false), ("any", false)];
        assert_eq!(kinds.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn no_name_in_a_schema_makes_a_line_of_its_own_or_a_very_long_one() {
        let name = format!("a\n INFO ticket 99: created{}", "b".repeat(1 << 19));
        let schema = json!({"required": [name], "properties": {&name: {"type": name}}});
        let warnings = unknown_members("information", &schema, &json!({"x": 1}));
        let error = validate("information", &schema, &json!({}), false).unwrap_err().message;
        let setting = &settings(&schema)[0][0];
        for text in [&warnings[0], &error, &setting.name, &setting.kind] {
            assert!(!text.contains('\n') && text.len() < 6000, "{} bytes", text.len());
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let schema = json!({"type": "object", "required": ["queue"]});
        let error = validate("information", &schema, &json!({}), false).unwrap_err();
        assert_eq!(error.message, "information: queue is missing");
    }

    #[test]
    fn all_that_is_wrong_is_told() {
        let schema = json!({
            "type": "object",
            "required": ["queue", "owner"],
            "properties": {"level": {"type": "integer"}},
        });
        let error = validate("information", &schema, &json!({"level": "x"}), false).unwrap_err();
        let mut told: Vec<&str> = error.each().map(|error| error.message.as_str()).collect();
        told.sort_unstable();
        assert_eq!(
            told,
            [
                "information.level: \"x\" is not of type \"integer\"",
                "information: owner is missing",
                "information: queue is missing",
            ]
        );
    }

    #[test]
    fn a_misspelt_member_is_a_warning_with_the_right_names() {
        let schema = json!({"properties": {"queue": {}, "custom_fields_set": {}}});
        let warnings = unknown_members("information", &schema, &json!({"quue": 1, "queue": 2}));
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].contains("information.quue")
                && warnings[0].contains("custom_fields_set, queue")
        );
    }
}
