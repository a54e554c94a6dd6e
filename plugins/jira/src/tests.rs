//! What the plugin asks of Jira and makes of its answers, as the REST references have them.

mod life;
mod states;
mod webhooks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::{HttpAnswer, HttpRequest};
use ticket_plugin_api::testkit::{self, Fixture};
use ticket_plugin_api::{Error, ErrorKind, FindMany, Retry, WantedKey, fingerprint};

use crate::Jira;
use crate::client::anchor;

const KEY: &str = "https://argus.example.org/incidents/4";
const FIELDS: &str = "https://jira.example.org/rest/api/2/field";
const ISSUE: &str = "https://jira.example.org/rest/api/2/issue";
const CLOUD: &str = "https://noc.atlassian.net/rest/api/3";

fn server(information: Value) -> Fixture {
    open("https://jira.example.org", json!({"token": "pat-secret"}), information)
}

fn cloud(information: Value) -> Fixture {
    let secret = json!({"email": "me@example.org", "token": "api-secret"});
    open("https://noc.atlassian.net/", secret, information)
}

fn open(endpoint: &str, secret: Value, mut information: Value) -> Fixture {
    if information.get("project_key_or_id").is_none() {
        information["project_key_or_id"] = json!("NOC");
    }
    testkit::open::<Jira>(endpoint, secret, information).unwrap()
}

fn mapped() -> Value {
    json!({
        "type": "Bug",
        "custom_fields_set": {"source": "Argus", "No Such Field": "x"},
        "custom_fields_mapping": {
            "Start": "start_time", "End": "end_time", "Level": "level",
            "Severity": {"tag": "severity"}, "Location": {"tag": "missing_tag"},
        },
    })
}

fn incident() -> Value {
    json!({
        "description": "gw1 is down", "level": 1, "start_time": "2026-11-23T07:00:00+01:00",
        "end_time": "infinity", "tags": [{"tag": "severity=critical"}],
    })
}

fn fields() -> Value {
    let custom = |id: u32, name: &str, kind: &str| json!({"id": format!("customfield_{id}"), "name": name, "schema": {"type": kind}});
    json!([
        {"id": "summary", "name": "Summary", "schema": {"type": "string"}},
        custom(1, "Source", "string"),
        custom(2, "Severity", "option"),
        custom(3, "Start", "datetime"),
        custom(4, "End", "datetime"),
        custom(5, "Level", "number"),
        custom(6, "Location", "string"),
    ])
}

fn created() -> Value {
    json!({"id": "10000", "key": "NOC-47", "self": "https://jira.example.org/rest/api/2/issue/10000"})
}

#[test]
fn an_issue_on_data_center_has_wiki_markup_and_fields_by_their_types() {
    let mut jira = server(mapped());
    jira.host.answer("GET", FIELDS, 200, fields());
    jira.host.answer("POST", ISSUE, 201, created());
    let ticket = jira.create(incident(), KEY).unwrap();
    assert_eq!(ticket.url, "https://jira.example.org/browse/NOC-47");
    assert_eq!(ticket.id, "NOC-47");
    assert_eq!(ticket.missing_fields, ["missing_tag"]);
    let lacking = "custom field No Such Field: Jira has none of that name, so it is not set";
    assert_eq!(ticket.warnings, [lacking]);
    let sent = jira.host.sent_json(1);
    let description = sent["fields"]["description"].as_str().unwrap();
    assert!(description.starts_with("markdown body of gw1 is down"), "{description}");
    assert!(description.contains("missing") && description.contains("No Such Field"));
    assert!(description.ends_with(&anchor(&fingerprint(KEY))), "{description}");
    let mut rest = sent["fields"].clone();
    rest.as_object_mut().unwrap().remove("description");
    assert_eq!(
        rest,
        json!({
            "project": {"key": "NOC"}, "issuetype": {"name": "Bug"}, "summary": "gw1 is down",
            "customfield_1": "Argus", "customfield_2": {"value": "critical"},
            "customfield_3": "2026-11-23T06:00:00.000+0000", "customfield_5": 1,
        })
    );
    assert_eq!(
        sent["properties"],
        json!([{"key": "ticket-host", "value": {"key": fingerprint(KEY)}}])
    );
    let mut headers = jira.host.sent[0].headers.iter();
    assert!(headers.any(|(n, v)| n == "Authorization" && v == "Bearer pat-secret"));
}

#[test]
fn an_issue_on_cloud_has_a_document_and_its_login_is_basic() {
    let mut jira = cloud(json!({"project_key_or_id": 10100}));
    jira.host.answer("POST", &format!("{CLOUD}/issue"), 201, created());
    jira.create(incident(), KEY).unwrap();
    let sent = jira.host.sent_json(0);
    assert_eq!(sent["fields"]["description"]["type"], "doc");
    assert_eq!(sent["fields"]["project"], json!({"id": "10100"}));
    assert_eq!(sent["fields"]["issuetype"], json!({"name": "Task"}));
    let basic = "Basic bWVAZXhhbXBsZS5vcmc6YXBpLXNlY3JldA==";
    let mut headers = jira.host.sent[0].headers.iter();
    assert!(headers.any(|(n, v)| n == "Authorization" && v == basic));
}

#[test]
fn the_version_of_the_api_can_be_set() {
    let mut jira = cloud(json!({"api_version": 2}));
    jira.host.answer("POST", "https://noc.atlassian.net/rest/api/2/issue", 201, created());
    jira.create(incident(), KEY).unwrap();
    assert!(jira.host.sent_json(0)["fields"]["description"].is_string());
}

#[test]
fn once_warm_a_ticket_takes_one_request() {
    let mut jira = server(mapped());
    jira.host.answer("GET", FIELDS, 200, fields());
    for key in ["1", "2", "3"] {
        jira.host.answer("POST", ISSUE, 201, created());
        jira.create(incident(), key).unwrap();
    }
    assert_eq!(jira.host.sent.len(), 4);
}

#[test]
fn an_endpoint_may_have_a_sub_path_and_a_port() {
    for endpoint in ["https://x.org:8443/jira", "https://x.org:8443/jira/"] {
        let mut jira = open(endpoint, json!({"token": "t"}), json!({}));
        jira.host.answer("POST", "https://x.org:8443/jira/rest/api/2/issue", 201, created());
        let ticket = jira.create(incident(), KEY).unwrap();
        assert_eq!(ticket.url, "https://x.org:8443/jira/browse/NOC-47");
    }
}

#[test]
fn fields_that_jira_refuses_are_left_out_with_its_reason_and_the_rest_is_a_ticket() {
    let mut jira = server(mapped());
    jira.host.answer("GET", FIELDS, 200, fields());
    let errors = json!({"customfield_2": "Option value 'critical' is not valid", "customfield_5": "not on the screen"});
    jira.host.answer("POST", ISSUE, 400, json!({"errorMessages": [], "errors": errors}));
    jira.host.answer("POST", ISSUE, 201, created());
    let warnings = jira.create(incident(), KEY).unwrap().warnings;
    assert_eq!(
        warnings[1..],
        [
            "custom field Severity is not set: Option value 'critical' is not valid",
            "custom field Level is not set: not on the screen",
        ]
    );
    let sent = jira.host.sent_json(2);
    assert!(
        sent["fields"].get("customfield_2").is_none() && sent["fields"]["customfield_1"] == "Argus"
    );
    assert!(sent["fields"]["description"].as_str().unwrap().contains("not on the screen"));
    // What was known of the fields is asked for again.
    jira.host.answer("GET", FIELDS, 200, fields());
    jira.host.answer("POST", ISSUE, 201, created());
    jira.create(incident(), "2").unwrap();
}

#[test]
fn a_refusal_of_more_than_our_fields_is_one() {
    for reason in [
        json!({"errorMessages": ["x"], "errors": {"customfield_2": "y"}}),
        json!({"errorMessages": [], "errors": {"customfield_2": "y", "customfield_99": "is required"}}),
    ] {
        let mut jira = server(mapped());
        jira.host.answer("GET", FIELDS, 200, fields());
        jira.host.answer("POST", ISSUE, 400, reason);
        let error = jira.create(incident(), KEY).unwrap_err();
        assert_eq!((error.kind, error.retry), (ErrorKind::Creation, Retry::Never));
        assert!(error.message.contains("Severity: y"), "{error}");
    }
}

#[test]
fn two_fields_of_a_name_are_a_settings_error() {
    let mut jira = server(json!({"custom_fields_set": {"Twice": "x"}}));
    let twice =
        json!([{"id": "customfield_1", "name": "Twice"}, {"id": "customfield_2", "name": "Twice"}]);
    jira.host.answer("GET", FIELDS, 200, twice);
    let error = jira.create(incident(), KEY).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Settings);
    assert!(error.message.contains("customfield_1, customfield_2"), "{error}");
}

#[test]
fn a_value_that_its_field_cannot_take_is_a_warning() {
    let mut jira = server(json!({"custom_fields_mapping": {"Level": "description"}}));
    jira.host.answer("GET", FIELDS, 200, fields());
    jira.host.answer("POST", ISSUE, 201, created());
    let warnings = jira.create(incident(), KEY).unwrap().warnings;
    assert_eq!(warnings, ["custom field Level is not set: \"gw1 is down\" is not a number"]);
}

#[test]
fn a_summary_over_255_and_a_description_over_the_limit_are_cut() {
    let mut jira = server(json!({}));
    // Each of them counts twice in Jira.
    jira.host.title = Some("𝄞".repeat(200));
    let mut incident = incident();
    incident["description"] =
        json!(r"\[a\]".repeat(20) + "\n").as_str().unwrap().repeat(500).into();
    jira.host.answer("POST", ISSUE, 201, created());
    let warnings = jira.create(incident, KEY).unwrap().warnings;
    assert!(warnings[0].starts_with("the title was cut to 255"), "{}", &warnings[0][..60]);
    assert!(warnings[1].starts_with("the body was cut"), "{}", warnings[1]);
    assert_eq!(warnings.len(), 2);
    let sent = jira.host.sent_json(0);
    assert_eq!(sent["fields"]["summary"].as_str().unwrap(), "𝄞".repeat(127) + "…");
    let description = sent["fields"]["description"].as_str().unwrap();
    assert!(description.encode_utf16().count() <= 32_767);
    assert!(description.ends_with(&anchor(&fingerprint(KEY))));
}

const JQL: &str = "project%20%3D%20%22NOC%22%20AND%20created%20%3E%3D%20%222026-11-21%2006%3A00%22%20ORDER%20BY%20created%20ASC";
const HIGHEST: &str = "project%20%3D%20%22NOC%22%20ORDER%20BY%20key%20DESC";

fn search(jql: &str, size: u32, start: u32) -> String {
    format!(
        "https://jira.example.org/rest/api/2/search?jql={jql}&fields=description&maxResults={size}&startAt={start}"
    )
}

fn cloud_search(token: &str) -> String {
    format!(
        "{CLOUD}/search/jql?jql={JQL}&fields=description&maxResults=100&properties=ticket-host{token}"
    )
}

fn probe(number: u32) -> String {
    format!("{ISSUE}/NOC-{number}?fields=description&properties=ticket-host")
}

fn issue(number: u32, description: &str) -> Value {
    json!({"key": format!("NOC-{number}"), "fields": {"description": description}})
}

fn ours(number: u32, key: &str) -> Value {
    issue(number, &format!("text\n{}", anchor(&fingerprint(key))))
}

fn none() -> Value {
    json!({"errorMessages": ["Issue Does Not Exist"], "errors": {}})
}

#[test]
fn find_reads_every_page_since_the_incident_and_compares_the_whole_key() {
    let mut jira = server(json!({}));
    jira.host.answer(
        "GET",
        &search(JQL, 100, 0),
        200,
        json!({"total": 3, "issues": [ours(5, "123"), issue(6, "")]}),
    );
    jira.host.answer(
        "GET",
        &search(JQL, 100, 2),
        200,
        json!({"total": 3, "issues": [ours(7, KEY)]}),
    );
    assert_eq!(jira.find(incident(), KEY).unwrap().unwrap().id, "NOC-7");

    jira.host.answer(
        "GET",
        &search(JQL, 100, 0),
        200,
        json!({"total": 1, "issues": [ours(5, "123")]}),
    );
    jira.host.answer("GET", &probe(6), 404, none());
    jira.host.answer("GET", &probe(7), 404, none());
    assert_eq!(jira.find(incident(), "12").unwrap(), None);
}

#[test]
fn find_on_cloud_goes_by_the_property() {
    let mut jira = cloud(json!({}));
    let with = |key: &str| json!({"key": "NOC-9", "fields": {"description": {"type": "doc"}}, "properties": {"ticket-host": {"key": fingerprint(key)}}});
    jira.host.answer(
        "GET",
        &cloud_search(""),
        200,
        json!({"issues": [with("x")], "nextPageToken": "t/1"}),
    );
    jira.host.answer(
        "GET",
        &cloud_search("&nextPageToken=t%2F1"),
        200,
        json!({"issues": [with(KEY)], "isLast": true}),
    );
    assert_eq!(jira.find(incident(), KEY).unwrap().unwrap().id, "NOC-9");
}

#[test]
fn find_sees_what_the_index_does_not_know_yet() {
    let mut jira = server(json!({}));
    jira.host.answer(
        "GET",
        &search(JQL, 100, 0),
        200,
        json!({"total": 1, "issues": [issue(5, "")]}),
    );
    jira.host.answer("GET", &probe(6), 200, issue(6, ""));
    highest(&mut jira, 5);
    // One was deleted.
    jira.host.answer("GET", &probe(7), 404, none());
    jira.host.answer("GET", &probe(8), 200, ours(8, KEY));
    assert_eq!(jira.find(incident(), KEY).unwrap().unwrap().id, "NOC-8");
}

#[test]
fn find_begins_at_the_highest_number_where_the_incident_is_newer_than_all() {
    let mut jira = server(json!({}));
    jira.host.answer("GET", &search(JQL, 100, 0), 200, json!({"total": 0, "issues": []}));
    jira.host.answer(
        "GET",
        &search(HIGHEST, 1, 0),
        200,
        json!({"total": 40, "issues": [issue(41, "")]}),
    );
    jira.host.answer("GET", &search(JQL, 100, 0), 200, json!({"total": 0, "issues": []}));
    jira.host.answer("GET", &probe(42), 200, ours(42, KEY));
    assert_eq!(jira.find(incident(), KEY).unwrap().unwrap().id, "NOC-42");
    // A project without any issue.
    jira.host.answer("GET", &search(JQL, 100, 0), 200, json!({"total": 0, "issues": []}));
    jira.host.answer("GET", &search(HIGHEST, 1, 0), 200, json!({"total": 0, "issues": []}));
    jira.host.answer(
        "GET",
        "https://jira.example.org/rest/api/2/project/NOC",
        200,
        json!({"key": "NOC"}),
    );
    jira.host.answer("GET", &probe(1), 404, none());
    jira.host.answer("GET", &probe(2), 404, none());
    assert_eq!(jira.find(incident(), KEY).unwrap(), None);
}

#[test]
fn find_that_could_not_find_out_is_an_error() {
    let empty = json!({"total": 2, "issues": []});
    for (status, body) in [
        (
            400,
            json!({"errorMessages": ["The value 'NOC' does not exist for the field 'project'."]}),
        ),
        (401, json!("")),
        (500, json!("")),
        (200, json!("<html>login</html>")),
        (200, json!({"total": 0})),
        (200, none()),
        (202, json!({"total": 0, "issues": []})),
        (204, json!("")),
        (200, empty),
    ] {
        let mut jira = server(json!({}));
        jira.host.answer("GET", &search(JQL, 100, 0), status, body);
        jira.find(incident(), KEY).unwrap_err();
    }
    for (status, body) in [
        (404, json!("<html>proxy</html>")),
        (403, none()),
        (502, json!("")),
        (200, none()),
        (204, json!("")),
    ] {
        let mut jira = server(json!({}));
        jira.host.answer(
            "GET",
            &search(JQL, 100, 0),
            200,
            json!({"total": 1, "issues": [issue(5, "")]}),
        );
        jira.host.answer("GET", &probe(6), status, body);
        jira.find(incident(), KEY).unwrap_err();
    }
}

#[test]
fn settings_that_cannot_work_are_refused_without_the_token() {
    for (secret, information) in [
        (json!({"token": " "}), json!({"project_key_or_id": "NOC"})),
        (json!({"email": "", "token": "api-secret"}), json!({"project_key_or_id": "NOC"})),
        (json!({"token": "api-secret"}), json!({"project_key_or_id": " "})),
        (json!({"token": "api-secret"}), json!({"project_key_or_id": "NOC", "api_version": 4})),
        (json!({"token": "api-secret"}), json!({"project_key_or_id": "NOC", "api_version": 3})),
    ] {
        let error =
            testkit::open::<Jira>("https://jira.example.org", secret, information).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Settings);
        assert!(!error.message.contains("api-secret"), "{error}");
    }
}

fn refused(status: u16, headers: &[(&str, &str)], body: &Value) -> Error {
    let mut jira = server(json!({}));
    let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
    let answer = HttpAnswer::Answered { status, headers, body: text.into_bytes() };
    jira.host.outcome("POST", ISSUE, answer);
    jira.create(incident(), KEY).unwrap_err()
}

type Refusal = (u16, Value, ErrorKind, Retry, &'static str);

#[track_caller]
fn are_told<const N: usize>(refusals: [Refusal; N]) {
    for (status, body, kind, retry, text) in refusals {
        let error = refused(status, &[], &body);
        assert_eq!((error.kind, error.retry), (kind, retry), "{status} {error}");
        assert!(error.message.contains(text), "{error}");
        assert!(!error.message.contains("pat-secret"), "{error}");
    }
}

fn reason(message: &str) -> Value {
    json!({"errorMessages": [message], "errors": {}})
}

#[test]
fn a_refusal_of_what_was_sent_has_jiras_reason() {
    use ErrorKind::{Creation, Settings};
    let errors = |field: &str, why: &str| json!({"errorMessages": [], "errors": {field: why}});
    are_told([
        (
            400,
            errors("summary", "You must specify a summary of the issue."),
            Creation,
            Retry::Never,
            "summary: You must specify a summary of the issue (400)",
        ),
        (
            400,
            errors("project", "valid project is required"),
            Settings,
            Retry::Never,
            "project: valid project is required",
        ),
        (
            400,
            errors("issuetype", "Specify a valid issue type"),
            Settings,
            Retry::Never,
            "issuetype: Specify a valid",
        ),
        (
            400,
            json!({"errorMessages": ["one.", "two"], "errors": {"x": "three"}}),
            Creation,
            Retry::Never,
            "one; two; x: three (400)",
        ),
    ]);
}

#[test]
fn refusals_have_jiras_reason_their_kind_and_what_may_have_been_created() {
    use ErrorKind::{Client, Creation, Plugin, Settings};
    let html = json!("<!DOCTYPE html><html>");
    are_told([
        (
            401,
            reason("You are not authenticated."),
            Settings,
            Retry::Never,
            "Jira refuses the login (401 You are not authenticated): check the token",
        ),
        (
            403,
            reason("You do not have permission to create issues in this project."),
            Settings,
            Retry::Never,
            "permission to create issues in this project (403)",
        ),
        (
            404,
            json!({"message": "null for uri: x", "status-code": 404}),
            Settings,
            Retry::Never,
            "null for uri: x (404)",
        ),
        (410, reason("gone"), Settings, Retry::Never, "gone (410)"),
        (422, reason("no"), Creation, Retry::Never, "no (422)"),
        (429, json!(""), Client, Retry::Later, "429 with an empty body"),
        (
            302,
            json!(""),
            Settings,
            Retry::Never,
            "302 with an empty body, so this isn't Jira's REST API",
        ),
        (
            500,
            reason("Internal server error"),
            Client,
            Retry::Unknown,
            "Internal server error (500)",
        ),
        (502, html.clone(), Client, Retry::Unknown, "502 with an HTML page"),
        (503, json!(""), Client, Retry::Later, "503 with an empty body"),
        (404, html.clone(), Settings, Retry::Never, "404 with an HTML page"),
        (200, html.clone(), Settings, Retry::Unknown, "200 with an HTML page"),
        (201, html, Settings, Retry::Unknown, "201 with an HTML page"),
        (201, json!({}), Plugin, Retry::Unknown, "instead of the JSON"),
    ]);
}

#[test]
fn a_2xx_that_is_not_the_created_issue_may_have_created() {
    let said = json!({"errorMessages": ["Accepted"], "errors": {}});
    // Fields that an answer of 400 names are left out and the issue is sent again: not after this.
    let fields = json!({"errorMessages": [], "errors": {"customfield_2": "not valid"}});
    for (status, body) in [
        (200, said.clone()),
        (202, fields.clone()),
        (201, said),
        (201, fields),
        (200, json!({"message": "Accepted"})),
        (200, json!({})),
        (201, json!([])),
        (204, json!("")),
        (206, json!("<!DOCTYPE html><html>")),
    ] {
        let mut jira = server(mapped());
        jira.host.answer("GET", FIELDS, 200, self::fields());
        jira.host.answer("POST", ISSUE, status, body.clone());
        let error = jira.create(incident(), KEY).unwrap_err();
        assert_eq!(error.retry, Retry::Unknown, "{status} {body}: {error}");
    }
}

#[test]
fn a_captcha_and_a_rate_limit_are_told() {
    let captcha = [("x-authentication-denied-reason", "CAPTCHA_CHALLENGE; login-url=https://x")];
    let error = refused(403, &captcha, &json!("<html>"));
    assert_eq!(error.kind, ErrorKind::Settings);
    assert!(error.message.contains("CAPTCHA"), "{error}");
    let error = refused(429, &[("retry-after", "17")], &json!("Rate limit exceeded."));
    assert_eq!((error.kind, error.retry), (ErrorKind::Client, Retry::Later));
    assert_eq!(error.retry_after.unwrap().as_secs(), 17);
}

#[test]
fn a_creation_without_an_answer_may_have_created() {
    let mut jira = server(json!({}));
    jira.host.outcome("POST", ISSUE, HttpAnswer::Unknown("timed out".into()));
    assert_eq!(jira.create(incident(), KEY).unwrap_err().retry, Retry::Unknown);
}

#[test]
fn a_dry_run_shows_the_look_up_and_the_issue() {
    let mut jira = server(mapped());
    jira.host.outcome("GET", FIELDS, HttpAnswer::DryRun);
    jira.host.outcome("POST", ISSUE, HttpAnswer::DryRun);
    jira.dry_run(incident(), KEY).unwrap_err();
    assert_eq!(jira.host.sent_json(1)["fields"]["Severity"], json!(["critical"]));
}

fn check(jira: &mut Fixture) -> Vec<(String, bool)> {
    let lines = jira.check().unwrap();
    assert!(lines.iter().all(|line| line.ok || !line.help.is_empty()), "{lines:?}");
    lines.into_iter().map(|line| (line.name, line.ok)).collect()
}

const API: &str = "https://jira.example.org/rest/api/2";

#[test]
fn check_has_a_line_for_each_thing_and_creates_nothing() {
    let mut jira =
        server(json!({"type": "Bug", "custom_fields_set": {"Severity": "x", "Nope": "x"}}));
    jira.host.answer("GET", &format!("{API}/myself"), 200, json!({"displayName": "Argus"}));
    let project = json!({"key": "NOC", "issueTypes": [{"name": "Task"}, {"name": "bug"}]});
    jira.host.answer("GET", &format!("{API}/project/NOC"), 200, project);
    let may = json!({"permissions": {"CREATE_ISSUES": {"havePermission": true}}});
    jira.host.answer(
        "GET",
        &format!("{API}/mypermissions?projectKey=NOC&permissions=CREATE_ISSUES"),
        200,
        may,
    );
    jira.host.answer("GET", FIELDS, 200, fields());
    let expected = [
        ("login", true),
        ("project", true),
        ("issue type", true),
        ("permission", true),
        ("custom field Nope", false),
        ("custom field Severity", true),
    ];
    assert_eq!(check(&mut jira), expected.map(|(name, ok)| (name.to_owned(), ok)));
}

#[test]
fn check_fails_where_no_ticket_can_be_made() {
    let mut jira = server(json!({}));
    jira.host.answer("GET", &format!("{API}/myself"), 200, json!({"displayName": "Argus"}));
    let project = json!({"key": "NOC", "issueTypes": [{"name": "Bug"}]});
    jira.host.answer("GET", &format!("{API}/project/NOC"), 200, project);
    let may = json!({"permissions": {"CREATE_ISSUES": {"havePermission": false}}});
    jira.host.answer(
        "GET",
        &format!("{API}/mypermissions?projectKey=NOC&permissions=CREATE_ISSUES"),
        200,
        may,
    );
    let failed: Vec<String> =
        check(&mut jira).into_iter().filter(|(_, ok)| !ok).map(|(name, _)| name).collect();
    assert_eq!(failed, ["issue type", "permission"]);

    jira.host.answer("GET", &format!("{API}/myself"), 401, json!(""));
    assert_eq!(check(&mut jira), [("login".to_owned(), false)]);
    jira.host.answer("GET", &format!("{API}/myself"), 200, json!({"message": "Accepted"}));
    assert_eq!(check(&mut jira), [("login".to_owned(), false)]);
    jira.host.answer("GET", &format!("{API}/myself"), 200, json!({"displayName": "Argus"}));
    jira.host.answer("GET", &format!("{API}/project/NOC"), 404, none());
    assert_eq!(check(&mut jira)[1], ("project".to_owned(), false));
}

fn outcome(status: u16, headers: &[(&str, &str)], body: &Value) -> HttpAnswer {
    let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    HttpAnswer::Answered { status, headers, body: body.to_string().into_bytes() }
}

const FAILED: [(&str, &str); 1] = [("x-seraph-loginreason", "AUTHENTICATED_FAILED")];

#[test]
fn only_jiras_own_404_means_that_there_is_no_such_issue() {
    for body in [json!({}), json!([]), json!({"message": "no route"})] {
        let mut jira = server(json!({}));
        let page = json!({"total": 1, "issues": [issue(5, "")]});
        jira.host.answer("GET", &search(JQL, 100, 0), 200, page);
        jira.host.answer("GET", &probe(6), 404, body.clone());
        let error = jira.find(incident(), KEY).expect_err(&body.to_string());
        assert_eq!(error.kind, ErrorKind::Settings, "{error}");
    }
}

#[test]
fn pages_that_do_not_say_whether_they_are_all_are_an_error() {
    let mut jira = server(json!({}));
    jira.host.answer("GET", &search(JQL, 100, 0), 200, json!({"issues": [issue(5, "")]}));
    let error = jira.find(incident(), KEY).unwrap_err();
    assert!(error.message.contains("don't add up"), "{error}");

    let page = json!({"issues": [{"key": "NOC-1"}], "nextPageToken": "t"});
    let mut jira = cloud(json!({}));
    jira.host.answer("GET", &cloud_search(""), 200, page.clone());
    jira.host.answer("GET", &cloud_search("&nextPageToken=t"), 200, page);
    let error = jira.find(incident(), KEY).unwrap_err();
    assert!(error.message.contains("don't add up"), "{error}");

    let mut jira = cloud(json!({}));
    let page = json!({"issues": [{"key": "NOC-1"}], "isLast": false});
    jira.host.answer("GET", &cloud_search(""), 200, page);
    let error = jira.find(incident(), KEY).unwrap_err();
    assert!(error.message.contains("don't add up"), "{error}");
}

#[test]
fn an_answer_for_anybody_after_a_failed_login_is_not_taken_for_ours() {
    // Cloud answers who it doesn't know as it answers everybody: 200 with nothing in it, or 404.
    let mut jira = cloud(json!({}));
    let nothing = json!({"issues": [], "isLast": true});
    jira.host.outcome("GET", &cloud_search(""), outcome(200, &FAILED, &nothing));
    let error = jira.find(incident(), KEY).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Settings);
    assert!(error.message.contains("check email and token"), "{error}");

    let mut jira = server(json!({}));
    let page = json!({"total": 1, "issues": [issue(5, "")]});
    jira.host.answer("GET", &search(JQL, 100, 0), 200, page);
    jira.host.outcome("GET", &probe(6), outcome(404, &FAILED, &none()));
    let error = jira.find(incident(), KEY).unwrap_err();
    assert!(error.message.contains("check the token"), "{error}");

    // What was created is created, whoever did it.
    let mut jira = cloud(json!({}));
    jira.host.outcome("POST", &format!("{CLOUD}/issue"), outcome(201, &FAILED, &created()));
    assert_eq!(jira.create(incident(), KEY).unwrap().id, "NOC-47");
}

#[test]
fn deleted_issues_one_at_a_time_do_not_end_the_search() {
    let mut jira = server(json!({}));
    let page = json!({"total": 1, "issues": [issue(5, "")]});
    jira.host.answer("GET", &search(JQL, 100, 0), 200, page);
    jira.host.answer("GET", &probe(6), 404, none());
    jira.host.answer("GET", &probe(7), 200, issue(7, ""));
    highest(&mut jira, 5);
    jira.host.answer("GET", &probe(8), 404, none());
    jira.host.answer("GET", &probe(9), 200, ours(9, KEY));
    assert_eq!(jira.find(incident(), KEY).unwrap().unwrap().id, "NOC-9");
}

/// Scripts that the highest number that Jira's index knows is this one.
fn highest(jira: &mut Fixture, number: u32) {
    let page = json!({"total": 9, "issues": [issue(number, "")]});
    jira.host.answer("GET", &search(HIGHEST, 1, 0), 200, page);
}

#[test]
fn imported_issues_with_higher_numbers_are_not_asked_for_one_by_one() {
    let mut jira = server(json!({}));
    let page = json!({"total": 1, "issues": [issue(5, "")]});
    jira.host.answer("GET", &search(JQL, 100, 0), 200, page);
    jira.host.answer("GET", &probe(6), 200, issue(6, "imported"));
    highest(&mut jira, 298);
    jira.host.answer(
        "GET",
        &search(JQL, 100, 0),
        200,
        json!({"total": 1, "issues": [issue(5, "")]}),
    );
    jira.host.answer("GET", &probe(299), 404, none());
    jira.host.answer("GET", &probe(300), 404, none());
    assert_eq!(jira.find(incident(), KEY).unwrap(), None);
}

#[test]
fn an_issue_that_the_index_learns_of_during_the_search_is_not_jumped_over() {
    // Between the list and the highest number the index learned of ours and of a later one.
    let both = json!({"total": 2, "issues": [ours(7, KEY), issue(8, "")]});
    let mut jira = server(json!({}));
    let before = json!({"total": 1, "issues": [issue(5, "")]});
    jira.host.answer("GET", &search(JQL, 100, 0), 200, before);
    jira.host.answer("GET", &probe(6), 200, issue(6, ""));
    highest(&mut jira, 8);
    jira.host.answer("GET", &search(JQL, 100, 0), 200, both.clone());
    assert_eq!(jira.find(incident(), KEY).unwrap().unwrap().id, "NOC-7");
    // The same where the list was empty.
    jira.host.answer("GET", &search(JQL, 100, 0), 200, json!({"total": 0, "issues": []}));
    highest(&mut jira, 8);
    jira.host.answer("GET", &search(JQL, 100, 0), 200, both);
    assert_eq!(jira.find(incident(), KEY).unwrap().unwrap().id, "NOC-7");
}

#[test]
fn find_without_a_start_time_reads_all_issues() {
    let mut jira = server(json!({}));
    let all = "project%20%3D%20%22NOC%22%20ORDER%20BY%20created%20ASC";
    let page = json!({"total": 1, "issues": [ours(5, KEY)]});
    jira.host.answer("GET", &search(all, 100, 0), 200, page);
    let mut without = incident();
    without.as_object_mut().unwrap().remove("start_time");
    assert_eq!(jira.find(without, KEY).unwrap().unwrap().id, "NOC-5");
}

#[test]
fn after_twenty_issues_that_the_index_does_not_know_the_search_says_that_it_could_not_find_out() {
    let mut jira = server(json!({}));
    let page = json!({"total": 1, "issues": [issue(5, "")]});
    jira.host.answer("GET", &search(JQL, 100, 0), 200, page);
    jira.host.answer("GET", &probe(6), 200, issue(6, ""));
    highest(&mut jira, 5);
    for number in 7..=25 {
        jira.host.answer("GET", &probe(number), 200, issue(number, ""));
    }
    let error = jira.find(incident(), KEY).unwrap_err();
    assert_eq!((error.kind, error.retry), (ErrorKind::Client, Retry::Later));
    let says = "could not find out whether there is a ticket: Jira's search doesn't know yet the issues up to NOC-25";
    assert!(error.message.contains(says), "{error}");
    assert!(error.message.contains("wait until its index"), "{error}");
    assert_eq!(error.retry_after.unwrap().as_secs(), 10);
}

#[test]
fn a_page_that_is_too_long_is_asked_for_in_smaller_ones() {
    let too_large = || HttpAnswer::Unknown("over what max_response_bytes allows".into());
    let mut jira = server(json!({}));
    jira.host.outcome("GET", &search(JQL, 100, 0), too_large());
    jira.host.outcome("GET", &search(JQL, 50, 0), too_large());
    let page = json!({"total": 26, "issues": (1..=25).map(|n| issue(n, "")).collect::<Vec<_>>()});
    jira.host.answer("GET", &search(JQL, 25, 0), 200, page);
    jira.host.outcome("GET", &search(JQL, 25, 25), too_large());
    let page = json!({"total": 26, "issues": [ours(26, KEY)]});
    jira.host.answer("GET", &search(JQL, 12, 25), 200, page);
    assert_eq!(jira.find(incident(), KEY).unwrap().unwrap().id, "NOC-26");
    for size in [100, 50, 25, 12, 6, 3, 1] {
        jira.host.outcome("GET", &search(JQL, size, 0), too_large());
    }
    let error = jira.find(incident(), KEY).unwrap_err();
    assert!(error.message.contains("max_response_bytes"), "{error}");
}

#[test]
fn a_search_that_does_not_end_in_time_is_told() {
    let mut jira = server(json!({}));
    jira.host.remaining = std::time::Duration::ZERO;
    jira.host.answer(
        "GET",
        &search(JQL, 100, 0),
        200,
        json!({"total": 2, "issues": [issue(5, "")]}),
    );
    jira.host.outcome("GET", &search(JQL, 100, 1), HttpAnswer::NotSent("no time".into()));
    let error = jira.find(incident(), KEY).unwrap_err();
    assert!(error.message.contains("the issues: there are too many"), "{error}");
    assert_eq!(error.retry, Retry::Later);
}

#[test]
fn a_refusal_has_the_fields_looked_up_anew() {
    let mut jira = server(mapped());
    for _ in 0..2 {
        jira.host.answer("GET", FIELDS, 200, fields());
        jira.host.answer("POST", ISSUE, 403, none());
        jira.create(incident(), KEY).unwrap_err();
    }
}

/// A project of which each other issue is the ticket of the key that is its number, as Jira's index and its database know it.
#[derive(Default)]
struct Played {
    /// The numbers, in the order of their creation.
    issues: Vec<u32>,
    /// Those with higher numbers than this the index doesn't know.
    indexed: u32,
    /// Those that are older than what is searched for: a query with a time doesn't find them.
    old: Vec<u32>,
    asked: usize,
    fails: Option<usize>,
    removes: BTreeMap<usize, Vec<u32>>,
    /// The request after which Jira knows no token of before.
    forgets: Option<usize>,
}

fn played(cloud: bool, count: u32) -> (Fixture, Arc<Mutex<Played>>) {
    let issues = (1..=count).collect();
    let played = Arc::new(Mutex::new(Played { issues, indexed: u32::MAX, ..Played::default() }));
    let mut jira = if cloud { self::cloud(json!({})) } else { server(json!({})) };
    let kept = Arc::clone(&played);
    jira.host.play(move |request| kept.lock().unwrap().answer(request));
    (jira, played)
}

impl Played {
    fn answer(&mut self, request: &HttpRequest) -> HttpAnswer {
        self.asked += 1;
        if self.fails == Some(self.asked) {
            return outcome(429, &[("retry-after", "7")], &json!(""));
        }
        if let Some(removed) = self.removes.remove(&self.asked) {
            self.issues.retain(|number| !removed.contains(number));
        }
        let (path, query) = request.url.split_once('?').unwrap_or((&request.url, ""));
        let shown = |number: u32| match number.is_multiple_of(2) {
            true => ours(number, &number.to_string()),
            false => issue(number, "theirs"),
        };
        if let Some((_, number)) = path.rsplit_once("/issue/NOC-") {
            let number = number.parse().unwrap();
            return match self.issues.contains(&number) {
                true => outcome(200, &[], &shown(number)),
                false => outcome(404, &[], &none()),
            };
        }
        if path.ends_with("/project/NOC") {
            return outcome(200, &[], &json!({"key": "NOC"}));
        }
        let query: BTreeMap<&str, &str> =
            query.split('&').filter_map(|parameter| parameter.split_once('=')).collect();
        let known = self.issues.iter().copied().filter(|number| *number <= self.indexed);
        if query["jql"] == HIGHEST {
            let highest: Vec<Value> = known.max().map(shown).into_iter().collect();
            return outcome(
                200,
                &[],
                &json!({"total": self.issues.len(), "issues": highest, "isLast": true}),
            );
        }
        assert!(query["jql"].ends_with("ORDER%20BY%20created%20ASC%2C%20key%20ASC"), "{query:?}");
        let list: Vec<u32> = known.filter(|number| !self.old.contains(number)).collect();
        // Cloud goes on behind an issue, here by its number.
        let token: u32 = query.get("nextPageToken").map_or(0, |token| token.parse().unwrap());
        if token > 0 && self.forgets.take_if(|forgets| *forgets == self.asked).is_some() {
            return outcome(400, &[], &reason("The provided next page token is invalid"));
        }
        let begin = match query.get("startAt") {
            Some(start) => start.parse::<usize>().unwrap().min(list.len()),
            None => list.iter().position(|number| *number > token).unwrap_or(list.len()),
        };
        let end = (begin + query["maxResults"].parse::<usize>().unwrap()).min(list.len());
        let issues: Vec<Value> = list[begin..end].iter().map(|number| shown(*number)).collect();
        let mut page = json!({"issues": issues});
        if query.contains_key("startAt") {
            page["total"] = list.len().into();
        } else if end < list.len() {
            page["nextPageToken"] = list[end - 1].to_string().into();
        } else {
            page["isLast"] = true.into();
        }
        outcome(200, &[], &page)
    }
}

fn wanted<K: ToString>(keys: impl IntoIterator<Item = K>, cursor: Option<String>) -> FindMany {
    let keys = keys.into_iter().map(|key| WantedKey {
        key: key.to_string(),
        not_before: Some("2019-11-23T00:00:00Z".to_owned()),
        not_after: Some("2019-11-24T00:00:00Z".to_owned()),
    });
    FindMany { keys: keys.collect(), cursor }
}

/// Searches to the end: the keys that were found, those that have no ticket, and how many calls it took.
fn search_for(jira: &mut Fixture, keys: &[u32]) -> (BTreeSet<u32>, BTreeSet<u32>, usize) {
    let (mut found, mut none, mut cursor) = (BTreeSet::new(), BTreeSet::new(), None);
    for calls in 1.. {
        let left = keys.iter().filter(|key| !found.contains(*key) && !none.contains(*key));
        let reply = jira.find_many(&wanted(left, cursor.take())).unwrap();
        for told in &reply.found {
            assert_eq!(told.ticket.id, format!("NOC-{}", told.key));
            assert!(told.ticket.url.ends_with(&format!("/browse/NOC-{}", told.key)));
            found.insert(told.key.parse().unwrap());
        }
        none.extend(reply.none.iter().map(|key| key.parse::<u32>().unwrap()));
        cursor = reply.cursor;
        if cursor.is_none() {
            return (found, none, calls);
        }
    }
    unreachable!("the loop has no end")
}

fn is_half_of(told: &(BTreeSet<u32>, BTreeSet<u32>, usize), keys: &[u32]) {
    let (even, odd): (Vec<u32>, Vec<u32>) = keys.iter().partition(|key| key.is_multiple_of(2));
    assert_eq!(told.0, BTreeSet::from_iter(even));
    assert_eq!(told.1, BTreeSet::from_iter(odd));
}

#[test]
fn find_many_tells_each_key_its_ticket_on_whichever_page_or_none() {
    for cloud in [false, true] {
        let (mut jira, played) = played(cloud, 450);
        let keys: Vec<u32> = (90..110).chain(190..210).chain(290..310).chain(390..=450).collect();
        is_half_of(&search_for(&mut jira, &keys), &keys);
        // The highest number, five pages, and two numbers that don't exist.
        assert_eq!(played.lock().unwrap().asked, 8);
        is_half_of(&search_for(&mut jira, &[2, 3, 449]), &[2, 3, 449]);
        assert_eq!(played.lock().unwrap().asked, 8, "the later call is told by the first one's");
    }
}

#[test]
fn ten_thousand_keys_settle_in_fifty_calls_and_fewer_than_200_requests() {
    for cloud in [false, true] {
        let (mut jira, played) = played(cloud, 10_000);
        let keys: Vec<u32> = (1..=10_000).collect();
        for keys in keys.chunks(200) {
            is_half_of(&search_for(&mut jira, keys), keys);
        }
        let asked = played.lock().unwrap().asked;
        assert!((100..110).contains(&asked), "{asked}");
    }
}

#[test]
fn find_many_goes_on_where_its_time_was_over_or_a_page_did_not_come() {
    for cloud in [false, true] {
        let keys: Vec<u32> = (1..=150).chain(420..450).collect();
        let (mut jira, _) = played(cloud, 450);
        jira.host.remaining = Duration::from_secs(4);
        let told = search_for(&mut jira, &keys);
        is_half_of(&told, &keys);
        assert_eq!(told.2, 5, "a page a call");

        // A page, and one of the issues that are asked for by their numbers.
        for fails in [4, 8] {
            let (mut jira, played) = played(cloud, 450);
            played.lock().unwrap().fails = Some(fails);
            let reply = jira.find_many(&wanted(&keys, None)).unwrap();
            assert_eq!((reply.none.len(), reply.retry_after_ms), (0, Some(7000)), "{fails}");
            assert!(reply.cursor.is_some());
            is_half_of(&search_for(&mut jira, &keys), &keys);
        }
        let (mut jira, played) = played(cloud, 450);
        played.lock().unwrap().fails = Some(2);
        let error = jira.find_many(&wanted(&keys, None)).unwrap_err();
        assert_eq!(error.retry_after.map(|wait| wait.as_secs()), Some(7));
    }
}

#[test]
fn find_many_is_not_misled_by_issues_that_are_removed_meanwhile_or_a_token_that_is_forgotten() {
    for cloud in [false, true] {
        for removed in [1..=1, 1..=30, 3..=99, 96..=100, 51..=180] {
            let (mut jira, played) = played(cloud, 450);
            // Before the second page.
            played.lock().unwrap().removes = BTreeMap::from([(3, removed.clone().collect())]);
            let keys: Vec<u32> = (180..=378).collect();
            let told = search_for(&mut jira, &keys);
            let hidden =
                told.1.iter().filter(|key| key.is_multiple_of(2) && !removed.contains(key));
            assert_eq!(hidden.collect::<Vec<_>>(), [&0; 0], "{removed:?}");
        }
    }
    let (mut jira, played) = played(true, 450);
    played.lock().unwrap().forgets = Some(4);
    let keys: Vec<u32> = (400..=450).collect();
    is_half_of(&search_for(&mut jira, &keys), &keys);
}

#[test]
fn find_many_sees_what_the_index_does_not_know_yet() {
    for cloud in [false, true] {
        let (mut jira, played) = played(cloud, 50);
        // One at a time may be missing.
        played.lock().unwrap().issues.retain(|number| *number != 45);
        played.lock().unwrap().indexed = 40;
        let keys: Vec<u32> = (30..=60).collect();
        let told = search_for(&mut jira, &keys);
        assert_eq!(told.0, (30..=50).filter(|key| key % 2 == 0).collect());
        // The highest number, a page, and the numbers from 41 to 52.
        assert_eq!(played.lock().unwrap().asked, 14);

        let (mut jira, played) = self::played(cloud, 100);
        played.lock().unwrap().indexed = 40;
        let error = jira.find_many(&wanted([41], None)).unwrap_err();
        assert!(error.message.contains("the issues up to NOC-60, and there are more"), "{error}");
        assert_eq!(error.retry_after, Some(Duration::from_secs(10)));
        assert_eq!(played.lock().unwrap().asked, 22, "there is a bound");
        // Once the index has learned of them.
        played.lock().unwrap().indexed = u32::MAX;
        is_half_of(&search_for(&mut jira, &[41, 42]), &[41, 42]);
    }
}

#[test]
fn find_many_does_not_ask_for_old_issues_with_higher_numbers_one_by_one() {
    for cloud in [false, true] {
        let (mut jira, played) = played(cloud, 350);
        played.lock().unwrap().old = (6..=350).collect();
        is_half_of(&search_for(&mut jira, &[1, 2, 7]), &[1, 2, 7]);
        // The highest number, one page, and two numbers that don't exist.
        assert_eq!(played.lock().unwrap().asked, 4);
    }
}

#[test]
fn find_many_in_an_empty_project_asks_for_its_key_and_two_numbers() {
    let (mut jira, played) = played(false, 0);
    is_half_of(&search_for(&mut jira, &[1, 3]), &[1, 3]);
    assert_eq!(played.lock().unwrap().asked, 5);
}
