//! The secret of a plugin under test: texts that stand nowhere else, and where they, or parts of them, appear.

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::backend::redact::Redactor;
use crate::backend::schema;

/// The shortest part of a secret that is looked for, in characters.
const SHORTEST: usize = 6;
/// The longest, so that there are not too many bytes to look for.
const LONGEST: usize = 64;
/// A part is looked for if that many bits of it are random. Less could stand somewhere by chance.
const RANDOM_BITS: f64 = 28.0;
/// The longest beginning up to a hyphen or an underscore that tells a token's kind, such as `ghp_`: it is kept.
const LONGEST_PREFIX: usize = 6;

/// What is looked for.
#[derive(Default)]
pub(super) struct Secret {
    finder: Option<AhoCorasick>,
    redactor: Redactor,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// For each text in the secret another one of the same length and the same kinds of characters. A text that isn't secret,
/// or whose place takes this text alone, has none.
pub(super) fn replacements(
    secret: &Value,
    schema: &Value,
    redactor: &Redactor,
) -> Vec<(String, String)> {
    let mut replaced = others(secret, schema, other);
    replaced.retain(|(text, _)| redactor.strike(text) != *text);
    replaced
}

/// The texts in a secret, each with what `other` makes of it. A text whose place takes this text alone has none.
pub(super) fn others(
    secret: &Value,
    schema: &Value,
    other: fn(&str) -> String,
) -> Vec<(String, String)> {
    let mut replaced = Vec::new();
    for text in texts(secret) {
        let other = other(text);
        let changed = replace(secret, text, &other);
        if other != text && schema::validate("secret", schema, &changed, true).is_ok() {
            replaced.push((text.to_owned(), other));
        }
    }
    // A text that is a part of another one is replaced after that one.
    replaced.sort_by_key(|(own, _)| std::cmp::Reverse(own.len()));
    replaced.dedup();
    replaced
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(members) => members.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

fn replace(value: &Value, own: &str, other: &str) -> Value {
    let again = |value: &Value| replace(value, own, other);
    match value {
        Value::String(text) if text == own => other.into(),
        Value::Array(items) => items.iter().map(again).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), again(value))).collect()
        }
        value => value.clone(),
    }
}

/// Another text of the same kind. It is the same in each run, so that what one run finds another one finds again.
fn other(text: &str) -> String {
    let seed = text.bytes().fold(17, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
    let mut random = fastrand::Rng::with_seed(seed);
    let kept = prefix(text);
    let rest = text[kept..].chars().map(|c| match c {
        '0'..='9' => random.digit(10),
        'a'..='z' => random.lowercase(),
        'A'..='Z' => random.uppercase(),
        other => other,
    });
    text[..kept].chars().chain(rest).collect()
}

/// The length of the beginning that tells a token's kind.
fn prefix(text: &str) -> usize {
    let end = text.find(['-', '_']).map_or(0, |at| at + 1);
    if end > LONGEST_PREFIX { 0 } else { end }
}

/// How many bits of a text are random, if it is one that [`other`] made and begins after what that kept.
fn random_bits(text: &str) -> f64 {
    let bits = text.bytes().map(|byte| match byte {
        b'0'..=b'9' => 10_f64.log2(),
        b'a'..=b'z' | b'A'..=b'Z' => 26_f64.log2(),
        _ => 0.0,
    });
    bits.sum()
}

impl Secret {
    /// Of what was replaced every part is looked for that is half of it at least, of the rest of `secret` the whole.
    pub(super) fn new(
        secret: &Value,
        redactor: &Redactor,
        replaced: &[(String, String)],
    ) -> Secret {
        let mut parts = Vec::new();
        for text in texts(secret).into_iter().filter(|text| redactor.strike(text) != **text) {
            match replaced.iter().any(|(_, other)| other == text) {
                true => parts.extend(halves(text)),
                false if text.chars().count() >= SHORTEST => parts.push(text.to_owned()),
                false => {}
            }
        }
        let forms: Vec<String> = parts.iter().flat_map(|part| forms(part)).collect();
        let mut finder = AhoCorasick::builder();
        let finder = finder.ascii_case_insensitive(true).build(forms);
        Secret {
            finder: finder.ok().filter(|finder| finder.patterns_len() > 0),
            redactor: Redactor::default(),
        }
    }

    /// Whether a part of the secret is in the text, in whichever form.
    pub(super) fn is_in(&self, text: &str) -> bool {
        let Some(finder) = &self.finder else { return false };
        finder.is_match(text)
            || (text.contains('%')
                && finder.is_match(&*percent_decode_str(text).decode_utf8_lossy()))
    }

    /// The same for a body, in which a member that is called a password, a token or the like may hold it: there are
    /// systems that want the login in each request.
    pub(super) fn is_in_content(&self, body: &str) -> bool {
        self.is_in(body) && self.is_in(&self.redactor.strike_content(body, body.len()))
    }
}

/// The parts that have half of the text's characters, and enough random ones. A longer part has one of them in it.
fn halves(text: &str) -> Vec<String> {
    let kept = prefix(text);
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let count = starts.len() - 1;
    let length = count.div_ceil(2).clamp(SHORTEST, LONGEST);
    let parts = starts.windows(length + 1).map(|part| (part[0], part[length]));
    let random = parts.filter(|(start, end)| {
        random_bits(&text[(*start).max(kept.min(*end))..*end]) >= RANDOM_BITS
    });
    random.map(|(start, end)| text[start..end].to_owned()).collect()
}

/// A text as it is, in hexadecimal, and as it stands in a longer text's base64.
fn forms(text: &str) -> Vec<String> {
    let hex = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![text.to_owned(), hex];
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(text.as_bytes());
        // The characters that the text alone decides.
        let decided = (before * 8).div_ceil(6)..bytes.len() * 8 / 6;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            forms.extend(engine.encode(&bytes).get(decided.clone()).map(str::to_owned));
        }
    }
    forms.sort();
    forms.dedup();
    forms
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_replaced_by_one_of_its_kind_where_the_schema_takes_that() {
        let schema = json!({"properties": {
            "user": {"x-ticket-public": true},
            "kind": {"enum": ["password-grant"]},
            "mail": {"format": "email"},
        }});
        let secret = json!({
            "user": "someone", "kind": "password-grant", "token": "ghp_Validator1", "mail": "noc@x.example.org",
        });
        let redactor = Redactor::new(&secret, &schema);
        let replaced = replacements(&secret, &schema, &redactor);
        let owns: Vec<&str> = replaced.iter().map(|(own, _)| own.as_str()).collect();
        assert_eq!(owns, ["noc@x.example.org", "ghp_Validator1"]);
        for (own, other) in &replaced {
            assert_eq!(own.len(), other.len());
            for (own, other) in own.chars().zip(other.chars()) {
                assert_eq!(own.is_ascii_alphabetic(), other.is_ascii_alphabetic());
                assert_eq!(own.is_ascii_digit(), other.is_ascii_digit());
                assert_eq!(own.is_ascii_uppercase(), other.is_ascii_uppercase());
            }
        }
        assert!(replaced[1].1.starts_with("ghp_") && replaced[1].1 != "ghp_Validator1");
    }

    #[test]
    fn every_text_of_a_secret_is_found() {
        let secret = json!({"a/b": "x", "c": [1, {"d": "y"}], "e": null});
        let others = others(&secret, &json!(true), |text| format!("{text}!"));
        assert_eq!(others, [("x".into(), "x!".into()), ("y".into(), "y!".into())]);
    }

    #[test]
    fn half_of_a_secret_is_found_in_each_form_and_less_is_not() {
        let token = "kx83Qzv/7bTrw9LmpYc2";
        let value = json!({"token": token});
        let redactor = Redactor::new(&value, &json!(true));
        let secret = Secret::new(&value, &redactor, &[("x".to_owned(), token.to_owned())]);
        let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02X}")).collect::<String>();
        let percent =
            |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        for (text, found) in [
            (token.to_owned(), true),
            (token[..10].to_owned(), true),
            (token[10..].to_owned(), true),
            (token[..9].to_owned(), false),
            (format!("no: {}...", &token[4..15]), true),
            (STANDARD.encode(format!("user:{token}")), true),
            (STANDARD.encode(format!("users:{token}!")), true),
            (URL_SAFE_NO_PAD.encode(format!("a {} b", &token[..12])), true),
            (hex(&token[3..13]), true),
            (percent(&token[3..13]), true),
            ("the validator".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(secret.is_in(&text), found, "{text}");
        }
        assert!(secret.is_in_content(&format!("{{\"description\": \"by {token}\"}}")));
        assert!(!secret.is_in_content(&format!("{{\"password\": \"{token}\"}}")));
    }

    #[test]
    fn a_secret_that_was_kept_is_looked_for_as_a_whole() {
        let value = json!({"token": "validator-token"});
        let secret = Secret::new(&value, &Redactor::new(&value, &json!(true)), &[]);
        assert!(secret.is_in("it is validator-token"));
        assert!(!secret.is_in("the validator"));
    }
}
