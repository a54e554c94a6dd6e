//! A call as a person may see it: each text in bounds, without secrets, and on one line.

use serde::Serialize;
use ticket_plugin_api::abi::host_side::{HttpAnswer, Operation};

use super::Input;
use crate::backend::redact::Redactor;
use crate::terminal::{counted, line};
use crate::validate::bench::LastCall;
use crate::validate::script::{Exchange, Role};

/// Bytes that are shown of a text.
const MOST: usize = 4 << 10;
/// Requests, and headers of one, that are shown.
const MANY: usize = 20;

/// What the plugin got, asked for and returned in one call.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Call {
    pub operation: &'static str,
    /// The incident's JSON. None for a function that gets none.
    pub incident: Option<String>,
    /// Which requests get `answer`. The others get what the settings' rules say.
    pub answered: &'static str,
    pub answer: Answer,
    /// The first of the requests that the plugin made.
    pub requests: Vec<Request>,
    /// How many it made.
    pub all_requests: usize,
    /// None if the function didn't return.
    pub returned: Option<Returned>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Answered { status: u16, headers: Vec<String>, body: String },
    NotSent,
    Unknown,
    Denied,
    DryRun,
}

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Request {
    pub method: String,
    pub url: String,
    pub headers: Vec<String>,
    pub body: String,
    /// What it got.
    pub answer: Answer,
}

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Returned {
    pub status: i32,
    /// Empty if there was none.
    pub reply: String,
}

impl Call {
    pub(super) fn of(input: &Input, seen: &LastCall, redactor: &Redactor) -> Call {
        let shown = Shown(redactor);
        let incident = (input.operation != Operation::Check)
            .then(|| shown.text(input.incident.to_string().as_bytes()));
        let returned = seen.returned.as_ref().map(|returned| Returned {
            status: returned.status,
            reply: match &returned.reply {
                Ok(reply) => shown.text(reply.as_deref().unwrap_or_default().as_bytes()),
                Err(bad) => bad.to_string(),
            },
        });
        Call {
            operation: input.operation.name(),
            incident,
            answered: match input.role {
                None => "every request",
                Some(Role::Login) => "logins",
                Some(Role::LookUp) => "look-ups",
                Some(Role::Search) => "searches",
                Some(Role::Create) => "requests that can create something",
                Some(Role::ReadBack) => "requests for a ticket that is there",
                Some(Role::Comment | Role::Close | Role::Reopen) => "steps",
                Some(Role::State) => "requests for a state",
                Some(Role::Changes) => "requests for changes",
            },
            answer: shown.answer(&input.answer),
            requests: seen.exchanges.iter().take(MANY).map(|one| shown.exchange(one)).collect(),
            all_requests: seen.exchanges.len(),
            returned,
        }
    }

    /// It on lines of their own, for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("the function: {}()", self.operation)];
        lines.extend(self.incident.as_ref().map(|json| format!("the incident: {json}")));
        lines.push(format!("the answer to {}: {}", self.answered, self.answer.outcome()));
        lines.extend(self.answer.message());
        lines.push(format!("the plugin made {}", counted(self.all_requests as u64, "request")));
        for Request { method, url, headers, body, answer } in &self.requests {
            lines.push(format!("> {method} {url}"));
            lines.extend(message('>', headers, body));
            lines.push(format!("< {}", answer.outcome()));
            if *answer != self.answer {
                lines.extend(answer.message());
            }
        }
        if self.requests.len() < self.all_requests {
            lines.push(format!("> ... (the first {} are shown)", self.requests.len()));
        }
        lines.push(match &self.returned {
            None => "it did not return".to_owned(),
            Some(Returned { status, reply }) if reply.is_empty() => {
                format!("it returned {status}, and no reply")
            }
            Some(Returned { status, reply }) => format!("it returned {status}: {reply}"),
        });
        lines
    }
}

impl Answer {
    /// What came of the request, in words.
    fn outcome(&self) -> String {
        match self {
            Answer::Answered { status, .. } => format!("status {status}"),
            Answer::NotSent => "it was not sent".to_owned(),
            Answer::Unknown => "it was sent, and no answer came".to_owned(),
            Answer::Denied => "it is not allowed".to_owned(),
            Answer::DryRun => "it is only shown, and not sent".to_owned(),
        }
    }

    /// Its headers and its body, a line each.
    fn message(&self) -> Vec<String> {
        match self {
            Answer::Answered { headers, body, .. } => message('<', headers, body),
            _ => Vec::new(),
        }
    }
}

fn message(mark: char, headers: &[String], body: &str) -> Vec<String> {
    let headers = headers.iter().map(|header| format!("{mark} {header}"));
    let body = (!body.is_empty()).then(|| format!("{mark} {body}"));
    headers.chain(body).collect()
}

/// Makes texts that may be shown.
struct Shown<'a>(&'a Redactor);

impl Shown<'_> {
    fn answer(&self, answer: &HttpAnswer) -> Answer {
        match answer {
            HttpAnswer::Answered { status, headers, body } => Answer::Answered {
                status: *status,
                headers: self.headers(headers),
                body: self.text(body),
            },
            HttpAnswer::NotSent(_) => Answer::NotSent,
            HttpAnswer::Unknown(_) => Answer::Unknown,
            HttpAnswer::Denied(_) => Answer::Denied,
            HttpAnswer::DryRun => Answer::DryRun,
        }
    }

    fn exchange(&self, exchange: &Exchange) -> Request {
        let request = &exchange.request;
        Request {
            method: self.text(request.method.as_bytes()),
            url: self.text(request.url.as_bytes()),
            headers: self.headers(&request.headers),
            body: self.text(&request.body),
            answer: self.answer(&exchange.answer),
        }
    }

    fn headers(&self, headers: &[(String, String)]) -> Vec<String> {
        let shown = headers.iter().take(MANY).map(|(name, value)| {
            let value = self.0.strike_header(name, value, 2 * MOST);
            let name = self.text(name.as_bytes());
            format!("{name}: {}", cut(&value, value.len()))
        });
        let more = (headers.len() > MANY).then(|| format!("... (of {} headers)", headers.len()));
        shown.chain(more).collect()
    }

    /// The text that these bytes are, with `\xNN` for each byte that is no text.
    fn text(&self, bytes: &[u8]) -> String {
        let mut text = String::new();
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
        }
        // What is struck out is struck out before that is cut off: a secret at the cut is not shown in part.
        cut(&self.0.strike_content(&text, 2 * MOST), bytes.len())
    }
}

/// The beginning of a text on one line, and of how many bytes it is the beginning, if it is one.
fn cut(text: &str, all: usize) -> String {
    let start = &text[..text.floor_char_boundary(MOST)];
    match start.len() == text.len() {
        true => line(text),
        false => format!("{} ... (the beginning of {})", line(start), counted(all as u64, "byte")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use ticket_plugin_api::abi::host_side::{self, HttpRequest};

    use super::*;

    fn redactor() -> Redactor {
        Redactor::new(&json!({"token": "hunter2-secret"}), &json!({}))
    }

    fn exchange(body: &[u8]) -> Exchange {
        let request = HttpRequest {
            method: "POST".to_owned(),
            url: "https://desk.example.org/t?key=hunter2-secret".to_owned(),
            headers: vec![("authorization".to_owned(), "Bearer x".to_owned())],
            body: body.to_vec(),
            changes_nothing: false,
        };
        Exchange { request, role: Role::Create, answer: HttpAnswer::NotSent(String::new()) }
    }

    fn call(seen: &LastCall) -> Call {
        let answer = HttpAnswer::Answered {
            status: 503,
            headers: vec![("retry-after".to_owned(), "-1".to_owned())],
            body: b"hunter2-secret \xff\n\x1b".to_vec(),
        };
        let incident = json!({"description": "x".repeat(200_000)});
        let input = Input { operation: Operation::Create, incident, answer, role: None };
        Call::of(&input, seen, &redactor())
    }

    #[test]
    fn a_call_is_shown_in_full_on_lines_of_its_own_without_secrets() {
        let reply = Ok(Some("{\"message\": \"hunter2-secret\"}".to_owned()));
        let returned = Some(host_side::Returned { status: 6, reply });
        let lines = call(&LastCall { exchanges: vec![exchange(b"a\nb")], returned }).lines();
        assert!(lines[1].starts_with("the incident: {\"description\":\"xxx"), "{}", lines[1]);
        assert!(lines[1].ends_with("x ... (the beginning of 200018 bytes)"), "{}", lines[1]);
        assert!(lines[1].len() < MOST + 100);
        let rest = [
            "the answer to every request: status 503",
            "< retry-after: -1",
            "< *** \\xff\\n\\u{1b}",
            "the plugin made 1 request",
            "> POST https://desk.example.org/t?key=***",
            "> authorization: Bearer ***",
            "> a\\nb",
            "< it was not sent",
            "it returned 6: {\"message\": \"***\"}",
        ];
        assert_eq!(lines[0], "the function: create()");
        assert_eq!(lines[2..], rest);
    }

    #[test]
    fn of_many_requests_the_first_are_shown_and_a_call_that_broke_did_not_return() {
        let exchanges = (0..30).map(|_| exchange(b"")).collect();
        let call = call(&LastCall { exchanges, returned: None });
        assert_eq!((call.requests.len(), call.all_requests), (20, 30));
        let lines = call.lines();
        assert_eq!(lines.last().unwrap(), "it did not return");
        assert!(lines.contains(&"> ... (the first 20 are shown)".to_owned()), "{lines:?}");
    }

    #[test]
    fn a_secret_at_the_cut_is_not_shown_in_part() {
        let text = format!("{}hunter2-secret{}", "x".repeat(MOST - 5), "x".repeat(MOST * 2));
        let redactor = redactor();
        let shown = Shown(&redactor).text(text.as_bytes());
        assert!(!shown.contains("hunt") && shown.contains("***"), "{shown}");
    }
}
