//! Settings against a plugin's JSON Schemas, with errors that an operator can act on.

use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use crate::error::{Error, Result};

/// Whether `value`, the setting `name`, fits. With `secret`, no value gets into an error.
pub(crate) fn validate(name: &str, schema: &Value, value: &Value, secret: bool) -> Result<()> {
    let validator = jsonschema::validator_for(schema).map_err(|cause| {
        Error::plugin(format!("the plugin's schema of {name} is no JSON Schema: {cause}"))
    })?;
    let problems: Vec<String> = validator
        .iter_errors(value)
        .take(5)
        .map(|error| {
            let path = error.instance_path().to_string().replace('/', ".");
            let what = match error.kind() {
                ValidationErrorKind::AnyOf { .. } | ValidationErrorKind::OneOfNotValid { .. } => {
                    alternatives(schema)
                }
                ValidationErrorKind::Required { property } => {
                    format!("{} is missing", property.as_str().unwrap_or_default())
                }
                _ if secret => error.masked().to_string(),
                _ => error.to_string(),
            };
            format!("{name}{path}: {what}")
        })
        .collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::settings(problems.join("; "))
        .help("`ticket-host plugins show` documents the settings of each plugin"))
}

/// `needs token; or username, password`.
fn alternatives(schema: &Value) -> String {
    let shapes = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
    let shapes: Vec<String> = shapes
        .into_iter()
        .flatten()
        .map(|shape| {
            let required = shape["required"].as_array().into_iter().flatten();
            required.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        })
        .filter(|names| !names.is_empty())
        .collect();
    if shapes.is_empty() {
        "has none of the shapes that the plugin knows".to_owned()
    } else {
        format!("needs {}", shapes.join("; or "))
    }
}

/// A sentence for each member of `value` that the schema doesn't know: mostly a misspelling.
pub(crate) fn unknown_members(name: &str, schema: &Value, value: &Value) -> Vec<String> {
    let (Some(known), Some(given)) = (schema["properties"].as_object(), value.as_object()) else {
        return Vec::new();
    };
    let names = || known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    given
        .keys()
        .filter(|member| !known.contains_key(*member))
        .map(|member| format!("{name}.{member}: the plugin doesn't know it; it knows {}", names()))
        .collect()
}

/// A setting as `plugins show` documents it.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Setting {
    pub name: String,
    pub kind: String,
    pub required: bool,
    pub description: String,
}

/// The settings that a schema describes, the alternatives of an anyOf one after the other.
pub(crate) fn settings(schema: &Value) -> Vec<Setting> {
    let mut out = Vec::new();
    let empty = Vec::new();
    let shapes = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
    for shape in shapes.unwrap_or(&empty).iter().chain(std::iter::once(schema)) {
        let required = |name: &str| {
            shape["required"].as_array().is_some_and(|r| r.iter().any(|v| v.as_str() == Some(name)))
        };
        for (name, property) in shape["properties"].as_object().into_iter().flatten() {
            out.push(Setting {
                name: name.clone(),
                kind: kind(property),
                required: required(name),
                description: property["description"]
                    .as_str()
                    .unwrap_or_default()
                    .replace('\n', " "),
            });
        }
    }
    out
}

fn kind(property: &Value) -> String {
    match &property["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ")
        }
        _ => {
            let shapes =
                property.get("anyOf").or_else(|| property.get("oneOf")).and_then(Value::as_array);
            let kinds: Vec<String> = shapes.into_iter().flatten().map(kind).collect();
            if kinds.is_empty() { "any".to_owned() } else { kinds.join(" or ") }
        }
    }
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
    fn what_is_missing_is_named() {
        let schema = json!({"type": "object", "required": ["queue"]});
        let error = validate("information", &schema, &json!({}), false).unwrap_err();
        assert_eq!(error.message, "information: queue is missing");
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
