//! Values of the TOML file as JSON, which is what plugins get.

use serde_json::Value;

/// The same value; a date or a time, which JSON doesn't have, becomes its text.
pub(super) fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        toml::Value::Table(members) => {
            members.into_iter().map(|(name, value)| (name, json(value))).collect()
        }
    }
}
