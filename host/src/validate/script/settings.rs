//! The settings file of a validation, and settings that are made up where there is none.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use ticket_host_worker::permissions::Permissions;
use ticket_host_worker::sandbox::Policy;
use ticket_plugin_api::message::{HostName, RawSettings};
use url::Url;

use super::rules::Rule;
use crate::error::{Error, Result};

/// A settings file: a backend's settings, and how its ticket system answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub endpoint: String,
    #[serde(default = "object")]
    pub secret: Value,
    #[serde(default = "object")]
    pub information: Value,
    #[serde(default)]
    pub permissions: Permissions,
    /// Whether the cases are run where the plugin can't be confined.
    #[serde(default)]
    pub sandbox: Policy,
    /// The first rule that fits a request answers it.
    #[serde(default)]
    pub http: Vec<Rule>,
    /// Webhooks as the ticket system sends them.
    #[serde(default)]
    pub webhook: Vec<Webhook>,
}

/// A webhook that the ticket system sent, signed with the file's own secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    #[serde(default = "hook")]
    pub url: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// The ids or URLs of the tickets that the plugin must name.
    #[serde(default)]
    pub tickets: Vec<String>,
    /// Whether its signature is made of the body. A token that all webhooks have isn't.
    #[serde(default = "yes")]
    pub signs_body: bool,
}

fn hook() -> String {
    "https://hooks.example.org/".to_owned()
}

fn yes() -> bool {
    true
}

fn object() -> Value {
    Value::Object(Map::new())
}

impl Settings {
    pub(crate) fn load(path: &Path) -> Result<Settings> {
        let text = std::fs::read_to_string(path).map_err(|cause| {
            Error::usage(format!("{}: can't be read", path.display())).cause(cause)
        })?;
        toml::from_str(&text).map_err(|cause| {
            Error::usage(format!("{}: {}", path.display(), cause.message()))
                .help("it may have endpoint, secret, information, permissions, sandbox, [[http]] with method, path, query, has, role, when, status, headers, body, ticket, and [[webhook]] with url, headers, body, tickets, signs_body")
        })
    }

    /// Makes settings up, which fit the plugin's schemas where these are simple.
    pub(in crate::validate) fn made_up(
        secret_schema: &Value,
        information_schema: &Value,
    ) -> Settings {
        Settings {
            endpoint: "https://tickets.example.org/".to_owned(),
            secret: value(secret_schema, secret_schema, "secret", 8),
            information: value(information_schema, information_schema, "information", 8),
            permissions: Permissions::default(),
            sandbox: Policy::default(),
            http: Vec::new(),
            webhook: Vec::new(),
        }
    }

    /// The same with other texts in the place of secrets.
    pub(in crate::validate) fn with_secrets(&self, replaced: &[(String, String)]) -> Settings {
        let mut settings = self.clone();
        put_in(&mut settings.secret, replaced);
        settings
    }

    /// Whether a text stands somewhere in the rules.
    pub(in crate::validate) fn rules_have(&self, text: &str) -> bool {
        let has = |place: &str| place.contains(text);
        self.http.iter().any(|rule| {
            let values = rule.query.values().chain(rule.headers.values()).chain(&rule.has);
            has(&rule.path)
                || has(&rule.body)
                || has(&rule.ticket)
                || values.map(String::as_str).any(has)
        })
    }

    /// The same at another endpoint: the rules lie below its path as they lay below the old one's.
    pub(in crate::validate) fn at(&self, endpoint: &str) -> Settings {
        let path = |endpoint: &str| match Url::parse(endpoint) {
            Ok(url) => url.path().trim_end_matches('/').to_owned(),
            Err(_) => String::new(),
        };
        let (own, other) = (path(&self.endpoint), path(endpoint));
        let mut settings = Settings { endpoint: endpoint.to_owned(), ..self.clone() };
        for rule in &mut settings.http {
            if let Some(below) = rule.path.strip_prefix(&own) {
                rule.path = format!("{other}{below}");
            }
        }
        settings
    }

    /// The JSON that open() gets.
    pub(in crate::validate) fn json(&self) -> Value {
        json!(RawSettings {
            endpoint: self.endpoint.clone(),
            secret: self.secret.clone(),
            information: self.information.clone(),
            host: HostName {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
        })
    }
}

/// Replaces each text in it that is one of those to be replaced.
fn put_in(value: &mut Value, replaced: &[(String, String)]) {
    match value {
        Value::String(text) => {
            if let Some((_, other)) = replaced.iter().find(|(own, _)| own == text) {
                text.clone_from(other);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| put_in(item, replaced)),
        Value::Object(members) => members.values_mut().for_each(|member| put_in(member, replaced)),
        _ => {}
    }
}

/// A value that fits a simple schema: an object has the members that it must have, a list as few items as it may.
/// References and members are followed `depth` levels down, since a schema may refer to itself.
fn value(root: &Value, schema: &Value, name: &str, depth: usize) -> Value {
    let again = |schema: &Value| match depth {
        0 => Value::Null,
        _ => value(root, schema, name, depth - 1),
    };
    if let Some(target) = schema["$ref"].as_str().and_then(|r| root.pointer(r.strip_prefix('#')?)) {
        return again(target);
    }
    let fixed = [schema.get("const"), schema["enum"].get(0), schema["examples"].get(0)];
    if let Some(fixed) = fixed.into_iter().flatten().next() {
        return fixed.clone();
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[choice].get(0)
            && schema.get("properties").is_none()
        {
            return again(first);
        }
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("string") => Value::from(format!("validator-{name}")),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => Value::from(false),
        Some("array") if schema["minItems"].as_u64().unwrap_or(0) > 0 => {
            json!([again(&schema["items"])])
        }
        Some("array") => json!([]),
        _ => {
            let required = schema["required"].as_array().into_iter().flatten();
            let members = required.filter_map(Value::as_str).map(|name| {
                let member = &schema["properties"][name];
                let made =
                    if depth == 0 { Value::Null } else { value(root, member, name, depth - 1) };
                (name.to_owned(), made)
            });
            Value::Object(members.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::When;
    use super::*;

    const PAGE: &str = include_str!("../../../../plugin-api/docs/validate-toml.md");

    /// The words that serde would have taken in the place of one that doesn't exist.
    fn taken<T: serde::de::DeserializeOwned>(toml: &str) -> Vec<String> {
        let Err(error) = toml::from_str::<T>(toml) else { panic!("{toml} is taken") };
        let (_, words) = error.message().split_once("expected").unwrap();
        words.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_reference_names_all_that_the_file_may_hold_and_its_example_is_read() {
        let members = [
            taken::<Settings>("nobody = 1"),
            taken::<Rule>("nobody = 1"),
            taken::<Permissions>("nobody = 1"),
            taken::<Webhook>("nobody = 1"),
        ];
        assert_eq!(members.each_ref().map(Vec::len), [7, 10, 6, 5], "{members:?}");
        for member in members.concat() {
            assert!(PAGE.contains(&format!("\n| `{member}` | ")), "{member}");
        }
        for (key, words) in [
            ("when", taken::<Rule>("method = \"\"\npath = \"\"\nwhen = \"nobody\"")),
            ("role", taken::<Rule>("method = \"\"\npath = \"\"\nrole = \"nobody\"")),
            ("sandbox", taken::<Settings>("endpoint = \"\"\nsandbox = \"nobody\"")),
            ("network", taken::<Permissions>("network = \"nobody\"")),
        ] {
            let row = PAGE.lines().find(|line| line.starts_with(&format!("| `{key}` | "))).unwrap();
            for word in words {
                assert!(row.contains(&format!("`\"{word}\"`")), "{key}: {word}");
            }
        }
        let example = PAGE.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        let settings: Settings = toml::from_str(example).unwrap();
        assert_eq!((settings.http.len(), settings.http[1].when), (3, Some(When::Empty)));
    }

    #[test]
    fn rules_follow_the_endpoint_and_the_secret_is_replaced() {
        let settings: Settings = toml::from_str(
            "endpoint = 'https://t.example.org/api/'\nsecret = { token = 'abcdef' }\n\
             [[http]]\nmethod = 'POST'\npath = '/api/token'\nhas = 'abcdef'\n\
             [[http]]\nmethod = 'GET'\npath = '/elsewhere'",
        )
        .unwrap();
        for (endpoint, paths) in [
            ("https://x.org", ["/token", "/elsewhere"]),
            ("https://x.org/a/b/", ["/a/b/token", "/elsewhere"]),
        ] {
            let moved = settings.at(endpoint);
            assert_eq!(moved.endpoint, endpoint);
            assert_eq!(moved.http.iter().map(|rule| &rule.path).collect::<Vec<_>>(), paths);
        }
        let replaced = settings.with_secrets(&[("abcdef".to_owned(), "zyxwvu".to_owned())]);
        assert_eq!(replaced.secret["token"], "zyxwvu");
    }

    #[test]
    fn a_secret_that_is_a_word_of_the_rules_is_known_as_one() {
        let settings: Settings = toml::from_str(
            "endpoint = 'https://t.example.org/'\nsecret = { user = 'desk', password = 'password' }\n\
             [[http]]\nmethod = 'POST'\npath = '/desk/token'\nhas = 'grant_type=password'",
        )
        .unwrap();
        for (text, there) in [("desk", true), ("password", true), ("s3cret", false)] {
            assert_eq!(settings.rules_have(text), there, "{text}");
        }
    }
}
