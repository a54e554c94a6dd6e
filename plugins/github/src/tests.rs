//! What the plugin asks of GitHub and makes of its answers, as the REST reference has them.

use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::HttpAnswer;
use ticket_plugin_api::testkit::{self, Fixture};
use ticket_plugin_api::text::marker;
use ticket_plugin_api::{ErrorKind, TicketName, TicketState};
use ticket_plugin_forge::testkit::{
    KEY, LATER, REFUSED, SETTINGS, UNKNOWN, WEBHOOK_SECRET, World, asking, check, head,
    hmac_sha256, incident, lines, names,
};
use ticket_plugin_forge::{Plugin, shared_tests};

use crate::GitHub;

const REPO: &str = "https://api.github.com/repos/noc/tickets";
const LIMIT: &str = "https://api.github.com/rate_limit";

const WORLD: World = World {
    name: "GitHub",
    token: "ghp_secret",
    open,
    open_with,
    login: LIMIT,
    project: REPO,
    project_line: "repository",
    all_issues: "state=all&sort=created&direction=asc",
    numbers: None,
    changed_issues: "state=all&sort=updated&direction=asc",
    changed_since: "since",
    event: |url| json!({"action": "closed", "issue": {"number": 1, "html_url": url}}),
    sign: |body| vec![("x-hub-signature-256".to_owned(), signature(WEBHOOK_SECRET, body))],
    since: "since=2026-11-22T06%3A00%3A00Z",
    page: "https://github.com/noc/tickets/issues/",
    first: ("link", "<https://api.github.com/x?page=2>; rel=\"next\""),
    last: ("link", "<https://api.github.com/x?page=1>; rel=\"prev\""),
    title_limit: 256,
    body_limit: 65_536,
    body: "body",
    comments: "comments",
    changes: "PATCH",
    closes: || json!({"state": "closed", "state_reason": "completed"}),
    reopens: || json!({"state": "open"}),
    states: ["open", "closed"],
    issue,
    header_of_next: |page, last| {
        let after = last.map(|last| format!("&after={last}")).unwrap_or_default();
        let next =
            format!("<https://api.github.com/x?per_page=100{after}&page={page}>; rel=\"next\"");
        ("link", if page == 0 { String::new() } else { next })
    },
    logged_in: || json!({"resources": {}}),
    takes_issues: || json!({"has_issues": true, "archived": false, "permissions": {"push": true}}),
};

shared_tests!(WORLD);

fn open(information: Value) -> Fixture {
    open_at("https://github.com", information)
}

fn open_at(endpoint: &str, mut information: Value) -> Fixture {
    information["project_namespace_and_name"] = json!("noc/tickets");
    let secret = json!({"token": "ghp_secret", "webhook_secret": WEBHOOK_SECRET});
    testkit::open::<Plugin<GitHub>>(endpoint, secret, information).unwrap()
}

fn open_with(webhook_secret: Value) -> Fixture {
    let information = json!({"project_namespace_and_name": "noc/tickets"});
    let secret = json!({"token": "ghp_secret", "webhook_secret": webhook_secret});
    testkit::open::<Plugin<GitHub>>("https://github.com", secret, information).unwrap()
}

/// X-Hub-Signature-256 as GitHub makes it.
fn signature(secret: &str, body: &[u8]) -> String {
    let hex: String =
        hmac_sha256(secret.as_bytes(), body).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

fn issue(number: u32, body: &str, labels: &[&str]) -> Value {
    json!({
        "number": number, "html_url": format!("https://github.com/noc/tickets/issues/{number}"),
        "body": body, "labels": names(labels), "assignees": [], "milestone": null,
    })
}

#[test]
fn missing_labels_are_made_once_where_that_is_asked_for() {
    let (issues, labels) = (WORLD.issues(), format!("{REPO}/labels"));
    let mut github = open(json!({"labels_set": ["new", "bad"], "create_missing_labels": true}));
    github.host.answer("GET", &WORLD.labels_url(1), 200, names(&[]));
    github.host.answer("POST", &labels, 201, json!({"name": "new"}));
    github.host.answer("POST", &labels, 403, json!({"message": "Forbidden"}));
    github.host.answer("POST", &issues, 201, WORLD.created(&["new"]));
    let warnings = github.create(incident(), KEY).unwrap().warnings;
    assert_eq!(warnings, ["label bad can't be made: the label: Forbidden (403)"]);
    assert_eq!(github.host.sent_json(1), json!({"name": "new"}));
    assert_eq!(github.host.sent_json(3)["labels"], json!(["new"]));

    // Somebody else was quicker: it is there.
    let exists = json!({"message": "Validation Failed", "errors": [{"code": "already_exists"}]});
    github.host.answer("POST", &labels, 422, exists);
    github.host.answer("POST", &issues, 201, WORLD.created(&["new", "bad"]));
    assert_eq!(github.create(incident(), KEY).unwrap().warnings, [""; 0]);
}

#[test]
fn assignees_milestone_and_type_are_set_and_what_github_drops_is_a_warning() {
    let mut github = open(json!({"assignees": ["ada", "bob"], "milestone": 3, "type": "Bug"}));
    let mut made = WORLD.created(&[]);
    made["assignees"] = json!([{"login": "Ada"}, {"login": "bob"}]);
    made["milestone"] = json!({"number": 3});
    made["type"] = json!({"name": "Bug"});
    github.host.answer("POST", &WORLD.issues(), 201, made);
    assert_eq!(github.create(incident(), KEY).unwrap().warnings, [""; 0]);
    let sent = github.host.sent_json(0);
    assert_eq!(sent["assignees"], json!(["ada", "bob"]));
    assert_eq!((&sent["milestone"], &sent["type"]), (&json!(3), &json!("Bug")));

    github.host.answer("POST", &WORLD.issues(), 201, WORLD.created(&[]));
    let why = "GitHub did not set it; the token's user needs the role triage or write";
    let dropped = ["assignee ada", "assignee bob", "milestone 3", "type Bug"];
    let warnings = github.create(incident(), "2").unwrap().warnings;
    assert_eq!(warnings, dropped.map(|what| format!("{what}: {why}")));
}

#[test]
fn mentions_and_references_of_the_incident_do_nothing() {
    let mut github = open(json!({}));
    github.host.answer("POST", &WORLD.issues(), 201, WORLD.created(&[]));
    github.host.title = Some("@all #1 as they are".into());
    let mut hostile = incident();
    // The host escapes what stands in the incident; the fake one passes it on.
    hostile["description"] = json!(r"\@channel \#123 o/r\#1");
    github.create(hostile, KEY).unwrap();
    let sent = github.host.sent_json(0);
    assert_eq!(sent["title"], "@all #1 as they are");
    let body = sent["body"].as_str().unwrap();
    assert!(body.contains(r"\@&#8203;channel \#&#8203;123 o/r\#&#8203;1"), "{body}");
}

#[test]
fn a_pull_request_is_not_the_ticket() {
    let mut github = open(json!({}));
    let mut pull_request = issue(7, &marker(KEY), &[]);
    pull_request["pull_request"] = json!({"url": "x"});
    github.host.answer("GET", &WORLD.issues_url(1), 200, json!([pull_request]));
    assert_eq!(github.find(incident(), KEY).unwrap(), None);
}

#[test]
fn each_kind_of_endpoint_has_its_api() {
    for (endpoint, api) in [
        ("https://github.com/", "https://api.github.com"),
        ("https://www.GitHub.com", "https://api.github.com"),
        ("https://api.github.com", "https://api.github.com"),
        ("https://noc.ghe.com/", "https://api.noc.ghe.com"),
        ("https://api.noc.ghe.com", "https://api.noc.ghe.com"),
        ("https://git.example.org:8443/", "https://git.example.org:8443/api/v3"),
        ("https://git.example.org/sub/path", "https://git.example.org/sub/path/api/v3"),
        ("https://git.example.org/api/v3/", "https://git.example.org/api/v3"),
    ] {
        let mut github = open_at(endpoint, json!({}));
        let issues = format!("{api}/repos/noc/tickets/issues");
        github.host.answer("POST", &issues, 201, WORLD.created(&[]));
        github.create(incident(), KEY).unwrap();
        let header = |name: &str| {
            let found = github.host.sent[0].headers.iter().find(|(n, _)| n == name);
            found.unwrap().1.clone()
        };
        assert_eq!(header("Authorization"), "Bearer ghp_secret");
        assert_eq!(header("X-GitHub-Api-Version"), "2022-11-28");
        assert_eq!(header("Accept"), "application/vnd.github+json");
    }
}

#[test]
fn settings_that_cannot_work_are_refused_without_the_token() {
    for (token, name) in
        [("", "a/b"), ("ghp_secret", "no-slash"), ("ghp_secret", "a/b/c"), ("ghp_secret", "/b")]
    {
        let information = json!({"project_namespace_and_name": name});
        let secret = json!({"token": token});
        let opened = testkit::open::<Plugin<GitHub>>("https://github.com", secret, information);
        let error = opened.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Settings);
        assert!(!error.message.contains("ghp_secret"), "{error}");
    }
}

#[test]
fn refusals_have_githubs_reason_their_kind_and_what_may_have_been_created() {
    let said = |message: &str| json!({"message": message, "documentation_url": "https://docs"});
    let invalid = json!({"message": "Validation Failed", "errors": [
        {"resource": "Issue", "field": "assignees", "code": "invalid", "value": "bob"},
        {"message": "title is too long (maximum is 256 characters)"}, "plain",
    ]});
    let fields = "Validation Failed; assignees invalid bob; title is too long (maximum is 256 \
                  characters); plain (422)";
    let rights = "Resource not accessible by personal access token";
    let disabled = "Issues has been disabled in this repository";
    let burst = "You have exceeded a secondary rate limit";
    let not_found = "Not Found (404); is noc/tickets right, and may the token see it?";
    WORLD.refusals([
        (401, said("Bad"), SETTINGS, "GitHub refuses the token (401 Bad): is it right, and not"),
        (403, said(rights), SETTINGS, "accessible by personal access token (403)"),
        (403, said(burst), LATER, "You have exceeded a secondary rate limit (403)"),
        (404, said("Not Found"), SETTINGS, not_found),
        (410, said(disabled), SETTINGS, "Issues has been disabled in this repository (410)"),
        (422, invalid, REFUSED, fields),
        (429, said("Too many"), LATER, "Too many (429)"),
        (307, said("Moved"), SETTINGS, "Moved (307); noc/tickets was renamed or moved: correct"),
        (500, said("Server Error"), UNKNOWN, "Server Error (500)"),
    ]);
}

#[test]
fn rate_limits_say_when_to_come_back() {
    let said = json!({"message": "API rate limit exceeded"});
    let error = WORLD.refused(403, &[("retry-after", "60")], &said);
    assert_eq!(error.kind, ErrorKind::Client);
    assert_eq!(error.retry_after.unwrap().as_secs(), 60);
    let headers = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "4102444800")];
    let error = WORLD.refused(403, &headers, &said);
    assert_eq!((error.kind, error.retry), LATER);
    assert!(error.retry_after.unwrap().as_secs() > 3600);
}

#[test]
fn check_fails_where_no_ticket_can_be_made_as_asked() {
    for (repository, line) in [
        (json!({"has_issues": false}), "issues"),
        (json!({"has_issues": true, "archived": true}), "issues"),
        (json!({"has_issues": true, "permissions": {"pull": true}}), "permission"),
    ] {
        let mut github = open(json!({"assignees": ["ada"]}));
        github.host.answer("GET", LIMIT, 200, json!({}));
        github.host.answer("GET", REPO, 200, repository);
        let failed: Vec<_> = check(&mut github).into_iter().filter(|(_, ok)| !ok).collect();
        assert_eq!(failed, lines(&[(line, false)]));
    }
}

#[test]
fn a_server_without_rate_limits_accepts_the_token_by_saying_so() {
    let mut github = open(json!({}));
    github.host.answer("GET", LIMIT, 404, json!({"message": "Rate limiting is not enabled."}));
    github.host.answer("GET", REPO, 200, json!({"has_issues": true}));
    let expected = [("login", true), ("repository", true), ("issues", true)];
    assert_eq!(check(&mut github), lines(&expected));
    github.host.answer("GET", LIMIT, 404, json!("<html>a proxy's page</html>"));
    assert_eq!(check(&mut github), lines(&[("login", false)]));
}

#[test]
fn why_an_issue_was_closed_is_its_word() {
    for (reason, state, detail) in [
        (json!("completed"), TicketState::Closed, "completed"),
        (json!("not_planned"), TicketState::Cancelled, "not_planned"),
        (json!("duplicate"), TicketState::Cancelled, "duplicate"),
        (json!("a new one"), TicketState::Closed, "a new one"),
        (Value::Null, TicketState::Closed, "closed"),
    ] {
        let mut github = open(json!({}));
        let mut closed = WORLD.shown(47, 1);
        closed["state_reason"] = reason;
        WORLD.has(&mut github, &[(47, Some(closed))]);
        let told = github.state(&asking(&[WORLD.url(47)])).unwrap();
        assert_eq!((told.tickets[0].state, told.tickets[0].detail.as_str()), (state, detail));
    }
    let mut github = open(json!({}));
    let mut pull_request = WORLD.shown(47, 0);
    pull_request["pull_request"] = json!({"url": "x"});
    WORLD.has(&mut github, &[(47, Some(pull_request))]);
    let told = github.state(&asking(&[WORLD.url(47)])).unwrap();
    assert_eq!(told.tickets[0].state, TicketState::Foreign);
}

#[test]
fn a_deleted_issue_is_gone_and_one_without_issues_an_error() {
    let mut github = open(json!({}));
    let issue = format!("{}/47", WORLD.issues());
    github.host.answer("GET", &issue, 410, json!({"message": "This issue was deleted"}));
    let told = github.state(&asking(&[WORLD.url(47)])).unwrap();
    assert_eq!(told.tickets[0].state, TicketState::Gone);
    let disabled = json!({"message": "Issues has been disabled in this repository."});
    github.host.answer("GET", &issue, 410, disabled);
    github.state(&asking(&[WORLD.url(47), WORLD.url(48)])).unwrap_err();
}

fn moved(location: &str) -> HttpAnswer {
    let body = json!({"message": "Moved Permanently", "url": location}).to_string().into_bytes();
    let headers = vec![("location".to_owned(), location.to_owned())];
    HttpAnswer::Answered { status: 301, headers, body }
}

#[test]
fn a_transferred_issue_has_the_state_of_where_it_is_now() {
    let mut github = open(json!({}));
    let (issue, there) =
        (format!("{}/47", WORLD.issues()), "https://api.github.com/repositories/9");
    github.host.outcome("GET", &issue, moved(&format!("{there}/issues/3")));
    let mut closed = WORLD.shown(3, 1);
    closed["html_url"] = "https://github.com/noc/new/issues/3".into();
    github.host.answer("GET", &format!("{there}/issues/3"), 200, closed);
    let told = github.state(&asking(&[WORLD.url(47)])).unwrap();
    let now = TicketName { url: "https://github.com/noc/new/issues/3".into(), id: "3".into() };
    assert_eq!(told.tickets[0].state, TicketState::Closed);
    assert_eq!(told.tickets[0].moved, Some(now));
    // The token isn't for other servers, and nobody follows for ever.
    for location in ["https://evil.example.org/issues/3", "https://api.github.com.evil.org/x", ""] {
        github.host.outcome("GET", &issue, moved(location));
        let error = github.state(&asking(&[WORLD.url(47)])).unwrap_err();
        assert!(error.message.contains("was moved (301)"), "{error}");
    }
    for _ in 0..4 {
        github.host.outcome("GET", &issue, moved(&issue));
    }
    github.state(&asking(&[WORLD.url(47)])).unwrap_err();
    // It is in a repository that the token can't read.
    github.host.outcome("GET", &issue, moved(&format!("{there}/issues/3")));
    let hidden = json!({"message": "Not Found"});
    github.host.answer("GET", &format!("{there}/issues/3"), 404, hidden);
    assert_eq!(github.state(&asking(&[WORLD.url(47)])).unwrap().tickets, []);
}

#[test]
fn what_is_wrong_with_one_issue_loses_no_other_and_a_limit_ends_it() {
    let url = |number: u32| format!("{}/{number}", WORLD.issues());
    let mut github = open(json!({}));
    github.host.answer("GET", &url(1), 502, json!(""));
    github.host.answer("GET", &url(2), 200, json!({"number": 2}));
    WORLD.has(&mut github, &[(3, Some(WORLD.shown(3, 0)))]);
    let body = json!({"message": "You have exceeded a secondary rate limit"});
    let headers = vec![("retry-after".to_owned(), "60".to_owned())];
    let limited =
        HttpAnswer::Answered { status: 403, headers, body: body.to_string().into_bytes() };
    github.host.outcome("GET", &url(4), limited);
    let told = github.state(&asking(&[1, 2, 3, 4, 5].map(|number| WORLD.url(number)))).unwrap();
    let urls: Vec<&str> = told.tickets.iter().map(|status| status.url.as_str()).collect();
    assert_eq!((urls, told.retry_after_ms), (vec![WORLD.url(3).as_str()], Some(60_000)));
    // Time is nearly over: no other is asked for.
    github.host.remaining = std::time::Duration::from_secs(1);
    WORLD.has(&mut github, &[(1, Some(WORLD.shown(1, 0)))]);
    let told = github.state(&asking(&[WORLD.url(1), WORLD.url(2)])).unwrap();
    assert_eq!((told.tickets.len(), told.retry_after_ms), (1, None));
}

/// Source: <https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation>.
#[test]
fn githubs_own_example_of_a_signature_is_believed() {
    let mut github = open_with(json!("It's a Secret to Everybody"));
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let head = head(vec![("x-hub-signature-256".to_owned(), signature.to_owned())]);
    let error = github.receive(&head, b"Hello, World!").unwrap_err();
    assert!(error.message.contains("is signed, and its body isn't JSON"), "{error}");
    assert!(github.receive(&head, b"Hello, World?").unwrap().forged.is_some());
}
