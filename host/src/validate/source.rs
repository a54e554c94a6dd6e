//! Whether a ticket's URL comes from what the plugin was told, or is made of nothing.

use percent_encoding::percent_decode_str;
use serde_json::Value;
use ticket_plugin_api::abi::host_side::HttpAnswer;
use ticket_plugin_api::message::fingerprint;
use url::Url;

use super::script::{Seen, texts};

/// What programs write where they have no name to write.
const NO_NAMES: [&str; 9] = ["", "0", "-1", "null", "(null)", "nil", "None", "NaN", "undefined"];
/// A name that a plugin chose itself, such as a UUID, has at least so many bytes.
const CHOSEN: usize = 8;

/// What in a URL can tell one ticket from another: the values of its query, or else the end of its path.
pub(super) fn names(url: &str) -> Vec<String> {
    let Ok(url) = Url::parse(url) else { return Vec::new() };
    let mut names: Vec<String> = url.query_pairs().map(|(_, value)| value.into_owned()).collect();
    if names.is_empty() {
        let end = url.path().rsplit('/').next().unwrap_or_default();
        names.push(percent_decode_str(end).decode_utf8_lossy().into_owned());
    }
    names.retain(|name| !NO_NAMES.contains(&name.as_str()));
    names
}

/// Whether a ticket's URL names what stands in an answer, in the settings, or in what the plugin sent: the key, its SHA-256,
/// or a name that it chose itself.
pub(super) fn is_founded(url: &str, key: &str, settings: &Value, seen: &Seen) -> bool {
    let own = [key.to_owned(), fingerprint(key)];
    names(url).iter().any(|name| {
        own.iter().any(|own| name.contains(own.as_str()))
            || stands_in(settings, name)
            || seen.exchanges.iter().any(|exchange| is_in(&exchange.answer, name))
            || seen.creations().any(|creation| {
                let chosen = name.len() >= CHOSEN && name.contains(|c: char| c.is_ascii_digit());
                chosen && texts(&creation.request).is_ok_and(|texts| texts.contains(name))
            })
    })
}

/// Whether an answer's headers or body have the name in them.
pub(super) fn is_in(answer: &HttpAnswer, name: &str) -> bool {
    let HttpAnswer::Answered { headers, body, .. } = answer else { return false };
    let in_body = match serde_json::from_slice::<Value>(body) {
        Ok(json) => stands_in(&json, name),
        Err(_) => has_word(&String::from_utf8_lossy(body), name),
    };
    in_body || headers.iter().any(|(_, value)| has_word(value, name))
}

/// Whether one of the texts and numbers in the JSON has the name in it.
fn stands_in(json: &Value, name: &str) -> bool {
    match json {
        Value::String(text) => has_word(text, name),
        Value::Number(number) => number.to_string() == name,
        Value::Array(items) => items.iter().any(|item| stands_in(item, name)),
        Value::Object(members) => members.values().any(|member| stands_in(member, name)),
        Value::Null | Value::Bool(_) => false,
    }
}

/// Whether the word is in the text, and no part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + word.len()..].chars().next();
        !before.into_iter().chain(after).any(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::validate::script::{Exchange, Role};

    #[test]
    fn a_url_is_founded_if_its_name_was_told_or_chosen() {
        let key = "https://argus.example.org/incidents/17";
        for (url, body, founded) in [
            ("https://t.example.org/t/17", r#"{"id": 17}"#, true),
            ("https://t.example.org/t/17", r#"{"url": "https://t.example.org/t/17"}"#, true),
            ("https://t.example.org/t?id=17&view=all", r#"{"id": "17"}"#, true),
            ("https://t.example.org/t/NOC-47", "made NOC-47.", true),
            ("https://t.example.org/t/17", r#"{"id": 170}"#, false),
            ("https://t.example.org/t/17", "<html>", false),
            ("https://t.example.org/t/0", r#"{"id": 0}"#, false),
            ("https://t.example.org/t/null", r#"{"id": "null"}"#, false),
            ("https://t.example.org/tickets/", r#"["tickets"]"#, false),
            ("https://t.example.org/rooms/ops", "", true),
            ("https://t.example.org/t/2b9c0f3e", "", true),
            ("https://t.example.org/t/3b9c0f3e", "", false),
            (&format!("https://t.example.org/t/{}", fingerprint(key)), "", true),
        ] {
            let answer =
                HttpAnswer::Answered { status: 200, headers: Vec::new(), body: body.into() };
            let exchanges = vec![Exchange::posted(Role::Create, "t/2b9c0f3e", "", answer)];
            let seen = Seen { exchanges, ..Seen::default() };
            let settings = json!({"information": {"room": "ops"}});
            assert_eq!(is_founded(url, key, &settings, &seen), founded, "{url} {body}");
        }
    }
}
