//! What a ticket system answered once, and a host that answers the same again.

use std::time::Duration;

use ticket_plugin_api::abi::host_side::{Host, HttpAnswer, HttpRequest, OTHER_THREAD};

use crate::pages::Pages;

/// Bytes of answers and texts that are remembered of one call. What comes after them is answered by a failure.
const MOST: usize = 1 << 20;

/// What one call asked for, and what it was given.
#[derive(Debug, Clone, Default)]
pub(super) struct Tape {
    exchanges: Vec<Exchange>,
    texts: Vec<Rendered>,
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Exchange {
    method: String,
    /// Path and query.
    target: String,
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Rendered {
    part: String,
    format: String,
    text: Result<String, String>,
}

impl Tape {
    /// The same with each text of an answer changed by `change`.
    pub(super) fn map(&self, change: impl Fn(&str) -> String) -> Tape {
        let mut tape = self.clone();
        for exchange in &mut tape.exchanges {
            exchange.headers.iter_mut().for_each(|(_, value)| *value = change(value));
            if let Ok(body) = std::str::from_utf8(&exchange.body) {
                exchange.body = change(body).into_bytes();
            }
        }
        for rendered in &mut tape.texts {
            rendered.text = rendered.text.as_ref().map(|t| change(t)).map_err(|t| change(t));
        }
        tape
    }

    /// Whether so many bytes more may be remembered.
    fn has_room(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        self.bytes <= MOST
    }
}

/// Path and query of a URL.
fn target(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("", |at| &rest[at..])
}

/// The host of a call, while what it answers is remembered.
pub(super) struct Recorder<'a> {
    pub(super) host: &'a mut dyn Host,
    pub(super) tape: Tape,
}

impl Host for Recorder<'_> {
    fn http(&mut self, request: HttpRequest) -> HttpAnswer {
        let (method, url) = (request.method.clone(), request.url.clone());
        let answer = self.host.http(request);
        if let HttpAnswer::Answered { status, headers, body } = &answer
            && self.tape.has_room(body.len() + url.len())
        {
            let (status, headers, body) = (*status, headers.clone(), body.clone());
            let target = target(&url).to_owned();
            self.tape.exchanges.push(Exchange { method, target, status, headers, body });
        }
        answer
    }

    fn render(&mut self, part: &str, format: &str, extra: &str) -> Result<String, String> {
        let text = self.host.render(part, format, extra);
        if self.tape.has_room(text.as_ref().map_or(0, String::len)) {
            let (part, format) = (part.to_owned(), format.to_owned());
            self.tape.texts.push(Rendered { part, format, text: text.clone() });
        }
        text
    }

    fn log(&mut self, level: u32, message: &str) {
        self.host.log(level, message);
    }

    fn remaining(&self) -> Duration {
        self.host.remaining()
    }
}

/// A host that answers what is on a tape, or that the ticket system is out of order, and looks at what it is asked.
pub(super) struct Replay<'a> {
    /// None: every request fails.
    tape: Option<&'a Tape>,
    /// For each exchange of the tape, whether it was used.
    used: Vec<bool>,
    /// Texts that no request may have in it.
    foreign: &'a [String],
    takes_away: bool,
    /// Where one of those was seen for the first time.
    pub(super) seen: Option<&'static str>,
    pub(super) used_elsewhere: bool,
}

impl<'a> Replay<'a> {
    pub(super) fn new(
        tape: Option<&'a Tape>,
        foreign: &'a [String],
        takes_away: bool,
    ) -> Replay<'a> {
        let used = vec![false; tape.map_or(0, |tape| tape.exchanges.len())];
        Replay { tape, used, foreign, takes_away, seen: None, used_elsewhere: false }
    }

    /// Notes if one of the texts that may not be there is in `bytes`.
    pub(super) fn look(&mut self, place: &'static str, bytes: &[u8]) {
        let has = |text: &String| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        if self.seen.is_none() && self.foreign.iter().any(has) {
            self.seen = Some(place);
        }
    }

    /// The answer to the first request that was like this one, or else to the first one: a plugin may remember over its
    /// instances what it then needn't ask again, such as a session.
    fn answer(&mut self, request: &HttpRequest) -> Option<HttpAnswer> {
        let exchanges = &self.tape?.exchanges;
        let target = target(&request.url);
        let same = |e: &Exchange| e.method == request.method && e.target == target;
        let unused = |at: &usize| !self.used[*at];
        let like = (0..exchanges.len()).filter(unused).find(|at| same(&exchanges[*at]));
        let at = like.or_else(|| (0..exchanges.len()).find(unused))?;
        self.used[at] = true;
        let Exchange { status, headers, body, .. } = &exchanges[at];
        let (status, headers, body) = (*status, headers.clone(), body.clone());
        Some(HttpAnswer::Answered { status, headers, body })
    }
}

impl Host for Replay<'_> {
    fn http(&mut self, request: HttpRequest) -> HttpAnswer {
        self.look("a URL", request.url.as_bytes());
        request.headers.iter().for_each(|(_, value)| self.look("a header", value.as_bytes()));
        self.look("a request's body", &request.body);
        // Another thread may go on where this one waits for an answer.
        std::thread::yield_now();
        self.answer(&request).unwrap_or_else(|| HttpAnswer::Answered {
            status: 503,
            headers: vec![("content-type".to_owned(), "text/plain".to_owned())],
            body: b"come back later".to_vec(),
        })
    }

    fn render(&mut self, part: &str, format: &str, _: &str) -> Result<String, String> {
        std::thread::yield_now();
        let mut texts = self.tape.into_iter().flat_map(|tape| &tape.texts);
        let recorded = texts.find(|text| text.part == part && text.format == format);
        recorded.map_or_else(|| Ok(format!("the {part} of a ticket")), |text| text.text.clone())
    }

    fn log(&mut self, _: u32, message: &str) {
        self.used_elsewhere |= message == OTHER_THREAD;
    }

    fn remaining(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn apart(&mut self, bytes: &[u8]) -> Option<Box<dyn AsRef<[u8]>>> {
        if self.takes_away { Some(Box::new(Pages::of(bytes)?)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, url: &str) -> HttpRequest {
        let (method, url) = (method.to_owned(), url.to_owned());
        HttpRequest { method, url, headers: Vec::new(), body: Vec::new(), changes_nothing: false }
    }

    fn exchange(method: &str, target: &str, body: &str) -> Exchange {
        let (method, target, body) = (method.to_owned(), target.to_owned(), body.into());
        Exchange { method, target, status: 200, headers: Vec::new(), body }
    }

    fn body(answer: HttpAnswer) -> String {
        let HttpAnswer::Answered { body, .. } = answer else { panic!("{answer:?}") };
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn a_request_gets_the_answer_of_the_one_like_it_or_else_of_the_next() {
        let exchanges = vec![
            exchange("POST", "/login", "token"),
            exchange("GET", "/a", "a"),
            exchange("GET", "/b", "b"),
        ];
        let tape = Tape { exchanges, ..Tape::default() };
        let mut host = Replay::new(Some(&tape), &[], false);
        for (method, url, expected) in [
            ("GET", "https://x.org/a", "a"),
            ("GET", "https://x.org/a", "token"),
            ("POST", "https://x.org/c", "b"),
            ("GET", "https://x.org/b", "come back later"),
        ] {
            assert_eq!(body(host.http(request(method, url))), expected, "{method} {url}");
        }
    }

    #[test]
    fn a_foreign_text_is_seen_in_a_url_a_header_and_a_body() {
        let foreign = ["https://other.x.org".to_owned()];
        for (place, odd) in [
            ("a URL", request("GET", "https://other.x.org/a")),
            ("a header", {
                let headers = vec![("origin".to_owned(), "https://other.x.org".to_owned())];
                HttpRequest { headers, ..request("GET", "https://x.org/a") }
            }),
            ("a request's body", {
                let body = b"{\"url\": \"https://other.x.org/a\"}".to_vec();
                HttpRequest { body, ..request("POST", "https://x.org/a") }
            }),
        ] {
            let mut host = Replay::new(None, &foreign, false);
            host.http(request("GET", "https://x.org/a"));
            assert_eq!(host.seen, None);
            host.http(odd);
            assert_eq!(host.seen, Some(place));
        }
    }
}
