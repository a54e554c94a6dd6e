//! Values as Jira's fields take them, by the type that each field has.
//!
//! Source: <https://developer.atlassian.com/server/jira/platform/jira-rest-api-examples/>, "Setting
//! custom field data", and the `schema` of GET field.

use serde::Deserialize;
use serde_json::{Value, json};
use ticket_plugin_api::{Error, Result, utc};

use crate::adf;

/// The fields that every ticket has anyway; a mapping can't set them.
const RESERVED: [&str; 4] = ["summary", "description", "project", "issuetype"];

/// A field as GET field describes it.
#[derive(Deserialize)]
pub(crate) struct Field {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) schema: Schema,
}

/// Which values a field takes.
#[derive(Deserialize, Default)]
pub(crate) struct Schema {
    #[serde(rename = "type", default)]
    kind: String,
    /// What an array holds.
    #[serde(default)]
    items: String,
    /// Which kind of custom field it is.
    #[serde(default)]
    custom: String,
}

/// Which dialect of Jira a value is for.
#[derive(Clone, Copy)]
pub(crate) struct Dialect {
    pub(crate) cloud: bool,
    /// API version 3: long texts are documents.
    pub(crate) documents: bool,
}

/// Which of these fields, each with its id and its name, is called `name`: by its id, or else those of that name, in upper or lower case.
pub(crate) fn called<'a>(
    fields: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    name: &str,
) -> Vec<&'a str> {
    if let Some((id, _)) = fields.clone().find(|(id, _)| *id == name) {
        return vec![id];
    }
    let lower = name.to_lowercase();
    fields.filter(|(_, named)| named.to_lowercase() == lower).map(|(id, _)| id).collect()
}

/// The field whose id is `name`, or whose name it is, in upper or lower case; None if Jira has no
/// such field.
///
/// # Errors
/// Where two fields have that name, or where it is a field that every ticket has anyway.
pub(crate) fn named<'a>(fields: &'a [Field], name: &str) -> Result<Option<&'a Field>> {
    let ids = called(fields.iter().map(|field| (field.id.as_str(), field.name.as_str())), name);
    match ids[..] {
        [] => Ok(None),
        [id] if RESERVED.contains(&id) => Err(Error::settings(format!(
            "information: the field {name} can't be set this way; the templates and the other \
             settings make it"
        ))),
        [id] => Ok(fields.iter().find(|field| field.id == id)),
        [..] => Err(Error::settings(format!(
            "information: Jira has {} fields of the name {name}; name one by its id: {}",
            ids.len(),
            ids.join(", ")
        ))),
    }
}

impl Schema {
    /// `values` (at least one) as this field takes them, and a warning if it doesn't take all.
    ///
    /// # Errors
    /// A sentence that says why it takes none of them.
    pub(crate) fn value(
        &self,
        values: &[String],
        dialect: Dialect,
    ) -> std::result::Result<(Value, Option<String>), String> {
        let Some(first) = values.first() else { return Err("there is no value".to_owned()) };
        let all = |one: &dyn Fn(&String) -> Value| Ok((values.iter().map(one).collect(), None));
        let user = |name: &String| match dialect.cloud {
            true => json!({"accountId": name}),
            false => json!({"name": name}),
        };
        let by_name = |name: &String| json!({"name": name});
        let option = |value: &String| json!({"value": value});
        let one = |value: Value| {
            let rest = values.len() > 1;
            let warning =
                rest.then(|| format!("it takes one value, so only the first of {values:?} is set"));
            Ok((value, warning))
        };
        match (self.kind.as_str(), self.items.as_str()) {
            ("array", "option") => all(&option),
            ("array", "user") => all(&user),
            // A label with a space in it would be two.
            ("array", "string") => all(&|label| json!(label.replace(char::is_whitespace, "_"))),
            ("array", _) => all(&by_name),
            ("option", _) => one(option(first)),
            ("option-with-child", _) => Ok((cascade(values), None)),
            ("user", _) => one(user(first)),
            ("group" | "priority" | "version" | "resolution" | "securitylevel", _) => {
                one(by_name(first))
            }
            ("number", _) => {
                one(number(first).ok_or_else(|| format!("{first:?} is not a number"))?)
            }
            ("date", _) => one(date(first).ok_or_else(|| format!("{first:?} is not a date"))?),
            ("datetime", _) => one(time(first).ok_or_else(|| format!("{first:?} is not a time"))?),
            _ if dialect.documents && self.custom.ends_with(":textarea") => {
                Ok((adf::from_text(&values.join("\n")), None))
            }
            _ => Ok((json!(values.join(", ")), None)),
        }
    }

    /// The same of a JSON value: what isn't made of texts, numbers or truth values alone is taken as Jira's own form.
    pub(crate) fn value_of(
        &self,
        value: &Value,
        dialect: Dialect,
    ) -> std::result::Result<(Value, Option<String>), String> {
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        let texts: Option<Vec<String>> = match value {
            Value::Array(items) => items.iter().map(text).collect(),
            one => text(one).map(|text| vec![text]),
        };
        match texts {
            Some(texts) => self.value(&texts, dialect),
            None => Ok((value.clone(), None)),
        }
    }
}

/// The value of a cascading select, an option and one below it: given as two values, or as one that
/// is written `A / B`.
fn cascade(values: &[String]) -> Value {
    let parts: Vec<&str> = match values {
        [one] => one.splitn(2, " / ").collect(),
        several => several.iter().map(String::as_str).collect(),
    };
    match parts[..] {
        [parent, child, ..] => json!({"value": parent, "child": {"value": child}}),
        [parent] => json!({"value": parent}),
        [] => Value::Null,
    }
}

fn number(text: &str) -> Option<Value> {
    let text = text.trim();
    let whole = text.parse::<i64>().ok().map(Value::from);
    whole.or_else(|| {
        text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::from)
    })
}

/// A date as Jira takes it, `2026-11-23`. Of a time it is the day in the time's own zone.
fn date(text: &str) -> Option<Value> {
    let day = text.trim().get(..10)?;
    utc(&format!("{day}T00:00:00Z"))?;
    (text.trim().len() == 10 || utc(text.trim()).is_some()).then(|| json!(day))
}

/// A time in the only form that Jira takes: `2026-11-23T06:00:00.000+0000`.
fn time(text: &str) -> Option<Value> {
    let utc = utc(text.trim())?;
    Some(json!(utc.replace("+00:00", ".000+0000")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(schema: Value) -> Schema {
        serde_json::from_value(schema).unwrap()
    }

    const SERVER: Dialect = Dialect { cloud: false, documents: false };
    const CLOUD: Dialect = Dialect { cloud: true, documents: true };

    fn value(schema: Value, values: &[&str], dialect: Dialect) -> Value {
        let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
        self::schema(schema).value(&values, dialect).unwrap().0
    }

    #[test]
    fn each_type_of_field_gets_its_shape() {
        let array = |items: &str| json!({"type": "array", "items": items});
        for (schema, values, expected) in [
            (json!({"type": "string"}), &["a", "b"][..], json!("a, b")),
            (json!({"type": "any"}), &["a"], json!("a")),
            (json!({"type": "number"}), &[" 5 "], json!(5)),
            (json!({"type": "number"}), &["0.5"], json!(0.5)),
            (json!({"type": "date"}), &["2026-11-23T00:30:00+01:00"], json!("2026-11-23")),
            (json!({"type": "date"}), &["2026-11-23"], json!("2026-11-23")),
            (
                json!({"type": "datetime"}),
                &["2026-11-23T08:00:00.5+01:00"],
                json!("2026-11-23T07:00:00.000+0000"),
            ),
            (json!({"type": "option"}), &["High"], json!({"value": "High"})),
            (array("option"), &["a", "b"], json!([{"value": "a"}, {"value": "b"}])),
            (array("string"), &["two words", "x"], json!(["two_words", "x"])),
            (array("version"), &["1.0"], json!([{"name": "1.0"}])),
            (array("component"), &["net"], json!([{"name": "net"}])),
            (array("user"), &["ada"], json!([{"name": "ada"}])),
            (json!({"type": "user"}), &["ada"], json!({"name": "ada"})),
            (json!({"type": "priority"}), &["High"], json!({"name": "High"})),
            (
                json!({"type": "option-with-child"}),
                &["EU / Oslo"],
                json!({"value": "EU", "child": {"value": "Oslo"}}),
            ),
            (
                json!({"type": "option-with-child"}),
                &["EU", "Oslo"],
                json!({"value": "EU", "child": {"value": "Oslo"}}),
            ),
            (json!({"type": "option-with-child"}), &["EU"], json!({"value": "EU"})),
        ] {
            assert_eq!(value(schema.clone(), values, SERVER), expected, "{schema}");
        }
        assert_eq!(value(json!({"type": "user"}), &["5b1"], CLOUD), json!({"accountId": "5b1"}));
    }

    #[test]
    fn a_long_text_is_a_document_in_version_3() {
        let schema = json!({"type": "string", "custom": "com.atlassian.jira.plugin.system.customfieldtypes:textarea"});
        assert_eq!(value(schema.clone(), &["a"], CLOUD)["type"], "doc");
        assert_eq!(value(schema, &["a"], SERVER), "a");
    }

    #[test]
    fn what_does_not_fit_is_said() {
        for (kind, text) in [
            ("number", "five"),
            ("number", "NaN"),
            ("date", "2026-13-01"),
            ("date", "2026-11-23 or so"),
            ("datetime", "yesterday"),
        ] {
            let refused = schema(json!({"type": kind})).value(&[text.to_owned()], SERVER);
            assert!(refused.unwrap_err().starts_with(&format!("{text:?} is not a ")), "{kind}");
        }
        let several = ["a".to_owned(), "b".to_owned()];
        let (value, warning) = schema(json!({"type": "option"})).value(&several, SERVER).unwrap();
        assert_eq!(value, json!({"value": "a"}));
        assert!(warning.unwrap().contains("the first"));
    }

    #[test]
    fn a_field_goes_by_name_in_any_case_or_by_id_and_two_of_a_name_are_told() {
        let all = json!([
            {"id": "summary", "name": "Summary"},
            {"id": "customfield_1", "name": "Twice"},
            {"id": "customfield_2", "name": "twice"},
            {"id": "customfield_3", "name": "Once"},
        ]);
        let all: Vec<Field> = serde_json::from_value(all).unwrap();
        let id = |name: &str| named(&all, name).map(|found| found.map(|f| f.id.as_str()));
        assert_eq!(id("ONCE").unwrap(), Some("customfield_3"));
        assert_eq!(id("customfield_2").unwrap(), Some("customfield_2"));
        assert_eq!(id("nope").unwrap(), None);
        let twice = id("Twice").unwrap_err().message;
        assert!(twice.ends_with("name one by its id: customfield_1, customfield_2"), "{twice}");
        assert!(id("Summary").unwrap_err().message.contains("can't be set this way"));
    }
}
