//! The SDK through the C table, as a host sees it: panics, replies, bounds, an odd host.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used)]

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::HttpAnswer;
use ticket_plugin_api::testkit::{self, Fixture};
use ticket_plugin_api::{
    About, Call, Check, Endpoint, ErrorKind, Extra, Format, Incident, Request, Result, Retry,
    Settings, Ticket, TicketPlugin, TicketRequest,
};

#[derive(Deserialize, JsonSchema)]
struct Secret {
    /// What to log in with
    token: String,
}

#[derive(Deserialize, JsonSchema)]
struct Information {
    #[serde(default)]
    panic_in: String,
}

/// Posts to `tickets` and takes the answer's number for the ticket.
struct Desk {
    endpoint: Endpoint,
    token: String,
    panic_in: String,
}

impl TicketPlugin for Desk {
    const ABOUT: About = About { name: "desk", aliases: &["DeskPlugin"], ..About::new("1.2.3") };
    type Secret = Secret;
    type Information = Information;

    fn open(settings: Settings<Secret, Information>) -> Result<Desk> {
        let desk = Desk {
            endpoint: Endpoint::new(&settings.endpoint),
            token: settings.secret.token,
            panic_in: settings.information.panic_in,
        };
        assert!(desk.panic_in != "open", "told to");
        Ok(desk)
    }

    fn check(&mut self, _: &Call) -> Result<Vec<Check>> {
        assert!(self.panic_in != "check", "told to");
        Ok(vec![])
    }

    fn create(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Ticket> {
        if self.panic_in == "create" {
            std::panic::panic_any(7_u8);
        }
        call.debug("creating");
        let missing = ["x".to_owned()];
        let extra = Extra { missing_fields: &missing, ..Extra::default() };
        let body = json!({
            "title": call.title()?,
            "body": call.body(Format::Html, &extra)?,
            "key": request.key,
            "seconds": call.remaining().as_secs(),
        });
        let post = Request::post(self.endpoint.join("tickets"));
        let answer = call.http(post.header("Authorization", &self.token).json(&body))?;
        if answer.status != 201 {
            return Err(answer.error(format!("answered {}", answer.status)));
        }
        let id: u64 = answer.json()?;
        let url = self.endpoint.join(&format!("t/{id}")).into();
        Ok(Ticket { url, id: id.to_string(), ..Ticket::default() })
    }
}

fn desk(information: Value) -> Result<Fixture> {
    testkit::open::<Desk>("https://desk.example.org/", json!({"token": "t"}), information)
}

const URL: &str = "https://desk.example.org/tickets";

#[test]
fn the_manifest_has_the_schemas_of_the_types() {
    let manifest = testkit::manifest::<Desk>();
    assert_eq!((manifest.name.as_str(), manifest.version.as_str()), ("desk", "1.2.3"));
    assert_eq!(manifest.aliases, ["DeskPlugin"]);
    assert_eq!(manifest.sdk, format!("ticket-plugin-api {}", ticket_plugin_api::VERSION));
    assert_eq!(manifest.secret_schema["required"], json!(["token"]));
    let token = &manifest.secret_schema["properties"]["token"];
    assert_eq!(token["description"], "What to log in with");
}

#[test]
fn a_call_has_http_templates_time_and_log() {
    let mut desk = desk(json!({})).unwrap();
    desk.host.answer("POST", URL, 201, json!(7));
    let ticket = desk.create(json!({"description": "gw1 is down"}), "k").unwrap();
    assert_eq!((ticket.url.as_str(), ticket.id.as_str()), ("https://desk.example.org/t/7", "7"));
    let sent = desk.host.sent_json(0);
    assert_eq!(sent["title"], "gw1 is down");
    let body = sent["body"].as_str().unwrap();
    assert!(body.starts_with("html body of gw1 is down") && body.contains("\"x\""), "{body}");
    assert_eq!(sent["seconds"], 30);
    assert!(desk.host.sent[0].headers.contains(&("Authorization".into(), "t".into())));
    assert_eq!(desk.host.logged, ["creating"]);
}

#[test]
fn a_panic_becomes_a_plugin_error_whatever_its_payload() {
    let error = desk(json!({"panic_in": "open"})).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Plugin);
    assert!(error.message.contains("the plugin panicked: told to"), "{error}");
    let error = desk(json!({"panic_in": "check"})).unwrap().check().unwrap_err();
    assert!(error.message.contains("told to"), "{error}");
    let error = desk(json!({"panic_in": "create"})).unwrap().create(json!({}), "k").unwrap_err();
    assert!(error.message.contains("panicked: no message"), "{error}");
}

#[test]
fn a_request_without_an_answer_is_the_error_that_it_means() {
    for (outcome, kind, retry) in [
        (HttpAnswer::NotSent("refused".into()), ErrorKind::Client, Retry::Later),
        (HttpAnswer::Unknown("lost".into()), ErrorKind::Client, Retry::Unknown),
        (HttpAnswer::Denied("fence".into()), ErrorKind::Settings, Retry::Never),
        (HttpAnswer::DryRun, ErrorKind::Client, Retry::Later),
    ] {
        let mut desk = desk(json!({})).unwrap();
        desk.host.outcome("POST", URL, outcome);
        let error = desk.create(json!({}), "k").unwrap_err();
        assert_eq!((error.kind, error.retry), (kind, retry), "{error}");
    }
}

#[test]
fn an_error_crosses_with_its_wait() {
    let mut desk = desk(json!({})).unwrap();
    let headers = vec![("retry-after".to_owned(), "7".to_owned())];
    desk.host.outcome("POST", URL, HttpAnswer::Answered { status: 429, headers, body: vec![] });
    let error = desk.create(json!({}), "k").unwrap_err();
    assert_eq!(error.retry_after.unwrap().as_secs(), 7);
    assert_eq!(error.message, "answered 429");
}

#[test]
fn settings_of_another_shape_are_refused_without_being_shown() {
    let secret = json!({"tokn": "hunter2"});
    let error = testkit::open::<Desk>("https://x.org", secret, json!({})).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Settings);
    assert!(!error.message.contains("hunter2"), "{error}");
}

#[test]
fn a_plugin_without_find_says_so() {
    let error = desk(json!({})).unwrap().find(json!({}), "k").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
}
