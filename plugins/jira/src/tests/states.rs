//! What is told of issues' states, and that nothing is told of what wasn't found out.

use ticket_plugin_api::message::{AskedTicket, StateRequest, States};
use ticket_plugin_api::{TicketName, TicketState, TicketStatus};

use super::*;

const DATA_CENTER: &str = "https://jira.example.org/rest/api/2";
const SINCE: &str = "2026-11-24T10:00:00.000+0100";

/// A ticket that is known by its URL alone.
fn named(key: &str) -> AskedTicket {
    AskedTicket { url: format!("https://jira.example.org/browse/{key}"), ..AskedTicket::default() }
}

fn ask(jira: &mut Fixture, tickets: Vec<AskedTicket>) -> Result<States, Error> {
    jira.state(&StateRequest { tickets })
}

fn issue(key: &str, category: &str) -> Value {
    let project = key.split('-').next();
    let status = json!({"id": "6", "name": "Fertig", "statusCategory": {"key": category}});
    let fields = json!({"status": status, "project": {"id": "10100", "key": project}});
    json!({"id": "10000", "key": key, "fields": fields})
}

fn look(key: &str) -> String {
    format!("{DATA_CENTER}/issue/{key}?fields=status%2Cproject")
}

fn gives(jira: &mut Fixture, key: &str, status: u16, answer: Value) {
    jira.host.answer("GET", &look(key), status, answer);
}

fn lists(jira: &mut Fixture, total: usize, issues: &[Value]) {
    let list = json!({"startAt": 0, "maxResults": 100, "total": total, "issues": issues});
    jira.host.answer("POST", &format!("{DATA_CENTER}/search"), 200, list);
}

fn missing() -> Value {
    json!({"errorMessages": ["Issue Does Not Exist"], "errors": {}})
}

fn told(states: &States) -> Vec<(&str, TicketState)> {
    let told = states.tickets.iter();
    told.map(|told| (told.url.rsplit('/').next().unwrap(), told.state)).collect()
}

#[test]
fn a_ticket_known_by_its_url_comes_back_with_its_key_and_jiras_word() {
    for (category, state) in [
        ("new", TicketState::Open),
        ("indeterminate", TicketState::Open),
        ("done", TicketState::Closed),
    ] {
        let mut jira = server(json!({}));
        gives(&mut jira, "noc-47", 200, issue("NOC-47", category));
        let states = ask(&mut jira, vec![named("noc-47")]).unwrap();
        let expected = TicketStatus {
            url: named("noc-47").url,
            id: "NOC-47".into(),
            state,
            detail: "Fertig".into(),
            ..TicketStatus::default()
        };
        assert_eq!(states, States { tickets: vec![expected], retry_after_ms: None });
    }
}

#[test]
fn an_id_that_the_host_has_is_kept() {
    let mut jira = server(json!({}));
    gives(&mut jira, "NOC-47", 200, issue("NOC-47", "new"));
    let asked = AskedTicket { id: "10000".into(), ..named("NOC-47") };
    assert_eq!(ask(&mut jira, vec![asked]).unwrap().tickets[0].id, "10000");
}

#[test]
fn several_are_asked_for_by_one_search_and_of_what_it_lacks_nothing_is_told() {
    let mut jira = server(json!({}));
    lists(&mut jira, 2, &[issue("NOC-48", "done"), issue("NOC-47", "new")]);
    let asked = vec![named("NOC-47"), named("NOC-48"), named("NOC-49")];
    let states = ask(&mut jira, asked).unwrap();
    assert_eq!(told(&states), [("NOC-47", TicketState::Open), ("NOC-48", TicketState::Closed)]);
    let expected = json!({
        "jql": "key in (\"NOC-47\", \"NOC-48\", \"NOC-49\")", "fields": ["status", "project"], "maxResults": 100,
        "validateQuery": false,
    });
    assert_eq!(jira.host.sent_json(0), expected);
}

#[test]
fn on_cloud_several_are_fetched_by_their_keys_with_the_time_of_their_states() {
    let mut jira = cloud(json!({}));
    let page = |key: &str| format!("https://noc.atlassian.net/browse/{key}");
    let mut done = issue("NOC-47", "done");
    done["fields"]["statuscategorychangedate"] = json!(SINCE);
    let mut odd = issue("NOC-48", "new");
    odd["fields"]["statuscategorychangedate"] = json!(1_764_061_200);
    let answer = json!({"issues": [done, odd], "issueErrors": []});
    jira.host.answer("POST", &format!("{CLOUD}/issue/bulkfetch"), 200, answer);
    let named = |key: &str| AskedTicket { url: page(key), ..AskedTicket::default() };
    let asked = vec![named("NOC-47"), named("NOC-48"), named("NOC-49")];
    let states = ask(&mut jira, asked).unwrap();
    assert_eq!(told(&states), [("NOC-47", TicketState::Closed), ("NOC-48", TicketState::Open)]);
    assert_eq!(states.tickets[0].at, "2026-11-24T09:00:00+00:00");
    assert_eq!(states.tickets[1].at, "");
    let expected = json!({
        "issueIdsOrKeys": ["NOC-47", "NOC-48", "NOC-49"], "fields": ["status", "project", "statuscategorychangedate"],
    });
    assert_eq!(jira.host.sent_json(0), expected);
}

#[test]
fn what_is_not_of_the_project_or_of_this_jira_is_foreign() {
    let mut jira = server(json!({}));
    gives(&mut jira, "OPS-3", 200, issue("OPS-3", "done"));
    let other = AskedTicket { url: "https://other.example.org/browse/NOC-1".into(), ..named("") };
    let page = AskedTicket { url: "https://jira.example.org/browse/NOC".into(), ..named("") };
    let states = ask(&mut jira, vec![other, named("OPS-3"), page]).unwrap();
    assert_eq!(states.tickets.len(), 3);
    assert!(states.tickets.iter().all(|told| told.state == TicketState::Foreign), "{states:?}");
}

#[test]
fn an_issue_that_was_moved_is_told_with_its_new_name() {
    let moved =
        TicketName { url: "https://jira.example.org/browse/NOC-50".into(), id: "NOC-50".into() };
    let mut jira = server(json!({}));
    gives(&mut jira, "OPS-3", 200, issue("NOC-50", "done"));
    let asked = AskedTicket { id: "OPS-3".into(), ..named("OPS-3") };
    let states = ask(&mut jira, vec![asked.clone()]).unwrap();
    assert_eq!(states.tickets[0].moved, Some(moved.clone()));
    // A list has it under its new key: which of the two that is, only a look tells.
    lists(&mut jira, 1, &[issue("NOC-50", "done")]);
    gives(&mut jira, "OPS-3", 200, issue("NOC-50", "done"));
    gives(&mut jira, "NOC-49", 404, missing());
    let states = ask(&mut jira, vec![asked, named("NOC-49")]).unwrap();
    assert_eq!(told(&states), [("OPS-3", TicketState::Closed)]);
    assert_eq!(states.tickets[0].moved, Some(moved));
    // It was moved out of the project.
    gives(&mut jira, "NOC-47", 200, issue("OPS-4", "done"));
    let states = ask(&mut jira, vec![named("NOC-47")]).unwrap();
    assert_eq!(told(&states), [("NOC-47", TicketState::Foreign)]);
}

#[test]
fn what_a_page_has_no_room_for_is_looked_at() {
    let mut jira = server(json!({}));
    lists(&mut jira, 2, &[issue("NOC-47", "done")]);
    gives(&mut jira, "NOC-48", 200, issue("NOC-48", "new"));
    let states = ask(&mut jira, vec![named("NOC-47"), named("NOC-48")]).unwrap();
    assert_eq!(told(&states), [("NOC-47", TicketState::Closed), ("NOC-48", TicketState::Open)]);
    let too_large = HttpAnswer::Unknown("over what max_response_bytes allows".into());
    jira.host.outcome("POST", &format!("{DATA_CENTER}/search"), too_large);
    gives(&mut jira, "NOC-47", 200, issue("NOC-47", "done"));
    gives(&mut jira, "NOC-48", 200, issue("NOC-48", "new"));
    assert_eq!(ask(&mut jira, vec![named("NOC-47"), named("NOC-48")]).unwrap().tickets.len(), 2);
}

#[test]
fn a_404_is_no_proof_that_an_issue_is_gone() {
    let mut jira = server(json!({}));
    gives(&mut jira, "NOC-47", 404, missing());
    assert_eq!(ask(&mut jira, vec![named("NOC-47")]).unwrap(), States::default());
}

#[test]
fn one_that_cannot_be_understood_does_not_hide_the_others() {
    let mut jira = server(json!({}));
    let unknown = issue("NOC-47", "undefined");
    lists(&mut jira, 3, &[unknown.clone(), json!({"key": "NOC-48"}), issue("NOC-49", "done")]);
    let asked = vec![named("NOC-47"), named("NOC-48"), named("NOC-49")];
    assert_eq!(told(&ask(&mut jira, asked).unwrap()), [("NOC-49", TicketState::Closed)]);
    gives(&mut jira, "NOC-47", 200, unknown);
    let error = ask(&mut jira, vec![named("NOC-47")]).unwrap_err();
    assert!(error.message.contains("the category \"undefined\""), "{error}");
}

#[test]
fn nothing_found_out_is_an_error() {
    for (status, body) in [
        (200, json!({})),
        (200, Value::Null),
        (200, json!("<html>Log in</html>")),
        (401, missing()),
        (403, json!({"errorMessages": ["no licence"]})),
        (404, json!("<html>no such page</html>")),
        (500, Value::Null),
    ] {
        let mut jira = server(json!({}));
        gives(&mut jira, "NOC-47", status, body.clone());
        assert!(ask(&mut jira, vec![named("NOC-47")]).is_err(), "{status} {body}");
        jira.host.answer("POST", &format!("{DATA_CENTER}/search"), status, body.clone());
        let asked = vec![named("NOC-47"), named("NOC-48")];
        assert!(ask(&mut jira, asked).is_err(), "{status} {body}");
    }
}

#[test]
fn a_pause_that_jira_asks_for_ends_the_looks_and_is_passed_on() {
    let mut jira = server(json!({}));
    lists(&mut jira, 3, &[issue("NOC-47", "done")]);
    let answer = HttpAnswer::Answered {
        status: 429,
        headers: vec![("retry-after".into(), "7".into())],
        body: Vec::new(),
    };
    jira.host.outcome("GET", &look("NOC-48"), answer);
    let asked = vec![named("NOC-47"), named("NOC-48"), named("NOC-49")];
    let states = ask(&mut jira, asked).unwrap();
    assert_eq!(told(&states), [("NOC-47", TicketState::Closed)]);
    assert_eq!(states.retry_after_ms, Some(7000));
    assert_eq!(jira.host.sent.len(), 2);
}

#[test]
fn the_looks_end_before_the_call_does() {
    let mut jira = server(json!({}));
    jira.host.remaining = Duration::from_secs(1);
    lists(&mut jira, 2, &[issue("NOC-47", "done")]);
    let states = ask(&mut jira, vec![named("NOC-47"), named("NOC-48")]).unwrap();
    assert_eq!(told(&states), [("NOC-47", TicketState::Closed)]);
    assert_eq!(jira.host.sent.len(), 1);
}
