//! What a step asks of Jira after a ticket was made, and what it never does to it.

use ticket_plugin_api::{Action, Step, TicketName, TicketState, Updated};

use super::*;

const STEP: &str = "a-step-that-nobody-guesses";
const ISSUE_47: &str = "https://jira.example.org/rest/api/2/issue/NOC-47";
/// An id and a name in the operator's language, and the category's key.
const OPEN: [&str; 3] = ["1", "Offen", "new"];
const WORK: [&str; 3] = ["3", "In Arbeit", "indeterminate"];
const DONE: [&str; 3] = ["6", "Geschlossen", "done"];
const REJECTED: [&str; 3] = ["7", "Abgelehnt", "done"];

fn step(action: Action, fields: &Value) -> Step {
    let fields = fields.as_object().cloned().unwrap_or_default();
    Step { id: STEP.to_owned(), action, diff: BTreeMap::new(), fields }
}

fn ticket() -> TicketName {
    TicketName { url: "https://jira.example.org/browse/NOC-47".into(), id: "NOC-47".into() }
}

fn update(jira: &mut Fixture, action: Action, again: bool) -> Result<Updated, Error> {
    let updated = jira.update(&ticket(), incident(), &step(action, &Value::Null), again);
    updated.map(Option::unwrap)
}

fn status([id, name, category]: [&str; 3]) -> Value {
    json!({"id": id, "name": name, "statusCategory": {"key": category}})
}

fn shown(key: &str, project: &str, is: [&str; 3]) -> Value {
    let fields = json!({"status": status(is), "project": {"id": "10100", "key": project}});
    json!({"id": "10000", "key": key, "fields": fields})
}

fn with_state(issue: &str) -> String {
    let since = if issue.starts_with(CLOUD) { "%2Cstatuscategorychangedate" } else { "" };
    format!("{issue}?fields=status%2Cproject{since}")
}

/// Scripts that the issue is looked at, and has this status.
fn is(jira: &mut Fixture, status: [&str; 3]) {
    jira.host.answer("GET", &with_state(ISSUE_47), 200, shown("NOC-47", "NOC", status));
}

fn comment_url() -> String {
    format!("{ISSUE_47}/comment")
}

fn takes_comment(jira: &mut Fixture) {
    jira.host.answer("POST", &comment_url(), 201, json!({"id": "100", "body": "..."}));
}

fn page(size: usize, start: usize) -> String {
    format!("{}?expand=properties&startAt={start}&maxResults={size}", comment_url())
}

fn comment(id: u32, text: &str) -> Value {
    json!({"id": id.to_string(), "body": text})
}

fn marked(id: u32) -> Value {
    comment(id, &format!("text\n\n{{anchor:ticket-host-step-{STEP}}}"))
}

fn of(total: usize, comments: &[Value]) -> Value {
    json!({"startAt": 0, "maxResults": 100, "total": total, "comments": comments})
}

fn transitions_url() -> String {
    format!("{ISSUE_47}/transitions")
}

fn transition(id: &str, name: &str, to: [&str; 3], fields: Value) -> Value {
    json!({"id": id, "name": name, "to": status(to), "fields": fields})
}

/// Scripts which transitions the issue has now.
fn has(jira: &mut Fixture, transitions: &[Value]) {
    let url = format!("{}?expand=transitions.fields", transitions_url());
    jira.host.answer("GET", &url, 200, json!({"transitions": transitions}));
}

/// The same of one to each status.
fn has_all(jira: &mut Fixture) {
    let simple = |id, name, to| transition(id, name, to, json!({}));
    let work = simple("21", "Beginnen", WORK);
    let open = simple("41", "Wieder öffnen", OPEN);
    has(jira, &[work, simple("31", "Schließen", DONE), open, simple("51", "Ablehnen", REJECTED)]);
}

fn takes(jira: &mut Fixture, to: [&str; 3]) {
    jira.host.answer("POST", &transitions_url(), 204, Value::Null);
    is(jira, to);
}

fn posted(jira: &Fixture) -> Vec<Value> {
    let posted = jira.host.sent.iter().filter(|sent| sent.method == "POST");
    posted.map(|sent| serde_json::from_slice(&sent.body).unwrap()).collect()
}

/// The statuses that a step leads from and to.
fn leads(action: Action) -> ([&'static str; 3], [&'static str; 3]) {
    match action {
        Action::Close => (WORK, DONE),
        Action::Reopen => (DONE, OPEN),
        _ => (OPEN, OPEN),
    }
}

fn state([_, _, category]: [&str; 3]) -> TicketState {
    if category == "done" { TicketState::Closed } else { TicketState::Open }
}

#[test]
fn a_step_is_a_comment_with_its_mark_and_then_the_transition() {
    for (action, part, transition) in [
        (Action::Comment, "comment", ""),
        (Action::Close, "closing", "31"),
        (Action::Reopen, "comment", "41"),
    ] {
        let mut jira = server(json!({}));
        let (from, to) = leads(action);
        is(&mut jira, from);
        if action != Action::Comment {
            has_all(&mut jira);
        }
        takes_comment(&mut jira);
        if action != Action::Comment {
            takes(&mut jira, to);
        }
        let updated = update(&mut jira, action, false).unwrap();
        assert_eq!((updated.done, updated.state), (true, state(to)), "{action:?}");
        let posted = posted(&jira);
        let body = posted[0]["body"].as_str().unwrap();
        assert!(body.starts_with(&format!("markdown {part} of gw1 is down")), "{body}");
        let anchor = format!("\n\n{{anchor:ticket-host-step-{STEP}}}");
        assert!(body.ends_with(&anchor), "{body}");
        let property = json!([{"key": "ticket-host", "value": {"step": STEP}}]);
        assert_eq!(posted[0]["properties"], property);
        let moves = posted.get(1).cloned().unwrap_or_default();
        let expected = json!({"transition": {"id": transition}});
        assert_eq!(moves, if transition.is_empty() { Value::Null } else { expected });
    }
}

#[test]
fn on_cloud_a_comment_is_a_document_with_the_mark_as_its_property() {
    let mut jira = cloud(json!({}));
    let issue = format!("{CLOUD}/issue/NOC-47");
    jira.host.answer("GET", &with_state(&issue), 200, shown("NOC-47", "NOC", OPEN));
    jira.host.answer("POST", &format!("{issue}/comment"), 201, json!({"id": "100"}));
    let ticket = TicketName { url: "https://noc.atlassian.net/browse/NOC-47".into(), ..ticket() };
    let step = step(Action::Comment, &Value::Null);
    assert!(jira.update(&ticket, incident(), &step, false).unwrap().unwrap().done);
    let sent = jira.host.sent_json(1);
    assert_eq!(sent["body"]["type"], "doc");
    assert!(!sent["body"].to_string().contains(STEP), "{sent}");
    assert_eq!(sent["properties"], json!([{"key": "ticket-host", "value": {"step": STEP}}]));
}

#[test]
fn a_comment_over_the_limit_is_cut_and_keeps_its_mark() {
    let mut jira = server(json!({}));
    jira.host.comment = Some("line\n".repeat(10_000));
    is(&mut jira, OPEN);
    takes_comment(&mut jira);
    let updated = update(&mut jira, Action::Comment, false).unwrap();
    assert!(updated.warnings[0].starts_with("the body was cut"), "{updated:?}");
    let body = posted(&jira)[0]["body"].as_str().unwrap().to_owned();
    assert!(body.encode_utf16().count() <= 32_767);
    assert!(body.ends_with(&format!("{{anchor:ticket-host-step-{STEP}}}")));
}

#[test]
fn a_step_that_says_nothing_writes_no_comment() {
    let mut jira = server(json!({}));
    jira.host.comment = Some(String::new());
    is(&mut jira, OPEN);
    has_all(&mut jira);
    takes(&mut jira, DONE);
    assert!(update(&mut jira, Action::Close, false).unwrap().done);
    // Nothing of it is written if that is refused.
    is(&mut jira, OPEN);
    has_all(&mut jira);
    jira.host.answer("POST", &transitions_url(), 400, reason("no"));
    assert!(!update(&mut jira, Action::Close, false).unwrap_err().partial);
}

#[test]
fn a_step_that_is_tried_again_does_what_is_missing() {
    for action in [Action::Close, Action::Reopen] {
        let (from, to) = leads(action);
        // Its comment is on the second page: only the transition is missing.
        let mut jira = server(json!({}));
        is(&mut jira, from);
        let others = [comment(1, &format!("another {STEP}")), comment(2, "")];
        jira.host.answer("GET", &page(100, 0), 200, of(3, &others));
        jira.host.answer("GET", &page(100, 2), 200, of(3, &[marked(3)]));
        has_all(&mut jira);
        takes(&mut jira, to);
        assert!(update(&mut jira, action, true).unwrap().done);
        assert_eq!(posted(&jira).len(), 1);
        // All of it is there.
        is(&mut jira, to);
        jira.host.answer("GET", &page(100, 0), 200, of(1, &[marked(3)]));
        let updated = update(&mut jira, action, true).unwrap();
        assert_eq!((updated.done, updated.state), (true, state(to)));
        // The comment is there, and there is no way any more.
        is(&mut jira, from);
        jira.host.answer("GET", &page(100, 0), 200, of(1, &[marked(3)]));
        has(&mut jira, &[]);
        let error = update(&mut jira, action, true).unwrap_err();
        assert_eq!((error.retry, error.partial), (Retry::Never, true));
    }
}

#[test]
fn a_comment_is_known_by_its_property_where_somebody_edited_its_text() {
    let mut jira = server(json!({}));
    is(&mut jira, OPEN);
    let mut edited = comment(1, "edited");
    edited["properties"] =
        json!([{"key": "other"}, {"key": "ticket-host", "value": {"step": STEP}}]);
    jira.host.answer("GET", &page(100, 0), 200, of(1, &[edited]));
    assert!(update(&mut jira, Action::Comment, true).unwrap().done);
    assert_eq!(posted(&jira).len(), 0);
}

#[test]
fn comments_that_cannot_all_be_read_are_no_reason_to_write_one() {
    let first = || of(2, &[comment(1, "x")]);
    for (status, body) in [
        (502, json!("")),
        (403, reason("no")),
        (404, none()),
        (200, json!({})),
        (200, json!({"comments": []})),
        // Fewer than they are.
        (200, of(2, &[])),
        // One whose text isn't shown.
        (200, of(2, &[json!({"id": "2"})])),
    ] {
        let mut jira = server(json!({}));
        is(&mut jira, OPEN);
        jira.host.answer("GET", &page(100, 0), 200, first());
        jira.host.answer("GET", &page(100, 1), status, body.clone());
        let error = update(&mut jira, Action::Comment, true).expect_err(&body.to_string());
        assert!(!error.partial && error.retry != Retry::Unknown, "{error}");
        assert_eq!(jira.host.sent.len(), 3, "{body}");
    }
}

#[test]
fn of_several_pages_no_mark_is_believed_when_two_readings_agree() {
    // A comment that is removed between two pages moves another one onto the page that was read.
    for (second, writes) in [(comment(3, ""), false), (marked(3), false), (comment(2, ""), true)] {
        let mut jira = server(json!({}));
        is(&mut jira, OPEN);
        for last in [comment(2, ""), second.clone()] {
            jira.host.answer("GET", &page(100, 0), 200, of(2, &[comment(1, "")]));
            jira.host.answer("GET", &page(100, 1), 200, of(2, &[last]));
        }
        if writes {
            takes_comment(&mut jira);
        }
        let updated = update(&mut jira, Action::Comment, true);
        assert_eq!(posted(&jira).len(), usize::from(writes), "{second}: {updated:?}");
    }
}

#[test]
fn comments_that_are_longer_than_the_host_takes_are_read_in_smaller_pages() {
    let mut jira = server(json!({}));
    is(&mut jira, OPEN);
    let too_large = HttpAnswer::Unknown("over what max_response_bytes allows".into());
    jira.host.outcome("GET", &page(100, 0), too_large);
    jira.host.answer("GET", &page(50, 0), 200, of(1, &[marked(1)]));
    assert!(update(&mut jira, Action::Comment, true).unwrap().done);
}

#[test]
fn on_cloud_the_mark_is_looked_for_by_the_comments_ids() {
    let ours = json!({"id": "2", "properties": [{"key": "ticket-host", "value": {"step": STEP}}]});
    let theirs = json!({"id": "2", "properties": [
        {"key": "ticket-host", "value": {"step": "x"}}, {"key": "other", "value": {"step": STEP}},
    ]});
    for (second, writes, done) in [
        (vec![ours], false, true),
        (vec![theirs], true, true),
        (vec![json!({"id": "2"})], true, true),
        // Jira doesn't show it: the mark may be there.
        (vec![], false, false),
    ] {
        let mut jira = cloud(json!({}));
        let issue = format!("{CLOUD}/issue/NOC-47");
        let comments = format!("{issue}/comment");
        jira.host.answer("GET", &with_state(&issue), 200, shown("NOC-47", "NOC", OPEN));
        let list = of(2, &[json!({"id": "1", "body": {}}), json!({"id": "2", "body": {}})]);
        let page = format!("{comments}?expand=properties&startAt=0&maxResults=100");
        jira.host.answer("GET", &page, 200, list);
        let values = [vec![json!({"id": "1"})], second].concat();
        let by_id = format!("{CLOUD}/comment/list?expand=properties");
        jira.host.answer("POST", &by_id, 200, json!({"values": values}));
        if writes {
            jira.host.answer("POST", &comments, 201, json!({"id": "100"}));
        }
        let url = "https://noc.atlassian.net/browse/NOC-47".to_owned();
        let named = TicketName { url, id: String::new() };
        let step = step(Action::Comment, &Value::Null);
        let updated = jira.update(&named, incident(), &step, true);
        assert_eq!(updated.is_ok_and(|updated| updated.unwrap().done), done, "{values:?}");
        assert_eq!(jira.host.sent_json(2), json!({"ids": [1, 2]}));
        assert!(jira.host.sent[2].changes_nothing);
        assert_eq!(jira.host.sent.len(), if writes { 4 } else { 3 });
    }
}

#[test]
fn a_ticket_that_a_person_closed_or_opened_is_left_alone() {
    for (action, status) in
        [(Action::Comment, DONE), (Action::Close, REJECTED), (Action::Reopen, WORK)]
    {
        let mut jira = server(json!({}));
        is(&mut jira, status);
        let updated = update(&mut jira, action, false).unwrap();
        assert_eq!((updated.done, updated.state), (false, state(status)), "{action:?}");
        // A person was faster than a try that wrote nothing.
        is(&mut jira, status);
        jira.host.answer("GET", &page(100, 0), 200, of(1, &[comment(1, "theirs")]));
        assert!(!update(&mut jira, action, true).unwrap().done);
        assert_eq!(posted(&jira).len(), 0);
    }
}

#[test]
fn an_issue_that_is_not_the_projects_is_left_alone() {
    let step = step(Action::Comment, &Value::Null);
    // It was moved to another project.
    for information in [json!({}), json!({"project_key_or_id": 10_200})] {
        let mut jira = server(information);
        jira.host.answer("GET", &with_state(ISSUE_47), 200, shown("OPS-3", "OPS", OPEN));
        let updated = update(&mut jira, Action::Comment, false).unwrap();
        assert_eq!((updated.done, updated.state), (false, TicketState::Foreign));
    }
    // A person named what is no issue of this Jira.
    for url in [
        "https://jira.example.com/browse/NOC-47",
        "https://jira.example.org/browse/NOC",
        "https://jira.example.org/browse/NOC-47/x",
        "https://jira.example.org/browse/..-47",
        "https://jira.example.org/projects/NOC-47",
        "",
    ] {
        let mut jira = server(json!({}));
        let named = TicketName { url: url.to_owned(), id: String::new() };
        let updated = jira.update(&named, incident(), &step, false).unwrap().unwrap();
        assert_eq!(updated.state, TicketState::Foreign, "{url}");
        assert_eq!(jira.host.sent.len(), 0, "{url}");
    }
}

#[test]
fn the_projects_own_issues_are_known_by_its_key_in_any_case_or_by_its_id_and_under_their_new_keys()
{
    for project in [json!("noc"), json!("10100"), json!(10_100)] {
        let mut jira = server(json!({"project_key_or_id": project}));
        jira.host.answer("GET", &with_state(ISSUE_47), 200, shown("NOC-99", "NOC", OPEN));
        let moved = format!("{ISSUE}/NOC-99/comment");
        jira.host.answer("POST", &moved, 201, json!({"id": "100"}));
        let url = "https://JIRA.example.org/browse/NOC-47?focusedCommentId=1#x".to_owned();
        let named = TicketName { url, id: String::new() };
        let step = step(Action::Comment, &Value::Null);
        assert!(jira.update(&named, incident(), &step, false).unwrap().unwrap().done);
    }
}

#[test]
fn an_issue_that_cannot_be_read_is_not_written_to() {
    for (status, body) in [
        (404, none()),
        (404, json!("<html>proxy</html>")),
        (403, reason("no")),
        (410, reason("gone")),
        (500, json!("")),
        (200, json!("<html>login</html>")),
        (200, json!({})),
        (200, shown("NOC-47", "NOC", ["1", "Odd", "undefined"])),
        (202, shown("NOC-47", "NOC", OPEN)),
    ] {
        for again in [false, true] {
            let mut jira = server(json!({}));
            jira.host.answer("GET", &with_state(ISSUE_47), status, body.clone());
            let error = update(&mut jira, Action::Close, again).unwrap_err();
            assert!(!error.partial, "{status} {body}: {error}");
            assert_eq!(jira.host.sent.len(), 1, "{status} {body}");
        }
    }
    // One that is deleted holds no other ticket.
    let mut jira = server(json!({}));
    jira.host.answer("GET", &with_state(ISSUE_47), 404, none());
    let error = update(&mut jira, Action::Close, false).unwrap_err();
    assert_eq!((error.kind, error.retry), (ErrorKind::Creation, Retry::Never));
    assert!(error.message.contains("it was deleted, or the login may no longer see it"), "{error}");
    let mut jira = server(json!({}));
    jira.host.outcome("GET", &with_state(ISSUE_47), outcome(404, &FAILED, &none()));
    let error = update(&mut jira, Action::Close, false).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Settings);
}

#[test]
fn what_of_a_step_may_be_written_is_told() {
    let ends = |comment: (u16, Value), transition: Option<(u16, Value)>, now: Option<[&str; 3]>| {
        let mut jira = server(json!({}));
        is(&mut jira, OPEN);
        has_all(&mut jira);
        jira.host.answer("POST", &comment_url(), comment.0, comment.1);
        if let Some((status, body)) = transition {
            jira.host.answer("POST", &transitions_url(), status, body);
        }
        if let Some(now) = now {
            is(&mut jira, now);
        }
        let error = update(&mut jira, Action::Close, false).unwrap_err();
        (error.retry, error.partial)
    };
    assert_eq!(ends((400, reason("no")), None, None), (Retry::Never, false));
    assert_eq!(ends((429, json!("")), None, None), (Retry::Later, false));
    for status in [200, 201, 204, 408, 500, 503] {
        assert_eq!(ends((status, json!("<html>")), None, None), (Retry::Unknown, false));
    }
    let after = |status, body| ends((201, json!({"id": "1"})), Some((status, body)), None);
    assert_eq!(after(400, reason("no")), (Retry::Never, true));
    assert_eq!(after(409, reason("conflict")), (Retry::Later, true));
    assert_eq!(after(429, json!("")), (Retry::Later, true));
    assert_eq!(after(503, json!("")), (Retry::Unknown, true));
    assert_eq!(after(200, json!({})), (Retry::Unknown, true));
    // Jira took it, and the issue is open still.
    let stays = ends((201, json!({"id": "1"})), Some((204, json!(""))), Some(WORK));
    assert_eq!(stays, (Retry::Unknown, true));
}

#[test]
fn a_pause_that_jira_asks_for_is_passed_on() {
    let mut jira = server(json!({}));
    is(&mut jira, OPEN);
    let limited = outcome(429, &[("retry-after", "17")], &json!(""));
    jira.host.outcome("POST", &comment_url(), limited);
    let error = update(&mut jira, Action::Comment, false).unwrap_err();
    assert_eq!(error.retry_after, Some(Duration::from_secs(17)));
}

/// Closes the issue, or opens it again, with these transitions: what is sent to do that, the step's warnings, and the error if none
/// could be taken, before anything was written.
fn moved(
    information: Value,
    action: Action,
    fields: Value,
    values: Option<(&str, Value)>,
    transitions: &[Value],
) -> Result<(Value, Vec<String>), Error> {
    let (from, to) = leads(action);
    let mut jira = server(information);
    jira.host.comment = Some(String::new());
    let asked = values.map(|(ids, values)| (format!("{ISSUE_47}?fields={ids}"), values));
    let list = json!({"transitions": transitions});
    let mut now = from;
    jira.host.play(move |request| match &asked {
        _ if request.method == "POST" => {
            now = to;
            outcome(204, &[], &json!(""))
        }
        Some((url, values)) if *url == request.url => {
            outcome(200, &[], &json!({"key": "NOC-47", "fields": values}))
        }
        _ if request.url.contains("/transitions") => outcome(200, &[], &list),
        _ if request.url == with_state(ISSUE_47) => outcome(200, &[], &shown("NOC-47", "NOC", now)),
        _ => outcome(404, &[], &json!({"message": request.url})),
    });
    let updated = jira.update(&ticket(), incident(), &step(action, &fields), false);
    let posted = posted(&jira);
    let updated = updated.inspect_err(|error| {
        assert_eq!(posted.len(), 0, "{error}");
        assert_eq!((error.kind, error.retry), (ErrorKind::Creation, Retry::Never), "{error}");
    })?;
    Ok((posted[0].clone(), updated.unwrap().warnings))
}

fn simple(id: &str, name: &str, to: [&str; 3]) -> Value {
    transition(id, name, to, json!({}))
}

fn taken(information: Value, action: Action, transitions: &[Value]) -> Value {
    let (body, _) = moved(information, action, Value::Null, None, transitions).unwrap();
    body["transition"]["id"].clone()
}

#[test]
fn a_transition_is_taken_by_the_category_of_its_status_and_the_first_of_several() {
    let all = [
        simple("21", "Done", WORK),
        simple("31", "Schließen", DONE),
        simple("51", "Ablehnen", REJECTED),
    ];
    assert_eq!(taken(json!({}), Action::Close, &all), "31");
    // What nobody works on yet comes before what is in progress.
    let all = [
        simple("21", "Beginnen", WORK),
        simple("61", "Archiv", REJECTED),
        simple("41", "Öffnen", OPEN),
    ];
    assert_eq!(taken(json!({}), Action::Reopen, &all), "41");
    assert_eq!(taken(json!({}), Action::Reopen, &all[..2]), "21");
}

#[test]
fn the_operator_names_a_transition_or_its_status_by_name_or_id() {
    // The second status has the first transition's id.
    let other = ["31", "Erledigt", "done"];
    let all = [
        simple("31", "Schließen", DONE),
        simple("51", "Ablehnen", REJECTED),
        simple("61", "Erledigen", other),
        simple("41", "Öffnen", OPEN),
        simple("21", "Beginnen", WORK),
    ];
    for (name, id) in [
        ("51", "51"),
        (" ablehnen ", "51"),
        ("7", "51"),
        ("ABGELEHNT", "51"),
        ("31", "31"),
        ("Erledigt", "61"),
        ("", "31"),
    ] {
        assert_eq!(taken(json!({"close_transition": name}), Action::Close, &all), id, "{name}");
    }
    let reopen = json!({"reopen_transition": "In Arbeit", "close_transition": "x"});
    assert_eq!(taken(reopen, Action::Reopen, &all), "21");
}

#[test]
fn where_there_is_no_way_nothing_is_written_and_what_is_possible_is_told() {
    let refused = |information, action, transitions: &[Value]| {
        moved(information, action, Value::Null, None, transitions).unwrap_err().message
    };
    let all = [simple("21", "Beginnen", WORK), simple("41", "Zurück", OPEN)];
    let error = refused(json!({}), Action::Close, &all);
    assert!(error.contains("no transition that closes the issue;"), "{error}");
    assert!(error.contains("Beginnen -> In Arbeit, Zurück -> Offen"), "{error}");
    let error = refused(json!({}), Action::Reopen, &[]);
    assert!(error.contains("opens the issue again; those that the login can take now: none"));
    // The one that is named leads elsewhere, or isn't there.
    for name in ["Beginnen", "Nope"] {
        let all = [simple("21", "Beginnen", WORK), simple("31", "Schließen", DONE)];
        let error = refused(json!({"close_transition": name}), Action::Close, &all);
        let says = format!("closes the issue and is called {name:?}, as close_transition says");
        assert!(error.contains(&says), "{error}");
        assert!(error.contains("Schließen -> Geschlossen"), "{error}");
    }
}

/// A screen's field.
fn field(name: &str, required: bool, kind: &str) -> Value {
    json!({"name": name, "required": required, "hasDefaultValue": false, "schema": {"type": kind}})
}

#[test]
fn a_screens_fields_are_filled_in_by_name_or_id_and_type() {
    let screen = json!({
        "resolution": field("Lösung", true, "resolution"),
        "customfield_7": field("Root Cause", true, "option"),
        "customfield_8": field("Versions", false, "array"),
        "customfield_9": field("Team", false, "any"),
        "customfield_10": field("Not given", false, "string"),
    });
    let given = json!({
        "lösung": "Erledigt", "customfield_7": "Network", "Versions": [7, "8"],
        "team": {"id": "12"},
    });
    let asked = "customfield_7%2Ccustomfield_8%2Ccustomfield_9%2Cresolution";
    let values = json!({"resolution": null, "customfield_7": "", "customfield_8": []});
    let all = [transition("31", "Schließen", DONE, screen)];
    let (body, warnings) =
        moved(json!({}), Action::Close, given, Some((asked, values)), &all).unwrap();
    assert_eq!(warnings, [""; 0]);
    assert_eq!(
        body["fields"],
        json!({
            "resolution": {"name": "Erledigt"}, "customfield_7": {"value": "Network"},
            "customfield_8": [{"name": "7"}, {"name": "8"}], "customfield_9": {"id": "12"},
        })
    );
}

#[test]
fn what_people_may_have_edited_and_what_the_screen_lacks_is_not_set() {
    let screen = json!({
        "summary": field("Zusammenfassung", true, "string"),
        "labels": field("Stichwörter", false, "array"),
        "customfield_7": field("Root Cause", false, "option"),
        "customfield_8": field("Minutes", false, "number"),
        "customfield_1": field("Twice", false, "string"),
        "customfield_2": field("twice", false, "string"),
    });
    let given = json!({
        "Zusammenfassung": "mine", "description": "mine", "Stichwörter": ["mine"], "Root Cause": "Network",
        "Minutes": "five", "Twice": "x", "Elsewhere": "x",
    });
    let asked = "customfield_1%2Ccustomfield_2%2Ccustomfield_7%2Ccustomfield_8%2Clabels%2Csummary";
    let values =
        json!({"summary": "gw1 is down", "labels": [], "customfield_7": {"value": "A person's"}});
    let all = [transition("31", "Schließen", DONE, screen)];
    let (body, warnings) =
        moved(json!({}), Action::Close, given, Some((asked, values)), &all).unwrap();
    assert_eq!(body, json!({"transition": {"id": "31"}}));
    let kept = |name: &str| format!("{name}: is left as it is, since people may have edited it");
    assert_eq!(
        warnings,
        [
            "Elsewhere: is not set, since the transition Schließen doesn't ask for it".to_owned(),
            "Minutes: is not set: \"five\" is not a number".to_owned(),
            kept("Root Cause"),
            kept("Stichwörter"),
            "Twice: is not set, since 2 fields have that name; name one by its id: customfield_1, customfield_2"
                .to_owned(),
            kept("Zusammenfassung"),
            kept("description"),
        ]
    );
}

#[test]
fn a_field_that_is_demanded_and_has_no_value_is_named_and_nothing_is_written() {
    let mut default = field("Default", true, "string");
    default["hasDefaultValue"] = true.into();
    let screen = json!({
        "summary": field("Zusammenfassung", true, "string"), "customfield_9": default,
        "resolution": field("Lösung", true, "resolution"),
        "customfield_7": field("Root Cause", true, "option"),
        "customfield_8": field("Minutes", true, "number"),
    });
    let values = json!({"summary": "gw1 is down", "customfield_7": {"value": "A person's"}});
    let asked = "customfield_7%2Ccustomfield_8%2Cresolution%2Csummary";
    let values = Some((asked, values));
    let given = json!({"Minutes": "five"});
    let all = [transition("31", "Schließen", DONE, screen.clone())];
    let error = moved(json!({}), Action::Close, given, values.clone(), &all).unwrap_err().message;
    let says = "the transition Schließen that closes the issue demands fields that have no value: Minutes (customfield_8), Lösung (resolution); \
                give them in close_fields of the backend, or name another transition in close_transition";
    assert!(error.contains(says), "{error}");
    // What is given is for closing.
    let all = [transition("41", "Öffnen", OPEN, screen)];
    let given = json!({"Minutes": 5, "resolution": "Done"});
    let error = moved(json!({}), Action::Reopen, given, values, &all).unwrap_err().message;
    assert!(error.contains("fill them in on the issue, or name"), "{error}");
}

#[test]
fn of_several_transitions_one_is_taken_that_demands_nothing_else_and_takes_what_is_given() {
    let demands = |id, name| {
        transition(id, name, DONE, json!({"customfield_7": field("Root Cause", true, "option")}))
    };
    let resolves = transition(
        "51",
        "Lösen",
        DONE,
        json!({"resolution": field("Lösung", false, "resolution")}),
    );
    let all = [demands("31", "Schließen"), simple("41", "Fertig", DONE), resolves];
    let close = |given: Value, asked| {
        let values = Some((asked, json!({})));
        moved(json!({}), Action::Close, given, values, &all).unwrap().0["transition"]["id"].clone()
    };
    assert_eq!(close(json!({}), "customfield_7"), "41");
    assert_eq!(close(json!({"resolution": "Done"}), "customfield_7%2Cresolution"), "51");
    assert_eq!(close(json!({"Root Cause": "Network"}), "customfield_7"), "31");
}

#[test]
fn what_jira_refuses_of_a_transition_has_the_fields_names() {
    let mut jira = server(json!({}));
    jira.host.comment = Some(String::new());
    is(&mut jira, OPEN);
    let screen = json!({"customfield_7": field("Root Cause", false, "option")});
    has(&mut jira, &[transition("31", "Schließen", DONE, screen)]);
    let errors = json!({"errorMessages": [], "errors": {"customfield_7": "Root Cause is needed."}});
    jira.host.answer("POST", &transitions_url(), 400, errors);
    let error = update(&mut jira, Action::Close, false).unwrap_err().message;
    assert_eq!(error, "the transition: Root Cause: Root Cause is needed (400)");
}

#[test]
fn a_dry_run_of_a_step_shows_its_requests() {
    let mut jira = server(json!({}));
    for (method, url) in [
        ("GET", with_state(ISSUE_47)),
        ("GET", format!("{}?expand=transitions.fields", transitions_url())),
        ("POST", comment_url()),
        ("POST", transitions_url()),
    ] {
        jira.host.outcome(method, &url, HttpAnswer::DryRun);
    }
    let given = json!({"resolution": "Done", "Summary": "mine"});
    let error = jira.rehearse(&ticket(), incident(), &step(Action::Close, &given)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Client, "{error}");
    assert_eq!(jira.host.sent_json(3)["fields"], json!({"resolution": "Done"}));
}
