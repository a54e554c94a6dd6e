//! What the plugin asks of GitLab and makes of its answers, as the REST reference has them.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::HttpAnswer;
use ticket_plugin_api::testkit::{self, Fixture};
use ticket_plugin_api::text::marker;
use ticket_plugin_api::{Error, ErrorKind, TicketName, TicketState};
use ticket_plugin_forge::testkit::{
    KEY, LATER, REFUSED, SETTINGS, UNKNOWN, WEBHOOK_SECRET, World, asking, check, head,
    hmac_sha256, incident, lines, names,
};
use ticket_plugin_forge::{Plugin, shared_tests};

use crate::GitLab;

const PROJECT: &str = "https://gitlab.com/api/v4/projects/noc%2Fnet%2Ftickets";
const USER: &str = "https://gitlab.com/api/v4/user";

const WORLD: World = World {
    name: "GitLab",
    token: "glpat-secret",
    open,
    open_with,
    login: USER,
    project: PROJECT,
    project_line: "project",
    all_issues: "scope=all&state=all&order_by=created_at&sort=asc",
    numbers: Some("iids%5B%5D"),
    changed_issues: "scope=all&state=all&order_by=updated_at&sort=asc",
    changed_since: "updated_after",
    event: |url| json!({"object_kind": "issue", "object_attributes": {"iid": 1, "url": url}}),
    sign: |_| vec![("x-gitlab-token".to_owned(), WEBHOOK_SECRET.to_owned())],
    since: "created_after=2026-11-22T06%3A00%3A00Z",
    page: "https://gitlab.com/noc/net/tickets/-/issues/",
    first: ("x-next-page", "2"),
    last: ("x-next-page", ""),
    title_limit: 255,
    body_limit: 1_048_576,
    body: "description",
    comments: "notes",
    changes: "PUT",
    closes: || json!({"state_event": "close"}),
    reopens: || json!({"state_event": "reopen"}),
    states: ["opened", "closed"],
    issue,
    header_of_next: |page, _| {
        ("x-next-page", if page == 0 { String::new() } else { page.to_string() })
    },
    logged_in: || json!({"id": 1, "username": "argus"}),
    takes_issues: || {
        let access = json!({"project_access": null, "group_access": {"access_level": 20}});
        json!({"issues_enabled": true, "archived": false, "permissions": access})
    },
};

shared_tests!(WORLD);

fn open(information: Value) -> Fixture {
    open_at("https://gitlab.com", json!("noc/net/tickets"), information)
}

fn open_at(endpoint: &str, project: Value, mut information: Value) -> Fixture {
    information["project_namespace_and_name"] = project;
    let secret = json!({"token": "glpat-secret", "webhook_secret": WEBHOOK_SECRET});
    testkit::open::<Plugin<GitLab>>(endpoint, secret, information).unwrap()
}

fn open_with(webhook_secret: Value) -> Fixture {
    try_with(webhook_secret).unwrap()
}

fn try_with(webhook_secret: Value) -> Result<Fixture, Error> {
    let information = json!({"project_namespace_and_name": "noc/net/tickets"});
    let secret = json!({"token": "glpat-secret", "webhook_secret": webhook_secret});
    testkit::open::<Plugin<GitLab>>("https://gitlab.com", secret, information)
}

fn issue(iid: u32, description: &str, labels: &[&str]) -> Value {
    json!({
        "iid": iid, "web_url": format!("https://gitlab.com/noc/net/tickets/-/issues/{iid}"),
        "labels": labels, "description": description, "assignees": [], "confidential": false,
        "due_date": null, "issue_type": "issue",
    })
}

#[test]
fn missing_labels_are_left_to_gitlab_to_make_where_that_is_asked_for() {
    let mut gitlab = open(json!({"labels_set": ["new", "a,b"], "create_missing_labels": true}));
    gitlab.host.answer("GET", &WORLD.labels_url(1), 200, names(&[]));
    gitlab.host.answer("POST", &WORLD.issues(), 201, WORLD.created(&["new"]));
    let warnings = gitlab.create(incident(), KEY).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("label a,b: ") && warnings[0].contains("no comma"));
    assert_eq!(gitlab.host.sent_json(1)["labels"], json!(["new"]));
}

#[test]
fn what_is_optional_is_set_and_what_gitlab_drops_is_a_warning() {
    let mut gitlab = open(json!({
        "assignee_ids": [7, 8], "confidential": true, "due_date": "2026-12-31",
        "issue_type": "incident",
    }));
    let mut made = WORLD.created(&[]);
    made["assignees"] = json!([{"id": 7}, {"id": 8}]);
    made["confidential"] = json!(true);
    made["due_date"] = json!("2026-12-31");
    made["issue_type"] = json!("incident");
    gitlab.host.answer("POST", &WORLD.issues(), 201, made);
    assert_eq!(gitlab.create(incident(), KEY).unwrap().warnings, [""; 0]);
    let sent = gitlab.host.sent_json(0);
    assert_eq!(sent["assignee_ids"], json!([7, 8]));
    assert_eq!(sent["confidential"], true);
    let (date, kind) = (&sent["due_date"], &sent["issue_type"]);
    assert_eq!((date, kind), (&json!("2026-12-31"), &json!("incident")));

    gitlab.host.answer("POST", &WORLD.issues(), 201, WORLD.created(&[]));
    let why = "GitLab did not set it; has the token's user the role Planner or Reporter?";
    let dropped =
        ["assignee 7", "assignee 8", "confidential", "due date 2026-12-31", "type incident"];
    let warnings = gitlab.create(incident(), "2").unwrap().warnings;
    assert_eq!(warnings, dropped.map(|what| format!("{what}: {why}")));
}

#[test]
fn mentions_references_and_emoji_of_the_incident_do_nothing() {
    let mut gitlab = open(json!({}));
    gitlab.host.answer("POST", &WORLD.issues(), 201, WORLD.created(&[]));
    let mut hostile = incident();
    // The host escapes what stands in the incident; the fake one passes it on.
    gitlab.host.title = Some("@all #1 !45 &2 mail@x.org 12:30".into());
    hostile["description"] = json!(r"\@all \#1 g/p\!45 \%1 \&2 \~3 \$4 \^alert \:smile:");
    gitlab.create(hostile, KEY).unwrap();
    let sent = gitlab.host.sent_json(0);
    let title = "@\u{200b}all #\u{200b}1 !\u{200b}45 &\u{200b}2 mail@x.org 12:30";
    assert_eq!(sent["title"], title);
    let text = sent["description"].as_str().unwrap();
    let zero = "&#8203;";
    let expected = format!(
        r"\@{zero}all \#{zero}1 g/p\!{zero}45 \%{zero}1 \&{zero}2 \~{zero}3 \${zero}4 \^{zero}alert \:{zero}smile:"
    );
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn a_full_page_without_a_word_of_the_next_has_another_behind_it() {
    let mut gitlab = open(json!({}));
    let full: Value = (0..100).map(|iid| issue(iid, "", &[])).collect();
    gitlab.host.answer("GET", &WORLD.issues_url(1), 200, full);
    let second = json!([issue(95, "", &[]), issue(101, &marker(KEY), &[])]);
    gitlab.host.answer("GET", &WORLD.issues_url(2), 200, second);
    assert_eq!(gitlab.find(incident(), KEY).unwrap().unwrap().id, "101");
}

#[test]
fn a_next_page_that_cannot_be_is_no_end_of_the_list() {
    let mut gitlab = open(json!({}));
    for next in ["soon", "1"] {
        WORLD.page(&mut gitlab, &WORLD.issues_url(1), ("x-next-page", next), &json!([]));
        gitlab.find(incident(), KEY).expect_err(next);
    }
}

#[test]
fn each_kind_of_endpoint_and_project_has_its_url() {
    for (endpoint, project, projects) in [
        ("https://gitlab.com/", json!("a/b"), "https://gitlab.com/api/v4/projects/a%2Fb"),
        ("https://g.org:8443", json!("/a/b/c/"), "https://g.org:8443/api/v4/projects/a%2Fb%2Fc"),
        ("https://x.org/git", json!(7), "https://x.org/git/api/v4/projects/7"),
        ("https://x.org/git/api/v4/", json!("7"), "https://x.org/git/api/v4/projects/7"),
    ] {
        let mut gitlab = open_at(endpoint, project, json!({}));
        gitlab.host.answer("POST", &format!("{projects}/issues"), 201, WORLD.created(&[]));
        gitlab.create(incident(), KEY).unwrap();
        let headers = &gitlab.host.sent[0].headers;
        assert!(headers.iter().any(|(n, v)| n == "PRIVATE-TOKEN" && v == "glpat-secret"));
        assert!(headers.iter().any(|(n, v)| n == "Accept" && v == "application/json"));
    }
}

#[test]
fn settings_that_cannot_work_are_refused_without_the_token() {
    for (token, project) in [("", "a/b"), ("glpat-secret", "/")] {
        let information = json!({"project_namespace_and_name": project});
        let secret = json!({"token": token});
        let opened = testkit::open::<Plugin<GitLab>>("https://gitlab.com", secret, information);
        let error = opened.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Settings);
        assert!(!error.message.contains("glpat-secret"), "{error}");
    }
}

#[test]
fn refusals_have_gitlabs_reason_in_each_shape_their_kind_and_what_may_have_been_created() {
    let said = |message: &str| json!({"message": message});
    let long = "is too long (maximum is 255 characters)";
    let fields = json!({"message": {"title": [long, "x"], "base": ["y"]}});
    let scope = json!({
        "error": "insufficient_scope", "error_description": "The request requires higher privileges",
        "scope": "api",
    });
    let revoked = json!({"error": "invalid_token", "error_description": "Token was revoked."});
    let not_found = "is noc/net/tickets right, may the token see it, does it have issues?";
    let moved = "Non GET methods are not allowed for moved projects";
    let busy = "This endpoint has been requested too many times.";
    WORLD.refusals([
        (401, said("401 No"), SETTINGS, "GitLab refuses the token (401 No): is it right, and not"),
        (401, revoked, SETTINGS, "(invalid_token: Token was revoked.): is it right"),
        (403, said("403 Forbidden"), SETTINGS, "403 Forbidden (403)"),
        (403, scope, SETTINGS, "higher privileges (403); the token needs the scope api"),
        (404, said("404 Project Not Found"), SETTINGS, not_found),
        (410, said("410 Gone"), SETTINGS, "410 Gone (410)"),
        (400, fields, REFUSED, "base y; title is too long (maximum is 255 characters), x (400)"),
        (422, json!({"message": ["one", "two"]}), REFUSED, "one, two (422)"),
        (400, json!({"error": "title is missing"}), REFUSED, "title is missing (400)"),
        (429, said(busy), LATER, "too many times"),
        (301, said(moved), SETTINGS, "(301); noc/net/tickets was renamed or moved: correct"),
        (500, said("500 Internal Server Error"), UNKNOWN, "500 Internal Server Error (500)"),
    ]);
}

#[test]
fn rate_limits_say_when_to_come_back() {
    let text = json!("Retry later\n");
    let headers = [("retry-after", "60"), ("ratelimit-remaining", "0")];
    let error = WORLD.refused(429, &headers, &text);
    assert_eq!((error.kind, error.retry), LATER);
    assert_eq!(error.retry_after.unwrap().as_secs(), 60);
    let headers = [("ratelimit-remaining", "0"), ("ratelimit-reset", "4102444800")];
    assert!(WORLD.refused(429, &headers, &text).retry_after.unwrap().as_secs() > 3600);
}

#[test]
fn check_fails_where_no_ticket_can_be_made_as_asked() {
    let role =
        |level: u32| json!({"project_access": {"access_level": level}, "group_access": null});
    for (project, line) in [
        (json!({"issues_enabled": false, "permissions": role(40)}), "issues"),
        (json!({"issues_enabled": true, "archived": true, "permissions": role(40)}), "issues"),
        (json!({"issues_enabled": true, "permissions": role(10)}), "permission"),
        (json!({"issues_enabled": true}), "permission"),
    ] {
        let mut gitlab = open(json!({}));
        gitlab.host.answer("GET", USER, 200, json!({"username": "argus"}));
        gitlab.host.answer("GET", PROJECT, 200, project);
        let failed: Vec<_> = check(&mut gitlab).into_iter().filter(|(_, ok)| !ok).collect();
        assert_eq!(failed, lines(&[(line, false)]));
    }
}

#[test]
fn a_login_that_is_not_gitlabs_fails_the_check() {
    let mut gitlab = open(json!({}));
    gitlab.host.answer("GET", USER, 200, json!({"message": "Accepted"}));
    assert_eq!(check(&mut gitlab), lines(&[("login", false)]));
}

#[test]
fn a_moved_issue_is_another_projects_and_a_duplicate_was_not_done() {
    for (member, value, state, detail) in [
        ("moved_to_id", json!(9), TicketState::Foreign, "moved"),
        (
            "_links",
            json!({"self": "x", "closed_as_duplicate_of": "https://gitlab.com/api/v4/projects/1/issues/9"}),
            TicketState::Cancelled,
            "duplicate",
        ),
        ("_links", json!({"self": "x"}), TicketState::Closed, "closed"),
        ("moved_to_id", Value::Null, TicketState::Closed, "closed"),
    ] {
        let mut gitlab = open(json!({}));
        let mut closed = WORLD.shown(47, 1);
        closed[member] = value;
        WORLD.has(&mut gitlab, &[(47, Some(closed))]);
        let told = gitlab.state(&asking(&[WORLD.url(47)])).unwrap();
        assert_eq!((told.tickets[0].state, told.tickets[0].detail.as_str()), (state, detail));
    }
}

#[test]
fn each_kind_of_page_is_the_issues_and_a_project_by_its_number_is_asked() {
    let mut gitlab = open_at("https://gitlab.com", json!(7), json!({}));
    let list =
        format!("https://gitlab.com/api/v4/projects/7/issues?{}&per_page=100", WORLD.all_issues);
    let list = format!("{list}&iids%5B%5D=47&iids%5B%5D=47&iids%5B%5D=47");
    gitlab.host.answer("GET", &list, 200, json!([WORLD.shown(47, 0)]));
    let own = WORLD.url(47);
    let urls = [
        own.replace("/issues/", "/work_items/"),
        own.replace("/issues/", "/issues/incident/"),
        own.replace("/noc/", "/other/"),
    ];
    let told = gitlab.state(&asking(&urls)).unwrap();
    let states: Vec<TicketState> = told.tickets.iter().map(|status| status.state).collect();
    assert_eq!(states, [TicketState::Open, TicketState::Open, TicketState::Foreign]);
    assert_eq!(told.tickets[0].id, "47");
}

#[test]
fn a_list_of_states_that_is_too_long_is_asked_for_in_parts() {
    let too_long = || {
        HttpAnswer::Unknown(
            "answered 200 with more than the 9 bytes that max_response_bytes allows".into(),
        )
    };
    let numbers: Vec<u32> = (1..=60).collect();
    let urls: Vec<String> = numbers.iter().map(|number| WORLD.url(*number)).collect();
    let mut gitlab = open(json!({}));
    gitlab.host.outcome("GET", &WORLD.list_of(&numbers, 100), too_long());
    let first: Value = (1..=50).map(|number| WORLD.shown(number, 0)).collect();
    gitlab.host.answer("GET", &WORLD.list_of(&numbers, 50), 200, first);
    let headers = vec![("retry-after".to_owned(), "60".to_owned())];
    let limited = HttpAnswer::Answered { status: 429, headers, body: b"Retry later".to_vec() };
    gitlab.host.outcome("GET", &WORLD.list_of(&numbers[50..], 50), limited);
    let told = gitlab.state(&asking(&urls)).unwrap();
    assert_eq!((told.tickets.len(), told.retry_after_ms), (50, Some(60_000)));
    // One alone is too long: the other is told.
    for most in [100, 50, 25, 5, 1] {
        gitlab.host.outcome("GET", &WORLD.list_of(&[1, 2], most), too_long());
    }
    gitlab.host.answer("GET", &WORLD.list_of(&[2], 1), 200, json!([WORLD.shown(2, 0)]));
    let told = gitlab.state(&asking(&urls[..2])).unwrap();
    assert_eq!((told.tickets.len(), told.tickets[0].id.as_str()), (1, "2"));
}

const KEY_OF_WEBHOOKS: &[u8] = b"0123456789abcdef0123456789abcdef";

/// The headers of a webhook that was signed so many seconds ago.
fn signed(body: &[u8], seconds_ago: u64) -> Vec<(String, String)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let time = (now - seconds_ago).to_string();
    let whole = [b"id-1.", time.as_bytes(), b".", body].concat();
    let signature = BASE64_STANDARD.encode(hmac_sha256(KEY_OF_WEBHOOKS, &whole));
    let header = |name: &str, value: String| (name.to_owned(), value);
    vec![
        header("webhook-id", "id-1".to_owned()),
        header("webhook-timestamp", time),
        header("webhook-signature", format!("v1,b3RoZXI= v2,x v1,{signature}")),
    ]
}

#[test]
fn a_signing_token_signs_body_id_and_time_and_the_secret_token_is_no_longer_enough() {
    let token = format!("whsec_{}", BASE64_STANDARD.encode(KEY_OF_WEBHOOKS));
    let body = (WORLD.event)(&WORLD.url(47)).to_string().into_bytes();
    let receive = |headers, body: &[u8]| {
        let received = open_with(json!(token)).receive(&head(headers), body).unwrap();
        assert_ne!(
            received.forged.is_some(),
            received.tickets == [TicketName { url: WORLD.url(47), id: "47".to_owned() }]
        );
        received.forged
    };
    assert_eq!(receive(signed(&body, 0), &body), None);
    assert_eq!(receive(signed(&body, 240), &body), None);
    assert!(receive(signed(&body, 400), &body).unwrap().contains("the last 5 minutes"));
    assert!(receive(signed(&body, 0), &[&body[..], b" "].concat()).is_some());
    for left_out in 0..3 {
        let mut headers = signed(&body, 0);
        headers.remove(left_out);
        assert!(receive(headers, &body).unwrap().contains("is missing"));
        let mut headers = signed(&body, 0);
        headers[left_out].1.push('1');
        assert!(receive(headers, &body).is_some(), "{left_out}");
    }
    assert!(receive(vec![("x-gitlab-token".to_owned(), token.clone())], &body).is_some());
    for broken in ["whsec_", "whsec_?", "whsec_abc"] {
        let error = try_with(json!(broken)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Settings);
        assert!(error.message.contains("copy the whole signing token"), "{error}");
    }
}
