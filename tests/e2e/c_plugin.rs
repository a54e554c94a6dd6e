//! The plugin in C, loaded into this process and called through its table: every function, every
//! outcome. `tests/valgrind.sh` runs this under valgrind.

use std::time::Duration;

use serde_json::{Value, json};
use ticket_host_tests::c_plugin;
use ticket_host_worker::library::{self, Image};
use ticket_plugin_api::abi::host_side::{
    Host, HttpAnswer, HttpRequest, Instance, Operation, Returned,
};
use ticket_plugin_api::message::Checks;
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
