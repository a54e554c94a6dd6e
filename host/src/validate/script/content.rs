//! The texts in a request, decoded as a ticket system decodes them.

use percent_encoding::percent_decode_str;
use serde_json::Value;
use ticket_plugin_api::abi::host_side::HttpRequest;
use url::{Url, form_urlencoded};

use super::rules::in_json;

/// What a request says: the segments of its path, the parameters of its query, and of its body the strings of JSON, the
/// fields of a form, or the whole text. A text that is JSON itself is followed by its own strings.
///
/// # Errors
/// The body calls itself JSON, or begins as JSON does, and is none.
pub(in crate::validate) fn texts(request: &HttpRequest) -> Result<Vec<String>, String> {
    let mut texts = Vec::new();
    if let Ok(url) = Url::parse(&request.url) {
        let segments = url.path().split('/').filter(|segment| !segment.is_empty());
        texts
            .extend(segments.map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned()));
        texts.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
    }
    let kind = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let kind = kind.map(|(_, value)| value.to_ascii_lowercase()).unwrap_or_default();
    let first = request.body.iter().find(|byte| !byte.is_ascii_whitespace());
    let looks_like_json = kind.is_empty() && matches!(first, Some(b'{' | b'['));
    if first.is_some() && (kind.contains("json") || looks_like_json) {
        let json: Value = serde_json::from_slice(&request.body)
            .map_err(|cause| format!("its body should be JSON, and is none: {cause}"))?;
        strings(&json, &mut texts);
    } else if kind.contains("x-www-form-urlencoded") {
        let fields = form_urlencoded::parse(&request.body);
        texts.extend(fields.map(|(_, value)| value.into_owned()));
    } else if first.is_some() {
        texts.push(String::from_utf8_lossy(&request.body).into_owned());
    }
    let nested = texts.iter().filter(|text| text.starts_with(['{', '[']));
    let nested: Vec<Value> = nested.filter_map(|text| serde_json::from_str(text).ok()).collect();
    nested.iter().for_each(|json| strings(json, &mut texts));
    Ok(texts)
}

fn strings(json: &Value, into: &mut Vec<String>) {
    match json {
        Value::String(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, into)),
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            into.push(name.clone());
            strings(value, into);
        }),
        _ => {}
    }
}

/// Whether one of the texts has `whole` in it: as it is, or quoted as query languages do (GraphQL, JQL, SQL), or escaped as
/// in XML.
pub(in crate::validate) fn arrives(texts: &[String], whole: &str) -> bool {
    let quoted = [
        whole.to_owned(),
        in_json(whole),
        whole.replace('\\', "\\\\").replace('\'', "\\'"),
        whole.replace('\'', "''"),
        whole.replace('"', "\"\""),
    ];
    texts.iter().any(|text| {
        quoted.iter().any(|form| text.contains(form)) || without_entities(text).contains(whole)
    })
}

/// The text that XML or HTML means.
fn without_entities(text: &str) -> String {
    const NAMED: [(&str, char); 5] =
        [("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"'), ("apos", '\'')];
    let mut pieces = text.split('&');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let meant = piece.split_once(';').and_then(|(name, rest)| {
            let named = NAMED.iter().find(|(known, _)| *known == name).map(|(_, sign)| *sign);
            let code = |digits: &str, radix| {
                u32::from_str_radix(digits, radix).ok().and_then(char::from_u32)
            };
            let numbered =
                name.strip_prefix('#').and_then(|number| match number.strip_prefix(['x', 'X']) {
                    Some(digits) => code(digits, 16),
                    None => code(number, 10),
                });
            Some((named.or(numbered)?, rest))
        });
        match meant {
            Some((sign, rest)) => {
                out.push(sign);
                out.push_str(rest);
            }
            None => {
                out.push('&');
                out.push_str(piece);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "k7 a&b c#d\"e\\f%41/ü+;=?";

    fn request(url: &str, kind: &str, body: &str) -> HttpRequest {
        HttpRequest {
            method: "POST".to_owned(),
            url: format!("https://t.example.org/{url}"),
            headers: vec![("Content-Type".to_owned(), kind.to_owned())],
            body: body.into(),
            changes_nothing: false,
        }
    }

    #[test]
    fn a_key_arrives_where_it_is_escaped_as_its_place_demands_and_nowhere_else() {
        let percent: String = KEY.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let form: String = form_urlencoded::byte_serialize(KEY.as_bytes()).collect();
        let json = in_json(KEY);
        let xml = KEY.replace('&', "&amp;").replace('"', "&#x22;").replace('ü', "&#252;");
        for (request, wanted) in [
            (request(&format!("t?key={percent}"), "", ""), true),
            (request(&format!("t?key={form}"), "", ""), true),
            (request(&format!("t/{percent}"), "", ""), true),
            (request(&format!("t?key={KEY}"), "", ""), false),
            (
                request(&format!("t?key={}", KEY.replace('&', "%26").replace('#', "%23")), "", ""),
                false,
            ),
            (request("", "application/json", &format!("{{\"a\": [\"{json}\"]}}")), true),
            (request("", "", &format!("{{\"a\": [\"{json}\"]}}")), true),
            (
                request("", "application/json", &format!("\"jql ~ \\\"{}\\\"\"", in_json(&json))),
                true,
            ),
            (request("", "application/x-www-form-urlencoded", &format!("a=b&key={form}")), true),
            (request("", "application/x-www-form-urlencoded", &format!("key={KEY}")), false),
            (
                request(
                    "",
                    "application/x-www-form-urlencoded",
                    &format!(
                        "q=[\"{}\"]",
                        json.replace('&', "%26").replace('%', "%25").replace('+', "%2B")
                    ),
                ),
                false,
            ),
            (request("", "text/xml", &format!("<k>{xml}</k>")), true),
            (request("", "text/plain", KEY), true),
        ] {
            assert_eq!(arrives(&texts(&request).unwrap(), KEY), wanted, "{request:?}");
        }
    }

    #[test]
    fn a_body_that_should_be_json_must_be() {
        for (kind, body, wanted) in [
            ("application/json", "{\"a\": \"b\"c\"}", false),
            ("application/vnd.api+json; charset=utf-8", "", true),
            ("", "{\"a\": \"\\x\"}", false),
            ("text/plain", "{\"a\": \"\\x\"}", true),
            ("application/json", "{\"a\": 1}", true),
        ] {
            assert_eq!(texts(&request("", kind, body)).is_ok(), wanted, "{kind} {body}");
        }
    }
}
