//! Tickets in Jira, through the real host, against a server that behaves as the REST references of
//! Data Center and Cloud say: authentication, paging, validation, an index that lags, error bodies.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use ticket_host_tests::{Answer, ISOLATIONS, Installation, Seen, Stub, rust_plugin};

const TOKEN: &str = "hunter2-token";
/// `me@example.org` and the token.
const BASIC: &str = "Basic bWVAZXhhbXBsZS5vcmc6aHVudGVyMi10b2tlbg==";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Edition {
    DataCenter,
    Cloud,
}
use Edition::{Cloud, DataCenter};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Well,
    /// Makes the issue and closes the connection.
    LosesTheAnswer,
    /// The search doesn't know the newest three issues yet.
    Lags,
    /// All issues but the first five were imported: they are older, and have higher numbers.
    Imported,
    /// Answers the creation with a rate limit.
    Limits,
}

struct Server {
    edition: Edition,
    stub: Stub,
    issues: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    fn new(edition: Edition, mood: Mood) -> Server {
        let issues = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&issues);
        let stub = Stub::new(move |seen| answer(edition, mood, &mut kept.lock().unwrap(), seen));
        Server { edition, stub, issues }
    }

    fn host_with(&self, isolation: &str, token: &str, information: &str) -> Installation {
        let secret = match self.edition {
            DataCenter => format!("{{ token = \"{token}\" }}"),
            Cloud => format!("{{ email = \"me@example.org\", token = \"{token}\" }}"),
        };
        let rest = format!(
            "isolation = \"{isolation}\"\nsecret = {secret}\n\
             [backends.b.information]\nproject_key_or_id = \"AT\"\n{information}"
        );
        Installation::with(&rust_plugin("jira"), &self.stub.url, &rest)
    }

    fn host(&self, information: &str) -> Installation {
        self.host_with("worker", TOKEN, information)
    }

    fn issues(&self) -> Vec<Value> {
        self.issues.lock().unwrap().clone()
    }

    /// Issues of other people.
    fn fill(&self, count: usize) {
        for number in 1..=count {
            let fields =
                json!({"summary": "theirs", "description": "https://argus.example.org/12"});
            self.issues
                .lock()
                .unwrap()
                .push(json!({"key": format!("AT-{number}"), "fields": fields}));
        }
    }

    fn posts(&self) -> usize {
        self.stub.seen().iter().filter(|seen| seen.method == "POST").count()
    }
}

fn said(status: u16, message: &str) -> Answer {
    Answer::status(status).body(&json!({"errorMessages": [message], "errors": {}}).to_string())
}

fn fields() -> Value {
    let custom = |id: u32, name: &str, kind: &str| json!({"id": format!("customfield_{id}"), "name": name, "schema": {"type": kind}});
    json!([
        {"id": "summary", "name": "Summary", "schema": {"type": "string"}},
        custom(10001, "Source", "string"),
        custom(10002, "Severity", "option"),
        custom(10003, "Start", "datetime"),
        custom(10004, "End", "datetime"),
        custom(10005, "Level", "number"),
    ])
}

fn answer(edition: Edition, mood: Mood, issues: &mut Vec<Value>, seen: &Seen) -> Answer {
    let (authorization, api) = match edition {
        DataCenter => (format!("Bearer {TOKEN}"), "/rest/api/2/"),
        Cloud => (BASIC.to_owned(), "/rest/api/3/"),
    };
    if seen.header("authorization") != Some(&authorization) {
        return said(401, "You are not authenticated.");
    }
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let Some(resource) = path.strip_prefix(api) else { return Answer::status(404) };
    let parameter = |name: &str| {
        query.split('&').find_map(|part| part.strip_prefix(&format!("{name}="))).map(str::to_owned)
    };
    let ok = |body: Value| Answer::status(200).body(&body.to_string());
    match (seen.method.as_str(), resource, edition) {
        ("GET", "myself", _) => ok(json!({"displayName": "Argus"})),
        ("GET", "field", _) => ok(fields()),
        ("GET", "project/AT", _) => ok(
            json!({"id": "10100", "key": "AT", "issueTypes": [{"name": "Task"}, {"name": "Bug"}]}),
        ),
        ("GET", "mypermissions", _) => {
            ok(json!({"permissions": {"CREATE_ISSUES": {"havePermission": true}}}))
        }
        ("GET", "search", DataCenter) | ("GET", "search/jql", Cloud) => {
            let jql = parameter("jql").unwrap();
            if !jql.contains("project%20%3D%20%22AT%22") {
                return said(400, "The value 'NOPE' does not exist for the field 'project'.");
            }
            let known = issues.len() - if mood == Mood::Lags { issues.len().min(3) } else { 0 };
            let mut all = issues[..known].to_vec();
            if mood == Mood::Imported && jql.contains("created%20%3E%3D") {
                all.retain(|issue| issue["fields"]["summary"] != "theirs" || number(issue) <= 5);
            }
            if jql.ends_with("DESC") {
                all.reverse();
            }
            let start = parameter("startAt").or(parameter("nextPageToken"));
            let start: usize = start.map_or(0, |start| start.parse().unwrap());
            let size = parameter("maxResults").unwrap().parse::<usize>().unwrap().min(50);
            let end = (start + size).min(all.len());
            let page = json!(all[start.min(all.len())..end]);
            match edition {
                DataCenter => ok(json!({"startAt": start, "total": all.len(), "issues": page})),
                Cloud if end < all.len() => {
                    ok(json!({"issues": page, "nextPageToken": end.to_string()}))
                }
                Cloud => ok(json!({"issues": page, "isLast": true})),
            }
        }
        ("GET", one, _) if one.starts_with("issue/") => {
            let key = one.trim_start_matches("issue/");
            match issues.iter().find(|issue| issue["key"] == key) {
                Some(issue) => ok(issue.clone()),
                None => said(404, "Issue Does Not Exist"),
            }
        }
        ("POST", "issue", _) if mood == Mood::Limits => {
            Answer::status(429).header("retry-after", "60").body("Rate limit exceeded.")
        }
        ("POST", "issue", _) => {
            let made = create(edition, issues, seen);
            if mood == Mood::LosesTheAnswer { Answer::HangUp } else { made }
        }
        ("GET", project, _) if project.starts_with("project/") => {
            said(404, "No project could be found with key 'NOPE'.")
        }
        _ => Answer::status(404),
    }
}

/// The number of an issue in its project.
fn number(issue: &Value) -> usize {
    issue["key"].as_str().unwrap().trim_start_matches("AT-").parse().unwrap()
}

fn create(edition: Edition, issues: &mut Vec<Value>, seen: &Seen) -> Answer {
    let mut issue: Value = serde_json::from_str(&seen.body).unwrap();
    let sent = issue["fields"].as_object().unwrap();
    let mut errors = json!({});
    let summary = sent["summary"].as_str().unwrap_or_default();
    if summary.is_empty() || summary.contains('\n') || summary.encode_utf16().count() > 255 {
        errors["summary"] = json!("Summary must be less than 255 characters.");
    }
    if sent["project"] != json!({"key": "AT"}) {
        errors["project"] = json!("valid project is required");
    }
    if !["Task", "Bug"].iter().any(|kind| sent["issuetype"] == json!({"name": kind})) {
        errors["issuetype"] = json!("Specify a valid issue type");
    }
    if sent["description"].is_string() != (edition == DataCenter) {
        errors["description"] = json!("Operation value must be an Atlassian Document");
    }
    if sent.get("customfield_10002").is_some_and(|severity| severity["value"] != "critical") {
        errors["customfield_10002"] = json!("Option value is not valid");
    }
    for field in sent.keys().filter(|id| id.starts_with("customfield_")) {
        if !fields().as_array().unwrap().iter().any(|known| known["id"] == json!(field)) {
            errors[field] =
                json!("Field cannot be set. It is not on the appropriate screen, or unknown.");
        }
    }
    if errors != json!({}) {
        return Answer::status(400)
            .body(&json!({"errorMessages": [], "errors": errors}).to_string());
    }
    let key = format!("AT-{}", issues.len() + 1);
    issue["key"] = json!(key);
    // Data Center keeps a property for whoever asks for it, and shows none in a search.
    let property = issue["properties"][0]["value"].clone();
    issue["properties"] = match edition {
        DataCenter => json!({}),
        Cloud => json!({"ticket-host": property}),
    };
    issues.push(issue);
    Answer::status(201).body(&json!({"id": "1", "key": key}).to_string())
}

/// The settings that the Python plugin was recorded with.
const PYTHONS: &str = r#"
type = "Bug"
custom_fields_set = { source = "Argus", "No Such Field" = "x" }
custom_fields_mapping = { Start = "start_time", End = "end_time", Level = "level", Severity = { tag = "severity" }, "Also Unknown" = "level", Summary = { tag = "missing_tag" } }
"#;

#[test]
fn an_issue_has_what_the_python_plugin_gave_it() {
    for edition in [DataCenter, Cloud] {
        let server = Server::new(edition, Mood::Well);
        let host = server.host(PYTHONS);
        for (name, expected, missing) in [
            (
                "plugin-open-infinity",
                json!({
                    "summary": "trd-gw1 is down", "customfield_10001": "Argus", "customfield_10005": 1,
                    "customfield_10003": "2026-11-23T06:00:00.000+0000",
                    "customfield_10002": {"value": "critical"},
                }),
                &["missing_tag"][..],
            ),
            (
                "plugin-closed-micros",
                json!({
                    "summary": "closed, summer time, microseconds", "customfield_10001": "Argus",
                    "customfield_10003": "2026-07-01T10:00:00.000+0000",
                    "customfield_10004": "2026-07-01T10:34:56.000+0000", "customfield_10005": 5,
                }),
                &["severity", "missing_tag"],
            ),
        ] {
            let reply = host.create(name, &["--json"]).ended(0).json();
            assert_eq!(reply["missing_fields"], json!(missing));
            assert_eq!(reply["warnings"].as_array().unwrap().len(), 2, "{reply}");
            let issue = server.issues().pop().unwrap();
            let mut fields = issue["fields"].as_object().unwrap().clone();
            let description = fields.remove("description").unwrap();
            fields.remove("project");
            assert_eq!(fields.remove("issuetype").unwrap(), json!({"name": "Bug"}));
            assert_eq!(Value::Object(fields), expected, "{name}");
            let text = description.as_str().map_or_else(|| description.to_string(), str::to_owned);
            for part in [
                "Description",
                "Start time",
                "Source",
                "Argus URL",
                "Tags",
                "Argus User",
                "Missing fields/tags",
                "missing_tag",
                "Also Unknown",
            ] {
                assert!(text.contains(part), "no {part} in {text}");
            }
        }
    }
}

#[test]
fn every_recorded_incident_becomes_an_issue_of_its_own() {
    for edition in [DataCenter, Cloud] {
        let server = Server::new(edition, Mood::Well);
        let host = server.host("");
        for name in [
            "plugin-html",
            "plugin-long",
            "plugin-newlines",
            "plugin-unicode",
            "plugin-empty-description",
            "v3-unicode",
        ] {
            host.create(name, &[]).ended(0);
        }
        assert_eq!(server.issues().len(), 6);
    }
}

#[test]
fn a_ticket_is_found_again_on_whichever_page_and_by_its_whole_key() {
    for (edition, isolation) in
        [DataCenter, Cloud].into_iter().flat_map(|e| ISOLATIONS.map(|i| (e, i)))
    {
        let server = Server::new(edition, Mood::Well);
        server.fill(120);
        let host = server.host_with(isolation, TOKEN, "");
        let create =
            |key: &str| host.create("plugin-closed", &["--json", "--key", key]).ended(0).json();
        let first = create("https://argus.example.org/12");
        assert_eq!(first["url"], format!("{}browse/AT-121", server.stub.url));
        assert_eq!(create("https://argus.example.org/12")["url"], first["url"]);
        assert_ne!(create("https://argus.example.org/123")["url"], first["url"]);
        assert_eq!(server.posts(), 2);
    }
}

#[test]
fn a_ticket_is_found_before_jiras_index_knows_it() {
    for edition in [DataCenter, Cloud] {
        for others in [0, 10] {
            let server = Server::new(edition, Mood::Lags);
            server.fill(others);
            let host = server.host("");
            for key in ["a", "b", "a", "b"] {
                host.create("plugin-closed", &["--key", key]).ended(0);
            }
            assert_eq!(server.posts(), 2, "{edition:?}, {others} others");
        }
    }
}

#[test]
fn imported_issues_are_not_asked_for_one_by_one() {
    for edition in [DataCenter, Cloud] {
        let server = Server::new(edition, Mood::Imported);
        server.fill(298);
        let created = server.host("").create("plugin-closed", &["--json"]).ended(0).json();
        assert_eq!(created["url"], format!("{}browse/AT-299", server.stub.url));
        let asked = server.stub.seen().len();
        assert!(asked <= 10, "{asked} requests for one ticket");
    }
}

#[test]
fn text_of_the_incident_reads_as_written_and_does_nothing() {
    let description = "Netbox 11 <12345> down. {code} [~admin] !x.png! *b* h1. <img src=x>\n# no";
    let incident = json!({"description": description, "pk": 1, "source": {"name": "nav"}});
    let made = |edition| {
        let server = Server::new(edition, Mood::Well);
        server.host("").create_from(incident.to_string().as_bytes(), &[]).ended(0);
        let issue = server.issues().pop().unwrap();
        assert_eq!(issue["fields"]["summary"], description.replace('\n', " "));
        issue["fields"]["description"].clone()
    };
    let wiki = made(DataCenter);
    let wiki = wiki.as_str().unwrap();
    assert!(
        wiki.contains("Netbox 11 <12345> down. &#123;code&#125; &#91;&#126;admin&#93;"),
        "{wiki}"
    );
    assert!(wiki.contains("&#33;x.png&#33; &#42;b&#42; h1&#46; <img src=x>\n&#35; no"), "{wiki}");
    let document = made(Cloud);
    let paragraph = document["content"][1]["content"].as_array().unwrap();
    let text: Vec<&str> =
        paragraph.iter().map(|node| node["text"].as_str().unwrap_or("\n")).collect();
    assert_eq!(text.concat(), description);
    assert!(!paragraph.iter().any(|node| node.get("marks").is_some()), "{document}");
}

#[test]
fn a_field_that_jira_refuses_is_left_out_with_its_reason() {
    let server = Server::new(DataCenter, Mood::Well);
    let host = server.host("custom_fields_set = { Severity = \"none\", Source = \"Argus\" }");
    let run = host.create("plugin-closed", &[]).ended(0);
    run.says("custom field Severity is not set: Option value is not valid");
    let fields = server.issues().pop().unwrap()["fields"].clone();
    assert_eq!(fields["customfield_10001"], "Argus");
    assert!(fields["description"].as_str().unwrap().contains("Option value is not valid"));
}

#[test]
fn a_lost_answer_is_settled_by_looking() {
    for edition in [DataCenter, Cloud] {
        let server = Server::new(edition, Mood::LosesTheAnswer);
        let run = server.host("").create("plugin-closed", &[]).ended(0);
        assert_eq!(run.stdout, format!("{}browse/AT-1\n", server.stub.url));
        assert_eq!(server.posts(), 1);
    }
}

#[test]
fn refusals_have_their_exit_code_and_jiras_reason_without_the_token() {
    for edition in [DataCenter, Cloud] {
        let server = Server::new(edition, Mood::Well);
        let login = "Jira refuses the login (401 You are not authenticated)";
        server
            .host_with("worker", "wrong-token", "")
            .create("plugin-closed", &[])
            .ended(3)
            .says(login);
        let kind = server.host("type = \"Nope\"").create("plugin-closed", &[]);
        let kind = kind.ended(3).says("issuetype: Specify a valid issue type");
        assert!(!kind.stderr.contains(TOKEN), "{}", kind.stderr);
        let portal = Stub::new(|_| Answer::status(200).body("<!DOCTYPE html><html>Log in</html>"));
        let rest = "secret = { token = \"x\" }\ninformation = { project_key_or_id = \"AT\" }";
        let run = Installation::with(&rust_plugin("jira"), &portal.url, rest)
            .create("plugin-closed", &[]);
        run.ended(3).says("200 with an HTML page, so this isn't Jira's REST API");
        let rest = format!(
            "secret = {{ token = \"{TOKEN}\" }}\ninformation = {{ project_key_or_id = \"NOPE\" }}"
        );
        if edition == DataCenter {
            let host = Installation::with(&rust_plugin("jira"), &server.stub.url, &rest);
            host.create("plugin-closed", &[])
                .ended(3)
                .says("does not exist for the field 'project'");
        }
        assert!(server.issues().is_empty());
        let limited = Server::new(edition, Mood::Limits);
        let error = limited.host("").create("plugin-closed", &["--json"]).ended(4).json();
        assert_eq!(error["error"]["retry_after_ms"], 60_000, "{error}");
    }
}

#[test]
fn check_prints_a_line_for_each_and_creates_nothing() {
    for edition in [DataCenter, Cloud] {
        let server = Server::new(edition, Mood::Well);
        let run = server
            .host("custom_fields_set = { Severity = \"critical\", Nope = \"x\" }")
            .run(&["check"])
            .ended(3);
        for line in [
            "ok      login: Jira knows us as Argus",
            "ok      project",
            "ok      issue type",
            "ok      permission",
            "ok      custom field Severity",
            "FAILED  custom field Nope",
        ] {
            assert!(run.stdout.contains(line), "no {line}: {}", run.stdout);
        }
        server.host("").run(&["check"]).ended(0);
        server.host("type = \"Nope\"").run(&["check"]).ended(3);
        assert_eq!(server.posts(), 0);
    }
}

#[test]
fn a_dry_run_shows_every_request_without_the_token_and_sends_none() {
    for edition in [DataCenter, Cloud] {
        let server = Server::new(edition, Mood::Well);
        let run = server.host(PYTHONS).create("plugin-closed", &["--dry-run"]).ended(0);
        assert!(server.stub.seen().is_empty());
        for part in ["/search", "/field\n", "POST http", "\"summary\": \"a closed one\""] {
            assert!(run.stdout.contains(part), "no {part}: {}", run.stdout);
        }
        assert!(!run.stdout.contains(TOKEN) && !run.stdout.contains(BASIC), "{}", run.stdout);
    }
}

#[test]
fn each_kind_of_refusal_of_the_creation_has_its_exit_code_and_reason() {
    let no = json!({"errorMessages": ["You may not create issues."], "errors": {}}).to_string();
    for (status, body, code, reason) in [
        (403, no.as_str(), 3, "You may not create issues (403)"),
        (422, &no, 5, "You may not create issues (422)"),
        (404, &no, 3, "You may not create issues (404)"),
        (410, &no, 3, "You may not create issues (410)"),
        (500, &no, 4, "You may not create issues (500)"),
        (503, "", 4, "503 with an empty body"),
        (302, "", 3, "302 with an empty body, so this isn't Jira's REST API"),
        (404, "<!DOCTYPE html>", 3, "404 with an HTML page, so this isn't Jira's REST API"),
        (201, "{}", 6, "instead of the JSON it documents"),
    ] {
        let body = body.to_owned();
        let stub = Stub::new(move |seen| match (seen.method.as_str(), seen.target.as_str()) {
            ("POST", _) => Answer::status(status).body(&body),
            (_, search) if search.contains("/search?") => {
                Answer::status(200).body(r#"{"total": 0, "issues": []}"#)
            }
            (_, project) if project.ends_with("project/AT") => {
                Answer::status(200).body(r#"{"key": "AT"}"#)
            }
            _ => said(404, "Issue Does Not Exist"),
        });
        let rest = format!(
            "secret = {{ token = \"{TOKEN}\" }}\ninformation = {{ project_key_or_id = \"AT\" }}"
        );
        let run = Installation::with(&rust_plugin("jira"), &stub.url, &rest)
            .create("plugin-closed", &[])
            .ended(code)
            .says(reason);
        assert!(!run.stderr.contains(TOKEN), "{}", run.stderr);
    }
}
