//! The tests that every forge's plugin must pass, against a forge that is played by a script.
//!
//! A plugin describes its forge as a [`World`] and says `shared_tests!(WORLD)`. The rest of this is
//! for its own tests.
#![allow(clippy::unwrap_used)]

mod told;

pub use told::*;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::{HttpAnswer, HttpRequest};
use ticket_plugin_api::testkit::Fixture;
use ticket_plugin_api::text::marker;
use ticket_plugin_api::{
    Action, Error, ErrorKind, FindMany, Retry, Step, TicketName, TicketState, Updated, WantedKey,
};

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
    /// The same with this secret for webhooks.
    pub open_with: fn(Value) -> Fixture,
    /// The URL that `check` logs in at.
    pub login: &'static str,
    /// The URL of the project in the API.
    pub project: &'static str,
    /// What a `check` calls the project.
    pub project_line: &'static str,
    /// The query of the list of issues, without page and time.
    pub all_issues: &'static str,
    /// The name in that query, as it is escaped, of the numbers of issues that are asked for at once.
    pub numbers: Option<&'static str>,
    /// The query of the list by the time of changes, and the name in it of that time.
    pub changed_issues: &'static str,
    pub changed_since: &'static str,
    /// A webhook about the page of this URL, and the headers by which a webhook is known, signed with [`WEBHOOK_SECRET`].
    pub event: fn(&str) -> Value,
    pub sign: fn(&[u8]) -> Vec<(String, String)>,
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
    /// What an issue's comments are called in URLs, the method that changes an issue, and what closes it and opens it again.
    pub comments: &'static str,
    pub changes: &'static str,
    pub closes: fn() -> Value,
    pub reopens: fn() -> Value,
    /// The words for an issue that is open, and one that is closed.
    pub states: [&'static str; 2],
    /// An issue with this number, body and labels.
    pub issue: fn(u32, &str, &[&str]) -> Value,
    /// Whether it goes on behind an issue: GitLab by its time, as the issues here have it, GitHub by "after", as its link has it.
    pub header_of_next: fn(u32, Option<&str>) -> (&'static str, String),
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
            find_many_tells_each_key_its_ticket_on_whichever_page_or_none
            find_many_goes_on_where_its_time_was_over_or_a_page_did_not_come
            issues_that_are_removed_meanwhile_hide_no_other
            ten_thousand_keys_settle_in_fifty_calls_and_fewer_than_200_requests
            find_reads_the_issues_as_they_are_now
            a_step_is_a_comment_with_its_mark_and_then_the_state
            a_step_that_says_nothing_writes_no_comment
            a_step_that_is_tried_again_does_what_is_missing
            a_ticket_that_a_person_closed_or_opened_is_left_alone
            an_issue_that_is_not_the_tickets_is_left_alone
            an_issue_that_cannot_be_read_is_not_written_to
            what_of_a_step_may_be_written_is_told
            a_dry_run_of_a_step_shows_its_requests
            states_are_told_by_urls_alone_with_the_forges_words_and_who_closed_an_issue
            a_ticket_of_another_project_is_foreign_and_nobody_asks_for_it
            a_state_without_a_documented_word_is_left_out_and_alone_it_is_an_error
            states_that_could_not_be_asked_for_are_an_error
            changes_begin_by_the_forges_clock_and_tell_what_changed_since
            no_change_is_lost_while_issues_are_changed_and_pages_are_read
            more_changes_at_one_moment_than_a_page_has_are_a_gap
            changes_that_could_not_be_read_are_told_later
            a_signed_webhook_names_the_projects_issue_that_it_is_about
            a_webhook_that_is_not_signed_with_the_secret_is_forged
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
        // From the second one on pages overlap.
        self.issues_in_pages_of(if page == 1 { 100 } else { 95 }, page)
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
    let second = json!([
        issue(6, "again"),
        issue(9, &format!("text\n{}", marker(KEY))),
        issue(10, &marker(KEY)),
    ]);
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
    forge.host.outcome("GET", &world.issues_in_pages_of(20, 2), too_large());
    forge.host.outcome("GET", &world.issues_in_pages_of(4, 7), too_large());
    let ours = json!([(world.issue)(7, &marker(KEY), &[])]);
    // A page of one issue has no room for one of the page before.
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
    let page = json!([(world.issue)(1, "theirs", &[])]);
    world.page(&mut forge, &world.issues_url(1), world.first, &page);
    forge.host.outcome("GET", &world.issues_url(2), HttpAnswer::NotSent("no time".into()));
    let error = forge.find(incident(), KEY).unwrap_err();
    assert!(error.message.contains("the issues: there are too many"), "{error}");
    assert!(error.message.contains("1 were read, and there are more (no time); raise"), "{error}");
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

/// The issues of a forge, the oldest first, each with its number, its body and the second of its creation, which the forge shows where
/// it is asked to; and which request of a page fails, or has issues removed before it is answered.
#[derive(Debug, Default)]
struct Played {
    issues: Vec<(u32, String, u32)>,
    shows_times: bool,
    asked: usize,
    fails: Option<usize>,
    removes: BTreeMap<usize, Vec<u32>>,
}

/// A forge as it is played for many requests.
fn played(world: &World, issues: Vec<(u32, String, u32)>) -> (Fixture, Arc<Mutex<Played>>) {
    let played = Arc::new(Mutex::new(Played { issues, ..Played::default() }));
    let mut forge = (world.open)(json!({}));
    let (kept, issue, header) = (Arc::clone(&played), world.issue, world.header_of_next);
    forge.host.play(move |request| kept.lock().unwrap().answer(request, issue, header));
    (forge, played)
}

/// The time of this second.
fn time(second: u32) -> String {
    format!("2026-11-23T{:02}:{:02}:{:02}.000Z", second / 3600, second / 60 % 60, second % 60)
}

/// The answer to a request beyond a limit.
fn limited() -> HttpAnswer {
    let headers = vec![("retry-after".to_owned(), "7".to_owned())];
    let body = json!({"message": "rate limit: too many"}).to_string().into_bytes();
    HttpAnswer::Answered { status: 429, headers, body }
}

impl Played {
    fn answer(
        &mut self,
        request: &HttpRequest,
        issue: fn(u32, &str, &[&str]) -> Value,
        header: fn(u32, Option<&str>) -> (&'static str, String),
    ) -> HttpAnswer {
        self.asked += 1;
        if self.fails == Some(self.asked) {
            return limited();
        }
        if let Some(removed) = self.removes.remove(&self.asked) {
            self.issues.retain(|(number, ..)| !removed.contains(number));
        }
        let query = request.url.split_once('?').unwrap().1;
        let query: BTreeMap<&str, String> = query
            .split('&')
            .filter_map(|parameter| parameter.split_once('='))
            .map(|(name, value)| (name, value.replace("%3A", ":")))
            .collect();
        let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
        let (size, page) = (number("per_page").unwrap(), number("page").unwrap_or(1));
        let since = query.get("created_after").cloned().unwrap_or_default();
        let after = number("after").unwrap_or(0);
        let list: Vec<_> = self
            .issues
            .iter()
            .filter(|(number, _, second)| time(*second) >= since && *number as usize > after)
            .collect();
        let begin = ((page - 1) * size).min(list.len());
        let end = (begin + size).min(list.len());
        let shown = list[begin..end].iter().map(|(number, body, second)| {
            let mut issue = issue(*number, body, &[]);
            if self.shows_times {
                issue["created_at"] = time(*second).into();
            }
            issue
        });
        let last = list[begin..end].last().map(|(number, ..)| number.to_string());
        let last = last.filter(|_| self.shows_times);
        let more = end < list.len();
        let (name, value) = header(if more { page as u32 + 1 } else { 0 }, last.as_deref());
        let body = shown.collect::<Value>().to_string().into_bytes();
        let headers = vec![(name.to_owned(), value)];
        HttpAnswer::Answered { status: 200, headers, body }
    }
}

/// A request for the tickets of these keys, which were made long ago.
fn wanted<K: ToString>(keys: impl IntoIterator<Item = K>, cursor: Option<String>) -> FindMany {
    let keys = keys.into_iter().map(|key| WantedKey {
        key: key.to_string(),
        not_before: Some("2019-11-23T00:00:00Z".to_owned()),
        not_after: Some("2019-11-24T00:00:00Z".to_owned()),
    });
    FindMany { keys: keys.collect(), cursor }
}

/// So many issues, ten in each second, of which each other one is the ticket of the key that is its number.
fn half_of(count: u32) -> Vec<(u32, String, u32)> {
    let body = |n: u32| if n.is_multiple_of(2) { marker(&n.to_string()) } else { "theirs".into() };
    (1..=count).map(|n| (n, body(n), n / 10)).collect()
}

/// Searches to the end: the keys that have a ticket, with its id, those that have none, and how many calls it took.
fn search(forge: &mut Fixture, keys: &[u32]) -> (BTreeMap<u32, u32>, BTreeSet<u32>, usize) {
    let (mut found, mut none, mut cursor) = (BTreeMap::new(), BTreeSet::new(), None);
    for calls in 1.. {
        let left = keys.iter().filter(|key| !found.contains_key(*key) && !none.contains(*key));
        let request = wanted(left, cursor.take());
        let reply = forge.find_many(&request).unwrap();
        let number = |text: &str| text.parse::<u32>().unwrap();
        found.extend(reply.found.iter().map(|f| (number(&f.key), number(&f.ticket.id))));
        none.extend(reply.none.iter().map(|key| number(key)));
        cursor = reply.cursor;
        if cursor.is_none() {
            return (found, none, calls);
        }
    }
    unreachable!("the loop has no end")
}

/// What a search for the keys from `keys` has to find in [`half_of`].
fn is_half_of(told: &(BTreeMap<u32, u32>, BTreeSet<u32>, usize), keys: &[u32]) {
    let even = keys.iter().filter(|key| key.is_multiple_of(2)).map(|key| (*key, *key));
    assert_eq!(told.0, even.collect());
    assert_eq!(told.1, keys.iter().copied().filter(|key| !key.is_multiple_of(2)).collect());
}

/// With times the forge goes on behind an issue, without them by pages' numbers.
const SHOWS_TIMES: [bool; 2] = [true, false];

pub fn find_many_tells_each_key_its_ticket_on_whichever_page_or_none(world: &World) {
    for shows_times in SHOWS_TIMES {
        let mut issues = half_of(450);
        // Younger ones with the same keys, and one that isn't a ticket at all.
        issues.extend([(451, marker("100"), 46), (452, format!("{} x", marker("1000")), 46)]);
        let (mut forge, played) = played(world, issues);
        played.lock().unwrap().shows_times = shows_times;
        let keys: Vec<u32> = (90..110).chain(190..210).chain(290..310).chain(390..440).collect();
        is_half_of(&search(&mut forge, &keys), &keys);
        let asked = played.lock().unwrap().asked;
        assert!((5..=6).contains(&asked), "{asked}");
        let rest = search(&mut forge, &[2, 3, 1000, 1001]);
        assert_eq!(rest.0, BTreeMap::from([(2, 2), (1000, 452)]));
        assert_eq!(rest.1, BTreeSet::from([3, 1001]));
        assert_eq!(
            played.lock().unwrap().asked,
            asked,
            "the later call is told by the first one's"
        );
    }
}

pub fn find_many_goes_on_where_its_time_was_over_or_a_page_did_not_come(world: &World) {
    for shows_times in SHOWS_TIMES {
        let (mut forge, played) = played(world, half_of(450));
        played.lock().unwrap().shows_times = shows_times;
        let keys: Vec<u32> = (1..=150).chain(420..450).collect();
        forge.host.remaining = Duration::from_secs(4);
        let told = search(&mut forge, &keys);
        is_half_of(&told, &keys);
        assert_eq!(told.2, played.lock().unwrap().asked, "a page a call");

        let (mut forge, played) = self::played(world, half_of(450));
        {
            let mut played = played.lock().unwrap();
            (played.shows_times, played.fails) = (shows_times, Some(3));
        }
        let reply = forge.find_many(&wanted(&keys, None)).unwrap();
        assert_eq!((reply.none.len(), reply.retry_after_ms), (0, Some(7000)));
        assert!(reply.cursor.is_some());
        is_half_of(&search(&mut forge, &keys), &keys);
        // One whose first page doesn't come is an error.
        let (mut forge, played) = self::played(world, half_of(450));
        played.lock().unwrap().fails = Some(1);
        let error = forge.find_many(&wanted(&keys, None)).unwrap_err();
        assert_eq!(error.retry_after.map(|wait| wait.as_secs()), Some(7));
    }
}

pub fn issues_that_are_removed_meanwhile_hide_no_other(world: &World) {
    for shows_times in SHOWS_TIMES {
        // Before the second page, or a later one: some, a whole page of them, or the very ones that the page before ended with.
        for removed in [1..=1, 1..=4, 1..=30, 3..=99, 96..=100, 51..=180, 171..=190] {
            for before in [2, 3] {
                let (mut forge, played) = played(world, half_of(450));
                {
                    let mut played = played.lock().unwrap();
                    played.shows_times = shows_times;
                    played.removes = BTreeMap::from([(before, removed.clone().collect())]);
                }
                let keys: Vec<u32> = (180..=378).collect();
                let told = search(&mut forge, &keys);
                let gone = |key: &u32| removed.contains(key);
                let hidden = told.1.iter().filter(|key| key.is_multiple_of(2) && !gone(key));
                let hidden: Vec<_> = hidden.collect();
                assert!(hidden.is_empty(), "{removed:?} before {before}: {hidden:?} are hidden");
                assert!(played.lock().unwrap().asked <= 12);
            }
        }
    }
}

pub fn ten_thousand_keys_settle_in_fifty_calls_and_fewer_than_200_requests(world: &World) {
    for shows_times in SHOWS_TIMES {
        let (mut forge, played) = played(world, half_of(10_000));
        played.lock().unwrap().shows_times = shows_times;
        let keys: Vec<u32> = (1..=10_000).collect();
        for keys in keys.chunks(200) {
            is_half_of(&search(&mut forge, keys), keys);
        }
        let asked = played.lock().unwrap().asked;
        assert!((100..130).contains(&asked), "{asked}");
    }
}

pub fn find_reads_the_issues_as_they_are_now(world: &World) {
    let (mut forge, played) = played(world, half_of(10));
    assert_eq!(search(&mut forge, &[2, 11]).1, BTreeSet::from([11]));
    played.lock().unwrap().issues.push((11, marker("11"), 2));
    assert_eq!(forge.find(json!({"description": "x"}), "11").unwrap().unwrap().id, "11");
    played.lock().unwrap().issues.push((12, marker("13"), 2));
    let mut now = wanted([13], None);
    now.keys[0].not_after = None;
    assert_eq!(forge.find_many(&now).unwrap().found.len(), 1, "it may have been made just now");
}

const STEP: &str = "a-step-that-nobody-guesses";

fn step(action: Action) -> Step {
    let fields = json!({"extra": 7, "title": "mine"}).as_object().unwrap().clone();
    Step { id: STEP.to_owned(), action, diff: BTreeMap::new(), fields }
}

impl World {
    /// The ticket that is issue 47.
    fn ticket(&self) -> TicketName {
        TicketName { url: format!("{}47", self.page), id: "47".to_owned() }
    }

    fn issue_url(&self) -> String {
        format!("{}/47", self.issues())
    }

    fn comments_url(&self) -> String {
        format!("{}/{}", self.issue_url(), self.comments)
    }

    /// Issue 47 in a state: 0 is open, 1 is closed.
    fn in_state(&self, state: usize) -> Value {
        let mut issue = (self.issue)(47, "...", &[]);
        issue["state"] = self.states[state].into();
        issue
    }

    /// Scripts that issue 47 is looked at, and in this state.
    fn is_in_state(&self, fixture: &mut Fixture, state: usize) {
        fixture.host.answer("GET", &self.issue_url(), 200, self.in_state(state));
    }

    fn update(
        &self,
        fixture: &mut Fixture,
        action: Action,
        again: bool,
    ) -> Result<Option<Updated>, Error> {
        fixture.update(&self.ticket(), incident(), &step(action), again)
    }
}

/// The state in which a step of this kind is carried out, and the one that it leads to.
const fn leads(action: Action) -> (usize, usize) {
    match action {
        Action::Close => (0, 1),
        Action::Reopen => (1, 0),
        _ => (0, 0),
    }
}

const ACTIONS: [Action; 3] = [Action::Comment, Action::Close, Action::Reopen];
const STATES: [TicketState; 2] = [TicketState::Open, TicketState::Closed];

pub fn a_step_is_a_comment_with_its_mark_and_then_the_state(world: &World) {
    for action in ACTIONS {
        let mut forge = (world.open)(json!({}));
        let (from, to) = leads(action);
        world.is_in_state(&mut forge, from);
        forge.host.answer("POST", &world.comments_url(), 201, json!({"id": 1, "body": "..."}));
        if action != Action::Comment {
            forge.host.answer(world.changes, &world.issue_url(), 200, world.in_state(to));
        }
        // No field turns a step round.
        let mut step = step(action);
        let own = (world.closes)().as_object().unwrap().keys().next().unwrap().clone();
        step.fields.insert(own, json!("reopen"));
        let updated = forge.update(&world.ticket(), incident(), &step, false).unwrap().unwrap();
        assert_eq!((updated.done, updated.state), (true, STATES[to]), "{action:?}");
        assert!(updated.warnings[0].starts_with("title: is left as it is"), "{updated:?}");
        let body = forge.host.sent_json(1)["body"].as_str().unwrap().to_owned();
        let part = if action == Action::Close { "closing" } else { "comment" };
        assert!(body.starts_with(&format!("markdown {part} of gw1 is down")), "{body}");
        assert!(body.ends_with(&format!("\n<!-- ticket-host step:{STEP} -->")), "{body}");
        let mut expected = match action {
            Action::Close => (world.closes)(),
            Action::Reopen => (world.reopens)(),
            _ => continue,
        };
        if action == Action::Close {
            expected["extra"] = json!(7);
        }
        assert_eq!(forge.host.sent_json(2), expected);
    }
}

pub fn a_step_that_says_nothing_writes_no_comment(world: &World) {
    let mut forge = (world.open)(json!({}));
    forge.host.comment = Some(String::new());
    world.is_in_state(&mut forge, 0);
    forge.host.answer(world.changes, &world.issue_url(), 200, world.in_state(1));
    assert!(world.update(&mut forge, Action::Close, false).unwrap().unwrap().done);
    // Nothing of it is written if that is refused.
    world.is_in_state(&mut forge, 0);
    forge.host.answer(world.changes, &world.issue_url(), 422, json!({"message": "no"}));
    assert!(!world.update(&mut forge, Action::Close, false).unwrap_err().partial);
}

pub fn a_step_that_is_tried_again_does_what_is_missing(world: &World) {
    let page = |number| format!("{}?per_page=100&page={number}", world.comments_url());
    let marked = json!([{"id": 9, "body": format!("text\n<!-- ticket-host step:{STEP} -->")}]);
    for action in [Action::Close, Action::Reopen] {
        let (from, to) = leads(action);
        // Its comment is on the second page: only the state is missing.
        let mut forge = (world.open)(json!({}));
        world.is_in_state(&mut forge, from);
        let others = json!([{"id": 8, "body": format!("another {STEP}")}, {"id": 7, "body": null}]);
        world.page(&mut forge, &page(1), world.first, &others);
        world.page(&mut forge, &page(2), world.last, &marked);
        forge.host.answer(world.changes, &world.issue_url(), 200, world.in_state(to));
        assert!(world.update(&mut forge, action, true).unwrap().unwrap().done);
        assert!(forge.host.sent.iter().all(|sent| sent.method != "POST"));
        // All of it is there.
        world.is_in_state(&mut forge, to);
        world.page(&mut forge, &page(1), world.last, &marked);
        let updated = world.update(&mut forge, action, true).unwrap().unwrap();
        assert_eq!((updated.done, updated.state), (true, STATES[to]));
        // Its comments can't all be read.
        world.is_in_state(&mut forge, from);
        world.page(&mut forge, &page(1), world.first, &others);
        forge.host.answer("GET", &page(2), 502, json!(""));
        assert!(!world.update(&mut forge, action, true).unwrap_err().partial);
    }
    let comment = json!({"id": 1, "body": "..."});
    let mut forge = (world.open)(json!({}));
    world.is_in_state(&mut forge, 0);
    world.page(&mut forge, &page(1), world.last, &json!([]));
    forge.host.answer("POST", &world.comments_url(), 201, comment.clone());
    assert!(world.update(&mut forge, Action::Comment, true).unwrap().unwrap().done);
    // A comment that is removed between two pages moves another one onto the page that was read: so they are read until two readings agree.
    for (second, writes) in [(json!([comment, comment]), false), (marked, false), (json!([]), true)]
    {
        let mut forge = (world.open)(json!({}));
        world.is_in_state(&mut forge, 0);
        for last in [json!([]), second.clone()] {
            world.page(&mut forge, &page(1), world.first, &json!([comment]));
            world.page(&mut forge, &page(2), world.last, &last);
        }
        if writes {
            forge.host.answer("POST", &world.comments_url(), 201, comment.clone());
        }
        let updated = world.update(&mut forge, Action::Comment, true);
        let posted = forge.host.sent.iter().any(|sent| sent.method == "POST");
        assert_eq!(posted, writes, "{second}: {updated:?}");
    }
}

pub fn a_ticket_that_a_person_closed_or_opened_is_left_alone(world: &World) {
    for (action, state) in [(Action::Comment, 1), (Action::Close, 1), (Action::Reopen, 0)] {
        let mut forge = (world.open)(json!({}));
        world.is_in_state(&mut forge, state);
        let updated = world.update(&mut forge, action, false).unwrap().unwrap();
        assert_eq!((updated.done, updated.state), (false, STATES[state]), "{action:?}");
        assert_eq!(forge.host.sent.len(), 1);
    }
}

pub fn an_issue_that_is_not_the_tickets_is_left_alone(world: &World) {
    let elsewhere = world.page.replace("/noc/", "/other/");
    let mut foreign = world.in_state(0);
    for url in ["html_url", "web_url"] {
        if foreign[url].is_string() {
            foreign[url] = format!("{elsewhere}47").into();
        }
    }
    // The project has another issue by this number.
    let mut forge = (world.open)(json!({}));
    forge.host.answer("GET", &world.issue_url(), 200, foreign);
    let updated = world.update(&mut forge, Action::Comment, false).unwrap().unwrap();
    assert_eq!((updated.done, updated.state), (false, TicketState::Foreign));
    // A person named a ticket that is in another project, or no issue at all.
    for url in [
        format!("{elsewhere}47"),
        "https://wiki.example.org/x".into(),
        // Other things are counted apart.
        format!("{}47", world.page.replace("issues", "merge_requests")),
        format!("{}47", world.page.replace("issues", "pull")),
    ] {
        let mut forge = (world.open)(json!({}));
        let named = TicketName { url, id: String::new() };
        let updated = forge.update(&named, incident(), &step(Action::Comment), false);
        assert_eq!(updated.unwrap().unwrap().state, TicketState::Foreign);
        assert_eq!(forge.host.sent.len(), 0);
    }
    // Names are told apart whatever their case.
    let mut forge = (world.open)(json!({}));
    world.is_in_state(&mut forge, 1);
    let url = format!("{}47/?x#note_1", world.page.replace("/noc/", "/NOC/"));
    let updated = forge.update(
        &TicketName { url, id: String::new() },
        incident(),
        &step(Action::Close),
        false,
    );
    assert_eq!(updated.unwrap().unwrap().state, TicketState::Closed);
}

pub fn an_issue_that_cannot_be_read_is_not_written_to(world: &World) {
    let mut strange = world.in_state(0);
    strange["state"] = "simmering".into();
    for (status, body) in [
        (404, json!({"message": "Not Found"})),
        (410, json!({"message": "Issues has been disabled in this repository."})),
        (301, json!({"message": "Moved Permanently"})),
        (500, json!("")),
        (200, json!("<html>login</html>")),
        (200, json!({})),
        (200, strange),
        (202, world.in_state(0)),
    ] {
        for again in [false, true] {
            let mut forge = (world.open)(json!({}));
            forge.host.answer("GET", &world.issue_url(), status, body.clone());
            let error = world.update(&mut forge, Action::Close, again).unwrap_err();
            assert!(!error.partial, "{status} {body}: {error}");
            assert_eq!(forge.host.sent.len(), 1, "{status} {body}");
        }
    }
}

pub fn what_of_a_step_may_be_written_is_told(world: &World) {
    let comment = || json!({"id": 1, "body": "..."});
    let ends = |first: (u16, Value), second: Option<(u16, Value)>| {
        let mut forge = (world.open)(json!({}));
        world.is_in_state(&mut forge, 0);
        forge.host.answer("POST", &world.comments_url(), first.0, first.1);
        if let Some((status, body)) = second {
            forge.host.answer(world.changes, &world.issue_url(), status, body);
        }
        let error = world.update(&mut forge, Action::Close, false).unwrap_err();
        (error.retry, error.partial)
    };
    let no = || json!({"message": "no"});
    assert_eq!(ends((422, no()), None), (Retry::Never, false));
    assert_eq!(ends((503, no()), None), (Retry::Unknown, false));
    assert_eq!(ends((200, json!("<html>")), None), (Retry::Unknown, false));
    let after = |status, body| ends((201, comment()), Some((status, body)));
    assert_eq!(after(422, no()), (Retry::Never, true));
    assert_eq!(after(503, no()), (Retry::Unknown, true));
    assert_eq!(after(200, json!({})), (Retry::Unknown, true));
    // It took the change, and the issue stayed open.
    assert_eq!(after(200, world.in_state(0)), (Retry::Unknown, true));
}

pub fn a_dry_run_of_a_step_shows_its_requests(world: &World) {
    let mut forge = (world.open)(json!({}));
    for (method, url) in [
        ("GET", world.issue_url()),
        ("POST", world.comments_url()),
        (world.changes, world.issue_url()),
    ] {
        forge.host.outcome(method, &url, HttpAnswer::DryRun);
    }
    let error = forge.rehearse(&world.ticket(), incident(), &step(Action::Close)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Client, "{error}");
    assert_eq!(forge.host.sent.len(), 3);
}
