//! Strikes a backend's secret out of everything that a person or a file gets to see.
//!
//! This helps against accidents. It is no fence against a malicious plugin, which could write the secret backwards;
//! what keeps such a plugin from sending it anywhere is the gateway.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

/// Secrets of fewer bytes are not struck out: if every "a" were, there would be nothing left to read.
const SHORTEST: usize = 4;
const STRUCK_OUT: &str = "***";
/// The keyword by which a plugin's schema of the secret says that a property may be shown, such as a user name.
const PUBLIC: &str = "x-ticket-public";

/// The texts to strike out, longest first: each secret value in every spelling that it can have in a request or in
/// an answer to one.
#[derive(Clone, Default)]
pub(crate) struct Redactor {
    needles: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

/// The bytes of a text in UTF-8, and also in Latin-1 if that has all its characters.
fn spellings(text: &str) -> Vec<Vec<u8>> {
    let latin1: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    std::iter::once(text.as_bytes().to_vec()).chain(latin1).collect()
}

impl Redactor {
    /// Strikes out every text in `secret` but what `schema` marks as public.
    pub(crate) fn new(secret: &Value, schema: &Value) -> Redactor {
        let mut all = Vec::new();
        let mut hidden = Vec::new();
        collect(secret, None, &mut Vec::new(), schema, &mut all, &mut hidden);
        let mut needles = Vec::new();
        for text in &hidden {
            let json = Value::from(text.as_str()).to_string();
            needles.push(text.clone());
            needles.push(json.trim_matches('"').to_owned());
            needles.push(ticket_plugin_api::http::escape(text));
            needles.push(STANDARD.encode(text));
        }
        // Basic authentication is base64 of "USER:PASSWORD". Servers disagree on the charset, so name and password
        // are tried in either one.
        for (user, password) in all.iter().flat_map(|u| hidden.iter().map(move |p| (u, p))) {
            for user in spellings(user) {
                for password in spellings(password) {
                    needles.push(STANDARD.encode([&user, &b":"[..], &password].concat()));
                }
            }
        }
        needles.retain(|needle| needle.len() >= SHORTEST);
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        needles.dedup();
        Redactor { needles }
    }

    /// The text with `***` for every secret in it.
    pub(crate) fn strike(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for needle in &self.needles {
            if out.contains(needle.as_str()) {
                out = out.replace(needle.as_str(), STRUCK_OUT);
            }
        }
        out
    }
}

/// Gathers the texts of a secret: `all` of them, and those that are to be `hidden`. `member` is the name under
/// which `value` stands, `public` the names that `schema` marks as public.
impl Redactor {
    /// As [`Redactor::strike`], for a text whose end was cut off: also what may be the beginning of a secret there
    /// is struck out.
    pub(crate) fn strike_cut(&self, text: &str) -> String {
        let mut out = self.strike(text);
        let is_begun = |out: &str, needle: &str| {
            let begins = |length: &usize| {
                needle.is_char_boundary(*length) && out.ends_with(&needle[..*length])
            };
            (SHORTEST..needle.len()).rev().find(begins)
        };
        if let Some(length) = self.needles.iter().filter_map(|needle| is_begun(&out, needle)).max()
        {
            out.truncate(out.len() - length);
            out.push_str(STRUCK_OUT);
        }
        out
    }
}

fn collect(
    value: &Value,
    member: Option<&str>,
    public: &mut Vec<String>,
    schema: &Value,
    all: &mut Vec<String>,
    hidden: &mut Vec<String>,
) {
    if member.is_none() {
        public_members(schema, public);
    }
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                collect(value, Some(name), public, schema, all, hidden);
            }
        }
        Value::Array(items) => {
            for item in items {
                collect(item, Some(member.unwrap_or_default()), public, schema, all, hidden);
            }
        }
        Value::Null | Value::Bool(_) => {}
        leaf => {
            let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
            if !member.is_some_and(|name| public.iter().any(|p| p == name)) {
                hidden.push(text.clone());
            }
            all.push(text);
        }
    }
}

/// Adds to `names` the properties that a schema marks as public, at any depth (for example in anyOf or $defs).
fn public_members(schema: &Value, names: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get("properties") {
                let public = properties.iter().filter(|(_, p)| p[PUBLIC] == Value::Bool(true));
                names.extend(public.map(|(name, _)| name.clone()));
            }
            members.values().for_each(|member| public_members(member, names));
        }
        Value::Array(items) => items.iter().for_each(|item| public_members(item, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn redactor(secret: Value) -> Redactor {
        let schema = json!({"anyOf": [{"properties": {"username": {"x-ticket-public": true}}}]});
        Redactor::new(&secret, &schema)
    }

    #[test]
    fn a_secret_is_struck_out_in_every_spelling() {
        let redactor = redactor(json!({"username": "argus", "password": "pä\"ss/wörd"}));
        for spelling in [
            "pä\"ss/wörd".to_owned(),
            r#"pä\"ss/wörd"#.to_owned(),
            "p%C3%A4%22ss%2Fw%C3%B6rd".to_owned(),
            STANDARD.encode("argus:pä\"ss/wörd"),
            STANDARD.encode(b"argus:p\xe4\"ss/w\xf6rd"),
        ] {
            assert_eq!(redactor.strike(&format!("<{spelling}>")), "<***>", "{spelling}");
        }
    }

    #[test]
    fn what_the_schema_calls_public_stays_readable() {
        let redactor = redactor(json!({"username": "argus", "password": "hunter22"}));
        assert_eq!(redactor.strike("user argus may not"), "user argus may not");
    }

    #[test]
    fn nested_values_and_numbers_are_secret_too() {
        let redactor = redactor(json!({"a": {"b": ["nested-secret", 123456]}}));
        assert_eq!(redactor.strike("nested-secret 123456"), "*** ***");
    }

    #[test]
    fn a_longer_secret_goes_before_one_that_it_contains() {
        let redactor = redactor(json!({"a": "secret", "b": "secret-and-more"}));
        assert_eq!(redactor.strike("secret-and-more secret"), "*** ***");
    }
}
