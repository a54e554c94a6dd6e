//! What the plugin asks of GitHub and makes of its answers, as the REST reference has them.

use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::HttpAnswer;
use ticket_plugin_api::testkit::{self, Fixture};
use ticket_plugin_api::text::marker;
use ticket_plugin_api::{Error, ErrorKind, Retry};

use crate::GitHub;

const KEY: &str = "https://argus.example.org/incidents/4";
const REPO: &str = "https://api.github.com/repos/noc/tickets";
const ISSUES: &str = "https://api.github.com/repos/noc/tickets/issues";

fn open(information: Value) -> Fixture {
    open_at("https://github.com", information)
}

fn open_at(endpoint: &str, mut information: Value) -> Fixture {
    information["project_namespace_and_name"] = json!("noc/tickets");
    testkit::open::<GitHub>(endpoint, json!({"token": "ghp_secret"}), information).unwrap()
}

fn labelled() -> Value {
    json!({
        "labels_set": ["argus", "does-not-exist"],
        "labels_mapping": ["level", {"tag": "severity"}, {"tag": "missing_tag"}, "no_such_field"],
    })
}

fn incident() -> Value {
    json!({
        "description": "gw1 is down", "level": 1, "start_time": "2026-11-23T07:00:00+01:00",
        "tags": [{"tag": "severity=critical"}],
    })
}

fn labels_url(page: u32) -> String {
    format!("{REPO}/labels?per_page=100&page={page}")
}

fn names(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"id": 1, "name": name})).collect()
}

/// The issue that GitHub made, with these labels.
fn created(labels: &[&str]) -> Value {
    json!({
        "number": 4711, "html_url": "https://github.com/noc/tickets/issues/4711",
        "body": "...", "labels": names(labels), "assignees": [], "milestone": null,
    })
}

fn page(host: &mut Fixture, url: &str, next: bool, body: &Value) {
    let link = ("link".to_owned(), "<https://api.github.com/x?page=2>; rel=\"next\"".to_owned());
    let headers = if next { vec![link] } else { Vec::new() };
    let body = body.to_string().into_bytes();
    host.host.outcome("GET", url, HttpAnswer::Answered { status: 200, headers, body });
}

fn issues_url(page: u32) -> String {
    format!(
        "{ISSUES}?state=all&sort=created&direction=asc&per_page=100&since=2026-11-22T06%3A00%3A00Z&page={page}"
    )
}

fn issue(number: u32, body: &str) -> Value {
    json!({"number": number, "html_url": format!("https://github.com/noc/tickets/issues/{number}"), "body": body})
}

#[test]
fn a_ticket_has_title_body_marker_and_the_labels_that_the_repository_has() {
    let mut github = open(labelled());
    github.host.answer("GET", &labels_url(1), 200, names(&["Argus", "1", "critical", "bug"]));
    github.host.answer("POST", ISSUES, 201, created(&["Argus", "1", "critical"]));
    let ticket = github.create(incident(), KEY).unwrap();
    assert_eq!(ticket.url, "https://github.com/noc/tickets/issues/4711");
    assert_eq!(ticket.id, "4711");
    assert_eq!(ticket.missing_fields, ["missing_tag", "no_such_field"]);
    assert_eq!(ticket.warnings.len(), 1);
    assert!(ticket.warnings[0].starts_with("label does-not-exist: there is none"));
    let sent = github.host.sent_json(1);
    assert_eq!(sent["title"], "gw1 is down");
    assert_eq!(sent["labels"], json!(["Argus", "1", "critical"]));
    assert_eq!(sent.as_object().unwrap().len(), 3, "what isn't set isn't sent: {sent}");
    let body = sent["body"].as_str().unwrap();
    assert!(body.starts_with("markdown body of gw1 is down"), "{body}");
    assert!(body.contains("missing_tag") && body.contains("does-not-exist"), "{body}");
    assert!(body.ends_with(&format!("\n{}", marker(KEY))), "{body}");
}

#[test]
fn once_warm_a_ticket_takes_one_request() {
    let mut github = open(json!({"labels_set": ["a"]}));
    github.host.answer("GET", &labels_url(1), 200, names(&["a"]));
    for key in ["1", "2", "3"] {
        github.host.answer("POST", ISSUES, 201, created(&["a"]));
        github.create(incident(), key).unwrap();
    }
    assert_eq!(github.host.sent.len(), 4);
}

#[test]
fn without_labels_not_even_the_first_ticket_looks_them_up() {
    let mut github = open(json!({}));
    github.host.answer("POST", ISSUES, 201, created(&[]));
    assert_eq!(github.create(incident(), KEY).unwrap().warnings, [""; 0]);
}

#[test]
fn a_label_on_the_second_page_is_set() {
    let mut github = open(json!({"labels_set": ["last"]}));
    page(&mut github, &labels_url(1), true, &names(&["first"]));
    page(&mut github, &labels_url(2), false, &names(&["last"]));
    github.host.answer("POST", ISSUES, 201, created(&["last"]));
    assert_eq!(github.create(incident(), KEY).unwrap().warnings, [""; 0]);
    assert_eq!(github.host.sent_json(2)["labels"], json!(["last"]));
}

#[test]
fn missing_labels_are_made_once_where_that_is_asked_for() {
    let mut github = open(json!({"labels_set": ["new", "bad"], "create_missing_labels": true}));
    github.host.answer("GET", &labels_url(1), 200, names(&[]));
    github.host.answer("POST", &format!("{REPO}/labels"), 201, json!({"name": "new"}));
    github.host.answer("POST", &format!("{REPO}/labels"), 403, json!({"message": "Forbidden"}));
    github.host.answer("POST", ISSUES, 201, created(&["new"]));
    let warnings = github.create(incident(), KEY).unwrap().warnings;
    assert_eq!(warnings, ["label bad can't be made: the label: Forbidden (403)"]);
    assert_eq!(github.host.sent_json(1), json!({"name": "new"}));
    assert_eq!(github.host.sent_json(3)["labels"], json!(["new"]));

    // Somebody else was quicker: it is there.
    github.host.answer(
        "POST",
        &format!("{REPO}/labels"),
        422,
        json!({"message": "Validation Failed", "errors": [{"code": "already_exists"}]}),
    );
    github.host.answer("POST", ISSUES, 201, created(&["new", "bad"]));
    assert_eq!(github.create(incident(), KEY).unwrap().warnings, [""; 0]);
}

#[test]
fn assignees_milestone_and_type_are_set_and_what_github_drops_is_a_warning() {
    let information =
        json!({"labels_set": ["a"], "assignees": ["ada", "bob"], "milestone": 3, "type": "Bug"});
    let mut github = open(information);
    github.host.answer("GET", &labels_url(1), 200, names(&["a"]));
    let mut made = created(&["a"]);
    made["assignees"] = json!([{"login": "Ada"}, {"login": "bob"}]);
    made["milestone"] = json!({"number": 3});
    made["type"] = json!({"name": "Bug"});
    github.host.answer("POST", ISSUES, 201, made);
    assert_eq!(github.create(incident(), KEY).unwrap().warnings, [""; 0]);
    let sent = github.host.sent_json(1);
    assert_eq!(sent["assignees"], json!(["ada", "bob"]));
    assert_eq!((&sent["milestone"], &sent["type"]), (&json!(3), &json!("Bug")));

    github.host.answer("POST", ISSUES, 201, created(&[]));
    let warnings = github.create(incident(), "2").unwrap().warnings;
    for (warning, what) in warnings.iter().zip([
        "label a:",
        "assignee ada:",
        "assignee bob:",
        "milestone 3:",
        "type Bug:",
    ]) {
        assert!(warning.starts_with(what) && warning.contains("did not set it"), "{warning}");
    }
    assert_eq!(warnings.len(), 5);
    // Perhaps the label is gone: it is looked up again.
    github.host.answer("GET", &labels_url(1), 200, names(&[]));
    github.host.answer("POST", ISSUES, 201, created(&[]));
    github.create(incident(), "3").unwrap();
}

#[test]
fn a_refused_creation_has_the_labels_looked_up_anew() {
    let mut github = open(json!({"labels_set": ["a"]}));
    github.host.answer("GET", &labels_url(1), 200, names(&["a"]));
    github.host.answer("POST", ISSUES, 422, json!({"message": "Validation Failed"}));
    github.create(incident(), KEY).unwrap_err();
    github.host.answer("GET", &labels_url(1), 200, names(&["a"]));
    github.host.answer("POST", ISSUES, 201, created(&["a"]));
    github.create(incident(), KEY).unwrap();
}

#[test]
fn mentions_and_references_of_the_incident_do_nothing() {
    let mut github = open(json!({}));
    github.host.answer("POST", ISSUES, 201, created(&[]));
    let mut hostile = incident();
    // The host escapes what stands in the incident; the fake one passes it on.
    hostile["description"] = json!(r"\@channel \#123 o/r\#1");
    github.create(hostile, KEY).unwrap();
    let sent = github.host.sent_json(0);
    let body = sent["body"].as_str().unwrap();
    assert!(body.contains(r"\@&#8203;channel \#&#8203;123 o/r\#&#8203;1"), "{body}");
}

#[test]
fn a_title_over_256_characters_and_a_body_over_the_limit_are_cut() {
    let mut github = open(json!({}));
    github.host.title = Some("å".repeat(300));
    let mut incident = incident();
    incident["description"] = json!("line\n".repeat(20_000));
    github.host.answer("POST", ISSUES, 201, created(&[]));
    let warnings = github.create(incident, KEY).unwrap().warnings;
    assert!(warnings[0].starts_with("the title was cut to 256"), "{}", &warnings[0][..80]);
    assert!(warnings[1].starts_with("the body was cut to"), "{}", warnings[1]);
    let sent = github.host.sent_json(0);
    assert_eq!(sent["title"].as_str().unwrap(), "å".repeat(255) + "…");
    let body = sent["body"].as_str().unwrap();
    assert!(body.len() <= 65_536 && body.ends_with(&marker(KEY)), "{}", body.len());
}

#[test]
fn find_reads_every_page_since_the_incident_and_compares_the_whole_key() {
    let mut github = open(json!({}));
    let pull_request =
        json!({"number": 7, "html_url": "x", "body": marker(KEY), "pull_request": {"url": "x"}});
    let first = json!([issue(5, &marker("another")), issue(6, ""), pull_request]);
    page(&mut github, &issues_url(1), true, &first);
    let second = json!([
        {"number": 8, "html_url": "x", "body": null},
        issue(9, &format!("text\n{}", marker(KEY))),
        issue(10, &marker(KEY)),
    ]);
    page(&mut github, &issues_url(2), false, &second);
    let ticket = github.find(incident(), KEY).unwrap().unwrap();
    assert_eq!(ticket.url, "https://github.com/noc/tickets/issues/9");

    page(&mut github, &issues_url(1), false, &json!([issue(5, &marker("123"))]));
    assert_eq!(github.find(incident(), "12").unwrap(), None);
}

#[test]
fn find_without_a_start_time_reads_all_issues() {
    let mut github = open(json!({}));
    let url = format!("{ISSUES}?state=all&sort=created&direction=asc&per_page=100&page=1");
    github.host.answer("GET", &url, 200, json!([]));
    assert_eq!(github.find(json!({"description": "x"}), KEY).unwrap(), None);
}

#[test]
fn find_that_could_not_find_out_is_an_error() {
    let mut github = open(json!({}));
    for (status, body) in [
        (404, json!({"message": "Not Found"})),
        (500, json!("")),
        (200, json!("<html>login</html>")),
        (200, json!({"items": []})),
        (200, json!({"message": "Accepted"})),
        (202, json!([])),
        (204, json!("")),
    ] {
        github.host.answer("GET", &issues_url(1), status, body);
        github.find(incident(), KEY).unwrap_err();
    }
    // The second of two pages fails.
    page(&mut github, &issues_url(1), true, &json!([]));
    github.host.answer("GET", &issues_url(2), 502, json!(""));
    github.find(incident(), KEY).unwrap_err();
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
        github.host.answer("POST", &format!("{api}/repos/noc/tickets/issues"), 201, created(&[]));
        github.create(incident(), KEY).unwrap();
        let header = |name: &str| {
            let found = github.host.sent[0].headers.iter().find(|(n, _)| n == name);
            found.unwrap().1.clone()
        };
        assert_eq!(header("Authorization"), "Bearer ghp_secret");
        assert_eq!(header("X-GitHub-Api-Version"), "2022-11-28");
    }
}

#[test]
fn settings_that_cannot_work_are_refused_without_the_token() {
    for (token, name) in
        [("", "a/b"), ("ghp_secret", "no-slash"), ("ghp_secret", "a/b/c"), ("ghp_secret", "/b")]
    {
        let information = json!({"project_namespace_and_name": name});
        let opened =
            testkit::open::<GitHub>("https://github.com", json!({"token": token}), information);
        let error = opened.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Settings);
        assert!(!error.message.contains("ghp_secret"), "{error}");
    }
}

fn refused(status: u16, headers: &[(&str, &str)], body: &Value) -> Error {
    let mut github = open(json!({}));
    let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
    let answer = HttpAnswer::Answered { status, headers, body: text.into_bytes() };
    github.host.outcome("POST", ISSUES, answer);
    github.create(incident(), KEY).unwrap_err()
}

#[test]
fn refusals_have_githubs_reason_their_kind_and_what_may_have_been_created() {
    use ErrorKind::{Client, Creation, Plugin, Settings};
    let said = |message: &str| json!({"message": message, "documentation_url": "https://docs"});
    let invalid = json!({"message": "Validation Failed", "errors": [
        {"resource": "Issue", "field": "assignees", "code": "invalid", "value": "bob"},
        {"message": "title is too long (maximum is 256 characters)"}, "plain",
    ]});
    let html = json!("<!DOCTYPE html><html>");
    for (status, body, kind, retry, text) in [
        (
            401,
            said("Bad credentials"),
            Settings,
            Retry::Never,
            "GitHub refuses the token (401 Bad credentials)",
        ),
        (
            403,
            said("Resource not accessible by personal access token"),
            Creation,
            Retry::Never,
            "Resource not accessible by personal access token (403)",
        ),
        (
            403,
            said("You have exceeded a secondary rate limit"),
            Client,
            Retry::Later,
            "secondary rate limit",
        ),
        (
            404,
            said("Not Found"),
            Settings,
            Retry::Never,
            "is noc/tickets right, and may the token see it?",
        ),
        (
            410,
            said("Issues has been disabled in this repository."),
            Settings,
            Retry::Never,
            "Issues has been disabled in this repository (410)",
        ),
        (
            422,
            invalid,
            Creation,
            Retry::Never,
            "Validation Failed; assignees invalid bob; title is too long (maximum is 256 characters); plain (422)",
        ),
        (429, said("Too many"), Client, Retry::Later, "Too many (429)"),
        (307, said("Moved Permanently"), Settings, Retry::Never, "was renamed or moved"),
        (
            302,
            json!(""),
            Settings,
            Retry::Never,
            "302 with an empty body, so this isn't GitHub's API",
        ),
        (500, said("Server Error"), Client, Retry::Unknown, "Server Error (500)"),
        (502, html.clone(), Client, Retry::Unknown, "502 with an HTML page"),
        (503, json!(""), Client, Retry::Later, "503 with an empty body"),
        (404, html.clone(), Settings, Retry::Never, "404 with an HTML page"),
        (200, html.clone(), Settings, Retry::Unknown, "200 with an HTML page"),
        (201, html, Settings, Retry::Unknown, "201 with an HTML page"),
        (201, json!({}), Plugin, Retry::Unknown, "instead of the JSON"),
    ] {
        let error = refused(status, &[], &body);
        assert_eq!((error.kind, error.retry), (kind, retry), "{status} {error}");
        assert!(error.message.contains(text), "{error}");
        assert!(!error.message.contains("ghp_secret"), "{error}");
    }
}

#[test]
fn a_2xx_that_is_not_the_created_issue_may_have_created() {
    for (status, body) in [
        (200, json!({"message": "Accepted"})),
        (202, json!({"message": "Accepted", "errors": ["later"]})),
        (201, json!({"message": "Created"})),
        (200, json!({})),
        (201, json!([])),
        (204, json!("")),
        (206, json!("<!DOCTYPE html><html>")),
    ] {
        let error = refused(status, &[], &body);
        assert_eq!(error.retry, Retry::Unknown, "{status} {body}: {error}");
    }
}

#[test]
fn rate_limits_say_when_to_come_back() {
    let said = json!({"message": "API rate limit exceeded"});
    let error = refused(403, &[("retry-after", "60")], &said);
    assert_eq!(error.kind, ErrorKind::Client);
    assert_eq!(error.retry_after.unwrap().as_secs(), 60);
    let error =
        refused(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "4102444800")], &said);
    assert_eq!((error.kind, error.retry), (ErrorKind::Client, Retry::Later));
    assert!(error.retry_after.unwrap().as_secs() > 3600);
}

#[test]
fn a_creation_without_an_answer_may_have_created() {
    let mut github = open(json!({}));
    github.host.outcome("POST", ISSUES, HttpAnswer::Unknown("timed out".into()));
    assert_eq!(github.create(incident(), KEY).unwrap_err().retry, Retry::Unknown);
}

#[test]
fn a_dry_run_shows_the_look_up_and_the_issue() {
    let mut github = open(labelled());
    github.host.outcome("GET", &labels_url(1), HttpAnswer::DryRun);
    github.host.outcome("POST", ISSUES, HttpAnswer::DryRun);
    github.dry_run(incident(), KEY).unwrap_err();
    assert_eq!(
        github.host.sent_json(1)["labels"],
        json!(["argus", "does-not-exist", "1", "critical"])
    );
}

fn check(github: &mut Fixture) -> Vec<(String, bool)> {
    let lines = github.check().unwrap();
    assert!(lines.iter().all(|line| line.ok || !line.help.is_empty()), "{lines:?}");
    lines.into_iter().map(|line| (line.name, line.ok)).collect()
}

fn lines(expected: &[(&str, bool)]) -> Vec<(String, bool)> {
    expected.iter().map(|(name, ok)| ((*name).to_owned(), *ok)).collect()
}

const LIMIT: &str = "https://api.github.com/rate_limit";

#[test]
fn check_has_a_line_for_each_thing_and_creates_nothing() {
    let mut github = open(labelled());
    let repository = json!({"has_issues": true, "archived": false, "permissions": {"push": true}});
    github.host.answer("GET", LIMIT, 200, json!({}));
    github.host.answer("GET", REPO, 200, repository);
    github.host.answer("GET", &labels_url(1), 200, names(&["ARGUS"]));
    let expected = [
        ("login", true),
        ("repository", true),
        ("issues", true),
        ("permission", true),
        ("label ARGUS", true),
        ("label does-not-exist", false),
    ];
    assert_eq!(check(&mut github), lines(&expected));
}

#[test]
fn an_answer_that_is_not_githubs_fails_the_check() {
    let mut github = open(json!({}));
    github.host.answer("GET", LIMIT, 200, json!({}));
    github.host.answer("GET", REPO, 200, json!({"message": "Accepted"}));
    assert_eq!(check(&mut github), lines(&[("login", true), ("repository", false)]));
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
    let mut github = open(json!({}));
    github.host.answer("GET", LIMIT, 401, json!({"message": "Bad credentials"}));
    assert_eq!(check(&mut github), lines(&[("login", false)]));
    github.host.answer("GET", LIMIT, 404, json!({"message": "Rate limiting is not enabled."}));
    github.host.answer("GET", REPO, 404, json!({"message": "Not Found"}));
    assert_eq!(check(&mut github), lines(&[("login", true), ("repository", false)]));
}
