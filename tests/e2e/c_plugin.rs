//! The plugin in C, loaded into this process and called through its table: every function, every
//! outcome. `tests/valgrind.sh` runs this under valgrind.

use std::time::Duration;

use serde_json::{Value, json};
use ticket_host_tests::c_plugin;
use ticket_host_worker::library::{self, Image};
use ticket_plugin_api::abi::host_side::{
    Host, HttpAnswer, HttpRequest, Instance, Operation, Returned,
};
use ticket_plugin_api::abi::status;
use ticket_plugin_api::message::{Action, Checks, TicketState, Updated};
use ticket_plugin_api::{Error, ErrorKind, Retry, Ticket};

/// Gives one answer to everything, and keeps what was asked.
struct OneAnswer {
    answer: HttpAnswer,
    asked: Vec<HttpRequest>,
}

impl OneAnswer {
    fn new(answer: HttpAnswer) -> OneAnswer {
        OneAnswer { answer, asked: Vec::new() }
    }

    fn status(status: u16, location: Option<&str>, body: &[u8]) -> OneAnswer {
        let headers = location.map(|url| ("location".to_owned(), url.to_owned()));
        let headers = headers.into_iter().collect();
        OneAnswer::new(HttpAnswer::Answered { status, headers, body: body.to_vec() })
    }
}

impl Host for OneAnswer {
    fn http(&mut self, request: HttpRequest) -> HttpAnswer {
        self.asked.push(request);
        self.answer.clone()
    }

    fn render(&mut self, _: &str, _: &str, _: &str) -> Result<String, String> {
        Err("not asked for".to_owned())
    }

    fn log(&mut self, _: u32, _: &str) {}

    fn remaining(&self) -> Duration {
        Duration::from_secs(1)
    }
}

fn open(settings: &str) -> Result<Instance, Returned> {
    let library = library::load(&Image::open(&c_plugin("webhook")).unwrap()).unwrap();
    library.table.open(settings, &mut OneAnswer::status(500, None, b""))
}

fn webhook() -> Instance {
    let settings = json!({"endpoint": "https://x.org/hook?a=1", "secret": {"token": "t\"øk\\en"}});
    open(&settings.to_string()).unwrap()
}

fn request(key: &str) -> String {
    json!({"incident": {"description": "\u{7}\"key\": \"decoy\" 𝄞", "key": "decoy"}, "key": key})
        .to_string()
}

fn ask(operation: Operation, host: &mut OneAnswer) -> Result<Option<Ticket>, Error> {
    webhook().call(operation, &request("k/ø?&\"𝄞"), host).parse()
}

#[test]
fn what_is_sent_is_what_was_given() {
    let mut host = OneAnswer::status(201, Some("https://x.org/t/1"), b"");
    let ticket = ask(Operation::Create, &mut host).unwrap().unwrap();
    assert_eq!(ticket.url, "https://x.org/t/1");
    let sent = &host.asked[0];
    assert_eq!((sent.method.as_str(), sent.url.as_str()), ("POST", "https://x.org/hook?a=1"));
    assert_eq!(sent.body, request("k/ø?&\"𝄞").into_bytes());
    assert!(sent.headers.contains(&("authorization".into(), "Bearer t\"øk\\en".into())));

    let mut host = OneAnswer::status(200, Some("https://x.org/t/1"), b"");
    ask(Operation::Find, &mut host).unwrap().unwrap();
    let url = "https://x.org/hook?a=1&key=k%2F%C3%B8%3F%26%22%F0%9D%84%9E";
    assert_eq!((host.asked[0].method.as_str(), host.asked[0].url.as_str()), ("GET", url));
}

#[test]
fn every_outcome_has_its_meaning() {
    use ErrorKind::{Client, Creation, Plugin, Settings};
    let status = |status| OneAnswer::status(status, None, "no \"quota\"\nleft ø".as_bytes());
    for (mut host, kind, retry) in [
        (status(401), Settings, Retry::Never),
        (status(404), Settings, Retry::Never),
        (status(403), Settings, Retry::Never),
        (status(422), Creation, Retry::Never),
        (status(429), Client, Retry::Later),
        (status(503), Client, Retry::Later),
        (status(500), Client, Retry::Unknown),
        (status(302), Plugin, Retry::Unknown),
        (status(201), Plugin, Retry::Unknown),
        (OneAnswer::new(HttpAnswer::NotSent("refused".into())), Client, Retry::Later),
        (OneAnswer::new(HttpAnswer::Unknown("lost".into())), Client, Retry::Unknown),
        (OneAnswer::new(HttpAnswer::Denied("fence".into())), Settings, Retry::Never),
        (OneAnswer::new(HttpAnswer::DryRun), Client, Retry::Later),
    ] {
        let error = ask(Operation::Create, &mut host).unwrap_err();
        assert_eq!((error.kind, error.retry), (kind, retry), "{:?}: {error}", host.answer);
    }
    let error = ask(Operation::Create, &mut status(422)).unwrap_err();
    assert_eq!(error.message, "the ticket system answered 422: no \"quota\"\nleft ");
}

#[test]
fn certainly_none_is_said_by_204_alone() {
    assert_eq!(ask(Operation::Find, &mut OneAnswer::status(204, None, b"")).unwrap(), None);
    assert!(ask(Operation::Find, &mut OneAnswer::status(404, None, b"")).is_err());
    assert!(ask(Operation::Find, &mut OneAnswer::status(200, None, b"")).is_err());
}

#[test]
fn check_tells_what_came() {
    for (status, ok) in [(200, true), (405, true), (401, false), (404, false), (502, false)] {
        let mut host = OneAnswer::status(status, None, b"x");
        let checks: Checks =
            webhook().call(Operation::Check, "", &mut host).parse().unwrap().unwrap();
        assert_eq!(checks.checks[0].ok, ok, "{status}");
    }
}

#[test]
fn settings_and_keys_over_the_plugins_bound_are_refused() {
    let long = "x".repeat(9000);
    for (endpoint, token) in [(long.as_str(), "t"), ("https://x.org", long.as_str())] {
        let settings = json!({"endpoint": endpoint, "secret": {"token": token}}).to_string();
        let error = open(&settings).unwrap_err().parse::<Value>().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Settings);
    }
    let mut host = OneAnswer::status(204, None, b"");
    let returned = webhook().call(Operation::Find, &request(&long), &mut host);
    assert_eq!(returned.parse::<Ticket>().unwrap_err().kind, ErrorKind::Plugin);
    assert!(host.asked.is_empty());
}

/// A ticket as the webhook's receiver shows it, and its answer to what carries a step out. Keeps what was asked.
struct Life {
    look: HttpAnswer,
    write: HttpAnswer,
    comment: &'static str,
    asked: Vec<HttpRequest>,
}

impl Life {
    fn new(look: &str, write: &str) -> Life {
        let [look, write] = [look, write].map(|body| OneAnswer::status(200, None, body.as_bytes()));
        Life { look: look.answer, write: write.answer, comment: "is \"up\"\nagain", asked: vec![] }
    }

    fn update(&mut self, action: &str) -> Result<Option<Updated>, Error> {
        let request = json!({
            "ticket": {"url": "https://x.org/t/1?a=b&c"}, "key": "k", "incident": {"step": "decoy"}, "again": true,
            "step": {"id": "s-1", "action": action, "fields": {"a": "}"}},
        });
        webhook().call(Operation::Update, &request.to_string(), self).parse()
    }

    /// The bodies of what was sent to carry a step out.
    fn written(&self) -> Vec<Value> {
        let written = self.asked.iter().filter(|request| request.method == "PATCH");
        written.map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
    }
}

impl Host for Life {
    fn http(&mut self, request: HttpRequest) -> HttpAnswer {
        let look = request.method == "GET";
        self.asked.push(request);
        if look { self.look.clone() } else { self.write.clone() }
    }

    fn render(&mut self, part: &str, format: &str, _: &str) -> Result<String, String> {
        let text = format!("{format} {part} {}", self.comment);
        Ok(if self.comment.is_empty() { String::new() } else { text })
    }

    fn log(&mut self, _: u32, _: &str) {}

    fn remaining(&self) -> Duration {
        Duration::from_secs(1)
    }
}

const OPEN: &str = r#"{"state": "open", "comment": "missing"}"#;
const CLOSED: &str = r#"{"state": "closed", "comment": "missing"}"#;
const OPEN_AND_TOLD: &str = r#"{"state": "open", "comment": "written"}"#;
const CLOSED_AND_TOLD: &str = r#"{"state": "closed", "comment": "written"}"#;

/// What a step is for one of these actions, in the words of the ABI.
fn actions() -> [&'static str; 3] {
    [Action::Comment, Action::Close, Action::Reopen].map(Action::name)
}

#[test]
fn a_step_is_one_look_and_one_request_with_comment_and_state() {
    for (action, look, part, state) in [
        ("comment", OPEN, "comment", TicketState::Open),
        ("close", OPEN, "closing", TicketState::Closed),
        ("close", OPEN, "closing", TicketState::Cancelled),
        ("reopen", CLOSED, "comment", TicketState::Open),
    ] {
        let mut life = Life::new(look, &json!({"state": state}).to_string());
        let updated = life.update(action).unwrap().unwrap();
        assert_eq!((updated.done, updated.state), (true, state), "{action}");
        let url = "https://x.org/hook?a=1&ticket=https%3A%2F%2Fx.org%2Ft%2F1%3Fa%3Db%26c&step=s-1";
        let urls: Vec<_> = life.asked.iter().map(|request| request.url.as_str()).collect();
        assert_eq!(urls, [url, "https://x.org/hook?a=1"], "{action}");
        let body = json!({
            "ticket": {"url": "https://x.org/t/1?a=b&c"},
            "step": {"id": "s-1", "action": action, "fields": {"a": "}"}},
            "comment": format!("markdown {part} is \"up\"\nagain"),
        });
        assert_eq!(life.written(), [body]);
    }
}

#[test]
fn of_an_action_that_it_does_not_know_nothing_is_asked() {
    let mut life = Life::new(OPEN, OPEN);
    let request =
        json!({"ticket": {"url": "https://x.org/t/1"}, "step": {"id": "s-1", "action": "merge"}});
    let returned = webhook().call(Operation::Update, &request.to_string(), &mut life);
    assert_eq!((returned.status, life.asked.len()), (status::UNSUPPORTED, 0));
}

#[test]
fn what_is_a_persons_or_of_another_or_gone_is_left_alone() {
    use TicketState::{Cancelled, Closed, Foreign, Open};
    let cancelled = r#"{"state": "cancelled", "comment": "missing"}"#;
    for (action, look, state) in [
        ("comment", CLOSED, Closed),
        ("close", cancelled, Cancelled),
        ("reopen", OPEN, Open),
        ("close", r#"{"state": "foreign"}"#, Foreign),
    ] {
        let mut life = Life::new(look, "");
        let updated = life.update(action).unwrap().unwrap();
        assert_eq!((updated.done, updated.state), (false, state), "{action}");
        assert_eq!(life.asked.len(), 1);
    }
    for action in actions() {
        let mut life = Life::new(r#"{"state": "gone"}"#, "");
        assert_eq!(life.update(action).unwrap(), None);
        assert_eq!(life.asked.len(), 1);
    }
}

#[test]
fn of_a_step_whose_comment_is_there_only_the_rest_is_done() {
    for (action, look, now) in [
        ("comment", OPEN_AND_TOLD, None),
        ("comment", CLOSED_AND_TOLD, None),
        ("close", CLOSED_AND_TOLD, None),
        ("reopen", OPEN_AND_TOLD, None),
        ("close", OPEN_AND_TOLD, Some(CLOSED)),
        ("reopen", CLOSED_AND_TOLD, Some(OPEN)),
    ] {
        let mut life = Life::new(look, now.unwrap_or("nobody asks"));
        assert!(life.update(action).unwrap().unwrap().done, "{action} {look}");
        let said: Vec<_> = life.written().iter().map(|body| body["comment"].clone()).collect();
        assert_eq!(said, now.map(|_| json!("")).as_slice(), "{action} {look}");
    }
    for (status, retry) in [(422, Retry::Never), (429, Retry::Later), (500, Retry::Unknown)] {
        let mut life = Life::new(OPEN_AND_TOLD, "");
        life.write = OneAnswer::status(status, None, b"").answer;
        let error = life.update("close").unwrap_err();
        assert_eq!((error.partial, error.retry), (true, retry), "{status}");
    }
}

#[test]
fn an_empty_comment_is_none() {
    for (action, written) in [("comment", 0), ("close", 1)] {
        let mut life = Life { comment: "", ..Life::new(OPEN, CLOSED) };
        assert!(life.update(action).unwrap().unwrap().done);
        let said: Vec<_> = life.written().iter().map(|body| body["comment"].clone()).collect();
        assert_eq!(said, vec![json!(""); written], "{action}");
    }
}

#[test]
fn nothing_is_written_to_a_ticket_of_which_not_all_is_known() {
    let status = |status| OneAnswer::status(status, None, OPEN.as_bytes()).answer;
    let body = |body: &str| OneAnswer::status(200, None, body.as_bytes()).answer;
    for (look, retry) in [
        (status(404), Retry::Never),
        (status(410), Retry::Never),
        (status(204), Retry::Later),
        (status(302), Retry::Later),
        (status(500), Retry::Later),
        (HttpAnswer::Unknown("lost".into()), Retry::Later),
        (body("<html>"), Retry::Later),
        (body(r#"["open"]"#), Retry::Later),
        (body(r#"{"state": "open"}"#), Retry::Later),
        (body(r#"{"state": "open", "comment": null}"#), Retry::Later),
        (body(r#"{"state": "simmering", "comment": "missing"}"#), Retry::Later),
        (body(r#"{"comment": "missing"}"#), Retry::Later),
    ] {
        for action in actions() {
            let mut life = Life { look: look.clone(), ..Life::new("", CLOSED) };
            let error = life.update(action).unwrap_err();
            assert_eq!((error.retry, error.partial), (retry, false), "{action} {look:?}: {error}");
            assert_eq!(life.asked.len(), 1, "{action} {look:?}");
        }
    }
}

#[test]
fn a_step_is_done_when_the_answer_says_the_state_that_was_asked_for() {
    for (action, look, write) in [
        ("comment", OPEN, ""),
        ("comment", OPEN, "{}"),
        ("close", OPEN, "{}"),
        ("close", OPEN, OPEN),
        ("close", OPEN, r#"{"state": "gone"}"#),
        ("reopen", CLOSED, CLOSED),
        ("reopen", CLOSED, r#"{"state": "foreign"}"#),
    ] {
        let error = Life::new(look, write).update(action).unwrap_err();
        let said = (error.kind, error.retry, error.partial);
        assert_eq!(said, (ErrorKind::Plugin, Retry::Unknown, false), "{action} {write}");
    }
    let mut lost = Life { write: HttpAnswer::Unknown("lost".into()), ..Life::new(OPEN, "") };
    assert_eq!(lost.update("comment").unwrap_err().retry, Retry::Unknown);
}

#[test]
fn a_dry_run_shows_the_look_and_what_would_be_written() {
    for action in actions() {
        let mut life = Life::new("", "");
        (life.look, life.write) = (HttpAnswer::DryRun, HttpAnswer::DryRun);
        let error = life.update(action).unwrap_err();
        assert_eq!((error.kind, error.retry), (ErrorKind::Client, Retry::Later), "{action}");
        let [body] = &life.written()[..] else { panic!("one request that writes") };
        assert_eq!(body["step"]["action"], action);
        assert!(body["comment"].as_str().unwrap().starts_with("markdown"), "{body}");
    }
}
