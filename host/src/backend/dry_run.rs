//! What a dry run shows of a call: the requests that it would send, without secrets, and what it would make.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;
use ticket_plugin_api::abi::host_side::HttpRequest;

use super::redact::Redactor;
use crate::terminal;

/// Bytes that are shown of the body of one request.
const MOST_OF_A_REQUEST: usize = 64 << 10;
/// Bytes of shown requests after which no more requests are shown.
const MOST_OF_REQUESTS: usize = 1 << 20;
/// One thing that a call would do. As text it is for people, as JSON an object for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Step {
    Request(ShownRequest),
    /// What the plugin says that it would make: its own text.
    Preview {
        preview: String,
    },
    /// That there is more, which is not shown.
    Omitted {
        omitted: &'static str,
    },
}

/// A request without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownRequest {
    method: String,
    url: String,
    headers: Vec<Header>,
    /// The body's text: JSON is indented. Of a long one the beginning.
    #[serde(skip_serializing_if = "String::is_empty", serialize_with = "json_or_text")]
    body: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Header {
    name: String,
    value: String,
}

/// The requests of a dry run so far.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub steps: Vec<Step>,
    /// Bytes of all texts in them, or of what was read to make them if that was more.
    bytes: usize,
}

impl Shown {
    pub(super) fn add(&mut self, request: &HttpRequest, redactor: &Redactor) {
        if self.bytes < MOST_OF_REQUESTS {
            let shown = ShownRequest::new(request, redactor);
            self.bytes += shown.bytes().max(bytes_read(request));
            self.steps.push(Step::Request(shown));
        } else if !matches!(self.steps.last(), Some(Step::Omitted { .. })) {
            self.steps.push(Step::Omitted { omitted: "more requests, which are not shown" });
        }
    }
}

impl ShownRequest {
    fn new(request: &HttpRequest, redactor: &Redactor) -> ShownRequest {
        let header = |(name, value): &(String, String)| Header {
            name: redactor.strike(name),
            value: redactor.strike_header(name, value, value.len()),
        };
        ShownRequest {
            method: request.method.clone(),
            url: redactor.strike_content(&request.url, request.url.len()),
            headers: request.headers.iter().map(header).collect(),
            body: show_body(&request.body, redactor),
        }
    }

    fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|header| header.name.len() + header.value.len());
        self.method.len() + self.url.len() + headers.sum::<usize>() + self.body.len()
    }
}

impl fmt::Display for ShownRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.method, self.url)?;
        for Header { name, value } in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        if self.body.is_empty() { Ok(()) } else { writeln!(f, "\n{}", self.body) }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Request(request) => request.fmt(f),
            Step::Preview { preview } => f.write_str(preview),
            Step::Omitted { omitted } => writeln!(f, "... and {omitted}"),
        }
    }
}

/// Bytes of a request that are read to show it.
fn bytes_read(request: &HttpRequest) -> usize {
    let headers = request.headers.iter().map(|(name, value)| name.len() + value.len());
    request.url.len() + headers.sum::<usize>() + request.body.len().min(MOST_OF_A_REQUEST)
}

/// The body as the JSON that it is, or else as a text. Secrets were struck out of its text, so that what is left of
/// a number among them may be no JSON any more.
fn json_or_text<S: Serializer>(body: &str, serializer: S) -> Result<S::Ok, S::Error> {
    match serde_json::from_str::<Value>(body) {
        Ok(json) => json.serialize(serializer),
        Err(_) => serializer.serialize_str(body),
    }
}

/// A body for a person to read: JSON is indented, and of a long body only the beginning is shown. What is struck out is
/// struck out before that is cut off.
fn show_body(body: &[u8], redactor: &Redactor) -> String {
    let whole = body.len() <= MOST_OF_A_REQUEST;
    let json = whole.then(|| serde_json::from_slice::<Value>(body).ok()).flatten();
    let (text, all) = match json {
        Some(json) => {
            let indented = format!("{json:#}");
            let all = indented.len();
            (indented, all)
        }
        None => {
            let start = &body[..body.len().min(2 * MOST_OF_A_REQUEST + 1)];
            (String::from_utf8_lossy(start).into_owned(), body.len())
        }
    };
    let struck = redactor.strike_content(&text, 2 * MOST_OF_A_REQUEST);
    if all <= MOST_OF_A_REQUEST {
        return struck;
    }
    let start = &struck[..struck.floor_char_boundary(MOST_OF_A_REQUEST)];
    let more = terminal::counted((all - MOST_OF_A_REQUEST) as u64, "byte");
    format!("{start} ... ({more} more)")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(headers: &[(&str, &str)], body: &[u8]) -> HttpRequest {
        HttpRequest {
            method: "POST".to_owned(),
            url: "https://rt.example.org/t?token=hunter2-token".to_owned(),
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            body: body.to_vec(),
            changes_nothing: false,
        }
    }

    fn shown(request: &HttpRequest) -> Step {
        let secret = json!({"token": "hunter2-token", "pin": 123456});
        let mut shown = Shown::default();
        shown.add(request, &Redactor::new(&secret, &true.into()));
        shown.steps.remove(0)
    }

    #[test]
    fn a_request_is_text_for_people_and_an_object_for_programs_and_no_secret_is_in_either() {
        let headers = [("Authorization", "token other"), ("Accept", "*/*"), ("X", "hunter2-token")];
        let step = shown(&request(&headers, br#"{"a": ["hunter2-token", 1]}"#));
        assert_eq!(
            step.to_string(),
            "POST https://rt.example.org/t?token=***\nAuthorization: token ***\nAccept: */*\nX: ***\n\n\
             {\n  \"a\": [\n    \"***\",\n    1\n  ]\n}\n"
        );
        let expected = json!({
            "method": "POST",
            "url": "https://rt.example.org/t?token=***",
            "headers": [
                {"name": "Authorization", "value": "token ***"},
                {"name": "Accept", "value": "*/*"},
                {"name": "X", "value": "***"},
            ],
            "body": {"a": ["***", 1]},
        });
        assert_eq!(json!(step), expected);
    }

    #[test]
    fn what_its_name_tells_to_be_a_credential_is_not_shown_of_the_url_the_headers_and_the_body() {
        let headers = [("Referer", "https://x.org/?sig=opened")];
        let body = br#"{"login": {"password": "opened", "user": "argus"}}"#;
        let mut request = request(&headers, body);
        request.url = "https://u:opened@rt.example.org/t?session=opened&id=7".to_owned();
        let shown = json!(shown(&request));
        assert_eq!(shown["url"], "https://***@rt.example.org/t?session=***&id=7");
        assert_eq!(shown["headers"][0]["value"], "https://x.org/?sig=***");
        assert_eq!(shown["body"], json!({"login": {"password": "***", "user": "argus"}}));
    }

    #[test]
    fn a_body_that_is_no_json_is_a_text_and_none_is_no_member() {
        let body = |body: &[u8]| json!(shown(&request(&[], body))).get("body").cloned();
        assert_eq!(body(b"a=b&token=hunter2-token"), Some(json!("a=b&token=***")));
        assert_eq!(body(br#"{"pin": 123456}"#), Some(json!("{\n  \"pin\": ***\n}")));
        assert_eq!(body(b""), None);
    }

    #[test]
    fn of_very_many_requests_the_first_are_shown_and_that_there_are_more() {
        let long = "x".repeat(60_000);
        // Also if of each there is little to see.
        let struck = format!("token={long}");
        for large in [request(&[], long.as_bytes()), request(&[("X", &struck)], b"")] {
            let mut shown = Shown::default();
            for _ in 0..1000 {
                shown.add(&large, &Redactor::default());
            }
            assert!((10..30).contains(&shown.steps.len()), "{}", shown.steps.len());
            let last = shown.steps.pop().unwrap();
            assert_eq!(last.to_string(), "... and more requests, which are not shown\n");
            assert_eq!(json!(last), json!({"omitted": "more requests, which are not shown"}));
        }
    }

    #[test]
    fn of_a_long_body_the_beginning_is_shown() {
        let long = vec![b'x'; 60 << 20];
        let shown = show_body(&long, &Redactor::default());
        assert!(shown.len() < MOST_OF_A_REQUEST + 100, "{}", shown.len());
        assert!(shown.ends_with(&format!("({} bytes more)", long.len() - MOST_OF_A_REQUEST)));
        // A secret of which only the beginning is before the cut.
        let secret = "hunter2-the-secret";
        let redactor = Redactor::new(&serde_json::json!({ "token": secret }), &true.into());
        let around = format!("{}{secret}{}", "x".repeat(MOST_OF_A_REQUEST - 9), "x".repeat(100));
        assert!(!show_body(around.as_bytes(), &redactor).contains("hunter2"));
        // Short JSON that would be long on its own lines.
        let deep = format!("{}{}0{}", "[".repeat(100), "1,".repeat(20_000), "]".repeat(100));
        assert!(show_body(deep.as_bytes(), &Redactor::default()).len() < MOST_OF_A_REQUEST + 100);
        assert_eq!(show_body(br#"{"a":1}"#, &Redactor::default()), "{\n  \"a\": 1\n}");
    }
}
