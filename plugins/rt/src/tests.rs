//! What the plugin asks of RT and makes of its answers; the answers are those of RT 5.0.3.

use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::HttpAnswer;
use ticket_plugin_api::testkit::{self, Fixture};
use ticket_plugin_api::{Error, ErrorKind, FindMany, FoundMany, Retry, WantedKey};

use crate::Rt;
use crate::ticket::marker;

pub(crate) const KEY: &str = "https://argus.example.org/incidents/4";
const QUEUE: &str = "https://rt.example.org/REST/2.0/queue/NOC";
const TICKET: &str = "https://rt.example.org/REST/2.0/ticket";
const CREATED: &str = "https://rt.example.org/REST/2.0/ticket/4711?fields%5BQueue%5D=Name";

pub(crate) fn open(information: Value) -> Fixture {
    open_at("https://rt.example.org/", information)
}

fn open_at(endpoint: &str, information: Value) -> Fixture {
    testkit::open::<Rt>(endpoint, json!({"token": "1-14-secret"}), information).unwrap()
}

fn fields() -> Value {
    json!({
        "queue": "NOC",
        "custom_fields_set": {"Location": "Trondheim"},
        "custom_fields_mapping": {
            "Start Time": "start_time",
            "End Time": "end_time",
            "Level": "level",
            "Hosts": {"tag": "host"},
            "Severity": {"tag": "severity"},
        },
    })
}

pub(crate) fn incident() -> Value {
    json!({
        "pk": 4,
        "description": "gw1 is down",
        "start_time": "2026-07-01T12:00:00.000001+02:00",
        "end_time": "infinity",
        "level": 0,
        "argus_url": KEY,
        "details_url": "https://nav.example.org/alert/4",
        "tags": [{"tag": "host=a"}, {"tag": "host=b"}],
    })
}

fn queue(fields: &[&str]) -> Value {
    let fields: Vec<Value> = fields.iter().map(|name| json!({"name": name, "id": "7"})).collect();
    json!({
        "id": 3, "Disabled": "0", "TicketCustomFields": fields,
        "_hyperlinks": [{"ref": "self", "id": 3}, {"ref": "create", "type": "ticket"}],
    })
}

fn all_fields() -> Value {
    queue(&["location", "Start Time", "End Time", "Level", "Hosts", "Severity"])
}

/// The ticket as RT shows it when all was stored that `incident()` asks for.
fn stored() -> Value {
    stored_with(json!([
        {"name": "Location", "values": ["Trondheim"]},
        {"name": "Start Time", "values": ["2026-07-01T10:00:00Z"]},
        {"name": "Level", "values": ["0"]},
        {"name": "Hosts", "values": ["b", "a"]},
        {"name": "Severity", "values": []},
    ]))
}

fn stored_with(custom_fields: Value) -> Value {
    let links = [KEY, "https://nav.example.org/alert/4", &marker(KEY)];
    let links = links.map(|url| json!({"ref": "refers-to", "_url": url}));
    json!({
        "id": 4711, "Subject": "gw1 is down", "Requestor": [],
        "CustomFields": custom_fields, "_hyperlinks": links,
    })
}

fn created(rt: &mut Fixture) {
    rt.host.answer("POST", TICKET, 201, json!({"id": "4711", "type": "ticket"}));
}

/// The URL that `find` asks for.
fn search(key: &str) -> String {
    let urn = marker(key).replace(':', "%3A");
    format!(
        "https://rt.example.org/REST/2.0/tickets?query=RefersTo%20%3D%20%27{urn}%27\
         &fields=_hyperlinks&orderby=id&order=ASC&per_page=100"
    )
}

fn found(id: &str, url: &str) -> Value {
    json!({"id": id, "_hyperlinks": [{"ref": "refers-to", "_url": url}]})
}

fn header<'a>(rt: &'a Fixture, name: &str) -> &'a str {
    let headers = &rt.host.sent[0].headers;
    headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str()).unwrap()
}

#[test]
fn a_ticket_has_html_links_and_custom_fields() {
    let mut rt = open(fields());
    rt.host.answer("GET", QUEUE, 200, all_fields());
    created(&mut rt);
    rt.host.answer("GET", CREATED, 200, stored());
    let ticket = rt.create(incident(), KEY).unwrap();
    assert_eq!(ticket.url, "https://rt.example.org/Ticket/Display.html?id=4711");
    assert_eq!(ticket.id, "4711");
    assert_eq!(ticket.missing_fields, ["severity"]);
    assert_eq!(ticket.warnings, [""; 0]);
    let sent = rt.host.sent_json(1);
    assert_eq!(sent["Queue"], "NOC");
    assert_eq!(sent["Subject"], "gw1 is down");
    assert_eq!(sent["ContentType"], "text/html");
    let body = sent["Content"].as_str().unwrap();
    assert!(body.starts_with("html body") && body.contains("severity"), "{body}");
    assert_eq!(sent["RefersTo"], json!(["https://nav.example.org/alert/4", KEY, marker(KEY)]));
    assert_eq!(
        sent["CustomFields"],
        json!({
            "Location": "Trondheim", "Start Time": "2026-07-01T10:00:00+00:00",
            "Level": "0", "Hosts": ["a", "b"],
        })
    );
}

#[test]
fn once_warm_a_ticket_takes_one_request() {
    let mut rt = open(fields());
    rt.host.answer("GET", QUEUE, 200, all_fields());
    created(&mut rt);
    rt.host.answer("GET", CREATED, 200, stored());
    rt.create(incident(), KEY).unwrap();
    // Another time is another value and stored alike.
    let mut later = incident();
    later["start_time"] = json!("2026-07-02T12:00:00+02:00");
    created(&mut rt);
    rt.create(later, "another key").unwrap();
    assert_eq!(rt.host.sent.len(), 4);
    // A value that RT has not taken yet is looked at.
    let mut other = incident();
    other["level"] = json!(5);
    created(&mut rt);
    rt.host.answer("GET", CREATED, 200, stored());
    let warnings = rt.create(other, "a third").unwrap().warnings;
    assert!(
        warnings.iter().any(|w| w.starts_with("custom field Level: RT stored [\"0\"]")),
        "{warnings:?}"
    );
}

#[test]
fn a_refusal_has_the_queue_looked_up_anew() {
    let mut rt = open(fields());
    rt.host.answer("GET", QUEUE, 200, all_fields());
    rt.host.answer("POST", TICKET, 403, json!({"message": "No permission"}));
    rt.create(incident(), KEY).unwrap_err();
    rt.host.answer("GET", QUEUE, 200, json!({"id": 3, "Disabled": "1"}));
    let error = rt.create(incident(), KEY).unwrap_err();
    assert_eq!(error.to_string(), "information: RT's queue \"NOC\" is disabled");
    assert_eq!(error.kind, ErrorKind::Settings);
}

#[test]
fn a_field_that_the_queue_lacks_is_a_warning_and_a_line_in_the_body() {
    let mut rt = open(json!({"queue": "NOC", "custom_fields_set": {"Nope": "x"}}));
    rt.host.answer("GET", QUEUE, 200, all_fields());
    created(&mut rt);
    rt.host.answer("GET", CREATED, 200, stored());
    let ticket = rt.create(incident(), KEY).unwrap();
    assert!(ticket.warnings[0].starts_with("custom field Nope: queue NOC has none"), "{ticket:?}");
    let sent = rt.host.sent_json(1);
    assert_eq!(sent["CustomFields"], json!({}));
    assert!(sent["Content"].as_str().unwrap().contains("custom field Nope"), "{sent}");
}

#[test]
fn what_rt_left_out_without_a_word_is_a_warning_each() {
    let mut rt = open(json!({
        "queue": "NOC", "requestor": ["ada@example.org", "nobody"],
        "custom_fields_set": {"Location": "Bergen"},
    }));
    rt.host.answer("GET", QUEUE, 403, json!({"message": "Forbidden"}));
    created(&mut rt);
    let there = json!({
        "Subject": "gw1", "Requestor": [{"id": "ada@example.org"}],
        "CustomFields": [{"name": "Location", "values": []}],
    });
    rt.host.answer("GET", CREATED, 200, there);
    let warnings = rt.create(incident(), KEY).unwrap().warnings;
    for (warning, start) in warnings.iter().zip([
        "RT changed the subject to \"gw1\"",
        "RT did not store the link https://nav.example.org/alert/4",
        "RT did not store the link https://argus.example.org/incidents/4",
        "RT did not store the link urn:ticket-host:sha256:",
        "RT took 1 of the requestors [\"ada@example.org\", \"nobody\"]",
        "custom field Location: RT stored [] and not [\"Bergen\"]",
    ]) {
        assert!(warning.starts_with(start), "{warning} is not {start}");
    }
    assert_eq!(warnings.len(), 6);
}

#[test]
fn a_ticket_that_cannot_be_verified_is_a_ticket_with_a_warning() {
    let mut rt = open(json!({"queue": "NOC"}));
    for (status, body, warning) in [
        (403, json!({"message": "Forbidden"}), "this user may not see the ticket"),
        (502, json!("<html>bad gateway</html>"), "what RT left out of the ticket can't be told"),
    ] {
        if status == 403 {
            rt.host.answer("GET", QUEUE, 403, json!({"message": "Forbidden"}));
        }
        created(&mut rt);
        rt.host.answer("GET", CREATED, status, body);
        let ticket = rt.create(incident(), KEY).unwrap();
        assert_eq!(ticket.id, "4711");
        assert!(ticket.warnings[0].starts_with(warning), "{ticket:?}");
    }
}

#[test]
fn rts_ways_to_write_a_value_are_no_differences() {
    let information = json!({"queue": "NOC", "custom_fields_set": {
        "Day": "2026-07-01T23:30:00-02:00", "Address": "2001:db8::1", "Text": " spaces ",
    }});
    let mut rt = open(information);
    rt.host.answer("GET", QUEUE, 200, queue(&[]));
    created(&mut rt);
    let there = stored_with(json!([
        {"name": "Day", "values": ["2026-07-02"]},
        {"name": "Address", "values": ["2001:0db8:0000:0000:0000:0000:0000:0001"]},
        {"name": "Text", "values": ["spaces"]},
    ]));
    rt.host.answer("GET", CREATED, 200, there);
    assert_eq!(rt.create(incident(), KEY).unwrap().warnings, [""; 0]);
}

#[test]
fn a_title_and_a_link_are_cut_where_rt_would_cut_them_worse() {
    let mut rt = open(json!({"queue": "NOC"}));
    rt.host.title = Some(format!("{} å", "å".repeat(120)));
    let mut incident = incident();
    incident["details_url"] = json!(format!("https://nav.example.org/{}", "x".repeat(240)));
    incident["argus_url"] = json!("/relative");
    rt.host.answer("GET", QUEUE, 200, queue(&[]));
    created(&mut rt);
    rt.host.answer("GET", CREATED, 200, json!({}));
    let warnings = rt.create(incident, KEY).unwrap().warnings;
    assert!(warnings[0].contains("cut to 200"), "{warnings:?}");
    assert!(warnings[1].contains("longer than RT's 240 bytes"), "{warnings:?}");
    let sent = rt.host.sent_json(1);
    assert_eq!(sent["Subject"].as_str().unwrap(), "å".repeat(98) + "…");
    assert_eq!(sent["RefersTo"], json!([marker(KEY)]));
}

#[test]
fn a_dry_run_shows_the_look_up_and_the_ticket() {
    let mut rt = open(fields());
    rt.host.outcome("GET", QUEUE, HttpAnswer::DryRun);
    rt.host.outcome("POST", TICKET, HttpAnswer::DryRun);
    rt.dry_run(incident(), KEY).unwrap_err();
    assert_eq!(rt.host.sent_json(1)["CustomFields"]["Location"], "Trondheim");
}

#[test]
fn find_takes_the_oldest_ticket_that_has_exactly_this_link() {
    let mut rt = open(json!({"queue": "NOC"}));
    let items = json!([
        found("7", &marker("another")),
        found("8", &marker(KEY).to_uppercase()),
        found("9", &marker(KEY)),
        found("10", &marker(KEY)),
    ]);
    rt.host.answer("GET", &search(KEY), 200, json!({"items": items}));
    let ticket = rt.find(incident(), KEY).unwrap().unwrap();
    assert_eq!(ticket.url, "https://rt.example.org/Ticket/Display.html?id=9");
    rt.host.answer("GET", &search("12"), 200, json!({"items": []}));
    assert_eq!(rt.find(incident(), "12").unwrap(), None);
}

const TICKETS: &str = "https://rt.example.org/REST/2.0/tickets";

fn wanted(keys: std::ops::Range<u32>) -> FindMany {
    let keys = keys.map(|n| WantedKey {
        key: n.to_string(),
        not_before: Some("2026-11-23T07:00:00Z".to_owned()),
        not_after: Some("2026-11-23T08:00:00Z".to_owned()),
    });
    FindMany { keys: keys.collect(), cursor: None }
}

/// The keys that were found, with their tickets' ids, and how many certainly have none.
fn told(reply: &FoundMany) -> (Vec<(&str, &str)>, usize) {
    let found = reply.found.iter().map(|found| (found.key.as_str(), found.ticket.id.as_str()));
    (found.collect(), reply.none.len())
}

#[test]
fn find_many_searches_for_forty_keys_at_once() {
    let mut rt = open(json!({"queue": "NOC"}));
    let first = json!([
        found("5", &marker("7").to_uppercase()),
        found("6", &marker("39")),
        found("7", &marker("39")),
        found("8", &marker("0")),
    ]);
    rt.host.answer("POST", TICKETS, 200, json!({"items": first}));
    rt.host.answer("POST", TICKETS, 200, json!({"items": [found("9", &marker("40"))]}));
    let reply = rt.find_many(&wanted(0..50)).unwrap();
    assert_eq!(told(&reply), (vec![("39", "6"), ("0", "8"), ("40", "9")], 47));
    assert_eq!(reply.cursor, None);
    assert_eq!(reply.found[0].ticket.url, "https://rt.example.org/Ticket/Display.html?id=6");
    let sent = String::from_utf8(rt.host.sent[0].body.clone()).unwrap();
    assert!(
        sent.starts_with("query=LastUpdated%20%3E%3D%20%272026-11-21%2007%3A00%3A00%27%20AND%20")
    );
    assert_eq!(sent.matches("RefersTo").count(), 40);
    assert!(rt.host.sent[0].changes_nothing, "it is a POST, and creates nothing");
}

#[test]
fn find_many_takes_a_key_without_a_time_for_one_of_any_age() {
    let mut rt = open(json!({"queue": "NOC"}));
    rt.host.answer("POST", TICKETS, 200, json!({"items": []}));
    let mut request = wanted(0..2);
    request.keys[0].not_before = None;
    assert_eq!(rt.find_many(&request).unwrap().none.len(), 2);
    let sent = String::from_utf8(rt.host.sent[0].body.clone()).unwrap();
    assert!(sent.starts_with("query=%28%20RefersTo") && !sent.contains("LastUpdated"), "{sent}");
}

#[test]
fn find_many_says_none_only_where_rt_gave_all_that_it_found() {
    // Tickets with the same link fill the page; then it searches for the others.
    let many: Vec<Value> = (1..=100).map(|n| found(&n.to_string(), &marker("0"))).collect();
    let mut rt = open(json!({"queue": "NOC"}));
    rt.host.answer("POST", TICKETS, 200, json!({"items": many}));
    rt.host.answer("POST", TICKETS, 200, json!({"items": [found("101", &marker("1"))]}));
    let reply = rt.find_many(&wanted(0..3)).unwrap();
    assert_eq!(told(&reply), (vec![("0", "1"), ("1", "101")], 1));
    // RT may hide tickets, and then a page is short.
    let short = json!({"items": [], "next_page": "https://rt.example.org/REST/2.0/tickets?page=2"});
    rt.host.answer("POST", TICKETS, 200, short);
    let reply = rt.find_many(&wanted(0..3)).unwrap();
    assert_eq!((told(&reply), &reply.cursor), ((vec![], 0), &None));
    // A merged ticket has both links, and is told for one key.
    let mut merged = found("7", &marker("0"));
    merged["_hyperlinks"]
        .as_array_mut()
        .unwrap()
        .push(json!({"ref": "refers-to", "_url": marker("1")}));
    rt.host.answer("POST", TICKETS, 200, json!({"items": [merged]}));
    assert_eq!(told(&rt.find_many(&wanted(0..3)).unwrap()), (vec![("0", "7")], 1));
}

#[test]
fn find_many_goes_on_where_its_time_was_over_or_a_search_failed() {
    let mut rt = open(json!({"queue": "NOC"}));
    let limited = || HttpAnswer::Answered {
        status: 429,
        headers: vec![("retry-after".to_owned(), "7".to_owned())],
        body: br#"{"message": "slow down"}"#.to_vec(),
    };
    rt.host.outcome("POST", TICKETS, limited());
    let error = rt.find_many(&wanted(0..50)).unwrap_err();
    assert_eq!(error.retry_after.map(|wait| wait.as_secs()), Some(7));
    rt.host.answer("POST", TICKETS, 200, json!({"items": []}));
    rt.host.outcome("POST", TICKETS, limited());
    let reply = rt.find_many(&wanted(0..90)).unwrap();
    assert_eq!((told(&reply), reply.retry_after_ms), ((vec![], 40), Some(7000)));

    rt.host.remaining = std::time::Duration::from_secs(1);
    let mut request = wanted(40..90);
    request.cursor = reply.cursor;
    rt.host.answer("POST", TICKETS, 200, json!({"items": []}));
    let reply = rt.find_many(&request).unwrap();
    assert_eq!((told(&reply), reply.retry_after_ms), ((vec![], 40), None));
    assert!(reply.cursor.is_some());
}

#[test]
fn find_that_could_not_find_out_is_an_error() {
    let mut rt = open(json!({"queue": "NOC"}));
    for (status, body) in [
        (500, json!("")),
        (200, json!("<html>")),
        (200, json!("{}")),
        (400, json!({"message": "syntax"})),
        (200, json!({"message": "Accepted"})),
        (200, json!({"items": [found("", &marker(KEY))]})),
        (202, json!({"items": []})),
        (204, json!("")),
    ] {
        rt.host.answer("GET", &search(KEY), status, body);
        rt.find(incident(), KEY).unwrap_err();
    }
}

#[test]
fn a_queue_goes_by_number_and_one_with_a_slash_is_looked_up_by_its() {
    let mut rt = open(json!({"queue": 3}));
    rt.host.answer("GET", "https://rt.example.org/REST/2.0/queue/3", 200, queue(&[]));
    created(&mut rt);
    rt.host.answer("GET", CREATED, 200, stored());
    rt.create(incident(), KEY).unwrap();
    assert_eq!(rt.host.sent_json(1)["Queue"], "3");

    let mut rt = open(json!({"queue": "Kø/Æ"}));
    let search = "https://rt.example.org/REST/2.0/queues?query=%5B%7B%22field%22%3A%22Name%22%2C\
                  %22value%22%3A%22K%C3%B8%2F%C3%86%22%7D%5D";
    rt.host.answer("GET", search, 200, json!({"items": [{"id": "6"}]}));
    rt.host.answer("GET", "https://rt.example.org/REST/2.0/queue/6", 200, queue(&[]));
    created(&mut rt);
    rt.host.answer("GET", CREATED, 200, stored());
    rt.create(incident(), KEY).unwrap();
    assert_eq!(rt.host.sent_json(2)["Queue"], "Kø/Æ");
}

#[test]
fn an_endpoint_may_have_a_sub_path_and_lack_the_slash() {
    for endpoint in ["https://x.org:8/noc/rt", "https://x.org:8/noc/rt/"] {
        let mut rt = open_at(endpoint, json!({"queue": "NOC"}));
        rt.host.answer("GET", "https://x.org:8/noc/rt/REST/2.0/queue/NOC", 200, queue(&[]));
        rt.host.answer("POST", "https://x.org:8/noc/rt/REST/2.0/ticket", 201, json!({"id": 5}));
        rt.host.answer(
            "GET",
            "https://x.org:8/noc/rt/REST/2.0/ticket/5?fields%5BQueue%5D=Name",
            200,
            stored(),
        );
        let ticket = rt.create(incident(), KEY).unwrap();
        assert_eq!(ticket.url, "https://x.org:8/noc/rt/Ticket/Display.html?id=5");
    }
}

#[test]
fn the_login_is_a_token_or_a_name_in_utf8_and_a_password_in_latin1() {
    for (secret, authorization) in [
        (json!({"token": "1-14-x"}), "token 1-14-x"),
        // "å" is C3 A5 in UTF-8 and E5 in Latin-1.
        (json!({"username": "å", "password": "å:b"}), "Basic w6U65Tpi"),
    ] {
        let information = json!({"queue": "NOC"});
        let mut rt = testkit::open::<Rt>("https://rt.example.org", secret, information).unwrap();
        rt.host.answer("GET", &search(KEY), 200, json!({"items": []}));
        rt.find(incident(), KEY).unwrap();
        assert_eq!(header(&rt, "Authorization"), authorization);
    }
}

#[test]
fn a_secret_that_cannot_log_in_is_a_settings_error_without_the_secret() {
    for (secret, reason) in [
        (json!({"token": " "}), "token is empty"),
        (json!({"username": "a:b", "password": "x"}), "username is empty or has a colon"),
        (json!({"username": "a", "password": "w€rd"}), "use a token instead"),
    ] {
        let opened = testkit::open::<Rt>("https://rt.example.org", secret, json!({"queue": "NOC"}));
        let error = opened.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Settings);
        assert!(error.message.contains(reason) && !error.message.contains("w€rd"), "{error}");
    }
}

/// The error of a queue look-up that is answered so.
fn looked_up(status: u16, body: Value) -> Error {
    let mut rt = open(fields());
    rt.host.answer("GET", QUEUE, status, body);
    rt.create(incident(), KEY).unwrap_err()
}

/// The error of a creation that is answered so.
fn posted(status: u16, body: Value) -> Error {
    let mut rt = open(fields());
    rt.host.answer("GET", QUEUE, 200, all_fields());
    rt.host.answer("POST", TICKET, status, body);
    rt.create(incident(), KEY).unwrap_err()
}

#[test]
fn refusals_before_the_creation_have_rts_reason_and_their_kind() {
    use ErrorKind::{Client, Creation, Plugin, Settings};
    let page = json!("<!DOCTYPE html><html>Login</html>");
    for (status, body, kind, retry, text) in [
        (401, json!({"message": "Unauthorized"}), Settings, Retry::Never, "check the token"),
        (404, json!({"message": "Not Found"}), Settings, Retry::Never, "RT has no queue \"NOC\""),
        (200, json!({"Disabled": "1"}), Settings, Retry::Never, "queue \"NOC\" is disabled"),
        (200, page.clone(), Settings, Retry::Never, "200 with an HTML page, so the endpoint isn't"),
        (302, json!(""), Settings, Retry::Never, "302 with an empty body, so the endpoint isn't"),
        (404, page.clone(), Settings, Retry::Never, "404 with an HTML page, so the endpoint isn't"),
        (502, page, Client, Retry::Later, "answered 502 with an HTML page"),
        (503, json!({"message": "busy"}), Client, Retry::Later, "queue \"NOC\": busy (503)"),
        (400, json!({"message": "why"}), Creation, Retry::Never, "queue \"NOC\": why (400)"),
        (200, json!("[1"), Plugin, Retry::Never, "instead of the JSON"),
    ] {
        let error = looked_up(status, body);
        assert_eq!((error.kind, error.retry), (kind, retry), "{status} {error}");
        assert!(error.message.contains(text), "{error}");
        assert!(!error.message.contains("1-14-secret"), "{error}");
    }
}

#[test]
fn refusals_of_the_creation_tell_what_may_have_been_created() {
    use ErrorKind::{Client, Creation, Plugin, Settings};
    let denied = json!({"message": "No permission to create tickets in the queue 'NOC'"});
    for (status, body, kind, retry, text) in [
        (403, denied, Settings, Retry::Never, "in the queue 'NOC' (403); RT says the same of"),
        (400, json!({"message": "Invalid status"}), Creation, Retry::Never, "Invalid status (400)"),
        (401, json!({"message": "Unauthorized"}), Settings, Retry::Never, "RT refuses the login"),
        (503, json!(""), Client, Retry::Later, "503 with an empty body"),
        (500, json!(""), Client, Retry::Unknown, "500 with an empty body"),
        (504, json!("<html>"), Client, Retry::Unknown, "504 with an HTML page"),
        (200, json!({"message": "Hm"}), Plugin, Retry::Unknown, "Hm (200)"),
        (201, json!(""), Plugin, Retry::Unknown, "201 with an empty body"),
        (201, json!({"message": "Hm"}), Plugin, Retry::Unknown, "instead of the JSON"),
    ] {
        let error = posted(status, body);
        assert_eq!((error.kind, error.retry), (kind, retry), "{status} {error}");
        assert!(error.message.contains(text), "{error}");
    }
}

#[test]
fn a_2xx_that_is_not_the_created_ticket_may_have_created() {
    for (status, body) in [
        (200, json!({"message": "Accepted"})),
        (202, json!({"message": "Accepted"})),
        (201, json!({"message": "Created"})),
        (201, json!({"id": null})),
        (201, json!({"id": "", "type": "ticket"})),
        (201, json!({"id": ["4711"]})),
        (200, json!({})),
        (204, json!("")),
        (206, json!("<!DOCTYPE html><html>")),
    ] {
        let error = posted(status, body.clone());
        assert_eq!(error.retry, Retry::Unknown, "{status} {body}: {error}");
    }
}

#[test]
fn a_creation_without_an_answer_may_have_created_and_one_not_sent_did_not() {
    for (outcome, retry) in [
        (HttpAnswer::Unknown("timed out".into()), Retry::Unknown),
        (HttpAnswer::NotSent("refused".into()), Retry::Later),
    ] {
        let mut rt = open(fields());
        rt.host.answer("GET", QUEUE, 200, all_fields());
        rt.host.outcome("POST", TICKET, outcome);
        let error = rt.create(incident(), KEY).unwrap_err();
        assert_eq!((error.kind, error.retry), (ErrorKind::Client, retry), "{error}");
    }
}

fn check(rt: &mut Fixture) -> Vec<(String, bool)> {
    let lines = rt.check().unwrap();
    assert!(lines.iter().all(|line| line.ok || !line.help.is_empty()), "{lines:?}");
    lines.into_iter().map(|line| (line.name, line.ok)).collect()
}

const SYSTEM: &str = "https://rt.example.org/REST/2.0/rt";

#[test]
fn check_has_a_line_for_login_queue_fields_and_search() {
    let information = json!({"queue": "NOC", "custom_fields_set": {"Level": "1", "Nope": "x"}});
    let mut rt = open(information);
    rt.host.answer("GET", SYSTEM, 200, json!({"Version": "5.0.3"}));
    rt.host.answer("GET", QUEUE, 200, all_fields());
    rt.host.answer("GET", &search(""), 200, json!({"items": []}));
    let lines = check(&mut rt);
    let expected = [
        ("login", true),
        ("queue", true),
        ("custom field Level", true),
        ("custom field Nope", false),
        ("search", true),
    ];
    assert_eq!(lines, expected.map(|(name, ok)| (name.to_owned(), ok)));
}

#[test]
fn check_fails_where_no_ticket_can_be_created() {
    let may_not = json!({"id": 3, "Disabled": "0", "_hyperlinks": [{"ref": "self"}]});
    for (status, answer) in [
        (200, may_not),
        (200, json!({"id": 3, "Disabled": "1"})),
        (403, json!({"message": "Forbidden"})),
        (404, json!({"message": "Not Found"})),
    ] {
        let mut rt = open(json!({"queue": "NOC"}));
        rt.host.answer("GET", SYSTEM, 200, json!({"Version": "5.0.3"}));
        rt.host.answer("GET", QUEUE, status, answer);
        rt.host.answer("GET", &search(""), 200, json!({"items": []}));
        assert_eq!(check(&mut rt)[1], ("queue".to_owned(), false));
    }
    let mut rt = open(json!({"queue": "NOC"}));
    for (status, message) in [(401, "Unauthorized"), (200, "Accepted")] {
        rt.host.answer("GET", SYSTEM, status, json!({"message": message}));
        assert_eq!(check(&mut rt), [("login".to_owned(), false)]);
    }
}
