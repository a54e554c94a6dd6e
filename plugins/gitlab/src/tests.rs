//! What the plugin asks of GitLab and makes of its answers, as the REST reference has them.

use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::HttpAnswer;
use ticket_plugin_api::testkit::{self, Fixture};
use ticket_plugin_api::text::marker;
use ticket_plugin_api::{Error, ErrorKind, Retry};

use crate::GitLab;

const KEY: &str = "https://argus.example.org/incidents/4";
const PROJECT: &str = "https://gitlab.com/api/v4/projects/noc%2Fnet%2Ftickets";
const ISSUES: &str = "https://gitlab.com/api/v4/projects/noc%2Fnet%2Ftickets/issues";
const USER: &str = "https://gitlab.com/api/v4/user";

fn open(information: Value) -> Fixture {
    open_at("https://gitlab.com", json!("noc/net/tickets"), information)
}

fn open_at(endpoint: &str, project: Value, mut information: Value) -> Fixture {
    information["project_namespace_and_name"] = project;
    testkit::open::<GitLab>(endpoint, json!({"token": "glpat-secret"}), information).unwrap()
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
    format!("{PROJECT}/labels?per_page=100&page={page}")
}

fn names(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"id": 1, "name": name})).collect()
}

/// The issue that GitLab made, with these labels.
fn created(labels: &[&str]) -> Value {
    json!({
        "iid": 47, "web_url": "https://gitlab.com/noc/net/tickets/-/issues/47", "labels": labels,
        "description": "...", "assignees": [], "confidential": false, "due_date": null,
        "issue_type": "issue",
    })
}

fn page(host: &mut Fixture, url: &str, next: &str, body: &Value) {
    let headers = vec![("x-next-page".to_owned(), next.to_owned())];
    let body = body.to_string().into_bytes();
    host.host.outcome("GET", url, HttpAnswer::Answered { status: 200, headers, body });
}

fn issues_url(page: u32) -> String {
    format!(
        "{ISSUES}?scope=all&state=all&order_by=created_at&sort=asc&per_page=100\
         &created_after=2026-11-22T06%3A00%3A00Z&page={page}"
    )
}

fn issue(iid: u32, description: &str) -> Value {
    json!({"iid": iid, "web_url": format!("https://gitlab.com/x/-/issues/{iid}"), "description": description})
}

#[test]
fn a_ticket_has_title_description_marker_and_the_labels_that_there_are() {
    let mut gitlab = open(labelled());
    gitlab.host.answer("GET", &labels_url(1), 200, names(&["Argus", "1", "critical", "bug"]));
    gitlab.host.answer("POST", ISSUES, 201, created(&["Argus", "1", "critical"]));
    let ticket = gitlab.create(incident(), KEY).unwrap();
    assert_eq!(ticket.url, "https://gitlab.com/noc/net/tickets/-/issues/47");
    assert_eq!(ticket.id, "47");
    assert_eq!(ticket.missing_fields, ["missing_tag", "no_such_field"]);
    assert_eq!(ticket.warnings.len(), 1);
    assert!(ticket.warnings[0].starts_with("label does-not-exist: there is none"), "{ticket:?}");
    let sent = gitlab.host.sent_json(1);
    assert_eq!(sent["title"], "gw1 is down");
    assert_eq!(sent["labels"], json!(["Argus", "1", "critical"]));
    assert_eq!(sent.as_object().unwrap().len(), 3, "what isn't set isn't sent: {sent}");
    let text = sent["description"].as_str().unwrap();
    assert!(text.starts_with("markdown body of gw1 is down"), "{text}");
    assert!(text.contains("missing_tag") && text.contains("does-not-exist"), "{text}");
    assert!(text.ends_with(&format!("\n{}", marker(KEY))), "{text}");
}

#[test]
fn once_warm_a_ticket_takes_one_request() {
    let mut gitlab = open(json!({"labels_set": ["a"]}));
    gitlab.host.answer("GET", &labels_url(1), 200, names(&["a"]));
    for key in ["1", "2", "3"] {
        gitlab.host.answer("POST", ISSUES, 201, created(&["a"]));
        gitlab.create(incident(), key).unwrap();
    }
    assert_eq!(gitlab.host.sent.len(), 4);
}

#[test]
fn a_label_on_the_second_page_is_set() {
    let mut gitlab = open(json!({"labels_set": ["last"]}));
    page(&mut gitlab, &labels_url(1), "2", &names(&["first"]));
    page(&mut gitlab, &labels_url(2), "", &names(&["last"]));
    gitlab.host.answer("POST", ISSUES, 201, created(&["last"]));
    assert_eq!(gitlab.create(incident(), KEY).unwrap().warnings, [""; 0]);
    assert_eq!(gitlab.host.sent_json(2)["labels"], json!(["last"]));
}

#[test]
fn missing_labels_are_left_to_gitlab_to_make_where_that_is_asked_for() {
    let mut gitlab = open(json!({"labels_set": ["new", "a,b"], "create_missing_labels": true}));
    gitlab.host.answer("GET", &labels_url(1), 200, names(&[]));
    gitlab.host.answer("POST", ISSUES, 201, created(&["new"]));
    let warnings = gitlab.create(incident(), KEY).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("label a,b: ") && warnings[0].contains("no comma"));
    assert_eq!(gitlab.host.sent_json(1)["labels"], json!(["new"]));
}

#[test]
fn what_is_optional_is_set_and_what_gitlab_drops_is_a_warning() {
    let mut gitlab = open(json!({
        "labels_set": ["a"], "assignee_ids": [7, 8], "confidential": true,
        "due_date": "2026-12-31", "issue_type": "incident",
    }));
    gitlab.host.answer("GET", &labels_url(1), 200, names(&["a"]));
    let mut made = created(&["a"]);
    made["assignees"] = json!([{"id": 7}, {"id": 8}]);
    made["confidential"] = json!(true);
    made["due_date"] = json!("2026-12-31");
    made["issue_type"] = json!("incident");
    gitlab.host.answer("POST", ISSUES, 201, made);
    assert_eq!(gitlab.create(incident(), KEY).unwrap().warnings, [""; 0]);
    let sent = gitlab.host.sent_json(1);
    assert_eq!(sent["assignee_ids"], json!([7, 8]));
    assert_eq!(sent["confidential"], true);
    assert_eq!(
        (&sent["due_date"], &sent["issue_type"]),
        (&json!("2026-12-31"), &json!("incident"))
    );

    gitlab.host.answer("POST", ISSUES, 201, created(&[]));
    let warnings = gitlab.create(incident(), "2").unwrap().warnings;
    for (warning, what) in warnings.iter().zip([
        "label a:",
        "assignee 7:",
        "assignee 8:",
        "confidential:",
        "due date 2026-12-31:",
        "type incident:",
    ]) {
        assert!(warning.starts_with(what) && warning.contains("did not set it"), "{warning}");
    }
    assert_eq!(warnings.len(), 6);
    // Perhaps the label is gone: it is looked up again.
    gitlab.host.answer("GET", &labels_url(1), 200, names(&[]));
    gitlab.host.answer("POST", ISSUES, 201, created(&[]));
    gitlab.create(incident(), "3").unwrap();
}

#[test]
fn mentions_references_and_emoji_of_the_incident_do_nothing() {
    let mut gitlab = open(json!({}));
    gitlab.host.answer("POST", ISSUES, 201, created(&[]));
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
fn a_title_over_255_characters_is_cut() {
    let mut gitlab = open(json!({}));
    gitlab.host.title = Some("å".repeat(256));
    gitlab.host.answer("POST", ISSUES, 201, created(&[]));
    let warnings = gitlab.create(incident(), KEY).unwrap().warnings;
    assert!(warnings[0].contains("cut to 255") && warnings[0].ends_with(&"å".repeat(256)));
    let sent = gitlab.host.sent_json(0);
    assert_eq!(sent["title"].as_str().unwrap(), "å".repeat(254) + "…");
}

#[test]
fn find_reads_every_page_since_the_incident_and_compares_the_whole_key() {
    let mut gitlab = open(json!({}));
    let first =
        json!([issue(5, &marker("another")), {"iid": 6, "web_url": "x", "description": null}]);
    page(&mut gitlab, &issues_url(1), "2", &first);
    let second = json!([issue(9, &format!("text\n{}", marker(KEY))), issue(10, &marker(KEY))]);
    page(&mut gitlab, &issues_url(2), "", &second);
    let ticket = gitlab.find(incident(), KEY).unwrap().unwrap();
    assert_eq!(ticket.url, "https://gitlab.com/x/-/issues/9");

    page(&mut gitlab, &issues_url(1), "", &json!([issue(5, &marker("123"))]));
    assert_eq!(gitlab.find(incident(), "12").unwrap(), None);
}

#[test]
fn a_full_page_without_a_word_of_the_next_has_another_behind_it() {
    let mut gitlab = open(json!({}));
    let full: Value = (0..100).map(|iid| issue(iid, "")).collect();
    gitlab.host.answer("GET", &issues_url(1), 200, full);
    gitlab.host.answer("GET", &issues_url(2), 200, json!([issue(101, &marker(KEY))]));
    assert_eq!(gitlab.find(incident(), KEY).unwrap().unwrap().id, "101");
}

#[test]
fn find_that_could_not_find_out_is_an_error() {
    let mut gitlab = open(json!({}));
    for (status, body) in [
        (404, json!({"message": "404 Project Not Found"})),
        (500, json!("")),
        (200, json!("<html>login</html>")),
        (200, json!({"items": []})),
        (200, json!({"message": "Accepted"})),
        (202, json!([])),
        (204, json!("")),
    ] {
        gitlab.host.answer("GET", &issues_url(1), status, body);
        gitlab.find(incident(), KEY).unwrap_err();
    }
    // Where the next page is can't be understood, or it is one that was read.
    for next in ["soon", "1"] {
        page(&mut gitlab, &issues_url(1), next, &json!([]));
        gitlab.find(incident(), KEY).expect_err(next);
    }
    // The second of two pages fails.
    page(&mut gitlab, &issues_url(1), "2", &json!([]));
    gitlab.host.answer("GET", &issues_url(2), 502, json!(""));
    gitlab.find(incident(), KEY).unwrap_err();
}

#[test]
fn each_kind_of_endpoint_and_project_has_its_url() {
    for (endpoint, project, url) in [
        ("https://gitlab.com/", json!("a/b"), "https://gitlab.com/api/v4/projects/a%2Fb/issues"),
        (
            "https://g.org:8443",
            json!("/a/b/c/"),
            "https://g.org:8443/api/v4/projects/a%2Fb%2Fc/issues",
        ),
        ("https://x.org/git", json!(7), "https://x.org/git/api/v4/projects/7/issues"),
        ("https://x.org/git/api/v4/", json!("7"), "https://x.org/git/api/v4/projects/7/issues"),
    ] {
        let mut gitlab = open_at(endpoint, project, json!({}));
        gitlab.host.answer("POST", url, 201, created(&[]));
        gitlab.create(incident(), KEY).unwrap();
        let mut headers = gitlab.host.sent[0].headers.iter();
        assert!(headers.any(|(n, v)| n == "PRIVATE-TOKEN" && v == "glpat-secret"));
    }
}

#[test]
fn settings_that_cannot_work_are_refused_without_the_token() {
    for (token, project) in [("", "a/b"), ("glpat-secret", "/")] {
        let information = json!({"project_namespace_and_name": project});
        let opened =
            testkit::open::<GitLab>("https://gitlab.com", json!({"token": token}), information);
        let error = opened.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Settings);
        assert!(!error.message.contains("glpat-secret"), "{error}");
    }
}

fn refused(status: u16, headers: &[(&str, &str)], body: &Value) -> Error {
    let mut gitlab = open(json!({}));
    let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
    let answer = HttpAnswer::Answered { status, headers, body: text.into_bytes() };
    gitlab.host.outcome("POST", ISSUES, answer);
    gitlab.create(incident(), KEY).unwrap_err()
}

#[test]
fn refusals_have_gitlabs_reason_in_each_shape_their_kind_and_what_may_have_been_created() {
    use ErrorKind::{Client, Creation, Plugin, Settings};
    let said = |message: &str| json!({"message": message});
    let fields = json!({"message": {"title": ["is too long (maximum is 255 characters)", "x"], "base": ["y"]}});
    let scope = json!({"error": "insufficient_scope", "error_description": "The request requires higher privileges", "scope": "api"});
    let html = json!("<!DOCTYPE html><html>");
    for (status, body, kind, retry, text) in [
        (
            401,
            said("401 Unauthorized"),
            Settings,
            Retry::Never,
            "GitLab refuses the token (401 Unauthorized)",
        ),
        (
            401,
            json!({"error": "invalid_token", "error_description": "Token was revoked."}),
            Settings,
            Retry::Never,
            "invalid_token: Token was revoked.",
        ),
        (403, said("403 Forbidden"), Creation, Retry::Never, "403 Forbidden (403)"),
        (403, scope, Settings, Retry::Never, "the token needs the scope api"),
        (404, said("404 Project Not Found"), Settings, Retry::Never, "is noc/net/tickets right"),
        (410, said("410 Gone"), Settings, Retry::Never, "410 Gone (410)"),
        (
            400,
            fields.clone(),
            Creation,
            Retry::Never,
            "base y; title is too long (maximum is 255 characters), x (400)",
        ),
        (422, json!({"message": ["one", "two"]}), Creation, Retry::Never, "one, two (422)"),
        (
            400,
            json!({"error": "title is missing"}),
            Creation,
            Retry::Never,
            "title is missing (400)",
        ),
        (
            429,
            said("This endpoint has been requested too many times."),
            Client,
            Retry::Later,
            "too many times",
        ),
        (
            301,
            said("Non GET methods are not allowed for moved projects"),
            Settings,
            Retry::Never,
            "was renamed or moved",
        ),
        (
            302,
            json!(""),
            Settings,
            Retry::Never,
            "302 with an empty body, so this isn't GitLab's API",
        ),
        (
            500,
            said("500 Internal Server Error"),
            Client,
            Retry::Unknown,
            "500 Internal Server Error (500)",
        ),
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
        assert!(!error.message.contains("glpat-secret"), "{error}");
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
    let text = json!("Retry later\n");
    let error = refused(429, &[("retry-after", "60"), ("ratelimit-remaining", "0")], &text);
    assert_eq!((error.kind, error.retry), (ErrorKind::Client, Retry::Later));
    assert_eq!(error.retry_after.unwrap().as_secs(), 60);
    let headers = [("ratelimit-remaining", "0"), ("ratelimit-reset", "4102444800")];
    assert!(refused(429, &headers, &text).retry_after.unwrap().as_secs() > 3600);
}

#[test]
fn a_creation_without_an_answer_may_have_created() {
    let mut gitlab = open(json!({}));
    gitlab.host.outcome("POST", ISSUES, HttpAnswer::Unknown("timed out".into()));
    assert_eq!(gitlab.create(incident(), KEY).unwrap_err().retry, Retry::Unknown);
}

#[test]
fn a_dry_run_shows_the_look_up_and_the_issue() {
    let mut gitlab = open(labelled());
    gitlab.host.outcome("GET", &labels_url(1), HttpAnswer::DryRun);
    gitlab.host.outcome("POST", ISSUES, HttpAnswer::DryRun);
    gitlab.dry_run(incident(), KEY).unwrap_err();
    assert_eq!(
        gitlab.host.sent_json(1)["labels"],
        json!(["argus", "does-not-exist", "1", "critical"])
    );
}

fn check(gitlab: &mut Fixture) -> Vec<(String, bool)> {
    let lines = gitlab.check().unwrap();
    assert!(lines.iter().all(|line| line.ok || !line.help.is_empty()), "{lines:?}");
    lines.into_iter().map(|line| (line.name, line.ok)).collect()
}

fn lines(expected: &[(&str, bool)]) -> Vec<(String, bool)> {
    expected.iter().map(|(name, ok)| ((*name).to_owned(), *ok)).collect()
}

#[test]
fn check_has_a_line_for_each_thing_and_creates_nothing() {
    let mut gitlab = open(labelled());
    gitlab.host.answer("GET", USER, 200, json!({"id": 1, "username": "argus"}));
    let access = json!({"project_access": null, "group_access": {"access_level": 20}});
    let project = json!({"issues_enabled": true, "archived": false, "permissions": access});
    gitlab.host.answer("GET", PROJECT, 200, project);
    gitlab.host.answer("GET", &labels_url(1), 200, names(&["argus"]));
    let expected = [
        ("login", true),
        ("project", true),
        ("issues", true),
        ("permission", true),
        ("label argus", true),
        ("label does-not-exist", false),
    ];
    assert_eq!(check(&mut gitlab), lines(&expected));
}

#[test]
fn an_answer_that_is_not_gitlabs_fails_the_check() {
    let strange = json!({"message": "Accepted"});
    let mut gitlab = open(json!({}));
    gitlab.host.answer("GET", USER, 200, strange.clone());
    assert_eq!(check(&mut gitlab), lines(&[("login", false)]));
    gitlab.host.answer("GET", USER, 200, json!({"username": "argus"}));
    gitlab.host.answer("GET", PROJECT, 200, strange);
    assert_eq!(check(&mut gitlab), lines(&[("login", true), ("project", false)]));
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
    let mut gitlab = open(json!({}));
    gitlab.host.answer("GET", USER, 401, json!({"message": "401 Unauthorized"}));
    assert_eq!(check(&mut gitlab), lines(&[("login", false)]));
    gitlab.host.answer("GET", USER, 200, json!({"username": "argus"}));
    gitlab.host.answer("GET", PROJECT, 404, json!({"message": "404 Project Not Found"}));
    assert_eq!(check(&mut gitlab), lines(&[("login", true), ("project", false)]));
}
