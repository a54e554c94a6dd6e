//! Credentials that no setting holds, such as a session that the ticket system opened: what they are called tells them.

use std::ops::Range;

/// What is in the name of a credential, in lower case and without hyphens and underscores.
const IN_NAMES: [&str; 9] = [
    "apikey",
    "authorization",
    "cookie",
    "credential",
    "passw",
    "privatekey",
    "secret",
    "sessionid",
    "token",
];
/// The schemes of the header Authorization that are shown, since they are no part of the credential.
const SCHEMES: [&str; 6] = ["apikey", "basic", "bearer", "digest", "geniekey", "token"];

/// Whether a header or a member of that name is a credential.
fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '_'], "");
    IN_NAMES.iter().any(|part| name.contains(part))
}

/// A header's value, as `***` or, with its scheme, as `Bearer ***` if it is a credential.
pub(super) fn header(name: &str, value: &str) -> Option<String> {
    is_credential(name).then(|| match value.split_once(' ') {
        Some((scheme, _)) if SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) => {
            format!("{scheme} ***")
        }
        _ => "***".to_owned(),
    })
}

/// Where the values of credentials stand in a text: in JSON (`"token": "..."`), in a form and in a URL (`token=...`). The
/// text may be cut anywhere, and need not be whole JSON.
pub(super) fn values(text: &str) -> Vec<Range<usize>> {
    let value_at = |(at, mark): (usize, &str)| {
        let before = text[..at].trim_end().trim_end_matches(['"', '\\']);
        let is_in_name = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let length: usize = before.chars().rev().take_while(is_in_name).map(char::len_utf8).sum();
        let value = if is_credential(&before[before.len() - length..]) {
            &text[at + mark.len()..]
        } else {
            return None;
        };
        let range = if mark == "=" { 0..end_of_form_value(value) } else { string(value)? };
        let start = at + mark.len();
        (!range.is_empty()).then_some(start + range.start..start + range.end)
    };
    text.match_indices([':', '=']).filter_map(value_at).collect()
}

/// Where the value of a form or a URL ends.
fn end_of_form_value(text: &str) -> usize {
    let ends = |c: char| c.is_whitespace() || matches!(c, '&' | ';' | '#' | '"' | '<' | '>');
    text.find(ends).unwrap_or(text.len())
}

/// Where in a text that begins with a string of JSON, which may itself be escaped, its value stands.
fn string(text: &str) -> Option<Range<usize>> {
    let start = text.len() - text.trim_start().trim_start_matches('\\').strip_prefix('"')?.len();
    let mut escaped = false;
    let end = text[start..].find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    Some(start..end.map_or(text.len(), |end| start + end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_whose_name_says_so_is_a_credential_and_its_scheme_is_none() {
        for (name, value, shown) in [
            ("Authorization", "Bearer abc", Some("Bearer ***")),
            ("authorization", "GenieKey abc", Some("GenieKey ***")),
            ("Authorization", "two words", Some("***")),
            ("Proxy-Authorization", "Basic abc", Some("Basic ***")),
            ("Cookie", "session=abc; theme=dark", Some("***")),
            ("set-cookie", "session=abc; Path=/", Some("***")),
            ("PRIVATE-TOKEN", "abc", Some("***")),
            ("X-Api-Key", "abc", Some("***")),
            ("X-Request-Id", "abc", None),
            ("Content-Type", "text/plain", None),
        ] {
            assert_eq!(header(name, value).as_deref(), shown, "{name}: {value}");
        }
    }

    #[test]
    fn the_values_of_credentials_are_found_in_json_forms_and_urls_also_where_these_are_cut() {
        for (text, found) in [
            (r#"{"access_token": "abc", "id": "7"}"#, vec!["abc"]),
            (r#"{"token" : "a\"b\\","x":1}"#, vec![r#"a\"b\\"#]),
            (r#"{"json": "{\"Password\":\"abc\"}"}"#, vec![r#"abc\"}"#]),
            (r#"{"refreshToken":"ab"#, vec!["ab"]),
            (r#"{"token": {"secret": "abc"}, "tokens": 5, "token": ""}"#, vec!["abc"]),
            ("user=argus&password=abc%20d&client_secret=x", vec!["abc%20d", "x"]),
            ("https://x.org/?private_token=abc#top", vec!["abc"]),
            (r#"{"key": "NOC-1", "self": "https://x.org/a=b"}"#, vec![]),
            ("the token: it is not shown", vec![]),
            ("=:=\"", vec![]),
        ] {
            let values: Vec<&str> = values(text).into_iter().map(|range| &text[range]).collect();
            assert_eq!(values, found, "{text}");
        }
    }
}
