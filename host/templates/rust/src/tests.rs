// SPDX-License-Identifier: MIT-0
use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::HttpAnswer;
use ticket_plugin_api::*;

use super::Backend;

const ENDPOINT: &str = "https://desk.example.org/api";
const TICKETS: &str = "https://desk.example.org/api/tickets";
const SEARCH: &str = "https://desk.example.org/api/tickets?key=k%2F1%20%26%C3%B8";
const KEY: &str = "k/1 &ø";
const TOKEN: &str = "s3cret-t0ken";

fn open() -> testkit::Fixture {
    let information = json!({"project": "R&D ø", "unknown": 1});
    testkit::open::<Backend>(
        &format!("{ENDPOINT}/"),
        json!({"token": TOKEN}),
        information,
    )
    .unwrap()
}

fn incident() -> Value {
    json!({"description": "gw1 is \"down\""})
}

fn ticket(id: &str, key: &str) -> Value {
    json!({"id": id, "url": format!("{ENDPOINT}/t/{id}"), "key": key, "unknown": []})
}

/// What create() makes of this answer.
fn created(outcome: HttpAnswer) -> Result<Ticket> {
    let mut backend = open();
    backend.host.outcome("POST", TICKETS, outcome);
    let result = backend.create(incident(), KEY);
    assert!(
        !format!("{result:?} {:?}", backend.host.logged).contains(TOKEN),
        "{result:?}"
    );
    result
}

/// What find() makes of this answer.
fn found(status: u16, body: Value) -> Result<Option<Ticket>> {
    let mut backend = open();
    backend.host.answer("GET", SEARCH, status, body);
    backend.find(incident(), KEY)
}

fn answered(status: u16, headers: &[(&str, &str)], body: &[u8]) -> HttpAnswer {
    let headers = headers
        .iter()
        .map(|(n, v)| ((*n).into(), (*v).into()))
        .collect();
    HttpAnswer::Answered {
        status,
        headers,
        body: body.into(),
    }
}

#[test]
fn open_refuses_settings_without_token_or_project() {
    let (token, project) = (json!({"token": TOKEN}), json!({"project": "NOC"}));
    for (secret, information) in [
        (&token, json!({})),
        (&token, json!({"project": 7})),
        (&token, json!({"project": ""})),
        (&json!({}), project.clone()),
        (&json!({"token": [TOKEN]}), project.clone()),
        (&json!(TOKEN), project),
    ] {
        let error = testkit::open::<Backend>(ENDPOINT, secret.clone(), information).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Settings);
        assert!(!error.message.contains(TOKEN), "{error}");
    }
}

#[test]
fn create_sends_project_title_body_and_key() {
    let mut backend = open();
    backend.host.answer("POST", TICKETS, 201, ticket("7", KEY));
    let made = backend.create(incident(), KEY).unwrap();
    assert_eq!(
        (made.id.as_str(), made.url.as_str()),
        ("7", "https://desk.example.org/api/t/7")
    );
    let authorization = ("Authorization".to_owned(), format!("Bearer {TOKEN}"));
    assert!(backend.host.sent[0].headers.contains(&authorization));
    let sent = backend.host.sent_json(0);
    assert_eq!(sent["project"], "R&D ø");
    assert_eq!(sent["title"], "gw1 is \"down\"");
    assert!(
        sent["body"].as_str().unwrap().starts_with("markdown body"),
        "{sent}"
    );
    assert_eq!(sent["key"], KEY);
}

#[test]
fn create_tells_what_may_exist() {
    use {ErrorKind::*, Retry::*};
    for (outcome, kind, retry) in [
        (answered(400, &[], b"{}"), Creation, Never),
        (answered(401, &[], TOKEN.as_bytes()), Settings, Never),
        (answered(403, &[], b""), Settings, Never),
        (answered(404, &[], b"<html>"), Settings, Never),
        (answered(422, &[], b"{}"), Creation, Never),
        (answered(429, &[], b""), Client, Later),
        (answered(502, &[], b""), Client, Unknown),
        (answered(503, &[], b""), Client, Later),
        (HttpAnswer::NotSent("refused".into()), Client, Later),
        (HttpAnswer::Unknown("reset".into()), Client, Unknown),
        (HttpAnswer::Denied("no".into()), Settings, Never),
        (HttpAnswer::DryRun, Client, Later),
        (answered(201, &[], b"<!DOCTYPE html>"), Plugin, Unknown),
        (answered(201, &[], b""), Plugin, Unknown),
        (
            answered(201, &[], b"{\"id\": \"7\", \"url\": \"\xff\"}"),
            Plugin,
            Unknown,
        ),
        (answered(201, &[], b"{\"id\": \"7\"}"), Plugin, Unknown),
        (
            answered(201, &[], b"{\"id\": \"7\", \"url\": \"\"}"),
            Plugin,
            Unknown,
        ),
        (
            answered(201, &[], b"[\"7\", \"https://x/7\", null]"),
            Plugin,
            Unknown,
        ),
        (
            answered(201, &[], format!("\"{TOKEN}\"").as_bytes()),
            Plugin,
            Unknown,
        ),
        (answered(204, &[], b""), Plugin, Unknown),
        (answered(303, &[], b""), Plugin, Unknown),
    ] {
        let shown = format!("{outcome:?}");
        let error = created(outcome).unwrap_err();
        assert_eq!((error.kind, error.retry), (kind, retry), "{shown}: {error}");
    }
}

#[test]
fn a_retry_after_is_passed_on_and_cut_to_a_day() {
    for (value, seconds) in [("30", 30), ("90000", 86400)] {
        let error = created(answered(429, &[("retry-after", value)], b"")).unwrap_err();
        assert_eq!(error.retry_after.unwrap().as_secs(), seconds);
    }
}

#[test]
fn find_compares_keys() {
    let list = json!([ticket("1", "k/1"), ticket("2", "k/1 &ø0"), ticket("3", KEY)]);
    assert_eq!(found(200, list).unwrap().unwrap().id, "3");
    assert_eq!(found(200, json!([ticket("1", "k/1")])), Ok(None));
    assert_eq!(found(200, json!([])), Ok(None));
}

#[test]
fn a_failed_search_is_not_no_ticket() {
    for body in [
        json!("<html>"),
        json!(""),
        json!({"tickets": []}),
        json!([1]),
        json!([["1", "https://x/1", KEY]]),
        json!([{"id": "1", "url": "https://x/1"}]),
        json!([{"id": "1", "key": KEY}]),
    ] {
        assert_eq!(
            found(200, body.clone()).unwrap_err().kind,
            ErrorKind::Plugin,
            "{body}"
        );
    }
    assert_eq!(found(401, json!([])).unwrap_err().kind, ErrorKind::Settings);
    assert_eq!(found(404, json!([])).unwrap_err().kind, ErrorKind::Settings);
    assert_eq!(found(500, json!([])).unwrap_err().retry, Retry::Later);
}

#[test]
fn check_says_what_is_wrong() {
    let project = "https://desk.example.org/api/projects/R%26D%20%C3%B8";
    for (status, body, ok) in [
        (200, json!({"name": "R&D"}), true),
        (200, json!("<html>"), false),
        (401, json!(TOKEN), false),
        (403, json!({}), false),
        (404, json!({}), false),
    ] {
        let mut backend = open();
        backend.host.answer("GET", project, status, body);
        let check = backend.check().unwrap().remove(0);
        assert_eq!(
            (check.ok, check.help.is_empty()),
            (ok, ok),
            "{status}: {check:?}"
        );
        assert!(!check.message.contains(TOKEN), "{check:?}");
    }
    let mut backend = open();
    backend.host.answer("GET", project, 503, Value::Null);
    assert_eq!(backend.check().unwrap_err().retry, Retry::Later);
}
