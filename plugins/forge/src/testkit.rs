//! The tests that every forge's plugin must pass, against a forge that is played by a script.
//!
//! A plugin describes its forge as a [`World`] and says `shared_tests!(WORLD)`. The rest of this is
//! for its own tests.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::HttpAnswer;
use ticket_plugin_api::testkit::Fixture;
use ticket_plugin_api::text::marker;
use ticket_plugin_api::{Error, ErrorKind, Retry};

/// The key of the incident.
pub const KEY: &str = "https://argus.example.org/incidents/4";

/// Kind and retry of the errors that a forge's refusals become.
pub const SETTINGS: Expected = (ErrorKind::Settings, Retry::Never);
pub const REFUSED: Expected = (ErrorKind::Creation, Retry::Never);
pub const LATER: Expected = (ErrorKind::Client, Retry::Later);
pub const UNKNOWN: Expected = (ErrorKind::Client, Retry::Unknown);

pub type Expected = (ErrorKind, Retry);

/// A forge as it is when all is well, with the project that the plugin is opened for.
#[derive(Debug)]
pub struct World {
    pub name: &'static str,
    pub token: &'static str,
    /// The plugin, opened with this information; the project is added to it.
    pub open: fn(Value) -> Fixture,
    /// The URL that `check` logs in at.
    pub login: &'static str,
    /// The URL of the project in the API.
    pub project: &'static str,
    /// What a `check` calls the project.
    pub project_line: &'static str,
    /// The query of the list of issues, without page and time.
    pub all_issues: &'static str,
    /// The start of the incident, less a day, in that query.
    pub since: &'static str,
    /// The URL of an issue for people, without its number.
    pub page: &'static str,
    /// The header of a page that has the second one behind it, and that of the last page.
    pub first: (&'static str, &'static str),
    pub last: (&'static str, &'static str),
    pub title_limit: usize,
    pub body_limit: usize,
    /// The name of an issue's body.
    pub body: &'static str,
    /// An issue with this number, body and labels.
    pub issue: fn(u32, &str, &[&str]) -> Value,
    /// What logging in is answered with, and the project.
    pub logged_in: fn() -> Value,
    pub takes_issues: fn() -> Value,
}

/// Tests of a [`World`], one for each behaviour.
#[macro_export]
macro_rules! shared_tests {
    ($world:expr) => {
        $crate::shared_tests! { $world;
            a_ticket_has_title_body_marker_and_the_labels_that_there_are
            once_warm_a_ticket_takes_one_request
            without_labels_not_even_the_first_ticket_looks_them_up
            a_label_on_the_second_page_is_set
            a_label_that_the_forge_drops_is_a_warning_and_looked_up_again
            a_refused_creation_has_the_labels_looked_up_anew
            a_title_and_a_body_over_the_limit_are_cut
            find_reads_every_page_since_the_incident_and_compares_the_whole_key
            find_without_a_start_time_reads_all_issues
            find_that_could_not_find_out_is_an_error
            a_page_that_is_too_long_is_asked_for_in_smaller_ones
            an_issue_that_is_too_long_by_itself_is_an_error
            a_list_that_does_not_end_in_time_is_told
            an_answer_without_a_reason_has_its_kind_and_says_what_may_have_been_created
            a_2xx_that_is_not_the_created_issue_may_have_created
            a_creation_without_an_answer_may_have_created
            a_dry_run_shows_the_look_up_and_the_issue
            check_has_a_line_for_each_thing_and_creates_nothing
            check_ends_where_the_forge_refuses_or_is_none
        }
    };
    ($world:expr; $($test:ident)*) => {
        $(#[test] fn $test() { $crate::testkit::$test(&$world); })*
    };
}

pub fn incident() -> Value {
    json!({
        "description": "gw1 is down", "level": 1, "start_time": "2026-11-23T07:00:00+01:00",
        "tags": [{"tag": "severity=critical"}],
    })
}

/// Settings of labels that the incident has, and that it lacks.
fn labelled() -> Value {
    json!({
        "labels_set": ["argus", "does-not-exist"],
        "labels_mapping": ["level", {"tag": "severity"}, {"tag": "missing_tag"}, "no_such_field"],
    })
}

pub fn names(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"id": 1, "name": name})).collect()
}

/// The lines of a check, and whether each is ok.
pub fn check(fixture: &mut Fixture) -> Vec<(String, bool)> {
    let lines = fixture.check().unwrap();
    assert!(lines.iter().all(|line| line.ok || !line.help.is_empty()), "{lines:?}");
    lines.into_iter().map(|line| (line.name, line.ok)).collect()
}

pub fn lines(expected: &[(&str, bool)]) -> Vec<(String, bool)> {
    expected.iter().map(|(name, ok)| ((*name).to_owned(), *ok)).collect()
}

impl World {
    pub fn issues(&self) -> String {
        format!("{}/issues", self.project)
    }

    pub fn labels_url(&self, page: u32) -> String {
        format!("{}/labels?per_page=100&page={page}", self.project)
    }

    pub fn issues_url(&self, page: u32) -> String {
        self.issues_in_pages_of(100, page)
    }

    fn issues_in_pages_of(&self, size: u32, page: u32) -> String {
        let (all, since) = (self.all_issues, self.since);
        format!("{}?{all}&{since}&per_page={size}&page={page}", self.issues())
    }

    /// The issue that the forge made, with these labels.
    pub fn created(&self, labels: &[&str]) -> Value {
        (self.issue)(47, "...", labels)
    }

    /// Scripts a page of a list.
    pub fn page(
        &self,
        fixture: &mut Fixture,
        url: &str,
        (name, value): (&str, &str),
        body: &Value,
    ) {
        let headers = vec![(name.to_owned(), value.to_owned())];
        let body = body.to_string().into_bytes();
        fixture.host.outcome("GET", url, HttpAnswer::Answered { status: 200, headers, body });
    }

    /// The error of a creation that is answered like this.
    pub fn refused(&self, status: u16, headers: &[(&str, &str)], body: &Value) -> Error {
        let mut fixture = (self.open)(json!({}));
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        let answer = HttpAnswer::Answered { status, headers, body: text.into_bytes() };
        fixture.host.outcome("POST", &self.issues(), answer);
        let error = fixture.create(incident(), KEY).unwrap_err();
        assert!(!error.message.contains(self.token), "{error}");
        error
    }

    /// Compares the errors that answers to a creation become.
    pub fn refusals<'a>(&self, rows: impl IntoIterator<Item = (u16, Value, Expected, &'a str)>) {
        for (status, body, expected, text) in rows {
            let error = self.refused(status, &[], &body);
            assert_eq!((error.kind, error.retry), expected, "{status} {error}");
            assert!(error.message.contains(text), "{error}");
        }
    }
}

pub fn a_ticket_has_title_body_marker_and_the_labels_that_there_are(world: &World) {
    let mut forge = (world.open)(labelled());
    forge.host.answer("GET", &world.labels_url(1), 200, names(&["Argus", "1", "critical", "bug"]));
    forge.host.answer("POST", &world.issues(), 201, world.created(&["Argus", "1", "critical"]));
    let ticket = forge.create(incident(), KEY).unwrap();
    assert_eq!(ticket.url, format!("{}47", world.page));
    assert_eq!(ticket.id, "47");
    assert_eq!(ticket.missing_fields, ["missing_tag", "no_such_field"]);
    assert_eq!(ticket.warnings.len(), 1);
    assert!(ticket.warnings[0].starts_with("label does-not-exist: there is none"), "{ticket:?}");
    let sent = forge.host.sent_json(1);
    assert_eq!(sent["title"], "gw1 is down");
    assert_eq!(sent["labels"], json!(["Argus", "1", "critical"]));
    assert_eq!(sent.as_object().unwrap().len(), 3, "what isn't set isn't sent: {sent}");
    let body = sent[world.body].as_str().unwrap();
    assert!(body.starts_with("markdown body of gw1 is down"), "{body}");
    assert!(body.contains("missing_tag") && body.contains("does-not-exist"), "{body}");
    assert!(body.ends_with(&format!("\n{}", marker(KEY))), "{body}");
}

pub fn once_warm_a_ticket_takes_one_request(world: &World) {
    let mut forge = (world.open)(json!({"labels_set": ["a"]}));
    forge.host.answer("GET", &world.labels_url(1), 200, names(&["a"]));
    for key in ["1", "2", "3"] {
        forge.host.answer("POST", &world.issues(), 201, world.created(&["a"]));
        forge.create(incident(), key).unwrap();
    }
    assert_eq!(forge.host.sent.len(), 4);
}

pub fn without_labels_not_even_the_first_ticket_looks_them_up(world: &World) {
    let mut forge = (world.open)(json!({}));
    forge.host.answer("POST", &world.issues(), 201, world.created(&[]));
    assert_eq!(forge.create(incident(), KEY).unwrap().warnings, [""; 0]);
}

pub fn a_label_on_the_second_page_is_set(world: &World) {
    let mut forge = (world.open)(json!({"labels_set": ["last"]}));
    world.page(&mut forge, &world.labels_url(1), world.first, &names(&["first"]));
    world.page(&mut forge, &world.labels_url(2), world.last, &names(&["last"]));
    forge.host.answer("POST", &world.issues(), 201, world.created(&["last"]));
    assert_eq!(forge.create(incident(), KEY).unwrap().warnings, [""; 0]);
    assert_eq!(forge.host.sent_json(2)["labels"], json!(["last"]));
}

pub fn a_label_that_the_forge_drops_is_a_warning_and_looked_up_again(world: &World) {
    let mut forge = (world.open)(json!({"labels_set": ["a"]}));
    for key in ["1", "2"] {
        forge.host.answer("GET", &world.labels_url(1), 200, names(&["a"]));
        forge.host.answer("POST", &world.issues(), 201, world.created(&[]));
        let warnings = forge.create(incident(), key).unwrap().warnings;
        let warning = format!("label a: {} did not set it; ", world.name);
        assert!(warnings.len() == 1 && warnings[0].starts_with(&warning), "{warnings:?}");
    }
}

pub fn a_refused_creation_has_the_labels_looked_up_anew(world: &World) {
    let mut forge = (world.open)(json!({"labels_set": ["a"]}));
    forge.host.answer("GET", &world.labels_url(1), 200, names(&["a"]));
    forge.host.answer("POST", &world.issues(), 422, json!({"message": "Validation Failed"}));
    forge.create(incident(), KEY).unwrap_err();
    forge.host.answer("GET", &world.labels_url(1), 200, names(&["a"]));
    forge.host.answer("POST", &world.issues(), 201, world.created(&["a"]));
    forge.create(incident(), KEY).unwrap();
}

pub fn a_title_and_a_body_over_the_limit_are_cut(world: &World) {
    let limit = world.title_limit;
    let mut forge = (world.open)(json!({}));
    forge.host.title = Some("å".repeat(limit + 1));
    let mut incident = incident();
    incident["description"] = json!("line\n".repeat(world.body_limit / 5 + 1));
    forge.host.answer("POST", &world.issues(), 201, world.created(&[]));
    let warnings = forge.create(incident, KEY).unwrap().warnings;
    let cut = format!("the title was cut to {limit}, ");
    assert!(warnings[0].starts_with(&cut) && warnings[0].ends_with(&"å".repeat(limit + 1)));
    assert!(warnings[1].starts_with("the body was cut to"), "{}", warnings[1]);
    let sent = forge.host.sent_json(0);
    assert_eq!(sent["title"].as_str().unwrap(), "å".repeat(limit - 1) + "…");
    let body = sent[world.body].as_str().unwrap();
    assert!(body.len() <= world.body_limit && body.ends_with(&marker(KEY)), "{}", body.len());
}

pub fn find_reads_every_page_since_the_incident_and_compares_the_whole_key(world: &World) {
    let mut forge = (world.open)(json!({}));
    let issue = |number, body: &str| (world.issue)(number, body, &[]);
    let mut without_body = issue(6, "");
    without_body[world.body] = Value::Null;
    let first = json!([issue(5, &marker("another")), without_body]);
    world.page(&mut forge, &world.issues_url(1), world.first, &first);
    let second = json!([issue(9, &format!("text\n{}", marker(KEY))), issue(10, &marker(KEY))]);
    world.page(&mut forge, &world.issues_url(2), world.last, &second);
    let ticket = forge.find(incident(), KEY).unwrap().unwrap();
    assert_eq!(ticket.url, format!("{}9", world.page));

    let others = json!([issue(5, &marker("123"))]);
    world.page(&mut forge, &world.issues_url(1), world.last, &others);
    assert_eq!(forge.find(incident(), "12").unwrap(), None);
}

pub fn find_without_a_start_time_reads_all_issues(world: &World) {
    let mut forge = (world.open)(json!({}));
    let url = format!("{}?{}&per_page=100&page=1", world.issues(), world.all_issues);
    forge.host.answer("GET", &url, 200, json!([]));
    assert_eq!(forge.find(json!({"description": "x"}), KEY).unwrap(), None);
}

pub fn find_that_could_not_find_out_is_an_error(world: &World) {
    let mut forge = (world.open)(json!({}));
    for (status, body) in [
        (404, json!({"message": "Not Found"})),
        (500, json!("")),
        (200, json!("<html>login</html>")),
        (200, json!({"items": []})),
        (200, json!({"message": "Accepted"})),
        (200, json!([{"message": "Accepted"}])),
        (202, json!([])),
        (204, json!("")),
    ] {
        forge.host.answer("GET", &world.issues_url(1), status, body);
        forge.find(incident(), KEY).unwrap_err();
    }
    // The second of two pages fails.
    world.page(&mut forge, &world.issues_url(1), world.first, &json!([]));
    forge.host.answer("GET", &world.issues_url(2), 502, json!(""));
    forge.find(incident(), KEY).unwrap_err();
}

fn too_large() -> HttpAnswer {
    HttpAnswer::Unknown(
        "answered 200 with more than the 9 bytes that max_response_bytes allows".into(),
    )
}

pub fn a_page_that_is_too_long_is_asked_for_in_smaller_ones(world: &World) {
    let mut forge = (world.open)(json!({}));
    let page = |number| json!([(world.issue)(number, "theirs", &[])]);
    forge.host.outcome("GET", &world.issues_url(1), too_large());
    forge.host.outcome("GET", &world.issues_in_pages_of(50, 1), too_large());
    world.page(&mut forge, &world.issues_in_pages_of(25, 1), world.first, &page(1));
    forge.host.outcome("GET", &world.issues_in_pages_of(25, 2), too_large());
    forge.host.outcome("GET", &world.issues_in_pages_of(5, 6), too_large());
    let ours = json!([(world.issue)(7, &marker(KEY), &[])]);
    world.page(&mut forge, &world.issues_in_pages_of(1, 26), world.last, &ours);
    let ticket = forge.find(incident(), KEY).unwrap().unwrap();
    assert_eq!(ticket.url, format!("{}7", world.page));
}

pub fn an_issue_that_is_too_long_by_itself_is_an_error(world: &World) {
    let mut forge = (world.open)(json!({}));
    for size in [100, 50, 25, 5, 1] {
        forge.host.outcome("GET", &world.issues_in_pages_of(size, 1), too_large());
    }
    let error = forge.find(incident(), KEY).unwrap_err();
    assert!(error.message.contains("max_response_bytes"), "{error}");
}

pub fn a_list_that_does_not_end_in_time_is_told(world: &World) {
    let mut forge = (world.open)(json!({}));
    forge.host.remaining = Duration::ZERO;
    world.page(&mut forge, &world.issues_url(1), world.first, &json!([]));
    forge.host.outcome("GET", &world.issues_url(2), HttpAnswer::NotSent("no time".into()));
    let error = forge.find(incident(), KEY).unwrap_err();
    assert!(error.message.contains("the issues: there are too many"), "{error}");
    assert!(
        error.message.contains("100 were read, and there are more (no time); raise"),
        "{error}"
    );
    assert_eq!((error.kind, error.retry), LATER);
}

pub fn an_answer_without_a_reason_has_its_kind_and_says_what_may_have_been_created(world: &World) {
    let (html, name) = (json!("<!DOCTYPE html><html>"), world.name);
    let not_the_api = format!("302 with an empty body, so this isn't {name}'s API: the endpoint");
    let no_reason = format!("503 with an empty body and no reason of {name}'s");
    let perhaps = (ErrorKind::Settings, Retry::Unknown);
    world.refusals([
        (302, json!(""), SETTINGS, not_the_api.as_str()),
        (404, html.clone(), SETTINGS, "404 with an HTML page"),
        (502, html.clone(), UNKNOWN, "502 with an HTML page"),
        (503, json!(""), LATER, no_reason.as_str()),
        (200, html.clone(), perhaps, "200 with an HTML page"),
        (201, html, perhaps, "201 with an HTML page"),
        (201, json!({}), (ErrorKind::Plugin, Retry::Unknown), "instead of the JSON"),
    ]);
}

pub fn a_2xx_that_is_not_the_created_issue_may_have_created(world: &World) {
    for (status, body) in [
        (200, json!({"message": "Accepted"})),
        (202, json!({"message": "Accepted", "errors": ["later"]})),
        (201, json!({"message": "Created"})),
        (200, json!({})),
        (201, json!([])),
        (204, json!("")),
        (206, json!("<!DOCTYPE html><html>")),
    ] {
        let error = world.refused(status, &[], &body);
        assert_eq!(error.retry, Retry::Unknown, "{status} {body}: {error}");
    }
}

pub fn a_creation_without_an_answer_may_have_created(world: &World) {
    let mut forge = (world.open)(json!({}));
    forge.host.outcome("POST", &world.issues(), HttpAnswer::Unknown("timed out".into()));
    assert_eq!(forge.create(incident(), KEY).unwrap_err().retry, Retry::Unknown);
}

pub fn a_dry_run_shows_the_look_up_and_the_issue(world: &World) {
    let mut forge = (world.open)(labelled());
    forge.host.outcome("GET", &world.labels_url(1), HttpAnswer::DryRun);
    forge.host.outcome("POST", &world.issues(), HttpAnswer::DryRun);
    forge.dry_run(incident(), KEY).unwrap_err();
    let labels = &forge.host.sent_json(1)["labels"];
    assert_eq!(*labels, json!(["argus", "does-not-exist", "1", "critical"]));
}

pub fn check_has_a_line_for_each_thing_and_creates_nothing(world: &World) {
    let mut forge = (world.open)(labelled());
    forge.host.answer("GET", world.login, 200, (world.logged_in)());
    forge.host.answer("GET", world.project, 200, (world.takes_issues)());
    forge.host.answer("GET", &world.labels_url(1), 200, names(&["ARGUS"]));
    let expected = [
        ("login", true),
        (world.project_line, true),
        ("issues", true),
        ("permission", true),
        ("label ARGUS", true),
        ("label does-not-exist", false),
    ];
    assert_eq!(check(&mut forge), lines(&expected));
}

pub fn check_ends_where_the_forge_refuses_or_is_none(world: &World) {
    let mut forge = (world.open)(json!({}));
    forge.host.answer("GET", world.login, 401, json!({"message": "401 Unauthorized"}));
    assert_eq!(check(&mut forge), lines(&[("login", false)]));
    for (status, message) in [(404, "Not Found"), (200, "Accepted")] {
        forge.host.answer("GET", world.login, 200, (world.logged_in)());
        forge.host.answer("GET", world.project, status, json!({"message": message}));
        assert_eq!(check(&mut forge), lines(&[("login", true), (world.project_line, false)]));
    }
}
