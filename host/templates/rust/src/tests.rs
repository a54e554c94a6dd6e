// SPDX-License-Identifier: MIT-0
use std::time::Duration;

use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::HttpAnswer;
use ticket_plugin_api::message::{AskedTicket, WebhookHead};
use ticket_plugin_api::*;

use super::Backend;

const ENDPOINT: &str = "https://desk.example.org/api";
const TICKETS: &str = "https://desk.example.org/api/tickets";
const SEARCH: &str = "https://desk.example.org/api/tickets?key=k%2F1%20%26%C3%B8";
const KEY: &str = "k/1 &ø";
const TOKEN: &str = "s3cret-t0ken";
const LIST: &str = "https://desk.example.org/api/tickets?sort=created&after=";
const LOOK_UP: &str = "https://desk.example.org/api/lookup";
const COMMENTS: &str = "https://desk.example.org/api/tickets/7/comments";
const CHANGE: &str = "https://desk.example.org/api/tickets/7";

fn open() -> testkit::Fixture {
    let information = json!({"project": "R&D ø", "unknown": 1});
    testkit::open::<Backend>(
        &format!("{ENDPOINT}/"),
        json!({"token": TOKEN, "webhook_secret": "the secret of webhooks"}),
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

#[test]
fn find_reads_from_the_day_before_the_ticket_can_be_made() {
    let mut backend = open();
    backend
        .host
        .answer("GET", &format!("{SEARCH}&since=2026-10-31"), 200, json!([]));
    let incident = json!({"start_time": "2026-11-01T08:00:00+01:00"});
    assert_eq!(backend.find(incident, KEY), Ok(None));
}

fn many(cursor: Option<&str>) -> FindMany {
    let wanted = |key: &str, day: u8| WantedKey {
        key: key.to_owned(),
        not_before: Some(format!("2026-11-{day}T07:00:00Z")),
        not_after: None,
    };
    FindMany {
        keys: vec![wanted("one", 23), wanted("two", 24)],
        cursor: cursor.map(str::to_owned),
    }
}

fn page(after: &str) -> String {
    format!("{LIST}{after}&since=2026-11-22")
}

#[test]
fn one_listing_finds_the_oldest_tickets_of_many_keys_and_says_none_at_its_end() {
    let mut backend = open();
    let first = json!([ticket("1", "Two"), ticket("2", "two"), ticket("3", "two")]);
    backend.host.answer("GET", &page(""), 200, first);
    let by_a_person = json!([{"id": "4", "url": "https://x/4"}]);
    backend.host.answer("GET", &page("3"), 200, by_a_person);
    backend.host.answer("GET", &page("4"), 200, json!([]));
    let reply = backend.find_many(&many(None)).unwrap();
    assert_eq!(
        (reply.found.len(), reply.found[0].ticket.id.as_str()),
        (1, "2")
    );
    assert_eq!((reply.none, reply.cursor), (vec!["one".to_owned()], None));
}

#[test]
fn a_search_goes_on_behind_its_cursor_where_time_or_a_page_ended_it() {
    let mut backend = open();
    backend.host.remaining = Duration::from_secs(1);
    backend
        .host
        .answer("GET", &page(""), 200, json!([ticket("5", "two")]));
    let reply = backend.find_many(&many(None)).unwrap();
    assert_eq!((reply.found.len(), reply.none.len()), (1, 0));
    assert_eq!(reply.cursor.as_deref(), Some("5"));

    let mut backend = open();
    let busy = answered(503, &[("retry-after", "30")], b"");
    backend
        .host
        .answer("GET", &page("5"), 200, json!([ticket("6", "x")]));
    backend.host.outcome("GET", &page("6"), busy);
    let reply = backend.find_many(&many(Some("5"))).unwrap();
    assert_eq!((reply.none.len(), reply.retry_after_ms), (0, Some(30_000)));
    assert_eq!(reply.cursor.as_deref(), Some("6"));

    let mut backend = open();
    backend.host.answer("GET", &page(""), 200, json!("<html>"));
    assert_eq!(
        backend.find_many(&many(None)).unwrap_err().kind,
        ErrorKind::Plugin
    );
}

fn named() -> TicketName {
    TicketName {
        url: format!("{ENDPOINT}/t/7"),
        id: "7".to_owned(),
    }
}

fn shown(id: &str, state: &str) -> Value {
    json!({"id": id, "url": format!("{ENDPOINT}/t/{id}"), "project": "R&D ø", "state": state})
}

/// What update() makes of these answers, by method, URL, status and body; the first is that to the look-up.
fn stepped(
    action: Action,
    again: bool,
    state: &str,
    answers: &[(&str, &str, u16, Value)],
) -> Result<Option<Updated>> {
    let mut backend = open();
    backend
        .host
        .answer("POST", LOOK_UP, 200, json!([shown("7", state)]));
    for (method, url, status, body) in answers {
        backend.host.answer(method, url, *status, body.clone());
    }
    let fields = json!({"solution": "none"}).as_object().unwrap().clone();
    let step = Step {
        id: "s-1".to_owned(),
        action,
        diff: Default::default(),
        fields,
    };
    let result = backend.update(&named(), incident(), &step, again);
    assert!(backend.host.sent[0].changes_nothing);
    for sent in &backend.host.sent {
        let body: Value = serde_json::from_slice(&sent.body).unwrap_or_default();
        match sent.method.as_str() {
            "PATCH" => assert_eq!(body["fields"]["solution"], "none"),
            "POST" if sent.url == COMMENTS => {
                let closing = action == Action::Close;
                let part = if closing {
                    "markdown closing"
                } else {
                    "markdown comment"
                };
                assert!(body["text"].as_str().unwrap().starts_with(part), "{body}");
                assert_eq!(body["mark"], "s-1");
            }
            _ => {}
        }
    }
    result
}

#[test]
fn a_step_is_carried_out_once_and_a_person_is_not_overruled() {
    use Action::*;
    let (comment, change) = (("POST", COMMENTS, 201, json!({})), ("PATCH", CHANGE, 200));
    let changed = |state: &str| (change.0, change.1, change.2, shown("7", state));
    let (first, second) = (format!("{COMMENTS}?after="), format!("{COMMENTS}?after=c1"));
    let marked = |mark: &str| json!([{"id": "c1", "mark": mark, "text": "s-1"}]);
    let found = ("GET", first.as_str(), 200, marked("s-1"));
    let other = ("GET", first.as_str(), 200, marked("s-10"));
    let end = ("GET", second.as_str(), 200, json!([]));
    for (action, again, state, answers, done, after) in [
        (
            Comment,
            false,
            "waiting",
            vec![comment.clone()],
            true,
            TicketState::Open,
        ),
        (
            Close,
            false,
            "open",
            vec![comment.clone(), changed("resolved")],
            true,
            TicketState::Closed,
        ),
        (
            Reopen,
            false,
            "rejected",
            vec![comment.clone(), changed("open")],
            true,
            TicketState::Open,
        ),
        (
            Comment,
            false,
            "resolved",
            vec![],
            false,
            TicketState::Closed,
        ),
        (
            Close,
            false,
            "rejected",
            vec![],
            false,
            TicketState::Cancelled,
        ),
        (Reopen, false, "open", vec![], false, TicketState::Open),
        (
            Comment,
            true,
            "open",
            vec![found.clone()],
            true,
            TicketState::Open,
        ),
        (
            Close,
            true,
            "open",
            vec![found.clone(), changed("resolved")],
            true,
            TicketState::Closed,
        ),
        (
            Close,
            true,
            "resolved",
            vec![found],
            true,
            TicketState::Closed,
        ),
        (
            Comment,
            true,
            "open",
            vec![other, end, comment],
            true,
            TicketState::Open,
        ),
    ] {
        let updated = stepped(action, again, state, &answers).unwrap().unwrap();
        assert_eq!(
            (updated.done, updated.state),
            (done, after),
            "{action:?} {again} {state}"
        );
    }
}

#[test]
fn a_step_tells_what_may_be_written() {
    use {ErrorKind::*, Retry::*};
    let comment = ("POST", COMMENTS, 201, json!({}));
    let first = format!("{COMMENTS}?after=");
    for (again, answers, kind, retry, partial) in [
        (
            false,
            vec![("POST", COMMENTS, 422, json!({}))],
            Creation,
            Never,
            false,
        ),
        (
            false,
            vec![("POST", COMMENTS, 502, json!({}))],
            Client,
            Unknown,
            false,
        ),
        (
            false,
            vec![("POST", COMMENTS, 200, json!("<html>"))],
            Plugin,
            Unknown,
            false,
        ),
        (
            false,
            vec![comment.clone(), ("PATCH", CHANGE, 409, json!({}))],
            Creation,
            Never,
            true,
        ),
        (
            false,
            vec![comment.clone(), ("PATCH", CHANGE, 429, json!({}))],
            Client,
            Later,
            true,
        ),
        (
            false,
            vec![comment.clone(), ("PATCH", CHANGE, 502, json!({}))],
            Client,
            Unknown,
            true,
        ),
        (
            false,
            vec![comment, ("PATCH", CHANGE, 200, shown("7", "open"))],
            Plugin,
            Unknown,
            true,
        ),
        (
            true,
            vec![("GET", first.as_str(), 500, json!({}))],
            Client,
            Later,
            false,
        ),
        (
            true,
            vec![("GET", first.as_str(), 200, json!("<html>"))],
            Plugin,
            Never,
            false,
        ),
    ] {
        let error = stepped(Action::Close, again, "open", &answers).unwrap_err();
        assert_eq!(
            (error.kind, error.retry, error.partial),
            (kind, retry, partial),
            "{answers:?}: {error}"
        );
    }
}

#[test]
fn a_ticket_is_gone_only_where_that_is_certain() {
    assert_eq!(stepped(Action::Close, false, "deleted", &[]), Ok(None));
    let unknown = stepped(Action::Close, false, "frozen", &[]).unwrap_err();
    assert_eq!(unknown.kind, ErrorKind::Creation);
    let step = Step {
        id: "s-1".to_owned(),
        action: Action::Close,
        diff: Default::default(),
        fields: Default::default(),
    };
    for (status, body, kind) in [
        (404, json!({}), ErrorKind::Settings),
        (200, json!([]), ErrorKind::Creation),
    ] {
        let mut backend = open();
        backend.host.answer("POST", LOOK_UP, status, body);
        let error = backend
            .update(&named(), incident(), &step, false)
            .unwrap_err();
        assert_eq!(error.kind, kind, "{status}");
    }
}

#[test]
fn states_are_told_by_the_hosts_words_and_what_is_not_shown_is_left_out() {
    let asked = |id: &str| AskedTicket {
        url: format!("{ENDPOINT}/t/{id}"),
        ..AskedTicket::default()
    };
    let tickets: Vec<AskedTicket> = ["1", "2", "3", "4", "5", "6"].map(asked).into();
    let mut backend = open();
    let mut foreign = shown("4", "open");
    foreign["project"] = json!("R");
    let answer = json!([
        foreign,
        shown("1", "waiting"),
        shown("2", "rejected"),
        shown("3", "deleted"),
        shown("5", "frozen"),
        shown("9", "open"),
    ]);
    backend.host.answer("POST", LOOK_UP, 200, answer);
    let states = backend.state(&StateRequest { tickets }).unwrap();
    let mut told: Vec<_> = states
        .tickets
        .iter()
        .map(|t| (t.url.as_str(), t.state))
        .collect();
    told.sort_by_key(|told| told.0);
    let told: Vec<TicketState> = told.into_iter().map(|told| told.1).collect();
    use TicketState::*;
    assert_eq!(told, [Open, Cancelled, Gone, Foreign]);
}

#[test]
fn a_webhook_counts_only_with_the_signature_of_its_body() {
    // printf '%s' BODY | openssl dgst -sha256 -hmac "the secret of webhooks"
    const BODY: &[u8] = br#"{"ticket": {"id": "7", "url": "https://x/7"}}"#;
    const SIGNATURE: &str = "58708765a436b001aa29c43310ea92626a8fbf6007d86dbc31a2d1df97b9dcc8";
    let head = |signature: &str| WebhookHead {
        headers: vec![("x-signature".to_owned(), signature.to_owned())],
        ..WebhookHead::default()
    };
    let received = open()
        .receive(&head(&format!("sha256={SIGNATURE}")), BODY)
        .unwrap();
    assert_eq!(
        (received.forged, received.tickets[0].id.as_str()),
        (None, "7")
    );
    for (signature, body) in [
        (format!("sha256={SIGNATURE}"), &b"{}"[..]),
        (SIGNATURE.to_owned(), BODY),
        (format!("sha256={}", &SIGNATURE[..32]), BODY),
        ("sha256=é".to_owned(), BODY),
        (String::new(), BODY),
    ] {
        let received = open().receive(&head(&signature), body).unwrap();
        assert!(
            received.forged.is_some() && received.tickets.is_empty(),
            "{signature}"
        );
    }
}

#[test]
fn changes_go_on_behind_their_cursor_and_a_gap_is_told() {
    let changes = "https://desk.example.org/api/changes";
    let request = |cursor: Option<&str>| ChangesRequest {
        cursor: cursor.map(str::to_owned),
    };
    let mut backend = open();
    backend
        .host
        .answer("GET", changes, 200, json!({"cursor": "8"}));
    let first = backend.changes(&request(None)).unwrap();
    assert_eq!((first.tickets.len(), first.cursor.as_str()), (0, "8"));

    let page = json!({"tickets": [named()], "cursor": "9", "more": true});
    backend
        .host
        .answer("GET", &format!("{changes}?after=8"), 200, page);
    let next = backend.changes(&request(Some("8"))).unwrap();
    assert_eq!(
        (next.tickets, next.more, next.gap),
        (vec![named()], true, false)
    );

    backend
        .host
        .answer("GET", &format!("{changes}?after=1"), 410, json!({}));
    backend
        .host
        .answer("GET", changes, 200, json!({"cursor": "9"}));
    let anew = backend.changes(&request(Some("1"))).unwrap();
    assert_eq!((anew.gap, anew.cursor.as_str()), (true, "9"));
}
